"""How to repeat a fit: the Python lines and the command that give the same numbers."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.curves import CURVE_SETS
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.courses import find_drifts
from hormesis_fit.phrases import printable
from hormesis_fit.trials.columns import ROLES
from hormesis_fit.windows.harms import endpoints_of, harms_record
from hormesis_fit.windows.history import history_of, history_table
from hormesis_fit.windows.posterior import members, trial_of
from hormesis_fit.windows.request import asked_of, harms_of, when_of

USUAL = {"family": "gaussian", "prior_hormesis": 0.5, "draws": 1000, "chains": 4}
DERIVED = ("dose_fraction", "true_mean")  # columns that no table holds
ASKED = ("benefit", "benefit_scale", "level")
MOST_DOSES = 24  # that a recipe writes out


def python_lines(fit: xr.DataTree, window: xr.Dataset, *, show_subjects: bool = False) -> str:
    """Return the Python lines that repeat a fit and its window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    window : Dataset
        Its window.
    show_subjects : bool
        Whether the label of the subject whose window it is may be written.

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
    fitting |= _hierarchy(fit)
    sides = endpoints_of(fit)
    given = {name: trial_of(fit[f"endpoints/{name}"]) for name in sides}
    fitting["random_seed"] = int(fit.attrs["seed"])
    ends = f", endpoints={{{', '.join(f'{name!r}: {name}' for name in sides)}}}" if sides else ""
    asked, whose = _question(window) | _when(window), _whose(window, show_subjects)
    lines = [
        "import hormesis_fit as hf",
        "",
        f"trial = hf.read_trial({_table(trial)!r}, {_call(_reading(trial))})",
        *(f"{name} = {_endpoint(fit[f'endpoints/{name}'], side)}" for name, side in given.items()),
        f"fit = hf.fit(trial, {_call(fitting)}{_moving(fit)}{ends})",
        f'fit["window"] = hf.window(fit, {_call(asked)}{_before(window)}{whose}{_harms(window)})',
    ]
    return "\n".join(lines)


def _hierarchy(fit: xr.DataTree) -> dict[str, Any]:
    """What varies, where it is not the default, and what follows covariates."""
    vary, covariates = (json.loads(fit.attrs.get(name, "{}")) for name in ("vary", "covariates"))
    usual = {"control": "subject"} if "subject" in trial_of(fit) else {}
    return ({"vary": vary} if vary != usual else {}) | ({"covariates": covariates} if covariates else {})


def _moving(fit: xr.DataTree) -> str:
    """The arguments of what moves in time; dots stand for tables that a fit does not know the names of."""
    found = {one["target"]: _term(one) for one in _drifts(fit)}
    words = ""
    if found:
        alone = next(iter(found.values())) if len(found) == 1 and not _aimed(_drifts(fit)[0]) else ""
        words = f", drift={alone or '{' + ', '.join(f'{key!r}: {one}' for key, one in found.items()) + '}'}"
    if not has_regimen(fit):
        return words
    known = fit["regimen"].attrs
    chosen = json.loads(known["options"]) | json.loads(known["fixed"])
    kinetics = f", kinetics=hf.{known['kinetics']}({_call(chosen)})" if known["kinetics"] else ""
    return f"{words}, regimen=...{kinetics}"


def has_regimen(fit: xr.DataTree) -> bool:
    """Return whether doses were given in time: a mechanism alone holds each row's dose from time 0 on.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    """
    if "regimen" not in fit:
        return False
    record = fit["regimen"]
    return bool(record.attrs["kinetics"]) or bool((record["time"] + record.attrs.get("start", 0.0) != 0).any())


def _drifts(fit: xr.DataTree) -> list[dict[str, Any]]:
    """Records of what drifts in a fit."""
    attrs = members(fit)[0].draws.attrs
    mechanism = json.loads(attrs.get("mechanism", "{}"))
    return [*json.loads(attrs.get("drifts", "[]")), *([mechanism] if mechanism else [])]


def _aimed(drift: Mapping[str, Any]) -> bool:
    """Whether a drift changes something else than it does by itself."""
    return [drift["target"]] != list(find_drifts(drift["drift"]))


def _term(drift: Mapping[str, Any]) -> str:
    """The Python expression of a drift: its name, or where it is not as usual its options and fixed numbers."""
    usual = DRIFTS[drift["drift"]]().structure()
    chosen = {name: value for name, value in drift["options"].items() if usual.get(name) != value}
    chosen |= drift.get("fixed", {})
    return f"hf.DRIFTS[{drift['drift']!r}]({_call(chosen)})" if chosen else repr(drift["drift"])


def _endpoint(fit: xr.DataTree, trial: xr.Dataset) -> str:
    """The Python expression of a side effect."""
    shared = json.loads(fit.attrs.get("shared", "[]"))
    curves = str(fit.attrs["curves"]) if shared else _curves(fit)  # its evidence is that of the benefit's curves
    chosen = {"curve": curves} if curves else {}
    chosen |= {"shared": shared} if shared else {}
    chosen |= {} if fit.attrs["family"] == USUAL["family"] else {"family": str(fit.attrs["family"])}
    chosen |= _hierarchy(fit)
    read = f"hf.read_trial({_table(trial)!r}, {_call(_reading(trial))})"
    return f"hf.Endpoint(trial={read}{', ' if chosen else ''}{_call(chosen)})"


def _whose(window: xr.Dataset, show_subjects: bool) -> str:
    asked = asked_of(window)
    if asked.subject:
        return f", subject={asked.subject if show_subjects else '...'!r}"
    return "" if asked.estimand == "typical" else f", estimand={asked.estimand!r}"


def _when(window: xr.Dataset) -> dict[str, float]:
    """Time and interval of a window."""
    return {name: value for name, value in when_of(window).items() if name != "history"}


def _before(window: xr.Dataset) -> str:
    """The doses before time 0; dots stand for many."""
    history = history_of(window)
    if history is None:
        return ""
    return f", history={history_table(history)!r}" if history.sizes["event"] <= MOST_DOSES else ", history=..."


def _harms(window: xr.Dataset) -> str:
    harms = harms_of(window)
    if not window.attrs.get("harms"):
        return ""
    if harms is None:
        return ", harm=..."
    each = [json.loads(harms_record([one]))[0] for one in harms]
    return f", harm=[{', '.join(f'hf.Harm({_call(one)})' for one in each)}]"


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
    reading = _reading(trial)
    columns = reading.pop("columns", [])
    options = reading | family | _question(window) | {"seed": int(fit.attrs["seed"])}
    words = ["hormesis-fit", "fit", _table(trial)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    for name in columns:
        words += ["--column", name]
    words += _people_words(fit, window)
    for one in _drifts(fit):
        words += ["--drift", f"{one['target']}={one['drift']}" if _aimed(one) else one["drift"]]
    if has_regimen(fit):
        words += ["--regimen", "..."] + (["--kinetics", "..."] if fit["regimen"].attrs["kinetics"] else [])
    for name, value in _when(window).items():
        words += [f"--{'time-grid' if name == 'time' else name}", f"{value:g}"]
    words += ["--history", "..."] if window.attrs.get("history") else []
    curves = _curves(fit)
    for label in [curves] if isinstance(curves, str) and curves else curves:
        words += ["--curve", label]
    return shlex.join(words)


def _people_words(fit: xr.DataTree, window: xr.Dataset) -> list[str]:
    """Options for what varies, whose window it is, and what a dose must not do."""
    words, asked = [], _hierarchy(fit)
    for parameter, groups in asked.get("vary", {}).items():
        for group in [groups] if isinstance(groups, str) else groups:
            words += ["--vary", f"{parameter}={group}"]
    if asked.get("vary") == {}:
        words += ["--vary", "none"]
    for parameter, formula in asked.get("covariates", {}).items():
        words += ["--covariates", f"{parameter} ~ {formula}"]
    whose = asked_of(window)
    if whose.estimand != "typical":
        words += ["--estimand", whose.estimand]
    for one in harms_of(window) or ():
        if one.kind == "endpoint":
            side = fit[f"endpoints/{one.endpoint}"]
            words += ["--side-effect", _name(trial_of(side), "response"), "--side-effect-limit", f"{one.limit:g}"]
            words += ["--side-effect-family", str(side.attrs["family"])]
        else:
            inside = f"({', '.join(f'{part:g}' for part in one.hill)})" if one.kind == "occupancy" else ""
            words += ["--harm", f"{one.kind}{inside}<={one.limit:g}"]
    return words


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
    rows = [str(name) for name, one in trial.data_vars.items() if one.dims == ("observation",)]
    roles = [role for role in ROLES if role in rows and not (role == "response" and "successes" in rows)]
    names = {role: _name(trial, role) for role in roles}
    columns = [_name(trial, name) for name in rows if name not in ROLES and name not in DERIVED]
    units = {
        f"{role}_unit": printable(trial[role].attrs.get("units", ""))
        for role in ("dose", "response", "time")
        if role in trial
    }
    known = {name: float(trial.attrs[name]) for name in ("standard_dose", "control") if name in trial.attrs}
    kinds = {name: str(trial.attrs[name]) for name in ("direction", "scale")}
    dropped = {"missing": "drop"} if "missing" in trial.attrs else {}
    further = {"columns": columns} if columns else {}
    return names | {name: unit for name, unit in units.items() if unit} | kinds | known | dropped | further


def _name(trial: xr.Dataset, role: str) -> str:
    return printable(trial[role].attrs.get("long_name") or role)


def _question(window: xr.Dataset) -> dict[str, Any]:
    asked = {name: window.attrs[name] for name in ASKED}
    return {name: str(value) if isinstance(value, str) else float(value) for name, value in asked.items()}


def _call(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _table(trial: xr.Dataset) -> str:
    name = printable(trial.attrs.get("name", "trial"))
    return name if Path(name).suffix else f"{name}.csv"
