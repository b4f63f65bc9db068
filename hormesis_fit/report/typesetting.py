"""Tables and methods as files for a paper: LaTeX, Word and HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from hormesis_fit.report.markup import MARKUPS, Text, latex, plain
from hormesis_fit.report.methods import bibliography, cited, methods_text, paragraphs
from hormesis_fit.report.papers import paper_tables
from hormesis_fit.wording import unknown

if TYPE_CHECKING:
    from docx.document import Document
    from docx.table import Table, _Cell

LONG = 36  # rows from which a LaTeX table may break across pages
WORDY = 30  # letters of a cell from which a column is set as lines of text
NUMBERS = ("Median", "95 % interval", "P(exists)")
TITLE = "Methods and tables"
FLUSH = {"l": r">{\raggedright\arraybackslash}", "r": r">{\raggedleft\arraybackslash}"}
PAGE, LETTER, PADDING = 170.0, 2.0, 4.2  # widths of a page, of a letter of 8.5 pt, and around a cell of Word [mm]
BOLD = 1.25  # how much wider letters of the head are
TOGETHER = 20  # rows up to which a table of Word stays on one page


def write_paper(
    source: xr.DataTree | xr.Dataset,
    folder: str | Path,
    *,
    formats: str | Sequence[str] = ("latex", "docx", "html"),
) -> list[Path]:
    """Write the methods and the tables of a paper.

    Parameters
    ----------
    source : DataTree or Dataset
        A fit with its window, or what `next_doses` and `optimal_design` return, as in `paper_tables`.
    folder : str or path-like
        Made where it is missing; files of the same names are replaced.
    formats : sequence of {"latex", "docx", "html"}
        ``"latex"`` writes ``<table>.tex`` for each table, with booktabs and a label, and of a fit ``methods.tex`` and
        ``references.bib``; ``"docx"`` and ``"html"`` write one file, ``paper`` of a fit and ``design`` of a plan.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ValueError
        If a format is unknown.
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    for name in formats:
        if name not in WRITERS:
            raise ValueError(unknown("format", name, WRITERS))
    tables, folder = paper_tables(source), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    fit = source if isinstance(source, xr.DataTree) else None
    return [path for name in formats for path in WRITERS[name](tables, fit, folder)]


def _widths(table: pd.DataFrame, total: float = PAGE) -> list[float]:
    """Widths of columns [mm]: what no word needs to be broken for, and of the rest what the longest cells need."""
    least, wished = [], []
    for head, text in zip(table, _texts(table), strict=True):
        cells = [str(cell) for cell in table[head]]
        # Numbers and intervals stay on one line.
        words = [word for cell in cells for word in (cell.split() if text else [cell])]
        bold = BOLD * max(map(len, head.split()), default=0)
        least.append(LETTER * max(bold, *map(_length, words), 0) + PADDING)
        wished.append(max(LETTER * max(map(_length, cells), default=0) + PADDING, least[-1]))
    spare, further = total - sum(least), sum(wished) - sum(least)
    if spare <= 0:
        return [total * one / sum(least) for one in least]
    share = min(spare / further, 1.0) if further else 0.0
    return [low + share * (high - low) for low, high in zip(least, wished, strict=True)]


def _length(text: str) -> float:
    """Letters of a text, of which capitals are wider."""
    return len(text) + 0.3 * sum(map(str.isupper, text))


# --- LaTeX -----------------------------------------------------------------------------------------------------------


def _write_latex(tables: Mapping[str, pd.DataFrame], fit: xr.DataTree | None, folder: Path) -> list[Path]:
    texts = {f"{name}.tex": latex_table(table, name) for name, table in tables.items()}
    if fit is not None:
        texts |= {"methods.tex": methods_text(fit, markup="latex"), "references.bib": bibliography(fit)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def latex_table(table: pd.DataFrame, name: str) -> str:
    """Return a table as LaTeX with booktabs.

    Parameters
    ----------
    table : DataFrame
        One of `paper_tables`.
    name : str
        Of its label, ``tab:<name>``.

    Returns
    -------
    str
        For the packages booktabs and, where the table is long, longtable.
    """
    long, columns = len(table) > LONG, "".join(_columns(table))
    style = table.map(_latex_cell).rename(columns=_latex).style.hide(axis="index")
    body = style.to_latex(
        hrules=True,
        caption=_latex(table.attrs["caption"]),
        label=f"tab:{name}",
        column_format=f"@{{}}{''.join(_long_columns(table)) if long else columns}@{{}}",
        **({"environment": "longtable"} if long else {"position": "htbp", "position_float": "centering"}),
    )
    stretched = not long and "X" in "".join(_columns(table))
    if stretched:
        body = body.replace(r"\begin{tabular}", r"\begin{tabularx}{\linewidth}").replace(
            r"\end{tabular}", r"\end{tabularx}"
        )
    notes = rf"\parbox{{\linewidth}}{{\footnotesize {' '.join(map(_latex, table.attrs['notes']))}}}"
    packages = "booktabs, array" + (", longtable" if long else ", tabularx" if stretched else "")
    head = f"% Needs \\usepackage{{{packages}}} and \\usepackage[T1]{{fontenc}}.\n"
    small = "\\small\\setlength{\\tabcolsep}{4pt}\n"
    if long:
        return f"{head}{{{small}{body}\\noindent{notes}}}\n"
    begin, end = body.index(r"\begin{tabular"), body.index(r"\end{table}")
    return f"{head}{body[:begin]}{small}{body[begin:end]}\\par\\smallskip\n{notes}\n{body[end:]}"


def _latex(text: str) -> str:
    return latex(_held(text))


def _held(text: str) -> str:
    """Keep per cent signs, and both ends of an interval, with their numbers."""
    held = re.sub(r"(?<=[\d∞]) (to|±) (?=[\d<>−∞])", "\u00a0\\1\u00a0", text)
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", held)


def _latex_cell(text: str) -> str:
    breakable = re.sub(r"(?<=[A-Za-z])\((?=[-\d])", r"(\\allowbreak{}", _latex(text))  # Normal(0, 1)
    # A bracket at the beginning of a row would be read as an argument of the row before.
    return f"{{}}{breakable}" if text.startswith(("[", "*")) else breakable


def _columns(table: pd.DataFrame) -> list[str]:
    """Columns as wide as their cells, and columns of long words that share the rest of the line."""
    wordy = [bool(table[head].str.len().max() > WORDY) for head in table]
    plain_column = ["l" if text else "r" for text in _texts(table)]
    return [FLUSH["l"] + "X" if long else one for long, one in zip(wordy, plain_column, strict=True)]


def _long_columns(table: pd.DataFrame) -> list[str]:
    """Columns with shares of the line: a table over several pages cannot stretch others."""
    widths = _widths(table)
    shares = [one / max(sum(widths), PAGE) for one in widths]
    flush = [FLUSH["l" if text else "r"] for text in _texts(table)]
    return [
        rf"{side}p{{\dimexpr {share:.3f}\linewidth-2\tabcolsep\relax}}"
        for side, share in zip(flush, shares, strict=True)
    ]


def _texts(table: pd.DataFrame) -> list[bool]:
    """Whether a column holds words, to be set flush left."""
    return [not (head in NUMBERS or table[head].str.contains(r"^[−<>]?[\d.]+(?: ±|$)|^–$").all()) for head in table]


# --- HTML ------------------------------------------------------------------------------------------------------------


def _write_html(tables: Mapping[str, pd.DataFrame], fit: xr.DataTree | None, folder: Path) -> list[Path]:
    parts = [html_table(table, name) for name, table in tables.items()]
    if fit is not None:
        found = paragraphs(fit)
        parts = [f"<h2>Methods</h2>{_html_methods(found)}", "<h2>Tables</h2>", *parts, "<h2>References</h2>"]
        parts += [f"<p>{html.escape(one.full)}</p>" for one in cited(found)]
    style = "body{font:16px/1.5 Georgia,serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h2{margin-top:2.5rem}"
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{TITLE}</title>'
        f"<style>{style}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    path = folder / f"{_stem(fit)}.html"
    path.write_text(page, encoding="utf-8")
    return [path]


def _html_methods(found: Mapping[str, Text]) -> str:
    written = MARKUPS["plain"]
    return "\n".join(
        f"<p><b>{html.escape(title)}.</b> {html.escape(written.text(text))}</p>" for title, text in found.items()
    )


def html_table(table: pd.DataFrame, name: str) -> str:
    """Return a table as HTML that stands for itself.

    Parameters
    ----------
    table : DataFrame
        One of `paper_tables`.
    name : str
        Of its id.
    """
    from great_tables import GT
    from great_tables import html as markup

    keys = [f"column{place}" for place in range(table.shape[1])]
    heads = {key: markup(html.escape(_held(head))) for key, head in zip(keys, table.columns, strict=True)}
    sides = dict(zip(keys, _texts(table), strict=True))
    shown = GT(table.map(_held).set_axis(keys, axis="columns"), id=name)
    shown = shown.tab_header(title=markup(html.escape(_held(table.attrs["caption"])))).cols_label(**heads)
    for note in table.attrs["notes"]:
        shown = shown.tab_source_note(markup(html.escape(_held(note))))
    shown = shown.cols_align("left", [key for key, text in sides.items() if text])
    shown = shown.cols_align("right", [key for key, text in sides.items() if not text])
    rules = [f"{place}_border_{side}" for place in ("table", "table_body") for side in ("top", "bottom")]
    shown = shown.opt_align_table_header("left").tab_options(
        table_font_size="14px",
        heading_title_font_size="15px",
        heading_border_bottom_color="#1a1a1a",
        table_margin_left="0",
        table_margin_right="auto",
        table_body_hlines_style="none",
        source_notes_font_size="12px",
        **{f"{rule}_color": "#1a1a1a" for rule in rules},
    )
    return shown.as_raw_html()


# --- Word ------------------------------------------------------------------------------------------------------------


def _write_docx(tables: Mapping[str, pd.DataFrame], fit: xr.DataTree | None, folder: Path) -> list[Path]:
    from docx import Document

    document = Document()
    _set_up(document)
    if fit is not None:
        found = paragraphs(fit)
        document.add_heading("Methods", level=1)
        for title, text in found.items():
            paragraph = document.add_paragraph()
            paragraph.add_run(f"{title}. ").bold = True
            paragraph.add_run(plain(MARKUPS["plain"].text(text)))
        document.add_heading("Tables", level=1)
    for table in tables.values():
        _add_table(document, table)
    if fit is not None:
        document.add_heading("References", level=1)
        for one in cited(found):
            document.add_paragraph(plain(one.full))
    path = folder / f"{_stem(fit)}.docx"
    document.save(str(path))
    return [path]


def _stem(fit: xr.DataTree | None) -> str:
    return "design" if fit is None else "paper"


def _set_up(document: Document) -> None:
    """A page of A4 with a serif face, and nothing in the properties that is not ours."""
    from docx.shared import Mm, Pt, RGBColor

    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = Mm(20)
    for name, size in (("Normal", 10.5), ("Caption", 9.5), ("Heading 1", 14)):
        style = document.styles[name]
        style.font.name, style.font.size, style.font.color.rgb = "Times New Roman", Pt(size), RGBColor(0, 0, 0)
        # The theme's face would win over the name.
        fonts = style.element.rPr.rFonts
        for theme in [key for key in fonts.attrib if key.endswith("Theme")]:
            del fonts.attrib[theme]
    document.core_properties.title, document.core_properties.author = TITLE, ""
    document.core_properties.comments = ""


def _add_table(document: Document, table: pd.DataFrame) -> None:
    """Caption with a number that Word keeps, rules above, below and under the head, and notes."""
    from docx.enum.text import WD_ALIGN_PARAGRAPH
    from docx.shared import Mm, Pt

    caption = document.add_paragraph("Table ", style="Caption")
    caption.paragraph_format.keep_with_next = True
    _number(caption)
    caption.add_run(f". {_held(plain(table.attrs['caption']))}").bold = False
    made = document.add_table(rows=1, cols=table.shape[1])
    rows = [list(table.columns), *table.to_numpy().tolist()]
    texts, widths = _texts(table), _widths(table)
    made.autofit = False
    for column, width in zip(made.columns, widths, strict=True):
        column.width = Mm(width)
    for place, row in enumerate(rows):
        cells = made.rows[0].cells if place == 0 else made.add_row().cells
        for cell, text, word, width in zip(cells, row, texts, widths, strict=True):
            cell.width = Mm(width)
            paragraph = cell.paragraphs[0]
            paragraph.paragraph_format.space_before = paragraph.paragraph_format.space_after = Pt(1.5)
            # With what follows it, down to the notes.
            paragraph.paragraph_format.keep_with_next = len(rows) <= TOGETHER or place in (0, len(rows) - 1)
            paragraph.alignment = WD_ALIGN_PARAGRAPH.LEFT if word else WD_ALIGN_PARAGRAPH.RIGHT
            run = paragraph.add_run(_held(plain(text)))
            run.font.size, run.bold = Pt(8.5), place == 0
            if place == 0:
                _rule(cell, ("top", "bottom"))
            elif place == len(rows) - 1:
                _rule(cell, ("bottom",))
    _keep_rows(made)
    notes = document.add_paragraph()
    notes.paragraph_format.space_before, notes.paragraph_format.space_after = Pt(3), Pt(18)
    notes.add_run(_held(plain(" ".join(table.attrs["notes"])))).font.size = Pt(8)


def _element(tag: str, **attributes: str) -> Any:
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    made = OxmlElement(tag)
    for name, value in attributes.items():
        made.set(qn(f"w:{name}"), value)
    return made


def _rule(cell: _Cell, sides: Sequence[str]) -> None:
    borders = _element("w:tcBorders")
    for side in sides:
        borders.append(_element(f"w:{side}", val="single", sz="8" if side == "top" else "6", color="000000"))
    cell._tc.get_or_add_tcPr().append(borders)


def _keep_rows(table: Table) -> None:
    """Repeat the head on every page, and break no row across pages."""
    for place, row in enumerate(table.rows):
        properties = row._tr.get_or_add_trPr()
        properties.append(_element("w:cantSplit"))
        if place == 0:
            properties.append(_element("w:tblHeader"))


def _number(caption: Any) -> None:
    """A field that numbers the tables, so that a text can refer to them."""
    field = _element("w:fldSimple", instr=" SEQ Table \\* ARABIC ")
    run = _element("w:r")
    text = _element("w:t")
    text.text = str(len(caption.part.document.tables) + 1)
    run.append(text)
    field.append(run)
    caption._p.append(field)


WRITERS = {"latex": _write_latex, "docx": _write_docx, "html": _write_html}

__all__ = ["write_paper"]
