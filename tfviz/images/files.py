"""Image files to uint8 RGB arrays, and back.

Inside tfviz an image is a NumPy array, uint8, (height, width, 3), RGB. Files are decoded and encoded here only.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2
import numpy as np

from tfviz.atomic_files import write_atomically
from tfviz.errors import ImageError, OutputError, shown, warn
from tfviz.images.decoding import decode, quiet_opencv
from tfviz.images.formats import EXTENSIONS, FORMATS, Container, describe

MIN_SIDE_PX = 2
MAX_SIDE_PX = 16384

MAX_JPEG_SCANS = 100  # a progressive JPEG has about ten; each costs as much time as the whole image

_SENSOR_BITS = (8, 10, 12, 14)  # that cameras, microscopes and scanners store in 16 bits
_ROWS_AT_ONCE = 64


def read_image(path: str | Path) -> np.ndarray:
    """Reads a JPEG, PNG, BMP, WebP or TIFF file as uint8 (height, width, 3), RGB.

    The EXIF orientation is applied, transparent pixels are blended with white, 16 bits per channel become 8, and gray and
    palette images become RGB. The content decides the format, not the file extension.

    Where 16 bits hold 8, 10, 12 or 14 (a PNG declares it, or no value exceeds them), the full range of those becomes 0-255,
    with a warning that names it. Only the first page of a TIFF and the first frame of an animation are read, with a
    warning that names their number.

    Raises ImageError for a file that is missing, empty, not an image, truncated or damaged, smaller than 2 pixels on a
    side or larger than 16384, and for a JPEG of more than 100 scans.
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
    if container.kind == "TIFF" and container.size is None:
        raise ImageError(_unreadable(name, container.kind))
    if not container.is_whole:
        raise ImageError(
            f"{name} is cut short or damaged: the {container.kind} data end before the image does. Copy the file again."
        )
    if container.size:
        _check_size(name, least_px, *container.size)
    if container.scans > MAX_JPEG_SCANS:
        raise ImageError(f"{name} is a JPEG of {container.scans} scans; at most {MAX_JPEG_SCANS} are read. Save it again.")
    pixels, is_damaged = decode(data)
    if pixels is None:
        raise ImageError(_unreadable(name, container.kind))
    if is_damaged:
        raise ImageError(f"{name} is cut short or damaged: its {container.kind} data cannot all be decoded. Copy it again.")
    _check_size(name, least_px, *pixels.shape[:2])
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name} holds {pixels.dtype} values; expected 8 or 16 bits per channel. Convert it first.")
    if container.pages > 1:
        _warn_of_pages(name, container)
    scale = 255 if pixels.dtype == np.uint8 else _deep_scale(name, pixels, container.bits)
    return _rgb(pixels, scale, is_premultiplied=container.kind == "TIFF" and pixels.dtype == np.uint8)


def _unreadable(name: str, kind: str) -> str:
    return f"{name} is cut short or damaged, or a kind of {kind} that OpenCV cannot read. Try PNG."


def _warn_of_pages(name: str, container: Container) -> None:
    if container.kind == "TIFF":
        warn(
            f"{name} is a TIFF of {container.pages} pages; only the first is read. To explain the others, save each as a "
            "file of its own, for instance by cv2.imreadmulti and tfviz.write_image."
        )
    else:
        warn(f"{name} is an animation of {container.pages} frames; only the first is read. Save the others as files.")


def _deep_scale(name: str, pixels: np.ndarray, declared: int | None) -> int:
    """The value of 16-bit pixels that is white: of the depth that the file declares or else of the one that it uses."""
    highest = int(pixels.max())
    used = next((b for b in _SENSOR_BITS if highest < 1 << b), 16)
    bits = declared if declared is not None and 8 <= declared < 16 else used
    if bits == 16 or highest >= 1 << bits or highest == 0:
        return 65535
    warn(
        f"{name} has 16 bits per channel, and its values lie in {int(pixels.min())}-{highest}: it is read as {bits}-bit data, "
        f"0-{(1 << bits) - 1} becoming 0-255. For another range, scale it to 8 bits yourself."
    )
    return (1 << bits) - 1


def _bytes_of(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            raise ImageError(f"{shown(path)} is a folder; expected an image file.")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{shown(path)} is a pipe or device; expected an image file.")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"There is no file {shown(path)}.") from error
    except ValueError as error:
        raise error if isinstance(error, ImageError) else ImageError(f"There is no file {shown(path)}.") from error
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


def _rgb(pixels: np.ndarray, scale: int, is_premultiplied: bool) -> np.ndarray:
    """OpenCV's gray, BGR or BGRA to RGB, a few rows at a time, so that nothing large is held beside the two images.

    From 8-bit TIFF files, libtiff delivers colors already times alpha.
    """
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = _eight_bits(pixels[top : top + _ROWS_AT_ONCE], scale)
        rgb[top : top + _ROWS_AT_ONCE] = _rows_to_rgb(rows, is_premultiplied)
    return rgb


def _eight_bits(pixels: np.ndarray, scale: int) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) * 510 + scale) // (2 * scale)).astype(np.uint8)  # the nearest


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
        with quiet_opencv():
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
