"""Aggregates: variables that equalities of the leader's model define from the followers' actions.

    A z + B u + C w = c        z = S u + L w + A⁻¹ c,   S = −A⁻¹ B,   L = −A⁻¹ C

z the aggregates, u the actions, w variables of the leader that stand beside them (``Q == q0 + Σ q_i``). One member of a
population of size n moves z by S/n of what its block does. A leader's w is data to a follower who deviates, unless the
announced rule lets the deviation move w: then z moves along by L.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData
from pyomo.core.expr.visitor import identify_variables
from scipy import sparse
from scipy.sparse.linalg import splu

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.core.expressions import affine_terms, number_of
from stackpyomo.errors import InvalidGame

#: (the aggregate that the user says it defines, None where that is left to be read off; the equality).
Definition: TypeAlias = tuple["VarData | None", ConstraintData]

_Entries: TypeAlias = list[tuple[int, int, float]]
_Row: TypeAlias = tuple[float, list[tuple[VarData, float]]]


@dataclass(frozen=True)
class Aggregates:
    """How aggregates follow the actions: d(aggregate)/d(block's action), (aggregates × actions).

    ``moves`` divides by the block's size: what one member's deviation does (0 in the mean field).
    """

    variables: list[VarData]
    shares: sparse.csr_array
    moves: sparse.csr_array
    drivers: list[VarData]  #: The leader's variables that move aggregates, too.
    leads: sparse.csr_array  #: d(aggregate)/d(driver), (aggregates × drivers).
    constants: Array  #: A⁻¹ c.
    equalities: sparse.csr_array  #: [A B C −c], (equalities × aggregates, actions, drivers, 1).


def definitions(given: Any, component: Any, leaders: Iterable[ConstraintData]) -> list[Definition]:
    """``aggregates=`` of a Game, read: equalities, (Var, equality) pairs, a mapping of these, or a list of them.

    component: name → component. leaders: the leader's rows. Raises :class:`InvalidGame` naming what is none.
    """
    if isinstance(given, (ComponentMap, Mapping)):
        given = list(given.items())
    listed = given if isinstance(given, (list, tuple, set)) and not _is_pair(given) else [given]
    own = {id(c) for c in leaders}
    return [definition for item in listed for definition in _read(item, component, own)]


def _is_pair(item: Any) -> bool:
    if not isinstance(item, tuple) or len(item) != 2:
        return False
    return item[0] is None or isinstance(item[0], str) or getattr(item[0], "ctype", None) is pyo.Var


def _read(item: Any, component: Any, leaders: set[int]) -> Iterator[Definition]:
    pair = item if _is_pair(item) else (None, item)
    parts: list[Any] = [component(part) if isinstance(part, str) else part for part in pair]
    var, row = parts
    kinds = [pyo.Var if var is None else getattr(var, "ctype", None), getattr(row, "ctype", None)]
    if kinds != [pyo.Var, pyo.Constraint]:
        raise InvalidGame(
            f"aggregates={item}: expected an equality Constraint of the leader's model, or (Var, Constraint)."
        )
    rows = dict(row.items()) if row.is_indexed() else {None: row}
    variables = dict(var.items()) if var is not None and var.is_indexed() else dict.fromkeys(rows, var)
    for key, constraint in rows.items():
        if key not in variables:
            raise InvalidGame(f"aggregates={item}: the Var has no index {key!r}, for which there is a Constraint.")
        if not constraint.active:
            raise InvalidGame(f"{constraint.name}: an aggregate's constraint is deactivated; activate it.")
        if not constraint.equality or id(constraint) not in leaders:
            raise InvalidGame(
                f"{constraint.name}: an aggregate is defined by an equality Constraint outside every follower."
            )
        yield variables[key], constraint


def responses(pairs: Sequence[Definition], actions: Sequence[VarData], sizes: Sequence[float]) -> Aggregates:
    """S, S/size and L. Raises :class:`InvalidGame` unless the equalities are linear and determine their aggregates."""
    column = {id(v): i for i, v in enumerate(actions)}
    rows = [_linear(constraint) for _, constraint in pairs]
    inside = {id(v): v for _, terms in rows for v, _ in terms if id(v) not in column}
    defined = {id(var) for var, _ in _named(pairs, rows, column) if var is not None} or set(inside)
    variables = [v for v in inside.values() if id(v) in defined]
    drivers = [v for v in inside.values() if id(v) not in defined]
    place = {id(v): i for i, v in enumerate(variables)}
    place.update((id(v), i) for i, v in enumerate([*actions, *drivers]))
    own: _Entries = []
    others: _Entries = []
    last = len(actions) + len(drivers)
    for row, ((constant, terms), (_, constraint)) in enumerate(zip(rows, pairs, strict=True)):
        for var, coefficient in terms:
            (own if id(var) in defined else others).append((row, place[id(var)], coefficient))
        others.append((row, last, constant - number_of(constraint.upper)))
    names = ", ".join(constraint.name for _, constraint in pairs[:4])
    moved = _solved(own, others, (len(pairs), last + 1), names)
    shares = _without_zeros(moved[:, : len(actions)])
    moves = _without_zeros(shares.multiply(np.array([1.0 / size for size in sizes])[np.newaxis, :]))
    leads = _without_zeros(moved[:, len(actions) : last])
    left, right = (from_entries(part, (len(pairs), n)) for part, n in ((own, len(pairs)), (others, last + 1)))
    equalities = sparse.csr_array(sparse.hstack([left, right]))
    return Aggregates(variables, shares, moves, drivers, leads, moved[:, [last]].toarray().ravel(), equalities)


def _without_zeros(matrix: Any) -> sparse.csr_array:
    entries = sparse.csr_array(matrix)
    entries.eliminate_zeros()
    return entries


def _linear(constraint: ConstraintData) -> _Row:
    known = affine_terms(constraint.body)
    if known is None:
        raise InvalidGame(
            f"{constraint.name}: an aggregate must be linear in the followers' actions; "
            "keep the nonlinear part in the objectives."
        )
    return known


def assigned(pairs: Sequence[Definition], actions: Iterable[VarData]) -> list[Definition]:
    """The pairs with every aggregate named; all are None where it makes no difference.

    An aggregate is what the user names, or stands alone on one side of its equality, or is the only one left in it;
    where as many variables are inside as there are equalities, all of them are. Raises :class:`InvalidGame` otherwise.
    """
    return _named(pairs, [_linear(row) for _, row in pairs], {id(v) for v in actions})


def _named(pairs: Sequence[Definition], rows: Sequence[_Row], owned: Container[int]) -> list[Definition]:
    terms = [{id(v): v for v, _ in row if id(v) not in owned} for _, row in rows]
    if len({key for inside in terms for key in inside}) == len(pairs) and all(var is None for var, _ in pairs):
        return list(pairs)
    named: dict[int, VarData] = {}
    taken: set[int] = set()
    for ask in (_named_by_user, _alone_on_a_side, lambda _, variables: list(variables.values())):
        before = -1
        while len(named) != before:  # what one row defines is data to the next
            before = len(named)
            for row in (row for row in range(len(pairs)) if row not in named):
                candidates = ask(pairs[row], {key: v for key, v in terms[row].items() if key not in taken})
                if len(candidates) == 1:
                    named[row] = candidates[0]
                    taken.add(id(candidates[0]))
    for row, (_, constraint) in enumerate(pairs):
        if row not in named:
            raise InvalidGame(
                f"{constraint.name}: which aggregate it defines is not clear (variables in it that no follower "
                f"owns: {listed([v.name for v in terms[row].values()]) or 'none'}). Fix the others, write it as "
                f"aggregate == ..., or name both, aggregates=[(model.aggregate, model.{constraint.name})]."
            )
    return [(named[row], constraint) for row, (_, constraint) in enumerate(pairs)]


def _named_by_user(pair: Definition, variables: Mapping[int, VarData]) -> list[VarData]:
    var, constraint = pair
    if var is None:
        return []
    if id(var) not in variables:
        raise InvalidGame(
            f"{constraint.name}: cannot define {var.name}: it is not in it, is an action or fixed, or is defined twice."
        )
    return [var]


def _alone_on_a_side(pair: Definition, variables: Mapping[int, VarData]) -> list[VarData]:
    """The variables that stand alone on a side, but for a factor or a constant."""
    sides = [list(islice(identify_variables(side, include_fixed=False), 2)) for side in pair[1].expr.args]
    return [variables[id(side[0])] for side in sides if len(side) == 1 and id(side[0]) in variables]


def _solved(left: _Entries, right: _Entries, shape: tuple[int, int], names: str) -> sparse.csr_array:
    """−A⁻¹ [B C]."""
    rows, columns = shape
    if rows == 0:
        return sparse.csr_array((0, columns))
    matrix = from_entries(left, (rows, rows)).tocsc()
    moved = -from_entries(right, shape)
    diagonal = matrix.diagonal()
    if matrix.nnz == rows and (diagonal != 0).all():
        return sparse.csr_array(moved.multiply(1.0 / diagonal[:, np.newaxis]))
    try:
        inverse = splu(matrix).solve(np.eye(rows))
    except RuntimeError:
        inverse = np.full((rows, rows), np.inf)
    if not np.linalg.cond(matrix.toarray()) * TOLERANCES.noise < 1.0:
        raise InvalidGame(f"{names}: these constraints do not determine their aggregate variables.") from None
    return sparse.csr_array(sparse.csr_array(inverse) @ moved)


def from_entries(entries: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> sparse.csr_array:
    """The matrix of these (row, column, value), equal places added."""
    rows, columns, values = (list(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
    return sparse.csr_array((values, (rows, columns)), shape=shape)
