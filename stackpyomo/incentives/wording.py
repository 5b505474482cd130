"""Wording: a contract in plain words — who is paid or charged what, for which deviation, and who gains by it.

:mod:`stackpyomo.incentives.payments` has the numbers, :mod:`stackpyomo.core.documents` the formats.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from stackpyomo.core import SHOWN, TOLERANCES, Array, Part, Table, entries_in, listed, shown
from stackpyomo.errors import InvalidGame
from stackpyomo.games.information import Signal
from stackpyomo.plans import Plan

from .payments import Accounts, accounts, comparison
from .strategy import AffineStrategy

_VERDICTS = {"gains": "better off", "loses": "worse off", "same": "as well off", "unknown": "not comparable"}


class _Room(NamedTuple):
    """How much is shown: rows of a table or list, terms of a formula; the first ones, in the model's order."""

    rows: int
    terms: int


_SCREEN = _Room(SHOWN, 6)

_FILE = _Room(sys.maxsize, sys.maxsize)


def in_words(
    rule: AffineStrategy, baseline: Plan | None = None, *, verified: bool = False, whole: bool = False
) -> list[Part]:
    """What is announced, what it means to the followers, what it does not promise, and the comparison if asked for.

    verified: a report follows, which says what is proved. whole: nothing is cut, as for a file.
    """
    room = _FILE if whole else _SCREEN
    meaning = _meaning(rule, room, _standing, _deviations)
    parts = [*_announced(rule, room), *_regimes(rule), *_held(rule, room), *meaning, *_limits(rule, verified=verified)]
    if baseline is not None:
        parts += _compared(rule, baseline, room)
    return parts


def terms(rule: AffineStrategy) -> list[Part]:
    """Of these what a page says beside its report: all that is announced, and for which deviation."""
    meaning = _meaning(rule, _FILE, _deviations)
    return [*_announced(rule, _FILE), *_regimes(rule), *meaning, *_limits(rule, verified=True)]


def stakes(rule: AffineStrategy, baseline: Plan | None = None) -> list[Part]:
    """Of these what is at stake: who pays, who is paid, and against a baseline who gains and who loses."""
    return [*_meaning(rule, _FILE, _standing), *(() if baseline is None else _compared(rule, baseline, _FILE))]


def how_to_compare(rule: AffineStrategy) -> list[Part]:
    """Where to go on, for a reader at a terminal."""
    if rule.game is None:
        return ["(Read with from_json(text, game) it also shows objectives and payments.)"]
    return ["(rule.compare(sp.stackelberg(game)) shows who gains and who loses against announcing constants.)"]


def term_table(rule: AffineStrategy) -> pd.DataFrame:
    """A line for each variable and each signal that moves it, in the model's order; at least one for each variable."""
    lines = []
    for index, name in enumerate(rule.leader):
        rates, bends = (
            {} if part is None else {place: rate for place, rate in entries_in(part.tocsr(), index) if rate}
            for part in (rule.matrix, rule.bend)
        )
        start = {"variable": name, "unit": _unit(rule, [name]), "on_plan": rule.offset[name]}
        terms = [
            {
                "signal": signal.name,
                "signal_unit": _unit(rule, signal.terms),
                "followers": " ".join(_owners(rule, signal)),
                "target": rule.targets[signal.name],
                "per_unit": rates.get(place, 0.0),
                "per_squared_unit": bends.get(place, 0.0) / 2.0,
            }
            for place in sorted({*rates, *bends})
            for signal in [rule.observed[place]]
        ]
        lines += [{**start, **term} for term in terms or [{}]]
    columns = ["variable", "unit", "on_plan", "signal", "signal_unit", "followers", "target", "per_unit"]
    return pd.DataFrame(lines, columns=[*columns, *([] if rule.bend is None else ["per_squared_unit"])])


def _owners(rule: AffineStrategy, signal: Signal) -> list[str]:
    """Followers whose actions a signal shows."""
    if rule.game is None:
        return []
    owners = (rule.game.owners.get(id(rule.game.variables_by_name.get(name))) for name in signal.terms)
    return list(dict.fromkeys(owner for owner in owners if owner))


def _unit(rule: AffineStrategy, names: Iterable[str]) -> str:
    """The unit that these variables have in common, empty where they have none."""
    game = rule.game
    if game is None:
        return ""
    units = [game.variables_by_name[name].get_units() for name in names if name in game.variables_by_name]
    texts = {"" if unit is None else str(unit) for unit in units}
    return texts.pop() if len(texts) == 1 else ""


# --- what is announced --------------------------------------------------------------------------------------------


def _held(rule: AffineStrategy, room: _Room) -> Iterator[Part]:
    """Of a design by deviations what makes the gain as large as it is, and what is left to gain."""
    columns = [rule.deviations[name].tolist() for name in ("follower", "action", "weight")]
    binding = [(name, action) for name, action, weight in zip(*columns, strict=True) if weight > 0.0]
    if binding:
        yield "The gain is the least under which these deviations do not pay; their follower is indifferent to each:"
        moves = [
            f"{name}: {', '.join(f'{var} = {shown(level)}' for var, level in action.items())}"
            for name, action in binding[: room.rows]
        ]
        yield moves + _more(len(binding), "in .deviations", room)
    if rule.epsilon > 0.0:
        yield f"A follower may still gain {shown(rule.epsilon)} by leaving: no gain leaves less to all{_proviso(rule)}."


def _proviso(rule: AffineStrategy) -> str:
    """Among which gains a regret is the least: one that the leader's bounds stop is another strategy."""
    known = None if rule.game is None else [rule.game.variables_by_name[name] for name in rule.leader]
    if known is not None and all(var.lb is None and var.ub is None for var in known):
        return ""
    return " where no bound stops the leader" if rule.saturate else " within the leader's bounds"


def _announced(rule: AffineStrategy, room: _Room) -> Iterator[Part]:
    if not rule.leader:
        yield "The leader has nothing to announce: no follower's problem holds one of its variables."
        return
    yield "The leader announces:"
    lines = [_formula(rule, index, room.terms) for index in range(min(len(rule.leader), room.rows))]
    yield lines + _more(len(rule.leader), "in .offset and .gain", room)
    sums = [s for s, used in zip(rule.observed, _used(rule), strict=True) if used and _is_named_sum(s)]
    if sums:
        yield "where"
        yield [f"{s.name} = {_sum(s)}" for s in sums[: room.rows]] + _more(len(sums), "in .observed", room)
    if rule.saturate and rule.game is None:
        yield "What is announced never goes beyond the leader's bounds."
    if not math.isnan(rule.payment):
        least = "the least that holds everybody (minimised before the energy of the gain)"
        bound = least if math.isnan(rule.payment_limit) else f"at most {rule.payment_limit:.6g} as asked for"
        yield f"The payment on the plan is {shown(rule.payment, 6)}: {bound}."
    if _used(rule).any():
        yield "On the plan the first number applies; each unit of a deviation changes it as shown."
    if rule.game is not None and any(follower.size > 1 for follower in rule.game.followers.values()):
        yield "A population's action stands for one member's."


def _regimes(rule: AffineStrategy) -> Iterator[Part]:
    """Of a second-best rule: what the leader gets beside leader-optimal and best constants."""
    standing = rule.standing
    if standing is None:
        return
    for group in standing.common:
        line = rule.leader.index(group[0])
        row = entries_in(rule.matrix.tocsr(), line)
        intercept = rule.offset[group[0]] - sum(gain * rule.targets[rule.signals[s]] for s, gain in row)
        gains = ", ".join(f"{gain:.6g}" for _, gain in row) or "0"
        yield f"{listed(list(group), 4)} announce one rule: {intercept:.6g} plus {gains} times what each sees."
    proof = "the best of all affine rules" if standing.free else "the best affine rule with its gain in these bounds"
    yield "The leader's objective:"
    yield Table(
        ["regime", "objective", ""],
        [
            ["leader-optimal", shown(standing.leader_optimal, 6), "everybody serves the leader"],
            ["this rule", shown(standing.rule, 6), f"proved: {proof}" if standing.proved else "the best rule found"],
            ["best constant", shown(standing.constant, 6), "the leader announces constants"],
        ],
        words=("",),
    )
    for entry in standing.at_bound:
        yield (
            f"Beware: the gain of {entry.leader} on {entry.signal} stands at its bound {entry.gain:.6g}: the objective "
            f"still changes by {entry.slope:.3g} per unit by which that is wider."
        )
    if not math.isnan(standing.infimum):
        limit = shown(standing.infimum, 6)
        most = ", and no rule does better (proved)" if standing.nearest else ""
        yield f"No gain attains the best value: with ever larger gains the objective tends to {limit}{most}."
    yield from (f"Beware: {text}." for text in rule.plan.warnings)


def _formula(rule: AffineStrategy, index: int, most: int) -> str:
    """One line, as ``toll = 0 + 1.33333 (driver.flow − 0.6), never beyond [-2, 2]``; a unit stands behind the name."""
    name = rule.leader[index]
    terms: list[tuple[float, str]] = []
    count = 0
    for matrix, factor, power in ((rule.matrix, 1.0, ""), (rule.bend, 0.5, "²")):
        if matrix is not None:
            least = TOLERANCES.noise * float(np.abs(matrix.data).max(initial=0.0))
            entries = sorted((place, rate) for place, rate in entries_in(matrix.tocsr(), index) if abs(rate) > least)
            count += len(entries)
            for place, rate in entries[:most]:
                signal = rule.observed[place].name
                terms.append((factor * rate, f"{_deviation(signal, rule.targets[signal])}{power}"))
    unit = _unit(rule, [name])
    amount = f"{shown(rule.offset[name], 6)}{_signed(terms[:most], count)}{_bounds(rule, name)}"
    return f"{name} [{unit}] = {amount}" if unit else f"{name} = {amount}"


def _deviation(signal: str, target: float) -> str:
    """A signal less its target, as ``(x − 2)``, or ``x`` where the target is 0."""
    plain = shown(abs(target), 6) == "0"
    return (f"({signal})" if " " in signal else signal) if plain else f"({signal}{_constant(-target)})"


def _signed(terms: Sequence[tuple[float, str]], count: int) -> str:
    """A sum with the sign before each term, as ``+ 2 x − y … 3 more``."""
    text = ""
    for weight, name in terms:
        amount = f"{abs(weight):.6g} "
        text += f" {'+' if weight >= 0.0 else '−'} {amount if amount != '1 ' else ''}{name}"
    return text + (f" … {count - len(terms)} more" if count > len(terms) else "")


def _constant(value: float) -> str:
    """A signed constant, as ``+ 2`` or ``− 2``, and ``− 0``."""
    return f" {'+' if value > TOLERANCES.noise else '−'} {shown(abs(value), 6)}"


def _bounds(rule: AffineStrategy, name: str) -> str:
    var = None if rule.game is None else rule.game.variables_by_name.get(name)
    if not rule.saturate or var is None or (var.lb is None and var.ub is None):
        return ""
    if var.lb is None or var.ub is None:
        return f", never above {var.ub:.6g}" if var.lb is None else f", never below {var.lb:.6g}"
    return f", never beyond [{var.lb:.6g}, {var.ub:.6g}]"


def _used(rule: AffineStrategy) -> Array:
    """For each signal whether anything announced answers it."""
    used = np.asarray(abs(rule.matrix).sum(axis=0)).ravel()
    return used if rule.bend is None else used + np.asarray(abs(rule.bend).sum(axis=0)).ravel()


def _is_named_sum(signal: Signal) -> bool:
    """True for a name given to several actions; a sum without one is called by its own formula."""
    return not signal.own and not all(name in signal.name for name in signal.terms)


def _sum(signal: Signal) -> str:
    weighted = [(weight, name) for name, weight in signal.terms.items() if weight]
    terms = _signed(weighted, len(weighted))
    return (terms + (_constant(signal.constant) if signal.constant else "")).removeprefix(" + ").strip()


def _more(count: int, where: str, room: _Room) -> list[str]:
    return [f"… {count - room.rows} more {where}"] if count > room.rows else []


# --- what it means to the followers -------------------------------------------------------------------------------


def _meaning(
    rule: AffineStrategy, room: _Room, *tellers: Callable[[AffineStrategy, Accounts, _Room], Iterator[Part]]
) -> Iterator[Part]:
    if rule.game is None:
        return
    try:
        ledger = accounts(rule)
    except InvalidGame as error:
        yield f"What it means to the followers is not known: {error}"
        return
    for teller in tellers:
        yield from teller(rule, ledger, room)


def _standing(_: AffineStrategy, ledger: Accounts, room: _Room) -> Iterator[Part]:
    """Objective and money of one member of each follower, and the budget."""
    yield "On the plan, each in the unit of its objective:"
    yield _moneys(ledger, room)
    yield from _more(len(ledger.followers), "in .plan.follower_objectives and .payments", room)
    yield from _budget(ledger)


def _moneys(ledger: Accounts, room: _Room) -> Table:
    crowd = bool((ledger.sizes > 1).any())
    rows = []
    for follower, objective, money in zip(
        ledger.followers[: room.rows], ledger.objective, _money(ledger), strict=False
    ):
        members = [f"{follower.size:.6g}"] if crowd else []
        rows.append([follower.name, *members, shown(float(objective), 6), _paid(money)])
    return Table(["follower", *["members"] * crowd, "each one's objective" if crowd else "objective", "money"], rows)


def _paid(money: float) -> str:
    if math.isnan(money) or money == 0.0:
        return "—" if math.isnan(money) else "0"
    return f"{'pays' if money > 0.0 else 'is paid'} {abs(money):.6g}"


def _money(ledger: Accounts) -> Array:
    """Payments without the solver's rounding."""
    sizes = np.maximum(np.abs(ledger.objective), np.nanmax(np.abs(ledger.payment), initial=0.0))
    return np.where(np.abs(ledger.payment) <= TOLERANCES.stationarity * sizes, 0.0, ledger.payment)


def _budget(ledger: Accounts) -> Iterator[str]:
    """Who pays, who is paid, and what is left to the leader, if all objectives are in one unit."""
    money = _money(ledger)
    counted = ~np.isnan(money) & (np.isfinite(ledger.sizes) | (money == 0.0))
    total = money[counted] * np.where(money[counted] == 0.0, 1.0, ledger.sizes[counted])
    pay, paid = float(total[total > 0.0].sum()), -float(total[total < 0.0].sum())
    if pay and paid:
        left = pay - paid
        even = abs(left) <= TOLERANCES.stationarity * max(pay, paid)
        rest = "the budget balances" if even else f"the leader {'keeps' if left > 0 else 'adds'} {abs(left):.6g}"
        yield f"Followers pay {pay:.6g} in all and are paid {paid:.6g}: {rest}."
    elif pay or paid:
        words = f"pay {pay:.6g} in all; nobody is paid" if pay else f"are paid {paid:.6g} in all; nobody pays"
        yield f"On the plan the followers {words}."
    elif counted.any():
        yield "On the plan no money changes hands."
    for reason, missed in (
        ("the leader's variables are not shown to enter the objective as prices or transfers do", np.isnan(money)),
        ("a population of infinite size has no sum", ~counted & ~np.isnan(money)),
    ):
        if missed.any():
            names = [ledger.followers[k].name for k in np.flatnonzero(missed)]
            yield f"Not counted: {listed(names)} ({reason})."


def _deviations(rule: AffineStrategy, ledger: Accounts, room: _Room) -> Iterator[Part]:
    """What tempts a follower, and what the leader's answer takes back, per unit of each action that is watched."""
    alone = set(rule.alone)
    watched = np.array([f.name not in alone for f in ledger.followers], dtype=bool)[ledger.owners]
    small = [v.is_continuous() for f in ledger.followers for v in f.variables]  # of an integer action no step is
    watched &= np.array(small, dtype=bool)
    if watched.any():
        moved = np.maximum(np.abs(ledger.temptation), np.abs(ledger.answer)) > ledger.noise
        tempted = np.flatnonzero(watched & moved)
        if len(tempted):
            yield "One unit of a small deviation from the plan, to the follower:"
            yield _temptations(ledger, tempted, room)
            yield from _more(len(tempted), "deviations", room)
        else:
            yield "At the plan no observed follower gains by a small deviation: nothing has to be charged."
    if rule.multipliers:
        leaning = [f"{name} (multiplier {value:.6g})" for name, value in rule.multipliers.items()][: room.terms]
        more = [f"… ({len(rule.multipliers)} in all)"] if len(rule.multipliers) > room.terms else []
        yield f"Held by their own constraints: {', '.join([*leaning, *more])}."


def _temptations(ledger: Accounts, tempted: Array, room: _Room) -> Table:
    """Each in the direction that pays by itself; what its own constraints hold is the rest."""
    rest = np.abs(ledger.temptation - ledger.answer) > ledger.noise
    constrained = bool(rest[tempted].any())
    rows = []
    for j in tempted[: room.rows]:
        pull = ledger.temptation[j] if abs(ledger.temptation[j]) > ledger.noise[j] else ledger.answer[j]
        sign = 1.0 if pull > 0.0 else -1.0
        gain, cost = sign * float(ledger.temptation[j]), sign * float(ledger.answer[j])
        word = "more" if sign > 0.0 else "less"
        row = [f"{word} {ledger.actions[j]}", _short(gain, ledger.noise[j]), _short(cost, ledger.noise[j])]
        rows.append([*row, *[_short(gain - cost, ledger.noise[j])] * constrained])
    return Table(
        ["deviation", "gains without the rule", "the rule takes", *["its constraints hold"] * constrained], rows
    )


def _short(value: float, noise: float) -> str:
    return "0" if abs(value) <= noise else f"{value:.6g}"


# --- what it does not promise -------------------------------------------------------------------------------------


def _limits(rule: AffineStrategy, *, verified: bool = False) -> Iterator[str]:
    if rule.game is None and rule.multipliers:
        yield f"Held by their own constraints: {listed(list(rule.multipliers))}."
    if rule.alone:
        yield f"Left alone, because nothing they do is observed: {listed(rule.alone)}."
    if rule.uncertainty > TOLERANCES.flat:
        yield (
            f"Beware: at plans as good as this one the gain differs by {rule.uncertainty:.0%} of itself: "
            "solve the plan to a tighter tolerance, or choose one away from where its derivatives vanish."
        )
    if rule.game is None:
        return
    try:
        doubtful, beyond, loose = rule.doubtful, rule.beyond_bounds(), rule.loose_constraints
    except InvalidGame:
        return
    if doubtful and not verified:
        yield (
            f"Not verified yet: under a rule that answers, the cost of {listed(doubtful)} need not be convex; the "
            "deviations of the design were examined all the same. verify(rule) has the proof."
            if len(rule.deviations)
            else f"Not verified yet: under a rule that answers, the cost of {listed(doubtful)} need not be convex. "
            "verify(rule) shows whether following the plan is the best answer."
        )
    if math.isinf(rule.energy):
        yield (
            "Beware: each of infinitely many members is answered by itself, at infinite energy: together they would "
            "move the leader without limit. It is a limit of finite games where its variables are each member's own."
        )
    yield from (f"Beware: {text}" for text in beyond)
    if loose:
        yield f"Beware: off the plan the leader's own constraints need not hold: {listed(loose)}."


# --- who gains ----------------------------------------------------------------------------------------------------


def _compared(rule: AffineStrategy, baseline: Plan, room: _Room) -> Iterator[Part]:
    table = comparison(rule, baseline)
    yield f"Against the baseline ({baseline.quality}; responding: {listed(baseline.responding) or 'nobody'}):"
    rows = [
        [str(name), *(shown(value, 6) for value in numbers), verdict]
        for name, *numbers, verdict in table.iloc[: min(room.rows, len(table)) + 1].itertuples()
    ]
    yield Table(["player", "with the rule", "baseline", "difference", "verdict"], rows)
    yield from _more(len(table) - 1, "in .compare(baseline)", room)
    counts = table["verdict"].iloc[1:].value_counts()
    followers = ", ".join(f"{counts[verdict]} {words}" for verdict, words in _VERDICTS.items() if verdict in counts)
    yield f"The leader is {_VERDICTS[table['verdict'].iloc[0]]}. Followers: {followers}."
