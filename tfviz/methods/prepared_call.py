"""A call of an explainer that is compiled and waits to be run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class PreparedCall:
    """One call of an explainer on one batch.

    Attributes:
        run: computes the attribution. It holds no lock of Python's while TensorFlow works, so it may run in another thread.
        check: takes the attribution and warns of blank maps. It may look into the model and belongs in the thread that
            compiles.
    """

    run: Callable[[], tf.Tensor]
    check: Callable[[Any], None]

    def result(self) -> tf.Tensor:
        """Runs the call here and checks it."""
        attribution = self.run()
        self.check(attribution)
        return attribution
