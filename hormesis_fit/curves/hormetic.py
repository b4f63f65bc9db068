"""Hormetic curves: stimulation at low doses, inhibition at high ones."""

from __future__ import annotations

import math

import numpy as np

from hormesis_fit.curves.curve import TINY, Curve, half_effect_dose, hill, odds
from hormesis_fit.parameter import Prior, Value, parameter, root


def bell(dose: Value, peak: Value, width: Value) -> Value:
    """Return a log-normal bell, 1 at its peak, 0 at dose 0."""
    return np.exp(-(((np.log(dose + TINY) - np.log(peak)) / width) ** 2) / 2)


class BrainCousens(Curve):
    r"""Linear stimulation on a log-logistic decline, in the quantities that people know.

    Notes
    -----
    The peak stimulation :math:`s` (:math:`A / \Delta` on the interval scale) and the slope :math:`b` fix :math:`\psi`:
    :math:`b p - \ln(1 + 2 e^p) = (b-1)[\ln s - \ln(1+s) - \ln(b-1)] + b[\ln b + \ln(1+s)]`, :math:`p = \ln\psi`.
    """

    formula = r"\mu(d) = c + \Delta \frac{1 + \psi z}{1 + (1 + 2\psi) z^b}, \quad z = d / ED_{50}"
    source = "https://doi.org/10.1111/j.1365-3180.1989.tb00845.x"
    hormetic = True

    peak_stimulation: Value = parameter(
        "s", "1", Prior("HalfNormal", sigma=0.5), "highest mean above control, relative to it", scale="ratio"
    )
    peak_gain: Value = parameter(
        "A", "response", Prior("HalfNormal", sigma=2), "highest mean above control", scale="interval"
    )
    half_effect_dose: Value = half_effect_dose("dose at which half of the span is lost")
    slope_excess: Value = parameter(
        "b - 1",
        "1",
        Prior("LogNormal", mu=0, sigma=1),
        "slope of the decline beyond one",
    )

    def log_coefficient(self) -> Value:
        """Return the log of psi, the initial stimulation per half-effect dose [1]."""
        s, excess = self.relative(self.peak_stimulation, self.peak_gain), self.slope_excess
        slope = 1 + excess
        log_peak = np.log1p(s)
        target = excess * (np.log(s + TINY) - log_peak - np.log(excess)) + slope * (np.log(slope) + log_peak)
        small, large = target / slope, (target + math.log(2)) / excess
        # The larger of the two asymptotes lies left of the root, from where Newton's method is monotone.
        start = (small + large + abs(small - large)) / 2

        def step(p: Value) -> Value:
            q = p + math.log(2)
            softplus = (q + abs(q)) / 2 + np.log1p(np.exp(-abs(q)))
            share = (1 + np.tanh(q / 2)) / 2
            return (softplus + target - share * p) / (slope - share)

        return root(start, step, steps=6)

    def shape(self, dose: Value) -> Value:
        p, slope = self.log_coefficient(), 1 + self.slope_excess
        # psi is linear / constant: it overflows for slopes near one, these two cannot.
        constant, linear = np.exp(-(p + abs(p)) / 2), np.exp((p - abs(p)) / 2)
        decline = (constant + 2 * linear) * odds(dose, self.half_effect_dose, slope)
        return (constant + linear * dose / self.half_effect_dose) / (constant + decline)


class ProductHill(Curve):
    """A stimulating Hill function times an inhibiting one."""

    formula = r"\mu(d) = E_0 \left(1 + A \frac{d^n}{d^n + K_s^n}\right) \left(1 - \frac{d^p}{d^p + K_i^p}\right)"
    source = "https://doi.org/10.1021/es071618x"
    hormetic = True

    amplitude: Value = parameter(
        "A", "1", Prior("HalfNormal", sigma=1), "stimulation without inhibition, relative to the control", scale="ratio"
    )
    amplitude_gain: Value = parameter(
        "A", "response", Prior("HalfNormal", sigma=2), "stimulation without inhibition", scale="interval"
    )
    inhibition_dose: Value = half_effect_dose("dose of half the inhibition", "K_i")
    dose_ratio: Value = parameter(
        "K_s / K_i",
        "1",
        Prior("LogNormal", mu=-2, sigma=1.5),
        "dose of half the stimulation per dose of half the inhibition",
    )
    stimulation_slope: Value = parameter(
        "n", "1", Prior("LogNormal", mu=math.log(1.5), sigma=0.5), "Hill slope of the stimulation"
    )
    slope: Value = parameter("p", "1", Prior("LogNormal", mu=math.log(2), sigma=0.6), "Hill slope of the inhibition")

    def shape(self, dose: Value) -> Value:
        amplitude = self.relative(self.amplitude, self.amplitude_gain)
        rise = hill(dose, self.inhibition_dose * self.dose_ratio, self.stimulation_slope)
        return (1 + amplitude * rise) / (1 + odds(dose, self.inhibition_dose, self.slope))


class BellTail(Curve):
    """A log-normal bell of stimulation times a log-logistic decline."""

    formula = r"\mu(d) = E_0 \left(1 + A e^{-\ln^2(d / M) / 2 w^2}\right) / (1 + (d / ED_{50})^b)"
    source = "https://doi.org/10.18637/jss.v012.i05"
    hormetic = True

    amplitude: Value = parameter(
        "A", "1", Prior("HalfNormal", sigma=0.7), "height of the bell, relative to the control", scale="ratio"
    )
    amplitude_gain: Value = parameter(
        "A", "response", Prior("HalfNormal", sigma=2), "height of the bell", scale="interval"
    )
    half_effect_dose: Value = half_effect_dose("dose of half the decline")
    dose_ratio: Value = parameter(
        "M / ED_{50}", "1", Prior("LogNormal", mu=-1.5, sigma=1), "centre of the bell per half-effect dose"
    )
    width: Value = parameter(
        "w", "1", Prior("LogNormal", mu=math.log(0.9), sigma=0.5), "width of the bell on the log-dose axis"
    )
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=math.log(2), sigma=0.6), "slope of the decline")

    def shape(self, dose: Value) -> Value:
        amplitude = self.relative(self.amplitude, self.amplitude_gain)
        stimulation = amplitude * bell(dose, self.half_effect_dose * self.dose_ratio, self.width)
        return (1 + stimulation) / (1 + odds(dose, self.half_effect_dose, self.slope))
