"""Doses before time 0: against differential equations, longer schedules and wash-outs, and what is refused."""

import json
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp
from test_administration import DOSES, MECHANISMS, mechanism
from test_schedules import CURVE, NUMBERS, RATE, dosed_fit

import hormesis_fit as hf
from hormesis_fit.dosing.exposure import OneCompartment, TwoCompartment
from hormesis_fit.drift.administration import held_for, repeated_for_ever, repeated_until
from hormesis_fit.drift.carryover import after_doses
from hormesis_fit.report.recipe import command_line, python_lines
from hormesis_fit.windows.history import history_of, history_table, read_history
from hormesis_fit.windows.request import request_of, when_of

DOSE = 12.0
DAILY = hf.Regimen(dose=DOSE, interval=1.0, n=5, start=-5.0)
LONG_AGO = hf.Regimen(dose=DOSE, interval=1.0, n=5, start=-400.0)
TABLE = {"TIME": [-6.0, -4.5, -4.0, -0.5], "AMT": [3.0, 8.0, 0.5, 5.0], "RATE": [0.0, 4.0, 0.0, 0.0]}
KINETICS = OneCompartment(elimination_rate=0.8)
ORAL = OneCompartment(route="oral", elimination_rate=0.8, absorption_rate=3.0)
FULL = {"TIME": [-1.0], "AMT": [60.0]}


def concentration(t):
    """Concentration of TABLE at a time, by a closed form of its own."""
    infused = 4.0 * (np.exp(-0.8 * max(t + 2.5, 0.0)) - np.exp(-0.8 * (t + 4.5))) / 0.8 if t >= -4.5 else 0.0
    boli = [(-6.0, 3.0), (-4.0, 0.5), (-0.5, 5.0)]
    return infused + sum(dose * np.exp(-0.8 * (t - time)) for time, dose in boli if t >= time)


def integrated(change, state, edges=(-6.0, -4.5, -4.0, -2.5, -0.5, 0.0)):
    for begin, end in pairwise(edges):
        state = solve_ivp(change, (begin, end - 1e-12), state, "LSODA", rtol=1e-11, atol=1e-13).y[:, -1]
    return state


def numbers_of(term):
    return {name: float(np.ravel(getattr(term, name))[0]) for name in term.parameters()}


class TestState:
    def test_turnover_is_the_differential_equation(self):
        kept, term = mechanism("ReceptorTurnover")
        one = numbers_of(term)

        def change(t, y):
            c = concentration(t) ** one["occupancy_slope"]
            bound = c / (c + one["occupancy_dose"] ** one["occupancy_slope"])
            return one["turnover_rate"] * (1 - (1 + one["loss_ratio"] * bound) * y)

        found = after_doses(repeated_until(0.0, 1.0, KINETICS, kept, term), read_history(TABLE), KINETICS)
        assert found.begun[0].shape == (1, 1)
        assert found.begun[0][0, 0] == pytest.approx(integrated(change, [1.0])[0], rel=1e-6)
        assert found.begun[0][0, 0] < 0.9
        middle = 1 / 48
        assert found.left[0, 0] == pytest.approx(concentration(middle), rel=1e-12)

    def test_moderator_is_the_differential_equation(self):
        """A nonlinear mechanism, whose steps have an error of their own."""
        kept, term = mechanism("Moderator", rate=0.7)
        one = numbers_of(term)

        def change(t, y):
            c = concentration(t) ** one["effect_slope"]
            driven = 1 + one["max_effect"] * c / (c + one["effect_dose"] ** one["effect_slope"])
            return [one["turnover_rate"] * (driven / y[1] - y[0]), one["tolerance_rate"] * (y[0] - y[1])]

        found = after_doses(repeated_until(0.0, 1.0, KINETICS, kept, term), read_history(TABLE), KINETICS)
        np.testing.assert_allclose([state[0, 0] for state in found.begun], integrated(change, [1.0, 1.0]), rtol=1e-6)

    @pytest.mark.parametrize("name", MECHANISMS)
    @pytest.mark.parametrize("kinetics", [None, KINETICS, ORAL], ids=["held", "bolus", "oral"])
    def test_every_mechanism_is_its_call_on_fine_steps(self, name, kinetics):
        kept, term = mechanism(name)
        plan = hf.Regimen(dose=4.0, interval=1.0, n=4, start=-4.0)
        lengths = np.full(4000, 1 / 1000)
        if kinetics is None:
            given, exposure = held_for(3.0, kept, term), np.full((1, 4000), 4.0)
        else:
            given = repeated_until(2.5, 1.0, kinetics, kept, term)
            times = np.cumsum(lengths) - lengths / 2
            units = [kinetics(np.maximum(at - np.arange(4.0), 0), 4.0 * (np.arange(4.0) <= at)) for at in times]
            exposure = np.array([units], dtype=float)
        found = after_doses(given, read_history(plan), kinetics)
        seen = term.seen(*found.begun)
        np.testing.assert_allclose(np.ravel(seen)[0], np.ravel(term(exposure, lengths)[..., -1])[0], rtol=2e-5)
        assert (found.left is None) == (kinetics is None)

    def test_draws_have_states_of_their_own(self):
        kept, term = mechanism("ReceptorTurnover")
        term = term.with_values({name: np.full((3, 1), value) for name, value in numbers_of(term).items()})
        rates = np.array([[0.5], [1.0], [4.0]])
        kinetics = TwoCompartment(elimination_rate=rates, distribution_rate=0.4, return_rate=0.3)
        events = read_history(TABLE)
        found = after_doses(repeated_until(2.5, 1.0, kinetics, kept, term), events, kinetics)
        assert found.left.shape == found.unit.shape
        some = found.take(np.array([2, 0]))
        for row, rate in enumerate((4.0, 0.5)):
            alone = TwoCompartment(elimination_rate=rate, distribution_rate=0.4, return_rate=0.3)
            own = after_doses(repeated_until(2.5, 1.0, alone, *mechanism("ReceptorTurnover")), events, alone)
            np.testing.assert_allclose(some.begun[0][row], own.begun[0][0], rtol=1e-6)
            np.testing.assert_allclose(some.left[row], own.left[0], rtol=1e-12)
            np.testing.assert_allclose(some.highest(DOSES)[row], own.highest(DOSES)[0], rtol=1e-12)

    @pytest.mark.parametrize("kinetics", [None, KINETICS])
    def test_doses_for_ever_begin_where_they_come_back(self, kinetics):
        kept, term = mechanism("ReceptorTurnover")
        events = read_history({"TIME": [-300.0, -2.0], "AMT": [50.0, 4.0], "SS": [0, 1], "II": [0, 1]})
        many = read_history(hf.Regimen(dose=4.0, interval=1.0, n=60, start=-61.0))
        given = held_for(1.0, kept, term) if kinetics is None else repeated_until(0.5, 1.0, kinetics, kept, term)
        found, expected = (after_doses(given, one, kinetics) for one in (events, many))
        np.testing.assert_allclose(found.begun[0], expected.begun[0], rtol=1e-4)
        if kinetics is None:
            assert found.begun[0][0, 0] == pytest.approx(term.steady_state(4.0)[0, 0], rel=1e-9)
        else:
            np.testing.assert_allclose(found.left, expected.left, rtol=1e-12)

    def test_infusions_may_run_beyond_time_0(self):
        events = read_history({"TIME": [-1.0], "AMT": [6.0], "RATE": [2.0]})
        found = after_doses(repeated_until(4.0, None, KINETICS, None, None), events, KINETICS)
        expected = 2.0 * (np.exp(-0.8 * 2.0) - np.exp(-0.8 * 5.0)) / 0.8
        assert found.left[0, -1] == pytest.approx(expected, rel=1e-12)
        assert found.begun == ()


class TestWindow:
    @pytest.mark.parametrize("kinetics", [True, False])
    def test_a_long_wash_out_leaves_nothing(self, kinetics):
        fit = dosed_fit(kinetics=kinetics)
        without = hf.window(fit, benefit=0.1, time=3.5)
        # Without pharmacokinetics a dose is held until the next one: that of 0 is the wash-out.
        stopped = {"TIME": [-400.0, -395.0], "AMT": [DOSE, 0.0], "EVID": [1, 1]}
        found = hf.window(fit, benefit=0.1, time=3.5, history=LONG_AGO if kinetics else stopped)
        for name in ("window_lower", "window_upper", "peak_dose", "peak_response", "probability", "expected_utility"):
            np.testing.assert_allclose(found[name], without[name], rtol=1e-6, err_msg=name)

    def test_a_schedule_that_goes_on_is_one_that_began_earlier(self):
        fit = dosed_fit()
        asked = {"benefit": 0.1, "interval": 1.0, "doses": [DOSE]}
        found, whole = hf.window(fit, time=2.5, history=DAILY, **asked), hf.window(fit, time=7.5, **asked)
        assert found["probability"].item() == whole["probability"].item() == 0.5
        moved = hf.predict(fit, time=2.5, interval=1.0, doses=[DOSE], history=DAILY)
        np.testing.assert_allclose(
            moved, hf.predict(fit, time=7.5, interval=1.0, doses=[DOSE]), rtol=2e-4, err_msg="mean response"
        )
        np.testing.assert_allclose(
            fine_mean(2), moved.values[0, 1, 0], rtol=2e-4, err_msg="an equation solved by a stranger"
        )

    def test_somebody_just_off_a_high_dose_is_less_sensitive(self):
        fit = dosed_fit(kinetics=False)
        asked = {"benefit": 0.05, "time": 0.5}
        rested, tired = hf.window(fit, **asked), hf.window(fit, history=FULL, **asked)
        assert np.all(tired["window_lower"] > rested["window_lower"])
        assert np.all(tired["peak_stimulation"] < rested["peak_stimulation"])
        assert np.all(hf.predict(fit, doses=[3.0], time=0.5, history=FULL) < hf.predict(fit, doses=[3.0], time=0.5))

    def test_a_holiday_brings_the_sensitivity_back(self):
        fit = dosed_fit()
        plans = [hf.Regimen(dose=20.0, interval=1.0, n=10, start=-10.0 - pause) for pause in (8.0, 12.0, 40.0)]
        peaks = [hf.window(fit, benefit=0.05, time=0.5, history=plan)["peak_stimulation"].values for plan in plans]
        assert np.all(np.diff(peaks, axis=0) > 0)

    def test_what_is_left_counts_against_a_control_that_never_had_a_dose(self):
        fit = dosed_fit()
        one = {"TIME": [-1.0], "AMT": [8.0]}
        found = hf.window(fit, benefit=0.05, time=0.5, history=one)
        np.testing.assert_allclose(found["peak_response"], CURVE.control * (1 + found["peak_stimulation"]), rtol=1e-12)
        stopped = hf.predict(fit, doses=[0.0], time=0.5, history=one)
        assert np.all(np.abs(stopped - CURVE.control) > 1)

    def test_harms_count_what_is_left(self):
        fit = dosed_fit()
        asked = {"benefit": 0.01, "time": 0.5, "interval": 1.0, "harm": hf.Harm(occupancy=10.0, limit=0.5)}
        free, tight = hf.window(fit, **asked), hf.window(fit, history={"TIME": [-0.5], "AMT": [4.0]}, **asked)
        at = np.exp(-RATE / 48)
        np.testing.assert_allclose(free["window_upper"] * at, 10.0, rtol=1e-3)
        np.testing.assert_allclose(tight["window_upper"] * at + 4.0 * np.exp(-0.5 * RATE) * at, 10.0, rtol=1e-3)
        loss = {"benefit": 0.01, "time": 0.5, "harm": hf.Harm(receptor_loss=True, limit=0.5)}
        one = {"TIME": [-1.0], "AMT": [3.0]}
        assert np.all(hf.window(fit, history=one, **loss)["window_upper"] < hf.window(fit, **loss)["window_upper"])

    def test_over_time(self):
        fit = dosed_fit()
        asked = {"benefit": 0.05, "times": [0.5, 4.0, 60.0]}
        with_doses, without = hf.window_over_time(fit, history=DAILY, **asked), hf.window_over_time(fit, **asked)
        alone = hf.window(fit, benefit=0.05, time=0.5, history=DAILY)
        assert float(with_doses["best_dose"][0]) == float(alone["best_dose"])
        assert float(with_doses["best_dose"][0]) != float(without["best_dose"][0])
        assert float(with_doses["best_dose"][2]) == pytest.approx(float(without["best_dose"][2]), rel=1e-6)
        assert with_doses.attrs["history"] == alone.attrs["history"]


def fine_mean(day):
    """Mean response of one day of daily doses since day -5, for the second draw, by small steps of its own."""
    steps, state, total = 400, 1.0, 0.0
    for k in range((5 + day + 1) * steps):
        since = (k + 0.5) / steps
        exposure = sum(DOSE * np.exp(-RATE * (since - given)) for given in range(5 + day + 1) if given <= since)
        loss = NUMBERS["turnover_rate"] * (
            1 + NUMBERS["loss_ratio"] * exposure / (exposure + NUMBERS["occupancy_dose"])
        )
        limit = NUMBERS["turnover_rate"] / loss
        after = limit + (state - limit) * np.exp(-loss / steps)
        if since > 5 + day:
            total += float(CURVE.drifted(exposure, gain=np.log((state + after) / 2)))
        state = after
    return total / steps


BARE = dosed_fit()
BARE["posterior"].attrs["mechanism"] = "{}"
REFUSED = {
    "steady state": ({"interval": 1.0, "history": DAILY}, "forgotten at steady state"),
    "later doses": ({"history": hf.Regimen(dose=1.0, interval=1.0, n=3, start=-1.0)}, "before time 0 .* at time 1:"),
    "a dose at time 0": ({"history": {"TIME": [0.0], "AMT": [1.0]}}, "before time 0 .* at time 0:"),
    "two people": ({"history": {"ID": ["a", "b"], "TIME": [-2, -1], "AMT": [1, 1]}}, 'one person .* "a", "b"'),
    "regimens of two": ({"history": {"a": DAILY, "b": DAILY}}, 'one person .* "a", "b"'),
    "no dose": ({"history": hf.Regimen(dose=None, interval=1.0, n=1, start=-1.0)}, "Expected a dose"),
    "no column": ({"history": {"TIM": [-1.0], "AMT": [1.0]}}, "There is no column TIME"),
    "no events": ({"history": xr.Dataset({"time": ("event", [-1.0])})}, 'without "subject", "amount"'),
    "too many": ({"history": hf.Regimen(dose=1.0, interval=1e-5, n=10_001, start=-5.0)}, "from 1 to 10000 doses"),
    "negative": ({"history": DAILY.events().assign(amount=("event", [-1.0] * 5))}, "finite numbers of 0 or more"),
    "no file": ({"history": "no-such.csv"}, "There is no file"),
}


class TestRefused:
    @pytest.mark.parametrize(("asked", "message"), REFUSED.values(), ids=REFUSED)
    def test_a_senseless_history_is_refused_in_one_sentence(self, asked, message):
        with pytest.raises((ValueError, OSError), match=message) as refused:
            hf.window(dosed_fit(), **asked)
        assert "\n" not in str(refused.value)
        assert str(refused.value).endswith(".")

    def test_a_fit_that_remembers_no_dose(self):
        from test_timecourse import known_fit

        for fit in (known_fit([0.02]), dosed_fit(kinetics=False)):
            if "regimen" in fit:
                fit["posterior"].attrs["mechanism"] = "{}"
            with pytest.raises(ValueError, match="Nothing in the fit remembers the doses of history="):
                hf.window(fit, time=1.0, history=DAILY)
        assert "history" in hf.window(BARE, time=1.0, history=DAILY).attrs  # pharmacokinetics alone remember

    def test_surfaces_at_steady_state_have_no_history(self):
        with pytest.raises(ValueError, match="forgotten at steady state"):
            hf.dose_interval(dosed_fit(), intervals=[1.0], history=DAILY)


class TestRequest:
    def test_a_window_asks_the_same_again(self):
        fit = dosed_fit()
        table = TABLE | {"SS": [1, 0, 0, 0], "II": [1.0, 0, 0, 0], "ID": ["Anna"] * 4}
        window = hf.window(fit, benefit=0.05, time=2.0, history=table)
        assert "Anna" not in json.dumps(window.attrs["history"])
        again = hf.window(fit, **request_of(window))
        xr.testing.assert_identical(again, window)
        assert set(when_of(window)) == {"time", "interval", "history"}
        assert when_of(hf.window(fit, time=2.0)) == {"time": 2.0, "interval": 1.0}
        xr.testing.assert_identical(read_history(history_table(history_of(window))), history_of(window))
        stopped = read_history({"TIME": [-3.0, -1.0], "AMT": [5.0, 0.0], "EVID": [1, 1]})
        xr.testing.assert_identical(read_history(history_table(stopped)), stopped)

    def test_a_path_and_events_are_the_table(self, tmp_path):
        path = tmp_path / "doses.csv"
        path.write_text("TIME,AMT,RATE\n" + "\n".join(map("{},{},{}".format, *TABLE.values())))
        for given in (path, str(path), hf.read_regimen(TABLE)):
            xr.testing.assert_identical(read_history(given), read_history(TABLE))

    def test_figures_recipes_and_the_next_rows_know_it(self):
        fit = dosed_fit()
        fit.attrs |= {"curves": "BrainCousens", "drift": "ReceptorTurnover of gain"}
        fit["evidence"] = fit["evidence"].to_dataset().assign_attrs(prior_hormesis=0.5)
        fit["window"] = hf.window(fit, benefit=0.05, time=2.0, interval=2.0, history=DAILY)
        window = fit["window"].to_dataset()
        assert "history={'TIME': [-5.0, -4.0, -3.0, -2.0, -1.0], 'AMT': [12.0" in python_lines(fit, window)
        assert "--history ..." in command_line(fit, window)
        assert hf.plot_window(fit, width="single").axes
        planned = hf.next_doses(fit, n=4)
        for name in ("time", "interval", "history"):
            assert planned.attrs[name] == window.attrs[name]
        assert hf.next_doses(fit, n=4, time=3.0).attrs["time"] == 3.0
        fit["window"] = hf.window(fit, benefit=0.05, interval=2.0)
        steady = hf.next_doses(fit, n=4)
        assert "time" not in steady.attrs
        assert steady.attrs["interval"] == 2.0

    def test_period_means_are_those_of_a_period_for_ever(self):
        """A history at the steady state of the schedule that goes on."""
        fit = dosed_fit()
        before = {"TIME": [-1.0], "AMT": [DOSE], "SS": [1], "II": [1.0]}
        found = hf.predict(fit, doses=[DOSE], time=0.5, interval=1.0, history=before)
        np.testing.assert_allclose(found, hf.predict(fit, doses=[DOSE], interval=1.0), rtol=1e-4)
        assert repeated_for_ever(1.0, KINETICS, None, None).afresh().begun == ()
