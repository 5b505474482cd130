"""Quadratic Gaussian games: a leader, N followers with noisy observations of one state, and the closed form beside.

    x ~ N(0, 1),  y_i = x + w_i,  w_i ~ N(0, σ²) independent;  ū the average of the u_i

    leader      min E[ (x − u0 − ū)² + r0 u0² + r1 (1/N) Σ u_i² ]       knows x, every y_i, and what OCS or OPCS shares
    follower i  min E[ (u_i − β x)² + s (u0 − θ x)² ]                   knows y_i

The best plan is linear: u_i = k y_i, u0 = (x − ū)/(1 + r0), and with ρ = r0/(1 + r0)

    k = ρ/(ρ(1 + σ²/N) + r1(1 + σ²)),  J0 = ρ(1 − k),  Q = −(k − β/(1 + σ²))/(s(r1 k/r0 − θ/(1 + σ²))),  K = N Q:

u0 moves by Q (u_i − k y_i) for each follower (OCS), or by K (ū − k ȳ), ȳ the average observation (OPCS). Q tends to a
limit, K grows as N: there is no incentive of finite energy in the limit.

Nothing here holds the joint distribution of the observations. :func:`build` works with the coefficients of linear
strategies, u_i = k_i y_i and u0 = p x + Σ r_j y_j, and the second moments E x² = E x y_i = E y_i y_j = 1 (i ≠ j),
E y_i² = 1 + σ²: for any α and c_j,

    E (α x − Σ c_j y_j)² = (α − Σ c_j)² + σ² Σ c_j².

A follower who plays (k_i + d) y_i moves u0 by Q d y_i (K/N d y_i): the leader's coefficient r_i answers k_i (or what
k_i adds to the average, k_i/N), and no other r_j does. Best responses to linear strategies are linear (Radner 1962), so
that this is the game, and not an approximation of it. :func:`in_atoms` plays it by quadrature from the observations
inwards, with an action for every value of an observation and no linearity put in: exact from two nodes on.
:func:`in_samples` draws the state and the noises; there every value of an observation is another one and tells the
state, so that the followers' actions are policies, affine in what they observe.

S. Sanjari, S. Bose, T. Başar, arXiv 2207.10611 (the class); R. Radner, Ann. Math. Statist. 33(3):857–881, 1962.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

SIZES = (1, 2, 5, 10, 100)


class Costs(NamedTuple):
    """The class's parameters; the defaults give k = N/(3N + 1), Q = 1 + 1/N, K = N + 1."""

    noise: float = 1.0
    r0: float = 1.0
    r1: float = 0.5
    beta: float = 1.0
    theta: float = 0.0
    s: float = 1.0


class Solution(NamedTuple):
    """Coefficient of the followers' plan, the leader's cost, the gain on each action and on the average."""

    k: float
    cost: float
    gain: float
    average_gain: float


EXPECTED = {"leader_objective": 5 / 14, "k": 2 / 7, "gain": 3 / 2}  # of build()


def closed_form(n: int, costs: Costs = Costs()) -> Solution:  # noqa: B008 - a tuple of numbers
    """The plan and its gains, for any N."""
    noise, r0, r1, beta, theta, s = costs
    rho = r0 / (1 + r0)
    k = rho / (rho * (1 + noise / n) + r1 * (1 + noise))
    gain = -(k - beta / (1 + noise)) / (s * (r1 * k / r0 - theta / (1 + noise)))
    return Solution(k, rho * (1 - k), gain, n * gain)


def build(n: int = 2, **costs: float) -> sp.Game:
    """The game in coefficients for ``n`` followers; ``costs`` as in :class:`Costs`."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidGame(f"quadratic_gaussian n={n!r}: expected an integer from 1 on.")
    noise, r0, r1, beta, theta, s = c = Costs(**costs)
    if not all(math.isfinite(v) for v in c) or min(noise, r0, r1, s) <= 0:
        raise InvalidGame(f"quadratic_gaussian {c}: noise, r0, r1 and s must be positive, all of them finite.")
    m = pyo.ConcreteModel(name=f"quadratic_gaussian_{n}")
    who = range(1, n + 1)
    m.p = pyo.Var(initialize=0.0)
    m.r = pyo.Var(who, initialize=0.0)
    m.average = pyo.Var(initialize=0.0)
    answer, power = pyo.quicksum(m.r[j] for j in who), pyo.quicksum(m.r[j] ** 2 for j in who)

    def follower(block: Any, i: int) -> None:
        block.k = pyo.Var(initialize=0.0)
        block.share = pyo.Expression(expr=block.k / n)
        own = (block.k - beta) ** 2 + noise * block.k**2
        block.cost = pyo.Objective(expr=own + s * ((m.p + answer - theta) ** 2 + noise * power))

    m.follower = pyo.Block(who, rule=follower)
    k = {i: m.follower[i].k for i in who}
    m.mean = pyo.Constraint(expr=m.average == pyo.quicksum(k.values()) / n)
    miss = (1 - m.p - answer - m.average) ** 2 + noise * pyo.quicksum((m.r[j] + k[j] / n) ** 2 for j in who)
    effort = r1 * (1 + noise) / n * pyo.quicksum(k[j] ** 2 for j in who)
    m.goal = pyo.Objective(expr=miss + r0 * ((m.p + answer) ** 2 + noise * power) + effort)
    return sp.Game(m, followers=m.follower, aggregates=[m.mean], name=f"quadratic Gaussian, N = {n}")


def observed(game: sp.Game, *, average: bool = False) -> Any:
    """r_i answers k_i (OCS), or what k_i adds to the average (OPCS)."""
    m = game.model
    return pyo.ComponentMap((m.r[i], [m.follower[i].share if average else m.follower[i].k]) for i in m.r)


OBSERVE = observed


def in_atoms(nodes: int, costs: Costs = Costs(), n: int = 2) -> tuple[sp.Game, sp.Scenarios]:  # noqa: B008
    """``n`` followers on grids of ``nodes`` values for each observation, one action for each value."""
    names = ["x", *(f"w{i}" for i in range(1, n + 1))]
    scenarios = sp.Scenarios.gauss_hermite(
        names,
        [nodes] * n + [2],
        covariance=np.diag([1.0, *[costs.noise] * n]),
        observed={f"y{i}": {"x": 1.0, f"w{i}": 1.0} for i in range(1, n + 1)},
    )
    m = pyo.ConcreteModel(name=f"quadratic_gaussian_atoms_{nodes}")
    m.follower = pyo.Block(range(1, n + 1))
    for i in m.follower:
        m.follower[i].u = pyo.Var(scenarios.atoms(f"y{i}"), initialize=0.0)
    m.u0 = pyo.Var(list(scenarios), initialize=0.0)
    return priced(m, scenarios, m.u0, costs), scenarios


def in_samples(
    size: int,
    seed: int,
    n: int = 2,
    costs: Costs = Costs(),  # noqa: B008
) -> tuple[sp.Game, sp.Scenarios]:
    """Affine policies of all players on ``size`` draws, u_i = c_i + k_i y_i: the error falls as size^(−1/2)."""

    def draw(generator: np.random.Generator, count: int) -> dict[str, Any]:
        x = generator.normal(size=count)
        noise = {f"y{i}": x + math.sqrt(costs.noise) * generator.normal(size=count) for i in range(1, n + 1)}
        return {"x": x, **noise}

    seen = ["x", *(f"y{i}" for i in range(1, n + 1))]
    scenarios = sp.Scenarios.from_samples(draw, size, seed=seed, observations={"all": seen})
    m = pyo.ConcreteModel(name=f"quadratic_gaussian_samples_{size}")
    m.follower = pyo.Block(range(1, n + 1))
    for i in m.follower:
        scenarios.policy(m.follower[i], f"y{i}", name="u")
    lead = scenarios.policy(m, "all", name="u0")
    answer = {w: lead[scenarios.atom("all", w)] for w in scenarios}
    return priced(m, scenarios, answer, costs), scenarios


def priced(m: Any, scenarios: sp.Scenarios, u0: Any, costs: Costs = Costs()) -> sp.Game:  # noqa: B008
    """Everybody's expected cost; u0 by scenario and each follower's u by its observation are Vars or policies."""
    _, r0, r1, beta, theta, s = costs
    x, who = [float(v) for v in scenarios["x"]], list(m.follower)

    def u(i: int, w: int) -> Any:
        return m.follower[i].u[scenarios.atom(f"y{i}", w)]

    def leads(w: int) -> Any:
        own = [u(i, w) for i in who]
        mean = sum(own) / len(who)
        return (x[w] - u0[w] - mean) ** 2 + r0 * u0[w] ** 2 + r1 / len(who) * sum(v**2 for v in own)

    def follows(i: int, w: int) -> Any:
        return (u(i, w) - beta * x[w]) ** 2 + s * (u0[w] - theta * x[w]) ** 2

    m.goal = pyo.Objective(expr=scenarios.expectation(leads))
    for i in who:
        m.follower[i].cost = pyo.Objective(expr=scenarios.expectation(lambda w, i=i: follows(i, w)))
    return sp.Game(m, followers=m.follower)


def convergence(
    nodes: tuple[int, ...] = (2, 3, 5, 7), samples: tuple[int, ...] = (25, 100, 400), seeds: int = 20
) -> pd.DataFrame:
    """Error of J0 for N = 2 against the closed form: quadrature by nodes, root mean square over seeds by sample size.

    ``rate``: the exponent of the sample size, counted from the smallest; quadrature has but rounding to count.
    """
    exact = closed_form(2).cost

    def error(games: Any) -> float:
        return float(np.sqrt(np.mean([(sp.leader_optimal(game).leader_objective - exact) ** 2 for game in games])))

    grid = pd.DataFrame({"method": "quadrature", "size": nodes, "error": [error([in_atoms(n)[0]]) for n in nodes]})
    drawn = [error(in_samples(size, seed)[0] for seed in range(seeds)) for size in samples]
    sample = pd.DataFrame({"method": "samples", "size": samples, "error": drawn})
    grid["rate"] = math.nan
    sample["rate"] = [
        math.nan if size == samples[0] else math.log(e / drawn[0]) / math.log(size / samples[0])
        for size, e in zip(samples, drawn, strict=True)
    ]
    return pd.concat([grid, sample], ignore_index=True)


def main() -> None:
    """Closed form and computed values for N = 1 … 100, and how quadrature and samples approach them."""
    console, ok = Console(), True
    table = Table(
        *(Column(name, justify="right") for name in ("N", "k", "J0", "Q", "K", "largest error", "regret")),
        title="Quadratic Gaussian games, computed",
        title_justify="left",
    )
    for n in SIZES:
        game, wanted = build(n), closed_form(n)
        plan = sp.leader_optimal(game)
        each, mean = (sp.affine_incentive(plan, observed(game, average=a)) for a in (False, True))
        reports = [sp.verify(rule) for rule in (each, mean)]
        gain, average_gain = (float(rule.gain.loc["r[1]"].dropna().iloc[0]) for rule in (each, mean))
        found = Solution(plan.value("follower[1].k"), plan.leader_objective, gain, average_gain)
        error = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
        ok = ok and error <= 1e-6 and all(report.ok for report in reports)
        table.add_row(str(n), *(f"{v:.6f}" for v in found), f"{error:.1e}", f"{max(r.epsilon for r in reports):.1e}")
    console.print(table)
    console.print("\nError of J0 for N = 2 (rate: exponent of the sample size)", highlight=False)
    console.print(convergence().to_string(index=False), highlight=False)
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
