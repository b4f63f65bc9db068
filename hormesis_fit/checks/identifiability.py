"""What a trial has told of a drift, and what only the prior says."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr
from scipy.special import polygamma

from hormesis_fit.dosing.regimen import EVERYONE
from hormesis_fit.drift.courses import design_notes
from hormesis_fit.drift.histories import first_time, kinetics_from, usual_interval
from hormesis_fit.windows.posterior import Member, members, trial_of
from hormesis_fit.windows.timecourse import courses_in, mechanism_in, row_drifts

STEP = 1e-3  # of the logarithm of a dose, for slopes
VISIBLE = 0.5  # SD of log-potency above which a visit has told nothing: as wide as its prior
LEARNED = 0.5  # share of the prior variance that the data have to take away
LOGARITHMIC = ("LogNormal", "InverseGamma")


def drift_identifiability(fit: xr.DataTree) -> xr.Dataset:
    r"""Return how much the data have told of each parameter of a drift and of pharmacokinetics.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift; of an average the curve with the highest weight, named in the attr ``model``.

    Returns
    -------
    Dataset
        Over (parameter): ``prior_sd`` and ``posterior_sd``, of the logarithm where the prior lives there [1 or the unit
        of the parameter]; ``contraction`` :math:`1 - s_{post}^2 / s_{prior}^2` [1]; ``learned``, whether it is at least
        a half. Attr ``notes``: what the design cannot tell and what the posterior repeats from the prior, one sentence
        each, with line breaks between them.

    Raises
    ------
    ValueError
        If the fit has no drift.

    References
    ----------
    Schad, Betancourt and Vasishth 2021, https://doi.org/10.1037/met0000275
    """
    member = max(members(fit), key=lambda one: one.weight)
    priors = json.loads(member.draws.attrs["priors"])
    names = [name for name in _names(fit, member) if name in priors and name in member.draws]
    if not names:
        raise ValueError('The fit knows no drift in time: fit with drift="OrnsteinUhlenbeck" first.')
    before, after = zip(*(_spreads(priors[name], member.draws[name].values) for name in names), strict=True)
    contraction = 1 - (np.array(after) / np.array(before)) ** 2
    texts = {
        "prior_sd": "Standard deviation before the data, of the logarithm where the prior lives there.",
        "posterior_sd": "The same after the data.",
        "contraction": "Share of the prior variance that the data took away.",
        "learned": "Whether that is at least a half.",
    }
    values = (before, after, contraction, contraction >= LEARNED)
    found = {
        name: ("parameter", np.array(value), {"units": "1", "long_name": name.replace("_", " "), "definition": text})
        for (name, text), value in zip(texts.items(), values, strict=True)
    }
    poor = [name for name, share in zip(names, contraction, strict=True) if not share >= LEARNED]
    washed = "regimen" in fit and paused(fit["regimen"].to_dataset(), trial_of(fit))
    notes = [*design_notes(trial_of(fit), washed=washed).values(), *_hidden(member, trial_of(fit))]
    if poor:
        shown = ", ".join(name.replace("_", " ") for name in poor)
        notes.append(
            f"The data say little of {shown}: the prior speaks there, so that other priors give other answers."
        )
    return xr.Dataset(found, {"parameter": names}, {"model": member.label, "notes": "\n".join(notes)})


def drifts(fit: xr.DataTree) -> bool:
    """Return whether anything moves in time in a fit.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it.
    """
    return any(_names(fit, member) for member in members(fit))


def _hidden(member: Member, trial: xr.Dataset) -> list[str]:
    """Say at which visits the doses lie where the curve is so flat that a potency leaves no trace."""
    if not any(one.target == "potency" for one in courses_in(member)):
        return []
    # The change of the mean with the log of the dose is its change with the log-potency.
    moved = trial["dose"].values * np.exp(row_drifts(member, trial)["potency"])
    slope = (member.mean(moved * np.exp(STEP)) - member.mean(moved * np.exp(-STEP))) / (2 * STEP)
    told, time = (slope / member.spread[:, None]) ** 2, trial["time"].values
    visits = np.unique(time)
    flat = [f"{at:g}" for at in visits if np.median(told[:, time == at].sum(axis=1)) < 1 / VISIBLE**2]
    if not flat:
        return []
    return [
        f"At time {', '.join(flat[:5])} the doses lie where the curve is flat, near its peak: they tell the potency no "
        f"closer than a factor of {np.exp(VISIBLE):.1f} there. Add a dose on the rising flank."
    ]


def _names(fit: xr.DataTree, member: Member) -> list[str]:
    """Parameters of drifts by chance and by mechanism, and of pharmacokinetics."""
    names = [name for one in courses_in(member) for name in one.parameters()]
    mechanism = mechanism_in(member)
    names += [] if mechanism is None else list(mechanism.parameters())
    kinetics = kinetics_from(fit["regimen"].to_dataset()) if "regimen" in fit else None
    return names + ([] if kinetics is None else list(kinetics.parameters()))


def paused(record: xr.Dataset, trial: xr.Dataset) -> bool:
    """Return whether somebody was measured after a pause of more than one and a half intervals between doses.

    Parameters
    ----------
    record : Dataset
        The group ``regimen`` of a fit, or what `Histories.record` gives.
    trial : Dataset
        The trial, dims (observation,).
    """
    interval = usual_interval(record)
    if interval is None:
        return False
    owners, given = record["subject"].values.astype(str), record["amount"].values > 0
    names, times = record["history"].values.astype(str), trial["time"].values - first_time(record, trial)
    for label in np.unique(names):
        last = times[names == label].max()
        doses = record["time"].values[given & np.isin(owners, [label, EVERYONE])]
        if doses.size and np.diff([*np.unique(doses[doses <= last]), last]).max(initial=0.0) > 1.5 * interval:
            return True
    return False


def _spreads(prior: dict[str, float], draws: np.ndarray) -> tuple[float, float]:
    """Standard deviations before and after the data."""
    kind = prior["distribution"]
    posterior = float(np.std(np.log(draws) if kind in LOGARITHMIC else draws))
    match kind:
        case "LogNormal" | "Normal":
            spread = prior["sigma"]
        case "InverseGamma":
            spread = float(np.sqrt(polygamma(1, prior["alpha"])))
        case "HalfNormal":
            spread = prior["sigma"] * float(np.sqrt(1 - 2 / np.pi))
        case "Beta":
            total = prior["alpha"] + prior["beta"]
            spread = float(np.sqrt(prior["alpha"] * prior["beta"] / (total**2 * (total + 1))))
        case _:
            spread = np.nan
    return float(spread), posterior
