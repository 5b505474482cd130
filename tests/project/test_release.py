"""What a user downloads: one version, a wheel that is all the demo needs, a source archive that makes the same."""

from __future__ import annotations

import datetime
import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, environment, strict, text_of
from packaging.requirements import Requirement

import stackpyomo as sp

PACKAGE = ROOT / "stackpyomo"


NAME = f"stackpyomo-{sp.__version__}"


DEVELOPERS = {"test", "docs"}
"""Extras that "all" leaves out."""


class Built(NamedTuple):
    """What hatchling made: content by name, and the wheel's metadata."""

    wheel: Path
    files: dict[str, bytes]
    source: Path
    metadata: Message


def build(kind: str, home: Path, folder: Path) -> Path:
    """No network, no isolation: the hatchling that is installed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", os.fspath(folder)]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    wheel = build("wheel", ROOT, folder)
    files = content(wheel)
    metadata = email.message_from_bytes(files[f"{NAME}.dist-info/METADATA"])
    return Built(wheel, files, build("sdist", ROOT, folder), metadata)


def sections(text: str) -> Iterable[tuple[str, list[str]]]:
    """Heading and lines of each "## "."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, *lines = part.splitlines()
        yield heading, lines


def test_the_changelog() -> None:
    """After keepachangelog.com: the newest first, and this version is the newest, or still to come."""
    (first, lines), *older = sections(text_of("CHANGELOG.md"))
    if first == "[Unreleased]":
        assert any(line.strip() for line in lines) or older, "it says something"
        released = [heading for heading, _ in older]
    else:
        released = [first, *(heading for heading, _ in older)]
        assert first.startswith(f"[{sp.__version__}] - ")
    for heading in released:
        number, _, day = heading.partition(" - ")
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\]", number), heading
        datetime.date.fromisoformat(day)
    for line in lines:
        assert len(line) <= 120, line


def test_the_conda_environment() -> None:
    """Every dependency is in it, and whatever it has in common with pyproject.toml has the same bounds."""
    yaml = pytest.importorskip("yaml")
    listed = yaml.safe_load(text_of("environment.yml"))["dependencies"]
    (by_pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    assert by_pip[-1] == "-e ."
    given = [Requirement(line) for line in [*by_pip[:-1], *(line for line in listed if isinstance(line, str))]]
    bounds = {requirement.name: str(requirement.specifier) for requirement in given}
    project = text_of("pyproject.toml")
    assert bounds.pop("python") == str(Requirement(f"python{quoted(project, 'requires-python')[0]}").specifier)
    core, every = quoted(project, "dependencies"), re.findall(r'"([A-Za-z0-9-]+(?:\[\w+\])?>=[^"]*)"', project)
    assert {Requirement(line).name for line in core} <= bounds.keys()
    told = {r.name: str(r.specifier) for r in map(Requirement, every)}
    assert {name: bounds[name] for name in bounds.keys() & told.keys()} == {
        name: told[name] for name in bounds.keys() & told.keys()
    }
    assert bounds.keys() - told.keys() <= {"idaes-pse", "ipopt", "pip"}, "of conda alone"


def quoted(text: str, key: str) -> list[str]:
    """The strings that a key of pyproject.toml holds."""
    start = re.search(rf"^{key} = ", text, re.MULTILINE)
    assert start is not None
    rest = text[start.end() :]
    return re.findall(r'"([^"]*)"', rest[: rest.index("]" if rest.startswith("[") else "\n")])


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    about = f"{NAME}.dist-info"
    wanted = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    wanted |= {"stackpyomo/py.typed", "stackpyomo/__init__.pyi"}
    wanted |= {f"stackpyomo/reporting/{name}" for name in ("page.css", "slider.js")}
    wanted |= {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert built.files.keys() == wanted
    assert built.wheel.name == f"{NAME}-py3-none-any.whl"
    for name in ("cli/__init__.py", "verification/checker.py"):  # the command, and the file that others run alone
        assert built.files[f"stackpyomo/{name}"] == (PACKAGE / name).read_bytes()
    assert built.files[f"{about}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert built.files[f"{about}/entry_points.txt"].decode().split() == [
        *("[console_scripts]", "stackpyomo", "=", "stackpyomo.cli:main")
    ]


def test_what_the_wheel_says_of_itself(built: Built) -> None:
    told = built.metadata
    assert (told["Name"], told["Version"]) == ("stackpyomo", sp.__version__)
    assert (told["License-Expression"], told["License-File"]) == ("BSD-3-Clause", "LICENSE")
    assert set(told["Requires-Python"].split(",")) == {">=3.10", "<3.14"}
    kinds = told.get_all("Classifier") or []
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)} <= set(kinds)
    assert "Typing :: Typed" in kinds
    assert told["Description-Content-Type"] == "text/markdown"
    assert "# stackpyomo" in str(told.get_payload())


def test_all_is_all_extras(built: Built) -> None:
    wanted = [Requirement(line) for line in built.metadata.get_all("Requires-Dist") or []]
    extras = set(built.metadata.get_all("Provides-Extra") or [])
    assert {"all", "dask", "grid", "ipopt", "load", "notebooks", "parquet", "plot", "test", "traffic"} <= extras

    def of(extra: str) -> set[str]:
        return {r.name for r in wanted if r.marker is not None and r.marker.evaluate({"extra": extra})}

    for extra in extras - DEVELOPERS:
        assert of(extra) <= of("all"), extra
    assert all(of(extra) for extra in extras)
    assert all("<" in str(r.specifier) or ">=" in str(r.specifier) for r in wanted), "each has a bound"


@pytest.mark.slow
def test_the_demo_with_the_wheel_alone(built: Built, tmp_path: Path) -> None:
    """Unpacked, from another folder: nothing of the repository is on the path."""
    home, empty = tmp_path / "wheel", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(built.wheel) as archive:
        archive.extractall(home)
    told = environment(tmp_path) | {"PYTHONPATH": os.fspath(home)}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=empty, env=told, capture_output=True, encoding="utf-8", check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert Path(python("-c", "import stackpyomo; print(stackpyomo.__file__, end='')")).parent == home / "stackpyomo"
    out = python("-m", "stackpyomo", "demo", "--write", "toll.json")
    for words in ("A driver sends", "toll = 0 + 1.33333 (driver.flow − 0.6)", "verified: largest regret", "toll.json"):
        assert words in out
    assert strict(python("-m", "stackpyomo", "solve", "toll.json", "--json", "-"))["report"]["ok"] is True


def test_the_source_archive_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.source) as archive:
        names = [Path(name).parts[1:] for name in archive.getnames()]
        options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path, **options)
    assert content(build("wheel", tmp_path / NAME, tmp_path)) == built.files
    top = {parts[0] for parts in names}
    needed = {
        "stackpyomo",
        "models",
        "tests",
        "notebooks",
        "benchmarks",
        "hunts",
        "README.md",
        "LICENSE",
        "pyproject.toml",
    }
    needed |= {"CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "environment.yml"}
    assert needed <= top <= needed | {"docs", ".ci", ".gitignore", "PKG-INFO"}
    assert not [parts for parts in names if {"__pycache__", ".venv"} & set(parts)]
    for folder in ("models", "tests"):
        here = {path.relative_to(ROOT).parts for path in (ROOT / folder).rglob("*.py")}
        assert here <= set(names), folder
