"""One dose given again and again: the exposure, what the body makes of it, and the mean response over an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hormesis_fit.drift import Drift
from hormesis_fit.drift.courses import Mechanism
from hormesis_fit.parameter import Term

COARSE, FINE = 8, 24  # steps of an interval before the one that counts, and of that one
HELD = 64  # steps of a constant exposure for mechanisms without an exact one
PERIODS, SETTLED = 60, 1e-6  # most intervals until a nonlinear mechanism repeats itself, and the change that is none


@dataclass(frozen=True)
class Administration:
    """Equal doses since time 0, or for ever.

    Attributes
    ----------
    lengths : ndarray
        Lengths of the steps [time], shape (step,).
    unit : ndarray
        Exposure per unit of dose in the middle of each step [1 / volume], shape (sample or 1, step).
    first : int
        Step from which on the response is averaged; the number of steps for the response at their end.
    mechanism : Mechanism, optional
        What the exposure brings about.
    term : Drift, optional
        The mechanism with its draws, shape (sample, 1) each.
    repeated : bool
        Whether the steps are a period that has been repeated for ever.
    begun : tuple of ndarray
        States of the mechanism at time 0 after earlier doses, shape (sample or 1, 1) each; none for those without drug.
    left : ndarray, optional
        What is left of the exposure to earlier doses in the middle of each step [dose / volume], shape (sample or 1,
        step).
    """

    lengths: np.ndarray
    unit: np.ndarray
    first: int
    mechanism: Mechanism | None = None
    term: Drift | None = None
    repeated: bool = False
    begun: tuple[np.ndarray, ...] = ()
    left: np.ndarray | None = None

    def mean(
        self,
        response: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray],
        shifts: Mapping[str, Any],
        dose: np.ndarray,
        which: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the mean response to doses, over the steps that count, shape (sample, dose) [response].

        Parameters
        ----------
        response : callable
            Maps exposures, shape (sample, dose), and shifts to the response.
        shifts : mapping
            What other drifts add, by what they change.
        dose : ndarray
            Doses that broadcast against (sample, 1) [dose].
        which : ndarray, optional
            Draws to use, in this order; all by default.
        """
        own = self if which is None else self.take(which)
        total, weight = 0.0, 0.0
        for exposure, seen, length in own.course(dose):
            total = total + length * response(*own.met(exposure, seen, shifts))
            weight += length
        return total / weight

    def readings(
        self,
        response: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray],
        shifts: Mapping[str, Any],
        dose: np.ndarray,
    ) -> np.ndarray:
        """Return the mean response at every step of no length, in their order, shape (sample, reading) [response].

        Parameters
        ----------
        response, shifts
            As in `mean`.
        dose : ndarray
            One dose for every draw, which broadcasts against (sample, 1) [dose].
        """
        marks = [(exposure, seen) for exposure, seen, length in self.course(dose) if length == 0]
        return np.concatenate(np.broadcast_arrays(*(response(*self.met(*mark, shifts)) for mark in marks)), axis=1)

    def course(self, dose: np.ndarray) -> Sequence[tuple[np.ndarray, Any, float]]:
        """Return exposure, outcome of the mechanism and length of each step that counts.

        Parameters
        ----------
        dose : ndarray
            Doses that broadcast against (sample, 1) [dose].
        """
        states = self.begin(dose)
        found = []
        for k, length in enumerate(self.lengths):
            exposure = self._exposure(dose, k)
            after = self._stepped(states, exposure, length)
            if k >= self.first:
                # In the middle of the step, as the exposure is: the error falls with the square of its length.
                middle = [(before + now) / 2 for before, now in zip(states, after, strict=True)]
                found.append((exposure, self._seen(middle), float(length)))
            states = after
        if self.first >= self.lengths.size:
            found.append((self._exposure(dose, self.lengths.size - 1), self._seen(states), 1.0))
        return found

    def met(self, exposure: np.ndarray, seen: Any, shifts: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the exposure that the curve meets, and all shifts."""
        if self.mechanism is None:
            return exposure, dict(shifts)
        return self.mechanism.applied(self.term, exposure, seen, shifts)

    def highest(self, dose: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        """Return the highest exposure of the steps that count, shape (sample or 1, dose) [dose / volume]."""
        own, last = self if which is None else self.take(which), self.lengths.size - 1
        return np.max([own._exposure(dose, k) for k in range(min(self.first, last), last + 1)], axis=0)

    def lowest(self, dose: np.ndarray) -> np.ndarray:
        """Return the lowest outcome of the mechanism over the steps that count, shape (sample, dose) [1]."""
        return np.min([np.broadcast_arrays(seen, exposure)[0] for exposure, seen, _ in self.course(dose)], axis=0)

    def take(self, which: np.ndarray) -> Administration:
        """Return the same for some of the draws."""
        unit, *begun = (one if len(one) == 1 else one[which] for one in (self.unit, *self.begun))
        left = self.left if self.left is None or len(self.left) == 1 else self.left[which]
        term = None if self.term is None else taken(self.term, which)
        return replace(self, unit=unit, term=term, begun=tuple(begun), left=left)

    def afresh(self) -> Administration:
        """Return the same doses to somebody who had none before."""
        return replace(self, begun=(), left=None)

    def _exposure(self, dose: np.ndarray, k: int) -> np.ndarray:
        found = dose * self.unit[:, k : k + 1]
        return found if self.left is None else found + self.left[:, k : k + 1]

    def _seen(self, states: Sequence[np.ndarray]) -> Any:
        return 1.0 if self.term is None else self.term.seen(*states)

    def _stepped(self, states: Sequence[Any], exposure: np.ndarray, length: float) -> list[Any]:
        return [] if self.term is None else list(self.term.step(states, exposure, length))

    def begin(self, dose: np.ndarray) -> list[Any]:
        """Return the states before the first step: at rest, after other doses, or those that come back after the last.

        Parameters
        ----------
        dose : ndarray
            Doses that broadcast against (sample, 1) [dose].
        """
        if self.term is None:
            return []
        rest = [np.asarray(state) + 0.0 * dose * self.unit[:, :1] for state in self.begun or self.term.resting]
        if not self.repeated:
            return rest
        if self.term.affine:
            return self._fixed(rest, dose)
        for _ in range(PERIODS):
            after = self._period(rest, dose)
            change = max(float(np.max(np.abs(new - old))) for new, old in zip(after, rest, strict=True))
            rest = after
            if change < SETTLED:
                break
        return rest

    def _period(self, states: Sequence[np.ndarray], dose: np.ndarray) -> list[np.ndarray]:
        for k, length in enumerate(self.lengths):
            states = self._stepped(states, dose * self.unit[:, k : k + 1], length)
        return list(states)

    def _fixed(self, rest: Sequence[np.ndarray], dose: np.ndarray) -> list[np.ndarray]:
        """Return the fixed point of a period, a linear map that a few starts determine."""
        zero = [0.0 * state for state in rest]
        offset = np.stack(np.broadcast_arrays(*self._period(zero, dose)))
        columns = []
        for i in range(len(rest)):
            start = [state + float(i == k) for k, state in enumerate(zero)]
            columns.append(np.stack(np.broadcast_arrays(*self._period(start, dose))) - offset)
        matrix = np.moveaxis(np.stack(columns, axis=1), (0, 1), (-2, -1))
        solved = np.linalg.solve(np.eye(len(rest)) - matrix, np.moveaxis(offset, 0, -1)[..., None])[..., 0]
        return [solved[..., i] for i in range(len(rest))]


def taken(term: Any, which: np.ndarray) -> Any:
    """Return a term at some of its draws."""
    known = {name: getattr(term, name) for name in term.parameters()}
    return term.with_values({name: value[which] for name, value in known.items() if isinstance(value, np.ndarray)})


def held_for(duration: float, mechanism: Mechanism | None, term: Drift | None) -> Administration:
    """Return a constant exposure since time 0, seen at its end.

    Parameters
    ----------
    duration : float
        How long the exposure has lasted [time].
    mechanism, term : optional
        What it brings about, without and with draws.
    """
    steps = 1 if term is None or term.affine else HELD
    return Administration(np.full(steps, duration / steps), np.ones((1, steps)), steps, mechanism, term)


def repeated_until(
    time: float, interval: float | None, kinetics: Term, mechanism: Mechanism | None, term: Drift | None
) -> Administration:
    """Return doses at equal intervals since time 0, over the interval that holds a time; one dose at that time.

    Parameters
    ----------
    time : float
        The time [time].
    interval : float, optional
        Time between doses [time]; None for one dose at time 0.
    kinetics : OneCompartment or TwoCompartment
        With numbers or draws of shape (sample, 1).
    mechanism, term : optional
        What the exposure brings about, without and with draws.
    """
    if interval is None:
        # The last step has no length: the response is seen at its exposure.
        lengths = np.append(np.full(HELD, max(time, 0.0) / HELD), 0.0)
        unit = units_at(kinetics, np.cumsum(lengths) - lengths / 2, np.zeros(1))
        return Administration(lengths, unit, lengths.size, mechanism, term)
    before = int(np.floor(time / interval + 1e-9))
    lengths = np.concatenate([np.full(before * COARSE, interval / COARSE), np.full(FINE, interval / FINE)])
    middles = np.cumsum(lengths) - lengths / 2
    unit = units_at(kinetics, middles, interval * np.arange(before + 1))
    return Administration(lengths, unit, before * COARSE, mechanism, term)


def units_at(kinetics: Any, times: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Exposure at some times per unit of doses given at others, shape (sample or 1, step)."""
    columns = [kinetics(np.maximum(at - given, 0.0), (given <= at).astype(float)) for at in times]
    return np.stack([np.atleast_1d(column) for column in columns], axis=1)


def repeated_for_ever(
    interval: float, kinetics: Term, mechanism: Mechanism | None, term: Drift | None
) -> Administration:
    """Return doses at equal intervals that have been given for ever, over one interval.

    Parameters
    ----------
    interval : float
        Time between doses [time].
    kinetics : OneCompartment or TwoCompartment
        With numbers or draws of shape (sample, 1).
    mechanism, term : optional
        What the exposure brings about, without and with draws.
    """
    lengths = np.full(FINE, interval / FINE)
    middles = (np.cumsum(lengths) - lengths / 2)[None, :]
    unit = np.atleast_2d(kinetics.steady(middles, interval, 1.0))
    return Administration(lengths, unit, 0, mechanism, term, repeated=True)
