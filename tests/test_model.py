"""The PyMC model says what the declarations say."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from pytensor.graph.replace import clone_replace

from hormesis_fit.curves import CURVES, BrainCousens, LogLogistic
from hormesis_fit.families import FAMILIES
from hormesis_fit.model.building import build_model, model_data
from hormesis_fit.model.density import INTERPRETED
from hormesis_fit.model.specification import find_curve, scales, specify
from hormesis_fit.parameter import Prior


def test_the_scales_are_those_of_the_specification(trial):
    found = scales(trial)
    expected = {"control": 0.9795, "response": 0.316077, "log_dose": 1.732868, "log_range": 5.744604}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_few_decades_count_as_two(trial):
    narrow = trial.isel(observation=slice(0, 6))
    assert scales(narrow)["log_range"] == pytest.approx(2 * np.log(10))


@pytest.mark.parametrize(
    ("curve", "family"),
    [(curve, "gaussian") for curve in CURVES] + [("LogLogistic", family) for family in FAMILIES],
)
def test_every_curve_and_every_family_builds(trial, suited, curve, family):
    trial = suited(trial, family)
    model = build_model(trial, curve=curve, family=family)
    specification = specify(trial, curve=curve, family=family)
    assert [rv.name for rv in model.free_RVs] == list(specification.priors)
    assert [rv.name for rv in model.observed_RVs] == ["response"]
    point = model.initial_point(random_seed=1)
    assert np.isfinite(model.compile_logp(mode=INTERPRETED)(point))


def test_the_mean_of_the_graph_is_the_curve(trial):
    model = build_model(trial, curve="BrainCousens")
    values = {"control": 1.1, "peak_stimulation": 0.3, "half_effect_dose": 20.0, "slope_excess": 0.7, "sigma": 0.2}
    [observed] = model.observed_RVs
    mean = observed.owner.op.dist_params(observed.owner)[0]
    graph = clone_replace(mean, {rv: pt.constant(np.float64(values[rv.name])) for rv in model.free_RVs})
    found = graph.eval(mode=INTERPRETED)
    curve = BrainCousens(**{name: value for name, value in values.items() if name != "sigma"})
    np.testing.assert_allclose(found, curve(trial["dose"].values), rtol=1e-12)


def test_prior_predictive_draws_are_finite(trial):
    with build_model(trial, curve="BellTail"):
        draws = pm.sample_prior_predictive(50, random_seed=1, compile_kwargs={"mode": INTERPRETED})
    assert np.isfinite(draws["prior_predictive"]["response"]).all()


def test_a_prior_of_ones_own_replaces_the_default(trial):
    own = Prior("HalfNormal", sigma=0.25)
    specification = specify(trial, curve="BrainCousens", priors={"peak_stimulation": own})
    assert specification.priors["peak_stimulation"] == own
    assert float(model_data(specification, trial)["peak_stimulation_sigma"]) == 0.25


def test_priors_are_scaled_to_the_trial(trial):
    priors = specify(trial, curve="BrainCousens").priors
    assert priors["control"].arguments == pytest.approx({"mu": 0.9795, "sigma": 2.5 * 0.3160765, "lower": 0})
    assert priors["half_effect_dose"].arguments == pytest.approx({"mu": 1.732868, "sigma": 2.872302}, rel=1e-6)
    assert priors["sigma"].arguments == pytest.approx({"scale": 0.3160765}, rel=1e-6)


def test_models_that_differ_in_numbers_share_a_structure(trial):
    other = specify(trial.assign(dose=trial["dose"] * 7), curve="BrainCousens")
    assert other.structure == specify(trial, curve="BrainCousens").structure
    assert other.structure != specify(trial, curve=BrainCousens(lower_asymptote="free")).structure
    assert other.structure != specify(trial, curve=BrainCousens(slope_excess=1.0)).structure


def test_a_fixed_number_is_no_variable(trial):
    specification = specify(trial, curve=LogLogistic(slope=2.0))
    assert "slope" not in specification.priors
    assert specification.curve.label == "LogLogistic(slope=2.0)"


def test_scale_and_direction_come_from_the_trial(trial):
    curve = find_curve("BrainCousens", trial.assign_attrs(scale="interval", direction="down"))
    assert {"span", "peak_gain"} <= set(curve.parameters())
    assert "peak_stimulation" not in curve.parameters()


@pytest.mark.parametrize(
    ("error", "expected", "arguments"),
    [
        (ValueError, 'did you mean "BrainCousens"', {"curve": "BrainCousin"}),
        (ValueError, "BrainCousens", {"curve": "zzz"}),
        (ValueError, 'did you mean "gaussian"', {"family": "gausian"}),
        (TypeError, "got int", {"curve": 3}),
        (TypeError, "Prior", {"priors": {"control": 3.0}}),
        (
            ValueError,
            "no continuous distribution for the prior of control",
            {"priors": {"control": Prior("Nonsense", sigma=1)}},
        ),
        (ValueError, "control", {"priors": {"control": Prior("HalfNormal", width=1)}}),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(trial, error, expected, arguments):
    with pytest.raises(error) as caught:
        build_model(trial, **arguments)
    message = str(caught.value)
    assert expected in message
    assert message.endswith(".")
    assert "\n" not in message
