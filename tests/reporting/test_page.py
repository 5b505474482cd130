"""Pages: every number is the report's, nothing of a name is markup, and a browser has nothing to complain of."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game
from helpers.page_reader import Read, firms, verified

import stackpyomo as sp
from stackpyomo.reporting import page
from stackpyomo.reporting.page import _THEME
from stackpyomo.reporting.plots import COLOURS


@pytest.mark.slow
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


AWKWARD = "<b>&\"'$x_1$"


def test_every_number_is_the_reports(toll: sp.Report, toll_page: str) -> None:
    rule = toll.subject
    assert isinstance(rule, sp.Incentive)
    read = Read(toll_page)
    shown = read.table("follower", "objective", "regret", "certificate")
    assert set(shown) == set(toll.regret.index)
    for name, (objective, regret, certificate) in shown.items():
        assert float(objective) == pytest.approx(toll.objective[name], rel=1e-6)
        assert float(regret) == pytest.approx(toll.regret[name], rel=1e-2)
        assert certificate == toll.certificate[name]
    values = read.table("variable", "value")
    assert {name: float(value) for name, (value,) in values.items()} == pytest.approx(rule.plan.values, abs=1e-7)
    table = rule.compare(sp.stackelberg(rule.attached()))
    for player, (mine, baseline, difference, verdict) in read.table("player", "with the rule").items():
        row = table.loc[player]
        assert [float(mine), float(baseline), float(difference)] == pytest.approx(list(row[:3]), rel=1e-5, abs=1e-9)
        assert verdict == row["verdict"]
    assert read.table("follower", "objective", "money")["driver"][1] == "0"
    for words in (toll.verdict, *toll.remarks, "toll = 0 + 1.33333 (driver.flow − 0.6)", "The leader is better off."):
        assert words in read.text


def test_it_can_be_done_again(toll: sp.Report, toll_page: str) -> None:
    read = Read(toll_page)
    versions = {name: version for name, (version,) in read.table("software", "version").items()}
    assert versions["stackpyomo"] == sp.__version__
    assert versions["numpy"] == np.__version__
    assert versions[f"{toll.solver} (solver)"]
    assert "stackpyomo solve toll.py" in read.text
    assert "plan: function = leader_optimal, solver = auto, starts = 1, seed = 0" in read.text
    assert "verify: solver = auto, starts = 8, certify = auto, tolerance = 1e-06" in read.text
    (first,) = [rows for rows in read.tables if rows[0][:2] == ["attempt", "start"]]
    assert len(first) == 2, "the plan's one attempt"
    assert "converged" in first[1]
    again = sp.leader_optimal(toll_game(), starts=2, seed=7, complementarity="penalty")
    assert (again.options["starts"], again.options["seed"]) == (2, 7)
    assert "Penalty" in again.options["complementarity"]
    assert sp.Plan.from_json(again.to_json()).options == again.options
    assert sp.Report.from_json(toll.to_json()).options == toll.options


@pytest.mark.slow
def test_the_same_report_is_the_same_page(toll: sp.Report) -> None:
    assert page(toll) == page(toll)


@pytest.mark.slow
def test_to_html_is_the_full_page(toll: sp.Report, tmp_path: Path) -> None:
    toll.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page(toll)
    assert "The contract in plain words" in page(toll)
    assert "Against the baseline" not in page(toll)


def test_a_plan_without_an_incentive(tmp_path: Path) -> None:
    report = sp.verify(sp.leader_optimal(toll_game()))
    read = Read(page(report))
    assert "✗  NOT verified: largest regret 0.16" in read.text
    assert "The leader announces these values as constants" in read.text
    assert "The contract in plain words" not in read.text


def test_a_report_that_was_read_from_a_file_tells_what_it_knows(toll: sp.Report) -> None:
    read = Read(page(sp.Report.from_json(toll.to_json())))
    assert toll.verdict in read.text
    assert read.table("follower", "objective")["driver"][2] == "convex"
    assert "The plan" not in read.text


def test_an_unknown_regret_is_no_number() -> None:
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u + m.t)
    m.goal = pyo.Objective(expr=m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert math.isnan(report.epsilon)
    read = Read(page(report))
    row = read.table("follower", "objective", "regret", "certificate", "note")["f"]
    assert row[1:3] == ["unknown", "unknown"]
    assert "unbounded" in row[3]
    assert "nan" not in read.text
    assert "nothing is known of its regret" in read.text


@pytest.mark.slow
@pytest.mark.parametrize("told_of", ["the page", "a notebook"])
def test_names_are_words(told_of: str) -> None:
    report = verified(firms(2, AWKWARD, f"{AWKWARD}!"))
    rule = report.subject
    assert isinstance(rule, sp.Incentive)
    if told_of == "the page":
        text = page(report, baseline=sp.stackelberg(rule.attached()), remarks=["<script>"], command="<i>")
    else:
        text = report._repr_html_() + rule.plan._repr_html_() + rule._repr_html_()
    read = Read(text)
    tags = [tag for tag, _ in read.tags]
    assert not {"b", "i"} & set(tags)
    assert tags.count("script") == (told_of == "the page"), "the slider's, and none of a name's"
    assert set(rule.attached().followers) <= set(read.table("follower", "objective"))
    if told_of == "the page":
        assert rule.attached().name in read.words
        labels = [a["aria-label"] for tag, a in read.tags if tag == "svg"]
        assert labels
        assert all(label is not None and label.strip() in read.words for label in labels), "the caption, whole"


def test_it_needs_nobody(toll_page: str) -> None:
    read = Read(toll_page)
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert tag != "script" or attributes == {}, "the slider's, which stands in the page"
        for key, value in attributes.items():
            assert not key.startswith("on"), "no event handler"
            if key in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in toll_page
    assert set(re.findall(r"url\((.)", toll_page)) <= {"#"}


def test_every_name_in_it_is_one_of_its_own(toll_page: str) -> None:
    read = Read(toll_page)
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)\"]+)\)", toll_page))
    used |= {
        str(a[key])[1:] for _, a in read.tags for key in ("href", "xlink:href") if str(a.get(key, "")).startswith("#")
    }
    assert used
    assert used <= set(ids)


def test_a_reader_who_listens_finds_the_way(toll_page: str) -> None:
    read = Read(toll_page)
    tags = [tag for tag, _ in read.tags]
    assert dict(read.tags)["html"]["lang"] == "en"
    assert tags.count("h1") == tags.count("title") == tags.count("main") == 1
    assert set(tags) & {"h3", "h4", "h5"} == set(), "no level is left out"
    drawings = [a for tag, a in read.tags if tag == "svg"]
    assert len(drawings) == tags.count("figcaption") == 4
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    wide = [a for tag, a in read.tags if tag == "div" and a.get("class") == "wide"]
    assert len(wide) == tags.count("table")
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in wide)


@pytest.mark.parametrize("side", [0, 1])
def test_it_can_be_read_in_either_theme(side: int) -> None:
    """Contrast (L₁ + 0.05)/(L₂ + 0.05) of WCAG 2: 4.5 for words, 3 for lines of plots."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(_THEME[one][side]), luminance(_THEME[other][side])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for words in ("ink", "soft", "link"):
        assert contrast(words, "paper") >= 4.5
    for words in ("ink", "soft"):
        assert contrast(words, "shade") >= 4.5
    for line in ("first", "second", "convex", "global", "unknown"):
        assert contrast(line, "paper") >= 3.0


@pytest.mark.slow
def test_many_followers_fit(tmp_path: Path) -> None:
    report = verified(firms(1000))
    rule = report.subject
    assert isinstance(rule, sp.Incentive)
    report.to_html(tmp_path / "page.html", baseline=rule.plan)
    assert (tmp_path / "page.html").stat().st_size <= 1_500_000
    read = Read((tmp_path / "page.html").read_text(encoding="utf-8"))
    for words in ("… 1800 more in plan.values", "… 800 more in report.table", "Drawn: the largest 40 of 1000"):
        assert words in read.text
    assert len(read.table("follower", "objective", "regret")) == 200


@pytest.mark.slow
def test_it_leaves_everything_alone() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    game = firms(3)
    report = verified(game)
    before, style = snapshot(game.model), dict(matplotlib.rcParams)
    page(report)
    assert snapshot(game.model) == before
    assert dict(matplotlib.rcParams) == style
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")


FRAME = """<!doctype html><meta charset="utf-8"><iframe style="width:400px;height:900px;border:0"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, root = page.documentElement;
  const asked = frame.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name);
  const cut = [...page.querySelectorAll("p, h1, h2, figure, svg, dl div, .wide, li, summary")]
    .filter(each => each.getBoundingClientRect().right > root.clientWidth + 0.5)
    .map(each => each.outerHTML.slice(0, 99));
  document.querySelector("pre").textContent = "FOUND" + JSON.stringify({
    wide: root.scrollWidth, seen: root.clientWidth, high: root.scrollHeight, cut: cut,
    asked: asked.filter(name => !name.startsWith("data:")),
    said: [...page.querySelectorAll("output")].map(each => each.textContent),
    drawn: [...page.querySelectorAll("svg")].map(each => each.getBoundingClientRect().height),
  }) + "END";
});
frame.srcdoc = PAGE;
</script>"""


class Seen(NamedTuple):
    found: dict[str, Any]
    console: list[str]


@pytest.fixture
def look(tmp_path: Path) -> Callable[[str], Seen]:
    """The page in a frame of 400 pixels: how wide it is, what sticks out, what it asked for, what the console says."""

    def seen(text: str) -> Seen:
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.replace("PAGE", json.dumps(text).replace("</", "<\\/")), encoding="utf-8")
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += ["--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"]
        command += [
            f"--user-data-dir={tmp_path / 'user'}",
            "--window-size=800,1000",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--v=0",
        ]
        done = subprocess.run(
            [*command, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        shown = re.search(r"FOUND(\{.*?\})END", done.stdout.rpartition("<pre>")[2], re.DOTALL)
        assert shown
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Seen(json.loads(html.unescape(shown[1])), console)

    return seen


@browser
def test_the_look_sees_what_is_wrong(look: Callable[[str], Seen]) -> None:
    wrong = "<p style='width:900px'>wide</p><img src='http://127.0.0.1:9/no.png'><script>console.error('oh')</script>"
    seen = look(f"<!doctype html><body>{wrong}")
    assert seen.found["wide"] > 400
    assert seen.found["cut"]
    assert seen.console
    assert seen.found["asked"]


MOVED = """<script>
const bar = document.querySelector(".slider input");
bar.value = 0;
bar.dispatchEvent(new Event("input"));
</script>"""


@browser
def test_a_reader_leaves_the_plan(toll_page: str, look: Callable[[str], Seen]) -> None:
    """At flow 0 the driver has the cost 1, 0.84 more than on the plan."""
    seen = look(toll_page.replace("</body>", f"{MOVED}</body>"))
    assert seen.console == []
    assert seen.found["said"] == [
        "driver.flow = 0: objective 1 under the rule, 0.84 worse than the plan; 1 with a constant leader"
    ]


@browser
@pytest.mark.parametrize("game", ["toll", "many", "long names", "no incentive"])
def test_a_telephone_has_nothing_to_complain_of(game: str, toll_page: str, look: Callable[[str], Seen]) -> None:
    text = toll_page
    if game == "many":
        text = page(verified(firms(60)))
    elif game == "long names":
        text = page(verified(firms(3, "an_agent_whose_name_nobody_has_ever_been_able_to_remember", "x" * 200)))
    elif game == "no incentive":
        text = page(sp.verify(sp.leader_optimal(toll_game())), remarks=["Beware: " + "a" * 300])
    seen = look(text)
    assert seen.console == []
    assert seen.found["asked"] == []
    assert seen.found["seen"] == 400
    assert seen.found["wide"] == 400, "the page does not scroll sideways"
    assert seen.found["cut"] == []
    assert len(seen.found["drawn"]) == text.count("<svg")
    assert min(seen.found["drawn"]) > 30
