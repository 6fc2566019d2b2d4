"""The calls in the graph of a Keras 2 model, as Keras 3 writes them.

Keras 2 writes a call as the layer's first argument, nested as it was given, in which each tensor is a list: the name of the
layer that made it, the number of that layer's call, the number of the output and, in the first argument, all other arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Config = dict[str, Any]

_CONSTANT = "_CONSTANT_VALUE"
_WITH_STATES = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional")
_OF_THE_CALL = ("training", "mask", "name", "initial_state", "constants")  # None for these means that nothing was given.


def is_reference(value: Any) -> bool:
    """["name of a layer", number of its call, number of its output, …]"""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is int


def references(value: Any) -> Iterator[list[Any]]:
    """All references in a nested value, those in the arguments of a call too."""
    if is_reference(value):
        yield value
        value = value[3:]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in inside:
        yield from references(part)


def split(node: Any, is_function: bool) -> tuple[Any, Config]:
    """The first argument of a call, and the others by name."""
    leaf = next(references(node), [])
    others = leaf[3] if len(leaf) > 3 else {}
    first = _without_arguments(node)
    if not is_function and isinstance(first, list) and len(first) == 1 and not is_reference(first):
        first = first[0]
    return first, {key: value for key, value in others.items() if value is not None or key not in _OF_THE_CALL}


def _without_arguments(value: Any) -> Any:
    if is_reference(value):
        return value[2] if value[0] == _CONSTANT else value[:3]
    if isinstance(value, dict):
        return {key: _without_arguments(part) for key, part in value.items()}
    return [_without_arguments(part) for part in value] if isinstance(value, list) else value


def call(kind: str, node: Any, config: Config) -> Config:
    """The call of a layer as Keras 3 writes it."""
    first, others = split(node, is_function=False)
    if kind in _WITH_STATES and isinstance(first, list) and not is_reference(first):
        # Keras 2 hands the states and constants of a recurrent layer on with its input.
        first, *states = first
        constants = config.get("num_constants") or 0
        if constants:
            others["constants"] = states[-constants:]
            states = states[:-constants]
        if states:
            others["initial_state"] = states
    return {"args": [_tensors(first)], "kwargs": {key: _tensors(value) for key, value in others.items()}}


def _tensors(value: Any) -> Any:
    """A nested value with each reference as Keras 3 writes a tensor; it looks up the shape itself."""
    if is_reference(value):
        about = {"shape": [], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": about}
    if isinstance(value, dict):
        return {key: _tensors(part) for key, part in value.items()}
    return [_tensors(part) for part in value] if isinstance(value, list) else value


def with_inputs(value: Any, inputs: list[Any]) -> Any:
    """A nested value with {"input": number} for each reference, which is added to `inputs`."""
    if is_reference(value):
        inputs.append(value[:3])
        return {"input": len(inputs) - 1}
    if isinstance(value, dict):
        return {key: with_inputs(part, inputs) for key, part in value.items()}
    return [with_inputs(part, inputs) for part in value] if isinstance(value, list) else value


def tensors(values: list[Any]) -> Config:
    """A call with these references."""
    given = [_tensors(value) for value in values]
    return {"args": [given[0] if len(given) == 1 else given], "kwargs": {}}
