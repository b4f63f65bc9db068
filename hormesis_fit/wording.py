"""Words of messages: what came, what was probably meant, what there is to choose from."""

import difflib
from collections.abc import Iterable


def quote(value: object, *, limit: int = 60) -> str:
    """Show foreign text on one line of a message.

    Examples
    --------
    >>> quote(" two  words ")
    '"two words"'
    """
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))
    return f'"{text if len(text) <= limit else text[: limit - 3] + "..."}"'


def listing(names: Iterable[object], *, limit: int = 12) -> str:
    """Show names in a message, the first few only.

    Examples
    --------
    >>> listing(["dose", "weight", "day"], limit=2)
    '"dose", "weight" and 1 more'
    """
    shown = [quote(name) for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def closest(word: object, choices: Iterable[str]) -> str | None:
    """Find the choice that was probably meant, whatever its case.

    Examples
    --------
    >>> closest("Wieght", ["dose", "weight"])
    'weight'
    """
    folded = {str(choice).casefold(): str(choice) for choice in choices}
    found = difflib.get_close_matches(str(word).casefold(), folded, n=1)
    return folded[found[0]] if found else None


def hint(word: object, choices: Iterable[str]) -> str:
    """Suggest the nearest choice in brackets, for the middle of a sentence.

    Examples
    --------
    >>> hint("Wieght", ["dose", "weight"])
    ' (did you mean "weight"?)'
    """
    found = closest(word, choices)
    return f" (did you mean {quote(found)}?)" if found else ""


def unknown(kind: str, name: object, choices: Iterable[str]) -> str:
    """Say in one sentence that a name is not known, and which are.

    Examples
    --------
    >>> unknown("curve", "Konstant", ["Constant", "LogLogistic"])
    'There is no curve named "Konstant" (did you mean "Constant"?): choose one of "Constant", "LogLogistic".'
    """
    known = list(choices)
    return f"There is no {kind} named {quote(name)}{hint(name, known)}: choose one of {listing(known)}."
