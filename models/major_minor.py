"""A leader, one major follower and N minor ones: what the leader can reach when only the major is held by an incentive.

Minors i = 1 … N meet in their average ū, are pushed by leader and major, and each sees that it moves ū by 1/N:

    minor      f(u_i) − u_i (A − e ū − c u0 − d uM),               f(u) = u²/2             "quadratic"
    major      uM²/2 + (u0 + 1)²/2 + (uM + ū − 1)²/2                      u⁴/4 + u²/2      "quartic"
    leader     u0²/2 + uM²/2 + (ū + uM − T)² + mean(u_i²)/4               exp(u)           "exponential"

("exponential": the leader has cosh u0 − 1 for u0²/2 and no mean(u_i²), the major exp(uM/2) for uM²/2.) The minors
answer by f'(u) = A − (e + e/N) u − c u0 − d uM. "gaussian" is the quadratic game in which a state x ~ N(0, 1)
multiplies A, T and both 1s. Major and leader know x, minor i sees y_i = x + w_i, w_i ~ N(0, 1), the leader all y_i:

    u_i = k y_i,     uM = kM x,     u0 = p x + q ȳ         (at N = ∞ ȳ is x, and q is left out)

and the players choose the coefficients. Nothing is lost: costs are quadratic, so that a best answer to linear
strategies is made of E[·|y_i] or E[·|x], linear too. The moments used: E x² = 1, E y_i² = 2, E x y_i = E x ȳ =
E y_i y_j = 1 (i ≠ j), E y_i ȳ = E ȳ² = 1 + 1/N. The aggregate is the average of the k_i; k_i²/N is the own noise in ū.

Two optima, both a plan the leader would like:

- leader-optimal: everybody serves the leader. An incentive for the minors would have to grow like N (:func:`alone`).
- leader-major-optimal: minors play their equilibrium and the major serves: ``leader_optimal(responding=MINORS)``. The
  incentive acts on the major only, u0 = u0* + Q (uM − uM*), and has a limit as N → ∞: one follower of weight 1 stays
  visible. At N = ∞ this is a mean-field Stackelberg game.

Q takes the minors as "frozen" at the plan when the major deviates, or lets them "respond" to it; the responding gain
may pass through infinity on the way (in the quadratic game between N = 2 and 5). Where the leader's wish happens to be
an equilibrium of the minors (quadratic, N = ∞, e = 0.15) the two optima meet.

The game is in the spirit of S. Sanjari, S. Bose, T. Başar, arXiv 2207.10611, whose Figure 1 compares the two optima;
what its axis is we do not know, and the tables here do not reproduce it. All figures are synthetic.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

TARGET = {"quadratic": 5.0, "quartic": 5.0, "exponential": 4.0, "gaussian": 5.0}  # T
KINDS = tuple(TARGET)
MINORS = ["minor"]
SIZES = (1, 2, 5, 10, 100, 1000, math.inf)
COUPLINGS = (0.0, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)

EXPECTED = {"leader_objective": 177 / 38, "leader_optimal": 25 / 7, "gain": -184 / 21}  # of build(size=math.inf)


def build(
    kind: str = "quadratic",
    size: float = 10,
    coupling: float = 1.0,
    by_leader: float = 0.5,
    by_major: float = 0.5,
    level: float = 4.0,
    target: float | None = None,
) -> sp.Game:
    """Leader, major and ``size`` minors; coupling: e, by_leader: c, by_major: d, level: A, target: T (see above).

    The Gaussian game has 1/size in its costs: build it anew for another size, where the others know ``with_sizes``.
    """
    _require(kind, size, coupling)
    m = pyo.ConcreteModel(name=f"major_minor_{kind}")
    m.major, m.minor = pyo.Block(), pyo.Block()
    m.forces = (level, coupling, by_leader, by_major, TARGET[kind] if target is None else target)
    if kind == "gaussian":
        _gaussian(m, size)
    else:
        _deterministic(m, kind)
    followers = [m.major, sp.Population(m.minor, size)]
    return sp.Game(m, followers, aggregates=m.average, name=f"{kind} major-minor game, {size:g} minors")


def alone(
    size: float = 10, coupling: float = 1.0, by_leader: float = 0.5, level: float = 4.0, target: float = 5.0
) -> sp.Game:
    """The quadratic game without a major: the minors take over its (u0 + 1)²/2, and the leader has to move them."""
    _require("quadratic", size, coupling)
    m = pyo.ConcreteModel(name="minors_alone")
    m.u0, m.mean, m.minor = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0), pyo.Block()
    m.minor.u = u = pyo.Var(initialize=1.0)
    m.average = pyo.Constraint(expr=m.mean == u)
    own = u**2 / 2 - u * (level - coupling * m.mean - by_leader * m.u0)
    m.minor.cost = pyo.Objective(expr=own + (m.u0 + 1) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 / 2 + (m.mean - target) ** 2 + u**2 / 4)
    return sp.Game(m, sp.Population(m.minor, size), aggregates=m.average, name=f"{size:g} minors without a major")


def _require(kind: str, size: float, coupling: float) -> None:
    if kind not in KINDS:
        raise InvalidGame(f"major_minor kind {kind!r}: choose one of {', '.join(KINDS)}.")
    if not (size >= 1 and coupling >= 0):
        raise InvalidGame(f"major_minor size={size}, coupling={coupling}: expected size ≥ 1 and coupling ≥ 0.")


def _deterministic(m: Any, kind: str) -> None:
    level, e, c, d, target = m.forces
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    m.major.u, m.minor.u = big, u = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.average = pyo.Constraint(expr=m.mean == u)
    own = {"quadratic": u**2 / 2, "quartic": u**4 / 4 + u**2 / 2, "exponential": pyo.exp(u)}[kind]
    m.minor.cost = pyo.Objective(expr=own - u * (level - e * m.mean - c * m.u0 - d * big))
    effort = pyo.exp(big / 2) if kind == "exponential" else big**2 / 2
    m.major.cost = pyo.Objective(expr=effort + (m.u0 + 1) ** 2 / 2 + (big + m.mean - 1) ** 2 / 2)
    price = pyo.cosh(m.u0) - 1 if kind == "exponential" else m.u0**2 / 2 + u**2 / 4
    m.goal = pyo.Objective(expr=price + big**2 / 2 + (m.mean + big - target) ** 2)


def _gaussian(m: Any, size: float) -> None:
    """Expected costs in the coefficients k, kM, p, q; all squares written out by the moments above."""
    level, e, c, d, target = m.forces
    noise = 1 / size  # of ȳ
    m.p, m.q, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    if math.isinf(size):  # ȳ is x
        m.q.fix(0.0)
    m.major.k, m.minor.k = big, k = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.average = pyo.Constraint(expr=m.mean == k)
    seen = m.p + m.q * (1 + noise)  # E u0 y_i and E u0 ȳ; E u0 x is p + q

    def square(on_x: Any, on_mean: Any) -> Any:
        """E (on_x x + on_mean ȳ)²."""
        return (on_x + on_mean) ** 2 + noise * on_mean**2

    push = k * (level - e * m.mean - c * seen - d * big) - noise * e * k**2
    m.minor.cost = pyo.Objective(expr=k**2 - push)
    pulled = (big + m.mean - 1) ** 2 + noise * k**2  # E (uM + ū − x)²
    m.major.cost = pyo.Objective(expr=big**2 / 2 + square(m.p + 1, m.q) / 2 + pulled / 2)
    missed = (m.mean + big - target) ** 2 + noise * k**2
    m.goal = pyo.Objective(expr=square(m.p, m.q) / 2 + big**2 / 2 + missed + k**2 / 2)


def observed(game: sp.Game) -> dict[str, list[Any]]:
    """What the leader answers to: u0 (p, the weight on x, in the Gaussian game) moves with the major's action alone."""
    tool = "u0" if "u0" in game.variables_by_name else "p"
    return {tool: game.followers["major"].variables}


def row(game: sp.Game, solver: str = "auto") -> dict[str, float]:
    """One line of the tables: both optima, the gap, both gains, and what a follower could win by leaving the plan."""
    best = sp.leader_optimal(game)
    plan = sp.leader_optimal(game, responding=MINORS, solver=solver)
    frozen, respond = (sp.affine_incentive(plan, observed(game), minors=way) for way in ("frozen", "respond"))
    return {
        "leader_optimal": best.leader_objective,
        "leader_major_optimal": plan.leader_objective,
        "gap": plan.leader_objective - best.leader_objective,
        "frozen_gain": float(frozen.gain.iloc[0, 0]),
        "responding_gain": float(respond.gain.iloc[0, 0]),
        "frozen_regret": sp.verify(frozen).epsilon,
        "responding_regret": float(sp.anticipated_regret(respond, "major", solver=solver)["regret"]),
    }


def over_sizes(kind: str = "quadratic", sizes: Iterable[float] = SIZES, **parameters: Any) -> pd.DataFrame:
    """Leader-optimal against leader-major-optimal for N minors."""
    return pd.DataFrame([{"size": n, **row(build(kind, n, **parameters), _solver(kind))} for n in sizes])


def over_couplings(
    kind: str = "quadratic", couplings: Iterable[float] = COUPLINGS, size: float = math.inf, **parameters: Any
) -> pd.DataFrame:
    """The same for the strength e of the minors' coupling."""
    games = {e: build(kind, size, e, **parameters) for e in couplings}
    return pd.DataFrame([{"coupling": e, **row(game, _solver(kind))} for e, game in games.items()])


def _solver(kind: str) -> str:
    """SCIP, which "auto" asks first, closes its gap at once where all is quadratic, and not in 10 s elsewhere."""
    return "auto" if kind in ("quadratic", "gaussian") else "pounce"


def sampled(plan: sp.Plan, size: int, draws: int = 100, seed: int = 0) -> pd.DataFrame:
    """The strategies of a "gaussian" plan played by ``size`` real minors, x and every w_i drawn: costs, draw by draw.

    ``minor``: the average over the minors. The mean-field plan may be played by any number of them.
    """
    p, q, big, k = (plan.value(name) for name in ("p", "q", "major.k", "minor.k"))
    level, e, c, d, target = plan.attached().model.forces
    random = np.random.default_rng(seed)
    rows = []
    for x in random.standard_normal(draws):
        seen = x + random.standard_normal(size)
        u, major = k * seen, big * x
        u0, mean = p * x + q * seen.mean(), u.mean()
        leader = u0**2 / 2 + major**2 / 2 + (mean + major - target * x) ** 2 + (u**2).mean() / 4
        minor = (u**2 / 2 - u * (level * x - e * mean - c * u0 - d * major)).mean()
        rows.append((leader, major**2 / 2 + (u0 + x) ** 2 / 2 + (major + mean - x) ** 2 / 2, minor))
    return pd.DataFrame(rows, columns=["leader", "major", "minor"])


def main(arguments: Sequence[str] = ()) -> None:
    """Both optima and both gains over N, for every kind, and over the coupling; the gain that grows without a major."""
    parser = argparse.ArgumentParser(prog="python -m models.major_minor", description=main.__doc__)
    parser.add_argument("--plot", metavar="FILE", help="draw the optima over N and over the coupling, and the gains")
    chosen = parser.parse_args(arguments)
    console = Console()
    tables = {kind: over_sizes(kind) for kind in KINDS}
    for kind, table in tables.items():
        console.print(_shown(table, f"{kind} minors"))
    coupled = over_couplings()
    console.print(_shown(coupled, "quadratic minors at N = ∞, over their coupling e"))
    held, free = growth()
    for line in (
        f"With the major, the gain is {held['average_gain'].iloc[-1]:.4f} at N = ∞; {held.attrs['verdict']}.",
        f"Without, the gain of the average at N = {free['size'].iloc[-1]:g} is {free['average_gain'].iloc[-1]:.4g}; "
        f"{free.attrs['verdict']}.",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    if chosen.plot:
        draw(chosen.plot, tables["quadratic"], coupled, held, free)
    found = [*tables.values(), coupled]
    good = all(table[["frozen_regret", "responding_regret"]].to_numpy().max() <= 1e-6 for table in found)
    raise SystemExit(0 if good else 1)


def growth(sizes: Sequence[float] = (10, 100, 1000, 10**6)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """:func:`stackpyomo.scaling` with the major, whose action alone is seen (also at N = ∞), and without one."""
    game = build()
    held = sp.scaling(game, [*sizes, math.inf], observe=observed(game), followers=MINORS, responding=MINORS)
    return held, sp.scaling(alone(), sizes)


def draw(
    path: str, over_size: pd.DataFrame, over_coupling: pd.DataFrame, held: pd.DataFrame, free: pd.DataFrame
) -> None:
    """Four pictures in one file."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise SystemExit('--plot needs matplotlib: pip install "stackpyomo[plot]"') from None
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    sp.plots.leaders(over_size, axes[0, 0]).set_title("Leader's objective over the number of minors")
    sp.plots.leaders(over_coupling, axes[0, 1], over="coupling").set_title("… over their coupling, at N = ∞")
    sp.plots.scaling(held, axes[1, 0])
    sp.plots.scaling(free, axes[1, 1])
    figure.savefig(path)
    plt.close(figure)


def _shown(table: pd.DataFrame, title: str) -> Table:
    names = (
        {"size": "N", "coupling": "e"}[table.columns[0]],
        "leader-opt.",
        "major-opt.",
        "gap",
        "frozen Q",
        "respond. Q",
        "regret",
    )
    shown = Table(*(Column(name, justify="right") for name in names), title=title, title_justify="left")
    for at, *costs, frozen, respond, regret, other in table.itertuples(index=False):
        cells = (*(f"{round(cost, 6) + 0.0:.6f}" for cost in costs), f"{frozen:.4f}", f"{respond:.4f}")
        shown.add_row(f"{at:g}", *cells, f"{max(regret, other):.0e}")
    return shown


if __name__ == "__main__":
    main(sys.argv[1:])
