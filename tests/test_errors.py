"""Errors: each comes out of another process as it went in."""

from __future__ import annotations

import copy
import pickle

import pandas as pd
import pytest

import stackpyomo as sp

ERRORS = [
    sp.InvalidGame("f.cost: no"),
    sp.GameFileError("no", path="game.json", line=3, column=7),
    sp.NonconvexFollower("f: no", follower="f"),
    sp.NoPlan("unbounded", termination="unbounded"),
    sp.NoIncentive(
        "no",
        reasons={"f": "curvature"},
        residuals={"f": 2.0},
        causes={"f": sp.RefusalCause.CURVATURE},
        deviations=pd.DataFrame({"weight": [1.0]}),
    ),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.deepcopy], ids=["pickle", "deep"]
)
def test_an_error_is_copied_whole(error: Exception, copied) -> None:
    again = copied(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert {k: str(v) for k, v in vars(again).items()} == {k: str(v) for k, v in vars(error).items()}
