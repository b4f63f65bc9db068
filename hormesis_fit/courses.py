"""How a dose-response moves in time: drifts of potency, gain and baseline, common to all or of each subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hormesis_fit.drift import DRIFTS, Drift
from hormesis_fit.drift.process import time_scale_prior
from hormesis_fit.parameter import Parameter, Prior, Value
from hormesis_fit.wording import unknown

TARGETS = {
    "potency": "log-potency: half-effect doses are divided by its exponential",
    "gain": "log-gain: the effect of the drug is multiplied by its exponential",
    "baseline": "log-baseline: the response without the drug is multiplied by its exponential",
}
VISIT = "visit"

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
    if drift.kind != "process":
        raise ValueError(
            f"{type(drift).__name__} needs an exposure in time, which fit() does not take: call it with an exposure, "
            "or use a process such as OrnsteinUhlenbeck."
        )
    return drift


def courses_of(
    trial: xr.Dataset, drift: DriftLike | Mapping[str, DriftLike] | None, varying: Sequence[str]
) -> tuple[Course, ...]:
    """Return the drifts of a model, or say in one sentence what the design cannot tell.

    Parameters
    ----------
    trial : Dataset
        With ``time``, dims (observation,).
    drift : str, class, Drift, or mapping
        A drift of the potency, or drifts by what moves.
    varying : sequence of str
        What has a path per subject.
    """
    if drift is None:
        return ()
    asked = drift if isinstance(drift, Mapping) else {"potency": drift}
    for target in asked:
        if target not in TARGETS:
            raise ValueError(unknown("drift of", target, TARGETS))
    if "time" not in trial:
        raise ValueError("A drift needs times: read the table with time=.")
    check_design(trial, asked)
    found = []
    for target, one in asked.items():
        labels: tuple[str, ...] = ()
        if target in varying:
            labels = tuple(str(label) for label in np.unique(trial["subject"].values))
        found.append(Course(target, find_drift(one), tuple(visits(trial).tolist()), labels))
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


def design_notes(trial: xr.Dataset) -> list[str]:
    """Return what the design of a trial cannot tell of a drift, one sentence each."""
    times, dose = trial["time"].values, trial["dose"].values
    counts = {time: np.unique(dose[(times == time) & (dose > 0)]).size for time in np.unique(times)}
    poor = [time for time, count in counts.items() if count < 2]
    notes = []
    if poor:
        shown = ", ".join(f"{time:g}" for time in poor[:5])
        notes.append(
            f"Fewer than two positive doses at time {shown}: potency, gain and baseline cannot be told apart there."
        )
    if not all((dose[times == time] == 0).any() for time in counts):
        notes.append("Some times have no control: a drift of the baseline looks like one of the gain there.")
    if dose[times == times.max()].max() > 0 and (dose > 0).any():
        notes.append("The last time has doses: without a wash-out nothing tells whether sensitivity comes back.")
    return notes


def names_of(courses: Sequence[Course]) -> str:
    """Return the drifts in words, for attrs and reports."""
    return ", ".join(f"{type(one.term).__name__} of {one.target}" for one in courses) or "none"
