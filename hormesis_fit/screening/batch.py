"""Many trials of one model structure at once: the log likelihood of a Gaussian curve in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from hormesis_fit.curves import Curve
from hormesis_fit.model.specification import Specification
from hormesis_fit.screening.scores import Scores, known


def batchable(specification: Specification) -> bool:
    """Whether a model is flat and Gaussian with plain responses and priors that are functions of normal scores."""
    flat = not (specification.hierarchical or specification.slopes)
    plain = specification.family == "gaussian" and specification.observed == ("observed_response",)
    return flat and plain and known(specification.priors)


@dataclass(frozen=True)
class Batch:
    """Trials of one structure with the same number of doses, as what their likelihoods need.

    Replicates at a dose enter through their number, mean and squares: exact for Gaussian errors, and a third of the
    work with three replicates.

    Attributes
    ----------
    curve : Curve
        The template that all share.
    scores : Scores
        Parameters as functions of normal scores.
    dose, mean, count : ndarray, shape (dose, curve, 1)
        Doses, mean responses and numbers of responses at each.
    squares, rows : ndarray, shape (curve, 1)
        Sum of squares around the means, and number of responses.
    """

    curve: Curve
    scores: Scores
    dose: np.ndarray
    mean: np.ndarray
    count: np.ndarray
    squares: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, specifications: Sequence[Specification], trials: Sequence[xr.Dataset]) -> Batch:
        """Collect trials whose models have one structure and that have the same number of doses."""
        parts = [_sufficient(trial["dose"].values, trial["response"].values) for trial in trials]
        dose, mean, count = (np.stack([part[j] for part in parts], axis=1)[:, :, None] for j in range(3))
        squares = np.array([[part[3]] for part in parts])
        scores = Scores([one.priors for one in specifications])
        return cls(specifications[0].curve, scores, dose, mean, count, squares, count.sum(axis=0))

    @property
    def size(self) -> int:
        """Number of curves."""
        return self.dose.shape[1]

    @property
    def dimension(self) -> int:
        """Number of parameters."""
        return len(self.scores.names)

    def take(self, which: np.ndarray) -> Batch:
        """Return some of the curves."""
        dose, mean, count = (one[:, which] for one in (self.dose, self.mean, self.count))
        return Batch(self.curve, self.scores.take(which), dose, mean, count, self.squares[which], self.rows[which])

    def log_likelihood(self, scores: np.ndarray) -> np.ndarray:
        """Return the log likelihood, shape (curve, draw), at scores of shape (curve, parameter, draw)."""
        return self.summed(*self.means(scores))

    def means(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean response at every dose, (dose, curve, draw), and the residual SD, (curve, draw)."""
        # Far out in the prior a mean overflows: such points count as impossible.
        with np.errstate(all="ignore"):
            values = self.scores(scores)
            return self.curve.with_values(values)(self.dose) + np.zeros(self.dose.shape), values["sigma"]

    def summed(self, mean: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Return the log likelihood of mean responses and residual SDs."""
        with np.errstate(all="ignore"):
            # Over the first axis NumPy adds one dose after the other, whatever curves lie beside.
            misfit = (self.count * np.square(self.mean - mean)).sum(axis=0)
            logs = -0.5 * (misfit + self.squares) / np.square(sigma)
            logs -= self.rows * (np.log(sigma) + 0.5 * np.log(2 * np.pi))
        return np.where(np.isnan(logs), -np.inf, logs)


def _sufficient(dose: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Doses, mean responses, numbers of responses, and squares around the means."""
    levels, place, count = np.unique(dose, return_inverse=True, return_counts=True)
    mean = np.bincount(place, response) / count
    # Around the mean itself: a sum of squares minus a square would lose every digit of a small scatter.
    return levels, mean, count.astype(float), float(np.square(response - mean[place]).sum())
