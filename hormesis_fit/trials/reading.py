"""Trials: a table of doses and responses, checked once, as an xarray Dataset over `observation`."""

import json
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import xarray as xr

from hormesis_fit.trials.columns import (
    LABELS,
    LARGEST,
    ROLES,
    attrs_of,
    check_cells,
    further_columns,
    label_of,
    shares,
    with_columns,
    within_limits,
)
from hormesis_fit.trials.tables import Table, is_numeric, parse_numbers, read_table
from hormesis_fit.wording import hint, listing, quote

CHOICES = {"direction": ("up", "down"), "scale": ("ratio", "interval"), "missing": ("error", "drop")}
DECADES = 15
FEWEST_ROWS = 4
FEWEST_DOSES = 3


def read_trial(
    source: Any,
    *,
    dose: str = "dose",
    response: str = "response",
    time: str | None = None,
    subject: str | None = None,
    batch: str | None = None,
    dose_unit: str | None = None,
    response_unit: str | None = None,
    time_unit: str | None = None,
    direction: Literal["up", "down"] = "up",
    scale: Literal["ratio", "interval"] | None = None,
    standard_dose: float | None = None,
    control: float | None = None,
    missing: Literal["error", "drop"] = "error",
    sd: str | None = None,
    se: str | None = None,
    n: str | None = None,
    successes: str | None = None,
    lower: str | None = None,
    upper: str | None = None,
    weight: str | None = None,
    guess: str | None = None,
    columns: Sequence[str] = (),
    sheet: str | None = None,
) -> xr.Dataset:
    """Read a trial from a table with one row for each measurement.

    Parameters
    ----------
    source : str, path-like, pandas.DataFrame or dict of columns
        CSV, TSV or Excel file (.xlsx), or a table in memory.
    dose, response : str
        Names of the columns that hold doses and responses.
    time, subject, batch : str, optional
        Names of the columns that hold times, and labels of subjects and of batches.
    dose_unit, response_unit, time_unit : str, optional
        Units, such as "mg/L".
    direction : {"up", "down"}
        Whether a higher or a lower response is the benefit.
    scale : {"ratio", "interval"}, optional
        Whether the response has a true zero. By default "ratio" when no response is negative and the control mean
        exceeds two of its standard errors, else "interval".
    standard_dose : float, optional
        Standard clinical dose [dose]; every dose is then also given as its fraction.
    control : float, optional
        Known control mean [response], for a table without rows at dose 0.
    missing : {"error", "drop"}
        What to do with rows whose response is blank.
    sd, se, n, successes, lower, upper, weight : str, optional
        Names of columns that describe how each response was observed. With ``successes`` and ``n`` the response is
        their ratio, and no column of responses is read.
    guess : str, optional
        Name of the column with the subjects' guess that they were given the drug and not the placebo.
    columns : sequence of str
        Names of further columns to keep, of groups or covariates, such as ``["sex", "weight", "laboratory"]``.
    sheet : str, optional
        Sheet of an Excel file; the first one by default.

    Returns
    -------
    xarray.Dataset
        Variables ``dose`` [dose], ``response`` [response] and those of the other named columns, dims (observation),
        with ``units``, ``long_name`` (the column's name) and ``definition``; ``dose_fraction`` [1] with a standard
        dose. The coordinate ``row`` is the row in the file (the header is row 1) or the position in a table in
        memory. Attrs: ``name``, ``direction``, ``scale``, ``notes`` (one sentence for everything that was repaired
        or assumed), and where they apply ``standard_dose``, ``control``, ``missing`` (JSON: dropped rows by dose).

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    TypeError
        When an argument or a cell is of a wrong type.
    ValueError
        When the table cannot be read, or is no trial; the message names column, row and value.

    Examples
    --------
    >>> trial = read_trial({"mg": [0, 0, 1, 10], "g": [1.0, 1.2, 1.5, 0.4]}, dose="mg", response="g", dose_unit="mg/L")
    >>> trial["dose"].values.tolist(), trial["dose"].attrs["units"], trial.attrs["scale"]
    ([0.0, 0.0, 1.0, 10.0], 'mg/L', 'ratio')
    """
    units = {"dose_unit": dose_unit, "response_unit": response_unit, "time_unit": time_unit}
    _check_words({"direction": direction, "missing": missing} | ({} if scale is None else {"scale": scale}), units)
    check_number("standard_dose", standard_dose, above=0.0)
    check_number("control", control)
    numbers = {"dose": dose, "response": response, "time": time, "sd": sd, "se": se, "n": n, "successes": successes}
    numbers |= {"lower": lower, "upper": upper, "weight": weight, "guess": guess}
    if successes is not None:
        if n is None:
            raise ValueError("Successes need the sizes of their groups: name their column with n=, too.")
        del numbers["response"]
    table = read_table(source, sheet=sheet)
    names = _named_columns(table, numbers | {"subject": subject, "batch": batch})
    further = further_columns(table, columns)
    values, rows, dropped, notes = _kept_rows(table, names, drop=missing == "drop")
    if successes is not None:
        values["response"], names["response"] = shares(table, values, names), successes
    _check_design(table.label, values["dose"], values["response"], "response" if successes is None else "successes")
    scale, assumed = _settled_scale(values, scale, control)
    notes += assumed + _assumptions(values, names, control, dose_unit)
    trial = with_columns(_dataset(values, rows, names, units), table, further)
    trial.attrs = {"name": table.name, "direction": direction, "scale": scale, "notes": notes}
    return _with_known(trial, dropped=dropped, control=control, standard_dose=standard_dose)


def read_rows(source: Any, *, like: xr.Dataset, subject: str) -> xr.Dataset:
    """Read rows of one more subject, with the columns of a trial.

    Parameters
    ----------
    source : str, path-like, pandas.DataFrame or dict of columns
        One or more rows.
    like : Dataset
        The trial, dims (observation,); its columns have the same names here, or those of the trial's variables.
    subject : str
        Label of the subject.
    """
    table = read_table(source)
    wanted = [str(name) for name in like.data_vars if like[name].dims == ("observation",)]
    derived = {"subject", "dose_fraction", "true_mean"} | ({"response"} if "successes" in like else set())
    named = {name: like[name].attrs.get("long_name", name) for name in wanted if name not in derived}
    names = {role: column if column in table.columns else role for role, column in named.items()}
    names = _named_columns(table, names)
    roles = {role: column for role, column in names.items() if role in ROLES}
    values, rows, _, _ = _kept_rows(table, roles, drop=False)
    if "successes" in values:
        values["response"], roles["response"] = shares(table, values, roles), roles["successes"]
    values["subject"], roles["subject"] = np.full(rows.size, subject), "subject"
    trial = _dataset(values, rows, roles, {})
    trial = with_columns(trial, table, {word: column for word, column in names.items() if word not in ROLES})
    return trial.assign_attrs(like.attrs)


def _check_words(chosen: dict[str, str], units: dict[str, str | None]) -> None:
    for option, word in chosen.items():
        if word not in CHOICES[option]:
            allowed = " or ".join(quote(choice) for choice in CHOICES[option])
            raise ValueError(
                f"Expected {option}={allowed}, got {quote(word)}{hint(word, CHOICES[option])}: choose one."
            )
    for option, unit in units.items():
        if unit is not None and not isinstance(unit, str):
            raise TypeError(f'Expected a text such as "mg/L" for {option}=, got {quote(unit)}: put it in quotes.')


def check_number(option: str, value: object, *, above: float = -np.inf, least: float = -np.inf) -> None:
    """Refuse what is no number, or none in a range, for an option of a public function."""
    if value is None:
        return
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            f"Expected a number for {option}=, got {quote(value)} ({type(value).__name__}): give one number."
        )
    if not above < value <= LARGEST or value < max(least, -LARGEST):
        wanted = (
            "a number above zero" if above == 0 else "a number of zero or more" if least == 0 else "a finite number"
        )
        raise ValueError(f"Expected {wanted} for {option}=, got {value}: correct it or leave it out.")


def check_whole(option: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number, or too small a one, for an option of a public function."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"Expected a whole number for {option}=, got {quote(value)} ({type(value).__name__}): give one."
        )
    if value < least:
        raise ValueError(f"Expected a whole number of at least {least} for {option}=, got {value}: give a larger one.")


def _named_columns(table: Table, wanted: dict[str, Any]) -> dict[str, str]:
    """Choose one column for each role that was given a name."""
    names: dict[str, str] = {}
    for role, name in wanted.items():
        if name is None:
            continue
        if not isinstance(name, str):
            raise TypeError(
                f"Expected the name of a column for {role}=, got {quote(name)}: give it as text, in quotes."
            )
        name = name.strip()
        if name not in table.columns:
            raise ValueError(_missing_column(table, role, name, wanted))
        if name in names.values():
            other = next(r for r, n in names.items() if n == name)
            raise ValueError(f"Column {quote(name)} was named for both {other}= and {role}=: name one column for each.")
        names[role] = name
    return names


def _missing_column(table: Table, role: str, name: str, wanted: dict[str, Any]) -> str:
    """Say in one sentence what is there instead of a column, and how to melt the table when it looks wide."""
    headers = list(table.columns)
    doses = [header for header in headers if is_numeric([header])]
    others = [h for h in headers if h not in wanted.values() and h not in doses and is_numeric(table.columns[h])]
    start = f"There is no column {quote(name)} (for {role}=) in {table.label}"
    if len(doses) == len(headers) == 2:
        return f"{start}, whose first row holds numbers where names were expected: add a row with column names."
    melt = "make one row for each measurement, for example with pandas.melt(table,"
    if role in ("dose", "response") and len(doses) >= 2:
        found = f"it looks like a wide table with doses as column names ({listing(doses, limit=4)})"
        return f'{start}, but {found}: {melt} var_name="dose", value_name="response").'
    if role == "response" and len(others) >= 2 and not hint(name, headers):
        found = f"several columns of numbers ({listing(others, limit=4)})"
        wide = f'{melt} id_vars={quote(wanted["dose"])}, value_name="response")'
        return f"{start}, but {found}: name one with response=, or, if they are replicates in a wide table, {wide}."
    return f"{start}{hint(name, headers)}: name one of its columns, {listing(headers)}, with {role}=."


def _kept_rows(
    table: Table, names: dict[str, str], *, drop: bool
) -> tuple[dict, np.ndarray, dict[str, int], list[str]]:
    """Return checked values by role, their rows in the source, the number of dropped rows by dose, and notes."""
    values, notes = parse_numbers(table, {role: name for role, name in names.items() if role not in LABELS})
    values |= {
        role: np.array([label_of(cell) for cell in table.columns[names[role]]]) for role in LABELS if role in names
    }
    rows = np.asarray(table.rows)
    main = "response" if "response" in values else "successes"
    if main == "response" and {"lower", "upper"} & set(values):
        values["response"] = within_limits(values)
    keep = ~np.isnan(values[main]) if drop else np.ones(rows.size, dtype=bool)
    if "sd" in values and "n" in values:  # one unit has no SD
        values["sd"] = np.where((values["n"] == 1) & np.isnan(values["sd"]), 0.0, values["sd"])
    for role, name in names.items():
        check_cells(role, name, values[role], table, keep | (role == "dose"))
    at, counts = np.unique(values["dose"][~keep], return_counts=True)
    dropped = {f"{dose:.12g}": int(count) for dose, count in zip(at, counts, strict=True)}
    if dropped:
        shown = ", ".join(f"{count} at dose {dose}" for dose, count in dropped.items())
        notes.append(f"Rows without a response were dropped ({shown}).")
    return {role: column[keep] for role, column in values.items()}, rows[keep], dropped, [*table.notes, *notes]


def _check_design(label: str, dose: np.ndarray, response: np.ndarray, role: str) -> None:
    """Refuse a table that no curve can be fitted to."""
    levels = np.unique(dose)
    positive = levels[levels > 0]
    needed = f"but at least {FEWEST_DOSES} distinct doses are needed"
    if dose.size < FEWEST_ROWS:
        found = f"{label} has {dose.size}"
        raise ValueError(f"Expected at least {FEWEST_ROWS} rows with a response, but {found}: add measurements.")
    if not positive.size:
        raise ValueError(f"All doses in {label} are zero, {needed}: name the column that holds the doses with dose=.")
    if levels.size < FEWEST_DOSES:
        found = " and ".join(f"{level:g}" for level in levels)
        raise ValueError(
            f"The only dose{'s' * (levels.size - 1)} in {label}: {found}, {needed}: add rows at other doses."
        )
    if np.log10(positive[-1]) - np.log10(positive[0]) > DECADES:
        found = f"those of {label} reach from {positive[0]:g} to {positive[-1]:g}"
        raise ValueError(
            f"Expected positive doses within {DECADES} decades, but {found}: check units and typing errors."
        )
    if np.ptp(response) == 0:
        found = f"all of them in {label} are {response[0]:g}"
        raise ValueError(f"Expected responses that vary, but {found}: name the column of the {role} with {role}=.")


def _control(values: dict[str, np.ndarray]) -> tuple[float, float]:
    """Return mean and standard error of the responses at the lowest dose."""
    dose, response = values["dose"], values["response"]
    lowest = dose == dose.min()
    group = response[lowest]
    if "se" in values and "sd" not in values:
        precision = values["se"][lowest] ** -2.0
        return np.average(group, weights=precision), precision.sum() ** -0.5
    if "sd" in values and "n" in values and values["n"][lowest].sum() > 1:
        n, sd = values["n"][lowest], values["sd"][lowest]
        mean = np.average(group, weights=n)
        squares = np.sum((n - 1) * sd**2 + n * (group - mean) ** 2)
        return mean, np.sqrt(squares / (n.sum() - 1) / n.sum())
    if group.size > 1:
        return group.mean(), group.std(ddof=1) / np.sqrt(group.size)
    levels, place, counts = np.unique(dose, return_inverse=True, return_counts=True)
    free = dose.size - levels.size
    residuals = response - (np.bincount(place, response) / counts)[place]
    return group[0], np.sqrt(np.square(residuals).sum() / free) if free else response.std(ddof=1)


def _settled_scale(values: dict[str, np.ndarray], scale: str | None, control: float | None) -> tuple[str, list[str]]:
    """Return the scale, and a note when it was not given."""
    mean, error = _control(values) if control is None else (float(control), 0.0)
    response = values["response"]
    if scale == "ratio" and mean <= 0:
        raise ValueError(
            f'Expected a control mean above zero with scale="ratio", got {mean:.4g}: use scale="interval".'
        )
    if scale is not None:
        return scale, []
    margin = f"two of its standard errors ({2 * error:.4g})"
    if response.min() < 0:
        scale, reason = "interval", f"some responses are below zero (the lowest is {response.min():.4g})"
    elif mean > 2 * error:
        scale, reason = "ratio", f"no response is below zero and the control mean, {mean:.4g}, exceeds {margin}"
    else:
        scale, reason = "interval", f"the control mean, {mean:.4g}, does not exceed {margin}"
    return scale, [f"The response was taken to be on the {scale} scale, since {reason}; scale= overrides this."]


def _assumptions(values: dict, names: dict[str, str], control: float | None, dose_unit: str | None) -> list[str]:
    """Say in one sentence each what a reader should know about the table."""
    notes, lowest = [], values["dose"].min()
    if lowest > 0 and control is None:
        found = f"the lowest dose is {lowest:g} {dose_unit or ''}".strip()
        advice = "add rows at dose 0 or give control="
        notes.append(f"No control group: {found}, so the response without a dose is extrapolated; {advice}.")
    if lowest == 0 and control is not None:
        notes.append("The table has rows at dose 0 besides the known control mean that was given.")
    times = np.unique(values.get("time", []))
    if times.size > 1 and "subject" not in names:
        found = f"Column {quote(names['time'])} mixes {times.size} times and no column of subjects was named"
        notes.append(f"{found}, so rows are taken as independent; start values and day-0 rows are not controls.")
    return notes


def _dataset(values: dict, rows: np.ndarray, names: dict[str, str], units: dict[str, str | None]) -> xr.Dataset:
    variables = {
        role: ("observation", values[role], attrs_of(units.get(unit, unit), names[role], definition))
        for role, (unit, definition) in ROLES.items()
        if role in names
    }
    number = attrs_of("1", "observation", "Number of the measured row, from 0.")
    row = attrs_of("1", "row", "Row in the source: in a file the header is row 1.")
    coords = {"observation": ("observation", np.arange(rows.size), number), "row": ("observation", rows, row)}
    return xr.Dataset(variables, coords)


def _with_known(
    trial: xr.Dataset, *, dropped: dict[str, int], control: float | None, standard_dose: float | None
) -> xr.Dataset:
    """Add what only some trials have."""
    if dropped:
        trial.attrs["missing"] = json.dumps(dropped)
    if control is not None:
        trial.attrs["control"] = float(control)
    if standard_dose is not None:
        trial.attrs["standard_dose"] = float(standard_dose)
        fraction = trial["dose"].values / float(standard_dose)
        definition = "Dose as a fraction of the standard clinical dose."
        trial["dose_fraction"] = ("observation", fraction, attrs_of("1", "dose fraction", definition))
    return trial
