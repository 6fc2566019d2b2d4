"""Create the sinks specified by the callback's arguments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfviz.errors import OptionError
from tfviz.snapshots.sinks.sink import Sink
from tfviz.snapshots.sinks.tensorboard import TensorBoardSink
from tfviz.snapshots.sinks.viewer import ViewerSink


def sinks_for(
    log_dir: Path, tensorboard: bool | str | Path, viewer: str | None, token: str | None, sinks: Sequence[Sink]
) -> list[Sink]:
    """Return the sinks specified by the callback's arguments, followed by the user's own sinks.

    Raises:
        OptionError: an argument is invalid.
    """
    if isinstance(sinks, Sink) or not isinstance(sinks, Iterable):
        raise OptionError(f"`sinks` must be a list, such as sinks=[sink]. Received: {sinks!r}.")
    others = list(sinks)
    for sink in others:
        if not isinstance(sink, Sink):
            raise OptionError(f"`sinks` must contain instances of tfviz.Sink subclasses. Received: {sink!r}.")
    if not isinstance(tensorboard, (bool, str, os.PathLike, type(None))) or tensorboard == "":
        raise OptionError(f"`tensorboard` must be True, False or a folder path. Received: {tensorboard!r}.")
    if token is not None and viewer is None:
        raise OptionError("`token` requires a viewer. Pass the viewer's address too: viewer='http://host:1337'.")
    found: list[Sink] = []
    if tensorboard:
        found.append(TensorBoardSink(log_dir / "tensorboard" if tensorboard is True else tensorboard))
    if viewer is not None:
        found.append(ViewerSink(viewer, token))
    return [*found, *others]
