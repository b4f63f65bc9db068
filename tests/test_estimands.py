"""For whom: windows of subjects, new subjects, populations and shares of them, against brute force."""

import json
import math

import numpy as np
import pytest
import xarray as xr

from hormesis_fit.curves import BellTail, BrainCousens, Constant
from hormesis_fit.windows import estimands
from hormesis_fit.windows.estimands import PEOPLE, SHARE, Asked, asked_for, hull, people
from hormesis_fit.windows.posterior import members
from hormesis_fit.windows.windowing import window

DOSES = np.repeat([0.0, 0.32, 1, 3.2, 10, 32, 100], 2)
DRAWS = 40
LABELS = ("S1", "S2", "S3")
EFFECTS = [["amplitude", "subject", "log"], ["half_effect_dose", "subject", "log"]]
GRID = np.geomspace(0.32 / 3, 300, 120)


def make_draws(template, values, effects=(), coords=None, size=DRAWS):
    """Return a posterior as `fit()` does, dims (chain, draw[, group])."""
    arrays = {}
    for name, value in values.items():
        array = np.asarray(value, dtype=float)
        own = [group for parameter, group, _ in effects if name == f"{parameter}_offset_{group}"]
        array = np.broadcast_to(array, (size, *([len(coords[own[0]])] if own else [])))
        arrays[name] = (("chain", "draw", *own), array.reshape(2, size // 2, *array.shape[1:]))
    fixed = {name: getattr(template, name) for name in template.parameters() if name not in values}
    attrs = {"curve": type(template).__name__, "fixed": json.dumps(fixed), "family": "gaussian"}
    attrs |= {"effects": json.dumps([list(one) for one in effects])} | template.structure()
    labels = {name: list(known) for name, known in (coords or {}).items()}
    return xr.Dataset(arrays, coords={"chain": [0, 1], "draw": np.arange(size // 2)} | labels, attrs=attrs)


def make_fit(posteriors, weights=(1.0,), **trial_attrs):
    constant = xr.Dataset({"dose": ("observation", DOSES, {"units": "mg"})}, attrs=trial_attrs)
    observed = xr.Dataset({"response": ("observation", np.ones(DOSES.size), {"units": "g"})})
    evidence = xr.Dataset({"weight": ("model", list(weights))}, coords={"model": list(posteriors)})
    groups = {"constant_data": constant, "observed_data": observed, "evidence": evidence}
    if len(posteriors) == 1:
        groups["posterior"] = next(iter(posteriors.values()))
    else:
        groups |= {f"models/{label}/posterior": draws for label, draws in posteriors.items()}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {"seed": 5}
    return tree


def bell_values(rng, amplitude_sd=0.5, dose_sd=0.6):
    """Return draws of a bell whose tail is out of reach, so that its window has a closed form."""
    return {
        "control": 2.0,
        "amplitude": 0.3 * np.exp(0.2 * rng.standard_normal(DRAWS)),
        "half_effect_dose": 1e6 * np.exp(0.2 * rng.standard_normal(DRAWS)),
        "dose_ratio": 3e-6,
        "width": 0.8,
        "slope": 4.0,
        "sigma": 0.4,
        "amplitude_sd_subject": amplitude_sd,
        "half_effect_dose_sd_subject": dose_sd,
        "amplitude_offset_subject": rng.standard_normal((DRAWS, 3)),
        "half_effect_dose_offset_subject": rng.standard_normal((DRAWS, 3)),
    }


@pytest.fixture
def values():
    return bell_values(np.random.default_rng(2))


@pytest.fixture
def fit(values):
    return make_fit({"BellTail": make_draws(BellTail(), values, EFFECTS, {"subject": LABELS})})


def curve_of(values, amplitude_shift=0.0, dose_shift=0.0):
    """Return the curves of all draws with shifts of amplitude and dose, shape (sample, ...)."""
    moved = {name: np.broadcast_to(values[name], DRAWS)[:, None] for name in BellTail().parameters()}
    moved["amplitude"] = moved["amplitude"] * np.exp(amplitude_shift)
    moved["half_effect_dose"] = moved["half_effect_dose"] * np.exp(dose_shift)
    return BellTail(**moved)


def flat(result, name):
    return result[name].values.reshape(-1)


class TestSubject:
    @pytest.mark.parametrize("place", [0, 2])
    def test_has_the_window_of_its_own_parameters(self, fit, values, place):
        shifts = [values[f"{n}_sd_subject"] * values[f"{n}_offset_subject"][:, [place]] for n, *_ in EFFECTS]
        curve = curve_of(values, *shifts)
        result = window(fit, subject=LABELS[place], doses=GRID)
        gain = curve(GRID) - 2.0
        np.testing.assert_allclose(result["probability"], (gain >= 0.2).mean(axis=0), atol=1e-12)
        height = curve.amplitude[:, 0]
        there = flat(result, "exists")
        with np.errstate(invalid="ignore"):
            reach = np.exp(0.8 * np.sqrt(2 * np.log(height / 0.1)))
        peak = (curve.half_effect_dose * 3e-6)[:, 0]
        np.testing.assert_allclose(flat(result, "window_upper")[there], (peak * reach)[there], rtol=1e-6)
        assert (result.attrs["estimand"], result.attrs["subject"]) == ("subject", LABELS[place])

    def test_of_a_trial_without_subjects_is_refused(self):
        draws = make_draws(Constant(), {"control": 2.0, "sigma": 1.0})
        plain = make_fit({"Constant": draws})
        for arguments in ({"subject": "S1"}, {"estimand": "new"}):
            with pytest.raises(ValueError, match=r"^The fit has nobody who differs .*vary=.*\.$"):
                window(plain, **arguments)

    @pytest.mark.parametrize(
        ("arguments", "facts"),
        [
            ({"subject": "S4"}, ['"S4"', "subject", '"S1", "S2", "S3"']),
            ({"subject": "S1", "estimand": "new"}, ["One subject", "new", "leave out"]),
            ({"estimand": "newest"}, ['"newest"', 'did you mean "new"', '"population"']),
            ({"estimand": None}, ["estimand", '"None"']),
        ],
    )
    def test_wrong_words_are_refused(self, fit, arguments, facts):
        with pytest.raises(ValueError, match=r"^[A-Z][^\n]*\.$") as refusal:
            window(fit, **arguments)
        for fact in facts:
            assert fact in str(refusal.value)

    def test_counts_wherever_a_curve_lets_it_vary(self, values):
        draws = {
            "Constant": make_draws(Constant(), {"control": 2.0, "sigma": 1.0}),
            "BellTail": make_draws(BellTail(), values, EFFECTS, {"subject": LABELS}),
        }
        average = make_fit(draws, (0.3, 0.7))
        assert asked_for(average, "typical", "S2") == Asked("typical", "S2")
        alone = window(make_fit({"BellTail": draws["BellTail"]}), subject="S2", doses=GRID)
        mixed = window(average, subject="S2", doses=GRID)
        np.testing.assert_allclose(mixed["probability"], 0.7 * alone["probability"], atol=1e-12)


class TestNestedSubjects:
    EFFECTS = (
        ["control", "centre", "log"],
        ["control", "centre:subject", "log"],
        ["control", "plate", "log"],
    )

    @pytest.fixture
    def member(self):
        rng = np.random.default_rng(4)
        coords = {"centre": ("A", "B"), "centre:subject": ("A:S1", "B:S1", "B:S2"), "plate": ("S1", "S2")}
        values = {"control": 2.0, "sigma": 0.4}
        for _, group, _ in self.EFFECTS:
            values[f"control_sd_{group}"] = 0.3
            values[f"control_offset_{group}"] = rng.standard_normal((DRAWS, len(coords[group])))
        self.values = values
        return make_fit({"Constant": make_draws(Constant(), values, self.EFFECTS, coords)})

    @pytest.mark.parametrize(("subject", "centre", "place"), [("S2", 1, 2), ("A:S1", 0, 0), ("B:S2", 1, 2)])
    def test_carry_their_centre_but_no_plate_of_that_name(self, member, subject, centre, place):
        [one] = members(member)
        moved = people(one, asked_for(member, "typical", subject), 1)
        shift = 0.3 * self.values["control_offset_centre"][:, centre]
        shift = shift + 0.3 * self.values["control_offset_centre:subject"][:, place]
        np.testing.assert_allclose(moved.control, 2 * np.exp(shift), rtol=1e-12)

    def test_of_one_name_in_two_centres_are_asked_for_in_full(self, member):
        with pytest.raises(ValueError, match=r'^There are 2 subjects named "S1" \("A:S1", "B:S1"\): name one .*\.$'):
            window(member, subject="S1")
        with pytest.raises(ValueError, match=r'^There is no subject named "A".*"A:S1".*\.$'):
            window(member, subject="A")


class TestNewSubject:
    def test_is_drawn_from_the_population(self, values):
        """Over many draws of one and the same curve the offsets are what differs."""
        size = 4000
        values = {name: value for name, value in values.items() if "offset" not in name}
        values |= {"amplitude": 0.3, "half_effect_dose": 1e6}
        values |= {f"{name}_offset_subject": np.zeros((size, 3)) for name, *_ in EFFECTS}
        draws = make_draws(BellTail(), values, EFFECTS, {"subject": LABELS}, size)
        result = window(make_fit({"BellTail": draws}), estimand="new", doses=GRID)
        rng = np.random.default_rng(9)
        z = rng.standard_normal((2, 100_000))
        amplitude, peak = 0.3 * np.exp(0.5 * z[0]), 3.0 * np.exp(0.6 * z[1])
        gain = amplitude[:, None] * np.exp(-((np.log(GRID[::10] / peak[:, None]) / 0.8) ** 2) / 2)
        expected = (gain >= 0.1).mean(axis=0)
        np.testing.assert_allclose(result["probability"][::10], expected, atol=4 * 0.5 / math.sqrt(size))
        assert result.attrs["estimand"] == "new"

    def test_is_less_certain_than_the_typical_one(self, fit):
        typical, new = window(fit), window(fit, estimand="new")
        assert new["max_probability"] < typical["max_probability"]

    def test_is_the_same_twice(self, fit):
        xr.testing.assert_identical(window(fit, estimand="new"), window(fit, estimand="new"))


class TestPopulation:
    def test_mean_is_the_average_of_the_curves(self, fit, values):
        [member] = members(fit)
        crowd = people(member, Asked("population"), 5)
        rng = np.random.default_rng(10)
        doses = np.array([0.3, 1.0, 3.0, 10.0, 50.0])
        dense = np.zeros((DRAWS, doses.size))
        for _ in range(2000):
            a, d = rng.standard_normal(2)
            dense += curve_of(values, 0.5 * a, 0.6 * d)(doses) / 2000
        error = 0.5 * 0.6 / math.sqrt(2000) + 0.02
        np.testing.assert_allclose(crowd.mean(doses[None, :]), dense, atol=3 * error)
        assert crowd.crowded
        assert crowd.control == pytest.approx(np.full(DRAWS, 2.0))
        assert crowd.mean(doses[None, :]).shape == (DRAWS, 5)

    def test_window_of_the_mean_is_wider_than_the_typical_one(self, fit):
        typical, population = window(fit, benefit=0.05), window(fit, benefit=0.05, estimand="population")
        width = [np.log(flat(one, "window_upper") / flat(one, "window_lower")) for one in (typical, population)]
        assert np.all(width[1] > width[0])

    def test_window_is_where_the_mean_has_the_benefit(self, fit):
        [member] = members(fit)
        result = window(fit, estimand="population", doses=GRID)
        crowd = people(member, Asked("population"), 5)
        gain = crowd.mean(GRID[None, :]) - 2.0
        np.testing.assert_allclose(result["probability"], (gain >= 0.2).mean(axis=0), atol=1e-12)
        upper = flat(result, "window_upper")
        there = np.flatnonzero(np.isfinite(upper))
        at_edge = crowd.take(there).mean(upper[there][:, None])[:, 0] - 2.0
        np.testing.assert_allclose(at_edge, 0.2, rtol=1e-6)

    @pytest.mark.parametrize("estimand", ["population", "new", "coverage"])
    def test_without_differences_is_the_typical_subject(self, values, estimand):
        same = values | {"amplitude_sd_subject": 0.0, "half_effect_dose_sd_subject": 0.0}
        fit = make_fit({"BellTail": make_draws(BellTail(), same, EFFECTS, {"subject": LABELS})})
        typical, other = window(fit, doses=GRID), window(fit, estimand=estimand, doses=GRID)
        for name in ("window_lower", "window_upper", "probability", "peak_dose"):
            np.testing.assert_allclose(other[name], typical[name], rtol=1e-5, err_msg=name)
        assert other.attrs["status"] == typical.attrs["status"]


class TestCoverage:
    def test_is_where_most_people_have_the_benefit(self, fit, values):
        result = window(fit, estimand="coverage", doses=GRID, benefit=0.05)
        crowd = estimands._crowd(2, 5)
        served = np.zeros((DRAWS, GRID.size))
        for a, d in crowd:
            served += curve_of(values, 0.5 * a, 0.6 * d)(GRID) - 2.0 >= 0.1
        inside = served >= SHARE * PEOPLE
        assert inside.any()
        # The hull of the doses that serve the share; a gap inside it counts as served.
        first, last = inside.argmax(axis=1), GRID.size - 1 - inside[:, ::-1].argmax(axis=1)
        place = np.arange(GRID.size)
        filled = inside.any(axis=1)[:, None] & (place >= first[:, None]) & (place <= last[:, None])
        np.testing.assert_allclose(result["probability"], filled.mean(axis=0), atol=1.01 / DRAWS)

    def test_in_blocks_of_draws_is_the_same(self, fit, monkeypatch):
        whole = window(fit, estimand="coverage", benefit=0.05)
        monkeypatch.setattr(estimands, "BLOCK", 7)
        xr.testing.assert_identical(window(fit, estimand="coverage", benefit=0.05), whole)

    def test_people_without_any_window_are_not_served(self):
        low = np.array([[1.0, 1.0, 2.0, np.inf]])
        high = np.array([[9.0, 8.0, 7.0, -np.inf]])
        assert [edge.tolist() for edge in hull(low, high, 3)] == [[2.0], [7.0]]
        assert [edge.tolist() for edge in hull(low, high, 4)] == [[np.inf], [-np.inf]]

    def test_hull_against_brute_force(self):
        rng = np.random.default_rng(11)
        low = rng.uniform(0, 5, (60, 8))
        high = low + rng.uniform(0, 5, low.shape)
        gone = rng.random(low.shape) < 0.2
        low[gone], high[gone] = np.inf, -np.inf
        open_ended = (rng.random(low.shape) < 0.2) & ~gone
        high[open_ended] = np.inf
        doses = np.concatenate([np.linspace(0, 12, 4001), [1e9]])
        for needed in (1, 5, 7):
            lower, upper = hull(low, high, needed)
            for row in range(60):
                count = ((low[row] <= doses[:, None]) & (high[row] >= doses[:, None])).sum(axis=1)
                served = doses[count >= needed]
                if not served.size:
                    assert not lower[row] < upper[row] - 0.004
                    continue
                assert lower[row] == pytest.approx(served.min(), abs=0.004)
                assert upper[row] == (np.inf if served.max() == 1e9 else pytest.approx(served.max(), abs=0.004))


def test_the_crowd_is_standard_normal():
    crowd = estimands._crowd(3, 5)
    assert crowd.shape == (PEOPLE, 3)
    np.testing.assert_allclose(crowd.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(crowd.std(axis=0), 1, atol=0.06)
    assert np.abs(np.corrcoef(crowd.T) - np.eye(3)).max() < 0.1


def test_correlated_people_move_together():
    """A correlation of one moves two parameters by the same offsets."""
    effects = (["control", "subject", "log"], ["half_effect_dose", "subject", "log"])
    rng = np.random.default_rng(12)
    values = {"control": 2.0, "half_effect_dose": 30.0, "peak_stimulation": 0.4, "slope_excess": 1.0, "sigma": 0.4}
    values |= {"control_sd_subject": 0.2, "half_effect_dose_sd_subject": 0.5}
    values |= {"control_half_effect_dose_cor_subject": 1.0}
    values |= {f"{name}_offset_subject": rng.standard_normal((DRAWS, 3)) for name, *_ in effects}
    fit = make_fit({"BrainCousens": make_draws(BrainCousens(), values, effects, {"subject": LABELS})})
    [member] = members(fit)
    moved = people(member, Asked("new"), 5)
    control, half = (np.log(getattr(moved.curve, name)[:, 0]) for name in ("control", "half_effect_dose"))
    np.testing.assert_allclose((control - math.log(2)) / 0.2, (half - math.log(30)) / 0.5, rtol=1e-9)
    own = people(member, Asked("typical", "S3"), 5)
    shift = 0.5 * values["control_offset_subject"][:, 2]
    np.testing.assert_allclose(np.log(own.curve.half_effect_dose[:, 0] / 30), shift, rtol=1e-9)
