"""Lists of equilibria: complete by enumeration of active sets, continua told, copies counted once."""

from __future__ import annotations

import itertools
import math
import operator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds

import stackpyomo as sp
from stackpyomo.bilevel import polyhedra
from stackpyomo.solvers import registry

Matrix = np.ndarray[Any, Any]


def box_game(hessian: Matrix, slope: Matrix) -> tuple[Any, sp.Game]:
    """Player i has one action in [0, 1] and the cost ½ H_ii u_i² + u_i (Σ_{j≠i} H_ij u_j + c_i)."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block(range(len(slope)))
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, 1))
    for i, block in m.p.items():
        others = sum(float(hessian[i, j]) * m.p[j].u for j in m.p if j != i)
        block.cost = pyo.Objective(expr=0.5 * float(hessian[i, i]) * block.u**2 + block.u * (others + float(slope[i])))
    m.goal = pyo.Objective(expr=sum(block.u for block in m.p.values()))
    return m, sp.Game(m, followers=m.p)


def by_enumeration(hessian: Matrix, slope: Matrix) -> list[Matrix]:
    """Every choice of lower bound, inside, upper bound for every player; the sign of its slope must fit."""
    found: list[Matrix] = []
    for pattern in itertools.product((0, None, 1), repeat=len(slope)):
        free = [i for i, side in enumerate(pattern) if side is None]
        u = np.array([0.0 if side is None else float(side) for side in pattern])
        if free:
            block = hessian[np.ix_(free, free)]
            if abs(np.linalg.det(block)) < 1e-9:
                continue
            u[free] = np.linalg.solve(block, -(slope + hessian @ u)[free])
        force = slope + hessian @ u
        signs = [f >= -1e-9 if s == 0 else f <= 1e-9 if s == 1 else True for f, s in zip(force, pattern, strict=True)]
        inside = (u >= -1e-9).all() and (u <= 1 + 1e-9).all()
        if inside and all(signs) and not any(np.abs(u - v).max() < 1e-6 for v in found):
            found.append(u)
    return found


def actions(equilibria: Any) -> list[list[float]]:
    return sorted([round(v, 6) for name, v in plan.values.items() if name.startswith("p")] for plan in equilibria)


def random_game(seed: int) -> tuple[Matrix, Matrix]:
    random = np.random.default_rng(seed)
    number = int(random.integers(2, 5))
    hessian = random.normal(size=(number, number))
    np.fill_diagonal(hessian, np.abs(np.diag(hessian)) + 0.1)
    return hessian, random.normal(size=number)


@pytest.mark.parametrize("seed", seeds(10))
def test_lists_are_complete_by_enumeration_of_active_sets(seed: int) -> None:
    hessian, slope = random_game(seed)
    _, game = box_game(hessian, slope)
    equilibria = sp.nash(game, equilibrium="all", limit=100)
    assert equilibria.complete
    assert not equilibria.continuum
    expected = sorted(np.round(u, 6).tolist() for u in by_enumeration(hessian, slope))
    np.testing.assert_allclose(actions(equilibria), expected, atol=2e-6)
    assert list(equilibria.table.index) == list(range(1, len(expected) + 1))


def coordination() -> tuple[Any, sp.Game]:
    """Two who want to do what the other does, steeply: nobody, both, and one point between."""
    return box_game(np.array([[1.0, -3.0], [-3.0, 1.0]]), np.array([1.0, 1.0]))


@pytest.mark.parametrize(
    ("unit", "money", "top"),
    [(1.0, 1.0, 4.0), (1e4, 1e-3, 4.0), (1e6, 1e-3, 1000.0), (1e-4, 1e3, 1000.0), (1e-4, 1e3, 1e5)],
)
def test_a_list_is_complete_where_actions_and_costs_count_in_far_units(unit: float, money: float, top: float) -> None:
    """Each of two wants 1 of its own and loses 3 a b: one of them has all, or both have 0.4."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block([1, 2])
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, top * unit))
    first, second = (block.u / unit for block in m.p.values())
    for block, own in zip(m.p.values(), (first, second), strict=True):
        block.cost = pyo.Objective(expr=money * ((own - 1) ** 2 + 3 * first * second))
    m.goal = pyo.Objective(expr=first)
    equilibria = sp.nash(sp.Game(m, followers=m.p), equilibrium="all")
    assert equilibria.complete, equilibria.reason
    levels = sorted([plan.value(block.u) / unit for block in m.p.values()] for plan in equilibria)
    assert np.array(levels) == pytest.approx(np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]]), abs=1e-6)


def test_a_list_that_stops_says_so() -> None:
    _, game = coordination()
    equilibria = sp.nash(game, equilibrium="all", limit=2)
    assert len(equilibria) == 2
    assert not equilibria.complete
    assert "at least these (limit=2 reached)" in str(equilibria)


def test_best_and_worst_are_the_ends_of_the_list() -> None:
    _, game = coordination()
    levels = sorted(plan.leader_objective for plan in sp.nash(game, equilibrium="all"))
    assert levels == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)
    best, worst = (sp.nash(game, equilibrium=kind) for kind in ("best", "worst"))
    assert (best.quality, worst.quality) == ("optimal", "optimal")
    assert [best.leader_objective, worst.leader_objective] == pytest.approx([0.0, 2.0], abs=1e-6)


def harker(level: float = 15.0) -> sp.Game:
    """P. T. Harker (1991): the point (5, 9), and the segment {(t, 15 − t): 9 ≤ t ≤ 10}."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block([1, 2])
    for block in m.p.values():
        block.x = pyo.Var(bounds=(0, 10))
    x, y = m.p[1].x, m.p[2].x
    m.p[1].cost = pyo.Objective(expr=x**2 + 8 / 3 * x * y - 34 * x)
    m.p[2].cost = pyo.Objective(expr=y**2 + 5 / 4 * x * y - 24.25 * y)
    m.cap = pyo.Constraint(expr=x + y <= level)
    m.goal = pyo.Objective(expr=x)
    return sp.Game(m, followers=m.p, shared=[m.cap])


def test_a_continuum_is_told_and_not_listed() -> None:
    equilibria = sp.nash(harker(), equilibrium="all")
    assert actions(equilibria) == [[5.0, 9.0]]
    (piece,) = equilibria.continuum
    assert piece.dimension == 1
    assert piece.moving == {"p[1].x": pytest.approx((9, 10)), "p[2].x": pytest.approx((5, 6))}
    assert not equilibria.complete
    assert "a continuum of dimension 1: p[1].x in [9, 10], p[2].x in [5, 6]" in str(equilibria)


def _players(count: int, unit: float) -> tuple[Any, list[Any]]:
    """(a model of players m.p[i] with one action each in [0, 1], counted in a unit; the actions)."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block(range(count))
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, unit))
    return m, [block.u / unit for block in m.p.values()]


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1.0, 1e-4])
@pytest.mark.parametrize(("minus", "points", "pieces"), [(0.0, [0.5, 1.0], [0.0]), (1.0, [], [0.0, 0.5, 1.0])])
def test_a_point_is_in_a_continuum_only_where_all_its_actions_are(
    minus: float, points: list[float], pieces: list[float], unit: float
) -> None:
    """u (v − minus·w), where v and w agree on 0, ½ or 1: u is 0 where its slope is positive, anything where it is 0."""
    hessian = np.array([[0.0, 1.0, -minus], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]])
    m, u = _players(3, unit)
    for i, block in m.p.items():
        block.cost = pyo.Objective(expr=u[i] * (sum(float(hessian[i, j]) * u[j] for j in m.p) + (0.5 if i else 0.0)))
    m.goal = pyo.Objective(expr=0)
    equilibria = sp.nash(sp.Game(m, followers=m.p), equilibrium="all")
    assert equilibria.reason == "the others are a continuum"
    assert sorted(plan.values["p[1].u"] / unit for plan in equilibria) == pytest.approx(points)
    assert all(piece.moving == {"p[0].u": pytest.approx((0.0, unit))} for piece in equilibria.continuum)
    still = sorted(tuple(level / unit for level in piece.still.values()) for piece in equilibria.continuum)
    assert still == [pytest.approx((level, level)) for level in pieces]


@pytest.mark.slow
def test_an_action_that_nobody_minds_and_whose_bounds_leave_one_level_stays_there() -> None:
    """(u + v − 1)² for both is a line of equilibria, whatever the third action is; its bounds say 3."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block(range(2))
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, 1))
    for block in m.p.values():
        block.cost = pyo.Objective(expr=(m.p[0].u + m.p[1].u - 1) ** 2)
    m.p[0].rest = pyo.Var(bounds=(3, 3))
    m.goal = pyo.Objective(expr=0)
    (piece,) = sp.nash(sp.Game(m, followers=m.p), equilibrium="all").continuum
    assert piece.dimension == 1
    assert piece.still == {"p[0].rest": 3.0}


def test_weights_list_the_normalised_equilibria() -> None:
    equilibria = sp.nash(harker(), equilibrium="all", weights={"p[1]": 4, "p[2]": 1})
    assert equilibria.complete
    np.testing.assert_allclose(actions(equilibria), [[5, 9], [219 / 23, 126 / 23], [10, 5]], atol=1e-6)


@pytest.mark.slow
def test_curved_conditions_are_listed_to_a_distance() -> None:
    """x = tanh 2y, y = tanh 2x: three solutions, ±0.9575040240772688 and 0."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block([1, 2])
    for block in m.p.values():
        block.x = pyo.Var(bounds=(-2, 2))
    for i, block in m.p.items():
        other = m.p[3 - i].x
        tanh = (pyo.exp(2 * other) - pyo.exp(-2 * other)) / (pyo.exp(2 * other) + pyo.exp(-2 * other))
        block.cost = pyo.Objective(expr=(block.x - tanh) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.p[1].x)
    equilibria = sp.nash(sp.Game(m, followers=m.p), equilibrium="all")
    z = 0.9575040240772688
    assert equilibria.complete
    np.testing.assert_allclose(actions(equilibria), [[-z, -z], [0, 0], [z, z]], atol=1e-6)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_equilibria_of_small_boxes_are_told_apart(unit: float) -> None:
    """Each would do as the other does: nothing, everything, or 5/9. In kilometres, too, these are three."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block([1, 2])
    for block in m.p.values():
        block.x = pyo.Var(bounds=(0, unit))
    x = {i: m.p[i].x / unit for i in m.p}
    for i, block in m.p.items():
        block.cost = pyo.Objective(expr=x[i] ** 2 / 20 - x[i] * (x[3 - i] - 0.5))
    m.goal = pyo.Objective(expr=x[1])
    equilibria = sp.nash(sp.Game(m, followers=m.p), equilibrium="all")
    assert equilibria.complete
    levels = sorted([plan.value(block.x) / unit for block in m.p.values()] for plan in equilibria)
    np.testing.assert_allclose(levels, [[0, 0], [5 / 9, 5 / 9], [1, 1]], atol=1e-5)


def test_a_point_that_nothing_confirms_leaves_the_list_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the re-solve of a point says nothing, it may be an equilibrium: the list is not complete without it."""
    monkeypatch.setattr("stackpyomo.plans.equilibria.Work.check", lambda *_: None)
    equilibria = sp.nash(harker(), equilibrium="all", weights={"p[1]": 4, "p[2]": 1})
    assert not equilibria
    assert not equilibria.complete
    assert equilibria.reason.startswith("not confirmed by a re-solve: ")


def test_symmetric_copies_are_counted_once() -> None:
    """Two firms, each better off alone: either stays out, or both share. One copy of "either" is listed."""
    m = pyo.ConcreteModel()
    m.total = pyo.Var()
    m.p = pyo.Block([1, 2])
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, 1))
        block.cost = pyo.Objective(expr=-0.5 * block.u**2 + block.u * (m.total * 1.5 - 1.0))
    m.sum = pyo.Constraint(expr=m.total == m.p[1].u + m.p[2].u)
    m.goal = pyo.Objective(expr=m.total)
    equilibria = sp.nash(sp.Game(m, followers=m.p, aggregates=[m.sum]), equilibrium="all")
    assert equilibria.complete
    assert sorted(equilibria.copies) == sorted(equilibria.table["copies"])
    assert sum(equilibria.copies) >= len(equilibria)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"equilibrium": "some"}, r"equilibrium='some': choose one of 'auto', 'any', 'variational', 'best'"),
        ({"equilibrium": "all", "limit": 0}, "limit"),
        ({"equilibrium": "all", "distance": 0.0}, "distance"),
        ({"weights": {"p[1]": -1}}, r"p\[1\] has the weight -1; give a positive number"),
        ({"weights": {"p[1]": math.inf}}, r"p\[1\] has the weight inf; give a positive number"),
        ({"weights": {"q": 1}}, "q is not a follower that responds"),
        ({"weights": 3}, "weights=3: expected a ComponentMap"),
        ({"weights": {"p[1]": 1}, "equilibrium": "any"}, "weights=: say which equilibrium shares its multipliers"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(sp.InvalidGame, match=words):
        sp.nash(harker(), **wrong)


def test_an_action_that_no_condition_holds_is_at_its_bound_or_anywhere() -> None:
    """u₀ (2 u₁ − 3) asks for u₀ = 1 whatever u₁ in [0, 1]: no row of the conditions holds u₀; 0·u₂ asks for nothing."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block([0, 1, 2])
    for k in m.f:
        m.f[k].u = pyo.Var(bounds=(0, 1))
    m.f[0].cost = pyo.Objective(expr=m.f[0].u * (2 * m.f[1].u - 3))
    m.f[1].cost = pyo.Objective(expr=3 * m.f[1].u)
    m.f[2].cost = pyo.Objective(expr=(m.f[2].u - 0.25) ** 2)
    m.goal = pyo.Objective(expr=0)
    game = sp.Game(m, m.f)
    equilibria = sp.nash(game, equilibrium="all")
    assert equilibria.complete
    (plan,) = equilibria
    assert [plan.value(f"f[{k}].u") for k in (0, 1, 2)] == pytest.approx([1.0, 0.0, 0.25], abs=1e-6)
    m.f[2].cost.set_value(0 * m.f[2].u)
    loose = sp.nash(sp.Game(m, m.f), equilibrium="all")
    (piece,) = loose.continuum
    assert (piece.dimension, piece.moving) == (1, {"f[2].u": (0.0, 1.0)})
    assert not loose.complete


@pytest.mark.slow
@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_a_list_with_an_end_that_nobody_gives_is_not_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """min (u₀ + u₁ − 1)² for both is a segment; where its ends stay unknown, nothing says that all is told."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block([0, 1])
    for k in (0, 1):
        m.f[k].u = pyo.Var(bounds=(0, 1))
    for k in (0, 1):
        m.f[k].cost = pyo.Objective(expr=(m.f[0].u + m.f[1].u - 1) ** 2)
    m.goal = pyo.Objective(expr=0)
    known = sp.nash(sp.Game(m, m.f), equilibrium="all")
    assert [piece.dimension for piece in known.continuum] == [1]

    def fails(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(status=4, fun=None, x=None)

    monkeypatch.setattr(polyhedra, "milp", fails)
    unknown = sp.nash(sp.Game(m, m.f), equilibrium="all")
    assert not unknown.complete
    assert "is not known" in unknown.reason
    assert "at least these" in str(unknown)


@pytest.mark.slow
def test_a_continuum_is_told_though_prices_are_singular_where_nobody_sells() -> None:
    """Both firms' profits rise at every split of the cap: all of them are equilibria, and the variational one alone."""
    m = pyo.ConcreteModel()
    m.firm = pyo.Block([1, 2])
    for firm in m.firm.values():
        firm.x = pyo.Var(bounds=(0, None))
    total = sum(firm.x for firm in m.firm.values())
    for firm in m.firm.values():
        firm.cost = pyo.Objective(expr=firm.x**2 / 10 + firm.x - 2000 * firm.x * total ** (-1 / 1.1))
    m.cap = pyo.Constraint(expr=total <= 20)
    m.goal = pyo.Objective(expr=m.firm[1].x)
    game = sp.Game(m, m.firm, shared=[m.cap])
    price, drop = 2000 * 20 ** (-1 / 1.1), 2000 / 1.1 * 20 ** (-1 / 1.1 - 1)
    assert all(x / 5 + 1 - price + drop * x < 0 for x in np.linspace(0, 20, 41))
    (piece,) = sp.nash(game, equilibrium="all", time_limit=20).continuum
    assert (piece.dimension, len(piece.moving)) == (1, 2)
    assert "firm[1].x moves" in str(piece)
    (plan,) = sp.nash(game, equilibrium="all", weights={"firm[1]": 1, "firm[2]": 1}, time_limit=20)
    assert [plan.value(firm.x) for firm in m.firm.values()] == pytest.approx([10, 10], abs=1e-5)


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_a_double_root_is_a_point_and_no_continuum(unit: float) -> None:
    """u = max(v − 6 v², 0) for both is 0 alone: there the two slopes move together, and beside it they do not."""
    m, u = _players(2, unit)
    for i, block in m.p.items():
        block.cost = pyo.Objective(expr=u[i] ** 2 / 2 - u[i] * (u[1 - i] - 6 * u[1 - i] ** 2))
    m.goal = pyo.Objective(expr=0)
    equilibria = sp.nash(sp.Game(m, followers=m.p), equilibrium="all")
    assert equilibria.complete
    assert not equilibria.continuum
    (plan,) = equilibria
    assert [plan.value(block.u) / unit for block in m.p.values()] == pytest.approx([0.0, 0.0], abs=1e-3)


# F. Facchinei, C. Kanzow, Penalty methods for the solution of generalized Nash equilibrium problems, SIAM J. Optim. 20
# (2010), with complete test problems: players of three, two and two actions, costs ½ xᵀA x + xᵀ(B y + b).
_OWN: Any = ([[20, 5, 3], [5, 5, -5], [3, -5, 15]], [[11, -1], [-1, 9]], [[48, 39], [39, 53]])
_OTHERS: Any = (
    [[-6, 10, 11, 20], [10, -4, -17, 9], [15, 8, -22, 21]],
    [[20, 1, -3, 12, 1], [10, -4, 8, 16, 21]],
    [[10, -2, 22, 12, 16], [9, 19, 21, -4, 20]],
)
_LEVELS: Any = ([1, -1, 1], [1, 0], [-1, 2])


def facchinei_kanzow(number: int) -> sp.Game:
    """A.3; A.4, where squares of others' actions bend the costs, and actions are from 1 on."""
    m = pyo.ConcreteModel(name=f"A.{number}")
    m.p = pyo.Block(range(3))
    for k, own in enumerate(_OWN):
        m.p[k].x = pyo.Var(range(len(own)), bounds=(-10 if number == 3 else 1, 10), initialize=0 if number == 3 else 2)
    x, y, z = (list(block.x.values()) for block in m.p.values())
    bent = (y[0] ** 2 * x[0] ** 2 + y[1] ** 2 * x[1] ** 2, z[0] ** 2 * y[0] ** 2, x[0] ** 2 * z[1] ** 2)
    for k, (own, others) in enumerate(((x, y + z), (y, x + z), (z, x + y))):
        cost = sum(_OWN[k][i][j] * v * w / 2 for i, v in enumerate(own) for j, w in enumerate(own))
        cost += sum(v * (sum(map(operator.mul, _OTHERS[k][i], others)) + _LEVELS[k][i]) for i, v in enumerate(own))
        m.p[k].cost = pyo.Objective(expr=cost + (bent[k] / 2 if number == 4 else 0))
    m.p[0].rows = pyo.ConstraintList()
    m.p[0].rows.add(sum(x) <= 20)
    m.p[0].rows.add(x[0] + x[1] - x[2] <= y[0] - z[1] + 5)
    m.p[1].row = pyo.Constraint(expr=y[0] - y[1] <= x[1] + x[2] - z[0] + 7)
    m.p[2].row = pyo.Constraint(expr=z[1] <= x[0] + x[2] - y[0] + 4)
    return sp.Game(m, m.p)


@pytest.mark.slow
def test_a_published_equilibrium_is_one_of_five() -> None:
    """A.3: the published one, printed to six digits, solves 7 linear equations, for no row binds there."""
    matrix, level, first = np.zeros((7, 7)), -np.concatenate(_LEVELS), 0
    for own, others in zip(_OWN, _OTHERS, strict=True):
        rows = slice(first, first := first + len(own))
        matrix[rows, rows] = own
        matrix[rows, [j for j in range(7) if not rows.start <= j < rows.stop]] = others
    published = np.linalg.solve(matrix, level)
    assert published[:3] == pytest.approx([-0.380466, -0.122670, -0.993228], abs=1e-5)
    game = facchinei_kanzow(3)
    equilibria = sp.nash(game, equilibrium="all")
    assert equilibria.complete
    assert not equilibria.continuum
    assert len(equilibria) == 5
    actions = [np.array(list(plan.values.values())) for plan in equilibria]
    assert min(float(np.abs(known - published).max()) for known in actions) <= 1e-8
    assert all(sp.verify(plan).ok for plan in equilibria)


def test_a_corner_is_met_where_penalties_stop_beside_it() -> None:
    """A.4: everybody at 1, where each slope is above 0; 0.9998 is published."""
    plan = sp.nash(facchinei_kanzow(4))
    assert list(plan.values.values()) == pytest.approx([1.0] * 7, abs=1e-9)
    assert sp.verify(plan).ok


def test_electricity_of_three_producers() -> None:
    """A.15: 46.6615, 32.1529, 15.0042, 22.1049, 12.3408, 12.3408 is published; no bound binds: linear equations."""
    groups, tops = ([0], [1, 2], [3, 4, 5]), [80, 80, 50, 55, 30, 40]
    bends, slopes = [0.04, 0.035, 0.125, 0.0166, 0.05, 0.05], [2, 1.75, 1, 3.25, 3, 3]
    m = pyo.ConcreteModel()
    m.p = pyo.Block(range(3))
    for k, group in enumerate(groups):
        m.p[k].x = pyo.Var(group, bounds=lambda _, i: (0, tops[i]))
    x = [m.p[k].x[i] for k, group in enumerate(groups) for i in group]
    for k, group in enumerate(groups):
        own = sum(bends[i] * x[i] ** 2 / 2 + slopes[i] * x[i] for i in group)
        m.p[k].cost = pyo.Objective(expr=(2 * sum(x) - 378.4) * sum(x[i] for i in group) + own)
    mine = np.array([[any(i in g and j in g for g in groups) for j in range(6)] for i in range(6)], dtype=float)
    exact = np.linalg.solve(2 + 2 * mine + np.diag(bends), 378.4 - np.array(slopes))
    assert exact == pytest.approx([46.6615, 32.1529, 15.0042, 22.1049, 12.3408, 12.3408], abs=3e-3)
    plan = sp.nash(sp.Game(m, m.p))
    assert list(plan.values.values()) == pytest.approx(exact, rel=1e-8)
    assert sp.verify(plan).ok


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (1e-2, 1e3), (1e-2, 1e4), (3e-2, 1e3)])
@pytest.mark.parametrize(("gain", "loss"), [(2.0, 2.0), (1.0, 1.0), (3.0, 2.0)])
def test_the_worst_equilibrium_of_two_who_count_in_far_units(
    first: float, second: float, gain: float, loss: float
) -> None:
    """b (½ − c) and c (½ − b) on [0, 2], b ≤ 3/2: (0, 0), (½, ½) and (3/2, 2) are all; SCIP lost the last."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(2))
    for f, unit in zip(m.f.values(), (first, second), strict=True):
        f.u = pyo.Var(bounds=(0, 2 * unit))
    b, c = m.f[0].u / first, m.f[1].u / second
    m.f[0].cost, m.f[1].cost = pyo.Objective(expr=b * (0.5 - c)), pyo.Objective(expr=c * (0.5 - b))
    m.f[0].row = pyo.Constraint(expr=2 * b <= 3)
    m.cost = pyo.Objective(expr=gain * c - loss * b)
    costs = [gain * v - loss * u for u, v in ((0.0, 0.0), (0.5, 0.5), (1.5, 2.0))]
    for kind, known in (("worst", max(costs)), ("best", min(costs))):
        plan = sp.nash(sp.Game(m, list(m.f.values())), equilibrium=kind)
        assert plan.leader_objective == pytest.approx(known, abs=1e-5)
