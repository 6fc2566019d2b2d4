"""What experiment trackers store, read back through their own packages, and how they fail."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.snapshot_material import Eager, assert_complete
from support.tracker_runs import MlflowRun, TrackerRun, TrackioRun, WandbRun

import tfviz
from tfviz.images import read_written
from tfviz.runs.schema import Record
from tfviz.snapshots.faults import SnapshotWarning
from tfviz.snapshots.sinks.tracker import CaptionedImage, Tracker

LABELS = ["cat", "dog", "owl", "fox"]
TRACKERS = {"wandb": WandbRun, "mlflow": MlflowRun, "trackio": TrackioRun}


@pytest.fixture(scope="module")
def shared_eager() -> Eager:
    return Eager()


@pytest.fixture
def eager(shared_eager: Eager) -> Eager:
    shared_eager.reset()
    return shared_eager


def started(package: str, folder: Path, patch: pytest.MonkeyPatch) -> TrackerRun:
    """Start a run of a tracker, or skip the test if the tracker is not installed."""
    if importlib.util.find_spec(package) is None:  # importing it reads the environment
        pytest.skip(f"{package} is not installed")
    folder.mkdir()
    return TRACKERS[package](folder, patch)


@pytest.mark.filterwarnings("default")  # the trackers' own
@pytest.mark.parametrize("package", TRACKERS)
def test_a_tracker_stores_images_captions_numbers_and_raw_maps(
    package: str, tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = started(package, tmp_path / package, monkeypatch)
    run = tmp_path / "run"
    eager.fit(eager.callback(run, every=2, sinks=[tracker.sink], labels=LABELS, truth=[0, 1]))
    logged = tracker.finish()
    records = assert_complete(run)
    assert [record["step"] for record in records] == [0, 2, 4, 5]
    losses = [record["logs"]["loss"] for record in records[1:]]
    assert [step for step, _ in logged.numbers["tfviz/loss"]] == [2, 4, 5] and "tfviz/accuracy" in logged.numbers
    np.testing.assert_allclose([value for _, value in logged.numbers["tfviz/loss"]], losses, rtol=1e-6)
    assert logged.files == {path.name: path.read_bytes() for path in (run / "maps").iterdir()}
    found = {one[:3]: one[3:] for one in logged.images}
    assert len(found) == len(logged.images) == 2 + 2 * len(records)
    for image in range(2):
        caption, picture = found[0, "images", image]
        assert caption.startswith(f"image {image + 1} · before training, step 0 · predicted ")
        np.testing.assert_array_equal(picture, read_written(run / "images" / f"{image}.png"))
        for record in records:
            caption, picture = found[record["step"], "grad_cam", image]
            path = run / "pictures" / f"{record['number']:08d}" / "grad_cam" / f"{image}.png"
            np.testing.assert_array_equal(picture, read_written(path))
            top = record["predictions"][image]
            assert f"step {record['step']} · predicted {LABELS[top['class']]} {top['score']:.2f}" in caption
            assert caption.startswith("Grad-CAM · ") and caption.endswith(f"true class {LABELS[image]}")


@pytest.mark.filterwarnings("default")
def test_wandb_keeps_snapshots_whose_step_is_taken(tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B drops a row whose step lies behind, and merges rows of the same step."""
    tracker = started("wandb", tmp_path / "wandb", monkeypatch)
    tracker.run.log({"own": 1.0}, step=1000)
    eager.fit(eager.callback(tmp_path / "run", sinks=[tracker.sink]), epochs=2)
    logged = tracker.finish()
    maps = [(step, number) for step, key, number, _, _ in logged.images if key == "grad_cam"]
    assert maps == [(step, number) for step in (0, 5, 10, 10) for number in range(2)]


@pytest.mark.parametrize("package", TRACKERS)
def test_a_tracker_that_is_not_installed_causes_one_warning(
    package: str, tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    sink = tfviz.SINKS[package]("run id")
    with pytest.warns(SnapshotWarning) as caught:
        eager.fit(eager.callback(tmp_path, every=1, sinks=[sink]))
    assert len(caught) == 1 and f"needs {package}, which is not installed. Run: pip install {package}" in str(caught[0].message)
    assert len(assert_complete(tmp_path)) == 7


class Failing(Tracker):
    """A tracker that fails at some steps, and takes time for it."""

    product, extra = "Failing", "wandb"

    def __init__(self, *steps: int, takes_s: float = 0.0) -> None:
        super().__init__()
        self.steps, self.takes_s = steps, takes_s
        self.logged: list[int] = []

    def _connect(self) -> None: ...

    def _log(self, record: Record, numbers: dict[str, float], images: list[CaptionedImage]) -> None:
        self._fail_at(record["step"])

    def _log_folder(self, name: str, folder: Path) -> None:
        self._fail_at(-1)

    def _fail_at(self, step: int) -> None:
        self.logged.append(step)
        if step in self.steps:
            time.sleep(self.takes_s)
            raise (ConnectionError if step % 2 else KeyError)("nobody there")


def test_a_tracker_that_fails_causes_one_warning_and_is_tried_again(tmp_path: Path, eager: Eager) -> None:
    sink = Failing(1, 2, -1)
    with pytest.warns(SnapshotWarning) as caught:
        eager.fit(eager.callback(tmp_path, every=1, sinks=[sink]))
    assert [str(one.message).partition(" All snapshots")[0] for one in caught] == [
        "Failing could not be written to: Failing failed (ConnectionError: nobody there)."
    ]
    assert sink.logged == [0, 1, 2, 3, 4, 5, 5, -1]
    assert len(assert_complete(tmp_path)) == 7


def test_a_tracker_that_fails_slowly_is_left_alone_for_a_while(tmp_path: Path, eager: Eager) -> None:
    sink = Failing(1, takes_s=1.0)
    with pytest.warns(SnapshotWarning, match="nobody there"):
        eager.fit(eager.callback(tmp_path, every=1, sinks=[sink]))
    assert sink.logged == [0, 1]
    assert len(assert_complete(tmp_path)) == 7


def test_a_failed_connection_is_tried_again(tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, connections = Failing(), iter([ConnectionError("nobody there"), ConnectionError("nobody there"), None])

    def connect(_: Tracker) -> None:
        if (error := next(connections)) is not None:
            raise error

    monkeypatch.setattr(Failing, "_connect", connect)
    with pytest.warns(SnapshotWarning) as caught:
        eager.fit(eager.callback(tmp_path, every=1, sinks=[sink]))
    assert len(caught) == 1 and "Failing could not be opened" in str(caught[0].message)
    assert sink.logged == [1, 2, 3, 4, 5, 5, -1]
