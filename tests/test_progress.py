"""Progress: silent while nobody waits, one line in a notebook, nothing left behind."""

import sys
import types

import pytest

from hormesis_fit import progress


class Handle:
    def __init__(self, log):
        self.log = log

    def update(self, shown):
        self.log.append(shown)


@pytest.fixture
def notebook(monkeypatch):
    log = []
    display = types.ModuleType("IPython.display")
    display.HTML = display.Pretty = str
    display.display = lambda shown, display_id: (log.append(shown), Handle(log))[1]
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(progress, "Console", lambda stderr: types.SimpleNamespace(is_jupyter=True))
    return log


def run(steps):
    with progress.progress(len(steps)) as step:
        for one in steps:
            step(one)


def test_a_quick_fit_shows_nothing(notebook, capsys):
    run(["a", "b"])
    assert notebook == []
    assert capsys.readouterr() == ("", "")


def test_a_notebook_has_one_line_that_is_emptied(notebook, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    run(["Fitting a", "Fitting b"])
    assert notebook == ["Fitting a (1/2)", "Fitting b (2/2)", ""]
    assert capsys.readouterr() == ("", "")


def test_a_file_gets_no_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    run(["a", "b"])
    assert capsys.readouterr() == ("", "")
