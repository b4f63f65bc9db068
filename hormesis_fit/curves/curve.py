"""What every dose-response curve has in common: a control response, a scale and a direction of benefit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hormesis_fit.parameter import Prior, Term, Value, option, parameter

TINY = np.finfo(float).tiny


def _control(curve: Curve) -> Prior:
    if curve.scale == "ratio":
        return Prior("TruncatedNormal", mu=0, sigma=2.5, lower=0)
    return Prior("Normal", mu=0, sigma=2.5)


class Curve(Term):
    r"""A mean response as a function of dose.

    A curve is written as its `shape`: the response relative to the control, 1 at dose 0, above 1 for a benefit.
    From it the curve itself is :math:`\mu(d) = E_0 + \sigma\,\Delta\,(\mathrm{shape}(d) - 1)`, where :math:`\sigma` is
    the direction of benefit (+1 up, -1 down) and :math:`\Delta` the span from the control to the asymptote at high
    doses.

    Attributes
    ----------
    hormetic : bool
        Whether the curve can rise above and fall back to the control.
    trend : str
        Where a high dose leads: ``"falling"`` below the control (shape 0), ``"rising"`` to a plateau of benefit
        (shape 2), or ``"returning"`` to the control (shape 1).

    Notes
    -----
    On the ratio scale (a true zero) a curve whose benefit is upwards falls to zero, so that the span is the control
    response, unless ``lower_asymptote="free"``. On the interval scale, and for benefits downwards, the span is a
    parameter of its own.
    """

    hormetic: ClassVar[bool] = False
    trend: ClassVar[str] = "falling"

    scale: str = option("ratio", "interval", description="whether the response has a true zero")
    direction: str = option("up", "down", description="direction of benefit")
    lower_asymptote: str = option("zero", "free", description="asymptote at high doses on the ratio scale")

    control: Value = parameter("E_0", "response", _control, "mean response without the drug")
    span: Value = parameter(
        r"\Delta",
        "response",
        Prior("HalfNormal", sigma=2.5),
        "distance from the control to the asymptote at high doses",
    )
    lower_share: Value = parameter(
        "c / E_0", "1", Prior("Beta", alpha=1, beta=3), "lower asymptote as a share of the control"
    )

    def parameters(self) -> dict:
        """The parameters that exist under this curve's options and trend."""
        known = super().parameters()
        free = self.trend == "falling" and self.proportional and self.lower_asymptote == "free"
        spans = self.trend == "rising" or (self.trend == "falling" and not self.proportional)
        absent = {"span": not spans, "lower_share": not free}
        return {name: item for name, item in known.items() if not absent.get(name, False)}

    @property
    def label(self) -> str:
        """The class name, with the options and numbers in which this curve differs from the default."""
        usual = type(self)()
        skipped = {"scale", "direction"}
        options = {name: value for name, value in self.structure().items() if value != getattr(usual, name)}
        fixed = {
            name: getattr(self, name) for name in self.parameters() if isinstance(getattr(self, name), int | float)
        }
        differs = [f"{name}={value}" for name, value in (options | fixed).items() if name not in skipped]
        return f"{type(self).__name__}({', '.join(differs)})" if differs else type(self).__name__

    @property
    def proportional(self) -> bool:
        """Whether the asymptote is a share of the control: a true zero and a benefit upwards."""
        return self.scale == "ratio" and self.direction == "up"

    @property
    def sign(self) -> int:
        """Direction of benefit, +1 or -1."""
        return 1 if self.direction == "up" else -1

    @property
    def reach(self) -> Value:
        """Response units in one unit of shape [response]."""
        active = self.parameters()
        if "span" in active:
            return self.span
        if "lower_share" in active:
            return self.control * (1 - self.lower_share)
        return self.control if self.scale == "ratio" else 1.0

    def relative(self, stimulation: Value, gain: Value) -> Value:
        """Return a stimulation in units of shape.

        Parameters
        ----------
        stimulation : Value
            Relative to the control [1]; used on the ratio scale.
        gain : Value
            In units of the response; used on the interval scale.
        """
        if self.scale == "interval":
            return gain / self.reach
        if set(self.parameters()) & {"span", "lower_share"}:
            return stimulation * self.control / self.reach
        return stimulation

    def shape(self, dose: Value) -> Value:
        """Return the response relative to the control: 1 at dose 0 [1]."""
        raise NotImplementedError(f"{type(self).__name__} does not define its shape.")

    def __call__(self, dose: Value) -> Value:
        """Return the mean response.

        Parameters
        ----------
        dose : Value
            Doses >= 0 [dose]: a number, an array, a DataArray with dims (dose,) or a PyTensor variable.

        Returns
        -------
        Value
            Mean response [response], with the dims of the parameters and of `dose`.
        """
        shape = self.shape(dose)
        if self.sign > 0 and self.reach is self.control:
            return self.control * shape
        return self.control + self.sign * self.reach * (shape - 1)


def half_effect_dose(description: str = "dose of half the effect", symbol: str = "ED_{50}") -> Value:
    """Declare a half-effect dose: log-normal, two thirds of it inside the tested doses."""
    return parameter(symbol, "dose", Prior("LogNormal", mu=0, sigma=0.5), description)


def odds(dose: Value, half: Value, slope: Value) -> Value:
    """Return (d / k)^h: exactly 0, with finite gradients, at dose 0; it overflows in no unit of dose before another."""
    return dose / (dose + TINY) * np.exp(slope * (np.log(dose + TINY) - np.log(half)))


def hill(dose: Value, half: Value, slope: Value) -> Value:
    """Return the Hill function d^h / (d^h + k^h); finite, with its gradient, at dose 0."""
    return 1 - 1 / (1 + odds(dose, half, slope))
