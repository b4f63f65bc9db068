"""Figures of designs before any data: where the rows go, and how many it takes."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from hormesis_fit.figures.axes import DoseAxis
from hormesis_fit.figures.drawing import canvas, legend, number, title
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, shown, styled

QUESTIONS = {
    "prob_located": "some dose reaches the level",
    "prob_right": "and the best dose truly helps",
    "prob_found": "P(window exists) reaches 0.95",
    "type_one": "a dose reaches it without stimulation",
    "type_one_found": "existence reaches 0.95 without stimulation",
}

APART = 3.0  # points between the series of a figure at one number of rows


@styled
def plot_design(
    design: xr.Dataset,
    *,
    dose_unit: str = "",
    width: Width = "single",
    palette: Palette = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the doses of a design and the share of rows that each deserves.

    Parameters
    ----------
    design : Dataset
        As `optimal_design` returns it, dims (support,).
    dose_unit : str
        Unit of the doses.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        Where the design has ``replicates``, they stand above their doses.

    Raises
    ------
    ValueError
        If `width` or `palette` is unknown.
    """
    dose, weight = design["dose"].values, design["weight"].values
    figure, axes = canvas(ax, width, 0.54)
    positive = dose[dose > 0]
    axis = DoseAxis(positive.min() / 2, positive.max() * 2, zero=bool((dose == 0).any()))
    axis.apply(axes, f"dose ({dose_unit})" if dose_unit else "dose")
    if axis.zero:
        axis.mark_break(axes)
    axes.vlines(dose, 0, weight, color=look().line, linewidth=1.2, gid="stems")
    mark = {"marker": "o", "linestyle": "none", "markersize": 4.5, "markerfacecolor": look().mark}
    mark |= {"markeredgecolor": INK, "markeredgewidth": 0.5}
    axes.plot(dose, weight, clip_on=False, gid="support", **mark)
    keep(
        dose=shown(dose, "dose of the design", dose_unit, support=np.arange(dose.size)),
        weight=shown(weight, "share of the rows", support=np.arange(dose.size)),
    )
    words = "share of the rows"
    if "replicates" in design:
        words = "share of the rows, and their number"
        keep(replicates=shown(design["replicates"].values, "rows at the dose", support=np.arange(dose.size)))
        _count(axes, dose, weight, design["replicates"].values)
    axes.set_ylim(0, 1.3 * weight.max())
    axes.set_ylabel("share of the rows")
    title(axes, _headline(design))
    legend(figure, axes, [Line2D([], [], label=words, **mark)], own=ax is None)
    return figure


def _count(axes: Axes, dose: np.ndarray, weight: np.ndarray, rows: np.ndarray) -> None:
    """Write the numbers of rows above their doses."""
    place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 6.5}
    for one, share, count in zip(dose, weight, rows, strict=True):
        axes.annotate(f"×{count}", (one, share), gid="replicates", **place)


def _headline(design: xr.Dataset) -> str:
    criterion = str(design.attrs["criterion"])
    wanted = (
        str(design.attrs.get("quantity", ""))
        .replace("window_lower", "lower edge")
        .replace("window_upper", "upper edge")
    )
    about = f" for {wanted.replace('_', ' ')}" if wanted else ""
    efficiency = design.attrs.get("efficiency")
    words = f", efficiency {number(float(efficiency))}" if efficiency is not None and np.isfinite(efficiency) else ""
    return f"{criterion}-optimal design{about}{words}"


@styled
def plot_assurance(
    assured: xr.Dataset, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw how probably a design finds the window, against its number of rows.

    Parameters
    ----------
    assured : Dataset
        As `assurance` returns it, dims (rows,).
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        Bars are twice the largest standard error of the simulated shares.

    Raises
    ------
    ValueError
        If `width` or `palette` is unknown.
    """
    figure, axes = canvas(ax, width, 0.6)
    rows, handles = assured["rows"].values, []
    known = [name for name in QUESTIONS if np.isfinite(assured[name].values).any()]
    error = assured["error"].values
    for place, name in enumerate(known):
        style = look().series[place] | {"marker": "os^Dv"[place], "markersize": 3.2, "linewidth": 1.1}
        share = assured[name].values
        # Side by side, so that bars of equal shares stay apart.
        aside = ScaledTranslation(APART / 72 * (place - (len(known) - 1) / 2), 0, figure.dpi_scale_trans)
        placed = {"clip_on": False, "transform": axes.transData + aside}
        axes.plot(rows, share, gid=name, **placed, **style)
        ends = np.clip([share - 2 * error, share + 2 * error], 0, 1)
        axes.vlines(rows, *ends, color=style["color"], linewidth=0.6, **placed)
        handles.append(Line2D([], [], label=QUESTIONS[name], **style))
        keep(**{name: shown(share, QUESTIONS[name], rows=rows)})
    keep(error=shown(np.broadcast_to(error, rows.shape), "largest standard error of the shares", rows=rows))
    room = 0.1 * np.ptp(rows) or 1.0
    axes.set_xlim(rows.min() - room, rows.max() + room)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(rows, [f"{one:g}" for one in rows])
    axes.set_xlabel("rows of the trial")
    axes.set_ylabel("share of simulated trials")
    legend(figure, axes, handles, own=ax is None)
    return figure


__all__ = ["plot_assurance", "plot_design"]
