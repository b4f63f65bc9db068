"""The window in time: where sensitivity has drifted to, how long a dose keeps its benefit, when to look again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.courses import VISIT, Course, find_drift, start_of, visit_index
from hormesis_fit.estimands import Asked, asked_for, people
from hormesis_fit.posterior import Member, described, labels_of, members, trial_of
from hormesis_fit.wording import listing


def courses_in(member: Member) -> list[Course]:
    """Return the drifts of one curve of a fit."""
    found = []
    for one in json.loads(member.draws.attrs.get("drifts", "[]")):
        term = replace(find_drift(one["drift"]), **one["options"])
        found.append(Course(one["target"], term, tuple(one["times"]), tuple(one["labels"])))
    return found


def check_times(fit: xr.DataTree, times: Sequence[float] | float | None, member: Member) -> np.ndarray | None:
    """Return the times asked for, ascending; by default the last visit; None where nothing drifts."""
    if not courses_in(member):
        if times is not None:
            raise ValueError(
                'The fit knows no drift in time: fit with drift="OrnsteinUhlenbeck" first, or leave out time=.'
            )
        return None
    trial = trial_of(fit)
    if times is None:
        return np.array([float(trial["time"].values.max())])
    try:
        asked = np.unique(np.asarray(times, dtype=float).ravel())
    except (TypeError, ValueError):
        asked = np.empty(0)
    first = float(trial["time"].values.min())
    if asked.size == 0 or not np.all(np.isfinite(asked)) or asked[0] < first:
        raise ValueError(f"Times must be finite numbers from the first visit ({first:g}) on, got {times!r}.")
    return asked


def paths(member: Member, asked: Asked, times: np.ndarray, start: float, seed: int) -> dict[str, np.ndarray]:
    """Return the drifts of every draw at some times.

    Parameters
    ----------
    member : Member
        One curve of a fit.
    asked : Asked
        Whose drift, where each subject has a path of its own.
    times : ndarray
        Ascending times [time]; between visits a path is interpolated, beyond the last one it goes on as its process
        would have it.
    start : float
        Time from which drifts are counted [time].
    seed : int
        Of what is still to come.

    Returns
    -------
    dict
        Shape (sample, time) each, by what drifts.
    """
    found = {}
    for number, one in enumerate(courses_in(member)):
        rng = np.random.default_rng([seed, 8, number])
        known = {name: member.draws[name].values[:, None] for name in one.parameters() if name in member.draws}
        visits, wanted = np.array(one.times), times - start
        later = wanted[wanted > visits[-1] + 1e-12]
        every = np.concatenate([visits, later])
        fresh = _innovations(member, one, asked, rng)
        if one.term.sources:
            extra = rng.standard_normal((*fresh.shape[:-1], later.size))
            if asked.estimand == "typical" and asked.subject is None and one.labels:
                extra = np.zeros_like(extra)  # the typical subject drifts as the process has it on average
            fresh = np.concatenate([fresh, extra], axis=-1)
        path = np.broadcast_to(one.path(known, fresh, later=later), (member.size, every.size))
        found[one.target] = np.stack([_at(every, path, time) for time in wanted], axis=1)
    return found


def _at(times: np.ndarray, path: np.ndarray, time: float) -> np.ndarray:
    right = int(np.clip(np.searchsorted(times, time), 1, len(times) - 1))
    share = (time - times[right - 1]) / (times[right] - times[right - 1])
    return path[:, right - 1] * (1 - share) + path[:, right] * share


def _innovations(member: Member, one: Course, asked: Asked, rng: np.random.Generator | None) -> np.ndarray:
    """Innovations of the person asked for, shape (sample, [source,] visit)."""
    if not one.term.sources:
        return np.zeros((member.size, 1))
    inner = (f"{one.target}_source", VISIT) if one.term.sources > 1 else (VISIT,)
    if not one.labels:
        return member.draws[one.innovation].transpose("sample", *inner).values
    if asked.subject is not None:
        if asked.subject not in one.labels:
            raise ValueError(
                f"There is no subject named {asked.subject!r} with a drift: choose one of {listing(one.labels)}."
            )
        return member.draws[one.innovation].sel(subject=asked.subject).transpose("sample", *inner).values
    sizes = [one.term.sources, len(one.times)] if one.term.sources > 1 else [len(one.times)]
    if asked.estimand == "typical":
        return np.zeros((member.size, *sizes))
    return rng.standard_normal((member.size, *sizes))


def at_time(member: Member, drifts: Mapping[str, np.ndarray], number: int) -> Member:
    """Return a curve with the sensitivity that it has at one of the times."""
    return replace(member, shifts={target: path[:, [number]] for target, path in drifts.items()})


def someone(typical: Member, asked: Asked, trial: xr.Dataset, seed: int, moment: float | None = None) -> Member:
    """Return a curve of a fit with the parameters of the people asked for, and their sensitivity at a time.

    Parameters
    ----------
    typical : Member
        Of the typical subject.
    asked : Asked
        Whose curve.
    trial : Dataset
        dims (observation,).
    seed : int
        Of new subjects and of what is still to come.
    moment : float, optional
        When, where sensitivity drifts [time].
    """
    member = people(typical, asked, seed)
    if moment is None:
        return member
    return at_time(member, paths(typical, asked, np.array([moment]), start_of(trial), seed), 0)


def moment_of(fit: xr.DataTree, time: float | None) -> float | None:
    """Return the time asked for, by default the last visit; None where nothing drifts."""
    moments = check_times(fit, None if time is None else [time], members(fit)[0])
    return None if moments is None else float(moments[0])


def row_drifts(member: Member, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the drifts of every draw at each row of its trial, shape (sample, observation) each, by what drifts."""
    found = {}
    for one in courses_in(member):
        known = {name: member.draws[name].values[:, None] for name in one.parameters() if name in member.draws}
        visit = visit_index(trial, one.times)
        if one.labels and one.term.sources:
            paths_of = [
                one.path(known, _innovations(member, one, Asked("typical", label), None)) for label in one.labels
            ]
            own = np.searchsorted(one.labels, trial["subject"].values.astype(str))
            found[one.target] = np.stack(paths_of, axis=1)[:, own, visit]
        else:
            path = one.path(known, _innovations(member, one, Asked(), None))
            found[one.target] = np.broadcast_to(path, (member.size, len(one.times)))[:, visit]
    return found


def sensitivity_over_time(fit: xr.DataTree, **asked: Any) -> xr.Dataset:
    """Return the posterior of drifting sensitivity.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift.
    **asked
        ``time`` (sequence of times [time], by default the visits), ``estimand`` and ``subject``, as in `window`.

    Returns
    -------
    Dataset
        ``potency``, ``gain``, ``baseline``, as far as they drift, on the log scale, dims (chain, draw, time) [1]; for
        an average those of the curve with the highest weight, named in the attr ``model``.
    """
    group = members(fit)
    member = max(group, key=lambda one: one.weight)
    trial = trial_of(fit)
    whose = asked_for(fit, asked.get("estimand", "typical"), asked.get("subject"))
    wanted = asked.get("time")
    times = check_times(fit, np.unique(trial["time"].values) if wanted is None else wanted, member)
    found = paths(member, whose, times, start_of(trial), int(fit.attrs["seed"]))
    chains, draws = member.shape
    text = "Drift of the {} on the log scale, 0 where nothing has changed."
    result = xr.Dataset(
        {
            target: (
                ("chain", "draw", "time"),
                path.reshape(chains, draws, -1),
                described("1", trial, text.format(target)),
            )
            for target, path in found.items()
        },
        coords=labels_of(fit) | {"time": times},
        attrs={"model": member.label},
    )
    result["time"].attrs = dict(trial["time"].attrs)
    return result
