"""The structure of a game: a leader's Pyomo model and the Blocks in it that are selfish followers.

It only points into the user's model. What it holds is read anew for every plan, incentive and verification:
components, values, bounds, Params, ``fixed`` and ``active`` flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from pyomo.core.base.block import BlockData
from pyomo.core.base.component_namer import index_repr
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, Array, bounds_of, box_of, clipped, limited_reaches, triplets
from stackpyomo.core.expressions import number_of
from stackpyomo.errors import InvalidGame

from .aggregates import Aggregates, definitions, responses
from .couplings import Movers, Price, SharedRow, dealt, priced_rows, recognised, require_felt, shared_constraints
from .players import Follower, Leader, Player, blocks_of, collect_components, populations_of

UNNAMED = "the model"  # What messages call a model without a name.

Answer = TypeVar("Answer")

_LEFT = "left to the next call"  # The question whose answer are the answers that :func:`keep` has begun to keep.


class GameStructure:
    """Who owns what in the user's model: a leader, followers, aggregates, and everybody's names."""

    followers: dict[str, Follower]  #: Name → follower, in the order given.
    leader: Leader  #: The leader: whatever no follower owns; of several leaders, all of them.
    leaders: dict[str, Leader]  #: Name → leader, where there are several; empty otherwise.

    def __init__(
        self,
        model: Any,
        followers: Any,
        *,
        aggregates: Any = (),
        prices: Any = (),
        shared: Any = (),
        leaders: Any = (),
        name: str | None = None,
    ) -> None:
        if not isinstance(model, BlockData) or not model.is_constructed():
            raise InvalidGame(
                "Game(model, ...): the model must be a constructed pyomo ConcreteModel (or Block); "
                "call model.create_instance() on an AbstractModel first."
            )
        self.model = model  #: The user's model; it is never changed.
        self.name = name or (UNNAMED if model.name == "unknown" else model.name)  #: What messages call it.
        self.metadata: dict[str, Any] = {}  #: What a game file says beside the game: citation, notes, ...
        self.target: dict[str, float] = {}  #: A plan to be held: Var name → value; the file's "target".
        self.observe: list[Any] = []  #: What the leader sees, as for ``affine_incentive``; the file's "observe".
        self._populations = list(populations_of(followers))
        self._answers: dict[str, Any] | None = None
        #: The stamp of the data that were last found without an error.
        self.clean: dict[str, str] | None = None
        self.traced: Any = None  #: What the last stamp has walked (:mod:`.stamp`).
        #: (walk, stamp, answers to the questions that depend on nothing else).
        self._known: tuple[Any, dict[str, str], dict[str, Any]] | None = None
        if not self._populations:
            raise InvalidGame("Game(model, followers): no follower given; pass at least one Block.")
        self.shared: list[ConstraintData] = []  #: Rows of the model that every follower feels that moves what is in it.
        self.leader_blocks = blocks_of(leaders)  #: The Blocks of several leaders, as they were given.
        self.rescan()
        #: (aggregate or None, equality) as they were given: what ``aggregates=`` of the same game is.
        self.definitions = definitions(aggregates, self.component, self.leader.rows)
        self.shared = shared_constraints(shared, self.component, self.leader)
        require_felt(self._deal())
        #: Vars that are multipliers of followers' rows.
        self.prices: list[Price] = priced_rows(prices, self.component, self.followers)

    def rescan(self) -> None:
        """Read again which components the model has, as every plan does; raises :class:`InvalidGame` if it cannot."""
        roots = {id(p.block) for p in self._populations}
        players = roots | {id(b) for b in self.leader_blocks}
        self.followers = {}
        bases: dict[int, str] = {}
        for population in self._populations:
            block = population.block
            self._require_place(block, players, "followers")
            follower = Follower(_name_of(block, bases), block=block, size=population.size, noise=population.noise)
            collect_components(block, follower, roots)
            if follower.name in self.followers:
                raise InvalidGame(f"{follower.name}: this follower is given twice.")
            self.followers[follower.name] = follower
        self.leaders = {}
        for block in self.leader_blocks:
            leader = self._leader(block, roots)
            if leader.name in self.leaders:
                raise InvalidGame(f"{leader.name}: this leader is given twice.")
            self.leaders[leader.name] = leader
        self.leader = Leader("leader")
        collect_components(self.model, self.leader, roots)
        for cached in ("variables_by_name", "names", "owners"):
            self.__dict__.pop(cached, None)
        if self._answers is not None:
            self._answers = {}
        self._deal()

    def _deal(self) -> list[ConstraintData]:
        """Shared rows are the followers'; those that nobody feels."""
        if not self.shared:
            return []
        try:
            movers = self.movers()
        except InvalidGame:  # check() names what is wrong with the aggregates
            return []
        return dealt(self.shared, self.leader, self.followers, movers)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Promise that nobody changes the model but its values: :meth:`once` then works out each answer once.

        Yields
        ------
        None
            Leaving the block ends the promise.
        """
        outermost = self._answers is None
        if outermost:
            self._answers = {}
        try:
            yield
        finally:
            if outermost:
                self._answers = None

    def once(self, question: str, answer: Callable[[], Answer]) -> Answer:
        """The answer to a question about the model, worked out once inside :meth:`unchanged`; :meth:`rescan` asks anew.

        Parameters
        ----------
        question : str
            A name for the question.
        answer : callable
            Works the answer out.

        Returns
        -------
        Any
            What ``answer()`` returned the first time.
        """
        if self._answers is None:
            return answer()
        if question not in self._answers:
            self._answers[question] = answer()
        value: Answer = self._answers[question]
        return value

    def _leader(self, block: Any, followers: set[int]) -> Leader:
        """One of several leaders; raises :class:`InvalidGame` for a Block that cannot be one."""
        if id(block) in followers:
            raise InvalidGame(f"{block.name}: is given as a leader and as a follower; leave it out of one of them.")
        others = followers | {id(b) for b in self.leader_blocks if b is not block}
        self._require_place(block, others, "leaders")
        leader = Leader(block.name)
        collect_components(block, leader, others)
        return leader

    def _require_place(self, block: Any, roots: set[int], argument: str) -> None:
        """Raise :class:`InvalidGame` unless the Block is an active one of the model, outside other players'."""
        ancestor = block.parent_block()
        while ancestor is not None and ancestor is not self.model:
            if id(ancestor) in roots:
                raise InvalidGame(f"{block.name}: lies inside another player ({ancestor.name}); make them siblings.")
            ancestor = ancestor.parent_block()
        if ancestor is None:
            which = "" if self.name == UNNAMED else f" {self.name!r}"
            raise InvalidGame(f"{block.name}: is not a Block of the model{which}; add it to the model first.")
        if not block.active:
            raise InvalidGame(f"{block.name}: is deactivated; activate it or leave it out of {argument}=.")

    @property
    def aggregates(self) -> list[ConstraintData]:
        """The equalities that define aggregate variables."""
        return [constraint for _, constraint in self.definitions]

    @property
    def actions(self) -> list[VarData]:
        """Every follower's variables that are not fixed, follower by follower: the columns of gains and shares."""
        return self.once("actions", lambda: [v for f in self.followers.values() for v in f.variables])

    @property
    def action_owners(self) -> Array:
        """For each action the number of the follower that owns it."""
        return self.once("action_owners", self._owners_of_actions)

    def _owners_of_actions(self) -> Array:
        counts = [len(f.variables) for f in self.followers.values()]
        return np.repeat(np.arange(len(counts)), counts)

    def positions(self, signals: Sequence[str]) -> list[int]:
        """The place of each action of the game among signals.

        Parameters
        ----------
        signals : sequence of str
            Names of all actions, in any order.

        Returns
        -------
        list of int
            One for each action.

        Raises
        ------
        InvalidGame
            The signals are other actions than those of the game as it is now.
        """
        names = action_names(self)
        if names == list(signals):
            return list(range(len(names)))
        place = {name: i for i, name in enumerate(signals)}
        unshared = place.keys() ^ set(names)
        if unshared:
            raise InvalidGame(
                f"{min(unshared)}: fixed, freed or added since the incentive was designed. Design it anew."
            )
        return [place[name] for name in names]

    @property
    def action_sizes(self) -> list[float]:
        """For each action the size of the population it belongs to."""
        return [float(f.size) for f in self.followers.values() for _ in f.variables]

    @cached_property
    def variables_by_name(self) -> dict[str, VarData]:
        """Every Var of leader and followers by its name, fixed ones included."""
        players = (self.leader, *self.followers.values())
        prefixes = {id(f.block): f"{f.name}." for f in self.followers.values()}
        return dict(_named((v for player in players for v in player.declared), prefixes))

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each Var, by ``id(Var)``."""
        return {id(var): name for name, var in self.variables_by_name.items()}

    @cached_property
    def owners(self) -> dict[int, str]:
        """The name of the follower that owns a Var, by ``id(Var)``; the leader's Vars are absent."""
        return {id(v): f.name for f in self.followers.values() for v in f.declared}

    def component(self, name: str) -> Any:
        """The model's component of that name.

        Parameters
        ----------
        name : str
            A name as messages and tables have it.

        Returns
        -------
        component
            A Var, a Constraint, a Block, ...

        Raises
        ------
        InvalidGame
            There is none; the message has the closest name.
        """
        match = self.variables_by_name.get(name)
        if match is None:
            try:
                match = self.model.find_component(name)
            except Exception:  # Pyomo's parser of names knows several
                match = None
        if match is None:
            known = [*self.variables_by_name, *(c.name for c in self.model.component_objects())]
            hint = "".join(f" Did you mean {close}?" for close in get_close_matches(name, known, 1))
            raise InvalidGame(f"{name}: {self.name} has no component of that name.{hint}")
        return match

    def aggregate_variables(self) -> list[VarData]:
        """The variables that the aggregate constraints define."""
        return self.responses().variables if self.aggregates else []

    def responses(self) -> Aggregates:
        """How aggregates follow the actions; raises :class:`InvalidGame` if the equalities do not determine them."""
        return self.once("responses", lambda: responses(self.definitions, self.actions, self.action_sizes))

    def movers(self) -> Movers:
        """What one member's action moves beside itself: id(action) → [(aggregate, rate)]."""
        responses = self.responses()
        actions, moved_by = self.actions, dict[int, list[tuple[VarData, float]]]()
        for row, column, rate in triplets(responses.moves):
            moved_by.setdefault(id(actions[column]), []).append((responses.variables[row], rate))
        return moved_by

    def shared_rows(self, followers: Iterable[str] | None = None) -> list[SharedRow]:
        """The rows that two or more followers feel, declared as shared or written once for each follower.

        Parameters
        ----------
        followers : iterable of str, optional
            Names of those to look at, by default all.

        Returns
        -------
        list of SharedRow
            Each with the followers that feel it.
        """
        chosen = self.followers if followers is None else followers
        return recognised([self.followers[name] for name in chosen], self.movers())

    @property
    def price_variables(self) -> list[VarData]:
        """The Vars that are multipliers of followers' rows: nobody chooses them."""
        return [price.var for price in self.prices]

    @property
    def couplings(self) -> dict[str, Any]:
        """The arguments of a Game that say what couples its players, as they are now."""
        prices = [(price.var, (price.row, self.followers[price.follower].block)) for price in self.prices]
        named = {"aggregates": self.definitions, "prices": prices, "shared": self.shared}
        return {**named, "leaders": self.leader_blocks}

    def current_values(self) -> dict[str, float]:
        """The model's current values, by name; raises :class:`InvalidGame` naming the first Var without one."""
        values: dict[str, float] = {}
        for name, var in self.variables_by_name.items():
            number = var.value
            if number is None or not math.isfinite(number):
                raise InvalidGame(
                    f"{name}: has the value {number}, where a finite one is needed. "
                    f'Set it, e.g. model.{name}.set_value(0), or give its "start" in a game file.'
                )
            values[name] = float(number)
        return values

    def completed(self, solved: Mapping[int, float]) -> dict[str, float]:
        """Values for all Vars, by name: those not solved for keep theirs, or take the feasible value next to 0.

        Parameters
        ----------
        solved : mapping of int to float
            The values, by ``id(Var)``.

        Returns
        -------
        dict of str to float
            Var name → value.
        """
        values: dict[str, float] = {}
        for name, var in self.variables_by_name.items():
            number = solved.get(id(var), var.value)
            values[name] = clipped(0.0, var) if number is None else float(number)
        return values

    def require_fixed_as(self, values: Mapping[str, float]) -> None:
        """Raise :class:`InvalidGame` if a Var is fixed at another value than the plan has: it then holds no more.

        Parameters
        ----------
        values : mapping of str to float
            The plan's values: Var name → value.
        """
        for name, var in self.variables_by_name.items():
            if not var.fixed:
                continue
            levels, (lower, upper) = np.array([var.value, values[name]], dtype=float), bounds_of(var)
            if np.ptp(levels) > TOLERANCES.active * limited_reaches(levels, np.array(lower), np.array(upper)).max():
                raise InvalidGame(
                    f"{name}: fixed at {var.value:g} now, {values[name]:g} in the plan. Unfix it, or plan anew."
                )

    def objective_value(self, player: Player) -> float:
        """The player's objective at the model's current values, in the sense it is written in.

        Parameters
        ----------
        player : Player
            The leader or a follower of the game.

        Returns
        -------
        float
            In the objective's unit; NaN where there is no objective.

        Raises
        ------
        InvalidGame
            The objective has no value there.
        """
        if player.objective is None:
            return math.nan
        cost = number_of(player.objective.expr)
        if math.isnan(cost):
            raise InvalidGame(
                f"{player.objective.name}: has no value at the model's current values. Give every variable in it one, "
                "inside the domain of its functions."
            )
        return cost

    def __getstate__(self) -> dict[str, Any]:
        cached = ("variables_by_name", "names", "owners")  # by id: another copy of the model has others
        return {name: part for name, part in self.__dict__.items() if name not in cached} | dict.fromkeys(
            ("_answers", "traced", "_known")
        )

    def __repr__(self) -> str:
        counts = f"{len(self.followers)} followers, {len(self.leader.variables)} leader variables"
        return f"{type(self).__name__}({self.name!r}, {counts})"


def recall(game: GameStructure, stamp: dict[str, str]) -> None:
    """Inside ``unchanged()``: take up what another call has worked out of the same components and data.

    stamp: of the data as they are now; the components are those of the walk behind it.
    """
    if game._answers is not None:
        game._answers |= _left(game, stamp)


def keep(game: GameStructure, stamp: dict[str, str]) -> None:
    """Inside ``unchanged()``: work out for this call and the next ones what depends on this stamp alone."""
    if game._answers is not None:
        asked = {"responses": game.responses(), "actions": game.actions, "action_owners": game.action_owners}
        answers = _left(game, stamp) | asked | {"action_bounds": action_bounds(game)}
        game._known, game._answers[_LEFT] = (game.traced, stamp, answers), answers


def _left(game: GameStructure, stamp: dict[str, str]) -> dict[str, Any]:
    """Answers of earlier calls about the same components and data."""
    walk, known, answers = game._known or (None, {}, {})
    return answers if walk is game.traced and known == stamp else {}


def kept(game: GameStructure, question: str, answer: Callable[[], Answer]) -> Answer:
    """As ``game.once``, and left to calls to come: for what depends on nothing that the stamp does not see."""
    value = game.once(question, answer)
    if game._answers is not None and _LEFT in game._answers:
        game._answers[_LEFT][question] = value
    return value


def action_names(game: GameStructure) -> list[str]:
    """The names of all actions."""
    return game.once("action_names", lambda: [game.names[id(v)] for v in game.actions])


def are_continuous(game: GameStructure) -> Array:
    """(actions) whether each is no integer."""
    return kept(game, "are_continuous", lambda: np.array([v.is_continuous() for v in game.actions], dtype=bool))


def indexed(game: GameStructure) -> list[Any]:
    """The indexed Vars of leader and followers."""
    return kept(game, "indexed", lambda: _indexed(game.variables_by_name.values()))


def _indexed(variables: Iterable[VarData]) -> list[Any]:
    parents = ((v, v.parent_component()) for v in variables)
    return list({id(component): component for v, component in parents if component is not v}.values())


def action_bounds(game: GameStructure) -> tuple[Array, Array]:
    """(lower, upper) of all actions, ±∞ where there is none."""
    return game.once("action_bounds", lambda: box_of(game.actions))


def _name_of(block: Any, bases: dict[int, str]) -> str:
    """Its name; an indexed Block is asked for its own once: ``name`` walks to the root every time."""
    parent = block.parent_component()
    if parent is block:
        return str(block.name)
    if id(parent) not in bases:
        bases[id(parent)] = parent.name
    return bases[id(parent)] + str(index_repr(block.index()))


def _named(variables: Iterable[VarData], prefixes: dict[int, str]) -> Iterator[tuple[str, VarData]]:
    """(name, Var), asking each block for its own name once: ``Var.name`` walks to the root every time."""
    for var in variables:
        block = var.parent_block()
        prefix = prefixes.get(id(block))
        if prefix is None:
            root = block.parent_block() is None
            prefix = prefixes[id(block)] = "" if root else f"{block.name}."
        yield prefix + var.local_name, var
