"""Find a vision transformer's attention blocks.

Attention is softmax(Q Kᵀ) V, whether a Keras layer, `ops.dot_product_attention` or handwritten code
computes it. In the graph, attention is a softmax between two products. This module marks the
softmax as `Attention`. It then uses the surrounding steps to find the value that queries, keys and
values are computed from, the residual stream, and the tokens that the head reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from tfviz.errors import UnsupportedModelError
from tfviz.graph.graph import Graph, Step, Value
from tfviz.graph.operations import (
    Attention,
    Choice,
    Constant,
    Contraction,
    Deviation,
    Difference,
    Elementwise,
    Identity,
    Linear,
    Moments,
    Move,
    Normalization,
    Opaque,
    Product,
    Reshape,
    Softmax,
    Sum,
    Transpose,
    Window,
)

_STATISTICS = (Deviation, Moments, Window)
_BETWEEN_PRODUCTS = (Choice, Difference, Elementwise, Identity, Move, Normalization, Product, Sum)


def is_attention(step: Step) -> bool:
    """Return whether a step is an attention softmax or an opaque layer that computes attention."""
    return isinstance(step.operation, Attention) or (isinstance(step.operation, Opaque) and step.operation.holds_attention)


def with_attention(graph: Graph) -> Graph:
    """Return the graph with each attention softmax marked as `Attention`.

    An attention softmax turns a product of queries and keys into weights for the values.
    """
    steps = []
    for step in graph.steps:
        operation = step.operation
        if isinstance(operation, Softmax) and _weighting(graph, step) and _scores(graph, step):
            step = replace(step, operation=Attention(**vars(operation)))
        steps.append(step)
    return replace(graph, steps=steps)


def _weighting(graph: Graph, step: Step) -> Step | None:
    """Return the product of a softmax's output and the values, or None if there is none.

    A dropout, cast or transpose may come between the softmax and the product.
    """
    if step.outputs[0].rank < 3:
        return None
    for reader in graph.consumers(step.outputs[0]):
        if isinstance(reader.operation, Contraction) and len(reader.inputs) > 1:
            return reader
        if isinstance(reader.operation, (Identity, Reshape, Transpose)) and (found := _weighting(graph, reader)):
            return found
    return None


def _scores(graph: Graph, step: Step) -> Step | None:
    """Return the product of queries and keys that a softmax reads, or None if there is none.

    For additive attention, return the sum over channels instead.
    """
    wanted = list(step.signal_inputs)
    while wanted:
        producer = graph.producer(wanted.pop())
        if producer is None:
            continue
        is_reduction = isinstance(producer.operation, Window) and producer.operation.extent is None
        if isinstance(producer.operation, Contraction) or is_reduction:
            return producer
        if isinstance(producer.operation, _BETWEEN_PRODUCTS):
            wanted += producer.signal_inputs
    return None


@dataclass(frozen=True)
class Block:
    """One attention block in a vision transformer.

    Attributes:
        step: the softmax.
        scores: the product of queries and keys.
        weighting: the product of probabilities and values.
        source: the value that queries, keys and values are computed from. If the block normalizes
            first, this is the output of the normalization.
        stream: the tokens that enter the block.
    """

    step: Step
    scores: Step
    weighting: Step
    source: Value
    stream: Value

    @property
    def probabilities(self) -> Value:
        return self.step.outputs[0]


def blocks_of(graph: Graph) -> list[Block]:
    """Return the self-attention blocks that contribute to the outputs, in execution order.

    Attention whose queries don't come from the image, as in a pooling head, is excluded.
    """
    found = []
    for step in graph.before(graph.outputs):
        if isinstance(step.operation, Attention):
            scores, weighting = _scores(graph, step), _weighting(graph, step)
            if scores is None or weighting is None or graph.constants.intersection(scores.inputs):
                continue
            cut = next(_cuts(graph, weighting.inputs), None)
            if cut is not None:
                source = _source(graph, cut)
                found.append(Block(step, scores, weighting, source, _stream(graph, source)))
    return found


def _cuts(graph: Graph, values: Iterable[Value]) -> Iterator[Value]:
    """Yield each value that all paths to `values` pass through, starting with the last."""
    position = {value: number for number, step in enumerate(graph.steps) for value in step.outputs}
    front = set(values) - graph.constants
    while front:
        if len(front) == 1:
            yield next(iter(front))
        last = max(front, key=lambda value: position.get(value, -1))
        step = graph.producer(last)
        if step is None:
            return
        front = (front - {last}) | (set(step.signal_inputs) - graph.constants)


def _source(graph: Graph, value: Value) -> Value:
    """Return the input of the joint projection to queries, keys and values.

    If there is no such projection, return `value`.
    """
    step = graph.producer(value)
    while step is not None and len(step.signal_inputs) == 1 and isinstance(step.operation, (Linear, Move, Identity)):
        above = step.signal_inputs[0]
        is_stream = value.rank == 3 and (len(graph.consumers(value)) > 1 or isinstance(step.operation, Move))
        if is_stream and not isinstance(step.operation, Identity):
            break
        value, step = above, graph.producer(above)
    return value


def _stream(graph: Graph, source: Value) -> Value:
    """Return the tokens that enter a block, whether it normalizes before or after attention."""
    before = _before_normalization(graph, source)
    inside = graph.before([source], given=[before])
    return source if set(inside).issuperset(graph.consumers(before)) else before


def _before_normalization(graph: Graph, value: Value) -> Value:
    """Return the input of the normalization that computes a value, or the value if none does.

    A normalization is either a single step or the steps of a handwritten formula, which compute
    statistics along axes and apply elementwise functions.
    """
    for cut in _cuts(graph, [value]):
        inside, step = graph.before([value], given=[cut]), graph.producer(cut)
        is_centered = step is not None and isinstance(step.operation, Normalization) and len(step.inputs) > 1
        is_part = is_centered and set(inside).issuperset(graph.consumers(cut))
        has_statistics = any(isinstance(one.operation, (Normalization, *_STATISTICS)) for one in inside)
        if has_statistics and not is_part and all(map(_may_normalize, inside)):
            return cut
        if step is None or not _may_normalize(step):
            break
    return value


def _may_normalize(step: Step) -> bool:
    operation = step.operation
    if isinstance(operation, Window):
        return operation.extent is None
    if isinstance(operation, Elementwise):
        return not operation.is_activation and not isinstance(operation, Softmax)
    return isinstance(operation, (*_STATISTICS, Constant, Difference, Identity, Move, Normalization, Product, Sum))


def entry_of(graph: Graph, block: Block) -> Value:
    """Return a block's source before it is split into windows."""
    value = block.source
    if is_windowed(graph, block):
        while (step := graph.producer(value)) is not None and isinstance(step.operation, Move) and len(step.signal_inputs) == 1:
            (value,) = step.signal_inputs
    return value


def is_windowed(graph: Graph, block: Block) -> bool:
    """Return whether a reshape before the probabilities moves positions into the batch axis."""
    steps = [step for step in graph.before([block.probabilities]) if isinstance(step.operation, Reshape)]
    return any(graph.constants.isdisjoint(step.inputs) and _changes_rows(step) for step in steps)


def _changes_rows(step: Step) -> bool:
    before, after = (_elements(value) for value in (step.signal_inputs[0], step.outputs[0]))
    return None not in (before, after) and before != after


def _elements(value: Value) -> int | None:
    """Return the number of elements per image, or None if it is unknown."""
    known = [size for size in value.shape[1:] if size is not None]
    return math.prod(known) if value.shape and len(known) == value.rank - 1 else None


@dataclass
class Transformer:
    """The blocks of a vision transformer and the tokens that its head reads.

    Attributes:
        graph: the model's graph.
        blocks: the attention blocks, in execution order.
    """

    graph: Graph
    blocks: list[Block]

    @property
    def probabilities(self) -> list[Value]:
        """The attention probabilities P of each block, in execution order."""
        return [block.probabilities for block in self.blocks]

    @property
    def tokens(self) -> Value:
        """The tokens that enter the first block."""
        return self.blocks[0].stream

    @cached_property
    def ends(self) -> list[Value]:
        """The tokens that leave each block, in execution order."""
        return [*(block.stream for block in self.blocks[1:]), self.final]

    @cached_property
    def final(self) -> Value:
        """The tokens that leave the last block: the last residual sum before the head.

        If the block normalizes after its sums, these are the normalized tokens.

        Raises:
            UnsupportedModelError: the outputs also depend on earlier values.
        """
        graph, last = self.graph, self.blocks[-1]
        behind = graph.after(last.weighting.outputs)
        found = [value for value in _cuts(graph, graph.outputs) if value in behind and self._are_tokens(value)]
        if not found:
            raise UnsupportedModelError(
                f"The outputs of '{graph.model_name}' depend on more than the tokens of the last attention block "
                f"('{last.step.path}'), so tfviz cannot separate the head from the blocks. Use saliency or grad_cam."
            )
        value = next((one for one in found if _is_residual(graph, one)), found[-1])
        if last.source is last.stream and _before_normalization(graph, last.stream) is not last.stream:
            return next((one for one in found if _before_normalization(graph, one) is value), value)
        return value

    def _are_tokens(self, value: Value) -> bool:
        stream = self.blocks[-1].stream
        pairs = zip(value.shape[1:], stream.shape[1:], strict=False)
        return value.rank == stream.rank and all(None in pair or pair[0] == pair[1] for pair in pairs)

    def read_at(self, tokens: Value) -> Graph:
        """Return a graph whose head reads an earlier block's tokens instead of the last block's."""
        behind = self.graph.after([self.final])

        def instead(step: Step) -> Step:
            return replace(step, inputs=tuple(tokens if value is self.final else value for value in step.inputs))

        return replace(
            self.graph, steps=[instead(step) if behind.intersection(step.outputs) else step for step in self.graph.steps]
        )


def _is_residual(graph: Graph, value: Value) -> bool:
    step = graph.producer(value)
    is_sum = step is not None and isinstance(step.operation, Sum) and len(set(step.inputs) - graph.constants) > 1
    # A handwritten normalization may contain a sum, x · s + (b − mean · s).
    return is_sum and _before_normalization(graph, value) is value
