"""Figures of what differs between people, and of what a dose must not do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.figures.dose import response_limits, rows_of_subject
from hormesis_fit.figures.drawing import (
    BLUE,
    INK,
    ORANGE,
    VERMILION,
    WIDE,
    WIDTHS,
    DoseAxis,
    Picture,
    Width,
    benefit_label,
    canvas,
    draw_data,
    draw_rug,
    headline,
    label,
    legend,
    shade,
    styled,
    title,
)
from hormesis_fit.windows.estimands import EACH, PEOPLE, Asked, asked_for, populations, tolerated
from hormesis_fit.windows.harms import Harm, check_harms, endpoints_of, limits_of
from hormesis_fit.windows.posterior import Member, carrying, domain, trial_of
from hormesis_fit.windows.prediction import outcome_of, predict, subjects_in
from hormesis_fit.windows.request import asked_of, harms_of, request_of, when_of
from hormesis_fit.windows.summary import subject_windows
from hormesis_fit.windows.timecourse import moment_of, someone
from hormesis_fit.windows.windowing import window as window_for

DASHES = [(0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1))]
PALE = "#99C7E5"  # broad and under the others: where no limit matters, the joint probability is that of the benefit
COLOURS = [VERMILION, ORANGE, "#CC79A7", "#56B4E9"]


@styled
def plot_subjects(
    fit: xr.DataTree,
    *,
    subjects: Sequence[str] | None = None,
    max_panels: int = 12,
    width: Width = "double",
    **asked: Any,
) -> Figure:
    """Draw every subject in a panel of its own: its responses, its curve and its window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with parameters that vary between subjects.
    subjects : sequence of str, optional
        Labels of the subjects to draw; all by default.
    max_panels : int
        Most panels: the first subjects are drawn.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    **asked
        ``benefit``, ``benefit_scale``, ``level`` and ``harm``, as in `window`; by default those of the fit's window.

    Returns
    -------
    matplotlib.figure.Figure
    """
    known = subjects_in(fit)
    if not known:
        raise ValueError('Nothing varies between subjects: fit with vary={"half_effect_dose": "subject"} first.')
    if isinstance(max_panels, bool) or not isinstance(max_panels, int | np.integer) or max_panels < 1:
        raise ValueError(f"max_panels must be a whole number of at least 1, got {max_panels!r}.")
    shown = [str(one) for one in (known if subjects is None else subjects)][:max_panels]
    trial, windows = outcome_of(fit), subject_windows(fit, shown, **asked)
    curves = {one: predict(fit, subject=one) for one in shown}
    controls = {one: predict(fit, doses=[0.0], subject=one).values.ravel() for one in shown}
    figure, panels, columns = _grid(len(shown), width)
    limits = np.array([response_limits(trial["response"].values, curves[one], controls[one]) for one in shown])
    axis, handles = DoseAxis(*domain(trial), zero=True), []
    for place, (one, axes) in enumerate(zip(shown, panels, strict=True)):
        axis.apply(axes, label(trial["dose"], "dose") if place + columns >= len(shown) else "")
        handles = _draw_subject(axes, axis, rows_of_subject(trial, one), windows[one], curves[one], controls[one])
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        axes.set_title(one, parse_math=False, pad=2)
        axis.mark_break(axes)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(shown))
    figure.supylabel(label(trial["response"], "response"), fontsize=7, parse_math=False)
    handles = _shades(windows.values()) + handles
    if len(shown) < len(known):
        words = f"{'The first ' if subjects is None else ''}{len(shown)} of the {len(known)} subjects of the trial"
        figure.suptitle(words, fontsize=7, x=0.01, ha="left")
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if width == "single" else 5, handlelength=1.8)
    return figure


def _grid(count: int, width: Width) -> tuple[Figure, list[Axes], int]:
    """Return a figure with small panels, these, and how many stand side by side."""
    if width not in WIDTHS:
        raise ValueError(f'width must be "single" (89 mm) or "double" (183 mm), got {width!r}.')
    columns = min(count, 2 if width == "single" else 4)
    rows = -(-count // columns)
    inches = WIDTHS[width]
    figure = Picture(figsize=(inches, 0.75 + rows * inches / columns * 0.72), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)], columns


def _draw_subject(
    axes: Axes, axis: DoseAxis, rows: xr.Dataset, window: xr.Dataset, curve: xr.DataArray, control: np.ndarray
) -> list:
    """Draw one panel; return its legend."""
    shade(axes, window)
    low, middle, high = curve.quantile([0.025, 0.5, 0.975], dim=("chain", "draw")).values
    at_zero, stub = np.quantile(control, [0.025, 0.5, 0.975]), axis.around_zero()
    axes.fill_between(curve["dose"], low, high, color=WIDE, linewidth=0, zorder=1, gid="band_95")
    axes.fill_between(stub, at_zero[0], at_zero[2], color=WIDE, linewidth=0, zorder=1)
    axes.plot(curve["dose"], middle, color=BLUE, linewidth=1, zorder=2.5, gid="median")
    axes.plot(stub, [at_zero[1]] * 2, color=BLUE, linewidth=1, zorder=2.5)
    data = draw_data(axes, rows)
    data.set_label("responses of the subject")
    line = Line2D([], [], color=BLUE, linewidth=1, label="mean response, median")
    return [line, Patch(color=WIDE, linewidth=0, label="its 95 % interval"), data]


def _shades(windows: Any) -> list:
    """Return the legend of the shades that at least one panel has."""
    spare, found = Figure().add_subplot(), {}
    for one in windows:
        found |= {handle.get_label(): handle for handle in shade(spare, one)}
    return list(found.values())


def has_harms(fit: xr.DataTree) -> bool:
    """Whether the window of a fit keeps limits that can be drawn."""
    return "window" in fit and bool(harms_of(fit["window"].to_dataset()))


@styled
def plot_harm(
    fit: xr.DataTree,
    *,
    harm: Harm | Sequence[Harm] = (),
    width: Width = "single",
    ax: Axes | None = None,
) -> Figure:
    """Draw the probabilities of the benefit, of staying within each limit on harm, and of all of it together.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; what was asked is read from ``fit["window"]``.
    harm : Harm or sequence of Harm, optional
        What a dose must not do, where ``fit["window"]`` does not say so.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
    """
    trial, window = outcome_of(fit), window_of(fit)
    harms = check_harms(harm, endpoints_of(fit)) or harms_of(window)
    if not harms:
        raise ValueError("There is no limit on harm to draw: give one, such as harm=hf.Harm(loss=True, limit=0.05).")
    request = {name: value for name, value in request_of(window).items() if name != "harm"}
    alone, joint = window_for(fit, **request), window_for(fit, harm=harms, **request)
    figure, axes = canvas(ax, width, 0.8)
    DoseAxis(*domain(trial), zero=False).apply(axes, label(trial["dose"], "dose"))
    handles = shade(axes, joint)
    dose = joint["dose"].values
    lines = [("benefit " + benefit_label(window, trial), alone["probability"].values, PALE, "-", 3.2)]
    for place, one in enumerate(harms):
        kept = _within(fit, window, one, dose)
        lines.append((one.describe(), kept, COLOURS[place % 4], DASHES[place % 4], 1.1))
    lines.append(("benefit within limits", joint["probability"].values, INK, "-", 1.2))
    for words, values, colour, dash, thick in lines:
        style = {"color": colour, "linestyle": dash, "linewidth": thick}
        axes.plot(dose, values, zorder=2.5, gid=f"probability_{words}", **style)
        handles.append(Line2D([], [], label=words.replace("$", r"\$"), **style))
    level = float(window.attrs["level"])
    axes.axhline(level, color=INK, linewidth=0.5, linestyle=(0, (2, 2)), zorder=2, gid="level")
    handles += [Line2D([], [], color=INK, linewidth=0.5, linestyle=(0, (2, 2)), label=f"level {level:g}")]
    handles.append(draw_rug(axes, trial))
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability")
    title(axes, headline(joint, trial), width)
    legend(figure, axes, handles, own=ax is None, columns=2 if width == "single" else 4)
    return figure


def _within(fit: xr.DataTree, window: xr.Dataset, harm: Harm, dose: np.ndarray) -> np.ndarray:
    """Probability that doses stay within the limit of one harm, shape (dose,)."""
    asked, seed, trial = asked_of(window), int(fit.attrs["seed"]), trial_of(fit)
    asked = asked_for(fit, asked.estimand, asked.subject)
    moment = moment_of(fit, **when_of(window))

    def ends_of(typical: Member, who: Asked) -> np.ndarray:
        return limits_of(fit, [harm], someone(typical, who, trial, seed, moment), who)[harm.label]

    kept, total = np.zeros(dose.size), 0.0
    for typical in carrying(fit):
        if asked.estimand == "coverage":
            each = [ends_of(block, EACH).reshape(-1, PEOPLE) for block in populations(typical)]
            ends = np.concatenate([tolerated(limits) for limits in each])
        else:
            ends = ends_of(typical, asked)
        kept += typical.weight * (1 - np.searchsorted(np.sort(ends), dose, side="left") / ends.size)
        total += typical.weight
    return kept / total


__all__ = ["plot_harm", "plot_subjects"]
