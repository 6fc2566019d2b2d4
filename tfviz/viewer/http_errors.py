"""The server's error responses."""

from __future__ import annotations

NOT_FOUND, CONFLICT, TOO_LARGE, UNPROCESSABLE, TOO_MANY, FULL = 404, 409, 413, 422, 429, 507


class HttpError(Exception):
    """An exception that the server converts to an error response.

    Args:
        status: the HTTP status.
        reason: a one-line explanation.
        is_ordinary: whether even a well-behaved client can cause the error, for instance by
            requesting a run that does not exist yet. Such errors are not logged.
        **facts: integers to add to the JSON body for the client.
    """

    def __init__(self, status: int, reason: str, *, is_ordinary: bool = False, **facts: int) -> None:
        super().__init__(reason)
        self.status, self.reason, self.is_ordinary, self.facts = status, reason, is_ordinary, facts
