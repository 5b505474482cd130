"""Derivatives of all followers' problems at one point, from one evaluation.

In: a game and values. Out: gradients, second derivatives, active constraints, reactions. Law: no work that grows as the
square of the number of followers.
"""

from .active_constraints import ActiveSide, active_sides, by_follower, composed_normals, open_directions, row_entries
from .first_order import Derivatives, FollowerRows
from .second_order import FollowerHessians, composed_hessian, composed_size, is_jointly_convex

__all__ = [
    "ActiveSide",
    "Derivatives",
    "FollowerHessians",
    "FollowerRows",
    "active_sides",
    "by_follower",
    "composed_hessian",
    "composed_normals",
    "composed_size",
    "is_jointly_convex",
    "open_directions",
    "row_entries",
]
