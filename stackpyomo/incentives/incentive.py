"""Incentives: an announced strategy with what its user asks of it: payments, comparison, robustness, plain words."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stackpyomo.core import as_html, as_latex, as_markdown, as_text
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.plans import Plan, stackelberg

from .gains.selection import Entries
from .payments import accounts, comparison
from .robustness import robustness
from .standing import Standing
from .strategy import AffineStrategy
from .wording import how_to_compare, in_words, term_table

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class Incentive(AffineStrategy):
    """The rule that the leader announces: u0 = offset + K d (+ ½ R d²), d = signal − target.

    An entry of K is in units of the leader's variable per unit of the signal. The paper's ε-incentive strategy (arXiv
    2207.10611, Definition 3), affine in what the leader observes.
    """

    def robustness(
        self, baseline: Plan | None = None, *, followers: Sequence[str] | None = None, solver: str = "auto"
    ) -> pd.DataFrame:
        """How wrong the leader may be about each follower: :mod:`stackpyomo.incentives.robustness`.

        Parameters
        ----------
        baseline : Plan, optional
            What happens without the incentive, by default ``stackelberg(game)``; where that has no plan, relative_error
            is NaN.
        followers : sequence of str, optional
            Names of those to look at, by default all.
        solver : str, default "auto"
            As for :func:`leader_optimal`.

        Returns
        -------
        DataFrame
            A row for each follower. curvature: least eigenvalue of its composed Hessian. shift: length of its action's
            shift per unit of error in its marginal cost. leader_slope, leader_loss: the leader's loss per unit and per
            squared unit of error, in the worst direction. relative_error: the largest ε such that it does better than
            the baseline under (1 ± ε) a_k.

        Raises
        ------
        InvalidGame
            A name is no follower's, actions are whole, or a signal is not linear.
        """
        game = self.attached()
        whole = [f.name for f in game.followers.values() if f.integers]
        if whole or any(signal.curve is not None for signal in self.observed):
            why = f"{whole[0]} has integer actions" if whole else "a signal is not linear"
            raise InvalidGame(f"robustness: looks at small changes alone, and {why}; margin= asks for room instead.")
        if baseline is None:
            try:
                baseline = stackelberg(game, solver=solver)
            except (NoPlan, InvalidGame) as why:
                logger.warning("robustness: no baseline (%s)", why)
        without = math.nan if baseline is None else baseline.now().leader_objective
        names = list(game.followers) if followers is None else list(followers)
        for name in names:
            if name not in game.followers:
                raise InvalidGame(f"followers={name}: not a follower of this game.")
        return robustness(game, self.announcement, self.multipliers, without, names, solver)

    @property
    def payments(self) -> pd.Series:
        """Money from each follower to the leader on the plan, all members of a population together.

        J_k − J_k(leader's variables at 0) = Σ_l u_l ∂J_k/∂u_l as a cost, in J_k's unit, where J_k is affine in the
        leader's variables (fixed or integer ones are data); NaN where that is not shown, and for an infinite size.
        """
        return accounts(self).payments

    @property
    def comparison(self) -> pd.Series:
        """The leader's objective leader-optimal, by this rule, by the best constants, for :func:`optimal_rule`.

        Raises :class:`InvalidGame` for another incentive, which holds the plan that it was given.
        """
        return self._second_best("comparison").as_series()

    @property
    def value_curve(self) -> pd.DataFrame:
        """The leader's objective ``value`` by the best rule whose gains are within ±``kappa``, as far as was found.

        Raises :class:`InvalidGame` as :attr:`comparison` does.
        """
        return pd.DataFrame(self._second_best("value_curve").curve, columns=["kappa", "value"], dtype=float)

    @property
    def at_bound(self) -> dict[tuple[str, str], float]:
        """Change of the leader's objective per unit by which a bound is widened, for each gain that stands at one.

        (leader variable, signal) → d(leader's objective)/d(bound). Raises :class:`InvalidGame` as :attr:`comparison`
        does.
        """
        return {(a.leader, a.signal): a.slope for a in self._second_best("at_bound").at_bound}

    def _second_best(self, asked: str) -> Standing:
        if self.standing is None:
            raise InvalidGame(f"{asked}: of rules that optimal_rule(game) found; this one holds a plan it was given.")
        return self.standing

    def compare(self, baseline: Plan) -> pd.DataFrame:
        """Who gains and who loses against another plan: the leader first, then followers.

        Parameters
        ----------
        baseline : Plan
            For instance ``stackelberg(game)``.

        Returns
        -------
        DataFrame
            Columns objective, baseline and difference, in the sense each objective is written in; verdict: "gains",
            "loses", "same".
        """
        return comparison(self, baseline)

    def to_markdown(self, baseline: Plan | None = None) -> str:
        """The contract in plain words, as Markdown.

        Parameters
        ----------
        baseline : Plan, optional
            Say also who gains and who loses against it.

        Returns
        -------
        str
            A document.
        """
        return as_markdown(in_words(self, baseline, whole=True))

    def to_latex(self, baseline: Plan | None = None) -> str:
        """The contract in plain words, as a LaTeX fragment that needs no packages.

        Parameters
        ----------
        baseline : Plan, optional
            Say also who gains and who loses against it.

        Returns
        -------
        str
            A fragment.
        """
        return as_latex(in_words(self, baseline, whole=True))

    def to_csv(self) -> str:
        """All terms of the contract as CSV, in the model's order: what each unit of a signal adds to which variable.

        Columns: variable, unit, on_plan; signal, signal_unit, followers (who show it), target; per_unit and, with
        ``quadratic=True``, per_squared_unit. Units are those of ``pyo.units``, empty where the model has none.
        """
        return term_table(self).to_csv(index=False)

    def _repr_html_(self) -> str:
        return as_html(in_words(self))

    def __str__(self) -> str:
        return as_text([*in_words(self), *how_to_compare(self)])


def assembled(entries: Entries, plan: Plan, values: Mapping[str, float], **known: Any) -> Incentive:
    """The incentive of a gain at a plan: ``known`` is what its design says beside what every design says.

    values: those of the plan, with the free ones as they were chosen.
    """
    rows, wishes = entries.rows, entries.wishes
    names = rows.game.names
    announced = [*entries.leader, *(names[id(v)] for v in wishes.free)]
    return Incentive(
        plan=plan,
        leader=list(entries.leader),
        observed=list(entries.signals),
        offset={name: values[name] for name in announced},
        targets={s.name: s.value(values) for s in entries.signals},
        actions_seen=[names[id(v)] for v in rows.actions],
        weights={n: float(w) for n, w in zip(entries.leader, entries.weights, strict=True) if w != 1.0},
        members={s.name: float(n) for s, n in zip(entries.signals, entries.counts, strict=True) if n != 1.0},
        saturate=wishes.saturate,
        permitted=entries.allowed,
        alone=[f.name for f, seen in zip(rows.followers, entries.watched, strict=True) if not seen],
        **known,
    )
