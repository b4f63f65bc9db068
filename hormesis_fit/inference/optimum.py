"""Maximum likelihood or posterior mode of one curve, with standard errors and profile-likelihood intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy import stats
from scipy.optimize import least_squares, minimize

from hormesis_fit.inference.engines import machine_for
from hormesis_fit.inference.implicit import STEP, Coordinate, Problem, jacobian, quantities_at
from hormesis_fit.inference.profiles import CONFIDENCE, EDGE, Found, error_of, farthest
from hormesis_fit.model.building import model_data
from hormesis_fit.model.specification import Specification

SCREENED, POLISHED = 1920, 24  # prior draws, in as many blocks; the best of every block is polished
FOLD = np.log(1e3)  # equally good optima further apart than this lie on a ridge
DEFINITIONS = {
    "estimate": "Value at the optimum.",
    "se": "Standard error from the observed information at the optimum (delta method for derived quantities).",
    "lower": "Lower end of the 95 % interval.",
    "upper": "Upper end of the 95 % interval.",
    "open": "Whether the interval has an end that the data do not close: 0, infinity or the edge of the parameter.",
}


def _minimise(rows: Callable[[np.ndarray], np.ndarray], z: np.ndarray, tolerance: float = 1e-14) -> np.ndarray:
    """Levenberg-Marquardt from one start."""
    found = least_squares(
        lambda x: rows(x[None])[0],
        z,
        jac=lambda x: jacobian(rows, x),
        method="lm",
        xtol=tolerance,
        ftol=tolerance,
        gtol=tolerance,
        max_nfev=500,
    )
    return found.x


def _hessian(objective: Callable[[np.ndarray], np.ndarray], u: np.ndarray, step: float = 2e-3) -> np.ndarray:
    """Return the second derivatives of a vectorised objective, by central differences of fourth order."""
    size = len(u)
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
    points = [
        u + h * (a * np.eye(size)[i] + b * np.eye(size)[j])
        for h in (step, 2 * step)
        for i, j in pairs
        for a, b, _ in signs
    ]
    values = objective(np.array(points)).reshape(2, len(pairs), 4) @ np.array([s for _, _, s in signs])
    fine, coarse = values[0] / (4 * step**2), values[1] / (16 * step**2)
    hessian = np.empty((size, size))
    for (i, j), value in zip(pairs, (4 * fine - coarse) / 3, strict=True):
        hessian[i, j] = hessian[j, i] = value
    return hessian


def optimise(specification: Specification, trial: xr.Dataset, rng: np.random.Generator, *, mode: bool) -> xr.Dataset:
    """Find the best parameters of one curve on one trial.

    Parameters
    ----------
    specification : Specification
        The model.
    trial : Dataset
        dims (observation,).
    rng : numpy.random.Generator
        Draws the starts from the prior.
    mode : bool
        Whether to maximise prior times likelihood, as densities of the declared parameters (no Jacobian of any
        transform), rather than the likelihood alone.

    Returns
    -------
    Dataset
        ``estimate``, ``se``, ``lower``, ``upper``, ``open`` over (quantity,), with the coordinates ``unit`` and
        ``definition``; attrs ``log_likelihood``, ``ridge``, ``note``, ``n_starts``, ``residual_se``, ``df``.

    Raises
    ------
    ValueError
        If the likelihood is asked for with another family than the Gaussian, or there are too few rows.

    Notes
    -----
    The likelihood has its scale concentrated out, RSS / n, as `logLik` of the R package drc; standard errors take
    RSS / (n - p) and the observed Hessian, as drc does. The intervals of a maximum of the likelihood are profiles,
    RSS <= RSS_min (1 + F(1, n - p) / (n - p)); those of a mode, or on a ridge, are normal in the unconstrained
    coordinates, without the flat directions.
    """
    if not mode and specification.family != "gaussian":
        raise ValueError(
            f'engine="optimum" maximises the gaussian likelihood, got family {specification.family!r}: '
            'use family="gaussian" or engine="mode".'
        )
    density = machine_for(specification, trial).density
    density.set_data(model_data(specification, trial))
    draws = density.constrain(density.prior_draws(SCREENED, rng))
    coordinates = {
        name: Coordinate.of(prior.distribution, prior.arguments, draws[name])
        for name, prior in specification.priors.items()
        if mode or name in specification.curve.parameters()
    }
    problem = Problem(specification.curve, coordinates, trial["dose"].values, trial["response"].values)
    if len(problem.response) <= len(coordinates):
        raise ValueError(
            f"{specification.curve.label} has {len(coordinates)} parameters, which need more than the "
            f"{len(problem.response)} rows of this trial: choose a simpler curve."
        )
    starts = np.column_stack([one.of_value(draws[name]) for name, one in coordinates.items()])
    with np.errstate(all="ignore"):  # far out everything over- and underflows, and is refused as a step
        found = _mode(problem, density, starts) if mode else _likelihood(problem, starts)
        return _table(problem, specification, found, mode=mode)


def _likelihood(problem: Problem, starts: np.ndarray) -> Found:
    """Global maximum of the Gaussian likelihood, its scale concentrated out."""
    starts = _rescaled(problem, starts)
    best = _best_of_blocks(starts, _rss(problem, starts), POLISHED)
    polished = np.array([_minimise(problem.residuals, start, 1e-12) for start in best])
    losses = _rss(problem, polished)
    u = _minimise(problem.residuals, polished[np.argmin(losses)])
    u = _newton(lambda points: _rss(problem, points) / 2, u)
    rss = float(_rss(problem, u[None])[0])
    n, p = len(problem.response), len(u)
    spread = max(rss, np.finfo(float).tiny) / (n - p)
    hessian = _hessian(lambda points: _rss(problem, points) / 2, u) / spread
    equal = np.vstack([u, polished[losses <= rss * (1 + 1e-8)]])
    covariance, flat, note = _surroundings(problem, u, hessian, equal)
    log_likelihood = -n / 2 * (np.log(2 * np.pi * spread * (n - p) / n) + 1)
    return Found(u, covariance, flat, float(log_likelihood), spread, n - p, note)


def _rss(problem: Problem, points: np.ndarray) -> np.ndarray:
    return np.sum(problem.residuals(points) ** 2, axis=1)


def _rescaled(problem: Problem, starts: np.ndarray) -> np.ndarray:
    """Give every start the control response that fits best, where the mean is proportional to it."""
    names = list(problem.coordinates)
    if "control" not in names or not problem.curve.proportional or "span" in names:
        return starts
    mean = problem.response - problem.residuals(starts)
    with np.errstate(all="ignore"):
        factor = mean @ problem.response / np.sum(mean**2, axis=1)
    k = names.index("control")
    control = problem.values(starts)["control"][:, 0] * np.where(factor > 0, factor, 1.0)
    return np.column_stack([starts[:, :k], problem.coordinates["control"].of_value(control), starts[:, k + 1 :]])


def _best_of_blocks(starts: np.ndarray, losses: np.ndarray, blocks: int) -> np.ndarray:
    """Return the best start of every block: good ones, but not all from one basin."""
    chosen = [part[np.argmin(losses[part])] for part in np.array_split(np.arange(len(starts)), blocks)]
    return starts[chosen]


def _newton(objective: Callable[[np.ndarray], np.ndarray], u: np.ndarray) -> np.ndarray:
    """Take the last digits, which the gain in the objective no longer shows, from its gradient."""
    for _ in range(3):
        gradient = jacobian(lambda points: objective(points)[:, None], u)[0]
        hessian = _hessian(objective, u)
        values = np.linalg.eigvalsh(hessian)
        if not (np.isfinite(values).all() and values[0] > 1e-9 * values[-1]):
            break
        step = np.linalg.solve(hessian, gradient)
        if np.abs(step).max() > 1e-2 or objective((u - step)[None])[0] > objective(u[None])[0] * (1 + 1e-12) + 1e-13:
            break
        u = u - step
    return u


def _surroundings(
    problem: Problem, u: np.ndarray, information: np.ndarray, equal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the covariance without flat directions, which parameters move along these, and a note on a ridge."""
    names = list(problem.coordinates)
    values, vectors = np.linalg.eigh(information)
    weak = ~(values > EDGE**-2)
    covariance = (vectors[:, ~weak] / values[~weak]) @ vectors[:, ~weak].T
    flat = (vectors[:, weak] ** 2).sum(axis=1) > 0.01
    bounded = np.array([np.isfinite(one.lower) or np.isfinite(one.upper) for one in problem.coordinates.values()])
    far = bounded & ((np.abs(u) > EDGE) | (np.ptp(equal, axis=0) > FOLD))
    if not (weak.any() or far.any()):
        return covariance, flat, ""
    along = ", ".join(name for name, moves in zip(names, flat | far, strict=True) if moves)
    return covariance, flat | far, f"ridge: the data do not determine {along}; only quantities with a finite se hold"


def _mode(problem: Problem, density, starts: np.ndarray) -> Found:
    """Mode of prior times likelihood as densities of the declared parameters."""

    def loss(points: np.ndarray) -> np.ndarray:
        free = density.unconstrain({name: x[:, 0] for name, x in problem.values(points).items()})
        above, below = density.constrain(free + 1e-4), density.constrain(free - 1e-4)
        volume = sum(np.log(np.abs(above[name] - below[name]) / 2e-4) for name in density.names)
        with np.errstate(all="ignore"):
            return np.nan_to_num(volume - np.sum(density(free), axis=0), nan=1e10, posinf=1e10)

    with np.errstate(all="ignore"):
        tried = [
            minimize(lambda x: loss(x[None])[0], start, jac=lambda x: jacobian(lambda z: loss(z)[:, None], x)[0])
            for start in _best_of_blocks(starts, loss(starts), POLISHED // 4)
        ]
        u = _newton(loss, min(tried, key=lambda one: one.fun).x)
        covariance, flat, note = _surroundings(problem, u, _hessian(loss, u), u[None])
    free = density.unconstrain({name: x[:, 0] for name, x in problem.values(u[None]).items()})
    df = len(problem.response) - len(u)
    spread = float(_rss(problem, u[None])[0]) / df
    return Found(u, covariance, flat, float(density(free)[1][0]), spread, df, note)


def _table(problem: Problem, specification: Specification, found: Found, *, mode: bool) -> xr.Dataset:
    rows, names, units, texts = [], [], [], []
    for quantity, t in quantities_at(problem, found.u, specification):
        error = error_of(problem, quantity, t, found)
        if mode or found.note:
            ends = t[0] + stats.norm.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) * error
        else:
            ends = [farthest(problem, quantity, t, found, side) for side in (-1, 1)]
        estimate = float(quantity.value(t[0]))
        slope = float(quantity.value(t[0] + STEP) - quantity.value(t[0] - STEP)) / (2 * STEP)
        with np.errstate(over="ignore"):
            lower, upper = (float(quantity.value(np.asarray(end))) for end in ends)
        rows.append((estimate, abs(slope) * error, lower, upper, not np.all(np.isfinite(ends))))
        names.append(quantity.name)
        units.append(quantity.unit)
        texts.append(quantity.definition)
    if not mode:
        rows.append(_sigma(problem, found))
        names.append("sigma")
        units.append("response")
        texts.append("Residual standard deviation by maximum likelihood, the root of RSS / n.")
    columns = dict(zip(DEFINITIONS, zip(*rows, strict=True), strict=True))
    result = xr.Dataset(
        {
            name: ("quantity", np.array(x), {"long_name": name, "definition": DEFINITIONS[name]})
            for name, x in columns.items()
        },
        coords={"quantity": names, "unit": ("quantity", units), "definition": ("quantity", texts)},
    )
    result.attrs = {
        "log_likelihood": found.log_likelihood,
        "ridge": int(bool(found.note)),
        "note": found.note,
        "n_starts": POLISHED // 4 if mode else POLISHED,
        "residual_se": float(np.sqrt(found.spread)),
        "df": found.df,
        "interval": "normal" if mode or found.note else "profile likelihood",
    }
    return result


def _sigma(problem: Problem, found: Found) -> tuple[float, float, float, float, bool]:
    n, rss = len(problem.response), found.spread * found.df
    lower, upper = np.sqrt(rss / stats.chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], found.df))
    return np.sqrt(rss / n), np.sqrt(rss / n / (2 * n)), lower, upper, False
