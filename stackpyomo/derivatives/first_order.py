"""Derivatives of all followers' problems at one point, from one Jacobian evaluation.

Every follower's objective and every constraint of every follower is a row of one problem. At a point its Jacobian holds
all the partial gradients; own derivatives are completed by what a follower's action does to aggregates:

    a_k = ∂J_k/∂u_k + (∂J_k/∂z) · dz/du_k        b_k = ∂J_k/∂u_0

all in minimise form (a maximised objective is negated), with dz/du_k the member's share (``Game.responses``).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.core import Array, Scales, box_of, limited_reaches, matches, row_of, scales, timed, with_data
from stackpyomo.core.expressions import apart, roots
from stackpyomo.errors import InvalidGame
from stackpyomo.families import MANY, Functions, functions_among
from stackpyomo.games import Game, evaluator, formulas, stamp
from stackpyomo.games.information import probability_of
from stackpyomo.solvers import ArrayProgram, BadRow, Program

from .conditional_rows import ConditionalRows

_DRAWS = 8  # Points at which derivatives are taken to see how well they are known.


@dataclass(frozen=True)
class Derivatives:
    """Values and derivatives of the followers' rows at one point (F followers, A actions, C constraints, L leader)."""

    objectives: Array  #: (F) every follower's objective, in the sense its user wrote.
    own: Array  #: (A) a: derivative of its owner's cost with respect to each action, aggregates moving along.
    leader: sparse.csr_array  #: (F × L) b: derivative of each follower's cost with respect to the leader's instruments.
    bodies: Array  #: (C) every follower constraint's body.
    #: (C × A) derivative of each constraint's body with respect to its owner's actions, aggregates moving along.
    own_rows: sparse.csr_array
    #: (C × L) derivative of each constraint's body with respect to the leader's instruments.
    leader_rows: sparse.csr_array


@dataclass(frozen=True)
class Units:
    """What counts as one of each Var of the rows, each follower's cost, each constraint: what derivatives are in."""

    reaches: Array  #: (Vars of the rows)
    costs: Array  #: (followers)
    rows: Array  #: (constraints)
    leader: Array  #: (leader's variables)


class FollowerRows:
    """The rows of all followers, written once; :meth:`at` evaluates them at any point.

    ``instruments`` are the leader's variables (aggregates left out) that some follower's problem holds, also those
    that move an aggregate it holds, in the model's order. Derivatives, responses and Lagrangians are in the user's
    units; those of :meth:`natural` in natural ones, at one point.
    """

    def __init__(self, game: Game) -> None:
        self.seconds: dict[str, float] = {}
        self.game = game
        self.followers = list(game.followers.values())
        self.constraints: list[ConstraintData] = [c for f in self.followers for c in f.constraints]
        self.constraint_owners = np.repeat(np.arange(len(self.followers)), [len(f.constraints) for f in self.followers])
        self._count = len(self.followers) + len(self.constraints)
        with timed(self.seconds, "write"):
            functions = self._read() if self._count >= MANY else None
        nothing = np.zeros(self._count)
        self._program = self._written() if functions is None else ArrayProgram(functions, (nothing, nothing))
        self.stamp = stamp(game)
        self._split()
        self._senses = np.array([f.sign for f in self.followers], dtype=float)
        ones = (np.ones(len(part)) for part in (self.variables, self.followers, self.constraints, self.instruments))
        self.units = Units(*ones)

    def _read(self) -> Functions | None:
        """The rows as families; None where one of them cannot be read."""
        known, split = formulas(self.game), len(self.followers)
        if known.unread:
            return None
        rows = np.array([*range(split), *(known.number[id(c)] for c in self.constraints)], dtype=np.int64)
        families = [replace(family, rows=1 + place) for family, place in known.placed(rows)]
        return functions_among(families, 1 + len(rows), list(self.game.variables_by_name.values()))

    def _written(self) -> Program:
        """The rows as a program; raises :class:`InvalidGame` for data that are not finite."""
        # A slack stands in every row, so that the writer drops none (a Param that is 0 may leave nothing else).
        # expr − slack = 0 puts minus the constant part of expr on the right: expr = row − right-hand side at slack 0.
        self._holder = pyo.ConcreteModel(name="slack")
        self._holder.slack = slack = pyo.Var()
        try:
            # Not e == slack: of a member of an indexed Var and a Var, Python asks the Var first, which turns it round.
            return Program(0.0, [apart(e) - slack == 0.0 for e in self._expressions()], seconds=self.seconds)
        except BadRow as bad:
            raise InvalidGame(f"{self._component(bad.row or 0)}: {bad.reason}") from None

    def _component(self, row: int) -> str:
        """The name of the objective or constraint behind a row."""
        objectives = len(self.followers)
        if row >= objectives:
            return str(self.constraints[row - objectives].name)
        objective = self.followers[row].objective
        return self.followers[row].name if objective is None else str(objective.name)

    def _split(self) -> None:
        game = self.game
        with timed(self.seconds, "build"):
            self.actions = game.actions
            self.owners = game.action_owners
            self.responses = game.responses()
            action = {id(v): i for i, v in enumerate(self.actions)}
            aggregate = {id(v): i for i, v in enumerate(self.responses.variables)}
            variables = self._program.variables
            numbers = {id(v) for v in variables}
            led = self.responses.leads[np.array([id(v) in numbers for v in self.responses.variables], dtype=bool)]
            felt = numbers | {id(self.responses.drivers[i]) for i in np.unique(led.tocoo().col)}
            self.instruments: list[VarData] = [
                v for v in game.leader.variables if id(v) in felt and id(v) not in aggregate and v.is_continuous()
            ]
            instrument = {id(v): i for i, v in enumerate(self.instruments)}
            self._selectors = [_selector(variables, places) for places in (action, aggregate, instrument)]
            order = _selector(self.responses.drivers, instrument)
            self.leads = sparse.csr_array(self.responses.leads @ order)
            """(aggregates × instruments) how the leader moves what followers make together."""
            self._instruments = _joined_patterns(self._selectors[2], self._selectors[1] @ self.leads)

    def own(self, number: int) -> slice:
        """Where the actions of one follower stand among all actions."""
        start, stop = np.searchsorted(self.owners, [number, number + 1])
        return slice(int(start), int(stop))

    @property
    def problem(self) -> Any:
        """The evaluable rows."""
        return self._program.problem

    @property
    def variables(self) -> list[VarData]:
        """The Vars that the rows hold."""
        return self._program.variables

    def point(self, values: Mapping[str, float]) -> Array:
        """{variable name: value} in the order of the rows' Vars."""
        return np.array([values[name] if name is not None else 0.0 for name in self._names])

    @cached_property
    def _names(self) -> list[str | None]:
        """The names of the rows' Vars, None for the slack."""
        return [self.game.names.get(id(v)) for v in self.variables]

    @cached_property
    def column_owners(self) -> Array:
        """For each Var of the rows the number of the follower whose action it is; −1: somebody else's."""
        place = self._selectors[0].tocoo()
        owner = np.full(len(self._program.variables), -1)
        owner[place.row] = self.owners[place.col]
        return owner

    @cached_property
    def shared(self) -> Array:
        """Numbers of the Vars that are one follower's action and stand in another's rows."""
        rows, columns = (np.asarray(part) for part in self.problem.jacobian_structure())
        owners = self.column_owners[columns]
        return np.unique(columns[(owners >= 0) & (owners != self._row_owners[self._program.rows[rows]])])

    @property
    def is_private(self) -> bool:
        """True if no follower's rows hold another's action."""
        return not len(self.shared)

    @property
    def _row_owners(self) -> Array:
        return np.concatenate([np.arange(len(self.followers)), self.constraint_owners])

    def lagrangian(self, forces: Mapping[str, float]) -> sparse.csr_array:
        """(followers × rows) weights of L_k = J_k + Σ force · body, J_k in minimise form."""
        weights = np.zeros(self._count)
        weights[: len(self.followers)] = self._signs
        for index, constraint in enumerate(self.constraints if forces else ()):
            weights[len(self.followers) + index] = forces.get(constraint.name, 0.0) / self.units.rows[index]
        rows = self._program.rows
        entries = (weights[rows], (self._row_owners[rows], np.arange(len(rows))))
        return sparse.csr_array(entries, shape=(len(self.followers), len(rows)))

    @property
    def own_columns(self) -> sparse.csr_array:
        """(Vars of the rows × actions) which Var is which."""
        return self._selectors[0]

    @property
    def instrument_columns(self) -> sparse.csr_array:
        """(Vars of the rows × leader's variables) what each of these moves: itself, and aggregates."""
        return self._instruments

    @property
    def _signs(self) -> Array:
        """(followers) what makes a cost of each objective, in the units of costs."""
        return self._senses / self.units.costs

    @property
    def action_units(self) -> Array:
        """(actions) the unit of each; 1 for one that no row holds."""
        return self._units_of(0)

    @property
    def aggregate_units(self) -> Array:
        """(aggregates) the unit of each."""
        return self._units_of(1)

    @property
    def instrument_units(self) -> Array:
        """(leader's variables) the unit of each."""
        return self.units.leader

    def _units_of(self, kind: int) -> Array:
        reaches = self._selectors[kind].T @ self.units.reaches
        return np.where(reaches > 0.0, reaches, 1.0)

    def responses_to(self, gain: sparse.sparray) -> sparse.csc_array:
        """T = d(Vars of the rows)/d(actions), what one member moves: itself, aggregates, the leader by Q = K·M."""
        action, aggregate, _ = self._selectors
        return sparse.csc_array(action + aggregate @ self.responses.moves + self._instruments @ gain)

    def at(self, values: Mapping[str, float]) -> Derivatives:
        """Evaluate at {variable name: value}: one Jacobian, whatever the number of followers."""
        program = self._program
        x = self.point(values)
        bodies = np.zeros(self._count)
        bodies[program.rows] = np.asarray(program.problem.constraints(x)) - program.row_bounds[1]
        by_action, by_aggregate, effects = self._by_kind(self._jacobian(values))
        by_instrument = sparse.csr_array(effects)
        if self.leads.nnz:  # what the leader moves of the aggregates
            by_instrument = _joined_patterns(by_instrument, by_aggregate @ self.leads)
        split = len(self.followers)
        own = self._own(by_action, by_aggregate, self.responses.moves)
        costs = own.indptr[split]
        a = np.bincount(own.indices[:costs], own.data[:costs], len(self.actions))
        for row in self._without_derivative(values):
            if row < split:
                a[self.own(row)] = math.nan
            own.data[own.indptr[row] : own.indptr[row + 1]] = math.nan
        return Derivatives(
            objectives=bodies[:split],
            own=a,
            leader=sparse.csr_array(by_instrument[:split]),
            bodies=bodies[split:],
            own_rows=own[split:],
            leader_rows=sparse.csr_array(by_instrument[split:]),
        )

    @cached_property
    def _roots(self) -> list[tuple[int, Any]]:
        """(row, what it takes a root of)."""
        if not self._program.takes_roots:
            return []
        return [(row, part) for row, e in enumerate(self._expressions()) for part in roots(e)]

    def _expressions(self) -> list[Any]:
        """What stands in each row: the objectives, then the bodies of the constraints."""
        objectives: list[Any] = [f.objective.expr for f in self.followers if f.objective is not None]
        return objectives + [c.body for c in self.constraints]

    def _without_derivative(self, values: Mapping[str, float]) -> set[int]:
        """Rows that take a root of 0, whose slope there is infinite and reported as 0 by solver libraries."""
        value_of = evaluator(self.game, values)
        return {row for row, part in self._roots if value_of(part) == 0.0}

    def _jacobian(self, values: Mapping[str, float]) -> sparse.csr_array:
        """Of all rows, costs in minimise form, in the units of rows and Vars."""
        program = self._program
        jacobian = program.jacobian(self.point(values))
        if len(program.rows) < self._count or (np.diff(program.rows) != 1).any():
            jacobian = _scattered(jacobian, program.rows, self._count)
        factors = np.concatenate([self._signs, 1.0 / self.units.rows])
        return with_data(jacobian, jacobian.data * factors[row_of(jacobian)] * self.units.reaches[jacobian.indices])

    def gradients(self, values: Mapping[str, float]) -> sparse.csr_array:
        """(followers × Vars of the rows) every derivative of every follower's cost, nothing moving along."""
        return sparse.csr_array(self._jacobian(values)[: len(self.followers)])

    def constraint_gradients(self, values: Mapping[str, float]) -> sparse.csr_array:
        """(followers' constraints × Vars of the rows) every derivative of their bodies, nothing moving along."""
        return sparse.csr_array(self._jacobian(values)[len(self.followers) :])

    def natural_units(self, values: Mapping[str, float]) -> Scales:
        """Natural units of the Vars of the rows, of the followers' objectives and constraints (rows) at a point."""
        program, columns = self._program, self._held
        x, count = self.point(values), len(self._program.variables)
        structure = program.problem.hessian_structure()
        lower, upper = program.bounds

        def whole(point: Array) -> Array:
            x[columns] = point
            return x

        def jacobian(point: Array) -> sparse.csr_array:
            return _scattered(program.jacobian(whole(point))[:, columns], program.rows, self._count)

        def curvature(point: Array, weights: Array) -> sparse.csr_array:
            data = np.asarray(program.problem.hessian(whole(point), weights[program.rows], 0.0))
            return sparse.csr_array((data, structure), shape=(count, count))[columns][:, columns]

        start, low, high = x[columns], lower[columns], upper[columns]
        rows = ConditionalRows(self._probabilities[columns], len(self.followers))
        if (rows.probabilities < 1.0).any():
            units = scales(
                *(start, low, high),
                lambda point: rows.apart(jacobian(point)),
                lambda point, weights: rows.curved(partial(curvature, point), weights),
            )
            units = replace(units, slopes=rows.together(units.slopes))
        else:
            units = scales(start, low, high, jacobian, curvature)
        reaches = np.ones(count)
        reaches[columns] = units.reaches
        slopes = sparse.csr_array(units.slopes @ sparse.eye_array(count, format="csr")[columns])
        return Scales(reaches, slopes)

    @cached_property
    def _probabilities(self) -> Array:
        """(Vars of the rows) of what each is decided by where that is improbable, else 1."""
        known = zip(self._names, self.variables, strict=True)
        return np.array([1.0 if name is None else probability_of(v) for name, v in known])

    @cached_property
    def _held(self) -> Array:
        """Numbers of the Vars that are the game's: all but the slack."""
        return np.array([i for i, name in enumerate(self._names) if name is not None], dtype=int)

    def perturbed(self, values: Mapping[str, float], accuracy: float) -> Iterator[Derivatives]:
        """The derivatives at points that are as good as this one where it is known up to ``accuracy`` reaches.

        Each moves up or down: the bits of their numbers, so that neighbours part, and random signs. All moved one way
        would leave their differences as they are.
        """
        columns = self._held
        names = [str(self._names[i]) for i in columns]
        x, step = self.point(values)[columns], accuracy * self.units.reaches[columns]
        lower, upper = (side[columns] for side in self._program.bounds)
        signs = 2.0 * np.random.default_rng(0).integers(0, 2, (_DRAWS, len(x))) - 1.0
        half = _DRAWS // 2
        signs[:half] = 1.0 - 2.0 * ((np.arange(len(x)) >> np.arange(half)[:, np.newaxis]) & 1)
        for sign in signs:
            moved = np.clip(x + step * sign, lower, upper)
            yield self.at({**values, **dict(zip(names, moved.tolist(), strict=True))})

    @property
    def block_columns(self) -> sparse.csr_array:
        """(Vars of the rows × actions) what moves when all members of an action's block move together."""
        action, aggregate, _ = self._selectors
        return sparse.csr_array(action + aggregate @ self.responses.shares)

    def natural(self, values: Mapping[str, float]) -> FollowerRows:
        """The same rows in natural units at a point.

        Actions and leader's variables are in their reaches, each cost in what its own actions change it by (the
        leader's variables where they do nothing), each constraint in its change.
        """
        units, split = self.natural_units(values), len(self.followers)
        reaches = np.where(units.reaches > 0.0, units.reaches, 1.0)
        of_rows = units.of_rows()
        slopes = sparse.csr_array(units.slopes[:split] @ sparse.diags_array(reaches))
        other = copy.copy(self)
        limits = np.where(of_rows[split:] > 0.0, of_rows[split:], 1.0)
        other.units = Units(reaches, np.ones(split), limits, self._instrument_reaches(values, reaches))
        moves, shares = (
            sparse.csr_array(
                sparse.diags_array(1.0 / other.aggregate_units) @ m @ sparse.diags_array(other.action_units)
            )
            for m in (self.responses.moves, self.responses.shares)
        )
        other.responses = replace(self.responses, moves=moves, shares=shares)
        instruments = sparse.diags_array(other.units.leader)
        other.leads = sparse.csr_array(sparse.diags_array(1.0 / other.aggregate_units) @ self.leads @ instruments)
        other._instruments = _joined_patterns(self._selectors[2], self._selectors[1] @ other.leads)
        by_action, by_aggregate, by_tool = self._by_kind(slopes)
        own = self._own(by_action, by_aggregate, abs(moves))
        own = own.max(axis=1).toarray().ravel() if own.shape[1] else np.zeros(split)
        leader = by_tool.max(axis=1).toarray().ravel() if by_tool.shape[1] else np.zeros(split)
        costs = np.where(own > 0.0, own, np.where(leader > 0.0, leader, 1.0))
        other.units = replace(other.units, costs=costs)
        return other

    def _instrument_reaches(self, values: Mapping[str, float], reaches: Array) -> Array:
        """(leader's variables) the reach of each; of one that no row holds what its box says, or the aggregates."""
        levels = np.array([values[self.game.names[id(v)]] for v in self.instruments])
        own = self._selectors[2].T @ reaches
        own = np.where(own > 0.0, own, limited_reaches(levels, *box_of(self.instruments)))
        led = self.leads.tocoo()
        steps = (self._selectors[1].T @ reaches)[led.row] / np.abs(led.data)
        through = np.zeros(len(own))
        np.maximum.at(through, led.col, np.where(np.isfinite(steps), steps, 0.0))
        return np.where(own > 0.0, own, np.where(through > 0.0, through, 1.0))

    @cached_property
    def _places(self) -> list[tuple[Array, int]]:
        """(Vars of the rows → number of the action, −1 for none; how many of these), of aggregates and instruments."""
        places = []
        for selector in self._selectors:
            entries = selector.tocoo()
            place = np.full(selector.shape[0], -1)
            place[entries.row] = entries.col
            places.append((place, selector.shape[1]))
        return places

    def _by_kind(self, matrix: sparse.csr_array) -> Iterator[sparse.coo_array]:
        """The columns of actions, aggregates and instruments, zeros kept: they are the pattern."""
        rows, columns = row_of(matrix), matrix.indices
        for place, count in self._places:
            column = place[columns]
            chosen = column >= 0
            entries = (matrix.data[chosen], (rows[chosen], column[chosen]))
            yield sparse.coo_array(entries, shape=(matrix.shape[0], count))

    def _own(self, direct: Any, through: Any, moves: sparse.csr_array) -> sparse.csr_array:
        """Keep what belongs to each row's owner, and add what its actions do through aggregates."""
        row_owners = self._row_owners
        mine = self.owners[direct.col] == row_owners[direct.row]
        rows, columns, values = direct.row[mine], direct.col[mine], direct.data[mine]
        moved = _joined(through, row_owners, moves.tocoo(), self.owners)
        entries = [np.concatenate(pair) for pair in zip((rows, columns, values), moved, strict=True)]
        shape = (direct.shape[0], len(self.actions))
        return sparse.csr_array((entries[2], (entries[0], entries[1])), shape=shape)


def _joined(through: Any, row_owners: Array, moves: Any, owners: Array) -> tuple[Array, Array, Array]:
    """Entries of (∂row/∂z)(dz/du) restricted to the row's owner, without forming the dense product."""
    width = int(owners.max(initial=0)) + 1
    keys = moves.row.astype(np.int64) * width + owners[moves.col]
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    wanted = through.col.astype(np.int64) * width + row_owners[through.row]
    source, place = matches(keys, wanted)
    target = order[place]
    return through.row[source], moves.col[target], through.data[source] * moves.data[target]


def _selector(variables: Sequence[VarData], places: Mapping[int, int]) -> sparse.csr_array:
    """(variables × places) 0/1 matrix that picks the columns of one kind."""
    places_of = [(row, places[id(v)]) for row, v in enumerate(variables) if id(v) in places]
    rows, columns = (list(part) for part in zip(*places_of, strict=True)) if places_of else ([], [])
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(variables), len(places)))


def _joined_patterns(first: sparse.csr_array, second: sparse.csr_array) -> sparse.csr_array:
    """first + second, zeros kept: they are the pattern."""
    one, two = first.tocoo(), second.tocoo()
    at = (np.concatenate([one.row, two.row]), np.concatenate([one.col, two.col]))
    return sparse.csr_array((np.concatenate([one.data, two.data]), at), shape=first.shape)


def _scattered(matrix: sparse.csr_array, rows: Array, count: int) -> sparse.csr_array:
    """The same entries with row i put at rows[i] of ``count`` rows."""
    entries = matrix.tocoo()
    return sparse.csr_array((entries.data, (rows[entries.row], entries.col)), shape=(count, matrix.shape[1]))
