"""Scenarios: joint outcomes with probabilities, and who can tell which of them apart.

    E[f] = Σ_w p_w f(w)          a player with observation y decides on u[y(w)], one value for each atom of y

An observation is a function of the scenario; its atoms are the sets of scenarios it cannot tell apart. A follower's Var
is indexed by the atoms of its own observation, so that nobody can know what it does not observe. What the leader may
answer to in a scenario is made from the same names (:meth:`Scenarios.observe`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap

from stackpyomo.core import Array, listed
from stackpyomo.errors import InvalidGame

from .outcomes import Labelling, column_of, in_order, index_of, labelling, labels_of, probabilities_of, table_of
from .policies import Policy, is_idle, policy
from .quadrature import gaussian
from .revelations import Atoms, Revelation, Vanishing, revealed_outcomes, vanishing_atoms

logger = logging.getLogger(__name__)


class Scenarios:
    """Joint outcomes with probabilities, and who can tell which of them apart.

    Parameters
    ----------
    outcomes : DataFrame or mapping of str to sequence
        One row for each scenario, one column for each outcome; every outcome can be observed by its name.
    probabilities : sequence of float, optional
        One for each scenario, by default equal ones. A Series of the scenarios' own labels is put in their order.
    observations : mapping of str to str, list or callable, optional
        Further observations by name: an outcome, a list of outcomes, one label for each scenario, or a function of a
        scenario's row.

    Raises
    ------
    InvalidGame
        Probabilities are negative or do not sum to 1, or an observation is not a function of the scenario.

    Examples
    --------
    >>> days = sp.Scenarios({"sun": [1.0, 0.2]}, [0.6, 0.4], {"forecast": ["fine", "grey"]})
    >>> days.atoms("forecast")
    ['fine', 'grey']
    """

    def __init__(self, outcomes: Any, probabilities: Any = None, observations: Mapping[str, Any] | None = None) -> None:
        self.outcomes = table_of(outcomes)  #: One row per scenario, one column per outcome.
        index = index_of(outcomes)
        weights = probabilities_of(in_order(probabilities, index), len(self.outcomes))
        self.probability = weights  #: One per scenario; they sum to 1.
        columns = {str(name): self.outcomes[name].tolist() for name in self.outcomes.columns}
        self._labellings = {name: labelling(name, labels) for name, labels in columns.items()}
        self._source = "given"
        self._warned: dict[str, list[Revelation | Vanishing]] = {}
        if not isinstance(observations or {}, Mapping):
            raise InvalidGame(f"observations={observations!r}: expected {{name: what it shows}}.")
        for name, what in (observations or {}).items():
            if name in self._labellings:
                raise InvalidGame(f"{name}: the name of an outcome, which can be observed as it is; choose another.")
            self._labellings[name] = labelling(name, labels_of(name, in_order(what, index), self.outcomes))

    # --- ways to make them --------------------------------------------------------------------------------------------

    @classmethod
    def from_samples(
        cls,
        draw: Callable[[np.random.Generator, int], Any],
        size: int,
        *,
        seed: int,
        observations: Mapping[str, Any] | None = None,
    ) -> Scenarios:
        """Equally likely outcomes, drawn at random.

        Parameters
        ----------
        draw : callable
            Called as draw(generator, size), gives a DataFrame or {name: values} of ``size`` outcomes.
        size : int
            How many.
        seed : int
            The same seed gives the same draw.
        observations : mapping, optional
            As for :class:`Scenarios`.

        Returns
        -------
        Scenarios
            One for each outcome drawn.

        Raises
        ------
        InvalidGame
            There are fewer or more outcomes than asked for.
        """
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise InvalidGame(f"size={size!r}: expected an integer from 1 on.")
        drawn = table_of(draw(np.random.default_rng(seed), int(size)))
        if len(drawn) != size:
            raise InvalidGame(f"draw(generator, {size}) gave {len(drawn)} outcomes; give as many as asked for.")
        return cls(drawn, None, observations)._of_source("samples")

    @classmethod
    def gauss_hermite(
        cls,
        names: str | Sequence[str],
        nodes: int | Sequence[int],
        *,
        mean: Any = 0.0,
        covariance: Any = 1.0,
        observed: Any = (),
        observations: Mapping[str, Any] | None = None,
    ) -> Scenarios:
        """Gauss–Hermite quadrature of a Gaussian vector, exact as seen by each player who decides by a signal.

        Each signal of ``observed`` takes its nodes with its own Gauss–Hermite weights; given all of them the rest has a
        grid of its own. Means and covariances, of all and given any one signal, are the Gaussian's: exact for a linear
        quadratic game from two nodes on, convergent for any other. A list of signals among the ``observations`` is kept
        as exact as one.

        Without ``observed`` the grid stands along a Cholesky factor of the covariance, in the order of the names, exact
        for polynomials of degree 2·nodes − 1: the first name takes ``nodes`` values, the second as many for each of
        these, and so on. Who sees another name, or a sum of them, knows more than its Gaussian would tell.

        Parameters
        ----------
        names : str or sequence of str
            The n components of the vector: the outcomes.
        nodes : int or sequence of int
            How many values each name takes; with ``observed`` each signal and, last, what the signals leave open.
        mean : float or array of shape (n,), default 0
            The mean.
        covariance : float or array of shape (n, n), default 1
            The covariance matrix, or one variance.
        observed : list of str or mapping of str to mapping, optional
            The signals that players decide by, each for itself: names, or {signal: {name: coefficient}} for signals
            that are sums, as y_i = x + w_i is.
        observations : mapping, optional
            As for :class:`Scenarios`.

        Returns
        -------
        Scenarios
            One for each node of the grid.

        Raises
        ------
        InvalidGame
            Shapes do not fit, or so few nodes cannot have this covariance.
        """
        table, weights = gaussian(names, nodes, mean, covariance, observed, (observations or {}).values())
        return cls(table, weights, observations)._of_source("grid")

    @classmethod
    def product(cls, *factors: Scenarios, observations: Mapping[str, Any] | None = None) -> Scenarios:
        """All combinations of independent factors; their own observations are kept.

        Parameters
        ----------
        *factors : Scenarios
            At least one.
        observations : mapping, optional
            Further ones, as for :class:`Scenarios`.

        Returns
        -------
        Scenarios
            Probabilities are products.

        Raises
        ------
        InvalidGame
            Two factors have an outcome of the same name.
        """
        if not factors:
            raise InvalidGame("product(): give at least one Scenarios.")
        names = [str(c) for f in factors for c in f.outcomes.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidGame(f"{twice[0]}: an outcome of two factors; rename one of them.")
        grid = np.stack(np.meshgrid(*(np.arange(len(f)) for f in factors), indexing="ij"), axis=-1)
        picks = grid.reshape(-1, len(factors))
        parts = [f.outcomes.iloc[picks[:, i]].reset_index(drop=True) for i, f in enumerate(factors)]
        probability = np.prod([f.probability[picks[:, i]] for i, f in enumerate(factors)], axis=0)
        further: dict[str, Any] = {}
        for i, factor in enumerate(factors):
            further.update({name: shown.labels(picks[:, i]) for name, shown in factor._further().items()})
        sources = {factor._source for factor in factors}
        source = next(kind for kind in ("samples", "grid", "given") if kind in sources)
        return cls(pd.concat(parts, axis=1), probability, {**further, **(observations or {})})._of_source(source)

    def _of_source(self, source: str) -> Scenarios:
        """Where they come from: a "grid" or "samples" that stand for more than themselves, or "given"."""
        self._source = source
        return self

    # --- what they are ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, name: str) -> Array:
        """An outcome, one value per scenario."""
        return column_of(self.outcomes, name)

    @property
    def observations(self) -> list[str]:
        """Names of everything that can be observed."""
        return list(self._labellings)

    def atoms(self, observation: str) -> Atoms:
        """What an observation can show: the index of the Var of a player who has it.

        Warns where that tells more than the observation does, or happens too seldom to count, as ``game.check()`` does:
        :mod:`stackpyomo.games.information.revelations`.

        Parameters
        ----------
        observation : str
            Its name.

        Returns
        -------
        Atoms
            A list of labels.
        """
        shown = self._shown(observation)
        if observation not in self._warned:
            labels, codes, probability = shown.atoms, shown.codes, self.probability
            doubts = (
                revealed_outcomes(observation, labels, codes, self.outcomes, probability, self._source),
                vanishing_atoms(observation, labels, codes, probability) if self._source == "given" else None,
            )
            self._warned[observation] = [doubt for doubt in doubts if doubt is not None]
            for doubt in self._warned[observation]:
                logger.warning("%s", doubt.finding("Scenarios"))
        return Atoms(shown.atoms, self._warned[observation])

    def atom(self, observation: str, scenario: int) -> Hashable:
        """What an observation shows in a scenario.

        Parameters
        ----------
        observation, scenario : str, int
            Its name, and the number of the scenario, counted from 0.

        Returns
        -------
        Hashable
            The label.

        Raises
        ------
        InvalidGame
            There is no such observation or scenario.
        """
        shown = self._shown(observation)
        if not 0 <= scenario < len(self):
            raise InvalidGame(f"scenario {scenario}: there are {len(self)}, from 0 on.")
        return shown.atoms[int(shown.codes[scenario])]

    def members(self, observation: str, atom: Any) -> list[int]:
        """The scenarios in which an observation shows an atom.

        Parameters
        ----------
        observation, atom : str, Hashable
            Its name, and what it shows.

        Returns
        -------
        list of int
            Numbers of scenarios, counted from 0.

        Raises
        ------
        InvalidGame
            It never shows that.
        """
        shown = self._shown(observation)
        if atom not in shown.atoms:
            raise InvalidGame(f"{observation}: never shows {atom!r} ({listed([str(a) for a in shown.atoms])}).")
        return [int(w) for w in np.flatnonzero(shown.codes == shown.atoms.index(atom))]

    def atom_probability(self, observation: str) -> pd.Series:
        """The probability of each atom of an observation.

        Parameters
        ----------
        observation : str
            Its name.

        Returns
        -------
        Series
            Indexed by the atoms; they sum to 1.
        """
        shown = self._shown(observation)
        index = pd.Index(shown.atoms, name=observation, tupleize_cols=False)
        return pd.Series(shown.weights(self.probability), index=index, name="probability")

    def knows(self, first: str, second: str) -> bool:
        """Whether a player with the first observation also knows the second, with probability 1.

        Parameters
        ----------
        first, second : str
            Names of observations.

        Returns
        -------
        bool
            True where each atom of the first lies in one of the second's.
        """
        codes = np.stack([self._shown(first).codes, self._shown(second).codes])
        pairs = np.unique(codes[:, self.probability > 0.0], axis=1)
        return bool(len(np.unique(pairs[0])) == pairs.shape[1])

    def coarsened(self, observation: str, merge: Callable[[Any], Hashable], *, name: str) -> Scenarios:
        """The same scenarios with one more observation, which shows less than another one.

        Parameters
        ----------
        observation : str
            The other one.
        merge : callable
            Atom → what is left of it.
        name : str
            What the new observation is called.

        Returns
        -------
        Scenarios
            Outcomes and probabilities are the same.

        Raises
        ------
        InvalidGame
            The name is taken.
        """
        if name in self._labellings:
            raise InvalidGame(f"{name}: there is an observation of that name; choose another.")
        shown = self._shown(observation)
        merged = [merge(atom) for atom in shown.atoms]
        labels = {other: further.labels() for other, further in self._further().items()}
        labels[name] = [merged[c] for c in shown.codes]
        return Scenarios(self.outcomes, self.probability, labels)._of_source(self._source)

    def _further(self) -> dict[str, Labelling]:
        """The observations that are no outcomes."""
        return {name: shown for name, shown in self._labellings.items() if name not in self.outcomes.columns}

    def to_frame(self) -> pd.DataFrame:
        """Outcomes, probability and observations, one row per scenario."""
        frame = self.outcomes.copy()
        frame["probability"] = self.probability
        for name, shown in self._further().items():
            frame[name] = pd.Series(shown.labels(), dtype=object)
        return frame

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, observations: Mapping[str, Any] | None = None) -> Scenarios:
        """Scenarios from a table that has their probabilities.

        Parameters
        ----------
        frame : DataFrame
            A column ``probability``; every other column is an outcome.
        observations : mapping, optional
            As for :class:`Scenarios`.

        Returns
        -------
        Scenarios
            One for each row.

        Raises
        ------
        InvalidGame
            There is no such column.
        """
        if not isinstance(frame, pd.DataFrame) or "probability" not in frame.columns:
            raise InvalidGame("from_frame: expected a DataFrame with a column named probability.")
        return cls(frame.drop(columns="probability"), frame["probability"].to_numpy(), observations)

    def __repr__(self) -> str:
        return f"Scenarios({len(self)} scenarios, observations {listed(self.observations)})"

    # --- expressions --------------------------------------------------------------------------------------------------

    def expectation(self, rule: Callable[[int], Any]) -> Any:
        """The expected value Σ_w p_w rule(w), one term for each scenario.

        Parameters
        ----------
        rule : callable
            Scenario (int) → Pyomo expression or number.

        Returns
        -------
        expression
            In the unit of the rule.
        """
        return pyo.quicksum(float(p) * rule(w) for w, p in zip(self, self.probability, strict=True) if p > 0.0)

    def cvar(self, block: Any, rule: Callable[[int], Any], *, level: float, name: str = "cvar") -> Any:
        """The conditional value at risk: the mean of the worst share 1 − level of a loss.

        CVaR = min_t t + E[max(0, rule − t)]/(1 − level).

        Under an incentive pass multipliers="free": the rows carry it.

        Parameters
        ----------
        block : Block
            The player's; ``block.<name>`` is added, with t, the excesses and their rows.
        rule : callable
            Scenario (int) → loss; hand over minus a gain.
        level : float
            From 0, the mean, to below 1.
        name : str, default "cvar"
            What the new Block is called.

        Returns
        -------
        expression
            What the player is to minimise.

        Raises
        ------
        InvalidGame
            The level is outside [0, 1), or the block has a component of that name.

        References
        ----------
        R. T. Rockafellar, S. Uryasev, J. Risk 2 (2000) 21–41.
        """
        if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0.0 <= level < 1.0:
            raise InvalidGame(f"level={level!r}: expected a number from 0 to below 1.")
        if block.component(name) is not None:
            raise InvalidGame(f"{block.name}: has a component named {name}; pass cvar(..., name=) another.")
        part = pyo.Block()
        block.add_component(name, part)
        possible = [w for w in self if self.probability[w] > 0.0]
        part.threshold = pyo.Var(initialize=0.0)
        part.excess = pyo.Var(possible, bounds=(0.0, None), initialize=0.0)
        part.tail = pyo.Constraint(possible, rule=lambda b, w: b.excess[w] >= rule(w) - b.threshold)
        return part.threshold + self.expectation(lambda w: part.excess[w]) / (1.0 - level)

    def worst(self, block: Any, rule: Callable[[int], Any], *, less: Any = None, name: str = "worst") -> Any:
        """The worst case of a loss over all scenarios, or its worst regret: max_w rule(w) − less[w].

        Scenarios of probability 0 count: a worst case has no weights. Under an incentive pass multipliers="free", as
        for :meth:`cvar`. The multipliers of the rows are the worst distribution: the rule is the best against it.

        Parameters
        ----------
        block, rule : Block, callable
            As for :meth:`cvar`; ``block.<name>`` has t and its rows.
        less : sequence or mapping of float, optional
            For each scenario what could be had if it were known, in the unit of the rule: then it is the worst regret.
        name : str, default "worst"
            What the new Block is called.

        Returns
        -------
        expression
            What the player is to minimise.

        Raises
        ------
        InvalidGame
            The block has a component of that name, or numbers are not one for each scenario.
        """
        try:
            levels = np.array([0.0 if less is None else float(less[w]) for w in self])
        except (LookupError, TypeError, ValueError):
            levels = np.full(len(self), np.nan)
        if not np.isfinite(levels).all() or (hasattr(less, "__len__") and len(less) != len(self)):
            raise InvalidGame(f"less: expected one finite number for each of the {len(self)} scenarios.")
        if block.component(name) is not None:
            raise InvalidGame(f"{block.name}: has a component named {name}; pass worst(..., name=) another.")
        part = pyo.Block()
        block.add_component(name, part)
        part.level = pyo.Var(initialize=0.0)
        part.cases = pyo.Constraint(list(self), rule=lambda b, w: b.level >= rule(w) - float(levels[w]))
        return part.level

    def policy(self, block: Any, observation: str, *, name: str = "policy", features: Any = None) -> Policy:
        """A decision that is a function of the observation, u(y) = Σ_f c_f φ_f(y); the player chooses the c_f.

        Parameters
        ----------
        block : Block
            The player's; ``block.<name>`` and ``block.<name>_coefficients``, the Var of the c_f, are added.
        observation : str
            What the player sees, y.
        name : str, default "policy"
            What the new components are called.
        features : mapping of str to callable, optional
            The functions φ_f of what the observation shows; by default 1 and y (each number, where it shows several):
            the policy is affine in the signal.

        Returns
        -------
        Policy
            An Expression indexed by the atoms, to be used as a Var with this index would be.

        Raises
        ------
        InvalidGame
            The block has a component of that name, or the atoms cannot tell the features apart.
        """
        shown = self._shown(observation)
        likely = shown.weights(self.probability) > 0.0
        return policy(block, name, observation, shown.atoms, likely.tolist(), features)

    # --- information --------------------------------------------------------------------------------------------------

    def observe(
        self, leader: Any, signals: Sequence[tuple[Any, str | None]], *, knows: str | None = None
    ) -> ComponentMap:
        """What the leader answers to in each situation that it can tell apart, for ``affine_incentive(observe=)``.

        Parameters
        ----------
        leader : Var
            Indexed by the atoms of ``knows``.
        signals : sequence of (Var or Expression, str or None)
            Each with the observation that its index stands for; None: the scenarios.
        knows : str, optional
            The leader's observation; by default it knows the scenario.

        Returns
        -------
        ComponentMap
            The leader's Var at each atom → the signals of that atom.

        Raises
        ------
        InvalidGame
            The leader cannot know the place of a signal when it acts, or an index is no atom.
        """
        if isinstance(leader, Policy):
            raise InvalidGame(
                f"{leader.name}: a policy; the leader's answer to an action is a value in each scenario. Give it a "
                "Var indexed by what it knows."
            )
        signals_of: ComponentMap = ComponentMap()
        pairs = _pairs(signals)
        for atom, scenarios in self._groups(knows):
            answers = self._entry(leader, atom, knows)
            seen = [self._signal(component, observation, atom, scenarios, knows) for component, observation in pairs]
            seen = [signal for signal in seen if not is_idle(signal)]
            used = signals_of.setdefault(answers, seen)
            other = next((s for s in seen if not any(s is t for t in used)), None)
            if other is not None:
                raise InvalidGame(
                    f"{answers.name}: has one value for all that the leader may know, and would have to answer "
                    f"several signals of which only one is realised ({other.name}, say). Index it by "
                    f"{'the scenarios' if knows is None else knows}; a leader that acts first sees no signal."
                )
        return signals_of

    def _signal(self, component: Any, observation: str | None, atom: Hashable, scenarios: Array, knows: Any) -> Any:
        """The component's entry in these scenarios; raises :class:`InvalidGame` if there are several."""
        shown = set(scenarios.tolist() if observation is None else self._shown(observation).labels(scenarios))
        if len(shown) > 1:
            open_to = listed([str(s) for s in sorted(shown, key=str)], 3)
            raise InvalidGame(
                f"{component.name}: where {knows} is {atom}, the leader does not know "
                f"{observation or 'the scenario'} ({open_to}), so it cannot have this signal there."
            )
        return self._entry(component, shown.pop(), observation)

    def energy(self, leader: Any, *, knows: str | None = None) -> ComponentMap:
        """The probability of each atom, as ``energy=`` weights under which the gain of least E[‖Q‖²] is taken.

        Parameters
        ----------
        leader, knows : Var, str
            As for :meth:`observe`.

        Returns
        -------
        ComponentMap
            The leader's Var at each atom → probability.
        """
        weights: ComponentMap = ComponentMap()
        for atom, scenarios in self._groups(knows):
            entry = self._entry(leader, atom, knows)
            weights[entry] = weights.get(entry, 0.0) + float(self.probability[scenarios].sum())
        return weights

    def _groups(self, observation: str | None) -> Iterator[tuple[Hashable, Array]]:
        """(atom, its scenarios), those of probability 0 left out."""
        if observation is None:
            yield from ((w, np.array([w])) for w in self if self.probability[w] > 0.0)
            return
        shown = self._shown(observation)
        order = np.argsort(shown.codes, kind="stable")
        stops = np.cumsum(np.bincount(shown.codes, minlength=len(shown.atoms)))
        for atom, members in zip(shown.atoms, np.split(order, stops[:-1]), strict=True):
            likely = members[self.probability[members] > 0.0]
            if len(likely):
                yield atom, likely

    def _entry(self, component: Any, label: Hashable, observation: str | None) -> Any:
        """component[label]; a component without index serves an observation of one atom."""
        if not getattr(component, "is_indexed", bool)():
            return component
        try:
            return component[label]
        except KeyError:
            what = "the scenarios" if observation is None else f"the atoms of {observation}"
            raise InvalidGame(f"{component.name}[{label}]: not in its index; index it by {what}.") from None

    def _shown(self, observation: str) -> Labelling:
        if observation not in self._labellings:
            raise InvalidGame(f"{observation}: no observation of that name ({listed(self.observations)}).")
        return self._labellings[observation]


def _pairs(signals: Any) -> list[tuple[Any, str | None]]:
    pairs = list(signals) if isinstance(signals, (list, tuple)) else []
    if not pairs or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise InvalidGame("signals: expected a list of pairs (Var or Expression, observation its index stands for).")
    return pairs
