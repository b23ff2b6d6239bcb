"""Bits per byte of held-out text, computed as by `sterna eval`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from sterna.evaluate.windows import bits_per_byte, windows
from sterna.model.tokenizer.long_text import LongText
from sterna.train.data import END_OF_TEXT_ID
from sterna.train.model import Decoder


def text_bits_per_byte(
    model: Decoder, tokenizer: Tokenizer, texts: Iterable[Iterable[str]], context: int, batch_size: int = 8
) -> float:
    """Bits per byte of `texts`, each of which comes in parts. Each is opened by `<|endoftext|>`, and every token of it
    is scored once, in float32, in windows of `context` tokens."""
    device = next(model.parameters()).device
    nats, text_bytes = 0.0, 0
    model.eval()
    with torch.no_grad():
        for text in texts:
            ids, size = _encode(tokenizer, text)
            text_bytes += size
            tokens = torch.from_numpy(ids)
            spans = windows(len(tokens), context)
            for begin in range(0, len(spans), batch_size):
                group = spans[begin : begin + batch_size]
                padded = torch.zeros(len(group), context, dtype=torch.int64)
                targets = torch.full((len(group), context), -100)
                for row, (start, end, first) in enumerate(group):
                    padded[row, : end - start] = tokens[start:end]
                    targets[row, first - start - 1 : end - start - 1] = tokens[first:end]
                logits = model(padded.to(device))
                nats += F.cross_entropy(logits.flatten(0, 1), targets.flatten().to(device), reduction="sum").item()
    model.train()
    return bits_per_byte(nats, text_bytes)


def _encode(tokenizer: Tokenizer, text: Iterable[str]) -> tuple[np.ndarray, int]:
    """`<|endoftext|>` and the token ids of a text, int32 [n], and the text's size in bytes of UTF-8."""
    ids, size = array("i", [END_OF_TEXT_ID]), 0
    for piece in LongText(tokenizer, byte_level=True).pieces(text):
        ids.extend(tokenizer.encode(piece, add_special_tokens=False).ids)
        size += len(piece.encode())
    return np.frombuffer(ids, np.int32), size


def beginning(texts: Iterable[Iterable[str]], limit: int) -> list[list[str]]:
    """The first of `texts`, in parts; the last is cut, so that together they have at most `limit` bytes of UTF-8."""
    first: list[list[str]] = []
    for text in texts:
        first.append([])
        for part in text:
            encoded = part.encode()
            first[-1].append(encoded[:limit].decode(errors="ignore"))
            limit -= len(encoded)
            if limit <= 0:
                return first
    return first
