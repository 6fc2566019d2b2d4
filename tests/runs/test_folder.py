"""The run folder: what is written, in which order, and how a run is continued."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.snapshot_material import assert_complete, records

from tfviz.errors import OutputError, SnapshotsError
from tfviz.runs import run_folder as folders
from tfviz.runs.index import add_line, cut_partial_line
from tfviz.runs.run_folder import RunFolder, check_folder, packed
from tfviz.runs.run_reader import read_run
from tfviz.runs.snapshot import Snapshot

IMAGES = list(np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3), dtype=np.uint8))
GRAD_CAM = {"name": "grad_cam", "key": "grad_cam", "title": "Grad-CAM", "layer": None, "style": "heatmap"}
ABOUT = {"model": "m", "labels": None, "methods": [GRAD_CAM]}


def snapshot(step: int = 0) -> Snapshot:
    maps = {"grad_cam": np.full((2, 3, 3), step, np.float32)}
    record = {"when": "batch", "epoch": 0, "batch": step, "step": step, "time": 1.7e9, "logs": {"loss": None, "name": 0.25}}
    record |= {"predictions": [None, None], "methods": ["grad_cam"], "errors": {}}
    return Snapshot(record, IMAGES, {"grad_cam": IMAGES}, maps)


Opening = Callable[..., RunFolder]


@pytest.fixture
def opened() -> Iterator[Opening]:
    """Open a run folder, and close the previous one. The last one is closed after the test."""
    before: list[RunFolder] = []

    def opening(path: Path, about: dict[str, Any] = ABOUT) -> RunFolder:
        for folder in before:
            folder.close()
        folder = RunFolder(path, IMAGES, about)
        folder.open()
        before.append(folder)
        return folder

    yield opening
    for folder in before:
        folder.close()


def test_a_snapshot_is_indexed_after_all_its_files_are_written(
    tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = opened(tmp_path)
    seen: list[list[str]] = []

    def noting(path: Path, record: Any) -> None:
        seen.append(sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("0000*") if file.is_file()))
        seen.append(sorted(file.name for file in (tmp_path / "pictures").rglob("*.png")))
        add_line(path, record)

    monkeypatch.setattr(folders, "add_line", noting)
    numbered = folder.add(snapshot(5))
    assert seen == [["maps/00000000.npz"], ["0.png", "1.png"]]
    assert numbered.record["number"] == 0
    assert assert_complete(tmp_path) == [{"number": 0, **snapshot(5).record}]


def test_a_continued_run_keeps_its_id_and_counts_on(tmp_path: Path, opened: Opening) -> None:
    first = opened(tmp_path)
    for step in (0, 4):
        first.add(snapshot(step))
    other = {**ABOUT, "methods": [{**GRAD_CAM, "name": "saliency", "key": "saliency"}]}
    second = opened(tmp_path, other)
    assert second.step == 4
    assert second.add(snapshot(8)).record["number"] == 2
    assert second.run["id"] == first.run["id"] == read_run(tmp_path)["id"]
    assert [method["name"] for method in read_run(tmp_path)["methods"]] == ["saliency", "grad_cam"]


@pytest.mark.parametrize("rest", [b'{"number":1,"st', b"x" * 200_000])
def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path, opened: Opening, rest: bytes) -> None:
    opened(tmp_path).add(snapshot(3))
    with (tmp_path / "snapshots.jsonl").open("ab") as index:
        index.write(rest)
    stray = tmp_path / "pictures" / "00000001" / "old_method"
    stray.mkdir(parents=True)
    (stray / "0.png").write_bytes(b"half")
    opened(tmp_path).add(snapshot(4))
    assert [record["step"] for record in assert_complete(tmp_path)] == [3, 4]
    assert not stray.exists()


def test_an_index_with_only_a_partial_line_becomes_empty(tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_bytes(b"abc")
    cut_partial_line(path)
    assert path.read_bytes() == b""


def test_a_partial_write_leaves_the_index_unchanged(tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(tmp_path)
    folder.add(snapshot(1))
    before = (tmp_path / "snapshots.jsonl").read_bytes()
    real = Path.open

    class Full:
        """Accepts three bytes of each write, like a disk that is almost full."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            return self.file.write(data[:3])

    def almost_full(path: Path, mode: str = "r", **options: Any) -> Any:
        file = real(path, mode, **options)
        return Full(file) if path.name == "snapshots.jsonl" else file

    monkeypatch.setattr(Path, "open", almost_full)
    with pytest.raises(OSError) as caught:
        folder.add(snapshot(2))
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "snapshots.jsonl").read_bytes() == before
    assert not (tmp_path / "pictures" / "00000001").exists() and not (tmp_path / "maps" / "00000001.npz").exists()
    assert folder.add(snapshot(3)).record["number"] == 1
    assert [record["step"] for record in assert_complete(tmp_path)] == [1, 3]


def test_a_removed_folder_starts_a_new_run_at_zero(tmp_path: Path, opened: Opening) -> None:
    path = tmp_path / "run"
    folder = opened(path)
    folder.add(snapshot(1))
    before = folder.run["id"]
    path.rename(tmp_path / "away")
    with pytest.raises(OSError):
        folder.add(snapshot(2))
    assert folder.was_removed()
    folder.open()
    assert folder.add(snapshot(3)).record["number"] == 0
    assert read_run(path)["id"] == folder.run["id"] != before
    assert [record["step"] for record in assert_complete(path)] == [3]


def test_a_missing_run_file_is_written_again(tmp_path: Path, opened: Opening) -> None:
    folder = opened(tmp_path)
    folder.add(snapshot(1))
    (tmp_path / "run.json").unlink()
    folder.open()
    folder.add(snapshot(2))
    assert read_run(tmp_path)["id"] == folder.run["id"]
    assert [record["step"] for record in assert_complete(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0.0, 0.5, 1.0], np.float16),
        ([0.0, 3e-5, 1e-4], np.float16),
        ([0.0, 1e-9, 5e-8], np.float32),
        ([0.0, 2e4, 7e4], np.float32),
        ([0.0, 0.0, 0.0], np.float16),
        ([-3.0, 1e-9, np.nan], np.float16),
        ([-3.0, 1e9, np.inf], np.float32),
    ],
)
def test_maps_are_stored_in_half_precision_if_that_is_accurate_enough(tmp_path: Path, values: list[float], dtype: Any) -> None:
    maps = np.array([[values], [[0, 1, 0.5]]], np.float32)
    path = tmp_path / "maps.npz"
    path.write_bytes(packed({"a": maps, "b": maps}))
    with np.load(path) as kept:
        assert set(kept) == {"a", "b"}
        assert kept["a"].dtype == dtype
        finite = np.isfinite(maps)
        largest = np.abs(np.where(finite, maps, 0)).max(axis=(1, 2), keepdims=True)
        difference = kept["a"][finite].astype(np.float64) - maps[finite]
        assert (abs(difference) <= 1e-3 * np.broadcast_to(largest, maps.shape)[finite]).all()
        np.testing.assert_array_equal(np.isfinite(kept["a"]), finite)


def test_a_folder_with_different_images_is_rejected(tmp_path: Path, opened: Opening) -> None:
    opened(tmp_path)
    check_folder(tmp_path, IMAGES)
    for others in (IMAGES[::-1], IMAGES[:1], [image[:5] for image in IMAGES]):
        with pytest.raises(OutputError, match="contains a run with different images"):
            check_folder(tmp_path, others)


def test_snapshots_without_their_run_file_are_rejected(tmp_path: Path, opened: Opening) -> None:
    opened(tmp_path).add(snapshot(1))
    (tmp_path / "run.json").unlink()
    with pytest.raises(
        OutputError, match=r"contains a run's snapshots \(snapshots.jsonl\), but run.json is missing. Restore this file"
    ):
        check_folder(tmp_path, IMAGES)


@pytest.mark.parametrize("index", [b"", b'{"number":0,"st'])
def test_a_run_starts_over_an_index_without_snapshots(tmp_path: Path, opened: Opening, index: bytes) -> None:
    (tmp_path / "snapshots.jsonl").write_bytes(index)
    check_folder(tmp_path, IMAGES)
    opened(tmp_path).add(snapshot(1))
    assert [record["step"] for record in assert_complete(tmp_path)] == [1]


def test_a_run_of_images_one_pixel_high_can_be_continued(tmp_path: Path) -> None:
    images = [image[:1] for image in IMAGES]
    folder = RunFolder(tmp_path, images, ABOUT)
    folder.open()
    folder.close()
    check_folder(tmp_path, images)
    with pytest.raises(OutputError, match="contains a run with different images"):
        check_folder(tmp_path, images[::-1])


def test_a_folder_that_cannot_be_created_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match=r"log_dir .* cannot be created"):
            check_folder(path, IMAGES)


def test_a_run_of_a_newer_format_is_rejected(tmp_path: Path, opened: Opening) -> None:
    opened(tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**run, "format": 2}))
    with pytest.raises(SnapshotsError, match="Install a newer version of tfviz"):
        check_folder(tmp_path, IMAGES)


def test_a_run_beyond_the_schema_is_not_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, IMAGES, {**ABOUT, "model": "m" * 501})
    with pytest.raises(OutputError, match=r"run\.json does not conform .*: model: expected 0 to 500 characters, got 501"):
        folder.open()
    folder.close()
    assert not (tmp_path / "run.json").exists()


def test_a_record_beyond_the_schema_is_not_written(tmp_path: Path, opened: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = opened(tmp_path)
    with pytest.raises(OutputError, match=r"record does not conform .*: the run has no method saliency"):
        folder.add(Snapshot({**snapshot().record, "methods": ["saliency"]}, IMAGES, {}, {}))
    monkeypatch.setattr(folders, "MAX_RECORD_BYTES", 100)
    with pytest.raises(OutputError, match=r"record does not conform .*: expected at most 100 bytes, got 1"):
        folder.add(snapshot())
    assert records(tmp_path) == []
    assert not (tmp_path / "pictures").exists()


def test_the_index_is_strict_json(tmp_path: Path, opened: Opening) -> None:
    folder = opened(tmp_path)
    with pytest.raises(OutputError, match="time: expected a finite number"):
        folder.add(Snapshot({**snapshot().record, "time": float("nan")}, IMAGES, {}, {}))
    assert records(tmp_path) == []
