"""Tables and sentences of the report on what differs between people, and on what a dose must not do."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.figures.drawing import chance, number
from hormesis_fit.model.hierarchy import WITHIN, Effect, Shared, correlations_of
from hormesis_fit.phrases import printable
from hormesis_fit.report.tables import Table, headed, table
from hormesis_fit.windows.estimands import PERSON, effects_in
from hormesis_fit.windows.harms import endpoints_of
from hormesis_fit.windows.posterior import Member, carrying
from hormesis_fit.windows.summary import subjects_of

ESTIMANDS = {
    "typical": "the typical subject, whose parameters are the typical values",
    "population": "the mean of the population that the subjects come from",
    "new": "a new subject from the same population",
    "coverage": "doses that serve at least 80 % of the population",
    "subject": "one subject of the trial",
}
SCALES = {"log": "a factor", "logit": "log odds", "identity": "added"}


def people_part(fit: xr.DataTree) -> dict[str, Any]:
    """Return the SDs between groups, how parameters go together there, and the coefficients of covariates."""
    group = carrying(fit)
    effects = {one.spread: one for member in group for one in effects_in(member)}
    rows = [_spread_row(name, one, group) for name, one in effects.items()]
    pairs = {one.name: one for member in group for one in correlations_of(effects_in(member))}
    for name, one in pairs.items():
        low, middle, high = (f"{2 * value - 1:.2f}" for value in _quantiles(group, name))
        words = f"{one.first} with {one.second}".replace("_", " ")
        rows.append([words, one.group, "", "partial correlation", middle, f"{low} to {high}"])
    rows += _shared_rows(fit)
    headers = ["Parameter", "Groups", "Number", "Scale", "SD between groups", "95 % interval"]
    slopes = _slope_rows(group)
    return {
        "people_table": table(headers, rows, "How much parameters differ between groups.", words=2) if rows else None,
        "people_reading": " ".join(_reading(name, one, group) for name, one in effects.items()),
        "covariate_table": table(
            ["Parameter", "Column", "Scale", "Median", "95 % interval"], slopes, "What follows covariates.", words=3
        )
        if slopes
        else None,
    }


def _shared_rows(fit: xr.DataTree) -> list[list[str]]:
    """Correlations between the differences of people in the benefit and in side effects of the same model."""
    rows = []
    for endpoint in endpoints_of(fit):
        group = carrying(fit[f"endpoints/{endpoint}"])
        common = {Shared(*pair) for one in group for pair in json.loads(one.draws.attrs.get("shared", "[]"))}
        for one in sorted(common, key=lambda each: each.name):
            low, middle, high = (f"{2 * value - 1:.2f}" for value in _quantiles(group, one.name))
            words = f"{one.parameter.replace('_', ' ')}, benefit with {printable(endpoint)}"
            rows.append([words, one.group, "", "correlation", middle, f"{low} to {high}"])
    return rows


def _spread_row(name: str, effect: Effect, group: list[Member]) -> list[str]:
    low, middle, high = (number(value) for value in _quantiles(group, name))
    scale = {"log": "log", "logit": "log odds"}.get(effect.space, "as it is")
    words = effect.parameter.replace("_", " ")
    return [words, effect.group, str(len(effect.labels)), scale, middle, f"{low} to {high}"]


def _quantiles(group: list[Member], name: str, column: int | None = None) -> np.ndarray:
    """Central 95 % and median of a parameter over the curves that have it, by their weights."""
    having = [one for one in group if name in one.draws]
    values = [one.draws[name].transpose("sample", ...).values for one in having]
    values = [one if column is None else one[:, column] for one in values]
    weights = np.concatenate([np.full(one.size, one.weight / one.size) for one in having])
    levels = [0.025, 0.5, 0.975]
    return np.quantile(np.concatenate(values), levels, weights=weights, method="inverted_cdf")


def _reading(name: str, effect: Effect, group: list[Member]) -> str:
    """Say in one sentence what an SD between groups means."""
    middle = float(_quantiles(group, name)[1])
    kind = effect.group.split(WITHIN)[-1]
    groups = "subjects" if kind == PERSON else f"groups of {printable(kind)}"
    parameter = "control response" if effect.parameter == "control" else effect.parameter.replace("_", " ")
    if effect.space == "identity":
        return f"About two thirds of the {groups} have a {parameter} within {number(middle)} of the typical one."
    what = "odds of the " if effect.space == "logit" else ""
    factor = number(float(np.exp(middle)))
    beginning = f"About two thirds of the {groups} have"
    return f"{beginning} {what or 'a '}{parameter} within a factor of {factor} of the typical one."


def _slope_rows(group: list[Member]) -> list[list[str]]:
    """Coefficients of covariates; those of single subjects are left out."""
    found = {}
    for member in group:
        for parameter, formula, space in json.loads(member.draws.attrs.get("slopes", "[]")):
            terms = member.draws[f"{parameter}_term"].values if f"{parameter}_term" in member.draws.coords else []
            kept = [(i, str(term)) for i, term in enumerate(terms) if PERSON not in formula]
            found |= {(parameter, term): (i, space) for i, term in kept}
    rows = []
    for (parameter, term), (column, space) in found.items():
        values = _quantiles(group, f"{parameter}_slope", column)
        low, middle, high = (number(float(one)) for one in (np.exp(values) if space == "log" else values))
        rows.append([parameter.replace("_", " "), printable(term), SCALES[space], middle, f"{low} to {high}"])
    return rows


def harm_part(window: xr.Dataset) -> dict[str, Any]:
    """Return the limits on harm, how probably each ends the window, and a sentence."""
    if "prob_binds" not in window:
        return {"harm_table": None, "harm_reading": ""}
    described = {"benefit": "the benefit is lost"}
    # Both are in the order in which the harms were given, after the benefit.
    described |= dict(zip(window["limit"].values[1:].tolist(), str(window.attrs["harms"]).split("; "), strict=False))
    binds = {str(one): float(window["prob_binds"].sel(limit=one)) for one in window["limit"].values}
    rows = [[printable(described.get(name, name)), chance(share)] for name, share in binds.items()]
    known = {name: share for name, share in binds.items() if np.isfinite(share)}
    if not known:
        reading = "No draw has a window within these limits."
    else:
        first = max(known, key=lambda name: known[name])
        what = "the loss of the benefit" if first == "benefit" else f"the limit “{printable(described[first])}”"
        reading = f"Most often {what} ends the window: with a probability of {chance(known[first])}, given a window."
    caption = "What ends the window on the side of high doses, given that there is one."
    return {"harm_table": table(["Limit", "Probability"], rows, caption), "harm_reading": reading}


def subject_table(fit: xr.DataTree) -> Table:
    """Return the window of every subject, for a report that may show them."""
    found = subjects_of(fit)
    unit = printable(found["best_dose"].attrs["units"])
    rows = []
    for label in found["subject"].values:
        one = found.sel(subject=label)
        low, high, best = (float(one[name]) for name in ("lower", "upper", "best_dose"))
        window = f"{number(low)} to {number(high)}" if np.isfinite(low) else "none"
        shares = [chance(float(one[name])) for name in ("max_probability", "prob_exists")]
        rows.append([printable(label), str(one["status"].item()), window, number(best), *shares])
    headers = ["Subject", "Status", headed("Window", unit), headed("Best dose", unit), "Highest probability"]
    return table([*headers, "P(window exists)"], rows, "The window of every subject.", words=2)
