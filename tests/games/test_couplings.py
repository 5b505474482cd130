"""Prices and shared rows: what a Game takes, recognises, refuses by name, and carries to twins and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.games import SharedRow, moved_along, parse_game


def market(**arguments: Any) -> tuple[Any, sp.Game]:
    """A leader buys through a market that meets a demand at least cost."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 10), initialize=1)
    m.price = pyo.Var()
    m.market = pyo.Block()
    m.market.y = pyo.Var([1, 2], bounds=(0, None), initialize=1)
    m.market.cost = pyo.Objective(expr=m.market.y[1] + 3 * m.market.y[2])
    m.market.balance = pyo.Constraint(expr=m.market.y[1] + m.market.y[2] == 5)
    m.market.limit = pyo.Constraint(expr=m.market.y[1] <= m.x)
    m.goal = pyo.Objective(expr=5 * m.price + 0.2 * m.x)
    return m, sp.Game(m, followers=m.market, **{"prices": [(m.price, m.market.balance)], **arguments})


def firms(number: int = 3, *, declared: bool = False, factors: tuple[float, ...] = ()) -> tuple[Any, sp.Game]:
    """Firms under one cap on their sum, declared once, or written once per firm by the given factors."""
    m = pyo.ConcreteModel()
    m.firm = pyo.Block(range(number))
    for k, firm in m.firm.items():
        firm.q = pyo.Var(bounds=(0, None), initialize=1)
        firm.cost = pyo.Objective(expr=(firm.q - k - 1) ** 2)
    total = sum(firm.q for firm in m.firm.values())
    m.goal = pyo.Objective(expr=total)
    if declared:
        m.cap = pyo.Constraint(expr=total <= 1)
        return m, sp.Game(m, followers=m.firm, shared=[m.cap])
    for factor, firm in zip(factors, m.firm.values(), strict=True):
        firm.cap = pyo.Constraint(expr=factor * total + 2 <= factor + 2 if factor > 0 else factor * total >= factor)
    return m, sp.Game(m, followers=m.firm)


def members(rows: list[SharedRow]) -> list[list[tuple[str, str, float]]]:
    return [[(member.follower, member.side, round(member.factor, 9)) for member in row.members] for row in rows]


def test_a_price_is_a_var_that_nobody_chooses() -> None:
    m, game = market()
    (price,) = game.prices
    assert price.var is m.price
    assert price.row is m.market.balance
    assert price.follower == "market"
    with pytest.raises(sp.InvalidGame, match=r"price: the price of market.balance follows from that row"):
        sp.nash(game, leader={"price": 3.0})


@pytest.mark.parametrize(
    "form",
    [
        lambda m: [(m.price, m.market.balance)],
        lambda m: (m.price, m.market.balance),
        lambda m: {"price": "market.balance"},
        lambda m: pyo.ComponentMap([(m.price, m.market.balance)]),
        lambda m: [("price", (m.market.balance, m.market))],
        lambda m: [("price", ("market.balance", "market"))],
    ],
)
def test_prices_take_every_form_of_a_mapping(form: Any) -> None:
    m, _ = market()
    (price,) = sp.Game(m, followers=m.market, prices=form(m)).prices
    assert price.var is m.price
    assert price.row is m.market.balance


def test_indexed_prices_belong_to_indexed_rows() -> None:
    m, _ = market()
    m.lam, m.market.each = pyo.Var([1, 2]), pyo.Constraint([1, 2], rule=lambda b, i: b.y[i] <= 4)
    prices = sp.Game(m, followers=m.market, prices=[(m.lam, m.market.each)]).prices
    assert [(p.var.name, p.row.name) for p in prices] == [("lam[1]", "market.each[1]"), ("lam[2]", "market.each[2]")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda m: [(m.price, m.own)], r"own: the price price needs a row of a follower"),
        (lambda m: [(m.price, (m.own, m.market))], r"own: the price price needs a row of market, and this is not one"),
        (lambda m: [(m.price, m.market.balance), (m.other, m.market.balance)], r"balance: two prices, price and other"),
        (lambda m: [(m.price, m.market.balance), (m.price, m.market.limit)], r"price: the price of two rows"),
        (lambda m: [(m.market.y[1], m.market.balance)], r"a price is nobody's decision, and market owns this Var"),
        (lambda m: [(m.price, m.market.cost)], r"expected \(Var, Constraint\)"),
        (lambda m: [m.price], r"expected \(Var, Constraint\)"),
        (lambda m: [(m.lam, m.market.balance)], r"lam and market.balance have different indices"),
        (lambda m: [(m.price, m.market.off)], r"market.off: its price is price, and it is deactivated"),
    ],
)
def test_a_price_that_cannot_be_is_refused_by_name(wrong: Any, words: str) -> None:
    m, _ = market()
    m.other, m.lam = pyo.Var(), pyo.Var([1, 2])
    m.own = pyo.Constraint(expr=m.x <= 9)
    m.market.off = pyo.Constraint(expr=m.x <= 9)
    m.market.off.deactivate()
    with pytest.raises(sp.InvalidGame, match=words):
        sp.Game(m, followers=m.market, prices=wrong(m))


def test_the_price_of_a_row_that_several_feel_says_whose() -> None:
    m, _ = firms(2, declared=True)
    m.price = pyo.Var()
    with pytest.raises(sp.InvalidGame, match=r"cap: firm\[0\], firm\[1\] feel this row, .* say whose price is"):
        sp.Game(m, followers=m.firm, shared=[m.cap], prices=[(m.price, m.cap)])
    (price,) = sp.Game(m, followers=m.firm, shared=[m.cap], prices=[(m.price, (m.cap, m.firm[1]))]).prices
    assert price.follower == "firm[1]"


def test_a_market_that_serves_the_leader_has_no_price() -> None:
    _, game = market()
    with pytest.raises(sp.InvalidGame, match=r"price: the price of market.balance, and market serves the leader"):
        sp.leader_optimal(game)


def test_a_declared_row_is_felt_by_all_who_move_it() -> None:
    m, game = firms(3, declared=True)
    assert [f.constraints for f in game.followers.values()] == [[m.cap]] * 3
    assert not game.leader.constraints
    (row,) = members(game.shared_rows())
    assert row == [(f"firm[{k}]", "upper", 1.0) for k in range(3)]
    game.rescan()
    assert [len(f.rows) for f in game.followers.values()] == [1, 1, 1]


def test_a_declared_row_is_felt_through_an_aggregate() -> None:
    m, _ = firms(3, declared=True)
    m.total = pyo.Var()
    m.sum = pyo.Constraint(expr=m.total == m.firm[0].q + m.firm[1].q)
    m.limit = pyo.Constraint(expr=m.total <= 1)
    game = sp.Game(m, followers=m.firm, aggregates=[m.sum], shared=[m.limit])
    assert [f.constraints for f in game.followers.values()] == [[m.limit], [m.limit], []]


@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0), (2.0, 1.0, 1 / 3), (-1.0, 2.0, -0.1)])
def test_one_row_written_once_per_follower_is_recognised(factors: tuple[float, ...]) -> None:
    _, game = firms(3, factors=factors)
    (row,) = members(game.shared_rows())
    assert row == [
        (f"firm[{k}]", "upper" if factor > 0 else "lower", round(factor / factors[0], 9))
        for k, factor in enumerate(factors)
    ]
    told = [finding for finding in game.check() if "one row with" in finding.message]
    assert len(told) == 1
    assert told[0].component == "firm[0].cap"


def test_curved_rows_are_the_same_node_by_node() -> None:
    m, _ = firms(2, factors=(1.0, 1.0))
    for k, firm in m.firm.items():
        firm.ball = pyo.Constraint(expr=m.firm[0].q ** 2 + m.firm[1].q ** 2 <= 4)
        firm.other = pyo.Constraint(expr=m.firm[0].q ** 2 + (k + 1) * m.firm[1].q ** 2 <= 9)
    names = [row.name for row in sp.Game(m, followers=m.firm).shared_rows()]
    assert sorted(names) == ["firm[0].ball", "firm[0].cap"]


@pytest.mark.parametrize("change", ["level", "coefficient", "side"])
def test_rows_that_differ_are_not_one(change: str) -> None:
    m, _ = firms(2, factors=(1.0, 1.0))
    x, y = m.firm[0].q, m.firm[1].q
    rows = {"level": x + y <= 1 + 1e-9, "coefficient": x + (1 + 1e-9) * y <= 1, "side": x + y >= 1}
    m.firm[1].cap.set_value(rows[change])
    assert sp.Game(m, followers=m.firm).shared_rows() == []


def test_a_row_that_holds_nobody_else_is_shared_with_nobody() -> None:
    m, _ = firms(2, factors=(1.0, 1.0))
    for firm in m.firm.values():
        firm.cap.set_value(m.firm[0].q <= 1)  # the second firm cannot move it
    assert sp.Game(m, followers=m.firm).shared_rows() == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda m: [m.lone], "lone: a shared row that no follower feels"),
        (lambda m: [m.firm[0].cap], r"firm\[0\].cap: a shared row is a Constraint of the model outside every"),
        (lambda m: [m.goal], "shared=goal: expected a Constraint"),
        (lambda m: ["nothing"], "nothing: .* no component of that name"),
    ],
)
def test_a_shared_row_that_cannot_be_is_refused_by_name(wrong: Any, words: str) -> None:
    m, _ = firms(2, factors=(1.0, 1.0))
    m.z = pyo.Var(initialize=0)
    m.lone = pyo.Constraint(expr=m.z <= 1)
    with pytest.raises(sp.InvalidGame, match=words):
        sp.Game(m, followers=m.firm, shared=wrong(m))


def test_files_keep_prices_and_shared_rows(tmp_path: Path) -> None:
    _, game = market()
    game.write(tmp_path / "market.json")
    (price,) = sp.read_game(tmp_path / "market.json").prices
    assert (price.var.name, price.follower) == ("price", "market")
    assert price.row.equality
    _, game = firms(3, declared=True)
    game.write(tmp_path / "firms.json")
    again = sp.read_game(tmp_path / "firms.json")
    assert len(again.shared) == 1
    assert [[member[1:] for member in row] for row in members(again.shared_rows())] == [[("upper", 1.0)] * 3]


def test_twins_keep_prices_and_shared_rows() -> None:
    m, _ = firms(2, declared=True)
    m.price = pyo.Var()
    game = sp.Game(m, followers=m.firm, shared=[m.cap], prices=[(m.price, (m.cap, m.firm[1]))])
    for twin in (game.with_sizes({}), game.expand()):
        assert len(twin.shared) == 1
        assert [p.follower for p in twin.prices] == ["firm[1]"]
        assert [len(f.constraints) for f in twin.followers.values()] == [1, 1]


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ({"lam": {"follower": "f", "row": "y<=2"}}, "is not a row of f"),
        ({"lam": {"follower": "g", "row": "y<=1"}}, "unknown follower 'g'"),
        ({"lam": {"row": "y<=1"}}, "has no 'follower'"),
        ({"lam": {"follower": "f"}}, "has no 'row'"),
        ({"lam": {"follower": "f", "row": "y<=1", "sign": 1}}, "unknown field 'sign'"),
        ({"2": {"follower": "f", "row": "y<=1"}}, "is not a Python identifier"),
        (["lam"], "expected an object"),
    ],
)
def test_a_file_says_what_is_wrong_with_a_price(prices: Any, words: str) -> None:
    follower = {"name": "f", "variables": [{"name": "y"}], "objective": "y**2", "constraints": ["y <= 1"]}
    document = {
        "format": "stackpyomo-game/1",
        "leader": {"variables": [], "objective": "0"},
        "followers": [follower],
        "prices": prices,
    }
    with pytest.raises(sp.GameFileError, match=words):
        parse_game(document)


def test_what_a_deviation_moves_moves_by_every_action_of_it() -> None:
    """By hand: total = 2 a + b + c, and the follower of a and b goes from (1, 2) to (3, 5): from 7 to 14."""
    m = pyo.ConcreteModel()
    m.total, m.one, m.other = pyo.Var(initialize=7.0), pyo.Block(), pyo.Block()
    m.one.a, m.one.b, m.other.c = pyo.Var(initialize=1.0), pyo.Var(initialize=2.0), pyo.Var(initialize=3.0)
    m.one.cost, m.other.cost = pyo.Objective(expr=m.one.a**2), pyo.Objective(expr=m.other.c**2)
    m.sum = pyo.Constraint(expr=m.total == 2 * m.one.a + m.one.b + m.other.c)
    m.goal = pyo.Objective(expr=m.total**2)
    game = sp.Game(m, followers=[m.one, m.other], aggregates=[m.sum])
    moved = moved_along(game.followers["one"], game.movers(), {id(m.one.a): 3.0, id(m.one.b): 5.0})
    assert {key: pyo.value(level) for key, level in moved.items()} == {id(m.total): 14.0}


def test_a_price_of_what_is_no_row_is_named() -> None:
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(), pyo.Block()
    m.f.u = pyo.Var()
    m.f.cost = pyo.Objective(expr=m.f.u**2)
    with pytest.raises(sp.InvalidGame, match=r"prices=\(price, f\.u\): expected \(Var, Constraint\)"):
        sp.Game(m, m.f, prices=[(m.price, m.f.u)])
