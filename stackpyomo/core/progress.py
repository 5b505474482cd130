"""Progress: a bar for what takes longer than two seconds, where somebody looks.

It is shown on standard error if that is a terminal, and gone when the work is done. In pipes, files, notebooks,
workers and threads there is none, nor within another: who waits for a study need not see every plan. The environment
variable STACKPYOMO_PROGRESS is 0 for no bars at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import parent_process

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PATIENCE = 2.0  # Seconds after which a bar is shown.

_within: ContextVar[bool] = ContextVar("within another bar", default=False)


@contextmanager
def tracked(
    words: str, total: int | None = None, *, done: int = 0, shown: bool = True
) -> Iterator[Callable[..., None]]:
    """A function to be called after each (or n) of ``total`` steps, ``done`` of them before; None: who knows how many.

    ``shown``: False for no bar, also of what goes on within.
    """
    console = Console(stderr=True)
    bar = _Bar(console, words, total, done) if shown and _is_wanted(console) else None
    token = _within.set(True)
    try:
        if bar is None:
            yield _nothing
        else:
            with bar.soon():
                yield bar.advance
    finally:
        _within.reset(token)


def _nothing(steps: int = 1) -> None:
    """What a step does where there is no bar."""


def _is_wanted(console: Console) -> bool:
    return (
        os.environ.get("STACKPYOMO_PROGRESS", "1") != "0"
        and not _within.get()
        and threading.current_thread() is threading.main_thread()
        and parent_process() is None
        and console.file.isatty()  # rich believes FORCE_COLOR more than the stream
        and not console.is_dumb_terminal
    )


class _Bar:
    """A bar that may be shown by a timer's thread while the work goes on, or be over before."""

    def __init__(self, console: Console, words: str, total: int | None, done: int) -> None:
        counted = () if total is None else (MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        columns = (TextColumn(words), BarColumn(), TimeElapsedColumn(), *counted)
        self._bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._line = self._bar.add_task("", total=total, completed=done)
        self._lock, self._over = threading.Lock(), False

    @contextmanager
    def soon(self) -> Iterator[None]:
        timer = threading.Timer(_PATIENCE, self._show)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._close()

    def advance(self, steps: int = 1) -> None:
        self._bar.advance(self._line, steps)

    def _show(self) -> None:
        with self._lock:
            if not self._over:
                self._bar.start()

    def _close(self) -> None:
        with self._lock:
            self._over = True
            if self._bar.live.is_started:
                self._bar.stop()


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """``with timed(seconds, "stage"):`` adds the time spent to seconds["stage"]."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
