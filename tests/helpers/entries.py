"""Entries of catalogues: a driver and a toll in every outcome, and games that take their time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from stackpyomo.studies import Row


def entry(name: str = "toll", reference: Any = 2.0 / 325, **edits: Any) -> dict[str, Any]:
    """A driver whose flow is 1 − toll/2. The leader's (toll/2 − 0.4)² + toll²/100 is least at toll = 10/13: 2/325."""
    game: dict[str, Any] = {
        "format": "stackpyomo-game/1",
        "name": name,
        "class": "QP-QP",
        "leader": {
            "variables": [{"name": "toll", "lb": -2, "ub": 2}],
            "objective": "(flow - 0.6)**2 + 0.01*toll**2",
            "sense": "minimize",
        },
        "followers": [
            {
                "name": "driver",
                "variables": [{"name": "flow", "lb": 0, "ub": 1}],
                "objective": "(flow - 1)**2 + toll*flow",
            }
        ],
        "reference": {"leader_cost": reference},
    }
    for path, value in edits.items():
        *holders, last = path.split("__")
        held: Any = game
        for key in holders:
            held = held[0][key] if isinstance(held, list) else held[key]
        if isinstance(held, list):
            held = held[0]
        held[last] = value
    return game


MAXIMIZED: dict[str, Any] = {"leader__objective": "-(flow - 0.6)**2 - 0.01*toll**2", "leader__sense": "maximize"}


BEST = 2.0 / 325


WITHOUT_PLAN: dict[str, Any] = {"leader__constraints": ["flow <= 0.2", "toll <= 1"]}  # flow = 1 − toll/2 ≥ 1/2


NONCONVEX: dict[str, Any] = {"followers__objective": "-(flow - 0.3)**2 + toll*flow/100"}


KINKED: dict[str, Any] = {"followers__objective": "abs(flow - 0.5) + toll*flow"}


def slow(name: str = "slow", size: int = 6000) -> dict[str, Any]:
    """A game whose reading alone takes seconds."""
    names = [f"y{i}" for i in range(size)]
    hundreds = [" + ".join(f"({n} - toll)**2" for n in names[i : i + 100]) for i in range(0, size, 100)]
    return entry(
        name,
        0,
        leader__objective="(toll - 0.3)**2",
        followers__variables=[{"name": n, "lb": 0, "ub": 1} for n in names],
        followers__objective=" + ".join(f"({part})" for part in hundreds),
        followers__constraints=[f"{a} + {b} <= 1.5" for a, b in pairwise(names)],
    )


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in entry().items() if k != key}


ROWS = [
    Row("a", gap=0.0, quality="optimal", outcome="ok", seconds=0.1),
    Row("b", gap=-0.5, quality="feasible", outcome="better", seconds=0.2),
    Row("c", gap=0.0005, quality="feasible", outcome="worse", seconds=0.3),
    Row("d", gap=0.5, quality="feasible", outcome="unverified", seconds=0.4),
    Row("e", outcome="infeasible", seconds=0.5),
    Row("f", outcome="refused", message="no\ngood", seconds=0.0),
    Row("g", outcome="failed", seconds=9.0),
    Row("h", outcome="nonconvex", message="so it is", seconds=0.3),
]
