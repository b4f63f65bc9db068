"""People who differ: groupings, displacements, designs, priors, the graph, and a fit that recovers its truth."""

import json
import math
from dataclasses import replace

import numpy as np
import pytensor.tensor as pt
import pytest
import xarray as xr
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens, LogLogistic
from hormesis_fit.inference import engines
from hormesis_fit.inference.assembly import side_groups, tree_of
from hormesis_fit.inference.engines import Machine, Result
from hormesis_fit.model.building import model_data, model_of
from hormesis_fit.model.density import Density
from hormesis_fit.model.hierarchy import (
    Effect,
    correlations_of,
    design_of,
    displaced,
    effects_of,
    group_labels,
    shifts_of,
    space_of,
)
from hormesis_fit.model.specification import Side, scales, specify
from hormesis_fit.parameter import Prior
from hormesis_fit.trials.reading import read_trial
from hormesis_fit.windows.posterior import members, trial_of

PEOPLE, DOSES = 12, np.array([0.0, 0.3, 1, 3, 10, 30, 100, 300])
TRUTH = {"control": 10.0, "half_effect_dose": 20.0, "slope": 2.0, "sigma": 0.4}
SPREADS = {"control": 0.15, "half_effect_dose": 0.6}
VARY = {"half_effect_dose": "subject", "control": "subject"}


@pytest.fixture(scope="module")
def offsets():
    rng = np.random.default_rng(20)
    draws = {name: rng.standard_normal(PEOPLE) for name in SPREADS}
    return {name: (z - z.mean()) / z.std() for name, z in draws.items()}


@pytest.fixture(scope="module")
def people(offsets):
    """Return 12 subjects with 8 doses each, in 3 centres, of two sexes and any weight."""
    rng = np.random.default_rng(21)
    who = np.repeat(np.arange(PEOPLE), DOSES.size)
    own = {name: TRUTH[name] * np.exp(SPREADS[name] * z[who]) for name, z in offsets.items()}
    dose = np.tile(DOSES, PEOPLE)
    mean = LogLogistic(slope=TRUTH["slope"], **own)(dose)
    table = {
        "dose": dose,
        "response": mean + TRUTH["sigma"] * rng.standard_normal(dose.size),
        "who": [f"S{i:02d}" for i in who],
        "sex": np.array(["f", "m"])[who % 2],
        "kg": 60.0 + 3 * who,
        "centre": [f"C{i // 4}" for i in who],
        "plate": [f"P{i % 3}" for i in range(who.size)],
        "same": ["x"] * who.size,
        "each": np.arange(who.size) + 1_234_567.0,
    }
    return read_trial(table, subject="who", columns=["sex", "kg", "centre", "plate", "same", "each"], scale="ratio")


class TestSpaces:
    @pytest.mark.parametrize(
        ("prior", "space"),
        [
            (Prior("LogNormal", mu=0, sigma=1), "log"),
            (Prior("HalfNormal", sigma=1), "log"),
            (Prior("TruncatedNormal", mu=0, sigma=1, lower=0), "log"),
            (Prior("TruncatedNormal", mu=0, sigma=1, lower=-1), "identity"),
            (Prior("TruncatedNormal", mu=0, sigma=1), "identity"),
            (Prior("Normal", mu=0, sigma=1), "identity"),
            (Prior("Beta", alpha=1, beta=3), "logit"),
            (Prior("LogitNormal", mu=0, sigma=1), "logit"),
        ],
        ids=str,
    )
    def test_where_a_parameter_is_free(self, prior, space):
        assert space_of(prior) == space

    def test_a_shift_keeps_a_parameter_in_its_space(self):
        assert displaced(2.0, math.log(3), "log") == pytest.approx(6)
        assert displaced(2.0, -3.0, "identity") == -1
        assert displaced(0.5, math.log(3), "logit") == pytest.approx(0.75)
        for space in ("log", "identity", "logit"):
            assert displaced(0.3, 0.0, space) == pytest.approx(0.3, rel=1e-15)

    def test_priors_of_spreads_are_in_the_units_of_the_space(self, people):
        priors = specify(people, curve="LogLogistic", vary=VARY).priors
        assert priors["half_effect_dose_sd_subject"] == Prior("HalfNormal", sigma=0.7)
        assert priors["control_sd_subject"] == Prior("HalfNormal", sigma=0.5)
        interval = people.assign_attrs(scale="interval")
        size = specify(interval, curve="LogLogistic", vary={"control": "subject"}).priors["control_sd_subject"]
        assert size.arguments["sigma"] == pytest.approx(scales(interval)["response"])


class TestGroupings:
    def test_labels_are_text_and_numbers_keep_their_digits(self, people):
        assert group_labels(people, "subject")[:9].tolist() == ["S00"] * 8 + ["S01"]
        assert group_labels(people, "kg")[8] == "63"
        assert len(set(group_labels(people, "each"))) == 96
        assert group_labels(people, "centre:subject")[-1] == "C2:S11"

    def test_one_column(self, people):
        [effect] = effects_of(people, {"control": "subject"}, {"control": Prior("LogNormal", mu=0, sigma=1)})
        assert (effect.parameter, effect.group, effect.space, len(effect.labels)) == ("control", "subject", "log", 12)
        assert (effect.spread, effect.offset) == ("control_sd_subject", "control_offset_subject")

    def test_nested_columns_are_centres_and_subjects_within_them(self, people):
        effects = effects_of(people, {"control": "centre/subject"}, {"control": Prior("Normal", mu=0, sigma=1)})
        assert [one.group for one in effects] == ["centre", "centre:subject"]
        assert [len(one.labels) for one in effects] == [3, 12]
        assert effects[1].labels[0] == "C0:S00"

    def test_crossed_columns_are_a_list(self, people):
        asked = {"control": ["subject", "plate"]}
        effects = effects_of(people, asked, {"control": Prior("Normal", mu=0, sigma=1)})
        assert [(one.group, len(one.labels)) for one in effects] == [("subject", 12), ("plate", 3)]

    def test_parameters_that_a_curve_lacks_are_left_out(self, people):
        assert specify(people, curve="Constant", vary=VARY).effects[0].parameter == "control"
        assert len(specify(people, curve="Constant", vary=VARY).effects) == 1

    def test_the_groups_are_dims_of_the_model(self, people):
        specification = specify(people, curve="LogLogistic", vary={"control": "centre/subject"})
        model = model_of(specification, people)
        assert model.named_vars_to_dims["control_offset_centre:subject"] == ("centre:subject",)
        assert list(model.coords["centre"]) == ["C0", "C1", "C2"]
        assert specification.hierarchical
        assert not specify(people, curve="LogLogistic").hierarchical


class TestCorrelations:
    def effects(self, people, names=("a", "b", "c")):
        return [Effect(name, "subject", "log", tuple(f"S{i}" for i in range(people))) for name in names]

    def test_need_enough_groups(self):
        assert correlations_of(self.effects(19)) == ()
        assert [(one.first, one.second) for one in correlations_of(self.effects(20))] == [
            ("a", "b"),
            ("a", "c"),
            ("b", "c"),
        ]

    def test_of_the_prior_are_those_of_an_lkj_prior(self):
        """Under LKJ(2) in three dimensions every correlation is Beta(2.5, 2.5) on (-1, 1)."""
        effects, rng, size = self.effects(20), np.random.default_rng(1), 100_000
        priors = {one.name: one.prior.arguments for one in correlations_of(effects)}
        shares = {name: rng.beta(prior["alpha"], prior["beta"], size) for name, prior in priors.items()}
        basis = np.eye(3)
        rows = []
        for k in range(3):
            # The coefficients of a parameter on the independent offsets are a row of the Cholesky factor.
            parts = [
                np.broadcast_to(
                    shifts_of(
                        effects,
                        {one: basis[j, i] for i, one in enumerate(effects)},
                        {one.spread: 1.0 for one in effects},
                        shares,
                    )["abc"[k]][1],
                    (size,),
                )
                for j in range(3)
            ]
            rows.append(np.stack(parts))
        for k in range(3):
            np.testing.assert_allclose(np.sum(rows[k] ** 2, axis=0), 1, rtol=1e-12)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            correlation = np.sum(rows[first] * rows[second], axis=0)
            assert stats.kstest((1 + correlation) / 2, stats.beta(2.5, 2.5).cdf).statistic < 0.01

    def test_without_them_offsets_are_independent(self):
        effects = self.effects(5, ("a", "b"))
        moved = shifts_of(effects, dict(zip(effects, (1.0, -2.0), strict=True)), {e.spread: 0.5 for e in effects}, {})
        assert moved == {"a": ("log", 0.5), "b": ("log", -1.0)}

    def test_two_groupings_of_one_parameter_add_up(self):
        effects = [Effect("a", "subject", "log", ("1", "2")), Effect("a", "plate", "log", ("1", "2"))]
        moved = shifts_of(effects, dict(zip(effects, (1.0, 3.0), strict=True)), {e.spread: 0.5 for e in effects}, {})
        assert moved == {"a": ("log", 2.0)}


class TestDesigns:
    def test_columns_by_hand(self, people):
        terms, columns = design_of(people, "sex + scale(kg)")
        assert terms == ("sex[m]", "scale(kg)")
        kg = people["kg"].values
        expected = np.column_stack([people["sex"].values == "m", (kg - kg.mean()) / kg.std()])
        np.testing.assert_allclose(columns, expected, rtol=1e-12)

    def test_coefficients_have_names_and_priors(self, people):
        specification = specify(people, curve="LogLogistic", covariates={"half_effect_dose": "sex + scale(kg)"})
        assert specification.priors["half_effect_dose_slope"] == Prior("Normal", mu=0, sigma=0.5)
        assert specification.coords()["half_effect_dose_term"] == ("sex[m]", "scale(kg)")
        assert specification.declared()["half_effect_dose_slope"].unit == "1"

    @pytest.mark.parametrize(
        ("formula", "facts"),
        [
            ("sexx", ['"sexx"', 'did you mean "sex"', '"kg"']),
            ("sex +", ['"sex +"', "cannot be used", "scale(weight)"]),
            ("", ["cannot be used"]),
            ("1", ["names no column"]),
            ("kg + (1 | centre)", ["more than covariates", "vary="]),
            ("response ~ kg", ["more than covariates"]),
            ("scale(same)", ['"scale(same)"']),
            ("I(kg / (kg - 60))", ["not finite"]),
        ],
    )
    def test_what_is_no_formula_is_refused(self, people, formula, facts):
        assert_refused(lambda: design_of(people, formula), facts)


def assert_refused(call, facts):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"^[A-Z][^\n]*\.$") as refusal:
        call()
    assert refusal.value.__cause__ is None
    for fact in facts:
        assert fact in str(refusal.value)


@pytest.mark.parametrize(
    ("vary", "facts"),
    [
        ({"control": "subjct"}, ['"subjct"', 'did you mean "subject"', '"centre"']),
        ({"control": "same"}, ["at least 2 groups", '"same"', '"x"', "vary="]),
        ({"control": "each"}, ["Every row has a group of its own", '"each"']),
        ({"control": "centre/zzz"}, ['"zzz"']),
        ({"half_efect_dose": "subject"}, ['"half_efect_dose"', 'did you mean "half_effect_dose"']),
    ],
)
def test_groups_that_are_none_are_refused(people, vary, facts):
    assert_refused(lambda: hf.fit(people, curve="LogLogistic", vary=vary, engine="importance", random_seed=1), facts)


def test_vary_is_a_mapping(people):
    with pytest.raises(TypeError, match="must be written like"):
        hf.fit(people, curve="LogLogistic", vary="subject", random_seed=1)


@pytest.fixture(scope="module")
def density(people):
    vary = {"half_effect_dose": "subject", "control": ["subject", "plate"]}
    covariates = {"half_effect_dose": "sex + scale(kg)"}
    return Density(model_of(specify(people, curve="LogLogistic", vary=vary, covariates=covariates), people))


class TestGraph:
    def test_prior_draws_have_every_element(self, density):
        points = density.prior_draws(3000, np.random.default_rng(1))
        assert points.shape == (3000, density.dimension)
        assert density.dimension == 4 + 3 + (12 + 12 + 3) + 2
        draws = density.constrain(points)
        assert draws["half_effect_dose_offset_subject"].shape == (3000, 12)
        assert draws["half_effect_dose_slope"].shape == (3000, 2)
        np.testing.assert_allclose(draws["control_offset_plate"].std(axis=0), 1, rtol=0.06)
        correlations = np.corrcoef(draws["half_effect_dose_offset_subject"].T) - np.eye(12)
        assert np.abs(correlations).max() < 0.1  # elements are drawn each for itself
        np.testing.assert_allclose(draws["half_effect_dose_slope"].std(axis=0), 0.5, rtol=0.06)
        assert np.median(draws["half_effect_dose_sd_subject"]) == pytest.approx(0.7 * 0.6745, rel=0.08)
        np.testing.assert_allclose(density.unconstrain(draws), points, atol=1e-6)

    def test_equals_numpy(self, density, people):
        points = density.prior_draws(5, np.random.default_rng(2))
        draws = density.constrain(points)
        who = np.repeat(np.arange(PEOPLE), DOSES.size)
        plate = np.arange(who.size) % 3
        kg = people["kg"].values
        design = np.column_stack([who % 2, (kg - kg.mean()) / kg.std()])
        _, found = density.pointwise(points)
        for i in range(5):
            one = {name: value[i] for name, value in draws.items()}
            control = one["control"] * np.exp(
                one["control_sd_subject"] * one["control_offset_subject"][who]
                + one["control_sd_plate"] * one["control_offset_plate"][plate]
            )
            half = one["half_effect_dose"] * np.exp(
                one["half_effect_dose_sd_subject"] * one["half_effect_dose_offset_subject"][who]
                + design @ one["half_effect_dose_slope"]
            )
            mean = LogLogistic(control=control, half_effect_dose=half, slope=one["slope"])(people["dose"].values)
            expected = stats.norm.logpdf(people["response"].values, mean, one["sigma"])
            np.testing.assert_allclose(found[i], expected, rtol=1e-9)

    def test_log_prior_equals_scipy(self, density):
        points = density.prior_draws(2, np.random.default_rng(3))
        base, _ = density.pointwise(points)
        moved = points.copy()
        names = [
            name for name, shape in zip(density.names, density.shapes, strict=True) for _ in range(math.prod(shape))
        ]
        at = names.index("control_offset_plate") + 1
        moved[:, at] += 0.7
        expected = stats.norm.logpdf(moved[:, at]) - stats.norm.logpdf(points[:, at])
        np.testing.assert_allclose(density.pointwise(moved)[0] - base, expected, rtol=1e-9)
        at = names.index("half_effect_dose_slope")
        moved = points.copy()
        moved[:, at] += 0.2
        expected = stats.norm.logpdf(moved[:, at], 0, 0.5) - stats.norm.logpdf(points[:, at], 0, 0.5)
        np.testing.assert_allclose(density.pointwise(moved)[0] - base, expected, rtol=1e-9)

    def test_shares_vary_in_log_odds(self, people):
        """A parameter between 0 and 1 stays there whatever its offset."""
        curve = LogLogistic(lower_asymptote="free")
        specification = specify(people, curve=curve, vary={"lower_share": "subject"})
        assert specification.effects[0].space == "logit"
        model = model_of(specification, people)
        assert isinstance(model["lower_share_offset_subject"], pt.TensorVariable)

    def test_models_of_other_numbers_of_groups_differ(self, people):
        fewer = people.isel(observation=slice(0, 48))
        one, other = (specify(trial, curve="LogLogistic", vary=VARY) for trial in (people, fewer))
        assert one.structure != other.structure
        assert one.structure == specify(people, curve="LogLogistic", vary=VARY).structure
        assert one.structure != specify(people, curve="LogLogistic").structure


def sensitive(seed, correlation, size=16):
    """Return benefit and side effect of people whose sensitivities to both go together."""
    rng, rows = np.random.default_rng(seed), []
    for person in range(size):
        own, other = rng.standard_normal(2)
        other = correlation * own + math.sqrt(1 - correlation**2) * other
        half = 20 * np.exp(0.6 * own)
        benefit = BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=half, slope_excess=1.5)
        risk = LogLogistic(
            control=0.05, half_effect_dose=10 * np.exp(0.8 * other), slope=1.5, link="logit", direction="down"
        )
        for dose in (0.0, 1, 3, 10, 30, 100) * 2:
            score = benefit(dose) + 6 * rng.standard_normal()
            rows.append((f"S{person:02}", dose, score, rng.binomial(20, risk(dose)), 20))
    table = dict(zip(("who", "dose", "score", "ill", "n"), zip(*rows, strict=True), strict=True))
    trial = read_trial(table, response="score", subject="who", scale="ratio")
    return trial, read_trial(table, successes="ill", n="n", subject="who", direction="down")


OWN = {"half_effect_dose": "subject"}


@pytest.fixture(scope="module")
def joint():
    """Return a benefit with a side effect in one model, of which the benefit does not know one person."""
    trial, ill = sensitive(1, 0.8, size=4)
    trial = trial.isel(observation=trial["subject"].values != "S01")
    options = {"curve": "LogLogistic", "family": "binomial", "vary": OWN}
    side = specify(ill, **options, shared=["half_effect_dose"])
    main = specify(trial, curve="BrainCousens", vary=OWN)
    whole = replace(main, sides=(Side("ill", side, ill),))
    return whole, main, specify(ill, **options), trial, ill


class TestSeveralEndpoints:
    def test_the_graph_is_that_of_both_with_offsets_in_common(self, joint):
        whole, main, side, trial, ill = joint
        density = Density(model_of(whole, trial))
        density.set_data(model_data(whole, trial))
        points = density.prior_draws(5, np.random.default_rng(4))
        prior, likelihood = density.pointwise(points)
        draws = density.constrain(points)
        own = {name.removeprefix("ill::"): value for name, value in draws.items() if name.startswith("ill::")}
        rho = 2 * own["half_effect_dose_benefit_cor_subject"][:, None] - 1
        other, alone = draws["half_effect_dose_offset_subject"], own["half_effect_dose_offset_subject"]
        mixed = alone.copy()
        # Of the four people with side effects the benefit knows the first, the third and the fourth.
        mixed[:, [0, 2, 3]] = rho * other + np.sqrt(1 - rho**2) * alone[:, [0, 2, 3]]
        first, second = Density(model_of(main, trial)), Density(model_of(side, ill))
        one = first.pointwise(first.unconstrain(draws))
        two = second.pointwise(second.unconstrain(own | {"half_effect_dose_offset_subject": mixed}))
        np.testing.assert_allclose(likelihood, np.concatenate([one[1], two[1]], axis=1), rtol=1e-9)
        free = second.pointwise(second.unconstrain(own))[0]
        share = stats.beta(2, 2).pdf((1 + rho[:, 0]) / 2) * (1 - rho[:, 0] ** 2) / 4  # a logit's Jacobian
        np.testing.assert_allclose(prior, one[0] + free + np.log(share), rtol=1e-8)

    def test_results_hold_the_offsets_in_common(self, joint):
        whole, _, _, trial, ill = joint
        density = Density(model_of(whole, trial))
        points = density.prior_draws(20, np.random.default_rng(5))
        result = Result(points.reshape(2, 10, -1), "nuts", 0.0, 0.0, 0.0)
        tree = tree_of(trial, whole, result, density)
        part = tree["endpoints/ill"]
        assert (tree["posterior"].sizes["subject"], part["posterior"].sizes["subject"]) == (3, 4)
        assert part["posterior"]["subject"].values.tolist() == ["S00", "S01", "S02", "S03"]
        assert json.loads(part["posterior"].attrs["shared"]) == [["half_effect_dose", "subject"]]
        assert not [name for name in tree["posterior"].data_vars if "::" in name]
        sizes = [one["log_likelihood"].sizes["observation"] for one in (tree, part)]
        assert sizes == [trial.sizes["observation"], ill.sizes["observation"]]
        # The likelihood of the side effect by itself, at the offsets that its posterior holds.
        alone = Density(model_of(specify(ill, curve="LogLogistic", family="binomial", vary=OWN), ill))
        draws = {name: part["posterior"][name].values for name in alone.names}
        found = alone.pointwise(alone.unconstrain(draws))[1].reshape(2, 10, -1)
        np.testing.assert_allclose(part["log_likelihood"]["response"], found, rtol=1e-8)

    def test_an_average_has_one_side_effect_for_every_curve(self, joint):
        whole, _, _, trial, ill = joint
        both = replace(whole, sides=(*whole.sides, replace(whole.sides[0], name="dizzy")))
        density = Density(model_of(both, trial))
        points = density.prior_draws(20, np.random.default_rng(5))
        member = tree_of(trial, both, Result(points.reshape(2, 10, -1), "nuts", 0.0, 0.0, 0.0), density)
        weights = {"weight": ("model", [0.3, 0.7]), "prob_hormesis": 0.3}
        table = xr.Dataset(weights, coords={"model": ["A", "B"]})
        tree = xr.DataTree.from_dict({"evidence": table})
        for label in "AB":
            tree[f"models/{label}"] = member.copy()
        for side in both.sides:
            side_groups(tree, side, {"family": "binomial", "seed": 1})
        assert set(tree["endpoints"].children) == {"ill", "dizzy"}
        for label in "AB":
            assert "endpoints" not in tree[f"models/{label}"]
        found = members(tree["endpoints/dizzy"])
        assert [(one.label, one.weight) for one in found] == [("A", 0.3), ("B", 0.7)]
        assert found[0].curve.label.startswith("LogLogistic")
        assert np.isnan(tree["endpoints/ill/evidence"]["prob_hormesis"])
        assert trial_of(tree["endpoints/ill"]).sizes["observation"] == ill.sizes["observation"]

    def test_more_than_thirty_parameters_can_be_interpreted(self, joint):
        whole, _, _, trial, _ = joint
        third = replace(whole, sides=(*whole.sides, replace(whole.sides[0], name="dizzy")))
        density = Density(model_of(third, trial))
        prior, likelihood = density(density.prior_draws(3, np.random.default_rng(6)))
        assert np.isfinite(prior + likelihood).all()

    def test_structures_tell_joint_models_apart(self, joint):
        whole, main, *_ = joint
        assert len({whole.structure, main.structure, replace(whole, sides=whole.sides * 2).structure}) == 3

    @pytest.mark.parametrize(
        ("changes", "facts"),
        [
            ({"curve": "average"}, ['"ill"', "one curve", "'average'", "LogLogistic"]),
            ({"curve": ["LogLogistic", "Constant"]}, ["one curve"]),
            ({"shared": "control"}, ['"control"', "vary= of both", "shared="]),
            ({"shared": ["half_effect_dos"]}, ['"half_effect_dos"', "vary= of both"]),
            ({"vary": {"control": "subject"}}, ['"half_effect_dose"', "vary= of both"]),
        ],
        ids=str,
    )
    def test_what_cannot_be_shared_is_refused(self, joint, changes, facts):
        *_, trial, ill = joint
        options = {"curve": "LogLogistic", "family": "binomial", "vary": OWN, "shared": "half_effect_dose"} | changes
        asked = {"curve": "BrainCousens", "vary": OWN, "random_seed": 1}
        assert_refused(lambda: hf.fit(trial, **asked, endpoints={"ill": hf.Endpoint(trial=ill, **options)}), facts)


@pytest.fixture(scope="module")
def machine(joint):
    """Return the machine of a benefit with a side effect, and its data without any information."""
    whole, _, _, trial, _ = joint
    return Machine(whole, trial), model_data(whole, trial)


class TestWhatTheRowsSayOfTheirGroup:
    """Offsets are sampled as multiples of what their rows leave open of them, which changes no posterior."""

    @pytest.fixture
    def known(self, machine):
        """Return some information about every group of the benefit and of its side effect."""
        one, data = machine
        told = {prefix + effect.information: effect for _, prefix, effect in one.offsets}
        assert len(told) == 2
        yield data | {name: 40.0 * (1 + np.arange(len(told[name].labels))) for name in told}
        one.density.set_data(data)

    def test_is_another_coordinate_of_the_same_density(self, machine, known):
        one, data = machine
        one.density.set_data(data)
        points = one.density.prior_draws(6, np.random.default_rng(11))
        prior, likelihood = one.density.pointwise(points)
        draws, moved, jacobian = one.density.constrain(points), points.copy(), 0.0
        for place, prefix, effect in one.offsets:
            spread = draws[prefix + effect.spread][:, None]
            factor = np.sqrt(1 + known[prefix + effect.information] * spread**2)
            moved[:, place] *= factor
            jacobian = jacobian + np.log(factor).sum(axis=1)
        one.density.set_data(known)
        found = one.density.pointwise(moved)
        np.testing.assert_allclose(found[1], likelihood, rtol=1e-9)
        np.testing.assert_allclose(found[0], prior - jacobian, rtol=1e-9)
        back = engines._standardised(one, moved.reshape(2, 3, -1), known)
        np.testing.assert_allclose(back.reshape(6, -1), points, atol=1e-9)

    def test_prior_draws_follow_the_spread_of_the_same_draw(self, machine, known):
        one, _ = machine
        one.density.set_data(known)
        points = one.density.prior_draws(4000, np.random.default_rng(12))
        back = engines._standardised(one, points.reshape(4, 1000, -1), known).reshape(4000, -1)
        for place, *_ in one.offsets:
            assert points[:, place].std() > 2
            np.testing.assert_allclose(back[:, place].std(axis=0), 1, rtol=0.06)
            assert stats.kstest(back[:, place].ravel(), "norm").pvalue > 1e-3

    def test_is_the_squared_score_of_their_rows(self, people):
        specification = specify(people, curve="LogLogistic", vary=VARY)
        machine, data = Machine(specification, people), model_data(specification, people)
        machine.density.set_data(data)
        typical = {name: np.array([value]) for name, value in TRUTH.items()}
        typical |= {f"{name}_sd_subject": np.array([0.4]) for name in SPREADS}
        typical |= {f"{name}_offset_subject": np.zeros((1, PEOPLE)) for name in SPREADS}
        found = engines._information(machine, data, machine.density.unconstrain(typical)[0])
        curve = LogLogistic(**{name: TRUTH[name] for name in ("control", "half_effect_dose", "slope")})
        mean, response = curve(people["dose"].values), people["response"].values
        score = (response - mean) * mean / TRUTH["sigma"] ** 2  # of the log of the control response
        expected = DOSES.size * np.mean(score**2)
        np.testing.assert_allclose(found["control_information_subject"], expected, rtol=0.01)
        assert (found["half_effect_dose_information_subject"] > 0).all()

    def test_chains_begin_with_nobody_who_differs(self, machine):
        one, data = machine
        one.density.set_data(data)
        starts = engines._starts(one, np.random.default_rng(13))
        assert len(starts) == engines.START_CHOICE
        assert not any(starts[:, place].any() for place, *_ in one.offsets)
        assert np.isfinite(np.add(*one.density(starts))).all()
        pooled = engines._pooled(one.density, starts, np.random.default_rng(14))
        assert np.add(*one.density(pooled[None]))[0] > np.add(*one.density(starts)).max()


@pytest.mark.slow
@pytest.mark.heavy
def test_any_information_gives_the_same_posterior_and_the_right_one_spares_the_second_run(monkeypatch):
    """Twelve people with 24 rows each: without information NUTS meets the narrow end of large spreads."""
    rng, rows = np.random.default_rng(0), []
    for number in range(12):
        control, half = 100 * np.exp(0.15 * rng.normal()), 30 * np.exp(0.5 * rng.normal())
        own = BrainCousens(control=control, peak_stimulation=0.4, half_effect_dose=half, slope_excess=1.5)
        dose = np.repeat([0.0, *np.geomspace(0.3, 100, 7)], 3)
        rows += [(f"S{number}", *row) for row in zip(dose, own(dose) + 6 * rng.normal(size=dose.size), strict=True)]
    table = dict(zip(("subject", "dose", "response"), zip(*rows, strict=True), strict=True))
    trial = read_trial(table, subject="subject", scale="ratio")
    run, told, runs = engines._nuts, engines._information, []

    def counted(*arguments, **options):
        runs.append(run(*arguments, **options))
        return runs[-1]

    monkeypatch.setattr(engines, "_nuts", counted)
    fits = {}
    for name, factor in (("own", 1.0), ("none", 0.0)):
        monkeypatch.setattr(engines, "_information", lambda *a, f=factor: {k: f * v for k, v in told(*a).items()})
        fits[name] = hf.fit(trial, curve="BrainCousens", vary=VARY, random_seed=1)
        if name == "own":  # the bounds of issue 4, by work: 12 s a trial are 270,000 gradients of these rows
            [only] = runs
            assert only.divergences == 0
            assert only.ess >= 800
            assert only.work / trial.sizes["observation"] < 45_000
    assert len(runs) == 3  # without information the draws hang together, and NUTS runs again
    mean = {name: one["posterior"].to_dataset().mean(("chain", "draw")) for name, one in fits.items()}
    spread = fits["own"]["posterior"].to_dataset().std(("chain", "draw"))
    for name in spread.data_vars:  # Monte Carlo errors of 400 effective draws and more
        assert (np.abs(mean["own"][name] - mean["none"][name]) / spread[name]).max() < 0.25, name
    evidence = [float(one["evidence"]["log_evidence"][0]) for one in fits.values()]
    assert abs(np.subtract(*evidence)) < 0.4


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("correlation", [0.9, -0.9])
def test_sensitivities_that_go_together_are_recovered(correlation):
    trial, ill = sensitive(3, correlation)
    endpoint = hf.Endpoint(trial=ill, curve="LogLogistic", family="binomial", vary=OWN, shared="half_effect_dose")
    asked = {"vary": OWN, "random_seed": 3, "draws": 1000, "tune": 1000, "chains": 2}
    fit = hf.fit(trial, curve=["BrainCousens", "LogLogistic"], endpoints={"ill": endpoint}, **asked)
    assert not fit["evidence"]["sick"].sel(model="BrainCousens")  # the wrong curve has no weight
    side = fit["endpoints/ill"]
    assert list(side["models"].children) == ["BrainCousens", "LogLogistic"]
    assert fit["models/BrainCousens"].children.keys() >= {"posterior"}
    assert "endpoints" not in fit["models/BrainCousens"]
    found = 2 * side["models/BrainCousens/posterior"]["half_effect_dose_benefit_cor_subject"] - 1
    low, high = found.quantile([0.025, 0.975]).values
    assert low <= correlation <= high
    assert low * high > 0  # the sign is known
    harm = hf.Harm(endpoint="ill", limit=0.07)
    one = hf.window(fit, estimand="new", harm=harm)
    apart = fit.copy()
    apart["endpoints/ill"].attrs["shared"] = "[]"  # as if its draws were those of a fit of its own
    for member in side["models"].children:
        apart[f"endpoints/ill/models/{member}/posterior"].attrs["shared"] = "[]"
    other = hf.window(apart, estimand="new", harm=harm)
    gained = float(one["prob_exists"] - other["prob_exists"])
    assert gained * correlation > 0.02
    assert float(hf.predict(fit, subject="S03").mean()) > 0
    assert float(hf.predict(side, subject="S03").mean()) < 1


@pytest.mark.slow
def test_a_trial_of_people_is_recovered(people, offsets):
    fit = hf.fit(people, curve="LogLogistic", vary=VARY, random_seed=3, draws=1000, tune=1000, chains=2)
    evidence = fit["evidence"].to_dataset().isel(model=0)
    assert evidence["engine"].item() == "nuts"
    assert evidence["divergences"].item() == 0
    assert not evidence["sick"].item()
    posterior = fit["posterior"].to_dataset()
    truth = TRUTH | {f"{name}_sd_subject": value for name, value in SPREADS.items()}
    for name, value in truth.items():
        low, high = posterior[name].quantile([0.025, 0.975]).values
        assert low <= value <= high, (name, low, value, high)
    for name, z in offsets.items():
        found = posterior[f"{name}_offset_subject"]
        assert found.dims == ("chain", "draw", "subject")
        assert found["subject"].values.tolist() == [f"S{i:02d}" for i in range(PEOPLE)]
        assert np.corrcoef(found.mean(("chain", "draw")), z)[0, 1] > 0.8
    assert evidence["log_evidence_se"].item() < 0.5
