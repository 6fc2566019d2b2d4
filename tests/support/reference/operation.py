"""What every operation of the reference network can do."""

from __future__ import annotations

import numpy as np


class Operation:
    """One step of a network on float64 arrays."""

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def adjoint(self, p: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray) -> tuple[np.ndarray, ...]:
        """For each input the transposed Jacobian at `inputs`, applied to p (shaped as
        the output).
        """
        raise NotImplementedError
