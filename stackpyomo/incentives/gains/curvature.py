"""Second order: gains under which no follower has a direction of negative curvature at the plan.

The first-order conditions leave a linear set of gains, K = K₀ + N t. Under K the composed Hessian of follower k is

    H_k(t) = T_k(t)ᵀ ∇²L_k T_k(t),   T_k affine in t,

and it has to be positive semidefinite on the directions its constraints leave open. Where the leader's variables enter
linearly (tariffs), H_k is affine in t: a semidefinite program decides. With full observation no program is needed:
with P the null space of b, S = PᵀH₀₀P, B = Pᵀ(H₀₁ + H₀₀Q) and C = H_k(0), the freedom K₀ + P W gives

    H_k = C + BᵀW + WᵀB + WᵀSW,

which :mod:`stackpyomo.incentives.gains.turning` bends up or proves impossible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import (
    ActiveSide,
    FollowerHessians,
    FollowerRows,
    by_follower,
    composed_hessian,
    composed_normals,
    composed_size,
    open_directions,
)
from stackpyomo.solvers import pounce

from .system import Component, System
from .turning import HALVINGS, Fault, Unrepaired, turned

_STEPS = 40  # Semidefinite programs solved for one group of followers before giving up.
_SHORT = 2  # The same where Hessians are affine: with a price on length, then with next to none.

# Directions that the constraints of a follower in one leave open: 30 take 15 s and 2 GB, 40 more than 8 (POUNCE 0.13).
_WIDEST = 30

#: How far from the least gain, in its own units, a second search begins: the best of so many random points.
_SIZES, _DRAWS = (1.0, 3.0, 10.0, 30.0), 100


@dataclass(frozen=True)
class NegativeCurvature:
    """A follower with a direction along which deviating pays to second order."""

    follower: int
    curvature: float  #: dᵀHd for the direction d of norm 1, in the user's units; negative.


@dataclass(frozen=True)
class Curved:
    """What the second-order conditions need to know of the design."""

    rows: FollowerRows
    hessians: FollowerHessians
    system: System
    moves: sparse.csr_array
    sides: Sequence[ActiveSide]
    held: dict[str, float]
    #: The least curvature asked for, in the user's units: H_k − wanted·I stands in for H_k throughout.
    wanted: float = 0.0

    @cached_property
    def _by_follower(self) -> dict[int, list[ActiveSide]]:
        return by_follower(self.sides)

    def asked(self, follower: int) -> Array:
        """wanted·I of one follower in the units of the rows."""
        reaches = self.rows.action_units[self.rows.own(follower)]
        return np.asarray(np.diag(self.wanted * reaches**2 / self.rows.units.costs[follower]))

    def hessian(self, follower: int, gain: Array) -> Array:
        """Composed Hessian at the plan, above what is asked for."""
        return composed_hessian(self.hessians.of(follower), self._response(gain, follower)) - self.asked(follower)

    def _response(self, gain: Array, follower: int) -> sparse.csc_array:
        return self._moved(gain)[:, self.rows.own(follower)]

    def _moved(self, gain: Array) -> sparse.csc_array:
        """(Vars × actions) what everybody's actions move under the gain."""
        return self.rows.responses_to(self.system.as_matrix(gain) @ self.moves)

    def dense_response(self, follower: int, gain: Array) -> Array:
        """T_k over the Vars the follower is curved in."""
        return np.asarray(self._response(gain, follower).tocsr()[self.hessians.of(follower).places].toarray())

    def margin(self, follower: int) -> float:
        """The least eigenvalue a repaired Hessian is given."""
        largest = np.abs(self.hessians.of(follower).matrix).max(initial=0.0)
        return float(TOLERANCES.margin * max(TOLERANCES.noise, largest))

    def all_hessians(self, followers: Sequence[int], gain: Array) -> Iterator[tuple[Array, float]]:
        """(composed Hessian, its largest entry before terms cancel) of many followers, the responses made once."""
        if self.hessians.are_private:
            numbers = np.asarray(followers, dtype=int)
            blocks = dict[int, tuple[Array, Array]]()
            for same, dense, size in self._blocks(numbers, gain):
                blocks.update(zip(numbers[same].tolist(), zip(dense, size, strict=True), strict=True))
            yield from ((dense, float(size.max(initial=0.0))) for dense, size in (blocks[k] for k in followers))
            return
        whole = self._moved(gain)
        for follower in followers:
            hessian, response = self.hessians.of(follower), whole[:, self.rows.own(follower)]
            yield composed_hessian(hessian, response), composed_size(hessian, response)

    def _blocks(self, followers: Array, gain: Array) -> Iterator[tuple[Array, Array, Array]]:
        """(places among these followers, their composed Hessians, the sums of sizes) for each number of actions."""
        whole = self.hessians.composed(self._moved(gain))
        starts, stops = (np.searchsorted(self.rows.owners, followers, side) for side in ("left", "right"))
        for width in np.unique(stops - starts):
            same = np.flatnonzero(stops - starts == width)
            at = starts[same][:, np.newaxis] + np.arange(width)
            pick = np.broadcast_to(at[:, :, np.newaxis], (len(same), width, width))
            other = np.broadcast_to(at[:, np.newaxis, :], (len(same), width, width))
            dense, size = (np.asarray(m[pick.ravel(), other.ravel()]).reshape(pick.shape) for m in whole)
            yield same, dense, size

    def suspects(self, followers: Array, gain: Array) -> Array:
        """Followers whose composed Hessian is not positive semidefinite, all from one evaluation."""
        negative = np.zeros(len(followers), dtype=bool)
        for same, dense, size in self._blocks(followers, gain):
            if dense.shape[1]:
                floor = -TOLERANCES.bent * size.max(axis=(1, 2))
                asked = np.array([self.asked(int(k)) for k in followers[same]]) if self.wanted else 0.0
                negative[same] = np.linalg.eigvalsh(dense - asked)[:, 0] < floor
        return followers[negative]

    def is_pinned_by_gain(self, follower: int) -> bool:
        """True if an active constraint of its holds leader variables: the open directions move with the gain."""
        return any(len(side.instruments) for side in self._by_follower.get(follower, ()))

    def cone(self, follower: int, gain: Array) -> tuple[Array, Array]:
        """(normals that pin directions, normals that limit them): rows over the follower's own actions."""
        mine, sides = self.rows.own(follower), self._by_follower.get(follower, ())
        if self.is_pinned_by_gain(follower):
            moved = (self.system.as_matrix(gain) @ self.moves).tocsr()[:, mine]
        else:
            moved = sparse.csr_array((self.system.shape[0], mine.stop - mine.start))
        return composed_normals(sides, self.held, mine, moved)

    def quadratic(self, follower: int, gain: Array, shown: Array) -> float:
        """The ρ with H + ρ Σ_s m_sᵀ m_s ⪰ the margin on the open directions (found by doubling); infinite if none is.

        shown: the rows m_s, d(signal)/d(own actions).
        """
        hessian, margin = self.hessian(follower, gain), self.margin(follower)
        free = open_directions(self.cone(follower, gain)[0])
        squares = shown.T @ shown
        rho = float(np.abs(hessian).max(initial=0.0)) or 1.0
        for _ in range(HALVINGS):
            if not free.shape[1] or np.linalg.eigvalsh(free.T @ (hessian + rho * squares) @ free)[0] >= margin:
                return rho
            rho *= 2.0
        return float("inf")


def negatively_curved(
    curved: Curved,
    followers: Sequence[int],
    gain: Array,
    quadratic: tuple[sparse.csc_array, sparse.csr_array] | None = None,
) -> list[NegativeCurvature]:
    """Those for whom some feasible direction has negative curvature: the plan is then not even a local best response.

    Less than what is wanted, if anything is.

    quadratic: (R, b); the quadratic term of the strategy adds Σ_s (b·R_s) m_sᵀ m_s.
    """
    bent = []
    for follower, (plain, size) in zip(followers, curved.all_hessians(followers, gain), strict=True):
        hessian = plain - curved.asked(follower)
        if quadratic is not None:
            moved = curved.moves.tocsc()[:, curved.rows.own(follower)].toarray()
            weights = (quadratic[1][[follower]] @ quadratic[0]).toarray().ravel()
            hessian = hessian + moved.T @ (weights[:, np.newaxis] * moved)
        worst, way = _worst(hessian, size, *curved.cone(follower, gain))
        if worst < 0.0:
            moved = curved.rows.action_units[curved.rows.own(follower)] * way
            bent.append(NegativeCurvature(follower, worst * float(curved.rows.units.costs[follower] / (moved @ moved))))
    return bent


def _worst(hessian: Array, size: float, pinned: Array, limiting: Array) -> tuple[float, Array]:
    """The most negative curvature along directions the constraints leave open, with its direction; 0 if none is."""
    floor = -TOLERANCES.bent * size
    worst = 0.0, np.zeros(len(hessian))
    if np.linalg.eigvalsh(hessian).min(initial=0.0) >= floor:  # nor then on any subspace, and null spaces are dear
        return worst
    within = [(pinned, False)] if len(limiting) else []  # where nothing limits, the two are one
    for normals, free in (*within, (np.vstack([pinned, limiting]), True)):
        basis = open_directions(normals)
        if not basis.shape[1]:
            continue
        values, vectors = np.linalg.eigh(basis.T @ hessian @ basis)
        for value, vector in zip(values, (basis @ vectors).T, strict=True):
            open_ways = free or any((limiting @ (way * vector) <= TOLERANCES.active).all() for way in (1.0, -1.0))
            if value < floor and open_ways and value < worst[0]:
                worst = float(value), vector
    return worst


def convexified(curved: Curved, gain: Array, bent: Sequence[NegativeCurvature]) -> tuple[Array, dict[int, Unrepaired]]:
    """(gains that bend every follower up where there is one, follower → why there is none)."""
    whole, failed = gain.copy(), dict[int, Unrepaired]()
    actions = np.flatnonzero(np.isin(curved.rows.owners, [b.follower for b in bent]))
    done: set[int] = set()
    for group in _groups(curved, actions):
        members = [b.follower for b in bent if b.follower in group.followers and b.follower not in done]
        if not members:
            continue
        done |= set(group.followers)
        bending = _convex(curved, whole, group)
        if isinstance(bending, Unrepaired):
            failed.update(dict.fromkeys(members, bending))
        else:
            whole = bending
    return whole, failed


@dataclass(frozen=True)
class _Group:
    """Followers whose gains share entries, all their equations and all their entries."""

    followers: tuple[int, ...]
    rows: Array
    columns: Array


def _groups(curved: Curved, actions: Array) -> Iterator[_Group]:
    """Groups that hold one of the actions: a follower joins all the components of its own actions."""
    (by_row, by_column), owners, count = curved.system.labels, curved.rows.owners, len(curved.rows.followers)
    size = count + 1 + int(max(by_row.max(initial=0), by_column.max(initial=0)))
    graph = sparse.csr_array((np.ones(len(owners)), (owners, count + by_row)), shape=(size, size))
    _, labels = csgraph.connected_components(graph, directed=False)
    for label in np.unique(labels[owners[actions]]):
        rows = np.flatnonzero(labels[owners] == label)
        followers = tuple(int(k) for k in np.unique(owners[rows]))
        yield _Group(followers, rows, np.flatnonzero(labels[count + by_column] == label))


def _basis(system: System, group: _Group) -> Array:
    """(free directions × entries of the group): what may be added to the gain, orthonormal in the energy's norm."""
    root = np.sqrt(system.weights)
    scaled = system.evened(Component(group.rows, group.columns)) / root[group.columns]
    return np.asarray(linalg.null_space(scaled, rcond=TOLERANCES.rank).T / root[group.columns])


def _convex(curved: Curved, gain: Array, group: _Group) -> Array | Unrepaired:
    bending = _closed_form(curved, gain, group) if len(group.followers) == 1 else None
    if bending is None:
        if max(open_directions(curved.cone(k, gain)[0]).shape[1] for k in group.followers) > _WIDEST:
            return Unrepaired(Fault.WIDE)
        basis = _basis(curved.system, group)
        if not len(basis):
            return Unrepaired(Fault.ONLY_GAIN)
        bending, margin = _Search(curved, gain, group, basis).ascend()
        if margin < 0.0:
            # Not "no gain bends": that would need the program's dual, and the program asks for more than the cone does.
            return Unrepaired(Fault.NOT_FOUND, missing=-margin)
    return bending if isinstance(bending, Unrepaired) else _nearest(curved, group, gain, bending)


def _closed_form(curved: Curved, gain: Array, group: _Group) -> Array | Unrepaired | None:
    """The construction of the theory, a proof that there is none, or None where it does not apply."""
    follower, system = group.followers[0], curved.system
    mine = curved.rows.own(follower)
    instruments, width = np.unique(system.leader[group.columns]), mine.stop - mine.start
    own = curved.moves[:, mine].tocoo()
    full = len(group.columns) == len(instruments) * width and own.nnz == width and (own.data == 1.0).all()
    pinned, limiting = curved.cone(follower, gain)
    if not full or len(limiting) or curved.is_pinned_by_gain(follower):
        return None
    reach = curved.rows.instrument_columns.tocsc()[:, instruments]
    hessian, free = curved.hessians.of(follower), open_directions(pinned)
    t, r = curved.dense_response(follower, gain) @ free, reach.tocsr()[hessian.places].toarray()
    first = group.columns[system.signal[group.columns] == own.row[own.col == 0][0]]
    b = system.matrix[[mine.start]].toarray()[0][first]
    away = np.asarray(linalg.null_space(b[np.newaxis, :]))
    if not away.shape[1]:
        return None
    p = r @ away
    size = float(np.abs(hessian.matrix).max(initial=0.0))
    composed = t.T @ hessian.matrix @ t - free.T @ curved.asked(follower) @ free
    turn = turned(composed, p.T @ hessian.matrix @ t, p.T @ hessian.matrix @ p, size)
    if turn is None or isinstance(turn, Unrepaired):
        return turn
    return _added(curved, gain, group, instruments, away @ turn @ free.T, own)


def _added(curved: Curved, gain: Array, group: _Group, instruments: Array, step: Array, own: Any) -> Array:
    """The gain with ``step`` (instruments × own actions) added to the follower's entries."""
    column_of = {int(s): int(j) for s, j in zip(own.row, own.col, strict=True)}
    place = {int(t): i for i, t in enumerate(instruments)}
    whole = gain.copy()
    for entry in group.columns:
        whole[entry] += step[place[int(curved.system.leader[entry])], column_of[int(curved.system.signal[entry])]]
    return whole


@dataclass(frozen=True)
class _Part:
    """One follower's composed Hessian along free directions t, on what its constraints leave open."""

    hessian: Array  #: ∇²L over the Vars the follower is curved in.
    base: Array  #: T at K₀.
    turns: Array  #: dT/dt.
    asked: Array
    margin: float

    def response(self, t: Array) -> Array:
        """T at K₀ + N t."""
        return np.asarray(self.base + np.tensordot(t, self.turns, 1))

    def shortfall(self, t: Array) -> float:
        """(λ_min − margin) / margin; ≥ −1 is enough, ≥ 0 with the margin."""
        response = self.response(t)
        least = np.linalg.eigvalsh(response.T @ self.hessian @ response - self.asked).min(initial=np.inf)
        return float((least - self.margin) / self.margin)

    @property
    def is_flat(self) -> bool:
        """True if the leader's variables, moved along the free directions, have no second derivatives."""
        moved = np.hstack([*self.turns, np.zeros((len(self.hessian), 1))])
        _, sizes, ways = np.linalg.svd(np.linalg.qr(moved.T, mode="r"))  # of a wide matrix's span: no more is asked
        reached = ways[: len(sizes)][sizes > TOLERANCES.noise * sizes.max(initial=0.0)].T  # too many pairs of turns
        bend = np.abs(reached.T @ self.hessian @ reached).max(initial=0.0)
        return bool(bend <= TOLERANCES.noise * max(1.0, float(np.abs(self.hessian).max(initial=0.0))))


class _Search:
    """max_t min_k λ_min(H_k(t)) by semidefinite programs in linearised Hessians (exact where these are affine)."""

    def __init__(self, curved: Curved, gain: Array, group: _Group, basis: Array) -> None:
        self.curved, self.gain, self.group, self.basis = curved, gain, group, basis
        turns = self._turns()
        self.parts = [self._part(follower, turns) for follower in group.followers]
        self.is_affine = all(part.is_flat for part in self.parts)

    def _turns(self) -> sparse.csr_array:
        """What each direction changes of the response, one below the other: (directions · Vars × actions)."""
        system, entries, count = self.curved.system, self.group.columns, len(self.basis)
        rows = (np.arange(count)[:, np.newaxis] * system.shape[0] + system.leader[entries]).ravel()
        places = rows, np.tile(system.signal[entries], count)
        gains = sparse.csr_array((self.basis.ravel(), places), shape=(count * system.shape[0], system.shape[1]))
        each = sparse.kron(sparse.eye_array(count), self.curved.rows.instrument_columns, format="csr")
        return sparse.csr_array(each @ (gains @ self.curved.moves))

    def _part(self, follower: int, turns: sparse.csr_array) -> _Part:
        curved, own = self.curved, self.curved.rows.own(follower)
        hessian, free = curved.hessians.of(follower), open_directions(curved.cone(follower, self.gain)[0])
        base = curved.dense_response(follower, self.gain) @ free
        count = len(self.basis)
        rows = (np.arange(count)[:, np.newaxis] * (turns.shape[0] // count) + hessian.places).ravel()
        steps = turns[rows][:, own].toarray().reshape(count, len(hessian.places), own.stop - own.start) @ free
        asked = np.asarray(free.T @ curved.asked(follower) @ free)
        return _Part(hessian.matrix, base, steps, asked, curved.margin(follower))

    def least(self, t: Array) -> float:
        """The worst follower's shortfall at K₀ + N t."""
        return min(part.shortfall(t) for part in self.parts)

    def ascend(self) -> tuple[Array, float]:
        """(gain, its least eigenvalue): the first from which no follower's Hessian bends down, else the best."""
        t, best = self._ascended(np.zeros(len(self.basis)))
        if best < -1.0 and not self.is_affine:  # Hessians quadratic in t: there may be a higher maximum elsewhere
            random = np.random.default_rng(0)
            afar = [size * self._unit() * random.standard_normal(len(t)) for size in _SIZES for _ in range(_DRAWS)]
            other, value = self._ascended(max(afar, key=self.least))
            t, best = (other, value) if value > best else (t, best)
        gain = self.gain.copy()
        gain[self.group.columns] += t @ self.basis
        return gain, (best + 1.0) * min(part.margin for part in self.parts) if best > -np.inf else -np.inf

    def _unit(self) -> float:
        return max(1.0, float(np.linalg.norm(self.gain[self.group.columns])))

    def _ascended(self, t: Array) -> tuple[Array, float]:
        """(t, its :meth:`least`) uphill from t."""
        best, radius = self.least(t), np.inf if self.is_affine else self._unit()
        for number in range(_SHORT if self.is_affine else _STEPS):
            step = self._step(t, radius, TOLERANCES.snap ** (1 + number if self.is_affine else 1))
            value = self.least(t + step) if step is not None else -np.inf
            if step is not None and value > best:
                t, best, radius = t + step, value, 2.0 * radius
            else:
                radius /= 4.0
            # At −1 nobody bends down: of affine Hessians the price on length has hidden nothing.
            if best >= 0.0 or radius <= TOLERANCES.snap * self._unit() or (self.is_affine and best >= -1.0):
                break
        return t, best

    def _step(self, t: Array, radius: float, price: float) -> Array | None:
        """One semidefinite program: max σ − price ‖t/unit‖², linearised Hessians ⪰ (1 + σ) margin, σ ≤ 0."""
        size = len(t)
        cones: list[tuple[str, int]] = [("nonneg", 1)]
        g, h = [np.concatenate([np.zeros(size), [1.0]])[np.newaxis, :]], [np.zeros(1)]
        if np.isfinite(radius):
            box = np.hstack([np.vstack([np.eye(size), -np.eye(size)]), np.zeros((2 * size, 1))])
            g, h, cones = [*g, box], [*h, np.full(2 * size, radius)], [("nonneg", 1 + 2 * size)]
        for part in self.parts:
            if not part.base.shape[1]:
                continue
            response = part.response(t)
            composed = (response.T @ part.hessian @ response - part.asked) / part.margin
            sides = [response.T @ part.hessian @ turn / part.margin for turn in part.turns]
            slopes = [side + side.T for side in sides]
            g.append(np.column_stack([*(-_svec(s) for s in slopes), _svec(np.eye(len(composed)))]))
            h.append(_svec(composed - np.eye(len(composed))))
            cones.append(("psd", len(composed)))
        matrix, basis = np.vstack(g), np.eye(size)
        if len(matrix) < size:  # the least norm lies in the space of the rows
            basis = np.linalg.qr(matrix[:, :-1].T)[0]
            matrix = np.column_stack([matrix[:, :-1] @ basis, matrix[:, -1]])
        count = basis.shape[1]
        weight = sparse.diags_array([*np.full(count, price / self._unit() ** 2), 0.0])
        cost = np.concatenate([np.zeros(count), [-1.0]])
        limits = {"G": matrix, "h": np.concatenate(h)}
        result = pounce.solve_socp(P=weight, c=cost, **limits, cones=cones, check_psd=False)  # it is a square
        x = np.asarray(result.x, dtype=float)
        return basis @ x[:-1] if x.size == count + 1 and np.isfinite(x).all() else None


def _nearest(curved: Curved, group: _Group, gain: Array, bending: Array) -> Array:
    """On the way from the least-energy gain to one that bends, the first that does (halving)."""
    step = bending - gain
    way = _Search(curved, gain, group, step[np.newaxis, group.columns])
    low, high, floor = 0.0, 1.0, min(0.0, way.least(np.ones(1)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if way.least(np.array([middle])) >= floor else (middle, high)
    return gain + high * step


def _svec(matrix: Array) -> Array:
    """Lower triangle, column by column, off-diagonals times √2: ⟨X, Y⟩ = svec(X)·svec(Y)."""
    rows, columns = np.triu_indices(len(matrix))  # (row, column) of the upper one row by row: the lower by columns
    return np.asarray(np.where(rows == columns, 1.0, np.sqrt(2.0)) * matrix[rows, columns])
