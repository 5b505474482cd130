"""Rules of leaders' replies, learned from replies."""

from __future__ import annotations

import numpy as np
import pytest

from stackpyomo.plans.reply_rules import rule_of


def test_a_rule_is_learned_from_one_reply_more_than_it_has_freedom() -> None:
    given = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.4, 0.3]])
    own = given @ np.array([[2.0, 0.0], [-1.0, 0.5]]) + [0.1, 0.7]
    rule = rule_of(given, own)
    assert rule is not None
    assert rule.slopes.ravel().tolist() == pytest.approx([2.0, -1.0, 0.0, 0.5])
    assert rule.offset.tolist() == pytest.approx([0.1, 0.7])
    assert rule_of(given[:3], own[:3]) is None  # nothing confirms it


def test_only_replies_of_the_last_ones_piece_count() -> None:
    """max(0, 1 − x): a piece that falls, one that is constant, and a kink between."""
    given = np.array([[0.1], [2.0], [0.5], [3.0], [0.7]])
    rule = rule_of(given, np.maximum(0.0, 1.0 - given))
    assert rule is not None
    assert rule.slopes.ravel().tolist() == pytest.approx([-1.0])
    flat = np.append(given, [[2.5]], axis=0)
    assert rule_of(flat, np.maximum(0.0, 1.0 - flat)) is None  # a point says as much
    bent = given[[0, 2, 4]]
    assert rule_of(bent, bent**2) is None


def test_the_same_plan_seen_again_tells_no_slope() -> None:
    assert rule_of(np.full((3, 1), 0.5), np.full((3, 1), 0.2)) is None
