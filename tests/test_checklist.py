"""The checklist of the report: every item of the guidelines is filled for every kind of fit."""

import html
import re

import numpy as np
import pytest

import hormesis_fit as hf
from hormesis_fit.report.checklist import checklist
from hormesis_fit.report.facts import PLACES
from hormesis_fit.report.recipe import command_line, python_lines
from hormesis_fit.report.writing import render_report

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
STATES = {"done", "in part", "not done", "does not apply"}
COMPARED = ("3", "Bayes factors and probabilities of models")


@pytest.fixture(scope="module")
def fit():
    fitted = hf.fit(hf.load_dataset("lettuce", standard_dose=50.0), curve=["BrainCousens", "LogLogistic"], **FAST)
    fitted["window"] = hf.window(fitted)
    return fitted


def sampled(fit):
    """A fit as chains would have left it."""
    copy = fit.copy(deep=True)
    table = copy["evidence"].to_dataset()
    size = table.sizes["model"]
    changed = {"engine": ["nuts"] * size, "max_rhat": [1.004] * size, "ess": [812.0] * size, "divergences": [1] * size}
    copy["evidence"] = table.assign({name: ("model", values) for name, values in changed.items()})
    return copy


@pytest.fixture(scope="module")
def kinds(fit):
    """One fit of every kind that a report knows."""
    rng = np.random.default_rng(1)
    dose = np.tile([0.0, 1.0, 3.0, 10.0, 30.0], 6)
    who = np.repeat(list("abcdef"), 5)
    rows = {"dose": dose, "response": 5 + np.exp(-dose / 20) + 0.2 * rng.normal(size=30), "who": who}
    people = hf.fit(hf.read_trial(rows, subject="who"), curve="LogLogistic", **FAST)
    time = np.repeat(np.arange(6.0), 5)
    visits = {"dose": dose, "day": time, "response": 5 + 8 * dose / (3 + dose) / (1 + 0.2 * time) + rng.normal(size=30)}
    moving = hf.read_trial(visits, time="day", time_unit="d", scale="interval")
    few = FAST | {"draws": 100, "chains": 2}
    return {
        "average": fit,
        "chains": sampled(fit),
        "single": hf.fit(hf.load_dataset("lettuce"), curve="Constant", **FAST),
        "people": people,
        "drift": hf.fit(moving, curve="SigmoidEmax", drift="ReceptorTurnover", **few),
    }


def filled(fit, monkeypatch):
    """Return the checklist of a fit by step and title, and the page that holds it."""
    found = {}
    monkeypatch.setattr(
        "hormesis_fit.report.writing.checklist", lambda facts: found.setdefault("list", checklist(facts))
    )
    page = render_report(fit)
    return {(step[:1], one.title): one for step, items in found["list"].items() for one in items}, page


@pytest.mark.parametrize("kind", ["average", "chains", "single", "people", "drift"])
def test_every_item_of_the_guidelines_is_filled(kinds, kind, no_pictures, monkeypatch):
    items, page = filled(kinds[kind], monkeypatch)
    steps = [step for step, _ in items]
    assert {step: steps.count(step) for step in steps} == {"P": 2, "1": 5, "2": 4, "3": 3, "4": 5, "5": 5, "6": 6}
    known = {*re.findall(r'id="([^"]+)"', page)}
    for one in items.values():
        assert one.state in STATES
        assert one.said.endswith((".", "?"))
        assert len(one.said) > 20
        assert not re.search(r"nan|None\b(?! of)|\{|  ", one.said), one.said
        assert one.place in PLACES
        assert one.place in known
        assert one.state != "not done" or re.search(r": |not", one.said)
    assert page.count('class="state ') == 30 + 5


@pytest.mark.parametrize(
    ("kind", "item", "state", "said"),
    [
        ("average", ("2", "Convergence of chains"), "does not apply", "No chain was run"),
        ("average", ("2", "Other methods than chains"), "done", "k-hat of at most 0"),
        (
            "average",
            COMPARED,
            "done",
            "0.1, 0.25, 0.5, 0.75, 0.9 become 0.4",
        ),
        ("average", ("5", "Informed priors"), "does not apply", "none|No prior of a curve was given"),
        ("chains", ("2", "Convergence of chains"), "done", "1.004 .*, 2 divergent"),
        ("chains", ("2", "Resolution of chains"), "in part", "812"),
        (
            "single",
            COMPARED,
            "not done",
            "fit\\(trial\\) with several curves",
        ),
        ("single", ("4", "Threshold of a probability of models"), "not done", "fit several curves"),
        ("people", ("1", "Likelihood and parameters"), "done", "Multilevel: control by subject, .*independent"),
        ("people", ("6", "Script and data"), "in part", "who may see"),
        ("drift", ("1", "Likelihood and parameters"), "done", "A drift in time: .*ReceptorTurnover"),
        ("drift", ("1", "Data"), "done", "Also: time"),
        ("average", ("6", "Readable script"), "done", "Every argument"),
    ],
)
def test_items_tell_of_this_fit(kinds, kind, item, state, said, no_pictures, monkeypatch):
    found = filled(kinds[kind], monkeypatch)[0][item]
    assert found.state == state
    assert re.search(said, found.said), found.said


def test_priors_given_by_hand_are_named(no_pictures, monkeypatch):
    priors = {"peak_stimulation": hf.Prior("HalfNormal", sigma=0.2)}
    fitted = hf.fit(hf.load_dataset("lettuce"), curve="BrainCousens", priors=priors, **FAST)
    items, _ = filled(fitted, monkeypatch)
    assert "Given by hand: peak stimulation" in items["1", "Priors"].said
    assert items["5", "Informed priors"].state == "not done"
    assert "fill in priors=" in items["6", "Readable script"].said


def test_the_recipe_of_a_drift_names_it_and_its_time(kinds):
    fitted = kinds["drift"]
    window = hf.window(fitted, time=2.0)
    lines = python_lines(fitted, window)
    assert "time='day'" in lines
    assert "time_unit='d'" in lines
    assert "drift='ReceptorTurnover'" in lines
    assert "time=2.0" in lines
    compile(lines, "recipe", "exec")
    assert "--drift ReceptorTurnover --time-grid 2" in command_line(fitted, window)


def test_the_estimand_is_named(kinds, no_pictures):
    text = html.unescape(render_report(kinds["people"]))
    part = text[text.index('id="estimand"') : text.index("Flags")]
    for words in ("Treatment", "Population", "Variable", "Intercurrent events", "Summary"):
        assert f'<th scope="row">{words}</th>' in part
    assert "4 doses from 1 to 30, each against no dose" in part
    assert "6 subjects were observed" in part
    assert "say how they were handled" in part
