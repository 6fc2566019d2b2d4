"""The notebooks run from beginning to end, and are stored without outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.ipynb"))
CELL_TIMEOUT_S = 120


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> object:
    return nbformat.read(request.param, as_version=4)


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in EXAMPLES] == ["digits", "images"]


def test_a_notebook_is_stored_without_outputs(notebook: object) -> None:
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_runs_and_draws(notebook: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    root = EXAMPLES[0].parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (root, root / "scripts"))))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
