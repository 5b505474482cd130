"""Fits against closed forms in exact fractions, scipy's least squares over closed-form answers, and wrong input."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import household
from scipy.optimize import least_squares

import stackpyomo as sp

ROWS = pd.DataFrame({"p": [0.0, 1.0, 2.0, 3.0, 5.0], "f.u": [4.1, 2.9, 2.2, 0.8, 0.0]})
BOUNDS = {"theta": (0.0, 20.0), "h": (0.05, 10.0)}


def customer(theta: float = 1.0, h: float = 1.0) -> sp.Game:
    """J = h u²/2 − θ u + p u on 0 ≤ u ≤ 20: u = (θ − p)/h, cut at the bounds."""
    m = pyo.ConcreteModel()
    m.theta = pyo.Param(initialize=theta, mutable=True)
    m.h = pyo.Param(initialize=h, mutable=True)
    m.p = pyo.Var(bounds=(-20, 20), initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 20), initialize=1)
    m.f.cost = pyo.Objective(expr=m.h * m.f.u**2 / 2 - m.theta * m.f.u + m.p * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 / 2 + m.p**2 / 2)
    return sp.Game(m, followers=m.f)


def exactly(*fractions: str) -> Any:
    return pytest.approx([float(Fraction(f)) for f in fractions], rel=1e-7)


# --- five rows in closed form -------------------------------------------------------------------------------------
# The last row stands at the bound; exact rationals, from least squares of the four others worked out by hand.


@pytest.mark.parametrize("parameters", [["theta", "h"], BOUNDS])
def test_responses_are_fitted_by_least_squares(parameters: Any) -> None:
    found = sp.fit(customer(), ROWS, parameters)
    assert found.parameters[["theta", "h"]].tolist() == exactly("409/106", "50/53")
    assert found.sum_of_squares == pytest.approx(41 / 500, rel=1e-7)
    assert found.covariance.to_numpy().ravel().tolist() == exactly(
        "3138345/63123848", "128125/7890481", "128125/7890481", "51250/7890481"
    )
    assert found.sandwich.to_numpy().ravel().tolist() == exactly(
        "2652345/126247696", "79975/15780962", "79975/15780962", "11225/7890481"
    )
    assert (found.rank, found.informative, found.quality) == (2, 4, "optimal")
    assert found.residuals["f.u"].iloc[-1] == pytest.approx(0.0, abs=1e-7)
    assert found.report is not None
    assert found.report.ok
    assert "proved the least within these bounds" in str(found)
    assert "1 of 5 readings say nothing" in str(found)


def test_residuals_are_fitted_by_linear_least_squares() -> None:
    found = sp.fit(customer(), ROWS, BOUNDS, method="residuals")
    assert found.parameters.tolist() == exactly("218/57", "53/57")
    assert found.sum_of_squares == pytest.approx(41 / 570, rel=1e-9)
    by_responses = sp.fit(customer(), ROWS, BOUNDS).parameters["h"]
    assert found.parameters["h"] / by_responses == pytest.approx(2809 / 2850), "errors in variables: R²"
    assert found.plan is None
    assert found.report is None


def test_bounds_may_admit_followers_who_are_not_convex() -> None:
    """They are played by deviations then; the least squares are where they were."""
    found = sp.fit(customer(), ROWS, {"theta": (0.0, 20.0), "h": (-1.0, 10.0)})
    assert found.parameters.tolist() == pytest.approx([409 / 106, 50 / 53], rel=1e-5)
    assert found.report is not None
    assert found.report.ok


def test_the_rule_for_what_was_fitted() -> None:
    game = customer()
    found = sp.fit(game, ROWS, BOUNDS)
    game.model.theta, game.model.h = found.parameters["theta"], found.parameters["h"]
    rule = sp.affine_incentive(sp.leader_optimal(game))
    assert float(rule.gain.loc["p", "f.u"]) == pytest.approx(309 / 106, rel=1e-6)


def test_the_users_model_is_left_alone() -> None:
    game = customer(3.0, 2.0)
    names = [c.name for c in game.model.component_objects()]
    sp.fit(game, ROWS, BOUNDS)
    assert [c.name for c in game.model.component_objects()] == names
    assert (game.model.theta.value, game.model.h.value) == (3.0, 2.0)
    assert (game.model.p.value, game.model.f.u.value) == (0, 1)


# --- one price only -----------------------------------------------------------------------------------------------
# Belief (7, 2): its best constant is p = 1, expects u = 3, and the truth (4, 1) answers just that.


def test_a_combination_that_is_open_is_said() -> None:
    found = sp.fit(customer(7.0, 2.0), {"p": [1.0, 1.0], "f.u": [3.0, 3.0]}, ["theta", "h"])
    assert found.parameters.tolist() == pytest.approx([7.0, 2.0]), "of those that fit equally, the one believed in"
    assert found.rank == 1
    direction = found.null_space.iloc[0]
    assert direction["theta"] / direction["h"] == pytest.approx(3.0)
    assert "(theta, h) + t (3, 1)" in str(found)
    assert found.covariance.isna().all(axis=None)
    with pytest.raises(sp.InvalidGame, match=r"not known.*theta, h not told apart"):
        found.scenarios("sample")


def test_two_answers_to_one_price_are_met_in_the_middle() -> None:
    """θ − 3.05 h = 1 whatever residuals make of it (a slope of 0, which leaves none)."""
    for parameters in (["theta", "h"], BOUNDS):
        found = sp.fit(customer(7.0, 2.0), {"p": [1.0, 1.0], "f.u": [3.0, 3.1]}, parameters)
        assert found.parameters["theta"] - 3.05 * found.parameters["h"] == pytest.approx(1.0, abs=1e-5)
        assert found.parameters["h"] == pytest.approx(2.0, rel=0.05), "next to what is believed"
        assert (found.rank, found.sum_of_squares) == (1, pytest.approx(0.005, rel=1e-6))
        assert found.report is not None
        assert found.report.ok
        assert found.report.warnings == []


def test_which_observation_frees_it() -> None:
    found = sp.fit(customer(7.0, 2.0), {"p": [1.0], "f.u": [3.0]}, ["theta", "h"])
    table = found.next({"p": [0.0, 1.0, 2.0, 3.0, 9.0]})
    assert table["gain"].loc[[0, 2, 3]].tolist() == [np.inf] * 3
    assert table["gain"].loc[1] == pytest.approx(np.log(2.0)), "once more of the same"
    assert table["gain"].loc[9 - 5] == 0.0, "at its bound the customer says nothing"
    assert table["rank"].tolist() == [2, 2, 2, 1, 1]
    assert table["f.u"].loc[0] == pytest.approx(3.5)
    freed = sp.fit(customer(7.0, 2.0), {"p": [1.0, 0.0], "f.u": [3.0, 4.0]}, ["theta", "h"])
    assert freed.parameters.tolist() == pytest.approx([4.0, 1.0])


def test_a_candidate_is_weighed_by_what_is_known_already() -> None:
    """D = (1, −u)/h in closed form."""
    found = sp.fit(customer(), ROWS, BOUNDS)
    theta, h = found.parameters
    prices = np.array([0.0, 1.0, 2.0, 3.0])
    seen = np.column_stack([np.ones(4), -(theta - prices) / h]) / h
    known = np.linalg.inv(seen.T @ seen)
    table = found.next({"p": [0.0, 2.5, 9.0]})
    for row, price in enumerate([0.0, 2.5]):
        trial = np.array([1.0, -(theta - price) / h]) / h
        assert table["gain"].loc[row] == pytest.approx(np.log1p(trial @ known @ trial), rel=1e-6)
    stiff = found.next({"f.u": [0.0]}, rules={"p": (-5.0, 5.0)})
    answer = (theta + 5.0) / (h + 10.0)
    trial = np.array([1.0, -answer]) / (h + 10.0)
    assert stiff["f.u"].iloc[0] == pytest.approx(answer, rel=1e-6)
    assert stiff["gain"].iloc[0] == pytest.approx(np.log1p(trial @ known @ trial), rel=1e-6)


# --- rules in force -----------------------------------------------------------------------------------------------


def under_rules(rules: list[tuple[float, float]], theta: float, h: float) -> np.ndarray:
    """u of h u²/2 − θ u + (c + K u) u."""
    return np.array([np.clip((theta - c) / (h + 2 * k), 0, 20) for c, k in rules])


def test_rows_gathered_under_a_rule_carry_it() -> None:
    lines = [(1.0, 0.5), (0.0, 0.0), (-1.0, 1.5), (2.0, 0.25)]
    u = under_rules(lines, 6.0, 2.0)
    game = customer()
    m = game.model
    rows = pd.DataFrame({"p": [c + k * x for (c, k), x in zip(lines, u, strict=True)], "f.u": u})
    forms: dict[str, Any] = {
        "pairs": [{"p": line} for line in lines],
        "expressions": [{"p": c + k * m.f.u} for c, k in lines],
        "gains": [{m.p.name: (c, {"f.u": k})} for c, k in lines],
        "constants where there is no gain": [{"p": line} if line[1] else None for line in lines],
        "by the index": {t: {"p": line} for t, line in enumerate(lines)},
    }
    for form, rules in forms.items():
        found = sp.fit(game, rows, BOUNDS, rules=rules)
        assert found.parameters.tolist() == pytest.approx([6.0, 2.0], rel=1e-6), form
        quick = sp.fit(game, rows, BOUNDS, rules=rules, method="residuals")
        assert quick.parameters.tolist() == pytest.approx([6.0, 2.0], rel=1e-6), form
    named = rows.assign(rule=["a", None, "b", "c"])
    rules = {"a": {"p": lines[0]}, "b": {"p": lines[2]}, "c": {"p": lines[3]}}
    assert sp.fit(game, named, BOUNDS, rules=rules).parameters.tolist() == pytest.approx([6.0, 2.0], rel=1e-6)


def test_a_rule_that_is_not_said_is_taken_for_slope() -> None:
    """Under one K and several offsets the prices seen fit h + K for h."""
    lines = [(c, 0.5) for c in (0.0, 1.0, 2.0)]
    u = under_rules(lines, 6.0, 2.0)
    rows = {"p": [c + k * x for (c, k), x in zip(lines, u, strict=True)], "f.u": u}
    assert sp.fit(customer(), rows, BOUNDS).parameters.tolist() == pytest.approx([6.0, 2.5], rel=1e-6)


def test_an_incentive_is_a_rule() -> None:
    truth, belief = customer(4.0, 1.0), customer(7.0, 2.0)
    rule = sp.affine_incentive(sp.leader_optimal(belief))
    gain = float(rule.gain.iloc[0, 0])
    u = (4.0 - rule.offset["p"] + gain * rule.targets["f.u"]) / (1.0 + 2.0 * gain)
    assert u == pytest.approx(9 / 11)
    rows = {"f.u": [u, 4.0], "p": [np.nan, 0.0]}
    found = sp.fit(truth, rows, BOUNDS, rules=[rule, None])
    assert found.parameters.tolist() == pytest.approx([4.0, 1.0], rel=1e-6)
    many = sp.Game(belief.model, followers=sp.Population(belief.model.f, 10))
    crowd = sp.affine_incentive(sp.leader_optimal(many))
    with pytest.raises(sp.InvalidGame, match=r"rules: f\.u is each member's own of a population"):
        sp.fit(truth, rows, BOUNDS, rules=[crowd, None])


# --- other followers, aggregates, populations, several actions ----------------------------------------------------


def cournot(size: float = 1) -> sp.Game:
    """Two groups of firms: J = c q + d q²/2 − (20 − Q) q + t q, Q the sum of one of each group's average, times 2."""
    m = pyo.ConcreteModel()
    m.c = pyo.Param([1, 2], initialize=1.0, mutable=True)
    m.d = pyo.Param(initialize=1.0, mutable=True)
    m.t = pyo.Var(initialize=0, bounds=(-5, 5))
    m.Q = pyo.Var(initialize=0)
    m.firm = pyo.Block([1, 2])
    for i, firm in m.firm.items():
        firm.q = pyo.Var(bounds=(0, 50), initialize=1)
        firm.cost = pyo.Objective(expr=m.c[i] * firm.q + m.d * firm.q**2 / 2 - (20 - m.Q) * firm.q + m.t * firm.q)
    m.total = pyo.Constraint(expr=m.firm[1].q + m.firm[2].q == m.Q)
    m.goal = pyo.Objective(expr=m.t**2)
    return sp.Game(m, followers=[sp.Population(m.firm[i], size) for i in (1, 2)], aggregates=[m.total])


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("method", ["responses", "residuals"])
def test_each_member_moves_the_aggregate_by_its_share(size: int, method: str) -> None:
    """At equilibrium c_i + d q_i − 20 + Q + q_i/size + t = 0, q by a linear system."""
    costs, d, taxes = np.array([2.0, 3.0]), 1.5, [0.0, 1.0, 2.5]
    matrix = np.ones((2, 2)) + np.eye(2) * (d + 1 / size)
    outputs = np.array([np.linalg.solve(matrix, 20 - costs - t) for t in taxes])
    rows = pd.DataFrame({"t": taxes, "firm[1].q": outputs[:, 0], "firm[2].q": outputs[:, 1]})
    bounds = {"c[1]": (0, 10), "c[2]": (0, 10), "d": (0.1, 10)}
    found = sp.fit(cournot(size), rows, bounds, method=method)
    assert found.parameters.tolist() == pytest.approx([2.0, 3.0, 1.5], rel=1e-5)
    told = sp.fit(cournot(size), rows.assign(Q=outputs.sum(axis=1)), ["c", "d"], method=method)
    assert told.parameters.tolist() == pytest.approx([2.0, 3.0, 1.5], rel=1e-5)


def test_a_binding_constraint_tells_differences_alone() -> None:
    """Under the fuse u1 − u2 = want1 − want2 − p1 + p2: the sum of the wants is open."""
    rows = pd.DataFrame({"p[1]": [0.0, 0.5], "p[2]": [0.0, 0.0], "home.u[1]": [2.0, 1.75], "home.u[2]": [1.0, 1.25]})
    for method in ("responses", "residuals"):
        found = sp.fit(household(5.0), rows, {"want": (0, 20)}, method=method)
        assert found.parameters["want[1]"] - found.parameters["want[2]"] == pytest.approx(1.0, abs=1e-6)
        assert found.rank == 1
        assert found.null_space.iloc[0].tolist() == pytest.approx([1.0, 1.0])
    free = pd.DataFrame({"p[1]": [3.0], "p[2]": [2.0], "home.u[1]": [1.0], "home.u[2]": [1.0]})
    found = sp.fit(household(), pd.concat([rows, free], ignore_index=True), {"want": (0, 20)})
    assert found.parameters.tolist() == pytest.approx([4.0, 3.0], rel=1e-6)


def test_what_was_not_observed_is_left_out() -> None:
    rows = {"p[1]": [3.0, 2.0], "p[2]": [2.0, 2.5], "home.u[1]": [1.0, 2.0]}
    found = sp.fit(household(), rows, ["want[1]"])
    assert found.parameters.tolist() == pytest.approx([4.0], rel=1e-6)
    assert found.residuals["home.u[2]"].isna().all()
    with pytest.raises(sp.InvalidGame, match=r"home.u\[2\] was not observed; use method"):
        sp.fit(household(), rows, ["want[1]"], method="residuals")


def test_costs_that_are_not_affine_in_the_parameter() -> None:
    """J = exp(θ u) − θ... : −log(1+u)·θ² + p u, u = θ²/p − 1."""
    m = pyo.ConcreteModel()
    m.taste = pyo.Param(initialize=1.0, mutable=True)
    m.p = pyo.Var(initialize=1)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 50), initialize=1)
    m.f.cost = pyo.Objective(expr=-(m.taste**2) * pyo.log(1 + m.f.u) + m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.p**2)
    game = sp.Game(m, followers=m.f)
    rows = {"p": [0.5, 1.0, 2.0], "f.u": [9 / 0.5 - 1, 8.0, 3.5]}
    found = sp.fit(game, rows, {"taste": (0.5, 6.0)})
    assert found.parameters.tolist() == pytest.approx([3.0], rel=1e-6)
    with pytest.raises(sp.InvalidGame, match="objective of f is not shown to be affine in the parameters"):
        sp.fit(game, rows, {"taste": (0.5, 6.0)}, method="residuals")


@pytest.mark.parametrize("seed", range(4))
def test_noisy_rows_against_scipy(seed: int) -> None:
    """Least squares over the closed-form answer, prices and rules mixed, some rows at the bound."""
    random = np.random.default_rng(seed)
    theta, h = random.uniform(3, 8), random.uniform(0.5, 2)
    lines = [(float(c), float(k)) for c, k in zip(random.uniform(0, 9, 8), random.uniform(0, 1, 8), strict=True)]
    u = np.clip(under_rules(lines, theta, h) + random.normal(0, 0.1, 8), 0, 20)

    def left(point: np.ndarray) -> np.ndarray:
        return u - under_rules(lines, *point)

    ways = [least_squares(left, start, bounds=([0, 0.05], [20, 10]), xtol=1e-15, ftol=1e-15, gtol=1e-15)
            for start in ([theta, h], [5.0, 1.0], [10.0, 3.0])]  # fmt: skip
    best = min(ways, key=lambda way: way.cost)
    found = sp.fit(customer(), {"f.u": u}, BOUNDS, rules=[{"p": line} for line in lines])
    assert found.sum_of_squares == pytest.approx(2 * best.cost, abs=1e-8)
    assert found.parameters.tolist() == pytest.approx(best.x.tolist(), rel=1e-4)


def test_a_thousand_rows() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0, 5, 1000)
    u = np.clip((4 - p) / 1.2, 0, 20)
    found = sp.fit(customer(), {"p": p, "f.u": u}, BOUNDS)
    assert found.parameters.tolist() == pytest.approx([4.0, 1.2], rel=1e-6)
    assert found.rank == 2


# --- everything that explains the data ----------------------------------------------------------------------------


def test_rows_drawn_anew() -> None:
    """Of many rows the bootstrap is the sandwich; (θ, h) of u = (θ − p)/h with noise that grows with the price."""
    random = np.random.default_rng(0)
    p = random.uniform(0.0, 3.0, 400)
    u = (4.0 - p) / 1.2 + random.normal(size=400) * (0.05 + 0.05 * p)
    fit = sp.fit(customer(), pd.DataFrame({"p": p, "f.u": u}), BOUNDS)
    drawn = fit.bootstrap(3000, seed=1).to_numpy()
    assert drawn == pytest.approx(fit.sandwich.to_numpy(), rel=0.12)
    assert fit.bootstrap(50, seed=2).equals(fit.bootstrap(50, seed=2))
    one = sp.fit(customer(7, 2), {"p": [1.0], "f.u": [3.0]}, BOUNDS)
    assert one.bootstrap(10).isna().to_numpy().all(), "what is open has no covariance"
    with pytest.raises(sp.InvalidGame, match="draws=1"):
        fit.bootstrap(1)


def test_the_consistent_set_is_what_the_inequalities_say() -> None:
    found = sp.fit(customer(), ROWS, BOUNDS, noise=0.3)
    corners = found.consistent.vertices
    y, p = ROWS["f.u"].to_numpy(), ROWS["p"].to_numpy()

    def explains(theta: float, h: float, slack: float = 0.0) -> bool:
        return bool(np.all(np.abs(np.clip((theta - p) / h, 0, 20) - y) <= 0.3 + slack))

    assert all(explains(theta, h, 1e-7) for theta, h in corners.to_numpy())
    random = np.random.default_rng(0)
    for theta, h in random.uniform([3, 0.5], [5, 1.5], (500, 2)):
        assert found.consistent.contains([theta, h]) == explains(theta, h)
    drawn = found.scenarios("sample", size=50, seed=1)
    assert all(explains(theta, h, 1e-7) for theta, h in zip(drawn["theta"], drawn["h"], strict=True))
    at_corners = found.scenarios("vertices")
    assert len(at_corners) == len(corners)
    assert at_corners["theta"].tolist() == corners["theta"].tolist()
    assert "All that explains every row within its noise: theta 3.52 … 4.222" in str(found)
    assert found.as_dict()["consistent"]["vertices"][0]["theta"] == pytest.approx(3.52)


def test_exact_rows_leave_a_segment_or_a_point() -> None:
    one = sp.fit(customer(7, 2), {"p": [1.0], "f.u": [3.0]}, BOUNDS, noise=0.0)
    ends = one.consistent.vertices.to_numpy()
    assert ends.tolist() == [pytest.approx([1.15, 0.05], abs=1e-6), pytest.approx([20.0, 19 / 3], abs=1e-6)]
    middle = one.scenarios("sample", size=20, seed=0)
    assert middle["theta"] == pytest.approx(1 + 3 * middle["h"], abs=1e-6)
    two = sp.fit(customer(7, 2), {"p": [1.0, 0.0], "f.u": [3.0, 4.0]}, BOUNDS, noise=0.0)
    assert two.consistent.vertices.to_numpy().ravel().tolist() == pytest.approx([4.0, 1.0], abs=1e-6)
    assert two.scenarios("sample", size=3)["h"].tolist() == pytest.approx([1.0] * 3, abs=1e-6)


def test_the_set_is_refused_where_nothing_limits_it() -> None:
    with pytest.raises(sp.InvalidGame, match="noise= was not given"):
        _ = sp.fit(customer(), ROWS, BOUNDS).consistent
    lone = sp.fit(customer(7, 2), {"p": [1.0], "f.u": [3.0]}, ["theta", "h"], noise=0.0)
    with pytest.raises(sp.InvalidGame, match="without bounds of the parameters it goes beyond"):
        _ = lone.consistent
    with pytest.raises(sp.InvalidGame, match='kind=\'corners\': expected "vertices" or "sample"'):
        lone.scenarios("corners")


def test_draws_from_the_covariance() -> None:
    found = sp.fit(customer(), ROWS, BOUNDS)
    drawn = found.scenarios("sample", size=4000, seed=3).outcomes
    assert drawn.mean().tolist() == pytest.approx(found.parameters.tolist(), rel=0.02)
    assert np.cov(drawn.T).ravel().tolist() == pytest.approx(found.covariance.to_numpy().ravel().tolist(), rel=0.1)


# --- wrong input --------------------------------------------------------------------------------------------------


def spoiled(column: str, value: Any) -> pd.DataFrame:
    rows = ROWS.astype(object).copy()
    rows.loc[2, column] = value
    return rows


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "n/a"])
@pytest.mark.parametrize("column", ["p", "f.u"])
def test_a_cell_without_a_number_is_named(column: str, value: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=rf"row 2, column {column}: .* is no finite number"):
        sp.fit(customer(), spoiled(column, value), BOUNDS)


@pytest.mark.parametrize(
    ("rows", "parameters", "options", "message"),
    [
        (spoiled("f.u", 25.0), BOUNDS, {}, r"row 2, column f.u: 25 lies outside of what f can do \(0"),
        (spoiled("f.u", -0.2), BOUNDS, {"noise": 0.1}, "row 2, column f.u: -0.2 lies outside"),
        (spoiled("f.u", 9.0), BOUNDS, {"noise": 0.1}, "these together: .*row 2, f.u at least 8.9"),
        (ROWS, {"theta": (0, 3), "h": (1, 2)}, {"noise": 0.1}, "these together: .*theta at most 3"),
        (ROWS, {"theta": (None, None), "h": (0, 1)}, {}, r"theta is unbounded \(\(None, None\)\); give"),
        (ROWS, {"theta": (0, np.inf)}, {}, "theta is unbounded"),
        (ROWS, {"theta": 3.0}, {}, "theta is unbounded"),
        (ROWS, {"theta": (3, 3)}, {}, "theta lies between 3 and 3; nothing is left to fit"),
        (ROWS, ["theta", "unused"], {}, "unused: enters no follower's objective, constraint or bound"),
        (ROWS, ["theta", "gone"], {}, "gone: is not mutable"),
        (ROWS, ["theta", "p"], {}, "p is no Param; fit what the model declares"),
        (ROWS, ["tehta"], {}, "tehta: .* has no component of that name. Did you mean theta"),
        (ROWS, [], {}, "none given; name at least one mutable Param"),
        (ROWS, 3, {}, "expected Params, their names, or a mapping"),
        (ROWS.drop(columns="p"), BOUNDS, {}, "p: the followers' problems hold it, and the data have no such column"),
        (ROWS.drop(columns="f.u"), BOUNDS, {}, "f.u: no column of rows; add what f did"),
        (ROWS[:0], BOUNDS, {}, "rows: holds no row"),
        (object(), BOUNDS, {}, "rows: expected a DataFrame"),
        (ROWS, BOUNDS, {"method": "magic"}, "method='magic': expected one of responses, residuals"),
        (ROWS, BOUNDS, {"noise": -1}, "noise=-1 for f.u: expected a finite number"),
        (ROWS, BOUNDS, {"noise": {"p": 1}}, "noise=None for f.u: expected a finite number"),
        (ROWS, BOUNDS, {"rules": [None, None]}, "rules: 2 for 5 rows"),
        (ROWS, BOUNDS, {"rules": {"f.u": 3.0}}, "rules: 'f.u' is no variable of the leader"),
        (ROWS, BOUNDS, {"rules": [{"p": "high"}] * 5}, "p announces 'high'; give an expression"),
        (ROWS.assign(rule="b"), BOUNDS, {"rules": {"a": {"p": (0, 1)}}}, "'a' .* of rules= and column rule"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(rows: Any, parameters: Any, options: dict[str, Any], message: str) -> None:
    game = customer()
    game.model.unused = pyo.Param(initialize=1.0, mutable=True)
    game.model.gone = pyo.Param(initialize=1.0)
    with pytest.raises(sp.InvalidGame, match=message):
        sp.fit(game, rows, parameters, **options)


def test_a_fit_that_runs_away_asks_for_bounds() -> None:
    """No answer to the price: the steeper h, the better, without an end."""
    rows = {"p": [0.0, 5.0], "f.u": [3.0, 3.0]}
    with pytest.raises(sp.InvalidGame, match=r"is unbounded, and the fit runs to .*Give bounds: parameters="):
        sp.fit(customer(6.0, 1.0), rows, ["theta", "h"])


def test_where_residuals_mislead_the_box_moves() -> None:
    """Answers of 3 and of 2.95 on average: (θ, h) = (300, 100), far from what noise makes of the slopes."""
    found = sp.fit(customer(), {"p": [0.0, 5.0, 5.0], "f.u": [3.0, 2.0, 3.9]}, ["theta", "h"], time_limit=4)
    assert found.parameters.tolist() == pytest.approx([300.0, 100.0], rel=1e-3)


def test_costs_without_a_unit_are_refused_by_residuals() -> None:
    m = pyo.ConcreteModel()
    m.a = pyo.Param([1, 2], initialize=1.0, mutable=True)
    m.p = pyo.Var(initialize=1)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-9, 9), initialize=1)
    m.f.cost = pyo.Objective(expr=m.a[1] * m.f.u**2 + m.a[2] * m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.p**2)
    rows = {"p": [1.0, 2.0], "f.u": [-1.0, -2.0]}
    game = sp.Game(m, followers=m.f)
    with pytest.raises(sp.InvalidGame, match="every term of the costs holds a parameter"):
        sp.fit(game, rows, ["a"], method="residuals")
    found = sp.fit(game, rows, {"a": (0.1, 10)})
    assert found.rank == 1
    assert found.null_space.iloc[0].tolist() == pytest.approx([1.0, 2.0])


def test_no_game_is_named() -> None:
    with pytest.raises(sp.InvalidGame, match=r"fit\(str\): expected a Game"):
        sp.fit("game", ROWS, BOUNDS)  # type: ignore[arg-type]
