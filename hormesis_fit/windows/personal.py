"""A new subject's first data: its window without refitting everyone, and what a window of one's own is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from hormesis_fit.curves import Curve
from hormesis_fit.inference.engines import machine_for
from hormesis_fit.inference.evidence import pareto_k
from hormesis_fit.inference.fitting import Endpoint
from hormesis_fit.inference.fitting import fit as fit_trial
from hormesis_fit.inference.importance import fit_mixture, systematic
from hormesis_fit.model.building import model_data
from hormesis_fit.model.hierarchy import Effect, design_of, displaced, shifts_of
from hormesis_fit.model.likelihood import check_observations
from hormesis_fit.model.specification import specify
from hormesis_fit.parameter import Prior
from hormesis_fit.trials.reading import read_rows
from hormesis_fit.trials.tables import read_table
from hormesis_fit.windows.estimands import PERSON, effects_in, shared_offsets
from hormesis_fit.windows.harms import endpoints_of
from hormesis_fit.windows.posterior import Member, find_class, members, trial_of
from hormesis_fit.windows.windowing import window
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
        Doses and responses of the new subject, one or more rows, with the columns of the trial. Where they have the
        column of a side effect of the fit, they say something of it, too.
    subject : str
        Label of the new subject.
    refit : bool
        Whether to fit the whole trial again where re-weighting is not to be trusted; else that is an error.

    Returns
    -------
    DataTree
        The fit with the new subject among the others, its draws with dims (chain, draw) and the units of the trial
        [dose, response]: ``window(updated, subject=...)`` is its window. Attrs of the
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
    apart, shared = _side_rows(fit, rows, str(subject))
    rng = np.random.default_rng([int(fit.attrs["seed"]), 7])
    wholes = {"": _joined(trial, new)}
    wholes |= {f"endpoints/{name}/": _joined(trial_of(fit[f"endpoints/{name}"]), one) for name, one in shared.items()}
    found = {
        member.label: _reweighted(_parts(fit, member, {"": new} | shared, wholes), subject, rng) for member in group
    }
    heaviest = max(member.weight for member in group)
    worst = max(found[member.label].pareto_k for member in group if member.weight > 1e-3 * heaviest)
    if worst >= WORST_K and not refit:
        raise ValueError(f"The new rows say too much for re-weighting (k-hat {worst:.2f}): use refit=True.")
    result = _refitted(fit, wholes) if worst >= WORST_K else _updated(fit, wholes, found)
    how = "refitted" if worst >= WORST_K else "reweighted"
    for name in apart:
        result[f"endpoints/{name}"] = add_subject(fit[f"endpoints/{name}"], rows=rows, subject=subject, refit=refit)
    result.attrs |= {"update": how, "update_pareto_k": float(worst)}
    return result


def _side_rows(fit: xr.DataTree, rows: Any, subject: str) -> tuple[list[str], dict[str, xr.Dataset]]:
    """Return the side effects that are updated for themselves, and the new rows of those that share the model.

    Rows say something of a side effect where they have its column. One that shares the model knows the new subject
    also without rows, by what goes with its benefit.
    """
    columns = set(read_table(rows).columns)
    apart, shared = [], {}
    for name in endpoints_of(fit):
        tree = fit[f"endpoints/{name}"]
        trial = trial_of(tree)
        told = trial["successes" if "successes" in trial else "response"].attrs.get("long_name") in columns
        persons = [one for one in effects_in(members(tree)[0]) if one.group == PERSON]
        if not persons or subject in persons[0].labels:
            continue
        if json.loads(tree.attrs.get("shared", "[]")):
            like = trial.isel(observation=slice(0, 0))
            shared[name] = read_rows(rows, like=trial, subject=subject) if told else like
            if told:
                check_observations(shared[name], str(tree.attrs["family"]))
        elif told:
            apart.append(name)
    return apart, shared


def _joined(trial: xr.Dataset, new: xr.Dataset) -> xr.Dataset:
    kept = [name for name in trial.data_vars if name in new]
    both = xr.concat([trial[kept], new[kept]], dim="observation", combine_attrs="override")
    return both.assign_coords(observation=np.arange(both.sizes["observation"])).assign_attrs(trial.attrs)


@dataclass(frozen=True)
class Part:
    """One curve of the benefit, or of a side effect that shares its model, and what is new of it."""

    path: str  # of its fit in the result
    member: Member
    new: xr.Dataset  # dims (observation,), without any where nothing is known
    columns: Mapping[str, np.ndarray]  # of covariates, by formula

    @property
    def own(self) -> list[Effect]:
        """What differs between subjects."""
        return [one for one in effects_in(self.member) if one.group == PERSON]


@dataclass(frozen=True)
class Found:
    """Draws with a new subject, by path, and how much its rows were to be expected."""

    draws: Mapping[str, xr.Dataset]
    log_weight: float
    pareto_k: float


def _parts(
    fit: xr.DataTree, member: Member, new: Mapping[str, xr.Dataset], wholes: Mapping[str, xr.Dataset]
) -> list[Part]:
    """Return the benefit's curve, and of every side effect in its model the curve that goes with it."""
    found = []
    for name, rows in new.items():
        path = f"endpoints/{name}/" if name else ""
        tree = fit[path] if name else fit
        [one] = [one for one in members(tree) if one.label == member.label] if name else [member]
        count = rows.sizes["observation"]
        formulas = [formula for _, formula, _ in json.loads(one.draws.attrs.get("slopes", "[]"))] if count else []
        columns = {formula: design_of(wholes[path], formula)[1][-count:].mean(axis=0) for formula in formulas}
        found.append(Part(path, one, rows, columns))
    return found


def _reweighted(parts: Sequence[Part], subject: str, rng: np.random.Generator) -> Found:
    """Draws of one curve, and of what shares its model, with the new subject."""
    size = parts[0].member.size
    rows = np.repeat(np.arange(size), TRIES)
    scalars = [_scalars(part, rows) for part in parts]
    ends = np.cumsum([len(part.own) for part in parts])
    guess, log_weights, k, offsets = None, np.empty(0), np.inf, []
    # Anybody first; then, where the rows say much, people like those who explained them.
    for _ in range(ROUNDS):
        normal = rng.standard_normal((rows.size, ends[-1]))
        points = normal if guess is None else guess.draw(rows.size, rng)
        offsets = _offsets(parts, np.split(points, ends[:-1], axis=1), scalars)
        log_weights = np.zeros(rows.size)
        for part, known, own in zip(parts, scalars, offsets, strict=True):
            if part.new.sizes["observation"]:
                log_weights += _log_likelihood(part, known, own)
        if guess is not None:
            log_weights += -0.5 * np.sum(points**2 + np.log(2 * np.pi), axis=1) - guess.log_density(points)
        k = pareto_k(log_weights)
        if k < GOOD_K:
            break
        guess = fit_mixture(points, np.exp(log_weights - logsumexp(log_weights)), rng)
    weights = np.exp(log_weights - logsumexp(log_weights))
    picked = rng.permutation(systematic(weights, size, rng))
    draws = {
        part.path: _with_person(part, own, rows[picked], picked, subject)
        for part, own in zip(parts, offsets, strict=True)
    }
    return Found(draws, float(logsumexp(log_weights) - np.log(rows.size)), k)


def _scalars(part: Part, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters of some draws, with the covariates of the new subject."""
    draws = part.member.draws
    found = {str(name): value.values[rows] for name, value in draws.data_vars.items() if value.ndim == 1}
    for name, formula, space in json.loads(draws.attrs.get("slopes", "[]")):
        if name in found and formula in part.columns:
            slope = draws[f"{name}_slope"].transpose("sample", ...).values[rows]
            found[name] = displaced(found[name], slope @ part.columns[formula], space)
    return found


def _offsets(
    parts: Sequence[Part], points: Sequence[np.ndarray], scalars: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[Effect, np.ndarray]]:
    """Offsets of new people in each part, where those of side effects go with the benefit's."""
    found = []
    for part, columns, known in zip(parts, points, scalars, strict=True):
        offsets = {one: np.zeros(len(columns)) for one in effects_in(part.member)}
        own = {one: columns[:, place] for place, one in enumerate(part.own)}
        found.append(offsets | (shared_offsets(part.member, own, found[0], known) if found else own))
    return found


def _log_likelihood(part: Part, scalars: Mapping[str, np.ndarray], offsets: Mapping[Effect, np.ndarray]) -> np.ndarray:
    """Log likelihood of the new rows for every draw and new person, shape (n,)."""
    values, attrs = dict(scalars), part.member.draws.attrs
    for name, (space, shift) in shifts_of(list(offsets), offsets, scalars, scalars).items():
        values[name] = displaced(values[name], shift, space)
    known = {name: Prior(**arguments) for name, arguments in json.loads(attrs["priors"]).items()}
    specification = specify(part.new, curve=_curve_of(part.member), family=str(attrs["family"]), priors=known)
    density = machine_for(specification, part.new).density
    density.set_data(model_data(specification, part.new))
    points = density.unconstrain({name: values[name] for name in density.names})
    return np.nan_to_num(density(points)[1], nan=-np.inf)


def _curve_of(member: Member) -> Curve:
    """The template that a curve was fitted with."""
    attrs = member.draws.attrs
    template = find_class(attrs["curve"])
    options = {name: attrs[name] for name in template.options() if name in attrs}
    return template(**options, **json.loads(attrs["fixed"]))


def _with_person(
    part: Part, offsets: Mapping[Effect, np.ndarray], rows: np.ndarray, picked: np.ndarray, subject: str
) -> xr.Dataset:
    """Return draws with the offsets of the new subject, dims (sample, subject)."""
    draws, own = part.member.draws.isel(sample=rows), part.own
    labels = [*own[0].labels, str(subject)]
    for one in own:
        former = draws[one.offset].transpose("sample", PERSON)
        values = np.column_stack([former.values, offsets[one][picked]])
        draws = draws.drop_vars(one.offset).assign({one.offset: (("sample", f"{PERSON}_new"), values, former.attrs)})
    return draws.drop_vars(PERSON).rename({f"{PERSON}_new": PERSON}).assign_coords({PERSON: labels})


def _updated(fit: xr.DataTree, wholes: Mapping[str, xr.Dataset], found: Mapping[str, Found]) -> xr.DataTree:
    result = fit.copy(deep=True)
    table = result["evidence"].to_dataset()
    for label, one in found.items():
        for path, draws in one.draws.items():
            _write_draws(result, f"{path}models/{label}/" if "models" in fit else path, draws)
        table["log_evidence"].loc[{"model": label}] += one.log_weight
    logs = np.log(np.maximum(table["prior_weight"].values, 1e-300)) + table["log_evidence"].fillna(-np.inf).values
    table["weight"][:] = np.exp(logs - logsumexp(logs))
    both = table["hormetic"].values.any() and not table["hormetic"].values.all()
    share = float(table["weight"].values[table["hormetic"].values].sum()) if both else np.nan
    for path, whole in wholes.items():
        known = table.assign(prob_hormesis=table["prob_hormesis"].copy(data=np.nan if path else share))
        result[f"{path}evidence"] = xr.DataTree(known)
        observed = whole[["response"]]
        observed.attrs = {}
        result[f"{path}observed_data"] = xr.DataTree(observed)
        result[f"{path}constant_data"] = xr.DataTree(whole.drop_vars("response"))
    return result


def _write_draws(result: xr.DataTree, path: str, draws: xr.Dataset) -> None:
    """Replace the posterior of one curve, and drop what no longer belongs to it."""
    former = result[f"{path}posterior"]
    chains, count = (former.sizes[name] for name in ("chain", "draw"))
    shaped = {
        name: (("chain", "draw", *value.dims[1:]), value.values.reshape(chains, count, *value.shape[1:]), value.attrs)
        for name, value in draws.transpose("sample", ...).data_vars.items()
    }
    coords = {name: former[name].values for name in ("chain", "draw")}
    others = {name: value.values for name, value in draws.coords.items() if value.dims == (name,) != ("sample",)}
    result[f"{path}posterior"] = xr.DataTree(xr.Dataset(shaped, coords=coords | others, attrs=draws.attrs))
    for stale in ("log_likelihood", "log_prior", "sample_stats"):
        if f"{path}{stale}" in result:
            del (result[path] if path else result)[stale]


def _refitted(fit: xr.DataTree, wholes: Mapping[str, xr.Dataset]) -> xr.DataTree:
    group = members(fit)
    curves = [_curve_of(member) for member in group]
    sides = {}
    for path, whole in wholes.items():
        if path:
            tree = fit[path]
            curve = _curve_of(members(tree)[0])
            shared = json.loads(tree.attrs["shared"])
            sides[path.split("/")[1]] = Endpoint(trial=whole, curve=curve, shared=shared, **_asked(tree))
    result = fit_trial(
        wholes[""],
        curve=curves[0] if len(curves) == 1 else curves,
        **_asked(fit),
        draws=group[0].shape[1],
        chains=group[0].shape[0],
        random_seed=int(fit.attrs["seed"]),
        endpoints=sides,
    )
    for name in endpoints_of(fit):
        if name not in sides:
            result[f"endpoints/{name}"] = fit[f"endpoints/{name}"].copy(deep=True)
    return result


def _asked(fit: xr.DataTree) -> dict[str, Any]:
    """What a fit was asked of people and responses."""
    asked = {name: json.loads(fit.attrs[name]) for name in ("vary", "covariates")}
    return asked | {"family": str(fit.attrs["family"])}


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

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If nothing varies between subjects, the subject is unknown, or what is asked is out of range.

    References
    ----------
    Basu and Meltzer (2007), the value of individualised care, https://doi.org/10.1177/0272989X06297393.
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
