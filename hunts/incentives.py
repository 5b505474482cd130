"""Incentive games: plan, rule, verification, against what each follower can do in plain arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

import stackpyomo as sp

from .drafts import Box, Draft, Side, evaluated, number
from .ledger import Ledger
from .oracles import Rule, best_deviation, is_bent_down, natural_scale, played, slopes

__all__ = ["drawn", "hunt", "judged", "rule_of"]

_REFUTED = 1e-4
"""A regret above this share of what the follower's cost changes within one unit of the plan refutes "verified"."""

_TAIL = """
plan = {plan}
rule = sp.affine_incentive(plan{options})
report = sp.verify(rule)
print(rule, report, report.certificate.to_dict(), report.regret.to_dict(), sep="\\n")
"""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One random game: who is tempted by what, which rule, and is what is said of it so?"""
    draft = drawn(random)
    options = _options(random, draft)
    from_values = random.random() < 0.4
    if from_values and random.random() < 0.5:  # a plan known to its accuracy only
        draft.start = {n: v + 1e-6 * random.normal() for n, v in _inside(draft).items()}
    if from_values and random.random() < 0.4:
        draft.start = _noisy(draft, random)
    game = draft.game()
    how = "sp.Plan.from_values(game)" if from_values else "sp.leader_optimal(game)"
    keywords = "".join(f", {k}={v!r}" for k, v in options.items() if k != "observe")
    script = draft.script(_TAIL.format(plan=how, options=keywords))
    plan = sp.Plan.from_values(game) if from_values else sp.leader_optimal(game)
    asked = dict(options)
    signals = asked.pop("observe", None)
    if signals is not None:
        asked["observe"] = [draft.expression(game, s) for s in signals]
        script = script.replace("affine_incentive(plan", f"affine_incentive(plan, observe=[{', '.join(signals)}]")
    try:
        rule = sp.affine_incentive(plan, **asked)
    except sp.NoIncentive:
        _refused(draft, plan, signals, asked, random, ledger, script)
        return
    least = 1e-5 * max(
        1.0, *(np.abs(slopes(f, list(f.boxes), rule_of(draft, rule, signals).plan)).max() for f in draft.followers)
    )
    ledger.claim("the gain meets its conditions", rule.residual <= least, f"{rule.residual:.3g} is left", script)
    report = sp.verify(rule)
    judged(draft, rule_of(draft, rule, signals), report, random, ledger, script)
    if report.ok:
        _accurate(draft, rule_of(draft, rule, signals), random, ledger, script)
    _unique(draft, rule_of(draft, rule, signals), report, random, ledger, script)


# --- games ------------------------------------------------------------------------------------------------------------


def drawn(random: np.random.Generator) -> Draft:
    """One to three leader variables, one to three followers of one or two actions, costs of many shapes."""
    leaders = {f"t{i}": _box(random, (-5.0, 5.0)) for i in range(random.integers(1, 4))}
    start = {n: _within(random, b) for n, b in leaders.items()}
    followers, count = [], int(random.integers(1, 4))
    owned: list[dict[str, Box]] = []
    for k in range(count):
        owned.append({f"a{k}{j}": _box(random, (-2.0, 3.0)) for j in range(random.integers(1, 3))})
        start |= {n: _within(random, b) for n, b in owned[-1].items()}
    everybody = [n for own in owned for n in own]
    for own in owned:
        rows = []
        if random.random() < 0.2:
            body = " + ".join(f"{number(_coefficient(random))}*{n}" for n in own)
            rows = [f"{body} - {number(round(float(random.uniform(0.5, 4)), 2))}"]
        cost = _cost(random, list(leaders), list(own), everybody)
        flip = random.random() < 0.3
        followers.append(Side(own, f"-({cost})" if flip else cost, rows, maximize=flip))
    goal = " + ".join(f"{number(_positive(random))}*({n} - {number(_coefficient(random))})**2" for n in everybody)
    goal += "".join(
        f" + {number(_positive(random) / 10)}*({n} - {number(_coefficient(random) / 2)})**2" for n in leaders
    )
    return Draft(Side(leaders, goal), followers, start)


def _cost(random: np.random.Generator, leaders: list[str], own: list[str], everybody: list[str]) -> str:
    """A sum of terms: private ones, what the leader pays or charges, and what the others add."""
    terms = [
        f"{number(_positive(random))}*({n} - {number(_coefficient(random))})**2" for n in own if random.random() < 0.8
    ]
    for _ in range(random.integers(1, 4)):
        t, a = str(random.choice(leaders)), str(random.choice(own))
        c, d = number(_coefficient(random)), number(_coefficient(random))
        terms.append(
            str(
                random.choice(
                    [
                        f"{c}*{t}*{a}",
                        f"{c}*{t}*({a} + 3)",
                        f"({t} + {c}*{a} + {d})**2",
                        f"exp({c}*{t} + {d}*{a})",
                        f"log(1 + exp({t} + {c}*{a}))",
                        f"{c}*{t}",
                        f"sqrt(1 + ({t} + {c}*{a})**2)",
                        f"{number(_positive(random))}*{t}*{a}**2",
                    ]
                )
            )
        )
    if random.random() < 0.35:
        a, c, p = (
            str(random.choice(own)),
            number(_coefficient(random)),
            number(float(np.round(random.uniform(-3, 4), 2))),
        )
        terms.append(
            str(
                random.choice(
                    [
                        f"{a}**4",
                        f"-0.001*{a}**4",
                        f"0.01*{a}**3",
                        f"0.3*sin(5*{a})",
                        f"0.01*({a} - {p})**-2",
                        f"0.01/({a} - {p})",
                        f"-0.1*log({a} + 2.5)",
                        f"-exp(-(({a} - {p})/0.05)**2)",
                        f"cos({a})*{c}",
                        f"exp({a})",
                        f"{c}*tanh({a})",
                    ]
                )
            )
        )
    if random.random() < 0.4:
        terms.append(f"{number(_coefficient(random))}*{random.choice(own)}*({' + '.join(everybody)})/{len(everybody)}")
    return " + ".join(terms)


def _options(random: np.random.Generator, draft: Draft) -> dict[str, Any]:
    likely = [
        ("saturate", True, 0.2),
        ("quadratic", True, 0.15),
        ("multipliers", "free", 0.25),
        ("curvature", 0.5, 0.1),
        ("prefer", "sparsest", 0.1),
    ]
    options: dict[str, Any] = {name: value for name, value, chance in likely if random.random() < chance}
    if random.random() < 0.25:
        actions = [n for f in draft.followers for n in f.boxes]
        options["observe"] = [
            " + ".join(f"{number(_positive(random))}*{n}" for n in actions if random.random() < 0.7) or actions[0]
            for _ in range(random.integers(1, len(actions) + 1))
        ]
    return options


def _box(random: np.random.Generator, wide: Box) -> Box:
    low, high = wide
    return [(low, high), (low, high), (0.0, high), (-math.inf, math.inf), (0.0, math.inf)][int(random.integers(5))]


def _within(random: np.random.Generator, box: Box) -> float:
    low, high = max(box[0], -2.0), min(box[1], 3.0)
    return round(float(random.choice([low, high, *random.uniform(low, high, size=4)])), 2)


def _inside(draft: Draft) -> dict[str, float]:
    """The starting values, a little away from bounds."""
    boxes = {n: b for side in [draft.leader, *draft.followers] for n, b in side.boxes.items()}
    return {n: float(np.clip(v, boxes[n][0] + 1e-3, boxes[n][1] - 1e-3)) for n, v in draft.start.items()}


def _noisy(draft: Draft, random: np.random.Generator) -> dict[str, float]:
    """The starting values as a solver leaves them: nothing is at 0, but 1e-12 to 1e-6 away from it."""
    values = dict(draft.start)
    for side in draft.followers:
        for name, (low, high) in side.boxes.items():
            if random.random() < 0.5:
                values[name] = float(np.clip(10.0 ** random.uniform(-12, -6), low, high))
    return values


def _coefficient(random: np.random.Generator) -> float:
    return round(float(random.choice([-1, 1]) * random.uniform(0.1, 2.0)), 2)


def _positive(random: np.random.Generator) -> float:
    return abs(_coefficient(random))


# --- judgements -------------------------------------------------------------------------------------------------------


def rule_of(draft: Draft, rule: sp.Incentive, signals: list[str] | None) -> Rule:
    """What was announced, as plain numbers."""
    names = [s.split(".")[-1] for s in rule.signals] if signals is None else signals
    bend = None if rule.bend is None else rule.bend.toarray()
    plan = draft.plain({**rule.plan.values, **rule.offset})
    offset = {n: rule.offset[n] for n in rule.leader}
    return Rule(draft, list(rule.leader), names, offset, np.nan_to_num(rule.gain.to_numpy()), plan, bend)


def judged(
    draft: Draft, rule: Rule, report: sp.Report, random: np.random.Generator, ledger: Ledger, script: str
) -> None:
    """Is what the report says of each follower so?"""
    ledger.claim("report: verified" if report.ok else "report: not verified")
    for k, side in enumerate(draft.followers):
        kind = str(report.certificate[f"f{k}"])
        if kind == "unknown":
            ledger.claim("follower: unknown")
            continue
        fine = report.regret[f"f{k}"] <= report.tolerance * report.scale[f"f{k}"]
        if not fine:
            ledger.claim("follower: gains")
            continue
        seen = best_deviation(side, rule, rule.plan, random)
        scale = natural_scale(side, rule.plan, random)
        holds = seen.gain <= max(_REFUTED * scale, 1e-9) or not math.isfinite(scale)
        cut = rule.leaves_bounds({**rule.plan, **seen.values})
        why = f"f{k} gains {seen.gain:.4g} (its cost changes by {scale:.3g}) by {seen.values}"
        ledger.claim(f"no regret: {kind}{', leader at its bounds' if cut else ''}", holds, why, script)
        if kind == "convex" and not report.warnings and not report.subject.saturate:
            _convex(side, rule, k, random, ledger, script)


def _convex(side: Side, rule: Rule, k: int, random: np.random.Generator, ledger: Ledger, script: str) -> None:
    """A composed cost said to be convex, on dense samples within the bounds (or near the plan where there are none)."""
    free = Rule(rule.draft, rule.leader, rule.signals, rule.offset, rule.gain, rule.plan, rule.bend, cut=False)
    boxes = [(max(a, rule.plan[n] - 5), min(b, rule.plan[n] + 5)) for n, (a, b) in side.boxes.items()]
    bent = is_bent_down(played(side, free, rule.plan), boxes, random)
    ledger.claim("convex cost", bent is None, f"f{k}: midpoint above the chord {bent}", script)


def _accurate(draft: Draft, rule: Rule, random: np.random.Generator, ledger: Ledger, script: str) -> None:
    """A plan is known to 1e-6: the same gain around a plan that near to it leaves nobody much to gain."""
    boxes = {n: b for side in [draft.leader, *draft.followers] for n, b in side.boxes.items()}
    for _ in range(2):
        near = {n: float(np.clip(v + 1e-6 * random.normal(), *boxes[n])) for n, v in rule.plan.items() if n in boxes}
        near = {n: next((b for b in boxes[n] if abs(v - b) < 1e-5), v) for n, v in near.items()}
        moved = replace(rule, plan=near, offset={n: near[n] for n in rule.leader})
        for k, side in enumerate(draft.followers):
            if not side.is_feasible(near):
                continue
            seen, scale = best_deviation(side, moved, near, random), natural_scale(side, near, random)
            word = "the gain holds within the plan's accuracy"
            why = f"f{k} gains {seen.gain:.4g} (its cost changes by {scale:.3g}) at {near} by {seen.values}"
            if not ledger.claim(
                word, seen.gain <= 1e-2 * max(scale, 1e-6) or moved.leaves_bounds({**near, **seen.values}), why, script
            ):
                return


def _refused(
    draft: Draft,
    plan: sp.Plan,
    signals: list[str] | None,
    asked: dict[str, Any],
    random: np.random.Generator,
    ledger: Ledger,
    script: str,
) -> None:
    """A refusal is refuted by a gain that meets every condition and leaves nobody anything to gain."""
    at = draft.plain(plan.values)
    leaders, actions = list(draft.leader.boxes), [n for f in draft.followers for n in f.boxes]
    inside = all(b[0] + 1e-4 < at[n] < b[1] - 1e-4 for n, b in draft.leader.boxes.items())
    if not inside or asked.get("curvature") is not None:
        ledger.claim("refusal, not judged")
        return
    shown = actions if signals is None else signals
    moves = {s: {a: _share(draft, s, a, at) for a in actions} for s in shown}
    matrix, right = [], []
    for side in draft.followers:
        own = list(side.boxes)
        a, b = slopes(side, own, at), slopes(side, leaders, at)
        for name, slope in zip(own, a, strict=True):
            if any(moves[s][o] for s in shown for o in own):
                matrix.append([b[i] * moves[s][name] for i in range(len(leaders)) for s in shown])
                right.append(-slope)
    least, rank = np.linalg.lstsq(np.array(matrix), np.array(right), rcond=1e-7)[0], np.array(matrix)
    if np.abs(rank @ least - right).max() > 1e-7 or np.abs(least).max() > 1e3:
        ledger.claim("refusal: no gain meets the conditions")
        return
    _, sizes, rows = np.linalg.svd(rank)
    null = rows[(sizes > 1e-7 * sizes.max()).sum() :]
    for attempt in range(12):
        gain = least if attempt == 0 else least + null.T @ random.normal(size=len(null)) * 10.0 ** random.uniform(-1, 1)
        rule = Rule(draft, leaders, shown, {n: at[n] for n in leaders}, gain.reshape(len(leaders), -1), at)
        if all(_is_content(side, rule, at, random) for side in draft.followers if _is_seen(side, shown, moves)):
            ledger.claim("refusal: a gain is known", False, f"K = {np.round(gain, 6).tolist()} on {shown}", script)
            return
    ledger.claim("refusal: no gain seen")


def _share(draft: Draft, signal: str, action: str, at: dict[str, float]) -> float:
    return round(float(evaluated(signal, {**at, action: at[action] + 1.0}) - evaluated(signal, at)), 9)


def _is_seen(side: Side, shown: list[str], moves: dict[str, dict[str, float]]) -> bool:
    return any(moves[s][o] for s in shown for o in side.boxes)


def _is_content(side: Side, rule: Rule, at: dict[str, float], random: np.random.Generator) -> bool:
    """Nothing to gain, with and without the cut to the leader's bounds: no doubt is left."""
    scale = natural_scale(side, at, random)
    free = Rule(rule.draft, rule.leader, rule.signals, rule.offset, rule.gain, rule.plan, rule.bend, cut=False)
    return all(best_deviation(side, r, at, random).gain <= 1e-8 * max(scale, 1e-12) for r in (rule, free))


def _unique(
    draft: Draft, rule: Rule, report: sp.Report, random: np.random.Generator, ledger: Ledger, script: str
) -> None:
    """ "unique" is refuted by another equilibrium, where best responses lead from somewhere else."""
    if report.unique is None or not report.ok:
        return
    if report.unique is False:
        ledger.claim("equilibrium: not unique")
        return
    other = _other_equilibrium(draft, rule, random)
    ledger.claim("equilibrium: unique", other is None, f"another one: {other}", script)


def _other_equilibrium(draft: Draft, rule: Rule, random: np.random.Generator) -> dict[str, float] | None:
    for _ in range(2):
        at = dict(rule.plan)
        for side in draft.followers:
            at |= {n: float(np.clip(at[n] + 2 * random.normal(), *b)) for n, b in side.boxes.items()}
        for _ in range(12):
            before = dict(at)
            for side in draft.followers:
                at |= best_deviation(side, rule, at, random).values
            if all(abs(at[n] - before[n]) < 1e-7 for n in at):
                break
        away = max(abs(at[n] - rule.plan[n]) for f in draft.followers for n in f.boxes)
        if away > 1e-2 and all(best_deviation(side, rule, at, random).gain < 1e-9 for side in draft.followers):
            return {n: at[n] for f in draft.followers for n in f.boxes}
    return None
