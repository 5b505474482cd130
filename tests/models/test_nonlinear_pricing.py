"""Nonlinear pricing: the closed forms against SciPy, the computed menu, line and constants against the closed forms."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

import stackpyomo as sp
from models import nonlinear_pricing as pricing
from stackpyomo.errors import InvalidGame

DRAWN = [
    (pricing.WORTH, pricing.PROBABILITY),
    ((3.0, 4.0), (2 / 3, 1 / 3)),
    ((6.0, 6.5, 8.0, 8.5), (0.3, 0.3, 0.05, 0.35)),  # ironed
    ((4.0, 5.0, 6.0, 7.0), (0.25, 0.25, 0.25, 0.25)),
    ((9.0, 10.0, 11.0), (0.05, 0.35, 0.6)),  # the lowest type is left out of the menu
]


def arrays(types: sp.Scenarios) -> tuple[np.ndarray, np.ndarray]:
    return np.array(types["theta"]), np.array(types.probability)


def best_menu(theta: np.ndarray, probability: np.ndarray) -> Any:
    """All pairs (q, payment), with every row of self-selection and participation: a convex program of SciPy's."""
    n = len(theta)

    def gain(x: np.ndarray, own: int, item: int) -> float:
        return float(theta[own] * x[item] - x[item] ** 2 / 2 - x[n + item])

    rows = [lambda x, i=i: gain(x, i, i) for i in range(n)]
    rows += [lambda x, i=i, j=j: gain(x, i, i) - gain(x, i, j) for i, j in permutations(range(n), 2)]
    return minimize(
        lambda x: -float(probability @ x[n:]),
        np.concatenate([theta / 2, theta**2 / 8]),
        bounds=[(0.0, 20.0)] * n + [(None, None)] * n,
        constraints=[{"type": "ineq", "fun": row} for row in rows],
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )


def profit(theta: np.ndarray, probability: np.ndarray, c: Any, slope: Any) -> Any:
    """Of the line p = c + K q, 1 + 2 K = 1/slope, and the largest fee at which all take part; types may use nothing."""
    c, slope = np.asarray(c)[..., None], np.asarray(slope)[..., None]
    q = np.clip(slope * (theta - c), 0.0, pricing.MOST)
    bill = c * q + (1 / slope - 1) / 2 * q**2
    fee = (theta * q - q**2 / 2 - bill).min(axis=-1)
    return np.where(fee >= 0, bill @ probability + fee, -np.inf)


@pytest.mark.parametrize(("worth", "probability"), DRAWN)
def test_the_menu_is_the_best_that_self_selection_leaves(worth: tuple[float, ...], probability: Any) -> None:
    types = pricing.buyers(worth, probability)
    best, closed = best_menu(*arrays(types)), pricing.menu(types)
    assert best.success or best.status == 8  # rounding ends the last search along a line on some machines: at the best
    assert closed.profit == pytest.approx(-best.fun, abs=1e-8)
    n, theta = len(worth), np.array(worth)
    np.testing.assert_allclose(closed.quantity, best.x[:n], atol=1e-5)
    np.testing.assert_allclose(closed.rent, theta * best.x[:n] - best.x[:n] ** 2 / 2 - best.x[n:], atol=1e-5)


@pytest.mark.parametrize(("worth", "probability"), DRAWN)
def test_the_line_is_the_best_of_all_lines(worth: tuple[float, ...], probability: Any) -> None:
    """Against a grid over all prices and slopes, also those that leave types out, and Nelder–Mead from its best."""
    types = pricing.buyers(worth, probability)
    data, closed = arrays(types), pricing.affine(types)
    grid = np.meshgrid(np.linspace(-5.0, worth[-1], 600), np.geomspace(0.05, 50.0, 600), indexing="ij")
    on_grid = profit(*data, *grid)
    assert on_grid.max() <= closed.profit + 1e-9
    place = np.unravel_index(int(on_grid.argmax()), on_grid.shape)
    best = minimize(
        lambda x: -float(profit(*data, x[0], np.exp(x[1]))),
        [grid[0][place], np.log(grid[1][place])],
        method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000},
    )
    assert closed.profit == pytest.approx(-best.fun, abs=1e-9)
    q = np.exp(best.x[1]) * (np.array(worth) - best.x[0])
    np.testing.assert_allclose(closed.quantity, q, atol=1e-4)
    constant = minimize(
        lambda x: -float(profit(*data, x[0], 1.0)), [1.0], method="Nelder-Mead", options={"xatol": 1e-10}
    )
    assert pricing.two_part(types).profit == pytest.approx(-constant.fun, abs=1e-9)


@pytest.mark.parametrize(("worth", "probability"), DRAWN)
def test_profits_are_half_the_squares_and_in_order(worth: tuple[float, ...], probability: Any) -> None:
    types = pricing.buyers(worth, probability)
    sales = [closed(types) for closed in pricing.CLOSED.values()]
    profits = [each.profit for each in sales]
    assert profits == sorted(profits, reverse=True)
    for each in sales[:3]:
        assert each.profit == pytest.approx(types.probability @ each.quantity**2 / 2)
    lowest, mean = worth[0], np.dot(worth, probability)
    assert profits[3] == pytest.approx((lowest**2 + (mean - lowest) ** 2) / 2)
    for each in sales[2:]:
        assert types.probability @ each.quantity == pytest.approx(lowest), "on average what the lowest type is worth"


@pytest.mark.parametrize("number", [2, 3, 7, 50])
def test_even_types_leave_the_line_less_and_less_to_lose(number: int) -> None:
    types, width = pricing.even(number), 2.0
    best = pricing.menu(types)
    np.testing.assert_allclose(best.quantity, 2 * np.array(types["theta"]) - 8.0, atol=1e-9)
    lost = best.profit - pricing.affine(types).profit
    assert lost == pytest.approx(width**2 * (4 * number + 1) / (8 * (number**2 - 1)), rel=1e-9)


@pytest.fixture(scope="module")
def rule() -> sp.Incentive:
    return pricing.line(pricing.buyers())


@pytest.fixture(scope="module")
def plans(rule: sp.Incentive) -> dict[str, sp.Plan]:
    return pricing.computed(pricing.buyers(), rule)


@pytest.mark.slow
@pytest.mark.parametrize("way", list(pricing.CLOSED))
def test_computed_is_the_closed_form(way: str, plans: dict[str, sp.Plan]) -> None:
    types = pricing.buyers()
    solved, closed = pricing.sale(plans[way], types), pricing.CLOSED[way](types)
    assert closed.profit == pytest.approx(pricing.EXPECTED[way], rel=1e-12)
    assert solved.profit == pytest.approx(closed.profit, abs=1e-6)
    np.testing.assert_allclose(solved.quantity, closed.quantity, atol=1e-4)
    np.testing.assert_allclose(solved.rent, closed.rent, atol=1e-4)


def test_what_is_announced_and_claimed(rule: sp.Incentive, plans: dict[str, sp.Plan]) -> None:
    """σ = 21/10: K = −11/42, c = 6 − 3.2/σ, and a fee of all that the lowest type gains, 3.2²/(2 σ)."""
    assert pricing.coefficients(rule) == pytest.approx((256 / 105, 94 / 21, -11 / 42), abs=1e-5)
    assert rule.plan.quality == "optimal"
    assert rule.comparison.tolist() == pytest.approx([163 / 6, 769 / 40, 170 / 9], abs=1e-6)
    assert sp.verify(rule).ok
    types, quantity = pricing.buyers(), rule.plan.game.model.buyer.quantity
    by_type = sp.conditional_regret(rule, types, [(quantity, "theta")])
    assert by_type["atom"].tolist() == [6.0, 7.0, 8.0]
    assert by_type["regret"].max() <= 1e-6
    assert plans["best menu"].quality == "optimal"
    assert plans["best menu"].options["common_punishment"] is True


def test_the_table_has_profits_and_rents(plans: dict[str, sp.Plan]) -> None:
    table = pricing.compared(pricing.buyers(), plans)
    assert list(table.index) == list(pricing.EXPECTED)
    assert table["profit", "computed"].tolist() == pytest.approx(list(pricing.EXPECTED.values()), abs=1e-6)
    assert table["rent"].loc["best menu"].tolist() == pytest.approx([0.0, 1.0, 6.5], abs=1e-4)
    assert table["rent"].loc["best affine rule"].tolist() == pytest.approx([0.0, 4.25, 10.6], abs=1e-4)
    assert (table["rent"].diff().iloc[1:, 1:] > 0).all(axis=None), "the coarser the bill, the larger the rent"


@pytest.mark.parametrize(
    ("worth", "probability"),
    [((7.0, 6.0), (0.5, 0.5)), ((6.0,), (1.0,)), ((-1.0, 2.0), (0.5, 0.5)), ((1.0, 2.0), (0.0, 1.0))],
)
def test_types_that_are_none(worth: tuple[float, ...], probability: Any) -> None:
    with pytest.raises(InvalidGame, match="expected two or more rising worths"):
        pricing.buyers(worth, probability)


def test_no_closed_form_of_a_line_that_leaves_types_out() -> None:
    with pytest.raises(InvalidGame, match="the lowest type would be left out"):
        pricing.affine(pricing.buyers((1.0, 2.0), (0.1, 0.9)))
