"""Bilevel plans: what is best for the leader when some followers answer optimally.

A plan comes from the fallback ladder and is judged here by what was proved, never by a solver's word:

    optimal     the re-solve of every responding follower held, its evidence a proof, and a global bound is met
    feasible    the re-solve held
    infeasible  the re-solve, or the rows of leader and followers, showed the opposite
    none        the re-solve of some follower showed nothing
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackpyomo.bilevel import (
    Candidate,
    Conditions,
    Equilibrium,
    Ladder,
    Problem,
    counterexample,
    price_ranges,
    surface,
    unqualified,
)
from stackpyomo.core import TOLERANCES, timed, tracked
from stackpyomo.core.expressions import variables_in
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame, NonconvexFollower, NoPlan
from stackpyomo.games import Follower, Game, objective_at
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import BadRow, Program, Termination
from stackpyomo.verification import Effort, Report, resolved, variational_gap

from .infeasibility import conflict, unbounded
from .options import Options
from .plan import Plan, untried
from .selection import Selection

__all__ = ["respond"]

_SAMPLED = 200
"""Followers whose convexity is looked into before solving; the re-solve looks at all of them afterwards."""

_PATIENCE = 10.0
"""Seconds that a re-solve of the followers may take at least: without it nothing is held of any answer."""


def respond(
    game: Game,
    followers: Sequence[Follower],
    problem: Problem,
    options: Options,
    *,
    objective: bool = True,
    sign: int = 1,
) -> Plan:
    """Solve ``problem`` over the equilibria of these followers, under constants of the leader.

    ``objective``: the problem's cost means something (a bound on it is one); ``sign`` turns it into the leader's
    objective. Raises :class:`InvalidGame` for followers proved nonconvex, :class:`NoPlan` where nothing was found.
    """
    nonconvex = _nonconvex(followers, game, options)
    seconds: dict[str, float] = {}
    work = _Work(game, followers, problem, options, seconds)
    ladder = Ladder(
        game,
        followers,
        problem,
        work.check,
        solver=options.solver,
        starts=options.starts,
        treatment=options.treatment,
        time_limit=options.time_limit,
        tee=options.tee,
        seed=options.seed,
        common=options.wish.common,
        seconds=seconds,
    )
    try:
        with tracked("looking for an equilibrium", shown=not options.tee):
            ladder.climb()
    except BadRow as bad:
        raise _refusal(game, problem, ladder.kkt, bad) from None
    if ladder.best is None or ladder.infeasible or ladder.unbounded or _is_hopeless(ladder):
        _explain(game, problem, ladder)
    plan = work.plan(ladder, objective, sign)
    plan.warnings += [f"{name}: {why}, solved all the same (allow_nonconvex)" for name, why in nonconvex.items()]
    return plan


def _nonconvex(followers: Sequence[Follower], game: Game, options: Options) -> dict[str, str]:
    """Which of the followers (the first of many) are proved not convex: refused by name, or noted where allowed."""
    found: dict[str, str] = {}
    movers = game.movers()
    for follower in followers[:_SAMPLED]:
        why = counterexample(game, follower, movers)
        if why and not options.allow_nonconvex:
            raise NonconvexFollower(
                f"{follower.name}: this follower's problem is proved nonconvex ({why}), so its optimality conditions "
                "do not say what it answers. Reformulate it, or pass allow_nonconvex=True and read each certificate."
            )
        if why:
            found[follower.name] = why
    return found


def _refusal(game: Game, problem: Problem, made: Conditions, bad: BadRow) -> InvalidGame | NoPlan:
    """What a row that cannot be written says: a follower without a best answer, rows in conflict, bad data."""
    place = -1 if bad.row is None else bad.row - len(problem.constraints) - len(problem.held)
    if bad.contradiction and 0 <= place < len(made.stationarity):
        action = made.stationarity[place][0]
        owner = game.owners[id(action)]
        return NoPlan(
            f"No plan exists: {game.names[id(action)]} ({owner}) has no bound on the side where {owner}'s objective "
            "goes on improving, whatever the others do. Bound it or add the missing cost.",
            termination="infeasible",
        )
    message = f"{_row_name(problem, made, bad)}: {bad.reason}"
    return NoPlan(message, termination="infeasible") if bad.contradiction else InvalidGame(message)


def _row_name(problem: Problem, made: Conditions, bad: BadRow) -> str:
    """Whose row it is, in the order in which an :class:`Equilibrium` writes them."""
    if bad.row is None:
        return "the leader's objective"
    named = [
        *(f"{constraint.name} ({owner})" for owner, constraint in problem.constraints),
        *(var.name for var, _ in problem.held),
        *(f"the optimality condition of {var.name}" for var, _ in made.stationarity),
        *(constraint.name for constraint, _ in made.rows),
        *(f"the price {var.name}" for var, _ in made.prices),
    ]
    return named[bad.row] if bad.row < len(named) else "the optimality conditions"


@dataclass
class _Work:
    """One problem's candidates, judged."""

    game: Game
    followers: Sequence[Follower]
    problem: Problem
    options: Options
    seconds: dict[str, float]

    def check(self, candidate: Candidate) -> Report | None:
        """Re-solve the responding followers at a candidate that keeps everybody's rows and bounds."""
        if self.residuals(candidate)["feasibility"] > TOLERANCES.feasibility:
            return None
        with timed(self.seconds, "verify"):
            values = self.game.completed(candidate.values)
            announced = Announcement(values, math.nan)
            limit = None if self.options.time_limit is None else max(self.options.time_limit, _PATIENCE)
            effort = Effort(time_limit=limit)
            report = resolved(self.game, announced, {f.name for f in self.followers}, effort)
        if len(self.followers) > _SAMPLED and not self.options.allow_nonconvex:  # not all were looked into before
            doubtful = [f for f in self.followers if report.certificate[f.name] not in ("convex", "global")]
            _nonconvex(doubtful, self.game, self.options)
        return report

    def residuals(self, candidate: Candidate) -> dict[str, float]:
        """Recomputed: violation of rows and bounds, of the followers' stationarity, of complementarity."""
        assert candidate.found.x is not None
        return candidate.equilibrium.residuals(candidate.found.x)

    def plan(self, ladder: Ladder, objective: bool, sign: int) -> Plan:
        """The ladder's best candidate as a Plan."""
        best = ladder.best
        assert best is not None
        game, report = self.game, best.report
        values = game.completed(best.values)
        for entry in ladder.log:
            cost = entry.pop("cost", None)
            entry["objective"] = sign * cost if objective and cost is not None else None
            if entry["bound"] is not None:
                entry["bound"] = sign * entry["bound"] if objective else None
        plan = Plan(
            values=values,
            leader_objective=objective_at(game, game.leader, values),
            follower_objectives=self._objectives(values, report),
            multipliers=self._multipliers(best),
            termination=best.found.termination.value,
            residuals=self.residuals(best),
            seconds=self.seconds,
            solver=best.found.solver,
            log=ladder.log,
            game=game,
            responding=tuple(f.name for f in self.followers),
            report=report,
        )
        self._judge(plan, ladder, best, objective, sign)
        plan.warnings += unqualified(game, ladder.kkt.curved, values, plan.multipliers)
        self._select(plan, best)
        if game.prices:
            self._price(plan, best)
        return plan

    def _objectives(self, values: Mapping[str, float], report: Report | None) -> dict[str, float]:
        game = self.game
        if report is not None and len(report.objective) == len(game.followers) and not report.objective.isna().any():
            return {name: float(report.objective[name]) for name in game.followers}
        objectives = FollowerRows(game).at(values).objectives
        return dict(zip(game.followers, map(float, objectives), strict=True))

    def _multipliers(self, best: Candidate) -> dict[Any, float]:
        """Leader's and cooperating rows: d(leader's objective)/d(right-hand side); responding followers' rows:
        d(their own objective)/d(right-hand side), both in the sense the user wrote."""
        found: dict[Any, float] = {}
        duals = best.found.duals
        if duals is not None and best.found.polished:
            by_row = dict(zip(best.equilibrium.program.rows.tolist(), duals, strict=True))
            for row, (_, constraint) in enumerate(self.problem.constraints):
                found[constraint.name] = self.game.leader.sign * float(by_row.get(row, 0.0))
        made = best.equilibrium.conditions
        several = Counter(key for _, key in made.signed)
        for follower in self.followers:
            for row in follower.constraints:
                if (follower.name, id(row)) in made.signed:
                    key = row.name if several[id(row)] == 1 else (row.name, follower.name)
                    found[key] = -follower.sign * made.force(follower.name, row, best.values) + 0.0
        return found

    def _select(self, plan: Plan, best: Candidate) -> None:
        """Which equilibrium it is where several followers feel a row, and how many there are beside it."""
        game, names = self.game, [f.name for f in self.followers]
        wish = self.options.wish
        rows = list(wish.common.rows) if wish.common else game.shared_rows(names)
        if not rows or plan.quality not in ("optimal", "feasible"):
            return
        chosen = Selection(wish.kind, rows=tuple(dict.fromkeys(row.name for row in rows)))
        if wish.common is not None:
            chosen.weights = dict(wish.common.weights)
            with timed(self.seconds, "variational"):
                gap = variational_gap(game, Announcement(plan.values, math.nan), names, chosen.weights, rows)
            chosen.gap = max(gap.value, gap.bound)
            assert best.report is not None
            scale = max(chosen.weights.get(name, 1.0) * float(best.report.scale[name]) for name in names)
            shown = chosen.gap <= TOLERANCES.variational * scale
            chosen.kind = "any" if not shown and wish.kind == "variational" else wish.kind
        with timed(self.seconds, "surface"):
            nearby = surface(game, self.followers, self.problem, best.equilibrium.conditions, best.values)
        if nearby is not None:
            chosen.dimension, moving = nearby
            chosen.moving = tuple(game.names[id(v)] for v in moving)
        plan.selection = chosen

    def _price(self, plan: Plan, best: Candidate) -> None:
        """What the market may as well choose, and whether the answer leans on it."""
        plain = Equilibrium(self.problem, best.equilibrium.conditions, None, {})
        plan.price_limits = price_ranges(self.game, plain, plain.point(best.values))
        parts = [self.problem.cost, *(c.expr for _, c in self.problem.constraints)]
        felt = {id(v) for part in parts if hasattr(part, "is_expression_type") for v in variables_in(part)}
        for price in self.game.prices:
            low, high = plan.price_limits.get(price.var.name, (math.nan, math.nan))
            if id(price.var) in felt and low < high:
                plan.warnings.append(
                    f"the answer leans on a price that the market need not choose: {price.var.name} = "
                    f"{plan.values[price.var.name]:.6g}, and anything in [{low:.6g}, {high:.6g}] is a multiplier of "
                    f"{price.row.name} there (plan.price_range)"
                )

    def _judge(self, plan: Plan, ladder: Ladder, best: Candidate, objective: bool, sign: int) -> None:
        report = best.report
        if objective and math.isfinite(ladder.bound):
            plan.bound = sign * ladder.bound
            gap = max(0.0, best.cost - ladder.bound)
            plan.gap = gap / ladder.scale
        if report is None:
            plan.quality = "infeasible"
            plan.warnings.append("the best point found violates rows or bounds")
            return
        unknown = report.regret.isna().any() or (report.certificate == "unknown").any() or not report.refuted
        plan.quality = "feasible" if report.ok else "none" if unknown else "infeasible"
        if not report.ok:
            plan.warnings.append(f"not an equilibrium by the re-solve of the followers ({report.verdict})")
            return
        proved = report.certificate.isin(["convex", "global"]).all()
        if not proved:
            plan.warnings.append("best responses are evidence of several starts, not proved, for some followers")
        if proved and math.isfinite(plan.gap):
            plan.epsilon0 = max(0.0, best.cost - ladder.bound)
            if ladder.is_closed(best.cost):
                plan.quality = "optimal"


def _is_hopeless(ladder: Ladder) -> bool:
    """True if the best answer is refuted, and most attempts found nothing that is feasible."""
    report = None if ladder.best is None else ladder.best.report
    refuted = report is not None and bool(report.refuted) and not report.regret.isna().any()
    empty = sum(found.termination is Termination.INFEASIBLE for found in ladder.stops)
    return refuted and 2 * empty > len(ladder.stops)


def _explain(game: Game, problem: Problem, ladder: Ladder) -> None:
    """Raise :class:`NoPlan`: proved infeasible, unbounded, or nothing found."""
    kinds = {found.termination for found in ladder.stops}
    last = ladder.stops[-1] if ladder.stops else None
    stopped = last.termination if last is not None else Termination.FAILED
    if ladder.unbounded:
        program = Program(problem.cost, [c for _, c in problem.constraints])
        raise NoPlan(unbounded(game, program, None), termination="unbounded")
    if ladder.infeasible or Termination.INFEASIBLE in kinds:
        own = [(name, row) for name, follower in game.followers.items() for row in follower.constraints]
        known = {id(row) for _, row in problem.constraints}
        rows = [*problem.constraints, *((name, row) for name, row in own if id(row) not in known)]
        clash = conflict(rows, "scip" if game.leader.integers else "auto")
        proved = (
            f"No plan exists (proved by {ladder.prover}): "
            if ladder.infeasible
            else "No plan was found (nothing is proved): "
        )
        why = clash or (
            "all rows can be met, but not while every responding follower answers optimally. "
            "Relax the leader's constraints that hold follower variables"
        )
        hint = "" if ladder.infeasible else f" Untried: {', '.join(untried(ladder.log))}."
        raise NoPlan(f"{proved}{why.rstrip('.')}.{hint}", termination="infeasible")
    message = last.message if last is not None else "no solver fits"
    if stopped is Termination.UNBOUNDED:
        stopped, message = Termination.FAILED, f"its steps run away, which proves nothing: {message}"
    raise NoPlan(
        f"No plan was found: {stopped.value} ({message}). "
        f"Try another solver= or start: {', '.join(untried(ladder.log))}. Or another complementarity=; tee=True "
        "shows a solver's log.",
        termination=stopped.value,
    )
