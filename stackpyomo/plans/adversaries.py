"""Adversaries: a game in which each answer that the leader fears is played by somebody who wants it.

The leader chooses x and, for every follower, a witness ȳ. The adversary of the leader's cost F, and one of each side of
each of its rows G(x, y) ≤ 0 that hold actions, answer by

    max F(x, y)   and   max G(x, y)   over   {y: y ∈ S(x), described by ȳ},

:mod:`stackpyomo.plans.answer_sets`. Witnesses of linear followers serve the leader; those of quadratic ones respond.
For ties of a width, and followers with curved rows: :mod:`stackpyomo.plans.optimal_faces` knows the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyomo.environ as pyo

from stackpyomo.bilevel import Problem
from stackpyomo.core.expressions import apart
from stackpyomo.games import Game

from .answer_sets import AnswerSet, Kind
from .replicas import add_rows, block_of, copied, substituted
from .worst_answers import WorstAnswers

__all__ = ["adversaries"]


def adversaries(worst: WorstAnswers, slack: float) -> tuple[Game, Problem, dict[int, Any]]:
    """The game with ties as wide as ``slack``, the leader's problem in it, and id(leader's Var) → its copy."""
    model = pyo.ConcreteModel(name=f"{worst.game.name}, ties against the leader")
    leading = copied(model, worst.leading)
    witness: dict[int, Any] = dict(leading)
    blocks = [_witness(model, answers, witness, slack) for answers in worst.answers]
    rows = [(substituted(c.body, leading), c.lb, c.ub) for c in worst.plain]
    cost: Any = 0.0
    for number, goal in enumerate(worst.goals()):
        block = block_of(model, f"adversary{number}")
        table = {**leading, **copied(block, worst.actions)}
        add_rows(block, _allowed(worst, table, witness, slack))
        body = substituted(goal.body, table)
        block.cost = pyo.Objective(expr=-body)
        blocks.append(block)
        if goal.limit is None:
            cost = body
        else:
            rows.append((body, None, goal.limit))
    add_rows(model, rows)
    model.cost = pyo.Objective(expr=apart(cost))
    game = Game(model, [b for b in blocks if b is not None])
    problem = Problem(model.cost.expr, [("leader", c) for c in game.leader.constraints], leader=game.leader.variables)
    return game, problem, leading


def _witness(model: Any, answers: AnswerSet, table: dict[int, Any], slack: float) -> Any:
    """The Block of a witness, or None where it serves the leader; its Vars are put into ``table``."""
    follower = answers.follower
    block = block_of(model, f"witness{len(table)}")
    table.update(copied(block, follower.variables))
    add_rows(block, ((substituted(c.body, table), c.lb, c.ub) for c in follower.constraints))
    if slack > 0.0 or answers.kind is not Kind.QUADRATIC:
        return None
    block.cost = pyo.Objective(expr=substituted(answers.cost, table))
    return block


def _allowed(worst: WorstAnswers, table: Mapping[int, Any], witness: Mapping[int, Any], slack: float) -> Iterator[Any]:
    """What an adversary may do: (body, lower, upper) of each row."""
    for answers in worst.answers:
        yield from ((substituted(c.body, table), c.lb, c.ub) for c in answers.follower.constraints)
        yield from answers.tie_rows(table, witness, slack)
    yield from ((substituted(c.body, table), c.lb, c.ub) for c in worst.defining)
