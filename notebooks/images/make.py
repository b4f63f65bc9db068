"""Draw every figure of the package from a small example: `python notebooks/images/make.py` writes the thumbnails.

The examples are small fits that take seconds, so that tests can look at every figure at both widths in both palettes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

import hormesis_fit as hf
from hormesis_fit.curves import CURVES, BrainCousens, LogLogistic

FOLDER = Path(__file__).parent
FAST = {"engine": "importance", "draws": 250, "chains": 4, "random_seed": 1}
TRUTH = BrainCousens(control=100.0, peak_stimulation=0.4, half_effect_dose=30.0, slope_excess=1.5)
THUMBNAIL, TONES = 420, 64  # pixels across, colours


@cache
def trial() -> xr.Dataset:
    """A trial with a standard dose."""
    doses = [0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
    drawn = hf.simulate_trial(TRUTH, doses=doses, replicates=4, cv=0.07, random_seed=3, dose_unit="mg", scale="ratio")
    drawn["response"].attrs |= {"long_name": "score", "units": "points"}
    return drawn.assign_attrs(standard_dose=50.0)


@cache
def average() -> xr.DataTree:
    """The default average of that trial, with its window."""
    fit = hf.fit(trial(), **FAST)
    fit["window"] = hf.window(fit, benefit=0.10)
    return fit


@cache
def people() -> xr.DataTree:
    """Four subjects with control responses of their own, a side effect, and limits on harm."""
    rng, rows = np.random.default_rng(4), []
    for subject, control in (("P1", 80), ("P2", 95), ("P3", 110), ("P4", 125)):
        for dose in np.repeat([0.0, 1.0, 3.0, 10.0, 30.0, 100.0], 2):
            mean = control / 100 * float(TRUTH(dose))
            rows.append((dose, mean + 4 * rng.standard_normal(), subject, int(rng.random() < dose / (dose + 60))))
    table = pd.DataFrame(rows, columns=["dose", "score", "person", "nausea"])
    read = {"dose_unit": "mg", "response_unit": "points"}
    outcome = hf.read_trial(table, response="score", subject="person", scale="ratio", **read)
    nausea = hf.read_trial(table, response="nausea", direction="down", dose_unit="mg")
    side = hf.Endpoint(trial=nausea, family="binomial", curve=["LogLogistic", "Constant"])
    fit = hf.fit(outcome, curve=["BrainCousens", "LogLogistic"], endpoints={"nausea": side}, **FAST)
    harm = [hf.Harm(endpoint="nausea", limit=0.3), hf.Harm(loss=True, limit=0.05), hf.Harm(occupancy=40.0, limit=0.5)]
    fit["window"] = hf.window(fit, harm=harm)
    return fit


@cache
def drifting() -> xr.DataTree:
    """A potency that rises with time."""
    rng, rows = np.random.default_rng(1), []
    for day in (0.0, 7.0, 14.0, 28.0):
        for dose in np.repeat([0.0, 1.0, 4.0, 12.0, 40.0], 2):
            rows.append((day, dose, float(TRUTH.drifted(dose, potency=0.03 * day)) + 2 * rng.normal()))
    table = pd.DataFrame(rows, columns=["day", "dose", "response"])
    drawn = hf.read_trial(table, time="day", time_unit="d", dose_unit="mg", scale="ratio")
    return hf.fit(drawn, curve="BrainCousens", drift="LinearDrift", **FAST)


@cache
def course() -> xr.Dataset:
    """Its window over time."""
    return hf.window_over_time(drifting(), times=[0.0, 7.0, 14.0, 21.0, 28.0, 35.0, 42.0])


@cache
def receding() -> xr.DataTree:
    """Receptors that are lost where they are occupied."""
    loss = hf.DRIFTS["ReceptorTurnover"](turnover_rate=0.3, loss_ratio=4.0, occupancy_dose=5.0, occupancy_slope=1.0)
    rise = CURVES["SigmoidEmax"](scale="interval", control=5.0, span=20.0, half_effect_dose=3.0, slope=1.0)
    dose, day = np.repeat([0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0], 4), np.tile([1.0, 2.0, 4.0, 8.0], 7)
    receptors = loss(dose[:, None], day[:, None])[:, 0]
    response = rise.drifted(dose, gain=np.log(receptors)) + np.random.default_rng(1).normal(size=dose.size)
    columns = {"dose": dose, "day": day, "response": response}
    drawn = hf.read_trial(columns, time="day", time_unit="d", dose_unit="nM", scale="interval")
    return hf.fit(drawn, curve="SigmoidEmax", drift="ReceptorTurnover", **FAST | {"draws": 100})


@cache
def surface() -> xr.Dataset:
    """Windows at several intervals, where receptors are lost and the drug wears off."""
    plan, kinetics = hf.Regimen(dose=None, interval=1.0, n=10), hf.OneCompartment(elimination_rate=0.9)
    rng, days = np.random.default_rng(2), np.tile([1.0, 3.0, 6.0, 10.0], 6)
    dose = np.repeat([0.0, 1.0, 3.0, 10.0, 30.0, 100.0], 4)
    columns = {"dose": dose, "day": days, "score": [float(TRUTH(one)) + 3 * rng.normal() for one in dose]}
    drawn = hf.read_trial(columns, response="score", time="day", time_unit="d", dose_unit="mg", scale="ratio")
    asked = FAST | {"draws": 100}
    fit = hf.fit(drawn, curve="BrainCousens", drift="ReceptorTurnover", regimen=plan, kinetics=kinetics, **asked)
    return hf.dose_interval(fit, intervals=[0.5, 1.0, 2.0, 4.0], benefit=0.10)


@cache
def undecided() -> xr.DataTree:
    """A trial that leaves most questions open."""
    return hf.fit(hf.load_dataset("lettuce"), **FAST)


@cache
def plates() -> pd.DataFrame:
    """A screen of eight compounds, half of them hormetic."""
    doses, parts = [0.0, *np.geomspace(0.3, 100, 7)], []
    for seed in range(8):
        size, middle = (0.0, 0.2, 0.3, 0.4)[seed % 4], 20.0 * 1.3**seed
        null = LogLogistic(control=100.0, half_effect_dose=middle, slope=2.0)
        hormetic = BrainCousens(control=100.0, peak_stimulation=size, half_effect_dose=middle, slope_excess=1.5)
        drawn = hf.simulate_trial(hormetic if size else null, doses=doses, replicates=3, cv=0.06, random_seed=seed)
        columns = {"dose": drawn["dose"].values, "viability": drawn["response"].values}
        parts.append(pd.DataFrame({"compound": f"compound {seed + 1}"} | columns))
    return pd.concat(parts, ignore_index=True)


@cache
def screened() -> xr.Dataset:
    """Its screen."""
    options = {"curve_id": "compound", "response": "viability", "response_unit": "%", "dose_unit": "µM"}
    return hf.screen(plates(), **options, curve=["BrainCousens", "LogLogistic"], scale="ratio", random_seed=1)


@cache
def design() -> xr.Dataset:
    """Rows that tell most about the edges of the window of a curve that is assumed."""
    quantity = ("window_lower", "window_upper")
    return hf.optimal_design(TRUTH, doses=(0.1, 100.0), criterion="c", quantity=quantity, n=24)


@cache
def assured() -> xr.Dataset:
    """How probably a few designs find it."""
    doses, curves = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0], ["BrainCousens", "LogLogistic"]
    weak = BrainCousens(control=100.0, peak_stimulation=0.2, half_effect_dose=30.0, slope_excess=1.5)
    return hf.assurance(doses, curve=weak, cv=0.10, n=(12, 24), fitted=curves, simulations=10)


# By public function: its question, and an example of its figure.
FIGURES: dict[str, tuple[str, Callable[..., Figure]]] = {
    "plot_analysis": ("The whole answer on one page?", lambda **look: hf.plot_analysis(average(), **look)),
    "plot_window": ("Which doses help?", lambda **look: hf.plot_window(average(), **look)),
    "plot_exceedance": ("How probably does a dose help?", lambda **look: hf.plot_exceedance(average(), **look)),
    "plot_quantities": ("Where are peak and edges, how surely?", lambda **look: hf.plot_quantities(average(), **look)),
    "plot_weights": ("Is it hormesis, and which curve?", lambda **look: hf.plot_weights(average(), **look)),
    "plot_curves": ("Would another curve move the window?", lambda **look: hf.plot_curves(average(), **look)),
    "plot_predictive": ("Could the model have made the data?", lambda **look: hf.plot_predictive(average(), **look)),
    "plot_prior": ("What do the priors allow?", lambda **look: hf.plot_prior(trial(), **look)),
    "plot_prior_sensitivity": (
        "Does the answer depend on the prior?",
        lambda **look: hf.plot_prior_sensitivity(undecided(), **look),
    ),
    "plot_subjects": ("Who differs?", lambda **look: hf.plot_subjects(people(), **look)),
    "plot_harm": ("What ends the window?", lambda **look: hf.plot_harm(people(), **look)),
    "plot_sensitivity": ("How does sensitivity drift?", lambda **look: hf.plot_sensitivity(receding(), **look)),
    "plot_window_over_time": (
        "How long does the window hold?",
        lambda **look: hf.plot_window_over_time(drifting(), times=[0.0, 7.0, 14.0, 28.0, 42.0], **look),
    ),
    "plot_subject_sensitivity": (
        "Whose sensitivity drifts, or under which dose?",
        lambda **look: hf.plot_subject_sensitivity(receding(), **look),
    ),
    "plot_dose_time": ("Which dose, and until when?", lambda **look: hf.plot_dose_time(course(), **look)),
    "plot_dose_interval": ("Which dose, and how often?", lambda **look: hf.plot_dose_interval(surface(), **look)),
    "plot_next": ("What to dose next?", lambda **look: hf.plot_next(average(), **look)),
    "plot_design": (
        "Which doses, before any data?",
        lambda **look: hf.plot_design(design(), dose_unit="mg", **look),
    ),
    "plot_assurance": ("How many rows does it take?", lambda **look: hf.plot_assurance(assured(), **look)),
    "plot_volcano": ("Which of many curves are hormetic?", lambda **look: hf.plot_volcano(screened(), **look)),
    "plot_window_ladder": ("Where are their windows?", lambda **look: hf.plot_window_ladder(screened(), **look)),
    "plot_small_multiples": (
        "How do they look?",
        lambda **look: hf.plot_small_multiples(screened(), table=plates(), **look),
    ),
}
# Further examples that look different.
MORE: dict[str, Callable[..., Figure]] = {
    "plot_sensitivity of a process": lambda **look: hf.plot_sensitivity(drifting(), **look),
    "plot_analysis of people": lambda **look: hf.plot_analysis(people(), **look),
    "plot_analysis of an open question": lambda **look: hf.plot_analysis(undecided(), **look),
    "plot_curves of an open question": lambda **look: hf.plot_curves(undecided(), **look),
}


def thumbnail(figure: Figure, path: Path) -> None:
    """Write a small picture with few colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * THUMBNAIL / figure.get_figwidth())
    picture = Image.open(buffer).convert("RGB")
    picture.thumbnail((THUMBNAIL, 2 * THUMBNAIL), Image.Resampling.LANCZOS)
    picture.quantize(TONES, dither=Image.Dither.NONE).save(path, optimize=True)


def main(names: list[str]) -> None:
    """Write the thumbnails of some figures, by default of all."""
    for name in names or FIGURES:
        thumbnail(FIGURES[name][1](width="single"), FOLDER / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
