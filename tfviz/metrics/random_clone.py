"""Copy a model, then randomize and restore layers in the copy.

The user's model is left unchanged. Its configuration and weights are read, and it is run on one
image.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

import keras
import numpy as np

from tfviz import keras_internals
from tfviz.errors import OptionError, UnsupportedModelError, first_line, near_matches
from tfviz.reading.read_model import read_model

RANDOMIZATIONS = ("permute", "initializer")
_TOLERANCE = 1e-3  # relative to the largest output, to allow for rounding differences


@dataclass(frozen=True)
class LayerGroup:
    """A layer with a kernel, and the layers after it that have none, such as normalization layers.

    Attributes:
        path: the path to the layer with the kernel.
        layers: the layers in the group.
    """

    path: str
    layers: list[keras.Layer]


class RandomClone:
    """A copy of a model whose layers can be randomized.

    A layer's random weights depend only on the seed and the layer's position, so the order in which
    layers are randomized does not matter.

    Attributes:
        model: the copy.
        groups: the groups of layers with weights, from the input to the output.
    """

    def __init__(self, model: keras.Model, images: np.ndarray, *, randomization: str = "permute", seed: int = 0) -> None:
        """Copy the model.

        Args:
            model: the model.
            images: preprocessed images. The first one is used to check that the copy returns the
                same outputs.
            randomization: "permute" shuffles each kernel's entries and applies a single channel
                permutation to all vectors in a normalization layer. "initializer" draws new weights
                from the layers' initializers.
            seed: the seed for the random weights.

        Raises:
            OptionError: the randomization is unknown.
            UnsupportedModelError: the model cannot be copied, or has no layers with weights.
        """
        if randomization not in RANDOMIZATIONS:
            hint = near_matches(str(randomization), RANDOMIZATIONS)
            raise OptionError(f"Unknown randomization {randomization!r}. {hint}")
        self._randomization, self._seed = randomization, seed
        with _seeded(seed):
            self.model = _copy_of(model, images[:1])
        self._drawn = _values(self.model.variables)
        self._set_weights_of(model, images[:1])
        self._own = _values(self.model.variables)
        self.groups = _groups_of(self.model)
        if not self.groups:
            raise UnsupportedModelError(f"The model {model.name!r} has no weights to randomize.")

    def _set_weights_of(self, model: keras.Model, images: np.ndarray) -> None:
        shapes = [[tuple(variable.shape) for variable in one.variables] for one in (model, self.model)]
        if shapes[0] != shapes[1]:
            raise UnsupportedModelError(_NOT_COPIED.format(model.name, "the copy has different weights"))
        for mine, own in zip(self.model.variables, model.variables, strict=True):
            mine.assign(own)
        got, want = _outputs(self.model, images), _outputs(model, images)
        if not all(_is_equal(one, other) for one, other in zip(got, want, strict=True)):
            raise UnsupportedModelError(_NOT_COPIED.format(model.name, "the copy returns different outputs"))

    def randomize(self, numbers: Iterable[int]) -> None:
        """Randomize exactly these groups and restore the original weights of all others.

        Args:
            numbers: indices into `groups`.
        """
        chosen = set(numbers)
        places = {id(variable): place for place, variable in enumerate(self.model.variables)}
        for number, group in enumerate(self.groups):
            for index, layer in enumerate(group.layers):
                variables = _learned(layer)
                own = [self._own[places[id(variable)]] for variable in variables]
                values = own
                if number in chosen and self._randomization == "initializer":
                    values = [self._drawn[places[id(variable)]] for variable in variables]
                elif number in chosen:
                    values = _permuted(own, np.random.default_rng([self._seed, crc32(group.path.encode()), index]))
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)


_NOT_COPIED = (
    "The sanity check needs a copy of the model, but '{}' cannot be copied: {}. Implement `get_config` in the model and its "
    "custom layers, or build the model with Keras' functional API."
)


def _copy_of(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Return a copy of the model with newly initialized weights."""
    try:
        if keras_internals.functional_of(model) is not None:
            return keras.models.clone_model(model)
        copy = type(model).from_config(model.get_config())
        copy(images, training=False)  # creates the weights
        return copy
    except Exception as error:
        reason = first_line(error).split(". ")[0].rstrip(".")
        raise UnsupportedModelError(_NOT_COPIED.format(model.name, reason)) from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's random module, and thereby Keras initializers, until the block ends."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _values(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _outputs(model: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    with keras_internals.untouched(model):
        outputs = model(images, training=False)
    return [keras.ops.convert_to_numpy(one).astype(np.float64) for one in keras.tree.flatten(outputs)]


def _is_equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=_TOLERANCE * np.abs(b).max(initial=0), equal_nan=True)


def _groups_of(model: keras.Model) -> list[LayerGroup]:
    read = read_model(model, accept_opaque=True)
    paths = (
        {} if read.is_opaque else {path: layer for path, layer in read.graph.layers.items() if isinstance(layer, keras.Layer)}
    )
    groups: list[LayerGroup] = []
    seen: set[int] = set()
    for path, layer in (*paths.items(), ("all layers" if read.is_opaque else "the rest", model)):
        layers = [one for one in keras_internals.layers_of(layer) if id(one) not in seen and _learned(one)]
        seen.update(map(id, layers))
        has_kernel = any(len(variable.shape) > 1 for one in layers for variable in _learned(one))
        if layers and (has_kernel or not groups):
            groups.append(LayerGroup(path, layers))
        elif layers:
            groups[-1].layers.extend(layers)
    return groups


def _learned(layer: keras.Layer) -> list[keras.Variable]:
    """Return the floating-point weights of a layer, or [] if they are not learned.

    Weights of nested layers are not included.

    The weights of a frozen layer count as learned.
    """
    own = keras_internals.own_variables(layer)
    is_learned = any(variable.trainable for variable in own) or not layer.trainable
    return [one for one in own if keras.backend.is_float_dtype(one.dtype)] if is_learned else []


def _permuted(values: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Permute the arrays of a layer separately, or jointly if the layer has only vectors."""
    if any(value.ndim > 1 for value in values):
        return [rng.permutation(value.ravel()).reshape(value.shape) for value in values]
    orders = {length: rng.permutation(length) for length in dict.fromkeys(value.size for value in values)}
    return [value.ravel()[orders[value.size]].reshape(value.shape) for value in values]
