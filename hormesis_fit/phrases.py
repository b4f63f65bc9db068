"""Phrases and rounded numbers of which sentences about a window are made."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

WHOSE = {
    "typical": " in a typical subject",
    "population": " on average over the population",
    "new": " in a new subject",
    "coverage": " in at least 80 % of the population",
    "subject": " in one subject of the trial",
}


def open_edges(window: xr.Dataset, trial: xr.Dataset, pieces: list[tuple[float, float]]) -> str:
    """Return a clause for a window that reaches, or may reach, beyond the tested doses."""
    doses, unit = trial["dose"].values, unit_of(trial["dose"])
    flags = str(window.attrs["flags"]).split()
    unchecked = "BLINDING_UNCHECKED" in flags
    lowest, highest = doses[doses > 0].min(), doses.max()
    left = f"{number(lowest, 3)}{unit}, the lowest dose tested"
    right = f"{number(highest, 3)}{unit}, the highest dose tested"
    reached = [
        *([f"below {left}"] if pieces[0][0] < lowest else []),
        *([f"above {right}"] if pieces[-1][1] > highest else []),
    ]
    possible = [
        *([f"below {left}"] if "LEFT_OPEN" in flags and pieces[0][0] >= lowest else []),
        *([f"above {right}"] if "RIGHT_OPEN" in flags and pieces[-1][1] <= highest else []),
    ]
    clauses = [
        *([f"{' and '.join(reached)}, this is extrapolated"] if reached else []),
        *([f"helpful doses may go on {' and '.join(possible)}"] if possible else []),
        *(["without a control group the response to no dose is extrapolated"] if "NO_CONTROL" in flags else []),
        *(["expectation may explain part of it, since guesses of the treatment are missing"] if unchecked else []),
    ]
    return f", but {', and '.join(clauses)}" if clauses else ""


def no_dose(window: xr.Dataset, trial: xr.Dataset) -> str:
    """Return a clause that says that no dose reaches the level."""
    best, highest = float(window["best_dose"]), float(window["max_probability"])
    if not math.isfinite(best):
        return f"no single dose reaches {level_words(window)}"
    shown, unit = percent(highest, below=float(window.attrs["level"])), unit_of(trial["dose"])
    return f"no single dose reaches {level_words(window)} (highest {shown}, near {number(best)}{unit})"


def verb(trial: xr.Dataset, ending: str = "") -> str:
    """Return what a dose does to the response: "raises weight" with the ending "s"."""
    name = printable(trial["response"].attrs.get("long_name", "")).replace("_", " ")
    article = "the " if name.startswith(("share of ", "probability of ")) else ""
    response = "the response" if name in ("", "response") else f"{article}{name}"
    return f"{'raise' if trial.attrs['direction'] == 'up' else 'lower'}{ending} {response}"


def benefit_words(window: xr.Dataset, trial: xr.Dataset) -> str:
    """Word the benefit asked for, in whom, and within which limits, to follow a verb."""
    return f"{_size_words(window, trial)}{whose_words(window, trial)}{limits_words(window)}"


def whose_words(window: xr.Dataset, trial: xr.Dataset) -> str:
    """Return in whom a benefit is asked for, and when; nothing where nobody is told apart and nothing moves."""
    estimand = str(window.attrs.get("estimand", "typical"))
    whose = WHOSE[estimand] if estimand != "typical" or "subject" in trial else ""
    return whose + _when_words(window, trial)


def _when_words(window: xr.Dataset, trial: xr.Dataset) -> str:
    """Return the time of a window and the interval between doses, where they matter."""
    unit = unit_of(trial["time"]) if "time" in trial else ""
    found = f" at time {number(window.attrs['time'])}{unit}" if "time" in window.attrs else ""
    if "interval" in window.attrs:
        every = f" a dose every {number(window.attrs['interval'])}{unit}"
        found += f" of{every}" if found else f" at the steady state of{every}"
    return f"{found} after earlier doses" if window.attrs.get("history") else found


def limits_words(window: xr.Dataset) -> str:
    """Return the limits on harm that a dose has to keep."""
    harms = str(window.attrs.get("harms", ""))
    return f", with {printable(harms).replace('; ', ' and ')}" if harms else ""


def _size_words(window: xr.Dataset, trial: xr.Dataset) -> str:
    benefit, up = float(window.attrs["benefit"]), trial.attrs["direction"] == "up"
    unit, side = unit_of(trial["response"]), "over control" if up else "below control"
    match window.attrs["benefit_scale"]:
        case "relative":
            return f"by at least {100 * benefit:.3g} % {side}"
        case "sd":
            deviations = "standard deviation" if benefit == 1 else "standard deviations"
            return f"by at least {number(benefit, 3)} {deviations} of single measurements {side}"
        case "level":
            size = f"{100 * benefit:.3g} %" if is_share(trial) else f"{number(benefit, 3)}{unit}"
            return f"to at {'least' if up else 'most'} {size}"
        case _:
            size = f"{100 * benefit:.3g} percentage points" if is_share(trial) else f"{number(benefit, 3)}{unit}"
            return f"by at least {size} {side}"


def is_share(trial: xr.Dataset) -> bool:
    """Whether the outcome of a trial is a share or a probability, whose differences are percentage points."""
    return bool(trial["response"].attrs.get("share", 0))


def level_words(window: xr.Dataset) -> str:
    """Return the level asked for in per cent."""
    return f"{100 * float(window.attrs['level']):.3g} %"


def unit_of(variable: xr.DataArray) -> str:
    """Return the unit of a variable with a space before it, or nothing."""
    unit = printable(variable.attrs.get("units", ""))
    return f" {unit}" if unit else ""


def span_words(low: float, high: float) -> str:
    """Write both ends of an interval so that they differ."""
    digits = 2 if number(low) != number(high) else 3
    return f"{number(low, digits)} and {number(high, digits)}"


def number(value: float, digits: int = 2) -> str:
    """Write a number with few significant digits, and without an exponent where it can be read.

    Examples
    --------
    >>> number(0.004774), number(1283.0), number(2e-9)
    ('0.0048', '1300', '2e-09')
    """
    if not math.isfinite(value):
        return "infinity" if value > 0 else "nothing"
    rounded = float(f"{value:.{digits}g}")
    if rounded and not 1e-5 <= abs(rounded) < 1e7:
        return f"{value:.{digits}g}"
    return np.format_float_positional(rounded, trim="-")


def percent(probability: float, *, below: float | None = None) -> str:
    """Write a probability in per cent, never rounded to certainty nor up to a level that it missed.

    Examples
    --------
    >>> percent(0.694), percent(0.9999), percent(0.7996, below=0.8), percent(1.0)
    ('69 %', 'more than 99 %', 'just under 80 %', 'more than 99 %')
    """
    if below is not None and probability < below and round(100 * probability) >= round(100 * below, 6):
        return f"just under {100 * below:.3g} %"
    if probability >= 0.995:
        return "more than 99 %"
    return f"{100 * probability:.0f} %" if probability >= 0.005 else "less than 1 %"


def printable(text: object) -> str:
    """Return foreign text on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(str(text).split()))
