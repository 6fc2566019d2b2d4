"""The signatures for JPEG and PNG files give the results that tfviz gives for these files."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from support import cli_material
from support.exported import assert_near

import tfviz
from tfviz.cli.main import main
from tfviz.export.pictures.coloring import overlaid
from tfviz.export.pictures.decoding import decoded
from tfviz.export.pictures.encoded_images import drawn_image, network_input, region_of
from tfviz.export.pictures.resampling import resized_image, resized_map, smaller_image
from tfviz.images.batches import shrunk
from tfviz.render.pictures import MAX_DRAWN_SIDE_PX


@functools.cache
def graph_of(function: Any) -> Any:
    return tf.function(function, autograph=False, reduce_retracing=True)


def run(function: Any, *args: Any) -> np.ndarray:
    """Run a function of tensors as a graph, like the export does."""
    return graph_of(function)(*args).numpy()


@functools.cache
def overlaid_in(style: str, channels: int) -> Any:
    return lambda picture, values: overlaid(picture, tf.ensure_shape(values, (None, None, channels)), style)


def picture(height: int = 37, width: int = 52, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Return smooth blobs with some noise, so that every step has an effect."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, channels), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    return np.clip(smooth + random.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def oriented_jpeg(orientation: int, *, big_endian: bool = False, before: bytes = b"") -> bytes:
    """Return a JPEG file with an EXIF orientation."""
    order = "big" if big_endian else "little"
    number = lambda value, count: value.to_bytes(count, order)  # noqa: E731
    entries = [(0x010F, 2, 4, number(0x414243, 4)), (0x0112, 3, 1, number(orientation, 2) + b"\0\0")]
    table = number(len(entries), 2) + b"".join(number(t, 2) + number(k, 2) + number(n, 4) + v for t, k, n, v in entries)
    tiff = (b"MM" if big_endian else b"II") + number(42, 2) + number(8, 4) + table + number(0, 4)
    segment = b"Exif\0\0" + tiff
    plain = file_of(Image.fromarray(picture()), "JPEG", quality=90)
    return plain[:2] + before + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:]


def oriented_png(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return file_of(Image.fromarray(picture()), exif=exif)


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# --- decoding -------------------------------------------------------------------------------------

rgb, rgba, gray = picture(), picture(channels=4, seed=1), picture(channels=1, seed=2)[..., 0]
deep = np.random.default_rng(0).integers(0, 65536, (20, 31, 3), dtype=np.uint16)
palette = Image.fromarray(rgb).quantize(17)
FILES = {
    "jpeg": file_of(Image.fromarray(rgb), "JPEG", quality=85),
    "jpeg, finest": file_of(Image.fromarray(rgb), "JPEG", quality=98, subsampling=0),
    "jpeg, progressive": file_of(Image.fromarray(rgb), "JPEG", progressive=True),
    "jpeg, gray": file_of(Image.fromarray(gray), "JPEG"),
    "png": file_of(Image.fromarray(rgb)),
    "png, gray": file_of(Image.fromarray(gray)),
    "png, gray with alpha": file_of(Image.fromarray(np.dstack([gray, rgba[..., 3]]), "LA")),
    "png, alpha": file_of(Image.fromarray(rgba)),
    "png, palette": file_of(palette),
    "png, palette with a transparent color": file_of(palette, transparency=3),
    "png, black and white": file_of(Image.fromarray(gray).convert("1")),
    "png, 16 bits": cv2.imencode(".png", deep)[1].tobytes(),
    "png, 4 colors": file_of(Image.fromarray(rgb).quantize(4), bits=2),
    "png, a color that is transparent": file_of(Image.fromarray(rgb), transparency=tuple(map(int, rgb[3, 3]))),
    "png, gray with a level that is transparent": file_of(Image.fromarray(gray), transparency=int(gray[3, 3])),
    "png, black and white with a transparent one": file_of(Image.fromarray(gray).convert("1"), transparency=0),
    "png, 16 bits of gray": cv2.imencode(".png", (gray.astype(np.uint16) * 256 + 255))[1].tobytes(),
    "jpeg with a preview behind the profile": oriented_jpeg(6, before=b"\xff\xe2\x00\x06abcd"),
    "jpeg with bytes to fill up": oriented_jpeg(6, before=b"\xff"),
    "jpeg with more bytes to fill up": oriented_jpeg(6, before=b"\xff\xff"),
    "jpeg, turned, big-endian": oriented_jpeg(8, big_endian=True),
    "jpeg, an orientation that there is not": oriented_jpeg(77),
    "png, turned": oriented_png(6),
    "png, mirrored": oriented_png(2),
    **{f"jpeg, orientation {number}": oriented_jpeg(number) for number in range(1, 9)},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_decoded_to_the_pixels_of_read_image(name: str, tmp_path: Path) -> None:
    want = tfviz.read_image(saved(tmp_path / "file", FILES[name]))
    got = run(decoded, tf.constant(FILES[name]))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, want)


def test_the_orientations_give_eight_different_images() -> None:
    assert len({run(decoded, tf.constant(oriented_jpeg(number))).tobytes() for number in range(1, 9)}) == 8


def damaged_exif() -> bytes:
    """Return EXIF data whose table of entries claims to be far beyond the end of the file."""
    return oriented_jpeg(6).replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f")


def test_damaged_exif_data_are_ignored(tmp_path: Path) -> None:
    np.testing.assert_array_equal(run(decoded, tf.constant(damaged_exif())), run(decoded, tf.constant(oriented_jpeg(1))))


REJECTED = {
    "no image": (b"GIF89a and more", "must contain JPEG or PNG files"),
    "nothing": (b"", "must contain JPEG or PNG files|pos 0"),
    "a truncated JPEG": (FILES["jpeg"][: len(FILES["jpeg"]) // 2], "Invalid JPEG data"),
    "a truncated PNG": (FILES["png"][: len(FILES["png"]) // 2], "Invalid PNG data|decode"),
    "an image of one pixel": (file_of(Image.new("RGB", (1, 1))), "must have sides of 2 to 16384 pixels"),
    "an image that is too wide": (file_of(Image.new("1", (16385, 2))), "must have sides of 2 to 16384 pixels"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_an_incomplete_or_other_file_is_rejected(name: str) -> None:
    content, message = REJECTED[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(decoded, tf.constant(content))


# --- sizes ----------------------------------------------------------------------------------------

SIZES = [(24, 24), (37, 52), (37, 20), (80, 99), (20, 90), (90, 20), (2, 3), (36, 51), (74, 104), (38, 53)]


@pytest.mark.parametrize("size", SIZES)
def test_images_are_resized_like_preprocessing_does(size: tuple[int, int]) -> None:
    for seed in range(3):
        want = tfviz.Preprocessing(size=size).tensor(picture(seed=seed))
        got = run(resized_image, tf.constant(picture(seed=seed)), tf.constant(size)).astype(float)
        assert abs(got - want).max() <= 1
        assert (got != want).mean() < 0.002


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_integer_factors_round_like_opencv(factor: int) -> None:
    large = picture(24 * factor, 31 * factor)
    want = cv2.resize(large, (31, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(run(smaller_image, tf.constant(large), tf.constant([24, 31])), want)


@pytest.mark.parametrize("sizes", [((7, 9), (60, 41)), ((40, 40), (21, 33)), ((12, 12), (12, 12)), ((9, 30), (30, 9))])
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_are_resized_like_overlays_do(sizes: tuple[tuple[int, int], tuple[int, int]], channels: int) -> None:
    from tfviz.render.pictures import shrunk_or_enlarged

    small, large = sizes
    values = np.random.default_rng(0).normal(size=(*small, channels)).astype("float32")
    want = np.clip(shrunk_or_enlarged(values, *large), values.min(), values.max())
    assert_near(run(resized_map, tf.constant(values), tf.constant(large)), want, 1e-5)


PREPROCESSINGS = {
    "stretched": tfviz.Preprocessing(size=(32, 24), formula="x/127.5 - 1"),
    "cropped": tfviz.Preprocessing(resize="short side 40, center crop 32x28", formula="x/255"),
    "cropped, then another size": tfviz.Preprocessing(size=(50, 60), resize="short side 30, center crop 27"),
    "BGR minus mean": tfviz.Preprocessing((20, 20), "BGR", "x - mean", mean=(103.9, 116.8, 123.7)),
    "mean and deviation": tfviz.Preprocessing(
        (20, 20), "RGB", "(x/255 - mean)/std", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "luminance": tfviz.Preprocessing(size=(31, 33), channel_order="gray", formula="x/255"),
    "its own size": tfviz.Preprocessing(),
}


@functools.cache
def input_of(name: str) -> Any:
    return lambda region: network_input(region, PREPROCESSINGS[name])


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_the_network_input_equals_the_result_of_preprocessing(name: str) -> None:
    preprocessing = PREPROCESSINGS[name]
    for seed, (height, width) in enumerate([(37, 52), (64, 41), (30, 30), (101, 77)]):
        rgb = picture(height, width, seed=seed)
        region = region_of(tf.constant(rgb), preprocessing)
        np.testing.assert_array_equal(region, preprocessing.picture(rgb))
        got, want = run(input_of(name), region), preprocessing.tensor(rgb)
        assert got.shape == want.shape
        one_level = (want.max() - want.min()) / 100
        np.testing.assert_allclose(got, want, atol=one_level)
        assert (abs(got - want) > one_level / 1000).mean() < 0.003


def test_large_images_are_drawn_as_large_as_on_the_command_line() -> None:
    for size in ((40, 1601), (3201, 100), (1600, 20)):
        large = picture(*size)
        np.testing.assert_array_equal(run(drawn_image, tf.constant(large)), shrunk(large, MAX_DRAWN_SIDE_PX))


# --- colors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["heatmap", "signed", "grey"])
@pytest.mark.parametrize("shape", [(7, 7, 1), (30, 20, 1), (30, 20, 3), (30, 20, 5), (200, 100, 3)])
def test_overlays_match_those_of_tfviz(style: str, shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype("float32") ** 3
    values *= np.random.default_rng(1).random(shape) > 0.3  # zeros do not affect the limit
    if style == "heatmap":
        values = abs(values)
    below = picture(90, 121)
    (want,) = tfviz.overlay(below[None], values[None, ..., 0] if shape[2] == 1 else values[None], style=style).astype(int)
    got = run(overlaid_in(style, values.shape[-1]), tf.constant(below), tf.constant(values)).astype(int)
    assert abs(got - want).max() <= 3  # the next color of the table, if a value is between two
    assert (got != want).mean() < 0.002


@pytest.mark.parametrize("style", ["heatmap", "signed", "grey"])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30])
def test_flat_tiny_and_huge_maps_are_drawn_like_tfviz_does(style: str, value: float) -> None:
    values, below = np.full((5, 5, 1), value, "float32"), picture(20, 20)
    want = tfviz.overlay(below, values[..., 0], style=style)
    got = run(overlaid_in(style, values.shape[-1]), tf.constant(below), tf.constant(values))
    np.testing.assert_array_equal(got, want)


def test_a_map_with_nan_is_rejected() -> None:
    values = tf.constant(np.full((3, 3, 1), np.nan, "float32"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="The attribution contains NaN or infinity and cannot be drawn"):
        run(overlaid_in("heatmap", 1), tf.constant(picture(9, 9)), values)


# --- the whole pipeline ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cli_material.save_network(tmp_path_factory.mktemp("network") / "net.keras")


def loaded_network(path: Path) -> keras.Model:
    return tfviz.load_model(path, preprocessing="none", labels=cli_material.LABELS)


def pixels(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


@pytest.mark.parametrize("method", ["grad_cam", "guided_backprop", "saliency"])  # one of each style
def test_the_returned_png_files_match_the_command_line(
    method: str, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [saved(tmp_path / f"{number}.jpg", FILES[name]) for number, name in enumerate(["jpeg", "jpeg, orientation 6"])]
    files.append(saved(tmp_path / "2.png", file_of(Image.fromarray(cli_material.picture(7, 100, 61)))))
    arguments = ["--model", str(network), "--preprocess", "none", "--method", method]
    assert main(["explain", *map(str, files), *arguments, "--underlay", "color", "--output", str(tmp_path / "maps")]) == 0
    command = ["export", *arguments, "--include", "image", "--overlay", "--output", str(tmp_path / "export")]
    assert main(command) == 0
    capsys.readouterr()
    module = tf.saved_model.load(str(tmp_path / "export"))
    answer = module.signatures["overlay"](image_bytes=tf.constant([file.read_bytes() for file in files]))
    assert set(answer) == {"outputs", "target", "overlay_bytes"}
    for file, png in zip(files, answer["overlay_bytes"].numpy(), strict=True):
        want = tfviz.read_image(tmp_path / "maps" / file.stem / f"{method}.png").astype(int)
        got = pixels(png)
        assert got.shape == want.shape
        assert abs(got - want).max() <= 4
        assert (got != want).mean() < 0.01


def test_photos_give_the_images_of_the_command_line(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models, photos = shared / "data" / "models", sorted((shared / "data" / "photos").glob("*.jpg"))[::6]
    arguments = ["--model", str(models / "squeezenet_imagenet.keras"), "--method", "grad_cam"]
    arguments += ["--preprocess", str(models / "squeezenet_imagenet.json")]
    assert main(["explain", *map(str, photos), *arguments, "--underlay", "color", "--output", str(tmp_path / "maps")]) == 0
    command = ["export", *arguments, "--include", "image", "--overlay", "--output", str(tmp_path / "x")]
    assert main(command) == 0
    capsys.readouterr()
    module = tf.saved_model.load(str(tmp_path / "x"))
    answer = module.signatures["image"](image_bytes=tf.constant([photo.read_bytes() for photo in photos]))
    for photo, png in zip(photos, answer["overlay_bytes"].numpy(), strict=True):
        want = tfviz.read_image(tmp_path / "maps" / photo.stem / "grad_cam.png").astype(int)
        assert abs(pixels(png) - want).max() <= 4
        assert abs(pixels(png) - want).mean() < 0.001


def test_images_of_several_sizes_share_a_batch(network: Path, tmp_path: Path) -> None:
    model = loaded_network(network)
    explainer = tfviz.GradCAM(model)
    module = tf.saved_model.load(str(explainer.export(tmp_path / "x", include="image")))
    assert set(module.signatures) == {"serving_default", "explain", "explain_weighted", "image", "explain_image"}
    sizes = [(40, 61), (33, 90), (70, 35)]
    files = [file_of(Image.fromarray(picture(*size, seed=number))) for number, size in enumerate(sizes)]
    answer = module.signatures["explain_image"](image_bytes=tf.constant(files), target=tf.constant([1, -1, 3]))
    assert set(answer) == {"outputs", "target", "attribution", "size"}
    assert answer["attribution"].shape == (3, 70, 90)
    np.testing.assert_array_equal(answer["size"], sizes)
    tensors = np.stack([tfviz.Preprocessing((32, 32)).tensor(picture(*size, seed=n)) for n, size in enumerate(sizes)])
    classes = [1, int(model(tensors)[1].numpy().argmax()), 3]
    want = explainer.with_outputs(tensors, classes)
    np.testing.assert_array_equal(answer["target"], classes)
    assert_near(answer["outputs"], want.outputs)
    for (height, width), whole, values in zip(sizes, answer["attribution"].numpy(), want.attribution.numpy(), strict=True):
        resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC).clip(values.min(), values.max())
        assert_near(whole[:height, :width], resized, 1e-4)
        assert not whole[height:].any()
        assert not whole[:, width:].any()


def test_a_map_with_channels_keeps_them(network: Path, tmp_path: Path) -> None:
    explainer = tfviz.GuidedBackprop(loaded_network(network))
    module = tf.saved_model.load(str(explainer.export(tmp_path / "x", include="image")))
    answer = module.signatures["image"](image_bytes=tf.constant([FILES["png"]]))
    assert answer["attribution"].shape == (1, 37, 52, 3)


def test_a_network_of_any_size_takes_images_at_their_own_size(tmp_path: Path) -> None:
    model = cli_material.network((None, None))
    explainer = tfviz.GradCAM(model)
    module = tf.saved_model.load(str(explainer.export(tmp_path / "x", include="image", preprocessing="none")))
    answer = module.signatures["image"](image_bytes=tf.constant([FILES["png"]] * 2))
    assert_near(answer["outputs"], model(np.stack([rgb, rgb]).astype("float32")))


def test_images_are_resized_to_a_size_fixed_by_the_export(tmp_path: Path) -> None:
    explainer = tfviz.VisualBackProp(cli_material.network((None, None)))
    folder = explainer.export(tmp_path / "x", include="image", preprocessing="none", image_shape=(30, 26, 3))
    loaded = tfviz.load_explainer(folder)
    assert loaded.preprocessing == tfviz.Preprocessing((30, 26))
    files = [file_of(Image.fromarray(picture(*size))) for size in ((37, 52), (90, 41))]
    answer = loaded.module.signatures["image"](image_bytes=tf.constant(files))
    tensors = np.stack([loaded.preprocessing.tensor(picture(*size)) for size in ((37, 52), (90, 41))])
    assert_near(answer["outputs"], explainer.with_outputs(tensors).outputs)
    assert answer["attribution"].shape == (2, 90, 52)


def test_contradictory_options_for_files_are_rejected(network: Path, tmp_path: Path) -> None:
    explainer = tfviz.GradCAM(loaded_network(network))
    with pytest.raises(tfviz.OptionError, match=r"`include` must be 'image', or None.*Received: 'images'"):
        explainer.export(tmp_path / "x", include="images")
    with pytest.raises(tfviz.OptionError, match=r"overlay=True requires include='image'\. Pass both"):
        explainer.export(tmp_path / "x", overlay=True)


def test_a_network_with_unknown_preprocessing_takes_no_files(tmp_path: Path) -> None:
    with pytest.raises(
        tfviz.ExportError, match=r"needs the preprocessing, which is unknown for the model 'functional.*'.*preprocessing='tf'"
    ):
        tfviz.GradCAM(cli_material.network()).export(tmp_path / "x", include="image")


def test_a_map_without_height_and_width_is_rejected(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Dense(5, activation="relu", name="hidden")(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="out")(hidden))
    with pytest.raises(tfviz.ExportError, match=r"needs an attribution with height and width.* returns shape \(None, 5\)"):
        tfviz.ExcitationBackprop(model, "hidden").export(tmp_path / "x", include="image", preprocessing="unit")
    assert not any(tmp_path.iterdir())


def test_a_map_with_an_unknown_number_of_channels_is_rejected(tmp_path: Path) -> None:
    explainer = tfviz.Saliency(lambda images: tf.reduce_mean(images, axis=(1, 2)))
    assert explainer.export(tmp_path / "x", image_shape=(8, 8, None)).is_dir()
    with pytest.raises(
        tfviz.ExportError, match=r"a map with a fixed number of channels.*image_shape=\(height, width, channels\)"
    ):
        explainer.export(tmp_path / "y", include="image", preprocessing="unit", image_shape=(8, 8, None))


def test_a_network_with_several_inputs_takes_no_files(tmp_path: Path) -> None:
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(layers.Add()(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    with pytest.raises(tfviz.OptionError, match=r"needs a model with one input \(N, height, width, channels\)"):
        tfviz.GradCAM(model).export(tmp_path / "x", include="image", preprocessing="unit")
