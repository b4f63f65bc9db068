"""Priors from what a person is ready to bet on."""

from __future__ import annotations

import math
import warnings

from hormesis_fit.checks.sensitivity import PRIORS
from hormesis_fit.curves import CURVES
from hormesis_fit.families import FAMILIES
from hormesis_fit.parameter import Prior
from hormesis_fit.wording import unknown

DISTRIBUTIONS = ("HalfNormal", "LogNormal", "Gamma", "Normal", "Beta", "Exponential")


def elicit(
    name: str = "peak_stimulation",
    *,
    between: tuple[float, float] = (0.10, 0.60),
    probability: float = 0.90,
    distribution: str | None = None,
) -> Prior:
    """Turn "I am 90 % sure that it lies between 10 % and 60 %" into a prior.

    Parameters
    ----------
    name : str
        Parameter that the prior is for; the prior goes into ``fit(..., priors={name: prior})``.
    between : tuple of float
        Two ascending values [unit of the parameter in the trial].
    probability : float
        How sure you are that the parameter lies between them.
    distribution : str, optional
        One of HalfNormal, LogNormal, Gamma, Normal, Beta, Exponential. By default HalfNormal between 0 and a value,
        Normal where the lower value is negative, otherwise LogNormal.

    Returns
    -------
    Prior
        The distribution of the highest entropy among those that hold the probability between the two values.

    Raises
    ------
    ImportError
        If PreliZ, an optional extra, is not installed.
    ValueError
        If no distribution of this kind holds the probability between the two values.

    References
    ----------
    Icazatti et al. (2023), PreliZ, https://doi.org/10.21105/joss.05499.
    """
    known = {one for term in (*CURVES.values(), *FAMILIES.values()) for one in _declared(term)}
    if name not in known:
        raise ValueError(unknown("parameter", name, sorted(known)))
    low, high = _ascending(between)
    if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, such as 0.9, got {probability!r}.")
    chosen = distribution or ("Normal" if low < 0 else "HalfNormal" if low == 0 else "LogNormal")
    if chosen not in DISTRIBUTIONS:
        raise ValueError(unknown("distribution", chosen, DISTRIBUTIONS))
    prior = _highest_entropy(name, chosen, low, high, probability)
    frozen = PRIORS[chosen](**prior.arguments)
    held = float(frozen.cdf(high) - frozen.cdf(low))
    if abs(held - probability) > 0.005:
        raise ValueError(
            f"No {chosen} prior of {name} holds {probability:.0%} between {low:g} and {high:g}, the nearest holds "
            f"{held:.0%}: choose another distribution, such as LogNormal, or leave it out."
        )
    return prior


def _declared(term: object) -> tuple[str, ...]:
    return tuple(term.declared())  # type: ignore[attr-defined]


def _ascending(between: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in between)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"between must be two ascending finite numbers, such as (0.1, 0.6), got {between!r}.")
    return low, high


def _highest_entropy(name: str, distribution: str, low: float, high: float, probability: float) -> Prior:
    try:
        import preliz
    except ImportError:
        raise ImportError(
            "elicit() needs PreliZ, which is an optional extra: install it with pip install 'hormesis-fit[elicit]'."
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on a mass that was missed, which is checked by the caller
        try:
            found = preliz.maxent(getattr(preliz, distribution)(), low, high, probability, plot=False)
        except ValueError as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"A {distribution} prior of {name} cannot lie between {low:g} and {high:g}: {reason}"
            ) from None
    if distribution == "Exponential":
        return Prior("Exponential", lam=found.params_dict["lam"])
    return Prior(distribution, **{key: float(value) for key, value in found.params_dict.items()})


__all__ = ["elicit"]
