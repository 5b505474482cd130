"""What ``solve`` and its neighbours ask for: the plan and the rule, as groups of options."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import pyomo.environ as pyo
from typer import Option

from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.incentives import Incentive, affine_incentive, optimal_rule
from stackpyomo.plans import Plan, leader_optimal, nash, stackelberg

from .options import SeedOption, SolverOption, StartsOption, TreatmentOption

__all__ = ["PlanOptions", "RuleOptions"]

_STARTS = 4
"""Starting points for a second-best rule at least."""


@dataclass(frozen=True)
class PlanOptions:
    """Which plan, and how it is looked for."""

    solver: SolverOption = "auto"
    starts: StartsOption = 1
    seed: SeedOption = 0
    time_limit: Annotated[
        float | None, Option(help="Seconds for each solve of the plan; with --responding, for all of them.")
    ] = None
    responding: Annotated[
        list[str] | None,
        Option(help="A follower who answers optimally and does not serve the leader; repeatable; or all."),
    ] = None
    ties: Annotated[
        str | None,
        Option(help="All followers respond; an indifferent one favours the leader (optimistic) or not (pessimistic)."),
    ] = None
    tie_tolerance: Annotated[
        float, Option(help="With --ties pessimistic: a difference in a follower's cost that is a tie.")
    ] = 0.0
    equilibrium: Annotated[
        str | None,
        Option(
            help="The followers' equilibrium at the leader's start values: any, variational, best, worst or all. "
            "With --responding, which one the leader anticipates: any or variational."
        ),
    ] = None
    complementarity: TreatmentOption = "auto"
    allow_nonconvex: Annotated[
        bool, Option("--allow-nonconvex", help="Let followers respond who are proved nonconvex.")
    ] = False

    @property
    def search(self) -> dict[str, Any]:
        """How any plan is looked for, as arguments."""
        return {
            "solver": self.solver,
            "starts": self.starts,
            "seed": self.seed,
            "complementarity": self.complementarity,
        }

    def plan(self, game: Game) -> Plan:
        """The plan that the file asks to hold; the followers' equilibrium; or the leader's optimum, by ``ties``."""
        asked = {**self.search, "time_limit": self.time_limit, "allow_nonconvex": self.allow_nonconvex}
        if self.equilibrium is not None and not self.responding and not self._breaks_ties:
            plan: Plan = nash(game, equilibrium=self.equilibrium, **asked)
            return plan
        if self.equilibrium is not None:
            asked["equilibrium"] = self.equilibrium
        if self._breaks_ties or game.leaders:
            return stackelberg(game, ties=self.ties or "optimistic", tie_tolerance=self.tie_tolerance, **asked)
        if game.target and not self.responding:
            return Plan.from_values(game)
        everybody = "all" in (self.responding or ())
        return leader_optimal(game, responding=True if everybody else self.responding or (), **asked)

    @property
    def _breaks_ties(self) -> bool:
        return self.ties is not None or bool(self.tie_tolerance)


@dataclass(frozen=True)
class RuleOptions:
    """Which rule: what the leader sees, and which gain is chosen."""

    observe: Annotated[
        list[str] | None, Option(help="A Var or Expression that the leader sees; repeatable; or actions: every action.")
    ] = None
    free: Annotated[
        list[str] | None, Option(help="A leader variable whose value on the plan may be chosen anew; repeatable.")
    ] = None
    payment: Annotated[
        str | None, Option(help="A named Expression or Var of --free variables to be made least; indexed: its sum.")
    ] = None
    payment_limit: Annotated[float | None, Option(help="Keep --payment within this, and then make the gain least.")] = (
        None
    )
    multipliers: Annotated[
        str | None, Option(help="zero, or free: followers' own constraints may carry them. (default: zero)")
    ] = None
    curvature: Annotated[
        str, Option(help="auto, none, or the least curvature of each follower's cost under the rule.")
    ] = "auto"
    gain_bounds: Annotated[
        list[str] | None, Option(help="low,high for every gain, or VARIABLE=low,high; repeatable; a side may be empty.")
    ] = None
    prefer: Annotated[str, Option(help="Among the gains that hold: energy (the least one) or sparsest.")] = "energy"
    saturate: Annotated[bool, Option("--saturate", help="Announce the rule cut at the leader's bounds.")] = False
    quadratic: Annotated[bool, Option("--quadratic", help="Add a squared term where no gain is steep enough.")] = False
    design: Annotated[
        str, Option(help="slopes (first-order conditions), deviations (whatever the problems), or auto: slopes first.")
    ] = "auto"
    regret: Annotated[str, Option(help="zero, or least: the best rule where none holds every follower.")] = "zero"
    margin: Annotated[float, Option(help="What a deviation in whole actions costs at least.")] = 0.0
    second_best: Annotated[
        bool, Option("--second-best", help="Choose plan and rule together, where no rule holds the leader's optimum.")
    ] = False
    common: Annotated[
        list[str] | None,
        Option(help="With --second-best: an indexed leader Var whose entries announce one rule; repeatable."),
    ] = None

    def require_together(self, plan: PlanOptions) -> None:
        """Raise :class:`InvalidGame` for options that do not go with each other."""
        if self.common and not self.second_best:
            raise InvalidGame("--common: one rule for several variables is chosen with its plan; add --second-best.")
        if not self.second_best:
            return
        apart = ("free", "payment", "payment_limit", "prefer", "quadratic", "design", "regret")
        plans = ("responding", "ties", "tie_tolerance", "equilibrium", "allow_nonconvex")
        changed = [*_changed(self, apart), *_changed(plan, plans)]
        if changed:
            raise InvalidGame(
                f"--{changed[0].replace('_', '-')}: does not go with --second-best, which chooses plan and rule "
                "together; leave it out."
            )

    def best(self, game: Game, observe: Any, plan: PlanOptions) -> Incentive:
        """Plan and rule chosen together."""
        return optimal_rule(
            game,
            self._seen or observe,
            common=self.common or (),
            multipliers=self.multipliers or "free",
            time_limit=plan.time_limit,
            **self._shared,
            **{**plan.search, "starts": max(plan.starts, _STARTS)},
        )

    def rule(self, plan: Plan, settings: dict[str, Any], solver: str) -> Incentive:
        """The rule that holds a plan; raises :class:`NoIncentive`. settings: what the model file sets."""
        game = plan.attached()
        return affine_incentive(
            plan,
            self._seen or settings["OBSERVE"],
            free=self.free or settings.get("FREE") or _open(game),
            payment=None if self.payment is None else _sum_of(game, self.payment),
            payment_limit=self.payment_limit,
            multipliers=self.multipliers or "zero",
            prefer=self.prefer,
            quadratic=self.quadratic,
            design=self.design,
            regret=self.regret,
            solver=solver,
            **self._shared,
        )

    @property
    def _seen(self) -> Any:
        return "actions" if self.observe == ["actions"] else self.observe

    @property
    def _shared(self) -> dict[str, Any]:
        """Arguments of either design."""
        return {
            "curvature": _curvature(self.curvature),
            "gain_bounds": _bounds(self.gain_bounds or []),
            "saturate": self.saturate,
            "margin": self.margin,
        }


def _changed(options: Any, names: tuple[str, ...]) -> list[str]:
    """Of these options those that were given."""
    defaults = {each.name: each.default for each in fields(options)}
    return [name for name in names if getattr(options, name) != defaults[name]]


def _open(game: Game) -> list[str]:
    """Leader variables that a file's target leaves open: their values are chosen with the incentive."""
    aggregates = {id(v) for v in game.aggregate_variables()}
    leader = (game.names[id(v)] for v in game.leader.variables if id(v) not in aggregates)
    return [name for name in leader if name not in game.target] if game.target else []


def _sum_of(game: Game, name: str) -> Any:
    """What --payment names; the sum of what is indexed."""
    component = game.component(name)
    if getattr(component, "ctype", None) not in (pyo.Var, pyo.Expression):
        raise InvalidGame(f"--payment {name}: expected a named Expression or a Var.")
    return pyo.quicksum(component.values()) if component.is_indexed() else component


def _curvature(text: str) -> Any:
    """A word, or a number."""
    try:
        return float(text)
    except ValueError:
        return text


def _bounds(texts: list[str]) -> Any:
    """What --gain-bounds asks for: one pair, or leader variable → pair; None: nothing."""
    named = {}
    for text in texts:
        name, sign, ends = text.rpartition("=")
        low, comma, high = ends.partition(",")
        try:
            named[name if sign else ""] = tuple(float(end) if end.strip() else None for end in (low, high))
        except ValueError:
            comma = ""
        if not comma:
            raise InvalidGame(f"--gain-bounds {text}: expected low,high or VARIABLE=low,high.")
    if "" in named and len(named) > 1:
        raise InvalidGame("--gain-bounds: give one pair for all gains, or one for each variable named.")
    return named.get("", named) or None
