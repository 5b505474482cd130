"""Reply rules: what a leader replies as an affine function of what the other leaders do, learned from replies.

    x_l = a + S x_others,   where it leaves the leader's own set the point of that set nearest to it

Where replies have affine pieces, one rule says what points could only creep up to. A rule need not be a best reply to
be a deviation: whatever a leader does within its own set bounds what it gains from below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stackpyomo.core import TOLERANCES, Array


@dataclass(frozen=True)
class ReplyRule:
    """An affine function of the others' variables, everything in natural units."""

    offset: Array
    slopes: Array  #: One row for each own variable, one column for each of the others'.

    def predicts(self, others: Array, own: Array) -> Array:
        """Which of these replies are the rule's."""
        misses = np.abs(others @ self.slopes.T + self.offset - own)
        return np.asarray((misses <= TOLERANCES.accuracy).all(axis=1))


def rule_of(others: Array, own: Array) -> ReplyRule | None:
    """The rule of the last reply: through those to the nearest plans, and through all others that lie on it.

    One reply more is asked for than an affine function has freedom. None: too few are known, they do not lie on one, or
    it is constant, which a point says as well.
    """
    count = others.shape[1] + 2
    nearest = np.argsort(np.abs(others - others[-1]).max(axis=1), kind="stable")[:count]
    rule = _through(others[nearest], own[nearest])
    if len(nearest) < count or rule is None or not rule.predicts(others[nearest], own[nearest]).all():
        return None
    alike = rule.predicts(others, own)
    rule = _through(others[alike], own[alike])
    return rule if rule is not None and np.abs(rule.slopes).max() > TOLERANCES.accuracy else None


def _through(others: Array, own: Array) -> ReplyRule | None:
    """The affine function of least squares; None where these replies leave it open."""
    middle = others.mean(axis=0)
    design = np.column_stack([np.ones(len(others)), others - middle])
    fit, _, rank, _ = np.linalg.lstsq(design, own, rcond=None)
    if rank < design.shape[1]:
        return None
    slopes = fit[1:].T
    return ReplyRule(fit[0] - slopes @ middle, slopes)
