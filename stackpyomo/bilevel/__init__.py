"""Bilevel: followers who respond, written as optimality conditions and solved with their complementarity.

In: a game and who responds. Out: candidates for plans, each with its residuals and log. Law: signs are stated once, in
:mod:`stackpyomo.bilevel.conditions`.
"""

from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes, Treatment, interval, named
from .conditions import Conditions, derivatives, responding_followers, with_answers
from .mpcc import Problem
from .nonconvexity import counterexample
from .qualification import unqualified
from .search import Candidate, Ladder
from .transformation import KKT

__all__ = [
    "KKT",
    "SOS1",
    "BigM",
    "Candidate",
    "Conditions",
    "FischerBurmeister",
    "Ladder",
    "Penalty",
    "Problem",
    "Scholtes",
    "Treatment",
    "counterexample",
    "derivatives",
    "interval",
    "named",
    "responding_followers",
    "unqualified",
    "with_answers",
]
