"""Selection: which of several equilibria a plan is, by which weights, and how many there are beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

from stackpyomo.bilevel import Common, Options
from stackpyomo.core import listed
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, component_pairs

KINDS = ("auto", "any", "variational", "best", "worst", "all")  #: What ``equilibrium=`` may be.


def wishing(
    game: Game,
    followers: Sequence[Follower],
    options: Options,
    kind: str,
    weights: Any,
    *,
    among: Sequence[str] = KINDS,
) -> Options:
    """The options with the equilibrium asked for: "auto" is "variational" where rows are shared, "any" elsewhere.

    Weights make the equilibrium a normalised one, also the best, the worst, or all of them.
    """
    if kind not in among:
        raise InvalidGame(f"equilibrium={kind!r}: choose one of {', '.join(map(repr, among))}.")
    by_name = _weights(game, followers, weights)
    if kind == "any" and weights is not None:
        raise InvalidGame(
            "weights=: say which equilibrium shares its multipliers; equilibrium='any' has none to share."
        )
    if kind == "any" or (kind in ("best", "worst", "all") and weights is None):
        return replace(options, equilibrium=kind)
    rows = game.shared_rows([f.name for f in followers])
    if kind == "auto" and (not rows or any(f.integers for f in followers)):
        return options
    return replace(options, equilibrium="variational" if kind == "auto" else kind, common=Common(rows, by_name))


def _weights(game: Game, followers: Sequence[Follower], weights: Any) -> dict[str, float]:
    if weights is None:
        return {}
    names = {id(f.block): f.name for f in followers}
    by_name: dict[str, float] = {}
    for key, weight in component_pairs(weights, "weights", "weight"):
        name = key if isinstance(key, str) else names.get(id(key), getattr(key, "name", repr(key)))
        if name not in {f.name for f in followers}:
            known = listed([f.name for f in followers], 6)
            raise InvalidGame(f"weights: {name} is not a follower that responds in {game.name}; choose among {known}.")
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0.0 < float(weight) < math.inf:
            raise InvalidGame(
                f"weights: {name} has the weight {weight!r}; give a positive number (its multipliers are λ over it)."
            )
        by_name[name] = float(weight)
    return by_name


@dataclass
class Selection:
    """Which equilibrium a plan is among those of followers who feel rows together."""

    #: "variational": shown to be the one with common multipliers; "any": one of them; "best", "worst": by the leader's
    #: objective.
    kind: str
    #: follower → r: its multiplier of a shared row is λ/r; 1 for those who are not in it.
    weights: dict[str, float] = field(default_factory=dict)
    rows: tuple[str, ...] = ()  #: The rows that several followers feel.
    #: max F_r(u)·(u − z) over everybody's rows together, 0 if and only if it is variational; NaN: not looked at.
    gap: float = math.nan
    #: Of the set of equilibria near this one; None: not worked out, or this one may be an end of the set.
    dimension: int | None = None
    moving: tuple[str, ...] = ()  #: The actions that move along it.

    def sentences(self) -> list[str]:
        """What there is to know of it."""
        texts = []
        weighed = "" if not self.weights else " by weights"
        if self.kind == "variational":
            texts.append(f"variational{weighed}: one multiplier for all who feel {listed(self.rows, 3)}")
        elif math.isfinite(self.gap):
            texts.append(f"not shown to be variational{weighed} (gap {self.gap:.3g})")
        if self.dimension:
            which = f"; this is the one with equal multipliers{weighed}" if self.kind == "variational" else ""
            texts.append(
                f"the equilibria form a surface of dimension {self.dimension} near this one: along it "
                f"{listed(self.moving, 4)} move{'s' * (len(self.moving) == 1)}{which}"
            )
        return texts
