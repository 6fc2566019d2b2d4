"""How the methods that were imported are titled and drawn, for code that imports none of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MethodLook:
    """The title and style of a method.

    Attributes:
        title: the name of its class.
        style: "heatmap", "signed" or "grey" (see `render.colors`).
    """

    title: str
    style: str


# "all" leaves out methods that run the network more often than this per image.
MOST_ROWS_OF_ALL = 256

# Each method registers itself by its key when its class is created.
LOOKS: dict[str, MethodLook] = {}
