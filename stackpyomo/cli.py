"""The command line: ``stackpyomo demo | solve | verify | check | compare | study | bench | doctor``.

Exit code 0: verified. 1: not verified, or no incentive exists. 2: bad input or no solver, said in one line on
standard error.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import typer
from rich.console import Console
from rich.table import Table

from . import __version__, checker, commands
from .catalogues import RIGHT, Row, Runner, Settings, machine, serve, summarize, summary_line, tuned
from .contracts import Incentive
from .endings import unwinding
from .errors import InvalidGame, NoIncentive, StackpyomoError
from .examples import STORY, two_roads
from .gamefiles import read_games
from .games import Game
from .incentives import affine_incentive
from .pages import page, table_page
from .plan import Plan
from .plans import leader_optimal, stackelberg
from .programs import Program
from .progress import tracked
from .reports import show, show_rows
from .results import Finding, listed
from .solvers import SolverInfo, registry
from .solvers import solve as run_solver
from .terminal import (
    TERMINATED,
    GameArgument,
    JobsOption,
    JsonOption,
    LimitOption,
    LogOption,
    ParameterOption,
    ReportOption,
    SeedOption,
    SettingOption,
    SolverOption,
    StartsOption,
    TreatmentOption,
    app,
    complain,
    deliver,
    load,
    logged,
    one_line_errors,
    paid,
    require_writable,
    results_only,
    seen,
    settings_of,
    titled,
    typed,
    writable,
)
from .verdicts import Report
from .verification import verify
from .workers import following

_BASELINE = 60.0
"""Seconds for the plan without an incentive, to which a page compares."""
_WIDTH = 100
"""Letters a line of the catalogue's table may have where there is no terminal to say."""
_ONWARD = "For a game of your own, start from this one: stackpyomo demo --write toll.json; stackpyomo solve toll.json"


def main() -> None:
    """Entry point of the ``stackpyomo`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our letters
    try:
        with unwinding(TERMINATED):
            try:
                app()
            finally:
                sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(InvalidGame(f"standard output cannot be written ({error.strerror})."))
        sys.stderr.flush()
        os._exit(1 if isinstance(error, BrokenPipeError) else 2)  # at a normal exit Python would try again


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stackpyomo {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: stackpyomo demo --write toll.json")
@one_line_errors()
def demo(
    solver: SolverOption = "auto",
    write_to: Annotated[
        Path | None, typer.Option("--write", help="Write the game to this JSON file, to be changed and solved.")
    ] = None,
    json_to: JsonOption = None,
    report_to: ReportOption = None,
) -> None:
    """Play a small game that comes along: its plan, the contract, and the report. Needs no file.

    Exit code 0: the contract was verified, and the installation works.
    """
    for path in (write_to, json_to, report_to):
        require_writable(path)
    with results_only():
        game = two_roads()
        plan = leader_optimal(game, solver=solver)
        rule = affine_incentive(plan, solver=solver)
        report = verify(rule, solver=solver)
        if write_to is not None:
            game.write(write_to)
        if report_to is not None:
            baseline, why = _baseline(game, {"solver": solver}, None)
            writable(report_to, page(report, baseline=baseline, remarks=why, command=typed()))
    told = json_to != "-"
    if told:
        print(f"{STORY}\n")
    _deliver(game, [], plan, rule, None, report, {}, json_to)
    if told:
        print(
            _ONWARD if write_to is None else f"{write_to} holds the game; change it, then: stackpyomo solve {write_to}"
        )
    raise typer.Exit(0 if report.ok else 1)


@app.command(epilog="Example: stackpyomo solve models/grid_prices.py --parameter posted_price=4 --json -")
@one_line_errors()
def solve(
    game: GameArgument,
    solver: SolverOption = "auto",
    option: SettingOption = None,
    free: Annotated[
        list[str] | None,
        typer.Option(help="Leader variable whose on-path value may be re-chosen; may be repeated."),
    ] = None,
    payment: Annotated[
        str | None,
        typer.Option(help="Named Expression or Var that those --free make least first; an indexed one: its sum."),
    ] = None,
    payment_limit: Annotated[
        float | None, typer.Option(help="The most that --payment may come to; then the energy is least within it.")
    ] = None,
    observe: Annotated[
        list[str] | None,
        typer.Option(help="Var or linear Expression the leader sees; may be repeated; or actions: all of them."),
    ] = None,
    multipliers: Annotated[str, typer.Option(help="zero, or free: lean on the followers' own constraints.")] = "zero",
    saturate: Annotated[
        bool, typer.Option("--saturate", help="Announce the strategy cut at the leader's bounds.")
    ] = False,
    quadratic: Annotated[
        bool, typer.Option("--quadratic", help="Add a squared term where no gain bends a follower's cost up.")
    ] = False,
    parameter: ParameterOption = None,
    starts: StartsOption = 1,
    seed: SeedOption = 0,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds for each solve of the plan; with --responding, for all of them.")
    ] = None,
    responding: Annotated[
        list[str] | None,
        typer.Option(help="Follower who answers optimally and does not serve the leader; may be repeated; or all."),
    ] = None,
    complementarity: TreatmentOption = "auto",
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Find the plan the leader wants, the incentive that makes the followers want it, and verify it.

    Where all followers respond there is no incentive to design: the leader announces constants, and what is verified
    is that every follower's answer is its best. Exit code 0: verified. 1: not verified, or there is no incentive.
    """
    require_writable(json_to)
    require_writable(report_to)
    with results_only(), logged(log_to), tuned(solver, settings_of(option)):
        loaded, settings = load(game, parameter or [])
        plan = leader_optimal(
            loaded,
            responding=True if "all" in (responding or ()) else responding or (),
            solver=solver,
            starts=starts,
            seed=seed,
            complementarity=complementarity,
            time_limit=time_limit,
        )
        rule, refused = None, None
        constant = len(plan.responding) == len(loaded.followers)
        if not constant:
            wishes = {
                "observe": seen(observe) or settings.get("OBSERVE", "actions"),
                "free": free or settings.get("FREE", ()),
                "payment": None if payment is None else paid(loaded, payment),
                "payment_limit": payment_limit,
                "multipliers": multipliers,
                "saturate": saturate,
                "quadratic": quadratic,
            }
            rule, refused = _incentive(plan, solver, wishes)
        report = verify(rule if rule is not None else plan, solver=solver)
        doubts = [finding for finding in loaded.check() if finding.severity != "info"]
        if report_to is not None:
            remarks = [] if refused is None else [str(refused)]
            remarks += [_responders(plan, loaded)] if plan.responding else []
            asked = {"solver": solver, "starts": starts, "seed": seed, "complementarity": complementarity}
            baseline, why = (None, []) if rule is None else _baseline(loaded, asked, time_limit)
            remarks += [*why, *map(str, doubts)]
            writable(
                report_to, page(report, title=titled(loaded, game), baseline=baseline, remarks=remarks, command=typed())
            )
    _deliver(loaded, doubts, plan, rule, refused, report, settings, json_to)
    raise typer.Exit(0 if report.ok and (constant or rule is not None) else 1)


_EXAMPLES: dict[str, tuple[Any, str]] = {
    "verify": (commands.verify_command, "models/two_roads.py --incentive solved.json"),
    "compare": (commands.compare_command, "models/literature/bilevel.json --solver auto,scip --plot profiles.png"),
    "study": (commands.study_command, "TASK.py:regret --grid size=10,100 --grid noise=0,0.5 --store regret.jsonl"),
}
for _name, (_command, _example) in _EXAMPLES.items():
    app.command(_name, epilog=f"Example: stackpyomo {_name} {_example}")(_command)


def _incentive(plan: Plan, solver: str, wishes: dict[str, Any]) -> tuple[Incentive | None, NoIncentive | None]:
    """The incentive, or why there is none."""
    try:
        return affine_incentive(plan, solver=solver, **wishes), None
    except NoIncentive as error:
        return None, error


def _baseline(game: Game, asked: dict[str, Any], time_limit: float | None) -> tuple[Plan | None, list[str]]:
    """What happens without an incentive; or why that is not known."""
    try:
        return stackelberg(game, time_limit=_BASELINE if time_limit is None else time_limit, **asked), []
    except StackpyomoError as error:
        return None, [f"Who gains and who loses is not told, for want of a plan without an incentive: {error}"]


def _deliver(
    game: Game,
    doubts: list[Finding],
    plan: Plan,
    rule: Incentive | None,
    refused: NoIncentive | None,
    report: Report,
    settings: dict[str, Any],
    json_to: str | None,
) -> None:
    """Print or write the results; with ``--json -`` standard output holds the document and nothing else."""
    if refused is not None:
        complain(refused)
    document = {
        "game": game.name,
        "version": __version__,
        "findings": [str(finding) for finding in doubts],
        "plan": plan.as_dict(),
        "incentive": None if rule is None else rule.as_dict(),
        "no_incentive": None if refused is None else {"message": str(refused), "reasons": refused.reasons},
        "report": report.as_dict(),
        "expected": _plain(settings.get("EXPECTED")),
    }
    if not deliver(document, json_to):
        if plan.responding:
            print(_responders(plan, game))
        show(Console(), plan, rule, report)
        for finding in doubts:
            print(f"note: {finding}")


def _responders(plan: Plan, game: Game) -> str:
    """Who serves the leader and who does not."""
    if len(plan.responding) == len(game.followers):
        return (
            "All followers respond: the leader announces constants, and no incentive is designed. What is verified is\n"
            "that every follower's answer is its best."
        )
    return (
        f"Responding: {listed(plan.responding)}. In the plan they answer optimally without an incentive; one is\n"
        "designed and verified for every follower all the same."
    )


def _plain(value: Any) -> Any:
    """What a model file calls EXPECTED, as JSON can say it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (bool, str, type(None))):
        return value
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(value)
    return str(value)


@app.command(epilog="Example: stackpyomo check certificate.json")
@one_line_errors()
def check(certificate: Annotated[Path, typer.Argument(help="What report.to_certificate wrote.")]) -> None:
    """Derive anew, without a solver, what each follower of a certificate could gain by leaving the plan.

    Exit code 0: every claim is confirmed. 1: one is not. 2: no certificate, or one that was changed.
    """
    raise typer.Exit(checker.main(str(certificate)))


@app.command(epilog="Example: stackpyomo bench models/literature/bilevel.json --jobs 2")
@one_line_errors()
def bench(
    catalogue: Annotated[Path, typer.Argument(help="A JSON list of games, each with its reference.")],
    solver: SolverOption = "auto",
    complementarity: TreatmentOption = "auto",
    time_limit: LimitOption = Settings.time_limit,
    option: SettingOption = None,
    starts: StartsOption = 1,
    seed: SeedOption = 0,
    allow_nonconvex: Annotated[
        bool, typer.Option("--allow-nonconvex", help="Play games with followers proved nonconvex, too.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Relative distance to the reference that is as good as it.")
    ] = Settings.tolerance,
    only: Annotated[str, typer.Option("--filter", help="Games whose name contains this.")] = "",
    jobs: JobsOption = 1,
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Solve every game of a catalogue with all followers responding, and compare with its reference.

    Exit code 0: every game came out as well as its reference, or better, and verified; or without a plan, or refused
    for a nonconvex follower, as its entry says.
    """
    settings = Settings(
        solver, complementarity, time_limit, starts, allow_nonconvex, tolerance, seed=seed, options=settings_of(option)
    )
    entries = [entry for entry in read_games(catalogue) if only in str(entry.get("name", ""))]
    if not entries:
        raise InvalidGame(f"{catalogue}: holds no game" + (f" whose name contains {only!r}." if only else "."))
    settings.require()
    require_writable(json_to)
    require_writable(report_to)
    runner = Runner(entries, settings, os.fspath(catalogue), jobs)
    began, interrupted = time.perf_counter(), None
    try:
        with logged(log_to), tracked("playing", len(entries)) as step:
            for _ in runner.rows():
                step()
    except KeyboardInterrupt as error:
        interrupted = error
    rows = runner.finished
    _deliver_rows(
        catalogue, settings, jobs, rows, time.perf_counter() - began, interrupted is not None, json_to, report_to
    )
    if interrupted is not None:
        raise interrupted
    raise typer.Exit(0 if all(row.outcome in RIGHT for row in rows) else 1)


def _deliver_rows(
    catalogue: Path,
    settings: Settings,
    jobs: int,
    rows: list[Row],
    wall: float,
    interrupted: bool,
    json_to: str | None,
    report_to: Path | None,
) -> None:
    summary = summarize(rows, wall)
    document = {
        "version": __version__,
        "machine": machine(),
        "catalogue": os.fspath(catalogue),
        "settings": {k: v for k, v in dataclasses.asdict(settings).items() if k != "judged"} | {"jobs": jobs},
        "interrupted": interrupted,
        "rows": [row.as_dict() for row in rows],
        "summary": summary,
    }
    if report_to is not None:
        table = pd.DataFrame([row.as_dict() for row in rows]).drop(columns=["stages", "error"], errors="ignore")
        writable(report_to, table_page(catalogue.name, summary_line(summary), table))
    if deliver(document, json_to):
        return
    console = Console()
    show_rows(console if console.is_terminal else Console(width=max(_WIDTH, console.width)), rows)
    print(summary_line(summary))


@app.command(name="bench-worker", hidden=True, epilog="Example: stackpyomo bench-worker")
@one_line_errors()
def bench_worker() -> None:
    """Play one game for each line of standard input, and end with it; started by bench."""
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # a solver reads nothing of what is meant for us,
    os.dup2(2, 1)  # and what its library prints is no answer

    def answer(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    with results_only(), following(requests) as (folder, lines):
        answer(json.dumps(folder))
        serve(lines, answer)


@app.command(epilog="Example: stackpyomo doctor --json -")
@one_line_errors()
def doctor(
    json_to: JsonOption = None,
) -> None:
    """List every solver known, which are installed, and solve one tiny problem with each.

    Exit code 0: at least one solver for nonlinear problems works.
    """
    rows = [_examine(info) for info in registry.values()]
    deliver({"version": __version__, "python": sys.version.split()[0], "solvers": rows}, json_to)
    if json_to is None:
        _show_solvers(rows)
    usable = any(row["answer"] == "correct" and "NLP" in row["classes"] for row in rows)
    raise typer.Exit(0 if usable else 2)


def _show_solvers(rows: list[dict[str, Any]]) -> None:
    table = Table("solver", "version", "tiny problem", "seconds", "solves")
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
        table.add_row(row["solver"], row["version"] or "–", row["answer"], seconds, " ".join(row["classes"]))
    console = Console()
    console.print(table)
    for row in rows:
        if row["remedy"]:
            console.print(
                f"{row['solver']}: {'not installed. ' if not row['version'] else ''}{row['remedy']}", markup=False
            )


def _examine(info: SolverInfo) -> dict[str, Any]:
    """min (x − 1)² + (y − 2)² s.t. x + y = 2 has the answer (1/2, 3/2)."""
    version = info.version()
    row: dict[str, Any] = {
        "solver": info.name,
        "version": version,
        "classes": sorted(info.classes),
        "answer": "",
        "seconds": None,
        "remedy": "" if version else info.install,
    }
    if version is None:
        return row
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    start = time.perf_counter()
    solution = run_solver(Program((m.x - 1) ** 2 + (m.y - 2) ** 2, [m.x + m.y == 2]), info.name)
    row["seconds"] = time.perf_counter() - start
    right = solution.x is not None and sorted(round(float(v), 4) for v in solution.x) == [0.5, 1.5]
    row["answer"] = "correct" if right else f"{solution.termination.value}: {solution.message}"
    row["remedy"] = "" if right else info.install
    return row


if __name__ == "__main__":
    main()
