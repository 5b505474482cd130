"""What ``solve`` and its neighbours ask for: the plan and the rule, as groups of options."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pyomo.environ as pyo

from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.incentives import Incentive, affine_incentive, optimal_rule
from stackpyomo.plans import Plan, leader_optimal, nash, stackelberg

WORDS = {
    "time_limit": "Seconds for each solve of the plan; with --responding, for all of them.",
    "ties": "All followers respond; an indifferent one favours the leader (optimistic) or not (pessimistic).",
    "equilibrium": "The followers' equilibrium at the leader's start values: any, variational, best, worst or all. "
    "With --responding, which one the leader anticipates: any or variational.",
}  #: What the help says of options that mean something else in other commands.

_STARTS = 4  # Starting points for a second-best rule at least.


@dataclass(frozen=True)
class PlanOptions:
    """Which plan, and how it is looked for."""

    solver: str = "auto"
    starts: int = 1
    seed: int = 0
    time_limit: float | None = None
    responding: list[str] | None = None
    ties: str | None = None
    tie_tolerance: float = 0.0
    equilibrium: str | None = None
    complementarity: str = "auto"
    allow_nonconvex: bool = False

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

    observe: list[str] | None = None
    free: list[str] | None = None
    payment: str | None = None
    payment_limit: float | None = None
    multipliers: str | None = None
    curvature: str = "auto"
    gain_bounds: list[str] | None = None
    prefer: str = "energy"
    saturate: bool = False
    quadratic: bool = False
    design: str = "auto"
    regret: str = "zero"
    margin: float = 0.0
    second_best: bool = False
    common: list[str] | None = None

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
