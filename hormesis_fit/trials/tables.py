"""Tables as people save them: files, DataFrames and dicts become plain columns, or one sentence says why not."""

import csv
import io
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hormesis_fit.wording import hint, listing, quote

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
WORKBOOKS = (".xlsx", ".xlsm")
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "-", "."}
INFINITE = re.compile(r"([+-]?)(inf(inity)?|∞)", re.IGNORECASE)
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(e[+-]?[0-9]+)?", re.IGNORECASE)
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}([,.'’\s][0-9]{3})+([.,][0-9]+)?")
MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
DATE = re.compile(
    r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}([ T].*)?|[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?"
    rf"|[0-9]{{1,2}}[-/. ]?{MONTH}([-/. ,]*[0-9]{{2,4}})?|{MONTH}[-/. ][0-9]{{1,4}}",
    re.IGNORECASE,
)

type Records = list[tuple[int, list]]  # row number in the source, and the cells of the row


@dataclass(frozen=True)
class Table:
    """Columns of raw cells by name, the row of each cell in the source, and how messages call the source."""

    columns: dict[str, list]
    rows: list[int]
    name: str
    label: str
    notes: list[str]
    text: bool = False


def read_table(source: Any, *, sheet: str | None = None) -> Table:
    """Read a file, a DataFrame or a dict of columns without interpreting its cells.

    Examples
    --------
    >>> read_table({"dose": [0, 1], "weight": [1.5, 2.5]}).columns["weight"]
    [1.5, 2.5]
    """
    if sheet is not None and not isinstance(sheet, str):
        raise TypeError(f"Expected the name of a sheet, got sheet={sheet!r}: give the name shown on its tab.")
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(os.path.expanduser(os.fsdecode(source))), sheet)
    if sheet is not None:
        raise ValueError(f"sheet={quote(sheet)} is for Excel files only, but the table is in memory: leave it out.")
    if isinstance(source, pd.DataFrame):
        if source.columns.nlevels > 1:
            raise TypeError("Expected one name for each column, but the DataFrame has several levels: flatten them.")
        return _from_memory([(str(name), source.iloc[:, i].tolist()) for i, name in enumerate(source.columns)])
    if isinstance(source, dict):
        return _from_memory([(str(name), _as_list(str(name), column)) for name, column in source.items()])
    expected = "the path of a CSV or Excel file, a pandas DataFrame or a dict of columns"
    raise TypeError(f"Expected {expected}, got {type(source).__name__}: convert it first.")


def parse_numbers(table: Table, names: Mapping[str, str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the columns `names` (by role) as numbers, NaN where blank; also one note for each repair.

    Examples
    --------
    >>> numbers, notes = parse_numbers(read_table({"conc": ["0", "0,5"]}), {"dose": "conc"})
    >>> numbers["dose"].tolist(), notes[0]
    ([0.0, 0.5], 'Commas in numbers were read as decimal commas ("0,5" as 0.5).')
    """
    comma = _decimal_comma(table, names)
    shown = comma.replace(",", ".")
    notes = [f"Commas in numbers were read as decimal commas ({quote(comma)} as {shown})."] if comma else []
    numbers = {}
    for role, name in names.items():
        cells = table.columns[name]
        places = zip(cells, table.rows, strict=True)
        numbers[role] = np.array([_number(cell, bool(comma), role, name, row) for cell, row in places], dtype=float)
        texts = [cell for cell in cells if isinstance(cell, str) and not is_blank(cell)]
        if any("−" in text for text in texts):
            notes.append(f"Typographic minus signs in column {quote(name)} were read as minus signs.")
        if texts and not table.text:
            notes.append(f"Numbers stored as text in column {quote(name)} were read as numbers.")
    return numbers, notes


def is_numeric(cells: Iterable[object]) -> bool:
    """Tell whether all cells that are not blank look like numbers, and there is one."""

    def number(cell: object) -> bool:
        if isinstance(cell, str):
            return bool(PLAIN.fullmatch(cell.strip()) or COMMA.fullmatch(cell.strip()))
        return isinstance(cell, Real) and not isinstance(cell, bool)

    filled = [cell for cell in cells if not is_blank(cell)]
    return bool(filled) and all(map(number, filled))


def is_blank(cell: object) -> bool:
    """Tell whether a cell is missing: empty, NaN, NA or a word for it.

    Examples
    --------
    >>> is_blank(" NA "), is_blank(0)
    (True, False)
    """
    if isinstance(cell, str):
        return cell.strip().casefold() in MISSING
    if isinstance(cell, Decimal):
        return cell.is_nan()
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float | np.floating) and np.isnan(cell))


def _from_file(path: Path, sheet: str | None) -> Table:
    data, label = _read_bytes(path), quote(path.name)
    workbook = path.suffix.lower() in WORKBOOKS
    if sheet is not None and not workbook:
        raise ValueError(f"sheet={quote(sheet)} is for Excel files only, but {label} is a text file: leave it out.")
    records, notes = _workbook_records(data, label, sheet) if workbook else _text_records(data, label)
    return _tidy(records, notes, path.stem, label, text=not workbook)


def _read_bytes(path: Path) -> bytes:
    shown = quote(path, limit=200)
    if not os.path.exists(path):
        siblings = os.listdir(path.parent) if path.parent.is_dir() else []
        raise FileNotFoundError(f"There is no file {shown}{hint(path.name, siblings)}: check the path of the table.")
    if path.is_dir():
        raise ValueError(f"Expected a file, but {shown} is a directory: give the path of the table in it.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"The file {shown} cannot be read ({error.strerror}): check its permissions.") from None
    if not data.strip():
        raise ValueError(f"The file {shown} is empty, but a header and rows were expected: export the table again.")
    return data


def _text_records(data: bytes, label: str) -> tuple[Records, list[str]]:
    """Rows of a text file, and what was repaired."""
    text, notes = _decode(data, label)
    if "\r" in text and "\n" not in text:
        notes.append("Carriage returns were read as line ends.")
    first, _, rest = text.partition("\n")
    # Excel itself writes such a first line where the separator is not that of the locale.
    declared = re.fullmatch(r"sep=([,;\t])", first.strip("\r\n "))
    separator, text, start = (declared[1], rest, 2) if declared else (_separator(text), text, 1)
    if separator != ",":
        notes.append(f"The columns were read as separated by {SEPARATORS[separator]}.")
    reader = _reader(text, separator)
    try:
        return list(enumerate(reader, start)), notes
    except csv.Error:
        place = f"near line {reader.line_num} of {label}"
        fix = "put quotation marks around whole values only"
        raise ValueError(f"A quotation mark {place} is not closed or stands inside a value: {fix}.") from None


def _decode(data: bytes, label: str) -> tuple[str, list[str]]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"The file {label} is in UTF-16, but UTF-8 was expected: save it again as CSV UTF-8.")
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError(f"Expected text, but {label} is a spreadsheet or archive: save it as .xlsx or as CSV UTF-8.")
    if re.search(rb"[\x00-\x08\x0e-\x19\x1b-\x1f]", data):
        raise ValueError(f"Expected text, but {label} holds binary data or UTF-16: save it as .xlsx or as CSV UTF-8.")
    data = data.rstrip(b"\x1a")  # end-of-file mark of DOS programs
    for encoding in ("utf-8", "cp1252", "latin-1"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        break
    if encoding != "utf-8":
        return text, ["The file is not in UTF-8 and was read as Latin-1 (Windows-1252)."]
    if text.startswith("\ufeff"):
        return text[1:], ["A byte order mark at the start of the file was removed."]
    return text, []


def _reader(text: str, separator: str) -> Any:
    skip = separator != "\t"
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=skip, strict=True)


def _separator(text: str) -> str:
    """Find the separator under which most rows have as many values as the header has names."""

    def agreement(separator: str) -> float:
        try:
            records = [record for record in islice(_reader(text, separator), 200) if any(map(_has_content, record))]
        except csv.Error:
            return 0.0
        widths = [len(record) for record in records]
        return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0.0

    scores = {separator: agreement(separator) for separator in SEPARATORS}
    return max(scores, key=scores.__getitem__) if any(scores.values()) else ","


def _workbook_records(data: bytes, label: str, sheet: str | None) -> tuple[Records, list[str]]:
    """Rows of one sheet, and what was repaired."""
    shown, typed = _open_workbook(data, label)
    titles = [page.title for page in shown.worksheets]
    if sheet is not None and sheet not in titles:
        raise ValueError(f"There is no sheet {quote(sheet)} in {label}{hint(sheet, titles)}: choose {listing(titles)}.")
    title = titles[0] if sheet is None else sheet
    notes = []
    if sheet is None and len(titles) > 1:
        notes.append(f"The first of {len(titles)} sheets, {quote(title)}, was read; sheet= chooses another.")
    records, formulas = [], 0
    for row in typed[title].iter_rows():
        values = [shown[title].cell(cell.row, cell.column).value for cell in row]
        for i, cell in enumerate(row):
            if cell.data_type == "f":
                formulas += values[i] is not None
                # A formula that no program has calculated yet has no saved value: its text is kept, to be refused.
                values[i] = getattr(cell.value, "text", cell.value) if values[i] is None else values[i]
        records.append((row[0].row, values))
    if formulas:
        notes.append(f"Cells with formulas ({formulas}) were read as their saved results.")
    return records, notes


def _open_workbook(data: bytes, label: str) -> tuple[Any, Any]:
    """Open the workbook twice: with saved values, and with formulas."""
    import openpyxl

    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError(f"The workbook {label} has a password or is in the old .xls format: save it as plain .xlsx.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            books = [openpyxl.load_workbook(io.BytesIO(data), data_only=plain) for plain in (True, False)]
        books[0].worksheets[0]
    except Exception:  # noqa: BLE001 - openpyxl raises whatever its zip, XML and style readers meet in a damaged file
        raise ValueError(
            f"Expected an Excel workbook with a sheet, but {label} is none or is damaged: save it again."
        ) from None
    return books[0], books[1]


def _tidy(records: Records, notes: list[str], name: str, label: str, *, text: bool) -> Table:
    """Named columns of the rows that are not blank."""
    filled = [(row, cells) for row, cells in records if any(map(_has_content, cells))]
    if not filled:
        raise ValueError(f"The table {label} is empty, but a header and rows were expected: export the table again.")
    (_, header), *body = filled
    widest = max(len(cells) for _, cells in filled)
    width = max(i + 1 for i, cell in enumerate(header) if _has_content(cell))
    for row, cells in body:
        if text and any(map(_has_content, cells[width:])):
            found = f"row {row} of {label} has {len(cells)} values and the header names {width} columns"
            raise ValueError(f"Expected a name for each value, but {found}: add names, or write decimal points.")
    if not text:
        width = widest
    elif widest > width:
        notes.append("Blank columns on the right were left out.")
    blank = len(records) - len(filled)
    if blank:
        notes.append(f"{blank} blank row{'s were' if blank > 1 else ' was'} left out.")
    names = ["" if cell is None else str(cell) for cell in header[:width]]
    names += [""] * (width - len(names))
    columns = [[cells[i] if i < len(cells) else None for _, cells in body] for i in range(width)]
    return _named(names, columns, [row for row, _ in body], notes, name, label, text=text)


def _has_content(cell: object) -> bool:
    return bool(cell.strip()) if isinstance(cell, str) else cell is not None


def _as_list(name: str, column: Any) -> list:
    if isinstance(column, str | bytes | dict) or not hasattr(column, "__iter__") or not hasattr(column, "__len__"):
        found = f"column {quote(name)} is of type {type(column).__name__}"
        raise TypeError(f"Expected a sequence of values, but {found}: give one value for each row.")
    values = getattr(column, "values", column)
    return values.tolist() if isinstance(values, np.ndarray) else list(column)


def _from_memory(pairs: list[tuple[str, list]]) -> Table:
    if not pairs:
        raise ValueError("The table has no columns, but doses and responses were expected: give one column for each.")
    lengths = {name: len(column) for name, column in pairs}
    (short, fewest), (long, most) = min(lengths.items(), key=lambda i: i[1]), max(lengths.items(), key=lambda i: i[1])
    if fewest != most:
        found = f"{quote(short)} has {fewest} values and {quote(long)} has {most}"
        raise ValueError(f"Expected columns of equal length, but {found}: give one value for each row.")
    names, columns = [name for name, _ in pairs], [column for _, column in pairs]
    return _named(names, columns, list(range(1, most + 1)), [], "trial", "the table", text=False)


def _named(
    headers: list[str], columns: list[list], rows: list[int], notes: list[str], name: str, label: str, *, text: bool
) -> Table:
    """Name the columns by stripped header; duplicates are refused here, since pandas would rename them."""
    named: dict[str, list] = {}
    spaced = [header.strip() for header in headers if header.strip() and header != header.strip()]
    if spaced:
        notes = [*notes, f"Spaces around column names were removed ({listing(spaced)})."]
    for position, (header, column) in enumerate(zip(headers, columns, strict=True), start=1):
        key = header.strip()
        if key in named:
            raise ValueError(f"The column name {quote(key)} appears twice in {label}: give each column its own name.")
        if key:
            named[key] = column
        elif not any(map(_has_content, column)):
            notes = [*notes, f"Column {position} is blank and was left out."]
        elif text and position > 1:
            raise ValueError(f"Column {position} of {label} holds values but has no name: name it, or delete it.")
        else:
            notes = [*notes, f"Column {position} has no name and was left out."]
    if not rows:
        raise ValueError(f"Found only a header and no rows in {label}: add one row for each measurement.")
    return Table(named, rows, name, label, notes, text)


def _decimal_comma(table: Table, names: Mapping[str, str]) -> str:
    """Find an example of a decimal comma when the numbers have them, else an empty string."""
    cells = [
        (cell, row, name) for name in names.values() for cell, row in zip(table.columns[name], table.rows, strict=True)
    ]
    texts = [(cell.strip(), f"row {row} of column {quote(name)}") for cell, row, name in cells if isinstance(cell, str)]
    commas = [(text, place) for text, place in texts if COMMA.fullmatch(text)]
    clear = [text for text, _ in commas if not GROUPED.fullmatch(text)]
    points = [place for text, place in texts if "." in text and PLAIN.fullmatch(text)]
    if commas and points:
        found = f"{quote(commas[0][0])} in {commas[0][1]} has a comma and {points[0]} a decimal point"
        raise ValueError(f"Expected one decimal mark, but {found}: use points, and no thousands separators.")
    if commas and not clear:
        raise ValueError(_ambiguous(*commas[0]))
    return clear[0] if clear else ""


def _ambiguous(text: str, place: str) -> str:
    found = f"the mark in {quote(text)} in {place} may separate thousands"
    return f"Expected plain numbers, but {found}: write a decimal point and no thousands separators."


def _number(cell: object, comma: bool, role: str, name: str, row: int) -> float:
    if isinstance(cell, Real | Decimal) and not isinstance(cell, bool | np.bool_):
        try:
            return float(cell)
        except OverflowError:
            return np.inf if cell > 0 else -np.inf
    text = cell.strip().replace("−", "-") if isinstance(cell, str) else ""
    if PLAIN.fullmatch(text):
        return float(text)
    if comma and COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    if infinite := INFINITE.fullmatch(text):
        return -np.inf if infinite[1] == "-" else np.inf
    if is_blank(cell):
        return np.nan
    raise _refusal(cell, role, f"row {row} of column {quote(name)}")


def _refusal(cell: object, role: str, place: str) -> Exception:
    """One sentence on a cell that is no number."""
    text = str(cell).strip()
    start = f"Expected a number in {place}, got"
    if isinstance(cell, date | time | timedelta | np.datetime64) or DATE.fullmatch(text):
        advice = "format the cells as numbers, for spreadsheets turn entries such as 1-5 into dates"
        fix = "give the time since the start as a number" if role == "time" else advice
        return ValueError(f"{start} the date {quote(text)}: {fix}.")
    if not isinstance(cell, str):
        return TypeError(f"{start} {quote(text)} ({type(cell).__name__}): give real numbers.")
    if text.startswith("="):
        return ValueError(f"{start} the formula {quote(text)}: save the table with values in place of formulas.")
    if text[0] in "<>≤≥":
        limits = "give such limits in columns of their own with lower= and upper= (--lower and --upper)"
        fix = limits if role == "response" else "write a plain number"
        return ValueError(f"{start} {quote(text)}, which is only a limit: {fix}.")
    if GROUPED.fullmatch(text):
        return ValueError(_ambiguous(text, place))
    fix = 'correct it, or blank it and use missing="drop"' if role == "response" else "correct it"
    return ValueError(f"{start} the text {quote(text)}: {fix} (units go into dose_unit=, response_unit=, time_unit=).")
