"""Trainers and the viewer together: the viewer stores what the trainer writes."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

from support.fake_runs import FakeTrainer
from support.viewer_material import until

from tfviz.runs.layout import find_runs
from tfviz.runs.run_reader import read_records, read_run
from tfviz.snapshots.sinks.viewer import ViewerSink
from tfviz.snapshots.upload.viewer_client import ViewerError
from tfviz.viewer.server import Viewer

NEWS: Any = None  # the sink reads from the folder; its argument is unused


def kept(folder: Path) -> dict[str, bytes]:
    """Return the pictures of a run by their path in its folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def assert_same(viewed: Path, trainer: FakeTrainer) -> None:
    (received,) = [folder for folder in find_runs(viewed) if read_run(folder)["id"] == trainer.run["id"]]
    assert read_run(received) == trainer.run
    assert read_records(received) == read_records(trainer.folder)
    assert kept(received) == kept(trainer.folder)


def test_several_trainers_can_send_at_once(tmp_path: Path) -> None:
    trainers = [FakeTrainer(tmp_path / f"{number}" / "run", f"{number}" * 32) for number in range(3)]

    def train(trainer: FakeTrainer, address: str) -> None:
        sink = ViewerSink(address, "token")
        sink.open(trainer.run, trainer.folder)
        for _ in range(4):
            trainer.snap()
            sink.write(NEWS)
        sink.close()

    with Viewer(tmp_path / "viewed", port=0, token="token") as viewer:
        threads = [threading.Thread(target=train, args=(trainer, viewer.address)) for trainer in trainers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for trainer in trainers:
        assert_same(tmp_path / "viewed", trainer)


def test_a_restarted_viewer_receives_what_it_missed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer, viewed = FakeTrainer(tmp_path / "run", "a" * 32), tmp_path / "viewed"
    with Viewer(viewed, port=0) as viewer:
        sink = ViewerSink(viewer.address)
        sink.open(trainer.run, trainer.folder)
        trainer.snap(2)
        sink.write(NEWS)
        until(lambda: find_runs(viewed) and len(read_records(find_runs(viewed)[0])) == 2, "two snapshots arrive")
    trainer.snap(3)
    with pytest.raises(ViewerError):  # raised once, by one of the next calls
        until(lambda: sink.write(NEWS), "the viewer is missed")
    with Viewer(viewed, port=viewer.port):
        until(lambda: len(read_records(find_runs(viewed)[0])) == 5, "the rest arrives")
        sink.close()
    assert_same(viewed, trainer)


def test_sending_to_the_viewer_of_the_same_folder_changes_nothing(tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "run", "a" * 32)
    with Viewer(tmp_path, port=0) as viewer:
        sink = ViewerSink(viewer.address)
        sink.open(trainer.run, trainer.folder)
        trainer.snap(2)
        sink.write(NEWS)
        sink.close()
        with urllib.request.urlopen(f"{viewer.address}api/runs", timeout=20) as answer:
            assert [run["snapshots"] for run in json.load(answer)] == [2]
    assert find_runs(tmp_path) == [trainer.folder]
    assert len(read_records(trainer.folder)) == 2


def test_a_damaged_line_in_the_trainers_folder_loses_only_its_own_snapshot(tmp_path: Path) -> None:
    trainer, viewed = FakeTrainer(tmp_path / "run", "a" * 32), tmp_path / "viewed"
    trainer.snap(4)
    index = trainer.folder / "snapshots.jsonl"
    lines = index.read_bytes().splitlines()
    lines[1] = b"\0" * 30
    index.write_bytes(b"".join(line + b"\n" for line in lines))
    with Viewer(viewed, port=0) as viewer:
        sink = ViewerSink(viewer.address)
        sink.open(trainer.run, trainer.folder)
        trainer.snap()
        sink.write(NEWS)
        sink.close()
    assert [record["number"] for record in read_records(find_runs(viewed)[0])] == [0, 2, 3, 4]
    assert len(kept(find_runs(viewed)[0])) == 2 + 4 * 4
