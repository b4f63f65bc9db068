"""How a dose-response moves in time: drifts of potency, gain and baseline, common to all or of each subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.drift import DRIFTS, Drift
from hormesis_fit.drift.process import time_scale_prior
from hormesis_fit.parameter import Parameter, Prior, Value
from hormesis_fit.wording import listing, unknown

TARGETS = {
    "potency": "log-potency: half-effect doses are divided by its exponential",
    "gain": "log-gain: the effect of the drug is multiplied by its exponential",
    "baseline": "log-baseline: the response without the drug is multiplied by its exponential",
    "exposure": "the body's own production, to which the drug is added",
}
NATURAL = {"": "potency", "gain": "gain", "response": "baseline", "exposure": "exposure"}
VISIT = "visit"
CLOSE = 2.0  # doses that differ by less are as good as one for the slope of a curve near its peak
MOST = 5  # times that a sentence names

type DriftLike = str | type[Drift] | Drift


@dataclass(frozen=True)
class Course:
    """One drift of a model.

    Attributes
    ----------
    target : str
        What drifts: a key of `TARGETS`.
    term : Drift
        Template, or with numbers or draws as parameters.
    times : tuple of float
        Times of the visits since the first one, or since time 0 if that is earlier [time].
    labels : tuple of str
        Subjects, each with a path of its own; none where one path is common to all.
    """

    target: str
    term: Drift
    times: tuple[float, ...]
    labels: tuple[str, ...] = ()

    @property
    def innovation(self) -> str:
        """Name of the standardised innovations, dims ([subject,] [source,] visit)."""
        return f"{self.target}_innovation"

    @property
    def dims(self) -> tuple[str, ...]:
        """Dims of the innovations."""
        people = ("subject",) if self.labels else ()
        return (*people, f"{self.target}_source", VISIT) if self.term.sources > 1 else (*people, VISIT)

    def parameters(self) -> dict[str, Parameter]:
        """What is known of its parameters, by their names in the model."""
        return {f"{self.target}_{name}": known for name, known in self.term.parameters().items()}

    def priors(self) -> dict[str, Prior]:
        """Their priors; those of time scales are what the visits can tell [time], the others unit-free."""
        found = {f"{self.target}_{name}": prior for name, prior in self.term.priors().items()}
        if "time_scale" in self.term.priors():
            found[f"{self.target}_time_scale"] = time_scale_prior(np.array(self.times))
        return found

    def path(self, values: Mapping[str, Value], innovations: Value, *, later: Sequence[float] = ()) -> Value:
        """Return the drift at the visits, and at later times [1], shape (..., visit)."""
        named = {name: f"{self.target}_{name}" for name in self.term.parameters()}
        own = {name: values[full] for name, full in named.items() if full in values}
        return self.term.with_values(own).path(np.array([*self.times, *later]), innovations)


@dataclass(frozen=True)
class Mechanism:
    """What the exposure in time does to the response.

    Attributes
    ----------
    target : str
        What it changes: a key of `TARGETS`.
    term : Drift
        Template, or with numbers or draws as parameters.
    """

    target: str
    term: Drift

    def parameters(self) -> dict[str, Parameter]:
        """What is known of its parameters, by their names in the model."""
        return {f"{self.target}_{name}": known for name, known in self.term.parameters().items()}

    def priors(self) -> dict[str, Prior]:
        """Their unit-free priors; parameters with a number have none."""
        return {f"{self.target}_{name}": prior for name, prior in self.term.priors().items()}

    def with_values(self, values: Mapping[str, Value]) -> Drift:
        """Return the mechanism with the values of a model as its parameters."""
        named = {name: f"{self.target}_{name}" for name in self.term.parameters()}
        return self.term.with_values({name: values[full] for name, full in named.items() if full in values})

    def applied(self, term: Any, exposure: Value, seen: Value, shifts: Mapping[str, Value]) -> tuple[Value, dict]:
        """Return the exposure that the curve meets, and all shifts, for what the mechanism has come to.

        Parameters
        ----------
        term : Drift
            The mechanism with its parameters.
        exposure, seen : Value
            Concentration, and what the mechanism makes of the history, relative to no drug.
        shifts : mapping
            What other drifts add, by what they change.
        """
        if self.target == "exposure":
            net = exposure - term.own_level * (1 - seen)
            return (net + abs(net)) / 2, dict(shifts)
        return exposure, dict(shifts) | {self.target: shifts.get(self.target, 0.0) + np.log(seen)}


def find_drift(drift: DriftLike) -> Drift:
    """Return the template of a drift by its name, class or itself."""
    if isinstance(drift, str):
        if drift not in DRIFTS:
            raise ValueError(unknown("drift", drift, DRIFTS))
        drift = DRIFTS[drift]
    if isinstance(drift, type) and issubclass(drift, Drift):
        drift = drift()
    if not isinstance(drift, Drift):
        raise TypeError(f"A drift is a name, a subclass of Drift or a template, got {type(drift).__name__}.")
    return drift


def find_drifts(drift: DriftLike | Mapping[str, DriftLike] | None) -> dict[str, Drift]:
    """Return the templates of drifts by what they change, or say in one sentence why they cannot be."""
    if drift is None:
        return {}
    if not isinstance(drift, Mapping):
        term = find_drift(drift)
        return {NATURAL[term.acts_on]: term}
    found = {}
    for target, one in drift.items():
        if target not in TARGETS:
            raise ValueError(unknown("drift of", target, TARGETS))
        term = found[target] = find_drift(one)
        natural = NATURAL[term.acts_on]
        if target == "exposure" if term.kind == "process" else target != natural:
            raise ValueError(
                f"{type(term).__name__} changes the {natural} and not the {target}: write "
                f'drift={{"{natural}": "{type(term).__name__}"}}.'
            )
    mechanisms = [type(term).__name__ for term in found.values() if term.kind != "process"]
    if len(mechanisms) > 1:
        raise ValueError(f"One mechanism at a time can be told from data, got {listing(mechanisms)}: choose one.")
    return found


def mechanism_of(drift: DriftLike | Mapping[str, DriftLike] | None) -> Mechanism | None:
    """Return the mechanism among the drifts, if there is one."""
    terms = find_drifts(drift)
    return next((Mechanism(target, term) for target, term in terms.items() if term.kind != "process"), None)


def courses_of(
    trial: xr.Dataset, drift: DriftLike | Mapping[str, DriftLike] | None, varying: Sequence[str]
) -> tuple[Course, ...]:
    """Return the processes of a model, or say in one sentence what the design cannot tell.

    Parameters
    ----------
    trial : Dataset
        With ``time``, dims (observation,).
    drift : str, class, Drift, or mapping
        A drift of the potency, or drifts by what moves.
    varying : sequence of str
        What has a path per subject.
    """
    asked = {target: term for target, term in find_drifts(drift).items() if term.kind == "process"}
    if not asked:
        return ()
    if "time" not in trial:
        raise ValueError("A drift needs times: read the table with time=.")
    check_design(trial, asked)
    found = []
    for target, term in asked.items():
        labels: tuple[str, ...] = ()
        if target in varying:
            labels = tuple(str(label) for label in np.unique(trial["subject"].values))
        found.append(Course(target, term, tuple(visits(trial).tolist()), labels))
    return tuple(found)


def visits(trial: xr.Dataset) -> np.ndarray:
    """Return the distinct times, counted from time 0 or the first visit if that is earlier [time]."""
    return np.unique(trial["time"].values) - start_of(trial)


def start_of(trial: xr.Dataset) -> float:
    """Return the time from which drifts are counted [time]."""
    return min(0.0, float(trial["time"].values.min()))


def visit_index(trial: xr.Dataset, times: Sequence[float]) -> np.ndarray:
    """Return the number of the visit of every row, shape (observation,)."""
    return np.searchsorted(np.array(times), trial["time"].values - start_of(trial))


def check_design(trial: xr.Dataset, targets: Sequence[str] | Mapping[str, object]) -> None:
    """Refuse a design that cannot tell a drift at all."""
    times, dose = trial["time"].values, trial["dose"].values
    if np.unique(times).size < 2:
        raise ValueError(f"A drift needs at least 2 different times, got {times[0]:g} in every row: leave out drift=.")
    levels = {time: np.unique(dose[times == time]) for time in np.unique(times)}
    rich = sum(found[found > 0].size >= 2 for found in levels.values())
    if "potency" in targets and rich < 2:
        raise ValueError(
            "A drift of the potency cannot be told from one of the gain or the baseline unless at least 2 times have "
            f"2 or more positive doses each, got {rich}: add doses, one of them on the rising flank, or use "
            'drift={"gain": ...}.'
        )
    if "gain" in targets and "baseline" in targets and not all((found == 0).any() for found in levels.values()):
        bare = next(time for time, found in levels.items() if not (found == 0).any())
        raise ValueError(
            f"Drifts of gain and baseline cannot be told apart without controls at every time, and time {bare:g} has "
            "none: leave out one of them."
        )


def design_notes(trial: xr.Dataset, *, washed: bool = False) -> dict[str, str]:
    """Return what the design of a trial cannot tell of a drift, one sentence each, by what is lacking.

    Parameters
    ----------
    trial : Dataset
        With ``time``, dims (observation,).
    washed : bool
        Whether there was a pause in the doses before the last row, where doses are given in time.
    """
    times, dose = trial["time"].values, trial["dose"].values
    levels = {time: np.unique(dose[(times == time) & (dose > 0)]) for time in np.unique(times)}
    found = {}
    if poor := [time for time, own in levels.items() if own.size < 2]:
        found["one_dose_at_a_time"] = (
            f"Fewer than two positive doses at time {_listed(poor)}: potency, gain and baseline cannot be told apart "
            "there."
        )
    if close := [time for time, own in levels.items() if own.size > 1 and own[-1] < CLOSE * own[0]]:
        found["close_doses"] = (
            f"The doses at time {_listed(close)} lie within a factor of {CLOSE:g}: if that is near the peak, a change "
            "of potency leaves no trace; add a dose on the rising flank."
        )
    if not all((dose[times == time] == 0).any() for time in levels):
        found["no_baseline"] = "Some times have no control: a drift of the baseline looks like one of the gain there."
    if np.unique(dose[dose > 0]).size < 2:
        found["one_dose"] = (
            "Everybody dosed had the same dose: of a mechanism only its total effect at that dose is known."
        )
    if not washed and dose[times == times.max()].max() > 0:
        found["no_washout"] = (
            "The last time has doses: without a wash-out nothing tells whether sensitivity comes back."
        )
    return found


def _listed(times: Sequence[float]) -> str:
    more = f" and {len(times) - MOST} more" if len(times) > MOST else ""
    return ", ".join(f"{time:g}" for time in times[:MOST]) + more


def mechanism_record(mechanism: Mechanism | None) -> dict[str, Any]:
    """Return what rebuilds a mechanism: its class, options, fixed numbers and target; nothing without one."""
    if mechanism is None:
        return {}
    term = mechanism.term
    fixed = {name: float(getattr(term, name)) for name in term.parameters() if name not in term.priors()}
    return {"drift": type(term).__name__, "options": term.structure(), "fixed": fixed, "target": mechanism.target}


def mechanism_from(record: Mapping[str, Any]) -> Mechanism | None:
    """Rebuild a mechanism from its record."""
    if not record:
        return None
    return Mechanism(record["target"], DRIFTS[record["drift"]](**record["options"], **record["fixed"]))


def names_of(courses: Sequence[Course | Mechanism]) -> str:
    """Return the drifts in words, for attrs and reports."""
    return ", ".join(f"{type(one.term).__name__} of {one.target}" for one in courses) or "none"
