"""Optimality conditions of many followers in arrays: differentiated once for each family, not for each follower.

The derivative of follower k's Lagrangian by its action a is, member by member of the families that cost and rows are,

    Σ factor · rate_za · ∂tree/∂z  +  Σ ± π · factor · rate_za · ∂tree/∂z  −  λ⁻ + λ⁺ = 0

over the Vars z of the member that a moves: a itself (rate 1) and the aggregates, by their shares. Multipliers, slacks
and pairs are those of :mod:`.conditions`, and so is what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import Array
from stackpyomo.core.expressions import apart
from stackpyomo.families import Family, Written, derived, gathered, product
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import read_program

from .conditions import Builder
from .mpcc import Equilibrium, Problem


def array_equilibrium(
    game: Game, followers: Sequence[Follower], problem: Problem, seconds: dict[str, float], log: list[dict[str, Any]]
) -> Equilibrium | None:
    """The followers' conditions with the rows of ``problem``, in arrays; None where these cannot hold them.

    Left to expressions: integers, prices, rules that answer, rows that several followers feel, kinks.
    """
    felt = [id(row) for follower in followers for row in follower.constraints]
    if (
        game.prices
        or problem.answers
        or problem.sets
        or len(felt) > len(set(felt))
        or any(f.integers for f in followers)
    ):
        return None
    builder = _ArrayBuilder(game, followers, pyo.ConcreteModel(name="conditions"), (), {}, None)
    kkt = builder.build()
    written = builder.written_rows(game)
    if written is None:
        return None
    holder = pyo.ConcreteModel(name="rows")
    relations = [*(var == value for var, value in problem.held), *(relation for _, relation in kkt.rows)]
    holder.rows = pyo.Constraint(range(len(relations)), rule=lambda _, i: relations[i])
    rows = [*(c for _, c in problem.constraints), *holder.rows.values()]
    program = read_program(apart(problem.cost), rows, seconds, written)
    if program is None:
        return None
    first = len(problem.constraints) + len(problem.held)
    order = np.concatenate([np.arange(len(rows)), np.arange(written.count)])
    order[first : len(rows)] += written.count
    order[len(rows) :] += first
    program.rows = order
    return Equilibrium(problem, kkt, None, seconds, log, program)


class _ArrayBuilder(Builder):
    """Multipliers, slacks and pairs as ever; stationarity as families."""

    def _gradient(self, _follower: Follower, _component: Any) -> Mapping[int, Any]:
        return {}

    def _conditions(self, follower: Follower, _gradient: Any, rows: list[Any], *_: Any) -> None:
        for row in rows:
            for _term in self._row(follower, row, []):
                pass
        for var in follower.variables:
            self._bounds(follower, var)
            self.result.stationarity.append((var, None))

    def written_rows(self, game: Game) -> Written | None:
        """The rows of stationarity, in their order; None where a cost or a row is not understood."""
        kkt, written = self.result, Written(len(self.result.stationarity))
        row_of = {id(var): number for number, (var, _) in enumerate(kkt.stationarity)}
        moved = _Moved(game, self.followers, row_of, written)
        costs = [(k, f.objective.expr, float(f.sign)) for k, f in enumerate(self.followers) if f.objective is not None]
        bodies = [(k, row) for k, follower in enumerate(self.followers) for row in follower.constraints]
        forces = [kkt.signed.get((self.followers[k].name, id(row)), []) for k, row in bodies]
        whose = np.array([k for k, _ in bodies], dtype=np.int64)
        families, unread = gathered(costs, written.column, written.variables)
        curved, unclear = gathered(
            [(number, row.body, 1.0) for number, (_, row) in enumerate(bodies)], written.column, written.variables
        )
        if unread or unclear:
            return None
        written.families = [slope for slope, _ in moved.slopes(families, np.arange(len(self.followers)))]
        for slope, items in moved.slopes(curved, whose):
            written.families += _forced(slope, [forces[i] for i in items], written)
        written.families.append(self._held(row_of, written))
        return written

    def _held(self, row_of: Mapping[int, int], written: Written) -> Family:
        """−λ⁻ + λ⁺ of the bounds."""
        bounds = [pair for pair in self.result.pairs if id(pair.component) in row_of]
        rows = np.array([row_of[id(pair.component)] for pair in bounds], dtype=np.int64)
        signs = np.array([-1.0 if pair.side == "lower" else 1.0 for pair in bounds])
        columns = written.columns(pair.multiplier for pair in bounds)
        return Family(("v", 0), np.zeros((0, len(rows))), columns[None, :], rows, signs)


class _Moved:
    """Which actions of a follower move a Var, and at what rate: itself, and the aggregates."""

    def __init__(self, game: Game, followers: Sequence[Follower], row_of: Mapping[int, int], written: Written) -> None:
        number = {id(var): k for k, follower in enumerate(followers) for var in follower.variables}
        responses = game.responses()
        moves = responses.moves.tocoo()
        aggregates = written.columns(responses.variables)[moves.row.astype(np.int64)]
        actions = np.concatenate([np.arange(len(game.actions)), moves.col]).astype(np.int64)
        columns = np.concatenate([written.columns(game.actions), aggregates])
        rates = np.concatenate([np.ones(len(game.actions)), moves.data])
        rows = np.array([row_of.get(id(var), -1) for var in game.actions], dtype=np.int64)[actions]
        owners = np.array([number.get(id(var), -1) for var in game.actions], dtype=np.int64)[actions]
        self._count = len(followers)
        ours = np.flatnonzero(rows >= 0)
        keys = columns[ours] * self._count + owners[ours]
        order = np.argsort(keys, kind="stable")
        self._keys, self._rates, self._rows = keys[order], rates[ours][order], rows[ours][order]

    def slopes(self, families: Sequence[Family], whose: Array) -> Iterator[tuple[Family, Array]]:
        """(derivatives by what is moved, as members of the rows of the actions that move it; their items)."""
        for family in families:
            for slot, column in enumerate(family.columns):
                tree = derived(family.tree, slot)
                if tree is None:
                    continue
                keys = column * self._count + whose[family.rows]
                first, last = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
                times = last - first
                members = np.repeat(np.arange(len(keys)), times)
                entries = np.arange(len(members)) + np.repeat(last - np.cumsum(times), times)
                some = family.only(members)
                factors = some.factors * self._rates[entries]
                yield Family(tree, some.numbers, some.columns, self._rows[entries], factors), some.rows


def _forced(slope: Family, forces: Sequence[Sequence[tuple[Any, float]]], written: Written) -> Iterator[Family]:
    """multiplier · slope, for every multiplier of the rows; forces: of each member."""
    tree = product(("v", len(slope.columns)), slope.tree)
    for number in range(max(map(len, forces), default=0)):
        there = np.array([k for k, terms in enumerate(forces) if len(terms) > number])
        some = slope.only(there)
        columns = written.columns(forces[k][number][0] for k in there)
        signs = np.array([forces[k][number][1] for k in there])
        yield Family(tree, some.numbers, np.vstack([some.columns, columns]), some.rows, some.factors * signs)
