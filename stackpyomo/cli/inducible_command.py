"""``stackpyomo inducible``: whether any announcement, affine or not, can hold a plan."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from stackpyomo.analysis import inducible

from .app import Answer, command
from .console import show_inducible
from .inputs import load, plan_from
from .planning import WORDS, PlanOptions


@command("models/two_roads.py", name="inducible", offers="option json log", **WORDS)
def inducible_command(
    game: Path, search: PlanOptions, plan: Path | None = None, parameter: list[str] | None = None
) -> Answer:
    """Decide for each follower whether any announcement, affine or not, can make the plan its best choice.

    The plan is that of --plan, or the one that solve would hold. A follower's security level is what it can secure
    whatever the leader answers. Exit code 0: possible for all. 1: impossible or undecided for somebody.
    """
    loaded, _ = load(game, parameter or [])
    target = search.plan(loaded) if plan is None else plan_from(plan, loaded)
    table = inducible(target, solver=search.solver)
    rows = json.loads(table.reset_index(names="follower").to_json(orient="records", double_precision=15))
    document = {"game": loaded.name, "plan": target.as_dict(), "followers": rows}
    return Answer(document, partial(show_inducible, table), 0 if (table["verdict"] == "possible").all() else 1)
