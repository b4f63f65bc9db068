"""Posteriors that Stan drew of published models, under Stan's priors, by both engines and through our own curves.

Every moment and quantile agrees within four Monte Carlo errors, theirs and ours together. That of a quantile is counted
in probability: the share of our draws below Stan's quantile, against the probability that it belongs to.
"""

import json
import math
from functools import cache
from pathlib import Path

import arviz as az
import numpy as np
import pytest
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens, Curve, LogLogistic
from hormesis_fit.curves.curve import half_effect_dose, odds
from hormesis_fit.parameter import Prior, Value, parameter

REFERENCE = json.loads((Path(__file__).parent / "reference" / "stan.json").read_text())
ERRORS = 4
SIZE = 40_000  # draws, of four chains
# The standard deviations of c, of the residual SD and of f are those of half-normal priors.
PRIORS = {
    "ryegrass": {"c": 1.0, "d": (8.0, 2.0), "le": (1.1, 1.0), "lb": (0.7, 0.7), "f": 2.0, "sigma": 1.0},
    "lettuce": {"c": 0.3, "d": (1.0, 0.3), "le": (1.0, 1.5), "lb": (0.0, 0.7), "f": 1.0, "sigma": 0.3},
}
PROBABILITIES = {"q5": 0.05, "median": 0.5, "q95": 0.95}
NUMBERS = [
    (name, quantity, number)
    for name, quantities in REFERENCE["posteriors"].items()
    for quantity in quantities
    for number in ("mean", "sd", *PROBABILITIES)
]


class PublishedLogLogistic(Curve):
    """The log-logistic model in the parameters of drc, a curve of a user's own."""

    formula = r"\mu(d) = c + (E_0 - c) / (1 + (d / e)^b)"
    source = "https://doi.org/10.18637/jss.v012.i05"
    trend = "open"

    lower: Value = parameter("c", "response", Prior("HalfNormal", sigma=1), "lower asymptote")
    scale_dose: Value = half_effect_dose("dose of half the effect", "e")
    slope: Value = parameter("b", "1", Prior("LogNormal", mu=0.7, sigma=0.7), "slope of the decline")

    def shape(self, dose: Value) -> Value:
        share = self.lower / self.control
        return share + (1 - share) / (1 + odds(dose, self.scale_dose, self.slope))


class PublishedBrainCousens(Curve):
    """The Brain-Cousens model in the parameters of drc, a curve of a user's own."""

    formula = r"\mu(d) = c + (E_0 - c + f d) / (1 + (d / e)^b)"
    source = "https://doi.org/10.1111/j.1365-3180.1989.tb00845.x"
    trend = "open"
    hormetic = True

    lower: Value = parameter("c", "response", Prior("HalfNormal", sigma=1), "lower asymptote")
    scale_dose: Value = half_effect_dose("dose constant of the decline", "e")
    slope_excess: Value = parameter("b - 1", "1", Prior("LogNormal", mu=0, sigma=1), "slope beyond one")
    rate: Value = parameter("f", "response / dose", Prior("HalfNormal", sigma=1), "initial slope")

    def shape(self, dose: Value) -> Value:
        share, rate = self.lower / self.control, self.rate / self.control
        return share + (1 - share + rate * dose) / (1 + odds(dose, self.scale_dose, 1 + self.slope_excess))


class Draws:
    """Draws of Stan's quantities, with weights, and the sample size that they are worth."""

    def __init__(self, values, sizes, weights=None):
        self.values = values
        self.sizes = sizes  # one number, or a function of quantity and number
        count = len(values["d"])
        self.weights = np.full(count, 1 / count) if weights is None else weights

    def size(self, quantity, number):
        return self.sizes(quantity, number) if callable(self.sizes) else self.sizes

    def errors(self, name, quantity, number):
        """Return the distance to Stan's number in Monte Carlo errors."""
        theirs, x, size = REFERENCE["posteriors"][name][quantity], self.values[quantity], self.size(quantity, number)
        mean = self.weights @ x
        variance = self.weights @ (x - mean) ** 2
        if number == "mean":
            return (mean - theirs["mean"]) / math.hypot(theirs["mcse_mean"], math.sqrt(variance / size))
        if number == "sd":
            # Var(s^2) = (m4 - m2^2) / n, so that the error of s is that of s^2 over 2 s.
            fourth = self.weights @ (x - mean) ** 4
            own = math.sqrt((fourth - variance**2) / size) / (2 * math.sqrt(variance))
            return (math.sqrt(variance) - theirs["sd"]) / math.hypot(theirs["mcse_sd"], own)
        probability = PROBABILITIES[number]
        ess = theirs["ess_bulk" if number == "median" else "ess_tail"]
        below = self.weights @ (x <= theirs[number])
        return (below - probability) / math.sqrt(probability * (1 - probability) * (1 / ess + 1 / size))


def importance_size(fit):
    """Return what the draws of importance sampling are worth: its effective size, and that they were resampled."""
    return 1 / (1 / fit["evidence"]["ess"].item() + 1 / SIZE)


def half_normal(sigma):
    return Prior("HalfNormal", sigma=sigma)


def flat(fit, name):
    return fit["posterior"][name].values.ravel()


# --- the published parameters, as a curve of a user's own -------------------------------------------------------------


def published_fit(name, **options):
    data, _, model = name.partition("_")
    known = PRIORS[data]
    curve, slope = (PublishedLogLogistic, "slope") if model == "ll4" else (PublishedBrainCousens, "slope_excess")
    (d, d_sd), (le, le_sd), (lb, lb_sd) = known["d"], known["le"], known["lb"]
    priors = {
        "lower": half_normal(known["c"]),
        "control": Prior("Normal", mu=d, sigma=d_sd),
        "scale_dose": Prior("LogNormal", mu=le, sigma=le_sd),
        slope: Prior("LogNormal", mu=lb, sigma=lb_sd),
        "sigma": half_normal(known["sigma"]),
    }
    priors |= {"rate": half_normal(known["f"])} if model == "bc5" else {}
    return hf.fit(hf.load_dataset(data), curve=curve, priors=priors, random_seed=1, **options)


def published_values(fit):
    slope = "slope" if "slope" in fit["posterior"] else "slope_excess"
    values = {"c": flat(fit, "lower"), "d": flat(fit, "control"), "sigma": flat(fit, "sigma")}
    values |= {"le": np.log(flat(fit, "scale_dose")), "lb": np.log(flat(fit, slope))}
    return values | ({"f": flat(fit, "rate")} if "rate" in fit["posterior"] else {})


@cache
def by_importance(name):
    fit = published_fit(name, engine="importance", draws=SIZE // 4)
    assert not fit["evidence"]["sick"].item()
    return Draws(published_values(fit), importance_size(fit))


@pytest.mark.parametrize(("name", "quantity", "number"), NUMBERS)
def test_importance_sampling_gives_the_posterior_of_stan(name, quantity, number):
    assert abs(by_importance(name).errors(name, quantity, number)) < ERRORS


@cache
def by_nuts(name):
    fit = published_fit(name, engine="nuts", draws=1500)
    assert not fit["evidence"]["sick"].item()
    assert fit["evidence"]["engine"].item() == "nuts"
    values = published_values(fit)

    def size(quantity, number):
        draws = values[quantity].reshape(4, -1)
        if number in PROBABILITIES:
            return float(az.ess(draws, method="quantile", prob=PROBABILITIES[number]))
        return float(az.ess(draws if number == "mean" else (draws - draws.mean()) ** 2, method="mean"))

    return Draws(values, size)


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize(("name", "quantity", "number"), [row for row in NUMBERS if row[0] == "lettuce_bc5"])
def test_nuts_gives_the_posterior_of_stan(name, quantity, number):
    assert abs(by_nuts(name).errors(name, quantity, number)) < ERRORS


# --- through the curves of the package, reweighted from priors that they can express ----------------------------------


def log_normal(x, given):
    return stats.norm.logpdf(np.log(x), *given)


def log_half_normal(x, sigma):
    return np.where(x > 0, stats.halfnorm.logpdf(x, scale=sigma), -np.inf)


def own_fit(name):
    """Fit our curve; what Stan has no equal of has a prior that is wide enough to be reweighted."""
    data, _, model = name.partition("_")
    known = PRIORS[data]
    curve = (LogLogistic if model == "ll4" else BrainCousens)(lower_asymptote="free")
    (d, d_sd), (lb, lb_sd) = known["d"], known["lb"]
    priors = {
        "control": Prior("Normal", mu=d, sigma=d_sd),
        "lower_share": Prior("Beta", alpha=1.0, beta=1.0),
        "half_effect_dose": Prior("LogNormal", mu=WIDE[data][0], sigma=WIDE[data][1]),
        "slope" if model == "ll4" else "slope_excess": Prior("LogNormal", mu=lb, sigma=lb_sd),
        "sigma": half_normal(known["sigma"]),
    }
    priors |= {"peak_stimulation": half_normal(STIMULATION)} if model == "bc5" else {}
    trial = hf.load_dataset(data)
    fit = hf.fit(trial, curve=curve, priors=priors, engine="importance", draws=SIZE // 4, random_seed=1)
    assert not fit["evidence"]["sick"].item()
    return fit


WIDE = {"ryegrass": (1.1, 1.0), "lettuce": (2.0, 2.0)}  # of the log half-effect dose
STIMULATION = 0.5


def log_logistic_of(fit, data):
    """Return Stan's quantities and the log ratio of the two priors."""
    known = PRIORS[data]
    control, share, half = (flat(fit, name) for name in ("control", "lower_share", "half_effect_dose"))
    values = {"c": share * control, "d": control, "le": np.log(half), "lb": np.log(flat(fit, "slope"))}
    # A uniform share against a half-normal asymptote, dc / dshare = d; and the two half-effect doses.
    ratio = log_half_normal(values["c"], known["c"]) + np.log(control)
    ratio += log_normal(half, known["le"]) - log_normal(half, WIDE[data])
    return values | {"sigma": flat(fit, "sigma")}, ratio


def brain_cousens_of(fit, data):
    """Return Stan's quantities and the log ratio of the two priors, by the identities of science.md 1.1."""
    known = PRIORS[data]
    names = ("control", "lower_share", "half_effect_dose", "slope_excess", "peak_stimulation")
    control, share, half, excess, stimulation = (flat(fit, name) for name in names)
    curve = BrainCousens.from_draws(fit["posterior"].to_dataset())
    psi, slope = np.exp(np.ravel(curve.log_coefficient())), 1 + excess
    span, s = control * (1 - share), stimulation / (1 - share)
    f = psi * span / half
    e = half * (1 + 2 * psi) ** (-1 / slope)
    values = {"c": share * control, "d": control, "le": np.log(e), "lb": np.log(excess), "f": f}
    # b p - ln(1 + 2 e^p) = a(s) gives dp / ds; then |d(f, ln e) / d(s, ln ED50)| = f a'(s) / b, s in units of the span.
    volume = f * (excess / s + 1 / (1 + s)) / slope / (1 - share)
    ratio = log_half_normal(values["c"], known["c"]) + np.log(control)
    ratio += log_half_normal(f, known["f"]) + log_normal(e, known["le"]) + np.log(volume)
    ratio -= log_half_normal(stimulation, STIMULATION) + log_normal(half, WIDE[data])
    return values | {"sigma": flat(fit, "sigma")}, ratio


@cache
def through_own_curve(name):
    data, _, model = name.partition("_")
    fit = own_fit(name)
    values, ratio = (log_logistic_of if model == "ll4" else brain_cousens_of)(fit, data)
    weights = np.exp(ratio - ratio.max())
    weights /= weights.sum()
    kish = 1 / np.sum(weights**2)
    assert kish > 5000
    return Draws(values, 1 / (1 / kish + 1 / fit["evidence"]["ess"].item()), weights)


@pytest.mark.parametrize(("name", "quantity", "number"), NUMBERS)
def test_our_curves_give_the_posterior_of_stan(name, quantity, number):
    assert abs(through_own_curve(name).errors(name, quantity, number)) < ERRORS


def test_the_comparison_would_notice_other_priors():
    # The same draws without their weights are the posterior under the priors that they were drawn with.
    draws = through_own_curve("lettuce_bc5")
    unweighted = Draws(draws.values, draws.sizes)
    errors = [abs(unweighted.errors(*row)) for row in NUMBERS if row[0] == "lettuce_bc5"]
    assert np.mean(np.array(errors) > ERRORS) > 0.5
