"""Measured concentrations: what is read, whose they are, and that they tell the kinetics."""

import numpy as np
import pandas as pd
import pytest

import hormesis_fit as hf
from hormesis_fit.dosing.concentrations import read_concentrations
from hormesis_fit.drift.histories import assay_from, histories_from, histories_of
from hormesis_fit.model.building import build_model
from hormesis_fit.model.density import Density
from hormesis_fit.model.specification import specify

RATE, VOLUME, ERROR = 0.4, 5.0, 0.1
PLAN = hf.Regimen(dose=None, interval=1.0, n=3)
CURVE = hf.CURVES["BrainCousens"](control=100.0, peak_stimulation=0.5, half_effect_dose=30.0, slope_excess=1.5)
DAYS = np.array([0.5, 1.5, 2.5, 4.0])
SAMPLED = np.array([0.25, 0.75, 2.25, 3.5, 5.0, 7.0])


def amount(dose, time):
    """The amount in the body by the exponentials themselves."""
    return sum(dose * np.exp(-RATE * (time - day)) * (time >= day) for day in range(3))


def study(seed=1):
    """Return a trial of dose groups and the concentrations of three of them."""
    rng = np.random.default_rng(seed)
    dose, day = np.repeat([0.0, 1.0, 3.0, 8.0, 20.0], 8), np.tile(np.repeat(DAYS, 2), 5)
    response = CURVE(amount(dose, day)) + 10 * rng.normal(size=dose.size)
    trial = hf.read_trial({"dose": dose, "day": day, "response": response}, time="day", scale="ratio")
    group, time = np.repeat([1.0, 8.0, 20.0], SAMPLED.size), np.tile(SAMPLED, 3)
    level = amount(group, time) / VOLUME * np.exp(ERROR * rng.normal(size=group.size))
    return trial, pd.DataFrame({"DOSE": group, "TIME": time, "DV": level})


class TestReading:
    def test_one_table_may_hold_doses_and_concentrations(self):
        table = {"ID": [1, 1, 1, 2], "TIME": [0, 0.5, 2, 1], "AMT": [5, 0, 0, 0], "EVID": [1, 0, 0, 0]}
        found = read_concentrations(table | {"DV": [None, 3.1, None, 0.7]})
        assert found["subject"].values.tolist() == ["1", "2"]
        assert found["concentration"].values.tolist() == [3.1, 0.7]
        assert found["row"].values.tolist() == [2, 4]

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"DV": [1.0, 0.0]}, 'above zero in row 2 of column "DV", got 0'),
            ({"DV": [1.0, -2.0]}, "above zero in row 2"),
            ({"DV": [None, None]}, "Found no concentration"),
            ({"DV": ["low", 2.0]}, 'the text "low"'),
            ({"TIME": [1.0, None]}, 'a time in row 2 of column "TIME"'),
            ({"EVID": [1, 1]}, "Found no concentration"),
            ({"ID": ["a", None]}, 'a subject in row 2 of column "ID", got a blank'),
        ],
    )
    def test_bad_tables_are_refused_in_one_sentence(self, changed, words):
        with pytest.raises(ValueError, match=words) as refused:
            read_concentrations({"ID": ["a", "a"], "TIME": [1.0, 2.0], "DV": [3.0, 1.0]} | changed)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("missing", ["TIME", "DV"])
    def test_missing_columns(self, missing):
        whole = {"TIME": [1.0, 2.0], "DV": [3.0, 1.0]}
        with pytest.raises(ValueError, match=f"There is no column {missing}"):
            read_concentrations({name: column for name, column in whole.items() if name != missing})


class TestHistories:
    def test_exposures_of_samples_are_superpositions(self):
        trial, table = study()
        found = histories_of(trial, PLAN, "OneCompartment", table)
        expected = amount(table["DOSE"].values, table["TIME"].values)
        np.testing.assert_allclose(found.at_samples({"elimination_rate": RATE}), expected, rtol=1e-12)

    def test_blood_is_drawn_from_the_plasma(self):
        trial, table = study()
        found = histories_of(trial, PLAN, hf.OneCompartment(site="effect"), table)
        values = {"elimination_rate": RATE, "equilibration_rate": 0.7}
        expected = amount(table["DOSE"].values, table["TIME"].values)
        np.testing.assert_allclose(found.at_samples(values), expected, rtol=1e-12)
        assert found.at_rows(values).max() < amount(20.0, 2.5)

    def test_subjects_own_their_samples(self):
        rows = {"dose": [0.0, 1, 2, 3], "day": [1.0] * 4, "who": list("abcd"), "response": [1.0, 2, 3, 2]}
        trial = hf.read_trial(rows, time="day", subject="who", scale="ratio")
        doses = {"ID": list("abcd"), "TIME": [0.0] * 4, "AMT": [0.0, 1, 2, 3], "EVID": [1] * 4}
        samples = {"ID": ["d", "b"], "TIME": [1.0, 1.0], "DV": [0.5, 0.2]}
        found = histories_of(trial, doses, "OneCompartment", samples)
        np.testing.assert_allclose(found.at_samples({"elimination_rate": 1.0}), np.array([3, 1]) * np.exp(-1))
        by_dose = histories_of(trial, hf.Regimen(dose=None, interval=1.0, n=1), "OneCompartment", samples)
        np.testing.assert_allclose(by_dose.at_samples({"elimination_rate": 1.0}), np.array([3, 1]) * np.exp(-1))

    def test_a_record_gives_them_back(self):
        trial, table = study()
        found = histories_of(trial, PLAN, "OneCompartment", table)
        again = histories_from(found.record(), trial)
        values = {"elimination_rate": RATE}
        np.testing.assert_array_equal(again.at_samples(values), found.at_samples(values))
        assert assay_from(histories_of(trial, PLAN, "OneCompartment").record()) is None

    def test_units_of_time_and_dose_go_through(self):
        trial, table = study()
        other = trial.assign(dose=trial["dose"] * 1000, time=trial["time"] * 24)
        scaled = table.assign(DOSE=table["DOSE"] * 1000, TIME=table["TIME"] * 24)
        plan = hf.Regimen(dose=None, interval=24.0, n=3)
        days, hours = (
            specify(one, curve="BrainCousens", histories=histories_of(one, doses, "OneCompartment", samples)).priors
            for one, doses, samples in ((trial, PLAN, table), (other, plan, scaled))
        )
        shift = hours["concentration_scale"].arguments["mu"] - days["concentration_scale"].arguments["mu"]
        assert shift == pytest.approx(-np.log(1000))
        moved = hours["elimination_rate"].arguments["mu"] - days["elimination_rate"].arguments["mu"]
        assert moved == pytest.approx(-np.log(24))

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"kinetics": hf.OneCompartment(elimination_rate=0.3)}, "none is left to be estimated"),
            ({"concentrations": {"TIME": [1.0], "DV": [2.0]}}, "belongs to none of the dosing histories"),
            (
                {"concentrations": {"DOSE": [7.0], "TIME": [1.0], "DV": [2.0]}},
                "belongs to none of the dosing histories",
            ),
            ({"concentrations": {"DOSE": [0.0], "TIME": [1.0], "DV": [2.0]}}, "before any dose"),
            ({"regimen": None, "kinetics": None}, "none is left to be estimated"),
        ],
    )
    def test_what_cannot_be_told_is_refused(self, changed, words):
        trial, table = study()
        asked = {"regimen": PLAN, "kinetics": "OneCompartment", "concentrations": table} | changed
        with pytest.raises(ValueError, match=words) as refused:
            build_model(trial, **asked)
        assert "\n" not in str(refused.value)


class TestModel:
    def test_concentrations_scatter_log_normally_around_the_kinetics(self):
        trial, table = study()
        asked = {"regimen": PLAN, "kinetics": "OneCompartment", "vary": {}}
        both = Density(build_model(trial, **asked, concentrations=table))
        point = both.prior_draws(1, np.random.default_rng(1))
        known = {name: float(value[0]) for name, value in both.constrain(point).items()}
        middle = sum(
            table["DOSE"] * np.exp(-known["elimination_rate"] * (table["TIME"] - day)) * (table["TIME"] >= day)
            for day in range(3)
        )
        logs, sd = np.log(table["DV"]), known["concentration_sd"]
        left = (logs - np.log(middle * known["concentration_scale"])) / sd
        expected = -logs - np.log(sd * np.sqrt(2 * np.pi)) - left**2 / 2
        _, found = both.pointwise(point)
        np.testing.assert_allclose(found[0, trial.sizes["observation"] :], expected, rtol=1e-9)

    def test_they_tell_the_kinetics_and_the_responses_alone_do_not(self):
        trial, table = study()
        asked = {"curve": "BrainCousens", "regimen": PLAN, "kinetics": "OneCompartment", "engine": "importance"}
        with_them = hf.fit(trial, **asked, concentrations=table, draws=500, chains=2, random_seed=1)
        draws = with_them["posterior"]
        for name, truth in {
            "elimination_rate": RATE,
            "concentration_scale": 1 / VOLUME,
            "concentration_sd": ERROR,
        }.items():
            low, high = draws[name].quantile([0.005, 0.995]).values
            assert low < truth < high
            assert high / low < 3
        alone = hf.fit(trial, **asked, draws=500, chains=2, random_seed=1)["posterior"]["elimination_rate"]
        assert float(np.log(alone).std()) > 2 * float(np.log(draws["elimination_rate"]).std())
        found = hf.drift_identifiability(with_them)
        assert bool(found.sel(parameter="elimination_rate")["learned"])
        assert with_them["log_likelihood"]["response"].sizes["observation"] == trial.sizes["observation"]
        hf.window(with_them, benefit=0.1, interval=1.0)
