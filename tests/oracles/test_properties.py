"""Random convex games whose equilibria are known, each in many ways of writing it down.

Oracles, none of which is the package's: all active sets of affine followers, enumerated and solved as functions of the
leader's variables, with the leader's quadratic minimised over each piece; equilibria that the data are built around
(costs with exp, log, powers; curved rows); a dense search with bisection for one nonlinear follower; vertices of
LP-LP games; thresholds of toll setting.

A *writing* changes nothing about a game: senses of leader and followers, positive factors and constants of objectives,
units and origins of variables (also mirrored), the order of followers, doubled rows, rows and equalities written the
other way round, bounds as rows, idle and fixed variables.

**Counting.** One game is one set of players that somebody solved and an oracle judged: every writing of every example
counts, also where several stand side by side in one model and one call solves them all (``_TOGETHER``; their answers
are judged one by one). Games of a mutated or an impossible kind count as one each. ``test_games_are_counted`` adds up.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import stackpyomo as sp
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")

_TOGETHER = 8
"""Games side by side in one model."""
_EXACT = 1e-6
"""Largest relative error of a value or an objective."""
_REGRET = 1e-5
"""Largest regret, relative to max(1, |J|, |slope|), of a follower in a plan that is called verified."""
_COUNT: Counter[str] = Counter()


def examples(number: int, *, shrink: bool = True) -> Any:
    """The settings of every test: the same examples on every machine, however slow."""
    return settings(
        max_examples=drawn(number),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# --- games ----------------------------------------------------------------------------------------------------------


@dataclass
class Affine:
    """J_k = φ(u_k) + ½ u_k·M_kk u_k + u_k·(M_k,others u + C x + d + pull z), z = weights·u; rows A u + B x ≤ h (or =).

    One leader of p variables, n actions, ``owner`` of each. φ (``bends``) and ``discs`` are for games built around
    their equilibrium. The leader: ½ y·W y + t·y, y = (x, u), rows ``over`` (y) ≤ ``limit``.
    """

    owner: Any
    matrix: Any
    lead: Any
    shift: Any
    lower: Any
    upper: Any
    rows: Any
    row_lead: Any
    level: Any
    row_owner: Any
    equal: Any
    x: Any
    x_lower: Any
    x_upper: Any
    pull: Any
    weights: Any
    members: Any
    goal: Any
    slope: Any
    over: Any
    limit: Any
    bends: list[tuple[str, float]] = field(default_factory=list)
    discs: list[tuple[int, Any, float]] = field(default_factory=list)
    """(owner, centre, radius²): Σ (u − centre)² ≤ radius² over the owner's actions."""

    @property
    def crowd(self) -> bool:
        """There is an aggregate."""
        return bool(np.any(self.pull))

    @property
    def felt(self) -> Any:
        """d(own gradient)/du of all actions, own share of the aggregate included."""
        share = self.weights / self.members[self.owner]
        return self.matrix + np.outer(self.pull, self.weights) + np.diag(self.pull * share)

    def sides(self) -> tuple[Any, Any, Any, Any, Any]:
        """All rows and bounds as A u + B x ≤ h: (A, B, h, owner, equality)."""
        eye, none = np.eye(len(self.owner)), np.zeros((len(self.owner), len(self.x)))
        low, high = np.isfinite(self.lower), np.isfinite(self.upper)
        return (
            np.vstack([self.rows, -eye[low], eye[high]]),
            np.vstack([self.row_lead, none[low], none[high]]),
            np.concatenate([self.level, -self.lower[low], self.upper[high]]),
            np.concatenate([self.row_owner, self.owner[low], self.owner[high]]).astype(int),
            np.concatenate([self.equal, np.zeros(low.sum() + high.sum(), dtype=bool)]),
        )

    def cost(self, u: Any, x: Any) -> Any:
        """J_k of all followers (numbers)."""
        z = self.weights @ u
        each = [bend(kind, c * v) if c else 0.0 for (kind, c), v in zip(self.bends, u, strict=False)] or 0.0
        same = self.owner[:, None] == self.owner[None, :]
        own, others = (self.matrix * same) @ u, (self.matrix * ~same) @ u
        terms = each + u * (own / 2 + others + self.lead @ x + self.shift + self.pull * z)
        return np.array([terms[self.owner == k].sum() for k in range(len(self.members))])


def bend(kind: str, u: Any) -> Any:
    """A convex function of one action, |u| ≤ 2, of a number or an expression."""
    f: Any = np if isinstance(u, (float, np.ndarray)) else pyo
    return {
        "exp": lambda: f.exp(u),
        "quartic": lambda: u**4,
        "barrier": lambda: -f.log(u + 3),
        "root": lambda: f.sqrt(1 + u**2),
        "inverse": lambda: 1 / (u + 3),
        "soft": lambda: f.log(1 + f.exp(u)),
        "entropy": lambda: (u + 3) * f.log(u + 3),
        "cosh": lambda: f.cosh(u),
    }[kind]()


def bend_slope(kind: str, u: Any) -> Any:
    """Its derivative."""
    return {
        "exp": lambda: np.exp(u),
        "quartic": lambda: 4 * u**3,
        "barrier": lambda: -1 / (u + 3),
        "root": lambda: u / np.sqrt(1 + u**2),
        "inverse": lambda: -1 / (u + 3) ** 2,
        "soft": lambda: 1 / (1 + np.exp(-u)),
        "entropy": lambda: np.log(u + 3) + 1,
        "cosh": lambda: np.sinh(u),
    }[kind]()


_BENDS = ["exp", "quartic", "barrier", "root", "inverse", "soft", "entropy", "cosh"]


# --- oracles --------------------------------------------------------------------------------------------------------


@dataclass
class Pieces:
    """Followers' answers by active set: u = u0 + U x wherever a + b x ≥ 0."""

    u0: Any
    slopes: Any
    a: Any
    b: Any


def pieces(felt: Any, lead: Any, shift: Any, sides: tuple[Any, ...], masked: Any) -> Pieces:
    """Every active set with independent rows, solved; ``masked``: the part of each row that its owner moves."""
    rows, row_lead, level, _, equal = sides
    n, p = lead.shape
    always, free = np.flatnonzero(equal), np.flatnonzero(~equal)
    found = []
    for size in range(n - len(always) + 1):
        sets = [[*always, *more] for more in itertools.combinations(free, size)]
        if not sets:
            continue
        chosen, count = np.array(sets, dtype=int), len(sets[0])
        kkt = np.zeros((len(chosen), n + count, n + count))
        kkt[:, :n, :n] = felt
        kkt[:, :n, n:] = masked[chosen].transpose(0, 2, 1)
        kkt[:, n:, :n] = rows[chosen]
        right = np.zeros((len(chosen), n + count, 1 + p))
        right[:, :n, 0], right[:, :n, 1:] = -shift, -lead
        right[:, n:, 0], right[:, n:, 1:] = level[chosen], -row_lead[chosen]
        regular = np.abs(np.linalg.det(kkt)) > 1e-7
        solved = np.linalg.solve(kkt[regular], right[regular])
        u, force = solved[:, :n], solved[:, n + len(always) :]
        room = np.repeat(-(rows @ u), 1, axis=0)
        room[:, :, 0] += level
        room[:, :, 1:] -= row_lead
        room = room[:, ~equal]
        signs = np.concatenate([room, force, np.zeros((len(u), n - force.shape[1], 1 + p))], axis=1)
        found.append((u, signs))
    u = np.concatenate([u for u, _ in found])
    signs = np.concatenate([s for _, s in found])
    return Pieces(u[:, :, 0], u[:, :, 1:], signs[:, :, 0], signs[:, :, 1:])


def pieces_of(game: Affine) -> Pieces:
    """The Nash answers of all followers."""
    sides = game.sides()
    return pieces(game.felt, game.lead, game.shift, sides, sides[0] * (sides[3][:, None] == game.owner[None, :]))


def equilibrium(game: Affine) -> Any:
    """The answer at game.x; None if there is none. More than one is a fault of the generator."""
    every = pieces_of(game)
    good = ((every.a + every.b @ game.x) >= -1e-9).all(axis=1)
    if not good.any():
        return None
    answers = (every.u0 + every.slopes @ game.x)[good]
    assert np.ptp(answers, axis=0).max() < 1e-6
    return answers[0]


def best_for_leader(game: Affine) -> tuple[float, Any, bool]:
    """(value, (x, u), whether nothing far from it is nearly as good); value inf where no answer keeps his rows."""
    every, p = pieces_of(game), len(game.x)
    lift = np.concatenate([np.tile(np.eye(p), (len(every.u0), 1, 1)), every.slopes], axis=1)
    base = np.concatenate([np.zeros((len(every.u0), p)), every.u0], axis=1)
    a = np.hstack(
        [
            every.a,
            game.limit - base @ game.over.T,
            np.tile(-game.x_lower, (len(base), 1)),
            np.tile(game.x_upper, (len(base), 1)),
        ]
    )
    b = np.concatenate(
        [
            every.b,
            -np.einsum("ry,kyp->krp", game.over, lift),
            np.tile(np.eye(p), (len(base), 1, 1)),
            np.tile(-np.eye(p), (len(base), 1, 1)),
        ],
        axis=1,
    )
    real = np.isfinite(a).all(axis=0)
    a, b = a[:, real], b[:, real]
    hess = np.einsum("kyp,yz,kzq->kpq", lift, game.goal, lift)
    grad = np.einsum("kyp,ky->kp", lift, base @ game.goal + game.slope)
    points = []
    for size in range(p + 1):
        for chosen in itertools.combinations(range(a.shape[1]), size):
            kkt = np.zeros((len(base), p + size, p + size))
            kkt[:, :p, :p], kkt[:, p:, :p] = hess, b[:, chosen]
            kkt[:, :p, p:] = b[:, chosen].transpose(0, 2, 1)
            right = np.concatenate([-grad, -a[:, chosen]], axis=1)[:, :, None]
            regular = np.abs(np.linalg.det(kkt)) > 1e-9
            x = np.full((len(base), p), math.nan)
            x[regular] = np.linalg.solve(kkt[regular], right[regular])[:, :p, 0]
            good = regular & ((a + np.einsum("krp,kp->kr", b, np.nan_to_num(x))) >= -1e-8).all(axis=1)
            points.append(
                np.concatenate([x[good], every.u0[good] + np.einsum("knp,kp->kn", every.slopes[good], x[good])], axis=1)
            )
    y = np.concatenate(points)
    if not len(y):
        return math.inf, None, False
    values = np.einsum("ky,yz,kz->k", y, game.goal, y) / 2 + y @ game.slope
    best = int(values.argmin())
    near = y[values <= values[best] + 1e-4 * max(1.0, abs(values[best]))]
    return float(values[best]), y[best], bool(np.abs(near - y[best]).max() < 1e-5)


def regrets(game: Affine, u: Any, x: Any) -> Any:
    """What each follower gains by its best deviation, relative to max(1, |J|, |slope|); bends and discs excluded."""
    rows, row_lead, level, owners, equal = game.sides()
    slope = (
        game.matrix @ u
        + game.lead @ x
        + game.shift
        + game.pull * (game.weights @ u + u * game.weights / game.members[game.owner])
    )
    costs, lost = game.cost(u, x), []
    share = game.pull * game.weights / game.members[game.owner]
    for k in range(len(game.members)):
        mine, ours = game.owner == k, owners == k
        hess = game.matrix[np.ix_(mine, mine)] + 2 * np.diag(share[mine])
        left = np.maximum(level - rows @ u - row_lead @ x, 0.0)[ours]
        side = rows[np.ix_(ours, mine)]
        none = np.zeros((mine.sum(), 1))
        every = pieces(hess, none, slope[mine], (side, np.zeros((len(side), 1)), left, None, equal[ours]), side)
        good = (every.a >= -1e-8).all(axis=1)
        step = every.u0[good]
        gain = -(np.einsum("ki,ij,kj->k", step, hess, step) / 2 + step @ slope[mine])
        lost.append(gain.max() / max(1.0, abs(costs[k]), np.abs(slope[mine]).max()))
    return np.array(lost)


# --- writings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writing:
    """How a game is written down."""

    seed: int = 0
    senses: bool = False
    factors: bool = False
    units: bool = False
    order: bool = False
    twice: bool = False
    turned: bool = False
    boxed: bool = False
    idle: bool = False


PLAIN = Writing()
writings = st.builds(Writing, st.integers(0, 999), *[st.booleans()] * 8)


@dataclass
class Pen:
    """Writes Vars, rows and objectives on Blocks, as the writing says."""

    how: Writing

    def __post_init__(self) -> None:
        self.random = random.Random(self.how.seed)
        self.names: dict[tuple[str, int], tuple[Any, float, float]] = {}

    def maybe(self, wanted: bool) -> bool:
        """A coin where the writing wants this at all."""
        return wanted and self.random.random() < 0.7

    def var(self, block: Any, key: tuple[str, int], low: float, high: float, value: float | None = None) -> Any:
        """The quantity as an expression of a new Var: origin + unit · Var."""
        unit, origin, low, high = 1.0, 0.0, float(low), float(high)
        if self.maybe(self.how.units):
            unit, origin = self.random.choice([-1.0, 0.25, 10.0, -3.0]), self.random.choice([0.0, 1.5, -4.0])
        ends = sorted([(low - origin) / unit, (high - origin) / unit])
        boxed = self.maybe(self.how.boxed) and key[0] == "u"
        limits = [None if boxed or math.isinf(end) else end for end in ends]
        start = None if value is None else (float(value) - origin) / unit
        var = pyo.Var(bounds=tuple(limits), initialize=start)
        block.add_component(f"{key[0]}{key[1]}", var)
        self.names[key] = (var, unit, origin)
        real = origin + unit * var if (unit, origin) != (1.0, 0.0) else var
        if boxed and (math.isfinite(low) or math.isfinite(high)):
            sides = [None if math.isinf(low) else low, None if math.isinf(high) else high]
            if low == high:
                self.row(block, f"box{key[1]}", real, high, equal=True, once=True)
            elif None in sides or self.maybe(True):
                if sides[0] is not None:
                    self.row(block, f"floor{key[1]}", -real, -low)
                if sides[1] is not None:
                    self.row(block, f"ceiling{key[1]}", real, high)
            else:
                block.add_component(f"box{key[1]}", pyo.Constraint(expr=(low - origin, real - origin, high - origin)))
        return real

    def row(self, block: Any, name: str, body: Any, level: float, *, equal: bool = False, once: bool = False) -> None:
        """body ≤ level (or =), in one of its many forms, sometimes twice."""
        level = float(level)
        for copy in range(2 if self.maybe(self.how.twice and not once) else 1):
            factor = self.random.choice([0.5, 1.0, 7.0]) if copy else 1.0
            left, right = factor * body, factor * level
            turned = self.maybe(self.how.turned)
            form = self.random.randrange(3) if turned else 0
            if equal:
                relation = [left == right, -left == -right, right == left][form]
            else:
                relation = [left <= right, -left >= -right, left - right <= 0][form]
            block.add_component(f"{name}_{copy}", pyo.Constraint(expr=relation))

    def objective(self, block: Any, cost: Any) -> None:
        """min cost, in one of its many forms."""
        sign = -1.0 if self.maybe(self.how.senses) else 1.0
        if self.maybe(self.how.factors):
            cost = self.random.choice([0.01, 0.3, 20.0]) * cost + self.random.choice([0.0, 5.0])
        if self.maybe(self.how.idle):
            block.one = pyo.Var(initialize=1.0)
            block.one.fix()
            block.idle = pyo.Var(bounds=(0, 1))
            cost = block.one * cost
        block.objective = pyo.Objective(expr=sign * cost, sense=pyo.minimize if sign > 0 else pyo.maximize)

    def shuffled(self, items: list[Any]) -> list[Any]:
        """The items in another order, if the writing wants one."""
        return self.random.sample(items, len(items)) if self.how.order else items

    def read(self, plan: sp.Plan, kind: str) -> Any:
        """The values of "x" or "u" in the game's own units."""
        keys = sorted(key for key in self.names if key[0] == kind)
        return np.array([plan.value(v) * unit + origin for v, unit, origin in (self.names[k] for k in keys)])


@dataclass
class Written:
    """A game on a Block: what ``sp.Game`` needs, and the pen to read a plan with."""

    pen: Pen
    followers: list[Any]
    blocks: dict[int, Any]
    aggregates: list[Any]


def written(home: Any, game: Affine, how: Writing, *, goal: bool = True) -> Written:
    """The game, written on ``home``."""
    pen, n = Pen(how), len(game.owner)
    x = [pen.var(home, ("x", i), *b) for i, b in enumerate(zip(game.x_lower, game.x_upper, game.x, strict=True))]
    blocks: dict[int, Any] = {}
    for k in pen.shuffled(list(range(len(game.members)))):
        blocks[k] = pyo.Block()
        home.add_component(f"f{k}", blocks[k])
    u: list[Any] = [None] * n
    for i in pen.shuffled(list(range(n))):
        u[i] = pen.var(blocks[game.owner[i]], ("u", i), game.lower[i], game.upper[i])
    aggregates, z = [], 0.0
    if game.crowd:
        home.z = z = pyo.Var()
        total = dot(game.weights, u)
        home.mean = pyo.Constraint(expr=total == z if pen.maybe(how.turned) else z == total)
        aggregates = [home.mean]
    for k, block in blocks.items():
        mine = np.flatnonzero(game.owner == k)
        pinned = any(game.lower[i] == game.upper[i] for i in mine) and any(game.equal[game.row_owner == k])
        cost = 0.0
        for i in mine:
            near = dot(game.matrix[i] / np.where(game.owner == k, 2, 1), u)
            cost = cost + u[i] * (near + dot(game.lead[i], x) + float(game.shift[i]) + float(game.pull[i]) * z)
            if game.bends and game.bends[i][1]:
                kind, c = game.bends[i]
                cost = cost + bend(kind, c * u[i])
        pen.objective(block, cost)
        for r in np.flatnonzero(game.row_owner == k):
            body = dot(game.rows[r], u) + dot(game.row_lead[r], x)
            if not isinstance(body, float):
                pen.row(block, f"row{r}", body, game.level[r], equal=bool(game.equal[r]), once=bool(pinned))
        for number, (owner, centre, radius) in enumerate(game.discs):
            if owner == k:
                pen.row(block, f"disc{number}", sum((u[i] - float(centre[i])) ** 2 for i in mine), radius)
    if goal:
        y = [*x, *u]
        spread = sum(y[i] * dot(game.goal[i] / 2, y) for i in range(len(y)) if game.goal[i].any())
        pen.objective(home, spread + dot(game.slope, y))
        for r in range(len(game.limit)):
            pen.row(home, f"over{r}", dot(game.over[r], y), game.limit[r])
    players = [blocks[k] if game.members[k] == 1 else sp.Population(blocks[k], size(game.members[k])) for k in blocks]
    return Written(pen, pen.shuffled(players), blocks, aggregates)


def size(members: float) -> float:
    return members if math.isinf(members) else int(members)


def dot(weights: Any, terms: list[Any]) -> Any:
    """Σ weights · terms without the zeros."""
    return sum((float(w) * t for w, t in zip(weights, terms, strict=True) if w), 0.0)


def solo(game: Affine, how: Writing, *, goal: bool = True) -> tuple[sp.Game, Written]:
    """The game in a model of its own."""
    m = pyo.ConcreteModel(name="game")
    text = written(m, game, how, goal=goal)
    return sp.Game(m, text.followers, aggregates=text.aggregates), text


# --- random games ---------------------------------------------------------------------------------------------------


class Deck:
    """Small rationals dealt one by one: ties and degenerate points are frequent."""

    def __init__(self, cards: list[int]) -> None:
        self.cards = iter(cards)

    def deal(self, *shape: int, unit: float = 0.25) -> Any:
        """An array of multiples of the unit, −8 to 8 of them."""
        return np.array([next(self.cards) * unit for _ in range(math.prod(shape))]).reshape(shape)


def decks(cards: int) -> Any:
    return st.lists(st.integers(-8, 8), min_size=cards, max_size=cards).map(Deck)


@st.composite
def games(
    draw: Any,
    *,
    sizes: Any = ((1,), (2,), (1, 1), (1, 2), (1, 1, 1)),
    leaders: int = 1,
    crowds: bool | None = None,
    rows: int = 2,
    coupled: bool = False,
    overs: int = 1,
) -> Affine:
    """Strongly monotone games. ``coupled``: the second follower's rows hold actions of the first."""
    counts = draw(st.sampled_from(sizes))
    crowd = (draw(st.booleans()) if crowds is None else crowds) and set(counts) == {1}
    owner = np.repeat(np.arange(len(counts)), counts)
    n, p = len(owner), leaders
    deck = draw(
        decks(n * n + 12 * n + 3 * n * p + rows * (2 * n + p + 2) + (n + p) * (n + p + 3) + overs * (n + p + 1) + 3 * p)
    )
    same = owner[:, None] == owner[None, :]
    matrix = deck.deal(n, n)
    matrix = np.where(same, (matrix + matrix.T) / 2, matrix)
    pull = deck.deal(n) if crowd else np.zeros(n)
    weights = np.abs(deck.deal(n)) + 0.25 if crowd else np.zeros(n)
    members = np.ones(len(counts))
    if crowd:
        members = np.array([draw(st.sampled_from([1, 2, 5, 100, math.inf])) for _ in counts], dtype=float)
    lower = deck.deal(n) - 1
    upper = lower + np.abs(deck.deal(n, unit=0.5))
    open_ends = deck.deal(n, unit=1.0)
    lower, upper = np.where(open_ends > 5, -math.inf, lower), np.where(open_ends < -5, math.inf, upper)
    inside = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper, 0.0))
    inside = np.where(np.isfinite(lower) & np.isfinite(upper), (lower + upper) / 2, inside)
    count = draw(st.integers(0, rows))
    row_owner = np.array([draw(st.integers(0, len(counts) - 1)) for _ in range(count)], dtype=int)
    side = deck.deal(count, n)
    keep = row_owner[:, None] == owner[None, :]
    if coupled:
        keep = keep | (owner[None, :] < row_owner[:, None])
        matrix = np.where(owner[None, :] > owner[:, None], 0.0, matrix)
    side = side * keep
    row_lead, x = deck.deal(count, p), deck.deal(p, unit=0.125)
    x_lower, x_upper = x - np.abs(deck.deal(p)), x + np.abs(deck.deal(p))
    equal = np.array([draw(st.integers(0, 4)) == 0 for _ in range(count)], dtype=bool) & ~(side == 0).all(axis=1)
    first = [np.flatnonzero(row_owner == k)[:1] for k in range(len(counts)) if counts[k] > 1]
    equal &= np.isin(np.arange(count), np.concatenate(first) if first else [])
    level = side @ inside + row_lead @ x + np.where(equal, 0.0, np.abs(deck.deal(count)))
    y = n + p
    goal = deck.deal(y, y)
    goal = (goal + goal.T) / 2
    if p > 1:
        goal = np.diag(1.0 + np.abs(np.diag(goal)))
    over_count = draw(st.integers(0, overs))
    over = deck.deal(over_count, y)
    middle = np.concatenate([x, inside])
    game = Affine(
        owner, matrix, deck.deal(n, p), deck.deal(n, unit=0.5), lower, upper, side, row_lead, level, row_owner, equal,
        x, x_lower, x_upper, pull, weights, members, goal, deck.deal(y), over,
        over @ middle + np.abs(deck.deal(over_count)),
    )  # fmt: skip
    share = np.diag(pull * weights / members[owner])
    own = np.where(same, matrix, 0.0) + 2 * share
    felt = game.felt
    need = max(1 - np.linalg.eigvalsh(own).min(), 1 - np.linalg.eigvalsh((felt + felt.T) / 2).min(), 0.0)
    game.matrix = matrix + math.ceil(4 * need) / 4 * np.eye(n)
    return game


@st.composite
def built(draw: Any) -> tuple[Affine, Any]:
    """A game around its equilibrium: costs that are not quadratic, curved rows; multipliers first, data from them."""
    game = draw(games(overs=0))
    n = len(game.owner)
    deck = draw(decks(8 * n + 6))
    u = deck.deal(n)
    game.bends = [(draw(st.sampled_from(_BENDS)), float(c)) for c in np.sign(deck.deal(n)) * 0.5]
    state = [draw(st.sampled_from(["inside", "low", "high", "weak"])) for _ in range(n)]
    force = np.abs(deck.deal(n, unit=0.5))
    room = np.abs(deck.deal(n)) + 0.25
    game.lower = np.where([s in ("low", "weak") for s in state], u, u - room)
    game.upper = np.where([s == "high" for s in state], u, u + room)
    push = np.array([{"low": -f, "high": f}.get(s, 0.0) for s, f in zip(state, force, strict=True)])
    for r in range(len(game.level)):
        spare = float(np.abs(deck.deal(1))[0]) * draw(st.booleans()) * (not game.equal[r])
        game.level[r] = game.rows[r] @ u + game.row_lead[r] @ game.x + spare
        if spare == 0:
            push = push + (1.0 if game.equal[r] else 0.5) * game.rows[r] * (game.owner == game.row_owner[r])
    if draw(st.booleans()):
        owner = draw(st.integers(0, len(game.members) - 1))
        centre, mine = u + deck.deal(n), game.owner == owner
        radius = float(((u - centre)[mine] ** 2).sum())
        active = radius > 0 and draw(st.booleans())
        game.discs = [(owner, centre, radius if active else radius + 1.0)]
        push = push + (0.75 * 2 * (u - centre) * mine if active else 0.0)
    slopes = [c * bend_slope(kind, c * v) if c else 0.0 for (kind, c), v in zip(game.bends, u, strict=True)]
    game.shift = -(np.array(slopes) + game.felt @ u + game.lead @ game.x + push)
    return game, u


# --- Nash -----------------------------------------------------------------------------------------------------------


def close(found: Any, known: Any) -> bool:
    return bool((np.abs(found - known) <= _EXACT * np.maximum(1.0, np.abs(known))).all())


def counted(kind: str, number: int = 1) -> None:
    _COUNT[kind] += number


@pytest.mark.slow
@examples(80)
@given(game=games(), how=writings)
def test_nash_of_affine_followers(game: Affine, how: Writing) -> None:
    """The equilibrium of every writing is the enumerated one, verified, and really without regret."""
    known = equilibrium(game)
    assert known is not None
    for manner in (PLAIN, how):
        solved, text = solo(game, manner, goal=False)
        plan = sp.nash(solved)
        assert plan.report is not None
        assert plan.report.ok
        assert plan.quality == "feasible"
        u = text.pen.read(plan, "u")
        assert close(u, known)
        assert (regrets(game, u, game.x) <= _REGRET).all()
        counted("nash")


@pytest.mark.slow
@examples(80, shrink=False)
@given(data=st.data())
def test_nash_of_many_games_side_by_side(data: Any) -> None:
    """Independent games in one model, each with leader variables and aggregates of its own."""
    m = pyo.ConcreteModel(name="many")
    m.sub = pyo.Block(range(_TOGETHER))
    pairs = [(data.draw(games()), data.draw(writings)) for _ in range(_TOGETHER // 2)]
    every = [(game, how) for game, how in pairs for how in (PLAIN, how)]
    texts = [written(m.sub[i], game, how, goal=False) for i, (game, how) in enumerate(every)]
    players = [f for text in texts for f in text.followers]
    plan = sp.nash(sp.Game(m, players, aggregates=[a for text in texts for a in text.aggregates]))
    assert plan.report is not None
    assert plan.report.ok
    for (game, _), text in zip(every, texts, strict=True):
        u = text.pen.read(plan, "u")
        assert close(u, equilibrium(game))
        assert (regrets(game, u, game.x) <= _REGRET).all()
        counted("nash, side by side")


@pytest.mark.slow
@examples(50)
@given(case=built(), how=writings)
def test_nash_of_games_built_around_their_equilibrium(case: tuple[Affine, Any], how: Writing) -> None:
    """exp, powers, logarithms, curved rows, populations: the one equilibrium is where it was put."""
    game, known = case
    for manner in (PLAIN, how):
        solved, text = solo(game, manner, goal=False)
        plan = sp.nash(solved)
        assert plan.report is not None
        assert plan.report.ok
        assert close(text.pen.read(plan, "u"), known)
        counted("nash, built")


_MISSED: list[str] = []
"""Reports of games side by side whose equilibrium was not found."""


@pytest.mark.slow
@examples(40, shrink=False)
@given(data=st.data())
def test_nash_of_built_games_side_by_side(data: Any) -> None:
    """The same, several in one model. One search for all of them may miss, at a pole say: then it says so, seldom.

    So it may where a follower's set has no interior point, and its conditions are met less closely: by its residuals.
    """
    m = pyo.ConcreteModel(name="many")
    m.sub = pyo.Block(range(_TOGETHER))
    every = [(*data.draw(built()), data.draw(writings)) for _ in range(_TOGETHER)]
    texts = [written(m.sub[i], game, how, goal=False) for i, (game, _, how) in enumerate(every)]
    players = [f for text in texts for f in text.followers]
    plan = sp.nash(sp.Game(m, players, aggregates=[a for text in texts for a in text.aggregates]))
    assert plan.report is not None
    exact = all(close(text.pen.read(plan, "u"), known) for (_, known, _), text in zip(every, texts, strict=True))
    if not (plan.report.ok and exact):
        _MISSED.append(str(plan.report))
        if plan.report.ok:
            assert plan.residuals["stationarity"] > _EXACT
        else:
            assert plan.warnings[0].startswith("not an equilibrium by the re-solve of the followers")
        assert len(_MISSED) <= 2, _MISSED
        return
    for _ in every:
        counted("nash, built, side by side")


@pytest.mark.slow
@examples(40)
@given(game=games(sizes=((1, 1), (1, 2), (1, 1, 1)), crowds=False, coupled=True), how=writings)
def test_nash_where_one_follower_limits_the_next(game: Affine, how: Writing) -> None:
    """Generalised Nash games that are unique: each follower is bound by those before it."""
    known = equilibrium(game)
    for manner in (PLAIN, how):
        solved, text = solo(game, manner, goal=False)
        counted("nash, coupled rows")
        if known is None:
            with pytest.raises(sp.NoPlan):
                sp.nash(solved)
            continue
        plan = sp.nash(solved)
        assert plan.report is not None
        assert plan.report.ok
        u = text.pen.read(plan, "u")
        assert close(u, known)
        assert (regrets(game, u, game.x) <= _REGRET).all()


@pytest.mark.slow
@examples(150)
@given(
    game=games(sizes=((1,), (2,), (1, 1), (1, 1, 1)), rows=1),
    how=st.builds(Writing, st.integers(0, 999), order=st.booleans(), twice=st.booleans(), turned=st.booleans()),
    place=st.integers(0, 2),
    shift=st.sampled_from([-1.0, -0.1, -0.01, 0.01, 0.1, 1.0]),
)
def test_an_action_moved_away_from_the_equilibrium_is_never_verified(
    game: Affine, how: Writing, place: int, shift: float
) -> None:
    """Whatever is moved: somebody gains, or a row breaks."""
    known = equilibrium(game)
    moved = known.copy()
    moved[place % len(known)] += shift
    solved, text = solo(game, how, goal=False)
    for i, value in enumerate(moved):
        var, unit, origin = text.pen.names["u", i]
        var.set_value((value - origin) / unit, skip_validation=True)
    if game.crowd:
        solved.model.z.set_value(float(game.weights @ moved))
    report = sp.verify(sp.Plan.from_values(solved))
    assert not report.ok
    counted("mutated")


# --- Stackelberg ----------------------------------------------------------------------------------------------------


def proved(plan: sp.Plan) -> bool:
    """Optimal, or a bound away from it by no more than a global solver's own tolerance, or a slow machine."""
    stopped = any(entry["termination"] == "time limit" for entry in plan.log)
    return plan.quality == "optimal" or plan.gap <= _REGRET or stopped


def judged(plan: sp.Plan, text: Written, game: Affine, whole: Affine, answer: tuple[float, Any, bool]) -> None:
    """No wrong answer is labelled right, and what can be found is found."""
    value, point, single = answer
    assert plan.report is not None
    x, u = text.pen.read(plan, "x"), text.pen.read(plan, "u")
    y = np.concatenate([x, u])
    reached = y @ whole.goal @ y / 2 + whole.slope @ y
    if plan.report.ok:
        responding = [int(name.split(".")[-1][1:]) for name in plan.responding]
        assert (regrets(whole, u, x)[responding] <= _REGRET).all()
        assert reached >= value - _REGRET * max(1.0, abs(value))
    if plan.quality == "optimal":
        assert reached == pytest.approx(value, rel=_REGRET, abs=_REGRET)
    assert plan.report.ok
    assert proved(plan)
    assert reached == pytest.approx(value, rel=_REGRET, abs=_REGRET)
    if single and game is whole:
        assert np.abs(y - point).max() <= 1e-4 * max(1.0, np.abs(point).max())


def margin(game: Affine, amount: float) -> Affine:
    """The leader's rows tightened (or relaxed) by a little: is an answer on the edge?"""
    return replace(game, limit=game.limit + amount * (1 + np.abs(game.limit)))


def told_apart(game: Affine) -> float:
    """The leader's optimum, of games where it does not hang on the last digit of a row."""
    value = best_for_leader(game)[0]
    tight, loose = best_for_leader(margin(game, -1e-4))[0], best_for_leader(margin(game, 1e-4))[0]
    assume(math.isinf(value) == math.isinf(tight) == math.isinf(loose))
    assume(math.isinf(value) or loose - 0.01 <= value <= tight + 0.01)
    return value


@pytest.mark.slow
@examples(150)
@given(game=games(), how=writings)
def test_stackelberg_of_affine_followers(game: Affine, how: Writing) -> None:
    """A leader with any quadratic, convex or not, over the followers' piecewise affine answer."""
    told_apart(game)
    answer = best_for_leader(game)
    for manner in (PLAIN, how):
        solved, text = solo(game, manner)
        counted("stackelberg")
        if math.isinf(answer[0]):
            with pytest.raises(sp.NoPlan):
                sp.stackelberg(solved)
        else:
            judged(sp.stackelberg(solved), text, game, game, answer)


@pytest.mark.slow
@examples(50)
@given(
    game=games(sizes=((1, 1), (1, 2), (1, 1, 1)), leaders=2, crowds=False, rows=1),
    how=writings,
    helper=st.integers(0, 2),
)
def test_some_respond_and_one_serves_the_leader(game: Affine, how: Writing, helper: int) -> None:
    """leader_optimal(responding=...): the actions of one follower are the leader's, and so are its rows."""
    helper %= len(game.members)
    reduced = without(game, helper)
    assume(len(reduced.x) <= 3)
    told_apart(reduced)
    answer = best_for_leader(reduced)
    for manner in (PLAIN, how):
        solved, text = solo(game, manner)
        counted("leader_optimal(responding=)")
        responding = [block for k, block in text.blocks.items() if k != helper]
        if math.isinf(answer[0]):
            with pytest.raises(sp.NoPlan):
                sp.leader_optimal(solved, responding=responding)
        else:
            judged(sp.leader_optimal(solved, responding=responding), text, reduced, game, answer)


def without(game: Affine, helper: int) -> Affine:
    """The game in which the actions of ``helper`` are leader variables."""
    p, theirs, mine = len(game.x), game.owner == helper, game.owner != helper
    order = np.concatenate([np.arange(p), p + np.flatnonzero(theirs), p + np.flatnonzero(mine)])
    numbers = np.delete(np.arange(len(game.members)), helper)
    kept, own = game.row_owner != helper, game.row_owner == helper
    over = np.hstack([game.row_lead, game.rows])
    both = own & game.equal
    return replace(
        game,
        owner=np.searchsorted(numbers, game.owner[mine]),
        matrix=game.matrix[np.ix_(mine, mine)],
        lead=np.hstack([game.lead[mine], game.matrix[np.ix_(mine, theirs)]]),
        shift=game.shift[mine],
        lower=game.lower[mine],
        upper=game.upper[mine],
        rows=game.rows[np.ix_(kept, mine)],
        row_lead=np.hstack([game.row_lead[kept], game.rows[np.ix_(kept, theirs)]]),
        level=game.level[kept],
        row_owner=np.searchsorted(numbers, game.row_owner[kept]),
        equal=game.equal[kept],
        x=np.concatenate([game.x, np.zeros(theirs.sum())]),
        x_lower=np.concatenate([game.x_lower, game.lower[theirs]]),
        x_upper=np.concatenate([game.x_upper, game.upper[theirs]]),
        pull=game.pull[mine],
        weights=game.weights[mine],
        members=game.members[numbers],
        goal=game.goal[np.ix_(order, order)],
        slope=game.slope[order],
        over=np.vstack([game.over, over[own], -over[both]])[:, order],
        limit=np.concatenate([game.limit, game.level[own], -game.level[both]]),
    )


@pytest.mark.slow
@examples(35)
@given(kind=st.sampled_from(_BENDS), numbers=decks(9), how=writings)
def test_stackelberg_of_one_curved_follower(kind: str, numbers: Deck, how: Writing) -> None:
    """min φ(u/2) + a u²/2 + (c x + d) u over a box, by bisection at many x, refined around the best ones."""
    a, c, d, low, width, aim, wish, weight, tilt = numbers.deal(9)
    one, none, flat = np.ones(1), np.zeros(0), np.zeros((0, 1))
    game = Affine(
        np.zeros(1, dtype=int), np.array([[abs(a)]]), np.array([[c]]), np.array([d]), np.array([low / 2]),
        np.array([low / 2 + 0.25 + abs(width)]), flat, flat, none, none.astype(int), none.astype(bool),
        np.zeros(1), -one, one, np.zeros(1), np.zeros(1), one, np.array([[abs(weight), tilt], [tilt, 1.0]]),
        np.array([-aim * abs(weight), -wish]), np.zeros((0, 2)), none, [(kind, 0.5)],
    )  # fmt: skip

    def answer(x: Any) -> Any:
        left, right = np.full_like(x, game.lower[0]), np.full_like(x, game.upper[0])
        for _ in range(60):
            middle = (left + right) / 2
            falls = 0.5 * bend_slope(kind, middle / 2) + abs(a) * middle + c * x + d < 0
            left, right = np.where(falls, middle, left), np.where(falls, right, middle)
        return right

    def value(x: Any) -> Any:
        u = answer(x)
        return abs(weight) * x**2 / 2 + tilt * x * u + u**2 / 2 + game.slope[0] * x + game.slope[1] * u

    grid = np.linspace(-1.0, 1.0, 4001)
    for _ in range(4):
        best = grid[np.argsort(value(grid))[:8]]
        grid = np.unique(np.clip((best[:, None] + (grid[1] - grid[0]) * np.linspace(-1.5, 1.5, 61)).ravel(), -1.0, 1.0))
    known = float(value(grid).min())
    for manner in (PLAIN, how):
        solved, text = solo(game, manner)
        plan = sp.stackelberg(solved)
        x, u = text.pen.read(plan, "x"), text.pen.read(plan, "u")
        counted("stackelberg, curved")
        assert plan.report is not None
        assert plan.report.ok
        assert game.cost(u, x)[0] <= game.cost(answer(x), x)[0] + _REGRET
        reached = np.array([*x, *u]) @ game.goal @ np.array([*x, *u]) / 2 + game.slope @ np.array([*x, *u])
        assert reached >= known - _REGRET * max(1.0, abs(known))
        assert reached == pytest.approx(known, rel=_REGRET, abs=_REGRET)


# --- linear followers -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@examples(100)
@given(
    numbers=decks(60),
    leaders=st.integers(1, 2),
    actions=st.integers(1, 2),
    rows=st.integers(0, 3),
    overs=st.integers(0, 1),
    how=writings,
)
def test_linear_leader_and_linear_follower(
    numbers: Deck, leaders: int, actions: int, rows: int, overs: int, how: Writing
) -> None:
    """A vertex of all rows is optimal (J. F. Bard, 1984): each is tried, ties go to the leader."""
    p, n = leaders, actions
    side, row_lead, over = (numbers.deal(k, w, unit=1.0) for k, w in ((rows, n), (rows, p), (overs, n + p)))
    level, limit = np.abs(numbers.deal(rows, unit=1.0)) + 2, np.abs(numbers.deal(overs, unit=1.0)) + 2
    goal, cost = numbers.deal(n + p, unit=1.0), numbers.deal(n, unit=1.0)
    box = np.vstack([np.eye(n + p), -np.eye(n + p)])
    ends = np.concatenate([np.full(n + p, 4.0), np.zeros(n + p)])
    every = np.vstack([np.hstack([row_lead, side]), box, over])
    limits = np.concatenate([level, ends, limit])
    corners = vertices(every, limits)
    inner = np.vstack([side, np.eye(n), -np.eye(n)])

    def least(x: Any) -> float:
        floor = np.concatenate([level - row_lead @ x, np.full(n, 4.0), np.zeros(n)])
        return float((vertices(inner, floor) @ cost).min())

    good = [y for y in corners if y[p:] @ cost <= least(y[:p]) + 1e-7]
    known = min((float(y @ goal) for y in good), default=math.inf)
    for manner in (PLAIN, how):
        m, pen = pyo.ConcreteModel(name="linear"), Pen(manner)
        x = [pen.var(m, ("x", i), 0.0, 4.0) for i in range(p)]
        m.f0 = pyo.Block()
        u = [pen.var(m.f0, ("u", i), 0.0, 4.0) for i in range(n)]
        pen.objective(m.f0, dot(cost, u))
        pen.objective(m, dot(goal, [*x, *u]))
        for r in range(rows):
            if side[r].any() or row_lead[r].any():
                pen.row(m.f0, f"row{r}", dot(row_lead[r], x) + dot(side[r], u), level[r])
        for r in range(overs):
            if over[r].any():
                pen.row(m, f"over{r}", dot(over[r], [*x, *u]), limit[r])
        counted("linear")
        if math.isinf(known):
            with pytest.raises(sp.NoPlan):
                sp.stackelberg(sp.Game(m, followers=m.f0))
            continue
        plan = sp.stackelberg(sp.Game(m, followers=m.f0))
        y = np.concatenate([pen.read(plan, "x"), pen.read(plan, "u")])
        assert plan.report is not None
        assert plan.report.ok
        assert y[p:] @ cost <= least(y[:p]) + _REGRET * max(1.0, np.abs(cost).max())
        assert y @ goal >= known - _REGRET * max(1.0, abs(known))
        assert proved(plan)
        assert y @ goal == pytest.approx(known, rel=_REGRET, abs=_REGRET)


def vertices(rows: Any, level: Any) -> Any:
    """All vertices of rows · y ≤ level."""
    n = rows.shape[1]
    chosen = np.array(list(itertools.combinations(range(len(rows)), n)))
    regular = np.abs(np.linalg.det(rows[chosen])) > 1e-9
    points = np.linalg.solve(rows[chosen[regular]], level[chosen[regular]][:, :, None])[:, :, 0]
    return points[(points @ rows.T <= level + 1e-8).all(axis=1)]


@pytest.mark.slow
@examples(50)
@given(
    thresholds=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    demands=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    most=st.integers(1, 12),
    how=writings,
)
def test_a_toll_over_linear_followers(thresholds: list[int], demands: list[int], most: int, how: Writing) -> None:
    """Each follower pays while the toll is at most its threshold: the best toll is a threshold, or the largest one."""

    def revenue(toll: float) -> float:
        return toll * sum(d for t, d in zip(thresholds, demands, strict=False) if t >= toll)

    known = max(revenue(toll) for toll in [*(t for t in thresholds if t <= most), most])
    for manner in (PLAIN, how):
        m, pen = pyo.ConcreteModel(name="toll"), Pen(manner)
        toll = pen.var(m, ("x", 0), 0.0, float(most))
        blocks, flows = [], []
        for k, threshold in enumerate(thresholds):
            block = pyo.Block()
            m.add_component(f"f{k}", block)
            flow = pen.var(block, ("u", 2 * k), 0.0, math.inf)
            other = pen.var(block, ("u", 2 * k + 1), 0.0, math.inf)
            pen.row(block, "demand", flow + other, demands[k], equal=True)
            pen.objective(block, (1 + toll) * flow + (1 + threshold) * other)
            blocks.append(block)
            flows.append(flow)
        pen.objective(m, -toll * sum(flows))
        plan = sp.stackelberg(sp.Game(m, followers=pen.shuffled(blocks)))
        counted("toll")
        found, u = pen.read(plan, "x")[0], pen.read(plan, "u")
        paid = found * sum(u[::2])
        assert plan.report is not None
        assert paid <= known + _REGRET * max(1.0, known)
        assert plan.report.ok
        assert proved(plan)
        assert paid == pytest.approx(known, rel=_REGRET, abs=_REGRET)


# --- found by the tests above ---------------------------------------------------------------------------------------


def test_a_range_with_a_constant_in_its_body() -> None:
    """−1 ≤ x + 3 ≤ 5 and an answer u = |x|: the leader wants |x| largest."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-9, 9))
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    m.f.above = pyo.Constraint(expr=m.f.u >= m.x)
    m.f.below = pyo.Constraint(expr=m.f.u >= -m.x)
    m.f.cost = pyo.Objective(expr=m.f.u**2)
    m.band = pyo.Constraint(expr=(-1, m.x + 3, 5))
    m.goal = pyo.Objective(expr=-m.f.u)
    plan = sp.stackelberg(sp.Game(m, followers=m.f))
    assert plan.value("x") == pytest.approx(-4)


def test_an_equality_written_as_a_range() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(None, 1.5)), pyo.Var(bounds=(None, 1.5))
    m.f.row = pyo.Constraint(expr=(1, 1.5 - m.f.u + 1.5 - m.f.v, 1))
    m.f.cost = pyo.Objective(expr=m.x * m.f.u)
    m.goal = pyo.Objective(expr=m.f.u**2 + m.x)
    assert sp.stackelberg(sp.Game(m, followers=m.f)).leader_objective == pytest.approx(0.25)


def test_a_game_that_scip_calls_impossible() -> None:
    """Two games side by side, one of them degenerate; u* = (1.5, −1, 2, 1.5, 1.25) by construction."""
    m = pyo.ConcreteModel()
    m.a, m.b, m.c, m.d = pyo.Block(), pyo.Block(), pyo.Block(), pyo.Block()
    m.x = pyo.Var(bounds=(-1.125, 2.125), initialize=0.125)
    m.y = pyo.Var(bounds=(-2.375, 0.875), initialize=-0.875)
    u = m.a.u = pyo.Var(bounds=(1.5, 2.75))
    v = m.b.u = pyo.Var(bounds=(-1.25, -1))
    w = m.c.u = pyo.Var(bounds=(1.5, 2.5))
    p, q = m.d.p, m.d.q = pyo.Var(bounds=(1.5, 2.75)), pyo.Var(bounds=(0.5, 1.25))
    first = u * (0.75 * u + 0.25 * v + 0.5 * w + 1.5 * m.x - 0.7820348918918354)
    m.a.cost = pyo.Objective(expr=0.01 * (first + (3 - 0.5 * u) * pyo.log(3 - 0.5 * u)))
    m.b.cost = pyo.Objective(expr=0.01 * (v * (-0.25 * u + 0.625 * v - w + 2 * m.x + 1.0717346701436834)))
    m.c.cost = pyo.Objective(expr=w * (-0.75 * u + 1.75 * v + 2 * w - 1.75 * m.x - 6.90625) + (-0.5 * w) ** 4)
    left = p * (p - 0.6875 * q + 0.75 * m.y + 0.6604106504123035)
    m.d.cost = pyo.Objective(expr=left + q * (-0.6875 * p + 1.625 * q + 0.5 * m.y - 5.92578125))
    m.d.one = pyo.Constraint(expr=-1.25 * p - 0.5 * q - 2 * m.y <= -0.75)
    m.d.two = pyo.Constraint(expr=-2 * p + 1.25 * q - 1.25 * m.y <= -0.34375)
    plan = sp.nash(sp.Game(m, followers=[m.a, m.b, m.c, m.d]))
    answer = [plan.value(n) for n in ("a.u", "b.u", "c.u", "d.p", "d.q")]
    assert answer == pytest.approx([1.5, -1, 2, 1.5, 1.25], abs=1e-6)


def test_a_doubled_equality_of_a_curved_follower() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-1, 1))
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    m.f.row = pyo.Constraint(expr=m.f.u == 0)
    m.f.again = pyo.Constraint(expr=m.f.u == 0)
    m.f.cost = pyo.Objective(expr=pyo.exp(0.5 * m.f.u))
    m.goal = pyo.Objective(expr=m.f.u**2 + m.x**2)
    report = sp.stackelberg(sp.Game(m, followers=m.f)).report
    assert report is not None
    assert report.ok


def test_a_row_of_the_leader_alone_with_data_from_numpy() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-1, 1), initialize=np.float64(0.5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-2, 2))
    m.f.cap = pyo.Constraint(expr=m.x <= np.float64(0.75))
    m.f.disc = pyo.Constraint(expr=m.f.u**2 <= 1.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 3) ** 2 + m.x * m.f.u)
    m.goal = pyo.Objective(expr=m.x**2 + m.f.u**2)
    assert sp.nash(sp.Game(m, followers=m.f)).value("f.u") == pytest.approx(1.0)


def test_games_are_counted() -> None:
    """At least 2,000 by `make explore`, a quarter of them else, where the whole module ran."""
    if len(_COUNT) < 11:
        pytest.skip("only some of the tests above ran")
    print(dict(_COUNT), sum(_COUNT.values()))
    assert sum(_COUNT.values()) >= drawn(2000)
