"""Designs before any data: which doses, and what share of the rows at each, say most about a curve or its window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.checks.sensitivity import PRIORS, prior_draws
from hormesis_fit.curves import Curve
from hormesis_fit.families import FAMILIES
from hormesis_fit.parameter import Term
from hormesis_fit.planning.information import (
    Quantity,
    columns_of,
    estimated,
    mean_gradient,
    quantity_gradient,
    variance,
)
from hormesis_fit.planning.support import Criterion, Design, Rows, Space, c_optimal, optimum
from hormesis_fit.trials.reading import check_number, check_whole
from hormesis_fit.windows.posterior import Member, carrying, domain, given_doses, mixture, trial_of
from hormesis_fit.windows.windowing import check_benefit
from hormesis_fit.wording import quote, unknown

CRITERIA = ("D", "c", "compound")
EDGES = ("window_lower", "window_upper")
CHECK = 0.1  # share of the rows at doses that are there to find the curve wrong
FEWEST = 0.2  # share of the draws that must have a quantity, for a design to be made for it


def optimal_design(
    source: Term | xr.DataTree,
    *,
    doses: Sequence[float] | None = None,
    criterion: str = "D",
    quantity: Quantity | Sequence[Quantity] | None = None,
    n: int | None = None,
    controls: float | None = None,
    points: int | None = None,
    parameters: Sequence[str] | None = None,
    family: str = "gaussian",
    noise: Mapping[str, float] | None = None,
    benefit: float = 0.10,
    benefit_scale: str = "relative",
    control: float = 1.0,
    draws: int = 200,
    random_seed: int = 0,
) -> xr.Dataset:
    r"""Return the doses and shares of rows that say most about a curve, or about a quantity of it.

    Parameters
    ----------
    source : Curve or DataTree
        A curve with numbers for its parameters: what it ought to be. A curve with priors left in it: a design for draws
        of the priors. A fit: one for draws of its posterior, of all its curves.
    doses : sequence of float
        Lowest and highest dose that can be given [dose], beside the control; of a fit by default three times beyond
        the tested ones. More than two are the only doses that can be given.
    criterion : {"D", "c", "compound"}
        Whether to learn most of all parameters, of the quantities, or of both alike.
    quantity : str, callable, or a sequence of them, optional
        What to estimate: a name in `hormesis_fit.window`'s result such as ``"peak_dose"``, a parameter, or a function
        of the curve; by default both edges of the window.
    n : int, optional
        Rows that can be had, to be rounded to.
    controls : float, optional
        Least share of rows without the drug; by default 0, and 0.25 for ``"compound"``.
    points : int, optional
        Least number of doses with the control; by default one more than parameters for ``"compound"``. Missing ones are
        put into the widest gaps, with a tenth of the rows together, where they can show that the curve is wrong.
    parameters : sequence of str, optional
        Parameters to estimate; by default all with a prior.
    family : str
        Observation model, a name in `FAMILIES`.
    noise : mapping, optional
        The family's parameters, such as ``{"sigma": 2.0}``; a constant scatter has no influence.
    benefit, benefit_scale
        Of the window, as in `window`.
    control : float
        For priors: mean response without the drug that is expected [response].
    draws : int
        Draws of priors or posterior to average over.
    random_seed : int
        Of the draws of the priors.

    Returns
    -------
    Dataset
        Over (support): ``dose`` [dose], ``weight``, the share of rows, and with `n` ``replicates``. Attrs:
        ``efficiency`` against the best design without conditions, ``max_sensitivity``, at most 1 where the design is
        the best under its conditions, ``gain``, information per parameter beyond that of as many equally spaced log
        doses with the control [nat], ``criterion``, ``quantity``, ``estimates``, the number of parameters.

    Raises
    ------
    ValueError
        If an argument is out of range, a name unknown, or hardly any draw has the quantity.

    Notes
    -----
    The information of a row is the outer product of the gradient of the mean by the parameters, per variance of one
    row: exact for Gaussian, binomial and Poisson responses, and for others what mean and variance say. D-optimality
    maximises the mean over draws of :math:`\ln\det M / p`, c-optimality minimises that of
    :math:`\ln c^T M^{-1} c`. By the general equivalence theorem a design is optimal if its sensitivity is at most 1
    everywhere.

    References
    ----------
    Kiefer and Wolfowitz 1960, https://doi.org/10.4153/CJM-1960-030-4; Dette, Pepelyshev and Wong 2011,
    https://doi.org/10.1111/j.1539-6924.2011.01625.x

    Examples
    --------
    >>> from hormesis_fit.curves import LogQuadratic
    >>> truth = LogQuadratic(control=21.9, peak_stimulation=0.564, peak_dose=0.185)
    >>> found = optimal_design(truth, doses=(0, 1), family="poisson")
    >>> found["weight"].values.round(2).tolist()
    [0.33, 0.33, 0.33]
    """
    _check(criterion, n, controls, points, family, draws)
    check_benefit(benefit, benefit_scale, 0.5)
    space = _space(source, doses)
    wanted = _quantities(quantity, criterion)
    asked = {"benefit": benefit, "benefit_scale": benefit_scale}
    if isinstance(source, xr.DataTree):
        members = _posterior(source, draws)
    else:
        given = {"family": family, "noise": noise or {}, "control": control}
        members = [assumed(source, space, **given, draws=draws, random_seed=random_seed)]
    groups = [_Group.of(one, parameters, wanted, space, asked) for one in members]
    _check_found(groups, wanted)
    goal = Criterion([one.block() for one in groups], {"D": 1.0, "c": 0.0, "compound": 0.5}[criterion])
    size = max(len(one.names) for one in groups)
    controls = (0.25 if criterion == "compound" else 0.0) if controls is None else float(controls)
    points = (size + 1 if criterion == "compound" else 1) if points is None else points
    free = _unconditional(goal, space, groups, wanted)
    found = free if controls <= free.weight_at(0.0) + 1e-12 else optimum(goal, space, {0.0: controls})
    if len(found.doses) < points:
        extra = _gaps(found.doses, space, points - len(found.doses))
        forced = {0.0: controls} if controls else {}
        found = optimum(goal, space, forced | dict.fromkeys(extra, CHECK / len(extra)))
    final = found if n is None else _whole(goal, space, found, n, max(size + 1, n // 2), controls)
    result = _described(final, groups, criterion, wanted, n)
    usual = space.evenly(len(final.doses))
    return result.assign_attrs(
        efficiency=goal.efficiency(final, free),
        max_sensitivity=found.max_sensitivity,
        gain=0.5 * math.log(goal.efficiency(final, usual)),
    )


def _check(criterion: str, n: int | None, controls: float | None, points: int | None, family: str, draws: int) -> None:
    if criterion not in CRITERIA:
        raise ValueError(unknown("criterion", criterion, CRITERIA))
    if family not in FAMILIES:
        raise ValueError(unknown("family", family, FAMILIES))
    for name, value, least in (("n", n, 2), ("points", points, 1), ("draws", draws, 1)):
        if value is not None:
            check_whole(name, value, least=least)
    check_number("controls", controls, least=0.0)
    if controls is not None and controls >= 0.9:
        raise ValueError(f"controls must be a share below 0.9, such as 0.25, got {controls!r}.")


def _space(source: object, doses: Sequence[float] | None) -> Space:
    if isinstance(source, xr.DataTree):
        trial = trial_of(source)
        if doses is None:
            return Space(*domain(trial))
    elif not isinstance(source, Term):
        raise TypeError(f"Expected a curve or a fit, got {type(source).__name__}: pass BrainCousens() or fit(trial).")
    elif doses is None:
        raise ValueError("A curve knows no doses: give the lowest and the highest one with doses=(low, high).")
    else:
        trial = xr.Dataset({"dose": ("observation", [0.0, 1.0])})
    grid = given_doses(doses, trial).values
    if grid.size < 2:
        raise ValueError(f"doses must be a lowest and a highest dose, or a list of doses, got {doses!r}.")
    if grid.size == 2:
        return Space(float(grid[0]), float(grid[1]))
    return Space(float(grid[grid > 0].min()), float(grid[-1]), tuple(float(dose) for dose in grid))


def _quantities(quantity: Quantity | Sequence[Quantity] | None, criterion: str) -> tuple[Quantity, ...]:
    if criterion == "D":
        return ()
    if quantity is None:
        return EDGES
    single = isinstance(quantity, str) or callable(quantity)
    found = (quantity,) if single else tuple(quantity)  # type: ignore[arg-type]
    if not found or not all(isinstance(one, str) or callable(one) for one in found):
        raise TypeError(f'A quantity is a name such as "peak_dose" or a function of the curve, got {quantity!r}.')
    return found


def assumed(
    curve: Term, space: Space, *, family: str, noise: Mapping[str, float], control: float, draws: int, random_seed: int
) -> Member:
    """Return a curve as it is assumed before any data, with draws of the priors that are left in it.

    Parameters
    ----------
    curve : Curve
        With numbers or priors for its parameters.
    space : Space
        Doses that can be given: the scale of default priors.
    family, noise
        Observation model and its parameters; those not given are drawn from their priors where the curve has any, and
        1 otherwise.
    control : float
        For default priors: mean response without the drug that is expected [response].
    draws, random_seed : int
        Of the priors.
    """
    known = FAMILIES[family]
    for name in noise:
        if name not in known.parameters:
            raise ValueError(unknown(f"parameter of the family {family}", name, known.parameters))
    if isinstance(curve, Curve) and known.link != curve.link and curve.priors():
        curve = type(curve)(**(curve.structure() | {"link": known.link}))
    drawn = prior_draws(_scaled(curve, family, space, control), random_seed, draws) if curve.priors() else {}
    columns = columns_of(curve.with_values({name: drawn[name] for name in curve.priors()}))
    size = len(next(iter(columns.values())))
    scatter = {name: drawn[name][:, 0] if name in drawn else np.ones(size) for name in known.parameters}
    scatter |= {name: np.full(size, float(value)) for name, value in noise.items()}
    table = xr.Dataset({name: ("sample", values) for name, values in scatter.items()}, attrs={"family": family})
    table = table.assign_coords(sample=np.arange(size))
    return Member(type(curve).__name__, curve.with_values(columns), table, (1, size), 1.0)


def _scaled(curve: Term, family: str, space: Space, control: float) -> dict[str, dict[str, Any]]:
    """Priors of curve and family in real units, as plain data."""
    scales = {
        "control": control,
        "response": abs(control) or 1.0,  # responses range over about as much as the control
        "log_dose": (math.log(space.lowest) + math.log(space.high)) / 2,
        "log_range": max(math.log(space.high / space.lowest), 2 * math.log(10)),
    }
    known, defaults = FAMILIES[family], type(curve)(**curve.structure()).priors()
    units = curve.parameters() | known.declared()
    found = {
        # A prior that somebody wrote into the curve is in real units, as it is in `fit`.
        name: prior.scaled(units[name].unit, scales) if prior == defaults.get(name, prior) else prior
        for name, prior in (curve.priors() | known.priors()).items()
    }
    for name, prior in found.items():
        if prior.distribution not in PRIORS:
            raise ValueError(unknown(f"distribution for the prior of {name}", prior.distribution, PRIORS))
    return {name: {"distribution": prior.distribution} | prior.arguments for name, prior in found.items()}


def _posterior(fit: xr.DataTree, draws: int) -> list[Member]:
    """Draws of a fit, of every curve by its weight."""
    group = carrying(fit)
    which, picks = mixture(group, int(fit.attrs["seed"]))
    chosen = np.linspace(0, len(which) - 1, min(draws, len(which))).astype(int)
    found = []
    for k, member in enumerate(group):
        rows = picks[chosen][which[chosen] == k]
        if rows.size:
            part = member.take(rows)
            found.append(Member(part.label, part.curve, part.draws, (1, rows.size), rows.size / chosen.size))
    return found


@dataclass(frozen=True)
class _Group:
    """Draws of one curve, and the directions in which its parameters move the quantities."""

    member: Member
    names: tuple[str, ...]
    scale: np.ndarray  # (sample, parameter), so that numbers of any unit are of size one
    targets: np.ndarray  # (sample, quantity, parameter)
    family: str

    @classmethod
    def of(
        cls,
        member: Member,
        parameters: Sequence[str] | None,
        wanted: Sequence[Quantity],
        space: Space,
        asked: Mapping[str, Any],
    ) -> _Group:
        names = tuple(estimated(member.curve))
        if parameters is not None:
            for name in parameters:
                if name not in names:
                    raise ValueError(unknown(f"parameter of {member.label}", name, names))
            names = tuple(parameters)
        values = columns_of(member.curve)
        scale = np.stack([np.abs(values[name][:, 0]) for name in names], axis=1)
        scale = np.where(scale == 0, 1.0, scale)
        trial = xr.Dataset({"dose": ("observation", [space.lowest, space.high])})
        find = partial(quantity_gradient, member, names, trial=trial, **asked)
        targets = [find(quantity=one) * scale for one in wanted]
        shaped = np.stack(targets, axis=1) if targets else np.zeros((member.size, 0, len(names)))
        return cls(member, names, scale, shaped, str(member.draws.attrs.get("family", "gaussian")))

    @property
    def known(self) -> np.ndarray:
        """Draws that have every quantity, shape (sample,)."""
        return np.isfinite(self.targets).all(axis=(1, 2))

    def rows(self, doses: np.ndarray) -> np.ndarray:
        """Return what one row at each dose says, shape (sample, dose, parameter)."""
        member = self.member
        gradient = mean_gradient(member.curve, self.names, doses).transpose(1, 2, 0) * self.scale[:, None, :]
        row = np.append(0.0, doses)[None, :]
        control, mean = np.split(np.broadcast_to(member.mean(row), (member.size, row.size)), [1], axis=1)
        known = FAMILIES[self.family].parameters
        noise = {name: member.draws[name].values[:, None] for name in known if name in member.draws}
        if len(noise) < len(known):  # known standard errors
            return gradient[self.known]
        spread = np.sqrt(variance(self.family, mean, control, noise))
        # Where no row scatters, as around a mean of 0 counts, a floor keeps the numbers finite.
        return (gradient / np.maximum(spread, 1e-9 * spread.max(axis=1, keepdims=True))[..., None])[self.known]

    def block(self) -> tuple[Rows, np.ndarray, np.ndarray]:
        """What a criterion needs of this curve: rows, directions, and the share of each draw."""
        share = np.full(int(self.known.sum()), self.member.weight / self.member.size)
        return self.rows, self.targets[self.known], share


def _check_found(groups: Sequence[_Group], wanted: Sequence[Quantity]) -> None:
    share = sum(one.known.mean() * one.member.weight for one in groups)
    if share < FEWEST:
        names = [one if isinstance(one, str) else getattr(one, "__name__", "function") for one in wanted]
        raise ValueError(
            f"Only {share:.0%} of the curves have {quote(', '.join(names))} near these doses: use another quantity=, a "
            "smaller benefit=, or other priors."
        )


def _unconditional(goal: Criterion, space: Space, groups: Sequence[_Group], wanted: Sequence[Quantity]) -> Design:
    """The best design without conditions; of one quantity of one curve it may leave the others unknown."""
    single = len(groups) == 1 and groups[0].known.sum() == 1 and len(wanted) == 1
    if single and goal.share == 0.0:
        rows, targets, _ = groups[0].block()
        return c_optimal(lambda doses: rows(doses)[0], targets[0, 0], space)
    return optimum(goal, space, {})


def _whole(goal: Criterion, space: Space, found: Design, n: int, most: int, controls: float) -> Design:
    """A design of `n` rows: doses that lie nearest to each other are joined while there are too many of them."""
    doses, weights = found.doses, found.weights
    while len(doses) > min(most, n) and np.sum(doses > 0) > 1:
        positive = np.flatnonzero(doses > 0)
        left = positive[np.argmin(np.diff(np.log(doses[positive])))]
        pair, total = doses[left : left + 2], weights[left : left + 2].sum()
        heavier = float(pair[np.argmax(weights[left : left + 2])])
        middle = heavier if space.choices else float(np.exp(weights[left : left + 2] @ np.log(pair) / total))
        doses = np.concatenate([doses[:left], [middle], doses[left + 2 :]])
        weights = np.concatenate([weights[:left], [total], weights[left + 2 :]])
    return Design(doses, weights, found.max_sensitivity).rounded_to(n, controls)


def _gaps(taken: np.ndarray, space: Space, number: int) -> list[float]:
    """Doses in the middle of the widest gaps between the positive ones."""
    found: list[float] = []
    for _ in range(number):
        inside = np.unique([space.lowest, *taken[taken > 0], *found, space.high])
        widest = int(np.argmax(np.diff(np.log(inside))))
        middle = float(np.sqrt(inside[widest] * inside[widest + 1]))
        free = [dose for dose in space.choices if dose > 0 and dose not in taken and dose not in found]
        if space.choices and not free:
            break
        found.append(min(free, key=lambda dose: abs(math.log(dose / middle))) if free else middle)
    return found


def _described(
    design: Design,
    groups: Sequence[_Group],
    criterion: str,
    wanted: Sequence[Quantity],
    n: int | None,
) -> xr.Dataset:
    texts = {
        "dose": (design.doses, "dose", "Dose of the support."),
        "weight": (design.weights, "1", "Share of the rows at the dose."),
    }
    if n is not None:
        texts["replicates"] = (np.rint(design.weights * n).astype(int), "rows", "Rows at the dose.")
    result = xr.Dataset(
        {
            name: ("support", values, {"units": unit, "long_name": name, "definition": text})
            for name, (values, unit, text) in texts.items()
        }
    )
    result.attrs = {
        "criterion": criterion,
        "quantity": ", ".join(one if isinstance(one, str) else getattr(one, "__name__", "function") for one in wanted),
        "curves": " ".join(one.member.label for one in groups),
        "estimates": max(len(one.names) for one in groups),
        "draws": int(sum(one.known.sum() for one in groups)),
    }
    return result


__all__ = ["optimal_design"]
