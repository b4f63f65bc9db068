"""The shape of the package: who imports whom, what an import costs, what is public and how it is documented."""

import ast
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import xarray as xr

import hormesis_fit

ROOT = Path(hormesis_fit.__file__).parent
# A module imports only from modules above it.
ORDER = [
    "parameter",
    "curves.curve",
    "curves.hormetic",
    "curves.bells",
    "curves.thresholds",
    "curves.receptor",
    "curves.monotone",
    "curves",
    "vocabulary",
    "families",
    "wording",
    "phrases",
    "progress",
    "trials",
    "trials.tables",
    "trials.columns",
    "trials.reading",
    "trials.simulation",
    "trials.datasets",
    "dosing",
    "dosing.regimen",
    "dosing.concentrations",
    "dosing.exposure",
    "drift.relaxation",
    "drift.marching",
    "drift.steps",
    "drift.drift",
    "drift.process",
    "drift.receptor",
    "drift.feedback",
    "drift",
    "drift.courses",
    "drift.histories",
    "drift.administration",
    "drift.carryover",
    "model",
    "model.hierarchy",
    "model.density",
    "model.likelihood",
    "model.specification",
    "model.building",
    "inference",
    "inference.importance",
    "inference.evidence",
    "inference.engines",
    "inference.implicit",
    "inference.profiles",
    "inference.optimum",
    "inference.assembly",
    "inference.fitting",
    "windows",
    "windows.history",
    "windows.posterior",
    "windows.quantities",
    "windows.utility",
    "windows.estimands",
    "windows.timecourse",
    "windows.harms",
    "windows.exceedance",
    "windows.windowing",
    "windows.persistence",
    "windows.schedules",
    "windows.request",
    "windows.prediction",
    "windows.personal",
    "windows.derived",
    "windows.summary",
    "checks",
    "checks.identifiability",
    "checks.sensitivity",
    "checks.hypotheses",
    "checks.predictive",
    "checks.scaling",
    "checks.elicitation",
    "planning",
    "planning.information",
    "planning.support",
    "planning.designs",
    "planning.adequacy",
    "planning.surrogate",
    "planning.next_rows",
    "planning.timing",
    "planning.recovery",
    "planning.visits",
    "planning.next_times",
    "screening",
    "screening.scores",
    "screening.batch",
    "screening.mixtures",
    "screening.swarm",
    "screening.piecework",
    "screening.multiplicity",
    "screening.store",
    "screening.tables",
    "screening.workers",
    "screening.screens",
    "figures",
    "figures.palette",
    "figures.drawing",
    "figures.axes",
    "figures.dose",
    "figures.curves",
    "figures.people",
    "figures.time",
    "figures.schedules",
    "figures.trajectories",
    "figures.priors",
    "figures.plans",
    "figures.designs",
    "figures.screens",
    "figures.fits",
    "figures.analysis",
    "report",
    "report.recipe",
    "report.tables",
    "report.people",
    "report.review",
    "report.facts",
    "report.checklist",
    "report.estimand",
    "report.interactive",
    "report.writing",
    "report.rounding",
    "report.references",
    "report.markup",
    "report.methods",
    "report.papers",
    "report.typesetting",
    "cli",
    "cli.output",
    "cli.guide",
    "cli.options",
    "cli.people",
    "cli.plans",
    "cli.papers",
    "cli.screens",
    "cli.fits",
    "cli.app",
    "__main__",
]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}
# Who may know a heavy library: every other module works without it.
ALLOWED = {
    "pymc": {
        "model.specification",
        "model.building",
        "model.likelihood",
        "model.density",
        "inference.evidence",
        "inference.engines",
        "inference.fitting",
    },
    "pytensor": {
        "drift.relaxation",
        "drift.marching",
        "drift.steps",
        "model.building",
        "model.likelihood",
        "model.density",
        "inference.evidence",
        "inference.engines",
        "inference.fitting",
    },
    "nutpie": {"inference.engines", "inference.fitting"},
    "matplotlib": {
        "figures.palette",
        "figures.drawing",
        "figures.axes",
        "figures.dose",
        "figures.curves",
        "figures.people",
        "figures.time",
        "figures.schedules",
        "figures.trajectories",
        "figures.priors",
        "figures.plans",
        "figures.designs",
        "figures.screens",
        "figures.fits",
        "figures.analysis",
        "report.interactive",
        "report.writing",
    },
    "arviz_plots": {"figures.fits"},
    "arviz_stats": {
        "inference.evidence",
        "inference.engines",
        "inference.fitting",
        "checks.hypotheses",
        "checks.predictive",
        "checks.scaling",
    },
    "arviz": set(),
    "preliz": {"checks.elicitation"},
    "typer": {"cli.guide", "cli.fits", "cli.screens", "cli.plans", "cli.papers", "cli.app"},
    "jinja2": {"report.writing"},
    "formulae": {"model.hierarchy"},
    "great_tables": {"report.typesetting"},
    "docx": {"report.typesetting"},
    "pandas": {
        "model.hierarchy",
        "trials.tables",
        "trials.datasets",
        "windows.summary",
        "windows.derived",
        "report.papers",
        "report.typesetting",
        "screening.store",
        "screening.tables",
        "screening.workers",
        "screening.screens",
    },
}
LONGEST_FUNCTION, LONGEST_MODULE = 60, 450


@cache
def parsed(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(name):
    """Yield the module, and the names taken from it, of every import, also one inside a function."""
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names]


def own_imports(name):
    """Yield the modules of the package that a module imports, by their names in `ORDER`."""
    for module, names in imports(name):
        if module == "hormesis_fit":
            yield from (one for one in names if one in MODULES)
        elif module.startswith("hormesis_fit."):
            yield module.removeprefix("hormesis_fit.")


def run(code):
    """Run code in a fresh process and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_has_its_place():
    assert set(MODULES) == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("name", MODULES)
class TestModule:
    def test_imports_only_from_above(self, name):
        above = ORDER[: ORDER.index(name)] if name in ORDER else []
        assert not [other for other in own_imports(name) if other not in above]

    def test_imports_are_absolute(self, name):
        assert not [module for module, _ in imports(name) if module.startswith(".")]

    def test_knows_only_the_libraries_of_its_task(self, name):
        libraries = {module.partition(".")[0] for module, _ in imports(name)}
        assert not {library for library in libraries & set(ALLOWED) if name not in ALLOWED[library]}

    def test_says_what_it_is_for(self, name):
        assert (ast.get_docstring(parsed(name)) or "").partition("\n")[0].endswith(".")

    def test_is_short(self, name):
        lines = MODULES[name].read_text(encoding="utf-8").count("\n")
        assert lines <= LONGEST_MODULE

    def test_functions_are_short(self, name):
        functions = [node for node in ast.walk(parsed(name)) if isinstance(node, ast.FunctionDef)]
        bodies = {node.name: node.body[ast.get_docstring(node) is not None :] for node in functions}
        lines = {name: body[-1].end_lineno - body[0].lineno + 1 for name, body in bodies.items() if body}
        assert not {name: length for name, length in lines.items() if length > LONGEST_FUNCTION}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import hormesis_fit", "pymc pytensor nutpie arviz matplotlib pandas xarray scipy numpy"),
        ("import hormesis_fit.windows.windowing", "pymc pytensor nutpie arviz arviz_stats matplotlib typer jinja2"),
        ("import hormesis_fit; hormesis_fit.load_dataset('lettuce')", "pymc pytensor nutpie arviz matplotlib"),
        ("import hormesis_fit.cli.app", "pymc pytensor nutpie arviz matplotlib pandas xarray scipy"),
    ],
)
def test_a_fresh_process_loads_only_what_it_needs(code, absent):
    loaded = run(f"{code}\nimport sys; print(*sorted(sys.modules.keys() & set({absent.split()})))")
    assert loaded == ""


def test_public_names_stay_what_they_are_after_every_module_was_imported():
    modules = [f"hormesis_fit.{name}" for name in MODULES if name != "__main__"]
    changed = run(
        "import importlib, types, hormesis_fit as hf\n"
        "before = {name: getattr(hf, name) for name in hf.__all__}\n"
        f"for module in {modules}: importlib.import_module(module)\n"
        "print(*[name for name, value in before.items() if getattr(hf, name) is not value])\n"
        "print(*[name for name, value in before.items() if isinstance(value, types.ModuleType)])\n"
    )
    assert changed == ""
    assert not set(hormesis_fit.__all__) & {name.partition(".")[0] for name in MODULES}


def test_public_names_are_listed_and_others_are_refused():
    assert set(hormesis_fit.__all__) <= set(dir(hormesis_fit))
    with pytest.raises(AttributeError, match="has no attribute 'windwo'"):
        hormesis_fit.windwo  # noqa: B018


def sections(function):
    """Return the numpydoc sections of a docstring, by title."""
    found, title = {"Summary": []}, "Summary"
    lines = inspect.getdoc(function).splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line and set(following.strip()) == {"-"}:
            title = line
            found[title] = []
        elif set(line.strip()) != {"-"}:
            found[title].append(line)
    return found


PUBLIC = {name: getattr(hormesis_fit, name) for name in hormesis_fit.__all__}
CALLABLE = {name: value for name, value in PUBLIC.items() if callable(value)}


@pytest.mark.parametrize("name", CALLABLE)
def test_public_callables_have_a_numpydoc_docstring(name):
    found = sections(CALLABLE[name])
    assert found["Summary"][0].endswith(".")
    if isinstance(CALLABLE[name], type) and name != "Prior":
        assert "Attributes" in found
        return
    parameters = [one for one in inspect.signature(CALLABLE[name]).parameters if one != "self"]
    described = {word.strip("* ") for line in found.get("Parameters", []) for word in line.partition(":")[0].split(",")}
    assert not [one for one in parameters if one not in described]
    assert bool(parameters) == ("Parameters" in found)
    if inspect.isfunction(CALLABLE[name]):
        assert found["Returns"][0].strip()


@pytest.mark.parametrize("name", [name for name, value in CALLABLE.items() if inspect.isfunction(value)])
def test_public_functions_are_annotated_and_take_one_positional_subject(name):
    signature = inspect.signature(CALLABLE[name])
    kinds = [one.kind for one in signature.parameters.values()]
    assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())
    assert signature.return_annotation is not inspect.Signature.empty
    # What writes files takes what it writes and where to.
    writes = {"folder", "path"} & set(signature.parameters)
    assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 1 + len(writes)


FUNCTIONS = {name: value for name, value in CALLABLE.items() if inspect.isfunction(value)}
RETURNS_NUMBERS = {"xr.Dataset", "xr.DataArray", "xr.DataTree", "pm.Model"}
# What reads, draws, writes or says what others have computed has nothing to cite.
UNCITED = re.compile(
    r"(plot|read|load|list|write|save|simulate|summary|paper|figure)_|window_record|sentence|bibliography"
)
# Windows of times and of intervals are windows; a mean over dose is one, and curves and drifts name their own sources.
CITED_ELSEWHERE = {"window_over_time", "dose_interval", "predict", "sensitivity_over_time"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_say_what_can_go_wrong(name):
    assert sections(FUNCTIONS[name]).get("Raises", [""])[0].strip().endswith("Error")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_say_the_dims_and_units_of_the_numbers_they_return(name):
    function = FUNCTIONS[name]
    returned = str(inspect.signature(function).return_annotation)
    text = " ".join(sections(function)["Returns"])
    if returned in RETURNS_NUMBERS and name != "figure_data":  # as many dims as there are figures
        assert re.search(r"dims \(|[Oo]ver \(|Over the dims? of|Over ``|Scalars: ", text)
    if returned in RETURNS_NUMBERS or "DataFrame" in returned:
        assert re.search(r"\[[a-z1][a-z0-9 /*,]*\]|``units``|\bunits?\b|_unit\b", text)


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if not UNCITED.match(name) and name not in CITED_ELSEWHERE]
)
def test_public_functions_name_their_source(name):
    assert re.search(r"https://(doi\.org/10\.\d{4,}/|jmlr\.org/)", inspect.getdoc(FUNCTIONS[name]))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in CALLABLE])
def test_public_tables_are_described_where_they_stand(name):
    body = parsed(hormesis_fit._WHERE[name]).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if name in [getattr(one, "id", None) for one in targets]:
            assert isinstance(following, ast.Expr)
            assert following.value.value.endswith(".")
            return
    pytest.fail(f"{name} is not assigned in its module")


@pytest.mark.parametrize("wrong", [3, xr.DataTree(), xr.Dataset()], ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_fit_trial_or_screen_is_refused_in_one_sentence(name, wrong):
    subject, *others = inspect.signature(FUNCTIONS[name]).parameters.values() or [None]
    if getattr(subject, "name", None) not in ("fit", "trial", "source", "screen", "surface"):
        return
    needed = [one for one in others if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    given = {one.name: "." if one.name in ("path", "folder") else None for one in needed}
    with pytest.raises(TypeError, match=r"^[A-Z][^\n]*[.]$"):
        FUNCTIONS[name](wrong, **given)
