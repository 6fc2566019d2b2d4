"""Read and write image files as uint8 RGB arrays.

In tfviz, an image is a uint8 RGB array of shape (height, width, 3). Image files are decoded and
encoded only here.
"""

from __future__ import annotations

import math
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np

from tfviz.atomic_files import write_atomically
from tfviz.errors import ImageError, OutputError, shown, warn
from tfviz.images.decoding import decode, quiet_opencv
from tfviz.images.formats import EXTENSIONS, FORMATS, Container, describe

MIN_SIDE_PX = 2
MAX_SIDE_PX = 16384

MAX_JPEG_SCANS = 100  # A progressive JPEG has about ten. Each takes as long as a full decode.

# Cameras, microscopes and scanners store these depths in 16 bits. Signed 16-bit data has 15 bits.
_SENSOR_BITS = (8, 10, 12, 14, 15)
_WIDENED = 257  # converters multiply 8-bit values by 257 to get 16-bit values
_ROWS_AT_ONCE = 64


def read_image(path: str | Path) -> np.ndarray:
    """Read a JPEG, PNG, BMP, WebP or TIFF file as a uint8 RGB array of shape (height, width, 3).

    The EXIF orientation is applied, transparent pixels are blended with white, 16-bit channels are
    reduced to 8 bits, and gray and palette images become RGB. The format is determined by the
    content, not by the file extension.

    If a 16-bit file uses only 8, 10, 12, 14 or 15 bits (because a PNG declares this, or because no
    value needs more), the range of these bits is scaled to 0-255, with a warning. Only the first
    page of a TIFF and the first frame of an animation are read, also with a warning.

    Args:
        path: the file to read.

    Returns:
        The image, a uint8 RGB array of shape (height, width, 3).

    Raises:
        ImageError: the file is missing, empty, not an image, truncated or damaged; a side is
            shorter than 2 or longer than 16384 pixels; or a JPEG has more than 100 scans.

    Example:

        >>> from tfviz.shapes import SAMPLES_DIR
        >>> tfviz.read_image(sorted(SAMPLES_DIR.glob("*.png"))[0]).shape
        (192, 192, 3)
    """
    return _read(path, MIN_SIDE_PX)


def read_written(path: str | Path) -> np.ndarray:
    """Read an image written by `write_image`, even if a side is only one pixel long."""
    return _read(path, 1)


def _read(path: str | Path, least_px: int) -> np.ndarray:
    return image_from_bytes(file_bytes(Path(path)), shown(path), least_px)


def image_from_bytes(data: bytes, name: str, least_px: int = MIN_SIDE_PX) -> np.ndarray:
    """Decode an image file's bytes in the same way as `read_image`.

    Args:
        data: the file's bytes.
        name: the file name for error messages.
        least_px: the minimum side length in pixels.

    Returns:
        The image, a uint8 RGB array of shape (height, width, 3).

    Raises:
        ImageError: the data is empty, not an image, truncated or damaged, or the image size is not
            supported.
    """
    if not data:
        raise ImageError(f"{name} is an empty file (0 bytes), not an image. Copy the file again.")
    container = describe(data)
    if container is None:
        raise ImageError(
            f"{name} is not a {FORMATS} file. It starts with {data[:12]!r}. Convert it to one of these formats, or omit it."
        )
    if container.kind == "TIFF" and container.size is None:
        raise ImageError(_unreadable(name, container.kind))
    if not container.is_whole:
        raise ImageError(
            f"{name} is truncated or damaged: its {container.kind} data ends before the image is complete. Copy the file again."
        )
    if container.size:
        _check_size(name, least_px, *container.size)
    if container.scans > MAX_JPEG_SCANS:
        raise ImageError(
            f"{name} is a JPEG with {container.scans} scans, but at most {MAX_JPEG_SCANS} are supported. Save it again as a "
            "baseline JPEG."
        )
    pixels, is_damaged = decode(data)
    if pixels is None:
        raise ImageError(_unreadable(name, container.kind))
    if is_damaged:
        raise ImageError(
            f"{name} is truncated or damaged: part of its {container.kind} data cannot be decoded. Copy the file again."
        )
    _check_size(name, least_px, *pixels.shape[:2])
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"{name} has {pixels.dtype} values, but only images with 8 or 16 bits per channel can be read. Convert the image "
            "first."
        )
    if container.pages > 1:
        _warn_of_pages(name, container)
    scale = 255 if pixels.dtype == np.uint8 else _deep_scale(name, pixels, container.bits)
    if container.white_is_zero and pixels.dtype == np.uint16:  # libtiff inverts only 8-bit images
        np.subtract(scale, pixels, out=pixels)
    return _rgb(pixels, scale, is_premultiplied=container.kind == "TIFF" and pixels.dtype == np.uint8)


def _unreadable(name: str, kind: str) -> str:
    return f"{name} is truncated, damaged, or a type of {kind} that OpenCV cannot read. Convert it to PNG."


def _warn_of_pages(name: str, container: Container) -> None:
    if container.kind == "TIFF":
        warn(
            f"{name} is a TIFF with {container.pages} pages, but only the first is read. To explain the other pages, save each "
            "page to a separate file, for instance with cv2.imreadmulti and tfviz.write_image."
        )
    else:
        warn(
            f"{name} is an animation with {container.pages} frames, but only the first is read. To explain the other frames, "
            "save each frame to a separate file."
        )


def _deep_scale(name: str, pixels: np.ndarray, declared: int | None) -> int:
    """Return the 16-bit value of white for the bit depth that the file declares or uses."""
    colors = pixels[..., :3] if pixels.ndim == 3 else pixels
    highest = int(colors.max())
    used = next((b for b in _SENSOR_BITS if highest < 1 << b), 16)
    bits = declared if declared is not None and 8 <= declared < 16 else used
    if bits == 16 or highest >= 1 << bits or highest == 0 or _is_widened(colors):
        return 65535
    warn(
        f"{name} has 16 bits per channel with values in {int(colors.min())}-{highest}. It is read as {bits}-bit data, with "
        f"0-{(1 << bits) - 1} scaled to 0-255. To use another range, scale the image to 8 bits yourself."
    )
    return (1 << bits) - 1


def _is_widened(colors: np.ndarray) -> bool:
    """Return whether the 16-bit values were converted from 8-bit ones.

    Such an image is dark. It does not use fewer than 16 bits.
    """
    return not any((colors[top : top + _ROWS_AT_ONCE] % _WIDENED).any() for top in range(0, len(colors), _ROWS_AT_ONCE))


def file_bytes(path: Path) -> bytes:
    """Read a file, or raise ImageError with the reason if it is not a readable regular file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            raise ImageError(f"{shown(path)} is a folder, not an image file. Pass the files in it.")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{shown(path)} is a pipe or device, not an image file. Save its content to a file first.")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"The file {shown(path)} does not exist. Check the path.") from error
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"The file {shown(path)} does not exist. Check the path.") from error
    except OSError as error:
        raise ImageError(f"{shown(path)} cannot be read ({error.strerror}). Check its permissions.") from error
    return data


def _check_size(name: str, least_px: int, height: int, width: int) -> None:
    description = f"{name} is {width} pixels wide and {height} high"
    if max(height, width) > MAX_SIDE_PX:
        raise ImageError(f"{description}, but each side may have at most {MAX_SIDE_PX} pixels. Downscale the image first.")
    if min(height, width) < least_px:
        raise ImageError(f"{description}, but each side must have at least {least_px} pixels. Omit the image.")


def _rgb(pixels: np.ndarray, scale: int, is_premultiplied: bool) -> np.ndarray:
    """Convert gray, BGR or BGRA pixels to RGB, a few rows at a time to save memory.

    If the pixels take at least as much memory as the result, the result overwrites them.

    `is_premultiplied` is True for 8-bit TIFF files, because libtiff has already multiplied their
    colors by alpha.
    """
    shape = (*pixels.shape[:2], 3)
    is_reused = pixels.nbytes >= math.prod(shape) and pixels.flags.owndata and pixels.flags.c_contiguous
    target = pixels.reshape(-1).view(np.uint8) if is_reused else np.empty(math.prod(shape), np.uint8)
    end = 0
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = _rows_to_rgb(_eight_bits(pixels[top : top + _ROWS_AT_ONCE], scale), is_premultiplied)
        target[end : end + rows.size] = rows.reshape(-1)
        end += rows.size
    if not is_reused:
        return target.reshape(shape)
    del target
    pixels.resize(-(-end // pixels.itemsize), refcheck=False)  # release the rest of the memory
    return pixels.view(np.uint8)[:end].reshape(shape)


def _eight_bits(pixels: np.ndarray, scale: int) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    # Alpha may use all 16 bits.
    if pixels.ndim == 3 and pixels.shape[2] == 4 and pixels[..., 3].max() > scale:
        return np.dstack([_eight_bits(pixels[..., :3], scale), _eight_bits(pixels[..., 3], 65535)])
    # Integer arithmetic that rounds to the nearest value.
    return ((pixels.astype(np.uint32) * 510 + scale) // (2 * scale)).astype(np.uint8)


def _rows_to_rgb(pixels: np.ndarray, is_premultiplied: bool) -> np.ndarray:
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
    """Write an image in the format given by the file extension (".png", ".jpg", ...).

    A missing folder is created. The write is atomic: the file appears complete or not at all.

    Args:
        path: the file to write.
        rgb: the image, a uint8 RGB array of shape (height, width, 3).

    Returns:
        The path.

    Raises:
        ImageError: `rgb` is not a uint8 RGB array.
        OutputError: the extension is unknown, or the path cannot be written.
    """
    rgb = require_image(rgb)
    extension = Path(path).suffix.lower()
    if extension not in EXTENSIONS:
        raise OutputError(
            f"{shown(path)} cannot be written: its file extension is unknown. Use one of {', '.join(sorted(EXTENSIONS))}."
        )
    data = _encoded(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _ENCODER.get(extension, extension))
    if data is None:
        raise OutputError(
            f"{shown(path)} cannot be written: OpenCV cannot encode an image of shape {rgb.shape} as {extension}. Write a .png "
            "instead."
        )
    return write_atomically(path, data)


_MOST_ENCODABLE_PX = 16383  # WebP's limit; other formats accept more
_ENCODER = {".jfif": ".jpg"}  # OpenCV does not support the .jfif extension.


def png_bytes(pixels: np.ndarray) -> bytes:
    """Encode an image as PNG.

    Args:
        pixels: a uint8 array, either RGB with shape (height, width, 3) or gray with shape (height,
            width).

    Returns:
        The PNG file's bytes.

    Raises:
        OutputError: OpenCV cannot encode the image.
    """
    data = _encoded(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), ".png")
    if data is None:
        raise OutputError(f"OpenCV cannot encode an image of shape {pixels.shape} as PNG. Reduce its size.")
    return data


def _encoded(pixels: np.ndarray, extension: str) -> bytes | None:
    """Encode gray or BGR pixels. Return None if OpenCV cannot encode them."""
    try:
        # OpenCV prints messages only for unsupported sizes. Images of other sizes need no lock, so
        # several threads can encode them at once.
        with quiet_opencv() if max(pixels.shape) > _MOST_ENCODABLE_PX else nullcontext():
            is_encoded, data = cv2.imencode(extension, pixels)
    except cv2.error:
        return None
    return data.tobytes() if is_encoded else None


def require_image(rgb: object) -> np.ndarray:
    """Return `rgb` if it is a uint8 array of shape (height, width, 3), or raise ImageError."""
    if isinstance(rgb, np.ndarray) and rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size:
        return rgb
    received = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
    raise ImageError(
        f"Expected an image as a uint8 RGB array of shape (height, width, 3). Received: {received}. Read image files with "
        "read_image."
    )
