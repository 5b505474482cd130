"""Data belong to the moment: what was proved of data that have changed since falls, whatever it is that has changed."""

from __future__ import annotations

import copy
import importlib
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.core.expr.numeric_expr as nx
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.families import functions_among
from stackpyomo.games import action_bounds, changes, formulas, require, stamp

stamps, structures, reading = (
    importlib.import_module(f"stackpyomo.games.{name}") for name in ("stamp", "structure", "formula_families")
)


def tolled() -> Any:
    """A driver who would rather play 1, a leader who aims at 0.6: data of every kind in both problems."""
    m = pyo.ConcreteModel()
    m.aim = pyo.Param(initialize=0.6, mutable=True)
    m.wish = pyo.Param(initialize=1.0, mutable=True)
    m.idle = pyo.Param(initialize=1.0, mutable=True)
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.spare = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.d = pyo.Block()
    m.d.x = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.loss = pyo.Expression(expr=(m.d.x - m.aim) ** 2)
    m.d.cost = pyo.Objective(expr=(m.d.x - m.wish) ** 2 + m.toll * m.d.x)
    m.d.row = pyo.Constraint(expr=m.d.x <= 5)
    m.goal = pyo.Objective(expr=m.loss + 0.01 * m.toll**2 + m.spare)
    m.limit = pyo.Constraint(expr=m.toll <= 1.5)
    return m


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "leader's Param": ("the leader", lambda m: m.aim.set_value(0.2)),
    "follower's Param": ("the followers", lambda m: m.wish.set_value(0.9)),
    "named Expression": ("the leader", lambda m: m.loss.set_value((m.d.x - 0.1) ** 2)),
    "leader's sense": ("the leader", lambda m: m.goal.set_sense(pyo.maximize)),
    "follower's sense": ("the followers", lambda m: m.d.cost.set_sense(pyo.maximize)),
    "leader's objective": ("the leader", lambda m: m.goal.set_value(m.toll**2)),
    "follower's objective": ("the followers", lambda m: m.d.cost.set_value(m.d.x**2)),
    "leader's row": ("the leader", lambda m: m.limit.set_value(m.toll <= 1.0)),
    "row switched off": ("the leader", lambda m: m.limit.deactivate()),
    "follower's row": ("the followers", lambda m: m.d.row.set_value(m.d.x <= 4)),
    "leader's bound": ("bounds", lambda m: m.toll.setub(1.0)),
    "follower's bound": ("bounds", lambda m: m.d.x.setlb(0.1)),
    "fixed": ("bounds", lambda m: m.spare.fix(0.0)),
    "domain": ("bounds", lambda m: setattr(m.spare, "domain", pyo.Integers)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_proved_falls_with_its_data(change: str) -> None:
    m = tolled()
    plan = sp.leader_optimal(sp.Game(m, m.d))
    assert plan.quality == "optimal"
    assert plan.now() is plan
    assert not math.isnan(plan.announcement.epsilon0)
    part, apply = CHANGES[change]
    apply(m)
    here = plan.now()
    assert here is not plan
    assert here.quality == "feasible"
    assert math.isnan(here.epsilon0)
    assert math.isnan(here.bound)
    assert any("has changed" in text and part in text for text in here.warnings)
    plan.load()
    assert here.leader_objective == pytest.approx(pyo.value(m.goal)), "its objective is that of the data of now"
    assert here.follower_objectives["d"] == pytest.approx(pyo.value(m.d.cost))
    assert math.isnan(sp.verify(plan).epsilon0)
    assert any("has changed" in text for text in sp.verify(plan).warnings)
    assert "has changed" in str(plan)


def test_a_row_that_no_longer_holds_makes_the_plan_infeasible() -> None:
    m = tolled()
    plan = sp.leader_optimal(sp.Game(m, m.d))
    m.d.x.setub(0.5)
    assert plan.now().quality == "infeasible"
    assert plan.now().residuals["feasibility"] == pytest.approx(0.1 / 0.5), "in the unit of its box"


def shared(size: int) -> Any:
    """Followers who all feel one named Expression of everybody's actions."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(size))
    for i in range(size):
        m.f[i].x = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.weight = pyo.Param(initialize=1.0, mutable=True)
    m.mean = pyo.Expression(expr=m.weight * pyo.quicksum(m.f[i].x for i in range(size)) / size)
    for i in range(size):
        m.f[i].cost = pyo.Objective(expr=m.f[i].x ** 2 + m.mean * m.f[i].x)
    m.goal = pyo.Objective(expr=m.mean**2)
    return m


def test_a_shared_expression_is_gone_through_once_and_seen_by_all() -> None:
    m = shared(3)
    game = sp.Game(m, m.f)
    before = stamp(game)
    assert stamp(game) == before
    m.weight.set_value(2.0)
    both = ["the leader's problem", "the followers' problems"]
    assert changes(before, stamp(game)) == both, "each part says what it holds"
    m.weight.set_value(1.0)
    assert stamp(game) == before
    m.mean.set_value(m.mean.expr + 0.0 * m.f[0].x)
    assert changes(before, stamp(game)) == both


def other_of(m: Any) -> Any:
    """The same model but for which of two equal shared Expressions stands in the last cost."""
    m.twin = pyo.Expression(expr=m.f[0].x)
    m.f[2].cost.set_value(m.f[2].x ** 2 + m.twin * m.f[2].x)
    return m


def test_which_shared_expression_it_is_shows() -> None:
    m = shared(3)
    game = sp.Game(m, m.f)
    before = stamp(game)
    other_of(m)
    assert changes(before, stamp(game)) == ["the followers' problems"]


VALUES: dict[str, Callable[[Any], Any]] = {
    "a number that is none": lambda m: m.d.cost.set_value(float("nan") * m.d.x),
    "an infinite Param": lambda m: m.wish.set_value(math.inf),
    "a divisor of 0": lambda m: m.d.cost.set_value(m.d.x / (m.wish - 1.0)),
    "a Var of another model": lambda m: m.d.cost.set_value(m.d.x * tolled().toll),
    "an action of another model of the same name": lambda m: m.d.cost.set_value(tolled().d.x ** 2),
    "what no solver reads": lambda m: m.d.cost.set_value(nx.MaxExpression([m.d.x, 0.5])),
    "bounds that cross": lambda m: m.d.x.setlb(2.0),
    "a value that is none": lambda m: m.d.x.set_value(math.nan, skip_validation=True),
    "a row that crosses": lambda m: m.d.row.set_value((3.0, m.d.x, 1.0 * m.wish)),
    "two objectives": lambda m: m.d.add_component("more", pyo.Objective(expr=m.d.x)),
}


@pytest.mark.parametrize("change", VALUES)
def test_what_was_sound_is_looked_at_again_when_it_has_changed(change: str) -> None:
    """A game that was found sound is gone through no more, until anything in it is another."""
    m = tolled()
    game = sp.Game(m, m.d)
    plan = sp.leader_optimal(game)
    assert game.clean == stamp(game)
    VALUES[change](m)
    for ask in (sp.leader_optimal, lambda _: sp.verify(plan), lambda _: sp.affine_incentive(plan)):
        with pytest.raises(sp.InvalidGame):
            ask(game)


def test_within_a_call_the_stamp_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m = tolled()
    game = sp.Game(m, m.d)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    asked = []
    whole = stamps._stamp
    monkeypatch.setattr(stamps, "_stamp", lambda game: asked.append(1) or whole(game))
    sp.verify(rule)
    assert len(asked) == 1
    m.wish.set_value(0.9)
    assert any("has changed" in text for text in sp.verify(rule).warnings), "and anew in the next"


def test_what_is_shared_by_many_costs_what_it_holds() -> None:
    """No work that grows as the square of the number of followers: counted in nodes, not in seconds."""
    counts = []
    for size in (50, 100):
        m = shared(size)
        texts: list[str] = []
        walk = stamps._Walk({}, texts)
        for i in range(size):
            walk.tell(m.f[i].cost.expr)
        counts.append(len(texts))
    assert counts[1] < 2.1 * counts[0]


def test_data_that_nobody_holds_change_nothing() -> None:
    m = tolled()
    plan = sp.leader_optimal(sp.Game(m, m.d))
    m.idle.set_value(7.0)
    m.toll.set_value(0.3)
    assert plan.now() is plan


def test_a_rule_speaks_of_the_data_of_now() -> None:
    m = tolled()
    game = sp.Game(m, m.d)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    before = sp.verify(rule)
    assert before.epsilon0 < 1e-6
    assert "loses" not in rule.compare(sp.stackelberg(game)).loc["leader"].tolist()
    m.aim.set_value(0.2)  # the leader's alone: nobody leaves, but the old plan is no longer the best
    after = sp.verify(rule)
    assert after.ok
    assert math.isnan(after.epsilon0)
    assert after.leader_objective == pytest.approx(0.16)
    assert rule.compare(sp.stackelberg(game)).loc["leader", "verdict"] == "loses"


def test_a_plan_read_again_keeps_its_proof_where_nothing_has_changed() -> None:
    m = tolled()
    text = sp.leader_optimal(sp.Game(m, m.d)).to_json()
    other = tolled()
    assert sp.Plan.from_json(text, sp.Game(other, other.d)).quality == "optimal"
    other.wish.set_value(0.7)
    assert math.isnan(sp.Plan.from_json(text, sp.Game(other, other.d)).epsilon0)


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_plans_rules_and_reports_are_copied(copied: Callable[[Any], Any]) -> None:
    m = tolled()
    game = sp.Game(m, m.d)
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan)
    report = sp.verify(rule)
    twin = copied(plan)
    assert twin.to_json() == plan.to_json()
    assert twin.now() is twin
    assert sp.affine_incentive(twin).norm == pytest.approx(rule.norm, rel=1e-12)
    assert sp.verify(copied(rule)).ok
    assert copied(sp.stackelberg(game)).quality == "optimal"
    assert copied(report).regret.to_dict() == report.regret.to_dict()
    assert str(copied(rule)) == str(rule)


def test_a_deep_copy_is_about_the_same_game() -> None:
    m = tolled()
    game = sp.Game(m, m.d)
    plan = sp.leader_optimal(game)
    twin, rule = copy.deepcopy(plan), copy.deepcopy(sp.affine_incentive(plan))
    assert twin.game is game
    assert rule.game is game
    twin.values["toll"] = 9.0
    assert plan.values["toll"] != 9.0


def test_expressions_are_walked_again_only_where_one_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    m = tolled()
    game = sp.Game(m, m.d)
    walked = []
    whole = stamps._traced
    monkeypatch.setattr(stamps, "_traced", lambda *known: walked.append(1) or whole(*known))
    before = stamp(game)
    m.toll.set_value(1.0)
    m.d.x.setub(0.7)
    assert changes(before, stamp(game)) == ["bounds, domains and fixed values"]
    assert len(walked) == 1, "values and bounds stand in no expression"
    m.d.cost.set_value(m.d.cost.expr)
    assert stamp(game)["the followers' problems"] == before["the followers' problems"]
    assert len(walked) == 1
    for part, change in CHANGES.values():
        texts = stamp(game)
        change(m)
        assert any(part in changed for changed in changes(texts, stamp(game)))


def test_the_walk_is_not_copied_with_its_game() -> None:
    m = tolled()
    game = sp.Game(m, m.d)
    before = stamp(game)
    twin = copy.deepcopy(game)
    twin.rescan()
    assert twin.traced is None
    assert stamp(twin) == before
    twin.model.wish.set_value(0.9)
    assert changes(before, stamp(twin)) == ["the followers' problems"]
    assert stamp(game) == before


def metered() -> Any:
    """Two users, their weighted sum: all that a call works out of a game's structure and leaves to the next one."""
    m = pyo.ConcreteModel()
    m.weight, m.top = (
        pyo.Param([0, 1], initialize={0: 0.5, 1: 0.5}, mutable=True),
        pyo.Param(initialize=2.0, mutable=True),
    )
    m.toll, m.sum, m.u = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Var(initialize=1.0), pyo.Block([0, 1])
    for i in (0, 1):
        m.u[i].x, m.u[i].y = pyo.Var(bounds=(0, m.top), initialize=1.0), pyo.Var(bounds=(0, 1), initialize=0.0)
        m.u[i].cost = pyo.Objective(expr=(m.u[i].x - 1) ** 2 + m.u[i].y ** 2 + m.sum * m.u[i].x + m.toll * m.u[i].x)
    m.wish, m.other = pyo.Param(initialize=1.5, mutable=True), Elsewhere()
    m.taste = pyo.Expression(expr=(m.u[1].x - m.wish) ** 2)
    m.u[1].cost.set_value(m.u[1].cost.expr + m.taste + m.other.level * m.u[1].x)
    m.u[1].cap = pyo.Constraint(expr=m.wish * m.u[1].x <= 9.0)
    m.row = pyo.Constraint(expr=m.sum == m.weight[0] * m.u[0].x + m.weight[1] * m.u[1].x)
    m.goal = pyo.Objective(expr=m.toll**2 + m.sum**2)
    return m


class Elsewhere:
    """What is not of the model, and data to it."""

    def __init__(self) -> None:
        self.model = pyo.ConcreteModel()
        self.model.level = pyo.Var(initialize=0.5)
        self.level = self.model.level
        self.level.fix()


def anew(m: Any) -> None:
    """Another Var in the place of one, in everything that holds it, and nothing that a text would tell."""
    block = m.u[1]
    block.del_component(block.cost)
    block.del_component(block.y)
    block.y = pyo.Var(bounds=(0, 1), initialize=0.0)
    block.cost = pyo.Objective(expr=(block.x - 1) ** 2 + block.y**2 + m.sum * block.x + m.toll * block.x)


STRUCTURE: dict[str, Callable[[Any], Any]] = {
    "a weight": lambda m: m.weight[1].set_value(0.25),
    "a weight by the row": lambda m: m.row.set_value(m.sum == 0.1 * m.u[0].x + m.u[1].x),
    "a bound's Param": lambda m: m.top.set_value(3.0),
    "a bound": lambda m: m.u[0].y.setlb(-1.0),
    "no bound": lambda m: m.u[0].y.setub(None),
    "fixed": lambda m: m.u[0].x.fix(1.0),
    "its fixed value": lambda m: (m.u[0].y.fix(0.0), m.u[0].y.set_value(0.5)),
    "one more action": lambda m: m.u[0].add_component("z", pyo.Var(bounds=(0, 1), initialize=0.0)),
    "another Var of the same name": anew,
    "a formula": lambda m: m.u[0].cost.set_value((m.u[0].x - 2) ** 2),
    "a Param in a formula": lambda m: m.wish.set_value(0.25),
    "a named Expression": lambda m: m.taste.set_value((m.u[1].x - m.wish) ** 4),
    "another Param in a named Expression": lambda m: m.taste.set_value((m.u[1].x - m.top) ** 2),
    "a fixed Var of another model": lambda m: m.other.level.fix(3.0),
    "a row": lambda m: m.u[1].cap.set_value(0.5 * m.u[1].x <= 9.0),
    "a row switched off": lambda m: m.u[1].cap.deactivate(),
    "one more row": lambda m: m.u[0].add_component("more", pyo.Constraint(expr=m.u[0].x + m.u[0].y <= 4.0)),
    "another objective": lambda m: (
        m.u[0].cost.deactivate(),
        m.u[0].add_component("own", pyo.Objective(expr=m.u[0].x)),
    ),
    "one action less": lambda m: (m.u[0].cost.set_value((m.u[0].x - 1) ** 2), m.u[0].del_component(m.u[0].y)),
}


@pytest.mark.parametrize("change", STRUCTURE)
def test_what_one_call_leaves_to_the_next_is_worked_out_anew_where_it_has_changed(change: str) -> None:
    m = metered()
    game = sp.Game(m, m.u, aggregates=[m.row])
    for _ in range(2):
        assert structure(game) == structure(sp.Game(m, m.u, aggregates=[m.row]))
    STRUCTURE[change](m)
    now = structure(game)
    assert now == structure(sp.Game(m, m.u, aggregates=[m.row]))
    assert now == structure(game)
    twin = copy.deepcopy(game)
    assert structure(twin) == structure(sp.Game(twin.model, twin.model.u, aggregates=[twin.model.row]))


def structure(game: sp.Game) -> list[Any]:
    """What a call of now takes for the game's structure."""
    with game.unchanged():
        require(game)
        shares = game.responses()
        actions = [id(v) for v in game.actions]
        bounds = [side.tolist() for side in action_bounds(game)]
        owners = [id(v) for v in shares.variables]
        read = functions_among(formulas(game).families, len(game.followers) + 2, list(game.variables_by_name.values()))
        at = 0.3 + 0.1 * np.arange(read.n)
        said = [read.constraints(at).tolist(), [id(v) for v in read.variables], formulas(game).unread]
        return [said, actions, game.action_owners.tolist(), bounds, owners, shares.moves.toarray().tolist()]


def test_what_one_call_leaves_to_the_next_is_not_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    m = metered()
    game = sp.Game(m, m.u, aggregates=[m.row])
    asked = []
    for module, name in ((structures, "responses"), (reading, "gathered")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, whole=whole: asked.append(1) or whole(*given))
    before = structure(game)
    m.u[0].x.set_value(0.3)
    assert structure(game) == before
    assert len(asked) == 2
