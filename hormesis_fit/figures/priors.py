"""Priors that people can see: curves before any data, and the gate that wild ones do not pass."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hormesis_fit.checks.sensitivity import PRIORS, at_prior, far_words, prior_draws, prior_shares
from hormesis_fit.curves import CURVE_SETS, Curve
from hormesis_fit.figures.drawing import (
    BLUE,
    GREY,
    NARROW,
    WIDE,
    DoseAxis,
    Width,
    canvas,
    draw_rug,
    label,
    legend,
    styled,
    title,
)
from hormesis_fit.model.specification import CurveLike, Specification, specify
from hormesis_fit.parameter import Prior
from hormesis_fit.windows.posterior import Member, domain
from hormesis_fit.wording import unknown

GATE = 0.05  # share of prior curves that may be wild
GATE_SIZE = 2000
EXAMPLES = 6
LEVELS = [0.025, 0.25, 0.5, 0.75, 0.975]


def prior_gate(
    trial: xr.Dataset,
    *,
    curve: CurveLike | Sequence[CurveLike] = "BrainCousens",
    priors: Mapping[str, Prior] | None = None,
    family: str = "gaussian",
    random_seed: int = 0,
) -> xr.Dataset:
    """Count the curves that the priors allow and that nobody would believe, and warn where they are many.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,).
    curve : str, class, Curve, or a list of them
        ``"average"`` looks at every curve of the default set; other sets by their names.
    priors : mapping, optional
        Priors in the trial's units that replace the defaults, by parameter name.
    family : str
        Observation model, a name in `FAMILIES`.
    random_seed : int
        Same seed and versions, same numbers.

    Returns
    -------
    Dataset
        Over (model,): ``far_share``, the share of prior curves that exceed five times the control at a dose near the
        tested ones (what that is for other scales and directions: attrs ``far``); ``peak_share``, the share of prior
        peaks below a thousandth of the lowest or above a thousand times the highest tested dose; ``passed``, whether
        both are at most 0.05.

    Warns
    -----
    UserWarning
        If a curve does not pass.
    """
    single = isinstance(curve, str | type | Curve) and curve not in CURVE_SETS
    wanted = [curve] if single else list(CURVE_SETS[curve] if isinstance(curve, str) else curve)
    specified = [specify(trial, curve=one, family=family, priors=priors) for one in wanted]
    shares = np.array([_shares(one, trial, random_seed) for one in specified])
    table = xr.Dataset(
        {
            "far_share": ("model", shares[:, 0], {"definition": f"Share of prior curves that {far_words(trial)}."}),
            "peak_share": ("model", shares[:, 1], {"definition": "Share of prior peaks far from every tested dose."}),
            "passed": ("model", (shares <= GATE).all(axis=1), {"definition": "Whether both shares are at most 0.05."}),
        },
        coords={"model": [one.curve.label for one in specified]},
        attrs={"far": far_words(trial), "gate": GATE, "seed": random_seed},
    )
    for name, variable in table.data_vars.items():
        variable.attrs |= {"units": "1", "long_name": str(name).replace("_", " ")}
    for one, (far, astray), passed in zip(specified, shares, table["passed"].values, strict=True):
        if not passed:
            words = _in_words(far, astray, trial, hormetic=one.curve.hormetic)
            warnings.warn(
                f"Before any data {words}, with the priors of {one.curve.label}; at most {_percent(GATE)} ought to. "
                "Give narrower priors of the stimulation or of the doses, and look at them with plot_prior().",
                stacklevel=2,
            )
    return table


def _shares(specification: Specification, trial: xr.Dataset, seed: int) -> tuple[float, float]:
    draws = xr.Dataset(attrs={"priors": json.dumps(_known_priors(specification))})
    member = Member(specification.curve.label, specification.curve, draws, (1, GATE_SIZE), 1.0)
    with np.errstate(all="ignore"):  # prior draws may be wild
        return prior_shares(member, trial, seed, GATE_SIZE)


def _known_priors(specification: Specification) -> dict[str, dict]:
    """Priors as plain data, once it is clear that they can be drawn with NumPy."""
    for name, prior in specification.priors.items():
        if prior.distribution not in PRIORS:
            raise ValueError(unknown(f"distribution to draw the prior of {name} from", prior.distribution, PRIORS))
    return {
        name: {"distribution": prior.distribution} | prior.arguments for name, prior in specification.priors.items()
    }


@styled
def plot_prior(
    trial: xr.Dataset,
    *,
    curve: CurveLike = "BrainCousens",
    priors: Mapping[str, Prior] | None = None,
    family: str = "gaussian",
    draws: int = 2000,
    width: Width = "single",
    ax: Axes | None = None,
    random_seed: int = 0,
) -> Figure:
    """Draw the curves that the priors allow, before any data.

    Parameters
    ----------
    trial : Dataset
        As `read_trial` returns it, dims (observation,): its doses, and the scales of its default priors.
    curve : str, class or Curve
        The mean function.
    priors : mapping, optional
        Priors in the trial's units that replace the defaults, by parameter name.
    family : str
        Observation model, a name in `FAMILIES`.
    draws : int
        Prior curves behind the bands.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    random_seed : int
        Same seed and versions, same numbers.

    Returns
    -------
    matplotlib.figure.Figure

    Notes
    -----
    The sentence above the axes gives the two shares of `prior_gate`; the vertical axis holds the 95 % band, so that an
    example curve may leave it.
    """
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 20:
        raise ValueError(f"draws must be a whole number of at least 20, got {draws!r}.")
    specification = specify(trial, curve=curve, family=family, priors=priors)
    dose, curves, control = _prior_curves(specification, trial, draws, random_seed)
    figure, axes = canvas(ax, width, 0.86)
    axis = DoseAxis(*domain(trial), zero=True)
    axis.apply(axes, label(trial["dose"], "dose"))
    handles = [*_draw_bands(axes, axis, dose, curves, control), draw_rug(axes, trial)]
    axes.set_ylabel(label(trial["response"], "response"), parse_math=False)
    axis.mark_break(axes)
    title(axes, f"{specification.curve.label} before any data: {_gate_words(specification, trial, random_seed)}", width)
    legend(figure, axes, handles, own=ax is None, columns=2 if width == "single" else 5)
    return figure


def _gate_words(specification: Specification, trial: xr.Dataset, seed: int) -> str:
    far, astray = _shares(specification, trial, seed)
    return _in_words(far, astray, trial, hormetic=specification.curve.hormetic)


def _in_words(far: float, astray: float, trial: xr.Dataset, *, hormetic: bool) -> str:
    words = f"{_percent(far)} of the curves {far_words(trial)}"
    return f"{words}, {_percent(astray)} of the peaks lie far from every tested dose" if hormetic else words


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def _prior_curves(
    specification: Specification, trial: xr.Dataset, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Doses, prior curves of shape (draw, dose), and their controls of shape (draw,)."""
    low, high = domain(trial)
    tested = trial["dose"].values[trial["dose"].values > 0]
    dose = np.union1d(np.geomspace(low, high, 181), tested)
    drawn = prior_draws(_known_priors(specification), seed, draws)
    curve = at_prior(specification.curve, drawn)
    with np.errstate(over="ignore"):
        values = np.broadcast_to(curve(dose[None, :]), (draws, dose.size))
    return dose, values, np.broadcast_to(curve.control, (draws, 1))[:, 0]


def _draw_bands(ax: Axes, axis: DoseAxis, dose: np.ndarray, curves: np.ndarray, control: np.ndarray) -> list:
    bands, at_zero, stub = np.quantile(curves, LEVELS, axis=0), np.quantile(control, LEVELS), axis.around_zero()
    for first, last, colour, name in ((0, 4, WIDE, "95"), (1, 3, NARROW, "50")):
        ax.fill_between(dose, bands[first], bands[last], color=colour, linewidth=0, zorder=1, gid=f"band_{name}")
        ax.fill_between(stub, at_zero[first], at_zero[last], color=colour, linewidth=0, gid=f"control_{name}")
    for values, start in zip(curves[:EXAMPLES], control[:EXAMPLES], strict=True):
        ax.plot(dose, values, color=GREY, linewidth=0.6, zorder=2, gid="example")
        ax.plot(stub, [start] * 2, color=GREY, linewidth=0.6, zorder=2, gid="example_control")
    ax.plot(dose, bands[2], color=BLUE, linewidth=1.2, zorder=2.5, gid="median")
    ax.plot(stub, [at_zero[2]] * 2, color=BLUE, linewidth=1.2, zorder=2.5, gid="median_control")
    low, high = min(bands[0].min(), at_zero[0]), max(bands[4].max(), at_zero[4])
    ax.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    return [
        Line2D([], [], color=BLUE, linewidth=1.2, label="prior mean response, median"),
        Patch(color=NARROW, linewidth=0, label="its 50 % interval"),
        Patch(color=WIDE, linewidth=0, label="its 95 % interval"),
        Line2D([], [], color=GREY, linewidth=0.6, label="single prior curves"),
    ]


__all__ = ["plot_prior", "prior_gate"]
