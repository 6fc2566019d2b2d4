"""Translate the layer calls in a Keras 2 model's graph to Keras 3.

Keras 2 saves a call as the layer's first argument, with each tensor replaced by a reference. A
reference is a list that contains the name of the layer that produced the tensor, the index of that
layer's call, and the index of the output. A reference in the first argument also contains all other
arguments of the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Config = dict[str, Any]

_CONSTANT = "_CONSTANT_VALUE"
_STATEFUL = ("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional")
# If one of these arguments is None, the caller did not pass it.
_CALL_ARGUMENTS = ("training", "mask", "name", "initial_state", "constants")


def is_reference(value: Any) -> bool:
    """Return whether a value is a reference: [layer name, call index, output index, ...]."""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is int


def references(value: Any) -> Iterator[list[Any]]:
    """Yield all references in a nested value, including those inside other references."""
    if is_reference(value):
        yield value
        value = value[3:]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in inside:
        yield from references(part)


def split(node: Any, is_function: bool) -> tuple[Any, Config]:
    """Return a call's first argument and a dict of its other arguments."""
    leaf = next(references(node), [])
    others = leaf[3] if len(leaf) > 3 else {}
    first = _without_arguments(node)
    if not is_function and isinstance(first, list) and len(first) == 1 and not is_reference(first):
        first = first[0]
    return first, {key: value for key, value in others.items() if value is not None or key not in _CALL_ARGUMENTS}


def _without_arguments(value: Any) -> Any:
    if is_reference(value):
        return value[2] if value[0] == _CONSTANT else value[:3]
    if isinstance(value, dict):
        return {key: _without_arguments(part) for key, part in value.items()}
    return [_without_arguments(part) for part in value] if isinstance(value, list) else value


def call(kind: str, node: Any, config: Config) -> Config:
    """Translate a layer's call to Keras 3's format."""
    first, others = split(node, is_function=False)
    if kind in _STATEFUL and isinstance(first, list) and not is_reference(first):
        # In Keras 2, a recurrent layer's first argument is a list of the input, states and
        # constants.
        first, *states = first
        constants = config.get("num_constants") or 0
        if constants:
            others["constants"] = states[-constants:]
            states = states[:-constants]
        if states:
            others["initial_state"] = states
    return {"args": [_tensors(first)], "kwargs": {key: _tensors(value) for key, value in others.items()}}


def _tensors(value: Any) -> Any:
    """Replace each reference in a nested value with a tensor config in Keras 3's format.

    The config's shape is a placeholder, because Keras 3 looks up the tensor's actual shape.
    """
    if is_reference(value):
        tensor_config = {"shape": [], "dtype": "float32", "keras_history": value[:3]}
        return {"class_name": "__keras_tensor__", "config": tensor_config}
    if isinstance(value, dict):
        return {key: _tensors(part) for key, part in value.items()}
    return [_tensors(part) for part in value] if isinstance(value, list) else value


def with_inputs(value: Any, inputs: list[Any]) -> Any:
    """Append each reference in a nested value to `inputs` and replace it with {"input": index}."""
    if is_reference(value):
        inputs.append(value[:3])
        return {"input": len(inputs) - 1}
    if isinstance(value, dict):
        return {key: with_inputs(part, inputs) for key, part in value.items()}
    return [with_inputs(part, inputs) for part in value] if isinstance(value, list) else value


def tensors(values: list[Any]) -> Config:
    """Create a call in Keras 3's format whose first argument contains the referenced tensors."""
    given = [_tensors(value) for value in values]
    return {"args": [given[0] if len(given) == 1 else given], "kwargs": {}}
