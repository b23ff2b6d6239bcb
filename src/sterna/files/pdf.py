"""`python -m sterna.files.pdf FILE` prints the text of a PDF file, in a process that may be killed."""

from __future__ import annotations

import sys

MOST_PAGES = 5000
MOST_MEMORY = 2 << 30
"""Bytes of address space; Windows knows no such limit."""
MOST_CHARACTERS = 32 << 20


def main(path: str) -> None:
    """Prints the text, a page after the other; exits with 1 and a sentence on stderr where there is none."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    from pypdf import PdfReader

    try:
        pages = PdfReader(path).pages
        if len(pages) > MOST_PAGES:
            raise ValueError(f"more than {MOST_PAGES} pages")
        size = 0
        for page in pages:
            text = page.extract_text()
            size += len(text)
            if size > MOST_CHARACTERS:
                raise ValueError(f"more than {MOST_CHARACTERS} characters")
            sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n\n")
        if size == 0:
            raise ValueError("it has no text; scanned pages need OCR")
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
