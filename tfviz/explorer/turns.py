"""Run computations one at a time in a worker thread.

A newer computation replaces older ones from the same page and side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tfviz.viewer import http_errors
from tfviz.viewer.http_errors import HttpError

T = TypeVar("T")
Key = tuple[str, str]  # a page, and one of its two sides


class Turn:
    """A computation, which a newer one may replace.

    Attributes:
        is_wanted: whether a client is still waiting for the result.
    """

    def __init__(self) -> None:
        self.is_wanted = True
        self.future: Future[object] | None = None

    def require_wanted(self) -> None:
        """Raise an error if the computation was replaced. Call this between batches.

        Raises:
            HttpError: the computation was replaced.
        """
        if not self.is_wanted:
            raise _replaced()

    def drop(self) -> None:
        """Cancel the computation. A running computation stops at its next check."""
        self.is_wanted = False
        if self.future is not None:
            self.future.cancel()


class Turns:
    """A worker thread and its queue. Use it from one event loop only.

    Args:
        most: the maximum number of waiting computations.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tfviz-maps")
        self._turns: set[Turn] = set()
        self._newest: dict[Key, Turn] = {}

    async def run(self, work: Callable[[Turn], T], key: Key | None = None) -> T:
        """Run a computation when its turn comes and return the result.

        Args:
            work: the computation.
            key: the page and side that sent the request. An older computation with the same key is
                dropped.

        Raises:
            HttpError: a newer computation replaced this one, or too many computations are waiting.
        """
        if key is not None and key in self._newest:
            self._newest[key].drop()
        if len(self._turns) > self._most:
            raise HttpError(http_errors.TOO_MANY, f"{len(self._turns)} computations are already waiting. Try again later.")
        turn = Turn()
        self._turns.add(turn)
        if key is not None:
            self._newest[key] = turn
        try:
            future = self._thread.submit(_wanted, turn, work)
            turn.future = future  # type: ignore[assignment]
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            turn.require_wanted()
            turn.drop()  # The client has disconnected.
            raise
        finally:
            self._turns.discard(turn)
            if key is not None and self._newest.get(key) is turn:
                del self._newest[key]

    def close(self) -> None:
        """Drop all computations, so that the server can stop."""
        for turn in list(self._turns):
            turn.drop()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _wanted(turn: Turn, work: Callable[[Turn], T]) -> T:
    turn.require_wanted()
    return work(turn)


def _replaced() -> HttpError:
    return HttpError(http_errors.CONFLICT, "A newer request from this page replaced this one.", is_ordinary=True)
