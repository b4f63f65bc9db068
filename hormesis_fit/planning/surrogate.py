"""What further rows would teach, by normal moments of the draws or by weighing the draws anew; the best set of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

NARROWEST = 1e-4  # variance below which an edge counts as known
PASSES = 2  # through the set, looking for a better dose in place of each


@dataclass(frozen=True)
class Surrogate:
    """Targets and mean responses at the candidates as jointly normal, after some rows."""

    own: np.ndarray  # (target, target), covariance of the targets
    cross: np.ndarray  # (target, candidate), of the targets with the means
    means: np.ndarray  # (candidate, candidate), of the means
    noise: np.ndarray  # (candidate,)
    pulls: tuple[np.ndarray, ...] = ()  # what each row moves the targets by, per standard deviation of its surprise

    @classmethod
    def of(cls, targets: np.ndarray, means: np.ndarray, noise: np.ndarray, weights: np.ndarray) -> Surrogate:
        """Take the moments of weighted draws: `targets` of shape (sample, target), `means` (sample, candidate)."""
        share = (weights / weights.sum())[:, None]
        one, other = targets - (share * targets).sum(axis=0), means - (share * means).sum(axis=0)
        # Where no row scatters, as at a probability of 0 or 1, a floor keeps the numbers finite.
        floor = 1e-9 * np.maximum(noise.max(), np.square(other).max() + 1e-300)
        return cls(one.T @ (share * one), one.T @ (share * other), other.T @ (share * other), np.maximum(noise, floor))

    def after(self, row: int) -> Surrogate:
        """Return it after one more row at a candidate."""
        scale = math.sqrt(max(self.means[row, row], 0.0) + self.noise[row])
        pull, common = self.cross[:, row] / scale, self.means[:, row] / scale
        return replace(
            self,
            own=self.own - np.outer(pull, pull),
            cross=self.cross - np.outer(pull, common),
            means=self.means - np.outer(common, common),
            pulls=(*self.pulls, pull),
        )

    def shares(self) -> np.ndarray:
        """Return the information of one more row at each candidate about the targets, shape (candidate,) [nat]."""
        explained = np.einsum("tk,tk->k", self.cross, np.linalg.pinv(self.own, hermitian=True) @ self.cross)
        total = np.maximum(np.diagonal(self.means), 0.0) + self.noise
        return -0.5 * np.log1p(-np.clip(explained / total, 0.0, 1 - 1e-12))


class Goal(Protocol):
    """What rows are chosen for."""

    def values(self) -> np.ndarray:
        """Return what the rows so far, and one more at each candidate, are worth, shape (candidate,)."""

    def after(self, row: int) -> Self:
        """Return it after one more row."""


@dataclass(frozen=True)
class Information:
    """Information about the existence and the edges of a window."""

    prob_exists: float
    existence: Surrogate | None
    edges: Surrogate | None
    learned: tuple[float, float] = (0.0, 0.0)

    def _parts(self) -> list[np.ndarray]:
        both = self.existence, self.edges
        size = next(len(one.noise) for one in both if one is not None)
        shares = [np.zeros(size) if one is None else one.shares() for one in both]
        return [former + share for former, share in zip(self.learned, shares, strict=True)]

    def values(self) -> np.ndarray:
        """Return what the rows so far, and one more at each candidate, are worth, shape (candidate,) [nat]."""
        existence, edges = self._parts()
        share = self.prob_exists
        entropy = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
        # No more can be learned about a yes or no than its entropy.
        bounded = entropy * -np.expm1(-existence / entropy) if entropy > 0 else 0.0
        return bounded + share * edges

    def after(self, row: int) -> Information:
        """Return it after one more row."""
        learned = tuple(float(part[row]) for part in self._parts())
        moved = [None if one is None else one.after(row) for one in (self.existence, self.edges)]
        return Information(self.prob_exists, *moved, learned)


@dataclass(frozen=True)
class Reweighted:
    """Information about the existence and the edges of a window, with the draws weighed anew for possible outcomes.

    Outcomes of the rows are drawn for some of the draws, and all draws weighed by the likelihood of each outcome: no
    normality is assumed of how edges and means hang together.
    """

    means: np.ndarray  # (sample, candidate)
    sd: np.ndarray  # (candidate,), of one row around its mean
    truths: np.ndarray  # (future,), draws for which outcomes are simulated
    surprises: np.ndarray  # (future, row), standard normal
    moments: np.ndarray  # (sample, 6), existence, and with it edges, squares and their product
    log_weights: np.ndarray  # (future, sample), after the rows so far
    row: int = 0

    @classmethod
    def of(
        cls, edges: np.ndarray, exists: np.ndarray, means: np.ndarray, noise: np.ndarray, n: int, futures: int
    ) -> Reweighted:
        """Prepare equally weighted draws, with normal scores of the edges, for `n` rows."""
        there = exists.astype(float)
        one, other = (np.where(exists, normal_scores(edge, exists), 0.0) for edge in edges.T)
        moments = np.stack([there, one, other, one**2, one * other, other**2], axis=1)
        size, rng = len(means), np.random.default_rng(1)
        even = ((np.arange(futures) + 0.5) / futures * size).astype(int)
        floor = 1e-9 * max(float(noise.max()), float(np.square(means).max()), 1e-300)
        return cls(
            means=means,
            sd=np.sqrt(np.maximum(noise, floor)),
            truths=rng.permutation(even),
            surprises=rng.standard_normal((futures, n)),
            moments=moments,
            log_weights=np.zeros((futures, size)),
        )

    def _with(self, row: int) -> np.ndarray:
        means = self.means[:, row] / self.sd[row]
        outcomes = means[self.truths] + self.surprises[:, self.row]
        return self.log_weights - 0.5 * np.square(outcomes[:, None] - means)

    def _uncertainty(self, log_weights: np.ndarray) -> float:
        """Mean entropy of existence and, as of normal numbers, of the edges [nat]."""
        weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        share, *rest = (weights @ self.moments).T
        share = np.clip(share, 1e-9, 1 - 1e-9)
        one, other, square, product, second = (moment / share for moment in rest)
        variances = square - one**2 + NARROWEST, second - other**2 + NARROWEST
        determinant = np.maximum(variances[0] * variances[1] - (product - one * other) ** 2, NARROWEST**2)
        entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        return float(np.mean(entropy + share * 0.5 * np.log(determinant)))

    def values(self) -> np.ndarray:
        """Return what the rows so far, and one more at each candidate, are worth, shape (candidate,) [nat]."""
        start = self._uncertainty(np.zeros((1, len(self.means))))
        return start - np.array([self._uncertainty(self._with(row)) for row in range(self.means.shape[1])])

    def after(self, row: int) -> Reweighted:
        """Return it after one more row."""
        return replace(self, log_weights=self._with(row), row=self.row + 1)


def normal_scores(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return normal scores of the known ones among some values, equal ones alike; 0 for the others."""
    scores = np.zeros(len(values))
    ranks = rankdata(values[known])
    scores[known] = ndtri((ranks - 0.5) / len(ranks)) if len(ranks) else 0.0
    return scores


@dataclass(frozen=True)
class Regret:
    """Expected utility of the dose that will look best."""

    utilities: np.ndarray  # (decision,), means
    surrogate: Surrogate
    futures: np.ndarray  # (future, row), standard normal

    def values(self) -> np.ndarray:
        """Return by how much the regret falls with the rows so far and one more, shape (candidate,)."""
        known, row = self.surrogate.pulls, len(self.surrogate.pulls)
        scale = np.sqrt(np.maximum(np.diagonal(self.surrogate.means), 0.0) + self.surrogate.noise)
        looks = self.utilities + sum(np.outer(self.futures[:, k], pull) for k, pull in enumerate(known))
        last = self.surrogate.cross / scale
        best = [np.max(looks + np.outer(self.futures[:, row], pull), axis=1).mean() for pull in last.T]
        return np.array(best) - self.utilities.max()

    def after(self, row: int) -> Regret:
        """Return it after one more row."""
        return replace(self, surrogate=self.surrogate.after(row))


@dataclass(frozen=True)
class Wandering:
    """Information about the parameters of a process and about where it will be, after some rows.

    Of every draw of the parameters and of the path so far, further rows are jointly normal: around the mean with which
    the path goes on, with the covariance of the process, what the draws do not agree on, and the scatter of a row.
    Their Fisher information, averaged over draws, is added to the precision of the parameters.
    """

    spread: np.ndarray  # (parameter, parameter), covariance of the parameters now
    asked: np.ndarray  # (parameter,), which of them are asked for
    slopes: np.ndarray  # (draw, parameter, candidate), of the mean response over the parameters
    process: np.ndarray  # (draw, candidate, candidate), covariance of the response by chance still to come
    changes: np.ndarray  # (draw, parameter, candidate, candidate), its slope over the parameters
    common: np.ndarray  # (candidate, candidate), covariance of what the draws expect
    noise: np.ndarray  # (candidate,)
    ahead: Goal | None  # information about where the process will be
    rows: tuple[int, ...] = ()

    def fisher(self, rows: Sequence[int]) -> np.ndarray:
        """Return the Fisher information of rows about the parameters, shape (parameter, parameter)."""
        at = np.array(rows, dtype=int)
        if not at.size:
            return np.zeros_like(self.spread)
        total = self.process[:, at[:, None], at] + self.common[np.ix_(at, at)] + np.diag(self.noise[at])
        inverse = np.linalg.inv(total)
        slopes, changes = self.slopes[:, :, at], self.changes[:, :, at[:, None], at]
        turned = inverse[:, None] @ changes
        of_means = np.einsum("spk,skl,sql->spq", slopes, inverse, slopes)
        of_chance = 0.5 * np.einsum("spkl,sqlk->spq", turned, turned)
        return (of_means + of_chance).mean(axis=0)

    def later(self, rows: Sequence[int]) -> np.ndarray:
        """Return the covariance of the parameters that is expected after rows, shape (parameter, parameter)."""
        size = len(self.spread)
        return np.linalg.solve(np.eye(size) + self.spread @ self.fisher(rows), self.spread)

    def values(self) -> np.ndarray:
        """Return what the rows so far, and one more at each candidate, are worth, shape (candidate,) [nat]."""
        found = np.zeros(len(self.noise)) if self.ahead is None else self.ahead.values()
        if not self.asked.any():
            return found
        own = np.ix_(self.asked, self.asked)
        before = np.linalg.slogdet(self.spread[own])[1]
        after = [np.linalg.slogdet(self.later([*self.rows, row])[own])[1] for row in range(len(self.noise))]
        return found + 0.5 * (before - np.array(after))

    def after(self, row: int) -> Wandering:
        """Return it after one more row."""
        ahead = None if self.ahead is None else self.ahead.after(row)
        return replace(self, ahead=ahead, rows=(*self.rows, row))


def best_set(start: Goal, fixed: Sequence[int], n: int, allowed: np.ndarray, *, once: bool = False) -> list[int]:
    """Return the candidates of `n` rows, the fixed ones first: added one by one, then exchanged one by one.

    Parameters
    ----------
    start : Goal
        Before any row.
    fixed : sequence of int
        Candidates of the rows that are given.
    n : int
        Rows in all.
    allowed : ndarray, shape (candidate,)
        Where further rows may be.
    once : bool
        Whether no two rows may be the same.
    """

    def free(others: Sequence[int]) -> np.ndarray:
        return allowed & ~np.isin(np.arange(len(allowed)), others) if once else allowed

    chosen = list(fixed)
    goal = after_rows(start, chosen)
    while len(chosen) < n:
        chosen.append(int(np.argmax(np.where(free(chosen), goal.values(), -np.inf))))
        goal = goal.after(chosen[-1])
    for _ in range(PASSES):
        former = list(chosen)
        for place in range(len(fixed), n):
            others = chosen[:place] + chosen[place + 1 :]
            values = np.where(free(others), after_rows(start, others).values(), -np.inf)
            other = int(np.argmax(values))
            if values[other] > values[chosen[place]] + 1e-9:
                chosen[place] = other
        if chosen == former:
            break
    return chosen


def after_rows(start: Goal, rows: Sequence[int]) -> Goal:
    """Return a goal after some rows."""
    for row in rows:
        start = start.after(row)
    return start


def value_of(start: Goal, rows: Sequence[int]) -> float:
    """Return what some rows are worth together."""
    return float(after_rows(start, rows[:-1]).values()[rows[-1]]) if rows else 0.0
