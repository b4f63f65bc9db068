"""Standard errors and profile-likelihood intervals of the quantities of a curve at its optimum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from hormesis_fit.inference.implicit import Problem, Quantity, finite, jacobian

CONFIDENCE = 0.95
EDGE = 23.0  # a logarithm this far from its scale, a factor of 1e10, has run to the edge of the parameter space


@dataclass(frozen=True)
class Found:
    """An optimum and what its surroundings look like."""

    u: np.ndarray
    covariance: np.ndarray  # without flat directions
    flat: np.ndarray  # whether a parameter moves along a flat direction, shape (parameter,)
    log_likelihood: float
    spread: float  # residual variance, RSS / (n - p)
    df: int
    note: str


def error_of(problem: Problem, quantity: Quantity, t: np.ndarray, found: Found) -> float:
    """Standard error of a quantity on its own scale, from the derivatives of its equation."""
    size = len(found.u)

    def miss(x: np.ndarray) -> np.ndarray:
        return quantity.miss(problem, np.hstack([x[:, :size], x[:, size + 1 :]]), x[:, [size]])

    derivatives = jacobian(miss, np.concatenate([found.u, t]))
    try:
        gradient = -np.linalg.solve(derivatives[:, size:], derivatives[:, :size])[0]
    except np.linalg.LinAlgError:
        return np.nan
    moved = float(np.abs(gradient[found.flat]).max(initial=0.0))
    return float(np.sqrt(gradient @ found.covariance @ gradient)) if moved < 1e-3 else np.inf


def farthest(problem: Problem, quantity: Quantity, t: np.ndarray, found: Found, side: int) -> float:
    """Farthest value of a quantity in the region of the cut-off: the end of its profile, without the profile.

    Each step goes to the farthest point of the linearised quantity on the ellipsoid of the linearised residuals. Where
    that does not settle, the profile itself is followed.
    """
    size, n = len(found.u), len(problem.response)
    room = stats.f.ppf(CONFIDENCE, 1, found.df) * found.spread
    x, share, previous = np.concatenate([found.u, t]), 1.0, None

    def rows(points: np.ndarray) -> np.ndarray:
        missed = quantity.miss(problem, np.delete(points, size, axis=1), points[:, [size]])
        return np.hstack([problem.residuals(points[:, :size]), finite(missed, missed.shape)])

    for _ in range(50):
        row, derivatives = rows(x[None])[0], jacobian(rows, x)
        try:
            inverse = np.linalg.inv(derivatives[n:, size:])
            curvature = np.linalg.inv(derivatives[:n, :size].T @ derivatives[:n, :size])
        except np.linalg.LinAlgError:
            break
        gradient = -(inverse @ derivatives[n:, :size])[0]
        lowest = -curvature @ (derivatives[:n, :size].T @ row[:n])
        left = found.spread * found.df + room - np.sum((row[:n] + derivatives[:n, :size] @ lowest) ** 2)
        move = lowest + side * curvature @ gradient * np.sqrt(
            max(left, 0.0) / max(gradient @ curvature @ gradient, 1e-300)
        )
        if not np.isfinite(move).all():
            break
        share = share * (0.6 if previous is not None and previous @ move < 0 else 1.1)
        previous, share = move, float(np.clip(share, 0.1, 1.0))
        move = share * move * min(1.0, 0.7 / max(np.abs(move).max(), 1e-300))
        x = x + np.concatenate([move, -inverse @ (row[n:] + derivatives[n:, :size] @ move)])
        if np.abs(x[size] - t[0]) > 2 * EDGE:
            return side * np.inf
        if np.abs(previous).max() < 1e-4:
            settled = side * (x[size] - t[0]) > 0 and abs(
                np.sum(row[:n] ** 2) / found.spread - found.df - room / found.spread
            )
            if settled and settled < 1e-2:
                return float(x[size])
            break
    return _profile_end(problem, quantity, t, error_of(problem, quantity, t, found), found, side)


def _profile_end(problem: Problem, quantity: Quantity, t: np.ndarray, error: float, found: Found, side: int) -> float:
    """Where the likelihood, maximised with the quantity held, falls to the cut-off; infinite where it never does."""
    cut = np.sqrt(stats.f.ppf(CONFIDENCE, 1, found.df))
    path = {float(t[0]): np.concatenate([found.u, t[1:]])}

    @cache  # a later answer may differ, from a nearer start, and the root finder needs one
    def height(held: float) -> float:
        """Root of the deviance over the cut-off, nearly linear in the quantity."""
        target, rss = held, np.inf
        for _ in range(6):
            near = min(path, key=lambda known: abs(known - target))
            z, rss = _held_minimum(problem, quantity, path[near], target, found)
            if np.isfinite(rss):
                path[target] = z
                if target == held:
                    break
            # A step that is too long for the linearised equation is made in two.
            target, rss = (held if np.isfinite(rss) else (near + target) / 2), np.inf
        return float(np.sqrt(np.clip((rss - found.spread * found.df) / found.spread, 0.0, 1e4)) - cut)

    step = error * cut if 1e-8 < error * cut < EDGE else 1.0
    inside = float(t[0])
    while abs(inside - t[0]) < 2 * EDGE:
        outside = inside + side * step
        if height(outside) > 0:
            crosses = height(inside) < 0
            return brentq(height, inside, outside, xtol=1e-3 * step, rtol=1e-9) if crosses else inside
        inside, step = outside, 3 * step
    return side * np.inf


def _held_minimum(
    problem: Problem, quantity: Quantity, z: np.ndarray, held: float, found: Found
) -> tuple[np.ndarray, float]:
    """Gauss-Newton on the residuals inside the plane of the linearised equation, and its RSS (infinite if it fails)."""
    size, n = len(found.u), len(problem.response)

    def rows(points: np.ndarray) -> np.ndarray:
        missed = quantity.miss(problem, points, np.full((len(points), 1), held))
        return np.hstack([problem.residuals(points[:, :size]), finite(missed, missed.shape)])

    def merit(row: np.ndarray) -> np.ndarray:
        return np.sum(row[..., :n] ** 2, axis=-1) / found.spread + price * np.abs(row[..., n:]).sum(axis=-1)

    price, row, fractions = 1.0, rows(z[None])[0], np.array([1.0, 0.5, 0.2, 0.05, 0.01])
    for _ in range(25):
        derivatives = jacobian(rows, z)
        fit, equation = derivatives[:n], derivatives[n:]
        inverse = np.linalg.pinv(equation)
        normal = -inverse @ row[n:]
        plane = np.linalg.svd(equation)[2][len(equation) :].T
        along = np.linalg.lstsq(fit @ plane, -(row[:n] + fit @ normal), rcond=1e-10)[0]
        move = normal + plane @ along
        move *= min(1.0, 2.0 / max(np.abs(move).max(), 1e-300))
        # The equation must weigh more than what obeying it costs in fit, or the first step from the optimum is refused.
        growth = (np.sum((row[:n] + fit @ move) ** 2) - np.sum(row[:n] ** 2)) / found.spread
        price = max(price, 4 * np.abs(inverse.T @ (fit.T @ row[:n])).max() / found.spread)
        price = max(price, 2 * growth / max(np.abs(row[n:]).sum(), 1e-300)) if np.abs(row[n:]).max() > 1e-4 else price
        tried = rows(z + fractions[:, None] * move)
        better = merit(tried) < merit(row)
        if not better.any():
            break
        k = int(np.argmax(better))
        won = merit(row) - merit(tried[k])
        z, row = z + fractions[k] * move, tried[k]
        if won < 1e-4 and np.abs(row[n:]).max() < 1e-5:  # of a deviance, of which the cut-off is about four
            break
    return z, float(np.sum(row[:n] ** 2)) if np.abs(row[n:]).max() < 1e-4 else np.inf
