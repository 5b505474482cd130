"""Adversaries: a game in which each answer that the leader fears is played by somebody who wants it.

The leader chooses x and, for every follower, a witness ȳ. The adversary of the leader's cost F, and one of each side of
each of its rows G(x, y) ≤ 0 that hold actions, answer by

    max F(x, y)   and   max G(x, y)   over   {y: y ∈ S(x), described by ȳ},

:mod:`stackpyomo.plans.answer_sets`. Witnesses of linear followers serve the leader; those of quadratic ones respond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyomo.environ as pyo
from pyomo.repn import generate_standard_repn

from stackpyomo.bilevel import Problem
from stackpyomo.core import TOLERANCES, clipped, is_within
from stackpyomo.core.expressions import Curvature, apart, curvature, number_of, size_of, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import BadRow, Program, free_row, registry, solve

from .answer_sets import AnswerSet, Kind, is_independent
from .problems import aggregate_definitions, leader_cost
from .replicas import add_rows, block_of, copied, substituted

__all__ = ["Fear", "WorstAnswer"]


@dataclass(frozen=True)
class _Goal:
    """What an adversary maximises, and the most that the leader can bear of it (None: it is the leader's cost)."""

    body: Any
    limit: float | None
    name: str


@dataclass
class WorstAnswer:
    """What followers who break ties against the leader do at one x."""

    cost: float
    values: dict[int, float]
    """id(Var) → value, of the leader, the followers and what follows their actions."""
    witness: dict[int, float]
    broken: tuple[str, ...] = ()
    """Rows of the leader that some best answer breaks."""


class Fear:
    """A game seen by a leader who expects the worst; raises :class:`InvalidGame` where that has no exact form."""

    def __init__(self, game: Game, followers: Sequence[Follower]) -> None:
        self.game, self.followers = game, followers
        self.defining, self.defined = aggregate_definitions(game)
        self.cost = leader_cost(game)
        follows = {id(v) for v in self.defined}
        self.leading = [v for v in game.leader.variables if id(v) not in follows]
        self.actions = [*(v for f in followers for v in f.variables), *self.defined]
        answered = {id(v) for v in self.actions}
        kept = {id(c) for c in self.defining}
        rows = [c for c in game.leader.constraints if id(c) not in kept]
        self.coupled = [c for c in rows if any(id(v) in answered for v in variables_in(c.expr))]
        self.plain = [c for c in rows if not any(id(v) in answered for v in variables_in(c.expr))]
        self._require_independence()
        self.answers = [AnswerSet(f) for f in followers]

    def _require_independence(self) -> None:
        for follower in self.followers:
            if not is_independent(self.game, follower):
                raise InvalidGame(
                    f"{follower.name}: ties='pessimistic' is for followers who feel nobody but the leader, or whose "
                    "equilibrium is proved unique, and this one's problem holds what others do. Ask for the worst "
                    "equilibrium at given leader values: sp.pessimistic(sp.stackelberg(game))."
                )

    def require_exact(self, slack: float) -> None:
        """Raise :class:`InvalidGame` unless every answer set and every adversary is convex."""
        for answers in self.answers:
            name = answers.follower.name
            if answers.kind is Kind.OTHER:
                raise InvalidGame(
                    f"{name}: ties='pessimistic' needs a follower whose problem is proved convex, with a linear or "
                    "quadratic cost. sp.pessimistic(sp.stackelberg(game)) says what ties cost at the optimistic plan."
                )
            if answers.kind is Kind.CONVEX and not slack:
                raise InvalidGame(
                    f"{name}: its cost is neither linear nor quadratic, so that its best answers have no exact "
                    "description. Pass tie_tolerance=, the difference in its cost that is a tie, for instance 1e-3."
                )
        for goal in self.goals():
            if curvature(-goal.body, self.actions).curvature not in _BENT:
                raise InvalidGame(
                    f"{goal.name}: ties='pessimistic' needs it concave in the followers' actions where it is the "
                    "leader's cost or bounded above (convex where bounded below): linear will do."
                )

    def goals(self) -> Iterator[_Goal]:
        """The leader's cost, and each side of its rows that hold actions."""
        objective = self.game.leader.objective
        assert objective is not None
        yield _Goal(self.cost, None, objective.name)
        for row in self.coupled:
            lower, body, upper = row.to_bounded_expression(evaluate_bounds=True)
            if upper is not None:
                yield _Goal(body, upper, row.name)
            if lower is not None:
                yield _Goal(-body, -lower, row.name)

    # --- the game of adversaries --------------------------------------------------------------------------------------

    @property
    def has_linear(self) -> bool:
        """True if some witness may serve the leader or respond."""
        return any(answers.kind is Kind.LINEAR for answers in self.answers)

    def keeps(self, given: Mapping[int, float]) -> bool:
        """True if the leader's own rows hold there, those that no action enters."""
        levels = ((c, number_of(substituted(c.body, given))) for c in self.plain)
        return all(is_within(level, c.lb, c.ub) for c, level in levels)

    def against(
        self, slack: float, *, responding: bool = False, within: tuple[float, float] | None = None
    ) -> tuple[Game, Problem, dict[int, Any]]:
        """The game of adversaries, the leader's problem in it, and id(leader's Var) → its copy.

        ``responding``: the witnesses of linear followers respond, too. ``within``: where the optimum is known to lie,
        which bounds a cost whose variables have no bounds.
        """
        model = pyo.ConcreteModel(name=f"{self.game.name}, ties against the leader")
        leading = copied(model, self.leading)
        witness: dict[int, Any] = dict(leading)
        blocks = [self._witness(model, answers, witness, slack, responding) for answers in self.answers]
        rows = [(substituted(c.body, leading), c.lb, c.ub) for c in self.plain]
        cost: Any = 0.0
        for number, goal in enumerate(self.goals()):
            block = block_of(model, f"adversary{number}")
            table = {**leading, **copied(block, self.actions)}
            add_rows(block, self._rows(table, witness, slack))
            body = substituted(goal.body, table)
            block.cost = pyo.Objective(expr=-body)
            blocks.append(block)
            if goal.limit is None:
                cost = body
            else:
                rows.append((substituted(goal.body, table), None, goal.limit))
        if within is not None:
            model.level = pyo.Var(bounds=within)
            rows.append((apart(cost) - model.level, None, 0.0))
            cost = model.level
        add_rows(model, rows)
        model.cost = pyo.Objective(expr=apart(cost))
        game = Game(model, [b for b in blocks if b is not None])
        problem = Problem(
            model.cost.expr, [("leader", c) for c in game.leader.constraints], leader=game.leader.variables
        )
        return game, problem, leading

    def _witness(self, model: Any, answers: AnswerSet, table: dict[int, Any], slack: float, responding: bool) -> Any:
        """The Block of a witness, or None where it serves the leader; its Vars are put into ``table``."""
        follower = answers.follower
        block = block_of(model, f"witness{len(table)}")
        table.update(copied(block, follower.variables))
        add_rows(block, ((substituted(c.body, table), c.lb, c.ub) for c in follower.constraints))
        if slack > 0.0 or not (responding or answers.kind is Kind.QUADRATIC):
            return None
        block.cost = pyo.Objective(expr=substituted(answers.cost, table))
        return block

    def _rows(self, table: Mapping[int, Any], witness: Mapping[int, Any], slack: float) -> Iterator[Any]:
        """What an adversary may do: (body, lower, upper) of each row."""
        for answers in self.answers:
            yield from ((substituted(c.body, table), c.lb, c.ub) for c in answers.follower.constraints)
            yield from answers.tie_rows(table, witness, slack)
        yield from ((substituted(c.body, table), c.lb, c.ub) for c in self.defining)

    # --- at given leader values ---------------------------------------------------------------------------------------

    def worst(self, given: Mapping[int, float], slack: float, *, rounded: bool = True) -> WorstAnswer | None:
        """The worst that the followers' answer sets hold at {id(leader's Var): value}; None if they have no answer.

        ``rounded``: a difference in cost that rounding may make is a tie."""
        witness: dict[int, float] = dict(given)
        for follower, answers in zip(self.followers, self.answers, strict=True):
            rows = [free_row(substituted(c.body, given), c.lb, c.ub) for c in follower.constraints]
            best = _solved(substituted(answers.cost, given), rows)
            if best is None:
                return None
            witness.update((id(v), best.get(id(v), clipped(0.0, v))) for v in follower.variables)
        rows = [free_row(body, lower, upper) for body, lower, upper in self._tied(given, witness, slack, rounded)]
        worst, broken = None, []
        for goal in self.goals():
            answer = _solved(-substituted(goal.body, given), rows)
            if answer is None:
                return None
            values = {**given, **{id(v): answer.get(id(v), witness.get(id(v), clipped(0.0, v))) for v in self.actions}}
            level = number_of(substituted(goal.body, values))
            if goal.limit is None:
                worst = WorstAnswer(level, values, witness)
            elif not is_within(level, None, goal.limit):
                broken.append(goal.name)
        assert worst is not None
        worst.broken = tuple(dict.fromkeys(broken))
        return worst

    def described(self, worst: WorstAnswer, slack: float) -> list[dict[str, Any]]:
        """The rows that make an answer a best one at this leader's choice, beside the followers' own: coefficients by
        name, lower and upper limit; those alone that are affine."""
        given = {id(v): worst.values[id(v)] for v in self.leading}
        rows = []
        for answers in self.answers:
            for body, lower, upper in answers.tie_rows(given, worst.witness, slack):
                repn = generate_standard_repn(body, compute_values=True, quadratic=False)
                if not repn.is_linear():
                    continue
                names = [self.game.names[id(v)] for v in repn.linear_vars]
                rows.append(
                    {
                        "coefficients": dict(zip(names, map(float, repn.linear_coefs), strict=True)),
                        "lower": None if lower is None else lower - float(repn.constant),
                        "upper": None if upper is None else upper - float(repn.constant),
                    }
                )
        return rows

    def _tied(
        self, given: Mapping[int, float], witness: Mapping[int, float], slack: float, rounded: bool
    ) -> Iterator[Any]:
        """The rows of :meth:`_rows` at given leader values, ties as wide as rounding."""
        for answers in self.answers:
            yield from ((substituted(c.body, given), c.lb, c.ub) for c in answers.follower.constraints)
            room = TOLERANCES.noise * max(1.0, size_of(answers.cost, witness)) if rounded else 0.0
            for body, lower, upper in answers.tie_rows(given, witness, slack):
                yield body, None if lower is None else lower - room, None if upper is None else upper + room
        yield from ((substituted(c.body, given), c.lb, c.ub) for c in self.defining)


_BENT = (Curvature.CONVEX, Curvature.AFFINE, Curvature.CONSTANT)


def _solved(cost: Any, rows: Sequence[Any]) -> dict[int, float] | None:
    """{id(Var): value} at the least cost of a convex problem; None where there is none."""
    try:
        program = Program(cost, rows)
    except BadRow:
        return None
    exact = program.is_linear and registry["highs"].available
    solution = solve(program, "highs" if exact else "auto")
    if solution.x is None or not solution.termination.solved:
        return None
    if program.residuals(solution.x, None).feasibility > TOLERANCES.feasibility:
        return None
    x = program.snapped(solution.x, solution.duals)[0]  # an interior-point method stops beside a bound it means
    return program.levels(x)
