"""Hormetic curves with a threshold or a separate toxic limb."""

from __future__ import annotations

import math

import numpy as np

from hormesis_fit.curves.curve import TINY, Curve, at_least, gain, half_effect_dose, hinge, odds, sigmoid, stimulation
from hormesis_fit.parameter import Prior, Value, parameter


class CedergreenRitzStreibig(Curve):
    """A stimulation that sets in exponentially late, on a log-logistic decline.

    Notes
    -----
    The published form hides a dose scale of one unit, so that its fits change with the unit of dose; here the scale
    is a parameter. The exponent alpha is 0.5 unless another number, or a prior, is given.
    """

    formula = r"\mu(d) = c + \Delta \frac{1 + A e^{-(d_0 / d)^\alpha}}{1 + (d / e)^b}"
    source = "https://doi.org/10.1897/05-014R.1"
    hormetic = True

    amplitude: Value = stimulation("A", "stimulation without inhibition", sigma=1)
    amplitude_gain: Value = gain("A", "stimulation without inhibition")
    inhibition_dose: Value = half_effect_dose("dose of half the inhibition", "e")
    dose_scale: Value = parameter(
        "d_0", "dose", Prior("LogNormal", mu=-1 / 6, sigma=0.25), "dose at which the stimulation sets in"
    )
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(2), sigma=0.6), "slope of the decline")
    alpha: Value = parameter(r"\alpha", "1", 0.5, "exponent of the onset")

    def shape(self, dose: Value) -> Value:
        # Capped at e^6.5, where the stimulation is 1e-289 already: at dose 0 the gradient stays finite.
        late = self.alpha * (np.log(self.dose_scale) - np.log(dose + TINY))
        onset = np.exp(-np.exp((late + 6.5 - abs(late - 6.5)) / 2)) * dose / (dose + TINY)
        amplitude = self.relative(self.amplitude, self.amplitude_gain)
        return (1 + amplitude * onset) / (1 + odds(dose, self.inhibition_dose, self.slope))


class LinearExponential(Curve):
    """A linear stimulation on an exponential decline."""

    formula = r"\mu(d) = E_0 (1 + \varphi z) e^{-z}, \quad z = d / k"
    source = "https://doi.org/10.1139/f54-039"
    hormetic = True

    rate: Value = parameter(
        r"\varphi",
        "1",
        Prior("LogNormal", mu=0, sigma=1),
        "initial stimulation per initial decline; hormetic above one",
    )
    decline_dose: Value = half_effect_dose("dose constant of the decline", "k")

    def shape(self, dose: Value) -> Value:
        z = dose / self.decline_dose
        return (1 + self.rate * z) * np.exp(-z)


class ThresholdHormesis(Curve):
    """A linear stimulation up to a threshold, an exponential decline beyond it, with a rounded corner."""

    formula = r"\mu(d) = E_0 (1 + s z) e^{-B \max(z - 1, 0)}, \quad z = d / \eta"
    source = "https://doi.org/10.18637/jss.v110.i05"
    hormetic = True

    threshold_stimulation: Value = stimulation("s", "mean above control at the threshold")
    threshold_gain: Value = gain("s", "mean above control at the threshold")
    threshold: Value = half_effect_dose("dose from which the response declines", r"\eta")
    decline: Value = parameter("B", "1", Prior("LogNormal", mu=0, sigma=1), "rate of the decline per threshold dose")

    def shape(self, dose: Value) -> Value:
        z = dose / self.threshold
        height = self.relative(self.threshold_stimulation, self.threshold_gain)
        return (1 + height * z) * np.exp(-self.decline * hinge(z - 1))


class HuntBowman(Curve):
    r"""A parabola of stimulation up to the zero-equivalent dose, a logistic decline beyond it.

    Notes
    -----
    The model of Hunt and Bowman (Risk Analysis 2004, 24, 65-72), which the source studies, relative to the control:
    :math:`L(v) = 1 / (1 + e^{b_0 - b_1 v})`, :math:`v = \max(z - 1, 0)`, :math:`u = \min(z, 1)`.
    """

    formula = r"\mu(d) = E_0 \left(1 + 4 s u (1 - u) - \frac{L(v) - L(0)}{1 - L(0)}\right), \quad z = d / \tau"
    source = "https://doi.org/10.17877/DE290R-15375"
    hormetic = True

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    zero_equivalent_dose: Value = half_effect_dose("dose beyond the peak at the level of the control", r"\tau")
    onset: Value = parameter("b_0", "1", Prior("Normal", mu=1.5, sigma=1), "delay of the decline, in log odds")
    decline: Value = parameter("b_1", "1", Prior("LogNormal", mu=math.log(1.5), sigma=1), "rate of the decline")

    def shape(self, dose: Value) -> Value:
        z = dose / self.zero_equivalent_dose
        beyond = at_least(z, 1)
        u, v = z / beyond, beyond - 1
        start = sigmoid(-self.onset)
        lost = (sigmoid(self.decline * v - self.onset) - start) / (1 - start)
        return 1 + 4 * self.relative(self.peak_stimulation, self.peak_gain) * u * (1 - u) - lost


class ExponentialLogistic(Curve):
    r"""An exponential approach to a benefit, and a logistic decline.

    Notes
    -----
    :math:`L(z) = 1 / (1 + e^{b_0 (1 - z)})`, :math:`z = d / k`.
    """

    formula = (
        r"\mu(d) = E_0 \left(1 + A (1 - e^{-z / r}) - (1 + A) \frac{L(z) - L(0)}{1 - L(0)}\right), \quad z = d / k"
    )
    source = "https://doi.org/10.17877/DE290R-15375"
    hormetic = True

    amplitude: Value = stimulation("A", "benefit without decline")
    amplitude_gain: Value = gain("A", "benefit without decline")
    decline_dose: Value = half_effect_dose("dose of half the logistic decline", "k")
    dose_ratio: Value = parameter(
        "r", "1", Prior("LogNormal", mu=-1.5, sigma=1), "dose constant of the benefit per dose of half the decline"
    )
    steepness: Value = parameter("b_0", "1", Prior("LogNormal", mu=math.log(3), sigma=0.5), "steepness of the decline")

    def shape(self, dose: Value) -> Value:
        z = dose / self.decline_dose
        amplitude = self.relative(self.amplitude, self.amplitude_gain)
        start = sigmoid(-self.steepness)
        lost = (sigmoid(self.steepness * (z - 1)) - start) / (1 - start)
        return 1 - amplitude * np.expm1(-z / self.dose_ratio) - (1 + amplitude) * lost
