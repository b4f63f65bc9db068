"""Figures of a screen: volcano, ladder of windows, small multiples of the surest curves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox

from hormesis_fit.figures.axes import DoseAxis, dose_axis, draw_response
from hormesis_fit.figures.drawing import (
    canvas,
    chance,
    draw_data,
    equals,
    label,
    legend,
    letter,
    panel_title,
    panels,
    remark,
    room,
    shorten,
    title,
    units_of,
    written,
)
from hormesis_fit.figures.palette import INK, Palette, Width, keep, look, panel, shown, styled
from hormesis_fit.inference.fitting import fit
from hormesis_fit.phrases import printable
from hormesis_fit.screening.store import ranking
from hormesis_fit.screening.tables import cut
from hormesis_fit.trials.reading import read_trial
from hormesis_fit.windows.prediction import predict
from hormesis_fit.wording import listing, quote

CEILING = 6.0  # log10 odds beyond which a probability is drawn at the edge
PLACES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1), (1, 2), (-1, 2), (1, -2), (-1, -2)]
TICKS = (0.001, 0.1, 0.5, 0.9, 0.999, 0.99999)


def _check_screen(screen: object) -> None:
    """Refuse what is no screen, in one sentence."""
    if not isinstance(screen, xr.Dataset) or not {"curve_id", "prob_hormesis"} <= set(screen.variables):
        raise TypeError(f"Expected what screen() returns, got {type(screen).__name__}: screen the table first.")


@styled
def plot_volcano(
    screen: xr.Dataset, *, names: int = 5, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw the probability of hormesis of every curve over its peak stimulation.

    Parameters
    ----------
    screen : Dataset
        As `screen` returns it.
    names : int
        How many of the surest curves to name.
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
        If `screen` is not what `screen` returns.
    ValueError
        If no curve has a probability of hormesis, or `width` or `palette` is unknown.
    """
    _check_screen(screen)
    probability = screen["prob_hormesis"].values
    peak = screen["peak_stimulation"].sel(statistic="median").values
    known = np.isfinite(probability) & np.isfinite(peak)
    if not known.any():
        raise ValueError("No curve has a probability of hormesis: screen with hormetic and other curves together.")
    with np.errstate(divide="ignore"):
        height = np.clip(np.log10(probability) - np.log10(1 - probability), -CEILING, CEILING)
    chosen = screen["selected"].values.astype(bool)
    figure, axes = canvas(ax, width, 0.74)
    size = 3 if known.sum() < 1000 else 1.8
    shared = {"linestyle": "none", "markeredgewidth": 0, "alpha": 0.7}
    styles = {
        "selected": shared | {"marker": "D", "color": look().mark, "markersize": size},
        "other curves": shared | {"marker": "o", "color": look().quiet, "markersize": size},
    }
    for words, part in (("other curves", ~chosen), ("selected", chosen)):
        which = known & part
        axes.plot(100 * peak[which], height[which], gid=words.replace(" ", "_"), zorder=2, **styles[words])
    _keep_volcano(screen, known)
    low, high = np.quantile(100 * peak[known], [0.0, 0.999])
    spread = high - min(low, 0.0)
    axes.set_xlim(min(low, 0.0) - 0.03 * spread, high + 0.15 * spread + 1)
    axes.set_ylim(max(height[known].min() - 0.3, -CEILING), min(height[known].max() + 0.5, CEILING + 0.3))
    ticks = [one for one in TICKS if axes.get_ylim()[0] <= np.log10(one / (1 - one)) <= axes.get_ylim()[1]]
    axes.set_yticks([np.log10(one / (1 - one)) for one in ticks], [f"{one:g}" for one in ticks])
    _name_surest(axes, screen, 100 * peak, height, names)
    axes.set_xlabel("peak stimulation (% of control)")
    axes.set_ylabel("probability of hormesis, on the scale of log odds")
    rate = f"{screen.attrs['fdr_level']:.0%}"
    title(axes, f"{int(chosen.sum())} of {known.sum()} curves selected at a false discovery rate of {rate}")
    handles = [Line2D([], [], label=words, **style | {"markersize": 4}) for words, style in styles.items()]
    legend(figure, axes, handles, own=ax is None)
    return figure


def _keep_volcano(screen: xr.Dataset, known: np.ndarray) -> None:
    part = screen.isel(curve_id=known)
    labels = {"curve_id": part["curve_id"]}
    peak = part["peak_stimulation"].sel(statistic="median").values
    keep(
        peak_stimulation=shown(peak, "median peak stimulation, relative to the control", **labels),
        prob_hormesis=shown(part["prob_hormesis"].values, "probability of hormesis", **labels),
        selected=shown(part["selected"].values, "whether the curve is selected", **labels),
    )


def _name_surest(axes: Axes, screen: xr.Dataset, across: np.ndarray, up: np.ndarray, names: int) -> None:
    """Write the labels of the surest curves beside their points, over no point and no other label."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    scale = np.array([room(axes) / (right - left), 0.6 * 72 * axes.figure.get_figheight() / (high - low)])
    inside = np.isfinite(across + up) & (across <= right)
    points = np.column_stack([across, np.minimum(up, high)]) * scale
    taken = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in points[inside]]
    labels = screen["curve_id"].values
    for one in [one for one in ranking(screen)["curve_id"] if inside[labels == one].any()][:names]:
        point, words = points[labels == one][0], shorten(one, 18)
        boxes = {
            place: _beside(point, place, written(words, 6), (left * scale[0], right * scale[0])) for place in PLACES
        }
        free = {place: sum(box.overlaps(other) for other in taken) for place, box in boxes.items()}
        place = min(free, key=lambda place: free[place])
        taken.append(boxes[place])
        (shift, rise), side = place, {1: "left", 0: "center", -1: "right"}[place[0]]
        style = {"fontsize": 6, "va": "center", "ha": side, "xytext": (4 * shift, 7 * rise)}
        text = axes.annotate(words, tuple(point / scale), textcoords="offset points", **style)
        text.set_parse_math(False)


def _beside(point: np.ndarray, place: tuple[int, int], width: float, ends: tuple[float, float]) -> Bbox:
    """Box of a label at one of the places around a point; far away where it would leave the axes."""
    x = point[0] + 4 * place[0] - width * (1 - place[0]) / 2
    out = 1000.0 if x < ends[0] or x + width > ends[1] else 0.0
    return Bbox.from_bounds(x, point[1] + 7 * place[1] - 3.5, width + out, 7 + out)


@styled
def plot_window_ladder(
    screen: xr.Dataset, *, most: int = 30, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw the windows of the surest curves, one under the other.

    Parameters
    ----------
    screen : Dataset
        As `screen` returns it.
    most : int
        Most curves to draw.
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
        If `screen` is not what `screen` returns.
    ValueError
        If no curve has a window, or `width` or `palette` is unknown.
    """
    _check_screen(screen)
    chosen = [one for one in _surest(screen) if np.isfinite(float(screen["window_lower"].sel(curve_id=one)))][:most]
    if not chosen:
        raise ValueError("No curve of the screen has a window at its level: there is nothing to draw.")
    part = screen.sel(curve_id=chosen)
    lower, upper = part["window_lower"].values, part["window_upper"].values
    peak = part["peak_dose"]
    figure, axes = canvas(ax, width, max(0.3, 0.14 + 0.045 * len(chosen)))
    DoseAxis(lower.min() / 1.3, upper.max() * 1.3, zero=False).apply(axes, label(part["window_lower"], "dose"))
    rows = np.arange(len(chosen))[::-1]
    bar = look().window | {"edgecolor": INK, "linewidth": 0.4}
    axes.barh(rows, upper - lower, left=lower, height=0.6, gid="windows", zorder=1, **bar)
    between = peak.sel(statistic=["lower", "upper"]).values
    limits = axes.get_xlim()
    for row, (low, high), middle in zip(rows, between, peak.sel(statistic="median").values, strict=True):
        axes.plot(np.clip([low, high], *limits), [row, row], color=look().line, linewidth=0.8, zorder=2)
        axes.plot([middle], [row], color=look().line, marker="o", markersize=2.6, zorder=3)
    axes.set_yticks(rows, [shorten(one, 24) for one in chosen], parse_math=False)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.7, len(chosen) - 0.3)
    axes.set_xlabel(_dose_words(screen))
    level = float(screen.attrs["level"])
    title(axes, f"The {len(chosen)} surest of {screen.sizes['curve_id']} curves that have a window")
    unit, labels = units_of(screen["best_dose"]), {"curve_id": part["curve_id"]}
    order = ["median", "lower", "upper"]
    keep(
        window_lower=shown(lower, "lower edge of the window", unit, **labels),
        window_upper=shown(upper, "upper edge of the window", unit, **labels),
        peak_dose=shown(
            peak.sel(statistic=order).transpose("curve_id", "statistic").values,
            "peak dose",
            unit,
            **labels,
            statistic=order,
        ),
    )
    handles = [
        Patch(label=f"window at probability {level:g}", **bar),
        Line2D([], [], color=look().line, marker="o", markersize=2.6, linewidth=0.8, label="peak dose, 95 % interval"),
    ]
    legend(figure, axes, handles, own=ax is None)
    return figure


def _dose_words(screen: xr.Dataset) -> str:
    unit = printable(str(screen["best_dose"].attrs.get("units", "")))
    return f"dose ({unit})" if unit else "dose"


def _surest(screen: xr.Dataset) -> list[str]:
    """Labels of the curves, those that came out well, the surest first."""
    table = ranking(screen)
    return table["curve_id"][table["status"] != "FAILED"].tolist()


@styled
def plot_small_multiples(
    screen: xr.Dataset,
    *,
    table: Any,
    curve_ids: Sequence[str] | None = None,
    most: int = 12,
    width: Width = "double",
    palette: Palette = "light",
) -> Figure:
    """Draw curves of a screen with their responses and windows, each in a panel of its own.

    Parameters
    ----------
    screen : Dataset
        As `screen` returns it.
    table : str, path-like, pandas.DataFrame or mapping of columns
        The table that was screened.
    curve_ids : sequence of str, optional
        Curves to draw; by default the surest ones.
    most : int
        Most panels.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `screen` is not what `screen` returns.
    ValueError
        If a curve is unknown or not in the table, or `width` or `palette` is unknown.

    Notes
    -----
    The lines are the mean response of the best family of each curve, which is fitted again, with its 95 % interval.
    """
    _check_screen(screen)
    known = set(screen["curve_id"].values.tolist())
    wanted = list(_surest(screen) if curve_ids is None else map(str, curve_ids))[:most]
    if not wanted or not set(wanted) <= known:
        missing = listing([one for one in wanted if one not in known]) or "none"
        raise ValueError(f"Expected labels of curves of the screen, got {missing}: see screen.curve_id.")
    trials = _trials(screen, table, wanted)
    figure, places, columns = panels(len(wanted), width, columns=2 if width == "single" else 4, height=0.75)
    handles: list = []
    for place, (one, axes) in enumerate(zip(wanted, places, strict=True)):
        with panel(one):
            found = _draw_curve(axes, screen.sel(curve_id=one), trials[one], place + columns >= len(wanted))
        letter(axes, place)
        handles = max(handles, found, key=len)
    figure.supylabel(label(trials[wanted[0]]["response"], "response"), fontsize=7, parse_math=False)
    level = float(screen.attrs["level"])
    if np.isfinite(screen["window_lower"].sel(curve_id=wanted).values).any():
        handles.append(Patch(label=f"window at probability {level:g}", **look().window))
    legend(figure, places[0], [*handles, remark("P: probability of hormesis")], own=True)
    return figure


def _trials(screen: xr.Dataset, table: Any, wanted: Sequence[str]) -> dict[str, xr.Dataset]:
    """Read some curves of the table again, as they were read for the screen."""
    names = ("dose", "response", "dose_unit", "response_unit", "direction", "scale", "control", "missing")
    reading = {name: screen.attrs[name] for name in names if screen.attrs[name] != ""}
    columns = {name: reading[name] for name in ("dose", "response")}
    for name in ("dose", "response"):
        unit = screen["best_dose"].attrs["units"] if name == "dose" else screen["peak_response"].attrs["units"]
        reading[f"{name}_unit"] = str(unit)
    with tempfile.TemporaryDirectory(prefix="hormesis-screen-") as folder:
        curve_id, size = str(screen.attrs["curve_id"]), int(screen.attrs["piece"])
        pieces = cut(table, Path(folder), curve_id=curve_id, columns=columns, units=[], size=size)
        numbers = sorted({pieces.labels.index(one) // size for one in wanted if one in pieces.labels})
        tables = {one: rows for number in numbers for one, rows in pieces.tables(number).items()}
    for one in wanted:
        if one not in tables:
            raise ValueError(f"The table has no curve {quote(one)}: give the table that was screened.")
    return {one: read_trial(tables[one], **reading) for one in wanted}


def _draw_curve(axes: Axes, curve: xr.Dataset, trial: xr.Dataset, lowest: bool) -> list:
    """Draw one panel; return its legend."""
    axis = dose_axis(axes, trial, zero=bool((trial["dose"].values == 0).any()), named=lowest)
    edges, unit = (float(curve["window_lower"]), float(curve["window_upper"])), units_of(trial["dose"])
    if np.isfinite(edges[0]):
        axes.axvspan(*edges, zorder=0, gid="window", **look().window)
        keep(
            **{
                f"window_{end}": shown(edge, f"{end} edge of the window", unit)
                for end, edge in zip(("lower", "upper"), edges, strict=True)
            }
        )
    best, handles = str(curve["best_model"].values), []
    if best:
        fitted = fit(trial, curve=best, engine="importance", vary={}, draws=250, random_seed=1)
        control = predict(fitted, doses=[0.0]).values.ravel() if axis.zero else None
        handles = draw_response(axes, axis, predict(fitted), control, trial, inner=False)
    data = draw_data(axes, trial)
    data.set_label("responses")
    spread = np.ptp(trial["response"].values)
    axes.set_ylim(trial["response"].values.min() - 0.12 * spread, trial["response"].values.max() + 0.12 * spread)
    if "control" in trial.attrs:
        given = float(trial.attrs["control"])
        axes.axhline(given, color=INK, linewidth=0.5, linestyle=(0, (2, 2)), zorder=1.5, gid="control")
        keep(control=shown(given, "control response as given", units_of(trial["response"])))
    probability = float(curve["prob_hormesis"])
    words = f", P {equals(chance(probability))}" if np.isfinite(probability) else ""
    panel_title(axes, curve["curve_id"].values, words)
    return [*handles, data]
