"""Unknown gains: the gain K of a rule u0 = c + K s as Vars, and what moves with each follower's actions by it.

A deviation du of (one member of) follower k moves signal s by M_sa du_a, the leader's variable l by Σ_s K_ls M_sa du_a,
and an aggregate that holds it along. That makes the response R_k of the conditions an expression in K
(:func:`stackpyomo.bilevel.conditions`). The offset is no unknown: c = u0 − K s afterwards; only where several variables
announce one rule, u0_w = c + K s_w in all of them, are (c, K) shared and a row each says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.indexed_component_slice import IndexedComponent_slice
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.core import Array, clipped, entries_in, listed, triplets
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, leader_variables
from stackpyomo.games.information import Observation
from stackpyomo.incentives.gains.selection import Entries


def read_common(game: Game, observation: Observation, common: Any) -> list[list[VarData]]:
    """The groups of leader variables that announce one rule, each with at least two members.

    common: a list whose items are indexed Vars of the leader, their names, slices or lists of Vars. Raises
    :class:`InvalidGame` where the members of a group do not see as many and like signals.
    """
    items = [common] if isinstance(common, str) or hasattr(common, "ctype") else common
    if not isinstance(items, Iterable):
        raise InvalidGame(f"common={common!r}: expected indexed Vars of the leader, their names, or lists of Vars.")
    groups = []
    for item in items:
        members = leader_variables(game, list(item) if isinstance(item, IndexedComponent_slice) else item)
        if len(members) > 1:
            _require_alike(game, observation, members)
            groups.append(members)
    twice = [id(v) for group in groups for v in group]
    if len(set(twice)) < len(twice):
        name = next(v.name for group in groups for v in group if twice.count(id(v)) > 1)
        raise InvalidGame(f"common=: {name} is in two of the groups; it can announce one rule only.")
    return groups


def _require_alike(game: Game, observation: Observation, members: Sequence[VarData]) -> None:
    first, *rest = members
    seen = [observation.signals[s] for s in observation.of(game.names[id(first)])]
    for var in rest:
        other = [observation.signals[s] for s in observation.of(game.names[id(var)])]
        if len(seen) != len(other):
            raise InvalidGame(
                f"common=: {first.name} sees {len(seen)} signals ({listed([s.name for s in seen], 3)}), {var.name} "
                f"{len(other)} ({listed([s.name for s in other], 3)}): no rule is common to them. Observe alike "
                "signals for each, and leave out of the index a type of probability 0, which nobody can have."
            )
        unlike = [(s, t) for s, t in zip(seen, other, strict=True) if s.own != t.own]
        if unlike:
            raise InvalidGame(
                f"common=: {first.name} answers {unlike[0][0].name} where {var.name} answers {unlike[0][1].name}: an "
                "action of one follower and a sum are unlike signals. Observe alike signals for each, in one order."
            )


class UnknownGain:
    """K as Vars on a model of their own, with the responses and rows it stands for.

    rows: in the user's units; ``design`` has them in natural ones.
    """

    def __init__(self, rows: FollowerRows, design: Entries, common: Sequence[Sequence[VarData]]) -> None:
        self.rows, self.design, self.observation = rows, design, design.wishes.observation
        self.groups = [list(group) for group in common]
        #: (leader variable, signal, number of the Var) of every entry that moves somebody.
        self.entries = list(self._numbered())
        instruments, signals, self.numbers = np.array(self.entries, dtype=int).reshape(-1, 3).T
        self.units = design.units(instruments, signals)  #: (entries) one of each in the user's units.
        self.holder = holder = pyo.ConcreteModel(name="rule")
        holder.gain = pyo.Var(range(1 + max(self.numbers, default=-1)), initialize=0.0)
        holder.offset = pyo.Var(range(len(self.groups)), initialize=0.0)
        holder.common = pyo.ConstraintList()
        self.table = {(instrument, s): holder.gain[number] for instrument, s, number in self.entries}
        self.answers = self._answers()
        self._tie()

    @property
    def variables(self) -> list[VarData]:
        """The entries of K, and the offsets of common rules."""
        return [*self.holder.gain.values(), *self.holder.offset.values()]

    def bound(self, lower: Array, upper: Array) -> None:
        """Bounds of the entries, (entries of :attr:`entries`); a shared one gets the narrowest."""
        lows, highs = np.full(len(self.holder.gain), -np.inf), np.full(len(self.holder.gain), np.inf)
        np.maximum.at(lows, self.numbers, lower)
        np.minimum.at(highs, self.numbers, upper)
        if (lows > highs).any():
            raise InvalidGame("gain_bounds=: variables with a common rule have bounds that exclude each other.")
        for number, var in self.holder.gain.items():
            var.setlb(float(lows[number]))
            var.setub(float(highs[number]))

    def point(self, gains: Array) -> dict[int, float]:
        """{id(Var): value} of a gain given entry by entry (the mean of those that are shared), within its bounds."""
        means = np.bincount(self.numbers, gains) / np.bincount(self.numbers)
        return {id(var): clipped(float(mean), var) for var, mean in zip(self.holder.gain.values(), means, strict=True)}

    def matrix(self, values: Mapping[int, float]) -> sparse.csc_array:
        """K, (leader variables × signals), at {id(Var): value}."""
        gain = sparse.lil_array((len(self.design.leader), len(self.design.signals)))
        for place, var in self.table.items():
            gain[place] = values.get(id(var), 0.0)
        return sparse.csc_array(gain)

    def common_rows(self, constants: bool = False) -> list[Any]:
        """One row for each leader variable of a group: u0 = c + K s, or u0 = c."""
        if not constants:
            return list(self.holder.common.values())
        block = pyo.ConcreteModel(name="constants")
        block.offset = pyo.Var(range(len(self.groups)), initialize=0.0)
        block.common = pyo.ConstraintList()
        for number, group in enumerate(self.groups):
            for var in group:
                block.common.add(var == block.offset[number])
        return list(block.common.values())

    # --- how it is built ----------------------------------------------------------------------------------------------

    def _numbered(self) -> Iterator[tuple[int, int, int]]:
        alive = set(self.design.shares.moves.tocoo().row.tolist())
        place = {id(v): instrument for instrument, v in enumerate(self.rows.instruments)}
        group = {id(v): number for number, members in enumerate(self.groups) for v in members}
        numbers: dict[tuple[Any, ...], int] = {}
        for var in self.rows.instruments:
            for position, signal in enumerate(self.observation.of(self.rows.game.names[id(var)])):
                if signal in alive:
                    shared = id(var) in group
                    key = ("common", group[id(var)], position) if shared else ("own", id(var), signal)
                    yield place[id(var)], signal, numbers.setdefault(key, len(numbers))

    def _answers(self) -> dict[int, list[tuple[VarData, Any]]]:
        """id(action) → [(leader variable or aggregate that holds one, rate)]."""
        game, by_signal = self.rows.game, dict[int, list[int]]()
        for instrument, s, _ in self.entries:
            by_signal.setdefault(s, []).append(instrument)
        rates_of: dict[int, dict[int, Any]] = {}
        for s, action, rate in triplets(self.design.shares.moves):
            rates = rates_of.setdefault(id(game.actions[action]), {})
            for instrument in by_signal.get(s, ()):
                rates[instrument] = rates.get(instrument, 0.0) + self.table[instrument, s] * rate
        leads = self.rows.leads.tocsc()
        aggregates = self.rows.responses.variables
        return {action: self._carried(rates, leads, aggregates) for action, rates in rates_of.items() if rates}

    def _carried(
        self, rates: Mapping[int, Any], leads: sparse.csc_array, aggregates: Sequence[VarData]
    ) -> list[tuple[VarData, Any]]:
        moved = [(self.rows.instruments[instrument], rate) for instrument, rate in rates.items()]
        for instrument, rate in rates.items():
            moved += [(aggregates[z], lead * rate) for z, lead in entries_in(leads, instrument)]
        return moved

    def _tie(self) -> None:
        place = {id(v): instrument for instrument, v in enumerate(self.rows.instruments)}
        by_name = self.rows.game.variables_by_name
        for number, group in enumerate(self.groups):
            for var in group:
                instrument = place.get(id(var), -1)
                answer: Any = self.holder.offset[number]
                for s in self.observation.of(self.rows.game.names[id(var)]):
                    if (instrument, s) in self.table:
                        answer = answer + self.table[instrument, s] * self.design.signals[s].written(by_name)
                self.holder.common.add(var == answer)
