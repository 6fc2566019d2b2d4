"""`tfviz job`: what it writes, what it resumes, and what stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import tfviz
from tfviz.class_scores import Classifier
from tfviz.cli.main import main
from tfviz.cli.plan import Plan
from tfviz.errors import JobError
from tfviz.jobs import attempts
from tfviz.jobs.engines import ENGINES
from tfviz.jobs.engines.crew import Crew
from tfviz.jobs.inputs import Input, find_inputs
from tfviz.jobs.schema import arrow, result_schema
from tfviz.jobs.shard_work import ShardWorker
from tfviz.jobs.shards import ExplainShard
from tfviz.render.overlays import Look

SIDE = 96
COUNT, SHARD = 11, 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images, one of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for number in range(COUNT - 1):
        cv2.imwrite(str(folder / f"{number:02d}.png"), draw.integers(0, 255, (70 + number, 80, 3), np.uint8))
    (folder / "damaged.png").write_bytes(b"nothing")
    return folder


def job(*args: object) -> int:
    return main(["job", *map(str, args)])


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the shards without worker processes, each of which imports TensorFlow."""

    def run_here(crew: Crew, shards: Sequence[int]) -> Iterator[int]:
        return map(ExplainShard(crew.root, crew.is_retry), shards)

    monkeypatch.setitem(ENGINES, "local", run_here)


def in_process(*args: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tfviz", "job", *map(str, args)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def rows(folder: Path) -> list[dict]:
    tables = [arrow().parquet.read_table(file) for file in sorted(folder.glob("shards/*.parquet"))]
    assert all(table.schema.equals(result_schema()) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "shards").iterdir())}


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job") / "done"
    assert job(photos, "--output", folder, "--shard-size", SHARD, "--method", "grad_cam,saliency", "--overlays") == 1
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a job with one image per shard that nothing disturbed."""
    folder = tmp_path_factory.mktemp("job") / "whole"
    assert job(photos, "--output", folder, "--shard-size", 1) == 1
    return contents(folder)


def test_there_is_a_row_per_image_and_method_in_the_order_of_the_paths(finished: Path, photos: Path) -> None:
    found = rows(finished)
    assert [row["path"] for row in found if row["method"] != "saliency"] == sorted(str(file) for file in photos.iterdir())
    assert len(found) == 2 * (COUNT - 1) + 1
    assert (finished / "_SUCCESS").exists()
    assert not list((finished / "attempts").iterdir())
    assert not list(finished.rglob("*.tmp"))


def test_a_row_holds_the_top_classes_and_the_map_of_the_explainer(finished: Path, photos: Path) -> None:
    model = tfviz.load_model("shapes")
    images = tfviz.load_images([photos / "03.png"], model)
    scores = model.predict(np.asarray(images), verbose=0)[0]
    for key, explainer in (("grad_cam", tfviz.GradCAM(model)), ("saliency", tfviz.Saliency(model))):
        row = next(row for row in rows(finished) if row["path"].endswith("03.png") and row["method"] == key)
        best = np.argsort(-scores, kind="stable")[:5]
        assert row["classes"] == best.tolist()
        np.testing.assert_allclose(row["scores"], scores[best], atol=1e-5)
        assert row["target"] == best[0]
        assert row["target_name"] == tfviz.models.labels_of(model).name(int(best[0]))
        assert (row["height"], row["width"]) == (73, 80)
        got = np.frombuffer(row["map"], np.float16).reshape(row["map_shape"])
        want = explainer(np.asarray(images), int(best[0])).numpy()[0]
        np.testing.assert_allclose(got, want, atol=2e-3 * abs(want).max())
        assert cv2.imdecode(np.frombuffer(row["overlay"], np.uint8), cv2.IMREAD_COLOR).shape == (73, 80, 3)


def test_an_image_that_fails_is_a_row_with_its_error(finished: Path) -> None:
    (row,) = (row for row in rows(finished) if row["status"] == "failed")
    assert row["path"].endswith("damaged.png")
    assert "is not a JPEG" in row["error"]
    assert row["method"] is None
    report = json.loads((finished / "report.json").read_text())
    assert (report["images"], report["failed"], report["shards"], report["shards_done"]) == (COUNT, 1, 3, 3)
    assert report["errors"][0][0] == row["path"]


def test_a_map_with_nan_fails_only_its_image(finished: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ShardWorker(json.loads((finished / "job.json").read_text())["run"])
    whole = Plan.scores_and_first_maps

    def spoiled(plan: Plan, tensors: np.ndarray) -> object:
        scores, maps = whole(plan, tensors)
        maps = np.array(maps)
        maps[1, 0, 0] = np.nan
        return scores, maps

    monkeypatch.setattr(Plan, "scores_and_first_maps", spoiled)
    monkeypatch.setattr(Classifier, "scores", lambda *_: pytest.fail("a pass for the scores alone"))
    found = worker.table(find_inputs([str(photos / f"0{number}.png") for number in range(3)])).to_pylist()
    assert [row["status"] for row in found] == ["explained"] * 2 + ["failed"] + ["explained"] * 2
    assert "NaN" in found[2]["error"] and found[2]["path"].endswith("01.png")


def test_the_last_shard_removes_what_killed_processes_left(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = [finished / "attempts/000000-1", *(finished / folder / ".tfviz-0.tmp" for folder in ("", "shards", "inputs"))]
    for file in left:
        file.write_text("")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert job("--output", finished) == 1
    assert not any(file.exists() for file in left)
    assert json.loads((finished / "report.json").read_text())["attempts"] == 0
    assert len(synced) == 2  # report.json and _SUCCESS survive a power failure


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_that_is_removed_is_not_created_again(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "job"
    assert job(photos / "00.png", "--output", folder) == 0
    explain = ExplainShard(str(folder))
    (folder / "shards/part-000000.parquet").unlink()
    table = explain._worker.table
    explain._worker.table = lambda inputs: folder.rename(tmp_path / "gone") and table(inputs)  # type: ignore[method-assign]
    for _ in range(2):  # while a shard is computed, and before
        with pytest.raises(JobError, match=r"job was removed during the job\. Run the command again"):
            explain(0)
        assert not folder.exists()
    (folder / "shards").mkdir(parents=True)
    (folder / "shards/part-000000.parquet").write_text("of another job")
    capsys.readouterr()
    assert job(photos / "00.png", "--output", folder) == 2
    assert "contains results but no job.json" in capsys.readouterr().err


def test_a_second_run_repeats_nothing_and_other_options_are_refused(
    finished: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.glob("shards/*")}
    same = (photos, "--output", finished, "--shard-size", SHARD, "--method", "grad_cam,saliency", "--overlays")
    assert job(*same) == 1
    assert {file: file.stat().st_mtime_ns for file in finished.glob("shards/*")} == before
    assert job("--output", finished) == 1  # what is there says which job
    capsys.readouterr()
    assert job(photos, "--output", finished, "--shard-size", SHARD, "--method", "grad_cam", "--overlays") == 2
    assert 'methods was ["grad_cam", "saliency"] and is now ["grad_cam"]' in capsys.readouterr().err
    assert job(photos / "00.png", *same[1:]) == 2
    assert (
        "a job with different images: 0 of the given images are new, and 10 of the job's images were not given"
        in capsys.readouterr().err
    )


@pytest.mark.usefixtures("in_this_process")
def test_shares_make_one_complete_folder(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for share in ("1/2", "2/2"):
        assert not (tmp_path / "_SUCCESS").exists()
        job(photos, "--output", tmp_path, "--shard-size", SHARD, "--shards", share)
    assert len(rows(tmp_path)) == COUNT
    assert (tmp_path / "_SUCCESS").exists()
    capsys.readouterr()
    assert main(["job", "status", str(tmp_path)]) == 0
    assert "3 of 3 shards done, 11 rows" in capsys.readouterr().out


@pytest.mark.usefixtures("in_this_process")
def test_the_labels_file_is_stored_by_its_absolute_path(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers may run in other folders."""
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    assert job(photos / "03.png", "--labels", "labels.txt", "--output", "done") == 0
    monkeypatch.chdir(photos)
    assert (
        job(
            photos / "03.png", photos / "04.png", "--labels", tmp_path / "labels.txt", "--output", tmp_path / "done", "--extend"
        )
        == 0
    )
    assert json.loads((tmp_path / "done" / "job.json").read_text())["run"]["labels"] == str(tmp_path / "labels.txt")
    assert {row["target_name"][:6] for row in rows(tmp_path / "done")} == {"class "}


@pytest.mark.usefixtures("in_this_process")
def test_images_are_added_and_failed_ones_tried_again(photos: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "photos", tmp_path / "job"
    folder.mkdir()
    for name in ("00.png", "01.png", "damaged.png"):
        (folder / name).write_bytes((photos / name).read_bytes())
    args = (folder, "--output", output, "--shard-size", 2)
    assert job(*args) == 1
    (folder / "damaged.png").write_bytes((photos / "05.png").read_bytes())
    (folder / "later.png").write_bytes((photos / "06.png").read_bytes())
    assert job(*args) == 2
    assert job(*args, "--extend", "--retry-failed") == 0
    assert [Path(row["path"]).name for row in rows(output)] == ["00.png", "01.png", "damaged.png", "later.png"]
    assert {row["status"] for row in rows(output)} == {"explained"}
    assert (output / "_SUCCESS").exists()


def test_ray_writes_the_same_files_also_if_it_was_stopped(photos: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    on_ray = (photos, "--shard-size", 1, "--output", tmp_path / "ray", "--engine", "ray", "--workers", 2)
    stopped = in_process(*on_ray)
    while not list(tmp_path.glob("ray/shards/*.parquet")) and stopped.poll() is None:
        time.sleep(0.02)
    stopped.terminate()
    out, err = stopped.communicate(timeout=500)
    assert stopped.returncode == 128 + signal.SIGTERM, out + err
    process = in_process(*on_ray)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 1, out + err
    assert contents(tmp_path / "ray") == whole


POISON = """
import os, cv2
whole = cv2.imread
def imread(path, **options):
    image = whole(path, **options)
    if image is not None and image.shape[:2] == (13, 17):
        os.kill(os.getpid(), 9)
    return image
cv2.imread = imread
"""


def test_an_image_that_kills_its_process_is_found(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(POISON)
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "00.png").write_bytes((photos / "00.png").read_bytes())
    cv2.imwrite(str(folder / "011.png"), np.zeros((13, 17, 3), np.uint8))
    (tmp_path / "job" / "attempts").mkdir(parents=True)
    for number in (1, 2):  # earlier commands whose processes died
        (tmp_path / "job" / "attempts" / f"000000-{number}").write_text("")
    paths = os.pathsep.join([str(tmp_path / "site"), *sys.path])
    process = in_process(folder, "--output", tmp_path / "job", env=os.environ | {"PYTHONPATH": paths})
    out, err = process.communicate(timeout=500)
    assert process.returncode == 1, out + err
    found = rows(tmp_path / "job")
    assert [Path(row["path"]).name for row in found] == ["00.png", "011.png"]
    assert [row["status"] for row in found] == ["explained", "failed"]
    assert "died while explaining this image (signal 9)" in found[1]["error"]
    assert not list((tmp_path / "job" / "attempts").iterdir())


def test_images_that_kill_their_processes_are_found_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [Input(f"{number}.png", "folder") for number in range(7)]
    sizes: list[int] = []

    def run_or_die(run: dict, part: Sequence[Input]) -> tuple[object, int]:
        sizes.append(len(part))
        if {"2.png", "6.png"} & {one.path for one in part}:
            return None, -9
        table = [{"path": one.path, "status": "explained"} for one in part]
        return arrow().Table.from_pylist(table, schema=result_schema()), 0

    monkeypatch.setattr(attempts, "_in_another_process", run_or_die)
    found = attempts.table_by_halves({}, inputs).to_pylist()
    assert [row["path"] for row in found] == [one.path for one in inputs]
    assert [row["path"] for row in found if row["status"] == "failed"] == ["2.png", "6.png"]
    assert sizes == [7, 3, 1, 2, 1, 1, 4, 2, 2, 1, 1]


def test_a_job_that_is_killed_goes_on_where_it_was(photos: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    args = (photos, "--output", folder, "--shard-size", 1)
    for done in (0, 5):  # while the workers start, and between two shards
        process, deadline = in_process(*args, start_new_session=True), time.monotonic() + 120
        while not (folder / "job.json").exists() or len(list(folder.glob("shards/*.parquet"))) < done:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (folder / "_SUCCESS").exists()
    assert job(*args) == 1
    assert contents(folder) == whole
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--output", "out"], "out contains no job to resume"),
        (["photos"], "No output folder was given. Pass --output DIR"),
        (["photos", "--output", "out", "--shards", "3/2"], "Expected I/N with 1 ≤ I ≤ N, such as 2/8"),
        (["photos", "--output", "out", "--shards", "0/2"], "Expected I/N with 1 ≤ I ≤ N, such as 2/8"),
        (["photos", "--output", "out", "--engine", "spark"], "Unknown engine 'spark'. Available: 'local', 'ray'"),
        (["nothing", "--output", "out"], "does not exist"),
        (["photos", "--output", "out", "--method", "grad_cma"], "Did you mean 'grad_cam'"),
        (["status", "nothing"], "nothing contains no job"),
    ],
)
def test_bad_use_is_one_clear_line(
    args: list[str],
    message: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photos)
    assert main(["job", *args]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "job.json").exists()


def test_pictures_of_chosen_rows_are_drawn_later(
    finished: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["render", str(finished), "--select", "*/0[123].png", "--method", "grad_cam", "--output", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text()
    assert [f"0{n}.png" in page for n in range(5)] == [False, True, True, True, False]
    darkest = "#{:02x}{:02x}{:02x}".format(*Look(underlay="gray").color_bar("heatmap")[0])
    assert darkest in page, "the legend has the colors of maps over gray"
    drawn = tfviz.read_image(next((tmp_path / "00000").glob("grad_cam*.png")))
    image = tfviz.read_image(tmp_path / "00000" / "image.png")
    np.testing.assert_array_equal(image, tfviz.read_image(photos / "01.png"))
    row = next(row for row in rows(finished) if row["path"].endswith("01.png") and row["method"] == "grad_cam")
    values = np.frombuffer(row["map"], np.float16).reshape(row["map_shape"]).astype(np.float32)
    np.testing.assert_array_equal(drawn, tfviz.overlay(image, values, underlay="gray", style="heatmap"))
    assert main(["render", str(finished), "--select", "nothing", "--output", str(tmp_path)]) == 2
    assert "No finished maps in" in capsys.readouterr().err
