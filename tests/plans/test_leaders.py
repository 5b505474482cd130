"""Several leaders: closed forms of Sherali and of Pang and Fukushima, a published point that is none, game files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import snapshot

import stackpyomo as sp
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def sherali(followers: int, level: float = 40.0) -> sp.Game:
    """Two leaders and Cournot followers, price level − total, cost 10: q = (level − 10)/3, y = q/(followers + 1)."""
    m = pyo.ConcreteModel()
    m.L = pyo.Block([1, 2])
    m.f = pyo.Block(range(followers))
    for block in (*m.L.values(), *m.f.values()):
        block.q = pyo.Var(bounds=(0, level))
    total = sum(block.q for block in (*m.L.values(), *m.f.values()))
    for block in (*m.L.values(), *m.f.values()):
        block.profit = pyo.Objective(expr=(level - total - 10.0) * block.q, sense=pyo.maximize)
    return sp.Game(m, m.f, leaders=m.L)


def test_sherali() -> None:
    """H. D. Sherali, Operations Research 32 (1984)."""
    game = sherali(1)
    before = snapshot(game.model)
    plan = sp.stackelberg(game)
    assert snapshot(game.model) == before
    assert [plan.value(f"L[{k}].q") for k in (1, 2)] == pytest.approx([10, 10], abs=1e-6)
    assert plan.value("f[0].q") == pytest.approx(5, abs=1e-6)
    assert plan.leader_objectives == pytest.approx({"L[1]": 50, "L[2]": 50}, abs=1e-6)
    assert plan.quality == "feasible"
    assert plan.epsilon.max() <= 1e-4
    assert list(plan.epsilon.index) == ["L[1]", "L[2]"]
    assert sp.verify(plan).ok
    assert "What each leader could gain by another plan of its own, at most: L[1] " in str(plan)
    again = sp.Plan.from_json(plan.to_json(), game)
    assert again.shortfall == plan.shortfall
    assert again.leader_objectives == plan.leader_objectives


def zero(sign: float, x: float) -> sp.Game:
    """The tutorial of ZERO (NASP.rst), at its published point; sign: of x in the objective of the second leader."""
    m = pyo.ConcreteModel()
    m.uv, m.xy, m.fv, m.fy = pyo.Block(), pyo.Block(), pyo.Block(), pyo.Block()
    m.uv.u, m.xy.x = pyo.Var(bounds=(0, 20), initialize=25 / 9), pyo.Var(bounds=(0, 20), initialize=x)
    m.fv.v = v = pyo.Var([1, 2], bounds=(0, 20), initialize={1: 5 / 9, 2: 5 / 3})
    m.fy.y = y = pyo.Var([1, 2], bounds=(0, 20), initialize={1: 3 - x, 2: 0})
    m.uv.cost = pyo.Objective(expr=v[1] - m.uv.u + y[1] * v[2])
    m.uv.row = pyo.Constraint(expr=v[1] + v[2] + m.uv.u <= 5)
    m.xy.cost = pyo.Objective(expr=y[1] + sign * m.xy.x + m.uv.u * y[2])
    m.xy.rows = pyo.ConstraintList()
    m.xy.rows.add(y[1] + y[2] + m.xy.x <= 7)
    m.xy.rows.add(-y[1] + y[2] <= 0)
    m.fv.cost = pyo.Objective(expr=-v[1] + v[2])
    m.fv.rows = pyo.ConstraintList()
    m.fv.rows.add(2 * v[1] + v[2] <= m.uv.u)
    m.fv.rows.add(v[1] - 2 * v[2] <= -m.uv.u)
    m.fy.cost = pyo.Objective(expr=y[1] - y[2])
    m.fy.rows = pyo.ConstraintList()
    m.fy.rows.add(-y[1] + y[2] <= 5 - m.xy.x)
    m.fy.rows.add(-y[1] + y[2] <= m.xy.x - 3)
    return sp.Game(m, [m.fv, m.fy], leaders=[m.uv, m.xy])


@pytest.mark.parametrize(("sign", "gain"), [(1.0, 0.0), (-1.0, 14 / 3)])
def test_a_published_point_is_an_equilibrium_with_one_sign_and_none_with_the_other(sign: float, gain: float) -> None:
    plan = sp.Plan.from_values(zero(sign, 5 / 3))
    assert plan.epsilon.to_dict() == pytest.approx({"uv": 0.0, "xy": gain}, abs=1e-5)
    assert gain > 0.0 or plan.epsilon.max() <= 1e-7  # of an equilibrium as tight as a solver meets rows
    assert sp.verify(plan).ok


def test_game_files_hold_several_leaders(tmp_path: Path) -> None:
    game = sherali(2)
    game.write(tmp_path / "game.json")
    document = json.loads((tmp_path / "game.json").read_text())
    assert [leader["name"] for leader in document["leaders"]] == ["L_1", "L_2"]
    again = sp.read_game(tmp_path / "game.json")
    assert list(again.leaders) == ["L_1", "L_2"]
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "game.json").read_text()
    document["leader"]["objective"] = "0"
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    with pytest.raises(sp.GameFileError, match="each of 'leaders' has its own; move it there"):
        sp.read_game(tmp_path / "wrong.json")
    del document["leader"]
    document["leaders"][1]["name"] = "L_1"
    (tmp_path / "wrong.json").write_text(json.dumps(document))
    with pytest.raises(sp.GameFileError, match=r"the name .L_1. is taken; give every leader its own"):
        sp.read_game(tmp_path / "wrong.json")


def test_a_copy_keeps_its_leaders() -> None:
    game = sherali(2)
    assert list(game.expand().leaders) == list(game.with_sizes({"f[0]": 2}).leaders) == ["L[1]", "L[2]"]


def changed(change: Any) -> sp.Game:
    game = sherali(1)
    change(game.model)
    return sp.Game(game.model, game.model.f, leaders=game.model.L)


def test_what_is_refused_by_name() -> None:
    game = sherali(1)
    m = game.model
    with pytest.raises(sp.InvalidGame, match=r"it has 2 leaders \(L\[1\], L\[2\]\), and this is for one\. Use"):
        sp.leader_optimal(game)
    with pytest.raises(sp.InvalidGame, match=r"ties='pessimistic': is for one leader, and .* L\[1\], L\[2\]"):
        sp.stackelberg(game, ties="pessimistic")
    with pytest.raises(sp.InvalidGame, match=r"f\[0\]: is given as a leader and as a follower"):
        sp.Game(m, m.f, leaders=[m.L, m.f[0]])
    with pytest.raises(sp.InvalidGame, match=r"L\[1\]: this leader is given twice"):
        sp.Game(m, m.f, leaders=[m.L[1], m.L])
    with pytest.raises(sp.InvalidGame, match="leaders=7: expected Blocks of the model, one for each leader"):
        sp.Game(m, m.f, leaders=7)


def test_leaders_who_own_nothing_or_want_nothing() -> None:
    def without_variable(m: Any) -> None:
        m.idle = pyo.Block()
        m.idle.cost = pyo.Objective(expr=m.L[1].q)

    game = sherali(1)
    without_variable(game.model)
    idle = sp.Game(game.model, game.model.f, leaders=[game.model.L, game.model.idle])
    with pytest.raises(sp.InvalidGame, match=r"idle: this leader owns no variable\. Declare its decisions as Vars"):
        sp.stackelberg(idle)
    with pytest.raises(sp.InvalidGame, match=r"L\[2\]: this leader has no active objective\. Add exactly one"):
        sp.stackelberg(changed(lambda m: m.L[2].profit.deactivate()))
    with pytest.raises(sp.InvalidGame, match=r"z: no leader owns it\. Declare it on the Block of who decides it"):
        sp.stackelberg(changed(lambda m: m.add_component("z", pyo.Var(bounds=(0, 1)))))
    with pytest.raises(sp.InvalidGame, match=r"goal: it is not a leader's objective\. Put it on a leader's Block"):
        sp.stackelberg(changed(lambda m: m.add_component("goal", pyo.Objective(expr=m.L[1].q))))


@pytest.mark.parametrize(("money", "amount"), [(1e-8, 1.0), (1.0, 1e-7), (1e8, 1e7)])
def test_what_leaders_count_in_says_nothing(money: float, amount: float) -> None:
    """Sherali's leaders where every profit is in units of 1/money and every quantity in units of 1/amount."""
    m = pyo.ConcreteModel()
    m.L, m.f = pyo.Block([1, 2]), pyo.Block()
    blocks = [*m.L.values(), m.f]
    for block in blocks:
        block.q = pyo.Var(bounds=(0, 40 * amount), initialize=amount)
    total = sum(block.q / amount for block in blocks)
    for block in blocks:
        block.profit = pyo.Objective(expr=money * (30.0 - total) * block.q / amount, sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.f, leaders=m.L))
    assert plan.quality == "feasible"
    assert [plan.value(f"L[{k}].q") / amount for k in (1, 2)] == pytest.approx([10, 10], abs=1e-5)
    assert plan.epsilon.max() <= 1e-4 * money
