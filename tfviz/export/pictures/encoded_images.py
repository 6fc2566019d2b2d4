"""Add signatures that accept image files and decode, preprocess, explain and draw them.

    image(image_bytes)                    outputs and target as in serving_default; attribution at
                                          image size, with shape (N, height, width), or
                                          (N, height, width, C) for a map with channels;
                                          size, with shape (N, 2)
    explain_image(image_bytes, target)    the same for N given classes
    overlay, explain_overlay              the same, but with overlay_bytes, N PNG files of the map
                                          over the image, instead of the large attribution and size

Maps are drawn over the image region that the network sees, at the file's resolution but with
sides of at most 1600 pixels. Images in a batch may have different sizes. Each map is then padded
with zeros at the bottom and on the right, and `size` contains its (height, width) without padding.

If neither the model nor its preprocessing fixes the size, all images in a batch must have the same
size. If overlays are requested, image and explain_image also return overlay_bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfviz.errors import ExportError, OptionError
from tfviz.export.manifest import Manifest
from tfviz.export.pictures.coloring import overlaid
from tfviz.export.pictures.decoding import decoded
from tfviz.export.pictures.resampling import resized_image, resized_map, smaller_image
from tfviz.images.preprocessing import Preprocessing
from tfviz.render.pictures import MAX_DRAWN_SIDE_PX

_NAMES = {"serving_default": ("image", "overlay"), "explain": ("explain_image", "explain_overlay")}
_LARGE = ("attribution", "size")
_FILES_SPEC = tf.TensorSpec([None], tf.string, "image_bytes")
Results = dict[str, tf.Tensor]


def require_drawable(manifest: Manifest, attribution: tf.Tensor | None) -> None:
    """Raise ExportError if the preprocessing is unknown or the attribution cannot be drawn."""
    if manifest.preprocessing is None:
        raise ExportError(
            f"include='image' needs the preprocessing, which is unknown for the model '{manifest.model}'. Pass "
            "preprocessing='tf', 'torch', 'caffe', 'unit' (0-1), 'none' (0-255), a JSON file or a tfviz.Preprocessing "
            "(--preprocess on the command line)."
        )
    if attribution is None or len(attribution.shape) not in (3, 4):
        received = "several maps" if attribution is None else f"shape {tuple(attribution.shape)}"
        raise ExportError(
            f"include='image' needs an attribution with height and width, but {manifest.method} returns {received}. Choose a "
            "layer that outputs a feature map, or export without `include`."
        )
    if len(attribution.shape) == 4 and attribution.shape[3] is None:
        raise ExportError(
            f"include='image' needs a map with a fixed number of channels, but the model '{manifest.model}' accepts images "
            "with any number of channels. Pass image_shape=(height, width, channels)."
        )


def check_options(include: object, overlay: object) -> None:
    """Raise OptionError for invalid values of `include` and `overlay`."""
    if include not in (None, "image"):
        raise OptionError(f"`include` must be 'image', or None for tensors only. Received: {include!r}.")
    if overlay and not include:
        raise OptionError("overlay=True requires include='image'. Pass both.")


def image_functions(
    functions: dict[str, tf.types.experimental.ConcreteFunction], manifest: Manifest, overlay: bool
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """Build the signatures for image files from those for tensors. Both are dicts keyed by name."""
    reader = tf.function(_Reader(manifest), input_signature=[_FILES_SPEC], autograph=False)
    painter = tf.function(_Painter(manifest.style, overlay), autograph=False)
    made = {}
    for base, (name, drawn) in _NAMES.items():
        if base not in functions:
            continue
        specs = [_FILES_SPEC, *functions[base].structured_input_signature[0][1:]]
        made[name] = _compiled(_pipeline(reader, functions[base], painter), specs)
        if overlay:
            made[drawn] = _compiled(_without_large(made[name]), specs)
    return made


def _compiled(compute: Callable[..., Results], specs: list[tf.TensorSpec]) -> tf.types.experimental.ConcreteFunction:
    return tf.function(compute, autograph=False).get_concrete_function(*specs)


def _without_large(whole: tf.types.experimental.ConcreteFunction) -> Callable[..., Results]:
    return lambda *given: {name: value for name, value in whole(*given).items() if name not in _LARGE}


def _pipeline(
    reader: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
    explain: Callable[..., Results],
    painter: Callable[..., Results],
) -> Callable[..., Results]:
    def compute(image_bytes: tf.Tensor, *asked: tf.Tensor) -> Results:
        pictures, sizes, tensors = reader(image_bytes)
        results = dict(explain(tensors, *asked))
        return results | painter(pictures, sizes, results["attribution"])

    return compute


class _Reader:
    """Decodes a batch of files.

    Calling it returns the images to draw on, their sizes, with shape (N, 2), and the model's input.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.input = manifest.inputs[0]
        # not None: see `require_drawable`
        self.preprocessing: Any = manifest.picture_preprocessing

    def __call__(self, image_bytes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        count = tf.shape(image_bytes)[0]
        pictures = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=(None, None, 3))
        sizes = tf.TensorArray(tf.int32, count, element_shape=(2,))
        tensors = tf.TensorArray(self.input.dtype, count, element_shape=self.input.shape[1:])

        def step(
            i: tf.Tensor, pictures: tf.TensorArray, sizes: tf.TensorArray, tensors: tf.TensorArray
        ) -> tuple[tf.Tensor | tf.TensorArray, ...]:
            region = region_of(decoded(image_bytes[i]), self.preprocessing)
            picture = drawn_image(region)
            tensor = tf.cast(network_input(region, self.preprocessing), tensors.dtype)
            return i + 1, pictures.write(i, picture), sizes.write(i, tf.shape(picture)[:2]), tensors.write(i, tensor)

        start = [tf.constant(0), pictures, sizes, tensors]
        _, pictures, sizes, tensors = tf.while_loop(lambda i, *_: i < count, step, start)
        return pictures.flow, sizes.stack(), tensors.stack()


class _Painter:
    """Resizes maps to the image sizes and optionally draws them on the images.

    The maps have shape (N, h, w) or (N, h, w, C).
    """

    def __init__(self, style: str, overlay: bool) -> None:
        self.style, self.overlay = style, overlay

    def __call__(self, pictures: tf.Tensor, sizes: tf.Tensor, attribution: tf.Tensor) -> Results:
        if len(attribution.shape) == 3:
            results = self(pictures, sizes, attribution[..., None])
            return results | {"attribution": results["attribution"][..., 0]}
        count, most = tf.shape(sizes)[0], tf.reduce_max(sizes, axis=0)
        # A TensorArray is passed between functions as its flow tensor.
        pictures = tf.TensorArray(tf.uint8, flow=pictures, infer_shape=False)
        maps = tf.TensorArray(tf.float32, count, element_shape=(None, None, attribution.shape[-1]))
        drawn = tf.TensorArray(tf.string, count, element_shape=())

        def step(i: tf.Tensor, maps: tf.TensorArray, drawn: tf.TensorArray) -> tuple[tf.Tensor | tf.TensorArray, ...]:
            values, size = attribution[i], sizes[i]
            padding = most - size
            maps = maps.write(i, tf.pad(resized_map(values, size), [[0, padding[0]], [0, padding[1]], [0, 0]]))
            if self.overlay:
                picture = tf.ensure_shape(pictures.read(i), (None, None, 3))
                drawn = drawn.write(i, tf.io.encode_png(overlaid(picture, values, self.style)))
            return i + 1, maps, drawn

        _, maps, drawn = tf.while_loop(lambda i, *_: i < count, step, [tf.constant(0), maps, drawn])
        results = {"attribution": maps.stack(), "size": sizes}
        return results | ({"overlay_bytes": drawn.stack()} if self.overlay else {})


def region_of(rgb: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Return the part of an image that the network sees (see `Preprocessing.crop_box`)."""
    crop = preprocessing.crop()
    if crop is None:
        return rgb
    short, *sides = crop
    size = tf.shape(rgb)[:2]
    scale = tf.cast(tf.reduce_min(size), tf.float64) / short
    box = tf.maximum(tf.cast(tf.round(tf.constant(sides, tf.float64) * scale), tf.int32), 1)
    top_left = (size - box) // 2
    return tf.slice(rgb, [top_left[0], top_left[1], 0], [box[0], box[1], 3])


def drawn_image(region: tf.Tensor) -> tf.Tensor:
    """Return the image to draw on: the region, downscaled if a side exceeds 1600 pixels."""
    size = tf.shape(region)[:2]
    share = tf.minimum(MAX_DRAWN_SIDE_PX / tf.reduce_max(size), 1)
    return smaller_image(region, tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * share), tf.int32), 1))


def network_input(region: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Return the model's input for a region, as a (height, width, channels) float32 tensor.

    The conversion is the same as in `Preprocessing.tensor`.
    """
    size = tf.constant(preprocessing.output_size) if preprocessing.output_size else tf.shape(region)[:2]
    x = tf.cast(resized_image(_in_channels(region, preprocessing.channel_order), size), tf.float32)
    return preprocessing.numbers(x)


def _in_channels(rgb: tf.Tensor, order: str) -> tf.Tensor:
    if order == "gray":  # integer weights, as in OpenCV
        weighted = tf.reduce_sum(tf.cast(rgb, tf.int32) * [9798, 19235, 3735], axis=2, keepdims=True)
        return tf.cast((weighted + 16384) // 32768, tf.uint8)
    return tf.reverse(rgb, [2]) if order == "BGR" else rgb
