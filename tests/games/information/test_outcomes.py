"""Outcomes: tables, probabilities and what an observation can be, against figures by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.errors import InvalidGame
from stackpyomo.games.information.outcomes import labelling

TABLE = {"x": [1, 1, 2, 2], "y": ["L", "H", "L", "H"]}
WEIGHTS = [0.45, 0.15, 0.08, 0.32]
COIN = iter(range(1000))


def test_without_probabilities_all_are_alike() -> None:
    np.testing.assert_allclose(sp.Scenarios({"x": range(8)}).probability, 1 / 8)


@pytest.mark.parametrize(
    ("what", "wanted"),
    [
        ("x", [1, 1, 2, 2]),
        (["x"], [1, 1, 2, 2]),
        (["y", "x"], [("L", 1), ("H", 1), ("L", 2), ("H", 2)]),
        (["a", "b", "a", "b"], ["a", "b", "a", "b"]),
        (np.array([3, 3, 4, 4]), [3, 3, 4, 4]),
        (pd.Series([3, 3, 4, 4], index=[9, 8, 7, 6]), [3, 3, 4, 4]),
        ([[0, 1], [0, 1], [1, 1], [0, 0]], [(0, 1), (0, 1), (1, 1), (0, 0)]),
        (lambda row: row["x"] > 1, [False, False, True, True]),
        (lambda row: np.float64(row["x"]), [1.0, 1.0, 2.0, 2.0]),
    ],
)
def test_what_an_observation_can_be(what: Any, wanted: list[Any]) -> None:
    scenarios = sp.Scenarios(TABLE, WEIGHTS, {"seen": what})
    assert [scenarios.atom("seen", w) for w in scenarios] == wanted
    assert scenarios.atoms("seen") == list(dict.fromkeys(wanted))
    assert not any(isinstance(a, np.generic) for a in scenarios.atoms("seen"))
    model = pyo.ConcreteModel()
    model.u = pyo.Var(scenarios.atoms("seen"))
    assert len(model.u) == len(set(wanted))
    assert len({id(model.u[scenarios.atom("seen", w)]) for w in scenarios}) == len(set(wanted))


@pytest.mark.parametrize("whole", [True, False])
def test_labels_of_their_own_put_outcomes_probabilities_and_observations_in_order(whole: bool) -> None:
    columns = {"x": pd.Series([1, 2, 3], index=list("abc")), "y": pd.Series([30, 20, 10], index=list("cba"))}
    weights, seen = pd.Series([0.2, 0.3, 0.5], index=list("bca")), pd.Series(["B", "A", "A"], index=list("bac"))
    scenarios = sp.Scenarios(pd.DataFrame(columns) if whole else columns, weights, {"seen": seen})
    assert scenarios.outcomes.to_numpy().tolist() == [[1, 10], [2, 20], [3, 30]]
    assert scenarios.probability.tolist() == [0.5, 0.2, 0.3]
    assert [scenarios.atom("seen", w) for w in scenarios] == ["A", "B", "A"]


def test_two_names_for_two_scenarios_are_names() -> None:
    scenarios = sp.Scenarios({"x": [1, 1], "y": [2, 2]}, None, {"both": ["x", "y"]})
    assert scenarios.atoms("both") == [(1, 2)]


def test_labels_are_numbered_as_they_turn_up() -> None:
    shown = labelling("seen", ["b", "a", "b", np.int64(3)])
    assert (shown.atoms, shown.codes.tolist()) == (["b", "a", 3], [0, 1, 0, 2])
    assert (shown.labels(), shown.labels([3, 0])) == (["b", "a", "b", 3], [3, "b"])
    np.testing.assert_allclose(shown.weights(np.array([0.1, 0.2, 0.3, 0.4])), [0.4, 0.2, 0.4])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sp.Scenarios(TABLE, [0.5, 0.6, -0.1, 0.0]), "that of scenario 2 is -0.1"),
        (lambda: sp.Scenarios(TABLE, [0.5, 0.5, math.nan, 0.0]), "that of scenario 2 is nan"),
        (lambda: sp.Scenarios(TABLE, [0.5, math.inf, 0.5, 0.0]), "that of scenario 1 is inf"),
        (lambda: sp.Scenarios(TABLE, [0.5, 0.2, 0.1, 0.1]), "sum to 0.9, not 1"),
        (lambda: sp.Scenarios(TABLE, [0.5, 0.5]), "2 for 4 scenarios"),
        (lambda: sp.Scenarios(TABLE, "many"), "one number per scenario"),
        (lambda: sp.Scenarios(TABLE, [[0.5, 0.2], [0.1, 0.2]]), "a table of shape (2, 2)"),
        (lambda: sp.Scenarios({"x": [1, 2], "y": [1, 2, 3]}), "different lengths (x: 2, y: 3)"),
        (lambda: sp.Scenarios({}), "expected a DataFrame or a dict"),
        (lambda: sp.Scenarios([1, 2]), "expected a DataFrame or a dict"),
        (lambda: sp.Scenarios({"x": []}), "no scenario"),
        (lambda: sp.Scenarios(pd.DataFrame(index=range(3))), "no scenario"),
        (lambda: sp.Scenarios({"x": [1.0, math.nan]}), "x: shows nan in scenario 1"),
        (lambda: sp.Scenarios({"x": [1, None]}), "x: shows None in scenario 1"),
        (lambda: sp.Scenarios({"x": [{}, {}]}), "x: shows {} in scenario 0"),
        (lambda: sp.Scenarios({"x": np.eye(2)}), "x: an outcome is one value per scenario"),
        (lambda: sp.Scenarios(pd.DataFrame([[1, 2]], columns=["x", "x"])), "x: the name of two outcomes"),
        (lambda: sp.Scenarios({"probability": [0.5, 0.5]}), "probability: no name for an outcome"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"y": ["a"] * 4}), "y: the name of an outcome"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, ["y"]), "observations=['y']: expected {name"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": "w"}), "w: no outcome of that name (x, y)"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": [1, 2]}), "z: 2 labels for 4 scenarios"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": 5}), "z: 0 labels for 4 scenarios"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": lambda row: next(COIN)}), "z: not a function of the scenario"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": lambda row: row["w"]}), "z: cannot be computed (KeyError: 'w')"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": lambda row: None}), "z: shows None in scenario 0"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": lambda row: (1, [2])}), "z: shows (1, [2]) in scenario 0"),
        (lambda: sp.Scenarios(TABLE, WEIGHTS, {"z": lambda row: (1, math.nan)}), "z: shows (1, nan) in scenario 0"),
    ],
)
def test_bad_tables_are_refused(make: Any, words: str) -> None:
    with pytest.raises(InvalidGame) as refusal:
        make()
    assert words in str(refusal.value)
