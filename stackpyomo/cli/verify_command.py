"""``stackpyomo verify``: re-solve the followers against a plan or an incentive that a file holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.incentives import Incentive
from stackpyomo.plans import Plan
from stackpyomo.reporting import page
from stackpyomo.verification import verify

from .app import Answer, command, typed
from .console import show
from .inputs import incentive_from, load, plan_from, titled


@command(
    "models/two_roads.py --incentive solved.json",
    name="verify",
    starts="Starting points for followers not proved convex.",
    time_limit="Seconds for all re-solves; followers not reached stay unknown.",
    tolerance="Largest regret, relative to its scale, that is treated as zero. (default: 1e-6)",
)
def verify_command(
    game: Path,
    plan: Path | None = None,
    incentive: Path | None = None,
    solver: str = "auto",
    starts: int = 8,
    certify: str = "auto",
    tolerance: float | None = None,
    time_limit: float | None = None,
    proof_seconds: float | None = None,
    parameter: list[str] | None = None,
    certificate_to: Path | None = None,
) -> Answer:
    """Re-solve every follower against a plan or an incentive; without one, against the values of the model.

    Against a plan the leader is constant. Exit code 0: nobody gains by leaving. solve --json FILE writes what --plan
    and --incentive read.
    """
    loaded, _ = load(game, parameter or [])
    subject = _subject(loaded, plan, incentive)
    effort: dict[str, Any] = {"solver": solver, "starts": starts, "certify": certify}
    effort |= {} if tolerance is None else {"tolerance": tolerance}
    report = verify(subject, time_limit=time_limit, proof_seconds=proof_seconds, **effort)
    rule = subject if isinstance(subject, Incentive) else None
    shown_plan = subject if isinstance(subject, Plan) else subject.plan
    if certificate_to is not None:
        report.to_certificate(certificate_to)
    document = {
        "game": loaded.name,
        "plan": shown_plan.as_dict(),
        "incentive": None if rule is None else rule.as_dict(),
        "report": report.as_dict(),
    }
    make_page = partial(page, report, title=titled(loaded, game), command=typed())
    return Answer(document, partial(show, shown_plan, rule, report), 0 if report.ok else 1, make_page)


def _subject(game: Game, plan: Path | None, incentive: Path | None) -> Plan | Incentive:
    if plan is not None and incentive is not None:
        raise InvalidGame("--plan, --incentive: give one of them; an incentive has its plan inside.")
    if plan is not None:
        return plan_from(plan, game)
    if incentive is not None:
        return incentive_from(incentive, game)
    try:
        return Plan.from_values(game)
    except InvalidGame as error:
        raise InvalidGame(f"{error} Or pass --incentive or --plan FILE, as solve --json FILE writes it.") from None
