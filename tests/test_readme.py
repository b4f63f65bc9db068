"""The README says what the code says; `python tests/test_readme.py` writes its tables anew."""

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


def with_block(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    assert pattern.search(text), f"the README has lost its block {name}"
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def test_the_tables_are_current():
    text = README.read_text(encoding="utf-8")
    assert with_tables(text) == text


def with_tables(text: str) -> str:
    return with_block(with_block(text, "curves", curve_table()), "families", family_table())


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
