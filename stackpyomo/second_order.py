"""Second order: gains under which no follower has a direction of negative curvature at the plan.

The first-order conditions leave a linear set of gains, K = K₀ + N t. Under K the composed Hessian of follower k is

    H_k(t) = T_k(t)ᵀ ∇²L_k T_k(t),   T_k affine in t,

and it has to be positive semidefinite on the directions its constraints leave open. Where the leader's variables enter
linearly (tariffs), H_k is affine in t: a semidefinite program decides. Otherwise, with full observation, with
P the null space of b and S = PᵀH₀₀P, C₂ = C − BᵀS⁻¹B: some gain makes H ≻ 0 iff C₂ has no more non-positive
eigenvalues than S has positive ones (the project's theory notes; tested on random games), and the proof builds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pounce
from scipy import linalg, sparse

from .curvatures import FollowerHessians, composed_hessian, composed_size
from .derivatives import FollowerRows
from .gains import Component, System
from .multipliers import ActiveSide
from .results import Array
from .tolerances import TOLERANCES

__all__ = ["Bent", "Curved", "bent_followers", "repaired"]

_STEPS = 40
"""Semidefinite programs solved for one group of followers before giving up."""
_SIZES, _DRAWS = (1.0, 3.0, 10.0, 30.0), 100
"""How far from the least gain, in its own units, a second search begins: the best of so many random points."""
_HALVINGS = 30


@dataclass(frozen=True)
class Bent:
    """A follower with a direction along which deviating pays to second order."""

    follower: int
    curvature: float
    """dᵀHd for the direction d of norm 1; negative."""


@dataclass(frozen=True)
class Curved:
    """What the second-order conditions need to know of the design."""

    rows: FollowerRows
    hessians: FollowerHessians
    system: System
    moves: sparse.csr_array
    sides: Sequence[ActiveSide]
    held: dict[str, float]

    def hessian(self, follower: int, gain: Array) -> Array:
        """Composed Hessian at the plan."""
        return composed_hessian(self.hessians.of(follower), self._response(gain, follower))

    def _response(self, gain: Array, follower: int) -> sparse.csc_array:
        return self._columns(self.rows.responses_to(self.system.as_matrix(gain) @ self.moves), follower)

    def _columns(self, matrix: sparse.csc_array, follower: int) -> sparse.csc_array:
        start, stop = np.searchsorted(self.rows.owners, [follower, follower + 1])
        return matrix[:, start:stop]

    def all_hessians(self, followers: Sequence[int], gain: Array) -> Iterator[tuple[Array, float]]:
        """(composed Hessian, its largest entry before terms cancel) of many followers, the responses made once."""
        whole = self.rows.responses_to(self.system.as_matrix(gain) @ self.moves)
        for follower in followers:
            hessian, response = self.hessians.of(follower), self._columns(whole, follower)
            yield composed_hessian(hessian, response), composed_size(hessian, response)

    def cone(self, follower: int, gain: Array) -> tuple[Array, Array]:
        """(normals that pin directions, normals that limit them): rows over the follower's own actions."""
        start, stop = np.searchsorted(self.rows.owners, [follower, follower + 1])
        moved = None
        pinned: list[Array] = []
        limiting: list[Array] = []
        for side in self.sides:
            if side.follower != follower:
                continue
            normal = np.zeros(stop - start)
            normal[side.columns - start] = side.normal
            if len(side.tools):
                if moved is None:
                    moved = (self.system.as_matrix(gain) @ self.moves).tocsr()[:, start:stop].toarray()
                normal += side.grip @ moved[side.tools]
            firm = side.equality or self.held.get(side.name, 0.0) > 0.0
            (pinned if firm else limiting).append(normal)
        width = stop - start
        return np.array(pinned).reshape(-1, width), np.array(limiting).reshape(-1, width)

    def bow(self, follower: int, gain: Array, shown: Array) -> float:
        """The ρ with H + ρ Σ_s m_sᵀ m_s ⪰ the margin on the open directions (found by doubling); infinite if none is.

        shown: the rows m_s, d(signal)/d(own actions).
        """
        hessian, margin = self.hessian(follower, gain), _margin(self.hessians.of(follower).matrix)
        free = _open(self.cone(follower, gain)[0])
        bowl = shown.T @ shown
        rho = max(1.0, float(np.abs(hessian).max(initial=0.0)))
        for _ in range(_HALVINGS):
            if not free.shape[1] or np.linalg.eigvalsh(free.T @ (hessian + rho * bowl) @ free)[0] >= margin:
                return rho
            rho *= 2.0
        return float("inf")


def bent_followers(
    curved: Curved,
    followers: Sequence[int],
    gain: Array,
    bow: tuple[sparse.csc_array, sparse.csr_array] | None = None,
) -> list[Bent]:
    """Those for whom some feasible direction has negative curvature: the plan is then not even a local best response.

    bow: (R, b), a quadratic term of the strategy adds Σ_s (b·R_s) m_sᵀ m_s.
    """
    found = []
    for follower, (plain, size) in zip(followers, curved.all_hessians(followers, gain), strict=True):
        hessian = plain
        if bow is not None:
            start, stop = np.searchsorted(curved.rows.owners, [follower, follower + 1])
            moved = curved.moves.tocsc()[:, start:stop].toarray()
            hessian = plain + moved.T @ ((bow[1][[follower]] @ bow[0]).toarray().ravel()[:, np.newaxis] * moved)
        worst = _worst(hessian, size, *curved.cone(follower, gain))
        if worst < 0.0:
            found.append(Bent(follower, worst))
    return found


def _worst(hessian: Array, size: float, pinned: Array, limiting: Array) -> float:
    """The most negative curvature seen along directions the constraints leave open; 0 if there is none."""
    floor = -TOLERANCES.bent * size
    worst = 0.0
    for basis, free in ((_open(pinned), not len(limiting)), (_open(np.vstack([pinned, limiting])), True)):
        if not basis.shape[1]:
            continue
        values, vectors = np.linalg.eigh(basis.T @ hessian @ basis)
        for value, vector in zip(values, (basis @ vectors).T, strict=True):
            open_ways = free or any((limiting @ (way * vector) <= TOLERANCES.active).all() for way in (1.0, -1.0))
            if value < floor and open_ways:
                worst = min(worst, float(value))
    return worst


def _open(normals: Array) -> Array:
    return np.asarray(linalg.null_space(normals)) if len(normals) else np.eye(normals.shape[1])


def repaired(curved: Curved, gain: Array, bent: Sequence[Bent]) -> tuple[Array, dict[int, str]]:
    """(gains that bend every follower up where that was found, follower → why none was)."""
    whole, failed = gain.copy(), dict[int, str]()
    root = np.sqrt(curved.system.weights)
    actions = np.flatnonzero(np.isin(curved.rows.owners, [b.follower for b in bent]))
    done: set[int] = set()
    for group in _groups(curved, actions):
        members = [b.follower for b in bent if b.follower in group.followers and b.follower not in done]
        if not members:
            continue
        done |= set(group.followers)
        basis = _basis(curved.system, group, root)
        found, why = _bend(curved, whole, group, basis)
        if found is None:
            failed.update(dict.fromkeys(members, why))
        else:
            whole = found
    return whole, failed


@dataclass(frozen=True)
class _Group:
    """Followers whose gains share entries, all their equations and all their entries."""

    followers: tuple[int, ...]
    rows: Array
    columns: Array


def _groups(curved: Curved, actions: Array) -> list[_Group]:
    """Groups that hold one of the actions: a follower joins all the components of its own actions."""
    by_row, by_column = curved.system.labels
    owners = curved.rows.owners
    groups = []
    left = set(actions.tolist())
    while left:
        followers, labels = {int(owners[left.pop()])}, set[int]()
        while True:
            rows = np.isin(owners, list(followers))
            labels = set(by_row[rows].tolist())
            wider = set(owners[np.isin(by_row, list(labels))].tolist())
            if wider <= followers:
                break
            followers |= wider
        found = np.flatnonzero(np.isin(owners, list(followers)))
        left -= set(found.tolist())
        columns = np.flatnonzero(np.isin(by_column, list(labels)))
        groups.append(_Group(tuple(sorted(followers)), found, columns))
    return groups


def _basis(system: System, group: _Group, root: Array) -> Array:
    """(free directions × entries of the group): what may be added to the gain, orthonormal in the energy's norm."""
    scaled = system.evened(Component(group.rows, group.columns)) / root[group.columns]
    return np.asarray(linalg.null_space(scaled, rcond=TOLERANCES.rank).T / root[group.columns])


def _bend(curved: Curved, gain: Array, group: _Group, basis: Array) -> tuple[Array | None, str]:
    if not len(basis):
        return None, "curvature: its gain is the only one, and along some deviation its composed cost bends down"
    closed = _closed_form(curved, gain, group) if len(group.followers) == 1 else None
    if isinstance(closed, str):
        return None, closed
    found = closed
    search = _Search(curved, gain, group, basis)
    if found is None:
        found, margin = search.climb()
        if margin < 0.0:
            proved = "no gain bends" if search.is_affine else "no gain was found that bends"
            return None, f"curvature: {proved} its composed cost up (least eigenvalue {margin:.3g} at best)"
    return search.nearest(found), ""


def _closed_form(curved: Curved, gain: Array, group: _Group) -> Array | str | None:
    """The construction of the theory, a proof that there is none, or None where it does not apply."""
    follower, system = group.followers[0], curved.system
    start, stop = np.searchsorted(curved.rows.owners, [follower, follower + 1])
    tools = np.unique(system.leader[group.columns])
    own = curved.moves[:, start:stop].tocoo()
    full = len(group.columns) == len(tools) * (stop - start) and own.nnz == stop - start and (own.data == 1.0).all()
    if not full or len(curved.cone(follower, gain)[0]) or len(curved.cone(follower, gain)[1]):
        return None
    by_tool = curved.rows.responses_to(sparse.csc_array(system.as_matrix(gain) @ curved.moves))[:, start:stop]
    reach = curved.rows.instrument_columns.tocsc()[:, tools]
    hessian = curved.hessians.of(follower)
    t, r = by_tool.tocsr()[hessian.places].toarray(), reach.tocsr()[hessian.places].toarray()
    b = system.matrix[[start]].toarray()[0][group.columns[system.signal[group.columns] == own.row[own.col == 0][0]]]
    p = linalg.null_space(b[np.newaxis, :])
    s = p.T @ r.T @ hessian.matrix @ r @ p
    values, vectors = np.linalg.eigh(s) if s.size else (np.zeros(0), s)
    if np.abs(values).min(initial=np.inf) <= TOLERANCES.bent * max(1.0, np.abs(values).max(initial=0.0)):
        return None
    cross, here = p.T @ r.T @ hessian.matrix @ t, t.T @ hessian.matrix @ t
    schur = here - cross.T @ np.linalg.solve(s, cross)
    bends, along = np.linalg.eigh(schur)
    margin = _margin(hessian.matrix)
    bad, rising = np.flatnonzero(bends < margin), np.flatnonzero(values > 0.0)
    flat = TOLERANCES.bent * max(1.0, float(np.abs(hessian.matrix).max(initial=0.0)))  # deviating changes nothing there
    impossible = int((bends < -flat).sum())
    if impossible > len(rising):
        return (
            f"curvature: no gain bends its composed cost up ({impossible} directions bend down whatever the gain, "
            f"{len(rising)} can be turned)"
        )
    w = -np.linalg.solve(s, cross)
    for i, j in zip(bad, rising[::-1], strict=False):  # the most negative first; what is left over is flat
        w += np.sqrt((2 * margin - bends[i]) / values[j]) * np.outer(vectors[:, j], along[:, i])
    return _added(curved, gain, group, tools, p @ w, own)


def _added(curved: Curved, gain: Array, group: _Group, tools: Array, step: Array, own: Any) -> Array:
    """The gain with ``step`` (tools × own actions) added to the follower's entries."""
    column_of = {int(s): int(j) for s, j in zip(own.row, own.col, strict=True)}
    place = {int(t): i for i, t in enumerate(tools)}
    found = gain.copy()
    for entry in group.columns:
        found[entry] += step[place[int(curved.system.leader[entry])], column_of[int(curved.system.signal[entry])]]
    return found


def _margin(hessian: Array) -> float:
    return float(TOLERANCES.margin * max(TOLERANCES.noise, np.abs(hessian).max(initial=0.0)))


class _Search:
    """max_t min_k λ_min(H_k(t)) by semidefinite programs in linearised Hessians (exact where these are affine)."""

    def __init__(self, curved: Curved, gain: Array, group: _Group, basis: Array) -> None:
        self.curved, self.gain, self.group, self.basis = curved, gain, group, basis
        self.margins = [_margin(curved.hessians.of(k).matrix) for k in group.followers]
        self.open = [_open(curved.cone(k, gain)[0]) for k in group.followers]
        start = curved.rows.responses_to(sparse.csc_array(curved.system.shape) @ curved.moves)
        self.turns = []
        for direction in basis:
            step = np.zeros(len(gain))
            step[group.columns] = direction
            self.turns.append(curved.rows.responses_to(curved.system.as_matrix(step) @ curved.moves) - start)
        self._parts = [self._follower(k) for k in group.followers]
        self.is_affine = all(_is_flat(hessian, turns) for hessian, _, turns in self._parts)

    def _follower(self, follower: int) -> tuple[Array, Array, Array]:
        """(∇²L, T at K₀, dT/dt) over the Vars the follower is curved in."""
        hessian = self.curved.hessians.of(follower)
        start, stop = np.searchsorted(self.curved.rows.owners, [follower, follower + 1])
        response = self.curved.rows.responses_to(self.curved.system.as_matrix(self.gain) @ self.curved.moves)
        base = response.tocsr()[hessian.places][:, start:stop].toarray()
        turns = [turn.tocsr()[hessian.places][:, start:stop].toarray() for turn in self.turns]
        return hessian.matrix, base, np.array(turns).reshape(len(turns), *base.shape)

    def least(self, t: Array) -> float:
        """min over followers of (λ_min(H_k) − margin) / margin at K₀ + N t; ≥ −1 means convex, ≥ 0 with the margin."""
        worst = np.inf
        for (hessian, base, turns), margin, free in zip(self._parts, self.margins, self.open, strict=True):
            if free.shape[1]:
                response = base + np.tensordot(t, turns, 1)
                value = np.linalg.eigvalsh(free.T @ response.T @ hessian @ response @ free)[0]
                worst = min(worst, (value - margin) / margin)
        return float(worst)

    def climb(self) -> tuple[Array, float]:
        """(gain, its least eigenvalue): the first from which no follower's Hessian bends down, else the best."""
        t, best = self._climbed(np.zeros(len(self.basis)))
        if best < -1.0 and not self.is_affine:  # Hessians quadratic in t: there may be a higher summit elsewhere
            random = np.random.default_rng(0)
            afar = [size * self._unit() * random.standard_normal(len(t)) for size in _SIZES for _ in range(_DRAWS)]
            other, value = self._climbed(max(afar, key=self.least))
            t, best = (other, value) if value > best else (t, best)
        found = self.gain.copy()
        found[self.group.columns] += t @ self.basis
        return found, (best + 1.0) * min(self.margins) if best > -np.inf else -np.inf

    def _unit(self) -> float:
        return max(1.0, float(np.linalg.norm(self.gain[self.group.columns])))

    def _climbed(self, t: Array) -> tuple[Array, float]:
        """(t, its :meth:`least`) uphill from t."""
        best, radius = self.least(t), np.inf if self.is_affine else self._unit()
        for _ in range(1 if self.is_affine else _STEPS):
            step = self._step(t, radius)
            value = self.least(t + step) if step is not None else -np.inf
            if step is not None and value > best:
                t, best, radius = t + step, value, 2.0 * radius
            else:
                radius /= 4.0
            if best >= 0.0 or radius <= TOLERANCES.snap * self._unit():
                break
        return t, best

    def _step(self, t: Array, radius: float) -> Array | None:
        """One semidefinite program: max σ − small ‖·‖², linearised Hessians ⪰ (1 + σ) margin, σ ≤ 0."""
        size = len(t)
        cones: list[tuple[str, int]] = [("nonneg", 1)]
        g, h = [np.concatenate([np.zeros(size), [1.0]])[np.newaxis, :]], [np.zeros(1)]
        if np.isfinite(radius):
            box = np.hstack([np.vstack([np.eye(size), -np.eye(size)]), np.zeros((2 * size, 1))])
            g, h, cones = [*g, box], [*h, np.full(2 * size, radius)], [("nonneg", 1 + 2 * size)]
        for (hessian, base, turns), margin, free in zip(self._parts, self.margins, self.open, strict=True):
            if not free.shape[1]:
                continue
            response = (base + np.tensordot(t, turns, 1)) @ free
            here = response.T @ hessian @ response / margin
            sides = [response.T @ hessian @ (turn @ free) / margin for turn in turns]
            slopes = [side + side.T for side in sides]
            g.append(np.column_stack([*(-_svec(s) for s in slopes), _svec(np.eye(len(here)))]))
            h.append(_svec(here - np.eye(len(here))))
            cones.append(("psd", len(here)))
        weight = np.zeros((size + 1, size + 1))
        weight[:size, :size] = TOLERANCES.snap * np.eye(size)
        cost = np.concatenate([np.zeros(size), [-1.0]])
        result = pounce.solve_socp(P=weight, c=cost, G=np.vstack(g), h=np.concatenate(h), cones=cones)
        x = np.asarray(result.x, dtype=float)
        return x[:size] if x.size == size + 1 and np.isfinite(x).all() else None

    def nearest(self, found: Array) -> Array:
        """On the way from the least-energy gain to one that bends, the first that does (halving)."""
        low, high = 0.0, 1.0
        direction = found[self.group.columns] - self.gain[self.group.columns]
        t, *_ = np.linalg.lstsq(self.basis.T, direction, rcond=None)
        wanted = min(0.0, self.least(t))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            low, high = (low, middle) if self.least(middle * t) >= wanted else (middle, high)
        nearer = self.gain.copy()
        nearer[self.group.columns] += high * (t @ self.basis)
        return nearer


def _is_flat(hessian: Array, turns: Array) -> bool:
    """True if the leader's variables, moved along the free directions, have no second derivatives."""
    bent = np.abs(np.einsum("ipa,pq,jqb->ijab", turns, hessian, turns)).max(initial=0.0)
    return bool(bent <= TOLERANCES.noise * max(1.0, float(np.abs(hessian).max(initial=0.0))))


def _svec(matrix: Array) -> Array:
    """Lower triangle, column by column, off-diagonals times √2: ⟨X, Y⟩ = svec(X)·svec(Y)."""
    rows, columns = np.triu_indices(len(matrix))  # (row, column) of the upper one row by row: the lower by columns
    return np.asarray(np.where(rows == columns, 1.0, np.sqrt(2.0)) * matrix[rows, columns])
