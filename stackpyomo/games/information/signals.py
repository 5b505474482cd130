"""Signals: what the leader observes of the followers, each linear in their actions.

    s = s₀ + C u        ds_j = M du_k,  M = C / size_k for one member of a population, 1 for its own action

A signal is a follower's own action (a population's: each member's own), an aggregate variable, or any expression that
is linear in these. Of an aggregate that holds the leader's own variables the signal is what the followers make of it.
Where it is asked for, a signal may be any other function σ of the followers' actions: what a deviation shows of it is
σ(v, the others as planned) − σ*, of one member of a population 1/size of that.
``observe`` says who may use which: all of them for every leader variable, or a mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from pyomo.common.errors import PyomoException
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.indexed_component_slice import IndexedComponent_slice
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, entries_in, listed
from stackpyomo.core.expressions import Substitution, affine_terms, number_of, variables_in
from stackpyomo.errors import GameFileError, InvalidGame
from stackpyomo.games.aggregates import from_entries
from stackpyomo.games.files import MEAN, Formula, identifiers
from stackpyomo.games.selection import by_component, members
from stackpyomo.games.structure import GameStructure, action_names


@dataclass(frozen=True)
class Observation:
    """The signals, and which of them each leader variable may use (None: every one may use them all)."""

    signals: list[Signal]
    #: Leader variable → numbers of its signals; absent: it announces a constant.
    permitted: dict[str, set[int]] | None = None
    listed: dict[str, list[int]] = field(default_factory=dict)  #: The same in the order in which they were named.

    def of(self, leader: str) -> list[int]:
        """Numbers of the signals that a leader variable may use, in the order in which they were named."""
        return list(range(len(self.signals))) if self.permitted is None else self.listed.get(leader, [])


@dataclass(frozen=True)
class Shares:
    """How signals follow actions: ``sums`` when a whole block moves, ``moves`` when one member does."""

    #: (signals × actions) what all members of the action's block move together (infinite for own signals of ∞).
    sums: sparse.csr_array
    moves: sparse.csr_array  #: (signals × actions) what one member's deviation moves.


def counts(game: GameStructure, signals: Sequence[Signal]) -> Array:
    """How many followers show each signal: an action of its own every member of its population, others one."""
    sizes = dict(zip((game.names[id(v)] for v in game.actions), game.action_sizes, strict=True))
    return np.array([sizes.get(s.name, 1.0) if s.own else 1.0 for s in signals], dtype=float)


def own_actions(game: GameStructure) -> list[Signal]:
    """Every action as a signal: full observation (OCS)."""
    names = game.names
    return [Signal(names[id(v)], 0.0, {names[id(v)]: 1.0}, own=True) for v in game.actions]


def read_observation(game: GameStructure, observe: Any, *, curved: bool = False) -> Observation:
    """``observe`` of :func:`stackpyomo.affine_incentive`, read. Raises :class:`InvalidGame` naming what is wrong.

    curved: whether signals may be other than linear.
    """
    observation = _observation(game, observe, curved)
    noisy = {game.names[id(v)]: f.name for f in game.followers.values() if f.noise is not None for v in f.variables}
    for signal in observation.signals:
        if signal.own and signal.name in noisy:
            raise InvalidGame(
                f"observe=: {signal.name}: what one member of {noisy[signal.name]} does tells a leader who does not "
                "know its noise nothing of the scenario. Observe aggregates, or the actions of others."
            )
    return observation


def _observation(game: GameStructure, observe: Any, curved: bool) -> Observation:
    only = observe[0] if isinstance(observe, list) and len(observe) == 1 else observe
    if isinstance(only, str) and only == "actions":
        return Observation(own_actions(game))
    reader = _Reader(game, curved)
    pairs = _mapping(observe)
    if pairs is None:
        reader.add(observe)
        return Observation(reader.signals)
    permitted: dict[str, set[int]] = {}
    listing: dict[str, list[int]] = {}
    for (_, seen), variables in zip(pairs, by_component(game, [key for key, _ in pairs]), strict=True):
        used = reader.add(own_actions(game) if isinstance(seen, str) and seen == "actions" else seen)
        for var in variables:
            permitted.setdefault(game.names[id(var)], set()).update(used)
            order = listing.setdefault(game.names[id(var)], [])
            order += [place for place in used if place not in order]
    return Observation(reader.signals, permitted, listing)


def causal(leader: Any, signals: Any, *, lag: int = 1) -> ComponentMap:
    """Signals of a leader that acts in time: in each period it sees what followers did up to ``lag`` periods before.

    For ``observe``: leader[t, …] → every signal[s, …] with s ≤ t − lag. The first index is the time, a number. Where
    leader and signal both have further indices, only a signal that shares them is seen. What the leader does before the
    first signal is a constant.

    Parameters
    ----------
    leader : indexed Var
        What the leader decides.
    signals : Var, Expression or list of these
        What it sees, indexed by time.
    lag : int, default 1
        Periods between an action and the first answer to it, from 0 on.

    Returns
    -------
    ComponentMap
        Leader Var → its signals.

    Raises
    ------
    InvalidGame
        A component has no time, or the lag looks into the future.

    Examples
    --------
    >>> m = pyo.ConcreteModel()
    >>> m.price, m.use = pyo.Var([1, 2, 3]), pyo.Var([1, 2, 3])
    >>> {price.name: [use.name for use in seen] for price, seen in sp.causal(m.price, m.use).items()}
    {'price[1]': [], 'price[2]': ['use[1]'], 'price[3]': ['use[1]', 'use[2]']}
    """
    if isinstance(lag, bool) or not isinstance(lag, int) or lag < 0:
        raise InvalidGame(f"lag={lag!r}: expected an integer from 0 on; nobody answers to what has not happened yet.")
    seen = [(*_moment(key, item), entry) for item in _items(signals) for key, entry in _timed(item).items()]
    known: ComponentMap = ComponentMap()
    for key, var in _timed(leader).items():
        now, rest = _moment(key, leader)
        known[var] = [entry for time, of, entry in seen if time <= now - lag and (of == rest or not (of and rest))]
    return known


def _timed(component: Any) -> Any:
    if not getattr(component, "is_indexed", bool)():
        name = getattr(component, "name", component)
        raise InvalidGame(f"{name}: has no index for time; index it by the period first.")
    return component


def _moment(key: Any, component: Any) -> tuple[float, tuple[Any, ...]]:
    """(time, further indices)."""
    time, *rest = key if isinstance(key, tuple) else (key,)
    if isinstance(time, bool) or not isinstance(time, (int, float)):
        raise InvalidGame(f"{component.name}[{time}]: its first index is not a number; index it by the period first.")
    return time, tuple(rest)


def _mapping(observe: Any) -> list[tuple[Any, Any]] | None:
    """The pairs of a mapping leader variable → signals; None if it is no mapping."""
    if isinstance(observe, (ComponentMap, Mapping)):
        return list(observe.items())
    if isinstance(observe, (list, tuple)) and observe and all(isinstance(p, tuple) and len(p) == 2 for p in observe):
        return [(key, listed) for key, listed in observe]
    return None


class _Reader:
    """Collects signals, each once, in the order they are named."""

    def __init__(self, game: GameStructure, curved: bool) -> None:
        self.game, self.curved = game, curved
        self.signals: list[Signal] = []
        self._place: dict[str, int] = {}
        self._actions = {id(v) for v in game.actions}
        self._responses = game.responses()
        self._aggregates = {id(v): i for i, v in enumerate(self._responses.variables)}

    def add(self, listed: Any) -> list[int]:
        """Numbers of the signals named by a component, a name, an expression or a list of these."""
        used = []
        for item in _items(listed):
            for signal in self._read(item):
                if signal.name not in self._place:
                    self._place[signal.name] = len(self.signals)
                    self.signals.append(signal)
                place = self._place[signal.name]
                if self.signals[place] != signal:
                    raise InvalidGame(f"observe=: two different signals are called {signal.name}; name one of them.")
                used.append(place)
        return used

    def _read(self, item: Any) -> Iterator[Signal]:
        if isinstance(item, Signal):
            yield item
            return
        if isinstance(item, IndexedComponent_slice):  # m.district[:].use
            for part in item:
                yield from self._read(part)
            return
        component = self._named(item) if isinstance(item, str) else item
        if isinstance(component, Signal):
            yield component
            return
        kind = getattr(component, "ctype", None)
        if kind is pyo.Var:
            yield from (self._variable(v) for v in members(self.game, component) if not v.fixed)
        elif kind is pyo.Expression and component.is_indexed():
            yield from (self._expression(e, e.name) for e in component.values())
        elif kind is pyo.Expression:
            yield self._expression(component, component.name)
        elif kind is None and hasattr(component, "is_expression_type"):
            yield self._expression(component, str(component))  # its .name would be "sum", whatever it adds up
        else:
            rows = list(component.values()) if kind is pyo.Constraint else []
            meant = rows and all(any(row is known for known in self.game.aggregates) for row in rows)
            hint = " Observe the Var that this equality defines." if meant else ""
            raise InvalidGame(
                f"observe=: {item} is not a signal. Name Vars or Expressions that are linear in the followers' "
                f"actions, or a mapping leader variable → list of these.{hint}"
            )

    def _named(self, name: str) -> Any:
        """The component of that name; or what a game file writes: a formula of actions, "mean of" a population's."""
        try:
            return self.game.component(name)
        except InvalidGame as error:
            inside = name.removeprefix(MEAN)
            variables = {short: v for v, short in self._identifiers()}
            try:
                formula = Formula(inside, variables, lambda message, _: GameFileError(message)).value()
            except GameFileError:
                formula = None
            if getattr(formula, "ctype", None) is pyo.Var or hasattr(formula, "is_expression_type"):
                return self._mean(name, formula) if inside != name else formula
            why = str(error).removeprefix(f"{name}: ")
            raise InvalidGame(f"observe={name!r}: {why} Use 'actions' to observe every action.") from None

    def _identifiers(self) -> Iterator[tuple[VarData, str]]:
        """(Var, its name in a game file)."""
        names = identifiers(self.game)
        by_id = {id(v): v for v in self.game.variables_by_name.values()}
        return ((by_id[key], short) for key, short in names.items())

    def _mean(self, name: str, formula: Any) -> Signal:
        """Not each member's own action, but the mean over the population, of which a member moves its share."""
        if getattr(formula, "ctype", None) is not pyo.Var:
            return self._expression(formula, name)
        full = self.game.names[id(formula)]
        return Signal(f"{MEAN}{full}", 0.0, {full: 1.0}, own=False)

    def _variable(self, var: VarData) -> Signal:
        name = self.game.names.get(id(var))
        if name is None:
            raise InvalidGame(f"observe=: {var.name} is not a variable of {self.game.name}.")
        if id(var) not in self._actions and id(var) not in self._aggregates:
            raise InvalidGame(
                f"observe=: {name} is the leader's own; it observes followers' actions, aggregates, or expressions "
                "of these. If it is an aggregate, pass its constraint as Game(..., aggregates=...)."
            )
        place = self._aggregates.get(id(var))
        if place is not None and (led := entries_in(self._responses.leads, place)):
            return self._followers_part(place, name, [self._responses.drivers[i] for i, _ in led])
        return Signal(name, 0.0, {name: 1.0}, own=id(var) in self._actions)

    def _followers_part(self, place: int, name: str, drivers: Sequence[VarData]) -> Signal:
        """What the followers make of an aggregate: the leader knows what is its own in it."""
        names = self.game.names
        actions, shares = self.game.actions, entries_in(self._responses.shares, place)
        terms = {names[id(actions[i])]: share for i, share in shares}
        without = f"{name} without {listed([names[id(v)] for v in drivers])}"
        return Signal(without, float(self._responses.constants[place]), terms, own=False)

    def _expression(self, expression: Any, name: str) -> Signal:
        terms: dict[str, float] = {}
        try:
            known = affine_terms(expression)
        except (ArithmeticError, AttributeError, TypeError, ValueError, PyomoException):
            known = None
        if known is None:
            return self._curve(expression, name)
        constant, linear = known
        for var, coefficient in linear:
            signal = self._variable(var)
            constant += coefficient * signal.constant
            for seen, weight in signal.terms.items():
                terms[seen] = terms.get(seen, 0.0) + coefficient * weight
            if signal.name != self.game.names[id(var)]:
                name = f"{name}, {signal.name}"
        if not any(terms.values()):
            raise InvalidGame(f"observe=: {name} does not depend on any follower's action.")
        return Signal(name, constant, terms, own=False)

    def _curve(self, expression: Any, name: str) -> Signal:
        """A signal that is not linear: a function of followers' own actions."""
        if not self.curved:
            raise InvalidGame(f"observe=: {name} is not linear in the followers' actions.")
        seen = list(variables_in(expression))
        for var in seen:
            if id(var) not in self._actions:
                raise InvalidGame(
                    f"observe=: {name} is not linear and holds {var.name}, which is not a follower's action. "
                    "Write it in the actions alone."
                )
        owners = {self.game.owners[id(v)] for v in seen}
        crowds = [owner for owner in sorted(owners) if self.game.followers[owner].size != 1]
        if crowds and len(owners) > 1:
            raise InvalidGame(
                f"observe=: {name} is not linear and mixes {crowds[0]}, a population, with others; "
                "give each population signals of its own."
            )
        return Signal(name, 0.0, {self.game.names[id(v)]: 0.0 for v in seen}, own=False, curve=expression)


def slopes_at(game: GameStructure, signals: Sequence[Signal], values: Mapping[str, float]) -> sparse.csr_array:
    """(signals × actions) what one member moves of each at a point: M, and the slopes of what is not linear."""
    moves = shares(game, signals).moves
    if all(signal.curve is None for signal in signals):
        return moves
    column = {id(v): i for i, v in enumerate(game.actions)}
    entries: list[tuple[int, int, float]] = []
    for row, signal in enumerate(signals):
        for var in variables_in(signal.curve) if signal.curve is not None else ():
            slope = differentiate(signal.curve, wrt=var, mode=Modes.reverse_symbolic)
            planned = {id(v): values[game.names[id(v)]] for v in variables_in(signal.curve)}
            level = number_of(Substitution(substitute=planned).walk_expression(slope))
            entries.append((row, column[id(var)], level / float(game.followers[game.owners[id(var)]].size)))
    return sparse.csr_array(moves + from_entries(entries, moves.shape))


def _items(listed: Any) -> Iterable[Any]:
    """One component, one name or one expression is a list of one; a slice (m.district[:].use) is its members."""
    if isinstance(listed, IndexedComponent_slice):  # which has whatever attribute it is asked for
        return list(listed)
    single = isinstance(listed, (str, Signal)) or hasattr(listed, "ctype") or hasattr(listed, "is_expression_type")
    if single or not isinstance(listed, Iterable) or listed.__class__ in native_numeric_types:
        return [listed]
    return listed


def shares(game: GameStructure, signals: Sequence[Signal]) -> Shares:
    """C and M of these signals in the game as it is now. Raises :class:`InvalidGame` for one that is no more."""
    known: dict[int, tuple[Sequence[Signal], Shares]] = game.once("shares", dict)  # these very signals, kept alive
    if id(signals) not in known:
        known[id(signals)] = signals, _shares(game, signals)
    return known[id(signals)][1]


def _shares(game: GameStructure, signals: Sequence[Signal]) -> Shares:
    column = {name: i for i, name in enumerate(action_names(game))}
    responses = game.responses()
    aggregate = {game.names[id(v)]: i for i, v in enumerate(responses.variables)}
    direct: list[tuple[int, int, float]] = []
    through: list[tuple[int, int, float]] = []
    for row, signal in enumerate(signals):
        for name, weight in signal.terms.items():
            if name in column:
                direct.append((row, column[name], weight))
            elif name in aggregate:
                through.append((row, aggregate[name], weight))
            else:
                raise InvalidGame(f"{name}: fixed, freed or added since the incentive was designed. Design it anew.")
    plain = from_entries(direct, (len(signals), len(column)))
    carried = from_entries(through, (len(signals), len(aggregate)))
    together = sparse.csr_array(plain + carried @ responses.shares)
    own = np.array([s.own for s in signals], dtype=bool)
    sizes = np.array(game.action_sizes, dtype=float)
    return Shares(_scaled(together, own, sizes, 0), _scaled(together, own, sizes, 1))


def answers(gain: sparse.sparray, moves: sparse.csr_array) -> sparse.csr_array:
    """Q = K M, what one member's actions do to the leader's variables, without effects that cancel but for rounding.

    Times an action without bounds they would be an answer without limit.
    """
    plain = sparse.csr_array(gain @ moves)
    felt = sparse.csr_array(plain.multiply(abs(plain) > TOLERANCES.noise * (abs(gain) @ abs(moves))))
    felt.eliminate_zeros()
    return felt


def _scaled(together: sparse.csr_array, own: Array, sizes: Array, member: int) -> sparse.csr_array:
    """Own signals: every member has one, so a block moves them size times. Others: a member is 1/size of its block."""
    entries = together.tocoo()
    mine, size = own[entries.row], sizes[entries.col]
    factor = np.where(mine, 1.0, 1.0 / size) if member else np.where(mine, size, 1.0)
    scaled = sparse.csr_array((entries.data * factor, (entries.row, entries.col)), shape=together.shape)
    scaled.eliminate_zeros()
    return scaled


@dataclass(frozen=True)
class Signal:
    """Something the leader observes: constant + Σ weight · action or aggregate; ``own``: one action, each member's."""

    name: str
    constant: float
    terms: Mapping[str, float]
    own: bool
    #: The Pyomo expression of a signal that is not linear (its text, where it was read without a game); its terms are 0
    #: then, and name the actions it holds.
    curve: Any = field(default=None, compare=False, repr=False)

    def value(self, values: Mapping[str, float]) -> float:
        """What it shows at {variable name: value}."""
        if self.curve is not None and not isinstance(self.curve, str):
            table = {id(v): values[name] for v, name in zip(variables_in(self.curve), self.terms, strict=True)}
            return number_of(Substitution(substitute=table).walk_expression(self.curve))
        return self.constant + sum(weight * values[name] for name, weight in self.terms.items())

    def written(self, variables: Mapping[str, VarData]) -> Any:
        """The expression of it in these Vars, by name."""
        if self.curve is not None:
            return self.curve
        return self.constant + sum(weight * variables[name] for name, weight in self.terms.items())


def excursion(game: GameStructure, signal: Signal, values: Mapping[str, float], table: Mapping[int, Any]) -> Any:
    """σ(v, the others as planned) − σ* of a signal that is not linear, for one member of the follower that plays v.

    table: id(action) of that follower → what stands for it. 0 if the signal holds none of them.
    """
    variables = list(variables_in(signal.curve))
    own = [v for v in variables if id(v) in table]
    if not own:
        return 0.0
    planned = {id(v): values[game.names[id(v)]] for v in variables}
    moved = Substitution(substitute={**planned, **{id(v): table[id(v)] for v in own}}).walk_expression(signal.curve)
    return (moved - signal.value(values)) / float(game.followers[game.owners[id(own[0])]].size)
