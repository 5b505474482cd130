"""Expressions: their variables, their curvature, and intervals of their second derivatives.

In: Pyomo expressions. Out: proofs of convexity, or none. Law: a proof holds on the whole box, or it is none.
"""

from .convexity import Curvature, curvature, is_convex_feasible_set, is_convex_problem, range_of
from .interval_hessian import is_convex_on_box
from .intervals import root_of
from .quadratics import Terms, at_levels, expression_of, sum_of, terms_of
from .sublevel import sublevel_box
from .terms import (
    UNREADABLE,
    affine_terms,
    apart,
    degree_of,
    elementary,
    interval,
    is_affine,
    is_quadratic,
    leaves,
    nodes_in,
    partials,
    roots,
    terms,
    tighten,
    variables_in,
)
from .values import UNDEFINED, Substitution, folded, number_of, numbers_of, size_of, sized, spelled, substituting

__all__ = [
    "UNDEFINED",
    "UNREADABLE",
    "Curvature",
    "Substitution",
    "Terms",
    "affine_terms",
    "apart",
    "at_levels",
    "curvature",
    "degree_of",
    "elementary",
    "expression_of",
    "folded",
    "interval",
    "is_affine",
    "is_convex_feasible_set",
    "is_convex_on_box",
    "is_convex_problem",
    "is_quadratic",
    "leaves",
    "nodes_in",
    "number_of",
    "numbers_of",
    "partials",
    "range_of",
    "root_of",
    "roots",
    "size_of",
    "sized",
    "spelled",
    "sublevel_box",
    "substituting",
    "sum_of",
    "terms",
    "terms_of",
    "tighten",
    "variables_in",
]
