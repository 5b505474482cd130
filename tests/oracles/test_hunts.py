"""A slice of ``make hunt``, and its oracles against answers known by hand: they must be able to refute."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import PROFILE

import stackpyomo as sp
from hunts import second_best, units
from hunts.__main__ import HUNTS, main, play
from hunts.bilevel import Affine
from hunts.drafts import Draft, Side
from hunts.ledger import Ledger
from hunts.oracles import Deviation, Rule, best_deviation, is_bent_down, natural_scale, unknown
from hunts.switches import Mixed
from hunts.tolls import Network

SLICE = {
    "incentives": 4,
    "scenarios": 6,
    "populations": 5,
    "affine": 16,
    "curved": 5,
    "equilibria": 4,
    "integers": 4,
    "proofs": 6,
    "certificates": 2,
    "units": 4,
    "unique": 20,
    "secondbest": 1,
    "wishes": 12,
    "writings": 2,
    "fits": 1,
    "leaders": 4,
    "families": 6,
    "crowds": 2,
    "wide": 6,
    "tolls": 6,
    "degenerate": 12,
    "refusals": 20,
}
"""Games of each hunt, by `make explore`; half of them by `make test`."""
DRIVER = Side({"flow": (0.0, 1.0)}, "(flow - 1)**2 + toll*flow")
PLAN = {"toll": 0.0, "flow": 0.6}


def toll(low: float = -2.0, high: float = 2.0) -> Draft:
    return Draft(Side({"toll": (low, high)}, "(flow - 0.6)**2 + 0.01*toll**2"), [DRIVER], PLAN)


@pytest.mark.slow
@pytest.mark.parametrize("name", HUNTS)
def test_no_claim_is_refuted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, count = Ledger(tmp_path), SLICE[name]
    if PROFILE != "other":
        count = (count + 1) // 2
        monkeypatch.setattr(second_best, "_SECONDS", 3.0)  # of 20 for each of its searches
    play(name, 0, range(count), ledger)
    assert not ledger.refuted, "\n".join(ledger.reasons)
    assert ledger.games[name] == count


@pytest.mark.parametrize(("seed", "number"), [(1, 19), (2, 9)])
def test_tolls_that_were_called_optimal_and_were_not(seed: int, number: int, tmp_path: Path) -> None:
    """In a box of 1e6 SCIP saw no revenue; beside tolls of 1e5 that nobody pays a polish ended 0.2 % below the best."""
    ledger = Ledger(tmp_path)
    play("tolls", seed, range(number, number + 1), ledger)
    assert not ledger.refuted, "\n".join(ledger.reasons)
    assert ledger.made["tolls", "optimal"] == 1


def test_a_signal_that_rounds_to_0_is_not_drawn(tmp_path: Path) -> None:
    """Its refusal was taken for a claim of payments without an end."""
    ledger = Ledger(tmp_path)
    play("wishes", 20261210, range(206, 207), ledger)
    assert not ledger.refuted, "\n".join(ledger.reasons)


def test_the_oracle_knows_the_driver_by_hand() -> None:
    """At a constant toll the driver gains 0.16; under the gain 4/3 nothing; cut at a toll of 0.1 something again."""
    random = np.random.default_rng(0)
    assert best_deviation(DRIVER, None, PLAN, random).gain == pytest.approx(0.16, abs=1e-9)
    announced = {"leader": ["toll"], "signals": ["flow"], "offset": {"toll": 0.0}, "gain": [[4 / 3]], "plan": PLAN}
    assert best_deviation(DRIVER, Rule(toll(), **announced), PLAN, random).gain == pytest.approx(0.0, abs=1e-12)
    cut = best_deviation(DRIVER, Rule(toll(high=0.1), **announced), PLAN, random)
    assert cut.gain == pytest.approx(0.16 - (0.05**2 + 0.1 * 0.95), abs=1e-9)  # at a toll of 0.1: flow 0.95
    assert natural_scale(DRIVER, PLAN, random) == pytest.approx(1.0, abs=0.05)


def test_the_oracle_sees_what_has_no_end_and_what_bends_down() -> None:
    random = np.random.default_rng(0)
    endless = Side({"u": (-math.inf, math.inf)}, "(u - 1)**2 - 1e-6*u**4")
    assert best_deviation(endless, None, {"u": 1.0}, random).gain > 1e6
    assert is_bent_down(lambda z: z[:, 0] ** -2.0, [(-2.0, 2.0)], random) is not None
    assert is_bent_down(lambda z: z[:, 0] ** 2 + z[:, 1] ** 4, [(-2.0, 2.0)] * 2, random) is None


def test_the_last_digits_of_a_toll_count_far_out_alone() -> None:
    """Of u (t − 1) a billionth of t = 1 makes 2e-4 at u = 2e5, and 1e-9 at 1: no room for a gain of 1e-7 there."""
    side = Side({"u": (0.0, math.inf)}, "u*(t - 1)")
    for level, room in ((2e5, 2e-4), (1.0, 1e-9)):
        assert unknown(side, {"t": 1.0, "u": level}, Deviation(0.0, {"u": 0.0})) == pytest.approx(room, rel=1e-6)


def test_the_oracle_knows_what_tolls_earn() -> None:
    """4 + toll or 7.5 round: 3.5 on the one road; 3 within a bound of 3; without end where no way is free."""
    roads = {(0, 1): 4.0, (0, 2): 7.5, (1, 2): 0.0}
    assert Network(roads, [(0, 1)], [0]).revenue() == pytest.approx(3.5)
    assert Network(roads, [(0, 1)], [0], top=3.0).revenue() == pytest.approx(3.0)
    assert Network(roads, [(0, 1), (0, 2)], [0]).revenue() == math.inf
    assert Network(roads, [(0, 1), (1, 2)], [0, 1]).revenue() == math.inf, "from 1 there is one way"


def test_whole_and_real_actions_are_enumerated_as_by_hand() -> None:
    """On from 6.125 + w²/2 = p w on, w = p: (6 − p) w is 8.75 at 3.5. x − y with y ≥ x least comes near −1."""
    unit = Side({"on": (0.0, 1.0), "w": (0.0, 4.0)}, "6.125*on + 0.5*w**2 - p*w", ["w - 4.0*on"], whole=["on"])
    priced = Draft(Side({"p": (0.0, 10.0)}, "-(6.0 - p)*w"), [unit], {"p": 0.0, "on": 0.0, "w": 0.0})
    best, reached, _ = Mixed(priced, [("w", 1.0, "4.0*on")], "p").best()
    assert (best, reached) == (pytest.approx(-8.75, abs=1e-9), True)
    step = Side({"y": (0.0, 1.0)}, "y", ["p - y"], whole=["y"])
    stepped = Mixed(Draft(Side({"p": (0.0, 1.0)}, "p - y"), [step], {"p": 0.0, "y": 0.0}), [None], "p")
    assert stepped.best()[:2] == (pytest.approx(-1.0, abs=1e-9), False)
    assert stepped.gain({"p": 0.0, "y": 1.0}) == pytest.approx(1.0)


def test_active_sets_find_the_best_equilibrium_or_that_there_is_no_end() -> None:
    """u answers max(0, x); the leader's cost is −2 x + u = −x on x ≥ 0: −3 on [0, 3], without end on [0, ∞)."""
    none = np.zeros((0, 1))
    for high, least in ((3.0, -3.0), (math.inf, -math.inf)):
        one, minus = np.array([[1.0]]), np.array([-1.0])
        game = Affine(
            np.array([0]), one, -one, np.zeros(1), none, none, np.zeros(0), np.zeros(0, int),
            [(0.0, math.inf)], [(0.0, high)], 2 * minus, -minus, False,
        )  # fmt: skip
        assert game.best()[0] == pytest.approx(least)
        text = game.draft().game()
        assert text.check() is not None


def test_a_refuted_claim_is_told_and_leaves_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(tmp_path)
    ledger.begin("units", 3, 7)
    ledger.claim("verified", True)
    ledger.claim("verified", False, "a gain of 1", toll().script("print(sp.leader_optimal(game).quality)"))
    (script,) = tmp_path.glob("*.py")
    exec(compile(script.read_text(encoding="utf-8"), script.name, "exec"), {})
    assert capsys.readouterr().out == "optimal\n"
    assert ledger.table().splitlines()[-1].split() == ["verified", "2", "1"]
    assert "make hunt HUNT=units SEED=3 FIRST=7 COUNT=1" in ledger.reasons[0]
    assert main(["affine", "--count", "0", "--scripts", str(tmp_path)]) == 0


def test_other_units_are_the_same_game() -> None:
    draft = toll()
    other = draft.in_units({"toll": 10.0, "flow": 1e-3}, [100.0, 1.0], [0.0, 5.0])
    at = {"toll": 3.0, "flow": 4e-4}
    here = {"toll": 0.3, "flow": 0.4}
    assert other.leader.value(at) == pytest.approx(100 * draft.leader.value(here))
    assert other.followers[0].value(at) == pytest.approx(draft.followers[0].value(here) + 5)
    assert other.followers[0].boxes["flow"] == (0.0, 1e-3)
    assert sp.leader_optimal(other.game()).quality == "optimal"


@pytest.mark.parametrize(
    ("apart", "dearer", "holds"),
    [(1e-5, 1e-3, True), (2e-3, 5e-7, True), (2e-3, 1e-5, False), (0.1, 5e-7, False), (2e-3, math.nan, False)],
)
def test_optimal_plans_differ_by_what_a_gap_leaves_open_in_other_units(
    apart: float, dearer: float, holds: bool
) -> None:
    ledger = Ledger()
    ledger.begin("units", 0, 0)
    first, second = (
        units.Answer("optimal", {"t": 1.0 + a}, 2.0 + c, "", {}, "True", ()) for a, c in ((0, 0), (apart, dearer))
    )
    units._compared(first, second, "actions", "", ledger)
    assert bool(ledger.refuted) is not holds
