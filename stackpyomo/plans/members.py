"""Members: whether it is shown that nothing is lost where all members of a population act alike.

A population has one action, and a plan is one in which all n members take it. Let them differ, and take their average:

    no aggregate changes,   J0(average) ≤ average of J0   and   rows hold   where both are convex in these actions,

and a member who responds is content with it where its own cost is, too (Jensen). Elsewhere members who differ may be
better for the leader, or an equilibrium that no plan of the population shows: of two members with the cost −(u − ½)² on
[−1, 1] one may go left and one right.
"""

from __future__ import annotations

from collections.abc import Container

from stackpyomo.core.expressions import is_convex_problem, variables_in
from stackpyomo.games import Game


def perhaps_unlike(game: Game, responding: Container[str], *, leader: bool = True) -> list[str]:
    """Names of populations of which that is not shown.

    responding: names of those who answer the leader; leader: whether it matters what they are worth to it.
    """
    leaders = [p for p in (game.leaders or {"": game.leader}).values() if leader and p.objective is not None]
    doubtful = []
    for name, follower in game.followers.items():
        if follower.size == 1 or not follower.variables:
            continue
        own = {id(v) for v in follower.variables}
        rows = [*follower.constraints, *game.leader.constraints, *game.shared]
        rows = [row for row in rows if any(id(v) in own for v in variables_in(row.body))]
        players = [*leaders, *([follower] if name in responding else [])]
        alike = all(is_convex_problem(player.cost, rows, follower.variables) for player in players)
        if follower.integers or not alike:
            doubtful.append(name)
    return doubtful
