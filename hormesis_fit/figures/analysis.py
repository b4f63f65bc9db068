"""The figure of a whole analysis: window, probability, quantities and weights, with letters."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from hormesis_fit.figures.dose import plot_exceedance, plot_window
from hormesis_fit.figures.drawing import legend, letter
from hormesis_fit.figures.fits import plot_quantities, plot_weights
from hormesis_fit.figures.palette import WIDTHS, Palette, Picture, Width, styled

TALL = {"single": 8.2, "double": 5.0}  # inches above the legend: a stack of four, or two by two


@styled
def plot_analysis(
    fit: xr.DataTree, *, width: Width = "double", palette: Palette = "light", show_subjects: bool = False
) -> Figure:
    """Draw a whole analysis: the response with its window, its probability, the quantities and the weights.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; the window is read from ``fit["window"]``, or computed with the default benefit.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm: a stack of four panels, or two by two.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    show_subjects : bool
        Whether a trial with subjects is drawn row by row, and not as mean and SD at every dose.

    Returns
    -------
    matplotlib.figure.Figure
        Panels a, `plot_window`; b, `plot_exceedance`, under the same dose axis; c, `plot_quantities`; d,
        `plot_weights`. `figure_data` has a group for each.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If `width` or `palette` is unknown.
    """
    figure = Picture(figsize=(WIDTHS[width], TALL[width]), layout="constrained")
    figure.beside = 64  # names of quantities and curves stand there
    columns = 1 if width == "single" else 2
    grid = figure.add_gridspec(4 // columns, columns, height_ratios=[1, 1, 1.2, 1] if columns == 1 else None)
    # Columns are filled first, so that the two figures over dose stand over each other.
    rooms = [grid[place % (4 // columns), place // (4 // columns)] for place in range(4)]
    panels = [figure.add_subplot(room) for room in rooms]
    plot_window(fit, width=width, palette=palette, ax=panels[0], show_subjects=show_subjects)
    for plot, axes in zip((plot_exceedance, plot_quantities, plot_weights), panels[1:], strict=True):
        plot(fit, width=width, palette=palette, ax=axes)
    panels[1].set_title("")  # the sentence of the first panel
    for place, axes in enumerate(panels):
        letter(axes, place, beyond=20)
    legend(figure, panels[0], figure.handles, own=True)
    return figure


__all__ = ["plot_analysis"]
