"""Gains: the linear equations of a gain, and which of the valid gains is taken.

In: slopes of the followers' costs. Out: the entries of K, multipliers, offsets. Law: every repair is checked again.
"""

from .multipliers import given_multipliers

__all__ = ["given_multipliers"]
