"""Estimates: what a fit came to, how well it is known, and which combinations of parameters are open."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import (
    TOLERANCES,
    Array,
    Document,
    Part,
    Table,
    as_text,
    json_number,
    limited_reaches,
    listed,
    plain,
    require_whole,
    shown,
    undisturbed,
)
from stackpyomo.errors import InvalidGame
from stackpyomo.games.information import Scenarios
from stackpyomo.plans import Plan
from stackpyomo.verification import Report

from .experiments import Experiments, rules_of, table_of
from .polytopes import Polytope, box_around
from .sensitivities import Local, Slopes, null_directions, open_words

_SHOWN = 6  # Remarks on single rows that are written out.


@dataclass(frozen=True, eq=False)
class Solution:
    """The numbers of a fit: where it stands and what its data say around it."""

    experiments: Experiments
    slopes: Slopes
    theta: Array
    limits: tuple[Array, Array]  #: The bounds within which θ was looked for.
    actions: Array  #: (readings) the model's answers at θ; by residuals, what was done.
    local: Local
    design: Array  #: (readings × θ) derivative of the answers, or of the residuals.
    left: Array  #: (readings) y − u, or the residual of the slope.


@dataclass(eq=False)
class Fit(Document):
    """Followers' parameters, estimated from data: ``print()`` says what they are, how well known, and what is open."""

    solution: Solution = field(repr=False)  #: The numbers behind everything else.
    method: str  #: "responses" or "residuals".
    #: "optimal" where the squares are proved to be the least within the bounds; "feasible" where they are not.
    quality: str
    #: The plan of the analyst's game at θ, one follower a row; None by residuals.
    plan: Plan | None = field(default=None, repr=False)
    #: The parameters that explain every row within the noise, or why they are no polytope.
    explained: Polytope | str = field(default="noise= was not given", repr=False)
    noise: Array | None = field(default=None, repr=False)  #: (readings) how far each may be off.

    @property
    def names(self) -> list[str]:
        """The parameters."""
        return [p.name for p in self.solution.experiments.parameters]

    @property
    def parameters(self) -> pd.Series:
        """The estimate θ, by name of the parameter."""
        return pd.Series(self.solution.theta, index=self.names, name="parameter")

    @property
    def residuals(self) -> pd.DataFrame:
        """What is left of each action in each row, y − u; NaN where it was not observed.

        By residuals it is the slope of the follower's cost that nothing balances.
        """
        seen = [not math.isnan(r.value) for r in self.solution.experiments.readings]
        return self._by_row(np.where(seen, self.solution.left, math.nan))

    @property
    def fitted(self) -> pd.DataFrame:
        """The model's answer in each row, action by action; with method "residuals" what was done."""
        return self._by_row(self.solution.actions)

    def _by_row(self, values: Array) -> pd.DataFrame:
        readings = self.solution.experiments.readings
        columns = list(dict.fromkeys(r.action for r in readings))
        table = np.full((len(self.solution.experiments.table), len(columns)), math.nan)
        for reading, value in zip(readings, values, strict=True):
            table[reading.row, columns.index(reading.action)] = value
        return pd.DataFrame(table, index=self.solution.experiments.table.index, columns=columns)

    @property
    def sum_of_squares(self) -> float:
        """What least squares left."""
        return float(self.solution.left @ self.solution.left)

    @property
    def _bounds(self) -> dict[str, tuple[float, float]]:
        lower, upper = (map(float, side) for side in self.solution.limits)
        return dict(zip(self.names, zip(lower, upper, strict=True), strict=True))

    @cached_property
    def report(self) -> Report | None:
        """Every copy re-solved at the fit: are the answers really its best? None with method "residuals"."""
        solution = self.solution
        return None if self.plan is None else solution.experiments.verified(solution.theta, solution.actions)

    # --- what is known of it ------------------------------------------------------------------------------------------

    @cached_property
    def _units(self) -> Array:
        """What counts as one of each parameter."""
        lower, upper = self.solution.limits
        width = np.where(np.isfinite(upper - lower), upper - lower, 1.0)
        return np.where(self.solution.theta == 0.0, width, np.abs(self.solution.theta))

    @cached_property
    def _open(self) -> tuple[int, Array]:
        return null_directions(self.solution.design, self._units)

    @property
    def rank(self) -> int:
        """How many combinations of the parameters the data determine."""
        return self._open[0]

    @property
    def null_space(self) -> pd.DataFrame:
        """Directions in which all parameters fit equally well to first order, one a row; empty where none is open."""
        return pd.DataFrame(self._open[1].reshape(-1, len(self.names)), columns=self.names)

    @property
    def informative(self) -> int:
        """How many readings move with the parameters: one at a strictly active bound does not."""
        size = np.abs(self.solution.design * self._units).max(axis=1, initial=0.0)
        return int(np.sum(size > TOLERANCES.noise * size.max(initial=0.0))) if size.any() else 0

    @property
    def variance(self) -> float:
        """Variance of a reading, s² = Σ r² / (informative readings − rank); NaN where no degree of freedom is left."""
        free = self.informative - self.rank
        return self.sum_of_squares / free if free > 0 else math.nan

    @property
    def covariance(self) -> pd.DataFrame:
        """Covariance of the estimate, s² (DᵀD)⁻¹, D the answers' derivative; NaN for parameters not distinguished.

        Valid for independent errors of one variance, and unreliable where an answer is just leaving its bound.
        """
        return self._spread(self.variance * self._inverse)

    @property
    def sandwich(self) -> pd.DataFrame:
        """Covariance for errors whose variance differs from row to row (HC0): (DᵀD)⁻¹ Dᵀ diag(r²) D (DᵀD)⁻¹."""
        inner = self.solution.design.T @ (self.solution.left[:, np.newaxis] ** 2 * self.solution.design)
        return self._spread(self._inverse @ inner @ self._inverse)

    def bootstrap(self, draws: int = 1000, *, seed: int = 0) -> pd.DataFrame:
        """Covariance of the estimate over rows drawn anew with replacement, each draw fitted to first order.

        It asks nothing of the errors but that rows are independent, and like the others it does not see bounds that are
        just leaving.

        Parameters
        ----------
        draws : int, default 1000
            How many, at least two.
        seed : int, default 0
            The same seed gives the same draws.

        Returns
        -------
        DataFrame
            Parameters by parameters.

        Raises
        ------
        InvalidGame
            There are fewer than two draws.
        """
        require_whole("draws", draws, 2)
        solution, count = self.solution, len(self.solution.experiments.table)
        random = np.random.default_rng(seed)
        times = random.multinomial(count, np.full(count, 1.0 / count), size=draws)
        rows = [reading.row for reading in solution.experiments.readings]
        scaled, weights = solution.design * self._units, np.sqrt(times[:, rows])
        steps = [np.linalg.lstsq(scaled * w[:, np.newaxis], solution.left * w)[0] for w in weights]
        return self._spread(np.atleast_2d(np.cov(np.array(steps) * self._units, rowvar=False)))

    @cached_property
    def _inverse(self) -> Array:
        scaled = self.solution.design * self._units
        inverse = np.linalg.pinv(scaled.T @ scaled, rcond=TOLERANCES.noise**2, hermitian=True)
        return np.asarray(inverse * np.outer(self._units, self._units))

    def _spread(self, matrix: Array) -> pd.DataFrame:
        table = pd.DataFrame(matrix, index=self.names, columns=self.names)
        unknown = [name for name in self.names if len(self.null_space) and self.null_space[name].any()]
        table.loc[unknown, :] = math.nan
        table.loc[:, unknown] = math.nan
        return table

    @property
    def warnings(self) -> list[str]:
        """What the numbers do not say by themselves, one sentence each."""
        readings, sentences = self.solution.experiments.readings, []
        weak = {readings[self.solution.slopes.rows.own(int(n)).start].label for n in np.flatnonzero(self._weak)}
        if weak:
            rows = listed([str(label) for label in weak], _SHOWN)
            sentences.append(
                f"Beware: in row {rows} a follower is just leaving its bound, which the covariances do not account for."
            )
        for name, level, low, high in zip(self.names, self.solution.theta, *self.solution.limits, strict=True):
            (reach,) = limited_reaches(*(np.array([side]) for side in (level, low, high)))
            if min(level - low, high - level) <= TOLERANCES.active * reach:
                sentences.append(
                    f"Beware: {name} stands at its bound {level:.6g}, which the covariances do not account for."
                )
        return sentences

    @property
    def _weak(self) -> Array:
        """(copies) True where a side is active and does not push."""
        local, count = self.solution.local, len(self.solution.slopes.rows.followers)
        return np.array([len(local.sides.get(n, [])) > len(local.firm.get(n, [])) for n in range(count)])

    @property
    def consistent(self) -> Polytope:
        """All parameters that explain every row within ``noise``, or the box around them (:attr:`Polytope.around`).

        They are a polytope for one action, convex, affine in θ; else each side of the box is a game of the analyst.
        Raises :class:`InvalidGame` where noise was not given, a parameter has no bounds, or no parameters explain them.
        """
        if isinstance(self.explained, str):
            if self.noise is None:
                raise InvalidGame(f"consistent: {self.explained}; pass noise= to fit.")
            with undisturbed():
                self.explained = box_around(self.solution.experiments, self.noise, self.explained)
        return self.explained

    # --- what to do with it -------------------------------------------------------------------------------------------

    def next(self, candidates: Any, *, rules: Any = None) -> pd.DataFrame:
        """What to announce next: candidates in the order of how much they would reveal.

        A candidate of derivative D tells log det(I + D M⁻¹ Dᵀ), M = Σ DᵀD of the data.

        Parameters
        ----------
        candidates : DataFrame or mapping of str to sequence
            What could be announced, as ``rows`` of :func:`fit`.
        rules : optional
            The rules to be announced instead, as ``rules`` of :func:`fit`.

        Returns
        -------
        DataFrame
            The candidates, best first, with the expected answer, ``gain`` (∞: it tells a combination that is open; 0:
            the follower would stand at a bound), ``rank`` of data and candidate together, and ``volume``, log det of M
            + DᵀD in what is told, in units of the parameters, which orders those of equal rank.

        Raises
        ------
        InvalidGame
            Rows are not as :func:`fit` takes them.
        NoPlan
            A candidate has no answer.
        """
        table = table_of(candidates, "candidates")
        source = self.solution.experiments._source
        with undisturbed():
            rule = rules_of(rules, table, source)
            trial = Experiments(source, self.solution.experiments.parameters, table, rule, observed=False)
            slopes = Slopes(trial)
            plan = trial.answered(self.solution.theta)
            actions = np.array([plan.values[trial.game.names[id(r.copy)]] for r in trial.readings])
            design = slopes.responses(slopes.at(self.solution.theta, actions)) * self._units
        shown = self.solution.slopes.responses(self.solution.local) * self._units
        if self.method == "responses":
            shown = self.solution.design * self._units
        ranked = table.copy()
        for reading, action in zip(trial.readings, actions, strict=True):
            ranked.loc[reading.label, reading.action] = action
        rows = np.array([reading.row for reading in trial.readings])
        gains = [_gain(shown, design[rows == number]) for number in range(len(table))]
        ranked[["gain", "rank", "volume"]] = gains
        return ranked.astype({"rank": int}).sort_values(["rank", "gain", "volume"], ascending=False, kind="stable")

    def scenarios(self, kind: str = "vertices", *, size: int = 100, seed: int = 0) -> Scenarios:
        """The parameters that are possible, as scenarios for a robust rule: every parameter is an outcome.

        Parameters
        ----------
        kind : {"vertices", "sample"}
            Vertices of the consistent set, equally likely; or draws, evenly from the consistent set where noise was
            given, else from the Gaussian of the covariance, cut to the bounds.
        size : int, default 100
            How many draws.
        seed : int, default 0
            The same seed gives the same draws.

        Returns
        -------
        Scenarios
            One for each vertex or draw.

        Raises
        ------
        InvalidGame
            There is no such set, or the data leave a combination of parameters open.
        """
        if kind == "vertices":
            return Scenarios(self.consistent.vertices)
        if kind != "sample":
            raise InvalidGame(f'kind={kind!r}: expected "vertices" or "sample".')
        if isinstance(self.explained, Polytope):
            drawn = self.explained.sample(size, seed)
        else:
            spread = self.covariance.to_numpy()
            if not np.isfinite(spread).all():
                raise InvalidGame(f"scenarios: the covariance is not known ({self._identified}); pass noise= to fit.")
            points = np.random.default_rng(seed).multivariate_normal(self.solution.theta, spread, size)
            drawn = pd.DataFrame(np.clip(points, *self.solution.limits), columns=self.names)
        return Scenarios.from_samples(lambda _, count: drawn.iloc[:count], size, seed=seed)

    # --- words --------------------------------------------------------------------------------------------------------

    @property
    def _identified(self) -> str:
        if self.rank == len(self.names):
            return f"rank {self.rank}: all parameters"
        combinations = open_words(self.names, self._open[1])
        return f"rank {self.rank} of {len(self.names)}: {'; '.join(combinations)}"

    def parts(self) -> list[Part]:
        """Estimates, evidence, what is open."""
        solution, count = self.solution, len(self.solution.experiments.table)
        errors = np.sqrt(np.diag(self.covariance.to_numpy()))
        cells = [
            [name, shown(level, 6), "" if math.isnan(error) else shown(error, 3), _span(*ends)]
            for (name, ends), level, error in zip(self._bounds.items(), solution.theta, errors, strict=True)
        ]
        kind = "slopes" if self.method == "residuals" else "residuals"
        head = (
            f"Fit by {self.method} to {count} row{'s' if count > 1 else ''}: sum of squared {kind} "
            f"{self.sum_of_squares:.6g}; {self._evidence}."
        )
        table = Table(["parameter", "estimate", "std. error", "bounds"], cells)
        sentences: list[Part] = [head, table, f"Identified: {self._identified}."]
        silent = len(solution.left) - self.informative
        if silent:
            sentences.append(f"{silent} of {len(solution.left)} readings carry no first-order information.")
        if isinstance(self.explained, Polytope):
            ranges = self.explained.ranges.to_numpy()
            spans = [f"{name} {_span(*ends)}" for name, ends in zip(self.names, ranges, strict=True)]
            some = "A box around all" if self.explained.around else "All"
            sentences.append(f"{some} that explains every row within its noise: {', '.join(spans)}.")
        return [*sentences, *self.warnings]

    @property
    def _evidence(self) -> str:
        if self.plan is None:
            return "a convex problem, solved to its optimum"
        if self.quality == "optimal":
            return "proved the least within these bounds"
        missing = self.plan.epsilon0
        return f"not proved the least: {'local search' if math.isnan(missing) else f'{missing:.3g} more at most'}"

    def __str__(self) -> str:
        return as_text(self.parts())

    def as_dict(self) -> dict[str, Any]:
        """The fit as JSON-ready Python objects."""
        return {
            "method": self.method,
            "parameters": plain(dict(zip(self.names, self.solution.theta, strict=True))),
            "bounds": plain(self._bounds),
            "covariance": plain(self.covariance.to_dict("index")),
            "rank": self.rank,
            "null_space": plain(self.null_space.to_dict("records")),
            "identified": self._identified,
            "sum_of_squares": json_number(self.sum_of_squares),
            "quality": self.quality,
            "residuals": [
                {"row": str(r.label), "follower": r.follower, "action": r.action, "residual": json_number(float(left))}
                for r, left in zip(self.solution.experiments.readings, self.solution.left, strict=True)
            ],
            "consistent": self.explained.as_dict() if isinstance(self.explained, Polytope) else None,
            "warnings": self.warnings,
        }


def _span(low: float, high: float) -> str:
    return f"{'−∞' if math.isinf(low) else f'{low:.4g}'} … {'∞' if math.isinf(high) else f'{high:.4g}'}"


def _gain(determinant: Array, design: Array) -> tuple[float, int, float]:
    """(log det(I + D M⁻¹ Dᵀ), rank of both, log det of what both tell)."""
    both = np.vstack([determinant, design])
    before, after = (np.linalg.svd(part, compute_uv=False) for part in (determinant, both))
    least = TOLERANCES.accuracy * max(after.max(initial=0.0), np.finfo(float).tiny)
    known, more = before[before > least], after[after > least]
    volume = 2.0 * float(np.log(more).sum())
    if len(more) > len(known):
        return math.inf, len(more), volume
    return max(0.0, volume - 2.0 * float(np.log(known).sum())), len(more), volume
