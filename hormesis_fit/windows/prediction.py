"""What a fit predicts: the mean response of the people asked for, and the rows of its trial."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from hormesis_fit.drift.histories import RegimenLike
from hormesis_fit.families import FAMILIES, Family, middle
from hormesis_fit.model.hierarchy import WITHIN, design_of, displaced, group_labels, shifts_of
from hormesis_fit.windows.estimands import PERSON, asked_for, effects_in
from hormesis_fit.windows.posterior import (
    Member,
    carrying,
    described,
    dose_grid,
    given_doses,
    labels_of,
    members,
    mixture,
    trial_of,
)
from hormesis_fit.windows.timecourse import moment_of, rows_met, someone

CHUNK = 250  # draws of a population at a time: each of them is many people at many doses
EDGE = 1e-12


def predict(
    fit: xr.DataTree,
    *,
    doses: Sequence[float] | None = None,
    estimand: str = "typical",
    subject: str | None = None,
    time: float | None = None,
    interval: float | None = None,
    history: RegimenLike | None = None,
) -> xr.DataArray:
    """Return posterior draws of the mean response over dose.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; for an average the draws are those of `window`.
    doses : sequence of float, optional
        Doses >= 0 [dose]; by default a grid over the tested range and beyond.
    estimand : {"typical", "population", "new"}
        Whose mean, where people differ: the typical subject's, that of the population, that of a new subject.
    subject : str, optional
        Label of a subject of the trial, whose own mean is wanted.
    time : float, optional
        When, where sensitivity drifts [time]; by default at the last visit.
    interval : float, optional
        Time between doses [time], as in `window`.
    history : Regimen, Dataset, path or table, optional
        Doses that one person had before time 0, as in `window`; at dose 0 the mean is that of somebody who has stopped.

    Returns
    -------
    DataArray
        Mean response, dims (chain, draw, dose) [response].

    Raises
    ------
    ValueError
        If a dose is no number of at least 0, estimand or subject unknown, or if nothing remembers the history.
    """
    if estimand == "coverage":
        raise ValueError('A share of the population has no mean response: use estimand="population" or "new".')
    group, trial, moment = carrying(fit), trial_of(fit), moment_of(fit, time, interval, history)
    asked, seed = asked_for(fit, estimand, subject), int(fit.attrs["seed"])
    grid = dose_grid(fit) if doses is None else given_doses(doses, trial)
    which, picks = mixture(group, seed)
    chains, draws = group[0].shape
    values = np.empty((len(which), grid.size))
    for k, member in enumerate(group):
        rows = np.flatnonzero(which == k)
        whose = someone(member, asked, trial, seed, moment) if rows.size else member
        for start in range(0, rows.size, CHUNK):
            chunk = rows[start : start + CHUNK]
            values[chunk] = whose.take(picks[chunk]).mean(grid.values[None, :])
    return xr.DataArray(
        values.reshape(chains, draws, -1),
        dims=("chain", "draw", "dose"),
        coords=labels_of(fit) | {"dose": grid},
        name="mean_response",
        attrs=described("response", trial, "Mean response at a dose.") | {"long_name": "mean response"},
    )


def subjects_in(fit: xr.DataTree) -> list[str]:
    """Return the labels of the subjects between whom parameters of a fit differ."""
    known = effects_in(members(fit)[0])
    return next((list(one.labels) for one in known if one.group.split(WITHIN)[-1] == PERSON), [])


def outcome_of(fit: xr.DataTree) -> xr.Dataset:
    """Return the trial with its responses, and their name, on the scale of the curve, dims (observation,).

    The curve of ordered categories is the probability to reach one of them, that of successes their share.
    """
    trial, family = trial_of(fit), FAMILIES[str(fit.attrs["family"])]
    response = trial["response"]
    if not (family.ordered or family.counts_successes):
        share = {"share": 1} if family.link == "logit" else {}
        return trial.assign(response=response.assign_attrs(share))
    name = response.attrs.get("long_name") or "response"
    if family.ordered:
        reached = middle(response.values)
        values, words = (response.values >= reached).astype(float), f"probability of {name} {reached} or more"
    else:
        values, words = response.values, f"{'share' if 'successes' in trial else 'probability'} of {name}"
    return trial.assign(
        response=("observation", values, response.attrs | {"long_name": words, "units": "", "share": 1})
    )


def has_spread(member: Member) -> bool:
    """Whether the scatter of single responses was estimated: known standard errors leave none to estimate."""
    return set(FAMILIES[str(member.draws.attrs.get("family", "gaussian"))].parameters) <= set(member.draws.data_vars)


def rows_of(member: Member, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the parameters as they are at each row of a trial, of its own groups and with its covariates.

    Parameters
    ----------
    member : Member
        One curve of a fit.
    trial : Dataset
        dims (observation,).

    Returns
    -------
    dict
        By parameter, shape (sample, observation), or (sample, 1) where all rows have the same.
    """
    draws, effects = member.draws, effects_in(member)
    flat = {str(name): one.values[:, None] for name, one in draws.data_vars.items() if one.dims == ("sample",)}
    offsets = {}
    for one in effects:
        place = {label: i for i, label in enumerate(one.labels)}
        at = [place[label] for label in group_labels(trial, one.group).tolist()]
        offsets[one] = draws[one.offset].transpose("sample", one.group).values[:, at]
    shifts = shifts_of(effects, offsets, flat, flat)
    for parameter, formula, space in json.loads(draws.attrs.get("slopes", "[]")):
        slope = draws[f"{parameter}_slope"].transpose("sample", ...).values
        former = shifts.get(parameter, (space, 0.0))[1]
        shifts[parameter] = space, former + slope @ design_of(trial, formula)[1].T
    values = flat | member.arrays()
    return values | {name: displaced(values[name], shift, space) for name, (space, shift) in shifts.items()}


def replicates(fit: xr.DataTree) -> xr.DataArray:
    """Draw trials that the fitted model predicts, at the doses and in the groups of the real one.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; of an average the draws are those of its window.

    Returns
    -------
    DataArray
        Responses, dims (chain, draw, observation) [response]: means where the rows are summaries, and the same stand-in
        as in the trial where a row is known within limits only.
    """
    trial, group = trial_of(fit), carrying(fit)
    seed = int(fit.attrs["seed"])
    family = FAMILIES[str(fit.attrs["family"])].settled(trial["response"].values)
    rng = np.random.default_rng([seed, 3])
    which, picks = mixture(group, seed)
    dose = trial["dose"].values
    values = np.empty((len(which), len(dose)))
    for k, member in enumerate(group):
        rows = np.flatnonzero(which == k)
        if rows.size:
            part = member.take(picks[rows])
            known = rows_of(part, trial)
            curve = part.curve.with_values({name: known[name] for name in part.arrays()})
            with np.errstate(over="ignore"):
                exposure, drifts = rows_met(fit, part, trial)
                unit = float(part.draws.attrs.get("baseline_unit", 1.0))
                mean = curve.drifted(exposure, **drifts, unit=unit) if drifts else curve(exposure)
                mean = np.broadcast_to(mean, (rows.size, len(dose)))
            given = {name: known[name] for name in family.parameters if name in known}
            given["control"] = known.get("control", curve.control)
            values[rows] = _limited(_drawn(rng, family, mean, given, trial), trial)
    chains, draws = group[0].shape
    coords = {"chain": np.arange(chains), "draw": np.arange(draws), "observation": trial["observation"].values}
    shaped = values.reshape(chains, draws, len(dose))
    return xr.DataArray(shaped, dims=("chain", "draw", "observation"), coords=coords, name="response")


def _drawn(rng: np.random.Generator, family: Family, mean: np.ndarray, given: dict, trial: xr.Dataset) -> np.ndarray:
    """Responses of rows with these means, shape (sample, observation)."""
    if family.link == "logit":
        mean = np.clip(mean, EDGE, 1 - EDGE)
    if family.counts_successes:
        n = trial["n"].values.astype(int) if "n" in trial else np.ones(mean.shape[1], dtype=int)
        return family.sample(rng, mean, n=n, **given)
    if "se" in trial and "sd" not in trial:
        spread = np.broadcast_to(trial["se"].values, mean.shape)
    elif "n" in trial:
        spread = np.broadcast_to(family.spread(mean=mean, **given), mean.shape) / np.sqrt(trial["n"].values)
    else:
        return family.sample(rng, mean, **given)
    if family.link != "log":
        return rng.normal(mean, spread)
    variance = np.log1p((spread / mean) ** 2)  # a mean of log-normal responses, by matched moments
    return rng.lognormal(np.log(mean) - variance / 2, np.sqrt(variance))


def _limited(values: np.ndarray, trial: xr.Dataset) -> np.ndarray:
    """Predicted responses as they would have been recorded at rows with limits."""
    if not {"lower", "upper"} & set(trial.data_vars):
        return values
    size = trial.sizes["observation"]
    low = np.nan_to_num(trial["lower"].values, nan=-np.inf) if "lower" in trial else np.full(size, -np.inf)
    high = np.nan_to_num(trial["upper"].values, nan=np.inf) if "upper" in trial else np.full(size, np.inf)
    under, over = np.isinf(low) & np.isfinite(high), np.isfinite(low) & np.isinf(high)
    # One detection limit of the whole trial would have hidden responses of the other rows, too.
    rest = np.isinf(low) & np.isinf(high)
    floor, ceiling = _common(high[under], -np.inf), _common(low[over], np.inf)
    values = np.where(rest, np.clip(values, floor, ceiling), values)
    inside = ~rest & (low != high) & (values >= low) & (values <= high)
    return np.where(inside, trial["response"].values, values)


def _common(limits: np.ndarray, otherwise: float) -> float:
    return float(limits[0]) if limits.size and np.ptp(limits) == 0 else otherwise
