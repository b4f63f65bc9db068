"""Foreign text in LaTeX, Markdown and plain text: escaped, with citations in the manner of each."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hormesis_fit.report.references import Reference

type Piece = str | tuple[Reference, ...]
type Text = list[Piece]

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": "'",
    "µ": r"\ensuremath{\mu}",
    "−": r"\ensuremath{-}",
    "–": "--",
    "—": "---",
    "×": r"\ensuremath{\times}",
    "·": r"\ensuremath{\cdot}",
    "⋅": r"\ensuremath{\cdot}",
    "÷": r"\ensuremath{\div}",
    "±": r"\ensuremath{\pm}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "∼": r"\ensuremath{\sim}",
    "∞": r"\ensuremath{\infty}",
    "°": r"\ensuremath{^\circ}",
    "‰": r"\textperthousand{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "Å": r"\AA{}",
    "\u00a0": "~",
    "\u202f": r"\,",
    "\u2009": r"\,",
} | {letter: rf"\{letter}" for letter in "&%$#_"}
SHIFTED = {"<super>": "textsuperscript", "<sub>": "textsubscript"}


def plain(text: object) -> str:
    """Return foreign text without letters that control a terminal or a page."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def latex(text: object) -> str:
    r"""Escape foreign text for LaTeX, also for pdfLaTeX, which knows few letters.

    Greek letters, superscripts and subscripts, of which units are made, become commands; a letter that stays is one
    for XeLaTeX or LuaLaTeX where pdfLaTeX does not know it.

    Examples
    --------
    >>> print(latex("50 % of 3 µg L⁻¹ & β_x"))
    50 \% of 3 \ensuremath{\mu}g L\textsuperscript{\ensuremath{-}1} \& \ensuremath{\beta}\_x
    """
    return "".join(map(_letter, str(text))).replace(r"}\textsuperscript{", "")


def _letter(letter: str) -> str:
    if letter in LATEX:
        return LATEX[letter]
    if letter.isascii() or not letter.isprintable():
        return plain(letter)
    kind, _, points = unicodedata.decomposition(letter).partition(" ")
    if kind in SHIFTED:
        return rf"\{SHIFTED[kind]}{{{''.join(_letter(chr(int(point, 16))) for point in points.split())}}}"
    name = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (FINAL )?([A-Z]+)", unicodedata.name(letter, ""))
    if name is None:
        return letter
    word = "lambda" if name[3] == "LAMDA" else name[3].lower()
    word = "var" + word if name[2] else word
    if word == "omicron" or (name[1] == "CAPITAL" and word not in CAPITALS):
        return unicodedata.normalize("NFKD", GREEK_AS_LATIN.get(letter, letter))
    return rf"\ensuremath{{\{word.capitalize() if name[1] == 'CAPITAL' else word}}}"


CAPITALS = {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"}
# Capital letters that LaTeX has no command for, since they look like these.
GREEK_AS_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧο", "ABEZHIKMNOPTXo", strict=True))


def markdown(text: object) -> str:
    r"""Escape foreign text for Markdown, so that Pandoc shows it as it is.

    Examples
    --------
    >>> print(markdown("50% & <b>_x_</b> $y$"))
    50% \& \<b\>\_x\_\</b\> \$y\$
    """
    return re.sub(r"([\\`*_{}\[\]<>$#|~^@&!])", r"\\\1", plain(text))


@dataclass(frozen=True)
class Markup:
    """How text, citations and references are written.

    Attributes
    ----------
    escape : callable
        Foreign text as it is shown.
    cite : callable
        References as a citation that follows a word.
    paragraph : callable
        Title and text, both escaped, as a paragraph.
    listed : bool
        Whether the references are listed at the end, where no bibliography does it.
    """

    escape: Callable[[str], str]
    cite: Callable[[Sequence[Reference]], str]
    paragraph: Callable[[str, str], str]
    listed: bool = False

    def text(self, pieces: Text) -> str:
        """Return pieces of text and references as one text."""
        return "".join(self.escape(one) if isinstance(one, str) else self.cite(one) for one in pieces).strip()


def _keys(chosen: Sequence[Reference], mark: str, between: str) -> str:
    return between.join(f"{mark}{one.key}" for one in chosen)


MARKUPS = {
    "markdown": Markup(markdown, lambda some: f" [{_keys(some, '@', '; ')}]", "**{}.** {}".format),
    "latex": Markup(latex, lambda some: rf"~\cite{{{_keys(some, '', ',')}}}", r"\paragraph{{{}}} {}".format),
    "plain": Markup(plain, lambda some: f" ({'; '.join(one.short for one in some)})", "{}. {}".format, listed=True),
}
