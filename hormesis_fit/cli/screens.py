"""The command `hormesis-fit screen`: thousands of curves from the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hormesis_fit.cli.guide import (
    BenefitOrNote,
    BenefitScale,
    Curves,
    Direction,
    DoseColumn,
    Level,
    Missing,
    PriorHormesis,
    ResponseColumn,
    ScaleOrNote,
    Seed,
)
from hormesis_fit.cli.options import bad_input, parse_curves, read_benefit
from hormesis_fit.cli.output import Failure, Interrupted

if TYPE_CHECKING:
    import xarray as xr


def screen(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV or Parquet file, or a folder of them.")],
    curve_id: Annotated[str, typer.Option(metavar="COL", help="Column of the labels of the curves.")],
    dose: DoseColumn = "dose",
    response: ResponseColumn = "response",
    dose_unit: Annotated[
        str | None, typer.Option(metavar="UNIT", help="Unit of the doses, or the column that holds it.")
    ] = None,
    response_unit: Annotated[
        str | None, typer.Option(metavar="UNIT", help="Unit of the responses, or the column that holds it.")
    ] = None,
    direction: Direction = "up",
    scale: ScaleOrNote = None,
    control: Annotated[float | None, typer.Option(help="Known control mean, such as 100 for per cent.")] = None,
    missing: Missing = "error",
    curve: Curves = None,
    family: Annotated[str, typer.Option(metavar="NAME", help="How responses scatter, as for fit.")] = "gaussian",
    benefit: BenefitOrNote = None,
    benefit_scale: BenefitScale = "relative",
    level: Level = 0.8,
    fdr: Annotated[float, typer.Option(help="Largest expected share of false ones among the selected.")] = 0.05,
    prior_hormesis: PriorHormesis = 0.5,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.  [default: ./<table>-screen]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the screen that the folder holds.")] = False,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Scheduler of a Dask cluster.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on this machine.  [default: one for each processor, if Dask is there]")
    ] = None,
    piece: Annotated[int, typer.Option(help="Curves that are computed and stored at a time.")] = 100,
) -> int:
    """Fit thousands of curves; rank them by P(hormesis)."""
    given = {name: value for name, value in context.params.items() if name not in ("table", "seed", "curve", "out")}
    asked = read_benefit(benefit, benefit_scale, level)
    given |= {name: asked[name] for name in ("benefit", "benefit_scale", "level")}
    given |= {"curve": parse_curves(curve or ["average"]), "random_seed": seed}
    target = (out or Path(f"{table.stem}-screen")).expanduser()
    if workers is None:
        given["workers"] = _processors() if scheduler is None else None
    from hormesis_fit.screening.store import PIECES

    try:
        with bad_input():
            result = _screen(table, given, target)
    except (Interrupted, KeyboardInterrupt):
        kept = len(list((target / PIECES).glob("*.nc")))
        raise Failure(
            f"Interrupted: {kept} finished pieces are kept in {target}; --resume goes on from there.", exit_code=130
        ) from None
    return _report(result, target, stated=benefit is not None, drawn=seed is None)


def _screen(table: Path, given: dict[str, Any], target: Path) -> xr.Dataset:
    from hormesis_fit.screening.screens import screen as run

    return run(table, out=target, **given)


def _processors() -> int:
    """Processors that this process may use, where Dask is there to use them."""
    from importlib.util import find_spec

    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return there if find_spec("distributed") else 1


def _report(result: xr.Dataset, target: Path, *, stated: bool, drawn: bool) -> int:
    from hormesis_fit.screening.store import named_failures, summary_of

    for problem in json.loads(result.attrs["problems"]):
        typer.echo(f"Note: {problem}")
    if not stated:
        typer.echo(f"Note: A benefit of at least {result.attrs['benefit']:.0%} was assumed; --benefit states your own.")
    if drawn:
        seed = result.attrs["random_seed"]
        typer.echo(f"Note: The seed {seed} was drawn; --seed {seed} repeats this screen.")
    failed = int((result["status"].values == "FAILED").sum())
    typer.echo(f"\n{summary_of(result)}")
    if failed:
        typer.echo(f"{failed} curves could not be fitted:")
        for line in named_failures(result):
            typer.echo(f"  {line}")
    typer.echo(f"Files: {target} (ranking.html, ranking.csv, ranking.parquet, screen.zarr)")
    if failed == result.sizes["curve_id"]:
        raise Failure(f"None of the {failed} curves could be fitted: correct the table.")
    return 0
