"""Polytopes: all parameters that explain what was seen, against the inequalities written by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import household
from helpers.customers import BOUNDS, ROWS, customer

import stackpyomo as sp
from stackpyomo.analysis.polytopes import Polytope


def test_the_consistent_set_is_what_the_inequalities_say() -> None:
    found = sp.fit(customer(), ROWS, BOUNDS, noise=0.3)
    corners = found.consistent.vertices
    y, p = ROWS["f.u"].to_numpy(), ROWS["p"].to_numpy()

    def explains(theta: float, h: float, slack: float = 0.0) -> bool:
        return bool(np.all(np.abs(np.clip((theta - p) / h, 0, 20) - y) <= 0.3 + slack))

    assert all(explains(theta, h, 1e-7) for theta, h in corners.to_numpy())
    random = np.random.default_rng(0)
    for theta, h in random.uniform([3, 0.5], [5, 1.5], (500, 2)):
        assert found.consistent.contains([theta, h]) == explains(theta, h)
    drawn = found.scenarios("sample", size=50, seed=1)
    assert all(explains(theta, h, 1e-7) for theta, h in zip(drawn["theta"], drawn["h"], strict=True))
    at_corners = found.scenarios("vertices")
    assert len(at_corners) == len(corners)
    assert at_corners["theta"].tolist() == corners["theta"].tolist()
    assert "All that explains every row within its noise: theta 3.52 … 4.222" in str(found)
    assert found.as_dict()["consistent"]["vertices"][0]["theta"] == pytest.approx(3.52)


def test_exact_rows_leave_a_segment_or_a_point() -> None:
    one = sp.fit(customer(7, 2), {"p": [1.0], "f.u": [3.0]}, BOUNDS, noise=0.0)
    ends = one.consistent.vertices.to_numpy()
    assert ends.tolist() == [pytest.approx([1.15, 0.05], abs=1e-6), pytest.approx([20.0, 19 / 3], abs=1e-6)]
    middle = one.scenarios("sample", size=20, seed=0)
    assert middle["theta"] == pytest.approx(1 + 3 * middle["h"], abs=1e-6)
    two = sp.fit(customer(7, 2), {"p": [1.0, 0.0], "f.u": [3.0, 4.0]}, BOUNDS, noise=0.0)
    assert two.consistent.vertices.to_numpy().ravel().tolist() == pytest.approx([4.0, 1.0], abs=1e-6)
    assert two.scenarios("sample", size=3)["h"].tolist() == pytest.approx([1.0] * 3, abs=1e-6)


@pytest.mark.parametrize("units", [(1e-11, 1e-17), (1e15, 1e-8), (1e-8, 1e-8), (1e8, 1e22)])
@pytest.mark.parametrize("wide", [1.0, 1e5])
def test_the_corners_are_the_same_in_any_unit(units: tuple[float, float], wide: float) -> None:
    """x, y ≥ 0, x + y ≤ 3, x − y ≤ 1 within a box that may be far wider: (0, 0), (1, 0), (2, 1), (0, 3)."""
    rows = [([-1, 0], 0), ([0, -1], 0), ([1, 0], 9 * wide), ([0, 1], 9 * wide), ([1, 1], 3), ([1, -1], 1)]
    matrix, limits = np.array([row for row, _ in rows]) / np.array(units), np.array([float(end) for _, end in rows])
    found = Polytope(["x", "y"], matrix, limits, [f"row {i}" for i in range(6)])
    corners = found.vertices.to_numpy() / units
    assert sorted(map(tuple, np.round(corners, 6).tolist())) == [(0, 0), (0, 3), (1, 0), (2, 1)]
    assert (found.ranges.to_numpy() / np.array(units)[:, None]).ravel().tolist() == pytest.approx(
        [0, 2, 0, 3], abs=1e-9
    )
    assert found.contains([1.999 * units[0], units[1]])
    assert not found.contains([2.001 * units[0], units[1]])
    empty = Polytope(["x", "y"], matrix, np.where(np.arange(6) == 4, -1.0, limits), found.faces)
    assert empty.conflict == ["row 0", "row 1", "row 4"]


def test_the_set_is_refused_where_nothing_limits_it() -> None:
    with pytest.raises(sp.InvalidGame, match="noise= was not given"):
        _ = sp.fit(customer(), ROWS, BOUNDS).consistent
    lone = sp.fit(customer(7, 2), {"p": [1.0], "f.u": [3.0]}, ["theta", "h"], noise=0.0)
    with pytest.raises(sp.InvalidGame, match="without bounds of the parameters it goes beyond"):
        _ = lone.consistent
    with pytest.raises(sp.InvalidGame, match='kind=\'corners\': expected "vertices" or "sample"'):
        lone.scenarios("corners")


def test_a_box_around_what_is_no_polytope() -> None:
    """u_i = want_i − p_i − λ below a fuse of 3. Where it does not bind, a want is known to 0.1 as its load is; where it
    does, differences alone are: want_1 − want_2 from 0.8 to 1.2 leaves (1.9 … 20) × (0.9 … 19.2).
    """
    rows = pd.DataFrame({"p[1]": [3.0], "p[2]": [2.0], "home.u[1]": [1.0], "home.u[2]": [1.0]})
    loose = sp.fit(household(), rows, {"want": (0, 20)}, noise=0.1)
    assert loose.consistent.around == "home has constraints beside the bounds of its actions"
    assert loose.consistent.ranges.to_numpy() == pytest.approx(np.array([[3.9, 4.1], [2.9, 3.1]]), abs=1e-5)
    assert "A box around all that explains every row within its noise: want[1] 3.9 … 4.1" in str(loose)
    assert len(loose.scenarios("vertices")) == 4
    rows = pd.DataFrame({"p[1]": [0.0], "p[2]": [0.0], "home.u[1]": [2.0], "home.u[2]": [1.0]})
    tight = sp.fit(household(5.0), rows, {"want": (0, 20)}, noise=0.1).consistent
    assert tight.ranges.to_numpy() == pytest.approx(np.array([[1.9, 20.0], [0.9, 19.2]]), abs=1e-4)


def test_no_box_where_nothing_explains_the_rows() -> None:
    """Loads that together break the fuse by more than their noise."""
    rows = pd.DataFrame({"p[1]": [0.0], "p[2]": [0.0], "home.u[1]": [2.0], "home.u[2]": [1.5]})
    fit = sp.fit(household(5.0), rows, {"want": (0, 20)}, noise=0.1)
    with pytest.raises(sp.InvalidGame, match="no parameters explain these rows: what was done is farther"):
        _ = fit.consistent
    fit = sp.fit(household(5.0), rows, ["want"], noise=0.3)
    with pytest.raises(sp.InvalidGame, match=r"give bounds of want\[1\]"):
        _ = fit.consistent
