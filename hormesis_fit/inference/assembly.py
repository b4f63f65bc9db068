"""From the draws of a model to the groups of a result, of the benefit and of the side effects that share its model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.drift.courses import Course, mechanism_record
from hormesis_fit.inference.engines import Result
from hormesis_fit.model.density import Density
from hormesis_fit.model.hierarchy import partners
from hormesis_fit.model.specification import Side, Specification


def tree_of(trial: xr.Dataset, specification: Specification, result: Result, density: Density) -> xr.DataTree:
    """Return one whole fit of one curve, with side effects that share its model in ``endpoints/<name>``.

    Parameters
    ----------
    trial : Dataset
        dims (observation,).
    specification : Specification
        The model.
    result : Result
        Its draws.
    density : Density
        Its log density, which still holds the data of the trial.
    """
    chains, draws, _ = result.chains.shape
    flat = result.chains.reshape(chains * draws, -1)
    sampled = {name: x.reshape(chains, draws, *x.shape[1:]) for name, x in density.constrain(flat).items()}
    log_prior, log_likelihood = density.pointwise(flat)
    lp = (log_prior + log_likelihood.sum(axis=1)).reshape(chains, draws)
    stats = {"lp": lp} | dict(result.stats)
    everywhere = {"sample_stats": stats, "log_prior": {"parameters": log_prior.reshape(chains, draws)}}
    own = {name: value for name, value in sampled.items() if "::" not in name}
    end = trial.sizes["observation"]
    tree = _outcome_tree(trial, specification, own, log_likelihood[:, :end], everywhere)
    for one in specification.sides:
        start, end = end, end + one.trial.sizes["observation"]
        part = _of_side(one, specification, sampled)
        tree[f"endpoints/{one.name}"] = _outcome_tree(
            one.trial, one.specification, part, log_likelihood[:, start:end], everywhere
        )
    return tree


def _of_side(side: Side, specification: Specification, sampled: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draws of a side effect, whose offsets hold what they have in common with those of the benefit."""
    prefix = f"{side.name}::"
    own = {name.removeprefix(prefix): value for name, value in sampled.items() if name.startswith(prefix)}
    effects = {(one.parameter, one.group): one for one in specification.effects}
    for one in side.specification.shared:
        effect = effects.get((one.parameter, one.group))
        if effect is not None:
            place = partners(side.trial, one, effect.labels)
            benefit = sampled[effect.offset]
            others = np.concatenate([benefit, np.zeros((*benefit.shape[:2], 1))], axis=2)[:, :, place]
            share = own[one.name][:, :, None]
            own[effect.offset] = one.mixed(own[effect.offset], others, share, place < len(effect.labels))
    return own


def _outcome_tree(
    trial: xr.Dataset,
    specification: Specification,
    sampled: Mapping[str, np.ndarray],
    log_likelihood: np.ndarray,
    everywhere: Mapping[str, Mapping[str, np.ndarray]],
) -> xr.DataTree:
    """The groups of one outcome."""
    chains, draws = everywhere["sample_stats"]["lp"].shape
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    dims = {one.offset: (one.group,) for one in specification.effects}
    dims |= {one.name: (one.dim,) for one in specification.slopes}
    dims |= {one.innovation: one.dims for one in specification.courses}
    labels = {name: list(known) for name, known in specification.coords().items()}
    variables = {name: (("chain", "draw", *dims.get(name, ())), x) for name, x in sampled.items()}
    posterior = xr.Dataset(variables, coords=coords | labels)
    _describe(posterior, specification, trial)
    pointwise = (("chain", "draw", "observation"), log_likelihood.reshape(chains, draws, -1))
    groups = {"posterior": posterior, "log_likelihood": xr.Dataset({"response": pointwise}, coords=coords)}
    for group, values in everywhere.items():
        variables = {name: (("chain", "draw"), value) for name, value in values.items()}
        groups[group] = xr.Dataset(variables, coords=coords)
    return xr.DataTree.from_dict(groups | data_groups(trial))


def side_groups(tree: xr.DataTree, side: Side, attrs: Mapping[str, Any]) -> None:
    """Bring a side effect that shares the model of each curve of the benefit into ``endpoints/<name>``.

    It is one fit of its own for every curve of the benefit, weighed as these are, and has their names.
    """
    own = f"endpoints/{side.name}"
    evidence = tree["evidence"].to_dataset()
    evidence["prob_hormesis"] = evidence["prob_hormesis"].copy(data=np.nan)
    if "models" in tree:
        whole = xr.DataTree.from_dict(data_groups(side.trial))
        for label, member in tree["models"].children.items():
            whole[f"models/{label}"] = member[own].copy()
            beside = member["endpoints"]
            del beside[side.name]
            if not beside.children:
                del member["endpoints"]
        tree[own] = whole
    tree[f"{own}/evidence"] = xr.DataTree(evidence)
    tree[own].attrs = dict(attrs)


def _describe(posterior: xr.Dataset, specification: Specification, trial: xr.Dataset) -> None:
    for name, known in specification.declared().items():
        posterior[name].attrs = {
            "units": unit_label(known.unit, trial),
            "long_name": name.replace("_", " "),
            "definition": f"{known.description[0].upper()}{known.description[1:]}.",
            "symbol": known.symbol,
            "prior": str(specification.priors[name]),
        }
    for one in specification.effects:
        text = f"Standardised difference of each {one.group} from the typical {one.parameter.replace('_', ' ')}."
        posterior[one.offset].attrs = {"units": "1", "long_name": one.offset.replace("_", " "), "definition": text}
    for one in specification.courses:
        if one.term.sources:
            text = f"Standardised innovations of the drift of {one.target}."
            posterior[one.innovation].attrs = {
                "units": "1",
                "long_name": f"{one.target} innovation",
                "definition": text,
            }
    posterior.attrs = recorded(specification)


def recorded(specification: Specification) -> dict[str, str]:
    """What a result says of its curve, so that it can be rebuilt."""
    curve = specification.curve
    fixed = {name: getattr(curve, name) for name in curve.parameters() if name not in specification.priors}
    priors = {
        name: {"distribution": prior.distribution} | prior.arguments for name, prior in specification.priors.items()
    }
    return {
        "curve": type(curve).__name__,
        "family": specification.family,
        "fixed": json.dumps(fixed),
        "effects": json.dumps([[one.parameter, one.group, one.space] for one in specification.effects]),
        "drifts": json.dumps([_course_record(one) for one in specification.courses]),
        "mechanism": json.dumps(mechanism_record(specification.mechanism)),
        "baseline_unit": specification.baseline_unit,
        "slopes": json.dumps([[one.parameter, one.formula, one.space] for one in specification.slopes]),
        "shared": json.dumps([[one.parameter, one.group] for one in specification.shared]),
        "priors": json.dumps(priors),
    } | curve.structure()


def _course_record(course: Course) -> dict[str, Any]:
    """What rebuilds a drift: its class, options, target, visits and subjects."""
    return {
        "drift": type(course.term).__name__,
        "options": course.term.structure(),
        "target": course.target,
        "times": list(course.times),
        "labels": list(course.labels),
    }


def unit_label(unit: str, trial: xr.Dataset) -> str:
    """Return the unit of a parameter in the words of a trial: ``"response / dose"`` becomes ``"g / (mg/L)"``."""
    words = {name: str(trial[name].attrs.get("units", "")) for name in ("response", "dose")}
    words["time"] = str(trial["time"].attrs.get("units", "")) if "time" in trial else ""
    if unit in words:
        return words[unit]
    parts = [words.get(part, part) for part in unit.split(" / ")]
    return " / ".join(f"({part})" if "/" in part else part for part in parts) if all(parts) else ""


def data_groups(trial: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return the groups that hold the trial itself."""
    observed = trial[["response"]]
    constant = trial.drop_vars("response")
    observed.attrs, constant.attrs = {}, dict(trial.attrs)
    return {"observed_data": observed, "constant_data": constant}
