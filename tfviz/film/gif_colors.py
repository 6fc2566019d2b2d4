"""Reduce frames to a GIF's 256 colors, with one palette per film to avoid flicker."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from tfviz.render.pictures import Picture

# Ordered dithering depends only on the pixel position, so static parts of the frame stay static and
# the file stays small.
_DITHERING = "dither=bayer:bayer_scale=3"


class GifColors:
    """Converts frames to a palette computed by FFmpeg from sample frames.

    Calling it with a frame returns the converted frames that are ready. At the end, calling it with
    None returns the remaining frames.
    """

    def __init__(self, size: tuple[int, int], rate: Fraction, samples: Iterable[Picture]) -> None:
        import av

        height, width = size
        palette = _palette(size, rate, samples)
        graph = av.filter.Graph()
        self._frames = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate)
        colors = graph.add_buffer(width=16, height=16, format=palette.format, time_base=1 / rate)
        palette_use, self._done = graph.add("paletteuse", _DITHERING), graph.add("buffersink")
        self._frames.link_to(palette_use, 0, 0)
        colors.link_to(palette_use, 0, 1)
        palette_use.link_to(self._done)
        graph.configure()
        self._graph = graph  # The filters don't keep the graph alive.
        colors.push(palette)
        colors.push(None)

    def __call__(self, frame: Any) -> list[Any]:
        self._frames.push(frame)
        return _ready_frames(self._done)


def _palette(size: tuple[int, int], rate: Fraction, samples: Iterable[Picture]) -> Any:
    """Compute the palette from the sample frames, and return it as a 16×16 frame."""
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(width=size[1], height=size[0], format=av.VideoFormat("rgb24"), time_base=1 / rate)
    palette_gen, sink = graph.add("palettegen", "reserve_transparent=0"), graph.add("buffersink")
    source.link_to(palette_gen)
    palette_gen.link_to(sink)
    graph.configure()
    for number, sample in enumerate(samples):
        frame = av.VideoFrame.from_ndarray(sample, format="rgb24")
        frame.pts, frame.time_base = number, 1 / rate
        source.push(frame)
    source.push(None)
    palette = sink.pull()
    palette.pts, palette.time_base = 0, 1 / rate
    return palette


def _ready_frames(sink: Any) -> list[Any]:
    """Return all frames that are ready at the filter's output."""
    import av

    frames = []
    while True:
        try:
            frames.append(sink.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return frames
