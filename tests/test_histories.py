"""What every row has been exposed to: histories, the graph of a mechanism against NumPy, units, bad input."""

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from scipy.integrate import solve_ivp

import hormesis_fit as hf
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.courses import Mechanism, find_drifts, mechanism_from, mechanism_of, mechanism_record
from hormesis_fit.drift.histories import histories_at, histories_from, histories_of
from hormesis_fit.drift.relaxation import relaxation
from hormesis_fit.model.building import build_model
from hormesis_fit.model.density import INTERPRETED

MECHANISMS = [name for name, drift in DRIFTS.items() if drift.kind != "process"]
TIMES = (0.5, 1.0, 2.0, 3.5, 5.0, 7.0)
PLAN = hf.Regimen(dose=None, interval=1.0, n=4)
KINETICS = hf.OneCompartment(elimination_rate=0.9)


def dosed_trial(doses=(0.0, 1.0, 4.0, 12.0, 40.0), times=TIMES, **changes):
    rows = [(f"s{dose:g}", time, dose) for dose in doses for time in times]
    subject, time, dose = zip(*rows, strict=True)
    rng = np.random.default_rng(5)
    response = 100 + 10 * np.log1p(np.array(dose)) + rng.normal(size=len(dose))
    columns = {"subject": subject, "day": time, "dose": dose, "response": response} | changes
    return hf.read_trial(columns, time="day", subject="subject", time_unit="d", scale="ratio")


class TestHistories:
    def test_without_a_regimen_every_row_is_held_at_its_dose(self):
        trial = dosed_trial()
        found = histories_of(trial)
        np.testing.assert_array_equal(found.at_rows(), trial["dose"].values)
        assert found.over_steps().shape == (5, len(TIMES))
        np.testing.assert_allclose(found.edges, [0.0, *TIMES])

    def test_without_kinetics_the_last_dose_counts(self):
        table = {"ID": ["a", "a", "a"], "TIME": [0.0, 2.0, 4.0], "AMT": [5.0, 8.0, 0.0], "EVID": [1, 1, 1]}
        columns = {"subject": ["a"] * 5, "day": [0.0, 1.0, 2.0, 3.0, 5.0], "dose": [5.0, 5, 8, 8, 0]}
        trial = hf.read_trial(columns | {"response": [1.0, 2, 3, 4, 5]}, time="day", subject="subject", scale="ratio")
        found = histories_of(trial, table)
        np.testing.assert_array_equal(found.at_rows(), [5.0, 5.0, 8.0, 8.0, 0.0])

    def test_exposures_are_superpositions(self):
        trial = dosed_trial()
        found = histories_of(trial, PLAN, KINETICS)
        times, dose = trial["time"].values, trial["dose"].values
        expected = sum(dose * np.exp(-0.9 * (times - day)) * (times >= day) for day in range(4))
        np.testing.assert_allclose(found.at_rows(), expected, rtol=1e-12)

    def test_a_regimen_of_each_subject(self):
        trial = dosed_trial()
        plans = {f"s{dose:g}": hf.Regimen(dose=dose, interval=1.0, n=4) for dose in (0.0, 1.0, 4.0, 12.0, 40.0)}
        own, common = histories_of(trial, plans, KINETICS), histories_of(trial, PLAN, KINETICS)
        np.testing.assert_allclose(own.at_rows(), common.at_rows(), rtol=1e-14)
        np.testing.assert_allclose(own.over_steps(), common.over_steps(), rtol=1e-14)

    def test_doses_after_the_last_row_change_nothing(self):
        trial = dosed_trial()
        long, short = (histories_of(trial, hf.Regimen(dose=None, interval=1.0, n=n), KINETICS) for n in (40, 8))
        np.testing.assert_array_equal(long.edges, short.edges)
        np.testing.assert_allclose(long.at_rows(), short.at_rows(), rtol=1e-14)

    def test_a_record_gives_the_same_histories(self):
        trial = dosed_trial()
        found = histories_of(trial, PLAN, KINETICS)
        again = histories_from(found.record(), trial)
        np.testing.assert_array_equal(found.over_steps(), again.over_steps())
        np.testing.assert_array_equal(found.at_rows(), again.at_rows())
        np.testing.assert_array_equal(found.row_edge, again.row_edge)
        later = histories_at(found.record(), np.array([0.5, 7.0]))
        rows = np.isin(trial["time"].values, [0.5, 7.0])
        np.testing.assert_allclose(later.at_rows(), found.at_rows()[rows], rtol=1e-12)

    def test_doses_before_time_0_move_the_start(self):
        trial = dosed_trial()
        early = hf.Regimen(dose=None, interval=1.0, n=4, start=-2.0)
        moved, usual = histories_of(trial, early, KINETICS), dosed_trial(day=np.tile(TIMES, 5) + 2.0)
        expected = histories_of(usual, PLAN, KINETICS)
        assert moved.start == -2.0
        np.testing.assert_allclose(moved.at_rows(), expected.at_rows(), rtol=1e-12)
        again = histories_from(moved.record(), trial)
        np.testing.assert_array_equal(again.at_rows(), moved.at_rows())
        np.testing.assert_array_equal(again.row_edge, moved.row_edge)

    def test_units_of_time_and_dose_go_through(self):
        term = hf.DRIFTS["ReceptorTurnover"](turnover_rate=0.3, loss_ratio=2.0, occupancy_dose=3.0, occupancy_slope=1.2)
        days = histories_of(dosed_trial(), PLAN, KINETICS)
        hours = histories_of(
            dosed_trial(day=np.tile(TIMES, 5) * 24, dose=np.repeat([0, 1, 4, 12, 40], 6) * 1000.0),
            hf.Regimen(dose=None, interval=24.0, n=4),
            hf.OneCompartment(elimination_rate=0.9 / 24),
        )
        other = hf.DRIFTS["ReceptorTurnover"](
            turnover_rate=0.3 / 24, loss_ratio=2.0, occupancy_dose=3000.0, occupancy_slope=1.2
        )
        np.testing.assert_allclose(
            term(days.over_steps(), days.lengths), other(hours.over_steps(), hours.lengths), rtol=1e-10
        )
        np.testing.assert_allclose(1000 * days.at_rows(), hours.at_rows(), rtol=1e-12)

    def test_steps_of_a_study_follow_the_differential_equation(self):
        trial = dosed_trial()
        found = histories_of(trial, PLAN, KINETICS)
        term = hf.DRIFTS["ReceptorTurnover"](turnover_rate=0.5, loss_ratio=3.0, occupancy_dose=3.0, occupancy_slope=1.0)
        path = term(found.over_steps(), found.lengths)
        exact, state = {}, 1.0
        for begin, end in zip([0.0, 0.5, 1, 2, 3, 3.5, 5], [0.5, 1.0, 2, 3, 3.5, 5, 7], strict=True):

            def change(t, y, begin=begin):
                c = sum(12.0 * np.exp(-0.9 * (t - day)) for day in range(4) if day <= begin)
                return [0.5 * (1 - (1 + 3 * c / (c + 3)) * y[0])]

            state = solve_ivp(change, (begin, end), [state], rtol=1e-11, atol=1e-13).y[0, -1]
            exact[end] = state
        mine = trial["dose"].values == 12.0
        seen = path[found.row_history[mine], found.row_edge[mine] - 1]
        np.testing.assert_allclose(seen, [exact[time] for time in TIMES], rtol=2e-5)


class TestRelaxation:
    def test_the_gradient_is_a_finite_difference(self):
        rng = np.random.default_rng(2)
        decay, target, start = rng.uniform(0.1, 1, (2, 5)), rng.normal(size=(2, 5)), rng.normal(size=(2, 1))
        inputs = [pt.matrix() for _ in range(3)]
        weight = rng.normal(size=(2, 5))
        total = (weight * relaxation(*inputs)).sum()
        function = pytensor.function(inputs, [total, *pytensor.grad(total, inputs)], mode=INTERPRETED)
        _, *gradients = function(decay, target, start)
        for place, gradient in enumerate(gradients):
            for index in np.ndindex(gradient.shape):
                ends = []
                for step in (1e-6, -1e-6):
                    moved = [decay.copy(), target.copy(), start.copy()]
                    moved[place][index] += step
                    ends.append(function(*moved)[0])
                assert gradient[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-8)


class TestModel:
    @pytest.mark.parametrize("name", MECHANISMS)
    def test_the_graph_is_the_formula(self, name):
        trial = dosed_trial()
        model = build_model(trial, curve="BrainCousens", drift=name, regimen=PLAN, kinetics=KINETICS, vary={})
        [mean] = model["response"].owner.inputs[2:3]
        drawn = pm.draw(model.free_RVs, random_seed=4, mode=INTERPRETED)
        values = {one.name: np.asarray(value) for one, value in zip(model.free_RVs, drawn, strict=True)}
        found = mean.eval(
            {model[key]: value for key, value in values.items()}, mode=INTERPRETED, on_unused_input="ignore"
        )
        mechanism = mechanism_of(name)
        histories = histories_of(trial, PLAN, KINETICS)
        term = mechanism.with_values(values)
        path = term(histories.over_steps(), histories.lengths)
        seen = path[histories.row_history, histories.row_edge - 1]
        exposure, shifts = mechanism.applied(term, histories.at_rows(), seen, {})
        template = hf.CURVES["BrainCousens"](scale="ratio")
        curve = template.with_values({one: values[one] for one in template.parameters()})
        np.testing.assert_allclose(found, curve.drifted(exposure, **shifts), rtol=1e-7)

    def test_kinetics_that_are_estimated_are_in_the_graph(self):
        trial = dosed_trial()
        model = build_model(trial, drift="ReceptorTurnover", regimen=PLAN, kinetics="OneCompartment", vary={})
        assert "elimination_rate" in {one.name for one in model.free_RVs}
        point = model.initial_point()
        gradient = model.compile_dlogp(mode=INTERPRETED)(point)
        assert np.all(np.isfinite(gradient))


class TestWords:
    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"drift": {"potency": "ReceptorTurnover"}}, "ReceptorTurnover changes the gain and not the potency"),
            ({"drift": {"gain": "ReceptorTurnover", "baseline": "Moderator"}}, "One mechanism at a time"),
            ({"drift": {"exposure": "RandomWalk"}}, "RandomWalk changes the potency and not the exposure"),
            ({"drift": "Turnover"}, "Turnover"),
            ({"kinetics": "OneCompartment"}, "give regimen="),
            ({"kinetics": "ThreeCompartment", "regimen": PLAN}, "pharmacokinetic model"),
            ({"kinetics": 3, "regimen": PLAN}, "Expected kinetics="),
            ({"regimen": hf.Regimen(dose=7.0, interval=1.0, n=3)}, "the trial has rows of dose 1"),
            ({"regimen": {"s0": PLAN}}, "needs|own"),
            ({"regimen": {"s1": hf.Regimen(dose=1.0, interval=1.0, n=3)}}, "has observations but no dose event"),
            ({"regimen": {"TIME": [0.0], "AMT": [-1.0]}}, "AMT|amount|dose"),
            ({"vary": {"gain_turnover_rate": "subject"}}, "common to all subjects"),
        ],
    )
    def test_bad_input_is_one_sentence(self, asked, words):
        given = {"drift": "ReceptorTurnover", "vary": {}} | asked
        with pytest.raises((ValueError, TypeError), match=words) as caught:
            build_model(dosed_trial(), **given)
        assert "\n" not in str(caught.value)

    def test_a_mechanism_needs_times(self):
        trial = hf.load_dataset("lettuce")
        with pytest.raises(ValueError, match="need the times of the rows"):
            build_model(trial, drift="ReceptorTurnover")

    def test_an_interval_needs_kinetics(self):
        assert find_drifts("ReceptorTurnover").keys() == {"gain"}
        record = mechanism_record(Mechanism("gain", hf.DRIFTS["ReceptorTurnover"](turnover_rate=0.2)))
        again = mechanism_from(record)
        assert "turnover_rate" not in again.term.priors()
        assert again.term.turnover_rate == 0.2
        assert mechanism_from({}) is None
        assert pd.Series(again.priors()).size == 3
