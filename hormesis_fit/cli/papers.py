"""The command `hormesis-fit paper`: methods and tables of a paper, from a fit."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from hormesis_fit.cli.options import bad_input
from hormesis_fit.cli.output import Failure
from hormesis_fit.cli.plans import read_fit


def paper(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="fit.nc, or the folder that holds it.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="latex|docx|html", help="What to write; again for more.  [default: all]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.  [default: FIT-paper]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names.")] = False,
) -> None:
    """Write the methods, tables and references of a paper."""
    path = fit / "fit.nc" if fit.is_dir() else fit
    home = Path(os.path.realpath(path)).parent
    target = Path(os.path.realpath((out or home.with_name(f"{home.name}-paper")).expanduser()))
    if target.exists() and not target.is_dir():
        raise Failure(f"{target} is a file: choose a folder with --out.")
    known = read_fit(path)
    from hormesis_fit.report.typesetting import WRITERS, write_paper

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Written elsewhere first: no half file ever.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.partial-") as draft, bad_input():
            written = write_paper(known, draft, formats=formats or list(WRITERS))
            there = [one.name for one in written if (target / one.name).exists()]
            if there and not overwrite:
                raise Failure(
                    f"{target / there[0]} exists already: add --overwrite to replace it, or choose another folder "
                    "with --out."
                )
            target.mkdir(exist_ok=True)
            for one in written:
                one.replace(target / one.name)
    except OSError as error:
        raise Failure(f"The folder {target} cannot be used ({error.strerror}): choose another with --out.") from None
    typer.echo(f"Files: {target} ({', '.join(one.name for one in written)})")
