"""The oligopoly of Murphy, Sherali and Soyster: published profits, and an oracle that knows neither KKT nor Pyomo."""

from __future__ import annotations

import pytest
from conftest import NLP
from scipy.optimize import brentq, minimize_scalar

import stackpyomo as sp
from models import oligopoly
from stackpyomo.errors import InvalidGame

UNIT_COST, BETA, K = (10.0, 8.0, 6.0, 4.0, 2.0), (1.2, 1.1, 1.0, 0.9, 0.8), 5.0
MSS = {  # γ: (leader's profit), a comment in GAMS's mss.gms, "upper prod. bound = 150"
    1.0: 343.3453,
    1.1: 203.1551,
    1.3: 68.1356,
    1.5: 19.1540,
    1.7: 3.1612,
}
MACMPEC = {  # (γ, bound): minus the optimal value in MacMPEC's list, six digits; gnash10 … gnash14, gnash15 … gnash19
    (1.0, 150.0): 230.823,
    (1.1, 150.0): 129.912,
    (1.3, 150.0): 36.9331,
    (1.5, 150.0): 7.06178,
    (1.7, 150.0): 0.179046,
    (1.0, 50.0): 354.699,
    (1.1, 40.0): 241.442,
    (1.3, 30.0): 90.7491,
    (1.5, 25.0): 25.6982,
    (1.7, 20.0): 6.11671,
}
GAMES = [("mss", g, 150.0) for g in MSS] + [("gnash1", *key) for key in MACMPEC]
TREATMENTS = [sp.Scholtes(), sp.FischerBurmeister(), sp.Penalty()]


def price(total: float, gamma: float) -> float:
    return (5000.0 / total) ** (1 / gamma)


def marginal_cost(i: int, q: float, variant: str) -> float:
    if variant == "gnash1" and i > 0:
        return UNIT_COST[i] + K ** (-1 / BETA[i]) * q
    return UNIT_COST[i] + (q / K) ** (1 / BETA[i])


def answer(i: int, total: float, gamma: float, bound: float, variant: str) -> float:
    """What firm i sells in an equilibrium with that total: marginal revenue p (1 − q/(γ Q)) meets marginal cost."""

    def margin(q: float) -> float:
        return price(total, gamma) * (1 - q / (gamma * total)) - marginal_cost(i, q, variant)

    if margin(0.0) <= 0:
        return 0.0
    return bound if margin(bound) >= 0 else brentq(margin, 0.0, bound, xtol=1e-14)


def total_output(quantity: float, gamma: float, bound: float, variant: str, firms: range = range(1, 5)) -> float:
    """The total at which the firms' answers and ``quantity`` add up to it."""

    def excess(total: float) -> float:
        return quantity + sum(answer(i, total, gamma, bound, variant) for i in firms) - total

    return brentq(excess, max(quantity, 1e-3), quantity + len(firms) * bound + 1.0, xtol=1e-13)


def leader_profit(quantity: float, gamma: float, bound: float, variant: str) -> float:
    cost = UNIT_COST[0] * quantity + BETA[0] / (1 + BETA[0]) * K ** (-1 / BETA[0]) * quantity ** (1 + 1 / BETA[0])
    return quantity * price(total_output(quantity, gamma, bound, variant), gamma) - cost


def best_quantity(gamma: float, bound: float, variant: str) -> float:
    """A grid over all outputs, then Brent's method around its best point."""
    grid = [bound * k / 60 for k in range(61)]
    profits = [leader_profit(q, gamma, bound, variant) for q in grid]
    best = max(range(61), key=profits.__getitem__)
    around = grid[max(best - 1, 0)], grid[min(best + 1, 60)]
    found = minimize_scalar(
        lambda q: -leader_profit(q, gamma, bound, variant), bounds=around, method="bounded", options={"xatol": 1e-9}
    ).x
    return max([found, *around], key=lambda q: leader_profit(q, gamma, bound, variant))


@pytest.fixture(scope="module")
def oracle() -> dict[tuple[str, float, float], float]:
    """(variant, γ, bound) → the leader's best output."""
    return {(v, g, b): best_quantity(g, b, v) for v, g, b in GAMES}


def test_oracle_confirms_all_published_profits(oracle: dict[tuple[str, float, float], float]) -> None:
    for (variant, gamma, bound), quantity in oracle.items():
        profit = leader_profit(quantity, gamma, bound, variant)
        if variant == "mss":
            assert profit == pytest.approx(MSS[gamma], abs=1e-4)
        else:
            assert profit == pytest.approx(MACMPEC[gamma, bound], rel=3e-6)


def test_published_figures_of_the_model_are_these() -> None:
    both = {("mss", g, 150.0): v for g, v in MSS.items()} | {("gnash1", *key): v for key, v in MACMPEC.items()}
    assert both == oligopoly.PUBLISHED


@pytest.mark.parametrize(("variant", "gamma", "bound"), GAMES)
def test_leader_earns_what_is_published(variant: str, gamma: float, bound: float, oracle: dict) -> None:
    plan = sp.stackelberg(oligopoly.build(gamma, bound, variant), solver="pounce")
    published = oligopoly.PUBLISHED[variant, gamma, bound]
    assert plan.leader_objective == pytest.approx(published, **({"abs": 1e-4} if variant == "mss" else {"rel": 3e-6}))
    quantity = oracle[variant, gamma, bound]
    assert plan.leader_objective == pytest.approx(leader_profit(quantity, gamma, bound, variant), abs=1e-7)
    assert plan.value("quantity") == pytest.approx(quantity, abs=1e-4)
    total = total_output(plan.value("quantity"), gamma, bound, variant)
    for i in range(1, 5):
        wanted = answer(i, total, gamma, bound, variant)
        assert plan.value(f"firm[{i + 1}].quantity") == pytest.approx(wanted, abs=1e-6)
    report = sp.verify(plan)
    assert report.ok
    assert report.epsilon <= 1e-6


@pytest.mark.parametrize("solver", NLP)
@pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda t: t.name)
@pytest.mark.parametrize(
    ("variant", "gamma", "bound"), [("mss", 1.0, 150.0), ("mss", 1.7, 150.0), ("gnash1", 1.1, 40.0)]
)
def test_solvers_and_treatments_agree(
    variant: str, gamma: float, bound: float, treatment: object, solver: str, oracle: dict
) -> None:
    plan = sp.stackelberg(oligopoly.build(gamma, bound, variant), solver=solver, complementarity=treatment)
    profit = leader_profit(oracle[variant, gamma, bound], gamma, bound, variant)
    assert plan.leader_objective == pytest.approx(profit, abs=1e-6)
    assert plan.report is not None
    assert plan.report.epsilon <= 1e-6


@pytest.mark.slow
def test_scip_finds_it_but_proves_nothing(oracle: dict) -> None:
    """It floods its error output here, which once stood still for ever; the automatic route falls back."""
    plan = sp.stackelberg(oligopoly.build(), time_limit=4.0)
    assert plan.leader_objective == pytest.approx(leader_profit(oracle["mss", 1.0, 150.0], 1.0, 150.0, "mss"), abs=1e-6)
    assert plan.quality in ("feasible", "optimal")
    assert (plan.report.certificate == "convex").all()


@pytest.mark.parametrize("variant", oligopoly.VARIANTS)
def test_cournot_equilibrium_of_all_five(variant: str) -> None:
    gamma, bound = 1.1, 150.0
    plan = sp.nash(oligopoly.build_cournot(gamma, bound, variant), solver="pounce")
    total = total_output(0.0, gamma, bound, variant, range(5))
    for i in range(5):
        wanted = answer(i, total, gamma, bound, variant)
        assert plan.value(f"firm[{i + 1}].quantity") == pytest.approx(wanted, abs=1e-6)
    assert sp.verify(plan).ok


def test_leading_pays(oracle: dict) -> None:
    total = total_output(0.0, 1.0, 150.0, "mss", range(5))
    own = answer(0, total, 1.0, 150.0, "mss")
    assert leader_profit(oracle["mss", 1.0, 150.0], 1.0, 150.0, "mss") > leader_profit(own, 1.0, 150.0, "mss")


def test_bad_parameters_are_refused() -> None:
    with pytest.raises(InvalidGame, match="choose one of mss, gnash1"):
        oligopoly.build(variant="mcp")
    with pytest.raises(InvalidGame, match="γ ≥ 1"):
        oligopoly.build(gamma=0.5)
    with pytest.raises(InvalidGame, match="bound > 0"):
        oligopoly.build(bound=0.0)


def test_demo_prints_the_published_profit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        oligopoly.main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert "343.3453" in printed
    assert "verified: largest regret" in printed
