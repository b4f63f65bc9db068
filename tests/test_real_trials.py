"""Published trials whose answer is known: no hormesis, a strong one, blocks. They are read from ../shared/data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hormesis_fit as hf
from hormesis_fit.curves import CURVES

DATA = Path(__file__).parents[2] / "shared" / "data"
FREE = [
    CURVES[name](lower_asymptote="free") if CURVES[name].trend == "falling" else name
    for name in hf.AVERAGE  # an average whose declines may end above zero
]
# Germination after heat, medrc issue 8: four blocks of one plate for each time; pooled least squares by R.
GERMINATION = [
    *(0.78, 0.80, 0.82, 0.75, 0.90, 0.95, 0.89, 0.91, 0.68, 0.71),
    *(0.65, 0.69, 0.08, 0.05, 0.06, 0.02, 0.0, 0.0, 0.01, 0.0),
]
POOLED = {"peak_dose": 14.2608, "zero_equivalent_dose": 21.6064}


def table(name):
    path = DATA / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return pd.read_csv(path)


def median(window, name):
    return float(np.nanmedian(window[name]))


@pytest.mark.parametrize(
    "herbicide",
    ["atrazine", pytest.param("diuron", marks=pytest.mark.heavy), "hexazinone", "irgarol", "simazine", "tebuthiuron"],
)
def test_herbicides_on_coral_have_no_window(herbicide):
    rows = table("reef_herbicides_fvfm").query("herbicide == @herbicide")
    window = hf.window(hf.fit(hf.read_trial(rows), random_seed=1))
    assert window.attrs["status"] in ("UNLIKELY", "UNDETERMINED")
    assert "NO_CONTROL" in window.attrs["flags"]


@pytest.mark.parametrize("herbicide", ["Bentazone", "Glyphosate"])
def test_mustard_under_herbicides_shows_no_hormesis(herbicide):
    trial = hf.read_trial(table("salba_two_herbicides").query("curve == @herbicide"))
    assert hf.window(hf.fit(trial, random_seed=1)).attrs["status"] in ("UNLIKELY", "UNDETERMINED")
    fit = hf.fit(trial, curve=FREE, random_seed=1)
    assert hf.window(fit).attrs["status"] == "UNLIKELY"
    assert float(fit["evidence"]["prob_hormesis"]) < 0.5


def test_ryegrass_shows_no_hormesis_once_the_rows_before_the_start_are_left_out():
    rows = table("ryegrass2").query("day == 15")
    fit = hf.fit(hf.read_trial(rows), curve=FREE, random_seed=1)
    assert hf.window(fit).attrs["status"] != "WINDOW"
    assert float(fit["evidence"]["prob_hormesis"]) < 0.75


def test_valproate_is_hormetic_in_the_experiment_that_is_known_to_be():
    rows = table("mdra_valproate_multilab").query("experiment == 19")
    fit = hf.fit(hf.read_trial(rows), random_seed=1)
    window = hf.window(fit)
    assert window.attrs["status"] == "WINDOW"
    assert float(fit["evidence"]["prob_hormesis"]) > 0.99
    assert median(window, "peak_stimulation") == pytest.approx(0.426, abs=0.1)


@pytest.mark.slow
def test_blocks_sharpen_what_pooling_finds():
    columns = {"dose": np.repeat([0.0, 12, 24, 48, 96], 4), "response": GERMINATION, "block": [*"ABCD"] * 5}
    trial = hf.read_trial(columns, batch="block", scale="ratio")
    pooled = hf.window(hf.fit(trial, curve="BrainCousens", random_seed=1))
    blocked = hf.window(hf.fit(trial, curve="BrainCousens", vary={"control": "batch"}, random_seed=1))
    for name, published in POOLED.items():
        assert median(blocked, name) == pytest.approx(published, rel=0.05)
        wide, narrow = (np.ptp(np.nanquantile(one[name], [0.025, 0.975])) for one in (pooled, blocked))
        assert narrow < wide


def crossover(seed):
    """Return sessions of 40 people: placebo first or second, doses ascending; only practice and carry-over act."""
    rng, rows = np.random.default_rng(seed), []
    for person in range(40):
        own, doses, before = 50 * np.exp(0.04 * rng.standard_normal()), [5.0, 10.0, 20.0], 0.0
        doses.insert(rng.integers(2), 0.0)
        for period, dose in enumerate(doses):
            score = own + 3 * period + 3 * (before > 0) + 3 * rng.standard_normal()
            rows.append((f"S{person:02}", period, dose, float(before > 0), score))
            before = dose
    return pd.DataFrame(rows, columns=["subject", "period", "dose", "after_drug", "score"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_practice_and_carry_over_are_no_effect_of_the_drug_once_they_are_covariates(seed):
    columns = ["period", "after_drug"]
    trial = hf.read_trial(crossover(seed), response="score", subject="subject", columns=columns, scale="ratio")
    asked = {"curve": ["BellTail", "SigmoidEmax"], "vary": {}, "random_seed": 1}
    plain, adjusted = (hf.fit(trial, covariates=one, **asked) for one in ({}, {"control": "period + after_drug"}))
    assert hf.window(plain).attrs["status"] == "WINDOW"
    assert hf.window(adjusted).attrs["status"] == "UNLIKELY"
    slopes = adjusted["models/SigmoidEmax/posterior"]["control_slope"].quantile([0.05, 0.95], ("chain", "draw"))
    period, carried = slopes.sel(control_term="period").values, slopes.sel(control_term="after_drug").values
    assert period[0] < np.log1p(3 / 50) < period[1] + 0.02
    assert carried[1] > 0.02


def microdoses():
    """Return acute mood scores of people who took LSD analogues or a placebo, neither of them knowing which."""
    rows = table("selfblind_microdose_acute").query("outcome == 'PANAS' and set == 'acute'")
    return rows.query("drug_class == 'LSD analogue'").dropna(subset=["response", "dose"])


def test_microdosing_shows_no_window_within_people():
    """Differences from each person's own placebo: what persons have in common with themselves drops out exactly."""
    rows = microdoses()
    cells = rows.groupby(["subject", "dose"])["response"].agg(["mean", "count"]).reset_index()
    placebo = cells[cells["dose"] == 0].set_index("subject")
    drug = cells[cells["dose"] > 0].set_index("subject").join(placebo.add_suffix("_placebo"), how="inner")
    gain = {"dose": drug["dose"], "gain": drug["mean"] - drug["mean_placebo"]}
    gain["n"] = 1 / (1 / drug["count"] + 1 / drug["count_placebo"])
    assert len(drug) == 109
    trial = hf.read_trial(pd.DataFrame(gain), response="gain", n="n", scale="interval", control=0.0)
    curves = [CURVES[name](control=0.0) for name in hf.AVERAGE]
    fit = hf.fit(trial, curve=curves, random_seed=1)
    half = 0.5 * rows.query("dose == 0")["response"].std()
    window = hf.window(fit, benefit=half, benefit_scale="difference")
    assert window.attrs["status"] in ("UNLIKELY", "UNDETERMINED")
    assert np.isnan(window["peak_stimulation"]).all()  # nothing to be relative to


def test_microdosing_without_guesses_is_flagged():
    rows = microdoses()
    trial = hf.read_trial(rows, subject="subject", scale="interval")
    fit = hf.fit(trial, curve="LogLogistic", vary={}, random_seed=1)
    assert "BLINDING_UNCHECKED" in hf.window(fit, benefit=0.5, benefit_scale="sd").attrs["flags"]


@pytest.mark.slow
@pytest.mark.heavy
def test_microdosing_shows_no_window_with_subjects():
    """Rows of one person at one dose as a summary row, whose likelihood is theirs."""
    groups = microdoses().groupby(["subject", "dose"])["response"]
    cells = groups.agg(["mean", "std", "count"]).reset_index()
    columns = {"response": "mean", "sd": "std", "n": "count", "subject": "subject"}
    trial = hf.read_trial(cells, **columns, scale="interval")
    fit = hf.fit(trial, curve=["BellTail", "SigmoidEmax"], random_seed=1, draws=500, tune=500)
    window = hf.window(fit, benefit=0.5, benefit_scale="sd")
    assert window.attrs["status"] in ("UNLIKELY", "UNDETERMINED")
    assert "BLINDING_UNCHECKED" in window.attrs["flags"]


@pytest.mark.slow
@pytest.mark.heavy
def test_valproate_of_all_laboratories_together_is_hedged():
    """One experiment in 22 is hormetic: pooled, the benefit lies between doses, where nobody measured."""
    trial = hf.read_trial(table("mdra_valproate_multilab"))
    fit = hf.fit(trial, curve=["BellTail", "LogLogistic"], random_seed=1, draws=500, tune=500)
    assert not fit["evidence"]["sick"].values.any()
    flags = hf.window(fit).attrs["flags"].split()
    assert {"BETWEEN_DOSES", "PEAK_IN_GAP"} <= set(flags)
