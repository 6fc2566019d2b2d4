"""Run a call's batches on one device, or on all devices in parallel."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import tensorflow as tf

from tfviz.nesting import Nested
from tfviz.targets import Target

_AHEAD = 2  # queued batches per device


@dataclass(frozen=True)
class Part:
    """One batch in a call.

    Attributes:
        first: the index of the batch's first image.
        images: one tensor per model input.
        target: the target for these images.
    """

    first: int
    images: list[tf.Tensor]
    target: Target


Results = Iterator[tuple[Part, Nested[tf.Tensor]]]


def in_turn(explainer: Any, parts: Iterable[Part], batch_size: int, advance: Callable[[int], None]) -> Results:
    """Explain the batches one after another on one device. Yield each batch with its attribution.

    Args:
        explainer: the explainer.
        parts: the batches.
        batch_size: the maximum number of rows to run at once, for methods that run perturbed
            copies.
        advance: a function that is called with the number of rows after each run of such copies.
    """
    for part in parts:
        run = _bound(explainer, part)
        yield part, run(batch_size=batch_size, advance=advance) if explainer.takes_copies else run()


def on_all_devices(explainer: Any, parts: Iterable[Part], batch_size: int) -> Results:
    """Explain the batches on all devices in parallel. Yield each with its attribution, in order.

    Each device gets its own thread and its own replica of the explainer.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    replicas = [_Replica(explainer, device.name, batch_size) for device in devices]
    running: deque[tuple[Part, Future[Nested[tf.Tensor]]]] = deque()
    try:
        for part, replica in zip(parts, cycle(replicas), strict=False):
            running.append((part, replica.pool.submit(replica.run, part)))
            if len(running) == _AHEAD * len(replicas):
                part, result = running.popleft()
                yield part, result.result()
        while running:
            part, result = running.popleft()
            yield part, result.result()
    finally:
        for replica in replicas:
            replica.pool.shutdown(cancel_futures=True)


class _Replica:
    """A copy of an explainer that runs on one device in a separate thread."""

    _compiling = threading.Lock()  # tracing temporarily modifies layers

    def __init__(self, explainer: Any, device: str, batch_size: int) -> None:
        self._device, self._batch_size = device, batch_size
        with tf.device(device):
            self._explainer = explainer.replica()
        self.pool = ThreadPoolExecutor(1)

    def run(self, part: Part) -> Nested[tf.Tensor]:
        with tf.device(self._device):
            with self._compiling:
                run = _bound(self._explainer, part)
            return run(batch_size=self._batch_size) if self._explainer.takes_copies else run()


def _bound(explainer: Any, part: Part) -> Callable[..., Nested[tf.Tensor]]:
    explainer.start_at(part.first)
    bound: Callable[..., Nested[tf.Tensor]] = explainer._bound(part.images, part.target, explainer._attribution)
    return bound
