"""Figures against time of a mechanism: the lines are the medians calculated, and each dosing history is named."""

import numpy as np
import pytest

import hormesis_fit as hf

TIMES = (1.0, 2.0, 4.0, 8.0)
DOSES = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@pytest.fixture(scope="module")
def fit():
    loss = hf.DRIFTS["ReceptorTurnover"](turnover_rate=0.3, loss_ratio=4.0, occupancy_dose=5.0, occupancy_slope=1.0)
    rise = hf.CURVES["SigmoidEmax"](scale="interval", control=5.0, span=20.0, half_effect_dose=3.0, slope=1.0)
    dose, day = np.repeat(DOSES, len(TIMES)), np.tile(TIMES, len(DOSES))
    receptors = loss(dose[:, None], day[:, None])[:, 0]
    response = rise.drifted(dose, gain=np.log(receptors)) + np.random.default_rng(1).normal(size=dose.size)
    columns = {"dose": dose, "day": day, "response": response}
    trial = hf.read_trial(columns, time="day", time_unit="d", scale="interval")
    asked = {"curve": "SigmoidEmax", "drift": "ReceptorTurnover", "engine": "importance"}
    return hf.fit(trial, **asked, draws=100, chains=2, random_seed=1)


def artists(figure, kind):
    return list(figure.axes[0].findobj(lambda artist: artist.get_gid() == kind))


def test_lines_are_the_medians_of_histories_spread_over_all_with_the_drug(fit):
    figure = hf.plot_sensitivity(fit, times=TIMES)
    found = hf.sensitivity_over_time(fit, time=TIMES)["sensitivity"].median(("chain", "draw"))
    names = [one.get_text() for one in artists(figure, "history")]
    assert sorted(names) == sorted(f"dose {dose:g}" for dose in (0.3, 1, 3, 30, 100))
    for line, dose in zip(artists(figure, "median"), (0.3, 1, 3, 30, 100), strict=True):
        np.testing.assert_allclose(line.get_ydata(), found.sel(history=f"dose {dose:g}"))
    assert "5 of 7" in figure.axes[0].get_title(loc="left")
    assert len(artists(figure, "visits")) == 1
    heights = [one.xy[1] for one in artists(figure, "history")]
    assert np.diff(sorted(heights)).min() > 0.05


def test_the_figure_begins_with_the_first_dose(fit):
    line = artists(hf.plot_sensitivity(fit), "median")[0]
    assert line.get_xdata()[0] == 0.0
    assert line.get_ydata()[0] == pytest.approx(1.0)


def test_another_schedule_has_one_line_and_no_visits(fit):
    figure = hf.plot_sensitivity(fit, times=[1.0, 4.0, 20.0], regimen=hf.Regimen(dose=5.0, interval=1.0, n=3))
    assert len(artists(figure, "median")) == 1
    assert not artists(figure, "history")
    assert not artists(figure, "visits")
    assert not artists(figure, "last_visit")


def test_a_process_is_no_part_of_a_mechanism(fit):
    with pytest.raises(ValueError, match="potency does not drift in this fit: choose one of sensitivity"):
        hf.plot_sensitivity(fit, target="potency")
