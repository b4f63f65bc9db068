"""Fit curves to a trial: engines, averaging and health checks."""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats
from threadpoolctl import threadpool_limits

from hormesis_fit.curves import AVERAGE, Curve
from hormesis_fit.density import Density
from hormesis_fit.evidence import bridge_evidence, evidence_table, pareto_k
from hormesis_fit.families import FAMILIES
from hormesis_fit.importance import Plan, importance_sample
from hormesis_fit.model import CurveLike, Specification, model_data, model_of, scales, specify
from hormesis_fit.parameter import Prior
from hormesis_fit.progress import progress
from hormesis_fit.trial import nearest

ENGINES = ("auto", "importance", "nuts")
FLAT = 10  # parameters up to which importance sampling was found to work
CACHE_SIZE = 32  # model structures kept, the least recently used goes first

_cache: OrderedDict[tuple, Machine] = OrderedDict()


class Machine:
    """What is built once for all trials of one model structure."""

    def __init__(self, specification: Specification, trial: xr.Dataset) -> None:
        self.density = Density(model_of(specification, trial))

    @cached_property
    def sampler(self) -> Any:
        """NUTS, compiled on first use."""
        import nutpie

        return nutpie.compile_pymc_model(self.density.model)


@dataclass(frozen=True)
class Result:
    """Draws of one curve and their health."""

    chains: np.ndarray  # (chain, draw, dimension), unconstrained
    engine: str
    log_evidence: float
    log_evidence_se: float
    ess: float
    pareto_k: float = np.nan
    max_rhat: float = np.nan
    divergences: int = 0
    complaints: tuple[str, ...] = ()
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)

    def record(self, curve: Curve, note: str) -> dict[str, object]:
        """A row of the evidence table."""
        names = ("log_evidence", "log_evidence_se", "engine", "ess", "pareto_k", "max_rhat", "divergences")
        return {name: getattr(self, name) for name in names} | {
            "hormetic": curve.hormetic,
            "note": note,
            "sick": bool(self.complaints),
        }


@dataclass(frozen=True)
class Settings:
    """What the user asked of the engines."""

    engine: str
    draws: int
    tune: int
    chains: int
    seed: int

    def generator(self, label: str) -> np.random.Generator:
        """Random numbers of one curve, whatever other curves are fitted beside it."""
        return np.random.default_rng([self.seed, zlib.crc32(label.encode())])


def fit(
    trial: xr.Dataset,
    *,
    curve: CurveLike | Sequence[CurveLike] = "average",
    family: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    engine: str = "auto",
    prior_hormesis: float = 0.5,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    random_seed: int | None = None,
) -> xr.DataTree:
    """Fit dose-response curves to a trial and weigh them by their evidence.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,).
    curve : str, class, Curve, or a list of them
        ``"average"`` fits every curve of the default set and averages them; a list averages over one's own.
    family : str
        Observation model, a name in `FAMILIES`.
    priors : mapping, optional
        Priors in the trial's units that replace the defaults, by parameter name.
    engine : {"auto", "importance", "nuts"}
        Importance sampling needs no compilation; ``"auto"`` uses it while it is healthy and NUTS otherwise.
    prior_hormesis : float
        Prior probability of the hormetic curves of an average together.
    draws, tune, chains : int
        Posterior draws per chain, warm-up steps of NUTS, number of chains.
    random_seed : int, optional
        Same seed and versions, same numbers. Without one a seed is drawn and recorded.

    Returns
    -------
    DataTree
        For one curve: ``posterior`` and ``sample_stats`` with dims (chain, draw), ``log_likelihood``, ``log_prior``,
        ``observed_data``, ``constant_data``, ``evidence``. For an average: ``evidence`` over (model,) and one whole fit for
        each curve in ``models/<curve>``.

    Raises
    ------
    ValueError
        If a name is unknown or a number out of range, in one sentence.
    RuntimeError
        If no curve at all could be fitted.
    """
    started = time.perf_counter()
    settings = _settings(engine, draws, tune, chains, random_seed)
    if not 0 < prior_hormesis < 1:
        raise ValueError(f"prior_hormesis must lie between 0 and 1, got {prior_hormesis!r}.")
    single = isinstance(curve, str | type | Curve) and curve != "average"
    wanted = [curve] if single else list(AVERAGE if curve == "average" else curve)
    specifications = _specifications(trial, wanted, family, priors)
    trees, records, seconds = _fit_all(trial, specifications, settings)
    table = evidence_table(records, prior_hormesis=prior_hormesis)
    attrs = _attrs(trial, list(specifications), family, settings.seed)
    attrs |= {f"seconds_{name}": value for name, value in seconds.items()}
    attrs["seconds_total"] = time.perf_counter() - started
    return _assemble(trial, trees, table, attrs, single=single)


def _settings(engine: str, draws: int, tune: int, chains: int, seed: int | None) -> Settings:
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}.{nearest(str(engine), ENGINES)}")
    for name, value, lowest in (("draws", draws, 100), ("tune", tune, 100), ("chains", chains, 1)):
        if not isinstance(value, int | np.integer) or value < lowest:
            raise ValueError(f"{name} must be a whole number of at least {lowest}, got {value!r}.")
    if seed is None:
        seed = secrets.randbelow(2**31)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"random_seed must be a whole number of at least 0, got {seed!r}.")
    return Settings(engine, int(draws), int(tune), int(chains), int(seed))


def _specifications(
    trial: xr.Dataset, wanted: Sequence[CurveLike], family: str, priors: Mapping[str, Prior] | None
) -> dict[str, Specification]:
    if not wanted:
        raise ValueError("The list of curves is empty; name at least one.")
    found = {}
    for item in wanted:
        specification = specify(trial, curve=item, family=family, priors=priors)
        label = specification.curve.label
        if label in found:
            raise ValueError(f"The curve {label} is listed twice; name every curve once.")
        found[label] = specification
    known = {name for specification in found.values() for name in specification.priors}
    for name in priors or {}:
        if name not in known:
            raise ValueError(
                f"There is no parameter named {name!r} to give a prior to.{nearest(name, known)} "
                f"The parameters are {', '.join(sorted(known))}."
            )
    return found


def _fit_all(trial: xr.Dataset, specifications: Mapping[str, Specification], settings: Settings):
    trees, records = {}, {}
    seconds = {"compile": 0.0, "sample": 0.0}
    with progress(len(specifications)) as step, threadpool_limits(1, user_api="blas"):
        for label, specification in specifications.items():
            step(f"Fitting {label}")
            try:
                result, note = _fit_curve(trial, specification, settings, label, seconds)
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


def _fit_curve(
    trial: xr.Dataset, specification: Specification, settings: Settings, label: str, seconds: dict[str, float]
) -> tuple[Result, str]:
    started = time.perf_counter()
    machine = machine_for(specification, trial)
    data = model_data(specification, trial)
    machine.density.set_data(data)
    rng = settings.generator(label)
    seconds["compile"] += time.perf_counter() - started
    if settings.engine == "nuts" or (settings.engine == "auto" and machine.density.dimension > FLAT):
        result, note = _nuts_first(machine, data, settings, rng, seconds)
    else:
        result, note = _importance_first(machine, data, settings, rng, seconds)
    return result, note


def machine_for(specification: Specification, trial: xr.Dataset) -> Machine:
    """Return the machinery of a model structure, built at most once per process while it is in use."""
    key = specification.structure
    if key not in _cache:
        _cache[key] = Machine(specification, trial)
        while len(_cache) > CACHE_SIZE:
            _cache.popitem(last=False)
    _cache.move_to_end(key)
    return _cache[key]


def _importance_first(machine, data, settings, rng, seconds) -> tuple[Result, str]:
    plan = Plan(final_points=max(Plan.final_points, int(1.5 * settings.draws * settings.chains)))
    result = _importance(machine, settings, rng, plan, seconds)
    if not result.complaints:
        return result, ""
    larger = replace(plan, prior_points=2 * plan.prior_points, round_points=2 * plan.round_points, rounds_at_target=4)
    retried = _importance(machine, settings, rng, larger, seconds)
    if not retried.complaints:
        return retried, ""
    if settings.engine == "importance":
        return retried, f"importance sampling stayed unhealthy: {'; '.join(retried.complaints)}"
    sampled = _nuts_with_retry(machine, data, settings, rng, seconds)
    note = f"importance sampling was unhealthy ({'; '.join(retried.complaints)}), so NUTS was used"
    return sampled, _with_complaints(note, sampled)


def _nuts_first(machine, data, settings, rng, seconds) -> tuple[Result, str]:
    sampled = _nuts_with_retry(machine, data, settings, rng, seconds)
    if sampled.complaints and machine.density.dimension <= FLAT:
        served = _importance(machine, settings, rng, Plan(), seconds)
        if not served.complaints:
            return served, f"NUTS stayed unhealthy ({'; '.join(sampled.complaints)}), so importance sampling was used"
    return sampled, _with_complaints("", sampled)


def _with_complaints(note: str, result: Result) -> str:
    return "; ".join(filter(None, [note, *result.complaints]))


def _importance(machine: Machine, settings: Settings, rng, plan: Plan, seconds) -> Result:
    started = time.perf_counter()
    density = machine.density
    sample = importance_sample(density, density.prior_draws(plan.prior_points, rng), rng, plan)
    points = sample.resample(settings.chains * settings.draws, rng)
    k, ess = pareto_k(sample.log_weights), sample.ess
    healthy = np.isfinite(sample.log_evidence) and ess >= 400
    # k-hat alone cries wolf in one of seven fits whose effective sample size is above 10,000.
    healthy &= k < 0.7 or (ess >= 4000 and sample.weights.max() < 0.01)
    seconds["sample"] += time.perf_counter() - started
    return Result(
        chains=points.reshape(settings.chains, settings.draws, -1),
        engine="importance",
        log_evidence=sample.log_evidence,
        log_evidence_se=sample.log_evidence_se,
        ess=ess,
        pareto_k=k,
        complaints=() if healthy else (f"k-hat {k:.2f}, effective sample size {ess:.0f}",),
    )


def _nuts_with_retry(machine, data, settings, rng, seconds) -> Result:
    result = _nuts(machine, data, settings, rng, seconds, target_accept=0.9)
    if result.complaints:
        safer = replace(settings, tune=2 * settings.tune)
        result = _nuts(machine, data, safer, rng, seconds, target_accept=0.99)
    return result


def _nuts(machine, data, settings, rng, seconds, *, target_accept: float) -> Result:
    import nutpie

    started = time.perf_counter()
    compiled = machine.sampler
    seconds["compile"] += time.perf_counter() - started
    started = time.perf_counter()
    trace = nutpie.sample(
        compiled.with_data(**data),
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        seed=int(rng.integers(2**31)),
        adaptation="low_rank",
        target_accept=target_accept,
        progress_bar=False,
        save_warmup=False,
    )
    density = machine.density
    posterior = trace["posterior"].dataset
    flat = density.unconstrain({name: posterior[name].values for name in density.names})
    unconstrained = flat.reshape(settings.chains, settings.draws, -1)
    health = _nuts_health(unconstrained, int(trace["sample_stats"]["diverging"].sum()))
    log_evidence, error = bridge_evidence(density, unconstrained, rng)
    seconds["sample"] += time.perf_counter() - started
    stats = {name: trace["sample_stats"][name].values for name in ("diverging", "energy")}
    return Result(unconstrained, "nuts", log_evidence, error, stats=stats, **health)


def _nuts_health(chains: np.ndarray, divergences: int) -> dict[str, Any]:
    columns = [chains[:, :, index] for index in range(chains.shape[2])]
    rhat = max(float(array_stats.rhat(column)) for column in columns)
    ess = min(float(array_stats.ess(column)) for column in columns)
    wanted = min(400, chains.shape[0] * chains.shape[1] // 4)
    complaints = []
    if not rhat < 1.01:
        complaints.append(f"R-hat {rhat:.3f}")
    if not ess >= wanted:
        complaints.append(f"effective sample size {ess:.0f}")
    if divergences > 0.005 * chains.shape[0] * chains.shape[1]:
        complaints.append(f"{divergences} divergent transitions")
    return {"ess": ess, "max_rhat": rhat, "divergences": divergences, "complaints": tuple(complaints)}


def _tree(trial: xr.Dataset, specification: Specification, result: Result) -> xr.DataTree:
    """One whole fit of one curve; the machine still holds this trial's data."""
    density = machine_for(specification, trial).density
    chains, draws, _ = result.chains.shape
    flat = result.chains.reshape(chains * draws, -1)
    coords = {"chain": np.arange(chains), "draw": np.arange(draws)}
    sampled = {name: (("chain", "draw"), x.reshape(chains, draws)) for name, x in density.constrain(flat).items()}
    posterior = xr.Dataset(sampled, coords=coords)
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


def _describe(posterior: xr.Dataset, specification: Specification, trial: xr.Dataset) -> None:
    curve = specification.curve
    for name, known in specification.declared().items():
        posterior[name].attrs = {
            "units": unit_label(known.unit, trial),
            "long_name": name.replace("_", " "),
            "definition": f"{known.description[0].upper()}{known.description[1:]}.",
            "symbol": known.symbol,
            "prior": str(specification.priors[name]),
        }
    fixed = {name: getattr(curve, name) for name in curve.parameters() if name not in specification.priors}
    priors = {
        name: {"distribution": prior.distribution} | prior.arguments for name, prior in specification.priors.items()
    }
    posterior.attrs = {
        "curve": type(curve).__name__,
        "family": specification.family,
        "fixed": json.dumps(fixed),
        "priors": json.dumps(priors),
    } | curve.structure()


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


def _attrs(trial: xr.Dataset, curves: list[str], family: str, seed: int) -> dict[str, Any]:
    packages = ("hormesis_fit", "pymc", "pytensor", "arviz", "xarray", "numpy", "nutpie")
    return {
        "curves": " ".join(curves),
        "drift": "none",
        "family": family,
        "direction": trial.attrs["direction"],
        "scale": trial.attrs["scale"],
        "seed": seed,
        "versions": json.dumps({name: version(name) for name in packages}),
        "prior_scales": json.dumps(scales(trial)),
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


__all__ = ["ENGINES", "FAMILIES", "fit", "machine_for", "unit_label"]
