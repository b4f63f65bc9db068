"""The README says what the code says; `python tests/test_readme.py` writes its tables anew."""

import importlib.util
import re
from pathlib import Path

from hormesis_fit.curves import AVERAGE, CURVES
from hormesis_fit.families import FAMILIES, SUPPORTS

README = Path(__file__).parent.parent / "README.md"


def curve_table() -> str:
    rows = ["| curve | | formula | reads |", "|---|---|---|---|"]
    for name, curve in CURVES.items():
        kind = "hormetic" if curve.hormetic else "null"
        summary = (curve.__doc__ or "").splitlines()[0]
        default = "" if name in AVERAGE else " (not in the default average)"
        rows.append(f"| `{name}` | {kind}{default} | $`{curve.formula}`$ | {summary} |")
    return "\n".join(rows)


def family_table() -> str:
    rows = ["| family | responses | curve acts on | also | reads |", "|---|---|---|---|---|"]
    links = {"identity": "the mean", "log": "its log", "logit": "its log odds"}
    for name, family in FAMILIES.items():
        also = [word for word, has in (("limits", family.censored), ("summaries", family.summarised)) if has]
        responses = "0 and 1, or successes of groups" if family.counts_successes else SUPPORTS[family.support][0]
        rows.append(f"| `{name}` | {responses} | {links[family.link]} | {', '.join(also)} | {family.definition} |")
    return "\n".join(rows)


def figure_table() -> str:
    """Three figures side by side: thumbnail, question, function."""
    spec = importlib.util.spec_from_file_location("make_images", README.parent / "notebooks" / "images" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cells = []
    for name, (question, _) in module.FIGURES.items():
        path = f"notebooks/images/{name}.png"
        assert (README.parent / path).is_file(), f"no picture of {name}: python notebooks/images/make.py {name}"
        cells.append(f'<img src="{path}" width="260" alt="{question}"><br>{question}<br>`{name}`')
    rows = [" | ".join([*cells[start : start + 3], "", ""][:3]) for start in range(0, len(cells), 3)]
    return "\n".join(["| | | |", "|---|---|---|", *(f"| {row} |" for row in rows)])


def with_block(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    assert pattern.search(text), f"the README has lost its block {name}"
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def test_the_tables_are_current():
    text = README.read_text(encoding="utf-8")
    assert with_tables(text) == text


def with_tables(text: str) -> str:
    tables = {"curves": curve_table(), "families": family_table(), "figures": figure_table()}
    for name, table in tables.items():
        text = with_block(text, name, table)
    return text


def test_the_curve_of_the_readme_works(trial):
    import hormesis_fit as hf

    [block] = re.findall(
        r"```python\n(from hormesis_fit.curves import.*?)```", README.read_text(encoding="utf-8"), re.S
    )
    names: dict = {}
    exec(compile(block.replace("from __future__", "#"), "README", "exec"), names)
    fit = hf.fit(trial, curve=[names["LinearDecline"], "LogLogistic"], random_seed=1)
    assert 0 < fit["evidence"]["prob_hormesis"] < 1
    assert hf.window(fit)["prob_exists"] > 0


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
