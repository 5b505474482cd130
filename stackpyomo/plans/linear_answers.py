"""Linear answers: worst answers of linear followers whose rows are affine, in arrays, by two linear programs a goal.

At a leader x, with g_i(x, y) ≥ 0 a follower's rows and bounds and π any multipliers of a best answer,

    S(x) = {y: g_i(x, y) ≥ 0,  g_i(x, y) = 0 for π_i > 0},        as  f(x, y) − min f = Σ π_i g_i(x, y).

A multiplier of no more than makes a deviation tempting is none: what costs a follower so little is a tie. Beside
a tie this says more than the level row f(x, y) ≤ min f, which answers far from S(x) break by less than rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from stackpyomo.core import TOLERANCES, Array, bounds_of, clipped, sides_of
from stackpyomo.core.expressions import partials

from .answer_sets import Affine, AnswerSet, Kind


@dataclass(frozen=True)
class Side:
    """g ≥ 0 or g = 0: one side of a row or of a variable's bounds; ``owned`` by a follower, or a definition."""

    gap: Affine
    equality: bool
    owned: bool = True


def affine_sides(answers: Sequence[AnswerSet], defining: Sequence[Any]) -> list[Side] | None:
    """Those of these followers and of definitions; None where one is not affine."""
    sides = []
    parts = [(part, True) for a in answers for part in (*a.follower.constraints, *a.follower.variables)]
    for part, owned in [*parts, *((row, False) for row in defining)]:
        for gap, equality in gaps(getattr(part, "body", part), part):
            if (affine := Affine.of(gap)) is None:
                return None
            sides.append(Side(affine, equality, owned))
    return sides


def gaps(body: Any, part: Any) -> Iterator[tuple[Any, bool]]:
    """(g, whether it is 0) of the limits of a row or a Var."""
    low, high = bounds_of(part)
    if low == high:
        yield body - low, True
        return
    for sign, limit in sides_of(part):
        yield sign * (limit - body), False


class LinearAnswers:
    """The rows A y + B x + c ≥ 0 and the slopes D x + e of the costs, in natural units of both."""

    def __init__(self, answers: Sequence[AnswerSet], sides: Sequence[Side], actions: Any, leading: Any) -> None:
        self.actions, self.leading = actions, leading
        self.widths = np.array([_width(v) for v in actions])
        self.equal = np.array([side.equality for side in sides], dtype=bool)
        rows, moves, levels = self._arrays([side.gap for side in sides])
        units = _or_one(np.abs(rows * self.widths).max(axis=1, initial=0.0))
        self.rows, self.moves, self.levels = (
            (rows * self.widths) / units[:, None],
            moves / units[:, None],
            levels / units,
        )
        self.turns, self.slopes = np.zeros((len(actions), len(leading))), np.zeros(len(actions))
        first = 0
        for answer in answers:
            own = slice(first, first := first + len(answer.follower.variables))
            slopes = [slope for slope in map(Affine.of, partials(answer.cost, answer.follower.variables)) if slope]
            _, turns, levels = self._arrays(slopes)
            turns, levels = turns * self.widths[own, None], levels * self.widths[own]
            reach = np.abs(turns) * np.array([_width(v) for v in leading])
            unit = _or_one(max(np.abs(levels).max(initial=0.0), reach.max(initial=0.0)))
            self.turns[own], self.slopes[own] = turns / unit, levels / unit

    @classmethod
    def of(
        cls, answers: Sequence[AnswerSet], defining: Sequence[Any], actions: Any, leading: Any
    ) -> LinearAnswers | None:
        """None where a cost is not linear, its slopes or a row not affine."""
        if any(a.kind is not Kind.LINEAR for a in answers):
            return None
        slopes = (slope for a in answers for slope in partials(a.cost, a.follower.variables))
        if any(Affine.of(slope) is None for slope in slopes):
            return None
        sides = affine_sides(answers, defining)
        return None if sides is None else cls(answers, sides, actions, leading)

    def asked(
        self, given: Mapping[int, float], *, rounded: bool
    ) -> tuple[dict[int, float], Callable[[Affine], dict[int, float] | None]] | None:
        """(a best answer, what takes a goal to the worst one): {id(action): level}; None where none is found.

        ``rounded``: a multiplier of no more than makes a deviation tempting is none.
        """
        x = np.array([given[id(v)] for v in self.leading])
        levels, equal = self.moves @ x + self.levels, self.equal.copy()
        best = self._least(self.turns @ x + self.slopes, levels, equal)
        if best is None:
            return None
        equal[~self.equal] = -best.ineqlin.marginals > (TOLERANCES.tempting if rounded else TOLERANCES.cancelled)

        def most(goal: Affine) -> dict[int, float] | None:
            slopes = np.array([goal.slopes.get(id(v), 0.0) for v in self.actions]) * self.widths
            worst = self._least(-slopes / _or_one(np.abs(slopes).max(initial=0.0)), levels, equal)
            return None if worst is None else self._named(worst.x)

        return self._named(best.x), most

    def _least(self, cost: Array, levels: Array, equal: Array) -> Any:
        """SciPy's answer to min cost·z over rows of which these are equalities; None where it has none."""
        answer = linprog(
            cost,
            A_ub=-self.rows[~equal],
            b_ub=levels[~equal],
            A_eq=self.rows[equal],
            b_eq=-levels[equal],
            bounds=(None, None),
            options={f"{kind}_feasibility_tolerance": TOLERANCES.solver for kind in ("primal", "dual")},
        )
        return answer if answer.success else None

    def _named(self, z: Array) -> dict[int, float]:
        levels = (z * self.widths).tolist()
        return {id(v): clipped(level, v) for v, level in zip(self.actions, levels, strict=True)}

    def _arrays(self, functions: Sequence[Affine]) -> tuple[Array, Array, Array]:
        """The coefficients of the actions and of the leader's variables, and the constants."""
        one, other = (
            np.array([[f.slopes.get(id(v), 0.0) for v in some] for f in functions]).reshape(len(functions), len(some))
            for some in (self.actions, self.leading)
        )
        return one, other, np.array([f.constant for f in functions])


def _width(var: Any) -> float:
    """How far apart two bounds are; 1 where there are not two."""
    low, high = bounds_of(var)
    return high - low if 0.0 < high - low < np.inf else 1.0


def _or_one(sizes: Any) -> Any:
    """These sizes, 1 for what is 0."""
    return np.where(sizes > 0.0, sizes, 1.0)
