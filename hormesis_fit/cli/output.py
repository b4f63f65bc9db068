"""Files of a fit: a folder appears whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

FILES = ("fit.nc", "window.json", "summary.csv", "report.html", "figures", "design.json")
JUNK = (".DS_Store", "Thumbs.db", "desktop.ini")
IMPATIENCE = 1.0  # seconds within which signals count as one: a second Ctrl-C must not break the cleaning up


class Failure(Exception):
    """Nothing comes of the command; the message is one sentence for the user.

    Parameters
    ----------
    message : str
        What was expected, what came, how to fix it.
    exit_code : int
        2 for bad input.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(BaseException):
    """A signal to stop.

    Neither an `Exception` nor a `KeyboardInterrupt`: nutpie would take the latter for a wish to go on
    with half a sample.
    """


class Watch:
    """Whether somebody has asked to stop, and what to remove then."""

    def __init__(self) -> None:
        self.requested = False
        self.finished = False  # from now on the files are there, and stopping early would only confuse
        self._litter: list[tuple[Path, bool]] = []
        self._held = False
        self._last = -IMPATIENCE

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Take a signal."""
        now = time.monotonic()
        patient = now - self._last < IMPATIENCE
        self.requested, self._last = True, now
        if not (self._held or self.finished or patient):
            raise Interrupted

    def check(self) -> None:
        """Stop if a signal came that somebody swallowed on its way here."""
        if self.requested and not self.finished:
            raise Interrupted

    @contextmanager
    def held(self) -> Iterator[None]:
        """Take signals without stopping."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def owns(self, path: Path, *, whole: bool) -> None:
        """Remember what has to go if nothing comes of it: a `whole` folder, or one only while it is empty."""
        self._litter.append((path, whole))

    def clean(self) -> None:
        """Remove whatever was made and not finished."""
        with self.held():
            while self._litter:
                path, whole = self._litter.pop()
                if whole:
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        path.rmdir()

    def finish(self) -> None:
        """Keep what was made."""
        self.finished = True
        self._litter.clear()


@contextmanager
def watching(*, to_the_end: bool) -> Iterator[Watch]:
    """Turn Ctrl-C and SIGTERM into `Interrupted`, and clean up in the end.

    Parameters
    ----------
    to_the_end : bool
        Whether the process ends with this: a further Ctrl-C while Python says goodbye is then not heard.
    """
    watch, former = Watch(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # Ignored signals stay so, as for a job in the background of a shell.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                former[number] = signal.signal(number, watch.handle)
    try:
        yield watch
    finally:
        watch.clean()
        watch.finished = True
        for number, handler in former.items():
            # While the interpreter shuts down it would put the default back, which kills, unless a signal is ignored.
            signal.signal(number, signal.SIG_IGN if to_the_end else handler)


def check_target(out: Path, *, overwrite: bool) -> Path:
    """Return the real path of a new folder, or say in one sentence why it cannot be written.

    Parameters
    ----------
    out : Path
        Folder asked for; its parents need not exist.
    overwrite : bool
        Whether a folder that an earlier run wrote may be replaced.

    Raises
    ------
    Failure
        If something is there that must not be replaced, or the folder cannot be made.
    """
    try:
        out = Path(os.path.realpath(out.expanduser()))
        there = os.path.lexists(out)
        if there and not overwrite:
            raise Failure(f"{out} exists already: add --overwrite to replace it, or choose another folder with --out.")
        if there:
            _check_replaceable(out)
        parent = next(folder for folder in out.parents if os.path.lexists(folder))
    except (OSError, RuntimeError, ValueError) as error:
        raise Failure(f"The folder {out} cannot be used ({_reason(error)}): choose another one with --out.") from None
    if not parent.is_dir():
        raise Failure(f"The folder {out} cannot be made, since {parent} is a file: choose another one with --out.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise Failure(
            f"The folder {out} cannot be made, since {parent} is not writable: choose another one with --out."
        )
    return out


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def _check_replaceable(out: Path) -> None:
    fix = "choose another folder with --out"
    if not out.is_dir():
        raise Failure(f"{out} is a file, and --overwrite replaces only folders that hormesis-fit wrote: {fix}.")
    if out in (Path.cwd(), *Path.cwd().parents):
        raise Failure(f"{out} is the current folder or holds it and cannot be replaced: {fix}.")
    foreign = _foreign(out)
    if foreign:
        raise Failure(f"{out} holds {foreign}, which hormesis-fit did not write and will not remove: {fix}.")


def _foreign(folder: Path) -> str:
    """Name something in a folder that is not ours, if there is."""
    entries = sorted(entry for entry in folder.iterdir() if entry.name not in JUNK)
    if any(entry.name == "window.json" for entry in entries):
        return next((f'"{entry.name}"' for entry in entries if entry.name not in FILES), "")
    # The folder of the demo holds one such folder for each trial.
    for entry in entries:
        if entry.is_symlink() or not (entry / "window.json").is_file() or _foreign(entry):
            return f'"{entry.name}"'
    return ""


@contextmanager
def staged(out: Path, watch: Watch) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that takes its place in the end, if nothing goes wrong.

    Parameters
    ----------
    out : Path
        As `check_target` returns it.
    watch : Watch
        Removes everything if it does not come to that.
    """
    try:
        with watch.held():
            temporary = _stage(out, watch)
        watch.check()
        yield temporary
        with watch.held():
            watch.check()
            _replace(temporary, out)
            watch.finish()
    finally:
        watch.clean()


def _stage(out: Path, watch: Watch) -> Path:
    temporary = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        for folder in reversed([parent for parent in out.parents if not parent.exists()]):
            folder.mkdir(exist_ok=True)
            watch.owns(folder, whole=False)
        # Left behind by a process that was killed, and whose number this one has got.
        shutil.rmtree(temporary, ignore_errors=True)
        watch.owns(temporary, whole=True)
        temporary.mkdir()
    except OSError as error:
        raise Failure(f"The folder {out} cannot be made ({error.strerror}): choose another one with --out.") from None
    return temporary


def _replace(temporary: Path, out: Path) -> None:
    """Rename a finished folder into place; an older one is moved aside first and removed last."""
    aside = out.with_name(f".{out.name}.old-{os.getpid()}")
    if out.exists():
        out.rename(aside)
    try:
        temporary.rename(out)
    except OSError:
        if aside.exists():
            aside.rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def write_result(fit: xr.DataTree, folder: Path, *, show_subjects: bool = False) -> None:
    """Write every file of a fit.

    Parameters
    ----------
    fit : DataTree
        A fit with its window in the group ``window``.
    folder : Path
        Made if it does not exist.
    show_subjects : bool
        Whether labels and rows of subjects may appear in the report and the figures.
    """
    from hormesis_fit.figures.fits import draw_figures, save_figures
    from hormesis_fit.report.writing import write_report
    from hormesis_fit.windows.derived import derived_of
    from hormesis_fit.windows.prediction import subjects_in
    from hormesis_fit.windows.summary import subjects_of, summary_table, window_record

    folder.mkdir(exist_ok=True)
    fit = fit.copy()
    if "derived" not in fit:
        fit["derived"] = derived_of(fit)
    if "subjects" not in fit and subjects_in(fit):
        fit["subjects"] = subjects_of(fit)
    fit.to_netcdf(folder / "fit.nc", engine="h5netcdf")
    record = json.dumps(window_record(fit), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "window.json").write_text(record + "\n", encoding="utf-8")
    summary_table(fit).to_csv(folder / "summary.csv", index=False, encoding="utf-8")
    figures = draw_figures(fit, show_subjects=show_subjects)
    save_figures(fit, folder / "figures", figures=figures)
    write_report(fit, folder / "report.html", figures=figures, show_subjects=show_subjects)
