"""What every dose-response curve has in common: a control response, a scale and a direction of benefit."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from hormesis_fit.parameter import Prior, Term, Value, option, parameter

# Next to any dose nothing, and still a normal number after division by one: compiled code flushes what is smaller to 0.
TINY = 1e-250
FLOOR = 1e-100  # of what multiplies a mean: its logarithm and the square of its inverse are finite numbers
ERFC = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


def _control(curve: Curve) -> Prior:
    if curve.link == "log":
        return Prior("LogNormal", mu=0, sigma=1)
    if curve.link == "logit":
        return Prior("LogitNormal", mu=0, sigma=1.5)
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
        (shape 2), ``"returning"`` to the control (shape 1), or ``"open"`` to no asymptote that it shares with others.

    Notes
    -----
    On the ratio scale (a true zero) a curve whose benefit is upwards falls to zero, so that the span is the control
    response, unless ``lower_asymptote="free"``. On the interval scale, and for benefits downwards, the span is a
    parameter of its own.

    Means that are positive (``link="log"``) or lie between 0 and 1 (``link="logit"``) stay so: the shape multiplies
    the mean, or its odds, and for a benefit downwards divides them,
    :math:`g(\mu(d)) = g(E_0) + \sigma \ln \mathrm{shape}(d)`. A curve without an asymptote below adds on that scale
    instead of multiplying.
    """

    hormetic: ClassVar[bool] = False
    trend: ClassVar[str] = "falling"

    scale: str = option("ratio", "interval", description="whether the response has a true zero")
    direction: str = option("up", "down", description="direction of benefit")
    lower_asymptote: str = option("zero", "free", description="asymptote at high doses on the ratio scale")
    link: str = option("identity", "log", "logit", description="scale on which the shape acts on the mean")

    control: Value = parameter("E_0", "response", _control, "mean response without the drug")
    span: Value = parameter(
        r"\Delta",
        "response",
        Prior("HalfNormal", sigma=2.5),
        "distance from the control to the asymptote at high doses",
    )
    log_span: Value = parameter(
        r"\Delta",
        "1",
        Prior("HalfNormal", sigma=1.5),
        "distance from the control to the plateau, in logs of the mean or of its odds",
    )
    lower_share: Value = parameter(
        "c / E_0", "1", Prior("Beta", alpha=1, beta=3), "lower asymptote as a share of the control"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.link != "identity" and self.scale == "interval":
            raise ValueError(f'A mean with a {self.link} link has a true zero: use scale="ratio".')

    def parameters(self) -> dict:
        """The parameters that exist under this curve's options and trend."""
        known = super().parameters()
        free = self.trend == "falling" and self.proportional and self.lower_asymptote == "free"
        spans = self.trend == "rising" or (self.trend == "falling" and not self.proportional)
        linked = self.link != "identity"
        absent = {"span": linked or not spans, "log_span": not (linked and spans), "lower_share": not free}
        return {name: item for name, item in known.items() if not absent.get(name, False)}

    @property
    def label(self) -> str:
        """The class name, with the options and numbers in which this curve differs from the default."""
        usual = type(self)()
        skipped = {"scale", "direction", "link"}
        options = {name: value for name, value in self.structure().items() if value != getattr(usual, name)}
        numbers = {name: getattr(self, name) for name in self.parameters()}
        fixed = {
            name: value
            for name, value in numbers.items()
            if isinstance(value, int | float) and value != getattr(usual, name)
        }
        differs = [f"{name}={value}" for name, value in (options | fixed).items() if name not in skipped]
        return f"{type(self).__name__}({', '.join(differs)})" if differs else type(self).__name__

    @property
    def proportional(self) -> bool:
        """Whether the asymptote is a share of the control: a true zero and a benefit upwards, or a link."""
        return self.link != "identity" or (self.scale == "ratio" and self.direction == "up")

    @property
    def sign(self) -> int:
        """Direction of benefit, +1 or -1."""
        return 1 if self.direction == "up" else -1

    @property
    def reach(self) -> Value:
        """Distance from the control to the asymptote at high doses, or one unit of shape [response]."""
        active = self.parameters()
        if self.link != "identity":
            return abs(self._linked(self._asymptote) - self.control)
        if "span" in active:
            return self.span
        if "lower_share" in active:
            return self.control * (1 - self.lower_share)
        return self.control if self.scale == "ratio" else 1.0

    @property
    def depth(self) -> Value:
        """Distance from the control to the mean at high doses, of a curve with an asymptote [response]."""
        return self.reach

    def relative(self, stimulation: Value, gain: Value) -> Value:
        """Return a stimulation in units of shape.

        Parameters
        ----------
        stimulation : Value
            Relative to the control [1]; used on the ratio scale.
        gain : Value
            In units of the response; used on the interval scale.
        """
        if self.link != "identity":
            return stimulation / (1 - self.lower_share) if "lower_share" in self.parameters() else stimulation
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
        if self.link != "identity":
            return self._linked(self._factor(shape))
        if self.sign > 0 and self.reach is self.control:
            return self.control * shape
        return self.control + self.sign * self.reach * (shape - 1)

    def drifted(
        self, dose: Value, *, potency: Value = 0.0, gain: Value = 0.0, baseline: Value = 0.0, unit: float = 1.0
    ) -> Value:
        """Return the mean response of somebody whose sensitivity has drifted.

        Parameters
        ----------
        dose : Value
            Doses >= 0 [dose].
        potency, gain, baseline : Value
            Shifts of log-potency, log-gain on the effect of the drug and log-baseline [1]; without them the curve is
            what it is.
        unit : float
            On the interval scale, where the baseline may be 0, what one unit of its drift is [response].

        Returns
        -------
        Value
            Mean response [response].
        """
        dose = dose * np.exp(potency)
        if self.link != "identity" or (self.sign > 0 and self.reach is self.control):
            # The effect multiplies the mean or its odds, so that a gain is a power of it.
            shape = self.shape(dose)
            factor = at_least(shape, 0) + FLOOR if self.link == "identity" else self._factor(shape)
            effect = np.exp(np.exp(gain) * np.log(factor))
            if self.link == "logit":
                level = self.control / (1 - self.control) * np.exp(baseline)
                level = level * effect if self.sign > 0 else level / effect
                return level / (1 + level)
            mean = self.control * effect if self.link == "identity" else self._linked(effect)
            return mean * np.exp(baseline)
        effect = np.exp(gain) * (self(dose) - self.control)
        return (
            (self.control + effect) * np.exp(baseline)
            if self.scale == "ratio"
            else (self.control + effect + unit * baseline)
        )

    def _factor(self, shape: Value) -> Value:
        """Return what multiplies the mean, or its odds, where the benefit is upwards [1]."""
        if self.trend == "rising":
            return np.exp(self.log_span * (shape - 1))
        if self.trend == "open":
            return np.exp(-at_least(1 - shape, math.log(FLOOR)))
        if "lower_share" in self.parameters():
            shape = self.lower_share + (1 - self.lower_share) * shape
        return at_least(shape, 0) + FLOOR

    @property
    def _asymptote(self) -> Value:
        """The factor at high doses, of a curve with an asymptote of its own."""
        if self.trend == "rising":
            return np.exp(self.log_span)
        return self.lower_share if "lower_share" in self.parameters() else 0.0

    def _linked(self, factor: Value) -> Value:
        """Return the mean with a factor on the scale of the link [response]."""
        # Above control / factor for a benefit downwards: a factor of 0 is an infinite mean, or the probability 1.
        if self.link == "log":
            return self.control * factor if self.sign > 0 else self.control / (factor + FLOOR)
        rest = 1 - self.control
        if self.sign > 0:
            return self.control * factor / (rest + self.control * factor)
        return self.control / (self.control + rest * factor)


def half_effect_dose(description: str = "dose of half the effect", symbol: str = "ED_{50}") -> Value:
    """Declare a half-effect dose: log-normal, two thirds of it inside the tested doses."""
    return parameter(symbol, "dose", Prior("LogNormal", mu=0, sigma=0.5), description)


def odds(dose: Value, half: Value, slope: Value) -> Value:
    """Return (d / k)^h: exactly 0, with finite gradients, at dose 0; it overflows in no unit of dose before another."""
    return dose / (dose + TINY) * np.exp(slope * (np.log(dose + TINY) - np.log(half)))


def hill(dose: Value, half: Value, slope: Value) -> Value:
    """Return the Hill function d^h / (d^h + k^h); finite, with its gradient, at dose 0."""
    return 1 - 1 / (1 + odds(dose, half, slope))


def peak_dose(description: str = "dose of the highest mean") -> Value:
    """Declare a peak dose: log-normal, somewhat below the middle of the tested doses."""
    return parameter("M", "dose", Prior("LogNormal", mu=-1 / 6, sigma=0.5), description)


def stimulation(symbol: str, description: str, sigma: float = 0.5) -> Value:
    """Declare a stimulation relative to the control, for responses with a true zero."""
    return parameter(
        symbol, "1", Prior("HalfNormal", sigma=sigma), f"{description}, relative to the control", scale="ratio"
    )


def gain(symbol: str, description: str) -> Value:
    """Declare a stimulation in units of the response, for responses without a true zero."""
    return parameter(symbol, "response", Prior("HalfNormal", sigma=2), description, scale="interval")


def at_least(x: Value, bound: float) -> Value:
    """Return max(x, bound) for positive numbers, without a comparison."""
    return (x + bound + abs(x - bound)) / 2


def sigmoid(x: Value) -> Value:
    """Return the logistic function, which overflows nowhere."""
    return (1 + np.tanh(x / 2)) / 2


def hinge(x: Value, sharpness: float = 50.0) -> Value:
    """Return max(x, 0) with its corner rounded over 1 / sharpness, exactly 0 at x = -1."""
    return (_softplus(sharpness * x) - math.log1p(math.exp(-sharpness))) / sharpness


def _softplus(x: Value) -> Value:
    return (x + abs(x)) / 2 + np.log1p(np.exp(-abs(x)))


def normal_cdf(x: Value) -> Value:
    """Return the standard normal distribution function of `x`, to a relative error of 1.2e-7 in the lower tail.

    The error function is no ufunc that works on PyTensor variables; this is its Chebyshev fit (Numerical Recipes in C,
    section 6.2).
    """
    z = abs(x) / math.sqrt(2)
    t = 1 / (1 + z / 2)
    polynomial = 0.0
    for coefficient in reversed(ERFC):
        polynomial = polynomial * t + coefficient
    tail = t * np.exp(-z * z + polynomial) / 2
    # The tail below -|x|, mirrored for positive x: (1 + sign) / 2 - sign * tail without a sign function.
    sign = x / (abs(x) + TINY)
    return (1 + sign) / 2 - sign * tail
