"""`tfviz explain` draws signals, volumes and videos from .npy files."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from support import cli_material

from tfviz.cli.main import main
from tfviz.images.files import read_image

SIGNAL, VOLUME, VIDEO = (64, 1), (6, 8, 10, 1), (5, 8, 10, 3)


def saved(folder: Path, size: tuple[int | None, ...]) -> Path:
    """Save a network whose Grad-CAM map is the input's positive part."""
    inputs = keras.Input(size)
    conv, pool = {2: (layers.Conv1D, layers.GlobalAveragePooling1D), 4: (layers.Conv3D, layers.GlobalAveragePooling3D)}[
        len(size)
    ]
    x = conv(1, 1, activation="relu", kernel_initializer="ones", name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer="ones", activation="softmax")(pool()(x)))
    model.save(folder / "model.keras")
    return folder / "model.keras"


def spot(size: tuple[int, ...], start: int, stop: int, value: float = 1.0) -> np.ndarray:
    """Zeros, but `value` at some time steps, or in a corner of some slices."""
    array = np.zeros(size)
    array[(slice(start, stop), slice(2, 4), slice(5, 7))[: len(size) - 1]] = value
    return array


def explained(folder: Path, model: Path, *options: str, code: int = 0) -> Path:
    arguments = ["explain", str(folder / "data"), "--model", str(model), "--output", str(folder / "out"), *options]
    assert main([*arguments, "--method", "grad_cam,saliency", "--target", "1"]) == code
    return folder / "out"


def colored(out: Path, name: str) -> np.ndarray:
    """Return the columns of a drawn map that have a color."""
    picture = read_image(out / name / "grad_cam-1.png").astype(int)
    return np.flatnonzero((np.ptp(picture, axis=-1) > 60).any(axis=0))


@pytest.mark.parametrize(
    ("kind", "size", "start", "stop", "first", "last"),
    [
        ("signal", SIGNAL, 40, 44, 400, 439),  # 640 pixels for 64 time steps
        ("volume", VOLUME, 3, 4, 3 * 164 + 80, 3 * 164 + 111),  # 160 pixels and a gap of 4
        ("video", VIDEO, 1, 2, 164 + 80, 164 + 111),
    ],
)
def test_a_map_lies_over_the_samples_that_it_explains(
    kind: str,
    size: tuple[int, ...],
    start: int,
    stop: int,
    first: int,
    last: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "spot.npy", spot(size, start, stop))
    np.save(tmp_path / "data" / "other.npy", spot(size, 0, 1))
    out = explained(tmp_path, saved(tmp_path, size), "--raw")
    columns = colored(out, "spot")
    assert abs(columns.min() - first) <= 20
    assert abs(columns.max() - last) <= 20
    assert colored(out, "other").max() < first
    np.testing.assert_array_equal(np.load(out / "spot" / "grad_cam-1.npy") > 0, spot(size, start, stop).max(-1) > 0)
    page = (out / "index.html").read_text("utf-8")
    assert "spot/grad_cam-1.png" in page
    assert '<div class="maps wide">' in page
    assert ("white is zero" in page) == (size == SIGNAL)
    assert f"2 {kind}s · " in page and "2 images" not in page
    assert f"Explained 2 of 2 {kind}s" in capsys.readouterr().out
    assert len((out / "predictions.csv").read_text().splitlines()) == 5


def test_the_line_of_a_signal_stays_black(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "wave.npy", np.sin(np.arange(64.0))[:, None] + 1)
    out = explained(tmp_path, saved(tmp_path, SIGNAL))
    plain, drawn = (read_image(out / "wave" / file) for file in ("image.png", "grad_cam-1.png"))
    assert drawn[(plain < 60).all(-1)].max() < 60


def test_files_that_do_not_fit_are_failures_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "a_fits.npy", spot(SIGNAL, 3, 5))
    np.save(tmp_path / "data" / "b_long.npy", np.zeros((65, 1)))
    np.save(tmp_path / "data" / "c_nan.npy", spot(SIGNAL, 3, 5, np.nan))
    np.save(tmp_path / "data" / "d_objects.npy", np.array([{}]))
    (tmp_path / "data" / "e_text.npy").write_text("text")
    os.mkfifo(tmp_path / "data" / "f_pipe.npy")
    explained(tmp_path, saved(tmp_path, SIGNAL), code=1)
    out = capsys.readouterr().out
    assert "Explained 1 of 6 signals" in out
    assert "b_long.npy does not match the network, which expects one signal of shape (64, 1). Received: float64 (65, 1)." in out
    assert "c_nan.npy contains NaN or infinite values" in out
    assert "d_objects.npy cannot be read" in out
    assert "e_text.npy cannot be read" in out
    assert "f_pipe.npy is a pipe" in out


def test_an_image_network_still_needs_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "a.npy", spot(SIGNAL, 3, 5))
    cli_material.save_network(tmp_path / "model.keras")
    explained(tmp_path, tmp_path / "model.keras", code=1)
    assert "a.npy is not a JPEG" in capsys.readouterr().out
