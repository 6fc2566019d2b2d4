"""Remove a model's final softmax or sigmoid, so that methods explain the logits by default.

A softmax couples the classes, because raising one probability lowers the others, and its gradient
vanishes where it saturates. With `score="outputs"`, methods explain the outputs instead.
"""

from __future__ import annotations

from dataclasses import replace

import keras
from keras import ops, tree

from tfviz.errors import OptionError, UnsupportedModelError, warn
from tfviz.graph.exponentials import computes_probabilities
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import Identity, Linear, Move, Opaque, Sigmoid, Softmax

FINAL = (Softmax, Sigmoid)
_TRANSPARENT = (Identity, Move)
TWO_CLASSES = "two_classes"  # the path of the step that converts one sigmoid unit to two classes


def scored(graph: Graph, score: str) -> Graph:
    """Return a graph whose outputs are the score.

    Args:
        graph: a model's graph.
        score: "logits" removes the final softmax or sigmoid from every output that has one, whether
            fused or separate and at any nesting depth. Other outputs are unchanged. A single
            sigmoid unit becomes two classes: class 0 with the logit −z and class 1 with the logit
            z. "outputs" leaves all outputs unchanged.

    Raises:
        OptionError: `score` is neither "logits" nor "outputs".
        UnsupportedModelError: an output ends in a softmax or sigmoid that cannot be removed.
    """
    if checked_score(score) == "outputs":
        return graph
    for number in range(len(graph.outputs)):
        output = graph.outputs[number]
        step, beside = final_activation(graph, output), _final_activations(graph, output)
        if step is not None:
            graph = _removed(graph, number, step)
            if isinstance(step.operation, Sigmoid) and graph.outputs[number].shape[-1:] == (1,):
                graph = _as_two_classes(graph, number)
        elif beside is not None and all(_is_read_once(graph, one) for one in beside):
            for one in beside:
                graph = graph.without(next(step for step in graph.steps if step.outputs == one.outputs))
        else:
            _require_removable(graph, output)
            _warn_of_remaining_activation(graph, output)
    return graph


def checked_score(score: str) -> str:
    """Check the score and return it.

    Raises:
        OptionError: the score is neither "logits" nor "outputs".
    """
    if score not in ("logits", "outputs"):
        raise OptionError(f"`score` must be 'logits' or 'outputs'. Received: {score!r}.")
    return score


def final_activation(graph: Graph, output: Value) -> Step | None:
    """Return the softmax or sigmoid that an output ends in, or None if there is none."""
    step = graph.producer(output)
    while step is not None and len(step.inputs) == 1:
        if isinstance(step.operation, FINAL):
            return step
        if not isinstance(step.operation, _TRANSPARENT):
            return None
        step = graph.producer(step.inputs[0])
    return None


def ends_in_sigmoid(graph: Graph) -> bool:
    """Return whether the first output ends in a sigmoid."""
    step = final_activation(graph, graph.outputs[0])
    return step is not None and isinstance(step.operation, Sigmoid)


def _final_activations(graph: Graph, output: Value) -> list[Step] | None:
    """Return the final activation of each part of an output, or None if any part lacks one."""
    step = graph.producer(output)
    if step is None:
        return None
    if isinstance(step.operation, FINAL):
        return [step]
    if not isinstance(step.operation, _TRANSPARENT) or not step.inputs:
        return None
    parts = [_final_activations(graph, value) for value in step.inputs]
    return None if any(part is None for part in parts) else [one for part in parts for one in part or ()]


def _is_read_once(graph: Graph, step: Step) -> bool:
    """Return whether an activation leads to a single output along a single path."""
    (value,) = step.outputs
    while value not in graph.outputs:
        readers = graph.consumers(value)
        if len(readers) != 1 or len(readers[0].outputs) != 1:
            return False
        (value,) = readers[0].outputs
    return graph.outputs.count(value) == 1 and not graph.consumers(value)


def _require_removable(graph: Graph, output: Value) -> None:
    """Raise UnsupportedModelError if an opaque layer ends in a softmax or sigmoid."""
    step = graph.producer(output)
    while step is not None and isinstance(step.operation, _TRANSPARENT) and len(step.inputs) == 1:
        step = graph.producer(step.inputs[0])
    if step is None or not isinstance(step.operation, Opaque):
        return
    last = step.operation.contents.last_operation
    if not isinstance(last, FINAL):
        return
    # If the entire model is one opaque step, the method needs only the model's gradient.
    if step.layer is graph.model:
        warn(
            f"The outputs of '{step.path}' end in a {last.function} that cannot be removed, so tfviz explains the outputs "
            "themselves. If this is intended, set score='outputs' to silence this warning."
        )
        return
    raise UnsupportedModelError(
        f"The final {last.function} in {step.label} cannot be removed, because the layer has a quantized kernel or a custom "
        "`call`. To explain the outputs including the activation, set score='outputs'."
    ) from step.operation.cause


def _warn_of_remaining_activation(graph: Graph, output: Value) -> None:
    """Warn about a softmax or sigmoid that stays in the score because other steps follow it."""
    found = _remaining_activation(graph, output)
    if found is not None:
        step, function = found
        if step.layer is graph.model:
            return  # `_require_removable` has warned
        reason = f"are computed from a {function} ('{step.path}') that cannot be removed"
        vanishes = f"where the {function} saturates"
    elif computes_probabilities(graph, output):
        reason = "are probabilities, but the code that computes them is neither a softmax nor a sigmoid"
        vanishes = "where they are near 0 or 1"
    else:
        return
    warn(
        f"The outputs of '{graph.model_name}' {reason}, so tfviz explains the outputs themselves. Their gradient vanishes "
        f"{vanishes}. If this is intended, set score='outputs' to silence this warning."
    )


def _remaining_activation(graph: Graph, output: Value) -> tuple[Step, str] | None:
    """Return the step and name of a softmax or sigmoid that an output is computed from, or None."""
    wanted, seen = [output], set()
    while wanted:
        step = graph.producer(wanted.pop())
        if step is None or step in seen:
            continue
        seen.add(step)
        last = step.operation.contents.last_operation if isinstance(step.operation, Opaque) else step.operation
        if isinstance(last, FINAL):
            return step, last.function
        # After a linear map or an opaque layer, a value is no longer a probability.
        if not isinstance(step.operation, Linear) and not _is_opaque_layer(step):
            wanted += step.signal_inputs
    return None


def is_probability(graph: Graph, output: Value) -> bool:
    """Return whether an output is computed from a softmax or sigmoid that may not be removable."""
    return _remaining_activation(graph, output) is not None or computes_probabilities(graph, output)


def _is_opaque_layer(step: Step) -> bool:
    return isinstance(step.operation, Opaque) and isinstance(step.layer, keras.Layer)


def _removed(graph: Graph, number: int, step: Step) -> Graph:
    """Remove the activation from one output, but keep it for any other steps that read it."""
    behind = _behind(graph, number, step)
    values = {value for one in (step, *behind) for value in one.outputs}
    others = graph.outputs[:number] + graph.outputs[number + 1 :]
    if values.isdisjoint(others) and all(reader in behind for value in values for reader in graph.consumers(value)):
        return graph.without(step)
    new = step.inputs[0]
    for one in behind:
        graph, new = _repeated(graph, one, new)
    return _with_output_at(graph, number, new)


def _behind(graph: Graph, number: int, step: Step) -> list[Step]:
    """Return the steps between an activation and the output at index `number`, in order."""
    behind: list[Step] = []
    value = graph.outputs[number]
    while (producer := graph.producer(value)) is not step and producer is not None:
        behind.append(producer)
        (value,) = producer.inputs
    return behind[::-1]


def _repeated(graph: Graph, step: Step, value: Value) -> tuple[Graph, Value]:
    """Add a copy of a step that reads `value`, and return the graph and the copy's output."""
    (old,) = step.outputs
    new = Value(old.shape, old.dtype, old.symbol)
    return replace(graph, steps=[*graph.steps, replace(step, inputs=(value,), outputs=(new,))]), new


def _with_output_at(graph: Graph, number: int, value: Value) -> Graph:
    """Return the graph with `value` as the output at index `number`."""
    outputs = [value if i == number else old for i, old in enumerate(graph.outputs)]
    return replace(graph, output_structure=tree.pack_sequence_as(graph.output_structure, outputs))


def _as_two_classes(graph: Graph, number: int) -> Graph:
    logit = graph.outputs[number]
    new = Value((*logit.shape[:-1], 2), logit.dtype)
    step = Step(
        path=TWO_CLASSES,
        operation=Move(name=TWO_CLASSES),
        inputs=(logit,),
        outputs=(new,),
        compute=lambda tensors: [ops.concatenate([-tensors[0], tensors[0]], axis=-1)],
    )
    return _with_output_at(replace(graph, steps=[*graph.steps, step]), number, new)


def has_two_classes(graph: Graph) -> bool:
    """Return whether a single sigmoid unit was converted to two classes."""
    return any(step.path == TWO_CLASSES and step.layer is None for step in graph.steps)


def with_output(graph: Graph, output: str | int | None) -> Graph:
    """Return the graph with only the output that has this name, key or index.

    If `output` is None, the graph is returned unchanged.

    Raises:
        OptionError: the model has no such output. The message lists the available outputs.
    """
    if output is None:
        return graph
    outputs = graph.outputs
    if isinstance(graph.output_structure, dict) and output in graph.output_structure:
        chosen = tree.flatten(graph.output_structure[output])
    elif isinstance(output, int) and -len(outputs) <= output < len(outputs):
        chosen = [outputs[output]]
    else:
        chosen = [value for value in dict.fromkeys(outputs) if graph.names.get(str(output)) is value]
    if len(chosen) != 1:
        raise OptionError(
            f"The model has no output {output!r}. Its outputs are {', '.join(map(repr, output_names(graph)))}. Pass one of "
            "these names, or a zero-based index."
        )
    return replace(graph, output_structure=chosen[0])


def output_names(graph: Graph) -> list[str]:
    """Return each output's name: its key if the outputs are a dict, otherwise its layer's path."""
    if isinstance(graph.output_structure, dict):
        return [".".join(map(str, path)) for path, _ in tree.flatten_with_path(graph.output_structure)]
    # A nested model's name takes precedence over its layers' names.
    paths = sorted(graph.names, key=lambda path: path.count("/"), reverse=True)
    names = {graph.names[path]: path for path in paths}
    return [names.get(value, str(number)) for number, value in enumerate(graph.outputs)]
