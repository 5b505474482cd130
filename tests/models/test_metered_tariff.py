"""The metered tariff: traps, probe and rules in closed form, the robust tariff against a search over all tariffs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import stackpyomo as sp
from models import metered_tariff as meter


def test_the_rule_for_the_truth_and_for_the_belief() -> None:
    assert meter.believed(*meter.TRUTH, constant=False) == pytest.approx((-3.0, 3.0), abs=1e-6)
    line = meter.believed(*meter.BELIEF, constant=False)
    assert line == pytest.approx((-5.0, 5.0), abs=1e-6)
    assert meter.answer(line, *meter.TRUTH) == pytest.approx(9 / 11, abs=1e-6)


@pytest.mark.parametrize("slope", [0.5, 2.0, 3.0])
def test_every_slope_has_its_trap(slope: float) -> None:
    """p = 3/(1 + h), θ = p + h (4 − p): what is expected is what is seen."""
    price = 3 / (1 + slope)
    worth = price + slope * (4 - price)
    line = meter.believed(worth, slope, constant=True)
    assert line == pytest.approx((price, 0.0), abs=1e-6)
    assert meter.answer(line, worth, slope) == pytest.approx(meter.answer(line, *meter.TRUTH), abs=1e-6)
    lost = meter.loss(line, *meter.TRUTH) - meter.loss((1.5, 0.0), *meter.TRUTH)
    assert lost == pytest.approx((price - 1.5) ** 2, abs=1e-6)


@pytest.mark.slow
def test_the_trap_holds_and_a_probe_ends_it() -> None:
    trapped = meter.learned(3)
    assert trapped["regret"].tolist() == pytest.approx([0.25] * 3, abs=1e-6)
    assert trapped[["worth", "slope"]].to_numpy().ravel().tolist() == pytest.approx([7.0, 2.0] * 3, abs=1e-6)
    assert trapped["rank"].tolist() == [1, 1, 1]
    probed = meter.learned(3, probe=0.0)
    assert probed["regret"].iloc[0] == pytest.approx(2.25, abs=1e-6)
    assert probed[["worth", "slope"]].iloc[1].tolist() == pytest.approx([4.0, 1.0], abs=1e-5)
    assert probed["regret"].iloc[2] == pytest.approx(0.0, abs=1e-6)


def test_an_affine_tariff_is_no_trap() -> None:
    told = meter.learned(3, constant=False)
    assert told[["expected", "use"]].iloc[0].tolist() == pytest.approx([1.0, 9 / 11], abs=1e-6)
    assert told["regret"].iloc[2] == pytest.approx(0.0, abs=1e-6)
    assert told["rank"].tolist() == [1, 2, 2]


@pytest.mark.slow
def test_the_data_and_what_they_leave_open() -> None:
    rows = meter.readings()
    shipped = pd.read_csv(Path(meter.__file__).parent / "data" / "evenings.csv")
    assert np.allclose(shipped, rows, atol=1e-4)
    assert rows.equals(meter.readings()), "the same seed, the same draw"
    found = meter.fitted(shipped)
    assert found.rank == 2
    assert found.consistent.contains(meter.TRUTH), "the truth explains what it has made"
    assert found.next({"price": [0.0, 1.5]})["price"].iloc[0] == 0.0


@pytest.mark.slow
def test_the_robust_tariff_is_the_best_in_the_worst_case() -> None:
    """Against Nelder–Mead over (c, K), on the corners, and against draws from the inside."""
    found = meter.fitted(meter.readings())
    types = found.scenarios("vertices")
    rule = meter.robust(types, time_limit=20)
    line = meter.line_of(rule)
    best = min(
        (minimize(lambda x: meter.worst(tuple(x), types), start, method="Nelder-Mead",
                  options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000, "maxfev": 4000})
         for start in (line, (-3.0, 3.0), (-2.0, 2.0))), key=lambda way: way.fun)  # fmt: skip
    assert rule.plan.leader_objective == pytest.approx(meter.worst(line, types), abs=1e-8)
    assert meter.worst(line, types) == pytest.approx(best.fun, abs=1e-6)
    assert sp.verify(rule).ok
    inside = found.scenarios("sample", size=500, seed=0)
    assert meter.worst(line, inside) <= meter.worst(line, types) + 1e-9
    theta = tuple(found.parameters)
    assert meter.worst(line, types) < meter.worst(meter.believed(*theta, constant=False), types)
    assert np.isclose(meter.loss((-3.0, 3.0), *meter.TRUTH), 0.0)
