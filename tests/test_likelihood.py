"""Rows as they were observed: summaries, known errors, numbers, limits and weights against brute force."""

import math

import numpy as np
import pytest
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.families import FAMILIES
from hormesis_fit.model.building import model_of
from hormesis_fit.model.density import Density
from hormesis_fit.model.likelihood import check_observations
from hormesis_fit.model.specification import scales, specify
from hormesis_fit.trials.reading import read_trial

DOSES = [0.0, 0.5, 2.0, 8.0, 30.0]
SIZES = [4, 3, 1, 5, 3]


@pytest.fixture(scope="module")
def responses():
    rng = np.random.default_rng(1)
    means = [1.0, 1.25, 1.3, 0.9, 0.5]
    return [mean + 0.12 * rng.standard_normal(n) for mean, n in zip(means, SIZES, strict=True)]


@pytest.fixture(scope="module")
def raw(responses):
    return read_trial({"dose": np.repeat(DOSES, SIZES), "response": np.concatenate(responses)}, scale="ratio")


def summarised(responses, **changes):
    columns = {
        "dose": DOSES,
        "response": [group.mean() for group in responses],
        "sd": [group.std(ddof=1) if len(group) > 1 else None for group in responses],
        "n": SIZES,
    }
    return read_trial(columns | changes, sd="sd", n="n", scale="ratio")


@pytest.fixture(scope="module")
def summary(responses):
    return summarised(responses)


def log_likelihoods(trial, draws=6, *, curve="LogLogistic", family="gaussian", points=None):
    """Return the log likelihood of every row at points of the prior, and the points."""
    specification = specify(trial, curve=curve, family=family)
    density = Density(model_of(specification, trial))
    if points is None:
        points = density.prior_draws(draws, np.random.default_rng(3))
    values = density.constrain(points)
    template = specification.curve
    columns = {name: values[name][:, None] for name in template.parameters()}
    mean = template.with_values(columns)(trial["dose"].values)
    shape = len(points), trial.sizes["observation"]
    return density.pointwise(points)[1], points, values, np.broadcast_to(mean, shape)


class TestSummaries:
    @pytest.mark.parametrize("family", ["gaussian", "gaussian_power"])
    def test_say_what_the_raw_rows_say(self, raw, summary, family):
        whole, points, *_ = log_likelihoods(raw, family=family)
        short, *_ = log_likelihoods(summary, family=family, points=points)
        assert short.shape[1] == len(DOSES)
        np.testing.assert_allclose(short.sum(axis=1), whole.sum(axis=1), rtol=1e-12, atol=1e-10)

    def test_are_the_published_likelihood(self, summary):
        found, _, values, mean = log_likelihoods(summary)
        sigma = values["sigma"][:, None]
        n, sd = summary["n"].values, summary["sd"].values
        misfit = ((n - 1) * sd**2 + n * (summary["response"].values - mean) ** 2) / (2 * sigma**2)
        np.testing.assert_allclose(found, -n / 2 * np.log(2 * np.pi) - n * np.log(sigma) - misfit, rtol=1e-12)

    def test_of_one_unit_need_no_sd(self, summary, responses):
        assert summary["sd"].values[2] == 0
        found, _, values, mean = log_likelihoods(summary)
        expected = stats.norm.logpdf(responses[2][0], mean[:, 2], values["sigma"])
        np.testing.assert_allclose(found[:, 2], expected, rtol=1e-12)

    def test_an_sd_beside_one_unit_says_nothing(self, summary, responses):
        other = summarised(
            responses, sd=[0.1 if n == 1 else g.std(ddof=1) for n, g in zip(SIZES, responses, strict=True)]
        )
        first, second = log_likelihoods(summary)[0], log_likelihoods(other)[0]
        np.testing.assert_array_equal(first, second)

    def test_give_the_scales_of_the_raw_rows(self, raw, summary):
        whole, short = scales(raw), scales(summary)
        for name, value in whole.items():
            assert short[name] == pytest.approx(value, rel=1e-12), name

    def test_give_the_posterior_of_the_raw_rows(self, raw, summary):
        curves = ["BrainCousens", "LogLogistic", "Constant"]
        fits = [hf.fit(one, curve=curves, engine="importance", random_seed=1) for one in (raw, summary)]
        first, second = (fit["evidence"]["log_evidence"].values for fit in fits)
        np.testing.assert_allclose(first - first[0], second - second[0], atol=0.05)
        for curve in curves:
            posteriors = [fit[f"models/{curve}/posterior"].to_dataset() for fit in fits]
            for name in posteriors[0].data_vars:
                one, other = (posterior[name].values for posterior in posteriors)
                assert np.median(one) == pytest.approx(np.median(other), abs=0.07 * one.std()), (curve, name)

    def test_of_log_normal_responses_are_matched_by_moments(self, summary):
        found, _, values, mean = log_likelihoods(summary, family="lognormal")
        n, sd, y = (summary[name].values for name in ("n", "sd", "response"))
        variance = np.log(1 + (sd / y) ** 2)
        sigma = values["sigma"][:, None]
        location = np.log(mean) - sigma**2 / 2
        misfit = ((n - 1) * variance + n * (np.log(y) - variance / 2 - location) ** 2) / (2 * sigma**2)
        np.testing.assert_allclose(found, -n / 2 * np.log(2 * np.pi) - n * np.log(sigma) - misfit, rtol=1e-9)


class TestNumbers:
    """Means of n units without their SD."""

    def test_of_gaussian_responses(self, summary):
        found, _, values, mean = log_likelihoods(summary.drop_vars("sd"))
        expected = stats.norm.logpdf(summary["response"], mean, values["sigma"][:, None] / np.sqrt(SIZES))
        np.testing.assert_allclose(found, expected, rtol=1e-10)

    def test_of_log_normal_responses_have_mean_and_variance_of_the_average(self, summary):
        found, _, values, mean = log_likelihoods(summary.drop_vars("sd"), family="lognormal")
        for i in range(len(mean)):
            sigma = values["sigma"][i]
            variance = mean[i] ** 2 * np.expm1(sigma**2) / np.array(SIZES)
            shape = np.sqrt(np.log1p(variance / mean[i] ** 2))
            frozen = stats.lognorm(shape, scale=mean[i] * np.exp(-(shape**2) / 2))
            np.testing.assert_allclose(frozen.mean(), mean[i], rtol=1e-9)
            np.testing.assert_allclose(found[i], frozen.logpdf(summary["response"]), rtol=1e-7)

    def test_of_one_each_are_plain_rows(self, raw):
        counted = raw.assign(n=("observation", np.ones(16)))
        first, points, *_ = log_likelihoods(raw)
        np.testing.assert_allclose(log_likelihoods(counted, points=points)[0], first, rtol=1e-12)


class TestKnownErrors:
    @pytest.fixture
    def known(self, summary):
        return summary.drop_vars(["sd", "n"]).assign(se=("observation", [0.05, 0.08, 0.1, 0.04, 0.06]))

    def test_leave_no_scatter_to_estimate(self, known):
        found, _, values, mean = log_likelihoods(known)
        assert "sigma" not in values
        np.testing.assert_allclose(found, stats.norm.logpdf(known["response"], mean, known["se"]), rtol=1e-9)

    def test_of_log_normal_responses_are_matched_by_moments(self, known):
        found, _, _, mean = log_likelihoods(known, family="lognormal")
        shape = np.sqrt(np.log1p((known["se"].values / known["response"].values) ** 2))
        frozen = stats.lognorm(shape, scale=mean * np.exp(-(shape**2) / 2))
        np.testing.assert_allclose(found, frozen.logpdf(known["response"].values), rtol=1e-7)

    def test_are_fitted_end_to_end(self, known):
        fit = hf.fit(known, curve="LogLogistic", engine="importance", random_seed=1)
        assert "sigma" not in fit["posterior"]
        assert fit["posterior"]["control"].mean().item() == pytest.approx(1.1, abs=0.15)


class TestWeights:
    def test_a_weight_of_two_is_the_row_twice(self, raw):
        weights = np.array([1.0, 2.0] * 8)
        weighted = raw.assign(weight=("observation", weights))
        found, points, *_ = log_likelihoods(weighted)
        plain = log_likelihoods(raw, points=points)[0]
        np.testing.assert_allclose(found, weights * plain, rtol=1e-12)

    @pytest.mark.parametrize("family", ["binomial", "poisson", "hurdle_gamma", "ordinal", "zero_inflated_poisson"])
    def test_count_in_every_kind_of_family(self, trial, suited, family):
        changed = suited(trial, family)
        weights = np.linspace(0, 3, 14)
        plain, points, *_ = log_likelihoods(changed, family=family, curve="Constant")
        weighted = changed.assign(weight=("observation", weights))
        found = log_likelihoods(weighted, family=family, curve="Constant", points=points)[0]
        np.testing.assert_allclose(found, weights * plain, rtol=1e-9, atol=1e-9)

    def test_a_weight_of_zero_leaves_a_row_out(self, raw):
        found, *_ = log_likelihoods(raw.assign(weight=("observation", np.zeros(16))))
        np.testing.assert_array_equal(found, 0)


LOWER = [None, 0.8, 0.4, 0.6, None, None]
UPPER = [0.7, None, 0.9, 0.6, None, 5.0]
MEASURED = [None, None, None, 0.6, 0.3, None]


def limited(**changes):
    columns = {"dose": [0.0, 0, 1, 3, 10, 10], "y": MEASURED, "low": LOWER, "high": UPPER} | changes
    return read_trial(columns, response="y", lower="low", upper="high", scale="ratio")


def frozen(family, mean, values, i):
    sigma = float(values["sigma"][i]) if "sigma" in values else None
    match family:
        case "gaussian":
            return stats.norm(mean, sigma)
        case "student_t":
            return stats.t(values["nu"][i], mean, sigma)
        case "gaussian_power":
            return stats.norm(mean, sigma * (mean / values["control"][i] + 1e-3) ** values["power"][i])
        case "lognormal":
            return stats.lognorm(sigma, scale=mean * math.exp(-(sigma**2) / 2))
        case "gamma":
            variation = float(values["variation"][i])
            return stats.gamma(variation**-2, scale=mean * variation**2)


class TestLimits:
    @pytest.mark.parametrize("family", [name for name, one in FAMILIES.items() if one.censored])
    def test_give_the_probability_between_them(self, family):
        trial = limited()
        found, _, values, means = log_likelihoods(trial, family=family, draws=8)
        expected = np.empty_like(found)
        for i in range(len(found)):
            for j in range(6):
                one = frozen(family, means[i, j], values, i)
                low, high = trial["lower"].values[j], trial["upper"].values[j]
                if not np.isfinite(low) and np.isfinite(high):
                    expected[i, j] = one.logcdf(high)
                elif not np.isfinite(high) and np.isfinite(low):
                    expected[i, j] = one.logsf(low)
                elif np.isfinite(low) and low < high:
                    expected[i, j] = math.log(max(one.cdf(high) - one.cdf(low), 1e-300))
                else:  # equal limits, or none
                    expected[i, j] = one.logpdf(trial["response"].values[j])
        clear = expected > -20  # SciPy has no digits left in the difference of two tails
        assert clear.mean() > 0.6
        np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize("side", [-1, 1])
    def test_far_out_in_either_tail_are_exact(self, side):
        ends = sorted([side * 9.0, side * 9.5])
        columns = {"dose": [0.0, 1, 3, 10], "y": [None, None, 1.0, 2.0]}
        columns |= {"low": [ends[0], None, None, None], "high": [ends[1], 1e3, None, None]}
        if side > 0:  # a one-sided limit in the other tail than its own
            columns["low"][1], columns["high"][1] = 12.0, None
        else:
            columns["high"][1] = -12.0
        trial = read_trial(columns, response="y", lower="low", upper="high", scale="interval")
        specification = specify(trial, curve="Constant")
        density = Density(model_of(specification, trial))
        _, found = density.pointwise(density.unconstrain({"control": np.zeros(1), "sigma": np.ones(1)}))
        interval = math.log(stats.norm.sf(9.0) - stats.norm.sf(9.5))
        np.testing.assert_allclose(found[0, :2], [interval, stats.norm.logsf(12.0)], rtol=1e-9)

    def test_that_leave_everything_open_say_nothing(self):
        columns = {"y": [None, None, 1.0, 0.6, 0.3, None], "low": [0.0, 0.8, None, None, None, 0.0]}
        columns["high"] = [None, None, None, None, None, 5.0]
        trial = limited(**columns)
        trial["response"][0] = 1.0  # known to be above zero, as every positive number is
        found, _, values, means = log_likelihoods(trial, family="lognormal")
        np.testing.assert_array_equal(found[:, 0], 0)
        expected = [frozen("lognormal", means[i, 5], values, i).logcdf(5.0) for i in range(len(found))]
        np.testing.assert_allclose(found[:, 5], expected, rtol=1e-6, atol=1e-9)

    def test_with_no_value_beyond_them_move_nothing(self, raw):
        blank = np.full(16, np.nan)
        watched = raw.assign(lower=("observation", blank), upper=("observation", blank))
        plain, points, *_ = log_likelihoods(raw)
        np.testing.assert_array_equal(log_likelihoods(watched, points=points)[0], plain)
        fits = [hf.fit(one, curve="LogLogistic", engine="importance", random_seed=1) for one in (raw, watched)]
        for name, draws in fits[0]["posterior"].data_vars.items():
            np.testing.assert_allclose(fits[1]["posterior"][name], draws, rtol=1e-9, err_msg=name)

    def test_inform_about_what_they_hide(self, raw):
        """Rows that are only known to be low pull the curve down, and not as a value at the limit would."""
        high_dose = raw["dose"].values == 30
        upper = np.where(high_dose, 0.7, np.nan)
        response = np.where(high_dose, 0.7, raw["response"].values)
        censored = raw.assign(response=("observation", response), upper=("observation", upper))
        at_limit = raw.assign(response=("observation", response))
        found = [
            hf.predict(hf.fit(one, curve="LogLogistic", engine="importance", random_seed=1), doses=[30.0]).mean().item()
            for one in (raw, censored, at_limit)
        ]
        raw_mean, censored_mean, limit_mean = found
        assert censored_mean < limit_mean - 0.03
        assert max(raw_mean, censored_mean) < 0.7


def with_columns(trial, **columns):
    return trial.assign({name: ("observation", np.asarray(values, float)) for name, values in columns.items()})


ONES = np.ones(16)
REFUSED = {
    "limits of counts": ("poisson", {"lower": ONES}, ['"poisson"', "limits", "lower=", '"gaussian"']),
    "limits of shares": ("beta", {"upper": ONES}, ['"beta"', "limits", "upper="]),
    "limits of hurdles": ("hurdle_gamma", {"upper": ONES}, ['"hurdle_gamma"', "limits"]),
    "summaries of Student-t": ("student_t", {"sd": ONES, "n": ONES}, ['"student_t"', "summary rows", "sd="]),
    "summaries of gamma": ("gamma", {"sd": ONES, "n": ONES}, ['"gamma"', "summary rows", '"lognormal"']),
    "errors of Student-t": ("student_t", {"se": ONES}, ['"student_t"', "summary rows", "se="]),
    "errors of a power": ("gaussian_power", {"se": ONES}, ['"gaussian_power"', "known errors", "se=", '"gaussian"']),
    "numbers of Student-t": ("student_t", {"n": ONES}, ['"student_t"', "numbers of units", "n="]),
    "SD without numbers": ("gaussian", {"sd": ONES}, ["exact likelihood", "n= as well as sd="]),
    "limits of summaries": ("gaussian", {"sd": ONES, "n": ONES, "lower": ONES}, ["limits", "summaries", "leave out"]),
    "crossed limits": ("gaussian", {"lower": 2 * ONES, "upper": ONES}, ["below the upper ones", "row 1", "2 and 1"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(raw, case):
    family, columns, facts = REFUSED[case]
    changed = with_columns(raw, **columns)
    if FAMILIES[family].support == "counts":
        changed["response"] = np.round(10 * raw["response"])
    if FAMILIES[family].support == "shares":
        changed["response"] = raw["response"] / 10
    with pytest.raises(ValueError, match=r"^[A-Z][^\n]*\.$") as refusal:
        check_observations(changed, family)
    for fact in facts:
        assert fact in str(refusal.value)
