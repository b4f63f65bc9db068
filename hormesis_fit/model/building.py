"""From a trial and a curve to a PyMC model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.distributions.transforms import Transform

from hormesis_fit.dosing.concentrations import ERROR, SCALE
from hormesis_fit.drift.courses import DriftLike, visit_index
from hormesis_fit.drift.histories import ConcentrationsLike, KineticsLike, RegimenLike, dosed_histories
from hormesis_fit.model.hierarchy import (
    Effect,
    Shared,
    Vary,
    design_of,
    displaced,
    group_labels,
    partners,
    shifts_of,
)
from hormesis_fit.model.likelihood import check_observations, dim_in, observe, observed_data
from hormesis_fit.model.specification import CurveLike, Side, Specification, check_trial, find_family, specify
from hormesis_fit.parameter import Prior


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


def build_model(
    trial: xr.Dataset,
    *,
    curve: CurveLike = "BrainCousens",
    family: str = "gaussian",
    priors: Mapping[str, Prior] | None = None,
    vary: Vary | None = None,
    covariates: Mapping[str, str] | None = None,
    drift: DriftLike | Mapping[str, DriftLike] | None = None,
    regimen: RegimenLike | None = None,
    kinetics: KineticsLike | None = None,
    concentrations: ConcentrationsLike | None = None,
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
    regimen, kinetics, concentrations : optional
        Doses in time, what becomes of them, and what was measured of that, as in `fit`.

    Returns
    -------
    pymc.Model
        Free variables are the parameters of the curve and of the family, the observed variable is ``response`` with
        dims (observation,). Doses [dose], responses [response] and the numbers of the priors are `pymc.Data`.

    Raises
    ------
    TypeError
        If `trial` is not what `read_trial` returns.
    ValueError
        If the curve or the family is unknown.

    References
    ----------
    Abril-Pla et al. (2023), PyMC, https://doi.org/10.7717/peerj-cs.1516.
    """
    check_trial(trial)
    find_family(family)
    check_observations(trial, family)
    histories = dosed_histories(trial, drift, regimen, kinetics, concentrations)
    specification = specify(
        trial,
        curve=curve,
        family=family,
        priors=priors,
        vary=vary,
        covariates=covariates,
        drift=drift,
        histories=histories,
    )
    return model_of(specification, trial)


def model_of(specification: Specification, trial: xr.Dataset) -> pm.Model:
    """Build the PyMC model of a specification."""
    with pm.Model() as model:
        _add_outcome(model, specification, trial, model_data(replace(specification, sides=()), trial))
        for one in specification.sides:
            data = model_data(one.specification, one.trial) | _partners(specification, one)
            with pm.Model(name=one.name) as own:
                _add_outcome(own, one.specification, one.trial, data)
        if specification.histories is not None and specification.histories.assay is not None:
            _add_concentrations(model, specification)
    return model


def _add_concentrations(model: pm.Model, specification: Specification) -> None:
    """Add measured concentrations, which scatter log-normally around those that the kinetics give.

    They come last, so that the rows of every outcome stay where they are among the log likelihoods.
    """
    histories = specification.histories
    exposure = histories.at_samples({name: model[name] for name in histories.free})
    middle = pt.log(exposure) + pt.log(model[SCALE])
    pm.LogNormal("concentration", middle, model[ERROR], observed=model["observed_concentration"])


def _add_outcome(
    model: pm.Model, specification: Specification, trial: xr.Dataset, data: Mapping[str, np.ndarray]
) -> None:
    """Add one outcome with its parameters and its data to a model."""
    coords = {"observation": np.arange(trial.sizes["observation"])} | specification.coords()
    model.add_coords({dim_in(model, name): labels for name, labels in coords.items()})
    for name, value in data.items():
        dims = _dims_of(name, value, specification)
        pm.Data(name, value, dims=dims and tuple(dim_in(model, one) for one in np.atleast_1d(dims).tolist()))
    values = {name: _free_variable(model, name, specification) for name in specification.priors}
    values = _displaced(model, values, specification)
    mean = _mean(model, values, specification)
    given = {name: values[name] for name in specification.observation.parameters if name in values}
    control = values.get("control", specification.curve.control)
    observe(model, specification.observation, mean, given | {"control": control}, specification.observed)


def _partners(specification: Specification, side: Side) -> dict[str, np.ndarray]:
    """Where the groups of a side effect stand among those of the benefit, by what both share."""
    labels = {(one.parameter, one.group): one.labels for one in specification.effects}
    shared = side.specification.shared
    return {one.partner: partners(side.trial, one, labels.get((one.parameter, one.group), ())) for one in shared}


def _mean(model: pm.Model, values: Mapping[str, pt.TensorVariable], specification: Specification) -> pt.TensorVariable:
    """Mean response of every observation, at its time."""
    curve = specification.curve.with_values(values)
    if not specification.courses and specification.histories is None:
        return curve(model["dose"])
    shifts = {}
    for one in specification.courses:
        dims = [dim_in(model, dim) for dim in one.dims]
        fresh = pm.Normal(one.innovation, 0, 1, dims=dims) if one.term.sources else 0.0
        path = one.path(values, fresh)
        shifts[one.target] = (
            path[model["subject_index"], model["visit_index"]] if one.labels else (path[model["visit_index"]])
        )
    exposure, shifts = _exposed(model, values, specification, shifts)
    # A dose of 0 has no potency, and the gradient of the logarithm of a dose no number there.
    given = pt.gt(exposure, 0)
    unit = model["baseline_unit"]
    drugged = curve.drifted(pt.switch(given, exposure, 1.0), **shifts, unit=unit)
    others = {target: shift for target, shift in shifts.items() if target != "potency"}
    control = curve.drifted(pt.zeros_like(exposure), **others, unit=unit)
    return pt.switch(given, drugged, control)


def _exposed(
    model: pm.Model, values: Mapping[str, pt.TensorVariable], specification: Specification, shifts: dict
) -> tuple[pt.TensorVariable, dict]:
    """Exposure that the curve meets in every observation, and all shifts, also those of a mechanism."""
    histories, mechanism = specification.histories, specification.mechanism
    if histories is None:
        return model["dose"], shifts
    free = {name: values[name] for name in histories.free}
    exposure = histories.at_rows(free) if free else model["exposure"]
    if mechanism is None:
        return exposure, shifts
    steps = histories.over_steps(free) if free else model["step_exposure"]
    term = mechanism.with_values(values)
    path = term(steps, model["step_length"])
    # Before the first step nothing has happened.
    path = pt.concatenate([pt.ones_like(path[:, :1]), path], axis=1)
    return mechanism.applied(term, exposure, path[model["history_index"], model["edge_index"]], shifts)


def _dims_of(name: str, value: np.ndarray, specification: Specification) -> str | tuple[str, str] | None:
    designs = {one.design: ("observation", one.dim) for one in specification.slopes}
    designs |= {one.partner: one.group for one in specification.shared}
    designs |= {one.information: one.group for one in specification.effects}
    designs |= {"step_exposure": ("history", "step"), "step_length": "step", "observed_concentration": None}
    return designs.get(name, "observation" if np.ndim(value) else None)


def model_data(specification: Specification, trial: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the numbers of a model: doses, what was observed, groups, covariates and arguments of the priors."""
    data = {"dose": trial["dose"].values} | observed_data(trial, specification.observation)
    for one in specification.effects:
        data[one.index] = np.searchsorted(one.labels, group_labels(trial, one.group))
        data[one.information] = np.zeros(len(one.labels))
    for one in specification.slopes:
        data[one.design] = design_of(trial, one.formula)[1]
    for one in specification.courses:
        data["visit_index"] = visit_index(trial, one.times)
        if one.labels:
            data["subject_index"] = np.searchsorted(one.labels, trial["subject"].values.astype(str))
    if specification.courses or specification.histories is not None:
        data["baseline_unit"] = np.asarray(specification.baseline_unit)
    if specification.histories is not None:
        data |= specification.histories.numbers()
    for name, prior in specification.priors.items():
        data |= {f"{name}_{argument}": np.asarray(value) for argument, value in prior.arguments.items()}
    for one in specification.sides:
        own = model_data(one.specification, one.trial) | _partners(specification, one)
        data |= {f"{one.name}::{name}": value for name, value in own.items()}
    return data


def _free_variable(model: pm.Model, name: str, specification: Specification) -> pt.TensorVariable:
    prior = specification.priors[name]
    arguments = {argument: model[f"{name}_{argument}"] for argument in prior.arguments}
    transform = {"default_transform": NormalScore()} if prior.distribution == "HalfNormal" else {}
    dims = {one.name: one.dim for one in specification.slopes}.get(name)
    return getattr(pm, prior.distribution)(
        name, **arguments, **transform, **({"dims": dim_in(model, dims)} if dims else {})
    )


def _displaced(model: pm.Model, values: Mapping[str, pt.TensorVariable], specification: Specification) -> dict:
    """Return the parameters as they are at each observation where they differ between groups or with covariates."""
    each = {one: _offsets(model, one) for one in specification.effects}
    common = {(one.parameter, one.group): one for one in specification.shared}
    for one in specification.effects:
        if (one.parameter, one.group) in common:
            each[one] = _shared_offsets(model, common[one.parameter, one.group], one, each[one], values)
    offsets = {one: each[one][model[one.index]] for one in specification.effects}
    shifts = shifts_of(specification.effects, offsets, values, values)
    for one in specification.slopes:
        former = shifts.get(one.parameter, (one.space, 0.0))[1]
        shifts[one.parameter] = one.space, former + model[one.design] @ values[one.name]
    return dict(values) | {name: displaced(values[name], shift, space) for name, (space, shift) in shifts.items()}


def _offsets(model: pm.Model, effect: Effect) -> pt.TensorVariable:
    """Return the standard normal offsets of groups, sampled as multiples of what their rows leave open of them.

    Rows with information I about a shift leave its offset an SD of 1 / sqrt(1 + I tau^2) at a spread tau. On that scale
    NUTS meets a funnel neither in the small spreads, where rows say little (without information the model is
    non-centred), nor in the large ones, where they say much (it then is centred). Any I gives the same posterior:
    `model_data` says 0, for a model to look at, and the engine what it finds in the data. The partly centred models of
    Papaspiliopoulos, Roberts and Skold (2007), https://doi.org/10.1214/088342307000000014, with a weight for each tau.
    """
    sharper = effect.sharper(model[effect.spread], model[effect.information])
    return pm.Normal(effect.offset, 0, sharper, dims=dim_in(model, effect.group)) / sharper


def _shared_offsets(
    model: pm.Model,
    shared: Shared,
    effect: Effect,
    own: pt.TensorVariable,
    values: Mapping[str, pt.TensorVariable],
) -> pt.TensorVariable:
    """Offsets of a side effect that go with those of the benefit, in the groups that the benefit knows."""
    root = model.root
    if effect.offset not in root.named_vars:  # the benefit's curve lacks the parameter
        return own
    benefit = root[effect.offset] / effect.sharper(root[effect.spread], root[effect.information])
    place, count = model[shared.partner], benefit.shape[0]
    others = pt.concatenate([benefit, pt.zeros(1)])[place]
    return shared.mixed(own, others, values[shared.name], pt.lt(place, count))
