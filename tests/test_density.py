"""The interpreted density is the density of the PyMC model."""

import numpy as np
import pytest

from hormesis_fit.curves import CURVES
from hormesis_fit.families import FAMILIES
from hormesis_fit.model.building import model_data, model_of
from hormesis_fit.model.density import INTERPRETED, Density
from hormesis_fit.model.specification import specify

PAIRS = [*((curve, "gaussian") for curve in CURVES), *(("LogLogistic", family) for family in FAMILIES)]


@pytest.fixture(params=dict.fromkeys(PAIRS), ids="-".join)
def modelled(request, trial, suited):
    curve, family = request.param
    trial = suited(trial, family)
    specification = specify(trial, curve=curve, family=family)
    return specification, model_of(specification, trial)


def test_it_agrees_with_pymc(modelled):
    _, model = modelled
    density = Density(model)
    points = density.prior_draws(4, np.random.default_rng(1))
    log_prior, log_likelihood = density(points)
    compiled = model.compile_logp(mode=INTERPRETED)
    values = [model.rvs_to_values[rv].name for rv in model.free_RVs]
    expected = [compiled(dict(zip(values, point, strict=True))) for point in points]
    np.testing.assert_allclose(log_prior + log_likelihood, expected, rtol=1e-12, atol=1e-10)


def test_constraining_and_back_changes_nothing(modelled):
    density = Density(modelled[1])
    points = density.prior_draws(200, np.random.default_rng(2))
    np.testing.assert_allclose(density.unconstrain(density.constrain(points)), points, atol=1e-6)


def test_prior_draws_follow_the_prior(trial):
    density = Density(model_of(specify(trial, curve="BrainCousens"), trial))
    draws = density.constrain(density.prior_draws(20_000, np.random.default_rng(3)))
    quantiles = np.quantile(draws["peak_stimulation"], [0.5, 0.9544997])
    np.testing.assert_allclose(quantiles, [0.67449 * 0.5, 2 * 0.5], rtol=0.03)
    np.testing.assert_allclose(np.median(draws["slope_excess"]), 1.0, rtol=0.04)


def test_other_data_of_another_length_need_no_other_graph(trial):
    specification = specify(trial, curve="LogLogistic")
    density = Density(model_of(specification, trial))
    point = density.prior_draws(1, np.random.default_rng(4))
    shorter = trial.isel(observation=slice(0, 9))
    density.set_data(model_data(specification, shorter))
    _, pointwise = density.pointwise(point)
    assert pointwise.shape == (1, 9)
    fresh = Density(model_of(specification, shorter))
    np.testing.assert_allclose(pointwise, fresh.pointwise(point)[1], rtol=1e-12)


def test_a_half_normal_is_standard_normal_underneath(trial):
    density = Density(model_of(specify(trial, curve="BrainCousens"), trial))
    index = density.names.index("peak_stimulation")
    scores = density.prior_draws(20_000, np.random.default_rng(5))[:, index]
    assert abs(scores.mean()) < 0.03
    assert abs(scores.std() - 1) < 0.03
