"""A call of an explainer, compiled and ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class PreparedCall:
    """One call of an explainer on one batch.

    Attributes:
        run: computes the attribution. TensorFlow releases the interpreter lock while it works, so
            another thread may run it.
        check: takes the attribution and warns about blank maps. It may trace the model, so it
            belongs in the thread that compiles.
    """

    run: Callable[[], tf.Tensor]
    check: Callable[[Any], None]

    def result(self) -> tf.Tensor:
        """Run the call in this thread and check its maps."""
        attribution = self.run()
        self.check(attribution)
        return attribution
