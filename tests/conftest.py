"""What several test modules share: games of published cases, solvers that are here, and how commands are run."""

from __future__ import annotations

import builtins
import gc
import importlib.util
import json
import os
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.page_reader import verified
from helpers.processes import CONTEXT, Command, Result, environment
from hypothesis import settings

import stackpyomo as sp
from stackpyomo.cli import entry
from stackpyomo.reporting import page
from stackpyomo.solvers import registry

# Property tests draw the same games every time: a failure has its cause in the change. `make explore` draws others.
settings.register_profile("same", derandomize=True)
settings.register_profile("other", derandomize=False, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "same")
settings.load_profile(PROFILE)

DATA = Path(__file__).parent / "data"
CASES = {c["id"]: c for c in json.loads((DATA / "incentive_cases.json").read_text())["cases"]}
NLP = [name for name, info in registry.items() if info.ipopt_options and info.available]


def drawn(number: int) -> int:
    """How many random games a property is tried on: a quarter of them, at least five; by `make explore` all."""
    return number if PROFILE == "other" else min(number, max(5, number // 4))


def seeds(number: int) -> range:
    """Of so many random games: of those that are :func:`drawn`."""
    return range(drawn(number))


def number(text: str | float) -> float:
    """A figure of the case files: '17/38' is an exact rational."""
    return float(Fraction(text)) if isinstance(text, str) and "/" in text else float(text)


def toll_game(low: float = -2, high: float = 2) -> sp.Game:
    """One driver, one toll: u0* = 0, flow* = 0.6, Q = 4/3 by hand."""
    m = pyo.ConcreteModel(name="toll")
    m.toll = pyo.Var(bounds=(low, high))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return sp.Game(m, followers=m.driver)


@pytest.fixture(scope="session")
def toll() -> sp.Report:
    """The report of the toll that answers the flow."""
    return verified(toll_game())


@pytest.fixture(scope="session")
def toll_page(toll: sp.Report) -> str:
    """Its page, beside the best constant toll."""
    assert isinstance(toll.subject, sp.Incentive)
    return page(toll, baseline=sp.stackelberg(toll.subject.attached()), command="stackpyomo solve toll.py")


def at_a_bound(case: str) -> sp.Plan:
    """NQ11 (good orientation) and SAT01 (bad): u0 ≥ 0 active, J1 = (y+1)²/2 ± …, the follower tempted down."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None), initialize=0.0)
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(-5, 5), initialize=1.0)
    effect = 2 * pyo.log(pyo.exp(m.x) + 1) if case == "NQ11" else (m.x - 1) ** 2 / 2
    m.f.cost = pyo.Objective(expr=(m.f.y + 1) ** 2 / 2 + effect)
    m.goal = pyo.Objective(expr=m.x * m.f.y / 10 + (m.x + 1) ** 2 + (m.f.y - 1) ** 2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


def household(want: float = 1.0) -> sp.Game:
    """Two loads that share a fuse: u1 + u2 ≤ 3."""
    m = pyo.ConcreteModel()
    m.want = pyo.Param([1, 2], initialize=want, mutable=True)
    m.p = pyo.Var([1, 2], initialize=0)
    m.home = pyo.Block()
    m.home.u = pyo.Var([1, 2], bounds=(0, None), initialize=1)
    u = m.home.u
    m.home.cost = pyo.Objective(expr=sum((u[i] - m.want[i]) ** 2 / 2 + m.p[i] * u[i] for i in (1, 2)))
    m.home.fuse = pyo.Constraint(expr=u[1] + u[2] <= 3)
    m.goal = pyo.Objective(expr=m.p[1] ** 2 + m.p[2] ** 2)
    return sp.Game(m, followers=m.home)


def work() -> float:
    """Processor seconds of this process and of those it waited for: beside other load, a clock on the wall runs on."""
    try:
        import resource
    except ImportError:  # Windows
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def snapshot(model: Any) -> list[tuple[Any, ...]]:
    """Everything about a model that stackpyomo must not change: structure, activation, fixing, bounds, values."""
    rows: list[tuple[Any, ...]] = []
    for block in model.block_data_objects(active=None):
        rows.append(("block", block.name, block.active))
        rows += [(c.name, c.ctype.__name__, getattr(c, "active", None)) for c in block.component_map().values()]
    rows += [
        (v.name, v.value, v.fixed, v.lb, v.ub, v.stale, v.domain.name)
        for v in model.component_data_objects(pyo.Var, active=None)
    ]
    for kind in (pyo.Constraint, pyo.Objective):
        rows += [(d.name, d.active, str(d.expr)) for d in model.component_data_objects(kind, active=None)]
    return rows


def state(model: Any) -> list[Any]:
    """The snapshot, or as much of it as can be read when a bound is no number."""
    try:
        return snapshot(model)
    except ValueError:
        variables = model.component_data_objects(pyo.Var, active=None)
        return [(v.name, v.value, v.fixed, str(v.lower), str(v.upper), v.stale, v.domain.name) for v in variables]


@pytest.fixture
def refused(caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """Call, and expect exactly this error, these words in its one line, no noise in the log, an unchanged model."""

    def check(model: Any, call: Callable[[], Any], error: type[Exception], *words: str) -> Any:
        before = state(model)
        caplog.clear()
        with pytest.raises(sp.StackpyomoError) as caught:
            call()
        noise = [r.getMessage() for r in caplog.records if r.levelname in ("ERROR", "CRITICAL", "WARNING")]
        assert state(model) == before
        assert type(caught.value) is error
        for word in words:
            assert word in str(caught.value)
        assert str(caught.value).count("\n") == 0, "one line"
        assert noise == [], "one message, not two"
        return caught.value

    return check


@pytest.fixture(autouse=True, scope="session")
def _heard() -> Iterator[None]:
    """Ctrl-C is heard as from a terminal: a job in the background, or under nohup, inherits that it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """CI sets STACKPYOMO_REQUIRE_CYIPOPT where Ipopt's library is installed: then cyipopt must be here."""
    if items and os.environ.get("STACKPYOMO_REQUIRE_CYIPOPT") and not registry["cyipopt"].available:
        raise pytest.UsageError("STACKPYOMO_REQUIRE_CYIPOPT is set, and cyipopt is not installed")


def pytest_collection_finish() -> None:
    """Models are many small objects: what is there to stay is not looked through for garbage, and the rest more rarely.

    A sixth of the suite's time otherwise.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is not installed."""
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)


def strict(text: str) -> Any:
    """JSON as the standard has it: one document, no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def launcher() -> str | None:
    """``mpiexec``: pip's, beside this Python, before the system's; None without mpi4py."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    return None if importlib.util.find_spec("mpi4py") is None else found


def ranks_environment(folder: Path) -> dict[str, str]:
    """Of a command under ``mpiexec``: nothing of an MPI that these tests may run under, two ranks on any machine."""
    clean = {k: v for k, v in environment(folder).items() if not k.startswith(("OMPI_", "PMI", "MPI_"))}
    allowed = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe")
    return clean | dict.fromkeys(allowed, "1")


# --- the command line ---------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]


MODELS = ROOT / "models"


def text_of(name: str) -> str:
    """A file of the project, by its path."""
    return (ROOT / name).read_text(encoding="utf-8")


INSTALLED = [name for name, info in registry.items() if info.available]


Run = Callable[..., Result]


def checked(result: Result) -> Result:
    assert "Traceback" not in result.err
    assert "Traceback" not in result.out
    return result


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command in this process, from another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: Any) -> Result:
        monkeypatch.setattr(sys, "argv", ["stackpyomo", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            entry.main()
        code = ended.value.code
        return checked(Result(0 if code is None else int(code), *capfd.readouterr()))

    return call


@pytest.fixture
def stranger(tmp_path: Path) -> Run:
    """``python -m stackpyomo`` in a process of its own, from an empty folder, with an empty TMPDIR."""
    folder = tmp_path / "tmp"
    folder.mkdir()

    def call(*arguments: Any, **more: str) -> Result:
        with Command(["stackpyomo", *map(str, arguments)], tmp_path, folder, COLUMNS="200", **more) as command:
            result = command.ended()
        assert list(folder.glob("stackpyomo-*")) == [], "no temporary folder stays behind"
        return checked(result)

    return call


@pytest.fixture(scope="module")
def quick_workers() -> Iterator[None]:
    """Workers of pools are forked from a process that has imported the package; else each is a new interpreter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stackpyomo.studies.pool.get_context", lambda _: CONTEXT)
        yield


SOLVER = """#!/bin/sh
[ "$1" = --version ] && echo 3.14.0 && exit
sleep 300 &
echo $$ $! > "${1%.nl}.solving"
wait
"""
"""Called ipopt: it never comes back, and leaves its number and that of a child beside its program."""


@pytest.fixture
def endless_ipopt(tmp_path: Path) -> str:
    """The PATH with that solver on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ipopt").write_text(SOLVER)
    (folder / "ipopt").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def wait_until(reached: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return file


GAME = """
import pyomo.environ as pyo
import stackpyomo as sp


def build(aim=0.6, size=1):
    m = pyo.ConcreteModel(name="toll")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.5)
    m.price = pyo.Var(bounds=(0, 9), initialize=0.125)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - aim) ** 2 + 0.01 * m.toll**2)
    {edit}
    return sp.Game(m, sp.Population(m.driver, size))
"""


def game(edit: str = "pass") -> str:
    return GAME.replace("{edit}", edit)


TOLL = {
    "format": "stackpyomo-game/1",
    "name": "toll",
    "leader": {"variables": [{"name": "toll", "lb": -2, "ub": 2}], "objective": "(flow - 0.6)**2 + 0.01*toll**2"},
    "followers": [
        {
            "name": "driver",
            "variables": [{"name": "flow", "lb": 0, "ub": 1}],
            "objective": "(flow - 1)**2 + toll*flow",
            "constraints": ["flow <= 0.9"],
        }
    ],
}


TEXT = json.dumps(TOLL, indent=1)


PYTHON_FILES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "missing": (None, ("model.py", "no such file")),
    "no build": ("x = 1\n", ("model.py", "no function build()", "define build(")),
    "build is no function": ("build = 3\n", ("model.py", "no function build()")),
    "syntax": ("def build(:\n    pass\n", ("model.py:1:", "syntax")),
    "indentation": ("def build():\nreturn 3\n", ("model.py:2:", "indent")),
    "null bytes": ("x = 1\0\n", ("model.py", "null bytes")),
    "import fails": ("import no_such_module_of_mine\n", ("model.py", "no_such_module_of_mine")),
    "import raises": ("1 / 0\n", ("model.py", "importing it raised ZeroDivisionError", "(line 1: 1 / 0)")),
    "import exits": ("raise SystemExit(0)\n", ("model.py", "SystemExit")),
    "build raises": (
        "def build():\n    raise KeyError('north')\n",
        ("model.py", "build() raised KeyError: 'north' (line 2: raise"),
    ),
    "build exits": ("def build():\n    raise SystemExit(0)\n", ("model.py", "build()", "SystemExit")),
    "build returns None": ("def build():\n    pass\n", ("model.py", "build() returned None", "stackpyomo Game")),
    "build needs more": ("def build(n):\n    pass\n", ("model.py", "build() raised TypeError", "'n'")),
    "not a game": (game("return m"), ("model.py", "returned ConcreteModel", "Game")),
    "a bad game": (game("m.driver.cost.deactivate()"), ("driver: ", "no active objective", "Add exactly one")),
    "infeasible": (
        game("m.driver.need = pyo.Constraint(expr=m.driver.flow >= 2); m.miss.set_value(m.miss.expr + m.price**2)"),
        ("driver.need (driver)", "Relax one"),
    ),
    "unbounded": (game("m.miss.set_value(-m.price); m.price.setub(None)"), ("price (leader)", "Bound them")),
    "nan": (game("m.miss.set_value(float('nan') * m.toll)"), ("miss: ", "nan", "finite")),
    "no value for a Param": (
        game("m.p = pyo.Param(mutable=True); m.driver.row = pyo.Constraint(expr=m.driver.flow <= m.p)"),
        ("driver.row: ", "parameter p", "Give it"),
    ),
    "unknown OBSERVE": (game() + "\nOBSERVE = 'weather'\n", ("--observe weather",)),
    "unknown FREE": (game() + "\nFREE = ['fee']\n", ("fee: ", "no component of that name")),
    "misspelt FREE": (game() + "\nFREE = ['tol']\n", ("tol: ", "Did you mean toll?")),
}


def one_message(result: Result, words: tuple[str, ...]) -> None:
    assert (result.code, result.out) == (2, "")
    for word in words:
        assert word in result.err
    assert result.err.startswith("stackpyomo: ")
    assert result.err.count("\n") == 1, "one line"


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of a test is, after each function that makes plans and each failure, what it was before."""

    def guarded(call: Any) -> Any:
        def run(subject: Any, *args: Any, **options: Any) -> Any:
            game = getattr(subject, "game", None) if isinstance(subject, sp.Plan) else subject
            before = snapshot(game.model) if isinstance(game, sp.Game) else None
            try:
                return call(subject, *args, **options)
            finally:
                assert before is None or snapshot(game.model) == before

        return run

    for name in ("stackelberg", "nash", "leader_optimal", "pessimistic"):
        monkeypatch.setattr(sp, name, guarded(getattr(sp, name)))


Fake = Callable[[str], Path]


@pytest.fixture
def fake_ipopt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a shell script named ipopt first on the PATH; ``$sol`` is where its answer belongs."""
    if os.name == "nt":
        pytest.skip("needs a POSIX shell")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.fspath(folder), prepend=os.pathsep)

    def write(body: str) -> Path:
        script = folder / "ipopt"
        version = 'if [ "$1" = "--version" ]; then echo "Ipopt 3.14.16 (fake)"; exit 0; fi'
        script.write_text(f'#!/bin/sh\n{version}\nsol="${{1%.nl}}.sol"\n{body}\n')
        script.chmod(0o755)
        return script

    return write
