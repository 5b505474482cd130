"""Comparisons: the same games by several solvers and treatments, judged by what each of them proved.

Every game is played in a worker process (:mod:`stackpyomo.studies.catalogue`), so that a solver that crashes, hangs
past its limit or is missing is a row with its reason. Performance profiles after Dolan and Moré (2002): for each way of
solving, the share of games it finished within a factor of the fastest.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.bilevel import named
from stackpyomo.core import TOLERANCES, Document, Part, Table, as_text, plain, shown, tracked
from stackpyomo.errors import InvalidGame, SolverNotAvailable
from stackpyomo.games import Game
from stackpyomo.games.files import document, read_entries
from stackpyomo.reporting import profiles
from stackpyomo.solvers import registry

from .catalogue import VERIFIED, Row, Settings, solved

_COLUMNS = (
    "game",
    "solver",
    "complementarity",
    "objective",
    "best",
    "loss",
    "regret",
    "certificate",
    "quality",
    "residual",
    "iterations",
    "seconds",
    "termination",
    "outcome",
)
_DETAILS = ("stages", "message", "error")  # Columns that are too long to be printed.


@dataclass(eq=False)
class Comparison(Document):
    """The answers of every solver and treatment to every game."""

    rows: list[dict[str, Any]] = field(repr=False)  #: One for each game, solver and treatment: what ``table`` shows.

    @property
    def table(self) -> pd.DataFrame:
        """One line per game, solver and treatment.

        objective; best: the best verified objective of anybody; loss: how much worse than it, over max(1, |best|);
        regret, certificate, quality, residual (recomputed), iterations, seconds, termination, outcome, message.
        """
        return pd.DataFrame(self.rows)

    @property
    def agreement(self) -> pd.DataFrame:
        """How much worse each answer is than the best, NaN without a verified one: games by ways of solving."""
        table = self.table
        table["loss"] = table["loss"].where(table["outcome"].isin(VERIFIED))
        return table.assign(way=_way(table)).pivot(index="game", columns="way", values="loss")

    def disagreements(self, tolerance: float = TOLERANCES.agreement) -> pd.DataFrame:
        """Rows whose answer is worse than the best verified one, or missing, each with its reason.

        That there is no plan is an answer, unless somebody has a verified one.

        Parameters
        ----------
        tolerance : float, default 1e-4
            The loss, over max(1, |best|), up to which answers agree.

        Returns
        -------
        DataFrame
            Columns of :attr:`table`, and the reason.
        """
        table = self.table
        good = _is_best(table, tolerance) | (table["outcome"] == "infeasible") & table["best"].isna()
        worse = table.loc[~good, ["game", "solver", "complementarity", "objective", "best", "loss", "quality"]]
        return worse.assign(message=[_reason(table.loc[place]) for place in worse.index])

    def profile(
        self, *, tolerance: float = TOLERANCES.agreement, points: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Share of games with a verified answer as good as the best, within τ times the fastest way's seconds.

        Parameters
        ----------
        tolerance : float, default 1e-4
            As for :meth:`disagreements`.
        points : sequence of float, optional
            Values of τ, from 1 on; by default those at which a share changes.

        Returns
        -------
        DataFrame
            A column for each way of solving, indexed by τ; games that nobody solved are left out.
        """
        table = self.table
        times = table["seconds"].where(_is_best(table, tolerance), math.inf)
        seconds = table.assign(way=_way(table), seconds=times).pivot(index="game", columns="way", values="seconds")
        fastest = seconds.min(axis=1)
        ratio = seconds[np.isfinite(fastest)].div(fastest[np.isfinite(fastest)], axis=0)
        finite = np.unique(ratio.to_numpy()[np.isfinite(ratio.to_numpy())])
        taus = np.unique(np.concatenate([[1.0], finite])) if points is None else np.asarray(points, dtype=float)
        shares = {way: [(ratio[way] <= tau).mean() for tau in taus] for way in ratio.columns}
        return pd.DataFrame(shares, index=pd.Index(taus, name="tau"))

    def plot(self, ax: Any = None) -> Any:
        """Draw the profiles as steps over log τ: :func:`stackpyomo.plots.profiles`.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw, by default a new figure.

        Returns
        -------
        Axes
            What was drawn on.
        """
        return profiles(self.profile(), ax)

    def summary(self) -> str:
        """How many answers are verified and as good as the best, in one sentence."""
        good = len(self.rows) - len(self.disagreements())
        return f"{good} of {len(self.rows)} verified and as good as the best of their game"

    def as_dict(self) -> dict[str, Any]:
        """Rows, agreement and profiles as JSON-ready Python objects."""
        profile, agreement = self.profile(), self.agreement
        return {
            "rows": plain(self.rows),
            "agreement": {str(game): plain(dict(row)) for game, row in agreement.iterrows()},
            "profile": {"tau": plain(list(profile.index)), **{str(way): plain(list(profile[way])) for way in profile}},
        }

    def to_json(self) -> str:
        """One JSON document with every row."""
        return json.dumps(self.as_dict(), indent=2)

    def parts(self) -> list[Part]:
        """A row for each game, solver and treatment, and the reason wherever there is no answer as good as the best."""
        bad = self.disagreements()
        rows = [[_cell(row[key]) for key in _COLUMNS] for row in self.rows]
        reasons = [f"{row.game}, {row.solver}, {row.complementarity}: {row.message}" for row in bad.itertuples()]
        return [
            Table(
                _COLUMNS, rows, words=("solver", "complementarity", "certificate", "quality", "termination", "outcome")
            ),
            self.summary(),
            *([[" ".join(reason.split()) for reason in reasons]] if reasons else []),
        ]

    def __str__(self) -> str:
        return as_text(self.parts()[:1])


def _cell(value: Any) -> str:
    """Numbers as people read them, nothing where there is none."""
    if isinstance(value, float):
        return "" if math.isnan(value) else shown(value, 6)
    return "" if value is None else str(value)


def _reason(row: pd.Series) -> str:
    if row["outcome"] == "infeasible":
        return "says that there is no plan, where another has a verified one"
    return row["message"] or "a verified equilibrium that is not the leader's best"


def _is_best(table: pd.DataFrame, tolerance: float) -> pd.Series:
    """Rows with a verified answer as good as the best."""
    return table["outcome"].isin(VERIFIED) & (table["loss"] <= tolerance)


def _way(table: pd.DataFrame) -> pd.Series:
    single = table["complementarity"].nunique() == 1
    return table["solver"] if single else table["solver"] + " + " + table["complementarity"]


def compare(
    games: Any,
    solvers: str | Sequence[str] = "all",
    complementarities: Sequence[str] = ("auto",),
    *,
    time_limit: float = Settings.time_limit,
    jobs: int = 1,
    starts: int = 1,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    ties: str = Settings.ties,
    tie_tolerance: float = Settings.tie_tolerance,
    equilibrium: str = Settings.equilibrium,
    progress: bool = True,
) -> Comparison:
    """Solve every game by every solver and every treatment of complementarity, all followers responding.

    Parameters
    ----------
    games : Game, list of Games or path
        A path is that of a game file or a catalogue.
    solvers : str or sequence of str, default "all"
        Names of :mod:`stackpyomo.solvers.registry`. A solver that is missing or cannot take a treatment is a row with
        its reason.
    complementarities : sequence of str, default ("auto",)
        Names of treatments.
    time_limit : float, default 60
        Seconds for each.
    jobs : int, default 1
        How many run side by side.
    starts, seed : int, default 1 and 0
        As for :func:`leader_optimal`.
    options : mapping of str to mapping, optional
        Solver → its own options, by name.
    ties, tie_tolerance, equilibrium : optional
        As for :func:`stackelberg`, for games whose entries do not say so themselves.
    progress : bool, default True
        Show a bar on a terminal.

    Returns
    -------
    Comparison
        Tables, profiles, disagreements.

    Raises
    ------
    InvalidGame
        The file format cannot say a game, or a solver or treatment is unknown.
    """
    entries, solvers = entries_of(games), ways(solvers)
    if not entries or not solvers or not complementarities:
        raise InvalidGame("compare: nothing to compare; name at least one game, solver and treatment.")
    for treatment in complementarities:
        named(treatment)
    if strangers := sorted(set(options or ()) - set(solvers)):
        raise InvalidGame(f"options: {strangers[0]!r} is not among the solvers; give those of {', '.join(solvers)}.")
    asked: dict[str, Any] = {"seed": seed, "ties": ties, "tie_tolerance": tie_tolerance, "equilibrium": equilibrium}
    plays, rows = [], list[Row]()
    for solver, treatment in product(solvers, complementarities):
        own = (options or {}).get(solver, {})
        settings = Settings(solver, treatment, time_limit, starts, judged=False, options=own, **asked)
        plays += [(entry, settings) for entry in entries]
        rows += _blank(settings, entries)
    playable = [number for number, row in enumerate(rows) if not row.error]
    with tracked("comparing", len(plays), done=len(plays) - len(playable), shown=progress) as step:
        for number, row in solved([plays[number] for number in playable], jobs=jobs) if playable else ():
            rows[playable[number]] = row
            step()
    games = [*range(len(entries))] * (len(plays) // len(entries))
    played = zip(games, plays, rows, strict=True)
    return Comparison(_judged([(g, s.solver, s.complementarity, _sign(entry), row) for g, (entry, s), row in played]))


def ways(solvers: str | Sequence[str]) -> list[str]:
    """The solvers of that name, each once; "all": every one in the registry."""
    listed = [solvers] if isinstance(solvers, str) else list(solvers)
    for name in listed:
        if name not in ("all", "auto", *registry):
            raise InvalidGame(f"solver={name!r}: unknown solver. Choose from {', '.join(['all', 'auto', *registry])}.")
    return list(dict.fromkeys(each for name in listed for each in (registry if name == "all" else [name])))


def entries_of(games: Any) -> list[dict[str, Any]]:
    """The games as objects of the file format, each of a name of its own."""
    if isinstance(games, (str, Path)):
        entries = read_entries(games)
    else:
        entries = [_entry(game) for game in ([games] if isinstance(games, Game) else games)]
    seen, renamed = Counter[str](), []
    for entry in entries:
        name = str(entry.get("name") or "(no name)")
        seen[name] += 1
        renamed.append({**entry, "name": name if seen[name] == 1 else f"{name} ({seen[name]})"})
    return renamed


def _entry(game: Any) -> dict[str, Any]:
    if isinstance(game, dict):
        return game
    if not isinstance(game, Game):
        raise InvalidGame(f"games: {type(game).__name__} is no Game.")
    return document(game)


def _blank(settings: Settings, entries: Sequence[dict[str, Any]]) -> list[Row]:
    """A row for each game before it is played; where that way of solving cannot be used at all, each says why."""
    try:
        settings.require()
    except SolverNotAvailable as error:
        return [Row(str(e["name"]), message=str(error), error=type(error).__name__) for e in entries]
    return [Row(str(entry["name"])) for entry in entries]


def _sign(entry: dict[str, Any]) -> int:
    leader = entry.get("leader")
    return -1 if isinstance(leader, dict) and str(leader.get("sense", "")).startswith("max") else 1


def _judged(played: Sequence[tuple[int, str, str, int, Row]]) -> list[dict[str, Any]]:
    """Each row with the best verified objective of its game and how far behind it is; game by game, way by way."""
    best: dict[int, float] = {}
    for game, _, _, sign, row in played:
        if row.outcome in VERIFIED:
            best[game] = min(best.get(game, math.inf), sign * row.objective)
    rows = []
    for game, solver, treatment, sign, row in sorted(played, key=itemgetter(0)):
        least = best.get(game, math.nan)
        loss = (sign * row.objective - least) / max(1.0, abs(least))
        own = {"game": row.name, "solver": solver, "complementarity": treatment, "best": sign * least, "loss": loss}
        rows.append({key: own[key] if key in own else getattr(row, key) for key in (*_COLUMNS, *_DETAILS)})
    return rows
