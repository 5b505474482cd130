"""The user's expressions stay as they are: Pyomo's sums share their lists of terms, and ours must not grow theirs."""

from __future__ import annotations

import dataclasses
import gc
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import INSTALLED, snapshot
from helpers.roads import HOME, Edit, everything, game_of, model_of, priced, roads
from pyomo.core.staleflag import StaleFlagManager

import stackpyomo as sp
from stackpyomo.solvers import Solution, Termination, interfaces, nl_file, registry

KKT = pyo.TransformationFactory("stackpyomo.kkt")


def lengths(model: Any) -> list[int]:
    """How many terms every node of every expression holds, those that only its list knows included."""
    return [len(node._args_) for e in expressions(model) for node in nodes(e)]


def expressions(model: Any) -> Iterator[Any]:
    for component in model.component_data_objects((pyo.Objective, pyo.Constraint, pyo.Expression)):
        yield component.expr


def nodes(expression: Any) -> Iterator[Any]:
    stack = [expression]
    while stack:
        node = stack.pop()
        if hasattr(node, "_args_"):
            yield node
            stack += list(node.args)


def game() -> sp.Game:
    """Everything a sum: objectives, rows, aggregates, named expressions."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-3, 3), initialize=0.5)
    m.mean = pyo.Var(initialize=0.5)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, 4), initialize=0.5)
        m.f[i].v = pyo.Var(bounds=(0, 4), initialize=0.5)
        m.f[i].work = pyo.Expression(expr=m.f[i].u ** 2 + m.f[i].v ** 2 + m.f[i].u * m.f[i].v)
        m.f[i].cap = pyo.Constraint(expr=m.f[i].u + 2 * m.f[i].v + m.f[i].u ** 2 <= 6 + i)
        m.f[i].tie = pyo.Constraint(expr=m.f[i].u - m.f[i].v + 0.1 * m.t >= -2)
        m.f[i].cost = pyo.Objective(
            expr=m.f[i].work - (2 + i) * m.f[i].u - m.f[i].v + m.t * m.f[i].u + m.t**2 + m.mean * m.f[i].v / 5
        )
    m.average = pyo.Constraint(expr=2 * m.mean == m.f[0].u + m.f[1].u)
    m.own = pyo.Constraint(expr=m.t + m.mean + m.t**2 <= 20)
    m.goal = pyo.Objective(expr=(m.t - 0.2) ** 2 + m.f[0].u ** 2 + (m.f[1].v - 0.5) ** 2 + m.mean)
    return sp.Game(m, followers=m.f, aggregates=m.average)


def designed(found: sp.Game) -> sp.Incentive:
    return sp.affine_incentive(sp.leader_optimal(found), multipliers="free")


DEEDS: dict[str, Callable[[sp.Game], Any]] = {
    "check": lambda g: g.check(),
    "leader_optimal": sp.leader_optimal,
    "stackelberg": sp.stackelberg,
    "stackelberg, scholtes": lambda g: sp.stackelberg(g, complementarity="scholtes"),
    "stackelberg, sos1": lambda g: sp.stackelberg(g, complementarity="sos1"),
    "nash": sp.nash,
    "pessimistic": lambda g: sp.pessimistic(sp.stackelberg(g)),
    "kkt": lambda g: KKT.create_using(g.model, followers=g.model.f, aggregates=g.aggregates),
    "verify a plan": lambda g: sp.verify(sp.leader_optimal(g)),
    "incentive": designed,
    "verify": lambda g: sp.verify(designed(g)),
    "words": lambda g: (str(designed(g)), designed(g).compare(sp.stackelberg(g))),
    "robustness": lambda g: designed(g).robustness(),
    "inducible": lambda g: sp.inducible(sp.leader_optimal(g)),
    "strategy": lambda g: designed(g).strategy(),
    "expand and collapse": lambda g: (g.expand(), g.collapse()),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_expressions_do_not_grow(deed: str) -> None:
    played = game()
    before = lengths(played.model)
    DEEDS[deed](played)
    assert lengths(played.model) == before
    gc.collect()
    twin = played.model.clone()
    assert str(twin.goal.expr) == str(played.model.goal.expr)
    for i in range(2):
        assert str(twin.f[i].cost.expr) == str(played.model.f[i].cost.expr)


@pytest.fixture(scope="module")
def plan() -> sp.Plan:
    """A sound plan; no test changes it."""
    return sp.leader_optimal(game_of(roads()))


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
    "one of the two": Solution(Termination.INFEASIBLE_OR_UNBOUNDED, "so it says"),
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
    for name in ("pounce", "scip", "highs"):  # whoever else is asked fails, too
        monkeypatch.setitem(registry, name, dataclasses.replace(registry[name], run=stops(failed)))
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


@pytest.mark.slow
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
    monkeypatch.setattr(interfaces, "_SMALL", 0)  # else it would be solved in this process
    m = roads()
    before = snapshot(m)
    with pytest.raises(KeyboardInterrupt):
        sp.leader_optimal(game_of(m), solver="pounce")
    assert snapshot(m) == before
    assert len(started) == 1
    assert started[0].returncode is not None, "ended and waited for"
