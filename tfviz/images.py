"""Image files to uint8 RGB arrays, and back.

Inside tfviz a picture is a NumPy array, uint8, (height, width, 3), RGB. OpenCV's BGR is met in this file only.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tfviz.containers import FORMATS, SUFFIXES, describe
from tfviz.errors import ImageError, OutputError
from tfviz.writing import write_atomically

MIN_SIDE_PX = 2
MAX_SIDE_PX = 16384

# All three together: keep the channels and the depth of the file, yet turn the picture as its EXIF data ask. (OpenCV's
# IMREAD_UNCHANGED keeps alpha but does not turn; IMREAD_COLOR turns but drops alpha.)
_AS_STORED_BUT_TURNED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
_log_level_lock = threading.Lock()


@dataclass(frozen=True)
class FoundImage:
    """An image file, and the path under which its results are to be kept.

    `relative` never leaves the output folder, and no two images of one search share it, not even on file systems
    that take upper and lower case, or composed and decomposed accents, for the same.
    """

    path: Path
    relative: Path


def find_images(paths: str | Path | Iterable[str | Path]) -> list[FoundImage]:
    """The image files among `paths`; folders are walked, and their structure is kept in `relative`.

    Of a folder, every file with the suffix of an image counts, in sorted order, but nothing hidden (".name"). A file
    that is named itself always counts. With one folder, `relative` starts inside it; with several paths, it starts
    with the folder's own name. A file that is named twice is found once.

    Raises ImageError for a path that does not exist and for a folder without images.
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    found: dict[Path, FoundImage] = {}
    taken: set[str] = set()
    for path in given:
        top = _free_name(Path(path.resolve().name), taken) if path.is_dir() and len(given) > 1 else Path()
        for file, inside in _files_of(path):
            if (real := file.resolve()) not in found:
                found[real] = FoundImage(file, _free_name(top / inside, taken))
    return list(found.values())


def _files_of(path: Path) -> list[tuple[Path, Path]]:
    if path.is_file():
        return [(path, Path(path.name))]
    if not path.is_dir():
        raise ImageError(f"There is no file or folder {shown(path)}. Give image files ({FORMATS}) or folders of them.")
    files = [(file, file.relative_to(path)) for file in _walk(path)]
    if not files:
        raise ImageError(f"The folder {shown(path)} holds no image. Expected files such as {', '.join(sorted(SUFFIXES))}.")
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(here, name)


def _refuse_folder(error: OSError) -> None:
    raise ImageError(f"The folder {shown(error.filename)} cannot be read ({error.strerror}).") from error


def _free_name(wanted: Path, taken: set[str]) -> Path:
    """`wanted`, or the first of "name-2", "name-3", ... that nobody has yet."""
    name, number = wanted, 1
    while (key := unicodedata.normalize("NFC", str(name)).casefold()) in taken:
        number += 1
        name = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    taken.add(key)
    return name


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a JPEG, PNG, BMP, WebP or TIFF file, uint8 (height, width, 3), RGB.

    It is turned as its EXIF data ask; transparency is laid on white; 16 bits per channel become 8; grey and palettes
    become RGB. The content decides the format, not the name's ending.

    Raises ImageError for a file that is missing, empty, no image, cut short or damaged, smaller than 2 pixels on a
    side or larger than 16384.
    """
    return _read(path, MIN_SIDE_PX)


def read_written(path: str | Path) -> np.ndarray:
    """A picture that `write_image` has written, be it one pixel wide; else as `read_image`."""
    return _read(path, 1)


def _read(path: str | Path, least_px: int) -> np.ndarray:
    name, data = shown(path), _bytes_of(Path(path))
    container = describe(data)
    if container is None:
        raise ImageError(f"{name} is not a {FORMATS} file: it begins with {data[:12]!r}. Convert it, or leave it out.")
    if not container.is_whole:
        raise ImageError(
            f"{name} is cut short or damaged: the {container.kind} data end before the picture does. Copy it anew."
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
    """OpenCV's grey, BGR or BGRA to RGB. From 8-bit TIFF files, libtiff delivers colours already times alpha."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if channels == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    colour, alpha = pixels[..., 2::-1].astype(np.float32), pixels[..., 3:].astype(np.float32)
    if not is_premultiplied:
        colour *= alpha / 255
    return np.clip(np.rint(colour + (255 - alpha)), 0, 255).astype(np.uint8)


def write_image(path: str | Path, rgb: np.ndarray) -> Path:
    """Write a picture, uint8 (height, width, 3), RGB, in the format of the name's ending (".png", ".jpg", ...).

    The folder is made where it is missing. The file appears whole or not at all. Raises ImageError for another kind
    of array, OutputError for an unknown ending or a place that cannot be written.
    """
    rgb = require_picture(rgb)
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(f"{shown(path)} cannot be written: expected an ending such as {', '.join(sorted(SUFFIXES))}.")
    try:
        with _quiet_opencv():
            is_encoded, data = cv2.imencode(_ENCODER.get(suffix, suffix), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        is_encoded = False
    if not is_encoded:
        raise OutputError(f"{shown(path)} cannot be written: OpenCV cannot encode {rgb.shape} as {suffix}. Try .png.")
    return write_atomically(path, data.tobytes())


_ENCODER = {".jfif": ".jpg"}  # an ending that OpenCV does not know


def require_picture(rgb: object) -> np.ndarray:
    """`rgb` as it is, if it is a picture: uint8 (height, width, 3). Raises ImageError otherwise."""
    if isinstance(rgb, np.ndarray) and rgb.dtype == np.uint8 and rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.size:
        return rgb
    came = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
    raise ImageError(f"Expected a picture: a uint8 RGB array (height, width, 3), as read_image returns. Got {came}.")


def shown(path: str | Path) -> str:
    """The path for a message, whatever bytes the file system allowed in it."""
    return os.fsencode(path).decode("utf-8", "replace")
