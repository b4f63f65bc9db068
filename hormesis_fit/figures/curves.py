"""The figure of the curves by themselves: each in a panel of its own, with its window and its weight."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hormesis_fit.checks.sensitivity import alone, curve_windows, window_of
from hormesis_fit.figures.axes import dose_axis, draw_response
from hormesis_fit.figures.dose import draw_rows, response_limits, shown_people, visit_of, whose_curve
from hormesis_fit.figures.drawing import (
    chance,
    equals,
    label,
    legend,
    letter,
    panel_title,
    panels,
    remark,
    shade,
    shades,
)
from hormesis_fit.figures.palette import Palette, Width, keep, panel, shown, styled
from hormesis_fit.windows.prediction import outcome_of, predict


@styled
def plot_curves(
    fit: xr.DataTree,
    *,
    max_panels: int = 12,
    width: Width = "double",
    palette: Palette = "light",
    show_subjects: bool = False,
) -> Figure:
    """Draw every curve of a fit in a panel of its own, with its window and its posterior probability.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; what was asked is read from ``fit["window"]``.
    max_panels : int
        Most panels: the curves with the highest weights are drawn.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    show_subjects : bool
        Whether a trial with subjects is drawn row by row, and not as mean and SD at every dose.

    Returns
    -------
    matplotlib.figure.Figure
        The heaviest curve first; curves that failed are left out.

    Raises
    ------
    ValueError
        If the number of panels is no whole number of at least 1.
    """
    if isinstance(max_panels, bool) or not isinstance(max_panels, int | np.integer) or max_panels < 1:
        raise ValueError(f"max_panels must be a whole number of at least 1, got {max_panels!r}.")
    trial, asked, windows = outcome_of(fit), window_of(fit), curve_windows(fit)
    weights = {name: float(fit["evidence"]["weight"].sel(model=name)) for name in windows}
    chosen = sorted(windows, key=lambda name: -weights[name])[:max_panels]
    whose, rows, subject = whose_curve(fit, asked), visit_of(trial, asked), shown_people(fit, asked).subject
    figure, places, columns = panels(len(chosen), width, columns=2 if width == "single" else 3, height=0.66)
    handles: list[Patch] = []
    limits = []
    for place, (name, axes) in enumerate(zip(chosen, places, strict=True)):
        single, lowest = alone(fit, name), place + columns >= len(chosen)
        with panel(name):
            axis = dose_axis(axes, trial, named=lowest)
            shade(axes, windows[name])
            curve, control = predict(single, **whose), predict(single, doses=[0.0], **whose).values.ravel()
            handles = draw_response(axes, axis, curve, control, trial, inner=False)
            handle, held = draw_rows(axes, rows, subject, show_subjects)
            keep(weight=shown(weights[name], "posterior probability of the curve"))
        limits.append(response_limits(held, curve, control))
        panel_title(axes, name, f", P {equals(chance(weights[name]))}")
        letter(axes, place)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=lowest)
    for axes in places:
        axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    figure.supylabel(label(trial["response"], "response"), fontsize=7, parse_math=False)
    legend(
        figure,
        places[0],
        [*shades([windows[name] for name in chosen]), *handles, handle, remark("P: probability of the curve")],
        own=True,
    )
    return figure


__all__ = ["plot_curves"]
