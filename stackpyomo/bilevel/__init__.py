"""Bilevel: followers who respond, written as optimality conditions and solved with their complementarity.

In: a game and who responds. Out: candidates for plans, each with its residuals and log. Law: signs are stated once, in
:mod:`stackpyomo.bilevel.conditions`.
"""

from .common_multipliers import Common
from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes, Treatment, interval, named
from .conditions import Conditions, conditions, derivatives, responding_followers, with_answers
from .equilibrium_surfaces import directions, surface
from .implied_boxes import implied_boxes
from .listing import Listing, extent, pattern
from .mpcc import Equilibrium, Problem
from .nonconvexity import counterexample
from .price_ranges import price_ranges
from .qualification import unqualified
from .search import Candidate, PlanSearch
from .transformation import KKT
from .value_function import ValueFunction
from .warm_start import WarmSearch

__all__ = [
    "KKT",
    "SOS1",
    "BigM",
    "Candidate",
    "Common",
    "Conditions",
    "Equilibrium",
    "FischerBurmeister",
    "Listing",
    "Penalty",
    "PlanSearch",
    "Problem",
    "Scholtes",
    "Treatment",
    "ValueFunction",
    "WarmSearch",
    "conditions",
    "counterexample",
    "derivatives",
    "directions",
    "extent",
    "implied_boxes",
    "interval",
    "named",
    "pattern",
    "price_ranges",
    "responding_followers",
    "surface",
    "unqualified",
    "with_answers",
]
