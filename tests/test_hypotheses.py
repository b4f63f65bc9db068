"""Evidence for hormesis and what it leans on: closed forms, brute force, and refits."""

import itertools
import warnings

import numpy as np
import pytest
import xarray as xr
from arviz_stats import loo
from scipy import stats
from scipy.special import gammaln, logsumexp

import hormesis_fit as hf
from hormesis_fit.checks.hypotheses import (
    bayes_factors,
    posterior_fdr,
    stimulation_evidence,
)
from hormesis_fit.checks.predictive import leave_one_dose_out, predictive_weights
from hormesis_fit.checks.scaling import power_scaling, prior_constant, scaled_draws
from hormesis_fit.curves import ProductHill
from hormesis_fit.model.specification import specify
from hormesis_fit.trials.simulation import simulate_trial
from hormesis_fit.windows.posterior import members, trial_of

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
PAIR = ["BrainCousens", "LogLogistic"]


@pytest.fixture(scope="module")
def fit():
    return hf.fit(hf.load_dataset("lettuce"), curve=[*PAIR, "ProductHill", "Constant"], **FAST)


@pytest.fixture(scope="module")
def pair():
    return hf.fit(hf.load_dataset("lettuce"), curve=PAIR, **FAST)


@pytest.fixture(scope="module")
def clear():
    doses = [0.0, 0.1, 0.3, 1, 3, 10, 30, 100]
    truth = ProductHill(
        control=1.0, amplitude=1.0, inhibition_dose=20.0, dose_ratio=0.05, stimulation_slope=2.0, slope=3.0
    )
    trial = simulate_trial(truth, doses=doses, replicates=4, sd=0.08, random_seed=3)
    return hf.fit(trial, curve=["ProductHill", "LogLogistic", "Constant"], **FAST)


@pytest.fixture(scope="module")
def left_out():
    return leave_one_dose_out(hf.load_dataset("lettuce"), curve=PAIR, draws=250)


def with_stimulation(pair, values):
    """Return the fit with other draws of Brain and Cousens's peak stimulation."""
    changed = pair.copy(deep=True)
    posterior = changed["models/BrainCousens/posterior"].to_dataset()
    posterior["peak_stimulation"] = ("chain", "draw"), values.reshape(4, 250)
    changed["models/BrainCousens/posterior"] = xr.DataTree(posterior)
    return changed


class TestStimulationEvidence:
    def test_a_posterior_like_the_prior_has_a_bayes_factor_of_one(self, pair):
        same = stats.halfnorm(scale=0.5).ppf((np.arange(1000) + 0.5) / 1000)
        found = stimulation_evidence(with_stimulation(pair, same))
        assert float(found["bayes_factor_negligible"][0]) == pytest.approx(1, rel=0.01)

    @pytest.mark.parametrize("eps", [0.05, 0.1])
    def test_the_bayes_factor_of_known_draws_is_the_closed_form(self, pair, eps):
        uniform = 0.2 * (np.arange(1000) + 0.5) / 1000
        found = stimulation_evidence(with_stimulation(pair, uniform), rope=(0, eps)).sel(model="BrainCousens")
        prior = stats.halfnorm(scale=0.5).cdf(eps)
        assert float(found["prior_below"]) == pytest.approx(prior, rel=1e-12)
        expected = eps / (0.2 - eps) / (prior / (1 - prior))
        assert float(found["bayes_factor_negligible"]) == pytest.approx(expected, rel=1e-6)
        assert float(found["log_bayes_factor_se"]) == pytest.approx(1 / np.sqrt(1000 * 5 * eps * (1 - 5 * eps)))

    @pytest.mark.parametrize(
        ("low", "high", "verdict"), [(0.2, 0.4, "hormesis"), (0, 0.04, "negligible"), (0, 0.3, "undecided")]
    )
    def test_the_verdict_follows_the_interval(self, pair, low, high, verdict):
        found = stimulation_evidence(with_stimulation(pair, np.linspace(low, high, 1000)))
        assert found["verdict"].item() == verdict
        np.testing.assert_allclose(np.diff(found["hdi"].values[0]), 0.95 * (high - low), rtol=0.01)

    def test_curves_without_a_peak_count_as_no_stimulation(self, pair):
        found = stimulation_evidence(with_stimulation(pair, np.full(1000, 0.3)))
        weight = float(pair["evidence"]["weight"].sel(model="BrainCousens"))
        assert float(found["prob_above_average"]) == pytest.approx(weight, rel=1e-12)
        assert list(found["model"].values) == ["BrainCousens"]

    def test_the_prior_of_a_derived_stimulation_agrees_with_brute_force(self, fit, prior_draws):
        found = stimulation_evidence(fit).sel(model="ProductHill")
        drawn = prior_draws(ProductHill(), 4000, 5)
        curve = ProductHill().with_values({name: values[:, None] for name, values in drawn.items()})
        with np.errstate(over="ignore"):
            peak = (curve(np.geomspace(1e-12, 1e9, 600)[None, :]) / curve.control).max(axis=1) - 1
        share = np.mean(peak < 0.05)
        assert abs(float(found["prior_below"]) - share) < 4 * np.sqrt(2 * share * (1 - share) / 4000)

    def test_a_fit_without_hormetic_curves_has_an_empty_table(self, trial):
        alone = hf.fit(trial, curve="Constant", **FAST)
        found = stimulation_evidence(alone)
        assert found.sizes["model"] == 0
        assert float(found["prob_above_average"]) == 0
        assert np.isnan(power_scaling(alone)["prob_hormesis"]).all()

    @pytest.mark.parametrize("rope", [(0.1, 0.05), (0, 0), (0, np.nan), 0.05])
    def test_a_senseless_rope_is_refused(self, pair, rope):
        with pytest.raises(ValueError, match="rope must be two ascending stimulations"):
            stimulation_evidence(pair, rope=rope)


class TestBayesFactors:
    def test_lettuce_has_the_reference_values(self, pair):
        found = bayes_factors(pair)
        assert float(found["bayes_factor_hormesis"]) == pytest.approx(7.09, rel=0.1)
        assert float(found["prior_needed"]) == pytest.approx(0.728, abs=0.02)
        factor = float(found["bayes_factor"].sel(model="BrainCousens", reference="LogLogistic"))
        assert factor == pytest.approx(float(found["bayes_factor_hormesis"]), rel=1e-12)
        assert float(found["prior_needed"]) == pytest.approx(0.95 / (0.95 + 0.05 * factor), rel=1e-12)

    def test_the_prior_needed_leads_to_the_probability_asked_for(self, fit):
        needed = float(bayes_factors(fit, probability=0.9)["prior_needed"])
        again = hf.fit(trial_of(fit), curve=list(fit["evidence"]["model"].values), prior_hormesis=needed, **FAST)
        assert float(again["evidence"]["prob_hormesis"]) == pytest.approx(0.9, rel=1e-9)

    def test_the_matrix_is_one_of_ratios(self, fit):
        found = bayes_factors(fit)
        logs, errors = found["log_bayes_factor"].values, found["log_bayes_factor_se"].values
        np.testing.assert_allclose(logs, -logs.T)
        np.testing.assert_allclose(logs[0, 1] + logs[1, 2], logs[0, 2])
        se = fit["evidence"]["log_evidence_se"].values
        assert errors[0, 1] == pytest.approx(np.hypot(se[0], se[1]))
        assert not errors.diagonal().any()

    def test_one_kind_alone_has_no_odds(self):
        alone = hf.fit(hf.load_dataset("lettuce"), curve="Constant", **FAST)
        assert np.isnan(bayes_factors(alone)["prior_needed"])


class TestPredictiveWeights:
    @pytest.mark.parametrize("method", ["stacking", "pseudo-bma"])
    def test_weights_sum_to_one_and_prefer_the_true_curve(self, clear, method):
        found = predictive_weights(clear, method=method)
        assert float(found["weight"].sum()) == pytest.approx(1, abs=1e-6)
        assert float(found["weight"].sel(model="ProductHill")) > 0.9
        assert list(found["model"].values) == ["ProductHill", "LogLogistic", "Constant"]
        assert "not the probability of hormesis" in found.attrs["note"]

    def test_numbers_are_those_of_the_curve_they_stand_beside(self, fit):
        found = predictive_weights(fit)
        for label, tree in fit["models"].children.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                alone = loo(tree, pointwise=True)
            assert float(found["elpd"].sel(model=label)) == pytest.approx(float(alone.elpd), rel=1e-12)
            assert int(found["high_k"].sel(model=label)) == int((alone.pareto_k > 0.7).sum())

    def test_what_cannot_be_weighed_is_refused(self, fit):
        with pytest.raises(ValueError, match='no method named "bma"'):
            predictive_weights(fit, method="bma")
        alone = hf.fit(hf.load_dataset("lettuce"), curve="Constant", **FAST)
        with pytest.raises(ValueError, match="this fit holds one"):
            predictive_weights(alone)


class TestLeaveOneDoseOut:
    def test_the_density_is_the_evidence_that_the_group_adds(self, left_out, pair, trial):
        """ln Z - ln Z_-g, with Z_-g from a fit of our own, on three groups."""
        for label, dose in itertools.product(PAIR, [0.0, 3.2, 100.0]):
            rest = trial.isel(observation=trial["dose"].values != dose)
            priors = specify(trial, curve=label).priors
            without = hf.fit(rest, curve=label, priors=priors, engine="importance", random_seed=7)
            added = pair["evidence"]["log_evidence"].sel(model=label) - without["evidence"]["log_evidence"][0]
            found = left_out["model_log_density"].sel(model=label, dose=dose)
            assert float(found) == pytest.approx(float(added), abs=0.15), (label, dose)

    def test_the_average_is_the_mixture(self, left_out):
        density, weight = left_out["model_log_density"].values, left_out["weight"].values
        np.testing.assert_allclose(weight.sum(axis=1), 1)
        np.testing.assert_allclose(left_out["log_density"], np.log((weight * np.exp(density)).sum(axis=1)))
        assert left_out["responses"].sum() == 14
        assert left_out["dose"].attrs["units"] == "mg/L"

    def test_too_few_doses_are_left_alone(self):
        few = hf.read_trial({"dose": [0.0, 0.0, 1, 1, 10, 10], "response": [1, 1.1, 1.2, 1.3, 0.5, 0.4]})
        found = leave_one_dose_out(few, curve="Constant")
        assert np.isnan(found["log_density"]).all()
        assert set(found["note"].values) == {"too few doses or responses would be left"}

    def test_an_unknown_prior_is_refused(self, trial):
        with pytest.raises(ValueError, match='no parameter named "contrl"'):
            leave_one_dose_out(trial, curve="Constant", priors={"contrl": hf.Prior("Normal", mu=1, sigma=1)})


def test_the_integral_of_a_raised_prior_is_the_closed_form():
    power, half = 0.8, 0.5
    normal = (1 - power) * half * np.log(2 * np.pi) - half * np.log(power)
    expected = {
        ("Normal", ("mu", 3), ("sigma", 2)): normal + (1 - power) * np.log(2),
        ("LogNormal", ("mu", -4), ("sigma", 2)): normal + (1 - power) * np.log(2),
        ("HalfNormal", ("sigma", 7)): normal,
        ("Exponential", ("scale", 5)): gammaln(power) - power * np.log(power),
        ("Gamma", ("alpha", 2), ("beta", 0.1)): gammaln(2 * power) - 2 * power * np.log(power),
        ("Uniform", ("lower", 1), ("upper", 4)): 2 * gammaln(power) - gammaln(2 * power),
    }
    for (name, *arguments), value in expected.items():
        assert prior_constant({"x": {"distribution": name} | dict(arguments)}, power) == pytest.approx(value, abs=1e-6)
    assert np.isnan(prior_constant({"x": {"distribution": "Cauchy", "alpha": 0, "beta": 1}}, power))


class TestPowerScaling:
    def test_the_fit_itself_stands_at_power_one(self, fit):
        found = power_scaling(fit).sel(alpha=1.0)
        window = hf.window(fit)
        np.testing.assert_allclose(found["prob_exists"], float(window["prob_exists"]), rtol=1e-9)
        np.testing.assert_allclose(found["prob_hormesis"], float(fit["evidence"]["prob_hormesis"]), rtol=1e-9)
        drawn = float(window["window_lower"].quantile(0.5))
        np.testing.assert_allclose(found["window_lower"], drawn, rtol=0.25)
        np.testing.assert_allclose(found["weight"].sum("model"), 1)

    def test_weaker_data_leave_more_doubt(self, fit):
        found = power_scaling(fit).sel(component="likelihood")
        assert found["prob_hormesis"].diff("alpha").min() > 0
        assert found["pareto_k"].sel(alpha=[0.8, 1.25]).max() < 0.7

    @pytest.mark.parametrize("power", [0.8, 1.25])
    def test_raised_priors_give_the_weights_of_a_refit(self, trial, power):
        # The half-effect dose, near 20 in the data, is far from where this prior puts it: to weaken the prior matters.
        priors = {
            "control": hf.Prior("LogNormal", mu=0, sigma=0.5),
            "half_effect_dose": hf.Prior("LogNormal", mu=6, sigma=1),
            "sigma": hf.Prior("Exponential", lam=3),
        }
        curves = ["LogLogistic", "Constant"]
        fit = hf.fit(trial, curve=curves, priors=priors, **FAST | {"draws": 500})
        found = power_scaling(fit, alphas=(min(power, 0.9), max(power, 1.1))).sel(component="prior", alpha=power)
        logs = {}
        for label in curves:
            given = specify(trial, curve=label, priors=priors).priors
            again = hf.fit(trial, curve=label, priors={k: raised(p, power) for k, p in given.items()}, **FAST)
            logs[label] = float(again["evidence"]["log_evidence"][0])
        odds = found["weight"].sel(model="LogLogistic") / found["weight"].sel(model="Constant")
        assert float(np.log(odds)) == pytest.approx(logs["LogLogistic"] - logs["Constant"], abs=0.08)
        before = fit["evidence"]["log_evidence"].values
        assert abs(float(np.log(odds)) - (before[0] - before[1])) > 0.3  # so that the line above can fail

    @pytest.mark.parametrize("component", ["prior", "likelihood"])
    @pytest.mark.parametrize("power", [0.8, 1.25])
    def test_draws_and_evidence_agree_with_brute_force(self, trial, component, power):
        fit = hf.fit(trial, curve="Constant", **FAST | {"draws": 1000})
        log_weight, gain, k = scaled_draws(fit, members(fit)[0], component, power)
        sigma, expected = brute_force(trial, component, power)
        assert gain == pytest.approx(expected, abs=0.03)
        assert float(np.exp(log_weight) @ fit["posterior"]["sigma"].values.ravel()) == pytest.approx(sigma, rel=0.02)
        assert np.exp(log_weight).sum() == pytest.approx(1)
        assert k < 0.7

    def test_senseless_powers_are_refused(self, fit):
        with pytest.raises(ValueError, match="one power below and one above 1"):
            power_scaling(fit, alphas=(1.1, 1.2))


def raised(prior, power):
    """Return a prior raised to a power on its log scale."""
    if prior.distribution == "LogNormal":
        return hf.Prior("LogNormal", mu=prior.arguments["mu"], sigma=prior.arguments["sigma"] / np.sqrt(power))
    return hf.Prior("Gamma", alpha=power, beta=power * prior.arguments["lam"])


def brute_force(trial, component, power):
    """Mean residual SD and log of Z(power) / Z(1) of a constant curve, on a grid of log control and log SD."""
    y = trial["response"].values
    sd, mean = y.std(ddof=1), y[trial["dose"].values == 0].mean()
    control, sigma = np.exp(np.linspace(-40, 4, 881))[:, None], np.exp(np.linspace(-40, 4, 881))[None, :]
    prior = stats.truncnorm(-mean / (2.5 * sd), np.inf, mean, 2.5 * sd).logpdf(control) + np.log(control)
    prior = prior + stats.expon(scale=sd).logpdf(sigma) + np.log(sigma)
    squares = ((y - y.mean()) ** 2).sum() + y.size * (y.mean() - control) ** 2
    likelihood = -squares / (2 * sigma**2) - y.size * np.log(sigma * np.sqrt(2 * np.pi))
    plain = logsumexp(prior + likelihood) - logsumexp(prior)
    powers = (power, 1) if component == "prior" else (1, power)
    scaled = powers[0] * prior + powers[1] * likelihood
    sd_mean = np.exp(logsumexp(scaled, b=sigma) - logsumexp(scaled))
    return float(sd_mean), float(logsumexp(scaled) - logsumexp(powers[0] * prior) - plain)


class TestPosteriorFdr:
    @pytest.mark.parametrize("seed", range(8))
    def test_the_set_is_the_largest_within_the_level(self, seed):
        rng = np.random.default_rng(seed)
        values = rng.beta(2, 0.4, size=9).round(2)
        values[rng.integers(9)] = np.nan
        found = posterior_fdr(xr.DataArray(values, dims="compound"), level=0.1)
        known = np.flatnonzero(~np.isnan(values))
        sets = (np.array(one) for size in range(1, 10) for one in itertools.combinations(known, size))
        largest = max((len(one) for one in sets if np.mean(1 - values[one]) <= 0.1 + 1e-12), default=0)
        assert int(found["selected_count"]) == int(found["selected"].sum()) == largest
        assert not found["selected"].values[np.isnan(values)].any()
        assert float(found["expected_false"]) == pytest.approx(float((1 - values)[found["selected"].values].sum()))

    def test_ranks_go_from_the_surest_down_and_keep_labels(self):
        given = xr.DataArray([0.2, 0.9, np.nan, 0.6], dims="compound", coords={"compound": list("abcd")})
        found = posterior_fdr(given, level=0.3)
        np.testing.assert_array_equal(found["rank"], [3, 1, np.nan, 2])
        np.testing.assert_allclose(found["fdr"], [1.3 / 3, 0.1, np.nan, 0.25])
        assert list(found["compound"].values[found["selected"].values]) == ["b", "d"]

    def test_nothing_but_nan_selects_nothing(self):
        assert int(posterior_fdr([np.nan, np.nan])["selected_count"]) == 0

    @pytest.mark.parametrize("values", [[1.2], [-0.1], [[0.5]]])
    def test_what_is_no_probability_is_refused(self, values):
        with pytest.raises(ValueError, match="between 0 and 1"):
            posterior_fdr(xr.DataArray(values))


def test_every_result_explains_itself(fit, trial):
    tables = [stimulation_evidence(fit), bayes_factors(fit), predictive_weights(fit), power_scaling(fit)]
    tables += [posterior_fdr([0.9]), leave_one_dose_out(trial, curve="Constant", draws=100)]
    for table in tables:
        for variable in table.data_vars.values():
            assert {"units", "long_name", "definition"} <= set(variable.attrs)
            assert variable.attrs["definition"].endswith(".")
