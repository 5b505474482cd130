"""Common multipliers: what a shared row's multiplier is divided by, for each who feels it, and side by side."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel import Common


def two_firms(*, declared: bool) -> Any:
    """min (u − 2)² each, u₀ + u₁ ≤ 1 once for both, or written once by each, the second time doubled."""
    m = pyo.ConcreteModel()
    m.goal = pyo.Objective(expr=0)
    m.f = pyo.Block([0, 1])
    for k in (0, 1):
        m.f[k].u = pyo.Var(bounds=(0, None))
        m.f[k].cost = pyo.Objective(expr=(m.f[k].u - 2) ** 2)
    if declared:
        m.cap = pyo.Constraint(expr=m.f[0].u + m.f[1].u <= 1)
        return sp.Game(m, m.f, shared=[m.cap])
    m.f[0].cap = pyo.Constraint(expr=m.f[0].u + m.f[1].u <= 1)
    m.f[1].cap = pyo.Constraint(expr=2 * m.f[0].u + 2 * m.f[1].u <= 2)
    return sp.Game(m, m.f)


def test_each_has_its_weight_times_the_factor_of_its_row() -> None:
    game = two_firms(declared=False)
    (row,) = game.shared_rows(["f[0]", "f[1]"])
    places = Common([row], {"f[1]": 3.0}).places
    divisors = {follower: divisor for (follower, _, _), (_, divisor) in places.items()}
    assert divisors["f[1]"] == pytest.approx(3.0 * 2.0 * divisors["f[0]"])


@pytest.mark.parametrize("declared", [True, False])
def test_weights_divide_the_multiplier_in_closed_form(declared: bool) -> None:
    """2 (2 − u_k) = λ/r_k and u₀ + u₁ = 1: with r = (1, 2), λ = 4, so that u = (0, 1)."""
    game = two_firms(declared=declared)
    plan = sp.nash(game, equilibrium="variational", weights={"f[1]": 2.0})
    assert [plan.value(f"f[{k}].u") for k in (0, 1)] == pytest.approx([0.0, 1.0], abs=1e-6)
    equal = sp.nash(game, equilibrium="variational")
    assert [equal.value(f"f[{k}].u") for k in (0, 1)] == pytest.approx([0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize("kind", ["variational", "best", "worst"])
@pytest.mark.parametrize("twice", [(True, True), (False, True)])
def test_a_row_written_twice_has_one_multiplier_all_the_same(twice: tuple[bool, bool], kind: str) -> None:
    """As above with the cap a second time, doubled: by r = (1, 1) each has 1/2, by r = (1, 2) it is (0, 1)."""
    game = two_firms(declared=False)
    m = game.model
    for k in (k for k in (0, 1) if twice[k]):
        m.f[k].again = pyo.Constraint(expr=2 * m.f[0].u + 2 * m.f[1].u <= 2)
    m.goal.set_value(m.f[0].u)
    game = sp.Game(m, m.f)
    for weight, shares in ((1.0, [0.5, 0.5]), (2.0, [0.0, 1.0])):
        plan = sp.nash(game, equilibrium=kind, weights={"f[1]": weight})
        assert [plan.value(f"f[{k}].u") for k in (0, 1)] == pytest.approx(shares, abs=1e-5)
