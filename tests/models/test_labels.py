"""Names of classes: every file that people have is read, and a missing name is never a reason to
fail.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfviz.errors import LabelsError, TargetError
from tfviz.models import labels
from tfviz.models.labels import Labels, imagenet_labels, labels_from, read_labels

PETS = Labels(("tabby, tabby cat", "Egyptian_cat", "crane", "crane", "golden retriever"))


def written(tmp_path: Path, content: Any, name: str = "labels.json") -> Path:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_class_without_a_name_is_called_by_its_number() -> None:
    assert PETS.name(0) == "tabby, tabby cat"
    assert PETS.name(281) == "class 281"
    assert Labels(("a", "")).name(1) == "class 1"
    assert Labels().name(-1) == "class -1"


@pytest.mark.parametrize("name", ["tabby", "Tabby Cat", "tabby, tabby cat", 0, "0", "class 0"])
def test_a_class_is_found_by_any_of_its_names_or_its_number(name: str | int) -> None:
    assert PETS.index(name) == 0


def test_capitals_blanks_and_underscores_do_not_count() -> None:
    assert PETS.index("egyptian cat") == PETS.index("EGYPTIAN_CAT") == 1
    assert PETS.index("Golden_Retriever") == 4


def test_a_class_that_is_called_by_a_digit_is_found_before_the_number() -> None:
    assert Labels(("1", "2", "0")).index("0") == 2
    assert Labels(("1", "2", "0")).index(0) == 0


def test_a_name_that_two_classes_have_is_refused_with_their_numbers() -> None:
    with pytest.raises(TargetError, match=r"'crane' names the classes 2, 3\. Give the number"):
        PETS.index("crane")


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(TargetError, match=r"No class is called 'taby'\. Did you mean 'tabby'"):
        PETS.index("taby")
    with pytest.raises(TargetError, match="have no names here: give the number, or a file with the labels"):
        Labels().index("tabby")


@pytest.mark.parametrize(
    "content",
    [
        ["cat", "dög", "fish"],
        [{"id": 0, "wnid": "n1", "name": "cat"}, {"id": 2, "name": "fish"}, {"id": 1, "name": "dög"}],
        [{"name": "cat"}, {"name": "dög"}, {"name": "fish"}],
        {"0": ["n01440764", "cat"], "2": ["n01443537", "fish"], "1": ["n01484850", "dög"]},
        {"1": "dög", "0": "cat", "2": "fish"},
        {"dög": 1, "cat": 0, "fish": 2},
        {"labels": ["cat", "dög", "fish"], "accuracy": 0.9},
        {"labels": {"0": "cat", "1": "dög", "2": "fish"}},
    ],
)
def test_every_common_form_of_json_is_read(tmp_path: Path, content: Any) -> None:
    assert read_labels(written(tmp_path, content)) == Labels(("cat", "dög", "fish"))


def test_a_class_may_be_called_labels(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, {"labels": 1, "cat": 0})).names == ("cat", "labels")


@pytest.mark.parametrize("text", ["cat\ndög\nfish", "cat\r\ndög\r\nfish\r\n\r\n", "\ufeffcat \n dög\nfish\n"])
def test_text_files_hold_one_name_a_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode("utf-8"))
    assert read_labels(path).names == ("cat", "dög", "fish")


def test_an_empty_line_is_a_class_without_a_name(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "cat\n\nfish\n", "names.txt")).name(1) == "class 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not understood .* Expected a name a line"),
        ("3", "a list or an object was expected, not 3"),
        ([1, 2], "a name was expected, not 1"),
        ([{"label": "cat"}], "is not understood"),
        ({"labels": "see the other file"}, "a list or an object was expected, not 'see the other file'"),
        ({"cat": "dog"}, "is not understood"),
        ({"99999999999": "cat"}, "class numbers from 99999999999"),
        ({"-1": "cat"}, "class numbers from -1"),
        ([], "holds no names"),
    ],
)
def test_json_that_is_not_understood_is_refused_by_name(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(LabelsError, match=rf"labels\.json.*{message}"):
        read_labels(written(tmp_path, content))


def test_missing_empty_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"nowhere\.txt cannot be read \(No such file"):
        read_labels(tmp_path / "nowhere.txt")
    with pytest.raises(LabelsError, match="holds no names"):
        read_labels(written(tmp_path, "\n \n", "blank.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(LabelsError, match="is not text in UTF-8"):
        read_labels(tmp_path / "binary.txt")


def test_labels_come_from_a_file_from_names_or_from_nothing(tmp_path: Path) -> None:
    assert labels_from(str(written(tmp_path, ["cat"]))) == labels_from(["cat"]) == labels_from(Labels(("cat",)))
    assert labels_from(None) == Labels()
    assert len(labels_from(["cat", "dog"])) == 2


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([7, 8], ("7", "8")),
        (range(2), ("0", "1")),
        (np.arange(2), ("0", "1")),
        (np.array(["cat", "dog"]), ("cat", "dog")),
        (["cat", None], ("cat", "")),
        ((name for name in ("cat", "dog")), ("cat", "dog")),
        ({1: "dog", 0: "cat"}, ("cat", "dog")),
        ({np.int64(1): "dog", np.int64(0): "cat"}, ("cat", "dog")),
        ({0: 10, 1: 20}, ("10", "20")),
        ({False: "no", True: "yes"}, ("no", "yes")),
        ({"cat": 0, "dog": 1}, ("cat", "dog")),
        ({"dog": np.int64(1), "cat": np.int64(0)}, ("cat", "dog")),
        ({"0": 0, "1": 1, "10": 2}, ("0", "1", "10")),
        ({"0": ["n1", "cat"], "1": ["n2", "dog"]}, ("cat", "dog")),
        ([], ()),
        ({}, ()),
    ],
)
def test_names_may_be_numbers_and_come_with_their_numbers(given: Any, names: tuple[str, ...]) -> None:
    found = labels_from(given).names
    assert found == names and json.dumps(found)


@pytest.mark.parametrize("given", [{"cat": "dog"}, {"0": []}, {-1: "cat"}, {0: ["cat"]}, [["cat"], ["dog"]], [b"cat"], 5])
def test_what_holds_no_names_is_refused(given: Any) -> None:
    with pytest.raises(LabelsError, match=r"labels: expected \['tench', …\], .*; got "):
        labels_from(given)


def test_the_names_of_imagenet_are_understood(shared: Path) -> None:
    found = read_labels(shared / "data" / "imagenet_classes.json")
    assert len(found) == 1000
    assert found.index("tabby") == 281
    assert found.name(207) == "golden retriever"


# ImageNet's own file, where Keras keeps it


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    imagenet_labels.cache_clear()
    yield tmp_path / "models" / "imagenet_class_index.json"
    imagenet_labels.cache_clear()


INDEX = json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}).encode()


def test_imagenet_labels_come_from_the_cache_of_keras(keras_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_fetch", lambda: pytest.fail("the network was asked for what is on the disk"))
    keras_home.parent.mkdir()
    keras_home.write_bytes(INDEX)
    assert imagenet_labels().name(1) == "goldfish"


def test_imagenet_labels_are_fetched_and_kept(keras_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_fetch", lambda: INDEX)
    monkeypatch.setattr(labels, "_IMAGENET_MD5", hashlib.md5(INDEX).hexdigest())
    assert imagenet_labels().name(0) == "tench"
    assert keras_home.read_bytes() == INDEX


@pytest.mark.parametrize("answer", [None, b"<html>log in to the hotel's network</html>"])
def test_without_a_network_the_classes_have_numbers(keras_home: Path, monkeypatch: Any, answer: bytes | None) -> None:
    monkeypatch.setattr(labels, "_fetch", lambda: answer)
    assert imagenet_labels().name(281) == "class 281"
    assert not keras_home.exists()


def test_a_network_that_does_not_answer_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_FETCH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(labels.urllib.request, "urlopen", lambda *_, **__: time.sleep(2))
    start_s = time.perf_counter()
    assert labels._fetch() is None
    assert time.perf_counter() - start_s < 1


def test_a_refused_connection_is_no_labels(monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_IMAGENET_URL", "http://127.0.0.1:9/nothing.json")
    assert labels._fetch() is None


def test_a_class_has_a_word_for_file_names() -> None:
    labels = Labels(("tabby, tabby cat", "jack-o'-lantern", "", "…", "x" * 60))
    assert [labels.file_word(index) for index in range(-1, 6)] == ["-1", "tabby", "jack_o_lantern", "2", "3", "x" * 40, "5"]
