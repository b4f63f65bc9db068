"""Thousands of curves: every curve averaged over families, on one machine or on a Dask cluster."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from hormesis_fit.curves import CURVE_SETS, CURVES, Curve
from hormesis_fit.model.specification import CurveLike, find_family
from hormesis_fit.progress import progress
from hormesis_fit.screening.piecework import Asked, failure
from hormesis_fit.screening.store import (
    check_libraries,
    dataset_of,
    fingerprint,
    former_seed,
    joined,
    mark_of,
    read_piece,
    read_store,
    settle_folder,
    with_multiplicity,
    write_piece,
    write_results,
)
from hormesis_fit.screening.tables import Pieces, cut, has_column, unit_in
from hormesis_fit.screening.workers import Mapper, mapper
from hormesis_fit.trials.reading import CHOICES, check_number, check_whole
from hormesis_fit.windows.windowing import check_benefit
from hormesis_fit.wording import unknown

PIECE = 100


def screen(
    table: str | PathLike | pd.DataFrame | Mapping[str, Sequence],
    *,
    curve_id: str,
    dose: str = "dose",
    response: str = "response",
    dose_unit: str | None = None,
    response_unit: str | None = None,
    direction: str = "up",
    scale: str | None = None,
    control: float | None = None,
    missing: str = "error",
    curve: CurveLike | Sequence[CurveLike] = "average",
    family: str = "gaussian",
    benefit: float = 0.10,
    benefit_scale: str = "relative",
    level: float = 0.8,
    fdr: float = 0.05,
    prior_hormesis: float = 0.5,
    random_seed: int | None = None,
    out: str | PathLike | None = None,
    resume: bool = False,
    scheduler: Any = None,
    workers: int | None = None,
    piece: int = PIECE,
) -> xr.Dataset:
    """Fit thousands of curves, and say which of them are hormetic and which have a window.

    Parameters
    ----------
    table : str, path-like, pandas.DataFrame or mapping of columns
        CSV or Parquet file, a folder of them, or a table in memory; one row for each measurement. Files are read a
        part at a time.
    curve_id : str
        Column of the labels of the curves.
    dose, response : str
        Columns of doses and responses.
    dose_unit, response_unit : str, optional
        Units, or the columns that hold them: curves with another unit than most are refused.
    direction, scale, control, missing
        As in `read_trial`; ``control=100`` for responses in per cent of controls that are not in the table.
    curve : str, class, Curve, or a list of them
        As in `fit`.
    family : str
        Observation model, a name in `FAMILIES`. Others than the Gaussian one are fitted curve by curve.
    benefit, benefit_scale, level
        As in `window`.
    fdr : float
        Largest expected share of false ones among the selected curves.
    prior_hormesis : float
        Prior probability of the hormetic curves of the average, for a curve by itself.
    random_seed : int, optional
        Same seed and versions, same numbers, whatever the number of workers and the order of the curves.
    out : str or path-like, optional
        Folder for the Zarr store ``screen.zarr`` and for ``ranking.csv``, ``.parquet`` and ``.html``.
    resume : bool
        Whether to go on with the screen that `out` holds; finished pieces are not computed again.
    scheduler : str or dask.distributed.Client, optional
        A Dask cluster, or the address of its scheduler.
    workers : int, optional
        Processes on this machine, through Dask; one by default, which is this process.
    piece : int
        Curves that are computed and stored at a time: bounds the memory.

    Returns
    -------
    Dataset
        Over (curve_id): ``status``, ``note``, ``best_model``, ``prob_hormesis`` of the curve by itself, ``local_fdr``,
        ``rank``, ``fdr`` and ``selected`` given all curves, ``prob_exists``, ``max_probability``, ``best_dose``,
        ``window_lower`` and ``window_upper`` [dose]; over (curve_id, statistic): ``peak_dose``, ``peak_stimulation``
        and the other quantities of `window`, with median, 95 % interval and share of draws; over (curve_id, model):
        ``log_evidence``, ``weight`` and health. Scalars: ``share_hormetic`` with its interval, ``selected_count``. The
        attr ``problems`` (JSON) lists what could not be read.

    Raises
    ------
    ValueError
        If nothing could be read, a name is unknown or a number out of range.

    Notes
    -----
    A curve that fails is recorded with its reason and stops no other. Random numbers of a curve follow from the seed
    and its label alone.

    References
    ----------
    Newton et al. (2004), https://doi.org/10.1093/biostatistics/5.2.155, for the false discovery rate; adaptive multiple
    importance sampling: https://doi.org/10.1111/j.1467-9469.2011.00756.x.
    """
    check_benefit(benefit, benefit_scale, level)
    _check(curve_id, fdr, prior_hormesis, random_seed, piece, workers)
    find_family(family)
    out = None if out is None else Path(out).expanduser()
    if random_seed is None:
        former = former_seed(out) if out is not None and resume else None
        random_seed = secrets.randbelow(2**31) if former is None else former
    curves = _curves(curve)
    columns = {"dose": dose, "response": response}
    reading = dict(columns) | {"dose_unit": dose_unit, "response_unit": response_unit, "direction": direction}
    reading |= {"scale": scale, "control": control, "missing": missing}
    _check_reading(reading)
    asked = Asked(curves, family, benefit, benefit_scale, level, prior_hormesis, int(random_seed))
    settings = {"curve_id": curve_id} | reading | {"curve": [_label(one) for one in curves], "family": family}
    # What is asked of the whole, and not of a piece, may differ when a screen goes on.
    settings |= {"benefit": benefit, "benefit_scale": benefit_scale, "level": level, "prior_hormesis": prior_hormesis}
    settings |= {"random_seed": int(random_seed), "piece": int(piece), "version": version("hormesis-fit")}
    started = time.perf_counter()
    with ExitStack() as stack:
        spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hormesis-screen-")))
        units = [one for one in (dose_unit, response_unit) if one is not None and has_column(table, one)]
        named = columns | {one: one for one in units}
        pieces = cut(table, spool, curve_id=curve_id.strip(), columns=named, units=units, size=int(piece))
        if out is not None:
            check_libraries()
            settle_folder(out, settings, resume=resume)
        for name in ("dose_unit", "response_unit"):
            if reading[name] in units:
                reading[name] = unit_in(pieces, reading[name])
        map_pieces = stack.enter_context(mapper(scheduler, workers))
        found, mark = _all_pieces(pieces, asked, reading, settings, out, map_pieces)
    result = with_multiplicity(joined(found), prior_hormesis, fdr)
    result.attrs |= {name: json.dumps(value) if isinstance(value, list) else value for name, value in settings.items()}
    result.attrs = {name: "" if value is None else value for name, value in result.attrs.items()}
    result.attrs |= {
        "problems": json.dumps(pieces.problems),
        "fingerprint": mark,
        "seconds_total": time.perf_counter() - started,
    }
    if out is not None:
        write_results(result, out)
    return result


def _check(curve_id: str, fdr: float, prior_hormesis: float, seed: int | None, piece: int, workers: int | None) -> None:
    if not isinstance(curve_id, str) or not curve_id.strip():
        raise TypeError(f"Expected the name of a column for curve_id=, got {curve_id!r}: give it as text.")
    for name, value in (("fdr", fdr), ("prior_hormesis", prior_hormesis)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value!r}.")
    if seed is not None:
        check_whole("random_seed", seed, least=0)
    check_whole("piece", piece, least=1)
    if workers is not None:
        check_whole("workers", workers, least=1)


def _check_reading(reading: Mapping[str, Any]) -> None:
    """Refuse once, and not for every curve, what no curve could be read with."""
    for name in ("direction", "missing", "scale"):
        if reading[name] is not None and reading[name] not in CHOICES[name]:
            raise ValueError(unknown(name, reading[name], CHOICES[name]))
    check_number("control", reading["control"])


def _curves(curve: CurveLike | Sequence[CurveLike]) -> tuple[CurveLike, ...]:
    if isinstance(curve, str) and curve in CURVE_SETS:
        return tuple(CURVE_SETS[curve])
    wanted = (curve,) if isinstance(curve, str | type | Curve) else tuple(curve)
    if not wanted:
        raise ValueError("The list of curves is empty; name at least one.")
    labels = [_label(one) for one in wanted]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"The curve {label} is listed twice; name every curve once.")
    return wanted


def _label(curve: CurveLike) -> str:
    if isinstance(curve, str):
        if curve not in CURVES:
            raise ValueError(unknown("curve", curve, CURVES))
        return curve
    if isinstance(curve, type) and issubclass(curve, Curve):
        return curve.__name__
    if isinstance(curve, Curve):
        return curve.label
    raise TypeError(f"A curve is a name, a subclass of Curve or a template, got {type(curve).__name__}.")


def _all_pieces(
    pieces: Pieces,
    asked: Asked,
    reading: Mapping[str, Any],
    settings: Mapping[str, Any],
    out: Path | None,
    map_pieces: Mapper,
) -> tuple[list[xr.Dataset], str]:
    """Return the results of all pieces, in order, and what they depend on; finished ones are read, others computed.

    Pieces that were lost with their workers are not stored, and nothing stands for the whole: they are tried again when
    the screen goes on.
    """
    models = [_label(one) for one in asked.curves]
    units = {name: reading[f"{name}_unit"] or "" for name in ("dose", "response")}
    text = json.dumps([settings, models, units, sorted(pieces.refused.items())], sort_keys=True)
    marks = [fingerprint(pieces.path(number), text) for number in range(pieces.count)]
    whole = mark_of(marks)
    found: dict[int, xr.Dataset] = {}
    if out is not None:
        finished = read_store(out, whole)
        if finished is not None:
            return [finished.drop_attrs(deep=False)], whole
        stored = {number: read_piece(out, number, mark) for number, mark in enumerate(marks)}
        found = {number: one for number, one in stored.items() if one is not None}
    missing = [number for number in range(pieces.count) if number not in found]
    done, begun = len(found) * pieces.size, time.perf_counter()
    with progress(pieces.count) as step:
        for _ in found:
            step("Reading finished pieces")
        step(f"Fitting {len(pieces.labels):,} curves")
        for number, records in map_pieces(pieces, missing, asked, reading):
            labels = pieces.curves(number)
            refused = {label: failure(pieces.refused[label]) for label in labels if label in pieces.refused}
            lost = isinstance(records, str)
            fitted = {label: failure(records) for label in labels} if lost else records
            found[number] = dataset_of({label: refused.get(label) or fitted[label] for label in labels}, models, units)
            if lost:
                whole = ""
            elif out is not None:
                write_piece(out, number, found[number], marks[number])
            done += len(labels)
            step(_pace(done, len(pieces.labels), len(found) - pieces.count + len(missing), pieces.size, begun))
    return [found[number].drop_attrs(deep=False) for number in range(pieces.count)], whole


def _pace(done: int, total: int, computed: int, size: int, begun: float) -> str:
    """Say how far a screen is, how fast it goes and how long it will take."""
    rate = computed * size / max(time.perf_counter() - begun, 1e-9)
    left = max(total - done, 0) / rate
    words = f"{left / 3600:.1f} h" if left > 5400 else f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
    return f"{min(done, total):,} of {total:,} curves, {rate:.1f} per second, {words} left"
