"""Frames to a film file: H.264 in MP4, GIF, or WebP. Frames are encoded as they come; none is kept.

    with film_file("run.mp4", size=(720, 1280), fps=10) as film:
        film.add(frame)

The file is written beside its place and moved there when it is whole.
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
    """How one kind of film is encoded: FFmpeg's names for the codec and its pixels, and what both are told."""

    codec: str
    pixels: str
    usual_width: int
    codec_options: dict[str, str] = field(default_factory=dict)
    file_options: dict[str, str] = field(default_factory=dict)


KINDS = {
    # The pixels that every browser and phone plays; the index at the front, so that it plays while it loads.
    ".mp4": FilmKind("libx264", "yuv420p", 1280, {"crf": "18"}, {"movflags": "+faststart"}),
    ".gif": FilmKind("gif", "pal8", 800, {}, {"loop": "0"}),
    ".webp": FilmKind("libwebp_anim", "bgra", 800, {"quality": "85"}, {"loop": "0"}),
}
_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers for the colors of HD television, which every player knows


def kind_of(path: str | Path) -> FilmKind:
    """The kind that the name's ending asks for. Raises OutputError for another ending."""
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise OutputError(f"{shown(path)}: expected a name that ends in {', '.join(KINDS)}, got {Path(path).suffix!r}.")
    return kind


def pyav() -> ModuleType:
    """PyAV. Raises MissingPackageError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(f"PyAV, which encodes films, is not installed. Run: {install_command('film')}") from error
    return av


class FilmFile:
    """A film that is being written."""

    def __init__(self, container: Any, stream: Any, convert: Callable[[Any], list[Any]], fps: Fraction) -> None:
        self._container, self._stream, self._convert, self._fps = container, stream, convert, fps
        self._count = 0

    def add(self, picture: Picture, times: int = 1) -> None:
        """Adds a frame, (height, width, 3) uint8 RGB, so many times."""
        for _ in range(times):
            frame = pyav().VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self._count, 1 / self._fps
            self._count += 1
            self._write(self._convert(frame))

    def finish(self) -> None:
        """Writes what the encoder still holds."""
        self._write([*self._convert(None), None])

    def _write(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            self._container.mux(self._stream.encode(frame))


@contextmanager
def film_file(path: str | Path, size: tuple[int, int], fps: float, samples: Iterable[Picture]) -> Iterator[FilmFile]:
    """A film to add frames to. It is at `path` when the block ends; where it fails, what was there before stays.

    size: (height, width) of the frames, both even. fps: frames a second. samples: some of the frames, which choose the
    256 colors of a GIF; not looked at for other kinds.

    Raises OutputError where the file cannot be written, MissingPackageError without PyAV.
    """
    path, kind, av = Path(path), kind_of(path), pyav()
    unfinished = path.with_name(f".tfviz-{uuid.uuid4().hex}{path.suffix.lower()}")
    rate = Fraction(fps).limit_denominator(1000)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(unfinished), "w", options=kind.file_options) as container:
            stream = _new_stream(container, kind, size, rate)
            film = FilmFile(container, stream, _conversion(kind, size, rate, samples), rate)
            yield film
            film.finish()
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{shown(path)} cannot be written ({reason}). Give a place that can be written to.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _new_stream(container: Any, kind: FilmKind, size: tuple[int, int], rate: Fraction) -> Any:
    try:
        stream = container.add_stream(kind.codec, rate=rate, options=kind.codec_options)
    except ValueError as error:  # PyAV's UnknownCodecError is one
        raise MissingPackageError(
            f"This PyAV was built without FFmpeg's encoder {kind.codec}. The ordinary build has it. "
            f"Run: {install_command('film')}"
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
    """From an RGB frame to those to be encoded; None stands for the end."""
    if kind.pixels == "pal8":
        return GifColors(size, rate, samples)
    return lambda frame: [] if frame is None else [frame.reformat(format=kind.pixels, dst_colorspace="ITU709")]
