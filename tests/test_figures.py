"""Figures: what is in them, not how they look."""

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import hormesis_fit as hf
from hormesis_fit.figures.axes import DoseAxis
from hormesis_fit.figures.drawing import benefit_label, chance, headline, label, number
from hormesis_fit.figures.fits import (
    FIGURES,
    draw_figures,
    plot_exceedance,
    plot_weights,
    plot_window,
    save_figures,
)
from hormesis_fit.windows.posterior import trial_of

FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}


@pytest.fixture(scope="module")
def fit():
    fitted = hf.fit(hf.load_dataset("lettuce"), **FAST)
    fitted["window"] = hf.window(fitted)
    return fitted


@pytest.fixture(scope="module")
def drawn(fit):
    figures = {name: plot(fit) for name, plot in FIGURES.items()}
    for figure in figures.values():
        figure.draw_without_rendering()
    return figures


@pytest.fixture(scope="module")
def other_fits():
    """Fits that ask something unusual of the figures."""
    rng = np.random.default_rng(1)
    dose = np.repeat([0.0, 0.1, 1.0, 10.0], 3)
    table = {"dose": dose, "score": 10 - 3 * (dose > 0) + rng.normal(0, 0.5, 12)}
    no_control = {name: values[dose > 0] for name, values in table.items()}
    trials = {
        "down": hf.read_trial(table, response="score", direction="down", scale="interval", standard_dose=20.0),
        "no control": hf.read_trial(no_control, response="score", scale="ratio"),
    }
    fitted = {name: hf.fit(trial, curve=["BellTail", "Constant"], **FAST) for name, trial in trials.items()}
    fitted["one curve"] = hf.fit(trials["down"], curve="SigmoidEmax", **FAST)
    return fitted


def changed(fit, *, window=None, trial=None, dose=None):
    """Return the fit with another window, other attrs of its trial, or other attrs of its doses."""
    copy = fit.copy(deep=True)
    if window is not None:
        copy["window"] = window
    constant = copy["constant_data"].to_dataset().assign_attrs(copy["constant_data"].attrs | (trial or {}))
    constant["dose"].attrs |= dose or {}
    copy["constant_data"] = constant
    return copy


def artist(figure, gid):
    found = figure.findobj(lambda one: one.get_gid() == gid)
    assert found, f"no artist {gid}"
    return found[0]


def has(figure, gid):
    return bool(figure.findobj(lambda one: one.get_gid() == gid))


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_leaves_the_style_alone(fit, name):
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name](fit, width="double")
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before
    assert figure.get_size_inches()[0] == pytest.approx(183 / 25.4)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_legible_and_unclipped_in_one_column(drawn, name):
    figure = drawn[name]
    width, height = figure.get_size_inches()
    assert width == pytest.approx(89 / 25.4)
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 6
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) > -0.01
    assert box.x1 < width + 0.01
    assert box.y1 < height + 0.01


@pytest.mark.parametrize("name", FIGURES)
def test_axes_of_the_user_are_drawn_in(fit, name):
    figure = Figure()
    axes = figure.add_subplot()
    assert FIGURES[name](fit, ax=axes) is figure
    assert axes.has_data()


@pytest.mark.parametrize("kind", ["down", "no control", "one curve"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_copes_with_unusual_trials(other_fits, name, kind):
    assert FIGURES[name](other_fits[kind]).axes[0].has_data()


def test_an_unknown_width_is_refused(fit):
    with pytest.raises(ValueError, match="single"):
        plot_window(fit, width="triple")


def test_window_figure_shows_data_bands_and_references(fit, drawn):
    figure = drawn["window"]
    axes, trial = figure.axes[0], trial_of(fit)
    data = artist(figure, "data")
    np.testing.assert_array_equal(data.get_xdata(), trial["dose"])
    np.testing.assert_array_equal(data.get_ydata(), trial["response"])
    assert axes.get_xlabel() == "conc (mg/L)"
    assert axes.get_ylabel() == "weight (g)"
    control, threshold = (artist(figure, gid).get_ydata()[0] for gid in ("control", "threshold"))
    assert threshold == pytest.approx(1.1 * control, rel=0.02)
    for gid in ("band_95", "band_50", "control_95", "median", "axis_break"):
        assert has(figure, gid)
    assert artist(figure, "median").get_xdata().min() == 0.32
    assert artist(figure, "median_outside").get_xdata().min() > 0


def test_an_empty_window_is_said_in_words(drawn):
    figure = drawn["window"]
    assert "No dose reaches probability 0.80; highest 0." in words(figure)
    assert "mg/L" in figure.axes[0].get_title(loc="left")
    assert has(figure, "window_0.5")
    assert not has(figure, "window_0.8")


def test_a_window_is_shaded_where_it_is(fit):
    asked = changed(fit, window=hf.window(fit, level=0.6))
    figure = plot_window(asked)
    low, high = asked["window"]["level_window"].sel(window_level=0.6).values[0]
    shade = artist(figure, "window_0.6")
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((low, high))
    assert "Window at probability 0.60: " in words(figure)


def test_the_dose_axis_keeps_zero_apart_and_log_doses_apart_evenly():
    axis = DoseAxis(0.1, 1000.0, zero=True)
    doses = np.array([0.0, 0.1, 1.0, 10.0, 1000.0])
    places = axis.forward(doses)
    np.testing.assert_allclose(places[1:], np.log10(doses[1:]))
    assert places[0] < places[1]
    np.testing.assert_allclose(axis.inverse(places), doses, atol=1e-12)
    major, minor = axis.ticks()
    assert major == pytest.approx([0.1, 1, 10, 100, 1000])
    assert set(major) <= set(minor)


@pytest.mark.parametrize(("high", "expected"), [(3, [0.1, 0.2, 0.5, 1, 2]), (20, [0.1, 0.3, 1, 3, 10])])
def test_a_narrow_dose_axis_has_more_labels(high, expected):
    assert DoseAxis(0.1, high, zero=False).ticks()[0] == pytest.approx(expected)


def test_the_standard_dose_gets_an_axis_of_its_own(fit):
    figure = plot_window(changed(fit, trial={"standard_dose": 50.0}))
    axes, twin = figure.axes
    assert twin.get_xlabel() == "% of the standard dose (50 mg/L)"
    np.testing.assert_allclose(np.array(twin.get_xlim()), np.array(axes.get_xlim()) * 2)


def test_a_missing_control_is_called_extrapolated(other_fits):
    assert "control, extrapolated" in words(plot_window(other_fits["no control"]))
    assert "control, extrapolated" not in words(plot_window(other_fits["down"]))


def test_benefit_downwards_has_its_threshold_below_the_control(other_fits):
    figure = plot_window(other_fits["down"])
    assert artist(figure, "threshold").get_ydata()[0] < artist(figure, "control").get_ydata()[0]


def test_exceedance_figure_shows_probability_level_and_tested_doses(fit, drawn):
    figure = drawn["exceedance"]
    axes, window = figure.axes[0], fit["window"].to_dataset()
    np.testing.assert_allclose(artist(figure, "probability").get_ydata(), window["probability"])
    assert artist(figure, "level").get_ydata()[0] == 0.8
    np.testing.assert_allclose(artist(figure, "best_dose").get_xdata(), window["best_dose"])
    np.testing.assert_allclose(artist(figure, "rug").get_xdata(), [0.32, 1, 3.2, 10, 32, 100])
    assert axes.get_xlabel() == "conc (mg/L)"
    assert "+10 %" in axes.get_ylabel()


def test_quantities_are_given_with_their_share_of_existence(drawn):
    figure = drawn["quantities"]
    for name in ("peak_dose", "window_lower", "window_upper", "zero_equivalent_dose"):
        assert has(figure, f"density_{name}")
        assert has(figure, f"median_{name}")
    assert words(figure).count("P(exists) = 0.") == 4
    assert figure.axes[0].get_xlabel() == "conc (mg/L)"


def test_weights_differ_without_colour_and_show_the_prior(fit, drawn):
    figure = drawn["weights"]
    bars = {name: artist(figure, f"weight_{name}") for name in fit["evidence"]["model"].values}
    for name, bar in bars.items():
        one = fit["evidence"].to_dataset().sel(model=name)
        assert bar.get_width() == pytest.approx(float(one["weight"]))
        assert bool(bar.get_hatch()) is not bool(one["hormetic"])
        assert artist(figure, f"prior_{name}").get_xdata()[0] == pytest.approx(float(one["prior_weight"]))
    assert "P(hormesis) = 0." in words(figure)


def test_one_kind_of_curve_gives_no_probability_of_hormesis(other_fits):
    assert "cannot be told" in words(plot_weights(other_fits["one curve"]))


def test_predictive_figure_has_a_bar_at_every_dose(drawn):
    figure = drawn["predictive"]
    for gid in ("single", "mean"):
        assert len(figure.findobj(lambda one, gid=gid: one.get_gid() == gid)) == 7
    assert artist(figure, "group_means").get_ydata()[0] == pytest.approx((1.126 + 0.833) / 2)


def test_files_are_complete_and_have_embedded_fonts(fit, tmp_path):
    first = save_figures(fit, tmp_path / "new")
    assert [path.name for path in first] == [
        f"{name}.{suffix}" for name in FIGURES for suffix in ("pdf", "svg", "png")
    ] + ["figures.nc"]
    for path in first[:-1:3]:
        content = path.read_bytes()
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"CreationDate" not in content
    assert first[2].read_bytes()[:4] == b"\x89PNG"
    assert "<text" not in first[1].read_text(encoding="utf-8")
    with xr.open_datatree(first[-1], engine="h5netcdf") as numbers:
        assert set(numbers.children) == set(FIGURES)
        assert numbers["weights"]["weight"].attrs["units"] == "1"


def test_figures_that_are_drawn_already_give_the_same_files(fit, tmp_path, monkeypatch):
    monkeypatch.setattr("hormesis_fit.figures.fits.FIGURES", {"weights": plot_weights})
    again = save_figures(fit, tmp_path / "again", figures=draw_figures(fit))
    for one, other in zip(save_figures(fit, tmp_path / "first"), again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_notebooks_show_figures_without_pyplot(drawn):
    content, size = drawn["weights"]._repr_png_()
    assert content[:4] == b"\x89PNG"
    assert 300 < size["width"] < 600


def test_files_of_a_reopened_fit_have_the_same_bytes(fit, tmp_path, monkeypatch):
    monkeypatch.setattr("hormesis_fit.figures.fits.FIGURES", {"window": plot_window, "weights": plot_weights})
    fit.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "fit.nc", engine="h5netcdf") as reopened:
        again = save_figures(reopened.load(), tmp_path / "again")
    for one, other in zip(save_figures(fit, tmp_path / "first"), again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_names_are_text_and_no_formula(fit):
    strange = changed(fit, dose={"long_name": "dose $x^{$\nof <b>", "units": "mg_1 $L"})
    figure = plot_window(strange)
    figure.draw_without_rendering()
    assert figure.axes[0].get_xlabel() == "dose $x^{$ of <b> (mg_1 $L)"
    plot_exceedance(strange).draw_without_rendering()


def test_long_names_are_shortened():
    assert len(label(xr.DataArray(0, attrs={"long_name": "word " * 40, "units": "g"}), "dose")) <= 60
    assert label(xr.DataArray(0), "dose") == "dose"
    assert label(xr.DataArray(0, attrs={"long_name": "leaf_length", "units": "mg_1"}), "x") == "leaf length (mg_1)"


@pytest.mark.parametrize(
    ("scale", "size", "expected"),
    [("relative", 0.1, "+10 %"), ("sd", 1.0, "+1 SD"), ("difference", 0.2, "+0.2 g"), ("level", 1.2, "at least 1.2 g")],
)
def test_the_benefit_is_written_on_every_scale(fit, scale, size, expected):
    asked = hf.window(fit, benefit=size, benefit_scale=scale)
    assert benefit_label(asked, trial_of(fit)) == expected
    plot_window(changed(fit, window=asked)).draw_without_rendering()


def test_a_window_at_the_end_of_the_domain_is_written_as_open(fit):
    window = fit["window"].to_dataset()
    low, high = window.attrs["domain"]
    table = window["level_window"].copy()
    table.loc[{"window_level": 0.8}] = [low, high]
    written = headline(window.assign(level_window=table), trial_of(fit))
    assert written == "Window at probability 0.80: < 0.107 to > 300 mg/L"


@pytest.mark.parametrize(("value", "expected"), [(1234.5, "1230"), (0.0, "0"), (-0.12345, "-0.123"), (-np.inf, "-∞")])
def test_numbers_have_three_digits(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.999, ">0.99"), (0.001, "<0.01"), (1.0, "1"), (np.nan, "–")])
def test_chances_are_never_rounded_to_certainty(value, expected):
    assert chance(value) == expected


def test_curves_have_panels_by_weight_on_common_axes(fit):
    figure = hf.plot_curves(fit, max_panels=3)
    weights = fit["evidence"]["weight"].to_series().sort_values(ascending=False)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [one.partition(",")[0] for one in titles] == list(weights.index[:3])
    assert titles[0].endswith(f"P = {weights.iloc[0]:.2f}")
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    alone = hf.curve_windows(fit)[weights.index[0]]
    shaded = [patch for patch in figure.axes[0].patches if patch.get_gid() == "window_0.5"]
    pieces = alone["level_window"].sel(window_level=0.5).dropna("piece").values
    assert [(one.get_x(), one.get_x() + one.get_width()) for one in shaded] == [pytest.approx(tuple(p)) for p in pieces]
    with pytest.raises(ValueError, match="max_panels must be a whole number"):
        hf.plot_curves(fit, max_panels=0)


def test_a_whole_analysis_has_letters_and_a_common_dose_axis(fit):
    figure = hf.plot_analysis(fit)
    figure.draw_without_rendering()
    assert [one.get_text() for one in figure.findobj(lambda one: one.get_gid() == "letter")] == ["a", "b", "c", "d"]
    upper, lower = figure.axes[:2]
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_position().x0 == pytest.approx(lower.get_position().x0)
    assert set(hf.figure_data(figure).children) == {"window", "exceedance", "quantities", "weights"}
    [shared] = figure.legends
    named = [text.get_text() for text in shared.get_texts()]
    assert len(named) == len(set(named)) > 10
    assert not [axes for axes in figure.axes if axes.get_legend()]


def test_a_design_is_drawn_with_its_rows():
    design = xr.Dataset(
        {
            "dose": ("support", [0.0, 3.0, 30.0]),
            "weight": ("support", [0.25, 0.25, 0.5]),
            "replicates": ("support", [3, 3, 6]),
        },
        attrs={"criterion": "D", "efficiency": 0.98},
    )
    figure = hf.plot_design(design, dose_unit="mg")
    np.testing.assert_array_equal(artist(figure, "support").get_xdata(), design["dose"])
    np.testing.assert_array_equal(artist(figure, "support").get_ydata(), design["weight"])
    assert [one.get_text() for one in figure.findobj(lambda one: one.get_gid() == "replicates")] == ["×3", "×3", "×6"]
    assert figure.axes[0].get_xlabel() == "dose (mg)"
    assert "D-optimal design, efficiency 0.98" in words(figure)


def test_assurance_leaves_out_what_was_not_asked():
    shares = {"prob_located": [0.4, 0.8], "prob_right": [0.3, 0.7], "prob_found": [0.2, 0.6], "type_one": [np.nan] * 2}
    shares |= {"type_one_found": [np.nan] * 2, "error": [0.05, 0.05]}
    assured = xr.Dataset({name: ("rows", values) for name, values in shares.items()}, coords={"rows": [12, 24]})
    figure = hf.plot_assurance(assured)
    np.testing.assert_array_equal(artist(figure, "prob_right").get_ydata(), [0.3, 0.7])
    assert not has(figure, "type_one")
    assert set(hf.figure_data(figure)["assurance"].data_vars) == {"prob_located", "prob_right", "prob_found", "error"}


def test_the_sensitivity_to_the_prior_is_the_one_calculated(fit):
    figure, found = hf.plot_prior_sensitivity(fit), hf.prior_sensitivity(fit)
    np.testing.assert_allclose(artist(figure, "prob_hormesis").get_ydata(), found["prob_hormesis"])
    np.testing.assert_array_equal(artist(figure, "prob_exists").get_xdata(), [0.5, 1, 2])


def test_labels_of_a_narrow_dose_axis_do_not_touch(fit):
    figure = Figure(figsize=(1.2, 1))
    plot_exceedance(fit, ax=figure.add_subplot())
    wide = plot_exceedance(fit, width="double")
    labels = [[one.get_text() for one in axes.get_xticklabels()] for axes in (figure.axes[0], wide.axes[0])]
    assert len(labels[0]) < len(labels[1])
    assert set(labels[0]) <= set(labels[1])
