"""The two figures over dose: the response with its window, and the probability of the benefit."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.figures.drawing import (
    BLUE,
    FEWEST,
    INK,
    NARROW,
    VERMILION,
    WIDE,
    DoseAxis,
    Width,
    benefit_label,
    canvas,
    crowds,
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
    styled,
    title,
    with_unit,
)
from hormesis_fit.model.hierarchy import WITHIN
from hormesis_fit.windows.estimands import Asked, asked_for
from hormesis_fit.windows.posterior import carrying, domain, trial_of
from hormesis_fit.windows.prediction import outcome_of, predict
from hormesis_fit.windows.request import asked_of, when_of
from hormesis_fit.windows.timecourse import moment_of, someone
from hormesis_fit.windows.windowing import threshold_of


@styled
def plot_window(
    fit: xr.DataTree, *, width: Width = "single", ax: Axes | None = None, show_subjects: bool = False
) -> Figure:
    """Draw the dose-response with its data, its credible bands and the micro-dose window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; the window is read from ``fit["window"]``, or computed with the default benefit.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    show_subjects : bool
        Whether a trial with subjects is drawn row by row, and not as mean and SD at every dose.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    Line and bands are the median, 50 % and 95 % of the mean response, not of single responses; where the line is
    dashed, no dose was tested. They are those of the people whose window it is: of new subjects for the window of a
    share of the population. Where a response is one of two, such as a category reached or not, circles are their shares
    at a dose. The window of one subject comes with the rows of this subject only, or with their means, that of one time
    with the rows of the visit nearest to it.
    """
    trial, window = outcome_of(fit), window_of(fit)
    figure, axes = canvas(ax, width, 0.86)
    axis = DoseAxis(*domain(trial), zero=True)
    axis.apply(axes, label(trial["dose"], "dose"))
    handles = shade(axes, window)
    asked = shown_people(fit, window)
    whose = {"subject": asked.subject} if asked.subject else {"estimand": asked.estimand}
    whose |= when_of(window)
    curve, control = predict(fit, **whose), predict(fit, doses=[0.0], **whose).values.ravel()
    handles += draw_bands(axes, axis, curve, control, trial)
    handles += _draw_references(axes, fit, window, control, trial)
    handle, held = _draw_rows(axes, _visit_of(trial, window), asked.subject, show_subjects)
    handles.append(handle)
    axes.set_ylim(response_limits(held, curve, control))
    axes.set_ylabel(label(trial["response"], "response"), parse_math=False)
    axis.mark_break(axes)
    if "standard_dose" in trial.attrs:
        _draw_shares(axes, axis, trial)
    title(axes, headline(window, trial), width)
    legend(figure, axes, handles, own=ax is None, columns=2 if width == "single" else 4)
    return figure


def shown_people(fit: xr.DataTree, window: xr.Dataset) -> Asked:
    """Return the people whose curve stands for a window: a share of the population has none."""
    asked = asked_of(window)
    return asked_for(fit, "new" if asked.estimand == "coverage" else asked.estimand, asked.subject)


def _visit_of(trial: xr.Dataset, window: xr.Dataset) -> xr.Dataset:
    """Return the rows of the visit nearest to the time of a window; all rows where it has none."""
    if "time" not in window.attrs:
        return trial
    away = np.abs(trial["time"].values - float(window.attrs["time"]))
    return trial.isel(observation=away == away.min())


def _draw_rows(ax: Axes, trial: xr.Dataset, subject: str | None, show_subjects: bool) -> tuple[Line2D, np.ndarray]:
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


def draw_bands(ax: Axes, axis: DoseAxis, curve: xr.DataArray, control: np.ndarray, trial: xr.Dataset) -> list:
    """Draw median and bands of a mean response; return their legend."""
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    dose, tested = curve["dose"].values, trial["dose"].values[trial["dose"].values > 0]
    low95, low50, median, high50, high95 = curve.quantile(levels, dim=("chain", "draw")).values
    inside = (dose >= tested.min()) & (dose <= tested.max())
    at_zero, stub = np.quantile(control, levels), axis.around_zero()
    for lower, upper, ends, colour, name in (
        (low95, high95, at_zero[[0, 4]], WIDE, "95"),
        (low50, high50, at_zero[[1, 3]], NARROW, "50"),
    ):
        ax.fill_between(dose, lower, upper, color=colour, linewidth=0, zorder=1, gid=f"band_{name}")
        ax.fill_between(stub, *ends, color=colour, linewidth=0, zorder=1, gid=f"control_{name}")
    ax.plot(dose, median, color=BLUE, linewidth=0.9, linestyle=(0, (3, 1.5)), zorder=2.4, gid="median_outside")
    ax.plot(dose[inside], median[inside], color=BLUE, linewidth=1.2, zorder=2.5, gid="median")
    ax.plot(stub, [at_zero[2]] * 2, color=BLUE, linewidth=1.2, zorder=2.5, gid="median_control")
    return [
        Line2D([], [], color=BLUE, linewidth=1.2, label="mean response, median"),
        Patch(color=NARROW, linewidth=0, label="its 50 % interval"),
        Patch(color=WIDE, linewidth=0, label="its 95 % interval"),
    ]


def _draw_references(ax: Axes, fit: xr.DataTree, window: xr.Dataset, control: np.ndarray, trial: xr.Dataset) -> list:
    given = trial["dose"].values.min() == 0 or "control" in trial.attrs
    wanted = _threshold(fit, window)
    ax.axhline(np.median(control), color=INK, linewidth=0.6, zorder=2, gid="control")
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


def _draw_shares(ax: Axes, axis: DoseAxis, trial: xr.Dataset) -> None:
    standard, unit = float(trial.attrs["standard_dose"]), str(trial["dose"].attrs.get("units", ""))
    twin = ax.twiny()
    twin.spines["top"].set_visible(True)
    shares = DoseAxis(axis.low / standard * 100, axis.high / standard * 100, zero=True)
    shares.apply(twin, f"% of the standard dose ({with_unit(number(standard), unit)})")
    shares.mark_break(twin, height=1.0)


@styled
def plot_exceedance(fit: xr.DataTree, *, width: Width = "single", ax: Axes | None = None) -> Figure:
    """Draw the probability of the benefit against dose.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
    """
    trial, window = outcome_of(fit), window_of(fit)
    figure, axes = canvas(ax, width, 0.74)
    DoseAxis(*domain(trial), zero=False).apply(axes, label(trial["dose"], "dose"))
    handles = shade(axes, window)
    shown = window["probability"].where(window["dose"] > 0, drop=True)
    level, best = float(window.attrs["level"]), float(window["best_dose"])
    axes.plot(shown["dose"], shown, color=BLUE, linewidth=1.2, zorder=2.5, gid="probability")
    axes.axhline(level, color=INK, linewidth=0.7, linestyle=(0, (4, 2)), zorder=2, gid="level")
    handles.append(Line2D([], [], color=INK, linewidth=0.7, linestyle=(0, (4, 2)), label=f"level {level:g}"))
    if np.isfinite(best):
        mark = {
            "marker": "D",
            "linestyle": "none",
            "markersize": 4,
            "markerfacecolor": VERMILION,
            "markeredgecolor": INK,
        }
        axes.plot([best], [float(window["max_probability"])], zorder=4, markeredgewidth=0.5, gid="best_dose", **mark)
        where = with_unit(number(best), str(trial["dose"].attrs.get("units", "")))
        handles.append(Line2D([], [], markeredgewidth=0.5, label=f"best dose, {where.replace('$', r'\$')}", **mark))
    handles.append(draw_rug(axes, trial))
    axes.set_ylim(0, 1.02)
    within = "\nwithin the limits on harm" if window.attrs.get("harms") else ""
    axes.set_ylabel(f"probability of benefit ({benefit_label(window, trial)}){within}", parse_math=False)
    title(axes, headline(window, trial), width)
    legend(figure, axes, handles, own=ax is None, columns=2 if width == "single" else 5)
    return figure
