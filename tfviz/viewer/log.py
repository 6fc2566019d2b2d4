"""The server's log: one line per error response."""

from __future__ import annotations

import logging

log = logging.getLogger("tfviz.viewer")


def on_one_line(text: str, most: int = 300) -> str:
    """Escape characters that could break the line or move the cursor, and truncate the text."""
    plain = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
    return plain if len(plain) <= most else plain[:most] + "…"
