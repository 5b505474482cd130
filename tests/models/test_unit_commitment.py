"""Unit commitment of small plants against enumeration: every output of every plant, in numpy and SciPy's LP alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.optimize import linprog, minimize_scalar

import stackpyomo as sp
from models import unit_commitment as plants
from models.unit_commitment import DEMAND, EXPECTED, FLEET, KINDS, TARIFFS

FORMS = ("one price", "total seen", "plants seen", "starts paid")
NAMES = [f"{kind}{number}" for kind, count in FLEET.items() for number in range(1, count + 1)]
KIND = {name: name[:-1] for name in NAMES}


def outputs(name: str) -> list[int]:
    data = KINDS[KIND[name]]
    return [0, *(w for w in range(1, data.capacity + 1) if w >= data.least)]


def cost(name: str, output: float) -> float:
    data = KINDS[KIND[name]]
    return data.start * (output > 0) + data.unit * output


def cheapest() -> dict[int, tuple[float, set[tuple[int, ...]]]]:
    """Demand → (expense, every cheapest commitment), plant by plant over all that they can give together."""
    best: dict[int, tuple[float, set[tuple[int, ...]]]] = {0: (0.0, {()})}
    for name in NAMES:
        following: dict[int, tuple[float, set[tuple[int, ...]]]] = {}
        for total, (expense, ways) in best.items():
            for output in outputs(name):
                paid = expense + cost(name, output) + int(name[-1]) / 2 * (output > 0)
                known, others = following.get(total + output, (np.inf, set()))
                if paid <= known:
                    further = {(*way, output) for way in ways}
                    following[total + output] = (paid, further | others if paid == known else further)
        best = following
    return best


CHEAPEST = cheapest()


def rows(form: str, chosen: tuple[int, ...]) -> Iterator[tuple[str, int, np.ndarray, float]]:
    """(plant, output, what it is paid more per unit of each unknown, what it costs more): unknowns p, K or s."""
    kinds = list(KINDS)
    size = {"one price": 1, "total seen": 2, "plants seen": 1 + len(NAMES), "starts paid": 1 + len(kinds)}[form]
    for number, (name, planned) in enumerate(zip(NAMES, chosen, strict=True)):
        for output in outputs(name):
            paid = np.zeros(size)
            paid[0] = output - planned
            if form in ("total seen", "plants seen"):
                paid[1 + number * (form == "plants seen")] = (output - planned) * output
            if form == "starts paid":
                paid[1 + kinds.index(KIND[name])] = float(output > 0) - float(planned > 0)
            yield name, output, paid, cost(name, output) - cost(name, planned)


def least_regret(form: str, chosen: tuple[int, ...]) -> float:
    """min ε: paid · x − cost ≤ ε for every output of every plant."""
    paid = np.array([row[2] for row in rows(form, chosen)])
    extra = np.array([row[3] for row in rows(form, chosen)])
    goal = np.r_[np.zeros(paid.shape[1]), 1.0]
    free = [(None, None)] * paid.shape[1] + [(0, None)]
    return float(linprog(goal, A_ub=np.c_[paid, -np.ones(len(paid))], b_ub=extra, bounds=free).fun)


def planned(plan: sp.Plan) -> tuple[int, ...]:
    return tuple(round(plan.value(f"plant[{name}].output")) for name in NAMES)


def unknowns(form: str, rule: sp.Incentive) -> np.ndarray:
    """The tariff as p and K or s."""
    if form == "starts paid":
        return np.array([rule.offset["price"], *(rule.offset[f"start[{kind}]"] for kind in KINDS)])
    signals = {"one price": [], "total seen": ["total"], "plants seen": [f"plant[{name}].output" for name in NAMES]}
    return np.array([rule.offset["price"], *(rule.gain.loc["price", signal] for signal in signals[form])])


def test_the_forms() -> None:
    assert tuple(TARIFFS) == FORMS


@pytest.mark.parametrize("demand", [1, 13, 31, 44, 58])
def test_the_commitment_is_the_cheapest(demand: int) -> None:
    plan = sp.leader_optimal(plants.build(demand))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(CHEAPEST[demand][0], abs=1e-6)
    assert demand != DEMAND or CHEAPEST[demand] == (EXPECTED["leader_objective"], {(16, 16, 7, 0, 5, 0)})
    assert planned(plan) in CHEAPEST[demand][1]


def test_more_than_the_fleet_is_no_plan() -> None:
    assert sorted(CHEAPEST) == list(range(59))
    with pytest.raises(sp.NoPlan, match="served"):
        sp.leader_optimal(plants.build(59))


def test_what_each_form_can_hold_by_enumeration() -> None:
    """The counts that the page states: whichever of several cheapest commitments is chosen."""
    for form, count in {"one price": 15, "total seen": 41, "plants seen": 52, "starts paid": 52}.items():
        verdicts = [{least_regret(form, way) < 1e-9 for way in CHEAPEST[demand][1]} for demand in range(7, 59)]
        assert [len(verdict) for verdict in verdicts] == [1] * 52
        assert sum(True in verdict for verdict in verdicts) == count, form


def test_another_plan_can_be_held_by_the_total() -> None:
    other = plants.commitment(smoke1=16, smoke2=16, high1=7, med1=3, med2=2)
    assert other.leader_objective == EXPECTED["leader_objective"] + 1.0  # to dispatch the second
    assert least_regret("total seen", planned(other)) == pytest.approx(0.0, abs=1e-9)
    rule = plants.tariff("total seen", plan=other)
    tariff = unknowns("total seen", rule)
    assert max(paid @ tariff - extra for _, _, paid, extra in rows("total seen", planned(other))) < 1e-6
    assert sp.verify(rule).ok
    paid = np.array([row[2] for row in rows("total seen", planned(other))])
    extra = np.array([row[3] for row in rows("total seen", planned(other))])
    free = [(None, None), (None, None), (0, None)]
    least = linprog([0, 0, 1], A_ub=np.r_[np.c_[paid, 0 * extra], [[0, 1, -1], [0, -1, -1]]], b_ub=[*extra, 0, 0],
                    bounds=free)  # fmt: skip
    assert rule.norm == pytest.approx(least.fun, abs=1e-7)


@pytest.mark.parametrize("demand", [11, 40, 43, 44, 46])
@pytest.mark.parametrize("form", FORMS)
def test_a_tariff_exists_exactly_where_enumeration_has_one(form: str, demand: int) -> None:
    """Least regret, refusal and rule: no plant gains more by any output, counted in plain arithmetic."""
    best = plants.tariff(form, demand, regret="least")
    chosen = planned(best.plan)
    least = least_regret(form, chosen)
    assert best.epsilon == pytest.approx(least, abs=1e-6)
    if least > 1e-9:
        with pytest.raises(sp.NoIncentive) as refusal:
            plants.tariff(form, demand)
        assert set(refusal.value.deviations["kind"]) <= {"deviation", "gain bound"}
        rule = best
    else:
        rule = plants.tariff(form, demand)
    chosen, tariff = planned(rule.plan), unknowns(form, rule)
    gained = max(paid @ tariff - extra for _, _, paid, extra in rows(form, chosen))
    assert gained == pytest.approx(least, abs=1e-6)
    report = sp.verify(rule)
    assert report.epsilon == pytest.approx(least, abs=1e-6)
    assert set(report.certificate) == {"global"}
    assert bool(report.ok) == (least < 1e-9)


@pytest.mark.parametrize("form", ["one price", "total seen"])
def test_the_certificate_by_hand(form: str) -> None:
    """On average nothing that the tariff pays changes, and the deviations cost less: by as much as the least regret."""
    with pytest.raises(sp.NoIncentive) as refusal:
        plants.tariff(form)
    table = refusal.value.deviations
    lottery = table[table["kind"] == "deviation"]
    chosen = planned(sp.leader_optimal(plants.build()))
    every = {(name, output): (paid, extra) for name, output, paid, extra in rows(form, chosen)}
    drawn = [every[who[6:-1], round(action[f"{who}.output"])]
             for who, action in zip(lottery["follower"], lottery["action"], strict=True)]  # fmt: skip
    weights = lottery["weight"].to_numpy()
    assert weights.sum() == pytest.approx(1.0)
    assert np.abs(weights @ np.array([paid for paid, _ in drawn])).max() < 1e-9
    assert -weights @ np.array([extra for _, extra in drawn]) == pytest.approx(EXPECTED[form], abs=1e-9)
    assert least_regret(form, chosen) == pytest.approx(EXPECTED[form], abs=1e-9)


def test_the_weights_are_exact_though_the_price_is_free() -> None:
    with pytest.raises(sp.NoIncentive, match=r"^No affine incentive: ") as refusal:
        plants.tariff("total seen")
    assert sorted(refusal.value.deviations["exact"]) == ["14/19", "21/95", "4/95"]
    assert "one by one" in str(refusal.value)
    with pytest.raises(sp.NoIncentive, match="Widen gain_bounds="):
        plants.tariff("one price")


def test_the_answer_to_each_plant_is_the_least() -> None:
    """At a price p each K_i has an interval of its own; the sum of squares of the least ones is convex in p."""
    rule = plants.tariff("plants seen")
    chosen = planned(rule.plan)

    def least(price: float) -> np.ndarray:
        answers = []
        for number, name in enumerate(NAMES):
            low, high = -np.inf, np.inf
            for who, _, paid, extra in rows("plants seen", chosen):
                slope, room = paid[1 + number], extra - paid[0] * price
                if who == name and slope > 0:
                    high = min(high, room / slope)
                elif who == name and slope < 0:
                    low = max(low, room / slope)
            answers.append(min(max(0.0, low), high) if low <= high + 1e-9 else 1e3)
        return np.array(answers)

    found = minimize_scalar(lambda p: (least(p) ** 2).sum(), bounds=(7.0, 12.0), method="bounded")
    for price in (7.0, found.x):  # below 7 a med plant switches off, which no answer reaches
        assert rule.norm <= np.linalg.norm(least(price)) + 1e-9
    assert rule.norm == pytest.approx(np.linalg.norm(least(7.0)), abs=1e-9) == pytest.approx(5 / 49)


def test_bills_and_gains() -> None:
    rules = {form: plants.tariff(form) for form in ("plants seen", "starts paid")}
    assert {form: plants.bill(rule) for form, rule in rules.items()} == pytest.approx(
        {"plants seen": 7.0 * DEMAND, "starts paid": 7.0 * DEMAND - 5.0}, abs=1e-6
    )
    best = plants.tariff("total seen", regret="least")
    tariff, chosen = unknowns("total seen", best), planned(best.plan)
    every = [(name, output, paid @ tariff - extra) for name, output, paid, extra in rows("total seen", chosen)]
    for name in NAMES:
        shown = plants.gains(best, name)
        assert shown.to_dict() == pytest.approx({w: gain for who, w, gain in every if who == name}, abs=1e-9)


@pytest.mark.slow
def test_everything_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        plants.main()
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in ("283.50 € (optimal)", "No affine incentive: ", "14/19", "verified", "pays 303.00 €", "0.2105"):
        assert part in text
