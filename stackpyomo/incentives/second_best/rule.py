"""The best affine rule, whether or not one holds the leader-optimal plan: plan and gain chosen together.

    min J0(u0, u)  over plans that some affine rule u0 = c + K s makes every follower's best response

    leader-optimal ≤ best rule ≤ best constant                     (K = 0 is a rule, and a leader cannot do better than
                                                                    when everybody serves it)

Where an incentive holds the leader-optimal plan, that is the answer. Else the plan is searched for with the gain, from
the best constant on, so that the answer is never worse than that; :mod:`stackpyomo.incentives.second_best.rounds`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.bilevel import Problem, Scholtes, tell_objectives
from stackpyomo.core import TOLERANCES, Array, is_closed, require_positive, shown, tracked, undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame, NoIncentive, NoPlan
from stackpyomo.games import Follower, Game, require, require_game
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.by_slopes import Design, given_incentive
from stackpyomo.incentives.design import affine_incentive, least_curvature
from stackpyomo.incentives.gains.selection import Wishes
from stackpyomo.incentives.incentive import Incentive
from stackpyomo.incentives.standing import AtBound, Standing
from stackpyomo.plans import (
    Options,
    Plan,
    answered_plan,
    bounded,
    leader_optimal,
    leading_problem,
    read_options,
    respond,
)
from stackpyomo.solvers import BadRow, Termination
from stackpyomo.verification import verify

from .cuts import Cuts
from .kinks import least_at_bounds
from .limit import AnyGain
from .rounds import Answer, Search
from .unknown_gain import UnknownGain, read_common

logger = logging.getLogger(__name__)

#: Where no bounds of the gain are given: how many times the least-squares gain it may be, in natural units.
_WIDE = 10.0

_STEPS = 4  # Points of the value curve between 0 and the gain found, in parts of it.
_BUDGET = 60.0  # Processor seconds of a search that was given no time limit, after which it ends and says so.
_FEW = 50  # Followers up to which there are random starts, and points of the value curve between its ends.
_PROOF = 10.0  # Processor seconds that SCIP has for the bound on a rule, which nothing else proves.


def optimal_rule(
    game: Game,
    observe: Any = "actions",
    *,
    common: Any = (),
    gain_bounds: Any = None,
    curvature: str | float = "auto",
    margin: float = 0.0,
    multipliers: str = "free",
    saturate: bool = False,
    solver: str = "auto",
    starts: int = 4,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    seed: int = 0,
) -> Incentive:
    """The best affine rule u0 = c + K s, where :func:`affine_incentive` has to hold a given plan.

    min J0 over u0, u, K s.t. a_k + A_kᵀ∇_z L_k + (K M_k)ᵀ b_k = 0 for all k, each at its best response.
    ``plan.quality`` is "optimal" only where a global bound is met and every re-solve is a proof. The rule is verified
    by the same re-solves as :func:`verify` does; where none is, the best constants are announced: K = 0. Constants that
    lack an asked-for curvature, or a gain within its bounds, are no rule, and may then do better.

    Parameters
    ----------
    game : Game
        Leader and followers.
    observe : "actions", list, or mapping of leader Var to list
        As for :func:`affine_incentive`.
    common : indexed Var, or list of lists of Var, optional
        Leader variables whose entries announce one (c, K), position by position of their signals: one tariff for
        followers, or types, that the leader cannot tell apart.
    gain_bounds : (float, float) or mapping of leader Var to (float, float), optional
        As for :func:`affine_incentive`; by default 10 times the least-squares gain at the leader-optimal plan.
    curvature : "auto", "none" or float
        The least curvature of the followers' composed costs, per squared unit of action; "auto": as much as makes the
        plan their best response; "none": none beyond what the re-solves show.
    margin : float, default 0
        How much worse each deviation that ties has to be, in the follower's unit, and the least curvature where that is
        larger; 0: ties go to the leader.
    multipliers : {"free", "zero"}
        "zero": no follower leans on its own constraints.
    saturate : bool, default False
        Announce the projection on the leader's bounds; otherwise a formula that followers could drive beyond them to
        their profit has to stay within them.
    solver, starts, complementarity, time_limit, tee, seed : optional
        As for :func:`leader_optimal`; ``starts``, 4, are those of the local search. Without time_limit= the search ends
        after a minute of processor time: ``plan.termination`` is then "time limit".

    Returns
    -------
    Incentive
        ``plan`` is the plan it holds, ``comparison`` the leader's objective beside leader-optimal and best constants,
        ``value_curve`` how that depends on the size of the gain, ``at_bound`` what wider bounds of the gain would
        bring.

    Raises
    ------
    InvalidGame
        An argument cannot be used.
    NoPlan
        Neither a rule nor constants have a plan, or no rule has a gain within bounds that leave out 0.
    """
    options = read_options(solver, starts, complementarity, time_limit, tee, True, seed, proof_seconds=_PROOF)
    least_curvature(curvature)
    if multipliers not in ("free", "zero"):
        raise InvalidGame(f"multipliers={multipliers!r}: choose 'free' or 'zero'.")
    require_positive("margin", margin, zero=True)
    require_game(game, "optimal_rule")
    with undisturbed():
        require(game)
        whole = next((v for f in game.followers.values() for v in f.integers), None)
        if whole is not None:
            raise InvalidGame(
                f"{whole.name}: an integer variable of a follower, and optimal_rule looks for rules by slopes. Relax "
                "its domain, or hold a plan by affine_incentive(plan), with regret='least' where no gain holds it."
            )
        observation = read_observation(game, observe)
        groups = read_common(game, observation, common)
    ideal = leader_optimal(game, solver=solver, starts=starts, time_limit=time_limit, tee=tee, seed=seed)
    wishes = Wishes(
        observation, None, multipliers, None, bool(saturate), gain_bounds, solver=solver, margin=float(margin)
    )
    asked = _Asked(game, observe, groups, wishes, curvature, options, ideal)
    with tracked("looking for the best rule", shown=not tee):
        return asked.answered()


@dataclass
class _Asked:
    """One call of :func:`optimal_rule`, its arguments read."""

    game: Game
    observe: Any
    groups: list[list[VarData]]
    wishes: Wishes
    curvature: str | float
    options: Options
    ideal: Plan
    seconds: dict[str, float] = field(default_factory=dict)
    lacking: str = ""  #: What was asked of the gain and constants do not have.

    def answered(self) -> Incentive:
        """The rule: of the leader-optimal plan where one holds it, else what the search finds, else K = 0."""
        ideal_rule = None if self.groups else self._held(self.ideal)
        with undisturbed():
            self.rows = FollowerRows(self.game)
            self.design = Design(self.rows.natural(self.ideal.values), self.wishes)
            self.gain = UnknownGain(self.rows, self.design, self.groups)
            constant, why = self._constant()
            if ideal_rule is not None:
                return self._standing(ideal_rule, constant, proved=ideal_rule.plan.quality == "optimal", free=True)
            search = self._search() if self.gain.entries else None
            if search is not None:
                search.run(self._points(constant))
                search.bound = min(search.bound, self.beyond_slopes)
                if search.is_late:
                    text = "%s: the search was ended after %g s of processor time; time_limit= looks longer"
                    logger.warning(text, self.game.name, _BUDGET)
                self.lacking = self._lacking(search, constant)
            if search is None or search.best is None:
                if constant is None:
                    assert why is not None
                    raise why
                return self._constants(search, constant)
            rule = self._curve(search, self._best(search, constant), constant)
            rule = self._of_any_gain(search, rule)
        if search.is_late and rule.plan.quality != "optimal":
            rule = replace(rule, plan=replace(rule.plan, termination=Termination.TIME_LIMIT.value))
        return self._of_least_energy(rule)

    @property
    def shape(self) -> tuple[int, int]:
        """(leader variables, signals)."""
        return len(self.design.leader), len(self.design.signals)

    @property
    def least(self) -> float:
        """The least curvature that every follower's composed cost is to have."""
        return max(self.wishes.margin, self.curvature if isinstance(self.curvature, (int, float)) else 0.0)

    @cached_property
    def beyond_slopes(self) -> float:
        """No rule that holds its plan by a kink costs less; ∞ where rules have none."""
        announced = {instrument for instrument, _, _ in self.gain.entries}
        bending = [self.rows.instruments[i] for i in sorted(announced)] if self.wishes.saturate else []
        return least_at_bounds(self.game, bending, min(_PROOF, self.options.time_limit or _PROOF))

    def _held(self, plan: Plan) -> Incentive | None:
        """The incentive of least energy at a plan, if there is one and the followers' re-solves confirm it."""
        for multipliers in dict.fromkeys([self.wishes.multipliers, "zero"]):
            try:
                rule = affine_incentive(
                    plan,
                    self.observe,
                    multipliers=multipliers,
                    curvature=self.least or self.curvature,
                    saturate=self.wishes.saturate,
                    gain_bounds=self.wishes.gain_bounds,
                )
            except NoIncentive as none:
                logger.info("%s: no rule holds this plan (%s)", self.game.name, none)
                continue
            if verify(rule).ok:
                return rule
        return None

    # --- the search ---------------------------------------------------------------------------------------------------

    def _problem(self) -> Problem:
        return leading_problem(self.game, set(self.game.followers))

    def _constant(self) -> tuple[Plan | None, NoPlan | None]:
        """The best constants, alike where one rule is asked for; or why there are none."""
        problem, followers = self._problem(), list(self.game.followers.values())
        problem.constraints += [("leader", row) for row in self.gain.common_rows(constants=True)]
        try:
            once = replace(self.options, starts=1)
            return respond(self.game, followers, problem, once, sign=self.game.leader.sign), None
        except NoPlan as none:
            return None, none

    def _lacking(self, search: Search, constant: Plan | None) -> str:
        """What was asked of the gain and the best constants do not have; empty where K = 0 is one of the rules."""
        if (self.lower > 0.0).any() or (self.upper < 0.0).any():
            return "with a gain within gain_bounds="
        if constant is None or not self.least:
            return ""
        at = {id(v): constant.values[name] for name, v in self.game.variables_by_name.items()}
        bent = all(search.cuts.is_plain_enough(follower, at) for follower in self._asked_to_bend)
        return "" if bent else f"with the curvature of {self.least:g} that was asked for"

    @property
    def _asked_to_bend(self) -> list[Follower]:
        """Followers whose actions some gain could answer to."""
        owners = [f for f in self.game.followers.values() if f.objective is not None]
        return [f for f in owners if any(id(v) in self.gain.answers for v in f.variables)]

    def _constants(self, search: Search | None, constant: Plan) -> Incentive:
        """K = 0: as good as every rule that was found, or all that is left where none was."""
        if search is not None:
            plan = replace(constant, bound=math.nan, gap=math.nan, quality="feasible")
            if not self.lacking:
                self._prove(plan, search, proofs=constant.quality == "optimal")
            elif "gain_bounds" in self.lacking:
                text = f"{self.game.name}: no rule {self.lacking} was found, and these do not admit constants."
                raise NoPlan(f"{text} Widen gain_bounds=.", termination=Termination.FAILED.value)
            else:
                text = f"no rule {self.lacking} was found; these are the best constants, which do not have it"
                plan.warnings = [*plan.warnings, text]
            constant = plan
        rule = self._incentive(constant, sparse.csc_array(self.shape))
        proved = search is not None and constant.quality == "optimal"
        return self._standing(rule, constant, proved=proved)

    def _search(self) -> Search:
        problem = self._problem()
        tied = {id(v) for group in self.groups for v in group}
        problem.constraints += [("leader", row) for row in self.gain.common_rows()]
        problem.leader = [*(v for v in problem.leader if id(v) not in tied), *self.gain.variables]
        problem.answers, problem.leaning = self.gain.answers, self.wishes.multipliers == "free"
        self.fitted = self._fitted()
        self.lower, self.upper = self._limits()
        self.gain.bound(self.lower, self.upper)
        cuts = Cuts(self.gain, self.wishes.margin, self.least)
        if self.least > 0.0:
            for follower in self._asked_to_bend:
                cuts.require_curvature(follower)
        options = self.options if len(self.game.followers) <= _FEW else replace(self.options, starts=1)
        budget = time.process_time() + _BUDGET if options.time_limit is None else math.inf
        return Search(self.game, self.gain, problem, cuts, options, self.seconds, budget=budget)

    def _fitted(self) -> Array:
        """The least-squares gain at the leader-optimal plan, entry by entry."""
        gain = self.design.fitted(self.ideal.values).tocsr()
        return np.array([gain[instrument, s] for instrument, s, _ in self.gain.entries], dtype=float)

    @property
    def _size(self) -> Array:
        """(entries) the size of the largest least-squares gain, or a natural unit where it is less."""
        units = self.gain.units
        return units * max(1.0, float(np.abs(self.fitted / units).max(initial=0.0)))

    def _limits(self) -> tuple[Array, Array]:
        """Bounds of the entries: as given, else a multiple of the least-squares gain."""
        places = [instrument for instrument, _, _ in self.gain.entries]
        low, high, most = self.design.lower[places], self.design.upper[places], _WIDE * self._size
        return np.where(np.isfinite(low), low, -most), np.where(np.isfinite(high), high, most)

    def _points(self, constant: Plan | None) -> list[dict[int, float]]:
        """Where the local search begins: the best constants, the least-squares gain, random gains."""
        by_name = self.game.variables_by_name
        plans = [plan for plan in (constant, self.ideal) if plan is not None]
        at = [{id(v): plan.values[name] for name, v in by_name.items()} for plan in plans]
        none = np.zeros(len(self.fitted))
        points = [{**at[0], **self.gain.point(none)}, {**at[-1], **self.gain.point(self.fitted)}]
        random = np.random.default_rng(self.options.seed)
        for number in range(self.options.starts - len(points)):
            drawn = self._size * random.standard_normal(len(none))
            points.append({**at[number % len(at)], **self.gain.point(drawn)})
        few = min(self.options.starts, len(plans)) if len(self.game.followers) > _FEW else self.options.starts
        return points[: max(1, few)]

    # --- what comes of it ---------------------------------------------------------------------------------------------

    def _best(self, search: Search, constant: Plan | None) -> Incentive:
        """The rule that the search found, or K = 0 where that is as good."""
        best, sign = search.best, self.game.leader.sign
        assert best is not None
        if constant is not None and self._is_as_good(constant, best, search):
            return self._constants(search, constant)
        plan = self._plan(best, search)
        if constant is not None and self.lacking and best.cost > sign * constant.leader_objective:
            plan.warnings.append(f"the best constants do better, which is no rule {self.lacking}")
        rule = self._standing(self._incentive(plan, best.gain), constant, proved=plan.quality == "optimal")
        slopes, table = search.slopes_at_bounds(), best.gain.tocsr()
        at_bound = tuple(
            AtBound(rule.leader[instrument], rule.signals[s], float(table[instrument, s]), sign * slopes[number])
            for instrument, s, number in self.gain.entries
            if number in slopes
        )
        assert rule.standing is not None
        return replace(rule, standing=replace(rule.standing, at_bound=at_bound))

    def _is_as_good(self, constant: Plan, best: Answer, search: Search) -> bool:
        cost = self.game.leader.sign * constant.leader_objective
        reached = constant.quality in ("optimal", "feasible") and best.gain.nnz > 0
        return reached and not self.lacking and best.cost >= cost - TOLERANCES.solver * search.scale

    def _plan(self, best: Answer, search: Search) -> Plan:
        answer = best.candidate.answer
        tell_objectives(search.log, self.game.leader.sign)
        plan = answered_plan(
            self.game,
            best.values,
            (),
            self.options,
            best.report,
            termination=answer.termination.value,
            quality="feasible",
            residuals=best.candidate.residuals,
            seconds=self.seconds,
            solver=answer.solver,
            log=search.log,
        )
        self._prove(plan, search, proofs=search.is_certain)
        return plan

    def _prove(self, plan: Plan, search: Search, *, proofs: bool) -> None:
        """Set bound, gap and quality: the bound of the search, or that of the leader-optimal plan."""
        sign = self.game.leader.sign
        cost, limit = sign * plan.leader_objective, sign * self.ideal.bound
        plan.epsilon0 = max(0.0, cost - limit) if math.isfinite(limit) else math.nan
        bound = max(search.bound, limit if math.isfinite(limit) else -math.inf)
        if math.isfinite(bound):
            bounded(plan, sign, cost, bound, search.scale)
            if proofs and is_closed(cost, bound, search.scale):
                plan.quality = "optimal"
        if plan.quality != "optimal" and self.beyond_slopes < cost:
            proved = math.isfinite(self.beyond_slopes)
            least = f"none beats {shown(sign * self.beyond_slopes)}" if proved else "nothing is proved of them"
            plan.warnings += [f"plans on a bound that only the projection's kink holds were not looked for: {least}"]

    def _incentive(self, plan: Plan, gain: sparse.csc_array) -> Incentive:
        plan = replace(plan, responding=(), report=None, options={**plan.options, "function": "optimal_rule"})
        rule = given_incentive(plan, self.rows, self.wishes, gain)
        return replace(rule, matrix=gain) if self.groups else rule  # one rule, where nobody feels an entry, too

    def _standing(self, rule: Incentive, constant: Plan | None, *, proved: bool, free: bool = False) -> Incentive:
        without = math.nan if constant is None else constant.leader_objective
        value = rule.plan.leader_objective
        most = _largest(rule)
        curve = ((0.0, without), (most, value)) if most and not self.lacking else ((most, value),)
        common = tuple(tuple(self.game.names[id(v)] for v in group) for group in self.groups)
        standing = Standing(self.ideal.leader_objective, value, without, curve, proved=proved, free=free, common=common)
        return replace(rule, standing=standing)

    def _curve(self, search: Search, rule: Incentive, constant: Plan | None) -> Incentive:
        """The rule with the value curve between its ends, each point from the one before; its last point may be better.

        This is a homotopy in κ: where nothing is proved, the bounds of the gain follow it as one more start.
        """
        most, best = _largest(rule), search.best
        if not most or constant is None or best is None or len(self.game.followers) > _FEW or search.is_late:
            return rule
        assert rule.standing is not None
        sign, points = self.game.leader.sign, self._points(constant)[:1]
        curve = [] if self.lacking else [(0.0, constant.leader_objective)]
        reached = math.inf if self.lacking else sign * constant.leader_objective
        for part in range(1, _STEPS):
            kappa, values = most * part / _STEPS, best.candidate.values
            scaled = {id(v): part / _STEPS * values.get(id(v), 0.0) for v in self.gain.holder.gain.values()}
            lower, upper = np.maximum(self.lower, -kappa), np.minimum(self.upper, kappa)
            started = [*points, {**values, **scaled}]
            narrow = self._local(search, started, lower, upper) if (lower <= upper).all() else None
            if narrow is not None:
                reached, points = min(reached, narrow.cost), [narrow.candidate.values]
            if math.isfinite(reached):
                curve.append((kappa, sign * max(reached, sign * rule.plan.leader_objective)))
        if not rule.standing.proved and search.takes(self._local(search, points, self.lower, self.upper)):
            rule = self._best(search, constant)
        assert rule.standing is not None
        curve = [point for point in curve if point[0] < _largest(rule)]
        curve.append((_largest(rule), rule.plan.leader_objective))
        return replace(rule, standing=replace(rule.standing, curve=tuple(curve)))

    def _local(
        self, search: Search, points: Sequence[Mapping[int, float]], lower: Array, upper: Array
    ) -> Answer | None:
        """The best answer from these points on, the gain within these bounds, without a global solver."""
        once = replace(self.options, starts=1, treatment=self.options.treatment or Scholtes())
        other = replace(search, options=once, best=None, log=[], bound=-math.inf, lost=[])
        self.gain.bound(lower, upper)
        other.run(points, local=True)
        self.gain.bound(self.lower, self.upper)
        return other.best

    def _of_any_gain(self, search: Search, rule: Incentive) -> Incentive:
        """The rule with what is known of gains beyond the bounds that were not asked for: a bound, or a limit."""
        standing, best, sign = rule.standing, search.best, self.game.leader.sign
        assert standing is not None
        assert best is not None
        if self.wishes.gain_bounds is not None or search.is_late or not (standing.proved or standing.at_bound):
            return rule  # what is not told within bounds is not told without
        try:
            necessary = search.cuts.rows if search.cuts.necessary else ()
            form = AnyGain(self.game, self.gain, search.problem, necessary)
        except (BadRow, InvalidGame) as why:
            logger.info("%s: nothing is said of gains of any size (%s)", self.game.name, why)
            return rule
        plan, cost = replace(rule.plan), sign * rule.plan.leader_objective
        least = min(form.bound(self.options.time_limit), self.beyond_slopes)
        limit = form.limit(best.candidate.values) if self._is_far_out(rule) else math.nan
        wider = None
        if limit < cost:  # the best answer with ten times the gain
            wider = self._local(search, [best.candidate.values], _WIDE * self.lower, _WIDE * self.upper)
        near = TOLERANCES.nearby * (cost - limit)
        if wider is not None and limit < wider.cost < cost and wider.cost - limit <= near:
            # Beside the gap of a proof this may be nothing, and is more than this rule reaches all the same.
            least = max(least, sign * self.ideal.bound) if math.isfinite(self.ideal.bound) else least
            nearest = is_closed(limit, least, search.scale)
            if nearest:
                bounded(plan, sign, cost, least, search.scale)
                plan.quality, plan.attained = "feasible", False
            return replace(rule, plan=plan, standing=replace(standing, infimum=sign * limit, nearest=nearest))
        if is_closed(cost, least, search.scale) and search.is_certain:
            bounded(plan, sign, cost, least, search.scale)
            plan.quality = "optimal"
            return replace(rule, plan=plan, standing=replace(standing, proved=True, free=True))
        return rule

    def _is_far_out(self, rule: Incentive) -> bool:
        """Whether an entry stands at its bound, or as near to it as a solver comes to one that hardly pays any more."""
        table = rule.matrix.tocsr()
        gains = np.array([table[instrument, s] for instrument, s, _ in self.gain.entries])
        room = TOLERANCES.weak * np.maximum(np.abs(self.lower), np.abs(self.upper))
        return bool(((gains - self.lower <= room) | (self.upper - gains <= room)).any())

    def _of_least_energy(self, rule: Incentive) -> Incentive:
        """Of all gains that hold the same plan the one of least energy, where the plan leaves a choice."""
        assert rule.standing is not None
        if self.groups or rule.freedom <= 0 or rule.standing.at_bound or not rule.norm:
            return rule
        least = self._held(rule.plan)
        if least is None or least.energy >= rule.energy:
            return rule
        return replace(least, standing=rule.standing)


def _largest(rule: Incentive) -> float:
    """The largest |K| of its entries."""
    return float(np.abs(rule.matrix.data).max(initial=0.0))
