"""How well the curves of a fit predict: weights by prediction, and dose groups that are left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from arviz_stats import compare, loo
from scipy.special import logsumexp

from hormesis_fit.checks.hypotheses import described_table
from hormesis_fit.families import FAMILIES
from hormesis_fit.parameter import Prior
from hormesis_fit.windows.posterior import Member, check_fit, described, members
from hormesis_fit.wording import unknown

if TYPE_CHECKING:
    from hormesis_fit.model.specification import CurveLike, Specification

HIGH_K = 0.7  # Pareto k-hat above which a leave-one-out density is not to be trusted
METHODS = {"stacking": "stacking", "pseudo-bma": "BB-pseudo-BMA"}


def left_out_densities(fit: xr.DataTree) -> dict[str, Any]:
    """Return what leaving each response out says of every curve, as ArviZ's `loo` gives it."""
    if "models" not in fit or len(fit["models"].children) < 2:
        raise ValueError("Predictive weights compare several curves, this fit holds one: fit an average or a list.")
    if not all("log_likelihood" in tree for tree in fit["models"].children.values()):
        raise ValueError("The fit was updated by re-weighting and holds no log likelihood: fit the whole trial again.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on k-hat: counted by whoever uses them
        return {label: loo(tree, pointwise=True) for label, tree in fit["models"].children.items()}


def predictive_weights(
    fit: xr.DataTree, *, method: str = "stacking", left_out: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Weigh the curves by how well each predicts one response left out, instead of by their evidence.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of several curves.
    method : {"stacking", "pseudo-bma"}
        Stacking of predictive distributions, or pseudo-BMA+ (with a Bayesian bootstrap).
    left_out : mapping, optional
        What `left_out_densities` returns, where it is known already.

    Returns
    -------
    Dataset
        Pure numbers [1]. Over (model,): ``weight``, ``elpd`` with ``se``, ``elpd_diff`` to the best curve with ``dse``,
        ``p``, and ``high_k``, the number of responses whose Pareto k-hat exceeds 0.7, so that their density is not to
        be trusted.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If the fit holds one curve or no log likelihood, or the method is unknown.

    References
    ----------
    Yao et al. (2018), https://doi.org/10.1214/17-BA1091.
    """
    if method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    check_fit(fit)
    left_out = left_out_densities(fit) if left_out is None else left_out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on k-hat: counted below instead
        found = compare(left_out, method=METHODS[method], round_to="none")
    texts = {
        "weight": "Predictive weight of the curve; not a probability of hormesis.",
        "elpd": "Expected log predictive density of one response left out, summed.",
        "se": "Standard error of elpd.",
        "elpd_diff": "Difference in elpd to the best curve.",
        "dse": "Standard error of the difference; not to be trusted below 100 responses.",
        "p": "Effective number of parameters.",
    }
    rows = {name: found[name].reindex(list(left_out)).to_numpy(dtype=float) for name in texts}
    high = [int((one.pareto_k.values > HIGH_K).sum()) for one in left_out.values()]
    columns = {name: ("model", rows[name], text) for name, text in texts.items()}
    columns["high_k"] = "model", high, "Responses with a Pareto k-hat above 0.7."
    note = "These weights measure prediction. They are not the probability of hormesis."
    return described_table(columns, {"model": list(left_out)}, method=method, note=note)


def leave_one_dose_out(
    trial: xr.Dataset,
    *,
    curve: CurveLike | Sequence[CurveLike] = "average",
    family: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    prior_hormesis: float = 0.5,
    draws: int = 1000,
    random_seed: int = 0,
) -> xr.Dataset:
    r"""Refit without each dose group in turn and ask how well the others predict it.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,).
    curve, family, priors, prior_hormesis
        As for `fit`.
    draws : int
        Draws in each of four chains, of every refit.
    random_seed : int
        Same seed and versions, same numbers.

    Returns
    -------
    Dataset
        Over (dose,) [dose]: ``log_density``, the joint log predictive density of the group under the average of the
        curves refitted without it, ``responses`` in the group, ``note``; over (dose, model): ``model_log_density`` and
        ``weight`` in the refit. NaN, with a note, where fewer than three doses or four responses would be left.

    Raises
    ------
    TypeError
        If `trial` is not what `read_trial` returns.
    ValueError
        If the trial has subjects, categories are ordered, or a curve, family or prior is unknown.

    Notes
    -----
    Rows are taken as independent: a trial with subjects is refused. Priors stay those of the whole trial, so that every
    refit is the same model, and the log density of one curve is the evidence that the group adds,
    :math:`\ln Z - \ln Z_{-g}`. It measures interpolation, not hormesis.

    References
    ----------
    Roberts et al. (2017), Cross-validation for data with structure, https://doi.org/10.1111/ecog.02881.
    """
    from hormesis_fit.curves import CURVE_SETS, Curve
    from hormesis_fit.model.specification import check_trial, specify

    check_trial(trial)
    check_left_out(trial, family)
    single = isinstance(curve, str | type | Curve) and curve not in CURVE_SETS
    wanted = [curve] if single else list(CURVE_SETS[curve] if isinstance(curve, str) else curve)
    specified = [specify(trial, curve=one, family=family, priors=priors) for one in wanted]
    for name in set(priors or {}) - {known for one in specified for known in one.priors}:
        raise ValueError(unknown("parameter", name, sorted({known for one in specified for known in one.priors})))
    settings = {"family": family, "draws": draws, "random_seed": random_seed}
    doses, labels = np.unique(trial["dose"].values), [one.curve.label for one in specified]
    density, weight = np.full((2, len(doses), len(labels)), np.nan)
    total, notes, sizes = np.full(len(doses), np.nan), [], []
    for row, dose in enumerate(doses):
        held = trial["dose"].values == dose
        sizes.append(int(held.sum()))
        rest, group = trial.isel(observation=~held), trial.isel(observation=held)
        if len(doses) < 4 or rest.sizes["observation"] < 4:
            notes.append("too few doses or responses would be left")
            continue
        density[row], weight[row], note = _predict_group(rest, group, specified, prior_hormesis, settings)
        total[row] = logsumexp(np.where(weight[row] > 0, density[row], 0), b=weight[row])
        notes.append(note)
    both = ("dose", "model")
    columns = {
        "log_density": ("dose", total, "Joint log predictive density of the left-out group under the average."),
        "responses": ("dose", sizes, "Responses in the group."),
        "note": ("dose", notes, "Why there is no density, or which curves could not be refitted."),
        "model_log_density": (both, density, "Joint log predictive density of the left-out group under one curve."),
        "weight": (both, weight, "Posterior probability of the curve without the group."),
    }
    table = described_table(columns, {"dose": doses, "model": labels}, seed=random_seed, prior_hormesis=prior_hormesis)
    table["dose"].attrs = described("dose", trial, "Dose of the group that was left out.")
    return table


def check_left_out(trial: xr.Dataset, family: str) -> None:
    """Refuse a trial, or a family, whose doses cannot be left out one by one."""
    able = [name for name, one in FAMILIES.items() if not one.ordered]
    if family not in able:
        raise ValueError(unknown("family whose doses can be left out", family, able))
    if "subject" in trial:
        raise ValueError(
            "Expected independent rows to leave out one dose after the other, but the trial has subjects, who would "
            "have to be fitted anew each time: leave this out, or read the trial without subject=."
        )


def _predict_group(
    rest: xr.Dataset,
    group: xr.Dataset,
    specified: Sequence[Specification],
    prior_hormesis: float,
    settings: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray, str]:
    """Log density of a group by curve, weights of the curves without it, and a note."""
    from hormesis_fit.inference.evidence import prior_weights
    from hormesis_fit.inference.fitting import fit

    density, logs, notes = np.full(len(specified), np.nan), np.full(len(specified), -np.inf), []
    for k, one in enumerate(specified):
        try:
            fitted = fit(rest, curve=one.curve, priors=one.priors, engine="importance", vary={}, **settings)
        except RuntimeError as error:
            notes.append(str(error))
            continue
        evidence = fitted["evidence"].to_dataset()
        density[k] = _joint_log_density(one, members(fitted)[0], group)
        logs[k] = float(evidence["log_evidence"][0])
        notes += [f"{one.curve.label}: {evidence['note'].values[0]}"] if evidence["sick"].values[0] else []
    prior = prior_weights([one.curve.hormetic for one in specified], np.isfinite(logs), prior_hormesis)
    with np.errstate(divide="ignore", invalid="ignore"):
        posterior = np.log(prior) + logs
    return density, np.exp(posterior - logsumexp(posterior)), "; ".join(notes)


def _joint_log_density(specification: Specification, member: Member, group: xr.Dataset) -> float:
    """Log of the mean over the draws of the joint density of a group of responses."""
    from hormesis_fit.inference.engines import machine_for
    from hormesis_fit.model.building import model_data

    density = machine_for(specification, group).density
    density.set_data(model_data(specification, group))
    points = density.unconstrain({name: member.draws[name].values for name in density.names})
    return float(logsumexp(density(points)[1]) - np.log(member.size))


__all__ = ["check_left_out", "leave_one_dose_out", "left_out_densities", "predictive_weights"]
