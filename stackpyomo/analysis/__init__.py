"""Analysis: questions about a game or a rule that neither design nor verification asks.

In: plans, incentives, and data of what was announced and done. Out: tables and fits. Law: nothing here changes a
verdict.
"""

from .estimate import Fit
from .finite_energy import poles
from .fit import fit
from .induced_equilibrium import anticipated_regret, settled
from .inducibility import inducible
from .menu import best_menu
from .randomization import RandomGain, RandomTarget, randomized_gain, randomized_target
from .scaling import scaling
from .simulation import simulate
from .worst import WorstCase, worst_case

__all__ = [
    "Fit",
    "RandomGain",
    "RandomTarget",
    "WorstCase",
    "anticipated_regret",
    "best_menu",
    "fit",
    "inducible",
    "poles",
    "randomized_gain",
    "randomized_target",
    "scaling",
    "settled",
    "simulate",
    "worst_case",
]
