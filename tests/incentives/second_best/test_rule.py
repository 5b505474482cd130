"""Second-best rules on random games, against SciPy: order, equality, verdicts; senses, units, files and bad input."""

from __future__ import annotations

import json
import logging
from itertools import chain, combinations
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game
from scipy.optimize import minimize, minimize_scalar

import stackpyomo as sp

KINDS = ("linear", "quartic", "own", "bounded")
MOST = 5.0  # of an action in the games of budgets


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


class Earning:
    """A leader that earns: followers of two actions each, max tᵀu − ½uᵀHu − g p (u_0 + u_1) within a budget aᵀu ≤ r.

    The leader maximises what the toll brings less what it misses its goals by; the toll answers one weighted sum.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        number = int(random.integers(1, 3))
        self.data = [self._drawn(random) for _ in range(number)]
        self.goals, self.care = random.uniform(0.2, 1.5, (number, 2)), random.uniform(0.5, 2, (number, 2))
        self.weights, self.share = random.uniform(0.3, 1, (number, 2)), random.uniform(0, 0.3)
        m = pyo.ConcreteModel()
        m.p, m.f = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block(range(number))
        for block, data in zip(m.f.values(), self.data, strict=True):
            u = block.u = pyo.Var([0, 1], bounds=(0, MOST), initialize=0.1)
            block.gain = pyo.Objective(expr=self.gain(data, u, m.p), sense=pyo.maximize)
            block.budget = pyo.Constraint(expr=data["a"][0] * u[0] + data["a"][1] * u[1] <= data["r"])
        actions = [[b.u[0], b.u[1]] for b in m.f.values()]
        m.earned = pyo.Objective(expr=self.earned(actions, m.p), sense=pyo.maximize)
        self.game = sp.Game(m, list(m.f.values()))
        self.observe = [sum(float(w) * u for w, u in zip(self.weights.ravel(), chain(*actions), strict=True))]

    @staticmethod
    def _drawn(random: np.random.Generator) -> dict[str, Any]:
        h = random.uniform(0.8, 2.5, 2)
        return {"h": h, "cross": random.uniform(-0.5, 0.5) * h.min(), "t": random.uniform(1, 5, 2),
                "g": random.uniform(0.4, 1.5), "a": random.uniform(0.5, 1.5, 2), "r": random.uniform(1, 4)}  # fmt: skip

    @staticmethod
    def gain(data: dict[str, Any], u: Any, p: Any) -> Any:
        quadratic = (data["h"][0] * u[0] ** 2 + data["h"][1] * u[1] ** 2) / 2 + data["cross"] * u[0] * u[1]
        return data["t"][0] * u[0] + data["t"][1] * u[1] - quadratic - data["g"] * p * (u[0] + u[1])

    def earned(self, actions: Any, p: Any) -> Any:
        missed = sum(
            self.care[i][j] * (u[j] - self.goals[i][j]) ** 2 / 2 for i, u in enumerate(actions) for j in (0, 1)
        )
        return self.share * p * sum(u[0] + u[1] for u in actions) - missed - p**2 / 2

    @staticmethod
    def response(data: dict[str, Any], toll: tuple[float, float], weights: Any = (0.0, 0.0)) -> np.ndarray | None:
        """The best actions under the toll c + K wᵀu: the best of all points at which two rows bind, or one, or none.

        None where the composed gain is not strictly concave.
        """
        bent = toll[1] * data["g"] * np.add.outer(np.array(weights), np.array(weights))
        matrix = np.array([[data["h"][0], data["cross"]], [data["cross"], data["h"][1]]]) + bent
        if np.linalg.eigvalsh(matrix)[0] < 1e-9:
            return None
        slope = data["t"] - data["g"] * toll[0]
        rows, sides = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], data["a"]]), np.array([MOST, MOST, 0, 0, data["r"]])
        points = []
        for bind in (list(some) for size in range(3) for some in combinations(range(5), size)):
            active, n = rows[bind].reshape(-1, 2), len(bind)
            system = np.block([[matrix, active.T], [active, np.zeros((n, n))]])
            if abs(np.linalg.det(system)) > 1e-12:
                points.append(np.linalg.solve(system, [*slope, *sides[bind]])[:2])
        inside = [u for u in points if (rows @ u <= sides + 1e-9).all()]
        return max(inside, key=lambda u: float(slope @ u - u @ matrix @ u / 2))

    def at(self, toll: tuple[float, float]) -> float:
        """What the leader earns with a constant, or of one follower with c + K wᵀu; −∞ where it has no concave gain."""
        actions = [self.response(data, toll, w) for data, w in zip(self.data, self.weights, strict=True)]
        if any(u is None for u in actions):
            return -np.inf
        return float(self.earned(actions, toll[0] + toll[1] * float(self.weights[0] @ actions[0])))

    def best_constant(self) -> float:
        grid = np.linspace(-20, 20, 201)
        best = float(grid[int(np.argmax([self.at((p, 0.0)) for p in grid]))])
        near = minimize_scalar(lambda p: -self.at((p, 0.0)), bounds=(best - 0.2, best + 0.2), method="bounded",
                               options={"xatol": 1e-10})  # fmt: skip
        return float(max(-near.fun, self.at((best, 0.0))))

    def leader_optimal(self) -> float:
        """At most two numbers a follower and the toll: local searches from some points, within the budgets."""
        n = len(self.data)
        budgets = [{"type": "ineq", "fun": lambda x, i=i, d=d: d["r"] - d["a"] @ x[2 * i : 2 * i + 2]}
                   for i, d in enumerate(self.data)]  # fmt: skip
        random = np.random.default_rng(0)
        ends = [minimize(lambda x: -self.earned(x[:-1].reshape(n, 2), x[-1]), random.uniform(0, 1, 2 * n + 1),
                         bounds=[(0, MOST)] * (2 * n) + [(-20, 20)], constraints=budgets, method="SLSQP",
                         options={"ftol": 1e-13}) for _ in range(4)]  # fmt: skip
        return -min(end.fun for end in ends if end.success)

    def regret(self, rule: sp.Incentive) -> float:
        """The largest that a follower gains by other actions in its budget: a grid, and SLSQP from its best point."""
        gain, values, most = rule.matrix.toarray()[0, 0], rule.plan.values, 0.0
        for i, data in enumerate(self.data):
            own = np.array([values[f"f[{i}].u[{j}]"] for j in (0, 1)])

            def composed(u: Any, data=data, own=own, weights=self.weights[i]) -> Any:  # type: ignore[no-untyped-def]
                moved = weights[0] * (u[0] - own[0]) + weights[1] * (u[1] - own[1])
                return self.gain(data, u, np.clip(rule.offset["p"] + gain * moved, -20, 20))

            grid = np.stack(np.meshgrid(*[np.linspace(0, MOST, 301)] * 2, indexing="ij")).reshape(2, -1)
            grid = grid[:, data["a"] @ grid <= data["r"]]
            start = grid[:, int(np.argmax(composed(grid)))]
            row = {"type": "ineq", "fun": lambda u, d=data: d["r"] - d["a"] @ u}
            near = minimize(lambda u, f=composed: -f(u), start, bounds=[(0, MOST)] * 2, constraints=[row],
                             method="SLSQP", options={"ftol": 1e-13})  # fmt: skip
            inside = near.x if data["a"] @ near.x <= data["r"] + 1e-9 else start
            most = max(most, float(composed(inside) - composed(own)), float(composed(start) - composed(own)))
        return most


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 6, 9, 10, 11])
def test_a_leader_that_earns_from_followers_with_budgets(seed: int) -> None:
    """Between leader-optimal and the best constant, both by SciPy; with one follower no other line is better."""
    drawn = Earning(seed)
    rule = sp.optimal_rule(drawn.game, drawn.observe)
    ideal, value, constant = rule.comparison
    assert ideal == pytest.approx(drawn.leader_optimal(), abs=1e-6)
    assert constant == pytest.approx(drawn.best_constant(), abs=1e-6)
    assert constant - 1e-6 <= value <= ideal + 1e-6
    assert sp.verify(rule).ok
    assert drawn.regret(rule) < 1e-6
    assert rule.plan.quality in ("optimal", "feasible")
    if len(drawn.data) == 1:
        gain, signal = float(rule.gain.iloc[0, 0]), rule.targets[rule.signals[0]]
        own = rule.offset["p"] - gain * signal, gain
        assert drawn.at(own) == pytest.approx(value, abs=1e-6)
        random, reach = np.random.default_rng(seed), rule.value_curve["kappa"].max()
        lines = zip(random.uniform(-10, 10, 1000), random.uniform(-reach, reach, 1000), strict=True)
        near = zip(random.normal(own[0], 0.05, 300), random.normal(own[1], 0.05, 300), strict=True)
        within = [line for line in (*lines, *near) if abs(line[0]) + abs(line[1]) * 2 * MOST <= 20]
        assert max(map(drawn.at, within)) <= value + 1e-6


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


@pytest.mark.slow
def test_a_search_without_a_limit_ends_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it holds by then is verified as ever, and no worse than the best constant."""
    monkeypatch.setattr("stackpyomo.incentives.second_best.rule._BUDGET", 0.0)
    game, observe = one_meter()
    with caplog.at_level(logging.WARNING):
        rule = sp.optimal_rule(game, observe)
    assert "the search was ended after 0 s of processor time; time_limit= looks longer" in caplog.text
    assert rule.comparison["leader-optimal"] <= rule.plan.leader_objective <= 57 / 58 + 1e-7
    assert sp.verify(rule).ok
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        sp.optimal_rule(game, observe, time_limit=100.0)
    assert "looks longer" not in caplog.text


@pytest.mark.slow
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


@pytest.mark.slow
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
        ({"common": 3}, "common=3: expected indexed Vars of the leader"),
        ({"margin": -1.0}, "margin=-1.0: expected a finite number from 0 on"),
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("low", "high", "share", "money", "sign"), [(5, 7, 0.5, 1.0, 1), (2, 3, 0.8, 1e3, -1), (1, 4, 0.5, 1.0, 1)]
)
def test_a_line_for_two_types_in_closed_form(low: float, high: float, share: float, money: float, sign: int) -> None:
    """Mussa and Rosen (1978): q_L = θ_L − rΔ/2, q_H = θ_H − Δ/2 with r = π_H/π_L, or the high type alone."""
    types = sp.Scenarios({"theta": [float(low), float(high)]}, [share, 1.0 - share])
    m, most, sense = pyo.ConcreteModel(), 40.0 * money, pyo.maximize if sign > 0 else pyo.minimize
    m.p, m.fee = pyo.Var(list(types), bounds=(-most, most), initialize=0), pyo.Var(bounds=(-most, most), initialize=0)
    m.user = pyo.Block()
    m.user.q = pyo.Var(types.atoms("theta"), bounds=(0, 20), initialize=1)

    def cost(w: int) -> Any:
        q = m.user.q[types.atom("theta", w)]
        return money * (q**2 / 2 - types["theta"][w] * q) + m.p[w] * q + m.fee

    m.user.cost = pyo.Objective(expr=types.expectation(cost))
    m.participation = pyo.Constraint(list(types), rule=lambda _, w: cost(w) <= 0)
    paid = types.expectation(lambda w: m.fee + m.p[w] * m.user.q[types.atom("theta", w)])
    m.profit = pyo.Objective(expr=sign * paid, sense=sense)
    rule = sp.optimal_rule(sp.Game(m, m.user), types.observe(m.p, [(m.user.q, "theta")]), common=[m.p])
    step = high - low
    served = low - (1.0 - share) / share * step / 2, high - step / 2
    both = (share * served[0] ** 2 + (1.0 - share) * served[1] ** 2) / 2 if served[0] > 0 else 0.0
    best = max(both, (1.0 - share) * high**2 / 2)
    assert sign * rule.plan.leader_objective == pytest.approx(money * best, rel=1e-6)
    assert sp.verify(rule).ok


def reached(gain: float) -> float:
    """The least that the leader of :func:`one_meter` pays with this gain: ½ rᵀ (D G⁻¹ Dᵀ)⁻¹ r, at the team optimum."""
    slope = np.array([1.0 - 4.0, 2.0 - 3.0]) + gain / 2
    moves = np.array([[1.0, 1.0 + gain / 2, 0.0], [1.0, 0.0, 2.0 + gain / 2]])
    return float(slope @ np.linalg.solve(moves @ np.diag([5.0, 1.0, 1.0]) @ moves.T, slope)) / 2


@pytest.mark.parametrize(("bounds", "gain"), [((6.0, 7.0), 6.0), ((-2.0, -0.2), -0.2), ((None, 2.0), 2.0)])
def test_a_gain_has_its_bounds_where_these_leave_out_constants(bounds: Any, gain: float) -> None:
    game, observe = one_meter()
    rule = sp.optimal_rule(game, observe, gain_bounds=bounds)
    assert rule.gain.iloc[0, 0] == pytest.approx(gain)
    assert rule.plan.leader_objective == pytest.approx(reached(gain), abs=1e-7)
    assert rule.plan.quality == "optimal"
    assert rule.value_curve["value"].is_monotonic_decreasing
    worse = reached(gain) > rule.comparison["best constant"]
    assert any("the best constants do better" in text for text in rule.plan.warnings) == worse


def paid(sign: int = 1) -> sp.Game:
    """SB05, where the gain K leaves a curvature of 1 − 2K and the value (72/25) (1 − K)² / (1 + (1 − K)²)."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-20, 20), initialize=0.5)
    m.f.cost = pyo.Objective(expr=m.f.u**2 / 2 - m.p * m.f.u)
    goal = (m.f.u - 12 / 5) ** 2 / 2 + m.p**2 / 2
    m.goal = pyo.Objective(expr=sign * goal, sense=pyo.minimize if sign > 0 else pyo.maximize)
    return sp.Game(m, m.f)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_curvature_that_constants_do_not_have(sign: int) -> None:
    """1 − 2K = 1.5: the value is above that of the best constant, whose cost has a curvature of 1."""
    rule = sp.optimal_rule(paid(sign), curvature=1.5)
    best = 72 / 25 * 1.25**2 / (1 + 1.25**2)
    assert rule.gain.iloc[0, 0] == pytest.approx(-0.25, abs=1e-6)
    assert sign * rule.plan.leader_objective == pytest.approx(best, abs=1e-6)
    assert sign * rule.plan.bound <= best + 1e-9
    assert "the best constants do better" in rule.plan.warnings[-1]
    assert len(rule.value_curve) == 1


def test_what_no_rule_has() -> None:
    """A curvature of 5 asks for a gain of −2."""
    rule = sp.optimal_rule(paid(), curvature=5.0, gain_bounds=(-1.0, 1.0))
    assert rule.norm == 0.0
    assert rule.plan.quality == "feasible"
    assert "no rule with the curvature of 5 that was asked for was found" in str(rule)
    with pytest.raises(sp.NoPlan, match="no rule with a gain within gain_bounds= was found"):
        sp.optimal_rule(paid(), curvature=5.0, gain_bounds=(0.5, 1.0))


@pytest.mark.parametrize("treatment", [sp.BigM(), sp.SOS1()])
def test_treatments_that_a_local_solver_does_not_take(treatment: Any) -> None:
    game, observe = one_meter()
    rule = sp.optimal_rule(game, observe, complementarity=treatment)
    assert rule.plan.leader_objective == pytest.approx(0.06357603062574153, abs=1e-6)


@pytest.mark.slow
def test_one_rule_in_all_that_is_seen_is_one_where_nobody_feels_it_too() -> None:
    """Every toll sees every action: −3.5 + Σ q is 0 at the plan, and each user's own toll moves by 1 with its q."""
    m, needs = pyo.ConcreteModel(), (1.0, 2.0, 4.0)
    m.toll, m.f = pyo.Var(range(3), bounds=(-100, 100), initialize=0), pyo.Block(range(3))
    for block, need, toll in zip(m.f.values(), needs, m.toll.values(), strict=True):
        block.q = pyo.Var(bounds=(-20, 20), initialize=1)
        block.cost = pyo.Objective(expr=block.q**2 / 2 - need * block.q + toll * block.q)
    uses = [block.q for block in m.f.values()]
    miss = sum((use - need / 2) ** 2 for use, need in zip(uses, needs, strict=True))
    m.miss = pyo.Objective(expr=miss + sum(toll**2 for toll in m.toll.values()))
    rule = sp.optimal_rule(sp.Game(m, list(m.f.values())), common=[m.toll])
    assert rule.plan.leader_objective == pytest.approx(0.0, abs=1e-7)
    assert rule.matrix.toarray() == pytest.approx(np.ones((3, 3)), abs=1e-5)
    seen = np.array([rule.targets[name] for name in rule.signals])
    intercepts = np.array([rule.offset[name] for name in rule.leader]) - rule.matrix @ seen
    assert intercepts == pytest.approx(np.full(3, -3.5), abs=1e-5)
    assert "toll[0], toll[1], toll[2] announce one rule: -3.5 plus 1, 1, 1 times what each sees." in str(rule)
    assert sp.verify(rule).ok


def test_whole_actions_of_followers_are_named() -> None:
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(bounds=(-2, 2)), pyo.Block()
    m.f.on = pyo.Var(domain=pyo.Binary)
    m.f.cost = pyo.Objective(expr=(1 - m.u) * m.f.on)
    m.goal = pyo.Objective(expr=(m.f.on - 1) ** 2 + m.u**2)
    for solver in ("auto", "scip"):
        with pytest.raises(sp.InvalidGame, match=r"f\.on: an integer variable of a follower.*regret='least'"):
            sp.optimal_rule(sp.Game(m, m.f), solver=solver)
