"""Masters of ties: plans against ties of integer and nonconvex followers, between two widths of a tie.

With S_ε(x) = {y ∈ Y: f(x, y) ≤ φ(x) + ε}, Y fixed, every answer v is a row of a master over x, a witness ȳ ∈ Y and η,

    f(x, v) ≥ f(x, ȳ) + ε   or   F(x, v) ≤ η and G(x, v) ≤ 0.

Some rows make a relaxation of P_ε = inf_x max {F(x, y): y ∈ S_ε(x)}; the answers of the next are looked for in S_{ε/2}.
Once none of these is worse than η, P_{ε/2} ≤ η ≤ P_ε. At ε = 0 the first alternative would always be open: a tie is
what the rows are about, so that a width is needed. Source: P_ε decreases to P_0; Mitsos, Lemonidis, Barton (2008).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from stackpyomo.bilevel import Choices, Written, copied, substituted
from stackpyomo.core import TOLERANCES
from stackpyomo.deviations import Deviation, Deviations, generate
from stackpyomo.solvers import Program, free_row, rows_at, solve

from .answer_sets import keep_apart
from .worst_answers import WorstAnswers

_ROUNDS = 60  # Answers that become rows, at most.

_EVERYBODY = "everybody"


@dataclass
class Choice:
    """A leader, and what the rows so far let it hope for at best."""

    leader: dict[int, float]
    hoped: float


@dataclass
class TieMaster:
    """One master; ``low``: what no leader gets below; ``scale``: how much the leader's cost can change."""

    worst: WorstAnswers
    width: float
    low: float
    scale: float
    until: float = math.inf
    bound: float = field(default=-math.inf, init=False)  #: Proved: P_width is not below.
    chosen: list[dict[int, float]] = field(default_factory=list, init=False)  #: The leaders of all rounds.

    @staticmethod
    def is_usable(worst: WorstAnswers) -> bool:
        """True if no follower's rows hold what the leader does: then every answer is one to every leader."""
        return not worst.defining and keep_apart(worst.followers)

    def run(self) -> None:
        """Master, worst answer, row, again."""
        rows = Deviations({}, None)
        generate(self, self._worse_answer, rows, most=_ROUNDS, until=self.until, words="answers against the leader")

    def solve(self, rows: Deviations) -> Choice | None:
        """The best leader against these answers; None if every leader is refuted."""
        model, leader, plain = self.worst.posed("ties of a width", self.low)
        table = {**leader, **copied(model, self.worst.actions, "witness")}
        written = Written(plain)
        written.rows += rows_at((c for f in self.worst.followers for c in f.constraints), table)
        written.rows += [free_row(goal.excess(table, model.level), None, 0.0) for goal in self.worst.goals()]
        choices = Choices(model)
        for deviation in rows:
            written.add(choices.one_of(self._ways(model.level, deviation, leader, table)))
        program = Program(model.level + 0.0, written.rows, sets=written.sets)
        left = None if math.isinf(self.until) else max(1.0, self.until - time.monotonic())
        solution = solve(program, "scip", time_limit=left)
        if solution.bound > self.bound:
            self.bound = solution.bound
        if solution.x is None:
            return None
        levels = program.levels(solution.x)
        choice = {key: levels.get(id(var), 0.0) for key, var in leader.items()}
        whole = {id(v) for v in self.worst.leading if not v.is_continuous()}
        choice = {key: float(round(level)) if key in whole else level for key, level in choice.items()}
        self.chosen.append(choice)
        return Choice(choice, levels[id(model.level)])

    def _ways(self, level: Any, deviation: Deviation, leader: Any, table: Any) -> Iterator[tuple[list[Any], float]]:
        """One answer's row: the leader can bear it, or some follower has a better one by the width."""
        names = self.worst.game.names
        values = {**leader, **{id(v): deviation.action[names[id(v)]] for v in self.worst.actions}}
        yield [goal.excess(values, level) for goal in self.worst.goals()], math.inf
        for answers in self.worst.answers:
            gain = substituted(answers.cost, table) - substituted(answers.cost, values)
            yield [gain + self.width], math.inf

    def _worse_answer(self, choice: Choice) -> Iterator[Deviation]:
        """The worst answer within half the width, where it is worse than the master assumed."""
        worst = self.worst.worst(choice.leader, self.width / 2.0)
        room = TOLERANCES.global_gap * self.scale
        if worst is not None and (worst.broken or worst.cost > choice.hoped + room):
            action = {self.worst.game.names[id(v)]: worst.values[id(v)] for v in self.worst.actions}
            yield Deviation(_EVERYBODY, action, max(worst.cost - choice.hoped, 0.0))
