"""Readers of annotations: our JSON, COCO, Pascal VOC and masks, and every way they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tfviz.errors import LabelsError, OptionError
from tfviz.images import write_image
from tfviz.metrics.annotations import AnnotatedImage, read_annotations
from tfviz.metrics.annotations.annotated_image import AnnotatedObject
from tfviz.metrics.annotations.image_matches import matched
from tfviz.models.labels import Labels, read_labels

LABELS = Labels(
    ("tench, Tinca tinca", "tabby, tabby cat", "red fox", "hot dog"), ("n01440764", "n02123045", "n02119022", "n07697537")
)


def written(tmp_path: Path, content: object, name: str = "boxes.json") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path, labels: Labels = LABELS, **options) -> list[AnnotatedImage]:
    return read_annotations(path, labels, 4, **options)


def entry(**changes) -> dict:
    one = {"file": "a.jpg", "width": 10, "height": 8, "classes": [1], "boxes": [[1, 2, 4, 6]]}
    return {key: value for key, value in {**one, **changes}.items() if value is not None}


# --- our own format -------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [1, "1", "tabby", "Tabby Cat", "n02123045"])
def test_a_class_is_an_index_a_name_or_a_wordnet_id(tmp_path: Path, word: str | int) -> None:
    (image,) = read(written(tmp_path, [entry(classes=[word])]))
    mask = image.regions((8, 10)).mask(1)
    assert mask.sum() == 12 and mask[2:6, 1:4].all()


def test_a_single_class_needs_no_list(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, [entry(classes="red fox")]))
    assert list(image.regions((8, 10)).classes) == [2]


def test_of_several_right_classes_the_one_with_the_highest_score_counts(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, [entry(classes=None, imagenet_ids=[0, 2, 1])]))
    assert list(image.regions((8, 10)).classes) == [0]
    assert list(image.regions((8, 10), np.array([0.1, 0.2, 0.6, 0.9])).classes) == [2]


def test_entries_of_one_file_are_its_objects(tmp_path: Path) -> None:
    entries = [entry(), entry(classes=[2], boxes=[[5, 0, 10, 8]]), entry(boxes=[[0, 0, 2, 3]])]
    (image,) = read(written(tmp_path, entries))
    regions = image.regions((8, 10))
    assert set(regions.classes) == {1, 2} and regions.mask(2).sum() == 40
    assert regions.mask(1).sum() == 12 + 6 - 1


def test_an_entry_without_classes_is_an_image_without_objects(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, [entry(classes=[])]))
    assert not image.regions((8, 10)).classes


def test_the_shared_photos_are_read(shared: Path) -> None:
    labels = read_labels(shared / "data" / "imagenet_classes.json")
    images = read_annotations(shared / "data" / "photos" / "boxes.json", labels, 1000)
    paths = sorted((shared / "data" / "photos").glob("*.jpg"))
    found, missing = matched(images, paths)
    assert len(found) == len(images) == 23 and not missing
    (cat,) = [image for image in images if image.name == "coral_cat.jpg"]
    assert cat.regions((320, 480)).mask(285).sum() == (339 - 50) * (320 - 35)


# --- COCO -----------------------------------------------------------------------------------------


def coco(**changes) -> dict:
    annotation = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}
    annotations = [{**annotation, **changes}]
    images = [{"id": 7, "file_name": "a.jpg", "width": 10, "height": 8}]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "tabby"}, {"id": 4, "name": "zebra"}],
    }


def test_a_coco_box_has_a_width_and_a_height(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, coco()))
    assert image.name == "a.jpg" and image.size == (8, 10)
    mask = image.regions((8, 10)).mask(1)
    assert mask.sum() == 12 and mask[2:6, 1:4].all()


def test_a_coco_polygon_covers_the_pixels_whose_centers_it_contains(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, coco(segmentation=[[1, 1, 4, 1, 4, 3, 1, 3], [6, 5, 10, 5, 10, 8]])))
    mask = image.regions((8, 10)).mask(1)
    assert mask[1:3, 1:4].all() and not mask[:5, 5:].any()
    assert mask[5:].astype(int)[:, 6:].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert mask.sum() == 6 + 6


def test_coco_run_lengths_go_column_by_column(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, coco(segmentation={"size": [8, 10], "counts": [3, 4, 73]}, iscrowd=1)))
    mask = image.regions((8, 10)).mask(1)
    assert mask.sum() == 4 and mask[3:7, 0].all()


def test_compressed_run_lengths_fall_back_to_the_box(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, coco(segmentation={"size": [8, 10], "counts": "abc"})))
    assert image.regions((8, 10)).mask(1).sum() == 12


def test_categories_that_the_model_does_not_have_are_noted(tmp_path: Path) -> None:
    content, notes = coco(), []
    content["annotations"] += [{**content["annotations"][0], "category_id": 4}]
    (image,) = read(written(tmp_path, content), say=notes.append)
    assert len(image.objects) == 1
    assert len(notes) == 1 and "1 of the classes" in notes[0] and "'zebra'" in notes[0]


# --- Pascal VOC -----------------------------------------------------------------------------------

VOC = """<annotation><filename>a.jpg</filename><size><width>10</width><height>8</height><depth>3</depth></size>
<object><name>tabby</name><difficult>1</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>6</ymax></bndbox></object>
<object><name>red fox</name><bndbox><xmin>0</xmin><ymin>1</ymin><xmax>10</xmax><ymax>8.0</ymax></bndbox></object>
</annotation>"""


def test_voc_counts_from_one_and_includes_both_ends(tmp_path: Path) -> None:
    (image,) = read(written(tmp_path, VOC, "a.xml"))
    regions = image.regions((8, 10))
    assert regions.mask(1).sum() == 12 and regions.mask(1)[2:6, 1:4].all()
    assert regions.mask(2).all()


def test_a_folder_of_voc_files_is_read(tmp_path: Path) -> None:
    for name in "ab":
        written(tmp_path, VOC.replace("a.jpg", f"{name}.jpg"), f"voc/deep/{name}.xml")
    assert [image.name for image in read(tmp_path / "voc")] == ["a.jpg", "b.jpg"]


# --- masks ----------------------------------------------------------------------------------------


def test_masks_lie_in_a_folder_per_class(tmp_path: Path) -> None:
    mask = np.zeros((8, 10, 3), np.uint8)
    mask[2:6, 1:4] = 1
    write_image(tmp_path / "masks" / "tabby" / "deep" / "a.png", mask)
    write_image(tmp_path / "masks" / "n02119022" / "deep" / "a.png", 255 - mask)
    (image,) = read(tmp_path / "masks")
    regions = image.regions((8, 10))
    assert set(regions.classes) == {1, 2}
    assert regions.mask(1).sum() == 12 and regions.mask(1)[2:6, 1:4].all() and regions.mask(2).all()
    found, missing = matched([image], [Path("x/b.jpg"), Path("x/deep/a.jpg")])
    assert list(found) == [1] and not missing


# --- matching -------------------------------------------------------------------------------------


def test_images_are_matched_by_the_end_of_their_path() -> None:
    images = [AnnotatedImage("train/a.jpg", None), AnnotatedImage("val\\a.jpg", None), AnnotatedImage("b.jpg", None)]
    found, missing = matched(images, [Path("/data/val/a.jpg"), Path("/data/train/a.jpg"), Path("c.jpg")])
    assert {place: image.name for place, image in found.items()} == {1: "train/a.jpg", 0: "val\\a.jpg"}
    assert missing == ["b.jpg"]


def test_a_name_that_matches_several_files_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"'a\.jpg' matches several files, or is annotated several times: x/a\.jpg, y/a\.jpg"):
        matched([AnnotatedImage("a.jpg", None)], [Path("x/a.jpg"), Path("y/a.jpg")])
    with pytest.raises(OptionError, match="is annotated several times"):
        matched([AnnotatedImage("a.jpg", None), AnnotatedImage("x/a.jpg", None)], [Path("x/a.jpg")])


def test_annotations_of_other_images_are_an_error() -> None:
    with pytest.raises(OptionError, match=r"None of the annotated images matches an image file\. Annotated images: 'a\.jpg'"):
        matched([AnnotatedImage("a.jpg", None)], [Path("b.jpg"), Path("a.png")])


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.json", "[{", OptionError, r"a\.json is not valid JSON"),
        ("a.json", [], OptionError, "contain no images"),
        ("a.json", 5, OptionError, "must have a field 'images'"),
        ("a.json", ["cat"], OptionError, r"Entry 0 of .*must have a field 'file' of type str\. Received: cat"),
        ("a.json", [entry(), entry(file=None)], OptionError, "Entry 1 of .*must have a field 'file'"),
        ("a.json", [entry(boxes=None)], OptionError, "must have a field 'boxes'"),
        ("a.json", [entry(classes=None)], OptionError, "must have a field 'classes'"),
        ("a.json", [entry(classes=[True, None])], OptionError, "must contain class numbers or names"),
        ("a.json", [entry(width="10")], OptionError, r"must have a field 'width' of type int"),
        ("a.json", [entry(classes=["tabbby"])], LabelsError, "a class that the model does not have.*Did you mean 'tabby'"),
        ("a.json", [entry(classes=[4])], LabelsError, r"contains class 4, but the model has 4 classes \(0 to 3\)"),
        ("a.json", [entry(classes=[-1])], LabelsError, "contains class -1"),
        ("a.json", coco(bbox=[1, 2, 3]), OptionError, r"not of the form \[x, y, width, height\]"),
        ("a.json", coco(image_id=8), OptionError, "unknown image or category"),
        ("a.json", coco(category_id=9), OptionError, "unknown image or category"),
        ("a.json", coco(category_id=4), LabelsError, "The model has none of the classes in .*'zebra'"),
        ("a.json", coco(segmentation=[[1, 2, 3]]), OptionError, "a polygon that is not"),
        ("a.json", coco(segmentation=[[1, 2, 3, 4]]), OptionError, "a polygon that is not"),
        ("a.json", {"images": []}, OptionError, "must have a field 'annotations'"),
        ("a.xml", "<annotation>", OptionError, "is not valid XML"),
        ("a.xml", "<html/>", OptionError, "not a Pascal VOC annotation: <html> has no <filename>"),
        ("a.xml", VOC.replace("<xmin>2", "<xmin>two"), OptionError, "must have a number in <bndbox/xmin>. Received: 'two'"),
        ("a.xml", VOC.replace("<name>tabby</name>", ""), OptionError, "<object> has no <name>"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', OptionError, "declares XML entities"),
        ("a.txt", "1 2 3 4", OptionError, "unknown format. Pass a JSON file of boxes"),
    ],
)
def test_a_bad_file_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, name: str, content: object, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        read(written(tmp_path, content, name))


def test_paths_that_hold_no_annotations_are_errors(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist"):
        read(tmp_path / "missing.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="neither Pascal VOC files"):
        read(tmp_path / "empty")
    write_image(tmp_path / "masks" / "zebra" / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(LabelsError, match="zebra"):
        read(tmp_path / "masks")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (AnnotatedImage("a.jpg", (8, 9), []), "has 9x8 pixels, but the image has 10x8"),
        (
            AnnotatedImage("a.jpg", None, [AnnotatedObject((1,), [[1, 2, 40, 6]])]),
            r"'a\.jpg': .*extends beyond the 10x8 image",
        ),
        (AnnotatedImage("a.jpg", None, [AnnotatedObject((1,), [["x", 2, 4, 6]])]), r"'a\.jpg': .*four numbers"),
        (AnnotatedImage("a.jpg", None, [AnnotatedObject((1,), mask=lambda size: np.ones((2, 2), bool))]), "size"),
        (AnnotatedImage("a.jpg", None, [AnnotatedObject((1,), mask=lambda size: np.zeros(size, bool))]), "covers no pixel"),
    ],
)
def test_a_region_that_does_not_fit_its_image_is_an_error(image: AnnotatedImage, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        image.regions((8, 10))


def test_unknown_names_without_labels_ask_for_them(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="--labels"):
        read(written(tmp_path, coco()), Labels())


def test_wordnet_ids_are_read_from_labels_files(tmp_path: Path) -> None:
    keras_file = written(tmp_path, {"0": ["n01440764", "tench"], "1": ["n02123045", "tabby"]}, "keras.json")
    entries = written(
        tmp_path, [{"id": 1, "wnid": "n02123045", "name": "b"}, {"id": 0, "wnid": "n1", "name": "a"}], "list.json"
    )
    names = written(tmp_path, ["tench", "tabby"], "names.json")
    assert read_labels(keras_file).wordnet_ids == ("n01440764", "n02123045")
    assert read_labels(entries).wordnet_ids == ("n1", "n02123045") and read_labels(entries).index("n02123045") == 1
    assert read_labels(names).wordnet_ids == ()
