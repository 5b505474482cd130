"""From meter data to a tariff: a household is fitted to its meter, and the tariff has to be good for all that fits.

A household (follower) uses u kWh of an evening, and finds the first one worth θ, each further one h less. A utility
(leader) would like 1 kWh used, and a price of 0 for its own sake; it sees the meter, and may announce p = c + K u:

    household   min_u  h u²/2 − θ u + p u,    0 ≤ u ≤ 20            utility   min  (u − 1)²/2 + p²/2

θ and h are Params that nobody tells the utility. The truth here is (4, 1), and readings are off by at most ``NOISE``:

    fitted    θ and h from what was announced and what the meter showed (``sp.fit``), and all that explains it
    robust    the affine tariff whose worst case over all of that is least (``Scenarios.worst``, ``sp.optimal_rule``)
    learned   announce, observe, fit anew: the loss of each evening

``models/data/evenings.csv`` is what ``readings()`` draws with its seed, rounded; it belongs to this project.

Constants have traps: who believes (θ, h) announces p = (θ − h)/(1 + h²), and where the truth answers that just as (θ,
h) would, the data confirm what is wrong for ever. There is one for every h: p = 3/(1 + h), θ = p + h (4 − p), at a
loss of (p − 3/2)² an evening against the best constant; for h = 2 it is θ = 7, p = 1, u = 3. A probe at another price
ends it. The best affine tariff for that belief is no trap: it expects 1 kWh and sees 9/11.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

import stackpyomo as sp

TRUTH = (4.0, 1.0)
BELIEF = (7.0, 2.0)
BOUNDS = {"worth": (0.0, 20.0), "slope": (0.2, 5.0)}
NOISE = 0.2  # kWh
PRICES = (1.0, 1.5, 2.0, 1.0, 1.5, 2.0)  # announced on six evenings
MOST = 20.0  # kWh
EXPECTED = {"gain": 3.0, "trap price": 1.0, "trap regret": 0.25, "probe regret": 2.25}


def build(worth: float = TRUTH[0], slope: float = TRUTH[1]) -> sp.Game:
    """The utility against a household whose first kWh is worth θ = ``worth``, each further one ``slope`` less."""
    m = pyo.ConcreteModel(name="metered_tariff")
    m.worth = pyo.Param(initialize=worth, mutable=True)
    m.slope = pyo.Param(initialize=slope, mutable=True)
    m.price = pyo.Var(bounds=(-MOST, MOST), initialize=0)
    m.household = pyo.Block()
    m.household.use = pyo.Var(bounds=(0, MOST), initialize=1)
    use = m.household.use
    m.household.cost = pyo.Objective(expr=m.slope * use**2 / 2 - m.worth * use + m.price * use)
    m.miss = pyo.Objective(expr=(use - 1) ** 2 / 2 + m.price**2 / 2)
    return sp.Game(m, followers=m.household, name="metered tariff")


def answer(line: tuple[float, float], worth: Any, slope: Any) -> Any:
    """What a household uses under p = c + K u: (θ − c)/(h + 2 K), cut at what it can use."""
    offset, gain = line
    return np.clip((worth - offset) / (slope + 2 * gain), 0.0, MOST)


def loss(line: tuple[float, float], worth: Any, slope: Any) -> Any:
    """What the utility loses by it."""
    use = answer(line, worth, slope)
    return (use - 1) ** 2 / 2 + (line[0] + line[1] * use) ** 2 / 2


def readings(prices: Sequence[float] = PRICES, noise: float = NOISE, seed: int = 1) -> pd.DataFrame:
    """Evenings at constant prices: what was announced, and what the meter showed of a household of the truth."""
    off = np.random.default_rng(seed).uniform(-noise, noise, len(prices))
    use = [float(answer((price, 0.0), *TRUTH)) + error for price, error in zip(prices, off, strict=True)]
    return pd.DataFrame({"price": list(prices), "household.use": np.clip(use, 0.0, MOST)})


def fitted(rows: pd.DataFrame, noise: float | None = NOISE) -> sp.Fit:
    """θ and h from the rows; all that explains them within the noise."""
    return sp.fit(build(*BELIEF), rows, BOUNDS, noise=noise)


def types_game(types: sp.Scenarios) -> tuple[sp.Game, Any]:
    """The utility against households of all these types, their worst case; and what it sees of each."""
    m = pyo.ConcreteModel(name="metered_tariff")
    m.price = pyo.Var(list(types), bounds=(-MOST, MOST), initialize=0)
    m.household = pyo.Block()
    m.household.use = pyo.Var(list(types), bounds=(0, MOST), initialize=1)
    use, worth, slope = m.household.use, types["worth"], types["slope"]
    m.household.cost = pyo.Objective(
        expr=types.expectation(lambda w: slope[w] * use[w] ** 2 / 2 - worth[w] * use[w] + m.price[w] * use[w])
    )
    m.goal = pyo.Objective(expr=types.worst(m, lambda w: (use[w] - 1) ** 2 / 2 + m.price[w] ** 2 / 2))
    return sp.Game(m, followers=m.household, name="metered tariff"), types.observe(m.price, [(use, None)])


def robust(types: sp.Scenarios, **options: Any) -> sp.Incentive:
    """The affine tariff for all these types whose worst case is least."""
    game, seen = types_game(types)
    return sp.optimal_rule(game, seen, common=[game.model.price], **options)


def line_of(rule: sp.Incentive) -> tuple[float, float]:
    """(c, K) of a tariff: what is announced at no use, and per kWh."""
    variable, signal = rule.leader[0], rule.signals[0]
    gain = float(rule.gain.loc[variable, signal])
    return rule.offset[variable] - gain * rule.targets[signal], gain


def believed(worth: float, slope: float, *, constant: bool) -> tuple[float, float]:
    """The utility's best tariff if it were so: a constant price, or a rule that holds the plan it likes best."""
    game = build(worth, slope)
    if constant:
        return float(sp.stackelberg(game).value(game.model.price)), 0.0
    return line_of(sp.affine_incentive(sp.leader_optimal(game)))


def worst(line: tuple[float, float], types: sp.Scenarios) -> float:
    """The largest loss over the types. Over their convex hull, too: use is quasi-affine in (θ, h), the loss convex in
    it, and what is quasi-convex is largest at a corner."""
    return float(np.max(loss(line, types["worth"], types["slope"])))


def learned(periods: int, *, constant: bool = True, probe: float | None = None) -> pd.DataFrame:
    """Announce, observe, fit anew, evening by evening and without noise, from ``BELIEF`` on.

    probe: a price announced on the first evening, whatever is believed. Columns: the tariff, what was used and
    expected, the loss, what was lost against the best of its kind for the truth, the belief after it, and its rank.
    """
    best = float(loss(believed(*TRUTH, constant=constant), *TRUTH))
    belief, rows, lines, told = BELIEF, list[dict[str, float]](), list[tuple[float, float]](), list[dict[str, float]]()
    for period in range(periods):
        line = (probe, 0.0) if probe is not None and period == 0 else believed(*belief, constant=constant)
        use = float(answer(line, *TRUTH))
        lines.append(line)
        rows.append({"price": line[0] + line[1] * use, "household.use": use})
        expected, lost = float(answer(line, *belief)), float(loss(line, *TRUTH))
        found = sp.fit(build(*belief), pd.DataFrame(rows), BOUNDS, rules=[{"price": each} for each in lines])
        belief = (float(found.parameters["worth"]), float(found.parameters["slope"]))
        told.append({"offset": line[0], "gain": line[1], "use": use, "expected": expected, "loss": lost,
                     "regret": lost - best, "worth": belief[0], "slope": belief[1], "rank": found.rank})  # fmt: skip
    return pd.DataFrame(told, index=pd.RangeIndex(1, periods + 1, name="evening"))


def compared(fit: sp.Fit, **options: Any) -> pd.DataFrame:
    """The price of not knowing: the worst case over all that explains the data, and the loss at the truth, of four
    tariffs."""
    types = fit.scenarios("vertices")
    theta = tuple(fit.parameters[["worth", "slope"]])
    lines = {
        "known household": believed(*TRUTH, constant=False),
        "robust": line_of(robust(types, **options)),
        "for the estimate": believed(*theta, constant=False),
        "constant for the estimate": believed(*theta, constant=True),
    }
    cells = [[*line, worst(line, types), float(loss(line, *TRUTH))] for line in lines.values()]
    return pd.DataFrame(cells, index=list(lines), columns=["offset", "gain", "worst case", "at the truth"])


def main() -> None:
    """Readings, fit, tariffs, what to ask next, and the evenings of the trap."""
    fit = fitted(readings())
    print(fit)
    print(f"\nTariffs:\n{compared(fit).round(4).to_string()}")
    print(f"\nWhat to announce next:\n{fit.next({'price': [0.0, 1.0, 2.0, 3.0]}).round(3).to_string(index=False)}")
    for name, options in {"trapped": {}, "probe": {"probe": 0.0}, "affine": {"constant": False}}.items():
        print(f"\nEvenings ({name}):\n{learned(4, **options).round(3).to_string()}")  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
