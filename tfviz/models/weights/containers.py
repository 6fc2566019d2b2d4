"""Check HDF5 files and zip archives from untrusted sources.

An HDF5 file can refer to other files in three ways: links, arrays in external storage, and virtual
arrays assembled from other files. A malicious model could use these references to read the user's
private files. An entry in a zip archive could be written outside the archive's folder, and files in
both formats could expand until memory is exhausted.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from tfviz.errors import WeightsError
from tfviz.images.files import shown

if TYPE_CHECKING:
    import h5py

# Keras does not compress weights, because they would hardly shrink. However, a file of zeros
# compresses well, so the contents may be larger than the file by this factor plus this many bytes.
_MAX_EXPANSION, _ALWAYS_ALLOWED_BYTES = 20, 1 << 28
_ADVICE = "Get the file again from its source, and do not use it unless you trust that source."


def require_plain_entries(archive: zipfile.ZipFile, path: str | Path) -> None:
    """Raise WeightsError if an entry points outside the archive or the entries are too large."""
    for entry in archive.infolist():
        posix, windows = PurePosixPath(entry.filename), PureWindowsPath(entry.filename)
        if posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts):
            raise WeightsError(
                f"{shown(path)} contains the entry {entry.filename!r}, which points outside the archive. {_ADVICE}"
            )
    _require_size(sum(entry.file_size for entry in archive.infolist()), path)


def require_own_data(file: h5py.File, path: str | Path) -> None:
    """Raise WeightsError if an HDF5 file refers to other files or its arrays are too large."""
    import h5py

    size = 0
    for name, entry in _entries(file):
        if isinstance(entry, h5py.ExternalLink):
            raise WeightsError(
                f"{shown(path)} links {name} to another file, {entry.filename!r}, which tfviz does not read. {_ADVICE}"
            )
        if isinstance(entry, h5py.Dataset):
            if entry.external or entry.is_virtual:
                raise WeightsError(
                    f"{shown(path)} stores the array {name} in other files, which tfviz does not read. {_ADVICE}"
                )
            size += entry.nbytes
    _require_size(size, path)


def _entries(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset | h5py.ExternalLink]]:
    """Yield each array and each link to another file once, with its path.

    This also works if a group contains itself.
    """
    import h5py

    waiting, seen = [group], set()
    while waiting:
        group = waiting.pop()
        if (address := h5py.h5o.get_info(group.id).addr) in seen:
            continue
        seen.add(address)
        for name in group:
            link = group.get(name, getlink=True)
            entry = link if isinstance(link, h5py.ExternalLink) else None if isinstance(link, h5py.SoftLink) else group[name]
            if isinstance(entry, h5py.Group):
                waiting.append(entry)
            elif entry is not None:
                yield f"{group.name}/{name}".replace("//", "/"), entry


def _require_size(claimed: int, path: str | Path) -> None:
    stored = Path(path).stat().st_size
    if claimed > _MAX_EXPANSION * stored + _ALWAYS_ALLOWED_BYTES:
        raise WeightsError(
            f"{shown(path)} has {stored:,} bytes but declares {claimed:,} bytes of content, too many for a weights file of "
            f"this size. {_ADVICE}"
        )
