"""What the user of `hormesis-fit` gave, checked before anything is fitted or written."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hormesis_fit.cli.output import Failure

if TYPE_CHECKING:
    import xarray as xr

    from hormesis_fit.curves import Curve
    from hormesis_fit.parameter import Prior

BENEFIT = 0.10
# Python's arguments that messages mention, and that are options here.
ARGUMENTS = (
    *("benefit", "benefit_scale", "control", "covariates", "direction", "dose", "dose_unit", "estimand", "family"),
    *("guess", "lower", "missing", "n", "response", "response_unit", "scale", "sd", "se", "sheet", "standard_dose"),
    *("subject", "batch", "drift", "successes", "time", "upper", "vary", "weight"),
    *("regimen", "kinetics", "concentrations", "interval", "history"),
)


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn the complaints of the library into one sentence for the command line."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise Failure(command_words(str(error))) from None


def command_words(text: str) -> str:
    """Name options of the command line where a message names arguments of Python.

    Examples
    --------
    >>> command_words('drop such rows with missing="drop" (--missing drop), or name the column with dose=.')
    'drop such rows with --missing drop, or name the column with --dose.'
    """
    for name in ARGUMENTS:
        option = f"--{name.replace('_', '-')}"
        text = re.sub(rf'(?<![\w-]){name}="([^"]*)"', rf"{option} \1", text)
        text = re.sub(rf"(?<![\w-]){name}=(?=[\s,.;:)]|$)", option, text)
    text = re.sub(r"(?<![\w-])columns=(?=[\s,.;:)]|$)", "--column", text)
    text = re.sub(r'--vary\s*\{"(\w+)": "([^"]+)"\}|(?<![\w-])vary=\{"(\w+)": "([^"]+)"\}', r"--vary \1\3=\2\4", text)
    text = re.sub(r"(--[\w-]+ \w+) \(\1\)", r"\1", text)
    return re.sub(r"\brandom_seed=?\b", "--seed", text)


def read_table(table: Path, **columns: Any) -> xr.Dataset:
    """Read the trial of a table."""
    from hormesis_fit.trials.reading import read_trial

    with bad_input():
        return read_trial(table, **columns)


def read_benefit(benefit: float | None, scale: str, level: float) -> dict[str, Any]:
    """Check what is asked of the window, before anything is fitted."""
    from hormesis_fit.windows.windowing import check_benefit

    if benefit is None and scale in ("difference", "sd", "level"):
        raise Failure(f"The benefit needs a number on the scale {scale!r}: give it with --benefit.")
    with bad_input():
        check_benefit(BENEFIT if benefit is None else benefit, scale, level)
    stated = {"benefit": benefit, "stated": True} if benefit is not None else {"benefit": BENEFIT, "stated": False}
    return stated | {"benefit_scale": scale, "level": level}


def parse_curves(texts: list[str]) -> Any:
    """Return the curve or the set that is named, or a list of several; sets among several are spelled out."""
    from hormesis_fit.curves import CURVE_SETS

    if len(texts) == 1:
        return parse_curve(texts[0])
    if any(text.strip() in CURVE_SETS for text in texts):
        texts = list(dict.fromkeys(name for text in texts for name in CURVE_SETS.get(text.strip(), (text,))))
    return [parse_curve(text) for text in texts]


def parse_curve(text: str) -> str | Curve:
    """Read a curve with its options.

    Examples
    --------
    >>> parse_curve("BrainCousens(lower_asymptote=free)").label
    'BrainCousens(lower_asymptote=free)'
    """
    from hormesis_fit.curves import CURVES
    from hormesis_fit.wording import quote, unknown

    parts = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\)\s*)?", text)
    if not parts:
        raise Failure(f'Expected a curve such as "BrainCousens(lower_asymptote=free)", got {quote(text)}: write it so.')
    name, inside = parts[1], parts[2]
    if inside is None:
        return name
    if name not in CURVES:
        raise Failure(unknown("curve", name, CURVES))
    arguments = {}
    for part in filter(str.strip, inside.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        arguments[key] = _curve_argument(CURVES[name], key, value)
    with bad_input():
        return CURVES[name](**arguments)


def chosen_curves(name: str | None) -> dict[str, type[Curve]]:
    """Return the curve that is named, those of a set, or all."""
    from hormesis_fit.curves import CURVE_SETS, CURVES
    from hormesis_fit.wording import unknown

    if name in CURVES:
        return {name: CURVES[name]}
    if name is not None and name not in CURVE_SETS:
        raise Failure(unknown("curve or set", name, [*CURVE_SETS, *CURVES]))
    return {one: CURVES[one] for one in CURVE_SETS[name or "all"]}


def _curve_argument(curve: type[Curve], key: str, value: str) -> str | float:
    from hormesis_fit.wording import unknown

    options = [name for name in curve.options() if name not in ("scale", "direction")]
    if key in options:
        return value
    if key not in curve().parameters():
        known = [*options, *curve().parameters()]
        raise Failure(unknown(f"option or parameter of {curve.__name__}", key, known))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Failure(f"Expected a number for {key} of {curve.__name__}, got {value!r}: write it like {key}=1.5.")
    return number


def read_priors(path: Path | None) -> dict[str, Prior] | None:
    """Read priors in the trial's units, a table for each parameter."""
    if path is None:
        return None
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"The priors cannot be read from {path} ({error.strerror}): check --priors.") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise Failure(f"Expected priors in TOML, but {path} is none ({reason}): correct it.") from None
    return {name: _prior(name, given) for name, given in tables.items()}


def _prior(name: str, given: Any) -> Prior:
    from hormesis_fit.parameter import Prior

    example = f'[{name}] with distribution = "HalfNormal" and sigma = 0.25'
    if not isinstance(given, dict) or not isinstance(given.get("distribution"), str):
        raise Failure(f"Expected a table for the prior of {name}, such as {example}: correct the file of --priors.")
    arguments = {key: value for key, value in given.items() if key != "distribution"}
    with bad_input():
        return Prior(given["distribution"], **arguments)
