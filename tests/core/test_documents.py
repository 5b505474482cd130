"""Documents: tables of plans, reports and comparisons as text, Markdown and HTML."""

from __future__ import annotations

import math
import re

import pytest
from conftest import toll_game
from helpers.page_reader import Read, firms, verified

import stackpyomo as sp
from stackpyomo.core import Document, Table, as_text, cut, head, listed, shown


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


class Page(Document):
    """A paragraph with signs that every format takes for its own, a list and a table."""

    def parts(self) -> list[str | list[str] | Table]:
        table = Table(["name", "gain", "why"], [["a_1", "0.5", "<flat>"], ["b|2", "10", "100 %"]], words=["why"])
        return ["A *gain* of 5 % & <more>", ["u0 = 2*u"], table]


def test_text_has_its_columns_under_each_other() -> None:
    lines = as_text(Page().parts()).splitlines()
    assert lines[:2] == ["A *gain* of 5 % & <more>", "  u0 = 2*u"]
    assert lines[2:] == ["  name  gain  why", "  a_1    0.5  <flat>", "  b|2     10  100 %"]


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        (Page().to_markdown(), [r"A \*gain\* of 5 % & \<more\>", "- `u0 = 2*u`", "| --- | ---: | --- |", r"b\|2"]),
        (Page().to_latex(), [r"5 \% \& $<$more$>$", r"\item u0 = 2*u", r"\begin{tabular}{lrl}", r"a\_1 & 0.5"]),
        (
            Page()._repr_html_(),
            ["5 % &amp; &lt;more&gt;", "<code>u0 = 2*u</code>", '<td class="words">&lt;flat&gt;</td>'],
        ),
    ],
)
def test_signs_of_a_format_are_written_as_signs(page: str, wanted: list[str]) -> None:
    assert all(text in page for text in wanted)


def test_long_lists_and_names_are_cut_and_say_so() -> None:
    names = [f"f{i}" for i in range(9)]
    assert listed(names, 2) == "f0, f1, … (9 in all)"
    assert listed(names[:2], 2, count=2) == "f0, f1"
    assert cut("follower[127].flow", 9) == "foll…flow"
    assert cut("flow", 9) == "flow"
    assert [name for name, _ in head(dict.fromkeys(names, 0.0), 3)] == names[:3]


def test_rounding_of_a_solver_is_shown_as_0() -> None:
    assert shown(-1e-16) == "0"
    assert shown(1 / 3, 4) == "0.3333"
