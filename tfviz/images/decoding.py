"""One image file's bytes through OpenCV, and what its decoders complain of.

libjpeg and libtiff fill in what is missing or damaged and only print that they did. So the standard error of the process
is collected during a decode. Lines of other threads that land there are passed on.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np

# All three together: keep the channels and the depth of the file, yet turn the image as its EXIF data ask. (OpenCV's
# IMREAD_UNCHANGED keeps alpha but does not turn; IMREAD_COLOR turns but drops alpha.)
_AS_STORED_BUT_TURNED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH

_DECODERS = re.compile(
    rb"^(\[ ?(ERROR|WARN|INFO|DEBUG|FATAL):|Corrupt JPEG data|Premature end|Invalid |Inconsistent |.*[Ww]arning:)"
)
_DAMAGE = re.compile(
    rb"TIFF_Error|JPEGLib: (Corrupt|Premature)|^Corrupt JPEG data|^Premature end|^Inconsistent progression|^Invalid SOS"
)
# Some cameras pad the data before the end marker; libjpeg counts the bytes, and the image is whole.
_PADDING = re.compile(rb"Corrupt JPEG data: [1-4] extraneous bytes before marker 0xd9")

_STDERR = 2
_lock = threading.Lock()


def decode(data: bytes) -> tuple[np.ndarray | None, bool]:
    """OpenCV's pixels (gray, BGR or BGRA), or None where it has none; and whether its decoders found damage."""
    lines: list[bytes] = []
    try:
        with _lock, _log_level(cv2.utils.logging.LOG_LEVEL_WARNING), _collected(lines):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED_BUT_TURNED)
    except cv2.error:
        pixels = None
    return pixels, any(_DAMAGE.search(line) and not _PADDING.search(line) for line in lines)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV would print its own lines about what it cannot encode; the error that is raised says it better."""
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
    """Adds the decoders' lines to `lines` and passes the others on. Without a standard error, nothing is printed or added."""
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
            is_ours = False
            for line in file:
                is_ours = bool(_DECODERS.search(line)) or (is_ours and not line.strip())
                if is_ours:
                    lines.append(line)
                else:
                    with suppress(OSError):  # nobody reads it, or the disk is full
                        os.write(_STDERR, line)
