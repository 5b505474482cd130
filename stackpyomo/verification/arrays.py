"""Arrays: the problems of many followers as they are after the announcement, all at once, from families.

    x_c(d) = x_c* + Σ_j T_cj d_j        gradient Tᵀ g        Hessian Tᵀ H T

with d what one follower does otherwise than planned: T is the identity on its own actions, its share on aggregates, and
the gain on the leader's variables. Nothing is substituted in expressions: what comes out is compared with what
substitution gives, for followers drawn at random (:mod:`stackpyomo.verification.witness`).

Where answers are stopped at the leader's bounds each follower has pieces, as in :mod:`.best_response`: in a piece a
leader variable answers, or stands at a bound (its row of T is 0), and a row says where that is so.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, box_of
from stackpyomo.core.expressions import affine_terms
from stackpyomo.families import Family, Ranges, swept
from stackpyomo.games import Follower, Game, action_bounds, are_continuous, formulas
from stackpyomo.games.information import Announcement, answers, shares

_EPS = sys.float_info.epsilon

_WIDEST = 24  # Actions of one follower, beyond which it is composed by substitution.
_PATTERNS = 9  # Pieces of one follower, beyond which it is composed by substitution.


class Layout:
    """Columns of everybody's Vars, their values on the plan, their bounds, and what each action moves."""

    def __init__(self, game: Game, announced: Announcement) -> None:
        self.game, self.announced = game, announced
        variables = list(game.variables_by_name.values())
        self.column = {id(v): number for number, v in enumerate(variables)}
        fixed = (v.value if v.fixed else announced.values[name] for name, v in game.variables_by_name.items())
        self.values = np.fromiter(fixed, float, len(variables))
        actions = game.actions
        self.actions = np.array([self.column[id(v)] for v in actions], dtype=np.int64)
        self.lower, self.upper = action_bounds(game)
        self.target = self.values[self.actions]
        responses = game.responses()
        own = [(self.actions, np.arange(len(actions)), np.ones(len(actions)))]
        moves = responses.moves.tocoo()
        place = np.array([self.column[id(v)] for v in responses.variables], dtype=np.int64)
        own.append((place[moves.row] if moves.nnz else moves.row, moves.col, moves.data))
        rows, moving, rates = (np.concatenate(entries) for entries in zip(*own, strict=True))
        self.own = _Rates(rows, moving, rates, len(actions))
        self.leaders = np.array([self.column[id(game.variables_by_name[n])] for n in announced.leader], dtype=np.int64)
        self.gain = sparse.coo_array((len(self.leaders), len(actions)))
        if announced.gain is not None:
            self.gain = answers(announced.gain, shares(game, announced.signals).moves).tocoo()
        #: True if aggregates follow leader variables that answer: left to substitution.
        self.driven = bool(responses.leads.nnz and self.gain.nnz)
        self.led = _Rates(self.leaders[self.gain.row], self.gain.col, self.gain.data, len(actions))
        self.floor, self.ceiling = box_of(variables[c] for c in self.leaders)

    @cached_property
    def lines(self) -> _Lines:
        """The rows that are read once for all who feel them."""
        return _Lines(self)

    @property
    def longest(self) -> int:
        """Terms that substitution puts into the problem of one follower: of the longest row, of answers on average."""
        return max(self.lines.longest, int(self.gain.nnz) // max(1, len(self.game.followers)))

    @property
    def is_plain(self) -> bool:
        """True if all that the leader announces is linear, within its bounds on the plan, and moves no aggregate."""
        level = self.values[self.leaders]
        inside = bool(((level >= self.floor) & (level <= self.ceiling)).all())
        return inside and self.announced.bend is None and not self.driven

    def movers(self) -> tuple[Array, Array, Array, Array]:
        """(leader row, follower, low, high) of every leader variable that some action of a follower moves.

        low, high: between which values it answers, within the bounds of the follower's actions.
        """
        owners = self.game.action_owners
        row, follower = self.gain.row.astype(np.int64), owners[self.gain.col].astype(np.int64)
        count = max(1, len(self.game.followers))
        pairs, where = np.unique(row * count + follower, return_inverse=True)
        down = (self.lower - self.target)[self.gain.col] * self.gain.data
        up = (self.upper - self.target)[self.gain.col] * self.gain.data
        level = self.values[self.leaders[pairs // count]]
        low = level + np.bincount(where, np.minimum(down, up), len(pairs))
        high = level + np.bincount(where, np.maximum(down, up), len(pairs))
        return pairs // count, pairs % count, low, high


def grouped(layout: Layout, wanted: Container[str]) -> Iterator[tuple[Array, Pieces]]:
    """(numbers of the followers, their pieces) for each number of actions: those wanted who are continuous."""
    players = list(layout.game.followers.values())
    looked = np.array([follower.name in wanted for follower in players])
    looked[layout.game.action_owners[~are_continuous(layout.game)]] = False
    sizes = np.bincount(layout.game.action_owners, minlength=len(players))
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[(sizes > 0) & (sizes <= _WIDEST) & looked]):
        numbers = np.flatnonzero((sizes == size) & looked)
        yield numbers, Pieces(layout, numbers, [players[i] for i in numbers], starts[numbers])


class _Lines:
    """Affine rows that several followers feel and in which no leader variable answers: read once, not once for each."""

    def __init__(self, layout: Layout) -> None:
        felt = Counter(id(c) for f in layout.game.followers.values() for c in f.constraints)
        rows = {id(c): c for f in layout.game.followers.values() for c in f.constraints if felt[id(c)] > 1}
        answering = set(layout.leaders[layout.gain.row].tolist())
        self.number: dict[int, int] = {}  #: id(row) → its number.
        constants, entries = list[float](), list[tuple[int, int, float]]()
        for key, row in rows.items():
            constant, terms = affine_terms(row.body) or (0.0, [])
            columns = [layout.column.get(id(v), -1) for v, _ in terms]
            if min(columns, default=-1) >= 0 and answering.isdisjoint(columns):
                number = self.number[key] = len(constants)
                constants.append(constant)
                entries += [(number, c, k) for c, (_, k) in zip(columns, terms, strict=True)]
        where, column, rate = np.array(entries, dtype=float).reshape(-1, 3).T
        size, width = len(layout.values), len(layout.actions)
        places = (where.astype(np.int64), column.astype(np.int64))
        matrix = sparse.csr_array((rate, places), shape=(len(constants), size))
        moves = (layout.own.rates, (layout.own.keys // max(1, width), layout.own.keys % max(1, width)))
        moved = (matrix @ sparse.csr_array(moves, shape=(size, width))).tocoo()
        self.bodies = matrix @ layout.values + np.array(constants)  #: (rows) on the plan.
        self.rates = _Rates(moved.row, moved.col, moved.data, width)
        self.longest = int(np.diff(matrix.indptr).max(initial=0))  #: Terms of the longest.


@dataclass(frozen=True)
class _Line:
    """Shared rows in the pieces of their followers: body + normal · d."""

    pieces: Array
    rows: Array
    bodies: Array
    normals: Array  #: (members × actions)

    def only(self, place: Array) -> _Line:
        """Those in these pieces; place: piece → its new number, −1 for those left out."""
        some = np.flatnonzero(place[self.pieces] >= 0)
        return _Line(place[self.pieces[some]], self.rows[some], self.bodies[some], self.normals[some])


class _Rates:
    """A sparse matrix (columns × actions) that is asked for many small rows at once."""

    def __init__(self, rows: Array, actions: Array, rates: Array, width: int) -> None:
        keys = rows.astype(np.int64) * width + actions
        order = np.argsort(keys, kind="stable")
        self.keys, self.rates, self.width = keys[order], rates[order], width

    def of(self, columns: Array, first: Array, count: int) -> Array:
        """(members × count) how the actions from ``first`` on move these columns."""
        if not len(self.keys):
            return np.zeros((len(columns), count))
        wanted = columns[:, None] * self.width + first[:, None] + np.arange(count)
        place = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[place] == wanted, self.rates[place], 0.0)


@dataclass(frozen=True)
class _Part:
    """Members of one family in their pieces: their Var s is base_s + rates_s · d."""

    family: Family
    pieces: Array  #: (members)
    rows: Array  #: (members) 0: the objective, r: the follower's r-th constraint.
    base: Array  #: (Vars × members)
    rates: Array  #: (Vars × members × actions)

    def only(self, members: Array, place: Array) -> _Part:
        """These members; place: piece → its new number."""
        pieces, rows = place[self.pieces[members]], self.rows[members]
        return _Part(self.family.only(members), pieces, rows, self.base[:, members], self.rates[:, members])


class Pieces:
    """Followers of equally many actions: every piece of every one of them (pieces × actions).

    ``unread``: number of a follower → why it is left to substitution. Objectives are in minimise form.
    """

    def __init__(self, layout: Layout, numbers: Array, followers: Sequence[Follower], first: Array) -> None:
        self.layout, self.followers, self.first = layout, followers, first
        self.count = int(np.count_nonzero(layout.game.action_owners == numbers[0]))
        self.unread: dict[int, str] = {}
        self.constraints = [follower.constraints for follower in followers]
        self.height = 1 + max(map(len, self.constraints), default=0)
        known, lines = formulas(layout.game), layout.lines.number
        bodies = [(k, r, c) for k, rows in enumerate(self.constraints) for r, c in enumerate(rows, 1)]
        shared = [(k, r, lines[id(c)]) for k, r, c in bodies if id(c) in lines]
        own = [(k, r, known.number[id(c)]) for k, r, c in bodies if id(c) not in lines]
        asked = np.array([(k, 0, row) for k, row in enumerate(numbers.tolist())] + own, dtype=np.int64)
        owners, rows, places = asked.T
        for i in np.flatnonzero(np.isin(places, list(known.unread))):
            self.unread[int(owners[i])] = known.unread[int(places[i])]
        self._split(numbers)
        self.line = self._lined(np.array(shared, dtype=np.int64).reshape(-1, 3))
        self.signs = np.array([follower.sign for follower in followers], dtype=float)
        self.parts = []
        for family, where in known.placed(places):
            senses = np.where(rows[where] == 0, self.signs[owners[where]], 1.0)
            oriented = replace(family, factors=family.factors * senses)
            self.parts.append(self._placed(oriented, owners[where], rows[where]))
        self._limit()

    def _split(self, numbers: Array) -> None:
        """The pieces: owner, and for each leader variable that is ever stopped whether and where it is."""
        layout = self.layout
        row, follower, low, high = layout.movers()
        floor, ceiling = layout.floor[row], layout.ceiling[row]
        sizes = np.abs([low, high, ceiling - floor])
        room = TOLERANCES.feasibility * np.where(np.isfinite(sizes), sizes, 0.0).max(axis=0)  # as core's ``leaves``
        sides = np.stack([np.isfinite(floor) & (low < floor - room), np.isfinite(ceiling) & (high > ceiling + room)])
        ways = np.flatnonzero(sides.any(axis=0) & np.isin(follower, numbers))
        row, owner, sides = row[ways], np.searchsorted(numbers, follower[ways]), sides[:, ways]
        stopped = np.unique(row)
        self.stopped = stopped.tolist()
        self.cut: dict[int, list[int]] = {}
        for k, r in zip(owner.tolist(), row.tolist(), strict=True):
            self.cut.setdefault(k, []).append(r)
        patterns = np.ones(len(numbers))
        np.multiply.at(patterns, owner, 1.0 + sides.sum(axis=0))
        many = patterns > _PATTERNS
        self.unread |= dict.fromkeys(np.flatnonzero(many).tolist(), "its answers are stopped in too many ways")
        self.owner = np.arange(len(numbers))
        self.state = np.zeros((len(numbers), len(stopped)), dtype=np.int8)
        self.is_way = np.zeros(self.state.shape, dtype=bool)
        self.is_way[owner, np.searchsorted(stopped, row)] = True
        for spot, leader in enumerate(self.stopped):  # pieces as they are, then with this one at a bound
            there = np.zeros((2, len(numbers)), dtype=bool)
            there[:, owner[row == leader]] = sides[:, row == leader] & ~many[owner[row == leader]]
            taken = np.stack([np.ones(len(self.owner), dtype=bool), *there[:, self.owner]], axis=1)
            piece, side = np.nonzero(taken)
            self.owner, self.state, self.is_way = self.owner[piece], self.state[piece], self.is_way[piece]
            self.state[:, spot] = np.array([0, -1, 1])[side]
        self.home = np.concatenate([[True], self.owner[1:] != self.owner[:-1]])

    def _in_pieces(self, owner: Array) -> tuple[Array, Array]:
        """(member, piece): every member once for each piece of its owner."""
        start = np.searchsorted(self.owner, owner, "left")
        times = np.searchsorted(self.owner, owner, "right") - start
        members = np.repeat(np.arange(len(owner)), times)
        return members, start[members] + np.arange(len(members)) - np.repeat(np.cumsum(times) - times, times)

    def _lined(self, shared: Array) -> _Line:
        """Shared rows; shared: (owner, its row, the shared row's number)."""
        owner, rows, numbers = shared.T
        members, pieces = self._in_pieces(owner)
        lines, numbers = self.layout.lines, numbers[members]
        normals = lines.rates.of(numbers, self.first[owner[members]], self.count)
        return _Line(pieces, rows[members], lines.bodies[numbers], normals)

    def _placed(self, family: Family, owner: Array, rows: Array) -> _Part:
        """The family's members, once for each piece of their owner."""
        members, pieces = self._in_pieces(owner)
        family = family.only(members)
        layout, first = self.layout, self.first[owner[members]]
        base = layout.values[family.columns]
        rates = np.zeros((*family.columns.shape, self.count))
        for slot, columns in enumerate(family.columns):
            rates[slot] = layout.own.of(columns, first, self.count) + layout.led.of(columns, first, self.count)
            for spot, row in enumerate(self.stopped):
                side = np.where(columns == layout.leaders[row], self.state[pieces, spot], 0)
                stopped = np.where(side < 0, layout.floor[row], layout.ceiling[row])
                base[slot] = np.where(side != 0, stopped, base[slot])
                rates[slot] = np.where((side != 0)[:, None], 0.0, rates[slot])
        return _Part(family, pieces, rows[members], base, rates)

    def _limit(self) -> None:
        """Rows of every piece, low ≤ normals · d ≤ high: where it is the piece it is, then the follower's own."""
        layout, size = self.layout, len(self.owner)
        owns = self.height - 1
        stops = len(self.stopped)
        self.normals = np.zeros((size, stops + owns, self.count))
        self.low, self.high = np.full((size, stops + owns), -np.inf), np.full((size, stops + owns), np.inf)
        for spot, row in enumerate(self.stopped):
            columns = np.full(size, layout.leaders[row])
            self.normals[:, spot] = layout.led.of(columns, self.first[self.owner], self.count)
            level, side, way = layout.values[layout.leaders[row]], self.state[:, spot], self.is_way[:, spot]
            floor, ceiling = layout.floor[row] - level, layout.ceiling[row] - level
            self.low[:, spot] = np.where(way, np.where(side < 0, -np.inf, np.where(side > 0, ceiling, floor)), -np.inf)
            self.high[:, spot] = np.where(way, np.where(side > 0, np.inf, np.where(side < 0, floor, ceiling)), np.inf)
        if owns:
            body, slopes, _ = self.at(np.zeros((size, self.count)), 1)
            self.normals[:, stops:] = slopes[:, 1:]
            limits = np.full((2, len(self.followers), owns), np.nan)
            for k, constraints in enumerate(self.constraints):
                for r, constraint in enumerate(constraints):
                    limits[:, k, r] = constraint.lb, constraint.ub
            low, high = limits[:, self.owner]
            self.low[:, stops:] = np.where(np.isnan(low), -np.inf, low - body[:, 1:])
            self.high[:, stops:] = np.where(np.isnan(high), np.inf, high - body[:, 1:])

    @property
    def equal(self) -> Array:
        """(pieces × rows) which rows are equalities."""
        return np.asarray((self.low == self.high) & np.isfinite(self.low))

    @property
    def box(self) -> tuple[Array, Array]:
        """(pieces × actions) least and largest deviations."""
        layout, mine = self.layout, self.first[self.owner][:, None] + np.arange(self.count)
        return layout.lower[mine] - layout.target[mine], layout.upper[mine] - layout.target[mine]

    def only(self, pieces: Array) -> Pieces:
        """Some of the pieces, to be evaluated by themselves."""
        part = object.__new__(Pieces)
        part.__dict__.update(self.__dict__)
        place = np.full(len(self.owner), -1)
        place[pieces] = np.arange(len(pieces))
        some = [(p, np.flatnonzero(place[p.pieces] >= 0)) for p in self.parts]
        part.parts = [p.only(members, place) for p, members in some if len(members)]
        part.line = self.line.only(place)
        for name in ("owner", "home", "state", "is_way", "normals", "low", "high"):
            setattr(part, name, getattr(self, name)[pieces])
        return part

    def at(self, deviations: Array, order: int = 2) -> tuple[Array, Array, Array]:
        """(values (pieces × rows), slopes (… × actions), the objectives' bends (pieces × actions × actions))."""
        size, count = len(self.owner), self.count
        values, slopes = np.zeros(size * self.height), np.zeros((size * self.height, count))
        bends = np.zeros((size, count * count))
        place = self.line.pieces * self.height + self.line.rows
        values[place] = self.line.bodies + (self.line.normals * deviations[self.line.pieces]).sum(axis=1)
        slopes[place] = self.line.normals
        for part in self.parts:
            family = part.family
            steps = np.einsum("smj,mj->sm", part.rates, deviations[part.pieces])
            value, slope, bend = swept(family.tree, family.numbers, part.base + steps, order)
            sums = self._sums(part, family.factors)
            values += sums @ np.broadcast_to(value, len(family.factors))
            steep = sum((_wide(g, 1) * part.rates[s] for s, g in slope.items()), np.zeros((len(part.pieces), count)))
            slopes += sums @ steep
            if bend:
                curved = sum(_wide(h, 2) * self._outer(part, a, b) for (a, b), h in bend.items())
                bends += self._objectives(part, family.factors) @ curved.reshape(len(part.pieces), count * count)
        shape = (size, self.height)
        return values.reshape(shape), slopes.reshape(*shape, count), bends.reshape(size, count, count)

    def bends_over(self, low: Array, high: Array) -> tuple[Array, Array, Array]:
        """(low, high) of the objectives' second derivatives over a box of deviations; whether all rows are affine."""
        size, count = len(self.owner), self.count
        least, most, weight = (np.zeros((size, count * count)) for _ in range(3))
        affine, terms = np.ones(size, dtype=bool), 1
        for part in self.parts:
            family, members = part.family, len(part.pieces)
            numbers = [Ranges.of(number) for number in family.numbers]
            _, _, bend = swept(family.tree, numbers, self._boxes(part, low, high))
            objective = self._objectives(part, np.ones(members))
            for (a, b), entry in bend.items():
                fast = family.factors[:, None, None] * self._outer(part, a, b)
                span = Ranges.of(entry)
                ends = [_zero(fast, _wide(np.broadcast_to(end, members), 2)) for end in (span.low, span.high)]
                low_end, high_end = (pick(*ends).reshape(members, count * count) for pick in (np.minimum, np.maximum))
                size_end = np.maximum(np.abs(low_end), np.abs(high_end))
                with np.errstate(invalid="ignore"):
                    least, most = least + objective @ low_end, most + objective @ high_end
                    weight += objective @ size_end
                terms += 4
                bent = (part.rows > 0) & (size_end > sys.float_info.min).any(axis=1)
                affine[part.pieces[bent]] = False
        with np.errstate(invalid="ignore"):
            off = (terms + 4.0 * max(1, max((len(p.pieces) for p in self.parts), default=1) // max(1, size))) * _EPS
            least, most = least - off * weight, most + off * weight
        shape = (size, count, count)
        return least.reshape(shape), most.reshape(shape), affine

    def _boxes(self, part: _Part, low: Array, high: Array) -> list[Ranges]:
        """The range of each Var of the members over the box."""
        boxes = []
        for base, rates in zip(part.base, part.rates, strict=True):
            ends = [_zero(rates, side[part.pieces]) for side in (low, high)]
            down, up = np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
            off = (self.count + 2.0) * _EPS * (np.abs(base) + np.maximum(np.abs(ends[0]), np.abs(ends[1])).sum(axis=1))
            still = (rates == 0.0).all(axis=1)
            off = np.where(still, 0.0, off)
            with np.errstate(invalid="ignore"):
                boxes.append(Ranges(np.where(still, base, base + down - off), np.where(still, base, base + up + off)))
        return boxes

    def _outer(self, part: _Part, a: int, b: int) -> Array:
        """(members × actions × actions) T_a T_bᵀ, both orders of two different Vars."""
        outer = part.rates[a][:, :, None] * part.rates[b][:, None, :]
        return np.asarray(outer if a == b else outer + outer.transpose(0, 2, 1))

    def _sums(self, part: _Part, factors: Array) -> sparse.csr_array:
        """(pieces · rows × members) which member counts where."""
        place = part.pieces * self.height + part.rows
        entries = (factors, (place, np.arange(len(place))))
        return sparse.csr_array(entries, shape=(len(self.owner) * self.height, len(place)))

    def _objectives(self, part: _Part, factors: Array) -> sparse.csr_array:
        """The same of objectives alone, (pieces × members)."""
        members = np.flatnonzero(part.rows == 0)  # the others' entries may be infinite
        entries = (factors[members], (part.pieces[members], members))
        return sparse.csr_array(entries, shape=(len(self.owner), len(part.pieces)))


def _wide(numbers: Any, more: int) -> Any:
    """A number a member, to be multiplied by vectors or matrices of each."""
    return numbers if np.ndim(numbers) == 0 else np.reshape(numbers, (-1,) + (1,) * more)


def _zero(rates: Array, ends: Array) -> Array:
    """rates · ends, where 0 · ∞ is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(rates == 0.0, 0.0, rates * ends)
