"""Why nobody holds a follower: bounds in the way, thousands behind one average."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import pyomo.environ as pyo
import pytest
from conftest import at_a_bound

import stackpyomo as sp
from stackpyomo.errors import RefusalCause
from stackpyomo.incentives import diagnosis


@pytest.mark.parametrize("row", [False, True])
def test_a_bound_in_the_way_of_a_follower_whom_its_own_row_may_carry(row: bool) -> None:
    """SAT01: x would have to fall below 0. With a row y ≥ 1 of its own that presses, no gain is needed at all."""
    plan = at_a_bound("SAT01")
    if row:
        block = plan.attached().followers["f"].block
        block.row = pyo.Constraint(expr=block.y >= 1)
        plan = sp.Plan.from_values(plan.attached())
    with pytest.raises(sp.NoIncentive, match="leader bound: x stands at its lower bound") as caught:
        sp.affine_incentive(plan)
    assert ("multipliers='free'" in str(caught.value)) is row
    if row:
        assert sp.verify(sp.affine_incentive(plan, multipliers="free")).ok


@pytest.mark.slow
@pytest.mark.parametrize("actions", [1, 2])
def test_thousands_lost_behind_one_average(actions: int) -> None:
    """Every one of them is told why, and no time is lost on it."""
    count = 3000
    m = pyo.ConcreteModel()
    m.t, m.s, m.mean = pyo.Var(initialize=0), pyo.Var(initialize=0), pyo.Var(initialize=1)
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var(range(actions), initialize=1)
        cost = sum((m.f[i].u[k] - 2 - i / count) ** 2 for k in range(actions))
        m.f[i].cost = pyo.Objective(expr=cost + m.t * m.f[i].u[0] + m.s)
    total = sum(m.f[i].u[k] for i in range(count) for k in range(actions))
    m.average = pyo.Constraint(expr=m.mean == total / count)
    m.goal = pyo.Objective(expr=m.t**2 + m.s**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f, aggregates=m.average))
    began = time.process_time()
    with pytest.raises(sp.NoIncentive) as caught:
        sp.affine_incentive(plan, observe=[m.mean])
    assert time.process_time() - began < 4.0  # some 0.3 s of this process
    assert len(caught.value.reasons) == len(caught.value.residuals) == count
    others = "f[0], f[1], f[2], f[3], f[4], f[5], … (2999 in all)"
    assert caught.value.reasons["f[2999]"].startswith(f"conflict under shared signals with {others}: one gain")
    assert "with f[0], f[1], f[3], f[4], f[5], f[6], … (2999" in caught.value.reasons["f[2]"]


Cost: TypeAlias = Callable[[Any, Any, Any, int], Any]
"""Of the price, the two actions and the follower's number."""


def game(cost: Cost, *, followers: int = 1, size: float = 1, **values: float) -> Any:
    """Followers f[k] with actions u, v; prices p (at most 1) and q; the mean of f[1].u."""
    m = pyo.ConcreteModel()
    m.p, m.q = pyo.Var(bounds=(None, 1), initialize=values.get("p", 0.0)), pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(1, followers + 1))
    for k, b in m.f.items():
        b.u, b.v = pyo.Var(initialize=values.get("u", 0.5)), pyo.Var(initialize=values.get("v", 0.5))
        b.cost = pyo.Objective(expr=cost(m.p, b.u, b.v, k))
    m.mean = pyo.Var(initialize=values.get("u", 0.5))
    m.average = pyo.Constraint(expr=m.mean == m.f[1].u)
    m.miss = pyo.Objective(expr=(m.p - 0.1) ** 2 + m.q**2 + sum(b.u**2 + b.v**2 for b in m.f.values()))
    return sp.Game(m, [sp.Population(m.f[1], size), *(m.f[k] for k in m.f if k > 1)], aggregates=[m.average])


def squares(u: Any, v: Any) -> Any:
    return (u - 1) ** 2 + (v - 1) ** 2


CASES: dict[RefusalCause, tuple[Cost, dict[str, Any], dict[str, Any]]] = {
    RefusalCause.UNDEFINED: (lambda p, u, v, k: squares(u, v) + pyo.sqrt(u) + p * u, {"u": 0.0}, {}),
    RefusalCause.ZERO_GRADIENT: (lambda p, u, v, k: squares(u, v), {}, {}),
    RefusalCause.NO_WEIGHT: (
        lambda p, u, v, k: (u - 1) ** 2 + (v - 0.5) ** 2 + p * u,
        {"size": math.inf},
        {"observe": ["mean"]},
    ),
    RefusalCause.OUT_OF_SIGHT: (lambda p, u, v, k: squares(u, v) + p * (u + v), {}, {"observe": ["f[1].u"]}),
    RefusalCause.LEADER_BOUND: (lambda p, u, v, k: (u - 1) ** 2 + (v - 0.5) ** 2 + p * u, {"p": 1.0, "u": 1.5}, {}),
    RefusalCause.GAIN_BOUNDS: (lambda p, u, v, k: squares(u, v) + p * (u + v), {}, {"gain_bounds": (-0.1, 0.1)}),
    RefusalCause.NO_INSTRUMENT: (
        lambda p, u, v, k: squares(u, v) + p * u,
        {},
        {"observe": {"p": ["f[1].u"], "q": ["f[1].v"]}},
    ),
    RefusalCause.INDISTINCT: (lambda p, u, v, k: (u - 1) ** 2 + (v - 2) ** 2 + p * (u + v), {}, {"observe": ["sum"]}),
    RefusalCause.CONFLICT: (
        lambda p, u, v, k: (u - k) ** 2 + (v - 0.5) ** 2 + p * u,
        {"followers": 2},
        {"observe": ["sum"]},
    ),
    RefusalCause.CURVATURE: (lambda p, u, v, k: -((u - 1) ** 2) + (v - 0.5) ** 2 + p * u, {}, {"observe": ["f[1].u"]}),
}


def refused(cause: RefusalCause, **changes: Any) -> sp.NoIncentive:
    cost, values, asked = CASES[cause]
    one = game(cost, **{**values, **changes})
    names = {
        **one.variables_by_name,
        "sum": sum(b.u + (b.v if cause is RefusalCause.INDISTINCT else 0.0) for b in one.model.f.values()),
    }
    observe = asked.get("observe", "actions")
    if isinstance(observe, list):
        observe = [names[name] for name in observe]
    if isinstance(observe, dict):
        observe = pyo.ComponentMap((names[k], [names[s] for s in v]) for k, v in observe.items())
    with pytest.raises(sp.NoIncentive) as caught:
        sp.affine_incentive(sp.Plan.from_values(one), observe, gain_bounds=asked.get("gain_bounds"), design="slopes")
    return caught.value


@pytest.mark.parametrize("cause", CASES, ids=lambda cause: cause.value)
def test_every_cause_is_data_and_has_its_words(cause: RefusalCause) -> None:
    refusal = refused(cause)
    assert set(refusal.causes.values()) == {cause}
    assert refusal.causes.keys() == refusal.reasons.keys() == refusal.residuals.keys()
    first = next(iter(refusal.reasons))
    assert str(refusal).startswith(f"No affine incentive: {first}: {refusal.reasons[first]}")


def test_a_follower_of_whole_actions_is_refused_for_its_deviations() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(-9, 9), initialize=0.0)
    m.f = pyo.Block()
    m.f.on = pyo.Var(domain=pyo.Binary, initialize=0)
    m.f.cost = pyo.Objective(expr=m.p * (1 - m.f.on) - m.f.on)  # on: no price is felt
    m.miss = pyo.Objective(expr=m.f.on + m.p**2)
    with pytest.raises(sp.NoIncentive) as caught:
        sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)))
    assert caught.value.causes == {"f": RefusalCause.DEVIATIONS}


def test_a_price_is_named_that_may_be_chosen_anew_where_an_action_is_0() -> None:
    """(x − 1)² + p x at x = 0 does not feel p, and p = 2 holds it there; the leader's objective leaves p open."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(0, 9), initialize=1.0), pyo.Block()
    m.f.x = pyo.Var(bounds=(0, 8), initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.x - 1) ** 2 + m.p * m.f.x)
    m.goal = pyo.Objective(expr=m.f.x**2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    with pytest.raises(sp.NoIncentive, match=r"zero gradient.* does not hold p: free= chooses such values"):
        sp.affine_incentive(plan)
    rule = sp.affine_incentive(plan, free=[m.p])
    assert rule.offset["p"] == pytest.approx(2.0)
    assert sp.verify(rule).ok


def test_nothing_depends_on_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sentences, the same behaviour: the hint at values that may be chosen anew, and the second look."""
    monkeypatch.setattr(diagnosis, "_reason", lambda _: ("pourquoi", "quoi"))
    m = pyo.ConcreteModel()
    m.p, m.fee = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.5)
    m.f.cost = pyo.Objective(expr=-((m.f.u - 1) ** 2) + m.p * m.f.u)
    m.miss = pyo.Objective(expr=m.f.u**2 + m.p**2)
    with pytest.raises(sp.NoIncentive, match=r"pourquoi.*free= chooses"):
        sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)), [m.f.u])
    m.f.u.bounds = (-2, 2)  # deviation by deviation, too: there is the proof
    with pytest.raises(sp.NoIncentive, match="pourquoi") as caught:
        sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)), [m.f.u])
    assert caught.value.causes == {"f": RefusalCause.CURVATURE}
    assert len(caught.value.deviations) > 0


def test_a_refusal_at_free_prices_says_that_others_were_not_looked_for() -> None:
    """u + t u: t = −1 needs no gain, and its only one, 0, does not bend; t = −1.5 with a gain of 1 does."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(initialize=-1.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.f.cost = pyo.Objective(expr=m.f.u + m.t * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2)
    game = sp.Game(m, m.f)
    with pytest.raises(sp.NoIncentive, match=r"other values of t were not looked for"):
        sp.affine_incentive(sp.Plan.from_values(game), free=[m.t], curvature=1.0)
    m.t.set_value(-1.5)
    rule = sp.affine_incentive(sp.Plan.from_values(game), curvature=1.0)
    assert rule.gain.loc["t", "f.u"] == pytest.approx(1.0)
    assert sp.verify(rule).ok
