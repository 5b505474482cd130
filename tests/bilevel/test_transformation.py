"""TransformationFactory("stackpyomo.kkt"): exported with Pyomo's writers, solved from there, mapped both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import snapshot
from pyomo.contrib.solver.common.factory import SolverFactory

import stackpyomo as sp

KKT = pyo.TransformationFactory("stackpyomo.kkt")


def model() -> Any:
    """A leader (cost 2) against two Cournot firms (costs 1 and c), inverse demand 10 − Q, the second one capped.

    By hand, c = 3: the first firm answers q1 = (9 − x − q2)/2, the second q2 = (7 − x − q1)/2 within [0, 1].
    """
    m = pyo.ConcreteModel(name="duopoly")
    m.c = pyo.Param(initialize=3.0, mutable=True)
    m.cap = pyo.Param(initialize=1.0, mutable=True)
    m.x = pyo.Var(bounds=(0, 10), initialize=1.0)
    m.total = pyo.Var(initialize=1.0)
    m.firm = pyo.Block([1, 2])
    for i, cost in ((1, 1.0), (2, m.c)):
        m.firm[i].q = pyo.Var(bounds=(0, None) if i == 1 else (0, m.cap), initialize=1.0)
        m.firm[i].profit = pyo.Objective(expr=(10 - m.x - m.total - cost) * m.firm[i].q, sense=pyo.maximize)
    m.firm[1].least = pyo.Constraint(expr=m.firm[1].q >= 0.5)
    m.firm[2].limit = pyo.Constraint(expr=(-1, m.firm[2].q - m.x, 5))
    m.sum = pyo.Constraint(expr=m.total == m.firm[1].q + m.firm[2].q)
    m.goal = pyo.Objective(expr=(8 - m.x - m.total) * m.x, sense=pyo.maximize)
    return m


def reformulated(m: Any, **options: Any) -> Any:
    return KKT.create_using(m, followers=m.firm, aggregates=[m.sum], **options)


@pytest.mark.parametrize("suffix", ["nl", "lp", "mps", "gams"])
def test_every_writer_takes_it(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"game.{suffix}"
    reformulated(model()).write(str(path))
    assert path.stat().st_size > 300


def test_an_aggregate_may_come_with_its_variable() -> None:
    """As ``Game`` takes it, and as ``game.couplings`` says it."""
    m = model()
    pairs = [[m.sum], [(m.total, m.sum)], [(None, m.sum)], [("total", "sum")]]
    written = []
    for aggregates in pairs:
        new = KKT.create_using(m, followers=m.firm, aggregates=aggregates)
        written.append([str(row.expr) for row in new.kkt.stationarity.values()])
    assert written[0]
    assert written == written[:1] * len(pairs)


@pytest.mark.parametrize("treatment", [sp.SOS1(), sp.BigM(), sp.Scholtes(), sp.FischerBurmeister(), sp.Penalty()])
def test_every_treatment_can_be_exported(treatment: Any, tmp_path: Path) -> None:
    new = reformulated(model(), complementarity=treatment)
    new.write(str(tmp_path / "game.nl"))
    if treatment.needs != "NLP":
        new.write(str(tmp_path / "game.lp"))
    assert len(list(new.component_data_objects(pyo.Objective, active=True))) == 1


def test_an_exported_model_solves_to_the_stackelberg_point() -> None:
    m = model()
    before = snapshot(m)
    new = reformulated(m, complementarity=sp.SOS1())
    assert snapshot(m) == before, "create_using works on a clone"
    SolverFactory("scip_direct").solve(new, solver_options={"display/verblevel": 0})
    plan = sp.stackelberg(sp.Game(m, m.firm, aggregates=[m.sum]))
    assert pyo.value(new.goal) == pytest.approx(plan.leader_objective, abs=1e-5)
    assert plan.quality == "optimal"
    assert new.firm[1].q.value == pytest.approx((9 - new.x.value - new.firm[2].q.value) / 2, abs=1e-5)


def test_parameters_stay_symbolic() -> None:
    m = model()
    new = reformulated(m, complementarity=sp.SOS1())
    new.c.set_value(1.0)  # the second firm becomes as cheap as the first
    new.cap.set_value(0.75)
    SolverFactory("scip_direct").solve(new, solver_options={"display/verblevel": 0})
    m.c.set_value(1.0)
    m.cap.set_value(0.75)
    plan = sp.stackelberg(sp.Game(m, m.firm, aggregates=[m.sum]))
    assert new.firm[2].q.value == pytest.approx(0.75, abs=1e-6)
    assert pyo.value(new.goal) == pytest.approx(plan.leader_objective, abs=1e-5)


def test_maps_go_both_ways() -> None:
    m = model()
    new = reformulated(m)
    lower, upper = KKT.get_multiplier_from_object(new, new.firm[1].least)
    assert upper is None
    assert KKT.get_object_from_multiplier(new, lower) is new.firm[1].least
    low, high = KKT.get_multiplier_from_object(new, m.firm[2].limit)  # the original's component will do
    assert KKT.get_object_from_multiplier(new, low) is KKT.get_object_from_multiplier(new, high) is new.firm[2].limit
    floor, ceiling = KKT.get_multiplier_from_object(new, new.firm[2].q)
    assert KKT.get_object_from_multiplier(new, ceiling) is new.firm[2].q
    assert len({id(v) for v in (lower, low, high, floor, ceiling)}) == 5
    again = new.clone()
    assert KKT.get_multiplier_from_object(again, again.firm[1].least)[0].model() is again
    with pytest.raises(sp.InvalidGame, match=r"sum: has no multiplier"):
        KKT.get_multiplier_from_object(new, new.sum)
    with pytest.raises(sp.InvalidGame, match=r"x: is not a multiplier"):
        KKT.get_object_from_multiplier(new, new.x)


def test_golden_text() -> None:
    """Stationarity of a maximising follower: its own derivative, its share of the aggregate's, bounds, rows."""
    m = model()
    KKT.apply_to(m, followers=m.firm, aggregates=[m.sum], responding=m.firm[2])
    assert [str(row.expr) for row in m.kkt.stationarity.values()] == [
        "- (10 - x - total - c - firm[2].q) - kkt.pi[0] + kkt.pi[1] + (- kkt.pi[2] + kkt.pi[3])  ==  0"
    ]
    assert [str(row.expr) for row in m.kkt.rows.values()] == [
        "firm[2].q - x + 1  ==  kkt.slack[0]",
        "5 - (firm[2].q - x)  ==  kkt.slack[1]",
    ]
    assert [str(row.expr) for row in m.kkt.complementarity.values()] == [
        "kkt.pi[0]*kkt.slack[0]  <=  0",
        "kkt.pi[1]*kkt.slack[1]  <=  0",
        "kkt.pi[2]*firm[2].q  <=  0",
        "kkt.pi[3]*(cap - firm[2].q)  <=  0",
    ]
    assert m.firm[1].profit.active, "the first firm was not replaced"
    assert not m.firm[2].profit.active
    assert not m.firm[2].limit.active


def test_mpec_components() -> None:
    new = reformulated(model(), complementarity="mpec")
    pyo.TransformationFactory("mpec.simple_nonlinear").apply_to(new)
    assert len(list(new.component_data_objects(pyo.Objective, active=True))) == 1


def test_integer_followers_are_refused_by_name() -> None:
    m = model()
    var = next(iter(m.firm.values())).component_data_objects(pyo.Var, descend_into=True).__next__()
    var.domain = pyo.Integers
    before = snapshot(m)
    with pytest.raises(sp.InvalidGame, match=r"is integer, so that .* has no optimality conditions.*stackelberg"):
        KKT.create_using(m, followers=m.firm)
    assert snapshot(m) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "name the followers"),
        ({"followers": "firm", "colour": 1}, "unknown option colour"),
        ({"followers": "firm", "complementarity": "magic"}, "'magic'"),
        ({"followers": "firm", "block": "goal"}, "a component 'goal' already"),
        ({"followers": "firm", "responding": "nobody"}, "responding=nobody"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    m = model()
    before = snapshot(m)
    if "followers" in options:
        options = {**options, "followers": m.firm}
    with pytest.raises(sp.InvalidGame, match=words):
        KKT.create_using(m, **options)
    assert snapshot(m) == before
