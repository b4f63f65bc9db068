"""The posterior of the micro-dose window: benefit, exceedance, edges, optimum, status and flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import brentq, minimize_scalar
from scipy.optimize.elementwise import find_minimum, find_root

from hormesis_fit.curves import CURVES, Curve
from hormesis_fit.trial import nearest

BENEFIT_SCALES = ("relative", "difference", "sd", "level")
LEVELS = (0.5, 0.8, 0.9, 0.95)
REACH = 3.0  # a window is looked for up to this factor beyond the tested doses
CAP = 2.0  # of the utility: twice the benefit asked for is worth no more than that
QUANTITIES = {
    "peak_dose": ("dose", "Dose of the highest mean benefit."),
    "peak_response": ("response", "Mean response at the peak dose."),
    "peak_stimulation": ("1", "Benefit at the peak dose, relative to the control response."),
    "zero_equivalent_dose": ("dose", "Dose beyond the peak at which the mean response is back at the control."),
    "half_effect_dose": ("dose", "Dose at which half of the span to the asymptote is gone (a rise: is reached)."),
    "window_lower": ("dose", "Lowest dose with the benefit asked for."),
    "window_upper": ("dose", "Highest dose with the benefit asked for; infinite where it never falls back."),
}


@dataclass(frozen=True)
class Member:
    """One curve of a fit, with its draws in one row and its weight."""

    label: str
    curve: Curve  # parameters of shape (sample, 1), to broadcast against doses
    draws: xr.Dataset  # dims (sample,)
    shape: tuple[int, int]  # chains, draws
    weight: float

    @property
    def size(self) -> int:
        """Number of draws."""
        return self.draws.sizes["sample"]

    def gain(self, dose: np.ndarray) -> np.ndarray:
        """Return benefit over the control at doses of shape (sample,) or (dose,) as a row, shape (sample, ...)."""
        return self.curve.sign * (self.curve(dose) - self.curve.control)

    def take(self, which: np.ndarray) -> Member:
        """Return the member at some of its draws."""
        return _member(self.label, self.draws.isel(sample=which), self.shape, self.weight)


def find_class(name: str) -> type[Curve]:
    """Return a curve class by its name, also one that was defined outside the package."""
    known = CURVES | {curve.__name__: curve for curve in Curve.__subclasses__()}
    if name not in known:
        raise ValueError(f"The fit holds a curve {name!r} that is not known here; import the module that defines it first.")
    return known[name]


def members(fit: xr.DataTree) -> list[Member]:
    """Return the curves of a fit with their draws and weights; those that failed are left out."""
    if not isinstance(fit, xr.DataTree) or not ("models" in fit or "posterior" in fit):
        raise TypeError(f"Expected the DataTree that fit() returns, got {type(fit).__name__} without a posterior.")
    trees = dict(fit["models"].children) if "models" in fit else {str(fit["evidence"]["model"].values[0]): fit}
    found = []
    for label, tree in trees.items():
        posterior = tree["posterior"].to_dataset()
        weight = float(fit["evidence"]["weight"].sel(model=label))
        shape = (posterior.sizes["chain"], posterior.sizes["draw"])
        flat = posterior.stack(sample=("chain", "draw"), create_index=False).reset_coords(drop=True)
        found.append(_member(label, flat, shape, weight))
    return found


def _member(label: str, draws: xr.Dataset, shape: tuple[int, int], weight: float) -> Member:
    template = find_class(draws.attrs["curve"]).from_draws(draws)
    values = {name: draws[name].values[:, None] for name in template.parameters() if name in draws}
    return Member(label, template.with_values(values), draws, shape, weight)


def trial_of(fit: xr.DataTree) -> xr.Dataset:
    """Return the trial that was fitted, dims (observation,)."""
    constant = fit["constant_data"].to_dataset()
    return constant.assign(response=fit["observed_data"]["response"]).assign_attrs(constant.attrs)


def domain(trial: xr.Dataset) -> tuple[float, float]:
    """Return the doses between which a window is looked for [dose]: three times beyond the tested ones."""
    doses = trial["dose"].values
    return float(doses[doses > 0].min() / REACH), float(doses.max() * REACH)


def dose_grid(fit: xr.DataTree, size: int = 181) -> xr.DataArray:
    """Return log-spaced doses over the domain, the tested ones among them, dims (dose,) [dose]."""
    trial = trial_of(fit)
    low, high = domain(trial)
    tested = np.unique(trial["dose"].values)
    grid = np.union1d(np.geomspace(low, high, size), tested[tested > 0])
    return xr.DataArray(grid, dims="dose", coords={"dose": grid}, attrs=_attrs("dose", trial, "Dose."))


def window(
    fit: xr.DataTree,
    *,
    benefit: float = 0.10,
    benefit_scale: str = "relative",
    level: float = 0.8,
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
    doses : sequence of float, optional
        Doses at which to give ``probability`` [dose]; by default a grid from a third of the lowest positive dose to three
        times the highest.

    Returns
    -------
    Dataset
        Over (chain, draw): ``peak_dose``, ``window_lower``, ``window_upper``, ``zero_equivalent_dose``,
        ``half_effect_dose`` [dose], ``peak_response`` [response], ``peak_stimulation`` [1], ``exists`` (bool); for an
        average they are draws of the mixture, with ``model``. Over (dose): ``probability`` that the dose has the benefit,
        and its ``expected_utility`` and ``regret``. Scalars: ``prob_exists``, ``max_probability``, ``best_dose``,
        ``optimal_dose`` with ``optimal_regret``; ``near_optimal`` over (ci_bound); ``level_window`` over (window_level,
        piece, ci_bound) [dose]. Attrs: ``status``, ``flags`` (words with a space between them), and what was asked for.

    Raises
    ------
    ValueError
        If benefit, scale, level or doses are out of range.

    Notes
    -----
    Edges are roots on the log-dose axis on either side of the peak, so that a draw's window is one interval. Level windows
    follow from the sorted edges of all draws with the exact weights of their curves.
    """
    _check(benefit, benefit_scale, level)
    trial, group = trial_of(fit), members(fit)
    low, high = domain(trial)
    grid = dose_grid(fit) if doses is None else _given_doses(doses, trial)
    solved = [_solve(member, _threshold(member, benefit, benefit_scale), trial) for member in group]
    weights = np.array([member.weight for member in group])
    exceedance = Exceedance.of(solved, weights, (low, high))
    which, picks = _mixture(group, int(fit.attrs["seed"]))
    chains, draws = group[0].shape
    result = xr.Dataset(
        {
            name: (("chain", "draw"), _gather(solved, which, picks, name).reshape(chains, draws), _attrs(unit, trial, text))
            for name, (unit, text) in QUANTITIES.items()
        },
        coords={"chain": np.arange(chains), "draw": np.arange(draws), "dose": grid},
    )
    exists = _gather(solved, which, picks, "exists").reshape(chains, draws).astype(bool)
    result["exists"] = ("chain", "draw"), exists, _attrs("1", trial, "Whether the draw has a window near the tested doses.")
    if len(group) > 1:
        labels = np.array([member.label for member in group])[which].reshape(chains, draws)
        result["model"] = ("chain", "draw"), labels, _attrs("1", trial, "Curve that the draw belongs to.")
    utility = Utility.of(group, [_threshold(member, benefit, benefit_scale) for member in group])
    result = result.merge(_dose_results(exceedance, utility, grid, trial, level))
    result.attrs = {
        "benefit": float(benefit),
        "benefit_scale": benefit_scale,
        "level": float(level),
        "estimand": "typical",
        "seed": int(fit.attrs["seed"]),
        "domain": [low, high],
        "status": _status(result, level),
    }
    result.attrs["flags"] = " ".join(_flags(result, trial))
    return result


def _check(benefit: float, benefit_scale: str, level: float) -> None:
    if benefit_scale not in BENEFIT_SCALES:
        raise ValueError(
            f"benefit_scale must be one of {', '.join(BENEFIT_SCALES)}, got {benefit_scale!r}."
            f"{nearest(str(benefit_scale), BENEFIT_SCALES)}"
        )
    if isinstance(benefit, bool) or not isinstance(benefit, int | float | np.number) or not np.isfinite(benefit):
        raise ValueError(f"benefit must be a number such as 0.10, got {benefit!r}.")
    if benefit_scale != "level" and benefit <= 0:
        raise ValueError(f"benefit must be above 0, since every dose at all reaches a benefit of 0, got {benefit!r}.")
    if benefit_scale == "relative" and benefit > 100:
        raise ValueError(f"A relative benefit of {benefit:g} means +{benefit:.0%}; write 0.10 for ten per cent.")
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0 < level < 1:
        raise ValueError(f"level must be a probability between 0 and 1, such as 0.8, got {level!r}.")


def _given_doses(doses: Sequence[float], trial: xr.Dataset) -> xr.DataArray:
    grid = np.unique(np.asarray(doses, dtype=float))
    if grid.size == 0 or not np.all(np.isfinite(grid)) or grid.min() < 0:
        raise ValueError(f"doses must be finite numbers of at least 0, got {list(doses)!r}.")
    return xr.DataArray(grid, dims="dose", coords={"dose": grid}, attrs=_attrs("dose", trial, "Dose."))


def _attrs(unit: str, trial: xr.Dataset, definition: str) -> dict[str, str]:
    units = str(trial[unit].attrs.get("units", "")) if unit in trial else unit
    return {"units": units, "long_name": "", "definition": definition}


def _threshold(member: Member, benefit: float, benefit_scale: str) -> np.ndarray:
    """Benefit over the control that counts, shape (sample,) [response]."""
    control = member.curve.control[:, 0]
    match benefit_scale:
        case "relative":
            return benefit * np.abs(control)
        case "sd":
            return benefit * member.draws["sigma"].values
        case "level":
            return member.curve.sign * (benefit - control)
        case _:
            return np.full(member.size, float(benefit))


# --- edges and peaks of single draws -----------------------------------------------------------------------------------


def _solve(member: Member, threshold: np.ndarray, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the quantities of every draw, each of shape (sample,)."""
    grid = _search_grid(trial)
    gains = member.gain(np.exp(grid)[None, :])
    gains = np.broadcast_to(gains, (member.size, len(grid)))
    top = np.argmax(gains, axis=1)
    peak, inner = _peaks(member, grid, top)
    height = np.where(inner, _at(member, peak), np.nan)
    crossing = _Crossings(member, grid, gains, np.where(inner, peak, grid[top]), top)
    lower, upper = crossing.window(threshold)
    low, high = domain(trial)
    exists = (lower <= high) & (upper >= low)
    control = member.curve.control[:, 0]
    positive = inner & (height > 0)
    return {
        "peak_dose": np.where(positive, np.exp(peak), np.nan),
        "peak_response": np.where(positive, control + member.curve.sign * height, np.nan),
        "peak_stimulation": np.where(positive, height / np.abs(control), np.nan),
        "zero_equivalent_dose": np.where(positive, crossing.descent(np.zeros(member.size)), np.nan),
        "half_effect_dose": _half_effect(member, crossing),
        "window_lower": np.where(exists, lower, np.nan),
        "window_upper": np.where(exists, upper, np.nan),
        "exists": exists,
    }


def _search_grid(trial: xr.Dataset) -> np.ndarray:
    """Log doses, dense where a peak can be told from the data and coarse far out."""
    low, high = np.log(domain(trial))
    inside = np.linspace(low - 2, high + 1, max(64, int((high - low + 3) / 0.14)))
    return np.concatenate([np.linspace(low - 30, low - 2, 29)[:-1], inside, np.linspace(high + 1, high + 20, 20)[1:]])


def _at(member: Member, log_dose: np.ndarray) -> np.ndarray:
    return np.broadcast_to(member.gain(np.exp(log_dose)[:, None]), (member.size, 1))[:, 0]


def _peaks(member: Member, grid: np.ndarray, top: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log doses of the highest gain, and whether it lies inside the search grid."""
    inner = (top > 0) & (top < len(grid) - 1)
    peak = grid[top].astype(float)
    chosen = np.flatnonzero(inner)
    if chosen.size:
        part = member.take(chosen)
        bracket = tuple(grid[top[chosen] + shift] for shift in (-1, 0, 1))
        index = np.arange(chosen.size, dtype=float)
        found = find_minimum(_negative_gain(part), bracket, args=(index,), tolerances={"xatol": 1e-7, "xrtol": 1e-9})
        # A plateau within rounding has no bracketed minimum: its middle grid point is as good as any.
        peak[chosen] = np.where(np.isfinite(found.x), found.x, bracket[1])
    return peak, inner


def _negative_gain(part: Member) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda log_dose, index: -_subset_gain(part, log_dose, index)


def _subset_gain(part: Member, log_dose: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Gain of some draws, each at a dose of its own: SciPy's solvers drop the draws that have converged."""
    rows = index.astype(int)
    values = {name: value[rows, 0] for name, value in _arrays(part).items()}
    curve = part.curve.with_values(values)
    return curve.sign * (curve(np.exp(log_dose)) - curve.control) + 0 * log_dose


def _arrays(part: Member) -> dict[str, np.ndarray]:
    curve = part.curve
    return {name: getattr(curve, name) for name in curve.parameters() if isinstance(getattr(curve, name), np.ndarray)}


@dataclass(frozen=True)
class _Crossings:
    """Doses at which the gain of every draw crosses a level, on either side of its peak."""

    member: Member
    grid: np.ndarray
    gains: np.ndarray  # (sample, grid)
    peak: np.ndarray  # log dose
    top: np.ndarray  # its index on the grid

    def window(self, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper edge; (inf, -inf), an empty interval, where the threshold is not reached."""
        reached = np.maximum(_at(self.member, self.peak), self.gains.max(axis=1)) >= threshold
        lower, upper = self.ascent(threshold), self.descent(threshold)
        return np.where(reached, lower, np.inf), np.where(reached, upper, -np.inf)

    def ascent(self, level: np.ndarray) -> np.ndarray:
        """Return the dose left of the peak that reaches a level; 0 where every dose down to 0 does."""
        below = (self.gains < level[:, None]) & (np.arange(len(self.grid)) <= self.top[:, None])
        last = len(self.grid) - 1 - np.argmax(below[:, ::-1], axis=1)
        there = below.any(axis=1)
        right = np.where(last >= self.top, self.peak, self.grid[np.minimum(last + 1, len(self.grid) - 1)])
        root = self._root(self.grid[last], np.minimum(right, self.peak), level, there)
        return np.where(there, np.exp(root), 0.0)

    def descent(self, level: np.ndarray) -> np.ndarray:
        """Return the dose right of the peak where the gain falls to a level; inf where it never does."""
        below = (self.gains < level[:, None]) & (np.arange(len(self.grid)) >= self.top[:, None])
        first = np.argmax(below, axis=1)
        there = below.any(axis=1)
        left = np.where(first <= self.top, self.peak, self.grid[np.maximum(first - 1, 0)])
        root = self._root(np.maximum(left, self.peak), self.grid[first], level, there)
        return np.where(there, np.exp(root), np.inf)

    def _root(self, left: np.ndarray, right: np.ndarray, level: np.ndarray, there: np.ndarray) -> np.ndarray:
        result = np.full(len(left), np.nan)
        chosen = np.flatnonzero(there)
        if chosen.size:
            part, wanted = self.member.take(chosen), level[chosen]
            ends = np.minimum(left[chosen], right[chosen]), np.maximum(left[chosen], right[chosen])
            index = np.arange(chosen.size, dtype=float)

            def miss(log_dose: np.ndarray, which: np.ndarray) -> np.ndarray:
                return _subset_gain(part, log_dose, which) - wanted[which.astype(int)]

            found = find_root(miss, ends, args=(index,), tolerances={"xatol": 1e-9, "xrtol": 1e-12})
            # The peak itself may sit on the level within rounding: then it is the edge.
            result[chosen] = np.where(np.isfinite(found.x), found.x, self.peak[chosen])
        return result


def _half_effect(member: Member, crossing: _Crossings) -> np.ndarray:
    """Dose of half the span beyond the peak (of half the rise, for a rising curve), shape (sample,)."""
    if member.curve.trend == "returning":
        return np.full(member.size, np.nan)
    half = np.broadcast_to(np.asarray(member.curve.reach), (member.size, 1))[:, 0] / 2
    if member.curve.trend == "rising":
        return crossing.ascent(half)
    dose = crossing.descent(-half)
    return np.where(np.isfinite(dose), dose, np.nan)


# --- exceedance and level windows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exceedance:
    """Probability of the benefit as a step function of dose, exact for given draws and weights."""

    lower: np.ndarray  # sorted lower edges, with their weights
    lower_weight: np.ndarray
    upper: np.ndarray  # sorted upper edges, with theirs
    upper_weight: np.ndarray
    domain: tuple[float, float]
    prob_exists: float
    noise: float  # Monte Carlo error of a probability of one half

    @classmethod
    def of(cls, solved: Sequence[Mapping[str, np.ndarray]], weights: np.ndarray, domain: tuple[float, float]) -> Exceedance:
        """Collect the edges of all curves."""
        share = np.concatenate([np.full(len(one["exists"]), w / len(one["exists"])) for one, w in zip(solved, weights, strict=True)])
        exists = np.concatenate([one["exists"] for one in solved])
        lower, upper = (np.concatenate([one[name] for one in solved])[exists] for name in ("window_lower", "window_upper"))
        kept = share[exists]
        up, down = np.argsort(lower), np.argsort(upper)
        noise = 0.5 * float(np.sqrt(np.sum(share**2)))
        return cls(lower[up], kept[up], upper[down], kept[down], domain, float(kept.sum()), noise)

    def __call__(self, dose: np.ndarray) -> np.ndarray:
        """Return the probability that each dose has the benefit, shape (dose,)."""
        begun = np.concatenate([[0.0], np.cumsum(self.lower_weight)])[np.searchsorted(self.lower, dose, side="right")]
        ended = np.concatenate([[0.0], np.cumsum(self.upper_weight)])[np.searchsorted(self.upper, dose, side="left")]
        return np.clip(begun - ended, 0.0, 1.0)

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all edges inside the domain with the domain's ends, and the probability between neighbours."""
        low, high = self.domain
        edges = np.concatenate([self.lower, self.upper])
        edges = np.unique(np.concatenate([[low], edges[(edges > low) & (edges < high)], [high]]))
        return edges, self(np.sqrt(edges[:-1] * edges[1:]))

    def pieces(self, level: float) -> list[tuple[float, float]]:
        """Return the intervals of doses whose probability reaches a level.

        Gaps in which the probability stays within its Monte Carlo error of the level are no gaps.
        """
        edges, heights = self.steps()
        inside = heights >= level
        starts = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
        ends = np.flatnonzero(inside & ~np.concatenate([inside[1:], [False]]))
        tolerance = 4 * self.noise * np.sqrt(level * (1 - level))
        merged: list[tuple[int, int]] = []
        for start, end in zip(starts, ends, strict=True):
            if merged and heights[merged[-1][1] + 1 : start].min() >= level - tolerance:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((start, end))
        return [(float(edges[start]), float(edges[end + 1])) for start, end in merged]

    def best(self) -> tuple[float, float]:
        """Return the dose with the highest probability, and that probability.

        The top of a step function of draws is ragged: the dose is the log-middle of the piece that reaches the maximum
        within its Monte Carlo error.
        """
        _, heights = self.steps()
        highest = float(heights.max())
        if highest <= 0:
            return float("nan"), 0.0
        near = self.pieces(max(highest - self.noise, highest / 2))
        edges, heights = self.steps()
        middle = float(np.sqrt(edges[np.argmax(heights)] * edges[np.argmax(heights) + 1]))
        low, high = next(piece for piece in near if piece[0] <= middle <= piece[1])
        return float(np.sqrt(low * high)), highest


# --- expected utility --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Utility:
    """Expected utility of a dose: the benefit in units of the one asked for, capped."""

    group: Sequence[Member]
    thresholds: Sequence[np.ndarray]

    @classmethod
    def of(cls, group: Sequence[Member], thresholds: Sequence[np.ndarray], most: int = 1000) -> Utility:
        """Take the curves that carry weight, at no more than `most` draws each."""
        kept = [(member, limit) for member, limit in zip(group, thresholds, strict=True) if member.weight > 1e-4]
        thinned = [np.arange(0, member.size, max(member.size // most, 1)) for member, _ in kept]
        return cls(
            [member.take(which) for (member, _), which in zip(kept, thinned, strict=True)],
            [limit[which] for (_, limit), which in zip(kept, thinned, strict=True)],
        )

    def _each(self, doses: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        total = sum(member.weight for member in self.group)
        for member, limit in zip(self.group, self.thresholds, strict=True):
            gains = np.broadcast_to(member.gain(doses[None, :]), (member.size, len(doses)))
            scale = np.where(limit > 0, limit, 1.0)[:, None]
            yield member.weight / total, np.minimum((gains - np.minimum(limit, 0)[:, None]) / scale, CAP)

    def expected(self, doses: np.ndarray) -> np.ndarray:
        """Return the expected utility, shape (dose,)."""
        return sum(weight * utility.mean(axis=0) for weight, utility in self._each(doses))

    def best_possible(self, doses: np.ndarray) -> float:
        """Return the expected utility if every draw could have its own best dose."""
        return float(sum(weight * utility.max(axis=1).mean() for weight, utility in self._each(doses)))

    def optimum(self, doses: np.ndarray) -> tuple[float, np.ndarray, float, tuple[float, float]]:
        """Return the best dose, the regret at `doses`, the regret at the best dose, and the near-optimal doses."""
        expected, ceiling = self.expected(doses), self.best_possible(doses)
        top = int(np.argmax(expected))
        near = np.log(doses[max(top - 1, 0)]), np.log(doses[min(top + 1, len(doses) - 1)])
        found = minimize_scalar(lambda u: -self.expected(np.exp([u]))[0], bounds=near, method="bounded")
        best, value = (np.exp(found.x), -found.fun) if -found.fun > expected[top] else (doses[top], expected[top])
        smallest = max(ceiling - value, 0.0)

        def excess(u: float) -> float:
            return ceiling - self.expected(np.exp([u]))[0] - 1.1 * smallest - 1e-12

        regret = np.maximum(ceiling - expected, 0.0)
        return float(best), regret, float(smallest), _around(doses, regret > 1.1 * smallest, float(best), excess)


def _around(doses: np.ndarray, bad: np.ndarray, best: float, excess: Callable[[float], float]) -> tuple[float, float]:
    """Edges, by root finding, of the doses around the best one that are nearly as good."""
    left, right = np.flatnonzero(bad & (doses < best)), np.flatnonzero(bad & (doses > best))
    low, high = float(doses[0]), float(doses[-1])
    if left.size and excess(np.log(best)) < 0:
        low = float(np.exp(brentq(excess, np.log(doses[left[-1]]), np.log(best))))
    if right.size and excess(np.log(best)) < 0:
        high = float(np.exp(brentq(excess, np.log(best), np.log(doses[right[0]]))))
    return low, high


# --- the mixture and the verdict ---------------------------------------------------------------------------------------


def _mixture(group: Sequence[Member], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which curve every draw of the mixture comes from, and which of its draws it is."""
    size = group[0].shape[0] * group[0].shape[1]
    rng = np.random.default_rng([seed, 2])
    if len(group) == 1:
        return np.zeros(size, dtype=int), np.arange(size)
    edges = np.cumsum([member.weight for member in group])
    which = np.searchsorted(edges / edges[-1], (np.arange(size) + 0.5) / size)
    picks = np.concatenate([rng.permutation(group[k].size)[: np.sum(which == k)] for k in range(len(group))])
    order = rng.permutation(size)
    return which[order], picks[order]


def _gather(solved: Sequence[Mapping[str, np.ndarray]], which: np.ndarray, picks: np.ndarray, name: str) -> np.ndarray:
    result = np.empty(len(which))
    for k, one in enumerate(solved):
        result[which == k] = one[name][picks[which == k]]
    return result


def predict(fit: xr.DataTree, *, doses: Sequence[float] | None = None) -> xr.DataArray:
    """Return posterior draws of the mean response over dose.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it; for an average the draws are those of `window`.
    doses : sequence of float, optional
        Doses >= 0 [dose]; by default a grid over the tested range and beyond.

    Returns
    -------
    DataArray
        Mean response, dims (chain, draw, dose) [response].
    """
    trial, group = trial_of(fit), members(fit)
    grid = dose_grid(fit) if doses is None else _given_doses(doses, trial)
    which, picks = _mixture(group, int(fit.attrs["seed"]))
    chains, draws = group[0].shape
    values = np.empty((len(which), grid.size))
    for k, member in enumerate(group):
        rows = which == k
        if rows.any():
            values[rows] = member.take(picks[rows]).curve(grid.values[None, :])
    return xr.DataArray(
        values.reshape(chains, draws, -1),
        dims=("chain", "draw", "dose"),
        coords={"chain": np.arange(chains), "draw": np.arange(draws), "dose": grid},
        name="mean_response",
        attrs=_attrs("response", trial, "Mean response at a dose.") | {"long_name": "mean response"},
    )


def _dose_results(
    exceedance: Exceedance, utility: Utility, grid: xr.DataArray, trial: xr.Dataset, level: float
) -> xr.Dataset:
    low, high = exceedance.domain
    best, highest = exceedance.best()
    wide = np.geomspace(low, high, 121)
    optimal, _, smallest, near = utility.optimum(wide)
    expected = utility.expected(grid.values)
    ceiling = utility.best_possible(wide)
    levels = sorted({*LEVELS, float(level)})
    pieces = {one: exceedance.pieces(one) for one in levels}
    table = np.full((len(levels), max(1, *(len(found) for found in pieces.values())), 2), np.nan)
    for row, one in enumerate(levels):
        for column, piece in enumerate(pieces[one]):
            table[row, column] = piece
    texts = {
        "probability": (("dose",), exceedance(grid.values), "1", "Posterior probability that the dose has the benefit."),
        "expected_utility": (("dose",), expected, "1", f"Mean of the benefit per benefit asked for, capped at {CAP:g}."),
        "regret": (("dose",), ceiling - expected, "1", "Expected utility lost against knowing the best dose."),
        "prob_exists": ((), exceedance.prob_exists, "1", "Posterior probability that there is a window at all."),
        "max_probability": ((), highest, "1", "Highest probability that any one dose has the benefit."),
        "best_dose": ((), best, "dose", "Dose with the highest probability of the benefit."),
        "optimal_dose": ((), optimal, "dose", "Dose of the highest expected utility."),
        "optimal_regret": ((), smallest, "1", "Expected utility that perfect knowledge would add at the optimal dose."),
        "near_optimal": (("ci_bound",), list(near), "dose", "Doses with at most 1.1 times the smallest regret."),
        "level_window": (("window_level", "piece", "ci_bound"), table, "dose", "Doses that reach each probability."),
    }
    return xr.Dataset(
        {name: (dims, value, _attrs(unit, trial, text)) for name, (dims, value, unit, text) in texts.items()},
        coords={"dose": grid, "window_level": levels, "ci_bound": ["lower", "upper"]},
    )


def level_pieces(window: xr.Dataset, level: float | None = None) -> list[tuple[float, float]]:
    """Return the intervals of a window at one of its levels [dose], by default the level asked for."""
    rows = window["level_window"].sel(window_level=window.attrs["level"] if level is None else level, method="nearest")
    return [(float(low), float(high)) for low, high in rows.values if np.isfinite(low)]


def _status(result: xr.Dataset, level: float) -> str:
    prob_exists = float(result["prob_exists"])
    if level_pieces(result.assign_attrs(level=level)):
        return "WINDOW"
    if prob_exists >= level:
        return "UNLOCATED"
    return "UNLIKELY" if prob_exists <= 1 - level else "UNDETERMINED"


def _flags(result: xr.Dataset, trial: xr.Dataset) -> list[str]:
    doses = np.unique(trial["dose"].values)
    tested = doses[doses > 0]
    exists = result["exists"].values
    lower, upper = result["window_lower"].values[exists], result["window_upper"].values[exists]
    pieces = level_pieces(result)
    best = float(result["best_dose"])
    piece = next(((low, high) for low, high in pieces if low <= best <= high), None)
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
        "NOT_MICRO": standard is not None and piece is not None and best / standard > 0.2,
    }
    return [name for name, there in raised.items() if there]


__all__ = ["BENEFIT_SCALES", "dose_grid", "level_pieces", "predict", "trial_of", "window"]
