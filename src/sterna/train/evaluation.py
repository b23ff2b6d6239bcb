"""Bits per byte of held-out text, computed as by `sterna eval`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from sterna.evaluate.windows import bits_per_byte, windows
from sterna.train.data import END_OF_TEXT_ID
from sterna.train.model import Decoder


def text_bits_per_byte(
    model: Decoder, tokenizer: Tokenizer, texts: list[str], context: int, batch_size: int = 8
) -> float:
    """Bits per byte of `texts`, each opened by `<|endoftext|>`, every token scored once; float32 arithmetic."""
    device = next(model.parameters()).device
    nats, text_bytes = 0.0, 0
    model.eval()
    with torch.no_grad():
        for text in texts:
            text_bytes += len(text.encode())
            tokens = torch.tensor([END_OF_TEXT_ID, *tokenizer.encode(text, add_special_tokens=False).ids])
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


def beginning(texts: list[str], limit: int) -> list[str]:
    """The first of `texts`, the last of them cut, so that they are at most `limit` bytes of UTF-8 in all."""
    first: list[str] = []
    for text in texts:
        first.append(text.encode()[:limit].decode(errors="ignore"))
        limit -= len(first[-1].encode())
        if limit <= 0:
            break
    return first
