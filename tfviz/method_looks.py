"""The titles and styles of imported methods, for code that imports no method itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodLook:
    """A method's title and style.

    Attributes:
        title: the method's class name.
        style: "heatmap", "signed" or "grey" (see `render.colors`).
    """

    title: str
    style: str


# "all" excludes methods that run the network more often than this per image.
MOST_ROWS_OF_ALL = 256

# Each method adds its entry, under its key, when its class is created.
LOOKS: dict[str, MethodLook] = {}
