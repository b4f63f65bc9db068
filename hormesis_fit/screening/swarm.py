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
from functools import cache

import numpy as np
from scipy.special import gammaincinv, gammaln, ndtri
from scipy.stats import qmc

from hormesis_fit.inference.importance import FREEDOM, INFLATION, ImportanceSample
from hormesis_fit.screening.batch import Batch

DIFFERENCE = 1e-5  # of a score, for slopes
LEAST_MASS = 0.02  # of a component that has died: it may find a mode later
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
    em_steps: int = 4
    max_rounds: int = 12
    rounds_at_target: int = 2
    ess_per_parameter: int = 15
    bisections: int = 10

    @classmethod
    def of(cls, dimension: int, *, effort: int = 0) -> SwarmPlan:
        """Return the plan for a number of parameters, with more effort for curves whose last run was unhealthy."""
        plan = cls()
        if dimension > 5:
            plan = replace(plan, round_points=1024, final_points=4096, em_points=768)
        if effort:
            sizes = ("prior_points", "start_points", "round_points", "final_points", "em_points")
            larger = {name: 2**effort * getattr(plan, name) for name in sizes}
            plan = replace(plan, **larger, starts=8 * effort, rounds_at_target=4, ess_per_parameter=30)
        return plan


@dataclass(frozen=True)
class _Mixtures:
    """A mixture of multivariate t distributions for every curve."""

    weights: np.ndarray  # (curve, component)
    means: np.ndarray  # (curve, component, parameter)
    factors: np.ndarray  # (curve, component, parameter, parameter), lower Cholesky factors of the scales

    def take(self, which: np.ndarray) -> _Mixtures:
        return _Mixtures(self.weights[which], self.means[which], self.factors[which])

    def terms(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log density of every component up to a constant, and squared distances, both (curve, component, point)."""
        dimension = points.shape[1]
        whitening = np.linalg.inv(self.factors)
        log_determinants = np.log(np.diagonal(self.factors, axis1=2, axis2=3)).sum(axis=2)
        white = np.matmul(whitening, points[:, None])
        white -= np.matmul(whitening, self.means[..., None])
        squares = np.square(white).sum(axis=2)
        logs = np.log1p(squares / FREEDOM) * (-(FREEDOM + dimension) / 2)
        return logs + (np.log(self.weights) - log_determinants)[:, :, None], squares

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Log density at points of shape (curve, parameter, point), shape (curve, point)."""
        d = points.shape[1]
        constant = gammaln((FREEDOM + d) / 2) - gammaln(FREEDOM / 2) - d / 2 * np.log(FREEDOM * np.pi)
        return _log_sum(self.terms(points)[0], axis=1) + constant

    def draw(self, size: int, rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Return points of shape (curve, parameter, size)."""
        standard, strata = _base_points(self.means.shape[2], size)
        spun = np.matmul(rotations, standard)
        edges = np.cumsum(self.weights, axis=1) / self.weights.sum(axis=1, keepdims=True)
        place = (strata + shifts[:, None]) % 1.0
        which = sum((place >= edges[:, k, None]).astype(int) for k in range(edges.shape[1] - 1))
        moved = np.matmul(self.factors, spun[:, None]) + self.means[..., None]
        points = moved[:, 0]
        for k in range(1, moved.shape[1]):
            points = np.where((which == k)[:, None], moved[:, k], points)
        return points


@cache
def _base_points(dimension: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a standard t distribution, (dimension, size), and a stratified place in a mixture for each."""
    sequence = qmc.Sobol(dimension + 2, rng=np.random.default_rng(dimension)).random(size)
    uniform = np.clip(sequence, 1e-12, 1 - 1e-12)
    stretch = np.sqrt(FREEDOM / (2 * gammaincinv(FREEDOM / 2, uniform[:, dimension])))
    return np.ascontiguousarray((ndtri(uniform[:, :dimension]) * stretch[:, None]).T), uniform[:, -1].copy()


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
        self.counts = [plan.prior_points]
        self.mixtures: list[_Mixtures] = []
        self.densities = [self.log_prior]  # of all points, under the prior and every kept mixture

    def take(self, which: np.ndarray) -> _Cloud:
        part = object.__new__(_Cloud)
        part.batch, part.luck, part.plan = self.batch.take(which), self.luck.take(which), self.plan
        part.points, part.log_likelihood = self.points[which], self.log_likelihood[which]
        part.log_prior, part.counts = self.log_prior[which], list(self.counts)
        part.mixtures = [one.take(which) for one in self.mixtures]
        part.densities = [one[which] for one in self.densities]
        return part

    def base(self) -> np.ndarray:
        """Log prior per log density of all proposals together, (curve, point)."""
        total = sum(self.counts)
        logs = np.stack([one + np.log(n / total) for one, n in zip(self.densities, self.counts, strict=True)])
        base = self.log_prior - _log_sum(logs, axis=0)
        return np.where(np.isfinite(base), base, -np.inf)

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

    def add(self, mixtures: _Mixtures, size: int, step: int) -> None:
        """Draw from new proposals and weigh everything against all of them."""
        points = mixtures.draw(size, self.luck.rotations[:, step], self.luck.shifts[:, step, 0])
        log_prior = _log_normal(points)
        self.points = np.concatenate([self.points, points], axis=2)
        fresh = [log_prior, *(one.log_density(points) for one in self.mixtures)]
        self.densities = [np.concatenate(pair, axis=1) for pair in zip(self.densities, fresh, strict=True)]
        self.densities.append(mixtures.log_density(self.points))
        self.log_prior = self.densities[0]
        self.log_likelihood = np.concatenate([self.log_likelihood, self.batch.log_likelihood(points)], axis=1)
        self.counts.append(size)
        self.mixtures.append(mixtures)


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


def _climbed(cloud: _Cloud) -> _Mixtures:
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
    return _Mixtures(weights / weights.sum(axis=1, keepdims=True), means, factors)


def sample_swarm(batch: Batch, generators: Sequence[np.random.Generator], plan: SwarmPlan) -> list[ImportanceSample]:
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
    list of ImportanceSample
        One for each curve, its points in scores.
    """
    found: list[ImportanceSample | None] = [None] * batch.size
    where, reached = np.arange(batch.size), np.zeros(batch.size, dtype=int)
    cloud = _Cloud(batch, _Luck.of(generators, plan.max_rounds + 2, batch.dimension), plan)
    mixtures = _climbed(cloud)
    cloud.add(mixtures, plan.start_points, 1)
    for step in range(2, plan.max_rounds + 2):
        temperature, logs = cloud.tempered()
        mixtures = _fitted(cloud.points, logs, cloud.luck.shifts[:, step, 1], plan, mixtures)
        reached += temperature == 1.0
        ready = (reached > plan.rounds_at_target) | (step == plan.max_rounds + 1)
        ended, left = np.flatnonzero(ready), np.flatnonzero(~ready)
        if ended.size:
            last = cloud.take(ended)
            last.add(mixtures.take(ended), plan.final_points, step)
            weights = last.base() + last.log_likelihood
            for row, place in enumerate(where[ended]):
                found[place] = ImportanceSample(last.points[row].T, weights[row])
        if not left.size:
            break
        if ended.size:
            cloud, mixtures, reached, where = cloud.take(left), mixtures.take(left), reached[left], where[left]
        cloud.add(mixtures, plan.round_points, step)
    return found


def _fitted(
    points: np.ndarray, log_weights: np.ndarray, shifts: np.ndarray, plan: SwarmPlan, mixtures: _Mixtures
) -> _Mixtures:
    """Fit mixtures to weighted points by a few steps of expectation-maximisation, from where they are."""
    x = _resampled(points, log_weights, shifts, plan.em_points)
    dimension, size = x.shape[1:]
    variances = x.var(axis=2)
    floor = (1e-3 * variances + 1e-10)[:, :, None] * np.eye(dimension)
    for _ in range(plan.em_steps):
        logs, squares = mixtures.terms(x)
        share = np.exp(logs - _log_sum(logs, axis=1)[:, None]) / size
        pull = share * ((FREEDOM + dimension) / (FREEDOM + squares))
        mass = share.sum(axis=2)
        means = np.matmul(pull, x.transpose(0, 2, 1)) / np.maximum(pull.sum(axis=2)[..., None], 1e-300)
        deviations = x[:, None] - means[..., None]
        scales = np.matmul(deviations * pull[:, :, None], deviations.transpose(0, 1, 3, 2))
        scales = scales / np.maximum(mass, 1e-12)[..., None, None] + floor[:, None]
        weights = np.maximum(mass, LEAST_MASS)
        mixtures = _Mixtures(weights / weights.sum(axis=1, keepdims=True), means, np.linalg.cholesky(scales))
    return _Mixtures(mixtures.weights, mixtures.means, mixtures.factors * np.sqrt(INFLATION))


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


def _log_sum(logs: np.ndarray, axis: int) -> np.ndarray:
    highest = logs.max(axis=axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):  # points that no proposal can reach
        return np.log(np.exp(logs - highest).sum(axis=axis)) + np.squeeze(highest, axis=axis)
