"""Several periods: the storage contract against scipy on the problem written out, and who may answer to what."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import LinearConstraint, minimize

import stackpyomo as sp
from models import storage_contract as sc
from stackpyomo.errors import InvalidGame

LOW, HIGH, CHANCE, PRICE, START, CAPACITY, RATE, LAST, COST = -0.5, 1.0, 0.4, 1.5, 1.0, 1.5, 1.0, 0.25, 0.1


class Written:
    """The problem over arrays: one action per history, no Pyomo, no scenarios."""

    def __init__(self, periods: int, rate: float = RATE) -> None:
        self.periods = periods
        self.histories = [h for t in range(1, periods + 1) for h in itertools.product((LOW, HIGH), repeat=t)]
        self.place = {h: i for i, h in enumerate(self.histories)}
        self.p = np.array([math.prod(CHANCE if z == HIGH else 1 - CHANCE for z in h) for h in self.histories])
        self.demand = np.array([1 + h[-1] for h in self.histories])
        self.sums = np.zeros((len(self.histories),) * 2)
        for i, h in enumerate(self.histories):
            self.sums[i, [self.place[h[:t]] for t in range(1, len(h) + 1)]] = 1.0
        floor = np.array([LAST if len(h) == periods else 0.0 for h in self.histories])
        self.rows = LinearConstraint(self.sums, START - CAPACITY, START - floor)
        self.bounds = [(-rate, rate)] * len(self.histories)

    def best(self, cost: Any, slope: Any, start: np.ndarray) -> np.ndarray:
        settings = {"bounds": self.bounds, "constraints": [self.rows], "options": {"ftol": 1e-15, "maxiter": 1000}}
        found = minimize(cost, start, jac=slope, method="SLSQP", **settings)
        return np.asarray(found.x)

    def leads(self, q: np.ndarray) -> float:
        return float(self.p @ np.exp(self.demand - q))

    def plan(self) -> np.ndarray:
        return self.best(self.leads, lambda q: -self.p * np.exp(self.demand - q), np.zeros(len(self.p)))

    def owns(self, q: np.ndarray, planned: np.ndarray, scale: float) -> float:
        """The owner's cost when the announced payments (times ``scale``) answer what it does."""
        trade = self.p @ (q**2 / 2 + q**4 / 4 - PRICE * q)
        paid = 0.0
        for t in range(2, self.periods + 2):
            for h in itertools.product((LOW, HIGH), repeat=min(t, self.periods)):
                past = [self.place[h[:s]] for s in range(1, t)]
                gain = [marginal(planned[i]) / (self.periods + 1 - s) for s, i in enumerate(past, 1)]
                paid += self.p[self.place[h]] * scale * float(np.dot(gain, q[past] - planned[past]))
        return float(trade - paid)


def marginal(q: Any) -> Any:
    return q + q**3 - PRICE


def actions(plan: Any, game: sp.Game, written: Written) -> np.ndarray:
    stage = game.model.owner.stage
    return np.array([plan.value(stage[len(h)].sold[h if h[1:] else h[0]]) for h in written.histories])


@pytest.mark.parametrize("periods", [1, 2, 3])
def test_the_plan_is_scipys(periods: int) -> None:
    written = Written(periods)
    wanted = written.plan()
    plan = sp.leader_optimal(game := sc.build(periods))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(written.leads(wanted), abs=1e-8)
    np.testing.assert_allclose(actions(plan, game, written), wanted, atol=2e-5)
    level = START - written.sums @ wanted
    assert (level < CAPACITY + 1e-9).all()
    assert periods == 1 or (np.abs(level - LAST) < 1e-6).any(), "a row of the owner binds"
    if periods == 3:
        assert plan.leader_objective == pytest.approx(sc.EXPECTED["leader_objective"], abs=1e-8)
    for name, value in plan.values.items():
        assert ".bonus" not in name or value == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("periods", [1, 2, 3])
def test_the_contract_holds_the_owner(periods: int) -> None:
    """Gains by formula, and no better answer of the owner by SLSQP on what is announced."""
    written = Written(periods)
    plan = sp.leader_optimal(game := sc.build(periods))
    rule = sp.affine_incentive(plan, sc.observed(game), energy=sc.energy(game))
    planned = actions(plan, game, written)
    seen = 0
    for t, h in itertools.product(range(2, periods + 2), written.histories):
        if len(h) != min(t, periods):
            continue
        row = rule.gain.loc[game.model.pay[t].bonus[h if h[1:] else h[0]].name]
        answered = {game.model.owner.stage[s].sold[h[:s] if s > 1 else h[0]].name: s for s in range(1, t)}
        assert set(row.dropna().index) == set(answered), "what was done before, in this history"
        for name, s in answered.items():
            wanted = marginal(planned[written.place[h[:s]]]) / (periods + 1 - s)
            assert row[name] == pytest.approx(wanted, abs=1e-6)
            seen += 1
    assert seen == sum(2 ** min(t, periods) * (t - 1) for t in range(2, periods + 2))
    report = sp.verify(rule)
    assert report.ok
    assert report.certificate["owner"] == "convex"
    generator = np.random.default_rng(1)
    for scale in (1.0, 0.0):
        cost = lambda q, s=scale: written.owns(q, planned, s)  # noqa: E731
        starts = [planned, *generator.uniform(-0.2, 0.2, (2, len(planned)))]
        best = min(cost(written.best(cost, None, start)) for start in starts)
        if scale:
            assert best >= cost(planned) - 1e-6
        else:
            assert best < cost(planned) - 0.05 or periods == 1, "in one period both want all sold that may be"
            assert sp.verify(plan).epsilon == pytest.approx(cost(planned) - best, abs=1e-5)


def test_a_payment_answers_only_to_the_past() -> None:
    """What the owner does in period 2 of one history moves later payments of the histories that go on from it."""
    game = sc.build(3)
    m = game.model
    rule = sp.affine_incentive(sp.leader_optimal(game), sc.observed(game), energy=sc.energy(game))
    action = m.owner.stage[2].sold[LOW, HIGH]
    before = rule.actions({})
    after = rule.actions({action.name: rule.targets[action.name] + 0.1})
    moved = {name for name in before if abs(after[name] - before[name]) > 1e-9}
    assert moved == {m.pay[t].bonus[LOW, HIGH, z].name for t in (3, 4) for z in (LOW, HIGH)}


def test_a_leader_cannot_answer_what_is_still_to_come() -> None:
    m = sc.build(3).model
    with pytest.raises(InvalidGame, match=r"the leader does not know h3"):
        m.scenarios.observe(m.pay[2].bonus, [(m.owner.stage[3].sold, "h3")], knows="h2")


@pytest.mark.parametrize(
    "bad",
    [
        {"periods": 0},
        {"periods": 2.0},
        {"chance": 1.0},
        {"price": math.nan},
        {"start": 9.0},
        {"rate": 0.0},
        {"cost": 0.0},
    ],
)
def test_bad_parameters(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidGame, match="storage_contract"):
        sc.build(**bad)


def test_main(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        sc.main()
    assert ended.value.code == 0
    assert "Without a contract the owner could gain 0." in capsys.readouterr().out


# --- causal -----------------------------------------------------------------------------------------------------------

WISH = [0.5, 1.5, 0.2]


def inventory(fees: int = 4) -> tuple[Any, sp.Game]:
    """A shop orders in 1, 2, 3 and pays for stock and the fees of 1 … fees; the supplier wants other orders."""
    m = pyo.ConcreteModel()
    m.fee = pyo.Var(range(1, fees + 1), initialize=0.0)
    m.shop = pyo.Block()
    m.shop.order = pyo.Var(range(1, 4), bounds=(0, 3), initialize=0.5)
    m.shop.stock = pyo.Expression(range(1, 4), rule=lambda b, t: sum(b.order[s] for s in range(1, t + 1)) - 0.6 * t)
    m.shop.full = pyo.Constraint(range(1, 4), rule=lambda b, t: (0, b.stock[t], 2))
    trade = sum(pyo.exp(m.shop.order[t]) - 2 * m.shop.order[t] + m.shop.stock[t] ** 2 / 4 for t in range(1, 4))
    m.shop.cost = pyo.Objective(expr=trade + sum(m.fee.values()))
    m.goal = pyo.Objective(
        expr=sum((m.shop.order[t] - WISH[t - 1]) ** 2 for t in range(1, 4)) + sum(f**2 for f in m.fee.values())
    )
    return m, sp.Game(m, followers=m.shop)


def seen_by(mapping: Any) -> dict[Any, list[Any]]:
    return {var.index(): [signal.index() for signal in signals] for var, signals in mapping.items()}


def test_who_may_answer_to_what() -> None:
    m, _ = inventory()
    assert seen_by(sp.causal(m.fee, m.shop.order)) == {1: [], 2: [1], 3: [1, 2], 4: [1, 2, 3]}
    assert seen_by(sp.causal(m.fee, [m.shop.order], lag=2)) == {1: [], 2: [], 3: [1], 4: [1, 2]}
    assert seen_by(sp.causal(m.fee, m.shop.order, lag=0)) == {1: [1], 2: [1, 2], 3: [1, 2, 3], 4: [1, 2, 3]}
    both = sp.causal(m.fee, [m.shop.order, m.shop.stock])
    assert [s.parent_component().local_name for s in both[m.fee[2]]] == ["order", "stock"]


def test_further_indices_have_to_agree() -> None:
    m = pyo.ConcreteModel()
    m.fee = pyo.Var([1, 2], ["a", "b"])
    m.order = pyo.Var([1, 2], ["a", "b"])
    m.total = pyo.Var([1, 2])
    assert seen_by(sp.causal(m.fee, [m.order, m.total])) == {
        (1, "a"): [],
        (1, "b"): [],
        (2, "a"): [(1, "a"), 1],
        (2, "b"): [(1, "b"), 1],
    }


@pytest.mark.parametrize("lag", [1, 2])
def test_an_incentive_over_time(lag: int) -> None:
    """K = −a_s / (fees that may still answer), by the shop's derivative written out; and fees see only the past."""
    m, game = inventory(3 + lag)
    plan = sp.leader_optimal(game)
    order = np.array([plan.value(m.shop.order[t]) for t in range(1, 4)])
    rule = sp.affine_incentive(plan, sp.causal(m.fee, m.shop.order, lag=lag))
    stock = np.cumsum(order) - 0.6 * np.arange(1, 4)
    for s in (1, 2, 3):
        slope = math.exp(order[s - 1]) - 2 + stock[s - 1 :].sum() / 2
        for fee in m.fee.values():
            found = rule.gain.loc[fee.name, f"shop.order[{s}]"]
            if fee.index() < s + lag:
                assert math.isnan(found)
            else:
                assert found == pytest.approx(-slope / (len(m.fee) + 1 - s - lag), abs=1e-6)
    assert sp.verify(plan).epsilon > 0.1
    assert sp.verify(rule).ok
    before = rule.actions({})
    after = rule.actions({"shop.order[2]": order[1] + 0.2})
    later = {f"fee[{t}]" for t in range(2 + lag, len(m.fee) + 1)}
    assert {name for name in before if abs(after[name] - before[name]) > 1e-9} == later


def test_what_nobody_can_answer_any_more() -> None:
    m, game = inventory()
    with pytest.raises(
        sp.NoIncentive,
        match=r"unobserved: no signal shows its action shop\.order\[3\], which it would change by itself",
    ):
        sp.affine_incentive(sp.leader_optimal(game), sp.causal(m.fee, m.shop.order, lag=2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: sp.causal(m.one, m.shop.order), "one: has no index for time"),
        (lambda m: sp.causal(m.fee, m.one), "one: has no index for time"),
        (lambda m: sp.causal(m.fee, [m.shop.order, 3.0]), "3.0: has no index for time"),
        (lambda m: sp.causal(m.named, m.shop.order), "named[spring]: its first index is not a number"),
        (lambda m: sp.causal(m.fee, m.named), "named[spring]: its first index is not a number"),
        (lambda m: sp.causal(m.fee, m.shop.order, lag=-1), "lag=-1: expected an integer from 0 on"),
        (lambda m: sp.causal(m.fee, m.shop.order, lag=True), "lag=True: expected an integer"),
        (lambda m: sp.causal(m.fee, m.shop.order, lag=1.5), "lag=1.5: expected an integer"),
    ],
)
def test_causal_names_what_is_wrong(call: Any, words: str) -> None:
    m, _ = inventory()
    m.one = pyo.Var()
    m.named = pyo.Var(["spring", "autumn"])
    with pytest.raises(InvalidGame) as told:
        call(m)
    assert words in str(told.value)
