"""Text of a repository (subjects, authors, file names, reasons) must not steer a terminal nor forge a line."""

from __future__ import annotations

# C0, DEL and C1 (escape sequences begin there), and the marks that turn the direction of reading.
_BAD = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029]
_TABLE = {code: "�" for code in _BAD if code not in (0x09, 0x0A)}


def clean(text: str) -> str:
    """Tabs and newlines stay; every other control character is shown as one that does nothing."""
    return text.translate(_TABLE)
