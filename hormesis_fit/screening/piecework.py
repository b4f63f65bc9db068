"""A piece of a screen: some curves, from their trials to their windows, in batches of one model structure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from hormesis_fit.inference.evidence import prior_weights
from hormesis_fit.inference.fitting import fit
from hormesis_fit.inference.importance import ImportanceSample, systematic
from hormesis_fit.model.specification import CurveLike, Specification, specify
from hormesis_fit.screening.batch import Batch, batchable
from hormesis_fit.screening.scores import Scores
from hormesis_fit.screening.swarm import SwarmPlan, SwarmSample, sample_swarm
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.exceedance import Exceedance, nearest_piece
from hormesis_fit.windows.posterior import Member, domain, members
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.windowing import threshold_of

WIDTH = 32  # curves that are computed at once
DRAWS = 512  # of the mixture of curves, for windows and quantities
MOST_EFFORT = 2  # with which a batch is tried again; the last one costs a second for each curve
HOPELESS = 15.0  # nats behind the best curve: no repair of an unhealthy run would bring it back
LEVELS = (0.025, 0.5, 0.975)
STATISTICS = ("lower", "median", "upper", "share")


@dataclass(frozen=True)
class Asked:
    """What a screen asks of every curve.

    Attributes
    ----------
    curves : tuple
        Curves to average over, as `fit` takes them.
    family : str
        Observation model, a name in `FAMILIES`.
    benefit, benefit_scale, level
        As in `window`.
    prior_hormesis : float
        Prior probability of the hormetic curves of the average, for one curve by itself.
    seed : int
        Of the whole screen.
    """

    curves: tuple[CurveLike, ...]
    family: str = "gaussian"
    benefit: float = 0.10
    benefit_scale: str = "relative"
    level: float = 0.8
    prior_hormesis: float = 0.5
    seed: int = 0

    def seed_of(self, label: str, *words: str) -> list[int]:
        """Return the seed of one task for one curve, which knows nothing of the other curves."""
        text = "\0".join((label, *words)).encode()
        return [self.seed, int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")]


@dataclass
class _Found:
    """One family on one curve: its evidence, its health, and where its draws come from."""

    log_evidence: float = np.nan
    log_evidence_se: float = np.nan
    ess: float = np.nan
    pareto_k: float = np.nan
    engine: str = "none"
    note: str = ""
    sick: bool = False
    sample: SwarmSample | None = None
    scores: Scores | None = None
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, sample: SwarmSample, scores: Scores) -> _Found:
        evidence = sample.log_evidence, sample.log_evidence_se, sample.ess, sample.pareto_k
        return cls(*evidence, "importance", "", not sample.healthy, sample, scores)

    def resampled(self, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return equally weighted draws of the parameters, each of shape (size,)."""
        if self.sample is None:
            picks = rng.permutation(len(next(iter(self.draws.values()))))[:size]
            return {name: value[picks] for name, value in self.draws.items()}
        # A few times as many as are wanted: to put all others in order in space would cost more than it gives.
        few = systematic(self.sample.weights, 4 * size, rng)
        scores = ImportanceSample(self.sample.points[few], np.zeros(few.size)).resample(size, rng)
        return {name: value[0] for name, value in self.scores(scores.T[None]).items()}


@dataclass
class _Curve:
    """One curve of a screen on its way."""

    label: str
    trial: xr.Dataset
    specifications: dict[str, Specification]
    found: dict[str, _Found] = field(default_factory=dict)

    @property
    def structure(self) -> tuple[Hashable, ...]:
        """What curves must share to be computed together."""
        doses = np.unique(self.trial["dose"].values).size
        return (doses, *(one.structure for one in self.specifications.values()))

    def weights(self, prior_hormesis: float) -> np.ndarray:
        """Posterior probability of every family, shape (model,)."""
        logs = np.array([one.log_evidence for one in self.found.values()])
        usable = np.isfinite(logs)
        if not usable.any():
            reasons = "; ".join(f"{label}: {one.note}" for label, one in self.found.items())
            raise RuntimeError(f"no curve could be fitted ({reasons})")
        prior = prior_weights([one.curve.hormetic for one in self.specifications.values()], usable, prior_hormesis)
        total = np.where(prior > 0, np.log(np.maximum(prior, 1e-300)) + np.where(usable, logs, 0.0), -np.inf)
        return np.exp(total - logsumexp(total))


def fit_piece(trials: Mapping[str, xr.Dataset], asked: Asked) -> dict[str, dict[str, Any]]:
    """Fit some curves of a screen.

    Parameters
    ----------
    trials : mapping
        Trials by the labels of their curves, each with dims (observation,).
    asked : Asked
        What is asked of each.

    Returns
    -------
    dict
        A record for every label. A curve that fails has the status FAILED and says why.
    """
    records, groups = {}, defaultdict(list)
    for label, trial in trials.items():
        try:
            specified = [specify(trial, curve=one, family=asked.family) for one in asked.curves]
            curve = _Curve(label, trial, {one.curve.label: one for one in specified})
            groups[curve.structure].append(curve)
        except Exception as error:  # noqa: BLE001  one curve that fails must not take the others along
            records[label] = failure(error)
    with threadpool_limits(1, user_api="blas"):
        for group in groups.values():
            for start in range(0, len(group), WIDTH):
                records |= _fit_block(group[start : start + WIDTH], asked)
    return {label: records[label] for label in trials}


def failure(error: Exception | str) -> dict[str, Any]:
    """Return the record of a curve that could not be fitted."""
    text = error if isinstance(error, str) else str(error) or type(error).__name__
    return {"status": "FAILED", "note": (text.splitlines() or [""])[0][:300]}


def _fit_block(block: Sequence[_Curve], asked: Asked) -> dict[str, dict[str, Any]]:
    """Fit curves of one structure."""
    for label in block[0].specifications:
        for curve in block:
            curve.found[label] = _Found()
        _swarm(block, label, asked, effort=0)
    for label in block[0].specifications:
        for effort in range(1, MOST_EFFORT + 1):
            _swarm(_unhealthy(block, label), label, asked, effort=effort)
        for curve in _unhealthy(block, label):
            _by_itself(curve, label, asked)
    records = {}
    for curve, record in zip(block, _settled(block, asked), strict=True):
        records[curve.label] = record
    return records


def _swarm(block: Sequence[_Curve], label: str, asked: Asked, *, effort: int) -> None:
    """Sample one family on some curves at once; what fails stays without evidence, and sick."""
    if not block:
        return
    specifications = [curve.specifications[label] for curve in block]
    for curve in block:
        curve.found[label].sick = True
    if not batchable(specifications[0]):
        return
    batch = Batch.of(specifications, [curve.trial for curve in block])
    words = (label, f"effort {effort}")
    generators = [np.random.default_rng(asked.seed_of(curve.label, *words)) for curve in block]
    try:
        samples = sample_swarm(batch, generators, SwarmPlan.of(effort))
    except Exception as error:  # noqa: BLE001  one curve that fails must not take the others along
        if len(block) > 1:
            for curve in block:
                _swarm([curve], label, asked, effort=effort)
        else:
            block[0].found[label].note = str(error)
        return
    for row, (curve, sample) in enumerate(zip(block, samples, strict=True)):
        curve.found[label] = _Found.of(sample, batch.scores.take(np.array([row])))


def _unhealthy(block: Sequence[_Curve], label: str) -> list[_Curve]:
    """Curves on which a family is to be computed again: unhealthy, and not hopelessly behind the best one."""
    chosen = []
    for curve in block:
        one = curve.found[label]
        best = max((other.log_evidence for other in curve.found.values() if not other.sick), default=np.nan)
        behind = np.isfinite(one.log_evidence) and one.log_evidence < best - HOPELESS
        if one.sick and behind:
            one.note = "unhealthy, but far behind the best curve"
        elif one.sick:
            chosen.append(curve)
    return chosen


def _by_itself(curve: _Curve, label: str, asked: Asked) -> None:
    """Fit one family to one curve with the ordinary engines, which go to NUTS where they must."""
    specification = curve.specifications[label]
    seed = int(np.random.default_rng(asked.seed_of(curve.label, label, "by itself")).integers(2**31))
    try:
        tree = fit(
            curve.trial, curve=[specification.curve], family=asked.family, vary={}, draws=DRAWS // 4, random_seed=seed
        )
    except Exception as error:  # noqa: BLE001  one curve that fails must not take the others along
        curve.found[label] = _Found(note=(str(error).splitlines() or [type(error).__name__])[0][:300], sick=True)
        return
    row = tree["evidence"].to_dataset().isel(model=0)
    [member] = members(tree)
    numbers = (float(row[name]) for name in ("log_evidence", "log_evidence_se", "ess", "pareto_k"))
    draws = {name: member.draws[name].values for name in specification.priors}
    note, sick = str(row["note"].values), bool(row["sick"])
    curve.found[label] = _Found(*numbers, str(row["engine"].values), note, sick, draws=draws)


def _settled(block: Sequence[_Curve], asked: Asked) -> list[dict[str, Any]]:
    """Return the records of curves whose families have all been computed."""
    drawn: list[list[tuple[str, dict[str, np.ndarray]]]] = []
    records: list[dict[str, Any]] = []
    for curve in block:
        try:
            weights = curve.weights(asked.prior_hormesis)
            records.append(_evidence(curve, weights))
            drawn.append(_mixture_draws(curve, weights, asked))
        except Exception as error:  # noqa: BLE001  one curve that fails must not take the others along
            records[len(drawn) :] = [failure(error)]
            drawn.append([])
    solved = _solved(block, drawn, asked)
    for curve, record, one in zip(block, records, solved, strict=True):
        if one:
            record |= _answer(curve.trial, one, asked)
            record["status"] = "SICK" if record.pop("sick") else record["status"]
    return records


def _evidence(curve: _Curve, weights: np.ndarray) -> dict[str, Any]:
    """What the families of a curve say together."""
    found, labels = list(curve.found.values()), list(curve.found)
    hormetic = np.array([one.curve.hormetic for one in curve.specifications.values()])
    usable = np.isfinite([one.log_evidence for one in found])
    both = usable[hormetic].any() and usable[~hormetic].any()
    # The health of a curve matters where it carries weight.
    sick = any(one.sick and weight >= 0.01 for one, weight in zip(found, weights, strict=True))
    notes = [f"{label}: {one.note}" for label, one in curve.found.items() if one.note]
    columns = ("log_evidence", "log_evidence_se", "ess", "pareto_k", "engine")
    return {name: [getattr(one, name) for one in found] for name in columns} | {
        "weight": weights,
        "prob_hormesis": float(weights[hormetic].sum()) if both else np.nan,
        "best_model": labels[int(np.argmax(weights))],
        "rows": curve.trial.sizes["observation"],
        "doses": np.unique(curve.trial["dose"].values).size,
        "scale": str(curve.trial.attrs["scale"]),
        "note": "; ".join(notes)[:300],
        "sick": sick,
    }


def _mixture_draws(curve: _Curve, weights: np.ndarray, asked: Asked) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Return draws of the mixture of families, each family with as many as its weight deserves."""
    edges = np.cumsum(weights)
    which = np.searchsorted(edges / edges[-1], (np.arange(DRAWS) + 0.5) / DRAWS)
    counts = np.bincount(which, minlength=len(weights))
    drawn = []
    for (label, found), count in zip(curve.found.items(), counts, strict=True):
        if count:
            rng = np.random.default_rng(asked.seed_of(curve.label, label, "draws"))
            drawn.append((label, found.resampled(int(count), rng)))
    return drawn


def _solved(block: Sequence[_Curve], drawn: Sequence[list], asked: Asked) -> list[dict[str, np.ndarray]]:
    """Return window and quantities of every draw of every curve, family by family for all curves at once."""
    tasks = defaultdict(list)
    for place, (curve, families) in enumerate(zip(block, drawn, strict=True)):
        for label, draws in families:
            tasks[label, domain(curve.trial)].append((place, draws))
    parts: list[list[dict[str, np.ndarray]]] = [[] for _ in block]
    for (label, _), members_of in tasks.items():
        first = block[members_of[0][0]]
        joined = {name: np.concatenate([draws[name] for _, draws in members_of]) for name in members_of[0][1]}
        member = _member(first.specifications[label], joined)
        solved = solve(member, threshold_of(member, asked.benefit, asked.benefit_scale), first.trial)
        ends = np.cumsum([len(next(iter(draws.values()))) for _, draws in members_of])[:-1]
        split = {name: np.split(value, ends) for name, value in solved.items()}
        for k, (place, _) in enumerate(members_of):
            parts[place].append({name: value[k] for name, value in split.items()})
    return [{name: np.concatenate([one[name] for one in part]) for name in part[0]} if part else {} for part in parts]


def _member(specification: Specification, draws: Mapping[str, np.ndarray]) -> Member:
    size = len(next(iter(draws.values())))
    curve = specification.curve
    values = {
        name: draws[name][:, None] if name in draws else np.full((size, 1), float(getattr(curve, name)))
        for name in curve.parameters()
    }
    table = xr.Dataset(
        {name: ("sample", value) for name, value in draws.items()}, attrs={"family": specification.family}
    )
    return Member(curve.label, curve.with_values(values), table, (1, size), 1.0)


def _answer(trial: xr.Dataset, solved: Mapping[str, np.ndarray], asked: Asked) -> dict[str, Any]:
    """Window, status and quantities of one curve."""
    exceedance = Exceedance.of([solved], np.ones(1), domain(trial))
    best, highest = exceedance.best()
    pieces = exceedance.pieces(asked.level)
    lower, upper = nearest_piece(pieces, best) or (np.nan, np.nan)
    if pieces:
        status = "WINDOW"
    elif exceedance.prob_exists >= asked.level:
        status = "UNLOCATED"
    else:
        status = "UNLIKELY" if exceedance.prob_exists <= 1 - asked.level else "UNDETERMINED"
    table = np.full((len(QUANTITIES), len(STATISTICS)), np.nan)
    for row, name in enumerate(QUANTITIES):
        values = solved[name][~np.isnan(solved[name])]
        table[row, 3] = len(values) / len(solved[name])
        if len(values):
            table[row, :3] = _quantiles(values)
    return {
        "status": status,
        "prob_exists": exceedance.prob_exists,
        "max_probability": highest,
        "best_dose": best,
        "window_lower": lower,
        "window_upper": upper,
        "quantity_table": table,
    }


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Quantiles by linear interpolation; an infinite edge stays infinite and makes no NaN."""
    ordered = np.sort(values)
    at = np.array(LEVELS) * (len(ordered) - 1)
    below, above = ordered[np.floor(at).astype(int)], ordered[np.ceil(at).astype(int)]
    share = at - np.floor(at)
    between = np.where(np.isinf(above), np.where(share > 0, above, below), 0.0)
    finite = np.isfinite(above) & np.isfinite(below)
    with np.errstate(invalid="ignore"):
        return np.where(finite, below + share * (above - below), between)
