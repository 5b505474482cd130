"""The game that comes along is the model of the gallery, and its rule is known by hand."""

from __future__ import annotations

import pytest

import stackpyomo as sp
from models import two_roads as model
from stackpyomo.cli.example import STORY, two_roads
from stackpyomo.games.files import document


def test_the_demo_is_the_model() -> None:
    assert document(two_roads()) == document(model.build())


def test_its_toll_is_known_by_hand() -> None:
    """2 (0.6 − 1) + Q · 0.6 = 0."""
    rule = sp.affine_incentive(sp.leader_optimal(two_roads()))
    assert rule.gain.to_numpy().item() == pytest.approx(4 / 3, abs=1e-6)
    assert all(len(line) <= 120 for line in STORY.splitlines())
