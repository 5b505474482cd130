"""Equilibria as programs with complementarity: the ways that games of many pairs go, made small."""

from __future__ import annotations

import pytest

import stackpyomo as sp
from models import cournot
from stackpyomo.bilevel import mpcc


@pytest.mark.parametrize(
    ("spread", "way"), [({}, "Scholtes"), ({"low": 0.0, "high": 0.0}, "piece")], ids=["some stay out", "all produce"]
)
def test_many_pairs_go_the_shorter_way_to_the_closed_form(
    spread: dict[str, float], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where some followers stay out a homotopy from their equilibrium; where all produce from piece to piece."""
    monkeypatch.setattr(mpcc, "_MANY", 10)
    plan = sp.stackelberg(cournot.build(40, **spread), solver="pounce")
    treatments = [entry["treatment"] for entry in plan.log]
    assert plan.report is not None
    assert plan.report.ok
    assert plan.leader_objective == pytest.approx(cournot.optimum(40, **spread).profit, rel=1e-8)
    assert treatments[0] == "polish", "the followers' equilibrium where the leader starts"
    assert way in treatments
    assert len({"Scholtes", "piece"} & set(treatments)) == 1
