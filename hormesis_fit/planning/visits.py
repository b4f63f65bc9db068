"""What further visits would teach of a drift by chance: of its variance and time scale, and of where it will be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hormesis_fit.drift.courses import Course, start_of
from hormesis_fit.inference.importance import systematic
from hormesis_fit.planning.information import row_variance
from hormesis_fit.planning.next_rows import candidate_doses
from hormesis_fit.planning.surrogate import Goal, Information, Surrogate, Wandering
from hormesis_fit.planning.timing import (
    GRID,
    PHASES,
    Prospect,
    Request,
    Samples,
    logged,
    pooled,
    positive_doses,
    scaled_draws,
    surrogate_of,
)
from hormesis_fit.windows.estimands import people
from hormesis_fit.windows.posterior import Member
from hormesis_fit.windows.timecourse import at_time, courses_in, paths, someone

FOLLOWED = 16  # draws whose processes are followed
MOST = 24  # visits
STEP = 1e-3  # of a drift, and of parameters on the scale on which they are asked for, for slopes


@dataclass(frozen=True)
class Continued:
    """A process after its visits, for some draws of its parameters and path."""

    covariance: np.ndarray  # (draw, time, time)
    mean_slopes: np.ndarray  # (draw, parameter, time), over the parameters, with the path so far as it was
    changes: np.ndarray  # (draw, parameter, time, time), of the covariance


def continued(
    course: Course,
    values: Mapping[str, np.ndarray],
    past: np.ndarray,
    times: np.ndarray,
    steps: Mapping[str, tuple[float, bool]],
) -> Continued:
    """Return how a process goes on from its visits.

    Parameters
    ----------
    course : Course
        The drift.
    values : mapping
        Draws of its parameters by their names in the model, shape (draw,) each.
    past : ndarray, shape (draw, visit)
        The path at the visits of the course [1].
    times : ndarray, shape (time,)
        Times after the last visit, counted as those of the course [time].
    steps : mapping
        For each parameter that is asked for, the step of its slopes, and whether that is one of its logarithm.
    """
    whole = []
    for number, path in enumerate(past):
        own = {name: float(value[number]) for name, value in values.items()}
        covariance = _conditional(course, own, path, times)[1]
        sides = [
            [_conditional(course, moved, path, times) for moved in _beside(own, name, *step)]
            for name, step in steps.items()
        ]
        widths = [2 * step for step, _ in steps.values()]
        slopes = [(high[0] - low[0]) / width for (low, high), width in zip(sides, widths, strict=True)]
        changes = [(high[1] - low[1]) / width for (low, high), width in zip(sides, widths, strict=True)]
        size = len(times)
        whole.append((covariance, np.reshape(slopes, (-1, size)), np.reshape(changes, (-1, size, size))))
    return Continued(*(np.stack(parts) for parts in zip(*whole, strict=True)))


def _beside(own: Mapping[str, float], name: str, step: float, log: bool) -> list[dict[str, float]]:
    """Parameters with one of them a little lower and a little higher."""
    return [dict(own) | {name: own[name] * np.exp(way) if log else own[name] + way} for way in (-step, step)]


def _conditional(
    course: Course, own: Mapping[str, float], past: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the path at some times, given what it was at the visits."""
    term = course.term.with_values({name.removeprefix(f"{course.target}_"): value for name, value in own.items()})
    every = np.concatenate([course.times, times])
    sources = (course.term.sources,) if course.term.sources > 1 else ()
    steady = np.asarray(term.path(every, np.zeros((*sources, every.size))))
    whole, known = term.covariance(every), len(course.times)
    # A path that begins at 0 at its first visit has no variance there.
    weights = whole[known:, :known] @ np.linalg.pinv(whole[:known, :known], rcond=1e-12, hermitian=True)
    mean = steady[known:] + weights @ (past - steady[:known])
    return mean, whole[known:, known:] - weights @ whole[:known, known:]


def by_chance(request: Request, doses: Sequence[float] | float | None, given: Mapping[str, Any]) -> Prospect:
    """What further visits say of a drift by chance."""
    courses = {one.target: one for one in courses_in(request.group[0])}
    course = courses.get("potency") or next(iter(courses.values()))
    name = type(course.term).__name__
    for option, value in given.items():
        if value is not None:
            raise ValueError(
                f"Expected {option}= for a mechanism such as ReceptorTurnover, got it for {name}: leave it out."
            )
    if course.labels and request.asked.subject is None:
        raise ValueError("Expected a subject, since each has a path of its own, got none: name one with subject=.")
    if request.n > MOST:
        raise ValueError(f"Expected at most {MOST} visits for n=, got {request.n}: plan them in several steps.")
    last, size = float(request.trial["time"].values.max()), max(GRID, request.n)
    grid = last + request.reach * np.arange(1, size + 1) / size
    times = grid if request.times is None else request.moments(request.times, "times", last)
    if times.size < request.n:
        raise ValueError(
            f"Expected at least {request.n} times for times=, one for each visit, got {times.size}: add some."
        )
    horizon = max(last + request.reach, times[-1]) if request.horizon is None else last + request.reach
    group = request.thinned()
    chosen = [_probe_dose(request, group, course)] if doses is None else positive_doses(doses, request.trial).tolist()
    time, dose = (one.ravel() for one in np.meshgrid(times, chosen, indexing="ij"))
    none = np.zeros(time.size)
    samples = Samples(time, np.full(time.size, PHASES[0]), none, dose, none)
    seen = [_followed(request, one, course, times, horizon, np.array(chosen)) for one in group]
    start, names = _course_goal(request, group, course, times, horizon, seen)
    attrs = {"horizon": float(horizon), "doses": chosen} | ({"probe_dose": chosen[0]} if doses is None else {})
    return Prospect(samples, start, names, f"{name} of {course.target}", attrs, once=True)


def _probe_dose(request: Request, group: Sequence[Member], course: Course) -> float:
    """The dose at which a drift shows best: for the potency on the steepest rise [dose]."""
    doses = candidate_doses(request.trial, None)
    slopes = np.zeros(doses.size)
    for typical in group:
        whom = someone(typical, request.asked, request.trial, request.seed, request.moment)
        slopes = slopes + typical.weight * _slopes(whom, course.target, doses).mean(axis=0)
    rising = slopes * group[0].curve.sign
    found = rising if course.target == "potency" and rising.max() > 0 else np.abs(slopes)
    # Of a baseline all doses say the same: then it is a dose that was asked for, and not the control.
    return float(doses[1:][np.argmax(found[1:])])


def _slopes(whom: Member, target: str, doses: np.ndarray) -> np.ndarray:
    """Slopes of the mean response over a drift, shape (sample, dose) [response]."""
    moved = replace(whom, shifts=dict(whom.shifts) | {target: whom.shifts.get(target, 0.0) + STEP})
    return np.broadcast_to((moved.mean(doses[None, :]) - whom.mean(doses[None, :])) / STEP, (whom.size, doses.size))


@dataclass(frozen=True)
class _Followed:
    """One curve at the times to come; arrays of shape (sample, candidate) unless said otherwise."""

    means: np.ndarray  # as the drift goes on by itself
    slopes: np.ndarray  # of the mean response over the drift, there
    noise: np.ndarray
    ahead: np.ndarray  # (sample,), where the drift is at the horizon, as it goes on by itself


def _followed(
    request: Request, typical: Member, course: Course, times: np.ndarray, horizon: float, doses: np.ndarray
) -> _Followed:
    """Follow one curve to the times of the candidates, at each of the doses."""
    asked, target, start, seed = request.asked, course.target, start_of(request.trial), request.seed
    every = np.unique(np.append(times, horizon))
    alone = paths(typical, asked, every, start, seed, wander=False)[target]
    drifts = paths(typical, asked, every, start, seed) | {target: alone}
    moment, person, columns = request.moment, people(typical, asked, seed), []
    other = request.stranger(typical)
    for number in np.searchsorted(every, times):
        given = replace(moment, time=float(every[number])).dosed(typical)
        now = replace(at_time(person, drifts, number), dosed=given)
        means = np.broadcast_to(now.mean(doses[None, :]), (typical.size, doses.size))
        noise = row_variance(person, means, request.trial)
        if other is not None:
            noise = noise + (replace(now, curve=other).mean(doses[None, :]) - means) ** 2
        columns.append((means, _slopes(now, target, doses), noise))
    found = (np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True))
    return _Followed(*found, alone[:, np.searchsorted(every, horizon)])


def _course_goal(
    request: Request,
    group: Sequence[Member],
    course: Course,
    times: np.ndarray,
    horizon: float,
    seen: Sequence[_Followed],
) -> tuple[Goal, list[str]]:
    """What is to be learned of a drift by chance, and its names."""
    priors, ahead = course.priors(), f"{course.target}_at_horizon"
    known = [name for name in priors if name in group[0].draws]
    names = request.names([*known, ahead])
    asked = [name for name in known if name in names]
    parts = [(one, way.means, way.noise, way.ahead[:, None]) for one, way in zip(group, seen, strict=True)]
    means, noise, places, weights = pooled(parts)
    scaled = np.concatenate([scaled_draws(one, known, priors) for one in group]) if known else np.empty((len(means), 0))
    if not course.term.sources:
        columns = [scaled[:, [known.index(name) for name in asked]], *([places] if ahead in names else [])]
        return Information(1.0, None, surrogate_of(np.concatenate(columns, axis=1), means, noise, weights)), names
    chosen = systematic(weights, FOLLOWED, np.random.default_rng(1))
    spread = np.atleast_2d(np.cov(scaled.T, aweights=weights, ddof=0)) if known else np.empty((0, 0))
    logs = {name: logged(priors[name]) for name in known}
    widths = np.where(list(logs.values()), 1.0, np.sqrt(np.diagonal(spread)) + np.finfo(float).tiny)
    steps = {name: (STEP * width, logs[name]) for name, width in zip(known, widths, strict=True)}
    values = {name: np.concatenate([one.draws[name].values for one in group])[chosen] for name in known}
    every, past = np.unique(np.append(times, horizon)), _past(request, group, course)[chosen]
    way = continued(course, values, past, every - start_of(request.trial), steps)
    slopes = np.concatenate([one.slopes for one in seen])[chosen]
    at = np.repeat(np.searchsorted(every, times), means.shape[1] // times.size)
    goal = _wandering(way, at, slopes, Surrogate.of(places, means, noise, weights), np.searchsorted(every, horizon))
    variances = np.diagonal(spread)
    floor = np.diag(1e-12 * np.where(variances > 0, variances, 1.0))  # what is known has a variance to divide by
    place = goal.ahead if ahead in names else None
    return replace(goal, spread=spread + floor, asked=np.isin(known, asked), ahead=place), names


def _past(request: Request, group: Sequence[Member], course: Course) -> np.ndarray:
    """The path at the visits, shape (sample, visit) [1]."""
    start = start_of(request.trial)
    each = [paths(one, request.asked, np.array(course.times) + start, start, request.seed) for one in group]
    return np.concatenate([one[course.target] for one in each])


def _wandering(way: Continued, at: np.ndarray, slopes: np.ndarray, known: Surrogate, horizon: int) -> Wandering:
    """Turn what is to come of a process into what is to come of the responses, beside what the draws do not agree on.

    Parameters
    ----------
    way : Continued
        The process at the times to come.
    at : ndarray of int, shape (candidate,)
        The time of each candidate.
    slopes : ndarray, shape (draw, candidate)
        Of the mean response over the process.
    known : Surrogate
        Moments of where the process goes by itself at the horizon, and of the mean responses with it.
    horizon : int
        The time of the horizon.
    """
    process = way.covariance[:, at[:, None], at] * slopes[:, :, None] * slopes[:, None, :]
    ahead = replace(
        known,
        own=known.own + way.covariance[:, horizon, horizon].mean(),
        cross=known.cross + (way.covariance[:, horizon, at] * slopes).mean(axis=0),
        means=known.means + process.mean(axis=0),
    )
    return Wandering(
        spread=np.empty((0, 0)),
        asked=np.zeros(0, dtype=bool),
        slopes=way.mean_slopes[:, :, at] * slopes[:, None, :],
        process=process,
        changes=way.changes[:, :, at[:, None], at] * (slopes[:, :, None] * slopes[:, None, :])[:, None],
        common=known.means,
        noise=known.noise,
        ahead=Information(1.0, None, ahead),
    )
