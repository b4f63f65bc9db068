"""Fixtures that run over every curve, every allowed combination of its options, and every family."""

import itertools

import numpy as np
import pytest
from scipy import stats

from hormesis_fit.curves import CURVES
from hormesis_fit.families import FAMILIES

# The constants of science.md 1.10 for lettuce: 14 responses at 0, 0.32 ... 100 mg/L.
LETTUCE_SCALES = {"control": 0.9795, "response": 0.316077, "log_dose": 1.732868, "log_range": 5.744604}
FROZEN = {
    "Beta": lambda alpha, beta: stats.beta(alpha, beta),
    "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
    "LogNormal": lambda mu, sigma: stats.lognorm(s=sigma, scale=np.exp(mu)),
    "Normal": lambda mu, sigma: stats.norm(mu, sigma),
    "TruncatedNormal": lambda mu, sigma, lower: stats.truncnorm((lower - mu) / sigma, np.inf, mu, sigma),
}


def _variants():
    """Yield every curve with every combination of its options, once where an option makes no difference."""
    seen = set()
    for curve in CURVES.values():
        options = curve.options()
        for values in itertools.product(*options.values()):
            template = curve(**dict(zip(options, values, strict=True)))
            key = (curve, template.scale, template.direction, *template.parameters())
            if key not in seen:
                seen.add(key)
                yield template


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
def trial():
    """Return the lettuce trial: 14 rows, a true zero, benefit upwards."""
    from hormesis_fit.datasets import load_dataset

    return load_dataset("lettuce")
