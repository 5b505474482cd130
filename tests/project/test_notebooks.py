"""Every notebook is stored without output and runs from top to bottom, in its own folder as Jupyter runs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
NEEDS = {"sioux_falls": ("aequilibrae", "traffic"), "country_grid": ("pandapower", "grid")}
"""Notebook → (module, extra) without which it cannot run. Dask is not needed: dask_study does without."""
FIGURES = {
    "quickstart": 2,
    "paper": 6,
    "grid_prices": 3,
    "country_grid": 2,
    "sioux_falls": 3,
    "nonquadratic": 5,
    "solver_comparison": 4,
    "dask_study": 1,
    "metered_tariff": 3,
}
EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """One kernel for all, which has imported everything once; each notebook finds it without any names."""
    pytest.importorskip("ipykernel", reason="needs the extra notebooks")
    client = pytest.importorskip("jupyter_client", reason="needs the extra notebooks")
    manager = client.AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        client.utils.run_sync(manager.shutdown_kernel)(now=True)


def execute(notebook: Any, kernel: Any = None) -> Any:
    """The notebook with its outputs; without a kernel in one of its own."""
    nbclient = pytest.importorskip("nbclient", reason="needs the extra notebooks")
    nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
    if kernel is not None:
        notebook.cells.insert(0, nbformat.v4.new_code_cell("get_ipython().reset()"))
    client = nbclient.NotebookClient(notebook, km=kernel, timeout=240, resources={"metadata": {"path": str(FOLDER)}})
    try:
        return client.execute()
    finally:
        if kernel is not None and client.kc is not None:  # a kernel that goes on is not the client's to close
            client.kc.stop_channels()


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(FIGURES)


@EVERY
def test_notebook_is_stored_clean(path: Path) -> None:
    """No output, no execution counts, no metadata of somebody's editor."""
    notebook = read(path)
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.cells[0].source.startswith("# ")
    assert "## What next" in notebook.cells[-1].source


@EVERY
def test_notebook_links_to_files_that_are_there(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    links = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert links
    assert [target for target in links if not (path.parent / target).is_file()] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # of the client, not the notebook
@EVERY
def test_notebook_runs(path: Path, kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, nothing on standard error (where warnings go), and as many figures as it should have."""
    monkeypatch.setenv("GRID_CASE", "case5")
    module, extra = NEEDS.get(path.stem, ("", ""))
    if module and find_spec(module) is None:
        pytest.skip(f"{path.name} needs {module}: pip install 'stackpyomo[{extra}]'")
    alone = path.stem == "dask_study"  # its workers ask for the module that a reset takes away
    found = outputs(execute(read(path), None if alone else kernel))
    assert [output for output in found if output.output_type == "error"] == []
    assert [output.text for output in found if output.output_type == "stream" and output.name == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in found) == FIGURES[path.stem]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_study_runs_without_dask() -> None:
    """Dask hidden: on worker processes, the same; the rest of the notebook does not ask for it."""
    nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
    notebook = read(FOLDER / "dask_study.ipynb")
    (last,) = (number for number, cell in enumerate(notebook.cells) if 'find_spec("distributed"):' in cell.source)
    del notebook.cells[last + 1 :]
    notebook.cells.insert(0, nbformat.v4.new_code_cell('import sys\nsys.modules["distributed"] = None'))
    found = outputs(execute(notebook))
    assert [output for output in found if output.output_type == "error"] == []
    assert any("2 processes: " in output.get("text", "") for output in found)
