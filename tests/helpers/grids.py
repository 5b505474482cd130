"""DC power flow without angles and without Pyomo: power transfer distribution factors of a table of grid data."""

from __future__ import annotations

from typing import Any

import numpy as np


def shift_factors(facts: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """MW on each line by MW put in at each bus; whether a generator stands at a bus; what each bus takes, MW."""
    number = np.array([bus for bus, _, _ in facts["bus"]])
    load = np.array([demand + shunt for _, demand, shunt in facts["bus"]])
    start, end, x, tap, shift, _ = np.array(facts["branch"], dtype=float).T
    assert not shift.any()
    incidence = (start[:, None] == number).astype(float) - (end[:, None] == number)
    to_angle = incidence * (facts["base_mva"] / (x * tap))[:, None]
    site = np.array([generator[0] for generator in facts["generator"]])
    return to_angle @ np.linalg.pinv(incidence.T @ to_angle), (site == number[:, None]).astype(float), load
