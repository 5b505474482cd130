"""Quadratic Gaussian games: closed form, coefficients, quadrature and samples against exact rationals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conftest import CASES, number
from scipy.optimize import minimize

import stackpyomo as sp
from models import quadratic_gaussian as qg
from stackpyomo.errors import InvalidGame

TABLE = CASES["QG01_table"]["expected"]["table"]
OTHERS = [qg.Costs(noise=0.5, r0=2.0, r1=1.5, beta=1.3, theta=0.2, s=0.7), qg.Costs(3.0, 0.4, 0.2, -1.0, 0.5, 2.0)]


def gains(rule: sp.Incentive, n: int) -> np.ndarray:
    """The one gain of each r_i."""
    assert rule.freedom == 0
    return np.array([rule.gain.loc[f"r[{i}]"].dropna().item() for i in range(1, n + 1)])


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2, 5, 10, 100])
def test_qg01(n: int) -> None:
    """k, J0, Q and K to 1e-6, N = 100 without the observations' joint distribution; the same K for every follower."""
    wanted = {name: number(TABLE[str(n)][name]) for name in ("k", "J0", "Q_ocs", "K_opcs")}
    game = qg.build(n)
    plan = sp.leader_optimal(game)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(wanted["J0"], abs=1e-9)
    for i in range(1, n + 1):
        assert plan.value(f"follower[{i}].k") == pytest.approx(wanted["k"], abs=1e-8)
        assert plan.value(f"r[{i}]") == pytest.approx(-wanted["k"] / n / 2, abs=1e-8)
    assert plan.value("p") == pytest.approx(0.5, abs=1e-8)
    for average, name in ((False, "Q_ocs"), (True, "K_opcs")):
        rule = sp.affine_incentive(plan, qg.observed(game, average=average))
        np.testing.assert_allclose(gains(rule, n), wanted[name], rtol=0, atol=1e-6)
        report = sp.verify(rule)
        assert report.ok
        assert (report.certificate == "convex").all()
    assert sp.verify(plan).epsilon > 0.05, "without an incentive they leave it"


@pytest.mark.parametrize("n", [1, 2, 5, 10, 100])
def test_closed_form_is_the_published_table(n: int) -> None:
    found = qg.closed_form(n)
    names = ("k", "J0", "Q_ocs", "K_opcs")
    assert found == pytest.approx([number(TABLE[str(n)][name]) for name in names], abs=1e-12)
    assert found.k == pytest.approx(n / (3 * n + 1))
    assert found.average_gain == pytest.approx(n + 1)


def expected_costs(z: np.ndarray, n: int, c: qg.Costs) -> tuple[float, list[float]]:
    """(J0, each J_i) of linear strategies z = (p, r, k), from the covariance matrix of (x, y_1 … y_n)."""
    covariance = np.ones((n + 1, n + 1)) + c.noise * np.diag([0.0] + [1.0] * n)

    def square(v: Any) -> float:
        return float(np.asarray(v) @ covariance @ np.asarray(v))

    x, y = np.eye(n + 1)[0], np.eye(n + 1)[1:]
    p, r, k = z[0], z[1 : n + 1], z[n + 1 :]
    u0, u = p * x + r @ y, k[:, np.newaxis] * y
    mean = u.mean(axis=0)
    lead = square(x - u0 - mean) + c.r0 * square(u0) + c.r1 * np.mean([square(v) for v in u])
    return lead, [square(v - c.beta * x) + c.s * square(u0 - c.theta * x) for v in u]


@pytest.mark.parametrize("costs", [qg.Costs(), *OTHERS])
@pytest.mark.parametrize("n", [1, 3])
def test_any_costs_against_the_covariance_matrix(n: int, costs: qg.Costs) -> None:
    """Plan by BFGS on matrix costs; gain by a scan of a follower's coefficient with the leader answering."""
    best = minimize(
        lambda z: expected_costs(z, n, costs)[0], np.zeros(2 * n + 1), method="BFGS", options={"gtol": 1e-10}
    )
    game = qg.build(n, **costs._asdict())
    plan = sp.leader_optimal(game)
    found = np.array([plan.value("p"), *(plan.value(f"r[{i}]") for i in range(1, n + 1))])
    k = np.array([plan.value(f"follower[{i}].k") for i in range(1, n + 1)])
    z = np.concatenate([found, k])
    assert plan.leader_objective == pytest.approx(best.fun, abs=1e-8)
    np.testing.assert_allclose(z, best.x, atol=1e-5)
    lead, each = expected_costs(z, n, costs)
    assert plan.leader_objective == pytest.approx(lead, abs=1e-10)
    assert list(plan.follower_objectives.values()) == pytest.approx(each, abs=1e-10)
    wanted = qg.closed_form(n, costs)
    np.testing.assert_allclose(k, wanted.k, atol=1e-7)
    for average in (False, True):
        gain = gains(sp.affine_incentive(plan, qg.observed(game, average=average)), n)
        np.testing.assert_allclose(gain, wanted.average_gain if average else wanted.gain, rtol=1e-6)
        per_action = gain[0] / n if average else gain[0]

        def deviating(d: float, q: float = per_action) -> float:
            moved = z.copy()
            moved[n + 1] += d
            moved[1] += q * d
            return expected_costs(moved, n, costs)[1][0]

        steps = np.linspace(-2, 2, 4001)
        assert min(map(deviating, steps)) >= deviating(0.0) - 1e-12


@pytest.mark.parametrize("costs", [qg.Costs(), *OTHERS])
@pytest.mark.parametrize(("n", "nodes"), [(1, 2), (2, 2), (2, 3), (2, 5), (2, 7), (3, 2), (3, 3)])
def test_followers_in_atoms(n: int, nodes: int, costs: qg.Costs) -> None:
    """No linearity put in: k y at every atom, J0 = ρ(1 − k_N), and the gain of least energy makes an incentive."""
    game, scenarios = qg.in_atoms(nodes, costs, n)
    assert game.check() == []
    m, wanted = game.model, qg.closed_form(n, costs)
    plan = sp.leader_optimal(game)
    assert plan.leader_objective == pytest.approx(wanted.cost, abs=1e-9)
    for i in m.follower:
        for y in scenarios.atoms(f"y{i}"):
            assert plan.value(m.follower[i].u[y]) == pytest.approx(wanted.k * y, abs=1e-7)
    signals = [(m.follower[i].u, f"y{i}") for i in m.follower]
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, signals), energy=scenarios.energy(m.u0))
    report = sp.verify(rule)
    assert report.ok
    assert (report.certificate == "convex").all()
    # Q everywhere would be another incentive; the least energy is no more than its Q² for each follower.
    assert 0 < rule.energy <= n * wanted.gain**2 * (1 + 1e-6)


def test_atoms_have_the_moments_of_the_pair() -> None:
    scenarios = qg.in_atoms(4)[1]
    values = np.stack([scenarios[name] for name in ("x", "y1", "y2")])
    np.testing.assert_allclose(values @ scenarios.probability, 0, atol=1e-12)
    covariance = np.einsum("w,iw,jw->ij", scenarios.probability, values, values)
    np.testing.assert_allclose(covariance, [[1, 1, 1], [1, 2, 1], [1, 1, 2]], atol=1e-10)
    assert not scenarios.knows("y1", "y2")


@pytest.mark.slow
def test_quadrature_is_exact_and_samples_converge_at_their_rate() -> None:
    """Two nodes are enough; samples come as the root of their number."""
    table = qg.convergence(nodes=(2, 3, 7), samples=(25, 225), seeds=12).set_index(["method", "size"])
    quadrature, samples = table.loc["quadrature"], table.loc["samples"]
    assert (quadrature["error"] < 1e-9).all()
    assert samples["rate"].iloc[-1] == pytest.approx(-0.5, abs=0.2)
    assert samples["error"].iloc[-1] > 1e-3


@pytest.mark.parametrize(
    "bad", [{"n": 0}, {"n": 2.5}, {"n": True}, {"noise": -1.0}, {"r0": 0.0}, {"s": math.nan}, {"beta": math.inf}]
)
def test_bad_parameters(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidGame, match="quadratic_gaussian"):
        qg.build(**bad)


def test_main_prints_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qg, "SIZES", (1, 2))
    monkeypatch.setattr(qg, "convergence", lambda: qg.pd.DataFrame({"method": ["quadrature"]}))
    with pytest.raises(SystemExit) as ended:
        qg.main()
    assert ended.value.code == 0
    assert "1.500000" in capsys.readouterr().out
