"""Nonlinear pricing: a seller that cannot see what its good is worth to a buyer, with a menu, a line and a constant.

A buyer (follower) uses q units, and a little more is worth θ − q to it. It alone knows its type θ. A seller (leader)
without costs sees q, and may announce a fee F and a price p = c + K q, the same for everybody:

    buyer   max_q  θ q − q²/2 − p q − F,    q ≥ 0            seller   max  E[p q + F],    every type gains 0 or more

For types θ_1 < … < θ_n of probabilities π, with mean μ and variance s², four ways to sell have closed forms:

    full information    q = θ                             a bill for each type: nobody keeps anything
    best menu           q_i = θ_i − (θ_i+1 − θ_i) P(θ > θ_i)/π_i       an item for each type, whatever it costs
    best affine rule    q_i = θ_1 + σ (θ_i − μ)           σ = ½ (1 + (μ − θ_1)²/s²),  1 + 2 K = 1/σ
    best constants      q_i = θ_1 + θ_i − μ               K = 0: a two-part tariff, c = μ − θ_1

The lowest type keeps nothing. A higher one keeps its information rent: on the menu (θ_j+1 − θ_j) q_j for each type j
below it, on a line ∫ q dθ = (θ_i − θ_1)(q_1 + q_i)/2, which is more: every type between two would pick a point of the
line, and has to be paid for. Profits are E[q²]/2; at the best constants (θ_1² + (μ − θ_1)²)/2.

The menu is that of M. Mussa, S. Rosen, Monopoly and product quality, Journal of Economic Theory 18 (1978) 301–317, for
finitely many types; there q is quality, and q²/2 a cost of the seller, which moves payments alone. Where its q would
fall in θ it is ironed, where it would be negative it is 0. The lines are the best among those that every type buys
from: with q = σ (θ − c), E[p q + F] = E[θ q − q²/2 − rent] is concave in (σ, σ c), and its gradient gives both of them.

n types of equal probability, evenly on an interval of width w: the line loses w² (4 n + 1)/(8 (n² − 1)) against the
menu, and nothing in the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from scipy.optimize import isotonic_regression

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

WORTH = (6.0, 7.0, 8.0)  # θ
PROBABILITY = (1 / 6, 1 / 3, 1 / 2)  # π
MOST = 20.0  # units, and what each of price and fee may be
EXPECTED = {"full information": 163 / 6, "best menu": 169 / 8, "best affine rule": 769 / 40, "best constants": 170 / 9}


class Sale(NamedTuple):
    """What each type uses, what it keeps (its information rent), and the seller's expected profit."""

    quantity: np.ndarray
    rent: np.ndarray
    profit: float


def buyers(worth: Sequence[float] = WORTH, probability: Sequence[float] = PROBABILITY) -> sp.Scenarios:
    """The types, in rising order."""
    if not (len(worth) > 1 and worth[0] > 0 and np.all(np.diff(worth) > 0) and min(probability) > 0):
        raise InvalidGame(
            f"nonlinear_pricing worth={worth}, probability={probability}: "
            "expected two or more rising worths > 0 and probabilities > 0."
        )
    return sp.Scenarios({"theta": list(worth)}, list(probability))


def even(number: int, low: float = 6.0, width: float = 2.0) -> sp.Scenarios:
    """``number`` types of equal probability, evenly on an interval."""
    return buyers([float(x) for x in np.linspace(low, low + width, number)], [1 / number] * number)


def build(types: sp.Scenarios | None = None) -> sp.Game:
    """The seller against a buyer of one of these types, which takes part whatever its type."""
    types = buyers() if types is None else types
    theta = types["theta"]
    m = pyo.ConcreteModel(name="nonlinear_pricing")
    m.price = pyo.Var(list(types), bounds=(-MOST, MOST), initialize=0)
    m.fee = pyo.Var(bounds=(0, MOST), initialize=0)
    m.buyer = pyo.Block()
    m.buyer.quantity = pyo.Var(types.atoms("theta"), bounds=(0, MOST), initialize=1)

    def quantity(w: int) -> Any:
        return m.buyer.quantity[types.atom("theta", w)]

    def gain(w: int) -> Any:
        return theta[w] * quantity(w) - quantity(w) ** 2 / 2 - m.price[w] * quantity(w) - m.fee

    m.buyer.gain = pyo.Objective(expr=types.expectation(gain), sense=pyo.maximize)
    m.takes_part = pyo.Constraint(list(types), rule=lambda _, w: gain(w) >= 0)
    m.profit = pyo.Objective(expr=types.expectation(lambda w: m.price[w] * quantity(w)) + m.fee, sense=pyo.maximize)
    return sp.Game(m, followers=m.buyer, name="nonlinear pricing")


def line(types: sp.Scenarios, **options: Any) -> sp.Incentive:
    """The best fee and price p = c + K q for all types, computed."""
    game = build(types)
    m = game.model
    return sp.optimal_rule(game, types.observe(m.price, [(m.buyer.quantity, "theta")]), common=[m.price], **options)


def coefficients(rule: sp.Incentive) -> tuple[float, float, float]:
    """(F, c, K) of what is announced."""
    signal = rule.signals[0]
    gain = float(rule.gain.loc["price[0]", signal])
    return rule.plan.value("fee"), rule.offset["price[0]"] - gain * rule.targets[signal], gain


def computed(types: sp.Scenarios, rule: sp.Incentive) -> dict[str, sp.Plan]:
    """The four ways to sell, by the toolkit; rule: what :func:`line` gives."""
    game = build(types)
    return {
        "full information": sp.leader_optimal(game),
        "best menu": sp.best_menu(game, types),
        "best affine rule": rule.plan,
        "best constants": line(types, gain_bounds=(0, 0)).plan,
    }


def sale(plan: sp.Plan, types: sp.Scenarios) -> Sale:
    """What a plan sells to each type, and leaves it."""
    q = np.array([plan.value(f"buyer.quantity[{types.atom('theta', w)}]") for w in types])
    price = np.array([plan.value(f"price[{w}]") for w in types])
    rent = types["theta"] * q - q**2 / 2 - price * q - plan.value("fee")
    return Sale(q, rent, plan.leader_objective)


# --- closed forms -----------------------------------------------------------------------------------------------------


def full_information(types: sp.Scenarios) -> Sale:
    """Each type buys what is worth something to it, and pays all of that."""
    theta = np.array(types["theta"])
    return Sale(theta, np.zeros_like(theta), float(types.probability @ theta**2) / 2)


def menu(types: sp.Scenarios) -> Sale:
    """The menu of Mussa and Rosen: marginal worth less the rent that it leaves to all higher types."""
    theta, probability = np.array(types["theta"]), np.array(types.probability)
    steps, above = np.append(np.diff(theta), 0.0), 1.0 - np.cumsum(probability)
    q = np.maximum(isotonic_regression(theta - steps * above / probability, weights=probability).x, 0.0)
    return Sale(q, np.append(0.0, np.cumsum(steps * q)[:-1]), float(probability @ q**2) / 2)


def affine(types: sp.Scenarios) -> Sale:
    """The best fee and price p = c + K q that every type buys at."""
    theta, probability = np.array(types["theta"]), np.array(types.probability)
    mean = probability @ theta
    return _at_slope(types, (1 + (mean - theta[0]) ** 2 / (probability @ (theta - mean) ** 2)) / 2)


def two_part(types: sp.Scenarios) -> Sale:
    """The best fee and constant price that every type buys at."""
    return _at_slope(types, 1.0)


def _at_slope(types: sp.Scenarios, slope: float) -> Sale:
    """The best line among those under which a type of worth 1 more uses ``slope`` = 1/(1 + 2 K) more."""
    theta, probability = np.array(types["theta"]), np.array(types.probability)
    q = theta[0] + slope * (theta - probability @ theta)
    if q[0] < 0:
        raise InvalidGame(
            "nonlinear_pricing: the lowest type would be left out, and the closed form of a line is for types who all "
            "buy; take types that are closer together."
        )
    rent = (theta - theta[0]) * (q[0] + q) / 2
    return Sale(q, rent, float(probability @ (theta * q - q**2 / 2 - rent)))


CLOSED: dict[str, Callable[[sp.Scenarios], Sale]] = {
    "full information": full_information,
    "best menu": menu,
    "best affine rule": affine,
    "best constants": two_part,
}


def compared(types: sp.Scenarios, plans: dict[str, sp.Plan]) -> pd.DataFrame:
    """The four ways in one table: profit, computed and in closed form; what each type uses, and its rent."""
    rows = {}
    for way, plan in plans.items():
        quantity, rent, profit = sale(plan, types)
        cells = {("profit", "computed"): profit, ("profit", "closed form"): CLOSED[way](types).profit}
        for name, values in (("quantity", quantity), ("rent", rent)):
            cells |= {(name, f"θ = {theta:g}"): x for theta, x in zip(types["theta"], values, strict=True)}
        rows[way] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    """The four ways to sell, the line that is announced, type by type, and what finer types change."""
    types = buyers()
    rule = line(types)
    fee, offset, gain = coefficients(rule)
    print(f"{(compared(types, computed(types, rule)).round(4) + 0.0).to_string()}\n")
    print(f"Announced to everybody: a fee of {fee:.4f} and a price of {offset:.4f} {gain:+.4f} q.")
    print(sp.verify(rule).verdict)
    print(sp.conditional_regret(rule, types, [(rule.plan.game.model.buyer.quantity, "theta")]).to_string(index=False))
    lost = {n: menu(even(n)).profit - affine(even(n)).profit for n in (2, 3, 5, 10, 100)}
    print("\nWhat the line loses against the menu, types of equal probability from 6 to 8 (closed forms):")
    print("\n".join(f"{n:4d} types  {loss:.4f}" for n, loss in lost.items()))


if __name__ == "__main__":
    main()
