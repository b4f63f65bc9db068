"""Whether a design can answer the question: how often it will find the window, and what it cannot tell at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.checks.identifiability import paused
from hormesis_fit.checks.sensitivity import STIMULATION, window_of
from hormesis_fit.curves import Curve
from hormesis_fit.drift.courses import design_notes
from hormesis_fit.families import FAMILIES
from hormesis_fit.inference.fitting import fit as fit_trial
from hormesis_fit.model.building import CurveLike
from hormesis_fit.planning.designs import assumed
from hormesis_fit.planning.support import Design, Space
from hormesis_fit.progress import progress
from hormesis_fit.trials.reading import check_number, check_whole, read_trial
from hormesis_fit.windows.posterior import Member, given_doses, trial_of
from hormesis_fit.windows.windowing import check_benefit, threshold_of, window
from hormesis_fit.wording import unknown

SURE = 0.95  # probability of existence that counts as found
FEW_CONTROLS = 1 / 6
LIKELY = 0.5  # posterior probability from which a gap of the design is told
NEGLIGIBLE = 1e-9  # of the control: a stimulation that is none, and has a logarithm
STIMULATIONS = (*STIMULATION, "threshold_stimulation", "threshold_gain")


def assurance(
    design: xr.Dataset | Sequence[float],
    *,
    curve: Curve,
    n: Sequence[int] = (12, 24, 48),
    cv: float | None = None,
    noise: Mapping[str, float] | None = None,
    family: str = "gaussian",
    units: int = 1,
    control: float = 1.0,
    fitted: CurveLike | Sequence[CurveLike] = "average",
    benefit: float = 0.10,
    benefit_scale: str = "relative",
    level: float = 0.8,
    simulations: int = 100,
    random_seed: int = 0,
) -> xr.Dataset:
    """Return how often a design will find the window, against the number of rows, by simulated trials.

    Parameters
    ----------
    design : Dataset or sequence of float
        As `optimal_design` returns it, or doses with as many rows each [dose].
    curve : Curve
        The truth: with numbers for its parameters, or with priors, from which each trial then draws its own.
    n : sequence of int
        Numbers of rows.
    cv : float, optional
        Standard deviation of one row as a share of the control; for Gaussian responses.
    noise : mapping, optional
        Parameters of the family, such as ``{"sigma": 6.0}``, in place of `cv`.
    family : str
        Observation model of truth and fits, a name in `FAMILIES`.
    units : int
        Units behind a row of successes.
    control : float
        For default priors: mean response without the drug that is expected [response].
    fitted : str, class, Curve, or a list of them
        Curves that are fitted, as in `fit`.
    benefit, benefit_scale, level
        Of the window, as in `window`.
    simulations : int
        Trials for each number of rows, and as many without any stimulation.
    random_seed : int
        Same seed and versions, same numbers.

    Returns
    -------
    Dataset
        Shares of trials [1]. Over (rows,): ``prob_located``, the share of trials in which a dose reaches the level;
        ``prob_right``, in which moreover the best dose truly has the benefit; ``prob_found``, in which the probability
        of existence reaches 0.95; ``type_one`` and ``type_one_found``, the shares of located and found windows where
        there is no stimulation, NaN for a curve that has no parameter for it; ``error``, the largest standard error of
        these.

    Raises
    ------
    ValueError
        If the design holds fewer than three doses, or an argument is out of range.

    References
    ----------
    O'Hagan, Stevens and Campbell (2005), https://doi.org/10.1002/pst.175.
    """
    check_benefit(benefit, benefit_scale, level)
    sizes = [_checked_size(one) for one in (n if isinstance(n, Sequence) else [n])]
    check_whole("simulations", simulations, least=1)
    plan = _design_of(design)
    truth = _truth(curve, plan, family, dict(noise or {}), cv, control, simulations, random_seed)
    null = _without_stimulation(truth)
    asked = {"benefit": benefit, "benefit_scale": benefit_scale, "level": level}
    task = _Task(family, units, fitted, asked, curve.scale, curve.direction)
    shares = np.full((len(sizes), 5), np.nan)
    with progress(2 * len(sizes)) as step:
        for row, size in enumerate(sizes):
            rounded = plan.rounded_to(size)
            doses = np.repeat(rounded.doses, np.rint(rounded.weights * size).astype(int))
            step(f"Simulating {size} rows")
            shares[row, :3] = task.shares(truth, doses, simulations, [random_seed, size, 1])
            step(f"Simulating {size} rows without stimulation")
            if null is not None:
                located, _, found = task.shares(null, doses, simulations, [random_seed, size, 2])
                shares[row, 3:] = located, found
    return _table(shares, sizes, simulations, asked | {"family": family, "curve": type(curve).__name__})


def _table(shares: np.ndarray, sizes: Sequence[int], simulations: int, attrs: Mapping[str, Any]) -> xr.Dataset:
    texts = {
        "prob_located": "Share of trials in which a dose reaches the level.",
        "prob_right": "Share of trials in which one does, and the best dose truly has the benefit.",
        "prob_found": f"Share of trials in which the probability that there is a window reaches {SURE:g}.",
        "type_one": "Share of trials without stimulation in which a dose reaches the level.",
        "type_one_found": f"Share of trials without stimulation in which the probability of a window reaches {SURE:g}.",
    }
    error = np.sqrt(np.nanmax(shares * (1 - shares), axis=1) / simulations)
    columns = dict(zip(texts, shares.T, strict=True)) | {"error": error}
    texts |= {"error": "Largest Monte Carlo standard error of the shares."}
    return xr.Dataset(
        {
            name: ("rows", values, {"units": "1", "long_name": name.replace("_", " "), "definition": texts[name]})
            for name, values in columns.items()
        },
        coords={"rows": list(sizes)},
        attrs=dict(attrs) | {"simulations": simulations},
    )


def _checked_size(size: int) -> int:
    check_whole("n", size, least=4)
    return int(size)


def _design_of(design: xr.Dataset | Sequence[float]) -> Design:
    if isinstance(design, xr.Dataset):
        if not {"dose", "weight"} <= set(design.variables):
            raise TypeError("A design has dose and weight over support: pass what optimal_design() returns, or doses.")
        doses, weights = design["dose"].values, design["weight"].values
    else:
        doses = given_doses(design, xr.Dataset({"dose": ("observation", [0.0, 1.0])})).values
        weights = np.full(doses.size, 1 / doses.size)
    if doses.size < 3:
        raise ValueError(f"A trial needs at least three doses, got {doses.size}: add doses to the design.")
    return Design(doses, weights, np.nan)


def _truth(
    curve: Curve,
    plan: Design,
    family: str,
    noise: dict[str, float],
    cv: float | None,
    control: float,
    simulations: int,
    seed: int,
) -> Member:
    if not isinstance(curve, Curve):
        raise TypeError(f"The truth must be a curve such as BrainCousens(...), got {type(curve).__name__}.")
    if family not in FAMILIES:
        raise ValueError(unknown("family", family, FAMILIES))
    check_number("cv", cv, above=0.0)
    if (cv is not None) == ("sigma" in noise) and "sigma" in FAMILIES[family].parameters and not curve.priors():
        raise ValueError('Expected the scatter of the responses once: give either cv= or noise={"sigma": ...}.')
    positive = plan.doses[plan.doses > 0]
    space = Space(float(positive.min()), float(positive.max()))
    asked = {"family": family, "noise": noise, "control": control, "draws": simulations, "random_seed": seed}
    found = assumed(curve, space, **asked)
    if cv is None:
        return found
    scatter = found.draws.assign(sigma=("sample", cv * np.abs(found.control)))
    return Member(found.label, found.curve, scatter, found.shape, 1.0)


def _without_stimulation(truth: Member) -> Member | None:
    names = [name for name in truth.curve.parameters() if name in STIMULATIONS]
    if not names:
        return None
    none = {name: np.full((truth.size, 1), NEGLIGIBLE) for name in names}
    return Member(truth.label, truth.curve.with_values(none), truth.draws, truth.shape, 1.0)


@dataclass(frozen=True)
class _Task:
    """What is done with every simulated trial."""

    family: str
    units: int
    fitted: Any
    asked: Mapping[str, Any]
    scale: str
    direction: str

    def shares(self, truth: Member, doses: np.ndarray, simulations: int, seed: Sequence[int]) -> list[float]:
        """Return the shares of trials that are located, right and found."""
        rng, verdicts = np.random.default_rng(seed), []
        for number in range(simulations):
            own = truth.take(np.array([number % truth.size]))
            trial = self._trial(own, doses, rng)
            fit = fit_trial(trial, curve=self.fitted, family=self.family, vary={}, draws=250, random_seed=number)
            found = window(fit, **self.asked)
            located = float(found["max_probability"]) >= self.asked["level"]
            right = located and self._has_benefit(own, float(found["best_dose"]))
            verdicts.append([located, right, float(found["prob_exists"]) >= SURE])
        return np.mean(verdicts, axis=0).tolist()

    def _trial(self, own: Member, doses: np.ndarray, rng: np.random.Generator) -> xr.Dataset:
        known = FAMILIES[self.family]
        given = {name: own.draws[name].values for name in known.parameters}
        n = {"n": self.units} if known.counts_successes else {}
        mean = np.broadcast_to(own.mean(doses[None, :]), (1, len(doses)))[0]
        response = known.sample(rng, mean, control=own.control, **given, **n)
        columns = {"dose": doses, "response": response}
        roles = {}
        if n:
            columns |= {"n": np.full(len(doses), self.units), "successes": np.rint(response * self.units)}
            del columns["response"]
            roles = {"n": "n", "successes": "successes"}
        scale = "ratio" if known.link != "identity" else self.scale
        return read_trial(columns, direction=self.direction, scale=scale, **roles)

    def _has_benefit(self, own: Member, dose: float) -> bool:
        wanted = threshold_of(own, self.asked["benefit"], self.asked["benefit_scale"])
        return bool(own.gain(np.array([[dose]]))[0, 0] >= wanted[0])


def design_adequacy(source: xr.Dataset | xr.DataTree) -> dict[str, str]:
    """Return what a design cannot tell, one sentence each.

    Parameters
    ----------
    source : Dataset or DataTree
        A trial as `read_trial` returns it, or its fit: what is said of the peak and the window is then said with the
        posterior probabilities of the fit, and for a trial alone from the means of its doses.

    Returns
    -------
    dict
        By what is lacking, none if nothing is: ``no_control``, ``few_controls``, ``few_doses``, ``no_replicates``,
        ``not_below_peak``, ``not_beyond_peak``, ``not_in_window``, ``not_beyond_window``; where a trial has several
        times, what it cannot tell of a drift: ``one_dose_at_a_time``, ``close_doses``, ``no_baseline``, ``one_dose``,
        ``no_washout``.

    Raises
    ------
    TypeError
        If `source` is neither a trial nor a fit.

    References
    ----------
    Dette, Pepelyshev and Wong (2011), where doses have to lie, https://doi.org/10.1111/j.1539-6924.2011.01625.x.
    """
    if isinstance(source, xr.DataTree):
        return _rows_lacking(trial_of(source)) | _posterior_lacking(source) | _times_lacking(source, trial_of(source))
    if not isinstance(source, xr.Dataset) or not {"dose", "response"} <= set(source.variables):
        raise TypeError(f"Expected a trial or a fit, got {type(source).__name__}: read the table with read_trial().")
    return _rows_lacking(source) | _means_lacking(source) | _times_lacking({}, source)


def _times_lacking(fit: xr.DataTree | dict, trial: xr.Dataset) -> dict[str, str]:
    """Return what the design cannot tell of a drift; nothing of a trial at one time."""
    if "time" not in trial or np.unique(trial["time"].values).size < 2:
        return {}
    washed = "regimen" in fit and paused(fit["regimen"].to_dataset(), trial)
    return design_notes(trial, washed=washed)


def _rows_lacking(trial: xr.Dataset) -> dict[str, str]:
    dose = trial["dose"].values
    levels, counts = np.unique(dose, return_counts=True)
    controls, rows = int(np.sum(dose == 0)), dose.size
    units = int(counts.sum() if "n" not in trial else np.nansum(trial["n"].values))
    found = {}
    if controls == 0 and "control" not in trial.attrs:
        found["no_control"] = "No row is without the drug, so that every benefit is over an extrapolated control."
    elif 0 < controls < FEW_CONTROLS * rows:
        found["few_controls"] = (
            f"Only {controls} of {rows} rows {'is a control' if controls == 1 else 'are controls'}; designs for "
            "windows want a quarter to a half of them, since every benefit is a difference from the control."
        )
    positive = int(np.sum(levels > 0))
    if positive < 4:
        found["few_doses"] = (
            f"{positive} positive dose{'s' * (positive != 1)} cannot tell the four parameters of a rise and a fall; "
            "use at least four."
        )
    if counts.max() == 1 and units == rows and "sd" not in trial and "se" not in trial:
        found["no_replicates"] = (
            "No dose was measured twice, so that scatter and the shape of the curve cannot be told apart."
        )
    return found


def _means_lacking(trial: xr.Dataset) -> dict[str, str]:
    dose, response = trial["dose"].values, trial["response"].values
    sign = 1 if trial.attrs["direction"] == "up" else -1
    levels = np.unique(dose[dose > 0])
    means = np.array([sign * response[dose == level].mean() for level in levels])
    best = int(np.argmax(means))
    base = sign * response[dose == dose.min()].mean()
    if dose.min() == 0 and means[best] <= base:
        return {}
    unit = str(trial["dose"].attrs.get("units", ""))
    where = f"{levels[best]:g}{f' {unit}' if unit else ''}"
    found = {}
    if best == 0:
        found["not_below_peak"] = (
            f"The best mean is that of the lowest dose, {where}: nothing shows where benefit begins."
        )
    if best == len(levels) - 1:
        found["not_beyond_peak"] = (
            f"The best mean is that of the highest dose, {where}: nothing shows where benefit ends."
        )
    return found


def _posterior_lacking(fit: xr.DataTree) -> dict[str, str]:
    trial, asked = trial_of(fit), window_of(fit)
    tested = np.unique(trial["dose"].values)
    tested = tested[tested > 0]
    peaks = asked["peak_dose"].values.ravel()
    exists = asked["exists"].values.ravel()
    low, high = asked["window_lower"].values.ravel()[exists], asked["window_upper"].values.ravel()[exists]

    def share(events: np.ndarray) -> float:
        return float(np.mean(events)) if events.size else 0.0

    peaks = peaks[np.isfinite(peaks)]
    inside = np.searchsorted(tested, high, side="right") > np.searchsorted(tested, low, side="left")
    texts = {
        "not_below_peak": (share(peaks < tested[0]), "no dose below the peak was tested"),
        "not_beyond_peak": (share(peaks > tested[-1]), "no dose beyond the peak was tested"),
        "not_in_window": (share(~inside), "no dose inside the window was tested, if there is one"),
        "not_beyond_window": (share(high > tested[-1]), "no dose beyond the window was tested, if there is one"),
    }
    return {
        name: f"With probability {_percent(probability)} {words}."
        for name, (probability, words) in texts.items()
        if probability > LIKELY
    }


def _percent(probability: float) -> str:
    return f"{math.floor(100 * probability)} %"


__all__ = ["assurance", "design_adequacy"]
