"""Evidence: bridge sampling, weights and the table, against closed forms."""

import numpy as np
import pytest
from scipy.stats import genpareto, norm

from hormesis_fit.inference.evidence import bridge_evidence, evidence_table, pareto_k, prior_weights


def record(log_evidence, hormetic, **other):
    blank = {"log_evidence_se": 0.01, "engine": "importance", "note": "", "ess": 1e4, "pareto_k": 0.1}
    return (
        blank
        | {"max_rhat": np.nan, "divergences": 0, "sick": False}
        | other
        | {
            "log_evidence": log_evidence,
            "hormetic": hormetic,
        }
    )


@pytest.mark.parametrize("dimension", [1, 5])
def test_bridge_sampling_finds_a_known_evidence(dimension):
    spread, target = 0.3, np.linspace(-1, 2, dimension)

    def density(points):
        return norm.logpdf(points).sum(axis=1), norm.logpdf(target, points, spread).sum(axis=1)

    rng = np.random.default_rng(1)
    sd = spread / np.sqrt(1 + spread**2)
    draws = rng.normal(target / (1 + spread**2), sd, size=(4, 1000, dimension))
    log_evidence, error = bridge_evidence(density, draws, rng)
    exact = norm.logpdf(target, 0, np.sqrt(1 + spread**2)).sum()
    assert error < 0.03
    assert abs(log_evidence - exact) < 4 * error


@pytest.mark.parametrize("k", [0.3, 0.6, 0.9])
def test_pareto_k_recovers_the_tail_of_the_weights(k):
    weights = genpareto(k).rvs(50_000, random_state=2)
    assert abs(pareto_k(np.log(weights)) - k) < 0.12


@pytest.mark.parametrize(
    ("hormetic", "expected"),
    [
        ([True, False], [0.5, 0.5]),
        ([True, True, True, False], [1 / 6, 1 / 6, 1 / 6, 0.5]),
        ([True, True], [0.5, 0.5]),
        ([False], [1.0]),
    ],
)
def test_each_kind_shares_its_half_of_the_prior(hormetic, expected):
    np.testing.assert_allclose(prior_weights(hormetic, [True] * len(hormetic), 0.5), expected)


def test_the_number_of_members_does_not_change_the_odds():
    two = evidence_table({"a": record(1.0, True), "b": record(0.0, False)})
    more = evidence_table({"a": record(1.0, True)} | {name: record(0.0, False) for name in "bcd"})
    np.testing.assert_allclose(two["prob_hormesis"], more["prob_hormesis"])
    np.testing.assert_allclose(two["prob_hormesis"], np.e / (1 + np.e))


def test_prior_odds_multiply_the_bayes_factor():
    table = evidence_table({"a": record(2.0, True), "b": record(0.0, False)}, prior_hormesis=0.2)
    odds = 0.25 * np.exp(2)
    np.testing.assert_allclose(table["prob_hormesis"], odds / (1 + odds))


def test_a_failed_curve_stays_in_the_table_with_its_reason():
    failed = record(np.nan, True, note="failed: ValueError: no", sick=True, engine="none")
    table = evidence_table({"a": failed, "b": record(0.0, True), "c": record(0.0, False)})
    assert table["note"].sel(model="a").item() == "failed: ValueError: no"
    assert table["weight"].sel(model="a").item() == 0
    np.testing.assert_allclose(table["prior_weight"], [0, 0.5, 0.5])


def test_one_kind_alone_cannot_speak_of_hormesis():
    assert np.isnan(evidence_table({"a": record(0.0, True)})["prob_hormesis"])


def test_hopeless_curves_do_not_overflow():
    table = evidence_table({"a": record(-1e6, True), "b": record(-2.0, False)})
    np.testing.assert_allclose(table["weight"], [0, 1])
