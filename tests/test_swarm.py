"""Many curves at once: the densities are those of the PyMC models, and so are evidence and posterior."""

import numpy as np
import pymc as pm
import pytest
from scipy import stats
from scipy.special import logsumexp

import hormesis_fit as hf
from hormesis_fit.curves import AVERAGE, CURVES, BrainCousens, LogLogistic
from hormesis_fit.inference.importance import INFLATION
from hormesis_fit.model.building import model_of
from hormesis_fit.model.density import INTERPRETED, Density
from hormesis_fit.model.specification import specify
from hormesis_fit.parameter import Prior
from hormesis_fit.screening.batch import Batch, batchable
from hormesis_fit.screening.mixtures import Mixtures
from hormesis_fit.screening.scores import QUANTILES, Scores
from hormesis_fit.screening.swarm import SwarmPlan, sample_swarm

TRUTH = BrainCousens(control=100.0, peak_stimulation=0.3, half_effect_dose=30.0, slope_excess=1.5)
NULL = LogLogistic(control=100.0, half_effect_dose=30.0, slope=2.0)
DOSES = (0.0, *np.geomspace(0.3, 100, 7))
PRIORS = {
    "Normal": (Prior("Normal", mu=3, sigma=2), stats.norm(3, 2)),
    "LogNormal": (Prior("LogNormal", mu=-1, sigma=2), stats.lognorm(2, scale=np.exp(-1))),
    "LogitNormal": (Prior("LogitNormal", mu=0.5, sigma=1.5), None),
    "HalfNormal": (Prior("HalfNormal", sigma=0.3), stats.halfnorm(scale=0.3)),
    "TruncatedNormal": (Prior("TruncatedNormal", mu=1, sigma=2, lower=0), stats.truncnorm(-0.5, np.inf, 1, 2)),
    "Exponential": (Prior("Exponential", scale=7), stats.expon(scale=7)),
    "Beta": (Prior("Beta", alpha=1, beta=3), stats.beta(1, 3)),
}


def trial(seed=1, curve=TRUTH, replicates=3, **options):
    return hf.simulate_trial(curve, doses=DOSES, replicates=replicates, cv=0.06, random_seed=seed, **options)


def test_every_quantile_has_a_prior_to_be_tested_with():
    assert {name for name, _ in QUANTILES} == set(PRIORS)


@pytest.mark.parametrize("name", PRIORS)
def test_a_parameter_at_a_score_has_the_probability_of_the_score(name):
    prior, frozen = PRIORS[name]
    score = np.array([-5.0, -2.5, -1.0, -0.1, 0.0, 0.4, 1.7, 3.0])
    value = Scores([{"x": prior}])(score[None, None])["x"][0]
    # SciPy has no logit-normal distribution: its log odds are normal.
    below = stats.norm(0.5, 1.5).logcdf(np.log(value / (1 - value))) if frozen is None else frozen.logcdf(value)
    np.testing.assert_allclose(below, stats.norm.logcdf(score), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PRIORS)
def test_the_density_of_a_parameter_under_pymc_is_that_of_its_score(name):
    prior, _ = PRIORS[name]
    scores, step = np.linspace(-3, 3, 13), 1e-4
    at = Scores([{"x": prior}])
    shifts = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] * step
    far_below, below, value, above, far_above = (at((scores + shift)[None, None])["x"][0] for shift in shifts)
    slope = (8 * (above - below) - (far_above - far_below)) / (12 * step)
    # As arrays: of Python's own floats PyTensor keeps as few digits as it can.
    arguments = {word: np.asarray(number, dtype=float) for word, number in prior.arguments.items()}
    density = pm.logp(getattr(pm, name).dist(**arguments), value).eval(mode=INTERPRETED)
    np.testing.assert_allclose(density + np.log(slope), stats.norm.logpdf(scores), atol=1e-9)


@pytest.mark.parametrize("name", ["HalfNormal", "TruncatedNormal", "Exponential"])
def test_far_tails_keep_their_digits(name):
    prior, frozen = PRIORS[name]
    high = Scores([{"x": prior}])(np.array([[[8.0]]]))["x"].item()
    np.testing.assert_allclose(frozen.logsf(high), stats.norm.logsf(8.0), rtol=1e-7)


def compare_with_pymc(curve, one):
    specification = specify(one, curve=curve)
    assert batchable(specification)
    batch = Batch.of([specification], [one])
    scores = np.random.default_rng(5).normal(size=(1, batch.dimension, 40)) * 0.8
    density = Density(model_of(specification, one))
    values = {name: value[0] for name, value in batch.scores(scores).items()}
    _, expected = density(density.unconstrain(values))
    found = batch.log_likelihood(scores)[0]
    usable = np.isfinite(expected)
    assert usable.mean() > 0.5
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CURVES)
def test_the_likelihood_is_that_of_the_pymc_model(name):
    compare_with_pymc(CURVES[name](), trial())


@pytest.mark.parametrize(
    "options",
    [{"scale": "interval"}, {"scale": "ratio", "direction": "down"}, {"scale": "interval", "direction": "down"}],
)
@pytest.mark.parametrize("name", AVERAGE)
def test_the_likelihood_is_that_of_the_pymc_model_on_every_scale(name, options):
    compare_with_pymc(CURVES[name](), trial(**options))


def test_a_free_asymptote_and_unequal_replicates_change_nothing():
    compare_with_pymc(
        BrainCousens(lower_asymptote="free"), trial().isel(observation=[0, 3, 4, 7, 9, 10, 11, 15, 20, 23])
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"family": "student_t"}, "another family"),
        ({"priors": {"slope": Prior("Weibull", alpha=2, beta=1)}}, "a prior"),
    ],
)
def test_other_models_are_left_to_the_ordinary_engine(options, reason):
    assert not batchable(specify(trial(), curve="LogLogistic", **options)), reason


def sampled(name, trials, seeds):
    specifications = [specify(one, curve=name) for one in trials]
    batch = Batch.of(specifications, trials)
    generators = [np.random.default_rng([3, seed]) for seed in seeds]
    return batch, sample_swarm(batch, generators, SwarmPlan())


class TestMixtures:
    """Compiled densities, draws and fits, beside SciPy and the plain formulas."""

    @staticmethod
    def mixtures(dimension, components=3, curves=2):
        rng = np.random.default_rng(dimension)
        square = rng.normal(size=(curves, components, dimension, dimension))
        scales = np.matmul(square, square.transpose(0, 1, 3, 2)) + 0.3 * np.eye(dimension)
        weights = rng.dirichlet(np.ones(components), size=curves)
        means = rng.normal(size=(curves, components, dimension))
        return Mixtures(weights, means, np.linalg.cholesky(scales)), scales

    @pytest.mark.parametrize("dimension", [1, 2, 5, 6, 7])
    def test_the_density_is_that_of_scipy(self, dimension):
        mixtures, scales = self.mixtures(dimension)
        points = 3 * np.random.default_rng(0).normal(size=(2, dimension, 700))
        found = mixtures.density(points)
        for curve in range(2):
            expected = sum(
                weight * stats.multivariate_t(mean, scale, df=5).pdf(points[curve].T)
                for weight, mean, scale in zip(
                    mixtures.weights[curve], mixtures.means[curve], scales[curve], strict=True
                )
            )
            np.testing.assert_allclose(found[curve], expected, rtol=1e-10)

    def test_mixtures_together_have_the_sum_of_their_densities(self):
        (one, _), (other, _) = self.mixtures(3), self.mixtures(3, components=2)
        points = np.random.default_rng(1).normal(size=(2, 3, 50))
        both = one.joined(other.joined(None, 7), 3)
        np.testing.assert_allclose(both.density(points), 3 * one.density(points) + 7 * other.density(points))

    def test_draws_have_the_density(self):
        mixtures, _ = self.mixtures(2, curves=1)
        points = mixtures.draw(8192, np.eye(2)[None], np.array([0.3]))
        # The share of draws in a box, beside the integral of the density over it.
        steps = np.linspace(-1, 1, 200)
        grid = np.stack(np.meshgrid(steps, steps)).reshape(1, 2, -1)
        inside = (np.abs(points[0]) < 1).all(axis=0).mean()
        assert inside == pytest.approx(4 * mixtures.density(grid).mean(), abs=0.01)

    def test_a_step_of_a_fit_is_that_of_the_textbook(self):
        mixtures, scales = self.mixtures(3, curves=1)
        x = np.random.default_rng(2).normal(size=(3, 400)) + np.array([[3.0], [-1.0], [0.5]])
        found = mixtures.fitted(x[None], 1)
        components = zip(mixtures.weights[0], mixtures.means[0], scales[0], strict=True)
        parts = np.array([w * stats.multivariate_t(m, s, df=5).pdf(x.T) for w, m, s in components])
        share = parts / parts.sum(axis=0)
        for k in range(3):
            deviation = x - mixtures.means[0, k][:, None]
            distance = np.einsum("in,ij,jn->n", deviation, np.linalg.inv(scales[0, k]), deviation)
            pull = share[k] * (5 + 3) / (5 + distance)
            mean = (x * pull).sum(axis=1) / pull.sum()
            scale = ((x - mean[:, None]) * pull) @ (x - mean[:, None]).T / share[k].sum()
            scale += np.diag(1e-3 * x.var(axis=1) + 1e-10)
            np.testing.assert_allclose(found.means[0, k], mean, rtol=1e-9)
            np.testing.assert_allclose(found.factors[0, k] @ found.factors[0, k].T, INFLATION * scale, rtol=1e-8)


def test_what_came_out_unhealthy_is_drawn_again():
    trials = [trial(seed) for seed in range(12)]
    batch = Batch.of([specify(one, curve="ProductHill") for one in trials], trials)

    def run(repairs):
        plan = SwarmPlan(rounds_at_target=0, final_points=512, repairs=repairs)
        return sample_swarm(batch, [np.random.default_rng([3, seed]) for seed in range(12)], plan)

    healthy = [sum(sample.healthy for sample in run(repairs)) for repairs in (0, 3)]
    assert healthy[0] <= 6
    assert healthy[1] >= 10


def test_evidence_of_a_model_with_a_closed_form():
    # A straight line with known errors in all but name: sigma held by a narrow prior, Normal priors for the rest.
    one = trial(replicates=2, scale="interval")
    priors = {"control": Prior("Normal", mu=100, sigma=10), "sigma": Prior("LogNormal", mu=np.log(40), sigma=1e-6)}
    specification = specify(one, curve="Constant", priors=priors)
    batch = Batch.of([specification], [one])
    [sample] = sample_swarm(batch, [np.random.default_rng(1)], SwarmPlan())
    y = one["response"].values
    covariance = 40**2 * np.eye(y.size) + 10**2
    expected = stats.multivariate_normal(np.full(y.size, 100.0), covariance).logpdf(y)
    np.testing.assert_allclose(sample.log_evidence, expected, atol=0.01)


@pytest.mark.parametrize("name", AVERAGE)
def test_evidence_and_posterior_are_those_of_the_ordinary_engine(name):
    trials = [trial(1), trial(2, NULL)]
    batch, samples = sampled(name, trials, [1, 2])
    for row, (one, sample) in enumerate(zip(trials, samples, strict=True)):
        fitted = hf.fit(one, curve=name, engine="importance", random_seed=7)
        evidence = fitted["evidence"].to_dataset().isel(model=0)
        error = np.hypot(sample.log_evidence_se, float(evidence["log_evidence_se"]))
        assert abs(sample.log_evidence - float(evidence["log_evidence"])) < 4 * error + 0.08
        values = batch.scores.take(np.array([row]))(sample.points.T[None])
        for parameter, value in values.items():
            expected = fitted["posterior"][parameter].values
            mean = sample.weights @ value[0]
            assert abs(mean - expected.mean()) < 6 * expected.std() / np.sqrt(min(sample.ess, 1000))


def test_a_curve_comes_out_the_same_to_the_last_bit_in_any_company():
    trials = [trial(seed, NULL if seed % 2 else TRUTH) for seed in range(7)]
    _, together = sampled("ProductHill", trials, range(7))
    _, turned = sampled("ProductHill", trials[::-1], range(6, -1, -1))
    _, alone = sampled("ProductHill", trials[2:3], [2])
    for one, other in zip(together, turned[::-1], strict=True):
        np.testing.assert_array_equal(one.log_weights, other.log_weights)
        np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(alone[0].log_weights, together[2].log_weights)


def test_evidence_does_not_depend_on_how_far_the_first_proposals_miss():
    one = trial()
    specification = specify(one, curve="BrainCousens")
    batch = Batch.of([specification], [one])
    found = [
        sample_swarm(batch, [np.random.default_rng(1)], plan)[0].log_evidence
        for plan in (SwarmPlan(), SwarmPlan(climbs=1, starts=2), SwarmPlan(start_inflation=20.0))
    ]
    assert np.ptp(found) < 0.06


def test_more_points_leave_less_error():
    trials = [trial(seed, NULL) for seed in range(8)]
    specifications = [specify(one, curve="BellTail") for one in trials]
    batch = Batch.of(specifications, trials)

    def spread(plan):
        runs = [
            [one.log_evidence for one in sample_swarm(batch, [np.random.default_rng([s, k]) for k in range(8)], plan)]
            for s in range(3)
        ]
        return np.std(runs, axis=0).mean()

    assert spread(SwarmPlan.of(1)) < 0.04
    assert spread(SwarmPlan()) < 0.1


def test_points_of_a_swarm_have_the_evidence_as_their_mean_weight():
    _, [sample] = sampled("LogLogistic", [trial()], [1])
    expected = logsumexp(sample.log_weights) - np.log(sample.log_weights.size)
    np.testing.assert_allclose(sample.log_evidence, expected)
