"""Pages of the documentation that are made from the package; mkdocs calls the functions named on_* (mkdocs.yml)."""

import json
import re
from importlib import import_module
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import hormesis_fit as hf
from hormesis_fit.families import FAMILIES, Family
from hormesis_fit.parameter import Term

NOTEBOOKS = Path(__file__).parent
ROOT = NOTEBOOKS.parent
COPIED = {"index.md": "README.md", "data.md": "data/README.md", "changelog.md": "CHANGELOG.md"}
# Packages in the order of an analysis, with the titles of their pages.
TITLES = {
    "trials": "Trials",
    "curves": "Curves",
    "families": "Families",
    "drift": "Drifts",
    "dosing": "Regimens and kinetics",
    "parameter": "Priors",
    "model": "Models",
    "inference": "Fits",
    "windows": "Windows",
    "checks": "Checks",
    "planning": "Planning",
    "screening": "Screens",
    "figures": "Figures",
    "report": "Reports and tables",
}


def reference() -> dict[str, list[str]]:
    """Return the public names by the package that they live in, in the order of `TITLES`."""
    package = {name: where.partition(".")[0] for name, where in hf._WHERE.items()}
    found = groupby(sorted(package, key=lambda name: ([*TITLES].index(package[name]), name.lower())), package.get)
    return {one: list(names) for one, names in found}


def questions() -> dict[str, tuple[str, str]]:
    """Return title and question of every notebook, by its file."""
    found = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        asked = re.search(r"\*\*Question\.\*\* (.+)", text)
        found[path.name] = text.splitlines()[0].removeprefix("# "), asked[1] if asked else ""
    return found


def course_table() -> str:
    """Return the table of course.md; `python tests/test_docs.py` writes it anew."""
    rows = [f"| {name[:2]} | [{title}]({name}) | {asked} |" for name, (title, asked) in questions().items()]
    return "\n".join(["| | notebook | question |", "|---|---|---|", *rows])


def page(package: str, names: list[str]) -> str:
    """Return the page of one package: what there is, and the docstring of each."""
    about = (import_module(f"hormesis_fit.{package}").__doc__ or "").partition("\n")[0]
    parts = [f"# {TITLES[package]}", about, "| name | what it is |\n|---|---|"]
    parts[-1] += "".join(f"\n| [`{name}`][hormesis_fit.{hf._WHERE[name]}.{name}] | {summary(name)} |" for name in names)
    parts += [f"::: hormesis_fit.{hf._WHERE[name]}.{name}" for name in names]
    if package == "curves":
        parts += [term(one) for one in hf.CURVES.values()]
    if package == "drift":
        parts += [term(one) for one in hf.DRIFTS.values()]
    if package == "families":
        parts += [family(name, one) for name, one in FAMILIES.items()]
    return "\n\n".join(parts) + "\n"


def summary(name: str) -> str:
    """Return the first line of a docstring; a table or a tuple of names has none of its own."""
    value = getattr(hf, name)
    if callable(value):
        return (value.__doc__ or "").strip().partition("\n")[0]
    return f"{', '.join(f'`{one}`' for one in value)}."


def term(one: type[Term]) -> str:
    """Return the section of a curve or a drift: what its class says, its formula, and its parameters."""
    template = one()
    fixed = {name: f"{getattr(template, name)} (fixed)" for name in template.parameters()}
    source = f" ([{one.source.removeprefix('https://doi.org/')}]({one.source}))" if one.source else ""
    table = parameters(template.parameters(), fixed | template.priors())
    return f"::: {one.__module__}.{one.__qualname__}\n\n$`\\displaystyle {one.formula}`${source}\n\n{table}"


def family(name: str, one: Family) -> str:
    """Return the section of a family."""
    table = f"\n\n{parameters(one.declared(), one.priors())}" if one.declared() else ""
    return f"## {name} {{ #{name} }}\n\n{one.definition}{table}"


def parameters(declared: dict, priors: dict) -> str:
    """Return the table of parameters, with the priors of a unit-free trial."""
    rows = [
        f"| `{name}` | $`{known.symbol}`$ | {known.unit} | {known.description} | {priors[name]} |"
        for name, known in declared.items()
    ]
    return "\n".join(["| parameter | symbol | unit | what it is | unit-free prior |", "|---|---|---|---|---|", *rows])


def command_line() -> str:
    """Return what `--help` says, for the program and each of its commands."""
    from typer.main import get_command

    from hormesis_fit.cli.fits import app

    program = get_command(app)
    parts = ["# Command line"]
    for name, command in [(None, program), *program.commands.items()]:
        title = "hormesis-fit" if name is None else f"hormesis-fit {name}"
        context = command.make_context(title, [], resilient_parsing=True, max_content_width=100, terminal_width=100)
        parts.append(f"## {title}\n\n```text\n{command.get_help(context)}\n```")
    return "\n\n".join(parts) + "\n"


def copied(path: Path) -> str:
    """Return a Markdown file from elsewhere in the repository, its links as they are seen from notebooks/."""
    text = path.read_text(encoding="utf-8").replace("](notebooks/", "](").replace('src="notebooks/', 'src="')
    text = text.replace("](data/README.md)", "](data.md)").replace("](CHANGELOG.md)", "](changelog.md)")
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!http|#)(?![\w/]+\.(?:md|ipynb))[^)]*\)", r"\1", text)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put notebooks and reference into the navigation, and formulas into the Markdown."""
    sections = {key: value for entry in config.nav for key, value in entry.items()}
    sections["Course"] += [{title: name} for name, (title, _) in questions().items()]
    sections["Reference"] += [{TITLES[package]: f"reference/{package}.md"} for package in reference()]
    config.markdown_extensions.append(Formulas())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {name: copied(ROOT / source) for name, source in COPIED.items()}
    made |= {f"reference/{package}.md": page(package, names) for package, names in reference().items()}
    made["command_line.md"] = command_line()
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


class Formulas(Extension):
    """Formulas as MathML, which browsers draw by themselves: $`x`$ as on GitHub, :math:`x` as in docstrings."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Go before code in backticks."""
        md.inlinePatterns.register(Formula(r"(?:\$|:math:)`([^`]+)`\$?", md), "formula", 200)


class Formula(InlineProcessor):
    """One formula within a line."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | str, int, int]:
        """Replace it."""
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)
