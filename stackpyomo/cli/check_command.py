"""``stackpyomo check`` and ``check-game``: a certificate without a solver, a game before it is solved."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit

from stackpyomo.verification import checker

from .app import Answer, app, command, one_line_errors
from .console import show_findings
from .inputs import load


@app.command(epilog="Example: stackpyomo check certificate.json")
@one_line_errors()
def check(certificate: Annotated[Path, Argument(help="What solve --certificate wrote.")]) -> None:
    """Derive anew, without a solver, what each follower of a certificate could gain by leaving the plan.

    Exit code 0: every claim is confirmed. 1: one is not. 2: no certificate, or one that was changed.
    """
    raise Exit(checker.main(str(certificate)))


@command("models/two_roads.py", name="check-game", offers="json log")
def check_game(game: Path, parameter: list[str] | None = None) -> Answer:
    """Look at a game before it is solved: what would be refused, what is doubtful, what to do.

    Exit code 0: nothing but remarks. 1: something is doubtful. 2: the game cannot be used.
    """
    loaded, _ = load(game, parameter or [])
    findings = loaded.check()
    document = {"game": loaded.name, "findings": [asdict(finding) for finding in findings]}
    severities = {finding.severity for finding in findings}
    code = 2 if "error" in severities else 1 if "warning" in severities else 0
    return Answer(document, partial(show_findings, findings, f"{loaded.name}: no findings."), code)
