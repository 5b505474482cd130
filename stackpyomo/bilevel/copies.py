"""Copies: a game's Vars and rows once more, in a model of its own, so that copies of followers stand side by side.

A copy holds no Var of the user's model that is not fixed: it is an ordinary model, of which a Game can be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.var import VarData

from stackpyomo.core.expressions import substituting

Table = Mapping[int, Any]  #: id(Var) → what stands in its place.


def copied(holder: Any, variables: Sequence[VarData], name: str = "copies") -> dict[int, VarData]:
    """New Vars of that name on ``holder`` with the bounds, domains and values of these: id(Var) → its copy."""
    copies = pyo.Var(range(len(variables)))
    holder.add_component(name, copies)
    for copy, var in zip(copies.values(), variables, strict=True):
        copy.domain = var.domain
        copy.setlb(var.lb)
        copy.setub(var.ub)
        copy.set_value(var.value, skip_validation=True)
    return dict(zip(map(id, variables), copies.values(), strict=True))


def substituted(expression: Any, table: Table) -> Any:
    """The expression with these in the place of its Vars, named Expressions written out."""
    return substituting(table)(expression)


def add_rows(holder: Any, rows: Iterable[Any]) -> None:
    """Each of these rows as a constraint of ``holder``."""
    holder.rows = pyo.ConstraintList()
    for row in rows:
        holder.rows.add(row.expr)


def block_of(model: Any, name: str) -> Any:
    """A new empty Block of the model."""
    block = pyo.Block(concrete=True)
    model.add_component(name, block)
    return block
