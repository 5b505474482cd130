"""Worst answers: what followers do at one leader's choice if they break ties against the leader.

    ψ(x) = max F(x, y)  over the best answers y ∈ S(x),  and the most of each row G(x, y) ≤ 0 of the leader that has y

Followers who feel nobody but the leader have answer sets, :mod:`stackpyomo.plans.answer_sets`, in which a tie is what
rounding cannot tell. Of all others, and where prices are answers as well, it is the worst of their equilibria.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyomo.environ as pyo

from stackpyomo.bilevel import Options, copied, substituted
from stackpyomo.core import TOLERANCES, clipped, is_within, limits_of, sides_of
from stackpyomo.core.expressions import curvature, number_of, size_of, sized, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import BadRow, Program, free_row, registry, rows_at, solve

from .answer_sets import Affine, AnswerSet, Kind, is_independent
from .linear_answers import LinearAnswers
from .plan import Plan
from .problems import aggregate_definitions, held_problem
from .responding import plan_if_any


@dataclass(frozen=True)
class Goal:
    """What those who break ties maximise, and the most that the leader can bear of it (None: it is its cost)."""

    body: Any
    limit: float | None = None
    name: str = ""  #: Of the row that limits it.

    def excess(self, table: Mapping[int, Any], level: Any) -> Any:
        """By how much it is beyond its limit, or the cost beyond ``level``, with these in the place of the Vars."""
        return substituted(self.body, table) - (level if self.limit is None else self.limit)


@dataclass
class WorstAnswer:
    """What followers who break ties against the leader do at one x."""

    values: dict[int, float]  #: id(Var) → value, of the leader, the followers and what follows their actions.
    witness: dict[int, float]  #: A best answer, not the worst of them.
    broken: tuple[str, ...] = ()  #: Rows of the leader that some best answer breaks.
    excess: float = 0.0  #: By how much the worst of these is broken, in sizes of its row.
    plan: Plan | None = None  #: The equilibrium, where it is one of several followers or of a market's prices.
    cost: float = math.nan  #: The leader's.


class _Leader(abc.ABC):
    """What a leader who fears the worst looks at: its variables, what answers them, its own rows and those of both."""

    def __init__(self, game: Game, followers: Sequence[Follower]) -> None:
        self.game, self.followers = game, followers
        self.defining, self.defined = aggregate_definitions(game)
        self.cost = game.leader.cost
        follows = {id(v) for v in [*self.defined, *game.price_variables]}
        self.leading = [v for v in game.leader.variables if id(v) not in follows]
        self.actions = [*(v for f in followers for v in f.variables), *self.defined]
        answered = follows | {id(v) for v in self.actions}
        defining = {id(c) for c in self.defining}
        rows = [c for c in game.leader.constraints if id(c) not in defining]
        self.coupled = [c for c in rows if any(id(v) in answered for v in variables_in(c.expr))]
        self.plain = [c for c in rows if not any(id(v) in answered for v in variables_in(c.expr))]

    def goals(self) -> Iterator[Goal]:
        """The leader's cost, and each side of its rows that hold answers."""
        yield Goal(self.cost)
        for row in self.coupled:
            for sign, limit in sides_of(row):
                yield Goal(sign * row.body, sign * limit, row.name)

    def worst(self, given: Mapping[int, float], slack: float, *, rounded: bool = True) -> WorstAnswer | None:
        """The worst answer at {id(leader's Var): value}; None if there is none, or none is proved to be it.

        ``slack``: the difference in a follower's cost that is a tie. ``rounded``: one that rounding may make is one.
        """
        worst, broken, excess, most = None, [], 0.0, self.asked(given, slack, rounded)
        for goal in self.goals():
            answer = most(goal.body)
            if answer is None:
                return None
            answer.cost = number_of(substituted(goal.body, answer.values))
            if goal.limit is None:
                worst = answer
            else:
                level, _, limit = sized(substituted(goal.body, answer.values), None, goal.limit)
                excess = max(excess, level - (limit or 0.0))
                if not is_within(level, None, limit):
                    broken.append(goal.name)
        assert worst is not None
        worst.broken, worst.excess = tuple(dict.fromkeys(broken)), excess
        return worst

    def posed(self, name: str, low: float, high: float = math.inf) -> tuple[Any, dict[int, Any], list[Any]]:
        """(a model with η between these, a copy of what the leader decides, its own rows): what programs begin with."""
        model = pyo.ConcreteModel(name=name)
        model.level = pyo.Var(bounds=limits_of(low, high))
        leader = copied(model, self.leading, "leader")
        return model, leader, rows_at(self.plain, leader)

    @abc.abstractmethod
    def asked(self, given: Mapping[int, float], slack: float, rounded: bool) -> Callable[[Any], WorstAnswer | None]:
        """What takes an expression to the answer that makes the most of it."""

    def keeps(self, given: Mapping[int, float]) -> bool:
        """True if the leader's own rows hold there, those that no answer enters."""
        return all(is_within(*sized(substituted(c.body, given), c.lb, c.ub)) for c in self.plain)


class WorstAnswers(_Leader):
    """Of followers who feel nobody but the leader, by their answer sets."""

    def __init__(self, game: Game, followers: Sequence[Follower]) -> None:
        super().__init__(game, followers)
        self.answers = [AnswerSet(f) for f in followers]
        known = all(answers.kind is not Kind.OTHER for answers in self.answers)
        #: Whether every problem solved here is convex; others go to a global solver.
        self.is_convex = known and all(curvature(-g.body, self.actions).curvature.is_convex for g in self.goals())

    @cached_property
    def _linear(self) -> LinearAnswers | None:
        return LinearAnswers.of(self.answers, self.defining, self.actions, self.leading)

    def require_exact(self, slack: float) -> None:
        """Raise :class:`InvalidGame` where a tie needs a width, or a solver that is not here."""
        for answers in self.answers:
            if answers.kind is Kind.CONVEX and not slack:
                raise InvalidGame(
                    f"{answers.follower.name}: its cost is neither linear nor quadratic, so that its best answers have "
                    "no exact description. Pass tie_tolerance=, the difference in its cost that is a tie, for instance "
                    "1e-3."
                )
        if not self.is_convex and not registry["scip"].available:
            raise InvalidGame(
                f"{self.game.name}: ties='pessimistic' asks SCIP for the worst answers where a follower is not proved "
                "convex, or the leader's cost not concave in the actions, and it is not installed: pip install "
                "pyscipopt."
            )

    def asked(self, given: Mapping[int, float], slack: float, rounded: bool) -> Callable[[Any], WorstAnswer | None]:
        """The most of a goal over the answer sets."""
        arrays = None if slack or self._linear is None else self._linear.asked(given, rounded=rounded)
        if arrays is None:
            return self._asked(given, slack, rounded)
        best, farthest = arrays

        def most(goal: Any) -> WorstAnswer | None:
            affine = Affine.of(substituted(goal, given))
            levels = None if affine is None else farthest(affine)
            if levels is None:
                return self._asked(given, slack, rounded)(goal)
            return WorstAnswer({**given, **levels}, {**given, **best})

        return most

    def _asked(self, given: Mapping[int, float], slack: float, rounded: bool) -> Callable[[Any], WorstAnswer | None]:
        """The same by solvers, one program a goal."""
        witness = self._witness(given)
        if witness is None:
            return lambda _: None
        rows = list(self._tied(given, witness, slack, rounded))

        def most(goal: Any) -> WorstAnswer | None:
            answer = _solved(-substituted(goal, given), rows, self.is_convex)
            if answer is None:
                return None
            levels = {id(v): answer.get(id(v), witness.get(id(v), clipped(0.0, v))) for v in self.actions}
            return WorstAnswer({**given, **levels}, witness)

        return most

    def _witness(self, given: Mapping[int, float]) -> dict[int, float] | None:
        """A best answer, with the leader's values; None where there is none."""
        witness: dict[int, float] = dict(given)
        for follower, answers in zip(self.followers, self.answers, strict=True):
            rows = rows_at(follower.constraints, given)
            best = _solved(substituted(answers.cost, given), rows, answers.kind is not Kind.OTHER)
            if best is None:
                return None
            witness.update((id(v), best.get(id(v), clipped(0.0, v))) for v in follower.variables)
        return witness

    def described(self, worst: WorstAnswer, slack: float) -> list[dict[str, Any]]:
        """The affine rows that make an answer a best one at this leader's choice, beside the followers' own.

        Each has coefficients by name, a lower and an upper limit.
        """
        given = {id(v): worst.values[id(v)] for v in self.leading}
        names = self.game.names
        rows: list[dict[str, Any]] = []
        for answers in self.answers:
            for body, lower, upper in answers.tie_rows(given, worst.witness, slack):
                if (affine := Affine.of(body)) is not None:
                    sides = {"lower": lower, "upper": upper}
                    limits = {key: None if side is None else side - affine.constant for key, side in sides.items()}
                    rows.append({"coefficients": {names[key]: c for key, c in affine.slopes.items()}, **limits})
        return rows

    def _tied(
        self, given: Mapping[int, float], witness: Mapping[int, float], slack: float, rounded: bool
    ) -> Iterator[Any]:
        """The rows that make an answer a best one, ties as wide as rounding."""
        for answers in self.answers:
            yield from rows_at(answers.follower.constraints, given)
            ones = {**witness, **{id(v): clipped(1.0, v) for v in answers.follower.variables}}
            size = size_of(answers.cost, witness) or size_of(answers.cost, ones) or 1.0
            room = TOLERANCES.noise * size if rounded else 0.0
            for body, lower, upper in answers.tie_rows(given, witness, slack):
                yield free_row(body, None if lower is None else lower - room, None if upper is None else upper + room)
        yield from rows_at(self.defining, given)


class WorstEquilibria(_Leader):
    """Of followers who feel each other, and of prices: the worst equilibrium of the kind that is asked for."""

    def __init__(self, game: Game, followers: Sequence[Follower], options: Options) -> None:
        super().__init__(game, followers)
        self.options = options

    def require_exact(self, slack: float) -> None:
        """Raise :class:`InvalidGame` for ties of a width: of one equilibrium there is none."""
        if slack:
            raise InvalidGame(
                f"tie_tolerance={slack:g}: is for followers who feel nobody but the leader, and {self.game.name} has "
                "equilibria, or prices, to choose among. Leave it out."
            )

    def asked(self, given: Mapping[int, float], _slack: float, _rounded: bool) -> Callable[[Any], WorstAnswer | None]:
        """The most of a goal over the equilibria; None where none is proved to be it."""
        game, sign = self.game, self.game.leader.sign
        values = {game.names[key]: level for key, level in given.items()}
        kind = "worst" if self.options.equilibrium == "any" else self.options.equilibrium
        options = replace(self.options, warm=False, equilibrium=kind)

        def most(goal: Any) -> WorstAnswer | None:
            problem = held_problem(game, self.followers, values, -goal)
            plan = plan_if_any(game, self.followers, problem, options, sign=-sign)
            if plan is None or plan.quality != "optimal":
                return None
            levels = {id(v): plan.values[name] for name, v in game.variables_by_name.items()}
            return WorstAnswer(levels, levels, plan=plan)

        return most


def worst_answers(game: Game, followers: Sequence[Follower], options: Options) -> WorstAnswers | WorstEquilibria:
    """Whichever describes these followers."""
    alone = not (game.prices or game.shared or options.common) and all(is_independent(game, f) for f in followers)
    return WorstAnswers(game, followers) if alone else WorstEquilibria(game, followers, options)


def _solved(cost: Any, rows: Sequence[Any], convex: bool) -> dict[int, float] | None:
    """{id(Var): value} at the least cost; None where there is none, or none is proved."""
    try:
        program = Program(cost, rows)
    except BadRow:
        return None
    exact = convex and program.is_linear and registry["highs"].available
    solution = solve(program, "highs" if exact else "auto" if convex else "scip")
    if solution.answer is None:
        return None
    if program.residuals(solution.answer, None).feasibility > TOLERANCES.feasibility:
        return None
    if not convex:
        return program.levels(solution.answer)
    x = program.snapped(solution.answer, solution.duals)[0]  # an interior-point method stops beside a bound it means
    return program.levels(x)
