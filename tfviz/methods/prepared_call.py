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
        rows: the number of rows, for a method that runs perturbed copies of each image; otherwise
            0.
    """

    run: Callable[..., tf.Tensor]
    check: Callable[[Any], None]
    rows: int = 0

    def run_in_batches(self, batch_size: int, advance: Callable[[int], None]) -> tf.Tensor:
        """Compute the attribution, with perturbed copies in batches.

        Args:
            batch_size: the largest number of rows to run at once.
            advance: takes the number of rows after each batch. An exception that it raises ends the
                call.
        """
        return self.run(batch_size=batch_size, advance=advance) if self.rows else self.run()

    def result(self) -> tf.Tensor:
        """Run the call in this thread and check its maps."""
        attribution = self.run()
        self.check(attribution)
        return attribution
