"""Choices: rows of which one at least holds, written with a binary for each.

excess ≤ most (1 − z)   where something limits it,   else   excess ≤ s,  one of s ≥ 0 and z is 0;      Σ z ≥ 1
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyomo.environ as pyo


@dataclass
class Written:
    """Rows over the user's Vars and auxiliary ones, and pairs of Vars of which at most one is not 0."""

    rows: list[Any] = field(default_factory=list)
    sets: list[tuple[Any, Any]] = field(default_factory=list)

    def add(self, other: Written) -> None:
        """What the other has as well."""
        self.rows += other.rows
        self.sets += other.sets


class Choices:
    """The binaries and the rooms of such rows, on a model."""

    def __init__(self, model: Any) -> None:
        model.room = pyo.VarList(domain=pyo.NonNegativeReals)
        model.choice = pyo.VarList(domain=pyo.Binary)
        self._model = model

    def one_of(self, ways: Iterable[tuple[Sequence[Any], float]]) -> Written:
        """(excesses, the most that they can be, ∞: unknown) of each way; in one of them all are 0 or below."""
        written, chosen = Written(), []
        for excesses, most in ways:
            choice = self._model.choice.add()
            chosen.append(choice)
            room = most * (1 - choice)
            if not math.isfinite(most):
                room = self._model.room.add()
                written.sets.append((room, choice))
            written.rows += [excess <= room for excess in excesses]
        written.rows.append(sum(chosen) >= 1)
        return written
