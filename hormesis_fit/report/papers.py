"""The tables of a paper: results as they are printed, with captions, units and notes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.phrases import benefit_words, level_words, printable, unit_of, verb
from hormesis_fit.report.rounding import EXACT, Exactness, place_of, probable, rounded, weight_error
from hormesis_fit.vocabulary import FLAGS, QUANTITIES, VERDICTS
from hormesis_fit.windows.derived import INTERVAL, derived_of, derived_rows
from hormesis_fit.windows.estimands import PERSON
from hormesis_fit.windows.posterior import Member, check_fit, members
from hormesis_fit.windows.prediction import outcome_of
from hormesis_fit.windows.summary import quantity, status
from hormesis_fit.windows.windowing import level_pieces

LEVELS = (0.5, *INTERVAL)
TITLES = {"window_lower": "Lower edge of the window", "window_upper": "Upper edge of the window"}
ROUNDED = "Numbers end with the last digit that their Monte Carlo error supports."
QUANTITY_HEADS = ["Quantity", "Meaning", "Median", "95 % interval", "P(exists)"]
QUANTITY_NOTES = (
    "Median and equal-tailed 95 % interval, given that the quantity exists; P(exists) is the posterior probability "
    "that it does.",
    ROUNDED,
)
ENGINES = {"importance": "importance sampling", "nuts": "NUTS"}
CENTRAL = 1.2816  # SDs on either side of a central 80 %
STEP = 0.1  # of log dose, over which the slope of a probability is taken


def paper_tables(source: xr.DataTree | xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return the tables of a paper, ready to be printed.

    Parameters
    ----------
    source : DataTree or Dataset
        A fit, whose window is read from ``fit["window"]`` or computed with the default benefit; or a plan, as
        `next_doses` and `optimal_design` return it.

    Returns
    -------
    dict of DataFrame
        Of a fit: ``"window"``, ``"summary"`` (quantities of the dose-response), ``"derived"`` (those of both limbs),
        ``"models"`` (evidence, weights and health) and ``"parameters"`` (priors and posteriors). Of a plan:
        ``"design"``. Cells are text, units stand in the heads; ``attrs["caption"]`` and ``attrs["notes"]`` belong to
        each. Numbers that were not rounded are in `summary_table`.

    Raises
    ------
    TypeError
        If the source is neither a fit with draws nor a plan.

    Notes
    -----
    A number ends with the last digit that its Monte Carlo error supports, and has at most three significant digits;
    log evidences have at most two decimals, since only their differences count. Errors of shares and quantiles follow
    from the effective number of draws, those of weights from the errors of the log evidences, that of a window's edge
    from the error of its probability and the slope there. Doses of an optimum have two digits, and a plan those with
    which it can be carried out.
    """
    if isinstance(source, xr.Dataset):
        return {"design": _design(source)}
    check_fit(source)
    fit = source
    if "window" not in fit:
        fit = fit.copy()
        fit["window"] = window_of(fit)
    window, trial = fit["window"].to_dataset(), outcome_of(fit)
    exact, derived = Exactness.of(fit, window), derived_of(fit)
    return {
        "window": _window(fit, window, trial, exact),
        "summary": _summary(window, trial, exact),
        "derived": _derived(derived, trial, Exactness.of(fit, derived)),
        "models": _models(fit, trial),
        "parameters": _parameters(fit, trial),
    }


def _frame(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, notes: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame([list(row) for row in rows], columns=list(heads), dtype=object)
    table.attrs = {"caption": caption, "notes": [note for note in notes if note]}
    return table


def _headed(name: str, unit: str) -> str:
    unit = printable("" if unit == "1" else unit)
    return f"{name} ({unit})" if unit else name


def _of(trial: xr.Dataset) -> str:
    """What a caption says of the trial, after its own words."""
    name = printable(trial.attrs.get("name", ""))
    return f", trial {name}" if name and name != "trial" else ""


def _range(low: str, high: str) -> str:
    return f"{low} to {high}"


# --- the window ------------------------------------------------------------------------------------------------------


def _window(fit: xr.DataTree, window: xr.Dataset, trial: xr.Dataset, exact: Exactness) -> pd.DataFrame:
    standard = float(trial.attrs.get("standard_dose", math.nan))
    inside = _Inside(window, exact)
    unit = str(trial["dose"].attrs.get("units", ""))
    rows = [["Status", status(fit), ""]]
    for level in window["window_level"].values.tolist():
        pieces = [[(edge, inside.edge_error(edge)) for edge in piece] for piece in level_pieces(window, level)]
        texts = [_pieces(pieces, scale) for scale in (1.0, 100 / standard)]
        rows.append([_headed(f"Doses with a probability of at least {100 * level:.3g} %", unit), *texts])
    missed = None if level_pieces(window) else float(window.attrs["level"])
    best = float(window["best_dose"]), inside.best_error()
    optimal = float(window["optimal_dose"]), math.nan
    near = [[(float(end), math.nan) for end in window["near_optimal"].values]]
    evidence = fit["evidence"].to_dataset()
    shares = {
        "Highest probability of any one dose": (window["max_probability"], inside.share(best[0])),
        "Probability that there is a window at all": (window["prob_exists"], exact.share(inside.exists)),
    }
    rows += [
        [_headed("Dose with the highest probability", unit), *_scaled(best, standard)],
        *([name, probable(float(value), error, below=missed), ""] for name, (value, error) in shares.items()),
        [_headed("Dose of the highest expected utility", unit), *_scaled(optimal, standard)],
        [_headed("Doses nearly as good", unit), *(_pieces(near, scale) for scale in (1.0, 100 / standard))],
        ["P(hormesis)", _hormesis(evidence), ""],
    ]
    flags = str(window.attrs["flags"]).split()
    rows.append(["Flags", ", ".join(flags) or "none", ""])
    known = math.isfinite(standard)
    heads = ["", "Result", "% of standard dose"]
    asked = f"Question: which doses {verb(trial)} {benefit_words(window, trial)}, with a probability of at least"
    notes = [
        f"{asked} {level_words(window)}?{'' if window.attrs.get('stated', 1) else ' The benefit is the default.'}",
        f"{status(fit)}: {VERDICTS[status(fit)]}",
        *(f"{flag}: {FLAGS[flag]}" for flag in flags),
        "Doses nearly as good have at most 1.1 times the smallest expected regret.",
        ROUNDED,
    ]
    caption = f"The micro-dose window{_of(trial)}."
    return _frame(heads if known else heads[:2], [row if known else row[:2] for row in rows], caption, notes)


def _hormesis(evidence: xr.Dataset) -> str:
    return probable(float(evidence["prob_hormesis"]), weight_error(evidence, evidence["hormetic"].values))


class _Inside:
    """Which draws have a dose inside their window, and how exact numbers are that follow from it."""

    def __init__(self, window: xr.Dataset, exact: Exactness) -> None:
        self.exists = window["exists"].values.ravel().astype(bool)
        self.lower, self.upper = (window[f"window_{side}"].values.ravel() for side in ("lower", "upper"))
        self.grid, self.best, self.exact = window["dose"].values, float(window["best_dose"]), exact
        self.domain = [float(end) for end in window.attrs["domain"]]

    def at(self, dose: float) -> np.ndarray:
        """Whether each draw has the dose inside its window."""
        with np.errstate(invalid="ignore"):
            return self.exists & (self.lower <= dose) & (dose <= self.upper)

    def share(self, dose: float) -> float:
        """Monte Carlo error of the probability of a dose."""
        return self.exact.share(self.at(dose))

    def edge_error(self, dose: float) -> float:
        """Monte Carlo error of a dose at which the probability crosses a level."""
        if any(math.isclose(dose, end) for end in self.domain):
            return EXACT
        slope = abs(self.at(dose * math.exp(STEP)).mean() - self.at(dose * math.exp(-STEP)).mean()) / (2 * STEP)
        return dose * self.share(dose) / slope if slope else math.inf

    def best_error(self) -> float:
        """Half the range of doses whose probability may be the highest, as far as the same draws can tell."""
        if not math.isfinite(self.best):
            return math.nan
        top, near = self.at(self.best), [self.best]
        for dose in self.grid.tolist():
            other = self.at(dose)
            if top.mean() - other.mean() <= math.sqrt(np.mean(top != other) / self.exact.size):
                near.append(dose)
        return (max(near) - min(near)) / 2


def _scaled(dose: tuple[float, float], standard: float) -> list[str]:
    return [rounded(dose[0] * scale, dose[1] * scale) for scale in (1.0, 100 / standard)]


def _pieces(pieces: Sequence[Sequence[tuple[float, float]]], scale: float) -> str:
    texts = [_range(*(rounded(dose * scale, error * scale) for dose, error in piece)) for piece in pieces]
    return " and ".join(texts) or "none"


# --- quantities ------------------------------------------------------------------------------------------------------


def _summary(window: xr.Dataset, trial: xr.Dataset, exact: Exactness) -> pd.DataFrame:
    rows = []
    for name, (_, definition) in QUANTITIES.items():
        values = window[name].values.ravel()
        edge = name in ("window_lower", "window_upper")
        kept = window["exists"].values.ravel().astype(bool) if edge else np.isfinite(values)
        title = _headed(TITLES.get(name, name.replace("_", " ").capitalize()), window[name].attrs["units"])
        rows.append(_quantity(title, definition, quantity(window, name), values, kept, exact))
    notes = [
        f"Benefit: {verb(trial)} {benefit_words(window, trial)}.",
        *QUANTITY_NOTES,
    ]
    return _frame(QUANTITY_HEADS, rows, f"Posterior of the quantities of the dose-response{_of(trial)}.", notes)


def _derived(derived: xr.Dataset, trial: xr.Dataset, exact: Exactness) -> pd.DataFrame:
    rows, former = [], ""
    for one in derived_rows(derived):
        values = one["draws"].ravel()
        title = _headed(str(one["title"]), str(one["unit"]))
        meaning = "" if one["definition"] == former else one["definition"]
        former = one["definition"]
        rows.append(_quantity(title, meaning, one, values, np.isfinite(values), exact))
    notes = [
        f"Benchmarks are {100 * float(derived.attrs['benchmark']):g} % of the control or of the span, "
        f"{float(derived.attrs['benchmark']):g}{unit_of(trial['response'])} (added), or "
        f"{float(derived.attrs['benchmark_sd']):g} residual SD.",
        *QUANTITY_NOTES,
    ]
    return _frame(
        QUANTITY_HEADS, rows, f"Posterior of the quantities of both limbs of the dose-response{_of(trial)}.", notes
    )


def _quantity(
    title: str, definition: str, found: Mapping[str, Any], values: np.ndarray, kept: np.ndarray, exact: Exactness
) -> list[str]:
    """One row: a quantity, its meaning, median, interval and probability to exist."""
    middle, low, high = _numbers(found, exact.quantiles(values, LEVELS, kept))
    interval = _range(low, high) if kept.any() else "–"
    return [title, definition, middle, interval, probable(float(found["share"]), exact.share(kept))]


def _numbers(found: Mapping[str, float], errors: Sequence[float]) -> list[str]:
    return [rounded(found[key], error) for key, error in zip(("median", "lower", "upper"), errors, strict=True)]


def _parameters(fit: xr.DataTree, trial: xr.Dataset) -> pd.DataFrame:
    rows = [row for member in members(fit) for row in _parameter_rows(fit, member)]
    notes = [
        "Priors are in the units of the trial: Normal(mean, SD), HalfNormal(scale), LogNormal(mean and SD of the log), "
        "TruncatedNormal(mean, SD, lower limit), Exponential(scale), others as PyMC names them.",
        "Median and equal-tailed 95 % interval of the posterior, curve by curve.",
        ROUNDED,
    ]
    heads = ["Curve", "Parameter", "Meaning", "Prior", "Median", "95 % interval"]
    return _frame(heads, rows, f"Priors and posteriors of the parameters of every curve{_of(trial)}.", notes)


def _parameter_rows(fit: xr.DataTree, member: Member) -> list[list[str]]:
    exact, rows = Exactness.of_curve(fit, member.label, member.size), []
    slopes = json.loads(member.draws.attrs.get("slopes", "[]"))
    hidden = {f"{parameter}_slope" for parameter, formula, _ in slopes if PERSON in formula}
    for name, variable in member.draws.data_vars.items():
        if "prior" not in variable.attrs or name in hidden:  # offsets of groups have no prior of their own
            continue
        further = [dim for dim in variable.dims if dim != "sample"]
        for label in variable[further[0]].values if further else [None]:
            values = (variable if label is None else variable.sel({further[0]: label})).values
            low, middle, high = np.quantile(values, [INTERVAL[0], 0.5, INTERVAL[1]])
            found = {"median": float(middle), "lower": float(low), "upper": float(high)}
            texts = _numbers(found, exact.quantiles(values, LEVELS))
            title = str(name).replace("_", " ") + ("" if label is None else f", {printable(label)}")
            first = "" if rows else member.label
            attrs = variable.attrs
            title = _headed(title, str(attrs["units"]))
            rows.append([first, title, printable(attrs["definition"]), attrs["prior"], texts[0], _range(*texts[1:])])
    return rows


# --- evidence and design ---------------------------------------------------------------------------------------------


def _models(fit: xr.DataTree, trial: xr.Dataset) -> pd.DataFrame:
    evidence = fit["evidence"].to_dataset()
    columns: dict[str, list[str]] = {"Curve": [str(one) for one in evidence["model"].values]}
    columns["Kind"] = ["hormetic" if one else "not hormetic" for one in evidence["hormetic"].values]
    columns["Prior weight"] = [probable(float(one), EXACT) for one in evidence["prior_weight"].values]
    pairs = zip(evidence["log_evidence"].values, evidence["log_evidence_se"].values, strict=True)
    columns["Log evidence"] = [_evidence(float(value), float(error)) for value, error in pairs]
    each = np.eye(evidence.sizes["model"], dtype=bool)
    errors = [weight_error(evidence, one) for one in each]
    columns["Weight"] = [
        probable(float(w), max(e, 1e-9)) for w, e in zip(evidence["weight"].values, errors, strict=True)
    ]
    columns["Engine"] = [ENGINES.get(str(one), str(one)) for one in evidence["engine"].values]
    columns["ESS"] = [rounded(float(one), math.nan) for one in evidence["ess"].values]
    columns["k-hat"] = ["–" if np.isnan(one) else f"{one:.2f}".replace("-", "−") for one in evidence["pareto_k"].values]
    columns["R-hat"] = ["–" if np.isnan(one) else f"{one:.3f}" for one in evidence["max_rhat"].values]
    sampled = np.isfinite(evidence["max_rhat"].values)
    numbers = zip(evidence["divergences"].values, sampled, strict=True)
    columns["Divergences"] = [str(int(one)) if known else "–" for one, known in numbers]
    kept = {head: cells for head, cells in columns.items() if head == "Curve" or set(cells) != {"–"}}
    sick = [str(one) for one in evidence["model"].values[evidence["sick"].values.astype(bool)]]
    remarks = zip(evidence["model"].values, evidence["note"].values, strict=True)
    notes = [
        f"Weights are the {evidence.attrs['weighted_by']} of each curve within the set.",
        "Log evidence with its Monte Carlo error; ESS, effective sample size"
        + ("; k-hat, Pareto shape of the importance weights, healthy below 0.7" if "k-hat" in kept else "")
        + ("; R-hat, healthy below 1.01" if "R-hat" in kept else "")
        + ".",
        f"The computation stayed unhealthy for {', '.join(sick)}." if sick else "",
        *(f"{label}: {printable(note)}." for label, note in remarks if note),
    ]
    rows = list(zip(*kept.values(), strict=True))
    return _frame(list(kept), rows, f"Evidence for the curves, their weights and their computation{_of(trial)}.", notes)


def _evidence(value: float, error: float) -> str:
    if not math.isfinite(value):
        return "–"
    places = min(max(-place_of(error), 0), 2)
    return f"{value:.{places}f} ± {max(error, 10.0**-places):.{places}f}".replace("-", "−")


def _design(plan: xr.Dataset) -> pd.DataFrame:
    if "loss" in plan and "replicates" in plan:
        return _next(plan)
    if "support" in plan.dims and "weight" in plan:
        return _optimal(plan)
    raise TypeError(
        f"Expected a fit, or the plan that next_doses() or optimal_design() returns, got a Dataset of "
        f"{', '.join(map(str, plan.data_vars)) or 'nothing'}."
    )


def _next(plan: xr.Dataset) -> pd.DataFrame:
    unit, attrs = str(plan["dose"].attrs.get("units", "")), plan.attrs
    informed = attrs["goal"] == "information"
    rows = [
        [rounded(float(dose), EXACT), str(int(count)), rounded(float(loss), math.nan)]
        for dose, count, loss in zip(plan["dose"].values, plan["replicates"].values, plan["loss"].values, strict=True)
    ]
    goal = "information on the existence and the edges of the window" if informed else "decrease of the regret"
    gain = rounded(float(plan["expected_gain"]), math.nan) + (" nat" if informed else "")
    spreads = zip(plan["edge"].values, plan["sd"].values, plan["expected_sd"].values, strict=True)
    factors = [(edge, *(rounded(math.exp(CENTRAL * sd), math.nan) for sd in two)) for edge, *two in spreads]
    probe = attrs.get("probe_dose")
    notes = [
        f"{attrs['n']} rows that together bring the most {goal} ({gain}); at least {100 * attrs['controls']:g} % are "
        "controls.",
        *(
            f"80 % interval of the {edge} edge: × / ÷ {now} now, {later} expected."
            for edge, now, later in factors
            if now != "–"
        ),
        f"Limits: {printable(attrs['harms'])}; a dose exceeds each with a probability of at most "
        f"{attrs['harm_probability']:g}."
        if attrs["harms"]
        else "",
        f"Probe dose for a drift of potency: {rounded(probe, EXACT)}{f' {printable(unit)}' if unit else ''}."
        if probe is not None
        else "",
    ]
    heads = [_headed("Dose", unit), "Rows", _headed("Loss without one row", "nat" if informed else "")]
    return _frame(heads, rows, "Doses to measure next.", notes)


def _optimal(plan: xr.Dataset) -> pd.DataFrame:
    attrs, counted = plan.attrs, "replicates" in plan
    heads = ["Dose", "Share of rows"]
    rows = [
        [rounded(float(dose), EXACT), f"{float(weight):.3f}"]
        for dose, weight in zip(plan["dose"].values, plan["weight"].values, strict=True)
    ]
    if counted:
        heads.append("Rows")
        rows = [[*row, str(int(count))] for row, count in zip(rows, plan["replicates"].values, strict=True)]
    quantity = printable(attrs["quantity"]).replace("_", " ")
    aims = {
        "D": "D-optimal: for all parameters",
        "c": f"c-optimal: for {quantity}",
        "compound": f"D- and c-optimal alike: for all parameters, and for {quantity}",
    }
    notes = [
        f"{aims[attrs['criterion']]}, of {attrs['curves']} ({attrs['estimates']} parameters).",
        f"Efficiency against the best design without conditions: {attrs['efficiency']:.2f}; largest sensitivity: "
        f"{attrs['max_sensitivity']:.3f}.",
    ]
    return _frame(heads, rows, "Optimal design.", notes)


__all__ = ["paper_tables"]
