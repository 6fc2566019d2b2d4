"""Where snapshots go besides the folder: one file and one row of SINKS for each sink.

The run folder itself is not a sink. It numbers the snapshots, and what is in it is what the sinks
pass on.
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
        raise OptionError(f"tensorboard: expected True, False or the path of a folder; got {folder!r}")
    return TensorBoardSink(log_dir / "tensorboard" if isinstance(folder, bool) else folder)


def _viewer(log_dir: Path, url: str, token: str | None) -> Sink:
    from tfviz.snapshots.sinks.viewer import ViewerSink

    return ViewerSink(url, token)


# The callback's argument -> what makes the sink from its value. The modules are imported when they
# are needed.
SINKS: dict[str, Callable[..., Sink]] = {"tensorboard": _tensorboard, "viewer": _viewer}


def sinks_for(log_dir: Path, arguments: dict[str, object], token: str | None, others: Iterable[Sink]) -> list[Sink]:
    """The sinks for a callback's arguments, by the names in SINKS, and then the user's own.

    An argument that is None or False asks for no sink. Raises OptionError for a value that is
    neither.
    """
    if isinstance(others, Sink) or not isinstance(others, Iterable):
        raise OptionError(f"sinks: expected a list, such as sinks=[sink]; got {others!r}")
    others = list(others)
    asked = [(make, arguments[name]) for name, make in SINKS.items()]
    sinks = [make(log_dir, value, token) for make, value in asked if value is not None and value is not False]
    if token is not None and arguments["viewer"] is None:
        raise OptionError("token: is a viewer's; give its address too, viewer='http://host:1337'")
    for sink in others:
        if not isinstance(sink, Sink):
            raise OptionError(f"sinks: expected objects of a class that derives from tfviz.Sink; got {sink!r}")
    return [*sinks, *others]
