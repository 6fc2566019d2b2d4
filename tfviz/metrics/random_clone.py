"""A copy of a model whose layers can be given random weights and their own back.

The user's model is only read: its configuration, its weights and one forward pass.
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
_TOLERANCE = 1e-3  # of the largest output: the copy computes the same up to rounding


@dataclass(frozen=True)
class LayerGroup:
    """A layer with a kernel and the layers without one that follow it, such as normalizations.

    Attributes:
        path: the path of the layer with the kernel.
        layers: the layers.
    """

    path: str
    layers: list[keras.Layer]


class RandomClone:
    """A copy of a model with some of its layers randomized.

    A layer's random weights depend only on the seed and its position, so they are the same in
    every order in which layers are randomized.

    Attributes:
        model: the copy.
        groups: the layers with weights, from the input to the output.
    """

    def __init__(self, model: keras.Model, images: np.ndarray, *, randomization: str = "permute", seed: int = 0) -> None:
        """Copy the model.

        Args:
            model: the model.
            images: one or more images that the model takes; the copy must give the same outputs.
            randomization: "permute" shuffles the entries of each kernel, and all vectors of a
                normalization by one common permutation of the channels. "initializer" draws the
                weights from the layers' own initializers.
            seed: the seed of the random weights.

        Raises:
            OptionError: the randomization is unknown.
            UnsupportedModelError: the model cannot be copied, or has no weights.
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
            raise UnsupportedModelError(f"The model {model.name!r} has no layers with weights to randomize.")

    def _set_weights_of(self, model: keras.Model, images: np.ndarray) -> None:
        shapes = [[tuple(variable.shape) for variable in one.variables] for one in (model, self.model)]
        if shapes[0] != shapes[1]:
            raise UnsupportedModelError(_NOT_COPIED.format(model.name, "the copy has other weights"))
        for mine, own in zip(self.model.variables, model.variables, strict=True):
            mine.assign(own)
        got, want = _outputs(self.model, images), _outputs(model, images)
        if not all(_is_equal(one, other) for one, other in zip(got, want, strict=True)):
            raise UnsupportedModelError(_NOT_COPIED.format(model.name, "the copy computes something else"))

    def randomize(self, numbers: Iterable[int]) -> None:
        """Randomize exactly these groups; all others get their own weights back.

        Args:
            numbers: positions in `groups`.
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
    "The sanity check randomizes a copy of the model, and '{}' cannot be copied: {}. Give the model and its custom layers a "
    "`get_config` that restores them, or build the model with Keras' functional API."
)


def _copy_of(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Return a copy with freshly drawn weights."""
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
    """Seed Python's random numbers, from which Keras seeds its initializers, and restore them."""
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
    """Return a layer's own floating-point weights; none for layers that learn nothing."""
    own = keras_internals.own_variables(layer)
    is_learned = any(variable.trainable for variable in own) or not layer.trainable
    return [one for one in own if keras.backend.is_float_dtype(one.dtype)] if is_learned else []


def _permuted(values: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Permute the weights of one layer: each array on its own, or all vectors without a kernel."""
    if any(value.ndim > 1 for value in values):
        return [rng.permutation(value.ravel()).reshape(value.shape) for value in values]
    orders = {length: rng.permutation(length) for length in dict.fromkeys(value.size for value in values)}
    return [value.ravel()[orders[value.size]].reshape(value.shape) for value in values]
