"""Verification: every follower re-solved against what the leader announces.

In: a game and an announcement. Out: a :class:`Report` with regrets and their evidence. Law: knows core, solvers,
games and families alone, so that a wrong derivation cannot certify itself; what is read into arrays is witnessed.
"""

from . import checker
from .best_response import Composed, composed, oversteps, plane
from .conditional import conditional_regret
from .effort import EVIDENCE, PROVED, Effort
from .measures import measure
from .regret import best_responses, resolved, verify
from .report import Report, regret_shown
from .samples import Samples, row_ranges
from .variational import Gap, variational_gap
from .wanted import reaches_wanted

__all__ = [
    "EVIDENCE",
    "PROVED",
    "Composed",
    "Effort",
    "Gap",
    "Report",
    "Samples",
    "best_responses",
    "checker",
    "composed",
    "conditional_regret",
    "measure",
    "oversteps",
    "plane",
    "reaches_wanted",
    "regret_shown",
    "resolved",
    "row_ranges",
    "variational_gap",
    "verify",
]
