"""Plots: the data that is drawn, not its pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.reporting import plots

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No figure outlives its test."""
    yield
    plt.close("all")


def lines(ax: Any) -> dict[str, np.ndarray]:
    """label → points, of what the legend names."""
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


def bridge(sense: int = pyo.minimize, floor: float = -2.0) -> sp.Game:
    """J = (flow − 1)² + toll · flow (or minus that, maximised); the city wants flow 0.6 at no toll."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(floor, 2), initialize=0.0)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.5)
    cost = (m.driver.flow - 1) ** 2 + m.toll * m.driver.flow
    m.driver.cost = pyo.Objective(expr=cost if sense == pyo.minimize else -cost, sense=sense)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + m.toll**2)
    return sp.Game(m, followers=m.driver)


def grown(verdict: str, gain: list[float], exponent: float) -> pd.DataFrame:
    table = pd.DataFrame({"size": [10.0, 100.0, 1000.0, math.inf], "average_gain": gain})
    table.attrs.update(exponent=exponent, verdict=verdict)
    return table


def test_scaling_of_a_growing_gain() -> None:
    ax = plots.scaling(grown("ill-posed: it grows like N^1.00, because", [20.0, 200.0, 2000.0, math.inf], 1.0))
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["gain"], [[10, 20], [100, 200], [1000, 2000]])
    np.testing.assert_allclose(drawn["fitted: like $N^{1.00}$"], drawn["gain"])
    assert len(drawn) == 2, "an infinite gain is not drawn"
    assert ax.get_title() == "ill-posed: it grows like N^1.00"
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_scaling_of_a_bounded_gain() -> None:
    ax = plots.scaling(grown("bounded: here", [8.9, 8.8, 8.76, 8.76], -0.001))
    drawn = lines(ax)
    assert drawn["$N = \\infty$"][:, 1].tolist() == [8.76, 8.76]
    assert "fitted: like $N^{0.00}$" in drawn
    low, high = ax.get_ylim()
    assert high / low == pytest.approx(100), "a level line looks level"


def test_scaling_as_it_is_measured() -> None:
    game = bridge()
    table = sp.scaling(game.with_sizes({"driver": 10}), [10, 100, 1000])
    drawn = lines(plots.scaling(table))["gain"]
    np.testing.assert_allclose(drawn, table[["size", "average_gain"]].to_numpy(dtype=float))


def test_leaders_over_size_and_over_a_coupling() -> None:
    table = pd.DataFrame(
        {"size": [1, 10, math.inf], "leader_optimal": [2.0, 2.0, 2.0], "leader_major_optimal": [5.0, 4.0, 3.5]}
    )
    ax = plots.leaders(table)
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["leader-major-optimal"], [[1, 5], [10, 4]])
    np.testing.assert_allclose(drawn["leader-optimal"], [[1, 2], [10, 2]])
    assert drawn["leader-major-optimal, $N = \\infty$"][:, 1].tolist() == [3.5, 3.5]
    assert ax.get_xscale() == "log"
    other = plots.leaders(table[:2].rename(columns={"size": "by_major"}), over="by_major")
    assert (other.get_xscale(), other.get_xlabel()) == ("linear", "by major")
    assert len(lines(other)) == 2


def report(regret: list[float], certificate: list[str]) -> sp.Report:
    names = [f"f{i}" for i in range(len(regret))]
    scale = pd.Series(10.0, index=names)
    made = {"objective": scale, "note": pd.Series("", index=names), "scale": scale, "best_response": {}}
    return sp.Report(
        pd.Series(regret, names), pd.Series(certificate, names), leader_objective=0, tolerance=1e-6, **made
    )


def test_regret_in_the_colour_of_its_certificate() -> None:
    ax = plots.regret(report([0.5, math.nan, 2.0, 0.0], ["convex", "unknown", "multistart", "global"]))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["f0", "f1", "f2", "f3"], "as in the model"
    bars = {round(bar.get_y() + bar.get_height() / 2): bar for bar in ax.patches}
    assert {at: bar.get_width() for at, bar in bars.items()} == {0: 0.5, 1: 0.0, 2: 2.0, 3: 0.0}
    assert len({bar.get_facecolor() for bar in bars.values()}) == 4
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["tolerance", "convex", "global", "multistart", "unknown"]
    np.testing.assert_allclose(lines(ax)["tolerance"][:, 0], 1e-5)
    cross = next(line for line in ax.get_lines() if line.get_marker() == "x")
    assert cross.get_xydata().tolist() == [[0.0, 1.0]], "a regret that is unknown is no bar of length 0"
    assert ax.get_title().startswith("NOT verified")
    assert [text.get_text() for text in ax.texts] == ["0.5", "unknown", "2", "0"]


def test_regrets_that_are_all_rounding_are_shares_of_their_tolerance() -> None:
    """1e-5 is allowed: 2e-6 is a fifth of it."""
    ax = plots.regret(report([2e-6, 0.0, 9e-6], ["convex"] * 3))
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.2, 0.0, 0.9])
    np.testing.assert_allclose(lines(ax)["tolerance"][:, 0], 1.0)
    assert ax.get_xlabel() == "regret as a share of its tolerance"
    assert ax.get_xscale() == "linear"


def test_regret_of_many_shows_the_worst() -> None:
    ax = plots.regret(report([i / 100 for i in range(100)], ["convex"] * 100))
    assert len(ax.patches) == 40
    assert [ax.get_yticklabels()[row].get_text() for row in (0, -1)] == ["f60", "f99"]
    assert "the worst 40 of 100" in ax.get_xlabel()


def test_regret_of_nobody() -> None:
    plots.regret(sp.verify(sp.affine_incentive(sp.leader_optimal(bridge()))))
    assert plots.regret(report([0.0], ["convex"])).get_xlim()[0] == 0.0


def two_firms() -> sp.Game:
    m = pyo.ConcreteModel()
    m.tax = pyo.Var([1, 2], initialize=0.0)
    m.firm = pyo.Block([1, 2])
    for i in (1, 2):
        m.firm[i].q = pyo.Var(initialize=1.0)
        m.firm[i].cost = pyo.Objective(expr=(m.firm[i].q - i) ** 2 + m.tax[i] * m.firm[i].q)
    m.goal = pyo.Objective(expr=sum((m.firm[i].q - i / 2) ** 2 + m.tax[i] ** 2 for i in (1, 2)))
    return sp.Game(m, followers=m.firm)


def test_gains_as_a_heat_map() -> None:
    rule = sp.affine_incentive(
        sp.leader_optimal(two_firms()), {"tax[1]": ["firm[1].q"], "tax[2]": ["firm[1].q", "firm[2].q"]}
    )
    ax = plots.gains(rule)
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array().filled(np.nan), rule.gain.to_numpy())
    assert np.isnan(rule.gain.loc["tax[1]", "firm[2].q"])
    low, high = image.get_clim()
    assert low == -high == -np.nanmax(np.abs(rule.gain.to_numpy()))
    assert [t.get_text() for t in ax.get_xticklabels()] == rule.signals
    assert [t.get_text() for t in ax.get_yticklabels()] == rule.leader
    assert len(ax.texts) == 3, "no number where the leader may not use the signal"


def test_gains_of_many_names_some() -> None:
    m = pyo.ConcreteModel()
    m.tax = pyo.Var(initialize=0.0)
    m.firm = pyo.Block(range(60))
    for i in range(60):
        m.firm[i].q = pyo.Var(initialize=1.0)
        m.firm[i].cost = pyo.Objective(expr=(m.firm[i].q - 1) ** 2 + m.tax * m.firm[i].q)
    m.goal = pyo.Objective(expr=sum((m.firm[i].q - 0.5) ** 2 for i in range(60)) + m.tax**2)
    ax = plots.gains(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.firm))))
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"firm[{i}].q" for i in range(0, 60, 3)]
    assert not ax.texts


@pytest.mark.parametrize("count", [2, 3])
def test_names_under_a_heat_map_do_not_overlap(count: int) -> None:
    """On the width of a page: the boxes of neighbours are apart."""
    m = pyo.ConcreteModel()
    m.fee, m.airline = pyo.Var(initialize=0.0), pyo.Block(["north", "south", "charter"][:count])
    for name in m.airline:
        m.airline[name].flights = pyo.Var(initialize=1.0)
        m.airline[name].cost = pyo.Objective(expr=(m.airline[name].flights - 2) ** 2 + m.fee * m.airline[name].flights)
    m.goal = pyo.Objective(expr=sum((m.airline[name].flights - 1) ** 2 for name in m.airline) + m.fee**2)
    figure, ax = plt.subplots(figsize=(5.2, 2.6), layout="constrained")
    plots.gains(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.airline))), ax)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert len(boxes) == count
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_best_response_of_one_action(sense: int) -> None:
    """toll = 4/3 (flow − 0.6): (flow − 1)² + toll · flow in front, (flow − 1)² behind, in the sense it is written."""
    rule = sp.affine_incentive(sp.leader_optimal(bridge(sense)))
    sign = 1 if sense == pyo.minimize else -1
    drawn = lines(plots.best_response(rule, "driver", points=5))
    x, y = drawn["announced strategy"].T
    assert {0.0, 0.25, 0.5, 0.75, 1.0} <= set(x.round(12))
    np.testing.assert_allclose(y, sign * ((x - 1) ** 2 + 4 / 3 * (x - 0.6) * x), atol=1e-6)
    x, y = drawn["constant leader: no incentive"].T
    np.testing.assert_allclose(y, sign * (x - 1) ** 2, atol=1e-6)
    np.testing.assert_allclose(drawn["plan"], [[0.6, sign * 0.16]], atol=1e-6)


def test_best_response_to_a_projection() -> None:
    """With toll ≥ −0.2 announced as its projection, the curve has a kink at flow = 0.45."""
    rule = sp.affine_incentive(sp.leader_optimal(bridge(floor=-0.2)), saturate=True)
    drawn = lines(plots.best_response(rule, "driver", within=(0.0, 1.0), points=21))
    x, y = drawn["announced strategy"].T
    np.testing.assert_allclose(y, (x - 1) ** 2 + np.maximum(-0.2, 4 / 3 * (x - 0.6)) * x, atol=1e-6)


def test_best_response_of_an_unbounded_action_is_drawn_around_the_plan() -> None:
    rule = sp.affine_incentive(sp.leader_optimal(two_firms()))
    x = lines(plots.best_response(rule, "firm[1]"))["announced strategy"][:, 0]
    assert [x.min(), x.max()] == pytest.approx([0.5 - 1.25, 0.5 + 1.25])
    x = lines(plots.best_response(rule, "firm[1]", within=(-3, 4)))["announced strategy"][:, 0]
    assert [x.min(), x.max()] == [-3, 4]


def test_best_response_along_one_of_several_actions() -> None:
    """J = (x − 1)² + (y − 2)² + t x y at the plan x = y = 1/2, t = 0: what t answers to x alone is charged on x y."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=(0, 2), initialize=0.5), pyo.Var(bounds=(0, 3), initialize=0.5)
    m.f.cost = pyo.Objective(expr=(m.f.x - 1) ** 2 + (m.f.y - 2) ** 2 + m.t * m.f.x * m.f.y)
    m.goal = pyo.Objective(expr=(m.f.x - 0.5) ** 2 + (m.f.y - 0.5) ** 2 + m.t**2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f)), curvature="none")
    for action, aim, gain in (("f.x", 1.0, 4.0), ("f.y", 2.0, 12.0)):  # −a / b with b = x y = 1/4
        drawn = lines(plots.best_response(rule, "f", action=action, within=(0.1, 0.9), points=9))
        x, y = drawn["announced strategy"].T
        own = (x - aim) ** 2 + (1.5**2 if action == "f.x" else 0.25)
        np.testing.assert_allclose(y, own + gain * (x - 0.5) * x * 0.5, atol=1e-6)
        np.testing.assert_allclose(drawn["constant leader: no incentive"][:, 1], own, atol=1e-6)


# --- the incentive as a supporting line ---------------------------------------------------------------------------


def frontier(ax: Any) -> np.ndarray:
    """Points of the drawn level set through the plan."""
    (thick,) = (c for c in ax.collections if np.allclose(c.get_linewidth(), 1.8))
    return np.concatenate([path.vertices for path in thick.get_paths()])


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_the_strategy_supports_the_level_set_of_the_toll(sense: int) -> None:
    """(v − 1)² + w v = 0.16 is w = (0.16 − (v − 1)²)/v, and 4/3 (v − 0.6) − w = (v − 0.6)² (7/3 + …)/v ≥ 0."""
    ax = plots.level_sets(sp.affine_incentive(sp.leader_optimal(bridge(sense))), "driver")
    drawn = lines(ax)
    v, w = drawn["announced strategy"].T
    np.testing.assert_allclose(w, 4 / 3 * (v - 0.6), atol=1e-6)
    np.testing.assert_allclose(drawn["plan"], [[0.6, 0.0]], atol=1e-6)
    v, w = frontier(ax).T
    np.testing.assert_allclose(w, (0.16 - (v - 1) ** 2) / v, atol=0.01)
    above = 4 / 3 * (v - 0.6) - w
    assert above.min() > -1e-4, "it supports"
    assert abs(v[above.argmin()] - 0.6) < 0.05, "it touches at the plan"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("driver.flow", "toll")


def rivals() -> sp.Game:
    """Two leader's variables, of which either enters; an average that a member moves by a tenth of what it does."""
    m = pyo.ConcreteModel()
    m.price, m.fee, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 4), initialize=1.0)
    m.f.cost = pyo.Objective(expr=(m.f.q - 2) ** 2 + m.price * m.f.q + 2 * m.fee + m.mean * m.f.q)
    m.average = pyo.Constraint(expr=m.mean == m.f.q)
    m.goal = pyo.Objective(expr=(m.f.q - 1) ** 2 + m.price**2 + m.fee**2)
    return sp.Game(m, sp.Population(m.f, 10), aggregates=m.average)


@pytest.mark.parametrize("observe", ["actions", "mean"])
@pytest.mark.parametrize("leader", ["price", "fee"])
def test_whatever_else_is_announced_answers_too(leader: str, observe: str) -> None:
    """J = (v − 2)² + p v + 2 f + (1 + (v − 1)/10) v at v = 1: −a = 2 − 1.1, and K = −b aᵀ/‖b‖² with b = (1, 2)."""
    game = rivals()
    rule = sp.affine_incentive(sp.leader_optimal(game), observe if observe == "actions" else [game.model.mean])
    ax = plots.level_sets(rule, "f", leader=leader, within=(0.5, 1.5))
    v, w = lines(ax)["announced strategy"].T
    gains = {"price": 0.9 / 5, "fee": 1.8 / 5}
    np.testing.assert_allclose(w, gains[leader] * (v - 1), atol=1e-6)
    v, w = frontier(ax).T
    other = (2 * gains["fee"] if leader == "price" else gains["price"] * v) * (v - 1)
    rest = 1 + 1 - (v - 2) ** 2 - (1 + (v - 1) / 10) * v - other
    np.testing.assert_allclose(w, rest / (v if leader == "price" else 2), atol=2e-3)
    above = gains[leader] * (v - 1) - w
    assert above.min() > -1e-4
    assert abs(v[above.argmin()] - 1) < 0.05


def test_the_leaders_own_level_sets_are_there() -> None:
    """(v − 0.6)² + w²: ellipses around the plan, every vertex of one path as far from it."""
    ax = plots.level_sets(sp.affine_incentive(sp.leader_optimal(bridge())), "driver")
    dashed = [c for c in ax.collections if np.allclose(c.get_linewidth(), 0.6) and c.get_linestyle()[0][1]]
    assert len(dashed) == 1
    paths = [path.vertices for path in dashed[0].get_paths() if len(path.vertices)]
    assert len(paths) > 2
    for vertices in paths:
        np.testing.assert_allclose(np.ptp((vertices[:, 0] - 0.6) ** 2 + vertices[:, 1] ** 2), 0.0, atol=5e-3)


def test_a_projected_strategy_is_drawn_with_its_kink() -> None:
    rule = sp.affine_incentive(sp.leader_optimal(bridge(floor=-0.2)), saturate=True)
    v, w = lines(plots.level_sets(rule, "driver"))["announced strategy"].T
    np.testing.assert_allclose(w, np.maximum(-0.2, 4 / 3 * (v - 0.6)), atol=1e-6)


def test_nothing_is_drawn_where_the_follower_may_not_be() -> None:
    game = bridge()
    m = game.model
    m.driver.budget = pyo.Constraint(expr=m.driver.flow + m.toll <= 0.9)
    m.driver.worth = pyo.Constraint(expr=pyo.log(m.toll + 0.5) >= -5)  # no value below −1/2
    ax = plots.level_sets(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.driver))), "driver", points=41)
    v, w = frontier(ax).T
    assert (v + w).max() <= 0.9 + 1e-6
    assert w.min() >= -0.5


# --- performance profiles -----------------------------------------------------------------------------------------


def test_profiles_are_steps() -> None:
    table = pd.DataFrame({"a": [0.5, 1.0], "b": [0.5, 0.5]}, index=pd.Index([1.0, 3.0], name="tau"))
    drawn = lines(plots.profiles(table))
    np.testing.assert_allclose(drawn["a"], [[1, 0.5], [3, 1], [4.5, 1]])
    np.testing.assert_allclose(drawn["b"], [[1, 0.5], [3, 0.5], [4.5, 0.5]])
    assert not lines(plots.profiles(table.iloc[:0])), "nobody solved anything"
    with pytest.raises(sp.InvalidGame, match=r"profiles: expected the table that Comparison.profile"):
        plots.profiles(table.reset_index())


def test_names_are_no_mathematics(tmp_path: Any) -> None:
    """Dollars in a name would be read as TeX, and raise where that is none."""
    m = pyo.ConcreteModel()
    m.add_component("fee $\\frac$", pyo.Var(bounds=(-2, 2)))
    fee = m.component("fee $\\frac$")
    m.add_component("$x_1$", pyo.Block())
    block = m.component("$x_1$")
    block.add_component("$u^$", pyo.Var(bounds=(0, 1)))
    action = block.component("$u^$")
    block.cost = pyo.Objective(expr=(action - 1) ** 2 + fee * action)
    m.goal = pyo.Objective(expr=(action - 0.6) ** 2 + fee**2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, block)))
    (name,) = rule.attached().followers
    for ax in (
        plots.gains(rule),
        plots.regret(sp.verify(rule)),
        plots.best_response(rule, name),
        plots.level_sets(rule, name),
    ):
        ax.figure.savefig(tmp_path / "drawn.svg")


def test_a_given_ax_is_drawn_into() -> None:
    _, axes = plt.subplots(2, 2)
    rule = sp.affine_incentive(sp.leader_optimal(bridge()))
    assert plots.best_response(rule, "driver", axes[0, 0]) is axes[0, 0]
    assert plots.gains(rule, axes[0, 1]) is axes[0, 1]
    assert plots.regret(sp.verify(rule), axes[1, 0]) is axes[1, 0]
    assert plots.scaling(grown("bounded", [1.0, 1.0, 1.0, 1.0], 0.0), axes[1, 1]) is axes[1, 1]
    assert len(plt.get_fignums()) == 1


def test_bad_questions() -> None:
    rule = sp.affine_incentive(sp.leader_optimal(bridge()))
    for draw in (plots.best_response, plots.level_sets):
        with pytest.raises(sp.InvalidGame, match=r"stranger'\): no follower; choose"):
            draw(rule, "stranger")
        with pytest.raises(sp.InvalidGame, match=r"action=speed.*driver has 1 actions; choose driver\.flow"):
            draw(rule, "driver", action="speed")
    with pytest.raises(sp.InvalidGame, match=r"leader=fee\): expected one of toll"):
        plots.level_sets(rule, "driver", leader="fee")
    with pytest.raises(sp.InvalidGame, match="points=0"):
        plots.best_response(rule, "driver", points=0)
    with pytest.raises(sp.InvalidGame, match="points=1: expected an integer from 2"):
        plots.level_sets(rule, "driver", points=1)
    for draw in (plots.best_response, plots.level_sets):
        for within in ((0.5, 0.5), (1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))):
            with pytest.raises(sp.InvalidGame, match=r"within=.*expected \(lowest, highest\)"):
                draw(rule, "driver", within=within)
    with pytest.raises(sp.InvalidGame, match="no column average_gain"):
        plots.scaling(pd.DataFrame({"size": [1]}))
    with pytest.raises(sp.InvalidGame, match="no column leader_optimal"):
        plots.leaders(pd.DataFrame({"size": [1]}))


def test_without_matplotlib_the_extra_is_named(no_matplotlib: None) -> None:
    with pytest.raises(sp.StackpyomoError, match=r'pip install "stackpyomo\[plot\]"'):
        plots.scaling(grown("bounded", [1.0, 1.0, 1.0, 1.0], 0.0))
