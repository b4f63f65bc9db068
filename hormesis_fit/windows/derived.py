"""Quantities of both limbs of a curve, per draw: effective doses, zones, areas and benchmark doses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.posterior import Member, carrying, described, labels_of, mixture, trial_of
from hormesis_fit.windows.prediction import has_spread
from hormesis_fit.windows.quantities import Crossings
from hormesis_fit.wording import unknown

REFERENCES = ("span", "control")
BENCHMARKS = {
    "relative": "a share of the control response",
    "added": "a number of response units",
    "extra": "a share of the span from the control to the asymptote",
    "sd": "a number of residual SDs",
}
DERIVED: dict[str, tuple[str, str | None, str]] = {
    name: (QUANTITIES[name][0], None, QUANTITIES[name][1])
    for name in ("peak_dose", "peak_response", "peak_stimulation", "zero_equivalent_dose")
}
DERIVED |= {
    "peak_stimulation_span": ("1", None, "Benefit at the peak dose, relative to the span from control to asymptote."),
    "effective_dose": (
        "dose",
        "effect",
        "Dose beyond the peak at which a percentage of the {reference} is lost (a rise: is reached).",
    ),
    "stimulation_dose_left": (
        "dose",
        "stimulation",
        "Dose below the peak at which the benefit is a percentage of the {reference}.",
    ),
    "stimulation_dose_right": (
        "dose",
        "stimulation",
        "Dose beyond the peak at which the benefit is back at a percentage of the {reference}.",
    ),
    "zone_fold": ("1", None, "Zero-equivalent dose per peak dose."),
    "window_fold": ("1", "stimulation", "Right stimulation dose per left stimulation dose."),
    "area_linear": ("response * dose", None, "Integral of the benefit over dose, up to the zero-equivalent dose."),
    "area_log": (
        "response",
        None,
        "Integral of the benefit over log dose, from the lowest positive tested dose to the zero-equivalent dose.",
    ),
    "area_ratio": (
        "1",
        None,
        "Benefit per mean response, both integrated over dose up to the zero-equivalent dose; needs a true zero.",
    ),
    "benchmark_dose": (
        "dose",
        "benchmark_kind",
        "Dose of a benchmark harm: beyond the peak the mean is worse than the control by the benchmark.",
    ),
    "benefit_dose": (
        "dose",
        "benchmark_kind",
        "Lowest dose of a benchmark benefit: the mean is better than the control by the benchmark.",
    ),
}
INTERVAL = (0.025, 0.975)  # the probabilities between which a quantity lies
PERCENT = {"units": "%", "long_name": ""}
TAIL = 1e-6  # an integral to infinity has converged when its integrand at the last dose is below this share of it


def derived_quantities(
    fit: xr.DataTree,
    *,
    effects: Sequence[float] = (10, 50),
    stimulations: Sequence[float] = (10,),
    relative_to: str = "span",
    benchmark: float = 0.10,
    benchmark_sd: float = 1.0,
    benchmark_kinds: Sequence[str] = tuple(BENCHMARKS),
) -> xr.Dataset:
    """Return the quantities of both limbs of the curve, per posterior draw.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of one curve or of an average.
    effects : sequence of float
        Percentages of the span, or of the control, that are lost beyond the peak; for a rise those that are reached.
    stimulations : sequence of float
        Percentages of the span, or of the control, by which the mean is better than the control.
    relative_to : {"span", "control"}
        What these percentages are of: the distance from the control to the asymptote at high doses, or the control.
    benchmark : float
        Benchmark response: a share for ``"relative"`` and ``"extra"``, in units of the response for ``"added"``.
    benchmark_sd : float
        Benchmark response of ``"sd"``, in residual SDs.
    benchmark_kinds : sequence of str
        Some of ``"relative"`` (to the control), ``"added"``, ``"extra"`` (relative to the span), ``"sd"``.

    Returns
    -------
    Dataset
        Over (chain, draw): ``peak_dose``, ``zero_equivalent_dose`` [dose], ``peak_response`` [response],
        ``peak_stimulation``, ``peak_stimulation_span``, ``zone_fold``, ``area_ratio`` [1], ``area_linear``
        [response * dose], ``area_log`` [response]. Over (chain, draw, effect): ``effective_dose`` [dose]. Over
        (chain, draw, stimulation): ``stimulation_dose_left``, ``stimulation_dose_right`` [dose], ``window_fold`` [1].
        Over (chain, draw, benchmark_kind): ``benchmark_dose``, ``benefit_dose`` [dose]. NaN where a draw has no such
        quantity; the attr ``exists_share`` of every variable is the posterior probability that it exists. For an
        average the draws are those of `window`, with ``model``, and the shares use the exact weights.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If a percentage, a benchmark or a name is out of range.

    Notes
    -----
    Doses are roots on the log-dose axis on either side of the peak, areas are Gauss-Legendre sums of the exact curve.
    A curve that returns to the control without crossing it has a zone without end: its areas reach to infinity where
    they converge, and it has no span. A ``benefit_dose`` is the lower edge of `window` without the limits of its
    domain.

    References
    ----------
    Belz and Piepho (2012), https://doi.org/10.1371/journal.pone.0033432; Deng, Graham and Shukla (2001), the areas,
    https://doi.org/10.1080/20018091094691.
    """
    asked = _Asked.checked(effects, stimulations, relative_to, benchmark, benchmark_sd, benchmark_kinds)
    group, trial = carrying(fit), trial_of(fit)
    solved = [_solve(member, trial, asked) for member in group]
    weights = np.array([member.weight for member in group])
    which, picks = mixture(group, int(fit.attrs["seed"]))
    result = xr.Dataset(coords=labels_of(fit) | asked.coords())
    for name, (unit, dim, text) in DERIVED.items():
        shares = [np.isfinite(one[name]).mean(axis=0) for one in solved]
        attrs = described(unit, trial, text.format(reference=relative_to))
        attrs |= {"units": _units(unit, trial), "long_name": name.replace("_", " ")}
        attrs["exists_share"] = _plain(sum(w * share for w, share in zip(weights / weights.sum(), shares, strict=True)))
        dims = ("chain", "draw") if dim is None else ("chain", "draw", dim)
        values = _gather(solved, which, picks, name)
        result[name] = dims, values.reshape(*group[0].shape, *values.shape[1:]), attrs
    if len(group) > 1:
        labels = np.array([member.label for member in group])[which].reshape(group[0].shape)
        result["model"] = ("chain", "draw"), labels, described("1", trial, "Curve that the draw belongs to.")
    result.attrs = {
        "relative_to": relative_to,
        "benchmark": float(benchmark),
        "benchmark_sd": float(benchmark_sd),
        "seed": int(fit.attrs["seed"]),
    }
    return result


def derived_of(fit: xr.DataTree) -> xr.Dataset:
    """Return the quantities of a fit: those that were stored in it, or those that are asked for by default."""
    if "derived" in fit:
        return fit["derived"].to_dataset()
    # Known standard errors leave no residual SD to estimate.
    spread = all(has_spread(member) for member in carrying(fit))
    return derived_quantities(fit, benchmark_kinds=[kind for kind in BENCHMARKS if spread or kind != "sd"])


def derived_rows(derived: xr.Dataset) -> list[dict[str, Any]]:
    """Summarise what `derived_quantities` returns beyond the quantities of the window.

    Returns
    -------
    list of dict
        ``quantity``, ``title``, ``unit``, ``median``, ``lower``, ``upper`` (equal-tailed 95 % given existence),
        ``share`` of the posterior in which it exists, ``definition``, and ``draws``, shape (chain, draw), NaN where it
        does not exist.
    """
    rows = []
    for name, variable in derived.data_vars.items():
        if name in QUANTITIES or name == "model":
            continue
        labels = [dim for dim in variable.dims if dim not in ("chain", "draw")]
        choices = variable[labels[0]].values if labels else [None]
        for choice, share in zip(choices, np.atleast_1d(variable.attrs["exists_share"]), strict=True):
            values = (variable.sel({labels[0]: choice}) if labels else variable).values
            row = _derived_row(str(name), choice, variable, values[np.isfinite(values)], float(share))
            rows.append(row | {"draws": values})
    return rows


def _derived_row(name: str, choice: Any, variable: xr.DataArray, kept: np.ndarray, share: float) -> dict[str, Any]:
    low, middle, high = np.quantile(kept, [INTERVAL[0], 0.5, INTERVAL[1]]) if kept.size else [np.nan] * 3
    chosen = "" if choice is None else choice if isinstance(choice, str) else f"{float(choice):g}"
    title, definition = name.replace("_", " ").capitalize(), str(variable.attrs["definition"])
    if chosen:
        said = chosen if isinstance(choice, str) else f"{chosen} %"
        title, definition = f"{title}, {said}", definition.replace("a percentage", said)
    return {
        "quantity": f"{name}_{chosen}" if chosen else name,
        "title": title,
        "unit": str(variable.attrs["units"]),
        "median": float(middle),
        "lower": float(low),
        "upper": float(high),
        "share": share,
        "definition": definition,
    }


def benchmark_table(
    fit: xr.DataTree,
    *,
    benchmark: float = 0.10,
    benchmark_sd: float = 1.0,
    benchmark_kinds: Sequence[str] = tuple(BENCHMARKS),
) -> pd.DataFrame:
    """Return benchmark doses of benefit and harm with their limits.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of one curve or of an average.
    benchmark, benchmark_sd : float
        Benchmark response, and that of ``"sd"``, as in `derived_quantities`.
    benchmark_kinds : sequence of str
        Some of ``"relative"``, ``"added"``, ``"extra"``, ``"sd"``.

    Returns
    -------
    DataFrame
        One row for each limb (``"benefit"``, ``"harm"``) and kind: ``benchmark``, ``unit``, posterior median ``BMD``,
        5 % and 95 % quantiles ``BMDL`` and ``BMDU`` [dose] given that the dose exists, ``ratio`` BMDU / BMDL, and the
        ``share`` of the posterior in which it exists.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If a benchmark or the name of a kind is out of range.

    References
    ----------
    Crump (1984), https://doi.org/10.1016/0272-0590(84)90107-6.
    """
    found = derived_quantities(
        fit,
        effects=(),
        stimulations=(),
        benchmark=benchmark,
        benchmark_sd=benchmark_sd,
        benchmark_kinds=benchmark_kinds,
    )
    rows = []
    for limb, name in (("benefit", "benefit_dose"), ("harm", "benchmark_dose")):
        doses = found[name]
        for kind, share in zip(
            found["benchmark_kind"].values.tolist(), np.atleast_1d(doses.attrs["exists_share"]), strict=True
        ):
            values = doses.sel(benchmark_kind=kind).values
            values = values[np.isfinite(values)]
            low, middle, high = np.quantile(values, [0.05, 0.5, 0.95]) if values.size else [np.nan] * 3
            row = {"limb": limb, "kind": kind, "benchmark": benchmark_sd if kind == "sd" else benchmark}
            row |= {"unit": doses.attrs["units"], "BMD": middle, "BMDL": low, "BMDU": high}
            rows.append(row | {"ratio": high / low if low > 0 else np.nan, "share": float(share)})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Asked:
    """What was asked for, checked."""

    effects: np.ndarray
    stimulations: np.ndarray
    relative_to: str
    benchmark: float
    benchmark_sd: float
    kinds: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        effects: Sequence[float],
        stimulations: Sequence[float],
        relative_to: str,
        benchmark: float,
        benchmark_sd: float,
        kinds: Sequence[str],
    ) -> _Asked:
        if relative_to not in REFERENCES:
            raise ValueError(unknown("reference", relative_to, REFERENCES))
        kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        for kind in kinds:
            if kind not in BENCHMARKS:
                raise ValueError(unknown("kind of benchmark", kind, BENCHMARKS))
        for name, value in (("benchmark", benchmark), ("benchmark_sd", benchmark_sd)):
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
                raise ValueError(f"{name} must be a number above 0, such as 0.1, got {value!r}.")
        most = 100 if relative_to == "span" else np.inf
        lost, gained = _percentages("effects", effects, most), _percentages("stimulations", stimulations, np.inf)
        return cls(lost, gained, relative_to, float(benchmark), float(benchmark_sd), kinds)

    def coords(self) -> dict[str, tuple]:
        return {
            "effect": ("effect", self.effects, PERCENT | {"definition": "Percentage lost, or of a rise reached."}),
            "stimulation": ("stimulation", self.stimulations, PERCENT | {"definition": "Percentage gained."}),
            "benchmark_kind": ("benchmark_kind", np.array(self.kinds, dtype=str)),
        }


def _percentages(name: str, values: Sequence[float], most: float) -> np.ndarray:
    try:
        found = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        found = np.array([np.nan])
    if found.ndim != 1 or not np.all((found > 0) & (found < most)):
        limit = "above 0" if most == np.inf else f"between 0 and {most:g}"
        raise ValueError(f"{name} must be percentages {limit}, such as (10, 50), got {values!r}.")
    return found


def _units(unit: str, trial: xr.Dataset) -> str:
    """Return a unit in the words of the trial; products are written with a star."""
    words = [described(part, trial, "")["units"] for part in unit.split(" * ")]
    return " * ".join(word for word in words if word)


def _plain(share: np.ndarray) -> float | list[float]:
    return np.asarray(share, dtype=float).tolist()


def _gather(solved: Sequence[Mapping[str, np.ndarray]], which: np.ndarray, picks: np.ndarray, name: str) -> np.ndarray:
    result = np.empty((len(which), *solved[0][name].shape[1:]))
    for k, one in enumerate(solved):
        result[which == k] = one[name][picks[which == k]]
    return result


def span_of(member: Member) -> np.ndarray:
    """Distance from the control to the asymptote at high doses, NaN without one, shape (sample,) [response]."""
    if member.curve.trend in ("returning", "open"):
        return np.full(member.size, np.nan)
    return member.depth


def _solve(member: Member, trial: xr.Dataset, asked: _Asked) -> dict[str, np.ndarray]:
    """Return the quantities of every draw, each of shape (sample,) or (sample, asked)."""
    crossing = Crossings.of(member, trial)
    found = crossing.landmarks()
    control, span = member.curve.control[:, 0], span_of(member)
    reference = span if asked.relative_to == "span" else np.abs(control)
    rising = member.curve.trend == "rising"

    def columns(solve: Callable[[np.ndarray], np.ndarray], levels: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([solve(level) for level in levels]).reshape(len(levels), member.size).T

    lost = [percent / 100 * reference for percent in asked.effects]
    gained = [percent / 100 * reference for percent in asked.stimulations]
    marks = [_benchmark(member, kind, span, asked) for kind in asked.kinds]
    left, right = columns(crossing.rise, gained), columns(crossing.fall, gained)
    effective = columns(crossing.rise, lost) if rising else columns(crossing.fall, [-level for level in lost])
    with np.errstate(divide="ignore", invalid="ignore"):
        found |= {
            "peak_stimulation_span": member.curve.sign * (found["peak_response"] - control) / span,
            "effective_dose": effective,
            "stimulation_dose_left": left,
            "stimulation_dose_right": right,
            "zone_fold": found["zero_equivalent_dose"] / found["peak_dose"],
            "window_fold": right / left,
            "benchmark_dose": columns(crossing.fall, [-level for level in marks]),
            "benefit_dose": columns(crossing.rise, marks),
        }
    return found | _areas(crossing, found, float(trial["dose"].values[trial["dose"].values > 0].min()))


def _benchmark(member: Member, kind: str, span: np.ndarray, asked: _Asked) -> np.ndarray:
    """Return a benchmark response as a distance from the control, shape (sample,) [response]."""
    match kind:
        case "relative":
            return asked.benchmark * np.abs(member.curve.control[:, 0])
        case "added":
            return np.full(member.size, asked.benchmark)
        case "extra":
            return asked.benchmark * span
        case _:
            return asked.benchmark_sd * member.spread


def _areas(crossing: Crossings, found: Mapping[str, np.ndarray], lowest: float) -> dict[str, np.ndarray]:
    """Return the areas under the zone of benefit of every draw."""
    member, zero = crossing.member, found["zero_equivalent_dose"]
    linear, logarithmic = np.full(member.size, np.nan), np.full(member.size, np.nan)
    endless = member.curve.trend == "returning"
    chosen = np.flatnonzero(np.isfinite(found["peak_dose"]) & (endless | np.isfinite(zero)))
    if chosen.size:
        part, peak, to_end = member.take(chosen), crossing.peak[chosen], np.isnan(zero[chosen])
        end = np.where(to_end, crossing.grid[-1], np.log(np.where(to_end, 1.0, zero[chosen])))
        # Below e^-36 of the peak dose there is no area that a float could tell.
        linear[chosen] = _integral(part, peak - 36, peak, end, to_end, power=1)
        start = np.full(chosen.size, np.log(lowest))
        area = _integral(part, start, np.clip(peak, start, np.maximum(start, end)), end, to_end, power=0)
        logarithmic[chosen] = np.where(end > start, area, np.nan)
    mean = member.curve.control[:, 0] * zero + member.curve.sign * linear
    usable = (mean > 0) & (member.curve.scale == "ratio")
    ratio = np.divide(linear, mean, out=np.full(member.size, np.nan), where=usable)
    return {"area_linear": linear, "area_log": logarithmic, "area_ratio": ratio}


def _graded_rule(panels: int = 16, order: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights on (0, 1): Gauss-Legendre in panels that widen from 0."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(0, 1, panels + 1) ** 2
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


NODES, WEIGHTS = _graded_rule()


def _integral(
    part: Member, low: np.ndarray, middle: np.ndarray, high: np.ndarray, to_end: np.ndarray, *, power: int
) -> np.ndarray:
    """Integrate the gain over log dose, times dose to a power; NaN where an integral to infinity diverges."""

    def integrand(log_dose: np.ndarray) -> np.ndarray:
        values = part.gain(np.exp(log_dose)) * np.exp(power * log_dose)
        return np.broadcast_to(values, log_dose.shape)

    total = sum(
        np.abs(edge - middle) * (integrand(middle[:, None] + (edge - middle)[:, None] * NODES) @ WEIGHTS)
        for edge in (low, high)
    )
    rest = np.abs(integrand(high[:, None])[:, 0])
    return np.where(to_end & ~(rest <= TAIL * np.abs(total)), np.nan, total)
