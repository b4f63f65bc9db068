"""Many curves at once: how many of them are hormetic, and what that says of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, logsumexp

SHARE = (1.0, 4.0)  # Beta prior of the share of hormetic curves: a fifth of them, and rather fewer than more
GRID = 4000


@dataclass(frozen=True)
class Share:
    """The share of hormetic curves of a screen, and the curves in its light.

    Attributes
    ----------
    mean, lower, upper : float
        Posterior mean and 95 % interval of the share.
    probabilities : ndarray, shape (curve,)
        Probability that each curve is hormetic, given the share; NaN where there is none.
    """

    mean: float
    lower: float
    upper: float
    probabilities: np.ndarray


def share_of(probabilities: np.ndarray, prior_hormesis: float) -> Share:
    r"""Return the share of hormetic curves in a screen, and their probabilities given it.

    Parameters
    ----------
    probabilities : ndarray, shape (curve,)
        Probability of hormesis of every curve by itself; NaN where a fit gave none.
    prior_hormesis : float
        Prior probability with which they were computed.

    Notes
    -----
    With :math:`B_i` the Bayes factor of hormesis of curve :math:`i`, the share has the posterior density
    :math:`p(\pi) \propto \mathrm{Beta}(\pi; 1, 4) \prod_i (\pi B_i + 1 - \pi)`, and a curve the probability
    :math:`E[\pi B_i / (\pi B_i + 1 - \pi)]`; by the midpoint rule in the log odds of the share.
    """
    known = np.isfinite(probabilities)
    found = np.full(probabilities.shape, np.nan)
    if not known.any():
        return Share(np.nan, np.nan, np.nan, found)
    # A probability of exactly 1 is one next to it that was rounded.
    log_factors = logit(np.clip(probabilities[known], 1e-300, 1 - 1e-16)) - logit(prior_hormesis)
    edges = np.linspace(-16.0, 16.0, GRID + 1)
    odds = (edges[:-1] + edges[1:]) / 2
    log_share, log_rest = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
    first, second = SHARE
    logs = first * log_share + second * log_rest  # with the Jacobian of the log odds
    for factor in np.sort(log_factors):  # sums to the same last bit in whatever order the curves come
        logs += np.logaddexp(log_share + factor, log_rest)
    weights = np.exp(logs - logsumexp(logs))
    share = expit(odds)
    total = np.cumsum(weights)
    lower, upper = np.interp([0.025, 0.975], total, share)
    likely = np.flatnonzero(weights > 1e-12)  # a few hundred of the grid, the rest changes no digit
    found[known] = [float(weights[likely] @ expit(odds[likely] + factor)) for factor in log_factors]
    return Share(float(weights @ share), float(lower), float(upper), found)
