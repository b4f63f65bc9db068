"""When to sample a mechanism: under doses, and in a wash-out after them, with or without a test dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hormesis_fit.drift.administration import COARSE, HELD, Administration, units_at
from hormesis_fit.drift.histories import kinetics_from, usual_interval
from hormesis_fit.parameter import Term
from hormesis_fit.planning.information import row_variance
from hormesis_fit.planning.next_rows import asked_question, log_edges
from hormesis_fit.planning.surrogate import Information
from hormesis_fit.planning.timing import (
    EDGES,
    GRID,
    PHASES,
    Prospect,
    Request,
    Samples,
    pooled,
    positive_doses,
    scaled_draws,
    surrogate_of,
)
from hormesis_fit.windows.posterior import Member, domain, given_doses
from hormesis_fit.windows.timecourse import dosing_terms, moment_of, someone
from hormesis_fit.windows.windowing import solve_one, threshold_of

SHORTEST = 50  # how often the shortest delay goes into the longest one


@dataclass(frozen=True)
class Protocol:
    """Equal doses from time 0 on, then a pause.

    Attributes
    ----------
    duration : float
        How long doses are given [time].
    interval : float, optional
        Time between doses [time]; None for a single dose, or without pharmacokinetics for an exposure that is held.
    times : ndarray
        When samples can be had under dosing, since the first dose [time].
    delays : ndarray
        When they can be had in the wash-out, since its beginning [time].
    doses : ndarray
        Doses of the regimen, each of them a group of its own [dose].
    test_doses : ndarray, optional
        What can be given for a sample in the wash-out [dose]; by default the dose of the regimen, or nothing.
    """

    duration: float
    interval: float | None
    times: np.ndarray
    delays: np.ndarray
    doses: np.ndarray
    test_doses: np.ndarray | None = None

    def samples(self, lead: float) -> Samples:
        """Return all samples that can be had; a test dose is given in the wash-out, `lead` before its sample."""
        if not self.times.size and self.test_doses is not None and self.test_doses.all() and self.delays.max() < lead:
            raise ValueError(
                f"Expected delays of at least {lead:g}, after which a test dose shows best, got {self.delays.max():g}: "
                "add longer ones, or 0 to test_doses=."
            )
        parts = [self._of(dose, lead) for dose in self.doses]
        return Samples(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _of(self, dose: float, lead: float) -> tuple[np.ndarray, ...]:
        """Samples at one dose, ordered by time."""
        tests = np.array([0.0, dose]) if self.test_doses is None else self.test_doses
        rows = [(time, PHASES[0], 0.0, dose, 0.0) for time in self.times]
        rows += [
            (self.duration + delay, PHASES[1], delay, dose, test)
            for delay in self.delays
            for test in tests
            if test == 0 or delay >= lead
        ]
        time, phase, delay, given, test = zip(*rows, strict=True)
        return np.array(time), np.array(phase), np.array(delay), np.array(given), np.array(test)

    def means(self, typical: Member, whom: Member, kinetics: Term | None, samples: Samples, lead: float) -> np.ndarray:
        """Return the mean response at every sample, shape (sample of the posterior, candidate) [response].

        Parameters
        ----------
        typical, whom : Member
            One curve of a fit, and the same for the person who is sampled.
        kinetics : Term, optional
            Template of the pharmacokinetics.
        samples : Samples
            As `samples` gives them.
        lead : float
            How long before its sample a test dose is given [time].

        Notes
        -----
        What a test dose does to receptors until its sample, and to later samples, is not counted: every sample is that
        of somebody whose pause was not disturbed.
        """
        parts = []
        for dose in self.doses:
            own = samples.dose == dose
            marks, shares = samples.time[own], samples.test_dose[own] / dose
            given = self._administration(typical, kinetics, marks, shares, samples.washed[own], lead)
            parts.append(_read(whom, given, float(dose)))
        return np.concatenate(parts, axis=1)

    def _administration(
        self,
        typical: Member,
        kinetics: Term | None,
        marks: np.ndarray,
        shares: np.ndarray,
        washed: np.ndarray,
        lead: float,
    ) -> Administration:
        """Steps through doses and pause, one of no length at every sample, at its own exposure."""
        mechanism, term, kinetics = dosing_terms(typical, kinetics)
        given = self._given()
        grid = self._grid(marks.max(), given, term is None or term.affine, kinetics is not None)
        points = np.unique(np.concatenate([[0.0], grid, marks, [min(self.duration, marks.max())]]))
        lengths, middles = np.diff(points), (points[1:] + points[:-1]) / 2
        if kinetics is None:
            unit = (middles < self.duration).astype(float)[None, :]
            seen = np.where(washed, shares, 1.0)[None, :]
        else:
            unit = units_at(kinetics, middles, given)
            tested = units_at(kinetics, np.array([lead]), np.zeros(1))
            seen = units_at(kinetics, marks, given) + shares * tested
        before = np.searchsorted(points, marks)
        unit = np.insert(unit, before, seen, axis=1)
        return Administration(np.insert(lengths, before, 0.0), unit, 0, mechanism, term)

    def _given(self) -> np.ndarray:
        """Times of the doses [time]."""
        if self.interval is None:
            return np.zeros(1)
        return self.interval * np.arange(max(int(np.ceil(self.duration / self.interval - 1e-9)), 1))

    def _grid(self, until: float, given: np.ndarray, exact: bool, moving: bool) -> np.ndarray:
        """Times between which the exposure counts as constant [time]."""
        if not moving and exact:
            return np.empty(0)
        longest = self.duration / HELD if self.interval is None or not moving else self.interval / COARSE
        regular = np.arange(0.0, until, longest)
        return np.concatenate([regular, given[given < until]]) if moving else regular


def _read(whom: Member, given: Administration, dose: float) -> np.ndarray:
    return replace(whom, dosed=given).readings(np.full((1, 1), dose))


def lead_of(group: Sequence[Member], kinetics: Term | None, duration: float, interval: float | None) -> float:
    """Return how long after a dose its exposure is highest, by the median of the draws [time].

    Parameters
    ----------
    group : sequence of Member
        Curves of a fit.
    kinetics : Term, optional
        Template of the pharmacokinetics; without them the exposure is there at once.
    duration, interval : float
        How long doses are given, and the time between them [time].
    """
    if kinetics is None:
        return 0.0
    term: Any = dosing_terms(max(group, key=lambda one: one.weight), kinetics)[2]
    middle = {name: float(np.median(getattr(term, name))) for name in term.parameters()}
    times = np.linspace(0.0, duration if interval is None else interval, 241)
    one = units_at(term.with_values(middle), times, np.zeros(1))[0]
    return float(times[np.argmax(one)])


def by_mechanism(
    request: Request,
    delays: Sequence[float] | None,
    doses: Sequence[float] | float | None,
    test_doses: Sequence[float] | float | None,
    duration: float | None,
    interval: float | None,
) -> Prospect:
    """What samples under dosing and in a wash-out say of a mechanism."""
    record = request.fit["regimen"].to_dataset()
    kinetics = kinetics_from(record)
    if interval is not None:
        moment_of(request.fit, None, interval)  # says in words that there are no pharmacokinetics
    apart = interval or (usual_interval(record) if kinetics is not None else None)
    last = float(duration or request.length)
    usual = np.geomspace(last / SHORTEST, last, GRID)
    under = usual if request.times is None else request.moments(request.times, "times", 0.0, last)
    usual = np.geomspace(request.reach / SHORTEST, request.reach, GRID)
    after = usual if delays is None else request.moments(delays, "delays", 0.0)
    if not under.size + after.size:
        raise ValueError("Expected at least one of times= and delays= that is not empty: samples need a time.")
    tested = np.unique(request.trial["dose"].values)
    given = tested[tested > 0] if doses is None else positive_doses(doses, request.trial)
    tests = None if test_doses is None else given_doses(test_doses, request.trial).values
    protocol = Protocol(last, apart, under, after, given, tests)
    lead = lead_of(request.group, kinetics, last, apart)
    samples = protocol.samples(lead)
    edges = request.about == EDGES
    known = [name for name in request.mechanism.priors() if name in request.group[0].draws]
    names = ["window_lower", "window_upper"] if edges else request.names(known)
    parts = []
    for typical in request.thinned():
        whom = replace(someone(typical, request.asked, request.trial, request.seed, request.moment), dosed=None)
        means = protocol.means(typical, whom, kinetics, samples, lead)
        noise = row_variance(whom, means, request.trial)
        other = request.stranger(typical)
        if other is not None:
            met = protocol.means(typical, replace(whom, curve=other), kinetics, samples, lead)
            noise = noise + (met - means) ** 2
        targets = _edges(request, typical) if edges else scaled_draws(typical, names, request.mechanism.priors())
        parts.append((typical, means, noise, targets))
    means, noise, targets, weights = pooled(parts)
    start = Information(1.0, None, surrogate_of(targets, means, noise, weights))
    attrs = {"doses": given.tolist()} | ({} if apart is None else {"interval": float(apart)})
    name = type(request.mechanism.term).__name__
    return Prospect(samples, start, names, f"{name} of {request.mechanism.target}", attrs, last, lead)


def _edges(request: Request, typical: Member) -> np.ndarray:
    """Logs of the edges of the window that was asked for, NaN where there is none, shape (sample, edge)."""
    question = asked_question(request.fit, subject=request.asked.subject)

    def limit(one: Member) -> np.ndarray:
        return threshold_of(one, question.benefit, question.benefit_scale)

    rest = (limit, question.harms, question.moment)
    solved = solve_one(request.fit, typical, request.trial, question.asked, *rest)[1]
    return np.where(solved["exists"][:, None], log_edges(solved, *domain(request.trial)), np.nan)
