"""Inputs of the command line: games, tasks, signals and settings read from files and options."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from stackpyomo.errors import InvalidGame, StackpyomoError
from stackpyomo.games import UNNAMED, Game, read_game
from stackpyomo.incentives import Incentive
from stackpyomo.plans import Plan


def read(path: Path) -> str:
    """The text of a file; raises :class:`InvalidGame`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidGame(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None


def settings_of(options: list[str] | None) -> dict[str, Any]:
    """name=value of --option, as a dict."""
    return dict(assigned("--option", text) for text in options or ())


def load(path: Path, parameters: list[str]) -> tuple[Game, dict[str, Any]]:
    """The game of a JSON or Python file, and its OBSERVE (or a function of the game), FREE and EXPECTED."""
    if path.suffix != ".py":
        if parameters:
            raise InvalidGame(f"{path}: --parameter is for Python files with build(**parameters).")
        game = read_game(path)
        return game, {"OBSERVE": game.observe or "actions"}
    module = _module(path)
    build = getattr(module, "build", None)
    if not callable(build):
        raise InvalidGame(f"{path}: has no function build(); define build(**parameters) returning sp.Game.")
    given = dict(assigned("--parameter", text) for text in parameters)
    call = ", ".join(f"{name}={value!r}" for name, value in given.items())
    with _importing(module), _theirs(path, f"build({call})"):
        game = build(**given)
    if not isinstance(game, Game):
        raise InvalidGame(f"{path}: build() returned {type(game).__name__}; return a stackpyomo Game.")
    names = ("OBSERVE", "FREE", "EXPECTED")
    settings = {name: getattr(module, name) for name in names if hasattr(module, name)}
    if callable(settings.get("OBSERVE")):
        with _importing(module), _theirs(path, "OBSERVE(game)"):
            settings["OBSERVE"] = settings["OBSERVE"](game)
    return game, {"OBSERVE": game.observe or "actions", **settings}


def plan_from(path: Path, game: Game) -> Plan:
    """The plan of that file, a plan's own or what ``solve --json`` wrote; raises :class:`InvalidGame`."""
    with _written(path):
        document = json.loads(read(path))
        return Plan.from_json(json.dumps(document.get("plan", document)), game)


def incentive_from(path: Path, game: Game) -> Incentive:
    """The incentive of that file, its own or what ``solve --json`` wrote; raises :class:`InvalidGame`."""
    with _written(path):
        document = dict(json.loads(read(path)))
        if "incentive" in document:
            if document["incentive"] is None:
                raise InvalidGame("holds no incentive; there was none.")
            document = {**document["incentive"], "plan": document["plan"]}
        return Incentive.from_json(json.dumps(document), game)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """What a file of results does not hold is bad input."""
    try:
        yield
    except InvalidGame as error:
        known = str(error).startswith(f"{path}: ")
        raise error if known else InvalidGame(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InvalidGame(f"{path}: is not what solve --json writes.") from None


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
        raise InvalidGame(f"{path}: {call} raised {_raised(error, path)}") from None


def _raised(error: BaseException, path: Path) -> str:
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
        raise InvalidGame(f"{path}: importing it raised {_raised(error, path)}") from None
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
    return name, math.inf if value == "inf" else parsed(value)


def parsed(text: str) -> Any:
    """A value that is written as JSON, or else as plain text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
        module = sys.modules.get(self.fingerprint)
        if module is None:
            if self.digest() != self.fingerprint:
                raise InvalidGame(f"{self.path}: was changed since the study began.")
            module = _module(Path(self.path), self.fingerprint)
        function = getattr(module, self.name, None)
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
