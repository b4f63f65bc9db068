"""How figures look and what they show: one style, two palettes, and the numbers behind every figure."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from hormesis_fit.wording import unknown

type Width = Literal["single", "double"]
type Palette = Literal["light", "print"]

SCREEN = 120  # dots per inch at which a notebook shows a figure
WIDTHS = {"single": 89 / 25.4, "double": 183 / 25.4}  # one and two columns of a journal [inch]
BESIDE = 20.0  # width that axis labels take from a panel [pt]
INK = "#1A1A1A"
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
    "hatch.linewidth": 0.5,
    "text.usetex": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "hormesis_fit",
    "savefig.dpi": 300,
}


@dataclass(frozen=True)
class Look:
    """What stands for what in one palette; fills are keyword arguments of patches, series those of lines.

    Attributes
    ----------
    line, mark, mean, quiet : str
        Colours of the answer's line, of the point to look at, of observed means, and of what stays behind.
    wide, narrow : dict
        Fills of 95 % and 50 % of a posterior.
    half, window : dict
        Fills of doses whose probability reaches 0.5, and the level asked for.
    hormetic, null : dict
        Fills of the two kinds of curves.
    broad : str
        Colour of a broad line under others.
    series : tuple of dict
        Colour and dashes of lines that have to be told apart.
    surface : Colormap
        Probabilities from 0 to 1.
    """

    line: str
    mark: str
    mean: str
    quiet: str
    wide: dict[str, Any]
    narrow: dict[str, Any]
    half: dict[str, Any]
    window: dict[str, Any]
    hormetic: dict[str, Any]
    null: dict[str, Any]
    broad: str
    series: tuple[dict[str, Any], ...]
    surface: Colormap


def _plain(colour: str) -> dict[str, Any]:
    return {"facecolor": colour, "linewidth": 0}


def _hatched(colour: str, hatch: str, strokes: str) -> dict[str, Any]:
    return {"facecolor": colour, "linewidth": 0, "hatch": hatch, "edgecolor": strokes}


def _outlined(colour: str, hatch: str | None = None) -> dict[str, Any]:
    return {"facecolor": colour, "edgecolor": INK, "linewidth": 0.5} | ({"hatch": hatch} if hatch else {})


DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (7, 1.5, 1, 1.5, 1, 1.5)))
# Okabe and Ito's colours, which colour-blind readers tell apart; they differ in lightness too.
BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
LOOKS: dict[str, Look] = {
    "light": Look(
        line=BLUE,
        mark=VERMILION,
        mean=ORANGE,
        quiet="#7F7F7F",
        wide=_plain("#C4DCED"),  # opaque, since blue through orange turns into mud
        narrow=_plain("#86B8DB"),
        half=_plain("#FBE8C8"),
        window=_plain("#F2B84B"),
        hormetic=_outlined(GREEN),
        null=_outlined("#D9D9D9", "//////"),
        broad="#99C7E5",
        series=tuple(
            {"color": one, "linestyle": dash}
            for one, dash in zip((BLUE, VERMILION, GREEN, ORANGE, PURPLE), DASHES, strict=True)
        ),
        surface=matplotlib.colormaps["cividis"],  # reads the same in grey, and for colour-blind eyes
    ),
    # Lightness in the order of meaning, and hatches where two greys would have to be compared across a figure.
    "print": Look(
        line="#000000",
        mark="#000000",
        mean="#FFFFFF",
        quiet="#595959",
        wide=_plain("#D9D9D9"),
        narrow=_plain("#A6A6A6"),
        half=_hatched("#FFFFFF", "......", "#A6A6A6"),
        window=_hatched("#F0F0F0", "//////", "#6E6E6E"),
        hormetic=_outlined("#595959"),
        null=_outlined("#FFFFFF", "//////"),
        broad="#BFBFBF",
        series=tuple(
            {"color": one, "linestyle": dash}
            for one, dash in zip(("#000000", "#4D4D4D", "#1A1A1A", "#737373", "#333333"), DASHES, strict=True)
        ),
        surface=LinearSegmentedColormap.from_list("paper", ["#FFFFFF", "#595959"]),
    ),
}


@dataclass
class _Sheet:
    """What is being drawn: in which look, under which name, and the numbers so far, by panel."""

    look: Look
    name: str
    panel: str = ""
    numbers: dict[str, dict[str, xr.DataArray]] = field(default_factory=dict)


_SHEET: ContextVar[_Sheet] = ContextVar("sheet")


def look() -> Look:
    """Return the look of the figure that is being drawn."""
    return _SHEET.get().look


def keep(**variables: xr.DataArray) -> None:
    """Put numbers that are drawn into the data of the figure, as `shown` makes them."""
    sheet = _SHEET.get()
    sheet.numbers.setdefault(sheet.panel, {}).update(variables)


@contextmanager
def panel(name: str) -> Iterator[None]:
    """Let what is drawn belong to a panel of the figure."""
    sheet = _SHEET.get()
    before, sheet.panel = sheet.panel, name.replace("/", "|")
    try:
        yield
    finally:
        sheet.panel = before


def shown(values: Any, words: str, units: str = "1", **coords: Any) -> xr.DataArray:
    """Return numbers with their name and unit, over dims whose coordinates are given in order."""
    labels = {
        name: (name, np.asarray(one), dict(one.attrs) if isinstance(one, xr.DataArray) else {})
        for name, one in coords.items()
    }
    array = xr.DataArray(np.asarray(values), dims=tuple(labels), coords=labels)
    return array.assign_attrs(long_name=words, units=units)


def styled[**P](plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this style and the palette asked for, keep the numbers drawn, and leave the user's style as it was."""

    @functools.wraps(plot)
    def drawn(*arguments: P.args, **options: P.kwargs) -> Figure:
        width, palette = options.get("width", "single"), str(options.get("palette", "light"))
        if width not in WIDTHS:
            raise ValueError(f'width must be "single" (89 mm) or "double" (183 mm), got {width!r}.')
        if palette not in LOOKS:
            raise ValueError(unknown("palette", palette, LOOKS))
        sheet = _Sheet(LOOKS[palette], plot.__name__.removeprefix("plot_"))
        token = _SHEET.set(sheet)
        try:
            with matplotlib.rc_context(STYLE):
                figure = plot(*arguments, **options)
        finally:
            _SHEET.reset(token)
        _attach(figure, sheet)
        return figure

    return drawn


def _attach(figure: Figure, sheet: _Sheet) -> None:
    """Put the numbers of a plot beside those of other plots in the same figure."""
    if not sheet.numbers:
        return
    root = figure.get_figure(root=True)
    known = root.__dict__.setdefault("_numbers", {})
    name, others = sheet.name, 2
    while name in known:
        name, others = f"{sheet.name}_{others}", others + 1
    known[name] = sheet.numbers


def figure_data(figure: Figure) -> xr.DataTree:
    """Return the numbers that a figure shows.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        As a ``plot_...`` function returns it, or a figure of your own in whose axes they drew.

    Returns
    -------
    DataTree
        A group for every plot in the figure, such as ``"window"``, and inside it one for every panel, where there are
        several. Every variable has ``units`` and ``long_name``; rows of subjects are there only if they are drawn.

    Raises
    ------
    ValueError
        If nothing in the figure was drawn by this package.

    Examples
    --------
    >>> figure = plot_window(fit)  # doctest: +SKIP
    >>> figure_data(figure)["window"]["mean_response"].sel(quantile=0.5)  # doctest: +SKIP
    """
    known: Mapping[str, dict[str, dict[str, xr.DataArray]]] = figure.get_figure(root=True).__dict__.get("_numbers", {})
    if not known:
        raise ValueError("The figure holds nothing that a plot_... function drew: give the figure that it returned.")
    return xr.DataTree.from_dict(
        {
            f"/{name}/{panel}".rstrip("/"): xr.merge(
                [variables[one].rename(one).reset_coords(drop=True) for one in variables], join="exact"
            )
            for name, panels in known.items()
            for panel, variables in panels.items()
        }
    )


class Picture(Figure):
    """A figure of this package: a notebook shows it by itself, and whoever saves it gets its style and fonts."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        FigureCanvasAgg(self)
        self.handles: list[Any] = []  # of a legend that several plots share
        self.beside: float = BESIDE

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Save with fonts that are embedded (PDF) or outlined (SVG), and 300 dots per inch."""
        with matplotlib.rc_context(STYLE):
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * SCREEN)
        width, height = self.get_size_inches()
        return buffer.getvalue(), {"width": round(SCREEN * width), "height": round(SCREEN * height)}
