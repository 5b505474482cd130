"""What an incentive gives its user: words on paper and on screen, tables, and what it says once read again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import toll_game

import stackpyomo as sp


@pytest.fixture(scope="module")
def toll() -> sp.Incentive:
    return sp.affine_incentive(sp.leader_optimal(toll_game()))


def test_an_incentive_read_again_says_what_it_can(toll: sp.Incentive) -> None:
    alone = sp.Incentive.from_json(toll.to_json())
    assert str(alone).splitlines()[:3] == str(toll).splitlines()[:3]
    assert "from_json(text, game)" in str(alone)
    assert alone.to_markdown().startswith("The leader announces:")
    assert alone.to_latex()
    for ask in (lambda: alone.payments, lambda: alone.compare(toll.plan), lambda: alone.to_markdown(toll.plan)):
        with pytest.raises(sp.InvalidGame, match="has no game"):
            ask()
    assert str(sp.Incentive.from_json(toll.to_json(), toll.attached())) == str(toll)


def test_a_notebook_shows_it(toll: sp.Incentive) -> None:
    assert "<td>more driver.flow</td><td>0.8</td><td>0.8</td>" in toll._repr_html_()


def two_tolls(**units: Any) -> sp.Incentive:
    """Two drivers, each with a toll of its own, declared backwards: Q = 4/3 for both, as for the toll game."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var([2, 1], bounds=(-2, 2), units=units.get("toll"))
    m.driver = pyo.Block([2, 1])
    for i in (2, 1):
        m.driver[i].flow = pyo.Var(bounds=(0, 1), units=units.get("flow"))
        m.driver[i].cost = pyo.Objective(expr=(m.driver[i].flow - 1) ** 2 + m.toll[i] * m.driver[i].flow)
    m.miss = pyo.Objective(expr=sum((m.driver[i].flow - 0.6) ** 2 + 0.01 * m.toll[i] ** 2 for i in (2, 1)))
    plan = sp.leader_optimal(sp.Game(m, m.driver))
    return sp.affine_incentive(plan, [(m.toll[i], [m.driver[i].flow]) for i in (2, 1)])


def test_terms_as_csv_in_the_order_of_the_model() -> None:
    rule = two_tolls()
    table = pd.read_csv(io.StringIO(rule.to_csv()))
    assert table["variable"].tolist() == ["toll[2]", "toll[1]"]
    assert table["signal"].tolist() == ["driver[2].flow", "driver[1].flow"]
    assert table["followers"].tolist() == ["driver[2]", "driver[1]"]
    assert table["unit"].isna().all()
    assert table["per_unit"].tolist() == pytest.approx([4 / 3, 4 / 3], abs=1e-5)
    assert table[["on_plan", "target"]].to_numpy().ravel().tolist() == pytest.approx([0, 0.6] * 2, abs=1e-5)
    read = sp.Incentive.from_json(rule.to_json())
    assert pd.read_csv(io.StringIO(read.to_csv()))["per_unit"].tolist() == table["per_unit"].tolist()


def test_terms_with_the_units_of_the_model() -> None:
    rule = two_tolls(toll=pyo.units.kg, flow=pyo.units.m)
    table = pd.read_csv(io.StringIO(rule.to_csv()))
    assert (set(table["unit"]), set(table["signal_unit"])) == ({"kg"}, {"m"})
    assert "toll[2] [kg] = 0 + 1.33333 (driver[2].flow − 0.6)" in str(rule)


def test_units_within_expressions_count_as_1(tmp_path: Path) -> None:
    """2 (u − 1)² + t u − 0.2 u at u = 0.6: K = −(4·(−0.4) − 0.2)/0.6 = 3."""
    units, m = pyo.units, pyo.ConcreteModel()
    m.price = pyo.Param(initialize=0.2, units=units.kg / units.m, mutable=True)
    m.toll = pyo.Var(bounds=(-2, 2), units=units.kg / units.m)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), units=units.m)
    left = m.driver.flow - 1 * units.m
    m.driver.cost = pyo.Objective(expr=2 * units.kg / units.m**2 * left**2 + (m.toll - m.price) * m.driver.flow)
    m.driver.cap = pyo.Constraint(expr=m.driver.flow <= 0.9 * units.m)
    toll = m.toll * units.m / units.kg
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6 * units.m) ** 2 / units.m**2 + 0.01 * toll**2)
    game = sp.Game(m, m.driver)
    assert game.check() == []
    rule = sp.affine_incentive(sp.leader_optimal(game))
    assert rule.gain.loc["toll", "driver.flow"] == pytest.approx(3.0)
    assert "toll [kg/m] = 0 + 3 (driver.flow − 0.6)" in str(rule)
    assert sp.verify(rule).ok
    game.write(tmp_path / "game.json")
    assert sp.verify(sp.affine_incentive(sp.leader_optimal(sp.read_game(tmp_path / "game.json")))).ok
