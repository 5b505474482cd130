"""Minors who settle after the others have moved: completed slopes and curvature against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import Derivatives, FollowerRows, active_sides
from stackpyomo.games.information import read_observation, shares
from stackpyomo.incentives.gains.reactions import require_still_signals, with_reactions

C, D = 0.5, 0.25


def two(minor_cost: Any = None, bounds: tuple[float, float] = (-9.0, 9.0), goal: float = 0.0) -> sp.Game:
    """A major with ½(x − 1)² + xy + ux, a minor that settles on y = Cx + Du, or at its bound."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(bounds=(-9, 9), initialize=goal)
    m.major, m.minor = pyo.Block(), pyo.Block()
    m.major.x = pyo.Var(bounds=(-9, 9), initialize=1.0)
    m.minor.y = pyo.Var(range(2), bounds=bounds, initialize=0.0)
    x, y, u = m.major.x, m.minor.y, m.u
    m.major.cost = pyo.Objective(expr=(x - 1) ** 2 / 2 + x * y[0] + u * x)
    plain = y[0] ** 2 / 2 - (C * x + D * u) * y[0] + y[1] ** 2
    m.minor.cost = pyo.Objective(expr=plain if minor_cost is None else minor_cost(x, y))
    m.wish = pyo.Objective(expr=(x - 1) ** 2 + (u - goal) ** 2)
    return sp.Game(m, followers=[m.major, m.minor])


def carried(game: sp.Game, **values: float) -> tuple[Derivatives, Derivatives, FollowerRows]:
    """(derivatives with the minor at rest, with its answer, the rows) at these values."""
    with undisturbed():
        rows, at = FollowerRows(game), {**game.current_values(), **values}
        frozen = rows.at(at)
        sides = active_sides(rows, frozen, at)
        return frozen, with_reactions(rows, frozen, at, ["minor"], sides), rows


def test_slopes_with_the_answer_carried_along() -> None:
    """dJ/dx = (x − 1) + y + u + x·C, dJ/du = x + x·D."""
    frozen, answered, rows = carried(two(), **{"major.x": 2.0, "minor.y[0]": 3.0, "u": 0.5})
    assert frozen.own[0] == pytest.approx(1.0 + 3.0 + 0.5)
    assert answered.own[0] == pytest.approx(1.0 + 3.0 + 0.5 + 2.0 * C)
    assert rows.owners[0] == 0
    assert frozen.leader.toarray()[0, 0] == pytest.approx(2.0)
    assert answered.leader.toarray()[0, 0] == pytest.approx(2.0 + 2.0 * D)


def test_a_minor_that_its_bound_holds_does_not_answer() -> None:
    """At y = 0.2, its upper bound, with Cx + Du = 1 it is pushed against it."""
    frozen, answered, _ = carried(two(bounds=(-9.0, 0.2)), **{"major.x": 2.0, "minor.y[0]": 0.2, "u": 0.0})
    assert answered.own[0] == pytest.approx(frozen.own[0])


@pytest.mark.parametrize(
    ("cost", "upper", "words"),
    [
        (None, 1.0, r"minor\.y\[0\] is active at the plan, but nothing pushes minor against it"),
        (lambda x, y: (y[0] + y[1] - x) ** 2, 9.0, r"conditions of minor\.y\[0\], minor\.y\[1\] do not determine"),
    ],
)
def test_answers_that_have_no_derivative_are_refused(cost: Any, upper: float, words: str) -> None:
    """A kink: the bound is where the minor settles by itself. A valley: y₀ + y₁ = x leaves their difference open."""
    with pytest.raises(sp.InvalidGame, match=words):
        carried(two(cost, (-9.0, upper)), **{"major.x": 2.0, "minor.y[0]": 1.0, "u": 0.0})


def test_the_leader_may_not_see_an_answer_to_its_answer() -> None:
    game = two()
    with undisturbed():
        rows = FollowerRows(game)
        m = game.model
        mixed = read_observation(game, [m.major.x + m.minor.y[0]]).signals
        apart = read_observation(game, [m.major.x, m.minor.y[0]]).signals
        require_still_signals(rows, apart, shares(game, apart).sums, ["minor"])
        with pytest.raises(sp.InvalidGame, match="would answer their answer"):
            require_still_signals(rows, mixed, shares(game, mixed).sums, ["minor"])


@pytest.mark.parametrize("goal", [-1.0, 1.0])
def test_the_gain_and_the_curvature_that_the_major_anticipates(goal: float) -> None:
    """K = −(y + u + C)/(1 + D) at x = 1; along x the cost bends by 1 + 2C + 2(1 + D)K, which is refused below 0."""
    game = two(goal=goal)
    plan = sp.leader_optimal(game, responding=["minor"])
    gain = -(C + D * goal + goal + C) / (1 + D)
    bend = 1 + 2 * C + 2 * (1 + D) * gain
    if bend > 0.0:
        rule = sp.affine_incentive(plan, ["major.x"], minors="respond")
        assert rule.gain.iloc[0, 0] == pytest.approx(gain, abs=1e-6)
    else:
        with pytest.raises(sp.NoIncentive, match="the cost that it anticipates is not convex"):
            sp.affine_incentive(plan, ["major.x"], minors="respond")
    assert (bend > 0.0) == (goal < 0.0)
    assert np.isfinite(bend)
