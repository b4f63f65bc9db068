"""One self-contained HTML report of a fit, in the order of the Bayesian analysis reporting guidelines (BARG)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from hormesis_fit.checks.sensitivity import (
    LOWEST_ESS,
    curve_windows,
    prior_check,
    prior_sensitivity,
    stimulation_priors,
    window_of,
)
from hormesis_fit.families import FAMILIES
from hormesis_fit.figures.drawing import FEWEST, chance, formula_uri, headline, number
from hormesis_fit.figures.fits import CAPTIONS, FIGURES, RIDGES, draw_figure, svg_uri
from hormesis_fit.figures.people import has_harms
from hormesis_fit.figures.priors import GATE
from hormesis_fit.phrases import benefit_words, level_words, printable, unit_of, verb
from hormesis_fit.report.checklist import checklist
from hormesis_fit.report.estimand import estimand
from hormesis_fit.report.facts import Facts, estimate_words
from hormesis_fit.report.interactive import live_views, number_table, scripts
from hormesis_fit.report.people import ESTIMANDS, harm_part, people_part, subject_table
from hormesis_fit.report.recipe import command_line, comparison_lines, python_lines
from hormesis_fit.report.review import (
    curves_reading,
    derived_part,
    dose_out_part,
    drift_part,
    evidence_part,
    groups_part,
    hormesis_words,
    prediction_part,
    prior_reading,
    scaling_part,
)
from hormesis_fit.report.tables import (
    curve_table,
    data_table,
    headed,
    key_table,
    level_table,
    predictive_table,
    prior_table,
    quantity_table,
    table,
)
from hormesis_fit.vocabulary import FLAGS, VERDICTS
from hormesis_fit.windows.derived import derived_of
from hormesis_fit.windows.posterior import check_fit, find_class, members
from hormesis_fit.windows.prediction import outcome_of, subjects_in
from hormesis_fit.windows.summary import sentence, status

TEMPLATE = "report.html.jinja"
WIDE = ("window", "subjects")  # figures as wide as the text


@dataclass(frozen=True)
class Case:
    """What the sections of a report are made from."""

    fit: xr.DataTree
    trial: xr.Dataset
    window: xr.Dataset
    alone: dict[str, xr.Dataset]  # the window of every curve by itself
    figures: Mapping[str, Figure]  # those that are drawn already, one column wide
    show_subjects: bool = False

    @property
    def hidden(self) -> bool:
        """Whether there are subjects who must not be seen."""
        return "subject" in self.trial and not self.show_subjects


def write_report(
    fit: xr.DataTree,
    path: str | Path,
    *,
    figures: Mapping[str, Figure] | None = None,
    show_subjects: bool = False,
) -> Path:
    """Write the report of a fit as one HTML file that needs no network.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, or reopened; the window is read from ``fit["window"]``, or computed with the default
        benefit.
    path : str or path-like
        File to write.
    figures : mapping, optional
        What `draw_figures` returns, where they are drawn already.
    show_subjects : bool
        Whether labels and rows of subjects may appear.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    path.write_text(render_report(fit, figures=figures, show_subjects=show_subjects), encoding="utf-8")
    return path


def render_report(fit: xr.DataTree, *, figures: Mapping[str, Figure] | None = None, show_subjects: bool = False) -> str:
    """Return the report of a fit as one HTML page.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, or reopened; the window is read from ``fit["window"]``, or computed with the default
        benefit.
    figures : mapping, optional
        What `draw_figures` returns, where they are drawn already.
    show_subjects : bool
        Whether labels and rows of subjects may appear.

    Returns
    -------
    str
        HTML; every name, unit and note of the trial is escaped.

    References
    ----------
    Kruschke (2021), Nature Human Behaviour 5:1282, doi:10.1038/s41562-021-01177-7.
    """
    check_fit(fit)
    if "window" not in fit:
        fit = fit.copy()
        fit["window"] = window_of(fit)
    case = Case(fit, outcome_of(fit), window_of(fit), curve_windows(fit), figures or {}, show_subjects)
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = (_preamble, _data, _model, _computation, _result, _people, _review, _decision, _sensitivity, _reproduction)
    view: dict[str, Any] = {"flags": FLAGS, "verdicts": VERDICTS}
    for part in parts:
        view |= part(case)
    facts = Facts(case.fit, case.trial, case.window, view)
    view |= {"checklist": checklist(facts), "estimand_items": estimand(facts)} | scripts()
    return environment.get_template(TEMPLATE).render(view)


def _preamble(case: Case) -> dict[str, Any]:
    name = printable(case.trial.attrs.get("name", "trial"))
    dose = printable(case.trial["dose"].attrs.get("long_name", "") or "dose")
    doses = "doses" if dose == "dose" else f"doses ({dose})"
    benefit, level = benefit_words(case.window, case.trial), level_words(case.window)
    stated = bool(case.window.attrs.get("stated", 1))
    return {
        "name": name,
        "question": f"Which {doses} {verb(case.trial)} {benefit}, with a probability of {level}?",
        "stated": stated,
        "answer": sentence(case.fit),
        "title": printable(case.trial.attrs.get("title", "")),
        "source": printable(case.trial.attrs.get("source", "")),
        "licence": printable(case.trial.attrs.get("licence", "")),
    }


def _data(case: Case) -> dict[str, Any]:
    response_name = printable(case.trial["response"].attrs.get("long_name", "") or "response").replace("_", " ")
    missing = json.loads(case.trial.attrs.get("missing", "{}"))
    standard = case.trial.attrs.get("standard_dose")
    return {
        "rows": case.trial.sizes["observation"],
        "doses": int(np.unique(case.trial["dose"]).size),
        "response": headed(response_name, str(case.trial["response"].attrs.get("units", ""))),
        "dropped": sum(missing.values()),
        "direction": "higher" if case.trial.attrs["direction"] == "up" else "lower",
        "scale": case.trial.attrs["scale"],
        "standard": number(float(standard)) + unit_of(case.trial["dose"]) if standard else "",
        "notes": [printable(note) for note in np.atleast_1d(case.trial.attrs.get("notes", [])) if str(note)],
        "data_table": data_table(
            case.trial, {float(dose): count for dose, count in missing.items()}, hidden=case.hidden
        ),
        "hidden": case.hidden,
        "persons": int(np.unique(case.trial["subject"]).size) if "subject" in case.trial else 0,
        "fewest": FEWEST,
    }


def _model(case: Case) -> dict[str, Any]:
    evidence = case.fit["evidence"].to_dataset()
    curves = []
    for label in (str(one) for one in evidence["model"].values):
        kind = find_class(label.partition("(")[0])
        formula, source = getattr(kind, "formula", ""), getattr(kind, "source", "")
        curves.append(
            {
                "label": label,
                "hormetic": bool(kind.hormetic),
                "summary": (kind.__doc__ or "").strip().partition("\n")[0],
                "formula": formula,
                "image": formula_uri(formula) if formula else "",
                "source": source if source.startswith("https://doi.org/") else "",
            }
        )
    check = prior_check(case.fit)
    shares = [
        [str(label), chance(far), chance(astray), "passed" if max(far, astray) <= GATE else "not passed"]
        for label, far, astray in zip(
            check["model"].values, check["far_share"].values, check["peak_share"].values, strict=True
        )
    ]
    for row, known in zip(shares, np.isfinite(check["far_share"].values), strict=True):
        row[-1] = row[-1] if known else "–"
    worst = float(np.nanmax([check["far_share"].max(), check["peak_share"].max(), 0.0]))
    return {
        "curves": curves,
        "family": str(case.fit.attrs["family"]),
        "family_definition": FAMILIES[str(case.fit.attrs["family"])].definition,
        "prior_table": prior_table(case.fit),
        "far": check.attrs["far"],
        "prior_passed": worst <= GATE,
        "gate": f"{GATE:g}",
        "check_table": table(
            ["Curve", "Too high" if check.attrs["far"].startswith("rise") else "Too far", "Peak astray", "Gate"],
            shares,
            "Prior predictive check: share of 1000 curves drawn from the priors.",
        ),
    }


def _computation(case: Case) -> dict[str, Any]:
    evidence = case.fit["evidence"].to_dataset()
    rows = []
    for label in evidence["model"].values:
        one = evidence.sel(model=label)
        values = {name: one[name].item() for name in evidence.data_vars if "model" in evidence[name].dims}
        error = values["log_evidence_se"]
        rhat = "–" if np.isnan(values["max_rhat"]) else f"{values['max_rhat']:.3f}"
        found = f"{values['log_evidence']:.2f} ± {max(error, 0.01):.2f}"
        health = [number(values["ess"]), number(values["pareto_k"]), rhat, str(int(values["divergences"]))]
        rows.append([str(label), values["engine"], *health, "–" if np.isnan(values["log_evidence"]) else found])
    remarks = [(str(one), printable(evidence["note"].sel(model=one).item())) for one in evidence["model"].values]
    sick = [str(one) for one in evidence["model"].values[evidence["sick"].values.astype(bool)]]
    headers = ["Curve", "Engine", "ESS", "k-hat", "R-hat", "Divergences", "Log evidence"]
    chains, draws = members(case.fit)[0].shape
    return {
        "health_table": table(headers, rows, "Health of the computation, curve by curve.", words=2),
        "remarks": [(label, note) for label, note in remarks if note],
        "sick": sick,
        "kept": f"{chains} × {draws}",
        "seconds": number(float(case.fit.attrs.get("seconds_total", np.nan))),
    }


def _result(case: Case) -> dict[str, Any]:
    return {
        "status": status(case.fit),
        "headline": headline(case.window, case.trial),
        "key_table": key_table(case.fit, case.trial, case.window),
        "level_table": level_table(case.window, case.trial),
        "quantity_table": quantity_table(case.window, case.trial),
        "curve_table": curve_table(case.fit, case.window, case.alone),
        "curves_reading": curves_reading(case.fit, case.alone),
        "check_rows": predictive_table(case.fit),
        **_figures(case),
    }


def _figures(case: Case) -> dict[str, Any]:
    """Return every picture, and the two main ones once more for a pointer."""
    drawn = {name: _drawn(case, name) for name in _pictures(case)}
    main = drawn["window"], drawn["exceedance"], case.trial
    return {
        "figures": {name: _figure(case, name, figure) for name, figure in drawn.items()},
        "live": live_views(*main),
        "number_table": number_table(*main),
    }


def _drawn(case: Case, name: str) -> Figure:
    # In the report, the window is as wide as the text.
    if name in case.figures and name != "window":
        return case.figures[name]
    wide = "double" if name in WIDE else "single"
    return draw_figure(case.fit, name, width=wide, show_subjects=case.show_subjects)


def _pictures(case: Case) -> list[str]:
    shown = subjects_in(case.fit) if case.show_subjects else []
    return [*FIGURES, *(["harm"] if has_harms(case.fit) else []), *(["subjects"] if shown else [])]


def _people(case: Case) -> dict[str, Any]:
    subjects = subject_table(case.fit) if case.show_subjects and subjects_in(case.fit) else None
    return people_part(case.fit) | harm_part(case.window) | {"subject_table": subjects}


def _review(case: Case) -> dict[str, Any]:
    return {
        **evidence_part(case.fit, case.alone),
        **prediction_part(case.fit),
        **groups_part(case.fit, hidden=case.hidden),
        **dose_out_part(case.fit),
        **drift_part(case.fit),
        **derived_part(derived_of(case.fit), case.trial),
        **scaling_part(case.fit, case.alone),
    }


def _figure(case: Case, name: str, figure: Figure) -> dict[str, Any]:
    answer = headline(case.window, case.trial)
    said = {
        "window": answer,
        "exceedance": answer,
        "harm": answer,
        "quantities": "; ".join(estimate_words(case.window, case.trial, one) for one in RIDGES),
        "weights": f"P(hormesis) {hormesis_words(case.fit)}",
    }
    alt = " ".join(filter(None, [CAPTIONS[name], f"{printable(said[name])}." if name in said else ""]))
    return {"name": name, "uri": svg_uri(figure), "alt": alt, "caption": CAPTIONS[name], "wide": name in WIDE}


def _decision(case: Case) -> dict[str, Any]:
    low, high = (number(float(end)) for end in case.window.attrs["domain"])
    harms = str(case.window.attrs.get("harms", ""))
    return {
        "verb": verb(case.trial, "s"),
        "benefit": benefit_words(case.window, case.trial),
        "level": level_words(case.window),
        "domain": f"{low} to {high}{unit_of(case.trial['dose'])}",
        "estimand": ESTIMANDS[str(case.window.attrs["estimand"])],
        "limits": f"a dose also had to keep these limits: {printable(harms)}" if harms else "no limit on harm was set",
        "raised": str(case.window.attrs["flags"]).split(),
    }


def _sensitivity(case: Case) -> dict[str, Any]:
    result = prior_sensitivity(case.fit, windows=case.alone)
    changed = {member.label: stimulation_priors(member) for member in members(case.fit) if member.curve.hormetic}
    changed = {label: priors for label, priors in changed.items() if priors}
    rows = []
    for factor in result["prior_scale"].values:
        one = result.sel(prior_scale=factor)
        cells = []
        for label, priors in changed.items():
            scales = ", ".join(number(prior["sigma"] * factor) for prior in priors.values())
            value = float(one["log_evidence"].sel(model=label))
            cells.append(f"{'–' if np.isnan(value) else f'{value:.2f}'} ({scales})")
        answers = [chance(float(one[name])) for name in ("prob_hormesis", "prob_exists")]
        rows.append([f"× {factor:g}", *answers, number(float(one["ess"])), *cells])
    headers = ["Scale", "P(hormesis)", "P(window exists)", "ESS", *(f"Log evidence, {label} (σ)" for label in changed)]
    caption = "The answer under a narrower and a wider half-normal prior (scale σ) of the stimulation."
    return {
        "sensitivity_table": table(headers, rows, caption),
        "prior_reading": prior_reading(result),
        "changed": bool(changed),
        "untrusted": bool((result["ess"] < LOWEST_ESS).any()),
        "lowest_ess": LOWEST_ESS,
    }


def _reproduction(case: Case) -> dict[str, Any]:
    versions = json.loads(case.fit.attrs["versions"])
    return {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "seed": int(case.fit.attrs["seed"]),
        "python": python_lines(case.fit, case.window, show_subjects=case.show_subjects),
        "command": command_line(case.fit, case.window),
        "compare": comparison_lines(case.fit),
    }


__all__ = ["render_report", "write_report"]
