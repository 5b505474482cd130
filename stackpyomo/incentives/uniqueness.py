"""Uniqueness: whether the followers can settle somewhere else than on the plan, all of them at a best response.

Each follower's composed cost may be strictly convex and the equilibrium still be one of many. With the pseudo-gradient

    F_k(u) = d/du_k J_k(u, u0(u), aggregates(u)),      S = ½ (F′ + F′ᵀ)

S ≻ 0 everywhere makes it unique on any product of convex sets (Rosen 1965); S ≻ 0 at the plan makes the plan isolated.
Followers without constraints whose costs are quadratic settle where one linear system, F(u) = 0, has its solutions. A
population of n falls into its sum (n members move together) and its differences (two members move apart).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, bounds_of, box_of, leaves, listed
from stackpyomo.core.expressions import Curvature, is_convex_feasible_set, is_quadratic
from stackpyomo.derivatives import FollowerHessians, FollowerRows
from stackpyomo.games import foreign
from stackpyomo.games.information import Equilibrium, Uniqueness

#: Actions up to which the pseudo-gradient's Jacobian is formed: it is dense where everybody meets in the leader.
_ACTIONS = 200


@dataclass(frozen=True)
class SharedLeader:
    """How followers meet under the announced strategy."""

    rows: FollowerRows
    hessians: FollowerHessians
    gain: sparse.csc_array  #: K, (leader variables × signals).
    moves: sparse.csr_array  #: M, (signals × actions).
    leader: sparse.csr_array  #: b, (followers × leader variables).
    bend: sparse.csc_array | None = None
    own: Array | None = None  #: (signals) True for a member's own action, which no other member moves.
    projected: bool = False  #: True if what is announced stops at the leader's bounds.
    values: Mapping[str, float] = field(default_factory=dict)  #: Name → level on the plan.

    @cached_property
    def loose(self) -> dict[str, bool]:
        """Leader variables that their formula takes beyond their bounds where all followers move, and that stop there.

        True: inside its bounds on the plan; False: at one. All members of a population move together.
        """
        rows, values, names = self.rows, self.values, self.rows.game.names
        members = sparse.diags_array(np.array(rows.game.action_sizes, dtype=float) / rows.action_units)
        rates = sparse.csr_array(sparse.diags_array(rows.instrument_units) @ self.gain @ self.moves @ members)
        plan = np.array([values[names[id(v)]] for v in rows.actions])
        low, high = (side - plan for side in box_of(rows.actions))
        loose = {}
        for number, var in enumerate(rows.instruments):
            line = rates[[number]].tocoo()
            ends = np.sort([line.data * low[line.col], line.data * high[line.col]], axis=0).sum(axis=1)
            level, room = values[names[id(var)]], TOLERANCES.active * float(rows.instrument_units[number])
            if any(leaves(float(level + ends[0]), float(level + ends[1]), var.lb, var.ub)):
                least, most = bounds_of(var)
                loose[names[id(var)]] = least + room < level < most - room
        return loose

    def jacobian(self) -> tuple[Array, list[Array], list[Array]]:
        """F′ between blocks, F′ within each population, and each member's own second derivatives.

        The first has each population moving together, in orthonormal coordinates; the second, for populations of two or
        more, one member against another.
        """
        rows = self.rows
        sizes = np.array(rows.game.action_sizes)
        own = rows.own_columns
        response = sparse.csr_array(rows.responses_to(self.gain @ self.moves))
        others = sparse.csr_array(response - own)
        seen = sparse.csr_array(others + own.multiply(1.0 / sizes[np.newaxis, :]))
        whole = np.zeros((len(sizes), len(sizes)))
        apart, alone = [], []
        for number in range(len(rows.followers)):
            mine = rows.own(number)
            if mine.start == mine.stop:
                continue
            hessian = self.hessians.of(number)
            at = hessian.places
            reached = response[at][:, mine].toarray()
            half = reached.T @ hessian.matrix
            quadratic, shared = self._quadratic(number, mine)
            block = half @ seen[at].toarray() + quadratic
            other = half @ others[at][:, mine].toarray() + shared
            self_ = half @ reached + quadratic[:, mine]
            alone.append(self_)
            size = float(sizes[mine.start])
            whole[mine] = block * np.sqrt(size * sizes)[np.newaxis, :]
            whole[mine, mine] = self_ + (size - 1.0) * other
            apart += [self_ - other] if size > 1 else []
        return whole, apart, alone

    def _quadratic(self, number: int, mine: slice) -> tuple[Array, Array]:
        """What the quadratic term of the strategy adds, Σ_s (b·R_s) m_s ⊗ m_s.

        Also what another member's move of the same block does of it: nothing by its own signals.
        """
        width = self.moves.shape[1]
        if self.bend is None:
            return np.zeros((mine.stop - mine.start, width)), np.zeros((mine.stop - mine.start,) * 2)
        pull = (self.leader[[number]] @ self.bend).toarray().ravel()
        moved = self.moves.toarray()
        shared = pull if self.own is None else np.where(self.own, 0.0, pull)
        mates = moved[:, mine]
        return np.asarray(mates.T @ (pull[:, np.newaxis] * moved)), np.asarray(
            mates.T @ (shared[:, np.newaxis] * mates)
        )


def equilibrium(shared: SharedLeader) -> Equilibrium:
    """Whether the plan is the followers' only equilibrium, as far as it can be shown, and why."""
    rows = shared.rows
    unchecked = _unchecked(shared)
    if unchecked:
        return Equilibrium(Uniqueness.NOT_CHECKED, unchecked)
    whole, apart, alone = shared.jacobian()
    names = [rows.game.names[id(v)] for v in rows.actions]
    least, along = _least(whole)
    for block in apart:
        least = min(least, _least(block)[0])
    room = TOLERANCES.bent * max(1.0, float(np.abs(whole).max(initial=0.0)))
    # Where every objective is quadratic in everything the Jacobian is the same everywhere.
    constant = is_quadratic(*(f.cost for f in rows.followers)) and shared.bend is None
    stopped = listed(list(shared.loose), 3)
    if least > room:
        size = _shown(rows, whole, least)
        if shared.loose:
            text = f"the pseudo-gradient is strongly monotone ({size}) as long as no bound stops {stopped}"
            return Equilibrium(Uniqueness.LOCALLY_UNIQUE, text)
        if constant and _are_private(rows):
            return Equilibrium(Uniqueness.UNIQUE, f"the pseudo-gradient is strongly monotone ({size}), everywhere")
        return Equilibrium(Uniqueness.LOCALLY_UNIQUE, f"the pseudo-gradient is strongly monotone at the plan ({size})")
    drift = _along(along, names)
    free = not rows.constraints and all(v.lb is None and v.ub is None for v in rows.actions)
    if not (constant and free):
        text = f"the pseudo-gradient is not strongly monotone along {drift} (eigenvalue {least:.3g})"
        return Equilibrium(Uniqueness.NOT_SHOWN, text)
    # Equilibria solve one linear system.
    smallest, null = min((_smallest(block) for block in (whole, *apart)), key=lambda pair: pair[0])
    if smallest > room and shared.loose:
        text = f"its conditions are one regular linear system as long as no bound stops {stopped}"
        return Equilibrium(Uniqueness.LOCALLY_UNIQUE, text)
    if smallest > room:
        text = f"its conditions are one regular linear system (least singular value {smallest:.3g})"
        return Equilibrium(Uniqueness.UNIQUE, text)
    drift = _along(null if len(null) == len(names) else np.zeros(0), names)
    if min((_least(block)[0] for block in alone), default=0.0) < -room:
        text = f"the followers can drift together along {drift}, but do not all minimise there"
        return Equilibrium(Uniqueness.NOT_SHOWN, text)
    return Equilibrium(Uniqueness.NOT_UNIQUE, f"the followers can drift together along {drift}, all at a best response")


def _unchecked(shared: SharedLeader) -> str:
    """Why nothing is looked at; empty if it is."""
    sizes = shared.rows.game.action_sizes
    if len(sizes) > _ACTIONS:
        return f"{len(sizes)} actions"
    if np.isinf(sizes).any():
        answered = abs(shared.gain @ shared.moves).sum(axis=0)[np.isinf(sizes)].any()
        limit = ", whose members the leader answers one by one: no strategy of finite energy is left"
        return "a population is infinite" + (limit if answered else "")
    if shared.projected:
        return "what is announced stops at the leader's bounds"
    beyond = f"the formula goes beyond bounds of {listed(list(shared.loose), 3)}, and the plan is at one"
    return "" if all(shared.loose.values()) else beyond


def _shown(rows: FollowerRows, whole: Array, least: float) -> str:
    """The least eigenvalue as the user's own units have it, where it is positive in these, too."""
    units, costs = np.asarray(rows.action_units), np.asarray(rows.units.costs)[rows.owners]
    own, natural = (_least(matrix)[0] for matrix in (whole * (costs / units)[:, np.newaxis] / units, whole))
    if not own > 0.0:
        return f"least eigenvalue {least:.3g} in natural units"
    return f"least eigenvalue {own * min(1.0, least / natural):.3g}"


def _least(matrix: Array) -> tuple[float, Array]:
    if not matrix.size:
        return np.inf, np.zeros(0)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return float(values[0]), np.asarray(vectors[:, 0])


def _smallest(matrix: Array) -> tuple[float, Array]:
    """(least singular value, its direction)."""
    _, values, right = np.linalg.svd(matrix)
    return (float(values[-1]), np.asarray(right[-1])) if values.size else (np.inf, np.zeros(0))


def _along(direction: Array, names: Sequence[str]) -> str:
    if not direction.size:
        return "the differences of a population's members"
    order = np.argsort(-np.abs(direction))[:3]
    top = direction[order[0]]
    return ", ".join(f"{direction[i] / top:.2g} {names[i]}" for i in order if abs(direction[i]) > TOLERANCES.snap)


def _are_private(rows: FollowerRows) -> bool:
    """True if every follower's feasible set is proved convex and nobody else, nor the leader, has a say in it."""
    convex = (is_convex_feasible_set(c).curvature is Curvature.CONVEX for f in rows.followers for c in f.constraints)
    return not any(foreign(f, *f.constraints) for f in rows.followers) and all(convex)
