"""The tables of the report, as text that is ready to be printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.checks.sensitivity import predictive_check
from hormesis_fit.figures.drawing import chance, crowds, number
from hormesis_fit.phrases import printable, unit_of
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.posterior import members, trial_of
from hormesis_fit.windows.summary import quantity
from hormesis_fit.windows.windowing import level_pieces

type Table = dict[str, Any]


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, words: int = 1) -> Table:
    """A table for the template: the first `words` columns are text, the others numbers."""
    return {"headers": list(headers), "rows": [list(row) for row in rows], "caption": caption, "words": words}


def headed(name: str, unit: str) -> str:
    """Return a name with its unit, as the head of a column."""
    return f"{name} ({unit})" if unit else name


def _units(trial: xr.Dataset) -> tuple[str, str]:
    return printable(trial["dose"].attrs.get("units", "")), printable(trial["response"].attrs.get("units", ""))


def _pieces(pieces: Sequence[tuple[float, float]]) -> str:
    return " and ".join(f"{number(low)} to {number(high)}" for low, high in pieces) or "none"


def data_table(trial: xr.Dataset, missing: dict[float, int], *, hidden: bool = False) -> Table:
    """Return the trial by dose; `hidden` leaves out whatever would show the response of one subject."""
    dose_unit, response_unit = _units(trial)
    dose, response = trial["dose"].values, trial["response"].values
    standard = float(trial.attrs.get("standard_dose", 0))
    crowded = {one for one, _ in crowds(trial)}
    rows = []
    for one in np.union1d(dose, list(missing)):
        group = response[dose == one]
        told = group.size if not hidden or one in crowded else 0
        middle = number(float(group.mean())) if told else "–"
        spread = number(float(group.std(ddof=1))) if told > 1 else "–"
        ends = f"{number(float(group.min()))} to {number(float(group.max()))}" if group.size else "–"
        dropped = [str(missing.get(float(one), 0))] if missing else []
        share = [number(100 * one / standard)] if standard else []
        extremes = [] if hidden else [ends]
        rows.append([number(float(one)), str(group.size), middle, spread, *extremes, *dropped, *share])
    headers = [
        headed("Dose", dose_unit),
        "Rows",
        headed("Mean", response_unit),
        headed("SD", response_unit),
    ]
    headers += [] if hidden else ["Range"]
    headers += (["Dropped"] if missing else []) + (["% of standard"] if standard else [])
    return table(headers, rows, "The trial by dose.", words=0)


def level_table(window: xr.Dataset, trial: xr.Dataset) -> Table:
    """Return the window at every level, with a standard dose also as a share of it."""
    standard = float(trial.attrs.get("standard_dose", 0))
    rows = []
    for level in window["window_level"].values:
        pieces = level_pieces(window, float(level))
        shares = [(100 * low / standard, 100 * high / standard) for low, high in pieces] if standard else []
        rows.append([f"{level:g}", _pieces(pieces)] + ([_pieces(shares)] if standard else []))
    headers = ["Probability at least", headed("Doses", _units(trial)[0])] + (["% of standard"] if standard else [])
    return table(headers, rows, "Window by level.")


def quantity_table(window: xr.Dataset, trial: xr.Dataset) -> Table:
    """Return medians, intervals and shares of existence of the quantities of the dose-response."""
    dose_unit, response_unit = _units(trial)
    words = {"dose": dose_unit, "response": response_unit, "1": ""}
    rows = []
    for name, (unit, definition) in QUANTITIES.items():
        found = quantity(window, name)
        middle, low, high = (number(found[key]) for key in ("median", "lower", "upper"))
        interval = f"{low} to {high}" if found["share"] > 0 else "–"
        title = headed(name.replace("_", " ").capitalize(), words[unit])
        rows.append([title, definition, middle, interval, chance(found["share"])])
    headers = ["Quantity", "Meaning", "Median", "95 % interval", "Exists in"]
    return table(headers, rows, "Quantities of the dose-response, given that they exist.", words=2)


def prior_table(fit: xr.DataTree) -> Table:
    """Every prior once, with the curves that have it."""
    found: dict[tuple[str, ...], list[str]] = {}
    group = members(fit)
    for member in group:
        for name, variable in member.draws.data_vars.items():
            attrs = variable.attrs
            if "prior" not in attrs:  # offsets of groups have a part in the model, and no prior of their own
                continue
            key = (str(name), attrs["prior"], printable(attrs["units"]), printable(attrs["definition"]))
            found.setdefault(key, []).append(member.label)
    rows = [
        [key[0], "all" if len(labels) == len(group) else ", ".join(labels), *key[1:]] for key, labels in found.items()
    ]
    headers = ["Parameter", "Curves", "Prior", "Unit", "Meaning"]
    return table(headers, rows, "Priors in the units of the trial.", words=5)


def key_table(fit: xr.DataTree, trial: xr.Dataset, window: xr.Dataset) -> Table:
    """Return the answer in numbers."""
    unit = unit_of(trial["dose"])
    near = " to ".join(number(float(end)) for end in window["near_optimal"].values)
    rows = [
        ["Probability that there is a window at all", chance(float(window["prob_exists"]))],
        ["Highest probability that any one dose has the benefit", chance(float(window["max_probability"]))],
        ["Dose with that probability (best dose)", number(float(window["best_dose"])) + unit],
        ["Dose of the highest expected utility", number(float(window["optimal_dose"])) + unit],
        ["Doses nearly as good (at most 1.1 times the smallest regret)", near + unit],
        ["Probability of hormesis, P(hormesis)", chance(float(fit["evidence"]["prob_hormesis"]))],
    ]
    return table(["", ""], rows, "The answer in numbers.")


def curve_table(fit: xr.DataTree, average: xr.Dataset, windows: Mapping[str, xr.Dataset]) -> Table:
    """Return what every curve says by itself, beside their average."""
    evidence, unit = fit["evidence"].to_dataset(), _units(trial_of(fit))[0]
    rows = []
    for label, one in windows.items():
        row = evidence.sel(model=label)
        kind = "hormetic" if bool(row["hormetic"]) else "not hormetic"
        numbers = (row["prior_weight"], row["weight"], one["prob_exists"], one["max_probability"])
        rows.append([label, kind, *(chance(float(value)) for value in numbers), _pieces(level_pieces(one))])
    if len(rows) > 1:
        numbers = (evidence["prior_weight"].sum(), 1.0, average["prob_exists"], average["max_probability"])
        shown = [chance(round(float(value), 9)) for value in numbers]
        rows.insert(0, ["Average of these", "", *shown, _pieces(level_pieces(average))])
    headers = [
        "Curve",
        "Kind",
        "Prior weight",
        "Weight",
        "P(window exists)",
        "Highest probability",
        headed("Window", unit),
    ]
    return table(
        headers,
        rows,
        "The window of the average, and what every curve would say by itself, at the level asked for.",
        words=2,
    )


def predictive_table(fit: xr.DataTree) -> Table:
    """Return the posterior predictive check."""
    check = predictive_check(fit)
    rows = []
    for name in check["feature"].values:
        one = {key: float(check[key].sel(feature=name)) for key in check.data_vars}
        interval = f"{number(one['lower'])} to {number(one['upper'])}"
        rows.append(
            [
                f"{name[0].upper()}{name[1:]}",
                number(one["observed"]),
                number(one["median"]),
                interval,
                chance(one["tail"]),
            ]
        )
    headers = ["Feature", "Observed", "Predicted", "95 % of predictions", "Tail"]
    return table(headers, rows, "Posterior predictive check: the trial among trials that the fitted model predicts.")
