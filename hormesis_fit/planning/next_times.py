"""When to sample next: the times, under doses or in a wash-out, that say most about a drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from hormesis_fit.planning.recovery import by_mechanism
from hormesis_fit.planning.surrogate import value_of
from hormesis_fit.planning.timing import WHOLE, Prospect, Request
from hormesis_fit.planning.visits import by_chance
from hormesis_fit.trials.reading import check_number, check_whole
from hormesis_fit.windows.estimands import asked_for
from hormesis_fit.windows.posterior import carrying, check_fit, described, trial_of
from hormesis_fit.windows.timecourse import drifting

MOST = 200  # rows


def next_times(
    fit: xr.DataTree,
    *,
    n: int = 6,
    about: str | Sequence[str] = WHOLE,
    times: Sequence[float] | None = None,
    delays: Sequence[float] | None = None,
    doses: Sequence[float] | float | None = None,
    test_doses: Sequence[float] | float | None = None,
    duration: float | None = None,
    interval: float | None = None,
    horizon: float | None = None,
    subject: str | None = None,
) -> xr.Dataset:
    r"""Return the times of the next samples, those from which most is to be learned about a drift.

    Parameters
    ----------
    fit : DataTree
        As `fit` returns it, with a drift.
    n : int
        Rows that can be had; for a drift by chance visits, each at a time of its own, 24 at most.
    about : str or sequence of str
        ``"parameters"`` of the drift, all of them; ``"window"``, its two edges, for a mechanism; or names of
        parameters, as `drift_identifiability` lists them. For a drift by chance there is also where it will be at the
        horizon, such as ``"potency_at_horizon"``.
    times : sequence of float, optional
        When samples can be had: for a mechanism under dosing, since the first dose; for a drift by chance after the
        last visit, on the clock of the trial [time]. By default a grid; ``[]`` for none under dosing.
    delays : sequence of float, optional
        For a mechanism, when samples can be had in a wash-out, since the doses were left out [time]; by default a grid
        up to the horizon; ``[]`` where there can be no wash-out.
    doses : sequence of float or float, optional
        Doses that can be given again and again [dose]: by default those of the trial; for a drift by chance the dose at
        which it shows best.
    test_doses : sequence of float or float, optional
        Doses that can be given for a sample in the wash-out [dose], 0 for none; by default that of the regimen and
        none.
    duration : float, optional
        For a mechanism, how long doses are given before the wash-out [time]; by default as long as the trial.
    interval : float, optional
        Time between doses [time], by default that of the trial; only with pharmacokinetics.
    horizon : float, optional
        How long a wash-out can last, or how long after the last visit samples can be had [time]; by default as long as
        the trial.
    subject : str, optional
        Label of the subject who is sampled; by default somebody typical.

    Returns
    -------
    Dataset
        Over (sample): ``time`` [time], ``phase`` (``"dosing"`` or ``"washout"``), ``delay`` since the doses were left
        out [time], ``dose`` of the regimen and ``test_dose`` of the sample [dose], ``replicates``, rows of the kind.
        Over (candidate): the same, as ``candidate_time`` and so on, and ``gain`` of a single row [nat]. Over
        (parameter): ``sd`` of what is asked for, of its log but for parameters that may be negative, and what is
        ``expected_sd`` after the rows [1]. Scalars: ``expected_gain`` of all rows, ``dosing_gain`` of as many under
        dosing alone [nat]; ``washout``, the length of the pause that the plan needs, 0 if none, ``duration`` of the
        doses before it, and ``lead``, how long before its sample a test dose is given [time]. Attrs: what was asked.

    Raises
    ------
    ValueError
        If the fit has no drift, an argument is out of range, or nothing that is asked for is uncertain.

    Notes
    -----
    For a mechanism what is asked for and the mean responses are taken as jointly normal, with the moments of the
    posterior draws, and the information of rows is :math:`\frac{1}{2} \ln(\det V / \det V_y)` with the covariances
    before and after them. Under steady doses only ratios of rates show; the rates need the recovery. Every test dose
    meets somebody whose pause was not disturbed by another. For a drift by chance a row moves its variance and time
    scale by squares and not by the mean: there the Fisher information of rows that are jointly normal, averaged over
    draws, is added to the precision of the parameters, and the information about where the drift will be is counted by
    itself. Other drifts of the fit stay as they are at the last visit.

    References
    ----------
    Chaloner and Verdinelli 1995, https://doi.org/10.1214/ss/1177009939
    """
    check_fit(fit)
    check_whole("n", n, least=1)
    if n > MOST:
        raise ValueError(f"Expected at most {MOST} rows for n=, got {n}: plan them in several steps.")
    for name, value in {"duration": duration, "interval": interval, "horizon": horizon}.items():
        check_number(name, value, above=0.0)
    if not drifting(fit):
        raise ValueError('The fit knows no drift in time: fit with drift="OrnsteinUhlenbeck" first.')
    request = Request(fit, trial_of(fit), n, carrying(fit), asked_for(fit, "typical", subject), about, times, horizon)
    if request.mechanism is None:
        given = {"delays": delays, "test_doses": test_doses, "duration": duration, "interval": interval}
        outlook = by_chance(request, doses, given)
    else:
        outlook = by_mechanism(request, delays, doses, test_doses, duration, interval)
    chosen = outlook.best(n, np.ones(outlook.samples.time.size, dtype=bool))
    result = _described(outlook, chosen, request.trial)
    asked = about if isinstance(about, str) else ", ".join(about)
    return result.assign_attrs(
        {"about": asked, "n": int(n), "drift": outlook.drift, "subject": request.asked.subject or ""} | outlook.attrs
    )


def _described(prospect: Prospect, chosen: list[int], trial: xr.Dataset) -> xr.Dataset:
    """The plan as a Dataset, its rows by phase and time, with the gain of every candidate."""
    samples, start = prospect.samples, prospect.start
    kinds, counts = np.unique(chosen, return_counts=True)
    order = np.lexsort((samples.test_dose[kinds], samples.dose[kinds], samples.time[kinds]))
    kinds, counts = kinds[order], counts[order]
    under = ~samples.washed
    total = alone = value_of(start, chosen)
    if samples.washed[kinds].any():
        alone = value_of(start, prospect.best(len(chosen), under)) if under.any() else np.nan
    texts = {
        "time": ("time", "When the sample is had."),
        "phase": ("", "Whether the doses go on, or have been left out."),
        "delay": ("time", "How long the doses have been left out, 0 under dosing."),
        "dose": ("dose", "Dose that is given again and again."),
        "test_dose": ("dose", "Dose that is given for a sample in the wash-out, 0 where none is."),
    }
    columns = {}
    for name, (unit, text) in texts.items():
        values, attrs = getattr(samples, name), described(unit, trial, text)
        columns[name] = ("sample", values[kinds], attrs)
        columns[f"candidate_{name}"] = ("candidate", values, attrs)
    more = {
        "replicates": ("sample", counts, "rows", "Rows of the kind."),
        "gain": ("candidate", start.values(), "nat", "Expected information of a single row."),
        "sd": ("parameter", prospect.spreads([]), "1", "Posterior SD of what is asked for, of its log if positive."),
        "expected_sd": ("parameter", prospect.spreads(chosen), "1", "The same after the rows, as expected."),
        "expected_gain": ((), total, "nat", "Expected information of the rows."),
        "dosing_gain": ((), alone, "nat", "The same of as many rows under dosing alone."),
        "washout": ((), samples.delay[kinds].max(), "time", "Length of the pause in the doses, 0 if none is needed."),
        "duration": ((), prospect.duration, "time", "How long doses are given before the pause."),
        "lead": ((), prospect.lead, "time", "How long before its sample a test dose is given."),
    }
    columns |= {name: (dims, value, described(unit, trial, text)) for name, (dims, value, unit, text) in more.items()}
    return xr.Dataset(columns, coords={"parameter": prospect.names})


__all__ = ["next_times"]
