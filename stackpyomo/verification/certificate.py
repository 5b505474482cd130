"""Certificates: a report as one file that others can check, with ``stackpyomo check`` or the checker alone.

It holds the game, the rule, the plan, and for each follower its problem with the rule substituted in, multipliers, and
the ε that :mod:`stackpyomo.verification.checker` derives from them. What the checker would not confirm is written, too:
it says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.games.files import Printer, document, identifiers
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import least_nonnegative

from .best_response import Composed, composed
from .checker import BOXES, FORMAT, Player, Value, derived, digest, problems
from .report import Report

__all__ = ["certificate", "multipliers_at"]

# Of squared equalities: where they hold, a cost may be convex that is not so elsewhere (Finsler).
_WEIGHTS = (0.0, 1.0, 100.0, 10_000.0)


def certificate(report: Report) -> dict[str, Any]:
    """The certificate of a report as JSON-ready Python objects.

    Parameters
    ----------
    report : Report
        What :func:`stackpyomo.verify` returned.

    Returns
    -------
    dict
        What :func:`stackpyomo.verification.checker.check` takes.

    Raises
    ------
    InvalidGame
        Nothing can be claimed (a follower that is unknown), or there are populations, or the game has no game file.
    """
    if report.subject is None:
        raise InvalidGame("to_certificate: this report was read without its game; verify again.")
    unknown = [str(name) for name in report.regret.index[report.regret.isna() | (report.certificate == "unknown")]]
    if unknown:
        raise InvalidGame(f"to_certificate: nothing is known of {listed(unknown, 3)}, so that there is no claim.")
    game = report.subject.attached()
    if any(follower.size != 1 for follower in game.followers.values()):
        raise InvalidGame("to_certificate: members of a population are not checked one by one; use game.expand().")
    announced = report.subject.announcement
    if any(signal.curve is not None for signal in announced.signals):
        raise InvalidGame("to_certificate: a signal that is not linear has no place in a certificate yet.")
    names = {name: identifiers(game)[id(v)] for name, v in game.variables_by_name.items() if not v.fixed}
    written = document(game)
    claims = dict(_claims(game, report, announced, names, [player["name"] for player in written["followers"]]))
    whole = {
        "format": FORMAT,
        "verdict": report.verdict,
        "game": written,
        "plan": {symbol: float(announced.values[name]) for name, symbol in names.items()},
        "rule": _rule(announced, names),
        "followers": claims,
    }
    whole = json.loads(json.dumps(whole))
    for player in problems(whole):
        _prove(player)
    return {**whole, "digest": digest(whole)}


def _rule(announced: Announcement, names: Mapping[str, str]) -> dict[str, Any]:
    tables = {}
    for key in ("gain", "bend"):
        matrix = getattr(announced, key)
        entries = None if matrix is None else matrix.tocoo()
        columns = [] if entries is None else zip(entries.row, entries.col, entries.data, strict=True)
        tables[key] = [[int(r), int(c), float(t)] for r, c, t in columns]
    signals = [{"name": s.name, "terms": {names[n]: float(w) for n, w in s.terms.items()}} for s in announced.signals]
    return {
        "leader": [names[name] for name in announced.leader],
        "signals": signals,
        "saturate": announced.saturate,
        **tables,
    }


def _claims(
    game: Game, report: Report, announced: Announcement, names: Mapping[str, str], written: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    short = dict(zip(game.followers, written, strict=True))
    wanted = {str(name) for name in report.regret.index}
    for problem in composed(game, announced, wanted):
        name = problem.follower.name
        if problem.home is not None:
            continue
        regret = max(0.0, float(report.regret[name]))
        best = report.best_response.get(name, {})
        yield (
            short[name],
            {
                "proof": str(report.certificate[name]),
                "cost": float(report.objective[name]),
                "regret": regret,
                "within": regret + report.tolerance * float(report.scale[name]),
                "composed": _composed(problem, names, announced.saturate),
                "point": [float(t) for t in problem.target],
                "best": [float(best.get(n, t)) for n, t in zip(problem.names, problem.target, strict=True)],
            },
        )


def _composed(problem: Composed, names: Mapping[str, str], saturate: bool) -> dict[str, Any]:
    """The composed problem as formulas; a projected one falls into pieces, and is left to the checker."""
    symbols = {id(v): names[n] for n, v in zip(problem.names, problem.variables, strict=True)}
    bounds = {symbols[id(v)]: [v.lb, v.ub] for v in problem.variables}
    if saturate:
        return {"bounds": bounds, "cost": None, "rows": []}
    printer = Printer(symbols)
    cost = printer.printed(problem.cost, problem.follower.objective).text
    return {"bounds": bounds, "cost": cost, "rows": printer.rows(problem.rows)}


def _prove(player: Player) -> None:
    """Put point, multipliers, weight and the ε that follows into the player's claims: the first that is enough."""
    claims = player.claims
    equal = any(row.equal for row in player.rows)
    points = [claims["point"], claims.pop("best")]
    if points[0] == points[1]:
        points.pop()
    elif claims["regret"] > 0.0:
        points.reverse()
    attempts = []
    for boxes in (1, BOXES):  # a proof by one tangent first
        for weight in _WEIGHTS if equal else _WEIGHTS[:1]:
            for point in points:
                for multipliers in _multipliers(player, point):
                    claims.update(point=point, multipliers=multipliers, weight=weight)
                    claims["epsilon"] = derived(player, boxes)
                    attempts.append(dict(claims))
                    if claims["epsilon"] <= claims["within"]:
                        return
    claims.update(min(attempts, key=lambda one: one["epsilon"]))
    if not math.isfinite(claims["epsilon"]):
        claims["epsilon"] = claims["within"]  # what the report claims; the checker says that it is not confirmed


def _multipliers(player: Player, point: list[float]) -> list[list[float]]:
    """Those at the point; where actions are whole, none as well: at their points no row needs to be paid for."""
    none = [[0.0] * len(player.rows)] if any(player.whole) else []
    return [*none, multipliers_at(player, point)]


def multipliers_at(player: Player, point: list[float]) -> list[float]:
    """Of the rows at a point, by least squares on stationarity over what is active there."""
    cost, rows = player.values([(t, t) for t in point])
    size = len(point)
    columns, owners = [], []
    for number, (row, relation) in enumerate(zip(rows, player.rows, strict=True)):
        if relation.equal or row.span[1] >= -TOLERANCES.active * max(1.0, abs(row.span[0])):
            for sign in (1.0, -1.0) if relation.equal else (1.0,):
                columns.append(sign * _gradient(row, size))
                owners.append((number, sign))
    for i, ((lower, upper), t) in enumerate(zip(player.bounds, point, strict=True)):
        room = TOLERANCES.active * max(1.0, abs(t))
        for sign, near in (
            (-1.0, lower is not None and t - lower <= room),
            (1.0, upper is not None and upper - t <= room),
        ):
            if near:
                columns.append(sign * np.eye(size)[i])
                owners.append((-1, sign))
    multipliers = [0.0] * len(rows)
    normals = np.array(columns).reshape(-1, size).T
    wanted = -_gradient(cost, size)
    if np.isfinite(normals).all() and np.isfinite(wanted).all():
        for (number, sign), part in zip(owners, least_nonnegative(normals, wanted), strict=True):
            if number >= 0:
                multipliers[number] += sign * float(part)
    return multipliers


def _gradient(f: Value, size: int) -> Array:
    if f.slope is None:
        return np.full(size, math.nan)
    return np.array([sum(f.slope.get(i, (0.0, 0.0))) / 2.0 for i in range(size)])
