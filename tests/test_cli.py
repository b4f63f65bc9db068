"""The command line: bad input, good runs, interruption. All in process but where a process is the point."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr

import hormesis_fit as hf
from hormesis_fit.cli import fits as commands
from hormesis_fit.cli.app import main
from hormesis_fit.cli.options import command_words, parse_curve, parse_curves, read_priors
from hormesis_fit.cli.output import Failure

GOOD = "dose,weight\n0,1.1\n0,0.9\n1,1.2\n1,1.3\n10,0.8\n10,0.7\n100,0.1\n100,0.2\n"
SMALL = ["--curve", "BrainCousens", "--curve", "LogLogistic", "--draws", "200", "--seed", "1"]
WRITTEN = ["figures", "fit.nc", "report.html", "summary.csv", "window.json"]
LAUNCH = (
    "import signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background of a shell ignores it
    "from hormesis_fit.cli.app import main\n"
    "print('ready', flush=True)\n"
    "sys.exit(main())\n"
)


def table(**changes):
    """Return the good table with some lines replaced, by number (the header is 0)."""
    lines = GOOD.splitlines()
    for number, line in changes.items():
        lines[int(number[1:])] = line
    return "\n".join(lines) + "\n"


def workbook():
    """Return an Excel file with a formula that nobody has calculated."""
    frame = pd.read_csv(io.StringIO(GOOD)).astype(object)
    frame.loc[2, "weight"] = "=1+1"
    buffer = io.BytesIO()
    frame.to_excel(buffer, index=False)
    return buffer.getvalue()


def fit_of(content, *arguments, name="trial.csv"):
    """A table, and arguments to fit it."""
    return {name: content}, ["fit", name, "--response", "weight", *arguments]


def priors_of(text):
    return {"trial.csv": GOOD, "p.toml": text}, ["fit", "trial.csv", "--response", "weight", "--priors", "p.toml"]


TABLES = {
    "missing file": ({}, ["fit", "trial.csv"], "There is no file"),
    "misspelt file": ({"trial.csv": GOOD}, ["fit", "trail.csv"], 'did you mean "trial.csv"?'),
    "directory": ({"trial/x.csv": GOOD}, ["fit", "trial"], "is a directory"),
    "empty file": (*fit_of(""), "is empty"),
    "only a header": (*fit_of("dose,weight\n"), "only a header"),
    "missing column": ({"trial.csv": GOOD}, ["fit", "trial.csv", "--response", "wieght"], 'did you mean "weight"?'),
    "missing dose column": (*fit_of(GOOD, "--dose", "conc"), "name one of its columns"),
    "text among numbers": (*fit_of(table(l3="1,many")), 'row 4 of column "weight", got the text "many"'),
    "infinity": (*fit_of(table(l3="1,inf")), 'row 4 of column "weight", got "inf"'),
    "infinite dose": (*fit_of(table(l3="inf,1")), 'row 4 of column "dose"'),
    "negative dose": (*fit_of(table(l3="-1,1.2")), "a number of zero or more"),
    "missing dose": (*fit_of(table(l3=",1.2")), "an empty cell"),
    "missing response": (*fit_of(table(l3="1,")), "--missing drop"),
    "limit": (*fit_of(table(l7="100,<0.5")), "which is only a limit"),
    "date": (*fit_of(table(l3="1,2024-01-05")), "the date"),
    "one dose": (*fit_of("dose,weight\n" + "1,2\n1,3\n" * 4), "at least 3 distinct doses"),
    "two doses": (*fit_of("dose,weight\n" + "0,2\n1,3\n" * 4), "at least 3 distinct doses"),
    "all doses zero": (*fit_of("dose,weight\n" + "0,2\n0,3\n" * 4), "All doses"),
    "two rows": (*fit_of("dose,weight\n0,1\n1,2\n"), "at least 4 rows"),
    "constant response": (*fit_of(re.sub(r",\d\S*", ",7", GOOD)), "responses that vary"),
    "duplicate headers": (*fit_of(GOOD.replace("dose,", "weight,")), "appears twice"),
    "wide table": (*fit_of("plant,0,1,10\na,1,2,3\nb,2,3,1\n"), "wide table"),
    "UTF-16": (*fit_of(GOOD.encode("utf-16")), "UTF-16"),
    "binary": (*fit_of(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), "binary data"),
    "NUL bytes": (*fit_of(GOOD.encode() + b"\x00"), "binary data"),
    "old spreadsheet": (*fit_of(b"\xd0\xcf\x11\xe0" + b"\x01" * 64, name="trial.xls"), "spreadsheet"),
    "damaged workbook": (*fit_of(b"PK\x03\x04 no", name="trial.xlsx"), "damaged"),
    "1e300": (*fit_of(table(l3="1,1e300")), "at most 1e+100"),
    "16 decades": (*fit_of(table(l3="1e-14,1.2")), "within 15 decades"),
    "formula": (*fit_of(workbook(), name="trial.xlsx"), 'the formula "=1+1"'),
    "formula in text": (*fit_of(table(l3="1,=A1+1")), "the formula"),
    "unknown sheet": (*fit_of(workbook(), "--sheet", "Data", name="trial.xlsx"), "There is no sheet"),
    "sheet of a text file": (*fit_of(GOOD, "--sheet", "Data"), "Excel files only"),
}
OPTIONS = {
    "unknown curve": ("--curve", "BrainCousin", 'did you mean "BrainCousens"?'),
    "unknown curve with options": ("--curve", "BrainCousin(slope=1)", 'did you mean "BrainCousens"?'),
    "curve twice": ("--curve", "Constant", "--curve", "Constant", "listed twice"),
    "malformed curve": ("--curve", "BrainCousens(", "Expected a curve such as"),
    "code in place of a curve": ("--curve", "__import__('os').system('ls')", "Expected a curve such as"),
    "unknown curve option": ("--curve", "LogLogistic(lower_asymtote=free)", 'did you mean "lower_asymptote"?'),
    "unknown curve choice": ("--curve", "LogLogistic(lower_asymptote=some)", "must be one of zero, free"),
    "curve number": ("--curve", "LogLogistic(slope=steep)", "Expected a number for slope"),
    "unknown family": ("--family", "gausian", 'did you mean "gaussian"?'),
    "unknown engine": ("--engine", "nut", 'did you mean "nuts"?'),
    "engine without a window": ("--engine", "optimum", "gives one best curve and no window"),
    "benefit zero": ("--benefit", "0", "benefit must be above 0"),
    "benefit negative": ("--benefit", "-0.1", "benefit must be above 0"),
    "benefit of 10": ("--benefit", "1000", "write 0.10 for ten per cent"),
    "benefit nan": ("--benefit", "nan", "benefit must be a number"),
    "benefit no number": ("--benefit", "much", "Expected a number for --benefit, got 'much'"),
    "benefit scale": ("--benefit-scale", "relativ", 'did you mean "relative"?'),
    "benefit scale alone": ("--benefit-scale", "sd", "give it with --benefit"),
    "level of one": ("--level", "1", "between 0 and 1"),
    "level in per cent": ("--level", "80", "between 0 and 1"),
    "prior of hormesis": ("--prior-hormesis", "1", "between 0 and 1"),
    "negative seed": ("--seed", "-1", "--seed must be a whole number"),
    "seed with a point": ("--seed", "1.5", "Expected a whole number for --seed, got '1.5'"),
    "too few draws": ("--draws", "0", "draws must be a whole number"),
    "no chains": ("--chains", "0", "chains must be a whole number"),
    "standard dose zero": ("--standard-dose", "0", "a number above zero for --standard-dose"),
    "infinite control": ("--control", "inf", "a finite number for --control"),
    "direction": ("--direction", "upward", "--direction up"),
    "scale": ("--scale", "ration", 'did you mean "ratio"?'),
    "missing": ("--missing", "drops", 'did you mean "drop"?'),
    "unknown option": ("--benfit", "0.1", "did you mean --benefit?"),
    "drift without times": ("--drift", "OrnsteinUhlenbeck", "--time"),
    "drift of nothing": ("--drift", "=RandomWalk", "potency"),
    "drift of what does not drift": ("--drift", "efficacy=RandomWalk", "potency"),
    "time grid without a drift": ("--time-grid", "0,7", "needs a drift"),
    "option that is not there yet": ("--phase", "2", "No such option: --phase"),
    "value after an equals sign": ("--level=high", "Expected a number for --level, got 'high'"),
    "no value": ("--benefit", "requires an argument"),
    "no priors": ("--priors", "p.toml", "priors cannot be read"),
}
# Five plants at four doses, with deaths out of ten, a detection limit and a side effect.
PLANTS = "dose,weight,plant,sex,age,dead,total,floor,low,high,sick,nausea\n" + "".join(
    f"{dose},{weight + 0.1 * k:.1f},p{k},{'mf'[k % 2]},{20 + 3 * k},{k},10,,{weight:.1f},{weight + 1:.1f},{k % 3 % 2},"
    f"{int(dose > 1)}\n"
    for k in range(5)
    for dose, weight in ((0, 1.0), (1, 1.3), (10, 0.8), (100, 0.2))
)
BY_PLANT = ("--subject", "plant")
PEOPLE = {
    "unknown group": ("--vary", "control=plnt", '(for --vary) in trial.csv (did you mean "plant"?)'),
    "unknown nested group": ("--vary", "control=plant/pot", 'There is no column "pot" (for --vary)'),
    "vary without a group": ("--vary", "half_effect_dose", "such as half_effect_dose=subject"),
    "vary without a parameter": ("--vary", "=plant", "such as half_effect_dose=subject"),
    "vary with an empty nest": ("--vary", "control=plant/", "such as half_effect_dose=subject"),
    "vary twice": ("--vary", "control=plant", "--vary", "control=plant", "twice in --vary"),
    "vary an unknown parameter": ("--vary", "half_efect_dose=plant", 'did you mean "half_effect_dose"?'),
    "vary over subjects without any": ("--vary", "control=subject", "with --subject or --column"),
    "one group": ("--vary", "control=total", "at least 2 groups"),
    "a group for each row": ("--vary", "control=plant/low", "name a column with several rows per group"),
    "unknown column to keep": ("--column", "weigth", 'did you mean "weight"?'),
    "column that has a role": ("--column", "weight", "which has a meaning of its own"),
    "formula without a parameter": ("--covariates", "sex + age", "Expected a parameter and a formula"),
    "formula without terms": ("--covariates", "control ~", "Expected a parameter and a formula"),
    "formula with an unknown column": ("--covariates", "control ~ sxe", '(did you mean "sex"?)'),
    "formula that is none": ("--covariates", "control ~ sex +* age", "cannot be used"),
    "formula of nothing": ("--covariates", "control ~ 1", "names no column"),
    "formula without its bracket": ("--covariates", "control ~ scale(age", "cannot be used"),
    "formula of numbers that are words": ("--covariates", "control ~ scale(sex)", "cannot be used"),
    "formula of a constant": ("--covariates", "control ~ scale(total)", "numbers that are not finite"),
    "formula that groups": ("--covariates", "control ~ (1 | plant)", "names more than covariates"),
    "two formulas": ("--covariates", "control ~ sex", "--covariates", "control ~ age", "two formulas"),
    "formula for nothing": ("--covariates", "contrl ~ sex", 'did you mean "control"?'),
    "unknown estimand": (*BY_PLANT, "--estimand", "knew", 'did you mean "new"?'),
    "estimand without people": ("--estimand", "new", "needs people who differ"),
    "estimand where nothing varies": (*BY_PLANT, "--vary", "none", "--estimand", "population", "nothing varies"),
    "column twice": (*BY_PLANT, "--batch", "plant", "was named for both"),
    "family of counts": ("--family", "poisson", "needs whole numbers of zero or more, but row 3"),
    "family of shares": ("--family", "beta", "needs shares between 0 and 1, both excluded, but row 2"),
    "family without sizes": ("--family", "binomial", "needs shares of successes between 0 and 1, but row"),
    "unknown family of the side effect": ("--side-effect-family", "binom", "with --side-effect-family"),
    "too many successes": ("--successes", "age", "--n", "total", "--family", "binomial", "no more than the size"),
    "successes without sizes": ("--successes", "dead", "--family", "binomial", "name their column with --n, too"),
    "successes of a gaussian": ("--successes", "dead", "--n", "total", "--family", "poisson", "row"),
    "SD without numbers": ("--sd", "age", "read the table with --n as well as --sd"),
    "SD of a family that cannot": ("--sd", "age", "--n", "total", "--family", "gamma", "cannot use summary rows"),
    "errors of a family that cannot": ("--se", "age", "--family", "student_t", "cannot use summary rows"),
    "errors and a benefit in SDs": ("--se", "age", "--benefit", "1", "--benefit-scale", "sd", "leave no SD"),
    "limits of a family that cannot": ("--upper", "high", "--sd", "age", "--n", "total", "leave out"),
    "limits of counts": ("--upper", "high", "--response", "total", "--family", "poisson", "responses that vary"),
    "limits the wrong way round": ("--lower", "high", "--upper", "low", "lower limits below the upper ones, but row 2"),
    "empty column": ("--weight", "floor", "row 2"),
    "missing column of weights": ("--weight", "wieght", 'did you mean "weight"?'),
    "harm that is none": ("--harm", "pain<=0.2", "There is no harm named"),
    "harm without a limit": ("--harm", "loss", "Expected a limit such as"),
    "harm the wrong way": ("--harm", "loss>=0.1", "Expected a limit such as"),
    "harm without a constant": ("--harm", "occupancy<=0.5", "Expected a limit such as"),
    "occupancy above one": ("--harm", "occupancy(5)<=1.5", "Expected a limit between 0 and 1"),
    "constant of zero": ("--harm", "occupancy(0)<=0.5", "both above 0"),
    "two harms of the same kind": ("--harm", "loss<=0.1", "--harm", "loss<=0.2", "Two limits on loss"),
    "unknown side effect": ("--side-effect", "nausae", "--side-effect-limit", "0.2", 'did you mean "nausea"?'),
    "side effect without a limit": ("--side-effect", "nausea", "give it with --side-effect-limit"),
    "limit without a side effect": ("--side-effect-limit", "0.2", "name its column with --side-effect"),
    "side effect that is the response": ("--side-effect", "weight", "--side-effect-limit", "1", "name another one"),
    "side effect of another family": ("--side-effect", "age", "--side-effect-limit", "0.2", "needs shares"),
    "limit that is no number": ("--side-effect", "nausea", "--side-effect-limit", "low", "Expected a number for"),
    "doses left out of subjects": (*BY_PLANT, "--leave-one-dose-out", "independent rows"),
    "doses left out of categories": ("--response", "dead", "--family", "ordinal", "--leave-one-dose-out", "left out"),
}
# Four plants that are dosed every day; each case is an event table and options.
DOSED = "dose,weight,plant,day\n" + "".join(
    f"{dose},{weight + day / 10:.1f},p{dose},{day}\n"
    for dose, weight in ((0, 1.0), (1, 1.3), (10, 0.8), (100, 0.2))
    for day in (1, 2, 4)
)
EVENTS = "ID,TIME,AMT\n" + "".join(f"p{dose},0,{dose}\n" for dose in (1, 10, 100))
PLACEBO = "p0,0,0\n"
EVERYBODY = "ID,TIME,AMT,EVID\n" + "".join(f"p{dose},0,{dose},1\n" for dose in (0, 1, 10, 100))
KNOWN = ("--regimen", "doses.csv", "--kinetics", "OneCompartment elimination_rate=1")
REGIMENS = {
    "no such table": ("", "--regimen", "dose.csv", "dose.csv"),
    "a subject without doses": (EVENTS, "--regimen", "doses.csv", "has observations but no dose event"),
    "unknown kind of event": (
        "ID,TIME,AMT,EVID\np0,0,0,9\n",
        "--regimen",
        "doses.csv",
        "EVID",
    ),
    "a negative rate": ("ID,TIME,AMT,RATE\np0,0,1,-3\n", "--regimen", "doses.csv", "RATE"),
    "events out of order": ("ID,TIME,AMT\np1,5,1\np1,0,1\n" + PLACEBO, "--regimen", "doses.csv", "order"),
    "kinetics without doses": ("", "--kinetics", "OneCompartment", "give --regimen"),
    "unknown kinetics": (EVENTS, "--kinetics", "OneCompartmnt", 'did you mean "OneCompartment"?'),
    "unknown parameter of kinetics": (EVENTS, "--kinetics", "OneCompartment elimination=1", "elimination_rate"),
    "concentrations without kinetics": (EVENTS, "--concentrations", "doses.csv", "no column DV"),
    "kinetics that are no number": (
        EVENTS,
        "--kinetics",
        "OneCompartment elimination_rate=fast",
        "Expected a number for elimination_rate",
    ),
    "kinetics below zero": (EVENTS, "--kinetics", "OneCompartment elimination_rate=-1", "a number above 0"),
    "interval without kinetics": (EVENTS, "--interval", "1", "--interval needs --kinetics"),
    "history without memory": (EVENTS, "--history", "doses.csv", "something that remembers doses"),
    "history at steady state": (
        EVERYBODY,
        *KNOWN,
        "--interval",
        "1",
        "--history",
        "doses.csv",
        "leave out --history or",
    ),
    "history of several": (EVERYBODY, *KNOWN, "--history", "doses.csv", "the doses of one person in --history"),
    "history of the future": ("TIME,AMT\n-1,5\n2,5\n", *KNOWN, "--history", "doses.csv", "before time 0 in --history"),
    "no such history": (EVERYBODY, *KNOWN, "--history", "dose.csv", "dose.csv"),
    "mechanism of something else": ("", "--drift", "potency=ReceptorTurnover", "changes the gain"),
    "two mechanisms": ("", "--drift", "ReceptorTurnover", "--drift", "Moderator", "One mechanism at a time"),
    "unknown harm": (EVENTS, "--harm", "receptor<=0.5", "receptor_loss"),
}


def dosed(events, *case):
    argv = ["fit", "trial.csv", "--response", "weight", "--subject", "plant", "--time", "day", *case]
    return {"trial.csv": DOSED, "doses.csv": events or EVENTS}, argv


PRIORS = {
    "bad TOML": ("[sigma\n", "Expected priors in TOML"),
    "no table": ("sigma = 1\n", "Expected a table for the prior of sigma"),
    "no distribution": ("[sigma]\nscale = 1\n", "Expected a table for the prior of sigma"),
    "unknown distribution": ('[sigma]\ndistribution = "HalfNormale"\nsigma = 1\n', 'did you mean "HalfNormal"?'),
    "unknown argument": ('[sigma]\ndistribution = "HalfNormal"\nsgima = 1\n', 'did you mean "sigma"?'),
    "impossible argument": ('[sigma]\ndistribution = "HalfNormal"\nsigma = -1\n', "cannot be used"),
    "text argument": ('[sigma]\ndistribution = "HalfNormal"\nsigma = "wide"\n', "must be a finite number"),
    "discrete": ('[sigma]\ndistribution = "Poisson"\nmu = 3\n', "no continuous distribution for the prior of sigma"),
    "unknown parameter": (
        '[peak_stimulus]\ndistribution = "HalfNormal"\nsigma = 1\n',
        'did you mean "peak_stimulation"?',
    ),
}
USAGE = {
    "unknown command": (["fti"], "fti"),
    "no table": (["fit"], "Missing argument 'TABLE'"),
    "two tables": (["fit", "a.csv", "b.csv"], "unexpected extra argument"),
    "unknown dataset": (["data", "letuce"], 'did you mean "lettuce"?'),
    "unknown option of the demo": (["demo", "--sed", "1"], "No such option"),
}
CASES = (
    TABLES
    | {name: (*fit_of(GOOD, *case[:-1]), case[-1]) for name, case in OPTIONS.items()}
    | {f"people: {name}": (*fit_of(PLANTS, *case[:-1]), case[-1]) for name, case in PEOPLE.items()}
    | {f"regimen: {name}": (*dosed(*case[:-1]), case[-1]) for name, case in REGIMENS.items()}
    | {f"priors: {name}": (*priors_of(text), words) for name, (text, words) in PRIORS.items()}
    | {name: ({}, *case) for name, case in USAGE.items()}
)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HORMESIS_DEBUG", raising=False)
    return tmp_path


def refused(argv, folder, capsys):
    """Run what has to be refused, and return the one line it says."""
    before = listing(folder)
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith((".\n", "?\n"))
    assert "Traceback" not in err
    assert listing(folder) == before
    return err


@pytest.mark.parametrize(("files", "argv", "words"), CASES.values(), ids=CASES)
def test_bad_input_ends_in_one_sentence(files, argv, words, folder, capsys):
    write(folder, files)
    assert words in refused(argv, folder, capsys)


def test_there_are_enough_cases():
    assert len(CASES) >= 120


# --- the output folder -----------------------------------------------------------------------------------------------

OUTPUTS = {
    "exists": ({"out/window.json": "{}"}, ["--out", "out"], "exists already: add --overwrite"),
    "default exists": ({"trial-hormesis/x": ""}, [], "exists already"),
    "is a file": ({"out": "mine"}, ["--out", "out", "--overwrite"], "is a file"),
    "parent is a file": ({"file": "mine"}, ["--out", "file/out"], "is a file"),
    "foreign": ({"out/thesis.docx": "mine"}, ["--out", "out", "--overwrite"], '"thesis.docx"'),
    "foreign file besides": (
        {"out/window.json": "{}", "out/raw.csv": ""},
        ["--out", "out", "--overwrite"],
        '"raw.csv"',
    ),
    "foreign folder": ({"out/raw/a.csv": ""}, ["--out", "out", "--overwrite"], '"raw"'),
    "current folder": ({}, ["--out", ".", "--overwrite"], "the current folder"),
    "system": ({}, ["--out", "/proc/hormesis"], "cannot be made"),
    "below a missing system folder": ({}, ["--out", "/proc/hormesis/deep/er"], "cannot be made"),
    "name too long": ({}, ["--out", "x" * 300], "cannot be"),
}


@pytest.mark.parametrize(("files", "arguments", "words"), OUTPUTS.values(), ids=OUTPUTS)
def test_output_folder_is_refused_before_the_fit(files, arguments, words, folder, capsys, monkeypatch):
    monkeypatch.setattr(commands, "_fit", lambda *_: pytest.fail("the fit was started"))
    write(folder, {"trial.csv": GOOD} | files)
    assert words in refused(["fit", "trial.csv", "--response", "weight", *arguments], folder, capsys)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_refused(folder, capsys):
    write(folder, {"trial.csv": GOOD})
    (folder / "locked").mkdir(mode=0o500)
    assert "not writable" in refused(
        ["fit", "trial.csv", "--response", "weight", "--out", "locked/out"], folder, capsys
    )


@pytest.fixture(autouse=True)
def listening():
    """Signals are heard, also where the tests run in the background of a shell, which ignores them."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture
def quick(folder, monkeypatch, fitted):
    """A table, and a fit of it that takes no time and writes one file."""
    write(folder, {"trial.csv": GOOD})
    monkeypatch.setattr(commands, "_fit", lambda *_: fitted.copy())
    monkeypatch.setattr(commands, "write_result", lambda fit, folder, **_: write(folder, {"window.json": "{}"}))
    return folder


FIT = ["fit", "trial.csv", "--response", "weight"]


@pytest.mark.parametrize("old", [{}, {"out/window.json": "old", "out/figures/old.pdf": "old"}], ids=["empty", "ours"])
def test_overwrite_replaces_what_an_earlier_run_wrote(old, quick):
    write(quick, old)
    (quick / "out").mkdir(exist_ok=True)
    assert main([*FIT, "--out", "out", "--overwrite"]) == 0
    assert listing(quick) == ["out", "out/window.json", "trial.csv"]
    assert (quick / "out/window.json").read_text() == "{}"


def test_missing_parents_are_made_and_removed_again_when_nothing_comes_of_it(quick, monkeypatch, capsys):
    assert main([*FIT, "--out", "deep/er/out"]) == 0
    assert listing(quick / "deep") == ["er", "er/out", "er/out/window.json"]
    capsys.readouterr()
    monkeypatch.setattr(commands, "_fit", fails(ValueError("no.")))
    refused([*FIT, "--out", "an/other/out"], quick, capsys)


def fails(error):
    def run(*_, **__):
        raise error if not isinstance(error, ValueError) else Failure(str(error))

    return run


def test_a_full_disk_leaves_nothing(quick, monkeypatch, capsys):
    monkeypatch.setattr(commands, "write_result", fails(OSError(28, "No space left on device")))
    assert "No space left on device" in refused(FIT, quick, capsys)


def test_a_failed_rename_brings_the_older_folder_back(quick, monkeypatch, capsys):
    write(quick, {"out/window.json": "old"})
    rename = Path.rename

    def fail_once(path, target):
        if "partial" in path.name:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    assert main([*FIT, "--out", "out", "--overwrite"]) != 0
    assert listing(quick) == ["out", "out/window.json", "trial.csv"]
    assert (quick / "out/window.json").read_text() == "old"


def test_our_own_mistakes_are_one_line_and_ask_for_a_report(quick, monkeypatch, capsys):
    monkeypatch.setattr(commands, "_fit", fails(KeyError("inside")))
    assert main(FIT) == 1
    err = capsys.readouterr().err
    assert err.startswith("A mistake inside hormesis_fit (KeyError: 'inside'): please report it")
    assert err.count("\n") == 1
    assert listing(quick) == ["trial.csv"]


def test_debugging_shows_where(quick, monkeypatch):
    monkeypatch.setenv("HORMESIS_DEBUG", "1")
    monkeypatch.setattr(commands, "_fit", fails(KeyError("inside")))
    with pytest.raises(KeyError):
        main(FIT)
    assert listing(quick) == ["trial.csv"]


def test_no_curve_at_all_exits_with_3(folder, monkeypatch, capsys):
    write(folder, {"trial.csv": GOOD})
    monkeypatch.setattr(
        "hormesis_fit.inference.fitting.fit", fails(RuntimeError("No curve could be fitted (LogLogistic: no)."))
    )
    assert main(FIT) == 3
    assert capsys.readouterr().err == "No curve could be fitted (LogLogistic: no): nothing was written.\n"
    assert listing(folder) == ["trial.csv"]


def test_a_sick_fit_is_written_and_exits_with_3(quick, monkeypatch, fitted, capsys):
    sick = fitted.copy(deep=True)
    evidence = sick["evidence"].to_dataset()
    sick["evidence"] = evidence.assign(sick=("model", [True] * evidence.sizes["model"]))
    monkeypatch.setattr(commands, "_fit", lambda *_: sick)
    assert main([*FIT, "--out", "out"]) == 3
    assert (quick / "out/window.json").exists()
    assert "the computation stayed unreliable for BrainCousens, LogLogistic." in capsys.readouterr().out


# --- good runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fitted():
    fit = hf.fit(hf.load_dataset("lettuce"), curve=["BrainCousens", "LogLogistic"], draws=200, random_seed=1)
    fit["window"] = hf.window(fit).assign_attrs(stated=1)
    return fit


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Run a fit through the whole command line, with every warning an error; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    stdout = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HORMESIS_DEBUG", "1")
        patch.chdir(folder)
        patch.setattr(sys, "stdout", stdout)
        assert main(["data", "lettuce", "--out", "lettuce.csv"]) == 0
        assert main(lettuce()) == 0
    return folder / "lettuce-hormesis", stdout.getvalue()


def lettuce(*arguments):
    columns = ["--dose", "conc", "--response", "weight", "--dose-unit", "mg/L", "--response-unit", "g"]
    return ["fit", "lettuce.csv", *columns, *SMALL, *arguments]


def read_record(folder):
    record = json.loads((folder / "window.json").read_text(encoding="utf-8"))
    return record, record.pop("seconds")


def test_a_fit_writes_every_file(run):
    folder, _ = run
    assert sorted(path.name for path in folder.iterdir()) == WRITTEN
    assert listing(folder.parent)[0] == "lettuce-hormesis", "no temporary folder is left"
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".pdf", ".svg", ".png", ".nc"}
    assert all(path.stat().st_size > 0 for path in folder.rglob("*.*"))
    assert pd.read_csv(folder / "summary.csv").loc[0, "quantity"] == "peak_dose"


def test_a_fit_says_what_was_found_and_assumed(run):
    folder, printed = run
    record, seconds = read_record(folder)
    assert "Note: The response was taken to be on the ratio scale" in printed
    assert "--scale overrides this." in printed
    assert "Note: A benefit of at least 10% was assumed; --benefit states your own." in printed
    assert f"P(hormesis): {record['prob_hormesis']:.3f}" in printed
    assert "Files: ./lettuce-hormesis (report.html, figures," in printed
    assert record["benefit"] == {"delta": 0.1, "scale": "relative", "stated": False}
    assert record["status"] in printed or "measurements" in printed
    assert all(isinstance(value, float) for value in seconds.values())


def test_another_process_with_the_same_seed_writes_the_same_numbers(run):
    folder, _ = run
    again = [sys.executable, "-m", "hormesis_fit", *lettuce("--out", "again")]
    subprocess.run(again, cwd=folder.parent, check=True, capture_output=True, timeout=300)
    assert read_record(folder)[0] == read_record(folder.parent / "again")[0]
    assert (folder / "summary.csv").read_text() == (folder.parent / "again/summary.csv").read_text()


def test_a_saved_fit_gives_the_same_window_in_another_process(run):
    folder, _ = run
    program = (
        "import json, sys, xarray as xr, hormesis_fit as hf\n"
        "from hormesis_fit.windows.summary import window_record\n"
        "fit = xr.open_datatree(sys.argv[1], engine='h5netcdf').load()\n"
        "fit['window'] = hf.window(fit).assign_attrs(stated=0)\n"
        "print(json.dumps(window_record(fit)))\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(folder / "fit.nc")]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    record = json.loads(found.stdout)
    record.pop("seconds")
    assert record == read_record(folder)[0]


def test_the_saved_fit_explains_itself(run):
    folder, _ = run
    with xr.open_datatree(folder / "fit.nc", engine="h5netcdf") as fit:
        assert fit.attrs["seed"] == 1
        assert fit["window"].attrs["stated"] == 0
        assert fit.attrs["seconds_import"] >= 0


def test_a_drawn_seed_is_told_and_recorded(quick, capsys):
    assert main(FIT) == 0
    assert "Note: The seed 1 was drawn; --seed 1 repeats this fit." in capsys.readouterr().out


def test_demo_tells_both_trials_and_why_they_differ(folder, capsys, monkeypatch):
    trees = {}

    def small(trial, settings, asked, watch):
        assert settings == {"random_seed": 1}
        fit = hf.fit(trial, curve=["BrainCousens", "LogLogistic"], draws=200, **settings)
        fit["window"] = hf.window(fit).assign_attrs(stated=int(asked["stated"]))
        trees[trial.attrs["name"]] = fit
        return fit

    monkeypatch.setattr(commands, "_fit", small)
    monkeypatch.setattr(commands, "write_result", lambda fit, folder, **_: write(folder, {"window.json": "{}"}))
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "Doses between" in printed
    assert "They differ because in leaflength the response rises" in printed
    assert "./hormesis-demo/lettuce/report.html" in printed
    assert listing(folder) == [
        "hormesis-demo",
        *("hormesis-demo/leaflength", "hormesis-demo/leaflength/window.json"),
        *("hormesis-demo/lettuce", "hormesis-demo/lettuce/window.json"),
    ]
    assert main(["demo"]) == 2
    assert main(["demo", "--overwrite"]) == 0


@pytest.mark.slow
@pytest.mark.heavy  # .ci/run begins with it
def test_demo_in_earnest(folder):
    done = subprocess.run([sys.executable, "-m", "hormesis_fit", "demo"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    for name, status in (("leaflength", "WINDOW"), ("lettuce", "UNDETERMINED")):
        assert sorted(path.name for path in (folder / "hormesis-demo" / name).iterdir()) == WRITTEN
        assert read_record(folder / "hormesis-demo" / name)[0]["status"] == status


def test_options_on_people_reach_the_fit_in_the_words_of_python(quick, monkeypatch, fitted):
    seen = {}

    def take(trial, settings, asked, watch):
        seen.update(settings | asked, trial=trial)
        return fitted.copy()

    monkeypatch.setattr(commands, "_fit", take)
    write(quick, {"plants.csv": PLANTS})
    people = ["--subject", "plant", "--vary", "half_effect_dose=plant", "--vary", "control=sex/plant"]
    people += ["--covariates", "half_effect_dose ~ scale(age) + sex", "--estimand", "new"]
    limits = ["--harm", "loss<=0.05", "--harm", "occupancy(5, 2)<=0.5"]
    limits += ["--side-effect", "nausea", "--side-effect-limit", "0.2"]
    assert main(["fit", "plants.csv", "--response", "weight", *people, *limits]) == 0
    assert seen["vary"] == {"half_effect_dose": "subject", "control": "sex/subject"}
    assert seen["covariates"] == {"half_effect_dose": "scale(age) + sex"}
    assert {"subject", "sex", "age"} <= set(seen["trial"].data_vars)
    assert seen["estimand"] == "new"
    assert [one.describe() for one in seen["harm"]] == [
        *("loss below control at most 0.05", "occupancy at most 0.5", "nausea at most 0.2")
    ]
    assert seen["endpoints"]["nausea"].trial.attrs["direction"] == "down"
    assert seen["endpoints"]["nausea"].family == "binomial"


def test_nothing_varies_unless_it_is_named(quick, monkeypatch, fitted):
    seen = {}
    monkeypatch.setattr(commands, "_fit", lambda trial, settings, *_: seen.update(settings) or fitted.copy())
    assert main(FIT) == 0
    assert (seen["vary"], seen["covariates"], seen["endpoints"]) == (None, None, None)
    assert main([*FIT, "--vary", "none", "--overwrite"]) == 0
    assert seen["vary"] == {}


def test_the_help_names_every_family():
    assert commands.FAMILY_NAMES.split(", ") == list(hf.FAMILIES)


# --- the smaller commands --------------------------------------------------------------------------------------------


def test_curves_lists_every_curve_with_its_parameters(capsys):
    assert main(["curves"]) == 0
    printed = capsys.readouterr().out
    for name, curve in hf.CURVES.items():
        assert f"{name} ({'hormetic' if curve.hormetic else 'not hormetic'}): " in printed
        assert curve.formula in printed
        assert all(parameter in printed for parameter in curve().parameters())
    assert "sigma" in printed


@pytest.mark.parametrize(
    ("name", "there", "absent"), [("Haldane", "Haldane (", "Ricker ("), ("null", "Emax (", "Haldane (")]
)
def test_curves_tells_of_one_curve_or_of_a_set(name, there, absent, capsys):
    assert main(["curves", name]) == 0
    printed = capsys.readouterr().out
    assert there in printed
    assert absent not in printed
    assert "family " not in printed
    assert "https://doi.org/" in printed


def test_an_unknown_curve_is_named_with_its_neighbour(capsys):
    assert main(["curves", "Haldan"]) == 2
    assert 'did you mean "Haldane"?' in capsys.readouterr().err


def test_sets_of_curves_are_spelled_out_among_others():
    assert parse_curves(["hormetic"]) == "hormetic"
    assert parse_curves(["average", "Constant", "Haldane"]) == [*hf.AVERAGE, "Haldane"]


def test_data_lists_prints_and_writes(folder, capsys):
    assert main(["data"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in hf.list_datasets()["name"])
    assert main(["data", "lettuce"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "conc,weight"
    assert main(["data", "lettuce", "--out", "l.csv"]) == 0
    assert (folder / "l.csv").read_text() == printed
    assert main(["data", "lettuce", "--out", "l.csv"]) == 2
    assert main(["data", "lettuce", "--out", "l.csv", "--overwrite"]) == 0
    assert main(["data", "lettuce", "--out", "no/l.csv"]) == 2


def program():
    from typer.main import get_command

    from hormesis_fit.cli.fits import app

    return get_command(app)


def test_the_first_help_says_what_each_command_does_to_the_end():
    known = program()
    text = known.get_help(known.make_context("hormesis-fit", [], resilient_parsing=True, terminal_width=80))
    assert "..." not in text.partition("Commands:")[2]
    assert all(f"\n  {name} " in text for name in known.commands)


@pytest.mark.parametrize("name", ["fit", "screen", "next", "design"])
def test_every_option_stands_in_one_section_of_the_help(name):
    from hormesis_fit.cli.guide import SECTIONS

    placed = " ".join(SECTIONS[name].values()).split()
    options = [one.name for one in program().commands[name].params if one.param_type_name == "option"]
    assert sorted(placed) == sorted(options)


@pytest.mark.parametrize("name", ["fit", "screen", "next", "design", "curves", "data"])
def test_the_examples_of_the_help_are_complete_commands(name):
    from hormesis_fit.cli.guide import EXAMPLES, START

    lines = [line.strip() for line in f"{EXAMPLES[name]}\n{START}".splitlines() if line.startswith("  hormesis-fit ")]
    assert len(lines) > 4
    for line in lines:
        _, command, *words = shlex.split(re.split(r" {3,}", line)[0])
        program().commands[command].make_context(command, words)


@pytest.mark.parametrize("argv", [[], ["--help"], ["fit", "--help"], ["--version"]])
def test_help_costs_little_and_says_something(argv):
    program = "import sys\nfrom hormesis_fit.cli.app import main\nmain(sys.argv[1:])\nprint([*sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=60, check=True
    )
    assert "hormesis-fit" in done.stdout
    loaded = done.stdout.splitlines()[-1]
    assert not any(f"'{name}'" in loaded for name in ("pymc", "pandas", "xarray", "numpy", "matplotlib"))


def test_output_may_be_closed_early(folder):
    program = f"{sys.executable} -m hormesis_fit data ibs | head -n 1"
    done = subprocess.run(program, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "dose,gender,response\n"
    assert done.stderr == ""


def test_curves_with_options_are_read_without_eval():
    curve = parse_curve(" BrainCousens( lower_asymptote = free, slope_excess=1.5 ) ")
    assert (curve.lower_asymptote, curve.slope_excess) == ("free", 1.5)
    assert parse_curve("BellTail") == "BellTail"
    with pytest.raises(Failure, match="scale"):
        parse_curve("BellTail(scale=interval)")


def test_priors_are_read_from_toml(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text('[peak_stimulation]\ndistribution = "HalfNormal"\nsigma = 0.25\n')
    assert read_priors(path) == {"peak_stimulation": hf.Prior("HalfNormal", sigma=0.25)}
    assert read_priors(None) is None


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("name it with dose=.", "name it with --dose."),
        ('use scale="interval".', "use --scale interval."),
        ('Expected direction="up" or "down", got', 'Expected --direction up or "down", got'),
        ("standard_dose=, dose_unit=", "--standard-dose, --dose-unit"),
        ("random_seed must be", "--seed must be"),
        ("the formula =dose=1", "the formula =dose=1"),
    ],
)
def test_messages_name_options(python, shell):
    assert command_words(python) == shell


# --- interruption ----------------------------------------------------------------------------------------------------


def interrupted(folder, argv, moment, *, number=signal.SIGINT, again=False, timeout=120):
    """Start a run, send a signal when `moment` says so, and check that nothing is left of it."""
    before = listing(folder)
    command = [sys.executable, "-c", LAUNCH, *argv]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        end = time.monotonic() + timeout
        moment = time.sleep(moment) or (lambda _: True) if isinstance(moment, float) else moment
        while not moment(folder):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(number)
        if again:
            time.sleep(0.1)
            process.send_signal(number)
        out, err = process.communicate(timeout=timeout)
    assert (process.returncode, out, err.strip()) == (130, "", "Interrupted; nothing was written.")
    assert listing(folder) == before


def staging(folder):
    return any(folder.rglob(".*.partial-*"))


def writing(folder):
    return any(folder.rglob(".*.partial-*/fit.nc"))


def drawing(folder):
    return any(folder.rglob(".*.partial-*/figures/*.pdf"))


MOMENTS = {"start": 0.05, "imports": 0.6, "staging": staging, "drawing": drawing}


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_ctrl_c_leaves_nothing(moment, folder):
    write(folder, {"trial.csv": GOOD})
    interrupted(folder, [*FIT, *SMALL, "--out", "new/out"], moment, again=moment is staging)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_termination_keeps_the_older_results_and_a_second_run_succeeds(folder):
    write(folder, {"trial.csv": GOOD, "trial-hormesis/window.json": "old"})
    interrupted(folder, [*FIT, *SMALL, "--overwrite"], writing, number=signal.SIGTERM)
    assert (folder / "trial-hormesis/window.json").read_text() == "old"
    assert main([*FIT, *SMALL, "--overwrite"]) == 0
    assert sorted(path.name for path in (folder / "trial-hormesis").iterdir()) == WRITTEN
    assert read_record(folder / "trial-hormesis")[0]["seed"] == 1


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_nuts_samples(folder):
    write(folder, {"trial.csv": GOOD})
    start = time.monotonic()
    argv = [*FIT, "--curve", "BrainCousens", "--engine", "nuts", "--draws", "500000", "--seed", "1"]
    interrupted(folder, argv, lambda _: time.monotonic() - start > 45)
    assert time.monotonic() - start < 75, "sampling was not stopped"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_swallowed_signal_still_counts(quick, monkeypatch, fitted, capsys):
    def swallow(trial, settings, asked, watch):
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:  # noqa: BLE001  what nutpie and callbacks from C do
            return fitted

    monkeypatch.setattr(commands, "_fit", swallow)
    assert main(FIT) == 130
    assert capsys.readouterr().err == "Interrupted; nothing was written.\n"
    assert listing(quick) == ["trial.csv"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_signal_handlers_are_put_back(quick):
    before = signal.getsignal(signal.SIGINT)
    assert main(["curves"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
