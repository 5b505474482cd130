"""Endings: a process that is told to end (SIGTERM, or SIGHUP of a terminal that closed) unwinds as with Ctrl-C.

What it waits for is killed then, and its temporary files are removed. Where it does not come to that, because a
solver's library does not listen, it is ended some seconds later all the same.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .programs import sweep

__all__ = ["Terminated", "leave", "unwinding"]

_PATIENCE = 5.0
"""Seconds that a process has to unwind."""


class Terminated(KeyboardInterrupt):
    """The process was told to end by the signal of that ``number``."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.code = 128 + number
        """The exit code that says so."""
        super().__init__(number)


def leave(number: int, _: FrameType | None) -> None:
    """A signal handler: unwind, once."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated(number)


@contextmanager
def unwinding(farewell: str) -> Iterator[None]:
    """The main thread is told by :class:`Terminated`; not on Windows, which has no such signals.

    ``farewell`` is said on standard error where the process is ended without unwinding.
    """
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    mine = os.getpid()

    def let_go() -> None:
        """A process forked from this one ends as it would have without us, and alone."""
        if signal.getsignal(signal.SIGTERM) is leave and os.getppid() == mine:
            _restore(before, -1)

    os.register_at_fork(after_in_child=let_go)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, leave)
    others = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)  # heard also while a library keeps the main thread
    threading.Thread(target=_hurry, args=(heard, set(before), farewell), daemon=True).start()
    try:
        yield
    finally:
        _restore(before, others)
        os.close(tell)


def _restore(handlers: Mapping[signal.Signals, Any], wakeup: int) -> None:
    signal.set_wakeup_fd(wakeup)
    for number, handler in handlers.items():
        if handler is not None:  # one that Python did not set it cannot set again
            signal.signal(number, handler)


def _hurry(heard: int, numbers: set[signal.Signals], farewell: str) -> None:
    """End the process some seconds after it was told to; return when it is about to end by itself."""
    stream = _standard_error()
    told = os.read(heard, 1)
    while told and told[0] not in numbers:
        told = os.read(heard, 1)
    if told:
        time.sleep(_PATIENCE)
        sweep()
        os.write(stream, f"{farewell}\n".encode())
        os._exit(128 + told[0])
    os.close(heard)
    os.close(stream)


def _standard_error() -> int:
    """As it is now: later it may be captured, while a solver works."""
    try:
        return os.dup(2)
    except OSError:  # there is none
        return os.open(os.devnull, os.O_WRONLY)
