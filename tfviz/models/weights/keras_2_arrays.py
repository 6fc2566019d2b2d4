"""Load a Keras 2 file's arrays into the layers with the same names.

An .h5 file lists each layer's arrays in the order of `layer.weights`, in which the trainable ones
come first. A .keras file contains one group per layer. The group is named after the layer's class,
numbered in config order, and contains the groups of the layer's inner layers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import keras

from tfviz import keras_internals
from tfviz.errors import WeightsError

if TYPE_CHECKING:
    import h5py

Config = dict[str, Any]
Variables = list[keras.Variable]

_ADVICE = "Load weights for the same network."
# The second name was used up to TensorFlow 2.13.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


def fill_from_h5(model: keras.Model, config: Config, group: h5py.Group) -> None:
    """Assign an .h5 file's arrays to a model, or raise WeightsError if they do not fit."""
    for layer, layer_config in _layers(model, config):
        name = layer_config["config"]["name"]
        arrays = _stored(group, name)
        trainable, others = _in_keras_2_order(layer, layer_config)
        variables = trainable + others
        if len(arrays) != len(variables):
            raise WeightsError(f"Layer '{name}' has {len(variables)} arrays, but the file has {len(arrays)}. {_ADVICE}")
        for variable, array in zip(variables, arrays, strict=True):
            _assign(variable, array, name)
    _finalize_states(model)


def _stored(group: h5py.Group, name: str) -> list[h5py.Dataset]:
    """Return the arrays stored for a layer.

    If there are many arrays, their names are split across several attributes.
    """
    if name not in group:
        return []
    own = group[name]
    parts = sorted((key for key in own.attrs if re.fullmatch(r"weight_names\d*", key)), key=lambda key: (len(key), key))
    names = [one.decode() if isinstance(one, bytes) else str(one) for key in parts for one in own.attrs[key]]
    return [own[one] for one in names]


def _in_keras_2_order(layer: keras.Layer, layer_config: Config) -> tuple[Variables, Variables]:
    """Return a layer's trainable and non-trainable variables, in Keras 2's order.

    The variables of a nested model follow the order of the layers in its config.
    """
    if not _is_model(layer_config):
        return layer.trainable_weights, layer.non_trainable_weights
    parts = [_in_keras_2_order(inner, inner_config) for inner, inner_config in _layers(layer, layer_config)]
    trainable, others = ([one for part in parts for one in part[number]] for number in (0, 1))
    is_frozen = isinstance(layer_config["config"], dict) and layer_config["config"].get("trainable") is False
    return ([], trainable + others) if is_frozen else (trainable, others)


def _is_model(layer_config: Config) -> bool:
    config = layer_config.get("config", {})
    return isinstance(config, list) or "layers" in config


def fill_from_archive(model: keras.Model, config: Config, group: h5py.Group) -> None:
    """Assign a .keras file's arrays to a model, or raise WeightsError if they do not fit."""
    filled: set[int] = set()
    _fill(model, config, group, filled)
    _finalize_states(model)
    missing = [one.path for one in model.weights if id(one) not in filled]
    if missing:
        raise WeightsError(
            f"{len(missing)} of the model's arrays are missing from the file, for example {missing[0]}. {_ADVICE}"
        )


def _fill(layer: keras.Layer, layer_config: Config, group: h5py.Group, filled: set[int]) -> None:
    """Assign a group's arrays to the variables of a layer and its inner layers.

    The ids of these variables are added to `filled`.
    """
    own = group.get("vars", {})
    variables = keras_internals.own_variables(layer)
    if len(own):
        if len(own) != len(variables):
            raise WeightsError(f"Layer '{layer.name}' has {len(variables)} arrays, but the file has {len(own)}. {_ADVICE}")
        for number, variable in enumerate(variables):
            _assign(variable, own[str(number)], layer.name)
            filled.add(id(variable))
    container = next((group[name] for name in _CONTAINERS if name in group), None)
    if container is not None and _is_model(layer_config):
        layers = list(_layers(layer, layer_config))
        for (inner, inner_config), name in zip(
            layers, _group_names(inner_config["class_name"] for _, inner_config in layers), strict=True
        ):
            if name in container:
                _fill(inner, inner_config, container[name], filled)
        return
    for name in group:
        inside = getattr(layer, name, None)
        inner_config = layer_config.get("config", {}).get(name) or {}
        if isinstance(inside, keras.Layer):
            _fill(inside, inner_config, group[name], filled)
        elif isinstance(inside, (list, tuple)):  # the cells of a StackedRNNCells layer
            for one, called in zip(inside, _group_names(type(part).__name__ for part in inside), strict=True):
                if called in group[name]:
                    _fill(one, {}, group[name][called], filled)


def _group_names(kinds: Iterable[str]) -> Iterator[str]:
    """Yield Keras' group names for layers of these classes, such as "conv2d" and "conv2d_1"."""
    counts: Counter[str] = Counter()
    for kind in kinds:
        name = re.sub(r"\W+", "", kind.split(">")[-1])
        name = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
        yield f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1


def inner_layers(config: Config | list[Config]) -> list[Config]:
    """Return the list of layer configs in a model's config.

    For a Sequential model saved before TensorFlow 2.0, the config itself is this list.
    """
    return config if isinstance(config, list) else config["layers"]


def _layers(model: keras.Layer, config: Config) -> Iterator[tuple[keras.Layer, Config]]:
    """Yield a model's layers with their configs, in config order."""
    is_sequential = config["class_name"].split(">")[-1] == "Sequential"
    for layer_config in inner_layers(config["config"]):
        if not (is_sequential and layer_config["class_name"] == "InputLayer"):
            yield model.get_layer(layer_config["config"]["name"].replace("/", "_")), layer_config


def _finalize_states(model: keras.Model) -> None:
    """Make layers such as Normalization recompute the values derived from their arrays."""
    for layer in keras_internals.layers_of(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _assign(variable: keras.Variable, array: h5py.Dataset, layer: str) -> None:
    """Assign an array to a variable after checking its shape."""
    if tuple(variable.shape) != array.shape:
        raise WeightsError(
            f"The {variable.name} of layer '{layer}' has shape {tuple(variable.shape)}, but its shape in the file is "
            f"{array.shape}. {_ADVICE}"
        )
    variable.assign(array[()])
