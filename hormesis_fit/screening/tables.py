"""Tables of a screen, read in pieces of some curves each: files, folders of files, tables in memory."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hormesis_fit.wording import hint, listing, quote

CHUNK = 100_000  # rows that are held at once
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
ID, PLACE = "curve_id", "row"  # columns of a piece beside those of the table


@dataclass
class Pieces:
    """A screen, cut into pieces that lie in a folder as CSV files.

    Attributes
    ----------
    folder : Path
        Holds ``00000.csv`` and so on.
    size : int
        Curves in a piece.
    labels : list of str
        Curves in the order in which they were first met.
    refused : dict
        Curves that no piece holds, with the reason.
    problems : list of str
        Files that could not be read, one sentence each.
    """

    folder: Path
    size: int
    labels: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of pieces."""
        return -(-len(self.labels) // self.size)

    def path(self, number: int) -> Path:
        """Return the file of a piece."""
        return self.folder / f"{number:05d}.csv"

    def curves(self, number: int) -> list[str]:
        """Return the labels of the curves of a piece."""
        return self.labels[number * self.size : (number + 1) * self.size]

    def tables(self, number: int) -> dict[str, pd.DataFrame]:
        """Return the tables of a piece by the labels of their curves; those refused are left out."""
        rows = pd.read_csv(self.path(number), dtype=str, keep_default_na=False)
        return {
            str(label): table.drop(columns=[ID, PLACE]).reset_index(drop=True)
            for label, table in rows.groupby(ID, sort=False)
            if label not in self.refused
        }


def cut(source: Any, folder: Path, *, curve_id: str, columns: Mapping[str, str], units: list[str], size: int) -> Pieces:
    """Cut a table into pieces, reading a part of it at a time.

    Parameters
    ----------
    source : str, path-like, pandas.DataFrame or mapping of columns
        A CSV or Parquet file, a folder of them, or a table in memory.
    folder : Path
        Where the pieces are written.
    curve_id : str
        Column of the labels of the curves.
    columns : mapping
        Columns to keep, by what they are for.
    units : list of str
        Columns among them that hold units: one unit is to be the same all along.
    size : int
        Curves in a piece.

    Returns
    -------
    Pieces

    Raises
    ------
    ValueError
        If nothing at all could be read, or a column is missing everywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces, places = Pieces(folder, size), {}
    wanted = [curve_id, *dict.fromkeys(columns.values())]
    seen: dict[str, Counter] = {name: Counter() for name in units}
    own: dict[str, dict[str, str]] = {name: {} for name in units}
    for file, chunks in _sources(source):
        try:
            for start, chunk in _numbered(chunks, wanted, file):
                _spread(chunk, start, file, pieces, places, curve_id)
                for name in units:
                    _count_units(chunk, name, curve_id, seen[name], own[name], pieces)
        except Exception as error:  # noqa: BLE001  a damaged file must not take the others along
            pieces.problems.append((str(error).splitlines() or [type(error).__name__])[0])
    for name in units:
        _refuse_other_units(name, seen[name], own[name], pieces)
    if not pieces.labels:
        reason = "; ".join(pieces.problems[:3]) or "there are no rows"
        raise ValueError(f"Expected a table of curves, but nothing could be read: {reason}")
    return pieces


def has_column(source: Any, name: str) -> bool:
    """Whether a table, or the first of its files that can be read, has a column of this name."""
    for _, chunks in _sources(source):
        try:
            first = next(iter(_chunks(chunks)), pd.DataFrame())
        except ValueError:
            continue
        return name in [str(column).strip() for column in first.columns]
    return False


def _sources(source: Any) -> Iterator[tuple[str, Any]]:
    """Yield every file, or the table in memory, with what reads it."""
    if isinstance(source, pd.DataFrame | Mapping):
        yield "", pd.DataFrame(source)
        return
    path = Path(source).expanduser()
    if not path.exists():
        siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FileNotFoundError(f"There is no file {quote(path)}{hint(path.name, siblings)}: check the path.")
    files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise ValueError(
            f"Expected CSV or Parquet files in the folder {quote(path)}, but it holds none: check the path."
        )
    yield from ((file.name, file) for file in files)


def _numbered(source: Any, wanted: list[str], file: str) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield parts of a table with the wanted columns as text, and the number of the first row."""
    row = 2 if file else 1  # the header of a file is row 1
    for chunk in _chunks(source):
        chunk.columns = [str(name).strip() for name in chunk.columns]
        for name in wanted:
            if name not in chunk.columns:
                known, where = list(chunk.columns), f" in {quote(file)}" if file else ""
                raise ValueError(
                    f"There is no column {quote(name)}{where}{hint(name, known)}: name one of {listing(known)}."
                )
        yield row, chunk[wanted].astype(object).where(chunk[wanted].notna(), "").astype(str)
        row += len(chunk)


def _chunks(source: Any) -> Iterator[pd.DataFrame]:
    if isinstance(source, pd.DataFrame):
        for start in range(0, len(source), CHUNK):
            yield source.iloc[start : start + CHUNK].copy()
    elif source.suffix.lower() in (".parquet", ".pq"):
        yield from _parquet(source)
    else:
        with source.open(encoding="utf-8-sig", errors="replace", newline="") as text:
            first = text.readline()
            text.seek(0)
            separator = max("\t;,", key=first.count)
            options = {"dtype": str, "keep_default_na": False, "quoting": csv.QUOTE_MINIMAL}
            try:
                yield from pd.read_csv(text, sep=separator, chunksize=CHUNK, **options)
            except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
                reason = str(error).splitlines()[0].removeprefix("Error tokenizing data. C error: ")
                raise ValueError(f"The file {quote(source.name)} is damaged ({reason.strip()}).") from None


def _parquet(path: Path) -> Iterator[pd.DataFrame]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError(
            f"The file {quote(path.name)} is a Parquet file, which needs pyarrow: pip install 'hormesis-fit[screen]'."
        ) from None
    try:
        for batch in ParquetFile(path).iter_batches(batch_size=CHUNK):
            yield batch.to_pandas()
    except (ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"The file {quote(path.name)} is damaged ({reason}).") from None


def _spread(
    chunk: pd.DataFrame, start: int, file: str, pieces: Pieces, places: dict[str, tuple[int, str]], curve_id: str
) -> None:
    """Append rows to the pieces that their curves belong to."""
    rows = chunk.rename(columns={curve_id: ID})
    rows[ID] = rows[ID].str.strip()
    rows.insert(1, PLACE, range(start, start + len(rows)))
    blank = rows[ID] == ""
    if blank.any():
        where = f"row {rows[PLACE][blank].iloc[0]}" + (f" of {quote(file)}" if file else "")
        pieces.problems.append(f"{int(blank.sum())} rows without a curve id were left out, the first is {where}.")
        rows = rows[~blank]
    for label in rows[ID].unique():
        if label not in places:
            places[label] = len(pieces.labels) // pieces.size, file
            pieces.labels.append(label)
        elif places[label][1] != file and label not in pieces.refused:
            pieces.refused[label] = f"the curve id appears in {quote(places[label][1])} and in {quote(file)}"
    numbers = rows[ID].map(lambda label: places[label][0])
    for number, part in rows.groupby(numbers, sort=False):
        path = pieces.path(int(number))
        part.to_csv(path, mode="a", header=not path.exists(), index=False)


def _count_units(
    chunk: pd.DataFrame, name: str, curve_id: str, seen: Counter, own: dict[str, str], pieces: Pieces
) -> None:
    """Note the unit of every curve, and refuse those whose unit changes."""
    pairs = chunk[[curve_id, name]].apply(lambda column: column.str.strip()).drop_duplicates()
    for label, unit in pairs.itertuples(index=False):
        if label not in own:
            own[label] = unit
            seen[unit] += 1
        elif own[label] != unit and label not in pieces.refused:
            pieces.refused[label] = (
                f"the unit in column {quote(name)} changes from {quote(own[label])} to {quote(unit)}"
            )


def _refuse_other_units(name: str, seen: Counter, own: dict[str, str], pieces: Pieces) -> None:
    """Refuse curves whose unit is not that of the screen: their doses could not be ranked with the others."""
    if len(seen) < 2:
        return
    common = min(seen, key=lambda unit: (-seen[unit], unit))
    for label, unit in own.items():
        if unit != common and label not in pieces.refused:
            pieces.refused[label] = (
                f"its unit in column {quote(name)} is {quote(unit)}, and {quote(common)} in most curves: convert it"
            )


def unit_in(pieces: Pieces, column: str) -> str:
    """Return the unit that a column of units holds, of the first curve that was not refused."""
    for number in range(pieces.count):
        for table in pieces.tables(number).values():
            return str(table[column].iloc[0]).strip()
    return ""
