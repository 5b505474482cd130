"""The flagship example: its data, its power flow, and its costs against two independent routes."""

import json
import logging
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import NLP
from helpers.grids import shift_factors
from pyomo.contrib.solver.common.factory import SolverFactory
from scipy.optimize import minimize

import stackpyomo as sp
from models import grid_prices
from stackpyomo.errors import InvalidGame

DATA = Path(grid_prices.__file__).parent / "data" / "ieee30.json"
IEEE30_COST = 565.2060  # $/h, MATPOWER's and pandapower's DC optimal power flow, to 4 decimals


def dispatch(game: sp.Game) -> tuple[pyo.ConcreteModel, dict]:
    """The operator's least cost by a plain solver: a copy without followers, and its duals."""
    m = game.model.clone()
    for g in m.G:
        m.generator[g].profit.deactivate()
    options = {"qp_regularization_value": 0.0}  # HiGHS's default, 1e-7, moves prices by 3e-6
    solution = SolverFactory("highs").solve(m, solver_options=options)
    return m, solution.solution_loader.get_duals()


def dispatch_cost(game: sp.Game) -> float:
    return pyo.value(dispatch(game)[0].cost)


def dispatch_by_shift_factors(facts: dict) -> tuple[float, np.ndarray]:
    """The same problem without angles or Pyomo: power transfer distribution factors and SLSQP."""
    factors, at, load = shift_factors(facts)
    limit = np.array([line[-1] for line in facts["branch"]], dtype=float)
    _, lower, upper, c2, c1, c0 = np.array(facts["generator"], dtype=float).T

    def cost(q):
        return np.sum(c2 * q**2 + c1 * q + c0)

    constraints = [
        {"type": "eq", "fun": lambda q: q.sum() - load.sum(), "jac": lambda q: np.ones_like(q)},
        {"type": "ineq", "fun": lambda q: limit - factors @ (at @ q - load), "jac": lambda _: -factors @ at},
        {"type": "ineq", "fun": lambda q: limit + factors @ (at @ q - load), "jac": lambda _: factors @ at},
    ]
    guess = (lower + upper) / 2
    for _ in range(5):  # SLSQP may stop early; from its own answer it goes on
        result = minimize(
            cost,
            x0=guess,
            jac=lambda q: 2 * c2 * q + c1,
            bounds=list(zip(lower, upper, strict=True)),
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        guess = result.x
    assert result.success, result.message
    return float(result.fun), result.x


@pytest.fixture(scope="module")
def facts() -> dict:
    return json.loads(DATA.read_text(encoding="utf-8"))


@pytest.fixture
def pandapower():
    """pandapower, whose own DeprecationWarnings and log lines are none of our business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("pandapower", exc_type=ImportError)
        logging.disable(logging.WARNING)
        yield module
        logging.disable(logging.NOTSET)


# Without pandapower


def test_ieee30_is_complete_and_consistent(facts):
    assert (len(facts["bus"]), len(facts["branch"]), len(facts["generator"])) == (30, 41, 6)
    for table in ("bus", "branch", "generator", "reference"):
        assert {len(row) for row in facts[table]} == {len(facts["columns"][table])}
    numbers = [row[0] for row in facts["bus"]]
    assert numbers == list(range(1, 31))
    assert {end for row in facts["branch"] for end in row[:2]} == set(numbers)
    assert math.fsum(row[1] for row in facts["bus"]) == pytest.approx(189.2, abs=1e-9)
    assert sum(row[2] for row in facts["generator"]) == 335
    assert [row[0] for row in facts["generator"]] == [1, 2, 22, 27, 23, 13]
    assert all(row[2] > 0 and row[3] == 1 and row[5] > 0 for row in facts["branch"])
    assert "Alsac" in facts["source"][0]
    assert "MATPOWER" in facts["source"][-1]


def test_ieee30_costs_what_the_literature_says(facts):
    by_pyomo = dispatch_cost(grid_prices.build())
    by_shift_factors, _ = dispatch_by_shift_factors(facts)
    assert by_pyomo == pytest.approx(IEEE30_COST, rel=1e-6)
    assert by_shift_factors == pytest.approx(IEEE30_COST, rel=1e-6)
    assert by_pyomo == pytest.approx(by_shift_factors, rel=1e-8)


def test_full_lines_cost_the_same_by_both_routes(facts, monkeypatch):
    """At the plain demand no line is full; at 130 % line 25-27 is, and the limits are exercised."""
    plain = grid_prices.read_ieee30()
    heavy = [bus._replace(demand=1.3 * bus.demand) for bus in plain.buses]
    unlimited = [line._replace(limit=math.inf) for line in plain.branches]
    facts = {**facts, "bus": [list(bus) for bus in heavy]}
    monkeypatch.setattr(grid_prices, "read_ieee30", lambda: plain._replace(buses=heavy))
    limited_cost = dispatch_cost(grid_prices.build())
    # SLSQP of SciPy 1.18 stops 1.6e-6 above the optimum here (1.17: 1e-12); a full line is checked to 1e-8 on case5.
    assert limited_cost == pytest.approx(dispatch_by_shift_factors(facts)[0], rel=1e-5)
    open_grid = plain._replace(buses=heavy, branches=unlimited)
    monkeypatch.setattr(grid_prices, "read_ieee30", lambda: open_grid)
    assert dispatch_cost(grid_prices.build()) < limited_cost - 0.1


def test_taps_shifts_shunts_and_shared_buses_enter_as_in_matpower(monkeypatch):
    """Two buses, two lines in parallel, by hand: f = base / (x tap) (θ1 − θ2 − shift)."""
    shift = 2.0
    grid = grid_prices.Grid(
        base=50.0,
        reference={7: 10.0},
        buses=[grid_prices.Bus(7, -5.0, 0.0), grid_prices.Bus(9, 60.0, 4.0)],
        branches=[grid_prices.Branch(7, 9, 0.1, 1.0, 0.0, math.inf), grid_prices.Branch(7, 9, 0.2, 1.25, shift, 15.0)],
        generators=[
            grid_prices.Generator(7, 0.0, 100.0, 0.0, 1.0, 3.0),
            grid_prices.Generator(7, 10.0, 100.0, 0.0, 2.0, 0.0),
            grid_prices.Generator(9, 0.0, 100.0, 0.0, 5.0, 0.0),
        ],
    )
    monkeypatch.setattr(grid_prices, "read_ieee30", lambda: grid)
    game = grid_prices.build()
    m = game.model
    assert list(m.limit) == [2]  # the first line is unlimited
    slope = (50 / 0.1, 50 / (0.2 * 1.25))
    turn = 15 / slope[1] + math.radians(shift)  # line 2 full: the most that bus 9 can import
    sent = slope[0] * turn + 15
    assert sent > 64  # so everything comes from bus 7, where 5 MW are injected besides
    assert dispatch_cost(game) == pytest.approx((64 - 5 - 10) * 1 + 3 + 10 * 2, rel=1e-6)
    angle = math.radians(10.0) - (64 + slope[1] * math.radians(shift)) / sum(slope)
    m.angle[7], m.angle[9] = math.radians(10.0), angle
    for g, output in zip(m.G, (49.0, 10.0, 0.0), strict=True):
        m.generator[g].output.value = output
    for row in (*m.balance.values(), *m.reference.values()):
        assert pyo.value(row.body) == pytest.approx(pyo.value(row.upper), abs=1e-9)


def test_a_nodal_price_is_the_dual_of_the_balance_in_the_right_sign():
    m, duals = dispatch(grid_prices.build())
    for g in m.G:  # every generator runs inside its limits and no line is full
        marginal = pyo.value(m.generator[g].marginal_cost)
        assert duals[m.balance[m.site[g]]] == pytest.approx(marginal, rel=1e-7)
        assert marginal == pytest.approx(3.7891963, rel=1e-7)


def test_the_model_has_the_shape_of_a_game():
    m = grid_prices.build(posted_price=3.79).model
    assert [m.generator[g].profit.sense for g in m.G] == [pyo.maximize] * 6
    assert len(m.one_price) == len(m.price) == 6
    assert not hasattr(grid_prices.build().model, "one_price")
    m.price[1] = 4.0
    m.generator[1].output = 50.0
    assert pyo.value(m.generator[1].profit) == pytest.approx(4 * 50 - (0.02 * 2500 + 2 * 50))
    assert pyo.value(m.one_price[1].body) - pyo.value(m.one_price[1].upper) == pytest.approx(0.21)
    assert [getattr(m, name).ctype for name in grid_prices.FREE] == [pyo.Var]


def test_without_pandapower_the_message_names_the_extra(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "pandapower"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pandapower", None)
    with pytest.raises(InvalidGame, match=r'pip install "stackpyomo\[grid\]"'):
        grid_prices.build("case9")


# With pandapower


@pytest.mark.slow
@pytest.mark.parametrize("case", ["case30", "case9", "case39", "case118"])
def test_cost_and_angles_equal_pandapower(pandapower, case):
    net = getattr(pandapower.networks, case)()
    pandapower.rundcopp(net)
    m, _ = dispatch(grid_prices.build(case))
    assert pyo.value(m.cost) == pytest.approx(net.res_cost, rel=1e-8)
    angles = [math.degrees(m.angle[bus].value) for bus in net.bus.index]
    np.testing.assert_allclose(angles, net.res_bus.va_degree, atol=1e-4)


@pytest.mark.slow
def test_cost_equals_pandapower_when_a_line_is_full(pandapower):
    net = pandapower.networks.case5()
    pandapower.rundcopp(net)
    assert net.res_bus.lam_p.max() > net.res_bus.lam_p.min() + 20
    assert dispatch_cost(grid_prices.build("case5")) == pytest.approx(net.res_cost, rel=1e-8)


@pytest.mark.slow
def test_prices_of_linear_costs_equal_pandapower_and_say_what_they_leave_open(pandapower):
    """case5: linear costs, one full line, two generators between their limits that are paid just what they cost."""
    net = pandapower.networks.case5()
    pandapower.rundcopp(net)
    game = grid_prices.build("case5")
    m = game.model
    nodal = grid_prices.at_nodal_prices(sp.leader_optimal(game))
    expected = [net.res_bus.lam_p[m.site[g]] for g in m.G]
    assert [nodal.value(m.price[g]) for g in m.G] == pytest.approx(expected, rel=1e-6)
    report = sp.verify(nodal)
    assert report.ok
    assert (report.certificate == "convex").all()
    assert grid_prices.ties(nodal) == pytest.approx({3: 520.0, 4: 600.0})  # at the costs of 30 and 10 $/MWh
    assert grid_prices.ties(sp.leader_optimal(grid_prices.build())) == {}  # quadratic costs: no tie


def test_a_falling_price_leaves_nothing_open(pandapower):
    """c + r q* at the plan and −r per MW: the profit r q (2q* − q) is largest at q*, and there alone."""
    game = grid_prices.build("case5")
    m = game.model
    falling = grid_prices.at_falling_prices(sp.leader_optimal(game), 0.01)
    rule = sp.affine_incentive(falling)
    assert sp.verify(rule).ok
    for g in m.G:
        output, price = m.generator[g].output, m.price[g].name
        at = falling.value(output)
        assert rule.offset[price] == pytest.approx(pyo.value(m.generator[g].marginal_cost) + 0.01 * at)
        if at > 0.0:  # one that stands still is paid nothing, whatever its price does
            assert rule.gain.loc[price, output.name] == pytest.approx(-0.01)
            assert g not in grid_prices.ties(falling)


@pytest.mark.slow
def test_a_transformer_of_99999_kva_has_no_limit(pandapower):
    """case89pegase cannot be served with 32 limits of 99.999 MVA; without them it can, at any prices of 1 $/MWh."""
    raw = pandapower.networks.case89pegase()
    assert (raw.trafo.sn_mva.round(3) == 99.999).sum() == 32
    with pytest.raises(pandapower.OPFNotConverged):
        pandapower.rundcopp(raw)
    net = grid_prices.read_net("case89pegase")
    pandapower.rundcopp(net)
    plan = sp.leader_optimal(grid_prices.build("case89pegase"))
    assert plan.leader_objective == pytest.approx(net.res_cost, rel=1e-8)
    m = plan.attached().model
    assert [plan.multipliers[m.balance[bus].name] for bus in m.B] == pytest.approx([1.0] * 89, rel=1e-6)


def test_the_survey_prints_what_is_verified_and_what_is_left_open(pandapower, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["grid_prices", "case5"])
    with pytest.raises(SystemExit) as end:
        grid_prices.main()
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "17,479.90 $/h (optimal)" in shown
    assert "10.00 to 39.94 $/MWh: verified" in shown
    assert "2, whose price leaves 1,120 MW open" in shown


def test_ieee30_is_case30_of_pandapower(pandapower):
    ours, theirs = grid_prices.read_ieee30(), grid_prices.read_pandapower("case30")
    assert theirs.base == ours.base
    assert theirs.reference == {bus - 1: angle for bus, angle in ours.reference.items()}
    tables = (
        (ours.buses, theirs.buses, 1),
        (ours.branches, theirs.branches, 2),
        (ours.generators, theirs.generators, 1),
    )
    for mine, other, ends in tables:
        shift = np.array([1.0] * ends + [0.0] * (len(mine[0]) - ends))
        np.testing.assert_allclose(np.array(mine) - shift, np.array(other), rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_elements_out_of_service_and_controllable_units_are_as_in_pandapower(pandapower, monkeypatch):
    def changed(**_):
        net = case9()
        net.line.loc[net.line.index[4], "in_service"] = False
        limits = {"min_p_mw": 0.0, "max_p_mw": 40.0, "min_q_mvar": 0.0, "max_q_mvar": 0.0}
        bus = net.gen.bus.iloc[0]  # two at one bus
        unit = pandapower.create_sgen(net, bus, p_mw=10.0, controllable=True, **limits)
        pandapower.create_poly_cost(net, unit, "sgen", cp1_eur_per_mw=2.0, cp2_eur_per_mw2=0.02)
        pandapower.create_sgen(net, net.load.bus.iloc[0], p_mw=12.0, controllable=False)
        pandapower.create_shunt(net, net.load.bus.iloc[0], q_mvar=0.0, p_mw=7.0)
        return net

    library = pandapower.networks.power_system_test_cases
    case9 = library.case9
    monkeypatch.setattr(library, "case9", changed)
    net = changed()
    pandapower.rundcopp(net)
    game = grid_prices.build("case9")
    assert len(game.model.L) == 8
    assert len(game.model.G) == 4
    assert dispatch_cost(game) == pytest.approx(net.res_cost, rel=1e-8)


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("case99", None, "unknown grid case 'case99'.*ieee30.*case118"),
        ("sorted_from_json", None, "unknown grid case"),
        ("case4gs", None, "gives no generation costs"),
        ("case9", "pwl", "piecewise linear"),
        ("case9", "dcline", "DC lines"),
    ],
)
def test_what_the_model_does_not_support_is_refused(pandapower, monkeypatch, case, change, message):
    library = pandapower.networks.power_system_test_cases
    case9 = library.case9

    def changed(**_):
        net = case9()
        if change == "pwl":
            net.poly_cost = net.poly_cost.iloc[1:]
            pandapower.create_pwl_cost(net, 0, "ext_grid", [[0, 100, 1], [100, 200, 2]])
        if change == "dcline":
            pandapower.create_dcline(net, 4, 5, 1.0, 0.0, 0.0, 1.0, 1.0)
        return net

    monkeypatch.setattr(library, "case9", changed)
    with pytest.raises(InvalidGame, match=message):
        grid_prices.build(case)


# The whole path: plan, two incentives, report


def check_free_prices(game: sp.Game, plan: sp.Plan, multipliers: str = "zero") -> sp.Incentive:
    """(a): no gain is needed, and each price is its generator's marginal cost at the plan."""
    m = game.model
    rule = sp.affine_incentive(plan, free=[m.price], multipliers=multipliers)
    assert rule.matrix.nnz == 0
    report = sp.verify(rule)
    assert report.ok
    assert (report.certificate == "convex").all()
    assert report.epsilon <= 1e-6
    with_plan = {**plan.values, **rule.offset}
    for g in m.G:
        c2, c1 = marginal_cost(m.generator[g])
        output = with_plan[m.generator[g].output.name]
        if multipliers == "zero":
            assert with_plan[m.price[g].name] == pytest.approx(2 * c2 * output + c1, rel=1e-7, abs=1e-7)
    return rule


def marginal_cost(generator) -> tuple[float, float]:
    """c2 and c1 read off the cost by three evaluations, not off the model's own derivative."""
    values = []
    held = generator.output.value
    for q in (0.0, 1.0, 2.0):
        generator.output.set_value(q, skip_validation=True)
        values.append(pyo.value(generator.cost))
    generator.output.set_value(held, skip_validation=True)
    c2 = (values[2] - 2 * values[1] + values[0]) / 2
    return c2, values[1] - values[0] - c2


def check_posted_price(case: str, price: float) -> pd.Series:
    """(b): one price for all on path, and Q_g = (C_g'(q*) − p)/q* by hand; returns the regrets."""
    game = grid_prices.build(case, posted_price=price)
    m = game.model
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan)
    report = sp.verify(rule)
    assert report.ok
    for g in m.G:
        c2, c1 = marginal_cost(m.generator[g])
        output = plan.value(m.generator[g].output)
        assert rule.offset[m.price[g].name] == pytest.approx(price, abs=1e-9)
        gain = rule.gain.loc[m.price[g].name, m.generator[g].output.name]
        assert gain == pytest.approx((2 * c2 * output + c1 - price) / output, rel=1e-6, abs=1e-9)
        assert not np.delete(rule.gain.loc[m.price[g].name].to_numpy(), g - 1).any()
    assert not sp.verify(plan).ok, "the posted price alone does not hold the plan"
    return report.regret


@pytest.mark.parametrize("solver", NLP)
def test_the_whole_path_on_thirty_buses(solver):
    game = grid_prices.build()
    plan = sp.leader_optimal(game, solver=solver)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(IEEE30_COST, rel=1e-7)
    assert plan.epsilon0 <= 1e-6
    rule = check_free_prices(game, plan)
    assert list(rule.offset.values()) == pytest.approx([3.7891963] * 6, rel=1e-7)
    for bus in game.model.B:  # no line is full: every nodal price is the marginal cost
        assert plan.multipliers[game.model.balance[bus].name] == pytest.approx(3.7891963, rel=1e-6)


def test_a_posted_price_with_deviation_charges_on_thirty_buses():
    assert check_posted_price("ieee30", grid_prices.POSTED).max() <= 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("case", ["case30", "case9", "case39", "case118", "case5"])
def test_the_whole_path_on_pandapower_cases(pandapower, case):
    net = getattr(pandapower.networks, case)()
    pandapower.rundcopp(net)
    game = grid_prices.build(case)
    plan = sp.leader_optimal(game)
    assert plan.leader_objective == pytest.approx(net.res_cost, rel=1e-6)
    assert plan.quality == "optimal"
    check_free_prices(game, plan)
    check_free_prices(game, plan, "free")
    nodal = [plan.multipliers[game.model.balance[bus].name] for bus in net.bus.index]
    np.testing.assert_allclose(nodal, net.res_bus.lam_p, rtol=1e-3, atol=1e-3)


def test_a_generator_that_stands_still_needs_its_own_limit(monkeypatch):
    """q* = 0 gives ∇_price J = −q* = 0: no gain moves it, but its limit does if the price is low enough."""
    grid = grid_prices.read_ieee30()
    dear = grid.generators[5]._replace(linear=9.0)
    changed = grid._replace(generators=[*grid.generators[:5], dear])
    monkeypatch.setattr(grid_prices, "read_ieee30", lambda: changed)
    plan = sp.leader_optimal(grid_prices.build(posted_price=4.0))
    with pytest.raises(sp.NoIncentive, match=r"generator\[6\]: zero gradient.*multipliers='free'"):
        sp.affine_incentive(plan)
    rule = sp.affine_incentive(plan, multipliers="free")
    assert rule.multipliers["generator[6].output"] == pytest.approx(9.0 - 4.0, rel=1e-6)
    report = sp.verify(rule)
    assert report.ok
    assert report.regret["generator[6]"] <= 1e-7
