"""Games as text: read by Pyomo for the package, by NumPy for the oracles, printed as scripts that rebuild them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp

__all__ = ["Draft", "Side", "evaluated", "number", "read"]

_FUNCTIONS = ["exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan"]
_PYOMO = {name: getattr(pyo, name) for name in _FUNCTIONS} | {"abs": abs}
_NUMPY = (
    {"minimum": np.minimum} | {name: getattr(np, name.replace("atan", "arctan")) for name in _FUNCTIONS} | {"abs": abs}
)
_BUILD = """\
import pyomo.environ as pyo
import stackpyomo as sp
from pyomo.environ import cos, cosh, exp, log, sin, sinh, sqrt, tan, tanh, atan
"""

Box = tuple[float, float]
Numbers = Mapping[str, Any]


def number(x: float) -> str:
    """A number as text, in brackets where it is negative."""
    return f"({x!r})" if x < 0 else repr(float(x))


@dataclass
class Side:
    """A player: its variables with bounds, what it minimises (or maximises), and rows ``text`` <= 0."""

    boxes: dict[str, Box]
    cost: str
    rows: list[str] = field(default_factory=list)
    maximize: bool = False
    whole: Collection[str] = ()
    """Which of its variables are integers."""

    def value(self, values: Numbers) -> Any:
        """What it minimises, in plain arithmetic; arrays of values are taken entry by entry."""
        return (-1 if self.maximize else 1) * evaluated(self.cost, values)

    def is_feasible(self, values: Numbers, room: float = 1e-9) -> Any:
        """Whether its bounds and rows hold, entry by entry."""
        fine: Any = True
        for name, (low, high) in self.boxes.items():
            slack = room * max(1.0, *(abs(b) for b in (low, high) if math.isfinite(b)), 0.0)
            fine = fine & (values[name] >= low - slack) & (values[name] <= high + slack)
        for row in self.rows:
            fine = fine & (evaluated(row, values) <= room)
        return fine


@dataclass
class Draft:
    """A leader and followers; variables have plain names, unique in the game, and ``start`` has a value for each."""

    leader: Side
    followers: list[Side]
    start: dict[str, float]

    def model(self) -> Any:
        """The Pyomo model: leader variables at the top, followers f0, f1, ... as Blocks."""
        m = pyo.ConcreteModel()
        names: dict[str, Any] = dict(_PYOMO)
        blocks = []
        for k in range(len(self.followers)):
            m.add_component(f"f{k}", pyo.Block())
            blocks.append(m.component(f"f{k}"))
        for side, block in zip([self.leader, *self.followers], [m, *blocks], strict=True):
            for name, (low, high) in side.boxes.items():
                domain = pyo.Integers if name in side.whole else pyo.Reals
                block.add_component(name, pyo.Var(bounds=(open_end(low), open_end(high)), domain=domain))
                names[name] = block.component(name)
                names[name].set_value(self.start[name], skip_validation=True)
        for side, block in zip([self.leader, *self.followers], [m, *blocks], strict=True):
            sense = pyo.maximize if side.maximize else pyo.minimize
            block.goal = pyo.Objective(expr=read(side.cost, names), sense=sense)
            for i, row in enumerate(side.rows):
                block.add_component(f"row{i}", pyo.Constraint(expr=read(row, names) <= 0))
        return m

    def game(self) -> sp.Game:
        """The game of :meth:`model`."""
        m = self.model()
        return sp.Game(m, followers=[m.component(f"f{k}") for k in range(len(self.followers))])

    def component(self, game: sp.Game, name: str) -> Any:
        """The Var of that plain name."""
        for block in [game.model, *(f.block for f in game.followers.values())]:
            if block.component(name) is not None:
                return block.component(name)
        raise KeyError(name)

    def expression(self, game: sp.Game, text: str) -> Any:
        """A text as a Pyomo expression of that game."""
        words = set(re.findall(r"[A-Za-z]\w*", text)) & set(self.start)
        return read(text, {**_PYOMO, **{word: self.component(game, word) for word in words}})

    def plain(self, values: Mapping[str, float]) -> dict[str, float]:
        """Values by Pyomo's names (``f0.a``) as values by plain names (``a``)."""
        return {name.split(".")[-1]: value for name, value in values.items()}

    def in_units(
        self, units: Mapping[str, float], factors: list[float] | None = None, constants: list[float] | None = None
    ) -> Draft:
        """The same game: variable x is written as unit · x, objectives as factor · J + constant (leader first)."""
        scales = factors or [1.0] * (1 + len(self.followers))
        shifts = constants or [0.0] * (1 + len(self.followers))

        def moved(side: Side, scale: float, shift: float) -> Side:
            boxes = {n: (b[0] * units.get(n, 1.0), b[1] * units.get(n, 1.0)) for n, b in side.boxes.items()}
            cost = self.rewritten(side.cost, units)
            cost = cost if scale == 1.0 else f"{scale!r}*({cost})"
            cost = cost if shift == 0.0 else f"{cost} + {shift!r}"
            return replace(side, boxes=boxes, cost=cost, rows=[self.rewritten(row, units) for row in side.rows])

        sides = [moved(*each) for each in zip([self.leader, *self.followers], scales, shifts, strict=True)]
        return Draft(sides[0], sides[1:], {n: v * units.get(n, 1.0) for n, v in self.start.items()})

    @staticmethod
    def rewritten(text: str, units: Mapping[str, float]) -> str:
        """The text where variable x is written as unit · x."""
        for name, unit in units.items():
            text = re.sub(rf"\b{name}\b", f"({name}/{unit!r})", text)
        return text

    def script(self, tail: str = "") -> str:
        """Python that builds ``game``, and does what ``tail`` says."""
        lines = ["m = pyo.ConcreteModel()"]
        lines += [f"m.f{k} = pyo.Block()" for k in range(len(self.followers))]
        for k, side in enumerate([self.leader, *self.followers]):
            block = "m" if k == 0 else f"m.f{k - 1}"
            for name, (low, high) in side.boxes.items():
                domain = ", domain=pyo.Integers" if name in side.whole else ""
                lines.append(
                    f"{name} = {block}.{name} = pyo.Var(bounds=({open_end(low)}, {open_end(high)}),"
                    f" initialize={self.start[name]!r}{domain})"
                )
        for k, side in enumerate([self.leader, *self.followers]):
            block = "m" if k == 0 else f"m.f{k - 1}"
            sense = ", sense=pyo.maximize" if side.maximize else ""
            lines.append(f"{block}.goal = pyo.Objective(expr={side.cost}{sense})")
            lines += [f"{block}.row{i} = pyo.Constraint(expr={row} <= 0)" for i, row in enumerate(side.rows)]
        blocks = ", ".join(f"m.f{k}" for k in range(len(self.followers)))
        lines.append(f"game = sp.Game(m, followers=[{blocks}])")
        return _BUILD + "\n".join(lines) + "\n" + tail


def evaluated(text: str, values: Numbers) -> Any:
    """The text in NumPy's arithmetic; what has no value is NaN or infinite."""
    held = {k: values[k] for k in _code(text).co_names if k in values}  # a text holds few of the names of a crowd
    with np.errstate(all="ignore"):
        return read(text, {**_NUMPY, **{k: np.float64(v) if np.ndim(v) == 0 else v for k, v in held.items()}})


_CODE: dict[str, CodeType] = {}


def _code(text: str) -> CodeType:
    if text not in _CODE:
        if len(_CODE) >= 10_000:
            _CODE.clear()
        _CODE[text] = compile(text, "<draft>", "eval")
    return _CODE[text]


def read(text: str, names: Mapping[str, Any]) -> Any:
    """The value of a text that this package wrote itself."""
    return eval(_code(text), {"__builtins__": {}}, dict(names))


def open_end(bound: float) -> float | None:
    """None for an infinite bound."""
    return bound if math.isfinite(bound) else None
