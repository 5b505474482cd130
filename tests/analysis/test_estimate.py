"""Estimates: what is known of the parameters, what is open, and which observation would close it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.customers import BOUNDS, ROWS, customer

import stackpyomo as sp


def test_a_combination_that_is_open_is_said() -> None:
    found = sp.fit(customer(7.0, 2.0), {"p": [1.0, 1.0], "f.u": [3.0, 3.0]}, ["theta", "h"])
    assert found.parameters.tolist() == pytest.approx([7.0, 2.0]), "of those that fit equally, the one believed in"
    assert found.rank == 1
    direction = found.null_space.iloc[0]
    assert direction["theta"] / direction["h"] == pytest.approx(3.0)
    assert "(theta, h) + t (3, 1)" in str(found)
    assert found.covariance.isna().all(axis=None)
    with pytest.raises(sp.InvalidGame, match=r"not known.*theta, h not distinguished"):
        found.scenarios("sample")


@pytest.mark.slow
def test_two_answers_to_one_price_are_met_in_the_middle() -> None:
    """θ − 3.05 h = 1 whatever residuals make of it (a slope of 0, which leaves none)."""
    for parameters in (["theta", "h"], BOUNDS):
        found = sp.fit(customer(7.0, 2.0), {"p": [1.0, 1.0], "f.u": [3.0, 3.1]}, parameters)
        assert found.parameters["theta"] - 3.05 * found.parameters["h"] == pytest.approx(1.0, abs=1e-5)
        assert found.parameters["h"] == pytest.approx(2.0, rel=0.05), "next to what is believed"
        assert (found.rank, found.sum_of_squares) == (1, pytest.approx(0.005, rel=1e-6))
        assert found.report is not None
        assert found.report.ok
        assert found.report.warnings == []


def test_which_observation_frees_it() -> None:
    found = sp.fit(customer(7.0, 2.0), {"p": [1.0], "f.u": [3.0]}, ["theta", "h"])
    table = found.next({"p": [0.0, 1.0, 2.0, 3.0, 9.0]})
    assert table["gain"].loc[[0, 2, 3]].tolist() == [np.inf] * 3
    assert table["gain"].loc[1] == pytest.approx(np.log(2.0)), "once more of the same"
    assert table["gain"].loc[9 - 5] == 0.0, "at its bound the customer says nothing"
    assert table["rank"].tolist() == [2, 2, 2, 1, 1]
    assert table["f.u"].loc[0] == pytest.approx(3.5)
    freed = sp.fit(customer(7.0, 2.0), {"p": [1.0, 0.0], "f.u": [3.0, 4.0]}, ["theta", "h"])
    assert freed.parameters.tolist() == pytest.approx([4.0, 1.0])


@pytest.mark.slow
def test_a_candidate_is_weighed_by_what_is_known_already() -> None:
    """D = (1, −u)/h in closed form."""
    found = sp.fit(customer(), ROWS, BOUNDS)
    theta, h = found.parameters
    prices = np.array([0.0, 1.0, 2.0, 3.0])
    seen = np.column_stack([np.ones(4), -(theta - prices) / h]) / h
    known = np.linalg.inv(seen.T @ seen)
    table = found.next({"p": [0.0, 2.5, 9.0]})
    for row, price in enumerate([0.0, 2.5]):
        trial = np.array([1.0, -(theta - price) / h]) / h
        assert table["gain"].loc[row] == pytest.approx(np.log1p(trial @ known @ trial), rel=1e-6)
    stiff = found.next({"f.u": [0.0]}, rules={"p": (-5.0, 5.0)})
    answer = (theta + 5.0) / (h + 10.0)
    trial = np.array([1.0, -answer]) / (h + 10.0)
    assert stiff["f.u"].iloc[0] == pytest.approx(answer, rel=1e-6)
    assert stiff["gain"].iloc[0] == pytest.approx(np.log1p(trial @ known @ trial), rel=1e-6)


@pytest.mark.slow
def test_rows_drawn_anew() -> None:
    """Of many rows the bootstrap is the sandwich; (θ, h) of u = (θ − p)/h with noise that grows with the price."""
    random = np.random.default_rng(0)
    p = random.uniform(0.0, 3.0, 400)
    u = (4.0 - p) / 1.2 + random.normal(size=400) * (0.05 + 0.05 * p)
    fit = sp.fit(customer(), pd.DataFrame({"p": p, "f.u": u}), BOUNDS)
    drawn = fit.bootstrap(3000, seed=1).to_numpy()
    assert drawn == pytest.approx(fit.sandwich.to_numpy(), rel=0.12)
    assert fit.bootstrap(50, seed=2).equals(fit.bootstrap(50, seed=2))
    one = sp.fit(customer(7, 2), {"p": [1.0], "f.u": [3.0]}, BOUNDS)
    assert one.bootstrap(10).isna().to_numpy().all(), "what is open has no covariance"
    with pytest.raises(sp.InvalidGame, match="draws=1"):
        fit.bootstrap(1)


def test_draws_from_the_covariance() -> None:
    found = sp.fit(customer(), ROWS, BOUNDS)
    drawn = found.scenarios("sample", size=4000, seed=3).outcomes
    assert drawn.mean().tolist() == pytest.approx(found.parameters.tolist(), rel=0.02)
    assert np.cov(drawn.T).ravel().tolist() == pytest.approx(found.covariance.to_numpy().ravel().tolist(), rel=0.1)
