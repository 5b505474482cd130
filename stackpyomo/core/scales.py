"""Scales: what a number is small against, so that no statement depends on the units of a model.

Every variable has a natural unit, its *reach*: the width of its box, or, where that is far wider than the variable is
large, ``TOLERANCES.reach`` times its size; its size where it has no box; and where that is nothing, 0 or within
``TOLERANCES.margin`` of it beside what the functions say, the step that changes the slopes of the costs, or the rows it
stands in, as much as the other variables' reaches do: a plan that is known to its accuracy tells no size. A row or an
objective has the scale of the largest change that one variable brings about over its reach,

    S_i = max_j |∂f_i/∂x_j| · reach_j,

slopes taken at the point and ``TOLERANCES.nearby`` of a reach away from it, because at the point itself large terms may
have cancelled. Constants do not enter, nor does the slope of a strategy that is announced (no f holds it). If x is
written in another unit, so is its reach; if f is, so is S: "x ≤ ε · reach" and "f ≤ ε · S" mean the same in all units.

Where costs of several are measured together, ``costs`` says which rows they are: a variable's size is then nothing only
beside Newton's step, slope over curvature, of the one cost that holds it. A row's slope is no part of such a step (it
has another unit), and what a cost hardly weighs, because it is improbable, has no other unit than its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import sparse

from .sparse import Array, largest_by_row, row_of, with_data
from .tolerances import TOLERANCES

_TINY = float(np.sqrt(np.finfo(float).tiny))
_LEAST = TOLERANCES.noise  # A size below this is rounding of a 0 where no bound, and nothing bent, says otherwise.
_ALIKE, _TURNED = 3.0, 0.5  # Of Newton's steps: in what proportion slopes change along one, and what ends it.
_REVERSED = 1.0  # By what part of itself a slope has changed that is gone.
_WELL_WITHIN = 0.1  # Of a reach that is told by bounds alone: where a slope that has changed asks for another.
_FARTHEST = 1e30  # Where a slope is looked at that nothing says the end of.
_DECADES = tuple(10.0 ** -np.arange(1, 61))  # Shares of a step over which a slope may change.
_QUARTERS = tuple(10.0 ** -np.arange(0.25, 1.0, 0.25))  # The same within a decade.
_SWEEPS = 3  # Rounds in which variables without a size of their own take one from those that have.


@dataclass(frozen=True)
class Scales:
    """Natural units at one point of functions f (rows) of variables x (columns)."""

    reaches: Array  #: (variables) the natural unit of each; never 0.
    slopes: sparse.csr_array  #: (rows × variables) |∂f/∂x|, the larger of those at the point and a little away from it.
    guessed: Array | None = None  #: (variables) of which nothing at the point tells a unit.

    def of_rows(self, columns: sparse.sparray | None = None) -> Array:
        """(rows) S, the largest change of each over one variable's reach; 0 for a row that does not change.

        columns: (rows × variables) a pattern of the variables that count in each row (None: all).
        """
        slopes = self.slopes if columns is None else sparse.csr_array(self.slopes.multiply(columns != 0.0))
        return _largest(slopes, self.reaches)


def limited_reaches(levels: Array, lower: Array, upper: Array, steps: Any = 0.0) -> Array:
    """How far each variable can go, judged by its bounds (±inf: none) and its level alone; 0 where they do not tell.

    steps: those of Newton's method, taken where there is no box, and level and bound are nothing beside them.
    """
    size = np.abs(levels)
    with np.errstate(invalid="ignore"):
        width = upper - lower
        bound = np.where(np.isfinite(lower), lower, upper)
        sided = np.maximum(np.abs(levels - bound), np.abs(bound))
    span = np.where(np.isfinite(width), width, np.where(np.isfinite(bound), sided, size))
    wide = size > TOLERANCES.nothing * span
    reach = np.where(wide, np.minimum(span, TOLERANCES.reach * size), span)
    boxed = np.isfinite(width) & (width > 0.0)
    fixed = np.where(size > 0.0, size, 0.0)
    known = np.where(boxed, reach, np.where(width == 0.0, fixed, np.where(reach > _LEAST, reach, 0.0)))
    return np.asarray(np.where(~np.isfinite(width) & (known <= TOLERANCES.margin * steps), steps, known))


def newton_steps(slopes: Array, bends: Array) -> Array:
    """|slope| / |curvature|, after which a slope is gone; 0 where that is no step."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = np.abs(slopes) / np.abs(bends)
    return np.where(np.isfinite(steps), steps, 0.0)


def confirmed_steps(steps: Array, change: Callable[[float], Array]) -> Array:
    """Newton's steps, cut to where a slope changes by half its size if that is sooner.

    A curvature may happen to vanish at the point, as that of x⁴ or sin x does near 0, and tells no step then. Along a
    step that is one, slopes change in proportion.

    change: share → by what part of itself each slope changes over that share of the step, to either side at most.
    """
    shares = 10.0 ** -np.arange(1, 4)
    confirmed = np.all([change(share) <= _ALIKE * share for share in shares], axis=0) | (steps == 0.0)
    return steps if confirmed.all() else np.where(confirmed, steps, _turned(steps, change))


def turns_well_within(change: Callable[[float], Array]) -> Array:
    """Whether each slope has changed by half of itself after a tenth of a step (``change``: as above)."""
    return change(_WELL_WITHIN) >= _TURNED


def _turned(
    steps: Array,
    change: Callable[[float], Array],
    accuracy: float = 0.0,
    shares: Sequence[float] = _DECADES,
    by: float = _TURNED,
) -> Array:
    """The least of these shares of a step over which a slope changes ``by`` half; the step where none does.

    accuracy: the first share of a step that need not be told from a smaller one.
    """
    cut = steps.copy()
    for share in shares:
        cut = np.where(change(share) >= by, share * steps, cut)
        if share <= accuracy:
            break
    return cut


def scales(
    point: Array,
    lower: Array,
    upper: Array,
    jacobian: Callable[[Array], sparse.csr_array],
    curvature: Callable[[Array, Array], sparse.csr_array],
    costs: Array | None = None,
    terms: Callable[[Array], Array] | None = None,
    telling: Array | None = None,
    accuracy: float = TOLERANCES.accuracy,
    missing: Array | None = None,
    still: Array | None = None,
) -> Scales:
    """The natural units at a point.

    jacobian: point → (rows × variables) ∂f/∂x, its pattern the same at every point. curvature: (point, weights) → one
    triangle of the second derivatives of Σ w f, (variables × variables); asked for only where a variable has no box.
    costs: (rows) which of them are costs, where the others are constraints. terms: (variables) asked for →
    Σ |terms| of each one's slope in the costs, which may cancel at the point. telling: (rows) whose slopes tell where
    bounds lie far out (None: the costs). accuracy: how well the point is known, in reaches. missing: (rows) by how
    much the point misses each: a variable of which nothing else tells a unit has to make that up. still: (variables)
    which stay where they are while slopes are taken a little away: those that others decide.

    A box that is as good as endless beside what the rows tell of a variable that stands at 0 in it is none: 1000 would
    be nothing beside a price that nobody pays and that may be 1e9.
    """
    given = _Given(jacobian, curvature, costs, terms, telling, accuracy, missing, still)
    measured = partial(_within, given)
    units, width = measured(point, lower, upper), upper - lower
    wide = np.isfinite(width) & (np.abs(point) <= TOLERANCES.nothing * width) & (lower <= 0.0) & (upper >= 0.0)
    if wide.any():
        bends = curvature(point, np.ones(units.slopes.shape[0]))
        wide[bends.indices[row_of(bends) == bends.indices]] = False  # where it bends, its slopes have told
    if not wide.any():
        return units
    at_0 = np.where(wide, 0.0, point)  # by rows alone: its size there tells nothing
    endless = measured(at_0, np.where(wide, -np.inf, lower), np.where(wide, np.inf, upper))
    steps, known = endless.reaches, True if endless.guessed is None else ~endless.guessed
    far = wide & known & (steps < TOLERANCES.nothing * width)
    near = np.maximum(lower, point - steps), np.minimum(upper, point + steps)
    return measured(point, np.where(far, near[0], lower), np.where(far, near[1], upper)) if far.any() else units


@dataclass(frozen=True)
class _Given:
    """The functions that are measured, and what is known of them: the arguments of :func:`scales`."""

    jacobian: Callable[[Array], sparse.csr_array]
    curvature: Callable[[Array, Array], sparse.csr_array]
    costs: Array | None
    terms: Callable[[Array], Array] | None
    telling: Array | None
    accuracy: float
    missing: Array | None
    still: Array | None


def _within(given: _Given, point: Array, lower: Array, upper: Array) -> Scales:
    """The natural units at a point, within these bounds."""
    reaches, boxed, slopes = (
        limited_reaches(point, lower, upper),
        np.isfinite(upper - lower),
        _sizes(given.jacobian(point)),
    )
    guessed = np.zeros(len(point), dtype=bool)
    counted = np.ones(slopes.shape[0], dtype=bool) if given.costs is None else given.costs
    change = _Changes(point, (lower, upper), given.jacobian, counted)
    if given.costs is not None and not boxed.all():
        steps = np.where(boxed, 0.0, _steps_alone(slopes[given.costs], given.curvature(point, given.costs * 1.0)))
        reaches = limited_reaches(point, lower, upper, change.confirmed(steps))
    if given.terms is not None:
        turning = change if given.telling is None else replace(change, costs=given.telling)
        reaches = turning.within_bounds(reaches, given.terms, given.accuracy)
    if not (reaches.all() and (given.costs is not None or boxed.all())):
        changes, steepest = _largest(slopes, reaches), _largest(slopes, np.ones(len(point)))
        units = np.where(changes > 0.0, changes, np.where(steepest > 0.0, steepest, 1.0))
        bends = _symmetric(given.curvature(point, 1.0 / units))
        sized = bends if (changes > 0.0).all() else _sizes(given.curvature(point, (changes > 0.0) / units))
        rows, bends, steep = _without_rounding(slopes, bends, units)
        alone = newton_steps(steep, bends.diagonal())
        if given.costs is not None:
            alone = change.confirmed(np.where(reaches > 0.0, 0.0, alone))
        completed = _completed(
            reaches, boxed, _turns(sized.diagonal()), alone, rows, bends, steep, by_size=given.costs is not None
        )
        if given.missing is not None and not completed.all():
            completed = _completed(completed, boxed, _turns(sized.diagonal()), alone, rows, bends, steep, given.missing)
        guessed = completed == 0.0
        reaches = change.guessed(completed, bends)
    away, calm = probes(point, reaches if given.still is None else np.where(given.still, 0.0, reaches), lower, upper)
    near = _sizes(given.jacobian(away))
    if given.costs is None:
        return Scales(reaches, with_data(slopes, np.maximum(slopes.data, near.data)), guessed)
    steepest = steepest_of(slopes.data, near.data, _sizes(given.jacobian(calm)).data)
    return Scales(reaches, with_data(slopes, steepest), guessed)


def _steps_alone(costs: sparse.csr_array, bends: sparse.csr_array) -> Array:
    """Newton's step of the one cost that holds a variable; 0 where several do, whose curvatures have no common unit."""
    columns = sparse.csc_array(costs)
    slopes = np.asarray(columns.sum(axis=0)).ravel()
    return newton_steps(np.where(np.diff(columns.indptr) == 1, slopes, 0.0), bends.diagonal())


@dataclass
class _Changes:
    """How the slopes of costs change around a point; beyond a bound nothing does."""

    point: Array
    bounds: tuple[Array, Array]
    jacobian: Callable[[Array], sparse.csr_array]
    costs: Array

    def confirmed(self, steps: Array) -> Array:
        """Newton's steps as :func:`confirmed_steps` has them."""
        return confirmed_steps(steps, partial(self._over, steps)) if steps.any() else steps

    def within_bounds(self, reaches: Array, terms: Callable[[Array], Array], accuracy: float) -> Array:
        """The reaches; of a variable next to 0 ten times the step over which its slope changes by half its terms.

        Where that is well within its bounds: one of a million is often there to have one. The slope is taken at 0: one
        that is gone there tells of nothing but how well the point is known. Nor do changes within ``accuracy``: of one
        that turns there, as that of x log(x + 1e-300), it is looked where it has another sign. Where it has no end at
        0, as that of √x, it is taken a tenth of the way from there, and no change is nothing; by a point at 0 itself,
        where libraries call it 0, next to 0, and again it is the sign that tells.
        """
        limited = np.isfinite(self.bounds).any(axis=0) & (self.bounds[0] < self.bounds[1])
        steps = np.where(limited & (np.abs(self.point) <= TOLERANCES.nothing * reaches), reaches, 0.0)
        if not steps.any():
            return reaches
        still = replace(self, point=np.where(steps > 0.0, np.clip(0.0, *self.bounds), self.point))
        endless = np.isin(np.arange(len(steps)), still._endless) & (steps > 0.0)
        # Within its bounds a function has no end, and a slope that is 0 there turns at once by rounding alone.
        ending = (still.point == self.point) & ((still.point == self.bounds[0]) | (still.point == self.bounds[1]))
        at_end = still._turns_at_once(np.where(ending, steps, 0.0), terms, accuracy)
        if endless.any() or at_end.any():
            inward = np.where(still.point < self.bounds[1], accuracy, -accuracy) * steps
            away = np.where(at_end, inward, TOLERANCES.nearby * (self.point - still.point))
            still = replace(self, point=np.where(endless | at_end, still.point + away, still.point))
        asked = turns_well_within(partial(still._over, steps))
        if not asked.any():
            return reaches
        steps = np.where(asked, steps, 0.0)
        change = partial(still._over, least=terms(asked))
        floor = np.where(endless & ~at_end, 0.0, accuracy * steps)
        turned = _turned(steps, partial(change, steps), 0.0 if endless.any() else accuracy)
        early = at_end | (turned <= floor)
        turned = _turned(turned, partial(change, turned), shares=_QUARTERS)
        if early.any():
            gone = _turned(steps, partial(still._over, steps, signed=True), accuracy, by=_REVERSED)
            gone = _turned(gone, partial(still._over, gone, signed=True), shares=_QUARTERS, by=_REVERSED)
            turned = np.where(early, gone, turned)
        near = TOLERANCES.reach * np.maximum(np.abs(self.point), turned)
        return np.where(asked & (turned > floor) & (near < reaches), near, reaches)

    def _turns_at_once(self, steps: Array, terms: Callable[[Array], Array], accuracy: float) -> Array:
        """(variables) whether a slope within that share of a step from the point, upward if it may, is another one."""
        inward = np.where(self.point < self.bounds[1], accuracy, -accuracy) * steps
        beside = replace(self, point=self.point + inward)
        turns = (steps > 0.0) & (beside._over(steps, accuracy) >= _TURNED)
        return turns & (beside._over(steps, accuracy, least=terms(turns)) >= _TURNED) if turns.any() else turns

    def guessed(self, reaches: Array, bends: sparse.csr_array) -> Array:
        """The reaches; of those that nothing tells (0) where their slopes change, however far that is, else 1.

        bends: one that is 0 at the point may be none elsewhere.
        """
        steps = np.zeros(len(reaches))
        steps[bends.indices[(row_of(bends) == bends.indices) & (bends.data == 0.0)]] = _FARTHEST
        steps[reaches > 0.0] = 0.0
        far = _turned(steps, partial(self._over, steps)) if steps.any() else steps
        return np.where(reaches > 0.0, reaches, np.where((far > 0.0) & (far < _FARTHEST), far, 1.0))

    def _over(self, steps: Array, share: float, least: Array | None = None, *, signed: bool = False) -> Array:
        """(variables) by what part of itself a cost's slope changes over that share of the steps, at most.

        least: (variables) what the slopes count as at least. signed: changes towards the other sign alone.
        """
        largest = np.zeros(len(self.point))
        entries, columns, slopes = self._counted
        moving = steps[columns] > 0.0
        entries, columns, slopes = entries[moving], columns[moving], slopes[moving]
        sizes = np.abs(slopes) if least is None else np.fmax(np.abs(slopes), least[columns])
        for sign in (1.0, -1.0) if len(entries) else ():
            there = self.jacobian(np.clip(self.point + sign * share * steps, *self.bounds)).data[entries]
            moved = ((slopes - there) * np.sign(slopes) if signed else np.abs(there - slopes)) / sizes
            np.maximum.at(largest, columns, np.where(np.isnan(moved), 0.0 if signed else np.inf, moved))
        return largest

    @cached_property
    def _at(self) -> sparse.csr_array:
        return sparse.csr_array(self.jacobian(self.point))

    @cached_property
    def _endless(self) -> Array:
        """The variables by which the slope of a cost is no number."""
        at = self._at
        return np.unique(at.indices[self.costs[row_of(at)] & ~np.isfinite(at.data)])

    @cached_property
    def _counted(self) -> tuple[Array, Array, Array]:
        """(entries of the Jacobian, their columns, their values): slopes of costs that are known, and not 0."""
        at = self._at
        entries = np.flatnonzero(self.costs[row_of(at)] & np.isfinite(at.data) & (at.data != 0.0))
        return entries, at.indices[entries], at.data[entries]


def steepest_of(at: Array, near: Array, calm: Array) -> Array:
    """The slopes that count, of those at a point and at its :func:`probes`: the larger of the first two.

    Where a cost runs away, as exp(1000 v) does, that says nothing of what is at stake at the point: it counts up to
    ``TOLERANCES.steeper`` times what the point has, and what a parabola would have by the slope a hundredth of a reach
    away, on the other side where there is room for one.
    """
    limits = np.maximum(at, calm / TOLERANCES.nearby) * TOLERANCES.steeper
    return np.maximum(np.maximum(at, np.minimum(near, limits)), np.where(limits > 0.0, 0.0, near))


def probes(point: Array, reaches: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """(A tenth of every reach away, upward where there is room; a hundredth, on the other side if it has a tenth)."""
    step = TOLERANCES.nearby * reaches
    away = np.where(point + step <= upper, point + step, np.maximum(point - step, lower))
    back = 2.0 * point - away
    return away, point + TOLERANCES.nearby * (np.where((back >= lower) & (back <= upper), back, away) - point)


def _symmetric(triangle: sparse.csr_array) -> sparse.csr_array:
    part = triangle.tocoo()
    off = part.row != part.col
    at = np.concatenate([part.row, part.col[off]]), np.concatenate([part.col, part.row[off]])
    return _sizes(sparse.csr_array((np.concatenate([part.data, part.data[off]]), at), shape=triangle.shape))


def _sizes(matrix: sparse.csr_array) -> sparse.csr_array:
    """Absolute values; what is not finite, or too small to divide by, says nothing."""
    sizes = np.abs(matrix.data)
    return with_data(matrix, np.where(np.isfinite(sizes) & (sizes > _TINY), sizes, 0.0))


def _without_rounding(
    rows: sparse.csr_array, bends: sparse.csr_array, units: Array
) -> tuple[sparse.csr_array, sparse.csr_array, Array]:
    """(rows, bends, Σ rows/units) without entries that cancelled but for rounding.

    Over the step after which curvature alone changes a row by its unit, such an entry is nothing.
    """
    bent = bends.diagonal()
    steps = np.where(bent > 0.0, 1.0 / np.sqrt(np.where(bent > 0.0, bent, 1.0)), np.inf)
    with np.errstate(invalid="ignore"):  # 0 · ∞: a 0 stays one
        felt = rows.data / units[row_of(rows)] * steps[rows.indices] > TOLERANCES.noise
        mixed = bends.data * steps[row_of(bends)] * steps[bends.indices] > TOLERANCES.noise
    rows, bends = with_data(rows, rows.data * felt), with_data(bends, bends.data * mixed)
    return rows, bends, np.asarray(rows.T @ (1.0 / units)).ravel()


def _largest(slopes: sparse.csr_array, steps: Array) -> Array:
    """(rows) max_j slope_ij · step_j."""
    with np.errstate(over="ignore"):  # at a point that ran away
        return largest_by_row(slopes.data * steps[slopes.indices], slopes.indptr)


def _completed(
    known: Array,
    boxed: Array,
    turns: Array,
    alone: Array,
    rows: sparse.csr_array,
    bends: sparse.csr_array,
    slopes: Array,
    missing: Any = 0.0,
    *,
    by_size: bool = True,
) -> Array:
    """Reaches of variables without one, or (unless ``by_size``) with one that is nothing beside what functions say.

    0 where nothing says any. missing: (rows) what they have to be changed by at least.
    """
    balances = sparse.csr_array(sparse.vstack([rows, bends]))
    own = np.concatenate([known[rows.indices], np.zeros(bends.nnz)])
    floor = np.concatenate([np.zeros(rows.shape[0]) + missing, slopes])
    reaches = known.copy()
    for _ in range(_SWEEPS):
        median, least = _told(balances, floor, reaches, own)
        median = np.where(alone > TOLERANCES.nothing * median, alone, np.minimum(median, turns))
        # By the least step: what a function hardly weighs (a rare observation) asks one row for a step of any size.
        unknown = (known == 0.0) | (~boxed & (known <= TOLERANCES.margin * least) & (not by_size))
        reaches = np.where(unknown, median, known)
    bent = np.isfinite(turns)
    least = np.where(boxed & (reaches > 0.0), reaches, np.where(bent, turns, 0.0))
    return np.where(reaches > _LEAST * np.where(bent, turns, 1.0), reaches, least)


def _turns(bends: Array) -> Array:
    """The step after which curvature alone changes the rows by what other variables change them; ∞ without any."""
    return np.where(bends > 0.0, 1.0 / np.sqrt(np.where(bends > 0.0, bends, 1.0)), np.inf)


def _told(balances: sparse.csr_array, floor: Array, reaches: Array, own: Array) -> tuple[Array, Array]:
    """Per variable the lower median and the least over its rows of (the row's change otherwise) / (its coefficient).

    own: (entries) a step of this size tells the least nothing: the variable itself makes the largest change of the row.
    """
    most = np.maximum(_largest(balances, reaches), floor)[row_of(balances)]
    use = (balances.data > 0.0) & (most > 0.0)
    column, step = balances.indices[use], most[use] / balances.data[use]
    others = step > (1.0 + TOLERANCES.noise) * own[use]
    least = np.full(len(reaches), np.inf)
    np.minimum.at(least, column[others], step[others])
    order = np.lexsort((step, column))
    column, step = column[order], step[order]
    counts = np.bincount(column, minlength=len(reaches))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    middle = first + np.maximum(counts - 1, 0) // 2
    median = np.where(counts > 0, step[np.minimum(middle, max(len(step) - 1, 0))] if len(step) else 0.0, 0.0)
    return median, np.where(np.isfinite(least), least, 0.0)
