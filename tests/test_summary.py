"""The record, the table and the sentences of a fit with its window."""

import json
import math

import numpy as np
import pytest
import xarray as xr

import hormesis_fit as hf
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.summary import (
    comparison,
    derived_rows,
    held_piece,
    quantity,
    sentence,
    status,
    summary_table,
    window_record,
)

# design.md section 7: window.json is a contract.
CONTRACT = [
    *("schema", "status", "flags", "dose_unit", "response_unit", "direction", "standard_dose", "seed", "estimand"),
    *("benefit", "level", "window", "windows", "best_dose", "max_probability", "optimum", "prob_exists"),
    *("prob_hormesis", "quantities", "models", "diagnostics", "seconds"),
]
INSIDE = {
    "benefit": ["delta", "scale", "stated"],
    "optimum": ["dose", "regret", "near_optimal"],
    "quantities": [*QUANTITIES],
    "diagnostics": ["max_rhat", "min_ess_bulk", "divergences", "max_pareto_k"],
    "seconds": ["import", "compile", "sample", "total"],
}


def fitted(trial, curves, **asked):
    fit = hf.fit(trial, curve=curves, draws=200, random_seed=1)
    fit["window"] = hf.window(fit, **asked)
    return fit


@pytest.fixture(scope="session")
def kept():
    return fitted(hf.load_dataset("lettuce"), ["BrainCousens", "LogLogistic"])


@pytest.fixture(scope="session")
def clear():
    return fitted(hf.load_dataset("leaflength"), ["BrainCousens", "LogLogistic"])


@pytest.fixture
def fit(kept):
    return kept.copy(deep=True)


def change(fit, **attrs):
    """Change attrs of the window."""
    fit["window"].attrs |= attrs
    return fit


def with_levels(fit, pieces):
    """Give the window other pieces at every level."""
    window = fit["window"].to_dataset().drop_vars("level_window")
    table = np.broadcast_to(np.array(pieces, dtype=float), (window.sizes["window_level"], len(pieces), 2)).copy()
    window["level_window"] = ("window_level", "piece", "ci_bound"), table
    fit["window"] = window.assign_attrs(status="WINDOW")
    return fit


def test_record_has_exactly_the_keys_of_the_contract_in_its_order(fit):
    record = window_record(fit)
    assert [*record] == CONTRACT
    for key, inside in INSIDE.items():
        assert [*record[key]] == inside
    assert [*record["windows"]] == ["0.5", "0.8", "0.9", "0.95"]
    assert all([*found] == ["median", "lower", "upper", "share"] for found in record["quantities"].values())
    assert all(
        [*model] == ["weight", "log_evidence", "engine", "note"] and math.isclose(model["weight"], model["weight"])
        for model in record["models"].values()
    )


def test_record_is_json_and_says_what_was_asked(fit):
    record = window_record(change(fit, stated=0))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["dose_unit"], record["response_unit"], record["direction"]) == ("mg/L", "g", "up")
    assert record["benefit"] == {"delta": 0.1, "scale": "relative", "stated": False}
    assert record["seed"] == 1
    assert record["seconds"]["import"] is None
    assert record["diagnostics"]["max_rhat"] is None
    assert record["diagnostics"]["min_ess_bulk"] > 400
    assert sum(model["weight"] for model in record["models"].values()) == pytest.approx(1)


def test_record_is_the_same_after_a_round_trip_through_a_file(fit, tmp_path):
    fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as opened:
        assert window_record(opened) == window_record(fit)
        assert sentence(opened) == sentence(fit)
        assert summary_table(opened).equals(summary_table(fit))


def test_asked_level_joins_the_usual_ones(kept):
    fit = kept.copy(deep=True)
    fit["window"] = hf.window(fit, level=0.55)
    assert [*window_record(fit)["windows"]] == ["0.5", "0.55", "0.8", "0.9", "0.95"]


def test_quantities_are_equal_tailed_quantiles_given_existence(fit):
    window = fit["window"].to_dataset()
    values = window["peak_dose"].values[np.isfinite(window["peak_dose"].values)]
    found = quantity(window, "peak_dose")
    assert found["share"] == pytest.approx(values.size / window["peak_dose"].size)
    wanted = np.quantile(values, [0.5, 0.025, 0.975])
    assert [found["median"], found["lower"], found["upper"]] == pytest.approx(wanted, rel=0.05)


def test_windows_without_an_end_exist_and_have_no_upper_quantile(fit):
    window = fit["window"].to_dataset()
    window["window_upper"] = window["window_upper"].where(~window["exists"], np.inf)
    fit["window"] = window
    found = window_record(fit)["quantities"]["window_upper"]
    assert found == {
        "median": None,
        "lower": None,
        "upper": None,
        "share": pytest.approx(window["exists"].mean().item()),
    }


def test_quantity_that_never_exists_has_share_zero(fit):
    window = fit["window"].to_dataset()
    window["zero_equivalent_dose"] = window["zero_equivalent_dose"] * np.nan
    fit["window"] = window
    found = window_record(fit)["quantities"]["zero_equivalent_dose"]
    assert found == {"median": None, "lower": None, "upper": None, "share": 0.0}


def test_window_is_the_piece_with_the_best_dose(fit):
    window = with_levels(fit, [(0.01, 0.02), (0.3, 2.0), (9.0, 10.0)])["window"].to_dataset()
    assert held_piece(window.assign(best_dose=9.5)) == (9.0, 10.0)
    assert held_piece(window.assign(best_dose=0.021)) == (0.01, 0.02)
    assert window_record(fit)["window"] == {"lower": 0.3, "upper": 2.0}


def test_no_window_is_null(fit):
    record = window_record(fit)
    assert record["status"] != "WINDOW"
    assert record["window"] is None
    assert record["windows"]["0.95"] == []


def test_dropped_rows_are_counted_by_dose(lettuce_with_gap):
    assert window_record(lettuce_with_gap)["missing"] == {"0": 1, "32": 1}


@pytest.fixture(scope="session")
def lettuce_with_gap():
    rows = hf.load_dataset("lettuce")
    response = [None if i in (1, 11) else value for i, value in enumerate(rows["response"].values)]
    dose = rows["dose"].values
    assert (dose[1], dose[11]) == (0, 32)
    trial = hf.read_trial({"dose": dose, "response": response}, missing="drop", direction="up", standard_dose=200.0)
    return fitted(trial, "BrainCousens", benefit=0.2, benefit_scale="difference")


def test_one_curve_leaves_hormesis_open(lettuce_with_gap):
    record = window_record(lettuce_with_gap)
    assert record["prob_hormesis"] is None
    assert record["standard_dose"] == 200.0
    assert record["models"]["BrainCousens"]["weight"] == 1.0
    assert "hormetic was not asked" in sentence(lettuce_with_gap)


def test_table_has_a_row_for_everything(fit):
    table = summary_table(fit).set_index("quantity")
    scalars = ["prob_exists", "max_probability", "best_dose", "optimal_dose", "prob_hormesis"]
    derived = [row["quantity"] for row in derived_rows(hf.derived_quantities(fit))]
    assert [*table.index] == [*QUANTITIES, *scalars, *derived]
    assert {"effective_dose_50", "stimulation_dose_left_10", "zone_fold", "benchmark_dose_relative"} <= {*derived}
    assert "50 %" in table.loc["effective_dose_50", "definition"]
    assert not table.index.duplicated().any()
    assert [*table.columns] == ["unit", "median", "lower", "upper", "share", "definition"]
    assert table.loc["peak_dose", "unit"] == "mg/L"
    assert table.loc["peak_response", "unit"] == "g"
    assert table.loc["prob_exists", "median"] == float(fit["window"]["prob_exists"])
    assert table["definition"].str.endswith(".").all()


# --- health ----------------------------------------------------------------------------------------------------------


def with_evidence(fit, **columns):
    evidence = fit["evidence"].to_dataset()
    fit["evidence"] = evidence.assign({name: ("model", values) for name, values in columns.items()})
    return fit


@pytest.mark.parametrize(
    ("sick", "weight", "expected"),
    [
        ([False, False], [0.9, 0.1], False),
        ([True, False], [0.9, 0.1], True),
        ([False, True], [0.995, 0.005], False),
        ([True, True], [0.0, 0.0], True),
    ],
)
def test_a_fit_is_sick_when_a_curve_that_matters_is(fit, sick, weight, expected):
    fit = with_evidence(fit, sick=sick, weight=weight)
    assert (status(fit) == "SICK") is expected
    assert (window_record(fit)["status"] == "SICK") is expected
    assert ("unreliable" in sentence(fit)) is expected


def test_failed_curve_stays_in_the_record_with_its_reason(fit):
    columns = {"log_evidence": [1.7, np.nan], "weight": [1.0, 0.0], "note": ["", "failed: no"], "sick": [False, True]}
    record = window_record(with_evidence(fit, **columns, ess=[900.0, np.nan]))
    assert record["models"]["LogLogistic"] == {
        "weight": 0.0,
        "log_evidence": None,
        "engine": "importance",
        "note": "failed: no",
    }
    assert record["status"] != "SICK"
    assert record["diagnostics"]["min_ess_bulk"] == 900.0


def test_a_fit_without_window_says_how_to_get_one(fit):
    del fit["window"]
    with pytest.raises(ValueError, match=r"no window yet; give it one with"):
        window_record(fit)


# --- sentences -------------------------------------------------------------------------------------------------------


def test_a_clear_window_in_words(clear):
    text = sentence(clear)
    assert text.startswith("Doses between 0.00")
    assert "mg/L raise leaf length by at least 10 % over control with a probability of at least 80 % (best near" in text
    assert "but below 0.01 mg/L, the lowest dose tested, this is extrapolated" in text
    assert text.endswith("is 99 %.")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("UNLOCATED", "Some dose raises weight by at least 10 % over control with a probability of"),
        (
            "UNLIKELY",
            "It is unlikely that any dose between 0.11 and 300 mg/L raises weight by at least 10 % over control",
        ),
        (
            "UNDETERMINED",
            "These 14 measurements cannot tell whether any dose raises weight by at least 10 % over control",
        ),
    ],
)
def test_other_verdicts_in_words(fit, verdict, words):
    text = sentence(change(fit, status=verdict))
    assert text.startswith(words)
    assert text.count(".") - text.count("0.") == 1, "one sentence"
    assert text.endswith(" %.")


@pytest.mark.parametrize(
    ("direction", "attrs", "words"),
    [
        ("down", {}, "lowers weight by at least 10 % below control"),
        ("up", {"benefit": 0.3, "benefit_scale": "difference"}, "raises weight by at least 0.3 g over control"),
        ("up", {"benefit": 1.5, "benefit_scale": "level"}, "raises weight to at least 1.5 g"),
        ("down", {"benefit": 1.5, "benefit_scale": "level"}, "lowers weight to at most 1.5 g"),
        ("up", {"benefit": 1.0, "benefit_scale": "sd"}, "by at least 1 standard deviation of single measurements over"),
        ("up", {"benefit": 0.025}, "raises weight by at least 2.5 % over control"),
    ],
)
def test_benefits_in_words(fit, direction, attrs, words):
    fit["constant_data"].attrs["direction"] = direction
    text = sentence(change(fit, status="UNDETERMINED", **attrs))
    assert words in text
    assert ("down at low doses and up again" in text) is (direction == "down")


@pytest.mark.parametrize(
    ("pieces", "flags", "words"),
    [
        ([(0.5, 2.0)], "", "control with a probability of at least 80 % (best near 0.61 mg/L: 69 %); the"),
        ([(0.5, 2.0)], "LEFT_OPEN", "but helpful doses may go on below 0.32 mg/L, the lowest dose tested;"),
        ([(0.5, 2.0)], "RIGHT_OPEN", "but helpful doses may go on above 100 mg/L, the highest dose tested;"),
        ([(0.2, 200.0)], "LEFT_OPEN RIGHT_OPEN", "and above 100 mg/L, the highest dose tested, this is extrapolated;"),
        ([(0.2, 0.4), (0.5, 2.0)], "SPLIT", "Doses between 0.2 and 0.4 mg/L and between 0.5 and 2 mg/L raise"),
        ([(0.5011, 0.5049)], "NO_CONTROL", "Doses between 0.501 and 0.505 mg/L raise"),
        ([(0.5, 2.0)], "NO_CONTROL", "but without a control group the response to no dose is extrapolated;"),
    ],
)
def test_edges_in_words(fit, pieces, flags, words):
    fit = change(with_levels(fit, pieces), flags=flags)
    fit["window"]["best_dose"] = 0.61
    fit["window"]["max_probability"] = 0.69
    assert words in sentence(fit)


def test_markup_and_line_breaks_in_names_stay_on_one_line(fit):
    fit["observed_data"]["response"].attrs["long_name"] = "dry\nweight\x1b[31m"
    text = sentence(fit)
    assert "dry weight [31m" in text
    assert text.isprintable()


def test_a_probability_just_below_the_level_is_not_rounded_up_to_it(fit):
    fit["window"]["max_probability"] = 0.7995
    assert "highest just under 80 %" in sentence(change(fit, status="UNDETERMINED"))


def test_comparison_puts_the_clearer_trial_first(clear, kept):
    text = comparison(kept, clear)
    assert text == comparison(clear, kept)
    assert text.startswith("They differ because in leaflength the response rises about ")
    assert "while in lettuce it rises about" in text
    assert text.endswith("times the scatter of 14 measurements.")
