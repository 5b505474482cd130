"""The pool: each job once, a late one or one that dies with its reason, solvers that had threads before a fork."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pyomo.environ as pyo
import pytest

from stackpyomo.solvers import Program, registry, solve
from stackpyomo.studies.pool import Lost, Pool


def square(job: Any) -> int:
    """What a job asks for: a number, its square; "die", the end of its process; a list, that many seconds."""
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if isinstance(job, list):
        time.sleep(job[0])
        return 0
    return int(job * job)


def told(job: Any, loss: Lost) -> str:
    return f"{loss} ({'late' if loss.late else loss.how})"


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_every_job_has_its_row(fresh: bool) -> None:
    pool = Pool(square, 2, fresh=fresh)
    assert sorted(pool.rows(range(5), told)) == [(n, n * n) for n in range(5)]
    assert pool.workers == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_who_dies_or_is_late_takes_its_own_job_along() -> None:
    rows = list(Pool(square, 1, limit=2.0).rows([1, "die", [60], 3], told))
    assert rows[0] == (1, 1)
    assert rows[-1] == (3, 9)
    words = {str(job): row for job, row in rows[1:-1]}
    assert words["die"] in ("the worker crashed (SIGKILL) (SIGKILL)", "the worker did not start (SIGKILL) (SIGKILL)")
    assert words["[60]"] == "no answer after 2 s; the worker was killed (late)"


def integer_programs(_: Any = None) -> str:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(30), bounds=(0, 3), domain=pyo.Integers)
    rows = [sum(((7 * i + 3 * k) % 11 + 1) * m.x[i] for i in range(30)) <= 60 for k in range(6)]
    value = sum(((5 * i) % 13 + 1) * m.x[i] for i in range(30))
    return str(solve(Program(-value, rows), "highs", time_limit=5.0).termination.value)


@pytest.mark.skipif(not registry["highs"].available, reason="needs HiGHS")
def test_highs_solves_in_a_fork_of_a_process_in_which_it_has_solved() -> None:
    """Its threads are not there any more, and it would wait for them."""
    here = integer_programs()
    assert list(Pool(integer_programs, 1, limit=60.0).rows([0], told)) == [(0, here)]
