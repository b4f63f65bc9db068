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

from hormesis_fit.checks.sensitivity import PRIORS, at_prior, far_words, prior_draws, prior_sensitivity, prior_shares
from hormesis_fit.curves import CURVE_SETS, Curve
from hormesis_fit.figures.axes import DoseAxis, dose_axis, draw_response
from hormesis_fit.figures.drawing import canvas, dosed, draw_rug, label, legend, title, units_of
from hormesis_fit.figures.palette import Palette, Width, keep, look, shown, styled
from hormesis_fit.model.specification import CurveLike, Specification, specify
from hormesis_fit.parameter import Prior
from hormesis_fit.windows.posterior import Member, domain
from hormesis_fit.wording import unknown

GATE = 0.05  # share of prior curves that may be wild
GATE_SIZE = 2000
EXAMPLES = 6
ANSWERS = {"prob_hormesis": "P(hormesis)", "prob_exists": "P(window exists)"}


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
        Pure numbers [1]. Over (model,): ``far_share``, the share of prior curves that exceed five times the control at
        a dose near the tested ones (what that is for other scales and directions: attrs ``far``); ``peak_share``, the
        share of prior peaks below a thousandth of the lowest or above a thousand times the highest tested dose;
        ``passed``, whether both are at most 0.05.

    Warns
    -----
    UserWarning
        If a curve does not pass.

    Raises
    ------
    TypeError
        If `trial` is not what `read_trial` returns.
    ValueError
        If a curve, family or prior is unknown.

    References
    ----------
    Gabry et al. (2019), https://doi.org/10.1111/rssa.12378.
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
    palette: Palette = "light",
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
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.
    random_seed : int
        Same seed and versions, same numbers.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `trial` is not what `read_trial` returns.
    ValueError
        If a curve, family or prior is unknown, or `draws`, `width` or `palette` is out of range.

    Notes
    -----
    The sentence above the axes gives the two shares of `prior_gate`; the vertical axis holds the 95 % band, so that an
    example curve may leave it.
    """
    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 20:
        raise ValueError(f"draws must be a whole number of at least 20, got {draws!r}.")
    specification = specify(trial, curve=curve, family=family, priors=priors)
    curves, control = _prior_curves(specification, trial, draws, random_seed)
    figure, axes = canvas(ax, width, 0.72)
    axis = dose_axis(axes, trial)
    handles = draw_response(axes, axis, curves, control, trial, words="prior mean response", dashed=False)
    handles += [_draw_examples(axes, axis, curves, control, trial), draw_rug(axes, trial)]
    ends = np.quantile(np.column_stack([control, curves.values]), [0.025, 0.975], axis=0)
    low, high = ends.min(), ends.max()
    axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    axes.set_ylabel(label(trial["response"], "response"), parse_math=False)
    title(axes, f"{specification.curve.label} before any data: {_gate_words(specification, trial, random_seed)}")
    legend(figure, axes, handles, own=ax is None)
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
) -> tuple[xr.DataArray, np.ndarray]:
    """Prior curves, dims (draw, dose), and their controls of shape (draw,)."""
    low, high = domain(trial)
    tested = trial["dose"].values[trial["dose"].values > 0]
    dose = np.union1d(np.geomspace(low, high, 181), tested)
    drawn = prior_draws(_known_priors(specification), seed, draws)
    curve = at_prior(specification.curve, drawn)
    with np.errstate(over="ignore"):
        values = np.broadcast_to(curve(dose[None, :]), (draws, dose.size))
    control = np.broadcast_to(curve.control, (draws, 1))[:, 0]
    return xr.DataArray(values, dims=("draw", "dose"), coords={"dose": dose}), control


def _draw_examples(ax: Axes, axis: DoseAxis, curves: xr.DataArray, control: np.ndarray, trial: xr.Dataset) -> Line2D:
    """Draw a few single curves; return their legend."""
    dose, some, stub = curves["dose"].values, curves.values[:EXAMPLES], axis.around_zero()
    style = {"color": look().quiet, "linewidth": 0.6}
    for values, start in zip(some, control[:EXAMPLES], strict=True):
        ax.plot(dose, values, zorder=2, gid="example", **style)
        ax.plot(stub, [start] * 2, zorder=2, gid="example_control", **style)
    whole = np.column_stack([control[:EXAMPLES], some])
    at, words = dosed(np.insert(dose, 0, 0.0), trial), "single prior curve"
    keep(example=shown(whole, words, units_of(trial["response"]), example_draw=np.arange(len(some)), dose=at))
    return Line2D([], [], label="single prior curves", **style)


@styled
def plot_prior_sensitivity(
    fit: xr.DataTree, *, width: Width = "single", palette: Palette = "light", ax: Axes | None = None
) -> Figure:
    """Draw the answer under narrower and wider priors of the stimulation.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, of one curve or of an average.
    width : {"single", "double"}
        One or two columns of a journal, 89 or 183 mm.
    palette : {"light", "print"}
        Colours, or greys with hatches and dashes for print without colour.
    ax : matplotlib.axes.Axes, optional
        Axes to draw in, instead of a figure of its own.

    Returns
    -------
    matplotlib.figure.Figure
        Points that `prior_sensitivity` does not trust are left out.

    Raises
    ------
    TypeError
        If `fit` is not what `fit` returns.
    ValueError
        If `width` or `palette` is unknown.
    """
    found = prior_sensitivity(fit)
    figure, axes = canvas(ax, width, 0.55)
    scales, handles = found["prior_scale"].values, []
    for place, (name, words) in enumerate(ANSWERS.items()):
        style = look().series[place] | {"marker": "os"[place], "markersize": 3.6, "linewidth": 1.1}
        values = found[name].values
        if np.isfinite(values).any():
            axes.plot(scales, values, gid=name, clip_on=False, **style)
            handles.append(Line2D([], [], label=words, **style))
            keep(**{name: shown(values, words, prior_scale=scales)})
    axes.set_xscale("log")
    axes.set_xticks(scales, [f"× {one:g}" for one in scales])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("scale of the prior of the stimulation, relative to the fit's own")
    axes.set_ylabel("posterior probability")
    legend(figure, axes, handles, own=ax is None)
    return figure


__all__ = ["plot_prior", "plot_prior_sensitivity", "prior_gate"]
