"""Commands: each says what it does, in the list as by itself."""

from __future__ import annotations

import sys

import pytest
import typer

from stackpyomo.cli import commands, entry


def test_the_list_of_commands_says_what_their_docstrings_say() -> None:
    whole = typer.main.get_command(commands.app)
    documented = {n: c.help.split("\n\n")[0].replace("\n", " ") for n, c in whole.commands.items() if not c.hidden}
    listed = typer.main.get_command(entry.app)
    names = listed.list_commands(None)
    assert {n: listed.get_command(None, n).short_help for n in names} == documented


def test_every_command_says_what_it_does() -> None:
    public = [command.callback for command in commands.app.registered_commands]
    assert [c.__name__ for c in public if c is not None and len(c.__doc__ or "") < 15] == []
    assert len(public) > 6


def test_what_was_printed_is_out_before_a_command_ends(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with commands.unwound():
            print("half of it")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert capfd.readouterr().out == "half of it\n"
    assert not sys.stdout.closed
