"""Conditional verification: what each follower could gain by deviating after it has seen its observation.

    regret_k(y) = ( J_k(plan) − min_{v = u_k[y]} J_k(v, the rest of u_k as planned, the leader's answer) ) / P(y)

A follower whose expected cost and rows fall apart by atom is settled by its best response to all of them at once: the
regrets are what each atom contributes. Otherwise every atom is re-solved with the others held at the plan. Variables
that stand for no observation (the threshold and excesses of a CVaR) are free in every such re-solve.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .checks import variables_in
from .composition import Composed, composed
from .errors import InvalidGame
from .games import Game
from .programs import Program, undisturbed
from .progress import tracked
from .results import Array
from .scenarios import Scenarios
from .selections import component_pairs
from .tolerances import TOLERANCES, is_within
from .unfolding import unfolded
from .values import number_of
from .verification import Effort, best_responses, verify

__all__ = ["conditional_regret"]


def conditional_regret(subject: Any, scenarios: Scenarios, actions: Any, *, solver: str = "auto") -> pd.DataFrame:
    """One row per follower and atom: ``probability``, ``regret`` (its own units, given the atom), ``certificate``.

    subject: a Plan or an Incentive. actions: follower Var, or policy, → the observation its index stands for. Of a
    policy all actions count as deviations, not only functions of its form. Raises :class:`InvalidGame` for a Var that
    no follower owns or whose index is not the observation's atoms.
    """
    subject, actions = unfolded(subject, component_pairs(actions, "actions", "observation"))
    game: Game = subject.attached()
    parts = list(_parts(game, scenarios, actions))
    names = list(dict.fromkeys(part.follower for part in parts))
    report = verify(subject, solver=solver, followers=names)
    rows: list[tuple[Any, ...]] = []
    with undisturbed():
        pieces: dict[str, list[Composed]] = {}
        for problem in composed(game, subject.announcement, names):
            pieces.setdefault(problem.follower.name, []).append(problem)
        with tracked("atom by atom", len(pieces)) as step:
            for name, problems in pieces.items():
                own = [part for part in parts if part.follower == name]
                best, regret = report.best_response[name], float(report.regret[name])
                regrets = _Atoms(problems, own, best, regret, solver).regrets()
                kind = str(report.certificate[name])
                rows += [
                    (part.follower, part.atom, part.probability, gain / part.probability, kind if exact else evidence)
                    for part, (gain, exact, evidence) in zip(own, regrets, strict=True)
                ]
                step()
    return pd.DataFrame(rows, columns=["follower", "atom", "probability", "regret", "certificate"])


@dataclass
class _Part:
    """What a follower decides after one observation."""

    follower: str
    atom: Hashable
    probability: float
    names: list[str]


def _parts(game: Game, scenarios: Scenarios, actions: Any) -> Iterator[_Part]:
    found: dict[tuple[str, Hashable], _Part] = {}
    for key, observation in component_pairs(actions, "actions", "observation"):
        component = game.component(key) if isinstance(key, str) else key
        weights = scenarios.atom_probability(observation).to_numpy()
        for atom, probability in zip(scenarios.atoms(observation), weights, strict=True):
            try:
                var = component[atom] if component.is_indexed() else component
            except KeyError:
                raise InvalidGame(f"{component.name}[{atom}]: not in its index; index it by {observation}.") from None
            owner = game.owners.get(id(var))
            if owner is None:
                raise InvalidGame(f"{var.name}: no follower decides on it.")
            if not var.fixed and probability > 0.0:
                place = (owner, (observation, atom))
                part = found.setdefault(place, _Part(owner, atom, float(probability), []))
                part.names.append(game.names[id(var)])
    yield from found.values()


class _Atoms:
    """The composed problem of one follower, taken atom by atom.

    Under a projected strategy it is several pieces in the same variables, the one that the plan is in first.
    """

    def __init__(
        self, pieces: Sequence[Composed], parts: Sequence[_Part], best: dict[str, float], regret: float, solver: str
    ) -> None:
        self.pieces, self.problem = pieces, pieces[0]
        self.parts, self.best, self.regret, self.solver = parts, best, regret, solver

    def regrets(self) -> list[tuple[float, bool, str]]:
        """(expected gain of deviating at this atom alone, whether the joint re-solve shows it, else the evidence)."""
        place = {name: i for i, name in enumerate(self.problem.names)}
        own = [[place[name] for name in part.names] for part in self.parts]
        # Of several pieces no single cost holds everywhere, so that an atom's part of the joint answer shows nothing.
        if len(self.pieces) == 1 and self.best and not math.isnan(self.regret) and self._falls_apart(own):
            gains = self._contributions(own)
            scale = max(1.0, abs(self.problem.cost_at(self.problem.target)))
            if abs(sum(gains) - self.regret) <= TOLERANCES.noise * scale:
                return [(gain, True, "") for gain in gains]
        loose = set(range(len(place))).difference(*own)
        return [self._alone({*columns, *loose}) for columns in own]

    def _falls_apart(self, own: Sequence[Sequence[int]]) -> bool:
        """True if every variable belongs to an atom, and no row ties two atoms together."""
        atom = {id(self.problem.variables[place]): number for number, places in enumerate(own) for place in places}
        ties = ({atom[id(v)] for v in variables_in(row.body) if id(v) in atom} for row in self.problem.rows)
        return len(atom) == len(self.problem.variables) and all(len(tied) <= 1 for tied in ties)

    def _contributions(self, own: Sequence[Sequence[int]]) -> list[float]:
        """What each atom's best response brings by itself."""
        program = Program(self.problem.cost)
        order = {id(v): i for i, v in enumerate(program.variables)}
        columns = [order.get(id(v), -1) for v in self.problem.variables]
        start: Array = np.zeros(len(program.variables))
        answer = [self.best[name] for name in self.problem.names]
        for column, target in zip(columns, self.problem.target, strict=True):
            if column >= 0:
                start[column] = target
        base = float(program.problem.objective(start))
        gains = []
        for places in own:
            point = start.copy()
            for place in places:
                if columns[place] >= 0:
                    point[columns[place]] = answer[place]
            gains.append(max(0.0, base - float(program.problem.objective(point))))
        return gains

    def _alone(self, free: set[int]) -> tuple[float, bool, str]:
        """A re-solve of the ``free`` variables, the others at the plan: every piece, judged as verify judges it."""
        for place, (var, target) in enumerate(zip(self.problem.variables, self.problem.target, strict=True)):
            var.set_value(target, skip_validation=True)
            if place not in free:
                var.fix()
        try:
            (found,) = best_responses(list(self._held(sorted(free))), Effort(self.solver), {})
        finally:
            for var in self.problem.variables:
                var.unfix()
        if found.certificate == "unknown":
            return math.nan, False, "unknown"
        return max(0.0, found.plan_cost - found.best_cost), False, found.certificate

    def _held(self, free: Sequence[int]) -> Iterator[Composed]:
        """The pieces with the other variables fixed, without those in which these variables cannot be."""
        home: Composed | None = None
        for piece in self.pieces:
            moved, still = [], list(piece.constants)
            for row in piece.rows:
                if all(var.fixed for var in variables_in(row.body)):
                    still.append((number_of(row.body), row.lb, row.ub))
                else:
                    moved.append(row)
            names, target = [piece.names[i] for i in free], [piece.target[i] for i in free]
            variables = [piece.variables[i] for i in free]
            held = Composed(piece.follower, names, target, piece.cost, moved, still, variables, home=home)
            if home is None or all(is_within(*row) for row in still):  # else the piece holds no point
                home = home or held
                yield held
