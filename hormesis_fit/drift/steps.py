"""Recurrences over time steps, for arrays, DataArrays and PyTensor variables alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.parameter import Value

STEP = "step"
BLOCK = 8  # steps in a row, before doubling
LEVELS = 12  # doublings where the number of steps is not known beforehand: 4096 steps

type Matrix = Sequence[Sequence[Value]]


def is_symbolic(value: Value) -> bool:
    """Tell whether a value is a PyTensor variable."""
    return hasattr(value, "owner")


def take(value: Value, place: int, dim: str = STEP) -> Value:
    """Return one step of a series, with a last axis of length one to broadcast against parameters."""
    if isinstance(value, xr.DataArray):
        return value.isel({dim: place}) if dim in value.dims else value
    return value[..., place][..., None] if getattr(value, "ndim", 0) else value


def length(*values: Value, dim: str = STEP) -> int | None:
    """Return the number of steps of the first value that knows it."""
    for value in values:
        if isinstance(value, xr.DataArray):
            if dim in value.dims:
                return value.sizes[dim]
        elif getattr(value, "ndim", 0):
            found = value.type.shape[-1] if is_symbolic(value) else value.shape[-1]
            if found not in (None, 1):
                return int(found)
    sizes = [value.shape[-1] for value in values if isinstance(value, np.ndarray) and value.ndim]
    return 1 if sizes else None


def stacked(values: Sequence[Value], dim: str = STEP) -> Value:
    """Return steps, each with a last axis of length one, as one series."""
    if any(isinstance(value, xr.DataArray) for value in values):
        return xr.concat([xr.DataArray(value) for value in values], dim=dim)
    return np.concatenate(np.broadcast_arrays(*values), axis=-1)


def linear(transfer: Matrix, increment: Sequence[Value], dim: str = STEP) -> tuple[list[list[Value]], list[Value]]:
    r"""Solve :math:`x_k = A_k x_{k-1} + b_k` for all steps at once.

    Parameters
    ----------
    transfer : sequence of sequences of Value
        The matrix of each step, element by element, shape (..., step) each.
    increment : sequence of Value
        The vector of each step, shape (..., step) each.
    dim : str
        Dim of the steps of DataArrays.

    Returns
    -------
    tuple
        The products :math:`A_k \cdots A_1`, and the solution from a start at zero, element by element: with a start
        the solution is their sum.

    Notes
    -----
    A prefix scan: the steps of every block of 8 one after the other, for all blocks at once, then the blocks by
    doubling. The graph grows with the logarithm of the number of steps, and no number is ever divided by a product of
    decays, which underflows.
    """
    size = len(increment)
    flat = [entry for row in transfer for entry in row] + list(increment)
    if any(isinstance(entry, xr.DataArray) for entry in flat):
        zero = sum(0 * entry for entry in flat)
        core = [[dim]] * len(flat)
        found = xr.apply_ufunc(
            lambda *arrays: tuple(_solved(list(arrays), size)),
            *[entry + zero for entry in flat],
            input_core_dims=core,
            output_core_dims=core,
        )
    else:
        zero = sum(0 * entry for entry in flat)
        found = _solved([entry + zero for entry in flat], size)
    return [list(found[row * size : (row + 1) * size]) for row in range(size)], list(found[size * size :])


def _solved(entries: list[Value], size: int) -> list[Value]:
    """Return prefix products and sums: in blocks one step after the other, between the blocks by doubling."""
    known = length(*entries)
    if known is None or known < 2 * BLOCK:
        return _doubled(entries, size)
    count = -(-known // BLOCK)
    neutral = [float(i % (size + 1) == 0) for i in range(size * size)] + [0.0] * size
    missing = count * BLOCK - known
    if missing:
        ends = [0 * entry[..., :missing] + one for entry, one in zip(entries, neutral, strict=True)]
        entries = [_concatenated([entry, end]) for entry, end in zip(entries, ends, strict=True)]
    within = [[entry[..., ::BLOCK] for entry in entries]]
    for i in range(1, BLOCK):
        within.append(_joined([entry[..., i::BLOCK] for entry in entries], within[-1], size))
    carried = _doubled(within[-1], size)
    firsts = [0 * entry[..., :1] + one for entry, one in zip(carried, neutral, strict=True)]
    past = [_concatenated([first, entry[..., :-1]]) for first, entry in zip(firsts, carried, strict=True)]
    # The steps of a block on an axis of their own, which its past does not have.
    columns = [_concatenated([part[..., None] for part in parts]) for parts in zip(*within, strict=True)]
    whole = _joined(columns, [entry[..., None] for entry in past], size)
    return [_flat(entry, count * BLOCK)[..., :known] for entry in whole]


def _concatenated(values: list[Value]) -> Value:
    if any(is_symbolic(value) for value in values):
        import pytensor.tensor as pt

        return pt.concatenate(values, axis=-1)
    return np.concatenate(values, axis=-1)


def _flat(value: Value, size: int) -> Value:
    """Return an array with its last two axes as one."""
    return value.reshape((*(value.shape[i] for i in range(value.ndim - 2)), size))


def _doubled(entries: list[Value], size: int) -> list[Value]:
    known = length(*entries)
    levels = LEVELS if known is None else max(known - 1, 0).bit_length()
    for level in range(levels):
        shift = 2**level
        later = [entry[..., shift:] for entry in entries]
        earlier = [entry[..., :-shift] for entry in entries]
        entries = [_replaced(old, shift, new) for old, new in zip(entries, _joined(later, earlier, size), strict=True)]
    return entries


def _joined(later: list[Value], earlier: list[Value], size: int) -> list[Value]:
    """Return the affine map that does the earlier one first, then the later one."""
    numbers = range(size)
    transfer = [
        sum(later[row * size + i] * earlier[i * size + column] for i in numbers)
        for row in numbers
        for column in numbers
    ]
    end = size * size
    moved = [later[end + row] + sum(later[row * size + i] * earlier[end + i] for i in numbers) for row in numbers]
    return transfer + moved


def _replaced(old: Value, shift: int, new: Value) -> Value:
    if is_symbolic(old):
        return old[..., shift:].set(new)
    return np.concatenate([old[..., :shift], new], axis=-1)


def relaxed(rate: Value, target: Value, duration: Value, start: Value) -> Value:
    r"""Return the solution of :math:`x' = \lambda (x_\infty - x)` at the end of every step, exact in each.

    Parameters
    ----------
    rate, target : Value
        Rate [1 / time] and limit, constant over each step, shape (..., step).
    duration : Value
        Lengths of the steps [time], shape (step,) or (..., step).
    start : Value
        Value before the first step.
    """
    decay = rate * duration
    if is_symbolic(decay) or is_symbolic(target) or is_symbolic(start):
        from hormesis_fit.drift.relaxation import relaxation

        return relaxation(decay, target, start)
    [[product]], [gained] = linear([[np.exp(-decay)]], [-target * np.expm1(-decay)])
    return product * start + gained


def before(series: Value, start: Value, dim: str = STEP) -> Value:
    """Return the value at the beginning of every step, from those at the ends."""
    if isinstance(series, xr.DataArray):
        return series.shift({dim: 1}, fill_value=0.0) + start * (series[dim] * 0 + _first(series.sizes[dim], dim))
    if is_symbolic(series):
        shifted = series[..., 1:].set(series[..., :-1])
        return shifted[..., 0].set(0.0 * shifted[..., 0] + (start[..., 0] if getattr(start, "ndim", 0) else start))
    return np.concatenate([0 * series[..., :1] + start, series[..., :-1]], axis=-1)


def _first(size: int, dim: str) -> xr.DataArray:
    return xr.DataArray(np.eye(1, size)[0], dims=dim)


def periodic(rate: Value, target: Value, duration: Value) -> Value:
    """Return the value before the first step that comes back after the last, of the same equation as `relaxed`."""
    decay = rate * duration
    last = take(relaxed(rate, target, duration, 0.0), -1)
    if isinstance(decay, xr.DataArray):
        return last / -np.expm1(-decay.sum(STEP))
    return last / -np.expm1(-decay.sum(axis=-1)[..., None])


def advance(
    rates: Callable[[int, Sequence[Value]], tuple[Value, Value]],
    states: Sequence[Value],
    duration: Value,
    *,
    substeps: int = 1,
) -> list[Value]:
    """Advance positive states over one step of production and loss.

    Parameters
    ----------
    rates : callable
        Maps the number of a state and all states to its production and its loss rate, which do not depend on the state
        itself.
    states : sequence of Value
        States > 0.
    duration : Value
        Length of the step [time].
    substeps : int
        Equal parts into which the step is divided.

    Notes
    -----
    Each state in turn relaxes exactly while the others stand still, in an order that reads the same backwards; one
    full and two half steps are then extrapolated on the log scale. States stay positive however long the step, a
    steady state is kept exactly, and the error falls with the fourth power of the length of a substep.
    """
    part = duration / substeps
    for _ in range(substeps):
        coarse = _symmetric(rates, states, part)
        fine = _symmetric(rates, _symmetric(rates, states, part / 2), part / 2)
        states = [f * (f / c) ** (1 / 3) for f, c in zip(fine, coarse, strict=True)]
    return list(states)


def _symmetric(rates: Callable, states: Sequence[Value], duration: Value) -> list[Value]:
    states, last = list(states), len(states) - 1
    for i in [*range(last), last, *reversed(range(last))]:
        production, loss = rates(i, states)
        decay = loss * duration * (1.0 if i == last else 0.5)
        states[i] = states[i] * np.exp(-decay) - production / loss * np.expm1(-decay)
    return states


def march(term: Any, states: Sequence[Value], exposure: Value, duration: Value, *, substeps: int = 1) -> list[Value]:
    """Take the steps of a nonlinear mechanism in turn and return each state at their ends, shape (..., step).

    Parameters
    ----------
    term : Drift
        The mechanism, with a ``step``.
    states : sequence of Value
        States before the first step.
    exposure, duration : Value
        Concentration [dose] and length of each step [time].
    substeps : int
        Equal parts into which each step is divided.
    """
    if any(is_symbolic(value) for value in (exposure, duration, *states, *_known(term).values())):
        from hormesis_fit.drift.marching import marched

        return marched(term, states, exposure, duration, substeps)
    count, kept = length(duration, exposure), []
    for k in range(count or 0):
        states = term.step(states, take(exposure, k), take(duration, k), substeps=substeps)
        kept.append(states)
    return [stacked(series) for series in zip(*kept, strict=True)]


def _known(term: Any) -> dict[str, Value]:
    return {name: getattr(term, name) for name in term.parameters()}
