"""Bilevel: followers who respond, written as optimality conditions and solved with their complementarity.

In: a game and who responds. Out: candidates for plans, each with its residuals and log. Law: signs are stated once, in
:mod:`stackpyomo.bilevel.conditions`.
"""

from .candidates import Candidate, Options, tell_objectives
from .choices import Choices, Written
from .common_multipliers import Common
from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes, Treatment, named
from .conditions import Conditions, along, conditions, derivatives, responding_followers, with_answers
from .copies import Table, add_rows, block_of, copied, substituted
from .equilibrium_surfaces import directions, is_surface, surface
from .implied_boxes import implied_boxes
from .listing import Face, Listing, face, pattern
from .mpcc import Answer, Equilibrium, Problem
from .nonconvexity import counterexample, is_proved_convex
from .polyhedra import Polyhedron
from .price_ranges import price_ranges
from .qualification import unqualified
from .search import PlanSearch
from .transformation import KKT
from .value_function import ValueFunction

__all__ = [
    "KKT",
    "SOS1",
    "Answer",
    "BigM",
    "Candidate",
    "Choices",
    "Common",
    "Conditions",
    "Equilibrium",
    "Face",
    "FischerBurmeister",
    "Listing",
    "Options",
    "Penalty",
    "PlanSearch",
    "Polyhedron",
    "Problem",
    "Scholtes",
    "Table",
    "Treatment",
    "ValueFunction",
    "Written",
    "add_rows",
    "along",
    "block_of",
    "conditions",
    "copied",
    "counterexample",
    "derivatives",
    "directions",
    "face",
    "implied_boxes",
    "is_proved_convex",
    "is_surface",
    "named",
    "pattern",
    "price_ranges",
    "responding_followers",
    "substituted",
    "surface",
    "tell_objectives",
    "unqualified",
    "with_answers",
]
