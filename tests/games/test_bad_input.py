"""Bad input gives one clear error of our own, naming the component and the remedy; the model stays as it was."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game, work
from pyomo.core.expr.numeric_expr import MaxExpression
from pyomo.core.staleflag import StaleFlagManager
from pyomo.gdp import Disjunction
from pyomo.mpec import Complementarity, complements

import stackpyomo as sp
from stackpyomo.solvers import Solution, Termination, nl_file, registry
from stackpyomo.solvers import program as programs

NAN, INF = math.nan, math.inf
INSTALLED = [name for name, info in registry.items() if info.available]
Edit = Callable[[Any], Any]


def roads() -> Any:
    """The toll game with everything a careless package could disturb: values, fixing, deactivation, stale flags."""
    m = pyo.ConcreteModel(name="roads")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.5)
    m.price = pyo.Var(bounds=(0, 9), initialize=0.125)
    m.weather = pyo.Var(initialize=0.25)
    m.weather.fix()
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.125)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow + 0 * m.weather)
    m.driver.closed = pyo.Constraint(expr=m.driver.flow * NAN == INF)
    m.driver.closed.deactivate()
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    m.other = pyo.Objective(expr=-(m.driver.flow**3))
    m.other.deactivate()
    m.driver.flow.stale = True
    return m


def game_of(m: Any, edit: Edit | None = None) -> sp.Game:
    """The game on ``m`` after ``edit(m)``, which may return what Game(...) takes instead of followers=m.driver."""
    arguments = edit(m) if edit is not None else None
    return sp.Game(m, **{"followers": m.driver, **(arguments if isinstance(arguments, dict) else {})})


def state(model: Any) -> list[Any]:
    """conftest's snapshot, or as much of it as can be read when a bound is no number."""
    try:
        return snapshot(model)
    except ValueError:
        variables = model.component_data_objects(pyo.Var, active=None)
        return [(v.name, v.value, v.fixed, str(v.lower), str(v.upper), v.stale, v.domain.name) for v in variables]


@pytest.fixture
def refused(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """Call, and expect exactly this error, these words in its one line, no noise in the log, an unchanged model."""

    def check(model: Any, call: Callable[[], Any], error: type[Exception], *words: str) -> Any:
        before = state(model)
        caplog.clear()
        with pytest.raises(sp.StackpyomoError) as caught:
            call()
        noise = [r.getMessage() for r in caplog.records if r.levelname in ("ERROR", "CRITICAL", "WARNING")]
        assert state(model) == before
        assert type(caught.value) is error
        for word in words:
            assert word in str(caught.value)
        assert str(caught.value).count("\n") == 0, "one line"
        assert noise == [], "one message, not two"
        return caught.value

    return check


# --- models that are no games -------------------------------------------------------------------------------------


def idle_follower(m: Any) -> dict[str, Any]:
    m.idle = pyo.Block()
    m.idle.cost = pyo.Objective(expr=m.toll**2)
    return {"followers": [m.driver, m.idle]}


def stranger() -> Any:
    other = pyo.ConcreteModel(name="elsewhere")
    other.far = pyo.Var(initialize=1.0)
    return other


def cost(expression: Callable[[Any], Any]) -> Edit:
    """Replace the driver's cost."""
    return lambda m: m.driver.cost.set_value(expression(m))


def row(expression: Callable[[Any], Any]) -> Edit:
    """Add a constraint to the driver."""

    def edit(m: Any) -> None:
        m.driver.row = pyo.Constraint(expr=expression(m))

    return edit


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
    "SOSConstraint": (
        sos,
        ("s: ", "SOSConstraint", "Transform it"),
    ),
    "Disjunction": (
        on("driver.d", lambda m: Disjunction(expr=[m.driver.flow <= 0.1, m.driver.flow >= 0.9])),
        ("driver.d: ", "Disjunction", "Transform it"),
    ),
    "LogicalConstraint": (
        on("yes", lambda m: pyo.LogicalConstraint(expr=pyo.atleast(1, [pyo.BooleanVar(name="b")]))),
        ("yes: ", "LogicalConstraint", "deactivate"),
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


# --- plans that do not exist --------------------------------------------------------------------------------------


def runs_away(m: Any) -> None:
    m.toll.setlb(None)
    m.miss.set_value(m.toll + m.driver.flow**2)


def follower_runs_away(m: Any) -> None:
    m.driver.speed = pyo.Var(initialize=0.0)
    m.miss.set_value(m.toll**2 - m.driver.speed)


def follower_runs_up(m: Any) -> None:
    m.driver.speed = pyo.Var(bounds=(0, None), initialize=0.0)
    m.miss.set_value(m.driver.speed - m.toll**2)
    m.miss.sense = pyo.maximize


def contradiction(m: Any) -> None:
    m.cap = pyo.Constraint(expr=m.driver.flow <= 0.2)
    m.wide = pyo.Constraint(expr=m.toll <= 1.9)
    m.driver.need = pyo.Constraint(expr=m.driver.flow >= 0.5)


def out_of_reach(m: Any) -> None:
    m.driver.need = pyo.Constraint(expr=m.driver.flow**2 >= 1.5)


def all_fixed(lower: float | None, upper: float | None, at: float) -> Edit:
    """Sound rows, and one of the driver's whose only variable is fixed outside."""

    def edit(m: Any) -> None:
        m.wide = pyo.Constraint(expr=m.driver.flow <= 5)
        m.weather.fix(at)
        m.driver.dry = pyo.Constraint(expr=(lower, m.weather * m.weather * m.weather, upper))
        m.late = pyo.Constraint(expr=m.toll <= 5)

    return edit


NO_PLAN: dict[str, tuple[Edit, str, tuple[str, ...], tuple[str, ...]]] = {
    "leader unbounded": (runs_away, "unbounded", ("toll (leader)", "Bound them"), ("driver.flow",)),
    "follower's variable unbounded": (follower_runs_away, "unbounded", ("driver.speed (driver)", "Bound"), ("toll",)),
    "unbounded while maximising": (follower_runs_up, "unbounded", ("driver.speed (driver)", "Bound"), ("toll",)),
    "conflict": (contradiction, "infeasible", ("cap (leader)", "driver.need (driver)", "Relax one"), ("wide",)),
    "conflict with bounds": (out_of_reach, "infeasible", ("driver.need (driver)", "bounds", "Relax"), ()),
    "fixed above": (all_fixed(None, 1, 3), "infeasible", ("driver.dry (driver)", "fixed", "Unfix"), ("wide", "late")),
    "fixed below 0": (all_fixed(0, None, -1), "infeasible", ("driver.dry (driver)", "fixed", "Unfix"), ("wide",)),
    "fixed above 0": (all_fixed(None, 0, 1), "infeasible", ("driver.dry (driver)", "fixed", "Unfix"), ("wide",)),
    "fixed below": (all_fixed(8, 9, 1), "infeasible", ("driver.dry (driver)", "fixed", "Unfix"), ("wide",)),
}


@pytest.mark.parametrize("case", NO_PLAN)
def test_plans_that_do_not_exist_say_why(case: str, refused: Any) -> None:
    edit, termination, words, absent = NO_PLAN[case]
    m = roads()
    game = game_of(m, edit)
    error = refused(m, lambda: sp.leader_optimal(game), sp.NoPlan, *words)
    assert error.termination == termination
    for word in absent:
        assert word not in str(error), "what is not to blame is not named"


@pytest.mark.parametrize("solver", [n for n in INSTALLED if "MIP" in registry[n].classes])
def test_an_infeasible_plan_of_integers_is_no_plan(solver: str, refused: Any) -> None:
    m = roads()
    m.lanes = pyo.Var(domain=pyo.Integers, bounds=(0, 9), initialize=0)
    m.odd = pyo.Constraint(expr=2 * m.lanes == 5)
    error = refused(m, lambda: sp.leader_optimal(game_of(m), solver=solver), sp.NoPlan, "odd (leader)")
    assert error.termination == "infeasible"


def test_an_objective_without_a_value_anywhere_is_no_plan(refused: Any) -> None:
    m = roads()
    m.miss.set_value(pyo.log(m.driver.flow - 5) + m.toll**2)
    refused(m, lambda: sp.leader_optimal(game_of(m)), sp.NoPlan, "found no plan")


def test_an_integer_leader_needs_another_solver(refused: Any) -> None:
    m = roads()
    m.lanes = pyo.Var(domain=pyo.Integers, bounds=(0, 3), initialize=0)
    m.miss.set_value(m.miss.expr + (m.lanes - 1.25) ** 2)
    game = game_of(m)
    refused(m, lambda: sp.leader_optimal(game, solver="pounce"), sp.InvalidGame, "lanes: ", "integer", "solver='scip'")


def test_no_incentive_names_the_follower_without_a_grip(refused: Any) -> None:
    m = roads()
    m.cyclist = pyo.Block()
    m.cyclist.flow = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.cyclist.cost = pyo.Objective(expr=(m.cyclist.flow - 1) ** 2)
    m.miss.set_value(m.miss.expr + (m.cyclist.flow - 0.25) ** 2)
    plan = sp.leader_optimal(game_of(m, lambda m: {"followers": [m.driver, m.cyclist]}))
    words = ("cyclist", "zero gradient", "∇_{u0}", "Let its objective depend on a leader variable")
    error = refused(m, lambda: sp.affine_incentive(plan), sp.NoIncentive, *words)
    assert set(error.reasons) == set(error.residuals) == {"cyclist"}
    assert error.residuals["cyclist"] == pytest.approx(1.5, abs=1e-6)  # |2 (0.25 − 1)|
    assert "zero gradient" in error.reasons["cyclist"]


# --- wrong arguments ----------------------------------------------------------------------------------------------


def twin(m: Any) -> Any:
    """A Block inside the driver, with all a follower needs."""
    m.driver.inner = pyo.Block()
    m.driver.inner.x = pyo.Var(initialize=0.0)
    m.driver.inner.cost = pyo.Objective(expr=m.driver.inner.x**2)
    return m.driver.inner


def mean(expression: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(m: Any) -> Any:
        m.mean = pyo.Var(initialize=0.0)
        m.defines = pyo.Constraint(expr=expression(m))
        return m.defines

    return add


def singular(m: Any) -> Any:
    m.mean, m.half = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.first = pyo.Constraint(expr=m.mean + m.half == m.driver.flow)
    m.second = pyo.Constraint(expr=2 * m.mean + 2 * m.half == m.driver.flow)
    return [m.first, m.second]


def followers_row(m: Any) -> Any:
    m.mean = pyo.Var(initialize=0.0)
    m.driver.defines = pyo.Constraint(expr=m.mean == m.driver.flow)
    return m.driver.defines


def switched_off(m: Any) -> Any:
    constraint = mean(lambda m: m.mean == m.driver.flow)(m)
    constraint.deactivate()
    return constraint


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
AGGREGATES: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "a Var": (lambda m: m.toll, ("aggregates=toll", "expected an equality Constraint")),
    "a name": (lambda m: "miss", ("aggregates=miss", "expected an equality Constraint")),
    "an Objective": (lambda m: [m.miss], ("aggregates=miss", "expected an equality Constraint")),
    "an inequality": (mean(lambda m: m.mean <= m.driver.flow), ("defines: ", "equality")),
    "a follower's": (followers_row, ("driver.defines: ", "outside every follower")),
    "nonlinear in actions": (mean(lambda m: m.mean == m.driver.flow**2), ("defines: ", "linear", "objectives")),
    "nonlinear in itself": (mean(lambda m: m.mean**2 == m.driver.flow), ("defines: ", "linear")),
    "two variables": (mean(lambda m: m.mean + m.toll == m.driver.flow), ("defines: ", "mean, toll", "Fix the others")),
    "no variable": (mean(lambda m: m.driver.flow == 0.5), ("defines: ", "none")),
    "twice the same": (lambda m: [mean(lambda m: m.mean == m.driver.flow)(m)] * 2, ("defines", "mean")),
    "singular": (singular, ("first, second: ", "do not determine")),
    "deactivated": (switched_off, ("defines: ", "deactivated")),
    "nan": (mean(lambda m: m.mean == NAN * m.driver.flow), ("defines: ", "nan")),
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


@pytest.mark.parametrize("case", AGGREGATES)
def test_aggregates_that_are_none(case: str, refused: Any) -> None:
    add, words = AGGREGATES[case]
    m = roads()
    found = add(m)

    def play() -> None:
        sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.driver, aggregates=found)))

    refused(m, play, sp.InvalidGame, *words)


@pytest.fixture(scope="module")
def plan() -> sp.Plan:
    """A sound plan; no test changes it."""
    return sp.leader_optimal(game_of(roads()))


def model_of(plan: sp.Plan) -> Any:
    return plan.attached().model


GARBAGE = ("{", "[]", "{}", "null", '{"values": 3}')
Call = Callable[[sp.Plan], Any]
ARGUMENTS: dict[str, tuple[Call, tuple[str, ...]]] = {
    # plans
    "leader_optimal(model)": (lambda p: sp.leader_optimal(model_of(p)), ("leader_optimal", "Game")),
    "leader_optimal(None)": (lambda p: sp.leader_optimal(None), ("leader_optimal", "Game")),
    **{
        f"starts={n!r}": (lambda p, n=n: sp.leader_optimal(p.attached(), starts=n), ("starts", repr(n)))
        for n in (0, -1, 1.5, "3", None)
    },
    **{
        f"time_limit={t!r}": (lambda p, t=t: sp.leader_optimal(p.attached(), time_limit=t), ("time_limit", repr(t)))
        for t in (0, -1, NAN, "3")
    },
    "value of no variable": (lambda p: p.value("speed"), ("speed: ", "not a variable")),
    # incentives
    "affine_incentive(game)": (lambda p: sp.affine_incentive(p.attached()), ("affine_incentive", "Plan")),
    "affine_incentive(None)": (lambda p: sp.affine_incentive(None), ("affine_incentive", "Plan")),
    "free, valued": (lambda p: sp.affine_incentive(p, free="toll"), ("toll: ", "cannot be free", "miss")),
    "free, valued Var": (lambda p: sp.affine_incentive(p, free=[model_of(p).toll]), ("toll: ", "cannot be free")),
    "free, a follower's": (lambda p: sp.affine_incentive(p, free=model_of(p).driver.flow), ("driver.flow: ", "leader")),
    "free, unknown": (lambda p: sp.affine_incentive(p, free=["nope"]), ("nope: ", "no component of that name")),
    "free, no Var": (lambda p: sp.affine_incentive(p, free="miss"), ("miss: ", "expected a Var of the leader")),
    "free, a number": (lambda p: sp.affine_incentive(p, free=3), ("3: ", "expected a Var of the leader")),
    "free, not even a list": (lambda p: sp.affine_incentive(p, free=None), ("None: ", "expected a Var of the leader")),
    "free, another model": (lambda p: sp.affine_incentive(p, free=roads().toll), ("toll: ", "not a variable")),
    **{
        f"energy {w!r}": (
            lambda p, w=w: sp.affine_incentive(p, energy={"toll": w}),
            ("energy", "toll", "finite number above 0"),
        )
        for w in (0, -1, NAN, INF, "x", None)
    },
    "energy, unknown": (lambda p: sp.affine_incentive(p, energy={"nope": 1}), ("nope: ", "no component")),
    "energy, a follower's": (
        lambda p: sp.affine_incentive(p, energy={"driver.flow": 1}),
        ("driver.flow: ", "not a variable of the leader"),
    ),
    **{
        f"energy={e!r}": (lambda p, e=e: sp.affine_incentive(p, energy=e), ("energy", "pairs"))
        for e in (3, [1, 2], "toll")
    },
    **{
        f"observe={o!r}": (lambda p, o=o: sp.affine_incentive(p, o), ("observe", repr(o)))
        for o in ("all", None, 7, object)
    },
    **{
        f"multipliers={v!r}": (
            lambda p, v=v: sp.affine_incentive(p, multipliers=v),
            ("multipliers", "'zero' or 'free'"),
        )
        for v in ("some", None, 0)
    },
    # verification
    "verify(object())": (lambda p: sp.verify(object()), ("verify(object)", "expected a Plan or an Incentive")),
    "verify(game)": (lambda p: sp.verify(p.attached()), ("verify(Game)", "expected a Plan or an Incentive")),
    **{
        f"certify={c!r}": (lambda p, c=c: sp.verify(p, certify=c), ("certify", "'convex'", "'multistart'"))
        for c in ("proved", None, 1)
    },
    **{
        f"verify starts={n!r}": (lambda p, n=n: sp.verify(p, starts=n), ("starts", repr(n))) for n in (0, -1, 1.5, None)
    },
    **{
        f"tolerance={t!r}": (lambda p, t=t: sp.verify(p, tolerance=t), ("tolerance", repr(t)))
        for t in (-1.0, NAN, INF, "small", None)
    },
    # plans and incentives without a game, and texts that are none
    "load without game": (lambda p: sp.Plan.from_json(p.to_json()).load(), ("no game", "from_json(text, game)")),
    "verify without game": (lambda p: sp.verify(sp.Plan.from_json(p.to_json())), ("no game", "from_json(text, game)")),
    "incentive without game": (
        lambda p: sp.affine_incentive(sp.Plan.from_json(p.to_json())),
        ("no game", "from_json(text, game)"),
    ),
    "verify an incentive without game": (
        lambda p: sp.verify(sp.Incentive.from_json(sp.affine_incentive(p).to_json())),
        ("no game", "from_json(text, game)"),
    ),
    "strategy without game": (
        lambda p: sp.Incentive.from_json(sp.affine_incentive(p).to_json()).strategy(),
        ("no game", "from_json(text, game)"),
    ),
    "null_space from JSON": (
        lambda p: sp.Incentive.from_json(sp.affine_incentive(p).to_json()).null_space,
        ("null_space", "design the incentive anew"),
    ),
    "a signal of nobody": (
        lambda p: sp.affine_incentive(p).actions({"speed": 1.0}),
        ("speed: ", "not a signal", "driver.flow"),
    ),
    **{f"Plan of {text}": (lambda p, text=text: sp.Plan.from_json(text), ("plan", "to_json")) for text in GARBAGE},
    **{
        f"Incentive of {text}": (lambda p, text=text: sp.Incentive.from_json(text), ("incentive", "to_json"))
        for text in GARBAGE
    },
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_that_make_no_sense(case: str, plan: sp.Plan, refused: Any) -> None:
    call, words = ARGUMENTS[case]
    refused(model_of(plan), lambda: call(plan), sp.InvalidGame, *words)


@pytest.mark.parametrize("entry", [sp.verify, sp.affine_incentive, sp.Plan.load])
def test_a_plan_read_for_another_game_is_refused(entry: Callable[[sp.Plan], Any], plan: sp.Plan, refused: Any) -> None:
    m = roads()
    m.driver.speed = pyo.Var(initialize=0.0)
    m.driver.cost.set_value(m.driver.cost.expr + m.driver.speed**2)
    game = game_of(m)
    refused(m, lambda: entry(sp.Plan.from_json(plan.to_json(), game)), sp.InvalidGame, "driver.speed")


@pytest.mark.parametrize("entry", [sp.verify, sp.affine_incentive])
def test_a_variable_fixed_elsewhere_after_the_plan_is_noticed(entry: Callable[[sp.Plan], Any], refused: Any) -> None:
    """Nothing said at flow = 0.2 is about a plan at flow = 0.6."""
    m = roads()
    plan = sp.leader_optimal(game_of(m))
    m.driver.flow.fix(0.2)
    refused(m, lambda: entry(plan), sp.InvalidGame, "driver.flow", "fixed", "0.2")
    m.driver.flow.fix(plan.value(m.driver.flow))
    entry(plan)


USES: dict[str, Callable[[sp.Plan, str], Any]] = {
    "leader_optimal": lambda plan, name: sp.leader_optimal(plan.attached(), solver=name),
    "affine_incentive": lambda plan, name: sp.affine_incentive(plan, solver=name),
    "affine_incentive, free": lambda plan, name: sp.affine_incentive(plan, free="price", solver=name),
    "verify": lambda plan, name: sp.verify(plan, solver=name),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["clpex", "", None, 5])
def test_unknown_solvers(name: Any, use: str, plan: sp.Plan, refused: Any) -> None:
    words = (repr(name), "unknown solver", "pounce", "scip")
    refused(model_of(plan), lambda: USES[use](plan, name), sp.SolverNotAvailable, *words)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", registry)
def test_solvers_that_are_not_installed(
    name: str, use: str, plan: sp.Plan, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = registry[name]
    monkeypatch.setitem(registry, name, dataclasses.replace(info, version=lambda: None))
    words = (repr(name), "not installed", info.install)
    refused(model_of(plan), lambda: USES[use](plan, name), sp.SolverNotAvailable, *words)
    assert any(tool in info.install for tool in ("pip install", "conda install")), "says what to type"


# --- the model is left as it was: success, failure, interruption --------------------------------------------------


def everything(game: sp.Game, solver: str = "auto") -> sp.Report:
    """All that the package does with a game."""
    plan = sp.leader_optimal(game, solver=solver, starts=3)
    sp.affine_incentive(plan, free="price", multipliers="free", solver=solver)
    rule = sp.affine_incentive(plan, solver=solver)
    sp.verify(plan, solver=solver, certify="multistart", starts=2)
    return sp.verify(rule, solver=solver)


def priced(m: Any) -> None:
    """Let the free variable matter."""
    m.driver.cost.set_value(m.driver.cost.expr + m.price * m.driver.flow)


def crowded(m: Any) -> dict[str, Any]:
    """A population, its mean as an aggregate, a shared Expression, a row of each kind."""
    m.mean = pyo.Var(initialize=0.25)
    m.defines = pyo.Constraint(expr=m.mean == m.driver.flow)
    m.driver.jam = pyo.Expression(expr=m.mean**2)
    m.driver.cost.set_value(m.driver.cost.expr + m.price * m.driver.flow + 0.1 * m.driver.jam)
    m.driver.band = pyo.Constraint(expr=(0.05, m.driver.flow, 0.95))
    m.driver.least = pyo.Constraint(expr=m.driver.flow >= 0.01)
    m.cap = pyo.Constraint(expr=m.toll + m.weather <= 9)
    return {"followers": sp.Population(m.driver, 50), "aggregates": m.defines}


@pytest.mark.parametrize("edit", [priced, crowded])
@pytest.mark.parametrize("solver", INSTALLED)
def test_solving_leaves_the_model_as_it_was(solver: str, edit: Edit) -> None:
    m = roads()
    game = game_of(m, edit)
    before = snapshot(m)
    report = everything(game, solver)
    game.check()
    assert snapshot(m) == before
    assert report.ok


@pytest.mark.parametrize("solver", INSTALLED)
def test_the_users_own_solution_stays_fresh(solver: str) -> None:
    """After a solve Pyomo waits for the first new value of any Var anywhere, then calls all others stale."""
    m = roads()
    game = game_of(m, priced)
    StaleFlagManager.mark_all_as_stale()
    m.toll.set_value(0.25)
    m.price.set_value(0.125)
    StaleFlagManager.mark_all_as_stale(delayed=True)
    before = snapshot(m)
    assert [v.stale for v in (m.toll, m.price, m.driver.flow)] == [False, False, True]
    everything(game, solver)
    assert snapshot(m) == before


def test_only_load_writes_values(plan: sp.Plan) -> None:
    m = roads()
    other = sp.Plan.from_json(plan.to_json(), game_of(m))
    other.load()
    assert m.driver.flow.value == pytest.approx(0.6, abs=1e-6)
    assert (m.weather.value, m.weather.fixed) == (0.25, True)


def everything_fixed(m: Any) -> None:
    m.toll.fix(0.0)
    m.price.fix(0.0)
    m.driver.flow.fix(0.6)


def driver_fixed(m: Any) -> None:
    m.driver.flow.fix(0.3)


def rows_off(m: Any) -> None:
    m.cap = pyo.Constraint([1, 2], rule=lambda m, i: m.driver.flow <= 0.1 * i)
    m.cap[1].deactivate()
    m.driver.need = pyo.Constraint(expr=m.driver.flow >= 0.5)
    m.driver.need.deactivate()


@pytest.mark.parametrize("edit", [everything_fixed, driver_fixed, rows_off])
def test_fixed_variables_and_deactivated_rows(edit: Edit) -> None:
    m = roads()
    game = game_of(m, edit)
    before = snapshot(m)
    plan = sp.leader_optimal(game, starts=2)
    rule = sp.affine_incentive(plan)
    report = sp.verify(rule)
    assert snapshot(m) == before
    # Nobody can leave a plan that is all fixed; the rows that are off would have cut to [0.5, 0.1].
    assert report.ok
    wanted = {everything_fixed: 0.6, driver_fixed: 0.3, rows_off: 0.2}[edit]
    assert plan.value(m.driver.flow) == pytest.approx(wanted, abs=1e-6)
    miss = (wanted - 0.6) ** 2 + 0.01 * plan.value(m.toll) ** 2
    assert plan.leader_objective == pytest.approx(miss, abs=1e-6)


@pytest.mark.parametrize("side", ["leader", "driver"])
def test_an_objective_that_is_constant(side: str) -> None:
    m = roads()
    (m.miss if side == "leader" else m.driver.cost).set_value(5.0)
    game = game_of(m)
    before = snapshot(m)
    plan = sp.leader_optimal(game)
    report = sp.verify(sp.affine_incentive(plan)) if side == "driver" else sp.verify(plan)
    assert snapshot(m) == before
    assert plan.leader_objective == pytest.approx(5.0 if side == "leader" else 0.0, abs=1e-6)
    if side == "driver":
        assert report.ok


class _Boom(Exception):
    """Stands for anything a solver's interface may raise."""


def stops(answer: Any) -> Callable[..., Any]:
    def run(*_: Any) -> Solution:
        if isinstance(answer, type):
            raise answer
        return answer

    return run


ENDS = {
    "raises": _Boom,
    "interrupted": KeyboardInterrupt,
    "failed": Solution(Termination.FAILED, "restoration failed"),
    "killed": Solution(Termination.KILLED, "killed by signal 9"),
    "iteration limit": Solution(Termination.ITERATION_LIMIT, "3000 iterations"),
    "time limit": Solution(Termination.TIME_LIMIT, "stopped after 1 s"),
    "infeasible": Solution(Termination.INFEASIBLE, "so it says"),
    "unbounded": Solution(Termination.UNBOUNDED, "so it says"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("starts", [1, 3])
def test_a_plan_that_fails(end: str, starts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    m = roads()
    game = game_of(m)
    before = snapshot(m)
    answer = ENDS[end]
    stopped = dataclasses.replace(registry["cyipopt" if "cyipopt" in INSTALLED else "scip"], run=stops(answer))
    monkeypatch.setitem(registry, stopped.name, stopped)
    error = answer if isinstance(answer, type) else sp.NoPlan
    with pytest.raises(error) as caught:
        sp.leader_optimal(game, solver=stopped.name, starts=starts)
    assert snapshot(m) == before
    if isinstance(caught.value, sp.NoPlan):
        # The rows can be met, and no ray is found, whatever the solver says: an unproved word is not repeated.
        assert caught.value.termination == ("failed" if end == "unbounded" else answer.termination.value)
        assert end in ("unbounded",) or answer.message in str(caught.value)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("certify", ["auto", "multistart"])
def test_a_verification_that_fails_shows_nothing(
    end: str, certify: str, plan: sp.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(model_of(plan))
    answer = ENDS[end]
    monkeypatch.setitem(registry, "pounce", dataclasses.replace(registry["pounce"], run=stops(answer)))
    if isinstance(answer, type):
        with pytest.raises(answer):
            sp.verify(plan, solver="pounce", certify=certify)
    else:
        report = sp.verify(plan, solver="pounce", certify=certify)
        assert not report.ok
        assert list(report.certificate) == ["unknown"]
        assert math.isnan(report.epsilon)
        assert report.note["driver"]
    assert snapshot(model_of(plan)) == before


def test_a_design_of_offsets_that_fails(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    m = roads()
    plan = sp.leader_optimal(game_of(m, priced))
    failed = Solution(Termination.FAILED, "restoration failed")
    monkeypatch.setitem(registry, "pounce", dataclasses.replace(registry["pounce"], run=stops(failed)))
    words = ("price", "restoration failed")
    refused(m, lambda: sp.affine_incentive(plan, free="price", solver="pounce"), sp.NoIncentive, *words)


@pytest.mark.parametrize("nth", range(1, 9))
def test_an_interrupt_while_writing(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start is written from the user's own Vars, with other values in them."""
    m = roads()
    game = game_of(m, priced)
    before = snapshot(m)
    write, calls = nl_file.NLWriter.write, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return write(*arguments, **options)

    monkeypatch.setattr(nl_file.NLWriter, "write", interrupted)
    try:
        everything(game)
    except KeyboardInterrupt:
        assert len(calls) == nth
    else:
        assert len(calls) < nth
        assert nth > 5, "there are that many problems to write"
    assert snapshot(m) == before


HOME = os.fspath(Path(sp.__file__).parent)


@pytest.fixture
def interrupt() -> Iterator[Callable[..., int]]:
    """Run, with a KeyboardInterrupt out of the n-th call of a function of the package; returns how many there were."""
    old = sys.gettrace()

    def run(call: Callable[[], Any], nth: int) -> int:
        count = 0

        def tracer(frame: Any, event: str, _: Any) -> None:
            nonlocal count
            # What restores the values cannot itself be protected from an interrupt.
            if frame.f_code.co_filename.startswith(HOME) and frame.f_code.co_name != "preserved_values":
                count += 1
                if count == nth:
                    raise KeyboardInterrupt

        sys.settrace(tracer)
        try:
            call()
        except KeyboardInterrupt:
            assert count >= nth
        finally:
            sys.settrace(old)
        return count

    yield run
    sys.settrace(old)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # some calls clean a generator up
def test_an_interrupt_anywhere(interrupt: Callable[..., int]) -> None:
    m = roads()
    game = game_of(m, priced)
    before = snapshot(m)
    total = interrupt(lambda: everything(game), 0)
    assert total > 100
    for nth in range(1, total, max(1, total // 40)):
        interrupt(lambda: everything(game), nth)
        assert snapshot(m) == before, f"after an interrupt in call {nth} of {total}"


def test_an_interrupt_ends_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def communicate(self, *_: Any, **__: Any) -> Any:
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    m = roads()
    before = snapshot(m)
    with pytest.raises(KeyboardInterrupt):
        sp.leader_optimal(game_of(m), solver="pounce")
    assert snapshot(m) == before
    assert len(started) == 1
    assert started[0].returncode is not None, "ended and waited for"


# --- real processes, really killed --------------------------------------------------------------------------------

LONG = '''
import random, signal, sys
import pyomo.environ as pyo
import stackpyomo as sp


def build(solver):
    """A plan that takes minutes: a curved valley for NLP solvers, a market split for the others."""
    m = pyo.ConcreteModel(name="long")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.5)
    m.driver = pyo.Block()
    m.driver.x = pyo.Var(range(6000), initialize=-1.2)
    m.driver.cost = pyo.Objective(expr=m.driver.x[0] ** 2)
    x = m.driver.x
    valley = (100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(5999))
    m.miss = pyo.Objective(expr=sum(valley) + m.toll**2)
    if solver in ("highs", "scip", "gurobi"):
        draw = random.Random(1).randint
        m.k = pyo.Var(range(60), domain=pyo.Binary, initialize=0)
        m.miss.set_value(sum(draw(20, 100) * k for k in m.k.values()) + m.toll)
        m.split = pyo.Constraint(
            range(6), rule=lambda m, j: sum(draw(20, 100) * k for k in m.k.values()) == 1503 + j
        )
    return sp.Game(m, m.driver)
'''
SOLVING = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
sp.leader_optimal(build(sys.argv[1]), solver=sys.argv[1])
"""


@pytest.fixture(scope="module")
def long_game() -> sp.Game:
    """The same long plan in this process."""
    module: dict[str, Any] = {}
    exec(LONG, module)
    return module["build"]("pounce")


def children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listing.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("solver", INSTALLED)
def test_ctrl_c_ends_everything(solver: str, tmp_path: Path) -> None:
    script, folder = tmp_path / "long.py", tmp_path / "tmp"
    script.write_text(LONG + SOLVING)
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": os.fspath(folder), "PYTHONPATH": os.fspath(Path(HOME).parent)}
    command = [sys.executable, os.fspath(script), solver]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list(folder.glob("stackpyomo-*/program.nl")) or child.poll() is not None)
        time.sleep(1.0)
        assert child.poll() is None, "still solving"
        started = children(child.pid)
        assert bool(started) == (solver in ("pounce", "ipopt"))
        child.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, errors = child.communicate(timeout=90)
    finally:
        child.kill()
        child.wait()
    assert time.monotonic() - began < 30
    assert not any(alive(pid) for pid in started)
    assert list(folder.glob("stackpyomo-*")) == []
    assert child.returncode != 0
    assert "KeyboardInterrupt" in errors.splitlines()[-1], "it ends as Ctrl-C, not as something about the game"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_solver_that_is_killed(long_game: sp.Game, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    popen = subprocess.Popen

    def doomed(*arguments: Any, **options: Any) -> Any:
        process = popen(*arguments, **options)
        threading.Timer(0.5, lambda: os.kill(process.pid, signal.SIGKILL)).start()
        return process

    monkeypatch.setattr(subprocess, "Popen", doomed)
    words = ("pounce", "killed", "signal 9")
    call = lambda: sp.leader_optimal(long_game, solver="pounce")  # noqa: E731
    error = refused(long_game.model, call, sp.NoPlan, *words)
    assert error.termination == "killed"


@pytest.mark.parametrize("solver", [n for n in INSTALLED if registry[n].ipopt_options])
def test_a_time_limit_is_kept_and_said(solver: str, long_game: sp.Game) -> None:
    """Whatever point it ended at meets all constraints (there are none): a plan, but of no proved quality."""
    before = snapshot(long_game.model)
    began = work()
    plan = sp.leader_optimal(long_game, solver=solver, time_limit=0.5)
    assert work() - began < 20
    assert (plan.termination, plan.quality) == ("time limit", "feasible")
    assert [entry["termination"] for entry in plan.log] == ["time limit"]
    assert math.isnan(plan.epsilon0)
    assert plan.residuals["stationarity"] > sp.TOLERANCES.stationarity
    assert snapshot(long_game.model) == before


@pytest.mark.parametrize("end", [Termination.TIME_LIMIT, Termination.ITERATION_LIMIT])
def test_a_point_held_at_a_limit(end: Termination, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    """Kept if it is feasible, and then called no more than that; no plan if it is not."""
    m = roads()
    game = game_of(m, row(lambda m: m.driver.flow >= 0.25))
    point = {"toll": 0.5, "driver.flow": 0.5}

    def run(program: Any, *_: Any) -> Solution:
        return Solution(end, "stopped", np.array([point[v.name] for v in program.variables]))

    monkeypatch.setitem(registry, "scip", dataclasses.replace(registry["scip"], run=run, version=lambda: "fake"))
    plan = sp.leader_optimal(game, solver="scip")
    assert (plan.termination, plan.quality) == (end.value, "feasible")
    assert plan.values["driver.flow"] == 0.5
    point["driver.flow"] = 0.125
    error = refused(m, lambda: sp.leader_optimal(game, solver="scip"), sp.NoPlan, "scip", end.value, "time_limit=")
    assert error.termination == end.value


def test_no_folder_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.tempfile, "tempdir", os.fspath(tmp_path))
    everything(game_of(roads(), priced))
    with pytest.raises(sp.NoPlan):
        sp.leader_optimal(game_of(roads(), contradiction))
    gc.collect()
    assert list(tmp_path.iterdir()) == []


# --- expressions without a value ----------------------------------------------------------------------------------


WITHOUT_VALUE: dict[str, Any] = {
    "a division by 0": lambda t, u: (0.0 * t) ** -1 * u,
    "0 to a power": lambda t, u: 0.0**u,
    "a negative to a power": lambda t, u: (-2.0) ** u,
    "a logarithm": lambda t, u: pyo.log(t) * u,
    "an overflow": lambda t, u: pyo.exp(800 * t) * u,
    "a complex number": lambda t, u: t**0.5 * u,
    "a kink no solver reads": lambda t, u: MaxExpression((u, t)),
}


def _valueless(term: Any, at: float, *, row: bool) -> sp.Game:
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-2, 2), initialize=at)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=0.5)
    cost = (m.f.u - 1) ** 2 + m.t * m.f.u
    m.f.cost = pyo.Objective(expr=cost if row else cost + term(m.t, m.f.u))
    if row:
        m.f.row = pyo.Constraint(expr=term(m.t, m.f.u) + m.f.u <= 1)
    m.goal = pyo.Objective(expr=(m.f.u - 0.6) ** 2)
    return sp.Game(m, followers=m.f)


@pytest.mark.parametrize("row", [False, True], ids=["cost", "row"])
@pytest.mark.parametrize("at", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("term", WITHOUT_VALUE.values(), ids=WITHOUT_VALUE.keys())
def test_what_has_no_value_is_ours_to_say(term: Any, at: float, row: bool) -> None:
    """Values, derivatives, compositions and duels at points where Python has errors of its own."""
    game = _valueless(term, at, row=row)
    for make in (sp.Plan.from_values, lambda g: sp.nash(g, leader={"t": at})):
        with contextlib.suppress(sp.StackpyomoError):
            plan = make(game)
            uses = (sp.affine_incentive, lambda p: sp.affine_incentive(p, free=["t"]), sp.inducible, sp.verify)
            for use in uses:
                with contextlib.suppress(sp.StackpyomoError):
                    use(plan)


def test_a_variable_that_a_weight_of_0_removes_needs_no_value() -> None:
    m = toll_game().model
    m.driver.idle = pyo.Var(bounds=(0, 1))
    m.driver.cost.set_value(m.driver.cost.expr + m.toll * m.driver.idle)
    assert sp.leader_optimal(sp.Game(m, m.driver)).leader_objective == pytest.approx(0.0, abs=1e-9)


def test_a_kink_is_found_before_anything_is_solved() -> None:
    game = _valueless(WITHOUT_VALUE["a kink no solver reads"], 0.0, row=False)
    assert [f.severity for f in game.check() if "no solver reads" in f.message] == ["error"]


@pytest.mark.parametrize("signals", [3, None, {"driver.flow": "a"}, {"driver.flow": math.nan}, {"driver.flow": 1j}])
def test_what_the_leader_observes_is_a_number(signals: Any) -> None:
    rule = sp.affine_incentive(sp.leader_optimal(toll_game()))
    with pytest.raises(sp.InvalidGame, match="actions"):
        rule.actions(signals)


def test_a_page_in_a_folder_that_is_not_there(tmp_path: Any) -> None:
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(toll_game())))
    with pytest.raises(sp.InvalidGame, match=r"page\.html: cannot be written"):
        report.to_html(tmp_path / "none" / "page.html")


def test_rules_and_reports_travel() -> None:
    rule = sp.affine_incentive(sp.leader_optimal(toll_game()))
    report = sp.verify(rule)
    for copied in (pickle.loads(pickle.dumps(rule)), copy.deepcopy(rule)):
        assert copied.gain.to_numpy() == pytest.approx(rule.gain.to_numpy())
    for other in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert other.ok
        assert str(other) == str(report)
