"""When to sample next: moments against regression, delays against calculus, processes against closed forms, words."""

import json

import numpy as np
import pytest
import xarray as xr
from test_schedules import CURVE, NUMBERS, RATE, dosed_fit
from test_timecourse import TIMES, known_fit

import hormesis_fit as hf
from hormesis_fit.cli.app import main
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.courses import Course
from hormesis_fit.drift.histories import kinetics_from
from hormesis_fit.planning.recovery import Protocol, lead_of
from hormesis_fit.planning.surrogate import Wandering, best_set
from hormesis_fit.planning.visits import continued
from hormesis_fit.windows.posterior import members

SIZE = 600
STEADY = [30.0, 45.0, 60.0]  # times at which a rate of 0.4 has long come to rest


def with_draws(fit, values, seed=2):
    """Return a fit with many draws, the same ones of every parameter but for those that are given as (median, SD)."""
    rng, posterior = np.random.default_rng(seed), fit["posterior"].to_dataset()
    posterior = posterior.isel(draw=np.zeros(SIZE, dtype=int)).assign_coords(draw=np.arange(SIZE))
    for name, (median, spread) in values.items():
        draws = median * np.exp(spread * rng.standard_normal((1, SIZE)))
        posterior[name] = ("chain", "draw"), draws
    return rebuilt(fit, posterior)


def rebuilt(fit, posterior):
    """Return a fit with another posterior."""
    groups = {name: group.to_dataset() for name, group in fit.children.items()} | {"posterior": posterior}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = fit.attrs
    return tree


def turnover(kinetics=False, **values):
    """Return a fit with receptor turnover, by default of a rate that is known within 2 %."""
    values = {f"gain_{name}": value for name, value in (values or {"turnover_rate": (0.4, 0.02)}).items()}
    return with_draws(dosed_fit(vary={}, kinetics=kinetics), values)


@pytest.fixture(scope="module")
def unsure():
    """Return a fit that knows neither rate nor ratio, nor the curve."""
    fit = dosed_fit(vary={}, kinetics=False)
    known = {"gain_turnover_rate": (0.4, 0.4), "gain_loss_ratio": (2.0, 0.3), "peak_stimulation": (0.5, 0.1)}
    return with_draws(fit, known | {"control": (100.0, 0.02), "half_effect_dose": (40.0, 0.1)})


def wandering_fit(scale=1.0, sd=(0.4, 0.3), time_scale=(10.0, 0.5), drift="OrnsteinUhlenbeck", labels=()):
    """Return a fit with a stochastic potency, whose time is counted in another unit by a factor."""
    fit = with_draws(known_fit([0.0]), {"potency_sd": sd, "potency_time_scale": (time_scale[0] * scale, time_scale[1])})
    steps = np.random.default_rng(4).standard_normal((1, SIZE, *([len(labels)] if labels else []), len(TIMES)))
    dims = ("chain", "draw", *(["subject"] if labels else []), "visit")
    posterior = fit["posterior"].to_dataset().drop_vars("potency_slope").assign(potency_innovation=(dims, steps))
    times = [scale * time for time in TIMES]
    record = {"drift": drift, "options": {}, "target": "potency", "times": times, "labels": list(labels)}
    posterior.attrs["drifts"] = json.dumps([record])
    if labels:
        posterior = posterior.assign_coords(subject=list(labels))
    fit["constant_data"]["time"] = fit["constant_data"]["time"] * scale
    return rebuilt(fit, posterior)


def kept(n, rate, loss, time, delay, dose=12.0, test=12.0):
    """Mean response in closed form: receptors after doses and a pause, at the exposure of a test dose."""
    term = DRIFTS["ReceptorTurnover"](**NUMBERS | {"turnover_rate": rate, "loss_ratio": loss})
    speed, limit = term.rates(dose)
    number = limit + (1 - limit) * np.exp(-speed * time)
    number = 1 + (number - 1) * np.exp(-rate * delay)
    return CURVE.drifted(test, gain=np.log(number)) + 0 * n


class TestMoments:
    def test_one_row_leaves_what_a_regression_leaves(self):
        fit = turnover(turnover_rate=(0.4, 0.2), loss_ratio=(2.0, 0.2))
        found = hf.next_times(fit, n=1, doses=12.0, times=[2.0], delays=[], about=["gain_turnover_rate"])
        draws = fit["posterior"].to_dataset().isel(chain=0)
        rate, loss = (draws[f"gain_{name}"].values for name in ("turnover_rate", "loss_ratio"))
        mean = kept(0, rate, loss, 2.0, 0.0)
        target = np.log(rate)
        share = np.cov(target, mean, ddof=0)
        expected = share[0, 0] - share[0, 1] ** 2 / (share[1, 1] + 2.0**2)
        assert float(found["sd"][0]) == pytest.approx(target.std(), rel=1e-9)
        assert float(found["expected_sd"][0]) == pytest.approx(np.sqrt(expected), rel=1e-9)
        assert float(found["expected_gain"]) == pytest.approx(0.5 * np.log(share[0, 0] / expected), rel=1e-9)
        # By brute force: simulated rows, and what is left of the target around their best line.
        rng = np.random.default_rng(1)
        rows, again = np.tile(mean, 300) + 2.0 * rng.standard_normal(300 * SIZE), np.tile(target, 300)
        left = again - np.polyval(np.polyfit(rows, again, 1), rows)
        assert float(found["expected_sd"][0]) == pytest.approx(left.std(), rel=0.01)

    def test_responses_are_the_closed_form(self):
        fit = turnover(turnover_rate=(0.4, 0.3))
        member = members(fit)[0]
        protocol = Protocol(5.0, None, np.array([1.0, 5.0]), np.array([0.5, 4.0]), np.array([4.0, 12.0]))
        samples = protocol.samples(0.0)
        found = protocol.means(member, member, None, samples, 0.0)
        rate = fit["posterior"]["gain_turnover_rate"].values[0]
        for k in range(samples.time.size):
            test = samples.test_dose[k] if samples.phase[k] == "washout" else samples.dose[k]
            until = min(samples.time[k], 5.0)
            expected = kept(rate, rate, 2.0, until, samples.delay[k], samples.dose[k], test)
            np.testing.assert_allclose(found[:, k], expected, rtol=1e-9)

    def test_responses_with_kinetics_are_those_of_the_history(self):
        fit = dosed_fit(vary={})
        member, kinetics = members(fit)[0], kinetics_from(fit["regimen"].to_dataset())
        protocol = Protocol(6.0, 1.0, np.array([2.5]), np.array([1.0, 4.0]), np.array([12.0]), np.array([0.0, 20.0]))
        samples = protocol.samples(0.0)
        found = protocol.means(member, member, kinetics, samples, 0.0)[0]
        plan = hf.Regimen(dose=12.0, interval=1.0, n=6)
        seen = hf.sensitivity_over_time(fit, time=[2.5, 7.0, 10.0], regimen=plan)["sensitivity"].values[0, 0, 0]
        for k, time in enumerate(samples.time):
            given = np.arange(6.0)[np.arange(6.0) <= time]
            exposure = 12.0 * np.exp(-RATE * (time - given)).sum() + samples.test_dose[k]
            gain = np.log(seen[[2.5, 7.0, 10.0].index(time)])
            assert found[k] == pytest.approx(float(CURVE.drifted(exposure, gain=gain)), rel=5e-3)

    def test_every_mechanism_can_be_planned(self):
        for name in ("Moderator", "TwoStateDesensitisation", "HypotheticalAntagonist", "FeedbackSuppression"):
            term = DRIFTS[name]()
            numbers = dict.fromkeys(term.priors(), 0.5)
            fit = dosed_fit(name, numbers, vary={}, kinetics=name == "HypotheticalAntagonist")
            target = {"Moderator": "baseline", "FeedbackSuppression": "exposure"}.get(name, "gain")
            first = f"{target}_{next(iter(numbers))}"
            found = hf.next_times(with_draws(fit, {first: (0.5, 0.3)}), n=2)
            assert float(found["expected_gain"]) > 0
            assert float(found["expected_sd"].sel(parameter=first)) < float(found["sd"].sel(parameter=first))


class TestWashout:
    def test_under_steady_doses_the_rate_needs_the_recovery(self):
        found = hf.next_times(turnover(), n=4, times=STEADY, duration=60.0, about="gain_turnover_rate")
        assert set(found["phase"].values) == {"washout"}
        assert float(found["washout"]) == found["delay"].values.max() > 0
        assert float(found["dosing_gain"]) < 1e-6 < float(found["expected_gain"])
        np.testing.assert_allclose(found["time"], 60.0 + found["delay"])

    @pytest.mark.parametrize("rate", [0.2, 0.4, 1.0])
    def test_the_best_delay_is_one_over_the_rate(self, rate):
        delays = np.linspace(0.1, 12.0, 120)
        fit = turnover(turnover_rate=(rate, 0.02))
        asked = {"times": [600.0], "duration": 600.0, "doses": 1.0, "about": "gain_turnover_rate"}
        found = hf.next_times(fit, n=1, delays=delays, **asked)
        assert found["phase"].values.tolist() == ["washout"]
        # The response to a small dose is nearly linear in the number of receptors, whose slope is t exp(-k t).
        assert float(found["delay"][0]) == pytest.approx(1 / rate, rel=0.05, abs=0.1)
        slope = np.abs(
            kept(0, rate * 1.001, 2.0, 600.0, delays, 1.0, 1.0) - kept(0, rate, 2.0, 600.0, delays, 1.0, 1.0)
        )
        assert float(found["delay"][0]) == pytest.approx(delays[np.argmax(slope)], abs=0.21)

    def test_without_a_wash_out_there_is_none(self, unsure):
        found = hf.next_times(unsure, n=4, delays=[])
        assert set(found["phase"].values) == {"dosing"}
        assert float(found["washout"]) == 0
        assert float(found["dosing_gain"]) == float(found["expected_gain"])
        free = hf.next_times(unsure, n=4)
        assert float(free["dosing_gain"]) == pytest.approx(float(found["expected_gain"]))
        assert float(free["expected_gain"]) > float(found["expected_gain"])

    def test_receptors_are_not_seen_without_a_test_dose(self):
        found = hf.next_times(turnover(), n=1, times=[], test_doses=[0.0, 4.0])
        bare = found["candidate_test_dose"] == 0
        assert np.all(found["gain"].values[bare] < 1e-9)
        assert np.all(found["gain"].values[~bare] > 1e-6)
        assert found["test_dose"].values.tolist() == [4.0]
        assert np.isnan(found["dosing_gain"])

    def test_a_test_dose_is_given_before_its_sample(self):
        term = hf.OneCompartment(route="oral", elimination_rate=0.5, absorption_rate=2.0)
        peak = np.log(2.0 / 0.5) / (2.0 - 0.5)
        assert lead_of(members(dosed_fit()), term, 6.0, 3.0) == pytest.approx(peak, abs=3 / 240)
        assert lead_of(members(dosed_fit()), hf.OneCompartment(elimination_rate=0.5), 6.0, 3.0) == 0
        protocol = Protocol(6.0, 3.0, np.array([1.0]), np.array([0.1, 2.0]), np.array([4.0]))
        samples = protocol.samples(peak)
        assert samples.delay[samples.test_dose > 0].tolist() == [2.0]


class TestPlan:
    def test_more_rows_leave_less(self, unsure):
        for about in ("gain_turnover_rate", "gain_loss_ratio"):
            plans = [hf.next_times(unsure, n=n, about=about) for n in (1, 2, 4, 8, 16)]
            spreads = [float(one["expected_sd"][0]) for one in plans]
            assert np.all(np.diff(spreads) < 0)
            assert spreads[0] < float(plans[0]["sd"][0])
            assert [int(one["replicates"].sum()) for one in plans] == [1, 2, 4, 8, 16]

    def test_the_window_can_be_asked_for(self, unsure):
        found = hf.next_times(unsure, n=4, about="window")
        assert found["parameter"].values.tolist() == ["window_lower", "window_upper"]
        assert np.all(found["expected_sd"] < found["sd"])
        window = hf.window(unsure, benefit=0.1)
        there = window["exists"].values
        np.testing.assert_allclose(found["sd"][1], np.log(window["window_upper"].values[there]).std(), rtol=0.02)

    @pytest.mark.parametrize("kinetics", [False, True])
    def test_the_same_fit_has_the_same_plan(self, kinetics):
        fit = turnover(kinetics)
        xr.testing.assert_identical(hf.next_times(fit), hf.next_times(fit))
        wandering = wandering_fit()
        xr.testing.assert_identical(hf.next_times(wandering), hf.next_times(wandering))

    def test_another_unit_of_time_is_another_number(self, unsure):
        hours = unsure.copy(deep=True)
        hours["constant_data"]["time"] = hours["constant_data"]["time"] * 24
        for name in ("time", "interval"):
            hours["regimen"][name] = hours["regimen"][name] * 24
        hours["regimen"] = (
            hours["regimen"].to_dataset().assign_coords(edge=("step_edge", unsure["regimen"]["edge"].values * 24))
        )
        hours["posterior"]["gain_turnover_rate"] = hours["posterior"]["gain_turnover_rate"] / 24
        pairs = [(hf.next_times(unsure), hf.next_times(hours))]
        pairs.append((hf.next_times(wandering_fit()), hf.next_times(wandering_fit(scale=24.0))))
        for one, other in pairs:
            for name in ("time", "delay", "candidate_time", "washout", "duration"):
                np.testing.assert_allclose(other[name], 24 * one[name], rtol=1e-9)
            for name in ("replicates", "dose", "gain", "expected_sd", "expected_gain"):
                np.testing.assert_allclose(other[name], one[name], rtol=1e-5, atol=1e-8)

    def test_everything_says_what_it_is(self, unsure):
        for found in (hf.next_times(unsure), hf.next_times(wandering_fit())):
            assert all({"units", "definition"} <= set(found[name].attrs) for name in found.data_vars)
            assert found["time"].attrs["units"] == "d"


class TestChance:
    def test_far_visits_tell_a_variance_as_independent_rows_do(self):
        size, variance = 5, 0.3
        known = {"slopes": np.zeros((1, 1, size)), "common": np.zeros((size, size)), "noise": np.full(size, 1e-12)}
        process = np.eye(size)[None]
        goal = Wandering(
            np.array([[variance]]), np.array([True]), process=process, changes=2 * process[:, None], **known, ahead=None
        )
        # Of n normal numbers the log of their SD is known with the information 2 n.
        for n in (1, 3, 5):
            assert goal.later(range(n))[0, 0] == pytest.approx(1 / (1 / variance + 2 * n), rel=1e-6)
        assert goal.values()[0] == pytest.approx(0.5 * np.log1p(2 * variance), rel=1e-6)
        assert sorted(best_set(goal, [], 3, np.array([True, False, True, True, False]), once=True)) == [0, 2, 3]
        # Two rows of one visit tell no more of it than one, where they do not scatter.
        assert goal.later([0, 0])[0, 0] == pytest.approx(goal.later([0])[0, 0], rel=1e-3)

    @pytest.mark.parametrize("name", ["OrnsteinUhlenbeck", "RandomWalk", "LocalTrend", "MaternProcess"])
    def test_information_is_the_variance_of_the_score(self, name):
        term = DRIFTS[name]()
        values = {"sd": 0.5, "time_scale": 4.0, "diffusion": 0.05, "slope": 0.02, "roughness": 0.2}
        values = {f"potency_{one}": values[one] for one in term.parameters()}
        course, times = Course("potency", term, (0.0, 2.0, 5.0)), np.array([6.0, 8.0, 13.0])
        past, rng = np.array([[0.0, 0.3, 0.4]]), np.random.default_rng(1)
        steps = {one: (1e-4, one != "potency_slope") for one in values}
        draws = {one: np.array([value]) for one, value in values.items()}
        way = continued(course, draws, past, times, steps)
        goal = Wandering(
            np.eye(len(values)),
            np.ones(len(values), bool),
            way.mean_slopes,
            way.covariance,
            way.changes,
            np.zeros((3, 3)),
            np.full(3, 0.04),
            None,
        )
        # Scores of simulated rows by differences of their own: the process goes on from its past as a normal law.
        every = np.array([*course.times, *times])

        def law(own):
            found = term.with_values({one.removeprefix("potency_"): value for one, value in own.items()})
            whole = found.covariance(every) + 1e-10 * np.eye(6)
            flat = own.get("potency_slope", 0.0) * every
            weights = np.linalg.solve(whole[:3, :3], whole[:3, 3:]).T
            mean = flat[3:] + weights @ (past[0] - flat[:3])
            return mean, whole[3:, 3:] - weights @ whole[:3, 3:] + 0.04 * np.eye(3)

        mean, covariance = law(values)
        rows = rng.multivariate_normal(mean, covariance, 60000)

        def density(own):
            center, spread = law(own)
            away = rows - center
            return -0.5 * (np.einsum("ni,ni->n", away @ np.linalg.inv(spread), away) + np.linalg.slogdet(spread)[1])

        scores = []
        for one, value in values.items():
            moved = [value + way * 1e-4 if one == "potency_slope" else value * np.exp(way * 1e-4) for way in (-1, 1)]
            low, high = (density(values | {one: other}) for other in moved)
            scores.append((high - low) / 2e-4)
        expected = np.cov(scores).reshape(len(values), -1)
        np.testing.assert_allclose(goal.fisher([0, 1, 2]), expected, atol=0.03 * np.diagonal(expected).max())

    def test_visits_are_at_the_probe_dose_beyond_the_last_one(self):
        fit = wandering_fit()
        fit.attrs["drift"] = "OrnsteinUhlenbeck of potency"
        found = hf.next_times(fit, n=6)
        assert found["parameter"].values.tolist() == ["potency_sd", "potency_time_scale", "potency_at_horizon"]
        assert np.all(found["expected_sd"] < found["sd"])
        assert found["time"].values.min() > 28
        assert found["time"].values.max() <= found.attrs["horizon"] == 56
        assert np.unique(found["dose"]) == found.attrs["probe_dose"] == hf.next_doses(fit).attrs["probe_dose"]
        assert float(found["washout"]) == 0
        assert np.unique(found["replicates"]) == 1

    def test_the_place_at_the_horizon_is_seen_there(self):
        found = hf.next_times(wandering_fit(), n=2, about="potency_at_horizon", horizon=20.0)
        assert found["time"].values.tolist() == [47.0, 48.0]
        gains = found["gain"].values
        assert gains[-1] == gains.max() > 5 * gains[0]

    def test_a_time_scale_needs_visits_that_hang_together(self):
        found = hf.next_times(wandering_fit(), n=8, about="potency_time_scale", horizon=200.0)
        gaps = np.diff([28.0, *np.unique(found["time"])])
        assert found["replicates"].sum() == 8
        assert gaps.min() <= 20
        more = hf.next_times(wandering_fit(), n=12, about="potency_time_scale", horizon=200.0)
        assert float(more["expected_sd"][0]) < float(found["expected_sd"][0])

    def test_a_steady_drift_is_asked_for_by_its_slope(self):
        slopes = np.random.default_rng(1).normal(0.0, 0.002, 300)
        found = hf.next_times(known_fit(slopes), n=2, times=[29.0, 35.0, 42.0])
        assert found["parameter"].values.tolist() == ["potency_slope", "potency_at_horizon"]
        assert float(found["sd"][0]) == pytest.approx(slopes.std())
        assert found["time"].values.tolist() == [35.0, 42.0]


class TestWords:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"n": 0}, "at least 1"),
            ({"n": 1000}, "at most 200 rows"),
            ({"about": "rate"}, "no parameter of the drift"),
            ({"about": []}, "at least one name"),
            ({"times": [0.0]}, "above 0 and up to 12 for times="),
            ({"times": [13.0]}, "up to 12"),
            ({"times": ["a"]}, "finite times"),
            ({"delays": [-1.0]}, "above 0 for delays="),
            ({"times": [], "delays": []}, "that is not empty"),
            ({"doses": 0.0}, "above 0 for doses="),
            ({"test_doses": [-1.0]}, "doses must be finite"),
            ({"duration": 0.0}, "above zero for duration="),
            ({"horizon": -1.0}, "above zero for horizon="),
            ({"interval": 1.0}, "only with pharmacokinetics"),
            ({"subject": "a"}, "nobody who differs"),
            ({"about": "gain_loss_ratio"}, "Nothing is left to learn"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, asked, words):
        with pytest.raises(ValueError, match=words) as refused:
            hf.next_times(turnover(), **asked)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"delays": [1.0]}, "for a mechanism such as"),
            ({"interval": 1.0}, "for a mechanism such as"),
            ({"times": [28.0]}, "above 28"),
            ({"times": []}, "at least 6 times"),
            ({"n": 25}, "at most 24 visits"),
            ({"about": "window"}, "no parameter of the drift"),
        ],
    )
    def test_a_drift_by_chance_has_its_own_words(self, asked, words):
        with pytest.raises(ValueError, match=words):
            hf.next_times(wandering_fit(), **asked)

    def test_names_are_texts(self):
        with pytest.raises(TypeError, match="names of parameters for about="):
            hf.next_times(turnover(), about=3)

    def test_paths_of_subjects_need_a_subject(self):
        fit = wandering_fit(labels=["a", "b"])
        with pytest.raises(ValueError, match="name one with subject="):
            hf.next_times(fit)
        assert hf.next_times(fit, n=2, subject="a").attrs["subject"] == "a"

    def test_a_fit_without_a_drift_is_told_apart(self):
        fit = dosed_fit(kinetics=True)
        fit["posterior"].attrs["mechanism"] = "{}"
        with pytest.raises(ValueError, match="knows no drift"):
            hf.next_times(fit)


class TestCommand:
    def test_the_times_follow_the_doses(self, unsure, tmp_path, capsys):
        unsure.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
        assert main(["next", str(tmp_path), "--n", "4"]) == 0, capsys.readouterr().err
        shown, record = capsys.readouterr().out, json.loads((tmp_path / "design.json").read_text())
        expected = hf.next_times(unsure, n=4)
        assert [one["time"] for one in record["times"]] == pytest.approx(expected["time"].values)
        assert {"time", "phase", "delay", "dose", "test_dose", "replicates"} == set(record["times"][0])
        assert record["washout"] == pytest.approx(float(expected["washout"]))
        assert record["time_unit"] == "d"
        assert "ReceptorTurnover of gain" in shown
        assert all(f"{time:.4g}" in shown for time in expected["time"].values)
        assert ("a wash-out of" in shown) == (record["washout"] > 0)

    def test_why_there_are_no_times_is_said(self, tmp_path, capsys):
        fit = turnover(occupancy_slope=(1.0, 0.0))
        fit = with_draws(fit, {"peak_stimulation": (0.5, 0.1)})
        fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
        assert main(["next", str(tmp_path), "--n", "2"]) == 0, capsys.readouterr().err
        assert "No times for the rows: Nothing is left to learn" in capsys.readouterr().out
        record = json.loads((tmp_path / "design.json").read_text())
        assert record["times"] is None
        assert record["washout"] is None
