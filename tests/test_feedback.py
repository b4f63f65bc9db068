"""Feedback mechanisms against their equations, published numbers and theorems."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, minimize_scalar

from hormesis_fit.drift import Autoregulation, FeedbackSuppression, GonadalAxis, Moderator, PrecursorPool
from hormesis_fit.drift.feedback import endogenous_level, frequency_response

EXPOSURE = np.array([0.0, 0.3, 2.0, 0.0, 9.0, 0.7])
DURATION = np.array([0.5, 1.0, 0.25, 2.0, 0.4, 1.0])
EFFECT = {"effect_dose": 1.5, "effect_slope": 1.7}
SUPPRESSION = {"turnover_rate": 0.8, "own_level": 2.0, "feedback_level": 1.5, "feedback_slope": 2.0}
# Tornoe et al. 2007, table 4, triptorelin: per hour, IU/L and ng/ml.
AXIS = {
    "feedback_rate": 0.00107,
    "release_rate": 0.00241,
    "lutropin_rate": 0.0082,
    "testosterone_rate": 0.0901,
    "feedback_slope": 8.26,
    "max_release": 1330.0,
    "effect_dose": 0.047,
    "effect_slope": 4.87,
    "max_secretion": 77.5,
    "secretion_level": 5.18 / 4.76,
    "secretion_slope": 1.9,
}


def rho(c):
    return c**1.7 / (c**1.7 + 1.5**1.7)


def by_equations(slope, start, exposure=EXPOSURE, duration=DURATION):
    """Return the states at the end of every step."""
    state, found = np.array(start, dtype=float), []
    for c, span in zip(exposure, duration, strict=True):
        solved = solve_ivp(lambda _, y, c=c: slope(c, y), (0, span), state, method="Radau", rtol=1e-11, atol=1e-13)
        state = solved.y[:, -1]
        found.append(state)
    return np.array(found).T


def moderated(c, y):
    return [0.9 * ((1 + 3 * rho(c)) / y[1] - y[0]), 0.4 * (y[0] - y[1])]


def lost(c, y):
    return [0.9 * (3 * (1 - 0.8 * rho(c)) - (1 + 2 * y[1]) * y[0]), 0.4 * (y[0] - y[1])]


def regulated(c, y):
    return [0.9 * (1.6 / (0.6 + y[0]) - (1 + 3 * rho(c)) * y[0])]


def suppressed(c, y):
    return [0.8 * ((1 + 1.5**2) / (1 + (1.5 * (y[0] + c / 2)) ** 2) - y[0])]


def pooled(c, y):
    s = 1 + 3 * rho(c)
    return [0.4 * (1.5 - (s + 0.5) * y[0]), 0.9 * (s * y[0] - y[1])]


def gonadal(c, y):
    f, p, lh, te = y
    release = 1 + 1330 * c**4.87 / (c**4.87 + 0.047**4.87)
    level = 5.18 / 4.76

    def secretion(x):
        return 1 + 77.5 * x**1.9 / (x**1.9 + level**1.9)

    return [
        0.00107 * (te**8.26 - f),
        0.00241 / f * (1 - release * p),
        0.0082 * (release * p / f - lh),
        0.0901 * (secretion(lh) / secretion(1.0) - te),
    ]


NONLINEAR = {
    "production": (
        Moderator(turnover_rate=0.9, tolerance_rate=0.4, max_effect=3.0, **EFFECT),
        lambda drift, n: list(drift.states(EXPOSURE, DURATION, substeps=n).values()),
        moderated,
        [1.0, 1.0],
    ),
    "loss": (
        Moderator(
            feedback="loss",
            action="inhibition",
            turnover_rate=0.9,
            tolerance_rate=0.4,
            feedback_ratio=2.0,
            max_inhibition=0.8,
            **EFFECT,
        ),
        lambda drift, n: list(drift.states(EXPOSURE, DURATION, substeps=n).values()),
        lost,
        [1.0, 1.0],
    ),
    "autoregulation": (
        Autoregulation(turnover_rate=0.9, inhibition_level=0.6, max_effect=3.0, **EFFECT),
        lambda drift, n: [drift(EXPOSURE, DURATION, substeps=n)],
        regulated,
        [1.0],
    ),
    "suppression": (
        FeedbackSuppression(**SUPPRESSION),
        lambda drift, n: [drift(EXPOSURE, DURATION, substeps=n)],
        suppressed,
        [1.0],
    ),
}


@pytest.mark.parametrize("name", NONLINEAR)
class TestNonlinear:
    def test_error_falls_with_the_fourth_power_of_the_step(self, name):
        drift, states, slope, start = NONLINEAR[name]
        exact = by_equations(slope, start)
        errors = [np.max(np.abs(np.array(states(drift, n)) / exact - 1)) for n in (4, 8, 32)]
        assert errors[0] < 2e-4  # steps of up to half a time constant of the loss
        assert errors[0] / errors[1] > 11
        assert errors[2] < 1e-7

    def test_without_the_drug_nothing_happens(self, name):
        found = NONLINEAR[name][0](np.zeros(4), np.full(4, 5.0))
        np.testing.assert_allclose(found, 1.0, rtol=1e-14)

    def test_settles_at_the_steady_state(self, name):
        drift = NONLINEAR[name][0]
        for level in (0.0, 0.5, 6.0):
            end = drift(np.full(80, level), np.full(80, 1.0))[-1]
            assert drift.steady_state(level) == pytest.approx(end, rel=1e-8)

    def test_a_long_step_stays_positive_and_finite(self, name):
        found = NONLINEAR[name][0](np.array([9.0, 0.0]), np.array([1e4, 1e4]))
        assert np.all(np.isfinite(found))
        assert np.all(found > 0)


class TestModerator:
    @pytest.mark.parametrize("stimulus", [0.25, 1.0, 4.0])
    def test_settles_at_the_square_root(self, stimulus):
        drift = Moderator(
            turnover_rate=1.0, tolerance_rate=0.25, max_effect=stimulus - 1, effect_dose=1.0, effect_slope=1.0
        )
        assert drift.steady_state(1e12) == pytest.approx(math.sqrt(stimulus), rel=1e-9)

    def test_overshoots_and_rebounds(self):
        drift = NONLINEAR["production"][0]
        up = drift(np.full(200, 6.0), np.full(200, 0.1))
        down = drift(np.append(np.full(200, 6.0), np.zeros(200)), np.full(400, 0.1))[200:]
        assert up.max() > 1.05 * up[-1]
        assert down.min() < 0.95

    def test_loss_without_feedback_is_the_plain_response(self):
        drift = NONLINEAR["loss"][0].with_values({"feedback_ratio": 1e-14})
        assert drift.steady_state(2.0) == pytest.approx(1 - 0.8 * rho(2.0), rel=1e-12)

    def test_published_trajectory(self):
        """PKPDtol of nlmeODE, eight digits by two solvers: peers.md 4.7."""
        start = -0.5 + math.sqrt(0.25 + 100)
        drift = Moderator(
            feedback="loss",
            action="inhibition",
            turnover_rate=0.1,
            tolerance_rate=0.05,
            feedback_ratio=start,
            max_inhibition=1.0,
            effect_dose=5.0,
            effect_slope=3.0,
        )
        times = np.array([0.25, 0.5, 1, 2, 4, 8, 12, 24])
        runs = []
        for step in (1 / 40, 1 / 80):
            edges = np.arange(0, 24 + step / 2, step)
            # The concentration falls within a step: its middle leaves an error of the square of the step.
            states = drift.states(10 * np.exp(-0.25 * (edges[1:] + edges[:-1]) / 2), np.diff(edges))
            places = np.round(times / step).astype(int) - 1
            runs.append(start * np.array([values[places] for values in states.values()]))
        response, moderator = (4 * runs[1] - runs[0]) / 3
        expected = [7.58143320, 6.14714756, 4.36451611, 3.40720001, 5.72753093, 9.87952515, 10.16982699, 9.70696211]
        assert start == pytest.approx(9.51249220, abs=5e-9)
        np.testing.assert_allclose(response, expected, rtol=0, atol=6e-9)
        expected = [9.49989442, 9.46668216, 9.36009834, 9.08257261, 8.63201084, 8.58347706, 8.86677539, 9.32265731]
        np.testing.assert_allclose(moderator, expected, rtol=0, atol=6e-9)


class TestPrecursorPool:
    DRIFT = PrecursorPool(turnover_rate=0.9, release_rate=0.4, bypass_ratio=0.5, max_effect=3.0, **EFFECT)

    def test_is_the_solution_of_the_equations(self):
        found = list(self.DRIFT.states(EXPOSURE, DURATION).values())
        np.testing.assert_allclose(found, by_equations(pooled, [1.0, 1.0]), rtol=1e-9)

    def test_where_rates_meet(self):
        drift = self.DRIFT.with_values({"bypass_ratio": 0.9 / 0.4 - 1})  # both lose 0.9 per time without the drug

        def slope(c, y):
            s, b = 1 + 3 * rho(c), 0.9 / 0.4 - 1
            return [0.4 * (1 + b - (s + b) * y[0]), 0.9 * (s * y[0] - y[1])]

        found = list(drift.states(EXPOSURE, DURATION).values())
        np.testing.assert_allclose(found, by_equations(slope, [1.0, 1.0]), rtol=1e-9)

    def test_without_the_drug_nothing_happens(self):
        np.testing.assert_allclose(self.DRIFT(np.zeros(4), np.full(4, 5.0)), 1.0, rtol=1e-14)

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("action", ["stimulation", "inhibition"])
    def test_what_is_added_is_paid_back(self, seed, action):
        """Without other losses of the pool the area above the baseline is zero for any dosing history."""
        rng = np.random.default_rng(seed)
        drift = PrecursorPool(
            action=action,
            turnover_rate=0.9,
            release_rate=0.4,
            bypass_ratio=0.0,
            max_effect=3.0,
            max_inhibition=0.8,
            **EFFECT,
        )
        exposure, duration = np.append(rng.exponential(4, 20), 0.0), np.append(rng.exponential(1, 20), 400.0)
        found = self.area(drift, exposure, duration)
        assert found == pytest.approx(0.0, abs=1e-12)
        leaking = drift.with_values({"bypass_ratio": 0.5})
        assert abs(self.area(leaking, exposure, duration)) > 0.01

    @staticmethod
    def area(drift, exposure, duration):
        """Return the integral of response - 1, from the balance of the response and of the stimulated release."""
        states = drift.states(exposure, duration)
        pool, response = (np.append(1.0, values) for values in states.values())
        bypass, release, loss = drift.bypass_ratio, drift.release_rate, drift.turnover_rate
        # P' = p (1 + b - (S + b) P) and R' = k (S P - R): integrate P over each step exactly, and then R.
        s = np.array(
            [
                1 + drift.max_effect * rho(c) if drift.action == "stimulation" else 1 - drift.max_inhibition * rho(c)
                for c in exposure
            ]
        )
        rate = release * (s + bypass)
        limit = (1 + bypass) / (s + bypass)
        excess = limit * duration + (pool[:-1] - limit) * -np.expm1(-rate * duration) / rate
        return np.sum(s * excess - duration) - (response[-1] - 1) / loss

    def test_settles_where_release_and_loss_meet(self):
        drift = self.DRIFT
        assert drift(np.array([2.0]), np.array([1e3]))[0] == pytest.approx(drift.steady_state(2.0), rel=1e-12)
        free = drift.with_values({"bypass_ratio": 0.0})
        assert free.steady_state(2.0) == pytest.approx(1.0, rel=1e-14)


class TestFrequencyResponse:
    """Schulthess et al. 2018: all rates 1 per hour, tolerance 0.25 per hour, E = 1, EC50 = 0.25."""

    SHARED = {"turnover_rate": 1.0, "max_effect": 1.0, "effect_dose": 0.25, "effect_slope": 1.0}  # noqa: RUF012

    @staticmethod
    def gain(drift, frequency):
        return abs(frequency_response(drift, np.atleast_1d(frequency), sensitivity=4.0))[0]

    def peak(self, drift):
        found = minimize_scalar(lambda x: -self.gain(drift, math.exp(x)), bounds=(-6, 1), method="bounded")
        return math.exp(found.x), -found.fun

    def test_moderator(self):
        drift = Moderator(tolerance_rate=0.25, **self.SHARED)
        assert self.gain(drift, 0.0) == pytest.approx(2.0, rel=1e-12)
        assert self.peak(drift)[0] == pytest.approx(0.1013, abs=5e-5)
        assert 0.25 / (2 * math.pi) == pytest.approx(0.0398, abs=5e-5)

    def test_precursor_pool(self):
        drift = PrecursorPool(release_rate=1.0, bypass_ratio=0.0, **self.SHARED)
        assert self.gain(drift, 0.0) == pytest.approx(0.0, abs=1e-12)
        frequency, height = self.peak(drift)
        assert (frequency, height) == pytest.approx((0.1592, 2.0), abs=5e-5)
        for low, high, expected in [(1e-3, 0.15, 0.0659), (0.17, 3.0, 0.3842)]:
            edge = brentq(lambda f: self.gain(drift, f) - math.sqrt(2), low, high)
            assert edge == pytest.approx(expected, abs=5e-5)

    def test_autoregulation(self):
        level = -0.125 + math.sqrt(0.125**2 + 0.25)
        assert level == pytest.approx(0.390388, abs=5e-7)
        drift = Autoregulation(inhibition_level=0.25 / level, **self.SHARED)
        assert level * self.gain(drift, 0.0) == pytest.approx(0.97014, abs=5e-6)

    @pytest.mark.parametrize(
        "drift",
        [
            Moderator(turnover_rate=0.9, tolerance_rate=0.4, max_effect=1e-5, effect_dose=1.0, effect_slope=1.0),
            Moderator(
                feedback="loss",
                turnover_rate=0.9,
                tolerance_rate=0.4,
                feedback_ratio=2.0,
                max_effect=1e-5,
                effect_dose=1.0,
                effect_slope=1.0,
            ),
            PrecursorPool(
                turnover_rate=0.9,
                release_rate=0.4,
                bypass_ratio=0.5,
                max_effect=1e-5,
                effect_dose=1.0,
                effect_slope=1.0,
            ),
            Autoregulation(turnover_rate=0.9, inhibition_level=0.6, max_effect=1e-5, effect_dose=1.0, effect_slope=1.0),
        ],
        ids=["production", "loss", "pool", "autoregulation"],
    )
    def test_linear_form_is_that_of_the_equations(self, drift):
        """The gain at rest is the slope of the steady state in the stimulus."""
        slope = (drift.steady_state(1.0) - 1) / 0.5e-5
        found = frequency_response(drift, np.array([0.0]))[0].real
        assert found == pytest.approx(slope, rel=1e-4)


class TestSuppression:
    def test_small_doses_are_mostly_replaced(self):
        drift = FeedbackSuppression(**SUPPRESSION)
        gamma = 2 * 1.5**2 / (1 + 1.5**2)
        assert drift.gain == pytest.approx(1 / (1 + gamma), rel=1e-13)
        assert round(float(drift.gain), 2) == 0.42
        slope = (drift.total(1e-5) - drift.total(0.0)) / 1e-5
        assert slope == pytest.approx(drift.gain, rel=1e-4)

    def test_the_total_rises_by_less_than_the_dose(self):
        drift, levels = FeedbackSuppression(**SUPPRESSION), np.geomspace(1e-4, 1e3, 200)
        slopes = np.diff(drift.total(levels)) / np.diff(levels)
        assert np.all(slopes > 0)
        assert np.all(slopes < 1)

    @pytest.mark.parametrize("n", [0.5, 1.0, 2.0, 8.0])
    @pytest.mark.parametrize("f", [0.1, 1.5, 10.0])
    def test_steady_state_is_the_root(self, n, f):
        drift = FeedbackSuppression(**SUPPRESSION | {"feedback_slope": n, "feedback_level": f})
        for level in (1e-6, 0.1, 1.0, 30.0, 1e4):
            exact = brentq(
                lambda h, x=level / 2: h * (1 + (f * (h + x)) ** n) - 1 - f**n, 0, 1.0, xtol=1e-15, rtol=1e-14
            )
            assert drift.steady_state(level) == pytest.approx(exact, rel=1e-9, abs=1e-14)
            assert drift.suppression(level) == pytest.approx(1 - exact, abs=1e-9)


class TestGonadalAxis:
    def test_without_the_drug_nothing_happens(self):
        drift = GonadalAxis(**AXIS)
        for state in drift.states(np.zeros(5), np.full(5, 24.0)).values():
            np.testing.assert_allclose(state, 1.0, rtol=1e-13)

    def test_is_the_solution_of_the_equations(self):
        exposure, duration = np.array([0.02, 0.05, 0.0, 0.04]), np.array([12.0, 24.0, 48.0, 24.0])
        exact = by_equations(gonadal, [1.0] * 4, exposure, duration)
        drift = GonadalAxis(**AXIS)
        errors = [
            np.max(np.abs(np.array([*drift.states(exposure, duration, substeps=n).values()]) / exact - 1))
            for n in (64, 128)
        ]
        assert errors[1] < 1e-5
        assert errors[0] / errors[1] > 10

    def test_flare_and_suppression(self):
        """An agonist raises testosterone for days and then suppresses it to the level of castration within weeks."""
        found = GonadalAxis(**AXIS)(np.full(700, 0.3), np.full(700, 2.0))
        assert found.max() > 1.5
        assert np.argmax(found) * 2 < 72
        assert found.min() < 0.1
        assert 14 < np.argmin(found) * 2 / 24 < 42


def test_endogenous_level_of_nicotinic_acid():
    """Ahlstrom et al. 2011, table 1: 6.8 nmol/L by two saturable eliminations."""
    found = endogenous_level(0.0346, capacity=0.0573, affinity=0.00468, second_capacity=1.46, second_affinity=16.6)
    assert 1e3 * found == pytest.approx(6.83, abs=0.005)
    eliminated = 0.0573 * found / (0.00468 + found) + 1.46 * found / (16.6 + found)
    assert eliminated == pytest.approx(0.0346, rel=1e-12)
    assert endogenous_level(1.0, capacity=3.0, affinity=2.0) == pytest.approx(1.0)
