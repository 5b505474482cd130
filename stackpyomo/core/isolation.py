"""Isolation: a solve leaves the user's model as it was, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyomo.common.gc_manager import PauseGC
from pyomo.core.staleflag import StaleFlagManager


@contextmanager
def undisturbed() -> Iterator[None]:
    """Build and solve models of our own without a trace in the user's: which of the user's Vars are stale is kept.

    Staleness is one counter for all of Pyomo's Vars, moved on by any solve and by values set after one. Garbage
    collection pauses as well: many small objects are made here, and none of them is garbage.
    """
    manager = StaleFlagManager
    current, flag = manager._current, manager.get_flag
    try:
        with PauseGC():
            yield
    finally:
        manager._current, manager.get_flag = current, flag
