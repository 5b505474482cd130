"""What a solver says is no proof where it cannot see the numbers."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import Fake, toll_game
from helpers.ipopt import REAL, pounce

import stackpyomo as sp
from stackpyomo.core import unwinding
from stackpyomo.solvers import Program, Termination, choose, registry, solve
from stackpyomo.solvers.interfaces import CLOCK_LIMIT, _Released


@pytest.mark.parametrize(("price", "at"), [(lambda p: p, 1e21), (lambda p: pyo.exp(-p), -100.0)])
def test_no_plan_is_proved_away_by_numbers_that_are_infinite_to_a_solver(
    price: Callable[[Any], Any], at: float
) -> None:
    """(u − 1)² + price u on [0, 2]: u = 0 is the equilibrium at any large price, its multiplier beyond 1e20."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(initialize=at), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2), initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + price(m.p) * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2)
    game = sp.Game(m, m.f)
    assert sp.verify(sp.Plan.from_values(game)).ok
    with pytest.raises(sp.NoPlan) as refusal:
        sp.nash(game, leader={"p": at})
    assert "proved by" not in str(refusal.value)


def test_a_limit_in_processor_seconds_is_kept_on_a_busy_machine() -> None:
    """A model that stops by the clock goes on until the processor's share is spent, or it is done."""

    class Busy:
        """Each solve takes 0.05 s of the processor in 10 s by the clock, and the fourth ends it."""

        def __init__(self) -> None:
            self.limits, self.solves, self.last = [1.0], 0, 4

        def getParam(self, _: str) -> float:
            return self.limits[-1]

        def setParam(self, name: str, value: float) -> None:
            assert name == "limits/time"
            self.limits.append(value)

        def optimizeNogil(self) -> None:
            self.solves += 1
            until = time.thread_time() + 0.05
            while time.thread_time() < until:
                pass

        def getStatus(self) -> str:
            return "optimal" if self.solves >= self.last else "timelimit"

        def getSolvingTime(self) -> float:
            return 10.0 * self.solves

    model = Busy()
    released = _Released(model)
    released.setParam("timing/clocktype", 1)
    released.optimize()
    assert model.solves == 4
    assert model.limits[1:] == pytest.approx([10.95, 20.9, 30.85], abs=0.04)
    model = Busy()
    model.limits, model.last = [0.12], 99
    released = _Released(model)
    released.setParam("timing/clocktype", 1)
    released.optimize()
    assert model.solves == 3  # 0.12 s are spent
    model = Busy()
    released = _Released(model)
    released.setParam("timing/clocktype", 1)
    released.setParam(CLOCK_LIMIT, 0.055)
    released.optimize()
    assert model.solves == 1  # the clock has no more than the 0.05 s of the first solve
    model = Busy()
    _Released(model).optimize()
    assert model.solves == 1  # by the clock


T = Termination

RUN = f'{shlex.quote(pounce())} "$@" >/dev/null'


# --- choosing, and the ipopt executable -----------------------------------------------------------------------------


def test_auto_takes_an_ipopt_executable_if_there_is_one(fake_ipopt: Fake) -> None:
    script = fake_ipopt(f'echo "$@" > {{}}/seen\n{REAL}'.replace("{}", '"$(dirname "$0")"'))
    assert choose("auto").name == "ipopt"
    plan = sp.leader_optimal(toll_game())
    assert plan.solver == "ipopt"
    assert plan.value("driver.flow") == pytest.approx(0.6, abs=1e-7)
    options = (script.parent / "seen").read_text().split()
    assert options[0].endswith(".nl")
    assert options[1] == "-AMPL"
    assert {"tol=1e-10", "bound_relax_factor=0.0", "sb=yes"} <= set(options)
    rule = sp.affine_incentive(plan)
    assert rule.gain.loc["toll", "driver.flow"] == pytest.approx(4 / 3, abs=1e-6)
    report = sp.verify(rule)
    assert (report.ok, report.solver) == (True, "ipopt")


def limited() -> sp.Game:
    """The toll game with a row, so that there are duals to lose."""
    m = toll_game().model
    m.cap = pyo.Constraint(expr=m.driver.flow + m.toll <= 0.5)
    return sp.Game(m, m.driver)


SAVED = f'{RUN}\ncp "$sol" "$sol.full"\n'
SHORT = """sed -e '10,11s/2/1/' -e '$!N;/\\nobjno/!P;D' "$sol.full" > "$sol"\n"""
NAN = """awk 'NR > 1 {print /^objno/ ? "nan" : last} {last = $0} END {print}' "$sol.full" > "$sol"\n"""
BAD_ANSWERS: dict[str, tuple[str, str]] = {
    "kills itself": ("kill -9 $$", "killed"),
    "is ended": ("kill -15 $$", "killed"),
    "garbage": ('echo "once upon a time" > "$sol"', "failed"),
    "bytes": ("printf '\\377\\376\\000\\201' > \"$sol\"", "failed"),
    "an empty answer": (': > "$sol"', "failed"),
    "cut in the middle of a number": (SAVED + 'head -c 90 "$sol.full" > "$sol"', "failed"),
    "without its last lines": (SAVED + 'head -n 13 "$sol.full" > "$sol"', "failed"),
    "without its code": (SAVED + 'grep -v objno "$sol.full" > "$sol"', "failed"),
    "one variable short": (SAVED + SHORT, "failed"),
    "nan for a value": (SAVED + NAN, "failed"),
    "an exit code": ('echo "EXIT: licence expired" >&2; exit 3', "failed"),
    "an exit code in silence": ("exit 3", "failed"),
    "no answer": ("exit 0", "failed"),
}


@pytest.mark.parametrize("make", [toll_game, limited])
def test_the_answers_are_cut_where_they_should_be(make: Callable[[], sp.Game], fake_ipopt: Fake) -> None:
    """What the cases below count on: lines 10 and 11 say how many values follow, the last of them before the code."""
    keep = 'test -e "$(dirname "$0")/nan" || cp'  # what is asked after a failure is another problem
    save = [f'{keep} "{text}" "$(dirname "$0")/{name}"\n' for text, name in (("$sol.full", "full"), ("$sol", "short"))]
    script = fake_ipopt(SAVED + SHORT + "".join(save) + NAN + f'{keep} "$sol" "$(dirname "$0")/nan"')
    with contextlib.suppress(sp.NoPlan):
        sp.leader_optimal(make(), solver="ipopt")
    full, short, nan = ((script.parent / name).read_text().splitlines() for name in ("full", "short", "nan"))
    code = next(i for i, line in enumerate(full) if line.startswith("objno"))
    assert full[9:11] == ["2", "2"]
    assert short == [*full[:9], "1", "1", *full[11 : code - 1], *full[code:]]
    assert nan == [*full[: code - 1], "nan", *full[code:]]


@pytest.mark.parametrize("make", [toll_game, limited])
@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_answers_that_are_none(case: str, make: Callable[[], sp.Game], fake_ipopt: Fake) -> None:
    body, termination = BAD_ANSWERS[case]
    fake_ipopt(body)
    with pytest.raises(sp.NoPlan) as caught:
        sp.leader_optimal(make(), solver="ipopt")
    assert caught.value.termination == termination
    assert "ipopt" in str(caught.value)
    assert "Try another solver=" in str(caught.value)
    if case == "an exit code":
        assert "licence expired" in str(caught.value)


CODES = [
    (0, "Optimal Solution Found", T.CONVERGED),
    (100, "Solved To Acceptable Level.", T.CONVERGED),  # as cyipopt's status 1: the residuals say how good it is
    (200, "Converged to a locally infeasible point.", T.INFEASIBLE),
    (300, "Iterates diverging; problem might be unbounded.", T.UNBOUNDED),
    (400, "Maximum Number of Iterations Exceeded.", T.ITERATION_LIMIT),
    (401, "Maximum CPU Time Exceeded.", T.TIME_LIMIT),
    (500, "Search Direction becomes Too Small.", T.FAILED),
    (501, "Invalid number in NLP function or derivative detected.", T.FAILED),
]


@pytest.mark.parametrize(("code", "message", "wanted"), CODES)
def test_what_ipopt_says(code: int, message: str, wanted: Termination, fake_ipopt: Fake) -> None:
    edit = f"sed -e '1s/.*/Ipopt 3.14.16: {message}/' -e 's/^objno 0 0/objno 0 {code}/' \"$sol.full\" > \"$sol\""
    fake_ipopt(SAVED + edit)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 5), initialize=1.0)
    solution = solve(Program((m.x - 3) ** 2), "ipopt")
    assert solution.termination is wanted
    assert message in solution.message


@pytest.mark.parametrize("text", ["no program", "#!/no/such/interpreter\n"])
def test_an_ipopt_that_does_not_start(text: str, fake_ipopt: Fake) -> None:
    """A file of another machine, say."""
    fake_ipopt("").write_text(text)
    with pytest.raises(sp.StackpyomoError) as caught:
        sp.leader_optimal(toll_game(), solver="ipopt")
    assert "ipopt" in str(caught.value)


def test_a_file_that_may_not_be_run_is_not_installed(fake_ipopt: Fake) -> None:
    fake_ipopt("").chmod(0o644)
    if registry["ipopt"].available:
        pytest.skip("there is another ipopt behind it")
    with pytest.raises(sp.SolverNotAvailable, match="not installed"):
        sp.leader_optimal(toll_game(), solver="ipopt")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_time_limit_ends_the_solver_and_what_it_started(fake_ipopt: Fake) -> None:
    """An ipopt that is a wrapper script, as conda's may be: the program behind it must not go on."""
    script = fake_ipopt('sleep 60 &\necho $! > "$(dirname "$0")/pid"\nwait')
    began = time.monotonic()
    with pytest.raises(sp.NoPlan, match="time limit") as caught:
        sp.leader_optimal(limited(), solver="ipopt", time_limit=0.5)
    assert time.monotonic() - began < 50
    assert caught.value.termination == "time limit"
    behind = int((script.parent / "pid").read_text())
    try:
        end = time.monotonic() + 30
        while alive(behind) and time.monotonic() < end:
            time.sleep(0.05)
        assert not alive(behind)
    finally:
        if alive(behind):
            os.kill(behind, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["_execute_child", "communicate"])
def test_a_signal_while_the_solver_is_started(
    number: signal.Signals, moment: str, fake_ipopt: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to end between the start of a process and its being somebody's: it ends all the same."""
    started: list[subprocess.Popen[str]] = []
    act = getattr(subprocess.Popen, moment)

    def told(self: Any, *args: Any, **others: Any) -> Any:
        if "-AMPL" not in self.args:  # it is only asked for its version
            return act(self, *args, **others)
        started.append(self)
        if moment == "_execute_child":
            act(self, *args, **others)
            signal.raise_signal(number)
            return None
        signal.raise_signal(number)
        return act(self, *args, **others)

    fake_ipopt("exec sleep 60")
    monkeypatch.setattr(subprocess.Popen, moment, told)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), unwinding("told"):
        sp.leader_optimal(toll_game(), solver="ipopt")
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert signal.getsignal(signal.SIGTERM) is before


ELSEWHERE = """
import os, signal, sys, threading, time
from pathlib import Path
from conftest import toll_game
import stackpyomo as sp
from stackpyomo.core import prefix, unbroken, unwinding
from stackpyomo.core.shutdown import sweep

def tell():
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))

try:
    with unwinding("gone", patience=2.0 if sys.argv[3] == "deaf" else 30.0):
        threading.Thread(target=tell, daemon=True).start()
        if sys.argv[3] == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGURG])
        sp.leader_optimal(toll_game(), solver="ipopt")
except KeyboardInterrupt as told:
    print(type(told).__name__)
"""
CHATTY = "dd if=/dev/zero bs=1000 count=1000 2> /dev/null; echo $$ > {mark}; exec sleep 60"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "main", "code", "out", "err"),
    [
        (signal.SIGTERM, "waits", 0, "Terminated", ""),
        (signal.SIGINT, "waits", 0, "KeyboardInterrupt", ""),
        (signal.SIGTERM, "deaf", 128 + signal.SIGTERM, "", "gone"),
    ],
)
def test_a_signal_that_another_thread_was_given(
    number: int, main: str, code: int, out: str, err: str, fake_ipopt: Fake, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    fake_ipopt(CHATTY.format(mark=shlex.quote(str(mark))))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(int(number)), str(mark), main],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (code, out, err)
    until = time.monotonic() + 20.0  # who is killed is gone when it is next scheduled; left alone it sleeps for 60
    while alive(int(mark.read_text())) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(int(mark.read_text()))
    assert list(tmp_path.glob("stackpyomo-*")) == []


def test_a_failed_verification_is_unknown(fake_ipopt: Fake) -> None:
    fake_ipopt(REAL)
    plan = sp.leader_optimal(limited(), solver="ipopt")
    for body in ("kill -9 $$", 'echo garbage > "$sol"', "exit 3"):
        fake_ipopt(body)
        report = sp.verify(plan, solver="ipopt")
        assert not report.ok
        assert list(report.certificate) == ["unknown"]
        assert math.isnan(report.regret["driver"])
        assert "ipopt" in report.note["driver"] or "stopped" in report.note["driver"]
