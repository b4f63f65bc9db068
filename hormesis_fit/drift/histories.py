"""Dosing histories of a trial: who was exposed to what until each row, on steps of time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.dosing.concentrations import concentration_priors, owners_of, read_concentrations
from hormesis_fit.dosing.exposure import PHARMACOKINETICS, exposure_at
from hormesis_fit.dosing.regimen import EVERYONE, Regimen, read_regimen, schedule, step_edges
from hormesis_fit.drift.courses import mechanism_of, start_of
from hormesis_fit.parameter import Prior, Term, Value
from hormesis_fit.wording import listing, quote, unknown

STEPS = 336  # two weeks of hours: concentrations between doses are followed in steps of this share of the study
ALONE = "dose {:g}"
EVENTS = ("subject", "time", "amount", "rate", "interval", "steady")

type RegimenLike = Regimen | Mapping[str, Regimen] | xr.Dataset | str | Path | Any
type KineticsLike = str | type[Term] | Term
type ConcentrationsLike = xr.Dataset | str | Path | Any


@dataclass(frozen=True)
class Histories:
    """What every row of a trial has been exposed to.

    Attributes
    ----------
    events : Dataset
        Dose events, dims (event); ``subject`` names the history that they belong to.
    edges : ndarray
        Ends of the steps, from the start on [time], shape (step + 1,).
    labels : tuple of str
        Names of the histories.
    row_history, row_edge : ndarray of int
        History of each row, and the edge at its time, shape (observation,).
    row_time : ndarray
        Times of the rows since the start [time], shape (observation,).
    kinetics : Term, optional
        Pharmacokinetics; without them the last dose is the exposure until the next one.
    assay : Dataset, optional
        Measured concentrations, dims (sample): ``history``, ``time`` since the start [time], ``concentration``.
    start : float
        Time of the trial from which these times are counted: 0, or the first row or dose if that is earlier [time].
    """

    events: xr.Dataset
    edges: np.ndarray
    labels: tuple[str, ...]
    row_history: np.ndarray
    row_edge: np.ndarray
    row_time: np.ndarray
    kinetics: Term | None = None
    assay: xr.Dataset | None = None
    start: float = 0.0

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of the steps [time], shape (step,)."""
        return np.diff(self.edges)

    def record(self) -> xr.Dataset:
        """Return dose events, steps, histories of the rows and pharmacokinetics, as a fit keeps them."""
        events = self.events.drop_attrs(deep=False).assign_attrs(start=self.start)
        events["subject"] = events["subject"].astype(str)
        events["history"] = "observation", np.array(self.labels)[self.row_history].astype(str)
        events["edge"] = "step_edge", self.edges
        if self.assay is not None:
            for name, values in self.assay.data_vars.items():
                events[f"sample_{name}"] = values.astype(str) if name == "history" else values
        term = self.kinetics
        if term is None:
            return events.assign_attrs(kinetics="", fixed="{}", options="{}")
        fixed = {name: float(getattr(term, name)) for name in term.parameters() if name not in term.priors()}
        options = json.dumps(term.structure())
        return events.assign_attrs(kinetics=type(term).__name__, fixed=json.dumps(fixed), options=options)

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters of the kinetics that are to be estimated."""
        return tuple(self.kinetics.priors()) if self.kinetics is not None else ()

    def fingerprint(self) -> tuple[bytes, ...]:
        """Return the times and doses that the graph of a model with kinetics to be estimated holds."""
        arrays = [self.row_time, self.edges, *(self.events[name].values for name in EVENTS)]
        if self.assay is not None:
            arrays += [self.assay["time"].values, self.assay["history"].values]
        return tuple(np.asarray(one.astype(str) if one.dtype == object else one).tobytes() for one in arrays)

    def numbers(self) -> dict[str, np.ndarray]:
        """Return the data of a model: exposures, where they are known, and where the rows lie among the steps."""
        places = {"step_length": self.lengths, "history_index": self.row_history, "edge_index": self.row_edge}
        if self.assay is not None:
            places["observed_concentration"] = self.assay["concentration"].values
        return places if self.free else places | {"exposure": self.at_rows(), "step_exposure": self.over_steps()}

    def accumulation(self, doses: np.ndarray, scales: Mapping[str, float]) -> float:
        """Return the usual exposure per dose [1 / volume], by which priors of doses become those of exposures.

        Parameters
        ----------
        doses : ndarray
            Doses of the rows [dose], shape (observation,).
        scales : mapping
            Constants of the trial, for the prior medians of kinetics that are to be estimated.
        """
        exposure = self.at_rows(self._typical(scales))
        dosed = (doses > 0) & (exposure > 0)
        return float(np.exp(np.median(np.log(exposure[dosed] / doses[dosed])))) if dosed.any() else 1.0

    def _typical(self, scales: Mapping[str, float]) -> dict[str, float]:
        """Prior medians of the kinetics that are to be estimated."""
        if self.kinetics is None:
            return {}
        units = self.kinetics.parameters()
        priors = {name: one.scaled(units[name].unit, scales) for name, one in self.kinetics.priors().items()}
        return {name: float(np.exp(prior.arguments.get("mu", 0.0))) for name, prior in priors.items()}

    def assay_priors(self, scales: Mapping[str, float]) -> dict[str, Prior]:
        """Return the priors of what turns exposures into concentrations; none where none were measured.

        Parameters
        ----------
        scales : mapping
            Constants of the trial, as in `accumulation`.
        """
        if self.assay is None:
            return {}
        return concentration_priors(self.assay["concentration"].values / self.at_samples(self._typical(scales)))

    def at_samples(self, values: Mapping[str, Value] | None = None) -> Value:
        """Return the exposure of the plasma at every measured concentration, shape (sample,) [dose / volume].

        Parameters
        ----------
        values : mapping, optional
            Parameters of the kinetics that are not fixed, numbers or columns.
        """
        names = self.assay["history"].values.astype(str).tolist()
        # Blood is drawn from the plasma, wherever the drug acts.
        site = {"site": "plasma"} if "site" in {one.name for one in fields(self.kinetics)} else {}
        plasma = replace(self, kinetics=replace(self.kinetics, **site))
        known = {name: value for name, value in (values or {}).items() if name in plasma.kinetics.parameters()}
        return plasma._exposure(self.assay["time"].values, names, known)

    def at_rows(self, values: Mapping[str, Value] | None = None) -> Value:
        """Return the exposure of every row, shape (observation,) [dose / volume].

        Parameters
        ----------
        values : mapping, optional
            Parameters of the kinetics that are not fixed, numbers or columns.
        """
        names = [self.labels[i] for i in self.row_history]
        return self._exposure(self.row_time, names, values)

    def over_steps(self, values: Mapping[str, Value] | None = None) -> Value:
        """Return the exposure in the middle of every step, shape (history, step) [dose / volume].

        Parameters
        ----------
        values : mapping, optional
            Parameters of the kinetics that are not fixed, numbers.
        """
        middles = (self.edges[:-1] + self.edges[1:]) / 2
        names = np.repeat(np.array(self.labels, dtype=object), middles.size)
        found = self._exposure(np.tile(middles, len(self.labels)), names, values)
        leading = found.shape[:-1] if isinstance(found, np.ndarray) else ()
        return found.reshape((*leading, len(self.labels), middles.size))

    def _exposure(self, times: np.ndarray, names: Sequence[str], values: Mapping[str, Value] | None) -> Value:
        if self.kinetics is None:
            return held(self.events, times, names)
        kinetics = self.kinetics.with_values(values) if values else self.kinetics
        return exposure_at(kinetics, schedule(self.events, times, names))


def held(events: xr.Dataset, times: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the last dose at or before each time, 0 before the first one [dose].

    Parameters
    ----------
    events : Dataset
        Dose events, dims (event).
    times : ndarray
        Shape (observation,) [time].
    names : sequence of str
        Whose doses they are.
    """
    owners, names = events["subject"].values.astype(str), np.asarray(names).astype(str)
    found = np.zeros(len(times))
    for label in np.unique(names):
        own, mine = np.isin(owners, [label, EVERYONE]), names == label
        begun = np.concatenate([[-np.inf], events["time"].values[own]])
        amounts = np.concatenate([[0.0], events["amount"].values[own]])
        order = np.argsort(begun, kind="stable")
        found[mine] = amounts[order][np.searchsorted(begun[order], times[mine], side="right") - 1]
    return found


def histories_from(record: xr.Dataset, trial: xr.Dataset) -> Histories:
    """Rebuild the dosing histories of a trial from what a fit has recorded.

    Parameters
    ----------
    record : Dataset
        The group ``regimen`` of a fit.
    trial : Dataset
        The trial that was fitted, dims (observation,).
    """
    names = record["history"].values.astype(str)
    labels = tuple(dict.fromkeys(names.tolist()))
    edges = record["edge"].values
    start = first_time(record, trial)
    times = trial["time"].values - start
    row_edge = np.argmin(np.abs(edges[None, :] - times[:, None]), axis=1)
    row_history = np.array([labels.index(name) for name in names])
    known = kinetics_from(record), assay_from(record)
    return Histories(record, edges, labels, row_history, row_edge, times, *known, start)


def first_time(record: xr.Dataset, trial: xr.Dataset) -> float:
    """Return the time of a trial from which the times of its dosing histories are counted [time].

    Parameters
    ----------
    record : Dataset
        The group ``regimen`` of a fit.
    trial : Dataset
        The trial that was fitted, dims (observation,).
    """
    return float(record.attrs.get("start", start_of(trial)))


def assay_from(record: xr.Dataset) -> xr.Dataset | None:
    """Return the measured concentrations that a fit has recorded, None without them.

    Parameters
    ----------
    record : Dataset
        The group ``regimen`` of a fit.
    """
    names = ("history", "time", "concentration")
    return xr.Dataset({name: record[f"sample_{name}"] for name in names}) if "sample_time" in record else None


def kinetics_from(record: xr.Dataset) -> Term | None:
    """Rebuild the pharmacokinetics that a fit has recorded, None without them.

    Parameters
    ----------
    record : Dataset
        The group ``regimen`` of a fit.
    """
    if not record.attrs["kinetics"]:
        return None
    attrs = record.attrs
    return PHARMACOKINETICS[attrs["kinetics"]](**json.loads(attrs["options"]), **json.loads(attrs["fixed"]))


def usual_interval(record: xr.Dataset) -> float | None:
    """Return the median time between doses [time], None where everybody has one dose only.

    Parameters
    ----------
    record : Dataset
        Dose events, dims (event).
    """
    gaps = [record["interval"].values[record["steady"].values > 0]]
    for label in np.unique(record["subject"].values.astype(str)):
        own = (record["subject"].values.astype(str) == label) & (record["amount"].values > 0)
        gaps.append(np.diff(np.unique(record["time"].values[own])))
    every = np.concatenate(gaps)
    return float(np.median(every)) if every.size else None


def find_kinetics(kinetics: KineticsLike | None) -> Term | None:
    """Return the template of a pharmacokinetic model by its name, class or itself."""
    if isinstance(kinetics, str):
        if kinetics not in PHARMACOKINETICS:
            raise ValueError(unknown("pharmacokinetic model", kinetics, PHARMACOKINETICS))
        kinetics = PHARMACOKINETICS[kinetics]
    if isinstance(kinetics, type) and kinetics in PHARMACOKINETICS.values():
        kinetics = kinetics()
    if kinetics is not None and not isinstance(kinetics, tuple(PHARMACOKINETICS.values())):
        raise TypeError(
            f"Expected kinetics= as {listing(PHARMACOKINETICS)} or one of them with numbers, got {quote(kinetics)}."
        )
    return kinetics


def histories_of(
    trial: xr.Dataset,
    regimen: RegimenLike | None = None,
    kinetics: KineticsLike | None = None,
    concentrations: ConcentrationsLike | None = None,
) -> Histories:
    """Return the dosing histories of a trial.

    Parameters
    ----------
    trial : Dataset
        With ``time``, dims (observation,).
    regimen : Regimen, mapping, Dataset, path or table, optional
        Doses in time: equal doses for all, one regimen per subject, or an event table. Without one every row was
        exposed to its dose from time 0 on.
    kinetics : str, class or Term, optional
        Pharmacokinetics that turn doses into exposures.
    concentrations : Dataset, path or table, optional
        Measured concentrations, from which the kinetics are estimated together with the responses.
    """
    if "time" not in trial:
        raise ValueError("Doses in time need the times of the rows: read the table with time=.")
    term = find_kinetics(kinetics)
    if regimen is None and term is not None:
        raise ValueError("Pharmacokinetics need the times of the doses: give regimen=.")
    events, owners = _events(trial, regimen)
    start = min(start_of(trial), float(events["time"].values.min(initial=0.0)))
    moved = events.assign(time=events["time"] - start)
    found = replace(_on_steps(moved, trial["time"].values - start, owners, term), start=start)
    return found if concentrations is None else _assayed(found, trial, concentrations, start)


def _assayed(histories: Histories, trial: xr.Dataset, concentrations: ConcentrationsLike, start: float) -> Histories:
    """Add measured concentrations to the dosing histories that they belong to."""
    if not histories.free:
        raise ValueError(
            "Concentrations tell numbers of the pharmacokinetics, and none is left to be estimated: give kinetics= "
            'with fewer numbers, such as kinetics="OneCompartment".'
        )
    given = isinstance(concentrations, xr.Dataset)
    found = concentrations if given else read_concentrations(concentrations)
    own: dict[str, set[str]] = {}
    if "subject" in trial:
        for subject, number in zip(trial["subject"].values.astype(str), histories.row_history, strict=True):
            own.setdefault(subject, set()).add(histories.labels[number])
    owners = owners_of(found, histories.labels, own)
    assay = xr.Dataset(
        {
            "history": ("sample", owners),
            "time": found["time"] - start,
            "concentration": found["concentration"].astype(float),
        }
    ).drop_vars("row", errors="ignore")
    result = replace(histories, assay=assay)
    ones = dict.fromkeys(histories.free, 1.0)
    for bare in np.flatnonzero(~(result.at_samples(ones) > 0)):
        raise ValueError(
            f"The concentration in row {found['row'].values[bare]} was measured before any dose of "
            f"{quote(owners[bare])}: leave it out, or correct its time."
        )
    return result


def _on_steps(events: xr.Dataset, times: np.ndarray, owners: np.ndarray, term: Term | None) -> Histories:
    """Cut histories into steps, at every dose and at the time of every row."""
    until = float(times.max())
    if until <= 0:
        raise ValueError("Doses in time need rows after the first dose: every row has its time.")
    longest = until / STEPS if term is not None else until
    edges = np.unique(np.concatenate([step_edges(_within(events, until), until=until, longest=longest), times]))
    edges = edges[np.concatenate([[True], np.diff(edges) > 1e-9 * until])]
    labels = tuple(dict.fromkeys(owners.tolist()))
    row_edge = np.argmin(np.abs(edges[None, :] - times[:, None]), axis=1)
    return Histories(events, edges, labels, np.array([labels.index(one) for one in owners]), row_edge, times, term)


def histories_at(record: xr.Dataset, times: np.ndarray, regimen: Regimen | xr.Dataset | None = None) -> Histories:
    """Return the histories of a fit, or of another regimen, with a row at each of some times.

    Parameters
    ----------
    record : Dataset
        The group ``regimen`` of a fit.
    times : ndarray
        Times of the rows since the start [time], shape (time,).
    regimen : Regimen or Dataset, optional
        Doses in place of those of the trial, times since the start.
    """
    if regimen is None:
        events, names = record[[*EVENTS]], list(dict.fromkeys(record["history"].values.astype(str).tolist()))
    else:
        events = regimen.events() if isinstance(regimen, Regimen) else regimen
        names = list(dict.fromkeys(events["subject"].values.astype(str).tolist()))
    owners = np.repeat(np.array(names, dtype=object), len(times))
    return _on_steps(events, np.tile(np.asarray(times, dtype=float), len(names)), owners, kinetics_from(record))


def dosed_histories(
    trial: xr.Dataset,
    drift: Any,
    regimen: RegimenLike | None,
    kinetics: KineticsLike | None,
    concentrations: ConcentrationsLike | None = None,
) -> Histories | None:
    """Return the dosing histories of a trial where a regimen or a mechanism needs them, None elsewhere."""
    if regimen is None and kinetics is None and concentrations is None and mechanism_of(drift) is None:
        return None
    return histories_of(trial, regimen, kinetics, concentrations)


def _within(events: xr.Dataset, until: float) -> xr.Dataset:
    return events.isel(event=np.flatnonzero(events["time"].values <= until))


def _events(trial: xr.Dataset, regimen: RegimenLike | None) -> tuple[xr.Dataset, np.ndarray]:
    """Return dose events and the name of the history of every row."""
    if regimen is None or isinstance(regimen, Regimen):
        return _common(trial, regimen)
    if isinstance(regimen, Mapping) and all(isinstance(one, Regimen) for one in regimen.values()):
        events = xr.concat([one.events([str(label)]) for label, one in regimen.items()], dim="event")
    elif isinstance(regimen, xr.Dataset):
        events = regimen
    else:
        events = read_regimen(regimen)
    if events.sizes["event"] == 0:
        raise ValueError("Expected at least one dose event in regimen=, got none: add rows with AMT.")
    if np.all(events["subject"].values.astype(str) == EVERYONE):
        return events, np.full(trial.sizes["observation"], EVERYONE, dtype=object)
    if "subject" not in trial:
        raise ValueError("The doses of regimen= belong to subjects: read the trial with subject=, too.")
    owners = np.unique(trial["subject"].values.astype(str))
    schedule(events, np.zeros(owners.size), owners)  # says in words who has no doses
    return events, trial["subject"].values.astype(str).astype(object)


def _common(trial: xr.Dataset, regimen: Regimen | None) -> tuple[xr.Dataset, np.ndarray]:
    """Equal doses for all who are dosed: each row's own dose, from time 0 on without a regimen."""
    doses = trial["dose"].values
    plan = regimen or Regimen(dose=None, interval=1.0, n=1)
    other = doses[(doses > 0) & (doses != plan.dose)] if plan.dose is not None else doses[:0]
    if other.size:
        raise ValueError(
            f"The regimen gives {plan.dose:g}, but the trial has rows of dose {other[0]:g}: leave out dose= of the "
            "regimen, so that every row has its own, or give the doses as an event table."
        )
    levels = np.unique(doses)
    events = [plan.events([ALONE.format(level)], dose=float(level)) for level in levels]
    names = np.array([ALONE.format(level) for level in doses], dtype=object)
    return xr.concat(events, dim="event"), names
