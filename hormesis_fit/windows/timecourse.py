"""The window in time: where sensitivity has drifted to, how long a dose keeps its benefit, when to look again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.drift import Drift
from hormesis_fit.drift.administration import Administration, held_for, repeated_for_ever, repeated_until
from hormesis_fit.drift.carryover import after_doses
from hormesis_fit.drift.courses import VISIT, Course, Mechanism, find_drift, mechanism_from, start_of, visit_index
from hormesis_fit.drift.histories import (
    Histories,
    RegimenLike,
    first_time,
    histories_at,
    histories_from,
    kinetics_from,
    usual_interval,
)
from hormesis_fit.parameter import Term
from hormesis_fit.windows.estimands import Asked, asked_for, people
from hormesis_fit.windows.history import history_record, read_history
from hormesis_fit.windows.posterior import Member, described, labels_of, members, trial_of
from hormesis_fit.wording import listing

BLOCK = 250  # draws whose histories are followed at a time


def courses_in(member: Member) -> list[Course]:
    """Return the drifts of one curve of a fit."""
    found = []
    for one in json.loads(member.draws.attrs.get("drifts", "[]")):
        term = replace(find_drift(one["drift"]), **one["options"])
        found.append(Course(one["target"], term, tuple(one["times"]), tuple(one["labels"])))
    return found


def mechanism_in(member: Member) -> Mechanism | None:
    """Return the mechanism of one curve of a fit, as a template, None without one."""
    return mechanism_from(json.loads(member.draws.attrs.get("mechanism", "{}")))


def drifting(fit: xr.DataTree) -> bool:
    """Return whether sensitivity drifts in a fit, by chance or by a mechanism."""
    member = members(fit)[0]
    return bool(courses_in(member)) or mechanism_in(member) is not None


def dosing_terms(member: Member, kinetics: Term | None) -> tuple[Mechanism | None, Drift | None, Term | None]:
    """Return the mechanism of a curve, as a template and with draws of shape (sample, 1), and the kinetics with theirs.

    Parameters
    ----------
    member : Member
        One curve of a fit.
    kinetics : Term, optional
        Template of the pharmacokinetics.
    """
    mechanism = mechanism_in(member)
    draws = {str(name): one.values[:, None] for name, one in member.draws.data_vars.items() if one.ndim == 1}
    term = None if mechanism is None else mechanism.with_values(draws)
    if kinetics is None:
        return mechanism, term, None
    named = {name: draws[name] for name in kinetics.parameters() if name in draws}
    return mechanism, term, kinetics.with_values(named)


@dataclass(frozen=True)
class Moment:
    """When a window is asked for, and how the doses are given.

    Attributes
    ----------
    time : float
        Time [time].
    interval : float, optional
        Time between doses [time]; None for one dose, or without pharmacokinetics for an exposure that is held.
    steady : bool
        Whether the doses have been given for ever; the time then counts for drifts by chance alone.
    kinetics : Term, optional
        Template of the pharmacokinetics.
    history : Dataset, optional
        Doses before time 0, as `read_history` returns them.
    """

    time: float
    interval: float | None = None
    steady: bool = False
    kinetics: Term | None = None
    history: xr.Dataset | None = None

    def asked(self) -> dict[str, float | str]:
        """Return what was asked, as a window writes it down."""
        found: dict[str, float | str] = {} if self.steady else {"time": self.time}
        found |= {} if self.interval is None else {"interval": self.interval}
        return found | ({} if self.history is None else {"history": history_record(self.history)})

    def dosed(self, member: Member) -> Administration | None:
        """Return the administration of doses for the draws of a curve, None where only the dose itself counts."""
        mechanism, term, kinetics = dosing_terms(member, self.kinetics)
        if kinetics is None:
            given = None if mechanism is None else held_for(self.time, mechanism, term)
        elif self.steady:
            return repeated_for_ever(self.interval, kinetics, mechanism, term)
        else:
            given = repeated_until(self.time, self.interval, kinetics, mechanism, term)
        return given if given is None or self.history is None else after_doses(given, self.history, kinetics)


def check_times(fit: xr.DataTree, times: Sequence[float] | float | None, member: Member) -> np.ndarray | None:
    """Return the times asked for, ascending; by default the last visit; None where nothing drifts."""
    if not courses_in(member) and "regimen" not in fit:
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
    first = start_of(trial) if "regimen" in fit else float(trial["time"].values.min())
    if asked.size == 0 or not np.all(np.isfinite(asked)) or asked[0] < first:
        raise ValueError(f"Times must be finite numbers from {first:g} on, got {times!r}.")
    return asked


def paths(
    member: Member, asked: Asked, times: np.ndarray, start: float, seed: int, *, wander: bool = True
) -> dict[str, np.ndarray]:
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
    wander : bool
        Whether chance goes on beyond the last visit, or the path as it will be on average.

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
            if not wander or (asked.estimand == "typical" and asked.subject is None and one.labels):
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


def someone(typical: Member, asked: Asked, trial: xr.Dataset, seed: int, moment: Moment | None = None) -> Member:
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
    moment : Moment, optional
        When, where sensitivity drifts or doses are given in time.
    """
    member = people(typical, asked, seed)
    if moment is None:
        return member
    drifts = paths(typical, asked, np.array([moment.time]), start_of(trial), seed)
    return replace(at_time(member, drifts, 0), dosed=moment.dosed(typical))


def moment_of(
    fit: xr.DataTree, time: float | None = None, interval: float | None = None, history: RegimenLike | None = None
) -> Moment | None:
    """Return the time asked for, by default the last visit, and how doses are given; None where nothing drifts.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    time : float, optional
        When [time].
    interval : float, optional
        Time between doses [time], by default that of the trial; alone it means doses that have been given for ever.
    history : Regimen, Dataset, path or table, optional
        Doses of one person before time 0.
    """
    record = fit["regimen"].to_dataset() if "regimen" in fit else None
    kinetics = None if record is None else kinetics_from(record)
    if interval is not None:
        if kinetics is None:
            raise ValueError(
                "An interval between doses matters only with pharmacokinetics: fit with regimen= and kinetics= first, "
                "or leave out interval=."
            )
        if isinstance(interval, bool) or not isinstance(interval, int | float | np.number) or not 0 < interval < np.inf:
            raise ValueError(f"interval must be a finite number above 0, got {interval!r}.")
    if history is not None and interval is not None and time is None:
        raise ValueError(
            "Earlier doses are forgotten at steady state, which interval= without time= asks for: give time=, counted "
            "from the first new dose, or leave out history=."
        )
    before = None if history is None else _remembered(fit, history, kinetics)
    moments = check_times(fit, None if time is None else [time], members(fit)[0])
    if moments is None:
        return None
    given = usual_interval(record) if kinetics is not None and interval is None else interval
    return Moment(float(moments[0]), given, interval is not None and time is None, kinetics, before)


def _remembered(fit: xr.DataTree, history: RegimenLike, kinetics: Term | None) -> xr.Dataset:
    """Return earlier doses, where something in the fit remembers them."""
    if kinetics is None and mechanism_in(members(fit)[0]) is None:
        raise ValueError(
            "Nothing in the fit remembers the doses of history=, which matter with pharmacokinetics or a mechanism of "
            'the drug only: fit with kinetics= or drift="ReceptorTurnover" first, or leave out history=.'
        )
    return read_history(history)


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


def rows_met(fit: xr.DataTree, member: Member, trial: xr.Dataset) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return exposure and drifts of every draw at each row of its trial, shapes (sample or 1, observation)."""
    drifts = row_drifts(member, trial)
    if "regimen" not in fit:
        return trial["dose"].values[None, :], drifts
    histories = histories_from(fit["regimen"].to_dataset(), trial)
    mechanism = mechanism_in(member)
    parts = []
    for chunk, own in _chunks(member):
        exposure = _exposed(histories, own)
        shifts = {name: value[chunk] for name, value in drifts.items()}
        if mechanism is not None:
            term = mechanism.with_values({name: value[:, None] for name, value in own.items()})
            exposure, shifts = mechanism.applied(term, exposure, outcomes(histories, mechanism, own), shifts)
        parts.append((np.broadcast_to(exposure, (len(range(*chunk.indices(member.size))), exposure.shape[1])), shifts))
    whole = np.concatenate([exposure for exposure, _ in parts])
    return whole, {name: np.concatenate([moved[name] for _, moved in parts]) for name in parts[0][1]}


def _chunks(member: Member) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Some draws of the parameters at a time: histories of all at once would fill the memory."""
    for start in range(0, member.size, BLOCK):
        chunk = slice(start, start + BLOCK)
        yield chunk, {str(name): one.values[chunk] for name, one in member.draws.data_vars.items() if one.ndim == 1}


def _exposed(histories: Histories, own: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.atleast_2d(histories.at_rows({name: own[name][:, None, None] for name in histories.free}))


def outcomes(histories: Histories, mechanism: Mechanism, own: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what a mechanism has come to at each row, relative to no drug, shape (sample, observation) [1].

    Parameters
    ----------
    histories : Histories
        What the rows have been exposed to.
    mechanism : Mechanism
        Template.
    own : mapping
        Draws of the parameters, shape (sample,) each.
    """
    deep = {name: value[:, None, None] for name, value in own.items()}
    steps = histories.over_steps({name: deep[name] for name in histories.free})
    path = mechanism.with_values(deep)(steps, histories.lengths)
    path = np.concatenate([np.ones_like(path[..., :1]), path], axis=-1)
    return path[:, histories.row_history, histories.row_edge]


def sensitivity_over_time(fit: xr.DataTree, **asked: Any) -> xr.Dataset:
    """Return the posterior of drifting sensitivity.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift.
    **asked
        ``time`` (sequence of times [time], by default the visits), ``estimand`` and ``subject``, as in `window`; for a
        mechanism ``regimen``, a `Regimen` or dose events in place of the histories of the trial.

    Returns
    -------
    Dataset
        ``potency``, ``gain``, ``baseline``, as far as they drift, on the log scale, dims (chain, draw, time) [1]; for
        an average those of the curve with the highest weight, named in the attr ``model``. For a mechanism
        ``sensitivity``, relative to no drug, dims (chain, draw, history, time) [1].

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If the fit has no drift, or times, estimand or subject are out of range.
    """
    group = members(fit)
    member = max(group, key=lambda one: one.weight)
    trial = trial_of(fit)
    whose = asked_for(fit, asked.get("estimand", "typical"), asked.get("subject"))
    wanted = asked.get("time")
    times = check_times(fit, np.unique(trial["time"].values) if wanted is None else wanted, member)
    if times is None:
        raise ValueError('The fit knows no drift in time: fit with drift="OrnsteinUhlenbeck" first.')
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
    mechanism = mechanism_in(member)
    if mechanism is not None:
        record, regimen = fit["regimen"].to_dataset(), asked.get("regimen")
        begun = start_of(trial) if regimen is not None else first_time(record, trial)
        histories = histories_at(record, times - begun, regimen)
        seen = np.concatenate([outcomes(histories, mechanism, own) for _, own in _chunks(member)])
        result["sensitivity"] = (
            ("chain", "draw", "history", "time"),
            seen.reshape(chains, draws, len(histories.labels), times.size),
            described("1", trial, f"What {type(mechanism.term).__name__} has come to, relative to no drug."),
        )
        result["history"] = list(histories.labels)
    result["time"].attrs = dict(trial["time"].attrs)
    return result
