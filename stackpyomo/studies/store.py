"""Stores: finished rows of a study on disk, one JSON line each, appended and flushed to the disk before going on.

    {"format": "stackpyomo-study/1", "task": …, "grid": …, "seed": …, "rows": 120}
    {"row": 17, "parameters": {…}, "seed": …, "result": {…}, "error": null, "seconds": 0.8}

Only the process that runs the study writes, under a lock. A last line that the process before did not finish is cut
off, and a warning says so. Numbers that are not finite are null, "inf" or "-inf", so that every line is JSON.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from stackpyomo.errors import InvalidGame

logger = logging.getLogger(__name__)

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]


FORMAT = "stackpyomo-study/1"

_CHANGED = {
    "task": "the task is another one, or was changed",
    "grid": "the grid was changed",
    "seed": "the seed is another one",
    "rows": "the number of rows is another one",
}

_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


@dataclass
class Store:
    """The rows of one study; ``path`` None keeps them in memory only."""

    header: Mapping[str, Any]
    path: Path | None = None
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    recovered: str = ""  #: What was amiss at opening, empty if nothing.
    _file: int | None = None

    def open(self) -> None:
        """Lock, read what is there and check that it is of the same study; raises :class:`InvalidGame`."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._hold(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666))
        except OSError as error:
            raise InvalidGame(f"store={self.path}: cannot be opened ({error.strerror}).") from None
        try:
            if not self.path.is_file():  # a device can be read without an end
                raise InvalidGame(f"store={self.path}: is not a regular file; name another.")
            text = self.path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            self._take(whole, text)
            if len(whole) < len(text):
                self._cut(len(whole), len(text))
            if not whole:
                self._append({"format": FORMAT, **self.header})
        except BaseException:
            self.close()
            raise

    def _hold(self, file: int) -> None:
        """The file, locked; processes forked from this one let go of it, so that the lock ends with this one."""
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = os.path.samestat(os.fstat(file), os.stat(str(self.path)))  # else it was replaced just now
            except OSError:
                free = False
            if not free:
                os.close(file)
                raise InvalidGame(f"store={self.path}: another process writes to it; wait for it, or name another.")
        self._file = file
        if hasattr(os, "register_at_fork"):
            store = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _let_go(store(), file))

    def _take(self, whole: bytes, text: bytes) -> None:
        """The header and the rows; nothing of a file that is no store is ever touched."""
        first, *lines = whole.split(b"\n")
        start = json.dumps({"format": FORMAT})[:-1].encode()
        if not (text.startswith(start) or (not whole and start.startswith(text[: len(start)]))):
            raise InvalidGame(f"store={self.path}: is not a store of a study ({FORMAT}); name another file.")
        if whole:
            self._check(_parsed(first) or {})
        self.rows, damaged = _rows(lines)
        if damaged:
            self._tell(f"{_listing(damaged)} cannot be read; these rows are run again")

    def _check(self, header: Mapping[str, Any]) -> None:
        wrong = [words for key, words in _CHANGED.items() if header.get(key) != self.header.get(key)]
        if wrong:
            raise InvalidGame(
                f"store={self.path}: holds another study ({'; '.join(wrong)}). "
                "Name another file, or delete this one if its rows are not needed."
            )

    def _cut(self, good: int, size: int) -> None:
        """The line that was not finished: its row is run again."""
        assert self._file is not None
        os.ftruncate(self._file, good)
        self._tell(f"its last line was not finished; {size - good} bytes were cut off, and that row is run again")

    def _tell(self, words: str) -> None:
        self.recovered = "; ".join(filter(None, [self.recovered, words]))
        logger.warning("%s: %s", self.path, words)

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a finished row; it is on disk when this returns. Raises :class:`InvalidGame` for a full disk."""
        if self._file is not None:
            self._append(row)
        self.rows[int(row["row"])] = dict(row)

    def _append(self, record: Mapping[str, Any]) -> None:
        """Written without a buffer: what a full disk did not take is nowhere to turn up later."""
        assert self._file is not None
        place = os.fstat(self._file).st_size
        try:
            _write(self._file, [record])
        except OSError as error:
            try:
                os.ftruncate(self._file, place)
            except OSError:
                logger.warning("%s: a half-written last line is left and will be cut off next time", self.path)
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> InvalidGame:
        return InvalidGame(
            f"store={self.path}: cannot be written ({error.strerror}). The rows before are kept; go on when it can."
        )

    def close(self) -> None:
        """Let others write."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def forget(self, numbers: set[int]) -> None:
        """Rows that are to be run again: a file without them is written, then put in place of the old one."""
        for number in numbers:
            self.rows.pop(number, None)
        if self.path is None or not numbers:
            return
        target = Path(os.path.realpath(self.path))
        fresh = target.with_name(f"{target.name}.new")
        try:
            file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, target.stat().st_mode & 0o777)
            try:
                _write(file, [{"format": FORMAT, **self.header}, *self.rows.values()])
            finally:
                os.close(file)
            new = os.open(fresh, os.O_RDWR | os.O_APPEND)
            if fcntl is not None:
                fcntl.flock(new, fcntl.LOCK_EX)  # before it is in place: there is no moment without a lock
            fresh.replace(target)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._unwritable(error) from None
        self.close()
        self._hold(new)

    def frame(self) -> pd.DataFrame:
        """One line a row, in the order of the grid: parameters, results, ``error``, ``seconds``."""
        return _frame(self.rows)


def _let_go(store: Store | None, file: int) -> None:
    if store is not None and store._file == file:
        store.close()


def _write(file: int, lines: list[Mapping[str, Any]]) -> None:
    data = memoryview("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _rows(lines: list[bytes]) -> tuple[dict[int, dict[str, Any]], list[int]]:
    """Row number → row, and the lines of the file that are none (its first line is the header)."""
    rows: dict[int, dict[str, Any]] = {}
    damaged = []
    for place, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        record = _parsed(line) or {}
        if {"row", "parameters", "result", "error", "seconds"} <= record.keys() and isinstance(record["row"], int):
            rows[record["row"]] = record
        else:
            damaged.append(place)
    return rows, damaged


def _listing(lines: list[int]) -> str:
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"


# --- tables -----------------------------------------------------------------------------------------------------------


def _frame(rows: Mapping[int, Mapping[str, Any]]) -> pd.DataFrame:
    """Columns as they turn up, ``error`` and ``seconds`` last."""
    lines = [dict(_cells(rows[number])) for number in sorted(rows)]
    last = ("error", "seconds")
    columns = dict.fromkeys(name for line in lines for name in line if name not in last)
    table = pd.DataFrame(lines, index=pd.Index(sorted(rows), name="row"), columns=[*columns, *last], dtype=object)
    for name in table:
        values = table[name].tolist()
        if not any(isinstance(value, str) for value in values):  # pandas 3 has texts of its own, without None
            table[name] = pd.Series(values, index=table.index)
    return table


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Column → value; a result whose name is taken becomes "result.<name>"."""
    taken = {*row["parameters"], "error", "seconds"}
    yield from row["parameters"].items()
    for key, value in (row["result"] or {}).items():
        number = _INFINITIES.get(value, value) if isinstance(value, str) else value
        yield f"result.{key}" if key in taken else key, number
    yield "error", row["error"]
    yield "seconds", row["seconds"]


def read_study(path: str | Path) -> pd.DataFrame:
    """The table of a study as far as it is stored, also while it runs.

    Parameters
    ----------
    path : path
        The store of :func:`study`.

    Returns
    -------
    DataFrame
        As :func:`study` returns it.

    Raises
    ------
    InvalidGame
        The file is no store.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InvalidGame(f"store={path}: cannot be read ({error.strerror}).") from None
    first, *lines = text[: text.rfind(b"\n") + 1].split(b"\n")
    if (_parsed(first) or {}).get("format") != FORMAT:
        raise InvalidGame(f"store={path}: is not a store of a study ({FORMAT}).")
    rows, damaged = _rows(lines)
    if damaged:
        logger.warning("%s: %s cannot be read", path, _listing(damaged))
    return _frame(rows)


def require_parquet() -> None:
    """Raise :class:`InvalidGame` without pyarrow."""
    if importlib.util.find_spec("pyarrow") is None:
        raise InvalidGame('parquet: needs pyarrow; pip install "stackpyomo[parquet]".')


def write_parquet(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table of a study as Parquet; what is no number, text or truth value alone becomes JSON text.

    Raises :class:`InvalidGame` without pyarrow, and for a file that cannot be written.
    """
    require_parquet()
    columns = table.copy()
    for column in columns.select_dtypes(object):
        kinds = {type(value) for value in columns[column] if value is not None}
        if len(kinds) > 1 or kinds & {list, dict}:
            columns[column] = [None if value is None else json.dumps(value) for value in columns[column]]
    try:
        columns.to_parquet(path, engine="pyarrow")
    except OSError as error:
        raise InvalidGame(f"{path}: cannot be written ({error.strerror or error}).") from None
