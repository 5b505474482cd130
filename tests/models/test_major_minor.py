"""Leader, major and minors: both optima and both gains against exact figures, scipy roots and covariance algebra."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import brentq, minimize_scalar, root

import stackpyomo as sp
from models import major_minor

INF = math.inf
GAUSSIAN = {
    # size: leader-optimal, leader-major-optimal, gap, kM, k, Q, u0's gain on ȳ (on x at ∞); this project's case MM04
    1: (6.81818181818, 7.24330900243, 0.425127184251, 2.98783454988, 0.442822384428, -6.38108882521, -0.150851581509),
    2: (6.25, 6.84304932735, 0.593049327354, 2.86098654709, 0.605381165919, -6.71186440678, -0.206278026906),
    5: (5.64516129032, 6.42192497819, 0.776763687869, 2.72753707473, 0.776388485025, -7.11387900356, -0.264611805757),
    10: (5.35714285714, 6.22316085885, 0.86601800171, 2.66455473425, 0.857092573038, -7.32670313277, -0.292150651179),
    100: (5.0395256917, 6.00527953018, 0.96575383848, 2.59551739608, 0.945552585864, -7.57991823211, -0.32234264002),
    1000: (5.00399520575, 5.98099092421, 0.97699571846, 2.58782153884, 0.955413384121, -7.60955364082, -0.325708615251),
    INF: (5.0, 5.97826086957, 0.978260869565, 2.58695652174, 0.95652173913, -7.61290322581, -0.326086956522),
}
EXPONENTIAL = {
    # size: u0, uM, u, leader-major-optimal, Q; this project's case MM06
    2: (-0.333632775710619, 2.07427293274342, 0.718662198307792, 3.66448328561619, -4.80740729235457),
    10: (-0.342627558611559, 2.00419252732379, 0.819025842150867, 3.45248214238405, -4.84536799721217),
    100: (-0.343583488085477, 1.98718374661014, 0.844032638049448, 3.40011251185104, -4.84703772740677),
    INF: (-0.343660713773382, 1.98526651735592, 0.846867566939598, 3.39418718226386, -4.84703478045836),
}
MARGINAL: dict[str, Callable[[float], float]] = {
    "quadratic": lambda u: u,
    "quartic": lambda u: u**3 + u,
    "exponential": math.exp,
}
COST: dict[str, Callable[[float], float]] = {
    "quadratic": lambda u: u**2 / 2,
    "quartic": lambda u: u**4 / 4 + u**2 / 2,
    "exponential": math.exp,
}


def led(kind: str, size: float, **parameters: float) -> tuple[sp.Plan, sp.Incentive]:
    """The leader-major-optimal plan and its frozen gain. SCIP proves what is quadratic, and takes long elsewhere."""
    game = major_minor.build(kind, size, **parameters)
    solver = "auto" if kind in ("quadratic", "gaussian") else "pounce"
    plan = sp.leader_optimal(game, responding=major_minor.MINORS, solver=solver)
    return plan, sp.affine_incentive(plan, major_minor.observed(game))


@pytest.mark.parametrize("size", GAUSSIAN)
def test_quadratic_gaussian_game(size: float) -> None:
    best, cost, gap, major, minor, gain, on_mean = GAUSSIAN[size]
    plan, rule = led("gaussian", size)
    team = sp.leader_optimal(plan.game)
    assert team.leader_objective == pytest.approx(best, abs=1e-6)
    assert plan.leader_objective == pytest.approx(cost, abs=1e-6)
    assert plan.leader_objective - team.leader_objective == pytest.approx(gap, abs=1e-6)
    assert plan.value("major.k") == pytest.approx(major, abs=1e-6)
    assert plan.value("minor.k") == pytest.approx(minor, abs=1e-6)
    assert rule.gain.loc["p", "major.k"] == pytest.approx(gain, abs=1e-6)
    x, mean = plan.value("p"), plan.value("q")
    assert (mean if math.isfinite(size) else x) == pytest.approx(on_mean, abs=1e-6)
    if math.isfinite(size):
        assert x == pytest.approx(0, abs=1e-6), "the leader needs no more than the average of what the minors see"
    assert plan.quality == "optimal"
    report = sp.verify(rule)
    assert report.ok
    assert set(report.certificate) == {"convex"}


class Normal:
    """x and y_1 … y_N: a strategy is its weights on (x, w_1 … w_N), an expected product a dot product."""

    def __init__(self, size: int) -> None:
        self.x = np.eye(size + 1)[0]
        self.y = self.x + np.eye(size + 1)[1:]

    def costs(self, p: float, q: float, big: float, k: np.ndarray) -> tuple[float, float, float]:
        """Expected costs of the leader, the major and the first minor."""
        minors = k[:, np.newaxis] * self.y
        mean, x, major = minors.mean(axis=0), self.x, big * self.x
        u0, first = p * x + q * self.y.mean(axis=0), minors[0]

        def square(v: np.ndarray) -> float:
            return float(v @ v)

        leader = square(u0) / 2 + square(major) / 2 + square(mean + major - 5 * x) + np.sum(minors**2) / len(k) / 4
        pulled = square(major) / 2 + square(u0 + x) / 2 + square(major + mean - x) / 2
        return leader, pulled, square(first) / 2 - float(first @ (4 * x - mean - u0 / 2 - major / 2))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_expected_costs_are_those_of_the_covariances(size: int) -> None:
    """The moments written out in the model against (x, w) as orthonormal vectors."""
    game = major_minor.build("gaussian", size)
    m, random = game.model, np.random.default_rng(size)
    for _ in range(5):
        p, q, big, k = random.normal(size=4)
        for var, value in ((m.p, p), (m.q, q), (m.major.k, big), (m.minor.k, k), (m.mean, k)):
            var.set_value(value)
        expected = Normal(size).costs(p, q, big, np.full(size, k))
        found = [pyo.value(o) for o in (m.goal, m.major.cost, m.minor.cost)]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_no_minor_and_no_major_has_a_better_strategy(size: int) -> None:
    """One minor's k_i moves the average by 1/N; the major moves u0 with the announced gain. Searched, not derived."""
    plan, rule = led("gaussian", size)
    normal, gain = Normal(size), rule.gain.loc["p", "major.k"]
    p, q, big, k = (plan.value(name) for name in ("p", "q", "major.k", "minor.k"))

    def of_minor(own: float) -> float:
        return normal.costs(p, q, big, np.append(own, np.full(size - 1, k)))[2]

    def of_major(own: float) -> float:
        return normal.costs(p + gain * (own - big), q, own, np.full(size, k))[1]

    options = {"bounds": (-3, 6), "method": "bounded", "options": {"xatol": 1e-11}}
    assert minimize_scalar(of_minor, **options).x == pytest.approx(k, abs=1e-6)
    assert minimize_scalar(of_major, **options).x == pytest.approx(big, abs=1e-6)


@pytest.mark.parametrize(("planned", "size"), [(10, 10), (INF, 10), (INF, 10**6)])
def test_real_minors_who_see_something_random(planned: float, size: int) -> None:
    """Sampled x and y_i: costs are the expected ones, of the N-game's plan and of the mean-field plan alike."""
    plan, _ = led("gaussian", planned)
    table = major_minor.sampled(plan, size, draws=4000 if size <= 10 else 60, seed=3)
    p, q, big, k = (plan.value(name) for name in ("p", "q", "major.k", "minor.k"))
    # At 10⁶ minors the expected costs are those of N = ∞ but for 1e-6.
    wanted = Normal(10).costs(p, q, big, np.full(10, k)) if size == 10 else (plan.leader_objective, *plan_costs(plan))
    for column, cost in zip(table.columns, wanted, strict=True):
        assert table[column].mean() == pytest.approx(cost, abs=4 * table[column].sem())
    assert table.equals(major_minor.sampled(plan, size, draws=len(table), seed=3))


def plan_costs(plan: sp.Plan) -> list[float]:
    return [plan.follower_objectives[name] for name in ("major", "minor")]


@pytest.mark.parametrize("kind", ["quadratic", "gaussian"])
@pytest.mark.parametrize("size", [2, 20])
def test_written_out_minors_are_the_same_game(kind: str, size: int) -> None:
    plan, rule = led(kind, size)
    game = plan.game.expand()
    minors = [name for name in game.followers if name != "major"]
    assert len(minors) == size
    other = sp.leader_optimal(game, responding=minors, solver="pounce")
    answer = sp.affine_incentive(other, major_minor.observed(game))
    assert other.leader_objective == pytest.approx(plan.leader_objective, abs=1e-6)
    assert answer.gain.iloc[0, 0] == pytest.approx(rule.gain.iloc[0, 0], abs=1e-6)
    assert sp.verify(answer).epsilon <= 1e-8


@pytest.mark.parametrize("size", EXPONENTIAL)
def test_exponential_minors(size: float) -> None:
    tool, major, minor, cost, gain = EXPONENTIAL[size]
    plan, rule = led("exponential", size)
    found = [plan.value(name) for name in ("u0", "major.u", "minor.u")]
    np.testing.assert_allclose(found, [tool, major, minor], atol=1e-6)
    assert plan.leader_objective == pytest.approx(cost, abs=1e-6)
    assert rule.gain.iloc[0, 0] == pytest.approx(gain, abs=1e-6)
    assert sp.leader_optimal(plan.game).leader_objective == pytest.approx(0, abs=1e-6)
    assert sp.verify(rule).ok


def quartic_root(size: float) -> np.ndarray:
    """u0, uM, u and the multiplier of u³ + u = 4 − (1 + 1/N) u − u0/2 − uM/2, from the leader's Lagrangian."""
    slope = 1 + 1 / size

    def conditions(point: np.ndarray) -> list[float]:
        u0, major, u, force = point
        return [
            u0 + force / 2,
            major + 2 * (u + major - 5) + force / 2,
            2 * (u + major - 5) + u / 2 + force * (3 * u**2 + 1 + slope),
            u**3 + u + slope * u + u0 / 2 + major / 2 - 4,
        ]

    found = root(conditions, [0.0, 2.0, 1.0, 0.5], tol=1e-13)
    assert found.success
    return np.asarray(found.x)


@pytest.mark.parametrize("size", [2, 10, 100, INF])
def test_quartic_minors(size: float) -> None:
    """Minors u⁴/4 + u²/2 with the leader and the major of the quadratic game: an independent root."""
    u0, major, u, _ = quartic_root(size)
    plan, rule = led("quartic", size)
    found = [plan.value(name) for name in ("u0", "major.u", "minor.u")]
    np.testing.assert_allclose(found, [u0, major, u], atol=1e-7)
    assert rule.gain.iloc[0, 0] == pytest.approx(-(major + (major + u - 1)) / (u0 + 1), rel=1e-7)
    assert sp.verify(rule).ok


@pytest.mark.parametrize("kind", MARGINAL)
@pytest.mark.parametrize("size", [1, 3, 40])
def test_minors_are_at_their_equilibrium(kind: str, size: int) -> None:
    """Best response of one of N minors, its own part in the average included: a search and a marginal cost."""
    plan, _ = led(kind, size)
    u0, major, u = (plan.value(name) for name in ("u0", "major.u", "minor.u"))

    def cost(own: float) -> float:
        mean = ((size - 1) * u + own) / size
        return COST[kind](own) - own * (4 - mean - u0 / 2 - major / 2)

    found = minimize_scalar(cost, bounds=(-5, 5), method="bounded", options={"xatol": 1e-11})
    assert found.x == pytest.approx(u, abs=1e-6)
    assert MARGINAL[kind](u) == pytest.approx(4 - (1 + 1 / size) * u - u0 / 2 - major / 2, abs=1e-7)


@pytest.mark.parametrize("kind", major_minor.KINDS)
def test_mean_field_stackelberg_game(kind: str) -> None:
    """At N = ∞ nobody leaves, and the minors settle where the plan has them when they are let go."""
    plan, rule = led(kind, INF)
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-9
    own = f"minor.{'k' if kind == 'gaussian' else 'u'}"
    assert sp.settled(rule, solver="pounce").value(own) == pytest.approx(plan.value(own), abs=1e-7)
    # The limit of finite games, not another game.
    near, close = led(kind, 10**6)
    assert near.leader_objective == pytest.approx(plan.leader_objective, abs=1e-5)
    assert close.gain.iloc[0, 0] == pytest.approx(rule.gain.iloc[0, 0], abs=1e-4)


def test_the_gain_is_bounded_with_a_major_and_grows_without() -> None:
    held, free = major_minor.growth([10, 100, 1000])
    assert held.attrs["verdict"].startswith("bounded")
    assert held["average_gain"].iloc[-1] == pytest.approx(184 / 21, rel=1e-7)
    assert held["average_gain"].max() <= 9
    assert held.attrs["exponent"] == pytest.approx(0, abs=0.02)
    assert free.attrs["verdict"].startswith("ill-posed")
    assert free.attrs["exponent"] == pytest.approx(1, abs=0.03)
    # K_N = −(N (u − (4 − ū − u0/2)) + u) / (u0 + 1 + u/2) at the leader's optimum u0 = 0, u = 4
    np.testing.assert_allclose(free["average_gain"], (4 * free["size"] + 4) / 3, rtol=1e-6)


@pytest.mark.parametrize("kind", ["quadratic", "gaussian", "exponential"])
def test_each_reading_is_right_for_its_own_minors_only(kind: str) -> None:
    """Minors who settle anew after the major, against minors who stay at the plan."""
    plan, frozen = led(kind, 10)
    respond = sp.affine_incentive(plan, major_minor.observed(plan.game), minors="respond")
    solver = "pounce" if kind == "exponential" else "auto"
    assert sp.verify(frozen).ok
    assert sp.anticipated_regret(respond, "major", solver=solver)["regret"] == pytest.approx(0, abs=1e-8)
    assert sp.anticipated_regret(frozen, "major", solver=solver)["regret"] > 1e-3
    assert not sp.verify(respond).ok


@pytest.mark.slow
def test_the_responding_gain_passes_through_infinity() -> None:
    """b' = u0 + 1 + S (uM + u − 1), S = −½/(1 + e), is 0 at some coupling e: refused there, huge around it."""

    def denominator(e: float) -> float:
        plan, _ = led("quadratic", INF, coupling=e)
        u0, major, u = (plan.value(name) for name in ("u0", "major.u", "minor.u"))
        return u0 + 1 - 0.5 / (1 + e) * (major + u - 1)

    zero = brentq(denominator, 1, 2, xtol=1e-14)
    plan, _ = led("quadratic", INF, coupling=zero)
    with pytest.raises(sp.NoIncentive, match="major: zero gradient"):
        sp.affine_incentive(plan, ["major.u"], minors="respond")
    assert sp.verify(sp.affine_incentive(plan, ["major.u"])).ok, "the frozen gain does not know"
    table = major_minor.over_couplings(couplings=(zero - 0.01, zero + 0.01))
    assert table["responding_gain"].iloc[0] > 100
    assert table["responding_gain"].iloc[1] < -100


def test_the_optima_meet_where_the_wish_is_an_equilibrium() -> None:
    """At e = 0.15 the leader's u0 = 0, uM = 10/7, u = 20/7 solves u (1 + e) = 4 − uM/2."""
    table = major_minor.over_couplings(couplings=(0.0, 0.15, 1.0)).set_index("coupling")
    np.testing.assert_allclose(table["leader_optimal"], 25 / 7, rtol=1e-8)
    assert table.loc[0.15, "gap"] == pytest.approx(0, abs=1e-8)
    assert table.loc[1.0, "leader_major_optimal"] == pytest.approx(177 / 38, rel=1e-8)
    assert (table["gap"] >= -1e-9).all()
    assert table[["frozen_regret", "responding_regret"]].to_numpy().max() <= 1e-8


@pytest.mark.parametrize(
    ("bad", "said"),
    [({"kind": "cubic"}, "choose one of"), ({"size": 0}, "expected size"), ({"coupling": -1.0}, "coupling ≥ 0")],
)
def test_bad_parameters(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(sp.InvalidGame, match=said):
        major_minor.build(**bad)


@pytest.mark.slow
def test_demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    table = major_minor.over_sizes("quadratic", (2, INF))
    monkeypatch.setattr(major_minor, "KINDS", ("quadratic",))
    monkeypatch.setattr(major_minor, "over_sizes", lambda kind: table)
    monkeypatch.setattr(major_minor, "over_couplings", lambda: table[:1].rename(columns={"size": "coupling"}))
    with pytest.raises(SystemExit) as left:
        major_minor.main(["--plot", str(tmp_path / "optima.png")])
    assert left.value.code == 0
    assert (tmp_path / "optima.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    for figure in ("3.571429", "5.278689", "4.657895", "-8.7619"):
        assert figure in printed
    assert "bounded" in printed
    assert "ill-posed" in printed
