"""A solve leaves no trace in the user's Vars: stale flags, a collector that stays off; and other threads wait."""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pyomo.environ as pyo
import pytest
from pyomo.core.staleflag import StaleFlagManager

import stackpyomo as sp
from stackpyomo.core import fixed, undisturbed


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


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_threads_have_each_its_own_verdict_of_one_game_or_of_several(shared: bool) -> None:
    """Min (u − 1)²: a regret of (a − 1)² at a, whoever asks and whatever others do to the same model meanwhile."""
    levels = (0.2, 0.5, 1.0, 1.5)
    games = dict.fromkeys(levels, _game()) if shared else {level: _game() for level in levels}
    plans = {}
    for level, game in games.items():
        game.model.f.u.set_value(level)
        plans[level] = sp.Plan.from_values(game)
        game.model.f.u.set_value(1.0)

    def regrets(level: float) -> list[float]:
        seen = []
        for _ in range(4):
            seen.append(float(sp.verify(plans[level]).epsilon))
            sp.stackelberg(games[level])
            assert not [
                f for f in sp.Game(games[level].model, followers=games[level].model.f).check() if f.severity == "error"
            ]
        return seen

    with _switching_often(), ThreadPoolExecutor(len(levels)) as pool:
        seen = dict(zip(levels, pool.map(regrets, levels), strict=True))
    for level, regret in seen.items():
        assert regret == pytest.approx([(level - 1.0) ** 2] * 4, abs=1e-8)
        assert games[level].model.f.u.value == 1.0


def _game() -> sp.Game:
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-9, 9), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.t * m.f.u / 8)
    m.goal = pyo.Objective(expr=(m.f.u - 0.9) ** 2 + m.t**2)
    return sp.Game(m, followers=m.f)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_forked_while_another_thread_works_does_not_wait_for_it() -> None:
    inside, done = threading.Event(), threading.Event()

    def work() -> None:
        with undisturbed():
            inside.set()
            done.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork: that is the point
        child = os.fork()
    if child == 0:
        entered = threading.Event()
        waiting = threading.Thread(target=lambda: _enter(entered), daemon=True)
        waiting.start()
        os._exit(0 if entered.wait(60.0) else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _enter(entered: threading.Event) -> None:
    with undisturbed():
        entered.set()


def test_what_is_fixed_for_a_while_is_free_again() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2), bounds=(0, 1), initialize=0.5)
    with suppress(ZeroDivisionError), fixed(m.x.values(), (0.25, 2)):
        assert [(v.fixed, v.value) for v in m.x.values()] == [(True, 0.25), (True, 2.0)]
        raise ZeroDivisionError
    assert not any(v.fixed for v in m.x.values())
