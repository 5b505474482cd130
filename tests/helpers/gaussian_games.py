"""Games of a Gaussian state, by quadrature or in samples."""

from __future__ import annotations

from typing import Any

import numpy as np

import stackpyomo as sp


def private(n: int, nodes: Any, noise: float) -> sp.Scenarios:
    """x ~ N(0, 1), y_i = x + w_i, from the observations inwards."""
    names = ["x", *(f"w{i}" for i in range(1, n + 1))]
    signals = {f"y{i}": {"x": 1.0, f"w{i}": 1.0} for i in range(1, n + 1)}
    covariance = np.diag([1.0, *[noise] * n])
    return sp.Scenarios.gauss_hermite(names, nodes, covariance=covariance, observed=signals)
