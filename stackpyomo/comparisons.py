"""Comparisons: the same games by several solvers and treatments, judged by what each of them proved.

Every game is played in a worker process (:mod:`stackpyomo.catalogues`), so that a solver that crashes, hangs past its
limit or is missing is a row with its reason. Performance profiles after Dolan and Moré (2002): for each way of solving,
the share of games it finished within a factor of the fastest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .catalogues import Row, Runner, Settings
from .complementarity import named
from .errors import InvalidGame, SolverNotAvailable, StackpyomoError
from .gamefiles import document, read_games
from .games import Game
from .solvers import registry
from .tolerances import TOLERANCES

__all__ = ["Comparison", "compare"]

_VERIFIED = ("ok", "better", "worse")


@dataclass(eq=False)
class Comparison:
    """What every way of solving made of every game."""

    rows: list[dict[str, Any]] = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """One line per game, solver and treatment.

        objective; best: the best verified objective of anybody; loss: how much worse than it, over max(1, |best|);
        regret, certificate, quality, residual (recomputed), iterations, seconds, termination, outcome, message.
        """
        return pd.DataFrame(self.rows)

    @property
    def agreement(self) -> pd.DataFrame:
        """Games in rows, ways of solving in columns: the loss against the best answer, NaN: no verified one."""
        table = self.table
        table["way"] = _way(table)
        table["told"] = np.where(table["outcome"].isin(_VERIFIED), table["loss"], math.nan)
        return table.pivot(index="game", columns="way", values="told")

    def disagreements(self, tolerance: float = TOLERANCES.agreement) -> pd.DataFrame:
        """Rows whose answer is worse than the best verified one, or missing, each with its reason."""
        table = self.table
        bad = ~table["outcome"].isin(_VERIFIED) | ~(table["loss"] <= tolerance)
        found = table.loc[bad, ["game", "solver", "complementarity", "objective", "best", "loss", "quality", "message"]]
        reason = found["message"].where(found["message"] != "", "a verified equilibrium that is not the leader's best")
        return found.assign(message=reason)

    def profile(
        self, *, tolerance: float = TOLERANCES.agreement, points: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Share of games with a verified answer as good as the best, within τ times the fastest way's seconds.

        One column per way of solving, indexed by τ ≥ 1. Games that nobody solved are left out.
        """
        table = self.table
        table["way"] = _way(table)
        good = table["outcome"].isin(_VERIFIED) & (table["loss"] <= tolerance)
        seconds = table.assign(time=np.where(good, table["seconds"], math.inf)).pivot(
            index="game", columns="way", values="time"
        )
        fastest = seconds.min(axis=1)
        ratio = seconds[np.isfinite(fastest)].div(fastest[np.isfinite(fastest)], axis=0)
        finite = np.unique(ratio.to_numpy()[np.isfinite(ratio.to_numpy())])
        taus = np.unique(np.concatenate([[1.0], finite])) if points is None else np.asarray(points, dtype=float)
        shares = {way: [(ratio[way] <= tau).mean() for tau in taus] for way in ratio.columns}
        return pd.DataFrame(shares, index=pd.Index(taus, name="tau"))

    def plot(self, ax: Any = None) -> Any:
        """The profiles as steps over log τ; returns the Axes. Raises :class:`InvalidGame` without matplotlib."""
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise InvalidGame("plot(): needs matplotlib; pip install stackpyomo[plot].") from None
        axis = plt.subplots(figsize=(6, 4), constrained_layout=True)[1] if ax is None else ax
        profile = self.profile()
        last = max(2.0, float(profile.index.max()) * 1.5)
        for way in profile.columns:
            axis.step([*profile.index, last], [*profile[way], profile[way].iloc[-1]], where="post", label=way)
        axis.set(
            xscale="log", xlim=(1.0, last), ylim=(0.0, 1.02), xlabel="τ: times the fastest", ylabel="share of games"
        )
        axis.legend(loc="lower right", frameon=False)
        return axis

    def to_json(self) -> str:
        """One JSON document with every row."""
        return json.dumps({"rows": [{k: _plain(v) for k, v in row.items()} for row in self.rows]}, indent=2)

    def __str__(self) -> str:
        shown = self.table.drop(columns=["stages", "message", "error"])
        with pd.option_context("display.float_format", "{:.6g}".format, "display.width", 160):
            return str(shown.to_string(index=False))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _way(table: pd.DataFrame) -> pd.Series:
    single = table["complementarity"].nunique() == 1
    return table["solver"] if single else table["solver"] + " + " + table["complementarity"]


def compare(
    games: Any,
    solvers: Sequence[str],
    complementarities: Sequence[str] = ("auto",),
    *,
    time_limit: float = Settings.time_limit,
    jobs: int = 1,
    starts: int = 1,
    progress: Callable[[], None] | None = None,
) -> Comparison:
    """Every game by every solver and treatment, all followers responding, ``jobs`` side by side.

    games: a Game, a list of Games, or the path of a game file or catalogue. A solver that is missing or cannot take a
    treatment is a row with its reason. progress is called after each row. Raises :class:`InvalidGame` for a game that
    the file format cannot say, an unknown solver or treatment.
    """
    entries = list(_entries(games))
    for name in solvers:
        if name != "auto" and name not in registry:
            raise InvalidGame(f"solver={name!r}: unknown solver. Choose from {', '.join(['auto', *registry])}.")
    for treatment in complementarities:
        named(treatment)
    rows: list[dict[str, Any]] = []
    for solver in solvers:
        for treatment in complementarities:
            settings = Settings(solver, treatment, time_limit, starts, judged=False)
            for entry, row in zip(entries, _played(entries, settings, jobs), strict=True):
                told = row.as_dict() | {"game": row.name, "solver": solver, "complementarity": treatment}
                rows.append(_numbers(told, row) | {"sign": _sign(entry)})
                if progress is not None:
                    progress()
    return Comparison(list(_judged(rows)))


def _entries(games: Any) -> Iterable[dict[str, Any]]:
    if isinstance(games, (str, Path)):
        path = Path(games)
        if path.suffix == ".json":
            whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
            yield from read_games(path) if isinstance(whole, list) or whole is None else [whole]
            return
        raise InvalidGame(f"games={games}: expected a .json game or catalogue, a Game, or a list of Games.")
    listed = [games] if isinstance(games, Game) else list(games)
    for game in listed:
        if not isinstance(game, Game):
            raise InvalidGame(f"games: {type(game).__name__} is no Game.")
        yield document(game)


def _played(entries: Sequence[dict[str, Any]], settings: Settings, jobs: int) -> Iterable[Row]:
    """The rows of one way of solving; where it cannot be used at all, each says why."""
    try:
        settings.require()
    except SolverNotAvailable as error:
        blank = Row("", outcome="failed", message=str(error), error=type(error).__name__)
        return [replace(blank, name=str(entry.get("name", ""))) for entry in entries]
    except StackpyomoError:
        raise
    return Runner(entries, settings, jobs=jobs).rows()


def _numbers(told: dict[str, Any], row: Row) -> dict[str, Any]:
    """The row's fields in the order people read them, numbers as numbers."""
    order = (
        "game",
        "solver",
        "complementarity",
        "objective",
        "regret",
        "certificate",
        "quality",
        "residual",
        "iterations",
    )
    rest = ("seconds", "termination", "outcome", "stages", "message", "error")
    found = {key: getattr(row, key, told.get(key)) for key in (*order, *rest)}
    return found | {"game": told["game"], "solver": told["solver"], "complementarity": told["complementarity"]}


def _sign(entry: dict[str, Any]) -> int:
    leader = entry.get("leader")
    return -1 if isinstance(leader, dict) and str(leader.get("sense", "")).startswith("max") else 1


def _judged(rows: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Each row with the best verified objective of its game and how far behind it is."""
    best: dict[str, float] = {}
    for row in rows:
        if row["outcome"] in _VERIFIED:
            cost = row["sign"] * row["objective"]
            best[row["game"]] = min(best.get(row["game"], math.inf), cost)
    for row in rows:
        sign = row.pop("sign")
        least = best.get(row["game"], math.nan)
        loss = (sign * row["objective"] - least) / max(1.0, abs(least))
        place = {"best": sign * least, "loss": loss}
        head = {k: row[k] for k in ("game", "solver", "complementarity", "objective")}
        yield head | place | {k: v for k, v in row.items() if k not in head}
