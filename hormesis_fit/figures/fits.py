"""Figures for papers: the window, its probability, its edges, the weights of the curves, the predictive check."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import gaussian_kde

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.figures.axes import DoseAxis
from hormesis_fit.figures.dose import plot_exceedance, plot_window
from hormesis_fit.figures.drawing import (
    canvas,
    chance,
    crowds,
    data_uri,
    dosed,
    draw_data,
    draw_rug,
    equals,
    label,
    legend,
    number,
    title,
    units_of,
)
from hormesis_fit.figures.palette import INK, STYLE, Palette, Width, figure_data, keep, look, shown, styled
from hormesis_fit.figures.people import has_harms, plot_harm, plot_subjects
from hormesis_fit.windows.posterior import check_fit, domain, trial_of
from hormesis_fit.windows.prediction import outcome_of, replicates, subjects_in
from hormesis_fit.windows.summary import quantity

RIDGES = ("peak_dose", "window_lower", "window_upper", "zero_equivalent_dose")
NAMES = {
    "peak_dose": "peak dose",
    "window_lower": "lower edge\nof the window",
    "window_upper": "upper edge\nof the window",
    "zero_equivalent_dose": "zero-equivalent\ndose",
}


@styled
def plot_quantities(
    fit: xr.DataTree, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw the posteriors of peak dose, window edges and zero-equivalent dose, each given that it exists.

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
    trial, window = trial_of(fit), window_of(fit)
    figure, axes = canvas(ax, width, 0.76)
    draws = {name: window[name].values.ravel() for name in RIDGES}
    DoseAxis(*_ridge_limits(draws, trial), zero=False).apply(axes, label(trial["dose"], "dose"))
    for row, (name, values) in enumerate(draws.items()):
        _draw_ridge(axes, len(RIDGES) - 1 - row, values[np.isfinite(values)], name, quantity(window, name))
    _keep_quantities(window, trial)
    handles = [
        Patch(label="density given existence", **look().wide | {"edgecolor": look().line, "linewidth": 0.8}),
        Line2D([], [], color=INK, marker="o", markersize=3.6, linewidth=1.6, label="median, 95 %"),
        draw_rug(axes, trial),
    ]
    axes.set_ylim(-0.25, len(RIDGES) - 0.05)
    axes.set_yticks(range(len(RIDGES)), [NAMES[name] for name in reversed(RIDGES)])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    legend(figure, axes, handles, own=ax is None)
    return figure


def _keep_quantities(window: xr.Dataset, trial: xr.Dataset) -> None:
    names, columns = list(RIDGES), ["median", "lower", "upper"]
    known = [quantity(window, name) for name in RIDGES]
    values, unit = [[one.get(column, np.nan) for column in columns] for one in known], units_of(trial["dose"])
    keep(
        quantity=shown(values, "median and 95 % interval given existence", unit, name=names, statistic=columns),
        share=shown([one["share"] for one in known], "posterior probability that it exists", name=names),
    )


def _ridge_limits(draws: dict[str, np.ndarray], trial: xr.Dataset) -> tuple[float, float]:
    """Hold the tested doses and 95 % of every quantity, but no further than a hundredfold beyond the domain."""
    low, high = domain(trial)
    ends = [low, high]
    for values in draws.values():
        known = values[np.isfinite(values) & (values > 0)]
        ends += list(np.quantile(known, [0.025, 0.975])) if known.size else []
    return max(min(ends) / 1.3, low / 100), min(max(ends) * 1.3, high * 100)


def _draw_ridge(ax: Axes, base: float, values: np.ndarray, name: str, known: dict[str, float]) -> None:
    """One row: density, median and interval, and in words what share of the draws has the quantity."""
    finite = values[values > 0]
    low, high = ax.get_xlim()
    if finite.size > 1 and np.ptp(np.log(finite)) > 1e-9:
        grid = np.linspace(np.log(low), np.log(high), 300)
        density = gaussian_kde(np.log(finite))(grid)
        height = density / density.max()
        ax.fill_between(np.exp(grid), base, base + 0.56 * height, zorder=2, gid=f"density_{name}", **look().wide)
        ax.plot(np.exp(grid), base + 0.56 * height, color=look().line, linewidth=0.8, zorder=2.5)
        words = f"posterior density of the {name.replace('_', ' ')}, relative to its top"
        keep(**{f"density_{name}": shown(height, words, grid=np.exp(grid))})
    ax.axhline(base, color=look().quiet, linewidth=0.4, zorder=1)
    words = f"P(exists) {equals(chance(known['share']))}"
    if known["share"] > 0:
        left, middle, right = known["lower"], known["median"], known["upper"]
        words = f"{_within(middle, low, high)} [{_within(left, low, high)}, {_within(right, low, high)}], {words}"
        ends = np.clip([left, right], low, high)
        ax.plot(ends, [base, base], color=INK, linewidth=1.6, zorder=3, gid=f"interval_{name}")
        arrows = [(low, "<")] * bool(left < low) + [(high, ">")] * bool(right > high)
        for end, arrow in arrows:
            ax.plot([end], [base], arrow, color=INK, markersize=3.6, zorder=3, clip_on=False)
        if low <= middle <= high:
            ax.plot([middle], [base], "o", color=INK, markersize=3.6, zorder=3, gid=f"median_{name}")
    ax.text(0.995, base + 0.59, words, transform=ax.get_yaxis_transform(), ha="right", va="bottom", fontsize=6.5)


def _within(value: float, low: float, high: float) -> str:
    """Return a number, or the end of the axis that it lies beyond: nothing is known of doses that far out."""
    if np.isfinite(value) and low <= value <= high:
        return number(value)
    return "∞" if np.isinf(value) else f"<{number(low)}" if value < low else f">{number(high)}"


@styled
def plot_weights(
    fit: xr.DataTree, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw the posterior probability of every curve beside its prior probability.

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
    check_fit(fit)
    table = fit["evidence"].to_dataset()
    names = [str(name) for name in table["model"].values]
    figure, axes = canvas(ax, width, 0.2 + 0.075 * len(names))
    for row, name in enumerate(names):
        one = table.sel(model=name)
        usable, weight, hormetic = np.isfinite(float(one["log_evidence"])), float(one["weight"]), bool(one["hormetic"])
        fill = look().hormetic if hormetic else look().null
        axes.barh(row, weight, height=0.62, gid=f"weight_{name}", **fill)
        prior = float(one["prior_weight"])
        axes.plot([prior, prior], [row - 0.42, row + 0.42], color=INK, linewidth=1.4, gid=f"prior_{name}")
        text = chance(weight) if usable else "failed"
        axes.text(max(weight, prior) + 0.015, row, text, va="center", fontsize=6.5)
    axes.set_yticks(range(len(names)), [textwrap.shorten(name, 40, placeholder="…") for name in names])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axes.set_xlabel("posterior probability of the curve")
    hormesis = float(table["prob_hormesis"])
    before = chance(float(table.attrs["prior_hormesis"]))
    known = f"P(hormesis) {equals(chance(hormesis))}, before the data: {before}"
    title(axes, known if np.isfinite(hormesis) else "One kind of curve only: P(hormesis) cannot be told")
    keep(
        weight=shown(table["weight"].values, "posterior probability of a curve", model=names),
        prior_weight=shown(table["prior_weight"].values, "prior probability of a curve", model=names),
        prob_hormesis=shown(hormesis, "posterior probability of hormesis"),
    )
    handles = [
        Patch(label="hormetic", **look().hormetic),
        Patch(label="not hormetic", **look().null),
        Line2D([], [], label="prior probability", marker="|", linestyle="none", color=INK, markersize=7, mew=1.4),
    ]
    legend(figure, axes, handles, own=ax is None)
    return figure


@styled
def plot_predictive(
    fit: xr.DataTree,
    *,
    width: Width = "single",
    palette: Palette = "light",
    ax: Axes | None = None,
    show_subjects: bool = False,
) -> Figure:
    """Draw the observed responses against those that the fitted model predicts at the same doses.

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
    show_subjects : bool
        Whether the rows of a trial with subjects are drawn, and not the means at every dose alone.

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
    trial, predicted = trial_of(fit), replicates(fit)
    figure, axes = canvas(ax, width, 0.6)
    dose = trial["dose"].values
    tested = dose[dose > 0]
    axis = DoseAxis(tested.min() / 1.5, tested.max() * 1.5, zero=bool(dose.min() == 0))
    axis.apply(axes, label(trial["dose"], "dose"))
    _draw_predicted(axes, predicted, trial)
    hidden = "subject" in trial and not show_subjects
    groups = crowds(trial) if hidden else [(one, trial["response"].values[dose == one]) for one in np.unique(dose)]
    mark = {"marker": "D", "linestyle": "none", "markersize": 4, "markerfacecolor": look().mean}
    mark |= {"markeredgecolor": INK, "markeredgewidth": 0.5}
    drawn = np.array([one for one, _ in groups]), np.array([group.mean() for _, group in groups])
    axes.plot(*drawn, zorder=4, gid="group_means", **mark)
    keep(group_mean=shown(drawn[1], "observed mean", units_of(trial["response"]), group_dose=dosed(drawn[0], trial)))
    if axis.zero:
        axis.mark_break(axes)
    # Ordered categories are predicted as such, and not as the probability that their curve is.
    named = trial if fit.attrs["family"] == "ordinal" else outcome_of(fit)
    axes.set_ylabel(label(named["response"], "response"), parse_math=False)
    handles = [
        Patch(label="predicted responses, 95 %", **look().wide),
        Patch(label="predicted group mean, 95 %", **look().narrow),
        *([] if hidden else [draw_data(axes, trial)]),
        Line2D([], [], label="observed group mean", **mark),
    ]
    legend(figure, axes, handles, own=ax is None)
    return figure


def _draw_predicted(axes: Axes, predicted: xr.DataArray, trial: xr.Dataset) -> None:
    """Draw bars of single responses and of their mean, at every dose."""
    dose = trial["dose"].values
    ends, bar = [], {"linewidth": 7, "solid_capstyle": "butt"}
    for one in np.unique(dose):
        group = predicted.values[..., dose == one]
        ends.append([np.quantile(each, [0.025, 0.975]) for each in (group, group.mean(axis=-1))])
        axes.plot([one, one], ends[-1][0], color=look().wide["facecolor"], zorder=1, gid="single", **bar)
        axes.plot([one, one], ends[-1][1], color=look().narrow["facecolor"], zorder=1.5, gid="mean", **bar)
    singles, means = np.array(ends).transpose(1, 0, 2)
    at, unit = {"dose": dosed(np.unique(dose), trial), "ci_bound": ["lower", "upper"]}, units_of(trial["response"])
    keep(
        predicted=shown(singles, "predicted responses, 95 %", unit, **at),
        predicted_mean=shown(means, "predicted mean of the group, 95 %", unit, **at),
    )


FILES: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {"Software": "hormesis_fit"},
}
SHOWING = ("window", "predictive")  # figures that can show rows
FIGURES: dict[str, Callable[..., Figure]] = {
    "window": plot_window,
    "exceedance": plot_exceedance,
    "quantities": plot_quantities,
    "weights": plot_weights,
    "predictive": plot_predictive,
}
PEOPLE = {"harm": plot_harm, "subjects": plot_subjects}  # figures of some fits only
CAPTIONS = {
    "harm": "Probability of the benefit, probability that each harm stays within its limit, and probability of all of "
    "it together: the joint one is taken draw by draw, and is no product of the others.",
    "subjects": "Every subject by itself: responses, median and 95 % of its mean response, and the doses that help it.",
    "window": "Dose-response. Line and bands: median, 50 % and 95 % of the mean response, averaged over the curves; "
    "dashed where no dose was tested. Circles: single responses, or mean and SD at a dose where subjects are hidden; "
    "arrow heads: responses that lie beyond a limit. "
    "Shaded: doses whose probability of the benefit "
    "reaches 0.5 (light) and the level asked for (dark).",
    "exceedance": "Probability that a dose has the benefit asked for, averaged over the curves.",
    "quantities": "Posterior densities of the peak dose, the edges of the window and the zero-equivalent dose, each "
    "over the draws in which it exists; dots and lines are medians and 95 % intervals.",
    "weights": "Posterior probability of every curve (bar) beside its prior probability (stroke).",
    "predictive": "Posterior predictive check: observed responses and group means against those that the fitted model "
    "predicts at the same doses.",
}


def draw_figures(
    fit: xr.DataTree, *, width: Width = "single", palette: Palette = "light", show_subjects: bool = False
) -> dict[str, Figure]:
    """Draw every figure once, laid out for good: every file of it would otherwise lay it out anew."""
    check_fit(fit)
    names = [*FIGURES, *(["harm"] if has_harms(fit) else []), *(["subjects"] if show_subjects else [])]
    if not subjects_in(fit):
        names = [name for name in names if name != "subjects"]
    return {name: draw_figure(fit, name, width=width, palette=palette, show_subjects=show_subjects) for name in names}


def draw_figure(
    fit: xr.DataTree,
    name: str,
    *,
    width: Width = "single",
    palette: Palette = "light",
    show_subjects: bool = False,
) -> Figure:
    """Draw one figure by its name, laid out for good."""
    plot = FIGURES.get(name) or PEOPLE[name]
    width = "double" if name == "subjects" else width  # many panels
    more = {"show_subjects": show_subjects} if name in SHOWING else {}
    return _settled(plot(fit, width=width, palette=palette, **more))


def _settled(figure: Figure) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def save_figures(
    fit: xr.DataTree,
    folder: str | Path,
    *,
    width: Width = "single",
    palette: Palette = "light",
    figures: Mapping[str, Figure] | None = None,
    show_subjects: bool = False,
) -> list[Path]:
    """Write every figure of a fit as PDF and SVG with embedded or outlined fonts and as PNG, with the numbers it shows.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    folder : str or path-like
        Where to write; made if it is not there.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    figures : mapping, optional
        What `draw_figures` returns, where they are drawn already.
    show_subjects : bool
        Whether rows and labels of subjects are drawn.

    Returns
    -------
    list of Path
        The files: ``window``, ``exceedance``, ``quantities``, ``weights``, ``predictive``, with limits on harm
        ``harm``, with subjects that are to be shown ``subjects``; and ``figures.nc``, what `figure_data` returns for
        all of them. The same bytes for the same fit.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If `width` or `palette` is unknown.
    OSError
        If the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn, written = figures or draw_figures(fit, width=width, palette=palette, show_subjects=show_subjects), []
    for name, figure in drawn.items():
        for suffix, metadata in FILES.items():
            written.append(folder / f"{name}.{suffix}")
            figure.savefig(written[-1], metadata=metadata)
    numbers = {name: tree for figure in drawn.values() for name, tree in figure_data(figure).children.items()}
    written.append(folder / "figures.nc")
    xr.DataTree.from_dict(numbers).to_netcdf(written[-1], engine="h5netcdf")
    return written


def svg_uri(figure: Figure) -> str:
    """Return a drawn figure as an SVG data URI."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return data_uri(buffer)


__all__ = [
    "plot_exceedance",
    "plot_predictive",
    "plot_quantities",
    "plot_weights",
    "plot_window",
    "save_figures",
]
