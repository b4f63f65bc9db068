"""Optimal designs: published ones, the equivalence theorem, gradients checked in other ways, conditions, errors."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.optimize import brentq

import hormesis_fit as hf
from hormesis_fit.curves import BellTail, BrainCousens, LogLogistic, LogQuadratic, ProductHill
from hormesis_fit.parameter import Prior, Term, Value, parameter
from hormesis_fit.planning.designs import assumed, optimal_design
from hormesis_fit.planning.information import mean_gradient, quantity_gradient, variance
from hormesis_fit.planning.support import Design, Space
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.quantities import solve

FREE = Prior("Normal", mu=0, sigma=1)
LETTUCE = {"control": 0.9671768, "peak_stimulation": 0.221561, "half_effect_dose": 35.05199, "slope_excess": 0.2827176}


class PublishedHuntBowman(Term):
    """Of Dette, Pepelyshev and Wong 2011, where the control follows from the delay."""

    formula, source = "", ""
    c1: Value = parameter("c_1", "1", FREE, "curvature of the parabola")
    tau: Value = parameter(r"\tau", "1", FREE, "zero-equivalent dose")
    b0: Value = parameter("b_0", "1", FREE, "delay")
    b1: Value = parameter("b_1", "1", FREE, "rate")

    def __call__(self, dose):
        below = self.c1 * dose**2 - self.c1 * self.tau * dose + 1 / (1 + np.exp(self.b0))
        return np.where(dose <= self.tau, below, 1 / (1 + np.exp(self.b0 - self.b1 * (dose - self.tau))))


class PublishedExpLog(Term):
    """Exponential decay of the background plus a logistic rise."""

    formula, source = "", ""
    c0: Value = parameter("c_0", "1", FREE, "background")
    c1: Value = parameter("c_1", "1", FREE, "rate of its decay")
    b0: Value = parameter("b_0", "1", FREE, "delay")
    b1: Value = parameter("b_1", "1", FREE, "rate")

    def __call__(self, dose):
        return self.c0 * np.exp(-self.c1 * dose) + 1 / (1 + np.exp(self.b0 - self.b1 * dose))


def hunt_bowman_slope(curve):
    return -curve.c1 * curve.tau


def exp_log_slope(curve):
    odds = np.exp(curve.b0)
    return -curve.c0 * curve.c1 + curve.b1 * odds / (1 + odds) ** 2


def exp_log_zero(curve):
    return brentq(lambda dose: curve(dose) - curve(0.0), 0.02, 0.1, xtol=1e-14)


HUNT_BOWMAN = PublishedHuntBowman(c1=170.0, tau=0.04, b0=1.46, b1=40.0)
EXP_LOG = PublishedExpLog(c0=0.15, c1=89.0, b0=3.2, b1=41.0)
BC4 = BrainCousens(**LETTUCE)
POISSON = LogQuadratic(
    control=np.exp(3.086), peak_stimulation=np.expm1(4.844**2 / 4 / 13.113), peak_dose=4.844 / 2 / 13.113
)
QUARTERS, HALVES = [0.25] * 4, [0.5, 0.5]
PUBLISHED = {
    "Hunt-Bowman D": (HUNT_BOWMAN, 0.15, {}, {}, [0, 0.02, 0.04, 0.09908], QUARTERS),
    "Hunt-Bowman tau": (HUNT_BOWMAN, 0.15, {"quantity": "tau"}, {}, [0, 0.04], HALVES),
    "Hunt-Bowman h": (HUNT_BOWMAN, 0.15, {"quantity": hunt_bowman_slope}, {}, [0, 0.02, 0.04], [0.371, 0.499, 0.129]),
    "exp-log D": (EXP_LOG, 0.15, {}, {}, [0, 0.01093, 0.0558, 0.1051], QUARTERS),
    "exp-log tau": (EXP_LOG, 0.15, {"quantity": exp_log_zero}, {}, [0, 0.04198], HALVES),
    "exp-log h": (
        EXP_LOG,
        0.15,
        {"quantity": exp_log_slope},
        {},
        [0, 0.0108, 0.0526, 0.1187],
        [0.371, 0.5, 0.085, 0.038],
    ),
    "lettuce D": (BC4, 100, {}, {"relative": True}, [0, 0.348, 2.31, 88.9], QUARTERS),
    "lettuce LDS": (BC4, 100, {"quantity": "zero_equivalent_dose"}, {"relative": True}, [0, 2.930551], HALVES),
    "lettuce y_M": (BC4, 100, {"quantity": "peak_response"}, {"relative": True}, [0.598482], [1.0]),
    "lettuce M": (
        BC4,
        100,
        {"quantity": "peak_dose"},
        {"relative": True},
        [0.240, 2.23, 100],
        [0.393, 0.478, 0.128],
    ),
}


def found_for(curve, high, asked, **further):
    criterion = "c" if asked else "D"
    return optimal_design(curve, doses=(0, high), criterion=criterion, **asked, **further)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_designs_are_found(name):
    curve, high, asked, how, doses, weights = PUBLISHED[name]
    design = found_for(curve, high, asked)
    # Published to three digits.
    tolerance = {"rtol": 2e-3} if how else {"rtol": 0, "atol": 1e-3 * high}
    np.testing.assert_allclose(design["dose"], doses, **tolerance)
    np.testing.assert_allclose(design["weight"], weights, atol=0.01)
    assert design.attrs["max_sensitivity"] <= 1.001


def test_the_poisson_design_of_counts_is_found():
    design = optimal_design(POISSON, doses=np.round(np.arange(0, 1.005, 0.01), 2), family="poisson")
    np.testing.assert_allclose(design["dose"], [0, 0.25, 0.56, 0.57])
    np.testing.assert_allclose(design["weight"], [1 / 3, 1 / 3, 0.3167, 0.0167], atol=0.001)
    gradient = np.stack([np.ones(4), design["dose"], design["dose"] ** 2])
    mean = np.exp(3.086 + 4.844 * design["dose"] - 13.113 * design["dose"] ** 2).values
    log_det = np.linalg.slogdet((gradient * mean * design["weight"].values) @ gradient.T)[1]
    assert log_det == pytest.approx(-1.32058551, abs=1e-4)
    assert optimal_design(POISSON, doses=(0, 1), family="poisson").attrs["max_sensitivity"] <= 1.001


@pytest.mark.parametrize("asked", [{"criterion": "D"}, {"criterion": "c"}, {"criterion": "compound", "points": 1}])
def test_no_random_design_is_better(asked):
    space = {"doses": (0.1, 100), **asked, "controls": 0.0}
    best = optimal_design(BC4, **space)
    gradient = mean_gradient(_columns(BC4), list(LETTUCE), best["dose"].values)[:, 0]
    member = assumed(BC4, Space(0.1, 100), family="gaussian", noise={}, control=1.0, draws=1, random_seed=0)
    trial = xr.Dataset({"dose": ("observation", [0.1, 100.0])})
    targets = [
        quantity_gradient(member, list(LETTUCE), edge, trial, benefit=0.1, benefit_scale="relative")[0]
        for edge in ("window_lower", "window_upper")
    ]

    def worth(said, weights):
        information = (said * weights) @ said.T
        d = np.linalg.slogdet(information)[1] / 4
        c = -np.mean([np.log(one @ np.linalg.solve(information, one)) for one in targets])
        return {"D": d, "c": c, "compound": (d + c) / 2}[asked["criterion"]]

    highest = worth(gradient, best["weight"].values)
    rng = np.random.default_rng(1)
    for _ in range(300):
        doses = np.append(0.0, np.exp(rng.uniform(np.log(0.1), np.log(100), 5)))
        said = mean_gradient(_columns(BC4), list(LETTUCE), doses)[:, 0]
        assert worth(said, rng.dirichlet(np.ones(6))) < highest


def _columns(curve):
    return curve.with_values({name: np.full((1, 1), getattr(curve, name)) for name in curve.parameters()})


@pytest.mark.parametrize(
    "curve",
    [
        BC4,
        ProductHill(control=1.0, amplitude=0.5, inhibition_dose=35.0, dose_ratio=0.1, stimulation_slope=1.5, slope=2.5),
        BellTail(control=1.0, amplitude=0.4, half_effect_dose=30.0, dose_ratio=0.1, width=0.9, slope=2.0),
    ],
    ids=lambda curve: curve.label.partition("(")[0],
)
def test_gradients_of_the_mean_are_those_of_pytensor(curve):
    pytensor = pytest.importorskip("pytensor")
    from hormesis_fit.model.density import INTERPRETED

    names = list(curve.parameters())
    doses = np.array([0.0, 0.3, 2.0, 30.0])
    variables = {name: pytensor.tensor.scalar(name) for name in names}
    dose = pytensor.tensor.scalar("dose")
    slopes = pytensor.grad(curve.with_values(variables)(dose), list(variables.values()))
    function = pytensor.function([dose, *variables.values()], slopes, mode=INTERPRETED)
    values = [float(getattr(curve, name)) for name in names]
    expected = np.stack([np.array(function(one, *values)) for one in doses], axis=1)
    np.testing.assert_allclose(mean_gradient(_columns(curve), names, doses)[:, 0], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_gradients_of_quantities_are_those_of_solving_anew(quantity):
    space, trial = Space(0.3, 100), xr.Dataset({"dose": ("observation", [0.3, 100.0])})
    plain = {"family": "gaussian", "noise": {}, "control": 1.0, "draws": 1, "random_seed": 0}

    def value(shift, name):
        moved = LETTUCE | {name: LETTUCE[name] * (1 + shift)}
        member = assumed(BrainCousens(**moved), space, **plain)
        solved = solve(member, 0.1 * member.control, trial)[quantity][0]
        return np.log(solved) if QUANTITIES[quantity][0] == "dose" else solved

    expected = [(value(1e-3, name) - value(-1e-3, name)) / (2e-3 * LETTUCE[name]) for name in LETTUCE]
    member = assumed(BC4, space, **plain)
    found = quantity_gradient(member, list(LETTUCE), quantity, trial, benefit=0.1, benefit_scale="relative")[0]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("family", "noise", "outcomes", "probability"),
    [
        ("binomial", {}, np.arange(2), lambda k, m: stats.binom(1, m).pmf(k)),
        ("poisson", {}, np.arange(200), lambda k, m: stats.poisson(m).pmf(k)),
        (
            "negative_binomial",
            {"dispersion": 0.3},
            np.arange(400),
            lambda k, m: stats.nbinom(1 / 0.3, 1 / (1 + 0.3 * m)).pmf(k),
        ),
    ],
)
def test_the_information_of_a_row_is_that_of_fisher(family, noise, outcomes, probability):
    mean = 0.3 if family == "binomial" else 6.0
    score = (np.log(probability(outcomes, mean + 1e-5)) - np.log(probability(outcomes, mean - 1e-5))) / 2e-5
    weights = probability(outcomes, mean)
    fisher = np.sum(np.where(weights > 0, weights * np.nan_to_num(score) ** 2, 0.0))
    given = {name: np.array(value) for name, value in noise.items()}
    assert 1 / variance(family, np.array(mean), np.array(mean), given) == pytest.approx(fisher, rel=1e-5)


def test_conditions_are_kept_and_their_price_is_told():
    free = optimal_design(BC4, doses=(0.1, 100))
    bound = optimal_design(BC4, doses=(0.1, 100), controls=0.4, points=6)
    assert free.attrs["efficiency"] == pytest.approx(1.0, abs=1e-6)
    assert 0.7 < bound.attrs["efficiency"] < 0.99
    assert bound.attrs["max_sensitivity"] <= 1.001
    assert bound["weight"].values[bound["dose"].values == 0].item() >= 0.4 - 1e-9
    assert bound.sizes["support"] == 6
    assert bound["weight"].sum().item() == pytest.approx(1.0)


def test_a_compound_design_checks_its_curve_and_has_controls():
    design = optimal_design(BC4, doses=(0.1, 100), criterion="compound", n=20)
    assert design.sizes["support"] >= len(LETTUCE) + 1
    assert design["replicates"].sum().item() == 20
    assert design["replicates"].values[design["dose"].values == 0].item() >= 5
    assert design.attrs["efficiency"] > 0.85
    assert design.attrs["gain"] > 0


def test_designs_over_priors_and_posteriors_serve_more_than_one_curve():
    single = optimal_design(BrainCousens(**(LETTUCE | {"control": 1.0})), doses=(0.3, 100))
    prior = optimal_design(BrainCousens(), doses=(0.3, 100), draws=40)
    assert prior.sizes["support"] > single.sizes["support"]
    assert prior.attrs["max_sensitivity"] <= 1.001
    assert prior.attrs["draws"] == 40
    whole = optimal_design(BrainCousens(), doses=(0.3, 100), draws=40, n=12, criterion="c", controls=0.25)
    assert whole["replicates"].sum().item() == 12
    assert whole.sizes["support"] <= 6
    assert whole["replicates"].values[0] >= 3


def test_prior_designs_do_not_depend_on_units():
    one = optimal_design(BrainCousens(), doses=(0.3, 100), draws=20)
    other = optimal_design(BrainCousens(), doses=(300, 100_000), draws=20, control=50.0)
    np.testing.assert_allclose(other["dose"], 1000 * one["dose"], rtol=1e-3)
    np.testing.assert_allclose(other["weight"], one["weight"], atol=1e-3)


def test_a_prior_that_was_given_is_the_one_that_is_drawn():
    narrow = {name: Prior("LogNormal", mu=float(np.log(value)), sigma=1e-6) for name, value in LETTUCE.items()}
    drawn = optimal_design(BrainCousens(**narrow), doses=(0.1, 100), draws=5)
    fixed = optimal_design(BC4, doses=(0.1, 100))
    # The design of one curve is exact, and that of many has a little more tolerance.
    assert np.interp(fixed["dose"], drawn["dose"], drawn["dose"]) == pytest.approx(fixed["dose"].values, rel=0.05)
    heavy = drawn["weight"].values > 0.05
    np.testing.assert_allclose(drawn["dose"].values[heavy], fixed["dose"], rtol=0.05)


def test_only_given_doses_are_used_and_rounding_keeps_the_rows():
    choices = [0, 0.1, 0.3, 1, 3, 10, 30, 100]
    design = optimal_design(BC4, doses=choices, n=11)
    assert set(design["dose"].values) <= set(map(float, choices))
    assert design["replicates"].sum().item() == 11
    for n, weights in itertools.product((5, 12, 31), ([0.5, 0.3, 0.2], [0.26, 0.5, 0.24])):
        rounded = Design(np.array([0.0, 1.0, 2.0]), np.array(weights), 1.0).rounded_to(n)
        assert np.rint(rounded.weights * n).sum() == n
        assert np.abs(rounded.weights - weights).max() < 1 / n


@pytest.mark.parametrize(
    ("curve", "arguments", "words"),
    [
        (BC4, {}, "doses=(low, high)"),
        (BC4, {"doses": (1,)}, "a lowest and a highest dose"),
        (BC4, {"doses": (0, 1), "criterion": "E"}, "no criterion"),
        (BC4, {"doses": (0, 1), "criterion": "c", "quantity": "peak"}, "no quantity"),
        (BC4, {"doses": (0, 1), "family": "normal"}, "no family"),
        (BC4, {"doses": (0, 1), "noise": {"rho": 1}}, "no parameter of the family"),
        (BC4, {"doses": (0, 1), "controls": 0.95}, "a share below 0.9"),
        (BC4, {"doses": (0, 1), "n": 1}, "at least 2"),
        (BC4, {"doses": (0, 1), "parameters": ["s"]}, "no parameter of BrainCousens"),
        (LogLogistic(control=1.0, half_effect_dose=10.0, slope=2.0), {"doses": (1, 30), "criterion": "c"}, "Only 0%"),
    ],
)
def test_what_makes_no_sense_is_refused(curve, arguments, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        optimal_design(curve, **arguments)


def test_what_is_no_curve_is_refused():
    with pytest.raises(TypeError, match="a curve or a fit"):
        optimal_design("BrainCousens", doses=(0, 1))


def test_assurance_grows_with_rows_and_tells_false_alarms():
    truth = BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=30.0, slope_excess=1.5)
    doses = [0, 0.3, 1, 3, 10, 30, 100]
    found = hf.assurance(doses, curve=truth, n=(7, 28), cv=0.1, fitted=["BrainCousens", "LogLogistic"], simulations=8)
    assert found["prob_located"][1] > found["prob_located"][0]
    assert found["prob_located"][1] > 0.8
    assert found["prob_right"][1] > 0.7
    assert (found["prob_right"] <= found["prob_located"]).all()
    assert (found["type_one"] <= 0.25).all()
    assert found.attrs["simulations"] == 8


def test_assurance_of_counts_and_errors():
    truth = BrainCousens(control=20.0, peak_stimulation=1.0, half_effect_dose=30.0, slope_excess=1.5, link="log")
    asked = {"curve": truth, "n": [20], "family": "poisson", "fitted": "BrainCousens", "simulations": 2}
    found = hf.assurance([0, 1, 3, 10, 30], **asked)
    assert found["prob_found"][0] > 0.4
    with pytest.raises(ValueError, match="at least three doses"):
        hf.assurance([0, 1], **asked)
    with pytest.raises(ValueError, match="once"):
        hf.assurance([0, 1, 3], curve=BC4, n=[12], simulations=1)
    with pytest.raises(TypeError, match="must be a curve"):
        hf.assurance([0, 1, 3], curve=lambda dose: dose, cv=0.1)


def trial_at(doses, mean):
    doses = np.asarray(doses, dtype=float)
    noise = np.random.default_rng(1).normal(0, 0.01, doses.size)
    return hf.read_trial({"dose": doses, "response": mean(doses) + noise}, scale="ratio")


@pytest.mark.parametrize(
    ("doses", "mean", "lacking"),
    [
        (np.repeat([0, 0, 1, 2, 4, 8], 2), lambda d: 1 + 0.3 * (d == 2), set()),
        (np.repeat([1, 2, 4, 8], 3), lambda d: 1 + 0.3 * (d == 2), {"no_control"}),
        (np.repeat([0, 1, 2, 4, 8], 2)[1:], lambda d: 1 + 0.3 * (d == 1), {"few_controls", "not_below_peak"}),
        (np.repeat([0, 1, 2, 4], 2), lambda d: 1 + 0.1 * d, {"few_doses", "not_beyond_peak"}),
        (np.array([0, 1, 2, 4, 8]), lambda d: 1 + 0.3 * (d == 2), {"no_replicates"}),
    ],
)
def test_what_a_design_cannot_tell_is_told(doses, mean, lacking):
    found = hf.design_adequacy(trial_at(doses, mean))
    assert set(found) == lacking
    assert all(sentence.endswith(".") for sentence in found.values())


def test_a_fit_tells_with_what_probability():
    truth = BrainCousens(control=1.0, peak_stimulation=0.5, half_effect_dose=30.0, slope_excess=1.5)
    doses = np.repeat([0.0, 20, 40, 60, 100], 3)
    fit = hf.fit(trial_at(doses, truth), curve="BrainCousens", draws=250, random_seed=1)
    found = hf.design_adequacy(fit)
    assert "not_below_peak" in found
    assert found["not_below_peak"].startswith("With probability ")
