"""The laws of the house, read off the source: order of folders, no eval, no print, no hidden state or tolerance."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import stackpyomo as sp

HOME = Path(sp.__file__).parent
SOURCES = {
    ".".join(path.relative_to(HOME).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted(HOME.rglob("*.py"))
}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
MODULES = [name for name in SOURCES if not name.rpartition(".")[2].startswith("__")]
FOLDERS = {
    name.removesuffix(".__init__"): ast.get_docstring(TREES[name]) or ""
    for name in SOURCES
    if name.endswith(".__init__")
}

ORDER = """
errors version
core
families
solvers games
verification derivatives
deviations
bilevel
plans
incentives
analysis reporting
studies
cli
"""
"""A folder imports from folders on lines above its own."""

LINE = {folder: number for number, line in enumerate(ORDER.strip().splitlines()) for folder in line.split()}

LATE = {
    ("verification.report", "reporting", "Report.to_html"),
    ("verification.report", "verification", "Report.to_certificate"),
    ("plans.plan", "plans", "Plan.epsilon"),
}
"""The imports inside functions: (module, folder, function). A page and a certificate show what a report knows."""

LONG = {"verification.checker": "it runs alone, as one file"}
"""Modules of more than 500 lines, with the reason."""

LITERALS = {
    (
        "core.expressions.convexity",
        1e-12,
    ): "_NOISE: rounding of a coefficient, below which nothing is proved either way",
    (
        "bilevel.complementarity",
        1e-3,
    ): "Scholtes(levels=), FischerBurmeister(levels=): defaults of arguments of the contract",
    ("bilevel.complementarity", 1e-4): "the same",
    ("bilevel.complementarity", 1e-5): "the same",
    ("bilevel.complementarity", 1e-6): "the same",
    ("bilevel.complementarity", 1e-8): "the same",
    ("plans.solve", 1e-3): "nash(distance=): the default of an argument of the contract",
    ("verification.regret", 1e-6): "verify(tolerance=): the default of an argument of the contract",
    ("verification.effort", 1e-6): "the same",
}
"""Small numbers outside of Tolerances, with the reason."""

STATE = {("solvers.registry", "registry")}
"""Module-level containers that are not constants: the registry, documented, to be extended by users and tests."""

Parents = dict[ast.AST, ast.AST]


@cache
def parents(tree: ast.AST) -> Parents:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def chain(node: ast.AST, above: Parents) -> Iterator[ast.AST]:
    while node in above:
        node = above[node]
        yield node


def where(node: ast.AST, above: Parents) -> str:
    """Class.function around a node, "" at the top of the module."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    return ".".join(reversed([n.name for n in chain(node, above) if isinstance(n, kinds)]))


@cache
def imports(name: str) -> set[tuple[str, str, str]]:
    """(module or folder, name taken from it, function around the import or ""), what type checkers import included."""
    tree, package = TREES[name], name.split(".")[:-1]
    above = parents(tree)
    taken = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stackpyomo":
            target, names = (node.module or "").partition(".")[2], [alias.name for alias in node.names]
        elif isinstance(node, ast.Import) and any(a.name.split(".")[0] == "stackpyomo" for a in node.names):
            target, names = node.names[0].name.partition(".")[2], [""]
        else:
            continue
        for part in names:
            inside = f"{target}.{part}".strip(".")
            is_name = f'"{part}"' in SOURCES.get(f"{target}.__init__", "")
            taken.add((inside if inside in SOURCES and not is_name else target, part, where(node, above)))
    return taken


def every_import() -> Iterator[tuple[str, str, str, str]]:
    """(importing module, and what :func:`imports` says)."""
    for module in MODULES:
        yield from ((module, *each) for each in imports(module))


def folder(module: str) -> str:
    """The room of the order that a module stands in."""
    return module.split(".")[0]


def test_every_folder_has_its_place() -> None:
    rooms = {folder(name) for name in SOURCES if not name.startswith("__")}
    assert rooms == set(LINE), "put a new folder in ORDER, where it may import from"


@pytest.mark.slow
def test_imports_point_one_way() -> None:
    """The order has no exception: what type checkers import counts, and what a function imports is listed."""
    for name, target, part, function in every_import():
        late = (name, folder(target), function) in LATE
        assert late or not function, f"{name} imports {target} inside {function}"
        if not late and folder(target) != folder(name):
            assert LINE[folder(target)] < LINE[folder(name)], f"{name} imports {part} of {target}"


def test_the_late_imports_are_still_there() -> None:
    for name, target, function in LATE:
        assert (target, function) in {(folder(t), f) for t, _, f in imports(name)}, "remove it from LATE"


def test_nothing_reaches_past_a_folder() -> None:
    """Another folder is used by the names that its ``__init__`` gives."""
    for name, target, part, _ in every_import():
        if folder(target) != folder(name) and target in MODULES:
            assert "." not in target, f"{name}: take {part} from {target.rpartition('.')[0]}"
        if f"{target}.__init__" in SOURCES and target != "":
            assert part in importlib.import_module(f"stackpyomo.{target}").__all__, f"{target} gives no {part}"


def test_every_folder_states_its_law() -> None:
    """What it is, what comes in, what goes out, its law."""
    assert [name for name, text in FOLDERS.items() if "Law: " not in text] == []


def test_no_file_imports_itself_by_a_circle() -> None:
    edges = {name: {t for t, _, function in imports(name) if t in MODULES and not function} for name in MODULES}
    done: set[str] = set()
    while ready := {name for name in MODULES if name not in done and edges[name] <= done}:
        done |= ready
    assert done == set(MODULES), f"a circle among {sorted(set(MODULES) - done)}"


def test_verification_stands_apart() -> None:
    """It knows core, solvers, games and what these are read into, so that a wrong derivation cannot certify itself."""
    rooms = {folder(t) for n in MODULES if folder(n) == "verification" for t, _, function in imports(n) if not function}
    assert rooms - {"verification"} == {"errors", "core", "solvers", "games", "families"}


# --- what nobody may call -----------------------------------------------------------------------------------------

BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
LIBRARIES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}


def danger(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name) and node.id in BUILTINS:
        return node.id
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        module = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        return next((m for m in module if m.split(".")[0] in LIBRARIES), None)
    if isinstance(node, ast.Attribute):
        shell = isinstance(node.value, ast.Name) and node.value.id == "os" and node.attr in ("system", "popen")
        return node.attr if shell or "pickle" in node.attr else None
    if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
        return node.arg
    return None


def test_nothing_from_a_file_is_run() -> None:
    assert [(name, danger(node)) for name, tree in TREES.items() for node in ast.walk(tree) if danger(node)] == []


@pytest.mark.parametrize(
    "text", ["eval('1')", "import pickle", "from dill import loads", "np.load(f, allow_pickle=1)", "os.system('ls')"]
)
def test_the_search_for_danger_finds_it(text: str) -> None:
    assert any(danger(node) for node in ast.walk(ast.parse(text)))
    assert not any(danger(node) for node in ast.walk(ast.parse("re.compile('x'); ast.literal_eval('1')")))


COMMANDS = ("terminal", "commands", "cli", "checker")
"""The command line, and the file that runs alone."""


def test_only_the_command_line_prints() -> None:
    """Beside it the checker, which runs alone, too; a subprocess has streams."""
    starting = ("solvers.interfaces", "solvers.registry")
    silent = {n: tree for n, tree in TREES.items() if not n.startswith("cli.") and n != "verification.checker"}
    for name, tree in silent.items():
        nodes = list(ast.walk(tree))
        assert not {n.id for n in nodes if isinstance(n, ast.Name)} & {"print", "pprint"}, name
        streams = {n.attr for n in nodes if isinstance(n, ast.Attribute)} & {"stdout", "stderr"}
        assert not streams or name in starting, name


# --- state --------------------------------------------------------------------------------------------------------

MAKERS = {
    "dict", "list", "set", "defaultdict", "Counter", "deque", "OrderedDict", "ComponentMap", "ComponentSet",
    "count", "local",
}  # fmt: skip
CHANGERS = {
    "append", "add", "extend", "insert", "update", "pop", "popitem", "remove", "discard", "clear", "setdefault",
    "sort",
}  # fmt: skip
CACHES = {"cache", "lru_cache"}


def called(node: ast.AST) -> str:
    """The last name of what is called."""
    target = node.func if isinstance(node, ast.Call) else node
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def targets(tree: ast.Module) -> list[ast.expr]:
    """What the module assigns to at its top level."""
    return [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]


def containers(tree: ast.Module) -> dict[str, int]:
    """Names of the module that hold something mutable → line."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        else:
            continue
        displays = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
        if isinstance(value, displays) or (isinstance(value, ast.Call) and called(value) in MAKERS):
            found.update({t.id: node.lineno for t in targets if isinstance(t, ast.Name)})
    return found


def root(node: ast.AST) -> str:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return getattr(node, "id", "")


def state(tree: ast.Module, allowed: set[str]) -> list[str]:
    """What makes a module remember: ``global``, caches, containers that are no constants, constants that change."""
    found = [f"global in line {n.lineno}" for n in ast.walk(tree) if isinstance(n, ast.Global)]
    held = containers(tree)
    found += [f"{n} is no CONSTANT" for n in held if not (n.isupper() or n == "__all__" or n in allowed)]
    for function in (n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))):
        found += [
            f"{called(d)} on {getattr(function, 'name', '')}"
            for d in getattr(function, "decorator_list", ())
            if called(d) in CACHES
        ]
        for node in ast.walk(function):
            targets: list[ast.AST] = []
            if isinstance(node, (ast.Assign, ast.Delete)):
                targets = [t for t in node.targets if not isinstance(t, ast.Name)]
            elif isinstance(node, ast.AugAssign) and not isinstance(node.target, ast.Name):
                targets = [node.target]
            elif isinstance(node, ast.Call) and called(node) in CHANGERS and isinstance(node.func, ast.Attribute):
                targets = [node.func.value]
            found += [f"{root(t)} changes in line {node.lineno}" for t in targets if root(t) in held]
    return found


@pytest.mark.slow
def test_no_module_remembers() -> None:
    for name, tree in TREES.items():
        assert state(tree, {variable for module, variable in STATE if module == name}) == [], name


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    global x\n    x = 1",
        "seen = {}",
        "SEEN = {}\ndef f(k):\n    SEEN[k] = 1",
        "SEEN = set()\ndef f(k):\n    SEEN.add(k)",
        "import functools\n@functools.lru_cache(maxsize=None)\ndef f(k):\n    return k",
    ],
)
def test_the_search_for_state_finds_it(text: str) -> None:
    assert state(ast.parse(text), set())
    assert not state(ast.parse("TABLE = {1: 2}\ndef f(own):\n    own['x'] = TABLE[1]\n    own.update(TABLE)"), set())


# --- tolerances ---------------------------------------------------------------------------------------------------


def small(tree: ast.AST) -> Iterator[tuple[float, int]]:
    """(number, line) of literals that can only be tolerances: 0 < x ≤ 1/1000, outside of class Tolerances."""
    above = parents(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < node.value <= 1e-3:
            inside = any(isinstance(n, ast.ClassDef) and n.name == "Tolerances" for n in chain(node, above))
            if not inside:
                yield node.value, node.lineno


def test_every_tolerance_has_a_name() -> None:
    literals = [(name, value, line) for name, tree in TREES.items() for value, line in small(tree)]
    assert [each for each in literals if each[:2] not in LITERALS] == [], "make it a field of core.Tolerances"


def test_the_listed_literals_are_still_there() -> None:
    for name, value in LITERALS:
        assert value in {v for v, _ in small(TREES[name])}, "remove it from LITERALS"
    found = small(ast.parse("x = 1e-9\ny = 0.0005\nz = 0.01\nclass Tolerances:\n    a = 1e-8"))
    assert list(found) == [(1e-9, 1), (0.0005, 2)]


def test_tolerances_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        sp.Tolerances().solver = 1.0  # type: ignore[misc]
    for field in sp.Tolerances.__dataclass_fields__:
        assert f"TOLERANCES.{field}" in "".join(SOURCES.values()), f"{field} is used by nobody"


# --- words --------------------------------------------------------------------------------------------------------


def undocumented(thing: Any, name: str, deep: bool) -> Iterator[str]:
    """The class or function, and (deep) its public methods, that have no docstring of their own."""
    text = inspect.getdoc(thing) or ""
    if len(text) < 15 or text.startswith(f"{getattr(thing, '__name__', name)}("):  # what @dataclass makes up
        yield name
    if not (deep and inspect.isclass(thing)):
        return
    for key, part in vars(thing).items():
        function = part.__func__ if isinstance(part, (classmethod, staticmethod)) else part
        function = getattr(function, "fget", None) or getattr(function, "func", None) or function
        if not key.startswith("_") and inspect.isfunction(function) and function.__module__ == thing.__module__:
            yield from undocumented(function, f"{name}.{key}", False)


def test_every_module_says_what_it_is() -> None:
    for name, tree in TREES.items():
        text = ast.get_docstring(tree) or ""
        assert len(text) > 20, name
        assert text.splitlines()[0].endswith((".", ":")), name


LISTED = {"errors", "reporting.plots"}
"""Modules that users read as a whole. Else folders alone list names: inside, an underscore says what is private."""


def test_an_underscore_says_what_is_private() -> None:
    """What a folder gives is a list in its ``__init__``; what its files take from each other has no underscore."""
    listing = {name for name, tree in TREES.items() if any(root(n) == "__all__" for n in targets(tree))}
    assert {name for name in listing if name in MODULES} == LISTED
    for name in listing:
        names = importlib.import_module(f"stackpyomo.{name.removesuffix('__init__')}".rstrip(".")).__all__
        assert sorted(names) == sorted(set(names)), name
    for name, target, part, _ in every_import():
        assert part[:1] != "_" or part == "__version__", f"{name} takes {part} of {target}"


def test_every_public_name_says_what_it_does() -> None:
    """What users have, and what one file takes from another."""
    taken = {(target, part) for name in SOURCES for target, part, _ in imports(name) if target in MODULES}
    taken = {(target, part) for target, part in taken if target.rpartition(".")[2] != part}  # a whole module
    things = [(n, getattr(sp, n)) for n in sp.__all__]
    things += [(part, getattr(importlib.import_module(f"stackpyomo.{name}"), part)) for name, part in sorted(taken)]
    named = [(n, t) for n, t in things if inspect.isclass(t) or inspect.isfunction(t)]
    assert len(named) > 500
    assert [part for n, t in named for part in undocumented(t, n, deep=n in sp.__all__)] == []


def test_every_error_is_ours() -> None:
    from stackpyomo import errors

    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, (sp.StackpyomoError, sp.RefusalCause))
        assert getattr(sp, name) is kind, "a user can catch it by its name"


BARE = {"ValueError", "TypeError", "KeyError", "RuntimeError", "Exception", "AssertionError", "NotImplementedError"}
INSIDE = {("core.expressions.curvature_rules", "ValueError"): "caught by convexity: what has no value proves nothing"}
"""Errors of Python's that are raised and caught inside one module."""


def test_nobody_raises_a_bare_error_at_a_user() -> None:
    raises = [(name, n) for name, tree in TREES.items() for n in ast.walk(tree) if isinstance(n, ast.Raise) and n.exc]
    bare = {(name, called(n.exc)) for name, n in raises if called(n.exc) in BARE}
    assert bare == set(INSIDE)


def sections(text: str) -> int:
    """Lines of numpydoc sections in a docstring: from the first one on."""
    lines = text.splitlines()
    ruled = [i for i, line in enumerate(lines) if line and not line.strip("-")]
    return len(lines) - ruled[0] + 1 if ruled else 0


def test_modules_stay_short() -> None:
    """What a docstring says of parameters, results and errors is not counted: it is read in the reference."""
    lengths = {}
    for name, text in SOURCES.items():
        documented = (n for n in ast.walk(TREES[name]) if isinstance(n, (ast.ClassDef, ast.FunctionDef)))
        lengths[name] = text.count("\n") - sum(sections(ast.get_docstring(n) or "") for n in documented)
    long = {name for name, lines in lengths.items() if lines > 500}
    assert long == set(LONG), "split it, or list it in LONG with the reason; what is short again is not listed"


AROUND = [path for folder in ("benchmarks", "hunts") for path in sorted((HOME.parent / folder).glob("*.py"))]


@pytest.mark.skipif(not AROUND, reason="installed without what lies around it")
def test_what_lies_around_the_package_imports_what_there_is() -> None:
    """Hunts and benchmarks run rarely; a module that was moved is missed here."""
    imports = [
        (path.name, node.module, alias.name)
        for path in AROUND
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stackpyomo"
        for alias in node.names
    ]
    assert imports
    for place, module, name in imports:
        assert hasattr(importlib.import_module(module or ""), name), f"{place}: {module}.{name}"


# --- tests --------------------------------------------------------------------------------------------------------

TESTS = Path(__file__).parents[1]


def has_tests(name: str) -> bool:
    """Whether tests/FOLDER/test_MODULE.py is there; with the folder in its name where several modules share one."""
    *folders, module = name.split(".")
    names = {f"test_{module.strip('_')}.py", *(f"test_{folder}_{module}.py" for folder in folders)}
    return any(TESTS.joinpath(*folders, each).exists() for each in names)


def test_every_module_has_tests_of_its_name() -> None:
    assert [name for name in ["__main__", *MODULES] if not has_tests(name)] == [], "write them, or move there what is"
