"""Class names: all common labels files are read, and missing names never cause an error."""

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


def test_a_class_without_a_name_is_shown_by_its_number() -> None:
    assert PETS.name(0) == "tabby, tabby cat"
    assert PETS.name(281) == "class 281"
    assert Labels(("a", "")).name(1) == "class 1"
    assert Labels().name(-1) == "class -1"


@pytest.mark.parametrize("name", ["tabby", "Tabby Cat", "tabby, tabby cat", 0, "0", "class 0"])
def test_a_class_is_found_by_any_of_its_names_or_its_number(name: str | int) -> None:
    assert PETS.index(name) == 0


def test_case_spaces_and_underscores_are_ignored() -> None:
    assert PETS.index("egyptian cat") == PETS.index("EGYPTIAN_CAT") == 1
    assert PETS.index("Golden_Retriever") == 4


def test_a_class_named_by_a_digit_takes_precedence_over_its_number() -> None:
    assert Labels(("1", "2", "0")).index("0") == 2
    assert Labels(("1", "2", "0")).index(0) == 0


def test_an_ambiguous_name_is_rejected_with_the_numbers_of_its_classes() -> None:
    with pytest.raises(TargetError, match=r"Several classes are named 'crane': 2, 3\. Pass the class number"):
        PETS.index("crane")


def test_an_unknown_name_lists_similar_ones() -> None:
    with pytest.raises(TargetError, match=r"No class is named 'taby'\. Did you mean 'tabby'"):
        PETS.index("taby")
    with pytest.raises(
        TargetError, match=r"model's class names are unknown\. Pass the class number, the class names or a labels file"
    ):
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
def test_every_common_json_format_is_read(tmp_path: Path, content: Any) -> None:
    assert read_labels(written(tmp_path, content)) == Labels(("cat", "dög", "fish"))


def test_a_class_may_be_named_labels(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, {"labels": 1, "cat": 0})).names == ("cat", "labels")


@pytest.mark.parametrize("text", ["cat\ndög\nfish", "cat\r\ndög\r\nfish\r\n\r\n", "\ufeffcat \n dög\nfish\n"])
def test_text_files_have_one_name_per_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode("utf-8"))
    assert read_labels(path).names == ("cat", "dög", "fish")


def test_an_empty_line_is_a_class_without_a_name(tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "cat\n\nfish\n", "names.txt")).name(1) == "class 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "has an unknown format .* Expected one name per line"),
        ("3", "Expected a list or an object. Received: 3"),
        ([1, 2], "Expected a name. Received: 1"),
        ([{"label": "cat"}], "has an unknown format"),
        ({"labels": "see the other file"}, "Expected a list or an object. Received: 'see the other file'"),
        ({"cat": "dog"}, "has an unknown format"),
        ({"99999999999": "cat"}, "Received: 99999999999"),
        ({"-1": "cat"}, "Received: -1"),
        ([], "contains no names"),
    ],
)
def test_the_error_for_json_in_an_unknown_format_names_the_file(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(LabelsError, match=rf"labels\.json.*{message}"):
        read_labels(written(tmp_path, content))


def test_missing_empty_and_binary_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match=r"nowhere\.txt cannot be read \(No such file"):
        read_labels(tmp_path / "nowhere.txt")
    with pytest.raises(LabelsError, match="contains no names"):
        read_labels(written(tmp_path, "\n \n", "blank.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(LabelsError, match="is not UTF-8 text"):
        read_labels(tmp_path / "binary.txt")


def test_labels_come_from_a_file_or_names_or_are_empty(tmp_path: Path) -> None:
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
def test_names_may_be_numbers_and_may_be_mapped_to_or_from_indices(given: Any, names: tuple[str, ...]) -> None:
    found = labels_from(given).names
    assert found == names and json.dumps(found)


@pytest.mark.parametrize("given", [{"cat": "dog"}, {"0": []}, {-1: "cat"}, {0: ["cat"]}, [["cat"], ["dog"]], [b"cat"], 5])
def test_a_source_without_names_is_rejected(given: Any) -> None:
    with pytest.raises(LabelsError, match=r"Expected labels as \['tench', …\], .*\. Received: "):
        labels_from(given)


def test_the_names_of_imagenet_are_read(shared: Path) -> None:
    found = read_labels(shared / "data" / "imagenet_classes.json")
    assert len(found) == 1000
    assert found.index("tabby") == 281
    assert found.name(207) == "golden retriever"


# ImageNet's own file, in Keras' cache


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    imagenet_labels.cache_clear()
    yield tmp_path / "models" / "imagenet_class_index.json"
    imagenet_labels.cache_clear()


INDEX = json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}).encode()


def test_imagenet_labels_come_from_keras_cache(keras_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_fetch", lambda: pytest.fail("the network was asked for what is on the disk"))
    keras_home.parent.mkdir()
    keras_home.write_bytes(INDEX)
    assert imagenet_labels().name(1) == "goldfish"


def test_imagenet_labels_are_downloaded_and_cached(keras_home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_fetch", lambda: INDEX)
    monkeypatch.setattr(labels, "_IMAGENET_MD5", hashlib.md5(INDEX).hexdigest())
    assert imagenet_labels().name(0) == "tench"
    assert keras_home.read_bytes() == INDEX


@pytest.mark.parametrize("answer", [None, b"<html>log in to the hotel's network</html>"])
def test_without_a_network_classes_are_shown_by_their_numbers(keras_home: Path, monkeypatch: Any, answer: bytes | None) -> None:
    monkeypatch.setattr(labels, "_fetch", lambda: answer)
    assert imagenet_labels().name(281) == "class 281"
    assert not keras_home.exists()


def test_a_server_that_does_not_respond_times_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_FETCH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(labels.urllib.request, "urlopen", lambda *_, **__: time.sleep(2))
    start_s = time.perf_counter()
    assert labels._fetch() is None
    assert time.perf_counter() - start_s < 1


def test_a_refused_connection_gives_no_labels(monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "_IMAGENET_URL", "http://127.0.0.1:9/nothing.json")
    assert labels._fetch() is None


def test_a_class_has_a_short_name_for_files() -> None:
    labels = Labels(("tabby, tabby cat", "jack-o'-lantern", "", "…", "x" * 60))
    assert [labels.file_word(index) for index in range(-1, 6)] == ["-1", "tabby", "jack_o_lantern", "2", "3", "x" * 40, "5"]
