"""The figures of the documentation, drawn from the models: ``python docs/figures.py [FOLDER] [NAME ...]``.

Nothing is random, and nothing is drawn twice while the models, the package and this file stay as they are. A figure
whose optional package is missing is a picture that says so.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyomo.environ as pyo
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))

import stackpyomo as sp  # noqa: E402

BLUE, RED, GREEN, ORANGE, GREY = "#20507a", "#c0504d", "#2a7f4f", "#d98c1f", "#9a9a9a"
STYLE = {
    "svg.hashsalt": "stackpyomo",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
}
NEEDS = {
    "sioux_falls_tolls": ("aequilibrae", "traffic"),
    "ev_charging": ("demandlib", "load"),
    "country_grid": ("pandapower", "grid"),
}
"""Figure → the package it needs, and the extra that brings it."""


def _figure(width: float = 6.8, height: float = 4.0, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def two_roads() -> Figure:
    """The driver's cost against the flow, at a constant toll and at the toll that answers."""
    from models.two_roads import build

    figure, ax = _figure()
    sp.plots.best_response(sp.affine_incentive(sp.leader_optimal(build())), "driver", ax)
    ax.set(xlabel="share of the trips over the bridge", ylabel="driver's cost")
    return figure


def in_one_picture() -> Figure:
    """The driver's cost, and level sets with the strategy as the line that supports what the driver prefers."""
    from models.two_roads import build

    rule = sp.affine_incentive(sp.leader_optimal(build()))
    figure, (ax, other) = _figure(9.6, 4.0, 2)
    sp.plots.best_response(rule, "driver", ax)
    ax.set(xlabel="flow over the bridge", ylabel="driver's cost", title="the driver's cost")
    sp.plots.level_sets(rule, "driver", other)
    other.set(xlabel="flow over the bridge", ylabel="toll", title="what the city announces")
    return figure


def responses() -> Figure:
    """Level sets of (u − 2)²/2 + z u, and the lines along which two followers deviate, where each line touches one."""
    figure, ax = _figure(5.6, 3.6)
    action, average = np.meshgrid(np.linspace(0, 2.4, 121), np.linspace(0, 1.6, 121))
    cost = (action - 2) ** 2 / 2 + average * action
    for slope, colour, label in ((0.0, GREY, "moves nothing: slope 0"), (0.5, RED, "moves the average by half")):
        rest = (2 - 0.8) / (1 + slope)  # u − 2 + z + R u = 0 at z = 0.8
        line = 0.8 + slope * (action[0] - rest)
        ax.contour(action, average, cost, [(rest - 2) ** 2 / 2 + 0.8 * rest], colors=colour, linewidths=1)
        ax.plot(action[0], line, color=colour, lw=2, label=label)
        ax.plot([rest], [0.8], "o", color=colour)
    ax.set(xlabel="the follower's action u", ylabel="the average z", ylim=(0, 1.6))
    ax.legend(frameon=False, loc="lower right")
    return figure


def deviation_rows() -> Figure:
    """What a plant gains by running v units in place of 3, against the gain K: 2 + v²/2 − (2.25 + K (v − 3)) v."""
    figure, ax = _figure(5.6, 3.6)
    gain = np.linspace(-0.1, 0.5, 61)
    for units, colour in ((1, GREEN), (2, RED), (4, BLUE)):
        other = 2 + units**2 / 2 - (2.25 + gain * (units - 3)) * units
        ax.plot(gain, -0.25 - other, color=colour, label=f"{units} unit{'s' if units > 1 else ''}")
    ax.axhline(-0.25, color=GREY, label="off")
    ax.axhline(0.0, color="black", lw=0.8)
    ax.axvspan(0.125, 0.3125, color=GREEN, alpha=0.12)
    ax.plot([0.125], [0.0], "o", color=RED)
    ax.set(xlabel="gain of the price on the output", ylabel="what the plant gains by it", ylim=(-1.2, 0.8))
    ax.legend(frameon=False)
    return figure


def grid_prices() -> Figure:
    """What each generator runs at: as planned, and as it would at 4 $/MWh and nothing else."""
    from models.grid_prices import build

    game = build(posted_price=4.0)
    plan = sp.leader_optimal(game)
    alone, held = sp.verify(plan), sp.verify(sp.affine_incentive(plan))
    m = game.model
    at = np.arange(len(m.G))
    figure, (ax, other) = _figure(9.0, 3.8, 2)
    for shift, label, colour, report in (
        (-0.27, "posted price alone", GREY, alone),
        (0.27, "posted price and gain", BLUE, held),
    ):
        output = [report.best_response[m.generator[g].name][m.generator[g].output.name] for g in m.G]
        ax.bar(at + shift, output, 0.26, color=colour, label=label)
    ax.bar(at, [plan.value(m.generator[g].output) for g in m.G], 0.26, color=RED, label="the operator's plan")
    ax.set(ylabel="best output, MW", xlabel="generator at bus")
    ax.legend(frameon=False)
    other.bar(at, [alone.regret[m.generator[g].name] for g in m.G], 0.5, color=GREY)
    other.set(ylabel="gained by leaving the plan, $/h", xlabel="generator at bus", title="at the posted price alone")
    for each in (ax, other):
        each.set_xticks(at, [str(m.site[g]) for g in m.G])
    return figure


def country_grid() -> Figure:
    """Poland, summer 2008: nodal prices by colour, full lines in red, placed as pandapower places them."""
    from models import grid_prices

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandapower's own
        net, grid = grid_prices.read_net("case3120sp"), grid_prices.read_pandapower("case3120sp")
        game = grid_prices.build("case3120sp")
    m, plan = game.model, sp.leader_optimal(game)
    plan.load()
    at = np.array([json.loads(point)["coordinates"] for point in net.bus.geo])
    place = dict(zip(net.bus.index, at, strict=True))
    ends = np.array([[place[line.start], place[line.end]] for line in grid.branches])
    limit = np.array([line.limit for line in grid.branches])
    full = np.array([abs(pyo.value(flow)) for flow in m.flow.values()]) > (1 - sp.TOLERANCES.accuracy) * limit
    price = np.array([plan.multipliers[m.balance[bus].name] for bus in net.bus.index])
    low, high = np.quantile(price, [0.01, 0.99])
    figure, ax = _figure(9.0, 6.4)
    ax.add_collection(LineCollection(ends[~full], colors=GREY, linewidths=0.3, alpha=0.6, rasterized=True))
    dots = ax.scatter(*at.T, c=price, s=6, vmin=low, vmax=high, zorder=2, rasterized=True)
    ax.add_collection(
        LineCollection(ends[full], colors=RED, linewidths=2.5, zorder=3, label=f"{full.sum()} full lines")
    )
    figure.colorbar(dots, ax=ax, label="nodal price, $/MWh", extend="both", shrink=0.8)
    ax.legend(frameon=False)
    ax.set_axis_off()
    return figure


def market_power() -> Figure:
    """The unit's profit over its offer, with a local maximum and the cap, and what each bus pays."""
    from models import market_power as power

    game = power.build()
    best, honest, free = sp.stackelberg(game, proof_seconds=60), power.at_cost(game), power.uncongested()
    figure, (ax, other) = _figure(9.6, 3.8, 2)
    offers = np.concatenate([np.linspace(game.model.offer.lb, 5.0, 14), np.linspace(5.5, power.CAP, 6)])
    profit = [sp.nash(game, leader={"offer": float(offer)}).leader_objective for offer in offers]
    ax.plot(offers, profit, "o-", ms=3, color=GREY, label="the market answers")
    ax.plot(free.offer, free.profit, "s", color=GREEN, label="closed form without line limits")
    ax.plot(best.value("offer"), best.leader_objective, "o", color=RED, label="sp.stackelberg")
    ax.set(xlabel="offer, $/MWh", ylabel="profit of unit 4, $/h")
    ax.legend(frameon=False)
    for shift, label, colour, plan in ((-0.2, "at cost", GREY, honest), (0.2, "strategic", RED, best)):
        nodal = power.prices(plan)
        other.bar(nodal.index + shift, nodal, 0.4, color=colour, label=label)
    other.axhline(power.CAP, color=BLUE, ls=":", label="cap on offers")
    other.set(xlabel="bus", ylabel="nodal price, $/MWh", xticks=[1, 8, 15, 22, 27])
    other.legend(frameon=False)
    return figure


def demand_response() -> Figure:
    """Total load over the day, at one tariff and as planned, and the hourly price that brings the plan about."""
    from models import demand_response as dr

    game = dr.build()
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan, free=dr.FREE, multipliers="free")
    hours = list(game.model.T)
    tariff = {**{f"price[{t}]": dr.TARIFF for t in hours}, "charge": 0.0}
    alone = sp.nash(dr.build(flat=True), leader=tariff)
    figure, (ax, other) = _figure(9.0, 3.8, 2)
    for source, label, colour in ((alone, "one tariff", GREY), (plan, "plan", BLUE)):
        ax.step(hours, [source.value(f"total[{t}]") for t in hours], where="mid", color=colour, label=label, lw=2)
    ax.set(xlabel="hour", ylabel="load of six customers, kWh")
    ax.legend(frameon=False)
    other.step(hours, [rule.offset[f"price[{t}]"] for t in hours], where="mid", color=RED, lw=2, label="hourly price")
    other.axhline(dr.TARIFF, color=GREY, ls=":", label="tariff")
    other.set(xlabel="hour", ylabel="€/kWh", ylim=(0, None))
    other.legend(frameon=False)
    return figure


def crowdsourcing() -> Figure:
    """Each worker's payoff against its effort under the contract, and what it has elsewhere."""
    from models import crowdsourcing as cs

    rule = sp.affine_incentive(sp.leader_optimal(cs.build()))
    figure, ax = _figure()
    effort = np.linspace(0, 7, 141)
    for k, cost in enumerate(cs.COSTS, start=1):
        target, bonus = rule.targets[f"worker[{k}].effort"], rule.gain.loc[f"pay[{k}]", f"worker[{k}].effort"]
        pay = rule.offset[f"pay[{k}]"] + bonus * (effort - target)
        (line,) = ax.plot(effort, pay - cost * effort**2 / 2, label=f"c = {cost:g}")
        ax.plot([target], [cs.OUTSIDE], "o", color=line.get_color())
    ax.axhline(cs.OUTSIDE, color=GREY, ls=":")
    ax.set(xlabel="effort", ylabel="payoff under the contract", ylim=(-8, 4))
    ax.annotate("outside option", (6.9, cs.OUTSIDE + 0.15), ha="right", color=GREY)
    ax.legend(frameon=False, title="worker", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def oligopoly() -> Figure:
    """Outputs when firm 1 moves first, next to the Cournot equilibrium."""
    from models import oligopoly as ol

    plan = sp.stackelberg(ol.build(), solver="pounce")
    cournot = sp.nash(ol.build_cournot(), solver="pounce")
    firms = list(ol.UNIT_COST)
    lead = [plan.value("quantity" if i == 1 else f"firm[{i}].quantity") for i in firms]
    profit = [plan.leader_objective, *(plan.follower_objectives[f"firm[{i}]"] for i in firms[1:])]
    before = [cournot.value(f"firm[{i}].quantity") for i in firms]
    earned = [cournot.follower_objectives[f"firm[{i}]"] for i in firms]
    figure, axes = _figure(9.0, 3.6, 2)
    for ax, first, then, what in ((axes[0], before, lead, "output"), (axes[1], earned, profit, "profit")):
        at = np.arange(len(firms))
        ax.bar(at - 0.2, first, 0.38, color=GREY, label="all at once (Cournot)")
        ax.bar(at + 0.2, then, 0.38, color=BLUE, label="firm 1 moves first")
        ax.set_xticks(at, [str(i) for i in firms])
        ax.set(xlabel="firm", ylabel=what)
    axes[0].set_ylim(0, 72)
    axes[0].legend(frameon=False, ncols=2, fontsize="small")
    return figure


def cournot() -> Figure:
    """The leader's profit over its output, the others answering; firms drop out one by one at the kinks."""
    from models import cournot as co

    n = 10
    game, best = co.build(n), co.optimum(n)
    found = sp.stackelberg(game)
    quantity = np.linspace(0, 85, 18)
    figure, ax = _figure()
    answers = [sp.nash(game, leader={"quantity": float(q)}) for q in quantity]
    ax.plot(quantity, [a.leader_objective for a in answers], "o-", ms=3, color=GREY, label="the followers answer")
    ax.axhline(best.profit, color=GREEN, ls=":", label="closed form")
    ax.plot([found.value("quantity")], [found.leader_objective], "o", color=RED, label="sp.stackelberg")
    ax.set(xlabel="leader's output", ylabel="leader's profit")
    ax.legend(frameon=False)
    return figure


def quadratic_gaussian() -> Figure:
    """Gains by the number of followers: of each action, and of the average."""
    from models import quadratic_gaussian as qg

    figure, ax = _figure()
    sizes = [1, 2, 5, 10, 20, 50]
    fine = [qg.closed_form(n) for n in range(1, 51)]
    ax.plot(range(1, 51), [s.gain for s in fine], color=BLUE, alpha=0.4, lw=4, label="each action, closed form")
    ax.plot(range(1, 51), [s.average_gain for s in fine], color=RED, alpha=0.4, lw=4, label="average, closed form")
    for average, colour in ((False, BLUE), (True, RED)):
        gains = []
        for n in sizes:
            game = qg.build(n)
            rule = sp.affine_incentive(sp.leader_optimal(game), qg.observed(game, average=average))
            gains.append(float(rule.gain.loc["r[1]"].dropna().iloc[0]))
        ax.plot(sizes, gains, "o", color=colour, label="computed")
    ax.set(xscale="log", yscale="log", xlabel="followers $N$", ylabel="gain")
    ax.legend(frameon=False)
    return figure


def storage_contract() -> Figure:
    """The level of the storage along each history of shocks, as the operator would like it."""
    from models import storage_contract as sc

    game = sc.build()
    plan, m = sp.leader_optimal(game), game.model
    figure, ax = _figure()
    for w in m.scenarios:
        level, path = 1.0, [1.0]
        for t, block in m.owner.stage.items():
            level -= plan.value(block.sold[m.scenarios.atom(f"h{t}", w)])
            path.append(level)
        first = m.scenarios["z1"][w] > 0
        ax.plot(range(len(path)), path, "o-", color=RED if first else BLUE, alpha=0.6, lw=1.5)
    ax.plot([], [], color=RED, label="demand high in period 1")
    ax.plot([], [], color=BLUE, label="demand low in period 1")
    ax.axhline(1.5, color=GREY, ls=":")
    ax.axhline(0.25, color=GREY, ls=":")
    ax.annotate("capacity", (0, 1.47), va="top", color=GREY)
    ax.annotate("least level at the end", (0, 0.27), color=GREY)
    ax.set_xticks(range(4), ["start", *(f"after {t}" for t in (1, 2, 3))])
    ax.set(ylabel="level")
    ax.legend(frameon=False)
    return figure


def major_minor() -> Figure:
    """What the leader gets when minors serve it, and when they play their equilibrium."""
    from models.major_minor import MINORS, build

    rows = []
    for size in (1, 2, 5, 10, 100, math.inf):
        game = build(size=size)
        best, held = sp.leader_optimal(game), sp.leader_optimal(game, responding=MINORS)
        rows.append((size, best.leader_objective, held.leader_objective))
    figure, ax = _figure()
    sp.plots.leaders(pd.DataFrame(rows, columns=["size", "leader_optimal", "leader_major_optimal"]), ax)
    return figure


def sioux_falls_tolls() -> Figure:
    """Links by the toll at marginal cost and by the tolls that take least money."""
    from models import sioux_falls_tolls as roads

    best = sp.leader_optimal(roads.build())
    figure, ax = _figure(8.0, 3.8)
    flow = np.array([best.value(f"flow[{a}]") for a in best.attached().model.link])
    capacity, free, factor, power = np.array([link[2:] for link in roads.read_network().links]).T
    marginal = free * factor * power * (flow / capacity) ** power  # v t'(v)
    least = np.array(list(roads.tolls(best, "least").offset.values()))
    order = np.argsort(-marginal, kind="stable")
    for toll, label, colour, width in (
        (marginal, "at marginal cost", GREY, 0.9),
        (least, "of least money", BLUE, 0.55),
    ):
        ax.bar(np.arange(len(toll)), toll[order], width, color=colour, label=label)
    ax.set(xlabel="links, by their toll at marginal cost", ylabel="toll, hundredths of an hour")
    ax.legend(frameon=False)
    return figure


def ev_charging() -> Figure:
    """The night's load: households alone, charging at one tariff, and the filled valley."""
    from models import ev_charging as ev

    game = ev.build()
    m = game.model
    plan = sp.leader_optimal(game)
    alone = sp.nash(game, leader={m.price[t].name: ev.TARIFF for t in m.hour})
    rule = sp.affine_incentive(plan, observe=[m.demand], free=[m.price], multipliers="free")
    clock = [f"{(ev.FIRST + t) % 24}" for t in m.hour]
    figure, (ax, other) = _figure(9.0, 3.8, 2)
    ax.fill_between(list(m.hour), [m.base[t] for t in m.hour], color=GREY, alpha=0.3, step="mid", label="households")
    for source, label, colour in ((alone, "vehicles at one tariff", ORANGE), (plan, "plan", BLUE)):
        ax.step(list(m.hour), [source.value(m.demand[t]) for t in m.hour], where="mid", color=colour, label=label, lw=2)
    ax.set(ylabel="kW per household", xlabel="hour", ylim=(0, 1.45))
    ax.legend(frameon=False)
    other.step(list(m.hour), [rule.offset[m.price[t].name] for t in m.hour], where="mid", color=RED, lw=2)
    other.axhline(ev.TARIFF, color=GREY, ls=":")
    other.set(ylabel="price, €/kWh", xlabel="hour")
    for each in (ax, other):
        each.set_xticks(list(m.hour)[::3], clock[::3])
    return figure


def metered_tariff() -> Figure:
    """What explains the readings, and the regret of evenings with and without a probe."""
    from models import metered_tariff as meter

    fit = meter.fitted(meter.readings())
    corners = fit.consistent.vertices.to_numpy()
    around = corners[np.argsort(np.arctan2(*(corners - corners.mean(axis=0)).T[::-1]))]
    figure, (ax, other) = _figure(9.6, 4.0, 2)
    ax.fill(*around.T, color=BLUE, alpha=0.25, label="explains every reading")
    ax.plot(*meter.TRUTH, "o", color=GREEN, label="truth")
    ax.plot(*fit.parameters, "x", color=RED, label="estimate")
    ax.set(xlabel="worth of the first kWh", ylabel="slope", title="what the meter allows")
    ax.legend(frameon=False)
    ways = {
        "constant prices, trapped": (RED, meter.learned(1)["regret"].tolist() * 14),
        "a probe first": (BLUE, meter.learned(4, probe=0.0)["regret"].tolist() + [0.0] * 10),
        "affine tariffs": (GREEN, meter.learned(4, constant=False)["regret"].tolist() + [0.0] * 10),
    }
    for label, (colour, regrets) in ways.items():
        other.plot(np.arange(1, 15), np.cumsum(regrets), color=colour, label=label)
    other.set(xlabel="evening", ylabel="regret added up", title="announce, observe, fit anew")
    other.legend(frameon=False)
    return figure


def nonlinear_pricing() -> Figure:
    """What is paid for what under the menu, the line and the constant, and what each type keeps by it."""
    from models import nonlinear_pricing as pricing

    types = pricing.buyers()
    rule = pricing.line(types)
    plans = pricing.computed(types, rule)
    theta = np.array(types["theta"])
    looks = {"best menu": (GREEN, "s"), "best affine rule": (BLUE, "o"), "best constants": (GREY, "^")}
    figure, (ax, other) = _figure(9.6, 4.0, 2)
    for way, (colour, mark) in looks.items():
        sold = pricing.sale(plans[way], types)
        paid = theta * sold.quantity - sold.quantity**2 / 2 - sold.rent
        ax.plot(sold.quantity, paid, mark, color=colour, label=way)
        other.plot(theta, sold.rent, mark, ls="-", color=colour, label=way)
    q = np.linspace(0.0, 8.2, 83)
    fee, offset, gain = pricing.coefficients(rule)
    ax.plot(q, fee + offset * q + gain * q**2, color=BLUE)
    constants = plans["best constants"]
    ax.plot(q, constants.value("fee") + constants.value("price[0]") * q, color=GREY)
    ax.set(xlabel="units", ylabel="paid for them", title="what types 6, 7 and 8 buy", xlim=(0, None), ylim=(0, None))
    other.set(xlabel="type", ylabel="information rent", title="what each type keeps", xticks=theta)
    ax.legend(frameon=False)
    return figure


def unit_commitment() -> Figure:
    """What plants gain by other outputs under the best price that answers the total; the least regret by demand."""
    from models import unit_commitment as plants

    best = plants.tariff("total seen", regret="least")
    figure, (ax, other) = _figure(9.6, 4.0, 2)
    for name, colour in {"high2": ORANGE, "med1": BLUE, "med2": GREEN}.items():
        gain = plants.gains(best, name)
        planned = best.plan.value(best.plan.attached().model.plant[name].output)
        ax.plot(gain.index, gain, "o-", color=colour, ms=4, label=f"{name}, planned: {planned:.0f} MW")
    ax.axhline(best.epsilon, color=RED, ls=":", label=f"least regret: {best.epsilon:.3f} €")
    ax.set(xlabel="output, MW", ylabel="gain over the plan, €", ylim=(-1.5, 1.0))
    ax.set_title(f"{plants.DEMAND} MW, the best price that answers the total")
    ax.legend(frameon=False, loc="upper center", ncols=2)
    regrets = plants.regrets(forms=("one price", "total seen"))
    for shift, form, colour in ((-0.2, "one price", GREY), (0.2, "total seen", RED)):
        other.bar(regrets.index + shift, regrets[form], 0.4, color=colour, label=form)
    other.set(xlabel="demand, MW", ylabel="least regret, €", title="what the best tariff of a form cannot avoid")
    other.legend(frameon=False)
    return figure


def literature() -> Figure:
    """A published bilevel problem of one leader variable: its cost along the follower's answers."""
    from stackpyomo.games import parse_game
    from stackpyomo.games.files import read_games

    entries = {entry["name"]: entry for entry in read_games(HOME / "models" / "literature" / "bilevel.json")}
    game = parse_game(entries["bard1988_ex1"])
    best = sp.stackelberg(game)
    (leader,) = game.leader.variables
    figure, ax = _figure()
    at = np.linspace(1.0, 5.0, 33)
    cost = [sp.nash(game, leader={leader.name: float(x)}).leader_objective for x in at]
    ax.plot(at, cost, color=GREY, label="the follower answers")
    ax.axhline(game.metadata["reference"]["leader_cost"], color=GREEN, ls=":", label="published")
    ax.plot([best.value(leader)], [best.leader_objective], "o", color=RED, label="sp.stackelberg")
    ax.set(xlabel=f"leader's {leader.name}", ylabel="leader's cost")
    ax.legend(frameon=False)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    figure.__name__: figure
    for figure in (
        two_roads,
        in_one_picture,
        responses,
        deviation_rows,
        grid_prices,
        country_grid,
        market_power,
        demand_response,
        crowdsourcing,
        oligopoly,
        cournot,
        quadratic_gaussian,
        storage_contract,
        major_minor,
        sioux_falls_tolls,
        ev_charging,
        metered_tariff,
        nonlinear_pricing,
        unit_commitment,
        literature,
    )
}


def _missing(name: str) -> Figure | None:
    """The picture that stands for one that cannot be drawn here."""
    package, extra = NEEDS.get(name, ("numpy", ""))
    if find_spec(package) is not None:
        return None
    figure = Figure(figsize=(6.8, 1.2))
    figure.text(0.5, 0.5, f'not drawn: pip install "stackpyomo[{extra}]" brings {package}', ha="center", color=RED)
    return figure


def draw_all(folder: Path, names: tuple[str, ...] = ()) -> None:
    """Draw those of the figures that are not there or older than what they are drawn from."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [Path(__file__), *HOME.glob("models/*.py"), *HOME.glob("stackpyomo/**/*.py")]
    changed = max(path.stat().st_mtime for path in sources)
    for name, figure in FIGURES.items():
        path = folder / f"{name}.svg"
        if (names and name not in names) or (path.exists() and path.stat().st_mtime >= changed):
            continue
        with mpl.rc_context(STYLE):
            drawn = _missing(name) or figure()
            unfinished = path.with_suffix(".part")
            drawn.savefig(unfinished, format="svg", metadata={"Date": None})
        unfinished.replace(path)


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "_figures", tuple(sys.argv[2:]))
