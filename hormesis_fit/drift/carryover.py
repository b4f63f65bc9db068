"""What earlier doses leave behind at time 0: exposure that is still there, and a mechanism that has not come back."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import xarray as xr

from hormesis_fit.dosing.exposure import Contents
from hormesis_fit.drift.administration import COARSE, Administration, repeated_for_ever
from hormesis_fit.drift.histories import STEPS
from hormesis_fit.parameter import Term

FIRST, GROWTH = 8, 1.15  # steps of the time in which rates act, just after a dose, and how much longer the next one is


def after_doses(given: Administration, events: xr.Dataset, kinetics: Term | None = None) -> Administration:
    """Return doses from time 0 on in somebody who had others before.

    Parameters
    ----------
    given : Administration
        The new doses.
    events : Dataset
        Earlier doses, all before time 0, ascending, dims (event).
    kinetics : OneCompartment or TwoCompartment, optional
        With numbers or draws of shape (sample, 1); without them the last dose was held until time 0, and nothing is
        left of it.

    Notes
    -----
    The mechanism follows the exposure in steps, once as they are and once halved; the error of exposures that stand
    still in each step falls with its square, and so the two are extrapolated. Where doses have been given for ever, it
    begins with the states that come back after each of them.
    """
    events = _newest(events)
    contents = None if kinetics is None else Contents.empty(kinetics)
    states = [_start(given, events, kinetics)] * 2
    longest, held = -float(events["time"].values[0]) / STEPS, 0.0
    for begin, end in pairwise(_edges(events, ends=kinetics is not None)):
        now = events.isel(event=np.flatnonzero(events["time"].values == begin))
        held = float(now["amount"].values[-1]) if now.sizes["event"] else held
        contents = contents and _given(contents, now)
        lengths = _lengths(end - begin, longest, given.term, kinetics)
        each = (lengths, np.repeat(lengths / 2, 2))
        states = [_followed(given, one, held, contents, own) for one, own in zip(states, each, strict=True)]
        contents = contents and contents.after(end - begin)
    begun = tuple(_extrapolated(given, *pair) for pair in zip(*states, strict=True))
    left = contents and contents.exposure(np.cumsum(given.lengths) - given.lengths / 2)
    return replace(given, begun=begun, left=left)


def _newest(events: xr.Dataset) -> xr.Dataset:
    """Return the events from the last steady state on, which replaces whatever was there before it."""
    steady = np.flatnonzero(events["steady"].values > 0)
    return events.isel(event=slice(int(steady[-1]), None)) if steady.size else events


def _start(given: Administration, events: xr.Dataset, kinetics: Term | None) -> list[np.ndarray]:
    """Return the states before the first of the doses."""
    first = events.isel(event=0)
    amount, interval = np.full((1, 1), float(first["amount"])), float(first["interval"])
    if given.term is None or not float(first["steady"]):
        return given.afresh().begin(np.zeros((1, 1)))
    if kinetics is None:
        held = Administration(np.array([interval]), np.ones((1, 1)), 0, given.mechanism, given.term, repeated=True)
        return held.begin(amount)
    return repeated_for_ever(interval, kinetics, given.mechanism, given.term).begin(amount)


def _edges(events: xr.Dataset, *, ends: bool) -> list[float]:
    """Return the times at which something is given or an infusion ends, and 0."""
    times, rate = events["time"].values, events["rate"].values
    found = [times, [0.0]]
    if ends:
        found.append((times + events["amount"].values / np.where(rate > 0, rate, 1.0))[rate > 0])
    edges = np.unique(np.concatenate(found))
    return edges[edges <= 0].tolist()


def _given(contents: Contents, events: xr.Dataset) -> Contents:
    columns = (events[name].values.tolist() for name in ("amount", "rate", "interval", "steady"))
    for amount, rate, interval, steady in zip(*columns, strict=True):
        contents = contents.steadily(amount, interval) if steady else contents.given(amount, rate)
    return contents


def _lengths(gap: float, longest: float, term: Term | None, kinetics: Term | None) -> np.ndarray:
    """Return the lengths of the steps between two doses: short just after the first, as its exposure changes."""
    if term is None or (kinetics is None and term.affine):
        return np.array([gap])  # no state, or one that is known exactly however long the exposure is held
    most = min(gap / COARSE, longest)
    rates = [
        float(np.median(getattr(one, name)))
        for one in (term, kinetics)
        if one is not None
        for name, known in one.parameters().items()
        if known.unit == "1 / time"
    ]
    found, total = [], 0.0
    step = min(most, 1 / (FIRST * sum(rates)))
    while step < most and total + step < gap:
        found.append(step)
        total, step = total + step, step * GROWTH
    steps = max(int(np.ceil((gap - total) / most - 1e-9)), 1)
    return np.append(found, np.full(steps, (gap - total) / steps))


def _followed(
    given: Administration, states: list[np.ndarray], held: float, contents: Contents | None, lengths: np.ndarray
) -> list[np.ndarray]:
    """Return the states after some steps of the exposure."""
    if given.term is None:
        return states
    middles = np.cumsum(lengths) - lengths / 2
    exposure = np.full((1, lengths.size), held) if contents is None else contents.exposure(middles)
    for k, length in enumerate(lengths):
        states = list(given.term.step(states, exposure[:, k : k + 1], length))
    return states


def _extrapolated(given: Administration, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Return a state without the error that a fourth of half the length of a step has, shape (sample or 1, 1)."""
    # States of nonlinear mechanisms are positive and stay so.
    found = (4 * fine - coarse) / 3 if given.term.affine else fine * (fine / coarse) ** (1 / 3)
    return np.atleast_2d(found)
