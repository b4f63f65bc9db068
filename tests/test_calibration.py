"""The committed studies of calibration: every curve is in them, and they find what the README says they do."""

import numpy as np
import pandas as pd
import pytest
from calibration import drifts, expectation, people, sbc, screen_fdr, study

from hormesis_fit.curves import CURVES
from hormesis_fit.parameter import Prior


@pytest.fixture(scope="module")
def ranks():
    return sbc.results()


def test_every_curve_has_five_hundred_simulations(ranks):
    counts = {name: len(ranks.get(name, ())) for name in CURVES}
    assert {name: count for name, count in counts.items() if count < 500} == {}


def test_nuts_has_its_sample(ranks):
    counts = {name: len(ranks.get(f"{name}, NUTS", ())) for name in sbc.NUTS_CURVES}
    assert {"BrainCousens", "LogLogistic"} <= counts.keys()
    assert {name: count for name, count in counts.items() if count < 50} == {}


def test_every_parameter_and_quantity_was_ranked(ranks):
    for name, curve in CURVES.items():
        expected = {*sbc.fixed_priors(curve()), *sbc.derived_names(curve()), "log_likelihood"}
        assert {*ranks[name].columns} - {*sbc.HEALTH} == expected
        assert ranks[name]["seed"].is_unique


def test_no_rank_is_far_from_uniform(ranks):
    tested = sbc.tests(ranks)
    assert tested[tested["adjusted"] < sbc.FALSE_ALARM].empty


def test_the_table_of_the_readme_is_that_of_the_ranks(ranks):
    assert f"<!-- sbc -->\n{sbc.table(ranks)}\n<!-- /sbc -->" in sbc.README.read_text(encoding="utf-8")


def test_a_committed_simulation_runs_to_the_same_ranks_again(ranks):
    again = pd.DataFrame([sbc.one_simulation("Constant", seed) for seed in range(5)])
    noise = 1024 / 2 / np.sqrt(1024)
    names = ["control", "sigma", "log_likelihood"]
    assert (again[names] - ranks["Constant"].set_index("seed").loc[:4, names]).abs().to_numpy().max() < 6 * noise


def test_ranks_tell_of_a_wrong_prior():
    wrong = {"control": Prior("TruncatedNormal", mu=100, sigma=5, lower=0)}
    found = pd.DataFrame([sbc.one_simulation("Constant", seed, priors=wrong) for seed in range(15)])
    tested = sbc.tests({"Constant": found})
    assert set(tested.loc[tested["adjusted"] < sbc.FALSE_ALARM, "quantity"]) >= {"control"}


@pytest.mark.parametrize(("shift", "stretch"), [(0.3, 1.0), (0.0, 0.75), (0.0, 1.35)])
def test_ranks_tell_of_a_posterior_that_is_shifted_too_narrow_or_too_wide(shift, stretch):
    rng = np.random.default_rng(1)
    mean, truth = rng.normal(size=(2, 500))
    posterior = mean[:, None] + shift + stretch * rng.normal(size=(500, sbc.CHAINS * sbc.DRAWS))
    places = [sbc.rank(np.append(draws, one), rng) for draws, one in zip(posterior, mean + truth, strict=True)]
    assert min(sbc.p_values(np.array(places)).values()) < 1e-5


def test_uniform_ranks_raise_as_few_alarms_as_promised():
    rng = np.random.default_rng(1)
    p = pd.DataFrame([sbc.p_values(rng.integers(1024, size=500)) for _ in range(1000)])
    assert ((p < 0.05).mean() - 0.05).abs().max() < 4 * np.sqrt(0.05 * 0.95 / 1000)


def test_ranks_among_equals_are_uniform():
    rng = np.random.default_rng(2)
    places = [sbc.rank(np.full(sbc.CHAINS * sbc.DRAWS + 1, -np.inf), rng) for _ in range(500)]
    assert min(sbc.p_values(np.array(places)).values()) > 0.01


def test_holm_adjusts_step_by_step():
    np.testing.assert_allclose(sbc.holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])


@pytest.mark.parametrize(("truth", "least"), [("BrainCousens", 0.92), ("ProductHill", 0.92), ("HaldaneWeibull", 0.90)])
@pytest.mark.parametrize("edge", ["window_lower", "window_upper"])
def test_intervals_hold_the_edges_of_true_windows(truth, least, edge):
    places = pd.read_csv(study.HERE / "results" / f"{truth}.csv")[edge]
    share = places.dropna().between(0.025, 0.975).mean()
    assert len(places) >= 300
    assert share >= least


def test_hormesis_is_rarely_found_where_there_is_none():
    found = pd.read_csv(study.HERE / "results" / "null.csv")["prob_hormesis"]
    assert len(found) >= 200
    assert (found > 0.95).mean() <= 0.02


@pytest.mark.parametrize("family", people.PRIORS)
def test_windows_of_new_people_hold_what_they_promise(family):
    rows = pd.read_csv(people.RESULTS / f"people_{family}.csv")
    assert len(rows) >= 200
    assert rows["seed"].is_unique
    for edge in people.EDGES:
        assert 0.75 <= rows[edge].dropna().mean() <= 0.85
    ranked = [*people.PRIORS[family], "control_offset_subject", "half_effect_dose_offset_subject"]
    assert min(people.uniformity(rows[name]) for name in ranked) * len(ranked) > 0.01
    assert (rows["divergences"] == 0).mean() >= 0.9
    assert rows["sick"].mean() < 0.05


def test_the_table_of_the_readme_is_that_of_the_people():
    assert f"<!-- people -->\n{people.table()}\n<!-- /people -->" in people.README.read_text(encoding="utf-8")


def test_an_effect_of_the_guess_alone_is_called_none():
    rows = pd.read_csv(expectation.RESULTS)
    assert len(rows) >= 50
    assert (rows["adjusted"] == "UNLIKELY").mean() >= 0.9
    assert (rows["unadjusted"] == "UNLIKELY").mean() < 0.1


def test_one_blinded_trial_comes_out_as_recorded():
    [recorded] = pd.read_csv(expectation.RESULTS).query("seed == 0").to_dict("records")
    assert expectation.verdict(expectation.blinded_trial(0), 0, {"control": "guess"}) == recorded["adjusted"]


def test_the_table_of_the_readme_is_that_of_the_screens():
    assert f"<!-- screens -->\n{screen_fdr.table()}\n<!-- /screens -->" in people.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("design", drifts.PRIORS)
def test_drifts_are_recovered_at_nominal_rates(design):
    rows, names = pd.read_csv(drifts.RESULTS / f"drifts_{design}.csv"), list(drifts.PRIORS[design])
    assert len(rows) >= 100
    assert rows["seed"].is_unique
    for mass in drifts.LIMITS:
        found = drifts.coverage(rows, [*names, *drifts.ENDS], mass)
        # Holm's first step for every share of the table; and none of them far from nominal, whatever the p-values.
        assert found["p"].min() * len(found) > 0.05
        assert (found["share"] - mass).abs().max() < 4 * np.sqrt(mass * (1 - mass) / len(rows))
    assert (rows["divergences"] == 0).mean() >= 0.9


def test_the_table_of_the_readme_is_that_of_the_drifts():
    assert f"<!-- drifts -->\n{drifts.table()}\n<!-- /drifts -->" in drifts.README.read_text(encoding="utf-8")


def test_recovery_tells_of_intervals_that_are_too_narrow():
    ranks = pd.read_csv(drifts.RESULTS / "drifts_receptors.csv")["gain_loss_ratio"]
    narrow = pd.DataFrame({"one": (ranks - 0.5) * 1.25 + 0.5})
    assert drifts.coverage(narrow, ["one"], 0.80)["p"].min() < 0.01
