"""The ledger: claims made, claims refuted, and a script for each refutation."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Ledger"]


@dataclass
class Ledger:
    """Counts by (hunt, claim); a refuted claim leaves a script in ``folder``."""

    folder: Path | None = None
    made: Counter[tuple[str, str]] = field(default_factory=Counter)
    refuted: Counter[tuple[str, str]] = field(default_factory=Counter)
    games: Counter[str] = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)
    hunt: str = ""
    seed: int = 0
    number: int = 0

    def begin(self, hunt: str, seed: int, number: int) -> None:
        """What is claimed from here on is about this game."""
        self.hunt, self.seed, self.number = hunt, seed, number
        self.games[hunt] += 1

    def claim(self, word: str, holds: bool = True, why: str = "", script: str = "") -> bool:
        """Count a claim; where an oracle says that it does not hold, keep why and the script."""
        self.made[self.hunt, word] += 1
        if not holds:
            self.refuted[self.hunt, word] += 1
            again = f"make hunt HUNT={self.hunt} SEED={self.seed} FIRST={self.number} COUNT=1"
            self.reasons.append(f"{word}: {why}\n    {again}")
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                name = f"{self.hunt}-{self.seed}-{self.number}-{word.replace(' ', '_')}.py"
                head = textwrap.fill(f"{word}: {why}", 110, initial_indent="# ", subsequent_indent="# ")
                (self.folder / name).write_text(f"{head}\n# {again}\n{script}\n", encoding="utf-8")
        return holds

    def table(self) -> str:
        """One line for each hunt and claim."""
        rows = [f"{'hunt':12} {'claim':34} {'made':>6} {'refuted':>8}"]
        for hunt in self.games:
            rows.append(f"{hunt:12} {'games':34} {self.games[hunt]:6}")
            claims = sorted(word for h, word in self.made if h == hunt)
            rows += [f"{'':12} {w:34} {self.made[hunt, w]:6} {self.refuted[hunt, w] or '':>8}" for w in claims]
        return "\n".join(rows)
