"""Boxes around parameters that explain the data, against answers written out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import household

import stackpyomo as sp


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
