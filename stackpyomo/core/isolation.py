"""Isolation: a solve leaves the user's model as it was, whatever happens, and one thread works at a time."""

from __future__ import annotations

import io
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pyomo.common.gc_manager import PauseGC
from pyomo.common.log import LoggingIntercept
from pyomo.core.staleflag import StaleFlagManager


class _Alone:
    """The lock of this process; one that was forked while another thread had it gets its own."""

    lock = threading.RLock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Alone.renew)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Build and solve models of our own without a trace in the user's: which of the user's Vars are stale is kept.

    Staleness is one counter for all of Pyomo's Vars, moved on by any solve and by values set after one, and the user's
    model has other values meanwhile: another thread waits. Garbage collection pauses as well: many small objects are
    made here, and none of them is garbage.
    """
    manager = StaleFlagManager
    with _Alone.lock:
        current, flag = manager._current, manager.get_flag
        try:
            with PauseGC():
                yield
        finally:
            manager._current, manager.get_flag = current, flag


@contextmanager
def intercepted(logger: str) -> Iterator[io.StringIO]:
    """What that logger warns of, kept from everybody else: a logger belongs to all threads of a process."""
    with _Alone.lock, LoggingIntercept(io.StringIO(), logger, logging.WARNING) as text:
        yield text


@contextmanager
def fixed(variables: Iterable[Any], levels: Iterable[float]) -> Iterator[None]:
    """These Vars fixed at these levels, and free again afterwards."""
    every = list(variables)
    for var, level in zip(every, levels, strict=True):
        var.fix(float(level), skip_validation=True)
    try:
        yield
    finally:
        for var in every:
            var.unfix()
