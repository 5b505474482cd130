"""One version: in one file, and the same in the citation."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT, text_of

import stackpyomo as sp


def test_the_version_is_in_one_place() -> None:
    assert text_of("stackpyomo/version.py").count(f'"{sp.__version__}"') == 1
    project = text_of("pyproject.toml")
    assert 'dynamic = ["version"]' in project
    assert not re.search(r"^version\s*=", project, re.MULTILINE)
    for path in (ROOT / "stackpyomo").rglob("*.py"):
        if path.name != "version.py":
            assert sp.__version__ not in path.read_text(encoding="utf-8"), path.name


def test_the_citation() -> None:
    """In the format of citation-file-format.github.io, with what the software says of itself, and the paper."""
    yaml = pytest.importorskip("yaml")
    told = yaml.safe_load(text_of("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "type"} <= told.keys(), "what the format requires, and more"
    assert (told["title"], told["version"], told["license"]) == ("stackpyomo", sp.__version__, "BSD-3-Clause")
    project = text_of("pyproject.toml")
    assert f'description = "{told["abstract"]}"' in project
    assert f'authors = [{{ name = "{told["authors"][0]["name"]}" }}]' in project
    assert all(f'"{word}"' in project for word in told["keywords"])
    paper = told["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Sanjari", "Bose", "Başar"]
    assert (paper["year"], paper["volume"], paper["issue"]) == (2025, "15", "1")
    assert (paper["start"], paper["end"]) == ("238", "278")
    assert [name["value"] for name in paper["identifiers"]] == ["arXiv:2207.10611"]
    assert paper["title"] in " ".join(text_of("README.md").split())
