"""Images in class folders: finding them, and matching folders to the network's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from class_folders import class_numbers, find_labeled_images

from tfviz.errors import ImageError, LabelsError
from tfviz.images import write_image
from tfviz.models.labels import Labels


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        write_image(root / name, np.zeros((4, 4, 3), np.uint8))
    return root


def test_images_are_found_with_their_class_in_sorted_order(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "dog/b.jpg", "cat/é 1.png", "cat/more/a.png", "dog/a.bmp", ".hidden/a.png")
    (root / ".DS_Store").touch()
    (root / "cat" / "notes.txt").touch()
    found = [(one.class_name, one.name) for one in find_labeled_images(root)]
    assert found == [("cat", "é 1"), ("cat", "more/a"), ("dog", "a"), ("dog", "b")]


def test_images_that_only_differ_in_their_extension_keep_it(tmp_path: Path) -> None:
    found = find_labeled_images(folder_of(tmp_path, "cat/a.jpg", "cat/A.png", "cat/b.png"))
    assert [one.name for one in found] == ["A.png", "a.jpg", "b"]


def test_an_empty_class_folder_is_an_error(tmp_path: Path) -> None:
    (folder_of(tmp_path, "cat/a.jpg") / "dog").mkdir()
    with pytest.raises(ImageError, match=r"The folder .*dog contains no image"):
        find_labeled_images(tmp_path)


def test_a_file_among_the_class_folders_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ImageError, match=r"b\.jpg is a file, but only class folders are allowed here \(ROOT/CLASS/image\.jpg\)"
    ):
        find_labeled_images(folder_of(tmp_path, "cat/a.jpg", "b.jpg"))


def test_a_missing_or_empty_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"The folder .*nowhere does not exist\. Pass a folder with images at ROOT/CLASS"):
        find_labeled_images(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="contains no class folders"):
        find_labeled_images(tmp_path)


def test_folders_match_classes_by_label_or_number() -> None:
    labels = Labels(("tench", "tabby, tabby cat", "tiger cat"))
    assert class_numbers(["tiger_cat", "tabby", "tabby"], labels, 3) == {"tiger_cat": 2, "tabby": 1}
    assert class_numbers(["2", "class 0"], Labels(), 3) == {"2": 2, "class 0": 0}


def test_without_labels_classes_are_the_folders_in_sorted_order() -> None:
    assert class_numbers(["dog", "cat"], Labels(), 2) == {"cat": 0, "dog": 1}


@pytest.mark.parametrize(
    ("folders", "labels", "message"),
    [
        (["cat", "dog"], Labels(), "The folder names do not match the network's 3 classes"),
        (["cat", "dog", "tench"], Labels(("tench", "tabby", "dog")), "No class is named 'cat'"),
        (["7"], Labels(), r"The folder '7' matches none of the network's 3 classes \(0 to 2\)"),
    ],
)
def test_a_folder_that_matches_no_class_is_an_error(folders: list[str], labels: Labels, message: str) -> None:
    with pytest.raises(LabelsError, match=message):
        class_numbers(folders, labels, 3)
