"""The text of a file: plain text, Markdown, HTML or PDF, within limits."""

from __future__ import annotations

import codecs
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

from sterna.errors import FormatError, NotFoundError, UnsupportedError

MOST_BYTES = 64 << 20
"""The largest file that is read."""
PDF_SECONDS = 60
"""The longest time for one PDF file."""

_HTML = (".html", ".htm", ".xhtml")
SUFFIXES = (".txt", ".text", ".md", ".markdown", *_HTML, ".pdf")


def text_of(path: Path) -> str:
    """The text of a file with one of `SUFFIXES`. Raises NotFoundError, FormatError or UnsupportedError, whose sentence
    does not name the file."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UnsupportedError(f"it has {size} bytes, more than {MOST_BYTES}.")
        suffix = path.suffix.lower()
        if suffix == ".pdf":
            return _pdf_text(path)
        data = path.read_bytes()
        text = data.decode(_encoding(data, suffix in _HTML))
    except OSError as error:
        raise NotFoundError(f"it cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FormatError("it is no text in UTF-8.") from None
    return html_text(text) if suffix in _HTML else text


_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_PAGES = re.compile(r"(windows-|cp|iso-?8859-?|latin-?|koi8-|euc-|shift_?jis|gb|big5|us-ascii)[\w-]*", re.IGNORECASE)
"""Encodings that pages declare, besides UTF-8."""


def _encoding(data: bytes, is_html: bool) -> str:
    """The encoding of a text: by its mark, or what a page declares, or UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    declared = _DECLARED.search(data[:1024]) if is_html else None
    name = declared[1].decode("ascii", "replace") if declared else ""
    if name.lower() in ("iso-8859-1", "latin1", "us-ascii"):
        return "cp1252"  # as browsers do
    try:
        return codecs.lookup(name).name if _PAGES.fullmatch(name) else "utf-8-sig"
    except LookupError:
        return "utf-8-sig"


def html_text(html: str) -> str:
    """What a page shows: its title and its text, a paragraph a line."""
    reader = _Page()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _Page(HTMLParser):
    _HIDDEN = {"script", "style", "template", "noscript", "svg"}
    _CELLS = {"td", "th"}
    _INLINE = set(
        "a abbr b bdi bdo cite code data dfn em i kbd mark q s samp small span strong sub sup time u var".split()
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden is None and tag in self._HIDDEN:
            self._hidden = tag
        if tag not in self._INLINE and tag not in self._CELLS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = None
        if tag not in self._INLINE:
            self.parts.append(" " if tag in self._CELLS else "\n")

    def handle_data(self, data: str) -> None:
        if self._hidden is None:
            self.parts.append(re.sub(r"\s+", " ", data))


def _pdf_text(path: Path) -> str:
    """The text of a PDF file, read by a process of its own, which may hang or grow without harm."""
    if find_spec("pypdf") is None:
        raise UnsupportedError("PDF needs pypdf: pip install 'sterna[documents]'.")
    command = [sys.executable, "-m", "sterna.files.pdf", os.fspath(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PDF_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise UnsupportedError(f"it takes more than {PDF_SECONDS} seconds to read.") from None
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise FormatError(f"it is no PDF file that can be read ({reason[-1] if reason else 'out of memory'}).")
    return done.stdout.decode("utf-8", "replace")
