"""Figures of people and doses in time: a panel of sensitivity for each subject, and the benefit over time and dose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullFormatter

from hormesis_fit.figures.axes import DoseAxis
from hormesis_fit.figures.drawing import canvas, label, legend, number, panels, title, units_of
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, panel, shown, styled
from hormesis_fit.phrases import printable
from hormesis_fit.windows.posterior import members, trial_of
from hormesis_fit.windows.timecourse import courses_in, sensitivity_over_time
from hormesis_fit.wording import unknown

MOST, NAME = 12, 24  # panels in one figure, and characters of their names
ACROSS = {"single": 2, "double": 4}
LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
CLOSE = (0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5)  # where the axis spans less than a decade
UNCHANGED = 1e-9  # a sensitivity that differs from 1 by rounding alone


@styled
def plot_subject_sensitivity(
    fit: xr.DataTree,
    *,
    subjects: Sequence[str] | None = None,
    times: Sequence[float] | None = None,
    width: Width = "double",
    palette: Palette = "light",
    **asked: Any,
) -> Figure:
    """Draw how sensitivity drifts in each subject, one panel each, on common axes.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a path for each subject (``vary={"potency": "subject"}``), or with a mechanism, whose
        dosing histories then have the panels.
    subjects : sequence of str, optional
        Labels of subjects or histories, in this order; by default all, of more than twelve twelve spread evenly.
    times : sequence of float, optional
        Times from the first visit on, also beyond the last [time]; by default the visits.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    **asked
        For a mechanism ``regimen``, as in `sensitivity_over_time`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If no subject has a path of its own, or one of those asked for is unknown.
    """
    target, factors = _factors(fit, subjects, times, asked)
    figure, places, columns = panels(len(factors), width, columns=ACROSS[width])
    for place, (axes, (name, factor)) in enumerate(zip(places, factors.items(), strict=True)):
        with panel(name):
            _panel(axes, name, factor)
        lowest = place + columns >= len(factors)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=lowest)
        axes.set_xlabel(label(trial_of(fit)["time"], "time") if lowest else "", parse_math=False)
    low = min(axes.get_ylim()[0] for axes in places)
    high = max(axes.get_ylim()[1] for axes in places)
    ticks = [tick for tick in (CLOSE if high < 10 * low else TICKS) if low <= tick <= high]
    for axes in places:
        axes.set_ylim(low, high)
        axes.set_yticks(ticks, [number(tick) for tick in ticks])
        axes.yaxis.set_minor_formatter(NullFormatter())
    words = "sensitivity, relative to no drug" if target == "sensitivity" else f"{target}, as a factor"
    figure.supylabel(words, fontsize=7, parse_math=False)
    fills = ((95, look().wide), (50, look().narrow))
    handles: list = [Patch(label=f"{mass} % of the posterior", **fill) for mass, fill in fills]
    handles.append(Line2D([], [], color=look().line, linewidth=1.2, label="median"))
    legend(figure, places[0], handles, own=True)
    return figure


def _factors(
    fit: xr.DataTree, subjects: Sequence[str] | None, times: Sequence[float] | None, asked: dict[str, Any]
) -> tuple[str, dict[str, xr.DataArray]]:
    """Return what drifts, and the factor of every subject or history that has a panel, dims (chain, draw, time)."""
    member = max(members(fit), key=lambda one: one.weight)
    personal = [one for one in courses_in(member) if one.labels]
    if personal:
        target, known = personal[0].target, list(personal[0].labels)
        wanted = _chosen(subjects, known)
        paths = {one: sensitivity_over_time(fit, time=times, subject=one)[target] for one in wanted}
        return target, {one: np.exp(path) for one, path in paths.items()}
    found = sensitivity_over_time(fit, time=times, **asked)
    if "sensitivity" not in found:
        raise ValueError(
            'One path is common to all subjects of this fit: fit with vary={"potency": "subject"}, or draw it with '
            "plot_sensitivity()."
        )
    seen = found["sensitivity"]
    if subjects is None:  # without the drug sensitivity is 1
        dosed = (abs(seen - 1) > UNCHANGED).any(("chain", "draw", "time")).values
        seen = seen.isel(history=np.flatnonzero(dosed)) if dosed.any() else seen
    wanted = _chosen(subjects, [str(name) for name in seen["history"].values])
    return "sensitivity", {one: seen.sel(history=one) for one in wanted}


def _chosen(subjects: Sequence[str] | None, known: list[str]) -> list[str]:
    if subjects is None:
        places = np.unique(np.linspace(0, len(known) - 1, min(MOST, len(known))).round().astype(int))
        return [known[place] for place in places]
    wanted = [str(one) for one in ([subjects] if isinstance(subjects, str) else subjects)]
    for one in wanted:
        if one not in known:
            raise ValueError(unknown("subject with a panel", one, known))
    return wanted


def _panel(axes: Axes, name: str, factor: xr.DataArray) -> None:
    """Draw median and bands of one subject."""
    moments = factor["time"].values
    bands = factor.quantile(LEVELS, ("chain", "draw")).transpose("quantile", "time").values
    axes.axhline(1.0, color=INK, linewidth=0.5, linestyle=(0, (4, 2)), gid="unchanged")
    for mass, fill, low, high in ((0.95, look().wide, 0, 4), (0.5, look().narrow, 1, 3)):
        axes.fill_between(moments, bands[low], bands[high], gid=f"band_{mass:g}", **fill)
    axes.plot(moments, bands[2], color=look().line, linewidth=1.2, gid="median")
    axes.set_yscale("log")
    axes.set_title(printable(name)[:NAME], parse_math=False, pad=3)
    keep(factor=shown(bands, "sensitivity as a factor", quantile=list(LEVELS), time=factor["time"]))


@styled
def plot_dose_time(
    course: xr.Dataset, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None, **options: Any
) -> Figure:
    """Draw the probability of the benefit over time and dose.

    Parameters
    ----------
    course : Dataset
        As `window_over_time` returns it, dims (time, dose).
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **options
        Passed to `matplotlib.axes.Axes.pcolormesh`.

    Returns
    -------
    matplotlib.figure.Figure
        The edges of the window at its level are solid lines, the chosen dose is a dashed one that ends where it has
        left the window in half of the posterior.

    Raises
    ------
    TypeError
        If `course` is not what `window_over_time` returns.
    ValueError
        If there are fewer than two times.
    """
    if not isinstance(course, xr.Dataset) or not {"time", "dose"} <= set(course.dims):
        raise TypeError(f"Expected what window_over_time() returns, got {type(course).__name__}: compute it first.")
    moments, dose = course["time"].values, course["dose"].values
    if moments.size < 2:
        raise ValueError(f"A map over time needs at least 2 times, got {moments.size}: give more times=.")
    figure, axes = canvas(ax, width, 0.62)
    drawn = {"vmin": 0, "vmax": 1, "cmap": look().surface, "shading": "nearest", "rasterized": True} | options
    mesh = axes.pcolormesh(moments, dose, course["probability"].transpose("dose", "time").values, **drawn)
    keep(probability=shown(course["probability"].values, "probability", time=course["time"], dose=course["dose"]))
    major, minor = DoseAxis(float(dose[0]), float(dose[-1]), zero=False).ticks()
    axes.set_yscale("log")
    axes.set_yticks(major, [number(one) for one in major])
    axes.set_yticks(minor, minor=True)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(float(dose[0]), float(dose[-1]))
    axes.set_xlabel(label(course["time"], "time"), parse_math=False)
    axes.set_ylabel(label(course["dose"], "dose"), parse_math=False)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("probability of the benefit")
    bar.outline.set_visible(False)
    legend(figure, axes, [_edges(axes, course), _stay(axes, course)], own=ax is None)
    return figure


def _edges(axes: Axes, course: xr.Dataset) -> Line2D:
    """Draw the edges of the window; return their legend."""
    drawn, halo = {"color": look().mark, "linewidth": 1.5}, [withStroke(linewidth=3, foreground="white")]
    for name in ("window_lower", "window_upper"):
        ends = course[name].values
        axes.plot(course["time"].values, ends, gid=name, path_effects=halo, **drawn)
        keep(**{name: shown(ends, name.replace("_", " "), units_of(course["dose"]), time=course["time"])})
    return Line2D([], [], **drawn, label=f"edges of the window at {float(course.attrs['level']):.0%}")


def _stay(axes: Axes, course: xr.Dataset) -> Line2D:
    """Draw how long the chosen dose stays in the window; return its legend."""
    dose, leaves = float(course["chosen_dose"]), float(course["exit_time"].sel(quantile=0.5))
    keep(
        chosen_dose=shown(dose, "dose that was chosen", units_of(course["dose"])),
        exit_time=shown(leaves, "time at which half of the posterior has left", units_of(course["time"])),
    )
    first, last = course["time"].values[[0, -1]]
    drawn = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 3))}
    halo = [withStroke(linewidth=2.2, foreground="white")]
    axes.plot([first, min(leaves, last)], [dose, dose], gid="chosen_dose", path_effects=halo, **drawn)
    if np.isfinite(leaves):
        title(axes, f"Half of the posterior has left at {number(leaves)}.")
    return Line2D([], [], label=f"dose {number(dose)}, until half has left", **drawn)
