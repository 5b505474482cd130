"""Second-best rules against 40-digit and exact figures: values, gains, verdicts, and what is not attained."""

from __future__ import annotations

import json
import math
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import DATA, number

import stackpyomo as sp
from stackpyomo.games import parse_game
from stackpyomo.games.files.formulas import Formula

CASES = {c["id"][:4]: c for c in json.loads((DATA / "second_best_cases.json").read_text())["cases"]}


def variables(table: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [{"name": name, "lb": number(low), "ub": number(high), "start": 0.5} for name, (low, high) in table.items()]


def game_of(case: dict[str, Any], size: float = 1) -> tuple[sp.Game, list[Any]]:
    """The case as a game, and what each leader variable sees."""
    data = case["data"]
    followers = [
        {
            "name": name,
            "variables": variables(entry["vars"]),
            "objective": entry["J"],
            "size": ("inf" if size == math.inf else size) if entry["size"] == "n" else entry["size"],
        }
        for name, entry in data["followers"].items()
    ]
    aggregates = data.get("aggregates", {})
    leader = {
        "variables": [*variables(data["leader"]), *({"name": name} for name in aggregates)],
        "objective": data["J0"],
        "sense": data["sense"],
        "aggregates": [{"variable": name, "row": f"{name} == {made}"} for name, made in aggregates.items()],
    }
    document = {"format": "stackpyomo-game/1", "name": case["id"], "leader": leader, "followers": followers}
    game = parse_game(document)
    known = {name.rpartition(".")[2]: var for name, var in game.variables_by_name.items()}

    def fault(message: str, at: int) -> Exception:
        return AssertionError(f"{message} at {at}")

    signals = {name: Formula(text, known, fault).value() for name, text in data["signals"].items()}
    return game, [(known[name], [signals[s] for s in seen]) for name, seen in data["rule"].items()]


def solved(name: str, size: float = 1, **options: Any) -> sp.Incentive:
    game, observe = game_of(CASES[name], size)
    rule = sp.optimal_rule(game, observe, **options)
    assert sp.verify(rule).ok
    return rule


def compared(rule: sp.Incentive, leader_optimal: float, value: float, constant: float) -> None:
    assert list(rule.comparison.index) == ["leader-optimal", "this rule", "best constant"]
    assert rule.comparison.tolist() == pytest.approx([leader_optimal, value, constant], abs=1e-6)
    assert rule.plan.leader_objective == pytest.approx(value, abs=1e-6)


@pytest.mark.slow
def test_followers_who_share_one_meter() -> None:
    expected = CASES["SB01"]["expected"]
    rule = solved("SB01")
    compared(rule, 0.0, number(expected["rule"]["value"]), number(expected["constant"]["value"]))
    assert rule.plan.quality == "optimal"
    assert rule.gain.iloc[0, 0] == pytest.approx(number(expected["rule"]["K"]), abs=1e-5)
    assert [rule.plan.values[n] for n in ("p", "f1.u1", "f2.u2")] == pytest.approx(
        [number(expected["rule"][n]) for n in ("p", "u1", "u2")], abs=1e-6
    )
    intercept = rule.offset["p"] - rule.gain.iloc[0, 0] * rule.targets[rule.signals[0]]
    assert intercept == pytest.approx(number(expected["rule"]["c"]), abs=1e-5)
    assert rule.residual < 1e-6
    curve = rule.value_curve
    assert curve["value"].is_monotonic_decreasing
    assert curve["value"].iloc[[0, -1]].tolist() == pytest.approx(rule.comparison.iloc[[2, 1]].tolist())
    with pytest.raises(sp.NoIncentive):
        sp.affine_incentive(sp.leader_optimal(rule.game), [rule.observed[0]])


def test_what_a_first_gain_would_bring() -> None:
    """dV/dK at the best constants: the weighted grips Σ b_k μ_k M_k, 40-digit figure."""
    rule = solved("SB01", gain_bounds=(0.0, 0.0))
    assert rule.norm == 0.0
    assert rule.comparison["this rule"] == pytest.approx(57 / 58)
    assert list(rule.at_bound.values()) == pytest.approx([-0.6082045182758621], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [2, 10])
def test_gains_that_stand_at_their_bound(kappa: int) -> None:
    expected = CASES["SB04"]["expected"]["by_kappa"][str(kappa)]
    rule = solved("SB04", gain_bounds=(-kappa, kappa))
    compared(rule, 0.0, number(expected["value"]), 0.25)
    assert abs(rule.gain.iloc[0, 0]) == pytest.approx(kappa, abs=1e-6)
    assert abs(rule.plan.values["p"]) == pytest.approx(abs(number(expected["p"])), abs=1e-6)
    (slope,) = rule.at_bound.values()
    difference = solved("SB04", gain_bounds=(-kappa - 0.01, kappa + 0.01)).plan.leader_objective
    assert slope == pytest.approx((difference - rule.plan.leader_objective) / 0.01, rel=0.02)
    assert "stands at its bound" in str(rule)


@pytest.mark.slow
def test_a_value_that_no_gain_attains() -> None:
    rule = solved("SB04")
    assert rule.standing is not None
    assert rule.standing.infimum == pytest.approx(0.0, abs=1e-9)
    assert rule.plan.attained is False
    assert rule.plan.quality == "feasible"
    assert 0.0 < rule.plan.leader_objective < 0.002
    assert "with ever larger gains the objective tends to 0, and no rule does better (proved)." in str(rule)
    value = dict(zip(rule.value_curve["kappa"].round(3), rule.value_curve["value"], strict=True))
    assert value[10.0] == pytest.approx(0.001111380095344798, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("least", "options"), [("1/5", {"curvature": 0.2}), ("1/100", {"margin": 0.01})])
def test_curvature_that_is_asked_for(least: str, options: dict[str, float]) -> None:
    expected = CASES["SB05"]["expected"]["by_mu"][least]
    rule = solved("SB05", **options)
    compared(rule, 0.0, number(expected["value"]), 36 / 25)
    assert rule.gain.iloc[0, 0] == pytest.approx(number(expected["K"]), abs=1e-6)
    assert rule.plan.quality == "optimal"


@pytest.mark.slow
def test_a_maximum_of_the_follower_is_no_answer() -> None:
    rule = solved("SB05")
    compared(rule, 0.0, 72 / 125, 36 / 25)
    assert rule.plan.quality == "optimal"
    assert rule.gain.iloc[0, 0] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.slow
def test_a_deviation_far_away_gets_its_cut() -> None:
    expected = CASES["SB06"]["expected"]
    rule = solved("SB06")
    compared(rule, 0.0, number(expected["rule"]["value"]), number(expected["constant"]["value"]))
    assert rule.gain.iloc[0, 0] == pytest.approx(number(expected["rule"]["K"]), abs=1e-5)


@pytest.mark.slow
def test_a_bound_of_the_leader() -> None:
    expected = CASES["SB07"]["expected"]
    cut = solved("SB07", saturate=True)
    compared(cut, 0.0, number(expected["rule_saturated"]["value"]), 1.0)
    assert cut.gain.iloc[0, 0] == pytest.approx(number(expected["rule_saturated"]["K"]), abs=1e-5)
    compared(solved("SB07"), 0.0, number(expected["rule_within_bounds_for_every_action"]["value"]), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 10, 100, math.inf])
def test_populations_of_any_size(size: float) -> None:
    """The value is the same for every finite size, and the best constants' for infinitely many."""
    expected = CASES["SB10"]["expected"]
    name = "inf" if size == math.inf else str(size)
    constant = number(expected["constant_by_n"][name]["value"])
    rule = solved("SB10", size)
    compared(rule, 0.0, constant if size == math.inf else number(expected["finite_n"]["value"]), constant)
    gain = 0.0 if size == math.inf else number(expected["finite_n"]["K"][name])
    assert rule.gain.iloc[0, 0] == pytest.approx(gain, rel=1e-5)


@pytest.mark.slow
def test_two_tolls_that_answer_a_mean() -> None:
    expected = CASES["SB12"]["expected"]
    rule = solved("SB12")
    compared(rule, 0.0, number(expected["rule"]["value"]), number(expected["constant"]["value"]))
    assert rule.gain.iloc[:, 0].tolist() == pytest.approx([number(expected["rule"][n]) for n in ("K1", "K2")], abs=1e-4)


# --- private types ------------------------------------------------------------------------------------------------


def tolled_types() -> tuple[sp.Game, sp.Scenarios]:
    """SB13: one user of private type θ, one toll for all."""
    types = sp.Scenarios({"theta": [1.0, 2.0, 4.0]}, [0.5, 0.25, 0.25])
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(list(types), bounds=(-20, 20), initialize=0)
    m.user = pyo.Block()
    m.user.q = pyo.Var(types.atoms("theta"), bounds=(-20, 20), initialize=1)
    theta = types["theta"]

    def q(w: int) -> Any:
        return m.user.q[types.atom("theta", w)]

    m.user.cost = pyo.Objective(expr=types.expectation(lambda w: q(w) ** 2 / 2 - theta[w] * q(w) + m.toll[w] * q(w)))
    m.miss = pyo.Objective(expr=types.expectation(lambda w: (q(w) - theta[w] / 2) ** 2 / 2 + m.toll[w] ** 2 / 2))
    return sp.Game(m, followers=m.user), types


@pytest.mark.slow
def test_one_toll_for_types_that_nobody_can_tell_apart() -> None:
    expected = CASES["SB13"]["expected"]["rule"]
    game, types = tolled_types()
    m = game.model
    rule = sp.optimal_rule(game, types.observe(m.toll, [(m.user.q, "theta")]), common=[m.toll])
    compared(rule, 0.0, number(expected["value"]), 7 / 16)
    assert rule.plan.quality == "optimal"
    words = "toll[0], toll[1], toll[2] announce one rule: -0.637595 plus 0.634007 times what each sees."
    assert words in str(rule)
    again = sp.Incentive.from_json(rule.to_json(), game)
    assert words in str(again)
    for w in types:
        seen = f"user.q[{types.atom('theta', w)}]"
        gain = rule.gain.loc[f"toll[{w}]", seen]
        assert gain == pytest.approx(number(expected["K"]), abs=1e-6)
        intercept = rule.offset[f"toll[{w}]"] - gain * rule.targets[seen]
        assert intercept == pytest.approx(number(expected["c"]), abs=1e-6)
    by_type = sp.conditional_regret(rule, types, [(m.user.q, "theta")])
    assert by_type["regret"].max() < 1e-7
    assert (by_type["certificate"] == "convex").all()


@pytest.mark.slow
def test_a_tariff_with_a_fee_that_every_type_accepts() -> None:
    """SB15, Mussa and Rosen (1978) with a line for a tariff: exact rationals."""
    expected = CASES["SB15"]["expected"]["rule"]
    types = sp.Scenarios({"theta": [3.0, 4.0]}, [2 / 3, 1 / 3])
    m = pyo.ConcreteModel()
    m.p, m.fee = pyo.Var(list(types), bounds=(-20, 20), initialize=0), pyo.Var(bounds=(-20, 20), initialize=0)
    m.user = pyo.Block()
    m.user.q = pyo.Var(types.atoms("theta"), bounds=(0, 20), initialize=1)
    theta = types["theta"]

    def q(w: int) -> Any:
        return m.user.q[types.atom("theta", w)]

    def cost(w: int) -> Any:
        return q(w) ** 2 / 2 - theta[w] * q(w) + m.p[w] * q(w) + m.fee

    m.user.cost = pyo.Objective(expr=types.expectation(cost))
    m.participation = pyo.Constraint(list(types), rule=lambda _, w: cost(w) <= 0)
    m.profit = pyo.Objective(expr=types.expectation(lambda w: m.fee + m.p[w] * q(w)), sense=pyo.maximize)
    game = sp.Game(m, followers=m.user)
    rule = sp.optimal_rule(game, types.observe(m.p, [(m.user.q, "theta")]), common=[m.p])
    compared(rule, 17 / 3, 73 / 16, 41 / 9)
    assert rule.gain.loc["p[0]", "user.q[3.0]"] == pytest.approx(number(expected["K"]), abs=1e-5)
    assert rule.plan.value(m.fee) == pytest.approx(number(expected["fee"]), abs=1e-5)
    assert [rule.plan.values[f"user.q[{t}]"] for t in theta] == pytest.approx(
        list(map(number, expected["q"])), abs=1e-5
    )
    assert sp.verify(rule).ok


@pytest.mark.slow
def test_least_regret_in_the_worst_case() -> None:
    """SB20: an epigraph row for each type."""
    case = CASES["SB20"]["expected"]
    types = sp.Scenarios({"theta": [2.0, 3.0, 5.0]})
    m = pyo.ConcreteModel()
    m.p, m.worst = pyo.Var(list(types), bounds=(-20, 20), initialize=0), pyo.Var(initialize=1.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(types.atoms("theta"), bounds=(0, 10), initialize=1)
    theta = types["theta"]
    ideal = [number(case["leader_optimal"][f"{t:g}"]) for t in theta]

    def u(w: int) -> Any:
        return m.f.u[types.atom("theta", w)]

    def loss(w: int) -> Any:
        return u(w) ** 2 / 2 - theta[w] / 2 * pyo.log(1 + u(w)) + m.p[w] ** 2 / 10 - ideal[w]

    m.f.cost = pyo.Objective(expr=types.expectation(lambda w: -theta[w] * pyo.log(1 + u(w)) + m.p[w] * u(w)))
    m.rows = pyo.Constraint(list(types), rule=lambda _, w: loss(w) <= m.worst)
    m.goal = pyo.Objective(expr=m.worst)
    game = sp.Game(m, followers=m.f)
    rule = sp.optimal_rule(game, types.observe(m.p, [(m.f.u, "theta")]), common=[m.p])
    compared(rule, 0.0, number(case["rule"]["value"]), number(case["constant"]["value"]))
    assert rule.gain.loc["p[0]", "f.u[2.0]"] == pytest.approx(number(case["rule"]["K"]), abs=1e-5)
    assert sp.verify(rule).ok
