"""Families: many followers of a few rules, verified by arrays and by substitution, in any unit; both say the same.

A rule is a formula with constants that every follower has of its own. What is said of each follower is compared between
the two ways, and of some with samples, chords and SciPy in plain arithmetic, which know neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy import sparse

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.games.information import Announcement, read_observation
from stackpyomo.verification import Effort, many, resolved

from .drafts import Box, Draft, Side, evaluated, number
from .ledger import Ledger
from .oracles import Rule, best_deviation, is_bent_down, natural_scale, played

__all__ = ["hunt"]

_SAME = 1e-9
"""Regrets within this share of a follower's scale are the same."""

_ACCURATE = 1e-6
"""What SciPy finds beyond a regret refutes it from this share of the follower's scale on."""

_ALIKE = 0.01
"""Scales within this share are the same."""

_NEAR = 1e-8
"""By how much a reply may miss its rows and bounds, in natural units."""

_LENIENT = 1e-9
"""By how much samples may miss a row."""

_LOOKED_AT = 3
"""Followers of a game whose costs are sampled."""

_TAIL = """
import math
from scipy import sparse
from stackpyomo.core import undisturbed
from stackpyomo.games.information import Announcement, read_observation
from stackpyomo.verification import Effort, many, resolved
m.mean = pyo.Constraint(expr=z == ({total})/{count})
game = sp.Game(m, followers=[m.component(name) for name in game.followers], aggregates=[m.mean])
values = {{name: var.value for name, var in game.variables_by_name.items()}}
gain = sparse.csc_array({gain})
announced = Announcement(values, math.nan, {leader}, read_observation(game, "actions").signals, gain)
many.MANY = 1
for together in (True, False):
    with undisturbed(), game.unchanged():
        report = resolved(game, announced, set(game.followers), Effort(starts=1, certify="convex", together=together))
    print(report.certificate.to_dict(), report.regret.to_dict(), report.scale.to_dict(), sep="\\n")
"""

Term = Callable[[Callable[[float, float], str], str, str, str], str]

TERMS: list[Term] = [
    lambda n, x, y, p: f"{n(0.3, 3)}*({x} - {n(-1, 2)})**2",
    lambda n, x, y, p: f"{n(0.3, 3)}*({x} - {n(-1, 2)})**2 + {n(0.3, 2)}*({y} - {n(0, 1)})**2",
    lambda n, x, y, p: f"{n(-0.5, 0.5)}*{x}*{y} + {n(1, 2)}*{x}**2 + {n(1, 2)}*{y}**2",
    lambda n, x, y, p: f"exp({n(-1, 1)}*{x} - {n(0, 1)})",
    lambda n, x, y, p: f"({x} + {y})*exp(({x} + {y} - {n(0, 2)})/{n(2, 9)})",
    lambda n, x, y, p: f"{n(0.2, 2)}*({x} + {n(0.1, 4)})**{n(1.1, 2.9)}",
    lambda n, x, y, p: f"{n(0.2, 2)}*{x}**{n(1.1, 2.9)}",
    lambda n, x, y, p: f"{n(-2, -0.2)}*{x}**{n(0.2, 0.9)}",
    lambda n, x, y, p: f"{n(-2, -0.2)}*log({x} + {n(0, 1)})",
    lambda n, x, y, p: f"{n(0.2, 2)}/({x} + {n(0, 1)})",
    lambda n, x, y, p: f"{n(0.2, 2)}*{x}*log({x})",
    lambda n, x, y, p: f"{n(0.2, 2)}*sqrt({n(0.1, 1)} + ({x} - {y})**2)",
    lambda n, x, y, p: f"{n(0.2, 2)}*({x} - {n(0, 1)})**4",
    lambda n, x, y, p: f"{n(-1, 1)}*sin({n(0.5, 3)}*{x})",
    lambda n, x, y, p: f"{n(0.2, 1)}*abs({x} - {n(0, 1)})",
    lambda n, x, y, p: f"-({n(2, 9)} - {n(0.2, 1)}*{x} - {n(0.2, 1)}*z)*{x}",
]
TEMPTATIONS: list[Term] = [
    lambda n, x, y, p: f"{p}*{x}",
    lambda n, x, y, p: f"{n(0.3, 2)}*{p}*{x}",
    lambda n, x, y, p: f"{n(0.2, 1)}*({p} + {n(-1, 1)}*{x})**2",
    lambda n, x, y, p: f"exp({n(0.1, 0.4)}*{p} + {n(-1, 1)}*{x})",
    lambda n, x, y, p: f"{n(0.1, 1)}*{p}*({x} + {y})",
    lambda n, x, y, p: f"{n(0.1, 1)}*z*{x}",
]


@dataclass
class Crowd:
    """A game of many as text; ``gain`` (leader × actions) is what is announced, None: constants."""

    draft: Draft
    actions: list[list[str]]
    leader: list[str]
    gain: Any
    rules: list[int] = field(default_factory=list)
    """The number of each follower's rule."""

    @property
    def everybody(self) -> list[str]:
        return [name for own in self.actions for name in own]

    def game(self) -> sp.Game:
        """With the average of all actions as aggregate."""
        m = self.draft.model()
        count = len(self.actions)
        blocks = [m.component(f"f{k}") for k in range(count)]
        acts = [block.component(name) for block, own in zip(blocks, self.actions, strict=True) for name in own]
        m.mean = pyo.Constraint(expr=m.z == pyo.quicksum(acts) / count)
        return sp.Game(m, followers=blocks, aggregates=[m.mean])

    def announcement(self, game: sp.Game) -> Announcement:
        values = {name: float(var.value) for name, var in game.variables_by_name.items()}
        if self.gain is None:
            return Announcement(values, math.nan)
        return Announcement(
            values, math.nan, self.leader, read_observation(game, "actions").signals, sparse.csc_array(self.gain)
        )

    def script(self) -> str:
        gain = np.zeros((len(self.leader), len(self.everybody))) if self.gain is None else self.gain
        total, count = " + ".join(self.everybody), len(self.actions)
        return self.draft.script(_TAIL.format(total=total, count=count, gain=gain.tolist(), leader=self.leader))

    def side(self, k: int) -> Side:
        """Follower k where the average moves along with what it does."""
        side, plan = self.draft.followers[k], self.draft.start
        own = self.actions[k]
        moved = f"({plan['z']!r} + ({' + '.join(own)} - {sum(plan[n] for n in own)!r})/{len(self.actions)})"
        return replace(side, cost=re.sub(r"\bz\b", moved, side.cost))

    def rule(self) -> Rule | None:
        plan = self.draft.start
        offset = {name: plan[name] for name in self.leader}
        return None if self.gain is None else Rule(self.draft, self.leader, self.everybody, offset, self.gain, plan)


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One crowd, verified both ways."""
    crowd = drawn(random)
    script = crowd.script()
    game = crowd.game()
    announced = crowd.announcement(game)
    reports = []
    try:
        with _from_one_on(), undisturbed(), game.unchanged():
            rows = many.settled(game, announced, set(game.followers), _effort(together=True))
            names = {row.follower.name for row in rows}
            ledger.claim(f"settled by {'arrays' if names else 'substitution alone'}")
            reports = [resolved(game, announced, names, _effort(together=way)) for way in (True, False) if names]
    except sp.StackpyomoError as error:
        ledger.claim("the witness agrees", "read into arrays" not in str(error), str(error), script)
        raise
    if not reports:
        return
    new, old = reports
    for _ in {crowd.rules[int(name[1:])] for name in old.regret.index}:
        ledger.claim("families compared")
    for name in old.regret.index:
        _compared(crowd, name, new, old, ledger, script)
    for name in random.permutation(list(old.regret.index))[:_LOOKED_AT].tolist():
        _judged(crowd, int(name[1:]), new, random, ledger, script)


def _effort(*, together: bool) -> Effort:
    return Effort(starts=1, certify="convex", together=together)


@contextmanager
def _from_one_on() -> Iterator[None]:
    """Arrays settle however few there are."""
    before = many.MANY
    many.MANY = 1  # type: ignore[misc]
    try:
        yield
    finally:
        many.MANY = before  # type: ignore[misc]


def _compared(crowd: Crowd, name: str, new: sp.Report, old: sp.Report, ledger: Ledger, script: str) -> None:
    """What both ways say of one follower; where a solver came less far than arrays did, their reply has to be real."""
    if old.certificate[name] != "convex":
        ledger.claim("convex by arrays alone")
        return
    ledger.claim("convex both ways", new.certificate[name] == "convex", f"{name}: {new.certificate[name]}", script)
    room = _SAME * max(float(old.scale[name]), abs(float(old.objective[name])))
    more = float(new.regret[name]) - float(old.regret[name])
    told = f"{name}: regrets {new.regret[name]!r} and {old.regret[name]!r}, scale {old.scale[name]:.3g}"
    if more > room:
        much = "" if more <= _ACCURATE * float(old.scale[name]) else ", by much"
        ledger.claim(f"more regret by arrays{much}", _saves(crowd, int(name[1:]), new)[0], told, script)
        return
    ledger.claim("the same regret", -more <= room, told, script)
    if float(old.regret[name]) > 1e3 * room:  # it weighs by how far the reply goes, which a flat cost hardly tells
        scales = f"{name}: {new.scale[name]!r} and {old.scale[name]!r}"
        same = abs(new.scale[name] - old.scale[name]) <= _ALIKE * old.scale[name]
        ledger.claim("the same scale", bool(same), scales, script)


def _saves(crowd: Crowd, k: int, report: sp.Report) -> tuple[bool, str]:
    """Whether the reply is one, and saves what is said."""
    name, side, plan = f"f{k}", crowd.side(k), crowd.draft.start
    names = list(side.boxes)
    reply = {n: float(report.best_response[name][f"{name}.{n}"]) for n in names}
    levels = played(side, crowd.rule(), plan)(np.array([[plan[n] for n in names], list(reply.values())]))
    size = max(float(report.scale[name]), abs(float(levels[0])))
    saved, regret = float(levels[0] - levels[1]), float(report.regret[name])
    fair = bool(side.is_feasible({**plan, **reply}, _NEAR))
    return fair and abs(saved - regret) <= _SAME * size, f"{name}: {saved!r} is saved, a regret of {regret!r}, {fair}"


def _judged(crowd: Crowd, k: int, report: sp.Report, random: np.random.Generator, ledger: Ledger, script: str) -> None:
    """What is proved of a follower, against samples, chords and SciPy."""
    name = f"f{k}"
    side, rule, plan = crowd.side(k), crowd.rule(), crowd.draft.start
    cost, names = played(side, rule, plan), list(side.boxes)
    size = max(float(report.scale[name]), abs(float(cost(np.array([[plan[n] for n in names]]))[0])))
    ledger.claim("the reply saves the regret", *_saves(crowd, k, report), script)
    units = [max(1e-3 * (b[1] - b[0]), abs(plan[n])) if np.isfinite(b).all() else max(abs(plan[n]), 1e-9)
             for n, b in side.boxes.items()]  # fmt: skip
    strict = replace(side, rows=[f"{row} + {_LENIENT!r}" for row in side.rows])  # near a pole that is worth something
    best = best_deviation(strict, rule, plan, random, units)
    stake = max(natural_scale(side, plan, random, units), float(report.scale[name]))
    beaten = best.gain - float(report.regret[name]) > _ACCURATE * stake + _SAME * size
    ledger.claim("nothing saves more", not beaten, f"{name}: {best.gain!r}, not {report.regret[name]!r} {best}", script)
    if not np.isfinite(list(side.boxes.values())).all() or side.rows:
        return
    ends = np.array(list(side.boxes.values())).T
    corners = ends[0] + (ends[1] - ends[0]) * random.random((200, len(names)))
    points = dict(zip(names, corners.T, strict=True))
    if rule is None or not any(np.any(level != rule_level) for level, rule_level in _stopped(rule, plan, points)):
        bent = is_bent_down(cost, list(side.boxes.values()), random)
        ledger.claim("no chord is below", bent is None or bent[0] <= _SAME * size, f"{name}: {bent}", script)


def _stopped(rule: Rule, plan: Any, points: Any) -> Iterator[tuple[Any, Any]]:
    """(the answer within the bounds, the formula) for every leader variable."""
    values = {**plan, **points}
    inside, formula = rule.answer(values), replace(rule, cut=False).answer(values)
    yield from ((inside[name], formula[name]) for name in rule.leader)


# --- games ------------------------------------------------------------------------------------------------------------


def drawn(random: np.random.Generator) -> Crowd:
    """Eight to two dozen followers of one to eight rules."""
    leaders = {f"p{i}": (-w, w) for i, w in enumerate(random.choice([0.5, 2.0, 50.0], int(random.integers(1, 3))))}
    start = {n: float(random.uniform(-0.4, 0.4)) for n in leaders}
    size, width = int(random.integers(8, 25)), int(random.choice([1, 2, 2, 3]))
    rules = [_rule(random, list(leaders), width) for _ in range(random.integers(1, 9))]
    boxes = [_box(random) for _ in range(width)]
    actions = [[f"a{k}_{j}" for j in range(width)] for k in range(size)]
    followers, chosen = [], list[int]()
    rowed, flipped = float(random.choice([0.0, 0.0, 0.7, 1.0])), random.random() < 0.3
    for own in actions:
        mine = {n: box if random.random() < 0.8 else _box(random) for n, box in zip(own, boxes, strict=True)}
        start |= {n: _level(random, box) for n, box in mine.items()}
        chosen.append(int(random.integers(len(rules))))
        cost = rules[chosen[-1]](own)
        rows = [_row(random, own, start)] if random.random() < rowed else []
        followers.append(Side(mine, f"-({cost})" if flipped else cost, rows, maximize=flipped))
    everybody = [n for own in actions for n in own]
    start["z"] = sum(start[n] for n in everybody) / size
    goal = " + ".join(f"{p}**2" for p in leaders)
    boxes_of_leader = {**leaders, "z": (-math.inf, math.inf)}
    draft = Draft(Side(boxes_of_leader, goal), followers, start)
    gain = None
    if random.random() < 0.6:
        gain = random.uniform(-1, 1, (len(leaders), len(everybody))) * 10.0 ** random.uniform(-2, 0.3)
        gain *= random.random(gain.shape) < random.choice([1.0, 0.3])
    return _in_units(random, Crowd(draft, actions, list(leaders), gain, chosen))


def _in_units(random: np.random.Generator, crowd: Crowd) -> Crowd:
    """The same crowd in other units of actions, prices and money."""
    if random.random() < 0.5:
        return crowd
    action, price, money = (10.0 ** int(random.integers(-7, 8)) for _ in range(3))
    units = {**dict.fromkeys([*crowd.everybody, "z"], action), **dict.fromkeys(crowd.leader, price)}
    draft = crowd.draft.in_units(units, [1.0, *[money] * len(crowd.actions)])
    total = sum(draft.start[n] for n in crowd.everybody)
    draft.start["z"] = total / len(crowd.actions)
    return replace(crowd, draft=draft, gain=None if crowd.gain is None else crowd.gain * price / action)


def _rule(random: np.random.Generator, leaders: list[str], width: int) -> Callable[[list[str]], str]:
    """own names → a cost with constants of its own."""
    chosen = [TERMS[i] for i in random.integers(len(TERMS), size=int(random.integers(1, 4)))]
    chosen += [TEMPTATIONS[i] for i in random.integers(len(TEMPTATIONS), size=int(random.integers(1, 3)))]
    if random.random() < 0.7:
        chosen.append(TERMS[1])
    places = [(t, *random.integers(width, size=2), str(random.choice(leaders))) for t in chosen]

    def constant(low: float, high: float) -> str:
        value = float(random.uniform(low, high))
        return number(value if random.random() < 0.9 else float(round(value)))

    def written(own: list[str]) -> str:
        return " + ".join(term(constant, own[i], own[j], p) for term, i, j, p in places)

    return written


def _box(random: np.random.Generator) -> Box:
    top = float(random.uniform(0.5, 3))
    shapes = [(0.0, top), (0.0, top), (-1.0, top), (1e-6, top), (0.2, 0.2 + top), (0.0, math.inf)]
    shapes += [(-math.inf, math.inf), (0.0, 50.0 * top)]
    return shapes[int(random.integers(len(shapes)))]


def _level(random: np.random.Generator, box: Box) -> float:
    """Somewhere in the box, at times on its edge."""
    low, high = box[0] if math.isfinite(box[0]) else -1.0, box[1] if math.isfinite(box[1]) else 2.0
    inside = float(random.uniform(low, min(high, low + 3.0)))
    return low if random.random() < 0.15 and math.isfinite(box[0]) else inside


def _row(random: np.random.Generator, own: list[str], start: dict[str, float]) -> str:
    """A row that holds on the plan, straight or bent."""
    form = " + ".join(f"{number(float(random.uniform(0.2, 2)))}*{n}" for n in own)
    if random.random() < 0.3:
        form = " + ".join(f"{n}**2" for n in own)
    slack = float(random.choice([0.0, random.uniform(0.05, 1)]))
    return f"{form} - {number(float(evaluated(form, start)) + slack)}"
