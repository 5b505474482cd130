"""Revelations: atoms that tell more than what they stand for, and observations that hardly happen."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.gaussian_games import private

import stackpyomo as sp
from models.storage_contract import shocks
from stackpyomo.errors import InvalidGame


def noisy(kind: str, show: Any) -> sp.Scenarios:
    """A state, a noise and an observation of both, on a product grid or in samples."""
    if kind == "grid":
        return sp.Scenarios.gauss_hermite(["x", "w"], 4, covariance=np.diag([1.0, 0.5]), observations={"y": show})

    def draw(generator: np.random.Generator, size: int) -> dict[str, Any]:
        return {"x": generator.normal(size=size), "w": generator.normal(size=size)}

    return sp.Scenarios.from_samples(draw, 60, seed=3, observations={"y": show})


def decided_by(scenarios: sp.Scenarios, observation: str) -> sp.Game:
    m = pyo.ConcreteModel()
    m.f = pyo.Block()
    m.f.u = pyo.Var(scenarios.atoms(observation), initialize=0.0)
    m.f.cost = pyo.Objective(expr=sum(u**2 for u in m.f.u.values()))
    m.goal = pyo.Objective(expr=sum((u - 1) ** 2 for u in m.f.u.values()))
    return sp.Game(m, m.f)


def findings_of(scenarios: sp.Scenarios, observation: str) -> list[Any]:
    return decided_by(scenarios, observation).check()


@pytest.mark.parametrize("kind", ["grid", "samples"])
@pytest.mark.parametrize(
    "show", [lambda r: r["x"] + r["w"], lambda r: r["x"] * math.exp(r["w"]), lambda r: (r["x"] + r["w"], 3.0)]
)
def test_a_sum_that_tells_its_parts_is_named(kind: str, show: Any, caplog: pytest.LogCaptureFixture) -> None:
    scenarios = noisy(kind, show)
    assert not caplog.records, "nothing is wrong before somebody decides by it"
    found = findings_of(scenarios, "y")
    assert [(f.severity, f.component) for f in found] == [("warning", "f.u")]
    assert "observing y tells x" in found[0].message
    assert "scenarios.policy(block, 'y')" in found[0].remedy
    assert [r.levelno for r in caplog.records] == [logging.WARNING], "once, however often it is asked for"
    assert "observing y tells x" in caplog.text


def test_the_leader_is_named_too() -> None:
    scenarios = noisy("grid", lambda r: r["x"] + r["w"])
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var([1, 2], scenarios.atoms("y"), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u**2)
    m.goal = pyo.Objective(expr=sum((u - 1) ** 2 for u in m.u0.values()) + m.f.u**2)
    assert [f.component for f in sp.Game(m, m.f).check()] == ["u0"]


BOTH = [["x", "w"], lambda r: (2.0 * r["x"], math.exp(r["w"])), lambda r: round(r["x"] + r["w"]), lambda r: "all"]


STATE = ["x", lambda r: 2.0 * r["x"] - 1.0, lambda r: math.exp(r["x"]), lambda r: r["x"] > 0.5]


@pytest.mark.parametrize(
    ("kind", "show"), [("grid", what) for what in [*BOTH, *STATE]] + [("samples", what) for what in BOTH]
)
def test_what_is_meant_is_not_named(kind: str, show: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert findings_of(noisy(kind, show), "y") == []
    assert not caplog.records


@pytest.mark.parametrize(("show", "named"), [(lambda r: r["x"] + r["w"], True), (STATE[1], False)])
def test_who_knows_more_than_it_observes_is_told_beside_the_verdict(show: Any, named: bool) -> None:
    """The plan holds in the game as it is written; that this is one of full information stands under the verdict."""
    report = sp.verify(sp.Plan.from_values(decided_by(noisy("grid", show), "y")))
    assert report.ok
    assert any("decided with full information" in line for line in report.warnings) == named
    assert ("full information" in str(report)) == named


@pytest.mark.parametrize(("probability", "named"), [(1e-20, True), (1e-300, True), (1e-12, False), (0.0, False)])
def test_what_is_too_seldom_to_count_is_named(probability: float, named: bool) -> None:
    """1e-20 beside 1 is nothing to a sum of floats: whatever is decided there, the expected cost is the same."""
    scenarios = sp.Scenarios({"y": ["often", "never"]}, [1.0 - probability, probability])
    (text,) = [str(f) for f in findings_of(scenarios, "y")] or [""]
    assert ("y = never is so improbable" in text) == named
    report = sp.verify(sp.Plan.from_values(decided_by(scenarios, "y")))
    assert any("y = never" in line for line in report.warnings) == named


def test_a_sample_of_the_state_tells_the_noise_and_not_more() -> None:
    """Each drawn x comes with one w: who decides by it knows w, too; that 2x or exp(x) tells x is meant."""
    for show in STATE[:3]:
        (found,) = findings_of(noisy("samples", show), "y")
        assert "observing y tells w exactly" in found.message


def test_finite_information_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Rows that the user wrote down, histories of shocks, and grids from the observations inwards."""
    written = sp.Scenarios({"x": [1.0, 2.0, 4.0], "y": [0.5, 0.1, 0.3]}, [0.2, 0.3, 0.5])
    assert findings_of(written, "y") == []
    history = shocks(3, -0.5, 1.0, 0.4)
    assert findings_of(history, "h3") == []
    inwards = private(2, 3, 0.5)
    assert findings_of(inwards, "y1") == []
    first = sp.Scenarios.gauss_hermite(["y", "x"], 3, covariance=[[2.0, 0.7], [0.7, 1.0]])
    assert findings_of(first, "y") == []
    assert not caplog.records
    assert len(findings_of(first, "x")) == 1, "the second name of a Cholesky grid knows the first"


def test_what_cannot_happen_is_no_ignorance() -> None:
    """y tells x in every scenario that can happen."""
    scenarios = sp.Scenarios({"x": [0, 1, 0, 1], "y": ["a", "b", "b", "a"]}, [0.5, 0.5, 0.0, 0.0])
    assert scenarios.knows("y", "x")
    assert not sp.Scenarios({"x": [0, 1, 0, 1], "y": ["a", "b", "b", "a"]}).knows("y", "x")
    m = pyo.ConcreteModel()
    m.fee, m.u = pyo.Var(["a", "b"]), pyo.Var([0, 1])
    seen = scenarios.observe(m.fee, [(m.u, "x")], knows="y")
    assert [(var.index(), [s.index() for s in signals]) for var, signals in seen.items()] == [("a", [0]), ("b", [1])]


@pytest.mark.parametrize("chance", [1e-3, 1e-9, 1e-12, 1e-20, 1e-300])
def test_a_regret_is_what_it_is_however_rare_the_observation(chance: float) -> None:
    """(u − 1)² + K(u − 0.3) u from the plan u = 0.3: 0.49 without an answer, 0 with K = 14/3."""
    scenarios = sp.Scenarios({"y": ["often", "rarely"]}, [1 - chance, chance])
    m = pyo.ConcreteModel()
    m.fee = pyo.Var(scenarios.atoms("y"), initialize=0.0)
    m.o = pyo.Block()
    m.o.u = pyo.Var(scenarios.atoms("y"), initialize=0.0)

    def cost(w: int) -> Any:
        y = scenarios.atom("y", w)
        return (m.o.u[y] - 1) ** 2 + m.fee[y] * m.o.u[y]

    m.o.cost = pyo.Objective(expr=scenarios.expectation(cost))
    m.goal = pyo.Objective(expr=sum((u - 0.3) ** 2 for u in m.o.u.values()) + sum(t**2 for t in m.fee.values()))
    plan = sp.leader_optimal(sp.Game(m, m.o))
    report = sp.verify(plan)
    assert report.scale["o"] < 1.0, "what is hardly weighed has no natural unit of any size"
    assert not report.ok
    table = sp.conditional_regret(plan, scenarios, {"o.u": "y"})
    assert table["regret"].tolist() == pytest.approx([0.49, 0.49], abs=1e-6)
    assert table["certificate"].tolist() == ["convex", "convex"]


def test_one_value_cannot_answer_what_is_seen_only_sometimes() -> None:
    scenarios = sp.Scenarios({"f": ["a", "b"]})
    m = pyo.ConcreteModel()
    m.fee, m.u, m.v = pyo.Var(), pyo.Var(["a", "b"]), pyo.Var()
    for knows, index in ((None, "the scenarios"), ("f", "f")):
        with pytest.raises(InvalidGame, match=rf"fee: has one value .* realised \(u\[b\], say\)\. Index it by {index}"):
            scenarios.observe(m.fee, [(m.u, "f")], knows=knows)
        assert list(scenarios.observe(m.fee, [(m.v, "f")], knows=knows).items()) == [(m.fee, [m.v])]
        assert list(scenarios.energy(m.fee, knows=knows).values()) == pytest.approx([1.0])
