"""Progress that appears only when somebody has begun to wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

DELAY = 2.0  # seconds


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show progress over `total` steps, in a terminal or a notebook, if they take longer than two seconds.

    Yields
    ------
    callable
        To be called with a description at the start of each step.
    """
    console = Console(stderr=True)
    with (_in_notebook if console.is_jupyter else _in_terminal)(total, console) as step:
        yield step


@contextmanager
def _in_terminal(total: int, console: Console) -> Iterator[Callable[[str], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("", total=total)
    begun: list[str] = []

    def step(description: str) -> None:
        bar.update(task, description=description, completed=len(begun))
        begun.append(description)

    timer = threading.Timer(DELAY, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield step
    finally:
        timer.cancel()
        bar.stop()


@contextmanager
def _in_notebook(total: int, console: Console) -> Iterator[Callable[[str], None]]:
    """One line that is overwritten and then emptied: a bar of rich would need ipywidgets."""
    from IPython.display import HTML, Pretty, display

    started, begun, shown = time.monotonic(), [], []

    def step(description: str) -> None:
        begun.append(description)
        if time.monotonic() - started < DELAY:
            return
        line: Any = Pretty(f"{description} ({len(begun)}/{total})")
        if shown:
            shown[0].update(line)
        else:
            shown.append(display(line, display_id=True))

    try:
        yield step
    finally:
        if shown:
            shown[0].update(HTML(""))
