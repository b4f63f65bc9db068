"""Tables that come with the package, each with its source, units and licence in `data/README.md`."""

import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from hormesis_fit.trials.reading import read_trial
from hormesis_fit.wording import quote, unknown

ARGUMENTS = ("dose", "response", "dose_unit", "response_unit", "direction")


def list_datasets() -> pd.DataFrame:
    """List the tables that come with the package.

    Returns
    -------
    pandas.DataFrame
        One row for each table: name, rows, title, dose_unit, response_unit, source, licence.

    Raises
    ------
    FileNotFoundError
        When the package was installed without its tables.

    Examples
    --------
    >>> tables = list_datasets()
    >>> tables.loc[tables["name"] == "lettuce", ["rows", "dose_unit", "response_unit"]].values.tolist()
    [[14, 'mg/L', 'g']]
    """
    folder, index = table_index()
    columns = ["name", "rows", "title", "dose_unit", "response_unit", "source", "licence"]
    records = [
        about | {"name": name, "rows": _count_rows(folder / about["file"]), "source": _citation(about)}
        for name, about in index.items()
    ]
    return pd.DataFrame(records)[columns]


def load_dataset(name: str, **arguments: Any) -> xr.Dataset:
    """Load a table that comes with the package as a trial.

    Parameters
    ----------
    name : str
        Name, as `list_datasets` gives it.
    **arguments
        Arguments of `read_trial` that replace or complete those of the table.

    Returns
    -------
    xarray.Dataset
        A trial as from `read_trial`, dims (observation), with doses [dose] and responses [response], and with the attrs
        ``title``, ``source`` and ``licence`` besides.

    Raises
    ------
    FileNotFoundError
        When the package was installed without its tables.
    TypeError
        When `name` is no text, or an argument is none of `read_trial`.
    ValueError
        When there is no such table, or an argument is wrong.

    Examples
    --------
    >>> trial = load_dataset("lettuce", standard_dose=100.0)
    >>> trial["dose"].attrs["units"], trial["response"].values[:3].tolist()
    ('mg/L', [1.126, 0.833, 1.096])
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected the name of a dataset as text, got {quote(name)}: see list_datasets().")
    folder, index = table_index()
    if name not in index:
        raise ValueError(unknown("dataset", name, index))
    about = index[name]
    trial = read_trial(folder / about["file"], **({key: about[key] for key in ARGUMENTS} | arguments))
    provenance = {key: about[key] for key in ("title", "licence")}
    return trial.assign_attrs(provenance, name=name, source=_citation(about))


def table_index() -> tuple[Path, dict[str, dict[str, str]]]:
    """Find the folder of the tables, in an installed package or in a checkout, and read its index."""
    package = Path(__file__).parent.parent
    for folder in (package / "_data", package.parent / "data"):
        if (folder / "index.toml").is_file():
            return folder, tomllib.loads((folder / "index.toml").read_text(encoding="utf-8"))
    raise FileNotFoundError("The tables of hormesis_fit were not installed with it: install the package again.")


def _citation(about: dict[str, str]) -> str:
    return f"{about['source']}. https://doi.org/{about['doi']}" if about["doi"] else f"{about['source']}."


def _count_rows(path: Path) -> int:
    with path.open(encoding="utf-8") as lines:
        return sum(1 for line in lines if line.strip()) - 1
