"""The demand-response tariff: plan, prices, gains and curvature against numpy and SciPy, which know no Pyomo."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigh, null_space
from scipy.optimize import LinearConstraint, brentq, minimize

import stackpyomo as sp
from models import demand_response
from models.demand_response import BASE, CURVATURE, HIGHEST, LOWEST, PEAK, TARIFF, Customer, build, portfolio
from stackpyomo.errors import InvalidGame

N = 3  # a hybrid, a car, a household


def slope(c: Customer, x: np.ndarray) -> np.ndarray:
    """∇ discomfort."""
    return c.quadratic * (x - c.preferred) / c.preferred + c.entropic * np.log(x / c.preferred)


def bend(c: Customer, x: np.ndarray) -> np.ndarray:
    """∇² discomfort."""
    return np.diag(c.quadratic / c.preferred + c.entropic / x)


def discomfort(c: Customer, x: np.ndarray) -> float:
    d = c.preferred
    return float((c.quadratic / 2 * (x - d) ** 2 / d + c.entropic * (x * np.log(x / d) - x + d)).sum())


def answer(c: Customer, prices: np.ndarray) -> np.ndarray:
    """Best loads at constant prices: hour by hour, and a bisection on the shadow price of what has to be charged."""

    def loads(extra: float) -> np.ndarray:
        def load(d: float, price: float) -> float:
            def margin(x: float) -> float:
                return price + extra + c.quadratic * (x - d) / d + c.entropic * np.log(x / d)

            low, high = LOWEST * d, HIGHEST * d
            if margin(low) >= 0 or margin(high) <= 0:
                return low if margin(low) >= 0 else high
            return brentq(margin, low, high, xtol=1e-14)

        return np.array([load(d, p) for d, p in zip(c.preferred, prices, strict=True)])

    if not c.charged:
        return loads(0.0)
    return loads(brentq(lambda extra: loads(extra).sum() - c.preferred.sum(), -3.0, 3.0, xtol=1e-14))


def marginal_cost(people: list[Customer], total: np.ndarray) -> np.ndarray:
    mean = sum(c.preferred.sum() for c in people) / len(total)
    return BASE + PEAK * (total / mean) ** 3


def planned(plan: sp.Plan, i: int) -> np.ndarray:
    return np.array([v.value for v in plan.attached().model.customer[i].load.values()], dtype=float)


@pytest.fixture(scope="module")
def plan() -> sp.Plan:
    found = sp.leader_optimal(build(N, flat=True))
    found.load()
    return found


@pytest.fixture(scope="module")
def rules(plan: sp.Plan) -> dict[str, sp.Incentive]:
    """By what curvature is asked for."""
    return {str(c): sp.affine_incentive(plan, curvature=c) for c in ("none", "auto", CURVATURE)}


def gain(rule: sp.Incentive, i: int, leader: str = "price") -> np.ndarray:
    """The rows of one kind of leader variable, the columns of one customer."""
    columns = [f"customer[{i}].load[{t}]" for t in range(1, 25)]
    return rule.gain.loc[[n for n in rule.gain.index if n.startswith(leader)], columns].to_numpy()


def open_directions(c: Customer) -> np.ndarray:
    return null_space(np.ones((1, 24))) if c.charged else np.eye(24)


def test_everybodys_answer_to_marginal_cost_is_the_plan(plan: sp.Plan) -> None:
    """The plan is the fixed point of prices C'(L) and best answers: nothing else has both conditions of optimality."""
    people = portfolio(N)
    total = sum(planned(plan, i) for i in range(1, N + 1))
    prices = marginal_cost(people, total)
    for i, c in enumerate(people, start=1):
        np.testing.assert_allclose(answer(c, prices), planned(plan, i), rtol=1e-5)
    worth = sum(discomfort(c, planned(plan, i)) for i, c in enumerate(people, start=1))
    mean = sum(c.preferred.sum() for c in people) / 24
    worth += float((BASE * total + PEAK / 4 * mean * (total / mean) ** 4).sum())
    assert plan.leader_objective == pytest.approx(worth, rel=1e-9)


def test_free_prices_are_marginal_costs_and_need_no_gain() -> None:
    game = build(N)
    priced = sp.leader_optimal(game)
    priced.load()
    rule = sp.affine_incentive(priced, free=demand_response.FREE, multipliers="free")
    prices = marginal_cost(portfolio(N), sum(planned(priced, i) for i in range(1, N + 1)))
    np.testing.assert_allclose([rule.offset[f"price[{t}]"] for t in range(1, 25)], prices, atol=1e-6)
    assert rule.norm == 0
    assert rule.offset["charge"] == pytest.approx(0, abs=1e-6)
    report = sp.verify(rule)
    assert report.ok
    assert (report.certificate == "convex").all()


def test_at_the_flat_tariff_they_use_too_little(plan: sp.Plan) -> None:
    """The regret of a constant tariff is what each gains by its own answer to it."""
    report = sp.verify(plan)
    assert not report.ok
    for i, c in enumerate(portfolio(N), start=1):
        costs = [float(TARIFF * x.sum()) + discomfort(c, x) for x in (planned(plan, i), answer(c, np.full(24, TARIFF)))]
        assert report.regret[f"customer[{i}]"] == pytest.approx(costs[0] - costs[1], rel=1e-5)
        assert c.charged or answer(c, np.full(24, TARIFF)).sum() < planned(plan, i).sum()


@pytest.mark.slow
def test_the_least_gain_is_the_closed_form(plan: sp.Plan, rules: dict[str, sp.Incentive]) -> None:
    """Q = −b aᵀ/‖b‖² with b = (x, 1), a = p + ∇discomfort."""
    for i, c in enumerate(portfolio(N), start=1):
        x = planned(plan, i)
        a = TARIFF + slope(c, x)
        wanted = -np.outer([*x, 1.0], a) / (x @ x + 1)
        found = np.vstack([gain(rules["none"], i), gain(rules["none"], i, "charge")])
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_all_gains_hold_to_first_order_and_some_to_second(plan: sp.Plan, rules: dict[str, sp.Incentive]) -> None:
    """The composed Hessian is ∇²discomfort + Q + Qᵀ: the charge is linear, the bill bilinear."""
    least = {}
    for name, rule in rules.items():
        for i, c in enumerate(portfolio(N), start=1):
            x, q, free = planned(plan, i), gain(rule, i), open_directions(c)
            first = TARIFF + slope(c, x) + q.T @ x + gain(rule, i, "charge")[0]
            np.testing.assert_allclose(first, 0, atol=1e-6)
            least[name, c.kind] = np.linalg.eigvalsh(free.T @ (bend(c, x) + q + q.T) @ free)[0]
    assert least["none", "hybrid"] < -0.05
    assert least["auto", "hybrid"] > 0
    assert min(least["auto", kind] for kind in demand_response.KINDS) > 0
    assert min(least[str(CURVATURE), kind] for kind in demand_response.KINDS) >= CURVATURE - 1e-6


def test_the_curvature_asked_for_is_enough_on_the_whole_box(plan: sp.Plan, rules: dict[str, sp.Incentive]) -> None:
    """∇²discomfort falls as loads rise: at the highest the composed Hessian is still positive; with auto it is not."""
    for i, c in enumerate(portfolio(N), start=1):
        free, highest = open_directions(c), bend(c, HIGHEST * c.preferred)
        least = {}
        for name, rule in rules.items():
            q = gain(rule, i)
            least[name] = np.linalg.eigvalsh(free.T @ (highest + q + q.T) @ free)[0]
        assert least[str(CURVATURE)] > 0
        assert least["auto"] < 0 or c.kind != "hybrid"


def best_response(c: Customer, x: np.ndarray, q: np.ndarray, charge: np.ndarray, starts: int = 12) -> float:
    """The least composed cost that SciPy finds from the plan and from random starts, less the plan's."""
    random = np.random.default_rng(3)

    def cost(v: np.ndarray) -> float:
        return float((TARIFF + q @ (v - x)) @ v + charge @ (v - x)) + discomfort(c, v)

    def jacobian(v: np.ndarray) -> np.ndarray:
        return TARIFF + q @ (v - x) + q.T @ v + charge + slope(c, v)

    box = list(zip(LOWEST * c.preferred, HIGHEST * c.preferred, strict=True))
    held = [LinearConstraint(np.ones((1, 24)), x.sum(), x.sum())] if c.charged else []
    found = [cost(x)]
    for start in [x, *random.uniform(*np.array(box).T, (starts, 24))]:
        solved = minimize(cost, start, jac=jacobian, bounds=box, constraints=held, method="SLSQP", tol=1e-12)
        if not held or abs(solved.x.sum() - x.sum()) < 1e-8:
            found.append(solved.fun)
    return min(found) - cost(x)


@pytest.mark.parametrize(("curvature", "ok"), [("none", False), ("auto", False), (str(CURVATURE), True)])
def test_scipy_agrees_on_who_would_leave(
    plan: sp.Plan, rules: dict[str, sp.Incentive], curvature: str, ok: bool
) -> None:
    """verify's regrets are those of another solver; what is proved convex has none."""
    rule = rules[curvature]
    report = sp.verify(rule, certify="convex" if ok else "multistart")
    assert report.ok == ok
    assert (report.certificate == ("convex" if ok else "multistart")).all()
    for i, c in enumerate(portfolio(N), start=1):
        gained = -best_response(c, planned(plan, i), gain(rule, i), gain(rule, i, "charge")[0])
        assert report.regret[f"customer[{i}]"] == pytest.approx(gained, rel=1e-3, abs=1e-5)
        assert gained < 1e-6 or (c.kind == "hybrid" and not ok)


@pytest.mark.slow
def test_without_a_charge_no_gain_bends_a_hybrid_up() -> None:
    """x*ᵀ H x* is the same for every valid gain, and negative."""
    found = sp.leader_optimal(build(N, flat=True, charge=False))
    found.load()
    with pytest.raises(sp.NoIncentive, match="no gain was found that makes its composed cost convex") as refused:
        sp.affine_incentive(found, design="slopes")
    bent = set()
    for i, c in enumerate(portfolio(N), start=1):
        x = planned(found, i)
        if not c.charged and x @ bend(c, x) @ x - 2 * (TARIFF + slope(c, x)) @ x < 0:
            bent.add(f"customer[{i}]")
    assert set(refused.value.reasons) == bent == {"customer[1]"}


@pytest.mark.slow
def test_a_coarse_meter_holds_few_customers_to_first_order_and_many_not() -> None:
    """One gain for a region: Kᵀ b_i = −a_i for all its customers, by least squares in numpy."""
    for customers in (4, 60):
        found = sp.leader_optimal(build(customers, flat=True))
        found.load()
        people = portfolio(customers)
        left = 0.0
        for region in (0, 1):
            mine = range(region, customers, 2)
            b = np.array([[*planned(found, i + 1), 1.0] for i in mine])
            a = np.array([TARIFF + slope(people[i], planned(found, i + 1)) for i in mine])
            k = np.linalg.lstsq(b, -a, rcond=None)[0]
            left = max(left, float(np.abs(a + b @ k).max()))
            if customers == 4:
                rule = sp.affine_incentive(found, demand_response.COARSE, curvature="none")
                columns = [f"meter[{region + 1},{t}]" for t in range(1, 25)]
                rows = [*(f"price[{t}]" for t in range(1, 25)), "charge"]
                np.testing.assert_allclose(rule.gain.loc[rows, columns].to_numpy(), k, atol=1e-5)
        assert (left < 1e-9) == (customers == 4)
        if customers == 60:
            with pytest.raises(sp.NoIncentive, match="conflict under shared signals"):
                sp.affine_incentive(found, demand_response.COARSE, curvature="none")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_gain_behind_a_coarse_meter_bends_a_hybrid_up(seed: int) -> None:
    """Kᵀb_i = −a_i for all i gives Kᵀv = −Σ c_i a_i for v = Σ c_i x_i with Σ c_i = 0: there vᵀHv is what it is."""
    found = sp.leader_optimal(build(N, hours=8, seed=seed, flat=True, regions=1))
    found.load()
    with pytest.raises(
        sp.NoIncentive, match="curvature: no gain was found that makes its composed cost convex"
    ) as refused:
        sp.affine_incentive(found, demand_response.COARSE, design="slopes")
    people = portfolio(N, 8, seed)
    x = np.array([planned(found, i) for i in range(1, N + 1)])
    a = np.array([TARIFF + slope(c, loads) for c, loads in zip(people, x, strict=True)])
    weights = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    v, kv = weights @ x, -weights @ a
    given = v @ bend(people[0], x[0]) @ v.T + kv @ v.T + v @ kv.T
    least = eigh(given, v @ v.T, eigvals_only=True)[0]
    assert least < 0
    best = float(refused.value.reasons["customer[1]"].split("(")[1].split()[0])
    assert -best <= least + 1e-4, "no gain beats what is given"


def test_a_shorter_day_and_other_customers() -> None:
    """Periods of three hours, one customer, another seed: still proved."""
    found = sp.leader_optimal(build(1, hours=8, seed=5, flat=True, regions=1))
    report = sp.verify(sp.affine_incentive(found, curvature=CURVATURE))
    assert report.ok
    assert report.certificate["customer[1]"] == "convex"


def test_bad_parameters_are_refused() -> None:
    for bad in ({"customers": 0}, {"hours": 1}, {"customers": 2, "regions": 3}, {"regions": 0}):
        with pytest.raises(InvalidGame, match="expected customers ≥ 1"):
            build(**bad)


@pytest.mark.slow
def test_demo_tells_the_story(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With as few customers as there are kinds, and as many as no coarse meter holds."""
    monkeypatch.setattr(demand_response, "build", lambda customers=N, **options: build(min(customers, 52), **options))
    with pytest.raises(SystemExit) as left:
        demand_response.main()
    assert left.value.code == 0
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.count("│") == 6}
    verdict = {title: row.split("│")[5].strip() for title, row in rows.items()}
    assert verdict.pop("hourly, marginal cost") == verdict.pop(f"flat, bent up by {CURVATURE:g} €/kWh²") == "yes"
    assert verdict == dict.fromkeys(verdict, "no")
    assert len(verdict) == 4
