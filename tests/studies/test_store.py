"""Stores: cut, damaged, locked and full, and nothing that is finished is lost."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.study_tasks import GRID, POSIX, drawn, lines, picky, same, squared, study, timeless

import stackpyomo as sp
from stackpyomo.studies import store as stores
from stackpyomo.studies import write_parquet
from stackpyomo.studies.store import Store


def test_results_of_every_kind(tmp_path: Path) -> None:
    """What comes back is what the store holds, also numbers that JSON has no word for."""
    kinds = [1, 0.1, "text", None, True, math.nan, math.inf, -math.inf, np.float64(0.5), np.arange(2), (1, "a")]
    table = study(lambda i: {"kind": kinds[i]}, {"i": range(len(kinds))}, store=tmp_path / "s.jsonl")
    told = [1, 0.1, "text", None, True, None, math.inf, -math.inf, 0.5, [0, 1], [1, "a"]]
    assert repr(list(table["kind"])) == repr(told)
    assert timeless(sp.read_study(tmp_path / "s.jsonl")) == timeless(table)
    assert len(lines(tmp_path / "s.jsonl")) == len(kinds) + 1, "each line is JSON as the standard has it"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "s.jsonl")
    study(picky, {"x": [1, 2]}, store=link)
    study(picky, {"x": [1, 2]}, store=link, retry_failed=True)
    assert link.is_symlink()
    assert len(lines(tmp_path / "s.jsonl")) == 3


def test_a_store_cut_anywhere_is_recovered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At every byte: what is whole is kept, the rest run again, and that is told."""
    path = tmp_path / "s.jsonl"
    wanted = timeless(study(squared, {"x": [1, 2, 3]}, store=path))
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        caplog.clear()
        store = Store(json.loads(data.split(b"\n")[0]), path)
        store.open()
        store.close()
        assert len(store.rows) == max(0, whole - 1)
        torn = size > 0 and not data[:size].endswith(b"\n")
        assert ("was not finished" in store.recovered) == ("was not finished" in caplog.text) == torn
        if size % 40 == 0:
            path.write_bytes(data[:size])
            assert timeless(study(squared, {"x": [1, 2, 3]}, store=path)) == wanted
            assert len(lines(path)) == 4


def test_a_line_that_was_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its row is run again; those after it are kept."""
    path = tmp_path / "s.jsonl"
    wanted = timeless(study(squared, {"x": [1, 2, 3]}, store=path))
    head, first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + first + b"\0" * 20 + b"\n" + third)
    assert timeless(study(squared, {"x": [1, 2, 3]}, store=path)) == wanted
    assert "line 3 cannot be read; these rows are run again" in caplog.text
    assert path.read_bytes().startswith(head + first + b"\0" * 20 + b"\n" + third)
    assert timeless(sp.read_study(path)) == wanted


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "no line", "{}\n", '{"format": "stackpyomo-game/1"}\n', "\n", "[1]\n"])
def test_a_file_that_is_no_store_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(sp.InvalidGame, match="is not a store of a study"):
        study(same, {"x": [1]}, store=path)
    with pytest.raises(sp.InvalidGame, match="is not a store of a study"):
        sp.read_study(path)
    assert path.read_text() == text


def test_stores_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(sp.InvalidGame, match="cannot be opened"):
        study(same, {"x": [1]}, store=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(sp.InvalidGame, match="cannot be opened"):
        study(same, {"x": [1]}, store=tmp_path / "file" / "s.jsonl")
    with pytest.raises(sp.InvalidGame, match="cannot be read"):
        sp.read_study(tmp_path / "nothing.jsonl")
    if Path("/dev/full").exists():
        with pytest.raises(sp.InvalidGame, match="not a regular file"):
            study(same, {"x": [1]}, store="/dev/full")


@POSIX
def test_a_store_is_for_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"

    def intruder(x: int) -> str:
        with pytest.raises(sp.InvalidGame, match="another process writes to it") as error:
            study(same, {"x": [1]}, store=path)
        return str(error.value)

    table = study(intruder, {"x": [1, 2]}, store=path)
    assert table["error"].isna().all()
    assert len(sp.read_study(path)) == 2


@POSIX
def test_a_forked_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    """As workers that outlive a killed study for a moment."""
    store = Store({"task": "t", "grid": "g", "seed": 0, "rows": 1}, tmp_path / "s.jsonl")
    store.open()
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        with pytest.raises(sp.InvalidGame, match="another process"):
            Store(store.header, store.path).open()
        store.close()
        again = Store(store.header, store.path)
        again.open()
        again.close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes half of a line: the rows before are kept, no half is left, and the study goes on when there is room."""
    path, room = tmp_path / "s.jsonl", [700]
    write = os.write

    def full(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        some = bytes(data)[: room[0]]
        room[0] -= len(some)
        return write(file, some)

    monkeypatch.setattr(stores.os, "write", full)
    with pytest.raises(sp.InvalidGame, match=r"cannot be written \(No space left on device\).*rows before are kept"):
        study(squared, {"x": range(20)}, store=path)
    kept = lines(path)
    assert 2 <= len(kept) < 20
    assert path.read_bytes().endswith(b"\n")
    with pytest.raises(sp.InvalidGame, match="cannot be written"):
        study(squared, {"x": range(20)}, store=path)
    assert lines(path) == kept
    room[0] = 10**6
    assert list(study(squared, {"x": range(20)}, store=path)["result"]) == [x * x for x in range(20)]
    assert lines(path)[: len(kept)] == kept


def test_a_full_disk_while_failed_rows_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    study(picky, {"x": [1, 2, 4]}, store=path)
    before = path.read_bytes()

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores.os, "write", full)
        with pytest.raises(sp.InvalidGame, match="cannot be written"):
            study(picky, {"x": [1, 2, 4]}, store=path, retry_failed=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.jsonl"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0 or not shutil.which("mount"), reason="needs to mount a disk")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    try:
        with pytest.raises(sp.InvalidGame, match="No space left on device"):
            study(squared, {"x": range(1000)}, store=disk / "s.jsonl", workers=2)
        kept = len(lines(disk / "s.jsonl")) - 1
        assert kept > 10
        shutil.copy(disk / "s.jsonl", tmp_path / "s.jsonl")
    finally:
        subprocess.run(["umount", disk], check=True)
    table = study(squared, {"x": range(1000)}, store=tmp_path / "s.jsonl")
    assert list(table["result"]) == [x * x for x in range(1000)]


def test_reading_a_study_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    table = study(lambda x: len(sp.read_study(path)), {"x": range(3)}, store=path)
    assert list(table["result"]) == [0, 1, 2]
    with path.open("a") as stream:
        stream.write('{"row": 3, "param')
    assert timeless(sp.read_study(path)) == timeless(table)


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet(tmp_path: Path) -> None:
    table = study(drawn, GRID, store=tmp_path / "s.jsonl")
    write_parquet(sp.read_study(tmp_path / "s.jsonl"), tmp_path / "s.parquet")
    again = pd.read_parquet(tmp_path / "s.parquet")
    assert list(again.columns) == list(table.columns)
    assert [json.loads(pair) for pair in again["pair"]] == list(table["pair"])
    for column in ("x", "y", "product", "draw", "seconds"):
        assert list(again[column]) == list(table[column])
    with pytest.raises(sp.InvalidGame, match="cannot be written"):
        write_parquet(table, tmp_path / "no" / "s.parquet")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(sp.InvalidGame, match=r"pip install .stackpyomo\[parquet\]"):
        write_parquet(pd.DataFrame(), tmp_path / "s.parquet")
