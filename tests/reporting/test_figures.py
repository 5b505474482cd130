"""Pictures: colours of the theme, curves that a slider follows, and pages without matplotlib."""

from __future__ import annotations

import json
import re

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.page_reader import Read

import stackpyomo as sp
from stackpyomo.reporting import page
from stackpyomo.reporting.figures import COLOURS


def test_plots_take_the_colours_of_the_theme(toll_page: str) -> None:
    """A colour that plots use is a variable in the page; but for the sheet, none of them is left as it was."""
    drawings = "".join(re.findall(r"<svg.*?</svg>", toll_page, re.DOTALL))
    for name in ("ink", "first", "second", "pale", "convex"):
        assert f"var(--{name})" in drawings or name == "convex"
        assert f": {COLOURS[name][0]}" not in drawings


def test_without_matplotlib_there_is_a_page_all_the_same(toll: sp.Report, no_matplotlib: None) -> None:
    read = Read(page(toll))
    assert 'No plots are shown. pictures: matplotlib is missing; pip install "stackpyomo[plot]".' in read.text
    assert "svg" not in [tag for tag, _ in read.tags]
    assert toll.verdict in read.text


def test_who_cannot_deviate_alone_is_not_drawn() -> None:
    """x + y = 1: nothing is left of a curve along x with y as planned."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=(0, 2)), pyo.Var(bounds=(0, 2))
    m.f.sum = pyo.Constraint(expr=m.f.x + m.f.y == 1)
    m.f.cost = pyo.Objective(expr=m.f.x**2 + 3 * m.f.y**2 + m.t * m.f.x)
    m.goal = pyo.Objective(expr=(m.f.x - 0.5) ** 2 + m.t**2)
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f)), multipliers="free"))
    assert "The objective of f against" not in page(report)


def test_a_slider_has_the_curve_of_the_plot(toll_page: str) -> None:
    """cost (flow − 1)² + 4/3 (flow − 0.6) flow; with a constant toll of 0 (flow − 1)²."""
    (curve,) = (json.loads(str(a["data-curve"])) for _, a in Read(toll_page).tags if "data-curve" in a)
    at = np.array(curve["at"])
    assert (at[0], at[-1]) == (0.0, 1.0)
    assert pytest.approx(at[np.abs(at - 0.6).argmin()], abs=1e-6) == 0.6, "the plan is one of its points"
    np.testing.assert_allclose(curve["announced"], (at - 1) ** 2 + 4 / 3 * (at - 0.6) * at, atol=1e-5)
    np.testing.assert_allclose(curve["constant"], (at - 1) ** 2, atol=1e-4)
    assert curve["plan"] == pytest.approx([0.6, 0.16], abs=1e-5)
    assert min(curve["x"] + curve["y"]) > 0
    assert max(curve["x"] + curve["y"]) < 1
