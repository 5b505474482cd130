"""Incentives: the affine strategy that makes a plan every follower's best response.

In: a plan and what the leader observes. Out: an :class:`Incentive`, or :class:`stackpyomo.NoIncentive` that says who,
why and what is left. Law: a least-squares gain is never returned silently.
"""

from .design import affine_incentive
from .incentive import Incentive
from .second_best import optimal_rule
from .wording import in_words, stakes, terms

__all__ = ["Incentive", "affine_incentive", "in_words", "optimal_rule", "stakes", "terms"]
