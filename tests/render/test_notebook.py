"""Figures and panels in the kernel of a notebook."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import tfviz
from tfviz.notebooks import is_notebook

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(tfviz.__file__).parents[1]
CELLS = [
    "import numpy as np, sys, tfviz\n"
    "images, maps = np.zeros((1, 8, 8, 3), 'uint8'), {'grad_cam': np.ones((1, 2, 2))}\n"
    "figure = tfviz.plot(images, maps)\nfigure",
    "for _ in range(2):\n    figure.show()",
    "tfviz.show(images, maps)",
    "%matplotlib inline\nfigure",
    "{'tensorflow', 'matplotlib.pyplot'} & set(sys.modules)",
]


@pytest.fixture(scope="module")
def outputs() -> list[list[Any]]:
    """Run the cells, and return the outputs of each."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_figure_is_displayed_with_and_without_a_magic_and_from_a_loop(outputs: list[list[Any]]) -> None:
    alone, loop, _, inline, modules = outputs
    assert [list(output.data) for output in (*alone, *loop, *inline)] == [["text/plain", "image/png"]] * 4
    assert "tensorflow" not in modules[0].data["text/plain"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_panel_is_displayed_as_html_and_as_text(outputs: list[list[Any]]) -> None:
    ((panel,),) = outputs[2:3]
    assert panel.data["text/plain"] == "Panel(1 image; Grad-CAM)"
    assert panel.data["text/html"].startswith('<div id="tfviz-')


def test_outside_of_a_notebook_nothing_changes() -> None:
    assert not is_notebook()
    figure = tfviz.plot([[[[0, 0, 0]]]], {"grad_cam": [[[1]]]})
    with pytest.raises(AttributeError, match="only for figures managed by pyplot"):
        figure.show()
