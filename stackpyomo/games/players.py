"""Players: the leader, the followers and the populations, and the components that each of them owns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.indexed_component_slice import IndexedComponent_slice
from pyomo.core.base.objective import ObjectiveData
from pyomo.core.base.var import VarData
from pyomo.dae import ContinuousSet, DerivativeVar
from pyomo.gdp import Disjunct, Disjunction

from stackpyomo.core.expressions import variables_in
from stackpyomo.errors import InvalidGame

from .noise import Noise, noise_of

IGNORED = (
    pyo.Param,
    pyo.Set,
    pyo.RangeSet,
    ContinuousSet,  # an index: what has not been discretised are the derivatives over it
    pyo.Expression,
    pyo.Suffix,
    pyo.BuildAction,
    pyo.BuildCheck,
    pyo.ExternalFunction,
    pyo.BooleanVar,  # what asks something of it are active LogicalConstraints and Disjunctions
)
_WITH_BINARIES = "Write it with binary variables first: TransformationFactory('gdp.bigm').apply_to(model)."
#: What nobody here reads → the remedy.
REMEDIES = {
    DerivativeVar: "Discretise it first: TransformationFactory('dae.collocation').apply_to(model).",
    Disjunct: _WITH_BINARIES,
    Disjunction: _WITH_BINARIES,
    pyo.LogicalConstraint: _WITH_BINARIES,
    pyo.SOSConstraint: "Write it with binary variables (a Piecewise: pw_repn='INC'), or deactivate it.",
}


@dataclass(frozen=True)
class Population:
    """A Block that stands for a number of identical followers, who act alike in every plan.

    With ``noise``, Vars of the Block whose last index runs over exactly its scenarios are what a member does in each;
    the model holds averages over them, as in a population of ``math.inf``, and :func:`simulate` draws them for every
    member of a finite one.

    Raises
    ------
    InvalidGame
        The size is not an integer from 1 to 10¹⁰⁰ or ``math.inf``, or probabilities are not above 0 or do not sum to 1.
    """

    block: Any  #: The Block of one of them.
    size: float = 1  #: How many there are.
    noise: Any = None  #: Scenarios of each member alone, and their probabilities; None: members have none.

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", noise_of(self.noise, getattr(self.block, "name", str(self.block))))
        whole = isinstance(self.size, (int, np.integer)) and not isinstance(self.size, bool)
        if not (whole and 1 <= self.size <= 1e100) and self.size != math.inf:
            size = "more than 1e100, which is math.inf to a computer" if whole and self.size > 1 else repr(self.size)
            name = getattr(self.block, "name", self.block)
            raise InvalidGame(f"{name}: a population's size is an integer ≥ 1 or math.inf, not {size}.")


@dataclass(eq=False)
class Player:
    """What a player owns: Vars, Objectives and Constraints."""

    name: str  #: The Block's name in the model.
    declared: list[VarData] = field(default_factory=list, repr=False)  #: All its Vars, fixed ones too.
    objectives: list[ObjectiveData] = field(default_factory=list, repr=False)  #: Also those that are not active.
    rows: list[ConstraintData] = field(default_factory=list, repr=False)  #: Also those that are not active.
    unsupported: list[Any] = field(default_factory=list, repr=False)  #: Components that nobody here can read.

    @property
    def variables(self) -> list[VarData]:
        """What the player decides: its Vars that are not fixed."""
        return [v for v in self.declared if not v.fixed]

    @property
    def integers(self) -> list[VarData]:
        """What of it is not continuous."""
        return [v for v in self.variables if not v.is_continuous()]

    @property
    def constraints(self) -> list[ConstraintData]:
        """Its active constraints."""
        return [c for c in self.rows if c.active]

    @property
    def active_objectives(self) -> list[ObjectiveData]:
        """Its active objectives; exactly one in a sound game."""
        return [o for o in self.objectives if o.active]

    @property
    def objective(self) -> ObjectiveData | None:
        """Its one active objective, None when there is none or more than one."""
        active = self.active_objectives
        return active[0] if len(active) == 1 else None

    @property
    def sign(self) -> int:
        """+1 if the player minimises, −1 if it maximises: sign · objective is what everybody minimises."""
        objective = self.objective
        return -1 if objective is not None and objective.sense == pyo.maximize else 1

    @property
    def cost(self) -> Any:
        """What it minimises, sign · objective; ask ``require`` of a game first that there is one."""
        assert self.objective is not None
        return self.sign * self.objective.expr


@dataclass(eq=False)
class Leader(Player):
    """The components of the model that no follower's Block holds."""


@dataclass(eq=False)
class Follower(Player):
    """A follower as the game holds it: its Vars, Constraints and one Objective live on ``block``."""

    block: Any = field(default=None, repr=False)  #: The Block in the user's model.
    size: float = 1  #: How many players it stands for, an integer or ``math.inf``.
    noise: Noise | None = None  #: The scenarios that each of them has of its own.

    def scenarios(self) -> list[int | None]:
        """For each of its variables the number of the member's own scenario that it is set in; None: in all of them."""
        return [None] * len(self.variables) if self.noise is None else self.noise.places(self.block, self.variables)

    def population(self, *, block: Any = None, size: float | None = None) -> Population:
        """The population that it was made of, or the same on another Block or of another size.

        Parameters
        ----------
        block : Block, optional
            By default the follower's own.
        size : int or math.inf, optional
            By default the follower's own.

        Returns
        -------
        Population
            Noise is kept.
        """
        return Population(self.block if block is None else block, self.size if size is None else size, self.noise)


def foreign(player: Player, *parts: Any) -> dict[int, VarData]:
    """id(Var) → what these expressions or rows hold that somebody else decides, fixed ones left out."""
    own = {id(v) for v in player.variables}
    variables = (v for part in parts for v in variables_in(getattr(part, "expr", part)))
    return {id(v): v for v in variables if id(v) not in own and not v.fixed}


def populations_of(followers: Any) -> Iterator[Population]:
    """Blocks, indexed Blocks, Populations and lists of them, flattened."""
    if isinstance(followers, Population):
        for member in populations_of(followers.block):
            yield Population(member.block, followers.size, followers.noise)
    elif not isinstance(followers, IndexedComponent_slice) and getattr(followers, "ctype", None) is pyo.Block:
        if followers.is_indexed():
            yield from (Population(block) for block in followers.values())
        else:
            yield Population(followers)
    elif (
        isinstance(followers, Iterable)
        and not isinstance(followers, (str, Mapping))
        and (isinstance(followers, IndexedComponent_slice) or not hasattr(followers, "ctype"))
    ):
        for item in followers:
            yield from populations_of(item)
    else:
        raise InvalidGame(
            f"followers={followers}: expected a pyomo Block, an indexed Block, a Population, or a list of these"
            + (f", not a name: write model.{followers}." if isinstance(followers, str) else ".")
        )


def blocks_of(leaders: Any) -> list[Any]:
    """The Blocks of several leaders: Blocks, indexed Blocks and lists of them, flattened."""
    try:
        return [population.block for population in populations_of(leaders)]
    except InvalidGame:
        raise InvalidGame(f"leaders={leaders}: expected Blocks of the model, one for each leader.") from None


def collect_components(root: Any, player: Player, others: set[int]) -> None:
    """Put every Var, Objective and Constraint below ``root``, but not below ``others``, on ``player``."""
    stack = [root]
    while stack:
        block = stack.pop()
        for component in block.component_map().values():
            if component.is_reference():
                continue
            kind = component.ctype
            if kind is pyo.Var:
                player.declared.extend(_members(component))
            elif kind is pyo.Constraint:
                player.rows.extend(_members(component))
            elif kind is pyo.Objective:
                player.objectives.extend(_members(component))
            elif kind is pyo.Block:
                stack.extend(b for b in component.values() if b.active and id(b) not in others)
            elif kind is Disjunct and not component.active:  # transformed: its Vars stand in active rows elsewhere
                stack.extend(d for d in component.values() if d.transformation_block is not None)
            elif kind not in IGNORED and getattr(component, "active", False):
                player.unsupported.append(component)


def _members(component: Any) -> Iterable[Any]:
    """The data of a component; of many that stand alone Pyomo's own way to them costs most of the time."""
    alone = not component.is_indexed() and len(component) == 1
    return (component,) if alone else component.values()
