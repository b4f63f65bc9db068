"""Dose-response curves, the list of them, and the sets that have names."""

from hormesis_fit.curves.bells import (
    BetaUmbrella,
    BiphasicLogistic,
    GainLoss,
    LogNormalBell,
    LogQuadratic,
    Quadratic,
    Ricker,
)
from hormesis_fit.curves.curve import Curve
from hormesis_fit.curves.hormetic import BellTail, BrainCousens, ProductHill
from hormesis_fit.curves.monotone import (
    Constant,
    Emax,
    Exponential,
    Gompertz,
    Linear,
    LogLogistic,
    LogLogistic5,
    LogNormalDecline,
    SigmoidEmax,
    Threshold,
    Weibull1,
    Weibull2,
)
from hormesis_fit.curves.receptor import Haldane, OperationalModel, TwoSiteReceptor
from hormesis_fit.curves.thresholds import (
    CedergreenRitzStreibig,
    ExponentialLogistic,
    HuntBowman,
    LinearExponential,
    ThresholdHormesis,
)

_HORMETIC = (
    BrainCousens,
    ProductHill,
    BellTail,
    CedergreenRitzStreibig,
    Haldane,
    TwoSiteReceptor,
    LinearExponential,
    Ricker,
    LogNormalBell,
    ThresholdHormesis,
    BiphasicLogistic,
    HuntBowman,
    ExponentialLogistic,
    Quadratic,
    LogQuadratic,
    BetaUmbrella,
    GainLoss,
)
_NULL = (
    LogLogistic,
    SigmoidEmax,
    Constant,
    Linear,
    Exponential,
    LogLogistic5,
    Weibull1,
    Weibull2,
    Gompertz,
    LogNormalDecline,
    Threshold,
    Emax,
    OperationalModel,
)
CURVES: dict[str, type[Curve]] = {curve.__name__: curve for curve in (*_HORMETIC, *_NULL)}
"""Every curve by its name: the class, whose fields are its parameters."""
# Four that bend differently at small and at high doses, and what they have to beat: the calibration study of the README
# says why.
AVERAGE = ("BrainCousens", "ProductHill", "BellTail", "TwoSiteReceptor", "LogLogistic", "SigmoidEmax", "Constant")
"""Names of the curves that are averaged by default, hormetic ones first."""
CURVE_SETS: dict[str, tuple[str, ...]] = {
    "average": AVERAGE,
    "hormetic": tuple(curve.__name__ for curve in _HORMETIC),
    "null": tuple(curve.__name__ for curve in _NULL),
    "all": tuple(CURVES),
}
"""Names of curves by the name of their set, for ``curve=``."""

__all__ = ["AVERAGE", "CURVES", "CURVE_SETS", "Curve", *CURVES]
