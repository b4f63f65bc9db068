"""Receptor mechanisms: how exposure changes the number or the state of the receptors, and so the drug's own effect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hormesis_fit.dosing.exposure import DELTA
from hormesis_fit.drift.drift import Drift, half_dose, hill_slope, occupancy, rate, ratio, share
from hormesis_fit.drift.steps import linear, take
from hormesis_fit.parameter import Prior, Value, parameter


class ReceptorTurnover(Drift):
    r"""Receptors are made at a constant rate, and an occupied receptor is lost faster than a free one.

    Notes
    -----
    The number of receptors relative to that without the drug stays between :math:`1 / (1 + r)` and 1. At steady
    dosing only :math:`r \rho` is seen: the rate needs measurements while the receptors recover.
    """

    formula = r"R' = k (1 - (1 + r \rho) R), \quad \rho = C^n / (C^n + K^n)"
    source = "https://doi.org/10.1007/BF01061691"
    kind = "receptor"
    acts_on = "gain"

    turnover_rate: Value = rate("k", "rate of loss of a free receptor")
    loss_ratio: Value = ratio("r", "further loss of an occupied receptor, relative to a free one")
    occupancy_dose: Value = half_dose("K")
    occupancy_slope: Value = hill_slope()

    def rates(self, exposure: Value) -> tuple[Value, Value]:
        faster = 1 + self.loss_ratio * occupancy(exposure, self.occupancy_dose, self.occupancy_slope)
        return self.turnover_rate * faster, 1 / faster


class ReducedSynthesis(Drift):
    """The drug slows the synthesis of its receptors."""

    formula = r"R' = k (1 - I \rho - R), \quad \rho = C^n / (C^n + K^n)"
    source = "https://doi.org/10.1124/jpet.112.195560"
    kind = "receptor"
    acts_on = "gain"

    turnover_rate: Value = rate("k", "rate of loss of a receptor")
    max_inhibition: Value = share("I", "share of the synthesis that full occupancy stops")
    occupancy_dose: Value = half_dose("K")
    occupancy_slope: Value = hill_slope()

    def rates(self, exposure: Value) -> tuple[Value, Value]:
        bound = occupancy(exposure, self.occupancy_dose, self.occupancy_slope)
        return self.turnover_rate + 0 * bound, 1 - self.max_inhibition * bound


class UpRegulation(Drift):
    """Low concentrations raise the synthesis of receptors, higher ones their loss."""

    formula = r"R' = k \left(1 + S \frac{C}{q K + C} - \left(1 + D \frac{C}{K + C}\right) R\right)"
    source = "https://doi.org/10.1007/BF01061691"
    kind = "receptor"
    acts_on = "gain"

    turnover_rate: Value = rate("k", "rate of loss of a receptor without the drug")
    synthesis_gain: Value = parameter("S", "1", Prior("HalfNormal", sigma=0.5), "highest gain of synthesis")
    loss_ratio: Value = ratio("D", "highest gain of loss")
    loss_dose: Value = half_dose("K", "concentration of half the gain of loss")
    dose_ratio: Value = parameter(
        "q", "1", Prior("LogNormal", mu=-3, sigma=1), "concentration of half the gain of synthesis, relative to loss"
    )

    def rates(self, exposure: Value) -> tuple[Value, Value]:
        made = 1 + self.synthesis_gain * occupancy(exposure, self.dose_ratio * self.loss_dose)
        lost = 1 + self.loss_ratio * occupancy(exposure, self.loss_dose)
        return self.turnover_rate * lost, made / lost


class TwoStateDesensitisation(Drift):
    """An occupied receptor falls into a silent state and comes back."""

    formula = r"R' = k (1 - R - r \rho R), \quad \rho = C^n / (C^n + K^n)"
    source = "https://doi.org/10.1113/jphysiol.1957.sp005838"
    kind = "receptor"
    acts_on = "gain"

    recovery_rate: Value = rate("k", "rate at which a silent receptor comes back")
    desensitisation_ratio: Value = ratio("r", "rate of silencing at full occupancy, relative to recovery")
    occupancy_dose: Value = half_dose("K")
    occupancy_slope: Value = hill_slope()

    def rates(self, exposure: Value) -> tuple[Value, Value]:
        bound = occupancy(exposure, self.occupancy_dose, self.occupancy_slope)
        faster = 1 + self.desensitisation_ratio * bound
        return self.recovery_rate * faster, 1 / faster

    def before_pulse(self, exposure: Value, *, on: Value, off: Value) -> Value:
        """Return the sensitivity before each of many equal pulses.

        Parameters
        ----------
        exposure : Value
            Concentration during a pulse [dose].
        on, off : Value
            Length of a pulse and of the pause after it [time].
        """
        speed, limit = self.rates(exposure)
        p, q = np.exp(-speed * on), np.exp(-self.recovery_rate * off)
        return (1 - q + q * limit * (1 - p)) / (1 - p * q)


class ThreeStateDesensitisation(Drift):
    r"""An occupied receptor is silenced; silent receptors come back, or are taken inside and come back later.

    Notes
    -----
    The three shares sum to one, so that two equations are left; their matrix exponential is closed. Its eigenvalues
    may be complex: recovery then overshoots.
    """

    formula = (
        r"R' = -k r \rho R + k D + k c I, \quad D' = k r \rho R - k (1 + i) D, \quad I' = k i D - k c I, \quad "
        r"\rho = C^n / (C^n + K^n)"
    )
    source = "https://doi.org/10.1113/jphysiol.1957.sp005838"
    kind = "receptor"
    acts_on = "gain"
    resting = (0.0, 0.0)

    recovery_rate: Value = rate("k", "rate at which a silent receptor comes back")
    desensitisation_ratio: Value = ratio("r", "rate of silencing at full occupancy, relative to recovery")
    internalisation_ratio: Value = ratio("i", "rate at which silent receptors are taken inside, relative to recovery")
    recycling_ratio: Value = ratio("c", "rate at which receptors come back from inside, relative to recovery")
    occupancy_dose: Value = half_dose("K")
    occupancy_slope: Value = hill_slope()

    def states(self, exposure: Value, duration: Value, *, start: tuple[Value, Value] = (0.0, 0.0)) -> dict[str, Value]:
        """Return the shares of receptors at the end of every step.

        Parameters
        ----------
        exposure, duration : Value
            As in a call.
        start : tuple of Value
            Shares of silent and of internalised receptors before the first step.

        Returns
        -------
        dict
            ``sensitive``, ``silent`` and ``internalised`` [1], shape (..., step).
        """
        transfer, rest = self._transfer(exposure, duration), self._rest(exposure)
        moved = [rest[row] - transfer[row][0] * rest[0] - transfer[row][1] * rest[1] for row in range(2)]
        product, gained = linear(transfer, moved)
        silent, inside = (product[row][0] * start[0] + product[row][1] * start[1] + gained[row] for row in range(2))
        return {"sensitive": self.seen(silent, inside), "silent": silent, "internalised": inside}

    def step(self, states: Sequence[Value], exposure: Value, duration: Value) -> list[Value]:
        transfer, rest = self._transfer(exposure, duration), self._rest(exposure)
        away = [state - limit for state, limit in zip(states, rest, strict=True)]
        return [rest[row] + transfer[row][0] * away[0] + transfer[row][1] * away[1] for row in range(2)]

    def seen(self, *states: Value) -> Value:
        return 1 - states[0] - states[1]

    def __call__(self, exposure: Value, duration: Value, *, start: tuple[Value, Value] | None = None) -> Value:
        return self.states(exposure, duration, start=(0.0, 0.0) if start is None else start)["sensitive"]

    def steady_state(self, exposure: Value) -> Value:
        return self.seen(*self._rest(exposure))

    def periodic(self, exposure: Value, duration: Value) -> tuple[Value, Value]:
        """Return the shares of silent and internalised receptors at the beginning of a period repeated for ever."""
        transfer, rest = self._transfer(exposure, duration), self._rest(exposure)
        moved = [rest[row] - transfer[row][0] * rest[0] - transfer[row][1] * rest[1] for row in range(2)]
        product, gained = linear(transfer, moved)
        (a, b), (c, d) = [[take(entry, -1) for entry in row] for row in product]
        p, q = (take(entry, -1) for entry in gained)
        determinant = (1 - a) * (1 - d) - b * c
        return ((1 - d) * p + b * q) / determinant, (c * p + (1 - a) * q) / determinant

    def _rest(self, exposure: Value) -> tuple[Value, Value]:
        bound = occupancy(exposure, self.occupancy_dose, self.occupancy_slope)
        silent = self.desensitisation_ratio * bound / (1 + self.internalisation_ratio)
        # Silent receptors that go inside come back from there: D (1 + i) = r rho R at rest, and c I = i D.
        inside = self.internalisation_ratio / self.recycling_ratio * silent
        total = 1 + silent + inside
        return silent / total, inside / total

    def _transfer(self, exposure: Value, duration: Value) -> list[list[Value]]:
        """Return the matrix exponential of silent and internalised shares over every step."""
        driven = self.desensitisation_ratio * occupancy(exposure, self.occupancy_dose, self.occupancy_slope)
        a, b = -(driven + 1 + self.internalisation_ratio), -driven
        c, d = self.internalisation_ratio, -self.recycling_ratio
        time = self.recovery_rate * duration
        middle, half = (a + d) / 2, (a - d) / 2
        square = (half**2 + b * c) * time**2
        cosh, sinhc = _even(square, middle * time)
        return [
            [cosh + sinhc * time * half, sinhc * time * b],
            [sinhc * time * c, cosh - sinhc * time * half],
        ]


def _even(square: Value, shift: Value) -> tuple[Value, Value]:
    """Return e^shift cosh(x) and e^shift sinh(x) / x by the square of x, which may be negative."""
    real = np.sqrt((square + abs(square)) / 2 + DELTA**2)
    turning = np.sqrt((abs(square) - square) / 2 + DELTA**2)
    grown = np.exp(shift + real) / 2
    cosh, sinhc = grown * (1 + np.exp(-2 * real)), -grown * np.expm1(-2 * real) / real
    return cosh * np.cos(turning), sinhc * np.sin(turning) / turning


class HypotheticalAntagonist(Drift):
    """Tolerance as an antagonist that is formed from the drug and follows it with a delay.

    Notes
    -----
    The model of Porchet, Benowitz and Sheiner for nicotine (J Pharmacol Exp Ther 1988, 244, 231-236): an effect
    compartment whose content divides the effect of the drug.
    """

    formula = r"A' = k (C - A), \quad \mathrm{gain} = 1 / (1 + A / T)"
    source = "https://doi.org/10.1002/cpt1979253358"
    kind = "receptor"
    acts_on = "gain"
    resting = (0.0,)

    tolerance_rate: Value = rate("k", "rate at which tolerance follows the drug")
    tolerance_dose: Value = half_dose("T", "concentration at which tolerance halves the effect")

    def rates(self, exposure: Value) -> tuple[Value, Value]:
        return self.tolerance_rate + 0 * exposure, exposure

    def seen(self, *states: Value) -> Value:
        return 1 / (1 + states[0] / self.tolerance_dose)
