"""Fit curves to a trial: engines, averaging and health checks."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from hormesis_fit.courses import Course, DriftLike, names_of
from hormesis_fit.curves import CURVE_SETS, Curve
from hormesis_fit.engines import Result, Settings, machine_for, run_curve
from hormesis_fit.evidence import evidence_table
from hormesis_fit.hierarchy import Vary
from hormesis_fit.likelihood import check_observations
from hormesis_fit.model import CurveLike, Specification, find_family, scales, specify
from hormesis_fit.optimum import optimise
from hormesis_fit.parameter import Prior
from hormesis_fit.progress import progress
from hormesis_fit.wording import quote, unknown

ENGINES = ("auto", "importance", "nuts", "optimum", "mode")


def fit(
    trial: xr.Dataset,
    *,
    curve: CurveLike | Sequence[CurveLike] = "average",
    family: str = "gaussian",
    vary: Vary | None = None,
    covariates: Mapping[str, str] | None = None,
    drift: DriftLike | Mapping[str, DriftLike] | None = None,
    priors: Mapping[str, Prior] | None = None,
    engine: str = "auto",
    prior_hormesis: float = 0.5,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    random_seed: int | None = None,
    endpoints: Mapping[str, Endpoint] | None = None,
) -> xr.DataTree:
    """Fit dose-response curves to a trial and weigh them by their evidence.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,).
    curve : str, class, Curve, or a list of them
        ``"average"`` fits every curve of the default set and averages them, ``"hormetic"``, ``"null"`` and ``"all"``
        those of other sets; a list averages over one's own.
    family : str
        Observation model, a name in `FAMILIES`.
    vary : mapping, optional
        Parameters that differ between groups, with the column of the groups: ``{"half_effect_dose": "subject"}``. A
        list of columns crosses them, ``"centre/subject"`` nests them. By default, where subjects have several rows,
        each has a control response of its own; ``{}`` lets nothing vary.
    covariates : mapping, optional
        Parameters that follow columns of the trial, with formulas: ``{"half_effect_dose": "sex + scale(weight)"}``.
    drift : str, class, Drift or mapping, optional
        How sensitivity moves in time, a process in `DRIFTS`: of the potency, or ``{"potency": ..., "gain": ...,
        "baseline": ...}``; a path for each subject by ``vary={"potency": "subject"}``.
    priors : mapping, optional
        Priors in the trial's units that replace the defaults, by parameter name.
    engine : {"auto", "importance", "nuts", "optimum", "mode"}
        Importance sampling needs no compilation; ``"auto"`` uses it while it is healthy and NUTS otherwise.
        ``"optimum"`` gives the maximum of the likelihood, ``"mode"`` that of prior times likelihood, instead of draws.
    prior_hormesis : float
        Prior probability of the hormetic curves of an average together.
    draws, tune, chains : int
        Posterior draws per chain, warm-up steps of NUTS, number of chains.
    random_seed : int, optional
        Same seed and versions, same numbers. Without one a seed is drawn and recorded.
    endpoints : mapping, optional
        Side effects by name, each with a trial, curves and a family of its own; `window` can limit them.

    Returns
    -------
    DataTree
        For one curve: ``posterior`` and ``sample_stats`` with dims (chain, draw), ``log_likelihood``, ``log_prior``,
        ``observed_data``, ``constant_data``, ``evidence``. For an average: ``evidence`` over (model,) and one whole
        fit for each curve in ``models/<curve>``. An optimum or a mode has the group ``optimum``, over (quantity,),
        in place of every group of draws. Side effects are whole fits in ``endpoints/<name>``.

    Raises
    ------
    ValueError
        If a name is unknown or a number out of range, in one sentence.
    RuntimeError
        If no curve at all could be fitted.
    """
    started = time.perf_counter()
    vary = _check_trial(trial, family, vary)
    settings = _settings(engine, draws, tune, chains, random_seed)
    if not 0 < prior_hormesis < 1:
        raise ValueError(f"prior_hormesis must lie between 0 and 1, got {prior_hormesis!r}.")
    single = isinstance(curve, str | type | Curve) and curve not in CURVE_SETS
    wanted = [curve] if single else _set_of(curve, trial, hierarchical=bool(vary) or drift is not None)
    specifications = _specifications(trial, wanted, family, priors, vary, covariates or {}, drift)
    if engine in ("optimum", "mode"):
        return _optima(trial, specifications, settings, single=single)
    trees, records, seconds = _fit_all(trial, specifications, settings)
    table = evidence_table(records, prior_hormesis=prior_hormesis)
    attrs = _attrs(trial, specifications, settings.seed)
    attrs |= {"vary": json.dumps(dict(vary)), "covariates": json.dumps(covariates or {})}
    attrs |= {f"seconds_{name}": value for name, value in seconds.items()}
    attrs["seconds_total"] = time.perf_counter() - started
    tree = _assemble(trial, trees, table, attrs, single=single)
    for name, endpoint in (endpoints or {}).items():
        tree[f"endpoints/{name}"] = _side_effect(name, endpoint, settings)
    return tree


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A side effect that is fitted beside the benefit.

    Attributes
    ----------
    trial : Dataset
        As `read_trial` returns it, with the side effect as response.
    curve : str, class, Curve, or a list of them
        As in `fit`.
    family : str
        Observation model, a name in `FAMILIES`.
    vary, covariates, priors : mapping, optional
        As in `fit`.
    """

    trial: xr.Dataset
    curve: CurveLike | Sequence[CurveLike] = "average"
    family: str = "gaussian"
    vary: Vary | None = None
    covariates: Mapping[str, str] | None = None
    priors: Mapping[str, Prior] | None = None


def _side_effect(name: str, endpoint: Endpoint, settings: Settings) -> xr.DataTree:
    if not isinstance(endpoint, Endpoint):
        raise TypeError(f"The endpoint {quote(name)} must be an Endpoint(trial=...), got {type(endpoint).__name__}.")
    if not str(name).isidentifier():
        raise ValueError(f"The name of an endpoint is one word of letters, digits and _, got {quote(name)}.")
    asked = {one.name: getattr(endpoint, one.name) for one in fields(endpoint) if one.name != "trial"}
    own = {one: getattr(settings, one) for one in ("engine", "draws", "tune", "chains")}
    # Another seed than the benefit's: draws that are paired must not go together.
    seed = int(settings.generator(f"endpoint {name}").integers(2**31))
    return fit(endpoint.trial, **asked, **own, random_seed=seed)


def _check_trial(trial: xr.Dataset, family: str, vary: Vary | None) -> Vary:
    """Refuse what cannot be fitted; return what varies."""
    if not isinstance(trial, xr.Dataset) or not {"dose", "response"} <= set(trial.variables):
        raise TypeError(
            f"Expected the trial that read_trial() returns, got {type(trial).__name__}: read the table first."
        )
    find_family(family)
    check_observations(trial, family)
    if vary is None:
        people = np.unique(trial["subject"].values).size if "subject" in trial else 0
        return {"control": "subject"} if 1 < people < trial.sizes["observation"] else {}
    if not isinstance(vary, Mapping):
        raise TypeError(f'vary must be written like {{"half_effect_dose": "subject"}}, got {vary!r}.')
    return vary


def _set_of(curve: str | Sequence[CurveLike], trial: xr.Dataset, *, hierarchical: bool) -> list[CurveLike]:
    """Return the curves of a set; between groups a shorter one, whose every curve is compiled."""
    if not isinstance(curve, str):
        return list(curve)
    if curve != "average" or not hierarchical:
        return list(CURVE_SETS[curve])
    doses = trial["dose"].values
    top, bottom = (trial["response"].values[doses == level].mean() for level in (doses.max(), doses.min()))
    falls = (top < bottom) == (trial.attrs["direction"] == "up")
    return ["BrainCousens", "BellTail", "LogLogistic" if falls else "SigmoidEmax"]


def _settings(engine: str, draws: int, tune: int, chains: int, seed: int | None) -> Settings:
    if engine not in ENGINES:
        raise ValueError(unknown("engine", engine, ENGINES))
    for name, value, lowest in (("draws", draws, 100), ("tune", tune, 100), ("chains", chains, 1)):
        if not isinstance(value, int | np.integer) or value < lowest:
            raise ValueError(f"{name} must be a whole number of at least {lowest}, got {value!r}.")
    if seed is None:
        seed = secrets.randbelow(2**31)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"random_seed must be a whole number of at least 0, got {seed!r}.")
    return Settings(engine, int(draws), int(tune), int(chains), int(seed))


def _specifications(
    trial: xr.Dataset,
    wanted: Sequence[CurveLike],
    family: str,
    priors: Mapping[str, Prior] | None,
    vary: Vary,
    covariates: Mapping[str, str],
    drift: DriftLike | Mapping[str, DriftLike] | None,
) -> dict[str, Specification]:
    if not wanted:
        raise ValueError("The list of curves is empty; name at least one.")
    found = {}
    for item in wanted:
        specification = specify(
            trial, curve=item, family=family, priors=priors, vary=vary, covariates=covariates, drift=drift
        )
        label = specification.curve.label
        if label in found:
            raise ValueError(f"The curve {label} is listed twice; name every curve once.")
        found[label] = specification
    known = {name for specification in found.values() for name in specification.priors}
    known |= {one.target for specification in found.values() for one in specification.courses}
    for name in [*(priors or {}), *vary, *covariates]:
        if name not in known:
            raise ValueError(unknown("parameter", name, sorted(known)))
    return found


def _fit_all(trial: xr.Dataset, specifications: Mapping[str, Specification], settings: Settings):
    trees, records = {}, {}
    seconds = {"compile": 0.0, "sample": 0.0}
    with progress(len(specifications)) as step, threadpool_limits(1, user_api="blas"):
        for label, specification in specifications.items():
            step(f"Fitting {label}")
            try:
                result, note = run_curve(trial, specification, settings, label, seconds)
            except Exception as error:  # noqa: BLE001  one curve that fails must not take the others along
                records[label] = _failure(specification.curve, error)
                continue
            records[label] = result.record(specification.curve, note)
            trees[label] = _tree(trial, specification, result)
    if not trees:
        reasons = "; ".join(f"{label}: {record['note']}" for label, record in records.items())
        raise RuntimeError(f"No curve could be fitted ({reasons}).")
    return trees, records, seconds


def _failure(curve: Curve, error: Exception) -> dict[str, object]:
    reason = (str(error).splitlines() or [""])[0]
    failed = Result(np.empty(0), "none", np.nan, np.nan, np.nan)
    return failed.record(curve, f"failed: {type(error).__name__}: {reason}"[:300]) | {"sick": True}


def _tree(trial: xr.Dataset, specification: Specification, result: Result) -> xr.DataTree:
    """One whole fit of one curve; the machine still holds this trial's data."""
    density = machine_for(specification, trial).density
    chains, draws, _ = result.chains.shape
    flat = result.chains.reshape(chains * draws, -1)
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    dims = {one.offset: (one.group,) for one in specification.effects}
    dims |= {one.name: (one.dim,) for one in specification.slopes}
    dims |= {one.innovation: one.dims for one in specification.courses}
    sampled = {
        name: (("chain", "draw", *dims.get(name, ())), x.reshape(chains, draws, *x.shape[1:]))
        for name, x in density.constrain(flat).items()
    }
    labels = {name: list(known) for name, known in specification.coords().items()}
    posterior = xr.Dataset(sampled, coords=coords | labels)
    _describe(posterior, specification, trial)
    log_prior, log_likelihood = density.pointwise(flat)
    pointwise = (("chain", "draw", "observation"), log_likelihood.reshape(chains, draws, -1))
    lp = (log_prior + log_likelihood.sum(axis=1)).reshape(chains, draws)
    stats = {"lp": (("chain", "draw"), lp)} | {name: (("chain", "draw"), x) for name, x in result.stats.items()}
    groups = {
        "posterior": posterior,
        "sample_stats": xr.Dataset(stats, coords=coords),
        "log_likelihood": xr.Dataset({"response": pointwise}, coords=coords),
        "log_prior": xr.Dataset({"parameters": (("chain", "draw"), log_prior.reshape(chains, draws))}, coords=coords),
    }
    return xr.DataTree.from_dict(groups | _data_groups(trial))


def _optima(
    trial: xr.Dataset, specifications: Mapping[str, Specification], settings: Settings, *, single: bool
) -> xr.DataTree:
    """Maxima instead of draws, one group ``optimum`` for every curve."""
    found, failed = {}, {}
    with progress(len(specifications)) as step, threadpool_limits(1, user_api="blas"):
        for label, specification in specifications.items():
            step(f"Fitting {label}")
            try:
                table = optimise(specification, trial, settings.generator(label), mode=settings.engine == "mode")
            except Exception as error:  # one curve that fails must not take the others along
                if single:
                    raise
                failed[label] = (str(error).splitlines() or [""])[0]
                continue
            table["unit"] = "quantity", [unit_label(unit, trial) for unit in table["unit"].values]
            found[label] = table.assign_attrs(table.attrs | _recorded(specification))
    if not found:
        raise RuntimeError(f"No curve could be fitted ({'; '.join(failed.values())}).")
    groups = {("optimum" if single else f"models/{label}/optimum"): table for label, table in found.items()}
    tree = xr.DataTree.from_dict(groups | _data_groups(trial))
    attrs = _attrs(trial, {label: specifications[label] for label in found}, settings.seed)
    tree.attrs = attrs | {"engine": settings.engine, "failed": json.dumps(failed)}
    return tree


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
    posterior.attrs = _recorded(specification)


def _recorded(specification: Specification) -> dict[str, str]:
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
        "baseline_unit": specification.baseline_unit,
        "slopes": json.dumps([[one.parameter, one.formula, one.space] for one in specification.slopes]),
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


def _data_groups(trial: xr.Dataset) -> dict[str, xr.Dataset]:
    observed = trial[["response"]]
    constant = trial.drop_vars("response")
    observed.attrs, constant.attrs = {}, dict(trial.attrs)
    return {"observed_data": observed, "constant_data": constant}


def _attrs(trial: xr.Dataset, specifications: Mapping[str, Specification], seed: int) -> dict[str, Any]:
    first = next(iter(specifications.values()))
    packages = ("hormesis_fit", "pymc", "pytensor", "arviz", "xarray", "numpy", "nutpie")
    return {
        "curves": " ".join(specifications),
        "drift": names_of(first.courses),
        "family": first.family,
        "direction": trial.attrs["direction"],
        "scale": trial.attrs["scale"],
        "seed": seed,
        "versions": json.dumps({name: version(name) for name in packages}),
        "prior_scales": json.dumps(scales(trial, family=first.observation)),
    }


def _assemble(
    trial: xr.Dataset, trees: Mapping[str, xr.DataTree], table: xr.Dataset, attrs: dict[str, Any], *, single: bool
) -> xr.DataTree:
    if single:
        [tree] = trees.values()
        tree["evidence"] = xr.DataTree(table)
    else:
        groups = _data_groups(trial) | {"evidence": table}
        tree = xr.DataTree.from_dict(groups)
        for label, member in trees.items():
            tree[f"models/{label}"] = member
    tree.attrs = attrs
    return tree
