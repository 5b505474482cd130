"""Dask: schedulers that go away, have no workers or are not there, and tasks that cannot be sent."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from helpers.study_tasks import DASK, curable, finished, lines, slow, study

import stackpyomo as sp
from stackpyomo.studies import cluster


@DASK
def test_a_scheduler_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with cluster("local:1") as executor:
        client = executor._client  # type: ignore[attr-defined]

        def leave() -> None:
            while finished(path) < 3:
                time.sleep(0.05)
            client.cluster.close()

        threading.Thread(target=leave, daemon=True).start()
        with pytest.raises(sp.InvalidGame, match="executor"):
            study(slow, {"x": range(1, 100)}, store=path, executor=executor)
    assert 3 <= len(lines(path)) - 1 < 99
    assert (sp.read_study(path)["result"] > 0).all()


@DASK
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("local:0", "expected an integer from 1 on"),
        ("local:many", "expected an integer from 1 on"),
        ("tcp://127.0.0.1:9", "no scheduler answers there"),
        ("nonsense://x:1", "no scheduler answers there"),
    ],
)
def test_schedulers_that_cannot_be_used(address: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackpyomo.studies.dask_cluster._PATIENCE", 1)
    with pytest.raises(sp.InvalidGame, match=words), cluster(address):
        pass


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(sp.InvalidGame, match=r"pip install .stackpyomo\[dask\]"), cluster("local"):
        pass


@DASK
def test_a_task_that_dask_cannot_send(tmp_path: Path) -> None:
    """In the words of what it could not take; what Dask can send (a lambda) is run."""
    with cluster("local:1") as executor:
        with pytest.raises(sp.InvalidGame, match=r"does not take the task \(TypeError: cannot pickle '_thread.lock'"):
            study(partial(curable, folder=threading.Lock()), {"x": [1]}, store=tmp_path / "s.jsonl", executor=executor)
        assert study(lambda x: x + 1, {"x": [1]}, executor=executor)["result"].tolist() == [2]
    assert sp.read_study(tmp_path / "s.jsonl").empty


@DASK
def test_a_scheduler_without_workers() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0") as alone:  # type: ignore[no-untyped-call]
        address = alone.scheduler_address
        with pytest.raises(sp.InvalidGame, match="has no workers; start some"), cluster(address):
            pass
