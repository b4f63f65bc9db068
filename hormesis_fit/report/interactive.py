"""The two main figures for a pointer: what matplotlib drew, handed to Plotly, so that both show the same."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from hormesis_fit.figures.drawing import chance, number
from hormesis_fit.figures.palette import figure_data
from hormesis_fit.phrases import unit_of
from hormesis_fit.report.tables import Table, headed, table
from hormesis_fit.windows.posterior import domain

type View = dict[str, Any]

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "interactive.js"
DIGITS = 5  # of a coordinate: a pixel is a thousandth of the figure
MOST_ROWS = 24  # of the table of a figure
HEIGHT = 440  # of a figure [px]
POINTS = 4 / 3  # pixels in a point
BESIDE, BEYOND = 0.07, 0.1  # where the part of the axis with dose 0 ends and the logarithmic one begins
MARKS = {"o": "circle", "D": "diamond", "v": "triangle-down", "^": "triangle-up", "|": "line-ns-open"}
FONT = 'system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
READ = (
    "<b>%{customdata[0]}</b><br>mean response %{customdata[1]}<br>50 %: %{customdata[2]}<br>95 %: %{customdata[3]}<br>"
    "probability of the benefit %{customdata[4]}<extra></extra>"
)


def live_views(response: Figure, exceedance: Figure, trial: xr.Dataset) -> dict[str, View]:
    """Return both figures as Plotly understands them, with what a pointer reads at each dose.

    Parameters
    ----------
    response, exceedance : Figure
        As `plot_window` and `plot_exceedance` drew them. Nothing is shown that they do not show, so that subjects
        who are hidden there are hidden here.
    trial : Dataset
        The trial.

    Returns
    -------
    dict
        By name, ``data`` and ``layout``: numbers, lists and escaped texts.
    """
    curve = figure_data(response)["window"]["mean_response"]
    chances = figure_data(exceedance)["exceedance"]["probability"]
    beyond = curve.sel(dose=curve["dose"] > 0)
    # Both have the same fine grid of doses unless a window was asked at doses of its own.
    positive = chances["dose"].values
    read = beyond.interp(dose=positive, kwargs={"fill_value": "extrapolate"})
    known = np.interp(np.log(beyond["dose"]), np.log(positive), chances)
    return {
        "window": _view(
            response,
            trial,
            [
                _pointed(beyond["dose"], beyond.sel(quantile=0.5), _told(beyond, known, trial), "x2"),
                _pointed(np.zeros(1), curve.sel(quantile=0.5)[:1], _told(curve[:, :1], [np.nan], trial), "x"),
            ],
        ),
        "exceedance": _view(exceedance, trial, [_pointed(positive, chances, _told(read, chances, trial), "x2")]),
    }


def number_table(response: Figure, exceedance: Figure, trial: xr.Dataset) -> Table:
    """Return what a pointer reads at the tested doses, for whoever has none.

    Parameters
    ----------
    response, exceedance : Figure
        As `plot_window` and `plot_exceedance` drew them.
    trial : Dataset
        The trial.
    """
    curve = figure_data(response)["window"]["mean_response"]
    chances = figure_data(exceedance)["exceedance"]["probability"]
    tested = np.unique(trial["dose"].values)
    # Of many doses some, the lowest and the highest among them.
    tested = tested[np.unique(np.linspace(0, tested.size - 1, MOST_ROWS).round().astype(int))]
    found = curve.sel(dose=tested, method="nearest")
    shares = np.interp(tested, chances["dose"], chances, left=np.nan)
    rows = []
    for dose, bands, share in zip(tested, found.transpose("dose", "quantile").values, shares, strict=True):
        low, inner, middle, outer, high = map(number, bands)
        rows.append([number(dose), middle, f"{inner} to {outer}", f"{low} to {high}", chance(float(share))])
    units = [unit_of(trial[name]).strip() for name in ("dose", "response")]
    headers = [headed("Dose", units[0]), headed("Mean response", units[1]), "50 %", "95 %", "Probability of benefit"]
    return table(headers, rows, "Both figures at the tested doses: median, intervals and probability.", words=0)


def _told(curve: xr.DataArray, chances: Iterable[float], trial: xr.Dataset) -> list[list[str]]:
    """Return what a pointer reads at each dose, as texts: in the template of the label they could be commands."""
    standard = float(trial.attrs.get("standard_dose", 0))
    dose_unit, response_unit = unit_of(trial["dose"]), unit_of(trial["response"])
    rows = []
    bands = curve.transpose("dose", "quantile").values
    for dose, (low, inner, middle, outer, high), share in zip(curve["dose"].values, bands, chances, strict=True):
        of_it = f" ({number(100 * dose / standard)} % of the standard dose)" if standard else ""
        where = f"dose {number(dose)}{dose_unit}{of_it}" if dose else "no drug"
        ends = [f"{number(one)} to {number(other)}" for one, other in ((inner, outer), (low, high))]
        rows.append([_text(one) for one in (where, number(middle) + response_unit, *ends, chance(float(share)))])
    return rows


def _pointed(x: ArrayLike, y: ArrayLike, told: list[list[str]], axis: str) -> View:
    """Return an unseen line that answers the pointer."""
    line = {"color": "rgba(0,0,0,0)", "width": 8}
    shown = {"mode": "lines+markers" if np.size(x) == 1 else "lines", "line": line, "marker": {"opacity": 0, "size": 8}}
    return _trace(x, y, axis) | shown | {"customdata": told, "hovertemplate": READ, "hoverinfo": "all"}


def _text(text: str) -> str:
    """Escape a text for Plotly, which reads some markup and the entities of three letters."""
    return html.escape(text, quote=False)


def _trace(x: ArrayLike, y: ArrayLike, axis: str) -> View:
    rounded = [
        [float(f"{one:.{DIGITS}g}") if np.isfinite(one) else None for one in np.asarray(values)] for values in (x, y)
    ]
    shared = {"type": "scatter", "xaxis": axis, "yaxis": "y", "showlegend": False, "hoverinfo": "skip"}
    return {"x": rounded[0], "y": rounded[1]} | shared


def _colour(colour: Any, opacity: float | None = None) -> str:
    red, green, blue, alpha = to_rgba(colour)
    return f"rgba({red * 255:.0f},{green * 255:.0f},{blue * 255:.0f},{alpha * (1 if opacity is None else opacity):.3g})"


def _view(figure: Figure, trial: xr.Dataset, pointed: list[View]) -> View:
    ax, (low, high) = figure.axes[0], domain(trial)
    traces, shapes = [], []
    for artist in sorted([*ax.patches, *ax.collections, *ax.lines], key=Artist.get_zorder):
        if artist.get_gid() == "axis_break":
            continue
        if artist in ax.patches:
            shapes.append(_span(ax, artist))
        elif isinstance(artist, Collection):
            traces += _area(artist, low)
        elif not artist.get_transform().contains_branch_seperately(ax.transData)[0]:
            shapes.append(_level(artist))
        else:
            traces += _strokes(ax, artist, low)
    return {
        "data": traces + pointed + _legend(figure, "x" if ax.get_xlim()[0] < 0 else "x2"),
        "layout": _layout(ax, low, high, shapes),
    }


def _parted(xy: np.ndarray, low: float) -> list[tuple[np.ndarray, str]]:
    """Part points at dose 0 from the others: each kind has an axis of its own."""
    beside = xy[:, 0] < low / 2
    return [(part, axis) for part, axis in ((xy[beside], "x"), (xy[~beside], "x2")) if len(part)]


def _span(ax: Axes, patch: Artist) -> View:
    """Return doses that are shaded from bottom to top."""
    ends = ax.transData.inverted().transform(patch.get_window_extent().get_points())[:, 0]
    line = {"width": 0}
    place = {"xref": "x2", "yref": "paper", "x0": float(ends[0]), "x1": float(ends[1]), "y0": 0, "y1": 1}
    return {"type": "rect", "layer": "below", "fillcolor": _colour(patch.get_facecolor()), "line": line} | place


def _level(line: Line2D) -> View:
    """Return a line from side to side."""
    height = float(np.asarray(line.get_ydata(), dtype=float)[0])
    place = {"xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": height, "y1": height}
    return {"type": "line", "layer": "above", "line": _line(line)} | place


def _area(area: Collection, low: float) -> list[View]:
    """Return a filled area, or strokes of bars."""
    found = []
    filled = bool(len(area.get_facecolor()))
    colour = _colour((area.get_facecolor() if filled else area.get_edgecolor())[0])
    for path in area.get_paths():
        for part, axis in _parted(path.vertices, low):
            trace = _trace(part[:, 0], part[:, 1], axis) | {"mode": "lines"}
            shown = {"fill": "toself", "fillcolor": colour, "line": {"width": 0}} if filled else {}
            found.append(trace | (shown or {"line": {"color": colour, "width": 1}}))
    return found


def _strokes(ax: Axes, line: Line2D, low: float) -> list[View]:
    """Return a line, or points."""
    xy = np.asarray(line.get_xydata(), dtype=float)
    if not line.get_transform().contains_branch_seperately(ax.transData)[1]:  # heights are parts of the axes
        across = line.get_transform().transform(xy)
        xy = np.column_stack([xy[:, 0], ax.transData.inverted().transform(across)[:, 1]])
    return [_trace(part[:, 0], part[:, 1], axis) | _look(line) for part, axis in _parted(xy, low)]


def _line(line: Line2D) -> View:
    dash = "solid" if line.get_linestyle() == "-" else "dash"
    return {"color": _colour(line.get_color(), line.get_alpha()), "width": line.get_linewidth() * POINTS, "dash": dash}


def _look(line: Line2D) -> View:
    """Return how a line or its points look."""
    mark, drawn = MARKS.get(str(line.get_marker())), line.get_linestyle() != "None"
    mode = "+".join(name for name, there in (("lines", drawn), ("markers", mark)) if there) or "none"
    look: View = {"mode": mode} | ({"line": _line(line)} if drawn else {})
    if mark:
        edge = {"color": _colour(line.get_markeredgecolor()), "width": line.get_markeredgewidth() * POINTS}
        face = {"color": edge["color"] if mark.endswith("open") else _colour(line.get_markerfacecolor()), "line": edge}
        look |= {"marker": face | {"symbol": mark, "size": line.get_markersize() * POINTS * 1.3}}
    return look


def _legend(figure: Figure, axis: str) -> list[View]:
    """Return what the legend names, as traces that show nothing else; an axis without a trace would not be drawn."""
    found = []
    for legend in figure.legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            square = {"symbol": "square", "size": 11, "color": "#fff"}
            if isinstance(handle, Line2D):
                look = _look(handle)
            else:
                look = {"mode": "markers", "marker": square | {"color": _colour(handle.get_facecolor())}}
            named = {"name": _text(text.get_text().replace(r"\$", "$")), "showlegend": True}
            found.append(_trace(np.full(1, np.nan), np.full(1, np.nan), axis) | look | named)
    return found


def _layout(ax: Axes, low: float, high: float, shapes: list[View]) -> View:
    edge = float(ax.get_xlim()[0])  # left of dose 0, where that has a place
    zero = edge < 0
    words = {"size": 12, "color": _colour(ax.xaxis.label.get_color()), "family": FONT}
    frame = {"showline": True, "linecolor": words["color"], "ticks": "outside", "showgrid": False, "zeroline": False}
    spike = {"showspikes": True, "spikemode": "across", "spikethickness": 1, "spikedash": "dot"}
    spike |= {"spikecolor": words["color"], "spikesnap": "data"}
    doses = {
        "type": "log",
        "domain": [BEYOND if zero else 0, 1],
        "range": [float(np.log10(one)) for one in (low, high)],
    }
    doses |= {"title": {"text": _text(ax.get_xlabel()), "standoff": 8}, "tickformat": "~g", "nticks": 4}
    doses |= {"minor": {"ticks": "outside", "ticklen": 3, "dtick": "D1"}}
    control = {"domain": [0, BESIDE], "range": [edge, -edge], "tickvals": [0], "ticktext": ["0"], "fixedrange": True}
    heights = {"range": [float(one) for one in ax.get_ylim()], "fixedrange": True}
    heights |= {"title": {"text": _text(ax.get_ylabel().replace("\n", " ")), "standoff": 8}}
    middle, gap = (BESIDE + BEYOND) / 2, 0.006
    across = {"type": "line", "xref": "paper", "yref": "paper", "y0": -0.02, "y1": 0.02}
    across |= {"line": {"color": words["color"], "width": 1}}
    # The axis line stops between dose 0 and the others; two strokes say so.
    strokes = [across | {"x0": middle + k * gap - gap, "x1": middle + k * gap + gap} for k in (-1, 1)] if zero else []
    return {
        "height": HEIGHT,
        "font": words,
        "margin": {"l": 60, "r": 12, "t": 12, "b": 50},
        "hovermode": "x",
        "hoverlabel": {"bgcolor": "#fff", "align": "left", "font": words, "bordercolor": words["color"]},
        "xaxis": frame | spike | control if zero else {"visible": False},
        "xaxis2": frame | spike | doses | {"anchor": "y"},
        "yaxis": frame | heights | {"anchor": "x" if zero else "x2"},
        "shapes": shapes + strokes,
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "itemclick": False, "itemdoubleclick": False},
    }


@cache
def scripts() -> dict[str, Any]:
    """Return Plotly, the lines that draw with it, and a policy that lets a page run nothing else.

    Notes
    -----
    Plotly lives in every report, which therefore opens without a network and weighs five megabytes.
    """
    library = files("plotly") / "package_data" / "plotly.min.js"
    sources = {"library": library.read_text(encoding="utf-8"), "script": SCRIPT.read_text(encoding="utf-8")}
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in sources.values()]
    allowed = " ".join(f"'sha256-{one}'" for one in digests)
    rules = ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src {allowed}"]
    return {name: Markup(one) for name, one in sources.items()} | {
        "policy": "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])
    }


__all__ = ["live_views", "number_table", "scripts"]
