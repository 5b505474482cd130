"""The list of deviations: each once, none that is the plan."""

from __future__ import annotations

from stackpyomo.deviations import Deviation, Deviations


def test_what_is_next_to_the_plan_is_no_deviation() -> None:
    """A false certificate came of a step of 2e-16, divided by its size."""
    rows = Deviations({"v": 2.0}, {"v": 1.0, "w": 0.0})
    assert not rows.add(Deviation("f", {"v": 1.0 + 2e-16, "w": 0.0}))
    assert not rows.add(Deviation("f", {"v": 1.0 + 1.9e-6, "w": 0.0}))
    assert rows.add(Deviation("f", {"v": 1.0 + 2.1e-6, "w": 0.0}))
    assert len(rows) == 1


def test_each_deviation_once() -> None:
    rows = Deviations({})
    assert rows.add(Deviation("f", {"v": 1.0}, 0.5))
    assert not rows.add(Deviation("f", {"v": 1.0 + 1e-9}, 0.7))
    assert rows.add(Deviation("g", {"v": 1.0}))
    assert [d.follower for d in rows] == ["f", "g"]
    assert [d.temptation for d in rows.of("f")] == [0.5]
    assert rows.of("nobody") == []
