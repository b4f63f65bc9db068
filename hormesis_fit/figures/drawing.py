"""What all figures share: their style, a dose axis that shows dose 0, and numbers short enough to be drawn."""

from __future__ import annotations

import base64
import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter

from hormesis_fit.phrases import is_share, printable, whose_words
from hormesis_fit.windows.posterior import domain
from hormesis_fit.windows.windowing import level_pieces

type Width = Literal["single", "double"]

FEWEST = 3  # subjects at a dose, for their mean to be shown where rows are not
SCREEN = 120  # dots per inch at which a notebook shows a figure
WIDTHS = {"single": 89 / 25.4, "double": 183 / 25.4}  # one and two columns of a journal [inch]
# Okabe and Ito's colours, which colour-blind readers tell apart; they differ in lightness too.
BLUE, ORANGE, GREEN, VERMILION, GREY, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7F7F7F", "#1A1A1A"
LIGHT, DARK = "#FBE8C8", "#F2B84B"  # W.5 and the window at the level asked for
WIDE, NARROW = "#C4DCED", "#86B8DB"  # 95 % and 50 %; opaque, since blue through orange turns into mud
STYLE = {
    "font.size": 7,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 7,
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.8,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "text.usetex": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "hormesis_fit",
    "savefig.dpi": 300,
}


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


@dataclass(frozen=True)
class DoseAxis:
    """A dose axis, logarithmic from `low` to `high`, with dose 0 at a place of its own left of a break."""

    low: float
    high: float
    zero: bool

    @property
    def decades(self) -> float:
        """Width of the logarithmic part."""
        return float(np.log10(self.high / self.low))

    @property
    def origin(self) -> float:
        """Position of dose 0, where the position of any other dose is its decimal logarithm."""
        return float(np.log10(self.low)) - 0.12 * self.decades

    def forward(self, dose: np.ndarray) -> np.ndarray:
        """Map doses to positions: linear below `low`, where nothing is drawn but the break."""
        dose = np.asarray(dose, dtype=float)
        start = np.log10(self.low)
        linear = self.origin + dose / self.low * (start - self.origin)
        return np.where(dose > self.low, np.log10(np.maximum(dose, self.low)), linear)

    def inverse(self, position: np.ndarray) -> np.ndarray:
        """Map positions to doses."""
        position = np.asarray(position, dtype=float)
        start = np.log10(self.low)
        linear = (position - self.origin) / (start - self.origin) * self.low
        return np.where(position > start, 10.0 ** np.maximum(position, start), linear)

    def around_zero(self) -> np.ndarray:
        """Two doses on either side of 0, a little stroke apart."""
        return self.inverse(np.array([self.origin - 0.025 * self.decades, self.origin + 0.025 * self.decades]))

    def ticks(self) -> tuple[list[float], list[float]]:
        """Doses with and without a label."""
        powers = range(int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high))) + 1)
        inside = {k: [m * 10.0**k for m in range(1, 10) if self.low <= m * 10.0**k <= self.high] for k in powers}
        steps = (1,) if self.decades > 2.7 else (1, 3) if self.decades > 1.6 else (1, 2, 5)
        every = 2 if self.decades > 7 else 1
        major = [m * 10.0**k for k in powers if k % every == 0 for m in steps if self.low <= m * 10.0**k <= self.high]
        return major, [dose for k in powers for dose in inside[k]] if every == 1 else [10.0**k for k in powers]

    def apply(self, ax: Axes, label: str, *, show: Callable[[float], str] | None = None) -> None:
        """Give an axis this scale, its ticks and the mark of its break."""
        ax.set_xscale("function", functions=(self.forward, self.inverse))
        edge = self.inverse(np.array([self.origin - 0.05 * self.decades]))[0] if self.zero else self.low
        ax.set_xlim(edge, self.high)
        major, minor = self.ticks()
        shown = [0.0, *major] if self.zero else major
        ax.xaxis.set_major_locator(FixedLocator(shown))
        ax.xaxis.set_major_formatter(FixedFormatter([(show or _plain)(dose) for dose in shown]))
        ax.xaxis.set_minor_locator(FixedLocator([dose for dose in minor if dose not in major]))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(label, parse_math=False)

    def mark_break(self, ax: Axes, height: float = 0.0) -> None:
        """Draw two strokes through the axis line between dose 0 and the lowest dose shown."""
        middle = (self.origin + np.log10(self.low)) / 2
        ends = self.inverse(middle + np.array([-0.011, 0.011]) * self.decades)
        shared = {"transform": ax.get_xaxis_transform(), "clip_on": False, "gid": "axis_break"}
        ax.plot(ends, [height, height], color="white", linewidth=2.5, zorder=5, solid_capstyle="butt", **shared)
        slash = {"marker": [(-0.5, -1), (0.5, 1)], "markersize": 5, "markeredgewidth": 0.6, "markeredgecolor": INK}
        ax.plot(ends, [height, height], linestyle="none", zorder=6, **slash, **shared)


def _plain(dose: float) -> str:
    if dose == 0 or 1e-4 <= dose < 1e5:
        return f"{dose:g}"
    exponent = int(np.floor(np.log10(dose) + 1e-9))
    lead = round(dose / 10.0**exponent)
    return f"$10^{{{exponent}}}$" if lead == 1 else f"${lead}\\cdot 10^{{{exponent}}}$"


def styled(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in this module's style and leave the user's as it was."""

    @functools.wraps(plot)
    def drawn(*arguments, **options) -> Figure:
        with matplotlib.rc_context(STYLE):
            return plot(*arguments, **options)

    return drawn


class Picture(Figure):
    """A figure that a notebook shows by itself, with or without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(buffer, format="png", dpi=2 * SCREEN)
        width, height = self.get_size_inches()
        return buffer.getvalue(), {"width": round(SCREEN * width), "height": round(SCREEN * height)}


def canvas(ax: Axes | None, width: Width, height: float) -> tuple[Figure, Axes]:
    """Return the figure and the axes to draw in; `height` is relative to the width."""
    if ax is not None:
        return ax.figure, ax
    if width not in WIDTHS:
        raise ValueError(f'width must be "single" (89 mm) or "double" (183 mm), got {width!r}.')
    inches = WIDTHS[width]
    # Two columns wide, a figure of the same proportions would fill half a page.
    size = (inches, inches * height if width == "single" else WIDTHS["single"] * height * 1.15)
    figure = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def legend(figure: Figure, ax: Axes, handles: Sequence, *, own: bool, columns: int) -> None:
    """Put the legend below a figure of our own, where it can hide nothing, or into axes that were given."""
    if own:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1.8, columnspacing=1.1)
    else:
        ax.legend(handles=handles)


def title(ax: Axes, text: str, width: Width = "single") -> None:
    """Write a sentence above the axes, broken to the width of the figure."""
    ax.set_title("\n".join(textwrap.wrap(text, 60 if width == "single" else 130)), parse_math=False)


def shade(ax: Axes, window: xr.Dataset) -> list[Patch]:
    """Shade W.5 lightly and the window at its level darkly; return their legend."""
    level = float(window.attrs["level"])
    shades = [(one, colour) for one, colour in ((0.5, LIGHT), (level, DARK)) if one != 0.5 or level != 0.5]
    handles = []
    for one, colour in shades or [(level, DARK)]:
        pieces = level_pieces(window, one)
        for low, high in pieces:
            ax.axvspan(low, high, color=colour, linewidth=0, zorder=0, gid=f"window_{one:g}")
        if pieces:
            handles.append(Patch(color=colour, linewidth=0, label=f"probability ≥ {one:g}"))
    return handles


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
    return Line2D([], [], label=f"{_row_words(trial)} (n = {trial.sizes['observation']})", **style)


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
    for one, group in groups:
        middle, spread = group.mean(), scatter(trial, group)
        ax.plot([one, one], [middle - spread, middle + spread], color=INK, linewidth=0.7, zorder=3, clip_on=False)
    ax.plot([one for one, _ in groups], [group.mean() for _, group in groups], gid="means", zorder=3.1, **style)
    words = f"{'share and SE' if is_binary(trial) else 'mean and SD'} {whose}at a dose"
    return Line2D([], [], label=words, **style | {"linestyle": "-", "linewidth": 0.7})


def draw_rug(ax: Axes, trial: xr.Dataset) -> Line2D:
    """Mark the tested doses on the axis; return the legend."""
    tested = np.unique(trial["dose"].values)
    style = {"marker": "|", "linestyle": "none", "color": INK, "markersize": 6, "markeredgewidth": 0.9}
    ax.plot(
        tested[tested > 0], np.full((tested > 0).sum(), 0.025), transform=ax.get_xaxis_transform(), gid="rug", **style
    )
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
