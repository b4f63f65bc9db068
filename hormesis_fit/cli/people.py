"""Who varies, whose window, which harms: as the command line gives them, checked before anything is fitted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hormesis_fit.cli.options import bad_input, command_words, read_table
from hormesis_fit.cli.output import Failure
from hormesis_fit.wording import hint, listing, quote, unknown

if TYPE_CHECKING:
    import xarray as xr

    from hormesis_fit.inference.fitting import Endpoint
    from hormesis_fit.parameter import Term
    from hormesis_fit.windows.harms import Harm

NOTHING = "none"
COLUMN_ROLES = ("subject", "batch", "sd", "se", "n", "successes", "lower", "upper", "weight", "guess")
HARM_KINDS = ("loss", "occupancy", "receptor_loss", "suppression")
HARM_EXAMPLES = '"loss<=0.05" or "occupancy(5)<=0.5"'
TABLE_NAME = r"[^\W\d]\w*"


def read_vary(texts: Sequence[str] | None, roles: Mapping[str, str | None]) -> dict[str, list[str] | str] | None:
    """Return what varies over what, from texts like ``half_effect_dose=subject``.

    Parameters
    ----------
    texts : sequence of str, optional
        One for each parameter and grouping; ``"none"`` alone lets nothing vary.
    roles : mapping
        Names of the columns of subjects and batches, which have these names in a trial.
    """
    if not texts:
        return None
    if list(texts) == [NOTHING]:
        return {}
    found: dict[str, list[str]] = {}
    for text in texts:
        parts = re.fullmatch(rf"\s*({TABLE_NAME})\s*=\s*([^=/]+(?:/[^=/]+)*)", text)
        if not parts or not all(part.strip() for part in parts[2].split("/")):
            raise Failure(
                f"Expected a parameter and a column of groups for --vary, such as half_effect_dose=subject, got "
                f"{quote(text)}: write it so."
            )
        group = "/".join(_known_as(part.strip(), roles) for part in parts[2].split("/"))
        if group in found.setdefault(parts[1], []):
            raise Failure(f"{parts[1]} varies over {quote(group)} twice in --vary: name every grouping once.")
        found[parts[1]].append(group)
    return {name: groups[0] if len(groups) == 1 else groups for name, groups in found.items()}


def _known_as(column: str, roles: Mapping[str, str | None]) -> str:
    """The name that a column has in a trial."""
    return next((role for role, name in roles.items() if name == column), re.sub(r"\W", "_", column))


def read_covariates(texts: Sequence[str] | None) -> dict[str, str]:
    """Return formulas by parameter, from texts like ``half_effect_dose ~ sex + scale(age)``."""
    found: dict[str, str] = {}
    for text in texts or ():
        parameter, tilde, formula = (part.strip() for part in text.partition("~"))
        if not (tilde and re.fullmatch(TABLE_NAME, parameter) and formula):
            raise Failure(
                f"Expected a parameter and a formula for --covariates, such as "
                f'"half_effect_dose ~ sex + scale(age)", got {quote(text)}: write it so.'
            )
        if parameter in found:
            raise Failure(f"{parameter} has two formulas in --covariates: add their terms up in one.")
        found[parameter] = formula
    return found


def further_columns(
    table: Path,
    sheet: str | None,
    given: Sequence[str] | None,
    vary: Mapping[str, Any] | None,
    covariates: Mapping[str, str],
) -> list[str]:
    """Return the columns to keep beside the named ones: those asked for, of groups, and in formulas."""
    groups = [one for asked in (vary or {}).values() for one in ([asked] if isinstance(asked, str) else asked)]
    grouped = {part for one in groups for part in one.split("/")} - {"subject", "batch"}
    named = {word for formula in covariates.values() for word in _columns_in(formula)}
    if not (given or grouped or named):
        return []
    from hormesis_fit.trials.tables import read_table as read_cells

    with bad_input():
        headers = list(read_cells(table, sheet=sheet).columns)
    spelled = {re.sub(r"\W", "_", header.strip()): header for header in headers}
    found = list(given or ())
    for option, words in (("--vary", sorted(grouped)), ("--covariates", sorted(named))):
        for word in words:
            if word not in spelled:
                raise Failure(
                    f"There is no column {quote(word)} (for {option}) in {table.name}{hint(word, headers)}: "
                    f"name some of its columns, {listing(headers)}."
                )
            found.append(spelled[word])
    return list(dict.fromkeys(found))


def _columns_in(formula: str) -> list[str]:
    """Names in a formula that are no functions, and no columns of subjects or batches."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", formula)
    names = re.findall(rf"(?<![\w.])({TABLE_NAME})(?!\w|\s*[(.=])", bare)
    return [name for name in names if name not in ("subject", "batch", "True", "False", "None")]


def check_estimand(estimand: str, vary: Mapping[str, Any] | None, subject: str | None) -> None:
    """Refuse an estimand that is unknown, or that needs people who differ where there are none."""
    from hormesis_fit.windows.estimands import ESTIMANDS

    if estimand not in ESTIMANDS:
        raise Failure(unknown("estimand", estimand, ESTIMANDS))
    if estimand != "typical" and not (vary or (vary is None and subject)):
        raise Failure(
            f"The estimand {quote(estimand)} needs people who differ, but nothing varies: name their column with "
            "--subject and what differs with --vary half_effect_dose=subject, or leave out --estimand."
        )


def read_harms(texts: Sequence[str] | None) -> list[Harm]:
    """Return limits on harm, from texts like ``loss<=0.05`` and ``occupancy(5)<=0.5``."""
    found: list[Harm] = []
    for text in texts or ():
        one = _harm(text)
        if any(other.kind == one.kind for other in found):
            raise Failure(f"Two limits on {one.kind} were given with --harm: keep the one that counts.")
        found.append(one)
    return found


def _harm(text: str) -> Harm:
    from hormesis_fit.windows.harms import Harm

    parts = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*<=\s*(\S+)\s*", text)
    kind, inside = (parts[1], parts[2]) if parts else ("", None)
    numbers = [_number(one) for one in [*(inside or "").split(","), parts[3]]] if parts and inside is not None else []
    limit = _number(parts[3]) if parts else math.nan
    if kind and kind not in HARM_KINDS:
        raise Failure(unknown("harm", kind, HARM_KINDS))
    plain = kind in HARM_KINDS and kind != "occupancy" and inside is None
    curved = kind == "occupancy" and len(numbers) in (2, 3) and all(map(math.isfinite, numbers))
    if not math.isfinite(limit) or not (plain or curved):
        raise Failure(f"Expected a limit such as {HARM_EXAMPLES} for --harm, got {quote(text)}: write it so.")
    if limit < 0 or (curved and limit >= 1):
        allowed = "0 or more" if plain else "between 0 and 1"
        raise Failure(f"Expected a limit {allowed} for --harm, got {quote(text)}: correct it.")
    with bad_input():
        if plain:
            return Harm(limit=limit, **{kind: True})
        return Harm(occupancy=numbers[0] if len(numbers) == 2 else (numbers[0], numbers[1]), limit=limit)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_side_effect(
    table: Path, column: str | None, family: str, limit: float | None, reading: Mapping[str, Any]
) -> tuple[dict[str, Endpoint], list[Harm]]:
    """Return the side-effect endpoint of a table, and its limit; nothing where no column was named."""
    if column is None:
        if limit is not None:
            raise Failure("The limit of a side effect needs a side effect: name its column with --side-effect.")
        return {}, []
    if limit is None:
        raise Failure(f"The side effect {quote(column)} needs a limit: give it with --side-effect-limit, such as 0.2.")
    if not math.isfinite(limit):
        raise Failure(f"Expected a finite number for --side-effect-limit, got {limit:g}: correct it.")
    if column in (reading["response"], reading["dose"]):
        raise Failure(f"The column {quote(column)} is dose or response already: name another one with --side-effect.")
    from hormesis_fit.windows.harms import Harm

    # More of a side effect is worse; how the benefit's rows were observed says nothing of it.
    kept = ("dose", "dose_unit", "subject", "batch", "missing", "sheet")
    asked = {name: reading[name] for name in kept} | {"response": column, "direction": "down"}
    try:
        trial = read_table(table, **asked)
    except Failure as failure:
        raise Failure(str(failure).replace("--response", "--side-effect")) from None
    check_rows(trial, family, {"--family": "--side-effect-family"})
    name = re.sub(r"^(?=\d)", "_", re.sub(r"\W", "_", column))
    from hormesis_fit.inference.fitting import Endpoint

    return {name: Endpoint(trial=trial, family=family)}, [Harm(endpoint=name, limit=limit)]


def check_rows(trial: xr.Dataset, family: str, words: Mapping[str, str] | None = None) -> None:
    """Refuse a family that the rows of a trial cannot have."""
    from hormesis_fit.families import FAMILIES

    if family not in FAMILIES:
        raise Failure(unknown("family", family, FAMILIES))
    from hormesis_fit.model.likelihood import check_observations

    try:
        check_observations(trial, family)
    except ValueError as error:
        text = command_words(str(error))
        for python, option in (words or {}).items():
            text = text.replace(python, option)
        raise Failure(text) from None


def check_words(family: str, side_family: str) -> None:
    """Refuse unknown families before a table is read."""
    from hormesis_fit.families import FAMILIES

    for option, name in (("--family", family), ("--side-effect-family", side_family)):
        if name not in FAMILIES:
            raise Failure(f"{unknown('family', name, FAMILIES).rstrip('.')} with {option}.")


def check_groups(trial: xr.Dataset, vary: Mapping[str, Any] | None, covariates: Mapping[str, str]) -> None:
    """Refuse groups and formulas that no curve could use."""
    from hormesis_fit.model.hierarchy import design_of, effects_of
    from hormesis_fit.parameter import Prior

    asked = vary if vary is not None else {"control": "subject"} if "subject" in trial else {}
    with bad_input():
        effects_of(trial, asked, {name: Prior("Normal", mu=0, sigma=1) for name in asked})
        for formula in covariates.values():
            design_of(trial, formula)


def read_drift(texts: Sequence[str] | None, trial: xr.Dataset) -> dict[str, str]:
    """Read what drifts, and refuse a design that cannot tell.

    Examples
    --------
    >>> read_drift(None, None)
    {}
    """
    from hormesis_fit.drift.courses import NATURAL, TARGETS, courses_of, find_drift
    from hormesis_fit.wording import quote, unknown

    found: dict[str, str] = {}
    for text in texts or ():
        target, equals, name = (part.strip() for part in text.rpartition("="))
        if not equals:
            with bad_input():
                target = NATURAL[find_drift(name).acts_on]
        if target not in TARGETS:
            raise Failure(unknown("drift of", target, TARGETS))
        if target in found:
            raise Failure(f"Two drifts of the {target} were given ({quote(found[target])}, {quote(name)}): give one.")
        found[target] = name
    if found:
        with bad_input():
            courses_of(trial, found, [])
    return found


def read_kinetics(text: str | None) -> Term | None:
    """Read pharmacokinetics, from a text like ``OneCompartment elimination_rate=0.1 route=oral``.

    Examples
    --------
    >>> read_kinetics("OneCompartment elimination_rate=0.1").elimination_rate
    0.1
    """
    from hormesis_fit.dosing.exposure import PHARMACOKINETICS
    from hormesis_fit.wording import quote, unknown

    if text is None:
        return None
    name, *parts = text.split()
    if name not in PHARMACOKINETICS:
        raise Failure(unknown("pharmacokinetic model", name, PHARMACOKINETICS))
    kind, given = PHARMACOKINETICS[name], {}
    known = [*kind.options(), *kind.declared()]
    for part in parts:
        word, _, value = part.partition("=")
        if word not in known:
            raise Failure(unknown(f"parameter of {name}", word, known))
        try:
            given[word] = value if word in kind.options() else float(value)
        except ValueError:
            raise Failure(f"Expected a number for {word} in --kinetics, got {quote(value)}: correct it.") from None
        if word in kind.declared() and not 0 < given[word] < math.inf:
            raise Failure(f"Expected a number above 0 for {word} in --kinetics, got {quote(value)}: correct it.")
    with bad_input():
        return kind(**given)


def read_doses_in_time(given: Mapping[str, Any], trial: xr.Dataset, drift: Mapping[str, str]) -> dict[str, Any]:
    """Read the event table, pharmacokinetics and concentrations, and refuse what does not go together."""
    from hormesis_fit.checks.identifiability import paused
    from hormesis_fit.dosing.concentrations import read_concentrations
    from hormesis_fit.dosing.regimen import read_regimen
    from hormesis_fit.drift.courses import design_notes
    from hormesis_fit.drift.histories import dosed_histories

    kinetics = read_kinetics(given["kinetics"])
    if given["interval"] is not None and kinetics is None:
        raise Failure("--interval needs --kinetics, which says how a dose wears off: add it, or leave out --interval.")
    with bad_input():
        regimen = None if given["regimen"] is None else read_regimen(given["regimen"])
        measured = None if given["concentrations"] is None else read_concentrations(given["concentrations"])
        histories = dosed_histories(trial, drift or None, regimen, kinetics, measured)
    if drift:
        washed = histories is not None and paused(histories.record(), trial)
        trial.attrs["notes"] = [*trial.attrs.get("notes", []), *design_notes(trial, washed=washed).values()]
    return {"regimen": regimen, "kinetics": kinetics, "concentrations": measured}


def read_when(given: Mapping[str, Any], drift: Mapping[str, str], kinetics: Term | None) -> dict[str, Any]:
    """Read the interval and the doses before time 0, as arguments of the window."""
    from hormesis_fit.drift.courses import mechanism_of
    from hormesis_fit.windows.history import read_history

    if given["history"] is None:
        return {} if given["interval"] is None else {"interval": given["interval"]}
    if kinetics is None and mechanism_of(drift or None) is None:
        raise Failure(
            "--history needs something that remembers doses: add --kinetics or --drift ReceptorTurnover, or leave it "
            "out."
        )
    if given["interval"] is not None:
        raise Failure("Earlier doses are forgotten at steady state: leave out --history or --interval.")
    with bad_input():
        return {"history": read_history(given["history"])}


def read_times(text: str | None, trial: xr.Dataset, *, moving: bool) -> list[float] | None:
    """Read the times at which the window is wanted."""
    from hormesis_fit.wording import quote

    if text is None:
        return None
    if not moving:
        raise Failure("--time-grid needs a drift: add --drift OrnsteinUhlenbeck, or leave it out.")
    try:
        times = [float(part) for part in text.split(",")]
    except ValueError:
        times = []
    first = float(trial["time"].values.min())
    if not times or not all(first <= time < math.inf for time in times):
        raise Failure(
            f"Expected times from the first visit ({first:g}) on for --time-grid, got {quote(text)}: "
            "write them like 0,7,14."
        )
    return sorted(set(times))
