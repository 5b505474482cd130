"""Crews: processes of one's own that play jobs, one at a time each; who dies takes its own job along and no other.

A process ends with its crew, also with one that was killed: it sees that nobody is left (and then unwinds, so that
solvers it waits for end, too). Ctrl-C is for the crew, which ends its processes.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import Pipe, Process, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from stackpyomo.core import Terminated, end, unwinding
from stackpyomo.errors import InvalidGame

from .workers import HASTE, PATIENCE, ending

__all__ = ["Crew"]

logger = logging.getLogger(__name__)

_READY = b"null"

_LIVES = 2
"""Processes that a job may cost: one may be killed for a reason that is not the job's."""

Played = Callable[[Any], dict[str, Any]]


# --- inside of a process ----------------------------------------------------------------------------------------------


def _serve(play: Played, pipe: Connection) -> None:
    """Answer job after job with a line of JSON, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with unwinding(patience=HASTE):
            threading.Thread(target=_watch, daemon=True).start()
            pipe.send_bytes(_READY)
            while True:
                pipe.send_bytes(json.dumps(play(pipe.recv())).encode())
    except (EOFError, OSError):  # nobody asks any more
        return
    except Terminated as told:
        raise SystemExit(told.code) from None


def _watch() -> None:
    """End the process when who started it is gone, whatever it is at."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    end()


# --- on the outside ---------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Hand:
    """One process and the job it is at."""

    process: Process
    pipe: Connection
    job: Any = None
    ready: bool = False

    @classmethod
    def hired(cls, play: Played) -> _Hand:
        mine, theirs = Pipe()
        process = Process(target=_serve, args=(play, theirs))
        process.start()
        theirs.close()
        return cls(process, mine)

    def give(self, job: Any) -> None:
        self.job = job
        try:
            self.pipe.send(job)
        except OSError:  # it died idle: told when its answer is asked for
            return

    def answer(self) -> dict[str, Any] | None:
        """What it has said: its row, or None: that it is ready; raises EOFError if it is gone."""
        try:
            row = json.loads(self.pipe.recv_bytes())
        except OSError:
            raise EOFError from None
        self.ready = True
        return None if row is None else dict(row)

    def buried(self) -> str:
        """How it ended."""
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode or 0
        if not self.ready and code >= 0:
            raise InvalidGame(
                f"study: a worker process did not start ({ending(code)}). Does the script start the study under "
                'if __name__ == "__main__":, and can the task be imported?'
            )
        return ending(code)


@dataclass
class Crew:
    """``size`` processes that play jobs."""

    play: Played
    size: int
    _hands: list[_Hand] = field(default_factory=list)

    def rows(self, jobs: Iterable[Any], lost: Callable[[Any, str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """``play(job)`` of every job as they come, ``lost(job, how)`` for one that took its processes along."""
        queue, deaths = deque(jobs), dict[int, int]()
        try:
            while queue or any(hand.job is not None for hand in self._hands):
                self._employ(queue)
                for hand in self._heard():
                    try:
                        row = hand.answer()
                    except EOFError:
                        self._hands.remove(hand)
                        how, job = hand.buried(), hand.job
                        deaths[id(job)] = deaths.get(id(job), 0) + 1
                        logger.info("a worker ended (%s)", how)
                        if deaths[id(job)] < _LIVES:
                            queue.appendleft(job)
                        else:
                            yield lost(job, how)
                        continue
                    if row is not None:
                        hand.job = None
                        yield row
        finally:
            self._dismiss()

    def _employ(self, queue: deque[Any]) -> None:
        for hand in self._hands:
            if queue and hand.job is None:
                hand.give(queue.popleft())
        while queue and len(self._hands) < self.size:
            hand = _Hand.hired(self.play)
            self._hands.append(hand)
            hand.give(queue.popleft())

    def _heard(self) -> list[_Hand]:
        """Those who have said something, or are gone."""
        at_work = [hand for hand in self._hands if hand.job is not None]
        said = set(wait([hand.pipe for hand in at_work]))
        return [hand for hand in at_work if hand.pipe in said]

    def _dismiss(self) -> None:
        for hand in self._hands:
            hand.pipe.close()
            hand.process.terminate()
        until = time.monotonic() + PATIENCE
        for hand in self._hands:
            hand.process.join(max(0.0, until - time.monotonic()))
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
        self._hands.clear()
