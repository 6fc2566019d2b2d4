"""Where snapshots go besides the run folder: one file and one row of SINKS per sink.

The run folder itself is not a sink. It numbers the snapshots, and the sinks forward its contents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from tfviz.errors import OptionError
from tfviz.snapshots.sinks.sink import Sink

__all__ = ["SINKS", "Sink", "sinks_for"]


def _tensorboard(log_dir: Path, folder: bool | str | Path, token: str | None) -> Sink:
    from tfviz.snapshots.sinks.tensorboard import TensorBoardSink

    if not isinstance(folder, (bool, str, os.PathLike)) or folder == "":
        raise OptionError(f"`tensorboard` must be True, False or a folder path. Received: {folder!r}.")
    return TensorBoardSink(log_dir / "tensorboard" if isinstance(folder, bool) else folder)


def _viewer(log_dir: Path, url: str, token: str | None) -> Sink:
    from tfviz.snapshots.sinks.viewer import ViewerSink

    return ViewerSink(url, token)


# The callback's argument -> the function that creates a sink from its value. The modules are
# imported on first use.
SINKS: dict[str, Callable[..., Sink]] = {"tensorboard": _tensorboard, "viewer": _viewer}


def sinks_for(log_dir: Path, arguments: dict[str, object], token: str | None, others: Iterable[Sink]) -> list[Sink]:
    """Return the sinks for a callback's arguments, followed by the user's own.

    Args:
        log_dir: the folder of the run.
        arguments: the callback's arguments, keyed by the names in SINKS. None or False means no
            sink.
        token: the viewer's token.
        others: the sinks that the user passed.

    Raises:
        OptionError: an argument is invalid.
    """
    if isinstance(others, Sink) or not isinstance(others, Iterable):
        raise OptionError(f"`sinks` must be a list, such as sinks=[sink]. Received: {others!r}.")
    others = list(others)
    asked = [(make, arguments.get(name)) for name, make in SINKS.items()]
    sinks = [make(log_dir, value, token) for make, value in asked if value is not None and value is not False]
    if token is not None and arguments["viewer"] is None:
        raise OptionError("`token` requires a viewer. Pass the viewer's address too: viewer='http://host:1337'.")
    for sink in others:
        if not isinstance(sink, Sink):
            raise OptionError(f"`sinks` must contain instances of subclasses of tfviz.Sink. Received: {sink!r}.")
    return [*sinks, *others]
