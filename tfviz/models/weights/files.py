"""What all weights files have in common: they must be there, and of a kind that can be loaded."""

from __future__ import annotations

from pathlib import Path

from tfviz.errors import WeightsError
from tfviz.images.files import shown

CUT_SHORT = "is cut short or damaged. Copy or download it again."


def require_file(path: str | Path, extensions: tuple[str, ...]) -> None:
    """Raises WeightsError unless `path` is a file whose name ends in one of `extensions`."""
    if not str(path).endswith(extensions):
        raise WeightsError(f"{shown(path)} is not a file that can be loaded here: expected {', '.join(extensions)}.")
    if not Path(path).is_file():
        raise WeightsError(f"There is no file {shown(path)}.")


def beginning(path: str | Path) -> str:
    """ "it begins with b'...'", for a message about a file of another kind."""
    with Path(path).open("rb") as file:
        return f"it begins with {file.read(12)!r}"
