"""How the rows of a trial were observed: whole responses, limits, summaries and weights, as one PyMC variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr

from hormesis_fit.families import FAMILIES, SUPPORTS, Family, categories
from hormesis_fit.wording import listing, quote

COLUMNS = ("n", "sd", "se", "lower", "upper", "weight")
EDGE = 1e-12


def columns_of(trial: xr.Dataset) -> tuple[str, ...]:
    """Return the columns of a trial that say how its responses were observed."""
    return tuple(name for name in COLUMNS if name in trial)


def check_observations(trial: xr.Dataset, family: str) -> None:
    """Refuse a family that the responses of a trial cannot have, in one sentence."""
    known = FAMILIES[family]
    response, name = trial["response"].values, quote(trial["response"].attrs.get("long_name", "response"))
    words, allowed = SUPPORTS[known.support]
    bad = ~allowed(response)
    if bad.any():
        i = int(np.argmax(bad))
        place = f"row {trial['row'].values[i]}" if "row" in trial.coords else f"row {i}"
        raise ValueError(
            f"The family {quote(family)} needs {words}, but {place} of the column {name} holds {response[i]:g}: "
            f"choose another family ({listing(_possible(response))})."
        )
    if known.ordered and not 2 <= len(categories(response)) <= 12:
        raise ValueError(
            f"The family {quote(family)} needs 2 to 12 ordered categories, but the column {name} holds "
            f"{len(categories(response))}: choose another family."
        )
    if known.counts_successes and "n" not in trial and not np.all((response == 0) | (response == 1)):
        raise ValueError(
            f"The family {quote(family)} needs the sizes of the groups, but no column was read as n=: "
            "read the table with successes= and n=."
        )
    _check_columns(trial, family, known)


def _possible(response: np.ndarray) -> list[str]:
    return [name for name, one in FAMILIES.items() if SUPPORTS[one.support][1](response).all() and not one.ordered]


def _check_columns(trial: xr.Dataset, name: str, known: Family) -> None:
    there = columns_of(trial)
    limits, summaries = {"lower", "upper"} & set(there), {"sd", "se"} & set(there)
    able = {"censored": [n for n, f in FAMILIES.items() if f.censored]}
    able["summarised"] = [n for n, f in FAMILIES.items() if f.summarised]
    if limits and not known.censored:
        raise ValueError(
            f"The family {quote(name)} cannot use limits, but a column was read as {min(limits)}=: "
            f"use one of {listing(able['censored'])}, or leave the limits out."
        )
    if summaries and not known.summarised:
        raise ValueError(
            f"The family {quote(name)} cannot use summary rows, but a column was read as {min(summaries)}=: "
            f"use one of {listing(able['summarised'])}."
        )
    able["known"] = [n for n, f in FAMILIES.items() if f.summarised and set(f.parameters) == {"sigma"}]
    if "se" in there and "sd" not in there and name not in able["known"]:
        raise ValueError(
            f"The family {quote(name)} cannot use known errors, but a column was read as se=: "
            f"use one of {listing(able['known'])}, or read the table with sd= and n=."
        )
    if limits and summaries:
        raise ValueError(
            "Rows known within limits cannot be summaries too: leave out lower= and upper=, or sd= and se=."
        )
    if "sd" in there and "n" not in there:
        raise ValueError(
            "The exact likelihood of summary rows needs their numbers: read the table with n= as well as sd=."
        )
    if "n" in there and not (known.counts_successes or known.summarised):
        able["counted"] = [n for n, f in FAMILIES.items() if f.counts_successes or f.summarised]
        raise ValueError(
            f"The family {quote(name)} cannot use numbers of units, but a column was read as n=: leave it out, "
            f"or use one of {listing(able['counted'])}."
        )
    if "lower" in there and "upper" in there and np.any(trial["lower"].values > trial["upper"].values):
        i = int(np.argmax(trial["lower"].values > trial["upper"].values))
        low, high = trial["lower"].values[i], trial["upper"].values[i]
        raise ValueError(
            f"Expected lower limits below the upper ones, but row {trial['row'].values[i]} has {low:g} and {high:g}: "
            "correct it."
        )


def observed_data(trial: xr.Dataset, family: Family) -> dict[str, np.ndarray]:
    """Return the numbers that the likelihood needs beside the doses, by name, each of shape (observation,)."""
    response = trial["response"].values.astype(float)
    there = columns_of(trial)
    data: dict[str, np.ndarray] = {}
    if family.counts_successes:
        n = trial["n"].values if "n" in there else np.ones(len(response))
        return {"n": n.astype(int), "observed_response": np.rint(response * n).astype(int)} | _weights(trial)
    if family.ordered:
        return {"observed_response": np.searchsorted(categories(response), response)} | _weights(trial)
    if family.support == "counts":
        return {"observed_response": response.astype(int)} | _weights(trial)
    if {"lower", "upper"} & set(there):
        data |= _limits(trial, response, family)
    if "sd" in there:
        n = trial["n"].values.astype(float)
        response, sd = _log_moments(response, trial["sd"].values, family)
        data |= {"n": n, "squares": np.where(n > 1, (n - 1) * sd**2, 0.0)}
    elif "se" in there:
        data["se"] = _log_se(response, trial["se"].values.astype(float), family)
    elif "n" in there:
        data["n"] = trial["n"].values.astype(float)
    return {"observed_response": response} | data | _weights(trial)


def _weights(trial: xr.Dataset) -> dict[str, np.ndarray]:
    return {"weight": trial["weight"].values.astype(float)} if "weight" in trial else {}


def _limits(trial: xr.Dataset, response: np.ndarray, family: Family) -> dict[str, np.ndarray]:
    """A row whose limits meet is a measurement; one without limits too."""
    floor = -np.inf if family.support == "numbers" else 0.0
    low = trial["lower"].values if "lower" in trial else np.full(len(response), np.nan)
    high = trial["upper"].values if "upper" in trial else np.full(len(response), np.nan)
    within = (np.isfinite(low) | np.isfinite(high)) & ~(low == high)
    opened_low, opened_high = ~np.isfinite(low) | (low <= floor), ~np.isfinite(high)
    return {
        "within": within.astype(float),
        "low": np.where(opened_low, 1.0, low),
        "high": np.where(opened_high, 1.0, high),
        "has_low": (~opened_low).astype(float),
        "has_high": (~opened_high).astype(float),
    }


def _log_moments(mean: np.ndarray, sd: np.ndarray, family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of the rows as the family has them; of log responses by matched moments."""
    sd = np.where(np.isfinite(sd), sd, 0.0)
    if family.distribution != "LogNormal":
        return mean, sd
    variance = np.log1p((sd / mean) ** 2)
    return np.log(mean) - variance / 2, np.sqrt(variance)


def _log_se(mean: np.ndarray, se: np.ndarray, family: Family) -> np.ndarray:
    """Standard errors as the family has them; of log responses by matched moments."""
    return np.sqrt(np.log1p((se / mean) ** 2)) if family.distribution == "LogNormal" else se


def dim_in(model: pm.Model, name: str) -> str:
    """Return the name of a dim in a model, which may be one outcome of a larger one."""
    return f"{model.name}_{name}" if model.name else name


def observe(model: pm.Model, family: Family, mean: Any, given: Mapping[str, Any], used: tuple[str, ...]) -> None:
    """Add the observed variable ``response``, dims (observation,), to a model.

    Parameters
    ----------
    model : pymc.Model
        Holds `observed_data` as `pymc.Data`.
    family : Family
        The observation model, settled for the trial.
    mean : TensorVariable
        Mean response, dims (observation,).
    given : mapping
        The family's parameters, and ``control``.
    used : tuple of str
        Names of the observed data.
    """
    if family.link == "logit":
        mean = pt.clip(mean, EDGE, 1 - EDGE)  # rounding must not turn "hardly ever" into "never"
    n = {"n": model["n"]} if family.counts_successes else {}
    known = {"sigma": model["se"]} if "se" in used else {}
    arguments = family.arguments(mean, **dict(given) | known, **n)
    if family.ordered:
        arguments = {"p": pt.stack([one + pt.zeros_like(mean) for one in arguments["p"]], axis=-1)}
    distribution = getattr(pm, family.distribution)
    observed, rows = model["observed_response"], dim_in(model, "observation")
    if set(used) <= {"observed_response", "n"} and not family.hurdle and (family.counts_successes or "n" not in used):
        distribution("response", **arguments, observed=observed, dims=rows)
        return
    names = [name for name in used if name != "observed_response"]
    extra = [model[name] for name in names]
    keys = list(arguments)
    presence = [given["presence"]] if family.hurdle else []

    def logp(value, *parameters):
        own = dict(zip(keys, parameters, strict=False))
        data = dict(zip(names, parameters[len(keys) :], strict=False))
        share = parameters[-1] if family.hurdle else None
        return _row_logp(distribution, value, own, data, share)

    scalars = ["()"] * (len(extra) + len(presence))
    cores = ["(k)" if family.ordered else "()" for _ in keys] + scalars
    pm.CustomDist(
        "response",
        *arguments.values(),
        *extra,
        *presence,
        logp=logp,
        observed=observed,
        dims=rows,
        signature=f"{','.join(cores)}->()",
        dtype=str(observed.dtype),
    )


def _row_logp(distribution, value, arguments, data, presence):
    """Log density of each row."""
    if "squares" in data:
        density = _summary_logp(value, data["squares"], data["n"], **arguments)
    elif "n" in data and distribution in (pm.Normal, pm.LogNormal):
        density = pm.logp(distribution.dist(*_of_a_mean(distribution, data["n"], **arguments)), value)
    elif presence is not None:
        positive = pt.switch(pt.gt(value, 0), value, 1.0)
        inside = pt.log(presence) + pm.logp(distribution.dist(**arguments), positive)
        density = pt.switch(pt.gt(value, 0), inside, pt.log1p(-presence))
    else:
        density = pm.logp(distribution.dist(**arguments), value)
    if "within" in data:
        dist = distribution.dist(**arguments)
        density = pt.switch(pt.gt(data["within"], 0), _limits_logp(dist, data), density)
    return density * data["weight"] if "weight" in data else density


def _of_a_mean(distribution, n, mu, sigma):
    """Location and scale of the mean of n responses; of log-normal ones by matched moments."""
    if distribution is pm.Normal:
        return mu, sigma / pt.sqrt(n)
    variance = pt.log1p(pt.expm1(sigma**2) / n)
    return mu + (sigma**2 - variance) / 2, pt.sqrt(variance)


def _summary_logp(mean, squares, n, mu, sigma):
    """Gaussian log density of n raw responses, of which mean and sum of squares around it are known: exact."""
    misfit = (squares + n * (mean - mu) ** 2) / (2 * sigma**2)
    return -n / 2 * np.log(2 * np.pi) - n * pt.log(sigma) - misfit


def _limits_logp(dist, data):
    """Log probability between two limits, either of which may be open."""
    under_low, under_high = pm.logcdf(dist, data["low"]), pm.logcdf(dist, data["high"])
    over_low, over_high = pm.logccdf(dist, data["low"]), pm.logccdf(dist, data["high"])
    # A difference of two numbers next to 1 has no digits left: count from the nearer tail.
    left = under_high + pt.log1mexp(pt.minimum(under_low - under_high, -EDGE))
    right = over_low + pt.log1mexp(pt.minimum(over_high - over_low, -EDGE))
    both = pt.switch(pt.lt(under_high, over_low), left, right)
    one = pt.switch(pt.gt(data["has_low"], 0), over_low, pt.switch(pt.gt(data["has_high"], 0), under_high, 0.0))
    return pt.switch(pt.gt(data["has_low"] * data["has_high"], 0), both, one)


def raw_moments(trial: xr.Dataset) -> tuple[np.ndarray, np.ndarray, float]:
    """Return mean responses, their numbers of units and the SD of all raw responses [response].

    From means, SDs and numbers the SD of all raw responses follows exactly.
    """
    response = trial["response"].values.astype(float)
    if "n" not in trial:
        return response, np.ones(len(response)), float(response.std(ddof=1))
    n = trial["n"].values.astype(float)
    centre = np.average(response, weights=n)
    squares = n * (response - centre) ** 2
    if "sd" in trial:
        squares = squares + (n - 1) * np.where(n > 1, np.nan_to_num(trial["sd"].values), 0.0) ** 2
        return response, n, float(np.sqrt(squares.sum() / max(n.sum() - 1, 1)))
    return response, n, float(response.std(ddof=1))
