"""Standing: where a second-best rule stands between the leader-optimal plan and the best constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import pandas as pd

from stackpyomo.core import fields_from_json, fields_to_json, plain, real


@dataclass(frozen=True)
class AtBound:
    """An entry of the gain that stands at its bound, and what a wider bound would bring."""

    leader: str
    signal: str
    gain: float
    #: d(leader's objective)/d(bound), the bound moved outward, in the sense the user wrote; NaN: not known.
    slope: float


@dataclass(frozen=True)
class Standing:
    """The leader's objective under three regimes, in the user's sense, and how it depends on the gain's size."""

    leader_optimal: float
    rule: float
    constant: float  #: NaN: no equilibrium was found under constants.
    #: (κ, the leader's objective by the best rule found with every |K| ≤ κ), κ rising.
    curve: tuple[tuple[float, float], ...] = ()
    at_bound: tuple[AtBound, ...] = ()
    #: What the objective tends to as the gain grows without limit, where no gain attains it; NaN: not shown.
    infimum: float = math.nan
    nearest: bool = False  #: True if it is proved that no rule does better than that, whatever its gain.
    proved: bool = False  #: True if no affine rule with its gain in these bounds is better.
    free: bool = False  #: True if that holds whatever the gain.

    common: tuple[tuple[str, ...], ...] = ()  #: Leader variables that announce one rule, group by group.

    def as_series(self) -> pd.Series:
        """The three objectives by regime."""
        objectives = {"leader-optimal": self.leader_optimal, "this rule": self.rule, "best constant": self.constant}
        return pd.Series(objectives, name="leader's objective")

    def as_dict(self) -> dict[str, Any]:
        """The standing as JSON-ready Python objects."""
        return {
            **fields_to_json(self, ("curve", "at_bound")),
            "curve": plain(self.curve),
            "at_bound": plain([astuple(entry) for entry in self.at_bound]),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Standing:
        """What :meth:`as_dict` wrote."""
        return cls(
            curve=tuple((real(kappa), real(value)) for kappa, value in data["curve"]),
            at_bound=tuple(
                AtBound(name, signal, real(gain), real(slope)) for name, signal, gain, slope in data["at_bound"]
            ),
            common=tuple(map(tuple, data.get("common", ()))),
            **fields_from_json(cls, data, ("curve", "at_bound", "common")),
        )
