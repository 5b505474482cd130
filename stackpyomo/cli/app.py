"""The terminal: the application, the options that commands share, and how games, tasks and errors cross it."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from pyomo.common.log import pyomo_handler

from stackpyomo.core import Terminated, said, writable
from stackpyomo.errors import NoIncentive, StackpyomoError

__all__ = [
    "TERMINATED",
    "EquilibriumOption",
    "GameArgument",
    "JobsOption",
    "JsonOption",
    "LimitOption",
    "LogOption",
    "ParameterOption",
    "ReportOption",
    "SeedOption",
    "SettingOption",
    "SolverOption",
    "StartsOption",
    "TiesOption",
    "TreatmentOption",
    "app",
    "complain",
    "deliver",
    "logged",
    "one_line_errors",
    "require_writable",
    "results_only",
    "typed",
]


app = typer.Typer(pretty_exceptions_enable=False)
"""Where commands register; :mod:`.entry` is the application that a terminal meets."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake is one message on standard error and exit code 2, never a traceback."""
    try:
        yield
    except StackpyomoError as error:
        complain(error)
        raise typer.Exit(1 if isinstance(error, NoIncentive) else 2) from None
    except KeyboardInterrupt as told:
        print(TERMINATED if isinstance(told, Terminated) else "stackpyomo: interrupted", file=sys.stderr)
        raise typer.Exit(told.code if isinstance(told, Terminated) else 130) from None


def complain(error: Exception) -> None:
    """Say on standard error what is wrong."""
    print(f"stackpyomo: {error}", file=sys.stderr)


TERMINATED = "stackpyomo: terminated"
"""Said of an end by another signal than Ctrl-C's."""


@contextmanager
def results_only() -> Iterator[None]:
    """A model may print, and Pyomo logs to standard output; that is for the results alone."""
    stream = pyomo_handler.stream
    pyomo_handler.setStream(sys.stderr)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        pyomo_handler.setStream(stream)


# --- options that commands share ----------------------------------------------------------------------------------

GameArgument = Annotated[Path, typer.Argument(help="A JSON game file, or a Python file with build().")]

SolverOption = Annotated[str, typer.Option("--solver", help="auto, pounce, ipopt, cyipopt, highs, scip, …")]

TiesOption = Annotated[
    str, typer.Option(help="Who is favoured where a follower is indifferent: optimistic (the leader) or pessimistic.")
]
EquilibriumOption = Annotated[str, typer.Option(help="Which equilibrium the followers play: auto, any or variational.")]
TreatmentOption = Annotated[
    str,
    typer.Option(
        "--complementarity",
        help="auto, scholtes, fischer-burmeister, penalty, big-m, sos1: how responding followers are written.",
    ),
]

ParameterOption = Annotated[
    list[str] | None, typer.Option("--parameter", help="name=value handed to build(); JSON or plain text.")
]

SettingOption = Annotated[
    list[str] | None,
    typer.Option("--option", help="name=value for the solver of --solver, before its own; may be repeated."),
]

StartsOption = Annotated[int, typer.Option("--starts", help="Starting points for each plan.", min=1)]

SeedOption = Annotated[int, typer.Option("--seed", help="Of what is random: the same seed, the same results.", min=0)]

JobsOption = Annotated[int, typer.Option("--jobs", help="Games side by side.", min=1)]

LimitOption = Annotated[float, typer.Option("--time-limit", help="Seconds for each game.")]

JsonOption = Annotated[
    str | None, typer.Option("--json", help="Write one JSON document to this file; '-': standard output.")
]

ReportOption = Annotated[Path | None, typer.Option("--report", help="Write an HTML page.")]

LogOption = Annotated[
    str | None, typer.Option("--log", help="Write what is logged on the way to this file; '-': standard error.")
]


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["stackpyomo", *sys.argv[1:]])


def deliver(document: dict[str, Any], json_to: str | None) -> bool:
    """Write the document where it is wanted; True: standard output has it, and is to have nothing else."""
    if json_to is None:
        return False
    text = json.dumps(document, indent=2, allow_nan=False)
    if json_to == "-":
        print(text)
        return True
    writable(Path(json_to), text)
    return False


def require_writable(path: str | Path | None) -> None:
    """Better said now than after an hour; "-" is standard output. What is in the file stays until it is written."""
    if path is not None and path != "-":
        new = not Path(path).exists()
        with said(Path(path)), Path(path).open("a", encoding="utf-8"):
            pass
        if new:
            Path(path).unlink()


@contextmanager
def logged(log_to: str | None) -> Iterator[None]:
    """Everything that the package logs, in a file or on standard error."""
    if log_to is None:
        yield
        return
    with said(Path(log_to)):
        handler = logging.StreamHandler() if log_to == "-" else logging.FileHandler(log_to, "w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    ours = logging.getLogger("stackpyomo")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        ours.setLevel(level)
        ours.removeHandler(handler)
        handler.close()
