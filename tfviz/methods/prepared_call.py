"""An explainer call that is compiled and ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class PreparedCall:
    """One explainer call for one batch.

    Attributes:
        run: a function that computes the attribution. It can be called in another thread, because
            TensorFlow releases the interpreter lock during the computation.
        check: a function that checks the attribution and warns about blank maps. The check may
            trace the model, so it must run in the thread that compiles.
        rows: the number of rows for methods that run perturbed copies of each image; otherwise 0.
    """

    run: Callable[..., tf.Tensor]
    check: Callable[[Any], None]
    rows: int = 0

    def run_in_batches(self, batch_size: int, advance: Callable[[int], None]) -> tf.Tensor:
        """Compute the attribution, running any perturbed copies in batches.

        Args:
            batch_size: the maximum number of rows to run at once.
            advance: a function that is called after each batch with its number of rows. An
                exception in this function ends the call.
        """
        return self.run(batch_size=batch_size, advance=advance) if self.rows else self.run()

    def result(self) -> tf.Tensor:
        """Run the call in this thread, check its maps and return the attribution."""
        attribution = self.run()
        self.check(attribution)
        return attribution
