"""Read PyTorch checkpoints (.pth, .pt, .pth.tar) with PyTorch's `weights_only` loader."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfviz.errors import MissingPackageError, WeightsError, install_command
from tfviz.images.files import shown
from tfviz.models.weights.containers import require_plain_entries
from tfviz.models.weights.files import TRUNCATED, beginning

_WRAPPERS = ("state_dict", "model", "module")
# The first bytes of files from PyTorch 1.6 or later, and from earlier versions.
_ZIP, _PICKLE = b"PK", b"\x80"
_DISALLOWED = re.compile(r"(?:GLOBAL|type|class|function) ([\w.]+\.[\w.]+)")


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays in a checkpoint under the names used in the file (see `plain_names`).

    Files from PyTorch 1.6 or later are memory-mapped, so an array uses memory only when it is read.

    Args:
        path: the file to read.

    Returns:
        The arrays, keyed by name.

    Raises:
        MissingPackageError: PyTorch is not installed.
        WeightsError: the file is not a checkpoint, is truncated, or contains something other than
            arrays and plain values. No code in the file is run.
    """
    with Path(path).open("rb") as file:
        start = file.read(2)
    if not start.startswith((_ZIP, _PICKLE)):
        raise WeightsError(
            f"{shown(path)} is not a PyTorch checkpoint. {beginning(path)}. Save the state dict with torch.save."
        )
    content = _loaded(path, is_zip=start.startswith(_ZIP))
    try:
        state = _state_dict(content)
        arrays = {str(name): _array(value) for name, value in state.items() if hasattr(value, "detach")}
        received = ", ".join(map(repr, list(state)[:5])) or "nothing"
    # For example, if a dictionary contains itself or a tensor has no data.
    except Exception as error:
        raise WeightsError(f"{shown(path)} {TRUNCATED}") from error
    if not arrays:
        raise WeightsError(
            f"{shown(path)} contains no named arrays. Received: {received}. Save a state dict: "
            "torch.save(model.state_dict(), ...)."
        )
    return arrays


def _loaded(path: str | Path, is_zip: bool) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError(
            f"Reading {shown(path)} requires PyTorch. Run: {install_command('torch')}. Alternatively, save the weights as "
            ".safetensors, which tfviz reads without PyTorch."
        ) from error
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                require_plain_entries(archive, path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{shown(path)} {_unpickling_fault(str(error))}") from error
    except Exception as error:  # a damaged file can raise anything
        raise WeightsError(f"{shown(path)} {TRUNCATED}") from error


def _unpickling_fault(message: str) -> str:
    if not (names := _DISALLOWED.search(message)):
        return TRUNCATED
    return (
        f"refers to {names[1]}, but only arrays are allowed. No code from the file was run. If you trust the file, save only "
        "its state dict: torch.save(model.state_dict(), ...)."
    )


def _state_dict(content: Any) -> Mapping[str, Any]:
    """Return the state dict, which training scripts may store inside other dictionaries."""
    if not isinstance(content, Mapping):
        return {}
    inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    return content if inner is None else _state_dict(inner)


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() and tensor.element_size() == 2 else tensor).numpy()


def plain_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays, keyed by their names in the network itself.

    Prefixes from wrappers ("module.", "model.") are removed, and BatchNorm's step counters are
    omitted.
    """
    return {_plain(name): array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}


def _plain(name: str) -> str:
    # DataParallel may wrap only part of the network, so the prefix can occur anywhere.
    parts = [part for part in name.split(".") if part != "module"]
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return ".".join(parts)
