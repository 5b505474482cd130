"""Programs: one optimisation problem over borrowed Vars, written once as .nl, evaluated and solved from there.

A Program is a new Pyomo model whose rows and objective refer to the user's Vars; the user's model is not touched.
POUNCE's reader gives values, Jacobian and Hessian of anything Pyomo's own NL writer can write, so the residuals of
an answer are computed here, whoever found it.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.core.base.var import VarData
from pyomo.core.expr.numeric_expr import ExternalFunctionExpression
from pyomo.core.expr.visitor import identify_variables
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, Pattern, Scales, bounds_of, limits_of, prefix, scales, timed
from stackpyomo.core.expressions import apart, nodes_in, number_of, roots, substituting
from stackpyomo.errors import InvalidGame

from .certificates import Residuals, least_nonnegative, split_force, steps_at, violations, weights_of_slopes
from .library import pounce
from .nl_file import Nothing, UndefinedValue, rewritten, without_limits, write_nl
from .parts import copies_between, free_row, with_loosest


class BadRow(Exception):
    """A row that cannot be written: ``row`` is its number among the rows given, None the objective.

    ``contradiction``: it holds no variable and lies outside its bounds. Otherwise it holds a number that is not finite.
    """

    def __init__(self, row: int | None, *, contradiction: bool) -> None:
        self.row, self.contradiction = row, contradiction
        self.reason = (
            "all its variables are fixed and it does not hold. Unfix one or correct it."
            if contradiction
            else "its data do not come to finite numbers (a division by 0, a logarithm of a negative?). Correct them."
        )
        super().__init__(self.reason)


class Program:
    """min ``objective`` subject to ``constraints`` (Pyomo relations or ConstraintData); negate what is maximised.

    ``sets``: pairs of Vars of which at most one is not 0, for solvers that take such sets.

    ``variables`` and ``rows`` (numbers of the given constraints) are in the order of the .nl file. Raises
    :class:`BadRow` for a constraint that holds no variable and is violated, and for data that are not finite.
    """

    def __init__(
        self,
        objective: Any,
        constraints: Sequence[Any] = (),
        *,
        sets: Sequence[tuple[Any, Any]] = (),
        seconds: dict[str, float] | None = None,
    ) -> None:
        self.seconds = seconds if seconds is not None else {}
        with timed(self.seconds, "build"):
            self.model = pyo.ConcreteModel(name="program")
            self.model.objective = pyo.Objective(expr=objective)
            given = [getattr(c, "expr", c) for c in constraints]
            for row, relation in enumerate(given):
                if isinstance(relation, (bool, np.bool_)):  # of constants: settled before it is a row
                    if not relation:
                        raise BadRow(row, contradiction=True)
                    given[row] = pyo.Constraint.Feasible
            self.model.rows = pyo.Constraint(range(len(given)), rule=lambda _, i: given[i])
        with timed(self.seconds, "write"):
            self._write()
        # What neither cost nor rows hold may as well be 0 and leaves the other free; Pyomo's writers fail at it.
        written = {id(v) for v in self.variables}
        self.sets = [pair for pair in sets if all(id(v) in written for v in pair)]
        _add_sets(self.model, self.sets)

    def _write(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix=prefix()))
        # An NlProblem goes on reading its file: the folder lives as long as this object, and no file is used twice.
        self._finalizer = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = folder / "program.nl"
        self._variants = itertools.count()
        self.start: Array | None = None
        self.first: Program | None = None  #: Of a variant with other bounds or limits the program itself.
        self.written: Program | None = None  #: Of any variant the program that has an .nl text of its own.
        self.kept: dict[str, Any] = {}  # what is worked out once for this program and all its variants
        try:
            info = write_nl(self.model, self.path)
        except InfeasibleConstraintException:
            raise BadRow(self._contradiction(), contradiction=True) from None
        except UndefinedValue:
            raise BadRow(self._undefined(), contradiction=False) from None
        self.variables: list[VarData] = list(info.variables)
        kept = info.constraints if self.variables else []
        self.rows = np.array([c.index() for c in kept], dtype=int)
        self.libraries: list[str] = list(info.external_function_libraries)

    def _contradiction(self) -> int | None:
        for index, row in self.model.rows.items():
            if next(identify_variables(row.body, include_fixed=False), None) is None:
                body = number_of(row.body)
                lower, upper = row.lb, row.ub
                if (lower is not None and body < lower) or (upper is not None and body > upper):
                    return int(index)
        return None

    def _undefined(self) -> int | None:
        """The first row that cannot be written by itself, None if it is the objective."""
        for index, row in self.model.rows.items():
            alone = pyo.ConcreteModel()
            alone.objective = pyo.Objective(expr=0.0)
            alone.row = pyo.Constraint(expr=row.expr)
            try:
                write_nl(alone, self.path)
            except InfeasibleConstraintException:
                continue
            except UndefinedValue:
                return int(index)
        return None

    @cached_property
    def problem(self) -> Any:
        """The evaluable problem: objective, gradient, constraints, jacobian, hessian at any point."""
        if not self.variables:
            return Nothing(self._constant())
        try:
            return pounce.read_nl(str(self.path))
        except ValueError as error:
            raise InvalidGame(
                f"{self._external()}: an external function that cannot be evaluated here ({error}). "
                "Write it as an expression."
            ) from None

    def _constant(self) -> float:
        """The objective of a program without variables, as written: a Var with a weight of 0 needs no value."""
        segment = re.search(rb"^O0 0\nn(\S+)", self._text, re.M)
        return math.nan if segment is None else float(segment[1])

    def _external(self) -> str:
        """The name of an external function of the program."""
        bodies = [self.model.objective.expr, *(row.body for row in self.model.rows.values())]
        functions = (node for node in nodes_in(*bodies) if isinstance(node, ExternalFunctionExpression))
        return next((str(node.getname()) for node in functions), "the problem")

    @property
    def _text(self) -> bytes:
        """What was written, of a variant the program's: its functions are the same."""
        return (self.written or self).path.read_bytes()

    @property
    def objective_columns(self) -> Array:
        """Numbers of the variables that the objective holds: the G segment of the .nl file."""
        segment = re.search(rb"^G0 \d+[^\n]*\n((?:\d+ [^\n]*\n)*)", self._text, re.M)
        return np.array([int(line.split()[0]) for line in segment[1].splitlines()] if segment else [], dtype=int)

    @property
    def curved_rows(self) -> int:
        """How many rows are not affine: of the .nl file's header."""
        return int(self._text.splitlines()[2].split()[0]) if self.variables else 0

    @property
    def takes_roots(self) -> bool:
        """True if a square root or a power that is no whole number may stand in it: operators 39 and 5 of .nl files."""
        return re.search(rb"^o39$|^o5$(?!\nv\d+\nn[2-9]$)", self._text, re.M) is not None

    @property
    def is_linear(self) -> bool:
        """True if neither the objective nor any row is curved."""
        return not self.variables or self.problem.nnz_hess == 0

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Variable bounds, ±inf where there is none."""
        return without_limits(self.problem.x_l), without_limits(self.problem.x_u)

    @cached_property
    def row_bounds(self) -> tuple[Array, Array]:
        """Row bounds, ±inf where there is none."""
        return without_limits(self.problem.g_l), without_limits(self.problem.g_u)

    def within_rows(self, bounds: tuple[Array, Array], costs: Array | None = None) -> tuple[Array, Array]:
        """The bounds, and where there is none, the loosest that a linear row of that variable alone gives.

        The tightest may leave nothing, and an equation does: neither says anything of a size. costs: (rows) which
        bound nothing: they are costs, say.
        """
        rows, columns, slopes = self._alone
        floor, ceiling = (side[rows] for side in self.row_bounds)
        used = (floor < ceiling) & (True if costs is None else ~costs[rows])
        with np.errstate(invalid="ignore"):
            ends = np.sort(np.stack([floor / slopes, ceiling / slopes]), axis=0)
        return with_loosest(bounds, columns[used], ends[:, used])

    @property
    def _alone(self) -> tuple[Array, Array, Array]:
        """(number, its variable, its slope) of every linear row of one variable; an .nl file has curved ones first."""
        if "alone" not in self.kept:
            rows, columns = (np.asarray(part, dtype=int) for part in self.problem.jacobian_structure())
            single = (np.bincount(rows, minlength=self.problem.m)[rows] == 1) & (rows >= self.curved_rows)
            slopes = np.asarray(self.problem.jacobian(np.zeros(self.problem.n)))[single]
            used = slopes != 0.0
            self.kept["alone"] = rows[single][used], columns[single][used], slopes[used]
        return self.kept["alone"]  # type: ignore[no-any-return]

    def jacobian(self, x: Array) -> sparse.csr_array:
        """d(rows)/d(variables) at x, (rows × variables)."""
        if "jacobian" not in self.kept:
            rows, columns = self.problem.jacobian_structure()
            self.kept["jacobian"] = Pattern(rows, columns, (self.problem.m, self.problem.n))
        return self.kept["jacobian"].filled(self.problem.jacobian(x))

    def slopes(self, x: Array) -> sparse.csr_array:
        """d(objective, then rows)/d(variables) at x, (1 + rows × variables), the first row without gaps."""
        problem = self.problem
        if "slopes" not in self.kept:
            (rows, columns), every = problem.jacobian_structure(), np.arange(problem.n)
            places = np.append(0 * every, np.asarray(rows) + 1), np.append(every, columns)
            self.kept["slopes"] = Pattern(*places, (1 + problem.m, problem.n))
        numbers = np.append(problem.gradient(x), problem.jacobian(x))
        slopes = self.kept["slopes"].filled(numbers)
        slopes.data[self.at_roots(x)[slopes.indices]] = math.nan
        return slopes

    def at_roots(self, x: Array) -> Array:
        """(variables) whether x takes a root of 0 of them: slopes there are infinite, and 0 in solver libraries."""
        if "roots" not in self.kept:
            self.kept["roots"] = self._roots() if self.takes_roots else None
        taken = np.zeros(len(x), dtype=bool)
        if self.kept["roots"] is not None:
            inner, place = self.kept["roots"]
            at, (rows, columns) = np.where(place < 0, 0.0, x[place]), inner.problem.jacobian_structure()
            numbers = place[columns[(np.asarray(inner.problem.constraints(at)) == inner.row_bounds[1])[rows]]]
            taken[numbers[numbers >= 0]] = True
        return taken

    def _roots(self) -> tuple[Program, Array] | None:
        """(rows r − slack = 0 for all r of which roots are taken, the numbers here of their variables, −1: slack)."""
        bodies = [self.model.objective.expr, *(row.body for row in self.model.rows.values())]
        slack = pyo.Var()
        slack.construct()
        parts = [apart(part) - slack == 0.0 for body in bodies for part in roots(body)]
        if not parts:
            return None
        inner, place = Program(0.0, parts), {id(v): number for number, v in enumerate(self.variables)}
        return inner, np.array([place.get(id(v), -1) for v in inner.variables])

    def variant(
        self,
        start: Array | None = None,
        *,
        bounds: tuple[Array, Array] | None = None,
        row_bounds: tuple[Array, Array] | None = None,
    ) -> Program:
        """The same program with another start, other bounds or other row limits."""
        if start is None and bounds is None and row_bounds is None:
            return self
        other = copy.copy(self)
        for name in ("limited", "path"):
            other.__dict__.pop(name, None)
        other.written = self.written or self
        other.start = self.start if start is None else start
        if bounds is not None or row_bounds is not None:
            other.first = self.first or self
        for name, limits in (("bounds", bounds), ("row_bounds", row_bounds)):
            if limits is not None:
                other.__dict__[name] = limits
        other.__dict__["problem"] = self.problem  # the same functions; the first file stays where it is
        return other

    @cached_property
    def path(self) -> Path:
        """The .nl file, of a variant written once somebody reads it: as it was written first, but for what is other."""
        assert self.written is not None
        limits = None if self.first is None else (self.bounds, self.row_bounds)
        text = rewritten(self._text, self.start, limits)
        path = self.written.path.with_name(f"variant{next(self._variants)}.nl")
        path.write_bytes(text)
        return path

    def discard(self) -> None:
        """Remove the file of a variant that is not needed any more, and the answer beside it."""
        if self.written is not None and (path := self.__dict__.pop("path", None)) is not None:
            for file in (path, path.with_suffix(".sol")):
                file.unlink(missing_ok=True)

    _measured: tuple[tuple[bytes, ...], tuple[Array, Array, float]] | None = None

    @cached_property
    def limited(self) -> tuple[Any, list[VarData]]:
        """(the Pyomo model with the bounds and limits of this variant, its variables), for solvers that read one."""
        if self.first is None:
            return self.model, self.variables
        model = pyo.ConcreteModel(name="variant")
        copies = copies_between(model, self.variables, *self.bounds)
        table = dict(zip(map(id, self.variables), copies, strict=True))
        walk = substituting(table)
        limits = dict(zip(self.rows.tolist(), zip(*self.row_bounds, *self.first.row_bounds, strict=True), strict=True))

        def limited(_: Any, number: int) -> Any:
            """A constant in a body, which the .nl file has in the limits, stays in the body."""
            row, (lower, upper, *known) = self.model.rows[number], limits[number]
            ends = zip(bounds_of(row), known, strict=True)
            shift = next((a - b for a, b in ends if math.isfinite(a) and math.isfinite(b)), 0.0)
            sides = limits_of(lower + shift, upper + shift)
            return pyo.Constraint.Skip if sides == (None, None) else free_row(walk(row.body), *sides).expr

        model.objective = pyo.Objective(expr=walk(self.model.objective.expr))
        model.rows = pyo.Constraint(list(limits), rule=limited)
        _add_sets(model, [(table[id(one)], table[id(other)]) for one, other in self.sets])
        return model, copies

    def levels(self, x: Array) -> dict[int, float]:
        """id(Var) → its level at a point of the program, (variables)."""
        return {id(v): float(level) for v, level in zip(self.variables, x, strict=True)}

    def vector(self, values: Mapping[str, float], names: Mapping[int, str]) -> Array:
        """The point {name: value} in the order of this program's variables."""
        return np.array([values[names[id(v)]] for v in self.variables], dtype=float)

    def units(self, x: Array) -> tuple[Array, Array, float]:
        """Natural units at x (:mod:`stackpyomo.core.scales`), never 0: of the variables, the rows, the objective.

        Those of the last point are kept: they are asked for again and again while it is judged.
        """
        key = (np.asarray(x, dtype=float).tobytes(), *(side.tobytes() for side in (*self.bounds, *self.row_bounds)))
        if self._measured is None or self._measured[0] != key:
            natural = scales_of(self, x)
            changes = natural.of_rows()
            sizes = np.where(changes > 0.0, changes, 1.0)
            self._measured = key, (natural.reaches, sizes[1:], float(sizes[0]))
        return self._measured[1]

    def residuals(self, x: Array, duals: Array | None, units: tuple[Array, Array, float] | None = None) -> Residuals:
        """KKT residuals at x in natural units, with row duals d(objective)/d(rhs); without duals stationarity is NaN.

        A reduced cost or dual belongs to the bound it pushes against: |r| · distance counts as complementarity,
        |r| itself as stationarity where that bound does not exist; the smaller of the two is taken.
        """
        problem, (lower, upper), (floor, ceiling) = self.problem, self.bounds, self.row_bounds
        reaches, sizes, unit = units or self.units(x)
        body = np.asarray(problem.constraints(x)) if problem.m else np.zeros(0)
        outside = violations(body, floor, ceiling) / sizes
        beyond = violations(x, lower, upper) / reaches
        feasibility = float(max(outside.max(initial=0.0), beyond.max(initial=0.0)))
        if duals is None:
            return Residuals(beyond, outside, feasibility)
        reduced = np.asarray(problem.gradient(x)) - self.jacobian(x).T @ duals
        still, slack = split_force(reduced * reaches / unit, x / reaches, lower / reaches, upper / reaches)
        wrong, loose = split_force(duals * sizes / unit, body / sizes, floor / sizes, ceiling / sizes)
        stationarity = float(max(still.max(initial=0.0), wrong.max(initial=0.0)))
        complementarity = float(max(slack.max(initial=0.0), loose.max(initial=0.0)))
        return Residuals(beyond, outside, feasibility, stationarity, complementarity)

    def proved_gaps(self, x: Array, duals: Array, trust: Any, rounding: Any = 0.0) -> tuple[Array, Array]:
        """How much a CONVEX program can still improve on x, by variable and by row (each ≥ 0; the sum bounds it).

        f(z) ≥ f(x) + πᵀ(slack) + r·(z − x) for every feasible z; z ranges over the bounds, and over
        |z − x| ≤ trust · its reach where a variable has none. Every π proves something; what rounding
        leaves of a dual on a side that a row has not is left out. Where x takes a root of 0 (:meth:`at_roots`) nothing
        is proved. rounding: (variables) what a slope r may be off by; one that is no more than that is 0 towards a
        side without a bound, where any step makes something of it.
        """
        problem, (lower, upper), (floor, ceiling) = self.problem, self.bounds, self.row_bounds
        duals = np.where(np.isfinite(np.where(duals > 0, floor, ceiling)), duals, 0.0)
        body = np.asarray(problem.constraints(x)) if problem.m else np.zeros(0)
        reduced = np.asarray(problem.gradient(x)) - self.jacobian(x).T @ duals
        reach = trust * self.units(x)[0]
        reach = np.where(np.abs(reduced) <= rounding, 0.0, reach)
        down = np.where(np.isfinite(lower), x - lower, reach)
        up = np.where(np.isfinite(upper), upper - x, reach)
        with np.errstate(invalid="ignore"):
            gains = np.where(reduced > 0, reduced * down, -reduced * up).clip(min=0.0)
            distance = np.where(duals > 0, body - floor, ceiling - body)
            lost = np.abs(duals) * np.where(duals == 0.0, 0.0, np.maximum(distance, 0.0))
        return np.where(self.at_roots(x), np.inf, gains), lost

    def proved_gap(self, x: Array, duals: Array, trust: float) -> float:
        """The sum of :meth:`proved_gaps`: a convex program's optimum is at most this much better than x."""
        gains, lost = self.proved_gaps(x, duals, trust)
        return float(gains.sum() + lost.sum())

    def snapped(self, x: Array, duals: Array | None) -> tuple[Array, Array]:
        """Put variables an interior-point method left just inside a bound on it, if nothing gets worse by that.

        One with multiplier 0 it leaves √μ away, farther than others: those come first, where the slope lets them.
        """

        units = self.units(x)

        def judged(point: Array) -> tuple[Array, Array]:
            multipliers = self.recovered_duals(point) if duals is None else duals
            residuals = self.residuals(point, multipliers, units).as_dict().values()
            return np.array([*residuals, self.problem.objective(point) / units[2]]), multipliers

        before, multipliers = judged(x)
        slack = TOLERANCES.solver * np.maximum(1.0, np.abs(before))
        for moved in (self._resting(x, duals, units), self._beside(x, TOLERANCES.snap * units[0])):
            after, new = judged(moved)
            if (after <= before + slack).all():
                return moved, new
        return x, multipliers

    def _beside(self, x: Array, room: Array) -> Array:
        """x with what is within this room of a bound on it."""
        lower, upper = self.bounds
        return np.where(np.abs(x - lower) <= room, lower, np.where(np.abs(upper - x) <= room, upper, x))

    def _resting(self, x: Array, duals: Array | None, units: tuple[Array, Array, float]) -> Array:
        """x with what is near a bound on it, but for what the slope there pulls away again and is not that near."""
        lower, upper = self.bounds
        farthest = np.maximum(units[0], steps_at(self, x, duals))
        moved = self._beside(x, TOLERANCES.weak * np.where(np.isfinite(upper - lower), upper - lower, farthest))
        multipliers = self.recovered_duals(moved) if duals is None else duals
        reduced = (np.asarray(self.problem.gradient(moved)) - self.jacobian(moved).T @ multipliers) * units[0]
        room = TOLERANCES.solver * max(units[2], float(np.abs(reduced).max(initial=0.0)))
        stays = ((moved == lower) & (reduced >= -room)) | ((moved == upper) & (reduced <= room))
        return np.where(stays, moved, self._beside(x, TOLERANCES.snap * units[0]))

    def recovered_duals(self, x: Array) -> Array:
        """Row duals for solvers that give none: least squares on stationarity over active rows and bounds."""
        (lower, upper), (floor, ceiling) = self.bounds, self.row_bounds
        body = np.asarray(self.problem.constraints(x)) if self.problem.m else np.zeros(0)
        gradient = np.asarray(self.problem.gradient(x))
        if not (np.isfinite(gradient).all() and np.isfinite(self.jacobian(x).data).all()):
            return np.full(len(body), math.nan)
        point = np.concatenate([body, x])
        low, high = np.concatenate([floor, lower]), np.concatenate([ceiling, upper])
        reaches, sizes, _ = self.units(x)
        near = TOLERANCES.active * np.concatenate([sizes, reaches])
        up, down = point - low <= near, high - point <= near
        normals = sparse.hstack([self.jacobian(x).T, sparse.eye_array(len(x))], format="csc")
        active = np.flatnonzero(up | down)
        # π = p − n with p, n ≥ 0: a row at its lower limit pushes one way only, an equality both ways.
        signed = [*((k, 1.0) for k in active if up[k]), *((k, -1.0) for k in active if down[k])]
        duals = np.zeros(len(point))
        if signed:
            columns, signs = np.array([k for k, _ in signed]), np.array([s for _, s in signed])
            weights = weights_of_slopes(gradient, (up | down)[len(body) :])
            parts = least_nonnegative(weights[:, None] * normals[:, columns] * signs[np.newaxis, :], weights * gradient)
            np.add.at(duals, columns, signs * parts)
        return duals[: len(body)]


def scales_of(
    program: Program,
    x: Array,
    costs: Array | None = None,
    terms: Callable[[Array], Array] | None = None,
    accuracy: float = TOLERANCES.cancelled,
    bounds: tuple[Array, Array] | None = None,
    missing: Array | None = None,
    still: Array | None = None,
) -> Scales:
    """The natural units of a program at x: row 0 is its objective, the others are its rows.

    costs, terms: which of the rows are costs (None: the objective alone), and the terms of their slopes; their slopes
    tell where bounds lie far out, and ``accuracy`` is how well x is known, in reaches. bounds: None: the program's,
    within its rows. missing (rows, the objective first), still: as :func:`scales` takes them.
    """
    problem = program.problem

    def curvature(point: Array, weights: Array) -> sparse.csr_array:
        data = np.asarray(problem.hessian(point, weights[1:], weights[0]))
        return sparse.csr_array((data, problem.hessian_structure()), shape=(len(x), len(x)))

    telling = np.arange(1 + problem.m) == 0 if costs is None else np.append(False, costs)

    def terms_of_costs(_: Array) -> Array:
        """|H| |x| + |∇f − H x|: what the slopes are made of as far as they are affine."""
        triangle = curvature(x, telling * 1.0)
        whole = triangle + triangle.T - sparse.diags_array(triangle.diagonal())
        return np.asarray(abs(whole) @ np.abs(x) + np.abs(program.slopes(x).T @ (telling * 1.0) - whole @ x))

    lower, upper = bounds or program.within_rows(program.bounds, costs)
    counted = None if costs is None else telling
    of_slopes = terms or terms_of_costs
    return scales(x, lower, upper, program.slopes, curvature, counted, of_slopes, telling, accuracy, missing, still)


def _add_sets(model: Any, sets: Sequence[tuple[Any, Any]]) -> None:
    if sets:
        model.one_of = pyo.SOSConstraint(range(len(sets)), rule=lambda _, i: list(sets[i]), sos=1)
