"""The command line: ``stackpyomo demo | solve | verify | check | compare | study | bench | doctor``.

Exit code 0: verified. 1: not verified, or no incentive exists. 2: bad input or no solver, said in one line on
standard error.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stackpyomo.core import unwinding
from stackpyomo.errors import InvalidGame
from stackpyomo.verification import checker
from stackpyomo.version import __version__

from . import bench, doctor, solve
from .app import TERMINATED, app, complain, one_line_errors
from .compare import compare_command
from .study import study_command
from .verify import verify_command

__all__ = ["main"]

_REGISTERED = (solve, bench, doctor)
"""Modules whose commands stand in the application once they are imported."""


def main() -> None:
    """Entry point of the ``stackpyomo`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our letters
    try:
        with unwinding(TERMINATED):
            try:
                app()
            finally:
                sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(InvalidGame(f"standard output cannot be written ({error.strerror})."))
        sys.stderr.flush()
        os._exit(1 if isinstance(error, BrokenPipeError) else 2)  # at a normal exit Python would try again


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stackpyomo {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_EXAMPLES: dict[str, tuple[Any, str]] = {
    "verify": (verify_command, "models/two_roads.py --incentive solved.json"),
    "compare": (compare_command, "models/literature/bilevel.json --solver auto,scip --plot profiles.png"),
    "study": (study_command, "TASK.py:regret --grid size=10,100 --grid noise=0,0.5 --store regret.jsonl"),
}


for _name, (_command, _example) in _EXAMPLES.items():
    app.command(_name, epilog=f"Example: stackpyomo {_name} {_example}")(_command)


@app.command(epilog="Example: stackpyomo check certificate.json")
@one_line_errors()
def check(certificate: Annotated[Path, typer.Argument(help="What report.to_certificate wrote.")]) -> None:
    """Derive anew, without a solver, what each follower of a certificate could gain by leaving the plan.

    Exit code 0: every claim is confirmed. 1: one is not. 2: no certificate, or one that was changed.
    """
    raise typer.Exit(checker.main(str(certificate)))


if __name__ == "__main__":
    main()
