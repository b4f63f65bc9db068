"""Closed forms of the literature against what the package finds on posteriors of known parameters.

Every case is a published form with its own parameters. Where a number stands in a source it is written down; the others
follow from the closed form. Each is checked twice: the curve has the level at the closed-form dose, to 1e-10, and the
package's solvers find that dose, to what they promise.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw, ndtri
from test_windows import LETTUCE, make_fit

import hormesis_fit as hf
from hormesis_fit.curves import (
    BetaUmbrella,
    BrainCousens,
    CedergreenRitzStreibig,
    Curve,
    Emax,
    Exponential,
    ExponentialLogistic,
    GainLoss,
    Gompertz,
    Haldane,
    HuntBowman,
    LinearExponential,
    LogLogistic5,
    LogNormalDecline,
    LogQuadratic,
    OperationalModel,
    ProductHill,
    Quadratic,
    Ricker,
    Threshold,
    ThresholdHormesis,
    TwoSiteReceptor,
    Weibull1,
    Weibull2,
)
from hormesis_fit.windows.derived import derived_quantities

# Minima are found to 1e-7 and roots to 1e-9 of a log dose; areas end where 1e-9 of them is left; heights are exact.
TOLERANCES = {"peak_dose": 3e-7, "zone_fold": 3e-7, "area_linear": 1e-8, "area_log": 1e-8, "area_ratio": 1e-8}
TOLERANCES |= {"peak_response": 1e-10, "peak_stimulation": 1e-10, "peak_stimulation_span": 1e-10}
ROOT = 3e-9
LOWEST = 0.32  # where areas over log dose begin: the lowest positive dose


@dataclass(frozen=True)
class Case:
    """A curve with the parameters of its source, and what the source or a closed form says of it."""

    name: str
    template: Curve
    values: dict
    expected: dict  # "quantity" or "quantity label": number
    published: object = None  # the mean as the source writes it
    doses: np.ndarray = field(default_factory=lambda: LETTUCE)
    digits: dict = field(default_factory=dict)  # relative precision of what a source prints, where it is coarser

    def labels(self, name):
        return sorted({float(key.split()[1]) for key in self.expected if key.split()[0] in name})

    @cached_property
    def curve(self):
        return self.template.with_values(self.values)

    @cached_property
    def fit(self):
        draws = {name: np.full(2, float(value)) for name, value in (self.values | {"sigma": 0.4}).items()}
        return make_fit([(self.template, draws)], doses=self.doses)

    @cached_property
    def derived(self):
        return derived_quantities(
            self.fit,
            effects=self.labels(("effective_dose",)),
            stimulations=self.labels(("stimulation_dose_left", "stimulation_dose_right", "window_fold")),
            relative_to="control",
        )

    def found(self, key):
        name, *label = key.split()
        if name in ("window_lower", "window_upper"):
            result = hf.window(self.fit, benefit=float(label[0]))[name]
        else:
            result = self.derived[name]
            if label:
                result = result.sel({result.dims[-1]: float(label[0])})
        return result.isel(chain=0, draw=0).item()

    def response_at(self, key):
        """Return the mean that belongs to a dose quantity."""
        name, *label = key.split()
        curve = self.curve
        share = {
            "effective_dose": -0.01 if curve.trend != "rising" else 0.01,
            "stimulation_dose_left": 0.01,
            "stimulation_dose_right": 0.01,
            "window_lower": 1.0,
            "window_upper": 1.0,
            "zero_equivalent_dose": 0.0,
        }[name]
        return curve.control * (1 + curve.sign * share * float(label[0] if label else 0))


def lambert(x, branch):
    return lambertw(x, branch).real


# --- receptors --------------------------------------------------------------------------------------------------------


def haldane(v, k1, k2, control, percent):
    """science.md 1.3: g = V x / (K1 + x + x^2 / K2) in dissociation constants."""
    width = math.sqrt(k1 / k2)
    values = {"control": control, "peak_stimulation": v / (1 + 2 * width) / control}
    values |= {"peak_dose": math.sqrt(k1 * k2), "width": width}
    b = (v / (percent / 100 * control) - 1) * k2
    reach = math.sqrt(b**2 - 4 * k1 * k2)
    discriminant = 1 - 4 * k1 / k2
    root, start = math.sqrt(abs(discriminant)), 2 * LOWEST / k2 + 1
    if discriminant > 0:  # integral of dx / (K1 + x + x^2 / K2) from the lowest dose to infinity, science.md 2.3
        area = -math.log((start - root) / (start + root)) / root
    else:
        area = (math.pi - 2 * math.atan(start / root)) / root
    expected = {
        "peak_dose": math.sqrt(k1 * k2),
        "peak_response": control + v / (1 + 2 * math.sqrt(k1 / k2)),
        f"stimulation_dose_left {percent}": (b - reach) / 2,
        f"stimulation_dose_right {percent}": (b + reach) / 2,
        f"window_lower {percent / 100}": (b - reach) / 2,
        f"window_upper {percent / 100}": (b + reach) / 2,
        f"window_fold {percent}": (b + reach) / (b - reach),
        "area_log": v * area,
        "zero_equivalent_dose": math.nan,  # it returns to the control without crossing it
    }
    return Case(
        f"Haldane K1={k1} K2={k2}",
        Haldane(),
        values,
        expected,
        lambda x: control + v * x / (k1 + x + x**2 / k2),
    )


def two_site(a, b, low, high):
    """science.md 1.4: g = A x / (K_A + x) - B x / (K_B + x)."""
    control = 3.0
    values = {"control": control, "amplitude": a / control, "inhibition": b / a}
    values |= {"inhibition_dose": high, "dose_ratio": low / high}
    rho = math.sqrt(b * low / (a * high)) * high / low  # sqrt(B K_B / (A K_A))
    peaked = rho > 1 and high > rho * low
    expected = {
        "peak_dose": (high - rho * low) / (rho - 1) if peaked else math.nan,
        "peak_response": control + (math.sqrt(a * high) - math.sqrt(b * low)) ** 2 / (high - low),
        "zero_equivalent_dose": (a * high - b * low) / (b - a) if b > a else math.nan,
    }
    if not peaked:
        expected["peak_response"] = math.nan
    return Case(
        f"two sites B/A={b / a:g} K_B/K_A={high / low:g}",
        TwoSiteReceptor(),
        values,
        expected,
        lambda x: control + a * x / (low + x) - b * x / (high + x),
    )


def operational(top, affinity, tau, n):
    """science.md 1.8, Black and Leff 1983: EC50 = K_A / ((2 + tau^n)^(1/n) - 1), Emax' = E_m tau^n / (1 + tau^n)."""
    control = 2.0
    plateau = top * tau**n / (1 + tau**n)
    values = {"control": control, "span": top, "affinity_dose": affinity, "transduction": tau, "slope": n}
    expected = {
        f"effective_dose {50 * plateau / control}": affinity / ((2 + tau**n) ** (1 / n) - 1),
        "peak_dose": math.nan,
    }
    return Case(
        f"operational model tau={tau} n={n}",
        OperationalModel(),
        values,
        expected,
        lambda x: control + top * (tau * x) ** n / ((affinity + x) ** n + (tau * x) ** n),
    )


def desensitised(sigma):
    """science.md 1.8: desensitisation in proportion to occupancy, rho / (1 + sigma rho), gives no bell."""
    affinity, control = 4.0, 2.0
    values = {"control": control, "span": 1 / (1 + sigma), "half_effect_dose": affinity / (1 + sigma)}
    half = 100 * 0.5 / (1 + sigma) / control

    def published(x):
        occupancy = x / (affinity + x)
        return control + occupancy / (1 + sigma * occupancy)

    expected = {"peak_dose": math.nan, f"effective_dose {half}": affinity / (1 + sigma)}
    return Case(f"desensitised sigma={sigma}", Emax(), values, expected, published)


RECEPTORS = [
    haldane(1.0, 10.0, 90.0, 1.0, 30),  # the worked example of science.md 2.3: highest effect 0.6 at 30
    haldane(2.5, 8.0, 4.0, 2.0, 10),
    haldane(3.0, 0.5, 200.0, 2.0, 50),
    two_site(2.0, 3.0, 0.5, 40.0),
    two_site(1.2, 1.2, 1.0, 60.0),
    two_site(2.0, 1.0, 0.5, 40.0),
    two_site(2.0, 0.02, 0.5, 40.0),  # rho < 1: a plateau without a peak
    operational(5.0, 8.0, 3.0, 1.0),
    operational(5.0, 8.0, 10.0, 2.0),
    operational(5.0, 8.0, 0.7, 1.6),
    desensitised(0.8),
    desensitised(5.0),
]


# --- bells and umbrellas ----------------------------------------------------------------------------------------------


def linear_exponential(phi, k):
    """science.md 1.6: (1 + phi z) e^-z = q at z = -1/phi - W(-q e^(-1/phi) / phi)."""
    control = 2.0

    def level(q, branch):
        return k * (-1 / phi - lambert(-q * math.exp(-1 / phi) / phi, branch))

    zero = level(1, -1) / k
    gained = (1 + phi) - (1 + phi + phi * zero) * math.exp(-zero) - zero
    expected = {
        "peak_dose": k * (1 - 1 / phi),
        "peak_response": control * phi * math.exp(1 / phi - 1),
        "zero_equivalent_dose": k * zero,
        "stimulation_dose_left 4": level(1.04, 0),
        "stimulation_dose_right 4": level(1.04, -1),
        "window_lower 0.04": level(1.04, 0),
        "window_upper 0.04": level(1.04, -1),
        "effective_dose 10": level(0.9, -1),
        "effective_dose 50": level(0.5, -1),
        "area_linear": control * k * gained,
    }
    return Case(
        f"linear-exponential phi={phi}",
        LinearExponential(),
        {"control": control, "rate": phi, "decline_dose": k},
        expected,
        lambda x: control * (1 + phi * x / k) * np.exp(-x / k),
    )


def ricker(peak, s):
    """science.md 1.6: z e^(1-z) = q at z = -W(-q / e); the whole area is s M e."""
    control = 2.0

    def level(percent, branch):
        return -peak * lambert(-percent / 100 / s / math.e, branch)

    expected = {"peak_dose": peak, "peak_response": control * (1 + s), "zero_equivalent_dose": math.nan}
    expected |= {
        f"{name} {percent}": level(percent, branch)
        for percent in (5, 25)
        for name, branch in (("stimulation_dose_left", 0), ("stimulation_dose_right", -1))
    }
    expected |= {"window_lower 0.1": level(10, 0), "window_upper 0.1": level(10, -1)}
    expected |= {"area_linear": control * s * peak * math.e, "area_log": control * s * math.exp(1 - LOWEST / peak)}
    values = {"control": control, "peak_stimulation": s, "peak_dose": peak}
    return Case(f"Ricker M={peak}", Ricker(), values, expected)


def gain_loss(top, low, p, high, q, level, **numbers):
    """The gnls of tcplfit2, top / ((1 + (ga / x)^p) (1 + (x / la)^q)), on a control of one."""
    a, b = low**p, high**-q

    def miss(x):  # peers.md 2.3, the location of the top
        return b * q * x ** (q + p) + a * b * (q - p) * x**q - a * p

    def mean(x):
        return 1 + top / ((1 + (low / x) ** p) * (1 + (x / high) ** q))

    peak = brentq(miss, low * 1e-3, high * 1e3, xtol=1e-15, rtol=1e-14)
    left = brentq(lambda x: mean(x) - 1 - level, low * 1e-3, peak, xtol=1e-15, rtol=1e-14)
    right = brentq(lambda x: mean(x) - 1 - level, peak, high * 1e3, xtol=1e-15, rtol=1e-14)
    percent = 100 * level
    expected = {"peak_dose": peak, "peak_response": mean(peak), f"stimulation_dose_left {percent:g}": left}
    expected |= {f"stimulation_dose_right {percent:g}": right, "zero_equivalent_dose": math.nan} | numbers
    values = {"control": 1.0, "amplitude": top, "loss_dose": high, "dose_ratio": low / high}
    values |= {"gain_slope": p, "loss_slope": q}
    return Case(f"gain-loss p={p} q={q}", GainLoss(), values, expected, lambda x: mean(np.maximum(x, 1e-60)))


def feed_forward(beta, kx, kz, gamma):
    """science.md 1.8: beta (x/Kx) / (1 + x/Kx) / (1 + gamma x / Kz) peaks at sqrt(Kx Kz / gamma)."""
    control = 2.0
    values = {"control": control, "amplitude": beta / control, "loss_dose": kz / gamma, "dose_ratio": kx * gamma / kz}
    expected = {
        "peak_dose": math.sqrt(kx * kz / gamma),
        # science.md 1.2: the height of a product of Hills of equal slopes
        "peak_response": control + beta / (1 + math.sqrt(kx * gamma / kz)) ** 2,
    }
    return Case(
        "incoherent feed-forward loop",
        GainLoss(),
        values | {"gain_slope": 1.0, "loss_slope": 1.0},
        expected,
        lambda x: control + beta * (x / kx) / (1 + x / kx) / (1 + gamma * x / kz),
    )


def quadratic(e0, b1, b2):
    """The quadratic of DoseFinding, e0 + b1 x + b2 x^2."""
    peak, height = -b1 / (2 * b2), -(b1**2) / (4 * b2)
    half = math.sqrt(1 - 0.1 * e0 / height)
    expected = {
        "peak_dose": peak,
        "peak_response": e0 + height,
        "zero_equivalent_dose": -b1 / b2,
        "stimulation_dose_left 10": peak * (1 - half),
        "stimulation_dose_right 10": peak * (1 + half),
        "effective_dose 50": peak * (1 + math.sqrt(1 + 0.5 * e0 / height)),
        "area_linear": 4 / 3 * height * peak,
    }
    values = {"control": e0, "peak_stimulation": height / e0, "peak_dose": peak}
    return Case("quadratic", Quadratic(), values, expected, lambda x: e0 + b1 * x + b2 * x**2)


def umbrella(e0, top, first, second, end):
    """The betaMod of DoseFinding: its mode is scal delta1 / (delta1 + delta2)."""
    total = first + second
    height = total**total / (first**first * second**second)
    expected = {"peak_dose": end * first / total, "peak_response": e0 + top}
    values = {"control": e0, "peak_stimulation": top / e0, "peak_dose": end * first / total}

    def published(x):
        u = np.minimum(x / end, 1)
        return e0 + top * height * u**first * (1 - u) ** second

    name = f"beta {first} {second}"
    return Case(name, BetaUmbrella(), values | {"rise": first, "fall": second}, expected, published)


def poisson_quadratic():
    """peers.md 4.6, Pozuelo-Campos 2023: exp(theta1 + theta2 x + theta3 x^2), theta = (3.086, 4.844, -13.113)."""
    first, second, third = 3.086, 4.844, -13.113
    control, peak = math.exp(first), -second / (2 * third)
    lift = math.exp(-(second**2) / (4 * third))
    expected = {
        "zero_equivalent_dose": 0.36940441,
        "peak_dose": 0.18470220,  # MRD, the dose of the most response
        "peak_response": 34.238431,
        "peak_stimulation": 0.56416,
        "area_ratio": 0.26424938,  # RAUC
        "effective_dose 50": 0.47961651,  # RIP50, half of the control
        f"effective_dose {100 - 50 * lift!r}": 0.41461424,  # RIMP50, half of the peak
    }
    return Case(
        "Poisson log-quadratic",
        LogQuadratic(),
        {"control": control, "peak_stimulation": lift - 1, "peak_dose": peak},
        expected,
        lambda x: np.exp(first + second * x + third * x**2),
        np.repeat([0, 0.05, 0.1, 0.25, 0.4, 0.6], 2),
        dict.fromkeys(expected, 3e-08) | {"peak_stimulation": 1e-5},
    )


BELLS = [
    linear_exponential(3.0, 5.0),
    linear_exponential(1.6, 20.0),
    ricker(4.0, 0.6),
    ricker(0.9, 1.5),
    # peers.md 4.5: the top of the acy example of tcplfit2 lies at 1.0 and is 1.99600599, AC(1) 0.10000007, 9.99999333
    gain_loss(2.0, 0.1, 3.0, 10.0, 3.0, 1.0),
    # peers.md 4.5: the signature that tcplfit2 fits
    gain_loss(0.7883, 9.0696, 2.5650, 286.8063, 0.8523, 0.1),
    feed_forward(3.0, 2.0, 50.0, 1.5),
    quadratic(2.0, 0.3, -0.004),
    umbrella(0.3, 0.8, 1.3, 2.1, 120.0),
    umbrella(5.0, 2.0, 0.8, 0.6, 150.0),
    poisson_quadratic(),
]


# --- thresholds and J-shapes ------------------------------------------------------------------------------------------


def nec_hormesis(tau, a, decline, eta, peak):
    """science.md 1.7: (tau + a x) e^(-B max(x - eta, 0)).

    The corner of the curve is rounded over a fiftieth of the threshold: beyond 1.7 thresholds nothing of it is left,
    and a peak in the corner obeys (with L the logistic function) s / (1 + s z) = B eta L(50 (z - 1)).
    """
    ratio = decline * tau / a

    def level(q):
        w = lambert(-q * ratio * math.exp(-ratio - decline * eta), -1)
        return -tau / a - w / decline

    s, rate = a * eta / tau, decline * eta
    if peak == "corner":
        assert decline * (tau + a * eta) >= a
        z = 1.0
        for _ in range(200):
            share = s / (1 + s * z) / rate
            z = 1 + math.log(share / (1 - share)) / 50
        assert z == pytest.approx(1, abs=0.05)
        top = eta * z
        rest = (max(50 * (z - 1), 0) + math.log1p(math.exp(-abs(50 * (z - 1))))) / 50
        height = tau * (1 + s * z) * math.exp(-rate * rest)
    else:
        assert decline * (tau + a * eta) < a
        top = 1 / decline - tau / a
        height = (tau + a * top) * math.exp(-decline * (top - eta))
    expected = {
        "peak_dose": top,
        "peak_response": height,
        "zero_equivalent_dose": level(1),
        "effective_dose 50": level(0.5),
        "effective_dose 90": level(0.1),
        "stimulation_dose_left 10": 0.1 * tau / a,
    }
    if level(1.1) > 1.7 * eta:
        expected["stimulation_dose_right 10"] = level(1.1)
    values = {"control": tau, "threshold_stimulation": s, "threshold": eta, "decline": rate}
    return Case(f"nechorme {peak}", ThresholdHormesis(), values, expected)


def hunt_bowman():
    """science.md 1.8, peers.md 4.6: c1 = 170, tau = 0.04, b0 = 1.46, b1 = 40, a risk with its nadir at tau / 2."""
    c1, tau, b0, b1 = 170.0, 0.04, 1.46, 40.0
    control = 1 / (1 + math.exp(b0))
    values = {"control": control, "span": 1 - control, "peak_stimulation": c1 * tau**2 / 4 / control}
    values |= {"zero_equivalent_dose": tau, "onset": b0, "decline": b1 * tau}

    def harm(percent):
        risk = control * (1 + percent / 100)
        return tau + (b0 + math.log(risk / (1 - risk))) / b1

    depth = 2 * 0.1 * control / (c1 * tau**2 / 4)
    expected = {
        "peak_dose": 0.02,
        "peak_response": 0.12046733,
        "peak_stimulation": 0.068 / 0.18846733,
        "zero_equivalent_dose": 0.04,
        "effective_dose 10": harm(10),
        "effective_dose 50": harm(50),
        "stimulation_dose_left 10": 0.02 * (1 - math.sqrt(1 - depth / 2)),
        "stimulation_dose_right 10": 0.02 * (1 + math.sqrt(1 - depth / 2)),
    }

    def published(x):
        near = c1 * x**2 - c1 * tau * x + control
        return np.where(x <= tau, near, 1 / (1 + np.exp(b0 - b1 * (x - tau))))

    doses = np.repeat([0, 0.01, 0.02, 0.04, 0.08, 0.15], 2)
    digits = {"peak_response": 1e-7, "peak_stimulation": 1e-7}
    return Case("Hunt-Bowman", HuntBowman(direction="down"), values, expected, published, doses, digits)


def exp_log():
    """science.md 1.8, peers.md 4.6: c0 = 0.15, c1 = 89, b0 = 3.2, b1 = 41."""
    c0, c1, b0, b1 = 0.15, 89.0, 3.2, 41.0
    start = 1 / (1 + math.exp(b0))
    control, span = c0 + start, 1 - start - c0
    values = {"control": control, "span": span, "amplitude": c0 / control, "decline_dose": b0 / b1}
    values |= {"dose_ratio": b1 / (b0 * c1), "steepness": b0}
    assert control == pytest.approx(0.18916572, abs=1e-8)
    expected = {"peak_dose": 0.01720416, "peak_response": 0.10867790, "zero_equivalent_dose": 0.04197718}
    return Case(
        "exp-log",
        ExponentialLogistic(direction="down"),
        values,
        expected,
        lambda x: c0 * np.exp(-c1 * x) + 1 / (1 + np.exp(b0 - b1 * x)),
        np.repeat([0, 0.01, 0.02, 0.04, 0.08, 0.15], 2),
        dict.fromkeys(expected, 5e-07),
    )


THRESHOLDS = [
    nec_hormesis(2.0, 0.15, 0.2, 5.0, "corner"),
    nec_hormesis(2.0, 1.0, 0.05, 2.0, "beyond"),
    hunt_bowman(),
    exp_log(),
]


# --- the hormetic log-logistic family ---------------------------------------------------------------------------------


def brain_cousens(psi, share=0.0, half=30.0):
    """science.md 1.1 with b = 2, where every root is that of a quadratic: c + D (1 + psi z) / (1 + (1 + 2 psi) z^2)."""
    control, k = 2.0, 1 + 2 * psi
    span = control * (1 - share)
    zero = psi / (1 + 2 * psi)
    kappa = psi * zero
    m = (math.sqrt(1 + kappa) - 1) / kappa
    s = 1 / (2 * m) - 1

    def level(fraction, side):  # where the mean is the control plus a fraction of the span
        q = 1 + fraction
        root = math.sqrt(psi**2 + 4 * q * k * (1 - q))
        return half * (psi + side * root) / (2 * q * k)

    def of_control(percent, side):
        return level(percent / 100 / (1 - share), side)

    def primitive(z):
        return math.atan(math.sqrt(k) * z) / math.sqrt(k) + psi / (2 * k) * math.log(1 + k * z**2)

    expected = {
        "peak_dose": half * m * zero,
        "peak_stimulation": s * (1 - share),
        "peak_stimulation_span": s,
        "zero_equivalent_dose": half * zero,
        "zone_fold": 2 * (1 + s),  # LDS / M = (b (1 + s))^(1 / (b - 1))
        "effective_dose 10": of_control(-10, 1),
        "effective_dose 25": of_control(-25, 1),
        "effective_dose 50": of_control(-50, 1),
        "area_linear": span * half * (primitive(zero) - zero),
        "area_ratio": span * (primitive(zero) - zero) / (control * zero + span * (primitive(zero) - zero)),
    }
    if s * (1 - share) > 0.1:
        expected |= {
            "stimulation_dose_left 10": of_control(10, -1),
            "stimulation_dose_right 10": of_control(10, 1),
            "window_lower 0.1": of_control(10, -1),
            "window_upper 0.1": of_control(10, 1),
        }
    values = {"control": control, "peak_stimulation": s * (1 - share), "half_effect_dose": half, "slope_excess": 1.0}
    template = BrainCousens(lower_asymptote="free") if share else BrainCousens()
    return Case(
        f"Brain-Cousens psi={psi} c={share:g}",
        template,
        values | ({"lower_share": share} if share else {}),
        expected,
        lambda x: control - span + span * (1 + psi * x / half) / (1 + k * (x / half) ** 2),
    )


def crs(name, alpha, b, d, phi, f, expected, **digits):
    """Cedergreen-Ritz-Streibig as published: (d + f exp(-1 / x^alpha)) / (1 + x^b / phi), a dose scale of one unit."""
    values = {"control": d, "amplitude": f / d, "inhibition_dose": phi ** (1 / b), "slope": b}
    values |= {"alpha": alpha, "dose_scale": 1.0}

    def published(x):
        with np.errstate(divide="ignore"):
            return (d + f * np.exp(-1 / x**alpha)) / (1 + x**b / phi)

    return Case(f"CRS {name} alpha={alpha}", CedergreenRitzStreibig(), values, expected, published, digits=digits)


def crs_by_peak(alpha, b, d, peak, zero):
    """peers.md 2.4, after Belz and Piepho 2015: phi and f from the peak dose and the LDS."""
    slope = alpha * peak ** (-alpha - 1)
    at_peak, at_zero = math.exp(-1 / peak**alpha), math.exp(-1 / zero**alpha)
    fold = (zero / peak) ** b
    phi = fold * at_peak * (slope - b / peak) * peak**b
    phi /= b / peak * at_zero - fold * at_peak * slope
    odds = peak**b / phi
    f = d * odds * (b / peak) / (at_peak * slope * (1 + odds) - at_peak * odds * (b / peak))
    m = peak / zero
    # science.md 1.1, the general identity of the peak: 1 + s = H'(m) / (b m^(b-1))
    ramp = math.exp(-(zero**-alpha) * (m**-alpha - 1)) * alpha * zero**-alpha * m ** (-alpha - 1)
    expected = {"peak_dose": peak, "zero_equivalent_dose": zero, "zone_fold": zero / peak}
    expected["peak_stimulation"] = ramp / (b * m ** (b - 1)) - 1
    return crs("by M and LDS", alpha, b, d, phi, f, expected), phi, f


def crs_by_zone(alpha, b, d, benefit, zero, side):
    """peers.md 2.4, after Belz and Piepho 2015: phi and f from ED110 and LDS, whose ratio is their zone."""
    at_benefit, at_zero = math.exp(-1 / benefit**alpha), math.exp(-1 / zero**alpha)
    phi = 10 * zero**b / (at_zero / at_benefit) - 11 * benefit**b
    f = (1.1 * d * (1 + benefit**b / phi) - d) / at_benefit
    expected = {f"stimulation_dose_{side} 10": benefit, "zero_equivalent_dose": zero}
    return crs("by ED110 and LDS", alpha, b, d, phi, f, expected)


CRS_EXAMPLE = (0.25, 0.4829, 0.9733, 0.251213, 2.623169)
LOG_LOGISTIC = [
    brain_cousens(1.0),  # science.md 1.1: s = 7.7 %
    brain_cousens(10.0),
    brain_cousens(25.0, share=0.3),
    crs_by_peak(*CRS_EXAMPLE)[0],
    crs_by_peak(0.5, 1.1, 2.0, 0.7, 3.0)[0],
    crs_by_peak(1.0, 2.0, 2.0, 1.1, 3.5)[0],
    crs_by_zone(0.5, 1.2, 2.0, 2.0, 3.0, "right"),
    crs_by_zone(1.0, 1.8, 2.0, 2.5, 4.0, "right"),
]


# --- the monotone comparators of science.md 1.9 -----------------------------------------------------------------------

PERCENTS = (10, 50, 90)


def comparator(template, values, dose_of, published, tolerance=ROOT):
    expected = {f"effective_dose {percent}": dose_of(percent / 100) for percent in PERCENTS}
    digits = dict.fromkeys(expected, tolerance)
    values = {"control": 2.0} | values
    return Case(type(template).__name__, template, values, expected, published, digits=digits)


MONOTONE = [
    comparator(
        Exponential(), {"decline_dose": 7.0}, lambda k: -7 * math.log1p(-k), lambda x: 2 * np.exp(-x / 7)
    ),  # EXD.2
    comparator(
        LogLogistic5(),
        {"scale_dose": 5.0, "slope": 1.4, "asymmetry": 0.6},
        lambda k: 5 * ((1 - k) ** (-1 / 0.6) - 1) ** (1 / 1.4),
        lambda x: 2 / (1 + (x / 5) ** 1.4) ** 0.6,
    ),  # LL.5
    comparator(
        Weibull1(),
        {"scale_dose": 5.0, "slope": 1.4},
        lambda k: 5 * (-math.log1p(-k)) ** (1 / 1.4),
        lambda x: 2 * np.exp(-((x / 5) ** 1.4)),
    ),  # W1
    comparator(
        Weibull2(),
        {"scale_dose": 5.0, "slope": 1.4},
        lambda k: 5 * (-math.log(k)) ** (-1 / 1.4),
        lambda x: 2 * (1 - np.exp(-((np.maximum(x, 1e-60) / 5) ** -1.4))),
    ),  # W2
    comparator(
        LogNormalDecline(),
        {"half_effect_dose": 5.0, "slope": 1.4},
        lambda k: 5 * math.exp(ndtri(k) / 1.4),
        None,
        1e-6,  # the normal distribution function of the curves has a relative error of 1.2e-7
    ),  # LN.4
    comparator(
        Gompertz(),
        {"decline_dose": 5.0, "rate": 0.6},
        lambda k: 5 * math.log1p(-math.log1p(-k) / 0.6),
        lambda x: 2 * np.exp(-0.6 * np.expm1(x / 5)),
    ),  # its shape from dose 0 on
    comparator(
        Threshold(),
        # With a slow decline no percentage lies within the rounded corner.
        {"threshold": 3.0, "decline": 0.15},
        lambda k: 3 - 3 * math.log1p(-k) / 0.15,
        None,
    ),  # NEC.3
]

CASES = [*RECEPTORS, *BELLS, *THRESHOLDS, *LOG_LOGISTIC, *MONOTONE]
NUMBERS = [pytest.param(case, key, id=f"{case.name}: {key}") for case in CASES for key in case.expected]
DOSES = [item for item in NUMBERS if item.values[1].split()[0].endswith(("dose", "left", "right", "lower", "upper"))]
LEVELS = [
    item
    for item in DOSES
    if not item.values[1].startswith("peak") and np.isfinite(item.values[0].expected[item.values[1]])
]
PEAKED = [case for case in CASES if np.isfinite(case.expected.get("peak_response", np.nan))]
PUBLISHED = [pytest.param(case, id=case.name) for case in CASES if case.published]


@pytest.mark.parametrize(("case", "key"), NUMBERS)
def test_the_package_finds_it(case, key):
    tolerance = max(case.digits.get(key, 0), TOLERANCES.get(key.split()[0], ROOT))
    if key.startswith("window_fold"):
        tolerance = 2 * ROOT
    assert case.found(key) == pytest.approx(case.expected[key], rel=tolerance, nan_ok=True)


@pytest.mark.parametrize(("case", "key"), LEVELS)
def test_the_curve_has_the_level_there(case, key):
    # A printed dose has a precision of its own; none of the curves is steeper than a power of two there.
    printed = case.digits.get(key, 0)
    tolerance = 2 * printed if printed > ROOT else 1e-10
    assert case.curve(case.expected[key]) == pytest.approx(case.response_at(key), rel=tolerance)


@pytest.mark.parametrize("case", PEAKED, ids=lambda case: case.name)
def test_the_curve_has_its_peak_there(case):
    height = case.curve(case.expected["peak_dose"])
    assert height == pytest.approx(case.expected["peak_response"], rel=case.digits.get("peak_response", 1e-10))


@pytest.mark.parametrize("case", PUBLISHED)
def test_the_curve_is_the_published_one(case):
    doses = np.concatenate([[0.0], case.doses.max() * np.geomspace(1e-5, 10, 60)])
    np.testing.assert_allclose(case.curve(doses), case.published(doses), rtol=1e-10, atol=1e-12)


# --- what the sources print of these closed forms ---------------------------------------------------------------------

BY_NAME = {case.name: case for case in CASES}
PRINTED = [
    ("gain-loss p=3.0 q=3.0", "peak_dose", 1.0, 12),  # peers.md 4.5, the acy example of tcplfit2
    ("gain-loss p=3.0 q=3.0", "peak_response", 2.99600599, 8),  # its top of 1.99600599 on a control of one
    ("gain-loss p=3.0 q=3.0", "stimulation_dose_left 100", 0.10000007, 8),  # its AC(1) of the gain
    ("gain-loss p=3.0 q=3.0", "stimulation_dose_right 100", 9.99999333, 8),  # its AC(1) of the loss
    ("Brain-Cousens psi=1.0 c=0", "peak_stimulation", 0.077, 3),  # science.md 1.1
    ("Haldane K1=10.0 K2=90.0", "peak_response", 1.6, 9),  # science.md 2.3, the static maximum on a control of one
    ("Haldane K1=10.0 K2=90.0", "peak_dose", 30.0, 6),  # science.md 1.3, the root of K1 K2
]


@pytest.mark.parametrize(("name", "key", "number", "decimals"), PRINTED)
def test_the_closed_form_is_what_its_source_prints(name, key, number, decimals):
    case = BY_NAME[name]
    assert case.expected[key] == pytest.approx(number, abs=0.6 * 10.0**-decimals)
    assert case.found(key) == pytest.approx(number, rel=TOLERANCES.get(key, ROOT), abs=0.6 * 10.0**-decimals)


def test_cedergreen_example_has_the_printed_coefficients():
    # peers.md 2.4, from a peak dose and an LDS whose sixth digit moves phi by 3e-6
    _, phi, f = crs_by_peak(*CRS_EXAMPLE)
    assert phi == pytest.approx(1.074111, abs=3e-6)
    assert f == pytest.approx(3.1674, abs=5e-5)


def test_hill_five_of_mixtox_is_a_product_of_hills():
    # science.md 1.2: inhibition 1 - (1 + (G - 1) / (1 + (a / x)^b)) (1 - 1 / (1 + (d / x)^e)), A = G - 1.
    top, low, rise, high, fall = 1.6, 0.4, 1.3, 12.0, 2.2
    doses = np.geomspace(1e-3, 1e4, 60)
    stimulated = 1 + (top - 1) / (1 + (low / doses) ** rise)
    inhibition = 1 - stimulated * (1 - 1 / (1 + (high / doses) ** fall))
    values = {"control": 1.0, "amplitude": top - 1, "inhibition_dose": high, "dose_ratio": low / high}
    curve = ProductHill(**values, stimulation_slope=rise, slope=fall)
    np.testing.assert_allclose(1 - curve(doses), inhibition, rtol=1e-10, atol=1e-12)


def test_initial_stimulation_of_lettuce_is_59_for_a_peak_of_22_percent():
    # science.md 1.1: psi has no usable scale, 58.9 on lettuce.
    curve = BrainCousens(control=0.967177, peak_stimulation=0.221561, half_effect_dose=35.052, slope_excess=0.2827176)
    assert math.exp(curve.log_coefficient()) == pytest.approx(58.9, abs=0.05)


@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_a_linear_exponential_rate_up_to_one_has_no_peak(rate):
    # science.md 1.6: hormesis if and only if phi > 1.
    values = {"control": 2.0, "rate": rate, "decline_dose": 5.0}
    case = Case("", LinearExponential(), values, {"peak_dose": math.nan, "zero_equivalent_dose": math.nan})
    assert all(math.isnan(case.found(key)) for key in case.expected)
