"""Noise: the scenario that every member of a population has of its own, independent of everybody else's.

    u_i = u[s_i],   P(s_i = s) = p_s,        average over infinitely many members:  Σ_s p_s u[s]

The block's Vars whose last index runs over the scenarios are what a member does in each of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from stackpyomo.core import TOLERANCES
from stackpyomo.errors import InvalidGame


@dataclass(frozen=True)
class Noise:
    """Scenarios of one member, their probabilities, and which Vars are what it does in which of them."""

    labels: tuple[Hashable, ...]
    probabilities: tuple[float, ...]
    #: Per scenario the names within the block of the Vars, where no index tells (a game file has none).
    members: tuple[frozenset[str], ...] = ()

    def places(self, block: Any, variables: Sequence[Any]) -> list[int | None]:
        """For each Var the number of the scenario in which a member sets it; None for what it sets in all of them."""
        if self.members:
            stated = {name: s for s, names in enumerate(self.members) for name in names}
            return [stated.get(v.getname(fully_qualified=True, relative_to=block)) for v in variables]
        place: dict[Hashable, int] = {label: s for s, label in enumerate(self.labels)}
        whole: dict[int, bool] = {}
        for component in (v.parent_component() for v in variables):
            if id(component) not in whole:
                whole[id(component)] = component.is_indexed() and {_last(key) for key in component} == place.keys()
        return [place[_last(v.index())] if whole[id(v.parent_component())] else None for v in variables]


def _last(key: Any) -> Any:
    return key[-1] if isinstance(key, tuple) else key


def noise_of(given: Any, owner: str) -> Noise | None:
    """``noise=`` of a Population, read: {scenario: probability}, or Scenarios. Raises :class:`InvalidGame`."""
    if given is None or isinstance(given, Noise):
        return given
    weights = getattr(given, "probability", None)
    pairs = list(enumerate(weights) if weights is not None else _pairs(given, owner))
    if any(isinstance(label, tuple) for label, _ in pairs):
        raise InvalidGame(f"{owner}: noise=: a scenario is a plain index, not a tuple; number them.")
    if len({label for label, _ in pairs}) < len(pairs):
        raise InvalidGame(f"{owner}: noise=: a scenario is given twice.")
    numbers = [float(p) if isinstance(p, Real) else math.nan for _, p in pairs]
    if not numbers or not all(p > 0.0 for p in numbers) or not abs(math.fsum(numbers) - 1.0) <= TOLERANCES.noise:
        raise InvalidGame(f"{owner}: noise=: expected a probability above 0 for each scenario, together 1.")
    return Noise(tuple(label for label, _ in pairs), tuple(numbers))


def _pairs(given: Any, owner: str) -> Iterator[tuple[Hashable, Any]]:
    if not isinstance(given, Mapping) and not hasattr(given, "items"):
        raise InvalidGame(f"{owner}: noise={given!r}: expected {{scenario: probability}} or Scenarios.")
    yield from given.items()
