"""Hedging: the leader's plan by progressive hedging, bundle by bundle, on mpi-sppy and as many processes as MPI gives.

Every bundle b of :mod:`stackpyomo.plans.decomposition.partition` has a copy x_b of what all share. With F_b(x) its
least cost, iteration k is

    x_b ← argmin F_b(x) + w_b·x + Σ ρ_i (x_i − x̄_i)²/2,     x̄ ← mean of x_b,     w_b ← w_b + ρ (x_b − x̄)

(Rockafellar and Wets, Math. Oper. Res. 16 (1991) 119–147). mpi-sppy (Knueven, Mildebrath, Muir, Siirola, Watson and
Woodruff, Math. Program. Comput. 15 (2023) 591–619) shares the bundles out among the ranks, averages, updates and stops;
a bundle is solved by this package's own solvers. What is shared, held at x̄, gives a plan; without the quadratic terms
the same bundles give a lower bound, since Σ w_b = 0.

    mpiexec -n 2 python -m mpi4py plan.py

runs the same script twice, and every rank gets the whole plan; with ``-m mpi4py`` a rank that dies ends the others.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array, require_positive, require_whole
from stackpyomo.errors import SolverNotAvailable, StackpyomoError
from stackpyomo.solvers import solve

from .partition import Partition
from .subproblem import Copy

_ROOT = "ROOT"  # mpi-sppy's name of the stage that holds what is shared.
_ADAPTED = 100  # Iterations in which ρ is adapted; from then on it is fixed, as the proof of convergence wants it.
_UNEVEN = 10.0  # How many times as much one residual may be as the other before ρ changes.
_STEP = 4.0  # The most by which one adaptation changes ρ, as a factor.
_REACH = 1000.0  # The most by which all of them change it.
_CHECKED = 5  # Every so many iterations plan and bound are looked at, and ρ.


@dataclass(frozen=True)
class Hedging:
    """Progressive hedging on mpi-sppy, for ``engine=`` of :func:`leader_optimal`; "mpi-sppy" is ``Hedging()``.

    More bundles need less memory in the solver, and more iterations. It stops after ``iterations``, or where plan and
    bound are within ``tolerance`` (where nothing is proved convex: where the copies are that close to each other, and
    their average stands that still). Every rank builds the user's whole model, and the problems of its own bundles
    only.

    Raises
    ------
    InvalidGame
        Numbers make no sense.
    """

    bundles: int | None = None  #: Into how many bundles the followers are cut; None: the number of ranks, at least 2.
    iterations: int = 200  #: After how many iterations it stops at the latest.
    #: The gap between plan and bound at which it stops, relative to what one variable changes J0 by over its reach.
    tolerance: float = TOLERANCES.stationarity

    def __post_init__(self) -> None:
        if self.bundles is not None:
            require_whole("bundles", self.bundles)
        require_whole("iterations", self.iterations)
        require_positive("tolerance", self.tolerance)


class Team:
    """The ranks that work together; one alone without mpi4py."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.size, self.rank = int(comm.Get_size()), int(comm.Get_rank())

    def all(self, value: Any) -> list[Any]:
        """Every rank's value, on every rank."""
        return list(self.comm.bcast(self.comm.gather(value, root=0), root=0))

    def sum(self, value: Any) -> Any:
        """The sum over the ranks, the same to the last bit on all of them."""
        return sum(self.all(value))

    def most(self, value: float) -> float:
        """The largest of the ranks' numbers, NaN if one is."""
        return float(np.max(self.all(value)))


def team(tee: bool = False) -> Team:
    """Everybody whom ``mpiexec`` started. Raises :class:`SolverNotAvailable` without mpi-sppy, or a broken MPI."""
    try:
        with _quiet(tee):
            import mpisppy.MPI
            import mpisppy.opt.ph
    except ImportError:
        raise SolverNotAvailable(
            "engine='mpi-sppy': not installed. Install it with: pip install \"stackpyomo[mpi]\"."
        ) from None
    except RuntimeError as error:  # mpi4py is here, and no MPI library that it could load
        raise SolverNotAvailable(
            f"engine='mpi-sppy': mpi4py does not start ({error}). Install an MPI library (Open MPI, MPICH, or "
            "pip install mpich), or uninstall mpi4py to work in one process."
        ) from None
    return Team(mpisppy.MPI.COMM_WORLD)


def _quiet(tee: bool) -> Any:
    """mpi-sppy prints; it is heard only if somebody asks."""
    return contextlib.nullcontext() if tee else contextlib.redirect_stdout(io.StringIO())


@dataclass
class Answer:
    """A point of all bundles that agrees on what is shared; ``points`` are this rank's."""

    cost: float = math.inf
    feasibility: float = math.inf
    points: dict[str, Array] = field(default_factory=dict)
    scale: float = 1.0  #: How much the cost changes over the reach of one variable.

    @property
    def is_feasible(self) -> bool:
        """True if no row or bound is violated by more than the tolerance."""
        return self.feasibility <= TOLERANCES.feasibility

    def beats(self, other: Answer) -> bool:
        """Feasible before infeasible, then the lower cost, or the smaller violation."""
        if self.is_feasible != other.is_feasible:
            return self.is_feasible
        return self.cost < other.cost if self.is_feasible else self.feasibility < other.feasibility


class Run:
    """One hedging of a partition: this rank's copies, the best plan and bound so far, and the log.

    ``stopped``: "converged" (see :class:`Hedging`), "trouble" (a solve failed), "" (a limit).
    """

    def __init__(
        self, partition: Partition, engine: Hedging, team: Team, solver: str, limit: float | None, tee: bool
    ) -> None:
        self.partition, self.engine, self.team, self.solver, self.tee = partition, engine, team, solver, tee
        self.began, self.limit = time.perf_counter(), limit
        self.copies: dict[str, Copy] = {}
        self.best, self.bound = Answer(), -math.inf
        self.log: list[dict[str, Any]] = []
        self.iteration = self.checked = 0
        self.stopped = ""
        self.convex = self.bounded = False
        self._rest = partition.rest()
        self.failure: StackpyomoError | None = None
        self._last, self._scaled, self._strict_from = np.zeros(0), 1.0, 0

    def hedge(self) -> None:
        """Iterate until plan and bound meet, or a limit is reached; then look at the last plan once more."""
        import mpisppy.opt.ph

        names = [f"bundle{number}" for number in range(self.partition.count)]
        options = {
            "solver_name": self.solver,
            "PHIterLimit": self.engine.iterations,
            "defaultPHrho": 1.0,
            "convthresh": 0.0,
            "verbose": False,
            "display_progress": False,
            "toc": False,
            "time_limit": self.limit,
        }
        with _quiet(self.tee):
            ph = mpisppy.opt.ph.PH(options, names, self._scenario, mpicomm=self.team.comm, ph_converger=self._converger)
            for failure in self.team.all(self.failure):
                if failure is not None:
                    raise failure
            ph._create_solvers, ph.solve_one = self._create_solvers, self._solve_one
            ph.PH_Prep()
            self._start(ph)
            ph.Iter0()
            ph.iterk_loop()
            if self.stopped != "trouble" and self.checked != self.iteration:
                self.log[-1].update(self._check(ph))

    # --- what mpi-sppy calls ------------------------------------------------------------------------------------------

    def _scenario(self, name: str) -> Any:
        """A bundle as mpi-sppy sees it: what is shared, no more."""
        from mpisppy.utils.sputils import attach_root_node

        try:
            self.copies[name] = Copy(self.partition, int(name.removeprefix("bundle")), self.solver, self.tee)
        except StackpyomoError as error:  # told to all ranks, which wait for this one
            self.failure = error
        model = pyo.ConcreteModel(name=name)
        model.x = pyo.Var(range(max(1, len(self.partition.first))), initialize=0.0)  # mpi-sppy wants one at least
        model.cost = pyo.Objective(expr=0.0)
        attach_root_node(model, 0.0, [model.x])
        model._mpisppy_probability = 1.0 / self.partition.count
        model._solver_plugin = SimpleNamespace()
        return model

    def _create_solvers(self, *_: Any, **__: Any) -> None:
        """The copies solve themselves."""

    def _solve_one(self, _options: Any, name: str, scenario: Any, **_: Any) -> float:
        """In the place of mpi-sppy's: one proximal step of a bundle, in the first iteration too."""
        began = time.perf_counter()
        model, data, copy = scenario._mpisppy_model, scenario._mpisppy_data, self.copies[name]
        left = None if self.limit is None else max(self.limit - (began - self.began), 1.0)
        w, rho, center = (_numbers(part, len(copy.x)) for part in (model.W, model.rho, model.xbars))
        copy.move(w, rho, center, left)
        for var, value in zip(data.nonant_indices.values(), copy.x.tolist() or [0.0], strict=True):
            var._value = value
        data.solution_available, data.outer_bound, data.inner_bound = True, -math.inf, math.inf
        return time.perf_counter() - began

    def _converger(self, ph: Any) -> Any:
        """An object that mpi-sppy asks after the average and the weights of an iteration, before the next solves."""
        return SimpleNamespace(is_converged=lambda: self._look(ph))

    # --- the iterations -----------------------------------------------------------------------------------------------

    def _start(self, ph: Any) -> None:
        """Centers where the model's values are; ρ half of the largest curvature that any F_b has there."""
        self.convex = all(self.team.all(all(copy.is_convex() for copy in self.copies.values())))
        contents = self._contents({name: copy.point for name, copy in self.copies.items()})
        bent = np.max(
            [part for rank in self.team.all([c.curvature() for c in self.copies.values()]) for part in rank], 0
        )
        reaches = [copy.reaches(copy.point)[copy.columns] for copy in self.copies.values()]
        self._reaches = np.max([part for rank in self.team.all(reaches) for part in rank], 0)
        known = bent > TOLERANCES.noise
        self._set_rho(ph, np.where(known, bent, np.median(bent[known]) if known.any() else 1.0) / 2.0)
        self.bounded = all(self.team.all(all(copy.is_bounded for copy in self.copies.values())))
        first = next(iter(self.copies.values())).x
        self._last = np.array([contents.get(place, value) for place, value in enumerate(first.tolist())])
        for scenario in ph.local_scenarios.values():
            for place, value in enumerate(self._last.tolist()):
                scenario._mpisppy_model.xbars[_ROOT, place]._value = value

    def _contents(self, points: dict[str, Array]) -> dict[int, float]:
        """Place of each link → what its bundle puts into it."""
        parts = [self.copies[name].contents(point) for name, point in points.items()]
        return {place: value for rank in self.team.all(parts) for part in rank for place, value in part.items()}

    def _look(self, ph: Any) -> bool:
        """Log the iteration; check plan and bound when it is time; adapt ρ; True to stop."""
        self.iteration += 1
        shared = self._common(ph)
        apart = [np.abs(copy.x - shared) / self._reaches for copy in self.copies.values()]
        consensus = self.team.most(max((float(a.max(initial=0.0)) for a in apart), default=0.0))
        moved = float((np.abs(shared - self._last) / self._reaches).max(initial=0.0))
        row: dict[str, Any] = {
            "iteration": self.iteration,
            "solver": self.solver,
            "consensus": consensus,
            "moved": moved,
        }
        self.log.append(row)
        if any(self.team.all(any(copy.trouble is not None for copy in self.copies.values()))):
            self.stopped = "trouble"
        else:
            near = max(consensus, moved) <= self.engine.tolerance
            if near or self.iteration % _CHECKED == 0:
                row.update(self._check(ph))
                self.stopped = "converged" if self._is_closed() or (near and not self.convex) else ""
            if self.iteration <= _ADAPTED and self.iteration % _CHECKED == 0:
                self._adapt(ph, shared)
            self._last = shared
        row["seconds"] = round(time.perf_counter() - self.began, 6)
        return bool(self.stopped)

    def _common(self, ph: Any, name: str = "xbars") -> Array:
        """The average or the ρ, which are the same in all bundles."""
        model = next(iter(ph.local_scenarios.values()))._mpisppy_model
        return _numbers(getattr(model, name), len(self.partition.first))

    def _is_closed(self) -> bool:
        near = self.engine.tolerance * self.best.scale
        return self.best.is_feasible and self.best.cost - self.bound <= near

    def _adapt(self, ph: Any, shared: Array) -> None:
        """More ρ where the copies stay apart while their average stands still, less where it runs.

        Compared are √(Σ_b Σ_i ρ_i (x_bi − x̄_i)²) and √(count · Σ_i ρ_i Δx̄_i²), the residuals that He, Yang and Wang
        balance (J. Optim. Theory Appl. 106 (2000) 337–356); what is changed is one factor of all ρ.
        """
        rho = self._common(ph, "rho")
        apart = math.sqrt(self.team.sum(sum(float(rho @ (c.x - shared) ** 2) for c in self.copies.values())))
        moved = math.sqrt(self.partition.count * float(rho @ (shared - self._last) ** 2))
        if apart > _UNEVEN * moved or moved > _UNEVEN * apart:
            factor = min(max(math.sqrt(apart / moved), 1.0 / _STEP), _STEP) if moved > 0.0 else _STEP
            scaled = min(max(self._scaled * factor, 1.0 / _REACH), _REACH)
            self._set_rho(ph, rho * (scaled / self._scaled))
            self._scaled = scaled

    def _set_rho(self, ph: Any, rho: Array) -> None:
        """The same ρ for all bundles: else the weights would not add up to 0."""
        for scenario in ph.local_scenarios.values():
            for place, value in enumerate(rho.tolist()):
                scenario._mpisppy_model.rho[_ROOT, place] = value

    # --- plan and bound -----------------------------------------------------------------------------------------------

    def _check(self, ph: Any) -> dict[str, Any]:
        """The plan at the average and the bound at the weights; the best of both are kept."""
        self.checked = self.iteration
        answer = self._answer(self._common(ph), exact=False)
        if not answer.is_feasible and self.iteration >= min(self._strict_from, self.engine.iterations):
            # Links that miss their values a little may add up to too much. To ask them to meet these is worth a try,
            # less and less often: some cannot, and a solver takes long to find that out.
            strict = self._answer(self._common(ph), exact=True)
            self._strict_from = 0 if strict.is_feasible else 2 * self.iteration
            answer = strict if strict.beats(answer) else answer
        if answer.beats(self.best):
            self.best = answer
        sign = self.partition.game.leader.sign
        row: dict[str, Any] = {"objective": sign * answer.cost if answer.is_feasible else None}
        if self.convex:
            bound = self._bound(ph, answer)
            if self.bounded and math.isfinite(bound):
                self.bound = max(self.bound, bound)
            elif answer is self.best:  # a bound that reaches so far around this plan, and no other
                self.bound = bound
            row["bound"] = sign * bound if math.isfinite(bound) else None
        return row

    def _answer(self, shared: Array, exact: bool) -> Answer:
        """Every bundle's best point where what is shared is held there; links and aggregates as they come out."""
        points = {name: copy.settled(shared, exact) for name, copy in self.copies.items()}
        answer = shared.copy()
        for place, value in self._contents(points).items():
            answer[place] = value
        answer = self.team.all(self._finished(answer))[0]
        points = {name: self.copies[name].completed(point, answer) for name, point in points.items()}
        seen = [self.copies[name].measured(point) for name, point in points.items()]
        costs, violations, scales = zip(*seen, strict=True)
        cost = self.team.sum(sum(costs)) / self.partition.count
        scale = self.team.most(max(scales)) / self.partition.count
        return Answer(float(cost), self.team.most(max(violations)), points, scale if scale > 0.0 else 1.0)

    def _finished(self, shared: Array) -> Array:
        """What is shared, with the leader's best answer to it in what no bundle feels (a capacity, say)."""
        if self._rest is None:
            return shared
        program, free = self._rest
        value = {id(v): x for v, x in zip(self.partition.first, shared.tolist(), strict=True)}
        levels = [np.nan if id(v) in free else value[id(v)] for v in program.variables]
        lower, upper = (np.where(np.isnan(levels), side, levels) for side in program.bounds)
        start = np.clip([value.get(id(v), 0.0) for v in program.variables], lower, upper)
        solution = solve(program.variant(start, bounds=(lower, upper)), self.solver)
        if solution.answer is not None:
            value.update((id(v), x) for v, x in zip(program.variables, solution.answer.tolist(), strict=True))
        return np.array([value[id(v)] for v in self.partition.first])

    def _bound(self, ph: Any, answer: Answer) -> float:
        """Σ_b min (F_b(x) + w_b·x) / count: with Σ_b w_b = 0 no plan costs less, if every F_b is convex."""
        weights = {n: _numbers(s._mpisppy_model.W, len(self.partition.first)) for n, s in ph.local_scenarios.items()}
        rest = self.team.sum(sum(weights.values())) / self.partition.count  # of rounding
        parts = [self.copies[name].least(w - rest, answer.points[name]) for name, w in weights.items()]
        return float(self.team.sum(sum(parts))) / self.partition.count


def _numbers(parameter: Any, size: int) -> Array:
    """The first values of an indexed Param of mpi-sppy's, in the order of what is shared."""
    return np.array([pyo.value(parameter[_ROOT, place]) for place in range(size)], dtype=float)
