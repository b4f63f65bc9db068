"""Figures against time: where sensitivity has drifted to, and the window over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hormesis_fit.drawing import BLUE, GREEN, INK, VERMILION, Width, canvas, label, legend, number, styled, title
from hormesis_fit.persistence import window_over_time
from hormesis_fit.posterior import domain, trial_of
from hormesis_fit.timecourse import sensitivity_over_time

POINTS = 60


def _moments(trial: xr.Dataset, times: Sequence[float] | None) -> np.ndarray:
    visits = np.unique(trial["time"].values)
    return np.linspace(visits[0], visits[-1], POINTS) if times is None else np.unique(np.asarray(times, dtype=float))


@styled
def plot_sensitivity(
    fit: xr.DataTree,
    *,
    target: str = "potency",
    times: Sequence[float] | None = None,
    width: Width = "single",
    ax: Axes | None = None,
    **asked: Any,
) -> Figure:
    """Draw how sensitivity drifts in time, with its credible bands.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift.
    target : {"potency", "gain", "baseline"}
        What drifts.
    times : sequence of float, optional
        Times from the first visit on, also beyond the last [time]; by default those of the trial.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **asked
        ``estimand`` and ``subject``, as in `window`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    trial = trial_of(fit)
    found = sensitivity_over_time(fit, time=_moments(trial, times), **asked)
    if target not in found:
        there = ", ".join(str(name) for name in found.data_vars)
        raise ValueError(f"The {target} does not drift in this fit: choose one of {there}.")
    factor = np.exp(found[target])
    figure, axes = canvas(ax, width, 0.74)
    moments = found["time"].values
    handles = []
    for mass, opacity in ((0.95, 0.2), (0.5, 0.45)):
        low, high = factor.quantile([(1 - mass) / 2, (1 + mass) / 2], ("chain", "draw")).values
        axes.fill_between(moments, low, high, color=BLUE, alpha=opacity, linewidth=0, gid=f"band_{mass:g}")
        handles.append(Patch(color=BLUE, alpha=opacity, label=f"{100 * mass:g} % of the posterior"))
    axes.plot(moments, factor.median(("chain", "draw")), color=BLUE, linewidth=1.2, gid="median")
    axes.axhline(1.0, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), gid="unchanged")
    visits = np.unique(trial["time"].values)
    axes.plot(visits, np.zeros_like(visits), "|", color=INK, transform=axes.get_xaxis_transform(), gid="visits")
    handles.append(Line2D([], [], marker="|", linestyle="none", color=INK, label="visits"))
    if moments[-1] > visits[-1]:
        axes.axvline(visits[-1], color=INK, linewidth=0.5, linestyle=":", gid="last_visit")
    axes.set_yscale("log")
    ticks = [
        tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]
    ]
    axes.set_yticks(ticks, [number(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label(trial["time"], "time"), parse_math=False)
    axes.set_ylabel(f"{target}, as a factor", parse_math=False)
    legend(figure, axes, handles, own=ax is None, columns=3)
    return figure


@styled
def plot_window_over_time(
    fit: xr.DataTree,
    *,
    times: Sequence[float] | None = None,
    width: Width = "single",
    ax: Axes | None = None,
    **asked: Any,
) -> Figure:
    """Draw the window against time, with its best dose and the doses that were given.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift.
    times : sequence of float, optional
        Times from the first visit on, also beyond the last [time]; by default the visits.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **asked
        ``benefit``, ``benefit_scale``, ``level``, ``estimand`` and ``subject``, as in `window`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    trial = trial_of(fit)
    found = window_over_time(fit, times=times, **asked)
    figure, axes = canvas(ax, width, 0.74)
    moments, level = found["time"].values, float(found.attrs["level"])
    there = np.isfinite(found["window_lower"].values)
    axes.fill_between(
        moments,
        found["window_lower"],
        found["window_upper"],
        where=there,
        color=GREEN,
        alpha=0.5,
        linewidth=0,
        gid="window",
    )
    axes.plot(moments, found["best_dose"], color=VERMILION, linewidth=1.2, marker="D", markersize=3, gid="best_dose")
    given = trial["dose"].values > 0
    axes.plot(
        trial["time"].values[given], trial["dose"].values[given], "_", color=INK, markersize=4, zorder=1, gid="doses"
    )
    axes.set_yscale("log")
    axes.set_ylim(*domain(trial))
    axes.yaxis.set_major_formatter(lambda dose, _: number(dose))
    axes.set_xlabel(label(trial["time"], "time"), parse_math=False)
    axes.set_ylabel(label(trial["dose"], "dose"), parse_math=False)
    handles = [
        Patch(color=GREEN, alpha=0.3, label=f"window, level {level:g}"),
        Line2D([], [], color=VERMILION, marker="D", markersize=3, label="best dose"),
        Line2D([], [], color=INK, marker="_", linestyle="none", label="doses given"),
    ]
    lost = float(found["reestimate"])
    if np.isfinite(lost):
        axes.axvline(lost, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), gid="reestimate")
        title(axes, f"From {number(lost)} on no dose reaches the level: estimate again.", width)
    if not there.any():
        axes.text(0.5, 0.5, "no dose reaches the level", transform=axes.transAxes, ha="center", gid="empty")
    legend(figure, axes, handles, own=ax is None, columns=3)
    return figure
