"""From a trial and a curve to a PyMC model."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.transforms import Transform

from hormesis_fit.courses import VISIT, Course, DriftLike, courses_of, visit_index
from hormesis_fit.curves import CURVES, Curve
from hormesis_fit.density import INTERPRETED
from hormesis_fit.families import FAMILIES, Family, middle
from hormesis_fit.hierarchy import (
    Correlation,
    Effect,
    Slope,
    Vary,
    correlations_of,
    design_of,
    displaced,
    effects_of,
    group_labels,
    shifts_of,
    slope_prior,
    slopes_of,
    spread_prior,
)
from hormesis_fit.likelihood import check_observations, observe, observed_data, raw_moments
from hormesis_fit.parameter import Parameter, Prior
from hormesis_fit.wording import unknown

type CurveLike = str | type[Curve] | Curve


class NormalScore(Transform):
    """Map a half-normal variable to a standard normal one.

    Importance sampling and NUTS then meet lighter tails near zero than through a logarithm or softplus (log evidence of
    BellTail on ryegrass: sd over seeds 0.018 against 0.045).
    """

    name = "normal_score"

    def forward(self, value, *inputs):
        scaled = value / inputs[-1] / np.sqrt(2)
        below, above = pt.erf(scaled), pt.erfc(scaled)
        score = np.sqrt(2) * pt.erfcinv(2 * pt.minimum(below, above))
        return pt.switch(below < above, -score, score)

    def backward(self, value, *inputs):
        # From the nearer tail: erfc of a very negative number is 2, and the parameter would be exactly 0.
        tail = pt.erfc(pt.switch(value < 0, -value, value) / np.sqrt(2)) / 2
        return inputs[-1] * np.sqrt(2) * pt.switch(value < 0, pt.erfinv(tail), pt.erfcinv(tail))

    def log_jac_det(self, value, *inputs):
        scaled = self.backward(value, *inputs) / inputs[-1]
        return (scaled**2 - value**2) / 2 + pt.log(inputs[-1]) - np.log(2)


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
    baseline_unit: float = 1.0

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
        drifts += (self.baseline_unit,) if self.courses else ()
        return (
            type(self.curve),
            tuple(self.curve.structure().items()),
            fixed,
            observation,
            kinds,
            groups,
            terms,
            drifts,
        )

    @property
    def hierarchical(self) -> bool:
        """Whether parameters differ between groups or drift in time."""
        return bool(self.effects or self.courses)

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
        for one in self.slopes:
            unit = known[one.parameter].unit if one.space == "identity" else "1"
            text = f"change of {one.parameter.replace('_', ' ')} with {one.formula}{_on(one.space)}"
            known |= {one.name: Parameter(r"\beta", unit, text, {})}
        for one in self.courses:
            known |= one.parameters()
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
        return groups | {one.dim: one.terms for one in self.slopes} | drifts


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


def specify(
    trial: xr.Dataset,
    *,
    curve: CurveLike,
    family: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    vary: Vary | None = None,
    covariates: Mapping[str, str] | None = None,
    drift: DriftLike | Mapping[str, DriftLike] | None = None,
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
    """
    observation = find_family(family).settled(trial["response"].values)
    template = find_curve(curve, trial, link=observation.link)
    constants = scales(trial, family=observation)
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
    correlations = correlations_of(effects)
    defaults |= spreads | {one.name: one.prior for one in correlations} | coefficients
    given = {name: prior for name, prior in (priors or {}).items() if name in defaults}
    for name, prior in given.items():
        _check_prior(name, prior)
    parts = (effects, correlations, slopes, courses, constants["response"])
    return Specification(template, family, observation, defaults | given, observed, *parts)


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


def build_model(
    trial: xr.Dataset,
    *,
    curve: CurveLike = "BrainCousens",
    family: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    vary: Vary | None = None,
    covariates: Mapping[str, str] | None = None,
    drift: DriftLike | Mapping[str, DriftLike] | None = None,
) -> pm.Model:
    """Build the PyMC model of one curve on one trial.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,).
    curve : str, class or Curve
        The mean function.
    family : str
        The observation model, a name in `FAMILIES`.
    priors : mapping, optional
        Priors in the trial's units that replace the defaults, by parameter name.
    vary, covariates : mapping, optional
        Columns of groups, and formulas, by parameter, as in `fit`.
    drift : str, class, Drift or mapping, optional
        How sensitivity moves in time, as in `fit`.

    Returns
    -------
    pymc.Model
        Free variables are the parameters of the curve and of the family, the observed variable is ``response`` with
        dims (observation,). Doses, responses and the numbers of the priors are `pymc.Data`.

    Raises
    ------
    ValueError
        If the curve or the family is unknown.
    """
    find_family(family)
    check_observations(trial, family)
    specification = specify(
        trial, curve=curve, family=family, priors=priors, vary=vary, covariates=covariates, drift=drift
    )
    return model_of(specification, trial)


def model_of(specification: Specification, trial: xr.Dataset) -> pm.Model:
    """Build the PyMC model of a specification."""
    coords = {"observation": np.arange(trial.sizes["observation"])} | specification.coords()
    with pm.Model(coords=coords) as model:
        for name, value in model_data(specification, trial).items():
            pm.Data(name, value, dims=_dims_of(name, value, specification))
        values = {name: _free_variable(model, name, specification) for name in specification.priors}
        values = _displaced(model, values, specification)
        mean = _mean(model, values, specification)
        given = {name: values[name] for name in specification.observation.parameters if name in values}
        control = values.get("control", specification.curve.control)
        observe(model, specification.observation, mean, given | {"control": control}, specification.observed)
    return model


def _mean(model: pm.Model, values: Mapping[str, pt.TensorVariable], specification: Specification) -> pt.TensorVariable:
    """Mean response of every observation, at its time."""
    curve = specification.curve.with_values(values)
    if not specification.courses:
        return curve(model["dose"])
    shifts = {}
    for one in specification.courses:
        fresh = pm.Normal(one.innovation, 0, 1, dims=one.dims) if one.term.sources else 0.0
        path = one.path(values, fresh)
        shifts[one.target] = (
            path[model["subject_index"], model["visit_index"]] if one.labels else (path[model["visit_index"]])
        )
    # A dose of 0 has no potency, and the gradient of the logarithm of a dose no number there.
    given = pt.gt(model["dose"], 0)
    drugged = curve.drifted(pt.switch(given, model["dose"], 1.0), **shifts, unit=specification.baseline_unit)
    others = {target: shift for target, shift in shifts.items() if target != "potency"}
    control = curve.drifted(pt.zeros_like(model["dose"]), **others, unit=specification.baseline_unit)
    return pt.switch(given, drugged, control)


def _dims_of(name: str, value: np.ndarray, specification: Specification) -> str | tuple[str, str] | None:
    designs = {one.design: ("observation", one.dim) for one in specification.slopes}
    return designs.get(name, "observation" if np.ndim(value) else None)


def model_data(specification: Specification, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the numbers of a model: doses, what was observed, groups, covariates and arguments of the priors."""
    data = {"dose": trial["dose"].values} | observed_data(trial, specification.observation)
    for one in specification.effects:
        data[one.index] = np.searchsorted(one.labels, group_labels(trial, one.group))
    for one in specification.slopes:
        data[one.design] = design_of(trial, one.formula)[1]
    for one in specification.courses:
        data["visit_index"] = visit_index(trial, one.times)
        if one.labels:
            data["subject_index"] = np.searchsorted(one.labels, trial["subject"].values.astype(str))
    for name, prior in specification.priors.items():
        data |= {f"{name}_{argument}": np.asarray(value) for argument, value in prior.arguments.items()}
    return data


def _free_variable(model: pm.Model, name: str, specification: Specification) -> pt.TensorVariable:
    prior = specification.priors[name]
    arguments = {argument: model[f"{name}_{argument}"] for argument in prior.arguments}
    transform = {"default_transform": NormalScore()} if prior.distribution == "HalfNormal" else {}
    dims = {one.name: one.dim for one in specification.slopes}.get(name)
    return getattr(pm, prior.distribution)(name, **arguments, **transform, **({"dims": dims} if dims else {}))


def _displaced(model: pm.Model, values: Mapping[str, pt.TensorVariable], specification: Specification) -> dict:
    """Return the parameters as they are at each observation where they differ between groups or with covariates."""
    # Standardised offsets: few rows per group say little of each of them, and NUTS then meets no funnel.
    offsets = {one: pm.Normal(one.offset, 0, 1, dims=one.group)[model[one.index]] for one in specification.effects}
    shifts = shifts_of(specification.effects, offsets, values, values)
    for one in specification.slopes:
        former = shifts.get(one.parameter, (one.space, 0.0))[1]
        shifts[one.parameter] = one.space, former + model[one.design] @ values[one.name]
    return dict(values) | {name: displaced(values[name], shift, space) for name, (space, shift) in shifts.items()}
