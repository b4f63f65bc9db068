"""Doses given again and again: against differential equations, closed forms and the published schedule example."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import solve_ivp

from hormesis_fit.curves import BrainCousens
from hormesis_fit.dosing.exposure import OneCompartment, TwoCompartment, mean_hill
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.administration import held_for, repeated_for_ever, repeated_until
from hormesis_fit.drift.courses import NATURAL, Mechanism
from hormesis_fit.windows.posterior import Member
from hormesis_fit.windows.quantities import solve

MECHANISMS = {name: drift for name, drift in DRIFTS.items() if drift.kind != "process"}
NUMBERS = {
    "loss_ratio": 2.0,
    "max_inhibition": 0.6,
    "max_effect": 1.5,
    "synthesis_gain": 0.8,
    "dose_ratio": 0.1,
    "feedback_slope": 1.5,
    "max_release": 5.0,
    "max_secretion": 4.0,
}
KINETICS = OneCompartment(elimination_rate=0.8, volume=1.0)
CURVE = BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=30.0, slope_excess=1.5)
DOSES = np.array([[0.0, 0.5, 3.0, 20.0]])


def mechanism(name, rate=0.3):
    template = MECHANISMS[name]()
    known = template.parameters()
    values = {one: NUMBERS.get(one, rate if unit.unit == "1 / time" else 2.0) for one, unit in known.items()}
    term = template.with_values({one: np.full((1, 1), value) for one, value in values.items()})
    return Mechanism(NATURAL[template.acts_on], template), term


def identity(exposure, shifts):
    """Show what the mechanism does: the factor on the effect, or the exposure that is left."""
    return exposure + 0.0 * sum(np.sum(np.asarray(value)) for value in shifts.values())


def seen_of(given, dose):
    return [np.broadcast_to(seen, np.shape(exposure)) for exposure, seen, _ in given.course(dose)]


@pytest.mark.parametrize("name", MECHANISMS)
class TestMechanisms:
    def test_steps_one_by_one_are_the_whole_call(self, name):
        _, term = mechanism(name)
        rng = np.random.default_rng(3)
        exposure, lengths = rng.lognormal(0, 1, (2, 9)), rng.uniform(0.1, 2, 9)
        states = [np.full((2, 1), state) for state in term.resting]
        found = []
        for k in range(9):
            states = term.step(states, exposure[:, k : k + 1], lengths[k])
            found.append(term.seen(*states))
        np.testing.assert_allclose(np.concatenate(found, axis=1), term(exposure, lengths), rtol=1e-11)

    def test_no_drug_changes_nothing(self, name):
        for given in (
            held_for(5.0, *mechanism(name)),
            repeated_until(5.2, 1.0, KINETICS, *mechanism(name)),
            repeated_for_ever(1.0, KINETICS, *mechanism(name)),
        ):
            for seen in seen_of(given, np.zeros((1, 1))):
                np.testing.assert_allclose(seen, 1.0, rtol=1e-9)

    def test_a_period_for_ever_is_what_many_periods_come_to(self, name):
        if name == "GonadalAxis":
            pytest.skip("comes back to where it began over hundreds of periods")
        for_ever = repeated_for_ever(1.0, KINETICS, *mechanism(name))
        many = repeated_until(79.5, 1.0, KINETICS, *mechanism(name))
        last, first = seen_of(for_ever, DOSES), seen_of(many, DOSES)
        np.testing.assert_allclose(np.mean(last, axis=0), np.mean(first, axis=0), rtol=3e-3)

    def test_an_exposure_that_is_held_is_the_call_with_one_exposure(self, name):
        _, term = mechanism(name)
        [seen] = seen_of(held_for(3.0, *mechanism(name)), DOSES)
        steps = 400
        path = term(np.repeat(DOSES.T, steps, axis=1), np.full(steps, 3.0 / steps))
        np.testing.assert_allclose(seen[0], path[:, -1], rtol=1e-6)


class TestExposure:
    def test_the_schedule_example(self):
        """Best mean effect at steady state for the intervals of science.md 2.3, and the daily doses that give it."""
        half = np.log(2) / 30
        kinetics = OneCompartment(elimination_rate=half, volume=1.0)
        k1, k2 = 10.0, 90.0
        doses = np.geomspace(0.1, 2000, 4001)[None, :]
        best, daily = [], []
        for interval in (1.0, 24.0, 48.0, 96.0, 168.0):
            given = repeated_for_ever(interval, kinetics, None, None)
            values = given.mean(lambda c, _: c / (k1 + c + c**2 / k2), {}, doses)[0]
            best.append(values.max())
            daily.append(doses[0, values.argmax()] * 24 / interval)
        np.testing.assert_allclose(best, [0.6000, 0.5969, 0.5880, 0.5548, 0.4816], atol=2e-4)
        np.testing.assert_allclose(daily, [16.7, 16.8, 17.5, 20.3, 29.2], rtol=0.01)

    @pytest.mark.parametrize("rate", [0.1, 1.0, 4.0])
    def test_mean_occupancy_is_its_closed_form(self, rate):
        given = repeated_for_ever(1.0, OneCompartment(elimination_rate=rate, volume=1.0), None, None)
        found = given.mean(lambda c, _: c**1.5 / (c**1.5 + 2.0**1.5), {}, np.array([[3.0]]))
        peak = 3.0 / -np.expm1(-rate)
        assert found[0, 0] == pytest.approx(float(mean_hill(peak, rate, 1.0, 2.0, 1.5)), abs=2e-3 * rate**2 / 16 + 1e-5)

    def test_ever_shorter_intervals_are_an_infusion(self):
        constant = 5.0 / 0.8  # dose per time over rate of elimination
        kept, term = mechanism("ReceptorTurnover")
        given = repeated_for_ever(0.01, KINETICS, kept, term)
        seen = seen_of(given, np.array([[0.05]]))
        np.testing.assert_allclose(seen, term.steady_state(constant) * np.ones_like(seen), rtol=1e-4)

    def test_one_dose_is_seen_at_its_time(self):
        given = repeated_until(2.0, None, KINETICS, None, None)
        assert given.mean(identity, {}, np.array([[3.0]]))[0, 0] == pytest.approx(3 * np.exp(-1.6), rel=1e-12)

    def test_draws_of_two_compartments(self):
        rates = {"elimination_rate": np.array([[0.5], [1.0]]), "distribution_rate": 0.4, "return_rate": 0.3}
        given = repeated_until(4.5, 1.0, TwoCompartment(**rates, volume=1.0), None, None)
        for row, rate in enumerate((0.5, 1.0)):
            alone = repeated_until(
                4.5, 1.0, TwoCompartment(**(rates | {"elimination_rate": rate}), volume=1.0), None, None
            )
            np.testing.assert_allclose(given.unit[row], alone.unit[0], rtol=1e-12)

    def test_the_highest_exposure_is_just_after_a_dose(self):
        given = repeated_for_ever(1.0, KINETICS, None, None)
        assert given.highest(np.array([[2.0]]))[0, 0] == pytest.approx(2 / -np.expm1(-0.8), rel=0.02)


class TestReceptors:
    def test_mean_response_of_a_day_is_the_differential_equation(self):
        """Bolus doses every day, receptor turnover and a curve, against LSODA over five days."""
        kept, term = mechanism("ReceptorTurnover")
        number = {name: float(getattr(term, name)[0, 0]) for name in term.parameters()}

        def concentration(t):
            return sum(4.0 * np.exp(-0.8 * (t - day)) for day in range(5) if t >= day)

        def occupied(t):
            c = concentration(t) ** number["occupancy_slope"]
            return c / (c + number["occupancy_dose"] ** number["occupancy_slope"])

        def change(t, y):
            loss = 1 + number["loss_ratio"] * occupied(t)
            return [number["turnover_rate"] * (1 - loss * y[0]), concentration(t) * y[0]]

        state = np.array([1.0, 0.0])
        for day in range(5):
            begun = state[1]
            state = solve_ivp(change, (day, day + 1 - 1e-9), state, rtol=1e-10, atol=1e-12).y[:, -1]
        expected = state[1] - begun
        given = repeated_until(4.5, 1.0, KINETICS, kept, term)
        found = given.mean(lambda c, shifts: c * np.exp(shifts["gain"]), {}, np.array([[4.0]]))
        assert found[0, 0] == pytest.approx(expected, rel=1e-3)

    def test_windows_of_a_regimen_are_brute_force(self):
        """Edges of every draw against a fine grid of doses."""
        kept, term = mechanism("ReceptorTurnover")
        same = {name: np.full((3, 1), getattr(term, name)[0, 0]) for name in term.parameters()}
        own = term.with_values(same | {"loss_ratio": np.array([[0.5], [1.0], [2.0]])})
        values = {name: np.full((3, 1), getattr(CURVE, name)) for name in CURVE.parameters()}
        draws = xr.Dataset({"sigma": ("sample", np.ones(3))}, attrs={"family": "gaussian"})
        member = Member("BrainCousens", CURVE.with_values(values), draws, (1, 3), 1.0)
        member = replace(member, dosed=repeated_for_ever(1.0, KINETICS, kept, own))
        trial = xr.Dataset({"dose": ("observation", [0.0, 1.0, 4.0, 12.0, 40.0])})
        found = solve(member, np.full(3, 5.0), trial)
        grid = np.geomspace(0.05, 120, 20001)
        inside = member.gain(grid[None, :]) >= 5.0
        for row in range(3):
            assert inside[row].any()
            assert found["window_lower"][row] == pytest.approx(grid[inside[row]].min(), rel=1e-3)
            assert found["window_upper"][row] == pytest.approx(grid[inside[row]].max(), rel=1e-3)
        assert np.all(np.diff(found["peak_stimulation"]) < 0)
