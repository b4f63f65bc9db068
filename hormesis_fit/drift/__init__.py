"""Drifts of receptor sensitivity, by chance and by mechanism, and the list of them."""

from hormesis_fit.drift.drift import Drift
from hormesis_fit.drift.feedback import (
    Autoregulation,
    FeedbackSuppression,
    GonadalAxis,
    Moderator,
    PrecursorPool,
)
from hormesis_fit.drift.process import (
    LinearDrift,
    LocalTrend,
    MaternProcess,
    OrnsteinUhlenbeck,
    RandomWalk,
    SaturatingDrift,
)
from hormesis_fit.drift.receptor import (
    HypotheticalAntagonist,
    ReceptorTurnover,
    ReducedSynthesis,
    ThreeStateDesensitisation,
    TwoStateDesensitisation,
    UpRegulation,
)

_ALL = (
    LinearDrift,
    SaturatingDrift,
    RandomWalk,
    OrnsteinUhlenbeck,
    LocalTrend,
    MaternProcess,
    ReceptorTurnover,
    ReducedSynthesis,
    UpRegulation,
    TwoStateDesensitisation,
    ThreeStateDesensitisation,
    HypotheticalAntagonist,
    Moderator,
    PrecursorPool,
    Autoregulation,
    FeedbackSuppression,
    GonadalAxis,
)
DRIFTS: dict[str, type[Drift]] = {drift.__name__: drift for drift in _ALL}
"""Every drift by its name, processes first and mechanisms after them: the class, whose fields are its parameters."""
