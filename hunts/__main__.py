"""``python -m hunts``: play the hunts, print the table, exit with 1 where a claim was refuted."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

import stackpyomo as sp

from . import (
    bilevel,
    certificates,
    claims,
    crowds,
    degenerate,
    equilibria,
    families,
    incentives,
    integers,
    populations,
    proofs,
    refusals,
    scenarios,
    second_best,
    tolls,
    uniqueness,
    units,
    wide,
    wishes,
    writings,
)
from .ledger import Ledger

HUNTS: dict[str, Callable[[np.random.Generator, Ledger], None]] = {
    "incentives": incentives.hunt,
    "scenarios": scenarios.hunt,
    "populations": populations.hunt,
    "affine": bilevel.affine,
    "curved": bilevel.curved,
    "equilibria": equilibria.hunt,
    "integers": integers.hunt,
    "proofs": proofs.hunt,
    "certificates": certificates.hunt,
    "units": units.hunt,
    "unique": uniqueness.hunt,
    "secondbest": second_best.hunt,
    "writings": writings.hunt,
    "wishes": wishes.hunt,
    "fits": claims.fits,
    "leaders": claims.leaders,
    "families": families.hunt,
    "crowds": crowds.hunt,
    "wide": wide.hunt,
    "tolls": tolls.hunt,
    "degenerate": degenerate.hunt,
    "refusals": refusals.hunt,
}
"""name → what plays one random game and enters what was claimed."""


def play(name: str, seed: int, numbers: range, ledger: Ledger) -> None:
    """Games number ``numbers`` of a hunt; each has a generator of its own, so that one can be played again alone."""
    for number in numbers:
        ledger.begin(name, seed, number)
        random = np.random.default_rng([seed, number, *name.encode()])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                HUNTS[name](random, ledger)
            except sp.StackpyomoError as refusal:
                ledger.claim(f"refused: {type(refusal).__name__}")
            except Exception as stranger:
                last = traceback.extract_tb(stranger.__traceback__)[-1]
                why = f"{type(stranger).__name__}: {str(stranger)[:200]} ({Path(last.filename).name}:{last.lineno})"
                ledger.claim("no foreign traceback", False, why, f'"""{traceback.format_exc()}"""')


def main(arguments: list[str] | None = None) -> int:
    """Play what is asked for; 1 if a claim was refuted."""
    parser = argparse.ArgumentParser(prog="python -m hunts", description=__doc__)
    parser.add_argument("hunts", nargs="*", metavar="HUNT", help="which of " + ", ".join(HUNTS) + " (all)")
    parser.add_argument("--seed", type=int, default=0, help="other games")
    parser.add_argument("--count", type=int, default=50, help="games of each hunt")
    parser.add_argument("--first", type=int, default=0, help="the number of the first game")
    parser.add_argument("--scripts", type=Path, default=Path("build/hunts"), help="where refutations are written")
    asked = parser.parse_args(arguments)
    ledger = Ledger(asked.scripts)
    with suppress(KeyboardInterrupt):  # what was played until then counts
        for name in asked.hunts or HUNTS:
            before = time.monotonic()
            play(name, asked.seed, range(asked.first, asked.first + asked.count), ledger)
            print(f"{name}: {asked.count} games in {time.monotonic() - before:.0f} s", file=sys.stderr, flush=True)
    print(ledger.table())
    for reason in ledger.reasons:
        print(reason)
    return 1 if ledger.refuted else 0


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the table is printed
    sys.exit(main())
