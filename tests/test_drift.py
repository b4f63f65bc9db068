"""Drifts: declarations, paths of processes, receptor mechanisms against their equations."""

import inspect
import math

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from pytensor.compile.mode import Mode
from scipy.integrate import solve_ivp

from hormesis_fit.dosing.exposure import OneCompartment, exposure_at, mean_hill
from hormesis_fit.dosing.regimen import Regimen, schedule, step_edges
from hormesis_fit.drift import (
    DRIFTS,
    Drift,
    HypotheticalAntagonist,
    LinearDrift,
    LocalTrend,
    MaternProcess,
    OrnsteinUhlenbeck,
    RandomWalk,
    ReceptorTurnover,
    ReducedSynthesis,
    SaturatingDrift,
    ThreeStateDesensitisation,
    TwoStateDesensitisation,
    UpRegulation,
)
from hormesis_fit.drift.process import hilbert_basis, time_scale_prior
from hormesis_fit.drift.steps import linear
from hormesis_fit.model.density import INTERPRETED
from hormesis_fit.parameter import UNITS, unit_factor

UNREWRITTEN = Mode(linker="py", optimizer=None)
EXPOSURE = np.array([0.0, 0.3, 2.0, 0.0, 9.0, 1e-9, 0.7])
DURATION = np.array([0.5, 1.0, 0.25, 2.0, 0.1, 3.0, 1.0])
TIMES = np.array([0.0, 0.4, 1.0, 3.5, 3.6, 8.0])
SCALES = {"control": 1.0, "response": 1.0, "log_dose": 0.0, "log_range": 4.0, "time": 5.0}


def draws_of(template, size, seed=5):
    """Return positive draws near the middles of the priors, by parameter."""
    rng, found = np.random.default_rng(seed), {}
    for name, prior in template.priors().items():
        given = prior.arguments
        if prior.distribution == "LogNormal":
            found[name] = np.exp(given["mu"] + 0.3 * rng.normal(size=size)) / (
                5.0 if template.declared()[name].unit == "1 / time" else 1.0
            )
        elif prior.distribution == "Beta":
            found[name] = rng.uniform(0.2, 0.8, size)
        else:
            found[name] = given["sigma"] * rng.uniform(0.3, 1.5, size)
    return found


def run(drift, innovations=None, exposure=EXPOSURE, duration=DURATION):
    """Evaluate a drift of either sort."""
    if drift.kind == "process":
        return drift.path(TIMES, innovations)
    return drift(exposure, duration)


def innovations_of(drift, lead=(), seed=8):
    shape = (*lead, 2, TIMES.size) if drift.sources == 2 else (*lead, TIMES.size)
    return np.random.default_rng(seed).normal(size=shape)


def variants(kinds):
    for name, drift in kinds.items():
        options = drift.options()
        choices = [dict.fromkeys(options)] if not options else []
        for option, values in options.items():
            choices += [{option: value} for value in values]
        if name == "MaternProcess":
            choices = [{"smoothness": "3/2"}]
        for chosen in choices:
            yield pytest.param(drift(**chosen), id="-".join([name, *map(str, chosen.values())]))


EVERY = [*variants(DRIFTS)]


class TestDeclaration:
    @pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
    def test_says_what_it_is(self, drift):
        assert drift.source.startswith("https://doi.org/10.")
        assert inspect.getdoc(drift).partition("\n")[0].endswith(".")
        assert drift.__mro__[1] is Drift
        for name, known in drift.declared().items():
            assert known.symbol in drift.formula, name
            assert known.unit in UNITS, name
            assert known.description, name
        assert {"gain", "response", "exposure"} >= {drift.acts_on} or drift.kind == "process"

    @pytest.mark.parametrize("template", EVERY)
    def test_every_parameter_has_a_prior(self, template):
        assert set(template.priors()) == set(template.parameters())

    @pytest.mark.parametrize("kind", ["process", "receptor", "feedback"])
    def test_names_are_those_of_the_classes(self, kind):
        assert all(DRIFTS[name].__name__ == name for name in DRIFTS)
        assert any(drift.kind == kind for drift in DRIFTS.values())

    def test_what_a_drift_is_not_is_said_in_one_sentence(self):
        with pytest.raises(NotImplementedError, match="no process in time"):
            ReceptorTurnover().path(TIMES, TIMES)
        with pytest.raises(NotImplementedError, match="no single rate"):
            RandomWalk()(EXPOSURE, DURATION)


@pytest.mark.parametrize("template", EVERY)
class TestOneFormulaForEveryKindOfNumber:
    def test_float_array_dataarray(self, template):
        draws, noise = draws_of(template, 6), innovations_of(template)
        one_by_one = [
            np.broadcast_to(
                run(template.with_values({n: float(v[i]) for n, v in draws.items()}), noise), (len(noise.T),)
            )
            if template.kind == "process"
            else run(template.with_values({n: float(v[i]) for n, v in draws.items()}))
            for i in range(6)
        ]
        columns = template.with_values({name: values[:, None] for name, values in draws.items()})
        np.testing.assert_allclose(run(columns, noise), one_by_one, rtol=1e-11, atol=1e-13)
        named = {name: xr.DataArray(values.reshape(2, 3), dims=("chain", "draw")) for name, values in draws.items()}
        last = "visit" if template.kind == "process" else "step"
        if template.kind == "process":
            dims = ("source", "visit") if template.sources == 2 else ("visit",)
            found = run(template.with_values(named), xr.DataArray(noise, dims=dims))
        else:
            exposure, duration = (xr.DataArray(values, dims="step") for values in (EXPOSURE, DURATION))
            found = run(template.with_values(named), exposure=exposure, duration=duration)
        assert set(found.dims) == {"chain", "draw", last}
        flat = found.transpose("chain", "draw", last).values.reshape(6, -1)
        np.testing.assert_allclose(flat, one_by_one, rtol=1e-11, atol=1e-13)

    def test_pytensor_with_finite_gradients(self, template):
        draws, noise = draws_of(template, 1), innovations_of(template)
        numbers = {name: float(values[0]) for name, values in draws.items()}
        symbols = {name: pt.dscalar(name) for name in numbers}
        exposure = pt.dvector("exposure")
        drift, process = template.with_values(symbols), template.kind == "process"
        # Unrolled steps of a nonlinear drift use a parameter more often than the interpreter can add up: one is enough.
        size = 1 if hasattr(drift, "step") else EXPOSURE.size
        mode = UNREWRITTEN if hasattr(drift, "step") else INTERPRETED
        given, duration = EXPOSURE[-size:], DURATION[-size:]
        graph = drift.path(TIMES, pt.constant(noise)) if process else drift(exposure, duration)
        inputs = [*symbols.values()] if process else [*symbols.values(), exposure]
        gradients = pt.grad(graph.sum(), inputs)
        evaluate = pytensor.function(inputs, [graph, *gradients], mode=mode)
        found, *slopes = evaluate(*numbers.values(), *([] if process else [given]))

        def value(**changed):
            return run(template.with_values(numbers | changed), noise, given, duration)

        np.testing.assert_allclose(found, value(), rtol=1e-11, atol=1e-13)
        for name, slope in zip(numbers, slopes, strict=False):
            step = 1e-5 * numbers[name]
            ends = [value(**{name: numbers[name] + shift}).sum() for shift in (-step, step)]
            assert slope == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-4, abs=1e-6), name
        if not process:
            *_, slope = evaluate(*numbers.values(), np.zeros(size))
            assert np.all(np.isfinite(slope))

    def test_invariant_to_units(self, template):
        dose, time = 1e3, 1 / 24
        draws, noise, known = draws_of(template, 1), innovations_of(template), template.parameters()
        other = SCALES | {"log_dose": math.log(dose), "time": SCALES["time"] * time}
        factors = {name: unit_factor(known[name].unit, other) / unit_factor(known[name].unit, SCALES) for name in draws}
        before = template.with_values({name: float(values[0]) for name, values in draws.items()})
        after = template.with_values({name: float(values[0]) * factors[name] for name, values in draws.items()})
        if template.kind == "process":
            found, expected = after.path(TIMES * time, noise), before.path(TIMES, noise)
        else:
            found, expected = after(EXPOSURE * dose, DURATION * time), before(EXPOSURE, DURATION)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


class TestRecurrence:
    @pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 100])
    def test_is_the_loop(self, count):
        rng = np.random.default_rng(count)
        transfer, added = rng.uniform(-0.9, 0.9, (2, 2, 3, count)), rng.normal(size=(2, 3, count))
        product, gained = linear([[*row] for row in transfer], [*added])
        state = start = rng.normal(size=(2, 3))
        for k in range(count):
            state = np.einsum("ijs,js->is", transfer[..., k], state) + added[..., k]
            whole = [sum(product[i][j][:, k] * start[j] for j in range(2)) + gained[i][:, k] for i in range(2)]
            np.testing.assert_allclose(whole, state, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("count", [16, 37])
    def test_of_many_steps_in_a_graph(self, count):
        rng, drift = np.random.default_rng(1), RECEPTORS["ReceptorTurnover"]
        exposure, duration = rng.exponential(2, (3, count)), rng.exponential(1, count)
        speed = pt.dcol("speed")
        graph = drift.with_values({"turnover_rate": speed})(exposure, duration)
        evaluate = pytensor.function([speed], [graph, pt.grad((graph**2).sum(), speed)], mode=INTERPRETED)
        rates = np.array([[0.1], [0.3], [2.0]])
        found, slope = evaluate(rates)

        def value(shift):
            return drift.with_values({"turnover_rate": rates + shift})(exposure, duration)

        np.testing.assert_allclose(found, value(0.0), rtol=1e-12)
        numeric = ((value(1e-5) ** 2).sum(axis=1) - (value(-1e-5) ** 2).sum(axis=1)) / 2e-5
        np.testing.assert_allclose(slope[:, 0], numeric, rtol=1e-6)
        named = drift(xr.DataArray(exposure, dims=("subject", "step")), xr.DataArray(duration, dims="step"))
        one_by_one = [drift(row, duration) for row in exposure]
        np.testing.assert_allclose(named, one_by_one, rtol=1e-12)

    def test_decays_that_underflow_do_no_harm(self):
        drift = ReceptorTurnover(turnover_rate=400.0, loss_ratio=1.0, occupancy_dose=1.0, occupancy_slope=1.0)
        found = drift(np.ones(50), np.full(50, 10.0))
        np.testing.assert_allclose(found, 1 / 1.5, rtol=1e-15)

    def test_with_an_unknown_number_of_steps(self):
        drift = ReceptorTurnover(turnover_rate=0.3, loss_ratio=2.0, occupancy_dose=1.0, occupancy_slope=1.0)
        exposure, duration = pt.dvector("exposure"), pt.dvector("duration")
        found = pytensor.function([exposure, duration], drift(exposure, duration), mode=INTERPRETED)
        np.testing.assert_allclose(found(EXPOSURE, DURATION), drift(EXPOSURE, DURATION), rtol=1e-13)


class TestProcess:
    @pytest.mark.parametrize(
        "drift",
        [
            RandomWalk(diffusion=0.7),
            OrnsteinUhlenbeck(sd=0.6, time_scale=2.0),
            LocalTrend(slope=0.0, roughness=0.4),
            MaternProcess(sd=0.6, time_scale=2.0),
        ],
        ids=lambda drift: type(drift).__name__,
    )
    def test_covariance_of_paths(self, drift):
        """A path is linear in its innovations: their images give its covariance exactly."""
        size = TIMES.size * drift.sources
        units = np.eye(size).reshape(size, *((2, TIMES.size) if drift.sources == 2 else (TIMES.size,)))
        images = drift.path(TIMES, units)
        np.testing.assert_allclose(images.T @ images, drift.covariance(TIMES), rtol=1e-9, atol=1e-12)
        # Visits know nothing of later innovations.
        later = drift.path(TIMES[:4], units[..., :4])
        np.testing.assert_allclose(later, images[:, :4], rtol=1e-12, atol=1e-14)

    def test_covariance_by_simulation(self):
        drift, noise = (
            OrnsteinUhlenbeck(sd=0.6, time_scale=2.0),
            np.random.default_rng(1).normal(size=(40_000, TIMES.size)),
        )
        np.testing.assert_allclose(np.cov(drift.path(TIMES, noise).T), drift.covariance(TIMES), atol=0.012)

    def test_deterministic_drifts(self):
        np.testing.assert_allclose(LinearDrift(slope=-0.2).path(TIMES), -0.2 * TIMES)
        saturating = SaturatingDrift(limit=-0.5, time_scale=2.0)
        np.testing.assert_allclose(saturating.path(TIMES), -0.5 * (1 - np.exp(-TIMES / 2)))

    def test_local_trend_has_the_van_loan_noise(self):
        gap, drift = 1.7, LocalTrend(slope=0.0, roughness=0.8)
        units = np.eye(4).reshape(4, 2, 2)
        # Level at two visits, from which the level's and the slope's noise over the first gap are seen.
        images = drift.path(np.array([gap, 2 * gap]), units)
        level, after = images[:, 0], images[:, 1]
        q = 0.8**3
        assert level @ level == pytest.approx(q * gap**3 / 3)
        assert level @ after == pytest.approx(q * (gap**3 / 3 + gap * gap**2 / 2))
        assert after @ after == pytest.approx(q * (2 * gap) ** 3 / 3)

    def test_local_trend_without_noise_is_a_line(self):
        drift = LocalTrend(slope=0.3, roughness=1e-12)
        np.testing.assert_allclose(drift.path(TIMES, innovations_of(drift)), 0.3 * TIMES, atol=1e-12)

    def test_forecasts_continue_and_have_the_conditional_law(self):
        drift, rng = OrnsteinUhlenbeck(sd=0.6, time_scale=2.0), np.random.default_rng(2)
        past, later = rng.normal(size=TIMES.size), np.array([9.0, 20.0])
        fresh = rng.normal(size=(60_000, 2))
        found = drift.forecast(TIMES, np.broadcast_to(past, (60_000, TIMES.size)), later=later, fresh=fresh)
        last, kept = drift.path(TIMES, past)[-1], np.exp(-(later - TIMES[-1]) / 2.0)
        np.testing.assert_allclose(found.mean(axis=0), kept * last, atol=0.01)
        np.testing.assert_allclose(found.std(axis=0), 0.6 * np.sqrt(1 - kept**2), rtol=0.01)
        named = xr.DataArray(past, dims="visit"), xr.DataArray(fresh[0], dims="visit")
        np.testing.assert_allclose(drift.forecast(TIMES, named[0], later=later, fresh=named[1]), found[0])

    @pytest.mark.parametrize("smoothness", ["3/2", "5/2"])
    def test_hilbert_space_form_has_the_covariance(self, smoothness):
        times, drift = np.linspace(0, 10, 21), MaternProcess(smoothness=smoothness, sd=0.7, time_scale=2.5)
        count, boundary = 120, 12.0
        images = drift.smooth_path(times, np.eye(count), boundary=boundary)
        np.testing.assert_allclose(images.T @ images, drift.covariance(times), atol=2e-3)
        _, functions = hilbert_basis(times, count, boundary=boundary)
        assert functions.shape == (21, count)
        whole = np.trapezoid(drift.spectral_density(np.linspace(0, 400, 400_001)), np.linspace(0, 400, 400_001)) / np.pi
        assert whole == pytest.approx(0.49, rel=1e-4)
        weights = pt.constant(np.eye(count)[:3])
        graph = drift.smooth_path(times, weights, boundary=boundary)
        np.testing.assert_allclose(graph.eval(mode=INTERPRETED), images[:3], rtol=1e-12, atol=1e-14)
        named = drift.smooth_path(times, xr.DataArray(np.eye(count)[:3], dims=("draw", "function")), boundary=boundary)
        np.testing.assert_allclose(named, images[:3], rtol=1e-12, atol=1e-14)

    def test_smooth_paths_of_the_second_kind_need_the_hilbert_space_form(self):
        drift = MaternProcess(smoothness="5/2", sd=1.0, time_scale=1.0)
        with pytest.raises(ValueError, match="smooth_path"):
            drift.path(TIMES, innovations_of(drift))

    @pytest.mark.parametrize("times", [[1.0, 0.5], [0.0, 0.0], [-1.0, 2.0], [0.0, math.nan]])
    def test_times_must_ascend(self, times):
        with pytest.raises(ValueError, match="strictly ascending times"):
            OrnsteinUhlenbeck(sd=1.0, time_scale=1.0).path(np.array(times), np.zeros(2))

    def test_prior_of_the_time_scale(self):
        prior = time_scale_prior([0, 1, 1, 2, 4, 9])
        low, high = (math.exp(prior.arguments["mu"] + z * prior.arguments["sigma"]) for z in (-2.3263479, 2.3263479))
        assert (low, high) == pytest.approx((1.5, 18.0))
        with pytest.raises(ValueError, match="at least 2 different times"):
            time_scale_prior([3.0, 3.0])


RECEPTORS = {
    "ReceptorTurnover": ReceptorTurnover(turnover_rate=0.3, loss_ratio=4.0, occupancy_dose=1.5, occupancy_slope=1.7),
    "ReducedSynthesis": ReducedSynthesis(
        turnover_rate=0.3, max_inhibition=0.8, occupancy_dose=1.5, occupancy_slope=1.7
    ),
    "UpRegulation": UpRegulation(turnover_rate=0.3, synthesis_gain=0.9, loss_ratio=2.0, loss_dose=4.0, dose_ratio=0.05),
    "TwoStateDesensitisation": TwoStateDesensitisation(
        recovery_rate=0.4, desensitisation_ratio=3.0, occupancy_dose=1.5, occupancy_slope=1.7
    ),
    "ThreeStateDesensitisation": ThreeStateDesensitisation(
        recovery_rate=0.4,
        desensitisation_ratio=3.0,
        internalisation_ratio=0.8,
        recycling_ratio=0.5,
        occupancy_dose=1.5,
        occupancy_slope=1.7,
    ),
    "HypotheticalAntagonist": HypotheticalAntagonist(tolerance_rate=0.4, tolerance_dose=2.0),
}


def rho(c, half=1.5, n=1.7):
    return c**n / (c**n + half**n)


def up(c, y):
    return [0.3 * (1 + 0.9 * c / (0.2 + c)) - 0.3 * (1 + 2 * c / (4 + c)) * y[0]]


def three(c, y):
    k, r, i, rec = 0.4, 3.0, 0.8, 0.5
    free, silent, inside = y
    out = k * r * rho(c) * free
    return [
        -out + k * silent + k * rec * inside,
        out - k * (1 + i) * silent,
        k * i * silent - k * rec * inside,
    ]


EQUATIONS = {
    "ReceptorTurnover": ([1.0], lambda c, y: [0.3 - (0.3 + 1.2 * rho(c)) * y[0]], lambda y: y[0]),
    "ReducedSynthesis": ([1.0], lambda c, y: [0.3 * (1 - 0.8 * rho(c)) - 0.3 * y[0]], lambda y: y[0]),
    "UpRegulation": ([1.0], up, lambda y: y[0]),
    "TwoStateDesensitisation": ([1.0], lambda c, y: [-1.2 * rho(c) * y[0] + 0.4 * (1 - y[0])], lambda y: y[0]),
    "ThreeStateDesensitisation": ([1.0, 0.0, 0.0], three, lambda y: y[0]),
    "HypotheticalAntagonist": ([0.0], lambda c, y: [0.4 * (c - y[0])], lambda y: 1 / (1 + y[0] / 2.0)),
}


def by_equations(slope, start, exposure, duration):
    """Return the states at the end of every step."""
    state, found = np.array(start, dtype=float), []
    for c, span in zip(exposure, duration, strict=True):
        solved = solve_ivp(lambda _, y, c=c: slope(c, y), (0, span), state, method="Radau", rtol=1e-11, atol=1e-13)
        state = solved.y[:, -1]
        found.append(state)
    return np.array(found).T


@pytest.mark.parametrize("name", RECEPTORS)
class TestReceptor:
    def test_is_the_solution_of_the_equations(self, name):
        start, slope, seen = EQUATIONS[name]
        expected = seen(by_equations(slope, start, EXPOSURE, DURATION))
        np.testing.assert_allclose(RECEPTORS[name](EXPOSURE, DURATION), expected, rtol=1e-8)

    def test_without_the_drug_nothing_happens(self, name):
        np.testing.assert_allclose(RECEPTORS[name](np.zeros(9), np.full(9, 3.0)), 1.0, rtol=1e-14)

    def test_settles_at_the_steady_state(self, name):
        drift, (_, slope, _) = RECEPTORS[name], EQUATIONS[name]
        levels = np.array([0.0, 0.2, 3.0, 50.0])
        ends = [drift(np.array([level]), np.array([1e4]))[0] for level in levels]
        np.testing.assert_allclose(drift.steady_state(levels), ends, rtol=1e-11)
        assert len(slope(1.0, EQUATIONS[name][0])) == len(EQUATIONS[name][0])

    def test_steps_may_be_cut(self, name):
        exposure, duration = np.repeat(EXPOSURE, 4), np.repeat(DURATION / 4, 4)
        found = RECEPTORS[name](exposure, duration)[3::4]
        np.testing.assert_allclose(found, RECEPTORS[name](EXPOSURE, DURATION), rtol=1e-12)

    def test_periodic_steady_state_comes_back(self, name):
        drift = RECEPTORS[name]
        state = drift.periodic(EXPOSURE, DURATION)
        many = drift(np.tile(EXPOSURE, 60), np.tile(DURATION, 60))[-EXPOSURE.size :]
        np.testing.assert_allclose(drift(EXPOSURE, DURATION, start=state), many, rtol=1e-10)

    def test_subjects_by_row(self, name):
        exposure = np.stack([EXPOSURE, EXPOSURE[::-1], np.zeros(EXPOSURE.size)])
        found = RECEPTORS[name](exposure, DURATION)
        for row, single in zip(found, exposure, strict=True):
            np.testing.assert_allclose(row, RECEPTORS[name](single, DURATION), rtol=1e-12)


class TestLimits:
    @pytest.mark.parametrize(
        ("name", "static"),
        [
            ("ReceptorTurnover", {"loss_ratio": 1e-14}),
            ("ReducedSynthesis", {"max_inhibition": 1e-14}),
            ("UpRegulation", {"synthesis_gain": 1e-14, "loss_ratio": 1e-14}),
            ("TwoStateDesensitisation", {"desensitisation_ratio": 1e-14}),
            ("ThreeStateDesensitisation", {"desensitisation_ratio": 1e-14}),
            ("HypotheticalAntagonist", {"tolerance_dose": 1e14}),
        ],
    )
    def test_without_its_mechanism_a_drift_is_static(self, name, static):
        drift = RECEPTORS[name].with_values(static)
        np.testing.assert_allclose(drift(EXPOSURE, DURATION), 1.0, atol=1e-12)

    def test_receptors_stay_between_their_bounds(self):
        rng = np.random.default_rng(4)
        found = RECEPTORS["ReceptorTurnover"](rng.exponential(9, 400), rng.exponential(1, 400))
        assert found.min() > 1 / 5
        assert found.max() < 1

    def test_two_states_settle_at_the_published_level(self):
        drift, c = RECEPTORS["TwoStateDesensitisation"], 0.9
        assert drift.steady_state(c) == pytest.approx(0.4 / (1.2 * rho(c) + 0.4), rel=1e-14)
        assert drift.rates(c)[0] == pytest.approx(1.2 * rho(c) + 0.4, rel=1e-14)

    def test_up_regulation_settles_at_the_ratio_of_gains(self):
        c = 0.9
        expected = (1 + 0.9 * c / (0.2 + c)) / (1 + 2 * c / (4 + c))
        assert RECEPTORS["UpRegulation"].steady_state(c) == pytest.approx(expected, rel=1e-14)

    def test_three_states_settle_at_the_closed_form_and_sum_to_one(self):
        drift, c = RECEPTORS["ThreeStateDesensitisation"], 0.9
        silent = 1.2 * rho(c) / (0.4 + 0.32)
        inside = 0.32 / 0.2 * silent
        assert drift.steady_state(c) == pytest.approx(1 / (1 + silent + inside), rel=1e-14)
        found = drift.states(EXPOSURE, DURATION)
        expected = by_equations(three, [1.0, 0.0, 0.0], EXPOSURE, DURATION)
        for state, values in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(state, values, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(sum(found.values()), 1.0, rtol=1e-14)

    @pytest.mark.parametrize(("i", "c"), [(4.0, 3.0), (1e-9, 1.0), (1.0, 1e-9), (30.0, 40.0)])
    def test_three_states_with_complex_or_equal_eigenvalues(self, i, c):
        drift = RECEPTORS["ThreeStateDesensitisation"].with_values({"internalisation_ratio": i, "recycling_ratio": c})

        def slope(level, y):
            out = 1.2 * rho(level) * y[0]
            return [
                -out + 0.4 * y[1] + 0.4 * c * y[2],
                out - 0.4 * (1 + i) * y[1],
                0.4 * i * y[1] - 0.4 * c * y[2],
            ]

        expected = by_equations(slope, [1.0, 0.0, 0.0], EXPOSURE, DURATION)[0]
        np.testing.assert_allclose(drift(EXPOSURE, DURATION), expected, rtol=2e-8)

    @pytest.mark.parametrize("off", [0.3, 4.0, 1e3])
    def test_pulses_have_a_closed_fixed_point(self, off):
        drift = RECEPTORS["TwoStateDesensitisation"]
        expected = drift.periodic(np.array([2.0, 0.0]), np.array([1.5, off]))
        found = drift.before_pulse(2.0, on=1.5, off=off)
        assert found == pytest.approx(float(expected[0]), rel=1e-13)
        if off > 100:
            assert found == pytest.approx(1.0, abs=1e-12)

    def test_the_antagonist_of_a_bolus_has_the_closed_form(self):
        """A = C0 k_tol / (k_tol - k) (e^{-k t} - e^{-k_tol t}) while the drug falls off."""
        k, tolerance = 0.3, 0.4
        term = OneCompartment(site="effect", elimination_rate=k, equilibration_rate=tolerance)
        times = np.array([0.5, 2.0, 9.0])
        closed = 5 * tolerance / (tolerance - k) * (np.exp(-k * times) - np.exp(-tolerance * times))
        events = Regimen(dose=5.0, interval=1.0, n=1).events()
        np.testing.assert_allclose(exposure_at(term, schedule(events, times)), closed, rtol=1e-11)
        edges = np.linspace(0, 9, 3601)
        middle = 5 * np.exp(-k * (edges[1:] + edges[:-1]) / 2)
        stepped = RECEPTORS["HypotheticalAntagonist"](middle, np.diff(edges))
        places = np.searchsorted(edges, times) - 1
        np.testing.assert_allclose(stepped[places], 1 / (1 + closed / 2.0), rtol=1e-6)


class TestAveraging:
    """Receptors that are slow against the interval see the mean occupancy: science.md 2.3."""

    @pytest.mark.parametrize(
        ("interval", "exact", "averaged"), [(1, 10.3061, 10.3059), (4, 13.913, 13.897), (12, 20.636, 20.499)]
    )
    def test_numbers(self, interval, exact, averaged):
        k, lost, driven = 2.0, 0.02, 0.3
        peak = OneCompartment(elimination_rate=k).steady(0.0, interval, 0.75 * interval)
        mean = 1 / (lost + driven * mean_hill(peak, k, interval, 1.0))
        drift = ReceptorTurnover(turnover_rate=lost, loss_ratio=driven / lost, occupancy_dose=1.0, occupancy_slope=1.0)
        edges = np.linspace(0, interval, 8001)
        exposure, duration = peak * np.exp(-k * (edges[1:] + edges[:-1]) / 2), np.diff(edges)
        level = drift(exposure, duration, start=drift.periodic(exposure, duration)) / lost
        digits = 4 if interval == 1 else 3
        assert round(level.mean(), digits) == exact
        assert round(mean, digits) == averaged

    def test_from_events_to_sensitivity(self):
        events = Regimen(dose=2.0, interval=12.0, n=6).events()
        edges = step_edges(events, until=72.0, longest=0.1)
        kinetics = OneCompartment(elimination_rate=0.15)
        exposure = exposure_at(kinetics, schedule(events, (edges[1:] + edges[:-1]) / 2))
        found = RECEPTORS["ReceptorTurnover"](exposure, np.diff(edges))

        def slope(t, y):
            c = sum(2.0 * math.exp(-0.15 * (t - 12 * n)) for n in range(6) if t >= 12 * n)
            return [0.3 - (0.3 + 1.2 * rho(c)) * y[0]]

        state = [1.0]
        for n in range(6):
            state = solve_ivp(slope, (12 * n, 12 * n + 12 - 1e-12), state, rtol=1e-10, atol=1e-12).y[:, -1]
        assert found[-1] == pytest.approx(state[0], rel=5e-5)
