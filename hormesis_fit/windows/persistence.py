"""The window over time, how long a dose keeps its benefit, and when to look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from hormesis_fit.drift.courses import start_of
from hormesis_fit.drift.histories import RegimenLike
from hormesis_fit.windows.estimands import asked_for, people
from hormesis_fit.windows.exceedance import Exceedance, nearest_piece
from hormesis_fit.windows.posterior import carrying, described, domain, dose_grid, trial_of
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.timecourse import at_time, check_times, moment_of, paths
from hormesis_fit.windows.windowing import check_benefit, threshold_of

DEFINITIONS = {
    "prob_exists": ("1", "Posterior probability that there is a window at this time."),
    "max_probability": ("1", "Highest probability that any one dose has the benefit at this time."),
    "best_dose": ("dose", "Dose with the highest probability of the benefit at this time."),
    "window_lower": ("dose", "Lowest dose of the window at the level asked for, at this time."),
    "window_upper": ("dose", "Highest dose of the window at the level asked for, at this time."),
    "persistence": ("1", "Highest probability that one dose has the benefit at every time up to this one."),
    "persistent_dose": ("dose", "Dose with the highest probability of the benefit at every time up to this one."),
    "kept": ("1", "Probability that the chosen dose has the benefit at every time up to this one."),
}
QUANTILES = (0.1, 0.5, 0.9)


def window_over_time(
    fit: xr.DataTree,
    *,
    times: Sequence[float] | None = None,
    benefit: float = 0.10,
    benefit_scale: str = "relative",
    level: float = 0.8,
    estimand: str = "typical",
    subject: str | None = None,
    interval: float | None = None,
    history: RegimenLike | None = None,
    dose: float | None = None,
) -> xr.Dataset:
    """Return the window as sensitivity drifts, and how long one dose keeps its benefit.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift.
    times : sequence of float, optional
        Times from the first visit on, also beyond the last [time]; by default the visits.
    benefit, benefit_scale, level, estimand, subject, interval, history
        As in `window`.
    dose : float, optional
        Dose whose exit from the window is asked for [dose]; by default the best one at the first of the times.

    Returns
    -------
    Dataset
        Over (time): ``prob_exists``, ``max_probability``, ``best_dose``, ``window_lower``, ``window_upper`` (NaN where
        no dose reaches the level), ``persistence`` and ``persistent_dose``: the probability, pathwise, that one dose
        has the benefit at all times asked for up to that one, and which dose; ``kept``, the same for the chosen dose.
        Over (time, dose): ``probability`` of the benefit. Over (quantile): ``exit_time``, the first of the times at
        which the chosen dose no longer has the benefit, infinite where it still has it at the last one [time]. Scalar:
        ``chosen_dose``; ``reestimate``, the first of the times at which no dose reaches the level any more, NaN if
        there is none [time].

    Raises
    ------
    ValueError
        If the fit has no drift, or something is out of range.

    Examples
    --------
    >>> later = window_over_time(fit, times=[0, 7, 14, 28])  # doctest: +SKIP
    """
    check_benefit(benefit, benefit_scale, level)
    group, trial = carrying(fit), trial_of(fit)
    asked, seed = asked_for(fit, estimand, subject), int(fit.attrs["seed"])
    visits = np.unique(trial["time"].values) if "time" in trial else None
    moments = check_times(fit, visits if times is None else times, group[0])
    if moments is None:
        raise ValueError('The fit knows no drift in time: fit with drift="OrnsteinUhlenbeck" first.')
    if dose is not None and not (isinstance(dose, int | float | np.number) and 0 <= dose < np.inf):
        raise ValueError(f"dose must be a finite number of 0 or more, got {dose!r}.")
    weights = np.array([one.weight for one in group])
    when = [moment_of(fit, moment, interval, history) for moment in moments]
    drifts = [paths(one, asked, moments, start_of(trial), seed) for one in group]
    whole: list[dict[str, np.ndarray]] = []
    kept: list[np.ndarray] = []
    columns: dict[str, list[float]] = {name: [] for name in DEFINITIONS}
    grid, heights = dose_grid(fit), []
    for number in range(len(moments)):
        now = []
        for one, drift in zip(group, drifts, strict=True):
            member = at_time(people(one, asked, seed), drift, number)
            member = replace(member, dosed=when[number].dosed(one))
            now.append(solve(member, threshold_of(member, benefit, benefit_scale), trial))
        whole = [_both(before, this) for before, this in zip(whole, now, strict=True)] if whole else now
        today, always = (Exceedance.of(found, weights, domain(trial)) for found in (now, whole))
        dose = today.best()[0] if dose is None else dose
        inside = [(one["window_lower"] <= dose) & (dose <= one["window_upper"]) for one in now]
        kept = [before & this for before, this in zip(kept, inside, strict=True)] if kept else inside
        share = float(sum(weight * one.mean() for weight, one in zip(weights, kept, strict=True)))
        heights.append(today(grid.values))
        _note(columns, today, always, share, level)
    result = _dataset(columns, moments, trial, level)
    text = "Probability that a dose has the benefit at this time."
    result["probability"] = ("time", "dose"), np.array(heights), described("1", trial, text)
    result = result.assign_coords(dose=grid)
    result["chosen_dose"] = (), float(dose), described("dose", trial, "Dose whose exit from the window is given.")
    attrs = {"benefit": float(benefit), "benefit_scale": benefit_scale, "level": float(level), "seed": seed}
    known = {name: value for name, value in when[0].asked().items() if name == "history"}
    return result.assign_attrs(attrs | {"estimand": asked.label} | known)


def _both(before: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Doses that have the benefit at every time so far, draw by draw."""
    lower = np.fmax(before["window_lower"], now["window_lower"])
    upper = np.fmin(before["window_upper"], now["window_upper"])
    exists = before["exists"] & now["exists"] & (lower <= upper)
    return {
        "window_lower": np.where(exists, lower, np.nan),
        "window_upper": np.where(exists, upper, np.nan),
        "exists": exists,
    }


def _note(columns: dict, today: Exceedance, always: Exceedance, share: float, level: float) -> None:
    best, highest = today.best()
    dose, persistence = always.best()
    pieces = today.pieces(level)
    lower, upper = nearest_piece(pieces, best) or (np.nan, np.nan)
    values = (today.prob_exists, highest, best, lower, upper, persistence, dose, share)
    for name, value in zip(DEFINITIONS, values, strict=True):
        columns[name].append(float(value))


def _dataset(columns: dict[str, list[float]], moments: np.ndarray, trial: xr.Dataset, level: float) -> xr.Dataset:
    result = xr.Dataset(
        {name: (("time",), columns[name], described(unit, trial, text)) for name, (unit, text) in DEFINITIONS.items()},
        coords={"time": moments},
    )
    result["time"].attrs = dict(trial["time"].attrs)
    lost = np.flatnonzero(result["max_probability"].values < level)
    text = "First of the times at which no dose reaches the level any more: the window is to be estimated again."
    when = float(moments[lost[0]]) if lost.size else np.nan
    result["reestimate"] = (), when, described("time", trial, text)
    text = "First of the times at which the chosen dose no longer has the benefit, by quantile; infinite if none."
    gone = 1 - result["kept"].values
    times = [next((float(t) for t, share in zip(moments, gone, strict=True) if share >= q), np.inf) for q in QUANTILES]
    result["exit_time"] = ("quantile",), times, described("time", trial, text)
    return result.assign_coords(quantile=list(QUANTILES))
