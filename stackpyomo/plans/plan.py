"""Plans: a joint point of leader and followers, what is held of it and why the search stopped.

Re-solved plans: the followers' best answers at some values, re-solved and measured; nothing is proved yet.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from stackpyomo.bilevel import Options
from stackpyomo.core import (
    SHOWN,
    TOLERANCES,
    Document,
    Part,
    Table,
    as_text,
    fields_from_json,
    fields_to_json,
    floats,
    head,
    listed,
    plain,
    readable,
    real,
    shown,
    undisturbed,
)
from stackpyomo.core.expressions import is_quadratic, variables_in
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, changes, evaluated_at, exchangeable, objective_at, stamp
from stackpyomo.games.information import Announcement
from stackpyomo.verification import Effort, Report, resolved

from .feasibility import rested, violation
from .selection import Selection

_GLOBAL = ("scip", "gurobi")


@dataclass
class Plan(Document):
    """What leader and followers are to do, with what is proved of it: the joint plan u*.

    ``termination`` is why the solver stopped, ``quality`` what is held. ``residuals`` are recomputed from the written
    problem, never taken from the solver. Where ``epsilon0`` is a number it is the paper's ε0-leader-optimal point.
    """

    values: dict[str, float]  #: variable name → value, for everybody's variables.
    leader_objective: float  #: J0 at the plan, in the sense the user wrote.
    follower_objectives: dict[str, float]  #: follower name → J_k at the plan, in its own sense and unit.
    #: constraint name → d(leader's objective)/d(right-hand side), in the sense the user wrote; for a constraint of a
    #: follower who responds, d(its own objective)/d(right-hand side); (constraint name, follower's name) → that where
    #: several followers feel one constraint.
    multipliers: dict[Any, float] = field(default_factory=dict)
    termination: str = "none"  #: Why the solver stopped: "optimal", "converged", "infeasible", "time limit", ...
    quality: str = "none"  #: What is held: "optimal" (proved), "feasible", "infeasible" or "none".
    bound: float = math.nan  #: On J0: proved by convexity, or a global solver's; NaN without.
    gap: float = math.nan  #: From J0 to the bound, relative to the scale of J0; NaN without a bound.
    #: Proved gap to the leader's optimum (the paper's ε0); NaN when nothing was proved. Where a variable has no bounds
    #: the proof reaches ``TOLERANCES.trust`` of its reaches around the plan.
    epsilon0: float = math.nan
    residuals: dict[str, float] = field(default_factory=dict)  #: Recomputed: feasibility, stationarity, ...
    seconds: dict[str, float] = field(default_factory=dict)  #: part of the work → seconds.
    solver: str = ""  #: The solver that found it.
    #: Every attempt: treatment, solver, termination, objective, bound, seconds.
    log: list[dict[str, Any]] = field(default_factory=list)
    #: Of plans by rows of deviations, or against ties: True where the bound is reached, to the tolerance of gaps; False
    #: where plans come as near to it as one likes and none (or none that was found) reaches it; None: neither shown.
    attained: bool | None = None
    #: The followers who answer optimally in this plan; everybody else serves the leader.
    responding: tuple[str, ...] = ()
    #: What stands behind the plan less firmly than its quality might suggest.
    warnings: list[str] = field(default_factory=list)
    changed: tuple[str, ...] = ()  #: Data of the game that are no longer what they were when the plan was made.
    #: Of a plan against ties: what the leader gets if they are broken in its favour (optimistic), against it
    #: (pessimistic), and against it at the optimistic plan's leader (worst); a best answer of the followers (witness),
    #: and the rows that describe all of them beside their own (answers).
    ties: dict[str, Any] = field(default_factory=dict)
    #: Where several followers feel a row: which equilibrium it is, and how many there are beside it.
    selection: Selection | None = None
    #: price → (low, high): the multipliers that its market may as well choose at this answer.
    price_limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: leader name → F_l at the plan, in its own sense and unit, where there are several leaders.
    leader_objectives: dict[str, float] = field(default_factory=dict)
    #: leader name → what it could gain at most by another plan of its own: ``epsilon``; NaN where nothing is proved.
    shortfall: dict[str, float] = field(default_factory=dict)
    #: Proved: whatever the leaders do, one of them gains as much; above 0 they have no equilibrium.
    least_shortfall: float = 0.0
    #: The options it was made with: solver, starts, seed, …
    options: dict[str, Any] = field(default_factory=dict)
    #: The re-solve of the responding followers that the plan was judged by; not part of the data.
    report: Report | None = field(default=None, repr=False, compare=False)
    game: Game | None = field(default=None, repr=False, compare=False)  #: None if it was read without one.
    #: The followers' rows already written at this plan (derivatives reuse them); not part of the data.
    rows: Any = field(default=None, repr=False, compare=False)
    #: The game's data of the moment it was made: :mod:`stackpyomo.games.stamp`.
    stamp: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.game is not None and not self.stamp:
            self.stamp = stamp(self.game)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "rows": None}  # written anew where they are needed

    def __deepcopy__(self, memo: dict[int, Any]) -> Plan:
        """The data are copied; the game stays the one it is about."""
        memo[id(self.game)] = self.game
        twin = copy.copy(self)
        twin.__dict__.update({name: copy.deepcopy(part, memo) for name, part in twin.__dict__.items()})
        return twin

    @classmethod
    @undisturbed()
    def from_values(cls, game: Game) -> Plan:
        """The model's current values as a plan; what is next to a bound, but for rounding, is put on it.

        Parameters
        ----------
        game : Game
            Its model holds the values.

        Returns
        -------
        Plan
            Of termination "given", "feasible" or "infeasible".

        Raises
        ------
        InvalidGame
            A variable has no value; the message names the first.
        """
        game.require_sound(leader_objective=False)
        given = game.current_values()
        for player in (game.leader, *game.followers.values()):
            game.objective_value(player)  # raises where there is none
        values = rested(game, given)
        return cls(values=values, termination="given", solver="none", game=game, **_judged(game, values))

    @property
    def epsilon(self) -> pd.Series:
        """What each of several leaders could gain at most by a plan of its own, the others' given; NaN: not proved.

        Of a plan that was given (:meth:`from_values`) it is worked out now.
        """
        if not self.shortfall and self.game is not None and self.game.leaders:
            from .leaders import shortfalls  # which makes plans itself

            self.shortfall = shortfalls(self.game, self.values)
        return pd.Series(self.shortfall, dtype=float, name="epsilon")

    def value(self, var: Any) -> float:
        """The plan's value of a variable.

        Parameters
        ----------
        var : Var or str
            The variable or its name.

        Returns
        -------
        float
            In the variable's unit.

        Raises
        ------
        InvalidGame
            The game of the plan has no such variable.
        """
        name = var if isinstance(var, str) else var.name
        try:
            return self.values[name]
        except KeyError:
            raise InvalidGame(f"{name}: not a variable of this plan's game.") from None

    def load(self) -> None:
        """Write the plan's values into the user's model (the only place where this package does)."""
        for name, var in self.attached().variables_by_name.items():
            if not var.fixed:
                var.set_value(self.values[name], skip_validation=True)

    def symmetrized(self) -> Plan:
        """The plan averaged over exchangeable followers: never worse where the leader's problem is convex (Jensen)."""
        game, self = self.attached(), self.now()
        averaged = dict(self.values)
        for group in exchangeable(game):
            for same in zip(*(game.followers[name].variables for name in group), strict=True):
                names = [game.names[id(v)] for v in same]
                averaged.update(dict.fromkeys(names, sum(self.values[name] for name in names) / len(names)))
        with undisturbed(), evaluated_at(game, averaged):
            average = Plan.from_values(game)
        better = game.leader.sign * (average.leader_objective - self.leader_objective)
        return replace(
            average,
            bound=self.bound,
            epsilon0=self.epsilon0 + max(0.0, better),
            termination="symmetrized",
            responding=self.responding,
        )

    @undisturbed()
    def attached(self) -> Game:
        """The game this plan belongs to; raises :class:`InvalidGame` if it was read without one."""
        if self.game is None:
            raise InvalidGame("This plan has no game. Read it, or its incentive, with from_json(text, game).")
        unshared = self.values.keys() ^ self.game.variables_by_name.keys()
        if unshared:
            raise InvalidGame(
                f"{min(unshared)}: only one of the plan and the game {self.game.name!r} has this variable; "
                "give the plan the game it was made for."
            )
        return self.game

    @property
    def price_range(self) -> pd.DataFrame:
        """The multipliers that each price may be at this answer, a row for each: low and high, ±inf where unbounded."""
        return pd.DataFrame.from_dict(self.price_limits, orient="index", columns=["low", "high"], dtype=float)

    @property
    def announcement(self) -> Announcement:
        """What :func:`verify` plays: without an incentive the leader announces constants."""
        current = self.now()
        stale = [f"Beware: {_staleness(current.changed)}"] if current.changed else []
        return Announcement(
            current.values,
            current.leader_objective,
            epsilon0=current.epsilon0,
            warnings=stale,
            responding=current.responding,
        )

    def to_json(self) -> str:
        """One JSON document; numbers that are not finite become null or "inf"."""
        return json.dumps(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready Python objects."""
        named = {key: number for key, number in self.multipliers.items() if isinstance(key, str)}
        shared = [(key, number) for key, number in self.multipliers.items() if not isinstance(key, str)]
        return {
            **fields_to_json(self, ("multipliers", "ties", "selection", "report", "game", "rows")),
            "multipliers": plain(named),
            "shared_multipliers": plain([(*key, number) for key, number in shared]),
            "ties": plain(self.ties),
            "selection": None if self.selection is None else fields_to_json(self.selection),
        }

    @classmethod
    def from_json(cls, text: str, game: Game | None = None) -> Plan:
        """The plan that :meth:`to_json` wrote.

        Where the game's data have changed since, what was proved is dropped and a warning says so (:meth:`now`).

        Parameters
        ----------
        text : str
            The JSON document.
        game : Game, optional
            To go on working with the plan.

        Returns
        -------
        Plan
            With or without a game.

        Raises
        ------
        InvalidGame
            The text is something else.
        """
        with readable("plan"):
            data = json.loads(text)
            chosen, shared, ties = data.get("selection"), data.get("shared_multipliers", ()), data.get("ties", {})
            special = {
                "multipliers": floats(data["multipliers"])
                | {(row, follower): real(number) for row, follower, number in shared},
                "ties": ties | {key: real(ties[key]) for key in ("optimistic", "pessimistic", "worst") if key in ties},
                "selection": None if chosen is None else Selection(**fields_from_json(Selection, chosen)),
            }
            plain = fields_from_json(cls, data, ("multipliers", "ties", "selection", "report", "game", "rows"))
            plan = cls(**{"stamp": {"its data": "unknown"}, **plain, **special}, game=game)
        return plan if game is None else plan.now()

    @undisturbed()
    def now(self) -> Plan:
        """The plan with what is true of it now: itself, or a copy without what was proved of data that have changed.

        The copy has the objectives and the feasibility of its values as the game is now, no bound, no ε0 and no
        multipliers, and a warning that names what has changed: Params, bounds, senses, fixed values, expressions.
        """
        game = self.game
        if game is None or self.values.keys() != game.variables_by_name.keys():
            return self  # attached() tells what it does not know
        data = stamp(game)
        changed = changes(self.stamp, data)
        if not changed:
            return self
        return replace(
            self,
            **_judged(game, self.values),
            multipliers={},
            selection=None,
            price_limits={},
            bound=math.nan,
            gap=math.nan,
            epsilon0=math.nan,
            attained=None,
            warnings=[*self.warnings, _staleness(changed)],
            changed=tuple(dict.fromkeys([*self.changed, *changed])),
            report=None,
            rows=None,
            stamp=data,
        )

    def parts(self, chosen: Mapping[str, float] | None = None, most: int = SHOWN) -> list[Part]:
        """What is printed of it: quality, warnings and a row for each variable.

        Parameters
        ----------
        chosen : mapping of str to float, optional
            Values chosen anew with an incentive, shown beside the plan's own where they differ.
        most : int, default 40
            Rows shown.

        Returns
        -------
        list of Part
            Sentences and tables.
        """
        current = self.now()
        if current is not self:
            return current.parts(chosen, most)
        proof = "" if math.isnan(self.epsilon0) else f", within {max(0.0, self.epsilon0):.1e} of the optimum"
        stop = self.termination if self.solver == "none" else f"{self.solver}: {self.termination}"
        each = ", ".join(f"{name} {shown(level)}" for name, level in self.leader_objectives.items())
        what = f"leaders' objectives {each}" if each else f"leader's objective {shown(self.leader_objective)}"
        sentences: list[Part] = [f"Plan: {self.quality} ({stop}{proof}), {what}"]
        if (
            self.quality == "feasible"
            and not each
            and self.attained is not False
            and self.options.get("function") != "nash"
            and self.termination != "given"
        ):
            sentences.append(f"Not proved optimal: {', '.join([*untried(self.log), *self._unbounded()])}.")
        sentences += [f"Responding: {listed(self.responding)}."] if self.responding else []
        sentences += [*self._ties_in_words(), *self._shortfall_in_words()]
        sentences += [] if self.selection is None else [f"Equilibrium: {text}." for text in self.selection.sentences()]
        sentences += self._accuracy()
        sentences += [f"Beware: {text}" for text in self.warnings]
        new = chosen or {}
        moved = [name for name in new if abs(new[name] - self.values[name]) > TOLERANCES.noise]
        rows = [[name, shown(new.get(name, value), 8)] for name, value in head(self.values, most)]
        for row in rows if moved else ():
            row.append(shown(self.values[row[0]], 8) if row[0] in moved else "")
        rest = [f"… {len(self.values) - most} more in plan.values"] if len(self.values) > most else []
        return [*sentences, Table(["variable", "value", *(["before the incentive"] if moved else [])], rows), *rest]

    def _shortfall_in_words(self) -> list[Part]:
        if not self.shortfall:
            return []
        gains = ", ".join(f"{name} {shown(gain)}" for name, gain in self.shortfall.items())
        return [f"What each leader could gain by another plan of its own, at most: {gains}."]

    def _ties_in_words(self) -> list[Part]:
        ties = self.ties
        if not ties:
            return []
        if ties["unique"]:
            return ["Ties cost nothing: the followers' answer is unique whatever the leader does (proved)."]
        within = f" (a difference of up to {shown(ties['tolerance'])} is one)" if ties["tolerance"] else ""
        sentences: list[Part] = [
            f"Ties{within}: broken for the leader {shown(ties['optimistic'])}, against it "
            f"{shown(ties['pessimistic'])}, against it at the optimistic plan {shown(ties['worst'])}."
        ]
        if self.attained is False:
            near = shown(abs(self.leader_objective - self.bound))
            sentences.append(f"{shown(self.bound)} is approached but not reached: this plan is within {near} of it.")
        return sentences

    def _unbounded(self) -> list[str]:
        """What may prove a curved objective convex: the proof goes over all that its variables can be."""
        objective = None if self.game is None or self.responding else self.game.leader.objective
        if objective is None or is_quadratic(objective.expr):
            return []
        names = {v.name: v for v in variables_in(objective.expr)}
        wide = [name for name, v in names.items() if v.lb is None and v.ub is None and not v.fixed]
        return [f"bounds for {listed(wide, 3)} may prove it convex"] if wide else []

    def _accuracy(self) -> list[Part]:
        """ε_f and ε_F of a plan by rows of deviations."""
        if "regret" not in self.residuals:
            return []
        least = abs(self.leader_objective - self.bound)
        better = (
            "nothing is proved of better plans" if math.isnan(least) else f"no plan is better by more than {least:.1e}"
        )
        return [f"ε_f = {self.residuals['regret']:.1e} is the most a responding follower gains; ε_F: {better}."]

    def __str__(self) -> str:
        return as_text(self.parts())


def untried(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """What may do better than these attempts, of which none has been tried."""
    stops = [entry.get("termination") for entry in log if entry.get("solver") in _GLOBAL]
    starts = 1 + max((entry.get("start") or 0 for entry in log), default=0)
    known = [] if stops else ["solver='scip' can prove more"]
    if "time limit" in stops:
        spent = sum(entry.get("seconds") or 0.0 for entry in log if entry.get("solver") in _GLOBAL)
        more = max(60.0, 10.0 * round(0.6 * spent))
        known.append(f"{spent:.2g} s of proof spent; proof_seconds={more:.2g} or a longer time_limit= may prove it")
    return [*known, f"starts={max(5, 4 * starts)} can find better"]


def bounded(plan: Plan, sign: int, cost: float, bound: float, scale: float) -> None:
    """Say what is proved of a cost, which ``sign`` turns into an objective, and how far from that the plan's is."""
    plan.bound, plan.gap = sign * bound, max(0.0, cost - bound) / scale


def proved_within(plan: Plan, gap: float, scale: float) -> None:
    """Say that nothing is better by more than ``gap``, proved; scale: what one variable changes the cost by."""
    plan.epsilon0, plan.gap = gap, gap / scale
    plan.bound = plan.leader_objective - plan.attached().leader.sign * gap
    if gap <= TOLERANCES.stationarity * scale:
        plan.quality = "optimal"


def measured(off: float) -> dict[str, float]:
    """The residuals of values that no program holds: how far they violate a row or a bound."""
    return {"feasibility": off, "stationarity": math.nan, "complementarity": math.nan}


def _judged(game: Game, values: Mapping[str, float]) -> dict[str, Any]:
    """What can be said of a plan by its values alone, as fields of it."""
    off = violation(game, values)
    return {
        "leader_objective": objective_at(game, game.leader, values),
        "follower_objectives": {n: objective_at(game, f, values) for n, f in game.followers.items()},
        "quality": "feasible" if off <= TOLERANCES.feasibility else "infeasible",
        "residuals": measured(off),
    }


def rows_of(plan: Plan, game: Game) -> FollowerRows:
    """The followers' rows that the plan has kept, if they are still those of the game; else written anew."""
    rows = plan.rows
    return rows if isinstance(rows, FollowerRows) and rows.stamp == stamp(game) else FollowerRows(game)


def _staleness(changed: Sequence[str]) -> str:
    return f"the game has changed since the plan was made: {', '.join(changed)}; nothing is proved of its optimum."


def answered_plan(
    game: Game,
    values: Mapping[str, float],
    responding: Sequence[str],
    options: Options,
    report: Report | None = None,
    **fields: Any,
) -> Plan:
    """The plan at these values, name → level, with the report of those who respond (None: they are re-solved now).

    ``fields``: of the Plan, beside or in the place of what is measured here.
    """
    if report is None:
        report = resolved(game, Announcement(values, math.nan), set(responding), Effort(time_limit=options.time_limit))
    known: Sequence[float] = report.objective.tolist()
    if len(known) < len(game.followers) or any(map(math.isnan, known)):
        known = FollowerRows(game).at(values).objectives.tolist()
    fields.setdefault("leader_objective", objective_at(game, game.leader, values))
    if "residuals" not in fields:
        fields["residuals"] = measured(violation(game, values))
    return Plan(
        values=dict(values),
        follower_objectives=dict(zip(game.followers, map(float, known), strict=True)),
        game=game,
        responding=tuple(responding),
        report=report,
        **fields,
    )


def not_held(plan: Plan) -> None:
    """Say of a plan that its followers' re-solve does not bear it out."""
    report = plan.report
    assert report is not None
    known = not report.regret.isna().any() and not (report.certificate == "unknown").any()
    plan.quality = "infeasible" if known and report.refuted else "none"
    plan.warnings.append(f"not an equilibrium by the re-solve of the followers ({report.verdict})")
