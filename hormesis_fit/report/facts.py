"""Items of a checklist, and the facts from which they are filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from hormesis_fit.checks.hypotheses import bayes_factors
from hormesis_fit.figures.drawing import chance, number
from hormesis_fit.phrases import unit_of
from hormesis_fit.windows.summary import quantity

type State = Literal["done", "in part", "not done", "does not apply"]

PLACES = {
    "question": "Question",
    "model": "1, Data",
    "considered": "1, Curves",
    "priors": "1, Priors",
    "gate": "1, Prior curves",
    "computation": "2, Computation",
    "result": "3, Result",
    "people": "3, Groups",
    "curves": "3, Curves",
    "evidence": "3, Evidence",
    "check": "3, Predictive check",
    "decision": "4, Decision rule",
    "estimand": "4, Estimand",
    "sensitivity": "5, Priors",
    "scaling": "5, All priors",
    "reproduce": "6, How to reproduce",
}


@dataclass(frozen=True)
class Item:
    """One item of a checklist, and what became of it in this fit."""

    title: str
    state: State
    said: str
    place: str = ""  # a key of `PLACES`

    @property
    def where(self) -> str:
        """Words of the link to the section that has it."""
        return PLACES.get(self.place, "")


@dataclass(frozen=True)
class Facts:
    """What the items are filled from: the fit, and the sections of its report that are there already."""

    fit: xr.DataTree
    trial: xr.Dataset
    window: xr.Dataset
    view: Mapping[str, Any]

    @property
    def evidence(self) -> xr.Dataset:
        """The table of the curves."""
        return self.fit["evidence"].to_dataset()

    def by_engine(self, name: str) -> xr.Dataset:
        """Return the curves that one engine computed."""
        table = self.evidence
        return table.isel(model=table["engine"].values.astype(str) == name)

    @property
    def several(self) -> bool:
        """Whether curves can be compared."""
        return "models" in self.fit

    @property
    def factor(self) -> float:
        """Log Bayes factor of the hormetic curves against the others; NaN where there is none."""
        return float(bayes_factors(self.fit)["log_bayes_factor_hormesis"]) if self.several else np.nan

    def estimates(self, *names: str) -> str:
        """Write medians, intervals and shares of existence of quantities of the window."""
        return "; ".join(estimate_words(self.window, self.trial, one) for one in names)


def estimate_words(window: xr.Dataset, trial: xr.Dataset, name: str) -> str:
    """Write median, interval and share of existence of a quantity of the window."""
    one, words = quantity(window, name), name.replace("_", " ")
    if not one["share"] > 0:
        return f"{words} in no draw"
    ends = f"{number(one['lower'])} to {number(one['upper'])}"
    unit = "" if name == "peak_stimulation" else unit_of(trial["dose"])
    held = "in every draw" if one["share"] == 1 else f"in {chance(one['share'])} of the draws"
    return f"{words} {number(one['median'])}{unit} ({ends}; {held})"


def bracketed(variable: xr.DataArray) -> str:
    """Return the unit of a variable in brackets, or nothing."""
    unit = unit_of(variable).strip()
    return f" [{unit}]" if unit else ""


__all__ = ["PLACES", "Facts", "Item", "State", "bracketed", "estimate_words"]
