"""The frame of every command: its options, its outputs, its errors and its exit code.

A command is a function that returns an :class:`Answer`. :func:`command` gives it the options for outputs, tries their
paths before the work, sends what models and Pyomo print to standard error, and delivers document, page and text.

Options that commands share: what the help says of each, by the name of the parameter that receives it.

A parameter without a default is an argument; ``json_to`` is ``--json``, as every path that is written.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import typer
from pyomo.common.log import pyomo_handler

from stackpyomo.core import Terminated, said, writable
from stackpyomo.errors import NoIncentive, StackpyomoError
from stackpyomo.studies import tuned
from stackpyomo.version import __version__

from .console import in_options
from .inputs import settings_of

#: Where commands register; :mod:`.entry` is the application that a terminal meets.
app = typer.Typer(pretty_exceptions_enable=False)

TERMINATED = "stackpyomo: terminated"  #: The last message of a command that another signal than Ctrl-C's ends.


@dataclass(frozen=True)
class Answer:
    """What a command has to say, for programs and for people."""

    document: dict[str, Any]  #: The version is added where it is written.
    show: Callable[[], None]  #: Prints it.
    code: int = 0  #: Exit code.
    page: Callable[[], str] | None = None  #: Makes the HTML page, where one is asked for.
    #: What ended the work before its time; raised once the rest is delivered.
    interrupted: KeyboardInterrupt | None = None
    complaints: list[Exception] = field(default_factory=list)  #: What is wrong, for standard error.


_OFFERS: dict[str, tuple[str, Any]] = {
    "option": ("option", list[str] | None),
    "json": ("json_to", str | None),
    "report": ("report_to", Path | None),
    "log": ("log_to", str | None),
}


def command(
    example: str, *, name: str = "", offers: str = "option json report log", **words: str
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Register a function as a command, with the options that it shares with others.

    A parameter that is a dataclass becomes an option for each of its fields. example: arguments for the end of the
    help. offers: ``option`` (settings of the solver), ``json``, ``report``, ``log``. words: parameter → its help, where
    it is not that of :data:`.options.HELP`. Parameters named ``..._to`` are paths that are tried before the work.
    """

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        title = name or function.__name__
        groups, options = _parameters(function, [_OFFERS[each] for each in offers.split()], words)

        @wraps(function)
        def run(**given: Any) -> None:
            with one_line_errors():
                raise typer.Exit(_run(function, groups, given, "option" in offers))

        run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        run.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(function.__doc__ or ""))
        run.__annotations__ = {option.name: option.annotation for option in options}
        app.command(title, epilog=f"Example: stackpyomo {title} {example}".rstrip())(run)
        return function

    return register


def _parameters(
    function: Callable[..., Answer], offered: list[tuple[str, Any]], words: dict[str, str]
) -> tuple[dict[str, Any], list[inspect.Parameter]]:
    """The dataclasses among a function's parameters, and all options of its command."""
    kinds = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {}
    options: list[tuple[str, Any, Any]] = []
    for parameter in inspect.signature(function).parameters.values():
        kind = kinds[parameter.name]
        if is_dataclass(kind):
            groups[parameter.name] = kind
            hints = get_type_hints(kind, include_extras=True)
            options += [(each.name, hints[each.name], each.default) for each in fields(kind)]
        else:
            options.append((parameter.name, kind, parameter.default))
    options += [(name, kind, None) for name, kind in offered]
    return groups, [_option(*each, {**HELP, **words}) for each in options]


def _option(name: str, kind: Any, default: Any, words: dict[str, str]) -> inspect.Parameter:
    if get_origin(kind) is not Annotated and default is inspect.Parameter.empty:
        kind = Annotated[kind, typer.Argument(help=words[name])]
    elif get_origin(kind) is not Annotated:
        flag = f"--{name.removesuffix('_to').replace('_', '-')}"
        kind = Annotated[kind, typer.Option(flag, help=words[name], min=LEAST.get(name))]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def _run(function: Callable[..., Answer], groups: dict[str, Any], given: dict[str, Any], tunes: bool) -> int:
    """Run a command and deliver its answer; returns the exit code. tunes: --option is for the command's solver."""
    for path in (path for name, path in given.items() if name.endswith("_to")):
        require_writable(path)
    json_to, report_to, log_to = (given.pop(name, None) for name in ("json_to", "report_to", "log_to"))
    settings = settings_of(given.pop("option")) if tunes else {}
    solver = given.get("solver", "auto")
    for name, kind in groups.items():
        given[name] = kind(**{each.name: given.pop(each.name) for each in fields(kind)})
        solver = getattr(given[name], "solver", solver)
    with results_only(), logged(log_to), tuned(solver, settings) if settings else nullcontext():
        answer = function(**given)
        page = None if report_to is None or answer.page is None else answer.page()
    if page is not None:
        writable(report_to, page)
    for error in answer.complaints:
        _complain(error)
    named = {"game": answer.document["game"]} if "game" in answer.document else {}
    if not _is_document_only({**named, "version": __version__, **answer.document}, json_to):
        answer.show()
    if answer.interrupted is not None:
        raise answer.interrupted
    return answer.code


# --- errors -----------------------------------------------------------------------------------------------------------


@contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake is one message on standard error and exit code 2, never a traceback."""
    try:
        yield
    except StackpyomoError as error:
        _complain(error)
        raise typer.Exit(1 if isinstance(error, NoIncentive) else 2) from None
    except KeyboardInterrupt as interrupt:
        print(TERMINATED if isinstance(interrupt, Terminated) else "stackpyomo: interrupted", file=sys.stderr)
        raise typer.Exit(interrupt.code if isinstance(interrupt, Terminated) else 130) from None


def _complain(error: Exception) -> None:
    print(f"stackpyomo: {in_options(str(error))}", file=sys.stderr)


# --- outputs ----------------------------------------------------------------------------------------------------------


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


def require_writable(path: str | Path | None) -> None:
    """An error now and not after an hour; "-" is standard output. What the file holds stays until it is written."""
    if path is not None and str(path) != "-":
        new = not Path(path).exists()
        with said(Path(path)), Path(path).open("a", encoding="utf-8"):
            pass
        if new:
            Path(path).unlink()


def _is_document_only(document: dict[str, Any], json_to: str | None) -> bool:
    """Write the document where one is asked for; True: standard output has it, and is to have nothing else."""
    if json_to is None:
        return False
    text = json.dumps(document, indent=2, allow_nan=False)
    if json_to == "-":
        print(text)
        return True
    writable(Path(json_to), text)
    return False


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["stackpyomo", *sys.argv[1:]])


HELP = {
    "allow_nonconvex": "Let followers respond who are proved nonconvex.",
    "build": "name=value for build(); repeatable.",
    "candidates": "A CSV file of what could be announced next, ranked by what it would reveal.",
    "catalogue": "A JSON list of games, each with its reference.",
    "certificate": "What solve --certificate wrote.",
    "certificate_to": "Write a proof to this file, for stackpyomo check.",
    "certify": "auto, proof, or one kind of evidence alone: convex, global, multistart.",
    "common": "With --second-best: an indexed leader Var whose entries announce one rule; repeatable.",
    "complementarity": "For responding followers: auto, scholtes, fischer-burmeister, penalty, big-m, sos1.",
    "contract_to": "Write the terms of the contract to this CSV file.",
    "curvature": "auto, none, or the least curvature of each follower's cost under the rule.",
    "dask": "A scheduler, tcp://host:port, or local[:n]: n workers on this machine.",
    "data": "A CSV file: a row for each time, columns by component name.",
    "design": "slopes (first-order conditions), deviations (any follower problem), or auto: slopes first.",
    "equilibrium": "Which equilibrium the followers play: auto, any or variational.",
    "free": "A leader variable whose planned value may be chosen anew; repeatable.",
    "gain_bounds": "low,high for every gain, or VARIABLE=low,high; repeatable; a side may be empty.",
    "game": "A JSON game file, or a Python file with build().",
    "games": "A JSON game or list of games, or a Python file with build().",
    "incentive": "An incentive as JSON, or what solve --json wrote.",
    "jobs": "Number of games solved in parallel.",
    "json_to": "Write one JSON document to this file; -: to standard output.",
    "log_to": "Write the log to this file; -: to standard error.",
    "margin": "Least cost of a deviation in integer actions.",
    "method": "responses, or residuals: of the optimality conditions.",
    "multipliers": "zero, or free: followers' own active constraints may support the plan. (default: zero)",
    "noise": "Largest error of a reading; also gives all values that explain every row.",
    "observe": "A Var or Expression that the leader sees; repeatable; or actions: every action.",
    "option": "name=value for the solver of --solver; repeatable.",
    "parameter": "name=value for build(), as JSON or plain text; repeatable.",
    "parquet_to": "Write the table as Parquet.",
    "payment": "A named Expression or Var of --free variables to be minimised; if indexed, its sum.",
    "payment_limit": "Upper limit of --payment, within which the gain is minimised.",
    "plan": "A plan as JSON, or what solve --json wrote.",
    "plot_to": "Draw performance profiles into this file.",
    "prefer": "Among the gains that hold: energy (the least one) or sparsest.",
    "proof_seconds": "Seconds for all proofs by a global solver.",
    "quadratic": "Add a squared term where no gain makes a follower's cost convex.",
    "regret": "zero, or least: the best rule where none holds every follower.",
    "report_to": "Write an HTML page to this file.",
    "responding": "A follower who answers optimally and does not serve the leader; repeatable; or all.",
    "retry_failed": "Run again the rows that failed.",
    "rule": "label=FILE: the rule of the rows with that label in column rule, as solve --json wrote it.",
    "saturate": "Announce the rule projected on the leader's bounds.",
    "second_best": "Choose plan and rule together, where no rule holds the leader's optimum.",
    "seed": "Random seed: the same seed gives the same results.",
    "solver": "auto, pounce, ipopt, cyipopt, highs, scip, …",
    "starts": "Starting points for each plan.",
    "store": "Append finished rows to this file; the same command resumes from it.",
    "task": "FILE.py:function; it returns a number or a dict of results.",
    "tie_tolerance": "With --ties pessimistic: the largest difference in a follower's cost that is a tie.",
    "ties": "Who is favoured where a follower is indifferent: optimistic (the leader) or pessimistic.",
    "time_limit": "Seconds for each game.",
    "tolerance": "Relative distance to the reference within which an objective is right.",
    "workers": "Number of worker processes; without it, this process alone.",
    "write_to": "Write the game to this JSON file, to edit and solve.",
}

LEAST = {"jobs": 1, "seed": 0, "starts": 1, "workers": 1}  #: Smallest values.
