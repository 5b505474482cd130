"""Numbers and fields as JSON has them, there and back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stackpyomo as sp
from stackpyomo.core import fields_from_json, fields_to_json, json_number, plain, readable, real, writable


@dataclass
class Thing:
    size: float
    sizes: dict[str, float] = field(default_factory=dict)
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    count: int = 3
    secret: Any = None


def test_numbers_that_json_does_not_have() -> None:
    for number, written in ((math.nan, None), (math.inf, "inf"), (-math.inf, "-inf"), (-0.0, 0.0), (1.5, 1.5)):
        assert json_number(number) == written
        assert real(written) == pytest.approx(number, nan_ok=True)
    assert str(json_number(-0.0)) == "0.0"


def test_fields_come_back_as_they_went() -> None:
    thing = Thing(math.inf, {"a": math.nan, "b": 2.0}, {"p": (-math.inf, 1.0)}, ("x", "y"), 7, object())
    text = json.dumps(fields_to_json(thing, ("secret",)))
    again = Thing(**fields_from_json(Thing, json.loads(text), ("secret",)))
    assert again.size == math.inf
    assert math.isnan(again.sizes.pop("a"))
    assert (again.sizes, again.limits, again.names, again.count) == ({"b": 2.0}, thing.limits, ("x", "y"), 7)
    assert again.secret is None


def test_what_a_document_lacks_is_left_to_the_defaults() -> None:
    assert Thing(**fields_from_json(Thing, {"size": None, "other": 1})).count == 3
    with (
        pytest.raises(sp.InvalidGame, match=r"not the JSON that thing.to_json\(\) writes \(TypeError: "),
        readable("thing"),
    ):
        Thing(**fields_from_json(Thing, {}))


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(sp.InvalidGame, match=r"page.html: cannot be written \(No such file or directory\)"):
        writable(tmp_path / "none" / "page.html", "text")


def test_plain() -> None:
    told = {"a": np.array([[1.0, math.nan]]), 3: (np.int64(2), None, True), "b": {"c": -math.inf}}
    assert plain(told) == {"a": [[1.0, None]], "3": [2, None, True], "b": {"c": "-inf"}}
