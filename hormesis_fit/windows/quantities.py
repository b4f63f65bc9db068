"""Peak, edges and zero-equivalent dose of every draw, by root finding on the log-dose axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize.elementwise import find_minimum, find_root

from hormesis_fit.windows.posterior import Member, domain


def solve(member: Member, threshold: np.ndarray, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the quantities of every draw, each of shape (sample,)."""
    crossing = Crossings.of(member, trial)
    lower, upper = crossing.window(threshold)
    low, high = domain(trial)
    exists = (lower <= high) & (upper >= low)
    return crossing.landmarks() | {
        "half_effect_dose": _half_effect(member, crossing),
        "window_lower": np.where(exists, lower, np.nan),
        "window_upper": np.where(exists, upper, np.nan),
        "exists": exists,
    }


def _search_grid(trial: xr.Dataset) -> np.ndarray:
    """Log doses, dense where a peak can be told from the data and coarse far out."""
    low, high = np.log(domain(trial))
    inside = np.linspace(low - 2, high + 1, max(64, int((high - low + 3) / 0.14)))
    return np.concatenate([np.linspace(low - 30, low - 2, 29)[:-1], inside, np.linspace(high + 1, high + 20, 20)[1:]])


def _at(member: Member, log_dose: np.ndarray) -> np.ndarray:
    return np.broadcast_to(member.gain(np.exp(log_dose)[:, None]), (member.size, 1))[:, 0]


def _peaks(member: Member, grid: np.ndarray, gains: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log doses of the highest gain, and whether it lies inside the search grid."""
    height = np.take_along_axis(gains, top[:, None], axis=1)[:, 0]
    # A plateau, whose highest point is an accident of rounding, is no peak: the gain has to fall again.
    inner = (top > 0) & (gains[:, -1] < height - 1e-9 * np.abs(height))
    peak = grid[top].astype(float)
    chosen = np.flatnonzero(inner)
    if chosen.size:
        part = member.take(chosen)
        bracket = tuple(grid[top[chosen] + shift] for shift in (-1, 0, 1))
        index = np.arange(chosen.size, dtype=float)
        found = find_minimum(_negative_gain(part), bracket, args=(index,), tolerances={"xatol": 1e-7, "xrtol": 1e-9})
        # A plateau within rounding has no bracketed minimum: its middle grid point is as good as any.
        peak[chosen] = np.where(np.isfinite(found.x), found.x, bracket[1])
    return peak, inner


def _negative_gain(part: Member) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda log_dose, index: -_subset_gain(part, log_dose, index)


def _subset_gain(part: Member, log_dose: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Gain of some draws, each at a dose of its own: SciPy's solvers drop the draws that have converged."""
    return part.gain(np.exp(log_dose)[:, None], index.astype(int))[:, 0] + 0 * log_dose


@dataclass(frozen=True)
class Crossings:
    """Doses at which the gain of every draw crosses a level, on either side of its peak."""

    member: Member
    grid: np.ndarray
    gains: np.ndarray  # (sample, grid)
    peak: np.ndarray  # log dose
    inner: np.ndarray  # whether it is a peak inside the grid, not the end of a slope or a plateau

    @classmethod
    def of(cls, member: Member, trial: xr.Dataset) -> Crossings:
        """Find the peak of every draw."""
        grid = _search_grid(trial)
        gains = np.broadcast_to(member.gain(np.exp(grid)[None, :]), (member.size, len(grid)))
        top = np.argmax(gains, axis=1)
        peak, inner = _peaks(member, grid, gains, top)
        return cls(member, grid, gains, np.where(inner, peak, grid[top]), inner)

    def landmarks(self) -> dict[str, np.ndarray]:
        """Return the peak and the zero-equivalent dose of every draw, NaN where there is none."""
        curve, control = self.member.curve, self.member.control
        height = np.where(self.inner, _at(self.member, self.peak), np.nan)
        positive = self.inner & (height > 0)
        # A control of exactly 0, as of differences within people, has nothing to be relative to.
        size = np.where(control == 0, np.nan, np.abs(control))
        zero = self.descent(np.zeros(self.member.size))
        return {
            "peak_dose": np.where(positive, np.exp(self.peak), np.nan),
            "peak_response": np.where(positive, control + curve.sign * height, np.nan),
            "peak_stimulation": np.where(positive, height / size, np.nan),
            "zero_equivalent_dose": np.where(positive & np.isfinite(zero), zero, np.nan),
        }

    def reached(self, level: np.ndarray) -> np.ndarray:
        """Whether the highest gain is at least a level."""
        return np.maximum(_at(self.member, self.peak), self.gains.max(axis=1)) >= level

    def window(self, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper edge; (inf, -inf), an empty interval, where the threshold is not reached."""
        reached = self.reached(threshold)
        lower, upper = self.ascent(threshold), self.descent(threshold)
        return np.where(reached, lower, np.inf), np.where(reached, upper, -np.inf)

    def rise(self, level: np.ndarray) -> np.ndarray:
        """Return the dose left of the peak that reaches a level above 0, NaN where there is none."""
        reached = self.reached(level)
        return np.where(reached, self.ascent(np.where(reached, level, np.nan)), np.nan)

    def fall(self, level: np.ndarray) -> np.ndarray:
        """Return the dose right of the peak where the gain falls to a level, NaN where it never does."""
        reached = self.reached(level)
        dose = self.descent(np.where(reached, level, np.nan))
        return np.where(reached & np.isfinite(dose), dose, np.nan)

    def ascent(self, level: np.ndarray) -> np.ndarray:
        """Return the dose left of the peak that reaches a level; 0 where every dose down to 0 does."""
        # Left of the peak itself: the highest grid point may lie on its other side.
        below = (self.gains < level[:, None]) & (self.grid < self.peak[:, None])
        last = len(self.grid) - 1 - np.argmax(below[:, ::-1], axis=1)
        there = below.any(axis=1)
        right = np.minimum(self.grid[np.minimum(last + 1, len(self.grid) - 1)], self.peak)
        root = self._root(self.grid[last], right, level, there)
        return np.where(there, np.exp(root), 0.0)

    def descent(self, level: np.ndarray) -> np.ndarray:
        """Return the dose right of the peak where the gain falls to a level; inf where it never does."""
        below = (self.gains < level[:, None]) & (self.grid > self.peak[:, None])
        first = np.argmax(below, axis=1)
        there = below.any(axis=1)
        left = np.maximum(self.grid[np.maximum(first - 1, 0)], self.peak)
        root = self._root(left, self.grid[first], level, there)
        return np.where(there, np.exp(root), np.inf)

    def _root(self, left: np.ndarray, right: np.ndarray, level: np.ndarray, there: np.ndarray) -> np.ndarray:
        result = np.full(len(left), np.nan)
        chosen = np.flatnonzero(there)
        if chosen.size:
            part, wanted = self.member.take(chosen), level[chosen]
            ends = np.minimum(left[chosen], right[chosen]), np.maximum(left[chosen], right[chosen])
            index = np.arange(chosen.size, dtype=float)

            def miss(log_dose: np.ndarray, which: np.ndarray) -> np.ndarray:
                return _subset_gain(part, log_dose, which) - wanted[which.astype(int)]

            found = find_root(miss, ends, args=(index,), tolerances={"xatol": 1e-9, "xrtol": 1e-12})
            # The peak itself may sit on the level within rounding: then it is the edge.
            result[chosen] = np.where(np.isfinite(found.x), found.x, self.peak[chosen])
        return result


def _half_effect(member: Member, crossing: Crossings) -> np.ndarray:
    """Dose of half the span beyond the peak (of half the rise, for a rising curve), shape (sample,)."""
    endless = member.curve.link == "log" and member.curve.sign < 0 and member.curve.trend == "falling"
    if endless or member.curve.trend in ("returning", "open"):
        return np.full(member.size, np.nan)
    half = member.depth / 2
    if member.curve.trend == "rising":
        return crossing.rise(half)
    dose = crossing.descent(-half)
    return np.where(np.isfinite(dose), dose, np.nan)
