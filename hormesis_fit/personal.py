"""A new subject's first data: its window without refitting everyone, and what a window of one's own is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from hormesis_fit.curves import Curve
from hormesis_fit.engines import machine_for
from hormesis_fit.estimands import PERSON, effects_in
from hormesis_fit.evidence import pareto_k
from hormesis_fit.hierarchy import Effect, design_of, displaced, shifts_of
from hormesis_fit.importance import fit_mixture, systematic
from hormesis_fit.inference import fit as fit_trial
from hormesis_fit.likelihood import check_observations
from hormesis_fit.model import model_data, specify
from hormesis_fit.parameter import Prior
from hormesis_fit.posterior import Member, find_class, members, trial_of
from hormesis_fit.trial import read_rows
from hormesis_fit.windows import window
from hormesis_fit.wording import quote

TRIES = 16  # new people for each posterior draw
ROUNDS = 4
GOOD_K, WORST_K = 0.3, 0.7


def add_subject(fit: xr.DataTree, *, rows: Any, subject: str, refit: bool = True) -> xr.DataTree:
    """Return a fit that knows one more subject, without sampling everyone again.

    Every posterior draw gets new people, who are weighted by how well they explain the new rows; where the weights are
    too uneven the whole trial is fitted again with the new rows.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with parameters that vary between subjects.
    rows : DataFrame, dict of columns or path
        Doses and responses of the new subject, one or more rows, with the columns of the trial.
    subject : str
        Label of the new subject.
    refit : bool
        Whether to fit the whole trial again where re-weighting is not to be trusted; else that is an error.

    Returns
    -------
    DataTree
        The fit with the new subject among the others: ``window(updated, subject=...)`` is its window. Attrs of the
        root: ``update_pareto_k``, below 0.7 where re-weighting was used, and ``update`` ("reweighted" or "refitted").

    Raises
    ------
    ValueError
        If nothing varies between subjects, the label is taken, or the rows cannot be used.

    Notes
    -----
    Weights are smoothed as importance weights, https://jmlr.org/papers/v25/19-556.html.
    """
    trial = trial_of(fit)
    group = members(fit)
    persons = [one for one in effects_in(group[0]) if one.group == PERSON]
    if not persons:
        raise ValueError(
            'Nothing varies between the subjects of the fit: fit with vary={"half_effect_dose": "subject"} first.'
        )
    if str(subject) in persons[0].labels:
        raise ValueError(f"The fit knows a subject named {quote(subject)} already: give the new one another label.")
    new = read_rows(rows, like=trial, subject=str(subject))
    check_observations(new, str(fit.attrs["family"]))
    rng = np.random.default_rng([int(fit.attrs["seed"]), 7])
    whole = _joined(trial, new)
    columns = {
        formula: design_of(whole, formula)[1][-new.sizes["observation"] :].mean(axis=0)
        for member in group
        for _, formula, _ in json.loads(member.draws.attrs.get("slopes", "[]"))
    }
    found = {member.label: _reweighted(member, new, str(subject), fit, rng, columns) for member in group}
    heaviest = max(member.weight for member in group)
    worst = max(found[member.label][2] for member in group if member.weight > 1e-3 * heaviest)
    if worst >= WORST_K:
        if not refit:
            raise ValueError(f"The new rows say too much for re-weighting (k-hat {worst:.2f}): use refit=True.")
        return _refitted(fit, whole, worst)
    return _updated(fit, whole, found, worst)


def _joined(trial: xr.Dataset, new: xr.Dataset) -> xr.Dataset:
    kept = [name for name in trial.data_vars if name in new]
    both = xr.concat([trial[kept], new[kept]], dim="observation", combine_attrs="override")
    return both.assign_coords(observation=np.arange(both.sizes["observation"])).assign_attrs(trial.attrs)


def _reweighted(
    member: Member,
    new: xr.Dataset,
    subject: str,
    fit: xr.DataTree,
    rng: np.random.Generator,
    columns: Mapping[str, np.ndarray],
) -> tuple[xr.Dataset, float, float]:
    """Draws of one curve with the new subject, log mean weight and k-hat of its weights."""
    effects = effects_in(member)
    rows = np.repeat(np.arange(member.size), TRIES)
    scalars = {str(name): value.values[rows] for name, value in member.draws.data_vars.items() if value.ndim == 1}
    for name, formula, space in json.loads(member.draws.attrs.get("slopes", "[]")):
        if name in scalars:
            slope = member.draws[f"{name}_slope"].transpose("sample", ...).values[rows]
            scalars[name] = displaced(scalars[name], slope @ columns[formula], space)
    own = [one for one in effects if one.group == PERSON]
    offsets = {one: np.zeros(rows.size) for one in effects}
    guess, log_weights, k = None, np.empty(0), np.inf
    # Anybody first; then, where the rows say much, people like those who explained them.
    for _ in range(ROUNDS):
        normal = rng.standard_normal((rows.size, len(own)))
        points = normal if guess is None else guess.draw(rows.size, rng)
        offsets |= {one: points[:, column] for column, one in enumerate(own)}
        log_weights = _log_likelihood(member, new, scalars, offsets, fit)
        if guess is not None:
            log_weights += -0.5 * np.sum(points**2 + np.log(2 * np.pi), axis=1) - guess.log_density(points)
        k = pareto_k(log_weights)
        if k < GOOD_K:
            break
        guess = fit_mixture(points, np.exp(log_weights - logsumexp(log_weights)), rng)
    weights = np.exp(log_weights - logsumexp(log_weights))
    picked = rng.permutation(systematic(weights, member.size, rng))
    draws = member.draws.isel(sample=rows[picked])
    return _with_person(draws, effects, offsets, picked, subject), float(logsumexp(log_weights) - np.log(rows.size)), k


def _log_likelihood(
    member: Member,
    new: xr.Dataset,
    scalars: Mapping[str, np.ndarray],
    offsets: Mapping[Effect, np.ndarray],
    fit: xr.DataTree,
) -> np.ndarray:
    """Log likelihood of the new rows for every draw and new person, shape (n,)."""
    values = dict(scalars)
    for name, (space, shift) in shifts_of(list(offsets), offsets, scalars, scalars).items():
        values[name] = displaced(values[name], shift, space)
    known = {name: Prior(**arguments) for name, arguments in json.loads(member.draws.attrs["priors"]).items()}
    template = find_class(member.draws.attrs["curve"])
    options = {name: member.draws.attrs[name] for name in template.options() if name in member.draws.attrs}
    fixed = json.loads(member.draws.attrs["fixed"])
    curve: Curve = template(**options, **fixed)
    specification = specify(new, curve=curve, family=str(fit.attrs["family"]), priors=known)
    density = machine_for(specification, new).density
    density.set_data(model_data(specification, new))
    points = density.unconstrain({name: values[name] for name in density.names})
    return np.nan_to_num(density(points)[1], nan=-np.inf)


def _with_person(
    draws: xr.Dataset, effects: Sequence[Effect], offsets: Mapping[Effect, np.ndarray], picked: np.ndarray, subject: str
) -> xr.Dataset:
    """Add the offsets of the new subject to draws, dims (sample, subject)."""
    own = [one for one in effects if one.group == PERSON]
    labels = [*own[0].labels, subject]
    for one in own:
        former = draws[one.offset].transpose("sample", PERSON)
        values = np.column_stack([former.values, offsets[one][picked]])
        draws = draws.drop_vars(one.offset).assign({one.offset: (("sample", f"{PERSON}_new"), values, former.attrs)})
    return draws.drop_vars(PERSON).rename({f"{PERSON}_new": PERSON}).assign_coords({PERSON: labels})


def _updated(
    fit: xr.DataTree, whole: xr.Dataset, found: Mapping[str, tuple[xr.Dataset, float, float]], worst: float
) -> xr.DataTree:
    result = fit.copy(deep=True)
    table = result["evidence"].to_dataset()
    for label, (draws, log_weight, _) in found.items():
        path = f"models/{label}/" if "models" in fit else ""
        chains, count = (fit[f"{path}posterior"].sizes[name] for name in ("chain", "draw"))
        shaped = {
            name: (
                ("chain", "draw", *value.dims[1:]),
                value.values.reshape(chains, count, *value.shape[1:]),
                value.attrs,
            )
            for name, value in draws.transpose("sample", ...).data_vars.items()
        }
        coords = {name: fit[f"{path}posterior"][name].values for name in ("chain", "draw")}
        others = {name: value.values for name, value in draws.coords.items() if value.dims == (name,)}
        posterior = xr.Dataset(shaped, coords=coords | others, attrs=draws.attrs)
        result[f"{path}posterior"] = xr.DataTree(posterior)
        for stale in ("log_likelihood", "log_prior", "sample_stats"):
            if f"{path}{stale}" in result:
                del result[f"{path}{stale}"]
        table["log_evidence"].loc[{"model": label}] += log_weight
    logs = np.log(np.maximum(table["prior_weight"].values, 1e-300)) + table["log_evidence"].fillna(-np.inf).values
    table["weight"][:] = np.exp(logs - logsumexp(logs))
    both = table["hormetic"].values.any() and not table["hormetic"].values.all()
    table["prob_hormesis"] = table["prob_hormesis"].copy(
        data=float(table["weight"].values[table["hormetic"].values].sum()) if both else np.nan
    )
    result["evidence"] = xr.DataTree(table)
    observed = whole[["response"]]
    observed.attrs = {}
    result["observed_data"] = xr.DataTree(observed)
    result["constant_data"] = xr.DataTree(whole.drop_vars("response"))
    result.attrs = dict(fit.attrs) | {"update": "reweighted", "update_pareto_k": float(worst)}
    return result


def _refitted(fit: xr.DataTree, whole: xr.Dataset, worst: float) -> xr.DataTree:
    group = members(fit)
    curves = []
    for member in group:
        template, attrs = find_class(member.draws.attrs["curve"]), member.draws.attrs
        options = {name: attrs[name] for name in template.options() if name in attrs}
        curves.append(template(**options, **json.loads(attrs["fixed"])))
    result = fit_trial(
        whole,
        curve=curves[0] if len(curves) == 1 else curves,
        family=str(fit.attrs["family"]),
        vary=json.loads(fit.attrs["vary"]),
        covariates=json.loads(fit.attrs["covariates"]),
        draws=group[0].shape[1],
        chains=group[0].shape[0],
        random_seed=int(fit.attrs["seed"]),
    )
    if "endpoints" in fit:
        result["endpoints"] = fit["endpoints"].copy(deep=True)
    result.attrs |= {"update": "refitted", "update_pareto_k": float(worst)}
    return result


def personal_gain(fit: xr.DataTree, *, subject: str, **asked: Any) -> xr.Dataset:
    """Return what a window of one's own is worth to a subject, against the dose that suits a new subject best.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with parameters that vary between subjects.
    subject : str
        Label of a subject of the trial.
    **asked
        ``benefit``, ``benefit_scale``, ``level`` and ``harm``, as in `window`.

    Returns
    -------
    Dataset
        Scalars: ``personal_dose`` and ``population_dose``, the doses with the highest probability for the subject and
        for a new subject [dose]; ``personal_probability`` and ``population_probability``, the probability that each
        serves the subject; ``gain``, their difference; ``regret``, the expected utility that the subject loses with the
        population's dose [1].
    """
    new = window(fit, estimand="new", **asked)
    shared = float(new["best_dose"])
    own = window(fit, subject=subject, **asked)
    doses = np.array([shared, float(own["best_dose"]), float(own["optimal_dose"])])
    usable = doses[np.isfinite(doses)]
    at = window(fit, subject=subject, doses=usable, **asked)

    def value(name: str, dose: float) -> float:
        return float(at[name].sel(dose=dose, method="nearest")) if np.isfinite(dose) else np.nan

    served, personal = value("probability", shared), value("probability", doses[1])
    units = {"units": own["best_dose"].attrs["units"]}
    entries = {
        "personal_dose": (doses[1], units, "Dose with the highest probability for the subject."),
        "population_dose": (shared, units, "Dose with the highest probability for a new subject."),
        "personal_probability": (personal, {"units": "1"}, "Probability that the subject's own dose serves it."),
        "population_probability": (
            served,
            {"units": "1"},
            "Probability that the population's dose serves the subject.",
        ),
        "gain": (personal - served, {"units": "1"}, "Probability that the subject gains by a dose of its own."),
        "regret": (value("regret", shared), {"units": "1"}, "Expected utility lost with the population's dose."),
    }
    return xr.Dataset(
        {
            name: ((), number, attrs | {"long_name": name.replace("_", " "), "definition": text})
            for name, (number, attrs, text) in entries.items()
        },
        attrs={"subject": str(subject)},
    )
