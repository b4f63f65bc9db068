"""Fixtures that run over every curve, every allowed combination of its options, and every family."""

import itertools

import numpy as np
import pytest
from scipy import special, stats

from hormesis_fit.curves import CURVES
from hormesis_fit.families import FAMILIES

# The constants of science.md 1.10 for lettuce: 14 responses at 0, 0.32 ... 100 mg/L.
# A control response below one, so that it may also be a probability.
LETTUCE_SCALES = {"control": 0.9795, "response": 0.316077, "log_dose": 1.732868, "log_range": 5.744604}
FROZEN = {
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "LogitNormal": lambda mu, sigma: _LogitNormal(mu, sigma),
    "LogNormal": lambda mu, sigma: stats.lognorm(s=sigma, scale=np.exp(mu)),
    "Normal": lambda mu, sigma: stats.norm(mu, sigma),
    "TruncatedNormal": lambda mu, sigma, lower: stats.truncnorm((lower - mu) / sigma, np.inf, mu, sigma),
}


class _LogitNormal:
    def __init__(self, mu, sigma):
        self.normal = stats.norm(mu, sigma)

    def rvs(self, size, random_state):
        return special.expit(self.normal.rvs(size, random_state=random_state))


def _variants():
    """Yield every curve with every combination of its options, once where an option makes no difference."""
    seen = set()
    for place, curve in enumerate(CURVES.values()):
        options = curve.options()
        for values in itertools.product(*options.values()):
            chosen = dict(zip(options, values, strict=True))
            if chosen["link"] != "identity" and not _linked(place, chosen):
                continue
            template = curve(**chosen)
            key = (curve, template.scale, template.direction, template.link, *template.parameters())
            if key not in seen:
                seen.add(key)
                yield template


def _linked(place, chosen):
    """Whether a curve is tested with a link: it has a true zero, and neighbours take turns at the directions."""
    turn = ("up", "down")[(place + (chosen["link"] == "logit")) % 2]
    return (chosen["scale"], chosen["lower_asymptote"], chosen["direction"]) == ("ratio", "zero", turn)


@pytest.fixture(params=CURVES.values(), ids=CURVES)
def curve_class(request):
    return request.param


@pytest.fixture(params=_variants(), ids=lambda curve: "-".join([type(curve).__name__, *curve.structure().values()]))
def template(request):
    return request.param


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="session")
def prior_draws():
    """Return draws from the default priors of a template on a lettuce-like trial, by parameter name."""

    def draw(template, size, seed=1):
        rng, known = np.random.default_rng(seed), template.parameters()
        scaled = {name: prior.scaled(known[name].unit, LETTUCE_SCALES) for name, prior in template.priors().items()}
        return {
            name: FROZEN[prior.distribution](**prior.arguments).rvs(size, random_state=rng)
            for name, prior in scaled.items()
        }

    return draw


@pytest.fixture(scope="session")
def suited():
    """Return a function that gives a trial's responses the values that a family can have."""

    def change(trial, family):
        response = trial["response"].values
        ranks = np.argsort(np.argsort(response)) / len(response)
        values = {
            "counts": np.round(10 * response),
            "shares": 0.1 + 0.8 * ranks,
            "successes": np.round(10 * ranks) / 10,
            "categories": np.round(3 * ranks),
        }.get(FAMILIES[family].support, response)
        changed = trial.assign(response=("observation", values, trial["response"].attrs))
        if FAMILIES[family].counts_successes:
            changed["n"] = "observation", np.full(len(response), 10.0)
        return changed

    return change


@pytest.fixture(scope="session")
def trial():
    """Return the lettuce trial: 14 rows, a true zero, benefit upwards."""
    from hormesis_fit.trials.datasets import load_dataset

    return load_dataset("lettuce")


@pytest.fixture
def no_pictures(monkeypatch):
    """Spare tests of the words the time that drawing takes."""
    from hormesis_fit.report.writing import _pictures

    blank = {"uri": "data:image/svg+xml;base64,", "alt": "", "caption": "", "wide": False}

    def blanks(case):
        return {"figures": {name: blank | {"name": name} for name in _pictures(case)}, "live": {}, "number_table": None}

    monkeypatch.setattr("hormesis_fit.report.writing._figures", blanks)
