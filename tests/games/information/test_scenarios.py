"""Scenarios: probabilities and atoms against numpy and hand-made figures; who knows what is never given away."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.special import factorial2

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

TABLE = {"x": [1, 1, 2, 2], "y": ["L", "H", "L", "H"]}
WEIGHTS = [0.45, 0.15, 0.08, 0.32]


def four() -> sp.Scenarios:
    return sp.Scenarios(TABLE, WEIGHTS, {"both": ["x", "y"], "blind": lambda row: "?"})


# --- making them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcomes", [TABLE, pd.DataFrame(TABLE), pd.DataFrame(TABLE, index=[7, 7, 3, 1])])
@pytest.mark.parametrize("probabilities", [WEIGHTS, np.array(WEIGHTS), pd.Series(WEIGHTS, index=list("abcd"))])
def test_arrays_and_frames(outcomes: Any, probabilities: Any) -> None:
    scenarios = sp.Scenarios(outcomes, probabilities)
    assert len(scenarios) == 4
    assert list(scenarios) == [0, 1, 2, 3]
    np.testing.assert_array_equal(scenarios["x"], TABLE["x"])
    np.testing.assert_array_equal(scenarios.probability, WEIGHTS)
    assert scenarios.atoms("y") == ["L", "H"]
    assert [scenarios.atom("y", w) for w in scenarios] == TABLE["y"]
    assert scenarios.atom_probability("y").to_dict() == pytest.approx({"L": 0.53, "H": 0.47})
    assert {y: scenarios.members("y", y) for y in "LH"} == {"L": [0, 2], "H": [1, 3]}
    assert scenarios.atom_probability("x").to_dict() == pytest.approx({1: 0.6, 2: 0.4})


def test_a_frame_out_and_in() -> None:
    frame = four().to_frame()
    assert list(frame.columns) == ["x", "y", "probability", "both", "blind"]
    assert frame["both"].tolist() == [(1, "L"), (1, "H"), (2, "L"), (2, "H")]
    again = sp.Scenarios.from_frame(frame)
    np.testing.assert_array_equal(again.probability, WEIGHTS)
    assert again.atoms("both") == four().atoms("both")
    assert again.observations == ["x", "y", "both", "blind"]
    pd.testing.assert_frame_equal(again.to_frame(), frame[["x", "y", "both", "blind", "probability"]])


def test_the_frame_given_is_left_alone() -> None:
    frame = pd.DataFrame(TABLE)
    scenarios = sp.Scenarios(frame, WEIGHTS)
    frame.loc[0, "y"] = "changed"
    assert scenarios["y"][0] == "L"
    told = scenarios.to_frame()
    told.loc[0, "x"] = 9
    assert scenarios["x"][0] == 1


def normal(generator: np.random.Generator, size: int) -> dict[str, Any]:
    return {"x": generator.normal(size=size), "sign": generator.integers(2, size=size)}


def test_samples_come_back_with_the_seed() -> None:
    first, again, other = (sp.Scenarios.from_samples(normal, 50, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(first["x"], again["x"])
    assert not np.isclose(first["x"], other["x"]).any()
    np.testing.assert_array_equal(first["x"], np.random.default_rng(3).normal(size=50))
    assert first.probability == pytest.approx(np.full(50, 0.02))
    assert set(first.atoms("sign")) == {0, 1}


@pytest.mark.parametrize("nodes", [1, 2, 5, 9])
def test_quadrature_of_one_gaussian_is_exact_up_to_its_degree(nodes: int) -> None:
    scenarios = sp.Scenarios.gauss_hermite("x", nodes, mean=0.5, covariance=4.0)
    assert len(scenarios) == nodes
    z = (scenarios["x"] - 0.5) / 2
    for degree in range(2 * nodes):
        wanted = 0.0 if degree % 2 else factorial2(degree - 1) if degree else 1.0
        assert scenarios.probability @ z**degree == pytest.approx(wanted, abs=1e-9 * max(1.0, wanted))
    wrong = scenarios.probability @ z ** (2 * nodes)
    assert abs(wrong - factorial2(2 * nodes - 1)) > 0.5, "one degree more is too much for it"


MATRIX = np.array([[2.0, 0.6, -0.5], [0.6, 1.0, 0.3], [-0.5, 0.3, 1.5]])
MEAN = np.array([1.0, -2.0, 0.5])


def test_quadrature_has_the_moments_of_a_gaussian_vector() -> None:
    scenarios = sp.Scenarios.gauss_hermite(["a", "b", "c"], [3, 4, 3], mean=MEAN, covariance=MATRIX)
    values = np.stack([scenarios[n] for n in "abc"], axis=1)
    assert len(scenarios) == 36
    np.testing.assert_allclose(scenarios.probability @ values, MEAN, atol=1e-12)
    d = values - MEAN
    np.testing.assert_allclose(np.einsum("w,wi,wj->ij", scenarios.probability, d, d), MATRIX, atol=1e-12)
    np.testing.assert_allclose(np.einsum("w,wi,wj,wk->ijk", scenarios.probability, d, d, d), 0.0, atol=1e-12)
    fourth = np.einsum("w,wi,wj,wk,wl->ijkl", scenarios.probability, d, d, d, d)
    pairs = [np.einsum(s, MATRIX, MATRIX) for s in ("ij,kl->ijkl", "ik,jl->ijkl", "il,jk->ijkl")]
    np.testing.assert_allclose(fourth, sum(pairs), atol=1e-11)


def test_quadrature_stands_along_the_first_name() -> None:
    """Whoever sees the first has few atoms; what is left of the second has its conditional mean and variance."""
    scenarios = sp.Scenarios.gauss_hermite(["a", "b"], [4, 5], mean=[1, -2], covariance=MATRIX[:2, :2])
    assert (len(scenarios.atoms("a")), len(scenarios.atoms("b"))) == (4, 20)
    for a in scenarios.atoms("a"):
        here = scenarios["a"] == a
        weight = scenarios.probability[here] / scenarios.probability[here].sum()
        mean = weight @ scenarios["b"][here]
        assert mean == pytest.approx(-2 + 0.3 * (a - 1), abs=1e-12)
        assert weight @ (scenarios["b"][here] - mean) ** 2 == pytest.approx(1 - 0.6**2 / 2, abs=1e-12)


def test_what_differs_by_rounding_is_one_atom() -> None:
    """c = a + b + e for independent a, b, e: the sum in another order is the same observation."""
    scenarios = sp.Scenarios.gauss_hermite(["a", "b", "c"], 5, covariance=[[1, 0, 1], [0, 1, 1], [1, 1, 3]])
    nodes = np.polynomial.hermite_e.hermegauss(5)[0]
    sums = {round(float(sum(z)), 9) + 0.0 for z in itertools.product(nodes, repeat=3)}
    assert len(scenarios.atoms("c")) == len(sums)


def test_products_are_independent_and_keep_observations() -> None:
    dice = sp.Scenarios({"d": [1, 2, 3]}, [0.5, 0.3, 0.2], {"odd": lambda row: row["d"] % 2})
    both = sp.Scenarios.product(four(), dice, observations={"sum": lambda row: row["x"] + row["d"]})
    assert len(both) == 12
    assert both.observations == ["x", "y", "d", "both", "blind", "odd", "sum"]
    joint = pd.crosstab(both["y"], both["d"], both.probability, aggfunc="sum")
    np.testing.assert_allclose(joint.loc[["L", "H"]], np.outer([0.53, 0.47], [0.5, 0.3, 0.2]))
    assert all(both.atom("odd", w) == both["d"][w] % 2 for w in both)
    assert all(both.atom("both", w) == (both["x"][w], both["y"][w]) for w in both)
    assert sp.Scenarios.product(four()).to_frame().equals(four().to_frame())


def test_who_knows_whom() -> None:
    scenarios = four()
    assert scenarios.knows("both", "x")
    assert scenarios.knows("both", "y")
    assert scenarios.knows("x", "x")
    assert scenarios.knows("x", "blind")
    assert not scenarios.knows("x", "y")
    assert not scenarios.knows("blind", "x")


def test_coarsening_merges_atoms_and_forgets_nothing_else() -> None:
    fine = sp.Scenarios({"x": range(6)}, None, {"pair": lambda row: row["x"] // 2})
    coarse = fine.coarsened("pair", lambda pair: min(pair, 1), name="rest")
    assert coarse.atoms("rest") == [0, 1]
    assert coarse.knows("pair", "rest")
    assert not coarse.knows("rest", "pair")
    assert coarse.atoms("pair") == [0, 1, 2]
    assert coarse.atom_probability("rest").to_dict() == pytest.approx({0: 1 / 3, 1: 2 / 3})
    assert fine.observations == ["x", "pair"], "the first is left as it was"


def test_it_says_what_it_is() -> None:
    assert repr(four()) == "Scenarios(4 scenarios, observations x, y, both, blind)"


# --- expressions --------------------------------------------------------------------------------------------------


def test_expectation() -> None:
    model = pyo.ConcreteModel()
    model.u = pyo.Var([1, 2], initialize={1: 3.0, 2: 5.0})
    scenarios = four()
    expression = scenarios.expectation(lambda w: (model.u[scenarios.atom("x", w)] - w) ** 2)
    wanted = 0.45 * 9 + 0.15 * 4 + 0.08 * 9 + 0.32 * 4
    assert pyo.value(expression) == pytest.approx(wanted)
    assert scenarios.expectation(lambda w: float(scenarios["x"][w])) == pytest.approx(1.4)


def nodes_of(expression: Any) -> int:
    return 1 + sum(nodes_of(a) for a in expression.args if hasattr(a, "args"))


def test_expectation_is_linear_in_the_number_of_scenarios() -> None:
    def size(count: int) -> int:
        model = pyo.ConcreteModel()
        model.u = pyo.Var(range(count))
        scenarios = sp.Scenarios({"x": range(count)})
        return nodes_of(scenarios.expectation(lambda w: (model.u[w] - w) ** 2))

    assert size(600) - size(400) == size(400) - size(200)
    assert size(600) <= 3 * size(200)


def test_impossible_scenarios_are_not_looked_at() -> None:
    scenarios = sp.Scenarios({"x": [0.0, 1.0]}, [0.0, 1.0])

    def rule(w: int) -> float:
        return 1.0 / float(scenarios["x"][w])

    assert scenarios.expectation(rule) == 1.0
    model = pyo.ConcreteModel()
    scenarios.cvar(model, rule, level=0.5)
    assert list(model.cvar.tail) == [1]
    assert scenarios.atoms("x") == [0.0, 1.0]


def sorted_cvar(loss: np.ndarray, probability: np.ndarray, level: float) -> float:
    """The mean of the worst 1 − level, the scenario at its edge split."""
    order = np.argsort(-loss)
    weight = probability[order]
    room = np.clip(1 - level - (np.cumsum(weight) - weight), 0.0, weight)
    return float(room @ loss[order] / (1 - level))


def dual_cvar(loss: np.ndarray, probability: np.ndarray, level: float) -> float:
    """max q·loss over densities q ≤ p/(1 − level), Σ q = 1."""
    limits = [(0.0, p / (1 - level)) for p in probability]
    found = linprog(-loss, A_eq=np.ones((1, len(loss))), b_eq=[1.0], bounds=limits)
    return float(-found.fun)


@pytest.mark.parametrize("level", [0, 0.3, 0.5, 0.9, 0.99])
def test_cvar_of_given_losses(level: float) -> None:
    generator = np.random.default_rng(5)
    loss, weight = generator.normal(size=12), generator.random(12)
    scenarios = sp.Scenarios({"loss": loss}, weight / weight.sum())
    model = pyo.ConcreteModel()
    model.cost = pyo.Objective(expr=scenarios.cvar(model, lambda w: float(loss[w]), level=level))
    pyo.SolverFactory("appsi_highs").solve(model)
    wanted = sorted_cvar(loss, scenarios.probability, level)
    assert wanted == pytest.approx(dual_cvar(loss, scenarios.probability, level), abs=1e-9)
    assert pyo.value(model.cost) == pytest.approx(wanted, abs=1e-7)


@pytest.mark.slow
def test_cvar_of_what_a_leader_decides() -> None:
    """min over u of CVaR[(x − u)²] on x = −1, 0, 3: the middle of the worst, whatever the mean is."""
    scenarios = sp.Scenarios({"x": [-1.0, 0.0, 3.0]}, [0.1, 0.8, 0.1])
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.v - m.u) ** 2)
    m.goal = pyo.Objective(expr=scenarios.cvar(m, lambda w: (float(scenarios["x"][w]) - m.u) ** 2, level=0.8))
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    candidates = np.linspace(-1, 3, 40_001)
    costs = [sorted_cvar((scenarios["x"] - u) ** 2, scenarios.probability, 0.8) for u in candidates]
    assert plan.value("u") == pytest.approx(1.0, abs=1e-6)
    assert plan.leader_objective == pytest.approx(min(costs), abs=1e-6)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: four()["z"], "z: no outcome of that name (x, y)"),
        (lambda: four().atoms("z"), "z: no observation of that name (x, y, both, blind)"),
        (lambda: four().atom("z", 0), "z: no observation of that name"),
        (lambda: four().atom("y", 4), "scenario 4: there are 4, from 0 on"),
        (lambda: four().atom("y", -1), "scenario -1: there are 4"),
        (lambda: four().atom_probability("z"), "z: no observation"),
        (lambda: four().members("y", "M"), "y: never shows 'M' (L, H)"),
        (lambda: four().members("z", "L"), "z: no observation"),
        (lambda: four().knows("y", "z"), "z: no observation"),
        (lambda: four().coarsened("z", str, name="q"), "z: no observation"),
        (lambda: four().coarsened("y", str, name="x"), "x: there is an observation of that name"),
        (lambda: four().coarsened("y", str, name="both"), "both: there is an observation of that name"),
        (lambda: sp.Scenarios.product(), "give at least one"),
        (lambda: sp.Scenarios.product(four(), four()), "x: an outcome of two factors"),
        (lambda: sp.Scenarios.from_frame(pd.DataFrame(TABLE)), "a column named probability"),
        (lambda: sp.Scenarios.from_frame(TABLE), "expected a DataFrame"),
        (lambda: sp.Scenarios.from_samples(normal, 0, seed=1), "size=0: expected an integer"),
        (lambda: sp.Scenarios.from_samples(normal, 2.5, seed=1), "size=2.5: expected an integer"),
        (lambda: sp.Scenarios.from_samples(lambda g, n: {"x": [1.0]}, 3, seed=1), "gave 1 outcomes"),
        (lambda: sp.Scenarios.gauss_hermite("x", 0), "nodes=0: expected an integer from 1"),
        (lambda: sp.Scenarios.gauss_hermite("x", 2.5), "nodes=2.5: expected an integer"),
        (lambda: sp.Scenarios.gauss_hermite("x", 5000), "nodes=5000: expected an integer from 1 to"),
        (lambda: sp.Scenarios.gauss_hermite(["x", "y"], [3]), "one for each of x, y"),
        (lambda: sp.Scenarios.gauss_hermite([], 3), "at least one name"),
        (lambda: sp.Scenarios.gauss_hermite(["x", "x"], 3), "each once"),
        (lambda: sp.Scenarios.gauss_hermite("x", 3, mean=[1, 2]), "mean=[1, 2]: expected a finite number"),
        (lambda: sp.Scenarios.gauss_hermite("x", 3, mean=math.nan), "mean=nan: expected a finite number"),
        (lambda: sp.Scenarios.gauss_hermite("x", 3, covariance=-1.0), "not positive definite"),
        (lambda: sp.Scenarios.gauss_hermite("x", 3, covariance=math.nan), "expected a symmetric 1 × 1 matrix"),
        (lambda: sp.Scenarios.gauss_hermite(["x", "y"], 3, covariance=[[1, 2], [0, 1]]), "symmetric 2 × 2"),
        (lambda: sp.Scenarios.gauss_hermite(["x", "y"], 3, covariance=[[1, 1], [1, 1]]), "leave out what the others"),
        (lambda: four().cvar(pyo.ConcreteModel(), lambda w: 0.0, level=1.0), "level=1.0: expected a number"),
        (lambda: four().cvar(pyo.ConcreteModel(), lambda w: 0.0, level=-0.1), "level=-0.1: expected a number"),
        (lambda: four().cvar(pyo.ConcreteModel(), lambda w: 0.0, level=True), "level=True: expected a number"),
        (lambda: four().cvar(pyo.ConcreteModel(), lambda w: 0.0, level=math.nan), "level=nan: expected a number"),
    ],
)
def test_bad_input_is_told(make: Any, words: str) -> None:
    with pytest.raises(InvalidGame) as told:
        make()
    assert words in str(told.value)


def test_a_name_is_used_once() -> None:
    model = pyo.ConcreteModel(name="risky")
    four().cvar(model, lambda w: 0.0, level=0.5)
    with pytest.raises(InvalidGame, match="risky: has a component named cvar"):
        four().cvar(model, lambda w: 0.0, level=0.5)
    four().cvar(model, lambda w: 0.0, level=0.5, name="another")


# --- information --------------------------------------------------------------------------------------------------


def game_of(scenarios: sp.Scenarios, sees: str, knows: str | None, answers: bool = True) -> tuple[Any, Any]:
    """A leader who knows ``knows`` and a follower who sees ``sees``; both want to hit x, the leader by halves."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(list(scenarios) if knows is None else scenarios.atoms(knows), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(scenarios.atoms(sees), initialize=0.0)
    x = scenarios["x"]

    def lead(w: int) -> Any:
        return m.u0[w if knows is None else scenarios.atom(knows, w)]

    def follow(w: int) -> Any:
        return m.f.u[scenarios.atom(sees, w)]

    m.goal = pyo.Objective(
        expr=scenarios.expectation(lambda w: (x[w] - lead(w) - follow(w)) ** 2 + lead(w) ** 2 + follow(w) ** 2 / 2)
    )
    m.f.cost = pyo.Objective(expr=scenarios.expectation(lambda w: (follow(w) - x[w]) ** 2 + (lead(w) - 2) ** 2))
    return m, sp.Game(m, followers=m.f)


def test_signals_are_those_of_the_scenario() -> None:
    scenarios = four()
    m, _ = game_of(scenarios, "y", None)
    seen = scenarios.observe(m.u0, [(m.f.u, "y")])
    assert [(var.index(), [s.index() for s in signals]) for var, signals in seen.items()] == [
        (0, ["L"]),
        (1, ["H"]),
        (2, ["L"]),
        (3, ["H"]),
    ]
    weights = scenarios.energy(m.u0)
    assert [weights[m.u0[w]] for w in scenarios] == pytest.approx(WEIGHTS)


def test_a_leader_who_knows_less_has_one_action_per_atom() -> None:
    scenarios = four()
    m, _ = game_of(scenarios, "y", "y")
    seen = scenarios.observe(m.u0, [(m.f.u, "y")], knows="y")
    assert [(var.index(), [s.index() for s in signals]) for var, signals in seen.items()] == [
        ("L", ["L"]),
        ("H", ["H"]),
    ]
    assert list(scenarios.energy(m.u0, knows="y").values()) == pytest.approx([0.53, 0.47])


def test_one_who_sees_nothing_needs_no_index() -> None:
    scenarios = four()
    m = pyo.ConcreteModel()
    m.u0, m.u = pyo.Var(), pyo.Var()
    seen = scenarios.observe(m.u0, [(m.u, "blind")], knows="blind")
    assert list(seen.items()) == [(m.u0, [m.u])]
    assert list(scenarios.energy(m.u0, knows="blind").values()) == pytest.approx([1.0])


def test_a_signal_the_leader_cannot_have() -> None:
    scenarios = four()
    m, _ = game_of(scenarios, "y", "x")
    with pytest.raises(InvalidGame, match=r"f\.u: where x is 1, the leader does not know y \(H, L\)"):
        scenarios.observe(m.u0, [(m.f.u, "y")], knows="x")
    with pytest.raises(InvalidGame, match=r"f\.u: where x is 1, the leader does not know the scenario \(0, 1\)"):
        scenarios.observe(m.u0, [(m.f.u, None)], knows="x")


def test_an_index_that_is_no_atom() -> None:
    scenarios = four()
    m, _ = game_of(scenarios, "y", None)
    with pytest.raises(InvalidGame, match=r"f\.u\[1\]: not in its index; index it by the atoms of x"):
        scenarios.observe(m.u0, [(m.f.u, "x")])
    with pytest.raises(InvalidGame, match=r"u0\[L\]: not in its index; index it by the atoms of y"):
        scenarios.observe(m.u0, [(m.f.u, "y")], knows="y")
    with pytest.raises(InvalidGame, match=r"f\.u\[0\]: not in its index; index it by the scenarios"):
        scenarios.observe(m.u0, [(m.f.u, None)])
    with pytest.raises(InvalidGame, match=r"u0\[L\]: not in its index"):
        scenarios.energy(m.u0, knows="y")
    for signals in ([m.f.u], m.f.u, (m.f.u, "y"), []):
        with pytest.raises(InvalidGame, match="expected a list of pairs"):
            scenarios.observe(m.u0, signals)
    with pytest.raises(InvalidGame, match="z: no observation of that name"):
        scenarios.observe(m.u0, [(m.f.u, "z")])
    with pytest.raises(InvalidGame, match="z: no observation of that name"):
        scenarios.observe(m.u0, [(m.f.u, "y")], knows="z")


def test_impossible_atoms_need_no_answer() -> None:
    scenarios = sp.Scenarios({"x": [0, 1, 2]}, [0.5, 0.0, 0.5])
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var([0, 2])
    m.u = pyo.Var([0, 2])
    assert [v.index() for v in scenarios.observe(m.u0, [(m.u, "x")], knows="x")] == [0, 2]
    assert list(scenarios.energy(m.u0).values()) == [0.5, 0.5]


worlds = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(-3, 3), min_size=n, max_size=n),
        st.lists(st.integers(1, 5), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 1), min_size=4, max_size=4),
    )
)


def world(drawn: Any) -> sp.Scenarios:
    x, weights, seen, merge = drawn
    fine = sp.Scenarios({"x": x}, np.array(weights) / sum(weights), {"fine": seen})
    return fine.coarsened("fine", lambda atom: merge[atom], name="coarse")


@settings(max_examples=drawn(15), deadline=None)
@given(worlds)
def test_what_cannot_be_told_apart_is_treated_alike(drawn: Any) -> None:
    """Plan and best response under the incentive are functions of the observation, the leader's answer of the rest."""
    scenarios = world(drawn)
    m, game = game_of(scenarios, "coarse", None)
    plan = sp.leader_optimal(game)
    x, p = scenarios["x"], scenarios.probability
    for atom in scenarios.atoms("coarse"):
        here = np.array([scenarios.atom("coarse", w) == atom for w in scenarios])
        mean = p[here] @ x[here] / p[here].sum()
        assert plan.value(m.f.u[atom]) == pytest.approx(mean / 2, abs=1e-7)  # as in QG04
        for w in np.flatnonzero(here):
            assert plan.value(m.u0[int(w)]) == pytest.approx((x[w] - mean / 2) / 2, abs=1e-7)


@pytest.mark.slow
@settings(max_examples=drawn(15), deadline=None)
@given(worlds)
def test_merging_atoms_never_helps_the_leader(drawn: Any) -> None:
    scenarios = world(drawn)
    assert scenarios.knows("fine", "coarse")
    for knows in ("fine", "coarse"):
        known, merged = (sp.leader_optimal(game_of(scenarios, sees, knows)[1]) for sees in ("fine", "coarse"))
        assert merged.leader_objective >= known.leader_objective - 1e-8
    least, less = (sp.leader_optimal(game_of(scenarios, "coarse", knows)[1]) for knows in ("fine", "coarse"))
    assert less.leader_objective >= least.leader_objective - 1e-8


def test_the_worst_case_is_an_objective() -> None:
    """min_x max_w (x − a_w)² − less_w: in the middle of the two that count, moved by what they had."""
    types = sp.Scenarios({"a": [0.0, 1.0, 4.0]}, [0.5, 0.5, 0.0])
    for less, middle, level in ((None, 2.0, 4.0), ({0: 0.0, 1: 0.0, 2: 4.0}, 1.5, 2.25)):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(initialize=0.0)
        m.f = pyo.Block()
        m.f.u = pyo.Var(initialize=0.0)
        m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2)
        m.goal = pyo.Objective(expr=types.worst(m, lambda w, m=m: (m.x - types["a"][w]) ** 2, less=less))
        plan = sp.leader_optimal(sp.Game(m, followers=m.f))
        assert plan.value(m.x) == pytest.approx(middle, abs=1e-6)
        assert plan.leader_objective == pytest.approx(level, abs=1e-6)
        assert set(m.worst.cases) == {0, 1, 2}, "a worst case has no weights"


def test_what_a_worst_case_cannot_be() -> None:
    types = sp.Scenarios({"a": [0.0, 1.0]})
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0)
    for less in ([1.0], [0.0, float("nan")], [0.0, 1.0, 2.0], {0: 1.0}, {0: 1.0, 1: "x"}, 3.0):
        with pytest.raises(sp.InvalidGame, match="less: expected one finite number for each of the 2 scenarios"):
            types.worst(m, lambda w: m.x, less=less)
    types.worst(m, lambda w: m.x)
    with pytest.raises(sp.InvalidGame, match=r"has a component named worst; pass worst\(..., name=\) another"):
        types.worst(m, lambda w: m.x)
