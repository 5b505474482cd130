"""Aggregates that hold variables of the leader, against the same games with the sum written out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.roads import NAN, roads

import stackpyomo as sp
from stackpyomo.games import parse_game
from stackpyomo.games.files import document

FORMS = ["alone", "other side", "pair", "chain"]


def market(form: str, *, seed: int = 0, sizes: tuple[float, ...] = (1, 1, 1), bounds: Any = (0, 10)) -> sp.Game:
    """Sellers and the leader's own supply q0 under one price; form: how Q is written ("out": it is not a Var)."""
    random = np.random.default_rng(seed)
    weights, costs, wish = (random.uniform(0.5, 1.5, len(sizes)) for _ in range(3))
    lead, base = random.uniform(0.5, 1.5), random.uniform(1.0, 3.0)
    m = pyo.ConcreteModel(name="market")
    m.q0 = pyo.Var(bounds=bounds, initialize=1.0)
    m.fee = pyo.Var(bounds=(-50, 50), initialize=0.0)
    m.f = pyo.Block(range(len(sizes)))
    for block in m.f.values():
        block.q = pyo.Var(bounds=(0, 10), initialize=1.0)
    total = sum(float(w) * m.f[i].q for i, w in enumerate(weights))
    supply, aggregates = _supply(m, form, float(base) + float(lead) * m.q0 + total)
    for i, block in m.f.items():
        price = 20 - supply - 0.02 * supply**2
        block.profit = pyo.Objective(
            expr=price * block.q - float(costs[i]) * block.q**2 - m.fee * block.q, sense=pyo.maximize
        )
    m.goal = pyo.Objective(
        expr=(supply - 8.0) ** 2
        + (m.q0 - 2.0) ** 2
        + 0.1 * m.fee**2
        + sum((m.f[i].q - float(wish[i])) ** 2 for i in range(len(sizes)))
    )
    players = [sp.Population(m.f[i], size) for i, size in enumerate(sizes)]
    return sp.Game(m, players, aggregates=aggregates)


def _supply(m: Any, form: str, right: Any) -> tuple[Any, Any]:
    if form == "out":
        return right, ()
    m.Q = pyo.Var(initialize=6.0)
    if form == "chain":  # half of it, of which the whole is made
        m.half = pyo.Var(initialize=3.0)
        m.first = pyo.Constraint(expr=2.0 * m.half == right)
        m.second = pyo.Constraint(expr=2.0 * m.half == m.Q)
        return m.Q, [m.first, m.second]
    left, right = {"alone": (m.Q, right), "other side": (right, m.Q), "pair": (m.Q - right, 0.0)}[form]
    m.supply = pyo.Constraint(expr=left == right)
    return m.Q, [(m.Q, m.supply)] if form == "pair" else m.supply


def pairs(form: str, seed: int = 0, **more: Any) -> tuple[sp.Game, sp.Game]:
    return market(form, seed=seed, **more), market("out", seed=seed, **more)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rule_and_proof_are_those_of_the_game_written_out(form: str, seed: int) -> None:
    rules = [sp.affine_incentive(sp.leader_optimal(game), curvature="none") for game in pairs(form, seed)]
    assert rules[0].gain.to_numpy() == pytest.approx(rules[1].gain.to_numpy(), abs=1e-6)
    assert np.abs(rules[0].gain.loc["q0"]).max() > 1e-3
    for rule in rules:  # a gain that is wrong by 5 % gains a follower the same
        rule.matrix = rule.matrix * 1.05
    reports = [sp.verify(rule) for rule in rules]
    assert reports[0].regret.max() > 1e-6
    assert reports[0].regret.to_numpy() == pytest.approx(reports[1].regret.to_numpy(), rel=1e-4, abs=1e-9)
    assert rules[0].uniqueness.split(":")[0] == rules[1].uniqueness.split(":")[0]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_equilibria_are_those_of_the_game_written_out(form: str) -> None:
    mine, other = pairs(form)
    for solve in (sp.stackelberg, lambda g: sp.nash(g, leader={"q0": 1.5, "fee": 0.25})):
        one, two = solve(mine), solve(other)
        assert [one.values[n] for n in two.values] == pytest.approx(list(two.values.values()), abs=1e-5)


def test_a_projection_on_the_leaders_bounds_stops_the_aggregate_too() -> None:
    reports = []
    for game in pairs("alone", bounds=(1.9, 2.1)):
        rule = sp.affine_incentive(sp.leader_optimal(game), saturate=True, curvature="none")
        rule.matrix = rule.matrix * 3.0
        reports.append(sp.verify(rule))
    assert reports[0].regret.max() > 1e-3
    assert reports[0].regret.to_numpy() == pytest.approx(reports[1].regret.to_numpy(), rel=1e-4, abs=1e-9)


@pytest.mark.slow
def test_what_else_is_known_of_a_rule_agrees() -> None:
    rules = [sp.affine_incentive(sp.leader_optimal(game)) for game in pairs("alone")]
    tables = [rule.robustness() for rule in rules]
    assert tables[0].to_numpy(dtype=float) == pytest.approx(tables[1].to_numpy(dtype=float), rel=1e-3, abs=1e-6)
    assert rules[0].payments.to_numpy() == pytest.approx(rules[1].payments.to_numpy(), nan_ok=True)
    verdicts = [sp.inducible(rule.plan) for rule in rules]
    assert list(verdicts[0]["verdict"]) == list(verdicts[1]["verdict"])
    plans = [sp.settled(rule) for rule in rules]
    assert plans[0].leader_objective == pytest.approx(plans[1].leader_objective, abs=1e-6)


@pytest.mark.slow
def test_a_squared_term_of_the_rule_moves_the_aggregate_along() -> None:
    regrets = []
    for game in pairs("alone", sizes=(1, 1)):
        rule = sp.affine_incentive(sp.leader_optimal(game), curvature="none")
        rule.bend = -2.0 * abs(rule.matrix)
        regrets.append(sp.verify(rule, certify="multistart", starts=3).regret.to_numpy())
    assert regrets[0].max() > 1e-6
    assert regrets[0] == pytest.approx(regrets[1], rel=1e-4, abs=1e-9)


def test_members_of_a_population_move_it_by_their_share() -> None:
    crowd = market("alone", sizes=(4, 1))
    rule = sp.affine_incentive(sp.leader_optimal(crowd), curvature="none")
    one = sp.verify(rule).regret
    rule.matrix = rule.matrix * 0.9
    each, every = sp.verify(rule).regret, rule.plan.attached().expand()
    values = {n: rule.plan.values[n] for n in ("q0", "fee", "Q", "f[0].q", "f[1].q")}
    for name, var in every.variables_by_name.items():
        var.set_value(values.get(name, values["f[0].q"]))
    written = sp.affine_incentive(sp.Plan.from_values(every), curvature="none")
    columns = {s: rule.gain[s if s in rule.signals else "f[0].q"] for s in written.signals}
    written.matrix = type(rule.matrix)(np.column_stack([columns[s] for s in written.signals]))
    again = sp.verify(written).regret
    assert one.max() < 1e-6 < each.max()
    assert again["f[0]"] == pytest.approx(each["f[0]"], rel=1e-4)
    assert again["f[1]"] == pytest.approx(each["f[1]"], rel=1e-4)


def test_the_leader_observes_what_the_followers_make_of_it() -> None:
    game = market("alone")
    m = game.model
    plan = sp.leader_optimal(game)
    m.known = pyo.Expression(expr=2.0 * m.Q)
    told = sp.affine_incentive(plan, {m.q0.name: [m.Q], m.fee.name: "actions"}, curvature="none")
    assert [s for s in told.signals if "Q" in s] == ["Q without q0"]
    assert sp.verify(told).ok
    lead = game.responses().leads.toarray()[0, 0]
    part = plan.values["Q"] - lead * plan.values["q0"]
    assert told.targets["Q without q0"] == pytest.approx(part)
    moved = {"Q without q0": part + 1.0}
    assert told.actions(moved)["q0"] == pytest.approx(plan.values["q0"] + told.gain.loc["q0", "Q without q0"])


def test_the_leaders_own_bounds_and_free_values_know_of_it() -> None:
    game = market("alone")
    del game.model.goal
    game.model.goal = pyo.Objective(expr=sum((b.q - 1.0) ** 2 for b in game.model.f.values()))
    with pytest.raises(sp.InvalidGame, match="q0: cannot be free, because an aggregate holds it"):
        sp.affine_incentive(sp.leader_optimal(game), free=[game.model.q0])


def test_a_choice_that_cannot_be_told_is_asked_for() -> None:
    m = market("pair").model
    with pytest.raises(sp.InvalidGame, match=r"supply: which aggregate.*Q, q0.*aggregates=\[\(model.aggregate"):
        sp.Game(m, m.f, aggregates=m.supply).require_sound()
    assert sp.Game(m, m.f, aggregates=[(m.q0, m.supply)]).aggregate_variables() == [m.q0]
    with pytest.raises(sp.InvalidGame, match="supply: cannot define fee"):
        sp.Game(m, m.f, aggregates=(m.fee, m.supply)).require_sound()
    with pytest.raises(sp.InvalidGame, match="expected an equality Constraint"):
        sp.Game(m, m.f, aggregates=[(m.q0, m.fee)])
    assert sp.Game(m, m.f, aggregates={"Q": "supply"}).aggregate_variables() == [m.Q]


def test_pairs_may_be_indexed() -> None:
    m = pyo.ConcreteModel()
    m.q0, m.Q = pyo.Var([1, 2]), pyo.Var([1, 2])
    m.f = pyo.Block()
    m.f.q = pyo.Var([1, 2], bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=sum(m.Q[t] * m.f.q[t] for t in (1, 2)))
    m.goal = pyo.Objective(expr=sum(m.q0[t] ** 2 for t in (1, 2)))
    m.sums = pyo.Constraint([1, 2], rule=lambda m, t: m.Q[t] - m.q0[t] - m.f.q[t] == 0)
    game = sp.Game(m, m.f, aggregates=[(m.Q, m.sums)])
    assert game.aggregate_variables() == [m.Q[1], m.Q[2]]
    assert game.responses().leads.toarray() == pytest.approx(np.eye(2))


def test_check_says_which_variable_follows() -> None:
    found = {f.component: str(f) for f in market("alone").check() if f.severity == "info"}
    assert "it defines Q; q0 in it stays the leader's" in found["supply"]
    assert not [f for f in market("out").check() if f.severity == "info"]


@pytest.mark.parametrize("form", FORMS)
def test_game_files_keep_the_choice(form: str, tmp_path: Any) -> None:
    game = market(form, sizes=(1, 1))
    game.write(tmp_path / "game.json")
    read = sp.read_game(tmp_path / "game.json")
    assert [v.name for v in read.aggregate_variables()] == [v.name for v in game.aggregate_variables()]
    assert sp.stackelberg(read).leader_objective == pytest.approx(sp.stackelberg(game).leader_objective, abs=1e-6)
    written = json.loads((tmp_path / "game.json").read_text())
    assert document(parse_game(written))["leader"]["aggregates"] == written["leader"]["aggregates"]


def test_game_files_read_the_natural_form() -> None:
    game = document(market("alone", sizes=(1,)))
    for entry in ("Q == q0 + q", {"variable": "Q", "row": "Q - q0 - q == 0"}):
        game["leader"]["aggregates"] = [entry]
        assert [v.name for v in parse_game(game).aggregate_variables()] == ["Q"]
    game["leader"]["aggregates"] = [{"variable": "R", "row": "Q == q0 + q"}]
    with pytest.raises(sp.GameFileError, match="unknown name"):
        parse_game(game)


def test_simulated_crowds_answer_through_it() -> None:
    """Drawn followers, the leader's answer and the aggregate are one system: checked against its own equation."""
    from stackpyomo.analysis.simulation import _Crowd

    game = market("alone", sizes=(50, 50))
    rule = sp.affine_incentive(sp.leader_optimal(game), [game.model.Q, 2.0 * game.model.f[0].q], curvature="none")
    crowd = _Crowd(game, rule.announcement, {"f[0]": 0.5, "f[1]": 0.5})
    values, _ = crowd._drawn(crowd._excess(np.array([0.8, 0.2])))
    assert values["Q"] != pytest.approx(rule.plan.values["Q"])
    shares, leads, constant = (getattr(game.responses(), n) for n in ("shares", "leads", "constants"))
    actions = np.array([rule.plan.values["f[0].q"] * 1.6, rule.plan.values["f[1].q"] * 0.4])
    expected = shares.toarray()[0] @ actions + leads.toarray()[0, 0] * values["q0"] + constant[0]
    assert values["Q"] == pytest.approx(expected)


def mean(expression: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(m: Any) -> Any:
        m.mean = pyo.Var(initialize=0.0)
        m.defines = pyo.Constraint(expr=expression(m))
        return m.defines

    return add


def singular(m: Any) -> Any:
    m.mean, m.half = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.first = pyo.Constraint(expr=m.mean + m.half == m.driver.flow)
    m.second = pyo.Constraint(expr=2 * m.mean + 2 * m.half == m.driver.flow)
    return [m.first, m.second]


def followers_row(m: Any) -> Any:
    m.mean = pyo.Var(initialize=0.0)
    m.driver.defines = pyo.Constraint(expr=m.mean == m.driver.flow)
    return m.driver.defines


def switched_off(m: Any) -> Any:
    constraint = mean(lambda m: m.mean == m.driver.flow)(m)
    constraint.deactivate()
    return constraint


AGGREGATES: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "a Var": (lambda m: m.toll, ("aggregates=toll", "expected an equality Constraint")),
    "a name": (lambda m: "miss", ("aggregates=miss", "expected an equality Constraint")),
    "an Objective": (lambda m: [m.miss], ("aggregates=miss", "expected an equality Constraint")),
    "an inequality": (mean(lambda m: m.mean <= m.driver.flow), ("defines: ", "equality")),
    "a follower's": (followers_row, ("driver.defines: ", "outside every follower")),
    "nonlinear in actions": (mean(lambda m: m.mean == m.driver.flow**2), ("defines: ", "linear", "objectives")),
    "nonlinear in itself": (mean(lambda m: m.mean**2 == m.driver.flow), ("defines: ", "linear")),
    "two variables": (mean(lambda m: m.mean + m.toll == m.driver.flow), ("defines: ", "mean, toll", "Fix the others")),
    "no variable": (mean(lambda m: m.driver.flow == 0.5), ("defines: ", "none")),
    "twice the same": (lambda m: [mean(lambda m: m.mean == m.driver.flow)(m)] * 2, ("defines", "mean")),
    "singular": (singular, ("first, second: ", "do not determine")),
    "deactivated": (switched_off, ("defines: ", "deactivated")),
    "nan": (mean(lambda m: m.mean == NAN * m.driver.flow), ("defines: ", "nan")),
}


@pytest.mark.parametrize("case", AGGREGATES)
def test_aggregates_that_are_none(case: str, refused: Any) -> None:
    add, words = AGGREGATES[case]
    m = roads()
    found = add(m)

    def play() -> None:
        sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.driver, aggregates=found)))

    refused(m, play, sp.InvalidGame, *words)
