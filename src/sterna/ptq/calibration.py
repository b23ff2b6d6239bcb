"""Calibration text: windows of tokens, spread evenly over any UTF-8 files, or over the text that comes with Sterna."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna.errors import ArgumentError, NotFoundError
from sterna.files.regular import open_regular
from sterna.model.tokenizer import Tokenizer

OWN_TEXT = "calibration.txt.xz"
OWN_NAME = "sterna-novels"
"""The text of the package: 180 passages of 180 English novels in the public domain (from the collections "100 English
Novels" and ELTeC-eng). No quality of a published model is measured on it; `sterna study` trains its own models on 150
passages and tests them on the others."""
MOST_BYTES = 1 << 26
"""Of each file; more text makes no better calibration."""


@dataclass(frozen=True)
class Calibration:
    """Text and where it comes from."""

    names: tuple[str, ...]
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8."""
        return sha256(self.text.encode()).hexdigest()

    def windows(self, tokenizer: Tokenizer, count: int, length: int) -> Tensor:
        """At most `count` windows of `length` tokens, int64 [windows, length], spread evenly over the text; each begins
        with the token that begins a text, if the model wants one. Raises ArgumentError where the text has no window."""
        first = [tokenizer.bos_id] if tokenizer.add_bos and tokenizer.bos_id is not None else []
        parts = tokenizer.encode_parts([self.text], add_special=False)
        tokens = np.array([token for part in parts for token in part], np.int64)
        own = length - len(first)
        there = min(count, len(tokens) // own) if own > 0 else 0
        if there == 0:
            raise ArgumentError(
                f"The calibration text has {len(tokens)} tokens, fewer than a window of {length}: give more text."
            )
        starts = np.linspace(0, len(tokens) - own, there).astype(int)
        return torch.from_numpy(np.stack([np.concatenate([first, tokens[at : at + own]]) for at in starts])).long()

    def described(self, windows: Tensor) -> dict[str, Any]:
        """What reports and files say of the text, of which the `windows` [windows, length] were used."""
        return {"text": list(self.names), "sha256": self.digest, "tokens": windows.numel()}


def read_calibration(paths: Sequence[Path]) -> Calibration:
    """The text of these files, one after the other; without any, the package's own. Raises NotFoundError for a file
    that cannot be read, ArgumentError for one that is not UTF-8."""
    if not paths:
        packed = files("sterna.ptq").joinpath(OWN_TEXT).read_bytes()
        return Calibration((OWN_NAME,), lzma.decompress(packed).decode())
    return Calibration(tuple(map(str, paths)), "\n\n".join(map(_text, paths)))


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(MOST_BYTES)
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        # A file that was cut may end within a character.
        return data.decode("utf-8-sig", "ignore" if len(data) == MOST_BYTES else "strict")
    except UnicodeDecodeError:
        raise ArgumentError(f"The calibration text {path} is not UTF-8.") from None
