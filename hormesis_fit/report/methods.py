"""The methods of a paper in words, written from a fit, with what they cite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.checks.sensitivity import window_of
from hormesis_fit.drift import DRIFTS
from hormesis_fit.drift.histories import PHARMACOKINETICS, usual_interval
from hormesis_fit.families import FAMILIES
from hormesis_fit.model.hierarchy import WITHIN
from hormesis_fit.phrases import benefit_words, level_words, number, printable, unit_of, verb
from hormesis_fit.report.markup import MARKUPS, Piece, Text
from hormesis_fit.report.people import ESTIMANDS
from hormesis_fit.report.references import Reference, bibtex, reference_of, references
from hormesis_fit.windows.estimands import PERSON, effects_in
from hormesis_fit.windows.harms import endpoints_of
from hormesis_fit.windows.posterior import check_fit, find_class, members, trial_of
from hormesis_fit.windows.prediction import outcome_of
from hormesis_fit.windows.summary import diagnostics
from hormesis_fit.wording import unknown

SPACES = {"log": "on the log scale", "logit": "on the log-odds scale", "identity": "additively"}


def methods_text(fit: xr.DataTree, *, markup: str = "markdown") -> str:
    r"""Write the methods of a paper from a fit.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, or reopened; the window is read from ``fit["window"]``, or that of the default benefit.
    markup : {"markdown", "latex", "plain"}
        Citations are ``[@key]`` for Pandoc, ``\cite{key}``, or authors and years with a list of references.

    Returns
    -------
    str
        Paragraphs on data, model, priors, computation, decision and software. Every text of the user is escaped; the
        keys are those of `bibliography`.

    Raises
    ------
    ValueError
        If the markup is unknown.

    References
    ----------
    Kruschke 2021, https://doi.org/10.1038/s41562-021-01177-7
    """
    if markup not in MARKUPS:
        raise ValueError(unknown("markup", markup, MARKUPS))
    written, found = MARKUPS[markup], paragraphs(fit)
    parts = [written.paragraph(title, written.text(text)) for title, text in found.items()]
    if written.listed:
        parts += ["References", *(written.escape(one.full) for one in cited(found))]
    return "\n\n".join(parts) + "\n"


def bibliography(fit: xr.DataTree) -> str:
    """Return what the methods of a fit cite, as BibTeX.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, or reopened.

    Returns
    -------
    str
        One entry for each reference: software, methods, and the sources that the curves and drifts of the fit declare.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    """
    return bibtex(cited(paragraphs(fit)))


def paragraphs(fit: xr.DataTree) -> dict[str, Text]:
    """Return the paragraphs by title, as pieces of text and tuples of references."""
    check_fit(fit)
    if "window" not in fit:
        fit = fit.copy()
        fit["window"] = window_of(fit)
    window = fit["window"].to_dataset()
    return {
        "Data": _data(trial_of(fit)),
        "Model": [*_curves(fit), *_observation(fit), *_groups(fit), *_time(fit), *_side_effects(fit)],
        "Priors": _priors(fit),
        "Computation": _computation(fit),
        "Decision": _decision(fit, window),
        "Software": _software(fit),
    }


def cited(found: dict[str, Text]) -> list[Reference]:
    """Return the references of paragraphs, each once, by author and year."""
    every = [one for text in found.values() for piece in text if not isinstance(piece, str) for one in piece]
    return sorted({one.key: one for one in every}.values(), key=lambda one: one.short.casefold())


def cite(*keys: str) -> Piece:
    """Return a citation of references that the package knows."""
    return tuple(references()[key] for key in keys)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _data(trial: xr.Dataset) -> Text:
    dose, attrs = trial["dose"].values, trial.attrs
    name, unit = printable(attrs.get("name", "")), unit_of(trial["dose"])
    response = printable(trial["response"].attrs.get("long_name") or "response").replace("_", " ")
    measured = printable(trial["response"].attrs.get("units", ""))
    controls = int((dose == 0).sum())
    text = (
        f"The trial{f' {name}' if name and name != 'trial' else ''} had {dose.size} rows at "
        f"{np.unique(dose).size} doses from {number(dose.min(), 3)} to {number(dose.max(), 3)}{unit}, "
        f"{controls if controls else 'none'} of them without the drug. The response was {response}"
        f"{f', in {measured}' if measured else ''}, on the {attrs['scale']} scale; a benefit was a "
        f"{'higher' if attrs['direction'] == 'up' else 'lower'} response."
    )
    for role, words in (("subject", "subjects"), ("batch", "batches")):
        if role in trial:
            text += f" The rows belonged to {np.unique(trial[role].values).size} {words}."
    if "time" in trial:
        times = trial["time"].values
        text += (
            f" They were taken at {np.unique(times).size} times from {number(times.min(), 3)} to "
            f"{number(times.max(), 3)}{unit_of(trial['time'])}."
        )
    if "standard_dose" in attrs:
        text += f" The standard dose was {number(float(attrs['standard_dose']), 3)}{unit}."
    dropped = sum(json.loads(attrs.get("missing", "{}")).values())
    if attrs.get("source"):
        text += f" Source of the data: {printable(attrs['source']).rstrip('.')}."
    if dropped:
        text += f" {dropped} further rows without a response were left out."
    return [text]


def _curves(fit: xr.DataTree) -> Text:
    evidence = fit["evidence"].to_dataset()
    named: dict[bool, list[str]] = {True: [], False: []}
    for label, hormetic in zip(evidence["model"].values.tolist(), evidence["hormetic"].values.tolist(), strict=True):
        named[hormetic].append(label)
    if evidence.sizes["model"] == 1:
        return ["The mean response followed the dose-response curve ", *_sourced(named[True] + named[False]), ". "]
    text: Text = ["The mean response followed one of several dose-response curves."]
    for hormetic, kind in ((True, " Hormetic: "), (False, " Not hormetic: ")):
        if named[hormetic]:
            text += [kind, *_sourced(named[hormetic]), "."]
    before = float(evidence.attrs["prior_hormesis"])
    text += [" They were averaged by their posterior probabilities", cite("hoeting1999")]
    if named[True] and named[False]:
        shares = f"the hormetic curves together had the prior probability {before:g}, shared equally in each kind"
        return [*text, f"; {shares}. P(hormesis) is the posterior probability of the hormetic curves. "]
    return [*text, ", from equal prior probabilities. "]


def _sourced(labels: Sequence[str]) -> Text:
    """Names of curves with their sources."""
    text: Text = []
    for place, label in enumerate(labels):
        between = "" if place == 0 else " and " if place == len(labels) - 1 else ", "
        text += [f"{between}{label}", *_source(find_class(label.partition("(")[0]))]
    return text


def _source(kind: type) -> Text:
    found = reference_of(kind)
    return [(found,)] if found else []


def _observation(fit: xr.DataTree) -> Text:
    name = str(fit.attrs["family"])
    trial, family = trial_of(fit), FAMILIES[name]
    text = f"Observation model: {name.replace('_', ' ')}. {family.definition} "
    if {"lower", "upper"} & set(trial.data_vars):
        text += "Responses beyond a limit entered by the probability of being there. "
    if "weight" in trial:
        text += "Rows were weighted in the likelihood. "
    return [text]


def _groups(fit: xr.DataTree) -> Text:
    found = {(one.parameter, one.group): one for member in members(fit) for one in effects_in(member)}
    words = []
    for one in found.values():
        kind = one.group.split(WITHIN)[-1]
        whose = f"{len(one.labels)} {'subjects' if kind == PERSON else f'groups of {printable(one.group)}'}"
        words.append(f"{one.parameter.replace('_', ' ')} between {whose} ({SPACES[one.space]})")
    text = f"Partially pooled: {'; '.join(words)}. " if words else ""
    for parameter, formula in json.loads(fit.attrs.get("covariates", "{}")).items():
        text += f"The {parameter.replace('_', ' ')} followed the covariates {printable(formula)}. "
    return [text] if text else []


def _time(fit: xr.DataTree) -> Text:
    text: Text = []
    if str(fit.attrs.get("drift", "none")) != "none":
        for one in str(fit.attrs["drift"]).split(", "):
            name = one.partition(" of ")[0]
            text += [f"Sensitivity changed in time: {one}", *_source(DRIFTS[name]), ". "]
    if "regimen" in fit:
        record = fit["regimen"].to_dataset()
        every, kinetics = usual_interval(record), str(record.attrs.get("kinetics", ""))
        unit = unit_of(trial_of(fit)["time"])
        text.append(f"Doses were given in time{f', every {number(every, 3)}{unit}' if every else ''}")
        if kinetics:
            text += [", with the pharmacokinetics ", kinetics, *_source(PHARMACOKINETICS[kinetics])]
        text.append(". ")
    return text


def _side_effects(fit: xr.DataTree) -> Text:
    text: Text = []
    for name in endpoints_of(fit):
        side = fit[f"endpoints/{name}"]
        shared = json.loads(side.attrs.get("shared", "[]"))
        how = f"in one model with the benefit, sharing {_listed(shared).replace('_', ' ')}" if shared else "by itself"
        family = str(side.attrs["family"]).replace("_", " ")
        text += [f"The side effect {printable(name)} was fitted {how} (observation model: {family}), with "]
        text += [*_sourced(str(side.attrs["curves"]).split()), ". "]
    return text


def _priors(fit: xr.DataTree) -> Text:
    found: dict[tuple[str, str, str], list[str]] = {}
    group = members(fit)
    for member in group:
        for name, variable in member.draws.data_vars.items():
            if "prior" in variable.attrs:
                key = (str(name).replace("_", " "), variable.attrs["prior"], printable(variable.attrs["units"]))
                found.setdefault(key, []).append(member.label)
    words = []
    for (name, prior, unit), labels in found.items():
        whose = "" if len(labels) == len(group) else f" ({_listed(labels)})"
        words.append(f"{name}{whose} ∼ {prior}{f' {unit}' if unit not in ('', '1') else ''}")
    return [f"In the units of the trial: {'; '.join(words)}."]


def _computation(fit: xr.DataTree) -> Text:
    evidence = fit["evidence"].to_dataset()
    engines = evidence["engine"].values.astype(str)
    chains, draws = members(fit)[0].shape
    text: Text = []
    several = len(engines) > 1
    for engine, opening, keys in (
        ("importance", "adaptive importance sampling with a mixture of t distributions", ("cornuet2012",)),
        ("nuts", "the No-U-Turn sampler", ("hoffman2014", "seyboldt2026")),
    ):
        labels = evidence["model"].values[engines == engine].astype(str).tolist()
        if labels:
            whose = f" for {_listed(labels)}" if len(labels) < len(engines) else ""
            text += [f"{' and ' if text else 'Posteriors were drawn by '}{opening}", cite(*keys), whose]
    text.append(f"; {chains} × {draws} draws{' of each curve' if several else ''} were kept. ")
    if "importance" in engines:
        text += [
            "Importance samples were judged by Pareto's k-hat",
            cite("vehtari2024"),
            ", and their mean weights are the evidence. ",
        ]
    if "nuts" in engines:
        text += ["Chains were judged by R-hat, effective sample sizes", cite("vehtari2021"), " and divergences. "]
        text += ["Evidence was found by bridge sampling", cite("meng1996", "fruhwirth2004"), ". "]
    return [*text, *_health(fit, evidence)]


def _health(fit: xr.DataTree, evidence: xr.Dataset) -> Text:
    found = diagnostics(fit)
    values: list[tuple[Any, str]] = [
        (found["min_ess_bulk"], "smallest effective sample size {:.0f}"),
        (found["max_pareto_k"], "largest k-hat {:.2f}"),
        (found["max_rhat"], "largest R-hat {:.3f}"),
    ]
    words = [form.format(value) for value, form in values if value is not None]
    words += [f"{found['divergences']} divergent transitions"] if found["max_rhat"] is not None else []
    sick = evidence["model"].values[evidence["sick"].values.astype(bool)].astype(str).tolist()
    ill = f" The computation stayed unhealthy for {_listed(sick)}." if sick else ""
    beside = " (curves with a weight of at least 0.01)" if evidence.sizes["model"] > 1 else ""
    return [f"Found{beside}: {', '.join(words).replace('-0.', '−0.')}.{ill}"]


def _decision(fit: xr.DataTree, window: xr.Dataset) -> Text:
    trial = outcome_of(fit)
    low, high = (number(float(end)) for end in window.attrs["domain"])
    stated = "was chosen by the analysts" if window.attrs.get("stated", 1) else "was the default of the software"
    harms = printable(window.attrs.get("harms", ""))
    people = "subject" in trial or window.attrs["estimand"] != "typical"
    whose = f"The window was that of {ESTIMANDS[str(window.attrs['estimand'])]}. " if people else ""
    return [
        f"The micro-dose window held the doses that {verb(trial)} {benefit_words(window, trial)} with a posterior "
        f"probability of at least {level_words(window)}, of doses between {low} and {high}{unit_of(trial['dose'])}. "
        f"The benefit {stated}. {whose}"
        f"{'A dose also had to keep these limits: ' + harms + '. ' if harms else 'No limit on harm was set. '}"
        "Intervals are equal-tailed, with 95 % of the posterior given that the quantity exists; numbers end with the "
        "last digit that their Monte Carlo error supports."
    ]


def _software(fit: xr.DataTree) -> Text:
    versions = json.loads(fit.attrs["versions"])
    own = references()["hormesis_fit"]
    own = replace(own, bibtex=own.bibtex.replace("Version 0.1.0", f"Version {versions['hormesis_fit']}"))
    nuts = "nuts" in fit["evidence"]["engine"].values
    text: Text = [f"The analysis was made with hormesis_fit {versions['hormesis_fit']}", (own,)]
    text += [f", PyMC {versions['pymc']}", cite("abril2023"), f", ArviZ {versions['arviz']}", cite("martin2026")]
    others = ["pytensor", "xarray", "numpy", *(["nutpie"] if nuts else [])]
    text.append("".join(f", {name} {versions[name]}" for name in others if name in versions))
    text += [
        f", and the random seed {int(fit.attrs['seed'])}. Reporting follows the Bayesian analysis reporting guidelines",
        cite("kruschke2021"),
        ".",
    ]
    return text


__all__ = ["bibliography", "methods_text"]
