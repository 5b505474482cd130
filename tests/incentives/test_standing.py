"""Where a second-best rule stands: as a table, as JSON, and read again."""

from __future__ import annotations

import json
import math

import pytest

from stackpyomo.incentives.standing import AtBound, Standing

KNOWN = Standing(
    1.0,
    2.5,
    4.0,
    curve=((0.0, 4.0), (1.5, 2.5)),
    at_bound=(AtBound("toll", "flow", 1.5, -0.25),),
    infimum=2.0,
    nearest=True,
    common=(("toll[1]", "toll[2]"),),
)


def test_three_regimes_in_one_table() -> None:
    table = KNOWN.as_series()
    assert table.to_dict() == {"leader-optimal": 1.0, "this rule": 2.5, "best constant": 4.0}
    assert table.name == "leader's objective"


@pytest.mark.parametrize("standing", [KNOWN, Standing(0.0, 0.0, 1.0, proved=True, free=True)])
def test_what_is_written_is_read_again(standing: Standing) -> None:
    text = json.dumps(standing.as_dict(), allow_nan=False)
    again = Standing.from_dict(json.loads(text))
    assert (again.curve, again.at_bound, again.common) == (standing.curve, standing.at_bound, standing.common)
    assert (again.proved, again.free, again.nearest) == (standing.proved, standing.free, standing.nearest)
    assert again.infimum == pytest.approx(standing.infimum, nan_ok=True)


def test_numbers_that_are_not_known_survive() -> None:
    """No equilibrium under constants, a slope that nobody computed, and files older than common rules."""
    unknown = Standing(0.0, 1.0, math.nan, at_bound=(AtBound("p", "u", 1.0, math.nan),))
    data = json.loads(json.dumps(unknown.as_dict(), allow_nan=False))
    del data["common"]
    again = Standing.from_dict(data)
    assert math.isnan(again.constant)
    assert math.isnan(again.at_bound[0].slope)
    assert again.common == ()
