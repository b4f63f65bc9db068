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

# Python code op by op: other linkers compile for seconds, other optimisers evaluate 4 to 20 times slower on this one.
INTERPRETED = Mode(linker="py", optimizer="fast_compile")


class Density:
    """Log prior and log likelihood of a model with scalar parameters, at many unconstrained points.

    Parameters
    ----------
    model : pymc.Model
        Its `pymc.Data` may be changed later with `set_data`; the functions here follow.
    """

    def __init__(self, model: pm.Model) -> None:
        self.model = model
        self.names = [rv.name for rv in model.free_RVs]
        self._values = [model.rvs_to_values[rv] for rv in model.free_RVs]

    @property
    def dimension(self) -> int:
        """Number of parameters."""
        return len(self.names)

    def set_data(self, data: Mapping[str, np.ndarray]) -> None:
        """Replace the numbers of the model, also by another number of observations."""
        with self.model:
            pm.set_data(dict(data), coords={"observation": np.arange(len(data["dose"]))})

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log prior and log likelihood at points of shape (n, dimension), both of shape (n,)."""
        prior, likelihood = self._evaluate(points)
        return _finite(prior), _finite(likelihood.sum(axis=1))

    def pointwise(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log prior, shape (n,), and log likelihood of every observation, shape (n, observation)."""
        return self._evaluate(points)

    def constrain(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters at unconstrained points."""
        return dict(zip(self.names, self._constrain(points), strict=True))

    def unconstrain(self, draws: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the unconstrained points of parameters, shape (n, dimension)."""
        return np.column_stack(self._unconstrain(*(np.ravel(draws[name]) for name in self.names)))

    def prior_draws(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return draws from the prior, unconstrained, shape (size, dimension)."""
        sample, generators = self._sample
        reseed_rngs(generators, int(rng.integers(2**62)))
        return np.column_stack(sample(size))

    @cached_property
    def _evaluate(self):
        """Log prior and pointwise log likelihood; built from the pieces: `model.logp` would canonicalise the graph
        first, which costs more than all the rest of a fit.
        """
        constrained, log_prior = self._scalar_graph()
        [observed] = self.model.observed_RVs
        log_likelihood = pm.logp(observed, self.model.rvs_to_values[observed])
        return self._vectorized([log_prior, clone_replace(log_likelihood, constrained)])

    @cached_property
    def _constrain(self):
        return self._vectorized(list(self._scalar_graph()[0].values()))

    @cached_property
    def _unconstrain(self):
        inputs = [pt.vector(name) for name in self.names]
        return _interpret(inputs, [self._forward(rv, x) for rv, x in zip(self.model.free_RVs, inputs, strict=True)])

    @cached_property
    def _sample(self):
        size = pt.iscalar("size")
        draws = [change_dist_size(rv, (size,)) for rv in self.model.free_RVs]
        outputs = [self._forward(rv, x) for rv, x in zip(self.model.free_RVs, draws, strict=True)]
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
            terms.append(term if transform is None else term + transform.log_jac_det(value, *rv.owner.inputs))
            constrained[rv] = x
        return constrained, pt.add(*terms)

    def _vectorized(self, outputs):
        points = pt.matrix("points")
        columns = {value: points[:, index] for index, value in enumerate(self._values)}
        return _interpret([points], vectorize_graph(outputs, replace=columns))


def _interpret(inputs, outputs):
    return pytensor.function(inputs, outputs, mode=INTERPRETED, on_unused_input="ignore", trust_input=False)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -np.inf, values)
