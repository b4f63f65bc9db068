"""The figure of dose and interval: where a schedule has the benefit, with lines of equal daily dose."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hormesis_fit.figures.drawing import INK, VERMILION, Width, canvas, label, legend, number, styled, title

ISOBOLES = 5
COLOURS = "cividis"  # reads the same in grey, and for colour-blind eyes


@styled
def plot_dose_interval(
    surface: xr.Dataset, *, width: Width = "single", ax: Axes | None = None, **options: Any
) -> Figure:
    """Draw the probability of the benefit over dose and interval.

    Parameters
    ----------
    surface : Dataset
        As `dose_interval` returns it, dims (interval, dose).
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    **options
        Passed to `matplotlib.axes.Axes.pcolormesh`.

    Returns
    -------
    matplotlib.figure.Figure
        The edge of the window at its level is a solid line, equal daily doses are dashed ones.

    Raises
    ------
    ValueError
        If there are fewer than two intervals.
    """
    interval, dose = surface["interval"].values, surface["dose"].values
    if interval.size < 2:
        raise ValueError(f"A surface needs at least 2 intervals, got {interval.size}: give more intervals=.")
    positive = dose > 0
    dose, height = dose[positive], surface["probability"].values[:, positive]
    figure, axes = canvas(ax, width, 0.72)
    drawn = {"vmin": 0, "vmax": 1, "cmap": COLOURS, "shading": "nearest", "rasterized": True} | options
    mesh = axes.pcolormesh(dose, interval, height, **drawn)
    axes.set(xscale="log", yscale="log", xlim=(dose[0], dose[-1]), ylim=_ends(interval))
    axes.set_yticks(interval, [number(value) for value in interval], minor=False)
    axes.set_yticks([], minor=True)
    level = float(surface.attrs["level"])
    handles = [_edges(axes, surface, level)]
    handles.append(_isoboles(axes, dose, interval))
    axes.set(xlabel=label(surface["dose"], "dose"), ylabel=label(surface["interval"], "interval"))
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("probability of the benefit")
    bar.outline.set_visible(False)
    legend(figure, axes, handles, own=ax is None, columns=2)
    title(axes, "Which dose, and how often", width)
    return figure


def _ends(interval: np.ndarray) -> tuple[float, float]:
    """Ends of the axis of intervals: half a step beyond the first and the last."""
    first, last = np.sqrt(interval[0] / interval[1]), np.sqrt(interval[-1] / interval[-2])
    return float(interval[0] * first), float(interval[-1] * last)


def _edges(axes: Axes, surface: xr.Dataset, level: float) -> Line2D:
    """The edges of the window at each interval, as high as its row of the map."""
    interval = surface["interval"].values
    low, high = _ends(interval)
    borders = np.concatenate([[low], np.sqrt(interval[:-1] * interval[1:]), [high]])
    drawn = {"color": VERMILION, "linewidth": 1.5}
    for name in ("window_lower", "window_upper"):
        axes.vlines(surface[name].values, borders[:-1], borders[1:], gid=name, **drawn)
    return Line2D([], [], **drawn, label=f"edges of the window at {level:.0%}")


def _isoboles(axes: Axes, dose: np.ndarray, interval: np.ndarray) -> Line2D:
    """Lines along which the dose per time is the same."""
    low, high = np.log(dose[0] / interval[-1]), np.log(dose[-1] / interval[0])
    for daily in np.exp(np.linspace(low, high, ISOBOLES + 2)[1:-1]):
        ends = np.array(_ends(interval))
        axes.plot(daily * ends, ends, color="white", linewidth=0.7, linestyle=(0, (4, 3)), gid="isobole")
    return Line2D([], [], color=INK, linewidth=0.7, linestyle=(0, (4, 3)), label="equal dose per time")
