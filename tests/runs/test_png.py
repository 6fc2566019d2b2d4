"""PNG headers are checked before decoding, however short they are."""

from __future__ import annotations

import numpy as np
import pytest

from tfviz.images.files import png_bytes
from tfviz.runs.png import fault_of, header_fault

SIZE = {"height": 5, "width": 7}
PNG = png_bytes(np.zeros((5, 7, 3), np.uint8))


@pytest.mark.parametrize("count", range(0, len(PNG), 3))
def test_a_cut_image_has_a_fault(count: int) -> None:
    assert fault_of(PNG[:count], SIZE) is not None


def test_a_complete_image_of_this_size_has_none() -> None:
    assert fault_of(PNG, SIZE) is None
    assert "7 pixels wide and 9 high" in (header_fault(PNG, {"height": 9, "width": 7}) or "")
