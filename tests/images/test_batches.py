"""Image files in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfviz.errors import ImageError, OptionError
from tfviz.images.batches import read_batches
from tfviz.images.files import write_image
from tfviz.images.preprocessing import Preprocessing


def image(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_images_are_read_in_batches_and_unreadable_ones_skipped(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{i}.png", image(seed=i)) for i in range(5)]
    paths[1].write_text("hello")
    skipped: list[tuple[int, ImageError]] = []
    how = Preprocessing((8, 6), resize="stretch")
    batches = list(read_batches(paths, how, 2, lambda number, error: skipped.append((number, error))))
    assert [batch.numbers for batch in batches] == [[0, 2], [3, 4]]
    assert [batch.tensors.shape for batch in batches] == [(2, 8, 6, 3), (2, 8, 6, 3)]
    assert np.array_equal(batches[1].images[0], image(seed=3))
    assert np.array_equal(batches[1].tensors[0], how.tensor(image(seed=3)))
    ((number, error),) = skipped
    assert number == 1 and "1.png is not a JPEG" in str(error)
    with pytest.raises(OptionError, match=r"The batch size must be at least 1\. Received: 0\."):
        list(read_batches(paths, how, 0, lambda number, error: None))


def test_a_batch_ends_where_the_size_changes(tmp_path: Path) -> None:
    sizes = [(6, 8), (6, 8), (8, 6), (6, 8)]
    paths = [write_image(tmp_path / f"{i}.png", image(*size)) for i, size in enumerate(sizes)]
    batches = list(read_batches(paths, Preprocessing(), 3, lambda number, error: None))
    assert [batch.numbers for batch in batches] == [[0, 1], [2], [3]]


def test_only_the_image_to_draw_on_is_reduced_not_the_tensor(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", image(40, 60))
    (batch,) = read_batches([path], Preprocessing(), 1, lambda number, error: None, max_side_px=30)
    assert batch.images[0].shape == (20, 30, 3)
    assert batch.tensors.shape == (1, 40, 60, 3)
