"""The estimand of a trial, by the attributes of ICH E9(R1), as far as a fit knows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hormesis_fit.figures.drawing import number
from hormesis_fit.phrases import benefit_words, level_words, printable, unit_of
from hormesis_fit.report.facts import Facts, Item, State, bracketed
from hormesis_fit.report.people import ESTIMANDS


def estimand(facts: Facts) -> Sequence[Item]:
    """Return the attributes of the estimand as far as a fit knows them.

    Parameters
    ----------
    facts : Facts
        The fit and the other sections of its report.

    References
    ----------
    ICH E9(R1), Addendum on estimands and sensitivity analysis in clinical trials, 2019, A.3.
    """
    trial, window = facts.trial, facts.window
    dose = printable(trial["dose"].attrs.get("long_name") or "dose")
    tested = np.unique(trial["dose"].values[trial["dose"].values > 0])
    low, high = number(float(tested[0])), number(float(tested[-1]))
    subjects = np.unique(trial["subject"]).size if "subject" in trial else 0
    whose = ESTIMANDS[str(window.attrs["estimand"])]
    who = f"It speaks of {whose}." if subjects else "The table names no subjects: it speaks of units like its rows."
    count = f" {subjects} subjects were observed." if subjects else ""
    response = printable(trial["response"].attrs.get("long_name") or "response")
    when = f" at time {number(float(window.attrs['time']))}{unit_of(trial['time'])}" if "time" in window.attrs else ""
    drift = " The drift in time is part of the model." if facts.view["drift_table"] else ""
    before = " after earlier doses" if window.attrs.get("history") else ""
    interval = (
        f", every {number(float(window.attrs['interval']))}{unit_of(trial['time'])}"
        if "interval" in window.attrs
        else ""
    )
    return [
        Item(
            "Treatment",
            "done",
            f"{dose}, {tested.size} doses from {low} to {high}{unit_of(trial['dose'])}{interval}{before}, each against "
            f"no dose.{drift}",
            "decision",
        ),
        Item("Population", "in part", f"{who}{count} Who was let in is not in the table: say so from the protocol."),
        Item("Variable", "done", f"{response}{bracketed(trial['response'])}{when}.", "model"),
        Item("Intercurrent events", *_events(facts)),
        Item(
            "Summary",
            "done",
            f"The mean response and its benefit over no dose, {benefit_words(window, trial)}; as a probability, "
            f"which is compared with {level_words(window)}.",
            "decision",
        ),
    ]


def _events(facts: Facts) -> tuple[State, str, str]:
    dropped, limits = int(facts.view["dropped"]), [name for name in ("lower", "upper") if name in facts.trial]
    known = [
        *(
            [f"{dropped} row{'s' if dropped > 1 else ''} without a response left out, as if missing at random"]
            if dropped
            else []
        ),
        *(["responses beyond a limit of measurement count as such"] if limits else []),
        *(["the guess of the treatment was recorded"] if "guess" in facts.trial else []),
    ]
    said = f"{'; '.join(known)}. ".capitalize() if known else ""
    how = "The table does not tell of stopped treatment, rescue medication or deaths: say how they were handled."
    return ("in part" if known else "not done"), f"{said}{how}", "model"


__all__ = ["estimand"]
