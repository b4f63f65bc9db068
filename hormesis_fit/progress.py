"""A progress bar that appears only when somebody has begun to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

DELAY = 2.0  # seconds


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show progress over `total` steps, in a terminal or a notebook, if they take longer than two seconds.

    Yields
    ------
    callable
        To be called with a description at the start of each step.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    console = Console(stderr=True)
    watched = console.is_terminal or console.is_jupyter
    bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not watched)
    task = bar.add_task("", total=total)
    started = [False]

    def step(description: str) -> None:
        bar.update(task, description=description, advance=1.0 if started[0] else 0.0)
        started[0] = True

    timer = threading.Timer(DELAY, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield step
    finally:
        timer.cancel()
        bar.stop()
