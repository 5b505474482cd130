"""Shutdown: signals, again and again, end what was started and leave the handlers as they were."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stackpyomo.core import prefix, unbroken, unwinding
from stackpyomo.core.shutdown import sweep

STUBBORN = """
import os, signal, threading, time
from stackpyomo.core import prefix, unbroken, unwinding
from stackpyomo.core.shutdown import sweep

def nag():
    time.sleep(0.5)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)

with unwinding("gone", patience=1.0):
    threading.Thread(target=nag, daemon=True).start()
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.slow
def test_who_is_told_again_and_again_is_not_given_more_time() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[1]
    )
    assert (done.returncode, done.stderr.strip()) == (128 + signal.SIGTERM, "gone")
    assert time.monotonic() - began < 30


TWICE = """
import os, signal, time
from stackpyomo.core import unwinding

with unwinding("gone"):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.3)
        print("cleaned up")
"""


@pytest.mark.slow
def test_a_second_signal_does_not_disturb_who_cleans_up() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cleaned up\n", "")


def test_a_signal_among_the_handlers_leaves_them_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while they are set, or while they are given back."""
    work, calls, at = signal.signal, [0], [0]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, handler: Any) -> Any:
        found = work(number, handler)
        calls[0] += 1
        if calls == at:
            signal.raise_signal(signal.SIGINT)
        return found

    with monkeypatch.context() as patch, unwinding():
        inner = signal.getsignal(signal.SIGTERM)
        patch.setattr(signal, "signal", told)
        for call in range(1, 7):
            calls[0], at[0] = 0, call
            with contextlib.suppress(KeyboardInterrupt), unbroken():
                pass
            assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
            assert signal.getsignal(signal.SIGTERM) is inner
        patch.undo()
    assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]


def test_the_marks_of_another_process_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder left by an earlier process of our number names a solver that is somebody else's by now."""
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        for folder in (f"stackpyomo-{os.getpid()}-abc", f"{prefix()}abc"):
            (tmp_path / folder).mkdir()
        (tmp_path / f"stackpyomo-{os.getpid()}-abc" / f"{stranger.pid}.pid").touch()
        (tmp_path / f"{prefix()}abc" / "none.pid").touch()
        sweep(prefix())
        assert [path.name for path in tmp_path.iterdir()] == [f"stackpyomo-{os.getpid()}-abc"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
