"""How strong the evidence for hormesis is, and what it leans on: one function for each question of a reviewer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy.special import expit, logit, logsumexp

from hormesis_fit.checks.sensitivity import PRIORS, at_prior, prior_draws
from hormesis_fit.windows.posterior import Member, check_fit, members, trial_of
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.windowing import threshold_of

if TYPE_CHECKING:
    pass

PRIOR_SIZE = 4000  # prior draws where a prior probability has no closed form


def described_table(columns: Mapping[str, tuple], coords: Mapping[str, Any], **attrs: Any) -> xr.Dataset:
    """Return a Dataset of columns ``name: (dims, values, definition)``, all of them pure numbers or words."""
    variables = {
        name: (dims, values, {"units": "1", "long_name": name.replace("_", " "), "definition": definition})
        for name, (dims, values, definition) in columns.items()
    }
    return xr.Dataset(variables, coords=dict(coords), attrs=attrs)


def stimulation_evidence(
    fit: xr.DataTree,
    *,
    rope: tuple[float, float] = (0.0, 0.05),
    windows: Mapping[str, xr.Dataset] | None = None,
) -> xr.Dataset:
    """Weigh a negligible peak stimulation against one that is not, curve by curve, from draws alone.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    rope : tuple of float
        Peak stimulations that are practically none, relative to the control [1].
    windows : mapping, optional
        What `curve_windows` returns, where it is known already.

    Returns
    -------
    Dataset
        Pure numbers [1]. Over (model,), the hormetic curves: ``bayes_factor_negligible`` of a stimulation below the
        upper end of the rope against one at or above it, with the Monte Carlo error ``log_bayes_factor_se`` of its log;
        ``prior_below``, ``posterior_below``, ``prob_above``; ``hdi`` over (model, ci_bound), 95 %; ``verdict``:
        ``"hormesis"`` where the HDI lies above the rope, ``"negligible"`` where inside, else ``"undecided"``. Scalar
        ``prob_above_average``: the probability of a peak above the rope over all curves by weight, those without a peak
        counting as none.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If the rope is no ascending pair of numbers.

    Notes
    -----
    The Bayes factor is posterior odds of the interval over prior odds. A draw without a peak has no stimulation.

    References
    ----------
    Kruschke (2018), Rejecting or accepting parameter values, https://doi.org/10.1177/2515245918771304; Morey and Rouder
    (2011), Bayes factors of intervals, https://doi.org/10.1037/a0024377.
    """
    lowest, eps = _rope(rope)
    trial, group = trial_of(fit), members(fit)
    hormetic = [member for member in group if member.curve.hormetic]
    # The prior is that of a typical subject: the windows of other people say nothing about it.
    if windows is None or any(one.attrs["estimand"] != "typical" for one in windows.values()):
        drawn = {member.label: _stimulation(member, trial) for member in hormetic}
    else:
        known = {member.label: windows[member.label]["peak_stimulation"] for member in hormetic}
        drawn = {label: np.nan_to_num(draws.values.ravel()) for label, draws in known.items()}
    seed = int(fit.attrs["seed"])
    before = {member.label: _prior_below(member, trial, eps, seed) for member in hormetic}
    labels = list(drawn)
    prior, prior_size = np.array([before[label] for label in labels]).reshape(-1, 2).T
    below = np.array([np.mean(drawn[label] < eps) for label in labels])
    ess = fit["evidence"].to_dataset()["ess"].sel(model=labels).values
    size = np.minimum(ess, [len(drawn[label]) for label in labels])
    hdi = np.array([array_stats.hdi(drawn[label], 0.95) for label in labels]).reshape(-1, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = below / (1 - below) * (1 - prior) / prior
        error = np.sqrt(1 / (size * below * (1 - below)) + 1 / (prior_size * prior * (1 - prior)))
    verdict = np.where(hdi[:, 0] > eps, "hormesis", "undecided")
    verdict = np.where((hdi[:, 0] >= lowest) & (hdi[:, 1] <= eps), "negligible", verdict)
    weight = {member.label: member.weight for member in group}
    average = sum(weight[label] * (1 - share) for label, share in zip(labels, below, strict=True))
    columns = {
        "bayes_factor_negligible": ("model", factor, "Bayes factor of a stimulation below the rope's upper end."),
        "log_bayes_factor_se": ("model", error, "Monte Carlo error of its log; infinite where no draw is on one side."),
        "prior_below": ("model", prior, "Prior probability of a stimulation below the rope's upper end."),
        "posterior_below": ("model", below, "Posterior probability of a stimulation below the rope's upper end."),
        "prob_above": ("model", 1 - below, "Posterior probability of a stimulation at or above the rope's upper end."),
        "hdi": (("model", "ci_bound"), hdi, "95 % highest-density interval of the peak stimulation."),
        "verdict": ("model", verdict, "Where the interval lies: above the rope, inside, or neither."),
        "prob_above_average": ((), float(average), "Probability of a peak above the rope, over all curves by weight."),
    }
    return described_table(columns, {"model": labels, "ci_bound": ["lower", "upper"]}, rope=[lowest, eps])


def _rope(rope: tuple[float, float]) -> tuple[float, float]:
    try:
        lowest, eps = (float(end) for end in rope)
    except (TypeError, ValueError):
        lowest, eps = np.nan, np.nan
    if not (np.isfinite(lowest) and np.isfinite(eps) and lowest < eps and eps > 0):
        raise ValueError(
            f"rope must be two ascending stimulations, the upper above 0, such as (0, 0.05), got {rope!r}."
        )
    return lowest, eps


def _stimulation(member: Member, trial: xr.Dataset) -> np.ndarray:
    """Peak stimulation of every draw, 0 where there is no peak, shape (sample,)."""
    with np.errstate(all="ignore"):  # prior draws may be wild
        solved = solve(member, threshold_of(member, 0.1, "relative"), trial)
    return np.nan_to_num(solved["peak_stimulation"])


def _prior_below(member: Member, trial: xr.Dataset, eps: float, seed: int) -> tuple[float, float]:
    """Prior probability of a stimulation below eps, and the number of draws behind it: infinite in closed form."""
    priors = json.loads(member.draws.attrs["priors"])
    drawn = prior_draws(priors, seed, PRIOR_SIZE)
    if drawn is None:
        return np.nan, np.nan
    if "peak_stimulation" in priors:
        arguments = {key: value for key, value in priors["peak_stimulation"].items() if key != "distribution"}
        return float(PRIORS[priors["peak_stimulation"]["distribution"]](**arguments).cdf(eps)), np.inf
    draws = xr.Dataset({name: ("sample", values[:, 0]) for name, values in drawn.items()}, attrs=member.draws.attrs)
    before = Member(member.label, at_prior(member.curve, drawn), draws, (1, PRIOR_SIZE), 1.0)
    return float(np.mean(_stimulation(before, trial) < eps)), float(PRIOR_SIZE)


def bayes_factors(fit: xr.DataTree, *, probability: float = 0.95) -> xr.Dataset:
    """Compare the curves of a fit, and hormetic with other curves, by their evidence.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of several curves.
    probability : float
        Posterior probability of hormesis that would convince.

    Returns
    -------
    Dataset
        Pure numbers [1]. Over (model, reference): ``bayes_factor`` of the model against the reference,
        ``log_bayes_factor`` and its Monte Carlo error ``log_bayes_factor_se``. Scalars for the hormetic against the
        other curves, equal weights inside each set: ``bayes_factor_hormesis``, ``log_bayes_factor_hormesis``,
        ``log_bayes_factor_hormesis_se``, and ``prior_needed``, the smallest prior probability of hormesis from which
        the data lead to `probability`; NaN where the fit holds only one kind. Curves that failed are NaN.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If `probability` does not lie between 0 and 1.

    References
    ----------
    Kruschke (2021), Bayesian analysis reporting guidelines, https://doi.org/10.1038/s41562-021-01177-7.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, such as 0.95, got {probability!r}.")
    check_fit(fit)
    evidence = fit["evidence"].to_dataset()
    logs, errors = (evidence[name].values.astype(float) for name in ("log_evidence", "log_evidence_se"))
    kinds, usable = evidence["hormetic"].values.astype(bool), np.isfinite(logs)
    difference = logs[:, None] - logs[None, :]
    error = np.hypot(errors[:, None], errors[None, :]) * (1 - np.eye(len(logs)))
    (above, above_se), (below, below_se) = (
        _set_evidence(logs[k & usable], errors[k & usable]) for k in (kinds, ~kinds)
    )
    log_factor = above - below
    needed = expit(logit(probability) - log_factor)
    both, text = ("model", "reference"), "hormetic against the other curves, equal weights inside each set."
    columns = {
        "bayes_factor": (both, np.exp(difference), "Evidence of the model per evidence of the reference."),
        "log_bayes_factor": (both, difference, "Log of the Bayes factor."),
        "log_bayes_factor_se": (both, error, "Monte Carlo error of the log Bayes factor."),
        "bayes_factor_hormesis": ((), float(np.exp(log_factor)), f"Bayes factor of the {text}"),
        "log_bayes_factor_hormesis": ((), log_factor, f"Log Bayes factor of the {text}"),
        "log_bayes_factor_hormesis_se": ((), float(np.hypot(above_se, below_se)), "Its Monte Carlo error."),
        "prior_needed": ((), float(needed), f"Smallest prior probability of hormesis for P = {probability:g}."),
    }
    labels = evidence["model"].values
    return described_table(columns, {"model": labels, "reference": labels}, probability=float(probability))


def _set_evidence(logs: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Log mean evidence of a set of curves, and its Monte Carlo error."""
    if logs.size == 0:
        return np.nan, np.nan
    shares = np.exp(logs - logsumexp(logs))
    return float(logsumexp(logs) - np.log(logs.size)), float(np.sqrt(np.sum((shares * errors) ** 2)))


def posterior_fdr(probabilities: xr.DataArray | Sequence[float], *, level: float = 0.05) -> xr.Dataset:
    """Choose the curves of a screen so that few of them are expected to be false.

    Parameters
    ----------
    probabilities : DataArray or sequence of float
        Posterior probability of hormesis of every curve, one dimension; NaN where a fit gave none.
    level : float
        Largest expected share of false ones among the chosen.

    Returns
    -------
    Dataset
        Pure numbers [1]. Over the dim of `probabilities`, or over (curve,): ``local_fdr``, one minus the probability;
        ``rank`` from 1, the surest; ``fdr``, the expected share of false ones among all up to this rank; ``selected``,
        the largest set whose share is at most `level`. NaN, never selected, where there is no probability. Scalars
        ``selected_count`` and ``expected_false``, the expected number of false ones among the selected.

    Raises
    ------
    ValueError
        If `level` or a probability does not lie between 0 and 1.

    References
    ----------
    Newton et al. (2004), https://doi.org/10.1093/biostatistics/5.2.155.

    Examples
    --------
    >>> posterior_fdr([0.99, 0.5, 0.97, 0.91])["selected"].values
    array([ True, False,  True,  True])
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, such as 0.05, got {level!r}.")
    given = probabilities if isinstance(probabilities, xr.DataArray) else xr.DataArray(probabilities, dims="curve")
    values = given.values.astype(float)
    if values.ndim != 1 or np.any((values < 0) | (values > 1)):
        raise ValueError("probabilities must be one row of numbers between 0 and 1, or NaN.")
    order = np.argsort(1 - values, kind="stable")[: np.isfinite(values).sum()]  # NaNs sort last
    rank, fdr = np.full((2, len(values)), np.nan)
    rank[order] = np.arange(1, order.size + 1)
    fdr[order] = np.cumsum(1 - values[order]) / rank[order]
    # Rounding must not cost a curve: 1 - 0.95 is a little above 0.05.
    selected = np.nan_to_num(fdr, nan=1.0) <= level * (1 + 1e-12)
    [dim] = given.dims
    columns = {
        "local_fdr": (dim, 1 - values, "Probability that the curve is not hormetic."),
        "rank": (dim, rank, "Place of the curve, the surest first."),
        "fdr": (dim, fdr, "Expected share of false ones among the curves up to this rank."),
        "selected": (dim, selected, "Whether the curve belongs to the largest set within the level."),
        "selected_count": ((), int(selected.sum()), "Number of selected curves."),
        "expected_false": ((), float((1 - values)[selected].sum()), "Expected false ones among the selected."),
    }
    return described_table(columns, given.coords, level=float(level))


__all__ = [
    "bayes_factors",
    "posterior_fdr",
    "stimulation_evidence",
]
