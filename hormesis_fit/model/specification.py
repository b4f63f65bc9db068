"""What defines a model: curve, family, priors, groups and drifts, resolved for one trial."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pymc as pm
import xarray as xr

from hormesis_fit.curves import CURVES, Curve
from hormesis_fit.dosing.concentrations import DECLARED
from hormesis_fit.drift.courses import VISIT, Course, DriftLike, Mechanism, courses_of, mechanism_of
from hormesis_fit.drift.histories import Histories
from hormesis_fit.families import FAMILIES, Family, middle
from hormesis_fit.model.density import INTERPRETED
from hormesis_fit.model.hierarchy import (
    Correlation,
    Effect,
    Shared,
    Slope,
    Vary,
    correlations_of,
    effects_of,
    slope_prior,
    slopes_of,
    spread_prior,
)
from hormesis_fit.model.likelihood import observed_data, raw_moments
from hormesis_fit.parameter import Parameter, Prior
from hormesis_fit.wording import unknown

type CurveLike = str | type[Curve] | Curve


@dataclass(frozen=True)
class Specification:
    """Everything that defines a model but the data.

    Attributes
    ----------
    curve : Curve
        Template with the trial's scale and direction and the family's link.
    family : str
        Name of the observation model.
    observation : Family
        The observation model, settled for the trial.
    priors : mapping
        Prior of every free parameter, in the trial's units: of the curve, the family, the spreads between groups and
        the coefficients of covariates.
    observed : tuple of str
        The numbers that describe how the rows were observed.
    effects, slopes : tuple
        What differs between groups, and what follows covariates.
    courses, mechanism : tuple of Course, Mechanism
        What moves in time by itself, and what the exposure brings about.
    histories : Histories, optional
        What every row has been exposed to, where doses are given in time.
    shared : tuple of Shared
        Of a side effect: what people have in common between it and the benefit.
    sides : tuple of Side
        Side effects in the same model, which share something with this one.
    """

    curve: Curve
    family: str
    observation: Family
    priors: Mapping[str, Prior]
    observed: tuple[str, ...] = ("observed_response",)
    effects: tuple[Effect, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    slopes: tuple[Slope, ...] = ()
    courses: tuple[Course, ...] = ()
    mechanism: Mechanism | None = None
    histories: Histories | None = None
    baseline_unit: float = 1.0
    shared: tuple[Shared, ...] = ()
    sides: tuple[Side, ...] = ()

    @property
    def structure(self) -> tuple:
        """Key that two models share when they differ in numbers only."""
        kinds = tuple((name, prior.distribution, tuple(sorted(prior.arguments))) for name, prior in self.priors.items())
        fixed = tuple((name, getattr(self.curve, name)) for name in self.curve.parameters() if name not in self.priors)
        groups = tuple((one.offset, one.space, len(one.labels)) for one in self.effects)
        terms = tuple((one.name, one.space, len(one.terms)) for one in self.slopes)
        observation = (self.family, tuple(self.observation.parameters), self.observed)
        drifts = tuple(
            (one.target, type(one.term), tuple(one.term.structure().items()), one.times, len(one.labels))
            for one in self.courses
        )
        drifts += self._dosing_structure()
        return (
            type(self.curve),
            tuple(self.curve.structure().items()),
            fixed,
            observation,
            kinds,
            groups,
            terms,
            drifts,
            tuple((one.name, one.specification.structure) for one in self.sides),
        )

    def _dosing_structure(self) -> tuple:
        if self.histories is None:
            return ()
        kinetics, mechanism = self.histories.kinetics, self.mechanism
        free = kinetics is not None and bool(kinetics.priors())
        # Exposures of fixed kinetics are data; those of free ones, and every number of a template, are in the graph.
        graph = self.histories.fingerprint() if free else ()
        return (repr(kinetics), repr(mechanism), len(self.histories.labels), len(self.histories.edges), graph)

    @property
    def hierarchical(self) -> bool:
        """Whether parameters differ between groups or drift in time."""
        return bool(self.effects or self.courses or self.histories)

    def declared(self) -> dict[str, Parameter]:
        """What is known of every free parameter."""
        known = self.curve.parameters() | self.observation.declared()
        for one in self.effects:
            unit = known[one.parameter].unit if one.space == "identity" else "1"
            text = f"SD of {one.parameter.replace('_', ' ')} between groups of {one.group}{_on(one.space)}"
            known |= {one.spread: Parameter(r"\tau", unit, text, {})}
        for one in self.correlations:
            pair = f"{one.first} and {one.second}".replace("_", " ")
            text = f"correlation of {pair} between groups of {one.group}, as a share: a half is none"
            known |= {one.name: Parameter(r"\rho", "1", text, {})}
        for one in self.shared:
            words = one.parameter.replace("_", " ")
            text = f"correlation of {words} with that of the benefit, as a share: a half is none"
            known |= {one.name: Parameter(r"\rho", "1", text, {})}
        for one in self.slopes:
            unit = known[one.parameter].unit if one.space == "identity" else "1"
            text = f"change of {one.parameter.replace('_', ' ')} with {one.formula}{_on(one.space)}"
            known |= {one.name: Parameter(r"\beta", unit, text, {})}
        for one in (*self.courses, *([self.mechanism] if self.mechanism else [])):
            known |= one.parameters()
        if self.histories is not None and self.histories.kinetics is not None:
            known |= self.histories.kinetics.parameters() | DECLARED
        return {name: known[name] for name in self.priors}

    def coords(self) -> dict[str, tuple[str, ...]]:
        """Labels of the dims of offsets and coefficients."""
        groups = {one.group: one.labels for one in self.effects}
        drifts = {VISIT: self.courses[0].times} if self.courses else {}
        personal = [one for one in self.courses if one.labels]
        drifts |= {"subject": personal[0].labels} if personal else {}
        drifts |= {
            f"{one.target}_source": tuple(range(one.term.sources)) for one in self.courses if one.term.sources > 1
        }
        if self.histories is not None:
            drifts |= {"history": self.histories.labels, "step": tuple(self.histories.edges[1:].tolist())}
        return groups | {one.dim: one.terms for one in self.slopes} | drifts


@dataclass(frozen=True)
class Side:
    """A side effect in the model of a benefit, with whom it shares differences between people.

    Attributes
    ----------
    name : str
        Comes before the names of its variables.
    specification : Specification
        Its own model.
    trial : Dataset
        Its own rows, dims (observation,).
    """

    name: str
    specification: Specification
    trial: xr.Dataset


def _on(space: str) -> str:
    return {"log": ", on the log scale", "logit": ", in log odds"}.get(space, "")


def find_curve(curve: CurveLike, trial: xr.Dataset, *, link: str = "identity") -> Curve:
    """Return the template of a curve with the trial's scale and direction.

    Parameters
    ----------
    curve : str, class or Curve
        A name in `CURVES`, a subclass of `Curve`, or a template with options and priors of its own.
    trial : Dataset
        Gives scale and direction.
    link : str
        Scale on which the shape acts, from the family; means with a link have a true zero.
    """
    if isinstance(curve, str):
        if curve not in CURVES:
            raise ValueError(unknown("curve", curve, CURVES))
        curve = CURVES[curve]
    if isinstance(curve, type) and issubclass(curve, Curve):
        curve = curve()
    if not isinstance(curve, Curve):
        raise TypeError(f"A curve is a name, a subclass of Curve or a template, got {type(curve).__name__}.")
    scale = trial.attrs["scale"] if link == "identity" else "ratio"
    return dataclasses.replace(curve, scale=scale, direction=trial.attrs["direction"], link=link)


def find_family(family: str) -> Family:
    """Return an observation model by its name."""
    if family not in FAMILIES:
        raise ValueError(unknown("family", family, FAMILIES))
    return FAMILIES[family]


def scales(trial: xr.Dataset, *, family: Family = FAMILIES["gaussian"]) -> dict[str, float]:
    """Return the constants that turn unit-free priors into the trial's units.

    Parameters
    ----------
    trial : Dataset
        dims (observation,).
    family : Family
        The observation model: a mean with a link is never 0, a probability never 1.

    Returns
    -------
    dict
        ``control`` and ``response``: mean of the controls and SD of all responses [response];
        ``log_dose`` and ``log_range``: log of the geometric mid-dose and width of the log-dose range.
    """
    dose = trial["dose"].values
    response, n, spread = raw_moments(trial)
    if family.ordered:
        response = (response >= middle(response)).astype(float)
    positive = dose[dose > 0]
    lowest, highest = positive.min(), positive.max()
    controls = dose == dose.min()
    if "control" in trial.attrs:
        control = float(trial.attrs["control"])
    elif family.link == "logit":
        control = float((np.sum(n * response, where=controls) + 0.5) / (n[controls].sum() + 1))
    else:
        control = float(np.average(response[controls], weights=n[controls]))
        if family.link == "log":
            control = max(control, float(response[response > 0].min(initial=1.0)) / 2)
    return {
        "control": control,
        "response": spread,
        "log_dose": float(np.log(lowest) + np.log(highest)) / 2,
        "log_range": max(float(np.log(highest / lowest)), 2 * np.log(10)),
        "time": float(np.ptp(trial["time"].values)) or 1.0 if "time" in trial else 1.0,
    }


def check_trial(trial: object) -> None:
    """Refuse what is no trial, in one sentence."""
    if not isinstance(trial, xr.Dataset) or not {"dose", "response"} <= set(trial.variables):
        raise TypeError(
            f"Expected the trial that read_trial() returns, got {type(trial).__name__}: read the table first."
        )


def specify(
    trial: xr.Dataset,
    *,
    curve: CurveLike,
    family: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    vary: Vary | None = None,
    covariates: Mapping[str, str] | None = None,
    drift: DriftLike | Mapping[str, DriftLike] | None = None,
    histories: Histories | None = None,
    shared: Sequence[str] = (),
) -> Specification:
    """Resolve a curve, a family and priors for one trial.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,).
    curve : str, class or Curve
        The mean function.
    family : str
        The observation model.
    priors : mapping, optional
        Priors in the trial's units that replace the defaults, by parameter name.
    vary : mapping, optional
        Columns of groups by parameter; parameters that the curve does not have are left out.
    covariates : mapping, optional
        Formulas by parameter; parameters that the curve does not have are left out.
    drift : str, class, Drift or mapping, optional
        A drift of the potency, or drifts by what moves.
    histories : Histories, optional
        What every row has been exposed to; needed by mechanisms.
    shared : sequence of str, optional
        Of a side effect: parameters in which people's offsets may go with those of the benefit.
    """
    check_trial(trial)
    observation = find_family(family).settled(trial["response"].values)
    template = find_curve(curve, trial, link=observation.link)
    constants = scales(trial, family=observation)
    if histories is not None:
        constants["log_dose"] += np.log(histories.accumulation(trial["dose"].values, constants))
    known = template.parameters() | observation.declared()
    defaults = {
        name: prior.scaled(known[name].unit, constants)
        for name, prior in (template.priors() | observation.priors()).items()
    }
    observed = tuple(observed_data(trial, observation))
    if "se" in observed:  # known errors leave no scatter to estimate
        del defaults["sigma"]
    effects = effects_of(trial, vary or {}, defaults)
    slopes, _ = slopes_of(trial, covariates or {}, defaults)
    spreads = {one.spread: spread_prior(one, known[one.parameter], constants) for one in effects}
    coefficients = {one.name: slope_prior(one, known[one.parameter], constants) for one in slopes}
    courses = courses_of(trial, drift, [name for name, groups in (vary or {}).items() if groups == "subject"])
    for one in courses:
        units = one.parameters()
        defaults |= {
            name: prior if name.endswith("time_scale") else prior.scaled(units[name].unit, constants)
            for name, prior in one.priors().items()
        }
    mechanism = mechanism_of(drift)
    common = dosing_priors(mechanism, histories, constants)
    for name in [*(vary or {}), *(covariates or {})]:
        if name in common:
            raise ValueError(f"{name} is common to all subjects: leave it out of vary= and covariates=.")
    defaults |= common
    correlations = correlations_of(effects)
    common_offsets = tuple(Shared(one.parameter, one.group) for one in effects if one.parameter in shared)
    defaults |= spreads | {one.name: one.prior for one in (*correlations, *common_offsets)} | coefficients
    given = {name: prior for name, prior in (priors or {}).items() if name in defaults}
    for name, prior in given.items():
        _check_prior(name, prior)
    parts = (effects, correlations, slopes, courses, mechanism, histories, constants["response"], common_offsets)
    return Specification(template, family, observation, defaults | given, observed, *parts)


def dosing_priors(
    mechanism: Mechanism | None, histories: Histories | None, constants: Mapping[str, float]
) -> dict[str, Prior]:
    """Return the priors of a mechanism and of pharmacokinetics, in the trial's units."""
    found = {}
    for one in (mechanism, histories.kinetics if histories is not None else None):
        if one is not None:
            units = one.parameters()
            found |= {name: prior.scaled(units[name].unit, constants) for name, prior in one.priors().items()}
    return found | (histories.assay_priors(constants) if histories is not None else {})


def _check_prior(name: str, prior: object) -> None:
    if not isinstance(prior, Prior):
        raise TypeError(f'The prior of {name} must be written like Prior("HalfNormal", sigma=0.5), got {prior!r}.')
    distribution = getattr(pm, prior.distribution, None)
    # PyMC counts a logit-normal among the transformed ones.
    if not (isinstance(distribution, type) and issubclass(distribution, (pm.Continuous, pm.LogitNormal))):
        continuous = [
            word for word, one in vars(pm).items() if isinstance(one, type) and issubclass(one, pm.Continuous)
        ]
        raise ValueError(unknown(f"continuous distribution for the prior of {name}", prior.distribution, continuous))
    known = [word for word in inspect.signature(distribution.dist).parameters if word not in ("args", "kwargs")]
    for argument in prior.arguments:
        if argument not in known:
            problem = unknown(f"argument of {prior.distribution}", argument, known)
            raise ValueError(f"The prior of {name} cannot be read: {problem[0].lower()}{problem[1:]}")
    try:
        pm.draw(distribution.dist(**prior.arguments), random_seed=1, mode=INTERPRETED)
    except Exception as error:  # noqa: BLE001  whatever PyMC and NumPy raise on numbers that make no sense
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"The prior {prior!r} of {name} cannot be used ({reason}): correct its arguments.") from None
