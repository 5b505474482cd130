"""Joint answers: equilibria, and prices, as the best answers of one follower who decides everything.

With actions y, multipliers π ≥ 0 of inequalities g ≥ 0 and ν of equalities c = 0, all affine,

    min_{y, π, ν}  π·g(x, y)   over   F(x, y) = π·∇g + ν·∇c,   g ≥ 0,   c = 0,   F the slopes of everybody's own cost,

is 0 exactly at the equilibria, prices among what is decided. On these rows π·g is y·F + π·g(x, 0) + ν·c(x, 0), which is
convex where F is monotone: for one follower always, for several where they do not feel each other too much.
Source: R. W. Cottle, J.-S. Pang, R. E. Stone, The Linear Complementarity Problem (1992), section 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyomo.environ as pyo
from pyomo.repn import generate_standard_repn

from stackpyomo.bilevel import Conditions, add_rows, block_of, conditions, copied, substituted
from stackpyomo.core.expressions import is_affine, partials
from stackpyomo.games import Game, foreign
from stackpyomo.solvers import free_row, rows_at

from .answer_sets import Affine
from .optimal_faces import OptimalFaces
from .worst_answers import WorstAnswers, WorstEquilibria

_PAIRS = 60  # Pairs of multiplier and slack up to which equilibria are written as answers.


@dataclass(frozen=True)
class JointFaces:
    """The program of optimal faces of that follower, and where the leader's variables stand in it."""

    faces: OptimalFaces
    copies: Mapping[int, int]  #: id(leader's Var) → id of its copy.

    @classmethod
    def of(cls, worst: WorstEquilibria) -> JointFaces | None:
        """None where rows or slopes are not affine, F not shown monotone, or an answer is worth more by what x is."""
        game, followers = worst.game, worst.followers
        if game.aggregates or game.shared or worst.options.common is not None:
            return None
        if any(f.integers or f.size != 1 for f in followers):
            return None
        if any(v.bounds != (None, None) for v in game.price_variables):  # they leave prices out, not leaders
            return None
        actions = {id(v) for f in followers for v in f.variables}
        rows = [row for f in followers for row in f.constraints]
        if len(actions) + len(rows) > _PAIRS:
            return None
        apart = not any(key in actions for f in followers for key in foreign(f, *f.constraints))
        if not apart or not is_affine(*(row.body for row in rows)):
            return None
        kkt = conditions(game, followers)
        if len(kkt.pairs) > _PAIRS:
            return None
        joint, table = _written(worst, kkt)
        (market,) = joint.followers.values()
        answers = WorstAnswers(joint, [market])
        slopes = [Affine.of(slope) for goal in answers.goals() for slope in partials(goal.body, market.variables)]
        plain = all(slope is not None and not slope.slopes for slope in slopes)  # multipliers have no bounds
        faces = OptimalFaces.of(answers, 0.0) if plain and answers.is_convex else None
        return None if faces is None else cls(faces, {id(v): id(table[id(v)]) for v in worst.leading})


def _written(worst: WorstEquilibria, kkt: Conditions) -> tuple[Game, dict[int, Any]]:
    """The game of that follower, and id(Var) → what stands for it there: copies, and for prices their multipliers."""
    game, followers = worst.game, worst.followers
    model = pyo.ConcreteModel(name=f"{game.name}, equilibria as answers")
    market = block_of(model, "market")
    table: dict[int, Any] = dict(copied(model, worst.leading, "leader"))
    table |= copied(market, [v for f in followers for v in f.variables], "actions")
    multipliers = [*(p.multiplier for p in kkt.pairs), *(v for terms in kkt.signed.values() for v, _ in terms)]
    table |= copied(market, list({id(v): v for v in multipliers}.values()), "multipliers")
    for price in game.prices:
        terms = kkt.signed[price.follower, id(price.row)]
        sign = game.followers[price.follower].sign
        table[id(price.var)] = -sum(sign * factor * table[id(var)] for var, factor in terms)
    unmet = [action * slope for action, slope in kkt.stationarity]
    unmet += [pair.multiplier * pair.gap for pair in kkt.pairs]
    equalities = {(f.name, id(row)): row for f in followers for row in f.constraints if row.equality}
    unmet += [
        -factor * var * (row.body - row.upper)
        for key, row in equalities.items()
        for var, factor in kkt.signed.get(key, ())
    ]
    stationary = [free_row(substituted(slope, table), 0.0, 0.0) for _, slope in kkt.stationarity]
    add_rows(market, [*rows_at([row for f in followers for row in f.constraints], table), *stationary])
    gap = generate_standard_repn(substituted(sum(unmet), table), compute_values=True)
    market.cost = pyo.Objective(expr=gap.to_expression())
    add_rows(model, rows_at(game.leader.constraints, table))
    model.goal = pyo.Objective(expr=substituted(worst.cost, table))
    return Game(model, market), table
