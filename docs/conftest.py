"""The pages run as doctests; one that begins with a comment "needs: PACKAGE" is skipped where that is missing."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDS = re.compile(r"<!-- needs: (\w+) \((.+)\) -->")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix != ".md" or HERE not in item.path.parents:
            continue
        needed = NEEDS.match(item.path.read_text(encoding="utf-8"))
        if needed and find_spec(needed[1]) is None:
            item.add_marker(pytest.mark.skip(reason=f"needs {needed[1]}: {needed[2]}"))
