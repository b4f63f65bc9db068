"""The search for the support of an optimal design: weights by convex steps, doses by their sensitivity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, minimize

GRID = 201  # doses at which the sensitivity is looked at, on each of a linear and a logarithmic scale
ZOOMS = 7  # each divides the bracket of a dose by ten
ROUNDS = 60
CLOSE = 0.03  # doses within this share of each other are one
NOTHING = 3e-4  # share of the highest dose below which a dose is a control, if the range begins there
TRACE = 1e-3  # share of the rows that is not worth a dose
TOLERANCE, LOOSE = 1e-6, 5e-4  # of the sensitivity of a design for one curve, and for draws of curves
STARTS = 40  # doses to begin with
SETTLING = 12
RIDGE = 1e-10  # relative to the information: what a design leaves unknown is then unknown, and not a division by zero

type Rows = Callable[[np.ndarray], np.ndarray]  # doses to what one row says, shape (sample, dose, parameter)


@dataclass(frozen=True)
class Design:
    """Doses with their shares of the rows."""

    doses: np.ndarray
    weights: np.ndarray
    max_sensitivity: float

    def weight_at(self, dose: float) -> float:
        """Return the share of the rows at a dose."""
        return float(self.weights[self.doses == dose].sum())

    def rounded_to(self, n: int, controls: float = 0.0) -> Design:
        """Return the design with whole numbers of rows.

        Parameters
        ----------
        n : int
            Rows; doses beyond that number are left out, those with the least weight first.
        controls : float
            Least share of rows at dose 0.

        Notes
        -----
        Efficient rounding (Pukelsheim and Rieder 1992, https://doi.org/10.1093/biomet/79.4.763).
        """
        kept = np.sort(np.argsort(-self.weights, kind="stable")[:n])
        doses, weights = self.doses[kept], self.weights[kept] / self.weights[kept].sum()
        rows = np.ceil((n - len(kept) / 2) * weights).astype(int)
        while rows.sum() > n:
            rows[np.argmax((rows - 1) / weights)] -= 1
        while rows.sum() < n:
            rows[np.argmin(rows / weights)] += 1
        missing = int(np.ceil(controls * n - 1e-9)) - int(rows[doses == 0].sum())
        for _ in range(missing if (doses == 0).any() else 0):
            rows[np.argmax(np.where(doses > 0, rows / weights, -np.inf))] -= 1
            rows[doses == 0] += 1
        doses, rows = doses[rows > 0], rows[rows > 0]
        return Design(doses, rows / n, self.max_sensitivity)


@dataclass(frozen=True)
class Space:
    """Doses that can be given."""

    low: float
    high: float
    choices: tuple[float, ...] = ()  # if only some can

    @property
    def lowest(self) -> float:
        """The lowest positive dose, or what stands for it where the range begins at 0."""
        return self.low if self.low > 0 else self.high * 1e-3

    def grid(self) -> np.ndarray:
        """Return doses that cover the range, ascending, 0 first."""
        if self.choices:
            return np.union1d(self.choices, [0.0])
        spread = np.geomspace(self.lowest, self.high, GRID), np.linspace(self.low, self.high, GRID)
        return np.union1d(np.concatenate(spread), [0.0])

    def evenly(self, number: int) -> Design:
        """Return the control and equally spaced log doses with as many rows each; of a list of doses all."""
        doses = (
            self.grid() if self.choices else np.append(0.0, np.geomspace(self.lowest, self.high, max(number - 1, 2)))
        )
        return Design(doses, np.full(len(doses), 1 / len(doses)), np.nan)

    def highest(self, function: Callable[[np.ndarray], np.ndarray], start: Sequence[float] = ()) -> np.ndarray:
        """Return the doses at which a function has its local maxima."""
        grid = np.union1d(self.grid(), np.asarray(start, dtype=float))
        values = function(grid)
        padded = np.concatenate([[-np.inf], values, [-np.inf]])
        tops = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] >= padded[2:]))
        if self.choices:
            return grid[tops]
        # The control is a dose of its own: nothing lies between it and the lowest one, unless the range begins there.
        inner = self.low if self.low > 0 else 0.0
        left = np.where(grid[tops] == 0, 0.0, np.maximum(grid[np.maximum(tops - 1, 0)], inner))
        right = np.where((grid[tops] == 0) & (self.low > 0), 0.0, grid[np.minimum(tops + 1, len(grid) - 1)])
        for _ in range(ZOOMS):
            inside = left[:, None] + (right - left)[:, None] * np.linspace(0, 1, 21)
            best = np.argmax(function(inside.ravel()).reshape(inside.shape), axis=1)
            picked = np.arange(len(tops))
            left, right = inside[picked, np.maximum(best - 1, 0)], inside[picked, np.minimum(best + 1, 20)]
        return np.unique(np.append(inside[picked, best], grid[tops][grid[tops] == 0]))


@dataclass(frozen=True)
class Criterion:
    """What a design is for: a share of all parameters (D), the rest for quantities (c), averaged over draws.

    Attributes
    ----------
    blocks : sequence of tuple
        For each curve what one row says, the directions of the quantities, shape (sample, quantity, parameter), and the
        shares of the draws.
    share : float
        Of the parameters.
    """

    blocks: Sequence[tuple[Rows, np.ndarray, np.ndarray]]
    share: float

    def at(self, doses: np.ndarray) -> list[np.ndarray]:
        """Return what one row at each dose says, for each curve."""
        return [rows(doses) for rows, _, _ in self.blocks]

    def _inverses(self, said: Sequence[np.ndarray], weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for rows in said:
            information = (rows * weights[:, None]).transpose(0, 2, 1) @ rows
            size = information.shape[1]
            floor = RIDGE * np.trace(information, axis1=1, axis2=2)[:, None, None] / size * np.eye(size)
            found.append((np.linalg.inv(information + floor), np.linalg.slogdet(information + floor)[1]))
        return found

    def value(self, said: Sequence[np.ndarray], weights: np.ndarray) -> float:
        """Return the criterion of a design, in logs of information per parameter."""
        total = 0.0
        parts = zip(self.blocks, self._inverses(said, weights), strict=True)
        for (_, targets, shares), (inverse, log_det) in parts:
            each = self.share * log_det / inverse.shape[1]
            if self.share < 1:
                variances = np.sum(targets @ inverse * targets, axis=2)
                each = each - (1 - self.share) * np.log(variances).mean(axis=1)
            total += shares @ each
        return float(total / sum(shares.sum() for _, _, shares in self.blocks))

    def sensitivity(
        self, said: Sequence[np.ndarray], weights: np.ndarray, asked: Sequence[np.ndarray] | None = None
    ) -> np.ndarray:
        """Return the gain of a row at other doses `asked`, by default at those of the design, shape (dose,)."""
        total = 0.0
        parts = zip(self.blocks, self._inverses(said, weights), said if asked is None else asked, strict=True)
        for (_, targets, shares), (inverse, _), rows in parts:
            each = self.share * np.sum(rows @ inverse * rows, axis=2) / inverse.shape[1]
            if self.share < 1:
                turned = targets @ inverse
                variances = np.sum(turned * targets, axis=2)
                seen = np.square(turned @ rows.transpose(0, 2, 1)) / variances[:, :, None]
                each = each + (1 - self.share) * seen.mean(axis=1)
            total = total + shares @ each
        return total / sum(shares.sum() for _, _, shares in self.blocks)

    def efficiency(self, design: Design, best: Design) -> float:
        """Return the information of a design per that of the best one."""
        values = [self.value(self.at(one.doses), one.weights) for one in (design, best)]
        return float(np.exp(values[0] - values[1]))


def optimum(goal: Criterion, space: Space, forced: Mapping[float, float]) -> Design:
    """Return the best design with least shares at some doses.

    Parameters
    ----------
    goal : Criterion
        What the design is for.
    space : Space
        Doses that can be given.
    forced : mapping
        Least shares of rows, by dose.

    Notes
    -----
    As Yang, Biedermann and Tang 2013 (https://doi.org/10.1080/01621459.2013.806268): the doses of highest sensitivity
    join the support, weights are optimised over it, and doses without weight leave it.
    """
    least = {dose: share for dose, share in forced.items() if share > 0}
    single = sum(len(shares) for _, _, shares in goal.blocks) == 1
    # Averaged over draws the sensitivity is flat over wide ranges: its last digits would be bought with many doses.
    tolerance = TOLERANCE if single else LOOSE
    grid = space.grid()
    doses = np.union1d(grid[:: max(len(grid) // STARTS, 1)], list(least))
    weights = np.full(len(doses), 1 / len(doses))
    for _ in range(ROUNDS):
        weights = best_weights(goal, goal.at(doses), _least_at(doses, least), weights)
        kept = (weights > (1e-6 if single else TRACE / 10)) | (_least_at(doses, least) > 0)
        doses, weights = doses[kept], weights[kept] / weights[kept].sum()
        tops, heights = _tops(goal, space, doses, weights, least)
        if heights.max() < 1 + tolerance:
            break
        doses, weights = _joined(doses, weights, tops[heights > 1 + tolerance / 10])
    doses, weights = _merged(doses, weights, space, list(least))
    weights = best_weights(goal, goal.at(doses), _least_at(doses, least), weights)
    if not space.choices:
        doses, weights = _settled(goal, space, doses, weights, least)
    return Design(doses, weights, float(_tops(goal, space, doses, weights, least)[1].max()))


def _least_at(doses: np.ndarray, least: Mapping[float, float]) -> np.ndarray:
    return np.array([least.get(float(dose), 0.0) for dose in doses])


def _tops(
    goal: Criterion, space: Space, doses: np.ndarray, weights: np.ndarray, least: Mapping[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Doses of locally highest sensitivity, and how high it is there; 1 where a free row is worth what others are."""
    said = goal.at(doses)
    free = weights - _least_at(doses, least)
    bound = float(free @ goal.sensitivity(said, weights)) / free.sum()

    def sensitivity(asked: np.ndarray) -> np.ndarray:
        return goal.sensitivity(said, weights, goal.at(asked)) / bound

    tops = space.highest(sensitivity, doses)
    return tops, sensitivity(tops)


def _settled(
    goal: Criterion, space: Space, doses: np.ndarray, weights: np.ndarray, least: Mapping[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Move every dose to the top of the sensitivity beside it, and weigh all anew, until nothing moves."""
    for _ in range(SETTLING):
        tops, _ = _tops(goal, space, doses, weights, least)
        moved = doses.copy()
        for place, dose in enumerate(doses):
            if dose > 0 and dose not in least and (tops > 0).any():
                nearest = tops[tops > 0][np.argmin(np.abs(np.log(tops[tops > 0] / dose)))]
                moved[place] = nearest if abs(np.log(nearest / dose)) < 3 * CLOSE else dose
        moved, shares = _merged(moved, weights, space, list(least))
        shares = best_weights(goal, goal.at(moved), _least_at(moved, least), shares)
        gained = goal.value(goal.at(moved), shares) - goal.value(goal.at(doses), weights)
        if not gained > 0:
            break
        doses, weights = moved, shares
    return doses, weights


def _joined(doses: np.ndarray, weights: np.ndarray, further: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    every = np.union1d(doses, further)
    shares = np.full(len(every), 0.02)
    shares[np.searchsorted(every, doses)] = weights
    return every, shares / shares.sum()


def _merged(
    doses: np.ndarray, weights: np.ndarray, space: Space, forced: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Join doses that lie so near each other that they are one, at their mean; leave out traces."""
    found: list[tuple[float, float]] = []
    for dose, weight in zip(doses, weights, strict=True):
        former, share = found[-1] if found else (0.0, 0.0)
        near = dose < former * (1 + CLOSE) if former > 0 else found and space.low == 0 and dose < NOTHING * space.high
        if near and not space.choices and not {dose, former} & {*forced} - {0.0}:
            found[-1] = (former * share + dose * weight) / (share + weight) if former else 0.0, share + weight
        else:
            found.append((float(dose), float(weight)))
    kept = [one for one in found if one[1] > TRACE or one[0] in forced]
    shares = np.array([share for _, share in kept])
    return np.array([dose for dose, _ in kept]), shares / shares.sum()


def best_weights(goal: Criterion, said: Sequence[np.ndarray], least: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the best weights of given doses, none below its least share.

    Parameters
    ----------
    goal : Criterion
        What the design is for.
    said : sequence of ndarray
        What one row at each dose says, for each curve.
    least, start : ndarray, shape (dose,)
        Least shares, and where to begin.
    """
    free = 1 - least.sum()
    weights = np.maximum(start, 1e-3)
    inner = weights / weights.sum()
    single = sum(len(shares) for _, _, shares in goal.blocks) == 1
    for _ in range(100 if single else 3000):  # the multiplicative algorithm comes near, and never leaves the simplex
        gains = goal.sensitivity(said, least + free * inner)
        inner = inner * gains / (inner @ gains)
        if gains.max() < (inner @ gains) * (1 + LOOSE / 10):
            break
    if not single:
        return least + free * inner
    result = minimize(
        lambda x: -goal.value(said, least + free * x / x.sum()),
        inner,
        jac=lambda x: -_slope(goal, said, least, free, x),
        bounds=[(0.0, 1.0)] * len(inner),
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 200},
    )
    better = np.maximum(result.x, 0.0)
    if not np.all(np.isfinite(better)) or better.sum() <= 0:
        return least + free * inner
    better = better / better.sum()
    worse = goal.value(said, least + free * better) < goal.value(said, least + free * inner)
    return least + free * (inner if worse else better)


def _slope(goal: Criterion, said: Sequence[np.ndarray], least: np.ndarray, free: float, x: np.ndarray) -> np.ndarray:
    total = x.sum()
    gains = goal.sensitivity(said, least + free * x / total)
    return free * (gains - (x @ gains) / total) / total


def c_optimal(rows: Rows, target: np.ndarray, space: Space) -> Design:
    """Return the best design for one quantity of one curve.

    Parameters
    ----------
    rows : callable
        What one row at each dose says, shape (dose, parameter).
    target : ndarray, shape (parameter,)
        Direction in which the parameters move the quantity.
    space : Space
        Doses that can be given.

    Notes
    -----
    Elfving's theorem as a linear programme, whose dual says where a dose is missing: the design may leave other
    quantities unknown, so that no matrix is inverted.

    References
    ----------
    Elfving 1952, https://doi.org/10.1214/aoms/1177729442
    """
    doses, further = space.grid(), np.empty(0)
    for _ in range(ROUNDS):
        doses = np.union1d(doses, further)
        said = rows(doses)
        scale = np.abs(said).max(axis=0) + 1e-300
        matrix = (said / scale).T
        solved = linprog(
            np.ones(2 * len(doses)), A_eq=np.hstack([matrix, -matrix]), b_eq=target / scale, method="highs-ds"
        )
        if solved.x is None:
            raise ValueError("No design within these doses can tell the quantity: allow other doses=.")
        dual = solved.eqlin.marginals / scale
        weights = (solved.x[: len(doses)] + solved.x[len(doses) :]) / solved.x.sum()
        doses, weights = doses[weights > 0], weights[weights > 0]
        further = space.highest(lambda asked: (rows(asked) @ dual) ** 2, doses)  # noqa: B023
        heights = (rows(further) @ dual) ** 2
        if heights.max() < 1 + TOLERANCE or space.choices:
            break
    return Design(*_merged(doses, weights, space, []), float(heights.max()))
