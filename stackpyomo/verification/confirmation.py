"""Confirmation: a global solver's bound on a cost that is no polynomial, derived again on intervals.

A needle between two points of a solver's relaxation, or below its feasibility tolerance, is one that it does not see,
and its bound is false then. Bounds of polynomials are believed; others where the branch and bound of
:mod:`stackpyomo.verification.checker` confirms them, for followers of up to ``ACTIONS`` actions (of three or
more, or with rows, up to ``TOLERANCES.unconfirmed``); beyond, nobody can.
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import Substitution, degree_of
from stackpyomo.errors import InvalidGame
from stackpyomo.games.files import Printer
from stackpyomo.solvers import free_row

from .best_response import Composed
from .certificate import multipliers_at
from .checker import ACTIONS, BadCertificate, Bound, problems

_BOXES = 1000  # Pieces that are looked at before a bound is left unconfirmed.
_FEW = 2  # Actions up to which so many pieces show the whole of a bound, where there are no rows.
_WEIGHTS = (0.0, 1.0, 100.0)  # Of squared equalities.


def believe(problem: Composed, enough: float) -> None:
    """ "global" by a solver's bound, which says that no cost is below ``enough``; or why not."""
    if is_confirmed(problem, enough):
        problem.certificate, problem.note = "global", ""
    else:
        problem.note = "a global solver's bound meets its best response, but intervals do not confirm it"


def is_confirmed(problem: Composed, enough: float) -> bool:
    """False where intervals do not show that no cost of the problem is below ``enough``, although they could."""
    degrees = map(degree_of, (problem.cost, *(row.body for row in problem.rows)))
    if len(problem.variables) > ACTIONS or None not in degrees:  # all are polynomials
        return True
    return is_shown(problem, enough if shows_all(problem) else enough - TOLERANCES.unconfirmed * problem.unit)


def shows_all(problem: Composed) -> bool:
    """Whether intervals can be expected to show the whole of a bound."""
    return len(problem.variables) <= _FEW and not problem.rows


def is_shown(problem: Composed, enough: float) -> bool:
    """Whether intervals show that no cost of the problem is below ``enough``, in the box of its variables' bounds."""
    try:
        (player,) = problems(_document(problem))
        (box, _), point = player.box(), player.plan
        pull, _ = multipliers_at(player, point)
        weights = _WEIGHTS if any(row.equal for row in player.rows) else _WEIGHTS[:1]
        return any(Bound(player, pull, weight).least(box, point, enough, _BOXES) >= enough for weight in weights)
    except (InvalidGame, BadCertificate, ArithmeticError, KeyError, TypeError, ValueError, RecursionError):
        return False


def _document(problem: Composed) -> dict[str, Any]:
    """The composed problem as a certificate's game of one follower, whose plan is its best response.

    Its actions are written in their natural units: which box is halved next is no matter of the model's.
    """
    names = [f"v{number}" for number in range(len(problem.variables))]
    reaches = problem.reaches or [1.0] * len(names)
    actions = pyo.Var(range(len(names)))
    actions.construct()
    units = {id(v): r * actions[i] for i, (v, r) in enumerate(zip(problem.variables, reaches, strict=True))}
    in_units = Substitution(substitute=units).walk_expression
    printer = Printer({id(actions[i]): name for i, name in enumerate(names)})
    limits = [
        {"lb": None if v.lb is None else v.lb / r, "ub": None if v.ub is None else v.ub / r}
        for v, r in zip(problem.variables, reaches, strict=True)
    ]
    follower = {
        "name": "follower",
        "variables": [{"name": name, **sides} for name, sides in zip(names, limits, strict=True)],
        "objective": printer.printed(in_units(problem.cost), problem.follower.objective).text,
        "constraints": printer.rows(free_row(in_units(row.body), row.lb, row.ub) for row in problem.rows),
    }
    return {
        "game": {"leader": {}, "followers": [follower]},
        "plan": {name: float(x) / r for name, x, r in zip(names, problem.best, reaches, strict=True)},
        "rule": {"leader": [], "signals": [], "gain": [], "bend": [], "saturate": False},
        "followers": {"follower": {}},
    }
