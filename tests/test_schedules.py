"""Windows of a regimen: dose and interval, harms at their worst moment, what the data told of a drift, figures."""

import json

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

import hormesis_fit as hf
from hormesis_fit.checks.identifiability import paused
from hormesis_fit.curves import BrainCousens
from hormesis_fit.dosing.exposure import OneCompartment
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.courses import mechanism_of, mechanism_record
from hormesis_fit.drift.histories import histories_of
from hormesis_fit.windows.prediction import replicates

CURVE = BrainCousens(control=100.0, peak_stimulation=0.5, half_effect_dose=40.0, slope_excess=1.5)
NUMBERS = {"turnover_rate": 0.4, "loss_ratio": 2.0, "occupancy_dose": 8.0, "occupancy_slope": 1.0}
TIMES = (0.5, 1.0, 3.0, 5.0, 8.0, 12.0)
PLAN = hf.Regimen(dose=None, interval=1.0, n=6)
RATE = 0.7
SAME = {"loss_ratio": [1.5, 2.0, 2.5, 3.0]}


def dosed_fit(drift="ReceptorTurnover", numbers=NUMBERS, vary=SAME, kinetics=True):
    """Return a fit of four draws that are known, of rows that are known."""
    doses = np.repeat([0.0, 1.0, 4.0, 12.0, 40.0], len(TIMES))
    columns = {"day": np.tile(TIMES, 5), "dose": doses, "response": 100 + np.arange(doses.size) % 7}
    trial = hf.read_trial(columns, time="day", time_unit="d", scale="ratio")
    term = OneCompartment(elimination_rate=RATE) if kinetics else None
    histories = histories_of(trial, PLAN if kinetics else None, term)
    mechanism = mechanism_of(drift)
    own = {f"{mechanism.target}_{name}": np.full((1, 4), value) for name, value in numbers.items()}
    own |= {f"{mechanism.target}_{name}": np.array([values]) for name, values in vary.items()}
    values = {name: np.full((1, 4), getattr(CURVE, name)) for name in CURVE.parameters()} | own
    values["sigma"] = np.full((1, 4), 2.0)
    priors = {name: {"distribution": "LogNormal", "mu": 0.0, "sigma": 1.0} for name in own}
    posterior = xr.Dataset(
        {name: (("chain", "draw"), value) for name, value in values.items()},
        coords={"chain": [0], "draw": np.arange(4)},
        attrs={"curve": "BrainCousens", "family": "gaussian", "fixed": "{}", "effects": "[]", "drifts": "[]"}
        | {"priors": json.dumps(priors), "mechanism": json.dumps(mechanism_record(mechanism))}
        | CURVE.structure(),
    )
    groups = {
        "posterior": posterior,
        "evidence": xr.Dataset({"weight": ("model", [1.0])}, coords={"model": ["BrainCousens"]}),
        "observed_data": trial[["response"]],
        "constant_data": trial.drop_vars("response"),
        "regimen": histories.record(),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"seed": 3, "family": "gaussian"}
    return tree


def fine_mean(dose, interval, loss, periods=60, steps=200):
    """Mean response of one interval after many, by a fine recurrence of its own."""
    term = DRIFTS["ReceptorTurnover"](**(NUMBERS | {"loss_ratio": loss}))
    middles = (np.arange(steps) + 0.5) * interval / steps
    exposure = dose * np.exp(-RATE * middles) / -np.expm1(-RATE * interval)
    bound = exposure / (exposure + NUMBERS["occupancy_dose"])
    speed = NUMBERS["turnover_rate"] * (1 + loss * bound)
    state, total = 1.0, 0.0
    for period in range(periods):
        for k in range(steps):
            limit = NUMBERS["turnover_rate"] / speed[k]
            after = limit + (state - limit) * np.exp(-speed[k] * interval / steps)
            if period == periods - 1:
                total += float(CURVE.drifted(exposure[k], gain=np.log((state + after) / 2)))
            state = after
    assert term.steady_state(0.0) == 1.0
    return total / steps


class TestWindow:
    def test_the_mean_of_an_interval_at_steady_state(self):
        fit = dosed_fit()
        found = hf.predict(fit, doses=[0.0, 2.0, 9.0, 30.0], interval=1.5).values[0]
        for draw, loss in enumerate(SAME["loss_ratio"]):
            expected = [fine_mean(dose, 1.5, loss) for dose in (0.0, 2.0, 9.0, 30.0)]
            np.testing.assert_allclose(found[draw], expected, rtol=5e-4)

    def test_a_time_alone_takes_the_interval_of_the_trial(self):
        fit = dosed_fit()
        np.testing.assert_array_equal(
            hf.predict(fit, doses=[3.0], time=4.2), hf.predict(fit, doses=[3.0], time=4.2, interval=1.0)
        )
        window = hf.window(fit, benefit=0.1)
        assert window.attrs["time"] == 12.0
        assert window.attrs["interval"] == 1.0
        assert "time" not in hf.window(fit, benefit=0.1, interval=1.0).attrs

    def test_an_exposure_that_is_held_has_no_interval(self):
        fit = dosed_fit(kinetics=False)
        term = DRIFTS["ReceptorTurnover"](**NUMBERS)
        lost = float(term(np.array([12.0]), np.array([5.0]))[0])
        found = hf.predict(fit, doses=[12.0], time=5.0).values[0, 1, 0]
        assert found == pytest.approx(float(CURVE.drifted(12.0, gain=np.log(lost))), rel=1e-12)
        with pytest.raises(ValueError, match="matters only with pharmacokinetics"):
            hf.window(fit, benefit=0.1, interval=1.0)

    def test_predicted_rows_are_those_of_the_histories(self):
        fit = dosed_fit(vary={})
        rows = replicates(fit)
        trial = fit["constant_data"].to_dataset()
        assert rows.shape == (1, 4, trial.sizes["observation"])
        controls = trial["dose"].values == 0
        assert np.abs(rows.values[0][:, controls] - 100).max() < 10

    @pytest.mark.parametrize("interval", [0.0, -1.0, np.inf, "1", True])
    def test_a_senseless_interval_is_refused(self, interval):
        with pytest.raises(ValueError, match="interval must be a finite number above 0"):
            hf.window(dosed_fit(), interval=interval)


class TestHarms:
    def test_receptor_loss_counts_at_its_worst_moment(self):
        fit = dosed_fit()
        limited = hf.window(fit, benefit=0.05, interval=1.0, harm=hf.Harm(receptor_loss=True, limit=0.4))
        free = hf.window(fit, benefit=0.05, interval=1.0)
        assert np.all(limited["window_upper"] < free["window_upper"])
        assert np.all(np.diff(limited["window_upper"].values[0]) < 0)

    def test_suppression_is_limited_by_its_steady_state(self):
        numbers = {"turnover_rate": 1.0, "own_level": 5.0, "feedback_level": 1.0, "feedback_slope": 2.0}
        fit = dosed_fit("FeedbackSuppression", numbers, vary={}, kinetics=False)
        found = hf.window(fit, benefit=0.01, time=200.0, harm=hf.Harm(suppression=True, limit=0.3))
        term = DRIFTS["FeedbackSuppression"](**numbers)
        upper = found["window_upper"].values[0, 0]
        assert float(term.suppression(upper)) == pytest.approx(0.3, abs=2e-3)

    def test_occupancy_counts_at_the_highest_exposure(self):
        found = hf.window(dosed_fit(), benefit=0.01, interval=1.0, harm=hf.Harm(occupancy=10.0, limit=0.5))
        peak = found["window_upper"].values * np.exp(-RATE / 48) / -np.expm1(-RATE)
        np.testing.assert_allclose(peak, 10.0, rtol=1e-3)

    def test_a_harm_without_its_mechanism_is_refused(self):
        with pytest.raises(ValueError, match='fit with drift="FeedbackSuppression"'):
            hf.window(dosed_fit(), interval=1.0, harm=hf.Harm(suppression=True, limit=0.3))


class TestSurface:
    def test_every_row_is_the_window_at_its_interval(self):
        fit = dosed_fit()
        surface = hf.dose_interval(fit, intervals=[2.0, 0.5], benefit=0.1, doses=[1.0, 3.0, 9.0])
        np.testing.assert_array_equal(surface["interval"], [0.5, 2.0])
        for interval in (0.5, 2.0):
            alone = hf.window(fit, interval=interval, benefit=0.1, doses=[1.0, 3.0, 9.0])
            row = surface.sel(interval=interval)
            np.testing.assert_array_equal(row["probability"], alone["probability"])
            assert float(row["best_dose"]) == float(alone["best_dose"])
        np.testing.assert_allclose(surface["daily_dose"].sel(interval=0.5), [2.0, 6.0, 18.0])
        best = surface["interval"].values[surface["probability"].values.argmax(axis=0)]
        np.testing.assert_array_equal(surface["best_interval"], best)

    @pytest.mark.parametrize("intervals", [[], [0.0], ["a"], [np.nan, 1.0]])
    def test_senseless_intervals_are_refused(self, intervals):
        with pytest.raises(ValueError, match="intervals must be finite numbers above 0"):
            hf.dose_interval(dosed_fit(), intervals=intervals)

    def test_the_figure_shows_the_map_and_its_window(self):
        surface = hf.dose_interval(dosed_fit(), intervals=[0.5, 1.0, 2.0], benefit=0.1)
        figure = hf.plot_dose_interval(surface, width="double")
        axes = figure.axes[0]
        [mesh] = [one for one in axes.collections if isinstance(one, mpl.collections.QuadMesh)]
        np.testing.assert_array_equal(np.ravel(mesh.get_array()), np.ravel(surface["probability"].values))
        [lower] = [one for one in axes.collections if one.get_gid() == "window_lower"]
        borders = mesh.get_coordinates()[:, 0, 1]
        for row, path in enumerate(lower.get_paths()):
            np.testing.assert_allclose(path.vertices[:, 1], borders[[row, row + 1]])
        lines = [one for one in axes.lines if one.get_gid() == "isobole"]
        assert len(lines) == 5
        for line in lines:
            assert np.ptp(np.log(line.get_xdata() / line.get_ydata())) == pytest.approx(0, abs=1e-12)
        drawn = [path.vertices[0, 0] for path in lower.get_paths()]
        np.testing.assert_allclose(drawn, surface["window_lower"].dropna("interval"))
        with pytest.raises(ValueError, match="at least 2 intervals"):
            hf.plot_dose_interval(surface.isel(interval=[0]))


class TestIdentifiability:
    def test_contraction_is_one_minus_the_ratio_of_variances(self):
        fit = dosed_fit()
        found = hf.drift_identifiability(fit).sel(parameter="gain_loss_ratio")
        spread = np.std(np.log(SAME["loss_ratio"]))
        assert float(found["contraction"]) == pytest.approx(1 - spread**2)
        assert bool(found["learned"])

    def test_the_notes_say_what_is_missing(self):
        wide = {"loss_ratio": list(np.exp([-1.5, 1.5, -1.2, 1.2]))}
        notes = hf.drift_identifiability(dosed_fit(vary=wide)).attrs["notes"]
        assert "The data say little of gain loss ratio" in notes
        assert "wash-out" not in notes
        assert "wash-out" in hf.drift_identifiability(dosed_fit(kinetics=False)).attrs["notes"]

    def test_doses_around_the_peak_hide_a_potency(self):
        from test_timecourse import known_fit

        fit = known_fit([0.02, 0.02])
        fit["posterior"].attrs["priors"] = json.dumps(
            {"potency_slope": {"distribution": "Normal", "mu": 0.0, "sigma": 1.0}}
        )
        assert "flat" not in hf.drift_identifiability(fit).attrs["notes"]
        peak = hf.window(fit, benefit=0.05, time=0.0)["peak_dose"].values.mean()
        data = fit["constant_data"]
        dose, day = data["dose"].values, data["time"].values
        data["dose"].values[:] = np.where(dose > 0, peak * np.exp(-0.02 * day) * (1 + 0.005 * np.log1p(dose)), 0.0)
        assert "the doses lie where the curve is flat" in hf.drift_identifiability(fit).attrs["notes"]

    def test_a_fit_without_drift_has_nothing_to_say(self):
        fit = dosed_fit()
        fit["posterior"].attrs["mechanism"] = "{}"
        with pytest.raises(ValueError, match="knows no drift"):
            hf.drift_identifiability(fit)

    def test_single_doses_after_a_pause_are_a_wash_out(self):
        def note(plan):
            columns = {"subject": np.repeat(["a", "b", "c"], 4), "day": np.tile([0.5, 3.5, 9.5, 12.5], 3)}
            columns |= {"dose": np.repeat([0.0, 2.0, 8.0], 4), "response": np.arange(12.0)}
            trial = hf.read_trial(columns, time="day", subject="subject", scale="ratio")
            owners, doses = (np.repeat(one, len(plan)) for one in (["a", "b", "c"], [0.0, 2.0, 8.0]))
            events = {"ID": owners, "TIME": plan * 3, "AMT": doses, "EVID": [1] * doses.size}
            histories = histories_of(trial, events, OneCompartment(elimination_rate=1.0))
            return paused(histories.record(), trial)

        assert not note([float(day) for day in range(13)])
        assert note([0.0, 1, 2, 3, 9, 12])  # test doses
        assert note([0.0, 1, 2, 3])  # a pause up to the last row
        assert not note([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 30])


class TestHistory:
    def test_sensitivity_comes_back_after_a_regimen_ends(self):
        fit = dosed_fit()
        found = hf.sensitivity_over_time(
            fit, time=[0.0, 3.0, 6.0, 30.0], regimen=hf.Regimen(dose=10.0, interval=1.0, n=6)
        )["sensitivity"]
        assert found.dims == ("chain", "draw", "history", "time")
        path = found.values[0, 1, 0]
        assert path[0] == 1.0
        assert path[2] < path[1] < 1
        assert path[3] == pytest.approx(1.0, abs=1e-3)

    def test_every_history_of_the_trial_is_shown(self):
        found = hf.sensitivity_over_time(dosed_fit(), time=[0.0, 5.0])["sensitivity"]
        assert found.sizes["history"] == 5
        assert np.all(np.diff(found.isel(chain=0, draw=0, time=1).values) < 0)
