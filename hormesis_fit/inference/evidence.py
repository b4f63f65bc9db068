"""Marginal likelihoods, model weights and the probability of hormesis, from densities and draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from hormesis_fit.inference.importance import fit_mixture
from hormesis_fit.model.density import Density

DEFINITIONS = {
    "log_evidence": "Log marginal likelihood of the curve.",
    "log_evidence_se": "Monte Carlo standard error of the log evidence.",
    "prior_weight": "Probability of the curve before the data.",
    "weight": "Posterior probability of the curve within the set.",
    "hormetic": "Whether the curve can rise above and fall back to the control.",
    "engine": "How the posterior was computed.",
    "note": "Why a curve failed or was treated otherwise than asked.",
    "ess": "Effective sample size: Kish's for importance sampling, the lowest bulk one for NUTS.",
    "pareto_k": "Pareto k-hat of the importance weights; below 0.7 is healthy.",
    "max_rhat": "Largest R-hat of the chains; below 1.01 is healthy.",
    "divergences": "Divergent transitions.",
    "sick": "Whether the computation stayed unhealthy after its retry.",
    "prob_hormesis": "Posterior probability of the hormetic curves of the set.",
}


def pareto_k(log_weights: np.ndarray) -> float:
    """Return Pareto's k-hat of importance weights, shape (n,)."""
    # ArviZ's PSIS takes log likelihoods of left-out observations, whose importance weights are their inverse.
    _, k = array_stats.psislw(-np.asarray(log_weights))
    return float(k)


def bridge_evidence(density: Density, chains: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Estimate the log evidence from posterior draws by bridge sampling.

    Parameters
    ----------
    density : Density
        Log prior and log likelihood of the model.
    chains : ndarray, shape (chain, draw, dimension)
        Unconstrained posterior draws.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of float
        Log evidence and its relative standard error.

    References
    ----------
    Meng and Wong (1996), Statistica Sinica 6:831; the error by Fruehwirth-Schnatter (2004),
    https://doi.org/10.1111/j.1368-423X.2004.00125.x.
    """
    half = chains.shape[1] // 2
    first, second = (part.reshape(-1, chains.shape[2]) for part in (chains[:, :half], chains[:, half:]))
    # The proposal is fitted to one half of the draws and bridged with the other, so that it cannot flatter itself.
    proposal = fit_mixture(first, np.full(len(first), 1 / len(first)), rng)
    proposed = proposal.draw(len(second), rng)
    posterior = np.add(*density(second)) - proposal.log_density(second)
    candidate = np.add(*density(proposed)) - proposal.log_density(proposed)
    lowest_ess = min(float(array_stats.ess(chains[:, half:, index])) for index in range(chains.shape[2]))
    share = lowest_ess / (lowest_ess + len(proposed))
    shift = np.median(posterior)
    log_ratio = _iterate_bridge(posterior - shift, candidate - shift, share)
    error = _bridge_error(posterior - shift - log_ratio, candidate - shift - log_ratio, share, chains.shape[0])
    return float(log_ratio + shift), error


def _iterate_bridge(posterior: np.ndarray, candidate: np.ndarray, share: float) -> float:
    log_ratio = 0.0
    for _ in range(1000):
        top = candidate - np.logaddexp(np.log(share) + candidate, np.log1p(-share) + log_ratio)
        bottom = -np.logaddexp(np.log(share) + posterior, np.log1p(-share) + log_ratio)
        former, log_ratio = log_ratio, logsumexp(top) - np.log(len(top)) - logsumexp(bottom) + np.log(len(bottom))
        if abs(log_ratio - former) < 1e-10:
            break
    return float(log_ratio)


def _bridge_error(posterior: np.ndarray, candidate: np.ndarray, share: float, chains: int) -> float:
    ratio = np.exp(candidate - np.logaddexp(np.log(share) + candidate, np.log1p(-share)))
    inverse = np.exp(-np.logaddexp(np.log(share) + posterior, np.log1p(-share)))
    independent = ratio.var() / ratio.mean() ** 2 / len(ratio)
    effective = float(array_stats.ess(inverse.reshape(chains, -1)))
    return float(np.sqrt(independent + inverse.var() / inverse.mean() ** 2 / max(effective, 1.0)))


def prior_weights(hormetic: Sequence[bool], usable: Sequence[bool], prior_hormesis: float) -> np.ndarray:
    """Return the prior probability of every curve, shape (model,).

    The hormetic curves share `prior_hormesis` equally, the others the rest: the number of members does not change the
    odds. Where only one kind is there, it gets everything; curves that failed get nothing.
    """
    kinds, there = np.asarray(hormetic), np.asarray(usable)
    weights = np.zeros(len(kinds))
    for kind, mass in ((True, prior_hormesis), (False, 1 - prior_hormesis)):
        members = there & (kinds == kind)
        weights[members] = mass / max(members.sum(), 1)
    return weights / weights.sum()


def evidence_table(records: Mapping[str, Mapping[str, object]], *, prior_hormesis: float = 0.5) -> xr.Dataset:
    """Weigh the curves of a set against each other.

    Parameters
    ----------
    records : mapping
        Per curve: ``log_evidence`` (NaN where it failed), ``log_evidence_se``, ``hormetic``, ``engine``, ``note``,
        ``ess``, ``pareto_k``, ``max_rhat``, ``divergences``, ``sick``.
    prior_hormesis : float
        Prior probability of the hormetic curves together.

    Returns
    -------
    Dataset
        The records with ``prior_weight`` and ``weight`` over the dim (model,), and the scalar ``prob_hormesis``: NaN
        where the set holds only one kind, so that the data could not tell.
    """
    columns = {name: [record[name] for record in records.values()] for name in next(iter(records.values()))}
    log_evidence = np.asarray(columns["log_evidence"], dtype=float)
    usable, hormetic = np.isfinite(log_evidence), np.asarray(columns["hormetic"], dtype=bool)
    prior = prior_weights(hormetic, usable, prior_hormesis)
    logs = np.where(prior > 0, np.log(np.maximum(prior, 1e-300)) + np.where(usable, log_evidence, 0), -np.inf)
    weight = np.exp(logs - logsumexp(logs))
    both_kinds = usable[hormetic].any() and usable[~hormetic].any()
    table = xr.Dataset(
        {name: ("model", values) for name, values in columns.items()}
        | {"prior_weight": ("model", prior), "weight": ("model", weight)}
        | {"prob_hormesis": float(weight[hormetic].sum()) if both_kinds else np.nan},
        coords={"model": list(records)},
        attrs={"prior_hormesis": prior_hormesis, "weighted_by": "posterior probability"},
    )
    for name, variable in table.data_vars.items():
        variable.attrs |= {"units": "1", "long_name": str(name).replace("_", " "), "definition": DEFINITIONS[str(name)]}
    return table
