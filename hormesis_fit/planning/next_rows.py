"""What to dose next: the rows that say most about the edges of the window, with controls and within limits on harm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtri

from hormesis_fit.inference.importance import systematic
from hormesis_fit.planning.information import row_variance
from hormesis_fit.planning.surrogate import (
    Goal,
    Information,
    Regret,
    Reweighted,
    Surrogate,
    after_rows,
    best_set,
    value_of,
)
from hormesis_fit.trials.reading import check_number, check_whole
from hormesis_fit.windows.estimands import Asked, asked_for, effects_in
from hormesis_fit.windows.harms import Harm, check_harms, endpoints_of, harms_record
from hormesis_fit.windows.posterior import Member, carrying, check_fit, described, domain, given_doses, trial_of
from hormesis_fit.windows.request import harms_of, request_of, when_of
from hormesis_fit.windows.timecourse import Moment, moment_of, someone
from hormesis_fit.windows.utility import Utility
from hormesis_fit.windows.windowing import check_benefit, solve_one, threshold_of
from hormesis_fit.wording import unknown

GOALS = {
    "information": "Expected information about the existence and the two edges of the window [nat].",
    "regret": "Expected decrease of the regret of the best dose, in units of the benefit asked for.",
}
METHODS = ("draws", "normal")
MOST_WEIGHED = 24  # rows
WEIGHED, OUTCOMES = 1200, 96  # draws that are weighed, and outcomes for which they are
DRAWS = 1000  # of each curve
CANDIDATES = 40  # doses over the domain, beside 0 and the tested ones
DECISIONS = 40  # doses among which the best one is looked for
FUTURES = 512  # possible outcomes of the rows, for the regret
PROBE = 1e-3  # step in log dose of the slope at a probe dose
EDGES = ("lower", "upper")


def next_doses(
    fit: xr.DataTree,
    *,
    n: int = 6,
    goal: str = "information",
    method: str | None = None,
    controls: float = 0.2,
    benefit: float | None = None,
    benefit_scale: str | None = None,
    harm: Harm | Sequence[Harm] | None = None,
    harm_probability: float = 0.1,
    estimand: str | None = None,
    subject: str | None = None,
    time: float | None = None,
    candidates: Sequence[float] | None = None,
) -> xr.Dataset:
    """Return the doses of the next rows of a trial, those from which most is to be learned.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it. What is not given below is as in ``fit["window"]``, where it is stored.
    n : int
        Rows that can be had.
    goal : {"information", "regret"}
        Whether to learn most about the edges of the window, or to choose the best dose with the least regret.
    method : {"draws", "normal"}, optional
        How information is reckoned: by weighing the draws anew for possible outcomes, which is the default for up to 24
        rows, or by normal moments, the default for more. Regret is always reckoned by normal moments.
    controls : float
        Least share of the rows without the drug; at least one row is a control.
    benefit, benefit_scale, harm, estimand, subject, time : optional
        Which window, as in `window`; interval and history are those of ``fit["window"]``.
    harm_probability : float
        Highest probability to exceed a limit on harm that a dose may have to be given at all.
    candidates : sequence of float, optional
        The only doses that can be given [dose]; by default a grid from a third of the lowest positive dose to three
        times the highest, with the tested doses.

    Returns
    -------
    Dataset
        Over (dose): ``replicates``, rows at each dose, and ``loss``, what the set would lose without one of them. Over
        (candidate): ``gain`` of a single row, ``allowed``, ``prob_harm``. Over (edge): ``sd`` of the log of each edge
        and what is ``expected_sd`` after the rows [1]. Scalar ``expected_gain`` of the whole set. With a drift of
        potency the attr ``probe_dose``, on the steepest rise, where a shift shows best [dose]. Attrs: what was asked.

    Raises
    ------
    ValueError
        If an argument is out of range, no dose is allowed, or no draw says anything of a window.

    Notes
    -----
    Information is the expected decrease of the entropy of existence and, as far as there is a window, of the two log
    edges, of which edges beyond the domain count as being at its end. By draws: outcomes of the rows are drawn for some
    of the posterior draws, and all draws, of all curves by their weights, are weighed by the likelihood of each
    outcome. By normal moments: mean responses and edges are taken as jointly normal, so that a further row takes its
    rank-one part off their covariance, and existence adds :math:`H (1 - e^{-I / H})` with its normal information
    :math:`I` and its entropy :math:`H`. Rows are added one after another and then exchanged where another dose is
    better. The regret follows the knowledge gradient for correlated beliefs.

    References
    ----------
    Frazier, Powell and Dayanik 2009, https://doi.org/10.1287/ijoc.1080.0314
    """
    check_fit(fit)
    asked = asked_question(fit, benefit, benefit_scale, harm, estimand, subject, time)
    method = _check(n, goal, method, controls, harm_probability)
    trial = trial_of(fit)
    doses = candidate_doses(trial, candidates)
    outlook = _outlook(fit, trial, doses, asked)
    allowed = (doses == 0) | (outlook.prob_harm <= harm_probability)
    if not (allowed & (doses > 0)).any():
        raise ValueError(
            f"Every dose exceeds a limit on harm with a probability above {harm_probability:g}: raise the limit or "
            "harm_probability=, or name lower doses with candidates=."
        )
    start = _information(outlook, n, method) if goal == "information" else _regret(outlook, doses, allowed, n)
    fixed = [0] * max(1, math.ceil(controls * n - 1e-9))
    chosen = best_set(start, fixed, n, allowed)
    probe = _probe_dose(outlook, doses, allowed, fit)
    if probe is not None and probe not in chosen:
        chosen = _with_probe(start, chosen, len(fixed), probe)
    result = _described(outlook, start, chosen, doses, allowed, trial, goal)
    result.attrs = asked.attrs | {
        "goal": goal,
        "method": method,
        "n": int(n),
        "controls": float(controls),
        "harm_probability": float(harm_probability),
        "domain": [float(doses[doses > 0].min()), float(doses.max())],
        "prob_exists": float(outlook.weights @ outlook.exists),
    }
    if probe is not None:
        result.attrs["probe_dose"] = float(doses[probe])
    return result


def _check(n: int, goal: str, method: str | None, controls: float, harm_probability: float) -> str:
    check_whole("n", n, least=2)
    if n > 500:
        raise ValueError(f"n must be a number of rows of at most 500, got {n}: plan them in several steps.")
    if goal not in GOALS:
        raise ValueError(unknown("goal", goal, GOALS))
    for name, value in (("controls", controls), ("harm_probability", harm_probability)):
        check_number(name, value, least=0.0)
        if value >= 1:
            raise ValueError(f"{name} must be a share below 1, such as 0.2, got {value!r}.")
    if method is not None and method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    # Weights of many rows would rest on a handful of draws.
    usual = "draws" if n <= MOST_WEIGHED else "normal"
    return "normal" if goal == "regret" else method or usual


@dataclass(frozen=True)
class Question:
    """Which window is to be learned about."""

    benefit: float
    benefit_scale: str
    harms: tuple[Harm, ...]
    asked: Asked
    moment: Moment | None
    attrs: dict[str, Any]


def asked_question(
    fit: xr.DataTree,
    benefit: float | None = None,
    benefit_scale: str | None = None,
    harm: Harm | Sequence[Harm] | None = None,
    estimand: str | None = None,
    subject: str | None = None,
    time: float | None = None,
) -> Question:
    """Resolve the question: what is not given is that of the stored window."""
    stored = fit["window"].to_dataset() if "window" in fit else None
    known: dict[str, Any] = {} if stored is None else request_of(stored)
    if harm is None and stored is not None and harms_of(stored) is None:
        raise ValueError("The window keeps limits by functions, which a file cannot hold: give them again with harm=.")
    scale = benefit_scale or known.get("benefit_scale", "relative")
    if benefit is None and scale != known.get("benefit_scale", "relative"):
        raise ValueError(f'benefit_scale="{scale}" needs a benefit= on that scale.')
    size = known.get("benefit", 0.10) if benefit is None else benefit
    check_benefit(size, scale, 0.5)
    harms = check_harms(known.get("harm", ()) if harm is None else harm, endpoints_of(fit))
    if estimand is None and subject is None:
        estimand, subject = known.get("estimand"), known.get("subject")
    asked = asked_for(fit, estimand or "typical", subject)
    when = {} if stored is None else when_of(stored)
    moment = moment_of(fit, **when | ({} if time is None else {"time": time}))
    attrs = {"benefit": float(size), "benefit_scale": scale, "estimand": asked.label, "subject": asked.subject or ""}
    attrs |= {"harms": "; ".join(one.describe() for one in harms), "harm": harms_record(harms)}
    attrs |= moment.asked() if moment else {}
    return Question(float(size), scale, harms, asked, moment, attrs)


def candidate_doses(trial: xr.Dataset, candidates: Sequence[float] | None) -> np.ndarray:
    """Doses that may be given, ascending, 0 first [dose]."""
    low, high = domain(trial)
    if candidates is None:
        tested = np.unique(trial["dose"].values)
        tested, grid = tested[tested > 0], np.geomspace(low, high, CANDIDATES)
        # A dose next to one that was tested is none of its own.
        near = np.abs(np.log(grid[:, None] / tested)).min(axis=1) < np.log(grid[1] / grid[0]) / 2
        return np.union1d(np.append(tested, 0.0), rounded(grid[~near], low, high))
    given = given_doses(candidates, trial).values
    outside = given[(given > 0) & ((given < low) | (given > high))]
    if outside.size:
        raise ValueError(
            f"Candidates must lie between {low:g} and {high:g}, near the tested doses, got {outside[0]:g}: test doses "
            "further out before the model is asked about them."
        )
    if not (given > 0).any():
        raise ValueError(f"Expected at least one candidate above 0, got {list(candidates)!r}.")
    return np.union1d(given, [0.0])


def rounded(doses: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return doses with three significant digits, as somebody can weigh them, that stay between two doses."""
    return np.clip([float(f"{dose:.3g}") for dose in doses], low, high)


@dataclass(frozen=True)
class Outlook:
    """What the draws of a fit say of the candidates and of the window, jointly."""

    weights: np.ndarray  # (sample,), sum to one
    means: np.ndarray  # (sample, candidate)
    noise: np.ndarray  # (candidate,), variance of one row around its mean
    edges: np.ndarray  # (sample, 2), logs, at the end of the domain where they are beyond it
    exists: np.ndarray  # (sample,)
    prob_harm: np.ndarray  # (candidate,)
    utility: Utility
    slopes: np.ndarray  # (candidate,), of the benefit over log dose
    peak: float  # median peak dose


def _outlook(fit: xr.DataTree, trial: xr.Dataset, doses: np.ndarray, asked: Question) -> Outlook:
    low, high = domain(trial)
    parts = []
    for typical in carrying(fit):
        thinned = typical.take(np.arange(0, typical.size, max(typical.size // DRAWS, 1)))

        def limit(one: Member) -> np.ndarray:
            return threshold_of(one, asked.benefit, asked.benefit_scale)

        member, solved = solve_one(fit, thinned, trial, asked.asked, limit, asked.harms, asked.moment)
        rows = _whose_rows(fit, thinned, member, asked)
        own = _means(rows, doses)
        noise = row_variance(rows, own, trial) + _scatter(fit, thinned, own, doses, asked)
        moved = _means(rows, doses * np.exp(PROBE))
        found = solved | {"mean": own, "noise": noise, "slope": (moved - own) / PROBE, "limit": limit(member)}
        found["harm_limit"] = solved.get("harm_limit", np.full(member.size, np.inf))
        parts.append((member, found))
    group = [member for member, _ in parts]
    weights = np.concatenate([np.full(one.size, one.weight / one.size) for one in group])
    weights /= weights.sum()
    names = ("mean", "noise", "slope", "window_lower", "window_upper", "exists", "peak_dose", "harm_limit")
    joint = {name: np.concatenate([found[name] for _, found in parts]) for name in names}
    known = np.isfinite(joint["peak_dose"])
    peak = (
        np.quantile(joint["peak_dose"][known], 0.5, weights=weights[known], method="inverted_cdf") if known.any() else 0
    )
    return Outlook(
        weights=weights,
        means=joint["mean"],
        noise=weights @ joint["noise"],
        edges=log_edges(joint, low, high),
        exists=joint["exists"],
        prob_harm=weights @ (joint["harm_limit"][:, None] < doses),
        utility=Utility(group, [found["limit"] for _, found in parts]),
        slopes=group[0].curve.sign * (weights @ joint["slope"]),
        peak=float(peak),
    )


def log_edges(solved: Mapping[str, np.ndarray], low: float, high: float) -> np.ndarray:
    """Return the logs of the edges of every draw, at the end of the domain where they are beyond it, (sample, edge)."""
    edges = np.stack([solved[f"window_{edge}"] for edge in EDGES], axis=1)
    return np.log(np.clip(np.nan_to_num(edges, nan=low), low, high))


def _whose_rows(fit: xr.DataTree, typical: Member, member: Member, asked: Question) -> Member:
    """The curve around which further rows scatter: that of the subject asked for, or the typical one."""
    if asked.asked.subject is not None or asked.asked.estimand == "typical":
        return member
    return someone(typical, Asked(), trial_of(fit), int(fit.attrs["seed"]), asked.moment)


def _means(member: Member, doses: np.ndarray) -> np.ndarray:
    return np.broadcast_to(member.mean(doses[None, :]), (member.size, len(doses)))


def _scatter(
    fit: xr.DataTree, typical: Member, own: np.ndarray, doses: np.ndarray, asked: Question
) -> np.ndarray | float:
    """Variance of the mean between the people whose rows come next, shape (sample, dose) [response squared]."""
    if asked.asked.subject is not None or not effects_in(typical):
        return 0.0
    other = someone(typical, Asked("new"), trial_of(fit), int(fit.attrs["seed"]), asked.moment)
    return (_means(other, doses) - own) ** 2


def _information(outlook: Outlook, n: int, method: str) -> Goal:
    exists, weights = outlook.exists.astype(bool), outlook.weights
    share = float(np.clip(weights @ exists, 0.0, 1.0))
    if exists.sum() < 3 and share < 1e-6:
        raise ValueError(
            "No draw of the fit has a window, so that nothing is left to learn about it: ask for a smaller benefit."
        )
    if method == "draws":
        rows = systematic(weights, WEIGHED, np.random.default_rng(1))
        return Reweighted.of(outlook.edges[rows], exists[rows], outlook.means[rows], outlook.noise, n, OUTCOMES)
    existence = edges = None
    if not exists.all():
        existence = Surrogate.of(exists[:, None].astype(float), outlook.means, outlook.noise, weights)
    if exists.sum() > 2:
        edges = Surrogate.of(outlook.edges[exists], outlook.means[exists], outlook.noise, weights[exists])
    return Information(share, existence, edges)


def _regret(outlook: Outlook, doses: np.ndarray, allowed: np.ndarray, n: int) -> Regret:
    safe = doses[allowed & (doses > 0)]
    decisions = np.geomspace(safe.min(), safe.max(), DECISIONS)
    gains = np.concatenate([utility for _, utility in outlook.utility.each(decisions)])
    surrogate = Surrogate.of(gains, outlook.means, outlook.noise, outlook.weights)
    # Evenly spread for every row, in an order of its own.
    rng, even = np.random.default_rng(1), ndtri((np.arange(FUTURES) + 0.5) / FUTURES)
    futures = np.stack([rng.permutation(even) for _ in range(n)], axis=1)
    return Regret(outlook.weights @ gains, surrogate, futures)


def _probe_dose(outlook: Outlook, doses: np.ndarray, allowed: np.ndarray, fit: xr.DataTree) -> int | None:
    """The candidate on the steepest rise, where a drift of potency shows best; None without a drift or a rise."""
    if "potency" not in str(fit.attrs.get("drift", "")):
        return None
    rising = allowed & (doses > 0) & (doses < outlook.peak) & (outlook.slopes > 0)
    return int(np.argmax(np.where(rising, outlook.slopes, -np.inf))) if rising.any() else None


def _with_probe(start: Goal, chosen: list[int], fixed: int, probe: int) -> list[int]:
    """Give the row that is missed least to the probe dose."""
    if fixed >= len(chosen):
        return chosen
    changed = [[*chosen[:place], probe, *chosen[place + 1 :]] for place in range(fixed, len(chosen))]
    return max(changed, key=lambda rows: value_of(start, rows))


def _described(
    outlook: Outlook,
    start: Goal,
    chosen: list[int],
    doses: np.ndarray,
    allowed: np.ndarray,
    trial: xr.Dataset,
    goal: str,
) -> xr.Dataset:
    """The set as a Dataset, with the gain of every candidate and what will be known of the edges."""
    rows, counts = np.unique(chosen, return_counts=True)
    total = value_of(start, chosen)
    losses = []
    for row in rows:
        rest = list(chosen)
        rest.remove(int(row))
        losses.append(total - value_of(start, rest))
    before, after = _edge_sds(outlook, chosen)
    unit = "nat" if goal == "information" else "1"
    texts = {
        "replicates": (("dose",), counts, "rows", "Rows at the dose."),
        "loss": (("dose",), np.maximum(losses, 0.0), unit, "What the set would lose without one row at the dose."),
        "expected_gain": ((), total, unit, GOALS[goal]),
        "gain": (("candidate",), start.values(), unit, f"The same of a single row. {GOALS[goal]}"),
        "allowed": (("candidate",), allowed, "1", "Whether the dose keeps the limits on harm probably enough."),
        "prob_harm": (("candidate",), outlook.prob_harm, "1", "Probability that the dose exceeds a limit on harm."),
        "sd": (("edge",), before, "1", "Posterior SD of the log of the edge, given that there is a window."),
        "expected_sd": (("edge",), after, "1", "The same after the rows, as expected."),
    }
    result = xr.Dataset(
        {name: (dims, value, described(unit, trial, text)) for name, (dims, value, unit, text) in texts.items()},
        coords={"dose": doses[rows], "candidate": doses, "edge": list(EDGES)},
    )
    for name in ("dose", "candidate"):
        result[name].attrs = described("dose", trial, "Dose.") | {"long_name": trial["dose"].attrs.get("long_name", "")}
    return result


def _edge_sds(outlook: Outlook, chosen: list[int]) -> tuple[np.ndarray, np.ndarray]:
    exists = outlook.exists.astype(bool)
    if exists.sum() < 3:
        return np.full(2, np.nan), np.full(2, np.nan)
    edges = Surrogate.of(outlook.edges[exists], outlook.means[exists], outlook.noise, outlook.weights[exists])
    later = after_rows(edges, chosen)
    return tuple(np.sqrt(np.maximum(np.diagonal(one.own), 0.0)) for one in (edges, later))


__all__ = ["next_doses"]
