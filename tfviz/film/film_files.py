"""Encode frames one at a time as MP4 (H.264), GIF or WebP, without keeping them in memory.

    with film_file("run.mp4", size=(720, 1280), fps=10, samples=()) as film:
        film.add(frame)

The frames are written to a temporary file, which is moved to the film's path once it is complete.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

from tfviz.errors import MissingPackageError, OutputError, install_command
from tfviz.film.gif_colors import GifColors
from tfviz.images import shown
from tfviz.render.pictures import Picture


@dataclass(frozen=True)
class FilmKind:
    """The encoding settings for a film format.

    Attributes:
        codec: FFmpeg's name for the codec.
        pixels: FFmpeg's name for the pixel format.
        usual_width: the default frame width in pixels.
        codec_options: the codec's options.
        file_options: the container's options.
    """

    codec: str
    pixels: str
    usual_width: int
    codec_options: dict[str, str] = field(default_factory=dict)
    file_options: dict[str, str] = field(default_factory=dict)


KINDS = {
    # Every browser and phone can play yuv420p. With the index at the front of the file, playback
    # can start while the film loads.
    ".mp4": FilmKind("libx264", "yuv420p", 1280, {"crf": "18"}, {"movflags": "+faststart"}),
    ".gif": FilmKind("gif", "pal8", 800, {}, {"loop": "0"}),
    ".webp": FilmKind("libwebp_anim", "bgra", 800, {"quality": "85"}, {"loop": "0"}),
}
# FFmpeg's codes for the HD television color space, which every player supports.
_BT709, _LIMITED_RANGE = 1, 1


def kind_of(path: str | Path) -> FilmKind:
    """Return the film format for a path's file extension.

    Raises:
        OutputError: the file extension is not supported.
    """
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise OutputError(
            f"{shown(path)} must have one of the file extensions {', '.join(KINDS)}. Received: {Path(path).suffix!r}."
        )
    return kind


def pyav() -> ModuleType:
    """Import PyAV.

    Raises:
        MissingPackageError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(f"PyAV, which encodes films, is not installed. Run: {install_command('film')}") from error
    return av


class FilmFile:
    """An open film file to which frames are added."""

    def __init__(self, container: Any, stream: Any, convert: Callable[[Any], list[Any]], fps: Fraction) -> None:
        self._container, self._stream, self._convert, self._fps = container, stream, convert, fps
        self._count = 0

    def add(self, picture: Picture, times: int = 1) -> None:
        """Append a uint8 RGB frame of shape (height, width, 3) to the film, `times` times."""
        for _ in range(times):
            frame = pyav().VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self._count, 1 / self._fps
            self._count += 1
            self._write(self._convert(frame))

    def finish(self) -> None:
        """Write the frames still buffered by the encoder."""
        self._write([*self._convert(None), None])

    def _write(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))


@contextmanager
def film_file(path: str | Path, size: tuple[int, int], fps: float, samples: Iterable[Picture]) -> Iterator[FilmFile]:
    """Open a film for writing. The film appears at its path when the block ends.

    If writing fails, an existing file is kept.

    Args:
        path: the file to write.
        size: the frame size (height, width), both even.
        fps: frames per second.
        samples: sample frames that determine a GIF's 256 colors. Other formats don't use them.

    Yields:
        The film to add frames to.

    Raises:
        OutputError: the file cannot be written.
        MissingPackageError: PyAV is not installed, or does not include the encoder.
    """
    path, kind, av = Path(path), kind_of(path), pyav()
    temporary = path.with_name(f".tfviz-{uuid.uuid4().hex}{path.suffix.lower()}")
    rate = Fraction(fps).limit_denominator(1000)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(temporary), "w", options=kind.file_options) as container:
            stream = _new_stream(container, kind, size, rate)
            film = FilmFile(container, stream, _conversion(kind, size, rate, samples), rate)
            yield film
            film.finish()
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{shown(path)} cannot be written ({reason}). Choose a writable folder.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _new_stream(container: Any, kind: FilmKind, size: tuple[int, int], rate: Fraction) -> Any:
    try:
        stream = container.add_stream(kind.codec, rate=rate, options=kind.codec_options)
    except ValueError as error:  # PyAV's UnknownCodecError is a ValueError.
        raise MissingPackageError(
            f"This PyAV build does not include FFmpeg's {kind.codec} encoder, but the standard build does. Run: "
            f"{install_command('film')}"
        ) from error
    stream.height, stream.width = size
    stream.pix_fmt = kind.pixels
    if kind.pixels == "yuv420p":
        codec = stream.codec_context
        codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
        codec.color_range = _LIMITED_RANGE
    return stream


def _conversion(
    kind: FilmKind, size: tuple[int, int], rate: Fraction, samples: Iterable[Picture]
) -> Callable[[Any], list[Any]]:
    """Return a function that converts RGB frames for the encoder.

    After the last frame, the function is called with None.
    """
    if kind.pixels == "pal8":
        return GifColors(size, rate, samples)
    return lambda frame: [] if frame is None else [frame.reformat(format=kind.pixels, dst_colorspace="ITU709")]
