"""Plain costs: what a follower minimises where its cost is an increasing function of something simpler.

    (a·u − b)⁴  is least where  (a·u − b)²  is,      exp(a·u − b)  and  (a·u − b)³  where  a·u − b  is

Conditions of the simpler cost have the same answers. They are affine, where those of the fourth power are cubic and
flat around the answer. A multiplier of the cost as it is written is theirs times the rate d cost / d simpler cost.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from pyomo.core.expr.numeric_expr import PowExpression, UnaryFunctionExpression

from stackpyomo.core.expressions import is_affine, number_of, terms, variables_in


@dataclass(frozen=True)
class PlainCost:
    """An expression that is least where a cost is."""

    expression: Any
    rate: Any  #: d cost / d expression, at least 0 whatever its variables are.


def plain_cost(cost: Any, moved: Container[int]) -> PlainCost | None:
    """A simpler one in what a follower moves (ids of Vars); None unless it is one term, of an affine argument."""
    own = [(number, term) for number, term in terms(cost) if any(id(v) in moved for v in variables_in(term))]
    if len(own) != 1:
        return None
    ((number, term),) = own
    plain = _of_power(term) if isinstance(term, PowExpression) else _of_exponential(term)
    return None if plain is None else PlainCost(number * plain.expression, plain.rate)


def _of_power(term: Any) -> PlainCost | None:
    """Of whole powers from 3 on."""
    base, exponent = term.args
    if not is_affine(base) or next(variables_in(exponent), None) is not None:
        return None
    power = number_of(exponent)
    if power != round(power) or power < 3.0:
        return None
    if power % 2.0:
        return PlainCost(base, power * base ** (power - 1.0))
    return PlainCost(base**2, power / 2.0 * base ** (power - 2.0))


def _of_exponential(term: Any) -> PlainCost | None:
    if not (isinstance(term, UnaryFunctionExpression) and term.getname() == "exp" and is_affine(term.args[0])):
        return None
    return PlainCost(term.args[0], term)
