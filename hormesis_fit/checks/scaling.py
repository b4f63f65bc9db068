"""How far the answer leans on the priors and on the data: either is weakened and strengthened, without a refit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from scipy import stats
from scipy.special import expit, logsumexp

from hormesis_fit.checks.hypotheses import described_table
from hormesis_fit.checks.sensitivity import PRIORS, curve_windows
from hormesis_fit.windows.estimands import effects_in
from hormesis_fit.windows.posterior import Member, check_fit, described, members, trial_of


def power_scaling(
    fit: xr.DataTree,
    *,
    alphas: tuple[float, float] = (0.8, 1.25),
    windows: Mapping[str, xr.Dataset] | None = None,
) -> xr.Dataset:
    r"""Give the answer with the priors, or the data, weakened and strengthened, without refitting.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of one curve or of an average.
    alphas : tuple of float
        Powers below and above one to which the priors, or the likelihood, are raised.
    windows : mapping, optional
        What `curve_windows` returns, where it is known already.

    Returns
    -------
    Dataset
        Over (component, alpha), with power 1 as the fit itself: ``prob_hormesis``, ``prob_exists`` [1], the medians
        ``window_lower``, ``window_upper``, ``peak_dose`` [dose] of the draws that have them, ``pareto_k``, the worst of
        the curves with more than one per cent of the weight (above 0.7 the row is not to be trusted); over
        (component, alpha, model): ``weight`` and ``model_pareto_k``.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If `alphas` are not one power below and one above 1, or the fit holds no log prior.

    Notes
    -----
    Draws are re-weighted by :math:`p^{\alpha-1}` (Pareto smoothed) and curves by the mean of it over the normalising
    constant of the scaled prior, so that units do not matter. Priors are scaled where they are sampled: positive
    parameters on their log scale, shares on their logit scale, so that a log-normal prior keeps its median.

    References
    ----------
    Kallioinen et al. (2024), https://doi.org/10.1007/s11222-023-10366-5.
    """
    check_fit(fit)
    low, high = alphas
    if not 0 < low < 1 < high:
        raise ValueError(f"alphas must be one power below and one above 1, such as (0.8, 1.25), got {alphas!r}.")
    if any("log_prior" not in tree for tree in (fit["models"].children.values() if "models" in fit else [fit])):
        raise ValueError("The fit was updated by re-weighting and holds no log prior: fit the whole trial again.")
    group, trial = members(fit), trial_of(fit)
    windows = curve_windows(fit) if windows is None else windows
    hormetic = np.array([member.curve.hormetic for member in group])
    known = 1.0 if np.isfinite(float(fit["evidence"]["prob_hormesis"])) else np.nan
    powers, components = (float(low), 1.0, float(high)), ("prior", "likelihood")
    rows = [_scaled_row(fit, group, windows, component, power) for component in components for power in powers]
    grid = {name: np.array([row[name] for row in rows]).reshape(2, 3, *np.shape(rows[0][name])) for name in rows[0]}
    both = ("component", "alpha")
    each = (*both, "model")
    columns = {
        "prob_hormesis": (both, grid["weight"][..., hormetic].sum(-1) * known, "Probability of the hormetic curves."),
        "prob_exists": (both, grid["prob_exists"], "Posterior probability that there is a window at all."),
        "window_lower": (both, grid["window_lower"], "Median lowest dose with the benefit asked for."),
        "window_upper": (both, grid["window_upper"], "Median highest dose with the benefit asked for."),
        "peak_dose": (both, grid["peak_dose"], "Median dose of the highest mean benefit."),
        "pareto_k": (both, grid["pareto_k"], "Worst Pareto k-hat of the curves that carry weight."),
        "weight": (each, grid["weight"], "Posterior probability of the curve."),
        "model_pareto_k": (each, grid["model_pareto_k"], "Pareto k-hat of the re-weighting of the curve's draws."),
    }
    coords = {"component": list(components), "alpha": list(powers), "model": [member.label for member in group]}
    table = described_table(columns, coords)
    for name in ("window_lower", "window_upper", "peak_dose"):
        table[name].attrs["units"] = described("dose", trial, "")["units"]
    return table


def _scaled_row(
    fit: xr.DataTree, group: Sequence[Member], windows: Mapping[str, xr.Dataset], component: str, power: float
) -> dict[str, Any]:
    """The answer with one component raised to one power."""
    scaled = [scaled_draws(fit, member, component, power) for member in group]
    with np.errstate(divide="ignore"):
        logs = np.log([member.weight for member in group]) + [gain for _, gain, _ in scaled]
    weight = np.exp(logs - logsumexp(logs))
    k = np.array([one for _, _, one in scaled])
    share = np.concatenate([w * np.exp(log_weight) for w, (log_weight, _, _) in zip(weight, scaled, strict=True)])
    drawn = {
        name: np.concatenate([windows[member.label][name].values.ravel() for member in group])
        for name in ("exists", "window_lower", "window_upper", "peak_dose")
    }
    result = {"weight": weight, "model_pareto_k": k, "pareto_k": k[weight > 0.01].max(initial=-np.inf)}
    result["prob_exists"] = float(share[drawn.pop("exists").astype(bool)].sum())
    for name, values in drawn.items():
        there = ~np.isnan(values) & (share > 0)
        result[name] = (
            np.quantile(values[there], 0.5, weights=share[there], method="inverted_cdf") if there.any() else np.nan
        )
    return result


def scaled_draws(fit: xr.DataTree, member: Member, component: str, power: float) -> tuple[np.ndarray, float, float]:
    """Return normalised log weights of a curve's draws, the log factor of its evidence, and k-hat."""
    if power == 1:
        return np.full(member.size, -np.log(member.size)), 0.0, np.nan
    tree = fit["models"][member.label] if "models" in fit else fit
    if component == "prior":
        log_density = tree["log_prior"]["parameters"].values.ravel() - _log_offsets(member)
        constant = prior_constant(json.loads(member.draws.attrs["priors"]), power, sizes=_sizes(member))
    else:
        log_density, constant = tree["log_likelihood"]["response"].sum("observation").values.ravel(), 0.0
    ratio = (power - 1) * log_density
    try:
        log_weight, k = array_stats.psislw(-ratio)
    except ValueError:  # a sick fit may repeat a few draws so often that there is no tail to smooth
        log_weight, k = ratio - logsumexp(ratio), np.inf
    return log_weight, float(logsumexp(ratio) - np.log(ratio.size)) - constant, float(k)


def _log_offsets(member: Member) -> np.ndarray | float:
    """Log density of the offsets of groups, a part of the model and no prior of its parameters, shape (sample,)."""
    found = (member.draws[one.offset].transpose("sample", one.group).values for one in effects_in(member))
    return sum((stats.norm.logpdf(values).sum(axis=1) for values in found), start=0.0)


def _sizes(member: Member) -> dict[str, int]:
    """Number of elements of the parameters that are vectors: coefficients of covariates."""
    return {str(name): one.size // member.size for name, one in member.draws.data_vars.items() if one.ndim > 1}


def prior_constant(
    priors: Mapping[str, Mapping[str, Any]], power: float, *, sizes: Mapping[str, int] | None = None
) -> float:
    """Return the log integral of a joint prior raised to a power, on the scales on which it is sampled.

    Parameters
    ----------
    priors : mapping
        By parameter: ``distribution`` and its arguments. NaN where a distribution is not known here.
    power : float
        Above 0.
    sizes : mapping, optional
        Number of elements of the parameters that have more than one.
    """
    count = sizes or {}
    return float(sum(count.get(name, 1) * _power_integral(prior, power) for name, prior in priors.items()))


def _power_integral(prior: Mapping[str, Any], power: float) -> float:
    arguments = {key: value for key, value in prior.items() if key != "distribution"}
    try:
        distribution = PRIORS[prior["distribution"]](**arguments)
    except (KeyError, TypeError):
        return np.nan
    if prior["distribution"] == "HalfNormal":  # sampled as a standard normal score
        distribution = stats.norm()
    low, high = distribution.support()
    point, step = np.linspace(-30, 30, 2001, retstep=True)
    with np.errstate(all="ignore"):
        value = distribution.ppf(expit(point))  # the integral runs over quantiles, these over their logits
        slope = (np.log(value - low) if np.isfinite(low) else 0) + (np.log(high - value) if np.isfinite(high) else 0)
        slope = slope - (np.log(high - low) if np.isfinite(high - low) else 0)
        logs = (power - 1) * (distribution.logpdf(value) + slope) + np.log(expit(point)) + np.log(expit(-point))
    return float(logsumexp(logs[np.isfinite(logs)]) + np.log(step))


__all__ = ["power_scaling"]
