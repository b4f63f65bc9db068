"""What read_trial reads, with which notes, and what it refuses, in which words."""

import datetime
import io
import json
import re
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hormesis_fit.trials.reading import read_trial
from hormesis_fit.trials.simulation import simulate_trial
from hormesis_fit.wording import hint

DOSES, RESPONSES = [0.0, 0.0, 0.5, 1.5, 10.0], [1.1, 0.9, 1.25, 1.5, 0.4]
PLAIN = "dose,response\n0,1.1\n0,0.9\n0.5,1.25\n1.5,1.5\n10,0.4\n"
COMMAS = PLAIN.replace(",", ";").replace(".", ",")


def write(folder, content, name="trial.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def workbook(rows, *, sheets=("Sheet1",), formulas=None):
    """Return the bytes of a workbook, with saved results of `formulas` by cell where they are not None."""
    book = openpyxl.Workbook()
    book.active.title = sheets[0]
    for title in sheets[1:]:
        book.create_sheet(title)
    for row in rows:
        book[sheets[-1]].append(row)
    for cell, (formula, _) in (formulas or {}).items():
        book[sheets[-1]][cell] = formula
    buffer = io.BytesIO()
    book.save(buffer)
    return with_results(buffer.getvalue(), formulas or {})


def with_results(data, formulas):
    """Put saved results of formulas into a workbook, as a spreadsheet program does on saving."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with source, zipfile.ZipFile(target, "w") as copy:
        for item in source.namelist():
            text = source.read(item)
            for cell, (_, result) in formulas.items():
                if result is not None:
                    pattern = rf'(<c r="{cell}"[^>]*><f>[^<]*</f>)<v ?/?>(</v>)?'.encode()
                    text = re.sub(pattern, rf"\g<1><v>{result}</v>".encode(), text)
            copy.writestr(item, text)
    return target.getvalue()


ROWS = [["dose", "response"], *([d, r] for d, r in zip(DOSES, RESPONSES, strict=True))]

# name: (file name, content, arguments, what a note must contain or None)
READABLE = {
    "plain": ("t.csv", PLAIN, {}, None),
    "byte order mark": ("t.csv", b"\xef\xbb\xbf" + PLAIN.encode(), {}, "byte order mark"),
    "Latin-1": ("t.csv", PLAIN.replace("dose", "dose µg").encode("latin-1"), {"dose": "dose µg"}, "Latin-1"),
    "UTF-8 header": ("t.csv", PLAIN.replace("dose", "dose µg"), {"dose": "dose µg"}, None),
    "bytes that cp1252 lacks": ("t.csv", PLAIN.encode().replace(b"\n", b",\x81\n"), {}, "Latin-1"),
    "semicolons": ("t.csv", PLAIN.replace(",", ";"), {}, "separated by semicolons"),
    "tabs": ("t.tsv", PLAIN.replace(",", "\t"), {}, "separated by tabs"),
    "semicolons, decimal commas": ("t.csv", COMMAS, {}, 'decimal commas ("0,5" as 0.5)'),
    "tabs, decimal commas": ("t.txt", COMMAS.replace(";", "\t"), {}, "decimal commas"),
    "quoted decimal commas": ("t.csv", re.sub(r"(\d+)\.(\d+)", r'"\1,\2"', PLAIN), {}, "decimal commas"),
    "three decimals, one clear": ("t.csv", COMMAS.replace("1,25", "1,250"), {}, "decimal commas"),
    "separator declared": ("t.csv", "sep=;\r\n" + COMMAS, {}, "separated by semicolons"),
    "CRLF": ("t.csv", PLAIN.replace("\n", "\r\n"), {}, None),
    "CR": ("t.csv", PLAIN.replace("\n", "\r"), {}, "Carriage returns"),
    "no line end at the end": ("t.csv", PLAIN.rstrip(), {}, None),
    "blank rows at the end": ("t.csv", PLAIN + "\n,\n  ,  \n", {}, "3 blank rows were left out"),
    "blank row in the middle": ("t.csv", PLAIN.replace("0.5,", "\n0.5,"), {}, "1 blank row was left out"),
    "blank rows before the header": ("t.csv", "\n\n" + PLAIN, {}, "2 blank rows"),
    "blank columns on the right": ("t.csv", PLAIN.replace("\n", ",,\n"), {}, "Blank columns on the right"),
    "blank column without a name": (
        "t.csv",
        PLAIN.replace(",", ",,"),
        {},
        "Column 2 is blank and was left out",
    ),
    "index column of pandas": (
        "t.csv",
        pd.DataFrame({"dose": DOSES, "response": RESPONSES}).to_csv(),
        {},
        "Column 1 has no name",
    ),
    "spaces around headers": ("t.csv", PLAIN.replace("dose,response", " dose , response"), {}, "Spaces around"),
    "spaces around numbers": ("t.csv", PLAIN.replace(",", " , ").replace(" , ", ",", 1), {}, None),
    "quoted fields": ("t.csv", '"dose","response"\n' + re.sub(r"([\d.]+)", r'"\1"', PLAIN[14:]), {}, None),
    "separators and line ends in quotes": (
        "t.csv",
        PLAIN.replace("\n", ',"a;b,\tc\nd"\n').replace('"a;b,\tc\nd"', "remark", 1),
        {},
        None,
    ),
    "markup in names": (
        "t.csv",
        PLAIN.replace("dose", "<b>dose</b>").replace("response", "a&b"),
        {"dose": "<b>dose</b>", "response": "a&b"},
        None,
    ),
    "other text columns": ("t.csv", PLAIN.replace("\n", ",=A1*2\n").replace("=A1*2", "note", 1), {}, None),
    "typographic minus": ("t.csv", PLAIN.replace("0,1.1", "0,1.1e−0"), {}, "minus signs"),
    "missing dropped": (
        "t.csv",
        PLAIN + "0,\n10,NA\n10,n/a\n",
        {"missing": "drop"},
        "dropped (1 at dose 0, 2 at dose 10)",
    ),
    "end-of-file mark": ("t.csv", PLAIN.encode() + b"\x1a", {}, None),
    "Excel": ("t.xlsx", workbook(ROWS), {}, None),
    "Excel, first of two sheets": ("t.xlsx", workbook(ROWS, sheets=["trial"]), {"sheet": "trial"}, None),
    "Excel, second sheet": ("t.xlsx", workbook(ROWS, sheets=("a", "b")), {"sheet": "b"}, None),
    "Excel, numbers as text": ("t.xlsx", workbook([[str(c) for c in row] for row in ROWS]), {}, "stored as text"),
    "Excel, remark beside the table": (
        "t.xlsx",
        workbook([[*row, None, "see page 3"] if i == 2 else row for i, row in enumerate(ROWS)]),
        {},
        "Column 4 has no name",
    ),
    "Excel, title row left blank": ("t.xlsx", workbook([[], *ROWS, []]), {}, "1 blank row was left out"),
    "Excel, saved formula": (
        "t.xlsx",
        workbook(ROWS, formulas={"B2": ("=11/10", 1.1)}),
        {},
        "Cells with formulas (1) were read as their saved results",
    ),
}


@pytest.mark.parametrize("case", READABLE)
def test_read(tmp_path, case):
    name, content, arguments, note = READABLE[case]
    trial = read_trial(write(tmp_path, content, name), **arguments)
    assert trial["dose"].values.tolist() == DOSES
    assert trial["response"].values.tolist() == RESPONSES
    *repairs, scale = trial.attrs["notes"]
    assert "ratio scale" in scale
    if note is None:
        assert repairs == []
    else:
        assert any(note in repair for repair in repairs), repairs
    for sentence in trial.attrs["notes"]:
        assert_is_one_sentence(sentence)


def assert_is_one_sentence(text):
    assert "\n" not in text
    assert text.endswith(".")
    assert not re.search(r"[a-z)\"]\. [A-Z]", text)
    assert len(text) < 500


def frame(**columns):
    return {"dose": DOSES, "response": RESPONSES} | columns


def replaced(old, new, count=1):
    return PLAIN.replace(old, new, count)


# name: (content or table, arguments, facts in the message)
REFUSED = {
    "empty file": ("", {}, ["trial.csv", "empty"]),
    "only blank lines": ("\n\n \n", {}, ["empty"]),
    "only separators": (",,\n,,\n", {}, ["empty"]),
    "header only": ("dose,response\n", {}, ["only a header", "no rows"]),
    "UTF-16": (PLAIN.encode("utf-16"), {}, ["UTF-16", "UTF-8"]),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), {}, ["UTF-16"]),
    "NUL bytes": (PLAIN.encode() + b"\x00\x01", {}, ["binary"]),
    "workbook called CSV": (workbook(ROWS), {}, ["spreadsheet or archive", "xlsx"]),
    "missing column": (PLAIN, {"response": "respnse"}, ['"respnse"', 'did you mean "response"', '"dose"']),
    "missing dose column": (PLAIN, {"dose": "Dose"}, ['"Dose"', 'did you mean "dose"', "dose="]),
    "missing time column": (PLAIN, {"time": "day"}, ['"day"', '"dose", "response"', "time="]),
    "no names": (PLAIN.split("\n", 1)[1], {}, ["first row holds numbers", "column names"]),
    "one column": (PLAIN.replace(",", "|"), {}, ['"dose|response"']),
    "duplicate headers": (replaced("dose,response", "dose,dose"), {}, ['"dose"', "twice"]),
    "duplicate headers after stripping": (PLAIN.replace("\n", ",1\n").replace(",1", ", dose ", 1), {}, ["twice"]),
    "text": (replaced("0.5,1.25", "0.5,abc"), {}, ['"abc"', "row 4", '"response"']),
    "text after a blank row": (replaced("0.5,1.25", "\n0.5,abc"), {}, ['"abc"', "row 5"]),
    "text after a separator line": ("sep=,\n" + replaced("0.5,1.25", "0.5,abc"), {}, ['"abc"', "row 5"]),
    "text in two lines": (replaced("0.5,1.25", '0.5,"a\nb"'), {}, ['"a b"', "row 4"]),
    "number with a unit": (replaced("0.5,", "0.5 mg,"), {}, ['"0.5 mg"', "row 4", '"dose"', "dose_unit="]),
    "underscore": (replaced("10,0.4", "1_0,0.4"), {}, ['"1_0"', "row 6"]),
    "hexadecimal": (replaced("10,0.4", "0x10,0.4"), {}, ['"0x10"']),
    "ISO date": (replaced("0.5,", "2024-05-01,"), {}, ["date", '"2024-05-01"', "row 4", '"dose"']),
    "spreadsheet date": (replaced("0.5,", "5-Jan,"), {}, ["date", '"5-Jan"']),
    "date as time": (PLAIN.replace("\n", ",2024-05-01\n").replace("2024-05-01", "day", 1), {"time": "day"}, ["date"]),
    "below a limit": (replaced("10,0.4", "10,<0.5"), {}, ['"<0.5"', "row 6", "lower=", "upper=", "--lower", "--upper"]),
    "above a limit": (replaced("10,0.4", "10,≥ 0.5"), {}, ['"≥ 0.5"', "lower="]),
    "dose below a limit": (replaced("0.5,", "<0.5,"), {}, ['"<0.5"', "plain number"]),
    "formula": (replaced("1.5,1.5", "1.5,=A1*2"), {}, ["formula", '"=A1*2"', "row 5", '"response"']),
    "infinite response": (replaced("10,0.4", "10,inf"), {}, ["finite", '"inf"', "row 6", '"response"']),
    "infinite dose": (replaced("10,0.4", "-Infinity,0.4"), {}, ["finite", '"-Infinity"', '"dose"']),
    "missing dose": (replaced("0.5,", ","), {}, ["empty cell", "row 4", '"dose"', "0 for controls"]),
    "NaN dose": (replaced("0.5,", "NaN,"), {"missing": "drop"}, ["empty cell", '"dose"']),
    "negative dose": (replaced("0.5,", "-0.5,"), {}, ["zero or more", '"-0.5"', "row 4", '"dose"']),
    "missing response": (replaced("0.5,1.25", "0.5,"), {}, ["empty cell", "row 4", '"response"', 'missing="drop"']),
    "short row": (replaced("0.5,1.25", "0.5"), {}, ["empty cell", "row 4", '"response"']),
    "long row": (replaced("0.5,1.25", "0,5,1,25"), {}, ["row 4", "4 values", "2 columns", "decimal points"]),
    "values without a name": (PLAIN.replace("\n", ",,7\n").replace(",,7", "", 1), {}, ["row 2", "4 values"]),
    "unnamed column between": (PLAIN.replace(",", ",7,").replace(",7,", ",,", 1), {}, ["Column 2", "no name"]),
    "two rows": ("dose,response\n0,1\n1,2\n", {}, ["at least 4 rows", "2"]),
    "three rows left": (PLAIN.replace("0,1.1", "0,").replace("0,0.9", "0,"), {"missing": "drop"}, ["at least 4", "3"]),
    "one dose only": (re.sub(r"\n[\d.]+,", "\n5,", PLAIN), {}, ["5", "3 distinct doses"]),
    "two doses": (re.sub(r"\n[1-9][\d.]*,", "\n0.5,", PLAIN), {}, ["0 and 0.5", "3 distinct doses"]),
    "all doses zero": (re.sub(r"\n[\d.]+,", "\n0,", PLAIN), {}, ["All doses", "zero", "dose="]),
    "constant response": (re.sub(r",[\d.]+\n", ",7\n", PLAIN), {}, ["vary", "7"]),
    "1e300": (replaced("10,0.4", "10,1e300"), {}, ['"1e300"', "1e+100", "row 6", '"response"']),
    "1e999": (replaced("10,0.4", "1e999,0.4"), {}, ['"1e999"', "finite"]),
    "doses over 16 decades": (replaced("10,0.4", "1e16,0.4"), {}, ["15 decades", "0.5", "1e+16"]),
    "wide by dose": ("plant,0,0.5,1.5\na,1,2,3\nb,1,2,3\n", {}, ["wide", "pandas.melt", '"0", "0.5"']),
    "wide by replicate": (
        "dose,rep1,rep2\n0,1,2\n1,2,3\n2,3,4\n",
        {},
        ["wide", "pandas.melt", '"rep1", "rep2"', 'id_vars="dose"', "response="],
    ),
    "unknown direction": (PLAIN, {"direction": "upp"}, ['"up" or "down"', '"upp"', 'did you mean "up"']),
    "unknown scale": (PLAIN, {"scale": "intervall"}, ['"intervall"', 'did you mean "interval"']),
    "unknown missing": (PLAIN, {"missing": "dropp"}, ['"dropp"', 'did you mean "drop"']),
    "standard dose zero": (PLAIN, {"standard_dose": 0}, ["above zero", "standard_dose="]),
    "standard dose NaN": (PLAIN, {"standard_dose": np.nan}, ["above zero", "nan"]),
    "control infinite": (PLAIN, {"control": np.inf}, ["finite", "control=", "inf"]),
    "ratio scale without a positive control": (PLAIN, {"scale": "ratio", "control": -1}, ["above zero", "interval"]),
    "same column twice": (PLAIN, {"response": "dose"}, ['"dose"', "dose= and response="]),
    "sheet of a CSV": (PLAIN, {"sheet": "a"}, ['"a"', "Excel", "text file"]),
    "thousands, ambiguous": (
        PLAIN.replace(",", ";").replace("1.25", "1,250").replace(".", ""),
        {},
        ['"1,250"', "row 4"],
    ),
    "thousands and points": (PLAIN.replace(",", "\t").replace("10\t", "1,000\t"), {}, ['"1,000"', "decimal mark"]),
    "thousands twice": (replaced("10,0.4", '"1,000,000",0.4'), {}, ['"1,000,000"', "thousands"]),
    "thousands with a space": (replaced("10,0.4", "1 000,0.4"), {}, ['"1 000"', "thousands"]),
    "thousands with an apostrophe": (replaced("10,0.4", "1'000,0.4"), {}, ['"1\'000"', "thousands"]),
    "both marks": (replaced("10,0.4", '"1,000.5",0.4'), {}, ['"1,000.5"', "thousands"]),
    "open quote": (replaced("0.5,1.25", '0.5,"1.25'), {}, ["quotation mark", "not closed"]),
    "negative weight": (frame(w=[1, 1, 1, -1, 1]), {"weight": "w"}, ["zero or more", "row 4", '"w"']),
    "missing n": (frame(n=[1, 1, 1, None, 1]), {"n": "n"}, ["empty cell", "row 4", '"n"']),
    "infinite time": (frame(day=[0, 0, np.inf, 1, 1]), {"time": "day"}, ["finite", "row 3", '"day"']),
    "missing subject": (frame(who=["a", "b", "", "d", "e"]), {"subject": "who"}, ["row 3", '"who"', "subject"]),
    "successes without n": (frame(k=[1, 2, 3, 4, 5]), {"successes": "k"}, ["sizes of their groups", "n="]),
    "more successes than units": (
        frame(k=[1, 2, 9, 1, 1], n=[5] * 5),
        {"successes": "k", "n": "n"},
        ["no more than the size of the group", "row 3", '"k"', "got 9"],
    ),
    "half a success": (
        frame(k=[1, 2.5, 1, 1, 1], n=[5] * 5),
        {"successes": "k", "n": "n"},
        ["whole number", "row 2", '"k"', "got 2.5"],
    ),
    "half a unit": (
        frame(k=[1, 2, 1, 1, 1], n=[5, 5, 5, 4.5, 5]),
        {"successes": "k", "n": "n"},
        ["whole number of at least 1", "row 4", '"n"', "got 4.5"],
    ),
    "a group of nobody": (
        frame(k=[1, 0, 1, 1, 1], n=[5, 0, 5, 5, 5]),
        {"successes": "k", "n": "n"},
        ["number above zero", "row 2", '"n"', '"0"'],
    ),
    "negative successes": (
        frame(k=[1, -2, 1, 1, 1], n=[5] * 5),
        {"successes": "k", "n": "n"},
        ["zero or more", "row 2", '"k"', '"-2"'],
    ),
    "blank successes": (
        frame(k=[1, None, 1, 1, 1], n=[5] * 5),
        {"successes": "k", "n": "n"},
        ["empty cell", "row 2", '"k"'],
    ),
    "everybody always": (frame(k=[5] * 5, n=[5] * 5), {"successes": "k", "n": "n"}, ["vary", "successes="]),
    "no such successes": (
        frame(dead=[1, 2, 3, 4, 5], n=[5] * 5),
        {"successes": "deda", "n": "n"},
        ['"deda"', 'did you mean "dead"', "successes="],
    ),
    "negative sd": (frame(s=[1, 1, -1, 1, 1], n=[3] * 5), {"sd": "s", "n": "n"}, ["zero or more", "row 3", '"s"']),
    "blank sd of several": (
        frame(s=[1, 1, None, 1, 1], n=[3] * 5),
        {"sd": "s", "n": "n"},
        ["empty cell", "row 3", '"s"'],
    ),
    "blank sd without n": (frame(s=[1, 1, None, 1, 1]), {"sd": "s"}, ["empty cell", "row 3", '"s"']),
    "zero units": (frame(n=[3, 3, 0, 3, 3]), {"n": "n"}, ["number above zero", "row 3", '"n"', '"0"']),
    "zero standard error": (frame(e=[1, 1, 0, 1, 1]), {"se": "e"}, ["number above zero", "row 3", '"e"', '"0"']),
    "blank response with no limit": (
        {"dose": DOSES, "response": [1, None, 2, 3, 4], "low": [None] * 5, "high": [None, None, 2, None, None]},
        {"lower": "low", "upper": "high"},
        ["empty cell", "row 2", '"response"'],
    ),
    "text for a limit": (frame(low=["<1", 1, 1, 1, 1]), {"lower": "low"}, ['"<1"', '"low"']),
    "unknown further column": (
        frame(sex=list("fmfmf")),
        {"columns": ["sx"]},
        ['"sx"', 'did you mean "sex"', "columns="],
    ),
    "further columns as text": (frame(sex=list("fmfmf")), {"columns": "sex"}, ["list", '"sex"', "brackets"], TypeError),
    "further column that is no text": (frame(sex=list("fmfmf")), {"columns": [3]}, ['"3"', "columns="], ValueError),
    "further column with a gap": (
        frame(sex=["f", "", "m", "f", "m"]),
        {"columns": ["sex"]},
        ["empty cell", "row 2", '"sex"', "columns="],
    ),
    "further column of that name": (frame(weight=[1] * 5), {"columns": ["weight"]}, ['"weight"', "rename"]),
    "unequal columns": (
        {"dose": [0, 1, 2], "response": [1, 2]},
        {},
        ['"response" has 2 values', '"dose" has 3', "equal length"],
    ),
    "no columns": ({}, {}, ["no columns"]),
    "no rows in memory": ({"dose": [], "response": []}, {}, ["no rows"]),
    "dates in memory": (frame(dose=[datetime.date(2024, 1, d) for d in range(1, 6)]), {}, ["date", "2024-01-01"]),
    "timestamps": (pd.DataFrame(frame(dose=pd.date_range("2024", periods=5))), {}, ["date", '"dose"']),
    "number beyond floats": (frame(dose=[0, 0, 1, 2, 10**400]), {}, ["finite", "row 5"]),
    "duplicate names in memory": (pd.DataFrame([[0, 1]], columns=["dose", "dose"]), {}, ['"dose"', "twice"]),
    "sheet of a frame": (frame(), {"sheet": "a"}, ["in memory"]),
    "truth values": (frame(response=[True, False, True, True, False]), {}, ["bool", "row 1", '"response"'], TypeError),
    "complex": (frame(response=np.array(RESPONSES) + 1j), {}, ["complex", "row 1"], TypeError),
    "two-dimensional column": (frame(response=np.ones((5, 2))), {}, ["list", "row 1"], TypeError),
    "scalar column": (frame(response=3), {}, ['"response"', "int", "sequence"], TypeError),
    "text for a column": (frame(response="abcde"), {}, ['"response"', "str"], TypeError),
    "names of two levels": (pd.DataFrame([[1]], columns=[["a"], ["b"]]), {}, ["levels"], TypeError),
    "a list": ([1, 2], {}, ["path", "DataFrame", "list"], TypeError),
    "a trial": (xr.Dataset(), {}, ["Dataset"], TypeError),
    "no source": (None, {}, ["NoneType"], TypeError),
    "column that is no text": (frame(), {"dose": 0}, ["dose=", '"0"'], TypeError),
    "unit that is no text": (frame(), {"dose_unit": 1}, ["dose_unit=", '"1"'], TypeError),
    "standard dose as text": (frame(), {"standard_dose": "10"}, ["standard_dose=", "str"], TypeError),
    "control as truth value": (frame(), {"control": True}, ["control=", "bool"], TypeError),
    "sheet that is no text": (frame(), {"sheet": 1}, ["sheet=1"], TypeError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    source, arguments, facts, *kind = REFUSED[case]
    source = write(tmp_path, source) if isinstance(source, str | bytes) else source
    assert_refused(source, arguments, facts, *kind)


def assert_refused(source, arguments, facts, kind=ValueError):
    with pytest.raises(kind) as refusal:
        read_trial(source, **arguments)
    message = str(refusal.value)
    assert refusal.type is kind
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__
    assert_is_one_sentence(message)
    for fact in facts:
        assert fact in message


REFUSED_WORKBOOKS = {
    "damaged": (workbook(ROWS)[:900], {}, ["damaged"]),
    "text called xlsx": (PLAIN.encode(), {}, ["damaged"]),
    "password": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), {}, ["password"]),
    "zip without a workbook": (b"PK\x05\x06" + bytes(18), {}, ["damaged"]),
    "no such sheet": (
        workbook(ROWS, sheets=("one", "two")),
        {"sheet": "tow"},
        ['"tow"', '"one", "two"', "did you mean"],
    ),
    "empty sheet": (workbook(ROWS, sheets=("one", "two")), {"sheet": "one"}, ["empty"]),
    "formula without a result": (workbook(ROWS, formulas={"B2": ("=11/10", None)}), {}, ["formula", "=11/10", "row 2"]),
    "date": (workbook([*ROWS, [datetime.datetime(2024, 5, 1), 1.0]]), {}, ["date", "row 7", '"dose"']),
    "error value": (workbook([*ROWS, ["#DIV/0!", 1.0]]), {}, ["#DIV/0!", "row 7"]),
    "truth value": (workbook([*ROWS, [True, 1.0]]), {}, ["bool", "row 7"], TypeError),
    "duplicate headers": (workbook([["dose", "dose"], [0, 1]]), {}, ['"dose"', "twice"]),
}


@pytest.mark.parametrize("case", REFUSED_WORKBOOKS)
def test_refused_workbook(tmp_path, case):
    content, *rest = REFUSED_WORKBOOKS[case]
    assert_refused(write(tmp_path, content, "trial.xlsx"), *rest)


def test_a_missing_file_is_named_with_the_nearest(tmp_path):
    write(tmp_path, PLAIN, "lettuce.csv")
    assert_refused(tmp_path / "letuce.csv", {}, ["letuce.csv", 'did you mean "lettuce.csv"'], FileNotFoundError)
    for path in (str(tmp_path / "none" / "x.csv"), "~nobody-here/x.csv", "x\0.csv", "https://example.org/x.csv"):
        assert_refused(path, {}, ["no file", "x"], FileNotFoundError)


def test_a_directory_is_refused(tmp_path):
    assert_refused(tmp_path, {}, ["directory"])


def test_a_file_that_cannot_be_opened_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path, PLAIN)

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    assert_refused(path, {}, ["trial.csv", "Permission denied"])


@pytest.mark.parametrize(
    "source",
    [
        frame(),
        {"dose": np.array(DOSES), "response": tuple(RESPONSES)},
        {"dose": pd.Series(DOSES, index=list("edcba")), "response": xr.DataArray(RESPONSES, dims="observation")},
        pd.DataFrame(frame()),
        pd.DataFrame(frame(), index=[9, 9, 9, 9, 9]),
        pd.DataFrame(frame()).astype(str),
        pd.DataFrame(frame()).astype("Float64"),
        pd.DataFrame(frame()).astype("category"),
        pd.DataFrame(frame()).rename(columns={"dose": " dose "}),
    ],
)
def test_tables_in_memory(source):
    trial = read_trial(source)
    assert trial["dose"].values.tolist() == DOSES
    assert trial["response"].values.tolist() == RESPONSES
    assert trial["row"].values.tolist() == [1, 2, 3, 4, 5]
    assert trial.attrs["name"] == "trial"


def test_the_source_is_not_changed():
    table = pd.DataFrame(frame(response=[1.0, None, 2.0, 3.0, 4.0]))
    before = table.copy(deep=True)
    read_trial(table, missing="drop")
    pd.testing.assert_frame_equal(table, before)


def test_everything_is_labelled(tmp_path):
    path = write(tmp_path, "conc,g,day,who,plate,w,n\n" + "".join(f"{d},{d + 1},0,{d},p,1,3\n" for d in range(4)))
    trial = read_trial(
        path,
        dose="conc",
        response="g",
        time="day",
        subject="who",
        batch="plate",
        weight="w",
        n="n",
        dose_unit="mg/L",
        response_unit="g",
        time_unit="d",
        direction="down",
        scale="interval",
        standard_dose=2,
        control=1,
    )
    units = {name: variable.attrs["units"] for name, variable in trial.variables.items()}
    assert units == {
        "dose": "mg/L", "response": "g", "time": "d", "subject": "", "batch": "", "weight": "1", "n": "1",
        "dose_fraction": "1", "observation": "1", "row": "1",
    }  # fmt: skip
    assert trial["dose"].attrs["long_name"] == "conc"
    assert trial["dose_fraction"].values.tolist() == [0, 0.5, 1, 1.5]
    assert trial["subject"].values.tolist() == ["0", "1", "2", "3"]
    assert trial["row"].values.tolist() == [2, 3, 4, 5]
    assert all(variable.attrs["definition"].endswith(".") for variable in trial.variables.values())
    assert all(variable.dims == ("observation",) for variable in trial.variables.values())
    assert trial.attrs["notes"] == ["The table has rows at dose 0 besides the known control mean that was given."]
    attrs = {"name": "trial", "direction": "down", "scale": "interval", "standard_dose": 2.0, "control": 1.0}
    assert {key: trial.attrs[key] for key in attrs} == attrs


def test_units_are_empty_when_unknown():
    trial = read_trial(frame())
    assert trial["dose"].attrs["units"] == trial["response"].attrs["units"] == ""
    assert "standard_dose" not in trial.attrs
    assert "control" not in trial.attrs
    assert "missing" not in trial.attrs


def test_dropped_rows_are_counted_by_dose(tmp_path):
    path = write(tmp_path, PLAIN + "0.5,\n10,\n10,-\n")
    trial = read_trial(path, missing="drop")
    assert json.loads(trial.attrs["missing"]) == {"0.5": 1, "10": 2}
    assert trial["row"].values.tolist() == [2, 3, 4, 5, 6]
    assert trial["observation"].values.tolist() == [0, 1, 2, 3, 4]


def test_limits_may_be_open():
    trial = read_trial(frame(low=[None, -1, 0, 0, 0], high=[2, 2, 2, 2, np.inf]), lower="low", upper="high")
    assert np.isnan(trial["lower"].values[0])
    assert trial["upper"].values[-1] == np.inf


def test_a_blank_response_is_the_middle_of_its_limits():
    table = {"dose": [0, 1, 2, 3, 4], "y": [1.0, None, None, None, 7.0]}
    table |= {"low": [None, 2, None, 4, None], "high": [None, 3, 5, None, None]}
    trial = read_trial(table, response="y", lower="low", upper="high")
    assert trial["response"].values.tolist() == [1, 2.5, 5, 4, 7]
    np.testing.assert_array_equal(trial["lower"], [np.nan, 2, np.nan, 4, np.nan])


def test_rows_that_only_have_limits_are_not_dropped():
    table = {"dose": [0, 1, 2, 3, 4], "y": [1.0, 2, None, None, 7.0], "high": [None, None, None, 4, None]}
    trial = read_trial(table, response="y", upper="high", missing="drop")
    assert trial["row"].values.tolist() == [1, 2, 4, 5]
    assert json.loads(trial.attrs["missing"]) == {"2": 1}


def test_successes_are_shares_of_their_groups():
    table = {"dose": [0, 1, 2, 5], "dead": [0, 3, 5, 10], "all": [10, 10, 10, 20]}
    trial = read_trial(table, successes="dead", n="all", direction="down")
    assert trial["response"].values.tolist() == [0, 0.3, 0.5, 0.5]
    assert trial["response"].attrs["long_name"] == "dead"
    assert trial["n"].values.tolist() == [10, 10, 10, 20]
    assert trial["successes"].values.tolist() == [0, 3, 5, 10]


def test_a_column_of_responses_beside_successes_is_not_read():
    trial = read_trial(frame(k=[1, 2, 3, 4, 5], n=[10] * 5), successes="k", n="n")
    assert trial["response"].values.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_yes_or_no_needs_no_numbers():
    trial = read_trial({"dose": [0, 0, 1, 1, 4, 4], "response": [0, 1, 1, 1, 0, 1]})
    assert "n" not in trial
    assert set(trial["response"].values.tolist()) == {0, 1}


def test_a_row_of_one_unit_needs_no_sd():
    table = {"dose": [0, 1, 2, 5], "response": [1, 2, 3, 1], "s": [0.1, None, 0.2, None], "n": [3, 1, 4, 1]}
    trial = read_trial(table, sd="s", n="n")
    assert trial["sd"].values.tolist() == [0.1, 0, 0.2, 0]


def test_further_columns_are_numbers_or_labels(tmp_path):
    table = frame(sex=["f", " m", "f", "m ", "f"], kg=[60, 70.5, 80, 90, 75], lab=[1.0, 2.0, 1.0, 2.0, 1.0])
    table["body mass"] = ["60", "70,5", "80", "90", "75"]
    trial = read_trial(table, columns=["sex", "kg", "body mass", "lab"])
    assert trial["sex"].values.tolist() == ["f", "m", "f", "m", "f"]
    assert trial["kg"].values.tolist() == [60, 70.5, 80, 90, 75]
    assert trial["body_mass"].values.tolist() == [60, 70.5, 80, 90, 75]
    assert trial["body_mass"].attrs["long_name"] == "body mass"
    assert trial["sex"].dims == ("observation",)
    path = write(tmp_path, PLAIN.replace("\n", ",a\n").replace(",a", ",who", 1) + "2,,b\n")
    trial = read_trial(path, columns=["who"], missing="drop")
    assert trial["who"].values.tolist() == ["a"] * 5


def test_labels_of_subjects():
    trial = read_trial(frame(who=[1.0, 2.0, " a ", "<b>", 1.5]), subject="who")
    assert trial["subject"].values.tolist() == ["1", "2", "a", "<b>", "1.5"]


@pytest.mark.parametrize(
    ("doses", "responses", "arguments", "scale", "reason"),
    [
        ([0, 0, 1, 2], [10, 11, 9, 3], {}, "ratio", "the control mean, 10.5, exceeds two of its standard errors (1)"),
        ([0, 0, 1, 2], [10, 11, -1, 3], {}, "interval", "below zero (the lowest is -1)"),
        ([0, 0, 1, 2], [0, 1, 9, 3], {}, "interval", "does not exceed"),
        ([0, 0, 1, 2], [0, 0, 9, 3], {}, "interval", "does not exceed"),
        ([0, 1, 1, 2], [5, 9, 11, 3], {}, "ratio", "errors (2.828)"),  # SD within the doses: sqrt 2
        ([0, 1, 2, 3], [5, 9, 11, 3], {}, "interval", "errors (7.303)"),  # one row each: SD over all
        ([1, 1, 2, 3], [10, 11, 9, 3], {}, "ratio", "the control mean, 10.5"),
        ([1, 1, 2, 3], [0, 1, 9, 3], {"control": 4}, "ratio", "the control mean, 4, exceeds"),
        ([1, 1, 2, 3], [8, 9, 9, 3], {"control": 0}, "interval", "the control mean, 0,"),
    ],
)
def test_default_scale(doses, responses, arguments, scale, reason):
    trial = read_trial({"dose": doses, "response": responses}, **arguments)
    assert trial.attrs["scale"] == scale
    (note,) = [note for note in trial.attrs["notes"] if "scale=" in note]
    assert reason in note


def test_a_given_scale_is_kept_without_a_note():
    trial = read_trial(frame(), scale="interval")
    assert trial.attrs["scale"] == "interval"
    assert trial.attrs["notes"] == []


def test_no_control_group_is_a_note():
    table = {"dose": [0.5, 0.5, 1, 2], "response": [1, 2, 3, 4]}
    notes = read_trial(table, dose_unit="mg/L").attrs["notes"]
    assert any(note.startswith("No control group: the lowest dose is 0.5 mg/L,") for note in notes)
    notes = read_trial(table, control=1.2).attrs["notes"]
    assert not any("No control group" in note for note in notes)


def test_mixed_times_without_subjects_are_a_note():
    table = frame(day=[0, 7, 7, 7, 7], who=list("abcde"))
    (note,) = [n for n in read_trial(table, time="day").attrs["notes"] if "day" in n]
    assert 'Column "day" mixes 2 times' in note
    assert not any("times" in n for n in read_trial(table, time="day", subject="who").attrs["notes"])
    assert not any("times" in n for n in read_trial(frame(day=[7] * 5), time="day").attrs["notes"])


def test_only_the_first_sheet_is_read_by_default(tmp_path):
    book = openpyxl.load_workbook(io.BytesIO(workbook(ROWS)))
    book.create_sheet("remarks")
    book.save(tmp_path / "t.xlsx")
    assert 'The first of 2 sheets, "Sheet1", was read' in read_trial(tmp_path / "t.xlsx").attrs["notes"][0]


def test_a_long_name_is_cut_in_messages(tmp_path):
    assert_refused(write(tmp_path, replaced("0.5,1.25", f"0.5,{'x' * 5000}")), {}, ["xxx..."])


def test_many_columns_are_not_all_listed():
    table = {f"column {i}": ["x"] * 5 for i in range(40)}
    assert_refused(table, {}, ["and 28 more"])


def test_a_trial_survives_netcdf(tmp_path):
    trial = read_trial(frame(who=list("abcdé")), subject="who", standard_dose=3, control=1)
    trial.to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "t.nc", engine="h5netcdf") as loaded:
        xr.testing.assert_equal(loaded, trial)
        assert list(loaded.attrs["notes"]) == trial.attrs["notes"]


finite = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
positive = st.floats(min_value=1e-6, max_value=1e6)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(positive, finite), min_size=3, max_size=12),
    style=st.sampled_from([(",", "."), (";", "."), ("\t", "."), (";", ","), ("\t", ",")]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    unit=st.sampled_from(["µg", "Größe", "x"]),
)
def test_any_written_table_is_read_back(tmp_path, rows, style, encoding, end, unit):
    rows = [(0.0, 0.5), *rows, (1e-3, 1.5), (1e3, -2.5)]
    separator, mark = style
    lines = [f"{unit}{separator}response"]
    lines += [separator.join(repr(number).replace(".", mark) for number in row) for row in rows]
    path = tmp_path / "trial.csv"
    path.write_bytes((end.join(lines) + end).encode(encoding))
    trial = read_trial(path, dose=unit)
    np.testing.assert_array_equal(np.column_stack([trial["dose"], trial["response"]]), rows)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    content=st.one_of(
        st.binary(max_size=80), st.text(alphabet='dose,rpn\n\r\t;"=0159.-<é', max_size=80).map(str.encode)
    )
)
@pytest.mark.parametrize("name", ["trial.csv", "trial.xlsx"])
def test_no_file_ends_in_a_programmers_error(tmp_path, name, content):
    try:
        read_trial(write(tmp_path, b"dose,response\n0,1\n" * (name == "trial.csv") + content, name))
    except ValueError as error:
        assert_is_one_sentence(str(error))


def test_hint():
    assert hint("Braincousens", ["BrainCousens", "Constant"]) == ' (did you mean "BrainCousens"?)'
    assert hint("zzz", ["BrainCousens"]) == ""
    assert hint(3, []) == ""


def bell(dose):
    return 10 * (1 + dose) * np.exp(-dose)


def test_a_simulated_trial_knows_its_truth():
    trial = simulate_trial(bell, doses=[0, 0.5, 1, 4], replicates=500, cv=0.1, random_seed=4, dose_unit="mg")
    assert trial.sizes["observation"] == 2000
    np.testing.assert_allclose(trial["true_mean"], bell(trial["dose"].values))
    assert (trial["response"] - trial["true_mean"]).std() == pytest.approx(1.0, rel=0.05)
    assert trial["dose"].attrs["units"] == "mg"
    assert (trial.attrs["seed"], trial.attrs["name"], trial.attrs["direction"]) == (4, "simulated", "up")


def test_simulation_is_reproducible_from_its_recorded_seed():
    first = simulate_trial(bell, doses=[0, 1, 2], sd=1.0)
    again = simulate_trial(bell, doses=[0, 1, 2], sd=1.0, random_seed=first.attrs["seed"])
    other = simulate_trial(bell, doses=[0, 1, 2], sd=1.0)
    xr.testing.assert_identical(first, again)
    assert not first["response"].equals(other["response"])


def test_simulation_takes_direction_and_scale_of_the_curve():
    class Curve:
        direction, scale = "down", "interval"

        def __call__(self, dose):
            return 5 - dose

    trial = simulate_trial(Curve(), doses=[0, 1, 2], sd=0.1, random_seed=1)
    assert (trial.attrs["direction"], trial.attrs["scale"]) == ("down", "interval")
    trial = simulate_trial(Curve(), doses=[0, 1, 2], sd=0.1, random_seed=1, direction="up", scale="ratio")
    assert (trial.attrs["direction"], trial.attrs["scale"]) == ("up", "ratio")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({}, ValueError, "either sd= or cv="),
        ({"sd": 1, "cv": 1}, ValueError, "either sd= or cv="),
        ({"sd": -1}, ValueError, "zero or more for sd="),
        ({"cv": np.nan}, ValueError, "zero or more for cv="),
        ({"sd": "1"}, TypeError, "number for sd="),
        ({"sd": 1, "replicates": 0}, ValueError, "at least 1 for replicates="),
        ({"sd": 1, "replicates": 1.5}, TypeError, "whole number for replicates="),
        ({"sd": 1, "random_seed": "a"}, TypeError, "whole number for random_seed="),
        ({"sd": 1, "curve": 3}, TypeError, "a function of the dose, got int"),
        ({"sd": 1, "doses": "abc"}, TypeError, "sequence of numbers for doses="),
        ({"sd": 1, "doses": 3}, TypeError, "sequence of numbers for doses="),
        ({"sd": 1, "doses": [0, 1, -1]}, ValueError, "zero or more in row"),
        ({"sd": 1, "doses": [0, 1]}, ValueError, "3 distinct doses"),
        ({"sd": 1, "curve": lambda dose: 1 / dose}, ValueError, "finite mean from the curve, got inf at dose 0"),
    ],
)
def test_simulation_refuses(arguments, kind, message):
    arguments = {"curve": bell, "doses": [0, 1, 2]} | arguments
    with pytest.raises(kind, match=re.escape(message)) as refusal:
        simulate_trial(arguments.pop("curve"), **arguments)
    assert_is_one_sentence(str(refusal.value))
