"""Dose and interval together: where a schedule at steady state has the benefit, and which schedule is best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.windows.exceedance import nearest_piece
from hormesis_fit.windows.posterior import check_fit, described, trial_of
from hormesis_fit.windows.windowing import level_pieces, window

DEFINITIONS = {
    "prob_exists": ("1", "Posterior probability that there is a window at this interval."),
    "max_probability": ("1", "Highest probability that any one dose has the benefit at this interval."),
    "best_dose": ("dose", "Dose with the highest probability of the benefit at this interval."),
    "window_lower": ("dose", "Lowest dose of the window at the level asked for, at this interval."),
    "window_upper": ("dose", "Highest dose of the window at the level asked for, at this interval."),
    "optimal_dose": ("dose", "Dose of the highest expected utility at this interval."),
}


def dose_interval(
    fit: xr.DataTree, *, intervals: Sequence[float], doses: Sequence[float] | None = None, **asked: Any
) -> xr.Dataset:
    """Return the probability of the benefit over dose and interval, at the steady state of each schedule.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a regimen and pharmacokinetics.
    intervals : sequence of float
        Times between doses [time].
    doses : sequence of float, optional
        Doses at which to give the probability [dose]; by default a grid, as in `window`.
    **asked
        ``benefit``, ``benefit_scale``, ``level``, ``harm``, ``estimand`` and ``subject``, as in `window`.

    Returns
    -------
    Dataset
        ``probability`` that a dose has the benefit and breaks no limit, dims (interval, dose) [1]; ``daily_dose``, the
        dose per time, dims (interval, dose); over (interval): ``prob_exists``, ``max_probability``, ``best_dose``,
        ``window_lower``, ``window_upper`` (NaN where no dose reaches the level), ``optimal_dose``; over (dose):
        ``best_interval``, the one with the highest probability [time].

    Raises
    ------
    ValueError
        If the fit has no pharmacokinetics, or intervals are no finite numbers above 0.

    Notes
    -----
    The benefit is the mean over one interval at periodic steady state. Harms count at their worst moment in it.
    """
    check_fit(fit)
    try:
        wanted = np.unique(np.asarray(intervals, dtype=float).ravel())
    except (TypeError, ValueError):
        wanted = np.empty(0)
    if wanted.size == 0 or not np.all(np.isfinite(wanted)) or wanted[0] <= 0:
        raise ValueError(f"intervals must be finite numbers above 0, got {intervals!r}.")
    trial = trial_of(fit)
    columns: dict[str, list[float]] = {name: [] for name in DEFINITIONS}
    rows = []
    for interval in wanted:
        found = window(fit, interval=float(interval), doses=doses, **asked)
        rows.append(found["probability"].values)
        best = float(found["best_dose"])
        lower, upper = nearest_piece(level_pieces(found), best) or (np.nan, np.nan)
        own = {"best_dose": best, "window_lower": lower, "window_upper": upper}
        for name, column in columns.items():
            column.append(own[name] if name in own else float(found[name]))
    probability = np.array(rows)
    dose = found["dose"].values
    unit = "/".join(str(trial[name].attrs.get("units", "")) or name for name in ("dose", "time"))
    text = "Interval at which the dose has the benefit with the highest probability."
    result = xr.Dataset(
        {
            "probability": (("interval", "dose"), probability, dict(found["probability"].attrs)),
            "daily_dose": (
                ("interval", "dose"),
                dose[None, :] / wanted[:, None],
                {"units": unit, "long_name": "", "definition": "Dose per time."},
            ),
            "best_interval": (("dose",), wanted[probability.argmax(axis=0)], described("time", trial, text)),
        },
        coords={"interval": wanted, "dose": found["dose"]},
    )
    for name, (kind, definition) in DEFINITIONS.items():
        result[name] = ("interval",), columns[name], described(kind, trial, definition)
    result["interval"].attrs = described("time", trial, "Time between doses.")
    kept = ("benefit", "benefit_scale", "level", "estimand", "subject", "harms", "seed")
    return result.assign_attrs({name: found.attrs[name] for name in kept})
