"""The figure of what to dose next."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.figures.axes import DoseAxis, dose_axis
from hormesis_fit.figures.drawing import (
    canvas,
    dosed,
    draw_rug,
    legend,
    number,
    shade,
    title,
    units_of,
    with_unit,
)
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, shown, styled
from hormesis_fit.planning.next_rows import next_doses
from hormesis_fit.windows.posterior import trial_of

AXIS = {"information": "expected information of one row (nat)", "regret": "expected decrease of regret by one row"}


@styled
def plot_next(
    fit: xr.DataTree,
    *,
    planned: xr.Dataset | None = None,
    width: Width = "single",
    palette: Palette = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw what one row at each dose would tell, and the rows that are planned.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    planned : Dataset, optional
        As `next_doses` returns it; by default six rows.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If `width` or `palette` is unknown.

    Notes
    -----
    A planned dose need not be at the top of the line, which is that of a first row: later rows are planned with the
    former ones in mind. Doses that exceed a limit on harm too probably are grey.
    """
    planned = next_doses(fit) if planned is None else planned
    trial = trial_of(fit)
    figure, axes = canvas(ax, width, 0.64)
    axis = dose_axis(axes, trial)
    handles = shade(axes, window_of(fit))
    handles += _draw_gain(axes, axis, planned, trial)
    handles.append(_draw_rows(axes, planned, trial))
    handles.append(draw_rug(axes, trial))
    top = float(planned["gain"].max())
    axes.set_ylim(0, 1.22 * top if top > 0 else 1.0)
    axes.set_ylabel(AXIS[str(planned.attrs["goal"])], parse_math=False)
    title(axes, _headline(planned, trial))
    legend(figure, axes, handles, own=ax is None)
    return figure


def _draw_gain(ax: Axes, axis: DoseAxis, planned: xr.Dataset, trial: xr.Dataset) -> list:
    dose, gain = planned["candidate"].values, np.maximum(planned["gain"].values, 0.0)
    allowed = planned["allowed"].values
    positive, line = dose > 0, {"color": look().line, "linewidth": 1.2}
    ax.plot(axis.around_zero(), [gain[~positive][0]] * 2, zorder=2.5, gid="gain_control", **line)
    ax.plot(dose[positive], gain[positive], zorder=2.5, gid="gain", **line)
    at = dosed(dose, trial)
    words = AXIS[str(planned.attrs["goal"])].removesuffix(" (nat)")
    keep(
        gain=shown(gain, words, units_of(planned["gain"]) or "1", candidate=at),
        allowed=shown(allowed, "whether the dose keeps the limits on harm probably enough", candidate=at),
    )
    handles = [Line2D([], [], label="one row at the dose", **line)]
    if not allowed.all():
        start = float(dose[~allowed].min())
        style = {"facecolor": "none", "edgecolor": look().quiet, "linewidth": 0, "hatch": "////"}
        ax.axvspan(start, axis.high, zorder=1.5, gid="harm", **style)
        limit = number(float(planned.attrs["harm_probability"]))
        handles.append(Patch(label=f"P(harm beyond its limit) > {limit}", **style))
    return handles


def _draw_rows(ax: Axes, planned: xr.Dataset, trial: xr.Dataset) -> Line2D:
    """Draw the planned rows at the gain of their dose, each with the number of its replicates."""
    gain = dict(zip(planned["candidate"].values, np.maximum(planned["gain"].values, 0.0), strict=True))
    mark = {
        "marker": "o",
        "linestyle": "none",
        "markerfacecolor": look().mark,
        "markeredgecolor": INK,
        "markersize": 4.5,
    }
    doses, rows = planned["dose"].values, planned["replicates"].values
    heights = [gain[dose] for dose in doses]
    ax.plot(doses, heights, zorder=4, markeredgewidth=0.5, gid="planned", **mark)
    at = dosed(doses, trial)
    keep(
        planned_gain=shown(
            heights, "gain of a first row at a planned dose", units_of(planned["gain"]) or "1", planned=at
        ),
        replicates=shown(rows, "rows that are planned at a dose", planned=at),
    )
    for dose, height, count in zip(doses, heights, rows, strict=True):
        ax.annotate(
            f"×{count}",
            (dose, height),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=6.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
        )
    return Line2D([], [], markeredgewidth=0.5, label="planned rows", **mark)


def _headline(planned: xr.Dataset, trial: xr.Dataset) -> str:
    unit = str(trial["dose"].attrs.get("units", ""))
    rows = [
        f"{int(count)} × {number(dose)}" for dose, count in zip(planned["dose"], planned["replicates"], strict=True)
    ]
    return f"Next {int(planned.attrs['n'])} rows: {with_unit(', '.join(rows), unit)}"


__all__ = ["plot_next"]
