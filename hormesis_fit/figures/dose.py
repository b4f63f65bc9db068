"""The two figures over dose: the response with its window, and the probability of the benefit."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.figures.axes import dose_axis, draw_response
from hormesis_fit.figures.drawing import (
    FEWEST,
    benefit_label,
    canvas,
    crowds,
    dosed,
    draw_data,
    draw_means,
    draw_rug,
    headline,
    is_binary,
    label,
    legend,
    number,
    repeated,
    scatter,
    shade,
    title,
    units_of,
    with_unit,
)
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, shown, styled
from hormesis_fit.model.hierarchy import WITHIN
from hormesis_fit.windows.estimands import Asked, asked_for
from hormesis_fit.windows.posterior import carrying, trial_of
from hormesis_fit.windows.prediction import outcome_of, predict
from hormesis_fit.windows.request import asked_of, when_of
from hormesis_fit.windows.timecourse import moment_of, someone
from hormesis_fit.windows.windowing import threshold_of

TOP = 0.1  # height of an axis on top, relative to the width


@styled
def plot_window(
    fit: xr.DataTree,
    *,
    width: Width = "single",
    palette: Palette = "light",
    ax: Axes | None = None,
    show_subjects: bool = False,
) -> Figure:
    """Draw the dose-response with its data, its credible bands and the micro-dose window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; the window is read from ``fit["window"]``, or computed with the default benefit.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    show_subjects : bool
        Whether a trial with subjects is drawn row by row, and not as mean and SD at every dose.

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
    Line and bands are the median, 50 % and 95 % of the mean response, not of single responses; where the line is
    dashed, no dose was tested. They are those of the people whose window it is: of new subjects for the window of a
    share of the population. Where a response is one of two, such as a category reached or not, circles are their shares
    at a dose. The window of one subject comes with the rows of this subject only, or with their means, that of one time
    with the rows of the visit nearest to it.
    """
    trial, window = outcome_of(fit), window_of(fit)
    figure, axes = canvas(ax, width, 0.7 + TOP * ("standard_dose" in trial.attrs))
    axis = dose_axis(axes, trial, shares=True)
    handles = shade(axes, window)
    asked, whose = shown_people(fit, window), whose_curve(fit, window)
    curve, control = predict(fit, **whose), predict(fit, doses=[0.0], **whose).values.ravel()
    handles += draw_response(axes, axis, curve, control, trial)
    handles += _draw_references(axes, fit, window, control, trial)
    handle, held = draw_rows(axes, visit_of(trial, window), asked.subject, show_subjects)
    handles.append(handle)
    axes.set_ylim(response_limits(held, curve, control))
    axes.set_ylabel(label(trial["response"], "response"), parse_math=False)
    title(axes, headline(window, trial))
    legend(figure, axes, handles, own=ax is None)
    return figure


def shown_people(fit: xr.DataTree, window: xr.Dataset) -> Asked:
    """Return the people whose curve stands for a window: a share of the population has none."""
    asked = asked_of(window)
    return asked_for(fit, "new" if asked.estimand == "coverage" else asked.estimand, asked.subject)


def whose_curve(fit: xr.DataTree, window: xr.Dataset) -> dict[str, Any]:
    """Return what `predict` has to be asked for the people and the time of a window."""
    asked = shown_people(fit, window)
    whose = {"subject": asked.subject} if asked.subject else {"estimand": asked.estimand}
    return whose | when_of(window)


def visit_of(trial: xr.Dataset, window: xr.Dataset) -> xr.Dataset:
    """Return the rows of the visit nearest to the time of a window; all rows where it has none."""
    if "time" not in window.attrs:
        return trial
    away = np.abs(trial["time"].values - float(window.attrs["time"]))
    return trial.isel(observation=away == away.min())


def draw_rows(ax: Axes, trial: xr.Dataset, subject: str | None, show_subjects: bool) -> tuple[Line2D, np.ndarray]:
    """Draw the rows of the people whose window it is, or what stands for them; return legend and what is to be held."""
    hidden = "subject" in trial and not show_subjects
    rows = rows_of_subject(trial, subject) if subject and "subject" in trial else trial
    if not (hidden or is_binary(rows)):
        return draw_data(ax, rows), rows["response"].values
    groups = repeated(rows) if rows is not trial else crowds(rows, fewest=FEWEST if hidden else 1)
    ends = [group.mean() + sign * scatter(rows, group) for _, group in groups for sign in (-1, 0, 1)]
    held = np.array(ends) if ends else np.full(1, rows["response"].values.mean())
    return draw_means(ax, rows, groups, "of the subject " if rows is not trial else ""), held


def rows_of_subject(trial: xr.Dataset, subject: str) -> xr.Dataset:
    """Return the rows of one subject, named in full or within its centre."""
    return trial.isel(observation=trial["subject"].values.astype(str) == subject.split(WITHIN)[-1])


def _draw_references(ax: Axes, fit: xr.DataTree, window: xr.Dataset, control: np.ndarray, trial: xr.Dataset) -> list:
    given = trial["dose"].values.min() == 0 or "control" in trial.attrs
    wanted = _threshold(fit, window)
    middle, unit = np.median(control), units_of(trial["response"])
    keep(
        control=shown(middle, "median response without the drug", unit),
        threshold=shown(wanted, "median response at which the benefit begins", unit),
    )
    ax.axhline(middle, color=INK, linewidth=0.6, zorder=2, gid="control")
    ax.axhline(wanted, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=2, gid="threshold")
    return [
        Line2D([], [], color=INK, linewidth=0.6, label="control" if given else "control, extrapolated"),
        Line2D(
            [], [], color=INK, linewidth=0.7, linestyle=(0, (4, 2)), label=f"benefit {benefit_label(window, trial)}"
        ),
    ]


def _threshold(fit: xr.DataTree, window: xr.Dataset) -> float:
    """Median over the draws of the response at which the benefit asked for begins [response]."""
    whose, seed, moment = shown_people(fit, window), int(fit.attrs["seed"]), moment_of(fit, **when_of(window))
    group = [someone(member, whose, trial_of(fit), seed, moment) for member in carrying(fit)]
    asked = float(window.attrs["benefit"]), str(window.attrs["benefit_scale"])
    each = [member.control + member.curve.sign * threshold_of(member, *asked) for member in group]
    shares = np.concatenate([np.full(member.size, member.weight / member.size) for member in group])
    return float(np.quantile(np.concatenate(each), 0.5, weights=shares, method="inverted_cdf"))


def response_limits(response: np.ndarray, curve: xr.DataArray, control: np.ndarray) -> tuple[float, float]:
    """Return limits that hold all data and the bands, unless these run away where there are no data."""
    low, high = float(response.min()), float(response.max())
    everywhere = np.column_stack([curve.values.reshape(control.size, -1), control])
    band = np.quantile(everywhere, [0.025, 0.975], axis=0)
    spread = (high - low) or abs(high) or 1.0
    low = min(low, max(float(band[0].min()), low - 0.5 * spread))
    high = max(high, min(float(band[1].max()), high + 0.5 * spread))
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


@styled
def plot_exceedance(
    fit: xr.DataTree, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw the probability of the benefit against dose.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
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
    """
    trial, window = outcome_of(fit), window_of(fit)
    figure, axes = canvas(ax, width, 0.6 + TOP * ("standard_dose" in trial.attrs))
    dose_axis(axes, trial, shares=True)
    handles = shade(axes, window)
    seen = window["probability"].where(window["dose"] > 0, drop=True)
    level = float(window.attrs["level"])
    axes.plot(seen["dose"], seen, color=look().line, linewidth=1.2, zorder=2.5, gid="probability")
    axes.axhline(level, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=2, gid="level")
    keep(
        probability=shown(seen.values, "probability of the benefit", dose=dosed(seen["dose"].values, trial)),
        level=shown(level, "probability asked for"),
    )
    handles.append(Line2D([], [], color=INK, linewidth=0.7, linestyle=(0, (4, 2)), label=f"level {level:g}"))
    handles += _draw_best(axes, window, trial)
    handles.append(draw_rug(axes, trial))
    axes.set_ylim(0, 1.02)
    within = ", within limits" if window.attrs.get("harms") else ""
    axes.set_ylabel(f"probability of benefit\n({benefit_label(window, trial)}{within})", parse_math=False)
    title(axes, headline(window, trial))
    legend(figure, axes, handles, own=ax is None)
    return figure


def _draw_best(ax: Axes, window: xr.Dataset, trial: xr.Dataset) -> list[Line2D]:
    """Mark the dose with the highest probability, if there is one; return its legend."""
    best, highest, unit = float(window["best_dose"]), float(window["max_probability"]), units_of(trial["dose"])
    if not np.isfinite(best):
        return []
    mark = {"marker": "D", "linestyle": "none", "markersize": 4, "markerfacecolor": look().mark}
    mark |= {"markeredgecolor": INK, "markeredgewidth": 0.5}
    ax.plot([best], [highest], zorder=4, gid="best_dose", **mark)
    keep(best_dose=shown(best, "dose with the highest probability", unit), highest=shown(highest, "its probability"))
    where = with_unit(number(best), unit).replace("$", r"\$")
    return [Line2D([], [], label=f"best dose, {where}", **mark)]
