"""The columns of a trial: what each is for, what its cells may hold, and those that are kept besides."""

import re
from collections.abc import Sequence

import numpy as np
import xarray as xr

from hormesis_fit.trials.tables import Table, is_blank, is_numeric
from hormesis_fit.wording import hint, listing, quote

# The unit is a keyword of read_trial, or the unit itself.
ROLES = {
    "dose": ("dose_unit", "Dose that was given to the unit on which the response was measured."),
    "response": ("response_unit", "Response that was measured at the dose."),
    "time": ("time_unit", "Time of the measurement."),
    "sd": ("response_unit", "Standard deviation of the responses that the row summarises."),
    "se": ("response_unit", "Standard error of the response."),
    "n": ("1", "Number of units that the row summarises."),
    "successes": ("1", "Number of units of the row that had the event."),
    "lower": ("response_unit", "Lower limit of a response that is known only within limits."),
    "upper": ("response_unit", "Upper limit of a response that is known only within limits."),
    "weight": ("1", "Relative weight of the row in the likelihood."),
    "guess": ("1", "Guess of the subject that the drug was given, 0 or 1 or a probability."),
    "subject": ("", "Label of the subject on which the response was measured."),
    "batch": ("", "Label of the batch, plate, centre or block of the measurement."),
}
LABELS = ("subject", "batch")
NEVER_NEGATIVE = ("dose", "sd", "successes", "weight")
ABOVE_ZERO = ("n", "se")
BLANK_FIXES = {
    "dose": "give every row its dose, 0 for controls",
    "response": 'fill it in, or drop such rows with missing="drop" (--missing drop)',
}
LARGEST = 1e100


def within_limits(values: dict[str, np.ndarray]) -> np.ndarray:
    """Responses, where blank the middle of their limits, or the limit that is there."""
    response = values["response"]
    limits = [values[role] for role in ("lower", "upper") if role in values]
    finite = np.isfinite(limits)
    there = finite.any(axis=0)
    middle = np.where(finite, limits, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    return np.where(np.isnan(response) & there, middle, response)


def shares(table: Table, values: dict[str, np.ndarray], names: dict[str, str]) -> np.ndarray:
    """Successes per group, checked."""
    successes, n = values["successes"], values["n"]
    checks = [
        ((n != np.round(n)) | (n < 1), "n", "a whole number of at least 1"),
        (successes != np.round(successes), "successes", "a whole number"),
        (successes > n, "successes", "no more than the size of the group"),
    ]
    for bad, role, wanted in checks:
        if bad.any():
            i = int(np.argmax(bad))
            place = f"row {table.rows[i]} of column {quote(names[role])}"
            raise ValueError(f"Expected {wanted} in {place}, got {values[role][i]:g}: correct it.")
    return successes / n


def further_columns(table: Table, columns: Sequence[str]) -> dict[str, str]:
    """Names of further columns, by the word that formulas and results use for them."""
    if isinstance(columns, str):
        raise TypeError(f"Expected a list of column names for columns=, got {quote(columns)}: put it in brackets.")
    found = {}
    for name in columns:
        if name not in table.columns:
            known = list(table.columns)
            raise ValueError(
                f"There is no column {quote(name)} (for columns=) in {table.label}{hint(name, known)}: "
                f"name some of its columns, {listing(known)}."
            )
        word = re.sub(r"\W", "_", str(name).strip())
        if word in ROLES or word in ("observation", "row", "dose_fraction"):
            raise ValueError(
                f"The column {quote(name)} cannot be kept under its name, which has a meaning of its own in a trial: "
                "rename it."
            )
        found[word] = name
    return found


def with_columns(trial: xr.Dataset, table: Table, further: dict[str, str]) -> xr.Dataset:
    """Add columns of groups and covariates; numbers stay numbers, anything else is a label."""
    place = {row: i for i, row in enumerate(table.rows)}
    for word, name in further.items():
        cells = [table.columns[name][place[row]] for row in trial["row"].values.tolist()]
        blank = [i for i, cell in enumerate(cells) if is_blank(cell) or not str(cell).strip()]
        if blank:
            row = trial["row"].values[blank[0]]
            raise ValueError(
                f"Expected a value in row {row} of column {quote(name)}, got an empty cell: fill it in, or leave the "
                "column out of columns=."
            )
        if is_numeric(cells):
            values = np.array([float(str(cell).replace(",", ".")) for cell in cells])
        else:
            values = np.array([label_of(cell) for cell in cells])
        trial[word] = ("observation", values, attrs_of("", name, "Group or covariate of the row."))
    return trial


def label_of(cell: object) -> str:
    """Return a cell as a label."""
    if isinstance(cell, str):
        return cell.strip()
    # A column of whole numbers with a gap arrives from pandas as floats.
    return "" if is_blank(cell) else str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)


def check_cells(role: str, name: str, values: np.ndarray, table: Table, keep: np.ndarray) -> None:
    """Refuse the first cell of a column that cannot be what its role says."""
    if role in LABELS:
        checks = [(values == "", f"a label of the {role}")]
    else:
        # A limit that is blank or infinite means that the response is open on that side.
        closed = role not in ("lower", "upper", "guess")
        checks = [
            (np.isnan(values) & closed, "a number"),
            (np.isinf(values) & closed, "a finite number"),
            (np.isfinite(values) & (np.abs(values) > LARGEST), f"a number of at most {LARGEST:g} in size"),
            ((values < 0) & (role in NEVER_NEGATIVE), "a number of zero or more"),
            ((values <= 0) & (role in ABOVE_ZERO), "a number above zero"),
        ]
    for bad, wanted in checks:
        if (bad & keep).any():
            i = int(np.argmax(bad & keep))
            cell = table.columns[name][i]
            got, fix = quote(cell), "correct it"
            if is_blank(cell) or not str(cell).strip():
                got, fix = "an empty cell", BLANK_FIXES.get(role, "fill it in")
            raise ValueError(f"Expected {wanted} in row {table.rows[i]} of column {quote(name)}, got {got}: {fix}.")


def attrs_of(unit: str | None, name: str, definition: str) -> dict[str, str]:
    """Return the attrs of a column."""
    return {"units": unit or "", "long_name": name, "definition": definition}
