"""For whom: the typical subject, one that was in the trial, a new one, the population, or a share of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr
from scipy.special import ndtri
from scipy.stats import qmc

from hormesis_fit.model.hierarchy import WITHIN, Effect, Shared, design_of, displaced, shifts_of
from hormesis_fit.windows.posterior import Member, members, trial_of
from hormesis_fit.wording import listing, quote, unknown

ESTIMANDS = ("typical", "population", "new", "coverage")
PERSON = "subject"
PEOPLE = 64  # people in the population of one draw
BLOCK = 250  # draws whose populations are solved at a time: 16,000 curves in 0.2 GB
SHARE = 0.8  # of the population whom a dose has to serve, for the estimand "coverage"


NEEDED = math.ceil(SHARE * PEOPLE)


@dataclass(frozen=True)
class Asked:
    """Whose window is asked for."""

    estimand: str = "typical"
    subject: str | None = None
    # What the covariates of that subject add to each parameter's formula, as numbers of its columns.
    columns: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

    @property
    def label(self) -> str:
        """What a result says of it."""
        return self.estimand if self.subject is None else "subject"


EACH = Asked("each")  # the population of every draw, person by person, as `populations` gives them


def asked_for(fit: xr.DataTree, estimand: str, subject: object) -> Asked:
    """Check whose window is asked for, in one sentence.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    estimand : str
        One of `ESTIMANDS`.
    subject : str, optional
        Label of a subject of the trial.
    """
    if estimand not in ESTIMANDS:
        raise ValueError(unknown("estimand", estimand, ESTIMANDS))
    if subject is None and estimand == "typical":
        return Asked()
    effects = [one for member in members(fit) for one in effects_in(member)]  # a constant has no dose that could vary
    drifting = [label for member in members(fit) for label in _drifting(member)]
    if not effects and not drifting:
        raise ValueError(
            "The fit has nobody who differs from the typical subject: fit with "
            'vary={"half_effect_dose": "subject"} first, or leave out estimand= and subject=.'
        )
    if subject is None:
        return Asked(estimand)
    if estimand != "typical":
        raise ValueError(f"One subject has no {estimand} window: leave out estimand= or subject=.")
    people = sorted({label for one in _persons(effects) for label in one.labels} | set(drifting))
    named = [label for label in people if _is_called(label, str(subject))]
    if not named:
        raise ValueError(unknown("subject", subject, people))
    if len(named) > 1:
        same = f"There are {len(named)} subjects named {quote(subject)} ({listing(named)})"
        raise ValueError(f"{same}: name one of them in full.")
    return Asked("typical", str(subject), _columns_of(fit, str(subject)))


def _drifting(member: Member) -> list[str]:
    """Subjects whose sensitivity has a path of its own."""
    return [label for one in json.loads(member.draws.attrs.get("drifts", "[]")) for label in one["labels"]]


def _columns_of(fit: xr.DataTree, subject: str) -> dict[str, np.ndarray]:
    """Mean columns of every formula over the rows of one subject."""
    trial = trial_of(fit)
    formulas = {one[1] for member in members(fit) for one in json.loads(member.draws.attrs.get("slopes", "[]"))}
    if not formulas or PERSON not in trial:
        return {}
    rows = np.array([_is_called(str(label), subject.split(WITHIN)[-1]) for label in trial[PERSON].values])
    return {formula: design_of(trial, formula)[1][rows].mean(axis=0) for formula in formulas}


def effects_in(member: Member) -> list[Effect]:
    """Return what differs between groups in one curve of a fit."""
    found = []
    for parameter, group, space in json.loads(member.draws.attrs.get("effects", "[]")):
        found.append(Effect(parameter, group, space, tuple(str(one) for one in member.draws[group].values)))
    return found


def is_known(member: Member, subject: str) -> bool:
    """Whether one of the people of a curve has a label."""
    return any(_is_called(label, subject) for one in _persons(effects_in(member)) for label in one.labels)


def people(member: Member, asked: Asked, seed: int, *, benefit: Mapping[Effect, np.ndarray] | None = None) -> Member:
    """Return a curve of a fit with the parameters of the people asked for.

    Parameters
    ----------
    member : Member
        Of the typical subject.
    asked : Asked
        Whose window.
    seed : int
        Of new subjects.
    benefit : mapping, optional
        Of a side effect that shares something with the benefit: offsets of these people there, by `offsets_of`.

    Returns
    -------
    Member
        One person per draw, or the population of each draw.
    """
    offsets = offsets_of(member, asked, seed)
    if asked.subject is not None:
        return _with_covariates(_moved(member, offsets), asked)
    if not offsets:
        return member
    several = max(offset.ndim for offset in offsets.values()) - 1
    flat = {str(name): one.values for name, one in member.draws.data_vars.items() if one.dims == ("sample",)}
    shares = {name: value.reshape(-1, *[1] * several) for name, value in flat.items()}
    return _moved(member, shared_offsets(member, offsets, benefit or {}, shares))


def offsets_of(member: Member, asked: Asked, seed: int) -> dict[Effect, np.ndarray]:
    """Return the standardised offsets of the people asked for, shape (sample, 1), or (1, 1, person) for a population.

    Parameters
    ----------
    member, asked, seed
        As in `people`.
    """
    effects = effects_in(member)
    if asked.subject is not None:
        return {one: _offset_of(member, one, effects, asked.subject) for one in effects}
    if asked.estimand == "typical" or not effects:
        return {}
    varied = _persons(effects)
    if asked.estimand == "new":
        rng = np.random.default_rng([seed, 3])
        return {one: rng.standard_normal((member.size, 1)) for one in varied}
    crowd = _crowd(len(varied), seed)
    if asked.estimand == "each":
        return {one: np.tile(crowd[:, k], member.size // PEOPLE)[:, None] for k, one in enumerate(varied)}
    return {one: crowd[None, None, :, k] for k, one in enumerate(varied)}


def shared_offsets(
    member: Member,
    offsets: Mapping[Effect, np.ndarray],
    benefit: Mapping[Effect, np.ndarray],
    shares: Mapping[str, np.ndarray],
) -> dict[Effect, np.ndarray]:
    """Return offsets in a side effect that go with those in the benefit.

    Parameters
    ----------
    member : Member
        Of the side effect.
    offsets, benefit : mapping
        Independent standardised offsets in both, of shapes that broadcast.
    shares : mapping
        Correlations as shares, by name, to broadcast against the offsets.
    """
    found = dict(offsets)
    partners = {(one.parameter, one.group): offset for one, offset in benefit.items()}
    for parameter, group in json.loads(member.draws.attrs.get("shared", "[]")):
        common = Shared(parameter, group)
        for one, own in offsets.items():
            if (one.parameter, one.group) == (parameter, group) and (parameter, group) in partners:
                found[one] = common.mixed(own, partners[parameter, group], shares[common.name])
    return found


def _with_covariates(member: Member, asked: Asked) -> Member:
    """Return a curve with what the covariates of one subject add."""
    values = member.arrays()
    for name, formula, space in json.loads(member.draws.attrs.get("slopes", "[]")):
        if name in values and formula in asked.columns:
            slope = member.draws[f"{name}_slope"].transpose("sample", ...).values
            values[name] = displaced(values[name], (slope @ asked.columns[formula])[:, None], space)
    return replace(member, curve=member.curve.with_values(values))


def _persons(effects: Sequence[Effect]) -> list[Effect]:
    """The differences between people; where no column is one of subjects, all differences."""
    own = [one for one in effects if one.group.split(WITHIN)[-1] == PERSON]
    return own or list(effects)


def _crowd(dimension: int, seed: int) -> np.ndarray:
    """Standard normal offsets of a population, evenly spread, shape (person, effect)."""
    rng = np.random.default_rng([seed, 4])
    uniform = qmc.Sobol(dimension, rng=rng).random(PEOPLE)
    # In random order: the same people have other offsets in a side effect, whose sequence has the same pattern.
    return rng.permutation(ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)))


def _is_called(label: str, subject: str) -> bool:
    """Whether a label is the name of a subject, in full or within its centre."""
    return subject in (label, label.split(WITHIN)[-1])


def _offset_of(member: Member, effect: Effect, effects: Sequence[Effect], subject: str) -> np.ndarray:
    """Offsets of one subject in one grouping, shape (sample, 1).

    Those of the centre in which a subject is nested are its own, too; of other groupings, such as plates, it has none.
    """
    named = [label for one in _persons(effects) for label in one.labels if _is_called(label, subject)]
    depth = len(effect.group.split(WITHIN))
    around = {WITHIN.join(label.split(WITHIN)[:depth]) for label in named}
    nests = any(_holds(effect.group, one.group) for one in _persons(effects))
    at = [i for i, label in enumerate(effect.labels) if nests and label in around]
    if not at:
        return np.zeros((member.size, 1))
    return member.draws[effect.offset].transpose("sample", effect.group).values[:, at]


def _holds(outer: str, inner: str) -> bool:
    """Whether a grouping is the same as another, or that in which it is nested."""
    return f"{inner}{WITHIN}".startswith(f"{outer}{WITHIN}")


def _moved(member: Member, offsets: Mapping[Effect, np.ndarray]) -> Member:
    crowded = any(offset.ndim == 3 for offset in offsets.values())
    flat = [str(name) for name in member.draws.data_vars if member.draws[name].dims == ("sample",)]
    known = {name: member.draws[name].values.reshape(-1, *[1] * (1 + crowded)) for name in flat}
    values = {name: value[:, :, None] if crowded else value for name, value in member.arrays().items()}
    for name, (space, shift) in shifts_of(list(offsets), offsets, known, known).items():
        if name in values:  # parameters of the family have no part in the mean
            values[name] = displaced(values[name], shift, space)
    return replace(member, curve=member.curve.with_values(values))


def populations(member: Member) -> Iterator[Member]:
    """Yield some draws of a curve at a time, every draw once for each person of its population."""
    for start in range(0, member.size, BLOCK):
        rows = np.arange(start, min(start + BLOCK, member.size))
        yield member.take(np.repeat(rows, PEOPLE))


def served(
    member: Member, typical: Mapping[str, np.ndarray], solved: Callable[[Member], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the doses that serve a share of the population of every draw, in place of a typical subject's window.

    A person is served by a dose that has the benefit and breaks no limit in this person.

    Parameters
    ----------
    member : Member
        Of the typical subject.
    typical : mapping
        What was found for the typical subject.
    solved : callable
        Maps what `populations` gives to the windows of these people, as `quantities.solve` does, within their limits on
        harm.
    """
    columns: dict[str, list[np.ndarray]] = {"window_lower": [], "window_upper": [], "binding": [], "harm_limit": []}
    for block in populations(member):
        each = {
            name: value.reshape(-1, PEOPLE) for name, value in solved(block).items() if name in {*columns, "exists"}
        }
        low = np.where(each["exists"], each["window_lower"], np.inf)
        high = np.where(each["exists"], each["window_upper"], -np.inf)
        lower, upper = hull(low, high, NEEDED)
        columns["window_lower"].append(lower)
        columns["window_upper"].append(upper)
        if "binding" in each:
            last = np.argmax(high == upper[:, None], axis=1)
            columns["binding"].append(np.take_along_axis(each["binding"], last[:, None], axis=1)[:, 0])
            columns["harm_limit"].append(tolerated(each["harm_limit"]))
    found = {name: np.concatenate(parts) for name, parts in columns.items() if parts}
    there = found["window_lower"] <= found["window_upper"]
    edges = {name: np.where(there, found[name], np.nan) for name in ("window_lower", "window_upper")}
    return dict(typical) | found | edges | {"exists": there}


def tolerated(limits: np.ndarray) -> np.ndarray:
    """Return the highest dose that stays within the limits of a share of the population, shape (sample,).

    Parameters
    ----------
    limits : ndarray, shape (sample, person)
        Lowest dose that exceeds a limit in each person.
    """
    return np.sort(limits, axis=1)[:, PEOPLE - NEEDED]


def hull(low: np.ndarray, high: np.ndarray, needed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest dose that lie in at least `needed` of the windows of a row.

    Parameters
    ----------
    low, high : ndarray, shape (sample, person)
        Edges; (inf, -inf) for somebody without a window.
    needed : int
        Number of people.
    """
    lower, upper = np.full(len(low), np.inf), np.full(len(low), -np.inf)
    for row in range(len(low)):
        own = low[row] <= high[row]
        starts, ends = np.sort(low[row][own]), np.sort(high[row][own])
        inside_at_start = np.searchsorted(starts, starts, side="right") - np.searchsorted(ends, starts, side="left")
        inside_at_end = np.searchsorted(starts, ends, side="right") - np.searchsorted(ends, ends, side="left")
        first, last = np.flatnonzero(inside_at_start >= needed), np.flatnonzero(inside_at_end >= needed)
        if first.size and last.size:
            lower[row], upper[row] = starts[first[0]], ends[last[-1]]
    return lower, upper
