"""stackpyomo: incentive design in Stackelberg games, on Pyomo.

    game → plan → incentive → report

Write the leader and the followers as ordinary Pyomo models; get back the plan the leader would like, the affine
incentive that makes the followers want it, and a proof that they do.
"""

from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes
from .conditional import conditional_regret
from .contracts import Incentive
from .errors import (
    GameFileError,
    InvalidGame,
    NoIncentive,
    NoPlan,
    SolverNotAvailable,
    StackpyomoError,
)
from .gamefiles import read_game
from .games import Follower, Game, Population
from .incentives import affine_incentive
from .inducibility import inducible
from .plans import leader_optimal, nash, pessimistic, stackelberg
from .poles import poles
from .results import Finding, Plan, Report
from .scenarios import Scenarios
from .signals import causal
from .tolerances import TOLERANCES, Tolerances
from .transformation import KKT
from .verification import verify

__version__ = "0.1.0"

__all__ = [
    "KKT",
    "SOS1",
    "TOLERANCES",
    "BigM",
    "Finding",
    "FischerBurmeister",
    "Follower",
    "Game",
    "GameFileError",
    "Incentive",
    "InvalidGame",
    "NoIncentive",
    "NoPlan",
    "Penalty",
    "Plan",
    "Population",
    "Report",
    "Scenarios",
    "Scholtes",
    "SolverNotAvailable",
    "StackpyomoError",
    "Tolerances",
    "affine_incentive",
    "causal",
    "conditional_regret",
    "inducible",
    "leader_optimal",
    "nash",
    "pessimistic",
    "poles",
    "read_game",
    "stackelberg",
    "verify",
]
