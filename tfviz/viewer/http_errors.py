"""The errors that the server answers with."""

from __future__ import annotations

NOT_FOUND, CONFLICT, TOO_LARGE, UNPROCESSABLE, TOO_MANY, FULL = 404, 409, 413, 422, 429, 507


class HttpError(Exception):
    """An answer other than success: its HTTP status, the reason in one line, and facts for the
    sender's program.

    is_ordinary: it happens to those who do everything right, such as asking for a run that has not
    come yet; such answers are not logged.
    """

    def __init__(self, status: int, reason: str, *, is_ordinary: bool = False, **facts: int) -> None:
        super().__init__(reason)
        self.status, self.reason, self.is_ordinary, self.facts = status, reason, is_ordinary, facts
