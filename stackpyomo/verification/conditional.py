"""Conditional verification: what each follower could gain by deviating after it has seen its observation.

    regret_k(y) = ( J_k(plan) − min_{v = u_k[y]} J_k(v, the rest of u_k as planned, the leader's answer) ) / P(y)

A follower whose expected cost and rows fall apart by atom is settled by its best response to all of them at once: the
regrets are what each atom contributes. Otherwise every atom is re-solved with the others held at the plan. Variables
that stand for no observation (the threshold and excesses of a CVaR) are free in every such re-solve.

Unfolding: policies as decisions of their own at every value of the observation, to look for deviations of any form.

Against functions of one form a plan may be everybody's best answer though another function would be better. The game is
taken on a clone in which u(y) is a Var for each atom of y, at the value that the policy has there; what the leader
announces is a function of the actions, and stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name

from stackpyomo.core import TOLERANCES, fixed, is_within, tracked, undisturbed
from stackpyomo.core.expressions import number_of, sized, terms, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, component_pairs, evaluator, twin_of
from stackpyomo.games.information import Announcement, Policy, Scenarios, Signal, read_observation

from .best_response import Composed
from .effort import Effort
from .regret import best_responses, examine


def conditional_regret(subject: Any, scenarios: Scenarios, actions: Any, *, solver: str = "auto") -> pd.DataFrame:
    """What each follower could gain in each situation that it can tell apart, given what it observes there.

    Of a policy all actions count as deviations, not only functions of its form.

    Parameters
    ----------
    subject : Plan or Incentive
        What is announced.
    scenarios : Scenarios
        What the followers' Vars are indexed by.
    actions : ComponentMap or list of pairs
        Follower Var, or policy → the observation its index stands for.
    solver : str, default "auto"
        As for :func:`verify`.

    Returns
    -------
    DataFrame
        A row for each follower and atom: ``probability``, ``regret`` (given the atom, in the follower's unit),
        ``certificate``.

    Raises
    ------
    InvalidGame
        No follower owns a Var, or its index is not the observation's atoms.
    """
    subject, actions = unfolded(subject, component_pairs(actions, "actions", "observation"))
    game: Game = subject.attached()
    parts = list(_parts(game, scenarios, actions))
    names = list(dict.fromkeys(part.follower for part in parts))
    report, problems = examine(subject, Effort(solver, together=False), names)
    rows: list[tuple[Any, ...]] = []
    with undisturbed():
        pieces: dict[str, list[Composed]] = {}
        for problem in problems:
            pieces.setdefault(problem.follower.name, []).append(problem)
        with tracked("atom by atom", len(pieces)) as step:
            for name, own_pieces in pieces.items():
                own = [part for part in parts if part.follower == name]
                best, regret = report.best_response[name], float(report.regret[name])
                regrets = _Atoms(own_pieces, own, best, regret, solver).regrets()
                kind = str(report.certificate[name])
                rows += [
                    (part.follower, part.atom, part.probability, gain, kind if exact else evidence)
                    for part, (gain, exact, evidence) in zip(own, regrets, strict=True)
                ]
                step()
    return pd.DataFrame(rows, columns=["follower", "atom", "probability", "regret", "certificate"])


@dataclass
class _Part:
    """What a follower decides after one observation."""

    follower: str
    atom: Hashable
    probability: float
    names: list[str]


def _parts(game: Game, scenarios: Scenarios, actions: Any) -> Iterator[_Part]:
    parts: dict[tuple[str, Hashable], _Part] = {}
    for key, observation in component_pairs(actions, "actions", "observation"):
        component = game.component(key) if isinstance(key, str) else key
        weights = scenarios.atom_probability(observation).to_numpy()
        for atom, probability in zip(scenarios.atoms(observation), weights, strict=True):
            try:
                var = component[atom] if component.is_indexed() else component
            except KeyError:
                raise InvalidGame(f"{component.name}[{atom}]: not in its index; index it by {observation}.") from None
            owner = game.owners.get(id(var))
            if owner is None:
                raise InvalidGame(f"{var.name}: no follower decides on it.")
            if not var.fixed and probability > 0.0:
                place = (owner, (observation, atom))
                part = parts.setdefault(place, _Part(owner, atom, float(probability), []))
                part.names.append(game.names[id(var)])
    yield from parts.values()


class _Atoms:
    """The composed problem of one follower, taken atom by atom.

    Under a projected strategy it is several pieces in the same variables, the one that the plan is in first.
    """

    def __init__(
        self, pieces: Sequence[Composed], parts: Sequence[_Part], best: dict[str, float], regret: float, solver: str
    ) -> None:
        self.pieces, self.problem = pieces, pieces[0]
        self.parts, self.best, self.regret, self.solver = parts, best, regret, solver
        self._tables: dict[int, dict[int, dict[int, tuple[float, Any]]]] = {}

    def regrets(self) -> list[tuple[float, bool, str]]:
        """(regret given the atom, whether the joint re-solve shows it, else the evidence)."""
        place = {name: i for i, name in enumerate(self.problem.names)}
        own = [[place[name] for name in part.names] for part in self.parts]
        loose = set(range(len(place))).difference(*own)
        joint = self._joint(own)
        return [
            self._alone({*columns, *loose}, part.probability)
            if joint is None or part.probability < TOLERANCES.rare
            else (regret, True, "")
            for part, columns, regret in zip(self.parts, own, joint or [math.nan] * len(own), strict=True)
        ]

    def _joint(self, own: Sequence[Sequence[int]]) -> list[float] | None:
        """What the joint best response brings at each atom, given the atom; None where that shows nothing."""
        # Of several pieces no single cost holds everywhere, so that an atom's part of the joint answer shows nothing.
        if len(self.pieces) > 1 or not self.best or math.isnan(self.regret) or not self._falls_apart(own):
            return None
        regrets = self._contributions(own)
        total = math.fsum(part.probability * regret for part, regret in zip(self.parts, regrets, strict=True))
        scale = max(self.problem.unit, abs(self.problem.cost_at(self.problem.target)))
        return regrets if abs(total - self.regret) <= TOLERANCES.noise * scale else None

    def _falls_apart(self, own: Sequence[Sequence[int]]) -> bool:
        """True if every variable belongs to an atom, and no row ties two atoms together."""
        atom = {id(self.problem.variables[place]): number for number, places in enumerate(own) for place in places}
        ties = ({atom[id(v)] for v in variables_in(row.body) if id(v) in atom} for row in self.problem.rows)
        return len(atom) == len(self.problem.variables) and all(len(tied) <= 1 for tied in ties)

    def _contributions(self, own: Sequence[Sequence[int]]) -> list[float]:
        """What each atom's best response brings by itself, given the atom: by the terms that hold its actions alone."""
        answer = [self.best[name] for name in self.problem.names]
        self.problem.cost_at(self.problem.target)
        regrets = []
        for part, places in zip(self.parts, own, strict=True):
            cost = self._given(self.problem.cost, self.problem, places, part.probability)
            planned = number_of(cost)
            for place in places:
                self.problem.variables[place].set_value(answer[place], skip_validation=True)
            regrets.append(max(0.0, planned - number_of(cost)))
            for place in places:
                self.problem.variables[place].set_value(self.problem.target[place], skip_validation=True)
        return regrets

    def _given(self, cost: Any, piece: Composed, places: Sequence[int], probability: float) -> Any:
        """The terms of a cost that hold these actions, over the probability: what no other term can drown."""
        table = self._table(cost)
        chosen = {n: entry for i in places for n, entry in table.get(id(piece.variables[i]), {}).items()}
        return pyo.quicksum(factor / probability * term for _, (factor, term) in sorted(chosen.items()))

    def _table(self, cost: Any) -> dict[int, dict[int, tuple[float, Any]]]:
        """id(Var) → the terms of a cost that hold it; first asked for while nothing is fixed: what is, is a number."""
        if id(cost) not in self._tables:
            table: dict[int, dict[int, tuple[float, Any]]] = {}
            for number, (factor, term) in enumerate(terms(cost)):
                for var in variables_in(term):
                    table.setdefault(id(var), {})[number] = (factor, term)
            self._tables[id(cost)] = table
        return self._tables[id(cost)]

    def _step(self, piece: Composed, places: Sequence[int]) -> float:
        """By how much the terms that do not hold these actions are more than in the piece of the plan."""
        free = {id(piece.variables[i]) for i in places}
        sides = [
            sign * factor * number_of(term)
            for sign, part in ((1.0, piece), (-1.0, self.problem))
            for factor, term in terms(part.cost)
            if free.isdisjoint(map(id, variables_in(term)))
        ]
        return math.fsum(sides)

    def _alone(self, free: set[int], probability: float) -> tuple[float, bool, str]:
        """A re-solve of the ``free`` variables, the others at the plan: every piece, judged as verify judges it."""
        for cost in (self.problem.own, *(piece.cost for piece in self.pieces)):
            self._table(cost)
        self.problem.cost_at(self.problem.target)
        others = [var for place, var in enumerate(self.problem.variables) if place not in free]
        with fixed(others, [var.value for var in others]):
            (problem,) = best_responses(list(self._held(sorted(free), probability)), Effort(self.solver), {})
        if problem.certificate == "unknown":
            return math.nan, False, "unknown"
        return max(0.0, problem.plan_cost - problem.best_cost), False, problem.certificate

    def _held(self, free: Sequence[int], probability: float) -> Iterator[Composed]:
        """The pieces with the other variables fixed, without those in which these variables cannot be."""
        home: Composed | None = None
        for piece in self.pieces:
            moved, still = [], list(piece.constants)
            for row in piece.rows:
                if all(var.fixed for var in variables_in(row.body)):
                    still.append(sized(row.body, row.lb, row.ub))
                else:
                    moved.append(row)
            names, target = [piece.names[i] for i in free], [piece.target[i] for i in free]
            variables = [piece.variables[i] for i in free]
            cost, own = (
                self._given(expression, piece, free, probability) for expression in (piece.cost, self.problem.own)
            )
            cost += 0.0 if piece is self.problem else self._step(piece, free) / probability
            restricted = Composed(piece.follower, names, target, cost, moved, still, variables, home=home)
            restricted.own, restricted.answers, restricted.steps = own, self.problem.answers, self.problem.steps
            if home is None or all(is_within(*row) for row in still):  # else the piece holds no point
                home = home or restricted
                yield restricted


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
