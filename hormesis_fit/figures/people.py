"""Figures of what differs between people, and of what a dose must not do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.figures.axes import dose_axis, draw_response
from hormesis_fit.figures.dose import response_limits, rows_of_subject
from hormesis_fit.figures.drawing import (
    benefit_label,
    canvas,
    dosed,
    draw_data,
    draw_rug,
    headline,
    label,
    legend,
    letter,
    panel_title,
    panels,
    shade,
    shades,
    title,
)
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, panel, shown, styled
from hormesis_fit.windows.estimands import EACH, PEOPLE, Asked, asked_for, populations, tolerated
from hormesis_fit.windows.harms import Harm, check_harms, endpoints_of, limits_of
from hormesis_fit.windows.posterior import Member, carrying, trial_of
from hormesis_fit.windows.prediction import outcome_of, predict, subjects_in
from hormesis_fit.windows.request import asked_of, harms_of, request_of, when_of
from hormesis_fit.windows.summary import subject_windows
from hormesis_fit.windows.timecourse import moment_of, someone
from hormesis_fit.windows.windowing import window as window_for


@styled
def plot_subjects(
    fit: xr.DataTree,
    *,
    subjects: Sequence[str] | None = None,
    max_panels: int = 12,
    width: Width = "double",
    palette: Palette = "light",
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
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    **asked
        ``benefit``, ``benefit_scale``, ``level`` and ``harm``, as in `window`; by default those of the fit's window.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If nothing varies between subjects, a subject is unknown, or `max_panels`, `width` or `palette` is out of range.
    """
    known = subjects_in(fit)
    if not known:
        raise ValueError('Nothing varies between subjects: fit with vary={"half_effect_dose": "subject"} first.')
    if isinstance(max_panels, bool) or not isinstance(max_panels, int | np.integer) or max_panels < 1:
        raise ValueError(f"max_panels must be a whole number of at least 1, got {max_panels!r}.")
    chosen = [str(one) for one in (known if subjects is None else subjects)][:max_panels]
    trial, windows = outcome_of(fit), subject_windows(fit, chosen, **asked)
    curves = {one: predict(fit, subject=one) for one in chosen}
    controls = {one: predict(fit, doses=[0.0], subject=one).values.ravel() for one in chosen}
    figure, places, columns = panels(len(chosen), width, columns=2 if width == "single" else 4)
    limits = np.array([response_limits(trial["response"].values, curves[one], controls[one]) for one in chosen])
    handles: list = []
    for place, (one, axes) in enumerate(zip(chosen, places, strict=True)):
        lowest, rows = place + columns >= len(chosen), rows_of_subject(trial, one)
        with panel(one):
            axis = dose_axis(axes, trial, named=lowest)
            shade(axes, windows[one])
            handles = draw_response(axes, axis, curves[one], controls[one], trial, inner=False)
            handles.append(draw_data(axes, rows))
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        panel_title(axes, one)
        letter(axes, place)
        axes.tick_params(labelleft=place % columns == 0, labelbottom=lowest)
    handles[-1].set_label("responses of the subject")
    figure.supylabel(label(trial["response"], "response"), fontsize=7, parse_math=False)
    if len(chosen) < len(known):
        words = f"{'The first ' if subjects is None else ''}{len(chosen)} of the {len(known)} subjects of the trial"
        figure.suptitle(words, fontsize=7, x=0.01, ha="left")
    legend(figure, places[0], shades(list(windows.values())) + handles, own=True)
    return figure


def has_harms(fit: xr.DataTree) -> bool:
    """Whether the window of a fit keeps limits that can be drawn."""
    return "window" in fit and bool(harms_of(fit["window"].to_dataset()))


@styled
def plot_harm(
    fit: xr.DataTree,
    *,
    harm: Harm | Sequence[Harm] = (),
    width: Width = "single",
    palette: Palette = "light",
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
        If there is no limit on harm, or `width` or `palette` is unknown.
    """
    trial, window = outcome_of(fit), window_of(fit)
    harms = check_harms(harm, endpoints_of(fit)) or harms_of(window)
    if not harms:
        raise ValueError("There is no limit on harm to draw: give one, such as harm=hf.Harm(loss=True, limit=0.05).")
    request = {name: value for name, value in request_of(window).items() if name != "harm"}
    alone, joint = window_for(fit, **request), window_for(fit, harm=harms, **request)
    figure, axes = canvas(ax, width, 0.62)
    dose_axis(axes, trial)
    handles = shade(axes, joint)
    dose = joint["dose"].values
    broad = {"color": look().broad, "linestyle": "-", "linewidth": 3.2}  # seen under the joint one where both agree
    lines = [("benefit " + benefit_label(window, trial), alone["probability"].values, broad)]
    for place, one in enumerate(harms):
        style = look().series[1 + place % (len(look().series) - 1)] | {"linewidth": 1.1}
        lines.append((one.describe(), _within(fit, window, one, dose), style))
    whole = {"color": INK, "linestyle": "-", "linewidth": 1.2}
    lines.append(("benefit within limits", joint["probability"].values, whole))
    for words, values, style in lines:
        axes.plot(dose, values, zorder=2.5, gid=f"probability_{words}", **style)
        handles.append(Line2D([], [], label=words.replace("$", r"\$"), **style))
    level = float(window.attrs["level"])
    names, table = [words for words, *_ in lines], np.array([values for _, values, _ in lines])
    keep(
        probability=shown(table, "probability", requirement=names, dose=dosed(dose, trial)),
        level=shown(level, "probability asked for"),
    )
    axes.axhline(level, color=INK, linewidth=0.5, linestyle=(0, (2, 2)), zorder=2, gid="level")
    handles += [Line2D([], [], color=INK, linewidth=0.5, linestyle=(0, (2, 2)), label=f"level {level:g}")]
    handles.append(draw_rug(axes, trial))
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("probability")
    title(axes, headline(joint, trial))
    legend(figure, axes, handles, own=ax is None)
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
