"""``stackpyomo solve`` and ``demo``: plan, contract and report of one game."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from stackpyomo.core import listed, writable
from stackpyomo.errors import InvalidGame, NoIncentive, StackpyomoError
from stackpyomo.games import Finding, Game
from stackpyomo.incentives import Incentive, affine_incentive, optimal_rule
from stackpyomo.plans import Plan, leader_optimal, nash, stackelberg
from stackpyomo.reporting import page
from stackpyomo.studies import tuned
from stackpyomo.verification import Report, verify
from stackpyomo.version import __version__

from .app import (
    GameArgument,
    JsonOption,
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
    logged,
    one_line_errors,
    require_writable,
    results_only,
    typed,
)
from .console import show
from .example import STORY, two_roads
from .inputs import load, paid, seen, settings_of, titled

__all__ = []

_BASELINE = 60.0
"""Seconds for the plan without an incentive, to which a page compares."""

_STARTS = 4
"""Starting points for a second-best rule at least."""

_ONWARD = "For a game of your own, start from this one: stackpyomo demo --write toll.json; stackpyomo solve toll.json"


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
    shown = json_to != "-"
    if shown:
        print(f"{STORY}\n")
    _deliver(game, [], plan, rule, None, report, {}, json_to)
    if shown:
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
    multipliers: Annotated[
        str | None,
        typer.Option(help="zero, or free: lean on the followers' own constraints; zero, free with --second-best."),
    ] = None,
    second_best: Annotated[
        bool, typer.Option("--second-best", help="The best affine rule, where none holds the plan the leader wants.")
    ] = False,
    common: Annotated[
        list[str] | None,
        typer.Option(help="Indexed leader Var whose entries announce one rule, with --second-best; may be repeated."),
    ] = None,
    saturate: Annotated[
        bool, typer.Option("--saturate", help="Announce the strategy cut at the leader's bounds.")
    ] = False,
    quadratic: Annotated[
        bool, typer.Option("--quadratic", help="Add a squared term where no gain bends a follower's cost up.")
    ] = False,
    design: Annotated[
        str, typer.Option(help="slopes, deviations (whatever the followers' problems), or auto: slopes first.")
    ] = "auto",
    regret: Annotated[str, typer.Option(help="zero, or least: the best strategy where none holds everybody.")] = "zero",
    margin: Annotated[float, typer.Option(help="What a deviation in whole actions costs at least.")] = 0.0,
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
    ties: Annotated[
        str | None,
        typer.Option(help="All followers respond: who is indifferent favours the leader (optimistic), or pessimistic."),
    ] = None,
    tie_tolerance: Annotated[
        float, typer.Option(help="A difference in a follower's cost that is a tie, with --ties pessimistic.")
    ] = 0.0,
    equilibrium: Annotated[
        str | None,
        typer.Option(
            help="any, variational, best, worst or all: the followers' equilibrium at the leader's start values. With "
            "--responding any or variational, which the leader anticipates."
        ),
    ] = None,
    complementarity: TreatmentOption = "auto",
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Find the plan the leader wants, the incentive that makes the followers want it, and verify it.

    A game file with a "target" is held to that plan, seen through its "observe". Where all followers respond there is
    no incentive to design: the leader announces constants, and what is verified is that every follower's answer is its
    best. With --second-best plan and rule are chosen together, and the plan
    shown is the one that the rule holds. Exit code 0: verified. 1: not verified, or there is no incentive.
    """
    _require_together(second_best, common, {"--free": free, "--payment": payment, "--quadratic": quadratic}, responding)
    require_writable(json_to)
    require_writable(report_to)
    if equilibrium == "all":
        _list(load(game, parameter or [])[0], {"solver": solver, "seed": seed, "time_limit": time_limit}, json_to)
    with results_only(), logged(log_to), tuned(solver, settings_of(option)):
        loaded, settings = load(game, parameter or [])
        asked: dict[str, Any] = {
            "solver": solver,
            "starts": starts,
            "seed": seed,
            "complementarity": complementarity,
        }
        what = seen(observe) or settings.get("OBSERVE") or loaded.observe or "actions"
        rule, refused, constant = None, None, False
        if second_best:
            how = {**asked, "starts": max(starts, _STARTS), "multipliers": multipliers or "free", "saturate": saturate}
            rule = optimal_rule(loaded, what, common=common or (), time_limit=time_limit, **how)
            plan = rule.plan
        else:
            broken = None if ties is None and not tie_tolerance else (ties or "optimistic", tie_tolerance)
            plan = _planned(loaded, responding, broken, {**asked, "time_limit": time_limit}, equilibrium)
            constant = len(plan.responding) == len(loaded.followers)
        if not constant and not second_best:
            wishes = {
                "observe": what,
                "free": free or settings.get("FREE") or _open(loaded),
                "payment": None if payment is None else paid(loaded, payment),
                "payment_limit": payment_limit,
                "multipliers": multipliers or "zero",
                "saturate": saturate,
                "quadratic": quadratic,
                "design": design,
                "regret": regret,
                "margin": margin,
            }
            rule, refused = _incentive(plan, solver, wishes)
        report = verify(rule if rule is not None else plan, solver=solver)
        doubts = [finding for finding in loaded.check() if finding.severity != "info"]
        if report_to is not None:
            remarks = [] if refused is None else [str(refused)]
            remarks += [_responders(plan, loaded)] if plan.responding else []
            baseline, why = (None, []) if rule is None else _baseline(loaded, asked, time_limit)
            remarks += [*why, *map(str, doubts)]
            writable(
                report_to, page(report, title=titled(loaded, game), baseline=baseline, remarks=remarks, command=typed())
            )
    _deliver(loaded, doubts, plan, rule, refused, report, settings, json_to)
    settled = not loaded.leaders or plan.quality == "feasible"
    raise typer.Exit(0 if report.ok and settled and (constant or rule is not None) else 1)


def _require_together(
    second_best: bool, common: list[str] | None, others: Mapping[str, Any], responding: list[str] | None
) -> None:
    """Raise :class:`InvalidGame` for options that do not go with each other."""
    if common and not second_best:
        raise InvalidGame("--common: one rule for several variables is chosen with its plan; add --second-best.")
    wrong = next((name for name, value in {**others, "--responding": responding}.items() if value), None)
    if second_best and wrong:
        raise InvalidGame(
            f"{wrong}: does not go with --second-best, which chooses plan and rule together; leave it out."
        )


def _list(game: Game, asked: dict[str, Any], json_to: str | None) -> None:
    """All equilibria at the leader's start values; exit code 0 if that is proved."""
    with results_only():
        equilibria = nash(game, equilibrium="all", **asked)
    document = {
        "game": game.name,
        "version": __version__,
        "complete": equilibria.complete,
        "reason": equilibria.reason,
        "continuum": [str(piece) for piece in equilibria.continuum],
        "copies": list(equilibria.copies),
        "equilibria": [plan.as_dict() for plan in equilibria],
    }
    if not deliver(document, json_to):
        print(equilibria)
    raise typer.Exit(0 if equilibria.complete else 1)


def _planned(
    game: Game,
    responding: list[str] | None,
    ties: tuple[str, float] | None,
    asked: dict[str, Any],
    equilibrium: str | None,
) -> Plan:
    """The plan that the file says is to be held; the followers' equilibrium; or the leader's optimum, by ``ties`` where
    all respond."""
    if equilibrium is not None and not responding and ties is None:
        plan: Plan = nash(game, equilibrium=equilibrium, **asked)
        return plan
    asked = asked if equilibrium is None else {**asked, "equilibrium": equilibrium}
    if ties is not None or game.leaders:
        kind, width = ties or ("optimistic", 0.0)
        return stackelberg(game, ties=kind, tie_tolerance=width, **asked)
    if game.target and not responding:
        return Plan.from_values(game)
    return leader_optimal(game, responding=True if "all" in (responding or ()) else responding or (), **asked)


def _open(game: Game) -> list[str]:
    """Leader variables that a file's target leaves open: their values are chosen with the incentive."""
    aggregates = {id(v) for v in game.aggregate_variables()}
    leader = (game.names[id(v)] for v in game.leader.variables if id(v) not in aggregates)
    return [name for name in leader if name not in game.target] if game.target else []


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
        "no_incentive": None if refused is None else _refusal(refused),
        "report": report.as_dict(),
        "expected": _plain(settings.get("EXPECTED")),
    }
    if not deliver(document, json_to):
        if plan.responding:
            print(_responders(plan, game))
        show(Console(), plan, rule, report)
        for finding in doubts:
            print(f"note: {finding}")


def _refusal(refused: NoIncentive) -> dict[str, Any]:
    """Why there is no incentive, with the deviations that prove it."""
    table = [] if refused.deviations is None else refused.deviations.to_dict("records")
    lines = [{key: _plain(value) for key, value in line.items()} for line in table]
    return {"message": str(refused), "reasons": refused.reasons, "deviations": lines}


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
