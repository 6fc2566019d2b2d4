"""Failures of snapshots cause one warning each and don't stop training, unless strict=True."""

from __future__ import annotations

import errno
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from support.snapshot_material import Eager, assert_complete, at_batch

import tfviz
from tfviz.runs import run_folder as folders
from tfviz.snapshots.faults import SnapshotWarning
from tfviz.snapshots.sinks import Sink


@pytest.fixture(scope="module")
def shared_eager() -> Eager:
    return Eager()


@pytest.fixture
def eager(shared_eager: Eager) -> Eager:
    shared_eager.reset()
    return shared_eager


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("this system has no mount command")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def warned(train: Callable[[], Any]) -> list[str]:
    """Train, and return the warnings, which must all be about snapshots."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train()
    assert {warning.category for warning in caught} <= {SnapshotWarning}
    return [str(warning.message) for warning in caught]


class Failing(tfviz.GradCAM):
    """A Grad-CAM that raises in some of its calls."""

    def __init__(self, model: Any, calls: set[int]) -> None:
        super().__init__(model)
        self.calls, self.count = calls, 0

    def with_outputs(self, images: Any, target: Any = None) -> Any:
        self.count += 1
        if self.count - 1 in self.calls:
            raise RuntimeError("no more\nmemory")
        return super().with_outputs(images, target)


def test_an_explainer_that_raises_affects_only_its_own_pictures(tmp_path: Path, eager: Eager) -> None:
    explainers = [Failing(eager.model, {1, 2}), eager.explainer]
    messages = warned(lambda: eager.fit(eager.callback(tmp_path, explainers=explainers, every=2)))
    assert messages == ["The grad_cam snapshot failed: RuntimeError: no more memory. Training continues."]
    records = assert_complete(tmp_path)
    assert [record["methods"] for record in records] == [
        ["grad_cam", "grad_cam-2"], ["grad_cam-2"], ["grad_cam-2"], ["grad_cam", "grad_cam-2"]
    ]  # fmt: skip
    assert records[1]["errors"] == {"grad_cam": "RuntimeError: no more memory"}
    assert records[3]["errors"] == {}
    assert None not in records[1]["predictions"]


def test_a_record_without_any_successful_explainer_holds_the_errors(tmp_path: Path, eager: Eager) -> None:
    messages = warned(lambda: eager.fit(eager.callback(tmp_path, explainers=Failing(eager.model, {0, 1, 2}))))
    assert len(messages) == 1
    for record in assert_complete(tmp_path):
        assert (record["methods"], list(record["errors"])) == ([], ["grad_cam"])
        assert record["predictions"] == [None, None]


def test_an_explainer_that_raises_stops_a_strict_training(tmp_path: Path, eager: Eager) -> None:
    with pytest.raises(RuntimeError, match="no more"):
        eager.fit(eager.callback(tmp_path, explainers=Failing(eager.model, {1}), every=2, strict=True))


def diverge(model: keras.Model) -> None:
    model.set_weights([weight * np.nan for weight in model.get_weights()])


def test_a_diverged_training_is_recorded_without_pictures(tmp_path: Path, eager: Eager) -> None:
    messages = warned(lambda: eager.fit(at_batch(2, lambda: diverge(eager.model)), eager.callback(tmp_path, every=2)))
    assert len(messages) == 1 and "grad_cam failed at step 2: The attribution contains" in messages[0]
    records = assert_complete(tmp_path)
    assert [record["methods"] for record in records] == [["grad_cam"], [], [], []]
    assert records[-1]["predictions"] == [None, None]
    assert records[-1]["logs"]["loss"] is None and records[1]["logs"]["loss"] > 0


def test_a_full_disk_loses_snapshots_but_does_not_stop_training(small_disk: Path, eager: Eager) -> None:
    ballast = small_disk / "ballast"
    free = at_batch(4, lambda: ballast.unlink())
    fill = at_batch(2, lambda: fill_up(ballast))
    callback = eager.callback(small_disk / "run", every=1, max_queued=1)
    messages = warned(lambda: eager.fit(fill, free, Patient(callback)))
    assert len(messages) == 1
    assert "The snapshot at step 2 could not be written" in messages[0] and "No space left on device" in messages[0]
    records = assert_complete(small_disk / "run")
    assert [record["step"] for record in records] == [0, 1, 4, 5, 5]
    with pytest.raises(tfviz.OutputError, match="No space left on device"):
        eager.fit(at_batch(2, lambda: fill_up(ballast)), eager.callback(small_disk / "run", every=1, strict=True))


def fill_up(path: Path) -> None:
    """Use up the free space."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 512):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC


class Patient(keras.callbacks.Callback):
    """After each batch, waits until the wrapped callback has written its snapshots."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def set_model(self, model: Any) -> None:
        self.inner.set_model(model)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_") and name != "on_train_batch_end":
            return getattr(self.inner, name)
        return super().__getattribute__(name)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.inner.on_train_batch_end(batch, logs)
        wait_for(self.inner)


def wait_for(callback: Any) -> None:
    """Wait until the background thread is idle."""
    done = threading.Event()
    callback._session._background.do(done.set)
    assert done.wait(20)


def test_writing_is_retried_if_the_disk_is_full_from_the_start(small_disk: Path, eager: Eager) -> None:
    callback = eager.callback(small_disk / "run", every=1)
    ballast = small_disk / "ballast"
    fill_up(ballast)
    messages = warned(lambda: eager.fit(at_batch(3, ballast.unlink), Patient(callback)))
    assert len(messages) == 1 and "could not be started" in messages[0]
    assert [record["step"] for record in assert_complete(small_disk / "run")] == [3, 4, 5, 5]


def test_a_line_that_cannot_be_written_loses_only_its_snapshot(
    tmp_path: Path, eager: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, record: Any) -> None:
        if record["step"] in (1, 2):
            raise OSError(errno.EIO, "Input/output error")
        add_line(path, record)

    add_line = folders.add_line
    monkeypatch.setattr(folders, "add_line", failing)
    messages = warned(lambda: eager.fit(eager.callback(tmp_path, every=1)))
    assert len(messages) == 1 and "Input/output error" in messages[0]
    assert [record["step"] for record in assert_complete(tmp_path)] == [0, 3, 4, 5, 5]
    assert len(list((tmp_path / "pictures").iterdir())) == 5


def test_a_removed_folder_starts_a_new_run(tmp_path: Path, eager: Eager) -> None:
    path, opened = tmp_path / "run", []

    class Noting(Sink):
        def open(self, run: Any, folder: Path) -> None:
            opened.append(run["id"])

        def write(self, snapshot: Any) -> None:
            opened.append(snapshot.record["number"])

        def close(self) -> None:
            opened.append("closed")

    callback = eager.callback(path, every=1, sinks=[Noting()])
    messages = warned(lambda: eager.fit(Patient(callback), at_batch(2, lambda: shutil.rmtree(path))))
    assert messages == [f"The run in {path} was removed. A new run is started in the same folder. Training continues."]
    assert [record["step"] for record in assert_complete(path)] == [3, 4, 5, 5]
    assert [entry for entry in opened if not isinstance(entry, str)] == [0, 1, 2, 0, 1, 2, 3]
    first, second = (entry for entry in opened if isinstance(entry, str) and entry != "closed")
    assert second == tfviz.runs.run_reader.read_run(path)["id"] != first
    assert opened.count("closed") == 2 and opened[-1] == "closed"


def test_a_removed_folder_stops_a_strict_training(tmp_path: Path, eager: Eager) -> None:
    path = tmp_path / "run"
    callback = eager.callback(path, every=1, strict=True)
    with pytest.raises(tfviz.TfvizError, match="was removed"):
        eager.fit(Patient(callback), at_batch(2, lambda: shutil.rmtree(path)))


class Broken(Sink):
    """Raises in some of its calls."""

    def __init__(self, *calls: str) -> None:
        self.calls, self.seen = calls, []

    def open(self, run: Any, folder: Path) -> None:
        self._do("open")

    def write(self, snapshot: Any) -> None:
        self._do("write")

    def close(self) -> None:
        self._do("close")

    def _do(self, what: str) -> None:
        self.seen.append(what)
        if what in self.calls:
            raise ConnectionError(f"{what}: nobody there")


@pytest.mark.parametrize(("call", "words"), [("open", "opened"), ("write", "written to"), ("close", "closed")])
def test_a_sink_that_raises_is_reported_once_and_does_not_stop_the_others(
    tmp_path: Path, eager: Eager, call: str, words: str
) -> None:
    sinks = [Broken(call), Broken()]
    messages = warned(lambda: eager.fit(eager.callback(tmp_path / "run", every=2, sinks=sinks)))
    assert messages == [f"Broken could not be {words}: ConnectionError: {call}: nobody there. Training continues."]
    assert sinks[0].seen == sinks[1].seen == ["open", "write", "write", "write", "write", "close"]
    with pytest.raises(ConnectionError, match="nobody there"):
        eager.fit(eager.callback(tmp_path / "strict", every=2, sinks=sinks, strict=True))


def test_each_training_reports_failures_again(tmp_path: Path, eager: Eager) -> None:
    """Even under Python's default filters, which show a repeated warning only once."""
    callback = eager.callback(tmp_path, sinks=[Broken("write")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            eager.fit(callback)
    assert ["nobody there" in str(warning.message) for warning in caught] == [True, True]


def test_a_log_that_is_not_a_number_loses_only_its_entry(tmp_path: Path, eager: Eager) -> None:
    class Ragged(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs.update(per_class=[[0.5], [0.25, 0.75]], mean=0.5)

    assert warned(lambda: eager.fit(Ragged(), eager.callback(tmp_path))) == []
    assert set(assert_complete(tmp_path)[1]["logs"]) == {"loss", "accuracy", "mean"}


def test_training_waits_for_a_slow_sink_and_no_snapshot_is_dropped(tmp_path: Path, eager: Eager) -> None:
    """Backpressure: with a sink that takes 0.1 s, two snapshots may wait, then training waits."""
    waiting: list[int] = []
    taken = written = 0

    class Slow(Sink):
        def write(self, snapshot: Any) -> None:
            nonlocal written
            time.sleep(0.1)
            waiting.append(taken - written)
            written += 1

    callback = eager.callback(tmp_path, every=1, max_queued=2, sinks=[Slow()])
    take = callback._take

    def counting(*arguments: Any) -> None:
        nonlocal taken
        take(*arguments)
        taken += 1

    callback._take = counting
    eager.fit(callback, epochs=2)
    assert written == taken == len(assert_complete(tmp_path)) == 12
    assert max(waiting) <= 3


def test_a_strict_error_does_not_hide_the_one_that_ended_the_training(tmp_path: Path, eager: Eager) -> None:
    callback = eager.callback(tmp_path, every=1, strict=True, sinks=[Broken("close")])
    with (
        pytest.warns(SnapshotWarning, match="nobody there"),
        pytest.raises(ZeroDivisionError),
        callback as snapshots,
    ):
        eager.fit(at_batch(2, lambda: 1 / 0), snapshots)


def test_the_warning_names_and_chains_the_error_of_a_sink(tmp_path: Path, eager: Eager) -> None:
    broken = KeyError("disk 7")

    class Broken(Sink):
        def write(self, snapshot: Any) -> None:
            raise broken

    with pytest.warns(SnapshotWarning, match=r"Broken could not be written to: KeyError: 'disk 7'\. Training") as caught:
        eager.fit(eager.callback(tmp_path, sinks=[Broken()]))
    (warning,) = caught
    assert isinstance(warning.message, SnapshotWarning)
    assert warning.message.__cause__ is broken
