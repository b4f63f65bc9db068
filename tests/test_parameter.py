"""Declarations: priors as data, options, parameters under options, terms from draws."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import xarray as xr

from hormesis_fit.curves import BrainCousens, LogLogistic, SigmoidEmax
from hormesis_fit.parameter import UNITS, Prior, Term, option, parameter, root, unit_factor

SCALES = {"control": 3.0, "response": 0.5, "log_dose": math.log(20), "log_range": 6.0, "time": 7.0}
NORMAL, UNIT_NORMAL = Prior("Normal", mu=0.5, sigma=2), Prior("Normal", mu=0, sigma=1)
HORMETIC = {"control", "peak_stimulation", "half_effect_dose", "slope_excess"}


class Line(Term):
    """A straight line."""

    formula = r"a + b d"
    source = "https://doi.org/10.0/0"

    kind: str = option("free", "flat", "steep", description="slope")
    intercept: float = parameter("a", "response", UNIT_NORMAL, "height at dose 0")
    slope: float = parameter(
        "b",
        "response / dose",
        lambda term: Prior("HalfNormal", sigma=9 if term.kind == "steep" else 1),
        "slope",
        kind=("free", "steep"),
    )


class TestPrior:
    @pytest.mark.parametrize("change", [lambda p: setattr(p, "distribution", "Cauchy"), lambda p: setattr(p, "new", 1)])
    def test_attributes_cannot_be_set(self, change):
        with pytest.raises(AttributeError, match="write a new one"):
            change(NORMAL)

    def test_arguments_cannot_be_changed(self):
        prior = Prior("Normal", mu=0.5, sigma=2)
        with pytest.raises(TypeError):
            prior.arguments["mu"] = 9

    def test_repr_is_python_that_gives_the_same_prior(self):
        assert repr(NORMAL) == 'Prior("Normal", mu=0.5, sigma=2)'
        assert eval(repr(NORMAL), {"Prior": Prior}) == NORMAL

    def test_str_is_as_in_a_methods_section(self):
        assert str(Prior("LogNormal", mu=1.7328679, sigma=2.8723)) == "LogNormal(1.733, 2.872)"

    @pytest.mark.parametrize(
        ("other", "equal"),
        [
            (Prior("Normal", mu=0.5, sigma=2.0), True),
            (Prior("Normal", sigma=np.float32(2), mu=0.5), True),
            (Prior("Normal", mu=0.5, sigma=3), False),
            (Prior("Cauchy", mu=0.5, sigma=2), False),
            (Prior("Normal", mu=0.5), False),
            ('Prior("Normal", mu=0.5, sigma=2)', False),
        ],
    )
    def test_equality_and_hash(self, other, equal):
        assert (other == NORMAL) is equal
        assert (len({other, NORMAL}) == 1) is equal

    @pytest.mark.parametrize(
        "duplicate",
        [copy.copy, copy.deepcopy, lambda prior: pickle.loads(pickle.dumps(prior))],
        ids=["copy", "deep", "sent"],
    )
    def test_can_be_copied_and_sent_to_another_process(self, duplicate):
        assert duplicate(NORMAL) == NORMAL

    @pytest.mark.parametrize(
        "value", [math.nan, -math.inf, True, np.True_, "1", None, [1.0], np.complex128(1)], ids=repr
    )
    def test_an_argument_is_a_finite_number(self, value):
        with pytest.raises(
            ValueError, match=r"^The argument sigma of a Normal prior must be a finite number, got "
        ) as error:
            Prior("Normal", mu=0, sigma=value)
        assert str(error.value).endswith(f"{value!r}.")

    def test_a_distribution_is_text(self):
        with pytest.raises(TypeError, match=r"^A prior needs the name of a PyMC distribution as text, got 3\.$"):
            Prior(3)

    @pytest.mark.parametrize(
        ("prior", "unit", "expected"),
        [
            # A response is centred on the control mean and measured in SDs of all responses.
            (Prior("Normal", mu=0, sigma=2.5), "response", Prior("Normal", mu=3, sigma=1.25)),
            (Prior("Normal", mu=2, sigma=1), "response", Prior("Normal", mu=4, sigma=0.5)),
            (Prior("TruncatedNormal", mu=0, lower=0), "response", Prior("TruncatedNormal", mu=3, lower=0)),
            (Prior("HalfNormal", sigma=2), "response", Prior("HalfNormal", sigma=1)),
            (Prior("Exponential", scale=1), "response", Prior("Exponential", scale=0.5)),
            (Prior("Uniform", lower=-1, upper=1), "1", Prior("Uniform", lower=-1, upper=1)),
            # A dose is centred on the middle of the design and as wide as half of it on the log axis.
            (Prior("LogNormal", mu=0, sigma=0.5), "dose", Prior("LogNormal", mu=math.log(20), sigma=3)),
            (Prior("LogNormal", mu=-1, sigma=0.5), "dose", Prior("LogNormal", mu=math.log(20) - 6, sigma=3)),
            (Prior("HalfNormal", sigma=2), "dose", Prior("HalfNormal", sigma=40)),
            (Prior("HalfNormal", sigma=2), "1 / dose", Prior("HalfNormal", sigma=0.1)),
            (Prior("HalfNormal", sigma=2), "response / dose", Prior("HalfNormal", sigma=0.05)),
            (Prior("HalfNormal", sigma=2), "time", Prior("HalfNormal", sigma=14)),
            (Prior("HalfNormal", sigma=7), "1 / time", Prior("HalfNormal", sigma=1)),
            (Prior("LogNormal", mu=1, sigma=2), "1", Prior("LogNormal", mu=1, sigma=2)),
            (Prior("Beta", alpha=1, beta=3), "1", Prior("Beta", alpha=1, beta=3)),
            (Prior("Gamma", alpha=2, beta=0.1), "1", Prior("Gamma", alpha=2, beta=0.1)),
        ],
        ids=str,
    )
    def test_scaled(self, prior, unit, expected):
        scaled = prior.scaled(unit, SCALES)
        assert scaled.distribution == expected.distribution
        assert scaled.arguments == pytest.approx(expected.arguments, rel=1e-12)

    def test_every_unit_has_a_factor_made_of_its_parts(self):
        part = {name: unit_factor(name, SCALES) for name in ("1", "response", "dose", "time")}
        assert part == pytest.approx({"1": 1, "response": 0.5, "dose": 20, "time": 7})
        for unit in UNITS:
            top, _, bottom = unit.partition(" / ")
            assert unit_factor(unit, SCALES) == pytest.approx(part[top] / part[bottom or "1"])


class TestTerm:
    @pytest.mark.parametrize("value", ["ratoi", "", None, 3])
    def test_an_option_outside_its_choices_is_named_in_one_sentence(self, value):
        with pytest.raises(ValueError, match=r"^[^.]*\.$") as error:
            BrainCousens(scale=value)
        assert str(error.value) == f"scale of BrainCousens must be one of ratio, interval, got {value!r}."

    @pytest.mark.parametrize(
        ("kind", "names", "priors"),
        [
            ("free", ["intercept", "slope"], {"intercept": UNIT_NORMAL, "slope": Prior("HalfNormal", sigma=1)}),
            ("flat", ["intercept"], {"intercept": UNIT_NORMAL}),
            ("steep", ["intercept", "slope"], {"intercept": UNIT_NORMAL, "slope": Prior("HalfNormal", sigma=9)}),
        ],
    )
    def test_parameters_and_priors_depend_on_options(self, kind, names, priors):
        line = Line(kind=kind)
        assert [*line.parameters()] == names
        assert line.priors() == priors
        assert [*line.declared()] == ["intercept", "slope"]
        assert line.structure() == {"kind": kind}

    @pytest.mark.parametrize(
        ("curve", "options", "names"),
        [
            (BrainCousens, {}, HORMETIC),
            (BrainCousens, {"lower_asymptote": "free"}, HORMETIC | {"lower_share"}),
            (BrainCousens, {"direction": "down"}, HORMETIC | {"span"}),
            (BrainCousens, {"scale": "interval"}, HORMETIC - {"peak_stimulation"} | {"span", "peak_gain"}),
            (LogLogistic, {}, {"control", "half_effect_dose", "slope"}),
            (SigmoidEmax, {}, {"control", "half_effect_dose", "slope", "span"}),
            (SigmoidEmax, {"lower_asymptote": "free"}, {"control", "half_effect_dose", "slope", "span"}),
        ],
    )
    def test_span_and_asymptote_exist_where_they_mean_something(self, curve, options, names):
        assert set(curve(**options).parameters()) == names

    def test_a_number_is_no_prior_any_more(self):
        assert set(LogLogistic(slope=2.0).priors()) == {"control", "half_effect_dose"}

    def test_a_term_is_frozen(self):
        with pytest.raises(AttributeError):
            Line().slope = 2.0

    def test_with_values_replaces_what_is_named_and_keeps_the_rest(self):
        line = Line(kind="steep", intercept=1.0).with_values({"slope": 3.0, "unrelated": 9.0})
        assert (line.kind, line.intercept, line.slope) == ("steep", 1.0, 3.0)


class TestFromDraws:
    @pytest.fixture
    def draws(self):
        names = ["control", "span", "peak_gain", "half_effect_dose"]
        values = {name: (("chain", "draw"), np.full((2, 3), index + 1.0)) for index, name in enumerate(names)}
        options = {"scale": "interval", "direction": "down"}
        return xr.Dataset(values, attrs=options | {"fixed": json.dumps({"slope_excess": 1.5})})

    def test_reads_draws_options_and_fixed_numbers(self, draws):
        curve = BrainCousens.from_draws(draws)
        options = {"scale": "interval", "direction": "down", "lower_asymptote": "zero", "link": "identity"}
        assert curve.structure() == options
        assert curve.slope_excess == 1.5
        assert not curve.priors()
        xr.testing.assert_identical(curve.peak_gain, draws["peak_gain"])
        assert curve(xr.DataArray([0.0, 1.0, 9.0], dims="dose")).sizes == {"chain": 2, "draw": 3, "dose": 3}

    def test_reads_a_group_of_a_tree_alike(self, draws):
        tree = xr.DataTree.from_dict({"posterior": draws})
        from_tree, from_dataset = (BrainCousens.from_draws(group)(2.0) for group in (tree["posterior"], draws))
        xr.testing.assert_identical(from_tree, from_dataset)

    def test_an_option_given_wins_over_the_recorded_one(self, draws):
        up, down = BrainCousens.from_draws(draws, direction="up"), BrainCousens.from_draws(draws)
        assert (up.direction, down.direction) == ("up", "down")

    def test_names_all_missing_draws(self, draws):
        with pytest.raises(ValueError, match=r"^BrainCousens needs draws of peak_gain, half_effect_dose, .*\.$"):
            BrainCousens.from_draws(draws.drop_vars(["peak_gain", "half_effect_dose"]))


def test_root_takes_exactly_the_steps_asked_for():
    iterates = [root(2.0, lambda x: (x + 2 / x) / 2, steps=steps) for steps in (0, 1, 6)]
    assert iterates == [2.0, 1.5, pytest.approx(math.sqrt(2), rel=1e-15)]


def test_every_family_has_a_known_unit_and_prior(family):
    assert set(family.declared()) == set(family.priors())
    assert {known.unit for known in family.declared().values()} <= set(UNITS)
    assert family.definition.endswith(".")
