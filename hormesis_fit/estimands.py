"""For whom: the typical subject, one that was in the trial, a new one, the population, or a share of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.special import ndtri
from scipy.stats import qmc

from hormesis_fit.hierarchy import WITHIN, Effect, displaced, shifts_of
from hormesis_fit.posterior import Member, members
from hormesis_fit.quantities import solve
from hormesis_fit.wording import listing, quote, unknown

ESTIMANDS = ("typical", "population", "new", "coverage")
PERSON = "subject"
PEOPLE = 64  # people in the population of one draw
SHARE = 0.8  # of the population whom a dose has to serve, for the estimand "coverage"


@dataclass(frozen=True)
class Asked:
    """Whose window is asked for."""

    estimand: str = "typical"
    subject: str | None = None

    @property
    def label(self) -> str:
        """What a result says of it."""
        return self.estimand if self.subject is None else "subject"


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
    effects = effects_in(members(fit)[0])
    if not effects:
        raise ValueError(
            "The fit has nobody who differs from the typical subject: fit with "
            'vary={"half_effect_dose": "subject"} first, or leave out estimand= and subject=.'
        )
    if subject is None:
        return Asked(estimand)
    if estimand != "typical":
        raise ValueError(f"One subject has no {estimand} window: leave out estimand= or subject=.")
    names = sorted({name for one in effects for label in one.labels for name in (label, label.split(WITHIN)[-1])})
    if str(subject) not in names:
        people = sorted({label for one in effects if one.group.split(WITHIN)[-1] == PERSON for label in one.labels})
        raise ValueError(unknown("subject", subject, people or names))
    return Asked("typical", str(subject))


def effects_in(member: Member) -> list[Effect]:
    """Return what differs between groups in one curve of a fit."""
    found = []
    for parameter, group, space in json.loads(member.draws.attrs.get("effects", "[]")):
        found.append(Effect(parameter, group, space, tuple(str(one) for one in member.draws[group].values)))
    return found


def people(member: Member, asked: Asked, seed: int) -> Member:
    """Return a curve of a fit with the parameters of the people asked for.

    Parameters
    ----------
    member : Member
        Of the typical subject.
    asked : Asked
        Whose window.
    seed : int
        Of new subjects.

    Returns
    -------
    Member
        One person per draw, or the population of each draw.
    """
    effects = effects_in(member)
    if asked.subject is not None:
        return _moved(member, {one: _offset_of(member, one, asked.subject) for one in effects})
    if asked.estimand == "typical" or not effects:
        return member
    varied = _persons(effects)
    if asked.estimand == "new":
        rng = np.random.default_rng([seed, 3])
        return _moved(member, {one: rng.standard_normal((member.size, 1)) for one in varied})
    crowd = _crowd(len(varied), seed)
    return _moved(member, {one: crowd[None, None, :, k] for k, one in enumerate(varied)})


def _persons(effects: Sequence[Effect]) -> list[Effect]:
    """The differences between people; where no column is one of subjects, all differences."""
    own = [one for one in effects if one.group.split(WITHIN)[-1] == PERSON]
    return own or list(effects)


def _crowd(dimension: int, seed: int) -> np.ndarray:
    """Standard normal offsets of a population, evenly spread, shape (person, effect)."""
    rng = np.random.default_rng([seed, 4])
    uniform = qmc.Sobol(dimension, rng=rng).random(PEOPLE)
    return ndtri(np.clip(uniform, 1e-9, 1 - 1e-9))


def _offset_of(member: Member, effect: Effect, subject: str) -> np.ndarray:
    """Offsets of one subject in one grouping, shape (sample, 1); 0 where the grouping is not one of subjects."""
    at = [i for i, label in enumerate(effect.labels) if subject in (label, label.split(WITHIN)[-1])]
    if not at:
        return np.zeros((member.size, 1))
    if len(at) > 1:
        same = listing([effect.labels[i] for i in at])
        raise ValueError(f"There are {len(at)} subjects named {quote(subject)} ({same}): name one of them in full.")
    return member.draws[effect.offset].transpose("sample", effect.group).values[:, at]


def _moved(member: Member, offsets: Mapping[Effect, np.ndarray]) -> Member:
    crowded = any(offset.ndim == 3 for offset in offsets.values())
    flat = [str(name) for name in member.draws.data_vars if member.draws[name].dims == ("sample",)]
    known = {name: member.draws[name].values.reshape(-1, *[1] * (1 + crowded)) for name in flat}
    values = {name: value[:, :, None] if crowded else value for name, value in member.arrays().items()}
    for name, (space, shift) in shifts_of(list(offsets), offsets, known, known).items():
        values[name] = displaced(values[name], shift, space)
    return replace(member, curve=member.curve.with_values(values))


def served(member: Member, typical: Mapping[str, np.ndarray], limits: np.ndarray, trial: xr.Dataset, seed: int):
    """Return the doses that serve a share of the population of every draw, in place of a typical subject's window.

    Parameters
    ----------
    member : Member
        Of the typical subject.
    typical : mapping
        What `solve` finds for the typical subject.
    limits : callable
        Maps a member to the benefit that counts, shape (sample,) [response].
    trial : Dataset
        dims (observation,).
    seed : int
        Of the population.
    """
    varied = _persons(effects_in(member))
    crowd = _crowd(len(varied), seed)
    copies = member.take(np.repeat(np.arange(member.size), PEOPLE))
    offsets = {one: np.tile(crowd[:, k], member.size)[:, None] for k, one in enumerate(varied)}
    each = _moved(copies, offsets)
    solved = solve(each, limits(each), trial)
    exists = solved["exists"].reshape(-1, PEOPLE)
    low = np.where(exists, solved["window_lower"].reshape(-1, PEOPLE), np.inf)
    high = np.where(exists, solved["window_upper"].reshape(-1, PEOPLE), -np.inf)
    lower, upper = hull(low, high, int(np.ceil(SHARE * PEOPLE)))
    there = lower <= upper
    return dict(typical) | {
        "window_lower": np.where(there, lower, np.nan),
        "window_upper": np.where(there, upper, np.nan),
        "exists": there,
    }


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
        starts, ends = np.sort(low[row]), np.sort(high[row])
        inside_at_start = np.searchsorted(starts, starts, side="right") - np.searchsorted(ends, starts, side="left")
        inside_at_end = np.searchsorted(starts, ends, side="right") - np.searchsorted(ends, ends, side="left")
        first, last = np.flatnonzero(inside_at_start >= needed), np.flatnonzero(inside_at_end >= needed)
        if first.size and last.size and np.isfinite(starts[first[0]]):
            lower[row], upper[row] = starts[first[0]], ends[last[-1]]
    return lower, upper
