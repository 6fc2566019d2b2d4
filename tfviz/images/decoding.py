"""Decode image files with OpenCV and collect the decoders' warnings.

libjpeg and libtiff fill in missing or damaged data and only print a message. This module therefore
captures the process's standard error while it decodes, and passes on lines from other threads.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

# These flags keep the file's channels and bit depth and apply its EXIF orientation.
# IMREAD_UNCHANGED keeps alpha but ignores the orientation. IMREAD_COLOR applies the orientation but
# drops alpha.
_AS_STORED_AND_ORIENTED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH

_DECODERS = re.compile(
    rb"^(\[ ?(ERROR|WARN|INFO|DEBUG|FATAL):|Corrupt JPEG data|Premature end|Invalid |Inconsistent |.*[Ww]arning:)"
)
_DAMAGE = re.compile(
    rb"TIFF_Error|Fax\w*Decode\w*: |JPEGLib: (Corrupt|Premature)"
    rb"|^Corrupt JPEG data|^Premature end|^Inconsistent progression|^Invalid SOS"
)
# Some cameras pad the data before the end marker. libjpeg warns of these bytes, but the image is
# complete.
_PADDING = re.compile(rb"Corrupt JPEG data: [1-4] extraneous bytes before marker 0xd9")

_STDERR = 2
_OPEN_FILES = Path("/proc/self/fd")
_lock = threading.Lock()


def decode(data: bytes) -> tuple[np.ndarray | None, bool]:
    """Decode an image file.

    Args:
        data: the file's bytes.

    Returns:
        The pixels in OpenCV's channel order (gray, BGR or BGRA), or None if OpenCV cannot decode
        the file; and whether a decoder reported damage.
    """
    lines: list[bytes] = []
    try:
        with _lock, _log_level(cv2.utils.logging.LOG_LEVEL_WARNING), _collected(lines):
            # cv2.imdecode copies the pixels, which doubles the memory. cv2.imread with `dst`
            # doesn't, but it cannot read TIFF files that the orientation turns by 90 degrees.
            with _as_file(data) as path:
                pixels = cv2.imread(path, dst=None, flags=_AS_STORED_AND_ORIENTED)
            if pixels is None:
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED_AND_ORIENTED)
    except cv2.error:
        pixels = None
    return pixels, any(_DAMAGE.search(line) and not _PADDING.search(line) for line in lines)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Store the data in a temporary file, on Linux in memory, and yield its path."""
    if hasattr(os, "memfd_create") and _OPEN_FILES.is_dir():
        with os.fdopen(os.memfd_create("image"), "wb") as file:
            file.write(data)
            file.flush()
            yield str(_OPEN_FILES / str(file.fileno()))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "image")
            path.write_bytes(data)
            yield str(path)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's messages about encoding failures, because tfviz raises a clearer error."""
    with _lock, _log_level(cv2.utils.logging.LOG_LEVEL_SILENT):
        yield


@contextmanager
def _log_level(wanted: int) -> Iterator[None]:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(wanted)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextmanager
def _collected(lines: list[bytes]) -> Iterator[None]:
    """Collect the lines that decoders print to standard error, and pass on all others.

    Do nothing if the process has no standard error.
    """
    try:
        kept = os.dup(_STDERR)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            file.seek(0)
            is_decoders = False
            for line in file:
                is_decoders = bool(_DECODERS.search(line)) or (is_decoders and not line.strip())
                if is_decoders:
                    lines.append(line)
                else:
                    with suppress(OSError):  # The pipe is closed, or the disk is full.
                        os.write(_STDERR, line)
