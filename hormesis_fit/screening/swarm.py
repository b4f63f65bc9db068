"""Adaptive importance sampling of many curves at once, every curve with random numbers of its own.

The scheme is that of `importance`, in scores in which every prior is a standard normal distribution: the prior is the
first proposal for ever, a temperature on the likelihood leads from it to the posterior, and mixtures of multivariate t
distributions follow. Points are Sobol sequences, the same for all, turned by a random rotation of each curve's own.
Nothing that is computed for one curve depends on the curves beside it, so that results are the same to the last bit in
whatever company it is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from hormesis_fit.inference.engines import healthy
from hormesis_fit.inference.evidence import pareto_k
from hormesis_fit.inference.importance import ImportanceSample
from hormesis_fit.screening.batch import Batch
from hormesis_fit.screening.mixtures import Mixtures

DIFFERENCE = 1e-5  # of a score, for slopes
LEAST_START = 0.05  # of a first component per the heaviest: what lies around a low mode may be wide
LONGEST = 1.5  # step of a climb, in scores


@dataclass(frozen=True)
class SwarmPlan:
    """Sizes of a run; numbers of points are powers of two, where Sobol sequences are balanced."""

    prior_points: int = 1024
    start_points: int = 1024
    round_points: int = 512
    final_points: int = 2048
    starts: int = 6  # components of every mixture
    climbs: int = 4  # all the way up, all starts of one mode would end in one place
    start_inflation: float = 2.5
    em_points: int = 512
    em_steps: int = 3
    max_rounds: int = 12
    rounds_at_target: int = 2
    ess_per_parameter: int = 15
    bisections: int = 10
    repairs: int = 2  # times that the last points are drawn again, of those that came out unhealthy

    @classmethod
    def of(cls, effort: int) -> SwarmPlan:
        """Return a plan with more effort for curves whose last run was unhealthy."""
        plan = cls()
        if effort:
            sizes = ("prior_points", "start_points", "round_points", "final_points", "em_points")
            larger = {name: 2**effort * getattr(plan, name) for name in sizes}
            plan = replace(plan, **larger, starts=8 * effort, rounds_at_target=4, ess_per_parameter=30)
        return plan


class SwarmSample(ImportanceSample):
    """Weighted points of one curve, in scores, and their health."""

    @cached_property
    def pareto_k(self) -> float:
        """Pareto's k-hat of the weights."""
        return pareto_k(self.log_weights)

    @property
    def healthy(self) -> bool:
        """Whether the points may be used."""
        return healthy(self.log_evidence, self.ess, self.pareto_k, self.weights.max())


@cache
def _prior_points(dimension: int, size: int) -> np.ndarray:
    """Points of a standard normal distribution, (dimension, size)."""
    sequence = qmc.Sobol(dimension, rng=np.random.default_rng(dimension)).random(size)
    return np.ascontiguousarray(ndtri(np.clip(sequence, 1e-12, 1 - 1e-12)).T)


@dataclass
class _Luck:
    """All random numbers of a run, drawn beforehand for every curve from its own generator."""

    rotations: np.ndarray  # (curve, round, parameter, parameter)
    shifts: np.ndarray  # (curve, round, 2): along a mixture, and of systematic resampling

    @classmethod
    def of(cls, generators: Sequence[np.random.Generator], rounds: int, dimension: int) -> _Luck:
        normals = np.stack([one.normal(size=(rounds, dimension, dimension)) for one in generators])
        shifts = np.stack([one.random((rounds, 2)) for one in generators])
        turned, upper = np.linalg.qr(normals)
        signs = np.where(np.diagonal(upper, axis1=2, axis2=3) < 0, -1.0, 1.0)
        return cls(turned * signs[:, :, None, :], shifts)

    def take(self, which: np.ndarray) -> _Luck:
        return _Luck(self.rotations[which], self.shifts[which])


class _Cloud:
    """The points of some curves that still count, with their densities."""

    def __init__(self, batch: Batch, luck: _Luck, plan: SwarmPlan) -> None:
        self.batch, self.luck, self.plan = batch, luck, plan
        self.points = np.matmul(luck.rotations[:, 0], _prior_points(batch.dimension, plan.prior_points))
        self.log_likelihood = batch.log_likelihood(self.points)
        self.log_prior = _log_normal(self.points)
        self.count = plan.prior_points
        self.mixtures: Mixtures | None = None  # all proposals but the prior, by the number of their points
        self.proposed = self.count * np.exp(self.log_prior)  # density of all proposals, by the number of their points

    def take(self, which: np.ndarray) -> _Cloud:
        part = object.__new__(_Cloud)
        part.batch, part.luck, part.plan = self.batch.take(which), self.luck.take(which), self.plan
        part.points, part.log_likelihood = self.points[which], self.log_likelihood[which]
        part.log_prior, part.proposed, part.count = self.log_prior[which], self.proposed[which], self.count
        part.mixtures = None if self.mixtures is None else self.mixtures.take(which)
        return part

    def base(self) -> np.ndarray:
        """Log prior per log density of all proposals together, (curve, point)."""
        # Far out the density of the prior rounds to nothing; those of the t distributions do not.
        return self.log_prior - np.log(self.proposed / self.count)

    def tempered(self) -> tuple[np.ndarray, np.ndarray]:
        """Highest temperature at which enough points count, (curve,), and log weights there, (curve, point)."""
        base, wanted = self.base(), self.plan.ess_per_parameter * self.batch.dimension
        high = np.ones(self.batch.size)
        low = np.where(_effective(base + self.log_likelihood) >= wanted, 1.0, 0.0)
        hot = np.flatnonzero(low == 0)
        if hot.size:
            below, above = np.zeros(hot.size), high[hot]
            part, likelihood = base[hot], np.maximum(self.log_likelihood[hot], -1e300)
            for _ in range(self.plan.bisections):
                middle = (below + above) / 2
                enough = _effective(part + middle[:, None] * likelihood) >= wanted
                below, above = np.where(enough, middle, below), np.where(enough, above, middle)
            low[hot] = below
        return low, base + low[:, None] * np.maximum(self.log_likelihood, -1e300)

    def add(self, mixtures: Mixtures, size: int, step: int) -> None:
        """Draw from new proposals and weigh everything against all of them."""
        points = mixtures.draw(size, self.luck.rotations[:, step], self.luck.shifts[:, step, 0])
        log_prior = _log_normal(points)
        self.proposed += size * mixtures.density(self.points)
        self.mixtures = mixtures.joined(self.mixtures, size)
        fresh = self.plan.prior_points * np.exp(log_prior) + self.mixtures.density(points)
        self.proposed = np.concatenate([self.proposed, fresh], axis=1)
        self.points = np.concatenate([self.points, points], axis=2)
        self.log_prior = np.concatenate([self.log_prior, log_prior], axis=1)
        self.log_likelihood = np.concatenate([self.log_likelihood, self.batch.log_likelihood(points)], axis=1)
        self.count += size


def _ascent(batch: Batch, starts: np.ndarray, plan: SwarmPlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Climb from some starts of every curve towards the modes above them, by damped Fisher scoring.

    Parameters
    ----------
    starts : ndarray, shape (curve, parameter, start)

    Returns
    -------
    tuple of ndarray
        Places (curve, start, parameter), precisions there (curve, start, parameter, parameter), and log posteriors
        (curve, start).
    """
    curves, dimension, many = starts.shape
    place = starts.copy()
    damping = np.full((curves, many), 1e-2)
    value = np.full((curves, many), -np.inf)
    best = place
    gradient, fisher = np.zeros((curves, many, dimension)), np.zeros((curves, many, dimension, dimension))
    identity = np.eye(dimension)
    for turn in range(plan.climbs + 1):
        tried, slope, information = _local(batch, place)
        better = tried >= value
        damping = np.where(better, damping * 0.2, damping * 8.0)
        damping = np.clip(damping, 1e-6, 1e6)
        value = np.where(better, tried, value)
        best = np.where(better[:, None], place, best)
        gradient = np.where(better[..., None], slope, gradient)
        fisher = np.where(better[..., None, None], information, fisher)
        if turn == plan.climbs:
            break
        scaled = fisher + damping[..., None, None] * (identity * np.diagonal(fisher, axis1=2, axis2=3)[..., None, :])
        step = np.linalg.solve(scaled, gradient[..., None])[..., 0]
        length = np.sqrt(np.square(step).sum(axis=2, keepdims=True))
        step = step * np.minimum(1.0, LONGEST / np.maximum(length, 1e-300))
        place = best + step.transpose(0, 2, 1)
    return best.transpose(0, 2, 1), fisher, value


def _local(batch: Batch, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log posterior, its gradient and the expected information, by differences; (curve, start, ...)."""
    curves, dimension, many = place.shape
    shifts = np.concatenate([np.zeros((dimension, 1)), DIFFERENCE * np.eye(dimension)], axis=1)
    points = (place[:, :, :, None] + shifts[None, :, None, :]).reshape(curves, dimension, -1)
    mean, sigma = batch.means(points)
    doses = mean.shape[0]
    mean = mean.reshape(doses, curves, many, dimension + 1)
    sigma = sigma.reshape(curves, many, dimension + 1)
    with np.errstate(all="ignore"):
        slope = (mean[..., 1:] - mean[..., :1]) / DIFFERENCE / sigma[None, ..., :1]
        log_slope = (np.log(sigma[..., 1:]) - np.log(sigma[..., :1])) / DIFFERENCE
        residual = (batch.mean - mean[..., 0]) / sigma[None, ..., 0]
        centre = batch.summed(mean[..., 0], sigma[..., 0]) + _log_normal(place)
        rows = batch.rows[..., None]
        weighted = batch.count[..., None] * slope
        gradient = (weighted * residual[..., None]).sum(axis=0)
        misfit = (batch.count * np.square(residual)).sum(axis=0) + batch.squares / np.square(sigma[..., 0])
        gradient = gradient + (misfit[..., None] - rows) * log_slope - place.transpose(0, 2, 1)
        fisher = sum(one[..., :, None] * other[..., None, :] for one, other in zip(weighted, slope, strict=True))
        fisher = fisher + 2 * rows[..., None] * log_slope[..., :, None] * log_slope[..., None, :] + np.eye(dimension)
    sound = np.isfinite(centre) & np.isfinite(gradient).all(axis=2) & np.isfinite(fisher).all(axis=(2, 3))
    gradient = np.where(sound[..., None], gradient, 0.0)
    fisher = np.where(sound[..., None, None], fisher, np.eye(dimension))
    return np.where(sound, centre, -np.inf), gradient, fisher


def _climbed(cloud: _Cloud) -> Mixtures:
    """Normal approximations around what is above some points of the prior that the data like: the first proposals."""
    plan = cloud.plan
    _, logs = cloud.tempered()
    starts = _resampled(cloud.points, logs, cloud.luck.shifts[:, 0, 1], plan.starts)
    means, precisions, values = _ascent(cloud.batch, starts, plan)
    factors = np.linalg.cholesky(np.linalg.inv(precisions) * plan.start_inflation)
    # By the square root of what normal approximations deserve: the highest mode must not drown the others.
    logs = 0.5 * (values + np.log(np.diagonal(factors, axis1=2, axis2=3)).sum(axis=2))
    logs = np.where(np.isfinite(logs), logs, -1e300)
    weights = np.maximum(np.exp(logs - logs.max(axis=1, keepdims=True)), LEAST_START)
    return Mixtures(weights / weights.sum(axis=1, keepdims=True), means, factors)


def sample_swarm(batch: Batch, generators: Sequence[np.random.Generator], plan: SwarmPlan) -> list[SwarmSample]:
    """Sample the posteriors of a batch of curves.

    Parameters
    ----------
    batch : Batch
        The curves.
    generators : sequence of Generator
        One for each curve: the source of all its randomness.
    plan : SwarmPlan
        Sizes of the run.

    Returns
    -------
    list of SwarmSample
        One for each curve, its points in scores.
    """
    found: list[SwarmSample | None] = [None] * batch.size
    where, reached = np.arange(batch.size), np.zeros(batch.size, dtype=int)
    cloud = _Cloud(batch, _Luck.of(generators, plan.max_rounds + 2 + plan.repairs, batch.dimension), plan)
    mixtures = _climbed(cloud)
    cloud.add(mixtures, plan.start_points, 1)
    for step in range(2, plan.max_rounds + 2):
        temperature, logs = cloud.tempered()
        mixtures = _fitted(cloud, logs, mixtures, step)
        reached += temperature == 1.0
        ready = (reached > plan.rounds_at_target) | (step == plan.max_rounds + 1)
        ended, left = np.flatnonzero(ready), np.flatnonzero(~ready)
        if ended.size:
            samples = _finished(cloud.take(ended), mixtures.take(ended), step)
            for place, sample in zip(where[ended], samples, strict=True):
                found[place] = sample
        if not left.size:
            break
        if ended.size:
            cloud, mixtures, reached, where = cloud.take(left), mixtures.take(left), reached[left], where[left]
        cloud.add(mixtures, plan.round_points, step)
    return found


def _finished(cloud: _Cloud, mixtures: Mixtures, step: int) -> list[SwarmSample]:
    """Draw the last points of some curves, and once more, better aimed, where they were not enough."""
    plan, found = cloud.plan, {}
    where = np.arange(cloud.batch.size)
    for repair in range(plan.repairs + 1):
        cloud.add(mixtures, plan.final_points, step)
        logs = cloud.base() + cloud.log_likelihood
        for row, place in enumerate(where):
            found[int(place)] = SwarmSample(cloud.points[row].T, logs[row])
        poor = np.array([row for row, place in enumerate(where) if not found[int(place)].healthy], dtype=int)
        if not poor.size or repair == plan.repairs:
            break
        step = plan.max_rounds + 2 + repair
        cloud, mixtures, where = cloud.take(poor), mixtures.take(poor), where[poor]
        mixtures = _fitted(cloud, logs[poor], mixtures, step)
    return [found[place] for place in sorted(found)]


def _fitted(cloud: _Cloud, logs: np.ndarray, mixtures: Mixtures, step: int) -> Mixtures:
    """Fit mixtures to the points of a cloud, weighted, from where they are."""
    plan = cloud.plan
    return mixtures.fitted(_resampled(cloud.points, logs, cloud.luck.shifts[:, step, 1], plan.em_points), plan.em_steps)


def _resampled(points: np.ndarray, log_weights: np.ndarray, shifts: np.ndarray, size: int) -> np.ndarray:
    weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    edges = np.cumsum(weights, axis=1)
    rows = []
    for one, edge, shift in zip(points, edges, shifts, strict=True):
        chosen = np.searchsorted(edge, (shift + np.arange(size)) / size * edge[-1], side="right")
        rows.append(one[:, np.minimum(chosen, edge.size - 1)])
    return np.stack(rows)


def _effective(log_weights: np.ndarray) -> np.ndarray:
    """Kish effective sample size, (curve,); 0 where no point is possible."""
    highest = log_weights.max(axis=1, keepdims=True)
    weights = np.exp(log_weights - np.where(np.isfinite(highest), highest, 0.0))
    total = weights.sum(axis=1)
    return total**2 / np.maximum(np.square(weights).sum(axis=1), 1e-300)


def _log_normal(points: np.ndarray) -> np.ndarray:
    return -0.5 * np.square(points).sum(axis=1) - 0.5 * points.shape[1] * np.log(2 * np.pi)
