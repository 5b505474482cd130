"""POUNCE in the place of an ``ipopt`` executable, for the scripts that ``fake_ipopt`` writes."""

from __future__ import annotations

import shlex


def pounce() -> str:
    """The path of POUNCE's executable."""
    import pyomo_pounce

    return str(pyomo_pounce.POUNCE().executable())


REAL = f'exec {shlex.quote(pounce())} "$@"'  # A script that solves as ipopt would.
