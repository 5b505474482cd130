"""Plans: the point the leader would like best, and who cooperates or responds in it.

In: a game. Out: a :class:`Plan`, or the reason why there is none. Law: nothing is called optimal without a bound.
"""

from stackpyomo.bilevel import Options

from .equilibria import Equilibria
from .plan import Plan, answered_plan, bounded, rows_of
from .problems import leading_problem
from .responding import respond
from .solve import leader_optimal, nash, pessimistic, read_options, stackelberg

__all__ = [
    "Equilibria",
    "Options",
    "Plan",
    "answered_plan",
    "bounded",
    "leader_optimal",
    "leading_problem",
    "nash",
    "pessimistic",
    "read_options",
    "respond",
    "rows_of",
    "stackelberg",
]
