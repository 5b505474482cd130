"""``python -m stackpyomo`` is the command, and so is the script that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run, environment

import stackpyomo as sp


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """In a new interpreter, from another folder."""
    command = [sys.executable, "-m", "stackpyomo", "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"stackpyomo {sp.__version__}\n", "")


def test_what_a_command_comes_to_is_the_exit_code(stranger: Run) -> None:
    assert stranger("solve", "nothing.json").code == 2


@pytest.mark.skipif(shutil.which("stackpyomo", path=os.path.dirname(sys.executable)) is None, reason="not installed")
def test_the_script_is_the_module(tmp_path: Path) -> None:
    script = shutil.which("stackpyomo", path=os.path.dirname(sys.executable))
    assert script is not None
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stackpyomo ")
