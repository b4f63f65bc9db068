"""How to repeat a fit: the Python lines and the command that give the same numbers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.curves import CURVE_SETS
from hormesis_fit.phrases import printable
from hormesis_fit.posterior import members, trial_of

USUAL = {"family": "gaussian", "prior_hormesis": 0.5, "draws": 1000, "chains": 4}
ASKED = ("benefit", "benefit_scale", "level")


def python_lines(fit: xr.DataTree, window: xr.Dataset) -> str:
    """Return the Python lines that repeat a fit and its window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    window : Dataset
        Its window.

    Returns
    -------
    str
        Lines without a line break at the end.
    """
    trial = trial_of(fit)
    chains, draws = members(fit)[0].shape
    before = float(fit["evidence"].attrs["prior_hormesis"])
    chosen = {"family": str(fit.attrs["family"]), "prior_hormesis": before, "draws": draws, "chains": chains}
    curves = _curves(fit)
    fitting: dict[str, Any] = {}
    if curves:
        fitting["curve"] = curves if "models" in fit else curves[0]  # the list or the set, or the one curve
    fitting |= {name: value for name, value in chosen.items() if value != USUAL[name]}
    fitting["random_seed"] = int(fit.attrs["seed"])
    lines = [
        "import hormesis_fit as hf",
        "",
        f"trial = hf.read_trial({_table(trial)!r}, {_call(_reading(trial))})",
        f"fit = hf.fit(trial, {_call(fitting)})",
        f'fit["window"] = hf.window(fit, {_call(_question(window))})',
    ]
    return "\n".join(lines)


def command_line(fit: xr.DataTree, window: xr.Dataset) -> str:
    """Return the command that repeats a fit and its window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    window : Dataset
        Its window.

    Returns
    -------
    str
        One line for a shell.
    """
    trial = trial_of(fit)
    family = {} if fit.attrs["family"] == USUAL["family"] else {"family": fit.attrs["family"]}
    options = _reading(trial) | family | _question(window) | {"seed": int(fit.attrs["seed"])}
    words = ["hormesis-fit", "fit", _table(trial)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    curves = _curves(fit)
    for label in [curves] if isinstance(curves, str) and curves else curves:
        words += ["--curve", label]
    return shlex.join(words)


def comparison_lines(fit: xr.DataTree) -> str:
    """Return the Python lines that fit the heaviest curve by maximum likelihood.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.

    Returns
    -------
    str
        Lines without a line break at the end; `trial` is that of `python_lines`.
    """
    weights = fit["evidence"]["weight"]
    heaviest = str(weights["model"].values[int(np.nanargmax(weights.values))])
    return f'best = hf.fit(trial, curve={heaviest!r}, engine="optimum")\nprint(best["optimum"].to_dataframe())'


def _curves(fit: xr.DataTree) -> list[str] | str:
    """Curves of the fit, or the name of their set, nothing where it is the default one."""
    curves = [str(label) for label in fit["evidence"]["model"].values]
    name = next((name for name, members in CURVE_SETS.items() if curves == list(members)), None)
    return curves if name is None else "" if name == "average" else name


def _reading(trial: xr.Dataset) -> dict[str, Any]:
    """Arguments with which the trial was read, by Python's names."""
    names = {role: printable(trial[role].attrs.get("long_name") or role) for role in ("dose", "response")}
    units = {f"{role}_unit": printable(trial[role].attrs.get("units", "")) for role in ("dose", "response")}
    known = {name: float(trial.attrs[name]) for name in ("standard_dose", "control") if name in trial.attrs}
    kinds = {name: str(trial.attrs[name]) for name in ("direction", "scale")}
    dropped = {"missing": "drop"} if "missing" in trial.attrs else {}
    return names | {name: unit for name, unit in units.items() if unit} | kinds | known | dropped


def _question(window: xr.Dataset) -> dict[str, Any]:
    asked = {name: window.attrs[name] for name in ASKED}
    return {name: str(value) if isinstance(value, str) else float(value) for name, value in asked.items()}


def _call(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _table(trial: xr.Dataset) -> str:
    name = printable(trial.attrs.get("name", "trial"))
    return name if Path(name).suffix else f"{name}.csv"
