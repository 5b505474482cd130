"""Certificates: a report as one file that others can check, with ``stackpyomo check`` or the checker alone.

It holds the game, the rule, the plan, and for each follower its problem with the rule substituted in, multipliers, and
the ε that :mod:`stackpyomo.verification.checker` derives from them. What the checker would not confirm is written, too:
it says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linprog

from stackpyomo.core import TOLERANCES, Array, listed, triplets
from stackpyomo.errors import InvalidGame
from stackpyomo.games.files import Printer, document, identifiers
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import BadRow, Program, least_nonnegative, solve

from .best_response import Composed, composed
from .checker import BOXES, FORMAT, Bound, Player, Value, derived, digest, problems
from .report import Report

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
    announced = replace(announced, saturate=announced.saturate or bool(report.cut))
    if any(signal.curve is not None for signal in announced.signals):
        raise InvalidGame("to_certificate: a signal that is not linear has no place in a certificate yet.")
    names = {name: identifiers(game)[id(v)] for name, v in game.variables_by_name.items() if not v.fixed}
    written = document(game)
    judged = {str(name) for name in report.regret.index}
    pieces = list(composed(game, announced, judged))
    shorts = dict(zip(game.followers, (player["name"] for player in written["followers"]), strict=True))
    claims = {
        shorts[piece.follower.name]: _claims(report, piece, names, announced.saturate)
        for piece in pieces
        if piece.home is None
    }
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
        own = [piece for piece in pieces if shorts[piece.follower.name] == player.name]
        player.claims["cases"] = list(_cases(player, own)) if len(own) > 1 else []
        _prove(player)
    return {**whole, "digest": digest(whole)}


def _rule(announced: Announcement, names: Mapping[str, str]) -> dict[str, Any]:
    tables = {}
    for key in ("gain", "bend"):
        matrix = getattr(announced, key)
        tables[key] = [] if matrix is None else [list(entry) for entry in triplets(matrix)]
    signals = [{"name": s.name, "terms": {names[n]: float(w) for n, w in s.terms.items()}} for s in announced.signals]
    return {
        "leader": [names[name] for name in announced.leader],
        "signals": signals,
        "saturate": announced.saturate,
        **tables,
    }


def _claims(report: Report, problem: Composed, names: Mapping[str, str], saturate: bool) -> dict[str, Any]:
    name = problem.follower.name
    regret, best = max(0.0, float(report.regret[name])), report.best_response.get(name, {})
    return {
        "proof": str(report.certificate[name]),
        "cost": float(report.objective[name]),
        "regret": regret,
        "within": regret + report.tolerance * float(report.scale[name]),
        "composed": _composed(problem, names, saturate),
        "point": [float(t) for t in problem.target],
        "best": [float(best.get(n, t)) for n, t in zip(problem.names, problem.target, strict=True)],
    }


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


def _cases(player: Player, pieces: Sequence[Composed]) -> Iterator[dict[str, Any]]:
    """What a rule that is stopped at bounds may do, each with the best of the pieces' least points and multipliers."""
    box, _ = player.box()
    points = [[float(t) for t in problem.target] for problem in pieces[:1]]
    for problem in pieces:
        with suppress(BadRow):
            program = Program(problem.cost, problem.rows)
            solution = solve(program, "auto")
            levels = {} if solution.answer is None else program.levels(solution.answer)
            points += [[levels.get(id(v), float(t)) for v, t in zip(problem.variables, problem.target, strict=True)]]
    for choice in player.game.choices(player.own, box):
        tried = [(point, *multipliers_at(player, point, choice)) for point in points]
        tried += [(points[0], [0.0] * len(player.rows), edges) for edges in _excluding(player, box, choice)]
        bounds = [Bound(player, rows, 0.0, edges).case(box, point, choice) for point, rows, edges in tried]
        point, rows, edges = tried[int(np.argmax(bounds))]
        yield {"choice": choice, "point": point, "multipliers": rows, "edges": edges}


def _excluding(player: Player, box: Sequence[tuple[float, float]], choice: Mapping[str, str]) -> Iterator[list[float]]:
    """Multipliers q ≥ 0 of a case that is nowhere: qᵀ(edges) > 0 all over the box (Farkas), by more than the costs."""
    middle = [lo / 2.0 + hi / 2.0 for lo, hi in box]
    edges = player.game.edges(player.own, [(t, t) for t in middle], choice)
    if not edges or any(edge.bend != {} for edge in edges):
        return
    slopes = np.array([_gradient(edge, len(box)) for edge in edges])
    levels = np.array([edge.span[0] for edge in edges]) - slopes @ middle
    rows = np.column_stack([slopes, -np.ones(len(edges))])
    answer = linprog([*np.zeros(len(box)), 1.0], rows, -levels, bounds=[*box, (None, None)], method="highs")
    least = player.values(box, choice)[0].span[0]
    cost = player.values([(t, t) for t in player.plan])[0].span[1]
    if answer.status == 0 and answer.fun > 0.0 and math.isfinite(least):
        yield (-answer.ineqlin.marginals * 2.0 * max(cost - least, 0.0) / answer.fun).clip(min=0.0).tolist()


def _multipliers(player: Player, point: list[float]) -> list[list[float]]:
    """Those at the point; where actions are whole, none as well: at their points no row needs to be paid for."""
    none = [[0.0] * len(player.rows)] if any(player.whole) else []
    return [*none, multipliers_at(player, point)[0]]


def multipliers_at(
    player: Player, point: list[float], choice: Mapping[str, str] | None = None
) -> tuple[list[float], list[float]]:
    """(of the rows, of the rows that say where a choice of the rule is) by least squares on stationarity at a point."""
    spans, size = [(t, t) for t in point], len(point)
    cost, rows = player.values(spans, choice)
    edges = player.game.edges(player.own, spans, choice) if choice else []
    columns, owners = [], []
    equal = [*(relation.equal for relation in player.rows), *(False for _ in edges)]
    for number, row in enumerate([*rows, *edges]):
        if equal[number] or row.span[1] >= -TOLERANCES.active * max(player.height(row), abs(row.span[0])):
            for sign in (1.0, -1.0) if equal[number] else (1.0,):
                columns.append(sign * _gradient(row, size))
                owners.append((number, sign))
    for i, ((lower, upper), t, unit) in enumerate(zip(player.bounds, point, player.sizes, strict=True)):
        for sign, near in (
            (-1.0, lower is not None and t - lower <= TOLERANCES.active * unit),
            (1.0, upper is not None and upper - t <= TOLERANCES.active * unit),
        ):
            if near:
                columns.append(sign * np.eye(size)[i])
                owners.append((-1, sign))
    multipliers = [0.0] * len(equal)
    normals = np.array(columns).reshape(-1, size).T
    force = -_gradient(cost, size)
    if np.isfinite(normals).all() and np.isfinite(force).all():
        for (number, sign), part in zip(owners, least_nonnegative(normals, force), strict=True):
            if number >= 0:
                multipliers[number] += sign * float(part)
    return multipliers[: len(rows)], multipliers[len(rows) :]


def _gradient(f: Value, size: int) -> Array:
    if f.slope is None:
        return np.full(size, math.nan)
    return np.array([sum(f.slope.get(i, (0.0, 0.0))) / 2.0 for i in range(size)])
