"""Dose events: who was given how much and when, from a table or a regimen, as an xarray Dataset over `event`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.trials.tables import Table, is_blank, parse_numbers, read_table
from hormesis_fit.wording import hint, listing, quote

# Column of the usual event table: its unit, and what it means.
COLUMNS = {
    "id": ("", "Label of the subject that was given the dose; empty for every subject."),
    "time": ("time", "Time of the dose."),
    "amt": ("dose", "Amount that was given."),
    "rate": ("dose / time", "Rate of an infusion, 0 for a dose given at once."),
    "ii": ("time", "Time between the doses of a steady state, 0 where there is none."),
    "addl": ("1", "Further doses like this one."),
    "ss": ("1", "Whether the dose is one of many that were given for ever."),
    "evid": ("1", "Kind of the row: 0 an observation, 1 a dose, 2 another event."),
}
EVERYONE = ""
MOST_EVENTS = 1_000_000


@dataclass(frozen=True)
class Regimen:
    """Equal doses at equal intervals.

    Attributes
    ----------
    dose : float, optional
        Each dose [dose]; None for the dose of each row of the trial.
    interval : float
        Time between doses [time].
    n : int
        Number of doses.
    start : float
        Time of the first dose, negative before the time from which others are counted [time].
    duration : float, optional
        Length of each infusion [time]; by default a dose is given at once.

    Examples
    --------
    >>> Regimen(dose=2.0, interval=12.0, n=3).events()["time"].values.tolist()
    [0.0, 12.0, 24.0]
    """

    dose: float | None
    interval: float
    n: int
    start: float = 0.0
    duration: float | None = None

    def __post_init__(self) -> None:
        bounds = {"dose": 0.0, "interval": 0.0, "start": -np.inf, "duration": 0.0}
        for name, least in bounds.items():
            value = getattr(self, name)
            if name in ("dose", "duration") and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise TypeError(f"Expected a number for {name}= of a regimen, got {quote(value)}: give one number.")
            strict = name in ("interval", "duration")
            if not np.isfinite(value) or value < least or (strict and value == 0):
                wanted = "above zero" if strict else "that is finite" if name == "start" else "of zero or more"
                raise ValueError(f"Expected a number {wanted} for {name}= of a regimen, got {value:g}: correct it.")
        if isinstance(self.n, bool) or not isinstance(self.n, int | np.integer) or not 1 <= self.n <= MOST_EVENTS:
            raise ValueError(
                f"Expected a whole number from 1 to {MOST_EVENTS} for n= of a regimen, got {quote(self.n)}: correct it."
            )
        if self.duration is not None and self.duration > self.interval:
            raise ValueError(
                f"Expected infusions no longer than the interval of {self.interval:g}, got duration={self.duration:g}: "
                "use a longer interval."
            )

    def events(
        self,
        subjects: Sequence[str] = (EVERYONE,),
        *,
        dose: float | None = None,
        dose_unit: str = "",
        time_unit: str = "",
    ) -> xr.Dataset:
        """Return the dose events.

        Parameters
        ----------
        subjects : sequence of str
            Who is given the doses; by default every subject.
        dose : float, optional
            Each dose [dose], for a regimen that has none of its own.
        dose_unit, time_unit : str
            Units, such as "mg" and "h".

        Returns
        -------
        xarray.Dataset
            As from `read_regimen`, dims (event).
        """
        names, given = [str(subject) for subject in subjects], self.dose if dose is None else dose
        if given is None:
            raise ValueError("Expected a dose for a regimen that has none of its own: give dose=.")
        times = self.start + self.interval * np.arange(self.n)
        rate = 0.0 if self.duration is None else given / self.duration
        size = len(names) * self.n
        columns = {
            "subject": np.repeat(np.array(names, dtype=object), self.n),
            "time": np.tile(times, len(names)),
            "amount": np.full(size, float(given)),
            "rate": np.full(size, float(rate)),
            "interval": np.zeros(size),
            "steady": np.zeros(size),
        }
        return _dataset(columns, np.arange(1, size + 1), "regimen", [], dose_unit, time_unit)


def read_regimen(source: Any, *, dose_unit: str = "", time_unit: str = "", sheet: str | None = None) -> xr.Dataset:
    """Read dose events from a table in the usual form.

    Parameters
    ----------
    source : str, path-like, pandas.DataFrame or dict of columns
        CSV, TSV or Excel file, or a table in memory, with columns TIME and AMT and any of ID, RATE, II, ADDL, SS and
        EVID, in any case. Rows of observations (EVID 0, or without EVID those with no amount) are left out, and so
        are other columns.
    dose_unit, time_unit : str
        Units, such as "mg" and "h".
    sheet : str, optional
        Sheet of an Excel file; the first one by default.

    Returns
    -------
    xarray.Dataset
        Variables ``subject``, ``time`` [time], ``amount`` [dose], ``rate`` [dose / time], ``interval`` [time] and
        ``steady`` (0 or 1), dims (event), sorted by subject and time; repeated doses (ADDL) are events. The
        coordinate ``row`` is the row in the source. Attrs: ``name``, ``notes``.

    Raises
    ------
    ValueError
        When the table is no table of dose events; the message names column, row and value.

    Examples
    --------
    >>> events = read_regimen({"ID": ["a"], "TIME": [0], "AMT": [5], "II": [24], "ADDL": [2]})
    >>> events["time"].values.tolist()
    [0.0, 24.0, 48.0]
    """
    table = read_table(source, sheet=sheet)
    names = named_columns(table, COLUMNS, ("time", "amt"), "dose events")
    numbers, notes = parse_numbers(table, {role: name for role, name in names.items() if role != "id"})
    labels = subject_labels(table, names.get("id"))
    given = _doses(numbers, names, table)
    if not given.any():
        raise ValueError(f"Found no dose in {table.label}: give dose rows an amount in the column AMT.")
    _check_order(numbers["time"], labels, names, table)
    values = {role: np.where(np.isnan(numbers[role]), 0.0, numbers[role]) for role in numbers if role != "time"}
    values["time"] = numbers["time"]
    for role in ("amt", "rate", "ii", "addl", "ss"):
        values.setdefault(role, np.zeros(given.size))
    for place in np.flatnonzero(given):
        _check_dose({role: float(values[role][place]) for role in values}, names, table.rows[place])
    columns, rows = _repeated(values, labels, np.flatnonzero(given), np.array(table.rows))
    if left := int(given.size - given.sum()):
        notes = [
            *notes,
            f"{left} row{'s' if left > 1 else ''} without a dose {'were' if left > 1 else 'was'} left out.",
        ]
    return _dataset(columns, rows, table.name, [*table.notes, *notes], dose_unit, time_unit)


def named_columns(table: Table, known: Collection[str], needed: Sequence[str], holds: str) -> dict[str, str]:
    """Return the columns of a table in the usual form by their usual names, whatever their case.

    Parameters
    ----------
    table : Table
    known : collection of str
        Usual names, in small letters; other columns are left alone.
    needed : sequence of str
        Those without which the table cannot be read.
    holds : str
        What the table holds, for the message.
    """
    names: dict[str, str] = {}
    for column in table.columns:
        role = column.casefold()
        if role in known:
            if role in names:
                raise ValueError(
                    f"Expected one column {role.upper()}, got {listing([names[role], column])}: rename one of them."
                )
            names[role] = column
    for role in needed:
        if role not in names:
            there = list(table.columns)
            raise ValueError(
                f"There is no column {role.upper()}{hint(role, there)} in {table.label}, which has {listing(there)}: "
                f"a table of {holds} needs {' and '.join(one.upper() for one in needed)}."
            )
    return names


def subject_labels(table: Table, column: str | None) -> np.ndarray:
    """Return the subject of every row of a table, `EVERYONE` where it has no column of subjects."""
    if column is None:
        return np.full(len(table.rows), EVERYONE, dtype=object)
    labels = []
    for cell, row in zip(table.columns[column], table.rows, strict=True):
        if is_blank(cell):
            raise ValueError(
                f"Expected a subject in row {row} of column {quote(column)}, got a blank: fill it in, or leave "
                "the column out when every subject was given the same."
            )
        whole = isinstance(cell, float) and cell.is_integer()
        labels.append(str(int(cell)) if whole else str(cell).strip())
    return np.array(labels, dtype=object)


def _doses(numbers: dict[str, np.ndarray], names: dict[str, str], table: Table) -> np.ndarray:
    """Return which rows are doses."""
    if "evid" not in numbers:
        return np.nan_to_num(numbers["amt"], nan=0.0) != 0
    kinds = np.where(np.isnan(numbers["evid"]), 0.0, numbers["evid"])
    for kind, row in zip(kinds, table.rows, strict=True):
        if kind in (3, 4):
            raise ValueError(
                f"Row {row} of column {quote(names['evid'])} asks for a reset (EVID {kind:g}), which is not supported: "
                "give what follows as a subject of its own."
            )
        if kind not in (0, 1, 2):
            raise ValueError(
                f"Expected 0 (observation), 1 (dose) or 2 (other) in row {row} of column {quote(names['evid'])}, got "
                f"{kind:g}: correct it."
            )
    for place in np.flatnonzero((kinds == 1) & np.isnan(numbers["amt"])):
        raise ValueError(
            f"Expected an amount in row {table.rows[place]} of column {quote(names['amt'])}, got a blank: give the "
            "dose, or EVID 0 for an observation."
        )
    return kinds == 1


def _check_order(times: np.ndarray, labels: np.ndarray, names: dict[str, str], table: Table) -> None:
    latest: dict[str, float] = {}
    for time, label, row in zip(times, labels, table.rows, strict=True):
        place = f"row {row} of column {quote(names['time'])}"
        if not np.isfinite(time):
            shown = "a blank" if np.isnan(time) else f"{time:g}"
            raise ValueError(f"Expected a finite time in {place}, got {shown}: fill it in.")
        if time < latest.get(label, -np.inf):
            whose = f" of subject {quote(label)}" if label else ""
            raise ValueError(
                f"Expected the events{whose} in order of time, but {place} goes back from {latest[label]:g} to "
                f"{time:g}: sort the table."
            )
        latest[label] = time


def _check_dose(dose: dict[str, float], names: dict[str, str], row: int) -> None:
    """Refuse what no dose can be."""
    for role in ("amt", "rate", "ii", "addl"):
        if not np.isfinite(dose[role]) or dose[role] < 0:
            what = (
                "a rate of zero or more (rates to be estimated are not supported)"
                if role == "rate"
                else ("a number of zero or more")
            )
            raise ValueError(f"Expected {what} in row {row} of column {quote(names[role])}, got {dose[role]:g}.")
    if dose["addl"] % 1:
        raise ValueError(
            f"Expected a whole number of further doses in row {row} of column {quote(names['addl'])}, got "
            f"{dose['addl']:g}: correct it."
        )
    if dose["ss"] not in (0, 1):
        raise ValueError(
            f"Expected 0 or 1 in row {row} of column {quote(names['ss'])}, got {dose['ss']:g}: correct it."
        )
    if dose["addl"] and not dose["ii"]:
        raise ValueError(f"Row {row} has further doses (ADDL {dose['addl']:g}) but no interval: give II above zero.")
    if dose["ss"] and not dose["ii"]:
        raise ValueError(f"Row {row} is at steady state (SS 1) but has no interval: give II above zero.")
    if dose["ss"] and dose["rate"]:
        raise ValueError(
            f"Row {row} is an infusion at steady state (RATE {dose['rate']:g}, SS 1), which is not supported: "
            "write its doses out with ADDL and II."
        )
    if dose["rate"] and not dose["amt"]:
        raise ValueError(f"Row {row} has a rate of {dose['rate']:g} but no amount: give the amount in AMT.")


def _repeated(
    values: dict[str, np.ndarray], labels: np.ndarray, places: np.ndarray, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Write further doses out, and sort by subject, in the order of the table, and time."""
    counts = values["addl"][places].astype(int) + 1
    if counts.sum() > MOST_EVENTS:
        raise ValueError(f"Expected at most {MOST_EVENTS} doses, got {counts.sum()}: correct ADDL.")
    source = np.repeat(places, counts)
    number = np.concatenate([np.arange(count) for count in counts])
    times = values["time"][source] + number * values["ii"][source]
    steady = values["ss"][source] * (number == 0)
    _, first, group = np.unique(labels[source], return_index=True, return_inverse=True)
    order = np.lexsort((times, first[group]))
    columns = {
        "subject": labels[source],
        "time": times,
        "amount": values["amt"][source],
        "rate": values["rate"][source],
        "interval": values["ii"][source] * steady,
        "steady": steady,
    }
    return {name: column[order] for name, column in columns.items()}, rows[source][order]


def _dataset(
    columns: dict[str, np.ndarray], rows: np.ndarray, name: str, notes: list[str], dose_unit: str, time_unit: str
) -> xr.Dataset:
    known = {"subject": "id", "time": "time", "amount": "amt", "rate": "rate", "interval": "ii", "steady": "ss"}
    written = {"time": time_unit, "dose": dose_unit, "1": "1", "": ""}
    written["dose / time"] = f"{dose_unit}/{time_unit}" if dose_unit and time_unit else ""
    variables = {}
    for column, values in columns.items():
        unit, definition = COLUMNS[known[column]]
        variables[column] = ("event", values, {"units": written[unit], "long_name": column, "definition": definition})
    coords = {"event": np.arange(rows.size), "row": ("event", rows)}
    return xr.Dataset(variables, coords, {"name": name, "notes": notes})


def schedule(events: xr.Dataset, times: Any, subjects: Sequence[str] | None = None) -> xr.Dataset:
    """Return for every observation the dose events before it, as the exposure needs them.

    Parameters
    ----------
    events : Dataset
        Dose events, dims (event).
    times : array_like
        Times of the observations [time], shape (observation,).
    subjects : sequence of str, optional
        Whose observations they are; needed where the events name subjects.

    Returns
    -------
    xarray.Dataset
        ``elapsed`` [time] since each dose, ``amount`` [dose] (0 for doses still to come), ``rate`` [dose / time],
        ``infused`` and ``since`` [time] (how long an infusion has run and how long ago it ended), ``interval`` [time]
        and ``steady``, dims (observation, event); the events of each subject are numbered from 0.
    """
    times = np.asarray(times, dtype=float)
    owners = events["subject"].values.astype(str)
    wanted = np.full(times.size, EVERYONE) if subjects is None else np.asarray(subjects).astype(str)
    shared = bool(np.all(owners == EVERYONE))
    if not shared:
        _check_subjects(owners, wanted, subjects is None)
    own = {label: np.flatnonzero(shared | (owners == label)) for label in np.unique(wanted)}
    width = max(len(places) for places in own.values())
    numbers = {name: events[name].values.astype(float) for name in ("time", "amount", "rate", "interval", "steady")}
    table = {name: np.zeros((times.size, width)) for name in numbers}
    table["time"] += np.inf
    for label, places in own.items():
        mine = np.flatnonzero(wanted == label)
        for name, column in numbers.items():
            table[name][mine, : len(places)] = column[places]
    return _relative(times, table)


def _relative(times: np.ndarray, table: dict[str, np.ndarray]) -> xr.Dataset:
    """Return events as seen from the observations."""
    given = table["time"] <= times[:, None]
    # A steady state replaces whatever was there before it.
    fresh = np.max(np.where(given & (table["steady"] > 0), table["time"], -np.inf), axis=1, initial=-np.inf)
    place = np.arange(table["time"].shape[1])
    last = np.max(np.where(given & (table["steady"] > 0), place, -1), axis=1, initial=-1)
    given &= (table["time"] >= fresh[:, None]) & (place >= last[:, None])
    elapsed = np.where(given, times[:, None] - np.where(given, table["time"], 0.0), 0.0)
    amount, rate = table["amount"] * given, table["rate"] * given
    length = amount / np.where(rate > 0, rate, 1.0) * (rate > 0)
    infused = np.minimum(elapsed, length)
    columns = {
        "elapsed": elapsed,
        "amount": amount,
        "rate": rate,
        "infused": infused,
        "since": elapsed - infused,
        "interval": table["interval"] * given,
        "steady": table["steady"] * given,
    }
    return xr.Dataset({name: (("observation", "event"), values) for name, values in columns.items()})


def _check_subjects(owners: np.ndarray, wanted: np.ndarray, unnamed: bool) -> None:
    known = list(dict.fromkeys(owners.tolist()))
    if unnamed:
        raise ValueError(
            f"The dose events belong to subjects ({listing(known)}), but the observations name none: give the column "
            "of subjects."
        )
    for label in dict.fromkeys(wanted.tolist()):
        if label not in known:
            raise ValueError(
                f"The subject {quote(label)}{hint(label, known)} has observations but no dose event: add its doses, "
                "with AMT 0 and EVID 1 for a placebo."
            )


def step_edges(events: xr.Dataset, *, until: float, longest: float) -> np.ndarray:
    """Return times that cut a dosing history into steps: at every dose and at least every `longest`.

    Parameters
    ----------
    events : Dataset
        Dose events, dims (event).
    until : float
        End of the last step [time].
    longest : float
        Greatest length of a step [time].

    Returns
    -------
    ndarray
        Ascending times from 0 to `until` [time], shape (step + 1,).

    Examples
    --------
    >>> step_edges(Regimen(dose=1, interval=3, n=2).events(), until=4, longest=2).tolist()
    [0.0, 1.5, 3.0, 4.0]
    """
    if not (np.isfinite(until) and until > 0 and np.isfinite(longest) and longest > 0):
        raise ValueError(f"Expected until= and longest= above zero, got {until:g} and {longest:g}: correct them.")
    times, rate = events["time"].values, events["rate"].values
    ends = times + events["amount"].values / np.where(rate > 0, rate, 1.0) * (rate > 0)
    fixed = np.unique(np.concatenate([[0.0, until], times, ends]))
    fixed = fixed[fixed <= until]
    parts = np.ceil(np.diff(fixed) / longest - 1e-9).astype(int)
    pieces = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(fixed[:-1], fixed[1:], parts, strict=True)]
    return np.append(np.concatenate(pieces), until)
