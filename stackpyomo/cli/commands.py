"""Every command in one application: what :mod:`.entry` loads once a command is to run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from stackpyomo.core import unwinding
from stackpyomo.verification import checker

from . import bench_command, doctor_command, fit_command, solve_command
from .app import TERMINATED, app, one_line_errors
from .compare_command import compare_command
from .study_command import study_command
from .verify_command import verify_command

__all__ = ["app", "unwound"]

_REGISTERED = (solve_command, fit_command, bench_command, doctor_command)
"""Modules whose commands stand in the application once they are imported."""


@contextmanager
def unwound() -> Iterator[None]:
    """A command that is told to end (SIGTERM, SIGHUP) ends in order, with what it printed on its way."""
    with unwinding(TERMINATED):
        try:
            yield
        finally:
            sys.stdout.flush()


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
