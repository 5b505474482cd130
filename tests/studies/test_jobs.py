"""Jobs: what a task gave, or raised, as a row; tasks that differ have other fingerprints."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import toll_game
from helpers.study_tasks import squared, study

import stackpyomo as sp


def test_results_that_are_plans_and_series() -> None:
    table = study(lambda i: sp.stackelberg(toll_game()), {"i": [0]})
    assert table.loc[0, "leader_objective"] == pytest.approx(2 / 325, abs=1e-7)
    assert "result.seconds" in table, "beside the row's own"
    table = study(lambda i: pd.Series({"a": i, "i": 7}), {"i": [5]})
    assert (table.loc[0, "a"], table.loc[0, "i"], table.loc[0, "result.i"]) == (5, 5, 7)


def test_a_result_that_cannot_be_kept_is_the_error_of_its_row() -> None:
    table = study(lambda x: object() if x else 1, {"x": [0, 1]})
    assert table["error"].isna().tolist() == [True, False]
    assert "object cannot be kept as JSON" in table.loc[1, "error"]


def make_task(power: int) -> Callable[..., Any]:
    def task(x: int) -> int:
        return int(x**power)

    return task


@dataclasses.dataclass
class Powers:
    power: int

    def __call__(self, x: int) -> int:
        return int(x**self.power)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(squared, power=2), partial(squared, power=3)),
        (make_task(2), make_task(3)),
        (Powers(2), Powers(3)),
        (lambda x: x, lambda x: x + 1),
    ],
    ids=["partials", "closures", "objects", "lambdas"],
)
def test_tasks_that_differ_in_what_they_were_given(one: Any, other: Any, tmp_path: Path) -> None:
    study(one, {"x": [1, 2]}, store=tmp_path / "s.jsonl")
    study(one, {"x": [1, 2]}, store=tmp_path / "s.jsonl")
    with pytest.raises(sp.InvalidGame, match="the task is another one"):
        study(other, {"x": [1, 2]}, store=tmp_path / "s.jsonl")
