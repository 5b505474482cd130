"""``TransformationFactory("stackpyomo.kkt")``: a model whose followers are replaced by their optimality conditions.

    reformulated = pyo.TransformationFactory("stackpyomo.kkt").create_using(model, followers=model.firm)
    reformulated.write("game.nl")                      # or .lp, .mps, .gams: Pyomo's own writers

``create_using`` works on a clone (some writers ask that all Vars live in one model tree), ``apply_to`` on the model
itself. A Block ``kkt`` gets multipliers, slacks, stationarity, the followers' rows with their slacks, complementarity;
the followers' objectives and the rows that were rewritten are deactivated: one objective is left, the leader's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from pyomo.core.base.block import BlockData
from pyomo.core.base.transformation import Transformation, TransformationFactory
from pyomo.mpec import ComplementarityList, complements

from stackpyomo.core.expressions import apart
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, Population, require

from .complementarity import Given, Penalty, Treatment, named
from .conditions import Conditions, conditions, responding_followers


@TransformationFactory.register("stackpyomo.kkt", doc="Replace followers by their KKT conditions, with responses.")
class KKT(Transformation):
    """The transformation that replaces responding followers by their optimality conditions in the leader's problem.

    min J0 s.t. ∇_{u_k} L_k + R_kᵀ ∇ L_k = 0, 0 ≤ π ⟂ slack ≥ 0. Options of ``create_using`` and ``apply_to``:
    followers, aggregates, prices, shared as for :class:`Game`; responding, those to replace (True: all);
    complementarity, "product" (π · slack ≤ 0, exact, taken by every writer), "mpec" (Pyomo's Complementarity
    components) or a treatment (Scholtes at its last level, SOS1, BigM, ...); block, the name of the new Block. Raises
    :class:`InvalidGame`.
    """

    def get_multiplier_from_object(self, model: Any, component: Any) -> Any:
        """The multiplier of a constraint or of a variable's bounds in a reformulated model.

        Parameters
        ----------
        model : Model
            The reformulated one.
        component : Constraint or Var
            It may belong to the model that the clone was made of.

        Returns
        -------
        Var or (Var or None, Var or None)
            Of an equality its multiplier; of any other row or a variable (lower, upper), None where there is no side.

        Raises
        ------
        InvalidGame
            No replaced follower has it.
        """
        multipliers = _maps_of(model)[0].get(component)
        if multipliers is None:
            twin = model.find_component(component.name)
            multipliers = None if twin is None else _maps_of(model)[0].get(twin)
        if multipliers is None:
            raise InvalidGame(f"{component.name}: has no multiplier in {model.name}; no replaced follower has it.")
        return multipliers["equal"] if "equal" in multipliers else (multipliers.get("lower"), multipliers.get("upper"))

    def get_object_from_multiplier(self, model: Any, multiplier: Any) -> Any:
        """The constraint, or the variable (for a bound), that a multiplier belongs to.

        Parameters
        ----------
        model : Model
            The reformulated one.
        multiplier : Var
            One of its multipliers.

        Returns
        -------
        Constraint or Var
            The component.

        Raises
        ------
        InvalidGame
            It is no multiplier of the model.
        """
        component = _maps_of(model)[1].get(multiplier)
        if component is None:
            raise InvalidGame(f"{multiplier.name}: is not a multiplier of {model.name}.")
        return component

    def _apply_to(self, model: Any, **options: Any) -> None:
        _transform(model, **options)

    def _create_using(self, model: Any, **options: Any) -> Any:
        clone = model.clone()
        moved = {key: _moved(value, clone) if key in _REFERENCES else value for key, value in options.items()}
        _transform(clone, **moved)
        return clone


# Options that hold components of the model.
_REFERENCES = ("followers", "aggregates", "prices", "shared", "responding")


def _maps_of(model: Any) -> tuple[ComponentMap, ComponentMap]:
    """(component → {side: multiplier}, multiplier → component) of all transformed followers of a model."""
    forward, back = ComponentMap(), ComponentMap()
    for block in model.component_data_objects(pyo.Block, active=True, descend_into=True):
        if hasattr(block, "multipliers_of"):
            forward.update(block.multipliers_of)
            back.update(block.component_of)
    return forward, back


def _moved(value: Any, clone: Any) -> Any:
    """The clone's components in place of the model's."""
    if isinstance(value, Population):
        return Population(_moved(value.block, clone), value.size, value.noise)
    if isinstance(value, (str, bool)) or value is None:
        return value
    if hasattr(value, "ctype") or isinstance(value, BlockData):
        return clone.find_component(value)
    moved = [_moved(item, clone) for item in value]
    return tuple(moved) if isinstance(value, tuple) else moved  # a pair (Var, row) stays one


def _transform(
    model: Any,
    *,
    followers: Any = None,
    aggregates: Any = (),
    prices: Any = (),
    shared: Any = (),
    responding: Any = True,
    complementarity: Any = "product",
    block: str = "kkt",
    **unknown: Any,
) -> None:
    if unknown:
        raise InvalidGame(f"stackpyomo.kkt: unknown option {min(unknown)}=.")
    if followers is None:
        raise InvalidGame("stackpyomo.kkt: name the followers, e.g. followers=model.firm.")
    if model.component(block) is not None:
        raise InvalidGame(f"stackpyomo.kkt: the model has a component {block!r} already; choose another name, block=.")
    treatment = complementarity if complementarity in ("product", "mpec") else named(complementarity)
    game = Game(model, followers, aggregates=aggregates, prices=prices, shared=shared)
    require(game, leader_objective=False)
    chosen = responding_followers(game, responding)
    for follower in chosen:
        for var in follower.integers[:1]:
            raise InvalidGame(
                f"stackpyomo.kkt: {var.name} is integer, so that {follower.name} has no optimality conditions. Relax "
                "its domain or fix it; sp.stackelberg(game) finds plans with integer followers."
            )
    holder = pyo.Block(concrete=True)
    model.add_component(block, holder)
    try:
        kkt = conditions(game, chosen, block=holder)
        _add_rows(holder, kkt)
        _add_complementarity(holder, kkt, treatment, game)
    except InvalidGame:
        model.del_component(holder)
        raise
    holder.multipliers_of, holder.component_of = _maps(kkt)
    for follower in chosen:
        for component in (*follower.active_objectives, *follower.constraints):
            component.deactivate()


def _add_rows(block: Any, kkt: Conditions) -> None:
    block.stationarity = pyo.Constraint(range(len(kkt.stationarity)), rule=lambda _, i: kkt.stationarity[i][1] == 0)
    block.rows = pyo.Constraint(range(len(kkt.rows)), rule=lambda _, i: kkt.rows[i][1])


def _add_complementarity(block: Any, kkt: Conditions, treatment: Treatment | str | None, game: Game) -> None:
    pairs = kkt.pairs
    if treatment == "mpec":
        block.complementarity = ComplementarityList()
        for pair in pairs:
            block.complementarity.add(complements(pair.multiplier >= 0, pair.slack >= 0))
        return
    if not isinstance(treatment, Treatment):
        block.complementarity = pyo.Constraint(
            range(len(pairs)), rule=lambda _, i: pairs[i].multiplier * pairs[i].slack <= 0
        )
        return
    treated = treatment.apply(Given(kkt, block, treatment.levels[-1]))
    block.complementarity = pyo.Constraint(range(len(treated.rows)), rule=lambda _, i: treated.rows[i])
    if treated.sets:
        sets: Sequence[Any] = treated.sets
        block.one_of = pyo.SOSConstraint(range(len(sets)), rule=lambda _, i: list(sets[i]), sos=1)
    objective = game.leader.objective
    if isinstance(treatment, Penalty) and objective is not None:
        block.objective = pyo.Objective(
            expr=apart(objective.expr) + objective.sense * treated.term, sense=objective.sense
        )
        objective.deactivate()


def _maps(kkt: Conditions) -> tuple[ComponentMap, ComponentMap]:
    forward, back = ComponentMap(), ComponentMap()
    for pair in kkt.pairs:
        forward.setdefault(pair.component, {})[pair.side] = pair.multiplier
        back[pair.multiplier] = pair.component
    equal = {id(component): component for component, _ in kkt.rows if component.equality}
    for (_, key), terms in kkt.signed.items():
        if key in equal:
            forward.setdefault(equal[key], {})["equal"] = terms[0][0]
            back[terms[0][0]] = equal[key]
    return forward, back
