"""The images of a job: folders, globs, lists, archives and URLs."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tfviz.errors import ImageError
from tfviz.images.files import image_from_bytes
from tfviz.jobs.inputs import content_of, find_inputs
from tfviz.jobs.schema import arrow


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    random = np.random.default_rng(0)
    files = [folder / "b.png", folder / "a.png", folder / "deeper" / "c.png"]
    for file in files:
        cv2.imwrite(str(file), random.integers(0, 255, (8, 9, 3), np.uint8))
    return files


def pixels(path: str) -> list[np.ndarray]:
    return [image_from_bytes(content_of(one), one.path) for one in find_inputs([path])]


def expected(files: list[Path]) -> list[np.ndarray]:
    return [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]


def assert_same(got: list[np.ndarray], files: list[Path]) -> None:
    assert len(got) == len(files)
    for one, want in zip(got, expected(files), strict=True):
        np.testing.assert_array_equal(one, want)


def test_a_folder_is_listed_in_sorted_order(photos: list[Path]) -> None:
    assert_same(pixels(str(photos[0].parent)), [photos[1], photos[0], photos[2]])


def test_a_glob_reaches_into_folders(photos: list[Path]) -> None:
    assert_same(pixels(f"{photos[0].parent}/**/*.png"), [photos[1], photos[0], photos[2]])


def test_an_image_that_is_named_twice_counts_once(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(find_inputs([str(photos[0]), str(photos[0]), str(photos[1])])) == 2
    monkeypatch.chdir(photos[0].parent)
    Path("list.txt").write_text(f"b.png\n./b.png\n{photos[0]}\n")
    assert [one.path for one in find_inputs(["list.txt", "b.png"])] == ["b.png"]


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_a_list_names_files_beside_it_or_anywhere(kind: str, photos: list[Path], tmp_path: Path) -> None:
    names = ["photos/a.png", str(photos[2])]
    file = tmp_path / f"list.{kind}"
    if kind == "txt":
        file.write_text("# comment\n" + "\n".join(names) + "\n")
    elif kind == "csv":
        with file.open("w", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerows([["label", "Path"], *([0, name] for name in names)])
    else:
        arrow().parquet.write_table(arrow().table({"filename": names}), file)
    assert_same(pixels(str(file)), [photos[1], photos[2]])


def test_missing_files_of_a_list_are_named(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("photos/a.png\nphotos/nothing.png\n")
    with pytest.raises(ImageError, match=r"lists 1 files that do not exist: photos/nothing\.png\. Remove"):
        find_inputs([str(tmp_path / "list.txt")])


def test_a_list_without_a_column_of_paths_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("label,name\n0,a.png\n")
    with pytest.raises(
        ImageError,
        match=r"has no column 'path'\. Its columns: 'label', 'name'\. Rename the column that contains the file paths to 'path'",
    ):
        find_inputs([str(tmp_path / "list.csv")])


def test_the_members_of_an_archive_are_read_by_their_place(photos: list[Path], tmp_path: Path) -> None:
    archive = tmp_path / "shard.tar"
    with tarfile.open(archive, "w") as opened:
        for file in (photos[1], photos[0]):
            opened.add(file, file.name)
        opened.add(__file__, "a.cls")
    found = find_inputs([str(archive)])
    assert [one.path for one in found] == [f"{archive}::a.png", f"{archive}::b.png"]
    assert_same(pixels(str(archive)), [photos[1], photos[0]])


def test_a_compressed_archive_is_refused(tmp_path: Path, photos: list[Path]) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w:gz") as opened:
        opened.add(photos[0], "a.png")
    with pytest.raises(ImageError, match="is not an uncompressed tar archive"):
        find_inputs([str(tmp_path / "shard.tar")])


def record(file: Path) -> bytes:
    import tensorflow as tf

    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.read_bytes()]))
    return bytes(tf.train.Example(features=tf.train.Features(feature={"image/encoded": value})).SerializeToString())


def test_the_records_of_a_tfrecord_file_are_read_by_their_place(photos: list[Path], tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "part.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for file in photos[:2]:
            writer.write(record(file))
    assert_same(pixels(str(path)), photos[:2])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ImageError, match="is not a complete TFRecord file: record 1 is truncated"):
        find_inputs([str(path)])


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_urls_are_listed_and_read(scheme: str, photos: list[Path]) -> None:
    fsspec = pytest.importorskip("fsspec")
    root = f"file://{photos[0].parent}" if scheme == "file" else "memory://photos"
    if scheme == "memory":
        for file in photos:
            fsspec.filesystem("memory").pipe_file(f"/photos/{file.relative_to(photos[0].parent)}", file.read_bytes())
    assert_same(pixels(root), [photos[1], photos[0], photos[2]])
    assert_same(pixels(f"{root}/a.png"), [photos[1]])
    assert_same(pixels(f"{root}/deeper/*.png"), [photos[2]])
    with pytest.raises(ImageError, match="does not exist or contains no image"):
        find_inputs([f"{root}/nothing"])


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No file matches"):
        find_inputs([str(tmp_path / "*.png")])
    with pytest.raises(ImageError, match="does not exist"):
        find_inputs([str(tmp_path / "nothing")])


def test_a_list_with_only_a_header_lists_no_files(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\n")
    with pytest.raises(ImageError, match=r"list\.csv lists no files"):
        find_inputs([str(tmp_path / "list.csv")])
