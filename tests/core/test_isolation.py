"""A solve of ours leaves no trace in the user's Vars: neither stale flags nor a collector that stays off."""

from __future__ import annotations

import gc

import pyomo.environ as pyo
import pytest
from pyomo.core.staleflag import StaleFlagManager

from stackpyomo.core import undisturbed


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_stale_stays_so_and_nothing_else(fails: bool) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=1.0), pyo.Var(initialize=2.0)
    StaleFlagManager.mark_all_as_stale()
    m.y.set_value(3.0)
    before = m.x.stale, m.y.stale
    assert before == (True, False)
    try:
        with undisturbed():
            assert not gc.isenabled()
            StaleFlagManager.mark_all_as_stale()
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert (m.x.stale, m.y.stale) == before
    assert gc.isenabled()
