"""Equilibria as programs with complementarity: what a homotopy leaves, and rows that are written already."""

from __future__ import annotations

import pytest

import stackpyomo as sp
from models import cournot


@pytest.mark.parametrize("spread", [{}, {"low": 0.0, "high": 0.0}], ids=["some stay out", "all produce"])
def test_a_homotopy_ends_at_the_closed_form(spread: dict[str, float]) -> None:
    plan = sp.stackelberg(cournot.build(40, **spread), complementarity="scholtes")
    assert plan.report is not None
    assert plan.report.ok
    assert plan.leader_objective == pytest.approx(cournot.optimum(40, **spread).profit, rel=1e-8)
    assert {entry["treatment"] for entry in plan.log} == {"Scholtes", "polish"}
