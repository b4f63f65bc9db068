"""The command `hormesis-fit`: exit codes, one-sentence errors, interruption; what it does stands in commands.py."""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# Typer and the commands are imported inside main(), so that Ctrl-C finds somebody to answer from the first moment on.
from hormesis_fit.cli.output import Failure, Interrupted, Watch, watching

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; by default those of the process, which then ends with this.

    Returns
    -------
    int
        0 with a result, 2 for bad input, 3 for a fit that stayed sick, 130 when interrupted, 1 for our own mistakes.
    """
    debug = os.environ.get("HORMESIS_DEBUG", "0") not in ("", "0")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if debug:
        return _main(arguments, debug=True, to_the_end=argv is None)
    with _quiet():
        code = _main(arguments, debug=False, to_the_end=argv is None)
        if code == INTERRUPTED:
            gc.collect()  # files that were being written complain when they are thrown away: now, and not later aloud
        return code


def _main(arguments: list[str], *, debug: bool, to_the_end: bool) -> int:
    try:
        with watching(to_the_end=to_the_end) as watch:
            code = _run(arguments, watch)
            sys.stdout.flush()
        return code
    except (Interrupted, KeyboardInterrupt):
        return _say("Interrupted; nothing was written.", INTERRUPTED)
    except Failure as failure:
        return _say(str(failure), failure.exit_code)
    except BrokenPipeError:
        # Whoever read our output has closed it: `hormesis-fit data lettuce | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        what = f"{type(error).__name__}: {error}"
        return _say(f"A mistake inside hormesis_fit ({what}): please report it with what HORMESIS_DEBUG=1 shows.", 1)


def _run(argv: list[str], watch: Watch) -> int:
    from typer.main import get_command

    from hormesis_fit.cli.fits import app

    command = get_command(app)
    try:
        code = command.main(argv or ["--help"], prog_name="hormesis-fit", standalone_mode=False, obj=watch)
    except Exception as error:
        watch.check()  # an exception on the way out of an interruption says nothing
        # Typer brings its own copy of click since 0.24: what is common to both is this method.
        if hasattr(error, "format_message"):
            raise Failure(_usage(error, argv)) from None
        raise
    return int(code or 0)


def _usage(error: Exception, argv: list[str]) -> str:
    """One sentence on arguments that make no sense."""
    near = getattr(error, "possibilities", None)
    if near:
        return f"{error.message} (did you mean {near[0]}?)."  # type: ignore[attr-defined]
    message = error.format_message().strip()  # type: ignore[attr-defined]
    for option in getattr(getattr(error, "param", None), "opts", ()):
        value = _given(argv, option)
        if value is not None:
            kind = "a whole number" if "integer" in message else "a number"
            return f"Expected {kind} for {option}, got {value!r}: correct it."
    context = getattr(error, "ctx", None)
    if message.endswith("?") or context is None:
        return message
    return f"{message.rstrip('.')}: see {context.command_path} --help."


def _given(argv: list[str], option: str) -> str | None:
    """Value of an option on the command line."""
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if argument == option:
            return following
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
    return None


def _say(message: str, code: int) -> int:
    """Print one line on stderr."""
    print(" ".join(message.split()), file=sys.stderr)
    return code


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warnings, log messages and last words of libraries off the terminal."""
    disabled, hook = logging.root.manager.disable, sys.unraisablehook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        sys.unraisablehook = lambda _: None
        try:
            yield
        finally:
            logging.disable(disabled)
            sys.unraisablehook = hook


if __name__ == "__main__":
    sys.exit(main())
