"""Published courses in time whose mechanism is known: receptors that are lost, silenced, or take the drug away.

The tables are read from ../shared/data. Every model here has at most twelve parameters and none that differs between
subjects, so that importance sampling draws from it without compiling anything.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hormesis_fit as hf
from hormesis_fit.drift.courses import design_notes
from hormesis_fit.windows.windowing import level_pieces

DATA = Path(__file__).parents[2] / "shared" / "data"
EGF = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SETTINGS = {"engine": "importance", "draws": 500, "chains": 2, "random_seed": 1, "vary": {}}


def table(name):
    path = DATA / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return pd.read_csv(path)


def log_evidence(fit):
    assert not bool(fit["evidence"]["sick"].values[0])
    return float(fit["evidence"]["log_evidence"].values[0])


def interval(values, mass=0.95):
    return np.quantile(np.asarray(values), [(1 - mass) / 2, (1 + mass) / 2])


class TestGrowthFactor:
    """EGF on PC12 cells: six doses held for an hour; signals are normalised, so that they are 0 without EGF."""

    def fit(self, signal, first, drift="ReceptorTurnover"):
        rows = table("egf_akt_step_fujita").query("observable == @signal and time_s >= 60 * @first")
        rows = rows.assign(minute=rows["time_s"] / 60)
        trial = hf.read_trial(rows, time="minute", time_unit="min", dose_unit="ng/ml", scale="interval")
        rising = hf.CURVES["SigmoidEmax"](control=0.0)
        return hf.fit(trial, curve=rising, drift=drift, **SETTINGS), rows

    def test_a_rising_curve_on_receptors_that_are_lost_becomes_an_inverted_u(self):
        # From two minutes on: at one minute the signal of low doses has not built up yet, and no model here delays it.
        fit, rows = self.fit("pAkt", first=2)
        at = {time: hf.predict(fit, doses=EGF, time=time) for time in (1.0, 10.0, 30.0)}
        falls = {time: interval(1 - one.isel(dose=-1) / one.max("dose")) for time, one in at.items()}
        assert falls[1.0][1] < 0.05  # monotone but for less than a twentieth, at a time that the fit has not seen
        assert falls[10.0][0] < 1 - 0.112 / 0.255 < falls[10.0][1]
        # Later it says less than is true: all doses go on falling after the receptors have settled.
        assert 0.1 < falls[30.0][0] < falls[30.0][1] < 1 - 0.053 / 0.129
        assert EGF[int(at[30.0].median(("chain", "draw")).argmax("dose"))] == 1.0
        measured = rows.pivot_table(index="dose", columns="minute", values="response")
        fitted = [hf.predict(fit, doses=EGF, time=time).median(("chain", "draw")).values for time in measured.columns]
        left = measured.values - np.array(fitted).T
        assert 1 - left.var() / measured.values.var() > 0.95
        assert interval(fit["posterior"]["gain_loss_ratio"])[0] > 10

    def test_no_curve_that_stays_the_same_explains_it(self):
        lost, same = (self.fit("pAkt", first=2, drift=drift)[0] for drift in ("ReceptorTurnover", None))
        assert log_evidence(lost) - log_evidence(same) > 10

    def test_the_window_of_ps6_at_thirty_minutes(self):
        # From thirty minutes on: pS6 takes twenty to build up, which a loss of receptors cannot show.
        fit, _ = self.fit("pS6", first=30)
        window = hf.window(fit, benefit=0.7, benefit_scale="level", time=30.0, doses=EGF)
        assert window.attrs["status"] == "WINDOW"
        [(lower, upper)] = level_pieces(window)
        assert 0.1 < lower < 1.0 < upper < 30.0
        chance = dict(zip(EGF, window["probability"].values, strict=True))
        assert chance[1.0] > 0.8
        assert max(chance[0.1], chance[30.0]) < 0.1


class TestInsulin:
    """Insulin on human fat cells: a dose-response at ten minutes, one step of 100 nM, and 1.2 nM raised to 10 nM."""

    def trial(self):
        rows = table("insulin_two_step_brannmark").query("observable != 'IR1_P'")
        rows["cells"] = rows["experiment"] + rows["dose"].map(" {:g} nM".format)
        after = rows["time_min"] > rows["second_dose_time_min"]
        rows["given"] = (rows["dose"] + rows["second_dose_nM"].where(after, 0.0)).where(rows["time_min"] > 0, 0.0)
        # What was measured just before the first dose stands a minute before it: a row at its time is after it.
        rows["minute"] = rows["time_min"].where(rows["time_min"] > 0, -1.0)
        first = rows.drop_duplicates("cells")
        again = first.dropna(subset="second_dose_nM")
        events = {
            "ID": [*first["cells"], *again["cells"]],
            "TIME": [*np.zeros(len(first)), *again["second_dose_time_min"]],
            "AMT": [*first["dose"], *(again["dose"] + again["second_dose_nM"])],
            "EVID": 1,
        }
        units = {"dose_unit": "nM", "time_unit": "min", "scale": "interval"}
        named = {"dose": "given", "time": "minute", "subject": "cells", "columns": ["experiment"]}
        return hf.read_trial(rows, **named, **units), pd.DataFrame(events).sort_values(["ID", "TIME"])

    def test_receptors_are_silenced(self):
        trial, events = self.trial()
        # Each experiment has a scale of its own, as in the model of its authors.
        asked = {"curve": "SigmoidEmax", "covariates": {"span": "experiment"}, **SETTINGS}
        silenced = hf.fit(trial, drift="TwoStateDesensitisation", regimen=events, **asked)
        assert log_evidence(silenced) - log_evidence(hf.fit(trial, **asked)) > 5
        found = hf.sensitivity_over_time(silenced, time=[4.0, 30.0])["sensitivity"]
        held = interval(found.sel(history="one_step_time_response 100 nM", time=30.0))
        # The phosphorylated receptor itself, which the fit has not seen, falls to 35 % in these 30 minutes.
        assert held[0] < 0.35 < held[1] < 0.6
        before = found.sel(history="two_step_time_response 1.2 nM", time=4.0)
        assert interval(before)[1] < 0.95
        np.testing.assert_allclose(found.sel(history="dose_response 0 nM"), 1.0)


class TestInterleukin:
    """Interleukin-12 under the skin: serum concentrations after the first and the sixth of equal doses."""

    def test_exposure_has_fallen_by_the_sixth_dose(self):
        rows = table("il12_rakhit_dose1_dose6")
        rows["group"] = rows["dose"].map("{:g} ug/kg, dose ".format) + rows["dose_number"].astype(str)
        rows["sixth"] = (rows["dose_number"] == 6).astype(float)
        first = rows.drop_duplicates("group")
        events = pd.DataFrame({"ID": first["group"], "TIME": 0.0, "AMT": first["dose"]})
        named = {"time": "time_h", "subject": "group", "columns": ["sixth"], "scale": "interval"}
        asked = {
            "curve": hf.CURVES["SigmoidEmax"](control=0.0),
            "regimen": events,
            "kinetics": hf.OneCompartment(route="oral"),
            **SETTINGS,
        }
        trial = hf.read_trial(rows, **named)
        fallen, same = (hf.fit(trial, covariates=one, **asked) for one in ({"span": "sixth"}, {}))
        assert log_evidence(fallen) - log_evidence(same) > 20
        ratio = np.exp(fallen["posterior"]["span_slope"])
        assert interval(ratio, 0.99)[1] < 0.5
        # Areas under the curves over the same 34 hours, by the trapezoidal rule, at the two higher doses.
        early = rows[rows["time_h"] <= 34]
        groups = early.groupby(["dose", "dose_number"])
        areas = {key: np.trapezoid(group["response"], group["time_h"]) for key, group in groups}
        measured = {dose: areas[dose, 6] / areas[dose, 1] for dose in (0.5, 1.0)}
        assert measured[1.0] < float(ratio.median()) < measured[0.5]


class TestDosesAtThePeak:
    """At the peak a change of potency changes nothing, to first order: such a design cannot tell it."""

    def test_one_dose_is_refused(self):
        rows = {"dose": [0, 5.0, 0, 5.0, 0, 5.0, 1.0], "response": [100.0, 110, 100, 109, 101, 110, 104]}
        trial = hf.read_trial(rows | {"day": [0, 0, 7, 7, 14, 14, 14]}, time="day", scale="ratio")
        with pytest.raises(ValueError, match="2 or more positive doses"):
            hf.fit(trial, curve="BrainCousens", drift="OrnsteinUhlenbeck")
        hf.build_model(trial, curve="BrainCousens", drift={"gain": "OrnsteinUhlenbeck"})
        assert any("cannot be told apart" in note for note in design_notes(trial).values())
