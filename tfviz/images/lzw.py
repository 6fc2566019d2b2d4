"""Check the LZW data in TIFF files without decoding it to pixels.

LZW has no checksum, but most damage makes its codes inconsistent: they decode to the wrong number
of bytes, refer to a table entry that does not exist yet, or add a string that is already in the
table. An encoder never adds a string twice, because it always writes the longest match.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

_CLEAR, _END, _FIRST_ENTRY = 256, 257, 258
# The bit width of each code after a Clear code. Encoders clear the table no later than after the
# last of these codes.
_WIDTHS = np.repeat([9, 10, 11, 12], [254, 512, 1024, 2049])
_OFFSETS = np.cumsum(_WIDTHS) - _WIDTHS
_OLD_STYLE = b"\0", 1  # the first byte and a bit of the second, if codes start at the low bits


def is_intact(packed: bytes, sizes: Collection[int]) -> bool:
    """Return whether LZW data is consistent and decodes to one of `sizes`, in bytes.

    Two variants count as intact because this check cannot parse them: old-style data with reversed
    bits, and data that never clears its table.
    """
    if packed[:1] == _OLD_STYLE[0] and packed[1:2] and packed[1] & _OLD_STYLE[1]:
        return True
    stream = np.frombuffer(packed + bytes(2), np.uint8)
    at = length = 0
    while length <= max(sizes):
        codes, ends = _codes(stream, at, 8 * len(packed))
        (marks,) = np.nonzero((codes == _CLEAR) | (codes == _END))
        if not len(marks) and len(codes) == len(_WIDTHS):
            return True
        last = int(marks[0]) if len(marks) else len(codes)
        decoded = _decoded_length(codes[:last])
        if decoded is None:
            return False
        length += decoded
        if not len(marks) or codes[last] == _END:
            return length in sizes
        at = int(ends[last])
    return False


def _codes(stream: np.ndarray, at: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Read codes from bit `at` until the table is full. Return the codes and their end bits."""
    starts = at + _OFFSETS
    count = int(np.searchsorted(starts + _WIDTHS, end, side="right"))
    starts, widths = starts[:count], _WIDTHS[:count]
    first = starts // 8
    window = stream[first].astype(np.int32) << 16 | stream[first + 1].astype(np.int32) << 8 | stream[first + 2]
    return (window >> (24 - starts % 8 - widths)) & ((1 << widths) - 1), starts + widths


def _decoded_length(codes: np.ndarray) -> int | None:
    """Return the number of bytes that the codes after a Clear code decode to.

    Code i adds entry i: the string of code i plus the first byte of the next string. A code that
    refers to entry j therefore decodes to the string of code j plus one byte.

    Returns:
        The number of bytes, or None if a code refers to a missing entry or adds an existing one.
    """
    places = np.arange(len(codes))
    is_entry = codes >= _FIRST_ENTRY
    parents = np.where(is_entry, codes - _FIRST_ENTRY, places)
    if (is_entry & (parents >= places)).any():
        return None
    lengths, roots = is_entry.astype(np.int64), parents
    while is_entry[roots].any():  # Each round doubles the distance to the ancestor.
        lengths, roots = lengths + lengths[roots], roots[roots]
    first_bytes = codes[roots]
    entries = np.sort(codes[:-1] << 8 | first_bytes[1:])
    return None if (np.diff(entries) == 0).any() else int(lengths.sum()) + len(codes)
