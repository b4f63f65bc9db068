"""The Bayesian analysis reporting guidelines as a checklist: what was done in this fit, or how to do it."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from scipy.special import expit, logit

from hormesis_fit.checks.hypotheses import bayes_factors
from hormesis_fit.figures.drawing import chance, number
from hormesis_fit.phrases import benefit_words, level_words, printable, verb
from hormesis_fit.report.facts import Facts, Item, State, bracketed
from hormesis_fit.report.recipe import has_regimen
from hormesis_fit.windows.posterior import find_class, members
from hormesis_fit.windows.summary import status

PRIOR_ODDS = (0.1, 0.25, 0.5, 0.75, 0.9)  # prior probabilities of hormesis for which a reader may want the answer
CONVINCING = "0.95"


def checklist(facts: Facts) -> dict[str, list[Item]]:
    """Return every item of the guidelines, by step, with what was done in this fit or how to do it.

    Parameters
    ----------
    facts : Facts
        The fit and the other sections of its report.

    Returns
    -------
    dict
        Items in the order of the guidelines; titles are in our own words.

    References
    ----------
    Kruschke (2021), Bayesian analysis reporting guidelines, table 1, https://doi.org/10.1038/s41562-021-01177-7.
    """
    return {
        "Preamble": _preamble(facts),
        "1. Model": _model(facts),
        "2. Computation": _computation(facts),
        "3. Posterior distribution": _posterior(facts),
        "4. Decisions": _decisions(facts),
        "5. Sensitivity": _sensitivity(facts),
        "6. Reproducibility": _reproducibility(facts),
    }


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _preamble(facts: Facts) -> list[Item]:
    rows = facts.trial.sizes["observation"]
    averaged, alone = "curves of different shape are averaged", "the doubt about the shape of the one curve is left out"
    why = (
        "The answer is the probability of a benefit at every dose, which no p-value gives; with "
        f"{rows} rows the edges of a window are far from normal; {averaged if facts.several else alone}."
    )
    return [
        Item("Why Bayesian", "done", why, "decision"),
        Item("Goal of the analysis", "done", str(facts.view["question"]), "question"),
    ]


def _model(facts: Facts) -> list[Item]:
    view, drawn = facts.view, [member.draws for member in members(facts.fit)]
    inner = {name for one in members(facts.fit) for name in one.curve.parameters()}
    names = sorted({name for one in drawn for name in json.loads(one.attrs["priors"])} - inner)
    ancillary = f"ancillary: {', '.join(names).replace('_', ' ')}" if names else "there is no ancillary one"
    kinds = f"{_counted(len(drawn), 'curve')} with the observation model {facts.fit.attrs['family']}"
    interest = "of interest are the parameters of the curves, from which the window is computed"
    unknown = [row[0] for row in view["check_table"]["rows"] if row[-1] == "–"]
    passed = "all within" if view["prior_passed"] else "not all within"
    gate = f"1000 prior curves each: {passed} the gate of {view['gate']}."
    how = "draw from build_model() with pymc.sample_prior_predictive()"
    return [
        Item("Data", "done", _data_words(facts), "model"),
        Item("Likelihood and parameters", "done", f"{kinds}; {interest}; {ancillary}. {_levels(facts)}", "considered"),
        Item("Priors", "done", _prior_words(facts), "priors"),
        Item(
            "Formal specification",
            "done",
            "The formula of each curve and each prior with its numbers; build_model() returns the model as code.",
            "considered",
        ),
        Item(
            "Prior predictive check",
            "in part" if unknown else "done",
            f"{gate} Not done for {', '.join(unknown)}: {how}." if unknown else gate,
            "gate",
        ),
    ]


def _data_words(facts: Facts) -> str:
    trial = facts.trial
    named = {name: printable(trial[name].attrs.get("long_name") or name) for name in ("dose", "response")}
    dose, response = (f"{named[one]}{bracketed(trial[one])}" for one in ("dose", "response"))
    side = "higher" if trial.attrs["direction"] == "up" else "lower"
    also = [name for name in ("time", "subject", "batch") if name in trial]
    following = json.loads(facts.fit.attrs.get("covariates", "{}"))
    more = f" Also: {', '.join(also)}." if also else ""
    more += f" Covariates: {'; '.join(f'{k} ~ {v}' for k, v in following.items())}." if following else ""
    return (
        f"Predicted: {response}, a {side} one is the benefit; predictor: {dose}, "
        f"{np.unique(trial['dose']).size} doses, {trial.sizes['observation']} rows.{more}"
    )


def _levels(facts: Facts) -> str:
    """Say what varies between groups and what moves in time."""
    vary, moving = json.loads(facts.fit.attrs.get("vary", "{}")), str(facts.fit.attrs.get("drift", "none"))
    groups = [
        f"{name.replace('_', ' ')} by {' and '.join([kinds] if isinstance(kinds, str) else kinds)}"
        for name, kinds in vary.items()
    ]
    together = bool(facts.view["people_table"]) and any(
        "correlation" in row[3] for row in facts.view["people_table"]["rows"]
    )
    between = (
        f"Multilevel: {', '.join(groups)}, with normal offsets that are {'correlated' if together else 'independent'}."
    )
    drift = f" A drift in time: {moving}." if facts.view["drift_table"] else ""
    return (between if groups else "One level: nothing varies between groups.") + drift


def _prior_words(facts: Facts) -> str:
    usual = "Each prior is listed with its numbers; scales come from the control mean, the SD and the range of doses"
    own = by_hand(facts.fit)
    if own is None:
        return f"{usual}. Whether some were given by hand is not known under a regimen: justify those that were."
    given = ", ".join(own).replace("_", " ")
    return f"{usual}. Given by hand: {given}; justify them." if own else f"{usual}; none was given by hand."


def by_hand(fit: xr.DataTree) -> list[str] | None:
    """Return the parameters of the curves whose prior is not the default one; None where that cannot be told."""
    if has_regimen(fit):  # exposures that pile up move the middle of the doses, which is not written down
        return None
    scales, found = json.loads(fit.attrs["prior_scales"]), set()
    for member in members(fit):
        attrs = member.draws.attrs
        kind = find_class(attrs["curve"])
        template = kind(**{name: str(attrs[name]) for name in kind.options() if name in attrs})
        units, stored = template.parameters(), json.loads(attrs["priors"])
        for name, prior in template.priors().items():
            usual = prior.scaled(units[name].unit, scales)
            if name in stored and stored[name] != {"distribution": usual.distribution} | usual.arguments:
                found.add(name)
    return sorted(found)


def _computation(facts: Facts) -> list[Item]:
    table, chains = facts.evidence, facts.by_engine("nuts")
    weighed = facts.by_engine("importance")
    sick = f" Unhealthy: {', '.join(facts.view['sick'])}." if facts.view["sick"] else ""
    other = Item(
        "Convergence of chains", "does not apply", "No chain was run; see the item on other methods.", "computation"
    )
    resolution = Item("Resolution of chains", "does not apply", other.said, "computation")
    if chains.sizes["model"]:
        rhat, lost = float(chains["max_rhat"].max()), int(chains["divergences"].sum())
        words = f"Largest R-hat of any parameter {rhat:.3f} (healthy below 1.01), {lost} divergent draws.{sick}"
        other = Item("Convergence of chains", "done", words, "computation")
        words = (
            f"Smallest bulk effective sample size of any parameter {number(float(chains['ess'].min()))} (healthy from "
            '400). Not done for derived quantities: arviz.ess() of a variable of fit["window"] gives it.'
        )
        resolution = Item("Resolution of chains", "in part", words, "computation")
    errors = table["log_evidence_se"].values[np.isfinite(table["log_evidence_se"].values)]
    evidence = f"error of a log evidence at most {max(float(errors.max()), 0.01):.2f}" if errors.size else ""
    said = [evidence] if evidence else []
    if weighed.sizes["model"]:
        worst, least = float(weighed["pareto_k"].max()), float(weighed["ess"].min())
        said = [
            f"importance sampling of {_counted(weighed.sizes['model'], 'curve')} with a k-hat of at most "
            f"{number(worst)} (healthy below 0.7) and at least {number(least)} effective draws",
            *said,
        ]
    words = "; ".join(said)
    methods = (
        Item("Other methods than chains", "done", f"{words[:1].upper()}{words[1:]}.{sick}", "computation")
        if said
        else Item("Other methods than chains", "does not apply", "Chains alone were used.", "computation")
    )
    return [
        Item("Software", "done", f"{facts.view['versions']}.", "reproduce"),
        other,
        resolution,
        methods,
    ]


def _posterior(facts: Facts) -> list[Item]:
    tails = [float(row[-1].lstrip("<>")) for row in facts.view["check_rows"]["rows"] if row[-1] != "–"]
    lowest = f" The smallest tail of any feature is {chance(min(tails))}." if tails else ""
    estimates = facts.estimates("peak_dose", "window_lower", "window_upper")
    return [
        Item("Posterior predictive check", "done", f"{facts.view['group_reading']}{lowest}", "check"),
        Item("Summaries of the posterior", "done", f"Median and equal-tailed 95 % interval: {estimates}.", "result"),
        _comparison(facts),
    ]


def _comparison(facts: Facts) -> Item:
    title = "Bayes factors and probabilities of models"
    if not facts.several:
        how = "fit(trial) with several curves, as it does by default, gives their probabilities"
        return Item(title, "not done", f"One curve was fitted, so nothing was compared: {how}.", "curves")
    factor = facts.factor
    if not np.isfinite(factor):
        how = "curve=[...] with hormetic and other curves gives it"
        words = f"Weights of {facts.evidence.sizes['model']} curves; no Bayes factor of hormesis: {how}."
        return Item(title, "in part", words, "curves")
    after = [chance(float(expit(logit(one) + factor))) for one in PRIOR_ODDS]
    before = ", ".join(f"{one:g}" for one in PRIOR_ODDS)
    words = (
        f"The natural logarithm of the Bayes factor for hormesis is {factor:.2f}: prior probabilities of {before} "
        f"become {', '.join(after)}."
    )
    return Item(title, "done", words, "evidence")


def _decisions(facts: Facts) -> list[Item]:
    window, view = facts.window, facts.view
    benefit = benefit_words(window, facts.trial)
    rule = (
        f"A dose is in the window when its probability to {verb(facts.trial)} {benefit} is at least "
        f"{level_words(window)}. The rule can also say that a window is unlikely, or that the data do not "
        f"decide; here: {status(facts.fit)}."
    )
    regret = f"the best dose by it loses {number(float(window['optimal_regret']))} on average"
    rope = f"The least benefit that matters: {benefit}"
    stated = bool(view["stated"])
    rope += "." if stated else ". Not justified by the user, who took the default: give benefit= and say why."
    if view["has_evidence"]:
        rope += (
            f" A peak below {view['rope']} of the control counts as negligible, by the 95 % highest-density interval."
        )
    needed = Item(
        "Threshold of a probability of models",
        "not done",
        "One curve or one kind of curve was fitted, so P(hormesis) decides nothing: fit several curves.",
        "evidence",
    )
    if np.isfinite(facts.factor):
        least = chance(float(bayes_factors(facts.fit)["prior_needed"]))
        words = (
            f"The window is decided by doses and not by P(hormesis); a P(hormesis) of {CONVINCING} needs a prior "
            f"probability of at least {least.lstrip('<>')}."
        )
        needed = Item(needed.title, "done", words, "evidence")
    estimates = facts.estimates("peak_stimulation", "zero_equivalent_dose")
    return [
        Item("Why a decision, and by which rule", "done", rule, "decision"),
        Item(
            "Loss function",
            "done",
            f"Benefit in units of the one asked for, capped at twice it; {regret}.",
            "decision",
        ),
        Item("Region of practical equivalence", "done" if stated else "in part", rope, "decision"),
        needed,
        Item("Estimates beside decisions", "done", f"{estimates[:1].upper()}{estimates[1:]}.", "result"),
    ]


def _sensitivity(facts: Facts) -> list[Item]:
    view, own = facts.view, by_hand(facts.fit)
    scaled = "done" if view["scaling_table"] else "not done"
    informed = Item("Informed priors", "does not apply", "No prior of a curve was given by hand.", "priors")
    if own is None or own:
        which = ", ".join(own).replace("_", " ") if own else "perhaps some"
        words = f"Given by hand: {which}. Other reasonable ones: fit again with priors= and compare the windows."
        informed = Item(informed.title, "not done", words, "priors")
    defaults: State = "not done" if not view["changed"] else "in part" if view["untrusted"] else "done"
    how = "No curve has a half-normal prior of the stimulation to vary: fit again with priors= to learn it."
    varied = str(view["prior_reading"]) if view["changed"] else how
    models = (
        "Not done with priors from earlier data: give them as priors= and see whether the Bayes factor stays."
        if np.isfinite(facts.factor)
        else "No Bayes factor was reported."
    )
    state: State = "does not apply" if not np.isfinite(facts.factor) else "in part" if view["changed"] else "not done"
    again = "whether a dose still reaches the level is not recomputed: fit again with priors= to see it"
    return [
        Item("Broad priors", scaled, str(view["scaling_reading"]), "scaling"),
        informed,
        Item("Default priors", defaults, varied, "sensitivity"),
        Item(
            "Bayes factors and probabilities of models",
            state,
            f"Log evidences under three priors of the stimulation are listed. {models}"
            if state == "in part"
            else models,
            "sensitivity",
        ),
        Item(
            "Decisions",
            "in part" if view["scaling_table"] or view["changed"] else "not done",
            f"P(window exists), the edges and the peak are given under other priors; {again}."
            if view["scaling_table"]
            else f"{again[:1].upper()}{again[1:]}.",
            "scaling",
        ),
    ]


def _reproducibility(facts: Facts) -> list[Item]:
    attrs = facts.trial.attrs
    version = json.loads(facts.fit.attrs["versions"])["hormesis_fit"]
    known = bool(attrs.get("source"))
    table = "The table of the trial is public" if known else "Put the table of the trial where readers can get it"
    table = "Say who may see the table of the trial" if "subject" in facts.trial and not known else table
    return [
        Item("Software and installation", "done", f"pip install hormesis-fit=={version}; versions above.", "reproduce"),
        Item(
            "Script and data",
            "done" if known else "in part",
            f"The lines are in section 6. {table}{': see section 1' if known else ''}.",
            "reproduce",
        ),
        _script(facts),
        Item(
            "Further files",
            "done",
            "fit.nc holds data, draws, priors and versions; window.json the answer; summary.csv the estimates.",
            "reproduce",
        ),
        Item(
            "Runs as posted",
            "not done",
            "Nobody has run the lines of section 6 elsewhere yet: do so in a fresh environment before publication.",
            "reproduce",
        ),
        Item(
            "Same draws again",
            "done",
            f"Seed {facts.view['seed']}: same seed and versions, same numbers.",
            "reproduce",
        ),
    ]


def _script(facts: Facts) -> Item:
    """Say whether the lines of the recipe are whole: priors and tables of doses in time are not written there."""
    own, title = by_hand(facts.fit), "Readable script"
    missing = [
        *(["priors= as in the table of section 1"] if own or own is None else []),
        *(["what stands as dots"] if "..." in facts.view["python"] else []),
    ]
    if missing:
        return Item(
            title, "in part", f"Every argument by its name; not done: fill in {' and '.join(missing)}.", "reproduce"
        )
    return Item(title, "done", "Every argument that is not a default, by its name.", "reproduce")


__all__ = ["checklist"]
