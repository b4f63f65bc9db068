"""Dose-response curves, and the list of them."""

from hormesis_fit.curves.curve import Curve
from hormesis_fit.curves.hormetic import BellTail, BrainCousens, ProductHill
from hormesis_fit.curves.monotone import Constant, LogLogistic, SigmoidEmax

CURVES: dict[str, type[Curve]] = {
    curve.__name__: curve for curve in (BrainCousens, ProductHill, BellTail, LogLogistic, SigmoidEmax, Constant)
}
AVERAGE = tuple(CURVES)

__all__ = ["AVERAGE", "CURVES", "Curve", *CURVES]
