"""Boxes around all parameters that explain every row, where that set is no polytope.

    min / max θ_i   s.t.  |y_t − u_t| ≤ ε_t,   u_t a best answer of row t's follower at θ

are two games of the analyst for each parameter, who now leads with θ towards an end. Their proved bounds, not what the
search found, are the sides of the box: every θ that explains the data lies in it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pyomo.environ as pyo

from stackpyomo.core import Array
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Game
from stackpyomo.plans import stackelberg

from .experiments import Experiments
from .polytopes import Polytope

__all__ = ["box_around"]


def box_around(experiments: Experiments, noise: Array, why: str) -> Polytope:
    """The least box that is proved to hold all parameters of these rows; ``why``: no polytope is exactly that set.

    noise: (readings) how far each may be off. Raises :class:`InvalidGame` for parameters without bounds, where no
    parameters explain the rows, and where an end is not proved.
    """
    loose = next((p.name for p in experiments.parameters if not p.is_bounded), None)
    if loose is not None:
        raise InvalidGame(f"consistent: {why}; give bounds of {loose}: parameters={{name: (low, high)}}.")
    model, pairs = experiments.model, list(zip(experiments.variables, experiments.parameters, strict=True))
    for variable, parameter in pairs:
        variable.setlb(parameter.lower)
        variable.setub(parameter.upper)
    model.near = pyo.ConstraintList()
    model.end = pyo.Objective(expr=0.0)
    model.misfit.deactivate()
    try:
        for reading, room in zip(experiments.readings, noise, strict=True):
            if not math.isnan(reading.value):
                model.near.add(pyo.inequality(reading.value - room, reading.copy, reading.value + room))
        game = Game(model, model.row, name="the game of the analyst")
        low = [_end(game, variable, p.name) for variable, p in pairs]
        high = [-_end(game, -variable, p.name) for variable, p in pairs]
    finally:
        model.del_component(model.near)
        model.del_component(model.end)
        model.misfit.activate()
    box = Polytope.box([p.name for _, p in pairs], low, high)
    return replace(box, around=why)


def _end(game: Game, cost: Any, name: str) -> float:
    """The least cost, proved."""
    game.model.end.set_value(cost)
    try:
        plan = stackelberg(game)
    except NoPlan as none:
        if none.termination != "infeasible":
            raise
        raise InvalidGame(
            "no parameters explain these rows: what was done is farther from every best answer than noise= allows. "
            "Correct the rows, widen the bounds of the parameters, or allow for more noise."
        ) from None
    if not math.isfinite(plan.bound):
        raise InvalidGame(f"consistent: an end of {name} is not proved; use a global solver (SCIP), or fewer rows.")
    return float(plan.bound)
