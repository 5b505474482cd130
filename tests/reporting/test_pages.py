"""Pages: every number is the report's, nothing of a name is markup, and a browser has nothing to complain of."""

from __future__ import annotations

import builtins
import html
import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game

import stackpyomo as sp
from stackpyomo.cli import entry as cli
from stackpyomo.reporting import page
from stackpyomo.reporting.figures import COLOURS
from stackpyomo.reporting.page import _THEME

VOID = {"meta", "br", "img", "hr", "link", "input"}
AWKWARD = "<b>&\"'$x_1$"


class Read(HTMLParser):
    """A page as a reader finds it: elements, ids, tables, words. Fails where a tag is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"style", "script"} & set(self.open):
            return
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def table(self, *headings: str) -> dict[str, list[str]]:
        """First cell of a row → the others, of the tables that begin so; what is folded is joined to them."""
        found = [rows for first, *rows in self.tables if first[: len(headings)] == list(headings)]
        assert found
        return {row[0]: row[1:] for rows in found for row in rows}

    @property
    def text(self) -> str:
        return " ".join(self.words)


def verified(game: sp.Game) -> sp.Report:
    return sp.verify(sp.affine_incentive(sp.leader_optimal(game)))


@pytest.fixture(scope="module")
def toll() -> sp.Report:
    return verified(toll_game())


@pytest.fixture(scope="module")
def told(toll: sp.Report) -> str:
    assert isinstance(toll.subject, sp.Incentive)
    return page(toll, baseline=sp.stackelberg(toll.subject.attached()), command="stackpyomo solve toll.py")


def firms(count: int, name: str = "f", title: str = "firms") -> sp.Game:
    """Costs (u − 2 − i/N)² + p_i u: the leader wants 1 of everybody at no price, and charges 2 + 2 i/N."""
    m = pyo.ConcreteModel(name=title)
    m.p = pyo.Var(range(count), initialize=0.0)
    m.add_component(name, pyo.Block(range(count)))
    block = m.component(name)
    for i in range(count):
        block[i].u = pyo.Var(bounds=(0, 5))
        block[i].cost = pyo.Objective(expr=(block[i].u - 2 - i / count) ** 2 + m.p[i] * block[i].u)
    m.goal = pyo.Objective(expr=sum(m.p[i] ** 2 + (block[i].u - 1) ** 2 for i in range(count)))
    return sp.Game(m, followers=block)


# --- what it says -------------------------------------------------------------------------------------------------


def test_every_number_is_the_reports(toll: sp.Report, told: str) -> None:
    rule = toll.subject
    assert isinstance(rule, sp.Incentive)
    read = Read(told)
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


def test_it_can_be_done_again(toll: sp.Report, told: str) -> None:
    read = Read(told)
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


def test_the_same_report_is_the_same_page(toll: sp.Report) -> None:
    assert page(toll) == page(toll)


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


# --- tables elsewhere ---------------------------------------------------------------------------------------------


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
    assert str(found).splitlines()[1].split() == [
        "g",
        "s",
        "x_y",
        "1.5",
        "1.5",
        "0",
        "x_y",
        "x_y",
        "0",
        "3",
        "0.25",
        "x_y",
        "ok",
    ]


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


# --- how it is made -----------------------------------------------------------------------------------------------


def test_it_needs_nobody(told: str) -> None:
    read = Read(told)
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert tag != "script" or attributes == {}, "the slider's, which stands in the page"
        for key, value in attributes.items():
            assert not key.startswith("on"), "no event handler"
            if key in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in told
    assert set(re.findall(r"url\((.)", told)) <= {"#"}


def test_every_name_in_it_is_one_of_its_own(told: str) -> None:
    read = Read(told)
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)\"]+)\)", told))
    used |= {
        str(a[key])[1:] for _, a in read.tags for key in ("href", "xlink:href") if str(a.get(key, "")).startswith("#")
    }
    assert used
    assert used <= set(ids)


def test_a_reader_who_listens_finds_the_way(told: str) -> None:
    read = Read(told)
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


def test_plots_take_the_colours_of_the_theme(told: str) -> None:
    """A colour that plots use is a variable in the page; but for the sheet, none of them is left as it was."""
    drawings = "".join(re.findall(r"<svg.*?</svg>", told, re.DOTALL))
    for name in ("ink", "first", "second", "pale", "convex"):
        assert f"var(--{name})" in drawings or name == "convex"
        assert f": {COLOURS[name][0]}" not in drawings


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


def test_without_matplotlib_there_is_a_page_all_the_same(toll: sp.Report, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    read = Read(page(toll))
    assert 'No plots are shown. pictures: matplotlib is missing; pip install "stackpyomo[plot]".' in read.text
    assert "svg" not in [tag for tag, _ in read.tags]
    assert toll.verdict in read.text


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


# --- the command line ---------------------------------------------------------------------------------------------

GAME = """
import pyomo.environ as pyo
import stackpyomo as sp


def build(weight=1.0):
    m = pyo.ConcreteModel(name="toll")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + weight * m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return sp.Game(m, m.driver)
"""


@pytest.fixture
def solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    (tmp_path / "toll.py").write_text(GAME, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["stackpyomo", command, "toll.py", *arguments, "--report", "page.html"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), (tmp_path / "page.html").read_text(encoding="utf-8")

    return call


def test_solve_compares_with_constants(solve: Any) -> None:
    code, text = solve("solve", "--starts", "2", "--seed", "3")
    read = Read(text)
    assert code == 0
    t = 0.4 / 0.52
    assert float(read.table("player", "with the rule")["driver"][1]) == pytest.approx(t - t**2 / 4, abs=1e-5)
    assert "stackpyomo solve toll.py --starts 2 --seed 3 --report page.html" in read.text
    assert "starts = 2, seed = 3" in read.text
    assert "Baseline:" in read.text


def test_solve_says_why_there_is_no_incentive(solve: Any) -> None:
    code, text = solve("solve", "--parameter", "weight=0")
    assert code == 1
    assert "No affine incentive: driver: zero gradient" in Read(text).text
    assert "✗  NOT verified" in Read(text).text


def test_solve_says_why_there_is_no_baseline(solve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise sp.NoPlan("No plan exists.", termination="infeasible")

    monkeypatch.setattr("stackpyomo.cli.solve_command.stackelberg", none)
    code, text = solve("solve")
    assert code == 0
    assert "for want of a plan without an incentive: No plan exists." in Read(text).text


def test_solve_with_all_responding_and_verify(solve: Any) -> None:
    code, text = solve("solve", "--responding", "all")
    assert code == 0
    assert "All followers respond: the leader announces constants" in Read(text).text
    assert "The contract in plain words" not in text
    code, text = solve("verify", "--starts", "3")
    assert code == 1, "at the values that the model holds the driver has a regret"
    assert "starts = 3" in Read(text).text


# --- a browser ----------------------------------------------------------------------------------------------------

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
        told = re.search(r"FOUND(\{.*?\})END", done.stdout.rpartition("<pre>")[2], re.DOTALL)
        assert told
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return Seen(json.loads(html.unescape(told[1])), console)

    return seen


@browser
def test_the_look_sees_what_is_wrong(look: Callable[[str], Seen]) -> None:
    wrong = "<p style='width:900px'>wide</p><img src='http://127.0.0.1:9/no.png'><script>console.error('oh')</script>"
    seen = look(f"<!doctype html><body>{wrong}")
    assert seen.found["wide"] > 400
    assert seen.found["cut"]
    assert seen.console
    assert seen.found["asked"]


def test_a_slider_has_the_curve_of_the_plot(told: str) -> None:
    """cost (flow − 1)² + 4/3 (flow − 0.6) flow; with a constant toll of 0 (flow − 1)²."""
    (curve,) = (json.loads(str(a["data-curve"])) for _, a in Read(told).tags if "data-curve" in a)
    at = np.array(curve["at"])
    assert (at[0], at[-1]) == (0.0, 1.0)
    assert pytest.approx(at[np.abs(at - 0.6).argmin()], abs=1e-6) == 0.6, "the plan is one of its points"
    np.testing.assert_allclose(curve["announced"], (at - 1) ** 2 + 4 / 3 * (at - 0.6) * at, atol=1e-5)
    np.testing.assert_allclose(curve["constant"], (at - 1) ** 2, atol=1e-4)
    assert curve["plan"] == pytest.approx([0.6, 0.16], abs=1e-5)
    assert min(curve["x"] + curve["y"]) > 0
    assert max(curve["x"] + curve["y"]) < 1


MOVED = """<script>
const bar = document.querySelector(".slider input");
bar.value = 0;
bar.dispatchEvent(new Event("input"));
</script>"""


@browser
def test_a_reader_leaves_the_plan(told: str, look: Callable[[str], Seen]) -> None:
    """At flow 0 the driver has the cost 1, 0.84 more than on the plan."""
    told = told.replace("</body>", f"{MOVED}</body>")
    seen = look(told)
    assert seen.console == []
    assert seen.found["said"] == [
        "driver.flow = 0: objective 1 under the rule, 0.84 worse than the plan; 1 with a constant leader"
    ]


@browser
@pytest.mark.parametrize("game", ["toll", "many", "long names", "no incentive"])
def test_a_telephone_has_nothing_to_complain_of(game: str, told: str, look: Callable[[str], Seen]) -> None:
    text = told
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
