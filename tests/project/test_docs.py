"""The documentation: it builds without a warning, leaves no public name out, and its commands run."""

from __future__ import annotations

import ast
import doctest
import inspect
import os
import pydoc
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import environment
from helpers.processes import Command
from numpydoc.hooks.validate_docstrings import parse_config
from numpydoc.validate import validate

import stackpyomo as sp
from stackpyomo.reporting import plots

HOME = Path(__file__).resolve().parents[2]
DOCS = HOME / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]
HAS_SPHINX = pytest.mark.skipif(find_spec("sphinx") is None, reason='pip install "stackpyomo[docs]"')

# --- the site -----------------------------------------------------------------------------------------------------


def built(folder: Path) -> Path:
    """The pages as HTML, warnings as errors."""
    how = ["-W", "--keep-going", "-n", "-q", "-E", "-b", "html", "-d", os.fspath(folder / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *how, os.fspath(DOCS), os.fspath(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(folder), timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


FILE = re.compile(
    r"`((?:benchmarks|docs|hunts|models|notebooks|stackpyomo|tests)/[\w/.-]+\.(?:csv|ipynb|json|md|py|svg))`"
)


def test_every_file_that_a_page_names_is_there() -> None:
    pages = [*HOME.glob("*.md"), *PAGES, *HOME.glob("benchmarks/*.md"), *HOME.glob("models/**/*.md")]
    named = {(page.name, file) for page in pages for file in FILE.findall(page.read_text(encoding="utf-8"))}
    named |= {
        (page.name, file) for page in HOME.glob("notebooks/*.ipynb") for file in FILE.findall(page.read_text("utf-8"))
    }
    assert len(named) > 50
    assert not sorted((page, file) for page, file in named if not (HOME / file).is_file())


@pytest.mark.slow
@HAS_SPHINX
def test_the_site_is_built(tmp_path: Path) -> None:
    """Every page, a figure for each model, and a place in the reference for every public name."""
    from sphinx.util.inventory import InventoryFile

    site = built(tmp_path)
    for name in NAMES:
        assert (site / name).with_suffix(".html").is_file()
    with (site / "objects.inv").open("rb") as stream:
        inventory = InventoryFile.load(stream, "", os.path.join)
    documented = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    assert [name for name, _ in public() if name not in documented] == []
    pictures = {path.stem for path in (site / "_images").glob("*.svg")}
    models = {path.stem for path in (HOME / "models").glob("[a-z]*.py")} | {"literature"}
    assert models <= pictures, "every model has a page in the gallery, with a figure"
    assert models == {name[8:-3] for name in NAMES if name.startswith("gallery/")} - {"index"}


# --- public names -------------------------------------------------------------------------------------------------


def plain(part: Any) -> Any:
    """The function behind a method or a property."""
    part = part.__func__ if isinstance(part, (classmethod, staticmethod)) else part
    return getattr(part, "fget", None) or getattr(part, "func", None) or part


def attributes(tree: ast.AST) -> set[str]:
    """Fields of a dataclass, and what methods assign to ``self``."""
    targets: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets += [t for target in node.targets for t in getattr(target, "elts", [target])]
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    found = {t.attr for t in targets if isinstance(t, ast.Attribute) and getattr(t.value, "id", "") == "self"}
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        found |= {n.target.id for n in kind.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def parts(kind: type) -> dict[str, str]:
    """Public methods, properties and attributes → docstring, also of what it extends in this package."""
    from sphinx.pycode import ModuleAnalyzer

    found: dict[str, str] = {}
    for base in reversed([b for b in kind.__mro__ if b.__module__.startswith("stackpyomo")]):
        told = ModuleAnalyzer.for_module(base.__module__)
        told.analyze()
        for name in attributes(ast.parse(inspect.getsource(base))):
            found[name] = " ".join(told.attr_docs.get((base.__name__, name), ())) or found.get(name, "")
        methods = {name: plain(part) for name, part in vars(base).items() if not name.startswith("_")}
        found |= {name: inspect.getdoc(m) or "" for name, m in methods.items() if inspect.isfunction(m)}
    return found


def public() -> Iterator[tuple[str, str]]:
    """(name in the reference, docstring) of all that is public."""
    for name in sp.__all__:
        thing = getattr(sp, name)
        yield f"stackpyomo.{name}", inspect.getdoc(thing) or ""
        if inspect.isclass(thing):
            yield from ((f"stackpyomo.{name}.{part}", text) for part, text in parts(thing).items())
    for name in plots.__all__:
        yield f"stackpyomo.plots.{name}", inspect.getdoc(getattr(plots, name)) or ""


@HAS_SPHINX
def test_every_public_name_has_a_docstring() -> None:
    names = dict(public())
    assert {"stackpyomo.Game.followers", "stackpyomo.Follower.variables", "stackpyomo.NoPlan.termination"} < set(names)
    assert [name for name, text in names.items() if len(text.strip()) < 10] == []


GIVEN = (Exception, Enum, list, pyo.Expression, sp.KKT)
"""Classes that nobody makes by calling them; dataclasses say of each field what it is."""


def rendered() -> dict[str, Any]:
    """What the reference shows, by name: public names, what pages take from the sub-packages, and their methods."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    shown = {*re.findall(r"auto\w+:: (\S+)", pages), *(f"stackpyomo.{name}" for name in sp.__all__)}
    things = {name: pydoc.locate(name) for name in sorted(shown)}
    for name, kind in [(name, thing) for name, thing in things.items() if inspect.isclass(thing)]:
        ours = [base for base in kind.__mro__ if base.__module__.startswith("stackpyomo")]
        things |= {f"{name}.{part}": getattr(kind, part) for base in ours for part in vars(base) if part[0] != "_"}
    return {name: plain(thing) for name, thing in things.items()}


@pytest.mark.slow
def test_public_docstrings_are_numpydoc() -> None:
    """What takes nothing may say what it gives in one line, and classes that are given have no parameters."""
    checks, faults = parse_config(HOME)["checks"], {}
    for name, thing in rendered().items():
        if not (inspect.isclass(thing) or inspect.isfunction(thing)) or not thing.__doc__:
            continue  # a module, a constant, what a class extends
        idle = inspect.isfunction(thing) and inspect.signature(thing).parameters.keys() <= {"self", "cls"}
        given = inspect.isclass(thing) and (is_dataclass(thing) or issubclass(thing, GIVEN))
        spared = {"RT01"} if idle else {"PR01"} if given else set()
        faults |= {f"{name} {code}": text for code, text in validate(name)["errors"] if code in checks - spared}
    assert faults == {}
    assert {"stackpyomo.plots.regret", "stackpyomo.Scenarios.atoms", "stackpyomo.Plan.to_latex"} < set(rendered())


def test_examples_in_docstrings_run() -> None:
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for name, thing in rendered().items():
        for example in finder.find(thing, name, globs={"sp": sp, "pyo": pyo}) if thing.__doc__ else ():
            runner.run(example)
    assert (runner.failures, runner.tries > 5) == (0, True)


# --- errors -------------------------------------------------------------------------------------------------------

ERRORS = {name for name in sp.__all__ if inspect.isclass(kind := getattr(sp, name)) and issubclass(kind, Exception)}


def raised(function: Any, seen: set[str]) -> set[str]:
    """Our errors that the function raises, itself or in functions of its module that it calls by name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    seen.add(function.__qualname__)
    thrown = (n.exc.func if isinstance(n.exc, ast.Call) else n.exc for n in ast.walk(tree) if isinstance(n, ast.Raise))
    found = {e.id for e in thrown if isinstance(e, ast.Name)} & ERRORS
    if any(isinstance(node, ast.Try) for node in ast.walk(tree)):
        return found  # what is called may be caught
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    for name in called - seen:
        helper = function.__globals__.get(name)
        if inspect.isfunction(helper) and helper.__module__ == function.__module__:
            found |= raised(helper, seen)
    return found


def functions() -> Iterator[tuple[str, Any, str]]:
    """(name, function, what a reader is told) of all that is public; a constructor is told by its class."""
    things = {name: getattr(sp, name) for name in sp.__all__}
    things |= {f"plots.{name}": getattr(plots, name) for name in plots.__all__}
    for name, thing in things.items():
        if inspect.isfunction(thing):
            yield name, thing, inspect.getdoc(thing) or ""
        for key, part in vars(thing).items() if inspect.isclass(thing) else ():
            method, makes = plain(part), key in ("__init__", "__post_init__")
            ours = inspect.isfunction(method) and method.__code__.co_filename.startswith(os.fspath(HOME))
            if ours and (makes or not key.startswith("_")):
                yield f"{name}.{key}", method, inspect.getdoc(thing if makes else method) or ""


def test_functions_name_the_errors_they_raise() -> None:
    told = {name: {e for e in raised(function, set()) if e not in text} for name, function, text in functions()}
    assert {"verify", "Game.check", "Population.__post_init__", "plots.regret"} < set(told)
    assert {name: errors for name, errors in told.items() if errors} == {}


# --- code in pages ------------------------------------------------------------------------------------------------

FENCE = re.compile(r"^(`{3,}|:{3,})[ ]*([^\n`]*)\n(.*?)^\1[ ]*$", re.DOTALL | re.MULTILINE)
OURS = ("stackpyomo ", "python -m models.")
"""What is run."""
NOT_RUN = (
    "make ",  # sets up an environment of its own
    "pip install ",
    "python -m pip install ",
    "git clone ",
    "cd ",
    "python3 -m venv ",
    ". .venv/bin/activate",
    "dask ",  # a cluster
    "mpiexec ",  # another one
    "mpirun ",
    "conda ",
)
"""What is not run, by how it begins."""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of the fenced blocks."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield match[2].strip(), match[3]


def commands(page: Path) -> list[str]:
    """The lines of the shell blocks, continued ones joined."""
    text = "\n".join(text for language, text in blocks(page) if language in ("sh", "bash", "shell", "console"))
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", NAMES)
def test_python_is_shown_with_its_results(name: str) -> None:
    silent = [text for language, text in blocks(DOCS / name) if language in ("python", "py", "python3", "pycon")]
    assert [text for text in silent if ">>> " not in text] == [], "write it as a doctest; it is run"
    typed = "".join(text for language, text in blocks(DOCS / name) if language not in ("python",))
    assert ">>> " not in typed, "a doctest stands in a block of its own, ```python"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if commands(DOCS / name)])
def test_commands_run(name: str, tmp_path: Path) -> None:
    for package in re.findall(r'importorskip\("(\w+)"', (DOCS / name).read_text(encoding="utf-8")):
        pytest.importorskip(package)
    for folder in ("models", "docs"):
        shutil.copytree(HOME / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "_*"))
    for line in commands(DOCS / name):
        if line.startswith(NOT_RUN):
            continue
        assert line.startswith(OURS), f"{line}: neither run nor in NOT_RUN"
        words = shlex.split(line, comments=True)
        with Command(words[2:] if words[0] == "python" else words, tmp_path, tmp_path) as command:
            done = command.ended(300)
        wanted = int(told[1]) if (told := re.search(r"#\s*exit (\d+)\s*$", line)) else 0
        assert done.code == wanted, f"{line}\n{done.out}\n{done.err}"


# --- the checks themselves ----------------------------------------------------------------------------------------

PAGE = """
```python
>>> 1 + 1
2

```

````text
```python
inside
```
````

```sh
# a remark
stackpyomo solve game.json \\
    --json -
make demo
```

```python
silent = 1
```
"""


def test_the_search_for_blocks_and_commands_finds_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert [language for language, _ in blocks(page)] == ["python", "text", "sh", "python"]
    assert [" ".join(line.split()) for line in commands(page)] == ["stackpyomo solve game.json --json -", "make demo"]


def test_the_search_for_errors_finds_them() -> None:
    assert raised(sp.Game.check, set()) == set()
    assert raised(sp.Population.__post_init__, set()) == {"InvalidGame"}
    assert raised(plots.leaders, set()) == {"InvalidGame", "StackpyomoError"}, "through functions it calls"
    assert attributes(ast.parse("class A:\n    x: int\n    def f(self):\n        self.y, self._z = 1, 2")) == {"x", "y"}


def test_every_command_has_its_section() -> None:
    from stackpyomo.cli.commands import app

    page = (DOCS / "reference" / "command_line.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert command.hidden or f".. command-help:: {command.name or command.callback.__name__}\n" in page
