"""What a plan of sampling times shares: who asks for what, which samples there can be, and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.curves import Curve
from hormesis_fit.drift.courses import Mechanism, start_of
from hormesis_fit.parameter import Prior
from hormesis_fit.planning.next_rows import DRAWS
from hormesis_fit.planning.surrogate import Goal, Surrogate, Wandering, after_rows, best_set
from hormesis_fit.windows.estimands import Asked, effects_in, people
from hormesis_fit.windows.posterior import Member, given_doses
from hormesis_fit.windows.timecourse import Moment, mechanism_in, moment_of
from hormesis_fit.wording import quote, unknown

PHASES = ("dosing", "washout")
WHOLE, EDGES = "parameters", "window"
GRID = 20  # candidate times of each phase


@dataclass(frozen=True)
class Samples:
    """Samples that can be had, one of each kind; arrays of shape (candidate,)."""

    time: np.ndarray  # since the first dose, or the time of a visit [time]
    phase: np.ndarray  # names in `PHASES`
    delay: np.ndarray  # since the doses were left out, 0 under dosing [time]
    dose: np.ndarray  # of the regimen [dose]
    test_dose: np.ndarray  # given for the sample in a wash-out, 0 where none is [dose]

    @property
    def washed(self) -> np.ndarray:
        """Which of them belong to a wash-out."""
        return self.phase == PHASES[1]


@dataclass(frozen=True)
class Request:
    """Who asks for what."""

    fit: xr.DataTree
    trial: xr.Dataset
    n: int
    group: list[Member]
    asked: Asked
    about: str | Sequence[str]
    times: Sequence[float] | None
    horizon: float | None

    @property
    def mechanism(self) -> Mechanism | None:
        """The mechanism of the fit."""
        return mechanism_in(self.group[0])

    @property
    def moment(self) -> Moment | None:
        """The last visit, with the doses as they were given."""
        return moment_of(self.fit)

    @property
    def length(self) -> float:
        """How long the trial was [time]."""
        return float(self.trial["time"].values.max()) - start_of(self.trial)

    @property
    def reach(self) -> float:
        """How far ahead samples can be had [time]."""
        return self.length if self.horizon is None else float(self.horizon)

    @property
    def seed(self) -> int:
        """Seed of the fit."""
        return int(self.fit.attrs["seed"])

    def stranger(self, typical: Member) -> Curve | None:
        """The curve of somebody new, around whom the rows of people who differ scatter; None for one person."""
        if self.asked.subject is not None or not effects_in(typical):
            return None
        return people(typical, Asked("new"), self.seed).curve

    def thinned(self) -> list[Member]:
        """The curves of the fit, with no more draws than are needed."""
        return [one.take(np.arange(0, one.size, max(one.size // DRAWS, 1))) for one in self.group]

    def moments(self, given: Sequence[float] | None, name: str, above: float, most: float = np.inf) -> np.ndarray:
        """Return times that a user gave, checked and ascending [time]."""
        try:
            found = np.unique(np.asarray(given, dtype=float).ravel())
        except (TypeError, ValueError):
            found = np.array([np.nan])
        if not np.all(np.isfinite(found)) or np.any(found <= above) or np.any(found > most):
            until = f" and up to {most:g}" if np.isfinite(most) else ""
            raise ValueError(
                f"Expected finite times above {above:g}{until} for {name}=, got {quote(given)}: correct them."
            )
        return found

    def names(self, known: Sequence[str]) -> list[str]:
        """Return which of the things that can be asked for are asked for."""
        if isinstance(self.about, str) and self.about == WHOLE:
            return list(known)
        if not isinstance(self.about, str | Sequence):
            raise TypeError(f"Expected names of parameters for about=, got {quote(self.about)}: give a list of names.")
        wanted = [self.about] if isinstance(self.about, str) else list(self.about)
        for name in wanted:
            if name not in known:
                extra = [WHOLE] if self.mechanism is None else [WHOLE, EDGES]
                raise ValueError(unknown("parameter of the drift", name, [*extra, *known]))
        if not wanted:
            raise ValueError(f"Expected at least one name for about=, got none: name some, or {quote(WHOLE)}.")
        return [name for name in known if name in wanted]


@dataclass(frozen=True)
class Prospect:
    """What the draws say of the candidates and of what is asked for."""

    samples: Samples
    start: Goal
    names: list[str]  # of what is asked for
    drift: str
    attrs: dict[str, Any]
    duration: float = 0.0
    lead: float = 0.0
    once: bool = False  # whether every sample can be had only once

    def best(self, n: int, allowed: np.ndarray) -> list[int]:
        """Return the candidates of the best rows."""
        return best_set(self.start, [], n, allowed, once=self.once)

    def spreads(self, rows: Sequence[int]) -> np.ndarray:
        """Return the standard deviations of what is asked for after rows, shape (parameter,)."""
        goal = after_rows(self.start, rows)
        wandering = isinstance(goal, Wandering)
        own = [np.diagonal(goal.later(goal.rows))[goal.asked]] if wandering else []
        surrogate = goal.ahead if wandering else goal
        if surrogate is not None:
            own.append(np.diagonal(surrogate.edges.own))
        return np.sqrt(np.maximum(np.concatenate(own), 0.0))


def positive_doses(doses: Sequence[float] | float, trial: xr.Dataset) -> np.ndarray:
    """Return doses that a user gave, checked and ascending, none of them 0 [dose]."""
    found = given_doses(np.atleast_1d(doses), trial).values
    if found.min() <= 0:
        raise ValueError(f"Expected doses above 0 for doses=, got {found.min():g}: a drift shows in who is dosed.")
    return found


def logged(prior: Prior) -> bool:
    """Whether a parameter is asked for by its logarithm: all that cannot be negative."""
    return prior.distribution != "Normal"


def scaled_draws(member: Member, names: Sequence[str], priors: Mapping[str, Prior]) -> np.ndarray:
    """Draws of parameters on the scale on which they are asked for, shape (sample, parameter)."""
    columns = [member.draws[name].values for name in names]
    return np.stack(
        [np.log(one) if logged(priors[name]) else one for name, one in zip(names, columns, strict=True)], axis=1
    )


def pooled(parts: Sequence[tuple[Member, np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Draws of all curves together: means, mean noise, targets and weights."""
    weights = np.concatenate([np.full(one.size, one.weight / one.size) for one, *_ in parts])
    weights /= weights.sum()
    means, noise, targets = (np.concatenate([part[k] for part in parts]) for k in (1, 2, 3))
    return means, weights @ noise, targets, weights


def surrogate_of(targets: np.ndarray, means: np.ndarray, noise: np.ndarray, weights: np.ndarray) -> Surrogate:
    """Moments of the draws in which everything that is asked for exists."""
    there = np.isfinite(targets).all(axis=1)
    if there.sum() < 3 or not np.ptp(targets[there], axis=0).any():
        raise ValueError("Nothing is left to learn: what is asked for is the same in all draws, or in too few of them.")
    return Surrogate.of(targets[there], means[there], noise, weights[there])
