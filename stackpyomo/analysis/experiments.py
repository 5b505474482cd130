"""Experiments: what was announced and what was done, row by row, with a copy of each follower for each row.

    row t of follower k:   J_k(c_t + K_t s(v), v, what the others did in t; θ)

Everything that a follower did not choose is data of its row: the leader's values, or the rule (c, K) that was in force,
the others' actions, the aggregates but for its own share of them. The parameters θ become variables of the leader of a
new game, the analyst, and each row's follower one of its followers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.var import VarData
from pyomo.core.expr.visitor import identify_mutable_parameters

from stackpyomo.core import entries_in, fixed, listed, undisturbed
from stackpyomo.core.expressions import substituting, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, component_pairs
from stackpyomo.incentives import Incentive
from stackpyomo.plans import Plan, nash
from stackpyomo.verification import Report, verify

RULE = "rule"  #: The column that names the rule in force, where the rows were gathered under several.

#: What was announced beside constants: leader variable → expression in the followers' actions.
Rule: TypeAlias = "dict[str, Any] | None"


# Action → its copy in a row, and what was observed of it (NaN: nothing).
_Actions: TypeAlias = "Mapping[str, tuple[VarData, float]]"


@dataclass(frozen=True)
class Parameter:
    """One mutable Param of the followers that is to be estimated."""

    name: str
    component: Any
    lower: float  #: −inf where neither the user nor the Param's domain says more.
    upper: float
    start: float

    @property
    def is_bounded(self) -> bool:
        """True if both its bounds are given."""
        return math.isfinite(self.lower) and math.isfinite(self.upper)


@dataclass(frozen=True)
class Reading:
    """One action of one follower in one row."""

    row: int  #: Its number, from 0 on.
    label: Any  #: What the data call the row.
    follower: str
    action: str
    copy: VarData  #: The action in this row's copy of the follower.
    value: float  #: What was observed; NaN where it was not.

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"row {self.label}, column {self.action}"


def table_of(rows: Any, argument: str = "rows") -> pd.DataFrame:
    """The data as a DataFrame with strings as columns; raises :class:`InvalidGame` for what is none, or is empty."""
    try:
        table = pd.DataFrame(rows)
    except (TypeError, ValueError) as error:
        raise InvalidGame(
            f"{argument}: expected a DataFrame, one column for each component by its name ({error})."
        ) from None
    if table.empty:
        raise InvalidGame(f"{argument}: holds no row; give one for each time something was announced and answered.")
    names = [str(column) for column in table.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidGame(f"{argument}: {twice} is the name of two columns; keep one of them.")
    return table.set_axis(names, axis=1)


def parameters_of(game: Game, given: Any) -> list[Parameter]:
    """The Params to be fitted: components or names, or a mapping to (lower, upper). Raises :class:`InvalidGame`."""
    bounded = isinstance(given, (Mapping, ComponentMap))
    single = isinstance(given, str) or hasattr(given, "ctype")
    if not bounded and not single and not isinstance(given, Iterable):
        raise InvalidGame(f"parameters={given!r}: expected Params, their names, or a mapping to (lower, upper).")
    pairs = component_pairs(given, "parameters", "(lower, upper)") if bounded else _unbounded(given, single)
    parameters: dict[int, Parameter] = {}
    for item, bounds in pairs:
        component = game.component(item) if isinstance(item, str) else item
        if getattr(component, "ctype", None) is not pyo.Param:
            raise InvalidGame(f"parameters: {item} is no Param; fit what the model declares as Param(mutable=True).")
        for member in component.values() if component.is_indexed() else [component]:
            parameter = _parameter(game, component, member, bounds, bounded)
            parameters[id(parameter.component)] = parameter
    if not parameters:
        raise InvalidGame("parameters: none given; name at least one mutable Param of a follower.")
    return list(parameters.values())


def _unbounded(given: Any, single: bool) -> list[tuple[Any, Any]]:
    """Pairs without bounds, those of a list that are pairs already as they are."""
    items = [given] if single else list(given)
    return [item if isinstance(item, tuple) and len(item) == 2 else (item, None) for item in items]


def _parameter(game: Game, component: Any, member: Any, bounds: Any, required: bool) -> Parameter:
    whole = component.parent_component()
    if not whole.mutable:
        raise InvalidGame(
            f"{component.name}: is not mutable: expressions hold its value alone; declare Param(mutable=True)."
        )
    name = member.getname(fully_qualified=True, relative_to=game.model)
    lower, upper = _limits(name, bounds, required)
    least, most = whole.domain.bounds()
    lower = max(lower, -math.inf if least is None else float(least))
    upper = min(upper, math.inf if most is None else float(most))
    if lower >= upper:
        raise InvalidGame(
            f"parameters: {name} has no value between {lower:g} and {upper:g}; give (lower, upper), lower < upper."
        )
    start = pyo.value(member, exception=False)
    usable = start is not None and math.isfinite(start)
    return Parameter(name, member, lower, upper, float(np.clip(start if usable else 0.0, lower, upper)))


def _limits(name: str, bounds: Any, required: bool) -> tuple[float, float]:
    if bounds is None and not required:
        return -math.inf, math.inf
    try:
        lower, upper = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        lower = upper = math.nan
    if not (math.isfinite(lower) and math.isfinite(upper)):
        raise InvalidGame(
            f"parameters: the bounds of {name} are {bounds}; give (lower, upper), two finite numbers, "
            "as wide as is believable. Where a curvature vanishes no answer is the follower's best: keep clear of it."
        )
    return lower, upper


def rules_of(given: Any, table: pd.DataFrame, game: Game) -> list[Rule]:
    """The rule in force in each row. Raises :class:`InvalidGame` for what is no rule, or rules of another number.

    given: one rule for all rows, one for each row (None: constants), or {what column ``rule`` or the index says: rule}.
    """
    count = len(table)
    if given is None or isinstance(given, Incentive) or _is_rule(given, game):
        return [_rule(given, game)] * count
    if isinstance(given, (Mapping, pd.Series)):
        named, labels = dict(given.items()), table[RULE] if RULE in table.columns else table.index
        unknown = [key for key in named if key not in set(labels)]
        unknown += [label for label in labels if RULE in table.columns and not _is_none(label) and label not in named]
        if unknown:
            where = f"column {RULE}" if RULE in table.columns else "the index"
            raise InvalidGame(
                f"rules: {unknown[0]!r} is not a leader variable, and only one of rules= and {where} has it."
            )
        rules = [named.get(label) for label in labels]
    else:
        rules = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
        if len(rules) != count:
            raise InvalidGame(
                f"rules: {len(rules)} for {count} rows; give one for all of them, or one each (None: constants)."
            )
    return [_rule(rule, game) for rule in rules]


def _is_none(label: Any) -> bool:
    return label is None or label == "" or (isinstance(label, float) and math.isnan(label))


def _is_rule(given: Any, game: Game) -> bool:
    """True of a mapping whose keys are variables of the leader."""
    if isinstance(given, ComponentMap):
        return True
    own = {name for name in game.variables_by_name if name not in table_names(game)}
    return isinstance(given, Mapping) and bool(given) and all(str(key) in own for key in given)


def table_names(game: Game) -> set[str]:
    """Names of the variables that some follower owns."""
    return {game.names[key] for key in game.owners}


def _rule(given: Any, game: Game) -> Rule:
    """Name of the leader variable → expression, of a mapping, a strategy, or (c, K) of one action."""
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return None
    if isinstance(given, tuple) and len(game.leader.variables) == 1:
        given = [(game.leader.variables[0], given)]
    if isinstance(given, Incentive):
        if given.saturate:
            raise InvalidGame(
                "rules: a rule that is stopped at the leader's bounds has kinks; rows beyond them say nothing."
            )
        return {name: _formula(given, line, game) for line, name in enumerate(given.leader)}
    answers: dict[str, Any] = {}
    for key, answer in component_pairs(given, "rules", "expression"):
        name = key if isinstance(key, str) else game.names.get(id(key), str(key))
        if name not in game.variables_by_name or name in table_names(game):
            raise InvalidGame(f"rules: {name} is not a variable of the leader.")
        answers[name] = _line(answer, game) if isinstance(answer, tuple) else answer
        if answers[name].__class__ not in native_numeric_types and not hasattr(answers[name], "is_expression_type"):
            raise InvalidGame(f"rules: {name} announces {answer!r}; give an expression in the followers' actions.")
    return answers


def _formula(rule: Incentive, line: int, game: Game) -> Any:
    """c + K (s − s*) in the actions of a game whose components are named as the strategy's are."""
    name, answer = rule.leader[line], rule.offset[rule.leader[line]]
    if rule.bend is not None:
        raise InvalidGame(f"rules: {name} answers by a squared term; give it as an expression, rule.strategy().")
    for s, gain in entries_in(rule.matrix.tocsr(), line):
        signal = rule.observed[s]
        if signal.name in rule.members:
            raise InvalidGame(f"rules: {signal.name} is each member's own of a population; expand() the game.")
        shown = sum(w * game.component(n) for n, w in signal.terms.items())
        answer += gain * (signal.constant + shown - rule.targets[signal.name])
    return answer


def _line(answer: tuple[Any, ...], game: Game) -> Any:
    """c + K s from (c, K), K a number where there is one action, or {action: K}."""
    offset, gain = answer if len(answer) == 2 else (math.nan, {})
    if gain.__class__ in native_numeric_types:
        if len(game.actions) != 1:
            raise InvalidGame("rules: one gain for several actions; give {action: gain}, or an expression.")
        return offset + gain * game.actions[0]
    pairs = component_pairs(gain, "rules", "gain")
    return offset + sum(k * (game.component(key) if isinstance(key, str) else key) for key, k in pairs)


class Experiments:
    """The game of the analyst, who leads with θ, and of one copy a row of every follower that θ says something of.

    Raises :class:`InvalidGame` for a parameter that enters no follower, and for data that are missing (row and column).
    """

    def __init__(
        self,
        game: Game,
        parameters: Sequence[Parameter],
        table: pd.DataFrame,
        rules: Sequence[Rule],
        *,
        observed: bool = True,
        theta: pd.DataFrame | None = None,
        together: bool = False,
    ) -> None:
        """observed: False for rows that say what is announced alone. theta: the parameters of each row, where known.

        together: what the others do in a row is decided in it, too, and no data of it.
        """
        self._theta = theta
        self._source, self.parameters, self.table, self._rules = game, parameters, table, rules
        self._observed, self._together = observed, together
        self._columns: dict[str, np.ndarray[Any, Any]] = {}
        informed = self._followers()
        followers = list(game.followers.values()) if together else informed
        self.model = pyo.ConcreteModel(name="experiments")
        self.model.parameter = pyo.Var(
            range(len(parameters)), initialize={i: p.start for i, p in enumerate(parameters)}
        )
        self.model.row = pyo.Block([(t, f.name) for t in range(len(table)) for f in followers])
        self.readings: list[Reading] = []
        self._actions: dict[int, dict[str, tuple[VarData, float]]] = {}
        pairs = [(row, follower) for row in range(len(table)) for follower in followers]
        for row, follower in pairs:
            self._declare(row, follower)
        for row, follower in pairs:
            self._write(row, follower)
        misses = (r for r in self.readings if not math.isnan(r.value))
        self.model.misfit = pyo.Objective(expr=pyo.quicksum((r.copy - r.value) ** 2 for r in misses))
        self.game = Game(self.model, self.model.row, name="the game of the analyst")

    @property
    def variables(self) -> list[VarData]:
        """θ, in the order of the parameters."""
        return list(self.model.parameter.values())

    def answered(self, theta: Iterable[float]) -> Plan:
        """Every copy's best answer at θ; raises :class:`NoPlan` where there is none."""
        with fixed(self.variables, theta):
            plan: Plan = nash(self.game)
            return plan

    def verified(self, theta: Iterable[float], actions: Iterable[float]) -> Report:
        """A re-solve of every copy at θ, which tells whether these actions are its best answers."""
        with undisturbed(), fixed(self.variables, theta):
            for reading, action in zip(self.readings, actions, strict=True):
                reading.copy.set_value(float(action), skip_validation=True)
            return verify(Plan.from_values(self.game))

    def _followers(self) -> list[Follower]:
        """Those whose problem holds a parameter."""
        names = {id(p.component): p.name for p in self.parameters}
        entered: set[int] = set()
        followers = []
        for follower in self._source.followers.values():
            parts = [p for e in _expressions(follower) for p in identify_mutable_parameters(e)]
            own = {id(p) for p in parts} & names.keys()
            entered |= own
            followers += [follower] if own else []
        missing = [name for key, name in names.items() if key not in entered]
        if missing:
            raise InvalidGame(
                f"{missing[0]}: enters no follower's objective, constraint or bound, so that no action depends on it. "
                "Leave it out of parameters=, or check that the model holds the Param itself and not its value."
            )
        return followers

    def _declare(self, row: int, follower: Follower) -> None:
        """One follower's actions in one row, and what was observed of them."""
        block, names = self.model.row[row, follower.name], [self._source.names[id(v)] for v in follower.variables]
        block.action = pyo.Var(range(len(names)))
        seen = [name for name in names if name in self.table.columns and self._observed]
        if self._observed and not seen:
            raise InvalidGame(
                f"{names[0]}: no column of rows ({listed(list(self.table.columns))}); add what {follower.name} did, "
                "under the name of its Var."
            )
        for name, copy, var in zip(names, block.action.values(), follower.variables, strict=True):
            level = self._number(row, name) if name in seen else math.nan
            copy.domain = var.domain
            copy.set_value(level if math.isfinite(level) else var.value, skip_validation=True)
            self._actions.setdefault(row, {})[name] = copy, level
            self.readings.append(Reading(row, self.table.index[row], follower.name, name, copy, level))

    def _walk(self, row: int, follower: Follower | None, expressions: Iterable[Any]) -> Callable[[Any], Any]:
        """What writes these expressions of the game as they are in a row (None: the leader's)."""
        names = [self._source.names[id(v)] for v in follower.variables] if follower and not self._together else None
        actions = self._actions[row]
        own = actions if names is None else {name: actions[name] for name in names}
        table = self._substituted(row) | {id(self._source.variables_by_name[n]): copy for n, (copy, _) in own.items()}
        for var in {id(v): v for e in expressions for v in variables_in(e)}.values():
            if id(var) not in table:
                table[id(var)] = self._given(row, own, var)
        return substituting(table)

    def _write(self, row: int, follower: Follower) -> None:
        """One follower's problem in one row."""
        block = self.model.row[row, follower.name]
        walk = self._walk(row, follower, _expressions(follower))
        block.cost = pyo.Objective(expr=walk(follower.cost))
        block.limits = pyo.Constraint(pyo.Any)
        for constraint in follower.constraints:
            body, name = walk(constraint.body), constraint.local_name
            lower, upper = (None if side is None else walk(side) for side in (constraint.lower, constraint.upper))
            block.limits[name] = body == upper if constraint.equality else pyo.inequality(lower, body, upper)
        for copy, var in zip(block.action.values(), follower.variables, strict=True):
            self._bound(block, copy, var, walk)

    def _substituted(self, row: int) -> dict[int, Any]:
        """id(Param) → its variable, or its value in this row."""
        if self._theta is None:
            return {id(p.component): v for p, v in zip(self.parameters, self.variables, strict=True)}
        return {id(p.component): float(self._theta[p.name].iloc[row]) for p in self.parameters}

    def written(self, row: int, expression: Any) -> Any:
        """An expression of the leader's, in the actions of this row."""
        return self._walk(row, None, [expression])(expression)

    def leader_cost(self, row: int) -> Any:
        """What the leader minimises in this row."""
        return self.written(row, self._source.leader.cost)

    def _bound(self, block: Any, copy: VarData, var: VarData, walk: Any) -> None:
        """The bounds of an action; one that holds a parameter is a row."""
        fitted = {id(p.component) for p in self.parameters}
        copy.setlb(var.lb)
        copy.setub(var.ub)
        for side, kind, free in ((var.lower, "lower", copy.setlb), (var.upper, "upper", copy.setub)):
            if side is not None and any(id(p) in fitted for p in identify_mutable_parameters(side)):
                limit = walk(side)
                block.limits[f"{kind} bound of {var.local_name}"] = copy >= limit if kind == "lower" else copy <= limit
                free(None)

    def _given(self, row: int, own: _Actions, var: VarData) -> Any:
        """What stands in the place of a variable that nobody decides in this row."""
        if var.fixed:
            return float(pyo.value(var))
        name, rule = self._source.names[id(var)], self._rules[row]
        if rule is not None and name in rule:
            return self._announced(row, own, rule[name])
        rates = self._rates.get(name)
        if rates is None:
            return self._number(row, name)
        if self._together:
            return self._aggregate(row, name, own)
        moved = [(copy, level, rates[action]) for action, (copy, level) in own.items() if action in rates]
        if any(math.isnan(level) for _, level, _ in moved):
            raise InvalidGame(f"{name}: an aggregate of actions that were not all observed; add its column.")
        return self._aggregate(row, name) + sum(rate * (copy - level) for copy, level, rate in moved)

    def _announced(self, row: int, own: _Actions, answer: Any) -> Any:
        """An expression in the followers' actions, those of the others as they were."""
        if answer.__class__ in native_numeric_types:
            return float(answer)
        table: dict[int, Any] = {id(self._source.component(action)): copy for action, (copy, _) in own.items()}
        for var in {id(v): v for v in variables_in(answer)}.values():
            if id(var) not in table and id(var) in self._source.names:
                table[id(var)] = self._given(row, own, var)
        walk = substituting(table)
        return walk(answer)

    @cached_property
    def _rates(self) -> dict[str, dict[str, float]]:
        """Aggregate → {action: how fast one member moves it}."""
        game, rates = self._source, dict[str, dict[str, float]]()
        for variable in game.aggregate_variables():
            rates[game.names[id(variable)]] = {}
        for action, moved in game.movers().items() if rates else ():
            for variable, rate in moved:
                rates[game.names[id(variable)]][game.names[action]] = rate
        return rates

    def _aggregate(self, row: int, name: str, own: _Actions | None = None) -> Any:
        """What an aggregate was: its column, or what the actions in the row make of it (``own``: as decided)."""
        if name in self.table.columns:
            return self._number(row, name)
        game, responses = self._source, self._source.responses()
        line = [game.names[id(v)] for v in responses.variables].index(name)
        level: Any = float(responses.constants[line])
        for weights, variables in ((responses.shares, game.actions), (responses.leads, responses.drivers)):
            for column, weight in entries_in(weights, line):
                part = game.names[id(variables[column])]
                if own is None:
                    level += weight * self._number(row, part)
                else:
                    level += weight * (own[part][0] if part in own else self._given(row, own, variables[column]))
        return level

    def _number(self, row: int, name: str) -> float:
        """A cell of the data; raises :class:`InvalidGame` naming row and column where it holds no finite number."""
        if name not in self._columns:
            if name not in self.table.columns:
                raise InvalidGame(
                    f"{name}: the followers' problems hold it, and the data have no such column "
                    f"({listed(list(self.table.columns))}). Add it, or the rule that it was announced by (rules=)."
                )
            self._columns[name] = pd.to_numeric(self.table[name], errors="coerce").to_numpy(dtype=float)
        level = float(self._columns[name][row])
        if not math.isfinite(level):
            cell = self.table[name].iloc[row]
            raise InvalidGame(
                f"row {self.table.index[row]}, column {name}: {cell} is not a finite number. Correct or drop it."
            )
        return level


def _expressions(follower: Follower) -> Iterator[Any]:
    """Everything a follower's problem is written with."""
    yield follower.cost
    for constraint in follower.constraints:
        yield from (part for part in (constraint.lower, constraint.body, constraint.upper) if part is not None)
    for var in follower.variables:
        yield from (side for side in (var.lower, var.upper) if side is not None)
