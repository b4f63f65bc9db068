"""What a dose must not do: limit doses in closed form, joint exceedance, what binds, and refusals."""

import json
import math

import numpy as np
import pytest
import xarray as xr
from test_estimands import make_draws, make_fit

from hormesis_fit.curves import BellTail, Constant, LogLogistic, LogNormalBell, SigmoidEmax
from hormesis_fit.windows import estimands
from hormesis_fit.windows.estimands import NEEDED, PEOPLE, SHARE
from hormesis_fit.windows.harms import Harm, check_harms, harm_at, limit_doses
from hormesis_fit.windows.posterior import members, trial_of
from hormesis_fit.windows.windowing import window

SIZE = 40
GRID = np.geomspace(0.32 / 3, 300, 150)
RNG = np.random.default_rng(3)
CONTROL = 2.0
BENEFIT = {"control": CONTROL, "peak_stimulation": RNG.uniform(0.2, 0.5, SIZE), "width": 0.8, "sigma": 0.4}
BENEFIT |= {"peak_dose": 3 * np.exp(0.3 * RNG.standard_normal(SIZE))}
REACH = np.exp(0.8 * np.sqrt(2 * np.log(BENEFIT["peak_stimulation"] / 0.1)))
LOWER, UPPER = BENEFIT["peak_dose"] / REACH, BENEFIT["peak_dose"] * REACH
RISK = {"control": 0.05, "half_effect_dose": 20 * np.exp(0.4 * RNG.standard_normal(SIZE)), "slope": 1.5}


def make_pair(risk=RISK, template=None, benefit=BENEFIT):
    """Return the fit of a bell of benefit, and of a risk that rises with the dose as its endpoint "nausea"."""
    fit = make_fit({"LogNormalBell": make_draws(LogNormalBell(), benefit)})
    template = template or LogLogistic(link="logit", direction="down")
    draws = make_draws(template, risk)
    draws.attrs["family"] = "binomial"
    side = make_fit({type(template).__name__: draws})
    for name, group in side.children.items():
        fit[f"endpoints/nausea/{name}"] = group
    fit["endpoints/nausea"].attrs = {"seed": 9}
    return fit


@pytest.fixture
def fit():
    return make_pair()


def flat(result, name):
    return result[name].values.reshape(-1)


def cut_by(result, ends, lower=LOWER, upper=UPPER):
    """Compare a window with one that ends where a harm begins."""
    there = (lower <= np.minimum(upper, ends)) & (np.minimum(upper, ends) >= result.attrs["domain"][0])
    np.testing.assert_array_equal(flat(result, "exists"), there)
    np.testing.assert_allclose(flat(result, "window_lower")[there], lower[there], rtol=1e-6)
    np.testing.assert_allclose(flat(result, "window_upper")[there], np.minimum(upper, ends)[there], rtol=1e-6)
    return there


class TestLimits:
    @pytest.mark.parametrize(("constant", "slope", "limit"), [(5.0, 1.0, 0.5), (4.0, 2.0, 0.3), (50.0, 1.0, 0.2)])
    def test_of_occupancy(self, fit, constant, slope, limit):
        harm = Harm(occupancy=(constant, slope), limit=limit)
        dose = constant * (limit / (1 - limit)) ** (1 / slope)
        [member] = members(fit)
        np.testing.assert_allclose(limit_doses(harm, member, None, trial_of(fit)), dose, rtol=1e-10)
        result = window(fit, harm=harm)
        there = cut_by(result, np.full(SIZE, dose))
        ended = flat(result, "upper_limit")[there]
        np.testing.assert_array_equal(ended, np.where(dose < UPPER[there], "occupancy", "benefit"))

    def test_of_one_constant_has_a_slope_of_one(self, fit):
        one, other = (window(fit, harm=Harm(occupancy=o, limit=0.4)) for o in (5.0, (5.0, 1.0)))
        assert one.equals(other)

    def test_of_loss_below_the_control(self):
        values = {"control": 2.0, "half_effect_dose": np.linspace(2, 30, SIZE), "slope": 1.5, "sigma": 1.0}
        fit = make_fit({"LogLogistic": make_draws(LogLogistic(), values)})
        [member] = members(fit)
        # 1 - 1 / (1 + x^h) = limit
        expected = values["half_effect_dose"] * (0.2 / 0.8) ** (1 / 1.5)
        found = limit_doses(Harm(loss=True, limit=0.2), member, None, trial_of(fit))
        np.testing.assert_allclose(found, expected, rtol=1e-10)

    def test_of_a_side_effect(self, fit):
        """On the odds: p / (1 - p) = p0 / (1 - p0) (1 + (d / k)^h)."""
        result = window(fit, harm=Harm(endpoint="nausea", limit=0.08))
        rise = (0.08 / 0.92) / (0.05 / 0.95) - 1
        ends = RISK["half_effect_dose"] * rise ** (1 / 1.5)
        # Draws of independent posteriors are paired at random: compare as sets.
        benefit_only = window(fit)
        found = flat(result, "window_upper")
        capped = found[np.isfinite(found) & (flat(result, "upper_limit") == "nausea")]
        assert capped.size > 3
        distance = np.abs(capped[:, None] / ends - 1).min(axis=1)
        assert distance.max() < 1e-6
        assert np.all(found[np.isfinite(found)] <= flat(benefit_only, "window_upper")[np.isfinite(found)] * (1 + 1e-9))

    def test_of_the_excess_of_a_side_effect(self):
        fit = make_pair(RISK | {"half_effect_dose": 20.0})
        harm = Harm(endpoint="nausea", limit=0.15, excess=True)
        rise = (0.2 / 0.8) / (0.05 / 0.95) - 1
        cut_by(window(fit, harm=harm), np.full(SIZE, 20 * rise ** (1 / 1.5)))

    def test_of_a_function(self, fit):
        harm = Harm(function=lambda dose, draws: dose / 12, limit=0.5, name="volume")
        cut_by(window(fit, harm=harm), np.full(SIZE, 6.0))

    def test_of_a_function_of_the_draws(self, fit):
        def over_the_peak(dose, draws):
            return dose / draws["peak_dose"].values[:, None]

        cut_by(window(fit, harm=Harm(function=over_the_peak, limit=1.3)), 1.3 * BENEFIT["peak_dose"])

    def test_that_no_dose_exceeds_change_nothing(self, fit):
        plain, limited = window(fit), window(fit, harm=Harm(function=lambda dose, draws: 0 * dose, limit=1))
        for name in ("window_lower", "window_upper", "probability", "exists"):
            np.testing.assert_array_equal(limited[name], plain[name])
        assert limited["prob_binds"].values.tolist() == [1, 0]

    @pytest.mark.parametrize(
        "harm",
        [
            Harm(function=lambda dose, draws: 1 + 0 * dose, limit=0.5),
            Harm(endpoint="nausea", limit=0.04),  # the risk without the drug is 0.05
        ],
        ids=["function", "endpoint"],
    )
    def test_exceeded_without_the_drug_leave_no_window(self, fit, harm):
        result = window(fit, harm=harm)
        assert not result["exists"].any()
        assert (float(result["prob_exists"]), float(result["max_probability"])) == (0, 0)
        assert np.isnan(result["prob_binds"]).all()
        assert result.attrs["status"] == "UNLIKELY"

    def test_end_a_window_that_would_not_end(self):
        values = {"control": 2.0, "span": 1.0, "half_effect_dose": 3.0, "slope": 1.0, "sigma": 1.0}
        fit = make_fit({"SigmoidEmax": make_draws(SigmoidEmax(), values)})
        result = window(fit, harm=Harm(occupancy=10.0, limit=0.5))
        np.testing.assert_allclose(flat(result, "window_upper"), 10.0, rtol=1e-9)
        assert result["prob_binds"].sel(limit="occupancy") == 1


class TestJointly:
    """science.md 3.1: the exceedance is joint over draws, never a product of marginals."""

    def test_is_brute_force_over_draws(self, fit):
        harms = [
            Harm(occupancy=8.0, limit=0.5),
            Harm(function=lambda dose, draws: dose / draws["peak_dose"].values[:, None], limit=1.5),
        ]
        result = window(fit, harm=harms, doses=GRID)
        gain = BENEFIT["peak_stimulation"][:, None] * np.exp(
            -((np.log(GRID / BENEFIT["peak_dose"][:, None]) / 0.8) ** 2) / 2
        )
        good = (gain >= 0.1) & (GRID <= 8.0) & (1.5 * BENEFIT["peak_dose"][:, None] >= GRID)
        np.testing.assert_allclose(result["probability"], good.mean(axis=0), atol=1e-12)

    def test_is_not_the_product_of_its_parts(self):
        """Whoever peaks at a high dose also tolerates high doses."""
        half = SIZE // 2
        peaks = np.repeat([1.0, 30.0], half)
        fit = make_fit({"LogNormalBell": make_draws(LogNormalBell(), BENEFIT | {"peak_dose": peaks, "width": 0.3})})
        harm = Harm(function=lambda dose, draws: dose / draws["peak_dose"].values[:, None], limit=2.0)
        at = [1.0, 30.0]
        result, plain = window(fit, harm=harm, doses=at), window(fit, doses=at)
        tolerated = np.array([1.0, 0.5])
        np.testing.assert_allclose(plain["probability"], [0.5, 0.5])
        np.testing.assert_allclose(result["probability"], [0.5, 0.5])
        assert abs(float(result["probability"][1]) - float(plain["probability"][1]) * tolerated[1]) > 0.2

    def test_what_binds_adds_up_to_one(self, fit):
        harms = [Harm(occupancy=8.0, limit=0.5), Harm(endpoint="nausea", limit=0.07)]
        result = window(fit, harm=harms)
        assert result["limit"].values.tolist() == ["benefit", "occupancy", "nausea"]
        assert float(result["prob_binds"].sum()) == pytest.approx(1)
        assert np.all(result["prob_binds"] > 0)
        ended = flat(result, "upper_limit")
        there = flat(result, "exists")
        for name, share in zip(result["limit"].values, result["prob_binds"].values, strict=True):
            assert np.mean(ended[there] == name) == pytest.approx(share)
        assert set(ended[~there]) <= {""}
        assert result.attrs["harms"] == "occupancy at most 0.5; nausea at most 0.07"

    def test_more_harms_leave_less(self, fit):
        few = window(fit, harm=Harm(occupancy=8.0, limit=0.5), doses=GRID)
        more = window(fit, harm=[Harm(occupancy=8.0, limit=0.5), Harm(endpoint="nausea", limit=0.07)], doses=GRID)
        assert np.all(more["probability"] <= few["probability"] + 1e-12)

    def test_is_the_same_twice(self, fit):
        harm = Harm(endpoint="nausea", limit=0.15)
        assert window(fit, harm=harm).equals(window(fit, harm=harm))


def test_a_side_effect_of_several_curves_is_used_by_their_weights(fit):
    flat_risk = make_draws(Constant(link="logit", direction="down"), {"control": 0.1})
    steep = make_draws(LogLogistic(link="logit", direction="down"), RISK | {"half_effect_dose": 1.0})
    side = make_fit({"Constant": flat_risk, "LogLogistic": steep}, (0.25, 0.75))
    for name, group in side.children.items():
        fit[f"endpoints/rash/{name}"] = group
    fit["endpoints/rash"].attrs = {"seed": 9}
    result = window(fit, harm=Harm(endpoint="rash", limit=0.2))
    [member] = members(fit)
    rise = (0.2 / 0.8) / (0.05 / 0.95) - 1
    limit = rise ** (1 / 1.5)
    stopped = np.isclose(flat(result, "window_upper"), limit) | (~flat(result, "exists") & (limit < LOWER))
    assert stopped.mean() == pytest.approx(0.75, abs=4 * math.sqrt(0.25 * 0.75 / member.size))


def test_people_bring_their_own_side_effects():
    """A subject has one offset in the benefit and another in the side effect."""
    effects = (["half_effect_dose", "subject", "log"],)
    labels = {"subject": ("S1", "S2")}
    values = {"control": 2.0, "amplitude": 0.5, "half_effect_dose": 1e6, "dose_ratio": 3e-6, "width": 0.8}
    values |= {"slope": 4.0, "sigma": 0.4, "half_effect_dose_sd_subject": 0.5}
    values |= {"half_effect_dose_offset_subject": np.tile([0.0, 1.0], (SIZE, 1))}
    fit = make_fit({"BellTail": make_draws(BellTail(), values, effects, labels)})
    risk = {"control": 0.05, "half_effect_dose": 5.0, "slope": 1.5, "half_effect_dose_sd_subject": 0.8}
    risk |= {"half_effect_dose_offset_subject": np.tile([0.0, -1.0], (SIZE, 1))}
    side = make_fit({"L": make_draws(LogLogistic(link="logit", direction="down"), risk, effects, labels)})
    for name, group in side.children.items():
        fit[f"endpoints/nausea/{name}"] = group
    fit["endpoints/nausea"].attrs = {"seed": 9}
    limit = 5.0 * ((0.2 / 0.8) / (0.05 / 0.95) - 1) ** (1 / 1.5)
    for subject, moved in (("S1", 1.0), ("S2", math.exp(-0.8))):
        result = window(fit, subject=subject, harm=Harm(endpoint="nausea", limit=0.2))
        np.testing.assert_allclose(flat(result, "window_upper"), limit * moved, rtol=1e-8)


PEOPLE_EFFECTS = (["half_effect_dose", "subject", "log"],)
PEOPLE_LABELS = {"subject": ("S1", "S2")}
RISK_LIMIT = 5.0 * ((0.2 / 0.8) / (0.05 / 0.95) - 1) ** (1 / 1.5)  # dose at which the typical risk is 0.2


def make_people(size=SIZE, correlation=None, spread=0.6, own_spread=0.8):
    """Return the fit of a bell whose peak differs between people, and of a risk that does; known parameters."""
    values = {"control": 2.0, "amplitude": 0.5, "half_effect_dose": 1e6, "dose_ratio": 3e-6, "width": 0.8}
    values |= {"slope": 4.0, "sigma": 0.4, "half_effect_dose_sd_subject": spread}
    offsets = np.random.default_rng(6).standard_normal((2, size, 2))
    values |= {"half_effect_dose_offset_subject": offsets[0]}
    fit = make_fit({"BellTail": make_draws(BellTail(), values, PEOPLE_EFFECTS, PEOPLE_LABELS, size)})
    risk = {"control": 0.05, "half_effect_dose": 5.0, "slope": 1.5, "half_effect_dose_sd_subject": own_spread}
    risk |= {"half_effect_dose_offset_subject": offsets[1]}
    if correlation is not None:
        risk |= {"half_effect_dose_benefit_cor_subject": (1 + correlation) / 2}
    draws = make_draws(LogLogistic(link="logit", direction="down"), risk, PEOPLE_EFFECTS, PEOPLE_LABELS, size)
    shared = [] if correlation is None else [["half_effect_dose", "subject"]]
    draws.attrs["shared"] = json.dumps(shared)
    side = make_fit({"BellTail": draws})
    for name, group in side.children.items():
        fit[f"endpoints/nausea/{name}"] = group
    fit["endpoints/nausea"].attrs = {"seed": 9, "shared": json.dumps([name for name, _ in shared])}
    return fit, offsets


def served_by(doses, benefit, risk, spread=0.6, own_spread=0.8):
    """Whether doses have the benefit and no more than the risk in people with these offsets, shape (person, dose)."""
    peak, end = 3.0 * np.exp(spread * benefit), RISK_LIMIT * np.exp(own_spread * risk)
    gain = 0.5 * np.exp(-((np.log(doses / peak[:, None]) / 0.8) ** 2) / 2)
    return (gain >= 0.1) & (doses <= end[:, None])


class TestShared:
    """A side effect in the model of the benefit, whose people go with those of the benefit."""

    @pytest.mark.parametrize("correlation", [None, -0.9, 0.0, 0.9])
    def test_new_subjects_bring_both_offsets(self, correlation):
        """Against brute force over people with known parameters."""
        size = 4000
        fit, _ = make_people(size, correlation)
        harm = Harm(endpoint="nausea", limit=0.2)
        result = window(fit, estimand="new", harm=harm, doses=GRID)
        rho, z = correlation or 0.0, np.random.default_rng(8).standard_normal((2, 100_000))
        expected = served_by(GRID[::10], z[0], rho * z[0] + math.sqrt(1 - rho**2) * z[1]).mean(axis=0)
        np.testing.assert_allclose(result["probability"][::10], expected, atol=4 * 0.5 / math.sqrt(size))

    def test_whoever_tolerates_more_where_more_is_needed_has_more_to_choose_from(self):
        harm = Harm(endpoint="nausea", limit=0.07)
        found = {rho: window(make_people(4000, rho)[0], estimand="new", harm=harm) for rho in (-0.9, None, 0.9)}
        against, apart, together = (float(found[rho]["prob_exists"]) for rho in (-0.9, None, 0.9))
        assert together > apart + 0.05
        assert apart > against + 0.05

    def test_draws_of_a_subject_belong_together(self):
        fit, offsets = make_people(correlation=0.5)
        result = window(fit, subject="S2", harm=Harm(endpoint="nausea", limit=0.2), doses=GRID)
        expected = served_by(GRID, offsets[0][:, 1], offsets[1][:, 1])
        np.testing.assert_allclose(result["probability"], expected.mean(axis=0), atol=1e-12)

    def test_a_subject_without_side_effects_has_those_that_go_with_its_benefit(self):
        fit, offsets = make_people(4000, 0.9)
        side = fit["endpoints/nausea/posterior"].to_dataset()
        fit["endpoints/nausea/posterior"] = xr.DataTree(side.assign_coords(subject=["S1", "S7"]))
        result = window(fit, subject="S2", harm=Harm(endpoint="nausea", limit=0.2), doses=GRID)
        z = np.random.default_rng(8).standard_normal(4000)
        own = offsets[0][:, 1]
        expected = served_by(GRID, own, 0.9 * own + math.sqrt(1 - 0.81) * z).mean(axis=0)
        np.testing.assert_allclose(result["probability"], expected, atol=4 * 0.5 / math.sqrt(4000))

    def test_every_curve_of_the_benefit_has_a_side_effect_of_its_own(self):
        bell = make_draws(LogNormalBell(), BENEFIT)
        low, high = (RISK | {"half_effect_dose": value} for value in (1.0, 1e4))
        fit = make_fit({"A": bell, "B": bell}, (0.5, 0.5))
        template = LogLogistic(link="logit", direction="down")
        side = make_fit({"A": make_draws(template, low), "B": make_draws(template, high)}, (0.5, 0.5))
        for name, group in side.children.items():
            fit[f"endpoints/nausea/{name}"] = group
        fit["endpoints/nausea"].attrs = {"seed": 9, "shared": json.dumps(["half_effect_dose"])}
        result = window(fit, harm=Harm(endpoint="nausea", limit=0.2))
        ended = {name: set(flat(result, "upper_limit")[flat(result, "model") == name]) - {""} for name in "AB"}
        assert ended == {"A": {"nausea"}, "B": {"benefit"}}


class TestCoverage:
    """The doses that serve a share of the population: benefit and limits in one and the same person."""

    @pytest.mark.parametrize("correlation", [None, 0.9, -0.9])
    def test_is_brute_force_person_by_person(self, correlation):
        spreads = {"spread": 0.3, "own_spread": 0.4}
        fit, _ = make_people(correlation=correlation, **spreads)
        result = window(fit, estimand="coverage", harm=Harm(endpoint="nausea", limit=0.2), doses=GRID)
        rho, own = correlation or 0.0, estimands._crowd(1, 5)[:, 0]
        other = rho * own + math.sqrt(1 - rho**2) * estimands._crowd(1, 6)[:, 0]
        share = served_by(GRID, own, other, **spreads).mean(axis=0)
        np.testing.assert_allclose(result["probability"], share >= SHARE, atol=1e-12)
        assert 0 < (share >= SHARE).sum() < GRID.size

    def test_is_not_cut_by_the_mean_risk(self):
        """People whose risk differs much: the mean risk passes the limit where most people are still within it."""
        fit, _ = make_people(spread=0.01, own_spread=0.5)
        harm = Harm(endpoint="nausea", limit=0.2)
        edges = [
            float(window(fit, estimand=one, harm=harm)["window_upper"].mean()) for one in ("population", "coverage")
        ]
        fifth = RISK_LIMIT * np.exp(0.5 * np.sort(estimands._crowd(1, 6)[:, 0])[PEOPLE - NEEDED])
        assert edges[1] == pytest.approx(fifth, rel=1e-6)
        assert abs(edges[0] / edges[1] - 1) > 0.1

    def test_says_what_ends_it(self):
        fit, _ = make_people(spread=0.3, own_spread=0.3)
        result = window(fit, estimand="coverage", harm=Harm(endpoint="nausea", limit=0.2))
        assert float(result["prob_binds"].sel(limit="nausea")) == 1
        open_ended = window(fit, estimand="coverage", harm=Harm(endpoint="nausea", limit=0.99))
        assert float(open_ended["prob_binds"].sel(limit="benefit")) == 1

    def test_of_an_occupancy_is_cut_at_one_dose(self):
        fit, _ = make_people(spread=0.3)
        result = window(fit, estimand="coverage", harm=Harm(occupancy=2.5, limit=0.5))
        np.testing.assert_allclose(flat(result, "window_upper"), 2.5, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "facts"),
    [
        ({}, ValueError, ["one of", '"endpoint"', '"occupancy"', "none of them"]),
        ({"loss": True, "occupancy": 5.0}, ValueError, ['"occupancy", "loss"', "give one"]),
        ({"loss": True, "limit": "low"}, ValueError, ["limit", "number", "'low'"]),
        ({"loss": True, "limit": math.nan}, ValueError, ["limit", "nan"]),
        ({"loss": True, "limit": True}, ValueError, ["limit", "True"]),
        ({"function": 3}, TypeError, ["callable", "int"]),
        ({"occupancy": -5.0}, ValueError, ["dissociation constant", "above 0", "-5.0"]),
        ({"occupancy": 0}, ValueError, ["dissociation constant", "above 0", "got 0"]),
        ({"occupancy": (5.0, 0.0)}, ValueError, ["Hill slope", "above 0"]),
        ({"occupancy": (5.0,)}, ValueError, ["Hill slope", "(5.0,)"]),
        ({"occupancy": "5"}, ValueError, ["dissociation constant", "'5'"]),
    ],
    ids=str,
)
def test_a_harm_that_makes_no_sense_is_refused(arguments, error, facts):
    with pytest.raises(error, match=r"^[A-Z][^\n]*\.$") as refusal:
        Harm(**{"limit": 0.2} | arguments)
    for fact in facts:
        assert fact in str(refusal.value)


@pytest.mark.parametrize(
    ("harm", "error", "facts"),
    [
        ("nausea", TypeError, ["Harm(endpoint=", "str"]),
        (0.2, TypeError, ["Harm(endpoint=", "float"]),
        (["nausea"], TypeError, ["Harm(endpoint=", "str"]),
        (Harm(endpoint="headache", limit=0.2), ValueError, ['"headache"', '"nausea"', "endpoints="]),
        ([Harm(loss=True, limit=0.1), Harm(loss=True, limit=0.2)], ValueError, ["same name", "name="]),
        (Harm(function=lambda dose, draws: np.ones(7), limit=0.2), ValueError, ["one number per dose", "(7,)"]),
        (Harm(loss=True, limit=0.1, name="benefit"), ValueError, ['"benefit"', "name="]),
    ],
)
def test_harms_that_a_fit_cannot_use_are_refused(fit, harm, error, facts):
    with pytest.raises(error, match=r"^[A-Z][^\n]*\.$") as refusal:
        window(fit, harm=harm)
    for fact in facts:
        assert fact in str(refusal.value)


def test_a_fit_without_endpoints_says_so():
    with pytest.raises(ValueError, match=r"it has none: fit it with endpoints="):
        check_harms(Harm(endpoint="nausea", limit=0.2), [])


def test_words():
    assert Harm(endpoint="nausea", limit=0.2, excess=True).describe() == "nausea above control at most 0.2"
    assert Harm(loss=True, limit=0.1).describe() == "loss below control at most 0.1"
    assert Harm(occupancy=5.0, limit=0.5, name="5-HT2A").describe() == "5-HT2A at most 0.5"


def test_the_harm_of_a_dose_is_in_its_own_units(fit):
    [member] = members(fit)
    dose = np.array([[0.0, 5.0]])
    share = harm_at(Harm(occupancy=5.0, limit=0.5), member, None, dose)
    np.testing.assert_allclose(share, np.tile([0.0, 0.5], (SIZE, 1)))
    loss = harm_at(Harm(loss=True, limit=0.5), member, None, dose)
    np.testing.assert_allclose(loss[:, 0], 0, atol=1e-15)
    assert np.all(loss[:, 1] < 0)
