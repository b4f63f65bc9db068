"""Trials whose truth is known."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import xarray as xr

from hormesis_fit.trials.reading import CHOICES, check_number, check_whole, read_trial
from hormesis_fit.wording import quote


def simulate_trial(
    curve: Callable[[float], float],
    *,
    doses: Sequence[float],
    replicates: int = 3,
    sd: float | None = None,
    cv: float | None = None,
    random_seed: int | None = None,
    dose_unit: str = "",
    response_unit: str = "",
    direction: Literal["up", "down"] | None = None,
    scale: Literal["ratio", "interval"] | None = None,
) -> xr.Dataset:
    """Simulate a trial whose truth is known.

    Parameters
    ----------
    curve : callable
        Mean response [response] at a dose [dose]: a curve of this package with numbers as parameters, or a function.
    doses : sequence of float
        Doses to test [dose].
    replicates : int
        Rows at each dose.
    sd : float, optional
        Standard deviation of the Gaussian error [response].
    cv : float, optional
        The same as a share of the control mean [1]; give either `sd` or `cv`.
    random_seed : int, optional
        Seed; drawn and recorded when not given.
    dose_unit, response_unit : str
        Units.
    direction, scale : str, optional
        As in `read_trial`; by default those of the curve, where it has them.

    Returns
    -------
    xarray.Dataset
        A trial as from `read_trial`, with ``true_mean`` [response], dims (observation), and the attr ``seed``.

    Raises
    ------
    TypeError
        When an argument is of a wrong type.
    ValueError
        When the error is not given once, the curve is not finite, or the doses make no trial.

    Examples
    --------
    >>> trial = simulate_trial(lambda dose: 10 + dose, doses=[0, 1, 2], replicates=2, sd=0.1, random_seed=1)
    >>> trial["true_mean"].values.tolist(), trial.attrs["seed"]
    ([10.0, 10.0, 11.0, 11.0, 12.0, 12.0], 1)
    """
    if not callable(curve):
        raise TypeError(f"Expected a curve or a function of the dose, got {type(curve).__name__}: pass one to call.")
    if (sd is None) == (cv is None):
        raise ValueError("Expected the error of the simulated responses once: give either sd= or cv=.")
    check_number("sd", sd, least=0.0)
    check_number("cv", cv, least=0.0)
    check_whole("replicates", replicates, least=1)
    seed = int(np.random.default_rng().integers(2**31)) if random_seed is None else random_seed
    check_whole("random_seed", seed, least=0)
    dose = np.repeat(_dose_array(doses), replicates)
    mean = np.array([_mean(curve, value) for value in dose])
    error = float(sd) if sd is not None else float(cv) * abs(_mean(curve, 0.0))
    trial = read_trial(
        {"dose": dose, "response": np.random.default_rng(seed).normal(mean, error)},
        dose_unit=dose_unit,
        response_unit=response_unit,
        direction=direction or _attribute(curve, "direction") or "up",
        scale=scale or _attribute(curve, "scale"),
    )
    attrs = {"units": response_unit, "long_name": "true mean", "definition": "Mean response of the simulated curve."}
    trial["true_mean"] = ("observation", mean, attrs)
    return trial.assign_attrs(name="simulated", seed=int(seed))


def _dose_array(doses: Sequence[float]) -> np.ndarray:
    try:
        array = np.asarray(doses, dtype=float)
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise TypeError(f"Expected a sequence of numbers for doses=, got {quote(doses)}: give them like [0, 1, 10].")
    return array


def _mean(curve: Callable[[float], float], dose: float) -> float:
    # A NumPy scalar and not a float, so that a power or a logarithm at dose 0 is infinite or NaN, not an exception.
    with np.errstate(all="ignore"):
        mean = float(curve(np.float64(dose)))
    if not np.isfinite(mean):
        raise ValueError(f"Expected a finite mean from the curve, got {mean} at dose {dose:g}: check its parameters.")
    return mean


def _attribute(curve: object, option: str) -> str | None:
    word = getattr(curve, option, None)
    return word if isinstance(word, str) and word in CHOICES[option] else None
