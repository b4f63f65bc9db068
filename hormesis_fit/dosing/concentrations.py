"""Concentrations that were measured: from a table in the usual form, to be fitted together with the responses."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.dosing.regimen import EVERYONE, named_columns, subject_labels
from hormesis_fit.parameter import Parameter, Prior
from hormesis_fit.trials.tables import parse_numbers, read_table
from hormesis_fit.wording import listing, quote

COLUMNS = ("id", "time", "dv", "evid", "amt", "dose")
SCALE, ERROR = "concentration_scale", "concentration_sd"
SCALE_SD = 2.0  # of the log: a volume of distribution is known to within a factor of fifty from the doses alone
DECLARED = {
    SCALE: Parameter("s", "1", "concentration that one unit of exposure gives, one over the volume", {}),
    ERROR: Parameter(r"\sigma_C", "1", "SD of the logarithms of concentrations around the predicted ones", {}),
}


def read_concentrations(source: Any, *, sheet: str | None = None) -> xr.Dataset:
    """Read measured concentrations from a table in the usual form.

    Parameters
    ----------
    source : str, path-like, pandas.DataFrame or dict of columns
        CSV, TSV or Excel file, or a table in memory, with columns TIME and DV (the concentration), in any case, and ID
        where doses belong to subjects, or DOSE where they belong to dose groups. Rows of doses (EVID other than 0, or
        an amount in AMT) and rows without a concentration are left out, so that one table may serve for doses, too.
    sheet : str, optional
        Sheet of an Excel file; the first one by default.

    Returns
    -------
    xarray.Dataset
        Variables ``subject``, ``time`` [time], ``dose`` [dose] (NaN without the column) and ``concentration``
        [concentration], dims (sample). The coordinate ``row`` is the row in the source.

    Raises
    ------
    ValueError
        When the table has no concentrations; the message names column, row and value.

    Examples
    --------
    >>> found = read_concentrations({"ID": ["a", "a"], "TIME": [1.0, 4.0], "DV": [8.1, 2.2]})
    >>> found["concentration"].values.tolist()
    [8.1, 2.2]
    """
    table = read_table(source, sheet=sheet)
    names = named_columns(table, COLUMNS, ("time", "dv"), "concentrations")
    numbers, _ = parse_numbers(table, {role: name for role, name in names.items() if role != "id"})
    size = len(table.rows)
    dosed = np.nan_to_num(numbers.get("evid", np.zeros(size))) != 0
    dosed |= np.nan_to_num(numbers.get("amt", np.zeros(size))) != 0
    kept = np.flatnonzero(~dosed & ~np.isnan(numbers["dv"]))
    if not kept.size:
        raise ValueError(f"Found no concentration in {table.label}: give it in the column DV, in rows without a dose.")
    for place in kept:
        _check(numbers["time"][place], numbers["dv"][place], names, table.rows[place])
    labels = subject_labels(table, names.get("id"))
    columns = {
        "subject": labels[kept],
        "time": numbers["time"][kept],
        "dose": numbers.get("dose", np.full(size, np.nan))[kept],
        "concentration": numbers["dv"][kept],
    }
    return xr.Dataset(
        {name: ("sample", values) for name, values in columns.items()},
        {"row": ("sample", np.array(table.rows)[kept])},
    )


def _check(time: float, concentration: float, names: dict[str, str], row: int) -> None:
    if not np.isfinite(time):
        raise ValueError(f"Expected a time in row {row} of column {quote(names['time'])}, got {time:g}: fill it in.")
    if not np.isfinite(concentration) or concentration <= 0:
        raise ValueError(
            f"Expected a concentration above zero in row {row} of column {quote(names['dv'])}, got {concentration:g}: "
            "leave out rows before the first dose and below the limit of the assay."
        )


def owners_of(found: xr.Dataset, labels: tuple[str, ...], histories: dict[str, set[str]]) -> np.ndarray:
    """Return the dosing history that every concentration belongs to, shape (sample,).

    Parameters
    ----------
    found : Dataset
        As `read_concentrations` returns it.
    labels : tuple of str
        Names of the histories.
    histories : dict
        Names of the histories of each subject of the trial.
    """
    named = {float(label.split()[-1]): label for label in labels if label.startswith("dose ")}
    owners = []
    for subject, dose, row in zip(found["subject"].values, found["dose"].values, found["row"].values, strict=True):
        own = histories.get(str(subject), set()) if subject != EVERYONE else set()
        if str(subject) in labels:
            owners.append(str(subject))
        elif len(own) == 1:
            owners.append(next(iter(own)))
        elif dose in named:
            owners.append(named[dose])
        elif len(labels) == 1:
            owners.append(labels[0])
        else:
            raise ValueError(
                f"The concentration in row {row} belongs to none of the dosing histories {listing(labels)}: name its "
                "subject in the column ID, or its dose in DOSE."
            )
    return np.array(owners, dtype=object)


def concentration_priors(ratios: np.ndarray) -> dict[str, Prior]:
    """Return the priors of what turns exposures into concentrations, and of the error.

    Parameters
    ----------
    ratios : ndarray
        Concentrations over the exposures that typical kinetics give, shape (sample,).
    """
    centre = float(np.median(np.log(ratios)))
    return {SCALE: Prior("LogNormal", mu=centre, sigma=SCALE_SD), ERROR: Prior("HalfNormal", sigma=0.5)}
