"""What users of other packages ran into (peers.md section 3), and that it does not happen here."""

import inspect
import math
from functools import cache

import numpy as np
import pytest
from scipy import stats
from test_derived import LETTUCE_BC4, fit_of, from_drc, one
from test_windows import flat, gains_on

import hormesis_fit as hf
from hormesis_fit.curves import (
    AVERAGE,
    CURVES,
    BrainCousens,
    CedergreenRitzStreibig,
    LogNormalBell,
    SigmoidEmax,
)
from hormesis_fit.model.building import model_of
from hormesis_fit.model.specification import specify
from hormesis_fit.parameter import Prior
from hormesis_fit.windows.derived import derived_quantities
from hormesis_fit.windows.posterior import members

HORMETIC = [curve for curve in CURVES.values() if curve.hormetic]


def lettuce(factor=1.0):
    """Return the lettuce trial with its doses in another unit."""
    trial = hf.load_dataset("lettuce")
    table = {"dose": trial["dose"].values * factor, "response": trial["response"].values}
    return hf.read_trial(table, dose_unit=f"{1 / factor:g} mg/L", response_unit="g")


@cache
def fitted(factor=1.0, curve="BrainCousens"):
    return hf.fit(lettuce(factor), curve=curve, random_seed=1)


class TestUShapedCurves:
    """drc#48: the formula of UCRS lacks `c +`, ED has another signature there, and a helper is undefined."""

    b, c, d, e, f, dose_scale = 2.0, 0.7, 1.9, 3.0, 2.5, 1.0
    doses = np.array([0.0, 0.01, 0.3, 1.0, 3.0, 30.0, 1e8])

    def parameters(self, alpha):
        # A stimulation is relative to the control, which is c for a U.
        amplitude = self.f / self.c
        values = {"control": self.c, "span": self.d - self.c, "amplitude": amplitude, "inhibition_dose": self.e}
        return values | {"dose_scale": self.dose_scale, "slope": self.b, "alpha": alpha}

    @pytest.mark.parametrize("alpha", [1.0, 0.5, 0.25])
    def test_cedergreen_is_mirrored_about_the_mean_of_its_ends(self, alpha):
        curve = CedergreenRitzStreibig(direction="down", **self.parameters(alpha))
        with np.errstate(divide="ignore"):
            onset = np.exp(-1 / self.doses**alpha)
        upright = self.c + (self.d - self.c + self.f * onset) / (1 + (self.doses / self.e) ** self.b)
        np.testing.assert_allclose(curve(self.doses), self.c + self.d - upright, rtol=1e-9)
        assert curve(0.0) == self.c
        assert curve(1e8) == pytest.approx(self.d, rel=1e-9)
        # What the published code computes misses the asymptote by c.
        assert abs(curve(1e8) - (self.d - upright[-1])) > 0.9 * self.c

    @pytest.mark.parametrize("curve", HORMETIC)
    def test_every_family_has_its_mirror(self, curve, prior_draws):
        up, down = (curve(scale="interval", direction=direction) for direction in ("up", "down"))
        draws = {name: values[:, None] for name, values in prior_draws(up, 20).items()}
        above, below = (template.with_values(draws)(self.doses[None, :-1]) for template in (up, down))
        np.testing.assert_allclose(above + below, 2 * draws["control"] + 0 * above, rtol=1e-7, atol=1e-9)

    def test_effective_doses_need_no_other_call(self):
        template = CedergreenRitzStreibig(direction="down")
        result = derived_quantities(fit_of(template, **self.parameters(0.5)), effects=(10, 50, 90))
        curve = template.with_values(self.parameters(0.5))
        expected = self.c + np.array([0.1, 0.5, 0.9]) * (self.d - self.c)
        np.testing.assert_allclose(curve(result["effective_dose"].values[0, 0]), expected, rtol=1e-8)
        assert one(result, "peak_response") < self.c

    @pytest.mark.parametrize("curve", CURVES.values())
    def test_every_formula_holds_at_dose_zero(self, curve, prior_draws):
        for direction in ("up", "down"):
            template = curve(direction=direction)
            draws = prior_draws(template, 20)
            np.testing.assert_allclose(template.with_values(draws)(0.0) + 0 * draws["control"], draws["control"])


class TestEffectiveDoses:
    """bayesnec#39: ECx was the nearest grid point, one of two solutions, and the lowest dose without a decline."""

    def test_are_roots_and_no_grid_points(self):
        values = from_drc(*LETTUCE_BC4) | {"half_effect_dose": np.linspace(30, 40, 50)}
        result = derived_quantities(fit_of(BrainCousens(), **values))
        [member] = members(fit_of(BrainCousens(), **values))
        for name, level in (("effective_dose", -0.1), ("stimulation_dose_right", 0.1)):
            doses = result[name].values.reshape(50, -1)[:, 0]
            gains = np.diagonal(gains_on(member, doses))
            np.testing.assert_allclose(gains, level * member.curve.control[:, 0], rtol=1e-8)
            # Doses are proportional to the half-effect dose, without steps.
            np.testing.assert_allclose(doses / values["half_effect_dose"], doses[0] / 30, rtol=1e-8)

    def test_both_solutions_are_reported(self):
        result = derived_quantities(fit_of(BrainCousens(), **from_drc(*LETTUCE_BC4)), stimulations=(10, 20))
        left, right, peak = (
            result[name].values[0, 0] for name in ("stimulation_dose_left", "stimulation_dose_right", "peak_dose")
        )
        assert left[0] == pytest.approx(0.104113, rel=1e-5)
        np.testing.assert_allclose(right, [1.865111, 0.965221], rtol=1e-5)
        assert np.all((left < peak) & (peak < right))

    @pytest.mark.parametrize(
        ("template", "values"),
        [
            (LogNormalBell(), {"peak_stimulation": 0.4, "peak_dose": 5.0, "width": 0.7}),
            (SigmoidEmax(), {"span": 0.8, "half_effect_dose": 5.0, "slope": 2.0}),
        ],
    )
    def test_of_a_curve_that_never_declines_do_not_exist(self, template, values):
        result = derived_quantities(fit_of(template, control=2.0, **values), relative_to="control")
        harm = result["benchmark_dose"]
        assert np.isnan(harm).all()
        assert harm.attrs["exists_share"] == [0.0] * harm.sizes["benchmark_kind"]
        # For a rise the effect is the rise, and 50 % of the control is more than this one has.
        assert np.isnan(result["effective_dose"].sel(effect=50)).all()


class TestReference:
    """bayesnec#195, PR#281: an argument chose the reference, did nothing, and estimators disagreed about it."""

    values = from_drc(1.50297, 0.28081, 0.96306, 1.1218, 0.98631)
    template = BrainCousens(lower_asymptote="free")

    def test_is_the_control_for_every_quantity(self):
        fit = fit_of(self.template, **self.values)
        found = derived_quantities(fit, relative_to="control", stimulations=(10,), effects=(10,))
        window = hf.window(fit, benefit=0.1)
        control = self.values["control"]
        expected = {
            "zero_equivalent_dose": control,
            "stimulation_dose_left": 1.1 * control,
            "stimulation_dose_right": 1.1 * control,
            "effective_dose": 0.9 * control,
            "peak_dose": (1 + self.values["peak_stimulation"]) * control,
        }
        curve = self.template.with_values(self.values)
        for name, response in expected.items():
            assert curve(one(found, name)) == pytest.approx(response, rel=1e-8), name
        harm = one(found, "benchmark_dose", benchmark_kind="relative")
        assert harm == pytest.approx(one(found, "effective_dose"), rel=1e-9)
        for edge, name in (("window_lower", "stimulation_dose_left"), ("window_upper", "stimulation_dose_right")):
            assert flat(window, edge)[0] == one(found, name)

    def test_is_what_the_argument_says(self):
        fit = fit_of(self.template, **self.values)
        span, control = (derived_quantities(fit, relative_to=reference) for reference in ("span", "control"))
        distance = self.values["control"] * (1 - self.values["lower_share"])
        curve = self.template.with_values(self.values)
        for result, reference in ((span, distance), (control, self.values["control"])):
            dose = one(result, "effective_dose", effect=50)
            assert self.values["control"] - curve(dose) == pytest.approx(reference / 2, rel=1e-8)
        assert one(span, "effective_dose", effect=50) == pytest.approx(12.299, rel=1e-3)
        # What never depended on it does not move.
        for name in ("peak_dose", "zone_fold", "benchmark_dose", "area_linear"):
            np.testing.assert_array_equal(span[name], control[name])

    def test_has_the_default_that_the_documentation_gives(self):
        default = inspect.signature(derived_quantities).parameters["relative_to"].default
        assert f'{{"{default}",' in inspect.getdoc(derived_quantities)
        result = derived_quantities(fit_of(self.template, **self.values))
        assert result.attrs["relative_to"] == default
        assert f"of the {default}" in result["effective_dose"].attrs["definition"]


class TestDoseZero:
    """bayesnec#269: dose 0 was replaced by a tenth of the lowest dose, and never put back."""

    def test_stays_zero_in_trial_model_and_fit(self):
        fit, trial = fitted(), lettuce()
        assert np.sum(trial["dose"] == 0) == 2
        model = model_of(specify(trial, curve="BrainCousens"), trial)
        for doses in (model["dose"].get_value(), fit["constant_data"]["dose"].values):
            np.testing.assert_array_equal(doses, trial["dose"])

    @pytest.mark.parametrize("curve", ["BrainCousens", "BellTail"])
    def test_has_the_control_response_exactly(self, curve):
        fit = fitted(curve=curve)
        np.testing.assert_array_equal(
            hf.predict(fit, doses=[0.0]).squeeze("dose").values, fit["posterior"]["control"].values
        )

    @pytest.mark.parametrize("template", [BrainCousens(), BrainCousens(direction="down")])
    def test_weighs_as_zero_in_the_likelihood(self, template):
        # The control rows depend on no dose parameter: a dose of min / 10 would show in the third digit.
        values = from_drc(*LETTUCE_BC4) | {"span": 0.9}
        values = {name: values[name] for name in template.parameters()}
        near, exact = (template.with_values(values)(dose) for dose in (0.032, 0.0))
        assert exact == values["control"]
        assert abs(near / exact - 1) > 0.02


class TestPriorsOfDoses:
    """bayesnec#302, #303: a Gamma prior that cannot describe log-spaced doses, and bounds that move with the unit."""

    @pytest.fixture(params=[1.0, 1e6, 1e-6], ids=["mg", "ng", "kg"])
    def wide(self, request):
        """Return a trial over six decades, in three units."""
        doses = np.repeat([0, 1e-3, 1e-2, 0.1, 1, 10, 100, 1e3], 2) * request.param
        response = np.linspace(1.0, 0.2, doses.size)
        return hf.read_trial({"dose": doses, "response": response}, dose_unit="x", response_unit="g")

    @pytest.mark.parametrize("curve", [name for name in AVERAGE if name != "Constant"])
    def test_reach_every_decade_of_the_tested_doses_in_any_unit(self, wide, curve):
        specification = specify(wide, curve=curve)
        declared = specification.declared()
        doses = np.unique(wide["dose"].values)[1:]
        found = [prior for name, prior in specification.priors.items() if declared[name].unit == "dose"]
        assert found
        for prior in found:
            assert prior.distribution == "LogNormal"
            frozen = stats.lognorm(s=prior.arguments["sigma"], scale=math.exp(prior.arguments["mu"]))
            decades = np.diff(frozen.cdf(doses))
            assert 0.6 < decades.sum() < 0.9
            assert decades.min() > 0.05
            # A Gamma prior with the mean and spread of the doses leaves the low decades nearly empty.
            shape = doses.mean() ** 2 / doses.var()
            gamma = stats.gamma(shape, scale=doses.mean() / shape)
            assert np.diff(gamma.cdf(doses)).min() < decades.min()

    def test_are_the_same_prior_in_another_unit(self):
        small, large = (specify(lettuce(factor), curve="BrainCousens").priors for factor in (1.0, 1e3))
        name = "half_effect_dose"
        assert large[name].arguments["mu"] - small[name].arguments["mu"] == pytest.approx(math.log(1e3))
        for other in set(small) - {name}:
            np.testing.assert_allclose(list(large[other].arguments.values()), list(small[other].arguments.values()))

    def test_leave_the_limits_of_effective_doses_alone_in_another_unit(self):
        usual, other = (derived_quantities(fitted(factor)) for factor in (1.0, 1e-3))
        for name in ("effective_dose", "benchmark_dose", "stimulation_dose_left"):
            limits = [
                result[name].quantile([0.05, 0.5, 0.95], dim=("chain", "draw"), skipna=True)
                for result in (usual, other)
            ]
            np.testing.assert_allclose(limits[1], 1e-3 * limits[0], rtol=0.02, err_msg=name)


class TestDosesBelowOne:
    """bayesnec#344: a hormetic curve failed in 6 of 6 fits where log doses were negative."""

    @pytest.mark.parametrize("curve", AVERAGE)
    def test_are_fitted_as_any_other(self, curve):
        fit = fitted(1e-3, curve)
        assert fit["constant_data"]["dose"].max() < 1
        # The unit of dose cancels: the evidence is that of the same trial in another unit.
        expected = fitted(1.0, curve)["evidence"]["log_evidence"].item()
        assert fit["evidence"]["log_evidence"].item() == pytest.approx(expected, abs=0.05)

    def test_give_the_known_window(self):
        window = hf.window(fitted(1e-3))
        assert window.attrs["status"] == hf.window(fitted()).attrs["status"] != "SICK"
        assert window["best_dose"] == pytest.approx(0.51e-3, rel=0.15)

    def test_a_prior_that_cannot_be_used_is_named(self):
        with pytest.raises(ValueError, match="half_effect_dose"):
            hf.fit(lettuce(1e-3), curve="BrainCousens", priors={"half_effect_dose": Prior("LogNormal", mu=0, sigma=-1)})


class TestGainAndLoss:
    """tcpl#299: a gain that turns into a loss was missed until the low responses were censored by hand."""

    doses = (0, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)

    @staticmethod
    def truth(dose, gain=1.2):
        """Return proliferation in percent of the control: up at 1, and dead at 100."""
        with np.errstate(divide="ignore"):
            rise = 1 / (1 + (0.3 / dose) ** 1.5) if dose > 0 else 0.0
        return 100 * (1 + gain * rise) / (1 + (dose / 8) ** 2.5)

    def trial(self, seed, gain=1.2, direction="up", mirror=False):
        def mean(dose):
            value = self.truth(float(dose), gain)
            return 200 - value if mirror else value

        return hf.simulate_trial(
            mean, doses=self.doses, replicates=3, sd=12, random_seed=seed, direction=direction, scale="ratio"
        )

    def test_is_found_with_every_row_kept(self):
        trial = self.trial(1)
        lowest = trial["response"].values.min()
        assert lowest < 30
        fit = hf.fit(trial, random_seed=1)
        assert fit["constant_data"].sizes["observation"] == 27
        assert fit["evidence"]["prob_hormesis"] > 0.99
        found = derived_quantities(fit)
        assert found["effective_dose"].attrs["exists_share"][1] > 0.95
        low, high = found["peak_dose"].quantile([0.025, 0.975]).values
        peak = max(np.geomspace(0.03, 30, 2001), key=self.truth)
        assert low < peak < high
        window = hf.window(fit)
        assert window.attrs["status"] == "WINDOW"
        assert 0.3 < window["best_dose"] < 10

    def test_is_found_upside_down(self):
        trial = self.trial(3, direction="down", mirror=True)
        fit = hf.fit(trial, curve=["BrainCousens", "LogLogistic", "SigmoidEmax"], random_seed=3)
        assert fit["evidence"]["prob_hormesis"] > 0.95
        assert hf.window(fit).attrs["status"] == "WINDOW"

    def test_a_loss_alone_is_no_gain(self):
        fit = hf.fit(self.trial(4, gain=0.0), random_seed=4)
        assert fit["evidence"]["prob_hormesis"] < 0.5
