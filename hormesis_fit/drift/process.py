"""Drift as a process in time: paths from standard normal innovations, on irregular visits."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from hormesis_fit.drift.drift import Drift
from hormesis_fit.drift.steps import linear
from hormesis_fit.parameter import Prior, Value, option, parameter

VISIT = "visit"


def time_scale_prior(times: np.ndarray) -> Prior:
    """Return the prior of a time scale that a design can tell [time].

    Parameters
    ----------
    times : ndarray
        Times of the visits [time].

    Notes
    -----
    One per cent lies below the median gap between visits and one per cent above twice the length of the study.
    """
    visits = np.unique(np.asarray(times, dtype=float))
    if visits.size < 2:
        raise ValueError(f"Expected at least 2 different times for a drift in time, got {visits.size}: add visits.")
    low, high = math.log(np.median(np.diff(visits))), math.log(2 * np.ptp(visits))
    return Prior("LogNormal", mu=(low + high) / 2, sigma=(high - low) / (2 * 2.3263478740408408))


def _sd(description: str) -> Value:
    return parameter(r"\tau", "1", Prior("HalfNormal", sigma=0.5), description)


def _time_scale(description: str) -> Value:
    # Of a study of length one: 1 % below 0.05 and 1 % above 2.
    return parameter(r"\ell", "time", Prior("LogNormal", mu=math.log(0.3), sigma=0.8), description)


def _visits(values: np.ndarray, like: Value) -> Value:
    """Return numbers of the visits, by name where the innovations have names."""
    return xr.DataArray(values, dims=VISIT) if isinstance(like, xr.DataArray) else values


def _gaps(times: np.ndarray) -> np.ndarray:
    """Return the times since the visit before, the first since time 0."""
    times = np.asarray(times, dtype=float)
    if times.ndim != 1 or not np.all(np.isfinite(times)) or np.any(times < 0) or np.any(np.diff(times) <= 0):
        shown = ", ".join(f"{time:g}" for time in times.ravel()[:6])
        raise ValueError(f"Expected strictly ascending times of 0 or later, got {shown}: sort the visits.")
    return np.diff(times, prepend=0.0)


def _summed(value: Value) -> Value:
    return value.cumsum(VISIT) if isinstance(value, xr.DataArray) else value.cumsum(axis=-1)


def _source(innovations: Value, number: int) -> Value:
    if isinstance(innovations, xr.DataArray):
        return innovations.isel(source=number)
    return innovations[..., number, :]


class LinearDrift(Drift):
    """A steady drift, from none at time 0."""

    formula = r"a(t) = \rho t"
    source = "https://doi.org/10.1017/CBO9781107049994"

    slope: Value = parameter(r"\rho", "1 / time", Prior("Normal", mu=0, sigma=1), "drift per time")

    def path(self, times: np.ndarray, innovations: Value = 0.0) -> Value:
        return self.slope * _visits(np.asarray(times, dtype=float), innovations)


class SaturatingDrift(Drift):
    """A drift that comes to rest, as tolerance does."""

    formula = r"a(t) = a_\infty (1 - e^{-t / T})"
    source = "https://doi.org/10.1017/CBO9781107049994"

    limit: Value = parameter(r"a_\infty", "1", Prior("Normal", mu=0, sigma=1), "drift in the end")
    time_scale: Value = parameter("T", "time", Prior("LogNormal", mu=math.log(0.3), sigma=0.8), "time to 63 % of it")

    def path(self, times: np.ndarray, innovations: Value = 0.0) -> Value:
        return -self.limit * np.expm1(-_visits(np.asarray(times, dtype=float), innovations) / self.time_scale)


class RandomWalk(Drift):
    r"""A random walk from 0 at time 0: forecasts widen with the square root of time.

    Notes
    -----
    Its variance grows by `diffusion` per time: the usual standard deviation per square root of time is its root.
    """

    formula = r"a_k = a_{k-1} + \sqrt{q (t_k - t_{k-1})} \, \varepsilon_k"
    source = "https://doi.org/10.1017/CBO9781107049994"
    sources = 1

    diffusion: Value = parameter(
        "q", "1 / time", Prior("LogNormal", mu=math.log(0.25), sigma=1), "growth of the variance per time"
    )

    def path(self, times: np.ndarray, innovations: Value) -> Value:
        steps = np.sqrt(self.diffusion) * _visits(np.sqrt(_gaps(times)), innovations)
        return _summed(steps * innovations)

    def covariance(self, times: np.ndarray) -> np.ndarray:
        """Return the covariance between visits [1], shape (visit, visit)."""
        return self.diffusion * np.minimum.outer(np.asarray(times, float), np.asarray(times, float))


class OrnsteinUhlenbeck(Drift):
    """A stationary drift that forgets: the default."""

    formula = (
        r"a_k = \varphi_k a_{k-1} + \tau \sqrt{1 - \varphi_k^2} \, \varepsilon_k, \quad "
        r"\varphi_k = e^{-(t_k - t_{k-1}) / \ell}"
    )
    source = "https://doi.org/10.1103/PhysRev.36.823"
    sources = 1

    sd: Value = _sd("standard deviation of the drift")
    time_scale: Value = _time_scale("time in which the correlation falls to 37 %")

    def path(self, times: np.ndarray, innovations: Value) -> Value:
        gaps, later = _gaps(times), np.arange(len(times)) > 0
        first = _visits(1.0 - later, innovations)
        later, gaps = _visits(later.astype(float), innovations), _visits(gaps * later, innovations)
        kept = later * np.exp(-gaps / self.time_scale)
        # The first visit has the stationary law; an inner zero under the root would have no gradient.
        fresh = np.sqrt(first - later * np.expm1(-2 * gaps / self.time_scale))
        return linear([[kept + 0 * innovations]], [self.sd * fresh * innovations], dim=VISIT)[1][0]

    def covariance(self, times: np.ndarray) -> np.ndarray:
        """Return the covariance between visits [1], shape (visit, visit)."""
        times = np.asarray(times, dtype=float)
        return self.sd**2 * np.exp(-abs(times[:, None] - times) / self.time_scale)


class LocalTrend(Drift):
    r"""A level whose slope is a random walk, from level 0 at time 0.

    Notes
    -----
    The slope's variance grows by :math:`r^3` per time, so that level and slope share one rate.
    """

    formula = (
        r"a_k = a_{k-1} + \Delta b_{k-1} + \eta_k, \quad b_k = b_{k-1} + \zeta_k, \quad "
        r"\operatorname{cov} = r^3 \begin{pmatrix} \Delta^3/3 & \Delta^2/2 \\ \Delta^2/2 & \Delta \end{pmatrix}, "
        r"\quad b_0 = \rho"
    )
    source = "https://doi.org/10.1017/CBO9781107049994"
    sources = 2

    slope: Value = parameter(r"\rho", "1 / time", Prior("Normal", mu=0, sigma=1), "drift per time at time 0")
    roughness: Value = parameter(
        "r", "1 / time", Prior("LogNormal", mu=0, sigma=0.7), "rate at which the slope wanders"
    )

    def path(self, times: np.ndarray, innovations: Value) -> Value:
        gap = _gaps(times)
        first, second = _source(innovations, 0), _source(innovations, 1)
        scale = np.exp(1.5 * np.log(self.roughness))
        bends = scale * _visits(np.sqrt(gap), innovations) * first
        # What the bend adds on the way: half of it over the gap, and an independent part.
        level = _visits(gap**1.5, innovations) * (first / 2 + second / math.sqrt(12)) * scale
        # The slope before a visit is the sum of the bends before it.
        ahead = _summed(bends) - bends
        return self.slope * _visits(np.asarray(times, dtype=float), innovations) + _summed(
            _visits(gap, innovations) * ahead + level
        )

    def covariance(self, times: np.ndarray) -> np.ndarray:
        """Return the covariance between visits given the slope at time 0 [1], shape (visit, visit)."""
        times = np.asarray(times, dtype=float)
        low, high = np.minimum.outer(times, times), np.maximum.outer(times, times)
        return self.roughness**3 * low**2 * (3 * high - low) / 6


class MaternProcess(Drift):
    r"""A stationary drift with smooth paths.

    Notes
    -----
    Paths of smoothness 3/2 come from the exact state-space form; for long series, and for smoothness 5/2, there is
    the Hilbert-space form: a sum of sines whose weights have the spectral density as their variance.
    """

    formula = (
        r"\operatorname{cov}(a(t), a(s)) = \tau^2 (1 + u) e^{-u} \;\mathrm{or}\; \tau^2 (1 + u + u^2/3) e^{-u}, \quad "
        r"u = \sqrt{2 \nu} |t - s| / \ell"
    )
    source = "https://doi.org/10.1007/s11222-022-10167-2"
    sources = 2

    smoothness: str = option("3/2", "5/2", description="how often paths can be differentiated, plus a half")
    sd: Value = _sd("standard deviation of the drift")
    time_scale: Value = _time_scale("time scale of the correlation")

    @property
    def _root(self) -> float:
        return math.sqrt(3.0 if self.smoothness == "3/2" else 5.0)

    def path(self, times: np.ndarray, innovations: Value) -> Value:
        if self.smoothness != "3/2":
            raise ValueError('Paths of smoothness "5/2" come from smooth_path: use it, or smoothness="3/2".')
        gaps, later = _gaps(times), np.arange(len(times)) > 0
        first = _visits(1.0 - later, innovations)
        later, gaps = _visits(later.astype(float), innovations), _visits(gaps * later, innovations)
        u = self._root * gaps / self.time_scale
        decay = np.exp(-2 * u)
        # Variance of what is new in the path and in its scaled derivative, the derivative first.
        slope_sd = np.sqrt(first - later * (np.expm1(-2 * u) + decay * 2 * u * (u - 1)))
        shared = later * 2 * u**2 * decay / slope_sd
        level_sd = np.sqrt(first - later * (np.expm1(-2 * u) + decay * 2 * u * (1 + u)) - shared**2)
        one, two = _source(innovations, 0), _source(innovations, 1)
        kept = later * np.exp(-u) + 0 * one
        transfer = [[kept * (1 + u), kept * u], [-kept * u, kept * (1 - u)]]
        fresh = [self.sd * (shared * one + level_sd * two), self.sd * slope_sd * one]
        return linear(transfer, fresh, dim=VISIT)[1][0]

    def covariance(self, times: np.ndarray) -> np.ndarray:
        """Return the covariance between visits [1], shape (visit, visit)."""
        times = np.asarray(times, dtype=float)
        u = self._root * abs(times[:, None] - times) / self.time_scale
        bend = u**2 / 3 if self.smoothness == "5/2" else 0.0
        return self.sd**2 * (1 + u + bend) * np.exp(-u)

    def spectral_density(self, frequency: Value) -> Value:
        """Return the spectral density [time] at angular frequencies [1 / time]."""
        a = self._root / self.time_scale
        if self.smoothness == "3/2":
            return self.sd**2 * 4 * a**3 / (a**2 + frequency**2) ** 2
        return self.sd**2 * 16 * a**5 / (3 * (a**2 + frequency**2) ** 3)

    def smooth_path(self, times: np.ndarray, weights: Value, *, boundary: float) -> Value:
        """Return the path in its Hilbert-space form.

        Parameters
        ----------
        times : ndarray
            Times [time], shape (visit,), of any number.
        weights : Value
            Standard normal numbers, shape (..., function).
        boundary : float
            Half of the interval on which the sines vanish at both ends [time]; 1.5 half lengths of the study or more.
        """
        times = np.asarray(times, dtype=float)
        count = (
            weights.sizes["function"]
            if isinstance(weights, xr.DataArray)
            else weights.type.shape[-1]
            if hasattr(weights, "owner")
            else weights.shape[-1]
        )
        frequency, functions = hilbert_basis(times, count, boundary=boundary)
        if isinstance(weights, xr.DataArray):
            named = xr.DataArray(frequency, dims="function")
            scaled = np.sqrt(self.spectral_density(named)) * weights
            return xr.dot(scaled, xr.DataArray(functions, dims=(VISIT, "function")), dim="function")
        scaled = np.sqrt(self.spectral_density(frequency)) * weights
        return (scaled[..., None, :] * functions).sum(axis=-1)


def hilbert_basis(times: np.ndarray, count: int, *, boundary: float) -> tuple[np.ndarray, np.ndarray]:
    """Return angular frequencies [1 / time] and values of the sines that replace a stationary process.

    Parameters
    ----------
    times : ndarray
        Times [time], shape (visit,); their middle is the middle of the interval.
    count : int
        Number of sines.
    boundary : float
        Half of the interval [time].

    Returns
    -------
    tuple of ndarray
        Shapes (function,) and (visit, function).
    """
    middle = (times.min() + times.max()) / 2
    frequency = np.pi * np.arange(1, count + 1) / (2 * boundary)
    return frequency, np.sin(frequency * (times[:, None] - middle + boundary)) / math.sqrt(boundary)
