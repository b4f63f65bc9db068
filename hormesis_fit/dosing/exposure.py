"""Exposure in time: linear pharmacokinetics in closed form, by superposition of dose events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.curves.curve import odds
from hormesis_fit.parameter import Prior, Term, Value, option, parameter

DELTA = 1e-6  # next to a root of an even function nothing: its value changes by 2e-13, and its gradient is finite
APART = 1e-9  # relative distance by which a third rate is moved away from the second
NODES = 32
EVENT, NODE = "event", "node"


def cascade(first: Value, second: Value, time: Value) -> Value:
    r"""Return :math:`\int_0^t e^{-a (t - s)} e^{-b s} ds`, smooth where the two rates meet.

    Parameters
    ----------
    first, second : Value
        Rates >= 0 [1 / time].
    time : Value
        Times >= 0 [time].
    """
    return _spread(first - second, time, (first + second) * time / 2)


def _spread(difference: Value, time: Value, decay: Value) -> Value:
    """Return t e^{-decay} sinh(x) / x at x = difference t / 2; the growth of sinh stays inside the exponent."""
    size = np.sqrt(np.square(difference * time / 2) + DELTA**2)
    return time * np.exp(size - decay) * -np.expm1(-2 * size) / (2 * size)


def _bolus(rates: tuple, time: Value) -> Value:
    """Return the end of a chain of compartments after a unit dose into the first, without transfer rates."""
    if len(rates) == 1:
        return np.exp(-rates[0] * time)
    if len(rates) == 2:
        return cascade(*rates, time)
    first, second, third = rates
    moved = third + APART * second
    return (cascade(first, second, time) - cascade(first, moved, time)) / (moved - second)


def _steady(rates: tuple, time: Value, interval: Value) -> Value:
    """Return the same after unit doses every interval since for ever, the last one at time 0."""
    if len(rates) == 1:
        return np.exp(-rates[0] * time) / -np.expm1(-rates[0] * interval)
    if len(rates) == 2:
        first, second = rates
        total = first + second
        # The geometric sums of two exponentials on one denominator, so that equal rates are no special case.
        back = _spread(first - second, interval - time, total * (interval + time) / 2)
        return (cascade(first, second, time) + back) / (np.expm1(-first * interval) * np.expm1(-second * interval))
    first, second, third = rates
    moved = third + APART * second
    return (_steady((first, second), time, interval) - _steady((first, moved), time, interval)) / (moved - second)


def _infused(rates: tuple, during: Value, since: Value) -> Value:
    """Return the same for an input of one per time that ran for `during` and ended `since` ago."""
    if len(rates) == 1:
        return cascade(rates[0], 0.0, during) * np.exp(-rates[0] * since)
    if len(rates) == 2:
        first, second = rates
        filled = cascade(first, 0.0, during)
        # Content of the second compartment when the input stops, by one minus the other on one denominator.
        passed = (filled - cascade(first, second, during)) / second
        return passed * np.exp(-second * since) + filled * cascade(first, second, since)
    raise ValueError('Infusions have no closed form with an oral route and site="effect" together: use site="plasma".')


def _rate(symbol: str, description: str, **when: str) -> Any:
    return parameter(symbol, "1 / time", Prior("LogNormal", mu=float(np.log(10)), sigma=1), description, **when)


def _fixed(symbol: str, unit: str, description: str, **when: str) -> Any:
    return parameter(symbol, unit, 1.0, description, **when)  # type: ignore[arg-type]


def _route() -> Any:
    return option("intravenous", "oral", description="how the drug enters")


def _site() -> Any:
    return option("plasma", "effect", description="where the concentration is meant")


def _summed(value: Value) -> Value:
    return value.sum(EVENT) if isinstance(value, xr.DataArray) else value.sum(axis=-1)


def _chains(term: Any, disposition: list[tuple[Value, Value]]) -> list[tuple[Value, tuple]]:
    """Return factors and rates of the chains of compartments whose ends add up to the concentration."""
    found = []
    for factor, rate in disposition:
        weight, rates = factor / term.volume, (rate,)
        if term.route == "oral":
            weight, rates = weight * term.bioavailability * term.absorption_rate, (term.absorption_rate, *rates)
        if term.site == "effect":
            weight, rates = weight * term.equilibration_rate, (*rates, term.equilibration_rate)
        found.append((weight, rates))
    return found


def _added(chains: list[tuple[Value, tuple]], response: Callable, *times: Value) -> Value:
    weight, rates = chains[0]
    total = weight * response(rates, *times)
    for weight, rates in chains[1:]:
        total = total + weight * response(rates, *times)
    return total


class OneCompartment(Term):
    r"""One compartment that empties at a constant rate.

    Attributes
    ----------
    route, site : str
        How the drug enters, and where its concentration is meant.
    elimination_rate, absorption_rate, equilibration_rate : Value
        Rates of elimination, of absorption by mouth and of the effect site [1 / time].
    volume : Value
        Volume of distribution [dose / concentration], 1 unless given.
    bioavailability : Value
        Share that is absorbed by mouth [1], 1 unless given.

    Notes
    -----
    With the default volume of one the exposure is the amount in the body, in the unit of the doses, so that curves
    keep their doses; concentrations need a volume. Times, amounts and parameters broadcast against each other; the
    last axis, or the dim ``event``, is the dose event.
    """

    formula = (
        r"C(t) = \frac{F D}{V} e^{-k t}, \quad \mathrm{oral:}\ \frac{F D k_a}{V} "
        r"\frac{e^{-k t} - e^{-k_a t}}{k_a - k}, \quad C_e' = k_{e0} (C - C_e)"
    )
    source = "https://doi.org/10.1016/j.vascn.2015.03.004"

    route: str = _route()
    site: str = _site()

    elimination_rate: Value = _rate("k", "rate of elimination")
    absorption_rate: Value = _rate("k_a", "rate of absorption", route="oral")
    equilibration_rate: Value = _rate("k_{e0}", "rate at which the effect site follows", site="effect")
    volume: Value = _fixed("V", "dose / concentration", "volume of distribution")
    bioavailability: Value = _fixed("F", "1", "share that is absorbed", route="oral")

    def _parts(self) -> list[tuple[Value, tuple]]:
        return _chains(self, [(1.0, self.elimination_rate)])

    def __call__(self, elapsed: Value, amount: Value) -> Value:
        """Return the exposure after single doses, summed over events.

        Parameters
        ----------
        elapsed : Value
            Times since each dose, >= 0 [time], shape (..., event).
        amount : Value
            Doses, 0 for those still to come [dose], shape (event,) or (..., event).

        Returns
        -------
        Value
            Exposure [dose / volume], shape (...).
        """
        return _summed(amount * _added(self._parts(), _bolus, elapsed))

    def infused(self, during: Value, since: Value, rate: Value) -> Value:
        """Return the exposure by infusions, summed over events.

        Parameters
        ----------
        during, since : Value
            How long each infusion has run, and how long ago it ended, both >= 0 [time], shape (..., event).
        rate : Value
            Rates of the infusions [dose / time].
        """
        return _summed(rate * _added(self._parts(), _infused, during, since))

    def steady(self, elapsed: Value, interval: Value, amount: Value) -> Value:
        """Return the exposure by equal doses that have been given for ever, element by element.

        Parameters
        ----------
        elapsed : Value
            Time since the last dose [time].
        interval, amount : Value
            Time between doses [time], and each dose [dose].
        """
        return amount * _added(self._parts(), _steady, elapsed, interval)


class TwoCompartment(Term):
    r"""Two compartments, the first of which empties at a constant rate.

    Attributes
    ----------
    distribution_rate, return_rate : Value
        Rates into the second compartment and back [1 / time]; the others as in `OneCompartment`.
    """

    formula = (
        r"C(t) = \frac{F D}{V} (A e^{-\alpha t} + B e^{-\beta t}), \quad \alpha + \beta = k + k_{12} + k_{21}, \quad "
        r"\alpha \beta = k k_{21}, \quad \mathrm{oral:}\ k_a, \quad C_e' = k_{e0} (C - C_e)"
    )
    source = "https://doi.org/10.1016/j.vascn.2015.03.004"

    route: str = _route()
    site: str = _site()

    elimination_rate: Value = _rate("k", "rate of elimination")
    distribution_rate: Value = _rate("k_{12}", "rate into the second compartment")
    return_rate: Value = _rate("k_{21}", "rate back from the second compartment")
    absorption_rate: Value = _rate("k_a", "rate of absorption", route="oral")
    equilibration_rate: Value = _rate("k_{e0}", "rate at which the effect site follows", site="effect")
    volume: Value = _fixed("V", "dose / concentration", "volume of the first compartment")
    bioavailability: Value = _fixed("F", "1", "share that is absorbed", route="oral")

    def _parts(self) -> list[tuple[Value, tuple]]:
        out, back = self.elimination_rate + self.distribution_rate, self.return_rate
        gap = np.sqrt(np.square(out - back) + 4 * self.distribution_rate * back)
        fast = (out + back + gap) / 2
        slow = self.elimination_rate * back / fast
        share = (out - back + gap) / (2 * gap)
        return _chains(self, [(share, fast), (1 - share, slow)])

    __call__ = OneCompartment.__call__
    infused = OneCompartment.infused
    steady = OneCompartment.steady


PHARMACOKINETICS: dict[str, type[Term]] = {one.__name__: one for one in (OneCompartment, TwoCompartment)}


def exposure_at(kinetics: Any, schedule: xr.Dataset) -> Value:
    """Return the exposure at observations.

    Parameters
    ----------
    kinetics : OneCompartment or TwoCompartment
        Its parameters broadcast against (observation, event): numbers, or columns of one value per observation.
    schedule : Dataset
        Dose events before each observation, as `dosing.schedule` gives them, dims (observation, event).

    Returns
    -------
    Value
        Exposure [dose / volume], shape (..., observation); a DataArray when parameters are DataArrays.
    """
    named = any(isinstance(getattr(kinetics, name), xr.DataArray) for name in kinetics.parameters())
    numbers = {str(name): schedule[name] if named else schedule[name].values for name in schedule.data_vars}
    single = numbers["amount"] * (1 - numbers["steady"]) * (numbers["rate"] == 0)
    total = kinetics(numbers["elapsed"], single)
    if np.any(schedule["rate"].values > 0):
        total = total + kinetics.infused(numbers["infused"], numbers["since"], numbers["rate"])
    if np.any(schedule["steady"].values > 0):
        # Any interval will do where there is no steady state: its amount is 0.
        interval = numbers["interval"] + (numbers["interval"] == 0)
        amount = numbers["amount"] * numbers["steady"]
        total = total + _summed(kinetics.steady(numbers["elapsed"] * numbers["steady"], interval, amount))
    return total


@dataclass(frozen=True)
class Contents:
    """What is in the compartments at one time: as cheap after a thousand doses as after one.

    Attributes
    ----------
    chains : tuple
        Factor and rates of each chain of compartments whose ends add up to the concentration; numbers, or draws of
        shape (sample, 1).
    inside : tuple of tuple
        Content of each compartment of each chain, without factors and rates of transfer [dose].
    running : tuple of tuple
        Rate [dose / time] of each infusion that runs, and how long it still does [time].
    """

    chains: tuple[tuple[Value, tuple], ...]
    inside: tuple[tuple[Value, ...], ...]
    running: tuple[tuple[float, float], ...] = ()

    @classmethod
    def empty(cls, kinetics: Any) -> Contents:
        """Return the empty compartments of a model, before any dose."""
        chains = tuple(kinetics._parts())
        return cls(chains, tuple(tuple(0.0 for _ in rates) for _, rates in chains))

    def given(self, amount: float, rate: float = 0.0) -> Contents:
        """Return what is in them just after a dose, or at the beginning of an infusion.

        Parameters
        ----------
        amount : float
            Dose [dose].
        rate : float
            Rate of an infusion [dose / time]; 0 for a dose given at once.
        """
        if rate > 0:
            return replace(self, running=(*self.running, (rate, amount / rate)))
        return replace(self, inside=tuple((first + amount, *others) for first, *others in self.inside))

    def steadily(self, amount: float, interval: float) -> Contents:
        """Return what is in them just after the last of equal doses that have been given for ever, and nothing else.

        Parameters
        ----------
        amount, interval : float
            Each dose [dose], and time between doses [time].
        """
        inside = tuple(
            tuple(amount * _steady(rates[: j + 1], 0.0, interval) for j in range(len(rates)))
            for _, rates in self.chains
        )
        return replace(self, inside=inside, running=())

    def after(self, time: float) -> Contents:
        """Return what is in them some time later, without a further dose.

        Parameters
        ----------
        time : float
            How much later [time].
        """
        inside = tuple(
            tuple(self._content(rates[: j + 1], own, np.float64(time)) for j in range(len(rates)))
            for (_, rates), own in zip(self.chains, self.inside, strict=True)
        )
        running = tuple((rate, rest - time) for rate, rest in self.running if rest > time)
        return replace(self, inside=inside, running=running)

    def exposure(self, times: np.ndarray) -> np.ndarray:
        """Return the exposure at some times from now on, without a further dose [dose / volume].

        Parameters
        ----------
        times : ndarray
            Times since now [time], shape (step,).

        Returns
        -------
        ndarray
            Shape (sample or 1, step).
        """
        pairs = zip(self.chains, self.inside, strict=True)
        total = sum(weight * self._content(rates, own, times) for (weight, rates), own in pairs)
        return np.atleast_2d(total + 0.0 * times)

    def _content(self, rates: tuple, own: tuple[Value, ...], time: Value) -> Value:
        """Return what comes to be in the last of some compartments, from those before it and from infusions."""
        found = sum(own[i] * _bolus(rates[i:], time) for i in range(len(rates)))
        for rate, rest in self.running:
            during = np.minimum(time, rest)
            found = found + rate * _infused(rates, during, time - during)
        return found


def mean_hill(peak: Value, rate: Value, interval: Value, half: Value, slope: Value = 1.0) -> Value:
    """Return the mean occupancy over an interval in which a concentration falls from its peak by one exponential.

    Parameters
    ----------
    peak : Value
        Concentration at the beginning [dose].
    rate, interval : Value
        Rate of the fall [1 / time], and length of the interval [time].
    half, slope : Value
        Concentration of half the occupancy [dose], and slope of the Hill function.
    """
    fall, high = slope * rate * interval, odds(peak, half, slope)
    return np.log1p(-high * np.expm1(-fall) / (1 + high * np.exp(-fall))) / fall


def mean_haldane(peak: Value, rate: Value, interval: Value, peak_dose: Value, width: Value) -> Value:
    r"""Return the mean share of singly bound receptors over such an interval.

    Parameters
    ----------
    peak, rate, interval : Value
        As for `mean_hill`.
    peak_dose, width : Value
        As of the curve `Haldane`: :math:`M = \sqrt{K_1 K_2}` [dose] and :math:`\omega = \sqrt{K_1 / K_2}` [1].
    """
    z = peak / peak_dose
    high = 2 * width * z + 1
    low = 2 * width * z * np.exp(-rate * interval) + 1
    square = 4 * width**2 - 1
    ratio = -2 * width * z * np.expm1(-rate * interval) / (square + high * low)
    return 2 * ratio * _arc(square * ratio**2) / (rate * interval)


def _arc(square: Value) -> Value:
    """Return arctan(x) / x by the square of x, which may be negative: then it is artanh."""
    real = np.sqrt((square + abs(square)) / 2 + DELTA**2)
    other = np.sqrt((abs(square) - square) / 2 + DELTA**2)
    return np.arctan(real) / real * np.log1p(2 * other / (1 - other)) / (2 * other)


def mean_over_interval(
    effect: Callable[[Value], Value], kinetics: Any, *, amount: Value, interval: Value, nodes: int = NODES
) -> Value:
    """Return the mean of an effect over one interval of dosing at steady state, by Gauss-Legendre quadrature.

    Parameters
    ----------
    effect : callable
        Maps exposures [dose / volume] to an effect.
    kinetics : OneCompartment or TwoCompartment
        Its parameters, `amount` [dose] and `interval` [time] broadcast against a last axis, or the dim ``node``.
    nodes : int
        Points of the quadrature.
    """
    places, weights = np.polynomial.legendre.leggauss(nodes)
    share, weights = (places + 1) / 2, weights / 2
    values = [amount, interval, *(getattr(kinetics, name) for name in kinetics.parameters())]
    if any(isinstance(value, xr.DataArray) for value in values):
        times = xr.DataArray(share, dims=NODE) * interval
        return (effect(kinetics.steady(times, interval, amount)) * xr.DataArray(weights, dims=NODE)).sum(NODE)
    return (effect(kinetics.steady(share * interval, interval, amount)) * weights).sum(axis=-1)
