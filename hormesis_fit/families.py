"""Observation models as data: how a response scatters around its mean."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hormesis_fit.parameter import Parameter, Prior

Declared = Mapping[str, tuple[Parameter, Prior]]


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
        Maps the mean, ``control=``, ``n=`` and the family's parameters to the arguments of the distribution.
    sample : callable
        Draws responses with NumPy from a generator and what `arguments` takes.
    spread : callable
        Standard deviation of one response, from what `arguments` takes.
    link : str
        Scale on which the shape of a curve acts: ``"identity"``, ``"log"`` for means above 0, ``"logit"`` for
        probabilities.
    support : str
        Responses that can be: a key of `SUPPORTS`.
    counts_successes : bool
        Whether the response is a number of successes out of ``n``.
    censored, summarised : bool
        Whether responses may be known within limits only, or as mean, SD and number.
    hurdle : bool
        Whether a response is 0 with the probability one minus ``presence``, and else follows the distribution.
    ordered : bool
        Whether the responses are ordered categories; the mean is then the probability to reach the middle one.
    """

    definition: str
    distribution: str
    parameters: Declared
    arguments: Callable[..., dict[str, Any]]
    sample: Callable[..., np.ndarray]
    spread: Callable[..., Any]
    link: str = "identity"
    support: str = "numbers"
    counts_successes: bool = False
    censored: bool = False
    summarised: bool = False
    hurdle: bool = False
    ordered: bool = False

    def declared(self) -> dict[str, Parameter]:
        """The family's parameters."""
        return {name: known for name, (known, _) in self.parameters.items()}

    def priors(self) -> dict[str, Prior]:
        """Their unit-free priors."""
        return {name: prior for name, (_, prior) in self.parameters.items()}

    def settled(self, response: np.ndarray) -> Family:
        """Return the family for the responses of one trial: ordered categories need as many steps as there are.

        Parameters
        ----------
        response : ndarray, shape (observation,)
            Responses [response].
        """
        return _ordinal(self, categories(response), middle(response)) if self.ordered else self


SUPPORTS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "numbers": ("numbers", np.isfinite),
    "positive": ("numbers above zero", lambda y: y > 0),
    "amounts": ("numbers of zero or more", lambda y: y >= 0),
    "counts": ("whole numbers of zero or more", lambda y: (y >= 0) & (y == np.round(y))),
    "shares": ("shares between 0 and 1, both excluded", lambda y: (y > 0) & (y < 1)),
    "successes": ("shares of successes between 0 and 1", lambda y: (y >= 0) & (y <= 1)),
    "categories": ("whole numbers, at most 12 different ones", lambda y: y == np.round(y)),
}


def categories(response: np.ndarray) -> list[int]:
    """Return the ordered categories of a trial, ascending."""
    return [int(k) for k in np.unique(response)]


def middle(response: np.ndarray) -> int:
    """Return the category whose probability to be reached is the mean of an ordinal model: near the median response."""
    levels = categories(response)
    return min(levels[1:], key=lambda k: abs(float(np.mean(response >= k)) - 0.5))


def _step(category: int) -> Parameter:
    text = f"distance, in log odds, of the threshold of category {category} from its neighbour towards the middle one"
    return Parameter(rf"\delta_{{{category}}}", "1", text, {})


_SPREAD = (Parameter(r"\sigma", "response", "residual standard deviation", {}), Prior("Exponential", scale=1))
_SCALE = (Parameter(r"\sigma", "response", "residual scale", {}), Prior("Exponential", scale=1))
_FREEDOM = (Parameter(r"\nu", "1", "degrees of freedom of the residuals", {}), Prior("Gamma", alpha=2, beta=0.1))
_POWER = (
    Parameter(r"\rho", "1", "power of the mean to which the residual SD is proportional", {}),
    Prior("Normal", mu=0.5, sigma=0.5),
)
_LOG_SPREAD = (Parameter(r"\sigma", "1", "residual SD of the log response", {}), Prior("HalfNormal", sigma=1))
_VARIATION = (Parameter("v", "1", "coefficient of variation of a response", {}), Prior("HalfNormal", sigma=0.5))
_PRECISION = (
    Parameter(r"\phi", "1", "precision: the mean times one minus the mean is (1 + precision) variances", {}),
    Prior("LogNormal", mu=math.log(20), sigma=1.5),
)
_DISPERSION = (
    Parameter(r"\alpha", "1", "variance beyond the Poisson one, per squared mean", {}),
    Prior("HalfNormal", sigma=1),
)
_PRESENCE = (
    Parameter(r"\pi", "1", "probability that a response is not one of the extra zeros", {}),
    Prior("Beta", alpha=2, beta=1),
)


def _ordinal(family: Family, levels: list[int], centre: int) -> Family:
    """The family of ordered categories, with a step between the thresholds of neighbours."""
    steps = {f"step_{k}": (_step(k), Prior("HalfNormal", sigma=2)) for k in levels[1:] if k != centre}

    def reached(mean, given):
        """Probability to reach each category, from the odds of the middle one."""
        odds, middle_at = mean / (1 - mean), levels.index(centre)
        shifts = {centre: 0.0}
        for i in range(middle_at + 1, len(levels)):
            shifts[levels[i]] = shifts[levels[i - 1]] - given[f"step_{levels[i]}"]
        for i in range(middle_at - 1, 0, -1):
            shifts[levels[i]] = shifts[levels[i + 1]] + given[f"step_{levels[i]}"]
        return [1 / (1 + np.exp(-shifts[k]) / odds) for k in levels[1:]]

    def shares(mean, given):
        above = [1 + 0 * mean, *reached(mean, given), 0 * mean]
        return [high - low for high, low in itertools.pairwise(above)]

    def sample(rng, mean, **given):
        drawn = rng.random(np.shape(mean))
        place = np.sum([drawn < at_least for at_least in reached(mean, given)], axis=0)
        return np.asarray(levels, dtype=float)[place]

    def spread(mean, **given):
        probability = shares(mean, given)
        average = sum(p * k for p, k in zip(probability, levels, strict=True))
        return np.sqrt(sum(p * (k - average) ** 2 for p, k in zip(probability, levels, strict=True)))

    return dataclasses.replace(
        family,
        parameters=steps,
        arguments=lambda mean, **given: {"p": shares(mean, given)},
        sample=sample,
        spread=spread,
    )


def _power_sigma(mean, control, sigma, power):
    # The mean of a falling curve approaches zero, where no response is without error.
    return sigma * np.exp(power * np.log(abs(mean / control) + 1e-3))


def _log_mean(mean, sigma):
    return np.log(mean) - sigma**2 / 2


def _log_sd(mean, sigma):
    return mean * np.sqrt(np.expm1(sigma**2))


def _hurdle_sd(mean, squared_cv, presence):
    """SD of a response that is 0 with probability 1 - presence, with overall mean `mean`."""
    return mean * np.sqrt((1 + squared_cv) / presence - 1)


FAMILIES: dict[str, Family] = {
    "gaussian": Family(
        definition="Responses scatter normally around the mean, equally at every dose.",
        distribution="Normal",
        parameters={"sigma": _SPREAD},
        arguments=lambda mean, sigma, **_: {"mu": mean, "sigma": sigma},
        sample=lambda rng, mean, sigma, **_: rng.normal(mean, sigma),
        spread=lambda mean, sigma, **_: sigma + 0 * mean,
        censored=True,
        summarised=True,
    ),
    "student_t": Family(
        definition="Responses scatter around the mean with heavier tails than normal ones, so outliers weigh less.",
        distribution="StudentT",
        parameters={"sigma": _SCALE, "nu": _FREEDOM},
        arguments=lambda mean, sigma, nu, **_: {"mu": mean, "sigma": sigma, "nu": nu},
        sample=lambda rng, mean, sigma, nu, **_: mean + sigma * rng.standard_t(nu, size=np.shape(mean)),
        spread=lambda mean, sigma, **_: sigma + 0 * mean,
        censored=True,
    ),
    "gaussian_power": Family(
        definition="Responses scatter normally, with a standard deviation proportional to a power of the mean.",
        distribution="Normal",
        parameters={"sigma": _SPREAD, "power": _POWER},
        arguments=lambda mean, control, sigma, power, **_: {
            "mu": mean,
            "sigma": _power_sigma(mean, control, sigma, power),
        },
        sample=lambda rng, mean, control, sigma, power, **_: rng.normal(
            mean, _power_sigma(mean, control, sigma, power)
        ),
        spread=lambda mean, control, sigma, power, **_: _power_sigma(mean, control, sigma, power),
        censored=True,
        summarised=True,
    ),
    "lognormal": Family(
        definition="Positive responses whose logarithms scatter normally; the curve is their mean, not their median.",
        distribution="LogNormal",
        parameters={"sigma": _LOG_SPREAD},
        arguments=lambda mean, sigma, **_: {"mu": _log_mean(mean, sigma), "sigma": sigma},
        sample=lambda rng, mean, sigma, **_: rng.lognormal(_log_mean(mean, sigma), sigma),
        spread=lambda mean, sigma, **_: _log_sd(mean, sigma),
        link="log",
        support="positive",
        censored=True,
        summarised=True,
    ),
    "gamma": Family(
        definition="Positive responses with a constant coefficient of variation.",
        distribution="Gamma",
        parameters={"variation": _VARIATION},
        arguments=lambda mean, variation, **_: {"alpha": variation**-2, "beta": variation**-2 / mean},
        sample=lambda rng, mean, variation, **_: rng.gamma(variation**-2, mean * variation**2),
        spread=lambda mean, variation, **_: mean * variation,
        link="log",
        support="positive",
        censored=True,
    ),
    "beta": Family(
        definition="Shares between 0 and 1 that scatter as a beta distribution around the mean.",
        distribution="Beta",
        parameters={"precision": _PRECISION},
        arguments=lambda mean, precision, **_: {"alpha": mean * precision, "beta": (1 - mean) * precision},
        sample=lambda rng, mean, precision, **_: rng.beta(mean * precision, (1 - mean) * precision),
        spread=lambda mean, precision, **_: np.sqrt(mean * (1 - mean) / (1 + precision)),
        link="logit",
        support="shares",
    ),
    "binomial": Family(
        definition="Numbers of successes in groups, every unit for itself.",
        distribution="Binomial",
        parameters={},
        arguments=lambda mean, n, **_: {"n": n, "p": mean},
        sample=lambda rng, mean, n, **_: rng.binomial(n, mean) / n,
        spread=lambda mean, **_: np.sqrt(mean * (1 - mean)),
        link="logit",
        support="successes",
        counts_successes=True,
    ),
    "beta_binomial": Family(
        definition="Numbers of successes in groups that differ from each other more than chance would have them.",
        distribution="BetaBinomial",
        parameters={"precision": _PRECISION},
        arguments=lambda mean, n, precision, **_: {
            "n": n,
            "alpha": mean * precision,
            "beta": (1 - mean) * precision,
        },
        sample=lambda rng, mean, n, precision, **_: (
            rng.binomial(n, rng.beta(mean * precision, (1 - mean) * precision)) / n
        ),
        spread=lambda mean, **_: np.sqrt(mean * (1 - mean)),
        link="logit",
        support="successes",
        counts_successes=True,
    ),
    "poisson": Family(
        definition="Counts whose variance is their mean.",
        distribution="Poisson",
        parameters={},
        arguments=lambda mean, **_: {"mu": mean},
        sample=lambda rng, mean, **_: rng.poisson(mean).astype(float),
        spread=lambda mean, **_: np.sqrt(mean),
        link="log",
        support="counts",
    ),
    "negative_binomial": Family(
        definition="Counts that scatter more than Poisson ones.",
        distribution="NegativeBinomial",
        parameters={"dispersion": _DISPERSION},
        arguments=lambda mean, dispersion, **_: {"mu": mean, "alpha": 1 / dispersion},
        sample=lambda rng, mean, dispersion, **_: rng.poisson(rng.gamma(1 / dispersion, mean * dispersion)).astype(
            float
        ),
        spread=lambda mean, dispersion, **_: np.sqrt(mean + dispersion * mean**2),
        link="log",
        support="counts",
    ),
    "zero_inflated_poisson": Family(
        definition="Poisson counts with extra zeros; the curve is the mean with the zeros.",
        distribution="ZeroInflatedPoisson",
        parameters={"presence": _PRESENCE},
        arguments=lambda mean, presence, **_: {"psi": presence, "mu": mean / presence},
        sample=lambda rng, mean, presence, **_: (
            (rng.random(np.shape(mean)) < presence) * rng.poisson(mean / presence).astype(float)
        ),
        spread=lambda mean, presence, **_: np.sqrt(mean + mean**2 * (1 - presence) / presence),
        link="log",
        support="counts",
    ),
    "zero_inflated_negative_binomial": Family(
        definition="Overdispersed counts with extra zeros; the curve is the mean with the zeros.",
        distribution="ZeroInflatedNegativeBinomial",
        parameters={"presence": _PRESENCE, "dispersion": _DISPERSION},
        arguments=lambda mean, presence, dispersion, **_: {
            "psi": presence,
            "mu": mean / presence,
            "alpha": 1 / dispersion,
        },
        sample=lambda rng, mean, presence, dispersion, **_: (
            (rng.random(np.shape(mean)) < presence)
            * rng.poisson(rng.gamma(1 / dispersion, mean / presence * dispersion)).astype(float)
        ),
        spread=lambda mean, presence, dispersion, **_: np.sqrt(mean + mean**2 * ((1 + dispersion) / presence - 1)),
        link="log",
        support="counts",
    ),
    "hurdle_lognormal": Family(
        definition="Zeros, and log-normal amounts where there is any; the curve is the mean with the zeros.",
        distribution="LogNormal",
        parameters={"presence": _PRESENCE, "sigma": _LOG_SPREAD},
        arguments=lambda mean, presence, sigma, **_: {"mu": _log_mean(mean / presence, sigma), "sigma": sigma},
        sample=lambda rng, mean, presence, sigma, **_: (
            (rng.random(np.shape(mean)) < presence) * rng.lognormal(_log_mean(mean / presence, sigma), sigma)
        ),
        spread=lambda mean, presence, sigma, **_: _hurdle_sd(mean, np.expm1(sigma**2), presence),
        link="log",
        support="amounts",
        hurdle=True,
    ),
    "hurdle_gamma": Family(
        definition="Zeros, and gamma amounts where there is any; the curve is the mean with the zeros.",
        distribution="Gamma",
        parameters={"presence": _PRESENCE, "variation": _VARIATION},
        arguments=lambda mean, presence, variation, **_: {
            "alpha": variation**-2,
            "beta": variation**-2 * presence / mean,
        },
        sample=lambda rng, mean, presence, variation, **_: (
            (rng.random(np.shape(mean)) < presence) * rng.gamma(variation**-2, mean / presence * variation**2)
        ),
        spread=lambda mean, presence, variation, **_: _hurdle_sd(mean, variation**2, presence),
        link="log",
        support="amounts",
        hurdle=True,
    ),
    "ordinal": Family(
        definition="Ordered categories by cumulative log odds; the curve is the probability to reach the middle one.",
        distribution="Categorical",
        parameters={},
        arguments=lambda mean, **_: {"p": [1 - mean, mean]},
        sample=lambda rng, mean, **_: rng.binomial(1, mean).astype(float),
        spread=lambda mean, **_: np.sqrt(mean * (1 - mean)),
        link="logit",
        support="categories",
        ordered=True,
    ),
}
"""Every observation model by its name: one `Family` each."""
