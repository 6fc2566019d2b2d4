"""What sinks receive and when, and what TensorBoard finds in its folder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.snapshot_material import Eager, assert_complete

import tfviz
from tfviz.runs.snapshot import Snapshot
from tfviz.snapshots.sinks import Sink


@pytest.fixture(scope="module")
def shared_eager() -> Eager:
    return Eager()


@pytest.fixture
def eager(shared_eager: Eager) -> Eager:
    shared_eager.reset()
    return shared_eager


class Recorder(Sink):
    """Records the calls, and reads the folder, as a sink may."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.events: list[str] = []
        self.threads: set[str] = set()

    def open(self, run: Any, folder: Path) -> None:
        self.folder, self.run = folder, run
        self.events.append("open")

    def write(self, snapshot: Snapshot) -> None:
        self.threads.add(threading.current_thread().name)
        assert assert_complete(self.folder)[-1] == snapshot.record
        self.snapshots.append(snapshot)
        self.events.append("write")

    def close(self) -> None:
        self.events.append("close")


def test_a_sink_receives_what_the_folder_holds(tmp_path: Path, eager: Eager) -> None:
    kept = Recorder()
    callback = eager.callback(tmp_path, sinks=[kept])
    for _ in range(2):
        eager.fit(callback)
    assert kept.events == ["open", "write", "write", "write", "close"] * 2
    assert kept.run == tfviz.runs.run_reader.read_run(tmp_path)
    assert [snapshot.record for snapshot in kept.snapshots] == assert_complete(tmp_path)
    for snapshot in kept.snapshots:
        number = snapshot.record["number"]
        with np.load(tmp_path / "maps" / f"{number:08d}.npz") as maps:
            np.testing.assert_allclose(snapshot.maps["grad_cam"], maps["grad_cam"], atol=1e-3)
        for image in range(2):
            picture = tfviz.read_image(tmp_path / "pictures" / f"{number:08d}" / "grad_cam" / f"{image}.png")
            np.testing.assert_array_equal(snapshot.pictures["grad_cam"][image], picture)
            np.testing.assert_array_equal(snapshot.images[image], tfviz.read_image(tmp_path / "images" / f"{image}.png"))
    assert all(name.startswith("tfviz-snapshots") for name in kept.threads)


@pytest.mark.parametrize("place", [None, "board"])
def test_tensorboard_finds_images_and_scalars_at_their_steps(tmp_path: Path, eager: Eager, place: str | None) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.util import tensor_util

    callback = eager.callback(tmp_path / "run", every=2, tensorboard=tmp_path / place if place else True)
    history = eager.fit(callback).history
    events = reader.EventAccumulator(str(tmp_path / (place or "run/tensorboard")), size_guidance={reader.TENSORS: 0})
    events.Reload()
    tags = {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]}
    images = ["images/0", "images/1", "grad_cam/0", "grad_cam/1"]
    assert tags == {**dict.fromkeys(images, "images"), "loss": "scalars", "accuracy": "scalars"}
    records = assert_complete(tmp_path / "run")
    losses = [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors("loss")]
    assert losses == [(record["step"], np.float32(record["logs"]["loss"])) for record in records[1:]]
    assert losses[-1][1] == np.float32(history["loss"][0])
    maps = events.Tensors("grad_cam/1")
    assert [event.step for event in maps] == [record["step"] for record in records]
    for record, event in zip(records, maps, strict=True):
        width, height, png = tensor_util.make_ndarray(event.tensor_proto).tolist()
        path = tmp_path / "run" / "pictures" / f"{record['number']:08d}" / "grad_cam" / "1.png"
        assert (width, height, png) == (b"16", b"16", path.read_bytes())


def test_the_viewer_argument_creates_a_viewer_sink(tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str | None]] = []

    class Recorded(Recorder):
        def __init__(self, url: str, token: str | None = None) -> None:
            super().__init__()
            made.append((url, token))

    monkeypatch.setattr("tfviz.snapshots.sinks.arguments.ViewerSink", Recorded)
    eager.fit(eager.callback(tmp_path, viewer="http://127.0.0.1:1337", token="secret"))
    assert made == [("http://127.0.0.1:1337", "secret")]


def test_a_row_of_sinks_makes_the_class_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new sink needs its file and its row, and neither a public name nor an argument."""
    monkeypatch.setitem(tfviz.SINKS, "recorder", Recorder)
    assert tfviz.Recorder is Recorder and "Recorder" in tfviz.__all__
    monkeypatch.delitem(vars(tfviz), "Recorder")
