"""Poles: observations at which no gain of finite energy holds a follower.

A leader who knows no more than the follower answers its action at y with one number alone, K(y) = −ā(y)/b̄(y), with
ā, b̄ the expected derivatives given y. Where b̄ changes sign and ā does not vanish, K has a pole, and for a continuous
observation E[K²] is infinite: what a grid of atoms shows is the grid's. Where the leader knows more, the gain of least
energy divides by E[b² | y], which has no zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import Array, listed
from stackpyomo.errors import InvalidGame
from stackpyomo.games import component_pairs
from stackpyomo.games.information import Scenarios
from stackpyomo.incentives import Incentive


def poles(rule: Incentive, scenarios: Scenarios, actions: Any) -> pd.DataFrame:
    """Poles of a rule between neighbouring atoms, where its gain would have to be infinite.

    A zero of b̄, the slope of the follower's cost in the leader's variable, that neighbours do not show, or at which
    the slope ā in its own action vanishes as well, is none.

    Parameters
    ----------
    rule : Incentive
        Made in this process, not read from JSON.
    scenarios : Scenarios
        What the followers' Vars are indexed by.
    actions : ComponentMap or list of (Var, str)
        Follower Var → the observation its index stands for, which shows numbers.

    Returns
    -------
    DataFrame
        A row for each pole: ``action``, ``below``, ``above``, ``pole`` (about), ``slope``; ``attrs["message"]`` says it
        in words.

    Raises
    ------
    InvalidGame
        Atoms are no numbers, or the incentive was read from JSON.
    """
    if rule.system is None:
        raise InvalidGame("poles: this incentive was read from JSON, without its equations; design it anew.")
    rows = [row for key, observation in component_pairs(actions, "actions", "observation")
             for row in _crossings(rule, scenarios, key, observation)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["action", "below", "above", "pole", "slope"])
    table.attrs["message"] = _message(table)
    return table


def _crossings(rule: Incentive, scenarios: Scenarios, key: Any, observation: str) -> Iterator[tuple[Any, ...]]:
    """(action, atom below, atom above, zero of b, slope) where b = ∂J/∂u0 changes sign and the slope does not."""
    game = rule.attached()
    component = game.component(key) if isinstance(key, str) else key
    weights = scenarios.atom_probability(observation)
    atoms = sorted(_number(observation, atom) for atom, weight in weights.items() if weight > 0.0)
    place = {name: i for i, name in enumerate(rule.actions_seen)}
    try:
        rows = [place[game.names[id(component[atom])]] for atom in atoms]
    except (KeyError, TypeError):
        raise InvalidGame(
            f"{component.name}: no action of a follower with one value per atom of {observation}."
        ) from None
    effect, slope = _balanced(rule, np.array(rows))
    power = weights.loc[atoms].to_numpy()
    for (low, high), (i, j) in zip(pairwise(atoms), pairwise(range(len(atoms))), strict=True):
        if effect[i] * effect[j] < 0.0 < slope[i] * slope[j]:
            before, after = abs(effect[i]) / power[i], abs(effect[j]) / power[j]
            zero = low + (high - low) * before / (before + after)
            yield component.name, low, high, zero, (slope[i] / power[i] + slope[j] / power[j]) / 2


def _balanced(rule: Incentive, rows: Array) -> tuple[Array, Array]:
    """(b, slope) of the equations slope + b · K = 0; b is taken for 0 where several entries of K stand in one."""
    assert rule.system is not None
    matrix = rule.system.matrix[rows]
    effect = np.where(np.diff(matrix.indptr) == 1, np.asarray(matrix.sum(axis=1)).ravel(), 0.0)
    return effect, -np.asarray(matrix @ rule.system.as_entries(rule.matrix))


def _number(observation: str, atom: Any) -> float:
    if isinstance(atom, bool) or not isinstance(atom, (int, float)):
        raise InvalidGame(
            f"{observation}: shows {atom!r}; poles are looked for between numbers, which it does not show."
        )
    return atom


def _message(table: pd.DataFrame) -> str:
    if table.empty:
        return "No pole was found: ∂J/∂u0 changes its sign nowhere between neighbouring atoms where the slope does not."
    places = [f"{row.action} at about {row.pole:.6g}" for row in table.itertuples()]
    return (
        f"No gain of finite energy: {listed(places)}. There what the follower feels of the leader's answer changes "
        "sign while its own slope does not vanish: for a continuous observation the gain has a pole and E[Q²] is "
        "infinite. The energy reported is that of this grid of atoms, and grows without limit as the grid is refined. "
        "Let the leader know or move something more that the follower feels."
    )
