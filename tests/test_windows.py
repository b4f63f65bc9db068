"""The window of synthetic posteriors: edges, exceedance, statuses, flags, utility."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hormesis_fit.curves import CURVES, BellTail, BrainCousens, Constant, LogLogistic, SigmoidEmax
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.exceedance import Exceedance
from hormesis_fit.windows.posterior import domain, find_class, members, trial_of
from hormesis_fit.windows.prediction import predict
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.utility import Utility
from hormesis_fit.windows.windowing import BENEFIT_SCALES, level_pieces, window

LETTUCE = np.repeat([0, 0.32, 1, 3.2, 10, 32, 100], 2)
DRAWS = 200
ONE_SENTENCE = r"^[A-Z\w][^\n]*[.?]$"
DOSES = ["peak_dose", "zero_equivalent_dose", "half_effect_dose", "window_lower", "window_upper", "best_dose"]
DOSES += ["optimal_dose", "near_optimal", "level_window"]


def make_fit(posteriors, weights=(1.0,), *, doses=LETTUCE, chains=2, **trial_attrs):
    """Return a fit as `fit()` does, of (template, draws) pairs, without any inference."""
    groups = {}
    for template, draws in posteriors:
        arrays = {name: (("chain", "draw"), np.reshape(values, (chains, -1))) for name, values in draws.items()}
        fixed = {name: getattr(template, name) for name in template.parameters() if name not in draws}
        attrs = {"curve": type(template).__name__, "fixed": json.dumps(fixed)} | template.structure()
        coords = {"chain": np.arange(chains), "draw": np.arange(np.size(next(iter(draws.values()))) // chains)}
        groups[template.label] = xr.Dataset(arrays, coords=coords, attrs=attrs)
    single = len(groups) == 1
    where = (
        {"posterior": next(iter(groups.values()))}
        if single
        else {f"models/{k}/posterior": v for k, v in groups.items()}
    )
    dose, response = (
        xr.Dataset({name: ("observation", values, {"units": units})})
        for name, values, units in (("dose", doses, "mg/L"), ("response", np.ones(len(doses)), "g"))
    )
    evidence = xr.Dataset({"weight": ("model", list(weights))}, coords={"model": list(groups)})
    own = {"constant_data": dose.assign_attrs(trial_attrs), "observed_data": response, "evidence": evidence}
    tree = xr.DataTree.from_dict(where | own)
    tree.attrs = {"seed": 5}
    return tree


def bells(peak, height, width, *, base=2.0, sigma=0.4, **arguments):
    """Return the fit of pure bells: the tail of BellTail is moved out to where no dose goes."""
    peak, height, width = np.broadcast_arrays(peak, height, width)
    far, ones = 1e14, np.ones(peak.shape)
    draws = {"control": base * ones, "amplitude": height, "half_effect_dose": far * ones, "dose_ratio": peak / far}
    draws |= {"width": width, "slope": 4 * ones, "sigma": sigma * ones}
    return make_fit([(BellTail(), draws)], **arguments)


def edges_of_bells(peak, height, width, benefit=0.1):
    reach = np.exp(width * np.sqrt(2 * np.log(height / benefit)))
    return peak / reach, peak * reach


def spread(center, log_sd, size=DRAWS):
    return center * np.exp(log_sd * np.random.default_rng(8).standard_normal(size))


@pytest.fixture(params=["up", "down"])
def direction(request):
    return request.param


@pytest.fixture
def fit(curve_class, direction, prior_draws):
    template = curve_class(direction=direction)
    return make_fit([(template, prior_draws(template, DRAWS))])


@pytest.fixture
def brain_cousens(prior_draws):
    draws = prior_draws(BrainCousens(), DRAWS) | {"slope_excess": np.linspace(0.2, 5, DRAWS)}
    return make_fit([(BrainCousens(), draws)])


def flat(result, name):
    return result[name].values.reshape(-1)


def gains_on(member, doses):
    return np.broadcast_to(member.gain(doses[None, :]), (member.size, len(doses)))


def closed_forms(member):
    """Return peak and zero-equivalent dose of Brain-Cousens by science.md 1.1."""
    curve = member.curve
    slope, s, power = 1 + curve.slope_excess, curve.peak_stimulation, -1 / curve.slope_excess
    zero = curve.half_effect_dose * (2 + np.exp(-curve.log_coefficient())) ** power
    return (zero * (slope * (1 + s)) ** power)[:, 0], zero[:, 0]


class TestEdges:
    def test_agree_with_brute_force(self, fit):
        [member] = members(fit)
        result = window(fit)
        low, high = domain(trial_of(fit))
        grid = np.geomspace(low * 1e-3, high * 1e3, 20_000)
        spacing = math.log(grid[1] / grid[0])
        gains = gains_on(member, grid)
        threshold = 0.1 * member.curve.control
        inside = gains >= threshold
        # An upper-level set is an interval: it is entered at most once.
        assert np.all(np.sum(np.diff(inside.astype(int), axis=1) == 1, axis=1) + inside[:, 0] <= 1)
        meets = (inside & (grid >= low) & (grid <= high)).any(axis=1)
        exists = flat(result, "exists")
        clear = np.abs(gains.max(axis=1) / threshold[:, 0] - 1) > 1e-4
        np.testing.assert_array_equal(exists[clear], meets[clear])
        lower, upper, peak = (flat(result, name) for name in ("window_lower", "window_upper", "peak_dose"))
        np.testing.assert_array_equal(np.isnan(lower), ~exists)
        np.testing.assert_array_equal(np.isnan(upper), ~exists)
        here = np.flatnonzero(exists & clear & inside.any(axis=1))
        first, last = inside[here].argmax(axis=1), len(grid) - 1 - inside[here, ::-1].argmax(axis=1)
        top = gains[here].argmax(axis=1)
        found_and_index = [(lower[here], first), (upper[here], last)]
        found_and_index += [(peak[here], top)] if type(member.curve).hormetic else []
        for found, index in found_and_index:
            within = (index > 0) & (index < len(grid) - 1)
            np.testing.assert_allclose(np.log(found[within]), np.log(grid[index[within]]), rtol=0, atol=1.001 * spacing)
        # What the grid does not reach lies beyond it.
        assert np.all(lower[here][first == 0] <= grid[0])
        assert np.all(upper[here][last == len(grid) - 1] >= grid[-1])
        assert (here.size > DRAWS / 20) is (type(member.curve).hormetic or member.curve.trend in ("rising", "open"))

    def test_are_where_the_gain_is_the_benefit(self, fit):
        [member] = members(fit)
        result = window(fit)
        threshold = 0.1 * member.curve.control[:, 0]
        for name in ("window_lower", "window_upper"):
            edges = flat(result, name)
            there = np.isfinite(edges) & (edges > 0)
            gain = np.diagonal(gains_on(member.take(np.flatnonzero(there)), edges[there]))
            np.testing.assert_allclose(gain, threshold[there], rtol=1e-6)

    def test_peak_holds_its_response_and_stimulation(self, fit):
        [member] = members(fit)
        result = window(fit)
        there = np.isfinite(flat(result, "peak_dose"))
        part = member.take(np.flatnonzero(there))
        height = np.diagonal(gains_on(part, flat(result, "peak_dose")[there]))
        control = part.curve.control[:, 0]
        np.testing.assert_allclose(flat(result, "peak_response")[there], control + part.curve.sign * height)
        np.testing.assert_allclose(flat(result, "peak_stimulation")[there], height / control)
        assert there.any() == type(member.curve).hormetic

    def test_of_brain_cousens_are_closed_forms(self, brain_cousens):
        [member] = members(brain_cousens)
        result = window(brain_cousens)
        peak, zero = closed_forms(member)
        np.testing.assert_allclose(flat(result, "peak_dose"), peak, rtol=1e-5)
        np.testing.assert_allclose(flat(result, "peak_stimulation"), member.draws["peak_stimulation"], rtol=1e-9)
        np.testing.assert_allclose(flat(result, "zero_equivalent_dose"), zero, rtol=1e-7)
        np.testing.assert_allclose(flat(result, "half_effect_dose"), member.draws["half_effect_dose"], rtol=1e-7)

    @pytest.mark.parametrize("curve", [LogLogistic, SigmoidEmax])
    def test_half_effect_dose_of_monotone_curves_is_their_parameter(self, curve, direction, prior_draws):
        template = curve(direction=direction)
        draws = prior_draws(template, DRAWS)
        found = flat(window(make_fit([(template, draws)])), "half_effect_dose")
        np.testing.assert_allclose(found, draws["half_effect_dose"], rtol=1e-7)

    def test_of_the_pure_bell_are_its_level_set(self):
        rng = np.random.default_rng(3)
        shapes = rng.lognormal(1.5, 1, DRAWS), rng.uniform(0.11, 0.9, DRAWS), rng.lognormal(-0.1, 0.4, DRAWS)
        result = window(bells(*shapes))
        lower, upper = edges_of_bells(*shapes)
        low, high = result.attrs["domain"]
        exists = (lower <= high) & (upper >= low)
        np.testing.assert_array_equal(flat(result, "exists"), exists)
        np.testing.assert_allclose(flat(result, "window_lower")[exists], lower[exists], rtol=1e-7)
        np.testing.assert_allclose(flat(result, "window_upper")[exists], upper[exists], rtol=1e-7)
        np.testing.assert_allclose(flat(result, "peak_dose"), shapes[0], rtol=1e-5)

    @pytest.mark.parametrize("touch", [0.1, 0.1 * (1 + 1e-12)])
    def test_of_a_peak_that_just_touches_the_benefit_meet_at_the_peak(self, touch):
        result = window(bells(np.full(4, 3.0), touch, 0.5))
        exists = flat(result, "exists")
        for name in ("window_lower", "window_upper"):
            np.testing.assert_allclose(flat(result, name)[exists], 3.0, rtol=1e-4)

    def test_of_a_rising_null_are_open_to_the_right(self, direction):
        template = SigmoidEmax(direction=direction)
        draws = {"control": 2.0, "span": 1.0, "half_effect_dose": [2.0, 5.0, 50.0, 5.0], "slope": [1.0, 2.0, 3.0, 8.0]}
        draws = {name: np.broadcast_to(values, 4) for name, values in draws.items()}
        result = window(make_fit([(template, draws)]))
        assert flat(result, "exists").all()
        np.testing.assert_array_equal(flat(result, "window_upper"), np.inf)
        for name in ("zero_equivalent_dose", "peak_dose", "peak_response", "peak_stimulation"):
            np.testing.assert_array_equal(flat(result, name), np.nan, err_msg=name)
        # span h = 0.1 control  =>  d = k (0.2 / 0.8)^(1 / h)
        expected = draws["half_effect_dose"] * 0.25 ** (1 / draws["slope"])
        np.testing.assert_allclose(flat(result, "window_lower"), expected, rtol=1e-7)
        assert result.attrs["flags"].split() == ["RIGHT_OPEN"]

    @pytest.mark.parametrize("curve", [Constant, LogLogistic])
    def test_of_a_null_without_benefit_do_not_exist(self, curve, prior_draws):
        result = window(make_fit([(curve(), prior_draws(curve(), 20))]))
        assert not flat(result, "exists").any()
        assert (float(result["prob_exists"]), float(result["max_probability"])) == (0.0, 0.0)
        assert np.isnan(result["best_dose"])
        for name in QUANTITIES:
            assert np.isnan(flat(result, name)).all() or name == "half_effect_dose"

    @pytest.mark.parametrize("factor", [1.0, 1e9, 1e-9])
    def test_of_steep_curves_are_found_in_any_unit(self, curve_class, prior_draws, factor):
        known, draws = curve_class().parameters(), prior_draws(curve_class(), 40)
        draws = {name: x * (5 if "slope" in name else 1) for name, x in draws.items()}
        power = {"dose": 1, "1 / dose": -1}
        scaled = {name: x * factor ** power.get(known[name].unit, 0) for name, x in draws.items()}
        fit = make_fit([(curve_class(), scaled)], doses=LETTUCE * factor)
        assert np.all(np.isfinite(predict(fit)))
        result = window(fit, doses=LETTUCE * factor)
        [member] = members(make_fit([(curve_class(), draws)]))
        share = (gains_on(member, np.unique(LETTUCE)) >= 0.1 * member.curve.control).mean(axis=0)
        np.testing.assert_allclose(result["probability"], share, atol=1e-12)
        assert np.isfinite(flat(result, "half_effect_dose")).all() == (curve_class.trend in ("falling", "rising"))

    @given(control=st.floats(0.1, 10), s=st.floats(0.11, 3), excess=st.floats(0.05, 7), log_half=st.floats(-4, 7))
    @settings(max_examples=20, deadline=None, database=None)
    def test_surround_the_peak(self, control, s, excess, log_half):
        values = {"control": control, "peak_stimulation": s}
        values |= {"half_effect_dose": math.exp(log_half), "slope_excess": excess}
        fit = make_fit([(BrainCousens(), {name: np.array([x]) for name, x in values.items()})], chains=1)
        result = window(fit)
        assume(bool(result["exists"].item()))
        [member] = members(fit)
        lower, upper, peak = (result[name].item() for name in ("window_lower", "window_upper", "peak_dose"))
        assert lower <= peak <= upper < result["zero_equivalent_dose"].item() < result["half_effect_dose"].item()
        np.testing.assert_allclose(member.gain(np.array([[lower, upper]])), 0.1 * control, rtol=1e-6)
        assert result["peak_stimulation"].item() == pytest.approx(s, rel=1e-8)


class TestExceedance:
    """The identities of science.md 3.1."""

    @pytest.fixture
    def wide(self, brain_cousens):
        """Return the exceedance over a domain that clips no edge, and the edges themselves."""
        [member] = members(brain_cousens)
        solved = solve(member, 0.1 * member.curve.control[:, 0], trial_of(brain_cousens))
        there = solved["exists"]
        lower, upper = solved["window_lower"][there], solved["window_upper"][there]
        exceedance = Exceedance.of([solved], np.array([1.0]), (lower.min() / 2, upper.max() * 2))
        return exceedance, lower, upper

    def test_integral_over_log_dose_is_the_mean_width(self, wide):
        exceedance, lower, upper = wide
        expected = np.sum(np.log(upper) - np.log(lower)) / DRAWS
        edges, heights = exceedance.steps()
        assert np.sum(heights * np.diff(np.log(edges))) == pytest.approx(expected, rel=1e-12)
        dense = np.geomspace(*exceedance.domain, 200_001)
        assert np.trapezoid(exceedance(dense), np.log(dense)) == pytest.approx(expected, rel=1e-4)

    def test_is_the_share_of_lower_edges_passed_less_that_of_upper_ones(self, wide):
        exceedance, lower, upper = wide
        doses = np.concatenate([np.geomspace(*exceedance.domain, 301), lower[:20], upper[:20]])
        passed, left = (lower[:, None] <= doses).sum(axis=0), (upper[:, None] < doses).sum(axis=0)
        np.testing.assert_allclose(exceedance(doses), (passed - left) / DRAWS, atol=1e-12)

    def test_is_the_share_of_draws_with_the_benefit(self, fit):
        [member] = members(fit)
        low, high = domain(trial_of(fit))
        doses = np.random.default_rng(2).uniform(math.log(low), math.log(high), 200)
        doses = np.sort(np.exp(doses))
        share = (gains_on(member, doses) >= 0.1 * member.curve.control).mean(axis=0)
        result = window(fit, doses=doses)
        np.testing.assert_allclose(result["probability"], share, atol=1e-12)
        assert result["max_probability"] >= share.max() - 1e-12
        assert result["prob_exists"] >= result["max_probability"] - 1e-12
        assert float(result["prob_exists"]) == pytest.approx(flat(result, "exists").mean())

    def test_windows_are_nested_in_the_level(self):
        fit = bells(spread(3.2, 0.6), 0.4, 0.8)
        narrowing = [level_pieces(window(fit, level=level)) for level in (0.2, 0.5, 0.7, 0.8, 0.9)]
        assert all(narrowing)
        for outer, inner in pairwise(narrowing):
            for low, high in inner:
                assert any(below <= low < high <= above for below, above in outer)

    def test_level_window_holds_the_level_inside_and_not_outside(self):
        rng = np.random.default_rng(4)
        fit = bells(rng.lognormal(1.2, 0.4, 1000), 0.4, 0.8)
        [(low, high)] = level_pieces(window(fit))
        around = window(fit, doses=[low / 1.02, low * 1.02, math.sqrt(low * high), high / 1.02, high * 1.02])
        assert (around["probability"].values >= 0.8).tolist() == [False, True, True, True, False]

    def test_windows_and_best_dose_stay_in_the_domain(self):
        result = window(bells(np.full(50, 5.0), 5.0, 4.0))
        assert level_pieces(result) == [tuple(result.attrs["domain"])]
        assert result.attrs["domain"] == pytest.approx([0.32 / 3, 300])
        assert float(result["best_dose"]) == pytest.approx(math.sqrt(0.32 * 100))

    def test_a_gap_within_monte_carlo_error_is_no_gap(self):
        # Probability 0.81, then 0.79, then 0.81 in 100 draws; and 0.9, 0.6, 0.9.
        pieces = []
        for left_only in (2, 30):
            lower = np.concatenate([np.ones(100 - left_only), np.full(left_only, 3.0)])
            upper = np.concatenate([np.full(left_only, 2.0), np.full(100 - left_only, 4.0)])
            solved = {"window_lower": lower, "window_upper": upper, "exists": np.ones(100, dtype=bool)}
            pieces.append(Exceedance.of([solved], np.array([1.0]), (0.1, 10.0)).pieces(0.99 - left_only / 100))
        assert [len(found) for found in pieces] == [1, 2]


class TestMixture:
    def test_a_weight_of_one_is_the_single_fit(self, brain_cousens, prior_draws):
        [member] = members(brain_cousens)
        draws = {name: member.draws[name].values for name in member.draws}
        other = (SigmoidEmax(), prior_draws(SigmoidEmax(), DRAWS))
        alone = window(brain_cousens)
        one = (BrainCousens(), draws)
        for posteriors, weights in (([one, other], [1, 0]), ([other, one], [0, 1])):
            mixed = window(make_fit(posteriors, weights))
            assert set(flat(mixed, "model")) == {"BrainCousens"}
            for name in QUANTITIES:
                np.testing.assert_array_equal(np.sort(flat(mixed, name)), np.sort(flat(alone, name)))
            same = ["probability", "expected_utility", "regret", "prob_exists", "max_probability", "best_dose"]
            for name in [*same, "optimal_dose", "optimal_regret", "near_optimal", "level_window"]:
                np.testing.assert_allclose(mixed[name], alone[name], rtol=1e-9, err_msg=name)
            assert (mixed.attrs["status"], mixed.attrs["flags"]) == (alone.attrs["status"], alone.attrs["flags"])

    def test_probabilities_use_the_exact_weights(self, prior_draws):
        weights = np.array([0.613, 0.271, 0.116])
        posteriors = [(curve(), prior_draws(curve(), DRAWS)) for curve in (BrainCousens, SigmoidEmax, Constant)]
        parts = [window(make_fit([one])) for one in posteriors]
        mixed = window(make_fit(posteriors, weights))
        for name in ("probability", "prob_exists"):
            np.testing.assert_allclose(mixed[name], sum(w * part[name] for w, part in zip(weights, parts, strict=True)))
        counts = [np.sum(flat(mixed, "model") == name) for name in ("BrainCousens", "SigmoidEmax", "Constant")]
        np.testing.assert_allclose(counts, weights * DRAWS, atol=1)

    def test_every_draw_is_one_of_its_curve_and_predict_follows(self, prior_draws):
        posteriors = [(curve(), prior_draws(curve(), DRAWS)) for curve in (BrainCousens, BellTail)]
        fit = make_fit(posteriors, [0.4, 0.6])
        result = window(fit)
        for label, part in zip(("BrainCousens", "BellTail"), posteriors, strict=True):
            own = flat(result, "half_effect_dose")[flat(result, "model") == label]
            assert set(own) <= set(flat(window(make_fit([part])), "half_effect_dose"))
            assert len(set(own)) == len(own)
        mean = predict(fit, doses=[0.0, 1.0])
        assert mean.dims == ("chain", "draw", "dose")
        peaks = xr.where(result["exists"], result["window_lower"], 1.0)
        at_edges = predict(fit, doses=np.unique(peaks)).sel(dose=peaks)
        gain = (at_edges / mean.sel(dose=0.0) - 1).where(result["exists"])
        np.testing.assert_allclose(gain.values[result["exists"].values], 0.1, rtol=1e-6)


HALVES = np.repeat([0.02, 0.5], DRAWS // 2)
CAP = 2.0  # twice the benefit asked for is worth no more than that


class TestVerdict:
    @pytest.mark.parametrize(
        ("shapes", "status"),
        [
            ((spread(3, 0.1), 0.5, 1.0), "WINDOW"),
            ((spread(5, 1.5), 0.5, 0.3), "UNLOCATED"),
            ((spread(3, 0.1), np.full(DRAWS, 0.02), 1.0), "UNLIKELY"),
            ((spread(3, 0.1), HALVES, 1.0), "UNDETERMINED"),
        ],
    )
    def test_status(self, shapes, status):
        result = window(bells(*shapes))
        assert result.attrs["status"] == status
        assert bool(level_pieces(result)) is (status == "WINDOW")

    @pytest.mark.parametrize(
        ("share", "level", "status"),
        [
            (0.5, 0.4, "WINDOW"),
            (0.5, 0.5, "WINDOW"),
            (0.5, 0.51, "UNDETERMINED"),
            (0.15, 0.8, "UNLIKELY"),
            (0.15, 0.9, "UNDETERMINED"),
        ],
    )
    def test_status_depends_on_the_level_asked_for(self, share, level, status):
        height = np.where(np.arange(DRAWS) < share * DRAWS, 0.5, 0.02)
        result = window(bells(spread(3, 0.01), height, 1.0), level=level)
        assert result.attrs["status"] == status
        assert level in result["window_level"]

    @pytest.mark.parametrize(
        ("peak", "height", "width", "trial", "flags"),
        [
            (3.2, 0.3, 0.7, {}, ""),
            (0.4, 0.3, 0.7, {}, "LEFT_OPEN PEAK_IN_GAP"),
            (80.0, 0.3, 0.7, {}, "RIGHT_OPEN PEAK_IN_GAP"),
            (6.0, 0.11, 0.5, {}, "BETWEEN_DOSES PEAK_IN_GAP"),
            (6.0, 0.3, 1.0, {}, "PEAK_IN_GAP"),
            (3.2, 0.3, 0.7, {"doses": LETTUCE[2:]}, "NO_CONTROL"),
            (3.2, 0.3, 0.7, {"doses": LETTUCE[2:], "known": {"control": 2.0}}, ""),
            (3.2, 0.3, 0.7, {"known": {"standard_dose": 10.0}}, "NOT_MICRO"),
            (3.2, 0.3, 0.7, {"known": {"standard_dose": 20.0}}, ""),
            (np.repeat([1.0, 32.0], DRAWS // 2), 0.3, 0.4, {"level": 0.45}, "SPLIT"),
            (np.repeat([1.0, 32.0], DRAWS // 2), 0.3, 0.4, {"level": 0.55}, ""),
        ],
    )
    def test_flags(self, peak, height, width, trial, flags):
        # A little spread, so that a tested dose lies inside the interval of the peaks.
        peaks = peak * np.exp(0.001 * np.random.default_rng(1).standard_normal(DRAWS))
        fit = bells(peaks, height, width, doses=trial.get("doses", LETTUCE), **trial.get("known", {}))
        assert window(fit, level=trial.get("level", 0.8)).attrs["flags"] == flags


class TestBenefit:
    SHAPES = (spread(3.2, 0.3), np.linspace(0.05, 0.8, DRAWS), 0.7)

    @pytest.mark.parametrize(
        ("benefit", "scale"), [(0.1, "relative"), (0.2, "difference"), (0.5, "sd"), (2.2, "level")]
    )
    def test_scales_say_the_same_in_other_words(self, benefit, scale):
        fit = bells(*self.SHAPES)
        result, reference = window(fit, benefit=benefit, benefit_scale=scale), window(fit, benefit=0.1)
        assert (result.attrs["benefit"], result.attrs["benefit_scale"]) == (benefit, scale)
        for name in [*QUANTITIES, "probability", "expected_utility"]:
            np.testing.assert_allclose(result[name], reference[name], rtol=1e-6, err_msg=name)

    def test_relative_and_sd_follow_each_draw(self):
        control, sigma = np.linspace(1, 4, 8), np.linspace(0.1, 0.6, 8)
        fit = bells(np.full(8, 3.0), 0.9, 0.7, base=control, sigma=sigma)
        for scale, threshold in (("relative", 0.2 * np.ones(8)), ("sd", 0.2 * sigma / control)):
            found = flat(window(fit, benefit=0.2, benefit_scale=scale), "window_upper")
            np.testing.assert_allclose(found, edges_of_bells(3.0, 0.9, 0.7, threshold)[1], rtol=1e-6)

    def test_a_level_that_the_control_has_begins_at_dose_zero(self, direction):
        values = {"control": 2.0, "span": 2.0, "peak_stimulation": 0.3, "half_effect_dose": 30.0, "slope_excess": 1.0}
        template = BrainCousens(direction=direction)
        fit = make_fit([(template, {name: np.full(4, values[name]) for name in template.parameters()})])
        level = 1.5 if direction == "up" else 2.5
        result = window(fit, benefit=level, benefit_scale="level", doses=[0.0, 1.0])
        np.testing.assert_array_equal(result["window_lower"], 0.0)
        np.testing.assert_array_equal(result["probability"], 1.0)
        np.testing.assert_allclose(template.with_values(values)(result["window_upper"].values), level, rtol=1e-7)
        assert flat(result, "exists").all()

    def test_a_level_that_a_constant_has_is_a_window_without_end(self):
        fit = make_fit([(Constant(), {"control": np.full(4, 2.0)})])
        result = window(fit, benefit=1.5, benefit_scale="level")
        assert flat(result, "exists").all()
        np.testing.assert_array_equal(result["window_lower"], 0.0)
        np.testing.assert_array_equal(result["window_upper"], np.inf)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"benefit": 0.0}, ValueError),
            ({"benefit": -0.1}, ValueError),
            ({"benefit": math.nan}, ValueError),
            ({"benefit": True}, ValueError),
            ({"benefit": "10%"}, ValueError),
            ({"benefit": 110}, ValueError),
            ({"benefit_scale": "relativ"}, ValueError),
            ({"benefit_scale": None}, ValueError),
            ({"level": 0}, ValueError),
            ({"level": 1}, ValueError),
            ({"level": 80}, ValueError),
            ({"level": "0.8"}, ValueError),
            ({"doses": []}, ValueError),
            ({"doses": [-1.0]}, ValueError),
            ({"doses": [1.0, math.inf]}, ValueError),
            ({"doses": ["low", "high"]}, ValueError),
            ({"doses": -1.0}, ValueError),
        ],
        ids=str,
    )
    def test_refusals_are_one_sentence(self, arguments, error):
        [(name, value)] = arguments.items()
        with pytest.raises(error, match=ONE_SENTENCE) as refused:
            window(bells(np.full(4, 3.0), 0.3, 0.7), **arguments)
        message = str(refused.value)
        assert name in message or name.replace("_", " ") in message
        assert str(value).strip("[]'")[:4] in message

    @pytest.mark.parametrize("thing", [None, xr.Dataset(), xr.DataTree()], ids=lambda thing: type(thing).__name__)
    def test_what_is_no_fit_is_refused(self, thing):
        with pytest.raises(TypeError, match=r"^Expected the DataTree that fit\(\) returns, got .*\.$"):
            window(thing)

    def test_an_unknown_curve_class_is_named(self):
        with pytest.raises(ValueError, match=r"^The fit holds a curve 'Novel' that is not known here; .*\.$"):
            find_class("Novel")
        assert find_class("BellTail") is BellTail


class TestUnits:
    def test_window_is_invariant(self, template, prior_draws):
        dose_factor, response_factor = 1e-6, 1.0 if template.link == "logit" else 1e3  # a probability has no unit
        factor = {"1": 1.0, "dose": dose_factor, "response": response_factor, "1 / dose": 1 / dose_factor}
        factor["response / dose"] = response_factor / dose_factor
        draws, known = prior_draws(template, 60), template.parameters()
        other = {name: values * factor[known[name].unit] for name, values in draws.items()}
        before = window(make_fit([(template, draws)]))
        after = window(make_fit([(template, other)], doses=LETTUCE * dose_factor))
        assert (after.attrs["status"], after.attrs["flags"]) == (before.attrs["status"], before.attrs["flags"])
        # A mean that grows without bound is worth what the largest draw says, to its last digit.
        unbounded = template.link == "log" and template.direction == "down"
        worth = {"expected_utility", "regret", "optimal_dose", "optimal_regret", "near_optimal"} if unbounded else set()
        for name in set(before.data_vars) - worth:
            scaled = factor["dose" if name in DOSES else "response" if name == "peak_response" else "1"]
            np.testing.assert_allclose(after[name], before[name] * scaled, rtol=2e-5, atol=1e-9 * scaled, err_msg=name)


class TestUtility:
    @pytest.fixture
    def result(self, fit):
        return window(fit)

    def test_regret_is_smallest_at_the_optimum(self, result):
        assert float(result["regret"].min()) >= -1e-12
        assert float(result["regret"].min()) >= float(result["optimal_regret"]) - 1e-9
        ceiling = (result["regret"] + result["expected_utility"]).values
        np.testing.assert_allclose(ceiling, ceiling[0], rtol=1e-8, atol=1e-12)

    def test_near_optimal_doses_contain_the_optimum_and_are_nearly_as_good(self, fit, result):
        low, high = result["near_optimal"].values
        best, smallest = float(result["optimal_dose"]), float(result["optimal_regret"])
        assert low <= best <= high
        ends = window(fit, doses=[low, best, high])
        assert np.all(ends["regret"] <= 1.1 * smallest + 1e-6)
        first, last = result.attrs["domain"]
        outside = [end for end in (low / 1.05, high * 1.05) if first <= end <= last] or [best]
        assert np.all(window(fit, doses=outside)["regret"] > 1.1 * smallest - 1e-12) or outside == [best]

    @pytest.mark.parametrize("height", [0.15, 0.5])
    def test_of_a_certain_curve_has_no_regret(self, height):
        grid = np.linspace(2.0, 4.0, 41)
        result = window(bells(np.full(8, 3.0), height, 0.4), doses=grid)
        best = min(height / 0.1, CAP)
        assert float(result["optimal_regret"]) == pytest.approx(0, abs=1e-9)
        assert float(result["expected_utility"].max()) == pytest.approx(best, rel=1e-12)
        assert float(result["regret"].min()) == pytest.approx(0, abs=1e-12)
        assert float(result["regret"].min()) >= 0
        plateau = edges_of_bells(3.0, height, 0.4, CAP * 0.1) if height > CAP * 0.1 else (3.0, 3.0)
        assert plateau[0] * 0.999 <= float(result["optimal_dose"]) <= plateau[1] * 1.001

    def test_is_the_capped_benefit_per_benefit_asked_for(self):
        peaks, heights = np.array([2.0, 5.0, 9.0, 5.0]), np.array([0.05, 0.15, 0.3, 0.8])
        doses = np.array([1.0, 4.0, 20.0])
        gain = heights[:, None] * np.exp(-((np.log(doses / peaks[:, None]) / 0.7) ** 2) / 2)
        expected = np.minimum(gain / 0.1, CAP).mean(axis=0)
        result = window(bells(peaks, heights, 0.7), doses=doses)
        np.testing.assert_allclose(result["expected_utility"], expected, rtol=1e-9)

    def test_thins_long_posteriors_evenly(self):
        [member] = members(bells(spread(3.0, 0.5, 4000), 0.3, 0.7))
        thin = Utility.of([member], [np.full(4000, 0.2)], most=500)
        [kept], [limits] = thin.group, thin.thresholds
        assert kept.size == limits.size == 500
        np.testing.assert_array_equal(kept.draws["dose_ratio"], member.draws["dose_ratio"][::8])


class TestResult:
    def test_dims_and_words(self, fit):
        result = window(fit)
        for name, (unit, _) in QUANTITIES.items():
            assert result[name].dims == ("chain", "draw")
            assert result[name].attrs["units"] == {"dose": "mg/L", "response": "g", "1": "1"}[unit]
        assert result.sizes["chain"] == 2
        assert result.sizes["draw"] == DRAWS // 2
        assert result["exists"].dtype == bool
        for name, variable in result.data_vars.items():
            assert variable.attrs["definition"].endswith("."), name

    def test_a_thinned_fit_keeps_its_dims_and_labels(self, brain_cousens):
        thinned = brain_cousens.isel(draw=slice(None, None, 4), missing_dims="ignore")
        whole, result = window(brain_cousens), window(thinned)
        assert dict(result["peak_dose"].sizes) == {"chain": 2, "draw": DRAWS // 8}
        xr.testing.assert_equal(result["peak_dose"], whole["peak_dose"].isel(draw=slice(None, None, 4)))

    def test_is_the_same_twice_and_from_a_reopened_file(self, brain_cousens, tmp_path, prior_draws):
        average = make_fit(
            [(curve(), prior_draws(curve(), 40)) for curve in CURVES.values()], np.full(len(CURVES), 1 / len(CURVES))
        )
        for name, fit in (("single", brain_cousens), ("average", average)):
            first = window(fit)
            xr.testing.assert_identical(window(fit), first)
            fit["window"] = xr.DataTree(first)
            fit.to_netcdf(tmp_path / f"{name}.nc", engine="h5netcdf")
            with xr.open_datatree(tmp_path / f"{name}.nc", engine="h5netcdf") as reopened:
                again = window(reopened)
                xr.testing.assert_equal(again, first)
                xr.testing.assert_equal(reopened["window"].to_dataset(), first)
                assert again.attrs == first.attrs

    @pytest.mark.parametrize("scale", BENEFIT_SCALES)
    def test_attrs_say_what_was_asked_for(self, scale):
        attrs = window(bells(np.full(4, 3.0), 0.3, 0.7), benefit=2.1, benefit_scale=scale, level=0.7).attrs
        expected = {"benefit": 2.1, "benefit_scale": scale, "level": 0.7, "estimand": "typical", "seed": 5}
        assert {name: attrs[name] for name in expected} == expected
