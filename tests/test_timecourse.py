"""Drifts in a model: without one nothing changes, a window moves by minus the potency, paths persist draw by draw."""

import json

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr
from pymc.blocking import DictToArrayBijection

import hormesis_fit as hf
from hormesis_fit.curves import CURVES, BrainCousens
from hormesis_fit.drift.courses import check_design, courses_of, design_notes, visits
from hormesis_fit.model.building import build_model, model_of
from hormesis_fit.model.density import INTERPRETED, Density
from hormesis_fit.model.specification import specify
from hormesis_fit.windows.posterior import members
from hormesis_fit.windows.prediction import replicates
from hormesis_fit.windows.windowing import level_pieces

DOSES = (0.0, 1.0, 4.0, 12.0, 40.0)
TIMES = (0.0, 7.0, 14.0, 28.0)
CURVE = BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=30.0, slope_excess=1.5)


def drifting_trial(potency=(0.0, 0.3, 0.5, -0.2), sd=2.0, seed=1, subjects=()):
    rng, rows = np.random.default_rng(seed), []
    for time, shift in zip(TIMES, potency, strict=True):
        for subject in subjects or ("",):
            for dose in DOSES:
                mean = float(CURVE.drifted(dose, potency=shift))
                rows += [(subject, time, dose, mean + sd * rng.normal()) for _ in range(2)]
    subject, time, dose, response = zip(*rows, strict=True)
    columns = {"day": time, "dose": dose, "response": response, "subject": subject}
    named = {"subject": "subject"} if subjects else {}
    return hf.read_trial(columns, time="day", time_unit="d", scale="ratio", **named)


def known_fit(paths, seed=3):
    """Return a fit with the same curve in every draw, whose linear potency drift has the slopes given."""
    slopes = np.asarray(paths, dtype=float).reshape(1, -1)
    trial = drifting_trial()
    values = {name: np.full(slopes.shape, getattr(CURVE, name)) for name in CURVE.parameters()}
    values |= {"sigma": np.full(slopes.shape, 2.0), "potency_slope": slopes}
    posterior = xr.Dataset(
        {name: (("chain", "draw"), value) for name, value in values.items()},
        coords={"chain": [0], "draw": np.arange(slopes.size)},
        attrs={"curve": "BrainCousens", "family": "gaussian", "fixed": "{}", "priors": "{}", "effects": "[]"}
        | CURVE.structure()
        | {
            "drifts": json.dumps(
                [{"drift": "LinearDrift", "options": {}, "target": "potency", "times": list(TIMES), "labels": []}]
            )
        },
    )
    evidence = xr.Dataset({"weight": ("model", [1.0])}, coords={"model": ["BrainCousens"]})
    groups = {
        "posterior": posterior,
        "evidence": evidence,
        "observed_data": trial[["response"]],
        "constant_data": trial.drop_vars("response"),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"seed": seed, "family": "gaussian"}
    return tree


class TestDriftedCurve:
    @pytest.mark.parametrize("link", ["identity", "log", "logit"])
    @pytest.mark.parametrize("direction", ["up", "down"])
    def test_no_drift_is_the_curve_itself(self, link, direction):
        for name in ("BrainCousens", "LogLogistic", "SigmoidEmax", "Haldane", "Linear"):
            template = CURVES[name](link=link, direction=direction)
            values = {one: 0.4 if one == "control" else 0.7 for one in template.parameters()}
            curve = template.with_values(values)
            doses = np.array([0.0, 0.1, 1.0, 10.0])
            np.testing.assert_allclose(curve.drifted(doses), curve(doses), rtol=1e-12)

    def test_potency_moves_the_dose_axis(self):
        doses = np.array([0.0, 0.5, 5.0, 50.0])
        np.testing.assert_allclose(CURVE.drifted(doses, potency=0.7), CURVE(doses * np.exp(0.7)), rtol=1e-13)

    def test_gain_is_a_power_of_the_ratio_and_a_factor_of_the_difference(self):
        doses = np.array([0.0, 5.0, 50.0])
        ratio = CURVE(doses) / CURVE.control
        np.testing.assert_allclose(CURVE.drifted(doses, gain=0.3), CURVE.control * ratio ** np.exp(0.3), rtol=1e-12)
        interval = BrainCousens(
            scale="interval", control=5.0, span=3.0, peak_gain=1.0, half_effect_dose=30.0, slope_excess=1.5
        )
        effect = interval(doses) - interval.control
        np.testing.assert_allclose(interval.drifted(doses, gain=0.3) - 5.0, np.exp(0.3) * effect, rtol=1e-12)

    def test_baseline_multiplies_a_mean_with_a_zero_and_shifts_one_without(self):
        assert CURVE.drifted(0.0, baseline=0.2) == pytest.approx(100 * np.exp(0.2))
        interval = BrainCousens(
            scale="interval", control=5.0, span=3.0, peak_gain=1.0, half_effect_dose=30.0, slope_excess=1.5
        )
        assert interval.drifted(0.0, baseline=0.2, unit=2.0) == pytest.approx(5.4)


class TestModel:
    @pytest.mark.parametrize(
        "drift", ["LinearDrift", "SaturatingDrift", "RandomWalk", "OrnsteinUhlenbeck", "LocalTrend"]
    )
    def test_the_graph_is_the_formula_and_has_gradients(self, drift):
        trial = drifting_trial()
        model = build_model(trial, curve="BrainCousens", drift=drift)
        [course] = courses_of(trial, drift, [])
        rng = np.random.default_rng(1)
        point = {name: value + 0.1 * rng.normal(size=np.shape(value)) for name, value in model.initial_point().items()}
        evaluate = model.logp_dlogp_function(mode=INTERPRETED, ravel_inputs=True)
        density, gradient = evaluate(DictToArrayBijection.map(point))
        assert np.isfinite(density)
        assert np.isfinite(gradient).all()
        names = [rv.name for rv in model.free_RVs]
        values = dict(zip(names, pm.draw(model.free_RVs, random_seed=2, mode=INTERPRETED), strict=True))
        values["potency_innovation"] = values.get("potency_innovation", 0.0)
        path = np.broadcast_to(course.path(values, values["potency_innovation"]), (len(TIMES),))
        curve = BrainCousens(**{name: values[name] for name in CURVE.parameters()})
        index = np.searchsorted(TIMES, trial["time"].values)
        expected = curve.drifted(trial["dose"].values, potency=path[index])
        [observed] = model.observed_RVs
        graph = observed.owner.op.dist_params(observed.owner)[0]
        from pytensor.graph.replace import clone_replace

        swap = {rv: pt.constant(np.asarray(values[rv.name], dtype=float)) for rv in model.free_RVs}
        np.testing.assert_allclose(clone_replace(graph, swap).eval(mode=INTERPRETED), expected, rtol=1e-9)

    def test_a_path_per_subject_has_innovations_of_its_own(self):
        trial = drifting_trial(subjects=("A", "B", "C"))
        specification = specify(trial, curve="LogLogistic", drift="OrnsteinUhlenbeck", vary={"potency": "subject"})
        density = Density(model_of(specification, trial))
        assert density.shapes[density.names.index("potency_innovation")] == (3, len(TIMES))
        points = density.prior_draws(5, np.random.default_rng(1))
        assert points.shape == (5, density.dimension)
        draws = density.constrain(points)
        np.testing.assert_allclose(density.unconstrain(draws), points, rtol=1e-6, atol=1e-8)

    def test_priors_of_rates_and_times_follow_the_unit_of_time(self):
        trial = drifting_trial()
        hours = trial.assign(time=trial["time"] * 24)
        for drift, name in (("LinearDrift", "potency_slope"), ("RandomWalk", "potency_diffusion")):
            days, same = (specify(one, curve="LogLogistic", drift=drift).priors[name] for one in (trial, hours))
            change = np.log(24) if days.distribution == "LogNormal" else 24
            key = "mu" if days.distribution == "LogNormal" else "sigma"
            found = (
                days.arguments[key] - same.arguments[key] if key == "mu" else days.arguments[key] / same.arguments[key]
            )
            assert found == pytest.approx(change)


class TestWindowInTime:
    def test_the_window_moves_by_minus_the_potency_drift(self):
        fit = known_fit([0.02, 0.05])
        start = hf.window(fit, time=0.0)
        for time in (7.0, 28.0, 60.0):
            later = hf.window(fit, time=time)
            for edge in ("window_lower", "window_upper", "peak_dose", "zero_equivalent_dose"):
                moved = np.log(later[edge].values / start[edge].values).ravel()
                np.testing.assert_allclose(moved, -np.array([0.02, 0.05]) * time, rtol=1e-6, atol=1e-7)

    def test_the_last_visit_is_the_default(self):
        fit = known_fit([0.02, 0.05])
        xr.testing.assert_allclose(hf.window(fit)["window_lower"], hf.window(fit, time=28.0)["window_lower"])
        assert hf.window(fit).attrs["time"] == 28.0

    def test_sensitivity_is_the_path(self):
        found = hf.sensitivity_over_time(known_fit([0.02, 0.05]), time=[0.0, 10.0, 40.0])
        np.testing.assert_allclose(found["potency"].values[0, 1], [0.0, 0.5, 2.0])

    def test_persistence_is_counted_draw_by_draw(self):
        fit = known_fit(np.linspace(-0.08, 0.08, 41))
        times = [0.0, 14.0, 28.0]
        result = hf.window_over_time(fit, times=times, benefit=0.1)
        edges = [hf.window(fit, time=time, benefit=0.1) for time in times]
        grid = np.geomspace(0.3, 60, 4000)
        inside = [
            (one["window_lower"].values.ravel()[:, None] <= grid)
            & (one["window_upper"].values.ravel()[:, None] >= grid)
            for one in edges
        ]
        always = np.logical_and.accumulate(inside, axis=0).mean(axis=1)
        np.testing.assert_allclose(result["persistence"], always.max(axis=1), atol=1e-12)
        assert np.all(np.diff(result["persistence"]) <= 1e-12)
        for number, one in enumerate(edges):
            assert result["max_probability"].values[number] == pytest.approx(float(one["max_probability"]))
            pieces = level_pieces(one)
            if pieces:
                assert float(result["window_lower"][number]) == pytest.approx(pieces[0][0])

    def test_it_says_when_to_look_again(self):
        fit = known_fit(np.linspace(-0.2, 0.2, 81))
        result = hf.window_over_time(fit, times=[0.0, 7.0, 14.0, 28.0, 56.0], level=0.8)
        lost = result["time"].values[result["max_probability"].values < 0.8]
        assert float(result["reestimate"]) == lost[0]

    def test_a_dose_leaves_the_window_draw_by_draw(self):
        slopes, times = np.linspace(-0.2, 0.2, 81), [0.0, 7.0, 14.0, 28.0, 56.0]
        fit = known_fit(slopes)
        edges = [hf.window(fit, time=time, benefit=0.1) for time in times]
        for dose in (None, 2.0, 500.0):
            result = hf.window_over_time(fit, times=times, benefit=0.1, dose=dose)
            chosen = float(edges[0]["best_dose"]) if dose is None else dose
            assert float(result["chosen_dose"]) == pytest.approx(chosen)
            inside = [
                (one["window_lower"].values.ravel() <= chosen) & (chosen <= one["window_upper"].values.ravel())
                for one in edges
            ]
            alive = np.logical_and.accumulate(inside, axis=0)
            np.testing.assert_allclose(result["kept"], alive.mean(axis=1), atol=1e-12)
            first = np.where(alive.all(axis=0), np.inf, np.array(times)[np.argmin(alive, axis=0)])
            expected = np.quantile(first, [0.1, 0.5, 0.9], method="inverted_cdf")
            np.testing.assert_array_equal(result["exit_time"], expected)

    def test_the_probability_over_time_and_dose_is_that_of_each_window(self):
        fit = known_fit(np.linspace(-0.08, 0.08, 41))
        result = hf.window_over_time(fit, times=[0.0, 28.0], benefit=0.1)
        for time in (0.0, 28.0):
            alone = hf.window(fit, time=time, benefit=0.1, doses=result["dose"].values)
            np.testing.assert_allclose(result["probability"].sel(time=time), alone["probability"], atol=1e-12)

    @pytest.mark.parametrize("dose", [-1.0, np.inf, "much"])
    def test_a_senseless_dose_is_refused(self, dose):
        with pytest.raises(ValueError, match="dose must be a finite number of 0 or more"):
            hf.window_over_time(known_fit([0.02]), dose=dose)

    def test_members_without_drift_are_left_alone(self):
        [member] = members(known_fit([0.0]))
        assert not member.shifts


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drift": "Ornstein"}, "did you mean"),
        ({"drift": 3}, "name, a subclass of Drift or a template"),
        ({"drift": {"efficacy": "OrnsteinUhlenbeck"}}, "no drift of named"),
        ({"drift": {"potency": "ReceptorTurnover"}}, "changes the gain and not the potency"),
    ],
)
def test_what_is_no_drift_is_refused(change, words):
    with pytest.raises((ValueError, TypeError), match=words):
        hf.fit(drifting_trial(), curve="BrainCousens", **change)


def test_designs_that_cannot_tell_are_refused():
    trial = drifting_trial()
    with pytest.raises(ValueError, match="at least 2 different times"):
        check_design(trial.isel(observation=trial["time"].values == 0), ["potency"])
    peak_only = trial.isel(observation=np.isin(trial["dose"].values, [0.0, 4.0]))
    with pytest.raises(ValueError, match="2 or more positive doses"):
        check_design(peak_only, ["potency"])
    bare = trial.isel(observation=(trial["dose"].values > 0) | (trial["time"].values < 28))
    with pytest.raises(ValueError, match="without controls at every time"):
        check_design(bare, ["gain", "baseline"])
    assert "no control" in design_notes(bare)["no_baseline"]
    with pytest.raises(ValueError, match="read the table with time="):
        hf.fit(trial.drop_vars("time"), curve="BrainCousens", drift="OrnsteinUhlenbeck")
    assert visits(trial).tolist() == list(TIMES)


def test_the_notes_before_a_fit_say_what_is_lacking():
    trial = drifting_trial()
    assert design_notes(trial).keys() == {"no_washout"}
    assert not design_notes(trial, washed=True)
    assert design_notes(trial).items() <= hf.design_adequacy(trial).items()
    dose, time = trial["dose"].values, trial["time"].values
    alone = trial.isel(observation=np.isin(dose, [0.0, 4.0]) | (time == 28))
    assert "time 0, 7, 14:" in design_notes(alone)["one_dose_at_a_time"]
    same = trial.isel(observation=np.isin(dose, [0.0, 4.0]))
    assert {"one_dose", "one_dose_at_a_time"} <= design_notes(same).keys()
    peak = trial.assign(dose=("observation", np.where(dose > 0, 3 + dose / 20, 0.0)))
    assert "a change of potency leaves no trace" in design_notes(peak)["close_doses"]
    assert not {"one_dose", "no_washout"} & design_notes(trial.isel(observation=(time < 28) | (dose == 0))).keys()


def test_times_that_make_no_sense_are_refused():
    fit = known_fit([0.02])
    for times in (-1.0, np.nan, "soon"):
        with pytest.raises(ValueError, match="Times must be finite numbers from"):
            hf.window(fit, time=times)


class TestFigures:
    def artists(self, figure, kind):
        return list(figure.axes[0].findobj(lambda artist: artist.get_gid() == kind))

    def test_sensitivity_is_drawn_as_a_factor(self):
        fit = known_fit(np.linspace(0.01, 0.03, 50))
        figure = hf.plot_sensitivity(fit, times=[0.0, 14.0, 28.0])
        [line] = self.artists(figure, "median")
        np.testing.assert_allclose(line.get_ydata(), np.exp(0.02 * np.array([0.0, 14.0, 28.0])), rtol=1e-3)
        assert len(self.artists(figure, "band_0.95")) == 1
        with pytest.raises(ValueError, match="gain does not drift in this fit"):
            hf.plot_sensitivity(fit, target="gain")

    def test_the_window_over_time_is_the_one_calculated(self):
        fit = known_fit(np.linspace(0.01, 0.03, 50))
        result = hf.window_over_time(fit, times=[0.0, 14.0, 28.0])
        figure = hf.plot_window_over_time(fit, times=[0.0, 14.0, 28.0], width="double")
        [line] = self.artists(figure, "best_dose")
        np.testing.assert_allclose(line.get_ydata(), result["best_dose"])


class TestPredictions:
    def test_the_mean_response_is_that_of_the_time(self):
        fit = known_fit([0.02, 0.05])
        doses = [0.0, 1.0, 10.0]
        for time in (0.0, 14.0, 60.0):
            found = hf.predict(fit, doses=doses, time=time).values[0]
            for draw, slope in enumerate((0.02, 0.05)):
                np.testing.assert_allclose(found[draw], CURVE(np.array(doses) * np.exp(slope * time)), rtol=1e-12)
        np.testing.assert_array_equal(hf.predict(fit, doses=doses), hf.predict(fit, doses=doses, time=28.0))

    def test_predicted_rows_drift_with_their_visits(self):
        fit = known_fit(np.full(400, 0.05))
        trial = drifting_trial()
        mean = replicates(fit).mean(("chain", "draw")).values
        expected = CURVE.drifted(trial["dose"].values, potency=0.05 * trial["time"].values)
        np.testing.assert_allclose(mean, expected, atol=5 * 2.0 / np.sqrt(400))

    def test_the_figure_shows_the_curve_of_the_windows_time(self):
        fit = known_fit([0.02, 0.02])
        fit["window"] = hf.window(fit, time=14.0)
        [line] = [one for one in hf.plot_window(fit).axes[0].lines if one.get_gid() == "median"]
        np.testing.assert_allclose(line.get_ydata(), CURVE(line.get_xdata() * np.exp(0.28)), rtol=1e-9)
