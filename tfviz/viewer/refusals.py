"""What the server answers when it does not do what was asked."""

from __future__ import annotations


class RefusalError(Exception):
    """An answer other than success: its HTTP status, why in one line, and facts for the sender's program."""

    def __init__(self, status: int, reason: str, **facts: int) -> None:
        super().__init__(reason)
        self.status, self.reason, self.facts = status, reason, facts


UNKNOWN, NOT_NEXT, TOO_LARGE, MISFIT, TOO_MANY, FULL = 404, 409, 413, 422, 429, 507
