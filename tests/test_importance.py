"""Importance sampling against targets whose evidence and moments are known in closed form."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, multivariate_t, norm

from hormesis_fit.inference.importance import (
    FREEDOM,
    ImportanceSample,
    Mixture,
    fit_mixture,
    importance_sample,
    morton_order,
    systematic,
)


def run(log_likelihood, dimension, seed=0):
    rng = np.random.default_rng(seed)

    def density(points):
        return norm.logpdf(points).sum(axis=1), log_likelihood(points)

    return importance_sample(density, rng.standard_normal((4000, dimension)), rng)


@pytest.mark.parametrize("dimension", [1, 4, 8])
def test_a_normal_likelihood_has_the_evidence_of_the_textbook(dimension):
    mean, spread = np.linspace(1, 3, dimension), 0.2
    sample = run(lambda points: norm.logpdf(mean, points, spread).sum(axis=1), dimension)
    exact = norm.logpdf(mean, 0, np.sqrt(1 + spread**2)).sum()
    assert abs(sample.log_evidence - exact) < 5 * sample.log_evidence_se
    assert sample.log_evidence_se < 0.02
    np.testing.assert_allclose(sample.weights @ sample.points, mean / (1 + spread**2), atol=0.02)


def test_two_far_modes_are_both_found_with_their_masses():
    def log_likelihood(points):
        return np.logaddexp(
            np.log(0.8) + multivariate_normal(np.full(3, 2.0), 0.02).logpdf(points),
            np.log(0.2) + multivariate_normal(np.full(3, -2.0), 0.02).logpdf(points),
        )

    sample = run(log_likelihood, 3)
    exact = multivariate_normal(np.zeros(3), 1.02).logpdf(np.full(3, 2.0))
    assert abs(sample.log_evidence - exact) < 0.1
    assert abs(sample.weights[sample.points[:, 0] > 0].sum() - 0.8) < 0.03


def test_a_banana_is_no_obstacle():
    sample = run(lambda p: norm.logpdf(p[:, 1], p[:, 0] ** 2 - 1, 0.1) + norm.logpdf(p[:, 2], 1, 0.3), 3)
    grid = np.linspace(-6, 6, 1201)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    plane = np.exp(norm.logpdf(x) + norm.logpdf(y) + norm.logpdf(y, x**2 - 1, 0.1)).sum() * (grid[1] - grid[0]) ** 2
    exact = np.log(plane) + norm.logpdf(1, 0, np.sqrt(1.09))
    assert abs(sample.log_evidence - exact) < 5 * sample.log_evidence_se + 0.01


def test_an_impossible_likelihood_somewhere_does_no_harm():
    def log_likelihood(points):
        return np.where(points[:, 0] > 0, norm.logpdf(points[:, 0], 1, 0.5), -np.inf)

    sample = run(log_likelihood, 2)
    precision = 1 + 1 / 0.25
    mean = (1 / 0.25) / precision
    exact = norm.logpdf(1, 0, np.sqrt(1.25)) + norm.logsf(0, mean, np.sqrt(1 / precision))
    assert abs(sample.log_evidence - exact) < 0.02


def test_the_mixture_density_is_that_of_scipy():
    factors = np.array([[[1.0, 0.0], [0.5, 0.8]], [[0.3, 0.0], [0.0, 2.0]]])
    mixture = Mixture(np.array([0.3, 0.7]), np.array([[0.0, 1.0], [2.0, -1.0]]), factors)
    points = np.random.default_rng(0).normal(size=(20, 2))
    parts = [
        weight * multivariate_t(mean, factor @ factor.T, df=FREEDOM).pdf(points)
        for weight, mean, factor in zip(mixture.weights, mixture.means, factors, strict=True)
    ]
    np.testing.assert_allclose(np.exp(mixture.log_density(points)), np.sum(parts, axis=0), rtol=1e-10)


def test_mixture_draws_have_its_moments():
    mixture = Mixture(np.array([0.25, 0.75]), np.array([[0.0, 0.0], [4.0, 0.0]]), np.stack([np.eye(2), np.eye(2)]))
    draws = mixture.draw(40_000, np.random.default_rng(1))
    np.testing.assert_allclose(draws.mean(axis=0), [3, 0], atol=0.05)
    np.testing.assert_allclose(draws[:, 1].var(), FREEDOM / (FREEDOM - 2), rtol=0.06)


def test_expectation_maximisation_finds_separate_clusters():
    rng = np.random.default_rng(2)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    points = np.concatenate([rng.normal(centre, 0.5, size=(500, 2)) for centre in centres])
    mixture = fit_mixture(points, np.full(1500, 1 / 1500), rng)
    nearest = np.linalg.norm(mixture.means[:, None] - centres, axis=2).min(axis=0)
    assert np.all(nearest < 0.3)


def test_systematic_resampling_keeps_counts_within_one_of_their_expectation():
    weights = np.array([0.5, 0.0, 0.3, 0.2])
    counts = np.bincount(systematic(weights, 101, np.random.default_rng(3)), minlength=4)
    assert np.all(np.abs(counts - 101 * weights) < 1)
    assert counts[1] == 0


def test_resampled_points_stand_for_the_weighted_ones():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(5000, 3))
    sample = ImportanceSample(points, -((points[:, 0] - 1) ** 2))
    chosen = sample.resample(4000, rng)
    np.testing.assert_allclose(chosen.mean(axis=0), sample.weights @ points, atol=0.02)
    order = morton_order(points, sample.weights)
    assert sorted(order) == list(range(5000))
    steps = [np.linalg.norm(np.diff(path, axis=0), axis=1).mean() for path in (points[order], points)]
    assert steps[0] < steps[1] / 3
