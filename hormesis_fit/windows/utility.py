"""The expected utility of a dose, its optimum and its regret."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from hormesis_fit.windows.posterior import Member

FLOOR = -1000.0  # a mean without bound, at a dose far away, must not hide all others
CAP = 2.0  # twice the benefit asked for is worth no more than that


@dataclass(frozen=True)
class Utility:
    """Expected utility of a dose: the benefit in units of the one asked for, capped."""

    group: Sequence[Member]
    thresholds: Sequence[np.ndarray]

    @classmethod
    def of(cls, group: Sequence[Member], thresholds: Sequence[np.ndarray], most: int = 1000) -> Utility:
        """Take the curves that carry weight, at no more than `most` draws each."""
        kept = [(member, limit) for member, limit in zip(group, thresholds, strict=True) if member.weight > 1e-4]
        thinned = [np.arange(0, member.size, max(member.size // most, 1)) for member, _ in kept]
        return cls(
            [member.take(which) for (member, _), which in zip(kept, thinned, strict=True)],
            [limit[which] for (_, limit), which in zip(kept, thinned, strict=True)],
        )

    def each(self, doses: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the share of each curve, and the utility of its draws at doses, shape (sample, dose)."""
        total = sum(member.weight for member in self.group)
        for member, limit in zip(self.group, self.thresholds, strict=True):
            gains = np.broadcast_to(member.gain(doses[None, :]), (member.size, len(doses)))
            scale = np.where(limit > 0, limit, 1.0)[:, None]
            yield member.weight / total, np.clip((gains - np.minimum(limit, 0)[:, None]) / scale, FLOOR, CAP)

    def expected(self, doses: np.ndarray) -> np.ndarray:
        """Return the expected utility, shape (dose,)."""
        return sum(weight * utility.mean(axis=0) for weight, utility in self.each(doses))

    def best_possible(self, doses: np.ndarray) -> float:
        """Return the expected utility if every draw could have its own best dose."""
        return float(sum(weight * utility.max(axis=1).mean() for weight, utility in self.each(doses)))

    def optimum(self, doses: np.ndarray) -> tuple[float, float, float, tuple[float, float]]:
        """Return the best dose, the utility of perfect knowledge, the smallest regret, and the near-optimal doses."""
        expected = self.expected(doses)
        top = int(np.argmax(expected))
        near = np.log(doses[max(top - 1, 0)]), np.log(doses[min(top + 1, len(doses) - 1)])
        found = minimize_scalar(lambda u: -self.expected(np.exp([u]))[0], bounds=near, method="bounded")
        best, value = (np.exp(found.x), -found.fun) if -found.fun > expected[top] else (doses[top], expected[top])
        ceiling = self.best_possible(np.append(doses, best))
        smallest = max(ceiling - value, 0.0)

        limit = ceiling - 1.1 * smallest - 1e-12  # of the expected utility of a dose that is nearly as good

        def excess(u: float) -> float:
            return limit - self.expected(np.exp([u]))[0]

        return float(best), ceiling, float(smallest), _around(doses, expected < limit, float(best), excess)


def _around(doses: np.ndarray, bad: np.ndarray, best: float, excess: Callable[[float], float]) -> tuple[float, float]:
    """Edges, by root finding, of the doses around the best one that are nearly as good."""
    left, right = np.flatnonzero(bad & (doses < best)), np.flatnonzero(bad & (doses > best))
    low, high = float(doses[0]), float(doses[-1])
    if left.size and excess(np.log(best)) < 0:
        low = float(np.exp(brentq(excess, np.log(doses[left[-1]]), np.log(best))))
    if right.size and excess(np.log(best)) < 0:
        high = float(np.exp(brentq(excess, np.log(best), np.log(doses[right[0]]))))
    return low, high
