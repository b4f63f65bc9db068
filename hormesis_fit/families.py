"""Observation models as data: how a response scatters around its mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hormesis_fit.parameter import Parameter, Prior


@dataclass(frozen=True)
class Family:
    """One observation model.

    Attributes
    ----------
    definition : str
        One sentence for the report.
    distribution : str
        Name of the PyMC distribution of one response.
    parameters : mapping
        Parameters besides the mean, each with its unit-free prior.
    arguments : callable
        Maps the mean and the family's parameters to the arguments of the distribution.
    sample : callable
        Draws responses with NumPy from a generator, the mean and the family's parameters.
    """

    definition: str
    distribution: str
    parameters: Mapping[str, tuple[Parameter, Prior]]
    arguments: Callable[..., dict[str, Any]]
    sample: Callable[..., np.ndarray]

    def declared(self) -> dict[str, Parameter]:
        """The family's parameters."""
        return {name: known for name, (known, _) in self.parameters.items()}

    def priors(self) -> dict[str, Prior]:
        """Their unit-free priors."""
        return {name: prior for name, (_, prior) in self.parameters.items()}


_SPREAD = (Parameter(r"\sigma", "response", "residual standard deviation", {}), Prior("Exponential", scale=1))
_SCALE = (Parameter(r"\sigma", "response", "residual scale", {}), Prior("Exponential", scale=1))
_FREEDOM = (Parameter(r"\nu", "1", "degrees of freedom of the residuals", {}), Prior("Gamma", alpha=2, beta=0.1))

FAMILIES: dict[str, Family] = {
    "gaussian": Family(
        definition="Responses scatter normally around the mean, equally at every dose.",
        distribution="Normal",
        parameters={"sigma": _SPREAD},
        arguments=lambda mean, sigma: {"mu": mean, "sigma": sigma},
        sample=lambda rng, mean, sigma: rng.normal(mean, sigma),
    ),
    "student_t": Family(
        definition="Responses scatter around the mean with heavier tails than normal ones, so outliers weigh less.",
        distribution="StudentT",
        parameters={"sigma": _SCALE, "nu": _FREEDOM},
        arguments=lambda mean, sigma, nu: {"mu": mean, "sigma": sigma, "nu": nu},
        sample=lambda rng, mean, sigma, nu: mean + sigma * rng.standard_t(nu, size=np.shape(mean)),
    ),
}
