"""Bundles: a leader's plan cut into pieces, each with some of the followers, that only a few variables hold together.

    min J0  =  min Σ_b f_b(x, u_b) + g(x, z)   s.t. z_eb = s_eb(u_b), rows of (x, u_b) for each b, rows of (x, z)

x are the leader's variables that several bundles feel. Where a row or a term holds actions of several bundles (an
aggregate, a budget, a price that depends on the total), each bundle's part s_eb of it becomes one new variable z_eb,
a *link*, that all bundles know and bundle b alone defines. With its own copy of (x, z), bundle b is a problem of its
own, and the plan is theirs with all copies equal. Leader variables that one bundle alone feels belong to it. The
user's model is not cloned: the pieces are made of its expressions over its Vars. Nothing here solves anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import PyomoException
from pyomo.core.base.var import VarData
from pyomo.core.expr.numeric_expr import LinearExpression

from stackpyomo.core import Array
from stackpyomo.core.expressions import affine_terms, apart, interval, terms, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game
from stackpyomo.plans.feasibility import refusal
from stackpyomo.solvers import BadRow, Program, free_row


@dataclass(frozen=True)
class Link:
    """One new variable: what a bundle contributes to a row or a term that several bundles share."""

    variable: VarData
    bundle: int
    content: Any  #: What it is equal to, an expression of the bundle's own variables.
    pin: Any  #: The row that says so; an inequality where the shared row pushes one way only and the content is curved.
    component: str  #: The name of the shared component.


@dataclass
class Piece:
    """One bundle's problem, written: min count · f_b + g + Σ (w_i x_i + ρ_i x_i²/2) over its own copy of everything."""

    program: Program
    names: list[str]  #: Of each given row the user's constraint; "" for a pin.
    pins: dict[int, int]  #: Number of a given row → place in ``Partition.first`` of the link that it pins.


@dataclass(slots=True)
class _Item:
    """A term of the objective (``factor`` · ``body``) or a constraint, and who is in it."""

    name: str
    body: Any
    factor: float
    constraint: Any
    bundles: frozenset[int]
    leaders: tuple[int, ...]


class _Coupled(Exception):
    """An item in which bundles meet otherwise than in sums that are linear."""

    def __init__(self, item: _Item) -> None:
        self.item = item
        super().__init__(item.name)


class Partition:
    """The plan of ``game`` in ``count`` bundles of neighbouring followers with about equally many variables.

    Raises :class:`InvalidGame` for a term or row that couples followers of different bundles otherwise than through
    linear sums (or a separable sum in a row), naming it; the game itself is taken to be sound (``require_sound``).
    """

    def __init__(self, game: Game, count: int) -> None:
        followers = list(game.followers.values())
        if not 1 <= count <= len(followers):
            raise InvalidGame(f"bundles={count}: expected 1 to {len(followers)}, the number of followers.")
        self.game, self.count = game, count
        self.members = _contiguous(followers, count)
        self._leaders = {id(v): v for v in game.leader.declared}
        self._homes = {id(v): b for b, own in enumerate(self.members) for f in own for v in f.declared}
        self._sets: dict[frozenset[int], frozenset[int]] = {}  # each once: there are as many items as terms
        items = list(self._items())
        self._used = {i for item in items for i in item.leaders}
        promoted: set[int] = set()
        while True:
            homes = _settle(items, promoted)
            self._homes.update(homes)
            try:
                self._split(items)
                return
            except _Coupled as coupled:
                wanted = [i for i in coupled.item.leaders if i in homes]
                if not wanted:
                    raise InvalidGame(
                        f"{coupled.item.name}: couples followers of different bundles ({self._met(coupled.item)}) "
                        "otherwise than through a linear sum. Write what couples them as an aggregate: a leader's "
                        "variable equal to a linear sum of actions, and the rest as a function of it."
                    ) from None
                promoted.update(wanted)
                for key in homes:
                    del self._homes[key]

    def _met(self, item: _Item) -> str:
        """Followers that meet in an item: the first of each of its bundles."""
        body = item.body if item.constraint is None else item.constraint.body
        owners: dict[int, str] = {}
        for var in variables_in(body):
            if id(var) in self.game.owners and not var.fixed:
                owners.setdefault(self._homes[id(var)], self.game.owners[id(var)])
        return ", ".join(owners[b] for b in sorted(owners)[:3])

    def _items(self) -> Iterator[_Item]:
        """Every term of the leader's cost and every active constraint."""
        objective = self.game.leader.objective
        assert objective is not None  # require() saw to it
        for factor, term in terms(objective.expr, float(self.game.leader.sign)):
            yield self._item(objective.name, term, factor, None)
        for player in (self.game.leader, *self.game.followers.values()):
            for constraint in player.constraints:
                yield self._item(constraint.name, None, 1.0, constraint)

    def _item(self, name: str, body: Any, factor: float, constraint: Any) -> _Item:
        ids = {id(v) for v in variables_in(body if constraint is None else constraint.body) if not v.fixed}
        bundles = frozenset(self._homes[i] for i in ids if i in self._homes)
        leaders = tuple(i for i in ids if i in self._leaders)
        return _Item(name, body, factor, constraint, self._sets.setdefault(bundles, bundles), leaders)

    # --- the split ------------------------------------------------------------------------------------------------

    def _split(self, items: Sequence[_Item]) -> None:
        self._holder = pyo.ConcreteModel(name="bundles")
        self._holder.link = pyo.VarList()
        self.links: list[Link] = []
        self._sums: dict[Any, tuple[VarData, float]] = {}
        self.costs: list[dict[float, list[Any]]] = [{} for _ in range(self.count)]
        """Of each bundle f_b = Σ factor · Σ terms."""
        self.shared_costs: dict[float, list[Any]] = {}
        self.rows: list[list[tuple[str, Any]]] = [[] for _ in range(self.count)]
        self.shared_rows: list[tuple[str, Any]] = []
        self._felt: set[int] = set()
        for item in items:
            places = item.bundles | {self._homes[i] for i in item.leaders if i in self._homes}
            if item.constraint is not None:
                self._place_row(item, places)
            else:
                body = item.body
                if len(places) > 1:
                    body = self._lifted(body, item)
                    places = self._bundles(body)
                    if len(places) > 1:
                        raise _Coupled(item)
                self._felt.update(item.leaders if places else ())
                costs = self.costs[next(iter(places))] if places else self.shared_costs
                costs.setdefault(item.factor, []).append(body)

    def _place_row(self, item: _Item, places: frozenset[int]) -> None:
        constraint = item.constraint
        if len(places) <= 1:
            self._felt.update(item.leaders if places else ())
            rows = self.rows[next(iter(places))] if places else self.shared_rows
            rows.append((item.name, constraint))
            return
        body = self._linked(constraint.body, item)
        if body is None:
            body = self._separated(item)
        self.shared_rows.append((item.name, free_row(body, constraint.lb, constraint.ub)))

    def _bundles(self, expression: Any) -> frozenset[int]:
        """The bundles whose own variables an expression holds."""
        return frozenset(self._homes[id(v)] for v in variables_in(expression) if id(v) in self._homes and not v.fixed)

    def _lifted(self, node: Any, item: _Item) -> Any:
        """The expression with links in the place of its largest linear parts that hold several bundles."""
        if len(self._bundles(node)) <= 1:
            return node
        linear = self._linked(node, item)
        if linear is not None:
            return linear
        if node.is_named_expression_type():
            return self._lifted(node.args[0], item)
        return node.create_node_with_local_data(tuple(self._lifted(a, item) for a in node.args))

    def _linked(self, expression: Any, item: _Item) -> Any:
        """constant + leader's part + Σ_b link_b of a linear expression; None if it is not linear."""
        known = affine_terms(expression)
        if known is None:
            return None
        shared: tuple[list[float], list[VarData]] = ([], [])
        parts: dict[int, tuple[list[float], list[VarData]]] = {}
        for var, coefficient in known[1]:
            home = self._homes.get(id(var))
            coefficients, variables = shared if home is None else parts.setdefault(home, ([], []))
            coefficients.append(coefficient)
            variables.append(var)
        body = LinearExpression(constant=known[0], linear_coefs=shared[0], linear_vars=shared[1])
        for bundle, (coefficients, variables) in sorted(parts.items()):
            body = body + self._linear_link(bundle, np.array(coefficients), variables, item)
        return body

    def _linear_link(self, bundle: int, coefficients: Array, variables: Sequence[VarData], item: _Item) -> Any:
        """scale · link; a sum that is a multiple of one that has a link already, to rounding, shares it."""
        order = np.argsort([id(v) for v in variables])
        scale = float(coefficients[order[0]])
        ratios = coefficients / scale
        key = (bundle, tuple(id(variables[i]) for i in order), tuple(round(float(r), 13) for r in ratios[order]))
        if key not in self._sums:
            least = float(np.abs(coefficients).sum())
            content = LinearExpression(constant=0.0, linear_coefs=list(coefficients / least), linear_vars=variables)
            self._sums[key] = self._link(bundle, content, item, None, None), least / scale
        link, share = self._sums[key]
        return scale * share * link

    def _separated(self, item: _Item) -> Any:
        """The same of a row that is a sum of the bundles' own terms, curved or not, and of terms to be lifted."""
        constraint = item.constraint
        parts: dict[int, list[Any]] = {}
        body: Any = 0.0
        for factor, term in terms(constraint.body):
            lifted = self._lifted(term, item)
            places = self._bundles(lifted)
            if len(places) > 1:
                raise _Coupled(item)
            if places:
                parts.setdefault(next(iter(places)), []).append(factor * lifted)
            else:
                body = body + factor * lifted
        self._felt.update(item.leaders if parts else ())  # a content may hold some of them
        for bundle, own in sorted(parts.items()):
            body = body + self._link(bundle, pyo.quicksum(own), item, constraint.lb, constraint.ub)
        return body

    def _link(self, bundle: int, content: Any, item: _Item, lower: float | None, upper: float | None) -> VarData:
        """A new link; ``lower``/``upper``: the limits of the row it goes to, where the content is curved."""
        var = self._holder.link.add()
        with contextlib.suppress(ArithmeticError, ValueError, PyomoException):
            low, high = interval(content)
            var.setlb(low)
            var.setub(high)
        # Σ z ≤ limit and s_b ≤ z_b say what Σ s_b ≤ limit says, and are convex where the s_b are.
        above, below = lower is None and upper is not None, upper is None and lower is not None
        pin = free_row(apart(content) - var, None if above else 0.0, None if below else 0.0)
        self.links.append(Link(var, bundle, content, pin, item.name))
        return var

    # --- the pieces -----------------------------------------------------------------------------------------------

    @cached_property
    def derived(self) -> list[VarData]:
        """Aggregates that the shared rows determine from the links: equal links make them equal."""
        shared = {name for name, _ in self.shared_rows}
        if not all(c.name in shared for c in self.game.aggregates):
            return []
        return [v for v in self.game.aggregate_variables() if id(v) in self._used and id(v) not in self._homes]

    @cached_property
    def first(self) -> list[VarData]:
        """What all copies must agree on: the leader's variables that several bundles feel, then the links."""
        derived = {id(v) for v in self.derived}
        felt = (v for i, v in self._leaders.items() if i in self._used and i not in self._homes and i not in derived)
        return [*felt, *(link.variable for link in self.links)]

    @cached_property
    def forces(self) -> tuple[list[VarData], list[VarData]]:
        """(w, ρ): what is added to each bundle's cost, Σ (w_i x_i + ρ_i x_i²/2). Both are held by their bounds, 0."""
        size = range(len(self.first))
        self._holder.w = pyo.Var(size, bounds=(0, 0), initialize=0.0)
        self._holder.rho = pyo.Var(size, bounds=(0, 0), initialize=0.0)
        return list(self._holder.w.values()), list(self._holder.rho.values())

    def cost(self, bundle: int) -> Any:
        """count · f_b + g: over all bundles, each with probability 1/count, the leader's cost (to be minimised)."""
        return float(self.count) * _summed(self.costs[bundle]) + _summed(self.shared_costs)

    def piece(self, bundle: int) -> Piece:
        """The problem of one bundle.

        :class:`InvalidGame` names a row that cannot be written, :class:`NoPlan` one that is violated whatever is
        decided.
        """
        leaders, first = len(self.first) - len(self.links), len(self.rows[bundle])
        pins = [(place, link) for place, link in enumerate(self.links, leaders) if link.bundle == bundle]
        rows = [*self.rows[bundle], *(("", link.pin) for _, link in pins), *self.shared_rows]
        added = [w * x + rho * x**2 / 2.0 for w, rho, x in zip(*self.forces, self.first, strict=True)]
        try:
            program = Program(self.cost(bundle) + pyo.quicksum(added), [row for _, row in rows])
        except BadRow as bad:
            raise refusal(bad, "the objective of the leader" if bad.row is None else rows[bad.row][0]) from None
        return Piece(program, [n for n, _ in rows], {first + i: place for i, (place, _) in enumerate(pins)})

    def rest(self) -> tuple[Program, set[int]] | None:
        """What is left to the leader alone where the bundles have decided: min g over what no bundle feels.

        (the problem, ids of the Vars it decides); the others are in it too, to be held. None if there are none.
        """
        free = {id(v) for v in self.first if id(v) in self._leaders and id(v) not in self._felt}
        follows = free | {id(v) for v in self.derived}
        rows = [row for _, row in self.shared_rows if any(id(v) in follows for v in variables_in(row.body))]
        try:
            return (Program(_summed(self.shared_costs), rows), follows) if free else None
        except BadRow:
            return None

    def owned(self, bundle: int) -> set[int]:
        """ids of the Vars that this bundle alone decides."""
        return {i for i, b in self._homes.items() if b == bundle}


def _contiguous(followers: Sequence[Follower], count: int) -> list[list[Follower]]:
    """Neighbours together, cut where the number of variables passes each share; no bundle is empty."""
    sizes = np.cumsum([max(1, len(f.variables)) for f in followers])
    cuts = [int(np.searchsorted(sizes, sizes[-1] * b / count, "left")) + 1 for b in range(1, count)]
    places = [0]
    for b, cut in enumerate(cuts, 1):
        places.append(min(max(cut, places[-1] + 1), len(followers) - count + b))
    return [list(followers[i:j]) for i, j in zip(places, [*places[1:], len(followers)], strict=True)]


def _settle(items: Sequence[_Item], promoted: set[int]) -> dict[int, int]:
    """id(leader's Var) → the one bundle that feels it; those that several feel, or none, are left out."""
    homes: dict[int, int] = {}
    shared = set(promoted)
    while True:
        felt: dict[int, set[int]] = {}
        for item in items:
            places = item.bundles | {homes[i] for i in item.leaders if i in homes}
            if len(places) == 1:
                for i in item.leaders:
                    if i not in homes and i not in shared:
                        felt.setdefault(i, set()).update(places)
        if not felt:
            return homes
        homes.update((i, next(iter(places))) for i, places in felt.items() if len(places) == 1)
        shared.update(i for i, places in felt.items() if len(places) > 1)


def _summed(costs: Mapping[float, list[Any]]) -> Any:
    """Σ factor · Σ terms."""
    return pyo.quicksum(factor * pyo.quicksum(terms) for factor, terms in costs.items())
