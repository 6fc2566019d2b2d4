"""Image files to uint8 RGB arrays, and back.

Inside tfviz an image is a NumPy array, uint8, (height, width, 3), RGB. Files are decoded and encoded here only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from tfviz.atomic_files import write_atomically
from tfviz.errors import ImageError, OutputError
from tfviz.images.formats import EXTENSIONS, FORMATS, describe

MIN_SIDE_PX = 2
MAX_SIDE_PX = 16384

# All three together: keep the channels and the depth of the file, yet turn the image as its EXIF data ask. (OpenCV's
# IMREAD_UNCHANGED keeps alpha but does not turn; IMREAD_COLOR turns but drops alpha.)
_AS_STORED_BUT_TURNED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
_log_level_lock = threading.Lock()


def read_image(path: str | Path) -> np.ndarray:
    """Reads a JPEG, PNG, BMP, WebP or TIFF file as uint8 (height, width, 3), RGB.

    The EXIF orientation is applied, transparent pixels are blended with white, 16 bits per channel become 8, and gray and
    palette images become RGB. The content decides the format, not the file extension.

    Raises ImageError for a file that is missing, empty, not an image, truncated or damaged, smaller than 2 pixels on a
    side or larger than 16384.
    """
    return _read(path, MIN_SIDE_PX)


def read_written(path: str | Path) -> np.ndarray:
    """Reads an image that `write_image` wrote, which may be one pixel wide; otherwise like `read_image`."""
    return _read(path, 1)


def _read(path: str | Path, least_px: int) -> np.ndarray:
    name, data = shown(path), _bytes_of(Path(path))
    container = describe(data)
    if container is None:
        raise ImageError(f"{name} is not a {FORMATS} file: it begins with {data[:12]!r}. Convert it, or leave it out.")
    if not container.is_whole:
        raise ImageError(
            f"{name} is cut short or damaged: the {container.kind} data end before the image does. Copy the file again."
        )
    if container.size:
        _check_size(name, least_px, *container.size)
    pixels = _decode(data)
    if pixels is None:
        raise ImageError(f"{name} is cut short or damaged, or a kind of {container.kind} that OpenCV cannot read. Try PNG.")
    _check_size(name, least_px, *pixels.shape[:2])
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name} holds {pixels.dtype} values; expected 8 or 16 bits per channel. Convert it first.")
    return _rgb(_eight_bits(pixels), is_premultiplied=container.kind == "TIFF" and pixels.dtype == np.uint8)


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise ImageError(f"{shown(path)} is a folder; expected an image file.")
    if not path.is_file():
        raise ImageError(f"There is no file {shown(path)}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{shown(path)} cannot be read ({error.strerror}).") from error
    if not data:
        raise ImageError(f"{shown(path)} is empty (0 bytes); expected an image.")
    return data


def _check_size(name: str, least_px: int, height: int, width: int) -> None:
    said = f"{name} is {width} pixels wide and {height} high"
    if max(height, width) > MAX_SIDE_PX:
        raise ImageError(f"{said}; at most {MAX_SIDE_PX} on a side can be read. Make it smaller first.")
    if min(height, width) < least_px:
        raise ImageError(f"{said}; at least {least_px} on a side are needed.")


def _decode(data: bytes) -> np.ndarray | None:
    try:
        with _quiet_opencv():
            return cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED_BUT_TURNED)
    except cv2.error:
        return None


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """OpenCV would print its own lines about damaged files; the error that is raised says it better."""
    with _log_level_lock:
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 = 255 · 257


def _rgb(pixels: np.ndarray, is_premultiplied: bool) -> np.ndarray:
    """OpenCV's gray, BGR or BGRA to RGB. From 8-bit TIFF files, libtiff delivers colors already times alpha."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if channels == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    color, alpha = pixels[..., 2::-1].astype(np.float32), pixels[..., 3:].astype(np.float32)
    if not is_premultiplied:
        color *= alpha / 255
    return np.clip(np.rint(color + (255 - alpha)), 0, 255).astype(np.uint8)


def write_image(path: str | Path, rgb: np.ndarray) -> Path:
    """Writes an image, uint8 (height, width, 3), RGB, in the format of the file extension (".png", ".jpg", ...).

    Creates the folder if it is missing. The file appears complete or not at all. Raises ImageError for another kind of
    array, OutputError for an unknown extension or a path that cannot be written.
    """
    rgb = require_image(rgb)
    extension = Path(path).suffix.lower()
    if extension not in EXTENSIONS:
        raise OutputError(
            f"{shown(path)} cannot be written: expected a file extension such as {', '.join(sorted(EXTENSIONS))}."
        )
    try:
        with _quiet_opencv():
            is_encoded, data = cv2.imencode(_ENCODER.get(extension, extension), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        is_encoded = False
    if not is_encoded:
        raise OutputError(f"{shown(path)} cannot be written: OpenCV cannot encode {rgb.shape} as {extension}. Try .png.")
    return write_atomically(path, data.tobytes())


_ENCODER = {".jfif": ".jpg"}  # a file extension that OpenCV does not know


def require_image(rgb: object) -> np.ndarray:
    """Returns `rgb` if it is an image, uint8 (height, width, 3). Raises ImageError otherwise."""
    if isinstance(rgb, np.ndarray) and rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size:
        return rgb
    came = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
    raise ImageError(f"Expected an image, a uint8 RGB array (height, width, 3), as read_image returns. Got {came}.")


def shown(path: str | Path) -> str:
    """The path for a message, whatever bytes the file system allowed in it."""
    return os.fsencode(path).decode("utf-8", "replace")
