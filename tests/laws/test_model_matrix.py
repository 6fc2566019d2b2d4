"""Networks of keras.applications, one of each kind; `scripts/model_matrix` checks all 40."""

from __future__ import annotations

import re

import pytest
from support import matrix

import tfviz

NETWORKS = ("VGG16", "MobileNet", "MobileNetV3Small")


@pytest.fixture(scope="module", params=NETWORKS)
def row(request: pytest.FixtureRequest) -> matrix.Matrix:
    row = matrix.Matrix(request.param)
    row.fill()
    return row


def test_every_method_equals_its_second_route(row: matrix.Matrix) -> None:
    assert row.wrong == []


def test_no_cell_is_empty(row: matrix.Matrix) -> None:
    assert tuple(row.cells) == matrix.METHODS
    for cell in row.cells.values():
        assert re.match(
            r"= ((images × )?rewritten model|two-output model at `\w+`|plain gradient, and warns: no ReLU but \w)",
            cell,
        )


def test_the_second_route_detects_mistakes() -> None:
    """The second route distinguishes guided backprop from the plain gradient, and classes."""
    row = matrix.Matrix("MobileNet")
    got = tfviz.GuidedBackprop(row.precise)(row.images, row.target).numpy()
    assert "away" in row._compared("guided_backprop", got, row._back(matrix.rewritten.Rewritten), "the gradient")
    row.seed, row.backs = row.seed[:, ::-1], {}
    assert "away" in row._compared("guided_backprop", got, row._back(matrix.rewritten.Guided), "another class")
    assert len(row.wrong) == 2
