"""The probability of a benefit over dose, exact for given draws, and the intervals where it reaches a level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Exceedance:
    """Probability of the benefit as a step function of dose, exact for given draws and weights."""

    lower: np.ndarray  # sorted lower edges, with their weights
    lower_weight: np.ndarray
    upper: np.ndarray  # sorted upper edges, with theirs
    upper_weight: np.ndarray
    domain: tuple[float, float]
    prob_exists: float
    noise: float  # Monte Carlo error of a probability of one half

    @classmethod
    def of(
        cls, solved: Sequence[Mapping[str, np.ndarray]], weights: np.ndarray, domain: tuple[float, float]
    ) -> Exceedance:
        """Collect the edges of all curves."""
        share = np.concatenate(
            [np.full(len(one["exists"]), w / len(one["exists"])) for one, w in zip(solved, weights, strict=True)]
        )
        exists = np.concatenate([one["exists"] for one in solved])
        lower, upper = (
            np.concatenate([one[name] for one in solved])[exists] for name in ("window_lower", "window_upper")
        )
        kept = share[exists]
        up, down = np.argsort(lower), np.argsort(upper)
        noise = 0.5 * float(np.sqrt(np.sum(share**2)))
        return cls(lower[up], kept[up], upper[down], kept[down], domain, float(kept.sum()), noise)

    def __call__(self, dose: np.ndarray) -> np.ndarray:
        """Return the probability that each dose has the benefit, shape (dose,)."""
        begun = np.concatenate([[0.0], np.cumsum(self.lower_weight)])[np.searchsorted(self.lower, dose, side="right")]
        ended = np.concatenate([[0.0], np.cumsum(self.upper_weight)])[np.searchsorted(self.upper, dose, side="left")]
        return np.clip(begun - ended, 0.0, 1.0)

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all edges inside the domain with the domain's ends, and the probability between neighbours."""
        low, high = self.domain
        edges = np.concatenate([self.lower, self.upper])
        edges = np.unique(np.concatenate([[low], edges[(edges > low) & (edges < high)], [high]]))
        return edges, self(np.sqrt(edges[:-1] * edges[1:]))

    def pieces(self, level: float) -> list[tuple[float, float]]:
        """Return the intervals of doses whose probability reaches a level.

        Gaps in which the probability stays within its Monte Carlo error of the level are no gaps, but rags of an edge.
        """
        edges, heights = self.steps()
        inside = heights >= level
        starts = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
        ends = np.flatnonzero(inside & ~np.concatenate([inside[1:], [False]]))
        tolerance = 4 * self.noise * np.sqrt(level * (1 - level))
        merged: list[tuple[float, float]] = []
        last = 0
        for start, end in zip(starts, ends, strict=True):
            piece = float(np.log(edges[start])), float(np.log(edges[end + 1]))
            close = bool(merged) and heights[last + 1 : start].min() >= level - tolerance
            merged[-1:] = [_joined(merged[-1], piece)] if close else [*merged[-1:], piece]
            last = end
        return [(self._clipped(low), self._clipped(high)) for low, high in merged]

    def _clipped(self, log_dose: float) -> float:
        """A dose inside the domain, whose ends survive the way through the logarithm."""
        dose = float(np.clip(np.exp(log_dose), *self.domain))
        return next((end for end in self.domain if math.isclose(dose, end, rel_tol=1e-12)), dose)

    def best(self) -> tuple[float, float]:
        """Return the dose with the highest probability, and that probability.

        The top of a step function of draws is ragged: the dose is the log-middle of the piece that reaches the maximum
        within its Monte Carlo error.
        """
        edges, heights = self.steps()
        highest = float(heights.max())
        if highest <= 0:
            return float("nan"), 0.0
        near = self.pieces(max(highest - self.noise, highest / 2))
        middle = float(np.sqrt(edges[np.argmax(heights)] * edges[np.argmax(heights) + 1]))
        low, high = nearest_piece(near, middle)
        return float(np.sqrt(low * high)), highest


def _joined(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    """Join two intervals whose gap is noise.

    A rag of an edge adds its length and not its gap: the edge then neither lags behind the level's crossing nor runs
    ahead of it.
    """
    first, gap, second = left[1] - left[0], right[0] - left[1], right[1] - right[0]
    if min(first, second) > 4 * gap:
        return left[0], right[1]
    return (left[0], left[1] + second) if first >= second else (right[0] - first, right[1])


def nearest_piece(pieces: Sequence[tuple[float, float]], dose: float) -> tuple[float, float] | None:
    """Return the interval that holds a dose, or is nearest to it on the log axis; None without any."""
    return min(pieces, key=lambda piece: max(piece[0] / dose, dose / piece[1], 1.0), default=None)
