"""The figure of dose and interval: where a schedule has the benefit, with lines of equal daily dose."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from hormesis_fit.figures.axes import DoseAxis
from hormesis_fit.figures.drawing import canvas, label, legend, number, title, units_of
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, shown, styled

ISOBOLES = 5


@styled
def plot_dose_interval(
    surface: xr.Dataset, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None, **options: Any
) -> Figure:
    """Draw the probability of the benefit over dose and interval.

    Parameters
    ----------
    surface : Dataset
        As `dose_interval` returns it, dims (interval, dose).
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
        The edge of the window at its level is a solid line, equal daily doses are dashed ones.

    Raises
    ------
    TypeError
        If `surface` is not what `dose_interval` returns.
    ValueError
        If there are fewer than two intervals.
    """
    if not isinstance(surface, xr.Dataset) or not {"interval", "dose"} <= set(surface.dims):
        raise TypeError(f"Expected what dose_interval() returns, got {type(surface).__name__}: compute it first.")
    interval, dose = surface["interval"].values, surface["dose"].values
    if interval.size < 2:
        raise ValueError(f"A surface needs at least 2 intervals, got {interval.size}: give more intervals=.")
    positive = dose > 0
    dose, height = dose[positive], surface["probability"].values[:, positive]
    figure, axes = canvas(ax, width, 0.62)
    drawn = {"vmin": 0, "vmax": 1, "cmap": look().surface, "shading": "flat", "rasterized": True} | options
    mesh = axes.pcolormesh(_borders(dose), _borders(interval), height, **drawn)
    DoseAxis(float(dose[0]), float(dose[-1]), zero=False).apply(axes, label(surface["dose"], "dose"))
    axes.set(yscale="log", ylim=_ends(interval))
    axes.set_yticks(interval, [number(value) for value in interval], minor=False)
    axes.set_yticks([], minor=True)
    at = {"interval": surface["interval"], "dose": surface["dose"].isel(dose=positive)}
    keep(probability=shown(height, "probability of the benefit", **at))
    level = float(surface.attrs["level"])
    handles = [_edges(axes, surface, level)]
    handles.append(_isoboles(axes, dose, interval))
    axes.set_ylabel(label(surface["interval"], "interval"), parse_math=False)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("probability of the benefit")
    bar.outline.set_visible(False)
    legend(figure, axes, handles, own=ax is None)
    title(axes, "Which dose, and how often")
    return figure


def _ends(interval: np.ndarray) -> tuple[float, float]:
    """Ends of the axis of intervals: half a step beyond the first and the last."""
    first, last = np.sqrt(interval[0] / interval[1]), np.sqrt(interval[-1] / interval[-2])
    return float(interval[0] * first), float(interval[-1] * last)


def _borders(values: np.ndarray) -> np.ndarray:
    """Borders of the cells of a log axis: half-way between neighbours there, where the edges of the window end, too."""
    low, high = _ends(values)
    return np.concatenate([[low], np.sqrt(values[:-1] * values[1:]), [high]])


def _edges(axes: Axes, surface: xr.Dataset, level: float) -> Line2D:
    """The edges of the window at each interval, as high as its row of the map."""
    interval = surface["interval"].values
    borders = _borders(interval)
    drawn, halo = {"color": look().mark, "linewidth": 1.5}, [withStroke(linewidth=3, foreground="white")]
    for name in ("window_lower", "window_upper"):
        ends, unit = surface[name].values, units_of(surface["dose"])
        axes.vlines(ends, borders[:-1], borders[1:], gid=name, path_effects=halo, **drawn)
        keep(**{name: shown(ends, name.replace("_", " "), unit, interval=surface["interval"])})
    return Line2D([], [], **drawn, label=f"edges of the window at {level:.0%}")


def _isoboles(axes: Axes, dose: np.ndarray, interval: np.ndarray) -> Line2D:
    """Lines along which the dose per time is the same."""
    low, high = np.log(dose[0] / interval[-1]), np.log(dose[-1] / interval[0])
    drawn, halo = (
        {"color": INK, "linewidth": 0.7, "linestyle": (0, (4, 3))},
        [withStroke(linewidth=1.7, foreground="white")],
    )
    for daily in np.exp(np.linspace(low, high, ISOBOLES + 2)[1:-1]):
        ends = np.array(_ends(interval))
        axes.plot(daily * ends, ends, gid="isobole", path_effects=halo, **drawn)
    return Line2D([], [], label="equal dose per time", **drawn)
