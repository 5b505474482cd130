"""Fit: followers' parameters, estimated from what was announced to them and what they did.

    responses   min_θ Σ_t (y_t − u_t)²          u_t a best answer of row t's follower at θ
    residuals   min_θ,λ Σ_t ‖a_t(y_t; θ) + G_tᵀ λ_t‖²,   λ ≥ 0, only where y_t is at its bound

The first is a game that :func:`stackpyomo.stackelberg` solves: the analyst leads with θ, and every row is a follower.
It is consistent for noise in y (Aswani, Shen, Siddiq 2018). The second is a convex quadratic program where costs are
affine in θ (Keshavarz, Wang, Boyd 2011): quick, exact without noise, biased with it (errors in variables).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from pyomo.common.collections import ComponentMap

from stackpyomo.bilevel import Scholtes
from stackpyomo.core import TOLERANCES, Array, box_of, fixed, is_within, limits_of, undisturbed
from stackpyomo.core.expressions import curvature, sized, variables_in
from stackpyomo.errors import InvalidGame, NonconvexFollower, NoPlan
from stackpyomo.games import Game, component_pairs, require, require_game
from stackpyomo.plans import Plan, stackelberg

from .estimate import Fit, Solution
from .experiments import Experiments, Parameter, Reading, parameters_of, rules_of, table_of
from .polytopes import Polytope
from .sensitivities import Slopes, has_affine_slopes, residual_fit

_METHODS = ("responses", "residuals")

_MANY = 200  # Rows from which one treatment of complementarity is tried before all others.

# An estimate more than 3 times away from where the box was laid out has a box laid out around itself, 3 times.
_CLEAR, _MOVES = 3.0, 3

_NEAR, _FAR = 0.9, 9.0  # Without bounds a parameter is looked for from a tenth to ten times its estimate by residuals.


def fit(
    game: Game,
    rows: Any,
    parameters: Any,
    *,
    method: str = "responses",
    rules: Any = None,
    noise: Any = None,
    solver: str = "auto",
    starts: int = 1,
    time_limit: float | None = None,
    seed: int = 0,
) -> Fit:
    """The followers' parameters θ from what was announced and what they did.

    Parameters
    ----------
    game : Game
        Its followers hold mutable Params.
    rows : DataFrame
        One row for each time, columns by component name: everything that the followers' problems hold and that they did
        not choose, and what they did. An action without a column was not observed; an aggregate without one is taken
        from the actions.
    parameters : list of Param or str, or mapping of these to (float, float)
        What is looked for, with bounds; without, and without a domain that has them, from a tenth to ten times its
        estimate by residuals.
    method : {"responses", "residuals"}
        As this module's docstring has them; misfits count alike in every action's unit.
    rules : optional
        The rule in force: one for all rows, one for each (None: constants), or {entry of the column "rule", or of the
        index: rule}. A rule is an :class:`Incentive`, a component mapping leader variable → expression in the actions
        or (c, K), or (c, K) alone for the leader's one variable.
    noise : float or ComponentMap, optional
        How far a reading may be off, in the action's unit, for all or by action; then :attr:`Fit.consistent` holds all
        parameters that explain every row.
    solver, starts, time_limit, seed : optional
        As for :func:`leader_optimal`.

    Returns
    -------
    Fit
        Estimate, covariance, what is open.

    Raises
    ------
    InvalidGame
        A parameter enters no follower, is unbounded, or runs to the edge of where it was looked for; data are missing
        or infinite (row and column); no parameters explain an action; "residuals" cannot fit a cost.
    NonconvexFollower
        The bounds admit a follower that is proved not convex.
    NoPlan
        The followers have no answer.
    """
    require_game(game, "fit")
    if method not in _METHODS:
        raise InvalidGame(f"method={method!r}: expected one of {', '.join(_METHODS)}.")
    with undisturbed():
        require(game, leader_objective=False)
        table, chosen = table_of(rows), parameters_of(game, parameters)
        experiments = Experiments(game, chosen, table, rules_of(rules, table, game))
        room = _noise(game, noise, experiments.readings)
        _require_explicable(experiments, room)
        slopes = Slopes(experiments)
        study = _Study(experiments, slopes, room)
        options = {"solver": solver, "starts": starts, "time_limit": time_limit, "seed": seed}
        estimate = study.by_residuals() if method == "residuals" else study.by_responses(options)
        if noise is not None:
            estimate.explained, estimate.noise = study.consistent(estimate), room
        return estimate


class _Study:
    """One set of data: its two estimates, and the parameters that explain all of it."""

    def __init__(self, experiments: Experiments, slopes: Slopes, noise: Array | None) -> None:
        self.experiments, self.slopes, self.noise = experiments, slopes, noise
        self.parameters: Sequence[Parameter] = experiments.parameters
        self.start = np.array([p.start for p in self.parameters])
        self.readings = np.array([r.value for r in experiments.readings])
        self.bounds = lower, upper = box_of(r.copy for r in experiments.readings)
        self.within = np.clip(self.readings, lower, upper)
        self.limits = np.array([p.lower for p in self.parameters]), np.array([p.upper for p in self.parameters])

    @property
    def why_not_affine(self) -> str:
        """Why the slopes at what was done are not affine in θ; empty where they are proved to be."""
        missing = next((r for r in self.experiments.readings if math.isnan(r.value)), None)
        if missing is not None:
            return f"{missing.action} was not observed"
        theta = {id(v) for v in self.experiments.variables}
        with fixed((reading.copy for reading in self.experiments.readings), self.within):
            for (_, follower), block in self.experiments.model.row.items():
                own = [
                    copy for copy in block.action.values() if id(copy) in {id(v) for v in variables_in(block.cost.expr)}
                ]
                if not has_affine_slopes(block.cost.expr, own):
                    return f"the objective of {follower} is not shown to be affine in the parameters"
                if any(id(v) in theta for c in block.limits.values() for v in variables_in(c.body)):
                    return f"a constraint of {follower} holds a parameter"
        return ""

    def by_residuals(self) -> Fit:
        """The convex estimate. Raises :class:`InvalidGame` where it is none, or says nothing."""
        why = self.why_not_affine
        if why:
            raise InvalidGame(f'method="residuals": {why}; use method="responses".')
        slope, matrix = self.slopes.lines(np.zeros(len(self.parameters)), self.within)
        if np.abs(slope).max() <= TOLERANCES.noise * np.abs(matrix).max() and _is_inside(self.limits):
            raise InvalidGame(
                'method="residuals": every term of the costs holds a parameter, so that all of them 0 leaves no '
                "residual. Keep one parameter at its value: its unit is that of the others."
            )
        theta, local = residual_fit(self.slopes, self.within, self.start, self.limits)
        matrix, rest = self.slopes.equations(local)
        solution = self._solution(theta, self.limits, self.within, local, matrix, rest)
        return Fit(solution, "residuals", "optimal")

    def by_responses(self, options: Mapping[str, Any]) -> Fit:
        """The game of the analyst. Raises :class:`NonconvexFollower`, and :class:`InvalidGame` for one without end."""
        start = self.start
        if not self.why_not_affine:
            guess = residual_fit(self.slopes, self.within, self.start, self.limits)[0]
            exact = self._exact(guess)
            if exact is not None:
                return exact
            start = guess if self._is_curved(guess) else start
        center, estimate = start, self._within_box(start, options)
        for _ in range(_MOVES):
            if not self._is_far(estimate, center):
                break
            center = estimate.solution.theta
            estimate = self._within_box(center, options)
        self._require_inside(estimate)
        return estimate if estimate.rank == len(start) else self._nearest(estimate, self.start)

    def _is_curved(self, theta: Array) -> bool:
        """True if θ leaves the followers about as curved as the Params' own values do: noise may flatten residuals."""
        least, own = (self.slopes.at(each, self.within).hessian.diagonal().min() for each in (theta, self.start))
        return bool(least > TOLERANCES.weak * max(own, 0.0))

    def _exact(self, theta: Array) -> Fit | None:
        """The fit at θ if it explains every row: no squares are less than none."""
        try:
            plan = self.experiments.answered(theta)
            estimate = self._judged(plan, _boxed(self.parameters, theta), "optimal")
        except (NoPlan, InvalidGame):  # nobody has a best answer there, or no only one
            return None
        rounding = (TOLERANCES.noise * self.readings) ** 2
        return estimate if plan.quality == "feasible" and estimate.sum_of_squares <= np.nansum(rounding) else None

    def _within_box(self, center: Array, options: Mapping[str, Any]) -> Fit:
        """The best within the bounds, those not given around the center."""
        limits = _boxed(self.parameters, center)
        for variable, level, low, high in zip(self.experiments.variables, center, *limits, strict=True):
            variable.setlb(float(low))
            variable.setub(float(high))
            variable.set_value(float(np.clip(level, low, high)))
        plan = self._played(options)
        if not np.isfinite(list(plan.values.values())).all():
            raise InvalidGame(
                f"parameters: no fit was found between bounds of up to {np.abs(limits).max():.1g} "
                f"({plan.solver}: {plan.termination}). Give narrower ones, or larger units of what was done."
            )
        return self._judged(plan, limits)

    def _is_far(self, estimate: Fit, center: Array) -> bool:
        """True if an estimate without bounds has gone so far that a box around it would show more."""
        free = np.array([not p.is_bounded for p in self.parameters])
        size = np.abs(estimate.solution.theta)
        moved = (size > _CLEAR * np.abs(center)) | (_CLEAR * size < np.abs(center))
        informed = estimate.rank == len(center) or estimate.informative < np.isfinite(self.readings).sum()
        return bool(informed and np.any(free & moved & (center != 0.0)))

    def _judged(self, plan: Plan, limits: tuple[Array, Array], quality: str = "") -> Fit:
        """The fit at the analyst's plan."""
        values, game = plan.values, self.experiments.game
        theta = np.array([values[name] for name in self.slopes.names])
        actions = np.array([values[game.names[id(r.copy)]] for r in self.experiments.readings])
        local = self.slopes.at(theta, actions)
        seen = np.isfinite(self.readings)
        design = np.where(seen[:, np.newaxis], self.slopes.responses(local), 0.0)
        left = np.where(seen, self.readings - actions, 0.0)
        solution = self._solution(theta, limits, actions, local, design, left)
        return Fit(solution, "responses", quality or self._claim(plan), plan)

    def _claim(self, plan: Plan) -> str:
        """The plan's quality; "optimal" where what may be missing is nothing beside the readings.

        A plan is measured by all that its variables can be, and bounds of an action may be far wider than the data.
        """
        missing = plan.leader_objective - plan.bound
        proved = missing <= TOLERANCES.accuracy * float(np.nansum(self.readings**2))
        return "feasible" if plan.quality == "optimal" and not proved else str(plan.quality)

    def _solution(self, *numbers: Any) -> Solution:
        return Solution(self.experiments, self.slopes, *numbers)

    def _nearest(self, estimate: Fit, start: Array) -> Fit:
        """Of those that fit equally well the one next to what the Params are now, if it does fit as well."""
        directions = estimate.null_space.to_numpy()
        units = np.maximum(1.0, np.abs(start))
        steps = np.linalg.lstsq((directions / units).T, (start - estimate.solution.theta) / units)[0]
        theta = np.clip(estimate.solution.theta + steps @ directions, *estimate.solution.limits)
        plan = self.experiments.answered(theta)
        other = self._judged(plan, estimate.solution.limits, estimate.quality)
        room = TOLERANCES.accuracy * max(float(np.nanmax(np.abs(self.readings))) ** 2, estimate.sum_of_squares)
        return other if other.sum_of_squares <= estimate.sum_of_squares + TOLERANCES.accuracy * room else estimate

    def _played(self, options: Mapping[str, Any]) -> Plan:
        many = len(self.experiments.readings) > _MANY
        try:
            if many:
                with suppress(NoPlan):  # the first treatment that holds will do
                    return stackelberg(self.experiments.game, complementarity=Scholtes(), **options)
            return stackelberg(self.experiments.game, **options)
        except NonconvexFollower as error:
            row, _, follower = error.follower.removeprefix("row[").removesuffix("]").partition(",")
            raise NonconvexFollower(
                f"row {self.experiments.table.index[int(row)]}: within the bounds of the parameters the problem of "
                f"{follower} may be nonconvex, and has no best answer to compare with. Give bounds that keep it "
                "convex: parameters={name: (lower, upper)}.",
                follower=follower,
            ) from None

    def _require_inside(self, estimate: Fit) -> None:
        """Raise :class:`InvalidGame` where an estimate stands at an end that nobody gave."""
        open_ones = (
            set() if not len(estimate.null_space) else set(estimate.null_space.columns[estimate.null_space.any()])
        )
        for parameter, level, low, high in zip(
            self.parameters, estimate.solution.theta, *estimate.solution.limits, strict=True
        ):
            room = TOLERANCES.weak * (high - low)
            ends = [(low, parameter.lower), (high, parameter.upper)]
            if any(abs(level - end) <= room and not math.isfinite(given) for end, given in ends):
                if parameter.name in open_ones:
                    continue
                raise InvalidGame(
                    f"parameters: {parameter.name} is unbounded, and the fit runs to {level:.6g}, the edge of where it "
                    f"was looked for. Give bounds: parameters={{{parameter.name!r}: (lower, upper), ...}}."
                )

    def consistent(self, estimate: Fit) -> Polytope | str:
        """The parameters that explain every row, or why that set is not given. Raises where no parameters do."""
        assert self.noise is not None
        box = _boxed(self.parameters, estimate.solution.theta)
        why = self._why_no_polytope(box)
        if why:
            return why
        lower, upper = self.bounds
        matrix, ends, faces = [], [], list[str]()
        sides = ((-1.0, self.readings - self.noise, "at least"), (1.0, self.readings + self.noise, "at most"))
        for sign, edge, words in sides:
            slope, mixed = self.slopes.lines(estimate.solution.theta, np.clip(edge, lower, upper))
            for number in np.flatnonzero((edge > lower) if sign < 0 else (edge < upper)):
                reading = self.experiments.readings[number]
                matrix.append(-sign * mixed[number])
                ends.append(float(sign * (slope[number] - mixed[number] @ estimate.solution.theta)))
                faces.append(f"row {reading.label}, {reading.action} {words} {edge[number]:.6g}")
        for column, parameter in enumerate(self.parameters):
            for sign, end in ((-1.0, parameter.lower), (1.0, parameter.upper)):
                if math.isfinite(end):
                    matrix.append(sign * np.eye(len(self.parameters))[column])
                    ends.append(sign * end)
                    faces.append(f"{parameter.name} {'at least' if sign < 0 else 'at most'} {end:.6g}")
        polytope = Polytope([p.name for p in self.parameters], np.array(matrix), np.array(ends), faces)
        if polytope.conflict:
            raise InvalidGame(
                f"no parameters explain these together: {'; '.join(polytope.conflict[:4])}. Correct the rows, widen "
                "the bounds of the parameters, or allow for more noise."
            )
        ranges = polytope.ranges.to_numpy()
        if np.any(ranges[:, 0] < box[0]) or np.any(ranges[:, 1] > box[1]):
            return "without bounds of the parameters it goes beyond where the followers are proved convex"
        return polytope

    def _why_no_polytope(self, limits: tuple[Array, Array]) -> str:
        """Why theory does not make a polytope of it; empty where it does."""
        why = self.why_not_affine
        if why:
            return why
        if not self.slopes.is_separable:
            return "a follower has several actions whose slopes depend on each other, and its set is not convex"
        for variable, low, high in zip(self.experiments.variables, *limits, strict=True):
            variable.bounds = limits_of(low, high)
        for (_, follower), block in self.experiments.model.row.items():
            if len(block.limits):
                return f"{follower} has constraints beside the bounds of its actions"
            if not curvature(block.cost.expr, list(block.action.values())).curvature.is_convex:
                return f"the objective of {follower} is not proved convex within the bounds of the parameters"
        return ""


def _is_inside(limits: tuple[Array, Array]) -> bool:
    """True if θ = 0 keeps the bounds."""
    return bool(np.all(limits[0] <= 0.0) and np.all(limits[1] >= 0.0))


def _boxed(parameters: Sequence[Parameter], start: Array) -> tuple[Array, Array]:
    """The bounds of θ, those not given around the first estimate, on its side of 0."""
    size = np.where(start == 0.0, 1.0, np.abs(start))
    below = np.where(start > 0.0, start - _NEAR * size, start - _FAR * size)
    above = np.where(start < 0.0, start + _NEAR * size, start + _FAR * size)
    lower, upper = (np.array([getattr(p, side) for p in parameters]) for side in ("lower", "upper"))
    return np.where(np.isfinite(lower), lower, below), np.where(np.isfinite(upper), upper, above)


def _noise(game: Game, given: Any, readings: Sequence[Reading]) -> Array | None:
    """(readings) how far each may be off; None where nothing is said."""
    if given is None:
        return None
    actions = {reading.action for reading in readings}
    levels: dict[str, Any] = dict.fromkeys(actions, given)
    if isinstance(given, (Mapping, ComponentMap)):
        levels = {}
        for key, level in component_pairs(given, "noise", "number"):
            component = game.component(key) if isinstance(key, str) else key
            members = component.values() if component.is_indexed() else [component]
            levels.update({game.names.get(id(v), str(v)): level for v in members})
    for name in sorted(actions):
        level = levels.get(name)
        number = not isinstance(level, bool) and isinstance(level, (int, float, np.number))
        if not (number and 0.0 <= float(levels[name]) < math.inf):
            raise InvalidGame(f"noise={level!r} for {name}: expected a finite number ≥ 0, in the action's unit.")
    return np.array([float(levels[reading.action]) for reading in readings])


def _require_explicable(experiments: Experiments, noise: Array | None) -> None:
    """Raise :class:`InvalidGame` naming a row whose action lies outside of all that the follower can do."""
    for number, reading in enumerate(experiments.readings):
        room, level = (0.0 if noise is None else float(noise[number])), reading.value
        lower, upper = reading.copy.lb, reading.copy.ub
        size = max(abs(t) for t in (level, lower, upper) if t is not None)
        above = is_within(level + room, lower, None, size)
        if math.isnan(level) or (above and is_within(level - room, None, upper, size)):
            continue
        raise InvalidGame(
            f"{reading.place}: {level:.6g} lies outside what {reading.follower} can do "
            f"({'-∞' if lower is None else lower:g} to {'∞' if upper is None else upper:g}), so that no parameters "
            "explain it. Correct it, or pass noise=, how far readings may be off."
        )
    if noise is None:
        for label, follower, name in _broken(experiments):
            raise InvalidGame(
                f"row {label}: what {follower} did breaks its own constraint {name}, so that no parameters explain it. "
                "Correct the row, or pass noise=, how far readings may be off."
            )


def _broken(experiments: Experiments) -> Iterator[tuple[Any, str, str]]:
    """(row, follower, constraint) of those without parameters that do not hold at what was done."""
    theta = {id(v) for v in experiments.variables}
    known = {id(r.copy) for r in experiments.readings if not math.isnan(r.value)}
    for (row, follower), block in experiments.model.row.items():
        for name, limit in block.limits.items():
            levels = {id(v) for v in variables_in(limit.body)}
            known_row = not levels & theta and levels <= known
            if known_row and not is_within(*sized(limit.body, limit.lb, limit.ub)):
                yield experiments.table.index[row], follower, str(name)
