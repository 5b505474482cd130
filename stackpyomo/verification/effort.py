"""What a re-solve of the followers may cost, and what it has to prove."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Effort"]


@dataclass(frozen=True)
class Effort:
    """What a re-solve may cost and has to prove: the options of :func:`verify`."""

    solver: str = "auto"
    starts: int = 8
    certify: str = "auto"
    tolerance: float = 1e-6
    time_limit: float | None = None
    together: bool = True
    """Whether many followers may be settled by arrays; their problems then hold no expressions."""
