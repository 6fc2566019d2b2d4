"""However a run folder is damaged, it is either read or rejected with a message."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.fake_runs import FakeTrainer, image_of
from support.tampering import damage

from tfviz.errors import SnapshotsError, TfvizError
from tfviz.film.film import write_film
from tfviz.runs.run_folder import RunFolder, check_folder
from tfviz.runs.run_reader import read_records, read_run
from tfviz.runs.snapshot import Snapshot

ID = "0123456789abcdef" * 2


@pytest.fixture
def run(tmp_path: Path) -> Path:
    FakeTrainer(tmp_path / "run", ID).snap(3)
    return tmp_path / "run"


def read(folder: Path) -> None:
    read_run(folder)
    read_records(folder)


def filmed(folder: Path) -> None:
    pytest.importorskip("av")
    write_film(folder, folder.with_suffix(".gif"), width=160, seconds=2)


def continued(folder: Path) -> None:
    images = [image_of(number) for number in range(2)]
    method = {"name": "grad_cam", "key": "grad_cam", "title": "Grad-CAM", "layer": None, "style": "heatmap"}
    check_folder(folder, images)
    run = RunFolder(folder, images, {"model": "small", "labels": None, "methods": [method]})
    record: dict[str, Any] = {"when": "end", "epoch": 1, "batch": None, "step": 5, "time": 1.0, "logs": {}}
    record |= {"predictions": [None, None], "methods": ["grad_cam"], "errors": {}}
    try:
        run.open()
        run.add(Snapshot(record, images, {"grad_cam": images}, {"grad_cam": np.ones((2, 4, 4), np.float32)}))
    except OSError as error:  # the callback turns it into a warning
        assert error.strerror
    finally:
        run.close()


@pytest.mark.parametrize(("use", "tries"), [(read, 300), (filmed, 60), (continued, 150)])
def test_a_tampered_run_is_read_or_rejected_with_a_message(use: Any, tries: int, run: Path, tmp_path: Path) -> None:
    for number in range(tries):
        folder = tmp_path / "tampered"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder)
        done = damage(folder, ["run.json", "snapshots.jsonl"], f"{use.__name__} {number}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                use(folder)
        except TfvizError as error:
            assert str(error).isprintable() and len(str(error)) > 20, done
        except Exception as error:
            raise AssertionError(f"{number}, {done}: {error!r}") from error


def edited(run: Path, **changes: Any) -> Path:
    content = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(content | changes))
    return run


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "..", "a/b", "grad_cam\n", "\x1b[2J"])
def test_a_method_name_cannot_be_a_path(name: str, run: Path) -> None:
    methods = json.loads((run / "run.json").read_text())["methods"]
    edited(run, methods=[{**methods[0], "name": name}])
    with pytest.raises(SnapshotsError, match=r"methods\.0\.name: expected text that matches"):
        write_film(run, run.with_suffix(".gif"))


@pytest.mark.parametrize("side", [0, -1, 10**30])
def test_an_impossible_image_size_is_rejected(side: int, run: Path) -> None:
    with pytest.raises(SnapshotsError, match=r"images\.0\.width: expected 1 to 4096"):
        read_run(edited(run, images=[{"height": 32, "width": side}] * 2))


def test_a_film_follows_no_links_inside_the_run(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    secret = tmp_path / "secret.png"
    cv2.imwrite(str(secret), np.full((32, 32, 3), 255, np.uint8))
    for picture in run.glob("pictures/*/*/*.png"):
        picture.unlink()
        picture.symlink_to(secret)
    assert write_film(run, tmp_path / "run.gif", width=160).missing == 12


def test_a_run_folder_that_is_a_link_can_be_filmed(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "link").symlink_to(run)
    assert write_film(tmp_path / "link", tmp_path / "run.gif", width=160).missing == 0


def test_long_texts_do_not_stall_a_film(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    methods = json.loads((run / "run.json").read_text())["methods"]
    edited(run, name="x" * 7000, methods=[{**one, "title": "y" * 7000} for one in methods])
    write_film(run, tmp_path / "run.gif", width=160)
