"""The witness: a mistake in the arrays is an error and no verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
