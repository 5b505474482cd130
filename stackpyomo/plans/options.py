"""Options of a search for a plan."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stackpyomo.bilevel import Options, named
from stackpyomo.core import require_positive, require_whole
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, evaluated_at
from stackpyomo.solvers import choose

from .decomposition.hedging import Hedging
from .plan import Plan

logger = logging.getLogger(__name__)


def read_options(
    solver: str = "auto",
    starts: int = 1,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    allow_nonconvex: bool = False,
    seed: int = 0,
    start: Plan | None = None,
    proof_seconds: float | None = None,
) -> Options:
    """The arguments that all functions here share, checked once."""
    require_whole("starts", starts)
    require_whole("seed", seed, 0)
    require_positive("time_limit", time_limit, none=True)
    require_positive("proof_seconds", proof_seconds, none=True)
    choose(solver)
    return Options(
        solver,
        starts,
        named(complementarity),
        time_limit,
        tee,
        allow_nonconvex,
        seed,
        warm=start is not None,
        proof_seconds=proof_seconds,
    )


@contextmanager
def started(game: Game, start: Any) -> Iterator[None]:
    """The model at the values of a plan, of this game or a neighbouring one, given back afterwards; None: as it is.

    Raises :class:`InvalidGame` for what is no plan, or of another game.
    """
    if start is None:
        yield
        return
    if not isinstance(start, Plan):
        raise InvalidGame(f"start={type(start).__name__}: expected a Plan, of this game or of a neighbouring one.")
    if not start.values.keys() & game.variables_by_name.keys():
        raise InvalidGame(f"start: a plan of another game: it has no variable of {game.name}.")
    values = {name: start.values.get(name, var.value) for name, var in game.variables_by_name.items()}
    with evaluated_at(game, values):
        yield


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
        **({} if options.proof_seconds is None else {"proof_seconds": options.proof_seconds}),
        **({} if options.equilibrium == "any" else {"equilibrium": options.equilibrium}),
        **({} if hedging is None else {"engine": repr(hedging)}),
        **more,
    }
    return plan
