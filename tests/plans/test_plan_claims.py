"""What a plan claims: optimal, feasible, infeasible, unbounded, against enumeration and closed forms, in any unit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from scipy.optimize import Bounds, LinearConstraint, milp

import stackpyomo as sp
from stackpyomo.solvers import registry

needs_scip = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
BOUNDS = [(0, None), (None, None), (0, 3), (-2, 1), (-1, None), (None, 2)]


class Drawn:
    """min q·(x, u) where u solves min ½ (v·u)² + u·(C x + c) s.t. rows a·u + b·x ≤ d; bounds may be missing."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.whole = seed % 5 == 0
        self.x = (-1, 2) if self.whole else BOUNDS[random.integers(6)]
        self.u = [BOUNDS[k] for k in random.integers(6, size=2)]
        self.v = random.integers(-1, 3, size=2) * random.integers(2)
        self.slope, self.constant = random.integers(-2, 3, size=2), random.integers(-2, 3, size=2)
        self.rows = [(random.integers(-2, 3, size=2), int(random.integers(-1, 2)), int(random.integers(4)))]
        self.goal = random.integers(-3, 4, size=3)

    def game(self) -> sp.Game:
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=self.x, domain=pyo.Integers if self.whole else pyo.Reals)
        m.f = pyo.Block()
        m.f.u = pyo.Var([0, 1], bounds=lambda _, j: self.u[j])
        u = [m.f.u[0], m.f.u[1]]
        linear = sum(u[j] * (int(self.slope[j]) * m.x + int(self.constant[j])) for j in range(2))
        m.f.cost = pyo.Objective(expr=0.5 * sum(int(a) * y for a, y in zip(self.v, u, strict=True)) ** 2 + linear)
        m.f.rows = pyo.ConstraintList()
        for a, b, d in self.rows:
            if a.any():
                m.f.rows.add(int(a[0]) * u[0] + int(a[1]) * u[1] + b * m.x <= d)
        m.goal = pyo.Objective(expr=int(self.goal[0]) * m.x + int(self.goal[1]) * u[0] + int(self.goal[2]) * u[1])
        return sp.Game(m, m.f)

    def truth(self) -> float:
        """The least cost over all active sets, a mixed-integer linear program each; ±inf: unbounded, infeasible."""
        sides = [(np.array([b, *a]), d) for a, b, d in self.rows if a.any()]
        for j, (low, high) in enumerate(self.u):
            axis = np.eye(3)[1 + j]
            sides += [(-axis, -low)] if low is not None else []
            sides += [(axis, high)] if high is not None else []
        count = len(sides)
        still = np.zeros((2, 3 + count))
        still[:, 0], still[:, 1:3] = self.slope, np.outer(self.v, self.v)
        still[:, 3:] = np.array([side[1:] for side, _ in sides]).T.reshape(2, count)
        normals = np.array([np.append(side, np.zeros(count)) for side, _ in sides]).reshape(count, 3 + count)
        levels = np.array([level for _, level in sides], dtype=float)
        (low, high), best = (math.inf if e is None else e for e in self.x), math.inf
        low = -math.inf if self.x[0] is None else self.x[0]
        for active in itertools.product((False, True), repeat=count):
            on = np.array(active, dtype=bool)
            lower = np.concatenate([[low, -math.inf, -math.inf], np.zeros(count)])
            upper = np.concatenate([[high, math.inf, math.inf], np.where(on, math.inf, 0.0)])
            rows = [LinearConstraint(still, -self.constant, -self.constant)]
            rows += [LinearConstraint(normals, np.where(on, levels, -math.inf), levels)] if count else []
            integral = np.append([float(self.whole)], np.zeros(2 + count))
            cost = np.append(self.goal, np.zeros(count)).astype(float)
            box = {"constraints": rows, "bounds": Bounds(lower, upper), "integrality": integral}
            if milp(np.zeros(3 + count), **box).status == 0:
                answer = milp(cost, **box)
                best = min(best, float(answer.fun) if answer.status == 0 else -math.inf)
        return best


@needs_scip
@pytest.mark.parametrize("seed", seeds(24))
def test_affine_games_against_all_active_sets(seed: int) -> None:
    """Boxes are missing, equilibria may not exist, the leader may gain without limit: no claim is false."""
    drawn = Drawn(seed)
    truth = drawn.truth()
    if math.isinf(truth):
        with pytest.raises(sp.NoPlan) as refusal:
            sp.stackelberg(drawn.game(), time_limit=60)
        assert refusal.value.termination == ("infeasible" if truth > 0 else "unbounded"), str(refusal.value)
        return
    plan = sp.stackelberg(drawn.game(), time_limit=60)
    assert plan.quality == "optimal", "small enough to be proved"
    assert plan.leader_objective == pytest.approx(truth, abs=1e-5)
    assert plan.bound <= truth + 1e-9


@needs_scip
def test_what_is_called_infeasible_for_an_objective_without_a_limit_is_asked_again() -> None:
    """x₀ − x₁ → −∞ along x = (−t, t − 5), u = (0, 3): SCIP calls it infeasible, but not without the cost."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var([0, 1]), pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(0, 3))
    (x, y), (u, v) = m.x.values(), m.f.u.values()
    m.f.cost = pyo.Objective(expr=u * (y - x) + v * (x + y) + 2 * u + 2 * v + u**2 + u * v + v**2 / 2)
    m.f.rows = pyo.ConstraintList()
    m.f.rows.add(x - y <= v)
    m.f.rows.add(2 * u - v <= 2)
    m.goal = pyo.Objective(expr=x - y + u + 2 * v)
    with pytest.raises(sp.NoPlan) as refusal:
        sp.stackelberg(sp.Game(m, m.f), time_limit=60)
    assert refusal.value.termination == "unbounded"


def cournot(action: float = 1.0, tax: float = 1.0, firm: float = 1.0, leader: float = 1.0, more: float = 0.0) -> Any:
    """Two firms under a tax t, q = (10 − t)/3 each; the leader wants 4 in all. Units, and what is added to all."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-5 * tax, 5 * tax), initialize=0)
    m.f = pyo.Block([1, 2])
    for i in m.f:
        m.f[i].q = pyo.Var(bounds=(0, 12 * action), initialize=action)
    total = sum(m.f[i].q / action for i in m.f)
    for i in m.f:
        worth = (10 - total - m.t / tax) * m.f[i].q / action
        m.f[i].p = pyo.Objective(expr=firm * worth + more, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=leader * ((total - 4) ** 2 + 0.1 * (m.t / tax) ** 2) + more)
    return sp.Game(m, m.f)


UNITS = [
    *({name: unit} for name in ("action", "tax") for unit in (1e-7, 1e-3, 1e3, 1e7)),
    *({name: unit} for name in ("firm", "leader") for unit in (1e-8, 1e-4, 1e4, 1e8)),
    {"more": 1e6},
]


@needs_scip
@pytest.mark.parametrize("units", UNITS, ids=str)
def test_no_unit_changes_what_is_claimed(units: dict[str, float]) -> None:
    """The closed form: Q = 2 (10 − t)/3, least (Q − 4)² + 0.1 t² at t = 160/49, 64/49 there."""
    game = cournot(**units)
    action, tax, leader, more = (units.get(n, d) for n, d in (("action", 1), ("tax", 1), ("leader", 1), ("more", 0)))
    plan = sp.stackelberg(game)
    assert plan.quality == "optimal"
    assert plan.value("t") / tax == pytest.approx(160 / 49, abs=1e-4)
    assert (plan.leader_objective - more) / leader == pytest.approx(64 / 49, abs=1e-5)
    assert plan.epsilon0 / leader <= 1e-4
    point = sp.nash(game, leader={"t": tax})
    assert point.quality == "feasible"
    assert [point.value(f"f[{i}].q") / action for i in (1, 2)] == pytest.approx([3.0, 3.0], abs=1e-5)
    best = sp.leader_optimal(game)
    assert best.quality == "optimal"
    assert (best.leader_objective - more) / leader == pytest.approx(0.0, abs=1e-6)


def endless(v: float | None = None) -> sp.Game:
    """The follower gives any v ≥ 0 for x₁ = −½, as 2 x₁ + 1 = 0 there; the leader wants v without limit."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(-2, 1))
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(-2, None)), pyo.Var(bounds=(0, v))
    m.f.cost = pyo.Objective(expr=(m.x[0] - m.x[1]) * m.f.u + m.f.u**2 / 2 - (2 * m.x[1] + 1) * m.f.v)
    m.f.row = pyo.Constraint(expr=-2 * m.f.u - 2 * m.f.v + m.x[0] <= 1)
    m.goal = pyo.Objective(expr=-3 * m.x[0] + m.x[1] - 2 * m.f.v)
    return sp.Game(m, m.f)


@needs_scip
def test_a_leader_without_a_limit_is_not_called_optimal() -> None:
    with pytest.raises(sp.NoPlan, match="without limit") as refusal:
        sp.stackelberg(endless())
    assert refusal.value.termination == "unbounded"
    assert sp.stackelberg(endless(50.0)).leader_objective <= -100.0, "with a limit it is far out"


@needs_scip
def test_no_equilibrium_is_not_called_unbounded() -> None:
    """x₀ + v ≤ 0 leaves x₀ = v = 0, and u, free, is held by 2 x₀ − 2 x₁ = 1 alone: x₁ = −½ is no choice."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, 2))
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(), pyo.Var(bounds=(0, 3))
    cost = (2 * m.x[0] - 2 * m.x[1] - 1) * m.f.u - (2 * m.x[0] + 2 * m.x[1] + 1) * m.f.v
    m.f.cost = pyo.Objective(expr=cost)
    m.row = pyo.Constraint(expr=m.x[0] + m.f.v <= 0)
    m.goal = pyo.Objective(expr=2 * m.x[0] + m.x[1] + 3 * m.f.u - 2 * m.f.v)
    with pytest.raises(sp.NoPlan, match="No plan exists") as refusal:
        sp.stackelberg(sp.Game(m, m.f))
    assert refusal.value.termination == "infeasible"


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("money", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("width", [1e1, 1e4, 464000.0, 1e6, 1e8])
def test_a_leader_bound_is_near_beside_what_the_leader_decides_not_beside_its_box(
    width: float, money: float, shift: float
) -> None:
    """x⁴ − 3x³ + x has a local minimum at 0 and −6.318 at 2.198; a bound of −1e15 proves neither."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, width), initialize=0.0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.f.cost = pyo.Objective(expr=(m.f.v - 0.5) ** 2)
    m.cost = pyo.Objective(expr=money * (m.x**4 - 3 * m.x**3 + m.x + (m.f.v - 0.5) ** 2) + shift)
    plan = sp.stackelberg(sp.Game(m, m.f))
    if plan.quality == "optimal":
        assert (plan.leader_objective - shift) / money == pytest.approx(-6.31842774, abs=1e-5)
