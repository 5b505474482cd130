"""Experiments: tables of what was announced and done, rules in force, and cells that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import household
from helpers.customers import BOUNDS, ROWS, customer, under_rules

import stackpyomo as sp


@pytest.mark.slow
def test_rows_gathered_under_a_rule_carry_it() -> None:
    lines = [(1.0, 0.5), (0.0, 0.0), (-1.0, 1.5), (2.0, 0.25)]
    u = under_rules(lines, 6.0, 2.0)
    game = customer()
    m = game.model
    rows = pd.DataFrame({"p": [c + k * x for (c, k), x in zip(lines, u, strict=True)], "f.u": u})
    forms: dict[str, Any] = {
        "pairs": [{"p": line} for line in lines],
        "expressions": [{"p": c + k * m.f.u} for c, k in lines],
        "gains": [{m.p.name: (c, {"f.u": k})} for c, k in lines],
        "constants where there is no gain": [{"p": line} if line[1] else None for line in lines],
        "by the index": {t: {"p": line} for t, line in enumerate(lines)},
    }
    for form, rules in forms.items():
        found = sp.fit(game, rows, BOUNDS, rules=rules)
        assert found.parameters.tolist() == pytest.approx([6.0, 2.0], rel=1e-6), form
        quick = sp.fit(game, rows, BOUNDS, rules=rules, method="residuals")
        assert quick.parameters.tolist() == pytest.approx([6.0, 2.0], rel=1e-6), form
    named = rows.assign(rule=["a", None, "b", "c"])
    rules = {"a": {"p": lines[0]}, "b": {"p": lines[2]}, "c": {"p": lines[3]}}
    assert sp.fit(game, named, BOUNDS, rules=rules).parameters.tolist() == pytest.approx([6.0, 2.0], rel=1e-6)


def test_a_rule_that_is_not_said_is_taken_for_slope() -> None:
    """Under one K and several offsets the prices seen fit h + K for h."""
    lines = [(c, 0.5) for c in (0.0, 1.0, 2.0)]
    u = under_rules(lines, 6.0, 2.0)
    rows = {"p": [c + k * x for (c, k), x in zip(lines, u, strict=True)], "f.u": u}
    assert sp.fit(customer(), rows, BOUNDS).parameters.tolist() == pytest.approx([6.0, 2.5], rel=1e-6)


def test_an_incentive_is_a_rule() -> None:
    truth, belief = customer(4.0, 1.0), customer(7.0, 2.0)
    rule = sp.affine_incentive(sp.leader_optimal(belief))
    gain = float(rule.gain.iloc[0, 0])
    u = (4.0 - rule.offset["p"] + gain * rule.targets["f.u"]) / (1.0 + 2.0 * gain)
    assert u == pytest.approx(9 / 11)
    rows = {"f.u": [u, 4.0], "p": [np.nan, 0.0]}
    found = sp.fit(truth, rows, BOUNDS, rules=[rule, None])
    assert found.parameters.tolist() == pytest.approx([4.0, 1.0], rel=1e-6)
    many = sp.Game(belief.model, followers=sp.Population(belief.model.f, 10))
    crowd = sp.affine_incentive(sp.leader_optimal(many))
    with pytest.raises(sp.InvalidGame, match=r"rules: f\.u is each member's own of a population"):
        sp.fit(truth, rows, BOUNDS, rules=[crowd, None])


def test_what_was_not_observed_is_left_out() -> None:
    rows = {"p[1]": [3.0, 2.0], "p[2]": [2.0, 2.5], "home.u[1]": [1.0, 2.0]}
    found = sp.fit(household(), rows, ["want[1]"])
    assert found.parameters.tolist() == pytest.approx([4.0], rel=1e-6)
    assert found.residuals["home.u[2]"].isna().all()
    with pytest.raises(sp.InvalidGame, match=r"home.u\[2\] was not observed; use method"):
        sp.fit(household(), rows, ["want[1]"], method="residuals")


def spoiled(column: str, value: Any) -> pd.DataFrame:
    rows = ROWS.astype(object).copy()
    rows.loc[2, column] = value
    return rows


def test_a_column_that_is_there_twice_is_named() -> None:
    with pytest.raises(sp.InvalidGame, match=r"rows: f\.u is the name of two columns"):
        sp.fit(household(), pd.concat([ROWS, ROWS[["f.u"]]], axis=1), ["want[1]"])


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "n/a"])
@pytest.mark.parametrize("column", ["p", "f.u"])
def test_a_cell_without_a_number_is_named(column: str, value: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=rf"row 2, column {column}: (nan|inf|None|n/a) is not a finite number"):
        sp.fit(customer(), spoiled(column, value), BOUNDS)


@pytest.mark.parametrize(
    ("rows", "parameters", "options", "message"),
    [
        (spoiled("f.u", 25.0), BOUNDS, {}, r"row 2, column f.u: 25 lies outside what f can do \(0"),
        (spoiled("f.u", -0.2), BOUNDS, {"noise": 0.1}, "row 2, column f.u: -0.2 lies outside"),
        (spoiled("f.u", 9.0), BOUNDS, {"noise": 0.1}, "these together: .*row 2, f.u at least 8.9"),
        (ROWS, {"theta": (0, 3), "h": (1, 2)}, {"noise": 0.1}, "these together: .*theta at most 3"),
        (ROWS, {"theta": (None, None), "h": (0, 1)}, {}, r"the bounds of theta are \(None, None\); give"),
        (ROWS, {"theta": (0, np.inf)}, {}, "the bounds of theta are"),
        (ROWS, {"theta": 3.0}, {}, "the bounds of theta are 3.0"),
        (ROWS, {"theta": (3, 3)}, {}, "theta has no value between 3 and 3"),
        (ROWS, ["theta", "unused"], {}, "unused: enters no follower's objective, constraint or bound"),
        (ROWS, ["theta", "gone"], {}, "gone: is not mutable"),
        (ROWS, ["theta", "p"], {}, "p is no Param; fit what the model declares"),
        (ROWS, ["tehta"], {}, "tehta: .* has no component of that name. Did you mean theta"),
        (ROWS, [], {}, "none given; name at least one mutable Param"),
        (ROWS, 3, {}, "expected Params, their names, or a mapping"),
        (ROWS.drop(columns="p"), BOUNDS, {}, "p: the followers' problems hold it, and the data have no such column"),
        (ROWS.drop(columns="f.u"), BOUNDS, {}, r"f.u: no column of rows \(p\); add what f did, under"),
        (ROWS[:0], BOUNDS, {}, "rows: holds no row"),
        (object(), BOUNDS, {}, "rows: expected a DataFrame"),
        (ROWS, BOUNDS, {"method": "magic"}, "method='magic': expected one of responses, residuals"),
        (ROWS, BOUNDS, {"noise": -1}, "noise=-1 for f.u: expected a finite number"),
        (ROWS, BOUNDS, {"noise": {"p": 1}}, "noise=None for f.u: expected a finite number"),
        (ROWS, BOUNDS, {"rules": [None, None]}, "rules: 2 for 5 rows"),
        (ROWS, BOUNDS, {"rules": {"f.u": 3.0}}, "rules: 'f.u' is not a leader variable"),
        (ROWS, BOUNDS, {"rules": [{"p": "high"}] * 5}, "p announces 'high'; give an expression"),
        (ROWS.assign(rule="b"), BOUNDS, {"rules": {"a": {"p": (0, 1)}}}, "'a' .* of rules= and column rule"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(rows: Any, parameters: Any, options: dict[str, Any], message: str) -> None:
    game = customer()
    game.model.unused = pyo.Param(initialize=1.0, mutable=True)
    game.model.gone = pyo.Param(initialize=1.0)
    with pytest.raises(sp.InvalidGame, match=message):
        sp.fit(game, rows, parameters, **options)


def test_no_game_is_named() -> None:
    with pytest.raises(sp.InvalidGame, match=r"fit\(str\): expected a Game"):
        sp.fit("game", ROWS, BOUNDS)  # type: ignore[arg-type]
