"""What all figures share: canvases, panels, legends and titles, data and shades, numbers short enough to be drawn."""

from __future__ import annotations

import base64
import functools
import io
import textwrap
from collections.abc import Sequence
from string import ascii_lowercase

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Patch
from matplotlib.textpath import text_to_path

from hormesis_fit.figures.palette import BESIDE, INK, STYLE, WIDTHS, Picture, Width, keep, look, shown
from hormesis_fit.phrases import is_share, printable, whose_words
from hormesis_fit.windows.posterior import domain
from hormesis_fit.windows.windowing import level_pieces

LEGEND, HANDLE, SPACING = STYLE["legend.fontsize"], 1.8, 1.1  # size [pt], and parts of it
FEWEST = 3  # subjects at a dose, for their mean to be shown where rows are not


def number(value: float) -> str:
    """Return a number with three significant digits.

    Examples
    --------
    >>> number(0.123456), number(1234.5), number(float("inf")), number(float("nan"))
    ('0.123', '1230', '∞', '–')
    """
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{float(f'{value:.3g}'):g}"


def chance(probability: float) -> str:
    """Return a probability with two digits, never rounded to certainty.

    Examples
    --------
    >>> chance(0.694), chance(0.9999), chance(0.0)
    ('0.69', '>0.99', '0')
    """
    if np.isnan(probability):
        return "–"
    if 0 < probability < 0.01:
        return "<0.01"
    if 0.99 < probability < 1:
        return ">0.99"
    return f"{probability:.2f}" if 0 < probability < 1 else f"{probability:.0f}"


def equals(chance: str) -> str:
    """Return a written probability after its sign: ``= 0.69``, ``> 0.99``."""
    return f"{chance[0]} {chance[1:]}" if chance[0] in "<>" else f"= {chance}"


def with_unit(value: str, unit: str) -> str:
    """Return a written number with its unit, if there is one."""
    return f"{value} {unit}" if unit else value


def label(variable: xr.DataArray, fallback: str) -> str:
    """Axis label with its unit, short enough for a column of a journal."""
    name = printable(variable.attrs.get("long_name") or fallback).replace("_", " ")
    unit = printable(variable.attrs.get("units", ""))
    return textwrap.shorten(f"{name} ({unit})" if unit else name, 60, placeholder="…") or fallback


def headline(window: xr.Dataset, trial: xr.Dataset) -> str:
    """Say in words where the window is, or that there is none."""
    level, unit = float(window.attrs["level"]), str(trial["dose"].attrs.get("units", ""))
    whose = whose_words(window, trial)
    pieces = level_pieces(window)
    if not pieces:
        highest, best = float(window["max_probability"]), float(window["best_dose"])
        where = f" at {with_unit(number(best), unit)}" if np.isfinite(best) else ""
        return f"No dose reaches probability {level:.2f}{whose}; highest {chance(highest)}{where}"
    low, high = domain(trial)
    words = [f"{'< ' * (a <= low)}{number(a)} to {'> ' * (b >= high)}{number(b)}" for a, b in pieces]
    return f"Window at probability {level:.2f}{whose}: {with_unit(' and '.join(words), unit)}"


def benefit_label(window: xr.Dataset, trial: xr.Dataset) -> str:
    """Return the benefit asked for, such as ``+10 %`` or ``-2 points``."""
    size, unit = float(window.attrs["benefit"]), str(trial["response"].attrs.get("units", ""))
    sign = "+" if trial.attrs["direction"] == "up" else "−"
    match window.attrs["benefit_scale"]:
        case "relative":
            return f"{sign}{number(100 * size)} %"
        case "sd":
            return f"{sign}{number(size)} SD"
        case "level":
            words = f"{number(100 * size)} %" if is_share(trial) else with_unit(number(size), unit)
            return f"{'at least' if sign == '+' else 'at most'} {words}"
        case _:
            return f"{sign}{f'{number(100 * size)} points' if is_share(trial) else with_unit(number(size), unit)}"


def canvas(ax: Axes | None, width: Width, height: float) -> tuple[Figure, Axes]:
    """Return the figure and the axes to draw in; `height`, relative to the width, is that above the legend."""
    if ax is not None:
        return ax.figure, ax
    inches = WIDTHS[width]
    # Two columns wide, a figure of the same proportions would fill half a page.
    size = (inches, inches * height if width == "single" else WIDTHS["single"] * height * 1.15)
    figure = Picture(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def panels(count: int, width: Width, *, columns: int, height: float = 0.72) -> tuple[Figure, list[Axes], int]:
    """Return a figure with small panels, these, and how many stand side by side; `height` is that of a panel."""
    columns = min(count, columns)
    rows, inches = -(-count // columns), WIDTHS[width]
    tall = min(inches / columns, 1.9) * height
    figure = Picture(figsize=(inches, 0.35 + rows * tall), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, place + 1) for place in range(count)], columns


def legend(figure: Figure, ax: Axes, handles: Sequence, *, own: bool) -> None:
    """Put the legend below a figure of our own, which grows by it, or into axes that were given.

    In a figure of several plots it waits for those of the others, in ``figure.handles``.
    """
    if own:
        columns = _columns(handles, 72 * figure.get_figwidth() - 26)
        rows = -(-len(handles) // columns)
        figure.set_figheight(figure.get_figheight() + (rows * 1.62 + 0.8) * LEGEND / 72)
        options = {"ncols": columns, "handlelength": HANDLE, "columnspacing": SPACING}
        figure.legend(handles=handles, loc="outside lower center", **options)
    elif isinstance(figure, Picture):
        known = {one.get_label() for one in figure.handles}
        figure.handles += [one for one in handles if one.get_label() not in known]
    else:
        ax.legend(handles=handles)


def _columns(handles: Sequence, points: float) -> int:
    """How many columns of a legend fit into some points, no more than its rows need."""
    wide = [written(str(one.get_label()), LEGEND) + (HANDLE + 0.8) * LEGEND for one in handles]
    for columns in range(len(wide), 1, -1):
        parts = [part for part in np.array_split(wide, columns) if part.size]
        if sum(part.max() for part in parts) + (columns - 1) * SPACING * LEGEND <= points:
            return -(-len(wide) // -(-len(wide) // columns))
    return 1


@functools.cache
def written(text: str, size: float = 7.0) -> float:
    """Width of a text [pt]."""
    font = FontProperties(family=STYLE["font.family"], size=size)
    return text_to_path.get_text_width_height_descent(text.replace(r"\$", "$"), font, ismath=False)[0]


def room(ax: Axes) -> float:
    """Width of a panel without its margins, roughly [pt]."""
    place, figure = ax.get_subplotspec(), ax.get_figure(root=True)
    side_by_side = place.get_gridspec().ncols if place else 1
    return (72 * figure.get_figwidth() - 26) / side_by_side - getattr(figure, "beside", BESIDE)


def title(ax: Axes, text: str) -> None:
    """Write a sentence above the axes, broken to the width of its panel."""
    lines, most = [""], room(ax)
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if not lines[-1] or written(longer) <= most else [lines[-1], word]
    ax.set_title("\n".join(lines), parse_math=False)


def panel_title(ax: Axes, name: object, words: str = "") -> None:
    """Write a name above a small panel, cut where it is too long, and what is to be said of it."""
    widest, most = room(ax) + 6, 60
    while most > 4 and written(shorten(name, most) + words) > widest:
        most -= 1
    ax.set_title(shorten(name, most) + words, parse_math=False, pad=3)


def letter(ax: Axes, place: int, *, beyond: float = 4) -> None:
    """Write the letter of a panel left of its title, some points beyond its axis."""
    more, last = divmod(place, len(ascii_lowercase))
    style = {"fontsize": 8, "fontweight": "bold", "ha": "right", "annotation_clip": False, "gid": "letter"}
    # The titles of axes stand at one height, also those that are empty: only the axes know where.
    where = {"xycoords": ("axes fraction", ax.title), "textcoords": "offset points"}
    ax.annotate(ascii_lowercase[more - 1 : more] + ascii_lowercase[last], (0, 0), xytext=(-beyond, 0), **where, **style)


def shade(ax: Axes, window: xr.Dataset) -> list[Patch]:
    """Shade W.5 lightly and the window at its level darkly; return their legend."""
    level = float(window.attrs["level"])
    looks = [(one, fill) for one, fill in ((0.5, look().half), (level, look().window)) if one != 0.5 or level != 0.5]
    handles, drawn = [], []
    for one, fill in looks or [(level, look().window)]:
        pieces = level_pieces(window, one)
        for low, high in pieces:
            ax.axvspan(low, high, zorder=0, gid=f"window_{one:g}", **fill)
            drawn.append((one, low, high))
        if pieces:
            handles.append(Patch(label=f"probability ≥ {one:g}", **fill))
    if drawn:
        levels, lows, highs = np.array(drawn).T
        unit, order = units_of(window["window_lower"]), np.arange(len(drawn))
        keep(
            shaded_level=shown(levels, "level that a shaded interval reaches", shade=order),
            shaded_lower=shown(lows, "lower end of a shaded interval", unit, shade=order),
            shaded_upper=shown(highs, "upper end of a shaded interval", unit, shade=order),
        )
    return handles


def shades(windows: Sequence[xr.Dataset]) -> list[Patch]:
    """Return the legend of the shades that at least one of several panels has."""
    levels = [(0.5, look().half), *((float(one.attrs["level"]), look().window) for one in windows)]
    fills = {level: fill for level, fill in levels if any(level_pieces(one, level) for one in windows)}
    return [Patch(label=f"probability ≥ {level:g}", **fill) for level, fill in fills.items()]


def remark(words: str) -> Line2D:
    """Return an entry of a legend that explains an abbreviation."""
    return Line2D([], [], linestyle="none", label=words)


def shorten(text: object, most: int) -> str:
    """Return a name on one line, cut where it is too long."""
    words = printable(str(text))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def dosed(doses: np.ndarray, trial: xr.Dataset) -> xr.DataArray:
    """Return doses as a coordinate with the unit of a trial."""
    return xr.DataArray(doses, attrs={"units": units_of(trial["dose"]), "long_name": "dose"})


def units_of(variable: xr.DataArray) -> str:
    """Return the unit of a variable, "" where it has none."""
    return str(variable.attrs.get("units", ""))


def draw_data(ax: Axes, trial: xr.Dataset) -> Line2D:
    """Draw the responses, darker where circles overlap; return the legend.

    A response that is known within limits only is an arrow head at its limit, or a bar between both.
    """
    many = trial.sizes["observation"] > 60
    style = {"marker": "o", "linestyle": "none", "markersize": 2.4 if many else 3.2, "markeredgewidth": 0.5}
    style |= {"markeredgecolor": (0, 0, 0, 0.75), "markerfacecolor": (0, 0, 0, 0.18 if many else 0.25)}
    heavy = trial.sizes["observation"] > 2000
    dose, response = trial["dose"].values, trial["response"].values
    low, high = (trial[name].values if name in trial else np.full(dose.size, np.nan) for name in ("lower", "upper"))
    under, over, between = (
        np.isfinite(high) & ~np.isfinite(low),
        np.isfinite(low) & ~np.isfinite(high),
        np.isfinite(low) & np.isfinite(high) & (low != high),
    )
    whole = ~(under | over | between)
    shared = style | {"zorder": 3, "clip_on": False, "rasterized": heavy}
    ax.plot(dose[whole], response[whole], gid="data", **shared)
    for chosen, marker in ((under, "v"), (over, "^")):
        if chosen.any():
            ax.plot(dose[chosen], response[chosen], gid="limits", **shared | {"marker": marker})
    if between.any():
        ax.vlines(dose[between], low[between], high[between], color=style["markeredgecolor"], linewidth=0.8, zorder=3)
    error = _error_of(trial)
    if error is not None:
        ax.vlines(dose, response - error, response + error, color=style["markeredgecolor"], linewidth=0.6, zorder=2.9)
    _keep_rows(trial, {"observed_lower": low, "observed_upper": high, "observed_error": error})
    return Line2D([], [], label=f"{_row_words(trial)} (n = {trial.sizes['observation']})", **style)


def _keep_rows(trial: xr.Dataset, more: dict[str, np.ndarray | None]) -> None:
    unit, rows = units_of(trial["response"]), np.arange(trial.sizes["observation"])
    keep(
        observed_dose=shown(trial["dose"].values, "dose of a row", units_of(trial["dose"]), observation=rows),
        observed_response=shown(trial["response"].values, "response of a row", unit, observation=rows),
    )
    words = {"lower": "lowest possible response", "upper": "highest possible response", "error": "standard error"}
    for name, values in more.items():
        if values is not None and np.isfinite(values).any():
            keep(**{name: shown(values, f"{words[name.partition('_')[2]]} of a row", unit, observation=rows)})


def _error_of(trial: xr.Dataset) -> np.ndarray | None:
    """Standard errors of rows that are means, where they are known."""
    if "sd" in trial and "n" in trial:
        return np.nan_to_num(trial["sd"].values) / np.sqrt(trial["n"].values)
    return trial["se"].values if "se" in trial else None


def _row_words(trial: xr.Dataset) -> str:
    if "successes" in trial:
        return "shares of groups"
    if _error_of(trial) is not None:
        return "means and SEs"
    return "means of groups" if "n" in trial else "responses"


def crowds(trial: xr.Dataset, *, fewest: int = FEWEST) -> list[tuple[float, np.ndarray]]:
    """Return the responses at every dose that enough subjects had for their mean to show nobody."""
    dose, response = trial["dose"].values, trial["response"].values
    labels = trial["subject"].values if "subject" in trial else np.arange(dose.size)
    found = [(float(one), dose == one) for one in np.unique(dose)]
    return [(one, response[held]) for one, held in found if np.unique(labels[held]).size >= fewest]


def repeated(trial: xr.Dataset) -> list[tuple[float, np.ndarray]]:
    """Return the responses at every dose with several of them: their mean is no row."""
    dose, response = trial["dose"].values, trial["response"].values
    found = [(float(one), response[dose == one]) for one in np.unique(dose)]
    return [(one, group) for one, group in found if group.size > 1]


def is_binary(trial: xr.Dataset) -> bool:
    """Whether every response of an outcome is one of two, so that only their share can be drawn."""
    return is_share(trial) and "n" not in trial and bool(np.isin(trial["response"].values, (0.0, 1.0)).all())


def scatter(trial: xr.Dataset, group: np.ndarray) -> float:
    """Return the SD of responses, or the standard error of their share where each is one of two."""
    middle = group.mean()
    return float(np.sqrt(middle * (1 - middle) / group.size) if is_binary(trial) else group.std(ddof=1))


def draw_means(ax: Axes, trial: xr.Dataset, groups: Sequence[tuple[float, np.ndarray]], whose: str = "") -> Line2D:
    """Draw what stands for the rows at every dose, mean and SD or a share and its SE; return the legend."""
    style = {"marker": "o", "linestyle": "none", "markersize": 3.2, "markeredgewidth": 0.5, "color": INK}
    doses = np.array([one for one, _ in groups])
    means = np.array([group.mean() for _, group in groups])
    spreads = np.array([scatter(trial, group) for _, group in groups])
    ax.vlines(doses, means - spreads, means + spreads, color=INK, linewidth=0.7, zorder=3, clip_on=False)
    ax.plot(doses, means, gid="means", zorder=3.1, **style)
    words = f"{'share and SE' if is_binary(trial) else 'mean and SD'} {whose}at a dose"
    unit = units_of(trial["response"])
    keep(
        group_mean=shown(means, "mean response of a dose group", unit, group_dose=dosed(doses, trial)),
        group_spread=shown(spreads, "SD, or standard error of a share", unit, group_dose=dosed(doses, trial)),
    )
    return Line2D([], [], label=words, **style | {"linestyle": "-", "linewidth": 0.7})


def draw_rug(ax: Axes, trial: xr.Dataset) -> Line2D:
    """Mark the tested doses on the axis; return the legend."""
    tested = np.unique(trial["dose"].values)
    style = {"marker": "|", "linestyle": "none", "color": INK, "markersize": 6, "markeredgewidth": 0.9}
    inside = tested[tested > 0]
    ax.plot(inside, np.full(inside.size, 0.025), transform=ax.get_xaxis_transform(), gid="rug", **style)
    keep(tested_dose=shown(inside, "tested dose", units_of(trial["dose"]), tested=np.arange(inside.size)))
    return Line2D([], [], label="tested dose", **style)


@functools.cache
def formula_uri(latex: str) -> str:
    """Return a formula as an SVG data URI, or nothing where mathtext cannot set it."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE | {"mathtext.fontset": "cm"}):
        font = FontProperties(size=13)
        try:
            width, height, depth, *_ = MathTextParser("path").parse(f"${latex}$", dpi=72, prop=font)
        except ValueError:
            return ""
        figure = Figure(figsize=((width + 2) / 72, (height + 2) / 72))
        figure.text(1 / (width + 2), (depth + 1) / (height + 2), f"${latex}$", fontproperties=font)
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return data_uri(buffer)


def data_uri(buffer: io.BytesIO) -> str:
    """Return an SVG as a URI for a page that stands alone."""
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
