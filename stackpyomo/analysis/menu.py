"""Menus: what any announced strategy could reach with followers whose types the leader cannot see.

Whatever a rule answers, a follower of type a ends with some item (u0, u)_a, and could have behaved as type b does. So
the items of every rule satisfy, for each pair of types that the leader cannot tell apart,

    J_k(item of a; a) ≤ J_k(item of b; a)                                   (self-selection; in expectation over others)

and the best items are a bound on every rule, affine or not, where every type can do what the others do: what its bounds
or its own rows forbid it, nothing has to keep it from. They are reached by a rule if every action off the menu
has a punishment for all types: sup_{u0} min_a [J(u0, v; a) − J(item of a; a)] ≥ 0 (screening; Mussa, Rosen 1978).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, bounds_of, triplets, undisturbed
from stackpyomo.core.expressions import Substitution, apart, number_of, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, component_pairs, require
from stackpyomo.games.information import Scenarios
from stackpyomo.plans import Plan, leading_problem, read_options, respond
from stackpyomo.solvers import natural_size

_ACTIONS = 41  # Actions off the menu that are looked at for a common punishment, on a grid or at random.
_CORNERS = 256  # Corners of the leader's bounds up to which all are tried as punishments.


def best_menu(
    game: Game,
    scenarios: Scenarios,
    *,
    types: Any = None,
    solver: str = "auto",
    starts: int = 4,
    time_limit: float | None = None,
    tee: bool = False,
    seed: int = 0,
) -> Plan:
    """The leader's best menu: an item (u0, u) for each type, such that no type prefers another type's item.

    min J0 over the items, subject to J_k(own item) ≤ J_k(another type's item). Where the plan is proved "optimal", it
    is a bound on every rule; "feasible" at best where bounds or rows may forbid a type another type's item, which count
    as no obstacle to it.

    Parameters
    ----------
    game : Game
        A follower's Vars are indexed by the atoms of what it observes, its type, and the leader's by the scenarios.
    scenarios : Scenarios
        What the types are part of.
    types : mapping of Block or str to str, optional
        Follower → its observation, where the indices leave it open.
    solver, starts, time_limit, tee, seed : optional
        As for :func:`leader_optimal`; ``starts`` is 4.

    Returns
    -------
    Plan
        The items. ``options["common_punishment"]`` says whether some rule reaches them: True (at all actions looked at,
        evidence), False (not shown for some action), None (not looked at: several followers, or integers).

    Raises
    ------
    InvalidGame
        A follower's type is not found, or a type has probability 0.
    NoPlan
        No items satisfy all rows.
    """
    if not isinstance(game, Game) or not isinstance(scenarios, Scenarios):
        raise InvalidGame("best_menu: expected a Game and the Scenarios that its Vars are indexed by.")
    options = read_options(solver, starts, "auto", time_limit, tee, True, seed)
    with undisturbed():
        require(game)
        observed = _observations(game, scenarios, types)
        screens = [_Screen(game, scenarios, follower, seen) for follower, seen in observed]
        holder = pyo.ConcreteModel(name="menu")
        holder.selection = pyo.ConstraintList()
        for screen in screens:
            for row in screen.rows():
                holder.selection.add(row)
        problem = leading_problem(game, ())
        problem.constraints += [("menu", row) for row in holder.selection.values()]
        plan = respond(game, [], problem, options, sign=game.leader.sign)
        plan.options = {"function": "best_menu", "solver": solver, "starts": starts, "seed": seed}
        _withdraw(plan, [reason for reason in (screen.why_no_bound for screen in screens) if reason])
        _look_for_punishments(plan, screens)
    return plan


def _withdraw(plan: Plan, reasons: Sequence[str]) -> None:
    """No claim to a bound on every rule where a type need not be kept from another type's item."""
    if reasons:
        plan.quality = "feasible" if plan.quality == "optimal" else plan.quality
        plan.bound = plan.gap = plan.epsilon0 = math.nan
        plan.warnings += [f"{reason}, which was left out: the menu is no bound on rules" for reason in reasons]


def _look_for_punishments(plan: Plan, screens: Sequence[_Screen]) -> None:
    """Note whether a rule can reach the menu, and warn where that is not shown."""
    alone = len(screens) == 1 and not screens[0].follower.integers
    missed = screens[0].unpunished(plan.values) if alone else None
    plan.options["common_punishment"] = None if not alone else missed is None
    if not alone:
        plan.warnings.append("whether a rule attains the menu is examined for a single follower only")
    elif missed is not None:
        plan.warnings.append(
            f"the menu bounds every rule, and perhaps no rule reaches it: at {missed} no punishment was found that "
            "every type likes less than its own item"
        )


def _observations(game: Game, scenarios: Scenarios, types: Any) -> list[tuple[Follower, str]]:
    """Each follower with the observation that is its type."""
    pairs = () if types is None else component_pairs(types, "types", "observation")
    given = {key if isinstance(key, str) else getattr(key, "name", str(key)): seen for key, seen in pairs}
    unknown = given.keys() - game.followers.keys()
    if unknown:
        raise InvalidGame(f"types: {min(unknown)} is not a follower of this game.")
    observations = []
    for name, follower in game.followers.items():
        components = [v.parent_component() for v in follower.variables]
        fits = [o for o in scenarios.observations if None not in (_position(c, scenarios.atoms(o)) for c in components)]
        seen = given.get(name) or (fits[0] if len(fits) == 1 else None)
        if seen is None or seen not in fits:
            among = f"; they fit {' and '.join(fits)}: name one by types={{{name!r}: ...}}" if len(fits) > 1 else ""
            raise InvalidGame(f"{name}: its Vars are not all indexed by the atoms of one observation{among}.")
        weights = scenarios.atom_probability(seen)
        never = weights.index[weights.to_numpy() == 0.0]
        if len(never):
            raise InvalidGame(f"{seen}={never[0]}: has probability 0, so that nobody can have this type; leave it out.")
        observations.append((follower, seen))
    return observations


def _position(component: Any, labels: Any) -> int | None:
    """Which part of the index these labels are: −1 the whole; None: no part of it."""
    if not component.is_indexed():
        return None
    keys, names = list(component), set(labels)
    if set(keys) == names:
        return -1
    width = min((len(key) if isinstance(key, tuple) else 0 for key in keys), default=0)
    return next((place for place in range(width) if {key[place] for key in keys} == names), None)


def _entry(var: VarData, place: int, label: Hashable) -> VarData:
    """The entry of the same component with this label in its index."""
    component, index = var.parent_component(), var.index()
    return component[label if place < 0 else (*index[:place], label, *index[place + 1 :])]


def _label(var: VarData, place: int) -> Hashable:
    label: Hashable = var.index() if place < 0 else var.index()[place]
    return label


@dataclass
class _Screen:
    """One follower's types and the items that each can take for its own."""

    game: Game
    scenarios: Scenarios
    follower: Follower
    observation: str
    #: id(leader's Var that it feels, indexed by the scenarios) → (it, the place of the scenario in its index).
    announced: dict[int, tuple[VarData, int]] = field(default_factory=dict)
    #: id(action or leader's Var) → [(aggregate that it moves, rate)].
    moved_by: dict[int, list[tuple[VarData, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cost = apart(self.follower.cost)
        self.atoms = list(self.scenarios.atoms(self.observation))
        responses = self.game.responses()
        self.moved_by.update((key, list(moved)) for key, moved in self.game.movers().items())
        for row, column, rate in triplets(responses.leads):
            led = (responses.variables[row], rate)
            self.moved_by.setdefault(id(responses.drivers[column]), []).append(led)
        felt = [*variables_in(self.cost), *responses.drivers]
        aggregates = {id(v) for v in responses.variables}
        for var in felt:
            if id(var) not in self.game.owners and id(var) not in aggregates and not var.fixed:
                place = _position(var.parent_component(), self.scenarios)
                if place is not None:
                    self.announced[id(var)] = var, place
        known = [c for c in map(str, self.scenarios.outcomes.columns) if self.scenarios.knows(self.observation, c)]
        rest = self.scenarios.outcomes.drop(columns=known)
        self.rest = [tuple(row) for row in rest.itertuples(index=False)] if len(rest.columns) else [()] * len(rest)

    def rows(self) -> Iterator[Any]:
        """J_k(own item) ≤ J_k(another type's) for every pair of types."""
        for own, other in permutations(self.atoms, 2):
            table = self._as_if(own, other)
            if table is not None:
                yield self.cost <= Substitution(substitute=table).walk_expression(self.cost)

    def _as_if(self, own: Hashable, other: Hashable) -> dict[int, Any] | None:
        """What changes where type ``own`` behaves as ``other`` does; None where the leader would notice."""
        table: dict[int, Any] = {}
        for var in self.follower.variables:
            place = _position(var.parent_component(), self.atoms)
            if place is not None and _label(var, place) == own:
                table[id(var)] = _entry(var, place, other)
        for w in self._members(own):
            twins = [u for u in self._members(other) if self.rest[u] == self.rest[w]]
            if len(twins) != 1:
                return None
            for var, place in self.announced.values():
                if _label(var, place) == w:
                    table[id(var)] = _entry(var, place, twins[0])
        return self._carried(table, {id(v): v for v in self.game.variables_by_name.values()})

    def _carried(self, table: dict[int, Any], before: Mapping[int, Any]) -> dict[int, Any]:
        """The table, with the aggregates as what is in it moves them."""
        steps: dict[int, Any] = {}
        for key, level in table.items():
            for aggregate, rate in self.moved_by.get(key, ()):
                steps[id(aggregate)] = steps.get(id(aggregate), before[id(aggregate)]) + rate * (level - before[key])
        return table | steps

    @property
    def why_no_bound(self) -> str:
        """What may forbid a type the item of another one; empty where every type can do what the others do."""
        rows = {_written(row.expr, {}) for row in self.follower.constraints}
        for table in filter(None, (self._as_if(own, other) for own, other in permutations(self.atoms, 2))):
            for var in self.follower.variables:
                twin = table.get(id(var), var)
                (low, high), (lowest, highest) = bounds_of(twin), bounds_of(var)
                whole = var.domain != twin.domain and not var.is_continuous()
                if low < lowest or high > highest or whole or any(v.fixed for v in var.parent_component().values()):
                    return f"{var.name}: its bounds may forbid a type another type's item"
            for row in self.follower.constraints:
                if _written(row.expr, table) not in rows:
                    return f"{row.name}: may forbid a type another type's item"
        return ""

    def _members(self, atom: Hashable) -> list[int]:
        return [w for w in self.scenarios.members(self.observation, atom) if self.scenarios.probability[w] > 0.0]

    # --- punishments --------------------------------------------------------------------------------------------------

    def unpunished(self, values: Mapping[str, float]) -> str | None:
        """An action off the menu at which no announcement was found that all types mind; None: each has one.

        Types with one scenario each are looked at; others are taken at the first of theirs.
        """
        at = {id(var): values[name] for name, var in self.game.variables_by_name.items()}
        plain = number_of(Substitution(substitute=at).walk_expression(self.cost))
        own = [v for v in self.follower.variables if self._of(v) == self.atoms[0]]
        threats = list(self._threats(values))
        room = TOLERANCES.feasibility * natural_size(self.cost, at) + TOLERANCES.rounding * abs(plain)
        for action in self._actions(own):
            regrets = [[self._change(at, a, own, action, threat) - plain for a in self.atoms] for threat in threats]
            if not any(min(changes) >= -room for changes in regrets):
                return ", ".join(f"{v.name}={x:.6g}" for v, x in zip(own, action, strict=True))
        return None

    def _of(self, var: VarData) -> Hashable:
        place = _position(var.parent_component(), self.atoms)
        assert place is not None
        return _label(var, place)

    def _actions(self, own: Sequence[VarData]) -> Iterator[Sequence[float]]:
        boxes = [_box(v) for v in own]
        if len(own) == 1:
            yield from ([float(x)] for x in np.linspace(*boxes[0], _ACTIONS))
            return
        random = np.random.default_rng(0)
        yield from ([float(random.uniform(*box)) for box in boxes] for _ in range(_ACTIONS))

    def _threats(self, values: Mapping[str, float]) -> Iterator[list[float]]:
        """Values of the leader's variables of one scenario: the corners of their bounds, and the items' own."""
        first = self._of_scenario(self._members(self.atoms[0])[0])
        boxes = [(*_box(v), 0.0) for v in first]
        if len(boxes) and 2 ** len(boxes) <= _CORNERS:
            yield from (list(corner) for corner in product(*(box[:2] for box in boxes)))
        for atom in self.atoms:
            yield [values[self.game.names[id(v)]] for v in self._of_scenario(self._members(atom)[0])]

    def _of_scenario(self, scenario: int) -> list[VarData]:
        return [var for var, place in self.announced.values() if _label(var, place) == scenario]

    def _change(
        self, at: Mapping[int, float], atom: Hashable, own: Sequence[VarData], action: Sequence[float], threat: Any
    ) -> float:
        """The cost where type ``atom`` takes the action and is answered by the threat, all else as on the menu."""
        table: dict[int, Any] = {}
        for var, level in zip(own, action, strict=True):
            place = _position(var.parent_component(), self.atoms)
            assert place is not None
            table[id(_entry(var, place, atom))] = level
        for w in self._members(atom):
            table.update({id(v): level for v, level in zip(self._of_scenario(w), threat, strict=True)})
        levels = {**at, **self._carried(table, at)}
        cost = number_of(Substitution(substitute=levels).walk_expression(self.cost))
        return cost if math.isfinite(cost) else -math.inf


def _written(expression: Any, table: Mapping[int, Any]) -> str:
    visitor = Substitution(substitute=table, descend_into_named_expressions=True, remove_named_expressions=True)
    return str(visitor.walk_expression(expression))


def _box(var: VarData) -> tuple[float, float]:
    low, high = var.lb, var.ub
    far = TOLERANCES.trust if low is None and high is None else TOLERANCES.reach * max(1.0, abs(low or high or 0.0))
    return (float(-far if low is None else low), float(far if high is None else high))
