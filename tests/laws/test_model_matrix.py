"""Networks of keras.applications and of other kinds; `scripts/model_matrix` checks them all."""

from __future__ import annotations

import re

import pytest
from support import matrix
from support.network_row import GROUPS, NetworkRow

import tfviz

OF_APPLICATIONS = ("VGG16", "MobileNet", "MobileNetV3Small")
OTHERS = ("KerasHub DINOv3", "CCT", "KerasHub DeepLabV3", "1-D convolutions")


@pytest.fixture(scope="module", params=OF_APPLICATIONS)
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


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras, while it builds Swin
def test_every_method_on_other_networks_equals_its_second_route_or_is_not_defined(name: str) -> None:
    if name.startswith("KerasHub"):
        pytest.importorskip("keras_hub", reason="pip install keras-hub")
    row = NetworkRow(name)
    row.fill()
    assert row.wrong == []
    assert tuple(row.cells) == tuple(GROUPS)
    assert all(re.fullmatch(r"= second route \(.*\)|not defined.*", cell) for cell in row.cells.values())
