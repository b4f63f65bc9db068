"""The log posterior of a PyMC model as a NumPy function of many points at once, without compiling anything."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from pymc.distributions.shape_utils import change_dist_size
from pymc.pytensorf import find_rng_nodes, reseed_rngs
from pytensor.compile.mode import Mode
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.traversal import ancestors

# Python code op by op: other linkers compile for seconds, other optimisers evaluate 4 to 20 times slower on this one.
# Parameters out of range give NaN and count as impossible, instead of stopping a run of thousands of points.
INTERPRETED = Mode(linker="py", optimizer="fast_compile").including("local_remove_check_parameter")


class Density:
    """Log prior and log likelihood of a model, at many unconstrained points.

    Parameters
    ----------
    model : pymc.Model
        Its `pymc.Data` may be changed later with `set_data`; the functions here follow.
    """

    def __init__(self, model: pm.Model) -> None:
        self.model = model
        self.names = [rv.name for rv in model.free_RVs]
        self._values = [model.rvs_to_values[rv] for rv in model.free_RVs]
        # Scalars, and vectors with a dim: offsets of groups and coefficients of covariates.
        dims = [model.named_vars_to_dims.get(name) or () for name in self.names]
        self.shapes = [tuple(len(model.coords[dim]) for dim in own) for own in dims]
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        starts = [int(end) - int(np.prod(shape)) for end, shape in zip(ends, self.shapes, strict=True)]
        self.places = {name: slice(start, int(end)) for name, start, end in zip(self.names, starts, ends, strict=True)}

    @property
    def dimension(self) -> int:
        """Number of parameters, every element of a vector for itself."""
        return self.places[self.names[-1]].stop

    def set_data(self, data: Mapping[str, np.ndarray]) -> None:
        """Replace the numbers of the model, also by another number of observations."""
        with self.model:
            doses = {name: len(value) for name, value in data.items() if name.rpartition("::")[2] == "dose"}
            coords = {f"{name[:-4].replace('::', '_')}observation": np.arange(size) for name, size in doses.items()}
            pm.set_data(dict(data), coords=coords)

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log prior and log likelihood at points of shape (n, dimension), both of shape (n,)."""
        prior, likelihood = self.pointwise(points)
        return _finite(prior), _finite(likelihood.sum(axis=1))

    def pointwise(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log prior, shape (n,), and log likelihood of every observation, shape (n, observation).

        Where the model has several outcomes, the observations of each follow those of the one before.
        """
        # Far out in the prior a mean overflows or rounds to 0 or 1: such points count as impossible.
        with np.errstate(all="ignore"):
            found = self._evaluate(points)
            prior = np.sum(found[: len(self.names)], axis=0)
        likelihoods = found[len(self.names) :]
        return prior, likelihoods[0] if len(likelihoods) == 1 else np.concatenate(likelihoods, axis=1)

    def constrain(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters at unconstrained points, each of shape (n, ...)."""
        return dict(zip(self.names, self._constrain(points), strict=True))

    def unconstrain(self, draws: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the unconstrained points of parameters, shape (n, dimension)."""
        shaped = zip(self.names, self.shapes, strict=True)
        parts = self._unconstrain(*(np.reshape(draws[name], (-1, *shape)) for name, shape in shaped))
        return np.column_stack([part.reshape(len(part), -1) for part in parts])

    def prior_draws(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return draws from the prior, unconstrained, shape (size, dimension)."""
        sample, generators = self._sample
        reseed_rngs(generators, int(rng.integers(2**62)))
        return np.column_stack([part.reshape(size, -1) for part in sample(size)])

    @cached_property
    def _evaluate(self):
        """Log prior of each parameter and pointwise log likelihood of each outcome.

        Built from the pieces: `model.logp` would canonicalise the graph first, which costs more than all the rest of a
        fit. The prior is not summed in the graph, where NumPy has no sum of more than 31 terms.
        """
        constrained, terms = self._scalar_graph()
        each = [pm.logp(one, self.model.rvs_to_values[one]) for one in self.model.observed_RVs]
        return self._vectorized(clone_replace([*terms, *each], constrained))

    @cached_property
    def _constrain(self):
        return self._vectorized(list(self._scalar_graph()[0].values()))

    @cached_property
    def _unconstrain(self):
        inputs = [
            pt.tensor(name, shape=(None,) * (1 + len(shape)), dtype="float64")
            for name, shape in zip(self.names, self.shapes, strict=True)
        ]
        return _interpret(inputs, [self._forward(rv, x) for rv, x in zip(self.model.free_RVs, inputs, strict=True)])

    @cached_property
    def _sample(self):
        size = pt.iscalar("size")
        draws: dict = {}
        for rv, shape in zip(self.model.free_RVs, self.shapes, strict=True):
            draws[rv] = change_dist_size(rv, (size, *shape))
            known = {one: draws[one] for one in ancestors([rv]) if one in draws and one is not rv}
            if known:  # offsets of groups, whose scale follows the spread of the same draw
                rng, length, *_ = draws[rv].owner.inputs
                arguments = vectorize_graph(rv.owner.inputs[2:], known)
                draws[rv] = rv.owner.op.make_node(rng, length, *arguments).default_output()
        outputs = [self._forward(rv, x) for rv, x in draws.items()]
        sample = pm.pytensorf.compile([size], outputs, mode=INTERPRETED)
        return sample, find_rng_nodes(outputs)

    def _forward(self, rv, constrained):
        transform = self.model.rvs_to_transforms[rv]
        return constrained if transform is None else transform.forward(constrained, *rv.owner.inputs)

    def _scalar_graph(self):
        constrained, terms = {}, []
        for rv, value in zip(self.model.free_RVs, self._values, strict=True):
            transform = self.model.rvs_to_transforms[rv]
            x = value if transform is None else transform.backward(value, *rv.owner.inputs)
            term = pm.logp(rv, x)
            term = term if transform is None else term + transform.log_jac_det(value, *rv.owner.inputs)
            terms.append(term.sum() if term.ndim else term)
            constrained[rv] = x
        return constrained, terms

    def _vectorized(self, outputs):
        points = pt.matrix("points")
        columns = {
            value: points[:, place].reshape((-1, *shape)) if shape else points[:, place.start]
            for value, place, shape in zip(self._values, self.places.values(), self.shapes, strict=True)
        }
        return _interpret([points], vectorize_graph(outputs, replace=columns))


def _interpret(inputs, outputs):
    return pytensor.function(inputs, outputs, mode=INTERPRETED, on_unused_input="ignore", trust_input=False)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -np.inf, values)
