"""The public names and where they live; :mod:`stackpyomo` imports each when it is first asked for."""

from .analysis import (
    Fit,
    RandomGain,
    RandomTarget,
    WorstCase,
    anticipated_regret,
    best_menu,
    fit,
    inducible,
    poles,
    randomized_gain,
    randomized_target,
    scaling,
    settled,
    simulate,
    worst_case,
)
from .bilevel import KKT, SOS1, BigM, FischerBurmeister, Penalty, Scholtes
from .core import TOLERANCES, Tolerances
from .errors import (
    GameFileError,
    InvalidGame,
    NoIncentive,
    NonconvexFollower,
    NoPlan,
    RefusalCause,
    SolverNotAvailable,
    StackpyomoError,
)
from .games import Finding, Follower, Game, Population, read_game
from .games.information import Scenarios, causal
from .incentives import Incentive, affine_incentive, optimal_rule
from .plans import Equilibria, Plan, leader_optimal, nash, pessimistic, stackelberg
from .plans.decomposition import Hedging
from .reporting import plots
from .studies import Comparison, compare, read_study, study
from .verification import Report, conditional_regret, verify
from .version import __version__ as __version__

__all__ = [
    "KKT",
    "SOS1",
    "TOLERANCES",
    "BigM",
    "Comparison",
    "Equilibria",
    "Finding",
    "FischerBurmeister",
    "Fit",
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
    "RefusalCause",
    "Report",
    "Scenarios",
    "Scholtes",
    "SolverNotAvailable",
    "StackpyomoError",
    "Tolerances",
    "WorstCase",
    "affine_incentive",
    "anticipated_regret",
    "best_menu",
    "causal",
    "compare",
    "conditional_regret",
    "fit",
    "inducible",
    "leader_optimal",
    "nash",
    "optimal_rule",
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
    "worst_case",
]
