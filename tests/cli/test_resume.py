"""`tfviz explain` goes on where it stopped, adds other images, and refuses other options."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.cli_material import picture, save_network, save_pictures

from tfviz.cli.main import main
from tfviz.cli.result_pages import ResultPages
from tfviz.cli.results import Results
from tfviz.cli.run_store import RunStore
from tfviz.images import write_image

COUNT = 12
Explain = Callable[..., int]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("model") / "net.keras")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of images, one of them damaged."""
    folder = save_pictures(tmp_path / "photos", [f"{number:02}.png" for number in range(COUNT - 1)])
    (folder / "05a.png").write_text("not an image")
    return folder


@pytest.fixture
def explain(model_file: Path, tmp_path: Path) -> Explain:
    def run(*words: object, output: str = "out") -> int:
        return main(arguments(model_file, tmp_path / output, *words))

    return run


def arguments(model_file: Path, output: Path, *words: object) -> list[str]:
    fixed = ["--model", model_file, "--preprocess", "none", "--output", output, "--batch-size", 2, "--method", "grad_cam"]
    return list(map(str, ["explain", *words, *fixed]))


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files but the records, which contain times."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".explanation/")}


def stored(folder: Path) -> list[str]:
    """Return the finished lines of the records."""
    path = folder / ".explanation/finished.jsonl"
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_run_that_is_killed_and_stopped_ends_like_an_undisturbed_one(
    explain: Explain, model_file: Path, photos: Path, tmp_path: Path
) -> None:
    assert explain(photos, output="whole") == 1
    output, moments, before = tmp_path / "killed", random.Random(2), [""]
    for number, stop in enumerate((signal.SIGKILL, signal.SIGTERM)):
        argv = [sys.executable, "-m", "tfviz", *arguments(model_file, output, photos)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_pictures(output, 6 * number + moments.randint(1, 6), process)
        process.send_signal(stop)
        process.wait(timeout=60)
        lines = stored(output)
        assert lines[: len(before) - 1] == before[:-1]  # nothing is done twice
        before = [*lines, ""]
        if stop == signal.SIGTERM and process.returncode == 143:
            page = (output / "index.html").read_text()
            images = [image for line in lines for image in json.loads(line)["images"]]
            assert images and all(one["name"] in page for one in images)
    assert explain(photos, output="killed") == 1
    assert contents(output) == contents(tmp_path / "whole")


def wait_for_pictures(output: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while process.poll() is None and len(list(output.glob("*/*.png"))) < count:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_second_run_explains_nothing_again_but_what_is_new(
    explain: Explain, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    explain(photos)
    explained: list[str] = []
    add_image = Results.add_image

    def noted(self: Results, job: object, *rest: object) -> None:
        explained.append(job.name)  # type: ignore[attr-defined]
        add_image(self, job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Results, "add_image", noted)
    first = contents(tmp_path / "out")
    capsys.readouterr()
    assert explain(photos) == 1
    assert explained == [] and contents(tmp_path / "out") == first
    out = capsys.readouterr().out
    assert out.startswith("Explained 11 of 12 images (11 of them in an earlier run)") and "Not explained: " in out
    write_image(photos / "03.png", picture(77))
    write_image(photos / "05a.png", picture(78))
    (tmp_path / "out/07/grad_cam.png").unlink()
    assert explain(photos) == 0
    assert sorted(explained) == ["03.png", "05a.png", "07.png"]
    (photos / "new").mkdir()
    (photos / "new/01.png").write_bytes((photos / "01.png").read_bytes())
    explained.clear()
    assert explain(photos) == 0 and explained == ["new/01.png"]


def test_images_of_the_same_name_from_another_folder_are_added(
    explain: Explain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cats, dogs = (save_pictures(tmp_path / name, ["a.png", "b.png"]) for name in ("cats", "dogs"))
    assert explain(cats, "--table", "jsonl") == 0
    assert explain(dogs, "--table", "csv") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Explained 2 of 2 images with")
    rows = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == [str(folder / name) for folder in (cats, dogs) for name in ("a.png", "b.png")]
    assert len({row["file"] for row in rows}) == 4 and all((tmp_path / "out" / row["file"]).is_file() for row in rows)
    page = (tmp_path / "out/index.html").read_text()
    assert all(f'src="{row["file"]}"' in page for row in rows)
    before = contents(tmp_path / "out")
    assert explain(tmp_path / "dogs", "--table", "csv") == 0 and contents(tmp_path / "out") == before


def test_other_options_are_refused_with_the_differences(
    explain: Explain, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_pictures(tmp_path / "in", ["a.png"])
    assert explain(folder) == 0
    before = contents(tmp_path / "out")
    other = save_network(tmp_path / "net.keras", seed=1)
    capsys.readouterr()
    assert explain(folder, "--target", "2", "--raw", "--scale", "image", "--underlay", "color") == 2
    error = capsys.readouterr().err
    for difference in (
        "--target was top and is now 2",
        "--raw was no",
        "--scale was map",
        "--underlay was gray",
        "--overwrite",
    ):
        assert difference in error
    words = [other if word == str(model_file) else word for word in arguments(model_file, tmp_path / "out", folder)]
    assert main([str(word) for word in words]) == 2
    assert re.search(r"model was net\.keras \w+ and is now net\.keras \w+\.", capsys.readouterr().err)
    assert contents(tmp_path / "out") == before
    assert explain(folder, "--target", "2", "--overwrite") == 0
    assert "grad_cam-2" in (tmp_path / "out/predictions.csv").read_text()


@pytest.mark.parametrize("where", ["picture", "record", "page"])
def test_a_full_disk_ends_the_run_and_a_later_one_goes_on(
    explain: Explain, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.MonkeyPatch.context() as patch:
        if where == "record":
            patch.setattr(os, "fsync", raising_after(2, full, os.fsync))
        else:
            count = 7 if where == "picture" else 5
            patch.setattr(Path, "write_bytes", raising_after(count, full, Path.write_bytes))
        assert explain(photos) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("Skipped")]
    assert len(error) == 1 and "No space left on device). Free some disk space" in error[0]
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert explain(photos) == 1
    assert explain(photos, output="whole") == 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def raising_after(count: int, error: OSError, function: Callable[..., object]) -> Callable[..., object]:
    calls: list[int] = []

    def call(*args: object) -> object:
        calls.append(1)
        if len(calls) > count:
            raise error
        return function(*args)

    return call


def test_a_folder_that_is_removed_ends_the_run(
    explain: Explain, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_maps = Results.add_maps

    def remove(self: Results, job: object, *rest: object) -> None:
        add_maps(self, job, *rest)  # type: ignore[arg-type]
        if job.name == "03.png":  # type: ignore[attr-defined]
            (tmp_path / "out").rename(tmp_path / "gone")  # in one step, because other threads write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Results, "add_maps", remove)
        # A page that is being written at this moment may still appear. The last one must not.
        patch.setattr(ResultPages, "refresh", lambda pages: None)
        assert explain(photos) == 2
    assert "was removed or replaced during the run. Run the command again" in capsys.readouterr().err
    assert not (tmp_path / "out/index.html").exists()
    assert explain(photos) == 1 and explain(photos, output="whole") == 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_refresh_reads_the_records_once(explain: Explain, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    records = RunStore.records
    monkeypatch.setattr(RunStore, "records", lambda store: reads.append(1) or records(store))
    monkeypatch.setattr(ResultPages, "refresh", lambda pages: None)
    explain(photos)
    assert len(reads) == 4  # for known images, finished images, the table and page, and the summary


def test_two_runs_do_not_write_to_one_folder(
    explain: Explain, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tfviz.runs.folder_lock import FolderLock

    lock = FolderLock()
    (tmp_path / "out/.explanation").mkdir(parents=True)
    lock.take(tmp_path / "out/.explanation")
    try:
        assert explain(photos) == 2
    finally:
        lock.release()
    assert "Another explanation run is writing to" in capsys.readouterr().err
