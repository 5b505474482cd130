"""POUNCE's library, which reads at its import, from the environment, what of its log goes to standard error: nothing.

What is worth knowing of a solve is in its :class:`Solution`. Who has set ``RUST_LOG`` gets that log.
"""

from __future__ import annotations

import os

_GIVEN = "RUST_LOG" in os.environ
os.environ.setdefault("RUST_LOG", "off")
try:
    import pounce as pounce
finally:
    if not _GIVEN:
        del os.environ["RUST_LOG"]
