"""Quantities of both limbs: closed forms, published numbers, brute force, units, directions, draws and shares."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm
from test_windows import LETTUCE, flat, gains_on, make_fit

from hormesis_fit.curves import (
    AVERAGE,
    CURVES,
    BellTail,
    BrainCousens,
    Constant,
    Haldane,
    LogLogistic,
    LogNormalBell,
    SigmoidEmax,
)
from hormesis_fit.windows.derived import BENCHMARKS, DERIVED, benchmark_table, derived_quantities, span_of
from hormesis_fit.windows.posterior import members
from hormesis_fit.windows.windowing import window

DRAWS = 40
FOLDS = ("zone_fold", "window_fold")
# drc's b, c, d, e, f at the exact least-squares optimum (science.md 7) and as documented (peers.md 4.2).
LETTUCE_BC4 = (1.2827176, 0.0, 0.9671768, 0.8459343, 1.6245281)
RYEGRASS_BC5 = (2.75688, 0.41515, 7.74173, 2.77687, 0.35672)


def from_drc(b, c, d, e, f):
    """Return the package's parameters of drc's Brain-Cousens model."""

    def mean(x):
        return c + (d - c + f * x) / (1 + (x / e) ** b)

    def slope(x):
        odds = (x / e) ** b
        return f * (1 + odds) - (d - c + f * x) * b * odds / x

    half = brentq(lambda x: mean(x) - (c + d) / 2, 1e-3, 1e4, xtol=1e-14, rtol=1e-14)
    peak = brentq(slope, 1e-9, half, xtol=1e-15, rtol=1e-14)
    values = {"control": d, "peak_stimulation": mean(peak) / d - 1, "half_effect_dose": half, "slope_excess": b - 1}
    return values | ({"lower_share": c / d} if c else {})


def fit_of(template, **values):
    """Return a fit of two equal draws, or of the draws given."""
    size = max(2, *(np.size(value) for value in values.values()))
    draws = {name: np.array(np.broadcast_to(value, size), dtype=float) for name, value in values.items()}
    return make_fit([(template, {"sigma": np.full(size, 0.4)} | draws)])


def one(result, name, **labels):
    """Return a quantity of the first draw."""
    return result[name].isel(chain=0, draw=0).sel(labels).item()


@pytest.fixture(scope="module")
def lettuce():
    return derived_quantities(fit_of(BrainCousens(), **from_drc(*LETTUCE_BC4)), effects=(10, 25, 50))


@pytest.fixture
def prior_fit(curve_class, prior_draws):
    template = curve_class()
    return make_fit([(template, prior_draws(template, DRAWS) | {"sigma": np.full(DRAWS, 0.2)})])


class TestPublishedNumbers:
    """Science.md section 7 and peers.md section 4."""

    @pytest.mark.parametrize(
        ("name", "labels", "expected"),
        [
            ("effective_dose", {"effect": 10}, 4.45836),
            ("effective_dose", {"effect": 25}, 8.61364),
            ("effective_dose", {"effect": 50}, 35.05199),
            ("stimulation_dose_left", {"stimulation": 10}, 0.104113),
            ("stimulation_dose_right", {"stimulation": 10}, 1.865111),
            ("area_linear", {}, 0.351211),
            ("area_ratio", {}, 0.110251),
            ("peak_stimulation", {}, 0.221561),
            ("peak_stimulation_span", {}, 0.221561),
            ("peak_response", {}, 1.181466),
            ("peak_dose", {}, 0.598482),
            ("zero_equivalent_dose", {}, 2.930551),
            ("zone_fold", {}, 4.897),
        ],
    )
    def test_of_lettuce(self, lettuce, name, labels, expected):
        assert one(lettuce, name, **labels) == pytest.approx(expected, rel=1e-4 if name == "zone_fold" else 5e-6)

    def test_of_the_area_under_the_lettuce_curve(self, lettuce):
        assert one(lettuce, "area_linear") / one(lettuce, "area_ratio") == pytest.approx(3.185572, rel=5e-6)

    @pytest.mark.parametrize(("stimulation", "left", "right"), [(50, 0.119912, 1.76646), (90, 0.343224, 0.971412)])
    def test_of_shares_of_the_lettuce_peak(self, stimulation, left, right):
        wanted = stimulation * 0.22156145
        result = derived_quantities(fit_of(BrainCousens(), **from_drc(*LETTUCE_BC4)), stimulations=(wanted,))
        assert one(result, "stimulation_dose_left") == pytest.approx(left, rel=1e-5)
        assert one(result, "stimulation_dose_right") == pytest.approx(right, rel=1e-5)

    @pytest.mark.parametrize(
        ("kind", "expected"), [("relative", 1.55704870), ("extra", 1.53181216), ("added", 1.02789452)]
    )
    def test_of_the_benchmark_doses_of_ryegrass(self, kind, expected):
        template = BrainCousens(lower_asymptote="free")
        result = derived_quantities(fit_of(template, **from_drc(*RYEGRASS_BC5)))
        assert one(result, "benchmark_dose", benchmark_kind=kind) == pytest.approx(expected, rel=1e-4)
        assert one(result, "peak_dose") == pytest.approx(0.494862, rel=1e-4)
        assert one(result, "peak_response") == pytest.approx(7.85424, rel=1e-5)
        assert one(result, "zero_equivalent_dose") == pytest.approx(0.889067, rel=1e-4)

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [("relative", 1.49902599632103), ("extra", 1.46370565552042), ("added", 0.728443033284576)],
    )
    def test_of_the_benchmark_doses_of_a_log_logistic_curve(self, kind, expected):
        template = LogLogistic(lower_asymptote="free")
        values = {"control": 7.79296, "lower_share": 0.48141 / 7.79296, "half_effect_dose": 3.05795, "slope": 2.98222}
        result = derived_quantities(fit_of(template, **values))
        assert one(result, "benchmark_dose", benchmark_kind=kind) == pytest.approx(expected, rel=1e-4)

    def test_of_the_effective_doses_of_ryegrass(self):
        template = LogLogistic(lower_asymptote="free")
        values = {"control": 7.79296, "lower_share": 0.48141 / 7.79296, "half_effect_dose": 3.05795, "slope": 2.98222}
        result = derived_quantities(fit_of(template, **values), effects=(10, 50, 90))
        np.testing.assert_allclose(result["effective_dose"][0, 0], [1.46371, 3.05795, 6.38864], rtol=1e-5)


class TestClosedForms:
    @pytest.mark.parametrize("direction", ["up", "down"])
    @pytest.mark.parametrize("template", [LogLogistic, SigmoidEmax])
    def test_effective_dose_of_a_log_logistic_curve(self, template, direction, prior_draws):
        template = template(direction=direction)
        draws = prior_draws(template, DRAWS)
        result = derived_quantities(make_fit([(template, draws)]), effects=(5, 50, 90), benchmark_kinds=())
        percent = np.array([5, 50, 90])
        expected = draws["half_effect_dose"][:, None] * (percent / (100 - percent)) ** (1 / draws["slope"][:, None])
        np.testing.assert_allclose(result["effective_dose"].values.reshape(-1, 3), expected, rtol=1e-7)
        assert result["effective_dose"].attrs["exists_share"] == [1.0, 1.0, 1.0]

    def test_areas_of_the_log_normal_bell(self):
        # With a tail where no dose goes, and without one.
        height, peak, width = np.array([0.3, 2.0]), np.array([3.0, 12.0]), np.array([0.4, 1.3])
        tailed = {"amplitude": height, "half_effect_dose": 1e14, "dose_ratio": peak / 1e14, "width": width}
        plain = {"peak_stimulation": height, "peak_dose": peak, "width": width}
        for template, values in ((BellTail(), tailed | {"slope": 4.0}), (LogNormalBell(), plain)):
            result = derived_quantities(fit_of(template, control=2.0, **values))
            bell = 2 * height * width * math.sqrt(2 * math.pi)
            np.testing.assert_allclose(flat(result, "area_linear"), bell * peak * np.exp(width**2 / 2), rtol=1e-6)
            within = norm.cdf((np.log(peak) - math.log(0.32)) / width)
            np.testing.assert_allclose(flat(result, "area_log"), bell * within, rtol=1e-6)
            # The bell without a tail has no asymptote, hence no span, and no end of its zone.
            falling = template.trend == "falling"
            for name in ("stimulation_dose_left", "peak_stimulation_span", "area_ratio", "zone_fold"):
                assert result[name].attrs["exists_share"] == ([float(falling)] if "left" in name else float(falling))

    def test_level_set_of_the_log_normal_bell(self):
        values = {"peak_stimulation": 0.5, "peak_dose": 5.0, "width": 0.8, "control": 2.0}
        result = derived_quantities(fit_of(LogNormalBell(), **values), relative_to="control")
        reach = math.exp(0.8 * math.sqrt(2 * math.log(5)))
        assert one(result, "stimulation_dose_left") == pytest.approx(5 / reach, rel=1e-7)
        assert one(result, "stimulation_dose_right") == pytest.approx(5 * reach, rel=1e-7)
        assert one(result, "window_fold") == pytest.approx(reach**2, rel=1e-7)

    @pytest.mark.parametrize("peak", np.geomspace(5, 5.8, 7))
    def test_limbs_of_a_level_just_below_the_peak_lie_on_either_side(self, peak):
        # The highest point of the search grid may then lie below the level, on either side of the peak.
        height = 0.1 * (1 + 1e-6)
        fit = fit_of(LogNormalBell(), control=2.0, peak_stimulation=height, peak_dose=peak, width=0.8)
        result = derived_quantities(fit, relative_to="control")
        reach = math.exp(0.8 * math.sqrt(2 * math.log1p(1e-6)))
        assert one(result, "stimulation_dose_left") == pytest.approx(peak / reach, rel=1e-6)
        assert one(result, "stimulation_dose_right") == pytest.approx(peak * reach, rel=1e-6)

    def test_a_haldane_half_peak_window_is_never_narrower_than_13_9_fold(self):
        # (q + sqrt(q^2 - 4))^2 / 4 with q = (1 + 4 omega) / omega: science.md 1.3
        omega = np.array([0.1, 1e3])
        fit = fit_of(Haldane(), control=1.0, peak_stimulation=0.6, peak_dose=4.0, width=omega)
        result = derived_quantities(fit, stimulations=(30,), relative_to="control")
        q = (1 + 4 * omega) / omega
        np.testing.assert_allclose(flat(result, "window_fold"), ((q + np.sqrt(q**2 - 4)) / 2) ** 2, rtol=1e-6)
        # g falls as 1 / dose: only the area over log dose is finite.
        assert result["area_linear"].attrs["exists_share"] == 0
        assert result["area_log"].attrs["exists_share"] == 1
        [draw] = [k for k in range(2) if omega[k] == 0.1]
        curve = members(fit)[0].take([draw]).curve
        expected = quad(lambda u: (curve(math.exp(u)) - 1).item(), math.log(0.32), 40, limit=200)[0]
        assert flat(result, "area_log")[draw] == pytest.approx(expected, rel=1e-6)

    def test_brain_cousens_folds(self, prior_draws):
        draws = prior_draws(BrainCousens(), DRAWS)
        result = derived_quantities(make_fit([(BrainCousens(), draws)]), benchmark_kinds=())
        slope, s = 1 + draws["slope_excess"], draws["peak_stimulation"]
        clear = s > 1e-4
        expected = (slope * (1 + s)) ** (1 / draws["slope_excess"])
        np.testing.assert_allclose(flat(result, "zone_fold")[clear], expected[clear], rtol=1e-4)


class TestBruteForce:
    def test_every_dose_is_where_the_gain_says(self, prior_fit):
        [member] = members(prior_fit)
        effects, stimulations = (5, 40), (3, 20)
        result = derived_quantities(prior_fit, effects=effects, stimulations=stimulations, relative_to="control")
        control, span = member.curve.control[:, 0], span_of(member)
        sign = 1 if member.curve.trend == "rising" else -1
        marks = [0.1 * control, np.full(DRAWS, 0.1), 0.1 * span, np.full(DRAWS, 0.2)]
        wanted = {
            "effective_dose": [sign * percent / 100 * control for percent in effects],
            "stimulation_dose_left": [percent / 100 * control for percent in stimulations],
            "stimulation_dose_right": [percent / 100 * control for percent in stimulations],
            "benefit_dose": marks,
            "benchmark_dose": [-level for level in marks],
        }
        for name, levels in wanted.items():
            doses = result[name].values.reshape(DRAWS, -1)
            for column, level in enumerate(levels):
                there = np.flatnonzero(doses[:, column] > 0)
                gain = np.diagonal(gains_on(member.take(there), doses[there, column]))
                np.testing.assert_allclose(gain, level[there], rtol=1e-5, err_msg=f"{name} {column}")
        peak, left, right = (
            result[name].values.reshape(DRAWS, -1)
            for name in ("peak_dose", "stimulation_dose_left", "stimulation_dose_right")
        )
        both = np.isfinite(left) & np.isfinite(right) & np.isfinite(peak)
        assert np.all((left <= peak * (1 + 1e-6))[both])
        assert np.all((right >= peak * (1 - 1e-6))[both])

    def test_none_is_missed(self, prior_fit):
        [member] = members(prior_fit)
        result = derived_quantities(prior_fit, effects=(10,), relative_to="control")
        gains = gains_on(member, np.geomspace(1e-9, 1e9, 20_000))
        control = member.curve.control
        top = gains.argmax(axis=1)[:, None]
        beyond = np.arange(gains.shape[1]) >= top
        rising = member.curve.trend == "rising"
        clear = np.abs(gains.max(axis=1) / (0.1 * control[:, 0]) - 1) > 1e-3
        reached = (gains >= 0.1 * control).any(axis=1)
        lost = (beyond & (gains <= -0.1 * control)).any(axis=1)
        np.testing.assert_array_equal(np.isfinite(flat(result, "stimulation_dose_left"))[clear], reached[clear])
        np.testing.assert_array_equal(
            np.isfinite(flat(result, "effective_dose"))[clear], (reached if rising else lost)[clear]
        )

    def test_areas_are_the_integrals(self, curve_class, prior_draws):
        size = 8
        template = curve_class()
        fit = make_fit([(template, prior_draws(template, size))])
        [member] = members(fit)
        result = derived_quantities(fit, effects=(), stimulations=(), benchmark_kinds=())
        peaks, zeros, start = flat(result, "peak_dose"), flat(result, "zero_equivalent_dose"), math.log(0.32)
        for k in np.flatnonzero(np.isfinite(zeros)):
            curve = member.take([k]).curve
            control = curve.control.item()

            def gain(u, power, curve=curve, control=control):
                return (np.asarray(curve(np.exp(u))).item() - control) * math.exp(power * u)

            middle, end = math.log(peaks[k]), math.log(zeros[k])
            options = {"epsabs": 1e-13, "epsrel": 1e-9, "limit": 500}
            pieces = [(middle - 30, middle - 5), (middle - 5, middle), (middle, end)]
            area = sum(quad(gain, low, high, args=(1,), **options)[0] for low, high in pieces)
            assert flat(result, "area_linear")[k] == pytest.approx(area, rel=1e-5, abs=1e-9 * control * zeros[k])
            ratio = area / (control * zeros[k] + area)
            assert flat(result, "area_ratio")[k] == pytest.approx(ratio, rel=1e-5, abs=1e-9)
            if end > start:
                points = [middle] if start < middle < end else None
                area = quad(gain, start, end, args=(0,), points=points, **options)[0]
                assert flat(result, "area_log")[k] == pytest.approx(area, rel=1e-5, abs=1e-9 * control)
            else:
                assert np.isnan(flat(result, "area_log")[k])


class TestExistence:
    def test_a_decline_has_no_benefit(self):
        result = derived_quantities(fit_of(LogLogistic(), control=2.0, half_effect_dose=5.0, slope=2.0))
        there = {name for name in DERIVED if np.isfinite(result[name].values).any()}
        assert there == {"effective_dose", "benchmark_dose"}
        assert {name for name in DERIVED if np.any(result[name].attrs["exists_share"])} == there
        # (2 - 0.4) / 2 = 1 / (1 + (d / 5)^2)
        assert one(result, "benchmark_dose", benchmark_kind="sd") == pytest.approx(5 * math.sqrt(0.25), rel=1e-8)

    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_a_rise_has_no_harm_and_no_right_limb(self, direction):
        values = {"control": 2.0, "span": 1.0, "half_effect_dose": 5.0, "slope": 2.0}
        result = derived_quantities(fit_of(SigmoidEmax(direction=direction), **values))
        there = {name for name in DERIVED if np.isfinite(result[name].values).any()}
        assert there == {"effective_dose", "stimulation_dose_left", "benefit_dose"}
        assert one(result, "effective_dose", effect=10) == pytest.approx(5 / 3, rel=1e-8)
        # 10 % of a control of 2 is 20 % of a span of 1.
        assert one(result, "benefit_dose", benchmark_kind="relative") == pytest.approx(2.5, rel=1e-8)

    def test_no_effect_has_nothing(self):
        result = derived_quantities(fit_of(Constant(), control=2.0))
        for name in DERIVED:
            assert np.isnan(result[name].values).all(), name
            assert not np.any(result[name].attrs["exists_share"]), name
        table = benchmark_table(fit_of(Constant(), control=2.0))
        assert table["share"].eq(0).all()
        assert table["BMD"].isna().all()

    def test_shares_count_the_draws(self):
        values = from_drc(*LETTUCE_BC4) | {"peak_stimulation": np.linspace(0.013, 0.41, DRAWS)}
        result = derived_quantities(fit_of(BrainCousens(), **values), stimulations=(10, 20))
        expected = [np.mean(values["peak_stimulation"] >= level) for level in (0.1, 0.2)]
        for name in ("stimulation_dose_left", "stimulation_dose_right", "window_fold"):
            assert result[name].attrs["exists_share"] == pytest.approx(expected)
        assert result["zone_fold"].attrs["exists_share"] == 1

    def test_of_an_average_they_use_the_exact_weights(self):
        falling = {"control": 2.0, "half_effect_dose": 5.0, "slope": 2.0}
        posteriors = [
            (template, {name: np.full(DRAWS, value) for name, value in (values | {"sigma": 0.1}).items()})
            for template, values in ((BrainCousens(), from_drc(*LETTUCE_BC4)), (LogLogistic(), falling))
        ]
        fit = make_fit(posteriors, [0.3333, 0.6667])
        assert derived_quantities(fit)["zone_fold"].attrs["exists_share"] == pytest.approx(0.3333)
        table = benchmark_table(fit).set_index(["limb", "kind"])
        assert table.loc[("benefit", "relative"), "share"] == pytest.approx(0.3333)
        assert table.loc[("harm", "relative"), "share"] == 1


class TestUnitsAndDirections:
    def test_change_with_the_units_as_they_should(self, curve_class, prior_draws):
        template, dose, response = curve_class(), 1e6, 1e-3
        draws = prior_draws(template, DRAWS) | {"sigma": np.full(DRAWS, 0.2)}
        factors = {"dose": dose, "response": response, "1 / dose": 1 / dose, "response / dose": response / dose}
        known = {name: item.unit for name, item in template.parameters().items()} | {"sigma": "response"}
        scaled = {name: values * factors.get(known[name], 1.0) for name, values in draws.items()}
        before = derived_quantities(make_fit([(template, draws)]))
        after = derived_quantities(make_fit([(template, scaled)], doses=LETTUCE * dose), benchmark=0.1)
        shared = [kind for kind in BENCHMARKS if kind != "added"]
        for name, (unit, dim, _) in DERIVED.items():
            factor = np.prod([factors.get(part, 1.0) for part in unit.split(" * ")])
            pick = {"benchmark_kind": shared} if dim == "benchmark_kind" else {}
            np.testing.assert_allclose(
                after[name].sel(pick), before[name].sel(pick) * factor, rtol=2e-5, atol=1e-12 * factor, err_msg=name
            )

    def test_down_is_the_mirror_of_up(self, curve_class, prior_draws):
        # On the interval scale the two share every parameter.
        up, down = (curve_class(scale="interval", direction=word) for word in ("up", "down"))
        draws = prior_draws(up, DRAWS) | {"sigma": np.full(DRAWS, 0.2)}
        draws["control"] = np.abs(draws["control"])
        if "slope" in up.parameters() and up.parameters()["slope"].unit == "response / dose":
            draws["slope"] = np.abs(draws["slope"])
        rising, falling = (derived_quantities(make_fit([(template, draws)])) for template in (up, down))
        for name in DERIVED:
            expected = rising[name]
            if name == "peak_response":
                expected = 2 * draws["control"].reshape(expected.shape) - expected
            np.testing.assert_allclose(falling[name], expected, rtol=1e-4, err_msg=name)

    def test_of_a_known_u_shape(self):
        values = from_drc(*LETTUCE_BC4)
        values["span"] = values["control"]
        result = derived_quantities(fit_of(BrainCousens(direction="down"), **values))
        assert one(result, "area_linear") == pytest.approx(0.351211, rel=5e-6)
        # The mean lies below the control: 0.967177 * 2.930551 - 0.351211
        assert one(result, "area_ratio") == pytest.approx(0.351211 / 2.483150, rel=5e-6)
        assert one(result, "effective_dose", effect=50) == pytest.approx(35.05199, rel=5e-6)

    def test_have_units_names_and_definitions(self, prior_draws):
        result = derived_quantities(
            make_fit([(BrainCousens(), prior_draws(BrainCousens(), 4) | {"sigma": np.ones(4)})])
        )
        units = {"dose": "mg/L", "response": "g", "1": "1", "response * dose": "g * mg/L"}
        for name, (unit, dim, _) in DERIVED.items():
            variable = result[name]
            assert variable.dims == (("chain", "draw") if dim is None else ("chain", "draw", dim))
            assert variable.attrs["units"] == units[unit]
            assert variable.attrs["long_name"] == name.replace("_", " ")
            assert variable.attrs["definition"].endswith(".")
            assert "{" not in variable.attrs["definition"]
        assert result["effect"].attrs["units"] == "%"
        assert "of the span" in result["effective_dose"].attrs["definition"]

    def test_on_the_interval_scale_there_is_no_area_ratio(self, prior_draws):
        template = BrainCousens(scale="interval")
        result = derived_quantities(make_fit([(template, prior_draws(template, 4) | {"sigma": np.ones(4)})]))
        assert np.isnan(result["area_ratio"]).all()
        assert np.isfinite(result["area_linear"]).all()


class TestDraws:
    @pytest.fixture
    def average(self, prior_draws):
        posteriors = [
            (CURVES[name](), prior_draws(CURVES[name](), DRAWS) | {"sigma": np.full(DRAWS, 0.2)}) for name in AVERAGE
        ]
        return make_fit(posteriors, np.full(len(AVERAGE), 1 / len(AVERAGE)))

    def test_line_up_with_the_window(self, average):
        found, edges = derived_quantities(average), window(average)
        np.testing.assert_array_equal(found["model"], edges["model"])
        for name in ("peak_dose", "peak_response", "peak_stimulation", "zero_equivalent_dose"):
            xr.testing.assert_equal(found[name], edges[name])
        np.testing.assert_array_equal(found["chain"], edges["chain"])
        lower, exists = flat(edges, "window_lower"), flat(edges, "exists")
        benefit = flat(found.sel(benchmark_kind="relative"), "benefit_dose")
        np.testing.assert_array_equal(benefit[exists], lower[exists])
        half = flat(found.sel(effect=50), "effective_dose")
        np.testing.assert_allclose(half, flat(edges, "half_effect_dose"), rtol=1e-12)

    def test_are_the_same_twice_and_from_a_file(self, average, tmp_path):
        first = derived_quantities(average)
        xr.testing.assert_identical(derived_quantities(average), first)
        first.to_netcdf(tmp_path / "derived.nc", engine="h5netcdf")
        with xr.open_dataset(tmp_path / "derived.nc", engine="h5netcdf") as reopened:
            xr.testing.assert_equal(reopened.load(), first)
            share = reopened["effective_dose"].attrs["exists_share"]
            np.testing.assert_allclose(share, first["effective_dose"].attrs["exists_share"])

    def test_keep_the_labels_of_a_thinned_fit(self, prior_draws):
        fit = make_fit([(BrainCousens(), prior_draws(BrainCousens(), DRAWS) | {"sigma": np.ones(DRAWS)})])
        thinned = derived_quantities(fit.isel(draw=slice(None, None, 4), missing_dims="ignore"))
        whole = derived_quantities(fit).isel(draw=slice(None, None, 4))
        for name in DERIVED:
            xr.testing.assert_allclose(thinned[name], whole[name], rtol=1e-9)

    def test_a_parameter_that_is_fixed_needs_no_draws(self):
        values = from_drc(*LETTUCE_BC4)
        template = BrainCousens(slope_excess=values.pop("slope_excess"))
        fit = fit_of(template, **values)
        assert json.loads(fit["posterior"].attrs["fixed"])
        assert one(derived_quantities(fit), "zero_equivalent_dose") == pytest.approx(2.930551, rel=1e-6)


class TestTable:
    def test_holds_the_quantiles_of_the_benchmark_doses(self):
        values = from_drc(*LETTUCE_BC4) | {"half_effect_dose": np.geomspace(20, 60, DRAWS)}
        fit = fit_of(BrainCousens(), **values)
        table = benchmark_table(fit).set_index(["limb", "kind"])
        doses = derived_quantities(fit)["benchmark_dose"].sel(benchmark_kind="relative").values
        row = table.loc[("harm", "relative")]
        np.testing.assert_allclose([row.BMDL, row.BMD, row.BMDU], np.quantile(doses, [0.05, 0.5, 0.95]))
        assert row.ratio == pytest.approx(row.BMDU / row.BMDL)
        assert (row.share, row.unit, row.benchmark) == (1.0, "mg/L", 0.1)
        assert table.loc[("harm", "sd"), "benchmark"] == 1.0
        assert list(table.index.get_level_values("kind")) == 2 * list(BENCHMARKS)

    def test_one_kind_alone_needs_no_list(self):
        table = benchmark_table(fit_of(BrainCousens(), **from_drc(*LETTUCE_BC4)), benchmark_kinds="extra")
        assert table["kind"].tolist() == ["extra", "extra"]
        assert table["BMD"].tolist() == pytest.approx([0.104113, 4.45836], rel=5e-6)

    def test_a_larger_benchmark_lies_further_out(self):
        fit = fit_of(BrainCousens(), **from_drc(*LETTUCE_BC4))
        small, large = (benchmark_table(fit, benchmark=size, benchmark_sd=5 * size) for size in (0.05, 0.1))
        harm = small["limb"] == "harm"
        assert np.all(small["BMD"][harm] < large["BMD"][harm])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effects": (0, 50)}, "effects must be percentages between 0 and 100"),
        ({"effects": (100,)}, "effects must be percentages between 0 and 100"),
        ({"effects": "ten"}, "effects must be percentages"),
        ({"stimulations": (-10,)}, "stimulations must be percentages above 0"),
        ({"relative_to": "peak"}, "reference"),
        ({"benchmark": 0}, "benchmark must be a number above 0"),
        ({"benchmark_sd": True}, "benchmark_sd must be a number above 0"),
        ({"benchmark_kinds": ("hybrid",)}, "kind of benchmark"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        derived_quantities(fit_of(Constant(), control=2.0), **options)
