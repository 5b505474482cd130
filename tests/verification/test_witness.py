"""The witness: a mistake in the arrays is an error and no verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.array_games import tracking

import stackpyomo as sp
from stackpyomo.verification import witness

MISTAKES: dict[str, tuple[str, Callable[..., Any]]] = {
    "values": ("stackpyomo.families.sweep._product", lambda f: lambda *a: (f(*a)[0] * 1.0001, *f(*a)[1:])),
    "gradients": ("stackpyomo.families.sweep._plus", lambda f: lambda i, m, k=1.0: f(i, m, k * 1.01)),
    "bends": (
        "stackpyomo.families.sweep._outer",
        lambda f: lambda *a: (*f(*a)[:2], {key: bend * 0.5 for key, bend in f(*a)[2].items()}),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_an_error_and_no_verdict(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, wrong = MISTAKES[mistake]
    module, _, name = path.rpartition(".")
    right = getattr(__import__(module, fromlist=["x"]), name)
    monkeypatch.setattr(path, wrong(right))
    m = tracking()
    with pytest.raises(sp.StackpyomoError, match="mistake of this package"):
        sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))


def test_the_witness_looks_at_a_hundred(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    whole = witness.composed

    def counted(game: Any, announced: Any, wanted: Any, **how: Any) -> Any:
        drawn.extend(wanted)
        return whole(game, announced, wanted, **how)

    monkeypatch.setattr(witness, "composed", counted)
    m = tracking(150)
    assert sp.verify(sp.Plan.from_values(sp.Game(m, m.f))).solver == "arrays"
    assert len(set(drawn)) == 100


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_slopes_that_cancel_differ_by_rounding(unit: float) -> None:
    """Firms that a price of 1e-10 keeps out of the market: what is left of prices of 100 and 88 is half rounding."""
    m = pyo.ConcreteModel()
    m.mine, m.firm, m.rivals = pyo.Var(bounds=(0, 100), initialize=61.4), pyo.Block(range(240)), pyo.Var(initialize=0)
    for k, block in m.firm.items():
        block.q = pyo.Var(bounds=(0, None), initialize=0)
        q, price = block.q / unit, 100 - m.mine - (m.rivals / unit + 26.183076260770207)
        block.profit = pyo.Objective(expr=(price - 12.416923739229793 - k / 3e11) * q - q**2 / 2, sense=pyo.maximize)
    m.supply = pyo.Constraint(expr=m.rivals == pyo.quicksum(m.firm[k].q for k in m.firm))
    m.goal = pyo.Objective(expr=(m.mine - 3.1) ** 2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.firm, aggregates=[m.supply])))
    assert report.ok
    assert "arrays" in report.solver
