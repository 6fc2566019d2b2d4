"""The limits that keep mistakes and attacks from filling an explorer's memory."""

from __future__ import annotations

from dataclasses import dataclass

from tfviz.viewer.limits import ServerLimits


@dataclass(frozen=True)
class ExplorerLimits(ServerLimits):
    """The maximum sizes and counts that an explorer allows.

    Attributes:
        image_bytes: the size of an uploaded image file.
        image_pixels: the number of pixels in an image file.
        network_pixels: the number of pixels in an image, for a network that accepts any size.
        uploads: the number of uploaded images that the server keeps.
        kept_bytes: the total file size of these uploaded images.
        listed: the number of images listed on the page.
        explainers: the number of compiled explainers that the server keeps.
        maps: the number of maps that the server keeps.
        waiting: the number of computations that may wait for their turn.
    """

    image_bytes: int = 32 << 20
    image_pixels: int = 50_000_000
    network_pixels: int = 1 << 21
    uploads: int = 64
    kept_bytes: int = 256 << 20
    listed: int = 200
    explainers: int = 8
    maps: int = 32
    waiting: int = 32
