"""Curves derived from receptor binding."""

from __future__ import annotations

import math

from hormesis_fit.curves.curve import Curve, gain, half_effect_dose, hill, peak_dose, stimulation
from hormesis_fit.parameter import Prior, Value, parameter


class Haldane(Curve):
    r"""The singly bound receptor of a two-site model: a second ligand molecule inactivates it.

    Notes
    -----
    In dissociation constants, :math:`M = \sqrt{K_1 K_2}` and :math:`\omega = \sqrt{K_1 / K_2}`. The doses with at least
    half the peak are never within less than 13.9-fold.
    """

    formula = r"\mu(d) = E_0 \left(1 + s \frac{(1 + 2\omega) z}{\omega + z + \omega z^2}\right), \quad z = d / M"
    source = "https://doi.org/10.1002/bit.260100602"
    hormetic = True
    trend = "returning"

    peak_stimulation: Value = stimulation("s", "highest mean above control")
    peak_gain: Value = gain("s", "highest mean above control")
    peak_dose: Value = peak_dose()
    width: Value = parameter(r"\omega", "1", Prior("LogNormal", mu=math.log(0.5), sigma=1), "narrowness of the bell")

    def shape(self, dose: Value) -> Value:
        z = dose / self.peak_dose
        height = self.relative(self.peak_stimulation, self.peak_gain)
        return 1 + height * (1 + 2 * self.width) * z / (self.width + z + self.width * z**2)


class TwoSiteReceptor(Curve):
    """A stimulating site of high affinity and an inhibiting one of low affinity, added."""

    formula = r"\mu(d) = E_0 \left(1 + A \frac{d}{K_A + d} - A \beta \frac{d}{K_B + d}\right), \quad K_A = r K_B"
    source = "https://doi.org/10.1124/pr.54.2.323"
    hormetic = True
    trend = "open"

    amplitude: Value = stimulation("A", "stimulation at full occupancy of the first site", sigma=1)
    amplitude_gain: Value = gain("A", "stimulation at full occupancy of the first site")
    inhibition: Value = parameter(
        r"\beta", "1", Prior("LogNormal", mu=0, sigma=0.5), "inhibition at full occupancy per stimulation"
    )
    inhibition_dose: Value = half_effect_dose("dose of half occupancy of the inhibiting site", "K_B")
    dose_ratio: Value = parameter(
        "r", "1", Prior("LogNormal", mu=-3, sigma=1), "ratio of the two dissociation constants"
    )

    def shape(self, dose: Value) -> Value:
        first = dose / (self.inhibition_dose * self.dose_ratio + dose)
        second = dose / (self.inhibition_dose + dose)
        return 1 + self.relative(self.amplitude, self.amplitude_gain) * (first - self.inhibition * second)


class OperationalModel(Curve):
    """The operational model of agonism: binding, then a saturable transducer."""

    formula = r"\mu(d) = E_0 + \Delta \frac{\tau^n d^n}{(K_A + d)^n + \tau^n d^n}"
    source = "https://doi.org/10.1098/rspb.1983.0093"
    trend = "rising"

    affinity_dose: Value = half_effect_dose("dose of half occupancy", "K_A")
    transduction: Value = parameter(r"\tau", "1", Prior("LogNormal", mu=1, sigma=1), "transducer ratio (efficacy)")
    slope: Value = parameter("n", "1", Prior("LogNormal", mu=0, sigma=0.5), "slope of the transducer")

    @property
    def depth(self) -> Value:
        # However much of the drug is bound, the transducer gives no more than tau^n / (1 + tau^n) of the span.
        most = hill(self.transduction, 1.0, self.slope)
        if self.link != "identity":
            return abs(self._linked(self._factor(1 + most)) - self.control)
        return self.span * most

    def shape(self, dose: Value) -> Value:
        return 1 + hill(dose, (self.affinity_dose + dose) / self.transduction, self.slope)
