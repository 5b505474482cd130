"""Studies: grids, options, seeds and results of every kind; one that was stopped goes on."""

from __future__ import annotations

import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.study_tasks import (
    GRID,
    POSIX,
    WAYS,
    curable,
    drawn,
    finished,
    lines,
    picky,
    same,
    squared,
    study,
    timeless,
    warm,
)

import stackpyomo as sp
from benchmarks.kills import storm


def test_a_grid_is_all_combinations() -> None:
    table = study(drawn, GRID)
    assert list(table.columns) == ["x", "y", "product", "draw", "root", "pair", "error", "seconds"]
    assert list(table["x"]) == [1, 1, 2, 2, 3, 3]
    assert list(table["y"]) == [0.1, 0.2] * 3
    assert list(table["product"]) == [x * y for x in (1, 2, 3) for y in (0.1, 0.2)]
    assert table.index.name == "row"
    assert table["error"].isna().all()
    assert (table["seconds"] >= 0).all()


def test_a_list_and_a_frame_are_their_rows() -> None:
    rows = [{"x": 3, "y": 0.5}, {"x": 1, "y": 0.25}]
    listed = study(drawn, rows)
    assert timeless(listed) == timeless(study(drawn, pd.DataFrame(rows)))
    assert list(listed["x"]) == [3, 1]


def test_a_single_value_is_one_value() -> None:
    assert list(study(lambda name, x: f"{name}{x}", {"name": "abc", "x": np.arange(2)})["result"]) == ["abc0", "abc1"]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "no rows"),
        ([], "no rows"),
        ({"x": []}, "no rows"),
        (pd.DataFrame(), "no rows"),
        (7, "grid=int: expected a dict"),
        ("abc", "grid=str"),
        ([1, 2], "grid=list"),
        ({"x": [object()]}, "grid: a object cannot be kept as JSON"),
        ({"x": [{1, 2}]}, "grid: a set"),
        ({"error": [1]}, "'error' is a column of the results"),
    ],
)
def test_grids_that_are_none(grid: Any, words: str) -> None:
    with pytest.raises(sp.InvalidGame, match=words):
        study(same, grid)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": True}, "workers=True"),
        ({"workers": 2.0}, "workers=2.0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"executor": "dask"}, "executor=str: expected one of concurrent.futures"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(sp.InvalidGame, match=words):
        study(same, {"x": [1]}, **options)


def test_an_executor_or_workers() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(sp.InvalidGame, match="not both"):
        study(same, {"x": [1]}, executor=executor, workers=2)
    with pytest.raises(sp.InvalidGame, match="task=3"):
        study(3, {"x": [1]})  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [None, 2])
def test_a_row_begins_at_the_plan_of_the_row_before_it(workers: int | None) -> None:
    """(f − a)² + t²/100 with f = 1 − t/2: f = (a + 0.04)/1.04. A plan is no column, and an error keeps the last one."""
    aims = [0.5, 0.6, "half", 0.7]
    table = study(warm, {"aim": aims}, workers=workers)
    assert list(table.columns) == ["aim", "flow", "before", "error", "seconds"]
    good = table[table["error"].isna()]
    expected = (good["aim"].astype(float) + 0.04) / 1.04
    np.testing.assert_allclose(good["flow"], expected, atol=1e-6)
    if workers is None:
        np.testing.assert_allclose(good["before"], [math.nan, *expected[:-1]], atol=1e-6)
    else:
        assert good["before"].isna().sum() <= workers


def test_a_start_of_the_task_s_own_stays_a_column() -> None:
    table = study(lambda x, start=3: {"start": start + x}, {"x": [1, 2]})
    assert list(table["start"]) == [4, 5]


def test_seeds() -> None:
    """One for each row, whatever else is in the grid; other ones for another seed; a seed of the grid comes first."""
    table = study(lambda x, seed: {"s": seed}, {"x": range(100)})
    assert table["s"].nunique() == 100
    assert table["s"].max() < 2**53
    assert list(study(lambda x, seed: {"s": seed}, {"x": range(50)})["s"]) == list(table["s"][:50])
    assert not set(study(lambda x, seed: {"s": seed}, {"x": range(100)}, seed=1)["s"]) & set(table["s"])
    assert list(study(lambda x, seed: {"s": seed}, {"x": [1], "seed": [7, 8]})["s"]) == [7, 8]


@pytest.mark.parametrize("way", ["3 workers", "processes"])
def test_a_task_that_cannot_be_sent(way: str, tmp_path: Path) -> None:
    """Said before anything is written."""
    lock = threading.Lock()
    with WAYS[way]() as options:
        for task in (lambda x: x, partial(curable, folder=lock)):
            with pytest.raises(sp.InvalidGame, match="cannot be sent to a worker"):
                study(task, {"x": [1]}, store=tmp_path / "s.jsonl", **options)
    assert list(tmp_path.iterdir()) == []
    assert study(lambda x: x, {"x": [1]}, executor=ThreadPoolExecutor(1))["result"].tolist() == [1], "threads need not"


def called(folder: Path) -> list[int]:
    return sorted(int(word) for word in (folder / "calls").read_text().split())


@pytest.mark.parametrize("way", ["serial", "3 workers"])
def test_retry_failed(way: str, tmp_path: Path) -> None:
    grid, path = {"x": range(6), "folder": str(tmp_path)}, tmp_path / "s.jsonl"

    def again(**more: Any) -> list[int]:
        with WAYS[way]() as options:
            table = study(curable, grid, store=path, **options, **more)
        assert len(lines(path)) == 7
        return [row for row, error in table["error"].items() if error]

    assert again() == [1, 3, 5]
    assert again() == [1, 3, 5]
    assert called(tmp_path) == [0, 1, 2, 3, 4, 5], "a failed row is finished, too"
    assert again(retry_failed=True) == [1, 3, 5]
    (tmp_path / "cured").touch()
    assert again(retry_failed=True) == []
    assert again(retry_failed=True) == []
    assert called(tmp_path) == sorted([0, 1, 2, 3, 4, 5, 1, 3, 5, 1, 3, 5])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s.jsonl")] == ["s.jsonl"]


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another task": ({"task": picky}, "the task is another one, or was changed"),
    "another value": ({"grid": {"x": [1, 3]}}, "the grid was changed"),
    "another name": ({"grid": {"power": [1, 2]}}, "the grid was changed"),
    "more rows": ({"grid": {"x": [1, 2, 3]}}, "the grid was changed; the number of rows"),
    "another order": ({"grid": {"x": [2, 1]}}, "the grid was changed"),
    "another seed": ({"seed": 1}, "the seed is another one"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_study_is_never_mixed(change: str, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    given: dict[str, Any] = {"task": squared, "grid": {"x": [1, 2]}, "seed": 0}
    study(**given, store=path)
    before = path.read_bytes()
    edits, words = CHANGES[change]
    with pytest.raises(sp.InvalidGame, match=words) as error:
        study(**{**given, **edits}, store=path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == before
    assert list(study(**given, store=path)["result"]) == [1, 4]


@pytest.mark.slow
@POSIX
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize(("workers", "kills", "on"), [(0, 6, "workers"), (2, 14, "workers"), (2, 6, "pool")])
def test_kills_at_random_moments(workers: int, kills: int, on: str, tmp_path: Path) -> None:
    """benchmarks/kills.py does 200 of them."""
    told = storm(kills, workers, on, folder=tmp_path, seed=workers)
    assert told["kills"] == kills
    assert told["studies"] >= 1


def test_the_store_is_written_before_the_next_row_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    seen = study(lambda x: finished(path), {"x": range(5)}, store=path)["result"]
    assert list(seen) == [0, 1, 2, 3, 4]


def test_a_bar_for_terminals_only(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour asked for, as Jupyter does of all its children, makes a pipe no terminal."""
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.setenv(variable, "1")
        sp.study(same, {"x": [1, 2]})
        assert capfd.readouterr() == ("", "")


def test_nothing_is_logged_of_a_sound_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        study(same, {"x": [1, 2]}, store=tmp_path / "s.jsonl", workers=2)
    assert caplog.text == ""
