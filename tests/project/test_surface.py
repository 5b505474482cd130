"""The public surface: what users call, by name, signature and field, and what an import of it costs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import stackpyomo as sp
from models import two_roads

SURFACE = Path(__file__).with_name("surface.txt")


def described(name: str, thing: Any) -> Iterator[str]:
    """A line for a function, and one for each field, property and method of a class that its users may call."""
    if inspect.isclass(thing):
        yield f"class {name}"
        fields = {f.name for f in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
        for part in sorted(n for n in {*dir(thing), *fields} if not n.startswith("_")):
            member = inspect.getattr_static(thing, part, None)
            if isinstance(member, (staticmethod, classmethod)):
                member = member.__func__
            if inspect.isfunction(member) and member.__module__.startswith("stackpyomo"):
                yield f"{name}.{part}{shown(member)}"
            elif part in fields or (isinstance(member, property) or type(member).__name__ == "cached_property"):
                yield f"{name}.{part}"
    elif inspect.isfunction(thing):
        yield f"{name}{shown(thing)}"
    elif inspect.ismodule(thing):
        for part in thing.__all__:
            yield from described(f"{name}.{part}", getattr(thing, part))
    else:
        yield name


def shown(function: Any) -> str:
    """Names, kinds and defaults of its parameters; annotations are the type checker's."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def written() -> Iterator[str]:
    """A line for each key of what is written as JSON: a game file, a plan, an incentive, a report."""
    game = two_roads.build()
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "game.json"
        game.write(path)
        texts = {"game": path.read_text(encoding="utf-8"), "Plan": plan.to_json(), "Incentive": rule.to_json()}
    texts["Report"] = sp.verify(rule).to_json()
    for kind, text in texts.items():
        for key in sorted(json.loads(text)):
            yield f"JSON {kind}: {key}"


def surface() -> list[str]:
    return [*(line for name in sorted(sp.__all__) for line in described(name, getattr(sp, name))), *written()]


def test_what_users_call_is_what_it_was() -> None:
    """A line more is a new promise, a line less a broken one: surface.txt changes with the changelog."""
    assert surface() == SURFACE.read_text(encoding="utf-8").splitlines()


def test_an_import_reads_nothing_heavy() -> None:
    """Counted in modules, not seconds: beside Pyomo itself a handful."""
    code = (
        "import sys, pyomo.environ; before = set(sys.modules); import stackpyomo; "
        "print(*sorted(set(sys.modules) - before), sep=',')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    added = set(done.stdout.strip().split(","))
    assert {m.partition(".")[0] for m in added} & {"scipy", "pandas", "pounce", "matplotlib", "typer", "rich"} == set()
    assert {m for m in added if m.startswith("stackpyomo")} == {"stackpyomo", "stackpyomo.version"}
    assert len(added) < 20


@pytest.mark.slow
def test_pyomo_knows_the_transformation_before_anybody_uses_it() -> None:
    code = (
        "import stackpyomo, sys; from pyomo.environ import TransformationFactory; "
        "assert 'stackpyomo.bilevel' not in sys.modules; print(TransformationFactory('stackpyomo.kkt').__class__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "<class 'stackpyomo.bilevel.transformation.KKT'>"


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(AttributeError, match="module 'stackpyomo' has no attribute 'leader_optiml'"):
        attrgetter("leader_optiml")(sp)
    assert set(sp.__all__) <= set(dir(sp))
    assert sp.games.Game is sp.Game


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_first_word_needs_no_heavy_module(option: str) -> None:
    """Modules are counted, not seconds: what answers --version and --help imports none that computes."""
    program = (
        f"import atexit, sys; sys.argv = ['stackpyomo', {option!r}]; "
        "atexit.register(lambda: print(*sorted({n.partition('.')[0] for n in sys.modules} | set(sys.modules)))); "
        "from stackpyomo.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "stackpyomo.cli.entry" in loaded
    assert not loaded & {"numpy", "scipy", "pandas", "pounce", "matplotlib", "pyomo.environ", "stackpyomo.core"}
