"""Commands in processes of their own, forked from one that has imported the package: each starts in a moment.

What a command writes, where it stands, what it makes of signals and its exit code are those of ``python -m``.
"""

from __future__ import annotations

import atexit
import os
import runpy
import shutil
import signal
import sys
import tempfile
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import NamedTuple

from stackpyomo.studies import pool

__all__ = ["CONTEXT", "Command", "Result", "environment"]

CONTEXT = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
"""Its processes have imported the package."""
_HEAVY = ("stackpyomo.cli.commands", "stackpyomo.analysis", "pandas", "scipy.stats", "pounce", "highspy", "pyscipopt")
if hasattr(CONTEXT, "set_forkserver_preload"):
    CONTEXT.set_forkserver_preload(list(_HEAVY))


class Result(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


def environment(folder: Path) -> dict[str, str]:
    """Of a process of its own that finds this package and puts its temporary files into the folder."""
    home = os.fspath(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": os.fspath(folder), "PYTHONUTF8": "1"}


class Command:
    """``python -m *words`` in ``folder``, its temporary files in ``temporary``, in a session of its own; ended with the
    ``with`` block. Workers are forked, too, unless they are to be new interpreters as for everybody."""

    def __init__(
        self, words: list[str], folder: Path, temporary: Path, *, forked_workers: bool = True, **variables: str
    ) -> None:
        self._words, self._streams = words, Path(tempfile.mkdtemp(prefix="streams-"))
        given = environment(temporary) | variables
        arguments = (words, os.fspath(folder), given, os.fspath(self._streams), forked_workers)
        self._process = CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        self.pid: int = self._process.pid or 0

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        shutil.rmtree(self._streams)

    def ended(self, timeout: float = 120.0) -> Result:
        """What it came to, once it has ended."""
        self._process.join(timeout)
        assert self.is_over(), f"{self._words}: no end after {timeout:g} s"
        out, err = ((self._streams / name).read_text("utf-8", "replace") for name in ("out", "err"))
        return Result(self._process.exitcode or 0, out, err)

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._process.exitcode is not None


def _run(words: list[str], folder: str, variables: dict[str, str], streams: str, forked: bool) -> None:
    """In the process."""
    if hasattr(os, "setsid"):
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None
    for number, name in enumerate((os.devnull, f"{streams}/out", f"{streams}/err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=variables.get("PYTHONIOENCODING", "utf-8"))  # type: ignore[union-attr]
    sys.path.insert(0, folder)
    sys.argv = words
    if forked:
        pool.get_context = lambda _: get_context("fork")  # type: ignore[assignment,return-value]
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # as at the end of an interpreter
