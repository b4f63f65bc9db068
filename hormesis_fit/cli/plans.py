"""The commands `hormesis-fit next` and `hormesis-fit design`: what to dose next, and what to dose at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hormesis_fit.cli.guide import BENEFIT_SCALES, BenefitScale, Direction, Priors
from hormesis_fit.cli.options import bad_input, parse_curve, read_priors
from hormesis_fit.cli.output import Failure
from hormesis_fit.cli.people import HARM_EXAMPLES, read_harms

if TYPE_CHECKING:
    import xarray as xr

    from hormesis_fit.curves import Curve

DESIGN = "design.json"
SCHEMA = 1
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")]
Controls = Annotated[float, typer.Option(help="Least share of rows without the drug.")]
Only = Annotated[
    str | None, typer.Option("--doses", metavar="D,D,...", help="The only doses that can be given.  [default: any]")
]


def plan_next(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="fit.nc, or the folder that holds it.")],
    n: Annotated[int, typer.Option(help="Rows that can be had.")] = 6,
    goal: Annotated[
        str, typer.Option(metavar="information|regret", help="To know the edges of the window, or one good dose soon.")
    ] = "information",
    controls: Controls = 0.2,
    benefit: Annotated[
        float | None, typer.Option(help="Smallest benefit that counts.  [default: that of the fit, or 0.10]")
    ] = None,
    benefit_scale: Annotated[
        str | None,
        typer.Option(metavar=BENEFIT_SCALES, help="What the benefit is, as for fit.  [default: that of the fit]"),
    ] = None,
    harm: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT", help=f"What a dose must not do: {HARM_EXAMPLES}; again for more."),
    ] = None,
    harm_probability: Annotated[float, typer.Option(help="Highest probability to exceed a limit.")] = 0.1,
    estimand: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose window, as for fit.  [default: that of the fit]")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Label of a subject, whose own window it is.")] = None,
    time: Annotated[float | None, typer.Option(help="When, where sensitivity drifts.  [default: last visit]")] = None,
    doses: Only = None,
    out: Annotated[Path | None, typer.Option(help="File to write.  [default: design.json beside the fit]")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Say which doses to measure next, by what a fit does not know yet."""
    path = fit / "fit.nc" if fit.is_dir() else fit
    target = check_file(out or path.parent / DESIGN, overwrite=overwrite)
    limits, only = read_harms(harm), read_doses(doses)
    known = read_fit(path)
    from hormesis_fit.planning.next_rows import next_doses

    asked = {"benefit": benefit, "benefit_scale": benefit_scale, "harm": limits or None, "estimand": estimand}
    asked |= {"subject": subject, "time": time, "harm_probability": harm_probability, "candidates": only}
    with bad_input():
        planned = next_doses(known, n=n, goal=goal, controls=controls, **asked)
    when = _sampling(known, n, only, subject)
    unit = str(planned["dose"].attrs.get("units", ""))
    rows = list(zip(planned["dose"].values.tolist(), planned["replicates"].values.tolist(), strict=True))
    gain = float(planned["expected_gain"])
    attrs = planned.attrs
    constraints = {"n": attrs["n"], "controls": attrs["controls"], "domain": attrs["domain"], "doses": only}
    constraints |= {"harms": [one for one in attrs["harms"].split("; ") if one], "harm_probability": harm_probability}
    record = _record(rows, gain, constraints, unit) | {"goal": attrs["goal"], "method": attrs["method"]}
    record |= {"benefit": {"delta": attrs["benefit"], "scale": attrs["benefit_scale"]}, "estimand": attrs["estimand"]}
    record |= {"probe_dose": attrs.get("probe_dose"), "prob_exists": attrs["prob_exists"]}
    spreads = {
        edge: {"sd": float(planned["sd"].sel(edge=edge)), "expected_sd": float(planned["expected_sd"].sel(edge=edge))}
        for edge in planned["edge"].values.tolist()
    }
    write_json(record | {"edges": spreads} | _times_record(when), target)
    _echo_rows(rows, unit, [f"{loss:.3g}" for loss in planned["loss"].values], "loss without one row")
    words = "Expected information" if goal == "information" else "Expected decrease of regret"
    typer.echo(f"\n{words}: {gain:.3g}{' nat' if goal == 'information' else ''}")
    for edge, one in spreads.items():
        if math.isfinite(one["sd"]):
            factors = [math.exp(1.2816 * one[name]) for name in ("sd", "expected_sd")]
            typer.echo(f"80 % interval of the {edge} edge: × / ÷ {factors[0]:.3g} now, {factors[1]:.3g} expected")
    if "probe_dose" in attrs:
        typer.echo(
            f"Probe dose on the steepest rise, where a drift of potency shows best: {attrs['probe_dose']:g} {unit}"
        )
    _echo_times(when)
    typer.echo(f"File: {target}")


def _sampling(known: xr.DataTree, n: int, only: Sequence[float] | None, subject: str | None) -> xr.Dataset | str | None:
    """Plan the times of the rows, or say why there is no plan; None where nothing drifts."""
    from hormesis_fit.planning.next_times import next_times
    from hormesis_fit.windows.timecourse import drifting

    if not drifting(known):
        return None
    try:
        return next_times(known, n=n, doses=[dose for dose in only if dose > 0] if only else None, subject=subject)
    except ValueError as error:
        return str(error)


def _times_record(when: xr.Dataset | str | None) -> dict[str, Any]:
    """Return the times of the rows as design.json holds them: nothing without a drift, null without a plan."""
    if when is None or isinstance(when, str):
        return {} if when is None else {"times": None, "washout": None}
    names = ("time", "phase", "delay", "dose", "test_dose", "replicates")
    columns = (when[name].values.tolist() for name in names)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return {
        "time_unit": str(when["time"].attrs.get("units", "")),
        "times": rows,
        "washout": float(when["washout"]),
        "times_gain": float(when["expected_gain"]),
    }


def _echo_times(when: xr.Dataset | str | None) -> None:
    if when is None:
        return
    if isinstance(when, str):
        typer.echo(f"\nNo times for the rows: {when}")
        return
    units = [str(when[name].attrs.get("units", "")) for name in ("time", "dose")]
    time, dose = (f" ({unit})" if unit else "" for unit in units)
    typer.echo(f"\nTimes that say most about {when.attrs['drift']}:")
    typer.echo(f"{f'time{time}':>16}{f'dose{dose}':>16}{f'test dose{dose}':>20}{'rows':>8}   phase")
    for k in range(when.sizes["sample"]):
        row = {str(name): when[name].values[k] for name in when.data_vars if when[name].dims == ("sample",)}
        test = f"{row['test_dose']:.4g}" if row["phase"] == "washout" else "-"
        numbers = f"{row['time']:>16.4g}{row['dose']:>16.4g}{test:>20}{row['replicates']:>8}"
        typer.echo(f"{numbers}   {row['phase']}")
    typer.echo(f"\nExpected information about the drift: {float(when['expected_gain']):.3g} nat")
    if float(when["washout"]) > 0:
        unit = f" {units[0]}" if units[0] else ""
        typer.echo(
            f"Doses until {float(when['duration']):.4g}{unit}, then a wash-out of {float(when['washout']):.3g}{unit}; "
            f"without it: {float(when['dosing_gain']):.3g} nat"
        )


def plan_design(
    dose_min: Annotated[float, typer.Option(help="Lowest positive dose that can be given.")],
    dose_max: Annotated[float, typer.Option(help="Highest dose that can be given.")],
    curve: Annotated[
        str, typer.Option(metavar="NAME", help='Curve, with priors or numbers: "BrainCousens(slope_excess=1.5)".')
    ] = "BrainCousens",
    n: Annotated[int, typer.Option(help="Rows that can be had.")] = 24,
    criterion: Annotated[
        str, typer.Option(metavar="D|c|compound", help="To know all parameters, the window, or both.")
    ] = "compound",
    quantity: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What c estimates, such as peak_dose; again for more.  [default: the edges]"),
    ] = None,
    controls: Controls = 0.25,
    family: Annotated[str, typer.Option(metavar="NAME", help="How responses scatter, as for fit.")] = "gaussian",
    control: Annotated[float, typer.Option(help="Expected mean without the drug.")] = 1.0,
    direction: Direction = "up",
    scale: Annotated[
        str, typer.Option(metavar="ratio|interval", help="Whether 0 means nothing or is a point like others.")
    ] = "ratio",
    benefit: Annotated[float, typer.Option(help="Smallest benefit that counts.")] = 0.10,
    benefit_scale: BenefitScale = "relative",
    dose_unit: Annotated[str, typer.Option(metavar="UNIT", help="Unit of the doses, for the table.")] = "",
    doses: Only = None,
    priors: Priors = None,
    draws: Annotated[int, typer.Option(help="Draws of the priors to average over.")] = 200,
    simulations: Annotated[
        int, typer.Option(help="Trials to simulate and fit, to say how often the window is found.")
    ] = 0,
    cv: Annotated[float, typer.Option(help="Scatter of a simulated row, as a share of the control.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Same seed, same numbers.")] = 0,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path(DESIGN),
    overwrite: Overwrite = False,
) -> None:
    """Say which doses to measure, before any data."""
    target = check_file(out, overwrite=overwrite)
    if not 0 < dose_min < dose_max < math.inf:
        raise Failure(
            f"Expected a positive --dose-min below --dose-max, got {dose_min:g} and {dose_max:g}: correct them; "
            "the control is always there."
        )
    template = _template(curve, direction, scale, priors)
    from hormesis_fit.planning.adequacy import assurance
    from hormesis_fit.planning.designs import optimal_design

    only = read_doses(doses)
    if only and (max(only) > dose_max or min(d for d in only if d > 0) < dose_min):
        raise Failure(f"Expected --doses between {dose_min:g} and {dose_max:g}: correct one or the other.")
    window = {"benefit": benefit, "benefit_scale": benefit_scale}
    shared: dict[str, Any] = {"family": family, "control": control, "random_seed": seed} | window
    with bad_input():
        found = optimal_design(
            template,
            doses=only or (dose_min, dose_max),
            criterion=criterion,
            quantity=quantity or None,
            n=n,
            controls=max(controls, 1 / n) if n > 0 else controls,
            draws=draws,
            **shared,
        )
        scatter = {"cv": cv} if family == "gaussian" else {}
        sure = None
        if simulations:
            sure = assurance(found, curve=template, n=[n], simulations=simulations, **scatter, **shared)
    weighed = [float(f"{dose:.4g}") for dose in found["dose"].values]  # as somebody can weigh them
    rows = list(zip(weighed, found["replicates"].values.tolist(), strict=True))
    constraints = {"n": n, "controls": controls, "domain": [dose_min, dose_max], "doses": only, "harms": []}
    record = _record(rows, float(found.attrs["gain"]), constraints, dose_unit)
    names = ("criterion", "quantity", "curves", "efficiency", "max_sensitivity")
    record |= {name: found.attrs[name] for name in names} | {
        "benefit": {"delta": window["benefit"], "scale": window["benefit_scale"]}
    }
    if sure is not None:
        record["assurance"] = {str(name): float(value) for name, value in sure.isel(rows=0).data_vars.items()}
    write_json(record, target)
    _echo_rows(rows, dose_unit, [f"{weight:.3f}" for weight in found["weight"].values], "share")
    typer.echo(
        f"\nEfficiency {found.attrs['efficiency']:.2f} of the best design without conditions; information per "
        f"parameter beyond equally spaced log doses: {found.attrs['gain']:.3g} nat"
    )
    if sure is not None:
        typer.echo(
            f"Of {simulations} simulated trials {float(sure['prob_located'][0]):.0%} locate a window, "
            f"{float(sure['prob_right'][0]):.0%} rightly; without stimulation {float(sure['type_one'][0]):.0%} do."
        )
    typer.echo(f"File: {target}")


def _template(curve: str, direction: str, scale: str, priors: Path | None) -> Curve:
    from dataclasses import replace

    from hormesis_fit.curves import CURVES
    from hormesis_fit.wording import unknown

    parsed = parse_curve(curve)
    if isinstance(parsed, str):
        if parsed not in CURVES:
            raise Failure(unknown("curve", parsed, CURVES))
        parsed = CURVES[parsed]()
    with bad_input():
        template = replace(parsed, direction=direction, scale=scale)
        given = read_priors(priors) or {}
        strange = [name for name in given if name not in template.parameters()]
        if strange:
            raise ValueError(unknown(f"parameter of {type(template).__name__}", strange[0], template.parameters()))
        return template.with_values(given)


def read_doses(text: str | None) -> list[float] | None:
    """Read doses with commas between them."""
    if text is None:
        return None
    try:
        found = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        found = []
    if not any(dose > 0 for dose in found) or not all(math.isfinite(dose) and dose >= 0 for dose in found):
        raise Failure(f"Expected doses such as 0.1,0.3,1 for --doses, got {text!r}: correct them.")
    return found


def read_fit(path: Path) -> xr.DataTree:
    """Read a fit that was written by an earlier run."""
    import xarray as xr

    from hormesis_fit.windows.posterior import check_fit

    if not path.is_file():
        raise Failure(f"There is no fit at {path}: name a fit.nc, or the folder that `hormesis-fit fit` wrote.")
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            known = opened.load()
        check_fit(known)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise Failure(f"{path} is no fit ({reason}): name a fit.nc that `hormesis-fit fit` wrote.") from None
    return known


def check_file(out: Path, *, overwrite: bool) -> Path:
    """Return the real path of a new file, or say in one sentence why it cannot be written."""
    out = Path(os.path.realpath(out.expanduser()))
    if out.is_dir():
        raise Failure(f"{out} is a folder: name a file with --out.")
    if out.exists() and not overwrite:
        raise Failure(f"{out} exists already: add --overwrite to replace it, or choose another file with --out.")
    if not out.parent.is_dir():
        raise Failure(f"There is no folder {out.parent}: make it first, or choose another file with --out.")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise Failure(f"The folder {out.parent} is not writable: choose another file with --out.")
    return out


def write_json(record: dict[str, Any], target: Path) -> None:
    """Write a record whole or not at all."""
    temporary = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        text = json.dumps(_plain(record), indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise Failure(f"{target} cannot be written ({error.strerror}): choose another file with --out.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _record(rows: Sequence[tuple[float, int]], gain: float, constraints: dict[str, Any], unit: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dose_unit": unit,
        "doses": [dose for dose, _ in rows],
        "replicates": [count for _, count in rows],
        "expected_gain": gain,
        "constraints": constraints,
    }


def _echo_rows(rows: Sequence[tuple[float, int]], unit: str, notes: Sequence[str], name: str) -> None:
    head = f"dose ({unit})" if unit else "dose"
    typer.echo(f"{head:>16}{'rows':>8}   {name}")
    for (dose, count), note in zip(rows, notes, strict=True):
        typer.echo(f"{dose:>16.4g}{count:>8}   {note}")
