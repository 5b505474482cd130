"""Plain data that flows through the toolkit: game → plan → incentive → report.

Nothing here solves or differentiates. A Plan says what was found and what is held, a Report what a re-solve of every
follower showed (what is announced between them is in :mod:`stackpyomo.contracts`). Both print and go to JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from .errors import InvalidGame
from .interchange import floats, json_number, json_numbers, readable, real
from .markup import Document, Part, Table, as_text
from .tolerances import TOLERANCES

if TYPE_CHECKING:
    from .contracts import Incentive
    from .games import Game

__all__ = ["Announcement", "Array", "Finding", "Plan", "Report", "Signal"]


Array: TypeAlias = NDArray[Any]

SHOWN = 40
"""Rows or names that are printed."""


@dataclass(frozen=True)
class Finding:
    """One finding of ``game.check()``: severity "error", "warning" or "info", component, what, what to do."""

    severity: str  #: "error" (the game cannot be used), "warning" or "info".
    component: str  #: Name of the component it is about.
    message: str  #: What was found.
    remedy: str  #: What to do; may be empty.

    def __str__(self) -> str:
        return f"{self.component}: {self.message} {self.remedy}".rstrip()


@dataclass(frozen=True)
class Signal:
    """Something the leader observes: constant + Σ weight · action or aggregate; ``own``: one action, each member's."""

    name: str
    constant: float
    terms: Mapping[str, float]
    own: bool

    def value(self, values: Mapping[str, float]) -> float:
        """What it shows at {variable name: value}."""
        return self.constant + sum(weight * values[name] for name, weight in self.terms.items())


@dataclass(frozen=True)
class Announcement:
    """What the leader announces: u0 = offset + Q d + ½ R d², d = signal − target, and on-path values of the rest.

    ``gain`` Q and ``bend`` R are (leader variables × signals), by name; None: a constant. ``saturate``: what is
    announced is the projection of this on the leader's bounds.
    """

    values: Mapping[str, float]
    leader_objective: float
    leader: Sequence[str] = ()
    signals: Sequence[Signal] = ()
    gain: sparse.csc_array | None = None
    bend: sparse.csc_array | None = None
    saturate: bool = False
    uniqueness: str = ""
    """Whether the followers' equilibrium under it is the only one, and why; empty: not looked at."""
    epsilon0: float = math.nan
    """Proved gap of the plan to the leader's optimum."""
    warnings: Sequence[str] = ()
    """What a re-solve of the followers does not look at."""
    responding: Sequence[str] = ()
    """Followers who respond in the plan: no better plan means none in which they do."""


@dataclass
class Plan(Document):
    """A joint plan u* of leader and followers (the paper's ε0-leader-optimal point where ``epsilon0`` is a number).

    ``termination`` is why the solver stopped; ``quality`` is what is held: "optimal" (proved), "feasible",
    "infeasible" or "none". ``residuals`` are recomputed from the written problem, never taken from the solver.
    """

    values: dict[str, float]  #: variable name → value, for everybody's variables.
    leader_objective: float  #: J0 at the plan, in the sense the user wrote.
    follower_objectives: dict[str, float]  #: follower name → J_k at the plan, in its own sense and unit.
    multipliers: dict[str, float] = field(default_factory=dict)
    """constraint name → d(leader's objective)/d(right-hand side), in the sense the user wrote; for a constraint of a
    follower who responds, d(its own objective)/d(right-hand side)."""
    termination: str = "none"  #: Why the solver stopped: "optimal", "converged", "infeasible", "time limit", ...
    quality: str = "none"  #: What is held: "optimal" (proved), "feasible", "infeasible" or "none".
    bound: float = math.nan  #: On J0: proved by convexity, or a global solver's; NaN without.
    gap: float = math.nan  #: From J0 to the bound, relative to max(1, |J0|); NaN without a bound.
    epsilon0: float = math.nan
    """Proved gap to the leader's optimum (the paper's ε0); NaN when nothing was proved. Where a variable has no bounds
    the proof reaches ``TOLERANCES.trust`` · max(1, |x|) around the plan."""
    residuals: dict[str, float] = field(default_factory=dict)  #: Recomputed: feasibility, stationarity, ...
    seconds: dict[str, float] = field(default_factory=dict)  #: part of the work → seconds.
    solver: str = ""  #: Who found it.
    log: list[dict[str, Any]] = field(default_factory=list)
    """Every attempt: treatment, solver, termination, objective, bound, seconds."""
    responding: tuple[str, ...] = ()
    """The followers who answer optimally in this plan; everybody else serves the leader."""
    warnings: list[str] = field(default_factory=list)
    """What stands behind the plan less firmly than its quality might suggest."""
    options: dict[str, Any] = field(default_factory=dict)
    """What it was asked for with: solver, starts, seed, …; to do it again."""
    report: Report | None = field(default=None, repr=False, compare=False)
    """The re-solve of the responding followers that the plan was judged by; not part of the data."""
    game: Game | None = field(default=None, repr=False, compare=False)  #: None if it was read without one.
    rows: Any = field(default=None, repr=False, compare=False)
    """The followers' rows already written at this plan (derivatives reuse them); not part of the data."""

    @classmethod
    def from_values(cls, game: Game) -> Plan:
        """The model's current values as a plan.

        Raises :class:`InvalidGame` naming the first variable without a value.
        """
        game.require_sound(leader_objective=False)
        values = game.current_values()
        violation = game.violation()
        return cls(
            values=values,
            leader_objective=game.objective_value(game.leader),
            follower_objectives={n: game.objective_value(f) for n, f in game.followers.items()},
            termination="given",
            quality="feasible" if violation <= TOLERANCES.feasibility else "infeasible",
            residuals={
                "feasibility": violation,
                "stationarity": math.nan,
                "complementarity": math.nan,
            },
            solver="none",
            game=game,
        )

    def value(self, var: Any) -> float:
        """The plan's value of a Var (or of a variable's name); raises :class:`InvalidGame` for a stranger."""
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
        from .populations import symmetrized

        return symmetrized(self)

    def attached(self) -> Game:
        """The game this plan belongs to; raises :class:`InvalidGame` if it was read without one."""
        if self.game is None:
            raise InvalidGame("This plan has no game. Read it, or its incentive, with from_json(text, game).")
        strangers = self.values.keys() ^ self.game.variables_by_name.keys()
        if strangers:
            raise InvalidGame(
                f"{min(strangers)}: only one of the plan and the game {self.game.name!r} has this variable; "
                "give the plan the game it was made for."
            )
        return self.game

    @property
    def announcement(self) -> Announcement:
        """Without an incentive the leader announces constants."""
        return Announcement(self.values, self.leader_objective, epsilon0=self.epsilon0, responding=self.responding)

    def to_json(self) -> str:
        """One JSON document; numbers that are not finite become null or "inf"."""
        return json.dumps(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready Python objects."""
        return {
            "values": json_numbers(self.values),
            "leader_objective": json_number(self.leader_objective),
            "follower_objectives": json_numbers(self.follower_objectives),
            "multipliers": json_numbers(self.multipliers),
            "termination": self.termination,
            "quality": self.quality,
            "bound": json_number(self.bound),
            "gap": json_number(self.gap),
            "epsilon0": json_number(self.epsilon0),
            "residuals": json_numbers(self.residuals),
            "seconds": json_numbers(self.seconds),
            "solver": self.solver,
            "log": self.log,
            "responding": list(self.responding),
            "warnings": self.warnings,
            "options": self.options,
        }

    @classmethod
    def from_json(cls, text: str, game: Game | None = None) -> Plan:
        """The plan that :meth:`to_json` wrote (else :class:`InvalidGame`); give the game to go on working with it."""
        with readable("plan"):
            data = json.loads(text)
            for key in ("values", "follower_objectives", "multipliers", "residuals", "seconds"):
                data[key] = floats(data[key])
            for key in ("leader_objective", "bound", "gap", "epsilon0"):
                data[key] = real(data[key])
            data["responding"] = tuple(data.get("responding", ()))
            return cls(**data, game=game)

    def parts(self, chosen: Mapping[str, float] | None = None, most: int = SHOWN) -> list[Part]:
        """Quality, warnings and a row for each variable, of which ``most`` are shown.

        chosen: values chosen anew with an incentive, told beside the plan's own where they differ.
        """
        proof = "" if math.isnan(self.epsilon0) else f", within {max(0.0, self.epsilon0):.1e} of the optimum"
        stop = f"{self.solver}: {self.termination}"
        found: list[Part] = [f"Plan: {self.quality} ({stop}{proof}), leader's objective {shown(self.leader_objective)}"]
        if self.quality == "feasible" and self.options.get("function") != "nash" and self.termination != "given":
            found.append("Not proved optimal: solver='scip' can prove more, starts=5 can find better.")
        found += [f"Responding: {listed(self.responding)}."] if self.responding else []
        found += [f"Beware: {text}" for text in self.warnings]
        new = chosen or {}
        moved = [name for name in new if abs(new[name] - self.values[name]) > TOLERANCES.noise]
        rows = [[name, shown(new.get(name, value), 8)] for name, value in head(self.values, most)]
        for row in rows if moved else ():
            row.append(shown(self.values[row[0]], 8) if row[0] in moved else "")
        rest = [f"… {len(self.values) - most} more in plan.values"] if len(self.values) > most else []
        return [*found, Table(["variable", "value", *(["before the incentive"] if moved else [])], rows), *rest]

    def __str__(self) -> str:
        return as_text(self.parts())


def shown(value: float, digits: int = 10) -> str:
    """A number as people read it: what is rounding of a solver is 0."""
    return f"{0.0 if abs(value) <= TOLERANCES.noise else value:.{digits}g}"


def head(values: Mapping[str, float], most: int = SHOWN) -> Iterator[tuple[str, float]]:
    return islice(values.items(), most)


def listed(names: Sequence[str], most: int = 6, count: int | None = None) -> str:
    """count: how many there are, where ``names`` are only the first of them."""
    count = len(names) if count is None else count
    return ", ".join(names[:most]) + (f", … ({count} in all)" if count > most else "")


@dataclass(eq=False)
class Report(Document):
    """What every follower could gain by leaving the plan, from one re-solve each.

    ``regret`` ≥ 0 in the follower's own units (NaN: unknown); ``certificate`` says which evidence stands behind it:
    "convex" (proof), "global" (a global solver's bound), "multistart" (evidence only), "unknown" (the re-solve failed).
    """

    regret: pd.Series  #: follower name → max(0, J_k(plan) − best), as a cost, in J_k's unit.
    certificate: pd.Series  #: follower name → the evidence, see above.
    best_response: dict[str, dict[str, float]] = field(repr=False)  #: follower name → variable name → best value.
    objective: pd.Series = field(repr=False)  #: follower name → J_k at the plan, in its own sense.
    leader_objective: float  #: J0 at the plan, in the leader's sense.
    tolerance: float  #: The largest regret that counts as none, relative to ``scale``.
    note: pd.Series = field(repr=False)  #: follower name → what went wrong or is worth knowing; may be empty.
    scale: pd.Series = field(repr=False)
    """How fast each follower's objective changes near the plan in what its best response moves: what ``tolerance`` is
    relative to."""
    seconds: dict[str, float] = field(default_factory=dict, repr=False)  #: part of the work → seconds.
    solver: str = ""  #: Who re-solved the followers.
    uniqueness: str = ""
    """Whether the followers' equilibrium under the strategy is the only one, and why; empty: not looked at."""
    epsilon0: float = math.nan
    """Proved gap of the plan to the leader's optimum; NaN: none was proved."""
    warnings: list[str] = field(default_factory=list)
    """What the followers' re-solve does not look at: a strategy that leaves the leader's own bounds."""
    responding: tuple[str, ...] = ()
    """Followers who respond in the plan."""
    others: int = 0
    """How many followers were not looked at."""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """What the re-solve was asked for with: solver, starts, certify; to do it again."""
    subject: Plan | Incentive | None = field(default=None, repr=False)
    """What was verified; not part of the data."""

    @property
    def unique(self) -> bool | None:
        """True: proved to be the only equilibrium under the strategy; False: proved not to be; None: neither."""
        return {"unique": True, "not unique": False}.get(self.uniqueness.split(":")[0])

    @property
    def remarks(self) -> list[str]:
        """The paper's words, and a warning where the followers may settle elsewhere."""
        if not self.ok:
            return [self.vocabulary[:1].upper() + self.vocabulary[1:], *self.advice, *self.warnings]
        doubtful = self.uniqueness.startswith(("not unique", "not shown"))
        settled = (
            [f"{'Beware: equilibrium' if doubtful else 'Equilibrium'} {self.uniqueness}."] if self.uniqueness else []
        )
        return [self.vocabulary[:1].upper() + self.vocabulary[1:], *settled, *self.warnings]

    @property
    def advice(self) -> list[str]:
        """What those who are not held would rather do, and what may help; empty where all is verified."""
        unknown = self.regret.isna() | (self.certificate == "unknown")
        found = []
        if unknown.any():
            names = listed(list(unknown.index[unknown]), 3)
            found.append(
                f"Not settled for {names}: another solver=, more starts= or a longer time_limit= may settle it."
            )
        tempted = [n for n in self.worst(len(self.regret)) if self.regret[n] > self.tolerance * self.scale[n]]
        for name in tempted[:1]:
            moves = [f"{key} = {shown(value, 4)}" for key, value in self.best_response.get(str(name), {}).items()]
            found.append(f"{name} would rather choose {listed(moves, 3)}. {self._remedy}".rstrip())
        return found

    @property
    def _remedy(self) -> str:
        if isinstance(self.subject, Plan):
            if self.subject.responding:
                return "Its answer in the plan is not its best: more starts= or another solver= may find a better plan."
            return "No strategy was announced: affine_incentive(plan) looks for one that holds it."
        if self.subject is None:
            return ""
        return (
            "A gain of more curvature may hold it (curvature=, quadratic=True); inducible(plan) tells if any rule can."
        )

    @property
    def vocabulary(self) -> str:
        """What ε and ε₀ say of the ε-Stackelberg equilibrium, in one sentence (arXiv 2207.10611, Definitions 1–3)."""
        if math.isnan(self.epsilon):
            return "nothing is said of an ε-Stackelberg equilibrium: ε is unknown."
        leader = "nothing is proved of the leader's optimum (ε₀ unknown)"
        if not math.isnan(self.epsilon0):
            among = f" in which {listed(self.responding, 3)} respond" if self.responding else ""
            leader = f"no plan{among} serves the leader better by more than ε₀ = {max(0.0, self.epsilon0):.3g}"
        proved = set(self.certificate) <= {"convex", "global"}
        kind = "an" if proved else "as far as the search went, an"
        together = f"{kind} ε-incentive with ε = {self.epsilon:.3g}; {leader}"
        if self.others:
            plural = "s" if self.others > 1 else ""
            return f"{self.others} follower{plural} not looked at; for those who were, {together}."
        if math.isnan(self.epsilon0) or not proved or not self.ok:
            return together + "."
        return together + f": together an ε-Stackelberg equilibrium with ε = {max(self.epsilon, self.epsilon0):.3g}."

    @property
    def epsilon(self) -> float:
        """The largest regret: the plan is an ε-Nash response with this ε. NaN if any follower is unknown."""
        return float(self.regret.max(skipna=False)) if len(self.regret) else 0.0

    @property
    def ok(self) -> bool:
        """No follower is unknown and none gains more than tolerance · its scale (a constant in J changes nothing)."""
        if (self.certificate == "unknown").any() or self.regret.isna().any():
            return False
        return bool((self.regret <= self.tolerance * self.scale).all())

    @property
    def table(self) -> pd.DataFrame:
        """One row per follower: objective at the plan, regret, certificate, note."""
        return pd.DataFrame({key: getattr(self, key) for key in ("objective", "regret", "certificate", "note")})

    @property
    def verdict(self) -> str:
        """One sentence: what was shown, by which evidence."""
        counts = self.certificate.value_counts()
        evidence = ", ".join(f"{counts[kind]} {kind}" for kind in counts.index)
        head = "verified" if self.ok else "NOT verified"
        doubtful = self.note[self.certificate == "unknown"]
        if len(doubtful):
            first = f"{doubtful.index[0]}: {doubtful.iloc[0]}"
            return f"{head}: {len(doubtful)} of {len(self.regret)} followers could not be checked ({first})"
        plural = "" if len(self.regret) == 1 else "s"
        return f"{head}: largest regret {self.epsilon:.3g} over {len(self.regret)} follower{plural} ({evidence})"

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready Python objects."""
        return {
            "ok": self.ok,
            "epsilon": json_number(self.epsilon),
            "verdict": self.verdict,
            "leader_objective": json_number(self.leader_objective),
            "tolerance": self.tolerance,
            "solver": self.solver,
            "uniqueness": self.uniqueness,
            "epsilon0": json_number(self.epsilon0),
            "warnings": self.warnings,
            "responding": list(self.responding),
            "others": self.others,
            "options": self.options,
            "vocabulary": self.vocabulary,
            "seconds": json_numbers(self.seconds),
            "followers": {
                str(name): {
                    "objective": json_number(float(self.objective[name])),
                    "regret": json_number(float(self.regret[name])),
                    "certificate": self.certificate[name],
                    "note": self.note[name],
                    "scale": json_number(float(self.scale[name])),
                    "best_response": json_numbers(self.best_response.get(str(name), {})),
                }
                for name in self.regret.index
            },
        }

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.as_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that :meth:`to_json` wrote; raises :class:`InvalidGame` for anything else."""
        with readable("report"):
            data = json.loads(text)
            rows = data["followers"]
            series = {
                key: pd.Series([real(row[key]) for row in rows.values()], index=list(rows), dtype=float, name=key)
                for key in ("regret", "objective", "scale")
            }
            words = {
                key: pd.Series([row[key] for row in rows.values()], index=list(rows), dtype=object, name=key)
                for key in ("certificate", "note")
            }
            return cls(
                regret=series["regret"],
                certificate=words["certificate"],
                best_response={name: floats(row["best_response"]) for name, row in rows.items()},
                objective=series["objective"],
                leader_objective=real(data["leader_objective"]),
                tolerance=data["tolerance"],
                note=words["note"],
                scale=series["scale"],
                seconds=floats(data["seconds"]),
                solver=data["solver"],
                uniqueness=data["uniqueness"],
                epsilon0=real(data["epsilon0"]),
                warnings=list(data.get("warnings", ())),
                responding=tuple(data.get("responding", ())),
                others=int(data.get("others", 0)),
                options=dict(data.get("options", {})),
            )

    def to_html(self, path: str | Path, *, baseline: Plan | None = None) -> None:
        """Write one self-contained page with all that is known: plan, contract, certificates, plots, log, versions.

        baseline: a plan to tell who gains and who loses against, e.g. ``stackelberg(game)``.
        """
        from .pages import page

        Path(path).write_text(page(self, baseline=baseline), encoding="utf-8")

    def worst(self, most: int) -> list[str]:
        """Names of the followers with the largest regrets, unknown ones first."""
        return list(self.regret.sort_values(ascending=False, na_position="first", kind="stable").index[:most])

    def parts(self, most: int = SHOWN) -> list[Part]:
        """The verdict, a row for each follower (of more than ``most`` the worst), and what else there is to say."""
        more = len(self.regret) - most
        noted = ["note"] if self.note.any() else []
        rows = []
        for name in self.worst(most) if more > 0 else self.regret.index:
            numbers = [shown(float(self.objective[name]), 8), regret_shown(float(self.regret[name]))]
            rows.append([str(name), *numbers, self.certificate[name], *([self.note[name]] if noted else [])])
        table = Table(["follower", "objective", "regret", "certificate", *noted], rows, words=("certificate", "note"))
        rest = [f"… {more} more in report.table, none with a larger regret"] if more > 0 else []
        return [self.verdict, table, *rest, *self.remarks]

    def __str__(self) -> str:
        return as_text(self.parts())


def regret_shown(regret: float) -> str:
    """A regret as people read it."""
    return "unknown" if math.isnan(regret) else f"{regret:.3g}"
