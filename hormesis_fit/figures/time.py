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

from hormesis_fit.drift.courses import start_of
from hormesis_fit.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    Width,
    canvas,
    label,
    legend,
    number,
    styled,
    title,
)
from hormesis_fit.phrases import printable
from hormesis_fit.windows.persistence import window_over_time
from hormesis_fit.windows.posterior import domain, trial_of
from hormesis_fit.windows.timecourse import sensitivity_over_time

POINTS = 60
MOST = 5  # histories in one figure: more bands hide each other
COLOURS = (BLUE, GREEN, ORANGE, VERMILION, GREY)
UNCHANGED = 1e-9  # a sensitivity that differs from 1 by rounding alone
APART = 0.07  # least distance of names from each other, as a share of the height of the axes


def _moments(fit: xr.DataTree, trial: xr.Dataset, times: Sequence[float] | None) -> np.ndarray:
    if times is not None:
        return np.unique(np.asarray(times, dtype=float))
    visits = np.unique(trial["time"].values)
    # Doses act from the start on, which may be before the first visit.
    first = start_of(trial) if "regimen" in fit else visits[0]
    return np.linspace(first, visits[-1], POINTS)


@styled
def plot_sensitivity(
    fit: xr.DataTree,
    *,
    target: str | None = None,
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
    target : {"potency", "gain", "baseline", "sensitivity"}, optional
        What drifts, by default the first of what does; ``"sensitivity"`` is what a mechanism has come to.
    times : sequence of float, optional
        Times from the first visit on, also beyond the last [time]; by default those of the trial.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **asked
        ``estimand`` and ``subject``, as in `window`, and for a mechanism ``regimen``, as in `sensitivity_over_time`.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    A mechanism has a line for each dosing history with the drug, with its band of 95 %; of more than five five are
    drawn, spread evenly over all.
    """
    trial = trial_of(fit)
    found = sensitivity_over_time(fit, time=_moments(fit, trial, times), **asked)
    target = str(next(iter(found.data_vars))) if target is None else target
    if target not in found:
        there = ", ".join(str(name) for name in found.data_vars)
        raise ValueError(f"The {target} does not drift in this fit: choose one of {there}.")
    figure, axes = canvas(ax, width, 0.74)
    axes.axhline(1.0, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), gid="unchanged")
    if "history" in found[target].dims:
        handles = _draw_histories(axes, found[target], width)
        axes.set_ylabel("sensitivity, relative to no drug", parse_math=False)
    else:
        handles = _draw_process(axes, np.exp(found[target]))
        axes.set_ylabel(f"{target}, as a factor", parse_math=False)
    if asked.get("regimen") is None:  # another schedule has no visits
        handles.append(_draw_visits(axes, np.unique(trial["time"].values), found["time"].values[-1]))
    axes.set_xlabel(label(trial["time"], "time"), parse_math=False)
    legend(figure, axes, handles, own=ax is None, columns=3)
    return figure


def _draw_visits(axes: Axes, visits: np.ndarray, end: float) -> Line2D:
    """Mark the visits, and the last one where the figure goes on beyond it; return their legend."""
    axes.plot(visits, np.zeros_like(visits), "|", color=INK, transform=axes.get_xaxis_transform(), gid="visits")
    if end > visits[-1]:
        axes.axvline(visits[-1], color=INK, linewidth=0.5, linestyle=":", gid="last_visit")
    return Line2D([], [], marker="|", linestyle="none", color=INK, label="visits")


def _draw_process(axes: Axes, factor: xr.DataArray) -> list[Patch | Line2D]:
    """Draw median and bands of a factor on a log axis; return their legend."""
    moments, handles = factor["time"].values, []
    for mass, opacity in ((0.95, 0.2), (0.5, 0.45)):
        low, high = factor.quantile([(1 - mass) / 2, (1 + mass) / 2], ("chain", "draw")).values
        axes.fill_between(moments, low, high, color=BLUE, alpha=opacity, linewidth=0, gid=f"band_{mass:g}")
        handles.append(Patch(color=BLUE, alpha=opacity, label=f"{100 * mass:g} % of the posterior"))
    axes.plot(moments, factor.median(("chain", "draw")), color=BLUE, linewidth=1.2, gid="median")
    axes.set_yscale("log")
    ticks = [
        tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]
    ]
    axes.set_yticks(ticks, [number(tick) for tick in ticks])
    axes.minorticks_off()
    return handles


def _draw_histories(axes: Axes, seen: xr.DataArray, width: Width) -> list[Patch | Line2D]:
    """Draw what a mechanism has come to in some histories, each named at the end of its line; return a legend."""
    total = seen.sizes["history"]
    # Without the drug sensitivity is the line of 1 that is there already.
    dosed = np.flatnonzero((abs(seen - 1) > UNCHANGED).any(("chain", "draw", "time")))
    some = dosed if dosed.size else np.arange(total)
    shown = seen.isel(history=some[np.unique(np.linspace(0, some.size - 1, MOST).round().astype(int))])
    low, middle, high = shown.quantile([0.025, 0.5, 0.975], ("chain", "draw")).transpose("quantile", "history", "time")
    moments = seen["time"].values
    for k, colour in zip(range(shown.sizes["history"]), COLOURS, strict=False):
        axes.fill_between(moments, low[k], high[k], color=colour, alpha=0.18, linewidth=0, gid="band_0.95")
        axes.plot(moments, middle[k], color=colour, linewidth=1.2, gid="median")
    axes.set_ylim(0.0, 1.05 * max(1.0, float(high.max())))
    axes.set_xlim(right=float(moments[-1]))
    if total > 1:
        names = [printable(str(name)) for name in shown["history"].values]
        _name_ends(axes, float(moments[-1]), middle.isel(time=-1).values, names)
    if some.size > MOST:
        title(axes, f"{MOST} of {total} dosing histories.", width)
    return [
        Line2D([], [], color=INK, linewidth=1.2, label="median"),
        Patch(color=INK, alpha=0.18, label="95 % of the posterior"),
    ]


def _name_ends(axes: Axes, end: float, heights: np.ndarray, names: Sequence[str]) -> None:
    """Write names beside the ends of lines, from the lowest up, at heights that keep them apart."""
    apart, place = APART * np.ptp(axes.get_ylim()), -np.inf
    for k in np.argsort(heights, kind="stable"):
        place = max(float(heights[k]), place + apart)
        axes.annotate(
            names[k],
            (end, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[k],
            fontsize=6.5,
            annotation_clip=False,
            gid="history",
            parse_math=False,
        )


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
