"""Selections: the components and component mappings that users hand over, read into single Vars of the leader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from pyomo.core.base.var import VarData

from stackpyomo.errors import InvalidGame

from .structure import GameStructure


def leader_variables(game: GameStructure, components: Any) -> list[VarData]:
    """Leader VarData from a Var, an indexed Var, a name, or a list of these."""
    listed = [components] if isinstance(components, str) or hasattr(components, "is_indexed") else components
    if not isinstance(listed, Iterable):
        raise InvalidGame(f"{components}: expected a Var of the leader, its name, or a list of these.")
    return list({id(var): var for variables in by_component(game, listed) for var in variables}.values())


def by_component(game: GameStructure, components: Iterable[Any]) -> Iterator[list[VarData]]:
    """For each component the leader's VarData it stands for, fixed ones left out."""
    aggregates = {id(v) for v in game.aggregate_variables()}
    prices = {id(price.var): price for price in game.prices}
    for item in components:
        variables = []
        for var in members(game, item):
            if id(var) in game.owners or id(var) not in game.names:
                raise InvalidGame(f"{var.name}: not a variable of the leader.")
            if id(var) in aggregates:
                raise InvalidGame(f"{var.name}: an aggregate follows the followers' actions; nobody chooses it.")
            if id(var) in prices:
                row = prices[id(var)].row.name
                raise InvalidGame(f"{var.name}: the price of {row} follows from that row; nobody chooses it.")
            if not var.fixed:
                variables.append(var)
        yield variables


def members(game: GameStructure, item: Any) -> list[VarData]:
    """The VarData of a Var, an indexed Var, or a name."""
    component = game.component(item) if isinstance(item, str) else item
    if getattr(component, "ctype", None) is not pyo.Var:
        raise InvalidGame(f"{item}: expected a Var of the leader (or its name).")
    return list(component.values()) if component.is_indexed() else [component]


def component_pairs(mapping: Any, argument: str, value: str = "value") -> list[tuple[Any, Any]]:
    """The pairs of a ComponentMap, of (component, value) pairs, or of a dict keyed by component name."""
    try:
        pairs = mapping.items() if isinstance(mapping, (ComponentMap, Mapping)) else mapping
        return [(key, entry) for key, entry in pairs]
    except (TypeError, ValueError):
        raise InvalidGame(
            f"{argument}={mapping!r}: expected a ComponentMap, (component, {value}) pairs, or a dict keyed by name."
        ) from None
