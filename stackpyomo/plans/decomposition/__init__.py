"""Decomposition: large team optima in bundles of followers, with a bound.

In: a game and a :class:`Hedging`. Out: a plan. Law: every rank sees the same numbers.
"""

from .hedging import Hedging

__all__ = ["Hedging"]
