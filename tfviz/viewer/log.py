"""The server's log: what was refused and why, one line each."""

from __future__ import annotations

import logging

log = logging.getLogger("tfviz.viewer")


def on_one_line(text: str, most: int = 300) -> str:
    """The text without anything that could begin a new line, or move a terminal's cursor."""
    plain = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
    return plain if len(plain) <= most else plain[:most] + "…"
