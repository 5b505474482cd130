"""Endings: a process that is told to end (SIGTERM, or SIGHUP of a terminal that closed) unwinds as with Ctrl-C.

The solvers it waits for are killed then, and its temporary files removed. Where it does not come to that, because a
solver's library does not listen, it is ended some seconds later all the same.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

PATIENCE = 5.0  #: Seconds that a command has to unwind.
_GLANCE = 0.1  # Seconds between two times that the main thread is woken.

# Tells this process from an earlier one of the same number, whose folders name solvers that are others by now.
_STARTED = time.time_ns()


class Terminated(KeyboardInterrupt):
    """The process was told to end by the signal of that ``number``."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.code = 128 + number  #: The exit code that says so.
        super().__init__(number)


def leave(number: int, _: FrameType | None) -> None:
    """A signal handler: unwind, once, whatever comes on top (a service manager sends SIGTERM and SIGHUP)."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)


@contextmanager
def unbroken() -> Iterator[Sequence[int]]:
    """Signals that end a process wait until this is over; gives the numbers of those that do.

    One in between would unwind ``subprocess.Popen`` and leave what it has started to itself, or be lost in a function
    that a solver's library calls. Only the main thread is ever told; and handlers, unlike a mask of signals, are not
    what a started process inherits.
    """
    numbers: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield numbers
        return
    before = {
        number: handler
        for number in signal.Signals
        if number.name in ("SIGINT", "SIGTERM", "SIGHUP")
        and callable(handler := signal.getsignal(number))  # else it ends the process at once, or is ignored
    }
    try:
        with ExitStack() as stack:  # whatever is told in between, each is restored
            for number, handler in before.items():
                stack.callback(signal.signal, number, handler)
                signal.signal(number, lambda number, _: numbers.append(number))
            yield numbers
    finally:
        if numbers:
            signal.raise_signal(numbers[0])


def end() -> None:
    """Tell this process to end, from any of its threads."""
    if not hasattr(signal, "SIGHUP"):  # Windows ends it at once
        sweep(prefix())
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def unwinding(last_message: str = "", patience: float = PATIENCE) -> Iterator[None]:
    """The main thread is told by :class:`Terminated`; not on Windows, which has no such signals.

    A process that does not unwind within ``patience`` seconds says ``last_message`` on standard error and is gone, and
    the temporary files of its solvers.
    """
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGURG)}
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    mine, ours = os.getpid(), [tell]

    def let_go() -> None:
        """A process forked from this one ends as it would have without us, and alone."""
        if signal.getsignal(signal.SIGTERM) is leave and os.getppid() == mine:
            signal.set_wakeup_fd(-1)
            _restore(before)
        if ours and os.getppid() == mine:  # else who listens never hears that we are done
            os.close(ours.pop())

    os.register_at_fork(after_in_child=let_go)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if before[number] is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, leave)
    signal.signal(signal.SIGURG, lambda *_: None)
    others = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)  # heard also while a library keeps the main thread
    late = threading.Event()
    watcher = threading.Thread(target=_watch, args=(heard, late, last_message, patience), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        if late.is_set():  # the end of its solver has woken this thread, after its time was up
            watcher.join()
        with suppress(OSError):  # the outer one may be over, where this one is collected late
            signal.set_wakeup_fd(others)
        _restore(before)
        if ours:
            os.close(ours.pop())


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # one that Python did not set it cannot set again
            signal.signal(number, handler)


def _watch(heard: int, late: threading.Event, last_message: str, patience: float) -> None:
    """Have the main thread act on what was heard; end the process some seconds after it was told to, and be ``late``.

    The system may hand a signal to another thread, and the main one, which waits for a solver, does not wake up for
    it: so it is woken, by a signal that says nothing else, until it is sure to have been between two steps.
    """
    stream, ending, until = _standard_error(), 0, 0.0
    while True:
        some = select.select([heard], [], [], _GLANCE if ending or time.monotonic() < until else None)[0]
        byte = os.read(heard, 1) if some else b"\0"
        if not byte:  # the process is about to end by itself
            break
        if not ending and byte[0] not in (0, signal.SIGURG):  # once told, the time runs, whatever else is heard
            ending = byte[0] if byte[0] in (signal.SIGTERM, signal.SIGHUP) else 0
            until = time.monotonic() + patience
        if ending and time.monotonic() >= until:
            late.set()
            sweep(prefix())
            os.write(stream, f"{last_message}\n".encode() if last_message else b"")
            os._exit(128 + ending)
        if byte[0] != signal.SIGURG:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)
    os.close(heard)
    os.close(stream)


def prefix() -> str:
    """Of the folders of this process's programs."""
    return f"stackpyomo-{os.getpid()}-{_STARTED:x}-"


def sweep(folders: str) -> None:
    """End the solvers in the folders of a process that ended without unwinding (:func:`prefix`), and remove these."""
    for home in Path(tempfile.gettempdir()).glob(f"{folders}*"):
        for mark in home.glob("*.pid"):
            with suppress(OSError, ValueError):
                kill(int(mark.stem))
        shutil.rmtree(home, ignore_errors=True)


def kill(pid: int) -> None:
    """End a solver that leads a session of its own, and what it started."""
    if hasattr(os, "killpg"):
        os.killpg(pid, signal.SIGKILL)
    else:
        os.kill(pid, signal.SIGTERM)


def _standard_error() -> int:
    """As it is now: later it may be captured, while a solver works."""
    try:
        return os.dup(2)
    except OSError:  # there is none
        return os.open(os.devnull, os.O_WRONLY)
