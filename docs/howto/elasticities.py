"""A task of the guide on studies: a market of five firms, from the equilibrium of the row before."""

from typing import Any

import stackpyomo as sp
from models import oligopoly


def market(elasticity: float, start: sp.Plan | None = None) -> dict[str, Any]:
    """One row: what the firms sell in all, and what the largest sells."""
    game = oligopoly.build_cournot(elasticity)
    plan = sp.nash(game, start=start)
    return {
        "sold": round(plan.value(game.model.rivals), 4),
        "most": round(max(plan.value(firm.quantity) for firm in game.model.firm.values()), 4),
        "start": plan,
    }
