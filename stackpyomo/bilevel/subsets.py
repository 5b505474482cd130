"""Interdiction by every subset: what followers' problems are worth whatever the leader blocks, all at once.

    w(A) = min {J(y): y a point of the rows, y_i = 0 for i not in A}     for every set A of open actions

Each y counts for the A that is what it does, and w(A ∪ {i}) = min {w(A ∪ {i}), w(A)} action after action hands it to
all larger sets: n 2ⁿ comparisons of numbers, no solver. The leader's rows and cost are read off at every choice, too.
Where values lie close together, as those of knapsacks whose profits go with their weights, masters need thousands of
rows for the same. Source: F. Yates, The Design and Analysis of Factorial Experiments (1937), with min for sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array, sides_of
from stackpyomo.core.expressions import Terms, terms_of, variables_in
from stackpyomo.games import Follower, foreign

from .interdiction import Block, blocks, takes_less

_MOST = 22  # Binaries whose subsets are looked at: 4 million numbers.


def table(terms: Terms, order: Sequence[int]) -> Array:
    """The expression at every subset of these binaries: number Σ 2ⁱ has those at the places i at 1."""
    values = np.array([terms.get((), 0.0)])
    for place, key in enumerate(order):
        own = terms.get((key,), 0.0) + terms.get((key, key), 0.0)
        pairs: Terms = {(other,): terms.get(tuple(sorted((key, other))), 0.0) for other in order[:place]}
        step = table({**pairs, (): own}, order[:place]) if any(pairs.values()) else own
        values = np.concatenate([values, values + step])
    return values


def points_of(constraints: Iterable[Any], order: Sequence[int]) -> Array | None:
    """Which subsets meet the constraints; None where one is not quadratic."""
    within = np.ones(2 ** len(order), dtype=bool)
    for constraint in constraints:
        terms = terms_of(constraint.body)
        if terms is None:
            return None
        body, size = table(terms, order), sum(map(abs, terms.values()))
        for side, limit in sides_of(constraint):
            within &= side * (body - limit) <= TOLERANCES.noise * max(size, abs(limit))
    return within


def open_values(follower: Follower, order: Sequence[int]) -> Array | None:
    """What its problem is worth at every subset of the leader's binaries, inf where it has no answer.

    None where its actions are not a few binaries of which others only close some, or take what some cost.
    """
    own = [id(v) for v in follower.variables]
    terms = terms_of(follower.cost)
    if terms is None or not are_few(follower.variables):
        return None
    cost, unpaid = _unpaid(follower, terms)
    closed = blocks(follower)
    ties = {**unpaid, **closed}
    within = points_of([c for c in follower.constraints if not foreign(follower, c)], own)
    if within is None or not ties or any(block.limit for block in ties.values()):
        return None
    known = not foreign(follower, *follower.constraints) or bool(closed)  # what its rows hold of others
    if not known or unpaid.keys() & closed.keys() or any(part not in own for key in cost for part in key):
        return None
    worth = np.where(within, table(cost, own), math.inf)
    for place in range(len(own)):
        halves = worth.reshape(-1, 2, 2**place)
        np.minimum(halves[:, 1], halves[:, 0], out=halves[:, 1])
    opened: Terms = {(): 0.0}  # the number of the subset of its actions that are open
    for place, key in enumerate(own):
        block, step = ties.get(key), 2.0**place
        if block is None or block.closed:
            opened[()] += step
        if block is not None:
            blocked = (id(block.binary),)
            opened[blocked] = opened.get(blocked, 0.0) + (-step if block.closed else step)
    number: Array = table(opened, order).astype(int)
    return np.asarray(worth[number])


def _unpaid(follower: Follower, cost: Terms) -> tuple[Terms, dict[int, Block]]:
    """(the cost where all is paid, id(action) → the binary at which it costs nothing, so that it may as well be 0).

    c y (1 − x) costs nothing at x = 1, c y x at x = 0. The cost as it is where others are in it in another way.
    """
    own = {id(v): v for v in follower.variables}
    others = {id(v): v for v in variables_in(follower.cost) if id(v) not in own}
    paid = {key: c for key, c in cost.items() if not others.keys() & set(key)}
    unpaid: dict[int, Block] = {}
    for key in cost.keys() - paid.keys():
        action, binary = sorted(key, key=others.__contains__) if len(key) == 2 else (*key, *key)
        alone, level = paid.get((action,), 0.0), cost[key]
        often = sum(action in other for other in cost)
        gone = abs(alone + level) <= TOLERANCES.determined * abs(level)
        if action not in own or binary not in others or not are_few([others[binary]]) or often != 1 + bool(alone):
            return cost, {}
        if alone and not gone:
            return cost, {}
        unpaid[action] = Block(own[action], others[binary], int(gone), 0.0)
        paid[(action,)] = alone or level
    takes = all(takes_less(constraint, unpaid) for constraint in follower.constraints)
    return (paid, unpaid) if takes else (cost, {})


def are_few(variables: Sequence[Any]) -> bool:
    """Whether they are binaries, and so few that every subset can be looked at."""
    whole = all(not v.fixed and not v.is_continuous() and v.bounds == (0, 1) for v in variables)
    return whole and len(variables) <= _MOST
