"""Information: who observes what, and what the leader announces in answer.

In: signals and scenarios. Out: shares of every follower in every signal, atoms, announcements. Law: plain data.
"""

from .announcement import Announcement, Equilibrium, Uniqueness, formula_steps
from .policies import Policy, policy_form
from .revelations import probability_of
from .scenarios import Scenarios
from .signals import Observation, Signal, answers, causal, counts, excursion, read_observation, shares, slopes_at

__all__ = [
    "Announcement",
    "Equilibrium",
    "Observation",
    "Policy",
    "Scenarios",
    "Signal",
    "Uniqueness",
    "answers",
    "causal",
    "counts",
    "excursion",
    "formula_steps",
    "policy_form",
    "probability_of",
    "read_observation",
    "shares",
    "slopes_at",
]
