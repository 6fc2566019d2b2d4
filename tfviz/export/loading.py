"""An exported explainer behind the call of the one that it was made of.

Nothing heavy is imported here: each format brings its own runtime.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfviz.errors import ExportError, ImageError, TargetError, TfvizError, first_line
from tfviz.export.manifest import Input, Manifest, flat_names, nested
from tfviz.models.labels import Labels
from tfviz.nesting import Nested

TOP_CLASS = -1


class LoadedExplanation(NamedTuple):
    """What one call gives, in NumPy.

    outputs: float32, nested as the model returns them. target: (N,) int32, or None where no class was explained.
    attribution: float32, as the method gives it.
    """

    outputs: Any
    target: np.ndarray | None
    attribution: Any


class LoadedExplainer(abc.ABC):
    """One method on one model, read back from a folder.

    `manifest` is what its tfviz.json says; `key`, `style`, `takes_target`, `preprocessing` and `labels` are read off it.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.key = manifest.method
        self.style = manifest.style
        self.takes_target = manifest.takes_target
        self.labels = Labels(tuple(manifest.labels or ()))
        self.preprocessing = manifest.picture_preprocessing

    @abc.abstractmethod
    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        """Outputs, target and attribution, nested as the manifest says (see `_nested`).

        Args:
            images: one array for each input, of its shape and type.
            target: (N,) int32 classes, float32 weights of the outputs, or None: the top class.
        """

    def __call__(self, images: Nested[npt.ArrayLike], target: npt.ArrayLike | None = None) -> Any:
        """The attribution of one batch, float32 NumPy.

        Args:
            images: (N, H, W, C) as the model takes them (see `preprocessing`); several inputs nested as the model has them.
            target: None (the top class of each image, or what was fixed when exported), an int, (N,) ints; where
                `manifest.targets` has "weights" also a float array like the outputs.

        Raises:
            ImageError: images of another shape than the export was made for, or not finite.
            TargetError: a target that the file cannot explain.
        """
        return self.with_outputs(images, target).attribution

    def with_outputs(self, images: Nested[npt.ArrayLike], target: npt.ArrayLike | None = None) -> LoadedExplanation:
        """The model's outputs, the class explained, and the attribution. Args, Raises: as for a call."""
        arrays = self._images(images)
        classes = self._target(target, len(arrays[0]))
        try:
            return LoadedExplanation(*self._run(arrays, classes))
        except TfvizError:
            raise
        except Exception as error:  # The runtime's own, of any kind.
            raise ExportError(
                f"The exported explainer cannot be run ({type(error).__name__}: {first_line(error)}). If the images are many "
                "or large, give fewer at a time; otherwise export the explainer again."
            ) from error

    def _nested(self, results: Mapping[str, npt.ArrayLike]) -> tuple[Any, np.ndarray | None, Any]:
        """What `_run` returns, from arrays by their names."""
        arrays = {name: np.asarray(value) for name, value in results.items()}
        manifest = self.manifest
        outputs, attribution = (nested(part, arrays.__getitem__) for part in (manifest.outputs, manifest.attribution))
        return outputs, arrays.get("target"), attribution

    def _images(self, images: Any) -> list[np.ndarray]:
        inputs = self.manifest.inputs
        by_name = self._by_name(images)
        arrays = [_image(one, by_name[one.name]) for one in inputs]
        if len({len(array) for array in arrays}) > 1:
            raise ImageError(f"the inputs must be batches of one length; got {[len(array) for array in arrays]}")
        return arrays

    def _by_name(self, images: Any) -> dict[str, Any]:
        """What is given for each input. A dict goes by its keys; where the model takes a list, by the inputs' names."""
        structure, inputs = self.manifest.input_structure, self.manifest.inputs
        names = flat_names(structure)
        if len(inputs) == 1 and not isinstance(images, dict):
            return {names[0]: images[0] if _is_structure_of_one(images, len(inputs[0].shape)) else images}
        if isinstance(images, dict) or isinstance(structure, dict):
            keys = structure if isinstance(structure, dict) else names
            if not isinstance(images, dict) or set(images) != set(keys):
                got = f"a dict of {', '.join(map(repr, images))}" if isinstance(images, dict) else type(images).__name__
                raise ImageError(f"the export takes a dict of {', '.join(map(repr, keys))}; got {got}")
            if keys is names:
                return images
        found = _flat(images)
        if len(found) != len(inputs):
            raise ImageError(
                f"the export takes {len(inputs)} inputs, got {len(found)}; pass them nested as the model takes them: "
                f"{structure}"
            )
        return dict(zip(names, found, strict=True))

    def _target(self, target: npt.ArrayLike | None, count: int) -> np.ndarray | None:
        if target is None:
            return None
        if not self.takes_target:
            raise TargetError(f"{self.key} explains no single class and takes no target; got {target!r}")
        taken = self.manifest.targets
        if callable(target) or type(target).__name__ == "At":
            raise TargetError(
                "an exported explainer takes no function and no tfviz.At as a target; fix it when exporting: "
                "explainer.export(path, target=...)"
            )
        array = np.asarray(target)
        form = {"i": "class", "u": "class", "f": "weights"}.get(array.dtype.kind)
        if form not in taken:
            raise TargetError(f"this export takes as target: {_shown(taken)}; got {type(target).__name__} {str(target)[:60]}")
        return self._classes(array, count) if form == "class" else _weights(array, count, self.manifest.scores)

    def _classes(self, array: np.ndarray, count: int) -> np.ndarray:
        classes = self.manifest.classes
        if array.ndim > 1 or array.size not in (1, count):
            raise TargetError(f"expected an int or {count} ints, one for each image; got shape {array.shape}")
        if array.min() < 0 or (classes is not None and array.max() >= classes):
            wrong = array.min() if array.min() < 0 else array.max()
            last = f", 0 to {classes - 1}" if classes is not None else ", 0 or more"
            raise TargetError(f"target {wrong} is out of range: the model has {classes or 'some'} classes{last}")
        return np.ascontiguousarray(np.broadcast_to(array.reshape(-1), count), np.int32)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r} on {self.manifest.model!r})"


def _weights(array: np.ndarray, count: int, scores: list[int | None] | None) -> np.ndarray:
    wanted = [None, *(scores or [None])[1:]]
    fits = array.ndim > 1 and (not scores or _fits(wanted, array.shape))
    if not fits or len(array) not in (1, count):
        said = _sizes(tuple(wanted)) if scores else "(N, classes)"
        raise TargetError(
            f"expected weights of shape {said}, one set for each of {count} images or one for all; got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise TargetError("expected finite weights for the outputs; got NaN or infinity among them")
    return np.ascontiguousarray(np.broadcast_to(array, (count, *array.shape[1:])), np.float32)


def _is_structure_of_one(images: object, rank: int) -> bool:
    """Whether images are [batch], as a model takes them whose inputs are a list of one."""
    return isinstance(images, (list, tuple)) and len(images) == 1 and len(getattr(images[0], "shape", ())) == rank


def _image(expected: Input, images: npt.ArrayLike) -> np.ndarray:
    array = np.asarray(images)
    if array.dtype.kind not in "biuf":
        raise ImageError(f"expected {expected.name} as an array of numbers; got {type(images).__name__}")
    wanted = expected.shape
    if not _fits(wanted, array.shape):
        raise ImageError(
            f"the export was made for {expected.name} of shape {_sizes(wanted)}, got {_sizes(array.shape)}; resize them, or "
            "export the explainer anew for that size"
        )
    if array.shape[0] == 0:
        raise ImageError(f"expected at least one image, got an empty batch {_sizes(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError("NaN or infinity among the images; every attribution would be NaN. Look at how they are preprocessed")
    return np.ascontiguousarray(array, _numpy_type(expected.dtype))


def _numpy_type(dtype: str) -> Any:
    if dtype == "bfloat16":
        import ml_dtypes  # comes with TensorFlow and JAX

        return ml_dtypes.bfloat16
    return np.dtype(dtype)


def _fits(wanted: Sequence[int | None], shape: tuple[int, ...]) -> bool:
    return len(wanted) == len(shape) and all(n in (None, m) for n, m in zip(wanted, shape, strict=True))


def _sizes(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"


def _shown(forms: list[str]) -> str:
    said = {
        "top": "None (the top class)",
        "class": "an int or (N,) ints",
        "weights": "floats like the outputs",
        "fixed": "None",
    }
    return ", ".join(said[form] for form in forms) or "None"


def _flat(structure: Any) -> list[Any]:
    """The arrays in lists and dicts, dicts by their sorted keys, as Keras flattens them."""
    if isinstance(structure, dict):
        structure = [structure[key] for key in sorted(structure)]
    if not isinstance(structure, (list, tuple)):
        return [structure]
    return [one for part in structure for one in _flat(part)]
