"""What a reviewer asks of a fit: a table for every question, and one sentence that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.checks.hypotheses import bayes_factors, stimulation_evidence
from hormesis_fit.checks.identifiability import drift_identifiability, drifts
from hormesis_fit.checks.predictive import left_out_densities, predictive_weights
from hormesis_fit.checks.scaling import power_scaling
from hormesis_fit.checks.sensitivity import LOWEST_ESS, predictive_groups
from hormesis_fit.figures.drawing import chance, crowds, equals, number
from hormesis_fit.phrases import printable, unit_of
from hormesis_fit.report.tables import Table, headed, table
from hormesis_fit.windows.posterior import trial_of
from hormesis_fit.windows.summary import derived_rows
from hormesis_fit.windows.windowing import level_pieces

CARRIES = 0.05  # weight from which a curve has a say in whether another one would move the window
LIMBS = {"Benefit": "benefit_dose", "Harm": "benchmark_dose"}
HIGH_K = 0.7  # k-hat above which re-weighted draws are not to be trusted


def curves_reading(fit: xr.DataTree, windows: Mapping[str, xr.Dataset]) -> str:
    """Say whether the window survives the choice of the curve."""
    weights, unit = fit["evidence"]["weight"], unit_of(trial_of(fit)["dose"])
    heavy = [one for label, one in windows.items() if float(weights.sel(model=label)) >= CARRIES]
    found = [pieces for pieces in map(level_pieces, heavy) if pieces]
    many = "The one curve" if len(heavy) == 1 else f"Of the {len(heavy)} curves"
    if not found:
        ending = "has no window at this level" if len(heavy) == 1 else "none has a window at this level by itself"
        return f"{many} with a weight of at least {CARRIES:g}{' ' if len(heavy) == 1 else ', '}{ending}."
    if len(heavy) == 1:
        return f"{many} with a weight of at least {CARRIES:g} has a window at this level: no other one could move it."
    lower, upper = [pieces[0][0] for pieces in found], [pieces[-1][1] for pieces in found]
    have = "all have" if len(found) == len(heavy) else f"{len(found)} {'has' if len(found) == 1 else 'have'}"
    places = f"it begins at {_range(lower)}{unit} and ends at {_range(upper)}{unit}"
    decides = "" if len(found) == len(heavy) else "; the choice of the curve would decide whether there is one"
    return f"{many} with a weight of at least {CARRIES:g}, {have} a window at this level: {places}{decides}."


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def evidence_part(fit: xr.DataTree, windows: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return the strength of the evidence: Bayes factors, what they need beforehand, and the rope."""
    found = stimulation_evidence(fit, windows=windows)
    edge = f"{100 * found.attrs['rope'][1]:g} %"
    rows = []
    for label in found["model"].values:
        one = found.sel(model=label)
        low, high = one["hdi"].values
        negligible = float(one["bayes_factor_negligible"])
        factor = 1 / negligible if negligible else np.inf
        shares = [chance(1 - float(one["prior_below"])), chance(float(one["prob_above"]))]
        rows.append(
            [str(label), *shares, number(factor), f"{number(low)} to {number(high)}", str(one["verdict"].values)]
        )
    headers = ["Curve", "Before the data", "After", "Bayes factor", "Peak stimulation, 95 % HDI", "Verdict"]
    caption = f"A peak stimulation of at least {edge} of the control against a smaller one, curve by curve."
    average = float(found["prob_above_average"])
    return {
        "evidence_table": table(headers, rows, caption),
        "evidence_reading": f"{_factor_words(fit)} The probability that the peak lies at least {edge} above the "
        f"control, over all curves by weight, is {_said(average)}."
        if rows
        else "No hormetic curve was fitted, so there is no evidence for or against hormesis.",
        "rope": edge,
        "has_evidence": bool(rows),
    }


def _factor_words(fit: xr.DataTree) -> str:
    found = bayes_factors(fit)
    factor, needed = float(found["bayes_factor_hormesis"]), float(found["prior_needed"])
    if not np.isfinite(factor):
        return "All curves are hormetic, so there is no Bayes factor against others."
    before, error = float(fit["evidence"].attrs["prior_hormesis"]), float(found["log_bayes_factor_hormesis_se"])
    side = "hormetic curves against the others" if factor >= 1 else "other curves against the hormetic ones"
    # A reading of the data alone: the odds before them are the reader's.
    return (
        f"The Bayes factor for the {side} is {number(max(factor, 1 / factor))} (Monte Carlo error of its logarithm "
        f"{max(error, 0.01):.2f}), which turns P(hormesis) from {chance(before)} into "
        f"{_said(float(fit['evidence']['prob_hormesis']))}. Smallest prior P(hormesis) that would give 0.95 now: "
        f"{_said(needed)}."
    )


def _said(probability: float) -> str:
    """Write a probability inside a sentence."""
    return chance(probability).replace(">", "more than ").replace("<", "less than ")


def prediction_part(fit: xr.DataTree) -> dict[str, Any]:
    """Return the predictive weights, or nothing where there is only one curve, or no likelihood of the rows."""
    trees = fit["models"].children.values() if "models" in fit else []
    if len(trees) < 2 or not all("log_likelihood" in tree for tree in trees):
        return {"prediction_table": None, "prediction_reading": ""}
    try:
        known = left_out_densities(fit)
    except ValueError:  # a sick fit may repeat a few draws so often that nothing can be left out of it
        return {"prediction_table": None, "prediction_reading": ""}
    stacking, pseudo = (predictive_weights(fit, method=one, left_out=known) for one in ("stacking", "pseudo-bma"))
    rows = []
    for label in stacking["model"].values:
        one = stacking.sel(model=label)
        # Without the rounding of the optimiser that stacks.
        stacked = float(one["weight"]) if one["weight"] > 1e-6 else 0.0
        weights = fit["evidence"]["weight"].sel(model=label), stacked, pseudo["weight"].sel(model=label)
        lost = f"{float(one['elpd_diff']):.1f} ± {float(one['dse']):.1f}" if one["elpd_diff"] else "best"
        rows.append([str(label), *(chance(float(weight)) for weight in weights), lost, str(int(one["high_k"]))])
    high = int(stacking["high_k"].sum())
    doubt = f" {high} k-hat values exceed {HIGH_K:g}: these densities are approximate." if high else ""
    headers = [
        "Curve",
        "Posterior probability",
        "Stacking",
        "Pseudo-BMA+",
        "elpd against the best",
        f"k-hat > {HIGH_K:g}",
    ]
    return {
        "prediction_table": table(headers, rows, "How well each curve predicts a response left out."),
        "prediction_reading": "Posterior probabilities ask which curve made the data; these weights ask which mixture "
        "of curves predicts one more response at the same doses best. They are no probabilities of hormesis, and with "
        f"fewer than 100 responses their errors are too small.{doubt}",
    }


def groups_part(fit: xr.DataTree, *, hidden: bool = False) -> dict[str, Any]:
    """Return the posterior predictive check by dose group; `hidden` leaves out the responses of a few subjects."""
    check, trial = predictive_groups(fit), trial_of(fit)
    told = {one for one, _ in crowds(trial)} if hidden else set(check["dose"].values.tolist())
    dose_unit, response_unit = (printable(trial[name].attrs.get("units", "")) for name in ("dose", "response"))
    rows = []
    for dose in check["dose"].values:
        one = {key: float(check[key].sel(dose=dose)) for key in check.data_vars}
        interval = f"{number(one['lower'])} to {number(one['upper'])}"
        seen = number(one["observed"]) if float(dose) in told else "–"
        shown = [seen, number(one["median"]), interval, chance(one["tail"])]
        rows.append([number(float(dose)), str(int(one["responses"])), *shown])
    outside = int(((check["observed"] < check["lower"]) | (check["observed"] > check["upper"])).sum())
    headers = [headed("Dose", dose_unit), "Rows", headed("Observed mean", response_unit), "Predicted", "95 %", "Tail"]
    return {
        "group_table": table(headers, rows, "Posterior predictive check by dose group.", words=0),
        "group_reading": f"{outside or 'None'} of the {len(rows)} observed group means "
        f"{'lies' if outside == 1 else 'lie'} outside the central 95 % of the predicted ones.",
    }


def scaling_part(fit: xr.DataTree, windows: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return the answer with the priors and the data weakened and strengthened."""
    trees = fit["models"].children.values() if "models" in fit else [fit]
    if not all("log_prior" in tree for tree in trees):
        return {"scaling_table": None, "scaling_reading": "The fit was updated by re-weighting: fit anew to see this."}
    found = power_scaling(fit, windows=windows)
    unit = printable(found["peak_dose"].attrs["units"])
    rows = []
    low, _, high = found["alpha"].values
    wanted = [("prior", 1.0, "as fitted")]
    wanted += [
        (component, power, f"{name} to the {power:g}")
        for component, name in (("prior", "priors"), ("likelihood", "data"))
        for power in (low, high)
    ]
    for component, power, changed in wanted:
        one = found.sel(component=component, alpha=power)
        answers = [chance(float(one[name])) for name in ("prob_hormesis", "prob_exists")]
        doses = [number(float(one[name])) for name in ("window_lower", "window_upper", "peak_dose")]
        rows.append(
            [changed, *answers, *doses, number(float(one["pareto_k"]) if np.isfinite(one["pareto_k"]) else np.nan)]
        )
    headers = ["Changed", "P(hormesis)", "P(window exists)"]
    headers += [headed(name, unit) for name in ("Lower edge", "Upper edge", "Peak dose")]
    moved = [float(np.ptp(found["prob_exists"].sel(component=one).values)) for one in ("prior", "likelihood")]
    more = "less on the priors than on the data" if moved[0] <= moved[1] else "more on the priors than on the data"
    worst = float(found["pareto_k"].max())
    doubt = f" k-hat reaches {number(worst)}: fit again rather than trust that row." if worst > HIGH_K else ""
    return {
        "scaling_table": table(
            [*headers, "k-hat"],
            rows,
            "The answer with priors or data weakened (power below 1) and strengthened; doses are medians.",
        ),
        "scaling_reading": f"P(window exists) moves by {moved[0]:.2f} with the priors and by {moved[1]:.2f} "
        f"with the data: the answer leans {more}.{doubt}",
    }


def prior_reading(result: xr.Dataset) -> str:
    """Say how far three priors of the stimulation move the answer."""
    words = []
    for name, shown in (("prob_hormesis", "P(hormesis)"), ("prob_exists", "P(window exists)")):
        values = result[name].values[np.isfinite(result[name].values)]
        if values.size > 1:
            words.append(f"{shown} runs from {_said(values.min())} to {_said(values.max())}")
    if not words:
        return f"Fewer than {LOWEST_ESS} effective draws are left under the other priors."
    return f"{' and '.join(words)} over these priors."


def derived_part(derived: xr.Dataset, trial: xr.Dataset) -> dict[str, Any]:
    """Return the quantities of both limbs and the benchmark doses, with the share in which they exist."""
    rows = []
    for one in derived_rows(derived.drop_vars(LIMBS.values())):
        unit = "" if one["unit"] == "1" else one["unit"]
        interval = f"{number(one['lower'])} to {number(one['upper'])}" if one["share"] > 0 else "–"
        name = headed(str(one["title"]), printable(unit))
        rows.append([name, one["definition"], number(one["median"]), interval, chance(one["share"])])
    headers = ["Quantity", "Meaning", "Median", "95 % interval", "Exists in"]
    marks = [[_benchmark_words(str(kind), derived, trial)] for kind in derived["benchmark_kind"].values]
    for row, kind in zip(marks, derived["benchmark_kind"].values, strict=True):
        for name in LIMBS.values():
            doses = derived[name].sel(benchmark_kind=kind).values
            kept = doses[np.isfinite(doses)]
            low, middle, high = np.quantile(kept, [0.05, 0.5, 0.95]) if kept.size else [np.nan] * 3
            index = derived["benchmark_kind"].values.tolist().index(kind)
            share = np.atleast_1d(derived[name].attrs["exists_share"])[index]
            row += [number(middle), f"{number(low)} to {number(high)}" if kept.size else "–", chance(float(share))]
    unit = printable(derived["peak_dose"].attrs["units"])
    heads = [[headed(f"{limb} dose", unit), "BMDL to BMDU", "Exists in"] for limb in LIMBS]
    return {
        "derived_table": table(headers, rows, "Both limbs of the curve, given that they exist.", words=2),
        "benchmark_table": table(
            ["Benchmark", *heads[0], *heads[1]],
            marks,
            "Benchmark doses of benefit and harm: posterior median, 5 % and 95 % quantile.",
        ),
    }


def _benchmark_words(kind: str, derived: xr.Dataset, trial: xr.Dataset) -> str:
    size = float(derived.attrs["benchmark"])
    words = {
        "relative": f"{100 * size:g} % of the control",
        "added": f"{size:g}{unit_of(trial['response'])}",
        "extra": f"{100 * size:g} % of the span to the asymptote",
        "sd": f"{float(derived.attrs['benchmark_sd']):g} residual SD",
    }
    return words[kind]


def dose_out_part(fit: xr.DataTree) -> dict[str, Any]:
    """Return what leaving one dose out says, where the fit holds it."""
    if "leave_one_dose_out" not in fit:
        return {"dose_out_table": None}
    found, unit = fit["leave_one_dose_out"].to_dataset(), unit_of(trial_of(fit)["dose"]).strip()
    rows = []
    for dose in found["dose"].values:
        one = found.sel(dose=dose)
        known = np.isfinite(one["log_density"])
        best = str(one["model"].values[np.nanargmax(one["model_log_density"].values)]) if known else "–"
        each = float(one["log_density"]) / int(one["responses"])
        rows.append(
            [number(float(dose)), str(int(one["responses"])), number(each), best, printable(one["note"].item())]
        )
    headers = [headed("Dose left out", unit), "Rows", "Log density per row", "Predicted best by", "Note"]
    return {"dose_out_table": _words_last(headers, rows, "Every dose group predicted from the others.")}


def drift_part(fit: xr.DataTree) -> dict[str, Any]:
    """Return what the data told of a drift, and what they could not tell; nothing where nothing drifts."""
    if not drifts(fit):
        return {"drift_table": None, "drift_notes": []}
    found = drift_identifiability(fit)
    rows = []
    for name in found["parameter"].values:
        one = found.sel(parameter=name)
        spreads = [number(float(one[which])) for which in ("prior_sd", "posterior_sd")]
        rows.append([str(name).replace("_", " "), *spreads, chance(float(one["contraction"].clip(0, 1)))])
    headers = ["Parameter", "SD before the data", "SD after", "Variance taken away"]
    notes = [printable(note) for note in found.attrs["notes"].split("\n") if note]
    return {"drift_table": table(headers, rows, "What the data told of the drift."), "drift_notes": notes}


def _words_last(headers: list[str], rows: list[list[str]], caption: str) -> Table:
    """Leave out a last column that says nothing."""
    empty = not any(row[-1] for row in rows)
    return table(headers[:-1] if empty else headers, [row[:-1] if empty else row for row in rows], caption, words=0)


def hormesis_words(fit: xr.DataTree) -> str:
    """P(hormesis) as it is written after its name."""
    return equals(chance(float(fit["evidence"]["prob_hormesis"])))
