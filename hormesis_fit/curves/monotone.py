"""Monotone curves: what a hormetic one has to beat."""

from __future__ import annotations

import math

import numpy as np

from hormesis_fit.curves.curve import TINY, Curve, at_least, half_effect_dose, hill, hinge, normal_cdf, odds
from hormesis_fit.parameter import Prior, Value, parameter


class Constant(Curve):
    """No effect of the dose at all."""

    formula = r"\mu(d) = E_0"
    source = "https://doi.org/10.1371/journal.pone.0146021"
    trend = "returning"

    def shape(self, dose: Value) -> Value:
        return 1 + 0 * dose


class LogLogistic(Curve):
    """A log-logistic decline below the control."""

    formula = r"\mu(d) = c + \Delta / (1 + (d / ED_{50})^b)"
    source = "https://doi.org/10.18637/jss.v012.i05"

    half_effect_dose: Value = half_effect_dose("dose at which half of the span is lost")
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(2), sigma=0.7), "slope of the decline")

    def shape(self, dose: Value) -> Value:
        return 1 / (1 + odds(dose, self.half_effect_dose, self.slope))


class SigmoidEmax(Curve):
    """A rise in the direction of benefit to a plateau."""

    formula = r"\mu(d) = E_0 + \Delta \frac{d^h}{d^h + ED_{50}^h}"
    source = "https://doi.org/10.1111/j.1541-0420.2005.00344.x"
    trend = "rising"

    half_effect_dose: Value = half_effect_dose("dose of half the plateau")
    slope: Value = parameter("h", "1", Prior("LogNormal", mu=math.log(1.5), sigma=0.5), "Hill slope")

    def shape(self, dose: Value) -> Value:
        return 1 + hill(dose, self.half_effect_dose, self.slope)


class Linear(Curve):
    """A straight line, up or down."""

    formula = r"\mu(d) = E_0 (1 + \beta d)"
    source = "https://doi.org/10.1111/j.1541-0420.2005.00344.x"
    trend = "open"

    relative_slope: Value = parameter(
        r"\beta", "1 / dose", Prior("Normal", mu=0, sigma=0.3), "slope relative to the control", scale="ratio"
    )
    slope: Value = parameter(r"\beta", "response / dose", Prior("Normal", mu=0, sigma=0.5), "slope", scale="interval")

    def shape(self, dose: Value) -> Value:
        return 1 + (self.relative_slope if self.scale == "ratio" else self.slope) * dose


class Exponential(Curve):
    """An exponential decline; with a free asymptote the asymptotic regression."""

    formula = r"\mu(d) = c + \Delta e^{-d / k}"
    source = "https://doi.org/10.1371/journal.pone.0146021"

    decline_dose: Value = half_effect_dose("dose constant of the decline", "k")

    def shape(self, dose: Value) -> Value:
        return np.exp(-dose / self.decline_dose)


class LogLogistic5(Curve):
    """A log-logistic decline with an asymmetry."""

    formula = r"\mu(d) = c + \Delta / (1 + (d / e)^b)^\varphi"
    source = "https://doi.org/10.1371/journal.pone.0146021"

    scale_dose: Value = half_effect_dose("dose constant of the decline", "e")
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(2), sigma=0.7), "slope of the decline")
    asymmetry: Value = parameter(r"\varphi", "1", Prior("LogNormal", mu=0, sigma=0.5), "asymmetry of the decline")

    def shape(self, dose: Value) -> Value:
        return np.exp(-self.asymmetry * np.log1p(odds(dose, self.scale_dose, self.slope)))


class Weibull1(Curve):
    """A Weibull decline, slow to start."""

    formula = r"\mu(d) = c + \Delta e^{-(d / e)^b}"
    source = "https://doi.org/10.1371/journal.pone.0146021"

    scale_dose: Value = half_effect_dose("dose constant of the decline", "e")
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(2), sigma=0.6), "slope of the decline")

    def shape(self, dose: Value) -> Value:
        return np.exp(-odds(dose, self.scale_dose, self.slope))


class Weibull2(Curve):
    """A Weibull decline, slow to end."""

    formula = r"\mu(d) = c + \Delta \left(1 - e^{-(d / e)^{-b}}\right)"
    source = "https://doi.org/10.1371/journal.pone.0146021"

    scale_dose: Value = half_effect_dose("dose constant of the decline", "e")
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(2), sigma=0.6), "slope of the decline")

    def shape(self, dose: Value) -> Value:
        # Capped at e^6.5, where the decline is 1e-289 yet: at dose 0 the gradient stays finite.
        late = self.slope * (np.log(self.scale_dose) - np.log(dose + TINY))
        return -np.expm1(-np.exp((late + 6.5 - abs(late - 6.5)) / 2))


class Gompertz(Curve):
    """A Gompertz decline."""

    formula = r"\mu(d) = c + \Delta e^{-g (e^{d / k} - 1)}"
    source = "https://doi.org/10.1371/journal.pone.0146021"

    decline_dose: Value = half_effect_dose("dose constant of the acceleration", "k")
    rate: Value = parameter(
        "g", "1", Prior("LogNormal", mu=0, sigma=1), "initial rate of the decline per dose constant"
    )

    def shape(self, dose: Value) -> Value:
        # Capped at e^30: whatever the rate, nothing is left there.
        z = dose / self.decline_dose
        return np.exp(-self.rate * np.expm1(z / at_least(z / 30, 1)))


class LogNormalDecline(Curve):
    """A decline that follows a log-normal distribution of tolerances."""

    formula = r"\mu(d) = c + \Delta \Phi\left(-b \ln(d / ED_{50})\right)"
    source = "https://doi.org/10.1371/journal.pone.0146021"

    half_effect_dose: Value = half_effect_dose("dose at which half of the span is lost")
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(1.2), sigma=0.6), "slope of the decline")

    def shape(self, dose: Value) -> Value:
        return normal_cdf(-self.slope * (np.log(dose + TINY) - np.log(self.half_effect_dose)))


class Threshold(Curve):
    """No effect up to a threshold, an exponential decline beyond it, with a rounded corner."""

    formula = r"\mu(d) = c + \Delta e^{-B \max(d / \eta - 1, 0)}"
    source = "https://doi.org/10.1016/j.ecoenv.2009.09.012"

    threshold: Value = half_effect_dose("no-effect dose", r"\eta")
    decline: Value = parameter("B", "1", Prior("LogNormal", mu=0, sigma=1), "rate of the decline per threshold dose")

    def shape(self, dose: Value) -> Value:
        return np.exp(-self.decline * hinge(dose / self.threshold - 1))


class Emax(Curve):
    """A hyperbolic rise in the direction of benefit to a plateau."""

    formula = r"\mu(d) = E_0 + \Delta \frac{d}{d + ED_{50}}"
    source = "https://doi.org/10.1111/j.1541-0420.2005.00344.x"
    trend = "rising"

    half_effect_dose: Value = half_effect_dose("dose of half the plateau")

    def shape(self, dose: Value) -> Value:
        return 1 + dose / (dose + self.half_effect_dose)
