"""stackpyomo: incentive design in Stackelberg games, on Pyomo.

    game → plan → incentive → report

Write the leader and the followers as ordinary Pyomo models; get back the plan the leader would like, the affine
incentive that makes the followers want it, and a proof that they do.
"""

from . import plots
from .comparisons import Comparison, compare
from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes
from .conditional import conditional_regret
from .contracts import Incentive
from .errors import (
    GameFileError,
    InvalidGame,
    NoIncentive,
    NonconvexFollower,
    NoPlan,
    SolverNotAvailable,
    StackpyomoError,
)
from .games import Game, read_game
from .hedging import Hedging
from .incentives import affine_incentive
from .inducibility import inducible
from .plan import Plan
from .plans import leader_optimal, nash, pessimistic, stackelberg
from .poles import poles
from .randomization import RandomGain, RandomTarget, randomized_gain, randomized_target
from .results import Finding
from .scaling import scaling
from .scenarios import Scenarios
from .signals import causal
from .simulation import anticipated_regret, settled, simulate
from .stores import read_study
from .structure import Follower, Population
from .studies import study
from .tolerances import TOLERANCES, Tolerances
from .transformation import KKT
from .verdicts import Report
from .verification import verify

__version__ = "0.1.0"

__all__ = [
    "KKT",
    "SOS1",
    "TOLERANCES",
    "BigM",
    "Comparison",
    "Finding",
    "FischerBurmeister",
    "Follower",
    "Game",
    "GameFileError",
    "Hedging",
    "Incentive",
    "InvalidGame",
    "NoIncentive",
    "NoPlan",
    "NonconvexFollower",
    "Penalty",
    "Plan",
    "Population",
    "RandomGain",
    "RandomTarget",
    "Report",
    "Scenarios",
    "Scholtes",
    "SolverNotAvailable",
    "StackpyomoError",
    "Tolerances",
    "affine_incentive",
    "anticipated_regret",
    "causal",
    "compare",
    "conditional_regret",
    "inducible",
    "leader_optimal",
    "nash",
    "pessimistic",
    "plots",
    "poles",
    "randomized_gain",
    "randomized_target",
    "read_game",
    "read_study",
    "scaling",
    "settled",
    "simulate",
    "stackelberg",
    "study",
    "verify",
]
