"""Feedback mechanisms: how the body answers a drug whose receptors stay what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hormesis_fit.curves.curve import hill
from hormesis_fit.dosing.exposure import cascade
from hormesis_fit.drift.drift import Drift, half_dose, hill_slope, occupancy, rate, ratio
from hormesis_fit.drift.steps import advance, before, linear, march, relaxed
from hormesis_fit.parameter import Prior, Value, option, parameter, root

NEWTON = 14  # steps from the level without the drug to a steady state, for slopes up to 8


def _action() -> Any:
    return option("stimulation", "inhibition", description="what the drug does")


def _max_effect() -> Value:
    prior = Prior("LogNormal", mu=0, sigma=1)
    return parameter("E", "1", prior, "highest stimulation, relative to no drug", action="stimulation")


def _max_inhibition() -> Value:
    return parameter("E", "1", Prior("Beta", alpha=2, beta=2), "highest inhibition", action="inhibition")


def stimulus(drift: Drift, exposure: Value) -> Value:
    """Return the factor by which the drug changes a rate [1]: 1 without the drug."""
    bound = occupancy(exposure, drift.effect_dose, drift.effect_slope)
    return 1 + drift.max_effect * bound if drift.action == "stimulation" else 1 - drift.max_inhibition * bound


class Moderator(Drift):
    r"""The response drives a moderator that holds it back: overshoot, tolerance, rebound.

    Notes
    -----
    Response and moderator are relative to their common value without the drug. With feedback on production the
    response settles at the square root of the stimulus. With feedback on loss, `feedback_ratio` is the moderator's
    level without the drug in units of the moderator that doubles the loss.
    """

    formula = (
        r"R' = k (S / M - R) \;\mathrm{or}\; k ((1 + g) S - (1 + g M) R), \quad M' = t (R - M), \quad "
        r"S = 1 \pm E \frac{C^n}{C^n + K^n}"
    )
    source = "https://doi.org/10.1002/psp4.12266"
    kind = "feedback"
    acts_on = "response"
    resting = (1.0, 1.0)
    affine = False

    feedback: str = option("production", "loss", description="what the moderator acts on")
    action: str = _action()
    turnover_rate: Value = rate("k", "rate of loss of the response", 10.0)
    tolerance_rate: Value = rate("t", "rate at which the moderator follows")
    feedback_ratio: Value = parameter(
        "g", "1", Prior("LogNormal", mu=0, sigma=1), "loss by feedback relative to other loss", feedback="loss"
    )
    max_effect: Value = _max_effect()
    max_inhibition: Value = _max_inhibition()
    effect_dose: Value = half_dose("K", "concentration of half the effect")
    effect_slope: Value = hill_slope()

    def step(self, states: Sequence[Value], exposure: Value, duration: Value, *, substeps: int = 1) -> list[Value]:
        """Return response and moderator after one step of constant concentration, from those before it."""
        driven = stimulus(self, exposure)

        def rates(i: int, now: Sequence[Value]) -> tuple[Value, Value]:
            if i == 1:
                return self.tolerance_rate * now[0], self.tolerance_rate
            if self.feedback == "production":
                return self.turnover_rate * driven / now[1], self.turnover_rate
            loss = self.turnover_rate * (1 + self.feedback_ratio * now[1])
            return self.turnover_rate * (1 + self.feedback_ratio) * driven, loss

        return advance(rates, states, duration, substeps=substeps)

    def states(
        self, exposure: Value, duration: Value, *, start: Sequence[Value] = (1.0, 1.0), substeps: int = 1
    ) -> dict[str, Value]:
        """Return ``response`` and ``moderator`` at the end of every step [1], shape (..., step)."""
        found = march(self, start, exposure, duration, substeps=substeps)
        return dict(zip(("response", "moderator"), found, strict=True))

    def __call__(
        self, exposure: Value, duration: Value, *, start: Sequence[Value] | None = None, substeps: int = 1
    ) -> Value:
        return self.states(exposure, duration, start=(1.0, 1.0) if start is None else start, substeps=substeps)[
            "response"
        ]

    def steady_state(self, exposure: Value) -> Value:
        driven = stimulus(self, exposure)
        if self.feedback == "production":
            return np.sqrt(driven)
        # (1 + g R) R = (1 + g) S, as a fraction that does not cancel for a small g.
        made = (1 + self.feedback_ratio) * driven
        return 2 * made / (1 + np.sqrt(1 + 4 * self.feedback_ratio * made))

    def linearised(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix of small deviations without the drug and what the stimulus adds [1 / time]."""
        k, t = self.turnover_rate, self.tolerance_rate
        if self.feedback == "production":
            return np.array([[-k, -k], [t, -t]]), np.array([k, 0.0])
        g = self.feedback_ratio
        return np.array([[-k * (1 + g), -k * g], [t, -t]]), np.array([k * (1 + g), 0.0])


class PrecursorPool(Drift):
    r"""The drug changes how fast the response is released from a pool that it exhausts: rebound.

    Notes
    -----
    Without other losses of the pool (`bypass_ratio` 0) what the drug adds is paid back in full, whatever the dosing:
    there is no benefit that lasts. Linear in pool and response, so every step is exact.
    """

    formula = r"P' = p (1 + b - (S + b) P), \quad R' = k (S P - R), \quad S = 1 \pm E \frac{C^n}{C^n + K^n}"
    source = "https://doi.org/10.1002/psp4.12266"
    kind = "feedback"
    acts_on = "response"
    resting = (1.0, 1.0)

    action: str = _action()
    turnover_rate: Value = rate("k", "rate of loss of the response", 10.0)
    release_rate: Value = rate("p", "rate of release from the pool")
    bypass_ratio: Value = ratio("b", "other loss of the pool, relative to release")
    max_effect: Value = _max_effect()
    max_inhibition: Value = _max_inhibition()
    effect_dose: Value = half_dose("K", "concentration of half the effect")
    effect_slope: Value = hill_slope()

    def states(self, exposure: Value, duration: Value, *, start: Sequence[Value] = (1.0, 1.0)) -> dict[str, Value]:
        """Return ``pool`` and ``response`` at the end of every step [1], shape (..., step)."""
        loss, limit = self._pool(exposure)
        pool = relaxed(loss, limit, duration, start[0])
        kept, released = self._released(exposure, duration, before(pool, start[0]))
        [[product]], [gained] = linear([[kept]], [released])
        return {"pool": pool, "response": product * start[1] + gained}

    def step(self, states: Sequence[Value], exposure: Value, duration: Value) -> list[Value]:
        loss, limit = self._pool(exposure)
        kept, released = self._released(exposure, duration, states[0])
        return [limit + (states[0] - limit) * np.exp(-loss * duration), kept * states[1] + released]

    def seen(self, *states: Value) -> Value:
        return states[1]

    def _pool(self, exposure: Value) -> tuple[Value, Value]:
        """Return rate [1 / time] and limit of the pool."""
        loss = self.release_rate * (stimulus(self, exposure) + self.bypass_ratio)
        return loss, self.release_rate * (1 + self.bypass_ratio) / loss

    def _released(self, exposure: Value, duration: Value, pool: Value) -> tuple[Value, Value]:
        """Return what a step keeps of the response and what the pool at its beginning adds."""
        loss, limit = self._pool(exposure)
        decay = self.turnover_rate * duration + 0 * loss
        # The pool's approach to its limit within a step, convolved with the loss of the response.
        passed = self.turnover_rate * (pool - limit) * cascade(self.turnover_rate, loss, duration)
        return np.exp(-decay), stimulus(self, exposure) * (passed - limit * np.expm1(-decay))

    def __call__(self, exposure: Value, duration: Value, *, start: Sequence[Value] | None = None) -> Value:
        return self.states(exposure, duration, start=(1.0, 1.0) if start is None else start)["response"]

    def steady_state(self, exposure: Value) -> Value:
        driven = stimulus(self, exposure)
        return driven * (1 + self.bypass_ratio) / (driven + self.bypass_ratio)

    def linearised(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix of small deviations without the drug and what the stimulus adds [1 / time]."""
        k, p = self.turnover_rate, self.release_rate
        return np.array([[-k, k], [0.0, -p * (1 + self.bypass_ratio)]]), np.array([k, -p])


class Autoregulation(Drift):
    """The response holds back its own production, and the drug changes its loss."""

    formula = r"R' = k \left(\frac{1 + a}{R + a} - S R\right), \quad S = 1 \pm E \frac{C^n}{C^n + K^n}"
    source = "https://doi.org/10.1002/psp4.12266"
    kind = "feedback"
    acts_on = "response"
    affine = False

    action: str = _action()
    turnover_rate: Value = rate("k", "rate of loss of the response", 10.0)
    inhibition_level: Value = parameter(
        "a", "1", Prior("LogNormal", mu=0, sigma=1), "response that halves production, relative to no drug"
    )
    max_effect: Value = _max_effect()
    max_inhibition: Value = _max_inhibition()
    effect_dose: Value = half_dose("K", "concentration of half the effect")
    effect_slope: Value = hill_slope()

    def step(self, states: Sequence[Value], exposure: Value, duration: Value, *, substeps: int = 1) -> list[Value]:
        """Return the response after one step of constant concentration, from the one before it."""
        driven = stimulus(self, exposure)

        def rates(i: int, now: Sequence[Value]) -> tuple[Value, Value]:
            made = self.turnover_rate * (1 + self.inhibition_level) / (now[1 - i] + self.inhibition_level)
            return made, self.turnover_rate * driven

        return _twins(rates, states, duration, substeps)

    def __call__(self, exposure: Value, duration: Value, *, start: Value | None = None, substeps: int = 1) -> Value:
        return march(self, [1.0 if start is None else start], exposure, duration, substeps=substeps)[0]

    def steady_state(self, exposure: Value) -> Value:
        driven, half = stimulus(self, exposure), self.inhibition_level / 2
        made = (1 + self.inhibition_level) / driven
        return made / (half + np.sqrt(half**2 + made))

    def linearised(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the matrix of small deviations without the drug and what the stimulus adds [1 / time]."""
        k = self.turnover_rate
        return np.array([[-k * (1 + 1 / (1 + self.inhibition_level))]]), np.array([-k])


class FeedbackSuppression(Drift):
    r"""A hormone of the body holds back its own production, and so does the same hormone given as a drug.

    Notes
    -----
    Small doses replace what the body no longer makes: the total rises by :math:`1 / (1 + \gamma)` of the dose, with
    :math:`\gamma = n f^n / (1 + f^n)`.
    """

    formula = r"H' = k \left(\frac{1 + f^n}{1 + (f (H + C / H_0))^n} - H\right)"
    source = "https://doi.org/10.1016/0065-2571(65)90067-1"
    kind = "feedback"
    acts_on = "exposure"
    affine = False

    turnover_rate: Value = rate("k", "rate of loss of the hormone", 10.0)
    own_level: Value = half_dose("H_0", "concentration of the body's own hormone without the drug")
    feedback_level: Value = ratio("f", "own level relative to the level that halves production")
    feedback_slope: Value = hill_slope()

    def _feedback(self, total: Value) -> Value:
        """Return the feedback of a total relative to the own level [1]."""
        return np.exp(self.feedback_slope * np.log(self.feedback_level * total))

    def step(self, states: Sequence[Value], exposure: Value, duration: Value, *, substeps: int = 1) -> list[Value]:
        """Return the own hormone after one step of constant concentration, relative to no drug."""
        given = exposure / self.own_level

        def rates(i: int, now: Sequence[Value]) -> tuple[Value, Value]:
            made = (1 + self._feedback(1.0)) / (1 + self._feedback(now[1 - i] + given))
            return self.turnover_rate * made, self.turnover_rate

        return _twins(rates, states, duration, substeps)

    def __call__(self, exposure: Value, duration: Value, *, start: Value | None = None, substeps: int = 1) -> Value:
        return march(self, [1.0 if start is None else start], exposure, duration, substeps=substeps)[0]

    def steady_state(self, exposure: Value) -> Value:
        given, most, n = exposure / self.own_level, 1 + self._feedback(1.0), self.feedback_slope

        def newton(h: Value) -> Value:
            back = self._feedback(h + given)
            bend = n * back * h / (h + given)
            return (most + bend * h) / (1 + back + bend)

        # h (1 + (f (h + x))^n) rises and is convex: from 1 the steps fall towards the root and never pass it.
        return root(1.0 + 0 * given, newton, steps=NEWTON)

    def total(self, exposure: Value) -> Value:
        """Return own and given hormone together at steady state [dose]."""
        return self.own_level * self.steady_state(exposure) + exposure

    def suppression(self, exposure: Value) -> Value:
        """Return the share of the own production that a steady exposure stops [1]."""
        return 1 - self.steady_state(exposure)

    @property
    def gain(self) -> Value:
        """How much the total rises per concentration given, for small ones [1]."""
        return 1 / (1 + self.feedback_slope * hill(self.feedback_level, 1.0, self.feedback_slope))


class GonadalAxis(Drift):
    r"""The axis of pituitary and gonad: a releasing hormone empties the pool, and testosterone closes the loop.

    Notes
    -----
    Feedback, pool of luteinising hormone, its concentration and that of testosterone, each relative to its value
    without the drug. First a flare, then suppression; under a concentration that stays for ever the emptied pool
    refills and every state comes back, so that there is no steady state but that without the drug.
    """

    formula = (
        r"F' = k_F (T^\lambda - F), \quad P' = \frac{k_P}{F} (1 - (1 + S) P), \quad "
        r"L' = k_L \left(\frac{(1 + S) P}{F} - L\right), \quad T' = k_T \left(\frac{1 + h(L)}{1 + h(1)} - T\right), "
        r"\quad S = E \frac{C^n}{C^n + K^n}, \quad h(L) = m \frac{L^\kappa}{L^\kappa + l^\kappa}"
    )
    source = "https://doi.org/10.1111/j.1365-2125.2006.02820.x"
    kind = "feedback"
    acts_on = "response"
    resting = (1.0, 1.0, 1.0, 1.0)
    affine = False

    feedback_rate: Value = rate("k_F", "rate of the feedback", 1.0)
    release_rate: Value = rate("k_P", "rate of release from the pool", 1.0)
    lutropin_rate: Value = rate("k_L", "rate of loss of luteinising hormone", 30.0)
    testosterone_rate: Value = rate("k_T", "rate of loss of testosterone", 30.0)
    feedback_slope: Value = parameter(r"\lambda", "1", Prior("LogNormal", mu=1, sigma=0.5), "slope of the feedback")
    max_release: Value = parameter("E", "1", Prior("LogNormal", mu=4, sigma=2), "highest stimulation of release")
    effect_dose: Value = half_dose("K", "concentration of half the stimulation")
    effect_slope: Value = hill_slope()
    max_secretion: Value = parameter("m", "1", Prior("LogNormal", mu=4, sigma=1), "highest stimulation of secretion")
    secretion_level: Value = parameter(
        "l", "1", Prior("LogNormal", mu=0, sigma=0.5), "luteinising hormone of half the secretion, relative to no drug"
    )
    secretion_slope: Value = hill_slope(r"\kappa")

    def _secretion(self, lutropin: Value) -> Value:
        return 1 + self.max_secretion * hill(lutropin, self.secretion_level, self.secretion_slope)

    def step(self, states: Sequence[Value], exposure: Value, duration: Value, *, substeps: int = 1) -> list[Value]:
        """Return feedback, pool, luteinising hormone and testosterone after one step of constant concentration."""
        release = 1 + self.max_release * occupancy(exposure, self.effect_dose, self.effect_slope)
        basal = self._secretion(1.0)

        def rates(i: int, now: Sequence[Value]) -> tuple[Value, Value]:
            feedback, pool, lutropin, testosterone = now
            if i == 0:
                driven = np.exp(self.feedback_slope * np.log(testosterone))
                return self.feedback_rate * driven, self.feedback_rate
            if i == 1:
                return self.release_rate / feedback, self.release_rate * release / feedback
            if i == 2:
                return self.lutropin_rate * release * pool / feedback, self.lutropin_rate
            return self.testosterone_rate * self._secretion(lutropin) / basal, self.testosterone_rate

        return advance(rates, states, duration, substeps=substeps)

    def states(
        self, exposure: Value, duration: Value, *, start: Sequence[Value] = (1.0, 1.0, 1.0, 1.0), substeps: int = 1
    ) -> dict[str, Value]:
        """Return ``feedback``, ``pool``, ``lutropin`` and ``testosterone`` at the end of every step [1]."""
        found = march(self, start, exposure, duration, substeps=substeps)
        return dict(zip(("feedback", "pool", "lutropin", "testosterone"), found, strict=True))

    def __call__(
        self, exposure: Value, duration: Value, *, start: Sequence[Value] | None = None, substeps: int = 1
    ) -> Value:
        begin = (1.0, 1.0, 1.0, 1.0) if start is None else start
        return self.states(exposure, duration, start=begin, substeps=substeps)["testosterone"]

    def seen(self, *states: Value) -> Value:
        return states[3]


def _twins(rates: Any, states: Sequence[Value], duration: Value, substeps: int) -> list[Value]:
    """Advance one state whose production depends on itself: it and its twin take turns."""
    [state] = states
    first, second = advance(rates, (state, state), duration, substeps=substeps)
    return [np.sqrt(first * second)]


def frequency_response(drift: Drift, frequency: np.ndarray, *, sensitivity: float = 1.0) -> np.ndarray:
    r"""Return how a small oscillation of the drug is passed on to the response.

    Parameters
    ----------
    drift : Drift
        A mechanism with a linearised form, of plain numbers.
    frequency : ndarray
        Cycles per time [1 / time], shape (frequency,).
    sensitivity : float
        Slope of the stimulus in the concentration, such as :math:`E / K` for a Hill slope of one.

    Returns
    -------
    ndarray
        Complex gain of the response relative to no drug, shape (frequency,).
    """
    matrix, drive = drift.linearised()
    turning = 2j * np.pi * np.asarray(frequency, dtype=float)[..., None, None] * np.eye(len(drive))
    return sensitivity * np.linalg.solve(turning - matrix, drive[:, None])[..., 0, 0]


def endogenous_level(
    synthesis: Value, *, capacity: Value, affinity: Value, second_capacity: Value = 0.0, second_affinity: Value = 1.0
) -> Value:
    """Return the concentration at which a constant synthesis meets one or two saturable eliminations.

    Parameters
    ----------
    synthesis : Value
        Amount made per time.
    capacity, affinity : Value
        Highest rate of elimination, and the concentration of half of it.
    second_capacity, second_affinity : Value
        The same of a second pathway.
    """
    excess = capacity + second_capacity - synthesis
    slope = synthesis * (affinity + second_affinity) - capacity * second_affinity - second_capacity * affinity
    constant = synthesis * affinity * second_affinity
    return (slope + np.sqrt(slope**2 + 4 * excess * constant)) / (2 * excess)
