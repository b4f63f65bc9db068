"""What to dose next: closed forms, nested Monte Carlo, conditions, figure, commands, and the study of what it saves."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from calibration import sequential
from scipy.stats import norm, spearmanr

import hormesis_fit as hf
from hormesis_fit.cli.app import main
from hormesis_fit.cli.plans import read_doses
from hormesis_fit.curves import BrainCousens
from hormesis_fit.planning.surrogate import Information, Regret, Reweighted, Surrogate, after_rows, best_set, value_of

TRUTH = BrainCousens(control=100.0, peak_stimulation=0.35, half_effect_dose=30.0, slope_excess=1.5)
DOSES = [0.0, *np.geomspace(0.3, 100, 7)]


@pytest.fixture(scope="module")
def fitted():
    trial = hf.simulate_trial(TRUTH, doses=DOSES, replicates=2, cv=0.06, random_seed=3, dose_unit="mg/L", scale="ratio")
    curves = ["BrainCousens", "BellTail", "LogLogistic"]
    fit = hf.fit(trial, curve=curves, draws=500, random_seed=1)
    fit["window"] = hf.window(fit, benefit=0.1)
    return fit


@pytest.fixture(scope="module")
def linear():
    """Return draws of a linear Gaussian model: coefficients, means at five candidates, and the noise of a row."""
    rng = np.random.default_rng(1)
    size = 6000
    coefficients = rng.multivariate_normal([0, 0], [[1.0, 0.4], [0.4, 0.5]], size)
    design = np.array([[1, 0], [0, 1], [1, 1], [1, -1], [0.2, 0.1]], dtype=float)
    return coefficients, coefficients @ design.T, design, np.array([0.5, 0.5, 1.0, 0.3, 0.2])


def exact_information(design, noise, rows):
    prior = np.array([[1.0, 0.4], [0.4, 0.5]])
    chosen = design[list(rows)]
    precision = np.linalg.inv(prior) + (chosen.T / noise[list(rows)]) @ chosen
    return 0.5 * (np.linalg.slogdet(precision)[1] + np.linalg.slogdet(prior)[1])


class TestSurrogate:
    def test_information_of_rows_is_that_of_the_linear_model(self, linear):
        targets, means, design, noise = linear
        surrogate = Surrogate.of(targets, means, noise, np.ones(len(means)))
        goal = Information(1.0, None, surrogate)
        for rows in ([0], [2, 2], [0, 1, 3, 3, 4]):
            assert value_of(goal, rows) == pytest.approx(exact_information(design, noise, rows), rel=0.05)

    def test_rows_in_any_order_are_worth_the_same(self, linear):
        targets, means, _, noise = linear
        goal = Information(1.0, None, Surrogate.of(targets, means, noise, np.ones(len(means))))
        assert value_of(goal, [0, 3, 1]) == pytest.approx(value_of(goal, [1, 0, 3]), rel=1e-9)

    def test_moments_after_rows_are_those_of_the_batch(self, linear):
        targets, means, _, noise = linear
        one = Surrogate.of(targets, means, noise, np.ones(len(means)))
        rows = [0, 2, 2]
        seen = one.means[np.ix_(rows, rows)] + np.diag(noise[rows])
        batch = one.own - one.cross[:, rows] @ np.linalg.solve(seen, one.cross[:, rows].T)
        np.testing.assert_allclose(after_rows(one, rows).own, batch, atol=1e-10)

    def test_the_information_about_a_yes_or_no_stays_below_its_entropy(self, linear):
        _, means, _, noise = linear
        exists = (means[:, :1] > 0.8).astype(float)
        existence = Surrogate.of(exists, means, noise / 1000, np.ones(len(means)))
        share = exists.mean()
        goal = Information(float(share), existence, None)
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
        assert 0 < value_of(goal, [0] * 50) < entropy

    def test_draws_weighed_anew_agree_with_the_linear_model(self, linear):
        targets, means, design, noise = linear
        there = np.ones(len(means), dtype=bool)
        goal = Reweighted.of(targets[:2500], there[:2500], means[:2500], noise, 3, 400)
        for rows in ([0], [2], [0, 1, 3]):
            assert value_of(goal, rows) == pytest.approx(exact_information(design, noise, rows), abs=0.08)

    def test_draws_weighed_anew_agree_with_nested_monte_carlo_where_nothing_is_normal(self):
        rng = np.random.default_rng(2)
        edge = rng.gamma(2.0, size=4000)
        means = np.stack([np.exp(-edge), edge**2 / (4 + edge**2)], axis=1)
        noise = np.array([0.02, 0.05])
        # The edge is all there is to know: its information is ln p(y | edge) - ln p(y), averaged over outcomes.
        nested = []
        for k in range(2):
            sd = np.sqrt(noise[k])
            outcomes = rng.normal(means[:1000, k], sd)
            marginal = np.log(norm.pdf(outcomes[:, None], means[None, :, k], sd).mean(axis=1))
            nested.append(np.mean(norm.logpdf(outcomes, means[:1000, k], sd) - marginal))
        other = rng.normal(size=4000)  # known no better afterwards
        goal = Reweighted.of(np.stack([edge, other], axis=1), np.ones(4000, bool), means, noise, 1, 300)
        np.testing.assert_allclose(goal.values(), nested, atol=0.15)
        surrogate = Surrogate.of(edge[:, None], means, noise, np.ones(4000))
        # Normal moments see only what is linear: less than there is.
        assert (surrogate.shares() < np.array(nested) + 0.1).all()

    def test_the_regret_of_two_decisions_has_a_closed_form(self):
        rng = np.random.default_rng(3)
        effect = rng.normal(0.2, 1.0, 20000)
        utilities = np.stack([np.zeros(20000), effect], axis=1)
        surrogate = Surrogate.of(utilities, effect[:, None], np.array([0.5]), np.ones(20000))
        even = norm.ppf((np.arange(512) + 0.5) / 512)[:, None]
        goal = Regret(utilities.mean(axis=0), surrogate, even)
        sd = effect.var() / np.sqrt(effect.var() + 0.5)
        mean = effect.mean()
        expected = mean * norm.cdf(mean / sd) + sd * norm.pdf(mean / sd) - max(mean, 0)
        assert goal.values()[0] == pytest.approx(expected, rel=0.01)

    def test_the_exchange_finds_the_best_set(self, linear):
        targets, means, _, noise = linear
        goal = Information(1.0, None, Surrogate.of(targets, means, noise, np.ones(len(means))))
        chosen = best_set(goal, [0], 4, np.ones(5, dtype=bool))
        sets = [(0, i, j, k) for i in range(5) for j in range(i, 5) for k in range(j, 5)]
        best = max(value_of(goal, list(rows)) for rows in sets)
        assert chosen[0] == 0
        assert value_of(goal, chosen) == pytest.approx(best, rel=1e-6)
        allowed = np.array([True, True, False, False, False])
        assert set(best_set(goal, [0], 5, allowed)) <= {0, 1}


@pytest.mark.parametrize("goal", ["information", "regret"])
def test_the_rows_keep_what_was_asked(fitted, goal):
    planned = hf.next_doses(fitted, n=7, goal=goal)
    doses = np.repeat(planned["dose"].values, planned["replicates"].values)
    assert doses.size == 7
    assert np.sum(doses == 0) >= 2
    assert doses[doses > 0].min() >= 0.1 - 1e-12
    assert doses.max() <= 300
    assert float(planned["expected_gain"]) >= float(planned["gain"].max()) - 0.05
    assert (planned["loss"] >= 0).all()
    assert (planned["expected_sd"] < planned["sd"]).all()
    assert all({"units", "definition"} <= set(planned[name].attrs) for name in planned.data_vars)
    assert planned["dose"].attrs["units"] == "mg/L"


def test_both_ways_to_reckon_information_agree_on_where_to_look(fitted):
    gains = [hf.next_doses(fitted, n=2, method=method)["gain"].values for method in ("draws", "normal")]
    assert spearmanr(*gains).statistic > 0.7


def test_the_plan_is_better_than_an_even_one(fitted):
    planned = hf.next_doses(fitted, n=8, method="normal")
    even = hf.next_doses(fitted, n=8, method="normal", candidates=[0, 0.3, 100])
    assert float(planned["expected_gain"]) > 1.3 * float(even["expected_gain"])


def test_more_rows_tell_more_and_many_are_reckoned_by_moments(fitted):
    few, many = hf.next_doses(fitted, n=4), hf.next_doses(fitted, n=40)
    assert (few.attrs["method"], many.attrs["method"]) == ("draws", "normal")
    assert (many["expected_sd"] < few["expected_sd"]).all()
    assert many["replicates"].sum() == 40


def test_doses_that_may_harm_are_left_out(fitted):
    harm = hf.Harm(occupancy=5.0, limit=0.5)  # at every dose above 5
    planned = hf.next_doses(fitted, n=6, harm=harm)
    assert planned["dose"].max() <= 5.0
    np.testing.assert_array_equal(planned["allowed"], planned["candidate"] <= 5.0)
    assert "occupancy" in planned.attrs["harms"]
    with pytest.raises(ValueError, match="Every dose exceeds a limit"):
        hf.next_doses(fitted, harm=hf.Harm(occupancy=1e-4, limit=0.5))


def test_the_probability_of_harm_is_that_of_the_draws(fitted):
    harm = hf.Harm(loss=True, limit=0.1)
    planned = hf.next_doses(fitted, n=3, harm=harm)
    curves = hf.predict(fitted, doses=planned["candidate"].values)
    below = (curves < 0.9 * hf.predict(fitted, doses=[0.0]).values).mean(("chain", "draw"))
    # Every draw here falls for good beyond its peak: beyond the limit once is beyond it ever after.
    np.testing.assert_allclose(planned["prob_harm"], below, atol=0.06)


def test_only_given_candidates_are_planned(fitted):
    planned = hf.next_doses(fitted, candidates=[1, 3, 10])
    assert set(planned["dose"].values) <= {0.0, 1.0, 3.0, 10.0}
    assert planned["candidate"].values.tolist() == [0, 1, 3, 10]


def test_the_question_is_that_of_the_window_unless_another_is_asked(fitted):
    other = fitted.copy()
    other["window"] = hf.window(fitted, benefit=0.2, harm=hf.Harm(occupancy=20.0, limit=0.5))
    kept = hf.next_doses(other, n=3)
    assert (kept.attrs["benefit"], kept["dose"].max().item() <= 20) == (0.2, True)
    assert hf.next_doses(other, n=3, benefit=0.1, harm=()).attrs["benefit"] == 0.1
    other["window"] = hf.window(fitted, harm=hf.Harm(function=lambda dose, draws: dose, limit=20.0))
    with pytest.raises(ValueError, match="by functions"):
        hf.next_doses(other)


def test_the_same_fit_has_the_same_plan(fitted):
    one, other = hf.next_doses(fitted), hf.next_doses(fitted)
    xr.testing.assert_identical(one, other)


def test_a_fit_without_any_window_is_told_apart():
    trial = hf.simulate_trial(
        lambda dose: 100 / (1 + (dose / 30) ** 2.5), doses=DOSES, replicates=3, cv=0.02, random_seed=1, scale="ratio"
    )
    fit = hf.fit(trial, curve="LogLogistic", draws=250, random_seed=1)
    with pytest.raises(ValueError, match="No draw of the fit has a window"):
        hf.next_doses(fit)


@pytest.mark.parametrize("family", ["poisson", "lognormal"])
def test_other_families_are_planned_with_their_own_scatter(family):
    rng = np.random.default_rng(1)
    doses = np.repeat(DOSES, 3)
    mean = TRUTH(doses)
    response = rng.poisson(mean) if family == "poisson" else mean * np.exp(0.05 * rng.standard_normal(doses.size))
    trial = hf.read_trial({"dose": doses, "response": response.astype(float)}, scale="ratio")
    fit = hf.fit(trial, curve="BrainCousens", family=family, draws=250, random_seed=1)
    planned = hf.next_doses(fit, n=5)
    assert planned["replicates"].sum() == 5
    assert np.isfinite(planned["expected_gain"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 1}, "at least 2"),
        ({"n": 1000}, "at most 500"),
        ({"goal": "joy"}, "no goal named"),
        ({"method": "exact"}, "no method named"),
        ({"controls": 1.2}, "share below 1"),
        ({"candidates": [1e6]}, "near the tested doses"),
        ({"candidates": [0.0]}, "above 0"),
        ({"benefit": -1}, "above 0"),
        ({"benefit_scale": "sd"}, "needs a benefit"),
        ({"estimand": "mean"}, "no estimand"),
    ],
)
def test_what_makes_no_sense_is_refused(fitted, arguments, words):
    with pytest.raises(ValueError, match=words):
        hf.next_doses(fitted, **arguments)


def test_the_figure_shows_candidates_rows_and_harm(fitted):
    planned = hf.next_doses(fitted, n=6, harm=hf.Harm(occupancy=30.0, limit=0.5))
    figure = hf.plot_next(fitted, planned=planned)
    drawn = {one.get_gid(): one for one in [*figure.axes[0].lines, *figure.axes[0].patches] if one.get_gid()}
    assert {"gain", "gain_control", "planned", "harm", "rug"} <= set(drawn)
    np.testing.assert_allclose(drawn["planned"].get_xdata(), planned["dose"])
    np.testing.assert_allclose(drawn["gain"].get_ydata(), planned["gain"].where(planned["candidate"] > 0, drop=True))
    counts = [text.get_text() for text in figure.axes[0].texts]
    assert counts == [f"×{count}" for count in planned["replicates"].values]
    figure.canvas.draw()


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    fitted.to_netcdf(place / "fit.nc", engine="h5netcdf")
    return place


def test_next_prints_a_table_and_writes_its_design(folder, capsys):
    assert main(["next", str(folder), "--n", "5", "--overwrite"]) == 0
    shown = capsys.readouterr().out
    record = json.loads((folder / "design.json").read_text())
    assert {"doses", "replicates", "expected_gain", "constraints"} <= set(record)
    assert sum(record["replicates"]) == 5
    assert record["replicates"][record["doses"].index(0.0)] >= 1
    assert record["expected_gain"] > 0
    assert record["constraints"]["domain"] == pytest.approx([0.1, 300])
    assert all(f"{dose:.4g}" in shown for dose in record["doses"])
    assert "mg/L" in shown


def test_next_takes_options_and_another_file(folder, tmp_path, capsys):
    out = tmp_path / "mine.json"
    options = ["--goal", "regret", "--doses", "0,1,3,10", "--harm", "occupancy(5)<=0.5", "--out", str(out)]
    assert main(["next", str(folder / "fit.nc"), *options]) == 0, capsys.readouterr().err
    record = json.loads(out.read_text())
    assert set(record["doses"]) <= {0, 1, 3}
    assert record["goal"] == "regret"
    assert record["constraints"]["doses"] == [0, 1, 3, 10]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["next", "nowhere"], "There is no fit at nowhere"),
        (["next", "{table}", "--out", "new.json"], "is no fit"),
        (["next", "{fit}", "--n", "0", "--out", "new.json"], "at least 2"),
        (["next", "{fit}", "--doses", "a,b", "--out", "new.json"], "Expected doses such as"),
        (["next", "{fit}", "--out", "none/new.json"], "There is no folder"),
        (["next", "{fit}", "--out", "{table}"], "exists already"),
        (["next", "{fit}", "--goal", "joy", "--out", "new.json"], "no goal"),
        (["design", "--dose-min", "3", "--dose-max", "1"], "--dose-min below --dose-max"),
        (["design", "--dose-min", "1", "--dose-max", "9", "--curve", "Brain"], "no curve named"),
        (["design", "--dose-min", "1", "--dose-max", "9", "--criterion", "E"], "no criterion"),
        (["design", "--dose-min", "1", "--dose-max", "9", "--doses", "0,20"], "--doses between"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(folder, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.csv"
    table.write_text("dose,response\n0,1\n")
    filled = [one.format(table=table, fit=folder) for one in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_design_before_any_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["design", "--dose-min", "0.3", "--dose-max", "100", "--n", "12", "--draws", "8", "--dose-unit", "mg/L"]
    assert main(asked) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "design.json").read_text())
    assert sum(record["replicates"]) == 12
    assert record["replicates"][0] >= 3
    assert record["doses"][0] == 0
    assert np.isfinite(record["expected_gain"])
    assert "mg/L" in capsys.readouterr().out
    assert main(asked) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*asked, "--overwrite"]) == 0
    assert json.loads((tmp_path / "design.json").read_text()) == record


def test_doses_are_read():
    assert read_doses("1, 0,3") == [0.0, 1.0, 3.0]
    assert read_doses(None) is None


@pytest.fixture(scope="module")
def lines():
    return pd.read_csv(sequential.RESULTS)


class TestStudy:
    def test_a_hundred_trials_were_run_on_both_arms(self, lines):
        assert lines["seed"].nunique() >= 100
        assert set(lines["arm"]) == set(sequential.ARMS)
        starts = lines.groupby(["seed", "arm"])["rows"].min()
        assert (starts == 2 * len(sequential.DOSES)).all()

    def test_planning_saves_three_rows_of_ten(self, lines):
        of_all, of_further = sequential.savings(lines)
        assert of_all >= 0.30
        assert of_further >= 0.40

    def test_a_trial_runs_to_the_same_lines_again(self, lines):
        known = lines[(lines["seed"] == 0) & (lines["arm"] == "guided")].iloc[0]
        rng = np.random.default_rng([0, 31])
        truth = sequential.drawn_truth(rng)
        first = np.repeat(sequential.DOSES, 2)
        _, widths, _ = sequential.looked_at(first, sequential.measured(truth, first, rng), 0)
        assert widths == pytest.approx([known["lower_width"], known["upper_width"]], rel=0.1)
