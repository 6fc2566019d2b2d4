"""Run shards in Ray actors, each with one GPU or an equal share of the CPUs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tfviz.errors import JobError, MissingPackageError, TfvizError, install_command
from tfviz.jobs.engines.crew import Crew

_STORE_BYTES = 200_000_000  # The store holds only shard numbers.


def run_on_ray(crew: Crew, shards: Sequence[int]) -> Iterator[int]:
    """Run the shards and yield the number of images in each finished shard.

    Ray retries a shard whose actor died. The job's files record which shards are done, so Ray's
    checkpoints are not used.

    Raises:
        JobError: a shard cannot be written.
        MissingPackageError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError(f"Ray is not installed, but --engine ray needs it. Run: {install_command('ray')}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        own: dict[str, Any] = {} if address else {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        with _same_sigterm_handler():
            ray.init(address=address, logging_level="ERROR", log_to_driver=False, **own)
    ray.data.DataContext.get_current().enable_progress_bars = False
    resources = ray.cluster_resources()
    gpus = resources.get("GPU", 0)
    share: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": max(1, int(resources["CPU"] // crew.workers))}
    most = min(crew.workers, len(shards), int(gpus) or crew.workers)
    todo = ray.data.from_items([{"shard": number} for number in shards], override_num_blocks=len(shards))
    done = todo.map(
        _ShardOfRow,
        fn_constructor_args=(crew,),
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
        **share,
    )
    for row in done.iter_rows():
        if row["error"]:
            raise JobError(row["error"])
        yield int(row["images"])


@contextmanager
def _same_sigterm_handler() -> Iterator[None]:
    """Restore the SIGTERM handler on exit, because `ray.init` replaces it.

    Ray's handlers end the process immediately, so the command could not report where it stopped.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


class _ShardOfRow:
    def __init__(self, crew: Crew) -> None:
        from tfviz.cli.terminal import import_tensorflow

        import_tensorflow()
        from tfviz.jobs.shards import ExplainShard

        self._explain = ExplainShard(crew.root, crew.is_retry)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        # Ray would wrap the exception in its own, which hides the reason behind a traceback.
        try:
            return {"images": self._explain(int(row["shard"])), "error": ""}
        except TfvizError as error:
            return {"images": 0, "error": str(error)}
