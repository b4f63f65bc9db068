"""Every curve: one formula for every kind of number, dose 0, gradients, units, limits, published numbers."""

import decimal
import math
import re

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pytensor.compile.mode import Mode
from scipy.integrate import quad
from scipy.optimize import brentq

from hormesis_fit.curves import (
    AVERAGE,
    CURVES,
    BellTail,
    BrainCousens,
    Constant,
    Curve,
    LogLogistic,
    ProductHill,
    SigmoidEmax,
)
from hormesis_fit.curves.hormetic import bell
from hormesis_fit.parameter import UNITS

DOSES = np.array([0.0, 1e-9, 1.0, 1e3, 1e6])
INTERPRETED = Mode(linker="py", optimizer="fast_compile")
UNREWRITTEN = Mode(linker="py", optimizer=None)  # the rewriter takes half a minute over a second derivative


def rows(template, draws):
    """Return a curve whose parameters are columns, to meet a row of doses."""
    return template.with_values({name: values[:, None] for name, values in draws.items()})


def single(template, draws, index=0):
    """Return a curve of plain numbers."""
    return template.with_values({name: float(values[index]) for name, values in draws.items()})


def assert_invariant(known, priors, *, probability=False):
    """Other units of dose and response change the priors by the factors of their units, and nothing else."""
    constants = {"control": 0.98, "response": 0.32, "log_dose": 1.7, "log_range": 5.7}
    dose_factor, response_factor = 1e3, 1.0 if probability else 1e-3
    shifted = {
        "control": constants["control"] * response_factor,
        "response": constants["response"] * response_factor,
        "log_dose": constants["log_dose"] + math.log(dose_factor),
    }
    for name, prior in priors.items():
        unit = known[name].unit
        before, after = (prior.scaled(unit, scales).arguments for scales in (constants, constants | shifted))
        factor = {"1": 1.0, "dose": dose_factor, "response": response_factor, "1 / dose": 1 / dose_factor}
        factor["response / dose"] = response_factor / dose_factor
        if prior.distribution in ("LogNormal", "LogitNormal"):
            expected = before | {"mu": before["mu"] + math.log(factor[unit])}
        else:
            expected = {argument: value * factor[unit] for argument, value in before.items()}
        assert after == pytest.approx(expected if unit != "1" else before, rel=1e-12), name


class TestOneFormulaForEveryKindOfNumber:
    def test_float_is_array(self, template, prior_draws):
        draws = prior_draws(template, 20)
        table = rows(template, draws)(DOSES)
        one_by_one = [[single(template, draws, index)(float(dose)) for dose in DOSES] for index in range(20)]
        np.testing.assert_allclose(np.broadcast_to(table, (20, DOSES.size)), one_by_one, rtol=1e-13)

    def test_dataarray_broadcasts_by_name(self, template, prior_draws):
        draws = prior_draws(template, 6)
        named = {name: xr.DataArray(values.reshape(2, 3), dims=("chain", "draw")) for name, values in draws.items()}
        found = template.with_values(named)(xr.DataArray(DOSES, dims="dose", coords={"dose": DOSES}))
        assert found.sizes == {"chain": 2, "draw": 3, "dose": DOSES.size}
        expected = np.broadcast_to(rows(template, draws)(DOSES), (6, DOSES.size))
        np.testing.assert_allclose(found.transpose("chain", "draw", "dose").values.reshape(6, -1), expected, rtol=1e-13)

    def test_pytensor_with_finite_gradients(self, template, prior_draws):
        draws = {name: values[:, None] for name, values in prior_draws(template, 8).items()}
        symbols = {name: pt.dmatrix(name) for name in draws}
        # One copy of the parameters for every dose: the gradient of the sum holds the gradient at each dose.
        graph = template.with_values(symbols)(pt.constant(DOSES[None, :])) + 0 * symbols["control"]
        gradients = pt.grad(graph.sum(), [*symbols.values()], disconnected_inputs="ignore")
        evaluate = pytensor.function([*symbols.values()], [graph, *gradients], mode=INTERPRETED)
        copies = [np.repeat(values, DOSES.size, axis=1) for values in draws.values()]
        mean, *slopes = evaluate(*copies)
        np.testing.assert_allclose(
            mean, np.broadcast_to(template.with_values(draws)(DOSES), mean.shape), rtol=1e-9, atol=1e-13
        )
        at_one = [*DOSES].index(1.0)
        for (name, values), slope in zip(draws.items(), slopes, strict=True):
            assert np.all(np.isfinite(slope)), name
            step = 1e-5 * values
            ends = [template.with_values(draws | {name: values + shift})(DOSES) for shift in (-step, step)]
            numeric = (np.broadcast_to(ends[1] - ends[0], mean.shape) / (2 * step))[:, at_one]
            scale = np.abs(mean[:, at_one]) / np.abs(values[:, 0])
            np.testing.assert_allclose(slope[:, at_one] / scale, numeric / scale, rtol=2e-5, atol=1e-8, err_msg=name)


class TestEveryCurve:
    def test_dose_zero_is_exactly_the_control(self, template, prior_draws):
        curve = rows(template, prior_draws(template, 300))
        np.testing.assert_array_equal(np.broadcast_to(curve(np.zeros(1)), (300, 1)), curve.control)

    def test_finite_at_every_dose(self, template, prior_draws):
        assert np.all(np.isfinite(rows(template, prior_draws(template, 1000))(DOSES)))

    def test_leads_where_its_trend_says(self, template, prior_draws):
        slopes = {"slope", "stimulation_slope", "slope_excess", "asymmetry", "rise", "fall"}
        draws = {name: np.clip(x, 1, 9) if name in slopes else x for name, x in prior_draws(template, 300).items()}
        if template.trend == "open":
            pytest.skip("leads where its parameters say")
        end = {"falling": 0.0, "rising": 2.0, "returning": 1.0}[template.trend]
        efficacy = {"transduction": np.full(300, 1e30)} if "transduction" in draws else {}
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(rows(template, draws | efficacy).shape(np.array([1e20])), end, atol=1e-9)

    def test_can_exceed_the_control_exactly_when_hormetic_or_rising(self, template, prior_draws):
        curve = rows(template, prior_draws(template, 300))
        gain = curve.sign * (curve(np.geomspace(1e-6, 1e6, 400)) - curve.control)
        tallest = gain.max() / np.max(np.abs(curve.control))
        assert bool(tallest > 0.01) is (template.hormetic or template.trend in ("rising", "open"))

    @pytest.mark.parametrize(("dose_factor", "response_factor"), [(1000.0, 1.0), (1.0, 1000.0), (1e-6, 1e-3)])
    def test_formula_is_invariant_to_units(self, template, prior_draws, dose_factor, response_factor):
        response_factor = 1.0 if template.link == "logit" else response_factor  # a probability has no unit
        factor = {"1": 1.0, "dose": dose_factor, "response": response_factor, "1 / dose": 1 / dose_factor}
        factor["response / dose"] = response_factor / dose_factor
        draws, known = prior_draws(template, 50), template.parameters()
        other = {name: values * factor[known[name].unit] for name, values in draws.items()}
        np.testing.assert_allclose(
            rows(template, other)(DOSES * dose_factor),
            response_factor * rows(template, draws)(DOSES),
            rtol=1e-9,
            atol=1e-13 * response_factor,
        )

    def test_priors_are_invariant_to_units(self, template):
        assert_invariant(template.parameters(), template.priors(), probability=template.link == "logit")

    def test_down_mirrors_up_about_the_control(self, curve_class, prior_draws):
        up, down = (curve_class(scale="interval", direction=direction) for direction in ("up", "down"))
        draws = prior_draws(up, 50)
        assert set(up.parameters()) == set(down.parameters())
        raised, lowered = rows(up, draws)(DOSES), rows(down, draws)(DOSES)
        expected = 2 * rows(up, draws).control + 0 * DOSES
        np.testing.assert_allclose(raised + lowered, expected, rtol=1e-12, atol=1e-12 * np.abs(raised).max())

    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_stimulation_relative_to_control_is_a_gain_on_the_interval_scale(self, curve_class, prior_draws, direction):
        ratio, interval = (curve_class(scale=scale, direction=direction) for scale in ("ratio", "interval"))
        draws = prior_draws(ratio, 50)
        names = {"peak_stimulation": "peak_gain", "amplitude": "amplitude_gain", "relative_slope": "slope"}
        names["threshold_stimulation"] = "threshold_gain"
        same = {names.get(name, name): x * draws["control"] if name in names else x for name, x in draws.items()}
        same = {"span": draws["control"]} | same if "span" in interval.parameters() else same
        np.testing.assert_allclose(
            rows(interval, same)(DOSES) + 0 * DOSES, rows(ratio, draws)(DOSES) + 0 * DOSES, rtol=1e-9, atol=1e-12
        )

    def test_free_asymptote_of_zero_is_the_zero_asymptote(self, curve_class, prior_draws):
        zero, free = (curve_class(lower_asymptote=kind) for kind in ("zero", "free"))
        draws = prior_draws(zero, 50)
        shares = {"lower_share": np.zeros(50)} if "lower_share" in free.parameters() else {}
        assert bool(shares) is (curve_class.trend == "falling")
        np.testing.assert_allclose(rows(free, draws | shares)(DOSES), rows(zero, draws)(DOSES), rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(
        "options", [{}, {"lower_asymptote": "free"}, {"direction": "down"}, {"scale": "interval"}], ids=str
    )
    def test_peak_of_brain_cousens_is_what_was_asked_for(self, prior_draws, options):
        template = BrainCousens(**options)
        draws = prior_draws(template, 40) | {"slope_excess": np.linspace(0.2, 5, 40)}
        curve = rows(template, draws)
        slope = 1 + curve.slope_excess
        gain = curve.peak_gain if template.scale == "interval" else curve.peak_stimulation * curve.control
        s = gain / curve.reach
        zero = curve.half_effect_dose * (2 + np.exp(-curve.log_coefficient())) ** (-1 / curve.slope_excess)
        peak = zero * (slope * (1 + s)) ** (-1 / curve.slope_excess)
        height = curve.sign * (curve(peak) - curve.control)
        np.testing.assert_allclose(height, gain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("direction", ["up", "down"])
class TestLink:
    """science.md 5: the shape multiplies a positive mean, or the odds of a probability."""

    def pair(self, curve_class, direction, link, prior_draws):
        template = curve_class(link=link, direction=direction)
        draws = prior_draws(template, 200)
        return rows(template, draws), rows(template, draws).shape(DOSES) + 0 * DOSES

    def test_the_mean_stays_in_its_support(self, curve_class, direction, prior_draws):
        for link, highest in (("log", np.inf), ("logit", 1.0)):
            curve, _ = self.pair(curve_class, direction, link, prior_draws)
            mean = curve(np.array([0.0, 1e-9, 0.1, 1.0, 10.0, 1e3]))
            assert np.all((mean >= 0) & (mean <= highest)), link

    def test_hormesis_acts_on_logs_or_on_log_odds(self, curve_class, direction, prior_draws):
        scale = {"log": np.log, "logit": lambda p: np.log(p / (1 - p))}
        for link, transform in scale.items():
            curve, shape = self.pair(curve_class, direction, link, prior_draws)
            match curve.trend:
                case "rising":
                    moved = curve.log_span * (shape - 1)
                case "open":
                    moved = shape - 1
                case _:
                    moved = np.log(np.maximum(shape, 1e-99))
            # Further out a probability is next to 0 or 1.
            clear = np.broadcast_to(np.abs(moved) < 12, (200, DOSES.size))
            with np.errstate(divide="ignore"):
                found = transform(curve(DOSES) + 0 * DOSES) - transform(curve.control)
            expected = np.broadcast_to(curve.sign * moved, clear.shape)
            np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-6, atol=1e-6)


class TestDeclaration:
    def test_class_documents_itself(self, curve_class):
        summary = curve_class.__doc__.strip().splitlines()[0]
        assert re.fullmatch(r"[A-Z][^.]+\.", summary)
        assert curve_class.__doc__ != Curve.__doc__
        assert curve_class.formula.startswith(r"\mu(d) = ")
        assert re.fullmatch(r"https://doi\.org/10\.\d{4,9}/\S+", curve_class.source)
        assert CURVES[curve_class.__name__] is curve_class

    def test_parameters_have_units_and_words(self, curve_class):
        for name, known in curve_class.declared().items():
            assert known.unit in UNITS, name
            assert known.symbol, name
            assert re.fullmatch(r"[A-Za-z].*[^.]", known.description), name

    def test_own_symbols_occur_in_the_formula_or_the_notes(self, curve_class):
        text = f"{curve_class.formula}\n{curve_class.__doc__}"
        for name in set(curve_class.declared()) - set(Curve.declared()):
            for letter in re.split(r" [/-] ", curve_class.declared()[name].symbol):
                found = letter.isdigit() or re.search(rf"(?<![A-Za-z\\]){re.escape(letter)}(?![A-Za-z])", text)
                assert found, f"{letter} of {name} in {text}"

    def test_label_names_what_differs_from_the_default(self, curve_class):
        name = curve_class.__name__
        assert curve_class().label == name
        assert curve_class(lower_asymptote="free", control=2.0).label == f"{name}(lower_asymptote=free, control=2.0)"

    def test_a_curve_without_shape_says_so(self):
        with pytest.raises(NotImplementedError, match=r"^Curve does not define its shape\.$"):
            Curve(control=1.0)(2.0)

    def test_the_average_holds_both_kinds_and_both_trends_of_null(self):
        members = [CURVES[name] for name in AVERAGE]
        assert {curve.trend for curve in members if not curve.hormetic} == {"falling", "rising", "returning"}
        assert sum(curve.hormetic for curve in members) >= 2


GRID = np.concatenate([[0.0], np.geomspace(1e-6, 1e6, 200)])
HALF = 5.0
DECLINE = {"control": 2.0, "half_effect_dose": HALF, "slope": 1.7}


HORMETIC = {"control": 2.0, "peak_stimulation": 0.0, "half_effect_dose": HALF, "slope_excess": 0.7}
PRODUCT = {"control": 2.0, "inhibition_dose": HALF, "slope": 1.7, "dose_ratio": 0.1, "stimulation_slope": 2.0}


@pytest.mark.parametrize(
    ("special", "general", "tolerance"),
    [
        (BrainCousens(**HORMETIC | {"peak_stimulation": 1e-14}), LogLogistic(**DECLINE), 1e-5),
        (BrainCousens(**HORMETIC), LogLogistic(**DECLINE), 1e-12),
        (ProductHill(**PRODUCT, amplitude=0.0), LogLogistic(**DECLINE), 1e-14),
        (BellTail(**DECLINE, amplitude=0.0, dose_ratio=0.1, width=0.5), LogLogistic(**DECLINE), 1e-14),
        (SigmoidEmax(**DECLINE, span=0.0), Constant(control=2.0), 1e-14),
        (SigmoidEmax(**DECLINE, span=2.0, direction="down"), LogLogistic(**DECLINE), 1e-13),
    ],
    ids=["BrainCousens s->0", "BrainCousens s=0", "ProductHill A=0", "BellTail A=0", "Emax span=0", "Emax down"],
)
def test_nesting(special, general, tolerance):
    np.testing.assert_allclose(special(GRID), general(GRID), rtol=0, atol=tolerance)


def test_constant_is_constant():
    np.testing.assert_array_equal(Constant(control=2.0)(GRID), np.full(GRID.size, 2.0))


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
def test_log_logistic_effective_dose(percent):
    dose = HALF * (percent / (100 - percent)) ** (1 / DECLINE["slope"])
    assert LogLogistic(**DECLINE)(dose) == pytest.approx(2.0 * (1 - percent / 100), rel=1e-13)


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
def test_sigmoid_emax_effective_dose(percent):
    dose = HALF * (percent / (100 - percent)) ** (1 / DECLINE["slope"])
    assert SigmoidEmax(**DECLINE, span=3.0)(dose) == pytest.approx(2.0 + 3.0 * percent / 100, rel=1e-13)


# --- Brain-Cousens: science.md 1.1 ----------------------------------------------------------------------------------

RANDOM = np.random.default_rng(7)
TRUTHS = [
    pytest.param(*row, id=f"b={row[0]:.3g} s={row[1]:.3g}")
    for row in zip(1 + RANDOM.lognormal(0, 0.8, 8), RANDOM.uniform(0.02, 1.5, 8), RANDOM.uniform(0, 2, 8), strict=True)
]


def exact_log_psi(b, s):
    """Solve b p - ln(1 + 2 e^p) = a with fifty digits."""
    with decimal.localcontext() as context:
        context.prec = 50
        b, s = decimal.Decimal(b), decimal.Decimal(s)
        a = (b - 1) * (s.ln() - (1 + s).ln() - (b - 1).ln()) + b * (b.ln() + (1 + s).ln())
        p = max(a / b, (a + decimal.Decimal(2).ln()) / (b - 1))
        for _ in range(60):
            w = 2 * p.exp()
            p -= (b * p - (1 + w).ln() - a) / (b - w / (1 + w))
        return p


class Drc:
    """The parameters of drc, with M and LDS, from those of the package by the identities of science.md 1.1."""

    def __init__(self, b, s, c, span=1.7, half=40.0):
        self.b, self.s, self.c, self.span, self.half = b, s, c, span, half
        self.curve = BrainCousens(
            lower_asymptote="free",
            control=c + span,
            lower_share=c / (c + span),
            peak_stimulation=s * span / (c + span),
            half_effect_dose=half,
            slope_excess=b - 1,
        )
        self.psi = math.exp(exact_log_psi(b, s))
        self.lds = half * (self.psi / (1 + 2 * self.psi)) ** (1 / (b - 1))
        self.m = (b * (1 + s)) ** (-1 / (b - 1))
        self.peak = self.m * self.lds
        self.kappa = s / ((1 + s) * (b - 1)) * (b * (1 + s)) ** (b / (b - 1))
        self.f, self.e = span * self.kappa / self.lds, self.lds * self.kappa ** (-1 / b)
        self.doses = np.concatenate([[0.0], self.lds * np.geomspace(1e-4, 1e4, 300)])

    def decline(self, denominator):
        return self.c + (self.span + self.f * self.doses) / (1 + denominator)

    def effective_dose(self, percent):
        def miss(log_dose):
            return self.curve(math.exp(log_dose)) - self.curve.control + self.span * percent / 100

        return math.exp(brentq(miss, math.log(self.peak), math.log(self.half * 1e60), xtol=1e-14))


@pytest.fixture
def drc(b, s, c):
    return Drc(b, s, c)


@pytest.mark.parametrize(("b", "s", "c"), TRUTHS)
class TestBrainCousens:
    def test_zero_equivalent_dose(self, drc):
        assert drc.curve(drc.lds) == pytest.approx(drc.curve.control, rel=1e-11)
        assert drc.lds == pytest.approx(drc.e * (drc.f * drc.e / drc.span) ** (1 / (drc.b - 1)), rel=1e-10)
        assert drc.lds == pytest.approx(drc.peak * (drc.b * (1 + drc.s)) ** (1 / (drc.b - 1)), rel=1e-12)

    def test_half_effect_dose_is_where_half_of_the_span_is_lost(self, drc):
        assert drc.curve(drc.half) == pytest.approx(drc.c + drc.span / 2, rel=1e-12)
        assert drc.psi == pytest.approx(drc.f * drc.half / drc.span, rel=1e-9)

    def test_peak(self, drc):
        height = drc.c + drc.span * drc.m ** (1 - drc.b) / drc.b
        assert drc.curve(drc.peak) == pytest.approx(height, rel=1e-11)
        assert height == pytest.approx(drc.curve.control + drc.s * drc.span, rel=1e-12)
        assert np.all(drc.curve(drc.peak * np.array([0.99, 1.01])) < height)

    def test_peak_is_the_root_of_its_equation(self, drc):
        def miss(z):
            return 1 - drc.b * z ** (drc.b - 1) - drc.kappa * (drc.b - 1) * z**drc.b

        assert brentq(miss, 0, drc.b ** (-1 / (drc.b - 1)), xtol=1e-15, rtol=1e-14) == pytest.approx(drc.m, rel=1e-9)

    @pytest.mark.parametrize(
        "denominator",
        [
            lambda d: (d.doses / d.e) ** d.b,
            lambda d: d.kappa * (d.doses / d.lds) ** d.b,
            lambda d: d.f * d.peak / (d.span * d.b - d.f * d.peak * (1 - d.b)) * (d.doses / d.peak) ** d.b,
            lambda d: d.f * d.lds / d.span * (d.doses / d.lds) ** d.b,
            lambda d: (1 + 2 * d.psi) * (d.doses / d.half) ** d.b,
        ],
        ids=["drc", "canonical", "Schabenberger M", "Schabenberger LDS", "van Ewijk-Hoekstra ED50"],
    )
    def test_published_forms(self, drc, denominator):
        np.testing.assert_allclose(drc.decline(denominator(drc)), drc.curve(drc.doses), rtol=1e-9)

    @pytest.mark.parametrize("percent", [10, 25, 50, 75])
    def test_published_form_in_any_effective_dose(self, drc, percent):
        dose = drc.effective_dose(percent)
        odds = percent / (100 - percent)
        factor = odds + (1 + odds) * drc.f * dose / drc.span
        np.testing.assert_allclose(drc.decline(factor * (drc.doses / dose) ** drc.b), drc.curve(drc.doses), rtol=1e-9)

    def test_strictly_unimodal(self, drc):
        steps = np.diff(drc.curve(np.geomspace(drc.peak * 1e-3, drc.half * 1e3, 4000)))
        turns = np.flatnonzero(np.diff(np.sign(steps)))
        assert turns.size == 1
        assert steps[0] > 0 > steps[-1]


@given(b=st.floats(1.05, 8), s=st.floats(0.01, 10))
@settings(max_examples=50, deadline=None, database=None)
def test_peak_lies_left_of_a_share_of_the_zero_equivalent_dose(b, s):
    drc = Drc(b, s, 0.0)
    bound = b ** (-1 / (b - 1))
    assert math.exp(-1) < bound < (0.5 if b < 2 else 1)
    assert np.all(np.diff(drc.curve(drc.lds * np.linspace(bound, 1, 5))) < 0)


class TestRoot:
    def test_six_steps_are_exact(self):
        slopes, peaks = np.geomspace(0.05, 7, 12) + 1, np.geomspace(1e-10, 10, 12)
        errors = [
            float(abs(decimal.Decimal(float(self.log_psi(b, s))) - exact_log_psi(b, s))) for b in slopes for s in peaks
        ]
        assert max(errors) <= 1e-13

    @staticmethod
    def log_psi(b, s):
        curve = BrainCousens(control=1.0, peak_stimulation=s, half_effect_dose=1.0, slope_excess=b - 1)
        return curve.log_coefficient()

    def test_derivatives_through_the_loop_are_those_of_the_root(self):
        b, s = 1.9, 0.3
        symbol = pt.dscalar("s")
        log_psi = self.log_psi(b, symbol)
        first = pt.grad(log_psi, symbol)
        p, *found = pytensor.function([symbol], [log_psi, first, pt.grad(first, symbol)], mode=UNREWRITTEN)(s)
        # b p - ln(1 + 2 e^p) = a(s): p' = a' / (b - g), p'' = a'' / (b - g) + g (1 - g) a'^2 / (b - g)^3.
        g = 2 * math.exp(p) / (1 + 2 * math.exp(p))
        slope, bend = (b - 1) / s + 1 / (1 + s), -(b - 1) / s**2 - 1 / (1 + s) ** 2
        expected = slope / (b - g), bend / (b - g) + g * (1 - g) * slope**2 / (b - g) ** 3
        assert found == pytest.approx(expected, rel=1e-10)

    def test_derivative_in_the_slope(self):
        excess, s = 0.9, 0.3
        symbol = pt.dscalar("excess")
        found = pytensor.function([symbol], pt.grad(self.log_psi(1 + symbol, s), symbol), mode=INTERPRETED)
        numeric = (exact_log_psi(1.9 + 1e-6, s) - exact_log_psi(1.9 - 1e-6, s)) / decimal.Decimal("2e-6")
        assert float(found(excess)) == pytest.approx(float(numeric), rel=1e-8)


# --- published numbers ----------------------------------------------------------------------------------------------

LETTUCE_DOSE = np.repeat([0, 0.32, 1, 3.2, 10, 32, 100], 2)
# van Ewijk and Hoekstra 1993, as in drc and data/lettuce.csv.
LETTUCE = np.array([1.126, 0.833, 1.096, 1.106, 1.163, 1.336, 0.985, 0.754, 0.716, 0.683, 0.560, 0.488, 0.375, 0.344])


class Published:
    """A Brain-Cousens curve with c = 0 in the package's parameters, from b, d, e, f."""

    def __init__(self, b, d, e, f):
        self.zero = e * (f * e / d) ** (1 / (b - 1))
        kappa = (self.zero / e) ** b
        m = brentq(lambda z: 1 - b * z ** (b - 1) - kappa * (b - 1) * z**b, 0, 1, xtol=1e-15)
        self.peak, self.stimulation = m * self.zero, m ** (1 - b) / b - 1
        half = brentq(lambda x: (d + f * x) / (1 + (x / e) ** b) - d / 2, self.zero, self.zero * 1e6, xtol=1e-13)
        self.curve = BrainCousens(
            control=d, peak_stimulation=self.stimulation, half_effect_dose=half, slope_excess=b - 1
        )

    def dose_of(self, gain, low, high):
        return brentq(lambda dose: self.curve(dose) - self.curve.control * (1 + gain), low, high, xtol=1e-13)


@pytest.fixture(scope="module")
def fitted():
    return Published(1.2827176, 0.9671768, 0.8459343, 1.6245281)


class TestLettuce:
    """Exact least-squares fit of BC.4 to lettuce: science.md 7, peers.md 4.1."""

    @pytest.mark.parametrize(
        ("quantity", "value"),
        [
            (lambda fit: fit.peak, "0.598482"),
            (lambda fit: fit.curve(fit.peak), "1.181466"),
            (lambda fit: fit.stimulation, "0.221561"),
            (lambda fit: fit.zero, "2.930551"),
            (lambda fit: fit.dose_of(-0.10, fit.zero, 1e3), "4.45836"),
            (lambda fit: fit.dose_of(-0.25, fit.zero, 1e3), "8.61364"),
            (lambda fit: fit.curve.half_effect_dose, "35.05199"),
            (lambda fit: fit.dose_of(0.10, 1e-6, fit.peak), "0.104113"),
            (lambda fit: fit.dose_of(0.10, fit.peak, fit.zero), "1.865111"),
            (lambda fit: quad(lambda dose: fit.curve(dose) - fit.curve.control, 0, fit.zero)[0], "0.351211"),
            (lambda fit: quad(fit.curve, 0, fit.zero)[0], "3.185572"),
            (lambda fit: np.sum((LETTUCE - fit.curve(LETTUCE_DOSE)) ** 2), "0.124974810"),
        ],
        ids=["M", "y_M", "s", "LDS", "ED10", "ED25", "ED50", "ECL10", "ECR10", "AUC_H", "AUC_ZEP", "RSS"],
    )
    def test_number(self, fitted, quantity, value):
        last_digit = 10.0 ** -len(value.partition(".")[2])
        assert quantity(fitted) == pytest.approx(float(value), abs=last_digit)

    def test_is_the_curve_of_drc(self, fitted):
        doses = np.geomspace(1e-3, 1e3, 50)
        expected = (0.9671768 + 1.6245281 * doses) / (1 + (doses / 0.8459343) ** 1.2827176)
        np.testing.assert_allclose(fitted.curve(doses), expected, rtol=1e-9)


def test_mixtox_acetonitrile():
    """Inhibition 1 - (1 + alpha x) / (1 + e^(beta gamma) x^beta) of mixtox 1.4.0, Zhu et al. 2013: science.md 7."""
    alpha, beta, gamma = 2.604762, 2.83196, 0.7777687
    fitted = Published(beta, 1.0, math.exp(-gamma), alpha)
    assert (fitted.peak, fitted.stimulation, fitted.zero) == pytest.approx((0.2387096, 0.4022229, 0.5067454), rel=2e-7)
    doses = np.geomspace(0.01, 5, 40)
    inhibition = 1 - (1 + alpha * doses) / (1 + math.exp(beta * gamma) * doses**beta)
    np.testing.assert_allclose(1 - fitted.curve(doses), inhibition, rtol=1e-9, atol=1e-12)


# --- product of Hills and bell: science.md 1.2, 1.5 -----------------------------------------------------------------


def product_bell(dose, amplitude, stimulation_dose, inhibition_dose, slope):
    """Return A Hs (1 - Hi), the part of the product that the amplitude adds."""
    shared = {
        "control": 1.0,
        "inhibition_dose": inhibition_dose,
        "dose_ratio": stimulation_dose / inhibition_dose,
        "stimulation_slope": slope,
        "slope": slope,
    }
    with_it, without = (ProductHill(amplitude=height, **shared) for height in (amplitude, 0.0))
    return with_it.shape(dose) - without.shape(dose)


@pytest.mark.parametrize("slope", [0.7, 1.0, 2.0, 3.5])
def test_product_of_equal_slopes_peaks_between_its_doses(slope):
    amplitude, stimulation_dose, inhibition_dose = 0.8, 2.0, 50.0
    peak = math.sqrt(stimulation_dose * inhibition_dose)
    doses = peak * np.exp(np.array([-0.01, 0.0, 0.01]))
    heights = product_bell(doses, amplitude, stimulation_dose, inhibition_dose, slope)
    assert np.argmax(heights) == 1
    assert heights[0] == pytest.approx(heights[2], rel=1e-12)
    highest = amplitude / (1 + (stimulation_dose / inhibition_dose) ** (slope / 2)) ** 2
    assert heights[1] == pytest.approx(highest, rel=1e-12)


def test_product_of_slopes_one_is_haldane():
    amplitude, stimulation_dose, inhibition_dose = 0.8, 2.0, 50.0
    ratio = stimulation_dose / inhibition_dose
    top, low, high = amplitude / (1 + ratio), stimulation_dose / (1 + ratio), inhibition_dose * (1 + ratio)
    expected = top * GRID / (low + GRID + GRID**2 / high)
    np.testing.assert_allclose(
        product_bell(GRID, amplitude, stimulation_dose, inhibition_dose, 1.0), expected, rtol=1e-9, atol=1e-15
    )


class TestBell:
    height, peak, width = 0.6, 4.0, 0.7

    def at(self, dose):
        return self.height * bell(dose, self.peak, self.width)

    def test_ends(self):
        assert (self.at(0.0), self.at(self.peak)) == (0.0, pytest.approx(self.height, rel=1e-15))

    @pytest.mark.parametrize("level", [0.05, 0.1, 0.3, 0.59])
    def test_level_set(self, level):
        reach = math.exp(self.width * math.sqrt(2 * math.log(self.height / level)))
        assert self.at(np.array([self.peak / reach, self.peak * reach])) == pytest.approx([level, level], rel=1e-12)

    def test_half_peak_fold(self):
        low, high = (brentq(lambda d: self.at(d) - self.height / 2, *ends) for ends in ((1e-3, 4), (4, 1e3)))
        assert high / low == pytest.approx(math.exp(2 * math.sqrt(2 * math.log(2)) * self.width), rel=1e-10)

    def test_areas(self):
        # Over u = ln d, linear dose adds a factor e^u.
        log_peak = math.log(self.peak)
        linear, logarithmic = (
            quad(lambda u: self.at(math.exp(u)) * math.exp(power * u), log_peak - 9, log_peak + 9, points=[log_peak])[0]  # noqa: B023
            for power in (1, 0)
        )
        area = self.height * self.width * math.sqrt(2 * math.pi)
        assert logarithmic == pytest.approx(area, rel=1e-9)
        assert linear == pytest.approx(area * self.peak * math.exp(self.width**2 / 2), rel=1e-9)
