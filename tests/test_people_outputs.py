"""What people read of fits with subjects, side effects and other outcomes: report, JSON, figures, recipe, checks."""

import base64
import html
import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import hormesis_fit as hf
from hormesis_fit.checks.sensitivity import curve_windows, predictive_check
from hormesis_fit.cli.output import write_result
from hormesis_fit.families import FAMILIES
from hormesis_fit.figures import drawing
from hormesis_fit.report.interactive import scripts
from hormesis_fit.report.people import harm_part, people_part
from hormesis_fit.report.recipe import command_line, python_lines
from hormesis_fit.report.writing import render_report
from hormesis_fit.windows.derived import derived_of
from hormesis_fit.windows.harms import harms_record
from hormesis_fit.windows.posterior import trial_of
from hormesis_fit.windows.prediction import outcome_of, replicates, subjects_in
from hormesis_fit.windows.request import harms_of, request_of
from hormesis_fit.windows.summary import comparison, sentence, subjects_of, window_record

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
LABELS = ("Anna", "Boris", "Clara", "Dmitri")
HARMS = (
    hf.Harm(endpoint="nausea", limit=0.3),
    hf.Harm(loss=True, limit=0.05),
    hf.Harm(occupancy=(20.0, 1.5), limit=0.7),
)


def table():
    rng, rows = np.random.default_rng(4), {name: [] for name in ("mg", "score", "who", "sex", "nausea")}
    for label, control in zip(LABELS, (80, 95, 110, 125), strict=True):
        for dose in (0, 0, 1, 1, 3, 3, 10, 10, 30, 30, 100, 100):
            z = dose / 30
            values = (dose, control * (1 + 1.6 * z) / (1 + 4.2 * z**2) + 4 * rng.standard_normal(), label)
            values += ("m" if label in LABELS[:2] else "f", int(rng.random() < dose / (dose + 30)))
            for name, value in zip(rows, values, strict=True):
                rows[name].append(value)
    return rows


@pytest.fixture(scope="module")
def fit():
    read = {"dose": "mg", "dose_unit": "mg"}
    trial = hf.read_trial(table(), response="score", subject="who", columns=["sex"], **read)
    nausea = hf.read_trial(table(), response="nausea", direction="down", **read)
    side = hf.Endpoint(trial=nausea, family="binomial", curve=["LogLogistic", "Constant"])
    fitted = hf.fit(
        trial,
        curve=["BrainCousens", "LogLogistic"],
        covariates={"half_effect_dose": "sex"},
        endpoints={"nausea": side},
        **FAST,
    )
    fitted["window"] = hf.window(fitted, harm=HARMS).assign_attrs(stated=1, harm=harms_record(HARMS))
    return fitted


@pytest.fixture(scope="module")
def written(fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "out"
    write_result(fit, folder)
    return folder


def texts(page):
    """A report without the library that draws, and the text of every picture in it."""
    page = page.replace(str(scripts()["library"]), "")
    pictures = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page)
    return " ".join([page, *(base64.b64decode(one).decode() for one in pictures)])


def test_no_subject_is_seen_unless_asked_for(fit, written):
    page = texts((written / "report.html").read_text(encoding="utf-8"))
    seen = page + (written / "summary.csv").read_text(encoding="utf-8")
    assert not [label for label in LABELS if label in seen]
    assert 'id="data"' not in page
    assert "Range" not in page
    assert sorted(path.stem for path in (written / "figures").glob("*.png")) == sorted(
        ["exceedance", "harm", "predictive", "quantities", "weights", "window"]
    )
    assert not [value for value in trial_of(fit)["response"].values if f"{value:.6g}" in seen]


def test_subjects_are_shown_when_asked_for(fit):
    page = texts(render_report(fit, show_subjects=True))
    assert all(label in page for label in LABELS)
    assert 'id="data"' in page
    assert "The window of every subject." in page


def test_a_window_of_one_subject_does_not_give_its_name_away(fit):
    copy = fit.copy()
    copy["window"] = hf.window(copy, subject="Anna")
    page = render_report(copy)
    assert "Anna" not in page
    assert "in one subject of the trial" in page
    assert "subject=&#39;...&#39;" in page
    assert window_record(copy)["subject"] == "Anna"


def test_the_report_tells_of_people_limits_and_blinding(written):
    page = html.unescape((written / "report.html").read_text(encoding="utf-8"))
    for words in (
        "About two thirds of the subjects have a control response within a factor of",
        "sex[m]",
        "about the typical subject, whose parameters are the typical values",
        "nausea at most 0.3",
        "loss below control at most 0.05",
        "ends the window: with a probability of",
        "BLINDING_UNCHECKED",
        "expectation may explain part of",
        "doses with fewer than 3 subjects have no mean here",
    ):
        assert words in page


def test_json_has_every_subject_and_every_limit(fit, written):
    record = json.loads((written / "window.json").read_text(encoding="utf-8"))
    assert list(record["subjects"]) == list(LABELS)
    assert set(record["subjects"]["Anna"]) == {
        *("lower", "upper", "best_dose", "max_probability", "prob_exists", "status")
    }
    assert record["estimand"] == "typical"
    assert list(record["limits"]) == ["benefit", "nausea", "loss", "occupancy"]
    assert sum(record["limits"].values()) == pytest.approx(1)
    assert subjects_of(fit)["subject"].values.tolist() == subjects_in(fit)
    own = hf.window(fit, subject="Clara", harm=HARMS)
    assert record["subjects"]["Clara"]["best_dose"] == pytest.approx(float(own["best_dose"]))


def test_harms_survive_being_written_down(fit):
    assert harms_of(fit["window"].to_dataset()) == HARMS
    assert request_of(fit["window"].to_dataset())["harm"] == HARMS
    silent = fit["window"].to_dataset()
    silent.attrs.pop("harm")
    assert harms_of(silent) is None
    function = hf.Harm(function=lambda dose, draws: dose, limit=1.0)
    assert harms_record([function]) == "[null]"
    assert "not" not in harm_part(fit["window"].to_dataset())["harm_reading"]


def test_curves_alone_keep_the_limits(fit):
    alone = curve_windows(fit)["BrainCousens"]
    assert alone["limit"].values.tolist() == ["benefit", "nausea", "loss", "occupancy"]


def test_the_recipe_repeats_everything(fit):
    lines, window = python_lines(fit, fit["window"].to_dataset()), fit["window"].to_dataset()
    for words in (
        "subject='who'",
        "columns=['sex']",
        "covariates={'half_effect_dose': 'sex'}",
        "nausea = hf.Endpoint(trial=hf.read_trial(",
        "endpoints={'nausea': nausea}",
        "hf.Harm(limit=0.3, endpoint='nausea')",
        "hf.Harm(limit=0.7, occupancy=[20.0, 1.5])",
    ):
        assert words in lines
    command = command_line(fit, window)
    for words in ("--subject who", "--column sex", "--covariates 'half_effect_dose ~ sex'", "--side-effect nausea"):
        assert words in command
    assert "--harm 'occupancy(20, 1.5)<=0.7'" in command


def test_means_are_of_the_people_asked_for(fit):
    assert hf.predict(fit, doses=[0.0]).attrs["units"] == ""
    means = [float(hf.predict(fit, doses=[0.0], subject=one).mean()) for one in LABELS]
    assert means == sorted(means)
    assert float(hf.predict(fit, doses=[0.0], estimand="new").std()) > float(hf.predict(fit, doses=[0.0]).std())
    assert np.isfinite(hf.predict(fit, doses=[1.0, 10.0], estimand="population")).all()
    with pytest.raises(ValueError, match="A share of the population has no mean response"):
        hf.predict(fit, estimand="coverage")


def test_predicted_rows_are_those_of_their_subject(fit):
    trial, drawn = trial_of(fit), replicates(fit).mean(("chain", "draw"))
    control = trial["dose"].values == 0
    for label in LABELS:
        own = control & (trial["subject"].values == label)
        assert float(drawn[own].mean()) == pytest.approx(float(trial["response"].values[own].mean()), rel=0.06)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_checked_against_its_data(name, suited, trial):
    one = suited(trial, name)
    fitted = hf.fit(one, family=name, curve="LogLogistic", engine="importance", draws=100, random_seed=1)
    fitted["window"] = hf.window(fitted)
    drawn = replicates(fitted).values
    allowed = {"counts": drawn == np.round(drawn), "shares": (drawn > 0) & (drawn < 1), "positive": drawn > 0}
    assert np.all(allowed.get(FAMILIES[name].support, np.isfinite(drawn)))
    check = predictive_check(fitted)
    assert bool(((check["tail"] >= 0) & np.isfinite(check["median"])).all())
    assert comparison(fitted, fitted).startswith("They differ because")
    assert sentence(fitted)


def test_outcomes_are_named_as_the_curve_reads_them(suited, trial):
    asked = {"curve": "LogLogistic", "engine": "importance", "draws": 100, "random_seed": 1}
    ordinal = outcome_of(hf.fit(suited(trial, "ordinal"), family="ordinal", **asked))
    assert set(ordinal["response"].values) == {0.0, 1.0}
    assert re.fullmatch(r"probability of weight \d or more", ordinal["response"].attrs["long_name"])


def test_summaries_are_predicted_as_means(trial):
    groups = trial.to_dataframe().groupby("dose")["response"]
    rows = {"dose": list(groups.groups), "mean": groups.mean(), "sd": groups.std(), "n": groups.size() * 50}
    one = hf.read_trial(rows, response="mean", sd="sd", n="n")
    drawn = replicates(hf.fit(one, curve="BrainCousens", **FAST))
    assert float(drawn.std(("chain", "draw")).mean()) < 0.5 * float(one["sd"].mean())


def test_known_errors_leave_no_residual_sd(trial):
    groups = trial.to_dataframe().groupby("dose")["response"]
    rows = {"dose": list(groups.groups), "mean": groups.mean(), "se": [0.1] * len(groups)}
    fitted = hf.fit(hf.read_trial(rows, response="mean", se="se"), curve="BrainCousens", **FAST)
    fitted["window"] = hf.window(fitted)
    assert np.isfinite(replicates(fitted)).all()
    assert "sd" not in derived_of(fitted)["benchmark_kind"].values
    assert comparison(fitted, fitted)


def test_responses_below_a_limit_are_predicted_as_recorded(trial):
    low = trial["response"].values < 0.5
    rows = {"dose": trial["dose"].values, "response": np.where(low, np.nan, trial["response"].values)}
    one = hf.read_trial(rows | {"upper": np.where(low, 0.5, np.nan)}, upper="upper")
    assert float(replicates(hf.fit(one, curve="LogLogistic", **FAST)).min()) >= 0.5


def has(figure, gid):
    return bool(figure.findobj(lambda one: one.get_gid() == gid))


def test_subjects_and_harms_are_drawn(fit):
    figure = hf.plot_subjects(fit, max_panels=3)
    assert [one.get_title(loc="left") for one in figure.axes] == list(LABELS[:3])
    assert figure.get_suptitle() == "The first 3 of the 4 subjects of the trial"
    assert hf.plot_subjects(fit, subjects=["Boris"], benefit=0.2, width="single").axes[0].has_data()
    harms = hf.plot_harm(fit)
    assert has(harms, "probability_nausea at most 0.3")
    assert has(harms, "probability_benefit within limits")
    own = Figure()
    assert hf.plot_harm(fit, harm=HARMS[1], ax=own.add_subplot()) is own
    with pytest.raises(ValueError, match="max_panels must be a whole number"):
        hf.plot_subjects(fit, max_panels=0)


def drawn(figure, gid):
    [line] = [one for one in figure.axes[0].lines if one.get_gid() == gid]
    return np.column_stack([line.get_xdata(), line.get_ydata()])


def test_the_window_of_a_subject_comes_with_its_own_responses(fit):
    one, trial = fit.copy(), trial_of(fit)
    one["window"] = hf.window(one, subject="Clara")
    own = trial["subject"].values == "Clara"
    means = drawn(hf.plot_window(one), "means")
    response, dose = (trial[name].values[own] for name in ("response", "dose"))
    np.testing.assert_allclose(means, [[x, response[dose == x].mean()] for x in np.unique(dose)])
    rows = drawn(hf.plot_window(one, show_subjects=True), "data")
    np.testing.assert_allclose(rows, np.column_stack([dose, response]))
    everyone = drawn(hf.plot_window(fit), "means")
    assert abs(everyone[0, 1] - means[0, 1]) > 5


def test_categories_are_drawn_as_shares(suited, trial):
    fitted = hf.fit(suited(trial, "ordinal"), family="ordinal", curve="LogLogistic", engine="importance", random_seed=1)
    fitted["window"] = hf.window(fitted, benefit=0.2, benefit_scale="difference")
    reached = outcome_of(fitted)
    shares = drawn(hf.plot_window(fitted), "means")
    expected = reached["response"].groupby(reached["dose"]).mean()
    np.testing.assert_allclose(shares, np.column_stack([expected["dose"], expected]))
    assert not has(hf.plot_window(fitted), "data")
    assert "by at least 20 percentage points" in sentence(fitted)
    assert drawing.benefit_label(fitted["window"].to_dataset(), reached) == "+20 points"
    reached["response"].attrs["share"] = 0
    assert drawing.benefit_label(fitted["window"].to_dataset(), reached) == "+0.2"


def test_the_joint_probability_hides_no_other(fit):
    lines = {str(one.get_gid()): one for one in hf.plot_harm(fit).axes[0].lines}
    benefit, joint = lines["probability_benefit +10 %"], lines["probability_benefit within limits"]
    assert benefit.get_linewidth() > 2 * joint.get_linewidth()
    assert benefit.get_zorder() <= joint.get_zorder()


def test_limits_in_a_share_of_the_population_are_those_of_persons(fit):
    one = fit.copy()
    harm = hf.Harm(loss=True, limit=0.05)
    one["window"] = hf.window(one, estimand="coverage", harm=harm)
    lines = {str(line.get_gid()): line.get_ydata() for line in hf.plot_harm(one, harm=harm).axes[0].lines}
    assert np.all(
        lines["probability_benefit within limits"] <= lines["probability_loss below control at most 0.05"] + 0.01
    )


def test_the_joint_probability_is_no_more_than_any_of_its_parts(fit):
    lines = {one.get_gid(): one.get_ydata() for one in hf.plot_harm(fit).axes[0].lines if one.get_gid()}
    joint = lines["probability_benefit within limits"]
    for name, values in lines.items():
        if str(name).startswith("probability_"):
            assert np.all(joint <= values + 0.01)


def test_what_cannot_be_drawn_is_said(trial):
    flat = hf.fit(trial, curve="BrainCousens", **FAST)
    with pytest.raises(ValueError, match="no limit on harm to draw"):
        hf.plot_harm(flat)
    with pytest.raises(ValueError, match="Nothing varies between subjects"):
        hf.plot_subjects(flat)
    assert people_part(flat)["people_table"] is None


@pytest.mark.parametrize(("family", "words"), [("ordinal", "can be left out"), ("gaussian", "independent rows")])
def test_doses_that_cannot_be_left_out_are_refused(family, words, fit, suited, trial):
    one = suited(trial, family) if family == "ordinal" else trial_of(fit)
    with pytest.raises(ValueError, match=words):
        hf.leave_one_dose_out(one, family=family)


def test_doses_are_left_out_of_counts(suited, trial):
    found = hf.leave_one_dose_out(suited(trial, "poisson"), family="poisson", curve="LogLogistic", draws=100)
    assert np.isfinite(found["log_density"].values[1:]).all()
