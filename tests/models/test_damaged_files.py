"""A damaged or hostile weights or model file causes an error of tfviz, and nothing else.

No other file is read or written.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from support.vgg_files import random_vgg, write_npy

import tfviz
from tfviz.errors import WeightsError
from tfviz.models import load_model


def network() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(x)))


def safetensors(path: Path) -> None:
    about = {"features.0.bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
    header = json.dumps(about).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))


def checkpoint(path: Path, is_new: bool = True) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"features.0.bias": torch.ones(4)}, path, _use_new_zipfile_serialization=is_new)


FILES: dict[str, Callable[[Path], object]] = {
    "model.keras": lambda path: network().save(path),
    "model.h5": lambda path: network().save(path),
    "model.weights.h5": lambda path: network().save_weights(path),
    "model.safetensors": safetensors,
    "model.npy": lambda path: write_npy(path, random_vgg("vgg16", (1, 1, 1, 1, 1), (2, 2), 2)),
    "model.pth": checkpoint,
    "model.pt": lambda path: checkpoint(path, is_new=False),
}


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Truncate, change or extend the data, in half of the cases near the beginning."""
    kind, many = random.integers(4), random.bytes(int(random.integers(1, 40)))
    at = int(random.integers(len(data) if random.random() < 0.5 else min(len(data), 4096)))
    if kind == 0:
        return data[:at]
    return data[:at] + (b"\xff" * 8 if kind == 1 else many) + data[at + (len(many) if kind == 2 else 0) :]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_opens_or_the_error_names_it(name: str, tmp_path: Path) -> None:
    path, random = tmp_path / name, np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        FILES[name](path)
    data = path.read_bytes()
    rejected = 0
    for _ in range(25):
        path.write_bytes(damaged(data, random))
        try:
            if name in ("model.keras", "model.h5"):
                load_model(path)
            else:
                load_model("vgg16", weights=path)
        except tfviz.TfvizError as error:
            assert name in str(error)
            rejected += 1
    assert rejected >= 10


def h5_with(path: Path, change: Callable[[h5py.Group], None]) -> Path:
    """Save a model with something else in place of its convolution's kernel."""
    network().save_weights(path)
    with h5py.File(path, "r+") as file:
        group = file["layers/conv2d/vars"]
        del group["0"]
        change(group)
    return path


def other_file(folder: Path) -> str:
    with h5py.File(folder / "private.h5", "w") as file:
        file["0"] = np.ones((3, 3, 3, 4), "float32")
    (folder / "private.bin").write_bytes(bytes(432))
    return str(folder / "private.h5")


def external_link(group: h5py.Group, other: str) -> None:
    group["0"] = h5py.ExternalLink(other, "/0")


def external_data(group: h5py.Group, other: str) -> None:
    where = [(other.replace(".h5", ".bin"), 0, h5py.h5f.UNLIMITED)]
    group.create_dataset("0", (3, 3, 3, 4), "float32", external=where)


def virtual_data(group: h5py.Group, other: str) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), "float32")
    layout[...] = h5py.VirtualSource(other, "0", (3, 3, 3, 4))
    group.create_virtual_dataset("0", layout)


@pytest.mark.parametrize("in_archive", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, r"links /layers/conv2d/vars/0 to another file, '.*private\.h5', which tfviz does not read"),
        (external_data, r"stores the array /layers/conv2d/vars/0 in other files, which tfviz does not read"),
        (virtual_data, r"stores the array /layers/conv2d/vars/0 in other files, which tfviz does not read"),
    ],
)
def test_a_file_reads_no_other_file(change: Callable[..., None], message: str, in_archive: bool, tmp_path: Path) -> None:
    other = other_file(tmp_path)
    path = h5_with(tmp_path / "m.weights.h5", lambda group: change(group, other))
    if in_archive:
        network().save(tmp_path / "own.keras")
        path = rewritten(tmp_path / "own.keras", tmp_path / "m.keras", {"model.weights.h5": path.read_bytes()})
    with pytest.raises(WeightsError, match=rf"{path.name} {message}. Get the file again from its source"):
        load_model("vgg16", weights=path)
    if in_archive:
        with pytest.raises(WeightsError, match=message):
            load_model(path)


def rewritten(source: Path, path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Copy an archive, with other and additional entries."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in {*old.namelist(), *entries}:
            new.writestr(name, entries[name] if name in entries else old.read(name))
    return path


@pytest.mark.parametrize("entry", ["../x", "/tmp/x", "assets/../../x", "C:\\x", "..\\x", "\\\\host\\x"])
def test_an_entry_that_leads_out_of_the_archive_is_rejected(entry: str, tmp_path: Path) -> None:
    network().save(tmp_path / "own.keras")
    path = rewritten(tmp_path / "own.keras", tmp_path / "m.keras", {entry: b"x"})
    with pytest.raises(
        WeightsError, match=r"m\.keras contains the entry '.*', which points outside the archive\. Get the file again"
    ):
        load_model(path)


def test_an_archive_that_expands_to_far_more_than_its_size_is_rejected(tmp_path: Path) -> None:
    network().save(tmp_path / "own.keras")
    path = rewritten(tmp_path / "own.keras", tmp_path / "m.keras", {"assets/x": bytes(1 << 29)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(
        WeightsError,
        match=r"m\.keras has [\d,]+ bytes but declares 5\d\d,\d{3},\d{3} bytes of content, too many",
    ):
        load_model(path)


def test_arrays_that_claim_far_more_than_the_size_of_the_file_are_rejected(tmp_path: Path) -> None:
    path = h5_with(tmp_path / "m.weights.h5", lambda group: group.create_dataset("0", (1 << 20, 1 << 20), "float32"))
    with pytest.raises(WeightsError, match=r"declares 4,398,\d{3},\d{3},\d{3} bytes of content"):
        load_model("vgg16", weights=path)


def test_a_group_that_contains_itself_is_visited_once(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    network().save(path)
    with h5py.File(path, "r+") as file:
        file["model_weights/again"] = file["model_weights"]
    assert load_model(path).count_params() == network().count_params()


def test_changed_bytes_in_an_archive_are_detected(tmp_path: Path) -> None:
    """HDF5 has no checksums, and an archive's checksum covers a whole entry."""
    path = tmp_path / "m.keras"
    network().save(path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5")).getvalue()
    data[data.index(weights) + len(weights) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="is truncated or damaged"):
        load_model(path)
