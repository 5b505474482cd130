"""Why a follower stays unknown is data: the advice does not read its words."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from conftest import toll_game

import stackpyomo as sp
from stackpyomo.verification import Effort


def test_what_has_no_end_is_told_whatever_the_note_says() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.p * m.f.u - m.f.u)
    m.goal = pyo.Objective(expr=m.f.u**2 + m.p**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert report.unsettled == {"f": "unbounded"}
    again = sp.Report.from_json(report.to_json())
    assert again.unsettled == report.unsettled
    again.note["f"] = "illimité"
    assert again.advice == ["Bound the variables of f, or add the missing cost."]


def test_who_ran_out_of_time_may_be_asked_again() -> None:
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(toll_game())), time_limit=1e-9)
    assert report.unsettled == {"driver": "stopped"}
    report.note["driver"] = "trop tard"
    assert report.advice[0].endswith("more than time_limit=1e-09 may settle it.")
    assert sp.verify(sp.leader_optimal(toll_game())).unsettled == {}


@pytest.mark.parametrize(
    ("certify", "given", "seconds"), [("auto", None, 10.0), ("proof", None, float("inf")), ("auto", 3.0, 3.0)]
)
def test_seconds_for_proofs(certify: str, given: float | None, seconds: float) -> None:
    assert Effort(certify=certify, proof_seconds=given).proof == seconds


@pytest.mark.parametrize(
    ("certify", "given", "share"), [("auto", None, 3.0), ("proof", None, 5.0), ("auto", 3.0, 5.0), ("auto", 60.0, 15.0)]
)
def test_one_of_four_takes_its_share_of_them(certify: str, given: float | None, share: float) -> None:
    assert Effort(certify=certify, proof_seconds=given).share(4) == share
