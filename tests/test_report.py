"""The report, and the checks that it is made of."""

import base64
import html
import json
import re

import numpy as np
import pytest
import xarray as xr

import hormesis_fit as hf
from hormesis_fit.checks.sensitivity import (
    curve_windows,
    predictive_check,
    predictive_groups,
    prior_check,
    prior_sensitivity,
    replicates,
    window_of,
)
from hormesis_fit.figures.drawing import formula_uri
from hormesis_fit.report.recipe import command_line, python_lines
from hormesis_fit.report.writing import render_report, write_report
from hormesis_fit.windows.summary import sentence

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def fit():
    fitted = hf.fit(hf.load_dataset("lettuce", standard_dose=50.0), **FAST)
    fitted["window"] = hf.window(fitted)
    return fitted


@pytest.fixture(scope="module")
def page(fit):
    return render_report(fit)


@pytest.fixture(scope="module")
def pair():
    return hf.fit(hf.load_dataset("lettuce"), curve=["BrainCousens", "LogLogistic"], **FAST)


@pytest.fixture(scope="module")
def hostile():
    table = {
        SCRIPT: [0, 0, 1, 1, 3, 3, 10, 10],
        "<b>y</b>": [1.0, 1.1, 1.3, 1.2, None, 0.9, 0.4, 0.5],
    }
    trial = hf.read_trial(
        table, dose=SCRIPT, response="<b>y</b>", dose_unit="<i>mg</i>", response_unit='"><img src=x>', missing="drop"
    )
    trial.attrs["notes"] = ["<u>note</u>", "second & last"]
    return hf.fit(trial, curve="BrainCousens", **FAST)


def test_all_sections_are_there(page):
    heads = re.findall(r"<h2>(\d)\. ([^<]+)</h2>", page)
    assert [number for number, _ in heads] == list("1234567")
    assert "Not medical advice" in page


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("considered", f"{len(hf.AVERAGE)} curves were considered"),
        ("gate", "Every curve passed it"),
        ("curves", "Average of these"),
        ("evidence", "The Bayes factor for the hormetic curves against the others is "),
        ("prediction", "They are no probabilities of hormesis"),
        ("check", "None of the 7 observed group means lie outside"),
        ("limbs", "Effective dose, 50 %"),
        ("scaling", "leans less on the priors than on the data"),
        ("reproduce", "engine='optimum'"),
    ],
)
def test_every_question_of_a_reviewer_is_answered(page, question, answer):
    text = html.unescape(page).replace('engine="optimum"', "engine='optimum'")
    begin = text.index(f'id="{question}"')
    assert answer in text[begin : text.find("<h3", begin + 40) if question != "reproduce" else None]


def test_links_to_questions_lead_somewhere(page):
    assert {*re.findall(r'href="#([^"]+)"', page)} <= {*re.findall(r'id="([^"]+)"', page)}


def test_one_curve_is_not_compared(no_pictures):
    page = render_report(hf.fit(hf.load_dataset("lettuce"), curve="Constant", **FAST))
    assert "there is no evidence for or against hormesis" in page
    assert 'id="prediction"' not in page
    assert "The one curve with a weight of at least 0.05 has no window" in page


def test_doses_that_were_left_out_are_reported_where_known(pair, page, no_pictures):
    assert "dose-out" not in page
    copy = pair.copy()
    copy["leave_one_dose_out"] = hf.leave_one_dose_out(
        hf.load_dataset("lettuce"), curve=["BrainCousens", "LogLogistic"], draws=250
    )
    assert "Every dose group predicted from the others" in render_report(copy)


def test_dose_groups_are_checked(fit):
    check = predictive_groups(fit)
    np.testing.assert_allclose(check["observed"][0], (1.126 + 0.833) / 2)
    assert check["responses"].values.tolist() == [2] * 7
    assert bool((check["lower"] < check["median"]).all())


def test_the_recipe_names_sets(pair, fit, monkeypatch):
    monkeypatch.setitem(hf.CURVE_SETS, "null", ("BrainCousens", "LogLogistic"))
    assert "curve='null'" in python_lines(pair, window_of(pair))
    assert command_line(pair, window_of(pair)).endswith("--curve null")
    assert "curve=" not in python_lines(fit, window_of(fit))


def test_the_first_line_is_the_question_and_the_answer_follows(fit, page):
    text = html.unescape(page[page.index("<header>") :])
    assert text.index("Which doses (conc) raise weight by at least 10 % over control") < text.index("<h1>")
    assert sentence(fit) in text


@pytest.mark.parametrize(("stated", "expected"), [(1, "was stated by the user"), (0, "was not stated: the default")])
def test_the_report_says_whether_the_benefit_was_stated(fit, stated, expected, no_pictures):
    copy = fit.copy()
    copy["window"] = window_of(fit).assign_attrs(stated=stated)
    assert expected in render_report(copy)


def test_without_a_window_the_default_benefit_is_used_and_said(pair, no_pictures):
    page = render_report(pair)
    assert "was not stated" in page
    assert "window" not in pair


def test_figures_are_inlined_as_svg(page):
    encoded = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', page[page.index("<figure") :]).group(1)
    assert b"<svg" in base64.b64decode(encoded)


@pytest.mark.parametrize(
    "expected",
    [
        "HalfNormal(0.5)",
        "Responses scatter normally",
        "LEFT_OPEN",
        "puts the lower edge of the window below",
        "BrainCousens",
        "k-hat",
        "P(hormesis)",
        "Smallest prior P(hormesis)",
        "% of standard",
        "0.25",
        "Seed 1.",
        "pymc ",
        "hormesis-fit fit lettuce.csv --dose conc",
        "hf.read_trial('lettuce.csv', dose='conc'",
    ],
)
def test_the_report_contains(page, expected):
    assert expected in html.unescape(page)


def test_markup_in_names_is_escaped(hostile, no_pictures):
    page = render_report(hostile)
    for raw in (SCRIPT, "<b>y</b>", "<i>mg</i>", "<img src=x>", "<u>note</u>"):
        assert raw not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "second &amp; last" in page


def test_dropped_rows_are_counted_by_dose(hostile, no_pictures):
    page = render_report(hostile)
    assert "1 row without a response was dropped" in page
    assert "Dropped" in page


def test_a_failed_curve_stays_with_its_reason(fit, no_pictures):
    copy = fit.copy(deep=True)
    table = copy["evidence"].to_dataset()
    failed = table["model"] == "Constant"
    note = table["note"].astype(object).where(~failed, "failed: ValueError: <no luck>")
    copy["evidence"] = table.assign(
        note=note.astype(str),
        sick=table["sick"] | failed,
        log_evidence=table["log_evidence"].where(~failed),
        weight=table["weight"].where(~failed, 0.0),
    )
    copy["models"] = copy["models"].drop_nodes("Constant")
    page = render_report(copy)
    assert "Unhealthy: Constant" in page
    assert "failed: ValueError: &lt;no luck&gt;" in page


def test_the_report_of_a_reopened_file_is_the_same(fit, page, tmp_path):
    fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as reopened:
        write_report(reopened.load(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def test_subjects_do_not_appear(no_pictures):
    table = {
        "dose": [0, 0, 1, 1, 10, 10],
        "response": [1, 1.1, 1.2, 1.3, 0.5, 0.6],
        "who": [f"Ms {x}" for x in "ABCDEF"],
    }
    trial = hf.read_trial(table, subject="who")
    assert "Ms A" not in render_report(hf.fit(trial, curve=["BrainCousens", "Constant"], vary={}, **FAST))


@pytest.mark.parametrize("curve", hf.CURVES.values(), ids=hf.CURVES)
def test_every_formula_can_be_set(curve):
    assert formula_uri(curve.formula).startswith("data:image/svg+xml;base64,")


def test_a_formula_that_cannot_be_set_is_given_as_text():
    assert formula_uri(r"\nonsense{") == ""


def test_the_recipe_runs(pair):
    lines = python_lines(pair, hf.window(pair))
    assert "curve=['BrainCousens', 'LogLogistic'], draws=250, random_seed=1" in lines
    compile(lines, "recipe", "exec")
    assert command_line(pair, hf.window(pair)).endswith("--seed 1 --curve BrainCousens --curve LogLogistic")


def test_the_recipe_quotes_for_the_shell(hostile):
    assert f"--dose '{SCRIPT}'" in command_line(hostile, window_of(hostile))


def test_at_factor_one_nothing_changes(fit):
    one = prior_sensitivity(fit).sel(prior_scale=1.0)
    assert float(one["prob_hormesis"]) == pytest.approx(float(fit["evidence"]["prob_hormesis"]), abs=1e-12)
    assert float(one["prob_exists"]) == pytest.approx(float(fit["window"]["prob_exists"]), abs=1e-9)
    np.testing.assert_allclose(one["weight"], fit["evidence"]["weight"], atol=1e-12)
    np.testing.assert_allclose(one["log_evidence"], fit["evidence"]["log_evidence"])
    assert float(one["ess"]) == pytest.approx(1000)


def test_lettuce_leans_on_the_prior_as_published(pair):
    result = prior_sensitivity(pair)
    # science.md 3.6: P(hormesis) of BrainCousens against LogLogistic at scales 0.25, 0.5, 1.
    np.testing.assert_allclose(result["prob_hormesis"], [0.91, 0.88, 0.80], atol=0.015)
    # science.md 4: log evidence.
    np.testing.assert_allclose(result["log_evidence"].sel(model="BrainCousens"), [2.073, 1.72, 1.155], atol=0.08)
    assert np.ptp(result["log_evidence"].sel(model="LogLogistic").values) == 0


def test_too_few_effective_draws_give_no_number(pair, no_pictures):
    copy = pair.copy(deep=True)
    posterior = copy["models/BrainCousens/posterior"].to_dataset()
    known = json.loads(posterior.attrs["priors"]) | {
        "peak_stimulation": {"distribution": "HalfNormal", "sigma": 0.02},
    }
    copy["models/BrainCousens/posterior"] = posterior.assign_attrs(priors=json.dumps(known))
    wide = prior_sensitivity(copy).sel(prior_scale=2.0)
    assert float(wide["ess"]) < 100
    assert np.isnan(float(wide["prob_exists"]))
    assert "the probabilities are not given" in render_report(copy)


def test_a_prior_that_is_not_half_normal_is_left_alone(no_pictures):
    priors = {"peak_stimulation": hf.Prior("Exponential", scale=0.3)}
    fitted = hf.fit(hf.load_dataset("lettuce"), curve="BrainCousens", priors=priors, **FAST)
    result = prior_sensitivity(fitted)
    assert np.ptp(result["prob_exists"].values) == pytest.approx(0)
    assert np.isnan(result["prob_hormesis"]).all()
    assert "there is nothing to vary" in render_report(fitted)


def test_the_window_of_the_average_is_that_of_its_curves_by_weight(fit):
    windows = curve_windows(fit)
    mixed = sum(float(fit["evidence"]["weight"].sel(model=name)) * one["prob_exists"] for name, one in windows.items())
    assert float(mixed) == pytest.approx(float(fit["window"]["prob_exists"]))


def test_replicated_trials_look_like_the_trial(fit):
    drawn = replicates(fit)
    assert dict(drawn.sizes) == {"chain": 4, "draw": 250, "observation": 14}
    middle = drawn.mean(("chain", "draw"))
    assert float(abs(middle - fit["observed_data"]["response"]).mean()) < 0.12
    xr.testing.assert_identical(drawn, replicates(fit))


def test_predictive_check_finds_nothing_odd_in_lettuce_and_an_outlier_elsewhere(fit):
    assert float(predictive_check(fit)["tail"].min()) > 0.05
    copy = fit.copy(deep=True)
    copy["observed_data"]["response"].values[0] = 9.0
    assert float(predictive_check(copy)["tail"].sel(feature="largest SD of a dose group")) < 0.01


def test_default_priors_pass_their_gate(fit):
    check = prior_check(fit)
    assert float(check["far_share"].max()) < 0.06
    assert float(check["peak_share"].max()) < 0.06


def test_a_prior_that_cannot_be_drawn_is_not_judged(fit):
    copy = fit.copy(deep=True)
    posterior = copy["models/Constant/posterior"].to_dataset()
    unknown = json.loads(posterior.attrs["priors"]) | {"control": {"distribution": "Kumaraswamy", "a": 1.0, "b": 2.0}}
    copy["models/Constant/posterior"] = posterior.assign_attrs(priors=json.dumps(unknown))
    assert np.isnan(float(prior_check(copy)["far_share"].sel(model="Constant")))
