"""Text as a terminal may show it: that of a model, and of files that others made."""

from __future__ import annotations

_PICTURES = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
"""Control characters, and the characters that picture them: ␛ for ESC (Unicode, Control Pictures)."""
_C1 = dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
"""Control characters of 8 bits, among them another beginning of escape sequences."""
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
"""They make text look other than it is (CVE-2021-42574)."""
_TABLE: dict[int, int | None] = {
    **_PICTURES,
    **_C1,
    **_BIDI,
    ord("\n"): ord("\n"),
    ord("\t"): ord("\t"),
    ord("\r"): None,
}


def visible(text: str) -> str:
    """The text without its carriage returns, and with pictures in place of other control characters than newline and
    tab: it can neither move the cursor nor change the terminal's colours, title or clipboard."""
    return text.translate(_TABLE)
