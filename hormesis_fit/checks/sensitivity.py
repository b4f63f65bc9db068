"""How far the answer leans on its priors, and whether the fitted model could have made the data."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy import stats
from scipy.special import expit, logit, logsumexp

from hormesis_fit.curves import Curve
from hormesis_fit.windows.posterior import Member, check_fit, domain, members, trial_of
from hormesis_fit.windows.prediction import replicates
from hormesis_fit.windows.request import request_of
from hormesis_fit.windows.windowing import window

FACTORS = (0.5, 1.0, 2.0)
STIMULATION = ("peak_stimulation", "peak_gain", "amplitude", "amplitude_gain")
LOWEST_ESS = 100  # below it a re-weighted probability is not given
FAR = 5.0  # times the control (or SDs of the responses): prior curves this high ought to be rare


class LogitNormal:
    """A share whose log odds are normal, with the methods of SciPy's distributions that are needed here."""

    def __init__(self, mu: float, sigma: float) -> None:
        self.odds = stats.norm(mu, sigma)

    def support(self) -> tuple[float, float]:
        """Return the ends of the shares."""
        return 0.0, 1.0

    def rvs(self, *, size: int | tuple[int, ...], random_state: np.random.Generator) -> np.ndarray:
        """Return draws."""
        return expit(self.odds.rvs(size=size, random_state=random_state))

    def ppf(self, probability: np.ndarray) -> np.ndarray:
        """Return quantiles."""
        return expit(self.odds.ppf(probability))

    def cdf(self, share: np.ndarray) -> np.ndarray:
        """Return the probability of a smaller share."""
        return self.odds.cdf(logit(share))

    def logpdf(self, share: np.ndarray) -> np.ndarray:
        """Return the log density."""
        return self.odds.logpdf(logit(share)) - np.log(share) - np.log1p(-share)


PRIORS = {
    "Normal": lambda mu, sigma: stats.norm(mu, sigma),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "TruncatedNormal": lambda mu, sigma, lower=-np.inf, upper=np.inf: stats.truncnorm(
        (lower - mu) / sigma, (upper - mu) / sigma, mu, sigma
    ),
    "LogNormal": lambda mu, sigma: stats.lognorm(sigma, scale=np.exp(mu)),
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
    "LogitNormal": lambda mu, sigma: LogitNormal(mu, sigma),
    "Gamma": lambda alpha, beta: stats.gamma(alpha, scale=1 / beta),
    "Exponential": lambda scale=1.0, lam=None: stats.expon(scale=scale if lam is None else 1 / lam),
    "Uniform": lambda lower, upper: stats.uniform(lower, upper - lower),
}


def window_of(fit: xr.DataTree) -> xr.Dataset:
    """Return the window of a fit: the one that was stored in it, or one with the default benefit, marked so."""
    check_fit(fit)
    return fit["window"].to_dataset() if "window" in fit else window(fit).assign_attrs(stated=0)


def curve_windows(fit: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the window of every curve by itself, asked what the fit's window was asked.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.

    Returns
    -------
    dict
        By curve, as from `window`: dims (chain, draw) in the order of its posterior, doses [dose], with ``probability``
        at the tested doses only.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.

    References
    ----------
    Belz and Piepho (2012), how far the doses of two curves may differ, https://doi.org/10.1371/journal.pone.0033432.
    """
    asked, doses = request_of(window_of(fit)), trial_of(fit)["dose"].values
    return {member.label: window(alone(fit, member.label), doses=doses, **asked) for member in members(fit)}


def alone(fit: xr.DataTree, label: str) -> xr.DataTree:
    """Return one curve of an average as a fit of its own."""
    evidence = fit["evidence"].to_dataset().sel(model=[label])
    tree = fit["models"][label] if "models" in fit else fit
    data = {name: fit[name].to_dataset() for name in ("constant_data", "observed_data")}
    groups = data | {"posterior": tree["posterior"].to_dataset(), "evidence": evidence.assign(weight=("model", [1.0]))}
    single = xr.DataTree.from_dict(groups)
    for name in ("endpoints", "regimen"):
        if name in fit:
            single[name] = fit[name].copy()
    single.attrs = fit.attrs
    return single


def prior_sensitivity(fit: xr.DataTree, *, windows: Mapping[str, xr.Dataset] | None = None) -> xr.Dataset:
    """Give the answer under narrower and wider priors of the stimulation, without refitting.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of one curve or of an average.
    windows : mapping, optional
        What `curve_windows` returns, where it is known already.

    Returns
    -------
    Dataset
        Over ``prior_scale``, a factor on the scale of the half-normal prior of the stimulation of every hormetic
        curve: ``prob_hormesis`` and ``prob_exists`` [1], NaN where their effective sample size ``ess`` is below 100;
        over (model, prior_scale) ``log_evidence`` and ``weight``.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.

    Notes
    -----
    The ratio of two evidences is the posterior mean of the ratio of the two priors,
    :math:`Z' / Z = E[p'(s) / p(s) | y]`, and the same ratios, normalised, re-weight the draws. Curves whose stimulation
    has another kind of prior keep theirs.

    References
    ----------
    Kallioinen et al. (2024), https://doi.org/10.1007/s11222-023-10366-5.
    """
    group, evidence = members(fit), fit["evidence"].to_dataset()
    windows = curve_windows(fit) if windows is None else windows
    logs = np.stack([_log_ratios(member) for member in group])  # (model, prior_scale, sample)
    gained = logsumexp(logs, axis=2) - np.log(logs.shape[2])
    ess = np.exp(2 * logsumexp(logs, axis=2) - logsumexp(2 * logs, axis=2))
    exists = np.stack([windows[member.label]["exists"].values.ravel() for member in group])
    prob_exists = np.exp(logsumexp(logs, axis=2, b=exists[:, None, :] + 1e-300) - logsumexp(logs, axis=2))
    table = evidence.sel(model=[member.label for member in group])
    log_evidence = np.where(ess >= LOWEST_ESS, table["log_evidence"].values[:, None] + gained, np.nan)
    # From the stored weights and not from the evidence anew: at factor 1 the answer is then the fit's own.
    scaled = table["weight"].values[:, None] * np.exp(gained - gained.max(axis=0))
    weight = scaled / scaled.sum(axis=0)
    hormetic = table["hormetic"].values.astype(bool)
    lowest = np.where((weight > 0.01) & hormetic[:, None], ess, np.inf).min(axis=0)
    lowest = np.where(np.isfinite(lowest), lowest, logs.shape[2])
    trusted = np.where(lowest >= LOWEST_ESS, 1.0, np.nan)
    known = 1.0 if np.isfinite(float(evidence["prob_hormesis"])) else np.nan
    columns = {
        "prob_hormesis": (
            weight[hormetic].sum(axis=0) * trusted * known,
            "Posterior probability of the hormetic curves.",
        ),
        "prob_exists": (
            (weight * prob_exists).sum(axis=0) * trusted,
            "Posterior probability that there is a window at all.",
        ),
        "ess": (lowest, "Lowest effective sample size of the re-weighted draws of a curve that carries weight."),
    }
    result = xr.Dataset(
        {name: ("prior_scale", values, {"units": "1", "definition": text}) for name, (values, text) in columns.items()},
        coords={"prior_scale": list(FACTORS), "model": table["model"].values},
    )
    result["log_evidence"] = ("model", "prior_scale"), log_evidence, {"units": "1", "definition": "Log evidence."}
    result["weight"] = (
        ("model", "prior_scale"),
        weight,
        {"units": "1", "definition": "Posterior probability of the curve."},
    )
    return result


def _log_ratios(member: Member) -> np.ndarray:
    """Log ratio of the changed to the given prior at every draw, shape (prior_scale, sample)."""
    ratios = np.zeros((len(FACTORS), member.size))
    if not member.curve.hormetic:
        return ratios
    for name, prior in stimulation_priors(member).items():
        squared = (member.draws[name].values / prior["sigma"]) ** 2 / 2
        for row, factor in enumerate(FACTORS):
            ratios[row] += squared * (1 - 1 / factor**2) - np.log(factor)
    return ratios


def stimulation_priors(member: Member) -> dict[str, dict]:
    """Return the half-normal priors of the stimulation of a curve, by parameter."""
    priors = json.loads(member.draws.attrs["priors"])
    found = {name: priors[name] for name in STIMULATION if name in priors}
    return {name: prior for name, prior in found.items() if prior["distribution"] == "HalfNormal"}


def predictive_check(fit: xr.DataTree) -> xr.Dataset:
    """Compare features of the trial with those of trials that the fitted model predicts.

    Returns
    -------
    Dataset
        Over ``feature``: ``observed``, ``median``, ``lower``, ``upper`` (95 % of the predicted trials) and ``tail``,
        the share of them at or beyond the observed value on the nearer side; very small tails speak against the model.
    """
    trial, predicted = trial_of(fit), replicates(fit)
    observed = _features(trial["response"].values[None, :], trial)
    simulated = _features(predicted.values.reshape(-1, trial.sizes["observation"]), trial)
    rows = {name: _compare(float(observed[name][0]), simulated[name]) for name in observed}
    columns = ("observed", "median", "lower", "upper", "tail")
    data = {column: ("feature", [row[column] for row in rows.values()]) for column in columns}
    return xr.Dataset(data, coords={"feature": list(rows)})


def predictive_groups(fit: xr.DataTree) -> xr.Dataset:
    """Compare the mean of every dose group with those that the fitted model predicts.

    Returns
    -------
    Dataset
        Over ``dose`` [dose]: ``responses`` in the group, and the columns of `predictive_check` for their mean
        [response].
    """
    trial, predicted = trial_of(fit), replicates(fit).values
    response, dose = trial["response"].values, trial["dose"].values
    rows = []
    for one in np.unique(dose):
        held = dose == one
        simulated = predicted[..., held].mean(axis=-1).ravel()
        rows.append({"responses": int(held.sum())} | _compare(float(response[held].mean()), simulated))
    data = {column: ("dose", [row[column] for row in rows]) for column in rows[0]}
    return xr.Dataset(data, coords={"dose": np.unique(dose)})


def _compare(observed: float, simulated: np.ndarray) -> dict[str, float]:
    lower, median, upper = np.quantile(simulated, [0.025, 0.5, 0.975])
    tail = min(np.mean(simulated >= observed), np.mean(simulated <= observed))
    return {"observed": observed, "median": median, "lower": lower, "upper": upper, "tail": float(tail)}


def _features(responses: np.ndarray, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Features of trials of shape (trial, observation)."""
    sign = 1 if trial.attrs["direction"] == "up" else -1
    dose = trial["dose"].values
    doses = np.unique(dose)
    groups = [responses[:, dose == one] for one in doses]
    means = np.stack([group.mean(axis=1) for group in groups], axis=1)
    gains = sign * (means[:, 1:] - means[:, :1])
    first = "the control" if doses[0] == 0 else "the lowest dose"
    found = {
        f"largest benefit of a dose group over {first}": gains.max(axis=1),
        f"dose groups with a benefit over {first}": (gains > 0).sum(axis=1).astype(float),
    }
    several = [group for group in groups if group.shape[1] > 1]
    if several:
        spreads = np.stack([group.std(axis=1, ddof=1) for group in several], axis=1)
        found["mean SD within dose groups"] = spreads.mean(axis=1)
        found["largest SD of a dose group"] = spreads.max(axis=1)
    return found


def prior_check(fit: xr.DataTree, *, size: int = 1000) -> xr.Dataset:
    """Look at curves drawn from the priors, before any data.

    Returns
    -------
    Dataset
        Over ``model``: ``far_share``, the share of prior curves that exceed five times the control (for benefits
        downwards: that fall below zero; on the interval scale: whose benefit exceeds five SDs of all responses), and
        ``peak_share``, the share of those with a peak whose peak dose lies beyond a thousandth of the lowest or a
        thousand times the highest tested dose. NaN for a prior that cannot be drawn here. Attrs: ``far``, the first in
        words. Both ought to stay below 0.05.
    """
    trial = trial_of(fit)
    shares = {member.label: prior_shares(member, trial, int(fit.attrs["seed"]), size) for member in members(fit)}
    data = {
        name: ("model", [share[k] for share in shares.values()]) for k, name in enumerate(("far_share", "peak_share"))
    }
    return xr.Dataset(data, coords={"model": list(shares)}, attrs={"far": far_words(trial)})


def far_words(trial: xr.Dataset) -> str:
    """Say in words what a prior curve does that goes too far."""
    if trial.attrs["scale"] != "ratio":
        return f"have a benefit above {FAR:g} SDs of all responses"
    return f"rise above {FAR:g} times the control" if trial.attrs["direction"] == "up" else "fall below zero"


def prior_shares(member: Member, trial: xr.Dataset, seed: int, size: int) -> tuple[float, float]:
    """Return the two shares of `prior_check` for one curve, whose draws need no more than the attr ``priors``."""
    drawn = prior_draws(json.loads(member.draws.attrs["priors"]), seed, size)
    if drawn is None:
        return np.nan, np.nan
    curve = at_prior(member.curve, drawn)
    low, high = domain(trial)
    grid = np.geomspace(low / 1e4, high * 1e4, 400)
    gains = np.broadcast_to(curve.sign * (curve(grid[None, :]) - curve.control), (size, grid.size))
    inside = gains[:, (grid >= low) & (grid <= high)].max(axis=1)
    if curve.scale == "ratio":
        limit = (FAR - 1 if curve.sign > 0 else 1) * curve.control[:, 0]
    else:
        limit = FAR * trial["response"].values.std(ddof=1)
    tested = trial["dose"].values[trial["dose"].values > 0]
    top, peaked = grid[gains.argmax(axis=1)], (gains.max(axis=1) > 0) & curve.hormetic
    astray = peaked & ((top < tested.min() / 1e3) | (top > tested.max() * 1e3))
    return float(np.mean(inside > limit)), float(astray.sum() / max(peaked.sum(), 1))


def at_prior(curve: Curve, drawn: Mapping[str, np.ndarray]) -> Curve:
    """Return a curve at draws from its priors; what has no prior keeps its one value."""
    names = curve.parameters()
    return curve.with_values(
        {name: drawn[name] if name in drawn else np.ravel(getattr(curve, name))[0] for name in names}
    )


def prior_draws(priors: Mapping[str, dict], seed: int, size: int) -> dict[str, np.ndarray] | None:
    """Return draws of shape (size, 1), or None where a distribution is not known here."""
    rng, drawn = np.random.default_rng([seed, 4]), {}
    for name, prior in priors.items():
        arguments = {key: value for key, value in prior.items() if key != "distribution"}
        try:
            distribution = PRIORS[prior["distribution"]](**arguments)
        except (KeyError, TypeError):
            return None
        drawn[name] = distribution.rvs(size=(size, 1), random_state=rng)
    return drawn


__all__ = ["curve_windows", "predictive_check", "prior_check", "prior_sensitivity", "replicates", "window_of"]
