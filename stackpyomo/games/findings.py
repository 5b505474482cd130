"""Findings: what a look at a game tells, by component, with what to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One finding of ``game.check()``: how serious it is, what it is about, what was found and what to do."""

    severity: str  #: "error" (the game cannot be used), "warning" or "info".
    component: str  #: Name of the component it is about.
    message: str  #: What was found.
    remedy: str  #: What to do; may be empty.

    def __str__(self) -> str:
        return f"{self.component}: {self.message} {self.remedy}".rstrip()
