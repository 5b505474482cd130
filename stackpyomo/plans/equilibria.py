"""Lists of equilibria: all there are, proved; or "at least these"; a continuum is described, not listed.

The exact conditions are asked for one equilibrium after another, those known left out
(:mod:`stackpyomo.bilevel.listing`), until the solver proves that none is left: then every equilibrium is within
``distance`` of a listed one, or in a continuum that is described.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from stackpyomo.bilevel import (
    Answer,
    Candidate,
    Conditions,
    Equilibrium,
    Face,
    Listing,
    Options,
    PlanSearch,
    Problem,
    conditions,
    directions,
    face,
    is_surface,
    pattern,
)
from stackpyomo.core import Array, bounds_of, listed, shown, tracked
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, evaluated_at, exchangeable
from stackpyomo.solvers import Termination

from .members import perhaps_unlike
from .plan import Plan
from .profiles import pure_equilibria
from .responding import Work

_PAIRS = 200  # Pairs up to which a list is made.
_SECONDS = 60.0  # For all of it where no time limit is given.
_PROVED = "proved"  # No equilibrium is left.


@dataclass(frozen=True)
class Continuum:
    """Equilibria that are not isolated: which actions move, from where to where."""

    dimension: int
    moving: dict[str, tuple[float, float]]  #: Action → (least, most); NaN where that was not worked out.
    still: dict[str, float] = field(default_factory=dict)  #: Action → level of the others, where that was worked out.

    def __str__(self) -> str:
        parts = [
            f"{name} moves" if math.isnan(low) or math.isnan(high) else f"{name} in [{shown(low)}, {shown(high)}]"
            for name, (low, high) in self.moving.items()
        ]
        where = listed([f"{name} = {shown(level)}" for name, level in self.still.items()], 4)
        return f"a continuum of dimension {self.dimension}: {listed(parts, 4)}{where and f' at {where}'}"


class Equilibria(list[Plan]):
    """A list of equilibria as plans, symmetric copies once, with what is proved of it."""

    def __init__(
        self,
        plans: Iterable[Plan] = (),
        *,
        complete: bool = False,
        continuum: Sequence[Continuum] = (),
        copies: Sequence[int] = (),
        reason: str = "",
    ) -> None:
        super().__init__(plans)
        self.complete = complete  #: Proved: every equilibrium is within ``distance`` of one in the list.
        self.continuum = tuple(continuum)  #: Those that are not isolated, told piece by piece.
        self.copies = tuple(copies) or (1,) * len(self)  #: How many symmetric copies each stands for.
        self.reason = reason  #: Why it is not complete.

    @property
    def table(self) -> pd.DataFrame:
        """A row for each equilibrium: the leader's objective, every action, and how many symmetric copies there are."""
        rows = []
        for plan, copies in zip(self, self.copies, strict=True):
            own = plan.attached().owners
            actions = {n: plan.values[n] for n, v in plan.attached().variables_by_name.items() if id(v) in own}
            rows.append({"leader_objective": plan.leader_objective, **actions, "copies": copies})
        return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="equilibrium"))

    def __str__(self) -> str:
        head = "all equilibria, proved" if self.complete else f"at least these ({self.reason})"
        lines = [f"{len(self)} listed: {head}", *map(str, self.continuum)]
        return "\n".join([*lines, *([self.table.to_string()] if self else [])])


def all_equilibria(
    game: Game, followers: Sequence[Follower], problem: Problem, options: Options, limit: int, distance: float
) -> Equilibria:
    """All equilibria of these followers under ``problem``, by their exact conditions; up to ``limit`` of them.

    Raises :class:`InvalidGame` for a game that is too large to be listed.
    """
    if any(f.integers for f in followers):
        return _alike(_profiles(game, followers, problem, limit), game, followers)
    kkt = conditions(game, followers, common=options.common)
    if len(kkt.pairs) > _PAIRS:
        raise InvalidGame(
            f"equilibrium='all': {len(kkt.pairs)} pairs of multiplier and slack are too many to be listed (at most "
            f"{_PAIRS}); ask for equilibrium='best' and 'worst'."
        )
    return _alike(_List(game, followers, problem, options, kkt, limit, distance).run(), game, followers)


def _alike(equilibria: Equilibria, game: Game, followers: Sequence[Follower]) -> Equilibria:
    """The list, complete only where members of populations are shown to act alike in every equilibrium."""
    doubtful = perhaps_unlike(game, {f.name for f in followers}, leader=False) if equilibria.complete else []
    if doubtful:
        equilibria.complete = False
        equilibria.reason = f"members of {listed(doubtful, 3)} may differ in others"
    return equilibria


def _profiles(game: Game, followers: Sequence[Follower], problem: Problem, limit: int) -> Equilibria:
    """The pure equilibria of followers with integer actions: all of them, by enumeration."""
    values = game.completed({id(v): level for v, level in problem.held})
    plans: list[Plan] = []
    for profile in pure_equilibria(game, followers, values):
        if len(plans) == limit:
            return Equilibria(plans, reason=f"limit={limit} reached")
        with evaluated_at(game, profile):
            plan = Plan.from_values(game)
        plan.responding, plan.solver = tuple(f.name for f in followers), "enumeration"
        plans.append(plan)
    return Equilibria(plans, complete=True)


@dataclass
class _List:
    game: Game
    followers: Sequence[Follower]
    problem: Problem
    options: Options
    made: Conditions
    limit: int
    distance: float
    plans: list[Plan] = field(default_factory=list)
    pieces: list[Continuum] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)  # what the pieces are, where conditions are affine
    patterns: list[tuple[bool, ...]] = field(default_factory=list)
    points: list[Mapping[int, float]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    #: What may be missing: a point that nothing confirms and nothing refutes, or the end of a piece.
    doubt: str = ""

    def run(self) -> Equilibria:
        seconds: dict[str, float] = {}
        self.work = Work(self.game, self.followers, self.problem, self.options, seconds)
        self.plain = Equilibrium(self.problem, self.made, None, seconds)
        self.affine = self.plain.program.is_linear
        self.actions = tuple(v for f in self.followers for v in f.variables)
        # In the action's own unit, or the width of its box where that is less.
        widths = {id(v): high - low for v in self.actions for low, high in [bounds_of(v)]}
        self.room = {self.game.names[key]: self.distance * (min(1.0, width) or 1.0) for key, width in widths.items()}
        until = time.monotonic() + (self.options.time_limit or _SECONDS)
        reason = ""
        with tracked("listing equilibria", shown=not self.options.tee) as step:
            reason = "" if self.affine else self._first(until)
            while not reason:
                reason = self._next(until)
                step()
        return self._gathered(self.doubt if reason == _PROVED else reason)

    def _next(self, until: float) -> str:
        """Find one more; why there is none, or why it ends."""
        if len(self.plans) >= self.limit:
            return f"limit={self.limit} reached"
        away = () if self.affine else tuple(self.points)
        listing = Listing(tuple(self.patterns) if self.affine else (), away, self.actions, tuple(self.room.values()))
        exact = Equilibrium(self.problem, self.made, listing, self.work.seconds, self.log)
        answer = exact.solve("scip", until=until, tee=self.options.tee, tight=True)
        if answer.termination is Termination.INFEASIBLE:
            return _PROVED
        if answer.x is None:
            return f"{answer.solver}: {answer.termination.value}"
        return self._polished(answer, exact.program.levels(answer.x), pattern(exact, answer.x), until)

    def _first(self, until: float) -> str:
        """Begin with the equilibrium of the ordinary search, if it finds one: it may be one of a continuum."""
        search = PlanSearch(self.game, self.followers, self.problem, self.work.check, self.options, log=self.log)
        search.run()
        if search.best is None or not search.best.is_plan:
            return ""
        known = search.best.values
        values = dict(known)
        for theirs, ours in zip(search.kkt.pairs, self.made.pairs, strict=True):
            parts = [(ours.multiplier, theirs.multiplier), (ours.slack, theirs.slack)]
            values.update((id(own), known[id(other)]) for own, other in parts if id(other) in known)
        x = self.plain.point(values)
        return self._polished(search.best.answer, values, self.plain.multipliers(x) > self.plain.slacks(x), until)

    def _polished(self, answer: Answer, values: dict[int, float], active: Array, until: float) -> str:
        """Put a point onto its pattern; why the list cannot go on."""
        x = self.plain.point(values)
        polished = self.plain.polished(x, "auto", active=active, signed=True, until=until)
        best = answer if polished is None else polished
        if polished is not None and polished.x is not None:
            x = polished.x
        if self.affine:
            self._narrow(x)
        self.patterns.append(tuple(map(bool, active)))
        exactly = {**self.made.at_bounds(active), **self.plain.program.levels(x)}  # what no row holds is nowhere else
        self.points.append({**values, **exactly})
        return self._judged(Candidate(replace(best, x=x), self.plain, exactly), x, active)

    def _narrow(self, x: Array) -> None:
        """Patterns tell points apart, however near: what counts as near is so beside the reaches of all of them."""
        for var, reach in zip(self.plain.program.variables, self.plain.program.units(x)[0].tolist(), strict=True):
            if (name := self.game.names.get(id(var), "")) in self.room:
                self.room[name] = min(self.room[name], self.distance * reach)

    def _judged(self, candidate: Candidate, x: Array, active: Array) -> str:
        """Keep a point as a plan, or the piece of a continuum it lies in; returns why the list cannot go on."""
        piece = self._continuum(x, active, candidate.values)
        if piece is None and self._is_known(candidate.values):
            return ""
        candidate.judge(self.work.check(candidate))
        if piece is not None and candidate.report is not None and (candidate.report.certificate == "convex").all():
            self.pieces += [] if any(self._are_told_alike(piece, known) for known in self.pieces) else [piece]
            if not self.affine:
                return "a continuum, which is not listed"
            self.faces.append(face(self.plain, x, active, self.actions))
            return ""
        if piece is not None:  # of a cost that bends down it may hold no equilibrium at all
            self.doubt = (
                f"no proof that a continuum of first-order points are equilibria: {self._point(candidate.values)}"
            )
            return "" if self.affine else self.doubt
        if candidate.report is None or not candidate.report.ok:
            refuted = candidate.report is not None and bool(candidate.report.refuted)
            if not (self.affine and refuted):
                self.doubt = f"not confirmed by a re-solve: {self._point(candidate.values)}"
            return ""
        plan = self.work.drawn(candidate, self.log)
        plan.quality = "feasible"
        self.plans.append(plan)
        return ""

    def _point(self, values: Mapping[int, float]) -> str:
        return listed([f"{self.game.names[id(v)]} = {shown(values.get(id(v), math.nan))}" for v in self.actions], 3)

    def _is_known(self, values: Mapping[int, float]) -> bool:
        names = self.game.names
        return any(
            all(abs(values.get(id(v), 0.0) - plan.values[names[id(v)]]) < self.room[names[id(v)]] for v in self.actions)
            for plan in self.plans
        )

    def _continuum(self, x: Array, active: Array, values: Mapping[int, float]) -> Continuum | None:
        """The piece that x lies in, if it is more than a point."""
        names = self.game.names
        if not self.affine:
            leader = self.problem.leader
            dimension, moving, _ = directions(self.plain, x, self.actions, leader)
            if not is_surface(self.plain, x, self.actions, leader):
                return None  # perhaps a double root: it is listed, and others are looked for
            return Continuum(dimension, {names[id(v)]: (math.nan, math.nan) for v in moving}) if dimension else None
        dimension, ranges = face(self.plain, x, active, self.actions).extent()
        for key, ends in ranges.items():
            if any(map(math.isnan, ends)):  # its own level stands for an end that nobody gives: it may go farther
                self.doubt = f"how far {names[key]} goes is not known: {self._point(values)}"
                low, high = (values[key] if math.isnan(end) else end for end in ends)
                ranges[key] = low, high
        # In no row, and at no bound: its owner does not care. Where its bounds are one level it stays there.
        loose = {id(v): bounds_of(v) for v in self.actions if id(v) not in values}
        ranges |= loose
        dimension += sum(low < high for low, high in loose.values())
        wide = {key: pair for key, pair in ranges.items() if not pair[1] - pair[0] <= self.room[names[key]]}
        moves = {names[key]: (self._rounded(low, key), self._rounded(high, key)) for key, (low, high) in wide.items()}
        levels = {**values, **{key: low for key, (low, _) in loose.items()}}
        still = {names[id(v)]: self._rounded(levels[id(v)], id(v)) for v in self.actions if id(v) not in wide}
        return Continuum(max(dimension, 1), moves, still) if wide else None

    def _rounded(self, level: float, action: int) -> float:
        """The level of an action but for the rounding of a solver, in its unit."""
        return round(level, 6 - math.floor(math.log10(self.room[self.game.names[action]]))) + 0.0

    def _are_told_alike(self, one: Continuum, other: Continuum) -> bool:
        """True if the same actions move, between the same ends, and the others stay at the same levels."""

        def ends(piece: Continuum) -> dict[str, tuple[float, float]]:
            return {**piece.moving, **{name: (level, level) for name, level in piece.still.items()}}

        if one.dimension != other.dimension or one.moving.keys() != other.moving.keys():
            return False
        theirs = ends(other)
        pairs = (
            (end, theirs[name][side], self.room[name])
            for name, both in ends(one).items()
            for side, end in enumerate(both)
        )
        return all(math.isclose(end, known, rel_tol=0.0, abs_tol=near) for end, known, near in pairs)

    def _gathered(self, reason: str) -> Equilibria:
        """Symmetric copies once, each with how many it stands for; points within a piece of a continuum left out."""
        alone = [plan for plan in self.plans if not self._is_within(plan)]
        groups = exchangeable(self.game) if len(alone) > 1 else []
        representatives: dict[tuple[Any, ...], Plan] = {}
        counts: dict[tuple[Any, ...], int] = {}
        for plan in alone:
            key = self._key(plan, groups)
            representatives.setdefault(key, plan)
            counts[key] = counts.get(key, 0) + 1
        why = reason or ("the others are a continuum" if self.pieces else "")
        return Equilibria(
            representatives.values(), complete=not why, continuum=self.pieces, copies=list(counts.values()), reason=why
        )

    def _is_within(self, plan: Plan) -> bool:
        """True if the plan is an end of a piece, where another pattern begins."""
        levels = {id(v): plan.values[self.game.names[id(v)]] for v in self.actions}
        near = {id(v): self.room[self.game.names[id(v)]] for v in self.actions}
        return any(piece.holds(levels, near) for piece in self.faces)

    def _key(self, plan: Plan, groups: Sequence[Sequence[str]]) -> tuple[Any, ...]:
        """Its actions, those of exchangeable followers in order."""
        names, near = self.game.names, self.room

        def level(var: Any) -> int:
            return round(plan.values[names[id(var)]] / near.get(names[id(var)], self.distance))

        own = {name: tuple(map(level, f.variables)) for name, f in self.game.followers.items()}
        bags = [tuple(sorted(own.pop(name) for name in group)) for group in groups]
        return (*bags, *own.items())
