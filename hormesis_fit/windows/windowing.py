"""The posterior of the micro-dose window: benefit, exceedance, level windows, status and flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from hormesis_fit.drift.histories import RegimenLike
from hormesis_fit.vocabulary import QUANTITIES
from hormesis_fit.windows.estimands import EACH, Asked, asked_for, served
from hormesis_fit.windows.exceedance import Exceedance, nearest_piece
from hormesis_fit.windows.harms import Harm, check_harms, cut_short, endpoints_of, harms_record, limits_of
from hormesis_fit.windows.posterior import (
    Member,
    carrying,
    check_fit,
    described,
    domain,
    dose_grid,
    given_doses,
    labels_of,
    mixture,
    trial_of,
)
from hormesis_fit.windows.quantities import solve
from hormesis_fit.windows.timecourse import Moment, moment_of, someone
from hormesis_fit.windows.utility import CAP, Utility
from hormesis_fit.wording import unknown

BENEFIT_SCALES = ("relative", "difference", "sd", "level")
LEVELS = (0.5, 0.8, 0.9, 0.95)


def window(
    fit: xr.DataTree,
    *,
    benefit: float = 0.10,
    benefit_scale: str = "relative",
    level: float = 0.8,
    harm: Harm | Sequence[Harm] = (),
    estimand: str = "typical",
    subject: str | None = None,
    time: float | None = None,
    interval: float | None = None,
    history: RegimenLike | None = None,
    doses: Sequence[float] | None = None,
) -> xr.Dataset:
    """Return the posterior of the micro-dose window.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of one curve or of an average.
    benefit : float
        Smallest benefit over the control that counts.
    benefit_scale : {"relative", "difference", "sd", "level"}
        Whether it is relative to the control response, a difference [response], a number of residual SDs, or a level
        that the mean response has to reach [response].
    level : float
        Probability that a dose needs to belong to the window.
    harm : Harm or sequence of Harm, optional
        What a dose must not do; a dose counts where it has the benefit and breaks no limit, in one and the same draw.
    estimand : {"typical", "population", "new", "coverage"}
        Whose window, where people differ: the typical subject's; that of the population mean; that of a new subject;
        the doses that serve 80 % of the population.
    subject : str, optional
        Label of a subject of the trial, whose own window is wanted.
    time : float, optional
        When, where sensitivity drifts [time]; by default at the last visit. Doses in time count from time 0 on, and
        benefits are means over the interval that holds the time.
    interval : float, optional
        Time between doses [time], where the fit has pharmacokinetics; by default that of the trial. Without a time the
        doses have been given for ever.
    history : Regimen, Dataset, path or table, optional
        Doses that one person had before time 0, when the new ones begin, at negative times [time], as for ``regimen``
        of `fit`: what they have left of exposure and sensitivity is where the new ones begin, so that wash-out and
        holidays count. The control is still the response without any drug.
    doses : sequence of float, optional
        Doses at which to give ``probability`` [dose]; by default a grid from a third of the lowest positive dose to
        three times the highest.

    Returns
    -------
    Dataset
        Over (chain, draw): ``peak_dose``, ``window_lower``, ``window_upper``, ``zero_equivalent_dose``,
        ``half_effect_dose`` [dose], ``peak_response`` [response], ``peak_stimulation`` [1], ``exists`` (bool); for an
        average they are draws of the mixture, with ``model``. Over (dose): ``probability`` that the dose has the
        benefit, and its ``expected_utility`` and ``regret``. Scalars: ``prob_exists``, ``max_probability``,
        ``best_dose``, ``optimal_dose`` with ``optimal_regret``; ``near_optimal`` over (ci_bound); ``level_window`` over
        (window_level, piece, ci_bound) [dose]. Attrs: ``status``, ``flags`` (words with a space
        between them), and what was asked for. With harms, over (chain, draw): ``upper_limit``, what ends the window of
        the draw ("benefit" or the name of a harm), and over (limit): ``prob_binds``, how probably each does.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If benefit, scale, level or doses are out of range, harm, estimand or subject unknown, or if nothing remembers
        the doses of the history.

    Notes
    -----
    Edges are roots on the log-dose axis on either side of the peak, so that a draw's window is one interval. Level
    windows follow from the sorted edges of all draws with the exact weights of their curves.

    References
    ----------
    Zhu et al. (2013), the doses of a benefit on both limbs, https://doi.org/10.1016/j.ecoenv.2012.11.022;
    Neuenschwander, Branson and Gsponer (2008), limits on harm as probabilities, https://doi.org/10.1002/sim.3230.
    """
    check_benefit(benefit, benefit_scale, level)
    check_fit(fit)
    harms = check_harms(harm, endpoints_of(fit))
    asked, seed = asked_for(fit, estimand, subject), int(fit.attrs["seed"])
    trial = trial_of(fit)
    low, high = domain(trial)
    grid = dose_grid(fit) if doses is None else given_doses(doses, trial)
    moment = moment_of(fit, time, interval, history)
    group, solved = _solve_all(fit, trial, asked, lambda one: threshold_of(one, benefit, benefit_scale), harms, moment)
    weights = np.array([member.weight for member in group])
    exceedance = Exceedance.of(solved, weights, (low, high))
    which, picks = mixture(group, seed)
    chains, draws = group[0].shape
    result = xr.Dataset(
        {
            name: (
                ("chain", "draw"),
                _gather(solved, which, picks, name).reshape(chains, draws),
                described(unit, trial, text),
            )
            for name, (unit, text) in QUANTITIES.items()
        },
        coords=labels_of(fit) | {"dose": grid},
    )
    exists = _gather(solved, which, picks, "exists").reshape(chains, draws).astype(bool)
    result["exists"] = (
        ("chain", "draw"),
        exists,
        described("1", trial, "Whether the draw has a window near the tested doses."),
    )
    if "models" in fit:
        labels = np.array([member.label for member in group])[which].reshape(chains, draws)
        result["model"] = ("chain", "draw"), labels, described("1", trial, "Curve that the draw belongs to.")
    if harms:
        result = result.merge(_binding(solved, which, picks, exists, [one.label for one in harms], trial))
    utility = Utility.of(group, [threshold_of(member, benefit, benefit_scale) for member in group])
    result = result.merge(_dose_results(exceedance, utility, grid, trial, level))
    result.attrs = {
        "benefit": float(benefit),
        "benefit_scale": benefit_scale,
        "level": float(level),
        "estimand": asked.label,
        "subject": asked.subject or "",
        "harms": "; ".join(one.describe() for one in harms),
        "harm": harms_record(harms),
        "seed": seed,
        "domain": [low, high],
        "status": _status(result, level),
    }
    result.attrs |= moment.asked() if moment else {}
    result.attrs["flags"] = " ".join(_flags(result, trial))
    return result


def _solve_all(
    fit: xr.DataTree,
    trial: xr.Dataset,
    asked: Asked,
    limit: Callable[[Member], np.ndarray],
    harms: Sequence[Harm],
    moment: Moment | None,
) -> tuple[list[Member], list[dict[str, np.ndarray]]]:
    """Return the curves of a fit for the people asked for, and what every draw says of them."""
    pairs = [solve_one(fit, typical, trial, asked, limit, harms, moment) for typical in carrying(fit)]
    return [member for member, _ in pairs], [one for _, one in pairs]


def solve_one(
    fit: xr.DataTree,
    typical: Member,
    trial: xr.Dataset,
    asked: Asked,
    limit: Callable[[Member], np.ndarray],
    harms: Sequence[Harm],
    moment: Moment | None,
) -> tuple[Member, dict[str, np.ndarray]]:
    """Return one curve of a fit for the people asked for, and what every draw says of it."""

    def found(whom: Member, who: Asked) -> tuple[Member, dict[str, np.ndarray]]:
        each = someone(whom, who, trial, int(fit.attrs["seed"]), moment)
        one = solve(each, limit(each), trial)
        return each, cut_short(one, limits_of(fit, harms, each, who), trial) if harms else one

    member, one = found(typical, asked)
    if asked.estimand == "coverage":
        one = served(typical, one, lambda block: found(block, EACH)[1])
    return member, one


def _binding(
    solved: Sequence[Mapping[str, np.ndarray]],
    which: np.ndarray,
    picks: np.ndarray,
    exists: np.ndarray,
    labels: Sequence[str],
    trial: xr.Dataset,
) -> xr.Dataset:
    """Return what ends the window of every draw, and how often each limit does."""
    names = np.array(["benefit", *labels])
    binding = names[_gather(solved, which, picks, "binding").astype(int)].reshape(exists.shape)
    ended = np.where(exists, binding, "")
    shares = [float(np.mean(ended[exists] == name)) if exists.any() else np.nan for name in names]
    text = "What ends the window of the draw: the benefit, or the first harm to exceed its limit."
    share = "Probability that this ends the window, given that there is one."
    return xr.Dataset(
        {
            "upper_limit": (("chain", "draw"), ended, described("1", trial, text)),
            "prob_binds": (("limit",), shares, described("1", trial, share)),
        },
        coords={"limit": names},
    )


def check_benefit(benefit: float, benefit_scale: str, level: float) -> None:
    """Refuse a benefit, a scale or a level that make no sense, in one sentence."""
    if benefit_scale not in BENEFIT_SCALES:
        raise ValueError(unknown("benefit scale", benefit_scale, BENEFIT_SCALES))
    if isinstance(benefit, bool) or not isinstance(benefit, int | float | np.number) or not np.isfinite(benefit):
        raise ValueError(f"benefit must be a number such as 0.10, got {benefit!r}.")
    if benefit_scale != "level" and benefit <= 0:
        raise ValueError(f"benefit must be above 0, since every dose at all reaches a benefit of 0, got {benefit!r}.")
    if benefit_scale == "relative" and benefit > 100:
        raise ValueError(f"A relative benefit of {benefit:g} means +{benefit:.0%}; write 0.10 for ten per cent.")
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0 < level < 1:
        raise ValueError(f"level must be a probability between 0 and 1, such as 0.8, got {level!r}.")


def threshold_of(member: Member, benefit: float, benefit_scale: str) -> np.ndarray:
    """Benefit over the control that counts, shape (sample,) [response]."""
    control = member.control
    match benefit_scale:
        case "relative":
            return benefit * np.abs(control)
        case "sd":
            return benefit * member.spread
        case "level":
            return member.curve.sign * (benefit - control)
        case _:
            return np.full(member.size, float(benefit))


def _gather(solved: Sequence[Mapping[str, np.ndarray]], which: np.ndarray, picks: np.ndarray, name: str) -> np.ndarray:
    result = np.empty(len(which))
    for k, one in enumerate(solved):
        result[which == k] = one[name][picks[which == k]]
    return result


def _dose_results(
    exceedance: Exceedance, utility: Utility, grid: xr.DataArray, trial: xr.Dataset, level: float
) -> xr.Dataset:
    low, high = exceedance.domain
    best, highest = exceedance.best()
    wide = np.geomspace(low, high, 361)
    optimal, ceiling, smallest, near = utility.optimum(wide)
    expected = utility.expected(grid.values)
    levels = sorted({*LEVELS, float(level)})
    pieces = {one: exceedance.pieces(one) for one in levels}
    table = np.full((len(levels), max(1, *(len(found) for found in pieces.values())), 2), np.nan)
    for row, one in enumerate(levels):
        for column, piece in enumerate(pieces[one]):
            table[row, column] = piece
    texts = {
        "probability": (
            ("dose",),
            exceedance(grid.values),
            "1",
            "Posterior probability that the dose has the benefit.",
        ),
        "expected_utility": (
            ("dose",),
            expected,
            "1",
            f"Mean of the benefit per benefit asked for, capped at {CAP:g}.",
        ),
        "regret": (
            ("dose",),
            np.maximum(ceiling - expected, 0.0),
            "1",
            "Expected utility lost against knowing the best dose.",
        ),
        "prob_exists": ((), exceedance.prob_exists, "1", "Posterior probability that there is a window at all."),
        "max_probability": ((), highest, "1", "Highest probability that any one dose has the benefit."),
        "best_dose": ((), best, "dose", "Dose with the highest probability of the benefit."),
        "optimal_dose": ((), optimal, "dose", "Dose of the highest expected utility."),
        "optimal_regret": ((), smallest, "1", "Expected utility that perfect knowledge would add at the optimal dose."),
        "near_optimal": (("ci_bound",), list(near), "dose", "Doses with at most 1.1 times the smallest regret."),
        "level_window": (("window_level", "piece", "ci_bound"), table, "dose", "Doses that reach each probability."),
    }
    return xr.Dataset(
        {name: (dims, value, described(unit, trial, text)) for name, (dims, value, unit, text) in texts.items()},
        coords={"dose": grid, "window_level": levels, "ci_bound": ["lower", "upper"]},
    )


def level_pieces(window: xr.Dataset, level: float | None = None) -> list[tuple[float, float]]:
    """Return the intervals of a window at one of its levels [dose], by default the level asked for."""
    rows = window["level_window"].sel(window_level=window.attrs["level"] if level is None else level, method="nearest")
    return [(float(low), float(high)) for low, high in rows.values if np.isfinite(low)]


def held_piece(window: xr.Dataset) -> tuple[float, float] | None:
    """Return the interval of the level window that holds the best dose [dose], None where the window is empty."""
    pieces, best = level_pieces(window), float(window["best_dose"])
    # The best dose is the middle of a ragged top and may lie just outside a window that barely reaches its level.
    return nearest_piece(pieces, best)


def _status(result: xr.Dataset, level: float) -> str:
    prob_exists = float(result["prob_exists"])
    if level_pieces(result.assign_attrs(level=level)):
        return "WINDOW"
    if prob_exists >= level:
        return "UNLOCATED"
    return "UNLIKELY" if prob_exists <= 1 - level else "UNDETERMINED"


def _crossed_over(trial: xr.Dataset) -> bool:
    """Whether subjects had both the placebo and the drug."""
    if "subject" not in trial:
        return False
    given = {(label, dose > 0) for label, dose in zip(trial["subject"].values, trial["dose"].values, strict=True)}
    return any((label, not drug) in given for label, drug in given)


def _guessed(trial: xr.Dataset) -> bool:
    """Whether the guesses of the treatment are there, also where the drug was given, and not all the same."""
    if "guess" not in trial:
        return False
    guesses = trial["guess"].values
    return bool(np.all(np.isfinite(guesses)) and np.ptp(guesses) > 0)


def _flags(result: xr.Dataset, trial: xr.Dataset) -> list[str]:
    doses = np.unique(trial["dose"].values)
    tested = doses[doses > 0]
    exists = result["exists"].values
    lower, upper = result["window_lower"].values[exists], result["window_upper"].values[exists]
    pieces = level_pieces(result)
    best = float(result["best_dose"])
    piece = held_piece(result)
    peaks = result["peak_dose"].values[np.isfinite(result["peak_dose"].values)]
    spanned = np.quantile(peaks, [0.1, 0.9]) if peaks.size else None
    standard = trial.attrs.get("standard_dose")
    raised = {
        "LEFT_OPEN": lower.size > 0 and np.mean(lower < tested.min()) > 0.1,
        "RIGHT_OPEN": upper.size > 0 and np.mean(upper > tested.max()) > 0.1,
        "BETWEEN_DOSES": piece is not None and not np.any((tested >= piece[0]) & (tested <= piece[1])),
        "PEAK_IN_GAP": spanned is not None and not np.any((tested >= spanned[0]) & (tested <= spanned[1])),
        "NO_CONTROL": doses.min() > 0 and "control" not in trial.attrs,
        "SPLIT": len(pieces) > 1,
        "BLINDING_UNCHECKED": _crossed_over(trial) and not _guessed(trial),
        "NOT_MICRO": standard is not None and piece is not None and best / standard > 0.2,
    }
    return [name for name, there in raised.items() if there]
