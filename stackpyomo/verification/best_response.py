"""Composition: each follower's problem as it is after the announcement, in fresh copies of its own variables.

    min J_k(v, u0 = offset + K d + ½ R d², aggregates moved by its share, others as planned)  s.t. its rows and bounds

with d = M (v − u_k*) what its deviation moves of the signals. An announcement that is projected on the leader's bounds
falls into pieces on which every leader variable is at its lower bound, free, or at its upper bound: each is a problem
of its own, and the best response is the best of theirs. Nothing here solves anything.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, entries_in, is_within, leaves, triplets
from stackpyomo.core.expressions import (
    Curvature,
    Substitution,
    interval,
    is_convex_feasible_set,
    is_convex_on_box,
    is_convex_problem,
    number_of,
    sized,
    variables_in,
)
from stackpyomo.games import Follower, Game
from stackpyomo.games.information import Announcement, answers, excursion, shares
from stackpyomo.solvers import free_row

from .effort import Unsettled
from .halved_boxes import bends_up_on_box

_PIECES = 81  # Pieces up to which a projected strategy is split; beyond, one problem with absolute values.
_UNITS = 1e4  # Natural units beyond this, or below 1 over it, are not left to a solver's own scaling.
_WEIGHTS = (1.0, 100.0, 10_000.0)  # Of squared equalities, tried in turn to prove a cost convex where they hold.


@dataclass
class Composed:
    """One follower's problem with the announced strategy substituted in: min cost(v), rows(v), lower ≤ v ≤ upper."""

    follower: Follower
    names: list[str]
    target: list[float]
    cost: Any
    rows: list[Any]
    #: Rows that its deviations do not move: (level, lower, upper).
    constants: list[tuple[float, float | None, float | None]]
    variables: list[Any]
    certificate: str = "unknown"
    note: str = ""
    unsettled: Unsettled | None = None
    stuck: bool = False  #: True if its re-solve broke down, which says nothing of the plan: another solver may know.
    best: list[float] = field(default_factory=list)
    best_cost: float = math.inf
    plan_cost: float = math.nan
    #: The cost over its own actions and the leader's variables ``answers``, without the announced slope; of a piece the
    #: plan is not in: None.
    own: Any = None
    #: Stand-ins for the leader's variables that answer it, at their values on the plan.
    answers: list[Any] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)  #: By how much each of these moves, over its own actions.
    #: id(Var of the game) → its value on the plan.
    planned: Mapping[int, float] = field(default_factory=dict, repr=False)
    #: How much the cost can change by each own variable over its reach, without the announced slope.
    stakes: list[float] = field(default_factory=list)
    reaches: list[float] = field(default_factory=list)  #: The natural unit of each own variable.
    #: Numbers of its variables of which nothing at the plan tells a unit.
    guessed: list[int] = field(default_factory=list)
    #: Numbers of its variables at a bound, dearer than what is at stake in all others.
    idle: list[int] = field(default_factory=list)
    #: Numbers of its variables whose reach is how far out the cost falls.
    outward: list[int] = field(default_factory=list)
    #: How much each row changes over one of its variables' reach.
    row_scales: list[float] = field(default_factory=list)
    #: Leader variables that the formula takes beyond their bounds for some deviation; they are stopped there.
    cut: list[str] = field(default_factory=list)
    projected: bool = False  #: True if the leader's variables are stopped at their bounds, whatever it does.
    home: Composed | None = None  #: Of a piece that the plan is not in: the piece it is in.
    empty: bool = False  #: True if the piece is shown to hold no point.
    #: Of a follower that is searched: own variable → (lowest, highest) value that starts were drawn from.
    reach: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: (lowest, highest) value of each own variable that a cost of no more than the plan's leaves; None: not asked yet.
    better: list[tuple[float, float]] | None = None
    #: True if neither bounds and rows nor its cost are shown to end in every direction: no search reaches everywhere.
    endless: bool = False

    @property
    def integers(self) -> list[int]:
        """Numbers of its variables that take whole numbers only."""
        return [number for number, v in enumerate(self.variables) if not v.is_continuous()]

    def prove(self, certify: str) -> None:
        """ "convex" if cost and rows are proved convex; else "multistart", or "unknown" if this proof is asked for."""
        convex = (certify in ("auto", "convex") and not self.integers) and (
            is_convex_problem(self.cost, self.rows) or self._bends_up() or self._bends_up_where_rows_hold()
        )
        self.certificate = "convex" if convex else "unknown" if certify == "convex" else "multistart"
        if self.certificate == "unknown":
            self.note = "convexity not proved"

    def _bends_up(self) -> bool:
        """Interval Hessians."""
        alone = len(self.variables) == 1 and None not in self.variables[0].bounds
        bent = is_convex_on_box(self.cost, self.variables[0]) if alone else bends_up_on_box(self.cost, self.variables)
        return bent and all(is_convex_feasible_set(row).curvature is Curvature.CONVEX for row in self.rows)

    def _bends_up_where_rows_hold(self) -> bool:
        """Where equalities h = 0 hold, cost + w h² is the cost: it may be convex where the cost alone is not (Finsler).

        A duality gap at a point that misses h = 0 is then wrong by w h², far below the tolerance of a regret.
        """
        missed = [(row.body - row.upper) ** 2 for row in self.rows if row.equality]
        return bool(missed) and any(is_convex_problem(self.cost + w * sum(missed), self.rows) for w in _WEIGHTS)

    def cost_at(self, point: Sequence[float]) -> float:
        """The composed cost (minimise form) at own actions ``point``; infinity where it is not defined."""
        self.put(point)
        cost = number_of(self.cost)
        return cost if math.isfinite(cost) else math.inf

    def put(self, point: Sequence[float]) -> None:
        """Give the variables the values of own actions ``point``."""
        for var, value in zip(self.variables, point, strict=True):
            var.set_value(value, skip_validation=True)

    def violation(self, among: Sequence[int] | None = None) -> float:
        """Largest violation of rows (``among``: these) and bounds at the current values, in their natural units."""
        sizes = self.row_scales or [1.0] * len(self.rows)
        rows = [(self.rows[i], sizes[i]) for i in (range(len(sizes)) if among is None else among)]
        limits = [(number_of(row.body), row.lb, row.ub, size) for row, size in rows]
        limits += [(level, lower, upper, 1.0) for level, lower, upper in self.constants]
        reaches = self.reaches or [1.0] * len(self.variables)
        limits += [(var.value, var.lb, var.ub, reach) for var, reach in zip(self.variables, reaches, strict=True)]
        worst = max((abs(v.value - round(v.value)) for v in (self.variables[i] for i in self.integers)), default=0.0)
        for level, lower, upper, size in limits:
            worst = worst if math.isfinite(level) else math.inf
            if upper is not None:
                worst = max(worst, (level - upper) / max(size, abs(upper)))
            if lower is not None:
                worst = max(worst, (lower - level) / max(size, abs(lower)))
        return worst

    @property
    def unit(self) -> float:
        """The natural unit of its cost."""
        return max(self.stakes, default=1.0)

    @property
    def scale(self) -> float:
        """What its regret is small against: what is at stake in the variables that its best response moves.

        Where nothing at the plan tells a unit, no more than over the move itself.
        """
        if not self.stakes or not self.best or not self.best_cost < self.plan_cost:
            return self.unit
        moved = np.abs(np.array(self.best) - self.target) / self.reaches
        counted = np.where(np.isin(np.arange(len(moved)), self.guessed), np.minimum(1.0, moved), 1.0)
        return float(scale_of(counted * self.stakes, moved) if moved.any() else self.unit)

    @property
    def least_known(self) -> float:
        """The least cost known: its best response's, or the plan's, which one of its pieces may not reach."""
        return min(self.best_cost, self.plan_cost)

    @property
    def is_awkward(self) -> bool:
        """True if a solver would take its units for 0 or for no limit: it is solved in natural ones."""
        units = [self.unit, *self.reaches, *self.row_scales]
        return max(units) > _UNITS or min(units) < 1.0 / _UNITS

    def offer(self, point: Sequence[float], cost: float) -> None:
        """Keep a candidate best response if it is the best so far."""
        if cost < self.best_cost:
            self.best, self.best_cost = list(point), cost

    def is_lost(self, tolerance: float) -> bool:
        """Whether a proved answer costs more than the plan, which is one: far out what cancels is rounding."""
        if self.certificate == "unknown" or not self.best_cost - self.plan_cost > tolerance * self.scale:
            return False
        self.put(self.target)
        return self.violation() <= TOLERANCES.noise

    def give_up(self, why: str, unsettled: Unsettled = Unsettled.OTHER) -> None:
        """The re-solve showed nothing: never call that a regret of 0."""
        self.certificate, self.note, self.unsettled = "unknown", why, unsettled

    def give_up_endless(self, *, confirmed: bool = True) -> None:
        """Some deviation pays without limit; not ``confirmed``: by a solver's word alone."""
        if confirmed:
            self.give_up("its problem is unbounded: some deviation pays without limit", Unsettled.UNBOUNDED)
        else:
            why = "a solver says that its problem is unbounded, which its cost far out does not confirm"
            self.give_up(why, Unsettled.UNCONFIRMED)


def scale_of(stakes: Array, moved: Array) -> Array:
    """Stakes (… × actions) weighed by how far each action moves, in its reach; the largest where none does."""
    total = moved.sum(axis=-1, keepdims=True)  # 0: rounding of the cost alone says that another answer is better
    weights = moved / np.where(total > 0.0, total, 1.0)
    return np.asarray(np.where(total[..., 0] > 0.0, (stakes * weights).sum(axis=-1), stakes.max(axis=-1)))


def idle_of(slopes: Array, target: Array, box: tuple[Array, Array], reaches: Array) -> Array:
    """(… × actions) whether each stands on a bound, to the accuracy of a plan, that the slope of its cost pushes to."""
    near = TOLERANCES.accuracy * reaches
    return np.asarray(((target - box[0] <= near) & (slopes > 0.0)) | ((box[1] - target <= near) & (slopes < 0.0)))


def limited_by_others(stakes: Array, idle: Array, terms: Any = 0.0) -> Array:
    """Stakes (… × actions) where an idle action has no more than all others together, unless these have nothing.

    Nothing is to be gained by it, however dear it is: a price that nobody pays would make every loss small. ``terms``
    are stakes of slopes without what cancels in them.
    """
    others = np.where(idle, 0.0, np.maximum(stakes, terms)).sum(axis=-1, keepdims=True)
    return np.where(idle & (others > 0.0), np.minimum(stakes, others), stakes)


def composed(
    game: Game, announced: Announcement, wanted: Container[str], *, measured: bool = True, whole: bool = False
) -> Iterator[Composed]:
    """Every wanted follower's composed problem, in fresh copies of its own variables; measured: with ``own``.

    whole: in one piece also where the leader's variables are stopped at their bounds, by absolute values.
    """
    composer = _Composer(game, announced, measured=measured, most=1 if whole else _PIECES)
    for follower, columns in _columns(game, wanted):
        yield from composer.compose(follower, follower.variables, columns)


def stand_in(game: Game, announced: Announcement, follower: Follower) -> Composed:
    """The problem of a player in the place of the game's follower of its name, where the leader announces constants."""
    _, columns = next(_columns(game, [follower.name]))
    return next(_Composer(game, announced).compose(follower, follower.variables, columns))


def _columns(game: Game, wanted: Container[str]) -> Iterator[tuple[Follower, range]]:
    """Every wanted follower and the numbers of its actions."""
    ends = np.searchsorted(game.action_owners, np.arange(len(game.followers) + 1)).tolist()
    for follower, start, stop in zip(game.followers.values(), ends[:-1], ends[1:], strict=True):
        if follower.name in wanted:
            yield follower, range(start, stop)


def plane(game: Game, announced: Announcement, name: str, leader: str) -> tuple[Any, Composed, Composed]:
    """(w, J_k(v, w), J_0(v, w)): a follower's and the leader's cost over its own actions v and one leader variable w.

    w is a free Var in the place of ``leader``; whatever else the leader announces answers v, without a projection. The
    two share their copies of v.
    """
    level = pyo.Var(initialize=announced.values[leader])
    level.construct()
    responses = game.responses()
    steps = {id(v): level - announced.values[leader] for v in responses.drivers if game.names[id(v)] == leader}
    carried = {
        game.names[id(responses.variables[row])]: rate * steps[id(responses.drivers[col])]
        for row, col, rate in triplets(responses.leads)
        if id(responses.drivers[col]) in steps
    }
    others = sparse.diags_array([float(other != leader) for other in announced.leader])
    gain, bend = (None if m is None else sparse.csc_array(others @ m) for m in (announced.gain, announced.bend))
    values = {**announced.values, leader: level, **{n: announced.values[n] + step for n, step in carried.items()}}
    composer = _Composer(game, replace(announced, values=values, gain=gain, bend=bend, saturate=False))
    follower, columns = next(_columns(game, [name]))
    ruler = Follower(name, objectives=game.leader.objectives)
    own, ruling = (next(composer.compose(player, follower.variables, columns)) for player in (follower, ruler))
    return level, own, ruling


class _Composer:
    """Substitutes in a follower's problem: copies for its own variables, what they move, the plan for all the rest."""

    def __init__(self, game: Game, announced: Announcement, *, measured: bool = True, most: int = _PIECES) -> None:
        self.names, self.measured, self.most = game.names, measured, most
        self.moves = _Moves(game, announced)
        self.raw = {id(v): announced.values[name] for name, v in game.variables_by_name.items() if not v.fixed}
        self.plan = {**self.raw, **self.moves.projected(self.raw)}
        self.plan.update(self.moves.carried(self.raw, self.plan, {}))
        self.copies = pyo.ConcreteModel(name="actions")
        self.copies.own = pyo.Var(pyo.RangeSet(0, len(game.actions) - 1), dense=False)  # often of a few alone
        self.copies.leader = pyo.Var(announced.leader)
        self.answers = {id(game.variables_by_name[name]): self.copies.leader[name] for name in announced.leader}
        for name in announced.leader:
            self._stand_in(game.variables_by_name[name], self.copies.leader[name])
        # One visitor for all: to make one costs as much as to walk a small objective.
        self.bounds = ExpressionBoundsVisitor()
        self.table: dict[int, Any] = dict(self.plan)
        self.visitor = Substitution(
            substitute=self.table, descend_into_named_expressions=True, remove_named_expressions=True
        )

    def _stand_in(self, var: Any, copy: Any) -> None:
        """Give a copy the Var's domain, its bounds and its value on the plan."""
        if not var.is_continuous():
            copy.domain = var.domain
        copy.setlb(var.lb)
        copy.setub(var.ub)
        copy.set_value(pyo.value(self.plan[id(var)]), skip_validation=True)

    def compose(self, follower: Follower, own: Sequence[Any], columns: range) -> Iterator[Composed]:
        """The follower's cost and rows as functions of its own actions alone: the piece of the plan first."""
        assert follower.objective is not None
        copies = [self.copies.own[j] for j in columns]
        target = [self.plan[id(v)] for v in own]
        changed: dict[int, Any] = {}
        for copy, var in zip(copies, own, strict=True):
            self._stand_in(var, copy)
            changed[id(var)] = copy
        deviation = dict(zip(columns, (c - t for c, t in zip(copies, target, strict=True)), strict=True))
        moved = self.moves.of(columns, deviation)
        changed.update((mover, self.raw[mover] + step) for mover, step in moved.items())
        home: Composed | None = None
        for projected, limits in self._pieces({m: changed[m] for m in moved}):
            everything = {**changed, **projected}
            everything.update(self.moves.carried(self.raw, self.plan, everything))
            piece = self._piece(follower, own, copies, target, everything, limits)
            if home is None and self.measured:
                answers = {mover: self.answers[mover] for mover in moved if mover in self.answers}
                piece.own, piece.answers = piece.cost, list(answers.values())
                piece.steps = [moved[mover] for mover in answers]
                if answers:
                    bare = {**changed, **answers}
                    bare.update(self.moves.carried(self.raw, self.plan, bare))
                    piece.own = follower.sign * self._substituted(follower.objective.expr, bare)
            piece.home, piece.projected = home, self.moves.saturate
            piece.cut = [self.names[mover] for mover in projected]
            home = home or piece
            yield piece

    def _piece(
        self,
        follower: Follower,
        own: Sequence[Any],
        copies: list[Any],
        target: list[float],
        changed: dict[int, Any],
        limits: Sequence[Any],
    ) -> Composed:
        assert follower.objective is not None
        cost = self._substituted(follower.objective.expr, changed)
        rows, constants = list(limits), []
        for constraint in follower.constraints:
            body, lower, upper = self._substituted(constraint.body, changed), constraint.lb, constraint.ub
            if all(var.fixed for var in variables_in(body)):
                constants.append(sized(body, lower, upper))
            else:
                rows.append(free_row(body, lower, upper))
        names = [self.names[id(v)] for v in own]
        return Composed(follower, names, target, follower.sign * cost, rows, constants, copies, planned=self.plan)

    def _substituted(self, expression: Any, changed: dict[int, Any]) -> Any:
        """The expression with these in the place of Vars, and the plan for all the rest."""
        self.table.update(changed)
        composed = self.visitor.walk_expression(expression)
        self.table.update((key, self.plan[key]) for key in changed)
        return composed

    def _pieces(self, moved: dict[int, Any]) -> Iterator[tuple[dict[int, Any], list[Any]]]:
        """(what projected leader variables are, rows that say where this holds), the plan's piece first.

        They come in the order of the announcement's leader variables, whichever an action moves first.
        """
        stopped = [mover for mover in self.moves.leaders if mover in moved] if self.moves.saturate else []
        ways = [self._ways(mover, moved[mover]) for mover in stopped]
        ways = [way for way in ways if len(way) > 1]
        if math.prod(map(len, ways)) > self.most:
            yield {mover: _clipped(body, low, high) for (mover, _, body, low, high), *_ in ways}, []
            return
        for choice in product(*ways):
            yield (
                {mover: value for mover, value, *_ in choice},
                [free_row(body, lower, upper) for _, _, body, lower, upper in choice],
            )

    def _ways(self, mover: int, expression: Any) -> list[tuple[int, Any, Any, float | None, float | None]]:
        """(mover, its value, body, lower, upper) where free, at its lower, at its upper bound; the plan's first."""
        var = self.moves.by_id[mover]
        if mover not in self.moves.leaders or (var.lb is None and var.ub is None):
            return []
        below, above = oversteps(expression, var, self.bounds)
        ways = [(mover, expression, expression, var.lb, var.ub)]
        if below:
            ways.append((mover, var.lb, expression, None, var.lb))
        if above:
            ways.append((mover, var.ub, expression, var.ub, None))
        raw = self.raw[mover]
        size = max(abs(t) for t in (raw, var.lb, var.ub) if t is not None)
        return sorted(ways, key=lambda way: not is_within(raw, way[3], way[4], size))  # where the plan is comes first


def oversteps(expression: Any, var: Any, bounds: ExpressionBoundsVisitor | None = None) -> tuple[bool, bool]:
    """Whether the expression's interval reaches below the Var's lower, above its upper bound."""
    return leaves(*interval(expression, bounds), var.lb, var.ub)


def _clipped(expression: Any, lower: float | None, upper: float | None) -> Any:
    """max(lower, min(upper, e)) by absolute values."""
    if lower is not None and upper is not None:
        return (lower + upper + abs(expression - lower) - abs(expression - upper)) / 2.0
    if lower is not None:
        return (expression + lower + abs(expression - lower)) / 2.0
    return (expression + upper - abs(expression - upper)) / 2.0


class _Moves:
    """What a deviation of one follower moves: aggregates by its share, leader variables as announced."""

    def __init__(self, game: Game, announced: Announcement) -> None:
        responses = game.responses()
        self._tables = [(responses.moves.tocsc(), [id(v) for v in responses.variables])]
        aggregates, drivers = responses.variables, responses.drivers
        self._leads = [(id(aggregates[row]), id(drivers[col]), rate) for row, col, rate in triplets(responses.leads)]
        self.saturate = announced.saturate
        self.by_id = {id(v): v for v in game.variables_by_name.values()} if announced.saturate else {}
        self.leaders = dict.fromkeys(id(game.variables_by_name[n]) for n in announced.leader)  #: In their order.
        self._bows: list[tuple[int, float, int]] = []
        self._game, self._values = game, announced.values
        self._curves: list[tuple[int, float, Any]] = []  #: (leader Var, gain, signal) of signals that are not linear.
        if announced.gain is not None:
            moves = shares(game, announced.signals).moves
            instruments = [id(game.variables_by_name[n]) for n in announced.leader]
            self._tables.append((answers(announced.gain, moves).tocsc(), instruments))
            curved = any(signal.curve is not None for signal in announced.signals)
            for row, column, rate in triplets(announced.gain) if curved else ():
                if announced.signals[column].curve is not None and rate != 0.0:
                    self._curves.append((instruments[row], rate, announced.signals[column]))
            if announced.bend is not None:
                self._bows = [(instruments[row], rate, signal) for row, signal, rate in triplets(announced.bend)]
                self._shown = moves.tocsr()

    def projected(self, values: Mapping[int, float]) -> dict[int, float]:
        """id(leader Var) → its value on its bounds, where the announcement is projected."""
        levels = {}
        for instrument in self.leaders.keys() & self.by_id.keys() & values.keys():
            low, high = self.by_id[instrument].bounds
            floor = values[instrument] if low is None else max(values[instrument], low)
            levels[instrument] = floor if high is None else min(floor, high)
        return levels

    def carried(self, raw: Mapping[int, Any], plan: Mapping[int, Any], changed: Mapping[int, Any]) -> dict[int, Any]:
        """id(aggregate) → its value with what the leader's variables, announced or projected, move of it."""
        levels: dict[int, Any] = {}
        for aggregate, driver, rate in self._leads:
            now = changed.get(driver, plan[driver])
            if now is not raw[driver]:
                before = levels.get(aggregate, changed.get(aggregate, raw[aggregate]))
                levels[aggregate] = before + rate * (now - raw[driver])
        return levels

    def of(self, columns: range, deviation: dict[int, Any]) -> dict[int, Any]:
        """id(Var) → by how much the deviations {action number: deviation} of one follower move it."""
        moved: dict[int, Any] = {}
        for matrix, movers in self._tables:
            for column in columns:
                for row, rate in entries_in(matrix, column):
                    if rate != 0.0:
                        moved[movers[row]] = moved.get(movers[row], 0.0) + rate * deviation[column]
        for mover, weight, signal in self._bows:
            terms = entries_in(self._shown, signal)
            seen = sum(rate * deviation[column] for column, rate in terms if column in deviation)
            if not isinstance(seen, int):
                moved[mover] = moved.get(mover, 0.0) + weight / 2.0 * seen**2
        for mover, rate, signal in self._curves:
            step = rate * excursion(self._game, signal, self._values, self._own(deviation))
            if not isinstance(step, float):
                moved[mover] = moved.get(mover, 0.0) + step
        return moved

    def _own(self, deviation: Mapping[int, Any]) -> dict[int, Any]:
        """id(action) → its value in the deviation."""
        actions, names = self._game.actions, self._game.names
        return {id(actions[j]): self._values[names[id(actions[j])]] + step for j, step in deviation.items()}
