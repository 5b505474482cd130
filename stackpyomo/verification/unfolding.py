"""Unfolding: policies as decisions of their own at every value of the observation, to look for deviations of any form.

Against functions of one form a plan may be everybody's best answer though another function would be better. The game is
taken on a clone in which u(y) is a Var for each atom of y, at the value that the policy has there; what the leader
announces is a function of the actions, and stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name

from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, evaluator, twin_of
from stackpyomo.games.information import Announcement, Policy, Signal, read_observation

__all__ = ["unfolded"]


@dataclass(frozen=True)
class Unfolded:
    """What was announced, in a game whose policies are decisions of their own."""

    game: Game
    announcement: Announcement

    def attached(self) -> Game:
        """The game in which it is announced."""
        return self.game


def unfolded(subject: Any, actions: Sequence[tuple[Any, str]]) -> tuple[Any, list[tuple[Any, str]]]:
    """The Plan or Incentive with its followers' policies unfolded, and the pairs (Var or Policy, observation) in it.

    Without a policy among the actions, what was given. Raises :class:`InvalidGame` where the leader answers the
    coefficients of a policy: it has no answer to an action that is of another form.
    """
    game: Game = subject.attached()
    named = [(game.model.find_component(key) if isinstance(key, str) else key, seen) for key, seen in actions]
    if not any(isinstance(key, Policy) for key, _ in named):
        return subject, list(actions)
    announced: Announcement = subject.announcement
    model = game.model.clone()
    for name, var in game.variables_by_name.items():
        _twin(game, model, var).set_value(announced.values[name], skip_validation=True)
    at_plan = evaluator(game, announced.values)
    decisions = {id(p): _decision(_twin(game, model, p), at_plan, p) for p in _policies(game)}
    twin = twin_of(game, model)
    pairs = [(decisions.get(id(key)) or _twin(game, model, key), seen) for key, seen in named]
    signals = [_signal(twin, signal) for signal in announced.signals]
    return Unfolded(twin, replace(announced, values=twin.current_values(), signals=signals)), pairs


def _policies(game: Game) -> Iterator[Policy]:
    for follower in game.followers.values():
        components = follower.block.component_objects(pyo.Expression, active=True, descend_into=True)
        yield from (component for component in components if isinstance(component, Policy))


def _twin(game: Game, model: Any, component: Any) -> Any:
    twin = model.find_component(component.getname(fully_qualified=True, relative_to=game.model))
    if twin is None:
        raise InvalidGame(f"{component}: not a component of {game.name!r}.")
    return twin


def _decision(policy: Policy, at_plan: Any, original: Policy) -> Any:
    """A Var in the place of the policy's expressions."""
    levels = {label: at_plan(original[label]) for label in original}
    block = policy.parent_block()
    decision = pyo.Var(list(levels), initialize=levels)
    block.add_component(unique_component_name(block, f"{policy.local_name}_decision"), decision)
    for label in levels:
        policy[label].set_value(decision[label])
    for coefficient in policy.coefficients.values():
        coefficient.fix()
    return decision


def _signal(twin: Game, signal: Signal) -> Signal:
    """The signal as it reads where policies are decisions."""
    component = twin.model.find_component(signal.name)
    if component is not None and component.ctype is pyo.Expression:
        return read_observation(twin, [component]).signals[0]
    actions = {twin.names[id(v)] for v in twin.actions}
    lost = sorted(signal.terms.keys() - actions - {twin.names[id(v)] for v in twin.aggregate_variables()})
    if lost:
        raise InvalidGame(
            f"{signal.name}: the leader answers {lost[0]}, a coefficient, and has no answer to an action of another "
            "form. Let it answer the policy itself: scenarios.observe(leader, [(block.policy, observation)])."
        )
    return signal
