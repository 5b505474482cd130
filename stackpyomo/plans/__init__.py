"""Plans: the point the leader would like best, and who cooperates or responds in it.

In: a game. Out: a :class:`Plan`, or the reason why there is none. Law: nothing is called optimal without a bound.
"""

from .plan import Plan, rows_of
from .solve import leader_optimal, nash, pessimistic, stackelberg

__all__ = ["Plan", "leader_optimal", "nash", "pessimistic", "rows_of", "stackelberg"]
