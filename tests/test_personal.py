"""A new subject among known ones: its offsets against quadrature, with and without side effects, and refits."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_hierarchy import OWN, sensitive

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens, LogLogistic
from hormesis_fit.inference.assembly import side_groups, tree_of
from hormesis_fit.inference.engines import Result
from hormesis_fit.inference.evidence import evidence_table
from hormesis_fit.model.building import model_of
from hormesis_fit.model.density import Density
from hormesis_fit.model.specification import Side, specify
from hormesis_fit.report.people import people_part
from hormesis_fit.report.recipe import python_lines
from hormesis_fit.windows import personal

KNOWN = {"control": 100.0, "peak_stimulation": 0.4, "half_effect_dose": 20.0, "slope_excess": 1.5, "sigma": 6.0}
KNOWN |= {"half_effect_dose_sd_subject": 0.6}
RISK = {"control": 0.05, "half_effect_dose": 10.0, "slope": 1.5, "half_effect_dose_sd_subject": 0.8}
CORRELATION = 0.8
CHAINS, DRAWS = 2, 1000
DOSES = np.array([3.0, 10.0, 30.0])
ROWS = {"dose": DOSES, "score": [130.0, 145.0, 115.0]}
ILL = {"ill": [2, 3, 9], "n": [20, 20, 20]}
GRID = np.linspace(-6, 6, 401)


def known_fit(trial, specification, values, attrs):
    """Return a fit whose parameters are known and whose people are any from the population."""
    density = Density(model_of(specification, trial))
    rng, size = np.random.default_rng(7), CHAINS * DRAWS
    shapes = dict(zip(density.names, density.shapes, strict=True))
    draws = {
        name: rng.standard_normal((size, *shape)) if shape else np.full(size, values[name])
        for name, shape in shapes.items()
    }
    points = density.unconstrain(draws).reshape(CHAINS, DRAWS, -1)
    result = Result(points, "nuts", 0.0, 0.0, 1000.0)
    tree = tree_of(trial, specification, result, density)
    tree["evidence"] = evidence_table({"BrainCousens": result.record(specification.curve, "")})
    tree.attrs = {"seed": 1, "vary": json.dumps(OWN), "covariates": "{}"} | attrs
    return tree


@pytest.fixture(scope="module")
def trials():
    return sensitive(1, CORRELATION, size=4)


@pytest.fixture(scope="module")
def benefit(trials):
    return specify(trials[0], curve="BrainCousens", vary=OWN)


@pytest.fixture(scope="module")
def shared(trials, benefit):
    """Return a fit of benefit and side effect in one model."""
    trial, ill = trials
    asked = {"curve": "LogLogistic", "family": "binomial", "vary": OWN}
    side = Side("nausea", specify(ill, **asked, shared=["half_effect_dose"]), ill)
    share = {"nausea::half_effect_dose_benefit_cor_subject": (1 + CORRELATION) / 2}
    values = KNOWN | {f"nausea::{name}": value for name, value in RISK.items()} | share
    fit = known_fit(trial, replace(benefit, sides=(side,)), values, {"family": "gaussian"})
    attrs = {"seed": 1, "family": "binomial", "vary": json.dumps(OWN), "covariates": "{}", "curves": "LogLogistic"}
    side_groups(fit, side, attrs | {"shared": json.dumps(["half_effect_dose"])})
    return fit


@pytest.fixture(scope="module")
def apart(trials, benefit):
    """Return a fit of a benefit, with a side effect that has a model of its own."""
    trial, ill = trials
    fit = known_fit(trial, benefit, KNOWN, {"family": "gaussian"})
    side = known_fit(ill, specify(ill, curve="LogLogistic", family="binomial", vary=OWN), RISK, {"family": "binomial"})
    fit["endpoints/nausea"] = side
    return fit


def quadrature(correlation, *, benefit=True, risk=True):
    """Return means and SDs of both offsets of the new subject, from a grid over independent ones."""
    own, alone = np.meshgrid(GRID, GRID, indexing="ij")
    other = correlation * own + math.sqrt(1 - correlation**2) * alone
    log_density = stats.norm.logpdf(own) + stats.norm.logpdf(alone)
    for place, dose in enumerate(DOSES):
        if benefit:
            half = KNOWN["half_effect_dose"] * np.exp(0.6 * own)
            chosen = {name: KNOWN[name] for name in ("control", "peak_stimulation", "slope_excess")}
            mean = BrainCousens(half_effect_dose=half, **chosen)(dose)
            log_density = log_density + stats.norm.logpdf(ROWS["score"][place], mean, KNOWN["sigma"])
        if risk:
            half = RISK["half_effect_dose"] * np.exp(0.8 * other)
            curve = LogLogistic(control=0.05, half_effect_dose=half, slope=1.5, link="logit", direction="down")
            log_density = log_density + stats.binom.logpmf(ILL["ill"][place], 20, curve(dose))
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    means = [(weight * value).sum() for value in (own, other)]
    return [
        (mean, math.sqrt((weight * (value - mean) ** 2).sum())) for mean, value in zip(means, (own, other), strict=True)
    ]


def offsets(fit, path=""):
    draws = fit[f"{path}posterior"]["half_effect_dose_offset_subject"]
    return draws.sel(subject="new").values.ravel()


def assert_offsets(found, expected):
    mean, sd = expected
    # Each draw is re-weighted by itself among few new people: the error is about that of 300 independent draws.
    assert found.mean() == pytest.approx(mean, abs=4 * sd / math.sqrt(300))
    assert found.std() == pytest.approx(sd, rel=0.2)


class TestShared:
    def test_rows_of_both_tell_of_both(self, shared):
        updated = hf.add_subject(shared, rows=ROWS | ILL, subject="new", refit=False)
        expected = quadrature(CORRELATION)
        assert_offsets(offsets(updated), expected[0])
        assert_offsets(offsets(updated, "endpoints/nausea/"), expected[1])
        assert updated["endpoints/nausea/observed_data"].sizes["observation"] == 4 * 12 + 3

    def test_rows_of_the_benefit_tell_of_the_side_effect(self, shared):
        updated = hf.add_subject(shared, rows=ROWS, subject="new", refit=False)
        expected = quadrature(CORRELATION, risk=False)
        assert_offsets(offsets(updated), expected[0])
        assert_offsets(offsets(updated, "endpoints/nausea/"), expected[1])
        assert expected[1][0] == pytest.approx(CORRELATION * expected[0][0], rel=0.01)
        assert updated["endpoints/nausea/observed_data"].sizes["observation"] == 4 * 12

    def test_draws_still_belong_together(self, shared):
        updated = hf.add_subject(shared, rows=ROWS | ILL, subject="new", refit=False)
        for label in ("S00", "S02"):
            own, other = (
                updated[f"{path}posterior"]["half_effect_dose_offset_subject"].sel(subject=label).values.ravel()
                for path in ("", "endpoints/nausea/")
            )
            assert np.corrcoef(own, other)[0, 1] == pytest.approx(CORRELATION, abs=0.1)

    def test_the_window_of_the_new_subject_keeps_its_own_limit(self, shared):
        harm = hf.Harm(endpoint="nausea", limit=0.2)
        updated = hf.add_subject(shared, rows=ROWS | ILL, subject="new", refit=False)
        result = hf.window(updated, subject="new", harm=harm)
        tolerated = 10 * ((0.2 / 0.8) / (0.05 / 0.95) - 1) ** (1 / 1.5)
        ends = tolerated * np.exp(0.8 * offsets(updated, "endpoints/nausea/"))
        ended = result["upper_limit"].values.ravel() == "nausea"
        assert 0.2 < ended.mean() < 1
        np.testing.assert_allclose(result["window_upper"].values.ravel()[ended], ends[ended], rtol=1e-6)


class TestApart:
    def test_side_effects_are_updated_for_themselves(self, apart):
        updated = hf.add_subject(apart, rows=ROWS | ILL, subject="new", refit=False)
        assert_offsets(offsets(updated), quadrature(0.0, risk=False)[0])
        assert_offsets(offsets(updated, "endpoints/nausea/"), quadrature(0.0, benefit=False)[1])
        assert updated.attrs["update"] == "reweighted"
        assert updated["endpoints/nausea"].attrs["update"] == "reweighted"

    def test_without_their_column_they_stay_as_they_are(self, apart):
        updated = hf.add_subject(apart, rows=ROWS, subject="new", refit=False)
        assert updated["endpoints/nausea"].identical(apart["endpoints/nausea"])

    def test_nothing_of_the_others_changes(self, apart):
        updated = hf.add_subject(apart, rows=ROWS | ILL, subject="new", refit=False)
        before, after = (hf.window(one, subject="S01") for one in (apart, updated))
        assert float(after["prob_exists"]) == pytest.approx(float(before["prob_exists"]), abs=0.05)
        assert "log_likelihood" not in updated
        assert "log_likelihood" in apart

    def test_evidence_gains_what_the_rows_were_expected_to_be(self, apart):
        updated = hf.add_subject(apart, rows=ROWS, subject="new", refit=False)
        own = stats.norm.pdf(GRID) * (GRID[1] - GRID[0])
        chosen = {name: KNOWN[name] for name in ("control", "peak_stimulation", "slope_excess")}
        mean = BrainCousens(half_effect_dose=20 * np.exp(0.6 * GRID)[:, None], **chosen)(DOSES)
        rows = stats.norm.pdf(ROWS["score"], mean, KNOWN["sigma"]).prod(axis=1)
        assert float(updated["evidence"]["log_evidence"][0]) == pytest.approx(math.log((own * rows).sum()), abs=0.05)


def test_rows_that_say_too_much_lead_to_a_refit(shared, monkeypatch):
    asked = {}

    def fit(trial, **arguments):
        asked.update(arguments, trial=trial)
        return shared.copy(deep=True)

    monkeypatch.setattr(personal, "WORST_K", -10.0)
    monkeypatch.setattr(personal, "fit_trial", fit)
    updated = hf.add_subject(shared, rows=ROWS | ILL, subject="new")
    assert updated.attrs["update"] == "refitted"
    side = asked["endpoints"]["nausea"]
    assert (side.shared, side.family, side.vary) == (["half_effect_dose"], "binomial", OWN)
    assert asked["trial"].sizes["observation"] == 4 * 12 + 3 == side.trial.sizes["observation"]
    assert type(side.curve) is LogLogistic
    with pytest.raises(ValueError, match=r"^The new rows say too much for re-weighting .*refit=True\.$"):
        hf.add_subject(shared, rows=ROWS | ILL, subject="new", refit=False)


def test_what_cannot_be_added_is_refused(apart, trials):
    with pytest.raises(ValueError, match=r'^The fit knows a subject named "S01" already'):
        hf.add_subject(apart, rows=ROWS, subject="S01")
    with pytest.raises(ValueError, match=r'successes|shares|"ill"'):
        hf.add_subject(apart, rows=ROWS | {"ill": [30, 1, 1], "n": [20, 20, 20]}, subject="new")
    flat = apart.copy(deep=True)
    flat["posterior"].attrs["effects"] = "[]"
    with pytest.raises(ValueError, match=r"^Nothing varies between the subjects .*vary=.*first\.$"):
        hf.add_subject(flat, rows=ROWS, subject="new")


def test_a_gain_is_the_difference_of_two_probabilities(apart):
    found = hf.personal_gain(apart, subject="S01")
    own, new = hf.window(apart, subject="S01"), hf.window(apart, estimand="new")
    assert float(found["personal_dose"]) == float(own["best_dose"])
    assert float(found["population_dose"]) == float(new["best_dose"])
    assert float(found["gain"]) == pytest.approx(float(found["personal_probability"] - found["population_probability"]))
    assert float(found["personal_probability"]) == pytest.approx(float(own["max_probability"]), abs=0.02)


def test_the_report_says_how_benefit_and_side_effect_go_together(shared, apart):
    page = str(people_part(shared)["people_table"])
    assert "half effect dose, benefit with nausea" in page
    assert f"{CORRELATION:.2f}" in page
    assert "benefit with nausea" not in str(people_part(apart)["people_table"])


def test_the_recipe_repeats_what_is_shared(shared, apart):
    words = "shared=['half_effect_dose'], family='binomial'"
    for fit, there in ((shared, True), (apart, False)):
        one = fit.copy()
        one["window"] = hf.window(one, harm=hf.Harm(endpoint="nausea", limit=0.2))
        lines = python_lines(one, one["window"].to_dataset())
        assert (words in lines) is there
        assert "hf.Endpoint(" in lines
    assert "curve='LogLogistic'" in python_lines(shared, one["window"].to_dataset())
