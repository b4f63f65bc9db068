"""The steps of a nonlinear mechanism in a PyTensor graph: a loop for compiled code, NumPy for thousands of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.builders import OpFromGraph
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.graph.replace import _vectorize_node


def marched(term: Any, states: Sequence[Any], exposure: Any, duration: Any, substeps: int) -> list[pt.TensorVariable]:
    """Return each state of a mechanism at the end of every step, shape (..., step).

    Parameters
    ----------
    term : Drift
        The mechanism; its parameters may be variables.
    states : sequence
        States before the first step.
    exposure, duration : TensorVariable or ndarray
        Concentration [dose], shape (..., step), and length of each step [time].
    substeps : int
        Equal parts into which each step is divided.
    """
    names = [name for name in term.parameters() if hasattr(getattr(term, name), "owner")]
    given = [pt.as_tensor(one) for one in (exposure, duration, *(getattr(term, name) for name in names), *states)]
    given = [one.astype("float64") for one in given]
    inner = [one.type() for one in given]
    outputs = _loop(term, names, inner, substeps)
    found = March(inner, outputs, term=term, names=names, substeps=substeps)(*given)
    return found if isinstance(found, list) else [found]


def _loop(term: Any, names: Sequence[str], inner: Sequence[Any], substeps: int) -> list[pt.TensorVariable]:
    exposure, duration, *others = inner
    own = term.with_values(dict(zip(names, others[: len(names)], strict=True)))
    columns = [pt.moveaxis(series, -1, 0)[..., None] for series in (exposure, duration)]
    start = others[len(names) :]
    first = own.step(start, *(column[0] for column in columns), substeps=substeps)
    begin = [pt.zeros_like(after) + before for before, after in zip(start, first, strict=True)]

    def step(concentration: Any, length: Any, *rest: Any) -> list:
        now, known = rest[: len(begin)], rest[len(begin) :]
        here = term.with_values(dict(zip(names, known, strict=True)))
        return here.step(now, concentration, length, substeps=substeps)

    found = pytensor.scan(
        step,
        sequences=columns,
        outputs_info=begin,
        non_sequences=others[: len(names)],
        strict=True,
        return_updates=False,
    )
    series = found if isinstance(found, list | tuple) else [found]
    return [pt.moveaxis(one[..., 0], 0, -1) for one in series]


class March(OpFromGraph):
    """The loop over the steps, which knows the mechanism that it follows."""

    def __init__(self, inputs: Any, outputs: Any, *, term: Any, names: Sequence[str], substeps: int) -> None:
        super().__init__(inputs, outputs)
        self.term, self.names, self.substeps = term, tuple(names), substeps


class ManyMarches(Op):
    """The same at many points at once, by NumPy."""

    __props__ = ("march",)

    def __init__(self, march: March) -> None:
        self.march = march

    def make_node(self, *inputs: Any) -> Apply:
        batch = max(one.ndim - core.ndim for one, core in zip(inputs, self.march.inner_inputs, strict=True))
        outputs = [pt.tensor(dtype="float64", shape=(None,) * (batch + one.ndim)) for one in self.march.inner_outputs]
        return Apply(self, list(inputs), outputs)

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        cores = self.march.inner_inputs
        deepest = cores[0].ndim
        # Every point has its axes in front; parameters and starts then broadcast against (history, step).
        deep = [_deepened(one, core.ndim, deepest) for one, core in zip(inputs, cores, strict=True)]
        exposure, duration, *others = deep
        size = len(self.march.names)
        term = self.march.term.with_values(dict(zip(self.march.names, others[:size], strict=True)))
        steps = exposure.shape[-1]
        states, kept = others[size:], []
        for k in range(steps):
            states = term.step(states, exposure[..., k : k + 1], duration[..., k : k + 1], substeps=self.march.substeps)
            kept.append(np.broadcast_arrays(*states))
        for storage, series in zip(outputs, zip(*kept, strict=True), strict=True):
            storage[0] = np.concatenate(series, axis=-1)


def _deepened(value: np.ndarray, rank: int, wanted: int) -> np.ndarray:
    """Return an array with axes of length one between those of the points and its own."""
    leading = np.ndim(value) - rank
    return np.reshape(value, (*np.shape(value)[:leading], *[1] * (wanted - rank), *np.shape(value)[leading:]))


@_vectorize_node.register(March)
def _many(op: March, node: Apply, *inputs: Any) -> Apply:
    return ManyMarches(op)(*inputs, return_list=True)
