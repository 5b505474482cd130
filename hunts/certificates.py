"""Certificates: what is verified with a proof is confirmed by its file, and a file with a number changed is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

import stackpyomo as sp
from stackpyomo.verification import checker
from stackpyomo.verification.certificate import certificate
from stackpyomo.verification.effort import PROVED

from .drafts import read
from .incentives import drawn
from .ledger import Ledger

__all__ = ["hunt"]

_TAIL = """
report = sp.verify(sp.affine_incentive(sp.leader_optimal(game)))
print(report)
report.to_certificate("certificate.json")
"""
_SAMPLES = 4000

_SIDES = (("lb", -1.0), ("ub", 1.0))

_FORGERIES = 12
"""Numbers of one file that are changed in turn."""

_ROOM = 1e-6
"""What the oracle's arithmetic may be off by, relative to the follower's costs."""

_FUNCTIONS = {name: getattr(np, name) for name in ("exp", "log", "sqrt", "sin", "cos", "tanh")} | {"abs": abs}


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One random game: is its report confirmed, and is its file refused after each change?"""
    draft = drawn(random)
    game = draft.game()
    rule = sp.affine_incentive(sp.leader_optimal(game), saturate=bool(random.random() < 0.3))
    report = sp.verify(rule)
    if not report.ok or not set(report.certificate) <= set(PROVED):
        ledger.claim("not verified by proofs")
        return
    document = json.loads(json.dumps(certificate(report)))
    checked = checker.check(document)
    doubtful = [f"{one.name}: {one.epsilon:.3g} of {one.claimed:.3g}, {one.faults}" for one in checked if not one.ok]
    ledger.claim("confirmed", not doubtful, "; ".join(doubtful), draft.script(_TAIL))
    places = list(_numbers(document))
    for place in random.permutation(len(places))[:_FORGERIES]:
        path = places[place]
        plain = _changed(document, path, random)
        ledger.claim("changed: refused", not _is_confirmed(plain), f"{path} of its file", draft.script(_TAIL))
        forged = {**plain, "digest": checker.digest(plain)}
        if _is_confirmed(forged):
            _still_true(forged, path, random, ledger, draft.script(_TAIL))


def _still_true(
    forged: dict[str, Any], path: tuple[Any, ...], random: np.random.Generator, ledger: Ledger, script: str
) -> None:
    """A forgery with a digest of its own that is confirmed: what it says of its own game has to be so all the same."""
    for follower in forged["game"]["followers"]:
        points = {v["name"]: _points(v, forged["plan"][v["name"]], random) for v in follower["variables"]}
        names = {**_FUNCTIONS, **forged["plan"], **points}
        names |= _answers(forged, points)
        with np.errstate(all="ignore"):
            costs = np.broadcast_to(read(follower["objective"], names), _SAMPLES)
            fine = np.isfinite(costs)
            for row in follower.get("constraints", ()):
                fine = fine & read(row, names)
        costs = (-1.0 if follower.get("sense", "").startswith("max") else 1.0) * costs
        claimed = forged["followers"][follower["name"]]["epsilon"]
        gain = costs[0] - costs[fine].min(initial=costs[0])
        why = f"{path}, with a digest of its own: {follower['name']} gains {gain:.4g}, not {claimed:.4g}"
        ledger.claim("forged, confirmed: true", gain <= claimed + _ROOM * max(1.0, abs(costs[0])), why, script)


def _points(variable: dict[str, Any], at: float, random: np.random.Generator) -> Any:
    """The plan, and values of one action near it and all over its box."""
    low, high = (at + side * 1e3 if variable.get(key) is None else variable[key] for key, side in _SIDES)
    near = at + random.normal(size=_SAMPLES) * 10.0 ** random.uniform(-4.0, 1.0, _SAMPLES)
    points = np.clip(np.where(random.random(_SAMPLES) < 0.5, near, random.uniform(low, high, _SAMPLES)), low, high)
    return np.concatenate([[at], points[1:]])


def _answers(forged: dict[str, Any], points: dict[str, Any]) -> dict[str, Any]:
    """Leader variable → what the file's own rule makes it where one follower plays these values."""
    plan, rule = forged["plan"], forged["rule"]
    moved = [
        sum(weight * (points[name] - plan[name]) for name, weight in signal["terms"].items() if name in points)
        for signal in rule["signals"]
    ]
    levels = {name: plan[name] for name in rule["leader"]}
    for row, column, entry in ((int(r), int(c), t) for r, c, t in rule["gain"]):
        levels[rule["leader"][row]] = levels[rule["leader"][row]] + entry * moved[column]
    if rule["saturate"]:
        limits = {v["name"]: [v.get(key) for key, _ in _SIDES] for v in forged["game"]["leader"]["variables"]}
        levels = {n: np.clip(t, *limits[n]) if limits[n] != [None, None] else t for n, t in levels.items()}
    return levels


def _is_confirmed(document: dict[str, Any]) -> bool:
    try:
        return all(one.ok for one in checker.check(document))
    except checker.BadCertificate:
        return False


def _numbers(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every number of a document."""
    entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, inner in entries:
        yield from _numbers(inner, (*path, key))
    if isinstance(part, float | int) and not isinstance(part, bool):
        yield path


def _changed(document: dict[str, Any], path: tuple[Any, ...], random: np.random.Generator) -> dict[str, Any]:
    """A copy with that number changed."""
    forged = copy.deepcopy(document)
    place: Any = forged
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = place[path[-1]] * float(random.choice([-1.0, 0.5, 1.1, 3.0])) or 1.0
    return forged
