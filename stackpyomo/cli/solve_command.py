"""``stackpyomo solve`` and ``demo``: plan, contract and report of one game.

Examples: a game inside the package, so that ``stackpyomo demo`` needs no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyomo.environ as pyo

from stackpyomo.core import listed, plain, writable
from stackpyomo.errors import InvalidGame, NoIncentive, NoPlan, StackpyomoError
from stackpyomo.games import Finding, Game
from stackpyomo.incentives import Incentive, affine_incentive
from stackpyomo.plans import Plan, leader_optimal, nash, stackelberg
from stackpyomo.reporting import page
from stackpyomo.verification import Report, verify

from .app import Answer, command, typed
from .console import show, show_findings
from .inputs import load, titled
from .planning import WORDS, PlanOptions, RuleOptions

_BASELINE = 60.0  # Seconds for the plan without an incentive, to which a page compares.

_ONWARD = (
    "For a game of your own, start from this one:\n  stackpyomo demo --write toll.json; stackpyomo solve toll.json"
)
STORY = (
    "A driver sends a share of the trips over a bridge, and would like all of them\n"
    "there. The city wants 60 % of them there and, for its own sake, no toll. At a\n"
    "constant toll of 0 the driver leaves that plan; a toll that answers the flow\n"
    "makes the plan the driver's own best choice."
)


@command("--write toll.json", offers="json report")
def demo(solver: str = "auto", write_to: Path | None = None) -> Answer:
    """Solve a small built-in game: its plan, the contract, and the report. Needs no file.

    Exit code 0: the contract was verified, and the installation works.
    """
    game = two_roads()
    plan = leader_optimal(game, solver=solver)
    rule = affine_incentive(plan, solver=solver)
    report = verify(rule, solver=solver)
    if write_to is not None:
        game.write(write_to)

    def tell() -> None:
        print(f"{STORY}\n")
        show(plan, rule, report)
        print(
            _ONWARD
            if write_to is None
            else f"{write_to} holds the game; change it, then:\n  stackpyomo solve {write_to}"
        )

    return Answer(
        _document(game, [], plan, rule, None, report, {}),
        tell,
        0 if report.ok else 1,
        partial(_page, game, report, {"solver": solver}, None, [], None),
    )


@command("models/grid_prices.py --parameter posted_price=4 --json -", **WORDS)
def solve(
    game: Path,
    plan: PlanOptions,
    rule: RuleOptions,
    parameter: list[str] | None = None,
    certificate_to: Path | None = None,
    contract_to: Path | None = None,
) -> Answer:
    """Find the plan the leader wants, the incentive that makes the followers want it, and verify it.

    A game file with a "target" is held to that plan, seen through its "observe". Where all followers respond there is
    no incentive to design: the leader announces constants, and what is verified is that every follower's answer is its
    best. With --second-best plan and rule are chosen together, and the plan shown is the one that the rule holds.

    Exit code 0: verified. 1: not verified, or there is no incentive.
    """
    rule.require_together(plan)
    loaded, settings = load(game, parameter or [])
    if plan.equilibrium == "all":
        return _equilibria(loaded, plan)
    doubts = [finding for finding in loaded.check() if finding.severity == "warning"]
    try:
        chosen, incentive, refused = _designed(loaded, settings, plan, rule)
    except NoPlan:
        show_findings(doubts)
        raise
    if refused is not None:
        show_findings(doubts)  # on standard error, before the refusal that they may have caused
    report = verify(chosen if incentive is None else incentive, solver=plan.solver)
    if certificate_to is not None:
        report.to_certificate(certificate_to)
    complaints: list[Exception] = [] if refused is None else [refused]
    if contract_to is not None and incentive is not None:
        writable(contract_to, incentive.to_csv())
    elif contract_to is not None:
        complaints.append(InvalidGame(f"{contract_to}: not written, for there is no contract."))
    settled = not loaded.leaders or chosen.quality == "feasible"
    remarks = [] if refused is None else [str(refused)]
    remarks += [_responders(chosen, loaded)] if chosen.responding else []
    remarks += map(str, doubts)

    def tell() -> None:
        if chosen.responding:
            print(_responders(chosen, loaded))
        show(chosen, incentive, report)
        show_findings(doubts if refused is None else ())

    return Answer(
        _document(loaded, doubts, chosen, incentive, refused, report, settings),
        tell,
        0 if report.ok and settled and refused is None else 1,
        partial(_page, loaded, report, plan.search, plan.time_limit, remarks, titled(loaded, game)),
        complaints=complaints,
    )


def _designed(
    game: Game, settings: dict[str, Any], plan: PlanOptions, rule: RuleOptions
) -> tuple[Plan, Incentive | None, NoIncentive | None]:
    """The plan, the rule that holds it, or why there is none; neither where all followers respond."""
    if rule.second_best:
        incentive = rule.best(game, settings["OBSERVE"], plan)
        return incentive.plan, incentive, None
    chosen = plan.plan(game)
    if len(chosen.responding) == len(game.followers):
        return chosen, None, None
    try:
        return chosen, rule.rule(chosen, settings, plan.solver), None
    except NoIncentive as error:
        return chosen, None, error


def _equilibria(game: Game, plan: PlanOptions) -> Answer:
    """All equilibria at the leader's start values; exit code 0 if that is proved."""
    equilibria = nash(game, equilibrium="all", solver=plan.solver, seed=plan.seed, time_limit=plan.time_limit)
    document = {
        "game": game.name,
        "complete": equilibria.complete,
        "reason": equilibria.reason,
        "continuum": [str(piece) for piece in equilibria.continuum],
        "copies": list(equilibria.copies),
        "equilibria": [plan.as_dict() for plan in equilibria],
    }
    return Answer(document, partial(print, equilibria), 0 if equilibria.complete else 1)


def _page(
    game: Game,
    report: Report,
    search: Mapping[str, Any],
    time_limit: float | None,
    remarks: list[str],
    title: str | None,
) -> str:
    """The page; where a rule was verified, with what happens without an incentive, or why that is not known."""
    baseline = None
    if isinstance(report.subject, Incentive):
        try:
            baseline = stackelberg(game, time_limit=_BASELINE if time_limit is None else time_limit, **search)
        except StackpyomoError as error:
            remarks = [
                f"Who gains and who loses is not known, because no plan without an incentive was found: {error}",
                *remarks,
            ]
    return page(report, title=title, baseline=baseline, remarks=remarks, command=typed())


def _document(
    game: Game,
    doubts: list[Finding],
    plan: Plan,
    rule: Incentive | None,
    refused: NoIncentive | None,
    report: Report,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The results as one JSON document."""
    return {
        "game": game.name,
        "findings": [str(finding) for finding in doubts],
        "plan": plan.as_dict(),
        "incentive": None if rule is None else rule.as_dict(),
        "no_incentive": None if refused is None else _refusal(refused),
        "report": report.as_dict(),
        "expected": _expected(settings),
    }


def _refusal(refused: NoIncentive) -> dict[str, Any]:
    """Why there is no incentive, with the deviations that prove it."""
    deviations = [] if refused.deviations is None else refused.deviations.to_dict("records")
    return {"message": str(refused), "reasons": refused.reasons, "deviations": plain(deviations)}


def _expected(settings: Mapping[str, Any]) -> Any:
    """What a model file calls EXPECTED; raises :class:`InvalidGame` for what JSON cannot hold."""
    try:
        return plain(settings.get("EXPECTED"))
    except InvalidGame as error:
        raise InvalidGame(f"EXPECTED: {error}") from None


def _responders(plan: Plan, game: Game) -> str:
    """Who serves the leader and who does not."""
    if len(plan.responding) == len(game.followers):
        return (
            "All followers respond: the leader announces constants, and no incentive is\n"
            "designed. What is verified is that every follower's answer is its best."
        )
    return (
        f"Responding: {listed(plan.responding)}. In the plan they answer optimally without an\n"
        "incentive; one is designed and verified for every follower all the same."
    )


def two_roads() -> Game:
    """City (leader) against driver (follower), as in ``models/two_roads.py``: toll = 4/3 (flow − 0.6) by hand."""
    m = pyo.ConcreteModel(name="two_roads")
    m.toll = pyo.Var(bounds=(-2, 2))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return Game(m, followers=m.driver, name="two roads")
