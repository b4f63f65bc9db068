"""Every family against SciPy: density, mean, spread, zeros, categories, and which trials may have it."""

import math

import numpy as np
import pytensor.tensor as pt
import pytest
from scipy import special, stats

from hormesis_fit.curves import BrainCousens
from hormesis_fit.families import FAMILIES, SUPPORTS, categories, middle
from hormesis_fit.model.building import model_of
from hormesis_fit.model.density import Density
from hormesis_fit.model.likelihood import check_observations
from hormesis_fit.model.specification import specify

PARAMETERS = {"sigma": 0.5, "nu": 30.0, "power": 0.7, "variation": 0.3, "precision": 15.0, "dispersion": 0.4}
PARAMETERS |= {"presence": 0.8, "step_1": 0.6, "step_3": 0.9}
CATEGORIES = np.array([0.0, 0, 1, 1, 2, 2, 2, 3, 3])


def settled(family):
    return family.settled(CATEGORIES)


def given(family):
    """Return values of the parameters of a family, with a control and a group size."""
    return {name: PARAMETERS[name] for name in family.parameters} | {"control": 2.0, "n": 1}


def published(name, y, mean, p, control, n):
    """Return the log density of a response by SciPy, from textbook parametrisations."""
    match name:
        case "gaussian":
            return stats.norm.logpdf(y, mean, p["sigma"])
        case "student_t":
            return stats.t.logpdf(y, p["nu"], mean, p["sigma"])
        case "gaussian_power":
            return stats.norm.logpdf(y, mean, p["sigma"] * (mean / control + 1e-3) ** p["power"])
        case "lognormal":
            return stats.lognorm.logpdf(y, p["sigma"], scale=mean * math.exp(-(p["sigma"] ** 2) / 2))
        case "gamma":
            return stats.gamma.logpdf(y, p["variation"] ** -2, scale=mean * p["variation"] ** 2)
        case "beta":
            return stats.beta.logpdf(y, mean * p["precision"], (1 - mean) * p["precision"])
        case "binomial":
            return stats.binom.logpmf(np.round(y * n), n, mean)
        case "beta_binomial":
            return stats.betabinom.logpmf(np.round(y * n), n, mean * p["precision"], (1 - mean) * p["precision"])
        case "poisson":
            return stats.poisson.logpmf(y, mean)
        case "negative_binomial":
            return _negative_binomial(y, mean, p["dispersion"])
        case "zero_inflated_poisson":
            return _inflated(y, p["presence"], stats.poisson.logpmf(y, mean / p["presence"]))
        case "zero_inflated_negative_binomial":
            return _inflated(y, p["presence"], _negative_binomial(y, mean / p["presence"], p["dispersion"]))
        case "hurdle_lognormal":
            amount = mean / p["presence"] * math.exp(-(p["sigma"] ** 2) / 2)
            return _hurdle(y, p["presence"], lambda x: stats.lognorm.logpdf(x, p["sigma"], scale=amount))
        case "hurdle_gamma":
            scale = mean / p["presence"] * p["variation"] ** 2
            return _hurdle(y, p["presence"], lambda x: stats.gamma.logpdf(x, p["variation"] ** -2, scale=scale))
        case "ordinal":
            # Thresholds on the latent logistic scale: category 2 and more has the odds of the mean.
            latent = special.logit(mean)
            cuts = [np.inf, latent + p["step_1"], latent, latent - p["step_3"], -np.inf]
            above = special.expit(np.array(cuts))
            return np.log(above[int(y)] - above[int(y) + 1])


def _negative_binomial(y, mean, dispersion):
    size = 1 / dispersion
    return stats.nbinom.logpmf(y, size, size / (size + mean))


def _inflated(y, presence, inside):
    return np.logaddexp(np.log(presence) + inside, np.log(1 - presence) if y == 0 else -np.inf)


def _hurdle(y, presence, density):
    return np.log(1 - presence) if y == 0 else np.log(presence) + density(y)


def test_the_observed_variable_has_the_published_density(trial, suited, family, request):
    name = request.node.callspec.id
    changed = suited(trial, name)
    if FAMILIES[name].support in ("counts", "amounts"):
        response = changed["response"].values.copy()
        response[-2:] = 0.0
        changed = changed.assign(response=("observation", response))
    if FAMILIES[name].ordered:
        changed = changed.assign(response=("observation", np.resize([0.0, 1, 2, 2, 3], 14)))
    specification = specify(changed, curve="LogLogistic", family=name)
    density = Density(model_of(specification, changed))
    points = density.prior_draws(5, np.random.default_rng(7))
    draws = density.constrain(points)
    curve = specification.curve.with_values({key: draws[key][:, None] for key in specification.curve.parameters()})
    means = curve(changed["dose"].values)
    n = changed["n"].values if "n" in changed else np.ones(14)
    expected = np.empty((5, 14))
    for i in range(5):
        p = {key: float(draws[key][i]) for key in specification.observation.parameters}
        for j, y in enumerate(changed["response"].values):
            expected[i, j] = published(name, y, means[i, j], p, draws["control"][i], n[j])
    _, found = density.pointwise(points)
    clear = np.isfinite(expected) & (expected > -1e8)
    assert clear.mean() > 0.7
    np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_family_scatters_around_its_mean(family, share):
    family = settled(family)
    mean = share if family.link == "logit" else 10 * share
    known = given(family)
    sample = family.sample(np.random.default_rng(1), np.full(400_000, mean), **known)
    _, allowed = SUPPORTS[family.support]
    assert allowed(sample).all()
    # The SD of Student-t responses is not their scale, but larger by a factor of their degrees of freedom.
    spread = float(family.spread(mean=mean, **known)) * math.sqrt(30 / 28 if "nu" in known else 1)
    assert sample.std() == pytest.approx(spread, rel=0.02)
    reached = sample >= 2 if family.ordered else sample
    assert reached.mean() == pytest.approx(mean, abs=5 * sample.std() / math.sqrt(len(sample)))


@pytest.mark.parametrize("name", ["zero_inflated_poisson", "zero_inflated_negative_binomial", "hurdle_gamma"])
def test_the_mean_counts_the_zeros(name):
    family = FAMILIES[name]
    sample = family.sample(np.random.default_rng(2), np.full(200_000, 20.0), **given(family))
    assert (sample == 0).mean() == pytest.approx(0.2, abs=0.01)
    assert sample[sample > 0].mean() == pytest.approx(20 / 0.8, rel=0.01)


def test_a_log_normal_curve_is_the_mean_and_not_the_median():
    family = FAMILIES["lognormal"]
    sample = family.sample(np.random.default_rng(3), np.full(200_000, 7.0), sigma=1.0)
    assert sample.mean() == pytest.approx(7.0, rel=0.02)
    assert np.median(sample) == pytest.approx(7.0 * math.exp(-0.5), rel=0.02)


def test_groups_of_one_are_yes_or_no(trial, suited):
    changed = suited(trial, "binomial")
    yes = changed.assign(response=("observation", np.resize([0.0, 1.0], 14))).drop_vars("n")
    specification = specify(yes, curve="Constant", family="binomial")
    density = Density(model_of(specification, yes))
    points = density.unconstrain({"control": np.array([0.2, 0.9])})
    _, found = density.pointwise(points)
    np.testing.assert_allclose(found[:, :2], np.log([[0.8, 0.2], [0.1, 0.9]]), rtol=1e-10)


class TestOrdinal:
    def test_the_middle_is_the_category_reached_by_about_half(self):
        assert middle(CATEGORIES) == 2
        assert middle(np.array([1.0, 1, 1, 2, 5])) == 2
        assert categories(np.array([5.0, 1, 2, 1])) == [1, 2, 5]

    @pytest.mark.parametrize("mean", [1e-9, 0.1, 0.5, 0.99])
    def test_shares_add_up_and_the_mean_is_the_probability_to_reach_the_middle(self, mean):
        family = settled(FAMILIES["ordinal"])
        assert list(family.parameters) == ["step_1", "step_3"]
        shares = family.arguments(mean, step_1=0.6, step_3=0.9)["p"]
        assert sum(shares) == pytest.approx(1, rel=1e-14)
        assert min(shares) > 0
        assert shares[2] + shares[3] == pytest.approx(mean, rel=1e-9)

    def test_steps_are_distances_between_thresholds_in_log_odds(self):
        family = settled(FAMILIES["ordinal"])
        shares = np.array(family.arguments(0.4, step_1=0.6, step_3=0.9)["p"])
        above = np.cumsum(shares[::-1])[::-1][1:]
        np.testing.assert_allclose(special.logit(above), special.logit(0.4) + np.array([0.6, 0, -0.9]), rtol=1e-10)

    def test_categories_need_not_begin_at_zero_nor_be_neighbours(self):
        family = FAMILIES["ordinal"].settled(np.array([1.0, 3, 3, 7, 7, 7]))
        sample = family.sample(np.random.default_rng(4), np.full(50_000, 0.4), step_3=0.5)
        assert set(np.unique(sample)) == {1, 3, 7}
        assert (sample >= 7).mean() == pytest.approx(0.4, abs=0.02)

    def test_two_categories_are_yes_or_no(self):
        family = FAMILIES["ordinal"].settled(np.array([0.0, 1, 1, 0]))
        assert not family.parameters
        assert family.arguments(0.3)["p"] == pytest.approx([0.7, 0.3])


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_hormesis_of_probabilities_acts_on_their_odds(trial, suited, direction, sign):
    changed = suited(trial, "binomial").assign_attrs(direction=direction)
    curve = specify(changed, curve="BrainCousens", family="binomial").curve
    values = {"control": 0.3, "peak_stimulation": 0.5, "half_effect_dose": 20.0, "slope_excess": 1.0}
    doses = np.array([0.0, 0.1, 1.0, 5.0, 40.0])
    relative = BrainCousens(**values | {"control": 1.0})(doses)  # R of the curve without a link
    odds = special.logit(curve.with_values(values)(doses)) - special.logit(0.3)
    np.testing.assert_allclose(odds, sign * np.log(relative), rtol=1e-9, atol=1e-12)


def test_parameters_of_a_family_have_known_words(family):
    family = settled(family)
    for known, prior in family.parameters.values():
        assert known.symbol
        assert known.description[-1] != "."
        assert prior.distribution
    assert family.link in ("identity", "log", "logit")


def test_arguments_are_the_same_for_symbols(family):
    family = settled(family)
    means = np.array([0.2, 0.6])
    known = given(family)
    numbers, symbols = (family.arguments(mean, **known) for mean in (means, pt.constant(means)))
    for name, value in numbers.items():
        pairs = zip(value, symbols[name], strict=True) if isinstance(value, list) else [(value, symbols[name])]
        for number, symbol in pairs:
            found = symbol.eval() if hasattr(symbol, "eval") else symbol
            np.testing.assert_allclose(found + 0 * means, number + 0 * means, rtol=1e-12)


# family: (responses, what the message says)
UNFIT = {
    "lognormal": ([1.0, 2, 0, 3], ["numbers above zero", "row 3", "holds 0", '"gaussian"']),
    "gamma": ([1.0, -2, 2, 3], ["numbers above zero", "row 2", "holds -2"]),
    "beta": ([0.5, 0.2, 1.0, 0.3], ["shares between 0 and 1", "row 3", "holds 1"]),
    "poisson": ([1.0, 2, 2.5, 3], ["whole numbers of zero or more", "row 3", "holds 2.5"]),
    "negative_binomial": ([1.0, 2, -1, 3], ["whole numbers of zero or more", "holds -1"]),
    "hurdle_gamma": ([0.0, 2, -1, 3], ["numbers of zero or more", "holds -1"]),
    "ordinal": ([1.0, 2, 2.5, 3], ["whole numbers", "holds 2.5"]),
    "binomial": ([0.1, 0.5, 1.2, 0.3], ["shares of successes", "holds 1.2"]),
    "beta_binomial": ([0.1, 0.5, 0.2, 0.3], ["sizes of the groups", "n=", "successes="]),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_family_that_the_responses_cannot_have_is_refused(trial, name):
    responses, facts = UNFIT[name]
    short = trial.isel(observation=slice(0, 4)).assign(response=("observation", responses, {"long_name": "y"}))
    short = short.assign_coords(row=("observation", [1, 2, 3, 4]))
    with pytest.raises(ValueError, match=f'The family "{name}"') as refusal:
        check_observations(short, name)
    message = str(refusal.value)
    for fact in facts:
        assert fact in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(("responses", "count"), [(np.zeros(14), 1), (np.arange(14.0), 14)])
def test_ordered_categories_are_few_and_more_than_one(trial, responses, count):
    with pytest.raises(ValueError, match=rf"2 to 12 ordered categories, but the column .* holds {count}:"):
        check_observations(trial.assign(response=("observation", responses)), "ordinal")
