"""``stackpyomo export``: the reformulation with responding followers as a file for any solver."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pyomo.environ as pyo
from pyomo.common.errors import PyomoException
from typer import Argument

from stackpyomo.core import said
from stackpyomo.errors import InvalidGame

from .app import Answer, command
from .inputs import load

_FORMATS = (".nl", ".lp", ".mps", ".gms")


@command(
    "models/two_roads.py two_roads.nl",
    offers="json log",
    responding="A follower to be replaced; repeatable. (default: all)",
    complementarity="product (multiplier · slack ≤ 0), sos1, big-m, scholtes, fischer-burmeister or penalty.",
)
def export(
    game: Path,
    file_to: Annotated[Path, Argument(metavar="FILE", help="What to write: .nl, .lp, .mps or .gms.")],
    responding: list[str] | None = None,
    complementarity: str = "product",
    parameter: list[str] | None = None,
) -> Answer:
    """Write the game with its followers replaced by their optimality conditions, as a file for other solvers.

    Names are those of the model (.nl: in .row and .col files beside it). Exit code 0: the file is written.
    """
    loaded, _ = load(game, parameter or [])
    if file_to.suffix not in _FORMATS:
        raise InvalidGame(f"{file_to}: models are written as {', '.join(_FORMATS)}; end the name so.")
    if loaded.leaders:
        raise InvalidGame(f"export: writes the problem of one leader, and {loaded.name} has {len(loaded.leaders)}.")
    names = [name for name in responding or [] if name != "all"]
    unknown = [name for name in names if name not in loaded.followers]
    if unknown:
        raise InvalidGame(f"--responding {unknown[0]}: expected a follower: {', '.join(loaded.followers)}.")
    chosen: Any = [loaded.followers[name].block for name in names] or True
    kkt = pyo.TransformationFactory("stackpyomo.kkt")
    players = [follower.population() for follower in loaded.followers.values()]
    couplings = {key: value for key, value in loaded.couplings.items() if key != "leaders"}
    model = kkt.create_using(
        loaded.model, followers=players, responding=chosen, complementarity=complementarity, **couplings
    )
    for follower in loaded.followers.values():
        for objective in follower.active_objectives:  # who is not replaced serves the leader
            model.find_component(objective).deactivate()
    _write(model, file_to)
    counts = {
        "variables": sum(1 for var in model.component_data_objects(pyo.Var) if not var.fixed),
        "constraints": sum(1 for _ in model.component_data_objects(pyo.Constraint, active=True)),
    }
    document = {"game": loaded.name, "file": os.fspath(file_to), **counts}
    words = f"{file_to}: {counts['variables']} variables, {counts['constraints']} constraints"
    return Answer(document, partial(print, words))


def _write(model: Any, path: Path) -> None:
    """By Pyomo's own writer, which says what its format cannot hold."""
    try:
        with said(path):
            model.write(os.fspath(path), io_options={"symbolic_solver_labels": True})
    except InvalidGame:
        raise
    except (PyomoException, RuntimeError, ValueError) as error:
        path.unlink(missing_ok=True)
        text = " ".join(str(error).split()).rstrip(".")
        raise InvalidGame(f"{path}: {text}. Write .nl or .gms, which hold nonlinear terms.") from None
