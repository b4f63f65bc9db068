"""The two engines, importance sampling and NUTS: built once per model structure, checked after every run."""

from __future__ import annotations

import time
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from hormesis_fit.curves import Curve
from hormesis_fit.inference.evidence import bridge_evidence, pareto_k
from hormesis_fit.inference.importance import Plan, importance_sample
from hormesis_fit.model.building import model_data, model_of
from hormesis_fit.model.density import Density
from hormesis_fit.model.hierarchy import Effect
from hormesis_fit.model.specification import Specification

FLAT = 10  # parameters up to which importance sampling was found to work
HEALTHY_ESS = 400
MOST_STEPS = 2000  # of all histories together, with which importance sampling was faster than NUTS with its compilation
START_POINTS = 600  # draws of the prior among which NUTS looks for a start of a mechanism or of people ...
START_CHOICE = 12  # ... and how many of the best it starts from
POOLED_ROUNDS = 5
SCORE_STEP = 0.05  # of standardised offsets, for the score of a row
CACHE_SIZE = 32  # model structures kept, the least recently used goes first
MOST_THINNING = 20  # of the transitions of a second NUTS run ...
MOST_WORK = 2e8  # ... and gradients of one observation that it may take: about a minute

_cache: OrderedDict[tuple, Machine] = OrderedDict()


class Machine:
    """What is built once for all trials of one model structure."""

    def __init__(self, specification: Specification, trial: xr.Dataset) -> None:
        self.density = Density(model_of(specification, trial))
        self.mechanistic = specification.mechanism is not None
        # The benefit and the side effects in its model, by the prefix of their names: what differs between groups.
        self.outcomes = {"": specification.effects}
        self.outcomes |= {f"{one.name}::": one.specification.effects for one in specification.sides}
        # Thousands of points at once, each with every step of long histories, cost more than a compilation.
        histories = specification.histories
        steps = len(histories.labels) * histories.lengths.size if histories is not None else 0
        self.stepped = self.mechanistic and steps > MOST_STEPS

    @property
    def offsets(self) -> list[tuple[slice, str, Effect]]:
        """Of every difference between groups: the places of its offsets, the prefix of its names, and itself."""
        return [
            (self.density.places[prefix + one.offset], prefix, one)
            for prefix, effects in self.outcomes.items()
            for one in effects
        ]

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
    work: float = 0.0  # gradients of one observation

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


def run_curve(
    trial: xr.Dataset, specification: Specification, settings: Settings, label: str, seconds: dict[str, float]
) -> tuple[Result, str]:
    """Draw from the posterior of one curve with the engine asked for, or the one that stays healthy.

    Parameters
    ----------
    trial : Dataset
        dims (observation,).
    specification : Specification
        The model.
    settings : Settings
        What the user asked of the engines.
    label : str
        Name of the curve in the fit: seeds its random numbers.
    seconds : dict
        Seconds spent in ``compile`` and ``sample``, added up in place.

    Returns
    -------
    tuple
        The result, and a note on what was done otherwise than asked.
    """
    started = time.perf_counter()
    machine = machine_for(specification, trial)
    data = model_data(specification, trial)
    machine.density.set_data(data)
    rng = settings.generator(label)
    seconds["compile"] += time.perf_counter() - started
    slow = machine.density.dimension > FLAT or machine.stepped
    if settings.engine == "nuts" or (settings.engine == "auto" and slow):
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
    plan = Plan(final_points=max(Plan.final_points, 2 * settings.draws * settings.chains))
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
    sound = healthy(sample.log_evidence, ess, k, sample.weights.max())
    seconds["sample"] += time.perf_counter() - started
    return Result(
        chains=points.reshape(settings.chains, settings.draws, -1),
        engine="importance",
        log_evidence=sample.log_evidence,
        log_evidence_se=sample.log_evidence_se,
        ess=ess,
        pareto_k=k,
        complaints=() if sound else (f"k-hat {k:.2f}, effective sample size {ess:.0f}",),
    )


def healthy(log_evidence: float, ess: float, k: float, heaviest: float) -> bool:
    """Tell whether a sample of weighted points may be used, from its sizes and the share of its heaviest point."""
    # k-hat alone cries wolf in one of seven fits whose effective sample size is above 10,000.
    return bool(np.isfinite(log_evidence) and ess >= HEALTHY_ESS and (k < 0.7 or (ess >= 4000 and heaviest < 0.01)))


def _nuts_with_retry(machine, data, settings, rng, seconds) -> Result:
    """NUTS, and once more, longer and more carefully, where it was unhealthy or its draws hang together too much."""
    starts = _starts(machine, rng) if machine.mechanistic or machine.offsets else None
    known = data | (_information(machine, data, _pooled(machine.density, starts, rng)) if machine.offsets else {})
    machine.density.set_data(known)
    result = _nuts(machine, known, settings, rng, seconds, target_accept=0.9, starts=starts)
    # Offsets of groups are many and each of them cheap to know: thousands of effective draws of all are not needed.
    goal = min(settings.draws * settings.chains / 4, np.inf if machine.density.dimension <= FLAT else HEALTHY_ESS)
    if result.complaints or result.ess < goal:
        needed = int(np.ceil(1.3 * goal / max(result.ess, 1.0)))
        # By work and not by the clock, so that the same seed gives the same draws on a busy machine.
        thinning = min(max(needed, 2), MOST_THINNING, max(int(MOST_WORK / max(result.work, 1.0)), 1))
        safer = replace(settings, tune=2 * settings.tune)
        ahead = _ahead(machine.density, result.chains)
        starts = starts if ahead is None else ahead
        result = _nuts(machine, known, safer, rng, seconds, target_accept=0.97, thinning=thinning, starts=starts)
    chains = _standardised(machine, result.chains, known)
    machine.density.set_data(data)
    return replace(result, chains=chains)


def _ahead(density: Density, chains: np.ndarray) -> np.ndarray | None:
    """Return points of the chains that found the posterior, from which a second run goes on; None if there are none.

    A chain stayed behind whose every point is less probable than every point of the best one: pooled trials have a step
    between two doses that is a factor of 10^-46 less probable than the rest, and no way out of it.
    """
    height = np.add(*density(chains.reshape(-1, chains.shape[2]))).reshape(chains.shape[:2])
    height = np.where(np.isfinite(height), height, -np.inf)
    best = height[np.argmax(np.median(height, axis=1))]
    found = np.isfinite(height) & (height.max(axis=1) >= best.min())[:, None]
    return chains[found] if found.any() else None


def _nuts(machine, data, settings, rng, seconds, *, target_accept: float, thinning: int = 1, starts=None) -> Result:
    import nutpie

    started = time.perf_counter()
    compiled = machine.sampler
    seconds["compile"] += time.perf_counter() - started
    started = time.perf_counter()
    used = {variable.name for variable in compiled.shared_var_keys}
    filled = compiled.with_data(**{name: value for name, value in data.items() if name in used})
    if starts is not None:
        filled = replace(
            filled, initial_point_func=lambda seed: starts[np.random.default_rng(seed % 2**32).integers(len(starts))]
        )
    trace = nutpie.sample(
        filled,
        draws=settings.draws * thinning,
        tune=settings.tune,
        chains=settings.chains,
        seed=int(rng.integers(2**31)),
        adaptation="low_rank",
        target_accept=target_accept,
        progress_bar=False,
        save_warmup=False,
    )
    if trace["posterior"].sizes["draw"] < settings.draws * thinning:
        raise KeyboardInterrupt  # which nutpie answers with what it has so far
    work = float(trace["sample_stats"]["n_steps"].sum()) * len(data["dose"])
    kept = slice(thinning - 1, None, thinning)
    posterior, stats = (trace[name].dataset.isel(draw=kept) for name in ("posterior", "sample_stats"))
    density = machine.density
    flat = density.unconstrain({name: posterior[name].values for name in density.names})
    unconstrained = flat.reshape(settings.chains, settings.draws, -1)
    health = _nuts_health(unconstrained, int(stats["diverging"].sum()))
    # A chain stuck at a bound has no finite place there: the health check sees it, the bridge would fail.
    sound = bool(np.isfinite(unconstrained).all())
    log_evidence, error = bridge_evidence(density, unconstrained, rng) if sound else (np.nan, np.nan)
    seconds["sample"] += time.perf_counter() - started
    kept_stats = {name: stats[name].values for name in ("diverging", "energy")}
    return Result(unconstrained, "nuts", log_evidence, error, stats=kept_stats, work=work, **health)


def _starts(machine: Machine, rng: np.random.Generator) -> np.ndarray:
    """Return points at which a chain may begin: the better part of the prior, with nobody who differs yet.

    A mechanism can hide behind noise, with every receptor lost at once, and a subject behind a half-effect dose out of
    reach: a chain that begins there stays there.
    """
    points = machine.density.prior_draws(START_POINTS, rng)
    for place, *_ in machine.offsets:
        points[:, place] = 0
    return _highest(machine.density, points)


def _pooled(density: Density, starts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a point near the mode of a model in which nobody differs: the cross-entropy method, a few rounds of it."""
    for _ in range(POOLED_ROUNDS):
        fresh = rng.normal(starts.mean(axis=0), starts.std(axis=0), size=(START_POINTS // 4, starts.shape[1]))
        starts = _highest(density, np.concatenate([starts, fresh]))
    return starts[0]


def _highest(density: Density, points: np.ndarray) -> np.ndarray:
    """Return the most probable of some points, in that order."""
    height = np.add(*density(points))
    height = np.where(np.isfinite(height), height, -np.inf)
    return points[np.argsort(-height)[:START_CHOICE]]


def _information(machine: Machine, data: Mapping[str, np.ndarray], point: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the rows of each group tell of its shift: their number times the mean squared score of a row.

    The score is that at a point where nobody differs. A rough figure will do: ten times too much or too little costs
    some draws.
    """
    density, found = machine.density, {}
    sizes = [len(data[f"{prefix}dose"]) for prefix in machine.outcomes]
    rows = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    own = dict(zip(machine.outcomes, rows, strict=True))
    for place, prefix, one in machine.offsets:
        points = np.tile(point, (2, 1))
        points[:, place] += [[SCORE_STEP], [-SCORE_STEP]]
        spread = density.constrain(points)[prefix + one.spread][0]
        with np.errstate(invalid="ignore"):  # rows that are impossible at this point say nothing
            score = np.subtract(*density.pointwise(points)[1][:, own[prefix]]) / (2 * SCORE_STEP * spread)
        told = np.sum(np.square(score), where=np.isfinite(score)) / len(score)
        found[prefix + one.information] = told * np.bincount(data[prefix + one.index])
    return found


def _standardised(machine: Machine, chains: np.ndarray, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return draws that were sampled with some information as those of a model without, whose offsets are standard."""
    values = machine.density.constrain(chains.reshape(-1, chains.shape[2]))
    result = chains.copy()
    for place, prefix, one in machine.offsets:
        spread = values[prefix + one.spread].reshape(*chains.shape[:2], 1)
        result[:, :, place] /= one.sharper(spread, data[prefix + one.information])
    return result


def _nuts_health(chains: np.ndarray, divergences: int) -> dict[str, Any]:
    columns = [chains[:, :, index] for index in range(chains.shape[2])]
    rhat = max(float(array_stats.rhat(column)) for column in columns)
    ess = min(float(array_stats.ess(column)) for column in columns)
    wanted = min(HEALTHY_ESS, chains.shape[0] * chains.shape[1] // 4)
    complaints = []
    if not rhat < 1.01:
        complaints.append(f"R-hat {rhat:.3f}")
    if not ess >= wanted:
        complaints.append(f"effective sample size {ess:.0f}")
    if divergences > 0.005 * chains.shape[0] * chains.shape[1]:
        complaints.append(f"{divergences} divergent transitions")
    return {"ess": ess, "max_rhat": rhat, "divergences": divergences, "complaints": tuple(complaints)}
