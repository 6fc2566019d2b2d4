"""Run shards in processes on this machine. A process that dies is replaced."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from tfviz.errors import JobError, TfvizError
from tfviz.jobs.engines.crew import Crew

_MOST_FAILED_STARTS = 3


def run_locally(crew: Crew, shards: Sequence[int]) -> Iterator[int]:
    """Run the shards and yield the number of images in each finished shard.

    Raises:
        JobError: the processes cannot start, or a shard cannot be written.
    """
    todo = list(shards)
    processes = [_Process(crew) for _ in range(min(crew.workers, len(todo)))]
    failed_starts = 0
    try:
        while todo or any(one.shard is not None for one in processes):
            for ready in wait([handle for one in processes for handle in one.handles]):
                process = next(one for one in processes if ready in one.handles)
                message = process.received()
                if message is None:  # The process died.
                    failed_starts = 0 if process.is_ready else failed_starts + 1
                    if failed_starts == _MOST_FAILED_STARTS:
                        raise JobError(
                            f"The worker processes exited at startup (exit code {process.exit_code}). Check their output for "
                            "the cause."
                        )
                    todo[:0] = [] if process.shard is None else [process.shard]
                    processes[processes.index(process)] = _Process(crew)
                    break
                if isinstance(message, str):
                    raise JobError(message)
                if process.is_ready and process.shard is not None:
                    process.shard = None
                    yield message
                process.is_ready = True
                if todo:
                    process.start_shard(todo.pop(0))
    finally:
        for process in processes:
            process.stop()


class _Process:
    def __init__(self, crew: Crew) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, crew), daemon=True)
        self._process.start()
        theirs.close()
        self.shard: int | None = None
        self.is_ready = False

    @property
    def handles(self) -> list[Any]:
        return [self.connection]

    @property
    def exit_code(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def received(self) -> Any:
        """Return the next message from the process, or None if the process died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def start_shard(self, number: int) -> None:
        self.shard = number
        with contextlib.suppress(OSError):  # The process died. The next wait reports it.
            self.connection.send(number)

    def stop(self) -> None:
        self.connection.close()
        if self.shard is not None:
            self._process.terminate()
        self._process.join()


def _work(connection: Connection, crew: Crew) -> None:
    """Receive shard numbers and run the shards until the connection closes."""
    # The main process handles Ctrl-C and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from tfviz.cli.terminal import import_tensorflow

    import_tensorflow()
    from tfviz.jobs.shards import ExplainShard

    try:
        explain = ExplainShard(crew.root, crew.is_retry)
        connection.send(0)
        while True:
            connection.send(explain(connection.recv()))
    except TfvizError as error:
        connection.send(str(error))
    except (EOFError, OSError):
        return
