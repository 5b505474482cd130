"""Plain data that flows through the toolkit: game → plan → incentive → report.

Nothing here solves or differentiates. A Plan says what was found and what is held, an Incentive what is
announced, a Report what a re-solve of every follower showed. All three print themselves and go to JSON and back.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyomo.common.collections import ComponentMap
from scipy import sparse

from .errors import InvalidGame
from .tolerances import TOLERANCES

if TYPE_CHECKING:
    from .games import Game

__all__ = ["Announcement", "Array", "Finding", "Incentive", "Plan", "Report"]


Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Finding:
    """One finding of ``game.check()``: severity "error", "warning" or "info", component, what, what to do."""

    severity: str
    component: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.component}: {self.message} {self.remedy}".rstrip()


def _number(value: float | None) -> float | str | None:
    """A JSON-safe number: NaN is null, infinities are strings."""
    if value is None or math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Text that :meth:`to_json` did not write is bad input."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidGame):
            raise
        raise InvalidGame(f"not the JSON that {what}.to_json() writes ({type(error).__name__}: {error}).") from None


def _numbers(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: _number(value) for name, value in values.items()}


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: _float(value) for name, value in values.items()}


@dataclass(frozen=True)
class Announcement:
    """What the leader announces: u0 = offset + Q (signal − target), on-path values of everything beside it.

    ``gain`` is (leader variables × follower actions), columns in the order of ``game.actions``; None: a constant.
    """

    values: Mapping[str, float]
    leader_objective: float
    leader: Sequence[str] = ()
    gain: sparse.csc_array | None = None


@dataclass
class Plan:
    """A joint plan u* of leader and followers; see the field comments for who vouches for what.

    ``termination`` is why the solver stopped; ``quality`` is what is held: "optimal" (proved), "feasible",
    "infeasible" or "none". ``residuals`` are recomputed from the written problem, never taken from the solver.
    """

    values: dict[str, float]
    leader_objective: float
    follower_objectives: dict[str, float]
    multipliers: dict[str, float] = field(default_factory=dict)
    """constraint name → d(leader's objective)/d(right-hand side), in the sense the user wrote."""
    termination: str = "none"
    quality: str = "none"
    bound: float = math.nan
    gap: float = math.nan
    epsilon0: float = math.nan
    """Proved gap to the leader's optimum (the paper's ε0); NaN when nothing was proved."""
    residuals: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    solver: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)
    game: Game | None = field(default=None, repr=False, compare=False)
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
        """The plan's value of a Var (or of a variable's name)."""
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

    def attached(self) -> Game:
        """The game this plan belongs to; raises :class:`InvalidGame` if it was read without one."""
        if self.game is None:
            raise InvalidGame("This plan has no game. Read it with Plan.from_json(text, game).")
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
        return Announcement(self.values, self.leader_objective)

    def to_json(self) -> str:
        """One JSON document; numbers that are not finite become null or "inf"."""
        return json.dumps(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready Python objects."""
        return {
            "values": _numbers(self.values),
            "leader_objective": _number(self.leader_objective),
            "follower_objectives": _numbers(self.follower_objectives),
            "multipliers": _numbers(self.multipliers),
            "termination": self.termination,
            "quality": self.quality,
            "bound": _number(self.bound),
            "gap": _number(self.gap),
            "epsilon0": _number(self.epsilon0),
            "residuals": _numbers(self.residuals),
            "seconds": _numbers(self.seconds),
            "solver": self.solver,
            "log": self.log,
        }

    @classmethod
    def from_json(cls, text: str, game: Game | None = None) -> Plan:
        """The plan written by :meth:`to_json`; give the game to go on working with it."""
        with _readable("plan"):
            data = json.loads(text)
            for key in ("values", "follower_objectives", "multipliers", "residuals", "seconds"):
                data[key] = _floats(data[key])
            for key in ("leader_objective", "bound", "gap", "epsilon0"):
                data[key] = _float(data[key])
            return cls(**data, game=game)

    def __str__(self) -> str:
        lines = [
            f"plan: {self.quality} ({self.solver}: {self.termination}), leader's objective {self.leader_objective:.10g}"
        ]
        lines += [f"  {name} = {value:.10g}" for name, value in _head(self.values)]
        if len(self.values) > _SHOWN:
            lines.append(f"  … {len(self.values) - _SHOWN} more in plan.values")
        return "\n".join(lines)


_SHOWN = 40


def _head(values: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    return ((name, value) for (name, value), _ in zip(values.items(), range(_SHOWN), strict=False))


@dataclass
class Incentive:
    """The affine strategy u0 = offset + Q (u − target) that makes the plan every follower's best response.

    ``matrix`` is Q, (leader variables × signals), sparse. ``residual`` is the largest |a + Qᵀb| left over,
    ``rank`` the number of independent conditions met, ``freedom`` the dimension of the set of all valid gains.
    """

    plan: Plan = field(repr=False)
    leader: list[str]
    signals: list[str]
    matrix: sparse.csc_array = field(repr=False)
    offset: dict[str, float]
    targets: dict[str, float] = field(repr=False)
    residual: float
    rank: int
    freedom: int
    weights: dict[str, float] = field(default_factory=dict, repr=False)
    multipliers: dict[str, float] = field(default_factory=dict)
    gradients: sparse.csr_array | None = field(default=None, repr=False)
    """b, (followers × leader): what the null space of the gain is orthogonal to. Not kept in JSON."""
    owners: Array | None = field(default=None, repr=False)
    """For each signal the number of the follower whose action it is."""
    seconds: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def gain(self) -> pd.DataFrame:
        """Q as a table, leader variable names × signal names (dense: made when asked for)."""
        return pd.DataFrame(self.matrix.toarray(), index=self.leader, columns=self.signals)

    @property
    def norm(self) -> float:
        """Frobenius norm ‖Q‖."""
        return float(np.sqrt((self.matrix.data**2).sum()))

    @property
    def energy(self) -> float:
        """Σ w_l Q_ls² with the weights the design was asked for (1 by default)."""
        weight = np.array([self.weights.get(name, 1.0) for name in self.leader])
        entries = self.matrix.tocoo()
        return float((weight[entries.row] * entries.data**2).sum())

    @property
    def null_space(self) -> Array:
        """Directions Z with bᵀZ = 0: Q + Σ t_j Z_j is valid for every t. Shape (freedom, leader, signals), orthonormal.

        Raises :class:`InvalidGame` for an incentive read from JSON.
        """
        if self.gradients is None or self.owners is None:
            raise InvalidGame("null_space: not kept in JSON; design the incentive anew from its plan.")
        directions = []
        for column, owner in enumerate(self.owners):
            full, triangle = np.linalg.qr(self.gradients[[int(owner)]].toarray().T, mode="complete")
            basis = full[:, 1:] if abs(triangle[0, 0]) > TOLERANCES.gradient else full
            for vector in basis.T:
                direction = np.zeros((len(self.leader), len(self.signals)))
                direction[:, column] = vector
                directions.append(direction)
        shape = (len(directions), len(self.leader), len(self.signals))
        return np.array(directions).reshape(shape)

    @property
    def announcement(self) -> Announcement:
        """What :func:`stackpyomo.verify` plays."""
        return Announcement({**self.plan.values, **self.offset}, self.plan.leader_objective, self.leader, self.matrix)

    def attached(self) -> Game:
        """The game the incentive was designed for; raises :class:`InvalidGame` if it was read without one."""
        return self.plan.attached()

    @property
    def game(self) -> Game | None:
        """The game the incentive was designed for, None if it was read without one."""
        return self.plan.game

    def actions(self, signals: Mapping[str, float]) -> dict[str, float]:
        """The leader's answer to what it observes: offset + Q (signal − target); missing signals are on target."""
        unknown = set(signals) - set(self.signals)
        if unknown:
            raise InvalidGame(f"{sorted(unknown)[0]}: not a signal of this incentive ({_listed(self.signals)}).")
        deviation = np.array([signals.get(s, self.targets[s]) - self.targets[s] for s in self.signals])
        moved = self.matrix @ (deviation * self._sizes())
        return {name: self.offset[name] + float(d) for name, d in zip(self.leader, moved, strict=True)}

    def strategy(self) -> ComponentMap:
        """The strategy as Pyomo expressions in the followers' Vars: leader Var → expression."""
        game, sizes = self.attached(), self._sizes()
        rows = self.matrix.tocsr()
        expressions = ComponentMap()
        for index, name in enumerate(self.leader):
            entries = slice(rows.indptr[index], rows.indptr[index + 1])
            terms = (
                gain * sizes[c] * (game.actions[c] - self.targets[self.signals[c]])
                for c, gain in zip(rows.indices[entries], rows.data[entries], strict=True)
            )
            expressions[game.variables_by_name[name]] = sum(terms, self.offset[name])
        return expressions

    def _sizes(self) -> Array:
        """A block that stands for n identical followers moves the leader n times as one member does."""
        return np.array(self.attached().action_sizes)

    def as_dict(self) -> dict[str, Any]:
        """The incentive as JSON-ready Python objects; the gain as (leader, signal, value) triplets."""
        entries = self.matrix.tocoo()
        return {
            "leader": self.leader,
            "signals": self.signals,
            "gain": [
                [self.leader[r], self.signals[c], float(v)]
                for r, c, v in zip(entries.row, entries.col, entries.data, strict=True)
            ],
            "offset": _numbers(self.offset),
            "targets": _numbers(self.targets),
            "residual": _number(self.residual),
            "rank": self.rank,
            "freedom": self.freedom,
            "norm": _number(self.norm),
            "energy": _number(self.energy),
            "weights": _numbers(self.weights),
            "multipliers": _numbers(self.multipliers),
        }

    def to_json(self) -> str:
        """One JSON document with the plan inside."""
        return json.dumps({**self.as_dict(), "plan": self.plan.as_dict()}, indent=2)

    @classmethod
    def from_json(cls, text: str, game: Game | None = None) -> Incentive:
        """The incentive written by :meth:`to_json` (the basis of the null space is not kept)."""
        with _readable("incentive"):
            data = json.loads(text)
            plan = Plan.from_json(json.dumps(data["plan"]), game)
            row = {name: i for i, name in enumerate(data["leader"])}
            column = {name: i for i, name in enumerate(data["signals"])}
            entries = data["gain"]
            matrix = sparse.csc_array(
                (
                    [float(v) for _, _, v in entries],
                    ([row[r] for r, _, _ in entries], [column[c] for _, c, _ in entries]),
                ),
                shape=(len(row), len(column)),
            )
            return cls(
                plan=plan,
                leader=data["leader"],
                signals=data["signals"],
                matrix=matrix,
                offset=_floats(data["offset"]),
                targets=_floats(data["targets"]),
                residual=_float(data["residual"]),
                rank=data["rank"],
                freedom=data["freedom"],
                weights=_floats(data["weights"]),
                multipliers=_floats(data["multipliers"]),
            )

    def __str__(self) -> str:
        rows = self.matrix.tocsr()
        lines = ["The leader announces:"]
        for index, name in enumerate(self.leader[:_SHOWN]):
            entries = slice(rows.indptr[index], rows.indptr[index + 1])
            terms = [
                f"{'+' if gain >= 0 else '−'} {abs(gain):.6g} ({self.signals[c]} − {self.targets[self.signals[c]]:.6g})"
                for c, gain in zip(rows.indices[entries], rows.data[entries], strict=True)
                if gain != 0.0
            ]
            more = [f"… {len(terms) - 6} more"] if len(terms) > 6 else []
            lines.append(" ".join([f"  {name} = {self.offset[name]:.6g}", *terms[:6], *more]))
        if len(self.leader) > _SHOWN:
            lines.append(f"  … {len(self.leader) - _SHOWN} more in .offset and .gain")
        lines.append("A follower who does its part faces the first numbers; each unit it deviates moves them as shown.")
        return "\n".join(lines)


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


@dataclass
class Report:
    """What every follower could gain by leaving the plan, from one re-solve each.

    ``regret`` ≥ 0 in the follower's own units (NaN: unknown); ``certificate`` says which evidence stands behind it:
    "convex" (proof), "global" (a global solver's bound), "multistart" (evidence only), "unknown" (the re-solve failed).
    """

    regret: pd.Series
    certificate: pd.Series
    best_response: dict[str, dict[str, float]] = field(repr=False)
    objective: pd.Series = field(repr=False)
    leader_objective: float
    tolerance: float
    note: pd.Series = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict, repr=False)
    solver: str = ""

    @property
    def epsilon(self) -> float:
        """The largest regret: the plan is an ε-Nash response with this ε. NaN if any follower is unknown."""
        return float(self.regret.max(skipna=False)) if len(self.regret) else 0.0

    @property
    def ok(self) -> bool:
        """No follower is unknown and none gains more than tolerance · max(1, |its objective|)."""
        if (self.certificate == "unknown").any() or self.regret.isna().any():
            return False
        return bool((self.regret <= self.tolerance * self.objective.abs().clip(lower=1.0)).all())

    @property
    def table(self) -> pd.DataFrame:
        """One row per follower: objective at the plan, regret, certificate, note."""
        return pd.DataFrame(
            {
                "objective": self.objective,
                "regret": self.regret,
                "certificate": self.certificate,
                "note": self.note,
            }
        )

    @property
    def verdict(self) -> str:
        """One sentence: what was shown, by which evidence."""
        counts = self.certificate.value_counts()
        evidence = ", ".join(f"{counts[kind]} {kind}" for kind in counts.index)
        head = "verified" if self.ok else "NOT verified"
        return f"{head}: largest regret {self.epsilon:.3g} over {len(self.regret)} followers ({evidence})"

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready Python objects."""
        return {
            "ok": self.ok,
            "epsilon": _number(self.epsilon),
            "verdict": self.verdict,
            "leader_objective": _number(self.leader_objective),
            "tolerance": self.tolerance,
            "solver": self.solver,
            "seconds": _numbers(self.seconds),
            "followers": {
                str(name): {
                    "objective": _number(float(self.objective[name])),
                    "regret": _number(float(self.regret[name])),
                    "certificate": self.certificate[name],
                    "note": self.note[name],
                    "best_response": _numbers(self.best_response.get(str(name), {})),
                }
                for name in self.regret.index
            },
        }

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.as_dict(), indent=2)

    def to_html(self, path: str | Path) -> None:
        """Write a self-contained page with the verdict and the table."""
        page = f"<!doctype html><meta charset='utf-8'><title>stackpyomo report</title>{_STYLE}{self._repr_html_()}"
        Path(path).write_text(page, encoding="utf-8")

    def _repr_html_(self) -> str:
        return f"<p><strong>{html.escape(self.verdict)}</strong></p>{self.table.to_html(float_format='{:.6g}'.format)}"

    def __str__(self) -> str:
        table = self.table
        if not table["note"].any():
            table = table.drop(columns="note")
        with pd.option_context("display.float_format", "{:.6g}".format):
            body = table.head(_SHOWN).to_string()
        rest = [f"… {len(table) - _SHOWN} more in report.table"] if len(table) > _SHOWN else []
        return "\n".join([self.verdict, body, *rest])


_STYLE = (
    "<style>body{font:15px system-ui,sans-serif;margin:2rem;max-width:70rem}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd}</style>"
)
