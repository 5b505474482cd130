"""Outcomes: the table of scenarios, their probabilities, and what observations show of them, as users give them."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.errors import InvalidGame


@dataclass(frozen=True, eq=False)
class Labelling:
    """What an observation shows: its atoms, and of each scenario the number of the atom that it lies in."""

    atoms: list[Hashable]
    codes: Array

    def labels(self, scenarios: Any = slice(None)) -> list[Hashable]:
        """What is shown in these scenarios, in all of them by default."""
        return [self.atoms[code] for code in self.codes[scenarios]]

    def weights(self, probability: Array) -> Array:
        """The probability of each atom."""
        return np.bincount(self.codes, probability, minlength=len(self.atoms))


def table_of(outcomes: Any) -> pd.DataFrame:
    """One row per scenario, one column per outcome; raises :class:`InvalidGame` for what is no such table."""
    if isinstance(outcomes, pd.DataFrame):
        table = outcomes.reset_index(drop=True).rename(columns=str)
    elif isinstance(outcomes, Mapping) and outcomes:
        index = index_of(outcomes)
        table = pd.DataFrame(_columns({name: in_order(values, index) for name, values in outcomes.items()}))
    else:
        raise InvalidGame(f"outcomes={type(outcomes).__name__}: expected a DataFrame or a dict name → values.")
    if not len(table) or not len(table.columns):
        raise InvalidGame("outcomes: no scenario; give at least one.")
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise InvalidGame(f"{twice[0]}: the name of two outcomes; rename one of them.")
    if "probability" in table.columns:
        raise InvalidGame("probability: no name for an outcome; pass probabilities=, or use Scenarios.from_frame.")
    return table


def index_of(outcomes: Any) -> pd.Index | None:
    """The scenarios' own labels, where pandas objects have brought some."""
    tables = [outcomes] if isinstance(outcomes, pd.DataFrame) else outcomes.values()
    return next((table.index for table in tables if isinstance(table, (pd.DataFrame, pd.Series))), None)


def in_order(values: Any, index: pd.Index | None) -> Any:
    """A Series of the scenarios' own labels in their order; all else as it is."""
    if not isinstance(values, pd.Series) or index is None or not (index.is_unique and values.index.is_unique):
        return values
    return values.reindex(index) if len(index) == len(values) and index.isin(values.index).all() else values


def _columns(outcomes: Mapping[Any, Any]) -> dict[str, Array]:
    columns = {str(name): np.atleast_1d(values) for name, values in outcomes.items()}
    if len(set(map(len, columns.values()))) > 1:
        counts = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise InvalidGame(f"outcomes of different lengths ({counts}); give one value per scenario each.")
    deep = next((name for name, values in columns.items() if values.ndim > 1), None)
    if deep is not None:
        raise InvalidGame(f"{deep}: an outcome is one value per scenario; give each column a name of its own.")
    return columns


def column_of(table: pd.DataFrame, name: str) -> Array:
    """An outcome, one value per scenario."""
    if name not in table.columns:
        raise InvalidGame(f"{name}: no outcome of that name ({listed([str(c) for c in table.columns])}).")
    return np.asarray(table[name].to_numpy())


def probabilities_of(given: Any, count: int) -> Array:
    """One probability for each of ``count`` scenarios, by default equal ones; raises :class:`InvalidGame`."""
    if given is None:
        return np.full(count, 1.0 / count)
    try:
        weights = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise InvalidGame("probabilities: expected one number per scenario.") from None
    if weights.ndim > 1 and max(weights.shape) < weights.size:
        raise InvalidGame(f"probabilities: a table of shape {weights.shape}; give one row of numbers.")
    weights = weights.ravel()
    if len(weights) != count:
        raise InvalidGame(f"probabilities: {len(weights)} for {count} scenarios; give one each.")
    bad = np.flatnonzero(~np.isfinite(weights) | (weights < 0.0))
    if len(bad):
        raise InvalidGame(f"probabilities: that of scenario {bad[0]} is {weights[bad[0]]:g}; they are finite and ≥ 0.")
    if abs(weights.sum() - 1.0) > TOLERANCES.noise:
        raise InvalidGame(f"probabilities: they sum to {weights.sum():.12g}, not 1; divide them by their sum.")
    return weights


def labels_of(name: str, what: Any, table: pd.DataFrame) -> list[Hashable]:
    """What an observation shows, one label per scenario; raises :class:`InvalidGame` for what is no observation."""
    if isinstance(what, str):
        return list(column_of(table, what).tolist())
    if callable(what):
        rows = table.to_dict("records")
        try:
            labels, again = [what(row) for row in rows], [what(row) for row in rows]
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InvalidGame(f"{name}: cannot be computed ({type(error).__name__}: {error}).") from None
        if not all(_is_same(a, b) for a, b in zip(labels, again, strict=True)):
            raise InvalidGame(f"{name}: not a function of the scenario; two calls gave different answers.")
        return labels
    given = list(what) if isinstance(what, Iterable) and not isinstance(what, Mapping) else []
    if given and all(isinstance(n, str) and n in table.columns for n in given):
        columns = [column_of(table, n).tolist() for n in given]
        return list(zip(*columns, strict=True)) if given[1:] else columns[0]
    if len(given) != len(table):
        raise InvalidGame(
            f"{name}: {len(given)} labels for {len(table)} scenarios; give one each, an outcome's name, a list of "
            "these, or a function of the scenario's row."
        )
    return given


def labelling(name: str, labels: Sequence[Any]) -> Labelling:
    """The atoms in the order in which they turn up; raises :class:`InvalidGame` where one can be no index of a Var."""
    plain = [
        label.item() if isinstance(label, np.generic) else tuple(label) if isinstance(label, list) else label
        for label in labels
    ]
    place: dict[Hashable, int] = {}
    codes = np.empty(len(plain), dtype=int)
    for w, label in enumerate(plain):
        if not _is_label(label, place):
            raise InvalidGame(f"{name}: shows {label!r} in scenario {w}, which no Var can be indexed by.")
        codes[w] = place.setdefault(label, len(place))
    return Labelling(list(place), codes)


def _is_same(a: Any, b: Any) -> bool:
    return bool(a is b or a == b or not (_is_label(a) or _is_label(b)))


def _is_label(value: Any, known: Container[Any] = ()) -> bool:
    """Can a Var be indexed by it? Not by None and NaN, nor by what cannot be hashed; by those ``known`` it can."""
    try:
        hash(value)
        if value in known:
            return True
    except TypeError:
        return False
    parts = value if isinstance(value, tuple) else (value,)
    return not any(np.ndim(p) == 0 and pd.isna(p) for p in parts)
