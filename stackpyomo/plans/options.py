"""Options of a search for a plan."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from stackpyomo.bilevel import Treatment, named
from stackpyomo.core import require_positive, require_whole
from stackpyomo.solvers import choose

from .decomposition.hedging import Hedging
from .plan import Plan
from .selection import Wish

__all__ = ["Options", "read_options", "with_options"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What every function that lets followers respond takes."""

    solver: str = "auto"
    starts: int = 1
    treatment: Treatment | None = None
    time_limit: float | None = None
    tee: bool = False
    allow_nonconvex: bool = False
    seed: int = 0
    """Of the random starting points."""
    wish: Wish = field(default_factory=Wish)
    """Which equilibrium."""


def read_options(
    solver: str = "auto",
    starts: int = 1,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    allow_nonconvex: bool = False,
    seed: int = 0,
) -> Options:
    """The arguments that all functions here share, checked once."""
    require_whole("starts", starts)
    require_whole("seed", seed, 0)
    require_positive("time_limit", time_limit, none=True)
    options = Options(solver, starts, named(complementarity), time_limit, tee, allow_nonconvex, seed)
    choose(solver)
    return options


def with_options(plan: Plan, function: str, options: Options, hedging: Hedging | None = None, **more: Any) -> Plan:
    """The plan with what it was asked for with, its warnings said."""
    for text in plan.warnings if plan.responding else ():
        logger.warning("%s: %s", plan.game.name if plan.game is not None else "", text)
    plan.options = {
        "function": function,
        "solver": options.solver,
        "starts": options.starts,
        "seed": options.seed,
        "complementarity": "auto" if options.treatment is None else repr(options.treatment),
        "time_limit": options.time_limit,
        "allow_nonconvex": options.allow_nonconvex,
        **({} if options.wish.kind == "any" else {"equilibrium": options.wish.kind}),
        **({} if hedging is None else {"engine": repr(hedging)}),
        **more,
    }
    return plan
