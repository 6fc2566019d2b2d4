"""The interface of the reference network's operations."""

from __future__ import annotations

import numpy as np


class Operation:
    """One step of a network on float64 arrays."""

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        """Apply the transposed Jacobian at `inputs` to p (shape of the output), per input."""
        raise NotImplementedError
