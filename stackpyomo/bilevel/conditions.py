"""Optimality conditions of followers who respond: KKT with responses.

Everybody minimises here (a maximised objective is negated). Follower k chooses u_k subject to rows
lower ≤ body ≤ upper and to bounds; what it moves beside its own variables (aggregates, by its share) is the response
R_k = d(other variables)/d(u_k). Its conditions are, sign by sign:

    ∇_{u_k} L_k + R_kᵀ ∇_{others} L_k = 0
    L_k = J_k + Σ π⁺ (body − upper) + Σ π⁻ (lower − body) + Σ ν (body − level)
    0 ≤ π⁺ ⟂ upper − body ≥ 0        0 ≤ π⁻ ⟂ body − lower ≥ 0        ν free on equalities

and the same for bounds. Each follower has multipliers of its own, also on a row that others are bound by (generalised
Nash), but where :class:`Common` rows have one for all. A *price* is s(π⁻ − π⁺), −s ν on an equality, s = +1 for who
minimises: d(own objective)/d(level of the row). The conditions are necessary where a constraint qualification holds
(always, if the rows are affine), sufficient where the follower is convex.

*Of an integer follower* they are those of its continuous part, the integers as data: necessary, far from sufficient.

*Without a qualification*, ``fritz_john`` puts a multiplier τ on the cost and π ≥ 0 on the rows that are not affine
in what the follower moves, with τ + Σ π = 1 over these (affine rows keep multipliers of any size). By Motzkin's theorem
of the alternative every local optimum satisfies that, with or without an interior: a bound from these conditions
holds for every follower-optimal point.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyomo.core.expr.numeric_expr as nodes
import pyomo.environ as pyo
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException, reverse_sd

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import Substitution, apart, curvature, elementary, is_affine, nodes_in, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, Movers

from .common_multipliers import Common
from .deviation_rows import value_at
from .plain_costs import PlainCost, plain_cost

_WIDE = 100  # Rows and variables of a follower up to which its duality is written: it is for global solvers.


@dataclass(frozen=True)
class Pair:
    """0 ≤ multiplier ⟂ slack ≥ 0: one side of a follower's row, or of the bounds of one of its variables."""

    follower: str
    component: ConstraintData | VarData
    side: str  #: "lower" or "upper".
    multiplier: VarData
    slack: Any  #: A Var, or the affine expression var − lower or upper − var.
    gap: Any  #: What the slack stands for, in the user's own variables.

    @property
    def limit(self) -> float:
        """Where the slack is 0: the bound, or the row's limit."""
        return float(self.component.lb if self.side == "lower" else self.component.ub)


@dataclass
class Conditions:
    """The conditions of all responding followers, on a Block that holds multipliers and slacks (the rows are data)."""

    block: Any
    #: (action, its derivative of L, to be 0; None where it is written in arrays).
    stationarity: list[tuple[VarData, Any]] = field(default_factory=list)
    #: (constraint of a follower, the relation that stands for it: an equality, or body + slack = limit).
    rows: list[tuple[ConstraintData, Any]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    #: Rows that follow from the others, for global solvers alone: bounds on multipliers (weak duality), and of a linear
    #: follower that moves nothing its duality, J_k(u) − J_k(0) + Σ multipliers · (level − row(0)) = 0, which relates
    #: products of the leader's variables with actions.
    implied: list[Any] = field(default_factory=list)
    #: τ + Σ π = 1, a row for each follower with rows that are not affine; by ``fritz_john``.
    scales: list[Any] = field(default_factory=list)
    weights: dict[str, VarData] = field(default_factory=dict)  #: Follower → τ, of these followers.
    units: Mapping[str, float] = field(default_factory=dict)  #: Follower → what its cost is multiplied by; else 1.
    #: Follower → the simpler cost that is in its conditions; of others it is their own.
    plain: dict[str, PlainCost] = field(default_factory=dict)
    #: Follower → id of its inequalities that are not affine in what it decides and moves.
    curved: dict[str, set[int]] = field(default_factory=dict)
    #: id(action) → its stationarity without the multipliers of its own bounds: λ⁻ − λ⁺.
    forces: dict[int, Any] = field(default_factory=dict)
    #: (follower, id(row)) → the terms of π⁺ − π⁻, or of ν: (multiplier, its coefficient).
    signed: dict[tuple[str, int], list[tuple[VarData, float]]] = field(default_factory=dict)
    #: (price, the relation that makes it its row's multiplier).
    prices: list[tuple[VarData, Any]] = field(default_factory=list)

    @property
    def relations(self) -> list[Any]:
        """All rows but complementarity, as Pyomo relations; multipliers and slacks are bounded by 0 as Vars."""
        first = [*(e == 0 for _, e in self.stationarity), *(r for _, r in self.rows)]
        return [*first, *(r for _, r in self.prices), *self.scales]

    @property
    def height(self) -> int:
        """The number of :attr:`relations`."""
        return sum(map(len, (self.stationarity, self.rows, self.prices, self.scales)))

    def stand_alone(self) -> None:
        """Hold every multiplier at 0: no follower is held by constraints of its own."""
        for multiplier in [*(p.multiplier for p in self.pairs), *(v for t in self.signed.values() for v, _ in t)]:
            multiplier.setlb(0.0)
            multiplier.setub(0.0)

    def at_bounds(self, active: Iterable[Any]) -> dict[int, float]:
        """id(Var) → the bound that an active pair holds it at; active: for every pair whether it is."""
        binding = (pair for pair, on in zip(self.pairs, active, strict=True) if on)
        return {id(pair.component): pair.limit for pair in binding if isinstance(pair.component, VarData)}

    def weighed(self, follower: str, var: VarData, values: Mapping[int, float]) -> float:
        """This multiplier of the follower's KKT conditions, as they are written, at {id(Var): value}: over τ."""
        tau = self.weights.get(follower)
        weight = 1.0 if tau is None else values.get(id(tau), 1.0)
        return values.get(id(var), 0.0) / max(weight, TOLERANCES.noise)

    def multiplier(self, follower: str, var: VarData, values: Mapping[int, float]) -> float:
        """The same with the follower's cost as it is."""
        rate = 1.0 if follower not in self.plain else value_at(self.plain[follower].rate, values)
        return rate * self.weighed(follower, var, values) / self.units.get(follower, 1.0)

    def cost(self, follower: Follower) -> Any:
        """What its conditions minimise, but for its unit."""
        plain = self.plain.get(follower.name)
        return follower.cost if plain is None else follower.sign * plain.expression

    def force(self, follower: str, row: ConstraintData, values: Mapping[int, float]) -> float:
        """π⁺ − π⁻ of a follower's row, or ν, at {id(Var): value}."""
        terms = self.signed.get((follower, id(row)), ())
        return sum(factor * self.multiplier(follower, var, values) for var, factor in terms)


def responding_followers(game: Game, responding: Any) -> list[Follower]:
    """The followers of a Block, an indexed Block, a name, True (all) or a list of these.

    Raises :class:`InvalidGame` for what is not a follower of the game.
    """
    if responding is True:
        return list(game.followers.values())
    by_block = {id(f.block): f for f in game.followers.values()}
    chosen: dict[str, Follower] = {}
    for item in _listed(responding):
        follower = game.followers.get(item) if isinstance(item, str) else by_block.get(id(getattr(item, "block", item)))
        if follower is None:
            name = item if isinstance(item, str) else getattr(item, "name", repr(item))
            known = ", ".join(list(game.followers)[:6])
            raise InvalidGame(f"responding={name}: not a follower of this game; choose among {known}.")
        chosen[follower.name] = follower
    return list(chosen.values())


def _listed(responding: Any) -> Iterator[Any]:
    wrong = getattr(responding, "ctype", pyo.Block) is not pyo.Block
    if wrong or isinstance(responding, str) or not hasattr(responding, "__iter__"):
        yield responding
    elif hasattr(responding, "ctype"):
        yield from responding.values()
    else:
        for item in responding:
            yield from _listed(item)


def conditions(
    game: Game,
    followers: Sequence[Follower],
    *,
    block: Any = None,
    fritz_john: Container[str] = (),
    answers: Movers | None = None,
    common: Common | None = None,
    units: Mapping[str, float] | None = None,
    plainly: bool = False,
) -> Conditions:
    """The conditions of these followers. ``block``: where multipliers go (None: a model of their own).

    ``fritz_john``: names of the followers whose curved rows get Fritz John's conditions. ``answers``: what moves with
    an action beside aggregates, the leader's variables by a rule; a rate may be an expression of Vars, the gain.
    ``common``: rows with one multiplier for all who feel them. ``units``: follower → what its cost is multiplied by.
    ``plainly``: a :class:`PlainCost` stands in the place of a cost that has one; its multipliers are others.

    Raises :class:`InvalidGame` naming an objective or constraint that has no symbolic derivative.
    """
    holder = pyo.ConcreteModel(name="conditions") if block is None else block
    movers = with_answers(game.movers(), answers)
    builder = Builder(game, followers, holder, fritz_john, movers, common, units)
    if plainly:
        builder.simplify()
    return builder.build()


def with_answers(movers: Movers, answers: Movers | None) -> Movers:
    """What moves with each action: aggregates by their shares, and what a rule answers."""
    return {key: [*movers.get(key, ()), *(answers or {}).get(key, ())] for key in {**movers, **(answers or {})}}


@dataclass
class _Row:
    """One side of a row: sign · (body − level) ≤ 0, or = 0."""

    constraint: ConstraintData
    gradient: Mapping[int, Any]
    body: Any
    lower: Any
    upper: Any
    equality: bool
    curved: bool = False
    flat: bool = False  #: True if it is affine in everybody's variables: it is looked at once for all who feel it.
    idle: bool = False  # an integer follower's continuous part is not in it: it has no multiplier


class Builder:
    """Writes follower by follower; multipliers and slacks are made where they are needed."""

    def __init__(
        self,
        game: Game,
        followers: Sequence[Follower],
        block: Any,
        fritz_john: Container[str],
        movers: Movers,
        common: Common | None,
        units: Mapping[str, float] | None = None,
    ) -> None:
        self.followers, self.fritz_john, self.movers = followers, fritz_john, movers
        self.prices = {(p.follower, id(p.row)): p.var for p in game.prices}
        self.priced = {p.follower for p in game.prices}
        self.places = {} if common is None else common.places
        self.joint: dict[int, VarData] = {}
        self.written: dict[int, _Row] = {}
        self.equal: set[int] = set()
        self.result = Conditions(block, units=units or {})
        box = (0, None)
        for kind, bounds, initial in (("pi", box, 1.0), ("nu", None, 0.0), ("slack", box, 1.0), ("tau", (0, 1), 1.0)):
            block.add_component(kind, pyo.Var(pyo.Any, dense=False, bounds=bounds, initialize=initial))

    def simplify(self) -> None:
        """Put simpler costs into the conditions of followers, where nobody else has their multipliers."""
        if not (self.result.units or self.priced or self.places):
            known = (
                (f, plain_cost(f.objective.expr, self._moved(f))) for f in self.followers if f.objective is not None
            )
            self.result.plain = {follower.name: cost for follower, cost in known if cost is not None}

    def build(self) -> Conditions:
        parts = [(f, self._gradient(f, f.objective), self._rows(f)) for f in self.followers if f.objective is not None]
        # Where rows are shared Fritz John's τ is one of the joint problem, and weighs everybody's cost.
        doubtful = any(r.curved for f, _, rows in parts for r in rows if f.name in self.fritz_john)
        tau, weighed = self._more("tau") if self.places and doubtful else None, list[VarData]()
        for follower, gradient, rows in parts:
            self._conditions(follower, gradient, rows, tau, weighed)
        if tau is not None:
            self.result.weights.update((f.name, tau) for f, _, _ in parts)
            self.result.scales.append(tau + sum(weighed) == 1)
        return self.result

    def _more(self, kind: str) -> VarData:
        """One more of these Vars of the Block."""
        family = self.result.block.component(kind)
        var: VarData = family.add(len(family))
        return var

    def _moved(self, follower: Follower) -> set[int]:
        """id of every Var that it decides, or that follows one of these."""
        own = _continuous(follower)
        return {id(v) for v in own} | {id(z) for v in own for z, _ in self.movers.get(id(v), ())}

    def _gradient(self, follower: Follower, component: Any) -> Mapping[int, Any]:
        """id(Var) → derivative of the component's expression; raises naming the component if there is none."""
        body = getattr(component, "body", None)
        expression = component.expr if body is None else body
        if component is follower.objective and follower.name in self.result.plain:
            expression = self.result.plain[follower.name].expression
        if _has_kink(expression, self._moved(follower)):
            raise InvalidGame(_undifferentiable(component.name, follower.name, "abs, min or max of what it decides"))
        return derivatives(expression, component.name, follower.name)

    def _rows(self, follower: Follower) -> list[_Row]:
        rows, own = [], _continuous(follower)
        for constraint in follower.constraints:
            row = self.written.get(id(constraint))
            if row is None or not row.flat:
                lower, body, upper = constraint.to_bounded_expression()
                row = _Row(constraint, self._gradient(follower, constraint), body, lower, upper, constraint.equality)
                row.flat = is_affine(constraint.body)
                row.curved = not (row.equality or row.flat) and _is_curved(follower, constraint, self.movers)
                self.written[id(constraint)] = row
            slopes = (along(var, row.gradient, self.movers) for var in own if follower.integers)
            if follower.integers and not any(slope.__class__ not in native_numeric_types or slope for slope in slopes):
                row = replace(row, idle=True, curved=False)
            if row.curved:
                self.result.curved.setdefault(follower.name, set()).add(id(constraint))
            rows.append(row)
        return rows

    def _conditions(
        self,
        follower: Follower,
        gradient: Mapping[int, Any],
        rows: list[_Row],
        joint_tau: VarData | None,
        joint_weighed: list[VarData],
    ) -> None:
        terms: list[tuple[Any, Mapping[int, Any]]] = []
        weighed: list[VarData] = []
        for row in rows:
            terms += self._row(follower, row, weighed)
        unit = self.result.units.get(follower.name, 1.0)
        tau, sign = joint_tau, follower.sign * unit
        if joint_tau is not None:
            joint_weighed += weighed
        elif weighed:
            tau = self._more("tau")
            self.result.weights[follower.name] = tau
            self.result.scales.append(tau + sum(weighed) == 1)
        if tau is not None:
            sign = sign * tau
        levels: Any = 0
        for var in _continuous(follower):
            total = _scaled(sign, along(var, gradient, self.movers))
            for multiplier, derivative in terms:
                total = total + _scaled(multiplier, along(var, derivative, self.movers))
            self.result.forces[id(var)] = total
            force, worth = self._bounds(follower, var)
            total, levels = total + force, levels + worth
            if total.__class__ not in native_numeric_types or total != 0:
                self.result.stationarity.append((var, total))
        self._prices(follower, rows, tau)
        if (degree := self._degree(follower, rows)) and (degree == 1 or follower.name in self.priced):
            self._duality(follower, rows, terms, levels, gradient if degree > 1 else None)

    def _prices(self, follower: Follower, rows: list[_Row], tau: VarData | None) -> None:
        """price · τ + s (π⁺ − π⁻) = 0."""
        for row in rows:
            price = self.prices.get((follower.name, id(row.constraint)))
            if price is not None:
                signed = self.result.signed[follower.name, id(row.constraint)]
                force = sum(follower.sign * factor * var for var, factor in signed)
                unit = self.result.units.get(follower.name, 1.0)
                self.result.prices.append((price, _scaled(unit, price if tau is None else tau * price) + force == 0))

    def _degree(self, follower: Follower, rows: list[_Row]) -> int:
        """1 for a linear follower, 2 for one of linear rows; 0 where duality is not written."""
        own = _continuous(follower)
        plain = not any(self.movers.get(id(v)) for v in own) and not any(r.curved for r in rows)
        many = max(len(rows) + len(own), len(self.followers)) > _WIDE
        if not plain or many or follower.objective is None:
            return 0
        if not all(curvature(row.body, own).curvature.is_flat for row in rows):
            return 0
        return 1 if curvature(follower.cost, own).curvature.is_flat else 2

    def _duality(
        self,
        follower: Follower,
        rows: list[_Row],
        terms: list[tuple[Any, Mapping[int, Any]]],
        levels: Any,
        gradient: Mapping[int, Any] | None,
    ) -> None:
        """gradient: of a cost that is not linear; ∇J·u stands in the place of J(u) − J(0) then."""
        origin = Substitution(substitute={id(v): 0.0 for v in _continuous(follower)}).walk_expression
        if gradient is None:
            cost = apart(follower.cost) - origin(follower.cost)
        else:
            cost = follower.sign * sum(v * apart(gradient.get(id(v), 0)) for v in _continuous(follower))
        multipliers = (multiplier for multiplier, _ in terms)
        total = _scaled(self.result.units.get(follower.name, 1.0), cost) + levels
        for row in (r for r in rows if not r.idle):
            for level in [row.upper] if row.equality else [e for e in (row.lower, row.upper) if e is not None]:
                total = total + next(multipliers) * (level - origin(row.body))
        self.result.implied.append(total == 0)

    def _row(self, follower: Follower, row: _Row, weighed: list[VarData]) -> Iterator[tuple[Any, Mapping[int, Any]]]:
        if row.idle:
            self.result.rows.append((row.constraint, row.constraint.expr))
            return
        levels = {"equal": row.upper} if row.equality else {"lower": row.lower, "upper": row.upper}
        for side, level in levels.items():
            if level is None:
                continue
            number, divisor = self.places.get((follower.name, id(row.constraint), side), (-1, 1.0))
            multiplier = self.joint.get(number)
            if multiplier is None:
                multiplier = self._new(follower, row, side, level, weighed)
                self.joint |= {number: multiplier} if number >= 0 else {}
            factor = 1.0 / divisor if side == "equal" else (-1.0 if side == "lower" else 1.0) / abs(divisor)
            self.result.signed.setdefault((follower.name, id(row.constraint)), []).append((multiplier, factor))
            plain = {1.0: multiplier, -1.0: -multiplier}
            yield plain.get(factor, factor * multiplier), row.gradient

    def _new(self, follower: Follower, row: _Row, side: str, level: Any, weighed: list[VarData]) -> VarData:
        """The multiplier of one side of a row, with what the row says."""
        result = self.result
        if side == "equal":
            if id(row.constraint) not in self.equal:
                self.equal.add(id(row.constraint))
                result.rows.append((row.constraint, row.constraint.expr))
            return self._more("nu")
        multiplier, slack = self._more("pi"), self._more("slack")
        gap = apart(row.body) - level if side == "lower" else level - apart(row.body)
        result.rows.append((row.constraint, gap == slack))
        result.pairs.append(Pair(follower.name, row.constraint, side, multiplier, slack, gap))
        if row.curved and follower.name in self.fritz_john:
            weighed.append(multiplier)
        return multiplier

    def _bounds(self, follower: Follower, var: VarData) -> tuple[Any, Any]:
        """(what its bounds' multipliers add to its stationarity, the same times the bounds)."""
        force: Any = 0
        worth: Any = 0
        for side, level in (("lower", var.lower), ("upper", var.upper)):
            if level is None:
                continue
            multiplier = self._more("pi")
            zero = level.__class__ in native_numeric_types and level == 0
            slack = (var if zero else var - level) if side == "lower" else level - var
            self.result.pairs.append(Pair(follower.name, var, side, multiplier, slack, slack))
            signed = -multiplier if side == "lower" else multiplier
            force, worth = force + signed, worth if zero else worth + signed * level
        return force, worth


def along(var: VarData, gradient: Mapping[int, Any], movers: Movers) -> Any:
    """The derivative by an action, and by what it moves, times the rate; gradient: id(Var) → derivative."""
    slope = apart(gradient.get(id(var), 0))
    for moved, rate in movers.get(id(var), ()):
        through = gradient.get(id(moved), 0)
        if through.__class__ not in native_numeric_types or through != 0:
            slope = slope + rate * through
    return slope


def _continuous(follower: Follower) -> list[VarData]:
    """What conditions are about: of an integer follower its continuous part, the integers as data."""
    return [v for v in follower.variables if v.is_continuous()]


def _is_curved(follower: Follower, constraint: ConstraintData, movers: Movers) -> bool:
    """True unless the constraint is affine in what the follower decides and moves, the others' variables given."""
    if is_affine(constraint.body):
        return False
    own = _continuous(follower)
    moved = {id(z): z for v in own for z, _ in movers.get(id(v), ())}
    return not curvature(constraint.body, [*own, *moved.values()]).curvature.is_flat


def _scaled(factor: Any, slope: Any) -> Any:
    if slope.__class__ in native_numeric_types and slope == 0:
        return 0
    if factor.__class__ in native_numeric_types and factor == 1:
        return slope
    return factor * slope


def derivatives(expression: Any, component: str, follower: str) -> Mapping[int, Any]:
    """id(Var) → symbolic derivative (Params stay as they are)."""
    if expression.__class__ in native_numeric_types:
        return {}
    try:
        slopes = reverse_sd(elementary(expression))
    except (
        DifferentiationException,
        ArithmeticError,
        AttributeError,
        LookupError,
        NotImplementedError,
        ValueError,
    ) as error:
        raise InvalidGame(_undifferentiable(component, follower, str(error).strip())) from None
    return {id(node): slope for node, slope in slopes.items() if node.__class__ not in native_numeric_types}


def _undifferentiable(component: str, follower: str, why: str) -> str:
    return (
        f"{component}: has no symbolic derivative, which the optimality conditions of {follower} need "
        f"({why}). Write it with smooth functions (no abs, if, min, max, external function)."
    )


def _has_kink(expression: Any, variables: set[int]) -> bool:
    """True if the expression holds the absolute value, minimum or maximum of something with these variables."""
    kinks = (node for node in nodes_in(expression) if node.__class__ in _KINKED)
    return any(id(v) in variables for node in kinks for v in variables_in(node))


_KINKED = (nodes.AbsExpression, nodes.MinExpression, nodes.MaxExpression)
