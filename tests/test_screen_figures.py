"""Figures of a screen: what is in them, not how they look."""

import numpy as np
import pandas as pd
import pytest

import hormesis_fit as hf
from hormesis_fit.curves import BrainCousens, LogLogistic

CURVES = {
    "hormetic": BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=30.0, slope_excess=1.5),
    "$null$": LogLogistic(control=100.0, half_effect_dose=30.0, slope=2.0),
}


@pytest.fixture(scope="module")
def table():
    doses, rows = [0.0, *np.geomspace(0.3, 100, 7)], []
    for seed, (label, curve) in enumerate(CURVES.items()):
        one = hf.simulate_trial(curve, doses=doses, replicates=3, cv=0.06, random_seed=seed)
        rows.append(pd.DataFrame({"curve": label, "dose": one["dose"].values, "response": one["response"].values}))
    rows.append(pd.DataFrame({"curve": "bad", "dose": 1.0, "response": [1.0, 2.0, 3.0, 4.0]}))
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def screen(table):
    options = {"curve": ["BrainCousens", "LogLogistic"], "dose_unit": "mg/L", "scale": "ratio", "random_seed": 1}
    return hf.screen(table, curve_id="curve", **options)


def points(figure):
    return {line.get_gid(): line for axes in figure.axes for line in axes.get_lines() if line.get_gid()}


def test_a_volcano_holds_every_curve_that_was_fitted(screen):
    figure = hf.plot_volcano(screen)
    figure.draw_without_rendering()
    found = points(figure)
    assert sum(len(found[name].get_xdata()) for name in ("selected", "other_curves")) == 2
    assert {text.get_text() for text in figure.axes[0].texts} == set(CURVES)


def test_a_ladder_holds_the_windows(screen):
    figure = hf.plot_window_ladder(screen)
    figure.draw_without_rendering()
    [bar] = figure.axes[0].patches
    one = screen.sel(curve_id="hormetic")
    assert bar.get_x() == float(one["window_lower"])
    assert bar.get_x() + bar.get_width() == pytest.approx(float(one["window_upper"]))
    assert figure.axes[0].get_xlabel() == "dose (mg/L)"


def test_small_multiples_hold_responses_and_windows(screen, table):
    figure = hf.plot_small_multiples(screen, table=table)
    figure.draw_without_rendering()
    assert [axes.get_title(loc="left").partition(",")[0] for axes in figure.axes] == ["hormetic", "$null$"]
    shaded = [any(patch.get_gid() == "window" for patch in axes.patches) for axes in figure.axes]
    assert shaded == [True, False]


def test_what_cannot_be_drawn_is_said(screen, table):
    with pytest.raises(ValueError, match="No curve of the screen has a window"):
        hf.plot_window_ladder(screen.sel(curve_id=["$null$"]))
    with pytest.raises(ValueError, match="No curve has a probability"):
        hf.plot_volcano(screen.sel(curve_id=["bad"]))
    with pytest.raises(ValueError, match='got "else"'):
        hf.plot_small_multiples(screen, table=table, curve_ids=["else"])
    with pytest.raises(ValueError, match="give the table that was screened"):
        hf.plot_small_multiples(screen, table=table[table["curve"] != "hormetic"])
    with pytest.raises(ValueError, match="width"):
        hf.plot_small_multiples(screen, table=table, width="triple")
