"""Numbers with no more digits than the posterior draws support."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import xarray as xr

DIGITS = 3  # significant ones, at most
EXACT = 0.0  # error of what is counted or given, and not drawn
LIKE_REPORTS = 2  # significant digits where the error is not known
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def rounded(value: float, error: float, *, digits: int = DIGITS) -> str:
    """Write a number down to the last digit that its Monte Carlo error supports.

    The unit of the last digit is the power of ten nearest to the error: rounding then adds no more to it than the draws
    have, and the last digit is uncertain by three at most. The number has at most `digits` significant digits, and one
    of them as long as the error is smaller than the number.

    Parameters
    ----------
    value : float
        Any number.
    error : float
        Its Monte Carlo standard error; 0 for an exact number, NaN for an unknown error, which leaves two digits.
    digits : int
        Significant digits at most.

    Returns
    -------
    str
        An en dash for NaN, ``∞`` for infinity. Where not even the first digit is supported, the bound below which the
        number lies: ``<0.1``.

    Examples
    --------
    >>> rounded(1.8817, 0.004), rounded(1.8817, 0.04), rounded(5.7, 4.0), rounded(0.0188, 0.04)
    ('1.88', '1.9', '6', '<0.1')
    >>> rounded(1283.0, 2.0), rounded(1283.0, 40.0), rounded(2.13e-9, 0.0)
    ('1280', '1300', '2.13 × 10⁻⁹')
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if math.isnan(error):
        digits, error = LIKE_REPORTS, EXACT
    if math.isinf(error):
        digits, error = 1, EXACT
    coarsest = place_of(error)
    number = Decimal(repr(float(value)))
    if error < abs(value):
        coarsest = min(coarsest, number.adjusted())
    place = max(number.adjusted() - digits + 1, coarsest)
    shown = _to(number, place)
    if shown.adjusted() - digits + 1 > place:  # 9.996 has become 10.00
        place += 1
        shown = _to(number, place)
    if shown == 0:
        return ("<" if value > 0 else ">−") + _written(Decimal(1).scaleb(place), place)
    return _written(shown, place)


def place_of(error: float) -> int:
    """Return the exponent of the power of ten nearest to an error, which is the last that it supports.

    Examples
    --------
    >>> place_of(0.02), place_of(0.04), place_of(4.0)
    (-2, -1, 1)
    """
    return round(math.log10(error)) if error > 0 else -400


def _to(number: Decimal, place: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(place), rounding=ROUND_HALF_EVEN)


def _written(shown: Decimal, place: int) -> str:
    sign, size = ("−" if shown < 0 else ""), abs(shown)
    if 1e-5 <= size < 1e7:
        return f"{sign}{size:.{max(-place, 0)}f}"
    exponent = size.adjusted()
    return f"{sign}{size.scaleb(-exponent):.{exponent - place}f} × 10{str(exponent).translate(RAISED)}"


def probable(value: float, error: float, *, below: float | None = None) -> str:
    """Write a probability with two decimals, or one where its error supports no more, and never as certainty.

    Parameters
    ----------
    value : float
        Between 0 and 1.
    error : float
        Monte Carlo standard error; 0 for a number that is given, such as a prior probability.
    below : float, optional
        A level that was missed and to which the probability must not be rounded up.

    Examples
    --------
    >>> probable(0.694, 0.008), probable(0.694, 0.04), probable(1.0, 0.0002), probable(0.0021, 0.0002)
    ('0.69', '0.7', '>0.99', '<0.01')
    >>> probable(0.7996, 0.008, below=0.8), probable(1.0, EXACT)
    ('<0.80', '1')
    """
    if math.isnan(value):
        return "–"
    if error == EXACT and value in (0, 1):
        return f"{value:.0f}"
    places = min(max(-place_of(error), 1), 2)
    unit = 10.0**-places
    if value < unit:
        return f"<{unit:.{places}f}"
    if value > 1 - unit:
        return f">{1 - unit:.{places}f}"
    shown = f"{value:.{places}f}"
    return f"<{shown}" if below is not None and value < below <= float(shown) else shown


@dataclass(frozen=True)
class Exactness:
    r"""How exact shares and quantiles of the draws of a fit are.

    Attributes
    ----------
    size : float
        Number of independent draws that would be as exact.
    labels : ndarray
        Curve of each draw, shape (sample,).
    errors : mapping
        Monte Carlo error of the log evidence of each curve, by its label.

    Notes
    -----
    The draws of an average are a mixture: curve :math:`k` with the weight :math:`w_k` gives :math:`w_k S` of its own
    :math:`S` draws, in random order, which hides how they hang together. Their autocorrelation, or the weights from
    which they were resampled, is therefore taken from the evidence table: with :math:`N_k \le S` effective draws of
    each curve, Kish's or the bulk ones of NUTS, the mixture is as exact as :math:`N` independent draws,

    .. math:: 1 / N = \sum_k w_k^2 / N_k + (1 - \sum_k w_k^2) / S.

    The error of the weights themselves is added by the delta method. A quantile has the error of its share of draws,
    seen through the empirical distribution function, as in ArviZ, whose own function cannot be told :math:`N`. Over 40
    fits of the lettuce trial with other seeds the SD of medians and limits was 0.6 to 1.0 times the error given here.

    References
    ----------
    Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221
    """

    size: float
    labels: np.ndarray
    errors: dict[str, float]

    @classmethod
    def of(cls, fit: xr.DataTree, draws: xr.Dataset) -> Exactness:
        """Return that of draws of a whole fit, such as its window.

        Parameters
        ----------
        fit : DataTree
            As `hormesis_fit.fit` returns it.
        draws : Dataset
            Over (chain, draw), for an average with ``model``.
        """
        evidence = fit["evidence"].to_dataset()
        total = draws.sizes["chain"] * draws.sizes["draw"]
        known = np.isfinite(evidence["ess"].values)
        names = evidence["model"].values[known]
        weight = evidence["weight"].values[known]
        weight = np.where(np.isfinite(weight), weight, 0.0)
        weight = weight / weight.sum() if weight.sum() > 0 else np.full(len(weight), 1 / len(weight))
        ess = np.clip(evidence["ess"].values[known], 1.0, total)
        size = 1 / (np.sum(weight**2 / ess) + (1 - np.sum(weight**2)) / total)
        labels = draws["model"].values.ravel() if "model" in draws else np.full(total, names[0])
        errors = evidence["log_evidence_se"].values[known]
        return cls(size, labels, dict(zip(names.tolist(), np.nan_to_num(errors).tolist(), strict=True)))

    @classmethod
    def of_curve(cls, fit: xr.DataTree, label: str, total: int) -> Exactness:
        """Return that of the draws of one curve of a fit."""
        ess = float(np.clip(fit["evidence"]["ess"].sel(model=label), 1.0, total))
        return cls(ess, np.full(total, label), {})

    def share(self, event: np.ndarray, kept: np.ndarray | None = None) -> float:
        """Return the standard error of the share of draws with an event, among some of them.

        Parameters
        ----------
        event : ndarray of bool
            Shape (sample,).
        kept : ndarray of bool, optional
            Shape (sample,); the others are left out.
        """
        kept = np.ones(event.size, dtype=bool) if kept is None else kept
        size, event, labels = self.size * kept.mean(), event[kept], self.labels[kept]
        # One more of each kind: a share of all draws is no certainty.
        share = (size * event.mean() + 1) / (size + 2)
        variance = share * (1 - share) / size
        for label, error in self.errors.items():
            own = labels == label
            if own.any() and not own.all():
                variance += (own.mean() * (event[own].mean() - event.mean()) * error) ** 2
        return float(np.sqrt(variance))

    def quantiles(self, values: np.ndarray, levels: Sequence[float], kept: np.ndarray | None = None) -> list[float]:
        """Return the standard errors of quantiles of the draws, among some of them.

        Parameters
        ----------
        values : ndarray
            Shape (sample,), of any unit; infinity counts as a large number.
        levels : sequence of float
            Probabilities of the quantiles.
        kept : ndarray of bool, optional
            Shape (sample,); the others are left out, by default those that are NaN.
        """
        kept = ~np.isnan(values) if kept is None else kept
        if kept.sum() < 2:
            return [math.nan] * len(levels)
        there, found = values[kept], []
        for level in levels:
            error = self.share(values <= np.quantile(there, level, method="closest_observation"), kept)
            ends = np.clip([level - error, level + error], 0.0, 1.0)
            low, high = np.quantile(there, ends, method="closest_observation")
            found.append(math.inf if math.isinf(high) else float(high - low) / 2)
        return found


def weight_error(evidence: xr.Dataset, chosen: np.ndarray) -> float:
    """Return the Monte Carlo error of the summed posterior probability of some curves.

    Parameters
    ----------
    evidence : Dataset
        As in the group ``evidence``, dims (model,).
    chosen : ndarray of bool
        Shape (model,).
    """
    weight, error = (np.nan_to_num(evidence[name].values) for name in ("weight", "log_evidence_se"))
    total = weight[chosen].sum()
    return float(np.sqrt(np.sum((weight * (chosen - total) * error) ** 2)))
