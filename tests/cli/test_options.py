"""What the help says of each option: said once, and of options that there are."""

from __future__ import annotations

import typer

from stackpyomo.cli import commands
from stackpyomo.cli.options import HELP, LEAST


def test_every_help_is_shown_by_some_command() -> None:
    whole = typer.main.get_command(commands.app)
    parameters = [part for command in whole.commands.values() for part in command.params]  # type: ignore[attr-defined]
    shown = {str(part.help) for part in parameters}
    assert [name for name, words in HELP.items() if words not in shown] == []
    assert set(LEAST) <= {part.name for part in parameters}
    assert all(part.help for part in parameters)
