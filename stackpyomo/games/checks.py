"""What ``game.check()`` finds before anything is solved, each finding named by component."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import pyomo.environ as pyo
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import DivisionExpression
from pyomo.core.expr.numvalue import is_potentially_variable
from pyomo.core.expr.visitor import identify_mutable_parameters

from stackpyomo.core import TOLERANCES, intercepted, listed, triplets, undisturbed
from stackpyomo.core.expressions import UNREADABLE, Curvature, curvature, is_convex_feasible_set, leaves, variables_in
from stackpyomo.errors import InvalidGame

from .aggregates import assigned
from .findings import Finding
from .information.revelations import doubts_in
from .players import REMEDIES, Follower, Player
from .stamp import stamp
from .structure import GameStructure, indexed, keep, recall


@undisturbed()
def findings(game: GameStructure) -> list[Finding]:
    """Errors, or else what is doubtful: convexity not certified, undeclared aggregates, unused and fixed variables."""
    game.rescan()
    errors = _errors(game)
    if errors:
        return errors
    uses = _uses(game)
    doubts: list[Finding] = []
    doubts += _undeclared_aggregates(game)
    doubts += _chosen_aggregates(game)
    doubts += _shared_constraints(game)
    doubts += _averages(game)
    for follower in game.followers.values():
        doubts += _integers(follower) if follower.integers else _convexity(follower)
    doubts += _idle_variables(game, uses)
    doubts += doubtful_indices(game)
    return doubts


@undisturbed()
def require(game: GameStructure, *, leader_objective: bool = True) -> None:
    """Raise :class:`InvalidGame` with the first error (and how many more there are), if there is one."""
    game.rescan()
    errors = _errors(game)
    if leader_objective and game.leader.objective is None:
        errors.insert(0, _leader_objective(game))
    if errors:
        more = f" (and {len(errors) - 1} more: see game.check())" if len(errors) > 1 else ""
        raise InvalidGame(f"{errors[0]}{more}")


def _leader_objective(game: GameStructure) -> Finding:
    active = game.leader.active_objectives
    if game.leaders:
        return _error(
            game.name,
            f"it has {len(game.leaders)} leaders ({listed(list(game.leaders))}), and this is for one.",
            "Use sp.stackelberg(game), sp.nash(game, leader=...) or sp.verify(plan); or give one leader alone.",
        )
    if active:
        names = ", ".join(o.name for o in active)
        return _error(
            game.name,
            f"the leader has {len(active)} active objectives ({names}).",
            "Keep one; those in the Blocks of followers are theirs if followers= names these Blocks.",
        )
    return _error(
        game.name,
        "the leader has no active objective.",
        "Add one Objective to the model, outside every follower's Block.",
    )


def _error(component: str, message: str, remedy: str) -> Finding:
    return Finding("error", component, message, remedy)


def _errors(game: GameStructure) -> list[Finding]:
    with intercepted("pyomo"):  # what Pyomo logs of data without value is the finding's business
        errors = list(_each_error(game))
        game.clean = None if errors else stamp(game)
        if game.clean is not None and not game.leaders:
            keep(game, game.clean)
        return errors


def _each_error(game: GameStructure) -> Iterator[Finding]:
    known = not game.leaders and game.clean is not None and game.clean == stamp(game)  # without any, but for values
    if known:
        recall(game, stamp(game))
    if game.leaders:
        yield from _leaders_errors(game)
    elif len(game.leader.active_objectives) > 1:
        yield _leader_objective(game)
    for follower in () if known else game.followers.values():
        yield from _player_errors(follower, "follower")
        yield from _noise_errors(follower)
    for player in (game.leader, *game.followers.values()):
        yield from _unsupported(player)
        yield from () if known else _bounds(player)
        yield from _values(player)
    if not known and not _is_clean(game):
        yield from _expression_errors(game)
    yield from _aggregate_errors(game)


def _leaders_errors(game: GameStructure) -> Iterator[Finding]:
    """Several leaders: each a player of its own; outside their Blocks nobody decides and nobody wishes."""
    for leader in game.leaders.values():
        yield from _player_errors(leader, "leader")
    owned = {id(part) for p in game.leaders.values() for part in [*p.declared, *p.objectives]}
    try:
        owned |= {id(v) for v in game.aggregate_variables()} | {id(price.var) for price in game.prices}
    except InvalidGame:
        return  # told as an error of the aggregates
    for var in game.leader.variables:
        if id(var) not in owned:
            yield _error(
                var.name,
                "no leader owns it.",
                "Declare it on the Block of who decides it, or pass the equality that defines it as aggregates=.",
            )
    for objective in game.leader.active_objectives:
        if id(objective) not in owned:
            yield _error(
                objective.name, "it is not a leader's objective.", "Put it on a leader's Block, or deactivate it."
            )


def _player_errors(player: Player, kind: str) -> Iterator[Finding]:
    """A player without a variable, or without its one objective."""
    if not player.declared:
        yield _error(player.name, f"this {kind} owns no variable.", "Declare its decisions as Vars on its Block.")
    active = player.active_objectives
    if not active:
        yield _error(player.name, f"this {kind} has no active objective.", "Add exactly one Objective to its Block.")
    elif len(active) > 1:
        names = ", ".join(o.name for o in active)
        yield _error(
            player.name, f"this {kind} has {len(active)} active objectives ({names}).", "Deactivate all but one."
        )


def _noise_errors(follower: Follower) -> Iterator[Finding]:
    """A model holds averages over the noise of members: those of infinitely many."""
    if follower.noise is None:
        return
    if follower.size != math.inf:
        yield _error(
            follower.name,
            f"its members have noise of their own, and the model holds its averages, which {follower.size:g} members "
            "do not have.",
            "Plan for Population(block, math.inf, noise=...); simulate(plan, sizes) plays finite numbers of them.",
        )
    missing = set(range(len(follower.noise.labels))).difference(follower.scenarios())
    if missing:
        yield _error(
            follower.name,
            f"no Var of it says what a member does in scenario {follower.noise.labels[min(missing)]} of its noise.",
            f"Index its actions by the scenarios (last index: {listed([str(s) for s in follower.noise.labels])}).",
        )


def _unsupported(player: Player) -> Iterator[Finding]:
    for component in player.unsupported:
        kind = component.ctype
        remedy = REMEDIES.get(kind, "Transform it into constraints first (TransformationFactory) or deactivate it.")
        yield _error(component.name, f"a {kind.__name__} is not handled: solvers would ignore it.", remedy)


def _bounds(player: Player) -> Iterator[Finding]:
    for var in player.integers:
        if not (var.is_integer() or var.is_binary()):
            yield _error(
                var.name,
                f"its domain {var.domain} is neither the reals nor whole numbers: solvers do not know it.",
                "Write it with integer variables.",
            )
    for var in player.variables:
        try:
            lower, upper = var.bounds
        except ValueError as error:  # Pyomo refuses to read a NaN or wrong-signed infinite bound
            yield _error(var.name, f"its bounds are not numbers ({_first_line(error)}).", "Correct the bound.")
            continue
        if lower is not None and upper is not None and lower > upper:
            yield _error(
                var.name, f"its lower bound {lower:g} is above its upper bound {upper:g}.", "Correct the bounds."
            )


def _values(player: Player) -> Iterator[Finding]:
    for var in player.declared:
        number = var.value
        if number.__class__ is float and math.isfinite(number):
            continue
        if var.fixed and not _is_finite(number):
            yield _error(var.name, f"it is fixed at {number}.", "Fix it at a number or unfix it.")
        elif number is not None and not _is_finite(number):
            yield _error(var.name, f"its value, where a solver starts, is {number}.", "Set a number, or None.")


def _expressions(player: Player) -> Iterator[tuple[str, Any]]:
    for objective in player.active_objectives:
        yield objective.name, objective.expr
    for constraint in player.constraints:
        try:
            yield constraint.name, constraint.expr
        except ValueError:
            yield constraint.name, math.nan


def _is_clean(game: GameStructure) -> bool:
    """True if the expressions that :func:`~stackpyomo.games.stamp.stamp` has walked through hold no error."""
    try:
        stamp(game)
    except ValueError:  # a limit that is no number
        return False
    known, trace = {id(v) for v in game.variables_by_name.values()}, game.traced
    rows = (row for player in (game.leader, *game.followers.values()) for row in player.constraints)
    doubts = (_leaf_problem(node, known) for part in (trace.leaves, trace.doubtful) for node in part)
    return trace.is_finite and not any(doubts) and not any(map(_row_bound_problem, rows))


def _expression_errors(game: GameStructure) -> Iterator[Finding]:
    """Numbers that are not finite, Params without value, Vars of another model: solvers pass over all three."""
    known = {id(v) for v in game.variables_by_name.values()}
    seen: set[int] = set()
    looked: set[int] = set()
    for player in (game.leader, *game.followers.values()):
        for name, expression in _expressions(player):
            if id(expression) in looked:  # a shared row, once for all who feel it
                continue
            looked.add(id(expression))
            for leaf in leaves(expression, seen):
                problem = _leaf_problem(leaf, known)
                if problem:
                    yield _error(name, *problem)
                    break
        for constraint in player.constraints:
            wrong = _row_bound_problem(constraint)
            if wrong:
                yield _error(constraint.name, wrong, "Correct the data.")


def _aggregate_errors(game: GameStructure) -> Iterator[Finding]:
    try:
        game.responses()
    except InvalidGame as error:
        component, _, message = str(error).partition(": ")
        yield _error(component, message, "")


def _row_bound_problem(constraint: Any) -> str:
    try:
        lower, upper = constraint.lb, constraint.ub
    except ValueError as error:
        return f"its right-hand side is not a finite number ({_first_line(error)})."
    if lower is not None and upper is not None and lower > upper:
        return f"its lower limit {lower:g} is above its upper limit {upper:g}."
    return ""


def _leaf_problem(leaf: Any, known: set[int]) -> tuple[str, str] | None:
    if leaf.__class__ in native_numeric_types:
        if math.isfinite(leaf):
            return None
        return (f"it holds the number {leaf}.", "Data must be finite; use None or no bound for 'unlimited'.")
    if leaf.is_variable_type():
        if leaf.fixed and not _is_finite(leaf.value):
            return f"the variable {leaf.name} in it is fixed at {leaf.value}.", "Fix it at a number or unfix it."
        if id(leaf) in known or leaf.fixed:
            return None
        return (
            f"it uses the variable {leaf.name}, which is not an active part of this game's model.",
            "Declare the Var on the model (or activate its Block).",
        )
    if isinstance(leaf, UNREADABLE):
        return f"it holds {leaf}, which no solver reads.", "Write it with abs, or as a variable that rows bound."
    if isinstance(leaf, DivisionExpression):
        divisor = leaf.args[1]
        if not is_potentially_variable(divisor) and _data_value(divisor) == 0:
            return f"it divides by {divisor}, which is 0.", "Give it another value."
    if leaf.is_potentially_variable():
        return None
    for parameter in identify_mutable_parameters(leaf):
        if not _is_finite(_data_value(parameter)):
            return f"the parameter {parameter} in it has the value {_data_value(parameter)}.", "Give it a finite value."
    if not _is_finite(_data_value(leaf)):
        return f"its part {leaf} has the value {_data_value(leaf)}.", "Correct the data in it."
    return None


def _data_value(data: Any) -> Any:
    """The value of a Param or a formula of Params, whatever it is."""
    try:
        return pyo.value(data, exception=False)
    except (ArithmeticError, TypeError, ValueError):
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(":.")


def _is_finite(number: Any) -> bool:
    return isinstance(number, Real) and math.isfinite(number)


def _uses(game: GameStructure) -> set[int]:
    """Every Var that some active objective or constraint of the game holds."""
    seen: set[int] = set()
    players = (game.leader, *game.followers.values())
    return {id(var) for p in players for _, expression in _expressions(p) for var in variables_in(expression, seen)}


def _undeclared_aggregates(game: GameStructure) -> Iterator[Finding]:
    """A leader's equality that ties one of its variables to follower actions reads like an aggregate."""
    declared = {id(c) for c in game.aggregates}
    seen: set[int] = set()
    felt = {
        id(v)
        for f in game.followers.values()
        for _, expression in _expressions(f)
        for v in variables_in(expression, seen)
        if id(v) not in game.owners
    }
    for constraint in game.leader.constraints:
        if not constraint.equality or id(constraint) in declared:
            continue
        variables = {id(v): v for v in variables_in(constraint.expr) if not v.fixed}
        shared = [v for key, v in variables.items() if key not in game.owners and key in felt]
        if shared and any(key in game.owners for key in variables):
            yield Finding(
                "warning",
                constraint.name,
                f"it ties {shared[0].name} to follower actions, and followers feel {shared[0].name}, "
                "but it is not an aggregate: each follower takes it as given.",
                f"Pass aggregates=[model.{constraint.name}] if a deviation should move it.",
            )


def _chosen_aggregates(game: GameStructure) -> Iterator[Finding]:
    """Where an equality holds more than one variable that no follower owns: which of them follows the others."""
    definitions = assigned(game.definitions, game.actions)
    aggregates = {id(var) for var, _ in definitions}
    for var, row in definitions:
        inside = [v for v in variables_in(row.expr) if not v.fixed and id(v) not in game.owners]
        beside = list(dict.fromkeys(v.name for v in inside if id(v) not in aggregates))
        if var is not None and beside:
            yield Finding(
                "info",
                row.name,
                f"it defines {var.name}; {listed(beside)} in it stays the leader's, data to a follower who deviates.",
                f"If it defines another variable, pass aggregates=[(model.{beside[0]}, model.{row.name})].",
            )


def _averages(game: GameStructure) -> Iterator[Finding]:
    """Aggregates that weigh a member's scenarios by other than their probabilities."""
    responses = game.responses()
    for follower in game.followers.values():
        if follower.noise is None or follower.noise.members:
            continue
        weights: dict[tuple[int, Any], dict[int, float]] = {}
        own = dict(zip(map(id, follower.variables), follower.scenarios(), strict=True))
        for row, column, share in triplets(responses.shares):
            var = game.actions[column]
            place = own.get(id(var))
            if place is not None:
                key = var.index()[:-1] if isinstance(var.index(), tuple) else ()
                weights.setdefault((row, (id(var.parent_component()), key)), {})[place] = share
        for (row, _), unequal in weights.items():
            per_member = [unequal.get(s, 0.0) / p for s, p in enumerate(follower.noise.probabilities)]
            if max(per_member) - min(per_member) > TOLERANCES.noise * max(map(abs, per_member)):
                yield Finding(
                    "warning",
                    follower.name,
                    f"{responses.variables[row].name} weights its scenarios by other numbers than probabilities.",
                    "Write averages as Σ probability · action, unless a scenario's actions count more than another's.",
                )


def _shared_constraints(game: GameStructure) -> Iterator[Finding]:
    """Rows that hold others' actions, and which of them are one row that several followers feel."""
    declared, named = {id(row) for row in game.shared}, set[int]()
    for shared in game.shared_rows():
        fellows = listed([member.follower for member in shared.members], 3)
        rows = list(dict.fromkeys(m.row.name for m in shared.members if id(m.row) not in named))
        fresh = [m.row for m in shared.members if id(m.row) not in named]
        named |= {id(m.row) for m in shared.members}
        if fresh:
            what = "shared by" if id(fresh[0]) in declared else f"one row with {listed(rows[1:], 3)}, shared by"
            yield Finding(
                "info",
                rows[0],
                f"{what} {fellows} (a generalised Nash game): nash() gives it one multiplier, equilibrium='any' each "
                "follower its own.",
                "",
            )
    for follower in game.followers.values():
        for constraint in (c for c in follower.constraints if id(c) not in named):
            owners = {game.owners.get(id(v)) for v in variables_in(constraint.expr) if not v.fixed}
            others = sorted(owner for owner in owners if owner not in (None, follower.name))
            if others:
                yield Finding(
                    "info",
                    constraint.name,
                    f"this constraint of {follower.name} also holds variables of {', '.join(others[:3])} "
                    "(a generalised Nash game: each follower has its own multiplier).",
                    "",
                )


def _integers(follower: Follower) -> Iterator[Finding]:
    """What is said in the place of convexity: an integer follower has none."""
    whole = follower.integers
    yield Finding(
        "info",
        whole[0].name,
        f"{follower.name} is an integer follower ({len(whole)} of its {len(follower.variables)} variables): its best "
        "response is found by enumeration or by branch and bound.",
        "Plans in which it responds need a global solver (SCIP).",
    )
    for var in follower.variables:
        if None in var.bounds:
            yield Finding(
                "warning",
                var.name,
                f"it has no two bounds, and {follower.name} is an integer follower: little is proved without a box.",
                "Give it a lower and an upper bound.",
            )


def _convexity(follower: Follower) -> Iterator[Finding]:
    objective = follower.objective
    if objective is None:
        return
    variables = follower.variables
    proof = curvature(follower.sign * objective.expr, variables)
    shape = "concave (it is maximised)" if follower.sign < 0 else "convex"
    if proof.curvature is Curvature.NONCONVEX or proof.curvature is Curvature.CONCAVE:
        yield Finding(
            "warning",
            objective.name,
            f"proved not {shape} in the follower's own variables ({proof.method}).",
            "A first-order condition is not enough for it; read its certificate in the report.",
        )
    elif proof.curvature is Curvature.UNKNOWN:
        yield Finding(
            "warning",
            objective.name,
            f"convexity not certified: not proved {shape} in the follower's own variables.",
            "Its best response is searched from several starts unless the announced strategy makes it convex.",
        )
    for constraint in follower.constraints:
        if is_convex_feasible_set(constraint, variables).curvature is not Curvature.CONVEX:
            yield Finding(
                "warning",
                constraint.name,
                "convexity not certified: the follower's feasible set is not proved convex in its own variables.",
                "Write it as an affine equality, convex ≤ constant or concave ≥ constant if it is one.",
            )


def _idle_variables(game: GameStructure, uses: set[int]) -> Iterator[Finding]:
    for name, var in game.variables_by_name.items():
        if var.fixed:
            yield Finding("info", name, f"fixed at {var.value:g}: it is treated as data.", "")
        elif id(var) not in uses:
            yield Finding("warning", name, "no active objective or constraint uses it.", "Remove it or use it.")


def doubtful_indices(game: GameStructure) -> Iterator[Finding]:
    """Decisions indexed by the atoms of an observation that tells more than it stands for, or happens too seldom."""
    for component in indexed(game):
        yield from (doubt.finding(component.name) for doubt in doubts_in(component))
