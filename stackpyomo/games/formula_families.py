"""Formulas: the followers' objectives and the bodies of their rows, read once into families for all who ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from stackpyomo.core import Array, matches
from stackpyomo.families import Family, gathered

from .structure import GameStructure, kept


@dataclass(frozen=True)
class Formulas:
    """Families of expressions; columns are places in ``game.variables_by_name``.

    Row k is the objective of follower k, in the sense its user wrote; a row that several followers feel is there once.
    """

    families: list[Family]
    unread: dict[int, str]  #: row → why it is in no family.
    number: dict[int, int]  #: id(constraint) → its row.

    def placed(self, rows: Array) -> list[tuple[Family, Array]]:
        """(members, where in ``rows`` each is asked for) of every family: as often as these name its row."""
        order = np.argsort(rows, kind="stable")
        parts = []
        for family in self.families:
            members, place = matches(rows[order], family.rows)
            if len(members):
                parts.append((family.only(members), order[place]))
        return parts


def formulas(game: GameStructure) -> Formulas:
    """What the followers' expressions say, worked out once for equal stamps."""
    return kept(game, "formulas", lambda: _read(game))


def _read(game: GameStructure) -> Formulas:
    followers = game.followers.values()
    objectives: Sequence[Any] = [f.objective.expr for f in followers if f.objective is not None]
    rows = {id(c): c for c in chain.from_iterable(f.constraints for f in followers)}
    expressions = [*objectives, *(c.body for c in rows.values())]
    column = {id(v): number for number, v in enumerate(game.variables_by_name.values())}
    families, unread = gathered(((row, e, 1.0) for row, e in enumerate(expressions)), column)
    return Formulas(families, unread, dict(zip(rows, range(len(objectives), len(expressions)), strict=True)))
