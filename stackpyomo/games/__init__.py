"""Games: a leader's Pyomo model, the Blocks in it that are selfish followers, and what is wrong with them.

In: the user's model or a file. Out: :class:`Game`, findings, populations written out or collapsed. Law: the user's
model is never changed.
"""

from .checks import doubtful_indices, require
from .couplings import Member, Movers, Price, SharedRow, moved_along
from .evaluation import evaluated_at, evaluator, objective_at
from .findings import Finding
from .formula_families import Formulas, formulas
from .game import Game, parse_game, read_game, require_game
from .players import Follower, Player, Population, foreign
from .populations import exchangeable, rewritten, twin_of
from .selection import component_pairs, leader_variables, members
from .stamp import changes, stamp
from .structure import UNNAMED, GameStructure, action_bounds, action_names, are_continuous, indexed

__all__ = [
    "UNNAMED",
    "Finding",
    "Follower",
    "Formulas",
    "Game",
    "GameStructure",
    "Member",
    "Movers",
    "Player",
    "Population",
    "Price",
    "SharedRow",
    "action_bounds",
    "action_names",
    "are_continuous",
    "changes",
    "component_pairs",
    "doubtful_indices",
    "evaluated_at",
    "evaluator",
    "exchangeable",
    "foreign",
    "formulas",
    "indexed",
    "leader_variables",
    "members",
    "moved_along",
    "objective_at",
    "parse_game",
    "read_game",
    "require",
    "require_game",
    "rewritten",
    "stamp",
    "twin_of",
]
