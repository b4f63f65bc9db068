"""The documentation has every public name and notebook; `python tests/test_docs.py` writes the table of the course."""

import ast
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hormesis_fit as hf
from hormesis_fit.families import FAMILIES

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
COURSE = NOTEBOOKS / "course.md"


def pages():
    """Return the module that makes pages of the package; it needs what the extra `docs` installs."""
    for needed in ("mkdocs", "latex2mathml"):
        pytest.importorskip(needed, reason="the extra 'docs' is not installed")
    spec = importlib.util.spec_from_file_location("pages", NOTEBOOKS / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_table(text):
    begin, _, rest = text.partition("<!-- notebooks -->\n")
    _, end, rest = rest.partition("<!-- /notebooks -->")
    assert end, "course.md has lost its block of notebooks"
    return f"{begin}<!-- notebooks -->\n{pages().course_table()}\n{end}{rest}"


def test_the_course_lists_every_notebook():
    text = COURSE.read_text(encoding="utf-8")
    assert with_table(text) == text


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_one_lesson_of_the_course(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert len(cells) <= 25
    first, last = ("".join(cells[end]["source"]) for end in (0, -1))
    assert first.startswith("# ")
    assert first.count("**Question.** ") == 1
    assert "## Answer" in last
    # What came before stands below the title, what comes next in the last line.
    number, newest = int(path.name[:2]), int(max(NOTEBOOKS.glob("*.ipynb")).name[:2])
    assert f"({number - 1:02d}_" in first.splitlines()[2] or number == 1
    assert f"({number + 1:02d}_" in last.splitlines()[-1] or number == newest
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code"), "stored without outputs"


@pytest.fixture(scope="module")
def words():
    """What hormesis_fit has by name: functions, curves, families, parameters, groups, and the variables of results."""
    fit = hf.fit(hf.load_dataset("lettuce"), curve=["BrainCousens", "LogLogistic"], draws=250, random_seed=1)
    fit["window"] = hf.window(fit)
    declared = {name for one in (*hf.CURVES.values(), *FAMILIES.values()) for name in _declared(one)}
    results = {*fit["window"].data_vars, *fit["evidence"].data_vars, *hf.derived_quantities(fit).data_vars}
    return {*hf.__all__, *hf.CURVES, *FAMILIES, *fit.children, *declared, *results, *keywords(), "local_fdr"}


def _declared(one):
    return one.declared() if isinstance(one, type) else one.parameters


def keywords():
    functions = (value for value in (getattr(hf, one) for one in hf.__all__) if inspect.isfunction(value))
    return {name for one in functions for name in inspect.signature(one).parameters}


# What stands for a table or a trial of the reader's own, with its columns.
OWN = {"trial", "source", "table", "conc", "weight", "mean", "sd", "n", "batch", "treatment", "compound"}


def ours():
    """Yield what the pages on other software put into code in the column of hormesis_fit."""
    column = None
    for line in (NOTEBOOKS / "coming_from.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if "hormesis_fit" in cells:
            column = cells.index("hormesis_fit")
        elif cells and column is not None:
            yield from re.findall(r"`([^`]+)`", cells[column])


@pytest.mark.parametrize("code", sorted(set(ours())))
def test_every_name_that_other_software_is_compared_with_exists(code, words):
    for node in ast.walk(ast.parse(code, mode="eval")):
        if isinstance(node, ast.Name):
            assert node.id in words | OWN
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            choices = inspect.getsource(hf.read_trial) + inspect.getsource(hf.window) + inspect.getsource(hf.fit)
            known = words | OWN | set(hf.CURVE_SETS) | {"LogNormal", "free", "control", "down"}
            assert node.value in known or f'"{node.value}"' in choices
        if isinstance(node, ast.Call):
            known = {**{name: getattr(hf, name) for name in hf.__all__}, **hf.CURVES}[node.func.id]
            accepted = inspect.signature(known).parameters
            assert all(one.arg in accepted or known is hf.Prior for one in node.keywords)


def test_other_software_is_compared_at_length():
    assert len(set(ours())) > 60


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pages()
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^(WARNING|ERROR)", done.stderr, re.MULTILINE), done.stderr
    return folder


def test_every_public_name_is_in_the_reference(site):
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    headings = set(re.findall(r'<h2 id="hormesis_fit\.[\w.]*?(\w+)"', text))
    assert not {*hf.__all__, *hf.CURVES, *hf.DRIFTS} - headings


def test_every_page_is_whole(site):
    for path in [*site.glob("*.html"), *(site / "reference").glob("*.html")]:
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert ":math:" not in text, path.name
        assert "$`" not in text, path.name
        assert "<h1" in text or path.name == "404.html", path.name
    assert {f"{path.stem}.html" for path in NOTEBOOKS.glob("*.ipynb")} <= {path.name for path in site.glob("*.html")}
    assert "hormesis-fit fit [OPTIONS]" in (site / "command_line.html").read_text(encoding="utf-8")


if __name__ == "__main__":
    COURSE.write_text(with_table(COURSE.read_text(encoding="utf-8")), encoding="utf-8")
