"""Certificates: true ones are confirmed, changed ones refused, and what is false could not have been written."""

from __future__ import annotations

import ast
import copy
import dataclasses
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from stackpyomo.verification import checker
from stackpyomo.verification.certificate import certificate


def follower_game(seed: int) -> sp.Game:
    """Followers of one to three actions, at times with an aggregate, rows, a curved term or a sense of their own."""
    rng = np.random.default_rng(seed)
    count, size = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    m = pyo.ConcreteModel()
    m.t = pyo.Var(range(size * count), bounds=(-50, 50), initialize=0.0)
    m.Q = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(count))
    for k in m.f:
        b = m.f[k]
        bounded = bool(rng.random() < 0.7)
        b.u = pyo.Var(range(size), bounds=(-3, 3) if bounded else (None, None), initialize=0.5)
        root = rng.normal(size=(size, size))
        own = root @ root.T + 0.3 * np.eye(size)
        u = [b.u[i] for i in range(size)]
        cost = sum(own[i, j] * u[i] * u[j] for i in range(size) for j in range(size)) + float(rng.normal()) * u[0]
        cost += sum(m.t[k * size + i] * u[i] for i in range(size)) + 0.1 * m.Q * u[0]
        if rng.random() < 0.3 and bounded:
            cost += pyo.exp(0.3 * u[0]) + 0.1 * (u[0] + u[-1] + 7) ** 4 / 100
        sign = int(rng.choice([1, -1]))
        unit = float(10.0 ** rng.integers(-3, 4))
        sense = pyo.minimize if sign > 0 else pyo.maximize
        b.cost = pyo.Objective(expr=sign * unit * cost, sense=sense)
        if rng.random() < 0.4 and size > 1:
            b.row = pyo.Constraint(expr=sum(u) == 1.0 if rng.random() < 0.5 else sum(u) <= 1.5)
    m.total = pyo.Constraint(expr=sum(m.f[k].u[0] for k in m.f) == m.Q)
    wanted = rng.uniform(-0.4, 0.4, size=count * size)
    actions = [v for k in m.f for v in m.f[k].u.values()]
    m.goal = pyo.Objective(
        expr=sum((v - float(w)) ** 2 for v, w in zip(actions, wanted, strict=True)) + sum(v**2 for v in m.t.values())
    )
    return sp.Game(m, followers=[m.f[k] for k in m.f], aggregates=m.total)


def verified(seeds: Iterator[int], count: int) -> Iterator[sp.Report]:
    """Reports of games whose rule is verified with a proof."""
    while count:
        try:
            plan = sp.leader_optimal(follower_game(next(seeds)))
            rule = sp.affine_incentive(plan, design="slopes", saturate=count % 5 == 0)
        except sp.NoIncentive:
            continue
        report = sp.verify(rule)
        if report.ok and set(report.certificate) <= {"convex", "global"}:
            count -= 1
            yield report


@pytest.fixture(scope="module")
def reports() -> list[sp.Report]:
    return list(verified(iter(range(1000)), 5))


@pytest.fixture(scope="module")
def written(reports: list[sp.Report]) -> list[dict[str, Any]]:
    return [certificate(report) for report in reports]


@pytest.mark.slow
def test_verified_reports_are_confirmed(written: list[dict[str, Any]]) -> None:
    for document in written:
        checked = checker.check(json.loads(json.dumps(document)))
        assert [one.name for one in checked if not one.ok] == []
        assert len(checked) == len(document["game"]["followers"])


def numbers(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every number of a document, also to those inside of formulas (with their place in the text)."""
    if isinstance(part, dict):
        for key, inner in part.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(part, list):
        for i, inner in enumerate(part):
            yield from numbers(inner, (*path, i))
    elif isinstance(part, float) and part:
        yield path
    elif isinstance(part, str) and (path[-1] in ("objective", "cost") or "constraints" in path):
        for match in re.finditer(r"(?<![\w.])[1-9]\d*\.?\d*(?![\w.])", part):
            yield (*path, match.span())


def changed(document: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """A copy with one leading digit of one number changed, and the digest made to fit."""
    forged = copy.deepcopy(document)
    *inner, last = path
    place = forged
    for key in inner[:-1] if isinstance(last, tuple) else inner:
        place = place[key]
    if isinstance(last, tuple):
        text, (start, end) = place[inner[-1]], last
        digit = "2" if text[start] != "2" else "7"
        place[inner[-1]] = text[:start] + digit + text[start + 1 : end] + text[end:]
    else:
        place[last] = place[last] * 1.7
    forged["digest"] = checker.digest(forged)
    return forged


IDLE = ("start", "leader", "within", "regret", "multipliers", "weight", "epsilon", "point", "cases")
"""What decides nothing of the followers (the leader's objective, starting values), or would only claim less."""


@pytest.mark.slow
def test_a_changed_digit_is_found(written: list[dict[str, Any]]) -> None:
    rng, refused = random.Random(1), 0
    for document in written:
        places = [path for path in numbers(document) if not set(path[2:]) & set(IDLE) and "leader" not in path]
        for path in rng.sample(places, min(len(places), 8)):
            forged = changed(document, path)
            try:
                confirmed = all(one.ok for one in checker.check(forged))
            except checker.BadCertificate:
                confirmed = False
            assert not confirmed, path
            refused += 1
    assert refused > 25


def test_plain_damage_is_found(written: list[dict[str, Any]]) -> None:
    text = json.dumps(written[0])
    rng = random.Random(2)
    places = [m.start() for m in re.finditer(r"\d", text[: text.index('"digest"')])]
    for place in rng.sample(places, 30):
        digit = str((int(text[place]) + rng.randint(1, 9)) % 10)
        damaged = json.loads(text[:place] + digit + text[place + 1 :])
        if damaged == json.loads(text):  # the last of 17 digits, which the same number may be read from
            continue
        with pytest.raises(checker.BadCertificate):
            checker.check(damaged)


def pole() -> sp.Game:
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-2, 2), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-2, 2), initialize=-0.2036)
    m.f.cost = pyo.Objective(expr=0.01 * m.f.u**-2 + (m.f.u - 1) ** 2 + 0 * m.t)
    m.goal = pyo.Objective(expr=(m.f.u + 0.2) ** 2 + m.t**2)
    return sp.Game(m, followers=m.f)


def claimed(report: sp.Report, kind: str = "convex") -> dict[str, Any]:
    """The certificate that a report would be with every follower called proved and without regret."""
    report.regret[:], report.certificate[:] = 0.0, kind
    document = certificate(report)
    for claims in document["followers"].values():
        claims["epsilon"] = claims["within"]
    return {**document, "digest": checker.digest(document)}


def test_a_pole_between_the_plan_and_something_better_is_not_confirmed() -> None:
    report = sp.verify(sp.Plan.from_values(pole()))
    assert not any(one.ok for one in checker.check(claimed(report)))


@pytest.mark.parametrize("unit", [1e-5, 1e5])
@pytest.mark.parametrize(("exponent", "confirmed"), [(-2, True), (-4, True), (-1, False), (-3, False)])
@pytest.mark.parametrize("bound", [2.0, None])
def test_over_an_even_pole_a_cost_is_bounded_and_over_an_odd_one_it_is_not(
    unit: float, exponent: int, confirmed: bool, bound: float | None
) -> None:
    """0.01 u^a + (u − 1)² next to 1: an even a rises on both sides of 0, an odd one falls without limit below it."""
    best = minimize_scalar(lambda u: 0.01 * u**exponent + (u - 1) ** 2, bounds=(0.6, 2.0), options={"xatol": 1e-12}).x
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-2, 2), initialize=0.0), pyo.Block()
    ends = (None, None) if bound is None else (-bound * unit, bound * unit)
    m.f.u = pyo.Var(bounds=ends, initialize=best * unit)
    u = m.f.u / unit
    m.f.cost = pyo.Objective(expr=0.01 * u**exponent + (u - 1) ** 2 + 0 * m.t)
    m.goal = pyo.Objective(expr=(u - best) ** 2 + m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    (one,) = checker.check(claimed(report, "global"))
    assert one.ok == confirmed


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("actions", [1, 2])
def test_a_rule_that_is_stopped_at_bounds_is_proved_case_by_case(unit: float, actions: int) -> None:
    """Two prices between bounds that a deviation reaches: 9 cases, each proved by its own point and multipliers."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([0, 1], bounds=(-1, 1)), pyo.Block()
    m.f.u = pyo.Var([0, 1][:actions], bounds=(-4 * unit, 6 * unit))
    u = [v / unit for v in m.f.u.values()]
    bent = sum(5 * (v - 2) ** 2 for v in u) + pyo.exp(u[0] / 4 + m.t[1])
    m.f.cost = pyo.Objective(expr=bent + m.t[0] * (u[0] + 3) + m.t[1] * (u[-1] - 5))
    m.goal = pyo.Objective(expr=sum((v - 1.7) ** 2 for v in u) + (m.t[0] - 0.1) ** 2 + (m.t[1] + 0.2) ** 2)
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f))))
    assert report.cut
    assert report.ok
    document = certificate(report)
    cases = document["followers"]["f"]["cases"]
    assert len({str(case["choice"]) for case in cases}) == len(cases) > 1
    (one,) = checker.check(document)
    assert one.ok
    player = next(checker.problems(document))
    assert checker.derived(player, boxes=1) <= one.claimed, "no box is halved"
    for case in cases:  # what they say of where the rule is, is looked at
        if case["edges"]:
            forged = copy.deepcopy(document)
            (same,) = [c for c in forged["followers"]["f"]["cases"] if c["choice"] == case["choice"]]
            same["edges"][0] = -1.0
            with pytest.raises(checker.BadCertificate, match="wrong sign"):
                checker.check({**forged, "digest": checker.digest(forged)})


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize(("name", "level"), [("u", 1.4), ("u", -0.3), ("cost", 2.0)])
def test_a_broken_plan_is_found_in_any_unit(unit: float, name: str, level: float) -> None:
    """u ≤ 1.2 by a row, u ≥ 0 by its bound, and the cost that is stated: all below a millionth, where the unit is."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-2, 2), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2 * unit), initialize=unit)
    m.f.row = pyo.Constraint(expr=m.f.u <= 1.2 * unit)
    m.f.cost = pyo.Objective(expr=unit * ((m.f.u / unit - 1) ** 2 + 0.5 + m.t))
    m.goal = pyo.Objective(expr=(m.f.u / unit - 1) ** 2 + m.t**2)
    document = certificate(sp.verify(sp.Plan.from_values(sp.Game(m, m.f))))
    assert all(one.ok for one in checker.check(document))
    (symbol,) = [v["name"] for v in document["game"]["followers"][0]["variables"]]
    if name == "u":
        document["plan"][symbol] = level * unit
        document["followers"]["f"]["cost"] = unit * ((level - 1) ** 2 + 0.5)
    else:
        document["followers"]["f"]["cost"] = level * unit
    (one,) = checker.check({**document, "digest": checker.digest(document)})
    assert one.faults


def test_a_gain_of_noise_is_not_confirmed() -> None:
    """The follower's cost does not depend on the toll but for 1e-13: no rule holds it, whatever its gain."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-8, 8), initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 8) ** 2)
    m.goal = pyo.Objective(expr=m.f.u**2 + m.t**2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    report = sp.verify(plan)
    assert report.regret["f"] == pytest.approx(64.0)
    (one,) = checker.check(claimed(report))
    assert not one.ok
    assert one.epsilon > 63.0


@pytest.mark.parametrize(
    ("cost", "box", "plan"),
    [
        (lambda u: u**4 / 4 - u**2 / 2, (-2, 2), 1.0),
        (lambda u: pyo.sin(3 * u) + u**2 / 4, (-4, 4), -0.4965),
        (lambda u: -pyo.exp(-(u**2)) + 0.01 * u**2, (-9, 9), 0.0),
    ],
)
def test_what_is_not_convex_is_bounded_box_by_box(
    cost: Callable[[Any], Any], box: tuple[float, float], plan: float
) -> None:
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(initialize=0.0, bounds=(-1, 1)), pyo.Block()
    m.f.u = pyo.Var(bounds=box, initialize=plan)
    m.f.cost = pyo.Objective(expr=cost(m.f.u))
    m.goal = pyo.Objective(expr=m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    grid = []
    for u in np.linspace(*box, 20001):
        m.f.u.set_value(float(u))
        grid.append(pyo.value(m.f.cost))
    m.f.u.set_value(plan)
    best = pyo.value(m.f.cost) - min(grid)
    report.tolerance = 1e-4
    (one,) = checker.check(certificate(report))
    assert one.ok
    assert one.epsilon >= best - 1e-12


def test_what_is_played_is_certified_where_linear_rows_are_the_only_end() -> None:
    """The rule stops at the leader's bounds; the follower's action ends by its row alone.

    Without these ends there is −u³ to gain: the file shows what the report says, and not more.
    """
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(0, None), initialize=0.3), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, None), initialize=0.7)
    m.f.row = pyo.Constraint(expr=0.5 * m.f.u <= 1.25)
    m.f.cost = pyo.Objective(expr=(m.f.u + 0.6) ** 2 + 2 * m.t * m.f.u**2 - 4 * m.t + pyo.exp(m.f.u))
    m.goal = pyo.Objective(expr=(m.f.u - 0.7) ** 2 + 0.1 * (m.t - 0.3) ** 2)
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), saturate=True))
    assert set(report.certificate) <= {"convex", "global"}
    document = certificate(report)
    assert document["rule"]["saturate"]
    (one,) = checker.check(document)
    assert one.ok
    assert one.bounded
    assert one.epsilon == pytest.approx(report.epsilon, abs=1e-5)


def test_nothing_is_claimed_of_what_is_unknown(reports: list[sp.Report]) -> None:
    report = dataclasses.replace(reports[0], certificate=reports[0].certificate.copy())
    report.certificate.iloc[0] = "unknown"
    with pytest.raises(sp.InvalidGame, match="nothing is known"):
        certificate(report)
    with pytest.raises(sp.InvalidGame, match="verify again"):
        certificate(sp.Report.from_json(report.to_json()))


def test_the_checker_runs_alone(tmp_path: Path, written: list[dict[str, Any]]) -> None:
    """One file, copied elsewhere, with mpmath and nothing of the package."""
    alone = shutil.copy(checker.__file__, tmp_path / "alone.py")
    nodes = list(ast.walk(ast.parse(Path(alone).read_text("utf-8"))))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert modules - set(sys.stdlib_module_names) == {"mpmath"}
    good, bad, broken = (tmp_path / name for name in ("good.json", "bad.json", "broken.json"))
    good.write_text(json.dumps(written[0]))
    name = next(iter(written[0]["followers"]))
    bad.write_text(json.dumps(changed(written[0], ("followers", name, "cost"))))
    broken.write_text("{}")
    mpmath_home = str(Path(mpmath.__file__).parents[1])
    for path, code, words in ((good, 0, "confirmed:"), (bad, 1, "NOT confirmed"), (broken, 2, "no certificate")):
        play = f"import sys, runpy; sys.path.append({mpmath_home!r}); sys.argv[1:] = [{str(path)!r}]"
        play += f"; runpy.run_path({str(alone)!r}, run_name='__main__')"
        command = [sys.executable, "-S", "-E", "-c", play]
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert (run.returncode, words in run.stdout + run.stderr) == (code, True), run.stderr


def test_files_that_cannot_be_written_or_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    m = pyo.ConcreteModel()
    m.toll, m.f = pyo.Var(bounds=(-1, 1), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.toll * m.f.u)
    m.goal = pyo.Objective(expr=m.toll**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    with pytest.raises(sp.InvalidGame, match=r"gone/proof.json: cannot be written \(No such file or directory\)"):
        report.to_certificate(tmp_path / "gone" / "proof.json")
    text = tmp_path / "text.json"
    text.write_text("no JSON")
    for path, words in ((tmp_path / "gone.json", "No such file or directory"), (text, "it is not JSON (")):
        assert checker.main(str(path)) == 2
        assert f"{path.name}: no certificate that can be checked: {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["__import__('os')", "(lambda: 1)()", "x.real", "[1]", "1 if x else 2", "x // 2", "exp(1, 2)"]
)
def test_formulas_are_arithmetic_alone(text: str) -> None:
    with pytest.raises(checker.BadCertificate):
        checker.value(checker.parsed(text), {"x": checker.number(1.0)})
