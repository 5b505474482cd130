"""Second-best rules on random games, against SciPy: order, equality, verdicts; senses, units, files and bad input."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game
from scipy.optimize import minimize_scalar

import stackpyomo as sp

KINDS = ("linear", "quartic", "own", "bounded")


class Drawn:
    """Followers of one action each, J = ½hu² + ¼qu⁴ − tu + g p u, and one toll that answers their sum or each one."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.number, self.kind = int(random.integers(1, 4)), str(random.choice(KINDS))
        self.box = (0.0, 3.0) if self.kind == "bounded" else (-5.0, 5.0)
        quartic = self.kind == "quartic"
        self.data = [
            (
                random.uniform(0.5, 3),
                random.uniform(0.1, 0.6) if quartic else 0.0,
                random.uniform(1, 6),
                random.uniform(0.4, 2) * random.choice([1, 1, 1, -1]),
            )
            for _ in range(self.number)
        ]
        self.weights = random.uniform(0.3, 1, self.number)
        goals, care, price = random.uniform(0.3, 2, self.number), random.uniform(0.5, 2, self.number), random.uniform()
        m = pyo.ConcreteModel()
        m.p, m.f = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block(range(self.number))
        for block, (h, q, t, g) in zip(m.f.values(), self.data, strict=True):
            u = block.u = pyo.Var(bounds=self.box, initialize=0.5)
            block.cost = pyo.Objective(expr=h * u**2 / 2 + q * u**4 / 4 - t * u + g * m.p * u)
        actions = [b.u for b in m.f.values()]
        m.goal = pyo.Objective(
            expr=sum(c * (u - a) ** 2 for c, u, a in zip(care, actions, goals, strict=True)) / 2
            + (0.05 + price) * m.p**2 / 2
        )
        self.game = sp.Game(m, list(m.f.values()))
        self.observe: Any = "actions"
        if self.kind != "own":
            self.observe = [sum(float(w) * u for w, u in zip(self.weights, actions, strict=True))]

    def regret(self, rule: sp.Incentive) -> float:
        """The largest that a follower gains in a SciPy re-solve against the announced formula, cut at ±20."""
        gain, values = rule.matrix.toarray()[0], rule.plan.values
        most = 0.0
        for i, (h, q, t, g) in enumerate(self.data):
            at = values[f"f[{i}].u"]
            slope = gain[i] if self.kind == "own" else gain[0] * self.weights[i]

            def cost(u: Any, h=h, q=q, t=t, g=g, at=at, slope=slope) -> Any:  # type: ignore[no-untyped-def]
                toll = np.clip(rule.offset["p"] + slope * (u - at), -20, 20)
                return h * u**2 / 2 + q * u**4 / 4 - t * u + g * toll * u

            grid = np.linspace(*self.box, 2001)
            best = int(np.argmin(cost(grid)))
            around = grid[max(best - 1, 0)], grid[min(best + 1, 2000)]
            found = minimize_scalar(cost, bounds=around, method="bounded", options={"xatol": 1e-12})
            most = max(most, float(cost(at) - min(found.fun, cost(grid[best]))))
        return most


@pytest.mark.parametrize("seed", [0, 3, 4, 5, 6, 9, 11])
def test_between_leader_optimal_and_the_best_constants(seed: int) -> None:
    """Equal to leader-optimal where an incentive holds that plan; what is called verified is so in SciPy's eyes."""
    drawn = Drawn(seed)
    ideal = sp.leader_optimal(drawn.game)
    try:
        exists = sp.verify(sp.affine_incentive(ideal, drawn.observe)).ok
    except sp.NoIncentive:
        exists = False
    rule = sp.optimal_rule(drawn.game, drawn.observe)
    best, value, constant = rule.comparison
    assert best - 1e-6 <= value <= constant + 1e-6
    assert constant == pytest.approx(sp.stackelberg(drawn.game).leader_objective, abs=1e-6)
    if exists:
        assert value == pytest.approx(best, abs=1e-6)
    assert sp.verify(rule).ok
    assert drawn.regret(rule) < 1e-6
    assert rule.plan.quality in ("optimal", "feasible")
    if rule.plan.quality == "optimal":
        assert rule.plan.bound == pytest.approx(value, abs=1e-5)


def one_meter(scale: float = 1.0, sign: int = 1) -> tuple[sp.Game, list[Any]]:
    """SB01 with the toll in another unit, and everybody's sense turned round."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(-20 * scale, 20 * scale), initialize=0)
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(bounds=(-5, 5), initialize=0), pyo.Var(bounds=(-5, 5), initialize=0)
    sense = pyo.minimize if sign > 0 else pyo.maximize
    m.a.cost = pyo.Objective(expr=sign * (m.a.u**2 / 2 - 4 * m.a.u + m.p / scale * m.a.u), sense=sense)
    m.b.cost = pyo.Objective(expr=sign * (m.b.u**2 - 3 * m.b.u + m.p / scale * m.b.u), sense=sense)
    m.goal = pyo.Objective(
        expr=sign * (((m.a.u - 1) ** 2 + (m.b.u - 1) ** 2) / 2 + (m.p / scale) ** 2 / 10), sense=sense
    )
    return sp.Game(m, followers=[m.a, m.b]), [(m.a.u + m.b.u) / 2]


@pytest.mark.parametrize(("scale", "sign"), [(1000.0, 1), (1.0, -1)])
def test_units_and_senses(scale: float, sign: int) -> None:
    game, observe = one_meter(scale, sign)
    rule = sp.optimal_rule(game, observe)
    assert rule.comparison.tolist() == pytest.approx([0.0, sign * 0.06357603062574153, sign * 57 / 58], abs=1e-6)
    assert rule.gain.iloc[0, 0] == pytest.approx(scale * 5.213218367562301, rel=1e-5)
    assert rule.plan.quality == "optimal"
    curve = (sign * rule.value_curve["value"]).tolist()
    assert curve == sorted(curve, reverse=True)


def test_what_it_says_and_keeps() -> None:
    game, observe = one_meter()
    rule = sp.optimal_rule(game, observe)
    lines = str(rule).splitlines()
    place = lines.index("The leader's objective:")
    assert [line.split("  ")[1].strip() for line in lines[place + 2 : place + 5]] == [
        "leader-optimal",
        "this rule",
        "best constant",
    ]
    again = sp.Incentive.from_json(rule.to_json(), game)
    assert again.comparison.equals(rule.comparison)
    assert again.value_curve.equals(rule.value_curve)
    assert again.at_bound == rule.at_bound == {}
    assert json.loads(rule.to_json())["standing"]["proved"] is True
    assert sp.verify(again).ok
    assert all(v.value == 0 for v in game.variables_by_name.values()), "the user's model is as it was"
    plain = sp.affine_incentive(sp.leader_optimal(toll_game()))
    for name in ("comparison", "value_curve", "at_bound"):
        with pytest.raises(sp.InvalidGame, match=f"{name}: of rules that optimal_rule"):
            getattr(plain, name)


def test_nobody_leans_on_its_own_constraints() -> None:
    """Of two followers under one meter one stands at its bound: its multiplier takes up the conflict, if it may."""
    m = pyo.ConcreteModel()
    m.p, m.a, m.b = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(bounds=(0, 5), initialize=1), pyo.Var(bounds=(1, 5), initialize=1.2)
    m.a.cost = pyo.Objective(expr=m.a.u**2 / 2 - 4 * m.a.u + m.p * m.a.u)
    m.b.cost = pyo.Objective(expr=m.b.u**2 - 3 * m.b.u + m.p * m.b.u)
    m.goal = pyo.Objective(expr=((m.a.u - 1) ** 2 + (m.b.u - 1) ** 2) / 2 + m.p**2 / 10)
    game, observe = sp.Game(m, followers=[m.a, m.b]), [(m.a.u + m.b.u) / 2]
    free = sp.optimal_rule(game, observe)
    assert free.plan.leader_objective == pytest.approx(0.0, abs=1e-7)
    assert free.multipliers == pytest.approx({"b.u": 2.0}, abs=1e-5)
    alone = sp.optimal_rule(game, observe, multipliers="zero")
    assert free.plan.leader_objective < alone.plan.leader_objective <= alone.comparison["best constant"] + 1e-9
    assert not alone.multipliers
    assert sp.verify(alone).ok


def test_two_actions_that_bend_together() -> None:
    """A mixed direction bends down first, which no action alone shows; λ_min ≥ 0.1 is asked for and met."""
    m = pyo.ConcreteModel()
    m.p, m.q, m.f = pyo.Var(bounds=(-9, 9), initialize=0), pyo.Var(bounds=(-9, 9), initialize=0), pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(-4, 4), initialize=0)
    u = m.f.u
    m.f.cost = pyo.Objective(expr=(u[0] ** 2 + u[1] ** 2) / 2 - m.p * u[0] - m.q * u[1])
    m.goal = pyo.Objective(expr=(u[0] - 2) ** 2 + (u[1] - 2) ** 2 + m.p**2 / 2 + m.q**2 / 2)
    game = sp.Game(m, followers=m.f)
    plain, bent = sp.optimal_rule(game), sp.optimal_rule(game, curvature=0.1)
    for rule, least in ((plain, -1e-6), (bent, 0.1 - 1e-6)):
        assert sp.verify(rule).ok
        gain = rule.gain.to_numpy()
        assert np.linalg.eigvalsh(np.eye(2) - gain - gain.T).min() >= least
    assert plain.plan.leader_objective <= bent.plan.leader_objective <= bent.comparison["best constant"]


def test_a_tariff_for_unlike_followers_who_are_billed_apart() -> None:
    """Each by its own meter, at one price rule: the case SB13 without chance, weights for probabilities."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(range(3), bounds=(-20, 20), initialize=0)
    m.f = pyo.Block(range(3))
    for block, theta, toll in zip(m.f.values(), (1.0, 2.0, 4.0), m.toll.values(), strict=True):
        block.q = pyo.Var(bounds=(-20, 20), initialize=1)
        block.cost = pyo.Objective(expr=block.q**2 / 2 - theta * block.q + toll * block.q)
    terms = [
        w * ((b.q - t / 2) ** 2 / 2 + p**2 / 2)
        for w, b, t, p in zip((0.5, 0.25, 0.25), m.f.values(), (1.0, 2.0, 4.0), m.toll.values(), strict=True)
    ]
    m.goal = pyo.Objective(expr=sum(terms))
    game = sp.Game(m, followers=list(m.f.values()))
    rule = sp.optimal_rule(game, [(m.toll[i], [m.f[i].q]) for i in range(3)], common=["toll"])
    assert rule.plan.leader_objective == pytest.approx(0.07947601127351563, abs=1e-6)
    assert sp.verify(rule).ok


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"common": ["q"]}, "q: the model has no component of that name"),
        ({"common": ["a.u"]}, "a.u: not a variable of the leader"),
        ({"margin": -1.0}, "margin=-1.0: expected a finite number of 0 or more"),
        ({"multipliers": "some"}, "multipliers='some': choose 'free' or 'zero'"),
        ({"curvature": "much"}, "curvature='much'"),
        ({"gain_bounds": (1.0, 0.0)}, "gain_bounds"),
        ({"starts": 0}, "starts=0"),
        ({"solver": "abacus"}, "abacus"),
    ],
)
def test_bad_arguments(change: dict[str, Any], words: str) -> None:
    game, observe = one_meter()
    with pytest.raises(sp.StackpyomoError) as refused:
        sp.optimal_rule(game, observe, **change)
    assert words in str(refused.value)


def test_bad_common_rules() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(range(2), bounds=(-20, 20), initialize=0)
    m.f = pyo.Block(range(2))
    for i, block in m.f.items():
        block.q = pyo.Var(bounds=(-20, 20), initialize=1)
        block.cost = pyo.Objective(expr=block.q**2 / 2 - 2 * block.q + m.toll[i] * block.q)
    m.goal = pyo.Objective(expr=sum((b.q - 1) ** 2 for b in m.f.values()) + m.toll[0] ** 2 + m.toll[1] ** 2)
    game, (first, second) = sp.Game(m, followers=list(m.f.values())), m.f.values()
    with pytest.raises(sp.InvalidGame, match=r"toll\[0\] sees 1 signals \(f\[0\].q\), toll\[1\] 0"):
        sp.optimal_rule(game, [(m.toll[0], [first.q])], common=[m.toll])
    with pytest.raises(sp.InvalidGame, match="an action of one follower and a sum are unlike signals"):
        sp.optimal_rule(game, [(m.toll[0], [first.q]), (m.toll[1], [first.q + second.q])], common=[m.toll])
    with pytest.raises(sp.InvalidGame, match="stands in two of the groups"):
        sp.optimal_rule(game, [(m.toll[i], [m.f[i].q]) for i in range(2)], common=[m.toll, m.toll])
    with pytest.raises(sp.InvalidGame, match="expected a Game"):
        sp.optimal_rule(m)  # type: ignore[arg-type]
