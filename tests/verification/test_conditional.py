"""What a follower gains given its observation, where the leader's answer is stopped at its bounds."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.errors import InvalidGame
from stackpyomo.verification.conditional import unfolded


@pytest.mark.parametrize("limit", [1.0, 0.4, 0.1])
def test_atom_by_atom_under_a_rule_that_is_stopped(limit: float) -> None:
    """(u − 1)² + (1 + w) t u, t = gain (u − ½) within ±limit: against a fine grid at each atom."""
    seen = sp.Scenarios({"y": [0, 1, 2]}, [0.2, 0.3, 0.5])
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([0, 1, 2], bounds=(-limit, limit), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var([0, 1, 2], bounds=(-3, 3), initialize=0.5)
    m.f.cost = pyo.Objective(expr=seen.expectation(lambda w: (m.f.u[w] - 1) ** 2 + m.t[w] * m.f.u[w] * (1 + w)))
    m.goal = pyo.Objective(expr=seen.expectation(lambda w: (m.f.u[w] - 0.5) ** 2 + m.t[w] ** 2))
    plan = sp.leader_optimal(sp.Game(m, m.f))
    rule = sp.affine_incentive(plan, seen.observe(m.t, [(m.f.u, "y")]), energy=seen.energy(m.t))
    told = sp.conditional_regret(rule, seen, [(m.f.u, "y")])
    u = np.linspace(-3, 3, 600_001)
    for w, regret in zip(told["atom"], told["regret"], strict=True):
        gain = float(rule.gain.loc[f"t[{w}]", f"f.u[{w}]"])
        assert gain == pytest.approx(2.0 / (1 + w))
        cost = (u - 1) ** 2 + np.clip(gain * (u - 0.5), -limit, limit) * u * (1 + w)
        assert regret == pytest.approx(cost[350_000] - cost.min(), abs=1e-6)


def guessing() -> tuple[sp.Game, sp.Scenarios]:
    """A follower sees y = x + w and wants to be near x³ + price; its policy is c + k y, and no best answer."""
    seen = {"y": lambda row: row["x"] + row["w"]}
    scenarios = sp.Scenarios.gauss_hermite(["x", "w"], 3, covariance=np.eye(2), observations=seen)
    x = [float(t) for t in scenarios["x"]]
    m = pyo.ConcreteModel()
    m.price = pyo.Var(bounds=(-1, 1), initialize=0.25)
    m.f = pyo.Block()
    scenarios.policy(m.f, "y", name="u")
    for number, coefficient in enumerate(m.f.u_coefficients.values()):
        coefficient.set_value(0.5 + number)
    cost = scenarios.expectation(lambda w: (m.f.u[scenarios.atom("y", w)] - x[w] ** 3 - m.price) ** 2)
    m.f.cost = pyo.Objective(expr=cost)
    m.goal = pyo.Objective(expr=m.price**2)
    return sp.Game(m, followers=m.f), scenarios


def test_every_atom_is_a_decision_at_the_policys_value() -> None:
    game, scenarios = guessing()
    before = game.current_values()
    cost = pyo.value(game.model.f.cost)
    subject, ((decision, seen),) = unfolded(sp.Plan.from_values(game), [(game.model.f.u, "y")])
    (follower,) = subject.attached().followers.values()
    levels = {label: pyo.value(game.model.f.u[label]) for label in game.model.f.u}
    assert seen == "y"
    assert len(follower.variables) == len(scenarios.atoms("y")) == len(levels)
    assert {label: decision[label].value for label in decision} == pytest.approx(levels)
    assert pyo.value(follower.cost) == pytest.approx(cost, rel=1e-14)
    assert game.current_values() == before, "the model is as it was"
    assert all(v in {id(c) for c in game.actions} for v in map(id, game.model.f.u_coefficients.values()))


def test_a_better_answer_of_another_form_is_seen() -> None:
    """E[x³ | y] is no line in y: atom by atom the regret is that of the policy, squared, by hand."""
    game, scenarios = guessing()
    table = sp.conditional_regret(sp.Plan.from_values(game), scenarios, [(game.model.f.u, "y")]).set_index("atom")
    x = np.array([float(t) for t in scenarios["x"]])
    for atom in scenarios.atoms("y"):
        members = [w for w, name in enumerate(scenarios) if scenarios.atom("y", w) == atom]
        weights = np.array([scenarios.probability[w] for w in members])
        best = float(weights @ x[members] ** 3 / weights.sum()) + 0.25
        assert table.loc[[atom], "regret"].item() == pytest.approx(
            (pyo.value(game.model.f.u[atom]) - best) ** 2, abs=1e-6
        )


def test_without_a_policy_nothing_is_unfolded() -> None:
    game, _ = guessing()
    plan = sp.Plan.from_values(game)
    assert unfolded(plan, [(game.model.price, "y")]) == (plan, [(game.model.price, "y")])


def test_who_answers_coefficients_has_no_answer_to_other_forms() -> None:
    game, _ = guessing()
    f, price = game.model.f, game.model.price
    f.cost.set_value(sum((v - 2) ** 2 + price * v for v in game.actions))
    game.model.goal.set_value(price**2 + sum((v - 1) ** 2 for v in game.actions))
    rule = sp.affine_incentive(sp.leader_optimal(game), design="slopes")
    with pytest.raises(InvalidGame, match="a coefficient, and has no answer to an action of another form"):
        unfolded(rule, [(game.model.f.u, "y")])
