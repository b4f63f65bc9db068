"""What a row says of the parameters of a curve: gradients of means and quantities, and the scatter of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.curves import Curve
from hormesis_fit.families import FAMILIES
from hormesis_fit.parameter import Term
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.posterior import Member
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.windowing import threshold_of
from hormesis_fit.wording import unknown

type Quantity = str | Callable[[Any], Any]

STEP = 6e-6  # of a parameter, relative: the cube root of the rounding error, for central differences
WIDE_STEP = 1e-4  # for second differences
EDGE = 1e-12  # how close to 0 and 1 a probability may come
# Doses where the benefit has a level; the others are quantities of the peak.
CROSSINGS = ("window_lower", "window_upper", "zero_equivalent_dose", "half_effect_dose")


def estimated(curve: Term) -> list[str]:
    """Return the parameters that a fit of a curve would estimate: those that have a prior by default."""
    return [name for name in type(curve)(**curve.structure()).priors() if name in curve.parameters()]


def columns_of(curve: Term) -> dict[str, np.ndarray]:
    """Return the parameters of a curve as columns, each of shape (sample, 1)."""
    columns = {name: np.asarray(getattr(curve, name), dtype=float).reshape(-1, 1) for name in curve.parameters()}
    size = max(len(column) for column in columns.values())
    return {name: np.broadcast_to(column, (size, 1)) for name, column in columns.items()}


def difference(
    function: Callable[[Any], np.ndarray], curve: Term, names: Sequence[str], step: float = STEP
) -> np.ndarray:
    """Return the derivatives of a function of a curve by its parameters, shape (parameter, ...).

    Parameters
    ----------
    function : callable
        Maps a curve to numbers.
    curve : Term
        With parameters of shape (sample, 1).
    names : sequence of str
        Parameters to differentiate by, by central differences.
    step : float
        Step, relative to the parameter; absolute where that is 0.
    """
    found = []
    for name in names:
        value = np.asarray(getattr(curve, name), dtype=float)
        width = step * np.where(value == 0, 1.0, np.abs(value))
        high, low = (function(curve.with_values({name: value + sign * width})) for sign in (1, -1))
        found.append((high - low) / (2 * width))
    return np.stack(found)


def mean_gradient(curve: Term, names: Sequence[str], doses: np.ndarray) -> np.ndarray:
    """Return the derivatives of the mean by the parameters, shape (parameter, sample, dose).

    Parameters
    ----------
    curve : Term
        With parameters of shape (sample, 1).
    names : sequence of str
        Parameters to differentiate by.
    doses : ndarray, shape (dose,)
        Doses [dose].
    """
    size = len(next(iter(columns_of(curve).values())))
    row = np.asarray(doses, dtype=float)[None, :]
    with np.errstate(over="ignore"):
        return difference(lambda one: np.broadcast_to(one(row), (size, row.shape[1])), curve, names)


def variance(
    family: str, mean: np.ndarray, control: np.ndarray, noise: Mapping[str, np.ndarray], units: float = 1.0
) -> np.ndarray:
    """Return the variance of one row [response squared].

    Parameters
    ----------
    family : str
        Observation model, a name in `FAMILIES`.
    mean, control : ndarray
        Mean response at the dose and without the drug [response].
    noise : mapping
        The family's parameters.
    units : float
        Units behind the row, of which it is the mean.
    """
    known = FAMILIES[family]
    if known.link == "logit":
        mean = np.clip(mean, EDGE, 1 - EDGE)
    spread = known.spread(mean=mean, control=control, **noise)
    # The units of one group of a beta-binomial are alike.
    alike = 1 + (units - 1) / (1 + noise["precision"]) if known.counts_successes and "precision" in noise else 1.0
    return np.square(spread) * alike / units


def row_variance(member: Member, mean: np.ndarray, trial: xr.Dataset) -> np.ndarray:
    """Return the variance of one further row like those of a trial, shape (sample, dose) [response squared].

    Parameters
    ----------
    member : Member
        One curve of a fit.
    mean : ndarray, shape (sample, dose)
        Mean responses [response].
    trial : Dataset
        dims (observation,); a row that stands for several units stands for as many again.
    """
    family = str(member.draws.attrs.get("family", "gaussian"))
    wanted = FAMILIES[family].parameters
    noise = {name: member.draws[name].values[:, None] for name in wanted if name in member.draws}
    if len(noise) < len(wanted):  # known standard errors leave no scatter to estimate
        return np.full(mean.shape, float(np.median(trial["se"].values ** 2)))
    units = float(np.median(trial["n"].values)) if "n" in trial else 1.0
    return variance(family, mean, member.control[:, None], noise, units)


def quantity_gradient(
    member: Member, names: Sequence[str], quantity: Quantity, trial: xr.Dataset, *, benefit: float, benefit_scale: str
) -> np.ndarray:
    """Return the derivatives of a quantity by the parameters, shape (sample, parameter); NaN where there is none.

    Parameters
    ----------
    member : Member
        A curve with parameters of shape (sample, 1).
    names : sequence of str
        Parameters to differentiate by.
    quantity : str or callable
        A name in `QUANTITIES` (doses are taken by their logarithm), a parameter of the curve, or a function of it.
    trial : Dataset
        Its doses say where to look.
    benefit, benefit_scale
        Of the window, as in `hormesis_fit.window`.

    Notes
    -----
    Of a dose at which the benefit has a level, the derivative follows from the implicit function, and so does that of
    the peak; the height of the peak moves with the parameters as the mean at the peak dose does.
    """
    curve = member.curve
    if callable(quantity):
        return _own_gradient(curve, names, quantity)
    if isinstance(curve, Curve) and quantity in QUANTITIES:
        return _known_gradient(member, names, quantity, trial, benefit, benefit_scale)
    if quantity in names:
        each = [np.full(member.size, float(name == quantity)) for name in names]
        return np.stack(each, axis=1)
    raise ValueError(unknown("quantity", quantity, [*QUANTITIES, *names]))


def _own_gradient(curve: Term, names: Sequence[str], quantity: Callable[[Any], Any]) -> np.ndarray:
    columns, found = columns_of(curve), []
    for row in range(len(next(iter(columns.values())))):
        one = curve.with_values({name: float(column[row, 0]) for name, column in columns.items()})
        found.append(difference(lambda at: np.atleast_1d(float(quantity(at))), one, names)[:, 0])
    return np.stack(found)


def _known_gradient(
    member: Member, names: Sequence[str], quantity: str, trial: xr.Dataset, benefit: float, benefit_scale: str
) -> np.ndarray:
    def at(curve: Curve) -> Member:
        return Member(member.label, curve, member.draws, member.shape, member.weight)

    def target(one: Member) -> np.ndarray:
        if quantity == "zero_equivalent_dose":
            return np.zeros(one.size)
        if quantity == "half_effect_dose":
            return one.depth / 2 * (1 if one.curve.trend == "rising" else -1)
        return threshold_of(one, benefit, benefit_scale)

    solved = solve(member, threshold_of(member, benefit, benefit_scale), trial)
    place = solved[quantity if quantity in CROSSINGS else "peak_dose"]
    known = np.isfinite(place) & (place > 0)
    log_dose = np.log(np.where(known, place, 1.0))

    def gain(curve: Curve, shift: float = 0.0) -> np.ndarray:
        return np.broadcast_to(at(curve).gain(np.exp(log_dose + shift)[:, None]), (member.size, 1))

    def slope(curve: Curve, width: float) -> np.ndarray:
        return (gain(curve, width) - gain(curve, -width)) / (2 * width)

    curve = member.curve
    if quantity in CROSSINGS:
        parts = difference(lambda one: gain(one) - target(at(one))[:, None], curve, names)[..., 0]
        found = -parts / slope(curve, 1e-5)[:, 0]
    elif quantity == "peak_dose":
        bend = (gain(curve, 1e-3) - 2 * gain(curve) + gain(curve, -1e-3))[:, 0] / 1e-6
        found = -difference(lambda one: slope(one, 1e-3), curve, names, WIDE_STEP)[..., 0] / bend
    else:
        sign, relative = curve.sign, quantity == "peak_stimulation"

        def height(one: Curve) -> np.ndarray:
            control = at(one).control[:, None]
            return gain(one) / np.abs(control) if relative else control + sign * gain(one)

        found = difference(height, curve, names)[..., 0]
    return np.where(known[:, None], found.T, np.nan)


__all__ = ["quantity_gradient"]
