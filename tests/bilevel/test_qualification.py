"""Constraint qualifications: optima without multipliers are neither missed in silence nor proved away."""

from __future__ import annotations

import itertools
import math

import pytest
from conftest import NLP
from helpers.responders import SOLVERS, TREATMENTS, attempt, pinched

import stackpyomo as sp

pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.parametrize(
    ("solver", "treatment"),
    [*itertools.product(["auto"], TREATMENTS), *itertools.product(NLP, ["auto"]), ("scip", "sos1")],
)
def test_an_optimum_without_a_multiplier_is_not_missed_in_silence(solver: str, treatment: str) -> None:
    plan = sp.stackelberg(pinched(0, 10), solver=solver, complementarity=treatment)
    x, y = plan.value("x"), plan.value("f.u")
    true = (x + 1) ** 2 + (min(math.sqrt(max(x, 0.0)), 3) + 5) ** 2
    if plan.quality in ("feasible", "optimal"):
        assert abs(y - min(math.sqrt(max(x, 0.0)), 3)) <= 2e-3, "what is held is an answer"
    if math.isfinite(plan.bound):
        assert plan.bound <= 26 + 1e-5, "a bound above the optimum is none"
    if plan.quality == "optimal":
        assert plan.leader_objective == pytest.approx(26, abs=1e-3)
    if true < 26.2:
        assert any("f: " in text and "qualification" in text for text in plan.warnings)
    else:
        assert plan.quality != "optimal"


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_plan_without_any_multiplier_is_not_proved_away(solver: str) -> None:
    """−1 ≤ x ≤ 0 leaves x = y = 0 alone: a plan, although KKT has no solution there."""
    plan = attempt(lambda: sp.stackelberg(pinched(-1, 0), solver=solver))
    if isinstance(plan, sp.NoPlan):
        assert "No plan exists" not in str(plan)
        assert "proved by" not in str(plan)
        return
    assert plan.value("x") == pytest.approx(0, abs=1e-4)
    assert plan.value("f.u") == pytest.approx(0, abs=1e-2)
    assert plan.leader_objective == pytest.approx(26, abs=0.2)
    assert any("qualification" in text or "multiplier" in text for text in plan.warnings)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_with_an_interior_there_is_no_such_warning(solver: str) -> None:
    plan = sp.stackelberg(pinched(1, 10), solver=solver)
    assert plan.leader_objective == pytest.approx(40, abs=1e-5), "x = 1, y = 1"
    assert not any("qualification" in text for text in plan.warnings)
    assert plan.multipliers["f.row"] == pytest.approx(-2, abs=1e-4), "(3 − y)/y, with d(cost)/d(rhs) < 0"
