"""Write a run's append-only index, which has one line of strict JSON per snapshot."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfviz.runs.regular_files import require_regular
from tfviz.runs.schema import line_of

_TAIL_BYTES = 1 << 16


def add_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record in one write, and remove an incomplete line if writing fails.

    Raises:
        FileNotFoundError: there is no index. This function never creates one.
        OSError: the record cannot be written.
    """
    line = line_of(record) + b"\n"
    require_regular(path.stat(), path)
    with path.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):  # a full disk accepts only part of the line
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise


def cut_partial_line(path: Path) -> None:
    """Remove a partial line left at the end by a killed writer. Raise OSError on failure."""
    require_regular(path.stat(), path)
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _TAIL_BYTES)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                file.truncate(start + newline + 1)
                return
            end = start
        file.truncate(0)
