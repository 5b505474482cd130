"""What the leader sees: every way to write it, against the gain's equations built by hand in NumPy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import CASES, drawn, number
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stackpyomo as sp

SLOW = settings(max_examples=drawn(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])


class World:
    """A random game whose derivatives, and what an action moves of each signal, are known by hand.

    J_k = α_k·u_k + β_k mean + b_k·u0 + |u_k|²/2 + |u0|²/2, mean = Σ w_kj u_kj; everything is 0 at the plan.
    """

    def __init__(self, seed: int) -> None:
        self.random = random = np.random.default_rng(seed)
        count, self.leaders = int(random.integers(1, 5)), int(random.integers(1, 5))
        self.sizes = [[1, 1, 1, 3, 10, math.inf][i] for i in random.integers(0, 6, size=count)]
        self.own = random.integers(1, 4, size=count).tolist()
        self.actions = [(k, j) for k in range(count) for j in range(self.own[k])]
        self.owner = np.array([k for k, _ in self.actions])
        self.weights = random.normal(size=len(self.actions))
        self.alpha = random.normal(size=len(self.actions))
        self.beta = random.normal(size=count)
        self.b = random.normal(size=(count, self.leaders))

    def game(self) -> sp.Game:
        m = pyo.ConcreteModel()
        m.lead, m.mean = pyo.Var(range(self.leaders), initialize=0.0), pyo.Var(initialize=0.0)
        m.f = pyo.Block(range(len(self.sizes)))
        for k, block in m.f.items():
            block.u = pyo.Var(range(self.own[k]), initialize=0.0)
            own = [*block.u.values()]
            felt = sum(float(b) * v for b, v in zip(self.b[k], m.lead.values(), strict=True))
            bowl = sum(v**2 for v in [*own, *m.lead.values()]) / 2
            slope = sum(float(a) * v for a, v in zip(self.alpha[self.owner == k], own, strict=True))
            block.cost = pyo.Objective(expr=slope + float(self.beta[k]) * m.mean + felt + bowl)
        terms = [float(w) * m.f[k].u[j] for w, (k, j) in zip(self.weights, self.actions, strict=True)]
        m.average = pyo.Constraint(expr=m.mean == sum(terms))
        m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
        players = [sp.Population(m.f[k], size) if size != 1 else m.f[k] for k, size in enumerate(self.sizes)]
        return sp.Game(m, followers=players, aggregates=[m.average])

    @property
    def share(self) -> np.ndarray:
        """What one member's action moves of the mean."""
        return self.weights / np.array(self.sizes)[self.owner]

    @property
    def slopes(self) -> np.ndarray:
        """What one member's action adds to its own cost, its share of the mean included."""
        return self.alpha + self.beta[self.owner] * self.share

    def draw(self) -> list[tuple[str, np.ndarray]]:
        """Signals: (kind, weights on the actions), their blocks moving together."""
        single = np.eye(len(self.actions))
        drawn = [("action", row) for row in single if self.random.random() < 0.5]
        drawn += [("mean", self.weights)] * int(self.random.random() < 0.5)
        for _ in range(self.random.integers(0, 3)):
            drawn.append(("sum", self.random.normal(size=len(single)) * (self.random.random(len(single)) < 0.6)))
        drawn = [(kind, row) for kind, row in drawn if row.any()] or [("action", single[0])]
        return [drawn[i] for i in self.random.permutation(len(drawn))]

    def moves(self, signals: list[tuple[str, np.ndarray]]) -> np.ndarray:
        """(signals × actions) what one member's action moves."""
        sizes = np.array(self.sizes)[self.owner]
        return np.array([row if kind == "action" else row / sizes for kind, row in signals])

    def written(self, m: Any, signals: list[tuple[str, np.ndarray]]) -> list[Any]:
        """The signals as a user writes them."""
        listed: list[Any] = []
        for place, (kind, row) in enumerate(signals):
            if kind == "mean":
                listed.append("mean" if place % 2 else m.mean)
            elif kind == "action":
                k, j = self.actions[int(row.argmax())]
                listed.append(m.f[k].u[j] if place % 2 else f"f[{k}].u[{j}]")
            else:
                body = sum(float(c) * m.f[k].u[j] for c, (k, j) in zip(row, self.actions, strict=True)) + 1.5
                m.add_component(f"seen{place}", pyo.Expression(expr=body))
                listed.append(m.component(f"seen{place}"))
        return listed


@pytest.mark.slow
@SLOW
@given(seed=st.integers(0, 10**6), consistent=st.booleans(), causal=st.booleans())
def test_gains_rank_and_freedom_against_dense_equations(seed: int, consistent: bool, causal: bool) -> None:
    world = World(seed)
    signals = world.draw()
    allowed = np.ones((world.leaders, len(signals)), dtype=bool)
    if causal:
        allowed = world.random.random(allowed.shape) < 0.7
        allowed[world.random.integers(world.leaders), world.random.integers(len(signals))] = True
    moves, used = world.moves(signals), allowed.any(axis=0)
    seen = np.array([row for _, row in signals])[used].any(axis=0)
    watched = np.array([seen[world.owner == k].any() for k in range(len(world.sizes))])
    entries = [(int(el), int(s)) for el, s in np.argwhere(allowed)]
    matrix = np.array([[world.b[k, el] * moves[s, i] for el, s in entries] for i, k in enumerate(world.owner)])
    matrix[~watched[world.owner]] = 0.0
    if consistent:  # slopes for which some gain is right for all
        world.alpha -= np.where(watched[world.owner], matrix @ world.random.normal(size=len(entries)) + world.slopes, 0)
    slope = np.where(watched[world.owner], world.slopes, 0.0)
    # The energy of an entry counts everybody who shows its signal: an action of its own every member of its block.
    block = [world.owner[int(np.abs(row).argmax())] for _, row in signals]
    shows = [min(world.sizes[k], 1e9) if kind == "action" else 1.0 for k, (kind, _) in zip(block, signals, strict=True)]
    weight = np.sqrt([shows[s] for _, s in entries])
    best = np.linalg.lstsq(matrix / weight, -slope, rcond=1e-9)[0] / weight
    left = np.abs(matrix @ best + slope)
    game = world.game()
    plan, written = sp.Plan.from_values(game), world.written(game.model, signals)
    observe: Any = written
    if causal:
        listed = [[w for s, w in enumerate(written) if allowed[el, s]] for el in range(world.leaders)]
        observe = [(game.model.lead[el], seen) for el, seen in enumerate(listed) if seen]
    if left.max() > 1e-6:
        with pytest.raises(sp.NoIncentive) as caught:
            sp.affine_incentive(plan, observe)
        assert set(caught.value.reasons) == {f"f[{k}]" for k in world.owner[left > 1e-6]}
        return
    rule = sp.affine_incentive(plan, observe)
    order = [[n if isinstance(n, str) else n.name for n in written].index(name) for name in rule.signals]
    assert sorted(order) == np.flatnonzero(used).tolist()
    gain, lead = np.full(allowed.shape, np.nan), [int(name[5:-1]) for name in rule.leader]
    gain[np.ix_(lead, order)] = rule.gain.to_numpy()
    assert (np.isnan(gain) == ~allowed).all()
    np.testing.assert_allclose([gain[e] for e in entries], best, atol=1e-7 * (1 + np.abs(best).max()))
    assert rule.residual <= 1e-7 * (1 + np.abs(slope).max())
    assert rule.rank == np.linalg.matrix_rank(matrix, tol=1e-9 * np.linalg.norm(matrix, 2))
    assert rule.freedom == len(entries) - rule.rank
    space = np.zeros((rule.freedom, *allowed.shape))
    space[np.ix_(range(rule.freedom), lead, order)] = rule.null_space
    flat = np.array([[direction[e] for e in entries] for direction in space]).reshape(rule.freedom, len(entries))
    assert np.abs(space[:, ~allowed]).max(initial=0.0) == 0.0
    np.testing.assert_allclose(flat @ flat.T, np.eye(rule.freedom), atol=1e-10)
    np.testing.assert_allclose(flat @ matrix.T, 0.0, atol=1e-7)
    assert rule.alone == [f"f[{k}]" for k in np.flatnonzero(~watched)]
    assert sp.verify(rule, followers=[f"f[{k}]" for k in np.flatnonzero(watched)]).epsilon <= 1e-7


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), units=st.lists(st.integers(-9, 9), min_size=4, max_size=4))
@SLOW
def test_gains_do_not_depend_on_the_units_of_a_followers_cost(seed: int, units: list[int]) -> None:
    """Euros or millions of euros: under shared signals too, one follower's rows are as good as another's."""
    random = np.random.default_rng(seed)
    b, a = random.normal(size=(4, 5)), random.normal(size=4)
    gains = []
    for factors in ([1.0] * 4, [10.0**u for u in units]):
        m = pyo.ConcreteModel()
        m.lead = pyo.Var(range(5), initialize=0.0)
        m.f = pyo.Block(range(4))
        for k, factor in enumerate(factors):
            m.f[k].u = pyo.Var(initialize=0.0)
            felt = sum(float(x) * v for x, v in zip(b[k], m.lead.values(), strict=True))
            m.f[k].cost = pyo.Objective(expr=factor * (float(a[k]) * m.f[k].u + felt + m.f[k].u ** 2))
        m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
        plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
        gains.append(sp.affine_incentive(plan, [sum(m.f[k].u for k in range(4))]).gain.to_numpy())
    size = np.abs(gains[0]).max()
    np.testing.assert_allclose(gains[1], gains[0], atol=1e-6 * size)


# --- how a signal may be written --------------------------------------------------------------------------------------


def _crowd(size: int, how: str) -> sp.Game:
    """DT01: J_i = (u_i−1)²/2 + ū u_i/4 + (u0+1)²/2 + u0 u_i/5, ū including one's own action."""
    m = pyo.ConcreteModel()
    m.u0, m.mean = pyo.Var(), pyo.Var()
    count = 1 if how == "population" else size
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var()
    users = [m.f[i].u for i in range(count)]
    m.seen = pyo.Expression(expr=pyo.quicksum(users) / count)
    m.average = pyo.Constraint(expr=m.mean == m.seen)
    mean = m.seen if how == "written out" else m.mean
    for u, block in zip(users, m.f.values(), strict=True):
        block.cost = pyo.Objective(expr=(u - 1) ** 2 / 2 + mean * u / 4 + (m.u0 + 1) ** 2 / 2 + m.u0 * u / 5)
    square = pyo.quicksum(u**2 for u in users) / count
    m.goal = pyo.Objective(expr=(m.u0 - 1) ** 2 + (m.mean - 2) ** 2 + square / 2 + m.u0 * m.mean / 2)
    followers = sp.Population(m.f, size) if how == "population" else m.f
    return sp.Game(m, followers=followers, aggregates=[] if how == "written out" else [m.average])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "gain"), [(1, -111 / 223), (2, -187 / 223), (5, -415 / 223), (10, -795 / 223)])
@pytest.mark.parametrize("how", ["explicit", "written out", "population"])
def test_the_average_alone_is_enough_for_alike_followers(size: int, gain: float, how: str) -> None:
    """DT01, K = N Q, however the average is written; the followers' answers are re-solved."""
    game = _crowd(size, how)
    plan = sp.leader_optimal(game)
    m = game.model
    ways = [[m.seen], m.seen, "seen", {"u0": ["seen"]}, [m.seen + 0 * m.f[0].u]]
    ways += [[pyo.quicksum(b.u for b in m.f.values()) / size]] if how != "population" else []
    if how != "written out":
        ways += [[m.mean], "mean", m.mean, [(m.u0, m.mean)], {"u0": "mean"}]
    for observe in ways:
        rule = sp.affine_incentive(plan, observe)
        assert rule.gain.shape == (1, 1)
        assert rule.gain.iloc[0, 0] == pytest.approx(gain, rel=1e-7)
        assert rule.targets[rule.signals[0]] == pytest.approx(28 / 23, abs=1e-7)
        assert rule.actions({rule.signals[0]: 28 / 23 + 0.1})["u0"] == pytest.approx(16 / 23 + gain * 0.1, rel=1e-6)
        assert (rule.rank, rule.freedom) == (1, 0)
        report = sp.verify(rule)
        assert report.ok
        assert report.epsilon <= 1e-9


@pytest.mark.parametrize("how", ["explicit", "written out", "population"])
def test_an_infinite_crowd_has_no_weight_in_its_average(how: str) -> None:
    game = _crowd(1, "population").with_sizes({"f[0]": math.inf}) if how == "population" else _crowd(3, how)
    plan = sp.leader_optimal(game)
    if how != "population":
        assert sp.affine_incentive(plan, [game.model.seen]).rank == 3 - 2
        return
    for observe in (["mean"], ["seen"]):
        with pytest.raises(sp.NoIncentive, match=r"f\[0\]: no weight: one member of an infinite population"):
            sp.affine_incentive(plan, observe)
    rule = sp.affine_incentive(plan, ["mean", "f[0].u"])
    assert rule.gain.loc["u0", "mean"] == 0.0
    assert rule.gain.loc["u0", "f[0].u"] != 0.0
    assert sp.verify(rule).ok


def _pair() -> sp.Game:
    """OP01: J_i = (u_i+1)²/2 + (u0−c_i)²/2, c = (2, −3), with a mean and a bystander."""
    m = pyo.ConcreteModel()
    m.u0, m.mean, m.total = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0), pyo.Var(initialize=3.0)
    m.f = pyo.Block(range(2))
    for i, c in enumerate(CASES["OP01_opcs_conflict"]["data"]["c"]):
        m.f[i].u = pyo.Var(initialize=1.0)
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u + 1) ** 2 / 2 + (m.u0 - c) ** 2 / 2)
    m.half = pyo.Expression(expr=(m.f[0].u + m.f[1].u) / 2)
    m.pair = pyo.Expression(range(2), rule=lambda m, i: m.f[i].u + 1)
    m.average = pyo.Constraint(expr=m.mean == m.half)
    m.bystander = pyo.Block()
    m.bystander.v = pyo.Var(range(2), initialize=0.5)
    m.bystander.cost = pyo.Objective(expr=sum((v - 3) ** 2 for v in m.bystander.v.values()) + m.u0)
    m.sum = pyo.Constraint(expr=m.total == 2 * m.mean + sum(m.bystander.v.values()))
    m.goal = pyo.Objective(expr=m.u0**2 + sum((m.f[i].u - 1) ** 2 for i in range(2)))
    return sp.Game(m, followers=[m.f, m.bystander], aggregates=[m.average, m.sum])


@pytest.mark.parametrize("observe", ["mean", ["half"], {"u0": "mean"}])
def test_conflicting_followers_are_named_with_their_residuals(observe: Any) -> None:
    wanted = CASES["OP01_opcs_conflict"]["expected"]["opcs_residual"]
    with pytest.raises(sp.NoIncentive, match=r"f\[0\]: conflict under shared signals with f\[1\]") as caught:
        sp.affine_incentive(sp.Plan.from_values(_pair()), observe)
    assert list(caught.value.residuals) == ["f[0]", "f[1]"], "the bystander is not in it"
    # K/N moves with one follower's action: what is left per unit of the average is the published figure.
    assert list(caught.value.residuals.values()) == pytest.approx([number(r) for r in wanted], rel=1e-6)
    assert "conflict under shared signals with f[0]" in caught.value.reasons["f[1]"]


def test_who_is_not_observed_is_left_alone() -> None:
    game = _pair()
    m = game.model
    rule = sp.affine_incentive(sp.Plan.from_values(game), [m.f[0].u])
    assert rule.alone == ["f[1]", "bystander"]
    assert rule.signals == ["f[0].u"]
    assert rule.gain.loc["u0", "f[0].u"] == pytest.approx(1.0)
    assert sp.verify(rule, followers=["f[0]"]).ok
    assert not sp.verify(rule).ok, "the others want to move, and nobody holds them"
    rule = sp.affine_incentive(sp.Plan.from_values(game), [])
    assert rule.alone == ["f[0]", "f[1]", "bystander"]
    assert rule.gain.shape == (1, 0)


def test_ways_to_write_signals() -> None:
    game = _pair()
    m = game.model
    plan = sp.Plan.from_values(game)
    full = sp.affine_incentive(plan, [m.f[0].u, m.f[1].u, m.bystander.v])
    assert full.signals == ["f[0].u", "f[1].u", "bystander.v[0]", "bystander.v[1]"]
    everything = sp.affine_incentive(plan)
    for observe in (
        ["f[0].u", "f[1].u", "bystander.v"],
        "actions",
        {"u0": "actions"},
        [(m.u0, "actions")],
        {m.u0.name: [m.f[0].u, m.f[1].u, m.bystander.v]},
        pyo.ComponentMap([(m.u0, [m.f[0].u, m.f[1].u, "bystander.v"])]),
        [m.f[0].u, m.f[0].u, m.f[1].u, m.bystander.v[0], "bystander.v[1]", m.bystander.v],
    ):
        rule = sp.affine_incentive(plan, observe)
        np.testing.assert_allclose(rule.gain[full.signals], full.gain)
        np.testing.assert_allclose(rule.gain[full.signals], everything.gain[full.signals])
    rule = sp.affine_incentive(plan, m.pair)
    assert rule.signals == ["pair[0]", "pair[1]"]
    assert rule.targets == {"pair[0]": 2.0, "pair[1]": 2.0}
    assert rule.gain.to_numpy()[0] == pytest.approx(
        [number(q) for q in CASES["OP01_opcs_conflict"]["expected"]["Q_ocs"]]
    )
    m.f[1].u.fix()
    assert sp.affine_incentive(sp.Plan.from_values(game), [m.f[0].u, m.f[1].u]).signals == ["f[0].u"]


def test_a_fixed_action_in_an_expression_is_a_constant() -> None:
    game = _pair()
    m = game.model
    m.f[1].u.fix(5.0)
    m.f[1].cost.deactivate()
    m.average.deactivate()
    m.sum.deactivate()
    other = sp.Game(m, followers=[m.f[0], m.bystander])
    rule = sp.affine_incentive(sp.Plan.from_values(other), [2 * m.f[0].u + m.f[1].u])
    assert rule.targets[rule.signals[0]] == pytest.approx(7.0)
    assert rule.gain.iloc[0, 0] == pytest.approx(0.5)


def test_a_slice_is_its_members() -> None:
    game = _pair()
    plan, m = sp.leader_optimal(game), game.model
    whole, parts = sp.affine_incentive(plan, m.f[:].u), sp.affine_incentive(plan, [m.f[0].u, m.f[1].u])
    assert whole.signals == parts.signals == sp.affine_incentive(plan, [m.f[:].u]).signals
    assert whole.gain.equals(parts.gain)


def test_prices_that_are_nothing_to_the_leader_are_named() -> None:
    """One price for two who pull apart; the leader minds neither it nor what it is."""
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(bounds=(-9, 9), initialize=0.0), pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, 4), initialize=1.0)
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2 + i) ** 2 + m.price * m.f[i].u)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 0.5) ** 2 for i in range(2)))
    m.mean = pyo.Expression(expr=(m.f[0].u + m.f[1].u) / 2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    with pytest.raises(sp.NoIncentive, match=r"conflict.* does not hold price: free= chooses such values"):
        sp.affine_incentive(plan, m.mean)
    with pytest.raises(sp.NoIncentive) as caught:
        sp.affine_incentive(plan, m.mean, free="price")
    assert "free= chooses" not in str(caught.value)


@pytest.mark.parametrize(
    "observe", [lambda m: [m.f[0].u ** 2], lambda m: [m.f[0].u * m.f[1].u], lambda m: [1 / m.f[0].u]]
)
def test_slopes_see_what_is_linear(observe: Any) -> None:
    """A design by deviations takes other functions of the actions, and asks for bounds."""
    game = _pair()
    with pytest.raises(sp.InvalidGame, match="is not linear in the followers' actions"):
        sp.affine_incentive(sp.Plan.from_values(game), observe=observe(game.model), design="slopes")


def test_what_is_not_linear_holds_actions_alone() -> None:
    game = _pair()
    plan, m = sp.Plan.from_values(game), game.model
    with pytest.raises(sp.InvalidGame, match="is not a follower's action"):
        sp.affine_incentive(plan, observe=[m.mean * m.f[0].u])
    crowd = sp.Game(m, [sp.Population(m.f[0], 5), m.f[1], m.bystander], aggregates=game.definitions)
    with pytest.raises(sp.InvalidGame, match="mixes f\\[0\\], a population"):
        sp.affine_incentive(sp.Plan.from_values(crowd), observe=[m.f[0].u * m.f[1].u])


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        (lambda m: [m.u0], "u0 is the leader's own"),
        (lambda m: ["u0"], "u0 is the leader's own"),
        (lambda m: [m.f[0].u + m.u0], "u0 is the leader's own"),
        (lambda m: [m.f[0].u - m.f[0].u], "does not depend on any follower's action"),
        (lambda m: [3.0], "3.0 is not a signal"),
        (lambda m: 3.0, "3.0 is not a signal"),
        (lambda m: None, "None is not a signal"),
        (lambda m: [m.average], "average is not a signal.*Observe the Var that this equality defines"),
        (lambda m: [m.f], "f is not a signal"),
        (lambda m: ["speed"], "speed'?: .* has no component of that name"),
        (lambda m: "speed", "speed'?: .* has no component of that name"),
        (lambda m: {"speed": [m.f[0].u]}, "speed'?: .* has no component of that name"),
        (lambda m: {"f[0].u": [m.f[1].u]}, r"f\[0\].u: not a variable of the leader"),
        (lambda m: {"mean": [m.f[1].u]}, "mean: an aggregate follows the followers' actions"),
        (lambda m: {"u0": [m.u0]}, "u0 is the leader's own"),
        (lambda m: [pyo.ConcreteModel().add_component("x", pyo.Var()) or _stranger()], "is not a variable of"),
        (lambda m: [m.twin[0].seen, _renamed(m)], "two different signals are called"),
    ],
)
def test_what_is_no_signal_is_refused_by_name(observe: Any, message: str) -> None:
    game = _pair()
    m = game.model
    m.twin = pyo.Block(range(1))
    m.twin[0].seen = pyo.Expression(expr=m.f[0].u + m.f[1].u)
    with pytest.raises(sp.InvalidGame, match=message):
        sp.affine_incentive(sp.Plan.from_values(game), observe(m))


def _stranger() -> Any:
    other = pyo.ConcreteModel()
    other.speed = pyo.Var(initialize=1.0)
    _KEPT.append(other)
    return other.speed


def _renamed(m: Any) -> Any:
    """Another model's expression of the same name."""
    other = pyo.ConcreteModel()
    other.twin = pyo.Block(range(1))
    other.twin[0].seen = pyo.Expression(expr=m.f[0].u - m.f[1].u)
    _KEPT.append(other)
    return other.twin[0].seen


_KEPT: list[Any] = []
"""Pyomo names a component through a weak reference to its model."""


# --- what a rule can do afterwards ------------------------------------------------------------------------------------


def _scenarios(seed: int) -> sp.Game:
    """Two periods, two leader variables, the second may use what it has seen; signals of every kind."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(3), initialize=lambda m, i: float(random.normal()), bounds=(-5, 5))
    m.mean = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(2))
    for k in range(2):
        m.f[k].u = pyo.Var(range(2), initialize=lambda b, j: float(random.normal()), bounds=(-3, 3))
        own, felt = [*m.f[k].u.values()], [*m.lead.values()]
        cost = sum(float(random.normal()) * v for v in [*own, *felt, m.mean]) + sum(v**2 for v in own)
        m.f[k].cost = pyo.Objective(expr=cost + sum(v**2 for v in felt))
    m.average = pyo.Constraint(expr=m.mean == sum(u for k in m.f for u in m.f[k].u.values()))
    m.mean.set_value(sum(u.value for k in m.f for u in m.f[k].u.values()))
    m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
    return sp.Game(m, followers=[sp.Population(m.f[0], 3), m.f[1]], aggregates=[m.average])


@pytest.mark.slow
@pytest.mark.parametrize("saturate", [False, True])
@given(seed=st.integers(0, 10**6), data=st.data())
@settings(max_examples=drawn(15), deadline=None)
def test_the_strategy_as_numbers_as_expressions_and_from_json(saturate: bool, seed: int, data: Any) -> None:
    game = _scenarios(seed)
    m = game.model
    observe = {"lead[0]": [m.f[0].u, m.mean], "lead[1]": ["f[1].u", m.f[0].u], "lead[2]": [m.mean, m.f[1].u[0]]}
    rule = sp.affine_incentive(sp.Plan.from_values(game), observe, saturate=saturate)
    assert rule.gain.isna().to_numpy().sum() == 3 * 5 - 3 - 4 - 2
    again = sp.Incentive.from_json(rule.to_json(), game)
    assert again.gain.equals(rule.gain)
    for name in ("offset", "targets", "rank", "freedom", "observed", "saturate", "alone", "doubtful", "weights"):
        assert getattr(again, name) == getattr(rule, name), name
    assert again.to_json() == rule.to_json()
    regrets = sp.verify(rule).regret.to_numpy()  # unknown where what is drawn is outside a follower's bounds
    assert sp.verify(again).regret.to_numpy() == pytest.approx(regrets, abs=1e-9, nan_ok=True)
    size = {"f[0].u[0]": 3, "f[0].u[1]": 3}
    moved = [data.draw(st.floats(-1, 1)) for _ in range(4)]
    names = ["f[0].u[0]", "f[0].u[1]", "f[1].u[0]", "f[1].u[1]"]
    seen = {n: rule.targets.get(n, 0.0) + d for n, d in zip(names, moved, strict=True)}
    seen["mean"] = rule.targets["mean"] + sum(moved)
    expected = np.array(list(rule.offset.values()))
    deviation = dict(zip([*names, "mean"], [*moved, sum(moved)], strict=True))
    for place, name in enumerate(rule.leader):
        row = rule.gain.loc[name].fillna(0.0)
        expected[place] += sum(row[s] * deviation[s] * size.get(s, 1) for s in rule.signals)
    clipped = np.clip(expected, -5, 5) if saturate else expected
    for candidate in (rule, again):
        answer = candidate.actions({s: seen[s] for s in candidate.signals})
        assert list(answer.values()) == pytest.approx(clipped.tolist(), abs=1e-9)
        for name in names:
            game.variables_by_name[name].set_value(seen[name], skip_validation=True)
        m.mean.set_value(seen["mean"])
        strategy = candidate.strategy()
        values = [pyo.value(strategy[game.variables_by_name[n]]) for n in candidate.leader]
        assert values == pytest.approx(expected.tolist(), abs=1e-9), "written out without the projection"


def test_bent_strategies_survive_json_too() -> None:
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0, bounds=(-50, 50))
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.5, bounds=(-1, 2))
    m.f.cost = pyo.Objective(expr=-((m.f.u - 1) ** 2) + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2 + (m.f.u - 0.5) ** 2)
    game = sp.Game(m, followers=m.f)
    rule = sp.affine_incentive(sp.Plan.from_values(game), quadratic=True)
    again = sp.Incentive.from_json(rule.to_json(), game)
    assert again.to_json() == rule.to_json()
    assert rule.bend is not None
    assert sp.verify(again).ok
    for u in (-1.0, 0.2, 2.0):
        m.f.u.set_value(u)
        seen = [r.actions({"f.u": u})["u0"] for r in (rule, again)]
        seen += [pyo.value(r.strategy()[m.u0]) for r in (rule, again)]
        by_hand = -1.0 * (u - 0.5) + rule.bend.toarray()[0, 0] / 2 * (u - 0.5) ** 2
        assert seen == pytest.approx([by_hand] * 4, abs=1e-9)


@pytest.mark.parametrize("weights", [[[1, 1], [1, -1]], [[0.1, 0.3], [0.7, -0.9]], [[1.3, 0.2], [0.4, 0.6]]])
def test_effects_that_cancel_do_not_leave_a_bound(weights: list[list[float]]) -> None:
    """Seen as sum and difference with the same gain, an action without bounds moves nothing: 0 · ∞ is 0."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0, bounds=(-1, 1))
    m.f = pyo.Block(range(2))
    for k in range(2):
        m.f[k].u = pyo.Var(initialize=0.0)
        m.f[k].cost = pyo.Objective(expr=m.f[k].u ** 2 + (1 - k) * m.f[k].u + m.u0)
    m.f[0].u.setlb(-0.5)
    m.f[0].u.setub(0.5)
    m.goal = pyo.Objective(expr=m.u0**2)
    game = sp.Game(m, followers=m.f)
    rule = sp.affine_incentive(sp.Plan.from_values(game), [x * m.f[0].u + y * m.f[1].u for x, y in weights])
    assert rule.gain.to_numpy()[0] @ np.array(weights) == pytest.approx([-1.0, 0.0])
    assert rule.excursions == {}
    assert "Beware" not in str(rule)
    assert sp.verify(rule).ok


def test_nobody_to_hold_while_the_leader_stands_at_a_bound() -> None:
    """No equation at all: every entry is free, none is needed."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0, bounds=(0, None))
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(2), initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u[0] ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    for observe in ([], [m.f.u[1]], "actions"):
        rule = sp.affine_incentive(plan, observe)
        assert rule.norm == 0.0
        assert sp.verify(rule).ok
