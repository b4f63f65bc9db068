"""Dose events and the exposure they make: tables, regimens, superposition, steady state, averages."""

import math

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from scipy.integrate import quad, solve_ivp
from scipy.optimize import minimize_scalar

from hormesis_fit.curves import Haldane
from hormesis_fit.dosing.exposure import (
    PHARMACOKINETICS,
    Contents,
    OneCompartment,
    TwoCompartment,
    cascade,
    exposure_at,
    mean_haldane,
    mean_hill,
    mean_over_interval,
)
from hormesis_fit.dosing.regimen import Regimen, read_regimen, schedule, step_edges
from hormesis_fit.model.density import INTERPRETED
from hormesis_fit.parameter import UNITS

NUMBERS = {
    "elimination_rate": 0.2,
    "absorption_rate": 0.9,
    "equilibration_rate": 0.35,
    "volume": 3.0,
    "bioavailability": 0.7,
    "distribution_rate": 0.5,
    "return_rate": 0.3,
}
VARIANTS = [
    pytest.param(kind, route, site, id=f"{kind.__name__}-{route}-{site}")
    for kind in PHARMACOKINETICS.values()
    for route in ("intravenous", "oral")
    for site in ("plasma", "effect")
]


def kinetics(kind, route, site, **changed):
    template = kind(route=route, site=site)
    return template.with_values({name: (NUMBERS | changed)[name] for name in template.parameters()})


def by_equations(term, events, times):
    """Return the exposure from the differential equations, event by event."""
    k, volume = term.elimination_rate, term.volume
    out, back = (term.distribution_rate, term.return_rate) if isinstance(term, TwoCompartment) else (0.0, 0.0)
    absorbed = term.absorption_rate if term.route == "oral" else 0.0
    follows = term.equilibration_rate if term.site == "effect" else 0.0
    entry, share = (0, term.bioavailability) if term.route == "oral" else (1, 1.0)

    def slope(t, y):
        depot, central, other, site = y
        running = [rate for time, amount, rate in events if rate > 0 and time <= t < time + amount / rate]
        change = [
            -absorbed * depot,
            absorbed * depot - (k + out) * central + back * other,
            out * central - back * other,
            follows * (central / volume - site),
        ]
        change[entry] += share * sum(running)
        return change

    cuts = {0.0, *times, *(time for time, _, _ in events), *(t + a / r for t, a, r in events if r > 0)}
    cuts = sorted(cut for cut in cuts if cut <= max(times))
    state, found = np.zeros(4), {}
    for begin, end in zip([0.0, *cuts[:-1]], cuts, strict=True):
        if end > begin:
            middle = (begin + end) / 2  # inputs are constant between cuts
            state = solve_ivp(
                lambda _, y, m=middle: slope(m, y), (begin, end), state, method="LSODA", rtol=1e-11, atol=1e-13
            ).y[:, -1]
        found[end] = state[3] if term.site == "effect" else state[1] / volume
        for time, amount, rate in events:
            if time == end and rate == 0:
                state[entry] += share * amount
                found[end] = state[3] if term.site == "effect" else state[1] / volume
    return np.array([found[time] for time in times])


class TestExposure:
    @pytest.mark.parametrize(("kind", "route", "site"), VARIANTS)
    def test_superposition_is_the_solution_of_the_equations(self, kind, route, site):
        term = kinetics(kind, route, site)
        doses = [(0.0, 4.0, 0.0), (3.0, 2.0, 0.0), (3.5, 1.0, 0.0), (30.0, 9.0, 0.0)]
        if not (route == "oral" and site == "effect"):
            doses.insert(2, (3.2, 6.0, 1.5))
        events = read_regimen({key: list(column) for key, column in zip(["TIME", "AMT", "RATE"], zip(*doses))})  # noqa: B905
        times = np.array([0.0, 0.5, 3.0, 3.3, 5.0, 7.2, 12.0, 25.0])
        found = exposure_at(term, schedule(events, times))
        # The third rate of oral absorption with an effect site is moved by 1e-9 of itself.
        np.testing.assert_allclose(found, by_equations(term, doses, times), rtol=1e-8, atol=1e-10)

    @pytest.mark.parametrize(("kind", "route", "site"), VARIANTS)
    def test_steady_state_is_the_sum_of_a_long_past(self, kind, route, site):
        term, interval = kinetics(kind, route, site), 6.0
        times = np.linspace(0, 20, 9)
        past = Regimen(dose=5.0, interval=interval, n=80).events()
        last = 79 * interval
        events = read_regimen({"TIME": [0], "AMT": [5], "SS": [1], "II": [interval]})
        expected = exposure_at(term, schedule(past, last + times))
        np.testing.assert_allclose(exposure_at(term, schedule(events, times)), expected, rtol=2e-8)

    @pytest.mark.parametrize("interval", [0.1, 1.0, 24.0])
    def test_steady_state_to_the_last_digit(self, interval):
        term, k = OneCompartment(elimination_rate=0.3), 0.3
        exact = math.exp(-k * 0.05) / (1 - math.exp(-k * interval))
        assert term.steady(0.05, interval, 1.0) == pytest.approx(exact, rel=4e-15)

    @pytest.mark.parametrize(("kind", "route", "site"), VARIANTS)
    def test_mean_at_steady_state_is_dose_over_clearance_and_interval(self, kind, route, site):
        term, interval = kinetics(kind, route, site), 6.0
        share = term.bioavailability if route == "oral" else 1.0
        expected = share * 5.0 / (term.elimination_rate * term.volume * interval)
        found = mean_over_interval(lambda c: c, term, amount=5.0, interval=interval)
        assert found == pytest.approx(expected, rel=1e-8)

    def test_oral_peak_at_steady_state(self):
        term, ka, k, interval = kinetics(OneCompartment, "oral", "plasma"), 0.9, 0.2, 6.0
        expected = math.log(ka * -math.expm1(-k * interval) / (k * -math.expm1(-ka * interval))) / (ka - k)
        found = minimize_scalar(lambda t: -term.steady(t, interval, 1.0), bounds=(0, interval), options={"xatol": 1e-9})
        assert found.x == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-9, 1e-6, 1e-3, -1e-9])
    def test_smooth_where_rates_meet(self, gap):
        exact = 2.0 * math.exp(-0.4 * 2) * (1 - gap * 2 / 2 + (gap * 2) ** 2 / 6)
        assert cascade(0.4 + gap, 0.4, 2.0) == pytest.approx(exact, rel=1e-9)
        effect = kinetics(OneCompartment, "oral", "effect", equilibration_rate=0.2 + gap)
        near = kinetics(OneCompartment, "oral", "effect", equilibration_rate=0.2 + gap + 1e-4)
        one, other = (term(np.array([2.0]), np.array([1.0])) for term in (effect, near))
        assert one == pytest.approx(other, rel=1e-3)
        rates = [pt.dscalar("first"), pt.dscalar("second")]
        slopes = pytensor.function(rates, pt.grad(cascade(*rates, 2.0), rates), mode=INTERPRETED)(0.4 + gap, 0.4)
        assert slopes == pytest.approx([-exact, -exact], rel=3e-3)

    def test_never_overflows(self):
        times = np.array([0.0, 1e-300, 1e-3, 1.0, 1e3, 1e6])
        for first, second in [(1e6, 1e-6), (1e-6, 1e6), (1e6, 1e6), (0.0, 5.0)]:
            found = cascade(first, second, times)
            assert np.all(np.isfinite(found))
            assert np.all(found >= 0)

    @pytest.mark.parametrize(("kind", "route", "site"), VARIANTS)
    def test_every_kind_of_number(self, kind, route, site):
        events = Regimen(dose=2.0, interval=4.0, n=3).events()
        plan = schedule(events, [0.0, 1.0, 5.0, 9.0])
        template, rng = kind(route=route, site=site), np.random.default_rng(3)
        draws = {name: NUMBERS[name] * rng.lognormal(0, 0.1, 6) for name in template.parameters()}
        by_float = [
            exposure_at(template.with_values({n: float(v[i]) for n, v in draws.items()}), plan) for i in range(6)
        ]
        columns = {name: values[:, None, None] for name, values in draws.items()}
        np.testing.assert_allclose(exposure_at(template.with_values(columns), plan), by_float, rtol=1e-12)
        named = {name: xr.DataArray(values.reshape(2, 3), dims=("chain", "draw")) for name, values in draws.items()}
        table = exposure_at(template.with_values(named), plan)
        assert table.sizes == {"chain": 2, "draw": 3, "observation": 4}
        flat = table.transpose("chain", "draw", "observation").values.reshape(6, -1)
        np.testing.assert_allclose(flat, by_float, rtol=1e-12)
        symbols = {name: pt.dscalar(name) for name in draws}
        graph = exposure_at(template.with_values(symbols), plan)
        outputs = [graph, *pt.grad(graph.sum(), [*symbols.values()])]
        evaluate = pytensor.function([*symbols.values()], outputs, mode=INTERPRETED)
        mean, *slopes = evaluate(*(values[0] for values in draws.values()))
        np.testing.assert_allclose(mean, by_float[0], rtol=1e-12)
        assert np.all(np.isfinite(slopes))

    @pytest.mark.parametrize(("kind", "route", "site"), VARIANTS)
    def test_invariant_to_units(self, kind, route, site):
        dose, time = 1e3, 24.0
        term, other = kinetics(kind, route, site), kind(route=route, site=site)
        factor = {"1": 1.0, "1 / time": 1 / time, "dose / concentration": 1.0}
        known = other.parameters()
        other = other.with_values({name: NUMBERS[name] * factor[known[name].unit] for name in known})
        times = np.array([0.5, 2.0, 9.0])
        plan = schedule(Regimen(dose=2.0, interval=4.0, n=3).events(), times)
        moved = schedule(Regimen(dose=2.0 * dose, interval=4.0 * time, n=3).events(), times * time)
        np.testing.assert_allclose(exposure_at(other, moved), dose * exposure_at(term, plan), rtol=1e-8)

    @pytest.mark.parametrize("kind", PHARMACOKINETICS.values(), ids=PHARMACOKINETICS)
    def test_declared_once(self, kind):
        assert kind.source.startswith("https://doi.org/10.")
        for name, known in kind.declared().items():
            assert known.symbol in kind.formula or known.symbol in (r"k_{12}", r"k_{21}"), name
            assert known.unit in (*UNITS, "dose / concentration")
            assert known.description
        assert set(kind().priors()) <= {"elimination_rate", "distribution_rate", "return_rate"}

    def test_infusion_with_absorption_and_effect_site_is_refused(self):
        plan = schedule(read_regimen({"TIME": [0], "AMT": [1], "RATE": [1]}), [1.0])
        with pytest.raises(ValueError, match="no closed form"):
            exposure_at(kinetics(OneCompartment, "oral", "effect"), plan)


class TestAverages:
    """Closed forms of science.md 2.3."""

    @pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
    @pytest.mark.parametrize("interval", [1e-3, 1.0, 48.0])
    def test_mean_hill(self, slope, interval):
        term, half = OneCompartment(elimination_rate=0.2), 3.0
        peak = term.steady(0.0, interval, 2.0)
        exact = quad(
            lambda t: 1 / (1 + (half / (peak * math.exp(-0.2 * t))) ** slope), 0, interval, epsabs=1e-14, epsrel=1e-13
        )[0]
        assert mean_hill(peak, 0.2, interval, half, slope) == pytest.approx(exact / interval, rel=1e-11)

    @pytest.mark.parametrize("width", [0.05, 0.4999999, 0.5, 0.5000001, 2.0])
    def test_mean_haldane(self, width):
        peak, interval, best = 40.0, 12.0, 7.0

        def bound(t):
            z = peak * math.exp(-0.2 * t) / best
            return z / (width + z + width * z**2)

        exact = quad(bound, 0, interval, epsabs=1e-14, epsrel=1e-13)[0] / interval
        assert mean_haldane(peak, 0.2, interval, best, width) == pytest.approx(exact, rel=1e-11)

    def test_quadrature_is_the_closed_form(self):
        term = OneCompartment(elimination_rate=0.2)
        found = mean_over_interval(lambda c: c / (3.0 + c), term, amount=2.0, interval=8.0)
        assert found == pytest.approx(mean_hill(term.steady(0.0, 8.0, 2.0), 0.2, 8.0, 3.0), rel=1e-13)

    @pytest.mark.parametrize(
        ("interval", "best", "daily"),
        [(1, ".6000", 16.6), (24, ".5969", 16.8), (48, ".5880", 17.5), (96, ".5548", 20.3), (168, ".4816", 29.2)],
    )
    def test_frequent_small_doses_beat_rare_large_ones(self, interval, best, daily):
        """A Haldane curve with K1 = 10 and K2 = 90, half-life 30 h: science.md 2.3, which rounds 16.64 up to 16.7."""
        k, middle, width = math.log(2) / 30, math.sqrt(900), math.sqrt(10 / 90)

        def loss(log_dose):
            peak = OneCompartment(elimination_rate=k).steady(0.0, interval, math.exp(log_dose))
            return -mean_haldane(peak, k, interval, middle, width)

        found = minimize_scalar(loss, bounds=(-3, 8), method="bounded", options={"xatol": 1e-9})
        assert f"{-found.fun:.4f}" == f"0{best}"
        assert math.exp(found.x) * 24 / interval == pytest.approx(daily, abs=0.05)

    def test_an_infusion_is_the_limit_of_frequent_doses(self):
        curve, k, rate = Haldane(control=1.0, peak_stimulation=0.6, peak_dose=30.0, width=1 / 3), 0.05, 1.2
        errors = []
        for interval in (0.4, 0.2, 0.1):
            peak = OneCompartment(elimination_rate=k).steady(0.0, interval, rate * interval)
            mean = (1 + 2 / 3) * mean_haldane(peak, k, interval, 30.0, 1 / 3)
            errors.append(abs(1 + 0.6 * mean - curve(rate / k)))
        assert errors[2] < 1e-6
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)

    def test_by_name(self):
        draws = xr.DataArray([0.1, 0.2], dims="draw")
        term = OneCompartment(elimination_rate=draws)
        found = mean_over_interval(lambda c: c, term, amount=2.0, interval=xr.DataArray([4.0, 8.0], dims="interval"))
        np.testing.assert_allclose(found.transpose("draw", "interval"), [[5.0, 2.5], [2.5, 1.25]], rtol=1e-9)


GOOD = {"ID": ["a", "a", "b"], "TIME": [0.0, 4.0, 0.0], "AMT": [1.0, 2.0, 3.0]}


class TestEvents:
    def test_the_usual_columns_in_any_case(self, tmp_path):
        path = tmp_path / "doses.csv"
        path.write_text(
            "id,Time,AMT,rate,II,ADDL,SS,EVID,DV\n7,0,10,.,12,2,1,1,.\n7,3,.,.,.,.,.,0,1.5\n9,0,6,3,,,,1,\n"
        )
        events = read_regimen(path, dose_unit="mg", time_unit="h")
        assert events["subject"].values.tolist() == ["7", "7", "7", "9"]
        assert events["time"].values.tolist() == [0, 12, 24, 0]
        assert events["steady"].values.tolist() == [1, 0, 0, 0]
        assert events["interval"].values.tolist() == [12, 0, 0, 0]
        assert events["rate"].values.tolist() == [0, 0, 0, 3]
        assert events["row"].values.tolist() == [2, 2, 2, 4]
        assert events["amount"].attrs["units"] == "mg"
        assert events["rate"].attrs["units"] == "mg/h"
        assert any("1 row without a dose" in note for note in events.attrs["notes"])

    def test_without_subjects_everyone_is_given_the_same(self):
        events = read_regimen({"TIME": [0, 2], "AMT": [1, 1]})
        plan = schedule(events, [1.0, 3.0], ["x", "y"])
        assert plan["amount"].values.tolist() == [[1, 0], [1, 1]]

    def test_a_regimen_is_its_table(self):
        events = Regimen(dose=2.0, interval=6.0, n=3, start=1.0, duration=0.5).events(["a", "b"])
        table = read_regimen(
            {"ID": ["a", "b"], "TIME": [1, 1], "AMT": [2, 2], "RATE": [4, 4], "II": [6, 6], "ADDL": [2, 2]}
        )
        for name in table.data_vars:
            assert events[name].values.tolist() == table[name].values.tolist(), name

    def test_doses_may_lie_before_time_0(self):
        events = Regimen(dose=2.0, interval=6.0, n=2, start=-9.0).events()
        table = read_regimen({"TIME": [-9.0], "AMT": [2.0], "II": [6.0], "ADDL": [1.0]})
        np.testing.assert_array_equal(events["time"], [-9.0, -3.0])
        np.testing.assert_array_equal(table["time"], events["time"])
        moved = schedule(Regimen(dose=2.0, interval=6.0, n=2).events(), [9.0, 12.0])
        xr.testing.assert_equal(schedule(events, [0.0, 3.0]), moved)

    def test_doses_after_the_last_observation_do_nothing(self):
        term = OneCompartment(elimination_rate=0.1)
        long, short = (schedule(Regimen(dose=1, interval=2, n=n).events(), [0.0, 3.0]) for n in (9, 2))
        np.testing.assert_array_equal(exposure_at(term, long), exposure_at(term, short))

    def test_steady_state_replaces_the_past(self):
        term = OneCompartment(elimination_rate=0.1)
        events = read_regimen({"TIME": [0, 5, 6], "AMT": [50, 1, 2], "SS": [0, 1, 0], "II": [0, 4, 0]})
        found = exposure_at(term, schedule(events, [4.0, 5.0, 7.0]))
        steady = 1 / -math.expm1(-0.4)
        expected = [50 * math.exp(-0.4), steady, steady * math.exp(-0.2) + 2 * math.exp(-0.1)]
        np.testing.assert_allclose(found, expected, rtol=1e-13)

    @pytest.mark.parametrize("kind", [OneCompartment, TwoCompartment])
    @pytest.mark.parametrize(
        "options", [{}, {"route": "oral"}, {"site": "effect"}, {"route": "oral", "site": "effect"}]
    )
    def test_contents_of_compartments_are_the_superposition(self, kind, options):
        names = kind(**options).priors()
        term = kind(**options, **{name: np.array([[0.2], [0.7]]) * (1 + place) for place, name in enumerate(names)})
        infused = 0 if len(options) == 2 else 1.5
        table = {"TIME": [-3.0, -2.0, -1.0], "AMT": [2, 4, 3], "SS": [1, 0, 0], "II": [1.5, 0, 0]}
        events = read_regimen(table | {"RATE": [0, 0, infused]})
        now = Contents.empty(term).given(50.0).after(2.0).steadily(2.0, 1.5).after(1.0).given(4.0).after(1.0)
        now = now.given(3.0, infused).after(1.0)
        times = np.array([0.0, 0.4, 1.0, 3.0])
        deep = term.with_values({name: getattr(term, name)[..., None] for name in names})
        np.testing.assert_allclose(now.exposure(times), exposure_at(deep, schedule(events, times)), rtol=1e-9)

    def test_each_subject_has_its_own_events(self):
        plan = schedule(read_regimen(GOOD), [5.0, 5.0, 1.0], ["b", "a", "a"])
        assert plan["amount"].values.tolist() == [[3, 0], [1, 2], [1, 0]]
        assert plan["elapsed"].values.tolist() == [[5, 0], [5, 1], [1, 0]]

    def test_edges_of_steps_hold_every_dose_and_end_of_infusion(self):
        events = read_regimen({"TIME": [0, 5], "AMT": [1, 3], "RATE": [0, 2]})
        edges = step_edges(events, until=10, longest=1)
        assert {0, 5, 6.5, 10} <= set(edges.tolist())
        assert np.all(np.diff(edges) > 0)
        assert np.diff(edges).max() <= 1 + 1e-12

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"TIME": [4.0, 0.0, 0.0]}, 'events of subject "a" in order of time, but row 2 of column "TIME" goes back'),
            ({"TIME": [0.0, math.inf, 0.0]}, 'a finite time in row 2 of column "TIME", got inf'),
            ({"TIME": [None, 0.0, 0.0]}, "got a blank"),
            ({"ID": ["a", None, "b"]}, 'a subject in row 2 of column "ID", got a blank'),
            ({"AMT": [1.0, -2.0, 3.0]}, 'zero or more in row 2 of column "AMT", got -2'),
            ({"AMT": [0.0, 0.0, 0.0]}, "Found no dose"),
            ({"AMT": [1.0, "two", 3.0]}, 'the text "two"'),
            ({"RATE": [0, -2, 0]}, 'rate of zero or more .* in row 2 of column "RATE", got -2'),
            ({"EVID": [1, 7, 1]}, r'0 \(observation\), 1 \(dose\) or 2 \(other\) in row 2 of column "EVID", got 7'),
            ({"EVID": [1, 4, 1]}, "reset"),
            ({"EVID": [1, 1, 1], "AMT": [1, None, 1]}, 'an amount in row 2 of column "AMT", got a blank'),
            ({"ADDL": [2, 0, 0]}, "Row 1 has further doses .* but no interval"),
            ({"ADDL": [1.5, 0, 0], "II": [1, 0, 0]}, "whole number of further doses"),
            ({"ADDL": [1e9, 0, 0], "II": [1, 0, 0]}, "at most 1000000 doses"),
            ({"ADDL": [-1, 0, 0], "II": [1, 0, 0]}, 'column "ADDL", got -1'),
            ({"II": [-1, 0, 0]}, 'column "II", got -1'),
            ({"SS": [1, 0, 0]}, "Row 1 is at steady state .* but has no interval"),
            ({"SS": [2, 0, 0], "II": [4, 0, 0]}, 'Expected 0 or 1 in row 1 of column "SS", got 2'),
            ({"SS": [1, 0, 0], "II": [4, 0, 0], "RATE": [1, 0, 0]}, "infusion at steady state .* not supported"),
            ({"RATE": [0, 1, 0], "AMT": [1, 0, 1], "EVID": [1, 1, 1]}, "Row 2 has a rate of 1 but no amount"),
            ({"Amt": [1, 1, 1]}, 'one column AMT, got "AMT", "Amt"'),
            ({"ADDL": [math.inf, 0, 0], "II": [1, 0, 0]}, 'column "ADDL", got inf'),
        ],
    )
    def test_bad_tables_are_refused_in_one_sentence(self, changed, message):
        with pytest.raises(ValueError, match=message) as refused:
            read_regimen(GOOD | changed)
        assert str(refused.value).endswith(".")
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("missing", ["TIME", "AMT"])
    def test_missing_columns(self, missing):
        with pytest.raises(ValueError, match=f"There is no column {missing}"):
            read_regimen({name: column for name, column in GOOD.items() if name != missing})

    def test_observations_of_unknown_subjects(self):
        with pytest.raises(ValueError, match=r'"c".* has observations but no dose event'):
            schedule(read_regimen(GOOD), [1.0], ["c"])
        with pytest.raises(ValueError, match="name none"):
            schedule(read_regimen(GOOD), [1.0])

    @pytest.mark.parametrize(
        "changed",
        [
            {"dose": -1.0},
            {"interval": 0.0},
            {"n": 0},
            {"n": 1.5},
            {"start": -math.inf},
            {"duration": 9.0},
            {"dose": math.nan},
        ],
        ids=str,
    )
    def test_bad_regimens(self, changed):
        with pytest.raises(ValueError, match=r"[Ee]xpected"):
            Regimen(**({"dose": 1.0, "interval": 2.0, "n": 3} | changed))

    def test_bad_types(self):
        with pytest.raises(TypeError, match="Expected a number for dose"):
            Regimen(dose="1", interval=1, n=1)
        with pytest.raises(ValueError, match="until= and longest="):
            step_edges(Regimen(dose=1, interval=1, n=1).events(), until=0, longest=1)
