"""The arrays of a Keras 2 file, into the layers of that name.

An .h5 file lists the arrays of each layer of the model in the order of `layer.weights`, trainable ones first. A .keras file
has a group for each layer, called by its class and counted in the order of the config, with groups of the layers inside.
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

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the second until TensorFlow 2.13


def fill_from_h5(model: keras.Model, config: Config, group: h5py.Group) -> None:
    """Assigns the arrays of an .h5 file. Raises WeightsError where they do not fit."""
    for layer, about in _layers(model, config):
        name = about["config"]["name"]
        arrays = _stored(group, name)
        trainable, others = _in_old_order(layer, about)
        variables = trainable + others
        if len(arrays) != len(variables):
            raise WeightsError(f"the layer '{name}' takes {len(variables)} arrays; the file holds {len(arrays)}.")
        for variable, array in zip(variables, arrays, strict=True):
            _assign(variable, array, name)
    _finish(model)


def _stored(group: h5py.Group, name: str) -> list[h5py.Dataset]:
    """The arrays of a layer; a long list of their names is spread over several attributes."""
    if name not in group:
        return []
    own = group[name]
    parts = sorted((key for key in own.attrs if re.fullmatch(r"weight_names\d*", key)), key=lambda key: (len(key), key))
    names = [one.decode() if isinstance(one, bytes) else str(one) for key in parts for one in own.attrs[key]]
    return [own[one] for one in names]


def _in_old_order(layer: keras.Layer, about: Config) -> tuple[Variables, Variables]:
    """The trainable variables of a layer and the others; those of a nested model in the order of its config."""
    if not _is_model(about):
        return layer.trainable_weights, layer.non_trainable_weights
    parts = [_in_old_order(inner, its) for inner, its in _layers(layer, about)]
    trainable, others = ([one for part in parts for one in part[number]] for number in (0, 1))
    is_frozen = isinstance(about["config"], dict) and about["config"].get("trainable") is False
    return ([], trainable + others) if is_frozen else (trainable, others)


def _is_model(about: Config) -> bool:
    config = about.get("config", {})
    return isinstance(config, list) or "layers" in config


def fill_from_archive(model: keras.Model, config: Config, group: h5py.Group) -> None:
    """Assigns the arrays of a .keras file. Raises WeightsError where they do not fit."""
    filled: set[int] = set()
    _fill(model, config, group, filled)
    _finish(model)
    missing = [one.path for one in model.weights if id(one) not in filled]
    if missing:
        raise WeightsError(f"the file lacks {len(missing)} arrays of the model, such as {missing[0]}.")


def _fill(layer: keras.Layer, about: Config, group: h5py.Group, filled: set[int]) -> None:
    """Assigns the arrays in a group to a layer and the layers inside it."""
    own = group.get("vars", {})
    variables = keras_internals.own_variables(layer)
    if len(own):
        if len(own) != len(variables):
            raise WeightsError(f"the layer '{layer.name}' takes {len(variables)} arrays; the file holds {len(own)}.")
        for number, variable in enumerate(variables):
            _assign(variable, own[str(number)], layer.name)
            filled.add(id(variable))
    container = next((group[name] for name in _CONTAINERS if name in group), None)
    if container is not None and _is_model(about):
        layers = list(_layers(layer, about))
        for (inner, its), name in zip(layers, _counted(its["class_name"] for _, its in layers), strict=True):
            if name in container:
                _fill(inner, its, container[name], filled)
        return
    for name in group:
        inside = getattr(layer, name, None)
        its = about.get("config", {}).get(name) or {}
        if isinstance(inside, keras.Layer):
            _fill(inside, its, group[name], filled)
        elif isinstance(inside, (list, tuple)):  # the cells of a stack
            for one, called in zip(inside, _counted(type(part).__name__ for part in inside), strict=True):
                if called in group[name]:
                    _fill(one, {}, group[name][called], filled)


def _counted(kinds: Iterable[str]) -> Iterator[str]:
    """What Keras calls the groups of layers of these classes: "conv2d", "conv2d_1", …"""
    counts: Counter[str] = Counter()
    for kind in kinds:
        name = re.sub(r"\W+", "", kind.split(">")[-1])
        name = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()
        yield f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1


def inner_layers(config: Config | list[Config]) -> list[Config]:
    """The configs of the layers in that of a model, which is a list of them for a Sequential model before TensorFlow 2.0."""
    return config if isinstance(config, list) else config["layers"]


def _layers(model: keras.Layer, config: Config) -> Iterator[tuple[keras.Layer, Config]]:
    """The layers of a model beside their configs in the file, in the file's order."""
    is_sequential = config["class_name"].split(">")[-1] == "Sequential"
    for about in inner_layers(config["config"]):
        if not (is_sequential and about["class_name"] == "InputLayer"):
            yield model.get_layer(about["config"]["name"].replace("/", "_")), about


def _finish(model: keras.Model) -> None:
    """Lets layers compute what they derive from their arrays, such as Normalization its mean."""
    for layer in keras_internals.layers_of(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _assign(variable: keras.Variable, array: h5py.Dataset, layer: str) -> None:
    """Reads an array once its shape is known to be right."""
    if tuple(variable.shape) != array.shape:
        raise WeightsError(
            f"the layer '{layer}' takes {variable.name} of shape {tuple(variable.shape)}; the file holds {array.shape}."
        )
    variable.assign(array[()])
