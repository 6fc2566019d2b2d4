"""Convert images to a network's input: crop and resize them, and scale their values.

Three things must agree, or maps appear in the wrong place: the image region that the network sees,
the tensor made from it, and the image that the map is drawn on. `Preprocessing` provides all three.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfviz.errors import OptionError, near_matches
from tfviz.images.files import require_image, shown

Size = tuple[int, int]
_Formula = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# x: float32 (height, width, channels) in 0..255; mean, std: (channels,), in channel order.
_FORMULAS: dict[str, _Formula] = {
    "x": lambda x, mean, std: x,
    "x/255": lambda x, mean, std: x / 255,
    "x/127.5-1": lambda x, mean, std: x / 127.5 - 1,
    "x-mean": lambda x, mean, std: x - mean,
    "(x/255-mean)/std": lambda x, mean, std: (x / 255 - mean) / std,
}
_INVERSES: dict[str, _Formula] = {
    "x": lambda x, mean, std: x,
    "x/255": lambda x, mean, std: x * 255,
    "x/127.5-1": lambda x, mean, std: (x + 1) * 127.5,
    "x-mean": lambda x, mean, std: x + mean,
    "(x/255-mean)/std": lambda x, mean, std: (x * std + mean) * 255,
}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, for x/255
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # BGR, for 0..255

# The keras.applications modes, plus "unit" for networks that expect [0, 1] and "none" for 0..255.
_MODES: dict[str, dict[str, Any]] = {
    "tf": {"formula": "x/127.5 - 1"},
    "torch": {"formula": "(x/255 - mean)/std", "mean": _IMAGENET_MEAN, "std": _IMAGENET_STD},
    "caffe": {"formula": "x - mean", "channel_order": "BGR", "mean": _CAFFE_MEAN},
    "unit": {"formula": "x/255"},
    "none": {"formula": "x"},
}
MODES = tuple(_MODES)
_CHANNELS = {"RGB": 3, "BGR": 3, "gray": 1}
_CROP = re.compile(r"short side (\d+), cent(?:re|er) crop (\d+)(?: ?[x×] ?(\d+))?")


@dataclass(frozen=True)
class Preprocessing:
    """A recipe for converting images to a network's input.

    Args:
        size: (height, width) of the tensor. None means the crop size, or the image size if there is
            no crop.
        channel_order: "RGB", "BGR" or "gray" (luminance, one channel).
        formula: "x", "x/255", "x/127.5 - 1", "x - mean" or "(x/255 - mean)/std", with x in 0..255.
            Spaces are ignored, and a remark in parentheses may follow.
        mean, std: one number per channel, in channel order, if the formula uses them.
        resize: "stretch" (use the full image and ignore its aspect ratio), or "short side 256,
            center crop 224" (scale the short side to 256 pixels, then keep the central 224x224).

    Raises:
        OptionError: a value is invalid, or the values are inconsistent.

    Example:

        >>> preprocessing = tfviz.Preprocessing(size=(32, 48), formula="x/127.5 - 1")
        >>> tensor = preprocessing.tensor(np.full((100, 150, 3), 255, "uint8"))
        >>> tensor.shape, float(tensor.max())
        ((32, 48, 3), 1.0)
    """

    size: Size | None = None
    channel_order: str = "RGB"
    formula: str = "x"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: str = "stretch"

    def __post_init__(self) -> None:
        _check_size(self.size)
        if self.channel_order not in _CHANNELS:
            raise OptionError(f"`channel_order` must be 'RGB', 'BGR' or 'gray'. Received: {self.channel_order!r}.")
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))
        self.crop()  # This also validates `resize`.

    def _checked(self, name: str, values: Any) -> tuple[float, ...] | None:
        is_used = name in self._formula()
        if (values is not None) != is_used:
            verb, action = ("uses", "Pass") if is_used else ("does not use", "Omit")
            raise OptionError(f"The formula '{self.formula}' {verb} {name}. Received: {name}={values!r}. {action} `{name}`.")
        if values is None:
            return None
        if not _is_numbers(values, self.channels) or (name == "std" and min(values) <= 0):
            kind = "positive numbers" if name == "std" else "numbers"
            raise OptionError(
                f"`{name}` must contain {self.channels} {kind}, one per channel ({self.channel_order}). Received: {values!r}."
            )
        return tuple(float(value) for value in values)

    def _formula(self) -> str:
        if isinstance(self.formula, str):
            bare = re.sub(r"\s+\([^()]*\)\s*$", "", self.formula)
            if (key := re.sub(r"\s+", "", bare)) in _FORMULAS:
                return key
        raise OptionError(f"Unknown formula {self.formula!r}. Choose one of: {', '.join(_FORMULAS)}.")

    def crop(self) -> tuple[int, int, int] | None:
        """Return the crop that `resize` describes.

        Returns:
            (short side, crop height, crop width) in pixels, or None for "stretch".

        Raises:
            OptionError: `resize` is neither "stretch" nor a valid crop.
        """
        if self.resize == "stretch":
            return None
        parts = _CROP.fullmatch(self.resize) if isinstance(self.resize, str) else None
        if parts is None:
            raise OptionError(
                f"`resize` must be 'stretch', or have the form 'short side 256, center crop 224'. Received: {self.resize!r}."
            )
        short, height, width = int(parts[1]), int(parts[2]), int(parts[3] or parts[2])
        if not 0 < min(height, width) <= max(height, width) <= short:
            raise OptionError(f"The crop size must be between 1 pixel and the short side. Received: resize='{self.resize}'.")
        return short, height, width

    @property
    def channels(self) -> int:
        """The number of channels: 3, or 1 for "gray"."""
        return _CHANNELS[self.channel_order]

    @property
    def output_size(self) -> Size | None:
        """(height, width) of every tensor, or None if tensors keep the image size."""
        crop = self.crop()
        return self.size or (crop[1:] if crop else None)

    def for_input(self, size: Size | None, channels: int) -> Preprocessing:
        """Adapt this preprocessing to a network's input.

        Args:
            size: the network's input size (height, width), or None if any size is allowed.
            channels: the network's number of input channels.

        Returns:
            This preprocessing, with `size` filled in if it had none.

        Raises:
            OptionError: this preprocessing produces a different size or number of channels.
        """
        if self.channels != channels:
            raise OptionError(
                f"The preprocessing produces {self.channels} channels, but the network expects {channels}. {_OTHER_CHANNELS}"
            )
        if self.output_size is None:
            return replace(self, size=size)
        if size not in (None, self.output_size):
            raise OptionError(
                f"The preprocessing produces images of {_by(self.output_size)} pixels, but the network expects {_by(size)}. "
                "Set the preprocessing's `size` to match, or omit `size`."
            )
        return self

    def crop_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the region that the network sees.

        Args:
            height, width: the image size in pixels.

        Returns:
            (top, left, bottom, right) in pixels.
        """
        crop = self.crop()
        if crop is None:
            return 0, 0, height, width
        scale = min(height, width) / crop[0]
        box_height, box_width = (max(1, round(side * scale)) for side in crop[1:])
        top, left = (height - box_height) // 2, (width - box_width) // 2
        return top, left, top + box_height, left + box_width

    def picture(self, rgb: np.ndarray) -> np.ndarray:
        """Crop an image to the region that the network sees, keeping the image's resolution.

        Args:
            rgb: the image, a uint8 RGB array of shape (height, width, 3).

        Returns:
            The region as a uint8 RGB array, for drawing maps on.
        """
        return self._region(rgb).copy()

    def _region(self, rgb: np.ndarray) -> np.ndarray:
        top, left, bottom, right = self.crop_box(*require_image(rgb).shape[:2])
        return rgb[top:bottom, left:right]

    def resized_picture(self, rgb: np.ndarray) -> np.ndarray:
        """Crop an image to the region that the network sees and resize it to the network's input.

        Args:
            rgb: the image, a uint8 RGB array of shape (height, width, 3).

        Returns:
            The region as a uint8 RGB array of size `output_size`.
        """
        pixels = self._region(rgb)
        resized = _resize(pixels, self.output_size or pixels.shape[:2])
        return resized.copy() if resized is pixels else resized

    def tensor(self, rgb: np.ndarray) -> np.ndarray:
        """Convert an image to the network's input.

        Pixels are averaged for downscaling, which avoids aliasing, and interpolated for upscaling.
        Each axis is resized separately.

        Args:
            rgb: the image, a uint8 RGB array of shape (height, width, 3).

        Returns:
            The tensor, a float32 array of shape (height, width, channels).
        """
        pixels = self._region(rgb)
        if self.channel_order == "gray":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        elif self.channel_order == "BGR":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        height, width = self.output_size or pixels.shape[:2]
        x = _resize(pixels, (height, width)).reshape(height, width, self.channels).astype(np.float32)
        return self.numbers(x)

    def numbers(self, x: Any) -> Any:
        """Convert pixels to the network's value range.

        Args:
            x: a float32 array or tensor of pixels in 0..255, with shape (…, channels).

        Returns:
            The values, with the same shape.
        """
        return self._applied(_FORMULAS, x)

    def rgb(self, numbers: np.ndarray) -> np.ndarray:
        """Convert the network's values back to pixels.

        Args:
            numbers: the network's input, with shape (…, channels).

        Returns:
            Unrounded RGB or gray pixels in 0..255, with the same shape.
        """
        pixels = self._applied(_INVERSES, np.asarray(numbers, np.float64))
        return pixels[..., ::-1] if self.channel_order == "BGR" else pixels

    def _applied(self, formulas: dict[str, _Formula], x: Any) -> Any:
        return formulas[self._formula()](x, np.array(self.mean or 0, np.float32), np.array(self.std or 1, np.float32))


def _resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    height, width = pixels.shape[:2]
    smaller = (min(size[0], height), min(size[1], width))
    for (high, wide), how in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if pixels.shape[:2] != (high, wide):
            pixels = cv2.resize(pixels, (wide, high), interpolation=how)
    return pixels


def _by(size: Size | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "any"


def _check_size(size: object) -> None:
    is_size = isinstance(size, tuple) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)
    if size is not None and not is_size:
        raise OptionError(f"`size` must be (height, width) in pixels, or None. Received: {size!r}.")


def _is_numbers(values: object, count: int) -> bool:
    is_row = isinstance(values, (list, tuple)) and len(values) == count
    return is_row and all(isinstance(v, (int, float)) and math.isfinite(v) for v in values)  # type: ignore[attr-defined]


def named(mode: str, size: Size | None = None, channels: int = 3) -> Preprocessing:
    """Return the preprocessing with the given name.

    Args:
        mode: "tf", "torch" or "caffe" as in keras.applications, "unit" for [0, 1], or "none" for
            0..255.
        size: the network's input size (height, width), or None if any size is allowed.
        channels: the network's number of input channels.

    Returns:
        The preprocessing.

    Raises:
        OptionError: the name is unknown, or the mode produces a different number of channels.
    """
    if mode not in _MODES:
        raise OptionError(f"Unknown preprocessing {mode!r}. {near_matches(mode, MODES)}")
    if channels == 3:
        return Preprocessing(size, **_MODES[mode])
    if channels == 1 and "mean" not in _MODES[mode]:
        return Preprocessing(size, channel_order="gray", **_MODES[mode])
    raise OptionError(f"The preprocessing '{mode}' produces 3 channels, but the network expects {channels}. {_OTHER_CHANNELS}")


_OTHER_CHANNELS = (
    "Image files can be read as RGB (3 channels) or luminance (1 channel): choose 'tf', 'unit', 'none', or a JSON file with "
    '"channel_order": "gray". For other numbers of channels, pass arrays in Python.'
)


def from_file(path: str | Path) -> Preprocessing:
    """Read a preprocessing from a JSON file.

    The file's keys are the fields of `Preprocessing`, at the top level or under "preprocessing".
    `size_hw` is an alias for `size`. Unknown keys are allowed only at the top level.

    Args:
        path: the JSON file.

    Returns:
        The preprocessing.

    Raises:
        OptionError: the file cannot be read or is invalid. The message names the file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise OptionError(f"The preprocessing file {shown(path)} cannot be read ({error.strerror}). Check the path.") from error
    except ValueError as error:
        raise OptionError(f"The preprocessing file {shown(path)} is not valid JSON ({error}). Correct the file.") from error
    try:
        return _from_json(content)
    except OptionError as error:
        raise OptionError(f"The preprocessing file {shown(path)} is invalid. {error}") from error


def _from_json(content: Any) -> Preprocessing:
    if not isinstance(content, dict):
        raise OptionError(f"Expected a JSON object with keys such as {', '.join(_KEYS)}. Received: {type(content).__name__}.")
    is_nested = isinstance(content.get("preprocessing"), dict)
    keys = dict(content["preprocessing"] if is_nested else content)
    if "size_hw" in keys:
        keys["size"] = keys.pop("size_hw")
    if unknown := [key for key in keys if key not in _KEYS and is_nested]:
        raise OptionError(f"Unknown key {unknown[0]!r}. {near_matches(unknown[0], _KEYS)}")
    known: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in keys.items() if key in _KEYS
    }
    if not known:
        raise OptionError(
            f"The preprocessing needs keys such as {', '.join(_KEYS)}. Received: {', '.join(map(repr, keys)) or 'none'}."
        )
    return Preprocessing(**known)


_KEYS = tuple(Preprocessing.__dataclass_fields__)


def preprocessing_from(text: str | Path, size: Size | None = None, channels: int = 3) -> Preprocessing:
    """Return the preprocessing for a mode name or a JSON file's path.

    Args:
        text: the mode name or the path.
        size: the network's input size, used if the preprocessing has none.
        channels: the network's number of channels, which the preprocessing must match.

    Returns:
        The preprocessing.

    Raises:
        OptionError: the text is neither a mode nor a file, or the preprocessing does not match the
            network.
    """
    if isinstance(text, str) and text in _MODES:
        return named(text, size, channels)
    if not Path(text).is_file():
        raise OptionError(f"Unknown preprocessing '{shown(text)}'. Choose {', '.join(MODES)}, or pass the path to a JSON file.")
    return from_file(text).for_input(size, channels)
