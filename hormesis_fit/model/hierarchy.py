"""Who differs from whom: parameters that vary between groups and follow covariates, around a typical value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from hormesis_fit.parameter import Parameter, Prior, Value, unit_factor
from hormesis_fit.wording import listing, quote, unknown

POSITIVE = ("LogNormal", "HalfNormal", "Exponential", "Gamma", "InverseGamma", "Weibull", "HalfCauchy", "HalfStudentT")
SHARES = ("Beta", "LogitNormal")
DOSE_SD = 0.7  # prior scale of the SD of a log dose between subjects: they differ by 33 to 101 % in published trials
OTHER_SD = 0.5
CORRELATED_FROM = 20  # groups, for their parameters to be correlated
LKJ = 2.0
SLOPE_SD = 0.5  # prior SD of a covariate's coefficient on the log scale
NESTED, WITHIN = "/", ":"

type Vary = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Effect:
    """One parameter that differs between the groups of one column.

    Attributes
    ----------
    parameter, group : str
        What varies, and over what.
    space : str
        Where it varies: ``"log"`` for positive parameters, ``"logit"`` for shares, ``"identity"`` for others.
    labels : tuple of str
        The groups.
    """

    parameter: str
    group: str
    space: str
    labels: tuple[str, ...]

    @property
    def spread(self) -> str:
        """Name of the SD between groups."""
        return f"{self.parameter}_sd_{self.group}"

    @property
    def offset(self) -> str:
        """Name of the standardised offsets of the groups, dims (group,)."""
        return f"{self.parameter}_offset_{self.group}"

    @property
    def index(self) -> str:
        """Name of the group of each observation, as a number."""
        return f"{self.group}_index"

    @property
    def information(self) -> str:
        """Name of what the rows of each group tell of its shift, dims (group,) [1 / shift^2]."""
        return f"{self.parameter}_information_{self.group}"

    @staticmethod
    def sharper(spread: Value, information: Value) -> Value:
        """Return how many times better a standardised offset is known from rows than before.

        Parameters
        ----------
        spread : Value
            SD between groups.
        information : Value
            What the rows of a group tell of its shift: one over the variance that they alone would leave it.
        """
        return np.sqrt(1 + information * spread**2)


@dataclass(frozen=True)
class Correlation:
    """How two parameters go together between the groups of one column, given those that stand before them."""

    group: str
    first: str
    second: str
    concentration: float

    @property
    def name(self) -> str:
        """Name of the partial correlation, as a share: 0 is -1, a half is 0, 1 is +1."""
        return f"{self.first}_{self.second}_cor_{self.group}"

    @property
    def prior(self) -> Prior:
        """Prior of a partial correlation; all of them together are an LKJ(2) prior on the correlation matrix."""
        return Prior("Beta", alpha=self.concentration, beta=self.concentration)


@dataclass(frozen=True)
class Shared:
    """How people's offsets in a parameter of a side effect go with theirs in the benefit's parameter of that name.

    Attributes
    ----------
    parameter, group : str
        What varies in both, and over what.
    """

    parameter: str
    group: str

    @property
    def name(self) -> str:
        """Name of the correlation, as a share: 0 is -1, a half is 0, 1 is +1."""
        return f"{self.parameter}_benefit_cor_{self.group}"

    @property
    def partner(self) -> str:
        """Name of the place, among the benefit's groups, of each group of the side effect."""
        return f"{self.parameter}_partner_{self.group}"

    @property
    def prior(self) -> Prior:
        """Prior of the correlation: that of an LKJ(2) prior in two dimensions."""
        return Prior("Beta", alpha=LKJ, beta=LKJ)

    def mixed(self, own: Value, partner: Value, share: Value, known: Value = 1.0) -> Value:
        """Return offsets of the side effect, standard normal like those that they are made of.

        Parameters
        ----------
        own, partner : Value
            Independent standard normal offsets: of the side effect alone, and of the benefit.
        share : Value
            The correlation, as a share.
        known : Value
            1 for groups that the benefit knows, 0 for others.
        """
        correlation = (2 * share - 1) * known
        return correlation * partner + np.sqrt(1 - correlation**2) * own


def partners(trial: xr.Dataset, shared: Shared, labels: Sequence[str]) -> np.ndarray:
    """Return the place of each group of a side effect among the benefit's labels, their number where it has none."""
    place = {label: i for i, label in enumerate(labels)}
    return np.array([place.get(label, len(labels)) for label in np.unique(group_labels(trial, shared.group)).tolist()])


@dataclass(frozen=True)
class Slope:
    """Coefficients of covariates for one parameter, on the scale on which it varies."""

    parameter: str
    formula: str
    space: str
    terms: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the coefficients, dims (term,)."""
        return f"{self.parameter}_slope"

    @property
    def dim(self) -> str:
        """Dim of the coefficients."""
        return f"{self.parameter}_term"

    @property
    def design(self) -> str:
        """Name of the columns of numbers, dims (observation, term)."""
        return f"{self.parameter}_design"


def correlations_of(effects: Sequence[Effect]) -> tuple[Correlation, ...]:
    """Return the correlations between effects over the same groups, where there are enough groups to tell."""
    found = []
    for group in dict.fromkeys(one.group for one in effects):
        own = [one for one in effects if one.group == group]
        if len(own[0].labels) >= CORRELATED_FROM:
            found += [
                Correlation(group, own[i].parameter, own[j].parameter, LKJ + (len(own) - 2 - i) / 2)
                for j in range(1, len(own))
                for i in range(j)
            ]
    return tuple(found)


def shifts_of(
    effects: Sequence[Effect],
    offsets: Mapping[Effect, Value],
    spreads: Mapping[str, Value],
    shares: Mapping[str, Value],
) -> dict[str, tuple[str, Value]]:
    """Return by how much each parameter moves, and on which scale.

    Parameters
    ----------
    effects : sequence of Effect
        What differs between groups.
    offsets : mapping
        Standardised independent offsets of the groups in question, by effect.
    spreads, shares : mapping
        SDs between groups and partial correlations, by name, to broadcast against the offsets.
    """
    moved: dict[str, tuple[str, Value]] = {}
    for k, one in enumerate(effects):
        before = [other for other in effects[:k] if other.group == one.group]
        rest, mixed = 1.0, 0.0
        for other in before:
            name = Correlation(one.group, other.parameter, one.parameter, 0.0).name
            if name in shares:
                partial = 2 * shares[name] - 1
                mixed = mixed + rest * partial * offsets[other]
                rest = rest * np.sqrt(1 - partial**2)
        shift = spreads[one.spread] * (mixed + rest * offsets[one])
        former = moved.get(one.parameter, (one.space, 0.0))[1]
        moved[one.parameter] = one.space, former + shift
    return moved


def space_of(prior: Prior) -> str:
    """Return the scale on which a parameter with this prior is free: log, logit or identity."""
    if prior.distribution in SHARES:
        return "logit"
    floored = prior.distribution == "TruncatedNormal" and prior.arguments.get("lower", -np.inf) >= 0
    return "log" if floored or prior.distribution in POSITIVE else "identity"


def displaced(value: Value, shift: Value, space: str) -> Value:
    """Return a parameter moved by a shift on the scale on which it is free."""
    if space == "log":
        return value * np.exp(shift)
    if space == "logit":
        odds = value / (1 - value) * np.exp(shift)
        return odds / (1 + odds)
    return value + shift


def group_labels(trial: xr.Dataset, group: str) -> np.ndarray:
    """Return the label of every row in a grouping, shape (observation,); ``"centre:subject"`` counts within centres."""
    columns = [_column(trial, part.strip()) for part in group.split(WITHIN)]
    return np.array([WITHIN.join(parts) for parts in zip(*columns, strict=True)])


def _column(trial: xr.Dataset, name: str) -> list[str]:
    if name not in trial or trial[name].dims != ("observation",):
        rows = [str(one) for one in trial.data_vars if trial[one].dims == ("observation",)]
        known = [one for one in rows if one not in ("dose", "response")]
        if known:
            raise ValueError(unknown("column of groups", name, known))
        raise ValueError(
            f"The trial has no column {quote(name)} of groups, only doses and responses: name it when the table is "
            "read, with subject= or columns=."
        )
    values = trial[name].values
    return [f"{value:.15g}" if isinstance(value, float) else str(value) for value in values.tolist()]


def _groupings(asked: str | Sequence[str]) -> list[str]:
    """Return the groupings of a parameter: ``"centre/subject"`` is centres, and subjects within them."""
    found = []
    for one in [asked] if isinstance(asked, str) else list(asked):
        parts = [part.strip() for part in str(one).split(NESTED)]
        found += [WITHIN.join(parts[: depth + 1]) for depth in range(len(parts))]
    return list(dict.fromkeys(found))


def effects_of(trial: xr.Dataset, vary: Vary, priors: Mapping[str, Prior]) -> tuple[Effect, ...]:
    """Return what varies in a model with these parameters.

    Parameters
    ----------
    trial : Dataset
        dims (observation,).
    vary : mapping
        Groupings by parameter; parameters that the model does not have are left out.
    priors : mapping
        Priors of the typical values.
    """
    found = []
    for parameter, asked in vary.items():
        if parameter not in priors:
            continue
        for group in _groupings(asked):
            labels = group_labels(trial, group)
            found.append(Effect(parameter, group, space_of(priors[parameter]), _checked(labels, parameter, group)))
    return tuple(found)


def _checked(labels: np.ndarray, parameter: str, group: str) -> tuple[str, ...]:
    kinds = tuple(str(one) for one in np.unique(labels))
    if len(kinds) < 2:
        raise ValueError(
            f"Expected at least 2 groups in the column {quote(group)} for {parameter} to vary over, got "
            f"{quote(kinds[0])} in every row: leave it out of vary=."
        )
    if len(kinds) == len(labels):
        raise ValueError(
            f"Every row has a group of its own in the column {quote(group)}, whose differences cannot be told from "
            f"residual scatter: name a column with several rows per group for {parameter} in vary=."
        )
    return kinds


def slopes_of(
    trial: xr.Dataset, covariates: Mapping[str, str], priors: Mapping[str, Prior]
) -> tuple[tuple[Slope, ...], dict[str, np.ndarray]]:
    """Return the coefficients of a model and their columns of numbers, dims (observation, term), by parameter."""
    slopes, designs = [], {}
    for parameter, formula in covariates.items():
        if parameter in priors:
            terms, columns = design_of(trial, formula)
            slope = Slope(parameter, formula, space_of(priors[parameter]), terms)
            slopes.append(slope)
            designs[slope.design] = columns
    return tuple(slopes), designs


def design_of(trial: xr.Dataset, formula: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return names and numbers of the columns of a formula, without an intercept: the typical value is that."""
    import formulae

    table = pd.DataFrame(
        {str(name): trial[name].values for name in trial.data_vars if trial[name].dims == ("observation",)}
    )
    try:
        matrices = formulae.design_matrices(formula, table, na_action="error")
    except KeyError as error:
        raise ValueError(unknown(f"column for the formula {quote(formula)}", error.args[0], table.columns)) from None
    except Exception as error:  # noqa: BLE001  whatever formulae and pandas raise on a text that is no formula
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f'The formula {quote(formula)} cannot be used ({reason}): write it like "sex + scale(weight)" with columns '
            f"of the trial, {listing(list(table.columns))}."
        ) from None
    if matrices.response is not None or matrices.group is not None:
        raise ValueError(
            f'The formula {quote(formula)} names more than covariates: write it like "sex + scale(weight)", and what '
            "differs between groups in vary=."
        )
    design = matrices.common
    if design is None:
        raise ValueError(f'The formula {quote(formula)} names no column: write it like "sex + scale(weight)".')
    frame = design.as_dataframe()
    kept = [name for name in frame.columns if name != "Intercept"]
    if not kept:
        raise ValueError(f'The formula {quote(formula)} names no column: write it like "sex + scale(weight)".')
    numbers = frame[kept].to_numpy(dtype=float)
    if not np.all(np.isfinite(numbers)):
        raise ValueError(f"The formula {quote(formula)} gives numbers that are not finite: check its columns.")
    return tuple(str(name) for name in kept), numbers


def spread_prior(effect: Effect, known: Parameter, constants: Mapping[str, float]) -> Prior:
    """Return the prior of the SD between groups, on the scale on which the parameter varies."""
    if effect.space == "identity":
        return Prior("HalfNormal", sigma=unit_factor(known.unit, constants))
    return Prior("HalfNormal", sigma=DOSE_SD if known.unit == "dose" else OTHER_SD)


def slope_prior(slope: Slope, known: Parameter, constants: Mapping[str, float]) -> Prior:
    """Return the prior of each coefficient, on the scale on which the parameter varies."""
    size = unit_factor(known.unit, constants) if slope.space == "identity" else 1.0
    return Prior("Normal", mu=0, sigma=SLOPE_SD * size)
