"""Strategies: what the leader announces, as plain data that can be read, evaluated and put into a model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from pyomo.common.collections import ComponentMap
from scipy import sparse

from stackpyomo.core import (
    SHOWN,
    Array,
    clipped,
    fields_from_json,
    fields_to_json,
    floats,
    json_number,
    leaves,
    listed,
    plain,
    readable,
    real,
    triplets,
)
from stackpyomo.core.expressions import interval, variables_in
from stackpyomo.derivatives import is_jointly_convex
from stackpyomo.errors import GameFileError, InvalidGame
from stackpyomo.games import Game, action_bounds, action_names, component_pairs
from stackpyomo.games.files import Formula, Printer, identifiers
from stackpyomo.games.information import Announcement, Equilibrium, Signal, answers, excursion, formula_steps, shares
from stackpyomo.plans import Plan

from .gains.system import System
from .standing import Standing

DEVIATIONS = ["follower", "action", "slack", "weight"]  #: Columns of :attr:`AffineStrategy.deviations`.

_LARGEST = 50_000_000  # Numbers a basis of the null space may have.

_WRITTEN_APART = (
    *("plan", "observed", "matrix", "actions_seen", "bend", "permitted"),
    *("equilibrium", "standing", "system", "seconds", "deviations"),
)  # Fields that JSON has in another form, or not at all.

Strategy = TypeVar("Strategy", bound="AffineStrategy")


@dataclass(eq=False)
class AffineStrategy:
    """The rule that the leader announces, as data: u0 = offset + K d (+ ½ R d²), d = signal − target."""

    plan: Plan = field(repr=False)  #: What it was designed for.
    leader: list[str]  #: Names of the leader's variables that answer: the rows of K.
    observed: list[Signal] = field(repr=False)  #: What is observed: the columns of K.
    matrix: sparse.csc_array = field(repr=False)  #: K, (leader variables × signals), sparse.
    offset: dict[str, float]  #: leader variable name → what is announced on the plan.
    targets: dict[str, float] = field(repr=False)  #: signal name → its value on the plan.
    residual: float  #: The largest |a + Gᵀλ + Qᵀb| left over.
    rank: int  #: The number of independent conditions met.
    freedom: int  #: The dimension of the set of all valid gains.
    actions_seen: list[str] = field(default_factory=list, repr=False)  #: The followers' actions when it was designed.
    #: leader variable name → w, the weight of its gains in the energy; 1 where none is given.
    weights: dict[str, float] = field(default_factory=dict, repr=False)
    #: signal name → n, how many members of a population show one each; 1 where none is given.
    members: dict[str, float] = field(default_factory=dict, repr=False)
    #: follower constraint name → λ in the composed problem, where the gain leans on it.
    multipliers: dict[str, float] = field(default_factory=dict)
    #: R, (leader variables × signals): what each squared deviation of a signal adds, twice.
    bend: sparse.csc_array | None = field(default=None, repr=False)
    saturate: bool = False  #: True if the projection on the leader's bounds is announced.
    #: Followers who settle anew when another one deviates (minors='respond'); the gain is designed for that.
    settling: tuple[str, ...] = ()
    #: (leader variables × signals) ≠ 0 where the leader may use the signal; None: everywhere.
    permitted: sparse.csr_array | None = field(default=None, repr=False)
    #: Whether the followers' equilibrium under the strategy is the only one, and why (without a projection).
    equilibrium: Equilibrium = field(default_factory=Equilibrium)
    payment: float = math.nan  #: What payment= comes to on the plan; NaN: not asked for.
    #: The limit it was held within; NaN: none was given, and the least payment came before the least energy.
    payment_limit: float = math.nan
    #: How much the gain would change, relative to itself, at plans that are as good as this one (first order).
    uncertainty: float = 0.0
    #: Followers none of whose actions is observed: the incentive leaves them alone.
    alone: list[str] = field(default_factory=list, repr=False)
    #: Of a second-best rule: where it stands between the leader-optimal plan and the best constants.
    standing: Standing | None = field(default=None, repr=False)
    system: System | None = field(default=None, repr=False)  #: The linear equations of the gain. Not kept in JSON.
    seconds: dict[str, float] = field(default_factory=dict, repr=False)  #: part of the work → seconds.
    #: Of a design by deviations what the followers might do instead: follower, action ({variable: value}), slack (what
    #: it would lose by that), weight (its multiplier in the least gain: those that are not 0 make the gain what it is).
    deviations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=DEVIATIONS), repr=False)
    #: What a follower gains at most by leaving the plan, proved least of all gains (``regret="least"``) under which the
    #: formula keeps within the leader's bounds, or by ``saturate=True`` of all as if these stopped none.
    epsilon: float = 0.0

    @property
    def signals(self) -> list[str]:
        """Names of what is observed."""
        return [signal.name for signal in self.observed]

    @property
    def gain(self) -> pd.DataFrame:
        """K as a table, leader variable names × signal names; NaN where the leader may not use the signal."""
        table = self.matrix.toarray()
        if self.permitted is not None:
            table[self.permitted.toarray() == 0] = math.nan
        return pd.DataFrame(table, index=self.leader, columns=self.signals)

    @property
    def norm(self) -> float:
        """Frobenius norm ‖K‖."""
        return float(np.sqrt((self.matrix.data**2).sum()))

    @property
    def energy(self) -> float:
        """The energy Σ w_l n_s K_ls² of the gain over leader variables l and signals s.

        w are the weights the design was asked for (1 by default), n_s the number of followers who show the signal: each
        member of a population its own action, so that the game with all of them written out (``expand()``) has the same
        energy. Infinite where the leader answers each of infinitely many: no strategy of finite energy is left.
        """
        weight = np.array([self.weights.get(name, 1.0) for name in self.leader])
        entries = self.matrix.tocoo()
        felt = entries.data != 0.0
        return float((weight[entries.row] * self._counts[entries.col] * entries.data**2)[felt].sum())

    @property
    def null_space(self) -> Array:
        """Directions Z: K + Σ t_j Z_j is valid for every t. Shape (freedom, leader, signals), orthonormal.

        Raises :class:`InvalidGame` for an incentive read from JSON, and where the basis would not fit in memory.
        """
        if self.system is None:
            if len(self.deviations):
                raise InvalidGame(
                    "null_space: the valid gains of a design by deviations are no linear space; .deviations has their "
                    "rows, and design='slopes' gives a space where slopes suffice."
                )
            raise InvalidGame("null_space: not kept in JSON; design the incentive anew from its plan.")
        shape = (self.freedom, len(self.leader), len(self.signals))
        if math.prod(shape) > _LARGEST:
            raise InvalidGame(f"null_space: {self.freedom} directions of {shape[1]} × {shape[2]} entries do not fit.")
        directions = np.zeros(shape)
        place = 0
        for columns, basis in self.system.null_space():
            for direction in basis:
                directions[place, self.system.leader[columns], self.system.signal[columns]] = direction
                place += 1
        idle = np.ones(shape[1:], dtype=bool) if self.permitted is None else self.permitted.toarray() != 0
        idle[self.system.leader, self.system.signal] = False  # what is left moves nobody at the plan
        for row, column in np.argwhere(idle):
            directions[place, row, column] = 1.0
            place += 1
        return directions

    @cached_property
    def doubtful(self) -> list[str]:
        """Observed followers whose problem is not proved convex whatever the gain: verify has to look at them."""
        game = self.attached()
        moved = abs(self.matrix).sum(axis=1) + (0.0 if self.bend is None else abs(self.bend).sum(axis=1))
        answering = [self.leader[row] for row in np.flatnonzero(np.asarray(moved))]
        others = [*game.aggregate_variables(), *(game.variables_by_name[name] for name in answering)]
        seen = (f for name, f in game.followers.items() if name not in set(self.alone))
        return [f.name for f in seen if not is_jointly_convex(f, others)]

    @property
    def uniqueness(self) -> str:
        """:attr:`equilibrium` in words; empty: not looked at."""
        return str(self.equilibrium)

    @property
    def announcement(self) -> Announcement:
        """What :func:`stackpyomo.verify` plays."""
        plan = self.plan.now().announcement
        beyond = [] if self.saturate else [f"Beware: {text}" for text in self.beyond_bounds()]
        return Announcement(
            {**self.plan.values, **self.offset},
            plan.leader_objective,
            self.leader,
            self.observed,
            self.matrix,
            self.bend,
            self.saturate,
            self.equilibrium,
            plan.epsilon0,
            [*plan.warnings, *beyond],
            plan.responding,
            self.settling,
        )

    def beyond_bounds(self) -> list[str]:
        """One sentence for each leader variable that the strategy takes beyond its bounds (at most ``SHOWN``)."""
        cut = "would leave its bounds without the projection" if self.saturate else "leaves its bounds"
        remedy = "" if self.saturate else "; saturate=True announces what stays within"
        return [
            f"{name} {cut} for some deviations within the followers' bounds (from {low:.6g} to {high:.6g}){remedy}."
            for name, (low, high) in list(self.excursions.items())[:SHOWN]
        ]

    def attached(self) -> Game:
        """The game the incentive was designed for; raises :class:`InvalidGame` if it was read without one."""
        game = self.plan.attached()
        game.positions(self.actions_seen)
        return game

    @property
    def game(self) -> Game | None:
        """The game the incentive was designed for, None if it was read without one."""
        return self.plan.game

    def actions(self, signals: Any) -> dict[str, float]:
        """The leader's answer to what it observes: offset + K d (+ ½ R d²).

        A population's own action stands for every member's: all of them deviate.

        Parameters
        ----------
        signals : ComponentMap, list of pairs, or mapping of str to float
            Signal → what is observed, in its unit; those left out are on target.

        Returns
        -------
        dict of str to float
            Leader variable name → value, in its unit.

        Raises
        ------
        InvalidGame
            A name is unknown or a value is no number.
        """
        game = self.attached()
        pairs = component_pairs(signals, "actions")
        seen = {key if isinstance(key, str) else getattr(key, "name", str(key)): value for key, value in pairs}
        for name, value in seen.items():
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise InvalidGame(f"actions: {name} is {value!r}; give the number that the leader observes.")
        unknown = seen.keys() - set(self.signals)
        if unknown:
            raise InvalidGame(f"{min(unknown)}: not a signal of this incentive ({listed(self.signals)}).")
        deviation = np.array([seen.get(s, self.targets[s]) - self.targets[s] for s in self.signals])
        sizes = self._counts
        if np.isinf(sizes[deviation != 0.0]).any():
            raise InvalidGame("actions(...): infinitely many followers cannot deviate at once; ask for a finite size.")
        sizes = np.where(deviation == 0.0, 1.0, sizes)
        moved = self.matrix @ (deviation * sizes)
        if self.bend is not None:
            moved = moved + self.bend @ (deviation**2 * sizes) / 2.0
        answer = {name: self.offset[name] + float(d) for name, d in zip(self.leader, moved, strict=True)}
        if self.saturate:
            answer = {name: clipped(value, game.variables_by_name[name]) for name, value in answer.items()}
        return answer

    def strategy(self) -> ComponentMap:
        """The strategy as Pyomo expressions in the followers' Vars: leader Var → expression.

        A projection is not written out (solvers do not like kinks): keeping the bounds is left to the user. Raises
        :class:`InvalidGame` for a population of infinite size.
        """
        game = self.attached()
        sizes = self._counts
        if np.isinf(sizes).any():
            raise InvalidGame("strategy(): a population of infinite size has no sum of actions; use a finite size.")
        deviations = [s.written(game.variables_by_name) - self.targets[s.name] for s in self.observed]
        steps = formula_steps(self.matrix, self.bend, deviations.__getitem__, sizes.tolist())
        answers = (self.offset[name] + steps.get(index, 0.0) for index, name in enumerate(self.leader))
        return ComponentMap(zip((game.variables_by_name[name] for name in self.leader), answers, strict=True))

    @property
    def _counts(self) -> Array:
        return np.array([self.members.get(name, 1.0) for name in self.signals])

    @property
    def excursions(self) -> dict[str, tuple[float, float]]:
        """Leader variables that the strategy takes beyond their bounds: name → (lowest, highest) announced.

        It looks at deviations of one follower at a time within its box, before a projection (saturate=True). Followers'
        own constraints are not considered, so that this is an outer estimate.
        """
        game = self.attached()
        moves = shares(game, self.observed).moves
        reach = answers(self.matrix, moves)
        at = [self.plan.values[name] for name in action_names(game)]
        room = np.stack(action_bounds(game), axis=1) - np.array(at)[:, np.newaxis]
        entries = reach.tocoo()
        span = np.sort(entries.data[:, np.newaxis] * room[entries.col], axis=1)
        place = (entries.row, game.action_owners[entries.col])
        shape = (len(self.leader), len(game.followers))
        ends = []
        quadratics, extremes = self._quadratics(game, moves, room), (np.minimum, np.maximum)
        for side, quadratic, extreme in zip((0, 1), quadratics, extremes, strict=True):
            moved = (sparse.csr_array((span[:, side], place), shape=shape) + quadratic).tocoo()  # of one follower alone
            ends.append(np.zeros(len(self.leader)))
            extreme.at(ends[-1], moved.row, moved.data)
        beyond: dict[str, tuple[float, float]] = {}
        curves = self._curve_ends(game)
        for index, name in enumerate(self.leader):
            low, high = (float(self.offset[name] + end[index] + c[index]) for end, c in zip(ends, curves, strict=True))
            var = game.variables_by_name[name]
            if any(leaves(low, high, var.lb, var.ub)):
                beyond[name] = (low, high)
        return beyond

    def _curve_ends(self, game: Game) -> tuple[Array, Array]:
        """(leader) least and largest that signals that are not linear can add, within the followers' bounds."""
        low, high = np.zeros(len(self.leader)), np.zeros(len(self.leader))
        for number, signal in enumerate(self.observed):
            if signal.curve is None:
                continue
            expression = excursion(game, signal, self.plan.values, {id(v): v for v in variables_in(signal.curve)})
            ends = interval(expression)
            for instrument, rate in enumerate(self.matrix[:, [number]].toarray().ravel()):
                if rate:
                    least, most = sorted((rate * ends[0], rate * ends[1]))
                    low[instrument] += min(least, 0.0)
                    high[instrument] += max(most, 0.0)
        return low, high

    def _quadratics(
        self, game: Game, moves: sparse.csr_array, room: Array
    ) -> tuple[sparse.csr_array, sparse.csr_array]:
        """(leader × followers) least and largest that the quadratic term can add."""
        owners = game.action_owners
        far = np.abs(room).max(axis=1, initial=0.0)
        entries = moves.tocoo()
        seen = np.flatnonzero((entries.data != 0.0) & (far[entries.col] > 0.0))
        at = (entries.row[seen], owners[entries.col[seen]])
        reached = np.abs(entries.data[seen]) * far[entries.col[seen]]
        widest = sparse.csr_array((reached, at), shape=(len(self.observed), len(game.followers)))
        sides = []
        for extreme in (np.minimum, np.maximum):
            bend = sparse.coo_array(self.matrix.shape if self.bend is None else self.bend)
            weights = sparse.csr_array((extreme(bend.data, 0.0) / 2.0, (bend.row, bend.col)), shape=bend.shape)
            weights.eliminate_zeros()  # times ∞ they are no number
            sides.append(sparse.csr_array(weights @ widest.power(2)))
        return sides[0], sides[1]

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
        beyond = {} if self.plan.game is None else self.excursions
        return {
            **fields_to_json(self, _WRITTEN_APART),
            "signals": self.signals,
            "observed": {
                s.name: {
                    "own": s.own,
                    "constant": json_number(s.constant),
                    "terms": plain(s.terms),
                    **({} if s.curve is None else {"formula": self._formula(s)}),
                }
                for s in self.observed
            },
            "actions": self.actions_seen,
            "gain": self._triplets(self.matrix),
            "bend": None if self.bend is None else self._triplets(self.bend),
            "permitted": None if self.permitted is None else self._triplets(self.permitted),
            "norm": json_number(self.norm),
            "energy": json_number(self.energy),
            "uniqueness": self.uniqueness,
            "standing": None if self.standing is None else self.standing.as_dict(),
            "deviations": plain(self.deviations.to_dict("records")),
            "loose_constraints": [] if self.plan.game is None else self.loose_constraints,
            "excursions": plain(beyond),
        }

    def to_json(self) -> str:
        """One JSON document with the plan inside."""
        return json.dumps({**self.as_dict(), "plan": self.plan.as_dict()}, indent=2)

    @classmethod
    def from_json(cls: type[Strategy], text: str, game: Game | None = None) -> Strategy:
        """The incentive that :meth:`to_json` wrote; the basis of the null space is not kept.

        Parameters
        ----------
        text : str
            The JSON document.
        game : Game, optional
            To go on working with the incentive.

        Returns
        -------
        Incentive
            With or without a game.
        """
        with readable("incentive"):
            data = json.loads(text)
            plan = Plan.from_json(json.dumps(data["plan"]), game)
            observed = [
                Signal(name, real(s["constant"]), floats(s["terms"]), bool(s["own"]), _curve(s.get("formula"), game))
                for name, s in data["observed"].items()
            ]
            names = data["leader"], [s.name for s in observed]
            bend, permitted = (
                None if data[key] is None else _from_triplets(data[key], *names) for key in ("bend", "permitted")
            )
            return cls(
                plan=plan,
                observed=observed,
                matrix=_from_triplets(data["gain"], *names),
                actions_seen=data["actions"],
                bend=bend,
                permitted=permitted,
                equilibrium=Equilibrium.read(data["uniqueness"]),
                standing=None if data.get("standing") is None else Standing.from_dict(data["standing"]),
                deviations=_deviations(data.get("deviations", [])),
                **fields_from_json(cls, data, _WRITTEN_APART),
            )

    def _formula(self, signal: Signal) -> str:
        """A signal that is not linear, in the names of a game file."""
        if isinstance(signal.curve, str):
            return signal.curve
        game = self.attached()
        return str(Printer(identifiers(game)).printed(signal.curve, game.leader).text)

    def _triplets(self, matrix: sparse.sparray) -> list[list[Any]]:
        return [[self.leader[r], self.signals[c], v] for r, c, v in triplets(sparse.csr_array(matrix))]


def _from_triplets(entries: list[list[Any]], leader: list[str], signals: list[str]) -> sparse.csc_array:
    row, column = ({name: i for i, name in enumerate(names)} for names in (leader, signals))
    at = ([row[r] for r, _, _ in entries], [column[c] for _, c, _ in entries])
    return sparse.csc_array(([float(v) for _, _, v in entries], at), shape=(len(leader), len(signals)))


def _curve(formula: str | None, game: Game | None) -> Any:
    """The expression of a formula in the names of a game file; its text where there is no game."""
    if formula is None or game is None:
        return formula
    by_id = {id(v): v for v in game.variables_by_name.values()}
    variables = {short: by_id[key] for key, short in identifiers(game).items()}
    return Formula(formula, variables, lambda message, _: GameFileError(message)).value()


def _deviations(lines: list[dict[str, Any]]) -> pd.DataFrame:
    known = [(line["follower"], floats(line["action"]), real(line["slack"]), real(line["weight"])) for line in lines]
    return pd.DataFrame(known, columns=DEVIATIONS)
