"""The best menu: closed forms of screening, a menu without a common punishment, and bad input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pyomo.environ as pyo
import pytest

import stackpyomo as sp

Cost = Callable[[float, Any, Any], Any]


def screened(
    thetas: Sequence[float], weights: Sequence[float] | None, cost: Cost, goal: Cost, toll: float = 20.0
) -> tuple[sp.Game, sp.Scenarios]:
    """One user of private type θ, q within [0, 20] and a toll for each scenario; both functions of (θ, q, toll)."""
    types = sp.Scenarios({"theta": list(thetas)}, weights)
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(list(types), bounds=(-toll, toll), initialize=0)
    m.user = pyo.Block()
    m.user.q = pyo.Var(types.atoms("theta"), bounds=(0, 20), initialize=1)
    theta = types["theta"]

    def at(function: Cost) -> Callable[[int], Any]:
        return lambda w: function(theta[w], m.user.q[types.atom("theta", w)], m.toll[w])

    m.user.cost = pyo.Objective(expr=types.expectation(at(cost)))
    m.goal = pyo.Objective(expr=types.expectation(at(goal)))
    return sp.Game(m, followers=m.user), types


def tariff(theta: float, q: Any, toll: Any) -> Any:
    return q**2 / 2 - theta * q + toll * q


def missed(theta: float, q: Any, toll: Any) -> Any:
    return (q - theta / 2) ** 2 / 2 + toll**2 / 2


def test_a_menu_between_known_types_and_the_best_line() -> None:
    """SLSQP on all six rows from 60 starts, then the KKT system to 40 digits: 0.00981351281749968."""
    game, types = screened([1.0, 2.0, 4.0], [0.5, 0.25, 0.25], tariff, missed)
    menu = sp.best_menu(game, types)
    assert menu.quality == "optimal"
    assert menu.leader_objective == pytest.approx(0.00981351281749968, abs=1e-8)
    assert [menu.values[f"user.q[{t}]"] for t in (1.0, 2.0, 4.0)] == pytest.approx(
        [0.5424632884292484, 1.12194152054289, 2.028225544702853], abs=1e-5
    )
    assert menu.options["common_punishment"] is True
    assert not menu.warnings


def test_two_types_of_a_monopolist() -> None:
    """Mussa and Rosen (1978): q = (θ_L − rΔ, θ_H), payments 35/8 and 11/2, profit 19/4."""
    types = sp.Scenarios({"theta": [3.0, 4.0]}, [2 / 3, 1 / 3])
    m = pyo.ConcreteModel()
    m.pay = pyo.Var(list(types), bounds=(-20, 20), initialize=0)
    m.user = pyo.Block()
    m.user.q = pyo.Var(types.atoms("theta"), bounds=(0, 20), initialize=1)
    theta = types["theta"]

    def loss(w: int) -> Any:
        q = m.user.q[types.atom("theta", w)]
        return q**2 / 2 - theta[w] * q + m.pay[w]

    m.user.cost = pyo.Objective(expr=types.expectation(loss))
    m.participation = pyo.Constraint(list(types), rule=lambda _, w: loss(w) <= 0)
    m.profit = pyo.Objective(expr=types.expectation(lambda w: m.pay[w]), sense=pyo.maximize)
    menu = sp.best_menu(sp.Game(m, followers=m.user), types)
    assert menu.leader_objective == pytest.approx(19 / 4, abs=1e-6)
    assert [menu.values[n] for n in ("user.q[3.0]", "user.q[4.0]", "pay[0]", "pay[1]")] == pytest.approx(
        [5 / 2, 4, 35 / 8, 11 / 2], abs=1e-4
    )
    assert menu.quality == "optimal"


def test_one_item_for_all_where_the_goal_does_not_depend_on_the_type() -> None:
    game, types = screened([1.0, 2.0, 4.0], None, tariff, lambda _, q, toll: (q - 1) ** 2 / 2 + toll**2 / 2)
    assert sp.best_menu(game, types).leader_objective == pytest.approx(0.0, abs=1e-8)


def test_types_with_opposite_minds_have_no_common_punishment() -> None:
    """Where one type likes the toll as much as the other minds it, a sum of both costs cannot be raised by it."""
    game, types = screened(
        [1.0, -1.0],
        None,
        lambda theta, q, toll: (q - 2) ** 2 / 2 + theta * toll * q,
        lambda theta, q, toll: (q - 1 - theta / 2) ** 2 / 2 + toll**2 / 20,
    )
    menu = sp.best_menu(game, types)
    assert menu.options["common_punishment"] is False
    assert any("perhaps no rule reaches it" in text for text in menu.warnings)


@pytest.mark.parametrize("how", ["bounds", "a row", "fixed"])
def test_a_menu_bounds_no_rule_where_a_type_cannot_do_what_another_does(how: str) -> None:
    """Type 1 stays below 1, so that a toll by what is done (2 at ½, 0 at 2½, else 20) holds both at no loss."""
    game, types = screened(
        [1.0, 2.0], None, lambda theta, q, toll: q**2 / 2 - theta * q + toll,
        lambda theta, q, toll: (q - (0.5 if theta == 1.0 else 2.5)) ** 2 + (toll - (2.0 if theta == 1.0 else 0.0)) ** 2,
    )  # fmt: skip
    free, q = sp.best_menu(game, types), game.model.user.q
    if how == "bounds":
        q[1.0].setub(1.0)
    elif how == "a row":
        game.model.user.limit = pyo.Constraint(expr=q[1.0] <= 1)
    else:
        q[1.0].fix(0.5)
    assert sp.leader_optimal(game).leader_objective == pytest.approx(0.0, abs=1e-8)
    menu = sp.best_menu(game, types)
    assert free.quality == "optimal"
    assert free.leader_objective > 0.05
    assert menu.quality == "feasible"
    assert pd.isna([menu.bound, menu.gap, menu.epsilon0]).all()
    assert any("no bound on rules" in text for text in menu.warnings)


def test_rows_that_all_types_have_leave_the_bound() -> None:
    game, types = screened([1.0, 2.0], None, tariff, missed)
    game.model.user.limit = pyo.Constraint(types.atoms("theta"), rule=lambda b, theta: b.q[theta] <= 5)
    assert sp.best_menu(game, types).quality == "optimal"


def test_a_type_moves_its_aggregate_and_no_aggregate_punishes() -> None:
    """The game of opposite minds with q by an aggregate: the leader cannot choose that."""
    game, types = screened([1.0, -1.0], None, tariff, lambda theta, q, toll: (q - 1 - theta / 2) ** 2 + toll**2 / 20)
    m, theta = game.model, types["theta"]
    m.twice = pyo.Var(list(types), initialize=2)
    m.sums = pyo.Constraint(list(types), rule=lambda m, w: m.twice[w] == 2 * m.user.q[theta[w]])
    answers = []
    for level in (lambda w: m.user.q[theta[w]], lambda w: m.twice[w] / 2):
        m.user.cost.set_value(
            types.expectation(lambda w, level=level: (level(w) - 2) ** 2 / 2 + theta[w] * m.toll[w] * level(w))
        )
        menu = sp.best_menu(sp.Game(m, followers=m.user, aggregates=[m.sums]), types)
        answers.append(menu.leader_objective)
        assert menu.options["common_punishment"] is False
    assert answers[1] == pytest.approx(answers[0], abs=1e-7)


@pytest.mark.slow
def test_a_rule_is_never_better_than_the_menu() -> None:
    game, types = screened([2.0, 3.0], None, tariff, missed)
    m = game.model
    rule = sp.optimal_rule(game, types.observe(m.toll, [(m.user.q, "theta")]), common=[m.toll])
    menu = sp.best_menu(game, types)
    assert sp.leader_optimal(game).leader_objective - 1e-7 <= menu.leader_objective <= rule.plan.leader_objective + 1e-7


def test_several_followers_with_types_of_their_own() -> None:
    """Each in expectation over the other; nobody looks for punishments there."""
    types = sp.Scenarios.product(sp.Scenarios({"a": [1.0, 2.0]}), sp.Scenarios({"b": [2.0, 3.0]}))
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(list(types), bounds=(-20, 20), initialize=0)
    m.first, m.second = pyo.Block(), pyo.Block()
    for block, name in ((m.first, "a"), (m.second, "b")):
        block.q = pyo.Var(types.atoms(name), bounds=(0, 20), initialize=1)
        block.cost = pyo.Objective(
            expr=types.expectation(lambda w, b=block, n=name: tariff(types[n][w], b.q[types.atom(n, w)], m.toll[w]))
        )
    m.goal = pyo.Objective(
        expr=types.expectation(
            lambda w: (
                (m.first.q[types.atom("a", w)] - 1) ** 2
                + (m.second.q[types.atom("b", w)] - 1) ** 2
                + m.toll[w] ** 2 / 2
            )
        )
    )
    menu = sp.best_menu(sp.Game(m, [m.first, m.second]), types)
    assert menu.options["common_punishment"] is None
    values = {id(v): menu.values[n] for n, v in menu.game.variables_by_name.items()} if menu.game else {}
    for block, name in ((m.first, "a"), (m.second, "b")):
        labels = list(types.atoms(name))
        for own, other in (labels, labels[::-1]):
            mine = [w for w in types if types.atom(name, w) == own]
            rest = "b" if name == "a" else "a"
            twin = {w: next(u for u in types if types[rest][u] == types[rest][w] and u not in mine) for w in mine}
            truth = sum(tariff(own, values[id(block.q[own])], values[id(m.toll[w])]) for w in mine)
            lie = sum(tariff(own, values[id(block.q[other])], values[id(m.toll[twin[w]])]) for w in mine)
            assert truth <= lie + 1e-6


def test_bad_input() -> None:
    game, types = screened([1.0, 2.0], None, tariff, missed)
    with pytest.raises(sp.InvalidGame, match=r"theta=2\.0: has probability 0, so that nobody can have this type"):
        sp.best_menu(*screened([1.0, 2.0], [1.0, 0.0], tariff, missed))
    with pytest.raises(sp.InvalidGame, match="its Vars are not all indexed by the atoms of one observation"):
        sp.best_menu(game, sp.Scenarios({"theta": [5.0, 6.0]}))
    with pytest.raises(sp.InvalidGame, match="types: driver is not a follower"):
        sp.best_menu(game, types, types={"driver": "theta"})
    with pytest.raises(sp.InvalidGame, match="expected a Game and the Scenarios"):
        sp.best_menu(game, None)  # type: ignore[arg-type]
    twice = sp.Scenarios({"theta": [1.0, 2.0], "omega": [2.0, 1.0]})
    with pytest.raises(sp.InvalidGame, match=r"name one by types=\{'user': ...\}"):
        sp.best_menu(game, twice)
    assert sp.best_menu(game, twice, types={"user": "theta"}).quality == "optimal"
