"""Games as texts and documents, and how what was read is compared with what was written."""

from __future__ import annotations

import contextlib
import json
import pickle
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import DATA
from hypothesis import strategies as st

from stackpyomo.errors import GameFileError
from stackpyomo.games import Game, parse_game, read_game
from stackpyomo.games.files import document
from stackpyomo.games.files.formulas import FORMAT

GAMES = sorted((DATA / "games").glob("*.json"))


TOLL = f"""{{
 "format": "{FORMAT}",
 "name": "toll",
 "leader": {{
  "variables": [{{"name": "toll", "lb": -2, "ub": 2}}],
  "objective": "(flow - 0.6)**2 + 0.01*toll**2"
 }},
 "followers": [{{
   "name": "driver",
   "variables": [{{"name": "flow", "lb": 0, "ub": 1, "start": 5}}],
   "objective": "(flow - 1)**2 + toll*flow",
   "constraints": ["toll + flow <= 2"]
 }}]
}}"""


def toll() -> dict[str, Any]:
    return json.loads(TOLL)


def variables(game: Game) -> list[Any]:
    return [v for player in (game.leader, *game.followers.values()) for v in player.variables]


def contents(game: Game) -> list[Any]:
    """Every objective and constraint body with its bounds, aggregates last."""
    apart = {id(row) for row in game.aggregates}
    found: list[Any] = []
    for player in (game.leader, *game.followers.values()):
        rows = [row for row in player.constraints if id(row) not in apart]
        found += [player.objective.expr, *((row.lb, row.body, row.ub) for row in rows)]
    return found + [(row.lb, row.body, row.ub) for row in game.aggregates]


def values(game: Game, point: list[float]) -> list[Any]:
    for var, value in zip(variables(game), point, strict=True):
        var.set_value(value, skip_validation=True)
    return [
        [None if part is None else pyo.value(part) for part in entry] if isinstance(entry, tuple) else pyo.value(entry)
        for entry in contents(game)
    ]


def refused(path: Path, text: str | bytes) -> GameFileError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GameFileError) as caught:
        read_game(path)
    error = caught.value
    assert str(error).startswith(str(path))
    assert error.path == str(path)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error


def model_of(build: Any) -> Game:
    """A game whose one follower owns y, the leader x; ``build`` adds to the model."""
    m = pyo.ConcreteModel(name="written")
    m.x = pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var()
    m.f.cost = pyo.Objective(expr=(m.f.y - m.x) ** 2)
    build(m)
    if not list(m.component_objects(pyo.Objective, descend_into=False)):
        m.goal = pyo.Objective(expr=m.x)
    return Game(m, m.f)


def written(expression: Any) -> str:
    """How the leader's objective ``expression(m)`` is written."""

    def build(m: Any) -> None:
        m.p = pyo.Param(initialize=2.5, mutable=True)
        m.fixed = pyo.Var(initialize=4)
        m.fixed.fix()
        m.inner = pyo.Expression(expr=m.x - m.f.y)
        m.goal = pyo.Objective(expr=expression(m))

    return document(model_of(build))["leader"]["objective"]


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=20,
)


def only_game_file_errors(read: Any) -> None:
    """``read()`` gives a game that can be written, or raises GameFileError and nothing else."""
    game: Game | None = None
    with contextlib.suppress(GameFileError):
        game = read()
    if game is not None:
        again = document(game)
        assert document(parse_game(again)) == again
