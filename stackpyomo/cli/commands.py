"""Every command in one application: what :mod:`.entry` loads once a command is to run."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stackpyomo.core import unwinding

from .app import TERMINATED
from .app import app as app

for _module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if _module.name.endswith("_command"):
        importlib.import_module(f"{__package__}.{_module.name}")  # its commands register


@contextmanager
def unwound() -> Iterator[None]:
    """A command that is told to end (SIGTERM, SIGHUP) ends in order, with what it printed on its way."""
    with unwinding(TERMINATED):
        try:
            yield
        finally:
            sys.stdout.flush()
