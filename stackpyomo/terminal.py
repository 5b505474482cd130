"""The terminal: the application, the options that commands share, and how games, tasks and errors cross it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import math
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pyomo.environ as pyo
import typer
from pyomo.common.log import pyomo_handler

from .endings import Terminated
from .errors import InvalidGame, NoIncentive, StackpyomoError
from .games import Game, read_game
from .interchange import said, writable
from .structure import UNNAMED

__all__ = [
    "TERMINATED",
    "FileTask",
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
    "TreatmentOption",
    "app",
    "assigned",
    "complain",
    "deliver",
    "load",
    "logged",
    "one_line_errors",
    "paid",
    "read",
    "require_writable",
    "results_only",
    "said",
    "seen",
    "settings_of",
    "titled",
    "typed",
    "writable",
]

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Incentive design in Stackelberg games, on Pyomo. Start with: stackpyomo demo",
    epilog="Exit code 0: verified. 1: not verified, or there is no incentive. 2: bad input, or no solver.",
)


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


def read(path: Path) -> str:
    """The text of a file; raises :class:`InvalidGame`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidGame(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None


@contextmanager
def logged(log_to: str | None) -> Iterator[None]:
    """Everything that the package logs, in a file or on standard error."""
    if log_to is None:
        yield
        return
    with said(Path(log_to)):
        handler = logging.StreamHandler() if log_to == "-" else logging.FileHandler(log_to, "w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    ours = logging.getLogger(__package__)
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        ours.setLevel(level)
        ours.removeHandler(handler)
        handler.close()


def settings_of(options: list[str] | None) -> dict[str, Any]:
    """name=value of --option, as a dict."""
    return dict(assigned("--option", text) for text in options or ())


def load(path: Path, parameters: list[str]) -> tuple[Game, dict[str, Any]]:
    """The game of a JSON or Python file, and the OBSERVE (or a function of the game), FREE, EXPECTED it may set."""
    if path.suffix != ".py":
        if parameters:
            raise InvalidGame(f"{path}: --parameter is for Python files with build(**parameters).")
        return read_game(path), {}
    module = _module(path)
    build = getattr(module, "build", None)
    if not callable(build):
        raise InvalidGame(f"{path}: has no function build(); define build(**parameters) returning sp.Game.")
    given = dict(assigned("--parameter", text) for text in parameters)
    with _importing(module), _theirs(path, f"build({_call(given)})"):
        game = build(**given)
    if not isinstance(game, Game):
        raise InvalidGame(f"{path}: build() returned {type(game).__name__}; return a stackpyomo Game.")
    names = ("OBSERVE", "FREE", "EXPECTED")
    settings = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if callable(settings.get("OBSERVE")):
        with _importing(module), _theirs(path, "OBSERVE(game)"):
            settings["OBSERVE"] = settings["OBSERVE"](game)
    return game, settings


def seen(observe: list[str] | None) -> Any:
    """What --observe names, as :func:`stackpyomo.affine_incentive` takes it."""
    return "actions" if observe == ["actions"] else observe


def paid(game: Game, name: str) -> Any:
    """What --payment names; the sum of what is indexed."""
    found = game.component(name)
    if getattr(found, "ctype", None) not in (pyo.Var, pyo.Expression):
        raise InvalidGame(f"--payment {name}: expected a named Expression or a Var.")
    return pyo.quicksum(found.values()) if found.is_indexed() else found


def titled(game: Game, path: Path) -> str:
    """The heading of a page: the game's name, or its file's where the model has none."""
    return path.stem if game.name == UNNAMED else game.name


@contextmanager
def _theirs(path: Path, call: str) -> Iterator[None]:
    """What a model file raises is bad input."""
    try:
        yield
    except StackpyomoError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidGame(f"{path}: {call} raised {_told(error, path)}") from None


def _told(error: BaseException, path: Path) -> str:
    """What was raised, and in which line of the file, where it is one of its lines."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    return f"{type(error).__name__}: {error}" + (f" (line {frames[-1].lineno}: {frames[-1].line})" if frames else "")


def _module(path: Path, name: str = "") -> ModuleType:
    """Import a Python file by its path, with its folder importable."""
    if not path.is_file():
        raise InvalidGame(f"{path}: no such file.")
    spec = importlib.util.spec_from_file_location(name or path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    before = list(sys.path)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
        module.__search__ = [entry for entry in sys.path if entry not in before]  # type: ignore[attr-defined]
    except SyntaxError as error:
        raise InvalidGame(f"{path}:{error.lineno}:{error.offset}: {error.msg}.") from None
    except StackpyomoError:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidGame(f"{path}: importing it raised {_told(error, path)}") from None
    finally:
        sys.path[:] = before
    return module


@contextmanager
def _importing(module: ModuleType) -> Iterator[None]:
    """While a function of the file runs, it may import what the file could: from its folder and what it added."""
    search = getattr(module, "__search__", [])
    sys.path[:0] = search
    try:
        yield
    finally:
        for entry in search:
            if entry in sys.path:
                sys.path.remove(entry)  # one of its own: another thread may have the same


def assigned(flag: str, text: str) -> tuple[str, Any]:
    """name=value; the value is read as JSON (4, true, "x") where it is JSON, inf as infinity, else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidGame(f"{flag} {text}: expected name=value.")
    if value == "inf":
        return name, math.inf
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _call(given: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


@dataclass(frozen=True)
class FileTask:
    """A function of a Python file, as a task that every process finds anew, and that knows when the file changed."""

    path: str
    name: str
    fingerprint: str = ""

    @classmethod
    def named(cls, text: str) -> FileTask:
        """The task of ``FILE.py:function``; raises :class:`InvalidGame`."""
        path, colon, name = text.rpartition(":")
        if not colon or not name.isidentifier():
            raise InvalidGame(f"{text}: expected FILE.py:function.")
        if not Path(path).is_file():
            raise InvalidGame(f"{path}: no such file.")
        task = cls(str(Path(path).resolve()), name)
        task = replace(task, fingerprint=task.digest())
        task.load()
        return task

    def digest(self) -> str:
        """Of the function's name and the whole file: what it calls is part of it."""
        return f"{self.name}:{hashlib.sha256(Path(self.path).read_bytes()).hexdigest()[:16]}"

    def load(self) -> Callable[..., Any]:
        """The function, of the file as it was when the study began."""
        held = sys.modules.get(self.fingerprint)
        if held is None:
            if self.digest() != self.fingerprint:
                raise InvalidGame(f"{self.path}: was changed since the study began.")
            held = _module(Path(self.path), self.fingerprint)
        function = getattr(held, self.name, None)
        if not callable(function):
            raise InvalidGame(f"{self.path}: has no function {self.name}(); define it.")
        return function  # type: ignore[no-any-return]

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.load()  # whose parameters are those of the task

    def __call__(self, **parameters: Any) -> Any:
        function = self.load()
        with _importing(sys.modules[self.fingerprint]):
            return function(**parameters)
