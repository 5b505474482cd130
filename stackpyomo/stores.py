"""Stores: finished rows of a study on disk, one JSON line each, appended and flushed to the disk before going on.

    {"format": "stackpyomo-study/1", "task": …, "grid": …, "seed": …, "rows": 120}
    {"row": 17, "parameters": {…}, "seed": …, "result": {…}, "error": null, "seconds": 0.8}

Only the process that runs the study writes, under a lock. A line that the last process did not finish is cut off, and
that is told.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import InvalidGame

try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None  # type: ignore[assignment]

__all__ = ["FORMAT", "Store"]

logger = logging.getLogger(__name__)

FORMAT = "stackpyomo-study/1"


@dataclass
class Store:
    """The rows of one study; ``path`` None keeps them in memory only."""

    header: Mapping[str, Any]
    path: Path | None = None
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    recovered: str = ""
    """What was cut off at opening, empty if nothing."""
    _file: Any = None

    def open(self) -> None:
        """Lock, read what is there and check that it is of the same study; raises :class:`InvalidGame`."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
        except OSError as error:
            raise InvalidGame(f"store={self.path}: cannot be opened ({error.strerror}).") from None
        self._lock()
        whole = self._read()
        if not whole:
            self._append({"format": FORMAT, **self.header})

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise InvalidGame(
                    f"store={self.path}: another process writes to it; wait for it, or name another."
                ) from None

    def _read(self) -> bool:
        """True if there was a header; unfinished last lines are cut off."""
        self._file.seek(0)
        good, seen = 0, False
        for number, line in enumerate(self._file.read().splitlines(keepends=True), start=1):
            try:
                told = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                told = None
            if not isinstance(told, dict):
                self._cut(good, number)
                break
            if not seen:
                self._check(told)
                seen = True
            else:
                self.rows[int(told["row"])] = told
            good += len(line)
        return seen

    def _cut(self, good: int, number: int) -> None:
        """Everything from the first line that is none on: rows after it are run again, none is doubled."""
        self._file.seek(0, os.SEEK_END)
        lost = self._file.tell() - good
        self._file.truncate(good)
        self.recovered = f"line {number} was not finished; {lost} bytes from there on were cut off"
        logger.warning("%s: %s", self.path, self.recovered)

    def _check(self, told: Mapping[str, Any]) -> None:
        if told.get("format") != FORMAT:
            raise InvalidGame(f"store={self.path}: is no store of a study ({FORMAT}); name another file.")
        for key, mine in self.header.items():
            if told.get(key) != mine:
                raise InvalidGame(
                    f"store={self.path}: holds another study (its {key} is {told.get(key)!r}, this one's {mine!r}); "
                    "name another file, or delete it."
                )

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a finished row; it is on disk when this returns. Raises :class:`InvalidGame` for a full disk."""
        self.rows[int(row["row"])] = dict(row)
        if self._file is not None:
            self._append(row)

    def _append(self, told: Mapping[str, Any]) -> None:
        text = json.dumps(told) + "\n"
        place = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._drop(place)
            raise InvalidGame(
                f"store={self.path}: cannot be written ({error.strerror}). The rows before are kept; go on when it can."
            ) from None

    def _drop(self, place: int) -> None:
        """Leave no half line behind."""
        try:
            os.truncate(str(self.path), place)
        except OSError:
            logger.warning("%s: a half-written last line is left and will be cut off next time", self.path)

    def close(self) -> None:
        """Let others write."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:  # what did not fit in a full disk's last block
                logger.warning("%s: not closed cleanly", self.path)
            self._file = None

    def forget(self, numbers: set[int]) -> None:
        """Rows that are to be run again: the file is written anew without them, then put in place of the old one."""
        for number in numbers:
            self.rows.pop(number, None)
        if self.path is None or not numbers:
            return
        fresh = self.path.with_name(f"{self.path.name}.new")
        with fresh.open("wb") as stream:
            for told in ({"format": FORMAT, **self.header}, *self.rows.values()):
                stream.write((json.dumps(told) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.close()
        fresh.replace(self.path)
        self._file = self.path.open("a+b")
        self._lock()

    def frame(self) -> pd.DataFrame:
        """One line a row, in the order of the grid: parameters, results, ``error``, ``seconds``."""
        lines = []
        for number in sorted(self.rows):
            row = self.rows[number]
            lines.append(
                {**row["parameters"], **(row["result"] or {}), "error": row["error"], "seconds": row["seconds"]}
            )
        table = pd.DataFrame(lines, index=pd.Index(sorted(self.rows), name="row"))
        seconds = table.pop("seconds") if "seconds" in table else None
        errors = table.pop("error") if "error" in table else None
        return table if seconds is None else table.assign(error=errors, seconds=seconds)
