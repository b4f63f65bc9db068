"""What `hormesis-fit` can do: demo, fit, curves, data."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hormesis_fit.cli.guide import (
    EXAMPLES,
    START,
    BenefitOrNote,
    BenefitScale,
    Curves,
    Direction,
    DoseColumn,
    Guide,
    History,
    Interval,
    Level,
    Missing,
    PriorHormesis,
    Priors,
    ResponseColumn,
    ScaleOrNote,
    Seed,
    TimeGrid,
)
from hormesis_fit.cli.options import (
    BENEFIT,
    bad_input,
    chosen_curves,
    command_words,
    parse_curves,
    read_benefit,
    read_priors,
    read_table,
)
from hormesis_fit.cli.output import Failure, Watch, check_target, staged, write_result
from hormesis_fit.cli.papers import paper
from hormesis_fit.cli.people import (
    COLUMN_ROLES,
    HARM_EXAMPLES,
    check_estimand,
    check_groups,
    check_rows,
    check_words,
    further_columns,
    read_covariates,
    read_doses_in_time,
    read_drift,
    read_harms,
    read_side_effect,
    read_times,
    read_vary,
    read_when,
)
from hormesis_fit.cli.plans import plan_design, plan_next
from hormesis_fit.cli.screens import screen

# PyMC costs seconds to import: it is imported by the commands that fit, when the input was found to be good.
if TYPE_CHECKING:
    import xarray as xr


# A literal: to ask FAMILIES would make --help load NumPy; a test compares the two.
FAMILY_NAMES = (
    "gaussian, student_t, gaussian_power, lognormal, gamma, beta, binomial, beta_binomial, poisson, "
    "negative_binomial, zero_inflated_poisson, zero_inflated_negative_binomial, hurdle_lognormal, hurdle_gamma, ordinal"
)
DEMO = ("leaflength", "lettuce")
DEMO_SEED = 1

app = typer.Typer(
    name="hormesis-fit",
    help="Which small dose helps, and how surely: the posterior of the optimal micro-dose window, from a table of "
    "doses and responses.",
    epilog=START,
    context_settings={"max_content_width": 100},
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.")]


def _version(wanted: bool) -> None:
    if wanted:
        from hormesis_fit import __version__

        typer.echo(f"hormesis-fit {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the results of both trials.")] = Path("hormesis-demo"),
    overwrite: Overwrite = False,
) -> int:
    """Fit two published trials, one clear and one in doubt."""
    from hormesis_fit.trials.datasets import load_dataset
    from hormesis_fit.windows.summary import comparison, sentence, trial_of

    target, asked = check_target(out, overwrite=overwrite), read_benefit(BENEFIT, "relative", 0.8)
    results = {}
    with staged(target, context.obj) as folder:
        for name in DEMO:
            result = _fit(load_dataset(name), {"random_seed": DEMO_SEED}, asked, context.obj)
            _write(result, folder / name, target)
            results[name] = result
    for name, result in results.items():
        typer.echo(f"{name} ({trial_of(result).attrs['title']}):\n{sentence(result)}\n")
    typer.echo(f"{comparison(*results.values())}\n")
    for name in DEMO:
        typer.echo(f"{name}: report {shown(target / name / 'report.html')}, figures {shown(target / name / 'figures')}")
    return _exit_code(*results.values())


@app.command(cls=Guide, epilog=EXAMPLES["fit"])
def fit(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, TSV or Excel file, one row per measurement.")],
    dose: DoseColumn = "dose",
    response: ResponseColumn = "response",
    dose_unit: Annotated[str | None, typer.Option(metavar="UNIT", help="Unit of the doses, such as mg/L.")] = None,
    response_unit: Annotated[str | None, typer.Option(metavar="UNIT", help="Unit of the responses, such as g.")] = None,
    direction: Direction = "up",
    scale: ScaleOrNote = None,
    standard_dose: Annotated[
        float | None, typer.Option(help="Usual clinical dose; a micro-dose lies far below.")
    ] = None,
    control: Annotated[float | None, typer.Option(help="Known control mean, for a table without dose 0.")] = None,
    missing: Missing = "error",
    sheet: Annotated[str | None, typer.Option(help="Sheet of an Excel file.")] = None,
    curve: Curves = None,
    family: Annotated[str, typer.Option(metavar="NAME", help=f"How responses scatter: {FAMILY_NAMES}.")] = "gaussian",
    subject: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of subjects: each has a control response of its own.")
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of batches, plates, centres or blocks, for --vary.")
    ] = None,
    time: Annotated[str | None, typer.Option(metavar="COL", help="Column of the times since the first dose.")] = None,
    time_unit: Annotated[str | None, typer.Option(metavar="UNIT", help="Unit of the times, such as d.")] = None,
    drift: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="How sensitivity moves in time: OrnsteinUhlenbeck, RandomWalk, LinearDrift, SaturatingDrift, "
            "LocalTrend or MaternProcess, of the potency; gain=NAME or baseline=NAME for others; again for more; or a "
            "mechanism, such as ReceptorTurnover.",
        ),
    ] = None,
    regimen: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table of dose events: ID TIME AMT RATE II ADDL SS EVID.")
    ] = None,
    kinetics: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help='How a dose wears off: "OneCompartment elimination_rate=0.1 route=oral".'),
    ] = None,
    concentrations: Annotated[Path | None, typer.Option(metavar="FILE", help="Concentrations: ID TIME DV.")] = None,
    interval: Interval = None,
    history: History = None,
    time_grid: TimeGrid = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARAMETER=GROUP",
            help="What differs between groups, such as half_effect_dose=subject; a/b nests b in a; again for more; "
            "none lets nothing vary.",
        ),
    ] = None,
    covariates: Annotated[
        list[str] | None,
        typer.Option(metavar='"PARAMETER ~ FORMULA"', help="What follows columns of the table; again for more."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COL",
            help="Further column to keep; those of --vary and --covariates are kept anyway; again for more.",
        ),
    ] = None,
    sd: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of SDs: rows are means of n responses; needs --n.")
    ] = None,
    se: Annotated[str | None, typer.Option(metavar="COL", help="Column of standard errors, taken as known.")] = None,
    n: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of the numbers of units behind the rows.")
    ] = None,
    successes: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of successes out of n, in place of a response.")
    ] = None,
    lower: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of lower limits of responses, blank where open.")
    ] = None,
    upper: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of upper limits, such as a detection limit.")
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of weights of the rows in the likelihood.")
    ] = None,
    guess: Annotated[
        str | None, typer.Option(metavar="COL", help="Column of guesses that the drug was given, 0 to 1.")
    ] = None,
    priors: Priors = None,
    prior_hormesis: PriorHormesis = 0.5,
    benefit: BenefitOrNote = None,
    benefit_scale: BenefitScale = "relative",
    level: Level = 0.8,
    estimand: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Whose window: of the typical subject, the population, a new one, or coverage."
        ),
    ] = "typical",
    harm: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT", help=f"What a dose must not do: {HARM_EXAMPLES}; again for more."),
    ] = None,
    side_effect: Annotated[str | None, typer.Option(metavar="COL", help="Column of a side effect, fitted too.")] = None,
    side_effect_family: Annotated[str, typer.Option(help="How the side effect scatters, as --family.")] = "binomial",
    side_effect_limit: Annotated[
        float | None, typer.Option(help="Highest mean of the side effect (of a binomial one its probability).")
    ] = None,
    engine: Annotated[str, typer.Option(metavar="auto|importance|nuts", help="How to compute; auto knows.")] = "auto",
    leave_one_dose_out: Annotated[
        bool, typer.Option("--leave-one-dose-out", help="Refit without each dose in turn, for the report.")
    ] = False,
    draws: Annotated[int, typer.Option(help="Posterior draws per chain.")] = 1000,
    tune: Annotated[int, typer.Option(help="Warm-up steps of NUTS.")] = 1000,
    chains: Annotated[int, typer.Option(help="Chains.")] = 4,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.  [default: ./<table>-hormesis]")] = None,
    overwrite: Overwrite = False,
    show_subjects: Annotated[
        bool, typer.Option("--show-subjects", help="Show labels and rows of subjects in report and figures.")
    ] = False,
) -> int:
    """Fit a table; write the window, figures and a report."""
    given = context.params
    trial, settings, asked = _checked(table, given)
    settings |= {name: given[name] for name in ("family", "prior_hormesis", "engine", "draws", "tune", "chains")}
    if engine in ("optimum", "mode"):
        raise Failure(
            f"The engine {engine} gives one best curve and no window: use it from Python, with fit(engine=...)."
        )
    settings |= {"curve": parse_curves(curve or ["average"]), "priors": read_priors(priors), "random_seed": seed}
    target = check_target(out or Path(f"{table.stem}-hormesis"), overwrite=overwrite)
    with staged(target, context.obj) as folder:
        result = _fit(trial, settings, asked, context.obj)
        if leave_one_dose_out:
            _leave_one_dose_out(result, trial, settings, context.obj)
        _write(result, folder, target, show_subjects=show_subjects)
    return _report_fit(result, target, drawn=seed is None)


def _checked(table: Path, given: dict[str, Any]) -> tuple[xr.Dataset, dict[str, Any], dict[str, Any]]:
    """Return the trial, what is asked of the fit beside the plain settings, and what is asked of the window."""
    asked = read_benefit(given["benefit"], given["benefit_scale"], given["level"])
    check_words(given["family"], given["side_effect_family"])
    vary = read_vary(given["vary"], {role: given[role] for role in ("subject", "batch")})
    covariates, harms = read_covariates(given["covariates"]), read_harms(given["harm"])
    check_estimand(given["estimand"], vary, given["subject"])
    columns = ("dose", "response", "dose_unit", "response_unit", "direction", "scale", "standard_dose", "control")
    reading = {name: given[name] for name in (*columns, *COLUMN_ROLES, "time", "time_unit", "missing", "sheet")}
    further = further_columns(table, given["sheet"], given["column"], vary, covariates)
    trial = read_table(table, columns=further, **reading)
    check_rows(trial, given["family"])
    drift = read_drift(given["drift"], trial)
    dosing = read_doses_in_time(given, trial, drift)
    moving = bool(drift) or dosing["regimen"] is not None
    times = read_times(given["time_grid"], trial, moving=moving)
    check_groups(trial, {name: column for name, column in (vary or {}).items() if name not in drift}, covariates)
    if asked["benefit_scale"] == "sd" and "se" in trial and "sd" not in trial:
        raise Failure("Known standard errors leave no SD to count a benefit in: use another --benefit-scale.")
    if given["leave_one_dose_out"]:
        from hormesis_fit.checks.predictive import check_left_out

        with bad_input():
            check_left_out(trial, given["family"])
    side = [given[f"side_effect{end}"] for end in ("", "_family", "_limit")]
    endpoints, limits = read_side_effect(table, *side, reading)
    fitting = {"vary": vary, "covariates": covariates or None, "endpoints": endpoints or None, "drift": drift or None}
    fitting |= {name: one for name, one in dosing.items() if one is not None}
    asked |= read_when(given, drift, dosing["kinetics"])
    return trial, fitting, asked | {"times": times, "estimand": given["estimand"], "harm": [*harms, *limits]}


for _name, _command in (("next", plan_next), ("design", plan_design), ("screen", screen), ("paper", paper)):
    app.command(_name, cls=Guide, epilog=EXAMPLES[_name])(_command)


@app.command(cls=Guide, epilog=EXAMPLES["curves"])
def curves(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Curve, or set: average, hormetic, null, all.")
    ] = None,
) -> None:
    """List the curves: formulas, parameters, priors, references."""
    from hormesis_fit.families import FAMILIES

    chosen = chosen_curves(name)
    typer.echo(
        "Priors are written for a unit-free trial: responses in standard deviations of all responses from the control\n"
        "mean, doses on the log scale in widths of the design from its middle; shown for a benefit upwards on the\n"
        "ratio scale. A prior of your own (--priors) is in the units of the trial.\n"
    )
    for label, kind in chosen.items():
        template = kind()
        words = (kind.__doc__ or "").split("\n")[0]
        typer.echo(f"{label} ({'hormetic' if kind.hormetic else 'not hormetic'}): {words}\n  {kind.formula}")
        if kind.source:
            typer.echo(f"  {kind.source}")
        fixed = {known: f"{getattr(template, known)} (fixed)" for known in template.parameters()}
        _echo_parameters(template.parameters(), fixed | template.priors())
    for label, family in ({} if name else FAMILIES).items():
        typer.echo(f"family {label}: {family.definition}")
        _echo_parameters(family.declared(), family.priors())


def _echo_parameters(declared: dict[str, Any], priors: Any) -> None:
    for name, known in declared.items():
        typer.echo(f"    {name:<19}{known.unit:<10}{priors[name]!s:<36}{known.symbol}, {known.description}")
    typer.echo()


@app.command(cls=Guide, epilog=EXAMPLES["data"])
def data(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Table to print; without it all are listed.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the table to.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """List the tables that come with it, or print one as CSV."""
    from hormesis_fit.trials.datasets import list_datasets, load_dataset, table_index

    if name is None:
        for row in list_datasets().itertuples():
            units = f"{row.dose_unit}; {row.response_unit or 'no unit'}"
            typer.echo(f"{row.name:<12}{row.rows:>4} rows  {row.title} [{units}]")
        return
    with bad_input():
        load_dataset(name)
    folder, index = table_index()
    text = (folder / index[name]["file"]).read_text(encoding="utf-8")
    if out is None:
        sys.stdout.write(text)
        return
    if out.exists() and not (overwrite and out.is_file()):
        raise Failure(f"{out} exists already: choose another file with --out, or replace a file with --overwrite.")
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{out} cannot be written ({error.strerror}): choose another file with --out.") from None


def _fit(trial: xr.Dataset, settings: dict[str, Any], asked: dict[str, Any], watch: Watch) -> xr.DataTree:
    started = time.perf_counter()
    from hormesis_fit.inference.fitting import fit as fit_trial
    from hormesis_fit.windows.windowing import window

    imported = time.perf_counter() - started
    try:
        result = fit_trial(trial, **settings)
    except ValueError as error:
        raise Failure(command_words(str(error))) from None
    except RuntimeError as error:
        watch.check()
        raise Failure(f"{str(error).rstrip('.')}: nothing was written.", exit_code=3) from None
    watch.check()
    result.attrs["seconds_import"] = imported
    question = {name: value for name, value in asked.items() if name not in ("stated", "times")}
    result["window"] = window(result, **question).assign_attrs(stated=int(asked["stated"]))
    if settings.get("drift") or settings.get("regimen") is not None:
        from hormesis_fit.windows.persistence import window_over_time

        plain = {name: value for name, value in question.items() if name != "harm"}
        result["over_time"] = window_over_time(result, times=asked["times"], **plain)
    return result


def _leave_one_dose_out(result: xr.DataTree, trial: xr.Dataset, settings: dict[str, Any], watch: Watch) -> None:
    """Store how well every dose group is predicted by the others, for the report."""
    from hormesis_fit.checks.predictive import leave_one_dose_out

    names = ("curve", "family", "priors", "prior_hormesis", "draws")
    chosen = {name: settings[name] for name in names} | {"random_seed": int(result.attrs["seed"])}
    with bad_input():
        result["leave_one_dose_out"] = leave_one_dose_out(trial, **chosen)
    watch.check()


def _write(result: xr.DataTree, folder: Path, target: Path, *, show_subjects: bool = False) -> None:
    try:
        write_result(result, folder, show_subjects=show_subjects)
    except OSError as error:
        reason = error.strerror or error
        raise Failure(f"The results cannot be written to {target} ({reason}): choose another --out.") from None


def _report_fit(result: xr.DataTree, target: Path, *, drawn: bool) -> int:
    from hormesis_fit.windows.summary import sentence, trial_of

    for note in notes(trial_of(result)):
        typer.echo(f"Note: {command_words(note)}")
    if not result["window"].attrs["stated"]:
        typer.echo(f"Note: A benefit of at least {BENEFIT:.0%} was assumed; --benefit states your own.")
    if drawn:
        typer.echo(f"Note: The seed {result.attrs['seed']} was drawn; --seed {result.attrs['seed']} repeats this fit.")
    probability = float(result["evidence"]["prob_hormesis"])
    shown_probability = f"{probability:.3f}" if math.isfinite(probability) else "not asked (curves of one kind only)"
    typer.echo(f"\n{sentence(result)}\n\nP(hormesis): {shown_probability}")
    typer.echo(f"Files: {shown(target)} (report.html, figures, window.json, summary.csv, fit.nc)")
    return _exit_code(result)


def notes(trial: xr.Dataset) -> list[str]:
    """Return what the reader of the table repaired or assumed, one sentence each."""
    kept = trial.attrs.get("notes", [])
    # A list of one comes back from a NetCDF file as text.
    return [kept] if isinstance(kept, str) else [str(note) for note in kept]


def _exit_code(*results: xr.DataTree) -> int:
    from hormesis_fit.windows.summary import status

    return 3 if any(status(result) == "SICK" for result in results) else 0


def shown(path: Path) -> str:
    """Write a path as short as can be."""
    here = Path.cwd()
    return f".{'/' if path != here else ''}{path.relative_to(here)}" if path.is_relative_to(here) else str(path)
