"""The titles and styles of all imported methods, for code that does not itself import methods."""

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


# "all" excludes methods that run the network more than this many times per image.
MOST_ROWS_OF_ALL = 256

# Each method adds an entry under its key when its class is created.
LOOKS: dict[str, MethodLook] = {}
