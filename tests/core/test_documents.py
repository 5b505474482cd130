"""Documents: tables of plans, reports and comparisons as text, Markdown and HTML."""

from __future__ import annotations

import math
import re

import pytest
from conftest import toll_game
from helpers.page_reader import Read, firms, verified

import stackpyomo as sp


@pytest.fixture(scope="module")
def toll() -> sp.Report:
    return verified(toll_game())


def test_plan_report_and_comparison_in_every_format(toll: sp.Report) -> None:
    assert isinstance(toll.subject, sp.Incentive)
    found = sp.Comparison(
        [
            dict.fromkeys(("complementarity", "certificate", "quality", "termination", "message"), "x_y")
            | {"game": "g", "solver": "s", "objective": 1.5, "best": 1.5, "loss": 0.0, "regret": math.nan}
            | {"residual": 0.0, "iterations": 3, "seconds": 0.25, "outcome": outcome}
            for outcome in ("ok", "failed")
        ]
    )
    for thing, cell in (
        (toll, "convex"),
        (toll.subject.plan, "driver.flow"),
        (toll.subject, "more driver.flow"),
        (found, "g"),
    ):
        assert cell in [c for rows in Read(thing._repr_html_()).tables for row in rows for c in row]
        assert f"| {cell} |" in thing.to_markdown()
        assert re.search(rf"(^|& )\s*{cell} (&|\\\\)", thing.to_latex(), re.MULTILINE)
    assert "1 of 2 verified and as good as the best of their game" in found.to_markdown()
    assert "- `g, s, x_y: x_y`" in found.to_markdown()
    cells = ["g", "s", "x_y", "1.5", "1.5", "0", "x_y", "x_y", "0", "3", "0.25", "x_y", "ok"]
    assert str(found).splitlines()[1].split() == cells


def test_words_stand_to_the_left_and_numbers_to_the_right(toll: sp.Report) -> None:
    assert "| --- | ---: | ---: | --- |" in toll.to_markdown()
    assert r"\begin{tabular}{lrrl}" in toll.to_latex()
    assert toll.to_latex().isascii()
    assert '<td class="words">convex</td>' in toll._repr_html_()


def test_of_many_followers_the_worst_are_shown() -> None:
    report = sp.verify(sp.leader_optimal(firms(60)))
    cells = [line.split()[0] for line in str(report).splitlines()[2:42]]
    assert cells == [f"f[{i}]" for i in range(59, 19, -1)], "regrets are (1 + i/60)²"
    assert "… 20 more in report.table, none with a larger regret" in str(report)
