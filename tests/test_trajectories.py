"""Figures of people and doses in time: every panel is a subject's own path, the map is the window over time."""

import json

import matplotlib as mpl
import numpy as np
import pytest
from test_schedules import dosed_fit
from test_timecourse import TIMES, known_fit

import hormesis_fit as hf

SUBJECTS = ("a", "b", "c")


@pytest.fixture(scope="module")
def personal():
    """A fit whose subjects have random walks of their own, known draw by draw."""
    fit = known_fit([0.0, 0.0, 0.0])
    posterior = fit["posterior"].to_dataset().assign_coords(subject=list(SUBJECTS), visit=list(TIMES))
    posterior["potency_diffusion"] = ("chain", "draw"), np.full((1, 3), 0.01)
    steps = np.arange(36).reshape(1, 3, 3, 4) / 20 - 0.8
    posterior["potency_innovation"] = ("chain", "draw", "subject", "visit"), steps
    course = {"drift": "RandomWalk", "options": {}, "target": "potency", "times": list(TIMES), "labels": list(SUBJECTS)}
    posterior.attrs["drifts"] = json.dumps([course])
    fit["posterior"] = posterior
    return fit


def artists(axes, kind):
    return list(axes.findobj(lambda artist: artist.get_gid() == kind))


def test_every_subject_has_a_panel_with_its_own_path(personal):
    figure = hf.plot_subject_sensitivity(personal)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(SUBJECTS)
    for name, axes in zip(SUBJECTS, figure.axes, strict=True):
        path = hf.sensitivity_over_time(personal, subject=name)["potency"]
        [line] = artists(axes, "median")
        np.testing.assert_allclose(line.get_ydata(), np.exp(path).median(("chain", "draw")))
        assert axes.get_ylim() == figure.axes[0].get_ylim()


def test_panels_may_be_chosen(personal):
    figure = hf.plot_subject_sensitivity(personal, subjects=["c", "a"], times=[0.0, 14.0, 40.0])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["c", "a"]
    assert artists(figure.axes[0], "median")[0].get_xdata()[-1] == 40.0
    with pytest.raises(ValueError, match="no subject with a panel named"):
        hf.plot_subject_sensitivity(personal, subjects=["d"])


def test_one_path_for_all_has_no_panels():
    with pytest.raises(ValueError, match="One path is common to all subjects"):
        hf.plot_subject_sensitivity(known_fit([0.02]))


def test_histories_of_a_mechanism_have_panels():
    figure = hf.plot_subject_sensitivity(dosed_fit(), width="single")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"dose {dose}" for dose in (1, 4, 12, 40)]
    assert len(hf.plot_subject_sensitivity(dosed_fit(), subjects=["dose 0"]).axes) == 1
    seen = hf.sensitivity_over_time(dosed_fit())["sensitivity"].median(("chain", "draw"))
    np.testing.assert_allclose(artists(figure.axes[-1], "median")[0].get_ydata(), seen.isel(history=-1))


def test_the_map_is_the_window_over_time():
    course = hf.window_over_time(known_fit(np.linspace(-0.2, 0.2, 41)), times=[0.0, 14.0, 28.0, 56.0])
    figure = hf.plot_dose_time(course)
    axes = figure.axes[0]
    [mesh] = [one for one in axes.collections if isinstance(one, mpl.collections.QuadMesh)]
    np.testing.assert_allclose(np.ravel(mesh.get_array()), np.ravel(course["probability"].values.T))
    [lower] = artists(axes, "window_lower")
    np.testing.assert_allclose(lower.get_ydata(), course["window_lower"])
    [stay] = artists(axes, "chosen_dose")
    assert stay.get_xdata()[-1] == float(course["exit_time"].sel(quantile=0.5))
    with pytest.raises(ValueError, match="at least 2 times"):
        hf.plot_dose_time(course.isel(time=[0]))
    with pytest.raises(TypeError, match="window_over_time"):
        hf.plot_dose_time(course["probability"])
