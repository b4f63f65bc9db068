"""What a dose must not do: side effects, occupancy, loss, and whatever a function can say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from hormesis_fit.drift.administration import Administration
from hormesis_fit.windows.estimands import Asked, effects_in, is_known, offsets_of, people
from hormesis_fit.windows.posterior import Member, domain, members, trial_of
from hormesis_fit.wording import listing, quote

BENEFIT = "benefit"
KINDS = ("endpoint", "occupancy", "suppression", "receptor_loss", "loss", "function")
STEPS = 50  # bisections of a limit dose: 1e-13 of a grid step
POINTS = 240


@dataclass(frozen=True)
class Harm:
    """A limit on what a dose may do besides its benefit; give one kind of it.

    Attributes
    ----------
    limit : float
        Highest value that is allowed.
    endpoint : str, optional
        Name of a side-effect endpoint of the fit: its mean response (a probability, for events) is limited.
    excess : bool
        Whether the endpoint's limit is on its excess over the control.
    occupancy : float or tuple of float, optional
        Dissociation constant [dose] of a receptor, or the constant and a Hill slope: the share of occupied receptors
        is limited; where doses are given in time, that at the highest exposure.
    suppression : bool
        Whether the share of the body's own production that a `FeedbackSuppression` of the fit stops is limited.
    receptor_loss : bool
        Whether the share of receptors, or of their sensitivity, that a receptor mechanism of the fit takes away is
        limited.
    loss : bool
        Whether the loss below the control on the benefit's own endpoint is limited, relative to the control.
    function : callable, optional
        Maps doses [dose] and the posterior draws (a Dataset over ``sample``) to the harm; either may be ignored. Doses
        have the shape (sample, n) or (1, n), and so has the result.
    name : str, optional
        What results call it.

    Notes
    -----
    From the lowest dose on at which a harm exceeds its limit, every dose is excluded.

    Examples
    --------
    >>> Harm(occupancy=5.0, limit=0.5).label
    'occupancy'
    """

    limit: float
    endpoint: str | None = None
    excess: bool = False
    occupancy: float | tuple[float, float] | None = None
    suppression: bool = False
    receptor_loss: bool = False
    loss: bool = False
    function: Callable[[np.ndarray, xr.Dataset], Any] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        given = [kind for kind in KINDS if self._is(kind)]
        if len(given) != 1:
            raise ValueError(
                f"A harm is one of {listing(KINDS)}, got {listing(given) if given else 'none of them'}: give one."
            )
        if isinstance(self.limit, bool) or not isinstance(self.limit, int | float) or not np.isfinite(self.limit):
            raise ValueError(f"The limit of a harm must be a number such as 0.2, got {self.limit!r}.")
        if self.function is not None and not callable(self.function):
            raise TypeError(f"The function of a harm must be callable, got {type(self.function).__name__}.")
        if self.occupancy is not None:
            pair = self.occupancy if isinstance(self.occupancy, tuple) else (self.occupancy, 1.0)
            if len(pair) != 2 or not all(isinstance(one, int | float) and 0 < one < np.inf for one in pair):
                raise ValueError(
                    f"The occupancy of a harm is a dissociation constant, or one and a Hill slope, both above 0, such "
                    f"as 5.0 or (5.0, 2.0), got {self.occupancy!r}."
                )

    def _is(self, kind: str) -> bool:
        return getattr(self, kind) is not None and getattr(self, kind) is not False

    @property
    def kind(self) -> str:
        """Which kind of harm it is."""
        return next(kind for kind in KINDS if self._is(kind))

    @property
    def label(self) -> str:
        """What results call it."""
        return self.name or self.endpoint or self.kind

    @property
    def hill(self) -> tuple[float, float]:
        """Dissociation constant and Hill slope of the occupancy."""
        pair = self.occupancy if isinstance(self.occupancy, tuple) else (self.occupancy, 1.0)
        return float(pair[0]), float(pair[1])  # type: ignore[arg-type]

    def describe(self) -> str:
        """Return the harm in a few words."""
        over = " above control" if self.excess else " below control" if self.loss else ""
        return f"{self.label.replace('_', ' ')}{over} at most {self.limit:g}"


def check_harms(harm: Sequence[Harm] | Harm, endpoints: Sequence[str]) -> tuple[Harm, ...]:
    """Return the harms asked for, or say in one sentence what is wrong with them."""
    harms = tuple(harm) if isinstance(harm, Sequence) and not isinstance(harm, str) else (harm,)
    for one in harms:
        if not isinstance(one, Harm):
            raise TypeError(f'A harm is written like Harm(endpoint="nausea", limit=0.2), got {type(one).__name__}.')
        if one.endpoint is not None and one.endpoint not in endpoints:
            found = f"it has {listing(endpoints)}" if endpoints else "it has none"
            raise ValueError(
                f"The fit has no endpoint named {quote(one.endpoint)}; {found}: fit it with "
                f'endpoints={{"{one.endpoint}": ...}}.'
            )
    labels = [one.label for one in harms]
    if BENEFIT in labels:
        raise ValueError(f"A harm cannot be called {quote(BENEFIT)}, as what it limits is: give it another name=.")
    if len(set(labels)) < len(labels):
        raise ValueError(f"Two harms have the same name ({listing(labels)}): name them apart with name=.")
    return harms


def endpoints_of(fit: xr.DataTree) -> list[str]:
    """Return the names of the side-effect endpoints of a fit."""
    return [str(name) for name in fit["endpoints"].children] if "endpoints" in fit else []


def side_effects(fit: xr.DataTree, endpoint: str | None, member: Member, asked: Asked) -> Paired | None:
    """Return the curve of a side effect at as many draws as the benefit's curve has, for the same people.

    Draws of a side effect that shares the benefit's model belong together. The posteriors of others share no parameter
    and are independent, so that pairing their draws at random is their joint posterior.
    """
    if endpoint is None:
        return None
    tree, seed = fit[f"endpoints/{endpoint}"], int(fit.attrs["seed"])
    group, rows = members(tree), member.draws["sample"].values
    if json.loads(tree.attrs.get("shared", "[]")):
        group = [one for one in group if one.label == member.label]
        which = np.zeros(rows.size, dtype=int)
    else:
        weights = np.array([one.weight for one in group])
        rng = np.random.default_rng([seed, 5])
        size = member.shape[0] * member.shape[1]
        which = rng.choice(len(group), size=size, p=weights / weights.sum())[rows]
        rows = rng.permutation(size)[rows]
    benefit = offsets_of(member, asked, seed)
    matched = [one.take(rows % one.size) for one in group]
    return Paired([people(one, _whose(one, asked), seed + 1, benefit=benefit) for one in matched], which)


def _whose(member: Member, asked: Asked) -> Asked:
    """Whose side effect: a subject whom the endpoint does not know is anybody to it, and not a typical subject."""
    if not effects_in(member):
        return Asked()
    if asked.subject is not None and not is_known(member, asked.subject):
        return Asked("new")
    return asked


@dataclass(frozen=True)
class Paired:
    """Draws of several curves, of which one counts for each draw of the benefit."""

    group: Sequence[Member]
    which: np.ndarray  # (sample,)

    @property
    def control(self) -> np.ndarray:
        """Mean without the drug, shape (sample,)."""
        return self._each(lambda one, rows, _: one.control[rows][:, None], np.empty((1, 1)))[:, 0]

    def mean(self, dose: np.ndarray) -> np.ndarray:
        """Return the mean at doses that broadcast against (sample, 1), shape (sample, dose)."""
        return self._each(lambda one, rows, own: one.mean(own, rows), dose)

    def _each(self, value: Callable, dose: np.ndarray) -> np.ndarray:
        found = np.empty((len(self.which), dose.shape[1]))
        for k, one in enumerate(self.group):
            chosen = np.flatnonzero(self.which == k)
            if chosen.size:
                found[chosen] = value(one, chosen, dose[chosen] if len(dose) > 1 else dose)
        return found


def harm_at(harm: Harm, member: Member, side: Paired | None, dose: np.ndarray) -> np.ndarray:
    """Return the harm of doses that broadcast against (sample, 1), shape (sample, dose)."""
    match harm.kind:
        case "occupancy":
            constant, slope = harm.hill
            exposure = dose if member.dosed is None else member.dosed.highest(dose)
            share = exposure**slope / (exposure**slope + constant**slope)
        case "suppression" | "receptor_loss":
            share = 1 - _mechanism(harm, member).lowest(dose)
        case "loss":
            share = -member.gain(dose) / np.abs(member.control)[:, None]
        case "endpoint":
            share = side.mean(dose) - (side.control[:, None] if harm.excess else 0.0)
        case _:
            share = np.asarray(harm.function(dose, member.draws), dtype=float)
    try:
        return np.broadcast_to(share, (member.size, np.shape(dose)[1]))
    except ValueError:
        raise ValueError(
            f"The function of the harm {quote(harm.label)} must return one number per dose, got the shape "
            f"{np.shape(share)} for doses of the shape {np.shape(dose)}."
        ) from None


def _mechanism(harm: Harm, member: Member) -> Administration:
    """Return how doses are given, with the mechanism that a harm is about."""
    wanted = "exposure" if harm.kind == "suppression" else "gain"
    dosed = member.dosed
    if dosed is None or dosed.mechanism is None or dosed.mechanism.target != wanted:
        example = "FeedbackSuppression" if harm.kind == "suppression" else "ReceptorTurnover"
        raise ValueError(
            f'A harm by {harm.kind.replace("_", " ")} needs a mechanism in the fit: fit with drift="{example}", '
            "or leave it out."
        )
    return dosed


def limit_doses(harm: Harm, member: Member, side: Paired | None, trial: xr.Dataset) -> np.ndarray:
    """Return the lowest dose at which a harm exceeds its limit, shape (sample,); inf where none does, 0 if all do."""
    low, high = np.log(domain(trial))
    grid = np.concatenate([[low - 20, low - 8, low - 4], np.linspace(low - 2, high + 1, POINTS), [high + 4]])
    over = harm_at(harm, member, side, np.exp(grid)[None, :]) > harm.limit
    first = np.argmax(over, axis=1)
    there = over.any(axis=1)
    left, right = grid[np.maximum(first - 1, 0)], grid[first]
    for _ in range(STEPS):
        middle = (left + right) / 2
        beyond = harm_at(harm, member, side, np.exp(middle)[:, None])[:, 0] > harm.limit
        left, right = np.where(beyond, left, middle), np.where(beyond, middle, right)
    return np.where(there, np.where(first == 0, 0.0, np.exp((left + right) / 2)), np.inf)


def limits_of(fit: xr.DataTree, harms: Sequence[Harm], member: Member, asked: Asked) -> dict[str, np.ndarray]:
    """Return the lowest doses that exceed the limits of harms in the people asked for, by label, shape (sample,)."""
    trial = trial_of(fit)
    return {one.label: limit_doses(one, member, side_effects(fit, one.endpoint, member, asked), trial) for one in harms}


def cut_short(
    one: Mapping[str, np.ndarray], ends: Mapping[str, np.ndarray], trial: xr.Dataset
) -> dict[str, np.ndarray]:
    """End every draw's window where the first harm exceeds its limit."""
    low, _ = domain(trial)
    lower, benefit = one["window_lower"], one["window_upper"]
    table = np.column_stack([np.where(one["exists"], benefit, np.inf), *ends.values()])
    upper = table.min(axis=1)
    exists = one["exists"] & (upper >= lower) & (upper >= low) & (upper > 0)
    return dict(one) | {
        "window_lower": np.where(exists, lower, np.nan),
        "window_upper": np.where(exists, upper, np.nan),
        "exists": exists,
        "binding": np.argmin(table, axis=1),
        "harm_limit": table[:, 1:].min(axis=1),
    }


def harms_record(harms: Sequence[Harm]) -> str:
    """Return harms as JSON; a function cannot be written down and leaves a gap."""
    written = [None if one.function else _changed(one) for one in harms]
    return json.dumps(written)


def _changed(harm: Harm) -> dict[str, Any]:
    """The arguments of a harm that are not left at their defaults."""
    fields = [one for one in dataclasses.fields(harm) if getattr(harm, one.name) != one.default]
    return {one.name: getattr(harm, one.name) for one in fields}
