"""Verdicts: what a re-solve of every follower showed, which evidence stands behind it, and what may help.

Summary: the report of followers who have been re-solved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from stackpyomo.core import (
    SHOWN,
    Document,
    Part,
    Table,
    as_text,
    fields_from_json,
    fields_to_json,
    floats,
    json_number,
    limits_read,
    listed,
    plain,
    readable,
    real,
    shown,
    writable,
)
from stackpyomo.games import Game, indexed
from stackpyomo.games.information import Announcement, Equilibrium, Uniqueness, policy_form

from .best_response import Composed
from .effort import PROVED, Unsettled
from .many import Row

_BY_FOLLOWER = ("objective", "regret", "certificate", "note", "scale")  # Series, of which JSON has a row for each.
#: Fields that JSON has in another form, or not at all.
_WRITTEN_APART = (*_BY_FOLLOWER, "best_response", "reach", "equilibrium", "price_checks", "subject")


class Subject(Protocol):
    """What can be verified: a plan or a strategy."""

    @property
    def announcement(self) -> Announcement:
        """What the leader announces."""

    def attached(self) -> Game:
        """The game it is about."""


@dataclass(frozen=True)
class PriceCheck:
    """What a re-solve showed of one price."""

    follower: str
    gap: float  #: In the unit of the follower's objective, for all its prices together; NaN: unknown.
    scale: float  #: What the gap is small against.
    certificate: str  #: The evidence, as of a regret.
    uplift: bool  #: True if the market has integer actions: no price need clear it.

    def is_refuted(self, tolerance: float) -> bool:
        """True if it is shown to be no multiplier, where there is one."""
        return not self.uplift and self.gap > tolerance * self.scale

    @property
    def is_unknown(self) -> bool:
        """True if nothing was shown of it, where it should clear its market."""
        return not self.uplift and math.isnan(self.gap)


@dataclass(eq=False)
class Report(Document):
    """What every follower could gain by leaving the plan, from one re-solve each.

    ``certificate`` says which evidence stands behind a regret: "convex" (proof), "global" (a global solver's bound),
    "multistart" (a search, no proof), "unknown" (the re-solve failed, its regret is NaN).
    """

    regret: pd.Series  #: follower name → max(0, J_k(plan) − best), as a cost, in J_k's unit.
    certificate: pd.Series  #: follower name → the evidence, see above.
    best_response: dict[str, dict[str, float]] = field(repr=False)  #: follower name → variable name → best value.
    objective: pd.Series = field(repr=False)  #: follower name → J_k at the plan, in its own sense.
    leader_objective: float  #: J0 at the plan, in the leader's sense.
    tolerance: float  #: The largest regret that is within rounding, relative to ``scale``.
    note: pd.Series = field(repr=False)  #: follower name → what went wrong or is worth knowing; may be empty.
    #: How fast each follower's objective changes near the plan in what its best response moves: what ``tolerance`` is
    #: relative to.
    scale: pd.Series = field(repr=False)
    seconds: dict[str, float] = field(default_factory=dict, repr=False)  #: part of the work → seconds.
    solver: str = ""  #: The solver of the re-solves.
    #: Whether the followers' equilibrium under the strategy is the only one, and why.
    equilibrium: Equilibrium = field(default_factory=Equilibrium)
    epsilon0: float = math.nan  #: Proved gap of the plan to the leader's optimum; NaN: none was proved.
    #: Which leader variables the announced formula takes beyond their bounds, and how far; what else is doubtful of the
    #: game itself, as decisions that know more than their observation tells.
    warnings: list[str] = field(default_factory=list)
    #: Of these, who was stopped at its bounds in the re-solves, although no projection was announced.
    cut: tuple[str, ...] = ()
    responding: tuple[str, ...] = ()  #: Followers who respond in the plan.
    others: int = 0  #: How many followers were not looked at.
    #: The options of the re-solve: solver, starts, certify.
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    #: follower that decides by policies → the functions among which its deviations were looked for.
    forms: dict[str, str] = field(default_factory=dict)
    #: follower with the certificate "multistart" → variable name → (lowest, highest) value that was looked at.
    reach: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict, repr=False)
    #: Of these, whose set is unbounded: a search reaches only so far, and verifies nobody there.
    endless: tuple[str, ...] = ()
    #: follower whose re-solve showed nothing → why, in a word: "unbounded", "unconfirmed", "stopped", "other".
    unsettled: dict[str, str] = field(default_factory=dict)
    #: price → what a re-solve without its row, which is paid for instead, showed of it.
    price_checks: dict[str, PriceCheck] = field(default_factory=dict, repr=False)
    subject: Subject | None = field(default=None, repr=False)  #: What was verified; not part of the data.

    @property
    def prices(self) -> pd.Series:
        """How much better each price's market would do without its priced rows, paid for at these prices.

        0 where they are multipliers; the uplift of a market with integer actions; infinite for one of the wrong sign.
        """
        return pd.Series({name: check.gap for name, check in self.price_checks.items()}, dtype=float, name="prices")

    @property
    def unique(self) -> bool | None:
        """True: proved to be the only equilibrium under the strategy; False: proved not to be; None: neither."""
        return {Uniqueness.UNIQUE: True, Uniqueness.NOT_UNIQUE: False}.get(self.equilibrium.uniqueness)

    @property
    def uniqueness(self) -> str:
        """:attr:`equilibrium` in words; empty: not looked at."""
        return str(self.equilibrium)

    @property
    def remarks(self) -> list[str]:
        """What ε and ε₀ say, and a warning where the followers may settle elsewhere."""
        verdict = self.vocabulary[:1].upper() + self.vocabulary[1:]
        verdict = f"{verdict} {self._limited()}".rstrip()
        if not self.ok:
            return [verdict, *self.advice, *self.warnings]
        doubtful = self.equilibrium.uniqueness in (Uniqueness.NOT_UNIQUE, Uniqueness.NOT_SHOWN)
        settled = (
            [f"{'Beware: equilibrium' if doubtful else 'Equilibrium'} {self.uniqueness}."] if self.uniqueness else []
        )
        return [verdict, *settled, *self.warnings]

    def _limited(self) -> str:
        """Among which deviations the best response was looked for, where these are not all."""
        if not self.forms:
            return ""
        name, form = next(iter(self.forms.items()))
        return (
            f"The deviations of {listed(list(self.forms), 3)} are those of its policy ({name}: {form}); "
            "conditional_regret looks at all others, one observation at a time."
        )

    @property
    def advice(self) -> list[str]:
        """What those who are not held would rather do, and what may help; empty where all is verified."""
        unknown = self.regret.isna() | (self.certificate == "unknown")
        causes = pd.Series([self.unsettled.get(str(name), "") for name in self.regret.index], index=self.regret.index)
        endless = unknown & (causes == Unsettled.UNBOUNDED)
        sentences = []
        if endless.any():
            without = list(endless.index[endless])
            settling = self.subject is not None and self.subject.announcement.settling
            more = f" {self._remedy(without[0])}" if settling else ""
            sentences.append(f"Bound the variables of {listed(without, 3)}, or add the missing cost.{more}")
        unknown &= ~endless
        if unknown.any():
            names, notes = listed(list(unknown.index[unknown]), 3), self.note[unknown]
            stopped = (causes[unknown] == Unsettled.STOPPED).any()
            sentences.append(f"Not settled for {names}: {self._untried() if stopped else notes.iloc[0]}.")
        searched = [name for name in self.endless if name not in self.refuted]
        if searched:
            sentences.append(
                f"Bound the variables of {listed(searched, 3)}: a search of an unbounded set shows nothing."
            )
        if self.refuted:
            name = str(self.regret[self.refuted].idxmax())
            moves = [f"{key} = {shown(value, 4)}" for key, value in self._moves(name).items()]
            sentences.append(f"{name} would rather choose {listed(moves, 3)}. {self._remedy(name)}".rstrip())
        return sentences

    def _untried(self) -> str:
        """What has not been asked for yet and may settle it."""
        solver = str(self.options.get("solver", "auto"))
        limit = self.options.get("time_limit")
        ways = [f"solver={other!r}" for other in ("scip", "pounce") if other != solver and solver != "auto"]
        ways += ["another solver="] if solver == "auto" else []
        ways += [] if limit is None else [f"more than time_limit={limit:g}"]
        return f"{listed(ways, 3)} may settle it"

    def _moves(self, name: str) -> dict[str, float]:
        """Its best response where that is another action than planned, as far as is known, the largest move first."""
        best = self.best_response.get(name, {})
        if self.subject is None:
            return best
        planned = self.subject.announcement.values
        size = {key: abs(value - planned[key]) for key, value in best.items()}
        least = 0.01 * max(size.values(), default=0.0)
        return {key: best[key] for key in sorted(size, key=lambda key: -size[key]) if size[key] >= least}

    def _remedy(self, name: str) -> str:
        if self.subject is None:
            return ""
        announced = self.subject.announcement
        if announced.gain is None:
            if name in announced.responding:
                return "Its answer in the plan is not its best: more starts= or another solver= may find a better plan."
            return "No strategy was announced that holds it; affine_incentive(plan) designs one where there is one."
        if announced.settling:
            return f"The rule is meant for minors who settle anew: anticipated_regret(rule, {name!r}) looks at that."
        if announced.saturate or self.cut:
            return "The answer stops at the leader's bounds: wider ones, or another plan, may hold it."
        more = (
            "" if announced.bend is not None else "A gain of more curvature may hold it (curvature=, quadratic=True). "
        )
        return f"{more}inducible(plan) says whether any announcement can."

    @property
    def vocabulary(self) -> str:
        """What ε and ε₀ say of the ε-Stackelberg equilibrium, in one sentence (arXiv 2207.10611, Definitions 1–3)."""
        if math.isnan(self.epsilon):
            return "nothing is said of an ε-Stackelberg equilibrium: ε is unknown."
        leader = "how far the plan is from the leader's optimum is not proved (ε₀ unknown)"
        if not math.isnan(self.epsilon0):
            among = f" with best responses of {listed(self.responding, 3)}" if self.responding else ""
            leader = f"no plan{among} serves the leader better by more than ε₀ = {max(0.0, self.epsilon0):.3g}"
        proved = set(self.certificate) <= set(PROVED)
        searched = "" if proved else "as far as the search went, "
        gains = f"{self.epsilon:.3g}"
        what = f"no follower gains more than ε = {gains} by leaving" if self.ok else f"a follower gains up to {gains}"
        together = f"{searched}{what}; {leader}"
        if self.others:
            plural = "s" if self.others > 1 else ""
            return f"{self.others} follower{plural} not looked at; for those who were, {together}."
        if math.isnan(self.epsilon0) or not proved or not self.ok:
            return together + "."
        return together + f": together an ε-Stackelberg equilibrium with ε = {max(self.epsilon, self.epsilon0):.3g}."

    @property
    def epsilon(self) -> float:
        """The largest regret: the plan is an ε-Nash response with this ε. NaN if any follower is unknown."""
        return float(self.regret.max(skipna=False)) if len(self.regret) else 0.0

    @property
    def ok(self) -> bool:
        """Whether no follower gains more than tolerance · its scale, by a proof, or by a search of all that it can do.

        False where a follower or a price is unknown, or one was only searched although its set is unbounded.
        """
        if (self.certificate == "unknown").any() or self.regret.isna().any() or self.endless or self.unpriced:
            return False
        return not self.refuted and not self.mispriced

    @property
    def mispriced(self) -> list[str]:
        """Prices that are shown not to be the multiplier of their row."""
        return [name for name, check in self.price_checks.items() if check.is_refuted(self.tolerance)]

    @property
    def unpriced(self) -> list[str]:
        """Prices of which nothing was shown."""
        return [name for name, check in self.price_checks.items() if check.is_unknown]

    @property
    def refuted(self) -> list[str]:
        """Followers that are shown to gain more than tolerance · their scale by leaving the plan."""
        return [str(name) for name in self.regret.index[self.regret > self.tolerance * self.scale]]

    @property
    def table(self) -> pd.DataFrame:
        """One row per follower: objective at the plan, regret, certificate, note."""
        return pd.DataFrame({key: getattr(self, key) for key in ("objective", "regret", "certificate", "note")})

    @property
    def verdict(self) -> str:
        """One sentence: what was shown, by which evidence."""
        head, counts = "verified" if self.ok else "NOT verified", self.certificate.value_counts()
        evidence = ", ".join(f"{counts[kind]} {kind}" for kind in counts.index)
        if self.cut:
            head += f" with {listed(self.cut, 2)} stopped at the leader's bounds"
        if self.ok and counts.get("multistart"):
            searched, total = counts["multistart"], len(self.certificate)
            head += f": proved for {total - searched}, by search for {searched} of {total}"
        doubtful = self.note[self.certificate == "unknown"]
        if len(doubtful):
            first = f"{doubtful.index[0]}: {doubtful.iloc[0]}"
            return f"{head}: {len(doubtful)} of {len(self.regret)} followers could not be checked ({first})"
        plural = "" if len(self.regret) == 1 else "s"
        if self.mispriced and not self.refuted:
            return f"{head}: {listed(self.mispriced, 3)} is not a multiplier of its row ({evidence})"
        if self.unpriced and not self.refuted:
            return f"{head}: whether {listed(self.unpriced, 3)} is a multiplier of its row is unknown ({evidence})"
        if self.endless and not self.refuted:
            names = listed(self.endless, 3)
            return f"{head}: {names} searched in part only, on an unbounded set ({evidence})"
        among = " among functions of the policies' form" if self.forms else ""
        return f"{head}: largest regret {self.epsilon:.3g}{among} over {len(self.regret)} follower{plural} ({evidence})"

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready Python objects."""
        return {
            **fields_to_json(self, _WRITTEN_APART),
            "ok": self.ok,
            "epsilon": json_number(self.epsilon),
            "verdict": self.verdict,
            "uniqueness": self.uniqueness,
            "prices": {name: fields_to_json(check) for name, check in self.price_checks.items()},
            "vocabulary": self.vocabulary,
            "followers": {
                str(name): {
                    **{key: plain(getattr(self, key)[name]) for key in _BY_FOLLOWER},
                    "best_response": plain(self.best_response.get(str(name), {})),
                    "reach": plain(self.reach.get(str(name), {})),
                }
                for name in self.regret.index
            },
        }

    def to_json(self) -> str:
        """One JSON document."""
        return json.dumps(self.as_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that :meth:`to_json` wrote.

        Parameters
        ----------
        text : str
            The JSON document.

        Returns
        -------
        Report
            Without its game.

        Raises
        ------
        InvalidGame
            The text is something else.
        """
        with readable("report"):
            data = json.loads(text)
            rows = data["followers"]
            series: dict[str, Any] = {
                key: pd.Series([real(row[key]) for row in rows.values()], index=list(rows), dtype=float, name=key)
                for key in ("regret", "objective", "scale")
            }
            words: dict[str, Any] = {
                key: pd.Series([row[key] for row in rows.values()], index=list(rows), dtype=object, name=key)
                for key in ("certificate", "note")
            }
            return cls(
                **series,
                **words,
                best_response={name: floats(row["best_response"]) for name, row in rows.items()},
                equilibrium=Equilibrium.read(data["uniqueness"]),
                reach={name: limits_read(row["reach"]) for name, row in rows.items() if row.get("reach")},
                price_checks={
                    name: PriceCheck(**fields_from_json(PriceCheck, check))
                    for name, check in data.get("prices", {}).items()
                },
                **fields_from_json(cls, data, _WRITTEN_APART),
            )

    def to_html(self, path: str | Path, *, baseline: Any = None) -> None:
        """Write one self-contained page with all that is known: plan, contract, certificates, plots, log, versions.

        Parameters
        ----------
        path : str or Path
            The file; one that is there is replaced.
        baseline : Plan, optional
            Say also who gains and who loses against it, e.g. ``stackelberg(game)``.

        Raises
        ------
        InvalidGame
            The file cannot be written.
        """
        from stackpyomo.reporting import page

        writable(path, page(self, baseline=baseline))

    def to_certificate(self, path: str | Path) -> None:
        """Write one JSON file from which others derive anew what each follower could gain: ``stackpyomo check FILE``.

        :mod:`stackpyomo.verification.checker` checks it and runs alone.

        Parameters
        ----------
        path : str or Path
            The file; one that is there is replaced.

        Raises
        ------
        InvalidGame
            Nothing can be claimed: a follower is unknown, there is a population, or the game has no game file. Or the
            file cannot be written.
        """
        from .certificate import certificate

        writable(path, json.dumps(certificate(self), indent=1))

    def worst(self, most: int) -> list[str]:
        """The followers with the largest regrets, unknown ones first.

        Parameters
        ----------
        most : int
            How many.

        Returns
        -------
        list of str
            Their names.
        """
        return list(self.regret.sort_values(ascending=False, na_position="first", kind="stable").index[:most])

    def parts(self, most: int = SHOWN) -> list[Part]:
        """What is printed of it: the verdict, a row for each follower, and what else there is to say.

        Parameters
        ----------
        most : int, default 40
            Followers shown, the worst of more.

        Returns
        -------
        list of Part
            Sentences and tables.
        """
        more = len(self.regret) - most
        noted = ["note"] if self.note.any() else []
        rows = []
        for name in self.worst(most) if more > 0 else self.regret.index:
            numbers = [shown(float(self.objective[name]), 8), regret_shown(float(self.regret[name]))]
            rows.append([str(name), *numbers, self.certificate[name], *([self.note[name]] if noted else [])])
        table = Table(["follower", "objective", "regret", "certificate", *noted], rows, words=("certificate", "note"))
        checks = self.price_checks.items()
        gaps = [[name, c.follower, shown(c.gap), "uplift" if c.uplift else c.certificate] for name, c in checks]
        priced: list[Part] = [Table(["price", "market", "gap", "evidence"], gaps, words=("market", "evidence"))]
        rest = [f"… {more} more in report.table, none with a larger regret"] if more > 0 else []
        return [self.verdict, table, *rest, *(priced if gaps else []), *self.remarks]

    def __str__(self) -> str:
        return as_text(self.parts())


def regret_shown(regret: float) -> str:
    """A regret as people read it."""
    return "unknown" if math.isnan(regret) else f"{regret:.3g}"


def report_of(
    game: Game,
    problems: Sequence[Composed],
    together: Sequence[Row],
    announced: Announcement,
    tolerance: float,
    seconds: dict[str, float],
    solver: str,
) -> Report:
    """What every re-solve came to, in the game's order; ``seconds`` and ``solver`` of all together."""
    rows = [*map(_row, problems), *together]
    if together:
        place = {name: number for number, name in enumerate(game.followers)}
        rows.sort(key=lambda row: place[row.follower.name])
    followers, words, numbers, responses, stopped = zip(*rows, strict=True) if rows else ([], [], [], [], [])
    names = [follower.name for follower in followers]
    cut = () if announced.saturate else tuple(dict.fromkeys(chain.from_iterable(stopped)))
    costs, regrets, scales = np.array(numbers, dtype=float).reshape(-1, 3).T
    of_policies = any(getattr(component, "form", "") for component in indexed(game))
    forms = {f.name: policy_form(f.variables) for f in followers} if of_policies else {}
    return Report(
        regret=pd.Series(regrets, index=names, dtype=float, name="regret"),
        certificate=pd.Series([word for word, _ in words], index=names, dtype=object, name="certificate"),
        best_response=dict(zip(names, responses, strict=True)),
        objective=pd.Series(costs, index=names, dtype=float, name="objective"),
        scale=pd.Series(scales, index=names, dtype=float, name="scale"),
        leader_objective=announced.leader_objective,
        equilibrium=_of_the_projection(announced.equilibrium, cut),
        epsilon0=announced.epsilon0,
        warnings=list(announced.warnings),
        responding=tuple(announced.responding),
        tolerance=tolerance,
        note=pd.Series([note for _, note in words], index=names, dtype=object, name="note"),
        seconds=seconds,
        solver=solver,
        forms={name: form for name, form in forms.items() if form},
        cut=cut,
        reach={c.follower.name: c.reach for c in problems if c.certificate == "multistart"},
        endless=tuple(c.follower.name for c in problems if c.certificate == "multistart" and c.endless),
        unsettled={c.follower.name: c.unsettled for c in problems if c.certificate == "unknown" and c.unsettled},
    )


def _row(problem: Composed) -> Row:
    """What its re-solve came to."""
    known, better = problem.certificate != "unknown", problem.best_cost < problem.plan_cost
    regret = max(0.0, problem.plan_cost - problem.best_cost) if known else math.nan
    best = problem.best if better else problem.target
    response = dict(zip(problem.names, best, strict=True)) if known else {}
    numbers = (problem.follower.sign * problem.plan_cost, regret, problem.scale)
    return Row(problem.follower, (problem.certificate, problem.note), numbers, response, problem.cut)


def _of_the_projection(shown: Equilibrium, cut: Sequence[str]) -> Equilibrium:
    """What was shown of the formula says nothing of where its answers are stopped at the leader's bounds."""
    if not cut or shown.uniqueness in (Uniqueness.NOT_SHOWN, Uniqueness.NOT_CHECKED, Uniqueness.UNKNOWN):
        return shown
    why = f"what was shown holds for the formula, and {listed(cut, 2)} stopped at the leader's bounds"
    return Equilibrium(Uniqueness.NOT_SHOWN, why)
