"""Monotone curves: what a hormetic one has to beat."""

from __future__ import annotations

import math

from hormesis_fit.curves.curve import Curve, half_effect_dose, hill, odds
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
