"""What every drift has in common: how sensitivity moves in time, by chance or because of the drug."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import xarray as xr

from hormesis_fit.drift.steps import periodic, relaxed
from hormesis_fit.parameter import Prior, Term, Value, parameter

NEXT_TO_NOTHING = 1e-150  # next to any concentration, and its square, by which gradients divide, is a normal number


class Drift(Term):
    r"""A change in time of a dose-response curve.

    Attributes
    ----------
    kind : str
        ``"process"`` for a path of time alone, added to log-potency, log-gain or baseline; ``"receptor"`` or
        ``"feedback"`` for what the exposure brings about.
    acts_on : str
        What a mechanism returns, relative to its value without the drug: ``"gain"``, a factor on the effect of the
        drug; ``"response"``, the response itself; ``"exposure"``, what is left of the body's own production. Empty
        for processes.
    sources : int
        Standard normal innovations of a process per visit.
    resting : tuple of float
        States of a mechanism without the drug.
    affine : bool
        Whether the states after a step are a linear function of those before it.

    Notes
    -----
    A mechanism meets the exposure as steps of constant concentration. Its parameters broadcast against the exposure:
    the last axis of arrays and PyTensor variables is the step, so that parameters of subjects are columns;
    DataArrays have a dim ``step``.
    """

    kind: ClassVar[str] = "process"
    acts_on: ClassVar[str] = ""
    sources: ClassVar[int] = 0
    resting: ClassVar[tuple[float, ...]] = (1.0,)
    affine: ClassVar[bool] = True

    def path(self, times: np.ndarray, innovations: Value) -> Value:
        """Return the drift at ascending times, from standard normal innovations.

        Parameters
        ----------
        times : ndarray
            Strictly ascending times since the first dose [time], shape (visit,).
        innovations : Value
            Independent standard normal numbers, shape (..., visit), or (..., source, visit) with two sources.

        Returns
        -------
        Value
            Drift on the log scale [1], shape (..., visit).
        """
        raise NotImplementedError(f"{type(self).__name__} is no process in time: call it with an exposure.")

    def forecast(self, times: np.ndarray, innovations: Value, *, later: np.ndarray, fresh: Value) -> Value:
        """Continue a path beyond the last visit.

        Parameters
        ----------
        times, later : ndarray
            Visits that the path has, shape (visit,), and those to come [time].
        innovations, fresh : Value
            Innovations of the path, and new ones for the times to come, arrays or DataArrays.

        Returns
        -------
        Value
            Drift at the later times [1], shape (..., visit).

        Notes
        -----
        Every path is built forwards, so that more visits change none of those before: the continuation has the
        distribution of the process given its past.
        """
        every = np.concatenate([np.asarray(times, dtype=float), np.asarray(later, dtype=float)])
        if isinstance(innovations, xr.DataArray) or isinstance(fresh, xr.DataArray):
            joined = xr.concat([innovations, fresh], dim="visit")
            return self.path(every, joined).isel(visit=slice(len(times), None))
        return self.path(every, np.concatenate([innovations, fresh], axis=-1))[..., len(times) :]

    def rates(self, exposure: Value) -> tuple[Value, Value]:
        """Return rate [1 / time] and limit of a linear mechanism at constant exposure."""
        raise NotImplementedError(f"{type(self).__name__} has no single rate.")

    def step(self, states: Sequence[Value], exposure: Value, duration: Value) -> list[Value]:
        """Return the states of a mechanism after one step of constant concentration, element by element.

        Parameters
        ----------
        states : sequence of Value
            States before the step; `resting` without the drug.
        exposure, duration : Value
            Concentration [dose] and length of the step [time].
        """
        speed, limit = self.rates(exposure)
        return [limit + (states[0] - limit) * np.exp(-speed * duration)]

    def seen(self, *states: Value) -> Value:
        """Return what the states mean for the response, relative to no drug [1]."""
        return states[0]

    def __call__(self, exposure: Value, duration: Value, *, start: Value | None = None) -> Value:
        """Return what the mechanism makes of an exposure, at the end of every step.

        Parameters
        ----------
        exposure : Value
            Concentration, constant over each step [dose], shape (..., step).
        duration : Value
            Lengths of the steps [time], shape (step,) or (..., step).
        start : Value, optional
            State before the first step; the state without the drug by default.

        Returns
        -------
        Value
            Relative to the value without the drug [1], shape (..., step).
        """
        begin = self.resting[0] if start is None else start
        return self.seen(relaxed(*self.rates(exposure), duration, begin))

    def steady_state(self, exposure: Value) -> Value:
        """Return where the mechanism settles at a constant exposure [1]."""
        return self.seen(self.rates(exposure)[1])

    def periodic(self, exposure: Value, duration: Value) -> Value:
        """Return the state at the beginning of a period that is repeated for ever.

        Parameters
        ----------
        exposure, duration : Value
            One period of steps, as in a call.
        """
        return periodic(*self.rates(exposure), duration)


def rate(symbol: str, description: str, typical: float = 3.0) -> Value:
    """Declare a rate: log-normal, around `typical` per length of the study."""
    return parameter(symbol, "1 / time", Prior("LogNormal", mu=float(np.log(typical)), sigma=1), description)


def ratio(symbol: str, description: str) -> Value:
    """Declare the ratio of two rates: log-normal around one."""
    return parameter(symbol, "1", Prior("LogNormal", mu=0, sigma=1), description)


def half_dose(symbol: str, description: str = "concentration of half the occupancy") -> Value:
    """Declare a half-effect concentration: log-normal, inside the tested doses."""
    return parameter(symbol, "dose", Prior("LogNormal", mu=0, sigma=0.5), description)


def hill_slope(symbol: str = "n") -> Value:
    """Declare the slope of a Hill function."""
    return parameter(symbol, "1", Prior("LogNormal", mu=0, sigma=0.5), "slope of the occupancy")


def share(symbol: str, description: str) -> Value:
    """Declare a share between 0 and 1."""
    return parameter(symbol, "1", Prior("Beta", alpha=2, beta=2), description)


def occupancy(exposure: Value, half: Value, slope: Value = 1.0) -> Value:
    """Return the share of receptors that a concentration occupies [1]: exactly 0 at 0, with finite gradients.

    Also in the concentration itself, which parameters of an exposure reach.
    """
    odds = exposure / (exposure + NEXT_TO_NOTHING) * np.exp(slope * (np.log(exposure + NEXT_TO_NOTHING) - np.log(half)))
    return 1 - 1 / (1 + odds)
