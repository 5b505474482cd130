"""Contracts: what the leader announces, as plain data that can be read, evaluated and put into a model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyomo.common.collections import ComponentMap
from scipy import sparse

from .checks import variables_in
from .errors import InvalidGame
from .results import (
    SHOWN,
    Announcement,
    Array,
    Plan,
    floats,
    json_number,
    json_numbers,
    listed,
    readable,
    real,
    shown,
)
from .tolerances import TOLERANCES

if TYPE_CHECKING:
    from .games import Game

__all__ = ["Incentive"]


@dataclass(eq=False)
class Incentive:
    """The affine strategy u0 = offset + Q (u − target) that makes the plan every follower's best response.

    ``matrix`` is Q, (leader variables × signals), sparse. ``residual`` is the largest |a + Qᵀb| left over,
    ``rank`` the number of independent conditions met, ``freedom`` the dimension of the set of all valid gains.
    """

    plan: Plan = field(repr=False)
    leader: list[str]
    signals: list[str]
    matrix: sparse.csc_array = field(repr=False)
    offset: dict[str, float]
    targets: dict[str, float] = field(repr=False)
    residual: float
    rank: int
    freedom: int
    weights: dict[str, float] = field(default_factory=dict, repr=False)
    multipliers: dict[str, float] = field(default_factory=dict)
    gradients: sparse.csr_array | None = field(default=None, repr=False)
    """b, (followers × leader): what the null space of the gain is orthogonal to. Not kept in JSON."""
    owners: Array | None = field(default=None, repr=False)
    """For each signal the number of the follower whose action it is."""
    seconds: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def gain(self) -> pd.DataFrame:
        """Q as a table, leader variable names × signal names (dense: made when asked for)."""
        return pd.DataFrame(self.matrix.toarray(), index=self.leader, columns=self.signals)

    @property
    def norm(self) -> float:
        """Frobenius norm ‖Q‖."""
        return float(np.sqrt((self.matrix.data**2).sum()))

    @property
    def energy(self) -> float:
        """Σ w_l Q_ls² with the weights the design was asked for (1 by default)."""
        weight = np.array([self.weights.get(name, 1.0) for name in self.leader])
        entries = self.matrix.tocoo()
        return float((weight[entries.row] * entries.data**2).sum())

    @property
    def null_space(self) -> Array:
        """Directions Z with bᵀZ = 0: Q + Σ t_j Z_j is valid for every t. Shape (freedom, leader, signals), orthonormal.

        Raises :class:`InvalidGame` for an incentive read from JSON.
        """
        if self.gradients is None or self.owners is None:
            raise InvalidGame("null_space: not kept in JSON; design the incentive anew from its plan.")
        directions = []
        for column, owner in enumerate(self.owners):
            full, triangle = np.linalg.qr(self.gradients[[int(owner)]].toarray().T, mode="complete")
            basis = full[:, 1:] if triangle[0, 0] else full
            for vector in basis.T:
                direction = np.zeros((len(self.leader), len(self.signals)))
                direction[:, column] = vector
                directions.append(direction)
        shape = (len(directions), len(self.leader), len(self.signals))
        return np.array(directions).reshape(shape)

    @property
    def announcement(self) -> Announcement:
        """What :func:`stackpyomo.verify` plays."""
        return Announcement(
            {**self.plan.values, **self.offset}, self.plan.leader_objective, self.leader, self.signals, self.matrix
        )

    def attached(self) -> Game:
        """The game the incentive was designed for; raises :class:`InvalidGame` if it was read without one."""
        return self.plan.attached()

    @property
    def game(self) -> Game | None:
        """The game the incentive was designed for, None if it was read without one."""
        return self.plan.game

    def actions(self, signals: Any) -> dict[str, float]:
        """The leader's answer to what it observes: offset + Q (signal − target); missing signals are on target.

        signals: a ComponentMap, (component, value) pairs, or a dict keyed by name. A population's action stands for
        every member's: all of them deviate. Raises :class:`InvalidGame` for a stranger.
        """
        pairs = signals.items() if hasattr(signals, "items") else signals
        seen = {key if isinstance(key, str) else key.name: float(value) for key, value in pairs}
        unknown = seen.keys() - set(self.signals)
        if unknown:
            raise InvalidGame(f"{min(unknown)}: not a signal of this incentive ({listed(self.signals)}).")
        deviation = np.array([seen.get(s, self.targets[s]) - self.targets[s] for s in self.signals])
        sizes = self._sizes()
        if np.isinf(sizes[deviation != 0.0]).any():
            raise InvalidGame("actions(...): infinitely many followers cannot deviate at once; ask for a finite size.")
        moved = self.matrix @ (deviation * np.where(deviation == 0.0, 1.0, sizes))
        return {name: self.offset[name] + float(d) for name, d in zip(self.leader, moved, strict=True)}

    def strategy(self) -> ComponentMap:
        """The strategy as Pyomo expressions in the followers' Vars: leader Var → expression."""
        game, sizes = self.attached(), self._sizes()
        if np.isinf(sizes).any():
            raise InvalidGame("strategy(): a population of infinite size has no sum of actions; use a finite size.")
        actions = self._observed()
        rows = self.matrix.tocsr()
        expressions = ComponentMap()
        for index, name in enumerate(self.leader):
            entries = slice(rows.indptr[index], rows.indptr[index + 1])
            terms = (
                gain * sizes[c] * (actions[c] - self.targets[self.signals[c]])
                for c, gain in zip(rows.indices[entries], rows.data[entries], strict=True)
            )
            expressions[game.variables_by_name[name]] = sum(terms, self.offset[name])
        return expressions

    def _sizes(self) -> Array:
        """For each signal how many followers its block stands for: together they move the leader that many times."""
        game = self.attached()
        sizes = np.empty(len(self.signals))
        sizes[game.positions(self.signals)] = game.action_sizes
        return sizes

    def _observed(self) -> list[Any]:
        """The Vars behind the signals."""
        game = self.attached()
        game.positions(self.signals)
        return [game.variables_by_name[name] for name in self.signals]

    @property
    def excursions(self) -> dict[str, tuple[float, float]]:
        """Leader variables the strategy takes beyond their bounds for some deviation of one follower within its box.

        {name: (lowest, highest) announced}. The followers' own constraints are not considered, and the announced
        strategy is played as it is, bounds notwithstanding.
        """
        game = self.attached()
        owners = np.empty(len(self.signals), dtype=int)
        owners[game.positions(self.signals)] = game.action_owners
        limits = [(-math.inf if v.lb is None else v.lb, math.inf if v.ub is None else v.ub) for v in self._observed()]
        room = np.array(limits).reshape(-1, 2) - np.array([self.targets[s] for s in self.signals])[:, np.newaxis]
        found: dict[str, tuple[float, float]] = {}
        rows = self.matrix.tocsr()
        for index, name in enumerate(self.leader):
            entries = slice(rows.indptr[index], rows.indptr[index + 1])
            reach = np.sort(rows.data[entries, np.newaxis] * room[rows.indices[entries]], axis=1)
            moved = np.zeros((len(game.followers), 2))
            np.add.at(moved, owners[rows.indices[entries]], reach)
            low = float(self.offset[name] + moved[:, 0].min(initial=0.0))
            high = float(self.offset[name] + moved[:, 1].max(initial=0.0))
            var = game.variables_by_name[name]
            below = var.lb is not None and low < var.lb - TOLERANCES.feasibility * max(1.0, abs(var.lb))
            above = var.ub is not None and high > var.ub + TOLERANCES.feasibility * max(1.0, abs(var.ub))
            if below or above:
                found[name] = (low, high)
        return found

    @property
    def loose_constraints(self) -> list[str]:
        """Constraints of the leader that need not hold any more when somebody deviates from the plan."""
        game = self.attached()
        moved = {self.leader[i] for i in np.unique(self.matrix.tocoo().row)}
        defining = {id(c) for c in game.aggregates}
        return [
            c.name
            for c in game.leader.constraints
            if id(c) not in defining and any(game.names.get(id(v)) in moved for v in variables_in(c.body))
        ]

    def as_dict(self) -> dict[str, Any]:
        """The incentive as JSON-ready Python objects; the gain as (leader, signal, value) triplets."""
        entries = self.matrix.tocoo()
        beyond = {} if self.plan.game is None else self.excursions
        return {
            "leader": self.leader,
            "signals": self.signals,
            "gain": [
                [self.leader[r], self.signals[c], float(v)]
                for r, c, v in zip(entries.row, entries.col, entries.data, strict=True)
            ],
            "offset": json_numbers(self.offset),
            "targets": json_numbers(self.targets),
            "residual": json_number(self.residual),
            "rank": self.rank,
            "freedom": self.freedom,
            "norm": json_number(self.norm),
            "energy": json_number(self.energy),
            "weights": json_numbers(self.weights),
            "multipliers": json_numbers(self.multipliers),
            "loose_constraints": [] if self.plan.game is None else self.loose_constraints,
            "excursions": {n: [json_number(low), json_number(high)] for n, (low, high) in beyond.items()},
        }

    def to_json(self) -> str:
        """One JSON document with the plan inside."""
        return json.dumps({**self.as_dict(), "plan": self.plan.as_dict()}, indent=2)

    @classmethod
    def from_json(cls, text: str, game: Game | None = None) -> Incentive:
        """The incentive written by :meth:`to_json` (the basis of the null space is not kept)."""
        with readable("incentive"):
            data = json.loads(text)
            plan = Plan.from_json(json.dumps(data["plan"]), game)
            row = {name: i for i, name in enumerate(data["leader"])}
            column = {name: i for i, name in enumerate(data["signals"])}
            entries = data["gain"]
            matrix = sparse.csc_array(
                (
                    [float(v) for _, _, v in entries],
                    ([row[r] for r, _, _ in entries], [column[c] for _, c, _ in entries]),
                ),
                shape=(len(row), len(column)),
            )
            return cls(
                plan=plan,
                leader=data["leader"],
                signals=data["signals"],
                matrix=matrix,
                offset=floats(data["offset"]),
                targets=floats(data["targets"]),
                residual=real(data["residual"]),
                rank=data["rank"],
                freedom=data["freedom"],
                weights=floats(data["weights"]),
                multipliers=floats(data["multipliers"]),
            )

    def __str__(self) -> str:
        rows = self.matrix.tocsr()
        lines = ["The leader announces:"]
        for index, name in enumerate(self.leader[:SHOWN]):
            entries = slice(rows.indptr[index], rows.indptr[index + 1])
            signals = [self.signals[c] for c in rows.indices[entries]]
            terms = [
                f"{'+' if gain >= 0 else '−'} {abs(gain):.6g} ({signal} − {shown(self.targets[signal], 6)})"
                for signal, gain in zip(signals, rows.data[entries], strict=True)
                if gain != 0.0
            ]
            more = [f"… {len(terms) - 6} more"] if len(terms) > 6 else []
            lines.append(" ".join([f"  {name} = {shown(self.offset[name], 6)}", *terms[:6], *more]))
        if len(self.leader) > SHOWN:
            lines.append(f"  … {len(self.leader) - SHOWN} more in .offset and .gain")
        lines.append("A follower who does its part faces the first numbers; each unit it deviates moves them as shown.")
        game = self.plan.game
        if game is not None and any(follower.size > 1 for follower in game.followers.values()):
            lines.append("A population's action stands for one member's.")
        beyond = {} if game is None else self.excursions
        lines += [
            f"Beware: {name} leaves its bounds for some deviations within the followers' bounds "
            f"(from {shown(low, 6)} to {shown(high, 6)})."
            for name, (low, high) in list(beyond.items())[:SHOWN]
        ]
        loose = [] if game is None else self.loose_constraints
        if loose:
            lines.append(f"Beware: off the plan the leader's own constraints need not hold: {listed(loose)}.")
        return "\n".join(lines)
