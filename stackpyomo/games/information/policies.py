"""Policies: decisions that are functions of what is observed, their coefficients the Vars.

    u(y) = Σ_f c_f φ_f(y)        by default φ = 1, y: affine in the signal

A policy stands where a Var indexed by the atoms of y would stand, and knows no more than y does on any grid or sample.
In a linear quadratic Gaussian game the best plan is affine (Radner 1962), so that two nodes for each dimension find it.
What is verified of a follower with a policy is that no other function of this form is better for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.expression import IndexedExpression
from pyomo.core.base.var import IndexedVar
from pyomo.core.expr.visitor import identify_variables

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.errors import InvalidGame

Feature = Callable[[Any], Any]


class Coefficients(IndexedVar):
    """The coefficients of a policy; ``form`` says of which."""

    form: str = ""


class Policy(IndexedExpression):
    """A decision u(y) = Σ c φ(y), an Expression indexed by the atoms of ``observation``."""

    observation: str = ""  #: What it is a function of.
    coefficients: Any = None  #: The Var of its coefficients, indexed by the names of its features.


def policy(
    block: Any, name: str, observation: str, labels: Sequence[Hashable], likely: Sequence[bool], features: Any
) -> Policy:
    """Adds ``block.<name>`` and ``block.<name>_coefficients``; :meth:`stackpyomo.Scenarios.policy` says the rest."""
    for taken in (name, f"{name}_coefficients"):
        if block.component(taken) is not None:
            raise InvalidGame(f"{block.name}: has a component named {taken}; pass policy(..., name=) another.")
    chosen = _features(observation, labels, features)
    table = _values(observation, labels, chosen)
    possible = table[np.array(likely)]
    scaled = possible / np.where(np.abs(possible).max(axis=0) > 0.0, np.abs(possible).max(axis=0), 1.0)
    if np.linalg.matrix_rank(scaled, tol=TOLERANCES.rank * np.sqrt(len(scaled))) < len(chosen):
        raise InvalidGame(
            f"policy: on the {len(possible)} values of {observation} the features {listed(list(chosen))} cannot be "
            "told apart; take fewer features, or more nodes."
        )
    coefficients = Coefficients(list(chosen), initialize=0.0)
    coefficients.form = f"functions of {observation} made of {listed(list(chosen))}"
    block.add_component(f"{name}_coefficients", coefficients)
    rows = dict(zip(labels, table, strict=True))
    expression = Policy(
        list(labels),
        initialize={label: pyo.quicksum(float(x) * coefficients[f] for f, x in zip(chosen, row, strict=True) if x)
                    for label, row in rows.items()},
    )  # fmt: skip
    expression.observation, expression.coefficients = observation, coefficients
    block.add_component(name, expression)
    return expression


def policy_form(variables: Iterable[Any]) -> str:
    """What a follower's deviations are among, where it decides by policies; empty where by none."""
    forms = (getattr(var.parent_component(), "form", "") for var in variables)
    return "; ".join(dict.fromkeys(form for form in forms if form))


def is_idle(signal: Any) -> bool:
    """True for what a policy does where all its features are 0: nobody moves it."""
    policy = isinstance(getattr(signal, "parent_component", lambda: None)(), Policy)
    return policy and next(identify_variables(signal.expr), None) is None


def _features(observation: str, labels: Sequence[Hashable], features: Any) -> dict[str, Feature]:
    """Name → function of the label: 1 and each number that the observation shows, unless others are given."""
    if features is not None:
        if isinstance(features, Mapping) and features and all(callable(f) for f in features.values()):
            return {str(name): feature for name, feature in features.items()}
        raise InvalidGame(f"features={features!r}: expected {{name: function of what {observation} shows}}.")
    if isinstance(labels[0], tuple):
        parts: dict[str, Feature] = {f"{observation}[{i}]": itemgetter(i) for i in range(len(labels[0]))}
    else:
        parts = {observation: lambda label: label}
    return {"constant": lambda _: 1.0, **parts}


def _values(observation: str, labels: Sequence[Hashable], features: Mapping[str, Feature]) -> Array:
    """(labels × features) numbers; raises :class:`InvalidGame` where a feature gives none."""
    table = np.empty((len(labels), len(features)))
    for row, label in enumerate(labels):
        for column, (name, feature) in enumerate(features.items()):
            try:
                value = feature(label)
                table[row, column] = math.nan if isinstance(value, str) else value
            except (ArithmeticError, LookupError, TypeError, ValueError):
                table[row, column] = math.nan
            if not math.isfinite(table[row, column]):
                raise InvalidGame(
                    f"policy: the feature {name} of {observation} has no value at {label!r}; "
                    "pass features={name: function of what is shown}."
                )
    return table
