"""A Keras model as a flat list of float64 operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arranging import Add, Multiply
from .keras_layers import operations_of
from .operation import Operation
from .pointwise import Sigmoid, Softmax

IMAGES = "images"
Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Node:
    """One operation; `name` is the name of its output, `inputs` the names of its inputs."""

    name: str
    inputs: tuple[str, ...]
    operation: Operation


Rule = Callable[[Node, np.ndarray, tuple[np.ndarray, ...], np.ndarray], tuple[np.ndarray | None, ...]]


class Network:
    """The nodes of a model, in execution order.

    A layer's output has the layer's name ("c1", inside a nested model "backbone/c1", at its second
    call "c1#1"). If a layer consists of several operations, their outputs are "c1:0", "c1:1", ...
    The image is "images".
    """

    def __init__(self, model: Any) -> None:
        self.nodes: list[Node] = []
        self.aliases: dict[str, str] = {}
        self.output = self._read(model, "", [IMAGES])
        self.score = self._without_head(self.output)

    def forward(self, images: np.ndarray) -> Values:
        """Return the outputs of all nodes by name for images (N,H,W,C), included as "images"."""
        values = {IMAGES: np.asarray(images, np.float64)}
        for node in self.nodes:
            values[node.name] = node.operation.forward(*(values[name] for name in node.inputs))
        return values

    def outputs(self, images: np.ndarray) -> np.ndarray:
        return self.forward(images)[self.output]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the outputs before a final softmax or sigmoid."""
        return self.forward(images)[self.score]

    def name_of(self, layer: str) -> str:
        """Return the name of a layer's value; a nested model stands for its own output."""
        return self.aliases.get(layer, layer)

    def walk_back(self, values: Values, seeds: Values, rule: Rule) -> Values:
        """Propagate `seeds` (by value name) back to the images, adding up at forks.

        rule(node, p, inputs, output) returns what each input gets of p; None for nothing.
        """
        back = dict(seeds)
        for node in reversed(self.nodes):
            if node.name not in back:
                continue
            inputs = tuple(values[name] for name in node.inputs)
            for name, p in zip(node.inputs, rule(node, back[node.name], inputs, values[node.name]), strict=True):
                if p is not None:
                    back[name] = back[name] + p if name in back else p
        return back

    def consumers(self, name: str) -> list[Node]:
        return [node for node in self.nodes if name in node.inputs]

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def _without_head(self, name: str) -> str:
        node = self.node(name)
        return node.inputs[0] if isinstance(node.operation, Softmax | Sigmoid) else name

    def _read(self, model: Any, prefix: str, inputs: list[str]) -> str:
        """Append the model's nodes, reading `inputs`, and return the name of its output."""
        if type(model).__name__ == "Sequential":
            name = inputs[0]
            for layer in model.layers:
                name = self._append(layer, prefix, layer.name, [name])
            return name
        return self._read_functional(model, prefix, inputs)

    def _read_functional(self, model: Any, prefix: str, inputs: list[str]) -> str:
        config = model.get_config()
        layers = {operation.name: operation for operation in model.operations}
        known = dict(zip(_ends(config["input_layers"]), inputs, strict=True))
        waiting = [(entry["name"], i, _sources(node)) for entry in config["layers"] for i, node in _uses(entry)]
        while waiting:
            name, use, sources = ready = next(item for item in waiting if all(source in known for source in item[2]))
            label = name if use == 0 else f"{name}#{use}"
            known[name, use] = self._append(layers[name], prefix, label, [known[source] for source in sources])
            waiting.remove(ready)
        return known[_ends(config["output_layers"])[0]]

    def _append(self, layer: Any, prefix: str, label: str, inputs: list[str]) -> str:
        if hasattr(layer, "layers"):
            self.aliases[prefix + label] = self._read(layer, f"{prefix}{label}/", inputs)
            return self.aliases[prefix + label]
        operations = operations_of(layer)
        if isinstance(operations[0], Add | Multiply) and len(inputs) < 2:
            raise NotImplementedError(f"The reference cannot add or multiply constants ({layer.name!r}).")
        for number, operation in enumerate(operations):
            name = prefix + label if number == len(operations) - 1 else f"{prefix}{label}:{number}"
            self.nodes.append(Node(name, tuple(inputs), operation))
            inputs = [name]
        return inputs[0]


def _uses(entry: dict[str, Any]) -> Iterator[tuple[int, Any]]:
    return enumerate(entry["inbound_nodes"])


def _ends(layers: Any) -> list[tuple[str, int]]:
    """Keras stores one end as [name, node, tensor], and several as a list of these."""
    if layers and isinstance(layers[0], str):
        layers = [layers]
    return [(name, node) for name, node, _ in layers]


def _sources(argument: Any) -> list[tuple[str, int]]:
    """Return (layer name, call) of each tensor that a node of the config reads, in order."""
    if isinstance(argument, dict):
        if argument.get("class_name") == "__keras_tensor__":
            name, node, _ = argument["config"]["keras_history"]
            return [(name, node)]
        argument = list(argument.values())
    if isinstance(argument, list | tuple):
        return [source for item in argument for source in _sources(item)]
    return []
