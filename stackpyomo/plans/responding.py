"""Bilevel plans: what is best for the leader when some followers answer optimally.

A plan comes from the search of bilevel and is judged here by what was proved, never by a solver's word:

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
    SOS1,
    Candidate,
    Conditions,
    Equilibrium,
    Options,
    PlanSearch,
    Problem,
    ValueFunction,
    counterexample,
    implied_boxes,
    is_proved_convex,
    price_ranges,
    surface,
    tell_objectives,
    unqualified,
)
from stackpyomo.core import TOLERANCES, is_closed, listed, timed, tracked
from stackpyomo.core.expressions import is_affine, variables_in
from stackpyomo.errors import InvalidGame, NonconvexFollower, NoPlan
from stackpyomo.games import Follower, Game
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import BadRow, Program, Termination, registry
from stackpyomo.verification import PROVED, Effort, Report, resolved, variational_gap

from .feasibility import conflict, refusal, unbounded
from .plan import Plan, answered_plan, bounded, not_held, untried
from .selection import Selection

_SAMPLED = 200  # Followers whose convexity is looked into before solving; the re-solve looks at all of them afterwards.
_LARGEST = 1000  # Variables of integer and nonconvex followers up to which plans are looked for by deviation rows.

# Followers, and variables of theirs, up to which deviation rows are written where a curved row is not proved convex.
_FEW, _SMALL = 5, 15

# Seconds that a re-solve of the followers may take at least: without it nothing is held of any answer.
_PATIENCE = 10.0


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
    able = _by_rows(options) and not problem.answers  # rows know what constants move, and aggregates
    proved = _nonconvex(followers, game, options, able=able)
    seconds: dict[str, float] = {}
    _require_able(game, followers, proved, options, able=able)
    whole = any(f.integers for f in followers)
    doubtful = proved or (able and _may_bend(game, followers))
    by_rows = bool(doubtful and not options.allow_nonconvex and options.common is None) or whole
    if whole and options.common is not None:
        rows = listed([row.name for row in options.common.rows], 3)
        raise InvalidGame(
            f"{rows}: shared by followers of whom some are integer, for whom no equilibrium is variational. Pass "
            'equilibrium="any".'
        )
    work = Work(game, followers, problem, options, seconds, by_rows)
    search = (ValueFunction if by_rows else PlanSearch)(game, followers, problem, work.check, options, seconds=seconds)
    try:
        with tracked("looking for an equilibrium", shown=not options.tee):
            search.run()
    except BadRow as bad:
        raise _refusal(game, problem, search.kkt, bad) from None
    if search.best is None or search.infeasible or search.unbounded or _is_hopeless(search):
        _explain(game, followers, problem, search)
    plan = work.plan(search, objective, sign)
    if not by_rows:
        plan.warnings += [f"{name}: {why}, solved all the same (allow_nonconvex)" for name, why in proved.items()]
    return plan


def plan_if_any(*arguments: Any, **options: Any) -> Plan | None:
    """:func:`respond`; None where it finds no plan."""
    try:
        return respond(*arguments, **options)
    except NoPlan:
        return None


def _nonconvex(followers: Sequence[Follower], game: Game, options: Options, *, able: bool) -> dict[str, str]:
    """Which of the followers (the first of many) are proved not convex: refused by name, or noted where allowed."""
    reasons: dict[str, str] = {}
    movers = game.movers()
    for follower in followers[:_SAMPLED]:
        why = "" if follower.integers else counterexample(game, follower, movers)
        if why and not options.allow_nonconvex and not able:
            raise NonconvexFollower(
                f"{follower.name}: this follower's problem is proved nonconvex ({why}), so its optimality conditions "
                "do not say what it answers. Reformulate it, or pass allow_nonconvex=True and read each certificate.",
                follower=follower.name,
            )
        if why:
            reasons[follower.name] = why
    return reasons


def _may_bend(game: Game, followers: Sequence[Follower]) -> bool:
    """Whether a row of somebody small may leave a set that is not convex, or one without a multiplier for its ends."""
    few = len(followers) <= _FEW and sum(len(f.variables) for f in followers) <= _SMALL
    if not few or game.prices:
        return False
    movers = game.movers()
    curved = [f for f in followers if not is_affine(*(c.body for c in f.constraints))]
    return any(not is_proved_convex(f, movers) for f in curved)


def _require_able(
    game: Game, followers: Sequence[Follower], proved: Mapping[str, str], options: Options, *, able: bool
) -> None:
    """Raise :class:`InvalidGame` for integer followers without SCIP, without a box, or too many of them."""
    whole = [f for f in followers if f.integers]
    for follower in whole[: 0 if able else 1]:
        asked = "is not installed: pip install pyscipopt" if options.solver in ("auto", "scip") else "was not asked for"
        if _by_rows(options):
            asked = "knows no rule that answers its actions"
        elif registry["scip"].available and options.solver in ("auto", "scip"):
            asked = f"takes no complementarity={getattr(options.treatment, 'name', None)!r} there: leave it out"
        raise InvalidGame(
            f"{follower.integers[0].name}: an integer variable of {follower.name}, who responds. Its best answers come "
            f"from deviation rows in SCIP, which {asked}. Or relax its domain, or fix it."
        )
    boxes, used = (implied_boxes(game), _used(game)) if whole else ({}, set())
    for follower in whole:
        for var in (v for v in follower.variables if id(v) in used):
            if not all(map(math.isfinite, boxes[game.names[id(var)]])):
                raise InvalidGame(
                    f"{var.name}: {follower.name} is an integer follower who responds, and neither bounds nor rows "
                    "limit this variable. Give it a lower and an upper bound."
                )
    count = sum(len(f.variables) for f in followers if f.integers or f.name in proved)
    if count > _LARGEST and able and not options.allow_nonconvex:
        raise InvalidGame(
            f"{game.name}: {count} variables of integer or nonconvex followers who respond; deviation rows are for up "
            f"to {_LARGEST}. For large integer bilevel programs MibS (github.com/coin-or/MibS) is the tool."
        )


def _used(game: Game) -> set[int]:
    """id of every variable that a cost or a row holds: what else a Piecewise declares needs no bounds."""
    players = (game.leader, *game.followers.values())
    costs = [player.objective.expr for player in players if player.objective is not None]
    rows = [constraint.expr for player in players for constraint in player.constraints]
    return {id(v) for expression in [*costs, *rows] for v in variables_in(expression)}


def _by_rows(options: Options) -> bool:
    """Whether SCIP may be asked for a plan by deviation rows."""
    able = options.solver in ("auto", "scip") and registry["scip"].available
    return able and (options.treatment is None or isinstance(options.treatment, SOS1))


def _refusal(game: Game, problem: Problem, kkt: Conditions, bad: BadRow) -> InvalidGame | NoPlan:
    """What a row that cannot be written says: a follower without a best answer, rows in conflict, bad data."""
    place = -1 if bad.row is None else bad.row - len(problem.constraints) - len(problem.held)
    if bad.contradiction and 0 <= place < len(kkt.stationarity):
        action = kkt.stationarity[place][0]
        owner = game.owners[id(action)]
        return NoPlan(
            f"No plan exists: {game.names[id(action)]} ({owner}) has no bound on the side where {owner}'s objective "
            "goes on improving, whatever the others do. Bound it or add the missing cost.",
            termination="infeasible",
        )
    return refusal(bad, _row_name(problem, kkt, bad))


def _row_name(problem: Problem, kkt: Conditions, bad: BadRow) -> str:
    """Whose row it is, in the order in which an :class:`Equilibrium` writes them."""
    if bad.row is None:
        return "the leader's objective"
    named = [
        *(f"{constraint.name} ({owner})" for owner, constraint in problem.constraints),
        *(var.name for var, _ in problem.held),
        *(f"the optimality condition of {var.name}" for var, _ in kkt.stationarity),
        *(constraint.name for constraint, _ in kkt.rows),
        *(f"the price {var.name}" for var, _ in kkt.prices),
    ]
    return named[bad.row] if bad.row < len(named) else "the optimality conditions"


@dataclass
class Work:
    """One problem's candidates, judged."""

    game: Game
    followers: Sequence[Follower]
    problem: Problem
    options: Options
    seconds: dict[str, float]
    #: True if a global solver is asked about every candidate, and many starts only where it proves nothing: the second,
    #: from the best of many points, is for wells that nearly tie, which intervals tell apart and SCIP hardly does.
    by_rows: bool = False

    def check(self, candidate: Candidate) -> Report | None:
        """Re-solve the responding followers at a candidate that keeps everybody's rows and bounds."""
        if candidate.residuals["feasibility"] > TOLERANCES.feasibility:
            return None
        with timed(self.seconds, "verify"):
            values = self.game.completed(candidate.values)
            announced = Announcement(values, math.nan)
            limit = None if self.options.time_limit is None else max(self.options.time_limit, _PATIENCE)
            names = {f.name for f in self.followers}
            report = resolved(self.game, announced, names, Effort(time_limit=limit, starts=2 if self.by_rows else 8))
            if self.by_rows and report.ok and not report.certificate.isin(PROVED).all():
                report = resolved(self.game, announced, names, Effort(time_limit=limit))
        if len(self.followers) > _SAMPLED and not self.options.allow_nonconvex:  # not all were looked into before
            doubtful = [f for f in self.followers if report.certificate[f.name] not in PROVED]
            _nonconvex(doubtful, self.game, self.options, able=self.by_rows)
        return report

    def plan(self, search: PlanSearch, objective: bool, sign: int) -> Plan:
        """The search's best candidate as a Plan."""
        best = search.best
        assert best is not None
        tell_objectives(search.log, sign if objective else 0)
        plan = self.drawn(best, search.log)
        self._judge(plan, search, best, objective, sign)
        if isinstance(search, ValueFunction):
            self._tell_deviations(plan, search, sign if objective else 0)
        else:
            plan.warnings += unqualified(self.game, search.kkt.curved, plan.values, plan.multipliers)
        if not self.problem.answers:
            self._select(plan, best)
        if self.game.prices:
            self._price(plan, best)
        return plan

    def drawn(self, best: Candidate, log: list[dict[str, Any]]) -> Plan:
        """A candidate as a Plan of which nothing is said yet."""
        return answered_plan(
            self.game,
            self.game.completed(best.values),
            [f.name for f in self.followers],
            self.options,
            best.report,
            multipliers=self._multipliers(best),
            termination=best.answer.termination.value,
            residuals=best.residuals,
            seconds=self.seconds,
            solver=best.answer.solver,
            log=log,
        )

    def _tell_deviations(self, plan: Plan, search: ValueFunction, sign: int) -> None:
        """What rows of deviations found: rounds, ε_f, and an infimum that is not reached."""
        plan.log += search.logged(sign)
        if plan.report is not None and plan.report.ok:
            plan.residuals["regret"] = float(plan.report.epsilon)
        plan.attained = search.attained if sign else None
        if plan.attained is False:
            plan.warnings.append(
                "the leader's infimum is approached, and none was found that reaches it (evidence): no plan is better "
                f"than {plan.bound:.8g}, this one comes within {abs(plan.leader_objective - plan.bound):.2g} of it"
            )
        elif plan.quality == "feasible" and sign:
            count = sum(len(f.integers) for f in self.followers)
            plan.warnings.append(
                f"gap not closed after {len(search.rounds)} rounds of deviations (bound {plan.bound:.8g}) with {count} "
                "integer variables of followers; a longer time_limit= may; for large integer followers MibS "
                "(github.com/coin-or/MibS) is the tool"
            )

    def _multipliers(self, best: Candidate) -> dict[Any, float]:
        """Derivatives by the right-hand sides of rows, in the sense the user wrote.

        Of the leader's objective for its own and cooperating rows, of their own objective for responding followers'
        rows.
        """
        multipliers: dict[Any, float] = {}
        duals = best.answer.duals
        if duals is not None and best.answer.polished:
            by_row = dict(zip(best.equilibrium.program.rows.tolist(), duals, strict=True))
            for row, (_, constraint) in enumerate(self.problem.constraints):
                multipliers[constraint.name] = self.game.leader.sign * float(by_row.get(row, 0.0))
        kkt = best.equilibrium.conditions
        several = Counter(key for _, key in kkt.signed)
        for follower in self.followers:
            for row in follower.constraints:
                if (follower.name, id(row)) in kkt.signed:
                    key = row.name if several[id(row)] == 1 else (row.name, follower.name)
                    multipliers[key] = -follower.sign * kkt.force(follower.name, row, best.values) + 0.0
        return multipliers

    def _select(self, plan: Plan, best: Candidate) -> None:
        """Which equilibrium it is where several followers feel a row, and how many there are beside it."""
        game, names = self.game, [f.name for f in self.followers]
        kind, common = self.options.equilibrium, self.options.common
        rows = list(common.rows) if common else game.shared_rows(names)
        if not rows or plan.quality not in ("optimal", "feasible"):
            return
        chosen = Selection(kind, rows=tuple(dict.fromkeys(row.name for row in rows)))
        if common is not None:
            chosen.weights = dict(common.weights)
            with timed(self.seconds, "variational"):
                gap = variational_gap(game, Announcement(plan.values, math.nan), names, chosen.weights, rows)
            chosen.gap = max(gap.value, gap.bound)
            assert best.report is not None
            scales = [chosen.weights.get(name, 1.0) * float(best.report.scale[name]) for name in names]
            rounding = TOLERANCES.noise * sum(scales)  # of many, what is left of each adds up
            shown = chosen.gap <= max(TOLERANCES.variational * max(scales), rounding)
            chosen.kind = "any" if not shown and kind == "variational" else kind
        with timed(self.seconds, "surface"):
            nearby = surface(game, self.followers, self.problem, best.equilibrium.conditions, best.values)
        if nearby is not None:
            chosen.dimension, moving = nearby
            chosen.moving = tuple(game.names[id(v)] for v in moving)
        plan.selection = chosen

    def _price(self, plan: Plan, best: Candidate) -> None:
        """The ranges of prices that clear the market, and a warning where the plan relies on one of them.

        A plan for the worst equilibrium relies on none.
        """
        plain = Equilibrium(self.problem, best.equilibrium.conditions, None, {})
        plan.price_limits = price_ranges(self.game, plain, plain.point(best.values))
        parts = [self.problem.cost, *(c.expr for _, c in self.problem.constraints)]
        felt = {id(v) for part in parts if hasattr(part, "is_expression_type") for v in variables_in(part)}
        for price in self.game.prices:
            low, high = plan.price_limits.get(price.var.name, (math.nan, math.nan))
            if id(price.var) in felt and low < high and self.options.equilibrium != "worst":
                plan.warnings.append(
                    f"the plan relies on a price that the market need not choose: {price.var.name} = "
                    f"{plan.values[price.var.name]:.6g}, and anything in [{low:.6g}, {high:.6g}] is a multiplier of "
                    f"{price.row.name} there (plan.price_range)"
                )

    def _judge(self, plan: Plan, search: PlanSearch, best: Candidate, objective: bool, sign: int) -> None:
        report = plan.report
        assert report is not None
        if objective and math.isfinite(search.bound):
            bounded(plan, sign, best.cost, search.bound, search.scale)
        plan.quality = "feasible"
        if not report.ok:
            not_held(plan)
            return
        proved = report.certificate.isin(PROVED).all()
        if not proved:
            plan.warnings.append("best responses are evidence of several starts, not proved, for some followers")
        if proved and math.isfinite(plan.gap):
            plan.epsilon0 = max(0.0, best.cost - search.bound)
            plan.quality = "optimal" if is_closed(best.cost, search.bound, search.scale) else "feasible"


def _is_hopeless(search: PlanSearch) -> bool:
    """True if the best answer is refuted, and most attempts found nothing that is feasible."""
    report = None if search.best is None else search.best.report
    refuted = report is not None and bool(report.refuted) and not report.regret.isna().any()
    empty = sum(stop.termination.maybe_infeasible for stop in search.stops)
    return refuted and 2 * empty > len(search.stops)


def _unending(followers: Sequence[Follower]) -> str:
    """Which variables may leave a follower without a best answer."""
    ends = [v.name for f in followers for v in f.variables if v.lb is None or v.ub is None]
    return f", or bound {listed(ends, 3)}: a cost that falls without limit has no best answer" if ends else ""


def _explain(game: Game, followers: Sequence[Follower], problem: Problem, search: PlanSearch) -> None:
    """Raise :class:`NoPlan`: proved infeasible, unbounded, or nothing found."""
    last = search.stops[-1] if search.stops else None
    stopped = last.termination if last is not None else Termination.FAILED
    if search.unbounded:
        program = Program(problem.cost, [c for _, c in problem.constraints])
        raise NoPlan(unbounded(game, program, None), termination="unbounded")
    if search.infeasible or any(stop.termination.maybe_infeasible for stop in search.stops):
        own = [(name, row) for name, follower in game.followers.items() for row in follower.constraints]
        known = {id(row) for _, row in problem.constraints}
        rows = [*problem.constraints, *((name, row) for name, row in own if id(row) not in known)]
        clash = conflict(rows, "scip" if game.leader.integers else "auto")
        proved = (
            f"No plan exists (proved by {search.prover}): "
            if search.infeasible
            else "No plan was found (nothing is proved): "
        )
        shared = (
            ""
            if search.options.common is None
            else (
                "no equilibrium is variational (one multiplier for all who feel a shared row); equilibrium='any' asks "
                "for those where each has its own"
            )
        )
        why = (
            clash
            or shared
            or (
                "all rows can be met, but not while every responding follower answers optimally. "
                f"Relax the leader's constraints that hold follower variables{_unending(followers)}"
            )
        )
        hint = "" if search.infeasible else f" Untried: {', '.join(untried(search.log))}."
        raise NoPlan(f"{proved}{why.rstrip('.')}.{hint}", termination="infeasible")
    message = last.message if last is not None else "no solver fits"
    if stopped is Termination.UNBOUNDED:
        stopped, message = Termination.FAILED, f"its iterates diverge: no proof: {message}"
    elif last is not None and stopped in (Termination.OPTIMAL, Termination.CONVERGED):
        stopped, message = Termination.FAILED, f"{last.solver}: {message}, but no re-solve confirms its answer"
    raise NoPlan(
        f"No plan was found: {stopped.value} ({message}). "
        f"Try another solver= or start: {', '.join(untried(search.log))}. Or another complementarity=; tee=True "
        "shows a solver's log.",
        termination=stopped.value,
    )
