"""Fit curves to a trial: engines, averaging and health checks."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from hormesis_fit.curves import CURVE_SETS, Curve
from hormesis_fit.drift.courses import DriftLike, names_of
from hormesis_fit.drift.histories import ConcentrationsLike, Histories, KineticsLike, RegimenLike, dosed_histories
from hormesis_fit.inference.assembly import data_groups, recorded, side_groups, tree_of, unit_label
from hormesis_fit.inference.engines import Result, Settings, machine_for, run_curve
from hormesis_fit.inference.evidence import evidence_table
from hormesis_fit.inference.optimum import optimise
from hormesis_fit.model.hierarchy import Vary
from hormesis_fit.model.likelihood import check_observations
from hormesis_fit.model.specification import CurveLike, Side, Specification, check_trial, find_family, scales, specify
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
    regimen: RegimenLike | None = None,
    kinetics: KineticsLike | None = None,
    concentrations: ConcentrationsLike | None = None,
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
        How sensitivity moves in time, a name in `DRIFTS`: a process, of the potency or of ``{"potency": ...,
        "gain": ..., "baseline": ...}``, with a path for each subject by ``vary={"potency": "subject"}``; or a
        mechanism, such as ``"ReceptorTurnover"``, which follows what each row has been exposed to.
    regimen : Regimen, mapping, Dataset, path or table, optional
        Doses in time: equal doses for all who are dosed, a `Regimen` for each subject, or an event table in the usual
        form. A dose at the time of a row counts as given. Without one every row was exposed to its dose from time 0 on.
    kinetics : str, class or Term, optional
        Pharmacokinetics, ``"OneCompartment"`` or ``"TwoCompartment"``; parameters with numbers are fixed, the others
        are estimated. Without them the last dose is the exposure until the next one.
    concentrations : Dataset, path or table, optional
        Measured concentrations, with columns ID, TIME and DV: they tell the kinetics, in one model with the responses.
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
        in place of every group of draws. Side effects are whole fits in ``endpoints/<name>``. Parameters are in the
        units of the trial, [dose], [response] and [time], which their attrs name.

    Raises
    ------
    TypeError
        If `trial` is not what `read_trial` returns.
    ValueError
        If a name is unknown or a number out of range, in one sentence.
    RuntimeError
        If no curve at all could be fitted.

    References
    ----------
    Hoeting et al. (1999), averages of models, https://doi.org/10.1214/ss/1009212519; Cornuet et al. (2012), importance
    sampling, https://doi.org/10.1111/j.1467-9469.2011.00756.x; Hoffman and Gelman (2014), NUTS,
    https://jmlr.org/papers/v15/hoffman14a.html.
    """
    started = time.perf_counter()
    vary = _check_trial(trial, family, vary)
    settings = _settings(engine, draws, tune, chains, random_seed)
    if not 0 < prior_hormesis < 1:
        raise ValueError(f"prior_hormesis must lie between 0 and 1, got {prior_hormesis!r}.")
    single = isinstance(curve, str | type | Curve) and curve not in CURVE_SETS
    wanted = (
        [curve]
        if single
        else _set_of(curve, trial, hierarchical=bool(vary) or drift is not None or regimen is not None)
    )
    histories = dosed_histories(trial, drift, regimen, kinetics, concentrations)
    specifications = _specifications(trial, wanted, family, priors, vary, covariates or {}, drift, histories)
    if engine in ("optimum", "mode"):
        return _optima(trial, specifications, settings, single=single)
    sides = _sides(endpoints or {}, specifications)
    specifications = {label: replace(one, sides=sides) for label, one in specifications.items()}
    trees, records, seconds = _fit_all(trial, specifications, settings)
    table = evidence_table(records, prior_hormesis=prior_hormesis)
    attrs = _attrs(trial, specifications, settings.seed)
    attrs |= {"vary": json.dumps(dict(vary)), "covariates": json.dumps(covariates or {})}
    attrs |= {f"seconds_{name}": value for name, value in seconds.items()}
    attrs["seconds_total"] = time.perf_counter() - started
    tree = _assemble(trial, trees, table, attrs, single=single)
    if histories is not None:
        tree["regimen"] = xr.DataTree(histories.record())
    for side in sides:
        own = _attrs(side.trial, {side.specification.curve.label: side.specification}, settings.seed)
        asked = endpoints[side.name]
        own |= {"vary": json.dumps(dict(_check_trial(side.trial, asked.family, asked.vary)))}
        own |= {"covariates": json.dumps(asked.covariates or {}), "shared": json.dumps(_names(asked.shared))}
        side_groups(tree, side, own)
    for name, endpoint in (endpoints or {}).items():
        if not endpoint.shared:
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
    shared : str or sequence of str
        Parameters that vary between subjects here and in the benefit, whose differences may go together: benefit and
        side effect are then one model, with a correlation for each of them, and the curve is one curve. Whoever is
        sensitive to the benefit may also be sensitive to the side effect.
    """

    trial: xr.Dataset
    curve: CurveLike | Sequence[CurveLike] = "average"
    family: str = "gaussian"
    vary: Vary | None = None
    covariates: Mapping[str, str] | None = None
    priors: Mapping[str, Prior] | None = None
    shared: str | Sequence[str] = ()


def _sides(endpoints: Mapping[str, Endpoint], specifications: Mapping[str, Specification]) -> tuple[Side, ...]:
    """Return the side effects that are to be in the model of the benefit, or say why one cannot."""
    varied = {(one.parameter, one.group) for each in specifications.values() for one in each.effects}
    found = []
    for name, endpoint in endpoints.items():
        _check_endpoint(name, endpoint)
        names = _names(endpoint.shared)
        if not names:
            continue
        if not isinstance(endpoint.curve, str | type | Curve) or endpoint.curve in CURVE_SETS:
            raise ValueError(
                f"The endpoint {quote(name)} shares something with the benefit and needs one curve, got "
                f'{endpoint.curve!r}: name one, such as curve="LogLogistic".'
            )
        vary = _check_trial(endpoint.trial, endpoint.family, endpoint.vary)
        asked = {"curve": endpoint.curve, "family": endpoint.family, "covariates": endpoint.covariates}
        one = specify(endpoint.trial, **asked, priors=endpoint.priors, vary=vary, shared=names)
        common = [each.parameter for each in one.shared if (each.parameter, each.group) in varied]
        for parameter in names:
            if parameter not in common:
                raise ValueError(
                    f"Expected {quote(parameter)} to vary over the same column in the benefit and in the endpoint "
                    f"{quote(name)} that shares it, and it does not: name it in vary= of both, or leave it out of "
                    "shared=."
                )
        found.append(Side(name, one, endpoint.trial))
    return tuple(found)


def _names(shared: str | Sequence[str]) -> list[str]:
    return [shared] if isinstance(shared, str) else list(shared)


def _check_endpoint(name: str, endpoint: object) -> None:
    if not isinstance(endpoint, Endpoint):
        raise TypeError(f"The endpoint {quote(name)} must be an Endpoint(trial=...), got {type(endpoint).__name__}.")
    if not str(name).isidentifier():
        raise ValueError(f"The name of an endpoint is one word of letters, digits and _, got {quote(name)}.")


def _side_effect(name: str, endpoint: Endpoint, settings: Settings) -> xr.DataTree:
    asked = {one.name: getattr(endpoint, one.name) for one in fields(endpoint) if one.name not in ("trial", "shared")}
    own = {one: getattr(settings, one) for one in ("engine", "draws", "tune", "chains")}
    # Another seed than the benefit's: draws that are paired must not go together.
    seed = int(settings.generator(f"endpoint {name}").integers(2**31))
    return fit(endpoint.trial, **asked, **own, random_seed=seed)


def _check_trial(trial: xr.Dataset, family: str, vary: Vary | None) -> Vary:
    """Refuse what cannot be fitted; return what varies."""
    check_trial(trial)
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
    histories: Histories | None,
) -> dict[str, Specification]:
    if not wanted:
        raise ValueError("The list of curves is empty; name at least one.")
    found = {}
    for item in wanted:
        specification = specify(
            trial,
            curve=item,
            family=family,
            priors=priors,
            vary=vary,
            covariates=covariates,
            drift=drift,
            histories=histories,
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
            trees[label] = tree_of(trial, specification, result, machine_for(specification, trial).density)
    if not trees:
        reasons = "; ".join(f"{label}: {record['note']}" for label, record in records.items())
        raise RuntimeError(f"No curve could be fitted ({reasons}).")
    return trees, records, seconds


def _failure(curve: Curve, error: Exception) -> dict[str, object]:
    reason = (str(error).splitlines() or [""])[0]
    failed = Result(np.empty(0), "none", np.nan, np.nan, np.nan)
    return failed.record(curve, f"failed: {type(error).__name__}: {reason}"[:300]) | {"sick": True}


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
            found[label] = table.assign_attrs(table.attrs | recorded(specification))
    if not found:
        raise RuntimeError(f"No curve could be fitted ({'; '.join(failed.values())}).")
    groups = {("optimum" if single else f"models/{label}/optimum"): table for label, table in found.items()}
    tree = xr.DataTree.from_dict(groups | data_groups(trial))
    attrs = _attrs(trial, {label: specifications[label] for label in found}, settings.seed)
    tree.attrs = attrs | {"engine": settings.engine, "failed": json.dumps(failed)}
    return tree


def _attrs(trial: xr.Dataset, specifications: Mapping[str, Specification], seed: int) -> dict[str, Any]:
    first = next(iter(specifications.values()))
    packages = ("hormesis_fit", "pymc", "pytensor", "arviz", "xarray", "numpy", "nutpie")
    return {
        "curves": " ".join(specifications),
        "drift": names_of([*first.courses, *([first.mechanism] if first.mechanism else [])]),
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
        groups = data_groups(trial) | {"evidence": table}
        tree = xr.DataTree.from_dict(groups)
        for label, member in trees.items():
            tree[f"models/{label}"] = member
    tree.attrs = attrs
    return tree
