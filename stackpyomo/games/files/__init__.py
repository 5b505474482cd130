"""Game files: the JSON format ``stackpyomo-game/1``, read with places for errors and written.

In: text. Out: a :class:`stackpyomo.Game`. Law: nothing that a file says is executed.
"""

from .formulas import MEAN, Formula, Printer, show
from .places import Item
from .reader import read_entries, read_games
from .writer import document, identifiers

__all__ = ["MEAN", "Formula", "Item", "Printer", "document", "identifiers", "read_entries", "read_games", "show"]
