"""Grids of the size of a country: from pandapower's net to verified nodal prices, beside pandapower's own.

``python benchmarks/countries.py case1354pegase case3120sp`` prints processor seconds of each step, with the solvers it
starts, and how far cost and nodal prices are from those of ``pandapower.rundcopp`` (an interior-point method of
pandapower's own, on the same net).
"""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from speed import seconds

import stackpyomo as sp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from models import grid_prices


class Clock:
    """Processor seconds between one step and the next."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = seconds()

    def note(self, step: str) -> None:
        """What came to an end now."""
        now = seconds()
        self.steps[step], self._last = now - self._last, now


def measure(case: str) -> dict[str, Any]:
    """One case; raises SystemExit where its nodal prices are not verified."""
    import pandapower

    clock = Clock()
    game = grid_prices.build(case)
    clock.note("net and game")
    plan = sp.leader_optimal(game)
    clock.note("leader_optimal")
    nodal = grid_prices.at_nodal_prices(plan)
    report = sp.verify(nodal)
    clock.note("nodal prices, verify")
    if not report.ok:
        raise SystemExit(f"{case}: {report.verdict}")
    whole = sum(clock.steps.values())
    net = grid_prices.read_net(case)
    pandapower.rundcopp(net, PDIPM_MAX_IT=1000)  # case3120sp needs more than the 150 steps of the default
    clock.note("rundcopp")
    m, ties = game.model, grid_prices.ties(nodal)
    prices = np.array([plan.multipliers[m.balance[bus].name] for bus in net.bus.index])
    return {
        "buses": len(m.B),
        "generators": len(m.G),
        **{step: f"{spent:.1f} s" for step, spent in clock.steps.items()},
        "net to verified prices": f"{whole:.1f} s",
        "cost": f"{plan.leader_objective:,.2f} $/h",
        "its relative distance": f"{abs(plan.leader_objective / net.res_cost - 1):.0e}",
        "nodal prices": f"{prices.min():.2f} to {prices.max():.2f} $/MWh",
        "their largest distance": f"{np.abs(prices - net.res_bus.lam_p).max():.0e} $/MWh",
        "largest regret": f"{report.epsilon:.0e} $/h",
        "left open by ties": f"{sum(ties.values()):,.0f} MW of {len(ties)}",
    }


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # pandapower's remarks on voltages, which a DC power flow has not
    warnings.simplefilter("ignore")
    for name in sys.argv[1:] or ["case118", "case1354pegase", "case3120sp"]:
        print(name)
        for key, value in measure(name).items():
            print(f"    {key:24} {value}")
