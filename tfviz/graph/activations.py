"""Find the activations in a graph, both built-in and handwritten.

`silu(x)` is one operation, `x * sigmoid(x)` is two, and `0.5 * x * (1 + erf(x / √2))` is five. This
module replaces each of these with one step of type `Activation`, so methods treat them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from tfviz.graph.backprop import run
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Activation,
    Attention,
    Choice,
    Contraction,
    Difference,
    Elementwise,
    Identity,
    Linear,
    Normalization,
    Opaque,
    Product,
    Relu,
    Softmax,
    Sum,
)


@dataclass(frozen=True)
class _Function:
    """An elementwise function of a single value, called the root.

    Attributes:
        root: the value that the function is applied to.
        bends: whether the last step is nonlinear, that is, not of the form a·x + b.
        has_bent: whether any step, including the last one, is nonlinear.
        is_named: whether the function contains a built-in activation or a ReLU.
        merges: whether the function combines several functions of the root.
    """

    root: Value
    bends: bool = False
    has_bent: bool = False
    is_named: bool = False
    merges: bool = False


_Functions = dict[Value, _Function]


def with_activations(graph: Graph) -> Graph:
    """Return the graph with each activation other than a plain ReLU replaced by an `Activation`.

    A function of the images alone is preprocessing, so an activation must depend on the output of a
    linear map or an opaque layer. A handwritten function is an activation only if it carries the
    signal, unlike the square in a handwritten normalization.
    """
    functions = _functions(graph)
    learned = graph.after(
        value
        for step in graph.steps
        if isinstance(step.operation, (Linear, Contraction, Attention, Opaque))
        for value in step.outputs
    )
    carriers = set(graph.signal_path(graph.inputs))

    def is_activation(step: Step) -> bool:
        function = functions.get(step.outputs[0])
        if function is None or function.root not in learned or not _is_whole(graph, functions, step):
            return False
        return function.is_named or step in carriers

    return replace(graph, steps=[_activation(graph, functions, step) if is_activation(step) else step for step in graph.steps])


def _functions(graph: Graph) -> _Functions:
    """Return the graph's elementwise functions, keyed by the values that they compute."""
    found: _Functions = {}
    for step in graph.steps:
        parts = [found.get(value, _Function(value)) for value in _varying(graph, step)]
        if len({part.root for part in parts}) == 1 and _is_pointwise(step, parts):
            bends = _bends(step, parts)
            found[step.outputs[0]] = _Function(
                parts[0].root,
                bends,
                has_bent=bends or any(part.has_bent for part in parts),
                is_named=_is_named(step) or any(part.is_named for part in parts),
                merges=len(parts) > 1 or any(part.merges for part in parts),
            )
    return found


def _varying(graph: Graph, step: Step) -> list[Value]:
    return [value for value in step.inputs if value not in graph.constants]


def _is_pointwise(step: Step, parts: Sequence[_Function]) -> bool:
    """Return whether each output element depends only on the corresponding input elements."""
    operation = step.operation
    if len(step.outputs) != 1 or isinstance(operation, Softmax):
        return False
    if isinstance(operation, Normalization):
        return len(parts) > 1  # x / g(x). With a single input, the divisor may be a map statistic.
    if isinstance(operation, (Sum, Difference)) and len(parts) > 1:
        return not any(part.is_named for part in parts)  # x + silu(x) is a residual connection
    return isinstance(operation, (Elementwise, Relu, Identity, Sum, Difference, Product, Choice))


def _bends(step: Step, parts: Sequence[_Function]) -> bool:
    operation = step.operation
    if isinstance(operation, Elementwise):
        return not operation.is_affine and (len(parts) > 1 or operation.is_activation or operation.sign != 0)
    if len(parts) > 1:
        return isinstance(operation, (Product, Choice, Normalization)) or any(part.has_bent for part in parts)
    return isinstance(operation, Relu)


def _is_named(step: Step) -> bool:
    return isinstance(step.operation, Relu) or getattr(step.operation, "is_activation", False)


def _is_whole(graph: Graph, functions: _Functions, step: Step) -> bool:
    """Return whether a step completes an activation rather than computing part of one."""
    value, function = step.outputs[0], functions[step.outputs[0]]
    if not function.bends or (isinstance(step.operation, Relu) and not function.merges):
        return False
    if _is_named(step) and not _is_merged(graph, functions, value):
        return True  # two consecutive activations count separately
    if function.is_named and not function.merges:
        return False  # in relu(x)², the ReLU is the activation
    return _is_read_elsewhere(graph, functions, value)


def _is_merged(graph: Graph, functions: _Functions, value: Value) -> bool:
    """Return whether a later step combines a value with its root, as in x · sigmoid(x)."""
    for step in _rest(graph, functions, value):
        if len(_varying(graph, step)) > 1 or _is_merged(graph, functions, step.outputs[0]):
            return True
    return False


def _is_read_elsewhere(graph: Graph, functions: _Functions, value: Value) -> bool:
    """Return whether a value is read by any step outside its elementwise function."""
    rest = _rest(graph, functions, value)
    if value in graph.outputs or len(rest) < len(graph.consumers(value)):
        return True
    affine = (step.outputs[0] for step in rest if not functions[step.outputs[0]].bends)
    return any(_is_read_elsewhere(graph, functions, scaled) for scaled in affine)


def _rest(graph: Graph, functions: _Functions, value: Value) -> list[Step]:
    """Return the steps that read a value and continue its elementwise function."""
    readers = ((step, functions.get(step.outputs[0])) for step in graph.consumers(value))
    return [step for step, function in readers if function is not None and function.root is functions[value].root]


def _activation(graph: Graph, functions: _Functions, step: Step) -> Step:
    """Create the step that computes an activation from its input."""
    operation, function = step.operation, functions[step.outputs[0]]
    described = Activation(name=operation.name, function=getattr(operation, "function", operation.name.lower()), carrier=0)
    if _is_named(step) and not function.merges:
        (value,) = _varying(graph, step)
        return replace(step, operation=replace(described, carrier=step.inputs.index(value)))
    parts = graph.before(step.outputs, given=[function.root, *graph.constants])
    made = {value for part in parts for value in part.outputs} | {function.root}
    inputs = (function.root, *dict.fromkeys(x for part in parts for x in part.inputs if x not in made))

    def compute(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        return [run(dict(zip(inputs, tensors, strict=True)), parts)[step.outputs[0]]]

    return replace(step, operation=described, inputs=inputs, compute=compute)
