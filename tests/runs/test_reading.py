"""Reading a run folder while another process writes to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.fake_runs import FakeTrainer, record_of

from tfviz.errors import SnapshotsError
from tfviz.runs.layout import find_runs, image_path, is_run, maps_path, picture_path
from tfviz.runs.run_reader import IndexReader, read_records, read_run

ID = "a" * 32


def numbers(records: list[dict]) -> list[int]:
    return [record["number"] for record in records]


def test_a_run_and_its_records_are_read_back(tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(3)
    assert read_run(trainer.folder) == trainer.run
    assert numbers(read_records(trainer.folder)) == [0, 1, 2]
    assert read_records(trainer.folder)[2]["step"] == 20
    assert image_path(trainer.folder, 1).is_file()
    assert picture_path(trainer.folder, 2, "grad_cam", 1).is_file()
    assert maps_path(trainer.folder, 17) == trainer.folder / "maps" / "00000017.npz"


def test_an_index_reader_returns_each_record_once_when_its_line_is_complete(tmp_path: Path) -> None:
    reader = IndexReader(tmp_path / "run")
    assert reader.poll() == []  # the folder does not exist yet
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(2)
    assert numbers(reader.poll()) == [0, 1]
    assert reader.poll() == []
    index = trainer.folder / "snapshots.jsonl"
    line = json.dumps(record_of(2)).encode() + b"\n"
    with index.open("ab") as file:
        file.write(line[:7])
    assert reader.poll() == []
    with index.open("ab") as file:
        file.write(line[7:])
    assert numbers(reader.poll()) == [2]
    assert reader.last == 2


def test_a_partial_line_that_was_removed_and_rewritten_is_read(tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap()
    index = trainer.folder / "snapshots.jsonl"
    whole = index.stat().st_size
    with index.open("ab") as file:
        file.write(b'{"number": 1, "half')
    reader = IndexReader(trainer.folder)
    assert numbers(reader.poll()) == [0]
    os.truncate(index, whole)
    trainer.snap()
    assert numbers(reader.poll()) == [1]
    assert reader.restarts == 0


def test_damaged_and_repeated_lines_are_skipped(tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(2)
    with (trainer.folder / "snapshots.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n[1]\n{"number": 1}\n{"number": "3"}\n' + b"[" * 100_000 + b"\n")
    trainer.snap()
    assert numbers(read_records(trainer.folder)) == [0, 1, 2]


@pytest.mark.parametrize(
    "damaged",
    [
        b"\0" * 40,
        b'{"number": 2, "when": "ba',
        b'{"number": 1000}',
        json.dumps({**record_of(2), "number": 2000, "logs": 3}).encode(),
        json.dumps(record_of(2000)).encode(),
        json.dumps(record_of(1)).encode(),
        b"x" * 5000,
    ],
    ids=["zeros", "half a line", "number alone", "wrong field", "number too large", "repeated number", "longer than a read"],
)
def test_only_the_damaged_line_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes) -> None:
    monkeypatch.setattr("tfviz.runs.run_reader._LARGEST_READ_BYTES", 1000)
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(5, with_pictures=False)
    index = trainer.folder / "snapshots.jsonl"
    lines = index.read_bytes().splitlines()
    lines[2] = damaged
    index.write_bytes(b"".join(line + b"\n" for line in lines))
    reader = IndexReader(trainer.folder)
    assert numbers(reader.poll()) == [0, 1, 3, 4]
    assert reader.fault
    trainer.snap(with_pictures=False)
    assert numbers(reader.poll()) == [5]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["run.json", "snapshots.jsonl"])
def test_a_named_pipe_is_not_opened(tmp_path: Path, name: str) -> None:
    """Opening it would block forever."""
    os.mkfifo(tmp_path / name)
    code = (
        "import sys; from tfviz.errors import SnapshotsError; from tfviz.runs.run_reader import read_records, read_run\n"
        "print(read_records(sys.argv[1]))\n"
        "try: read_run(sys.argv[1])\n"
        "except SnapshotsError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("[]\nThere is no run in")


def test_a_folder_that_vanishes_and_comes_back_is_read_from_the_start(tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(5)
    reader = IndexReader(trainer.folder)
    assert len(reader.poll()) == 5
    shutil.rmtree(trainer.folder)
    assert reader.poll() == []
    FakeTrainer(tmp_path / "run", "b" * 32).snap(2)
    assert numbers(reader.poll()) == [0, 1]
    assert reader.restarts == 1


def test_a_truncated_index_is_read_again_from_the_start(tmp_path: Path) -> None:
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(5)
    reader = IndexReader(trainer.folder)
    reader.poll()
    index = trainer.folder / "snapshots.jsonl"
    index.write_bytes(index.read_bytes().split(b"\n")[0] + b"\n")
    assert numbers(reader.poll()) == [0]
    assert (reader.restarts, reader.last) == (1, 0)


def test_an_index_larger_than_one_read_is_read_completely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfviz.runs.run_reader._LARGEST_READ_BYTES", 1000)
    trainer = FakeTrainer(tmp_path / "run", ID)
    trainer.snap(50, with_pictures=False)
    assert numbers(read_records(trainer.folder)) == list(range(50))


def test_runs_are_found_at_most_three_folders_deep_and_never_behind_links(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    near, deep = root / "b", root / "a" / "a" / "a"
    for number, folder in enumerate((near, deep, root / "c" / "c" / "c" / "c", root / ".hidden", near / "pictures" / "x")):
        FakeTrainer(folder, f"{number}" * 32)
    FakeTrainer(tmp_path / "elsewhere", "e" * 32)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert find_runs(root) == [deep, near]
    assert find_runs(near) == [near]
    assert find_runs(tmp_path / "nowhere") == []
    assert is_run(near)
    assert not is_run(root)


def test_a_run_inside_the_folder_of_another_is_found(tmp_path: Path) -> None:
    FakeTrainer(tmp_path, ID)
    FakeTrainer(tmp_path / "received-bbbbbbbb", "b" * 32)
    assert find_runs(tmp_path) == [tmp_path, tmp_path / "received-bbbbbbbb"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "There is no run in .*run.json cannot be read .No such file"),
        (b"{", r"is not a valid run.json \("),
        (b"[]", "is not a valid run.json"),
        (b'{"id": 3, "format": 1}', "is not a valid run.json"),
        (b'{"id": "a", "format": 2}', "has format 2, but this version of tfviz reads only format 1"),
    ],
)
def test_a_folder_without_a_valid_run_is_rejected(tmp_path: Path, content: bytes | None, match: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(SnapshotsError, match=match):
        read_run(tmp_path)


def test_reading_needs_neither_numpy_nor_tensorflow() -> None:
    code = "import sys, tfviz.runs.run_reader; print(sorted({'numpy', 'tensorflow', 'keras', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
