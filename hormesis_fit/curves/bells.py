"""Hormetic curves that return to the control, or have no asymptote of their own."""

from __future__ import annotations

import math

import numpy as np

from hormesis_fit.curves.curve import (
    TINY,
    Curve,
    gain,
    half_effect_dose,
    hill,
    odds,
    peak_dose,
    sigmoid,
    stimulation,
)
from hormesis_fit.curves.hormetic import bell
from hormesis_fit.parameter import Prior, Value, parameter


class LogNormalBell(Curve):
    """A log-normal bell of stimulation that returns to the control."""

    formula = r"\mu(d) = E_0 \left(1 + s e^{-\ln^2(d / M) / 2 w^2}\right)"
    source = "https://doi.org/10.18637/jss.v012.i05"
    hormetic = True
    trend = "returning"

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    peak_dose: Value = peak_dose()
    width: Value = parameter(
        "w", "1", Prior("LogNormal", mu=math.log(0.9), sigma=0.5), "width of the bell on the log-dose axis"
    )

    def shape(self, dose: Value) -> Value:
        return 1 + self.relative(self.peak_stimulation, self.peak_gain) * bell(dose, self.peak_dose, self.width)


class Ricker(Curve):
    """A stimulation that rises linearly and is lost exponentially."""

    formula = r"\mu(d) = E_0 (1 + s z e^{1 - z}), \quad z = d / M"
    source = "https://doi.org/10.1139/f54-039"
    hormetic = True
    trend = "returning"

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    peak_dose: Value = peak_dose()

    def shape(self, dose: Value) -> Value:
        z = dose / self.peak_dose
        return 1 + self.relative(self.peak_stimulation, self.peak_gain) * z * np.exp(1 - z)


class Quadratic(Curve):
    """A parabola in the dose, with its top at the peak dose."""

    formula = r"\mu(d) = E_0 \left(1 + s z (2 - z)\right), \quad z = d / M"
    source = "https://doi.org/10.1111/j.1541-0420.2005.00344.x"
    hormetic = True
    trend = "open"

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    peak_dose: Value = peak_dose()

    def shape(self, dose: Value) -> Value:
        z = dose / self.peak_dose
        return 1 + self.relative(self.peak_stimulation, self.peak_gain) * z * (2 - z)


class BetaUmbrella(Curve):
    r"""The umbrella of dose-finding trials: a beta density in the dose, back at the control from its end on.

    Notes
    -----
    With :math:`r = \delta_1 + \delta_2` the end lies at :math:`M r / \delta_1`, and :math:`u = d \delta_1 / (M r)`.
    """

    formula = r"\mu(d) = E_0 \left(1 + s \frac{r^r}{\delta_1^{\delta_1} \delta_2^{\delta_2}} u^{\delta_1} (1-u)^{\delta_2}\right), \quad u = \frac{\delta_1 d}{r M}"  # noqa: E501
    source = "https://doi.org/10.1111/j.1541-0420.2005.00344.x"
    hormetic = True
    trend = "returning"

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    peak_dose: Value = peak_dose()
    rise: Value = parameter(r"\delta_1", "1", Prior("LogNormal", mu=0, sigma=0.5), "exponent of the rise")
    fall: Value = parameter(r"\delta_2", "1", Prior("LogNormal", mu=math.log(2), sigma=0.5), "exponent of the fall")

    def shape(self, dose: Value) -> Value:
        first, second = self.rise, self.fall
        total = first + second
        share = dose * first / (self.peak_dose * total)
        left = (1 - share + abs(1 - share)) / 2
        logs = total * np.log(total) - first * np.log(first) - second * np.log(second)
        curve = np.exp(logs + first * np.log(share + TINY) + second * np.log(left + TINY))
        return 1 + self.relative(self.peak_stimulation, self.peak_gain) * curve


class GainLoss(Curve):
    """A Hill gain times a Hill loss with a common top."""

    formula = r"\mu(d) = E_0 \left(1 + \frac{A}{(1 + (K_g / d)^p)(1 + (d / K_l)^q)}\right)"
    source = "https://doi.org/10.1093/bioinformatics/btw680"
    hormetic = True
    trend = "returning"

    amplitude: Value = stimulation("A", "gain without loss", sigma=1)
    amplitude_gain: Value = gain("A", "gain without loss")
    loss_dose: Value = half_effect_dose("dose of half the loss", "K_l")
    dose_ratio: Value = parameter(
        "K_g / K_l", "1", Prior("LogNormal", mu=-2, sigma=1.5), "dose of half the gain per dose of half the loss"
    )
    gain_slope: Value = parameter("p", "1", Prior("LogNormal", mu=math.log(1.5), sigma=0.5), "Hill slope of the gain")
    loss_slope: Value = parameter("q", "1", Prior("LogNormal", mu=math.log(2), sigma=0.6), "Hill slope of the loss")

    def shape(self, dose: Value) -> Value:
        rise = hill(dose, self.loss_dose * self.dose_ratio, self.gain_slope)
        lost = 1 + odds(dose, self.loss_dose, self.loss_slope)
        return 1 + self.relative(self.amplitude, self.amplitude_gain) * rise / lost


class LogQuadratic(Curve):
    """A mean whose logarithm is a parabola in the dose."""

    formula = r"\mu(d) = E_0 (1 + s)^{z (2 - z)}, \quad z = d / M"
    source = "https://doi.org/10.1002/etc.5620160732"
    hormetic = True

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    peak_dose: Value = peak_dose()

    def shape(self, dose: Value) -> Value:
        z = dose / self.peak_dose
        return np.exp(np.log1p(self.relative(self.peak_stimulation, self.peak_gain)) * z * (2 - z))


class BiphasicLogistic(Curve):
    r"""A logistic stimulation and a logistic inhibition in the dose itself.

    Notes
    -----
    :math:`L(x) = 1 / (1 + e^{-x})`; the curve is divided by its value at dose 0, which the published form leaves free.
    """

    formula = r"\mu(d) = E_0 \frac{y(d)}{y(0)}, \quad y = 1 + A L\left(g \frac{d - K_s}{K_s}\right) - (1 + A) L\left(h \frac{d - K_i}{K_i}\right), \quad K_s = r K_i"  # noqa: E501
    source = "https://doi.org/10.1016/j.ecoenv.2012.11.022"
    hormetic = True

    amplitude: Value = stimulation("A", "stimulation without inhibition")
    amplitude_gain: Value = gain("A", "stimulation without inhibition")
    inhibition_dose: Value = half_effect_dose("dose of half the inhibition", "K_i")
    dose_ratio: Value = parameter(
        "r", "1", Prior("LogNormal", mu=-2, sigma=1), "dose of half the stimulation per dose of half the inhibition"
    )
    stimulation_slope: Value = parameter(
        "g", "1", Prior("LogNormal", mu=math.log(3), sigma=0.5), "steepness of the stimulation per its dose"
    )
    slope: Value = parameter("h", "1", Prior("LogNormal", mu=math.log(3), sigma=0.5), "steepness of the inhibition")

    def shape(self, dose: Value) -> Value:
        amplitude = self.relative(self.amplitude, self.amplitude_gain)

        def level(at: Value) -> Value:
            rise = sigmoid(self.stimulation_slope * (at / (self.inhibition_dose * self.dose_ratio) - 1))
            return 1 + amplitude * rise - (1 + amplitude) * sigmoid(self.slope * (at / self.inhibition_dose - 1))

        return level(dose) / level(0 * dose)
