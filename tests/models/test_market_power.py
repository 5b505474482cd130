"""A strategic generator against the market on shift factors: HiGHS alone, offer by offer, with its own duals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import highspy
import numpy as np
import pytest
from helpers.grids import shift_factors

import stackpyomo as sp
from models import grid_prices
from models import market_power as power
from models.market_power import CAP, DEMAND, EXPECTED, UNIT
from stackpyomo.errors import InvalidGame

FACTS = json.loads((Path(grid_prices.__file__).parent / "data" / "ieee30.json").read_text(encoding="utf-8"))
FACTORS, AT, LOAD = shift_factors(FACTS)
LIMIT = np.array([line[-1] for line in FACTS["branch"]], dtype=float)
SITE, LOWER, UPPER, C2, C1, C0 = np.array(FACTS["generator"], dtype=float).T
BUSES = [bus[0] for bus in FACTS["bus"]]


class Cleared(NamedTuple):
    """The market at an offer: cost of the offers, MW, $/MWh at each bus, rent of the lines, profit of the unit."""

    cost: float
    output: np.ndarray
    nodal: np.ndarray
    rent: float
    profit: float


def clear(offer: float, unit: int = UNIT, load: np.ndarray = DEMAND * LOAD, limit: np.ndarray = LIMIT) -> Cleared:
    """min Σ c2 q² + c1 q over Σ q = Σ load, |F (A q − load)| ≤ limit: six variables, duals λ and μ; π = λ + Fᵀ μ."""
    linear = np.where(np.arange(1, 7) == unit, offer, C1)
    rows, sent = np.vstack([np.ones(6), FACTORS @ AT]), FACTORS @ load
    model = highspy.HighsModel()
    model.lp_.num_col_, model.lp_.num_row_ = 6, len(rows)
    model.lp_.col_cost_, model.lp_.col_lower_, model.lp_.col_upper_ = linear, LOWER, UPPER
    model.lp_.row_lower_, model.lp_.row_upper_ = np.r_[load.sum(), sent - limit], np.r_[load.sum(), sent + limit]
    model.lp_.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.lp_.a_matrix_.start_ = np.arange(len(rows) + 1) * 6
    model.lp_.a_matrix_.index_, model.lp_.a_matrix_.value_ = np.tile(np.arange(6), len(rows)), rows.ravel()
    model.hessian_.dim_, model.hessian_.format_ = 6, highspy.HessianFormat.kTriangular
    model.hessian_.start_, model.hessian_.index_, model.hessian_.value_ = np.arange(7), np.arange(6), 2 * C2
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("qp_regularization_value", 0.0)  # HiGHS's default, 1e-7, moves prices by 3e-6
    solver.passModel(model)
    solver.run()
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    q = np.array(solver.getSolution().col_value)
    dual = np.array(solver.getSolution().row_dual)
    nodal = dual[0] + FACTORS.T @ dual[1:]
    own = unit - 1
    profit = AT[:, own] @ nodal * q[own] - C2[own] * q[own] ** 2 - C1[own] * q[own] - C0[own]
    full = np.abs(dual[1:]) > 1e-7
    return Cleared(C2 @ q**2 + linear @ q, q, nodal, np.abs(dual[1:][full]) @ limit[full], profit)


@pytest.fixture(scope="module")
def plan() -> sp.Plan:
    return sp.stackelberg(power.build(), proof_seconds=60)


@pytest.mark.slow
def test_the_plan_is_the_best_of_a_fine_grid_of_offers(plan: sp.Plan) -> None:
    """Everywhere: below the local maximum at 3.58 $/MWh, between, and up to the cap, which is an offer of the grid."""
    offers = np.linspace(C1[UNIT - 1], CAP, 400)
    profit = np.array([clear(offer).profit for offer in offers])
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(profit.max(), rel=1e-7)
    assert plan.value("offer") == pytest.approx(offers[profit.argmax()], abs=1e-6)
    assert (profit.max(), profit[0]) == pytest.approx((EXPECTED["leader_objective"], EXPECTED["at cost"]), abs=1e-6)
    local = profit[offers < 4.0]
    assert local.max() == pytest.approx(power.uncongested().profit, abs=1e-2)
    assert local.argmax() not in (0, len(local) - 1)
    report = sp.verify(plan)
    assert report.ok
    assert report.prices["price"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unit", "demand", "cap", "limited"),
    [(4, 1.0, 5.0, True), (6, 1.3, 4.0, True), (4, 1.2, 8.0, False)],
)
def test_no_other_offer_earns_more(unit: int, demand: float, cap: float, limited: bool) -> None:
    game = power.build(unit, demand, cap, limited)
    plan = sp.stackelberg(game)
    limit = LIMIT if limited else np.full_like(LIMIT, 1e4)

    def profit(offer: float) -> float:
        return clear(offer, unit, demand * LOAD, limit).profit

    best = plan.value("offer")
    assert C1[unit - 1] + 0.1 < best < cap - 0.1  # inside: neither at cost nor at the cap
    assert plan.leader_objective == pytest.approx(profit(best), rel=1e-6)
    assert max(profit(offer) for offer in np.linspace(C1[unit - 1], cap, 200)) <= plan.leader_objective + 1e-6
    assert sp.verify(plan).ok


def test_prices_are_what_one_megawatt_more_costs(plan: sp.Plan) -> None:
    """Central differences of the cost of the offers, bus by bus; bus 8, behind the full line, is paid above the cap."""
    nodal, step = power.prices(plan), 1e-2
    for bus in (1, 8, 27, 30):
        more = step * np.array([number == bus for number in BUSES])
        costs = [clear(plan.value("offer"), load=DEMAND * LOAD + sign * more).cost for sign in (1, -1)]
        assert nodal[bus] == pytest.approx((costs[0] - costs[1]) / (2 * step), rel=1e-6)
    assert nodal.to_numpy() == pytest.approx(clear(CAP).nodal, rel=1e-6)
    assert plan.value("price") == pytest.approx(nodal[27], rel=1e-9)
    assert nodal[8] > 3 * CAP


def test_what_the_page_says_of_the_full_line() -> None:
    """Line 6-8 is full at the cap and carries less at the local maximum; the unit relieves it best; and bus 8."""
    line, others = BUSES.index(8), [g for g in range(6) if g != UNIT - 1]
    flow = [FACTORS @ (AT @ clear(offer).output - DEMAND * LOAD) for offer in (CAP, power.uncongested().offer)]
    number = [tuple(row[:2]) for row in FACTS["branch"]].index((6, 8))
    assert number + 1 == 10
    assert flow[0][number] == pytest.approx(LIMIT[number])
    assert (np.abs(flow[1]) < LIMIT - 1e-3).all()
    relief = (FACTORS @ AT)[number, 0] - (FACTORS @ AT)[number]
    assert relief[UNIT - 1] > 4 * relief[others].max()
    step = 0.1 * np.eye(30)[line]
    more, less = (clear(CAP, load=DEMAND * LOAD + sign * step).output for sign in (1, -1))
    each = (more - less) / 0.2
    assert (each[UNIT - 1], each[others].sum()) == pytest.approx((6.9, -5.9), abs=0.05)


@pytest.mark.slow
def test_offered_at_cost_it_is_the_competitive_market() -> None:
    game = power.build()
    honest, market = power.at_cost(game), clear(C1[UNIT - 1])
    outputs = [honest.value(game.model.market.output[g]) for g in range(1, 7)]
    assert outputs == pytest.approx(list(market.output), rel=1e-6)
    assert power.prices(honest).to_numpy() == pytest.approx(market.nodal, rel=1e-6)
    assert honest.leader_objective == pytest.approx(EXPECTED["at cost"], abs=1e-6)
    assert sp.verify(honest).ok


def test_the_bill(plan: sp.Plan) -> None:
    """What consumers pay at nodal prices, and the rent as multipliers times limits: two routes to each figure."""
    market, bill = clear(CAP), power.bill(plan)
    profit = AT.T @ market.nodal * market.output - C2 * market.output**2 - C1 * market.output
    expected = {
        "consumers pay": DEMAND * LOAD @ market.nodal,
        "the unit": market.profit,
        "other units": profit.sum() - market.profit,
        "production": C2 @ market.output**2 + C1 @ market.output,
        "full lines": market.rent,
    }
    assert bill.to_dict() == pytest.approx(expected, rel=1e-6)
    assert bill["consumers pay"] == pytest.approx(bill.drop("consumers pay").sum(), rel=1e-9)


@pytest.mark.parametrize("demand", [1.0, 1.2])
def test_the_closed_form_without_full_lines(demand: float) -> None:
    best = power.uncongested(UNIT, demand)
    unlimited = np.full_like(LIMIT, 1e4)
    market = clear(best.offer, load=demand * LOAD, limit=unlimited)
    assert (market.output[UNIT - 1], market.nodal[0], market.profit) == pytest.approx(best[1:], rel=1e-6)
    assert ((market.output > LOWER) & (market.output < UPPER)).all()
    for offer in np.linspace(C1[UNIT - 1], CAP, 60):
        assert clear(offer, load=demand * LOAD, limit=unlimited).profit <= best.profit + 1e-6


@pytest.mark.parametrize("wrong", [{"unit": 0}, {"unit": 7}, {"demand": 0.0}, {"cap": 3.0}, {"cap": float("inf")}])
def test_what_is_no_market_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidGame, match="expected a unit from 1 to 6"):
        power.build(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_everything_is_printed(
    plan: sp.Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sp, "stackelberg", lambda *_, **__: plan)
    with pytest.raises(SystemExit) as end:
        power.main()
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in ("optimal", "2078.37", "63.7756", "20.7984", "verified"):
        assert part in text
