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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import INSTALLED, snapshot, toll_game, work
from helpers.roads import HOME, INF, NAN, Edit, everything, game_of, model_of, priced, roads, row
from pyomo.core.expr.numeric_expr import MaxExpression

import stackpyomo as sp
from stackpyomo.solvers import Solution, Termination, registry
from stackpyomo.solvers import program as programs


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


@pytest.fixture(scope="module")
def plan() -> sp.Plan:
    """A sound plan; no test changes it."""
    return sp.leader_optimal(game_of(roads()))


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
sp.leader_optimal(build(sys.argv[1]), solver=sys.argv[1], time_limit=600)  # in a process of its own, if it has any
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


@pytest.mark.slow
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
        if solver in ("pounce", "ipopt"):
            wait_for(lambda: children(child.pid) or child.poll() is not None)
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
def test_a_solver_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    script = tmp_path / "ipopt"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 3.14.0 && exit\nkill -9 $$\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", os.fspath(tmp_path), prepend=os.pathsep)
    m = roads()
    call = lambda: sp.leader_optimal(game_of(m), solver="ipopt")  # noqa: E731
    error = refused(m, call, sp.NoPlan, "ipopt", "killed", "signal 9")
    assert error.termination == "killed"


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
