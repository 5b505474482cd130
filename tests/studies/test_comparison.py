"""Comparisons: every cell is filled, with an answer or its reason, and profiles are what one computes by hand."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import INSTALLED, strict, toll_game
from helpers.entries import BEST, KINKED, MAXIMIZED, WITHOUT_PLAN, entry, slow

import stackpyomo as sp
from stackpyomo.solvers import registry
from stackpyomo.studies import Comparison, Row, entries_of, solved, ways
from stackpyomo.studies import comparison as comparisons

pytestmark = pytest.mark.usefixtures("quick_workers")


def written(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(entries)))
    return path


# --- every cell ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, quick_workers: None) -> Comparison:
    """Three games by all solvers."""
    three = entry("toll"), entry("most", **MAXIMIZED), entry("refused", **KINKED)
    games = written(tmp_path_factory.mktemp("compare") / "games.json", *three)
    return sp.compare(games, "all", time_limit=20.0)


@pytest.mark.slow
def test_every_registered_solver_is_in_the_matrix(everything: Comparison) -> None:
    """A solver that is registered is compared; one that is not installed has its reason."""
    table = everything.table
    assert set(table["solver"]) == set(registry) == set(ways("all"))
    assert len(table) == 3 * len(registry)
    assert set(everything.agreement.columns) == set(registry)
    for name, info in registry.items():
        rows = table[table["solver"] == name]
        assert list(rows["game"]) == ["toll", "most", "refused"]
        assert info.classes, "its capabilities are declared"
        if not info.available:
            assert (rows["outcome"] == "failed").all()
            assert rows["message"].str.contains("not installed", regex=False).all()
            assert rows["message"].str.contains(info.install, regex=False).all()
            assert (rows["error"] == "SolverNotAvailable").all()


def test_every_cell_is_filled(everything: Comparison) -> None:
    table = everything.table
    expected = ["game", "solver", "complementarity", "objective", "best", "loss", "regret", "certificate", "quality"]
    assert list(table.columns[:9]) == expected
    assert {"residual", "iterations", "seconds", "termination", "outcome", "stages", "message"} <= set(table.columns)
    assert (table["outcome"] != "").all()
    answered = table[table["outcome"] == "ok"]
    assert {"toll", "most"} <= set(answered["game"])
    assert (answered[["objective", "best", "loss", "regret", "residual", "seconds"]].notna()).all(axis=None)
    assert (answered["certificate"].isin(["convex", "global"])).all()
    assert (answered["termination"] != "").all()
    assert (answered["stages"].map(len) > 0).all()
    silent = table[(table["outcome"] != "ok") & (table["message"] == "")]
    assert silent.empty, "no answer without a reason"


def test_objectives_agree_in_the_sense_of_the_leader(everything: Comparison) -> None:
    table = everything.table
    for game, best in (("toll", BEST), ("most", -BEST)):
        answered = table[(table["game"] == game) & (table["outcome"] == "ok")]
        assert len(answered) >= 2
        assert answered["objective"].to_numpy() == pytest.approx(best, abs=1e-5)
        assert (answered["loss"] >= 0).all()
        assert everything.agreement.loc[game, "pounce"] <= 1e-4
    refused = table[(table["game"] == "refused") & table["solver"].isin(INSTALLED)]
    assert (refused["outcome"] == "refused").all()
    assert set(refused["game"]) <= set(everything.disagreements()["game"])


def test_documents(everything: Comparison) -> None:
    told = strict(everything.to_json())
    assert len(told["rows"]) == len(everything.table)
    assert set(told["agreement"]) == {"toll", "most", "refused"}
    assert len(told["profile"]["tau"]) == len(told["profile"]["pounce"])
    assert "pounce" in str(everything)


PLANT: dict[str, Any] = {
    "leader__variables": [{"name": "price", "lb": 0, "ub": 10}],
    "leader__objective": "(6 - price)*w",
    "leader__sense": "maximize",
    "followers__name": "plant",
    "followers__variables": [{"name": "on", "lb": 0, "ub": 1, "integer": True}, {"name": "w", "lb": 0, "ub": 4}],
    "followers__objective": "6.125*on + w**2/2 - price*w",
    "followers__constraints": ["w <= 4*on"],
}
"""At a price p the plant runs at p if p²/2 ≥ 6.125: at 3.5 the leader has 2.5 · 3.5 = 8.75, and less above."""


def test_integer_followers_are_compared(tmp_path: Path) -> None:
    """SCIP and "auto" solve the game; who asks for another solver is told which variable it is."""
    table = sp.compare(
        written(tmp_path / "games.json", entry("plant", 8.75, **PLANT)), ["auto", "scip", "pounce"]
    ).table
    rows = table.set_index("solver")
    for name in ("auto", "scip"):
        assert (rows.loc[name, "outcome"], rows.loc[name, "certificate"]) == ("ok", "global")
        assert rows.loc[name, "objective"] == pytest.approx(8.75, abs=1e-5)
        assert rows.loc[name, "regret"] <= 1e-6
    assert rows.loc["pounce", "outcome"] == "refused"
    assert rows.loc["pounce", "message"].startswith("plant.on: an integer variable of plant, who responds.")


# --- solvers that crash and hang ----------------------------------------------------------------------------------


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An "ipopt" of that behaviour, which workers find that are new interpreters."""
    monkeypatch.setattr("stackpyomo.studies.pool.get_context", get_context)
    folder.mkdir()
    (folder / "ipopt").write_text(f'#!/bin/sh\ncase "$1" in -v|--version) echo "Ipopt 3.14.0"; exit;; esac\n{text}\n')
    (folder / "ipopt").chmod(0o755)
    monkeypatch.setenv("PATH", os.fspath(folder), prepend=os.pathsep)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("kill -9 $PPID", "WorkerLost", "the worker crashed (SIGKILL)"),
        ("kill -9 $$", "NoPlan", "No plan"),
        ("exec sleep 100", "TimeLimit", "no answer after 4 s; the worker was killed"),
    ],
    ids=["takes its process along", "crashes", "hangs"],
)
def test_a_solver_that_breaks_is_a_row(
    text: str, error: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", text, monkeypatch)
    monkeypatch.setattr(comparisons, "solved", partial(solved, grace=1.0))
    found = sp.compare(toll_game(), ["ipopt"], ["scholtes"], time_limit=3.0)
    (broken,) = found.rows
    assert (broken["outcome"], broken["error"]) == ("failed", error)
    assert words in broken["message"]
    assert math.isnan(found.agreement.loc["toll", "ipopt"])
    assert list(found.disagreements()["message"]) == [broken["message"]]


@pytest.mark.slow
def test_a_game_that_takes_too_long_is_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(comparisons, "solved", partial(solved, grace=0.5))
    found = sp.compare(written(tmp_path / "g.json", slow(size=20000), entry()), ["pounce"], time_limit=1.0)
    assert [row["error"] for row in found.rows] == ["TimeLimit", ""]


# --- agreement ----------------------------------------------------------------------------------------------------


Played = tuple[int, str, str, int, Row]


def row(
    game: str, solver: str, objective: float, seconds: float, outcome: str = "ok", message: str = "", sign: int = 1
) -> Played:
    """What a way of solving made of a game: its number, the way, the leader's sign, the row."""
    quality = "optimal"
    told = Row(game, objective=objective, seconds=seconds, outcome=outcome, quality=quality, message=message)
    return int(game[1:] or 0), solver, "auto", sign, told


def by_hand() -> Comparison:
    """Ways a and b on four games; a is twice as fast on g1, b four times on g2, only a is right on g3, nobody on g4."""
    rows = [
        row("g1", "a", 1.0, 1.0),
        row("g1", "b", 1.0, 2.0),
        row("g2", "a", -10.0, 4.0),
        row("g2", "b", -10.0 - 1e-9, 1.0),
        row("g3", "a", 5.0, 3.0),
        row("g3", "b", 7.0, 1.0),
        row("g4", "a", math.nan, 1.0, "failed", message="no plan"),
        row("g4", "b", 0.0, 1.0, "unverified", message="evidence, not proof"),
    ]
    return Comparison(comparisons._judged(rows))


def test_best_and_loss() -> None:
    found = by_hand()
    table = found.table.set_index(["game", "solver"])
    assert table.loc[("g3", "b"), "best"] == 5.0
    assert table.loc[("g3", "b"), "loss"] == pytest.approx(2 / 5)
    assert table.loc[("g2", "a"), "loss"] == pytest.approx(1e-10)
    assert math.isnan(table.loc[("g4", "b"), "best"]), "what is not verified sets no mark"
    agreement = found.agreement
    assert agreement.loc["g3"].tolist() == pytest.approx([0.0, 0.4])
    assert agreement.loc["g4"].isna().all()


def test_disagreements_are_explained() -> None:
    found = by_hand().disagreements()
    assert list(zip(found["game"], found["solver"], found["message"], strict=True)) == [
        ("g3", "b", "a verified equilibrium that is not the leader's best"),
        ("g4", "a", "no plan"),
        ("g4", "b", "evidence, not proof"),
    ]
    assert len(by_hand().disagreements(tolerance=0.5)) == 2


def test_no_plan_is_an_answer_unless_there_is_one() -> None:
    nan = math.nan
    none = [row("g", "a", nan, 1.0, "infeasible", message="No plan"), row("g", "b", nan, 1.0, "infeasible")]
    assert Comparison(comparisons._judged(none)).disagreements().empty
    mixed = [row("g", "a", nan, 1.0, "infeasible", message="No plan"), row("g", "b", 2.0, 1.0)]
    found = Comparison(comparisons._judged(mixed)).disagreements()
    assert list(found["message"]) == ["says that there is no plan, where another has a verified one"]


def test_games_without_a_plan_are_agreed_upon(tmp_path: Path) -> None:
    found = sp.compare(written(tmp_path / "g.json", entry(**WITHOUT_PLAN)), ["auto", "scip"], time_limit=20.0)
    assert [r["outcome"] for r in found.rows] == ["infeasible", "infeasible"]
    assert found.disagreements().empty
    assert found.profile().empty or found.profile().isna().all(axis=None)


# --- profiles -----------------------------------------------------------------------------------------------------


def test_the_profile_by_hand() -> None:
    """Ratios of a: 1, 4, 1; of b: 2, 1, ∞; g4 is nobody's."""
    profile = by_hand().profile()
    assert profile.index.tolist() == [1.0, 2.0, 4.0]
    assert profile["a"].tolist() == pytest.approx([2 / 3, 2 / 3, 1.0])
    assert profile["b"].tolist() == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    chosen = by_hand().profile(points=[1.5, 100])
    assert chosen["b"].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_the_plot_is_the_profile() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = by_hand()
    axis = found.plot()
    assert [line.get_label() for line in axis.get_lines()] == ["a", "b"]
    for line in axis.get_lines():
        x, y = line.get_data()
        assert list(x[:-1]) == [1.0, 2.0, 4.0]
        assert list(y[:-1]) == pytest.approx(found.profile()[line.get_label()].tolist())
        assert y[-1] == y[-2]
    assert axis.get_xscale() == "log"
    assert found.plot(axis) is axis
    pyplot.close(axis.figure)


def test_two_treatments_are_two_ways() -> None:
    found = sp.compare(toll_game(), ["pounce"], ["scholtes", "penalty"], time_limit=20.0)
    assert list(found.agreement.columns) == ["pounce + penalty", "pounce + scholtes"]
    assert [r["complementarity"] for r in found.rows] == ["scholtes", "penalty"]
    assert np.isfinite(found.agreement.to_numpy()).all()


# --- what can be compared -----------------------------------------------------------------------------------------


def test_games_of_every_kind(tmp_path: Path) -> None:
    toll_game().write(tmp_path / "one.json")
    assert [e["name"] for e in entries_of(tmp_path / "one.json")] == ["toll"]
    assert [e["name"] for e in entries_of([toll_game(), toll_game()])] == ["toll", "toll (2)"]
    assert [e["name"] for e in entries_of(str(written(tmp_path / "two.json", entry("a"), entry("b"))))] == ["a", "b"]


@pytest.mark.parametrize(
    ("games", "solvers", "treatments", "words"),
    [
        ([], ["pounce"], ["auto"], "nothing to compare"),
        ([toll_game()], [], ["auto"], "nothing to compare"),
        ([toll_game()], ["clpex"], ["auto"], "solver='clpex': unknown solver"),
        ([toll_game()], ["pounce"], ["none"], "complementarity='none'"),
        ([7], ["pounce"], ["auto"], "int is no Game"),
        ("no/such.json", ["pounce"], ["auto"], "cannot be read"),
    ],
)
def test_what_cannot_be_compared(games: Any, solvers: Any, treatments: Any, words: str) -> None:
    with pytest.raises(sp.StackpyomoError, match=words):
        sp.compare(games, solvers, treatments)


def test_a_solver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry, "scip", dataclasses.replace(registry["scip"], version=lambda: None))
    found = sp.compare(toll_game(), ["scip", "pounce"], time_limit=20.0)
    assert [r["outcome"] for r in found.rows] == ["failed", "ok"]
    assert "not installed" in found.rows[0]["message"]
