"""Mixtures of multivariate t distributions for many curves at once: densities, draws, and fits to weighted points.

Densities of all points under all mixtures are most of the work of a screen, so that their loops are compiled, once in a
process; they add up in the same order for one curve as for many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from scipy.special import gammaincinv, gammaln, ndtri
from scipy.stats import qmc

from hormesis_fit.inference.importance import FREEDOM, INFLATION

LEAST_MASS = 0.02  # of a component that has died: it may find a mode later
BLOCK = 512  # points that are computed at a time: they stay in the fastest cache
FLOOR = 1e-3  # least variance of a component per that of all points


@dataclass(frozen=True)
class Mixtures:
    """A mixture of multivariate t distributions for every curve.

    Attributes
    ----------
    weights : ndarray, shape (curve, component)
    means : ndarray, shape (curve, component, parameter)
    factors : ndarray, shape (curve, component, parameter, parameter)
        Lower Cholesky factors of the scales.
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    def take(self, which: np.ndarray) -> Mixtures:
        """Return the mixtures of some of the curves."""
        return Mixtures(self.weights[which], self.means[which], self.factors[which])

    def density(self, points: np.ndarray) -> np.ndarray:
        """Return the density, times the sum of the weights, at points of shape (curve, parameter, point)."""
        return _densities(points, *self._standard(), FREEDOM)

    def joined(self, other: Mixtures | None, share: float) -> Mixtures:
        """Return this mixture, weighted by a share, together with another one."""
        own = Mixtures(share * self.weights, self.means, self.factors)
        if other is None:
            return own
        pairs = zip((other.weights, other.means, other.factors), (own.weights, own.means, own.factors), strict=True)
        return Mixtures(*(np.concatenate(pair, axis=1) for pair in pairs))

    def _standard(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whitening matrices, white means, and the density of every component at its mean."""
        dimension = self.means.shape[2]
        whitening = np.ascontiguousarray(np.linalg.inv(self.factors))
        logs = gammaln((FREEDOM + dimension) / 2) - gammaln(FREEDOM / 2) - dimension / 2 * np.log(FREEDOM * np.pi)
        logs = logs - np.log(np.diagonal(self.factors, axis1=2, axis2=3)).sum(axis=2)
        white = np.matmul(whitening, self.means[..., None])[..., 0]
        return whitening, np.ascontiguousarray(white), self.weights * np.exp(logs)

    def draw(self, size: int, rotations: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Return points of shape (curve, parameter, size), from rotations and shifts of a sequence."""
        standard, strata = _base_points(self.means.shape[2], size)
        spun = np.matmul(rotations, standard)
        edges = np.cumsum(self.weights, axis=1) / self.weights.sum(axis=1, keepdims=True)
        return _placed(spun, (strata + shifts[:, None]) % 1.0, edges, self.means, np.ascontiguousarray(self.factors))

    def fitted(self, points: np.ndarray, steps: int) -> Mixtures:
        """Return mixtures fitted to equally weighted points by some steps of expectation-maximisation."""
        dimension, size = points.shape[1:]
        centre = points.mean(axis=2)
        # Around their centre squares of points keep their digits: no component is narrower than the floor.
        x = points - centre[..., None]
        squares = np.square(x)
        products = (x[:, :, None] * x[:, None]).reshape(len(x), dimension * dimension, size).transpose(0, 2, 1)
        features = np.ascontiguousarray(np.concatenate([x.transpose(0, 2, 1), products], axis=2))
        floor = (FLOOR * squares.mean(axis=2) + 1e-10)[:, None, :, None] * np.eye(dimension)
        mixtures = Mixtures(self.weights, self.means - centre[:, None], self.factors)
        for _ in range(steps):
            share, pull = _shares(x, *mixtures._standard(), FREEDOM)
            mass, total = share.sum(axis=2) / size, np.maximum(pull.sum(axis=2), 1e-300)
            sums = np.matmul(pull, features)
            means = sums[..., :dimension] / total[..., None]
            second = sums[..., dimension:].reshape(*sums.shape[:2], dimension, dimension)
            scales = second - total[..., None, None] * means[..., :, None] * means[..., None, :]
            scales = scales / np.maximum(mass * size, 1e-12 * size)[..., None, None] + floor
            weights = np.maximum(mass, LEAST_MASS)
            mixtures = Mixtures(weights / weights.sum(axis=1, keepdims=True), means, np.linalg.cholesky(scales))
        factors = mixtures.factors * np.sqrt(INFLATION)
        return Mixtures(mixtures.weights, mixtures.means + centre[:, None], factors)


def _compiled(function: Callable) -> Callable:
    """Compile a loop, and keep the machine code where the package or the user has a folder for it."""
    try:
        return numba.njit(error_model="numpy", cache=True)(function)
    except RuntimeError:  # there is no such folder
        return numba.njit(error_model="numpy")(function)


@cache
def _base_points(dimension: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of a standard t distribution, (dimension, size), and a stratified place in a mixture for each."""
    sequence = qmc.Sobol(dimension + 2, rng=np.random.default_rng(dimension)).random(size)
    uniform = np.clip(sequence, 1e-12, 1 - 1e-12)
    stretch = np.sqrt(FREEDOM / (2 * gammaincinv(FREEDOM / 2, uniform[:, dimension])))
    return np.ascontiguousarray((ndtri(uniform[:, :dimension]) * stretch[:, None]).T), uniform[:, -1].copy()


# Arguments of compiled functions have the types that they come with.
@_compiled
def _component(part, whitening, white, power, freedom, row, squares, density):
    """Fill in squared distances of some points from one component, and (1 + square / freedom) ** (-power / 2)."""
    dimension, size = part.shape
    squares[:] = 0.0
    for i in range(dimension):
        row[:] = -white[i]
        for j in range(i + 1):
            scale = whitening[i, j]
            for n in range(size):
                row[n] += scale * part[j, n]
        for n in range(size):
            squares[n] += row[n] * row[n]
    for n in range(size):
        row[n] = 1.0 + squares[n] / freedom
        density[n] = np.sqrt(row[n]) if power % 2 else 1.0
    for _ in range(power // 2):
        for n in range(size):
            density[n] *= row[n]
    for n in range(size):
        density[n] = 1.0 / density[n]


@_compiled
def _densities(points, whitening, white, heights, freedom):
    """Return the density of every point, shape (curve, point)."""
    curves, dimension, size = points.shape
    found = np.zeros((curves, size))
    power = int(freedom) + dimension
    part = np.zeros((dimension, BLOCK))
    row, squares, density = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    for c in range(curves):
        for start in range(0, size, BLOCK):
            count = min(BLOCK, size - start)
            for i in range(dimension):
                part[i, :count] = points[c, i, start : start + count]
            for k in range(heights.shape[1]):
                _component(part, whitening[c, k], white[c, k], power, freedom, row, squares, density)
                for n in range(count):
                    found[c, start + n] += heights[c, k] * density[n]
    return found


@_compiled
def _shares(points, whitening, white, heights, freedom):
    """Return what components have of points, and what counts for means and scales; (curve, component, point)."""
    curves, dimension, size = points.shape
    components = heights.shape[1]
    share, pull = np.empty((curves, components, size)), np.empty((curves, components, size))
    power = int(freedom) + dimension
    row, total = np.empty(size), np.empty(size)
    for c in range(curves):
        part = np.ascontiguousarray(points[c])
        total[:] = 0.0
        for k in range(components):
            _component(part, whitening[c, k], white[c, k], power, freedom, row, pull[c, k], share[c, k])
            for n in range(size):
                share[c, k, n] *= heights[c, k]
                total[n] += share[c, k, n]
        for k in range(components):
            for n in range(size):
                share[c, k, n] /= total[n]
                pull[c, k, n] = share[c, k, n] * power / (freedom + pull[c, k, n])
    return share, pull


@_compiled
def _placed(spun, places, edges, means, factors):
    """Return standard points moved to the components in which their places fall, shape (curve, parameter, point)."""
    curves, dimension, size = spun.shape
    found = np.empty((curves, dimension, size))
    for c in range(curves):
        for n in range(size):
            k = 0
            while k < edges.shape[1] - 1 and places[c, n] >= edges[c, k]:
                k += 1
            for i in range(dimension):
                value = means[c, k, i]
                for j in range(i + 1):
                    value += factors[c, k, i, j] * spun[c, j, n]
                found[c, i, n] = value
    return found
