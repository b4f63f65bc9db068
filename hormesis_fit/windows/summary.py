"""A fit in numbers and words: `window.json`, `summary.csv`, and sentences that a clinician understands."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hormesis_fit.phrases import (
    benefit_words,
    level_words,
    no_dose,
    number,
    open_edges,
    percent,
    printable,
    span_words,
    unit_of,
    verb,
)
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.derived import INTERVAL, derived_of, derived_rows
from hormesis_fit.windows.posterior import Member, carrying, check_fit, trial_of
from hormesis_fit.windows.prediction import has_spread, outcome_of, subjects_in
from hormesis_fit.windows.request import question_of
from hormesis_fit.windows.windowing import held_piece, level_pieces
from hormesis_fit.windows.windowing import window as window_for

SCHEMA = 1
RELEVANT = 0.01  # weight from which the health of a curve matters to the answer
SECONDS = ("import", "compile", "sample", "total")
SCALARS = ("prob_exists", "max_probability", "best_dose", "optimal_dose")


def status(fit: xr.DataTree) -> str:
    """Return the verdict on a window: that of the window, or SICK when a curve that matters was not computed well.

    Parameters
    ----------
    fit : DataTree
        A fit with its window in the group ``window``.

    Returns
    -------
    str
        WINDOW, UNLOCATED, UNLIKELY, UNDETERMINED or SICK.
    """
    check_fit(fit)
    return "SICK" if _sick(fit) else str(_window(fit).attrs["status"])


def window_record(fit: xr.DataTree) -> dict[str, Any]:
    """Return what `window.json` holds.

    Parameters
    ----------
    fit : DataTree
        A fit with its window in the group ``window``.

    Returns
    -------
    dict
        Numbers, texts, lists and dicts only; NaN and infinity are None.

    Raises
    ------
    ValueError
        If the fit has no window yet.
    """
    window, trial = _window(fit), trial_of(fit)
    record = {"schema": SCHEMA, "status": status(fit)} | _question(window, trial) | _answer(window)
    record |= {
        "prob_hormesis": fit["evidence"]["prob_hormesis"],
        "quantities": {name: quantity(window, name) for name in QUANTITIES},
        "models": _models(fit),
        "diagnostics": diagnostics(fit),
        "seconds": {name: fit.attrs.get(f"seconds_{name}") for name in SECONDS},
    }
    if window.attrs.get("subject"):
        record["subject"] = str(window.attrs["subject"])
    if "prob_binds" in window:
        limits = window["limit"].values.tolist()
        record["limits"] = dict(zip(limits, window["prob_binds"].values, strict=True))
        record["harms"] = str(window.attrs["harms"]).split("; ")
    if subjects_in(fit):
        table = subjects_of(fit)
        record["subjects"] = {str(one): _person(table.sel(subject=one)) for one in table["subject"].values}
    if "over_time" in fit:
        record["over_time"] = _over_time(fit["over_time"].to_dataset())
    if "missing" in trial.attrs:
        record["missing"] = json.loads(trial.attrs["missing"])
    return _plain(record)


def _over_time(table: xr.Dataset) -> list[dict[str, Any]]:
    """One entry for each time, ascending."""
    entries = []
    drifting = [str(name) for name in table.data_vars if table[name].dims == ("time",)]
    for place, time in enumerate(table["time"].values):
        row = {name: float(table[name].values[place]) for name in drifting}
        there = math.isfinite(row["window_lower"])
        window = {"lower": row.pop("window_lower"), "upper": row.pop("window_upper")}
        entries.append({"time": float(time), "window": window if there else None} | row)
    return entries


def subject_windows(fit: xr.DataTree, labels: Sequence[str], **asked: Any) -> dict[str, xr.Dataset]:
    """Return the window of each of some subjects, by label; by default asked what the fit's window was asked."""
    question = (question_of(_window(fit)) if "window" in fit else {}) | asked
    return {one: window_for(fit, subject=one, **question) for one in labels}


def subjects_of(fit: xr.DataTree) -> xr.Dataset:
    """Return what the windows of the subjects say: those stored in the fit, or those of its question.

    Returns
    -------
    Dataset
        Over (subject,): ``lower``, ``upper``, ``best_dose`` [dose], ``max_probability``, ``prob_exists`` [1] and
        ``status``.
    """
    if "subjects" in fit:
        return fit["subjects"].to_dataset()
    labels = subjects_in(fit)
    windows = subject_windows(fit, labels).values()
    held = [held_piece(one) or (math.nan, math.nan) for one in windows]
    dose_unit = next(iter(windows))["best_dose"].attrs["units"]
    columns = {
        "lower": ([low for low, _ in held], dose_unit, "Lower edge of the subject's window."),
        "upper": ([high for _, high in held], dose_unit, "Upper edge of the subject's window."),
        "best_dose": ([float(one["best_dose"]) for one in windows], dose_unit, "Dose that most probably helps."),
        "max_probability": ([float(one["max_probability"]) for one in windows], "1", "Probability that it does."),
        "prob_exists": ([float(one["prob_exists"]) for one in windows], "1", "Probability of a window at all."),
        "status": ([str(one.attrs["status"]) for one in windows], "", "Verdict on the subject's window."),
    }
    return xr.Dataset(
        {
            name: ("subject", values, {"units": unit, "long_name": name.replace("_", " "), "definition": text})
            for name, (values, unit, text) in columns.items()
        },
        coords={"subject": labels},
    )


def _person(row: xr.Dataset) -> dict[str, Any]:
    return {str(name): value.item() for name, value in row.data_vars.items()}


def _question(window: xr.Dataset, trial: xr.Dataset) -> dict[str, Any]:
    attrs = window.attrs
    return {
        "flags": str(attrs["flags"]).split(),
        "dose_unit": str(trial["dose"].attrs.get("units", "")),
        "response_unit": str(trial["response"].attrs.get("units", "")),
        "direction": str(trial.attrs["direction"]),
        "standard_dose": trial.attrs.get("standard_dose"),
        "seed": attrs["seed"],
        "estimand": str(attrs["estimand"]),
        "benefit": {
            "delta": attrs["benefit"],
            "scale": str(attrs["benefit_scale"]),
            "stated": bool(attrs.get("stated", 1)),
        },
        "level": attrs["level"],
    }


def _answer(window: xr.Dataset) -> dict[str, Any]:
    held = held_piece(window)
    return {
        "window": None if held is None else dict(zip(("lower", "upper"), held, strict=True)),
        "windows": {f"{one:g}": level_pieces(window, one) for one in window["window_level"].values},
        "best_dose": window["best_dose"],
        "max_probability": window["max_probability"],
        "optimum": {
            "dose": window["optimal_dose"],
            "regret": window["optimal_regret"],
            "near_optimal": window["near_optimal"].values,
        },
        "prob_exists": window["prob_exists"],
    }


def quantity(window: xr.Dataset, name: str) -> dict[str, float]:
    """Summarise a quantity over the draws in which it exists.

    Parameters
    ----------
    window : Dataset
        As `hormesis_fit.window` returns it.
    name : str
        One of its variables over (chain, draw).

    Returns
    -------
    dict
        ``median``, ``lower`` and ``upper`` (equal-tailed 95 %), in the units of the quantity, and ``share``: the share
        of draws in which it exists. Windows that never end have an upper edge of infinity.
    """
    values = window[name].values
    there = window["exists"].values.astype(bool) if name in ("window_lower", "window_upper") else np.isfinite(values)
    kept = values[there]
    if not kept.size:
        return {"median": math.nan, "lower": math.nan, "upper": math.nan, "share": 0.0}
    # Order statistics: an interpolation between a finite and an infinite edge would be NaN.
    low, middle, high = np.quantile(kept, [INTERVAL[0], 0.5, INTERVAL[1]], method="closest_observation")
    return {"median": float(middle), "lower": float(low), "upper": float(high), "share": float(there.mean())}


def summary_table(fit: xr.DataTree) -> pd.DataFrame:
    """Return the results as a table, one row for each quantity.

    Parameters
    ----------
    fit : DataTree
        A fit with its window in the group ``window``.

    Returns
    -------
    pandas.DataFrame
        Columns quantity, unit, median, lower, upper (equal-tailed 95 %), share (of draws in which it exists),
        definition; single numbers stand in the column median.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If it has no window.
    """
    window = _window(fit)
    rows = [quantity(window, name) | _labels(name, window[name]) for name in QUANTITIES]
    rows += [{"median": float(window[name])} | _labels(name, window[name]) for name in SCALARS]
    hormesis = fit["evidence"]["prob_hormesis"]
    rows.append({"median": float(hormesis)} | _labels("prob_hormesis", hormesis))
    rows += derived_rows(derived_of(fit))
    columns = ["quantity", "unit", "median", "lower", "upper", "share", "definition"]
    return pd.DataFrame(rows).reindex(columns=columns)


def _labels(name: str, variable: xr.DataArray) -> dict[str, str]:
    return {"quantity": name, "unit": variable.attrs["units"], "definition": variable.attrs["definition"]}


def _window(fit: xr.DataTree) -> xr.Dataset:
    check_fit(fit)
    if "window" not in fit:
        raise ValueError('The fit has no window yet; give it one with fit["window"] = window(fit, benefit=0.10).')
    return fit["window"].to_dataset()


def _sick(fit: xr.DataTree) -> list[str]:
    """Names of the curves that matter and whose computation stayed unhealthy."""
    evidence = fit["evidence"].to_dataset()
    bad = evidence["sick"].values.astype(bool)
    weight = np.nan_to_num(evidence["weight"].values)
    return [str(name) for name in evidence["model"].values[bad & ((weight >= RELEVANT) | bad.all())]]


def _models(fit: xr.DataTree) -> dict[str, dict[str, Any]]:
    evidence = fit["evidence"].to_dataset()
    names = ("weight", "log_evidence", "engine", "note")
    rows = [{name: evidence[name].values[i].item() for name in names} for i in range(evidence.sizes["model"])]
    return dict(zip(evidence["model"].values, rows, strict=True))


def diagnostics(fit: xr.DataTree) -> dict[str, Any]:
    """Return the worst R-hat, effective size and k-hat of the curves that matter, None where there is none."""
    evidence = fit["evidence"].to_dataset()
    relevant = evidence.isel(model=evidence["weight"].values >= RELEVANT)

    def extreme(name: str, choose: Any) -> float | None:
        values = relevant[name].values[np.isfinite(relevant[name].values)]
        return float(choose(values)) if values.size else None

    return {
        "max_rhat": extreme("max_rhat", np.max),
        "min_ess_bulk": extreme("ess", np.min),
        "divergences": int(evidence["divergences"].sum()),
        "max_pareto_k": extreme("pareto_k", np.max),
    }


def _plain(value: Any) -> Any:
    """Make a value of JSON out of NumPy's and xarray's; NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic | xr.DataArray):
        return _plain(value.tolist() if not isinstance(value, xr.DataArray) else value.values.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- words -----------------------------------------------------------------------------------------------------------


def sentence(fit: xr.DataTree) -> str:
    """Say in one sentence which doses help, and how sure that is.

    Parameters
    ----------
    fit : DataTree
        A fit with its window in the group ``window``.

    Returns
    -------
    str
        Plain text, with units.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If it has no window.
    """
    verdicts = {"WINDOW": _found, "UNLOCATED": _unlocated, "UNLIKELY": _unlikely, "UNDETERMINED": _undetermined}
    verdict = status(fit)
    if verdict == "SICK":
        sick = ", ".join(_sick(fit))
        return f"No statement about doses can be made, since the computation stayed unreliable for {sick}."
    return f"{verdicts[verdict](fit)}; {_hormesis(fit)}."


def comparison(first: xr.DataTree, second: xr.DataTree) -> str:
    """Say in one sentence why two trials tell more and less: stimulation against scatter, and number of measurements.

    Parameters
    ----------
    first, second : DataTree
        Fits with their windows in the group ``window``.

    Returns
    -------
    str
        Plain text; the trial with the clearer stimulation comes first.
    """
    clear, vague = sorted((_strength(first), _strength(second)), key=lambda found: -found["ratio"])
    return (
        f"They differ because in {clear['name']} the response {clear['move']}, {number(clear['ratio'])} times the "
        f"scatter of single measurements, of which there are {clear['rows']}, while in {vague['name']} it "
        f"{vague['move']}, {number(vague['ratio'])} times the scatter of {vague['rows']} measurements."
    )


def _strength(fit: xr.DataTree) -> dict[str, Any]:
    """Size of the stimulation at the peak and scatter of single measurements, both relative to the control."""
    trial = outcome_of(fit)
    group = carrying(fit)
    each = [_relative_scatter(one, trial) for one in group]
    scatter = float(np.average(each, weights=[one.weight for one in group]))
    size = float(np.nan_to_num(quantity(_window(fit), "peak_stimulation")["median"]))
    up = trial.attrs["direction"] == "up"
    return {
        "name": printable(trial.attrs.get("name", "the trial")),
        "move": f"rises about {100 * size:.0f} % above control"
        if up
        else f"falls about {100 * size:.0f} % below control",
        "rows": trial.sizes["observation"],
        "ratio": size / scatter,
    }


def _relative_scatter(member: Member, trial: xr.Dataset) -> float:
    spread = member.spread if has_spread(member) else np.median(trial["se"].values)
    return float(np.median(spread / np.abs(member.control)))


def _found(fit: xr.DataTree) -> str:
    window, trial = _window(fit), outcome_of(fit)
    unit = unit_of(trial["dose"])
    pieces = level_pieces(window)
    ranges = " and ".join(f"between {span_words(low, high)}{unit}" for low, high in pieces)
    best, highest = float(window["best_dose"]), float(window["max_probability"])
    return (
        f"Doses {ranges} {verb(trial)} {benefit_words(window, trial)} with a probability of at least "
        f"{level_words(window)} (best near {number(best)}{unit}: {percent(highest)}){open_edges(window, trial, pieces)}"
    )


def _unlocated(fit: xr.DataTree) -> str:
    window, trial = _window(fit), outcome_of(fit)
    exists = percent(float(window["prob_exists"]))
    return (
        f"Some dose {verb(trial, 's')} {benefit_words(window, trial)} with a probability of {exists}, but these "
        f"{trial.sizes['observation']} measurements do not tell which: {no_dose(window, trial)}"
    )


def _unlikely(fit: xr.DataTree) -> str:
    window, trial = _window(fit), outcome_of(fit)
    low, high = (float(end) for end in window.attrs["domain"])
    return (
        f"It is unlikely that any dose between {span_words(low, high)}{unit_of(trial['dose'])} {verb(trial, 's')} "
        f"{benefit_words(window, trial)}: the probability is {percent(float(window['prob_exists']))}"
    )


def _undetermined(fit: xr.DataTree) -> str:
    window, trial = _window(fit), outcome_of(fit)
    exists = percent(float(window["prob_exists"]), below=float(window.attrs["level"]))
    return (
        f"These {trial.sizes['observation']} measurements cannot tell whether any dose {verb(trial, 's')} "
        f"{benefit_words(window, trial)}: such a dose exists with a probability of {exists}, and "
        f"{no_dose(window, trial)}"
    )


def _hormesis(fit: xr.DataTree) -> str:
    probability = float(fit["evidence"]["prob_hormesis"])
    if not math.isfinite(probability):
        return "whether the response is hormetic was not asked, since the curves fitted are all of one kind"
    up = trial_of(fit).attrs["direction"] == "up"
    words = "up at low doses and down again at high ones" if up else "down at low doses and up again at high ones"
    return f"the probability that the response is hormetic ({words}) is {percent(probability)}"
