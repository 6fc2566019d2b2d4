"""Checks and error messages that apply to all weights files."""

from __future__ import annotations

from pathlib import Path

from tfviz.errors import WeightsError
from tfviz.images.files import shown

TRUNCATED = "is truncated or damaged. Copy or download it again."


def require_file(path: str | Path, extensions: tuple[str, ...]) -> None:
    """Raise WeightsError unless `path` is a file with one of these extensions."""
    if not str(path).endswith(extensions):
        raise WeightsError(f"{shown(path)} has an unsupported file extension. Use one of: {', '.join(extensions)}.")
    if not Path(path).is_file():
        raise WeightsError(f"The file {shown(path)} does not exist. Check the path.")


def beginning(path: str | Path) -> str:
    """Return a clause that quotes a file's first bytes, for use in error messages.

    An example is "It starts with b'...'".
    """
    with Path(path).open("rb") as file:
        return f"It starts with {file.read(12)!r}"
