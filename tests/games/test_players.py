"""Players: what each of them owns, and what is no follower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import state, toll_game
from helpers.roads import INF, NAN, game_of, roads

import stackpyomo as sp
from stackpyomo.games import foreign
from stackpyomo.games.players import blocks_of, populations_of


def twin(m: Any) -> Any:
    """A Block inside the driver, with all a follower needs."""
    m.driver.inner = pyo.Block()
    m.driver.inner.x = pyo.Var(initialize=0.0)
    m.driver.inner.cost = pyo.Objective(expr=m.driver.inner.x**2)
    return m.driver.inner


GAME_ARGUMENTS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "model": (lambda m: sp.Game(None, m.driver), ("constructed pyomo ConcreteModel",)),
    "abstract model": (lambda m: sp.Game(pyo.AbstractModel(), m.driver), ("create_instance()",)),
    "no follower": (lambda m: sp.Game(m, []), ("no follower given", "at least one Block")),
    "a name": (
        lambda m: sp.Game(m, "driver"),
        ("followers=driver", "a pyomo Block", "not a name: write model.driver."),
    ),
    "a number in a list": (lambda m: sp.Game(m, [m.driver, 3]), ("followers=3", "expected a pyomo Block")),
    "a Var": (lambda m: sp.Game(m, m.toll), ("followers=", "toll", "expected a pyomo Block")),
    "a dict": (lambda m: sp.Game(m, {"driver": m.driver}), ("followers=", "expected a pyomo Block")),
    "the model": (lambda m: sp.Game(m, m), ("roads", "is not a Block of the model")),
    "another model's block": (lambda m: sp.Game(m, roads().driver), ("driver: ", "is not a Block of the model", "add")),
    "nested": (lambda m: sp.Game(m, [m.driver, twin(m)]), ("driver.inner", "inside another player (driver)")),
    "deactivated": (lambda m: m.driver.deactivate() or sp.Game(m, m.driver), ("driver: ", "deactivated", "activate")),
    "twice": (lambda m: sp.Game(m, [m.driver, m.driver]), ("driver: ", "twice")),
    "twice as a population": (lambda m: sp.Game(m, [m.driver, sp.Population(m.driver, 3)]), ("driver: ", "twice")),
    "a population of nothing": (lambda m: sp.Game(m, sp.Population(7, 3)), ("followers=7", "expected a pyomo Block")),
    **{
        f"size {size!r}": (
            lambda m, size=size: sp.Population(m.driver, size),
            ("driver: ", "integer ≥ 1 or math.inf", repr(size)),
        )
        for size in (0, -1, 1.5, 2.0, NAN, -INF, True, "3", None, [3])
    },
    "size of an unknown follower": (
        lambda m: game_of(m).with_sizes({"nobody": 2}),
        ("nobody: ", "not a follower", "driver"),
    ),
    "size 0 later": (lambda m: game_of(m).with_sizes({"driver": 0}), ("driver: ", "integer ≥ 1")),
}


@pytest.mark.parametrize("case", GAME_ARGUMENTS)
def test_arguments_of_a_game(case: str, refused: Any) -> None:
    call, words = GAME_ARGUMENTS[case]
    m = roads()
    twins = [roads()]
    if case in ("nested", "deactivated"):  # they change the model themselves
        with pytest.raises(sp.InvalidGame) as caught:
            call(m)
        assert all(word in str(caught.value) for word in words)
    else:
        refused(m, lambda: call(m), sp.InvalidGame, *words)
        assert state(m) == state(twins[0])


def test_a_player_decides_what_is_not_fixed() -> None:
    m = roads()
    m.driver.whole = pyo.Var(domain=pyo.Integers, initialize=1)
    m.driver.row = pyo.Constraint(expr=m.driver.flow <= 0.9)
    driver = game_of(m).followers["driver"]
    assert [v.name for v in driver.variables] == ["driver.flow", "driver.whole"]
    assert [v.name for v in driver.integers] == ["driver.whole"]
    assert [c.name for c in driver.constraints] == ["driver.row"], "driver.closed is not active"
    assert (driver.sign, driver.scenarios()) == (1, [None, None])
    m.driver.whole.fix()
    assert driver.integers == []


def test_everybody_minimises() -> None:
    m = roads()
    m.driver.cost.sense = pyo.maximize
    game = game_of(m)
    driver = game.followers["driver"]
    assert (driver.sign, game.leader.sign) == (-1, 1)
    assert pyo.value(driver.cost) == -pyo.value(m.driver.cost)
    m.other.activate()
    assert game.leader.objective is None, "one of two is nobody's guess"
    assert [o.name for o in game.leader.active_objectives] == ["miss", "other"]


def test_followers_in_every_form() -> None:
    m = pyo.ConcreteModel()
    m.f, m.g = pyo.Block([1, 2]), pyo.Block()
    forms = ([m.f, m.g], (m.f[1], [m.f[2], m.g]), [m.f[:], m.g])
    for form in forms:
        assert [p.block.name for p in populations_of(form)] == ["f[1]", "f[2]", "g"]
    crowds = list(populations_of([sp.Population(m.f, 3), m.g]))
    assert [(p.block.name, p.size) for p in crowds] == [("f[1]", 3), ("f[2]", 3), ("g", 1)]
    assert [b.name for b in blocks_of([m.f])] == ["f[1]", "f[2]"]
    with pytest.raises(sp.InvalidGame, match="leaders=7: expected Blocks of the model"):
        blocks_of(7)


def test_what_others_decide_is_told_from_what_is_its_own_or_fixed() -> None:
    game = toll_game()
    model, driver = game.model, game.followers["driver"]
    model.driver.row = pyo.Constraint(expr=model.driver.flow + model.toll <= 3)
    assert foreign(driver, driver.cost) == {id(model.toll): model.toll}
    assert foreign(driver, model.driver.row, 2.0) == {id(model.toll): model.toll}
    assert foreign(game.leader, model.miss) == {id(model.driver.flow): model.driver.flow}
    model.toll.fix(1.0)
    assert not foreign(driver, driver.cost, model.driver.row)
