"""Read from a tf.data.Dataset without affecting the training that uses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

# The index of the seed generator among each operation's inputs.
_SEED_GENERATOR = {"ShuffleDatasetV3": 4, "ShuffleAndRepeatDatasetV2": 5, "RandomDatasetV2": 2}
_OWN_SEEDS = "tfviz_own_seeds"
_IGNORE_STATE = 1  # TensorFlow's policy: drop state that cannot be copied


def detached_copy(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return a copy of a dataset with its own random generators.

    A shuffled dataset holds a generator that each iteration advances, so that every epoch has a
    different order. An augmentation layer inside `map` also holds a generator. Reading a few images
    from the dataset itself would therefore change all later epochs. The copy is made from the
    dataset's graph and has the order of the dataset's first epoch. A dataset that cannot be
    serialized (because of one of its operations, or because it exceeds 2 GB) is returned unchanged.
    """
    try:
        variant = tf.data.experimental.to_variant(dataset)
        written = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=_IGNORE_STATE)
        data = written.numpy()
        del written, variant  # each holds a copy of the arrays that the dataset was made from
        graph = tf.compat.v1.GraphDef.FromString(data)
        del data
        _give_own_seeds(graph)
        # An object array avoids four copies of the bytes.
        data = np.array(graph.SerializeToString(), dtype=object)
        del graph
        data = tf.constant(data)
        variant = tf.raw_ops.DatasetFromGraph(graph_def=data)
    except tf.errors.OpError:
        return dataset
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def _give_own_seeds(graph: Any) -> None:
    """Give each random operation in the graph a new seed generator of its own."""
    for node in [node for node in graph.node if node.op in _SEED_GENERATOR]:
        node.input[_SEED_GENERATOR[node.op]] = f"{_OWN_SEEDS}_{node.name}"
        graph.node.add(name=f"{_OWN_SEEDS}_{node.name}", op="DummySeedGenerator")
