"""Deviations: "follower k does not gain by playing v" is a row, and what is made of such rows.

In: a master that knows some rows, and followers re-solved by verification. Out: a candidate that no follower would
leave, or the rows that exclude every candidate. Law: a master with some of the rows is a relaxation, so that its bound
is a bound and its emptiness a proof; only a re-solve says that a row is met.
"""

from .least_distance import Answer, nearest
from .loop import Master, Outcome, Round, Stop, generate
from .replies import Reply, best_replies, better_replies, sharper_replies
from .rows import Deviation, Deviations, LeaderBound

__all__ = [
    "Answer",
    "Deviation",
    "Deviations",
    "LeaderBound",
    "Master",
    "Outcome",
    "Reply",
    "Round",
    "Stop",
    "best_replies",
    "better_replies",
    "generate",
    "nearest",
    "sharper_replies",
]
