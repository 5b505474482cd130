"""A pool: processes that do jobs, one at a time each; one that dies or is late takes its own job along and no other.

A process ends with its pool, also with one that was killed: it sees that its parent is gone, and unwinds, so that
solvers it waits for end, too. One that does not come to that (a solver's library keeps the main thread) is killed after
``PATIENCE`` seconds. Ctrl-C is for the pool, which ends its processes.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from stackpyomo.core import Terminated, end, prefix, sweep, unwinding
from stackpyomo.errors import InvalidGame

logger = logging.getLogger(__name__)

PATIENCE = 2.0  #: Seconds that a process has to end by itself.

# Seconds after which it ends itself without unwinding: before it is killed, which would leave its solver behind.
_HASTE = 0.75 * PATIENCE

_START = 120.0  # Seconds that a process may take to import everything.

# --- inside of a process ----------------------------------------------------------------------------------------------


def _serve(play: Callable[[Any], Any], pipe: Connection, quiet: bool) -> None:
    """Answer job after job, until there are no more; the first answer names the folders of this process's solvers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if highs := sys.modules.get("highspy"):
        highs.Highs.resetGlobalScheduler(False)  # a fork has none of its threads
    if quiet:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):  # what a solver's library prints, and what it would read
            os.dup2(nothing, stream)
    try:
        with unwinding(patience=_HASTE):
            threading.Thread(target=_watch, daemon=True).start()
            pipe.send(prefix())
            while True:
                pipe.send(play(pipe.recv()))
    except (EOFError, OSError):  # nobody asks any more
        return
    except Terminated as signalled:
        raise SystemExit(signalled.code) from None


def _watch() -> None:
    """End the process when who started it is gone, whatever it is at."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    end()


# --- on the outside ---------------------------------------------------------------------------------------------------


class Lost(Exception):
    """A job that has no answer; ``late``: its process was ended for that."""

    def __init__(self, message: str, how: str, seconds: float, late: bool = False) -> None:
        self.how, self.seconds, self.late = how, seconds, late
        super().__init__(message)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process started now inherits that Ctrl-C waits until it ignores it; here it takes effect afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_script() -> Iterator[None]:
    """A new interpreter imports the script that started it, but for one that is not seen: it needs none of it."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@dataclass(eq=False)
class _Worker:
    """One process and the job it is at."""

    process: BaseProcess
    pipe: Connection
    job: Any = None
    began: float = 0.0
    until: float = math.inf
    prefix: str = ""  #: Of its solvers' folders; empty until it is ready.

    def give(self, job: Any, limit: float) -> None:
        self.job, self.began = job, time.monotonic()
        self.until = self.began + (limit if self.prefix else _START)
        with suppress(OSError):  # it died idle: told when its answer is asked for
            self.pipe.send(job)

    def answer(self, limit: float) -> Any:
        """Its row, or None: that it is ready; raises :class:`Lost`."""
        seconds = time.monotonic() - self.began
        if not self.pipe.poll():
            raise Lost(f"no answer after {limit:.3g} s; the worker was killed", "killed", seconds, late=True)
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            how = _ending(self.process.exitcode or 0)
            words = f"the worker {'crashed' if self.prefix else 'did not start'} ({how})"
            raise Lost(words, how, seconds) from None
        if self.prefix:
            return message
        self.prefix, self.began = message, time.monotonic()
        self.until = self.began + limit
        return None

    def end(self, until: float) -> None:
        """See that it ends, and remove what it left."""
        self.pipe.close()
        self.process.terminate()
        self.process.join(max(0.0, until - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        if self.prefix:
            sweep(self.prefix)


@dataclass
class Pool:
    """``size`` processes that do jobs."""

    play: Callable[[Any], Any]
    size: int
    limit: float = math.inf  #: Seconds that a job may take.
    attempts: int = 2  #: Processes that a job may cost: one may be killed for a reason that is not the job's.
    #: New interpreters, which are silent and know nothing of this one (threads of solvers' libraries do not survive a
    #: fork); False: processes as they usually are here, for what is defined in a notebook.
    fresh: bool = False
    workers: list[_Worker] = field(default_factory=list)

    def rows(self, jobs: Iterable[Any], lost: Callable[[Any, Lost], Any]) -> Generator[tuple[Any, Any], None, None]:
        """Each job with ``play(job)`` as they come, or with ``lost(job, how)`` where it took its processes along."""
        queue, attempts = deque(jobs), Counter[int]()
        try:
            while queue or any(worker.job is not None for worker in self.workers):
                self._assign(queue)
                for worker in self._reporting():
                    job = worker.job
                    try:
                        row = worker.answer(self.limit)
                    except Lost as loss:
                        self._release(worker)
                        attempts[id(job)] += 1
                        if loss.late or attempts[id(job)] >= self.attempts:
                            yield job, lost(job, loss)
                        else:
                            queue.appendleft(job)
                        continue
                    if row is not None:
                        worker.job = None
                        yield job, row
        finally:
            self._dismiss()

    def _assign(self, queue: deque[Any]) -> None:
        for worker in self.workers:
            if queue and worker.job is None:
                worker.give(queue.popleft(), self.limit)
        while queue and len(self.workers) < self.size:
            worker = self._started()
            self.workers.append(worker)
            worker.give(queue.popleft(), self.limit)

    def _started(self) -> _Worker:
        mine, theirs = Pipe()
        context = get_context("spawn" if self.fresh else None)
        process = context.Process(target=_serve, args=(self.play, theirs, self.fresh))
        try:
            with _uninterrupted(), _without_script() if self.fresh else nullcontext():
                process.start()
        except OSError as error:
            raise InvalidGame(f"no worker could be started ({error.strerror}).") from None
        theirs.close()
        return _Worker(process, mine)

    def _reporting(self) -> list[_Worker]:
        """The workers that have an answer, are gone, or are late."""
        working = [worker for worker in self.workers if worker.job is not None]
        first = min(worker.until for worker in working)
        patience = None if first == math.inf else max(0.0, first - time.monotonic())
        reporting = set(wait([worker.pipe for worker in working], patience))
        now = time.monotonic()
        return [worker for worker in working if worker.pipe in reporting or now >= worker.until]

    def _release(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        code = worker.process.exitcode
        worker.end(time.monotonic() + PATIENCE)
        logger.info("a worker ended (%s)", _ending(worker.process.exitcode or 0))
        if not worker.prefix and code is not None and code >= 0 and not self.fresh:
            raise InvalidGame(
                f"study: a worker process did not start ({_ending(code)}). Does the script start the study under "
                'if __name__ == "__main__":, and can the task be imported?'
            )

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        until = time.monotonic() + PATIENCE
        while self.workers:
            self.workers.pop().end(until)


def _ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
