"""Workers: processes that answer one line after another, and leave nothing behind however they or their keeper end.

A worker lives as long as its standard input is open: that closes with whoever started it, also with one that was
killed. It ends then, or when it is told to (SIGTERM), by an exception that unwinds whatever it does: solvers that it
waits for are killed, temporary folders removed. One that does not come to that (a solver's library does not listen) is
killed after ``PATIENCE`` seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from stackpyomo.core import end, unwinding

__all__ = ["HASTE", "PATIENCE", "Lost", "Worker", "ending", "following"]

PATIENCE = 2.0
"""Seconds that a worker has to end by itself."""

HASTE = 0.75 * PATIENCE
"""Seconds after which it ends itself without unwinding: before it is killed, which would leave its solver behind."""

_START = 120.0
"""Seconds that a worker may take to import everything."""

_PROGRAM = "import sys; sys.path[0] = sys.argv.pop(1); from stackpyomo.cli import main; main()"
"""``python -m stackpyomo``, of this very package whatever the current folder holds."""


# --- inside of a worker -------------------------------------------------------------------------------------------


@contextmanager
def following(requests: Iterable[str]) -> Iterator[tuple[str, Iterator[str]]]:
    """The worker's folder for temporary files and the lines that come in, until they or the process end."""
    lines: SimpleQueue[str] = SimpleQueue()
    with (
        tempfile.TemporaryDirectory(prefix="stackpyomo-", ignore_cleanup_errors=True) as folder,
        unwinding(patience=HASTE, folder=folder),
    ):
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder))
        tempfile.tempdir = folder
        threading.Thread(target=_listen, args=(requests, lines, folder), daemon=True).start()
        yield folder, iter(lines.get, "")


def _listen(requests: Iterable[str], lines: SimpleQueue[str], folder: str) -> None:
    """Pass lines on; when there are no more, the process ends, whatever its main thread is at."""
    for line in requests:
        lines.put(line)
    lines.put("")
    end(folder)


# --- on the outside -----------------------------------------------------------------------------------------------


class Lost(Exception):
    """A worker that gave no answer; ``late``: it was ended for that."""

    def __init__(self, message: str, late: bool = False) -> None:
        self.late = late
        super().__init__(message)


@dataclass
class Worker:
    """One process at a time, started when there is something to do and replaced when it is lost."""

    command: str
    """The command of ours that the process runs: it first answers with its folder, then line by line."""
    process: subprocess.Popen[str] | None = None
    folder: str = ""
    """Where the process puts its temporary files; empty until it has said so."""
    busy: bool = False
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: str, limit: float) -> str:
        """The answer to a line; raises :class:`Lost`."""
        process = self.process
        if process is None or process.poll() is not None:
            process = self._start()
        self.busy = True
        try:
            return self._answer(process, request, limit)
        finally:
            self.busy = False

    def _start(self) -> subprocess.Popen[str]:
        self.end()
        home = os.fspath(Path(__file__).resolve().parent.parent)
        with self.lock:
            if self.closed:
                raise Lost("the run was ended")
            try:
                self.process = process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, home, self.command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    encoding="utf-8",
                    start_new_session=True,  # Ctrl-C is for the command, which ends its workers
                )
            except OSError as error:
                raise Lost(f"no worker could be started ({error.strerror})") from None
        self.folder = json.loads(self._answer(process, None, _START))
        return process

    def _answer(self, process: subprocess.Popen[str], request: str | None, limit: float) -> str:
        """The next line of the process, which is ended after ``limit`` seconds."""
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def expire() -> None:
            late.set()
            _end(process)

        timer = threading.Timer(limit, expire)
        timer.start()
        try:
            if request is not None:
                process.stdin.write(request + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # a closed pipe
            line = ""
        timer.cancel()
        timer.join()  # from here on nobody ends the process but end()
        if line.endswith("\n"):
            return line
        _end(process)
        if late.is_set():
            raise Lost(f"no answer after {limit:.3g} s; the worker was killed", late=True)
        how = ending(process.wait())
        if request is None:
            raise Lost(f"the worker did not start ({how}); try: python -m stackpyomo {self.command}")
        raise Lost(f"the worker crashed ({how})")

    def end(self, patience: float = PATIENCE) -> None:
        """End the process, if there is one, and remove what it left."""
        process, self.process = self.process, None
        if process is None:
            return
        _end(process, patience)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was not written to a process that is gone
                    continue
        if self.folder:  # it was killed, or crashed
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = ""

    def close(self) -> None:
        """Say to end for good, also while somebody waits for an answer (who then is told that the worker is lost)."""
        with self.lock:
            self.closed = True
        if self.process is not None:
            self.process.terminate()


def _end(process: subprocess.Popen[str], patience: float = PATIENCE) -> None:
    """Tell a worker to end, and see that it does."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
