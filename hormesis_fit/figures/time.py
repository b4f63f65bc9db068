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
from matplotlib.ticker import NullFormatter

from hormesis_fit.drift.courses import start_of
from hormesis_fit.figures.axes import DoseAxis
from hormesis_fit.figures.drawing import canvas, label, legend, number, title, units_of
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, shown, styled
from hormesis_fit.phrases import printable
from hormesis_fit.windows.persistence import window_over_time
from hormesis_fit.windows.posterior import domain, trial_of
from hormesis_fit.windows.timecourse import sensitivity_over_time

POINTS = 60
MOST = 5  # histories in one figure: more bands hide each other
LEVELS, THREE = [0.025, 0.25, 0.5, 0.75, 0.975], [0.025, 0.5, 0.975]
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
    palette: Palette = "light",
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
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **asked
        ``estimand`` and ``subject``, as in `window`, and for a mechanism ``regimen``, as in `sensitivity_over_time`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If the fit has no drift, or times, `width` or `palette` are out of range.

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
    figure, axes = canvas(ax, width, 0.62)
    axes.axhline(1.0, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), gid="unchanged")
    if "history" in found[target].dims:
        handles = _draw_histories(axes, found[target])
        axes.set_ylabel("sensitivity, relative to no drug", parse_math=False)
    else:
        handles = _draw_process(axes, np.exp(found[target]))
        axes.set_ylabel(f"{target}, as a factor", parse_math=False)
    if asked.get("regimen") is None:  # another schedule has no visits
        handles.append(_draw_visits(axes, trial, found["time"].values[-1]))
    axes.set_xlabel(label(trial["time"], "time"), parse_math=False)
    legend(figure, axes, handles, own=ax is None)
    return figure


def _draw_visits(axes: Axes, trial: xr.Dataset, end: float) -> Line2D:
    """Mark the visits, and the last one where the figure goes on beyond it; return their legend."""
    visits = np.unique(trial["time"].values)
    keep(visits=shown(visits, "time of a visit", units_of(trial["time"]), visit=np.arange(visits.size)))
    axes.plot(visits, np.zeros_like(visits), "|", color=INK, transform=axes.get_xaxis_transform(), gid="visits")
    if end > visits[-1]:
        axes.axvline(visits[-1], color=INK, linewidth=0.5, linestyle=":", gid="last_visit")
    return Line2D([], [], marker="|", linestyle="none", color=INK, label="visits")


def _draw_process(axes: Axes, factor: xr.DataArray) -> list[Patch | Line2D]:
    """Draw median and bands of a factor on a log axis; return their legend."""
    moments, handles = factor["time"].values, []
    bands = factor.quantile(LEVELS, ("chain", "draw")).transpose("quantile", "time").values
    for mass, fill, low, high in ((0.95, look().wide, 0, 4), (0.5, look().narrow, 1, 3)):
        axes.fill_between(moments, bands[low], bands[high], gid=f"band_{mass:g}", **fill)
        handles.append(Patch(label=f"{100 * mass:g} % of the posterior", **fill))
    axes.plot(moments, bands[2], color=look().line, linewidth=1.2, gid="median")
    handles.append(Line2D([], [], color=look().line, linewidth=1.2, label="median"))
    keep(factor=shown(bands, "sensitivity as a factor", quantile=LEVELS, time=factor["time"]))
    axes.set_yscale("log")
    ticks = [
        tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]
    ]
    axes.set_yticks(ticks, [number(tick) for tick in ticks])
    axes.minorticks_off()
    return handles


def _draw_histories(axes: Axes, seen: xr.DataArray) -> list[Patch | Line2D]:
    """Draw what a mechanism has come to in some histories, each named at the end of its line; return a legend."""
    total = seen.sizes["history"]
    # Without the drug sensitivity is the line of 1 that is there already.
    dosed = np.flatnonzero((abs(seen - 1) > UNCHANGED).any(("chain", "draw", "time")))
    some = dosed if dosed.size else np.arange(total)
    some_of = seen.isel(history=some[np.unique(np.linspace(0, some.size - 1, MOST).round().astype(int))])
    bands = some_of.quantile(THREE, ("chain", "draw")).transpose("quantile", "history", "time")
    low, middle, high = bands.values
    moments, styles = seen["time"].values, look().series
    names = [printable(str(name)) for name in some_of["history"].values]
    keep(sensitivity=shown(bands, "sensitivity", quantile=THREE, history=names, time=seen["time"]))
    for k, style in zip(range(len(names)), styles, strict=False):
        axes.fill_between(moments, low[k], high[k], color=style["color"], alpha=0.07, linewidth=0, gid="band_0.95")
        for end in (low[k], high[k]):  # bands lie over each other: their ends tell them apart
            axes.plot(moments, end, linewidth=0.4, gid="band_end", **style)
        axes.plot(moments, middle[k], linewidth=1.2, gid="median", **style)
    axes.set_ylim(0.0, 1.05 * max(1.0, float(high.max())))
    axes.set_xlim(right=float(moments[-1]))
    if total > 1:
        _name_ends(axes, float(moments[-1]), middle[:, -1], names)
    if some.size > MOST:
        title(axes, f"{MOST} of {total} dosing histories.")
    return [
        Line2D([], [], color=INK, linewidth=1.2, label="median"),
        Patch(color=INK, alpha=0.15, label="95 % of the posterior"),
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
            color=look().series[k]["color"],
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
    palette: Palette = "light",
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
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **asked
        ``benefit``, ``benefit_scale``, ``level``, ``estimand`` and ``subject``, as in `window`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If the fit has no drift, or times, `width` or `palette` are out of range.
    """
    trial = trial_of(fit)
    found = window_over_time(fit, times=times, **asked)
    figure, axes = canvas(ax, width, 0.62)
    moments, level = found["time"].values, float(found.attrs["level"])
    there = np.isfinite(found["window_lower"].values)
    edges, best = (found["window_lower"].values, found["window_upper"].values), found["best_dose"].values
    axes.fill_between(moments, *edges, where=there, gid="window", **look().window)
    for edge in edges:
        axes.plot(moments, edge, color=INK, linewidth=0.5, gid="edge")
    point = {"color": look().mark, "marker": "D", "markersize": 3, "linewidth": 1.2}
    axes.plot(moments, best, gid="best_dose", **point)
    handles = [Patch(label=f"window, level {level:g}", **look().window), Line2D([], [], label="best dose", **point)]
    handles.append(_draw_given(axes, trial))
    unit = units_of(trial["dose"])
    for name, values in (("window_lower", edges[0]), ("window_upper", edges[1]), ("best_dose", best)):
        keep(**{name: shown(values, name.replace("_", " "), unit, time=found["time"])})
    low, high = domain(trial)
    major, minor = DoseAxis(low, high, zero=False).ticks()
    axes.set_yscale("log")
    axes.set_yticks(major, [number(dose) for dose in major])
    axes.set_yticks(minor, minor=True)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(low, high)
    axes.set_xlabel(label(trial["time"], "time"), parse_math=False)
    axes.set_ylabel(label(trial["dose"], "dose"), parse_math=False)
    lost = float(found["reestimate"])
    if np.isfinite(lost):
        axes.axvline(lost, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), gid="reestimate")
        title(axes, f"From {number(lost)} on no dose reaches the level: estimate again.")
    if not there.any():
        axes.text(0.5, 0.5, "no dose reaches the level", transform=axes.transAxes, ha="center", gid="empty")
    legend(figure, axes, handles, own=ax is None)
    return figure


def _draw_given(axes: Axes, trial: xr.Dataset) -> Line2D:
    """Draw the doses of the trial at their times; return their legend."""
    given = np.unique(np.column_stack([trial["time"].values, trial["dose"].values]), axis=0)
    moments, doses = given[given[:, 1] > 0].T
    style = {"color": INK, "marker": "_", "linestyle": "none", "markersize": 4}
    axes.plot(moments, doses, zorder=1, gid="doses", **style)
    order = np.arange(doses.size)
    keep(
        given_dose=shown(doses, "dose given", units_of(trial["dose"]), given=order),
        given_time=shown(moments, "time at which it was given", units_of(trial["time"]), given=order),
    )
    return Line2D([], [], label="doses given", **style)
