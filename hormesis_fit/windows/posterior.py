"""The curves of a fit at their posterior draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.curves import CURVES, Curve
from hormesis_fit.drift.administration import Administration
from hormesis_fit.families import FAMILIES

BLOCK = 8  # people of a population whose responses are held at once
NEGLIGIBLE = 1e-9  # the weight of a curve whose every draw together could not change a digit
REACH = 3.0  # a window is looked for up to this factor beyond the tested doses


@dataclass(frozen=True)
class Member:
    """One curve of a fit, with its draws in one row and its weight."""

    label: str
    curve: Curve  # parameters of shape (sample, 1), or (sample, 1, person) for a population
    draws: xr.Dataset  # dims (sample,)
    shape: tuple[int, int]  # chains, draws
    weight: float
    shifts: Mapping[str, np.ndarray] = field(default_factory=dict)  # drifts at one time, each of shape (sample, 1)
    dosed: Administration | None = None  # how the doses are given, where that matters

    @property
    def size(self) -> int:
        """Number of draws."""
        return self.draws.sizes["sample"]

    @cached_property
    def crowded(self) -> bool:
        """Whether every draw is a population of people, over whom responses are averaged."""
        return any(np.ndim(value) == 3 for value in self.arrays().values())

    @cached_property
    def control(self) -> np.ndarray:
        """Mean response without the drug, shape (sample,) [response]."""
        if self.shifts or self.dosed:
            # What earlier doses have left behind is an effect of the drug, too: the control never had any.
            never = self if self.dosed is None else replace(self, dosed=self.dosed.afresh())
            return never.mean(np.zeros((1, 1)))[:, 0]
        return self._each(self.curve.control)

    @property
    def depth(self) -> np.ndarray:
        """Distance from the control to the mean at high doses, shape (sample,) [response]."""
        return self._each(self.curve.depth)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of one response without the drug, shape (sample,) [response]."""
        family = FAMILIES[str(self.draws.attrs.get("family", "gaussian"))]
        given = {name: self.draws[name].values for name in self.draws.data_vars if self.draws[name].dims == ("sample",)}
        if "sigma" in family.parameters and "sigma" not in given:
            raise ValueError(
                'Known errors leave no residual SD to count in: use benefit_scale="relative" or "difference".'
            )
        return np.asarray(family.spread(mean=self.control, **given | {"control": self.control}))

    def mean(self, dose: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        """Return the mean response at doses that broadcast against (sample, 1), shape (sample, dose) [response].

        Parameters
        ----------
        dose : ndarray
            Doses [dose].
        which : ndarray, optional
            Draws to use, in this order; all by default.
        """
        # Far beyond any dose that matters a power may overflow: an infinite denominator is the right answer there.
        with np.errstate(over="ignore"):
            shifts = {name: value if which is None else value[which] for name, value in self.shifts.items()}
            if self.dosed is None:
                return self._response(dose, shifts, which)
            return self.dosed.mean(lambda *met: self._response(*met, which), shifts, dose, which)

    def readings(self, dose: np.ndarray) -> np.ndarray:
        """Return the mean response at every reading of the doses in time, shape (sample, reading) [response].

        Parameters
        ----------
        dose : ndarray
            One dose for every draw, which broadcasts against (sample, 1) [dose].
        """
        with np.errstate(over="ignore"):
            found = self.dosed.readings(lambda *met: self._response(*met, None), self.shifts, dose)
        return np.broadcast_to(found, (self.size, found.shape[1]))

    def _response(self, exposure: np.ndarray, shifts: Mapping[str, Any], which: np.ndarray | None) -> np.ndarray:
        """Mean response to an exposure, with drifts that have come about."""
        unit = np.float64(self.draws.attrs.get("baseline_unit", 1.0))
        if not self.crowded:
            curve = self.curve if which is None else self._curve_of(which)
            return curve.drifted(exposure, **shifts, unit=unit) if shifts else curve(exposure)
        # A few people of a population at a time: all at once they would fill the memory.
        values = self.arrays() if which is None else {name: value[which] for name, value in self.arrays().items()}
        drifts = {name: np.asarray(value)[..., None] for name, value in shifts.items()}
        people, total = max(value.shape[-1] for value in values.values()), 0.0
        for start in range(0, people, BLOCK):
            block = slice(start, start + BLOCK)
            own = {name: value[..., block] if value.shape[-1] > 1 else value for name, value in values.items()}
            curve, doses = self.curve.with_values(own), np.asarray(exposure)[..., None]
            total = total + (curve.drifted(doses, **drifts, unit=unit) if shifts else curve(doses)).sum(axis=-1)
        return total / people

    def gain(self, dose: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        """Return benefit over the control at doses that broadcast against (sample, 1), shape (sample, dose)."""
        control = self.control if which is None else self.control[which]
        return self.curve.sign * (self.mean(dose, which) - control[:, None])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the parameters that differ between draws, by name."""
        values = {name: getattr(self.curve, name) for name in self.curve.parameters()}
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}

    def take(self, which: np.ndarray) -> Member:
        """Return the member at some of its draws."""
        shifts = {name: value[which] for name, value in self.shifts.items()}
        dosed = self.dosed and self.dosed.take(which)
        curve = self._curve_of(which)
        return replace(self, curve=curve, draws=self.draws.isel(sample=which), shifts=shifts, dosed=dosed)

    def _curve_of(self, which: np.ndarray) -> Curve:
        return self.curve.with_values({name: value[which] for name, value in self.arrays().items()})

    def _each(self, value: Any) -> np.ndarray:
        array = np.asarray(value, dtype=float)
        array = array.mean(axis=-1) if array.ndim == 3 else array
        return np.broadcast_to(array, (self.size, 1))[:, 0]


def find_class(name: str) -> type[Curve]:
    """Return a curve class by its name, also one that was defined outside the package."""
    known = {curve.__name__: curve for curve in _subclasses(Curve)} | CURVES
    if name not in known:
        raise ValueError(
            f"The fit holds a curve {name!r} that is not known here; import the module that defines it first."
        )
    return known[name]


def _subclasses(curve: type[Curve]) -> list[type[Curve]]:
    return [curve, *(below for child in curve.__subclasses__() for below in _subclasses(child))]


def check_fit(fit: object) -> None:
    """Refuse what is no fit, in one sentence."""
    if not isinstance(fit, xr.DataTree) or not ("models" in fit or "posterior" in fit):
        raise TypeError(f"Expected the DataTree that fit() returns, got {type(fit).__name__} without a posterior.")


def members(fit: xr.DataTree) -> list[Member]:
    """Return the curves of a fit with their draws and weights; those that failed are left out."""
    check_fit(fit)
    trees = dict(fit["models"].children) if "models" in fit else {str(fit["evidence"]["model"].values[0]): fit}
    found = []
    for label, tree in trees.items():
        posterior = tree["posterior"].to_dataset()
        weight = float(fit["evidence"]["weight"].sel(model=label))
        shape = (posterior.sizes["chain"], posterior.sizes["draw"])
        flat = posterior.stack(sample=("chain", "draw"), create_index=False).reset_coords(drop=True)
        flat = flat.assign_coords(sample=np.arange(flat.sizes["sample"]))  # a draw stays known wherever it is taken
        found.append(_member(label, flat, shape, weight))
    return found


def carrying(fit: xr.DataTree) -> list[Member]:
    """Return the curves of a fit that count: those whose weight could change a digit of a result."""
    everyone = members(fit)
    heaviest = max(one.weight for one in everyone)
    return [one for one in everyone if one.weight >= NEGLIGIBLE * heaviest]


def _member(label: str, draws: xr.Dataset, shape: tuple[int, int], weight: float) -> Member:
    template = find_class(draws.attrs["curve"]).from_draws(draws)
    size = draws.sizes["sample"]
    values = {
        name: draws[name].values[:, None] if name in draws else np.full((size, 1), getattr(template, name))
        for name in template.parameters()
    }
    return Member(label, template.with_values(values), draws, shape, weight)


def trial_of(fit: xr.DataTree) -> xr.Dataset:
    """Return the trial that was fitted, dims (observation,)."""
    if not isinstance(fit, xr.DataTree) or "constant_data" not in fit:
        raise TypeError(f"Expected the DataTree that fit() returns, got {type(fit).__name__}: fit the trial first.")
    constant = fit["constant_data"].to_dataset()
    return constant.assign(response=fit["observed_data"]["response"]).assign_attrs(constant.attrs)


def labels_of(fit: xr.DataTree) -> dict[str, np.ndarray]:
    """Return the labels of the draws, so that results align with the posterior, also a thinned one."""
    tree = fit if "posterior" in fit else next(iter(fit["models"].children.values()))
    return {name: tree["posterior"].to_dataset()[name].values for name in ("chain", "draw")}


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
    return xr.DataArray(grid, dims="dose", coords={"dose": grid}, attrs=described("dose", trial, "Dose."))


def given_doses(doses: Sequence[float], trial: xr.Dataset) -> xr.DataArray:
    """Return doses that a user gave, checked and ascending, dims (dose,) [dose]."""
    try:
        grid = np.unique(np.asarray(doses, dtype=float))
    except (TypeError, ValueError):
        grid = np.empty(0)
    if grid.size == 0 or not np.all(np.isfinite(grid)) or grid.min() < 0:
        raise ValueError(f"doses must be finite numbers of at least 0, got {doses!r}.")
    return xr.DataArray(grid, dims="dose", coords={"dose": grid}, attrs=described("dose", trial, "Dose."))


def described(unit: str, trial: xr.Dataset, definition: str) -> dict[str, str]:
    """Return the attrs of a result: its unit in the words of the trial, and its definition."""
    units = str(trial[unit].attrs.get("units", "")) if unit in trial else unit
    return {"units": units, "long_name": "", "definition": definition}


def mixture(group: Sequence[Member], seed: int) -> tuple[np.ndarray, np.ndarray]:
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
