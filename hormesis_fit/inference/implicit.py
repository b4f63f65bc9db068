"""A curve in unconstrained coordinates, and its quantities as roots of equations in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from hormesis_fit.curves import Curve
from hormesis_fit.model.specification import Specification
from hormesis_fit.vocabulary import QUANTITIES

STEP = 1e-5  # of central differences, in coordinates whose size is about one
LARGE = 1e8  # stands for a residual that is not finite


@dataclass(frozen=True)
class Coordinate:
    """An unconstrained coordinate of one parameter, chosen from the support of its prior."""

    lower: float
    upper: float
    shift: float
    scale: float

    @classmethod
    def of(cls, distribution: str, arguments: Mapping[str, float], draws: np.ndarray) -> Coordinate:
        """Read the support from the prior, and the size of one unit from its draws."""
        lower, upper = -np.inf, np.inf
        if distribution in ("Beta", "Kumaraswamy", "LogitNormal"):
            lower, upper = 0.0, 1.0
        elif distribution in ("Uniform", "TruncatedNormal", "Triangular"):
            default = {"Uniform": (0.0, 1.0)}.get(distribution, (lower, upper))
            lower, upper = arguments.get("lower", default[0]), arguments.get("upper", default[1])
        elif draws.min() > 0:
            lower = 0.0
        if np.isfinite(lower) and np.isfinite(upper):
            return cls(lower, upper, 0.0, 1.0)
        if np.isfinite(lower) or np.isfinite(upper):
            inside = draws - lower if np.isfinite(lower) else upper - draws
            return cls(lower, upper, float(np.median(np.log(np.maximum(inside, 1e-300)))), 1.0)
        return cls(lower, upper, float(np.median(draws)), float(draws.std()) or 1.0)

    def value(self, u: np.ndarray) -> np.ndarray:
        """Return the parameter."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return self.lower + (self.upper - self.lower) * expit(u)
        if np.isfinite(self.lower):
            return self.lower + np.exp(self.shift + u)
        if np.isfinite(self.upper):
            return self.upper - np.exp(self.shift - u)
        return self.shift + self.scale * u

    def of_value(self, x: np.ndarray) -> np.ndarray:
        """Return the coordinate of a parameter, kept off the edge of its support."""
        if np.isfinite(self.lower) and np.isfinite(self.upper):
            return logit(np.clip((x - self.lower) / (self.upper - self.lower), 1e-12, 1 - 1e-12))
        if np.isfinite(self.lower):
            return np.log(np.maximum(x - self.lower, 1e-300)) - self.shift
        if np.isfinite(self.upper):
            return self.shift - np.log(np.maximum(self.upper - x, 1e-300))
        return (x - self.shift) / self.scale


@dataclass(frozen=True)
class Problem:
    """One curve on one trial, as a function of unconstrained coordinates, shape (point, parameter)."""

    curve: Curve
    coordinates: Mapping[str, Coordinate]
    dose: np.ndarray
    response: np.ndarray

    def values(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters, each of shape (point, 1)."""
        clipped = np.clip(points, -60, 60)
        return {name: one.value(clipped[:, [k]]) for k, (name, one) in enumerate(self.coordinates.items())}

    def at(self, points: np.ndarray) -> Curve:
        """Return the curve with parameters of shape (point, 1)."""
        return self.curve.with_values(self.values(points))

    def residuals(self, points: np.ndarray) -> np.ndarray:
        """Return response minus mean, shape (point, observation)."""
        with np.errstate(all="ignore"):
            return finite(self.response - self.at(points)(self.dose[None, :]), (len(points), len(self.dose)))

    def gain(self, points: np.ndarray, log_dose: np.ndarray) -> np.ndarray:
        """Return the benefit over the control at log doses of shape (point, dose)."""
        with np.errstate(all="ignore"):
            curve = self.at(points)
            gain = curve.sign * (curve(np.exp(log_dose)) - curve.control)
        return finite(gain, np.broadcast_shapes((len(points), 1), log_dose.shape))

    @property
    def size(self) -> float:
        """Size of a response that matters."""
        return float(self.response.std())


def finite(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return values in a shape, large numbers where they are not finite."""
    return np.clip(np.nan_to_num(np.broadcast_to(values, shape), nan=LARGE, posinf=LARGE, neginf=-LARGE), -LARGE, LARGE)


@dataclass(frozen=True)
class Quantity:
    """A quantity t as the root of an equation in the coordinates z: a profile holds the equation, not a formula.

    `z` has the parameters' coordinates and, for a height, the log dose of the peak as one more; `t` is the coordinate
    of a parameter, a log dose, the log of a stimulation, or a response in units of their SD.
    """

    name: str
    unit: str
    definition: str
    miss: Callable[[Problem, np.ndarray, np.ndarray], np.ndarray]  # z (point, k), t (point, 1) -> (point, equation)
    value: Callable[[np.ndarray], np.ndarray]


def _crossing(share: float) -> Callable:
    """Equation of the dose at which the gain is a share of the span to the asymptote."""

    def miss(problem: Problem, z: np.ndarray, t: np.ndarray) -> np.ndarray:
        points = z[:, : len(problem.coordinates)]
        gain = problem.gain(points, t + np.array([0.0, -0.5, 0.5]))
        span = np.asarray(problem.at(points).depth) if share else 0.0
        # Divided by the change of the gain near the dose the equation measures a distance of log doses in any unit.
        return (gain[:, :1] - share * span) / (np.abs(gain[:, 2:] - gain[:, 1:2]) + 1e-12 * problem.size)

    return miss


def _at_peak(problem: Problem, z: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Equation of the peak: the derivative by the log dose, from five points, is zero."""
    step = 0.02
    points = z[:, : len(problem.coordinates)]
    gain = problem.gain(points, t + np.array([-2 * step, -step, step, 2 * step, -0.5, 0.0, 0.5]))
    slope = (gain[:, 0] - 8 * gain[:, 1] + 8 * gain[:, 2] - gain[:, 3]) / (12 * step)
    # Divided by the curvature the equation measures a distance of log doses in any unit.
    bend = 4 * np.abs(gain[:, 4] - 2 * gain[:, 5] + gain[:, 6]) + 0.1 * np.abs(gain[:, 6] - gain[:, 4])
    bend += 1e-12 * problem.size
    return (slope / bend)[:, None]


def _height(relative: bool) -> Callable:
    def miss(problem: Problem, z: np.ndarray, t: np.ndarray) -> np.ndarray:
        points, peak = z[:, :-1], z[:, -1:]
        control = problem.at(points).control
        gain = problem.gain(points, peak)
        if relative:
            height = np.log(np.maximum(gain / np.abs(control), 1e-300))
        else:
            height = (control + problem.curve.sign * gain) / problem.size
        return np.hstack([height - t, _at_peak(problem, points, peak)])

    return miss


def _held(index: int) -> Callable:
    return lambda problem, z, t: z[:, [index]] - t


def quantities_at(problem: Problem, u: np.ndarray, specification: Specification) -> list[tuple[Quantity, np.ndarray]]:
    """Return the parameters and the derived quantities that exist at a point, each with its t (and log peak dose)."""
    found = []
    for k, (name, coordinate) in enumerate(problem.coordinates.items()):
        known = specification.declared()[name]
        text = f"{known.description[0].upper()}{known.description[1:]}."
        found.append((Quantity(name, known.unit, text, _held(k), coordinate.value), u[[k]]))
    taken = set(problem.coordinates)
    return found + [pair for pair in _derived(problem, u) if pair[0].name not in taken]


def _derived(problem: Problem, u: np.ndarray) -> list[tuple[Quantity, np.ndarray]]:
    positive = problem.dose[problem.dose > 0]
    grid = np.linspace(np.log(positive.min()) - 25, np.log(positive.max()) + 25, 801)
    gain = problem.gain(u[None], grid[None])[0]
    top = int(np.argmax(gain))
    found = []
    # Rounding, and plateaus, make no peaks.
    if 0 < top < len(grid) - 1 and gain[top] > 1e-9 * problem.size and gain[-1] < gain[top] * (1 - 1e-9):
        peak = _root(problem, u, _at_peak, grid[top - 1], grid[top + 1])
        height = float(problem.gain(u[None], np.array([[peak]]))[0, 0])
        curve, size = problem.at(u[None]), problem.size
        control = float(np.ravel(curve.control)[0])
        found += [
            (_known("peak_dose", _at_peak, np.exp), np.array([peak])),
            (
                _known("peak_response", _height(False), lambda t: t * size),
                np.array([(control + curve.sign * height) / size, peak]),
            ),
            (
                _known("peak_stimulation", _height(True), np.exp),
                np.array([np.log(height / abs(control)), peak]),
            ),
        ]
    return found + _crossings(problem, u, grid, gain, top, has_peak=bool(found))


def _known(name: str, miss: Callable, value: Callable) -> Quantity:
    """A quantity with the unit and the definition that it has everywhere."""
    return Quantity(name, *QUANTITIES[name], miss, value)


def _crossings(problem, u, grid, gain, top, *, has_peak) -> list[tuple[Quantity, np.ndarray]]:
    trend = problem.curve.trend
    wanted = {}
    if trend != "rising" and has_peak:
        wanted["zero_equivalent_dose"] = (0.0, QUANTITIES["zero_equivalent_dose"][1])
    if trend in ("falling", "rising"):
        sign, word = (-1, "lost beyond the peak") if trend == "falling" else (1, "reached")
        wanted["half_effect_dose"] = (sign * 0.5, QUANTITIES["half_effect_dose"][1])
        for k in (10, 25, 50):
            text = f"Dose at which {k} % of the span from the control to the asymptote is {word}."
            wanted[f"ed{k}"] = (sign * k / 100, text)
    span = float(np.ravel(np.asarray(problem.at(u[None]).depth))[0]) if trend in ("falling", "rising") else 0.0
    found = []
    for name, (share, text) in wanted.items():
        beyond = (gain < share * span) & (np.arange(len(grid)) > top) if share <= 0 else gain > share * span
        # A gain that only rounding keeps from zero does not cross it.
        k = int(np.argmax(beyond)) if beyond.any() and (share or gain.min() < -1e-9 * problem.size) else 0
        if k:
            quantity = Quantity(name, "dose", text, _crossing(share), np.exp)
            found.append((quantity, np.array([_root(problem, u, quantity.miss, grid[k - 1], grid[k])])))
    return found


def _root(problem: Problem, u: np.ndarray, miss: Callable, left: float, right: float) -> float:
    def at(t: float) -> float:
        return float(miss(problem, u[None], np.array([[t]]))[0, 0])

    ends = at(left), at(right)
    return brentq(at, left, right, xtol=1e-13, rtol=1e-14) if ends[0] * ends[1] < 0 else (left + right) / 2


def jacobian(function: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> np.ndarray:
    """Return the derivatives of the rows of a vectorised function, shape (row, coordinate), by central differences."""
    steps = STEP * np.eye(len(z))
    rows = function(np.vstack([z + steps, z - steps]))
    return (rows[: len(z)] - rows[len(z) :]).T / (2 * STEP)
