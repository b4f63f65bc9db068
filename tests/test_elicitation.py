"""Priors from what people bet on, priors that they see, and the gate that wild ones do not pass."""

import importlib.util
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

import hormesis_fit as hf
from hormesis_fit.checks.elicitation import elicit
from hormesis_fit.checks.sensitivity import PRIORS
from hormesis_fit.figures.priors import plot_prior, prior_gate
from hormesis_fit.model.specification import specify

STEEP = {"slope_excess": hf.Prior("LogNormal", mu=1, sigma=0.1)}  # the peak is then near the half-effect dose
WILD = STEEP | {
    "peak_stimulation": hf.Prior("HalfNormal", sigma=5),
    "half_effect_dose": hf.Prior("LogNormal", mu=2, sigma=0.1),
}
needs_preliz = pytest.mark.skipif(importlib.util.find_spec("preliz") is None, reason="PreliZ is an optional extra")


def mass(prior, low, high):
    frozen = PRIORS[prior.distribution](**prior.arguments)
    return float(frozen.cdf(high) - frozen.cdf(low))


@needs_preliz
class TestElicit:
    @pytest.mark.parametrize("distribution", [None, "LogNormal", "Gamma", "Beta"])
    def test_the_prior_holds_the_mass_asked_for(self, distribution):
        prior = elicit(between=(0.1, 0.6), probability=0.9, distribution=distribution)
        assert prior.distribution == (distribution or "LogNormal")
        assert mass(prior, 0.1, 0.6) == pytest.approx(0.9, abs=1e-3)

    def test_the_log_normal_one_has_the_highest_entropy(self):
        prior = elicit(between=(0.1, 0.6), probability=0.9)
        best = PRIORS["LogNormal"](**prior.arguments).entropy()
        for lower_tail in (0.01, 0.03, 0.07, 0.09):
            # Every log-normal distribution with that mass has some share of the rest below the interval.
            z = stats.norm.ppf([lower_tail, lower_tail + 0.9])
            sigma = np.log(6) / (z[1] - z[0])
            other = PRIORS["LogNormal"](mu=np.log(0.1) - sigma * z[0], sigma=sigma)
            assert other.cdf(0.6) - other.cdf(0.1) == pytest.approx(0.9)
            assert other.entropy() < best + 1e-4

    def test_one_end_at_zero_gives_a_half_normal(self):
        prior = elicit(between=(0, 0.6), probability=0.9)
        assert prior.distribution == "HalfNormal"
        assert prior.arguments["sigma"] == pytest.approx(0.6 / stats.norm.ppf(0.95), rel=1e-3)

    def test_a_negative_end_gives_a_normal(self):
        assert elicit("control", between=(-2, 4)).arguments["mu"] == pytest.approx(1, abs=1e-3)

    def test_the_prior_goes_into_a_model(self, trial):
        prior = elicit()
        assert specify(trial, curve="BrainCousens", priors={"peak_stimulation": prior}).priors["peak_stimulation"] == (
            prior
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"distribution": "HalfNormal"},
                "No HalfNormal prior of peak_stimulation holds 90% .* the nearest holds 69%",
            ),
            ({"between": (-1, 1), "distribution": "LogNormal"}, "cannot lie between -1 and 1"),
            ({"between": (0.6, 0.1)}, "two ascending finite numbers"),
            ({"probability": 90}, "probability must lie between 0 and 1"),
            ({"distribution": "Cauchy"}, 'no distribution named "Cauchy"'),
            ({"name": "peak_stimulaton"}, 'did you mean "peak_stimulation"'),
        ],
    )
    def test_what_cannot_be_a_prior_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            elicit(**options)


def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "preliz", None)
    with pytest.raises(ImportError, match=r"pip install 'hormesis-fit\[elicit\]'"):
        elicit()


class TestGate:
    def test_default_priors_pass(self, trial):
        found = prior_gate(trial, curve=["BrainCousens", "BellTail", "LogLogistic"])
        assert found["passed"].all()
        assert (found["far_share"] <= 0.05).all()

    def test_the_share_of_a_wild_prior_is_the_closed_form(self, trial):
        """The peak lies among the tested doses, so that a curve exceeds five times the control where s > 4."""
        with pytest.warns(UserWarning, match=r"of the curves rise above 5 times .* with the priors of BrainCousens"):
            found = prior_gate(trial, priors=WILD)
        expected = 2 * stats.norm.sf(4 / 5)
        assert float(found["far_share"][0]) == pytest.approx(expected, abs=4 * np.sqrt(expected / 2000))
        assert not found["passed"].any()

    def test_peaks_far_from_the_tested_doses_do_not_pass(self, trial):
        far = STEEP | {"half_effect_dose": hf.Prior("LogNormal", mu=np.log(1e7), sigma=0.1)}
        with pytest.warns(UserWarning, match="of the peaks lie far from every tested dose"):
            found = prior_gate(trial, priors=far)
        assert float(found["peak_share"][0]) == 1

    def test_a_prior_that_cannot_be_drawn_is_named(self, trial):
        with pytest.raises(ValueError, match="distribution to draw the prior of peak_stimulation from"):
            prior_gate(trial, priors={"peak_stimulation": hf.Prior("HalfCauchy", beta=1)})


class TestPlotPrior:
    @pytest.fixture
    def axes(self, trial):
        before = dict(matplotlib.rcParams)
        figure = plot_prior(trial, random_seed=3)
        assert dict(matplotlib.rcParams) == before
        figure.draw_without_rendering()
        return figure.axes[0]

    def test_bands_median_examples_and_rug_are_drawn(self, axes, trial):
        there = [one.get_gid() for one in axes.get_children() if one.get_gid()]
        assert {"band_95", "band_50", "control_95", "control_50", "median", "median_control", "rug"} <= set(there)
        assert there.count("example") == 6
        [rug] = [one for one in axes.lines if one.get_gid() == "rug"]
        tested = np.unique(trial["dose"].values)
        np.testing.assert_array_equal(rug.get_xdata(), tested[tested > 0])

    def test_the_control_at_dose_zero_is_its_prior(self, axes, trial):
        [line] = [one for one in axes.lines if one.get_gid() == "median_control"]
        prior = specify(trial, curve="BrainCousens").priors["control"]
        median = PRIORS[prior.distribution](**prior.arguments).median()
        assert line.get_ydata()[0] == pytest.approx(median, rel=0.06)

    def test_the_gate_is_printed(self, trial):
        with pytest.warns(UserWarning, match="rise above"):
            share = float(prior_gate(trial, priors=WILD)["far_share"][0])
        figure = plot_prior(trial, priors=WILD, draws=50)
        assert f"{100 * share:.1f} % of the curves" in figure.axes[0].get_title(loc="left").replace("\n", " ")

    def test_axes_of_the_user_are_used(self, trial):
        figure = Figure()
        axes = figure.add_subplot()
        assert plot_prior(trial, curve="LogLogistic", draws=50, ax=axes) is figure
        assert "peaks" not in axes.get_title(loc="left")
        assert axes.get_xlabel() == "conc (mg/L)"

    @pytest.mark.parametrize("draws", [3, True, 10.5])
    def test_senseless_draws_are_refused(self, trial, draws):
        with pytest.raises(ValueError, match="draws must be a whole number"):
            plot_prior(trial, draws=draws)
