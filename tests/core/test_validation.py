"""Plain arguments that make no sense are named with what is expected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import stackpyomo as sp
from stackpyomo.core import require_positive, require_whole


@pytest.mark.parametrize("number", [True, 0, -1, 1.5, "3", None, math.nan])
def test_no_whole_number(number: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=r"starts=.*: expected an integer from 1 on\."):
        require_whole("starts", number)


@pytest.mark.parametrize("number", [True, 0, -1.0, "3", None, math.nan, math.inf, 1j])
def test_no_positive_number(number: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=r"time_limit=.*: expected a finite number above 0\."):
        require_positive("time_limit", number)


def test_what_is_allowed_beside() -> None:
    require_whole("size", np.int64(3))
    require_whole("digits", 0, least=0)
    require_positive("time_limit", None, none=True)
    require_positive("slack", 0, zero=True)
    require_positive("weight", np.float32(0.5))
    with pytest.raises(sp.InvalidGame, match=r"slack=-1: expected a finite number from 0 on\."):
        require_positive("slack", -1, zero=True)
