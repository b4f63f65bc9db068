"""Priors as functions of a standard normal score, for many curves at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import betaincinv, erfinv, expit, log_ndtr, ndtr, ndtri, ndtri_exp

from hormesis_fit.parameter import Prior


def _half_normal(score: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    # From the nearer tail: 1 minus a probability next to 1 has no digits left.
    tail = ndtr(-np.abs(score))
    return sigma * np.where(score < 0, np.sqrt(2) * erfinv(tail), -ndtri(tail / 2))


def _truncated_normal(score: np.ndarray, mu: np.ndarray, sigma: np.ndarray, lower: np.ndarray) -> np.ndarray:
    # Above the bound log survivals add up, however far from the mean either of the two lies.
    return np.maximum(mu - sigma * ndtri_exp(log_ndtr((mu - lower) / sigma) + log_ndtr(-score)), lower)


# Distribution and arguments, in the order in which the function takes them: the same variable as a normal score.
QUANTILES: dict[tuple[str, tuple[str, ...]], Callable[..., np.ndarray]] = {
    ("Normal", ("mu", "sigma")): lambda score, mu, sigma: mu + sigma * score,
    ("LogNormal", ("mu", "sigma")): lambda score, mu, sigma: np.exp(mu + sigma * score),
    ("LogitNormal", ("mu", "sigma")): lambda score, mu, sigma: expit(mu + sigma * score),
    ("HalfNormal", ("sigma",)): _half_normal,
    ("TruncatedNormal", ("lower", "mu", "sigma")): lambda score, lower, mu, sigma: _truncated_normal(
        score, mu, sigma, lower
    ),
    ("Exponential", ("scale",)): lambda score, scale: -scale * log_ndtr(-score),
    ("Beta", ("alpha", "beta")): lambda score, alpha, beta: betaincinv(alpha, beta, ndtr(score)),
}


def _kind(prior: Prior) -> tuple[str, tuple[str, ...]]:
    return prior.distribution, tuple(sorted(prior.arguments))


def known(priors: Mapping[str, Prior]) -> bool:
    """Whether every prior of a model is a known function of a normal score."""
    return all(_kind(prior) in QUANTILES for prior in priors.values())


class Scores:
    """The parameters of many curves of one structure, as functions of independent standard normal scores.

    Parameters
    ----------
    priors : sequence of mapping
        Priors of each curve, by parameter name: the same names and distributions for all.
    """

    def __init__(self, priors: list[Mapping[str, Prior]]) -> None:
        self.names = tuple(priors[0])
        self._quantiles = [QUANTILES[_kind(priors[0][name])] for name in self.names]
        self._arguments = [
            [np.array([[one[name].arguments[argument]] for one in priors]) for argument in _kind(priors[0][name])[1]]
            for name in self.names
        ]

    def take(self, which: np.ndarray) -> Scores:
        """Return the scores of some of the curves."""
        part = object.__new__(Scores)
        part.names, part._quantiles = self.names, self._quantiles
        part._arguments = [[one[which] for one in arguments] for arguments in self._arguments]
        return part

    def __call__(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters, each of shape (curve, draw), at scores of shape (curve, parameter, draw)."""
        rows = zip(self.names, self._quantiles, self._arguments, strict=True)
        return {name: quantile(scores[:, j], *arguments) for j, (name, quantile, arguments) in enumerate(rows)}
