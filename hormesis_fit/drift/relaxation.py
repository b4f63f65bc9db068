"""Exponential relaxation over many steps as one PyTensor operation with its own gradient.

A quarter of the time of `pytensor.scan` for a gradient, and compiled in a third of it (tests/benchmarks).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.replace import _vectorize_node
from pytensor.link.numba.dispatch import basic as numba_basic
from pytensor.link.numba.dispatch.basic import numba_funcify


def relaxation(decay: Any, target: Any, start: Any) -> pt.TensorVariable:
    r"""Return :math:`x_k = x_{\infty,k} + (x_{k-1} - x_{\infty,k}) e^{-a_k}` for all steps.

    Parameters
    ----------
    decay, target : TensorVariable
        Rate times length, and limit, of each step, shape (..., step).
    start : TensorVariable
        State before the first step, a number or of shape (..., 1).
    """
    decay, target = pt.broadcast_arrays(pt.as_tensor(decay), pt.as_tensor(target))
    return _in_rows(decay, target, start)[0]


def _in_rows(decay: Any, target: Any, start: Any) -> list[pt.TensorVariable]:
    """States and what each step keeps, for any number of leading axes."""
    start = pt.zeros_like(decay[..., :1]) + start
    shape = decay.shape
    found = Relaxation()(decay.reshape((-1, shape[-1])), target.reshape((-1, shape[-1])), start.reshape((-1,)))
    return [one.reshape(shape, ndim=decay.ndim) for one in found]


def forward(decay: np.ndarray, target: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return states at the ends of the steps, and the share of a deviation that each step keeps, shape (row, step)."""
    rows, steps = decay.shape
    states, kept = np.empty((rows, steps)), np.empty((rows, steps))
    for i in range(rows):
        state = start[i]
        for k in range(steps):
            keeps = np.exp(-decay[i, k])
            state = target[i, k] + (state - target[i, k]) * keeps
            states[i, k] = state
            kept[i, k] = keeps
    return states, kept


def backward(
    pull: np.ndarray, states: np.ndarray, kept: np.ndarray, target: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the gradients of decay, target and start, from that of the states: the same recurrence backwards."""
    rows, steps = pull.shape
    decays, targets, starts = np.empty((rows, steps)), np.empty((rows, steps)), np.empty(rows)
    for i in range(rows):
        adjoint = 0.0
        for k in range(steps - 1, -1, -1):
            adjoint += pull[i, k]
            before = states[i, k - 1] if k > 0 else start[i]
            decays[i, k] = -adjoint * kept[i, k] * (before - target[i, k])
            targets[i, k] = adjoint * (1.0 - kept[i, k])
            adjoint *= kept[i, k]
        starts[i] = adjoint
    return decays, targets, starts


class _Loop(Op):
    """A loop over rows and steps that numba compiles and Python can run."""

    __props__ = ()
    loop: Any
    ranks: tuple[int, ...]

    def make_node(self, *inputs: Any) -> list:
        inputs = [pt.as_tensor(one).astype("float64") for one in inputs]
        return Apply(self, inputs, [pt.tensor(dtype="float64", shape=(None,) * rank) for rank in self.ranks])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        for storage, found in zip(outputs, _machine_code(type(self).loop)(*inputs), strict=True):
            storage[0] = found


class Relaxation(_Loop):
    """States and what each step keeps, from decays, limits and starts."""

    loop = staticmethod(forward)
    ranks = (2, 2)

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list:
        _, target, start = inputs
        return RelaxationGradient()(cotangents[0], *outputs, target, start)


class RelaxationGradient(_Loop):
    """Gradients of decays, limits and starts."""

    loop = staticmethod(backward)
    ranks = (2, 2, 1)


@cache
def _machine_code(loop: Any) -> Any:
    return numba.njit(loop)  # that of PyTensor makes functions which Python itself cannot call


@numba_funcify.register(Relaxation)
@numba_funcify.register(RelaxationGradient)
def _compiled(op: _Loop, **_: Any) -> Any:
    return numba_basic.numba_njit(type(op).loop)


@_vectorize_node.register(Relaxation)
def _more_rows(op: Relaxation, node: Apply, *inputs: Any) -> list:
    """Many points at once are more rows."""
    decay, target = pt.broadcast_arrays(*inputs[:2])
    return _in_rows(decay, target, inputs[2][..., None])
