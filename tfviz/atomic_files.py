"""Files that are either there and whole, or not there.

A run may be stopped at any moment (Ctrl-C, a full disk). Everything tfviz writes is therefore written beside its place
under another name and moved there in one step.
"""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from tfviz.errors import OutputError, shown


def write_atomically(path: str | Path, content: bytes | str) -> Path:
    """Write `content` (text as UTF-8) to `path`, making its folder, and return the path.

    A file of that name is replaced. If anything stops the writing, what was there before stays as it was and nothing
    half-written remains. Raises OutputError where the folder or file cannot be written.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    unfinished = path.with_name(f".tfviz-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{shown(path)} cannot be written ({reason}). Give a folder that can be written to.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path
