"""The training text of a study: novels, and solved problems between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from sterna.errors import ArgumentError
from sterna.files.atomic import atomic_write
from sterna.ptq.calibration import read_calibration
from sterna.study.skills import training_lines
from sterna.train.corpus import END_OF_TEXT, document_parts

SKILL_SHARE = 0.3
"""The share of the text, in bytes, that is solved problems."""
TRAINED_PASSAGES = 150
"""Models are trained on so many of the passages that come with Sterna, and tested on the others."""
BLOCK = 2000
"""Characters of a stretch of one kind of text."""


def own_texts() -> list[str]:
    """The passages of novels that come with Sterna to calibrate quantisers."""
    return [text for text in read_calibration(()).text.split("\n\n") if text.strip()]


def training_texts(paths: Sequence[Path]) -> Iterable[str]:
    """The novels of these files; without any, the passages to train on. Raises ArgumentError for files that cannot be
    read."""
    return _documents(paths) if paths else own_texts()[:TRAINED_PASSAGES]


def unseen_texts(paths: Sequence[Path]) -> list[str]:
    """The novels of these files; without any, the passages to test on. Raises ArgumentError for files that cannot be
    read."""
    return list(_documents(paths)) if paths else own_texts()[TRAINED_PASSAGES:]


def _documents(paths: Sequence[Path]) -> Iterator[str]:
    """The documents of text files, as `sterna train` reads them."""
    for parts in document_parts(list(paths)):
        yield "".join(parts)


def write_corpus(path: Path, texts: Callable[[], Iterable[str]], size: int, seed: int) -> int:
    """Writes about `size` characters of novels and problems in turn, as one training file; returns how many characters
    it wrote. Novels that are shorter begin again, beside new problems. Raises ArgumentError for novels without text."""
    lines, written = training_lines(seed), 0
    with atomic_write(path) as file:
        while written < size:
            before = written
            for stretch in _stretches(texts()):
                if written >= size:
                    break
                for text in (stretch, _solved(lines, int(len(stretch) * SKILL_SHARE / (1 - SKILL_SHARE)))):
                    file.write(f"{text.strip()}\n{END_OF_TEXT}\n".encode())
                    written += len(text)
            if written == before:
                raise ArgumentError("The novels of a study have no text.")
    return written


def _stretches(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from (text[at : at + BLOCK] for at in range(0, len(text), BLOCK))


def _solved(lines: Iterator[str], size: int) -> str:
    """Problems of about so many characters."""
    text = ""
    while len(text) < size:
        text += next(lines)
    return text
