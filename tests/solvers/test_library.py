"""POUNCE in this process: it answers as its executable does, and says nothing on standard error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

from stackpyomo.solvers import Program, free_row, registry
from stackpyomo.solvers.interfaces import run_executable, run_pounce

ROOT = Path(__file__).parents[2]

# A solve of this game of Dempe and Dutta (2012) has POUNCE refuse to stop early, which it tells its log.
CHATTY = """
import os
import stackpyomo as sp
from stackpyomo.games import parse_game
from stackpyomo.games.files import read_games
entry = next(e for e in read_games("models/literature/bilevel.json") if e["name"] == "dempe_dutta2012_ex24")
sp.stackelberg(parse_game(entry))
print(os.environ.get("RUST_LOG"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("wish", [None, "info"])
def test_the_log_is_for_those_who_ask_for_it(wish: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RUST_LOG"}
    environment |= {"PYTHONPATH": str(ROOT), **({"RUST_LOG": wish} if wish else {})}
    done = subprocess.run(
        [sys.executable, "-c", CHATTY], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    assert ("pounce" in done.stderr) == bool(wish)
    assert done.stdout.strip() == str(wish)


@pytest.mark.parametrize("seed", range(5))
def test_the_library_answers_as_the_executable_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), bounds=(-1, 2), initialize=0.3)
    goal = sum(float(random.uniform(0.5, 2)) * (v - float(random.uniform(-3, 3))) ** 2 for v in m.x.values())
    rows = [free_row(m.x[0] * m.x[1] + pyo.exp(m.x[2]), None, 2.0), free_row(m.x[2] + m.x[3], 0.5, 0.5)]
    program = Program(goal, rows)
    asked: tuple[Any, ...] = (program, {}, 10.0, False, np.full(4, 0.1))
    inside, outside = run_pounce({}, None, *asked), run_executable("pounce", {}, "max_wall_time", *asked)
    assert (inside.termination, inside.iterations) == (outside.termination, outside.iterations)
    np.testing.assert_allclose(inside.x, outside.x, atol=1e-12)
    np.testing.assert_allclose(inside.duals, outside.duals, atol=1e-12)


def test_what_is_small_is_solved_here_without_a_file() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 5), initialize=1.0)
    program = Program((m.x - 3) ** 2, [free_row(m.x**2, None, 4.0)])
    variant = program.variant(np.array([0.5]))
    answer = registry["pounce"].run(variant, {}, None, False)
    assert answer.x == pytest.approx([2.0], abs=1e-6)
    assert [file.name for file in program.path.parent.iterdir()] == ["program.nl"]
    assert b"x1\n0 0.5\n" in variant.path.read_bytes()
    variant.discard()
    assert [file.name for file in program.path.parent.iterdir()] == ["program.nl"]
