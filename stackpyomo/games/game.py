"""Games: leader and followers in one model, with checks, files, and populations written out or collapsed."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from stackpyomo.core import undisturbed
from stackpyomo.errors import GameFileError, InvalidGame

from .checks import findings, require
from .files.formulas import FORMAT, ROOT, show
from .files.places import Item, load_json
from .files.reader import (
    common_leader,
    declare,
    declare_prices,
    name_of,
    read_aggregates,
    read_follower,
    read_leaders,
    read_observe,
    read_prices,
    read_rows,
    read_target,
    read_wishes,
)
from .files.writer import write_game
from .findings import Finding
from .players import Population
from .populations import collapsed, expanded
from .structure import GameStructure


class Game(GameStructure):  # numpydoc ignore=PR02
    """A leader and its followers in one Pyomo model, which is read and never changed.

    Whatever no follower owns is the leader's. What is wrong with the model itself, :meth:`check` finds.

    Parameters
    ----------
    model : ConcreteModel or Block
        The constructed model that holds everybody's components.
    followers : Block, indexed Block, Population or list of these
        Each follower's Vars, Constraints and its one Objective live on its Block.
    aggregates : list of Constraints or of (Var, Constraint), optional
        Equalities of the leader that define aggregate variables, linear in follower actions and in variables of the
        leader; which variable is defined is read off ``aggregate == ...`` where no Var is given.
    prices : list of (Var, row) or (Var, (row, follower)), optional
        The Var is the multiplier of that row of a follower, in the sign of ``plan.multipliers``; the second form where
        several followers feel the row.
    shared : list of Constraints, optional
        Rows of the model that every follower feels that moves what is in them.
    leaders : list of Blocks, optional
        Several leaders, each with variables, rows and an objective of its own; rows outside their Blocks bind all.
    name : str, optional
        What messages call the game, by default the model's name.

    Raises
    ------
    InvalidGame
        An argument is not what it should be.

    Examples
    --------
    >>> m = pyo.ConcreteModel()
    >>> m.toll, m.driver = pyo.Var(bounds=(-2, 2)), pyo.Block()
    >>> m.driver.flow = pyo.Var(bounds=(0, 1))
    >>> m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1)**2 + m.toll*m.driver.flow)
    >>> m.miss = pyo.Objective(expr=(m.driver.flow - 0.6)**2 + 0.01*m.toll**2)
    >>> sp.Game(m, followers=m.driver)
    Game('the model', 1 followers, 1 leader variables)
    """

    def check(self) -> list[Finding]:
        """What is worth knowing before solving, by component; nothing is solved: :mod:`stackpyomo.games.checks`."""
        return findings(self)

    def require_sound(self, *, leader_objective: bool = True) -> None:
        """Raise one :class:`InvalidGame` if :meth:`check` would find an error; convexity is not looked at.

        Parameters
        ----------
        leader_objective : bool, default True
            Whether the leader needs an objective.
        """
        require(self, leader_objective=leader_objective)

    def write(self, path: str | Path) -> None:
        """Write the game as a JSON file of the format ``stackpyomo-game/1``.

        Parameters
        ----------
        path : str or Path
            The file; one that is there is replaced.

        Raises
        ------
        InvalidGame
            The format cannot say something of the game, such as integer variables.
        """
        with undisturbed():
            write_game(self, path)

    def expand(self) -> Game:
        """The game with every member of a population as a follower of its own: :mod:`stackpyomo.games.populations`."""
        with undisturbed():
            return expanded(self)

    def collapse(self) -> Game:
        """The game with exchangeable followers as populations, in a new model: :mod:`stackpyomo.games.populations`."""
        with undisturbed():
            return collapsed(self)

    def with_sizes(self, sizes: Mapping[str, float]) -> Game:
        """The same model with other population sizes.

        Parameters
        ----------
        sizes : mapping of str to int or math.inf
            Follower → number of members; who is not named keeps its size.

        Returns
        -------
        Game
            A game on the same model.

        Raises
        ------
        InvalidGame
            A name is not a follower's, or a size is none.
        """
        unknown = [name for name in sizes if name not in self.followers]
        if unknown:
            raise InvalidGame(f"{unknown[0]}: not a follower of this game ({', '.join(list(self.followers)[:6])}).")
        populations = [f.population(size=sizes.get(name)) for name, f in self.followers.items()]
        twin = Game(self.model, populations, name=self.name, **self.couplings)
        twin.target, twin.observe = self.target, self.observe
        return twin


def read_game(path: str | os.PathLike[str]) -> Game:
    """The game in a JSON file of the format ``stackpyomo-game/1``.

    Parameters
    ----------
    path : str or Path
        The file; it holds one game.

    Returns
    -------
    Game
        A game on a new model; ``target``, ``observe`` and ``metadata`` hold what else the file says.

    Raises
    ------
    GameFileError
        The file cannot be read; the message names line, column and component.
    """
    document = load_json(os.fspath(path))
    if isinstance(document, list):
        raise GameFileError("holds a list of games; use read_games().", path=os.fspath(path))
    with PauseGC():  # none of the many small objects that are made is garbage
        return parse_game(document, path=os.fspath(path))


def parse_game(document: Mapping[str, Any], *, path: str = "") -> Game:
    """The game in a ``stackpyomo-game/1`` object; raises :class:`GameFileError`.

    The leader's variables become Vars of a ConcreteModel, each follower a Block of it. "target" is a plan to be held:
    the values of the Vars and ``game.target``; "observe" is what the leader sees: ``game.observe``. Fields the format
    does not know (source, reference, ...) are kept in ``game.metadata``.
    """
    root = Item(document, "game", path, getattr(document, "places", {}).get(None))
    version = root.need("format", f'write "format": "{FORMAT}"')
    if version.text() != FORMAT:
        raise version.fault(f"{show(version.value)} is not supported; write {FORMAT!r}.")
    named = root.get("name")
    name = named.text() if named else None
    several = root.entries("leaders")
    leader = common_leader(root) if several else root.need("leader", "give it variables and an objective")
    leader = replace(leader, label="leader")
    if not (entries := root.entries("followers")):
        raise root.fault("has no 'followers'; list at least one.")
    model, variables = pyo.ConcreteModel(name=name), dict[str, Any]()
    declare(leader, model, variables, "aggregates")
    declare_prices(root, model, variables)
    leaders = read_leaders(several, model, variables)
    players: dict[str, tuple[Item, Population]] = {}
    for entry in entries:
        called = name_of(entry)
        if called in players or called in leaders:
            raise entry.fault(f"the name {show(called)} is taken; give every player its own.")
        follower = replace(entry, label=f"follower {show(called)}")
        players[called] = follower, read_follower(follower, called, model, variables)
    aggregates = read_aggregates(leader, model, variables)
    if several:
        read_rows(leader, "constraints", model, variables)
    else:
        read_wishes(leader, "objective", model, variables)
    for item, block in leaders.values():
        read_wishes(item, "cost", block, variables)
    blocks = {called: population.block for called, (_, population) in players.items()}
    rows = {called: read_wishes(item, "cost", blocks[called], variables) for called, (item, _) in players.items()}
    shared = read_rows(root, "shared", model, variables)
    prices = read_prices(root, variables, blocks, rows, shared)
    populations = [population for _, population in players.values()]
    observe, target = read_observe(root, variables), read_target(root, variables)
    try:
        named_rows = {"aggregates": aggregates, "prices": prices, "shared": [row for _, row in shared]}
        game = Game(model, populations, **named_rows, leaders=[block for _, block in leaders.values()], name=name)
    except InvalidGame as error:
        raise root.fault(str(error)) from error
    game.observe, game.target = observe, target
    game.metadata = {key: copy.deepcopy(document[key]) for key in document if key not in ROOT}
    return game


def require_game(game: Any, function: str) -> None:
    """Raise :class:`InvalidGame` where a function of that name was given something else."""
    if not isinstance(game, Game):
        raise InvalidGame(f"{function}({type(game).__name__}): expected a Game; make one with Game(model, followers).")
