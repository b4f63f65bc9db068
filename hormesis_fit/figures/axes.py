"""The dose axis of every figure, linear at 0 and logarithmic beyond an honest break, and a curve over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter

from hormesis_fit.figures.drawing import dosed, label, number, room, units_of, with_unit, written
from hormesis_fit.figures.palette import INK, STYLE, keep, look, shown
from hormesis_fit.windows.posterior import domain

# Letters of their own: an exponent of mathtext would be too small to read.
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
LEVELS = [0.025, 0.25, 0.5, 0.75, 0.975]


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
        shown = self._legible(ax, [0.0, *major] if self.zero else major, show or _plain)
        ax.xaxis.set_major_locator(FixedLocator(shown))
        ax.xaxis.set_major_formatter(FixedFormatter([(show or _plain)(dose) for dose in shown]))
        ax.xaxis.set_minor_locator(FixedLocator([dose for dose in minor if dose not in shown]))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(label, parse_math=False)

    def _legible(self, ax: Axes, doses: list[float], show: Callable[[float], str]) -> list[float]:
        """Leave out doses whose labels would touch the one before them."""
        left, right = self.forward(np.array(ax.get_xlim()))
        places = (self.forward(np.array(doses)) - left) / (right - left) * room(ax)
        kept, end = [], -np.inf
        for dose, place in zip(doses, places, strict=True):
            half = written(show(dose), STYLE["xtick.labelsize"]) / 2
            if place - half > end + 3:
                kept.append(dose)
                end = place + half
        return kept

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
    lead, power = round(dose / 10.0**exponent), f"10{str(exponent).translate(RAISED)}"
    return power if lead == 1 else f"{lead}·{power}"


def dose_axis(ax: Axes, trial: xr.Dataset, *, zero: bool = True, named: bool = True, shares: bool = False) -> DoseAxis:
    """Give axes the doses of a trial, from well below to well above the tested ones.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to change.
    trial : Dataset
        dims (observation,).
    zero : bool
        Whether dose 0 has a place, left of a break.
    named : bool
        Whether the axis has a label.
    shares : bool
        Whether a trial with a standard dose gets an axis on top, in per cent of it.

    Returns
    -------
    DoseAxis
    """
    axis = DoseAxis(*domain(trial), zero=zero)
    axis.apply(ax, label(trial["dose"], "dose") if named else "")
    if zero:
        axis.mark_break(ax)
    if shares and "standard_dose" in trial.attrs:
        standard, unit = float(trial.attrs["standard_dose"]), str(trial["dose"].attrs.get("units", ""))
        twin = ax.twiny()
        twin.spines["top"].set_visible(True)
        scaled = DoseAxis(axis.low / standard * 100, axis.high / standard * 100, zero=zero)
        scaled.apply(twin, f"% of the standard dose ({with_unit(number(standard), unit)})")
        if zero:
            scaled.mark_break(twin, height=1.0)
    return axis


def draw_response(
    ax: Axes,
    axis: DoseAxis,
    curve: xr.DataArray,
    control: np.ndarray | None,
    trial: xr.Dataset,
    *,
    words: str = "mean response",
    inner: bool = True,
    dashed: bool = True,
) -> list:
    """Draw median and bands of draws of a mean response; return their legend.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw in.
    axis : DoseAxis
        Its dose axis.
    curve : DataArray
        Draws over ``dose`` and other dims [response].
    control : numpy.ndarray, optional
        Draws of the response to dose 0 [response]; without them nothing is drawn there.
    trial : Dataset
        Its doses and units.
    words : str
        What the curve is.
    inner : bool
        Whether the 50 % interval is drawn, too.
    dashed : bool
        Whether the line is dashed where no dose was tested.

    Returns
    -------
    list
    """
    dose, tested = curve["dose"].values, trial["dose"].values[trial["dose"].values > 0]
    bands = (
        curve.quantile(LEVELS, dim=[dim for dim in curve.dims if dim != "dose"]).transpose("quantile", "dose").values
    )
    at_zero = np.full(5, np.nan) if control is None else np.quantile(control, LEVELS)
    stub, shades = axis.around_zero(), [(0, 4, look().wide, "95"), (1, 3, look().narrow, "50")]
    for first, last, fill, name in shades[: 1 + inner]:
        ax.fill_between(dose, bands[first], bands[last], zorder=1, gid=f"band_{name}", **fill)
        if control is not None:
            ax.fill_between(stub, at_zero[first], at_zero[last], zorder=1, gid=f"control_{name}", **fill)
    inside = (dose >= tested.min()) & (dose <= tested.max()) if dashed else np.full(dose.size, True)
    line = {"color": look().line, "linewidth": 1.2, "zorder": 2.5}
    if dashed:
        beyond = line | {"linewidth": 0.9, "linestyle": (0, (3, 1.5)), "zorder": 2.4}
        ax.plot(dose, bands[2], gid="median_outside", **beyond)
    ax.plot(dose[inside], bands[2][inside], gid="median", **line)
    if control is not None:
        ax.plot(stub, [at_zero[2]] * 2, gid="median_control", **line)
        dose, bands = np.insert(dose, 0, 0.0), np.insert(bands, 0, at_zero, axis=1)
    kept = slice(None) if inner else slice(None, None, 2)
    unit = units_of(trial["response"])
    keep(mean_response=shown(bands[kept], words, unit, quantile=LEVELS[kept], dose=dosed(dose, trial)))
    handles = [Line2D([], [], color=look().line, linewidth=1.2, label=f"{words}, median")]
    names = ("its 95 % interval", "its 50 % interval")
    return handles + [
        Patch(label=name, **fill) for name, (*_, fill, _) in list(zip(names, shades, strict=True))[inner::-1]
    ]
