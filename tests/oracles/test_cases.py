"""The published-quality cases: plan, gradients, gains and verified regret against 40-digit or exact figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import CASES, NLP, number

import stackpyomo as sp
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games import parse_game


def _document(case: dict[str, Any]) -> dict[str, Any]:
    """The case as a stackpyomo-game/1 object."""
    followers = [
        {
            "name": f"follower{i}",
            "variables": [{"name": name} for name in names],
            "objective": cost,
            "constraints": [f"{g} <= 0" for g in case["follower_g_le_0"][i]],
        }
        for i, (names, cost) in enumerate(zip(case["follower_vars"], case["J"], strict=True))
    ]
    leader = {
        "variables": [{"name": name} for name in case["leader_vars"]],
        "objective": case["J0"],
        "constraints": [f"{g} <= 0" for g in case["leader_g_le_0"]],
    }
    return {"format": "stackpyomo-game/1", "name": case["id"], "leader": leader, "followers": followers}


def _close(got: Any, wanted: Any, tolerance: float) -> None:
    wanted = np.array([number(w) for w in np.ravel(wanted)])
    np.testing.assert_allclose(np.ravel(got), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("solver", NLP)
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("NQ")])
def test_nonquadratic_cases(name: str, solver: str) -> None:
    case = CASES[name]
    game = parse_game(_document(case))
    plan = sp.leader_optimal(game, solver=solver)
    wanted = case["expected"]
    by_short_name = {full.split(".")[-1]: value for full, value in plan.values.items()}
    for variable, value in wanted["u_star"].items():
        assert by_short_name[variable] == pytest.approx(number(value), abs=1e-7)
    assert plan.leader_objective == pytest.approx(number(wanted["J0_star"]), abs=1e-7)
    _close(list(plan.follower_objectives.values()), wanted["J_star"], 1e-7)
    here = FollowerRows(game).at(plan.values)
    facts = wanted["followers"]
    rule = sp.affine_incentive(plan, solver=solver)
    order = [game.names[id(v)] for v in FollowerRows(game).instruments]
    assert rule.leader == order
    by_leader = {short: position for position, short in enumerate(case["leader_vars"])}
    rows = [by_leader[name] for name in order]
    _close(here.own, [g for f in facts for g in f["grad_ui"]], 1e-7)
    _close(here.leader.toarray(), [[f["grad_u0"][r] for r in rows] for f in facts], 1e-7)
    gain = np.hstack([[[number(q) for q in f["Q_min_norm_lambda0"][r]] for r in rows] for f in facts])
    np.testing.assert_allclose(rule.gain.to_numpy(), gain, rtol=1e-6, atol=1e-7)
    report = sp.verify(rule, solver=solver)
    assert report.ok
    assert report.epsilon <= 1e-7
    constant = sp.verify(plan, solver=solver)
    assert not constant.ok, "without the incentive somebody would leave the plan"


def _quadratic(case: dict[str, Any], key: str, z: list[Any]) -> Any:
    matrix, linear = case["data"][f"P{key}"], case["data"][f"p{key}"]
    n = len(z)
    return sum(number(matrix[i][j]) / 2 * z[i] * z[j] for i in range(n) for j in range(n)) - sum(
        number(linear[i]) * z[i] for i in range(n)
    )


@pytest.mark.parametrize("solver", NLP)
@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("LQ")])
def test_linear_quadratic_cases(name: str, solver: str) -> None:
    case, wanted = CASES[name], CASES[name]["expected"]
    leaders = case["data"]["m0"]
    size = len(wanted["z_star"])
    m = pyo.ConcreteModel(name=name)
    m.lead = pyo.Var(range(leaders))
    m.follower = pyo.Block()
    m.follower.own = pyo.Var(range(size - leaders))
    z = [*m.lead.values(), *m.follower.own.values()]
    m.goal = pyo.Objective(expr=_quadratic(case, "0", z))
    m.follower.cost = pyo.Objective(expr=_quadratic(case, "1", z))
    game = sp.Game(m, followers=m.follower)
    plan = sp.leader_optimal(game, solver=solver)
    assert plan.quality == "optimal"
    _close([plan.value(v) for v in z], wanted["z_star"], 1e-7)
    _close([plan.leader_objective], [wanted["J0_star"]], 1e-7)
    _close([plan.follower_objectives["follower"]], [wanted["J1_star"]], 1e-7)
    here = FollowerRows(game).at(plan.values)
    _close(here.own, wanted["grad_u1"], 1e-7)
    _close(here.leader.toarray(), wanted["grad_u0"], 1e-7)
    rule = sp.affine_incentive(plan, solver=solver)
    _close(rule.gain.to_numpy(), wanted["Q_min_norm"], 1e-6)
    assert rule.freedom == (leaders - 1) * (size - leaders)
    report = sp.verify(rule, solver=solver)
    assert report.ok
    assert report.epsilon <= 1e-7
    assert (report.certificate == "convex").all()


def document(case: dict[str, Any]) -> dict[str, Any]:
    """A leader with u0 and a follower with u1, as a game file has them."""
    leader = {"variables": [{"name": "u0"}], "objective": case["data"]["J0"]}
    follower = {"name": "f", "variables": [{"name": "u1"}], "objective": case["data"]["J1"]}
    return {"format": "stackpyomo-game/1", "name": case["id"], "leader": leader, "followers": [follower]}


@pytest.mark.parametrize("solver", NLP)
def test_textbook_inverse_stackelberg(solver: str) -> None:
    case, wanted = CASES["LIT01_olsder_recalled"], CASES["LIT01_olsder_recalled"]["expected"]
    plan = sp.leader_optimal(parse_game(document(case)), solver=solver)
    assert plan.value("u0") == pytest.approx(number(wanted["u0"]), abs=1e-7)
    assert plan.value("f.u1") == pytest.approx(number(wanted["u1"]), abs=1e-7)
    rule = sp.affine_incentive(plan, solver=solver)
    assert rule.gain.loc["u0", "f.u1"] == pytest.approx(number(wanted["Q"]), rel=1e-6)
    answer = rule.actions({"f.u1": 7.0})["u0"]
    assert answer == pytest.approx(2 * 7.0 - 10, abs=1e-6)
    assert sp.verify(rule, solver=solver).epsilon <= 1e-7


def test_zero_gradient_has_no_incentive() -> None:
    case = CASES["ZG01_zero_gradient"]
    plan = sp.leader_optimal(parse_game(document(case)))
    with pytest.raises(sp.NoIncentive, match="f: zero gradient") as caught:
        sp.affine_incentive(plan)
    assert caught.value.residuals["f"] == pytest.approx(number(case["expected"]["residual"]), abs=1e-6)
    assert list(caught.value.reasons) == ["f"]


def test_two_followers_with_every_action_seen() -> None:
    """OP01 under full observation: Q_i = −a_i/b_i, one each (the shared average of it has no gain)."""
    wanted = CASES["OP01_opcs_conflict"]["expected"]
    c = CASES["OP01_opcs_conflict"]["data"]["c"]
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var()
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var()
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u + 1) ** 2 / 2 + (m.u0 - c[i]) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 + sum((m.f[i].u - 1) ** 2 for i in range(2)))
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)))
    _close(rule.gain.to_numpy(), wanted["Q_ocs"], 1e-6)
    assert sp.verify(rule).epsilon <= 1e-7
