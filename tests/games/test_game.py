"""Games: a model that is none is refused by every door with one clear error, naming the component and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import snapshot
from helpers.roads import INF, NAN, Edit, cost, game_of, roads, row
from pyomo.gdp import Disjunction
from pyomo.mpec import Complementarity, complements

import stackpyomo as sp


def idle_follower(m: Any) -> dict[str, Any]:
    m.idle = pyo.Block()
    m.idle.cost = pyo.Objective(expr=m.toll**2)
    return {"followers": [m.driver, m.idle]}


def stranger() -> Any:
    other = pyo.ConcreteModel(name="elsewhere")
    other.far = pyo.Var(initialize=1.0)
    return other


def param(value: Any, use: Callable[[Any], Any]) -> Edit:
    """Declare the mutable Param p (``...``: without a value), then ``use(m)``."""

    def edit(m: Any) -> None:
        given = {} if value is ... else {"initialize": value}
        m.p = pyo.Param(mutable=True, within=pyo.Any, **given)
        use(m)

    return edit


def bounds(lower: Any, upper: Any) -> Edit:
    def edit(m: Any) -> None:
        m.driver.flow.setlb(lower)
        m.driver.flow.setub(upper)

    return edit


def fixed(name: str, value: float | None) -> Edit:
    def edit(m: Any) -> None:
        var = m.find_component(name)
        var.set_value(value, skip_validation=True)
        var.fixed = True

    return edit


def on(name: str, component: Callable[[Any], Any]) -> Edit:
    """Add ``component(m)`` under a dotted name."""

    def edit(m: Any) -> None:
        *path, last = name.split(".")
        (m.find_component(path[0]) if path else m).add_component(last, component(m))

    return edit


def hidden(m: Any) -> None:
    m.sub = pyo.Block()
    m.sub.x = pyo.Var(initialize=0.0)
    m.sub.deactivate()
    m.uses = pyo.Constraint(expr=m.toll <= m.sub.x)


def sos(m: Any) -> None:
    m.lane = pyo.Var([1, 2], bounds=(0, 1), initialize=0.0)
    m.s = pyo.SOSConstraint(var=m.lane, sos=1)


def named_expression(m: Any) -> None:
    m.driver.waste = pyo.Expression(expr=m.p * m.driver.flow)
    m.driver.cost.set_value(m.driver.flow**2 + m.driver.waste)


def in_cost(m: Any) -> None:
    m.driver.cost.set_value((m.driver.flow - m.p) ** 2 + m.toll * m.driver.flow)


def in_row(m: Any) -> None:
    m.driver.row = pyo.Constraint(expr=m.driver.flow <= m.p)


def in_bound(m: Any) -> None:
    m.driver.flow.setub(m.p)


def in_range(m: Any) -> None:
    m.driver.row = pyo.Constraint(expr=(m.p, m.driver.flow, 0.75))


FINITE = "Data must be finite"


UNSOUND: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "no objective": (lambda m: m.driver.cost.deactivate(), ("driver: ", "no active objective", "Add exactly one")),
    "two objectives": (
        on("driver.more", lambda m: pyo.Objective(expr=m.driver.flow)),
        ("driver: ", "driver.cost, driver.more", "Deactivate all but one"),
    ),
    "two objectives of the leader": (
        on("more", lambda m: pyo.Objective(expr=m.toll)),
        ("roads: ", "miss, more", "Keep one"),
    ),
    "owns nothing": (idle_follower, ("idle: ", "owns no variable", "Declare its decisions")),
    "steps of two": (
        lambda m: setattr(m.driver.flow, "domain", pyo.RangeSet(0, 6, 2)),
        ("driver.flow: ", "neither the reals nor whole numbers", "integer variables"),
    ),
    "fixed at None": (fixed("driver.flow", None), ("driver.flow: ", "fixed at None", "unfix")),
    "fixed at nan": (fixed("toll", NAN), ("toll: ", "fixed at nan", "Fix it at a number")),
    "nan coefficient": (cost(lambda m: NAN * m.driver.flow + m.toll), ("driver.cost: ", "nan", FINITE)),
    "infinite coefficient": (cost(lambda m: INF * m.driver.flow**2), ("driver.cost: ", "inf", FINITE)),
    "nan constant": (cost(lambda m: m.driver.flow**2 + NAN), ("driver.cost: ", "nan", FINITE)),
    "nan inside exp": (cost(lambda m: pyo.exp(NAN * m.driver.flow)), ("driver.cost: ", "nan", FINITE)),
    "inf inside exp": (cost(lambda m: pyo.exp(-INF * m.driver.flow)), ("driver.cost: ", "-inf", FINITE)),
    "nan in the leader's objective": (
        lambda m: m.miss.set_value(m.toll**2 + NAN * m.driver.flow),
        ("miss: ", "nan", FINITE),
    ),
    "nan in a row": (row(lambda m: NAN * m.driver.flow <= 1), ("driver.row: ", "nan", FINITE)),
    "nan inside a nonlinear row": (row(lambda m: pyo.exp(NAN * m.driver.flow) <= 2), ("driver.row: ", "nan", FINITE)),
    "nan on the right": (row(lambda m: m.driver.flow <= NAN), ("driver.row: ", "nan", FINITE)),
    "inf on the right": (row(lambda m: m.driver.flow <= INF), ("driver.row: ", "inf", FINITE)),
    "-inf on the right": (row(lambda m: m.driver.flow <= -INF), ("driver.row: ", "-inf", FINITE)),
    "equal to inf": (row(lambda m: m.driver.flow == INF), ("driver.row: ", "inf", FINITE)),
    "Param without value": (param(..., in_cost), ("driver.cost: ", "parameter p", "Give it a finite value")),
    "Param nan": (param(NAN, in_cost), ("driver.cost: ", "parameter p", "nan", "Give it a finite value")),
    "Param inf": (param(INF, in_cost), ("driver.cost: ", "parameter p", "inf", "Give it a finite value")),
    "Param text": (param("many", in_cost), ("driver.cost: ", "parameter p", "many", "Give it a finite value")),
    "Param in an Expression": (param(NAN, named_expression), ("driver.cost: ", "parameter p", "nan")),
    "Param without value on the right": (param(..., in_row), ("driver.row: ", "parameter p", "Give it")),
    "Param nan on the right": (param(NAN, in_row), ("driver.row: ", "parameter p", "nan", "Give it")),
    "Param -inf on the right": (param(-INF, in_row), ("driver.row: ", "parameter p", "-inf", "Give it")),
    "Param nan in a range": (param(NAN, in_range), ("driver.row: ", "parameter p", "nan", "Give it")),
    "empty range": (param(2.5, in_range), ("driver.row: ", "2.5 is above", "0.75", "Correct the data")),
    "Param without value as a bound": (param(..., in_bound), ("driver.flow: ", "bound", "Correct the bound")),
    "Param nan as a bound": (param(NAN, in_bound), ("driver.flow: ", "bound", "nan", "Correct the bound")),
    "Param -inf as an upper bound": (param(-INF, in_bound), ("driver.flow: ", "-inf", "Correct the bound")),
    "Param below the lower bound": (param(-1, in_bound), ("driver.flow: ", "above its upper bound -1", "Correct")),
    "nan as a lower bound": (bounds(NAN, 1), ("driver.flow: ", "lower bound", "nan", "Correct the bound")),
    "nan as an upper bound": (bounds(0, NAN), ("driver.flow: ", "upper bound", "nan", "Correct the bound")),
    "inf as a lower bound": (bounds(INF, None), ("driver.flow: ", "lower bound", "inf", "Correct the bound")),
    "lb > ub": (bounds(0.75, 0.5), ("driver.flow: ", "0.75 is above its upper bound 0.5", "Correct the bounds")),
    "data divided by zero": (param(0, lambda m: m.driver.cost.set_value(m.driver.flow**2 / m.p)), ("driver.cost: ",)),
    "log of negative data": (
        param(-1, lambda m: m.driver.cost.set_value(m.driver.flow**2 * pyo.log(m.p))),
        ("driver.cost: ",),
    ),
    "Complementarity": (
        on("driver.c", lambda m: Complementarity(expr=complements(m.driver.flow >= 0, m.toll >= 0))),
        ("driver.c: ", "Complementarity", "Transform it"),
    ),
    "Complementarity of the leader": (
        on("c", lambda m: Complementarity(expr=complements(m.driver.flow >= 0, m.toll >= 0))),
        ("c: ", "Complementarity", "deactivate"),
    ),
    "SOSConstraint": (sos, ("s: ", "SOSConstraint", "pw_repn='INC'")),
    "Disjunction": (
        on("driver.d", lambda m: Disjunction(expr=[m.driver.flow <= 0.1, m.driver.flow >= 0.9])),
        ("driver.d: ", "Disjunction", "gdp.bigm"),
    ),
    "LogicalConstraint": (
        on("yes", lambda m: pyo.LogicalConstraint(expr=pyo.atleast(1, [pyo.BooleanVar(name="b")]))),
        ("yes: ", "LogicalConstraint", "gdp.bigm"),
    ),
    "variable of another model in a cost": (
        cost(lambda m: (m.driver.flow - stranger().far) ** 2),
        ("driver.cost: ", "far", "Declare the Var on the model"),
    ),
    "variable of another model in a row": (
        row(lambda m: m.driver.flow <= stranger().far),
        ("driver.row: ", "far", "Declare the Var on the model"),
    ),
    "variable of a deactivated block": (hidden, ("uses: ", "sub.x", "activate its Block")),
}


def from_values(game: sp.Game) -> sp.Incentive:
    return sp.affine_incentive(sp.Plan.from_values(game))


def verified_values(game: sp.Game) -> sp.Report:
    """A plan of hand-made figures, so that it is verify that has to refuse."""
    values = dict.fromkeys(game.variables_by_name, 0.5)
    return sp.verify(sp.Plan(values, 0.0, dict.fromkeys(game.followers, 0.0), game=game))


@pytest.mark.parametrize("entry", [sp.leader_optimal, from_values, verified_values])
@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_models_are_refused(case: str, entry: Callable[[sp.Game], Any], refused: Any) -> None:
    edit, words = UNSOUND[case]
    m = roads()
    game = game_of(m, edit)
    if entry is from_values and "fixed at" in case:
        words = (words[0],)  # it is the missing value that is named
    error = refused(m, lambda: entry(game), sp.InvalidGame, *words)
    if entry is not from_values:
        named = [str(f) for f in game.check() if f.severity == "error"]
        assert any(finding in str(error) for finding in named), "check() finds what is refused, without raising"


@pytest.mark.parametrize("case", ["nan", "inf"])
def test_a_start_that_is_no_number_is_refused(case: str, refused: Any) -> None:
    m = roads()
    m.toll.set_value(float(case), skip_validation=True)
    refused(m, lambda: sp.leader_optimal(game_of(m)), sp.InvalidGame, "toll", case)


def test_a_leader_without_an_objective_can_only_be_verified(refused: Any) -> None:
    m = roads()
    m.miss.deactivate()
    game = game_of(m)
    refused(m, lambda: sp.leader_optimal(game), sp.InvalidGame, "roads: ", "no active objective", "Add one Objective")
    before = snapshot(m)
    m_plan = sp.Plan.from_values(game)
    assert sp.verify(m_plan).regret["driver"] > 0
    assert snapshot(m) == before


def test_a_fixed_variable_of_another_model_needs_a_value(refused: Any) -> None:
    m, other = roads(), stranger()
    other.far.set_value(None)
    other.far.fixed = True
    game = game_of(m, row(lambda m: m.driver.flow <= other.far))
    refused(m, lambda: sp.leader_optimal(game), sp.InvalidGame, "driver.row: ", "far")


def test_what_is_deactivated_or_unlimited_is_no_error() -> None:
    m = roads()
    m.c = Complementarity(expr=complements(m.driver.flow >= 0, m.toll >= 0))
    m.c.deactivate()
    m.broken = pyo.Constraint(expr=NAN * m.toll <= 1)
    m.broken.deactivate()
    m.price.setub(INF)
    assert sp.leader_optimal(game_of(m)).value(m.driver.flow) == pytest.approx(0.6, abs=1e-6)


@pytest.mark.parametrize("missing", ["toll", "driver.flow"])
def test_values_that_are_needed_and_missing(missing: str, refused: Any) -> None:
    m = roads()
    m.find_component(missing).set_value(None)
    remedy = f"model.{missing}.set_value"
    refused(m, lambda: sp.Plan.from_values(game_of(m)), sp.InvalidGame, f"{missing}: ", "None", remedy)
