"""The command line: ``stackpyomo demo | solve | verify | …``.

Exit code 0: verified. 1: not verified, or no incentive exists. 2: bad input or no solver, said in one line on
standard error. Version and help are answered at once: the commands are imported when one is to run.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from stackpyomo.version import __version__

_SUMMARIES = {
    "demo": "Solve a small built-in game: its plan, the contract, and the report. Needs no file.",
    "solve": "Find the plan the leader wants, the incentive that makes the followers want it, and verify it.",
    "verify": "Re-solve every follower against a plan or an incentive; without one, against the values of the model.",
    "check": "Derive anew, without a solver, what each follower of a certificate could gain by leaving the plan.",
    "check-game": "Look at a game before it is solved: what would be refused, what is doubtful, what to do.",
    "inducible": "Decide for each follower whether any announcement, affine or not, can make the plan its best choice.",
    "export": "Write the game with its followers replaced by their optimality conditions, as a file for other solvers.",
    "fit": "Estimate followers' parameters from what was announced and what they did; say what the data leave open.",
    "compare": "Solve every game by every solver and treatment, all followers responding; compare what each proved.",
    "study": "Run a function over a grid of parameters, on one process or many; an interrupted study resumes.",
    "bench": "Solve every game of a catalogue with all followers responding, and compare with its reference.",
    "doctor": "List every solver known, which are installed, and solve one tiny problem with each.",
}  # What the list of commands says of each; the docstring of each begins with it.


class _Commands(TyperGroup):
    """The commands by name; the modules that hold them are imported when one is to run, or to say its options.

    Contexts are of ``Any`` type: Click's in some versions of Typer, its own in others.
    """

    def list_commands(self, _: Any) -> list[str]:
        return list(_SUMMARIES)

    def get_command(self, _: Any, cmd_name: str) -> TyperCommand | None:
        return TyperCommand(cmd_name, short_help=_SUMMARIES[cmd_name]) if cmd_name in _SUMMARIES else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        whole = typer.main.get_command(_loaded().app)
        assert isinstance(whole, TyperGroup)
        return whole.resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _loaded().unwound():
            return super().invoke(ctx)


def _loaded() -> ModuleType:
    return importlib.import_module(f"{__package__}.commands")


app = typer.Typer(
    cls=_Commands,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain: what draws boxes takes a third of the time until the first line
    help="Incentive design in Stackelberg games, on Pyomo. Start with: stackpyomo demo",
    epilog="Exit code 0: verified. 1: not verified, or there is no incentive. 2: bad input, or no solver.",
)


def main() -> None:
    """Entry point of the ``stackpyomo`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks some letters
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"stackpyomo: standard output cannot be written ({error.strerror}).", file=sys.stderr)
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


if __name__ == "__main__":
    main()
