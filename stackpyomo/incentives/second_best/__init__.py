"""Second-best rules: plan and gain chosen together, where no incentive holds the leader-optimal plan.

In: a game and what the leader observes. Out: an :class:`Incentive` with its standing between leader-optimal and best
constants. Law: never worse than the best constants, and verified by re-solves or not called so.
"""

from .rule import optimal_rule

__all__ = ["optimal_rule"]
