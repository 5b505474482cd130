"""Catalogues: every game of a JSON list played with all followers responding, and compared with what is known of it.

Games are solved in processes of a pool. One that crashes, or has no answer some seconds after the time limit, is ended
and replaced, and its game is a row "failed". A row's outcome:

    ok          verified, and as good as the reference
    better      verified, and better than the reference
    worse       verified, and worse than the reference
    infeasible  no plan, as the reference says
    nonconvex   refused for a follower proved nonconvex, as the entry says ("follower_convex": false)
    refused     the game is not one to be solved, and the entry does not say so
    unverified  a plan that the re-solve of the followers did not prove to be one
    failed      no plan where there is one, a plan where there is none, an entry that cannot be read, a lost worker
"""

from __future__ import annotations

import logging
import math
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from stackpyomo.bilevel import named
from stackpyomo.core import TOLERANCES, json_number, real, require_positive, require_whole
from stackpyomo.errors import GameFileError, InvalidGame, NonconvexFollower, NoPlan, StackpyomoError
from stackpyomo.games import parse_game
from stackpyomo.games.files import Item, show
from stackpyomo.plans import Plan, stackelberg
from stackpyomo.solvers import choose, registry
from stackpyomo.verification import EVIDENCE, PROVED, Report

from .pool import Lost, Pool

logger = logging.getLogger(__name__)

#: Outcomes that are as the entry says, and how the summary calls them.
RIGHT = {"ok": "ok", "better": "better", "infeasible": "infeasible", "nonconvex": "refused as nonconvex"}

VERIFIED = ("ok", "better", "worse")  #: Outcomes of a verified plan.

_NUMBERS = ("objective", "reference", "gap", "regret", "residual", "iterations", "seconds")


@dataclass(frozen=True)
class Settings:
    """How every game of a catalogue is played; ``time_limit`` in seconds for each."""

    solver: str = "auto"
    complementarity: str = "auto"
    time_limit: float = 60.0
    starts: int = 1
    allow_nonconvex: bool = False
    #: How far from the reference, relative to max(1, |reference|), is as good as the reference.
    tolerance: float = TOLERANCES.agreement
    #: False: entries need no reference; a verified plan is "ok" whatever it is worth, "infeasible" none at all.
    judged: bool = True
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)  #: For the solver, before those of ours.
    #: Or "pessimistic": for whom followers break ties, and which equilibrium they play; an entry that says "ties",
    #: "tie_tolerance" or "equilibrium" itself is played so.
    ties: str = "optimistic"
    tie_tolerance: float = 0.0
    equilibrium: str = "auto"

    def asked(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """How this entry's followers answer, as arguments of :func:`stackpyomo.stackelberg`."""
        chosen = {key: entry.get(key, getattr(self, key)) for key in ("ties", "tie_tolerance", "equilibrium")}
        return chosen if not entry.get("leaders") else {"ties": chosen["ties"]}

    def require(self) -> None:
        """Raise :class:`InvalidGame` or :class:`SolverNotAvailable` for what no game could be played with."""
        choose(self.solver)
        named(self.complementarity)
        require_positive("time_limit", self.time_limit)
        require_whole("starts", self.starts)
        require_whole("seed", self.seed, 0)
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise InvalidGame(f"tolerance={self.tolerance!r}: expected a finite number from 0.")


@contextmanager
def tuned(solver: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Every solve by that solver is given the options, which come before those of ours."""
    if not options:
        yield
        return
    info = choose(solver)

    def run(program: Any, own: dict[str, Any], *rest: Any) -> Any:
        return info.run(program, {**own, **options}, *rest)

    registry[info.name] = replace(info, run=run)
    try:
        yield
    finally:
        registry[info.name] = info


@dataclass(frozen=True)
class Row:
    """What became of one game; numbers that nobody knows are NaN."""

    name: str
    kind: str = ""  #: The entry's "class".
    objective: float = math.nan  #: The leader's, in the sense of the game; so is ``reference``.
    reference: float = math.nan
    #: How much worse than the reference the leader fares, relative to max(1, |reference|); negative: better.
    gap: float = math.nan
    regret: float = math.nan  #: The largest of the responding followers.
    certificate: str = ""  #: The weakest evidence behind their best responses.
    quality: str = ""
    seconds: float = math.nan
    outcome: str = "failed"
    message: str = ""
    #: The type of the error behind the message; "TimeLimit" or "WorkerLost" where there was no answer at all.
    error: str = ""
    termination: str = ""  #: Why the solver behind the plan stopped.
    residual: float = math.nan  #: The largest residual of the plan, recomputed.
    iterations: float = math.nan  #: All attempts together, where the solvers tell.
    stages: dict[str, float] = field(default_factory=dict)  #: Seconds of each stage of the plan.

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON-ready Python objects."""
        cells = {"class" if key == "kind" else key: value for key, value in asdict(self).items()}
        return cells | {key: json_number(cells[key]) for key in _NUMBERS}


def run_entry(entry: Mapping[str, Any], settings: Settings, path: str = "") -> Row:
    """Play one entry of a catalogue in this process; what goes wrong is the row's message."""
    row, began = _named(entry), time.perf_counter()
    try:
        reference = _reference(entry, path) if settings.judged else math.nan
        row = replace(row, reference=math.nan if reference is None else reference)
        game = parse_game(entry, path=path)
        with tuned(settings.solver, settings.options):
            plan = stackelberg(
                game,
                solver=settings.solver,
                starts=settings.starts,
                complementarity=settings.complementarity,
                time_limit=settings.time_limit,
                allow_nonconvex=settings.allow_nonconvex,
                seed=settings.seed,
                **settings.asked(entry),
            )
        row = _judged(row, plan, game.leader.sign, reference, settings.tolerance)
        if plan.shortfall:
            row = _judged_of_leaders(row, plan, entry if settings.judged else {}, settings.tolerance)
    except Exception as error:  # a fault of ours or of a solver's is for the row, too, and not for the run
        ours = isinstance(error, StackpyomoError)
        message = str(error) if ours else f"{type(error).__name__}: {error}"
        row = replace(row, outcome=_outcome(error, entry, settings), message=message, error=type(error).__name__)
    return replace(row, seconds=time.perf_counter() - began)


def _named(entry: Mapping[str, Any]) -> Row:
    name, kind = entry.get("name"), entry.get("class")
    return Row(name if isinstance(name, str) and name else "(no name)", kind if isinstance(kind, str) else "")


def _outcome(error: Exception, entry: Mapping[str, Any], settings: Settings) -> str:
    """What an error means for an entry: as it says, refused, or failed."""
    if isinstance(error, NoPlan):
        expected = not settings.judged or _reference(entry) is None
        return "infeasible" if error.termination == "infeasible" and expected else "failed"
    if isinstance(error, NonconvexFollower) and entry.get("follower_convex") is False:
        return "nonconvex"
    return "refused" if isinstance(error, InvalidGame) and not isinstance(error, GameFileError) else "failed"


def _reference(entry: Mapping[str, Any], path: str = "") -> float | None:
    """The leader's objective that is known; None: it is known that there is no plan."""

    game = Item(entry, "game", path, getattr(entry, "places", {}).get(None))
    if "reference" not in entry:
        raise game.fault("has no 'reference'; write what is known, {\"leader_cost\": 1.5}, or null: there is no plan.")
    reference = game.part("reference", "reference")
    if reference.value is None:
        return None
    if not isinstance(reference.value, Mapping):
        raise reference.fault(f"expected an object {{...}} or null, found {show(reference.value)}.")
    if entry.get("leaders") and isinstance(reference.value.get("leader_costs"), Mapping):
        return math.nan  # of each leader: looked at once there is a plan
    if "leader_cost" not in reference.value:
        raise reference.fault("has no 'leader_cost'; write a number, or null: there is no plan.")
    cost = reference.part("leader_cost", "leader_cost")
    return None if cost.value is None else cost.number()


def _judged(row: Row, plan: Plan, sign: int, reference: float | None, tolerance: float) -> Row:
    """The row of a plan, compared with the reference."""
    report = plan.report
    gap = math.nan if reference is None else sign * (plan.leader_objective - reference) / max(1.0, abs(reference))
    residuals = [value for value in plan.residuals.values() if math.isfinite(value)]
    counted = [entry["iterations"] for entry in plan.log if entry.get("iterations") is not None]
    row = replace(
        row,
        objective=plan.leader_objective,
        gap=gap,
        quality=plan.quality,
        termination=plan.termination,
        residual=max(residuals, default=math.nan),
        iterations=float(sum(counted)) if counted else math.nan,
        stages={stage: round(seconds, 6) for stage, seconds in plan.seconds.items()},
    )
    if report is None:
        return replace(
            row, outcome="unverified", message="; ".join(plan.warnings) or "the followers were not re-solved"
        )
    evidence = set(report.certificate)
    row = replace(row, regret=report.epsilon, certificate=max(evidence, key=EVIDENCE.index))
    small = report.regret <= TOLERANCES.regret * report.objective.abs().clip(lower=1.0)
    if not (report.ok and small.all() and row.certificate in PROVED):
        return replace(row, outcome="unverified", message=_doubt(report))
    if reference is None:
        message = f"{report.verdict}, where the reference says that there is no plan"
        return replace(row, outcome="failed", message=message)
    if math.isnan(gap) or abs(gap) <= tolerance:  # nothing to compare with, or as good as that
        return replace(row, outcome="ok")
    return replace(row, outcome="better" if gap < 0 else "worse")


def _judged_of_leaders(row: Row, plan: Plan, entry: Mapping[str, Any], tolerance: float) -> Row:
    """The row of a plan of several leaders: an equilibrium, which is as good as any; that there is none; or neither."""
    message = "; ".join(plan.warnings)
    if plan.quality == "infeasible" and plan.least_shortfall > 0.0:
        expected = entry.get("reference") is None
        return replace(row, outcome="infeasible" if expected else "failed", message=message)
    if plan.quality != "feasible":
        return replace(row, outcome="unverified", message=message)
    costs = (entry.get("reference") or {}).get("leader_costs", {})
    gaps = [abs(plan.leader_objectives[name] - cost) / max(1.0, abs(cost)) for name, cost in costs.items()]
    gap = max(gaps, default=math.nan)
    return replace(row, gap=gap, outcome="worse" if gap > tolerance else "ok")


def _doubt(report: Report) -> str:
    if not report.ok:
        return report.verdict
    proved = report.certificate.isin(PROVED).all()
    return f"{'a regret that is not small' if proved else 'evidence, not proof'} ({report.verdict})"


# --- a run --------------------------------------------------------------------------------------------------------


def solved(
    plays: Sequence[tuple[Mapping[str, Any], Settings]], path: str = "", jobs: int = 1, grace: float = 10.0
) -> Generator[tuple[int, Row], None, None]:
    """The number of each play with its row, as they come, ``jobs`` at a time, each in a process of its own.

    A play is one of the games of :func:`stackpyomo.games.files.read_games`, and how it is solved. A process is ended
    ``grace`` seconds after the longest limit, and with the iteration, however that ends. ``path``: the games' file, for
    messages.
    """
    require_whole("jobs", jobs)
    limit = max(settings.time_limit for _, settings in plays) + grace
    pool = Pool(partial(_played, path=path), min(jobs, len(plays)), limit, attempts=1, fresh=True)
    with closing(pool.rows([(number, *play) for number, play in enumerate(plays)], _lost)) as played:
        for (number, _, settings), row in played:
            words = (row.name, settings.solver, settings.complementarity, row.outcome, row.message)
            logger.info("%s, %s, %s: %s %s", *words)
            yield number, row


def _played(job: tuple[int, Mapping[str, Any], Settings], path: str) -> Row:
    return run_entry(job[1], job[2], path)


def _lost(job: tuple[int, Mapping[str, Any], Settings], loss: Lost) -> Row:
    """The row of a game that no process could play."""
    try:
        reference = _reference(job[1])
    except GameFileError:
        reference = None
    row = replace(_named(job[1]), reference=math.nan if reference is None else reference, seconds=loss.seconds)
    return replace(row, message=f"{loss}.", error="TimeLimit" if loss.late else "WorkerLost")


# --- what it comes to ---------------------------------------------------------------------------------------------


def summarize(rows: Sequence[Row], wall: float) -> dict[str, Any]:
    """Counts and seconds of a run of ``wall`` seconds; ``worse`` counts clearly worse games, verified or not."""
    seconds = [row.seconds for row in rows if math.isfinite(row.seconds)]
    counts = Counter(row.outcome for row in rows)
    return {
        "games": len(rows),
        "right": sum(row.outcome in RIGHT for row in rows),
        "verified": sum(row.outcome in VERIFIED for row in rows),
        "optimal": sum(row.quality == "optimal" for row in rows),
        "worse": sum(row.gap > TOLERANCES.loss for row in rows),
        "worse_than": TOLERANCES.loss,
        "largest_gap": json_number(max((row.gap for row in rows if math.isfinite(row.gap)), default=math.nan)),
        "outcomes": dict(sorted(counts.items())),
        "median_seconds": json_number(statistics.median(seconds) if seconds else math.nan),
        "total_seconds": json_number(wall),
    }


def summary_line(summary: Mapping[str, Any]) -> str:
    """The summary in one line."""
    counts = summary["outcomes"]
    right = ", ".join(f"{counts[kind]} {words}" for kind, words in RIGHT.items() if kind in counts)
    others = "".join(f"{counts[kind]} {kind}, " for kind in ("refused", "unverified", "failed") if kind in counts)
    than = f"{summary['worse_than']:.0e}".replace("e-0", "e-")
    return (
        f"{summary['right']} of {summary['games']} as expected{f' ({right})' if right else ''}, "
        f"{summary['verified']} verified, "
        f"{summary['optimal']} proved optimal, {others}"
        f"{summary['worse']} worse than their reference by more than {than}, "
        f"median {real(summary['median_seconds']):.2g} s, total {real(summary['total_seconds']):.1f} s"
    )


def machine() -> dict[str, Any]:
    """What a figure in seconds was measured on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
