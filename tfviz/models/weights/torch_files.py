"""Reading PyTorch checkpoints (.pth, .pt, .pth.tar), by PyTorch itself and with `weights_only`."""

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
from tfviz.models.weights.files import CUT_SHORT, beginning

_WRAPPERS = ("state_dict", "model", "module")
_ZIP, _PICKLE = b"PK", b"\x80"  # since PyTorch 1.6, and before
_REFUSED = re.compile(r"(?:GLOBAL|type|class|function) ([\w.]+\.[\w.]+)")


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name; training counters are left out (see `plain_names`).

    A new file is mapped, not read, so that each array costs memory only when it is used.

    Raises MissingPackageError without PyTorch; WeightsError for a file that is none, is cut short, or holds anything
    but arrays and plain values, of which nothing is run.
    """
    with Path(path).open("rb") as file:
        start = file.read(2)
    if not start.startswith((_ZIP, _PICKLE)):
        raise WeightsError(f"{shown(path)} is not a PyTorch checkpoint, whatever its name: {beginning(path)}.")
    content = _loaded(path, is_zip=start.startswith(_ZIP))
    try:
        state = _state_dict(content)
        arrays = {str(name): _array(value) for name, value in state.items() if hasattr(value, "detach")}
        came = ", ".join(map(repr, list(state)[:5])) or "nothing"
    except Exception as error:  # a dictionary in itself, tensors without numbers
        raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error
    if not arrays:
        raise WeightsError(f"{shown(path)} holds no arrays by name but {came}; expected a state dict.")
    return arrays


def _loaded(path: str | Path, is_zip: bool) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingPackageError(
            f"PyTorch is needed to read {shown(path)}. Run: {install_command('torch')}. Or save the weights as .safetensors "
            "where they come from, which needs nothing here."
        ) from error
    try:
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                require_plain_entries(archive, path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{shown(path)} {_refusal(str(error))}") from error
    except Exception as error:  # a damaged file fails in whatever its last bytes ask for
        raise WeightsError(f"{shown(path)} {CUT_SHORT}") from error


def _refusal(message: str) -> str:
    if not (names := _REFUSED.search(message)):
        return CUT_SHORT
    return (
        f"cannot be used: it asks for {names[1]}, where only arrays are allowed. Nothing in it was run. If you trust it, save "
        "its state dict alone: torch.save(model.state_dict(), ...)."
    )


def _state_dict(content: Any) -> Mapping[str, Any]:
    """The innermost of the dictionaries that training scripts wrap around one another."""
    if not isinstance(content, Mapping):
        return {}
    inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
    return content if inner is None else _state_dict(inner)


def _array(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() and tensor.element_size() == 2 else tensor).numpy()


def plain_names(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays by the names that the network itself gives them.

    Without what wrappers put before them ("module.", "model."), and without BatchNorm's counters of training steps.
    """
    return {_plain(name): array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}


def _plain(name: str) -> str:
    parts = [part for part in name.split(".") if part != "module"]  # DataParallel may wrap a part of a network
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        parts = parts[1:]
    return ".".join(parts)
