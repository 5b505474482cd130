"""Catalogues: every outcome of a game, lost workers, and what a run comes to."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import environment, toll_game, wait_until
from helpers.entries import BEST, KINKED, MAXIMIZED, NONCONVEX, ROWS, WITHOUT_PLAN, entry, slow, without

import stackpyomo as sp
from stackpyomo.games import parse_game
from stackpyomo.studies import Row, Settings, solved, summarize, summary_line
from stackpyomo.studies import catalogue as catalogues
from stackpyomo.studies.catalogue import run_entry

pytestmark = pytest.mark.usefixtures("quick_workers")


def test_as_good_as_the_reference() -> None:
    row = run_entry(entry(), Settings())
    assert (row.name, row.kind, row.outcome, row.message) == ("toll", "QP-QP", "ok", "")
    assert row.objective == pytest.approx(BEST, abs=1e-7)
    assert row.reference == BEST
    assert abs(row.gap) <= 1e-6
    assert 0 <= row.regret <= 1e-7
    assert row.certificate in ("convex", "global")
    assert row.quality in ("optimal", "feasible")
    assert row.seconds > 0


@pytest.mark.parametrize("distance", [0.01, -0.01])
@pytest.mark.parametrize("sense", ["minimize", "maximize"])
def test_better_and_worse_than_the_reference(distance: float, sense: str) -> None:
    """In the sense of the leader; relative to max(1, |reference|) = 1."""
    sign = 1 if sense == "minimize" else -1
    told = sign * BEST + distance
    row = run_entry(entry(reference=told, **(MAXIMIZED if sense == "maximize" else {})), Settings())
    assert row.gap == pytest.approx(-sign * distance, abs=1e-6)
    assert row.outcome == ("better" if sign * distance > 0 else "worse")
    assert run_entry(entry(reference=BEST + 0.01), Settings(tolerance=0.02)).outcome == "ok"


def test_the_gap_is_relative() -> None:
    row = run_entry(entry(reference=1000.0, leader__objective="1010 + (flow - 0.6)**2 + 0.01*toll**2"), Settings())
    assert row.gap == pytest.approx((10 + BEST) / 1000, abs=1e-6)


TIED: dict[str, Any] = {
    "leader__objective": "toll - flow",
    "leader__variables": [{"name": "toll", "lb": 0, "ub": 1}],
    "followers__objective": "0*flow",
}
"""The driver does not care: −1 if it favours the leader, 0 if not."""


def test_ties_are_those_of_the_settings_or_of_the_entry() -> None:
    pessimistic = run_entry(entry(reference=0.0, **TIED), Settings(ties="pessimistic"))
    assert (pessimistic.outcome, pessimistic.objective) == ("ok", pytest.approx(0, abs=1e-6))
    assert run_entry(entry(reference=-1.0, **TIED), Settings()).outcome == "ok"
    own = entry(reference=0.0, **TIED) | {"ties": "pessimistic"}
    assert run_entry(own, Settings()).outcome == "ok"
    comparison = sp.compare([own], ["auto"], ties="optimistic", progress=False)
    assert comparison.table["objective"].tolist() == pytest.approx([0], abs=1e-6)
    (refused,) = sp.compare([entry(**TIED)], ["auto"], equilibrium="best", progress=False).rows
    assert (refused["outcome"], refused["error"]) == ("refused", "InvalidGame")


def leaders(**reference: Any) -> dict[str, Any]:
    """H. D. Sherali 1984: two leaders, five followers, a price of 100 − total, cost 10: q = 30, y = 5, profits 150."""
    total = "(100-(q1+q2+y1+y2+y3+y4+y5)-10)"
    leading = [("L1", "q1"), ("L2", "q2")]
    return {
        "format": "stackpyomo-game/1",
        "name": "sherali",
        "leader": {"variables": []},
        "leaders": [
            {
                "name": n,
                "variables": [{"name": q, "lb": 0, "ub": 100}],
                "objective": f"{total}*{q}",
                "sense": "maximize",
            }
            for n, q in leading
        ],
        "followers": [
            {
                "name": f"f{k}",
                "variables": [{"name": f"y{k}", "lb": 0}],
                "objective": f"{total}*y{k}",
                "sense": "maximize",
            }
            for k in range(1, 6)
        ],
        "reference": reference or None,
    }


def test_several_leaders_by_what_each_of_them_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = sp.stackelberg(parse_game(leaders()))
    monkeypatch.setattr(catalogues, "stackelberg", lambda game, **options: plan)
    row = run_entry(leaders(leader_costs={"L1": 150.0, "L2": 150.0}), Settings())
    assert (row.outcome, row.message) == ("ok", "")
    assert row.gap <= 1e-4
    assert run_entry(leaders(leader_costs={"L1": 150.0, "L2": 160.0}), Settings()).outcome == "worse"


@pytest.mark.parametrize("reference", [None, {"leader_cost": None}, {"leader_cost": None, "leader": None}])
def test_no_plan_as_known(reference: Any) -> None:
    row = run_entry(entry(**WITHOUT_PLAN) | {"reference": reference}, Settings())
    assert (row.outcome, row.error) == ("infeasible", "NoPlan")
    assert math.isnan(row.objective)
    assert math.isnan(row.reference)
    assert "No plan" in row.message


def test_no_plan_where_there_is_one() -> None:
    row = run_entry(entry(**WITHOUT_PLAN), Settings())
    assert (row.outcome, row.error, row.reference) == ("failed", "NoPlan", BEST)


def test_a_plan_where_there_is_none() -> None:
    row = run_entry(entry(reference=None), Settings())
    assert row.outcome == "failed"
    assert "the reference says that there is no plan" in row.message


def test_refused() -> None:
    row = run_entry(entry(**NONCONVEX), Settings(solver="pounce"))
    assert (row.outcome, row.error) == ("refused", "NonconvexFollower")
    assert "driver" in row.message
    assert "nonconvex" in row.message


@pytest.mark.parametrize(
    ("told", "edits", "outcome"),
    [
        (False, NONCONVEX, "nonconvex"),
        (True, NONCONVEX, "refused"),
        (None, NONCONVEX, "refused"),
        (False, KINKED, "refused"),  # for another reason
        (False, {}, "ok"),  # what the entry says is not taken for granted
    ],
)
def test_refused_as_the_entry_says(told: bool | None, edits: dict[str, Any], outcome: str) -> None:
    assert run_entry(entry(**edits) | {"follower_convex": told}, Settings(solver="pounce")).outcome == outcome


def test_nonconvex_and_integer_followers_are_played() -> None:
    """Flow 1 wins for toll < 40, by either; the leader then wants no toll: 0.16."""
    row = run_entry(entry(reference=0.16, **NONCONVEX), Settings())
    assert (row.outcome, row.certificate) == ("ok", "global")
    whole = [{"name": "flow", "lb": 0, "ub": 1, "integer": True}]
    row = run_entry(entry(reference=0.16, followers__variables=whole, **NONCONVEX), Settings())
    assert (row.outcome, row.certificate) == ("ok", "global")


def test_nonconvex_games_can_be_played() -> None:
    """Flow 1 wins for toll < 40, and no proof of convexity can be had."""
    row = run_entry(entry(reference=0.16, **NONCONVEX), Settings(allow_nonconvex=True))
    assert row.outcome != "refused"
    assert row.certificate != "convex"


def doubtful(regret: float, certificate: str) -> sp.Plan:
    """A plan of the toll game with the report of a driver who is doubted."""
    plan = sp.stackelberg(toll_game())

    def series(value: Any) -> pd.Series:
        return pd.Series([value], index=["driver"])

    report = plan.report
    assert report is not None
    plan.report = dataclasses.replace(
        report, regret=series(regret), certificate=series(certificate), note=series(""), scale=series(1e9)
    )
    return plan


@pytest.mark.parametrize(
    ("regret", "certificate", "words"),
    [
        (0.0, "multistart", "evidence, not proof"),
        (math.nan, "unknown", "could not be checked"),
        (1e5, "convex", "NOT verified"),
        (1e-3, "convex", "a regret that is not small"),  # small on the report's scale, 1e9, and not beside J
    ],
)
def test_unverified(regret: float, certificate: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = doubtful(regret, certificate)
    monkeypatch.setattr(catalogues, "stackelberg", lambda game, **options: plan)
    row = run_entry(entry(), Settings())
    assert (row.outcome, row.certificate) == ("unverified", certificate)
    assert words in row.message
    assert abs(row.gap) <= 1e-6


def test_a_plan_that_nobody_re_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dataclasses.replace(sp.stackelberg(toll_game()), report=None, warnings=["violates rows"])
    monkeypatch.setattr(catalogues, "stackelberg", lambda game, **options: plan)
    row = run_entry(entry(), Settings())
    assert (row.outcome, row.certificate, row.message) == ("unverified", "", "violates rows")


def test_a_fault_of_ours_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(game: Any, **options: Any) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(catalogues, "stackelberg", broken)
    row = run_entry(entry(), Settings())
    assert (row.outcome, row.error, row.message) == ("failed", "KeyError", "KeyError: 'lost'")


def test_options_reach_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def watched(game: Any, **options: Any) -> sp.Plan:
        seen.update(options)
        raise sp.NoPlan("time is up", termination="time limit")

    monkeypatch.setattr(catalogues, "stackelberg", watched)
    row = run_entry(entry(), Settings("pounce", "scholtes", 7.0, 3, True, seed=5))
    assert (row.outcome, row.message) == ("failed", "time is up")
    assert seen == {
        "solver": "pounce",
        "complementarity": "scholtes",
        "time_limit": 7.0,
        "starts": 3,
        "allow_nonconvex": True,
        "seed": 5,
        "ties": "optimistic",
        "tie_tolerance": 0.0,
        "equilibrium": "auto",
    }


MALFORMED = [
    (without("reference"), "has no 'reference'"),
    (entry() | {"reference": 3.0}, "reference: expected an object"),
    (entry() | {"reference": {}}, "has no 'leader_cost'"),
    (entry(reference="1.5"), "leader_cost: expected a finite number, or null"),
    (entry(reference=True), "leader_cost: expected a finite number, or null"),
    (without("followers"), "has no 'followers'"),
    (entry(followers__objective="tool*flow"), "tool"),
    ({"name": "nothing", "reference": None}, "format"),
    (entry(name=7), "name"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("document", "words"), MALFORMED)
def test_malformed_entries(document: dict[str, Any], words: str) -> None:
    row = run_entry(document, Settings())
    assert (row.outcome, row.error) == ("failed", "GameFileError")
    assert words in row.message


def test_rows_survive_json() -> None:
    row = Row("a", "LP-LP", 1.5, gap=-math.inf, outcome="worse", seconds=0.25)
    again = json.loads(json.dumps(row.as_dict(), allow_nan=False))
    assert again == row.as_dict()
    assert (again["class"], again["regret"], again["gap"]) == ("LP-LP", None, "-inf")


def in_order(entries: list[dict[str, Any]], settings: Settings | None = None, **more: Any) -> list[Row]:
    return [row for _, row in sorted(solved(plays(*entries, settings=settings), **more), key=itemgetter(0))]


def plays(*entries: dict[str, Any], settings: Settings | None = None) -> list[tuple[dict[str, Any], Settings]]:
    return [(entry, settings or Settings()) for entry in entries]


def workers() -> list[Any]:
    """Processes that play games."""
    return [process for process in multiprocessing.active_children() if "Process-" in process.name]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_are_in_the_order_of_the_catalogue(jobs: int) -> None:
    entries = [slow("first", 400), entry("b"), entry("c", 1.0), entry("d", **KINKED), entry("e", 0.0)]
    rows = in_order(entries, jobs=jobs)
    assert [row.name for row in rows] == ["first", "b", "c", "d", "e"]
    assert [row.outcome for row in rows] == ["ok", "ok", "better", "refused", "worse"]
    assert workers() == []
    here = [run_entry(document, Settings()) for document in entries]
    assert [timeless(row) for row in rows] == [timeless(row) for row in here], "as in this process"


def timeless(row: Row) -> dict[str, Any]:
    return row.as_dict() | {"seconds": None, "stages": {}}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("blow", "error", "words"),
    [
        (signal.SIGKILL, "WorkerLost", "crashed (SIGKILL)"),
        (signal.SIGSEGV, "WorkerLost", "crashed (SIGSEGV)"),
        (signal.SIGSTOP, "TimeLimit", "no answer after 4 s"),
    ],
)
def test_a_lost_worker_is_a_row(blow: signal.Signals, error: str, words: str) -> None:
    games, rows = [entry("before"), slow(size=12000), entry("after")], list[Row]()
    played = solved(plays(*games, settings=Settings(time_limit=3.0)), grace=1.0)
    thread = threading.Thread(target=lambda: rows.extend(row for _, row in played))
    thread.start()
    wait_until(lambda: len(rows) == 1)
    time.sleep(0.5)
    (process,) = workers()
    os.kill(process.pid, blow)
    thread.join(240)
    assert [row.name for row in rows] == ["before", "slow", "after"]
    assert [row.outcome for row in rows] == ["ok", "failed", "ok"], "another worker goes on"
    assert rows[1].error == error
    assert words in rows[1].message
    assert (rows[1].kind, rows[1].reference) == ("QP-QP", 0.0)
    assert rows[1].seconds >= 0.3
    assert not process.is_alive()


@pytest.mark.slow
def test_a_game_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reading alone does, which no solver's time limit ends."""
    monkeypatch.setattr("stackpyomo.studies.pool.get_context", get_context)  # new interpreters, as for everybody
    late, after = in_order([slow(size=20000), entry("after")], Settings(time_limit=1.0), grace=0.5)
    assert (late.outcome, late.error) == ("failed", "TimeLimit")
    assert late.seconds >= 1.5
    assert "killed" in late.message
    assert after.outcome == "ok"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import stackpyomo.studies"], env=environment(tmp_path), check=True)
    assert after.seconds < time.monotonic() - began, "the start of another worker is not in it"


def test_workers_end_with_the_iteration() -> None:
    rows = solved(plays(entry("a"), slow(size=12000), slow(size=12000)))
    number, row = next(rows)
    assert (number, row.name) == (0, "a")
    (worker,) = workers()
    rows.close()
    assert not worker.is_alive()


def test_a_worker_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackpyomo.studies.pool.get_context", get_context)
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/no/such/python")
    (row,) = in_order([entry()])
    assert (row.outcome, row.error) == ("failed", "WorkerLost")
    assert "did not start" in row.message


def test_settings_that_make_no_sense() -> None:
    for settings, words in (
        (Settings(solver="clpex"), "unknown solver"),
        (Settings(complementarity="none"), "complementarity='none'"),
        (Settings(time_limit=0.0), "time_limit"),
        (Settings(starts=0), "starts"),
        (Settings(tolerance=-1.0), "tolerance"),
        (Settings(tolerance=math.nan), "tolerance"),
    ):
        with pytest.raises(sp.StackpyomoError, match=words):
            settings.require()
    with pytest.raises(sp.InvalidGame, match="jobs"):
        in_order([entry()], jobs=0)


def test_summary() -> None:
    summary = summarize(ROWS, 12.34)
    assert summary["outcomes"] == dict.fromkeys(sorted(row.outcome for row in ROWS), 1)
    assert (summary["games"], summary["largest_gap"], summary["worse_than"]) == (8, 0.5, 1e-3)
    assert summary_line(summary) == (
        "4 of 8 as expected (1 ok, 1 better, 1 infeasible, 1 refused as nonconvex), "
        "3 verified, 1 proved optimal, 1 refused, 1 unverified, 1 failed, "
        "1 worse than their reference by more than 1e-3, median 0.3 s, total 12.3 s"
    )
    assert summary_line(summarize(ROWS[:1], 1.0)) == (
        "1 of 1 as expected (1 ok), 1 verified, 1 proved optimal, "
        "0 worse than their reference by more than 1e-3, median 0.1 s, total 1.0 s"
    )
    json.dumps(summarize([], 0.0), allow_nan=False)
