"""Values at another point than the model's own: by hand, and with the model left as it was."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game
from pyomo.core.staleflag import StaleFlagManager

from stackpyomo.core import undisturbed
from stackpyomo.games import evaluated_at, evaluator, objective_at

AT = {"toll": 0.5, "driver.flow": 0.25}


def test_an_expression_has_its_value_at_the_point() -> None:
    game = toll_game()
    value = evaluator(game, AT)
    assert value(game.model.toll * game.model.driver.flow + 1) == pytest.approx(1.125)
    assert value(2.5) == 2.5
    assert math.isnan(value(pyo.log(game.model.driver.flow - 1))), "outside of its domain"


def test_a_fixed_variable_keeps_its_own_value() -> None:
    game = toll_game()
    game.model.toll.fix(2.0)
    assert evaluator(game, AT)(game.model.toll + game.model.driver.flow) == pytest.approx(2.25)


def test_an_objective_is_in_the_users_sense() -> None:
    game = toll_game()
    driver = game.followers["driver"]
    assert objective_at(game, driver, AT) == pytest.approx(0.75**2 + 0.125)
    driver.objectives[0].sense = pyo.maximize
    assert objective_at(game, driver, AT) == pytest.approx(0.75**2 + 0.125)
    driver.objectives[0].deactivate()
    assert math.isnan(objective_at(game, driver, AT))


def test_the_model_has_its_own_values_again() -> None:
    game = toll_game()
    game.model.toll.set_value(1.5)
    game.model.driver.flow.stale = True
    before = snapshot(game.model)

    def fail() -> None:
        with evaluated_at(game, AT):
            assert pyo.value(game.model.miss) == pytest.approx(0.35**2 + 0.0025)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert snapshot(game.model) == before


@pytest.mark.parametrize("enclosed", [False, True])
def test_what_is_stale_stays_so_after_a_solve_of_something_else(enclosed: bool) -> None:
    """After a solve Pyomo's next set_value makes every Var stale: ours must not be that one."""
    game = toll_game()
    for var in game.variables_by_name.values():
        var.set_value(0.5, skip_validation=True)
    before = snapshot(game.model)
    with undisturbed():
        StaleFlagManager.mark_all_as_stale(delayed=True)
        with evaluated_at(game, dict.fromkeys(game.variables_by_name, 0.25)):
            assert {var.value for var in game.variables_by_name.values()} == {0.25}
            if enclosed:
                StaleFlagManager.mark_all_as_stale()
    assert snapshot(game.model) == before
