"""What a window was asked, so that the same can be asked again: of one curve, of one subject, in a recipe."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

from hormesis_fit.windows.estimands import Asked
from hormesis_fit.windows.harms import Harm
from hormesis_fit.windows.history import history_of


def harms_of(window: xr.Dataset) -> tuple[Harm, ...] | None:
    """Return the harms that a window was asked to avoid; None where they were not all written down.

    Parameters
    ----------
    window : Dataset
        As `hormesis_fit.window` returns it.
    """
    if not window.attrs.get("harms"):
        return ()
    written = json.loads(str(window.attrs.get("harm", "")) or "[null]")
    if any(one is None for one in written):
        return None
    pairs = [one | {"occupancy": tuple(one["occupancy"])} if _paired(one) else one for one in written]
    return tuple(Harm(**one) for one in pairs)


def _paired(written: dict[str, Any]) -> bool:
    return isinstance(written.get("occupancy"), list)


def asked_of(window: xr.Dataset) -> Asked:
    """Return whose window it is."""
    subject = str(window.attrs.get("subject", ""))
    return Asked("typical", subject) if subject else Asked(str(window.attrs["estimand"]))


def when_of(window: xr.Dataset) -> dict[str, Any]:
    """Return time, interval and earlier doses, as arguments of `hormesis_fit.window` and `hormesis_fit.predict`."""
    found: dict[str, Any] = {name: float(window.attrs[name]) for name in ("time", "interval") if name in window.attrs}
    history = history_of(window)
    return found if history is None else found | {"history": history}


def question_of(window: xr.Dataset) -> dict[str, Any]:
    """Return benefit, scale, level, time, interval, earlier doses and harms, as arguments of `hormesis_fit.window`."""
    attrs = window.attrs
    asked = {"benefit": float(attrs["benefit"]), "benefit_scale": str(attrs["benefit_scale"])}
    harms = harms_of(window)
    return asked | when_of(window) | {"level": float(attrs["level"])} | ({"harm": harms} if harms else {})


def request_of(window: xr.Dataset) -> dict[str, Any]:
    """Return everything that was asked, as arguments of `hormesis_fit.window`."""
    asked = asked_of(window)
    whose = {"subject": asked.subject} if asked.subject else {"estimand": asked.estimand}
    return question_of(window) | whose
