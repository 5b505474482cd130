"""Analysis: questions about a game or a rule that neither design nor verification asks.

In: plans and incentives. Out: tables. Law: nothing here changes a verdict.
"""

from .finite_energy import poles
from .induced_equilibrium import anticipated_regret, settled
from .inducibility import inducible
from .randomization import RandomGain, RandomTarget, randomized_gain, randomized_target
from .scaling import scaling
from .simulation import simulate

__all__ = [
    "RandomGain",
    "RandomTarget",
    "anticipated_regret",
    "inducible",
    "poles",
    "randomized_gain",
    "randomized_target",
    "scaling",
    "settled",
    "simulate",
]
