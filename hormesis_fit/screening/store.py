"""Results of a screen: a Dataset over curves, pieces that survive a killed run, a Zarr store and a ranked table."""

from __future__ import annotations

import hashlib
import html
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hormesis_fit.checks.hypotheses import posterior_fdr
from hormesis_fit.screening.multiplicity import share_of
from hormesis_fit.screening.piecework import STATISTICS
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.wording import quote

SETTINGS, STORE, PIECES = "screen.json", "screen.zarr", "pieces"
MOST_SHOWN = 1000  # rows of the HTML table
RANKING = (
    *("curve_id", "status", "prob_hormesis", "local_fdr", "peak_dose", "peak_stimulation"),
    *("window_lower", "window_upper", "best_model", "note"),
)
# Name: unit ("dose", "response", "1" or "" for words) and definition.
COLUMNS = {
    "status": ("", "WINDOW, UNLOCATED, UNLIKELY, UNDETERMINED, SICK, or FAILED with a reason in note."),
    "note": ("", "Why a curve failed or was treated otherwise than the others."),
    "best_model": ("", "Family of the highest posterior probability."),
    "scale": ("", "Scale of the responses: ratio or interval."),
    "rows": ("1", "Responses of the curve."),
    "doses": ("1", "Distinct doses of the curve."),
    "prob_hormesis": ("1", "Posterior probability of hormesis of the curve by itself."),
    "prob_exists": ("1", "Posterior probability that there is a window at all."),
    "max_probability": ("1", "Highest probability that any one dose has the benefit."),
    "best_dose": ("dose", "Dose with the highest probability of the benefit."),
    "window_lower": ("dose", "Lower edge of the window at the level asked for; NaN without a window."),
    "window_upper": ("dose", "Upper edge of the window at the level asked for; NaN without a window."),
}
WORDS = tuple(name for name, (unit, _) in COLUMNS.items() if unit == "")
BY_MODEL = {
    "log_evidence": "Log marginal likelihood of the family.",
    "log_evidence_se": "Monte Carlo standard error of the log evidence.",
    "weight": "Posterior probability of the family.",
    "ess": "Effective sample size.",
    "pareto_k": "Pareto k-hat of the importance weights; below 0.7 is healthy.",
}
MODEL_WORDS = {"engine": "How the posterior was computed."}


def dataset_of(records: Mapping[str, Mapping[str, Any]], models: Sequence[str], units: Mapping[str, str]) -> xr.Dataset:
    """Return the records of some curves as a Dataset.

    Parameters
    ----------
    records : mapping
        As `fit_piece` returns them.
    models : sequence of str
        Labels of the families.
    units : mapping
        The units of ``dose`` and ``response``.
    """
    rows = list(records.values())

    def column(name: str, empty: Any) -> list:
        return [row.get(name, empty) for row in rows]

    variables: dict[str, Any] = {}
    for name, (unit, text) in COLUMNS.items():
        values = np.array(column(name, "" if name in WORDS else np.nan), dtype=object if name in WORDS else float)
        variables[name] = "curve_id", values, _attrs(name, units.get(unit, unit), text)
    blank = [np.nan] * len(models)
    for name, text in BY_MODEL.items():
        values = np.array(column(name, blank), dtype=float).reshape(-1, len(models))
        variables[name] = ("curve_id", "model"), values, _attrs(name, "1", text)
    for name, text in MODEL_WORDS.items():
        values = np.array(column(name, ["none"] * len(models)), dtype=object).reshape(-1, len(models))
        variables[name] = ("curve_id", "model"), values, _attrs(name, "", text)
    shape = (len(QUANTITIES), len(STATISTICS))
    table = np.array(column("quantity_table", np.full(shape, np.nan)), dtype=float).reshape(-1, *shape)
    for k, (name, (unit, text)) in enumerate(QUANTITIES.items()):
        # The edges of one draw's window: the window of the screen is at a level of probability.
        name = f"edge_{name.removeprefix('window_')}" if name.startswith("window") else name
        text = f"{text} Quantiles given existence, and the share of draws that have one."
        variables[name] = ("curve_id", "statistic"), table[:, k], _attrs(name, units.get(unit, unit), text)
    coords = {"curve_id": np.array(list(records), dtype=object), "model": list(models), "statistic": list(STATISTICS)}
    return xr.Dataset(variables, coords=coords)


def _attrs(name: str, unit: str, text: str) -> dict[str, str]:
    return {"units": unit, "long_name": name.replace("_", " "), "definition": text}


def joined(pieces: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the pieces of a screen as one Dataset, whether they were computed or read."""
    whole = xr.concat(pieces, "curve_id", data_vars="minimal")
    # Text that was read has another type than text that was not: the store would tell which was which.
    texts = {name: one.astype(object) for name, one in whole.variables.items() if one.dtype.kind in "OUT"}
    return whole.assign_coords({name: one for name, one in texts.items() if name in whole.coords}).assign(
        {name: one for name, one in texts.items() if name not in whole.coords}
    )


def with_multiplicity(screen: xr.Dataset, prior_hormesis: float, fdr: float) -> xr.Dataset:
    """Add the share of hormetic curves, and what it and the number of curves make of each probability."""
    share = share_of(screen["prob_hormesis"].values, prior_hormesis)
    probabilities = xr.DataArray(share.probabilities, dims="curve_id", coords={"curve_id": screen["curve_id"]})
    # From the surest on, so that sums come out the same to the last bit in whatever order the curves came.
    order = np.lexsort((screen["curve_id"].values.astype(str), -share.probabilities))
    chosen = posterior_fdr(probabilities.isel(curve_id=order), level=fdr).isel(curve_id=np.argsort(order))
    texts = {
        "share_hormetic": (share.mean, "Posterior mean of the share of hormetic curves, from a Beta(1, 4) prior."),
        "share_hormetic_lower": (share.lower, "Lower end of its 95 % interval."),
        "share_hormetic_upper": (share.upper, "Upper end of its 95 % interval."),
        "share_safe": (share.safe, "The share that local_fdr rests on: bounded without the prior of the stimulation."),
    }
    screen = screen.assign({name: ((), value, _attrs(name, "1", text)) for name, (value, text) in texts.items()})
    text = "Probability that the curve is not hormetic, given the safe share of hormetic curves."
    screen["local_fdr"] = chosen["local_fdr"].assign_attrs(_attrs("local_fdr", "1", text))
    for name in ("rank", "fdr", "selected", "selected_count", "expected_false"):
        screen[name] = chosen[name]
    return screen.assign_attrs(fdr_level=fdr)


def ranking(screen: xr.Dataset) -> pd.DataFrame:
    """Return the curves of a screen as a table, the surest first, those that failed last."""
    columns = {name: screen[name].values for name in RANKING if name not in ("peak_dose", "peak_stimulation")}
    for name in ("peak_dose", "peak_stimulation"):
        columns[name] = screen[name].sel(statistic="median").values
    table = pd.DataFrame(columns)[list(RANKING)]
    failed = table["status"] == "FAILED"
    order = np.lexsort((table["curve_id"].astype(str), -table["prob_hormesis"].fillna(-1), failed))
    return table.iloc[order].reset_index(drop=True)


def fingerprint(path: Path, asked: str) -> str:
    """Return what a piece depends on, in short: its rows and what is asked."""
    return hashlib.sha256(asked.encode() + path.read_bytes()).hexdigest()


def mark_of(marks: Sequence[str]) -> str:
    """Return what a whole screen depends on, from what its pieces do."""
    return hashlib.sha256("".join(marks).encode()).hexdigest()


def read_piece(out: Path, number: int, mark: str) -> xr.Dataset | None:
    """Return the finished piece of an earlier run; None if there is none, or it is damaged or of other rows."""
    path = out / PIECES / f"{number:05d}.nc"
    try:
        with xr.open_dataset(path, engine="h5netcdf") as stored:
            piece = stored.load()
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    return piece if piece.attrs.get("fingerprint") == mark else None


def write_piece(out: Path, number: int, piece: xr.Dataset, mark: str) -> None:
    """Write a finished piece, whole or not at all."""
    path = out / PIECES / f"{number:05d}.nc"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".partial-{os.getpid()}")
    piece.assign_attrs(fingerprint=mark).to_netcdf(partial, engine="h5netcdf")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def settle_folder(out: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    """Begin a folder for results, or make sure that an old one was asked the same."""
    record = out / SETTINGS
    if record.exists() and not resume:
        raise ValueError(
            f"{out} holds a screen already: go on with it by resume=True (--resume), or choose another folder."
        )
    if record.exists():
        former = json.loads(record.read_text(encoding="utf-8"))
        for name, value in settings.items():
            if former.get(name) != value:
                raise ValueError(
                    f"{out} holds a screen with {name}={former.get(name)!r}, not {value!r}: ask the same to resume it, "
                    "or choose another folder."
                )
        return
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} exists already and holds no screen: choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(record, json.dumps(settings, indent=2))


def former_seed(out: Path) -> int | None:
    """Return the seed of the screen that a folder holds."""
    record = out / SETTINGS
    return json.loads(record.read_text(encoding="utf-8"))["random_seed"] if record.exists() else None


def write_results(screen: xr.Dataset, out: Path) -> None:
    """Write the Zarr store and the ranked table; the pieces have served then, unless some are missing."""
    table = ranking(screen)
    write_text(out / "ranking.csv", table.to_csv(index=False))
    write_text(out / "ranking.html", _page(screen, table))
    partial = out / ".ranking.parquet.partial"
    table.to_parquet(partial, index=False)
    partial.replace(out / "ranking.parquet")
    partial = out / f".{STORE}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(out / STORE, ignore_errors=True)
    screen.to_zarr(partial, mode="w", zarr_format=2, consolidated=True)
    partial.rename(out / STORE)
    if screen.attrs["fingerprint"]:
        shutil.rmtree(out / PIECES, ignore_errors=True)


def check_libraries() -> None:
    """Refuse to begin a screen whose results could not be written in the end."""
    try:
        import pyarrow
        import zarr
    except ImportError as error:
        raise ValueError(
            f"Writing a screen needs {error.name}: pip install 'hormesis-fit[screen]', or leave out= away."
        ) from None
    del pyarrow, zarr


def read_store(out: Path, mark: str) -> xr.Dataset | None:
    """Return the finished screen that a folder holds; None without one, or if it is damaged or of other rows."""
    try:
        with xr.open_zarr(out / STORE, consolidated=True) as stored:
            if stored.attrs.get("fingerprint") != mark:
                return None
            return stored.load()
    except (OSError, ValueError, KeyError, RuntimeError):
        return None


def _page(screen: xr.Dataset, table: pd.DataFrame) -> str:
    """Return the ranked table as one HTML page."""
    shown = table.head(MOST_SHOWN)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in shown.itertuples(index=False)
    )
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    left = f" The first {MOST_SHOWN:,} are shown; ranking.csv has all." if len(table) > len(shown) else ""
    attrs = screen.attrs
    found = f"{int(screen['selected_count'])} selected at a false discovery rate of {attrs['fdr_level']:.0%}"
    asked = (
        f"Windows hold the doses with a benefit of at least {attrs['benefit']:g} ({attrs['benefit_scale']}) at a "
        f"probability of {attrs['level']:g}. Peak dose and peak stimulation are medians. Seed {attrs['random_seed']}."
    )
    problems = "".join(f"<p>{html.escape(one)}</p>" for one in json.loads(attrs["problems"]))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Screen</title>
<style>body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}
td,th{{padding:.2em .7em;text-align:left;border-bottom:1px solid #ddd}}
th{{position:sticky;top:0;background:#fff}}</style>
<h1>Screen of {len(table):,} curves</h1>
<p>{html.escape(counts)}; {found}.{left}</p><p>{html.escape(asked)}</p>{problems}
<table><thead><tr>{"".join(_heading(screen, name) for name in RANKING)}</tr></thead><tbody>
{rows}
</tbody></table></html>
"""


def _heading(screen: xr.Dataset, name: str) -> str:
    """Return the heading of a column, with its unit, and its definition where a pointer asks for it."""
    known = screen[name].attrs
    unit = known.get("units", "")
    words = name.replace("_", " ") + (f" ({unit})" if unit not in ("", "1") else "")
    return f'<th title="{html.escape(known.get("definition", ""))}">{html.escape(words)}</th>'


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def summary_of(screen: xr.Dataset) -> str:
    """Say in two lines what came of a screen."""
    status, counts = np.unique(screen["status"].values.astype(str), return_counts=True)
    words = ", ".join(f"{count} {name}" for name, count in zip(status, counts, strict=True))
    chosen = int(screen["selected_count"])
    rate = f"{screen.attrs['fdr_level']:.0%}"
    lines = [f"{screen.sizes['curve_id']} curves: {words}."]
    if np.isfinite(float(screen["share_hormetic"])):
        low, high = float(screen["share_hormetic_lower"]), float(screen["share_hormetic_upper"])
        lines.append(
            f"About {float(screen['share_hormetic']):.1%} are hormetic (95 %: {low:.1%} to {high:.1%}), of which "
            f"{float(screen['share_safe']):.1%} are taken for granted; {chosen} are selected at a false discovery rate "
            f"of {rate}."
        )
    return "\n".join(lines)


def named_failures(screen: xr.Dataset, most: int = 5) -> list[str]:
    """Return one line for each of the first curves that failed."""
    failed = np.flatnonzero(screen["status"].values == "FAILED")
    labels, notes = screen["curve_id"].values, screen["note"].values
    lines = [f"{quote(str(labels[place]))}: {notes[place]}" for place in failed[:most]]
    return [*lines, f"and {failed.size - most} more"] if failed.size > most else lines
