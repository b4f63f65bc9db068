"""What a paper cites: references by key or DOI, as BibTeX and as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("references.bib")
DOI = "https://doi.org/"


@dataclass(frozen=True)
class Reference:
    """One entry of a bibliography.

    Attributes
    ----------
    key : str
        By which it is cited.
    bibtex : str
        The entry.
    """

    key: str
    bibtex: str

    @property
    def fields(self) -> dict[str, str]:
        """The fields of the entry, as plain text."""
        return {name: _plain(text) for name, text in re.findall(r"^  (\w+) = \{(.*)\},$", self.bibtex, re.MULTILINE)}

    @property
    def authors(self) -> list[str]:
        """Authors as they are written in the entry, family name first."""
        return self.fields.get("author", "").split(" and ")

    @property
    def short(self) -> str:
        """Authors and year, to be cited in a text."""
        names = [one.partition(",")[0] for one in self.authors]
        whose = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        return f"{whose} {self.fields.get('year', 'n.d.')}"

    @property
    def full(self) -> str:
        """The reference as one line of a list."""
        known = self.fields
        parts = [f"{'; '.join(self.authors)} ({known.get('year', 'n.d.')})", known["title"]]
        where = known.get("journal") or known.get("publisher") or known.get("institution") or ""
        if "volume" in known:
            where += f" {known['volume']}" + (f"({known['number']})" if "number" in known else "")
            where += f": {known['pages']}"
        elif "number" in known:
            where += f", {known['type']} {known['number']}"
        parts += [where, known.get("howpublished", ""), known.get("note", "")]
        link = f"{DOI}{known['doi']}" if "doi" in known else known.get("url", "")
        return ". ".join([*(part for part in parts if part), link]).strip(". ") + ("" if link else ".")


def _plain(text: str) -> str:
    for bibtex, plain in (("\\&", "&"), ("\\_", "_"), ("--", "–"), ("`", "‘"), ("'", "’"), ("{", ""), ("}", "")):
        text = text.replace(bibtex, plain)
    return text


@cache
def references() -> dict[str, Reference]:
    """Return every reference that the package knows, by its key."""
    entries = re.split(r"\n(?=@)", FILE.read_text(encoding="utf-8"))
    found = (re.match(r"@\w+\{([^,\s]+),", entry) for entry in entries)
    return {match[1]: Reference(match[1], match.string.strip()) for match in found if match}


@cache
def _by_doi() -> dict[str, Reference]:
    return {one.fields["doi"].lower(): one for one in references().values() if "doi" in one.fields}


def reference_of(kind: type) -> Reference | None:
    """Return the source that a curve or a drift declares, also of one that was defined outside the package.

    Parameters
    ----------
    kind : type
        With ``source``, the address of a DOI.

    Returns
    -------
    Reference or None
        None where no DOI is declared.
    """
    source = str(getattr(kind, "source", ""))
    if not re.fullmatch(r"https://doi\.org/[^\s{}\\%]+", source):
        return None
    doi = source.removeprefix(DOI)
    known = _by_doi().get(doi.lower())
    if known is not None:
        return known
    title = f"Source of {{{kind.__name__}}}"
    entry = f"@misc{{{kind.__name__},\n  author = {{N.N.}},\n  title = {{{title}}},\n  doi = {{{doi}}},\n}}"
    return Reference(kind.__name__, entry.replace("_", r"\_") if "_" in kind.__name__ else entry)


def bibtex(chosen: Sequence[Reference]) -> str:
    """Return entries as the content of a BibTeX file.

    Parameters
    ----------
    chosen : sequence of Reference
        In their order, each once.
    """
    return "\n\n".join(one.bibtex for one in chosen) + "\n"
