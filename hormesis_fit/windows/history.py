"""Doses that somebody had before the new ones: read, checked, and written down with a window."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from hormesis_fit.dosing.regimen import Regimen, read_regimen
from hormesis_fit.drift.histories import EVENTS, RegimenLike
from hormesis_fit.wording import listing

COLUMNS = {"time": "TIME", "amount": "AMT", "rate": "RATE", "interval": "II", "steady": "SS"}
MOST = 10_000  # doses


def read_history(history: RegimenLike) -> xr.Dataset:
    """Return the doses that one person had before time 0, ascending, or say in one sentence why they are none.

    Parameters
    ----------
    history : Regimen, Dataset, path or table
        Equal doses, dose events as `read_regimen` returns them, or a table of those.

    Returns
    -------
    Dataset
        ``time`` [time], ``amount`` [dose], ``rate`` [dose / time], ``interval`` [time] and ``steady`` (0 or 1), dims
        (event,).
    """
    events = _events(history)
    columns = {name: np.asarray(events[name].values, dtype=float) for name in COLUMNS}
    if not 0 < columns["time"].size <= MOST:
        raise ValueError(
            f"Expected from 1 to {MOST} doses in history=, got {columns['time'].size}: give those that still matter."
        )
    labels = list(dict.fromkeys(events["subject"].values.astype(str).tolist()))
    if len(labels) > 1:
        raise ValueError(f"Expected the doses of one person in history=, got those of {listing(labels)}: give one's.")
    for name, values in columns.items():
        wrong = values[~np.isfinite(values) | ((values < 0) & (name != "time"))]
        if wrong.size:
            wanted = "finite times" if name == "time" else f"finite numbers of 0 or more as {name}"
            raise ValueError(f"Expected {wanted} of the doses in history=, got {wrong[0]:g}: correct it.")
    if columns["time"].max() >= 0:
        raise ValueError(
            f"Expected doses before time 0 in history=, since the new doses begin there, got one at time "
            f"{columns['time'].max():g}: count the times from the first new dose, so that those before are negative."
        )
    order = np.argsort(columns["time"], kind="stable")
    return xr.Dataset({name: ("event", values[order]) for name, values in columns.items()})


def _events(history: RegimenLike) -> xr.Dataset:
    if isinstance(history, Regimen):
        if history.dose is None:
            raise ValueError("Expected a dose for the regimen in history=, got none: give it dose=.")
        return history.events()
    if isinstance(history, xr.Dataset):
        lacking = [name for name in EVENTS if name not in history]
        if lacking and lacking != ["subject"]:
            raise ValueError(
                f"Expected dose events in history=, got a Dataset without {listing(lacking)}: give what read_regimen() "
                "returns."
            )
        return history.assign(subject=("event", np.full(history.sizes["event"], ""))) if lacking else history
    if isinstance(history, Mapping) and any(isinstance(one, Regimen) for one in history.values()):
        raise ValueError(
            f"Expected the doses of one person in history=, got a regimen of each of {listing(history)}: give one's."
        )
    return read_regimen(history)


def history_record(history: xr.Dataset) -> str:
    """Return doses as JSON, without the label of who had them.

    Parameters
    ----------
    history : Dataset
        As `read_history` returns it.
    """
    return json.dumps({name: history[name].values.tolist() for name in COLUMNS})


def history_of(window: xr.Dataset) -> xr.Dataset | None:
    """Return the doses before time 0 that a window was asked with, None where there were none.

    Parameters
    ----------
    window : Dataset
        As `hormesis_fit.window` returns it.
    """
    if not window.attrs.get("history"):
        return None
    written = json.loads(str(window.attrs["history"]))
    return xr.Dataset({name: ("event", np.array(values, dtype=float)) for name, values in written.items()})


def history_table(history: xr.Dataset) -> dict[str, list[float]]:
    """Return doses as the columns of a table that `read_history` reads; those of zeros are left out.

    Parameters
    ----------
    history : Dataset
        As `read_history` returns it.
    """
    found = {column: history[name].values.tolist() for name, column in COLUMNS.items()}
    table = {column: values for column, values in found.items() if column in ("TIME", "AMT") or any(values)}
    return table if all(found["AMT"]) else table | {"EVID": [1] * len(found["AMT"])}
