"""The one way in which tfviz changes a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def redirect(output: Any, inputs: Sequence[Any], share: Callable[[Any], Sequence[Any]]) -> Any:
    """`output`, as it is; on the way back `share(p)` says what each of the inputs gets of p.

    A layer may compute in another type than the one before it: what comes back is cast to that of each input.

    The output is computed outside, so that no variable is read in here: a `tf.custom_gradient` that reads one has to
    return a gradient for it.
    """

    @tf.custom_gradient
    def pass_on(*inputs: Any) -> Any:
        return tf.identity(output), later

    def later(p: Any) -> tuple[Any, ...]:
        # What a share computes from the inputs alone could run along with the forward pass, and would then be kept in
        # memory until p arrives.
        with tf.control_dependencies([p]):
            return tuple(tf.cast(part, x.dtype) for part, x in zip(share(p), inputs, strict=True))

    return pass_on(*inputs)
