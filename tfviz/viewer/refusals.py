"""What the server answers when it does not do what was asked."""

from __future__ import annotations

UNKNOWN, NOT_NEXT, TOO_LARGE, MISFIT, TOO_MANY, FULL = 404, 409, 413, 422, 429, 507


class RefusalError(Exception):
    """An answer other than success: its HTTP status, why in one line, and facts for the sender's program.

    is_ordinary: it happens to those who do everything right, such as asking for a run that has not come yet; such
    answers are not logged.
    """

    def __init__(self, status: int, reason: str, *, is_ordinary: bool = False, **facts: int) -> None:
        super().__init__(reason)
        self.status, self.reason, self.is_ordinary, self.facts = status, reason, is_ordinary, facts
