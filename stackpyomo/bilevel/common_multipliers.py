"""Variational equilibria: one multiplier for a row that several followers feel.

Followers k = 1 … n have costs J_k convex in u_k and share convex rows g(u) ≤ 0. Among their generalised Nash equilibria

    u solves   max_{z ∈ X} F_r(u)·(u − z) = 0,    F_r = (r_k ∇_{u_k} J_k)_k,    X = everybody's rows together,

is the *variational* one (r = 1), or *normalised* with weights r_k > 0 (J. B. Rosen, Econometrica 33 (1965) 520–534;
F. Facchinei, A. Fischer, V. Piccialli, Oper. Res. Lett. 35 (2007) 159–164): the multipliers of a shared row are
λ_k = λ / r_k for all who feel it (GAMS's weight multiplies the multiplier, w = 1/r). It exists on a compact X, is
unique where F_r is strictly monotone, and is one of a continuum as a rule: every follower may have a multiplier of its
own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from stackpyomo.games import SharedRow


@dataclass(frozen=True)
class Common:
    """Rows whose multiplier is one for all who feel them, over each follower's weight."""

    rows: Sequence[SharedRow]
    weights: Mapping[str, float] = field(default_factory=dict)  #: Follower → r_k; 1 for those who are not in it.

    @cached_property
    def places(self) -> dict[tuple[str, int, str], tuple[int, float]]:
        """(follower, id(row), side) → (number of the shared row, what its multiplier is divided by in that row).

        A follower that has the row several times has its share of the multiplier in each.
        """
        times = Counter((number, member.follower) for number, row in enumerate(self.rows) for member in row.members)
        return {
            (member.follower, id(member.row), member.side): (
                number,
                self.weights.get(member.follower, 1.0) * member.factor * times[number, member.follower],
            )
            for number, row in enumerate(self.rows)
            for member in row.members
        }
